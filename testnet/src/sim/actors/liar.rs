//! Lies in its ViewChanges: about what it prepared and about what is certified.
//!
//! Each one has a few tricks of its own. What a trick makes is signed properly; only what has to be forged is forged.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use epione_consensus::{Kind, Message, PreparedCertificate, SignedVote, ViewChange, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Certificate, ValidatorIndex, View, codec};

use super::{Actor, Stage, Watch, message_in};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// Leaves out prepared certificates.
    Hides,
    /// Names an old certificate, or none.
    Stale,
    /// Invents certificates, with signatures that are none.
    Forges,
    /// Shows certificates that only itself has signed.
    Short,
    /// Writes a signer down twice.
    Doubles,
    /// Asks for views that nobody else thinks of.
    Skips,
}

const TRICKS: [Trick; 6] =
    [Trick::Hides, Trick::Stale, Trick::Forges, Trick::Short, Trick::Doubles, Trick::Skips];

/// Proposals that it remembers.
const REMEMBERED: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Liar {
    tricks: BTreeSet<Trick>,
    /// A certificate of long ago.
    old: Option<Certificate>,
    /// Proposals, the last one first.
    proposals: VecDeque<SignedVote>,
    watch: Watch,
}

impl Liar {
    fn has(&self, stage: &mut Stage<'_>, trick: Trick) -> bool {
        self.tricks.contains(&trick) && stage.random.chance(600)
    }

    /// What it says instead.
    fn lie(&self, stage: &mut Stage<'_>, mut change: ViewChange) -> ViewChange {
        if self.has(stage, Trick::Stale) {
            change.certificate = self.old.clone().filter(|_| stage.random.chance(500));
            let top = change.certified(epione_types::Height::ZERO).plus(stage.set.params.window);
            change.prepared.retain(|one| one.height() <= top);
        }
        if self.has(stage, Trick::Hides) {
            let all = stage.random.chance(500);
            change.prepared.retain(|_| !all && stage.random.chance(500));
        }
        if self.has(stage, Trick::Forges) {
            self.invent(stage, &mut change, stage.set.quorum());
        }
        if self.has(stage, Trick::Short) {
            self.invent(stage, &mut change, 1);
        }
        change
    }

    /// A certificate of something that is not, with so many signatures: its own, and some that are none.
    fn invent(&self, stage: &mut Stage<'_>, change: &mut ViewChange, count: usize) {
        let epoch = stage.set.epoch;
        if let Some(certificate) = change.certificate.as_mut().filter(|_| stage.random.chance(300)) {
            let (height, digest) = (certificate.height, stage.random_hash());
            let seal = Vote { kind: Kind::Seal, epoch, view: View::ZERO, height, digest };
            (certificate.header_hash, certificate.signatures) = (digest, stage.some_signatures(seal, count));
            return;
        }
        let certified = change.certified(epione_types::Height::ZERO);
        let open = |vote: &&SignedVote| vote.vote.height > certified && vote.vote.view < change.view;
        let Some(pre_prepare) = self.proposals.iter().find(open) else { return };
        let prepare = Vote { kind: Kind::Prepare, ..pre_prepare.vote };
        let signatures = stage.some_signatures(prepare, count);
        let prepares = signatures.iter().filter(|(who, _)| *who != pre_prepare.from).collect();
        change.prepared.retain(|one| one.height() < pre_prepare.vote.height);
        change.prepared.push(PreparedCertificate { pre_prepare: *pre_prepare, prepares });
    }
}

impl Actor for Liar {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        let message = message_in(bytes);
        match &message {
            Some(Message::Proposal(vote, _)) => {
                self.proposals.push_front(*vote);
                self.proposals.truncate(REMEMBERED);
            }
            Some(Message::Certificate(one)) if stage.random.chance(100) => self.old = Some(one.clone()),
            _ => self.watch.see(bytes),
        }
        !message.is_some_and(|message| stage.is_by_me(&message))
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let Some(Message::ViewChange(change)) = message_in(&bytes) else {
            return stage.send(to, class, bytes);
        };
        let mut lie = bytes.clone();
        if stage.is_mine(change.from) {
            let body = self.lie(stage, change.body);
            lie = Frame::Message(Message::ViewChange(Box::new(stage.sign_body(body)))).encode();
        }
        if self.has(stage, Trick::Doubles) {
            lie = signer_twice(&lie);
        }
        if lie != bytes {
            stage.deed();
        }
        stage.send(to, class, lie);
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        while self.tricks.len() < 2 {
            self.tricks.insert(*stage.random.pick(&TRICKS));
        }
        if self.tricks.contains(&Trick::Skips) && stage.random.chance(10) {
            let (epoch, view) = (stage.set.epoch, View(self.watch.view + stage.random.within(1, 3)));
            let change = ViewChange { epoch, view, certificate: None, prepared: vec![], reason: vec![] };
            let change = Message::ViewChange(Box::new(stage.sign_body(change)));
            stage.deed();
            stage.others().for_each(|to| stage.message(to, change.clone()));
        }
        stage.is_restless(self.watch.view);
    }
}

/// The first list of signatures that is in a frame, with one signer written down twice. The types do not allow that.
fn signer_twice(frame: &Bytes) -> Bytes {
    const ENTRY: usize = 2 + 64;
    let mut bytes = frame.to_vec();
    let is = |at: usize, who: u16| bytes.get(at..at + 2) == Some(&codec::encode(&ValidatorIndex(who))[..]);
    let found = (0..bytes.len().saturating_sub(2 * ENTRY)).find(|at| is(*at, 0) && is(at + ENTRY, 1));
    if let Some(at) = found {
        bytes.copy_within(at..at + ENTRY, at + ENTRY);
    }
    bytes.into()
}
