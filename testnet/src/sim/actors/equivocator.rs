//! Says one thing to some and another to others: two proposals for one slot, two votes for one slot, two seals for one height.
//!
//! The others are divided anew for each slot. What it proposes twice differs in the stamp or in the order of the
//! transactions, so both are valid batches, and it votes in each half for what that half was shown.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use epione_consensus::{Kind, Message, Payload, SignedVote, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Batch, Domain, Hash, TimestampMs};

use super::{Actor, Stage};

/// Slots whose second version it remembers.
const REMEMBERED: usize = 64;

#[derive(Debug)]
struct Double {
    half: u64,
    digest: Hash,
    batch: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Equivocator {
    doubles: BTreeMap<(u64, u64), Double>,
}

impl Equivocator {
    /// The other version of its own proposal, made once.
    fn double(&mut self, stage: &mut Stage<'_>, vote: &SignedVote, batch: &Bytes) -> Option<&Double> {
        while self.doubles.len() > REMEMBERED {
            self.doubles.pop_first();
        }
        let slot = (vote.vote.height.0, vote.vote.view.0);
        match self.doubles.entry(slot) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => Some(place.insert(Double::of(stage, batch)?)),
        }
    }
}

impl Double {
    fn of(stage: &mut Stage<'_>, batch: &Bytes) -> Option<Self> {
        let payload = Payload::decode(batch.clone(), &stage.set.params).ok()?;
        let Batch::Proposed { proposer, stamp, txs } = payload.batch() else { return None };
        let mut txs = txs.clone();
        match stage.random.below(3) {
            0 => txs.reverse(),
            1 => drop(txs.pop()),
            _ => {}
        }
        let stamp = TimestampMs(stamp.0 + 1);
        let other = Payload::new(Batch::Proposed { proposer: *proposer, stamp, txs });
        Some(Self { half: stage.random.word(), digest: other.digest(), batch: other.bytes().clone() })
    }
}

impl Actor for Equivocator {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let Ok(Frame::Message(message)) = Frame::decode(&bytes) else { return stage.send(to, class, bytes) };
        let changed = match message {
            Message::Proposal(vote, Some(batch)) if vote.from.get() == stage.me => {
                self.double(stage, &vote, &batch).filter(|double| double.half >> to & 1 == 1).map(|double| {
                    let vote = Vote { digest: double.digest, ..vote.vote };
                    (vote, Some(double.batch.clone()))
                })
            }
            Message::Vote(vote) if vote.vote.kind != Kind::Suspect => {
                let double = self.doubles.get(&(vote.vote.height.0, vote.vote.view.0));
                let seal = vote.vote.kind == Kind::Seal;
                match double.filter(|double| !seal && double.half >> to & 1 == 1) {
                    Some(double) => Some((Vote { digest: double.digest, ..vote.vote }, None)),
                    None if stage.random.chance(100) => {
                        let digest = Domain::new("epione/sim-lie").hash(&vote.vote.digest.0);
                        Some((Vote { digest, ..vote.vote }, None))
                    }
                    None => None,
                }
            }
            _ => None,
        };
        let Some((vote, batch)) = changed else { return stage.send(to, class, bytes) };
        stage.deed();
        let vote = stage.sign(vote);
        stage.message(
            to,
            if vote.vote.kind == Kind::PrePrepare {
                Message::Proposal(vote, batch)
            } else {
                Message::Vote(vote)
            },
        );
    }
}
