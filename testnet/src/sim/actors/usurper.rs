//! As the primary of a new view it lies about what the others said: it opens the view with another list, or with another
//! quorum for each of them, so that one view begins twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use epione_consensus::{Kind, Message, NewView, PreparedCertificate, Signed, ViewChange, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Batch, Hash, Height, ValidatorIndex, View};

use super::{Actor, Stage, Watch, message_in};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// Another list than follows.
    List,
    /// Another quorum's ViewChanges for each, all valid, and sometimes two.
    Quorum,
}

const TRICKS: [Trick; 2] = [Trick::List, Trick::Quorum];

#[derive(Debug, Default)]
pub(super) struct Usurper {
    tricks: BTreeSet<Trick>,
    /// Everybody's ViewChanges for the highest view.
    changes: BTreeMap<ValidatorIndex, Signed<ViewChange>>,
    watch: Watch,
}

impl Usurper {
    fn has(&self, stage: &mut Stage<'_>, trick: Trick) -> bool {
        self.tricks.contains(&trick) && stage.random.chance(700)
    }

    fn keep(&mut self, change: &Signed<ViewChange>) {
        let highest = self.changes.values().map(|held| held.body.view).max().unwrap_or(View::ZERO);
        if highest < change.body.view {
            self.changes.clear();
        }
        if highest <= change.body.view {
            self.changes.insert(change.from, change.clone());
        }
    }

    fn opens(&self, stage: &mut Stage<'_>, view: View, changes: Vec<Signed<ViewChange>>) -> Message {
        let mut list = carried(&changes);
        if self.has(stage, Trick::List) {
            match stage.random.below(3) {
                0 => list.clear(),
                1 => drop(list.pop()),
                _ => list.iter_mut().for_each(|(_, digest)| *digest = Batch::null_digest()),
            }
        }
        let (kind, epoch) = (Kind::PrePrepare, stage.set.epoch);
        let sign = |(height, digest)| stage.sign(Vote { kind, epoch, view, height, digest });
        let pre_prepares = list.into_iter().map(sign).collect();
        let new_view = NewView { epoch, view, view_changes: changes, pre_prepares };
        Message::NewView(Box::new(stage.sign_body(new_view)))
    }

    /// A quorum of what it heard, another one each time.
    fn other_quorum(&self, stage: &mut Stage<'_>, view: View) -> Option<Vec<Signed<ViewChange>>> {
        let mut all: Vec<_> =
            self.changes.values().filter(|change| change.body.view == view).cloned().collect();
        while all.len() > stage.set.quorum() {
            all.remove(stage.random.index(all.len()));
        }
        (all.len() == stage.set.quorum()).then_some(all)
    }
}

impl Actor for Usurper {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        let message = message_in(bytes);
        match &message {
            Some(Message::ViewChange(change)) => self.keep(change),
            _ => self.watch.see(bytes),
        }
        !message.is_some_and(|message| stage.is_by_me(&message))
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match message_in(&bytes) {
            Some(Message::ViewChange(change)) if stage.is_mine(change.from) => self.keep(&change),
            Some(Message::NewView(new_view)) if stage.is_mine(new_view.from) => {
                let (view, told) = (new_view.body.view, new_view.body.view_changes);
                for _ in 0..stage.random.within(1, 2) {
                    let other = self.has(stage, Trick::Quorum).then(|| self.other_quorum(stage, view));
                    let lie = self.opens(stage, view, other.flatten().unwrap_or_else(|| told.clone()));
                    let lie = Frame::Message(lie).encode();
                    if lie != bytes {
                        stage.deed();
                    }
                    stage.send(to, class, lie);
                }
                return;
            }
            _ => {}
        }
        stage.send(to, class, bytes);
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        if self.tricks.is_empty() {
            self.tricks.extend([*stage.random.pick(&TRICKS), *stage.random.pick(&TRICKS)]);
        }
        stage.is_restless(self.watch.view);
    }
}

/// What follows from ViewChanges (R18).
fn carried(changes: &[Signed<ViewChange>]) -> Vec<(Height, Hash)> {
    let base = changes.iter().map(|change| change.body.certified(Height::ZERO)).max().unwrap_or(Height::ZERO);
    let prepared =
        || changes.iter().flat_map(|change| &change.body.prepared).filter(|one| one.height() > base);
    let top = prepared().map(PreparedCertificate::height).max().unwrap_or(base);
    let best = |height| prepared().filter(|one| one.height() == height).max_by_key(|one| one.view());
    let digest = |height| best(height).map_or_else(Batch::null_digest, PreparedCertificate::digest);
    (base.next().0..=top.0).map(Height).map(|height| (height, digest(height))).collect()
}
