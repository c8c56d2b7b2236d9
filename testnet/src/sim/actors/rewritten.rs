//! Other versions of its body's proposals: made when a proposal is first sent, and the same from then on.

use std::collections::BTreeMap;

use bytes::Bytes;
use epione_consensus::{Payload, SignedVote, Vote};
use epione_types::{Batch, Hash, SignedTx, TimestampMs};

use super::Stage;

/// Slots that are remembered.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Rewritten(BTreeMap<(u64, u64), Option<(Hash, Bytes)>>);

impl Rewritten {
    /// The other version of a proposal, with its batch. `change` turns stamp and transactions into others, or lets them be.
    pub(super) fn version(
        &mut self,
        stage: &mut Stage<'_>,
        proposal: &SignedVote,
        batch: &Bytes,
        change: impl FnOnce(&mut Stage<'_>, TimestampMs, &[SignedTx]) -> Option<(TimestampMs, Vec<SignedTx>)>,
    ) -> Option<(Vote, Bytes)> {
        let slot = slot(&proposal.vote);
        let is_new = !self.0.contains_key(&slot);
        if is_new {
            let payload = Payload::decode(batch.clone(), &stage.set.params).ok()?;
            let Batch::Proposed { proposer, stamp, txs } = payload.batch() else { return None };
            let other = change(stage, *stamp, txs).map(|(stamp, txs)| {
                let other = Payload::new(Batch::Proposed { proposer: *proposer, stamp, txs });
                (other.digest(), other.bytes().clone())
            });
            self.0.insert(slot, other);
            while self.0.len() > REMEMBERED {
                self.0.pop_first();
            }
        }
        let (digest, bytes) = self.0.get(&slot)?.as_ref()?;
        Some((Vote { digest: *digest, ..proposal.vote }, bytes.clone()))
    }

    /// The same vote for the slot's other version, if there is one.
    pub(super) fn vote(&self, vote: &Vote) -> Option<Vote> {
        let (digest, _) = self.0.get(&slot(vote))?.as_ref()?;
        Some(Vote { digest: *digest, ..*vote })
    }
}

const fn slot(vote: &Vote) -> (u64, u64) {
    (vote.height.0, vote.view.0)
}
