//! What is done outside the consensus loop, by lane. The node runs each lane on a thread of its own, tests call them in line.
//!
//! * [`VerifyLane`]: signatures, in big batches; clients' transactions made durable.
//! * [`WriteLane`]: the one writer of the chain, which stores small blocks that wait together (decision 5); tells the [`Feed`]
//!   what it stored.
//! * [`ServeLane`]: blocks and batches for peers that fell behind, in bounded answers; what was executed here and elsewhere.
//!
//! Tested by `tests/cluster.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use epione_chaincode::config::epochs;
use epione_consensus::{BlocksAnswer, FetchedBlock, Message, Payload};
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::Disk;
use epione_types::{Certificate, Domain, Epoch, Hash, Height, Params, TxId, Verifier, codec};
use tracing::warn;

use crate::divergence;
use crate::executor::{ChainState, Executor};
use crate::feed::{Block, Feed};
use crate::handle::may_be_below;
use crate::mempool::Account;
use crate::pool_log::PoolLog;
use crate::ports::{Answer, Candidate, Found, Job, Lane, Origin, Verdict};
use crate::snapshots::Snapshots;
use crate::validate::{Checked, Parsed, validate_batch, verify};
use crate::wire::{BLOCKS_BYTES, BLOCKS_BYTES_MAX, BLOCKS_MAX, Frame};

/// Bytes of a fetched block besides its batch, rounded up.
const BLOCK_OVERHEAD: usize = 320;

/// Rows of small blocks that are stored together: more save nothing, and who reads waits for them.
const GATHERED_ROWS: usize = 1_000;

/// Verifies signatures.
#[derive(Debug)]
pub struct VerifyLane<V, D> {
    chain: Arc<Chain>,
    verifier: V,
    pool: PoolLog<D>,
    checked: Remembered,
}

/// Transactions that were checked of late: whichever comes first, a forward or the batch, the other costs nothing.
#[derive(Debug)]
struct Remembered {
    most: usize,
    by_id: HashMap<TxId, Checked>,
    order: VecDeque<TxId>,
}

impl Remembered {
    /// One with this id, whose signatures may be others than those at hand: [`validate_batch`] compares, and at the door
    /// the checked one is as good.
    fn get(&self, id: TxId) -> Option<Checked> {
        self.by_id.get(&id).cloned()
    }

    fn keep(&mut self, tx: &Checked) {
        if self.by_id.insert(tx.id(), tx.clone()).is_none() {
            self.order.push_back(tx.id());
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }
}

impl<V: Verifier, D: Disk> VerifyLane<V, D> {
    /// With the durable pool of this node; remembers as many transactions as a mempool of `pool_txs` and two batches hold.
    pub fn new(chain: Arc<Chain>, params: &Params, verifier: V, pool: PoolLog<D>, pool_txs: usize) -> Self {
        let most = pool_txs.saturating_add((params.batch_txs_max as usize).saturating_mul(2));
        let checked = Remembered { most, by_id: HashMap::new(), order: VecDeque::new() };
        Self { chain, verifier, pool, checked }
    }

    /// Does a job of [`crate::ports::Lane::Verify`].
    pub fn perform(&mut self, job: Job) -> Option<Answer> {
        match job {
            Job::Check(candidates) => {
                let verdicts = self.check(candidates);
                Some(Answer::Checked { verdicts, logged: self.pool.end() })
            }
            Job::Validate { epoch, payload, params } => Some(self.validate(epoch, &payload, &params)),
            Job::CompactPool { live, from } => {
                self.pool.compact(&live, from);
                None
            }
            Job::Execute { .. }
            | Job::Certify(_)
            | Job::Keep(_)
            | Job::SyncStore
            | Job::Capture
            | Job::ReadBlocks { .. }
            | Job::ReadBatch { .. }
            | Job::ReadEnd { .. }
            | Job::ReadExecution { .. }
            | Job::Compare { .. }
            | Job::Snapshot(_) => None,
        }
    }

    fn validate(&mut self, epoch: Epoch, payload: &Payload, params: &Params) -> Answer {
        let known: Vec<_> = payload.batch().txs().iter().map(|tx| self.checked.get(tx.id())).collect();
        let result = validate_batch(payload, &known, self.chain.chain_id(), params, &self.verifier);
        for tx in result.iter().flatten() {
            self.checked.keep(tx);
        }
        Answer::Validated { epoch, digest: payload.digest(), result: result.map_err(|why| why.to_string()) }
    }

    fn check(&mut self, candidates: Vec<Candidate>) -> Vec<Verdict> {
        let chain = &self.chain;
        let mut known = Vec::with_capacity(candidates.len());
        let (mut fresh, mut places) = (Vec::new(), Vec::new());
        let mut origins = Vec::with_capacity(candidates.len());
        for (place, Candidate { parsed, origin }) in candidates.into_iter().enumerate() {
            let bytes = parsed.signed.encoded_len();
            // A store that fails says so when a block is executed; until then the contracts refuse duplicates.
            let executed = matches!(chain.locate(parsed.id()), Ok(Some(_)))
                || matches!(may_be_below(chain, parsed.id(), parsed.expires_at()), Ok(true));
            let taken = !executed && is_new_to_a_client(&origin) && is_request_id_taken(chain, &parsed);
            let done = match (executed, taken) {
                (true, _) => Some(Found::Executed),
                (false, true) => Some(Found::RequestIdTaken),
                (false, false) => None,
            };
            let checked = self.checked.get(parsed.id());
            if checked.is_none() && done.is_none() {
                fresh.push(parsed);
                places.push(place);
            }
            known.push(checked);
            origins.push((origin, bytes, done));
        }
        for (place, tx) in places.into_iter().zip(verify(fresh, &self.verifier)) {
            if let Some(known) = known.get_mut(place) {
                *known = tx;
            }
        }
        known.iter().flatten().for_each(|tx| self.checked.keep(tx));
        let clients = origins.iter().zip(&known).filter_map(|((origin, _, done), tx)| match (origin, tx) {
            (Origin::Client(Account::Client(client), _), Some(tx)) if done.is_none() => Some((*client, tx)),
            _ => None,
        });
        let durable = self.pool.append(clients);
        let verdict = |((origin, bytes, done), tx): ((Origin, usize, Option<Found>), Option<Checked>)| {
            let durable = durable && matches!(origin, Origin::Client(..));
            let found = match (done, tx) {
                (Some(done), _) => done,
                (None, Some(tx)) => Found::Good { tx, durable },
                (None, None) => Found::BadSignature,
            };
            Verdict { origin, bytes, found }
        };
        origins.into_iter().zip(known).map(verdict).collect()
    }
}

/// What a peer forwards, or was accepted before a restart, is for the contracts to refuse.
const fn is_new_to_a_client(origin: &Origin) -> bool {
    matches!(origin, Origin::Client(_, reply) if reply.is_heard())
}

/// Told at the door, and not only by a receipt: a client that builds its transaction anew instead of sending the same bytes
/// again learns it before anything is ordered. Two that wait at the same time are told apart by the contracts.
fn is_request_id_taken(chain: &Arc<Chain>, tx: &Parsed) -> bool {
    let body = &tx.decoded.body;
    let key = epione_chaincode::keys::request(&body.sender, body.request_id);
    // A block may have come since the receipt was looked for: its own id is no other's.
    matches!(epione_chaincode::host::get(&ChainState(chain.clone()), &key), Ok(Some(first)) if first != tx.id())
}

/// Executes and stores.
#[derive(Debug)]
pub struct WriteLane {
    executor: Executor,
    feed: Arc<Feed>,
    /// For it, once it is stored.
    news: Vec<News>,
    evidence: u64,
    snapshots: Snapshots,
}

#[derive(Debug)]
enum News {
    Stored(Block),
    Certified(Certificate),
}

impl WriteLane {
    /// The only writer of `chain`, which says when a snapshot is due.
    ///
    /// # Errors
    /// The store failed.
    pub fn new(chain: Arc<Chain>, feed: Arc<Feed>, snapshots: Snapshots) -> Result<Self, ChainError> {
        let last = chain.evidence(0, usize::MAX)?.last().map(|(number, _)| *number);
        let evidence = last.map_or(0, |number| number.saturating_add(1));
        Ok(Self { executor: Executor::new(chain), feed, news: Vec::new(), evidence, snapshots })
    }

    /// Does jobs of [`crate::ports::Lane::Write`] that wait, in order. What is small is stored together; nobody hears of what
    /// is not stored.
    pub fn perform(&mut self, jobs: impl IntoIterator<Item = Job>, mut answer: impl FnMut(Answer)) {
        let mut answers = Vec::new();
        let mut jobs = jobs.into_iter().peekable();
        while let Some(job) = jobs.next() {
            let chain = self.executor.chain().clone();
            let gathers = !chain.is_poisoned(); // if it is, who asks hears why
            if gathers {
                chain.gather();
            }
            answers.extend(self.one(job));
            let enough = chain.gathered() >= GATHERED_ROWS || chain.is_poisoned();
            if !gathers || enough || jobs.peek().is_none() {
                let settled = if gathers { self.done(Chain::settle) } else { Ok(()) };
                match settled {
                    Ok(()) => {
                        self.tell();
                        answers.drain(..).for_each(&mut answer);
                    }
                    Err(why) => {
                        self.news.clear();
                        answers.clear();
                        answer(Answer::Failed(why));
                    }
                }
            }
        }
    }

    fn tell(&mut self) {
        for one in self.news.drain(..) {
            match one {
                News::Stored(block) => self.feed.stored(block),
                News::Certified(certificate) => self.feed.certified(&certificate),
            }
        }
    }

    fn one(&mut self, job: Job) -> Option<Answer> {
        let answer = match job {
            Job::Execute { height, payload, txs, position } => {
                let written = self.executor.append(height, &payload, txs, position);
                written.map_err(|error| error.to_string()).map(|written| {
                    let ids = written.ids;
                    let (header, deadline) = (Box::new(written.header.clone()), written.deadline);
                    let epochs = Box::new(written.epochs);
                    let block = Block { header: written.header, receipts: written.receipts };
                    self.news.push(News::Stored(block));
                    let captured = self.capture(height);
                    Some(Answer::Executed { header, ids, deadline, epochs, captured })
                })
            }
            Job::Certify(certificate) => self.done(|chain| chain.certify(&certificate)).map(|()| {
                self.news.push(News::Certified(certificate));
                None
            }),
            Job::Keep(evidence) => {
                let (number, bytes) = (self.evidence, codec::encode(&evidence.votes()));
                self.evidence = number.saturating_add(1);
                self.done(|chain| chain.keep_evidence(number, bytes)).map(|()| None)
            }
            Job::SyncStore => self.done(Chain::sync).map(|height| Some(Answer::Synced(height))),
            Job::Capture => {
                let chain = self.executor.chain();
                let some = (chain.head().height > Height::ZERO).then(|| chain.begin_capture());
                Ok(Some(Answer::Captured(some.flatten())))
            }
            Job::Check(_)
            | Job::Validate { .. }
            | Job::CompactPool { .. }
            | Job::ReadBlocks { .. }
            | Job::ReadBatch { .. }
            | Job::ReadEnd { .. }
            | Job::ReadExecution { .. }
            | Job::Compare { .. }
            | Job::Snapshot(_) => Ok(None),
        };
        answer.unwrap_or_else(|why| Some(Answer::Failed(why)))
    }

    /// Begins to capture the state of a height of which a snapshot is due, if it is the head's.
    fn capture(&self, height: Height) -> bool {
        let chain = self.executor.chain();
        let sealed = |height| Some(chain.header(height).ok()??.timestamp);
        self.snapshots.is_due(height, sealed)
            && chain.head().height == height
            && chain.begin_capture().is_some()
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
            Job::ReadEnd { peer, epoch } => {
                (peer, self.end(epoch).map(|end| end.map(|one| Frame::Message(Message::Certificate(one)))))
            }
            Job::ReadExecution { peer, height } => {
                let read = divergence::read(&self.chain, height);
                (peer, read.map(|found| found.map(|found| Frame::Execution(Box::new(found)))))
            }
            Job::Compare { peer, wanted, execution } => {
                let compared = divergence::compare(&self.chain, wanted, &execution);
                let unread = |error: &ChainError| warn!(%error, "what differs cannot be compared");
                return Some(Answer::Compared { peer, compared: compared.inspect_err(unread).ok() });
            }
            Job::Check(_)
            | Job::Validate { .. }
            | Job::Execute { .. }
            | Job::Certify(_)
            | Job::Keep(_)
            | Job::SyncStore
            | Job::Capture
            | Job::CompactPool { .. }
            | Job::Snapshot(_) => return None,
        };
        let frame = found.unwrap_or_else(|error| {
            warn!(%error, "a peer could not be served");
            None
        });
        let lane = Lane::Serve;
        Some(Answer::Read { peer, lane, frame: frame.map(|frame| (frame.class(), frame.encode())) })
    }

    /// The certificate of an epoch's last height.
    fn end(&self, epoch: Epoch) -> Result<Option<Certificate>, ChainError> {
        let begun = self.chain.epoch(Epoch(epoch.0.saturating_add(1)))?.map(|(end, _)| end);
        let end = match begun {
            Some(end) => Some(end),
            // Decided, and nothing was ordered since it began.
            None => epochs(&ChainState(self.chain.clone()))
                .ok()
                .and_then(|state| state.next.filter(|_| state.of.set.epoch == epoch).map(|next| next.after)),
        };
        Ok(end.map(|end| self.chain.certificate(end)).transpose()?.flatten())
    }

    /// Consecutive blocks from `from` on, about [`BLOCKS_BYTES`], ending with one that has a certificate of its own. All of one
    /// epoch: who asks knows its validators alone (R20).
    fn blocks(&self, from: Height, to: Height) -> Result<Option<BlocksAnswer>, ChainError> {
        let mut blocks = Vec::new();
        let (mut bytes, mut complete) = (0, None);
        for height in (from.0.max(1)..=to.0).map(Height) {
            let (Some(header), Some(batch)) = (self.chain.header(height)?, self.chain.batch(height)?) else {
                break;
            };
            if blocks.first().is_some_and(|first: &FetchedBlock| first.header.epoch != header.epoch) {
                break;
            }
            bytes += batch.len() + BLOCK_OVERHEAD;
            if (bytes > BLOCKS_BYTES_MAX && !blocks.is_empty()) || blocks.len() == BLOCKS_MAX {
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
