//! The one loop of a validator, as a plain value: inputs in, effects out through ports; no clock, thread or tokio in it.
//!
//! ```text
//!  frames, submissions, answers ─▶ handle ─▶ replica.on … (many) ─▶ one log sync ─▶ effects, in order
//!                                                                                   send · validate · execute · store
//! ```
//!
//! [`Driver::handle`] drains what has come, merges the steps, syncs the log once and then performs the effects (R3).
//! Signatures of batches, execution and reading for peers are [`Job`]s: workers do them, their answers come back as inputs.
//!
//! How it cannot go wrong: one `&mut Driver` has all state, so components cannot wait for one another; it never waits on a
//! port, so a worker may wait for it; whatever a peer sends is bounded, verified and counted before the replica sees it.
//! A failed write ends voting at once and for good, while reads and peers are still served; a restart resumes.
//! Tested by `tests/cluster.rs`, in virtual time.

mod divergence;
mod door;
mod effects;
mod frames;
mod jobs;
mod peers;
mod snapshot;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use epione_consensus::{Config, Event, Payload, Place, Replica, Stage, Step, Waiting, Wal as _};
use epione_types::{
    Batch, Certificate, ChainId, Epoch, Hash, Height, PublicKey, SignedTx, TimestampMs, TxId, ValidatorIndex,
    Verifier, View,
};
use tracing::{debug, error, info, warn};

use crate::conduct::{Conduct, Offence};
use crate::explain::{self, Snapshot};
use crate::mempool::{Client, Known, Limits, Pool, PoolSize};
use crate::network::Class;
use crate::ports::{Answer, Candidate, Job, Lane, Log, Transport, Workers};
use crate::snapshots::Snapshots;
use crate::validate::Checked;

pub use jobs::{CHECK_TXS_MAX, jobs_max};
pub use snapshot::SnapshotReply;

/// Bytes of an encoded batch that are not transactions.
const BATCH_OVERHEAD: usize = 4 + 2 + 8 + 8;
/// Alarms that are kept for operators.
const ALARMS_KEPT: usize = 16;
/// For how long after an epoch began nobody is blamed, in ms: peers got other places.
const RENAMED_MS: u64 = 2_000;
/// How often the log says what the node waits for, in ms.
const REPORT_EVERY: u64 = 5_000;

/// The four ports, as types.
pub trait Ports {
    /// To other validators.
    type Transport: Transport;
    /// The consensus log.
    type Log: Log;
    /// Work outside the loop.
    type Workers: Workers;
    /// The signature predicate.
    type Verifier: Verifier;
}

/// Something for the driver.
#[derive(Debug)]
pub enum Input {
    /// A link to this validator is up.
    Connected(ValidatorIndex),
    /// There is none any more.
    Disconnected(ValidatorIndex),
    /// A validator belongs to another chain, so there will be no link.
    OtherChain {
        /// Who: the key that authenticated the connection.
        from: ValidatorIndex,
        /// The chain that it says is its own.
        chain: ChainId,
    },
    /// Bytes from a validator.
    Frame {
        /// Who: the key that authenticated the link.
        from: ValidatorIndex,
        /// By which stream.
        class: Class,
        /// The bytes.
        bytes: Bytes,
    },
    /// A transaction from a client, or out of the durable pool.
    Submit(Candidate),
    /// What is known of this transaction here?
    Lookup {
        /// Which.
        id: TxId,
        /// Called once.
        reply: LookupReply,
    },
    /// An operator wants a snapshot of the present state.
    MakeSnapshot(SnapshotReply),
    /// From a worker.
    Answer(Answer),
    /// Nothing but time.
    Tick,
}

/// Called once with what the pool knows of a transaction. Must not block.
pub struct LookupReply(Box<dyn FnOnce(Option<Known>) + Send>);

impl LookupReply {
    /// From a closure.
    pub fn new(reply: impl FnOnce(Option<Known>) + Send + 'static) -> Self {
        Self(Box::new(reply))
    }
}
impl core::fmt::Debug for LookupReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LookupReply")
    }
}

/// Settings of this node; what all must share comes with the epoch's parameters.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds of the mempool.
    pub pool: Limits,
    /// A log longer than this is trimmed to what still binds the validator, in bytes.
    pub log_bytes_max: u64,
    /// When a snapshot is made, and when one is fetched.
    pub snapshots: Snapshots,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pool: Limits::default(), log_bytes_max: 160 << 20, snapshots: Snapshots::default() }
    }
}

/// How a validator is, for operators.
#[derive(Debug, Clone)]
pub struct DriverStatus {
    /// The epoch that it is in, and its place there.
    pub epoch: Arc<Config>,
    /// Its consensus.
    pub waiting: Waiting,
    /// Its mempool.
    pub pool: PoolSize,
    /// Blocks handed to execution and not done.
    pub executing: usize,
    /// Why it has stopped voting for want of disk or store.
    pub fault: Option<String>,
    /// The last alarms, oldest first.
    pub alarms: Vec<String>,
    /// Highest low that each peer told of.
    pub peers_low: BTreeMap<ValidatorIndex, Height>,
    /// What the node says of itself is made of this.
    pub snapshot: Snapshot,
    /// What each peer did wrong, if it did; what the network itself refuses is in [`crate::network::PeerStatus`].
    pub conduct: BTreeMap<ValidatorIndex, Conduct>,
}

impl DriverStatus {
    /// A validator of the present epoch whom neither a halt nor a fault of its disk or store keeps from voting.
    #[must_use]
    pub fn is_voting(&self) -> bool {
        self.fault.is_none() && self.waiting.halted.is_none() && self.epoch.is_member()
    }
}

/// Where the log's trimming stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trim {
    Idle,
    /// What still binds stands at `index` and after; what is before goes once the store has synced up to `low`.
    UntilSynced {
        low: Height,
        index: u64,
    },
}

/// One validator.
pub struct Driver<P: Ports> {
    replica: Replica,
    transport: P::Transport,
    log: P::Log,
    workers: P::Workers,
    verifier: P::Verifier,
    settings: Settings,
    pool: Pool,
    now: u64,
    clock: TimestampMs,
    /// The epoch and view whose entering was performed.
    entered: (Epoch, View),
    /// Candidates that wait to be checked.
    candidates: VecDeque<Candidate>,
    /// Checks under way.
    checking: usize,
    /// Batches that wait to be validated.
    unvalidated: VecDeque<(Epoch, Arc<Payload>)>,
    /// Validations under way.
    validating: usize,
    /// What the durable pool held at the start and has found no room yet, in order of acceptance.
    held: VecDeque<(Client, SignedTx)>,
    /// Batches whose transactions were checked, until delivered; the oldest go first.
    checked: HashMap<Hash, Vec<Checked>>,
    checked_order: VecDeque<Hash>,
    executing: usize,
    /// The highest height that was handed to execution.
    delivered: Height,
    /// Proposals under way up to which another one need not be full.
    pipeline: u64,
    /// Until this height is executed again, peers are not listened to.
    restoring: Option<Height>,
    /// When something in the state next waits for time.
    deadline: Option<TimestampMs>,
    /// Who was asked for blocks, and has not answered.
    asked: Option<ValidatorIndex>,
    /// Whose turn it is to be asked for a batch.
    batch_turn: usize,
    /// Reads under way for each peer.
    serving: BTreeMap<(ValidatorIndex, Lane), usize>,
    conduct: BTreeMap<ValidatorIndex, Conduct>,
    /// Network keys of this epoch's validators, of those that left with the last one, and of those who may follow.
    members: Vec<PublicKey>,
    /// The epoch whose places are in what peers are called: the replica is ahead of it while a step is not performed.
    rostered: Epoch,
    /// When the last epoch began here.
    turned_at: u64,
    left: Vec<PublicKey>,
    candidates_known: Vec<PublicKey>,
    peers: peers::Peers,
    shelving: snapshot::Shelving,
    /// Where the replica stands, and since when.
    stands: Place,
    stands_since: u64,
    trim: Trim,
    /// Length at which the log is trimmed next, in bytes.
    log_bytes_max: u64,
    /// Transactions written to the durable pool since it was compacted.
    pool_logged: usize,
    /// Where its log ended at the last answer to a check: what checks under way write stands there or after.
    pool_end: u64,
    last_resend: u64,
    last_report: u64,
    fault: Option<String>,
    alarms: VecDeque<String>,
    /// After a halt: what this node executed differently.
    search: Option<divergence::Search>,
}

impl<P: Ports> Driver<P> {
    /// From a replica that was born or restored. [`Driver::start`] follows.
    pub fn new(
        replica: Replica,
        deadline: Option<TimestampMs>,
        settings: Settings,
        transport: P::Transport,
        log: P::Log,
        workers: P::Workers,
        verifier: P::Verifier,
    ) -> Self {
        let waiting = replica.waiting();
        let pool = Pool::new(settings.pool, replica.config().set.len());
        let members = replica.config().set.validators.iter().map(|one| one.network_key).collect();
        Self {
            entered: (waiting.epoch, waiting.view),
            stands: replica.place(),
            restoring: (waiting.delivered > waiting.executed).then_some(waiting.delivered),
            replica,
            transport,
            log,
            workers,
            verifier,
            pool,
            now: 0,
            clock: TimestampMs::ZERO,
            candidates: VecDeque::new(),
            checking: 0,
            unvalidated: VecDeque::new(),
            validating: 0,
            held: VecDeque::new(),
            checked: HashMap::new(),
            checked_order: VecDeque::new(),
            executing: 0,
            delivered: waiting.delivered,
            pipeline: 1,
            deadline,
            asked: None,
            batch_turn: 0,
            serving: BTreeMap::new(),
            conduct: BTreeMap::new(),
            members,
            rostered: waiting.epoch,
            turned_at: 0,
            left: Vec::new(),
            candidates_known: Vec::new(),
            peers: peers::Peers::default(),
            shelving: snapshot::Shelving::new(settings.snapshots),
            stands_since: 0,
            trim: Trim::Idle,
            log_bytes_max: settings.log_bytes_max,
            pool_logged: 0,
            pool_end: 0,
            last_resend: 0,
            last_report: 0,
            fault: None,
            alarms: VecDeque::new(),
            search: None,
            settings,
        }
    }

    /// As the primary, lets so many proposals be under way before it waits for full batches (decision 2). 1 unless told.
    #[must_use]
    pub fn with_pipeline(mut self, proposals: u64) -> Self {
        self.pipeline = proposals.max(1);
        self
    }

    /// Who may be linked to besides the validators: who left with this epoch, and who may follow.
    #[must_use]
    pub fn with_others(mut self, left: Vec<PublicKey>, candidates: Vec<PublicKey>) -> Self {
        (self.left, self.candidates_known) = (left, candidates);
        self
    }

    /// Performs the first step: the birth record, or what a restart says and executes again. Before any input.
    pub fn start(&mut self, step: Step, now: u64, clock: TimestampMs) {
        (self.now, self.clock) = (now, clock);
        self.commit(step);
    }

    /// Has the log taken what it was started with? A key whose birth record no disk took has no log yet (R25).
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.fault.is_none()
    }

    /// What the durable pool held: it goes through the door again before anything new, as soon as there is room (R24).
    pub fn offer_again(&mut self, held: impl IntoIterator<Item = (Client, SignedTx)>) {
        self.held.extend(held);
    }

    /// Takes in all that has come, decides, makes it durable with one sync, and acts.
    ///
    /// `now` is a monotone clock in ms, `clock` the wall clock. To be called at least every few hundredths of the view
    /// time-out, with or without inputs.
    pub fn handle(&mut self, inputs: impl IntoIterator<Item = Input>, now: u64, clock: TimestampMs) {
        (self.now, self.clock) = (now.max(self.now), clock);
        let mut step = Step::default();
        let ahead = self.replica.config().set.params.expiry_ahead_max_ms;
        let deadline = self.deadline.into_iter().chain(self.pool.first_expiry()).min();
        self.feed(Event::Waiting { oldest: self.pool.oldest(clock, ahead), deadline }, &mut step);
        self.feed(Event::Tick { now: self.now, clock }, &mut step);
        self.admit_held();
        for input in inputs {
            match input {
                Input::Connected(peer) => {
                    self.peers.connected(peer, self.now);
                    self.feed(Event::Connected(peer), &mut step);
                }
                Input::Disconnected(peer) => {
                    self.peers.disconnected(peer);
                    self.forget_snapshot_peers(Some(peer));
                }
                Input::OtherChain { from, chain } => self.peers.of_other_chain(from, chain),
                Input::Frame { from, class, bytes } => self.on_frame(from, class, &bytes, &mut step),
                Input::Submit(candidate) => self.admit(candidate),
                Input::Lookup { id, reply } => (reply.0)(self.pool.known(&id)),
                Input::MakeSnapshot(reply) => self.want_snapshot(reply),
                Input::Answer(answer) => self.on_answer(answer, &mut step),
                Input::Tick => {}
            }
        }
        self.tick_snapshots();
        self.check_candidates();
        self.propose(&mut step);
        self.commit(step);
        self.resend();
        self.seek();
        self.trim_log();
        self.note_place();
        self.report();
    }

    /// One event for the replica; nothing once a write has failed.
    fn feed(&mut self, event: Event, step: &mut Step) {
        if self.fault.is_none() {
            step.merge(self.replica.on(event));
        }
    }

    /// One sync for all records, then the effects (R3).
    fn commit(&mut self, step: Step) {
        match step.commit(&mut self.log) {
            Ok(effects) => effects.into_iter().for_each(|effect| self.perform(effect)),
            Err(error) => self.fail(format!("the consensus log cannot be written: {error}")),
        }
    }

    /// No disk, no vote. What a failed write leaves in memory is ahead of the disk, so nothing leaves this node any more
    /// but answers to reads.
    fn fail(&mut self, why: String) {
        if self.fault.is_none() {
            error!(%why, "voting has stopped; reads are served; repair, then restart this node");
            self.fault = Some(why);
            self.stands_since = self.now;
            self.restoring = None; // nothing is waited for any more: peers are read for again
            self.refuse_snapshots();
        }
    }

    /// Counts what a peer did wrong, and cuts it off if that is too much (R28).
    fn blame(&mut self, peer: ValidatorIndex, offence: Offence) {
        let turned = self.rostered != self.replica.config().set.epoch
            || self.turned_at > 0 && self.now.saturating_sub(self.turned_at) < RENAMED_MS;
        if turned {
            return; // a frame that came before may bear the place of somebody else now
        }
        debug!(%peer, reason = offence.reason(), "a peer did wrong");
        if self.conduct.entry(peer).or_default().note(offence, self.now) {
            warn!(%peer, reason = offence.reason(), "cutting off a peer that breaks the rules");
            self.transport.disconnect(peer, offence.reason());
        }
    }

    /// The primary's part (R7): an idle pipeline takes whatever there is, a busy one lets the batch grow (decision 2).
    fn propose(&mut self, step: &mut Step) {
        let params = self.replica.config().set.params.clone();
        let (txs_max, bytes_max) =
            (params.batch_txs_max as usize, (params.batch_bytes_max as usize).saturating_sub(BATCH_OVERHEAD));
        while self.fault.is_none() && self.restoring.is_none() {
            let Some(opening) = self.replica.opening() else { return };
            let (txs, bytes) = self.pool.waiting();
            let full = txs >= txs_max || bytes.saturating_add(epione_types::tx::MAX_TX_BYTES) >= bytes_max;
            let under_way = opening.height.0.saturating_sub(self.delivered.0).saturating_sub(1);
            // Behind blocks that wait for execution another one would only wait: the batch grows meanwhile.
            let idle = (opening.idle || under_way < self.pipeline) && self.executing as u64 <= self.pipeline;
            // Until the entering of a view is performed, its lapsed offers are not waiting yet.
            if (self.replica.config().set.epoch, opening.view) != self.entered || txs == 0 || !(idle || full)
            {
                return;
            }
            let batch = self.pool.cut(self.clock, txs_max, bytes_max, &params);
            if batch.is_empty() {
                return;
            }
            let txs = batch.iter().map(|tx| tx.signed.clone()).collect();
            let proposer = self.replica.config().me;
            let payload = Arc::new(Payload::new(Batch::Proposed { proposer, stamp: self.clock, txs }));
            self.remember(payload.digest(), batch);
            self.feed(Event::Propose { view: opening.view, height: opening.height, payload }, step);
        }
    }

    /// Keeps a batch's checked transactions until it is delivered.
    fn remember(&mut self, digest: Hash, txs: Vec<Checked>) {
        if self.checked.insert(digest, txs).is_none() {
            self.checked_order.push_back(digest);
        }
        let window = usize::try_from(self.replica.config().set.params.window).unwrap_or(64);
        while self.checked_order.len() > window.saturating_mul(4) {
            if let Some(oldest) = self.checked_order.pop_front() {
                self.checked.remove(&oldest);
            }
        }
    }

    /// A long log gets a new beginning: what still binds is written again, and everything before is dropped once the
    /// store needs it no more (R4).
    fn trim_log(&mut self) {
        if self.trim != Trim::Idle || self.log.bytes() <= self.log_bytes_max || self.fault.is_some() {
            return;
        }
        let (low, index) = (self.replica.low(), self.log.position());
        let beginning = self.replica.live_records();
        if !self.log.fits(&beginning) {
            // Views without progress each keep their batches (R4). One append or none: half a beginning forgets votes.
            self.log_bytes_max = self.log.bytes().saturating_mul(2);
            return;
        }
        match self.log.append_and_sync(&beginning) {
            Ok(()) => {
                self.trim = Trim::UntilSynced { low, index };
                self.workers.start(Job::SyncStore);
            }
            Err(error) => self.fail(format!("the consensus log cannot be written: {error}")),
        }
    }

    fn on_synced(&mut self, height: Height) {
        let Trim::UntilSynced { low, index } = core::mem::replace(&mut self.trim, Trim::Idle) else { return };
        if height < low {
            return; // all of it stays until the next time
        }
        if let Err(error) = self.log.drop_below(index) {
            self.fail(format!("old files of the consensus log cannot be removed: {error}"));
        }
        // The file that is written to stays whole: not to begin anew with every round.
        self.log_bytes_max = self.settings.log_bytes_max.max(self.log.bytes().saturating_mul(2));
    }

    /// Since when does it stand where it stands?
    fn note_place(&mut self) {
        let place = self.replica.place();
        if place != self.stands && self.fault.is_none() {
            (self.stands, self.stands_since) = (place, self.now);
        }
    }

    /// Says what the node waits for, now and then, if it is not just transactions: the sentence of `epione node explain`.
    fn report(&mut self) {
        if self.now.saturating_sub(self.last_report) < REPORT_EVERY {
            return;
        }
        self.last_report = self.now;
        if let Some(fault) = &self.fault {
            error!(%fault, "voting has stopped");
        } else if self.stands.stage != Stage::Transactions {
            let snapshot = self.snapshot();
            let it = &snapshot.consensus;
            info!(
                waiting_for = explain::summary(&snapshot), missing = ?it.awaited, advice = explain::advice(&snapshot),
                view = %it.view, primary = %it.primary, low = %it.low, executed = %it.executed,
                mempool = self.pool.size().txs, "waiting"
            );
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> DriverStatus {
        DriverStatus {
            epoch: Arc::new(self.replica.config().clone()),
            waiting: self.replica.waiting(),
            pool: self.pool.size(),
            executing: self.executing,
            fault: self.fault.clone(),
            alarms: self.alarms.iter().cloned().collect(),
            peers_low: self.peers.lows(),
            snapshot: self.snapshot(),
            conduct: self.conduct.clone(),
        }
    }

    /// Its consensus, to look at.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Certificate of the highest certified and executed height.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.replica.low_certificate()
    }

    /// The transport and the log, when the node is stopped.
    pub fn into_ports(self) -> (P::Transport, P::Log, P::Workers) {
        (self.transport, self.log, self.workers)
    }
}
