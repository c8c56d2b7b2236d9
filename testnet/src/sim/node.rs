//! One validator of the simulated world: the production driver and lanes over simulated ports.
//!
//! Ports write what is said to a tape, in order; the cluster plays it afterwards. Nothing here decides anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use epione_consensus::{Payload, Record, Wal};
use epione_ledger::chain::{Chain, Origin as ChainOrigin};
use epione_ledger::snapshot::Shelf;
use epione_ledger::wal::{WalConfig, WalError};
use epione_node::driver::{Driver, Input, Ports, Settings};
use epione_node::executor::Executor;
use epione_node::feed::{Feed, Progress, Wait};
use epione_node::log::ConsensusLog;
use epione_node::mempool::Account;
use epione_node::network::{Class, Peer};
use epione_node::pool_log::PoolLog;
use epione_node::ports::{
    Admitted, Answer, Candidate, Job, Lane, Log, Origin, Refused, Reply, Transport, Workers,
};
use epione_node::run::roster;
use epione_node::snapshots::SnapshotLane;
use epione_node::start;
use epione_node::workers::{ServeLane, VerifyLane, WriteLane};
use epione_types::{
    BlockHeader, Certificate, Epoch, Genesis, Height, PublicKey, Signer, TimestampMs, ValidatorIndex,
    ValidatorSet,
};

use super::clock::Micros;
use super::crypto::{SimSigner, SimVerifier};
use super::disk::{Life, Machine, SimDisk, SimStore};
use super::facts::{Fact, Me, Proof};
use super::roll::SharedRoll;

/// What a process said through its ports, in order.
#[derive(Debug)]
pub enum Said {
    /// These facts are on disk now.
    Durable(Vec<Fact>),
    /// A quorum's word is in the log.
    Proven(Proof),
    /// It has stopped voting for good, in the log.
    Halted(String),
    /// A frame, to the peer of this number or to all of them.
    Frame(Option<usize>, Class, Bytes),
    /// The peer of this number broke the rules.
    Disconnect(usize, String),
    /// Peers have these numbers from now on, by their network keys.
    Roster(Box<ValidatorSet>, Vec<Peer>),
    /// Work.
    Start(Box<Job>),
}

/// The tape of one process.
#[derive(Debug, Clone, Default)]
pub struct Tape(Rc<RefCell<Vec<Said>>>);

impl Tape {
    fn say(&self, said: Said) {
        self.0.borrow_mut().push(said);
    }
    /// What was said since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Said> {
        core::mem::take(&mut *self.0.borrow_mut())
    }
}

/// Port: frames.
#[derive(Debug)]
pub struct SimTransport {
    tape: Tape,
    life: Arc<Life>,
    /// Who may be linked to by the configuration.
    listed: Vec<Peer>,
    own: PublicKey,
}

impl Transport for SimTransport {
    fn send(&mut self, to: ValidatorIndex, class: Class, frame: Bytes) {
        if self.life.spend() {
            self.tape.say(Said::Frame(Some(to.get()), class, frame));
        }
    }
    fn broadcast(&mut self, class: Class, frame: Bytes) {
        if self.life.spend() {
            self.tape.say(Said::Frame(None, class, frame));
        }
    }
    fn disconnect(&mut self, peer: ValidatorIndex, reason: &str) {
        self.tape.say(Said::Disconnect(peer.get(), reason.to_owned()));
    }
    fn roster(&mut self, set: &ValidatorSet, others: &[PublicKey]) {
        let peers = roster(set, others, &self.listed, self.own.0);
        self.tape.say(Said::Roster(Box::new(set.clone()), peers));
    }
}

/// Port: the consensus log, and what became durable in it.
#[derive(Debug)]
pub struct SimLog {
    log: ConsensusLog<SimDisk>,
    tape: Tape,
    roll: SharedRoll,
    node: usize,
}

impl Wal for SimLog {
    type Error = WalError;
    fn append_and_sync(&mut self, records: &[Record]) -> Result<(), WalError> {
        self.log.append_and_sync(records)?;
        let roll = self.roll.borrow();
        let me = Me { roll: &roll, node: self.node };
        let facts = records.iter().flat_map(|record| Fact::of_record(me, record)).collect();
        // A view is entered before anything is said in it, whatever else was synced with it.
        for record in records {
            Proof::of_record(record).into_iter().for_each(|proof| self.tape.say(Said::Proven(proof)));
            if let Record::Halted(halt) = record {
                self.tape.say(Said::Halted(halt.to_string()));
            }
        }
        self.tape.say(Said::Durable(facts));
        Ok(())
    }
}

impl Log for SimLog {
    fn position(&self) -> u64 {
        self.log.position()
    }
    fn bytes(&self) -> u64 {
        self.log.bytes()
    }
    fn fits(&self, records: &[Record]) -> bool {
        self.log.fits(records)
    }
    fn drop_below(&mut self, index: u64) -> Result<(), WalError> {
        self.log.drop_below(index)
    }
}

/// Port: work.
#[derive(Debug)]
pub struct SimWorkers {
    tape: Tape,
    life: Arc<Life>,
}

impl Workers for SimWorkers {
    fn start(&mut self, job: Job) {
        if self.life.spend() {
            self.tape.say(Said::Start(Box::new(job)));
        }
    }
}

/// The simulated ports.
#[derive(Debug)]
pub struct Sim;

impl Ports for Sim {
    type Transport = SimTransport;
    type Log = SimLog;
    type Workers = SimWorkers;
    type Verifier = SimVerifier;
}

/// What all nodes of a run have in common.
#[derive(Debug)]
pub struct Common {
    /// The agreed beginning.
    pub genesis: Genesis,
    /// What it is to the ledger.
    pub origin: ChainOrigin,
    /// The predicate.
    pub verifier: SimVerifier,
    /// The voting keys, by machine.
    pub signers: Vec<Arc<SimSigner>>,
    /// The network keys, by machine.
    pub network_keys: Vec<PublicKey>,
    /// Whom every configuration lists.
    pub listed: Vec<Peer>,
    /// Who validates when.
    pub roll: SharedRoll,
    /// Settings of the driver.
    pub settings: Settings,
    /// Sizes of the consensus log.
    pub wal: WalConfig,
}

/// A word to a client: its number, and what the driver said.
pub type WordTo = (u64, Result<Admitted, Refused>);

/// Why a node does not start.
#[derive(Debug)]
pub enum NotStarted {
    /// It died again.
    Died,
    /// A disk failed.
    Disk(String),
    /// It refuses to vote, and says why.
    Refused(String),
}

/// A block that was executed.
#[derive(Debug)]
pub struct Executed {
    /// Height of the ledger before.
    pub before: Height,
    /// Its header.
    pub header: BlockHeader,
    /// Its batch.
    pub payload: Arc<Payload>,
}

/// What a lane did.
#[derive(Debug, Default)]
pub struct Done {
    /// Blocks.
    pub executed: Vec<Executed>,
    /// Certificates that were stored.
    pub certified: Vec<Certificate>,
    /// Proofs that were stored, each against the validator of this place in this epoch.
    pub evidence: Vec<(Epoch, ValidatorIndex)>,
    /// A job failed.
    pub failed: Option<String>,
    /// How many jobs it did.
    pub jobs: u64,
    /// A block was answered that was not stored.
    pub early: Option<Height>,
}

/// A running process.
pub struct Process {
    /// The production driver.
    pub driver: Driver<Sim>,
    /// Its ledger.
    pub chain: Arc<Chain>,
    /// How long it lives.
    pub life: Arc<Life>,
    /// What it says.
    pub tape: Tape,
    /// What came since its last turn.
    pub inbox: Vec<Input>,
    /// Clients that wait for a receipt: their numbers.
    pub waits: Vec<(u64, Wait)>,
    /// Jobs that wait, by lane.
    pub jobs: [VecDeque<Job>; 4],
    /// It installed a snapshot when it started.
    pub installed: bool,
    /// Height that was certified before it started, by its log.
    restores: Height,
    words: Arc<Mutex<Vec<WordTo>>>,
    feed: Arc<Feed>,
    verify: VerifyLane<SimVerifier, SimDisk>,
    write: WriteLane,
    serve: ServeLane,
    shelve: SnapshotLane<SimVerifier, SimDisk>,
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Process").field("status", &self.driver.status()).finish_non_exhaustive()
    }
}

impl Process {
    /// Starts a node as `node::run` does: from what its machine holds. Returns what its log says it has said before.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn start(
        common: &Common,
        me: usize,
        machine: &mut Machine,
        life: &Arc<Life>,
        now_ms: u64,
        clock: TimestampMs,
    ) -> Result<(Self, Vec<Fact>), NotStarted> {
        let why = |text: String| {
            if life.is_over() {
                NotStarted::Died
            } else if life.has_failed() {
                NotStarted::Disk(text)
            } else {
                NotStarted::Refused(text)
            }
        };
        let store = Arc::new(SimStore::new(&machine.store, life));
        let shelf = SimDisk::new(&machine.shelf, life);
        let mut shelf = Shelf::open(shelf).map_err(|error| why(error.to_string()))?;
        let installed = start::install_snapshot(&*store, &mut shelf, &common.genesis, &common.verifier)
            .map_err(|error| why(error.to_string()))?;
        let chain = Arc::new(Chain::open(store, &common.origin).map_err(|error| why(error.to_string()))?);
        let disk = SimDisk::new(&machine.log, life);
        let (log, records) =
            ConsensusLog::open_sized(disk, common.wal).map_err(|error| why(error.to_string()))?;
        let pool = SimDisk::new(&machine.pool, life);
        let (pool, held) = PoolLog::open(pool).map_err(|error| why(error.to_string()))?;

        let signer: Arc<dyn Signer + Send + Sync> = common.signers[me].clone();
        let config = start::config(&chain, &signer.public_key()).map_err(|error| why(error.to_string()))?;
        let set = config.set.clone();
        let epochs = start::epochs(&chain).map_err(|error| why(error.to_string()))?;
        let left = start::left(&chain, &common.genesis, &epochs).map_err(|error| why(error.to_string()))?;
        let roll = common.roll.borrow();
        let who = Me { roll: &roll, node: me };
        let facts = records.iter().flat_map(|record| Fact::of_record(who, record)).collect();
        drop(roll);
        let restores = records.iter().filter_map(|record| match record {
            Record::Certified(certificate) => Some(certificate.height),
            _ => None,
        });
        let restores = restores.max().unwrap_or(Height::ZERO);
        let started = if records.is_empty() {
            if machine.born {
                return Err(why(start::ResumeError::NoLog.to_string())); // R25
            }
            start::born(&chain, config, signer)
        } else {
            start::resume(&chain, config, signer, records, log.position())
        };
        let (replica, step) = started.map_err(|error| why(error.to_string()))?;

        let head = chain.head();
        let certified = chain.certified().map_or(Height::ZERO, |certificate| certificate.height);
        let feed =
            Arc::new(Feed::new(Progress { height: head.height, timestamp: head.timestamp, certified }));
        let executor = Executor::new(chain.clone());
        let deadline = executor.deadline().map_err(|error| why(error.to_string()))?;
        let txs_max = common.settings.pool.txs_max;
        let verify = VerifyLane::new(chain.clone(), &set.params, common.verifier, pool, txs_max);
        let write = WriteLane::new(chain.clone(), feed.clone(), common.settings.snapshots)
            .map_err(|error| why(error.to_string()))?;
        let serve = ServeLane::new(chain.clone());
        let trust = (common.genesis.validators.clone(), common.verifier);
        let shelve = SnapshotLane::new(chain.clone(), Some(shelf), trust, common.settings.snapshots);

        let tape = Tape::default();
        let mut transport = SimTransport {
            tape: tape.clone(),
            life: life.clone(),
            listed: common.listed.clone(),
            own: common.network_keys[me],
        };
        let others: Vec<PublicKey> = left.iter().chain(&epochs.candidates).copied().collect();
        transport.roster(&set, &others);
        let log = SimLog { log, tape: tape.clone(), roll: common.roll.clone(), node: me };
        let workers = SimWorkers { tape: tape.clone(), life: life.clone() };
        let settings = common.settings.clone();
        let mut driver = Driver::new(replica, deadline, settings, transport, log, workers, common.verifier)
            .with_others(left, epochs.candidates)
            .with_partial_snapshot(shelve.partial());
        driver.start(step, now_ms, clock);
        if life.is_over() {
            return Err(NotStarted::Died);
        }
        machine.born |= driver.has_begun(); // before the first vote can leave
        driver.offer_again(held);
        let process = Self {
            driver,
            life: life.clone(),
            tape,
            inbox: Vec::new(),
            waits: Vec::new(),
            jobs: Default::default(),
            installed,
            restores,
            words: Arc::default(),
            feed,
            verify,
            write,
            serve,
            shelve,
            chain,
        };
        Ok((process, facts))
    }

    /// Is its ledger back where its log knows it was?
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.driver.replica().low() >= self.restores
    }

    /// One turn of the driver's loop.
    pub fn turn(&mut self, now_ms: u64, clock: TimestampMs) {
        self.driver.handle(core::mem::take(&mut self.inbox), now_ms, clock);
    }

    /// A lane does its next job; the one that writes does all that wait.
    pub fn work(&mut self, lane: Lane) -> Done {
        let waiting = &mut self.jobs[lane as usize];
        if lane == Lane::Write {
            let jobs = core::mem::take(waiting);
            return self.write(jobs);
        }
        let Some(job) = waiting.pop_front() else { return Done::default() };
        let answer = match lane {
            Lane::Verify => self.verify.perform(job),
            Lane::Write => None,
            Lane::Serve => self.serve.perform(job),
            Lane::Snapshot => self.shelve.perform(job),
        };
        let mut done = Done { jobs: 1, ..Done::default() };
        if let Some(Answer::Failed(why)) = &answer {
            done.failed = Some(why.clone());
        }
        self.inbox.extend(answer.map(Input::Answer));
        done
    }

    fn write(&mut self, jobs: VecDeque<Job>) -> Done {
        let (mut done, mut payloads) = (Done { jobs: jobs.len() as u64, ..Done::default() }, BTreeMap::new());
        let mut before = self.chain.head().height;
        for job in &jobs {
            match job {
                Job::Execute { height, payload, .. } => {
                    payloads.insert(*height, payload.clone());
                }
                Job::Certify(certificate) => done.certified.push(certificate.clone()),
                Job::Keep(evidence) => {
                    done.evidence.push((evidence.votes().0.vote.epoch, evidence.against()));
                }
                _ => {}
            }
        }
        self.write.perform(jobs, |answer| {
            match &answer {
                Answer::Executed { header, .. } => {
                    if self.chain.gathered() > 0 {
                        done.early = Some(header.height);
                    }
                    if let Some(payload) = payloads.remove(&header.height) {
                        done.executed.push(Executed { before, header: (**header).clone(), payload });
                        before = before.max(header.height);
                    }
                }
                Answer::Failed(why) => done.failed = Some(why.clone()),
                _ => {}
            }
            self.inbox.push(Input::Answer(answer));
        });
        if done.failed.is_some() {
            // Which of them were stored before is not told.
            done.certified.clear();
            done.evidence.clear();
        }
        done
    }

    /// A client gives it a transaction, and waits for word.
    pub fn submit(&mut self, number: u64, parsed: epione_node::validate::Parsed, account: Account) {
        let words = self.words.clone();
        let reply = Reply::new(move |word| {
            words.lock().unwrap_or_else(PoisonError::into_inner).push((number, word));
        });
        self.inbox.push(Input::Submit(Candidate { parsed, origin: Origin::Client(account, reply) }));
    }

    /// Words to clients since the last time.
    #[must_use]
    pub fn take_words(&self) -> Vec<WordTo> {
        core::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A client waits for a receipt.
    pub fn wait(&mut self, number: u64, id: epione_types::TxId, expires_at: TimestampMs) {
        self.waits.push((number, self.feed.wait(id, Some(expires_at))));
    }
}

/// When a process is free again, and its lanes.
#[derive(Debug, Default)]
pub struct Busy {
    /// The driver is in a turn until then.
    pub until: Micros,
    /// A turn is coming.
    pub turn: bool,
    /// Lanes at work.
    pub lanes: [bool; 4],
    /// Jobs that each did before their time: together with others.
    pub ahead: [u64; 4],
}
