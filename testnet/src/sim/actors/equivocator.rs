//! Says one thing to some and another to others: two proposals for one slot, two votes for one slot, two seals for one height.
//!
//! The others are divided anew for each slot, and a few are told both. What it proposes twice differs in the stamp or in the
//! order of the transactions, so both are valid batches, and it votes in each half for what that half was shown.

use bytes::Bytes;
use epione_consensus::{Kind, Message, Vote};
use epione_node::network::Class;
use epione_types::{Domain, Hash, SignedTx, TimestampMs};

use super::rewritten::Rewritten;
use super::{Actor, Stage, message_in};

#[derive(Debug, Default)]
pub(super) struct Equivocator {
    doubles: Rewritten,
}

/// Is this one shown the second version? Each digest divides the others in its own way.
fn is_second(digest: Hash, to: usize) -> bool {
    digest.0[to % 32] & 1 == 1
}

fn double(
    stage: &mut Stage<'_>,
    stamp: TimestampMs,
    txs: &[SignedTx],
) -> Option<(TimestampMs, Vec<SignedTx>)> {
    let mut txs = txs.to_vec();
    match stage.random.below(3) {
        0 => txs.reverse(),
        1 => drop(txs.pop()),
        _ => {}
    }
    Some((stamp.plus(1), txs))
}

impl Actor for Equivocator {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let second = match message_in(&bytes) {
            Some(Message::Proposal(vote, Some(batch))) if stage.is_mine(vote.from) => {
                let other = self.doubles.version(stage, &vote, &batch, double);
                other.map(|(vote, batch)| (vote, Some(batch)))
            }
            Some(Message::Vote(vote)) if vote.vote.kind == Kind::Suspect => None,
            Some(Message::Vote(vote)) => {
                let other = self.doubles.vote(&vote.vote).filter(|_| vote.vote.kind != Kind::Seal);
                let lie = other.is_none() && stage.random.chance(100);
                let digest = Domain::new("epione/sim-lie").hash(&vote.vote.digest.0);
                other.or_else(|| lie.then_some(Vote { digest, ..vote.vote })).map(|vote| (vote, None))
            }
            _ => None,
        };
        let Some((vote, batch)) = second else { return stage.send(to, class, bytes) };
        let both = stage.random.chance(100);
        let is_second = is_second(vote.digest, to);
        if both || !is_second {
            stage.send(to, class, bytes);
        }
        if both || is_second {
            stage.deed();
            let vote = stage.sign(vote);
            let proposal = vote.vote.kind == Kind::PrePrepare;
            stage.message(to, if proposal { Message::Proposal(vote, batch) } else { Message::Vote(vote) });
        }
    }
}
