//! Signs for others, badly; passes one signature off as a quorum, one ViewChange as many, and its votes as another epoch's.
//!
//! Nothing of it gets past the gate of a node that looks.

use bytes::Bytes;
use epione_consensus::{
    Body as _, CommitCertificate, Kind, Message, NewView, PreparedCertificate, Signed, SignedVote,
    ViewChange, Vote,
};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Certificate, Domain, Epoch, Height, Signature, SignatureSet, ValidatorIndex, View};

use super::{Actor, Stage, Watch};

#[derive(Debug, Default)]
pub(super) struct Impostor {
    watch: Watch,
}

/// Anybody, and a signature that is nobody's.
fn somebody(stage: &mut Stage<'_>) -> (ValidatorIndex, Signature) {
    let who = stage.random.index(stage.set.len());
    (ValidatorIndex(u16::try_from(who).unwrap_or(0)), Signature([7; 64]))
}

impl Impostor {
    fn lie(&self, stage: &mut Stage<'_>) -> Message {
        let near = |stage: &mut Stage<'_>, from: u64| from + stage.random.below(4);
        let (view, height) = (self.watch.view + stage.random.below(2), near(stage, self.watch.height + 1));
        let (view, height, epoch) = (View(view), Height(height), stage.set.epoch);
        let digest = Domain::new("epione/sim-lie").hash(&stage.random.below(3).to_le_bytes());
        let quorum = stage.set.quorum();
        let all = |signature| -> SignatureSet {
            (0..quorum)
                .filter_map(|who| Some((ValidatorIndex(u16::try_from(who).ok()?), signature)))
                .collect()
        };
        let commit = Vote { kind: Kind::Commit, epoch, view, height, digest };
        let seal = Vote { kind: Kind::Seal, epoch, view: View::ZERO, height, digest };
        let alone = |vote: SignedVote| SignatureSet::from_iter([(vote.from, vote.signature)]);
        match stage.random.below(8) {
            // Another one's vote.
            0 | 1 => {
                let kind = *stage.random.pick(&[Kind::Prepare, Kind::Commit, Kind::Seal]);
                let view = if kind == Kind::Seal { View::ZERO } else { view };
                let (from, signature) = somebody(stage);
                Message::Vote(SignedVote { from, vote: Vote { kind, view, ..commit }, signature })
            }
            // A quorum's certificates, of nobody's signatures.
            2 => Message::Commits(CommitCertificate {
                epoch,
                view,
                height,
                digest,
                commits: all(Signature([7; 64])),
            }),
            3 => Message::Certificate(Certificate {
                epoch,
                height,
                header_hash: digest,
                signatures: all(Signature([7; 64])),
            }),
            // A certificate of one.
            4 => Message::Certificate(Certificate {
                epoch,
                height,
                header_hash: digest,
                signatures: alone(stage.sign(seal)),
            }),
            5 => {
                let commits = alone(stage.sign(commit));
                Message::Commits(CommitCertificate { epoch, view, height, digest, commits })
            }
            // What it alone prepared, prepared by a quorum.
            6 => {
                let mine = stage.own_view(self.watch.view);
                let pre_prepare = stage.sign(Vote { kind: Kind::PrePrepare, view: mine, ..commit });
                let prepared = vec![PreparedCertificate { pre_prepare, prepares: SignatureSet::default() }];
                let view = View(mine.0 + 1);
                let change = ViewChange { epoch, view, certificate: None, prepared, reason: Vec::new() };
                Message::ViewChange(Box::new(change.sign(stage.chain, stage.index(), stage.signer)))
            }
            // A view that it opens alone.
            _ => {
                let far = stage.random.below(2) * stage.set.len() as u64;
                let view = stage.own_view(self.watch.view + far);
                let change =
                    ViewChange { epoch, view, certificate: None, prepared: Vec::new(), reason: Vec::new() };
                let change: Signed<ViewChange> = change.sign(stage.chain, stage.index(), stage.signer);
                let view_changes = vec![change; quorum];
                let new_view = NewView { epoch, view, view_changes, pre_prepares: Vec::new() };
                Message::NewView(Box::new(new_view.sign(stage.chain, stage.index(), stage.signer)))
            }
        }
    }
}

impl Actor for Impostor {
    fn inbound(&mut self, _: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        self.watch.see(bytes);
        true
    }

    /// Its own votes are of another epoch.
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match Frame::decode(&bytes) {
            Ok(Frame::Message(Message::Vote(vote)))
                if vote.from.get() == stage.me && stage.random.chance(300) =>
            {
                stage.deed();
                let vote = stage.sign(Vote { epoch: Epoch(vote.vote.epoch.0 + 1), ..vote.vote });
                stage.message(to, Message::Vote(vote));
            }
            _ => stage.send(to, class, bytes),
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        // Three bad frames shut it out for a while: it spaces them.
        if !stage.random.chance(150) {
            return;
        }
        let message = self.lie(stage);
        for to in stage.others() {
            stage.deed();
            stage.message(to, message.clone());
        }
    }
}
