//! How much work is under way: what is beyond a lane's measure waits here, where something else bounds it.
//!
//! | lane | job | at most | what more there is waits |
//! |---|---|---|---|
//! | verify | check | 2 of [`CHECK_TXS_MAX`] each | as candidates: each has its room in the mempool |
//! | verify | validate | 2 | as long as the replica keeps the batch (R28) |
//! | verify | compaction | 4 | never: each takes more transactions than are being checked |
//! | write | execute | 3 windows and an answer with blocks | never: the window, and no blocks are fetched above two of them |
//! | write | certify | one for each of these | never: what is certified was executed |
//! | write | evidence | one for each validator and kind, in an epoch | never |
//! | write | sync | 1 | never: the log is trimmed once at a time |
//! | write | capture | 1 | never: one snapshot is made at a time |
//! | serve | read | 2 for each peer | never: refused, and counted |
//! | serve | compare | 1 | never: one peer is asked at a time |
//! | snapshot | read | 2 for each peer | never: refused, and counted |
//! | snapshot | make | 1 step | as a height whose next step is due |
//! | snapshot | keep | as many as are asked for | never: chunks that were not asked for are refused |
//! | snapshot | begin, finish, give up | 1 of each | never: one is fetched at a time |
//!
//! [`jobs_max`] adds that up; [`crate::threads`] has queues of that length and fails on more. Tested by `tests/cluster.rs`.

use std::sync::Arc;

use epione_chaincode::governance::CANDIDATES_MAX;
use epione_consensus::Payload;
use epione_types::Epoch;
use epione_types::genesis::WINDOW_MAX;
use epione_types::quorum::MAX_VALIDATORS;

use super::{Driver, Ports};
use crate::ports::{Job, Lane, Workers as _};
use crate::wire::BLOCKS_MAX;

/// Transactions that are checked together: more gains nothing, and a batch that comes after them waits.
pub const CHECK_TXS_MAX: usize = 1_024;
/// Checks under way: one is worked on, one waits so that the lane is never idle. Meanwhile candidates gather.
const CHECKS_MAX: usize = 2;
/// Validations under way, likewise.
const VALIDATES_MAX: usize = 2;
/// Compactions of the durable pool under way.
const COMPACTIONS_MAX: usize = 4;
/// Kinds of evidence against a validator: PrePrepare, Prepare, Commit, Seal, Suspect.
const EVIDENCE_KINDS: usize = 5;
/// Reads for one peer under way.
pub(super) const SERVING_MAX: usize = 2;

/// Steps of making and fetching a snapshot under way, with chunks of one that was given up.
const SNAPSHOT_STEPS_MAX: usize = 64;
/// Comparisons with what a peer executed under way.
const COMPARISONS_MAX: usize = 1;

/// Peers that are linked to at most: all the validators there can be, those that left last, and who follows.
const PEERS_MAX: usize = 2 * MAX_VALIDATORS + CANDIDATES_MAX;

/// The most jobs of a lane that are ever under way, whoever validates.
#[must_use]
pub fn jobs_max(lane: Lane) -> usize {
    let window = usize::try_from(WINDOW_MAX).unwrap_or(usize::MAX);
    let blocks = window.saturating_mul(3).saturating_add(BLOCKS_MAX);
    match lane {
        Lane::Verify => CHECKS_MAX + VALIDATES_MAX + COMPACTIONS_MAX,
        Lane::Write => blocks.saturating_mul(2).saturating_add(MAX_VALIDATORS * EVIDENCE_KINDS + 2),
        Lane::Serve => PEERS_MAX * SERVING_MAX + COMPARISONS_MAX,
        Lane::Snapshot => PEERS_MAX * SERVING_MAX + super::snapshot::CHUNKS_MAX + SNAPSHOT_STEPS_MAX,
    }
}

impl<P: Ports> Driver<P> {
    /// Checks candidates, as many together as may be: signatures are cheaper together.
    pub(super) fn check_candidates(&mut self) {
        while self.checking < CHECKS_MAX && !self.candidates.is_empty() {
            let now = self.candidates.len().min(CHECK_TXS_MAX);
            self.checking += 1;
            self.workers.start(Job::Check(self.candidates.drain(..now).collect()));
        }
    }

    /// Validates a batch, when its turn comes.
    pub(super) fn validate(&mut self, epoch: Epoch, payload: Arc<Payload>) {
        self.unvalidated.push_back((epoch, payload));
        self.validate_next();
    }

    /// Validates the next batches that the replica still wants.
    pub(super) fn validate_next(&mut self) {
        while self.validating < VALIDATES_MAX
            && let Some((epoch, payload)) = self.unvalidated.pop_front()
        {
            let set = &self.replica.config().set;
            if epoch == set.epoch && self.replica.batch(payload.digest()).is_some() {
                self.validating += 1;
                let params = Arc::new(set.params.clone());
                self.workers.start(Job::Validate { epoch, payload, params });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serve_lane_holds_two_reads_for_each_peer_and_one_comparison() {
        // Every validator, those who left with the last epoch, and all who may follow.
        let peers = MAX_VALIDATORS + MAX_VALIDATORS + CANDIDATES_MAX;
        assert_eq!(jobs_max(Lane::Serve), 2 * peers + 1);
    }
}
