//! What is done outside the consensus loop, by lane. The node runs each lane on a thread of its own, tests call them in line.
//!
//! * [`VerifyLane`]: signatures, in big batches; clients' transactions made durable.
//! * [`WriteLane`]: the one writer of the chain; tells the [`Feed`] what it stored.
//! * [`ServeLane`]: blocks and batches for peers that fell behind, in bounded answers.
//!
//! Tested by `tests/cluster.rs`.

use std::sync::Arc;

use epione_consensus::{BlocksAnswer, FetchedBlock, Message, Payload};
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::Disk;
use epione_types::{Domain, Hash, Height, Params, ValidatorSet, Verifier, codec};
use tracing::warn;

use crate::executor::Executor;
use crate::feed::{Block, Feed};
use crate::pool_log::PoolLog;
use crate::ports::{Answer, Candidate, Found, Job, Origin, Verdict};
use crate::validate::{Checked, validate_batch, verify};
use crate::wire::{BLOCKS_BYTES, BLOCKS_BYTES_MAX, Frame};

/// Bytes of a fetched block besides its batch, rounded up.
const BLOCK_OVERHEAD: usize = 320;

/// Verifies signatures.
#[derive(Debug)]
pub struct VerifyLane<V, D> {
    chain: Arc<Chain>,
    params: Params,
    verifier: V,
    pool: PoolLog<D>,
}

impl<V: Verifier, D: Disk> VerifyLane<V, D> {
    /// With the durable pool of this node.
    pub const fn new(chain: Arc<Chain>, params: Params, verifier: V, pool: PoolLog<D>) -> Self {
        Self { chain, params, verifier, pool }
    }

    /// Does a job of [`crate::ports::Lane::Verify`].
    pub fn perform(&mut self, job: Job) -> Option<Answer> {
        match job {
            Job::Check(candidates) => Some(Answer::Checked(self.check(candidates))),
            Job::Validate { payload, known } => Some(self.validate(&payload, &known)),
            Job::CompactPool(live) => {
                self.pool.compact(&live);
                None
            }
            Job::Execute { .. }
            | Job::Certify(_)
            | Job::Keep(_)
            | Job::SyncStore
            | Job::ReadBlocks { .. }
            | Job::ReadBatch { .. } => None,
        }
    }

    fn validate(&self, payload: &Payload, known: &[Option<Checked>]) -> Answer {
        let result = validate_batch(payload, known, self.chain.chain_id(), &self.params, &self.verifier);
        Answer::Validated { digest: payload.digest(), result: result.map_err(|why| why.to_string()) }
    }

    fn check(&mut self, candidates: Vec<Candidate>) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(candidates.len());
        let (mut origins, mut parsed) = (Vec::new(), Vec::new());
        for Candidate { parsed: tx, origin } in candidates {
            // A store that fails says so when a block is executed; until then the contracts refuse duplicates.
            if matches!(self.chain.locate(tx.id()), Ok(Some(_))) {
                verdicts.push(Verdict { origin, bytes: tx.signed.encoded_len(), found: Found::Executed });
            } else {
                origins.push((origin, tx.signed.encoded_len()));
                parsed.push(tx);
            }
        }
        let checked = verify(parsed, &self.verifier);
        let clients =
            origins.iter().zip(&checked).filter_map(|((origin, _), result)| match (origin, result) {
                (Origin::Client(account, _), Some(tx)) => Some((*account, tx)),
                _ => None,
            });
        let durable = self.pool.append(clients);
        for ((origin, bytes), result) in origins.into_iter().zip(checked) {
            let client = matches!(origin, Origin::Client(..));
            let found = match result {
                Some(tx) => Found::Good { tx, durable: durable && client },
                None => Found::BadSignature,
            };
            verdicts.push(Verdict { origin, bytes, found });
        }
        verdicts
    }
}

/// Executes and stores.
#[derive(Debug)]
pub struct WriteLane {
    executor: Executor,
    feed: Arc<Feed>,
    evidence: u64,
}

impl WriteLane {
    /// The only writer of `chain`.
    ///
    /// # Errors
    /// The store failed.
    pub fn new(chain: Arc<Chain>, set: ValidatorSet, feed: Arc<Feed>) -> Result<Self, ChainError> {
        let last = chain.evidence(0, usize::MAX)?.last().map(|(number, _)| *number);
        let evidence = last.map_or(0, |number| number.saturating_add(1));
        Ok(Self { executor: Executor::new(chain, set), feed, evidence })
    }

    /// Does a job of [`crate::ports::Lane::Write`].
    pub fn perform(&mut self, job: Job) -> Option<Answer> {
        let answer = match job {
            Job::Execute { height, payload, txs, position } => {
                let written = self.executor.append(height, &payload, txs, position);
                written.map_err(|error| error.to_string()).map(|written| {
                    let ids = written.ids;
                    let (header, deadline) = (Box::new(written.header.clone()), written.deadline);
                    self.feed.stored(Block { header: written.header, receipts: written.receipts });
                    Some(Answer::Executed { header, ids, deadline })
                })
            }
            Job::Certify(certificate) => self.done(|chain| chain.certify(&certificate)).map(|()| {
                self.feed.certified(&certificate);
                None
            }),
            Job::Keep(evidence) => {
                let (number, bytes) = (self.evidence, codec::encode(&evidence.votes()));
                self.evidence = number.saturating_add(1);
                self.done(|chain| chain.keep_evidence(number, bytes)).map(|()| None)
            }
            Job::SyncStore => self.done(Chain::sync).map(|height| Some(Answer::Synced(height))),
            Job::Check(_)
            | Job::Validate { .. }
            | Job::CompactPool(_)
            | Job::ReadBlocks { .. }
            | Job::ReadBatch { .. } => Ok(None),
        };
        answer.unwrap_or_else(|why| Some(Answer::Failed(why)))
    }

    fn done<T>(&self, act: impl FnOnce(&Chain) -> Result<T, ChainError>) -> Result<T, String> {
        act(self.executor.chain()).map_err(|error| error.to_string())
    }
}

/// Reads for peers.
#[derive(Debug, Clone)]
pub struct ServeLane {
    chain: Arc<Chain>,
}

impl ServeLane {
    /// From `chain`.
    #[must_use]
    pub const fn new(chain: Arc<Chain>) -> Self {
        Self { chain }
    }

    /// Does a job of [`crate::ports::Lane::Serve`].
    pub fn perform(&mut self, job: Job) -> Option<Answer> {
        let (peer, found) = match job {
            Job::ReadBlocks { peer, from, to } => {
                (peer, self.blocks(from, to).map(|answer| answer.map(Frame::Blocks)))
            }
            Job::ReadBatch { peer, height, digest } => {
                (peer, self.batch(height, digest).map(|batch| batch.map(Frame::Message)))
            }
            Job::Check(_)
            | Job::Validate { .. }
            | Job::Execute { .. }
            | Job::Certify(_)
            | Job::Keep(_)
            | Job::SyncStore
            | Job::CompactPool(_) => return None,
        };
        let frame = found.unwrap_or_else(|error| {
            warn!(%error, "a peer could not be served");
            None
        });
        Some(Answer::Read { peer, frame: frame.map(|frame| frame.encode()) })
    }

    /// Consecutive blocks from `from` on, about [`BLOCKS_BYTES`], ending with one that has a certificate of its own.
    fn blocks(&self, from: Height, to: Height) -> Result<Option<BlocksAnswer>, ChainError> {
        let mut blocks = Vec::new();
        let (mut bytes, mut complete) = (0, None);
        for height in (from.0.max(1)..=to.0).map(Height) {
            let (Some(header), Some(batch)) = (self.chain.header(height)?, self.chain.batch(height)?) else {
                break;
            };
            bytes += batch.len() + BLOCK_OVERHEAD;
            if bytes > BLOCKS_BYTES_MAX {
                break;
            }
            blocks.push(FetchedBlock { header, batch: batch.into() });
            if let Some(certificate) = self.chain.certificate(height)? {
                complete = Some((blocks.len(), certificate));
                if bytes >= BLOCKS_BYTES {
                    break;
                }
            }
        }
        Ok(complete.map(|(count, certificate)| {
            blocks.truncate(count);
            BlocksAnswer { blocks, certificate }
        }))
    }

    /// The batch of a stored block, if it is the one asked for.
    fn batch(&self, height: Height, digest: Hash) -> Result<Option<Message>, ChainError> {
        let batch = self.chain.batch(height)?.filter(|bytes| Domain::BATCH.hash(bytes) == digest);
        Ok(batch.map(|bytes| Message::Batch(bytes.into())))
    }
}
