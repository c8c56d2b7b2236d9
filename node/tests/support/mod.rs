//! A cluster in one thread: time is a number, the network a queue, disks and stores are in memory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use epione_consensus::{Kind, Message, Replica, Stored, Vote};
use epione_ledger::chain::{Chain, Head};
use epione_ledger::disk::{Disk as _, MemoryDisk};
use epione_ledger::snapshot::Shelf;
use epione_ledger::store::MemoryStore;
use epione_ledger::wal::WalConfig;
use epione_node::conduct::Offence;
use epione_node::driver::{CHECK_TXS_MAX, Driver, Input, LookupReply, Ports, Settings, jobs_max};
use epione_node::executor::Executor;
use epione_node::explain::{self, Peer};
use epione_node::feed::{Feed, Progress};
use epione_node::log::ConsensusLog;
use epione_node::mempool::{Account, Known, Limits};
use epione_node::network::Class;
use epione_node::pool_log::PoolLog;
use epione_node::ports::{Admitted, Answer, Candidate, Job, Lane, Origin, Reply, Transport, Workers};
use epione_node::snapshots::{SnapshotLane, Snapshots};
use epione_node::start;
use epione_node::validate::parse;
use epione_node::votes::Votes;
use epione_node::wire::Frame;
use epione_node::workers::{ServeLane, VerifyLane, WriteLane};
use epione_types::call::{
    Call, CreateGrant, GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess,
    RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord, RevokeGrant, Rule, TxBody,
};
use epione_types::codes::{Action, Category, OrganisationKind, Purpose, Role};
use epione_types::genesis::{GENESIS_VERSION, Genesis, Policy};
use epione_types::id::{GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RequestId};
use epione_types::sign::Zip215;
use epione_types::{
    ChainId, Domain, Epoch, Hash, Height, Params, PublicKey, Receipt, SecretKey, SignedTx, Signer,
    TimestampMs, TxId, Validator, ValidatorIndex, ValidatorSet, View,
};

/// One second of virtual time, in ms.
pub const SECOND: u64 = 1_000;
/// Wall clock when virtual time is 0.
const START: u64 = 1_780_000_000_000;
/// Files of the durable pool: one for each append, so that nothing stays only because its file does.
const POOL_FILES: WalConfig = WalConfig { segment_bytes: 1, append_bytes_max: 1 << 20 };
/// Virtual time between two rounds, and the network's delay.
const ROUND: u64 = 5;

pub fn hash(name: &str) -> Hash {
    Domain::new("epione/test-name").hash(name.as_bytes())
}
pub fn id16(name: &str) -> [u8; 16] {
    hash(name).0[..16].try_into().unwrap()
}
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash(name).0)
}

pub fn genesis(n: usize) -> Genesis {
    let hospitals: Vec<String> = (0..n).map(|i| format!("hospital{i}")).collect();
    let validator = |name: &String| Validator {
        organisation: OrgId(id16(name)),
        public_key: key(&format!("{name}.validator")).public_key(),
        network_key: key(&format!("{name}.network")).public_key(),
    };
    let organisation = |name: &String| RegisterOrganisation {
        organisation: OrgId(id16(name)),
        kind: OrganisationKind::Hospital,
        admins: vec![key(&format!("{name}.admin")).public_key()],
        admin_threshold: 1,
        break_glass: true,
    };
    let genesis = Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(START - 1_000),
        validators: ValidatorSet {
            epoch: Epoch::ZERO,
            validators: hospitals.iter().map(validator).collect(),
            params: Params { time_block_interval_ms: 2_000, ..Params::default() },
        },
        policy: Policy { organisation_signatures: u16::try_from(n).unwrap().min(2), ..Policy::default() },
        organisations: hospitals.iter().map(organisation).collect(),
    };
    genesis.check().unwrap();
    genesis
}

/// A transaction of `signers`, the first of whom sends it.
pub fn sign(
    chain_id: ChainId,
    signers: &[&str],
    request: u64,
    expires_at: TimestampMs,
    call: Call,
) -> SignedTx {
    let keys: Vec<SecretKey> = signers.iter().map(|name| key(name)).collect();
    let request_id = RequestId(id16(&format!("request {request}")));
    let co_signers = keys.iter().skip(1).map(Signer::public_key).collect();
    let body = TxBody { chain_id, sender: keys[0].public_key(), co_signers, request_id, expires_at, call };
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    SignedTx::sign(epione_proto::encode_body(&body), &signers)
}

/// A patient of hospital 0, in custody.
pub fn patient_call(number: usize) -> Call {
    Call::RegisterPatient(RegisterPatient {
        patient: PatientId(id16(&format!("patient {number}"))),
        key: None,
        notice_hash: hash("notice"),
    })
}

/// Until when a transaction may be ordered.
pub fn expires_at(tx: &SignedTx) -> TimestampMs {
    epione_proto::decode_body(&tx.body).unwrap().expires_at
}

struct Flight {
    at: u64,
    from: usize,
    to: usize,
    class: Class,
    bytes: Bytes,
}

/// What all nodes share.
#[derive(Default)]
struct World {
    n: usize,
    now: Cell<u64>,
    flights: RefCell<VecDeque<Flight>>,
    isolated: RefCell<Vec<bool>>,
    one_in: Cell<u64>,
    random: Cell<u64>,
    disconnected: RefCell<Vec<(usize, usize)>>,
    trace: Cell<Hash2>,
    kept: RefCell<Option<Vec<(Class, Bytes)>>>,
    /// Frames on the consensus streams, by sender.
    spoken: RefCell<Vec<usize>>,
    /// From one node to another, in ms.
    delay: Cell<u64>,
    /// Proposals under way before batches must be full.
    pipeline: Cell<u64>,
    /// Of slow lanes one job is done in four rounds.
    slow: Cell<Slow>,
    /// In whose name frames were injected.
    hostile: RefCell<BTreeSet<usize>>,
    /// Whose forwards are all lost.
    mute: Cell<Option<usize>>,
    /// What becomes of frames on their way, between whom: none is lost.
    tamper: RefCell<Option<Tamper>>,
    /// Most bytes of one append to a log, if not what a node has.
    append_bytes_max: Cell<Option<u32>>,
}
type Hash2 = [u8; 32];
/// From whom, to whom, and what.
pub type Tamper = Box<dyn FnMut(usize, usize, Frame) -> Option<Frame>>;

impl World {
    fn send(&self, from: usize, to: usize, class: Class, bytes: Bytes) {
        self.spoken.borrow_mut()[from] += usize::from(class == Class::Consensus);
        if self.mute.get() == Some(from) && matches!(Frame::decode(&bytes), Ok(Frame::Transactions(_))) {
            return;
        }
        let bytes = match &mut *self.tamper.borrow_mut() {
            None => bytes,
            Some(tamper) => match tamper(from, to, Frame::decode(&bytes).unwrap()) {
                None => return,
                Some(frame) => frame.encode(),
            },
        };
        let mut x = self.random.get().max(1);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        let isolated = self.isolated.borrow();
        if isolated[from] || isolated[to] || x.is_multiple_of(self.one_in.get()) {
            return;
        }
        let link = [&self.trace.get()[..], &[u8::try_from(from).unwrap(), u8::try_from(to).unwrap()], &bytes]
            .concat();
        self.trace.set(hash_bytes(&link));
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.push((class, bytes.clone()));
        }
        self.flights.borrow_mut().push_back(Flight {
            at: self.now.get() + self.delay.get().max(ROUND),
            from,
            to,
            class,
            bytes,
        });
    }
}

fn hash_bytes(bytes: &[u8]) -> Hash2 {
    Domain::new("epione/test-trace").hash(bytes).0
}

struct Wire {
    me: usize,
    world: Rc<World>,
}

impl Transport for Wire {
    fn send(&mut self, to: ValidatorIndex, class: Class, frame: Bytes) {
        self.world.send(self.me, to.get(), class, frame);
    }
    fn broadcast(&mut self, class: Class, frame: Bytes) {
        for to in (0..self.world.n).filter(|to| *to != self.me) {
            self.world.send(self.me, to, class, frame.clone());
        }
    }
    fn disconnect(&mut self, peer: ValidatorIndex, _: &str) {
        self.world.disconnected.borrow_mut().push((self.me, peer.get()));
    }
    fn roster(&mut self, _: &ValidatorSet, _: &[PublicKey]) {}
}

/// Which lanes are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Slow {
    #[default]
    None,
    All,
    Snapshots,
}

#[derive(Clone, Default)]
struct Jobs {
    waiting: Rc<RefCell<VecDeque<Job>>>,
    /// The most that ever waited, by lane.
    most: Rc<RefCell<BTreeMap<Lane, usize>>>,
}

impl Jobs {
    /// What is done in a round: everything, or of slow lanes one job every so many rounds.
    fn take(&self, now: u64, slow: Slow) -> Vec<Job> {
        let mut waiting = self.waiting.borrow_mut();
        if slow == Slow::None {
            return waiting.drain(..).collect();
        }
        if slow == Slow::Snapshots {
            let (snapshots, mut taken): (Vec<Job>, Vec<Job>) =
                waiting.drain(..).partition(|job| job.lane() == Lane::Snapshot);
            waiting.extend(snapshots);
            taken.extend(waiting.pop_front_if(|_| now.is_multiple_of(40 * ROUND)));
            return taken;
        }
        if !now.is_multiple_of(4 * ROUND) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for lane in Lane::ALL {
            let first = waiting.iter().position(|job| job.lane() == lane);
            taken.extend(first.and_then(|first| waiting.remove(first)));
        }
        taken
    }
}

impl Workers for Jobs {
    fn start(&mut self, job: Job) {
        let lane = job.lane();
        if let Job::Check(candidates) = &job {
            assert!((1..=CHECK_TXS_MAX).contains(&candidates.len()), "{} at once", candidates.len());
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(job);
        let now = waiting.iter().filter(|job| job.lane() == lane).count();
        let mut most = self.most.borrow_mut();
        let most = most.entry(lane).or_default();
        *most = now.max(*most);
    }
}

struct Sim;

impl Ports for Sim {
    type Transport = Wire;
    type Log = ConsensusLog<MemoryDisk>;
    type Workers = Jobs;
    type Verifier = Zip215;
}

/// One validator and its machine.
pub struct Node {
    driver: Option<Driver<Sim>>,
    chain: Arc<Chain>,
    verify: VerifyLane<Zip215, MemoryDisk>,
    write: WriteLane,
    serve: ServeLane,
    shelve: SnapshotLane<Zip215, MemoryDisk>,
    jobs: Jobs,
    inbox: Vec<Input>,
    beginnings: usize,
    accepted: Rc<Cell<usize>>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Machine {
    store: MemoryStore,
    log: MemoryDisk,
    pool: MemoryDisk,
    shelf: MemoryDisk,
}

impl Node {
    fn start(me: usize, genesis: &Genesis, machine: &Machine, settings: Settings, world: &Rc<World>) -> Self {
        let mut shelf = Shelf::open(machine.shelf.clone()).unwrap();
        start::install_snapshot(&machine.store, &mut shelf, genesis, &Zip215).unwrap();
        let chain = Arc::new(Chain::open(Arc::new(machine.store.clone()), &start::origin(genesis)).unwrap());
        let signer: Arc<dyn Signer + Send + Sync> = Arc::new(key(&format!("hospital{me}.validator")));
        let config = start::config(&chain, &signer.public_key()).unwrap();
        assert_eq!(config.me.get(), me);
        let (log, records) = match world.append_bytes_max.get() {
            None => ConsensusLog::open(machine.log.clone()),
            Some(append_bytes_max) => {
                let config = WalConfig { append_bytes_max, ..WalConfig::default() };
                ConsensusLog::open_sized(machine.log.clone(), config)
            }
        }
        .unwrap();
        let beginnings = records.beginnings();
        let end = epione_node::ports::Log::position(&log);
        let (replica, step) = if records.is_empty() {
            start::born(&chain, config, signer).unwrap()
        } else {
            start::resume(&chain, config, signer, records, end).unwrap()
        };
        let (pool, held) = PoolLog::open_with(machine.pool.clone(), POOL_FILES).unwrap();
        let head = chain.head();
        let certified = chain.certified().map_or(Height(0), |certificate| certificate.height);
        let feed =
            Arc::new(Feed::new(Progress { height: head.height, timestamp: head.timestamp, certified }));
        let params = &genesis.validators.params;
        let verify = VerifyLane::new(chain.clone(), params, Zip215, pool, settings.pool.txs_max);
        let deadline = Executor::new(chain.clone()).deadline().unwrap();
        let write = WriteLane::new(chain.clone(), feed.clone(), settings.snapshots).unwrap();
        let shelve = SnapshotLane::new(
            chain.clone(),
            Some(shelf),
            (genesis.validators.clone(), Zip215),
            settings.snapshots,
        );
        let jobs = Jobs::default();
        let wire = Wire { me, world: world.clone() };
        let mut driver = Driver::new(replica, deadline, settings, wire, log, jobs.clone(), Zip215)
            .with_pipeline(world.pipeline.get())
            .with_partial_snapshot(shelve.partial());
        let now = world.now.get();
        driver.start(step, now, TimestampMs(START + now));
        driver.offer_again(held);
        let inbox = Vec::new();
        let serve = ServeLane::new(chain.clone());
        let accepted = Rc::default();
        let driver = Some(driver);
        Self { driver, chain, verify, write, serve, shelve, jobs, inbox, beginnings, accepted, feed }
    }

    fn round(&mut self, now: u64, slow: Slow) {
        let driver = self.driver.as_mut().unwrap();
        let clock = TimestampMs(START + now);
        driver.handle(core::mem::take(&mut self.inbox), now, clock);
        let (write, others): (Vec<_>, _) =
            self.jobs.take(now, slow).into_iter().partition(|job| job.lane() == Lane::Write);
        let inbox = &mut self.inbox;
        self.write.perform(write, |answer| inbox.push(Input::Answer(answer)));
        for job in others {
            let answer = match job.lane() {
                Lane::Verify => self.verify.perform(job),
                Lane::Write => None,
                Lane::Serve => self.serve.perform(job),
                Lane::Snapshot => self.shelve.perform(job),
            };
            self.inbox.extend(answer.map(Input::Answer));
        }
    }

    pub fn head(&self) -> Head {
        self.chain.head()
    }
    pub fn view(&self) -> u64 {
        self.driver.as_ref().unwrap().status().waiting.view.0
    }
}

/// All of them.
pub struct Cluster {
    genesis: Genesis,
    world: Rc<World>,
    machines: Vec<Machine>,
    nodes: Vec<Node>,
    settings: Settings,
    requests: u64,
    /// Who started again by itself.
    pub restarts: Vec<usize>,
}

impl Cluster {
    pub fn new(n: usize) -> Self {
        Self::with(n, Settings::default())
    }

    pub fn with_log_bytes(n: usize, log_bytes_max: u64) -> Self {
        Self::with(n, Settings { log_bytes_max, ..Settings::default() })
    }

    /// Nodes far apart, so that several blocks are under way, whose log takes so many bytes at once.
    pub fn with_appends_of(n: usize, append_bytes_max: u32, log_bytes_max: u64) -> Self {
        let world = World { n, ..World::default() };
        world.delay.set(50);
        world.pipeline.set(8);
        world.append_bytes_max.set(Some(append_bytes_max));
        Self::start(world, Settings { log_bytes_max, ..Settings::default() })
    }

    pub fn with_pool_txs(n: usize, txs_max: usize) -> Self {
        let pool = Limits { txs_max, ..Limits::default() };
        Self::with(n, Settings { pool, ..Settings::default() })
    }

    /// Nodes that make snapshots of every so many heights, and fetch one that saves so many blocks.
    pub fn with_snapshots(n: usize, every: u64, gap: u64) -> Self {
        Self::with(
            n,
            Settings {
                snapshots: Snapshots { every, span_ms: 0, gap, chunk_bytes: 2 << 10 },
                ..Settings::default()
            },
        )
    }

    /// Nodes `delay` ms apart, whose primaries have so many proposals under way.
    pub fn apart(n: usize, delay: u64, pipeline: u64) -> Self {
        let world = World { n, ..World::default() };
        world.delay.set(delay);
        world.pipeline.set(pipeline);
        Self::start(world, Settings::default())
    }

    fn with(n: usize, settings: Settings) -> Self {
        Self::start(World { n, ..World::default() }, settings)
    }

    fn start(world: World, settings: Settings) -> Self {
        let (n, world) = (world.n, Rc::new(world));
        *world.isolated.borrow_mut() = vec![false; n];
        *world.spoken.borrow_mut() = vec![0; n];
        world.one_in.set(u64::MAX);
        world.random.set(42);
        let genesis = genesis(n);
        let machines: Vec<Machine> = (0..n).map(|_| Machine::default()).collect();
        let start = |(me, machine)| Node::start(me, &genesis, machine, settings.clone(), &world);
        let nodes = machines.iter().enumerate().map(start).collect();
        let mut cluster =
            Self { genesis, world, machines, nodes, settings, requests: 0, restarts: Vec::new() };
        cluster.connect();
        cluster
    }

    fn connect(&mut self) {
        let isolated = self.world.isolated.borrow().clone();
        for (me, node) in self.nodes.iter_mut().enumerate() {
            for other in (0..isolated.len()).filter(|other| *other != me) {
                if !isolated[me] && !isolated[other] {
                    let peer = ValidatorIndex(u16::try_from(other).unwrap());
                    node.inbox.push(Input::Connected(peer));
                }
            }
        }
    }

    pub fn run(&mut self, time: u64) {
        for _ in 0..time.div_ceil(ROUND) {
            self.round();
        }
    }

    #[track_caller]
    pub fn run_until(&mut self, limit: u64, done: impl Fn(&Self) -> bool) {
        for _ in 0..limit.div_ceil(ROUND) {
            if done(self) {
                return;
            }
            self.round();
        }
        let state: Vec<String> =
            self.nodes.iter().map(|node| format!("{:#?}", node.driver.as_ref().unwrap().status())).collect();
        assert!(done(self), "not done after {limit} ms:\n{}", state.join("\n"));
    }

    fn round(&mut self) {
        let now = self.world.now.get() + ROUND;
        self.world.now.set(now);
        loop {
            let mut flights = self.world.flights.borrow_mut();
            let Some(flight) = flights.pop_front_if(|flight| flight.at <= now) else { break };
            let from = ValidatorIndex(u16::try_from(flight.from).unwrap());
            let frame = Input::Frame { from, class: flight.class, bytes: flight.bytes };
            self.nodes[flight.to].inbox.push(frame);
        }
        for node in &mut self.nodes {
            node.round(now, self.world.slow.get());
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].driver.as_ref().unwrap().wants_restart() {
                self.restarts.push(node);
                self.restart(node);
            }
        }
    }

    // --- faults ---

    pub fn isolate(&mut self, node: usize) {
        self.world.isolated.borrow_mut()[node] = true;
    }
    /// Its links go down, which it and the others notice: its process has ended, or its cable is out.
    pub fn cut(&mut self, node: usize) {
        self.isolate(node);
        let index = |at: usize| ValidatorIndex(u16::try_from(at).unwrap());
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.nodes[other].inbox.push(Input::Disconnected(index(node)));
            self.nodes[node].inbox.push(Input::Disconnected(index(other)));
        }
    }
    /// What `epione node explain --json` shows of a node.
    pub fn explain(&self, node: usize) -> serde_json::Value {
        let status = self.nodes[node].driver.as_ref().unwrap().status();
        let fields = explain::fields(&explain::answer(&status.snapshot));
        serde_json::Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
    /// Does nothing keep a node from voting, by its status?
    pub fn is_voting(&self, node: usize) -> bool {
        self.nodes[node].driver.as_ref().unwrap().status().is_voting()
    }
    /// Who votes, as a node's status tells: certificates, and of each other validator how many hold its signature and
    /// whether it is ready.
    pub fn votes(&self, node: usize) -> (u32, Vec<(u32, bool)>) {
        let status = self.nodes[node].driver.as_ref().unwrap().status();
        let window = self.genesis.validators.params.window;
        let votes = Votes::read(&self.nodes[node].chain, Epoch::ZERO, window).unwrap();
        let peers = status.snapshot.peers.iter();
        let of = |peer: &Peer| (votes.of(peer.index), votes.ready(peer, status.waiting.low));
        (votes.certificates(), peers.map(of).collect())
    }
    /// The links of one that was cut or isolated come back.
    pub fn bring_back(&mut self, node: usize) {
        self.world.isolated.borrow_mut()[node] = false;
        self.connect();
    }
    pub fn heal(&mut self) {
        self.world.isolated.borrow_mut().fill(false);
        self.connect();
    }
    /// A node's store holds another value of the state, which nobody wrote there.
    pub fn alter_state(&mut self, node: usize, key: &[u8], value: Vec<u8>) {
        let mut batch = epione_ledger::store::Batch::new();
        batch.put([b"S", key].concat(), value);
        epione_ledger::store::Store::apply(&self.machines[node].store, batch).unwrap();
    }
    /// A value of a node's state.
    pub fn state(&self, node: usize, key: &[u8]) -> Option<Vec<u8>> {
        self.nodes[node].chain.state(key).unwrap()
    }
    /// From now on nobody hears of transactions by this node's forwards.
    pub fn lose_forwards_of(&mut self, node: usize) {
        self.world.mute.set(Some(node));
    }
    /// Room for so many transactions in each pool, from its next start on.
    pub fn next_pool_txs(&mut self, txs_max: usize) {
        self.settings.pool.txs_max = txs_max;
    }
    /// From now on, this becomes of frames; `hostile` are those of whom it makes liars.
    pub fn tamper(&mut self, hostile: &[usize], tamper: Tamper) {
        self.world.hostile.borrow_mut().extend(hostile);
        *self.world.tamper.borrow_mut() = Some(tamper);
    }
    /// The link between these two breaks, and comes back.
    pub fn drop_link(&mut self, a: usize, b: usize) {
        for (me, peer) in [(a, b), (b, a)] {
            let peer = ValidatorIndex(u16::try_from(peer).unwrap());
            self.nodes[me].inbox.extend([Input::Disconnected(peer), Input::Connected(peer)]);
        }
    }
    /// Is a state being captured at a node?
    pub fn is_captured(&self, node: usize) -> bool {
        let chain = &self.nodes[node].chain;
        let began = chain.begin_capture();
        began.into_iter().for_each(|height| chain.drop_capture(height));
        began.is_none()
    }
    /// Height of the newest snapshot on a node's shelf.
    pub fn newest_snapshot(&self, node: usize) -> Option<u64> {
        let shelf = Shelf::look(self.machines[node].shelf.clone()).unwrap();
        shelf.heights().last().map(|height| height.0)
    }
    /// The lowest height from which on a node has every block.
    pub fn base(&self, node: usize) -> u64 {
        self.nodes[node].chain.base().0
    }
    /// Consensus frames that a node has sent.
    pub fn spoken(&self, node: usize) -> usize {
        self.world.spoken.borrow()[node]
    }
    /// Does a lane do one job in four rounds, or all there is in each?
    pub fn slow_lanes(&mut self, slow: bool) {
        self.world.slow.set(if slow { Slow::All } else { Slow::None });
    }
    /// The lane of snapshots does one job in forty rounds.
    pub fn slow_snapshots(&mut self) {
        self.world.slow.set(Slow::Snapshots);
    }
    /// The most jobs of a lane that ever waited at a node.
    pub fn most_jobs(&self, node: usize, lane: Lane) -> usize {
        self.nodes[node].jobs.most.borrow().get(&lane).copied().unwrap_or_default()
    }
    pub fn lose_one_in(&mut self, k: u64) {
        self.world.one_in.set(k);
    }
    pub fn inject(&mut self, from: usize, to: usize, bytes: &[u8]) {
        self.inject_on(from, to, Class::Consensus, bytes);
    }
    pub fn inject_on(&mut self, from: usize, to: usize, class: Class, bytes: &[u8]) {
        self.world.hostile.borrow_mut().insert(from);
        let from = ValidatorIndex(u16::try_from(from).unwrap());
        let bytes = Bytes::copy_from_slice(bytes);
        self.nodes[to].inbox.push(Input::Frame { from, class, bytes });
    }
    /// From now on every frame is kept.
    pub fn keep_frames(&mut self) {
        *self.world.kept.borrow_mut() = Some(Vec::new());
    }
    /// The frames that were kept; no more are.
    pub fn frames(&mut self) -> Vec<(Class, Bytes)> {
        self.world.kept.borrow_mut().take().unwrap_or_default()
    }
    /// A vote that `from` did sign, as a Byzantine validator may.
    pub fn inject_vote(&mut self, from: usize, to: usize, kind: Kind, height: Height, digest: Hash) {
        let from = ValidatorIndex(u16::try_from(from).unwrap());
        let vote = Vote { kind, epoch: Epoch::ZERO, view: View::ZERO, height, digest };
        let signer = key(&format!("hospital{from}.validator"));
        let frame = Frame::Message(Message::Vote(vote.sign(self.genesis.chain_id(), from, &signer)));
        self.nodes[to].inbox.push(Input::Frame { from, class: frame.class(), bytes: frame.encode() });
    }
    pub fn disconnected(&self, by: usize) -> Vec<usize> {
        let all = self.world.disconnected.borrow();
        all.iter().filter(|(who, _)| *who == by).map(|(_, peer)| *peer).collect()
    }
    pub fn fail_log(&mut self, node: usize) {
        self.machines[node].log.fail_after(0);
    }
    /// A worker's word that a job failed.
    pub fn fail_job(&mut self, node: usize, why: &str) {
        self.nodes[node].inbox.push(Input::Answer(Answer::Failed(why.to_owned())));
    }
    /// An operator wants a snapshot, and will hear.
    pub fn want_snapshot(&mut self, node: usize) -> std::sync::mpsc::Receiver<Result<Height, String>> {
        let (tells, told) = std::sync::mpsc::channel();
        let reply = epione_node::driver::SnapshotReply::new(move |word| tells.send(word).unwrap());
        self.nodes[node].inbox.push(Input::MakeSnapshot(reply));
        told
    }
    /// The process dies, and the store forgets its last writes.
    pub fn restart_without(&mut self, node: usize, writes: usize) {
        self.machines[node].store.crash(|unsynced| unsynced.saturating_sub(writes));
        self.restart(node);
    }
    /// Does a node execute again what it had before?
    pub fn is_restoring(&self, node: usize) -> bool {
        let waiting = self.nodes[node].driver.as_ref().unwrap().status().waiting;
        waiting.delivered > waiting.executed
    }
    pub fn heal_log(&mut self, node: usize) {
        self.machines[node].log.heal();
    }

    /// The process dies; its disks are as they were.
    pub fn restart(&mut self, node: usize) {
        self.world.flights.borrow_mut().retain(|flight| flight.from != node && flight.to != node);
        self.nodes[node].driver = None;
        let machine = &self.machines[node];
        self.nodes[node] = Node::start(node, &self.genesis, machine, self.settings.clone(), &self.world);
        self.connect();
    }

    /// Starts a node on its store, with a log that holds its birth and nothing else.
    pub fn resume_with_born_log(&self, node: usize) -> Result<(), start::ResumeError> {
        let signer: Arc<dyn Signer + Send + Sync> = Arc::new(key(&format!("hospital{node}.validator")));
        let config = start::config(&self.nodes[node].chain, &signer.public_key())?;
        let (mut log, _) = ConsensusLog::open(MemoryDisk::new()).unwrap();
        let genesis = Stored::genesis(config.chain, self.genesis.timestamp);
        let (_, step) = Replica::born(config.clone(), signer.clone(), genesis);
        step.commit(&mut log).unwrap();
        let (_, records) = ConsensusLog::open(log.close()).unwrap();
        start::resume(&self.nodes[node].chain, config, signer, records, 1).map(|_| ())
    }

    /// All machines lose power: what was not synced is gone.
    pub fn power_cut(&mut self) {
        for machine in &self.machines {
            machine.store.crash(|_| 0);
            machine.log.crash(|_| 0);
            machine.pool.crash(|_| 0);
        }
        for node in 0..self.nodes.len() {
            self.restart(node);
        }
    }

    // --- transactions ---

    pub fn tx(&mut self, signers: &[&str], expires_in: u64, call: Call) -> SignedTx {
        self.requests += 1;
        let expires_at = TimestampMs(START + self.world.now.get() + expires_in);
        sign(self.genesis.chain_id(), signers, self.requests, expires_at, call)
    }

    /// A patient of hospital 0, in custody.
    pub fn patient(&mut self, number: usize) -> SignedTx {
        self.patient_until(number, 600 * SECOND)
    }

    pub fn patient_until(&mut self, number: usize, expires_in: u64) -> SignedTx {
        self.tx(&["hospital0.admin"], expires_in, patient_call(number))
    }

    /// Node 1 takes a patient, and all of these nodes get it.
    pub fn patient_reaches(&mut self, number: usize, nodes: core::ops::Range<usize>) -> TxId {
        let tx = self.patient(number);
        let id = self.submit(1, tx);
        self.run_until(60 * SECOND, |cluster| nodes.clone().all(|node| cluster.has(node, &[id])));
        id
    }

    pub fn patients(&mut self, count: usize) -> Vec<SignedTx> {
        (0..count).map(|number| self.patient(number)).collect()
    }

    /// Enrolment, a record, a denied access, a grant, a permitted one, the revocation, a denied one: in this order.
    pub fn story(&mut self) -> Vec<SignedTx> {
        let until = 600 * SECOND;
        let (anna, record, grant) =
            (PatientId(id16("anna")), RecordId(id16("anna1")), GrantId(id16("for drB")));
        let last = self.world.n - 1;
        let practitioner = |name: &str, role| {
            Call::RegisterPractitioner(RegisterPractitioner {
                practitioner: PractitionerId(id16(name)),
                key: key(name).public_key(),
                roles: vec![role],
                capabilities: vec![],
                credential_until: None,
                identity_commitment: hash("licence"),
            })
        };
        let admin = format!("hospital{last}.admin");
        let access =
            || Call::RecordAccess(RecordAccess::new(record, Role::Physician, Action::Read, Purpose::Treat));
        let register = Call::RegisterPatient(RegisterPatient {
            patient: anna,
            key: Some(key("anna").public_key()),
            notice_hash: hash("notice"),
        });
        let write = Call::RegisterRecord(RegisterRecord {
            record,
            patient: anna,
            role: Role::Physician,
            category: Category::Lab,
            labels: vec![],
            service_month: Month::new(2026, 3).unwrap(),
            commitment: hash("commitment"),
            ciphertext_hash: hash("ciphertext"),
            size_class: 12,
            pointer: OpaqueRef(id16("pointer")),
            minor_consented: false,
        });
        let person =
            Person::Practitioner(OrgId(id16(&format!("hospital{last}"))), PractitionerId(id16("drB")));
        let rule = Rule {
            kind: GrantKind::Permit,
            to: Grantee::Person(person),
            purposes: Purposes::Only(vec![Purpose::Treat]),
            actions: vec![Action::Read],
            categories: vec![],
            records: vec![],
            labels: Labels::Only(vec![]),
            data_period: None,
            from: None,
            until: None,
            max_uses: None,
            delegable: false,
            parent: None,
            policy: None,
            document: None,
        };
        let revoke = Call::RevokeGrant(RevokeGrant { patient: anna, grant, document: None });
        vec![
            self.tx(&["hospital0.admin", "regA"], until, practitioner("regA", Role::Registrar)),
            self.tx(&["hospital0.admin", "drA"], until, practitioner("drA", Role::Physician)),
            self.tx(&[&admin, "drB"], until, practitioner("drB", Role::Physician)),
            self.tx(&["regA", "anna"], until, register),
            self.tx(&["drA"], until, write),
            self.tx(&["drB"], until, access()),
            self.tx(&["anna"], until, Call::CreateGrant(CreateGrant { grant, patient: anna, rule })),
            self.tx(&["drB"], until, access()),
            self.tx(&["anna"], until, revoke),
            self.tx(&["drB"], until, access()),
        ]
    }

    /// A client of hospital 0 gives it to a node.
    pub fn submit(&mut self, node: usize, tx: SignedTx) -> TxId {
        let id = tx.id();
        let accepted = self.nodes[node].accepted.clone();
        // `Reply` must be `Send`; the answer is read from a channel when it was said.
        let (say, said) = std::sync::mpsc::channel();
        let reply = Reply::new(move |word| drop(say.send(word)));
        let origin = Origin::Client(Account::Client(OrgId(id16("hospital0")).into()), reply);
        let parsed = parse(tx, self.genesis.chain_id()).unwrap();
        self.nodes[node].inbox.push(Input::Submit(Candidate { parsed, origin }));
        for _ in 0..4 {
            if let Ok(word) = said.try_recv() {
                if matches!(word, Ok(Admitted::New { durable: true })) {
                    accepted.set(accepted.get() + 1);
                }
                word.unwrap();
                return id;
            }
            self.round();
        }
        panic!("no word to a client");
    }

    /// A client of hospital 0 gives these to a node and waits for no word.
    pub fn hand_in(&mut self, node: usize, txs: Vec<SignedTx>) -> Vec<TxId> {
        let ids = txs.iter().map(SignedTx::id).collect();
        for tx in txs {
            let origin = Origin::Client(Account::Client(OrgId(id16("hospital0")).into()), Reply::nobody());
            let parsed = parse(tx, self.genesis.chain_id()).unwrap();
            self.nodes[node].inbox.push(Input::Submit(Candidate { parsed, origin }));
        }
        ids
    }

    /// Clients of all hospitals in turn do; the ids that are acknowledged as durable come out.
    pub fn hand_in_durably(&mut self, node: usize, txs: Vec<SignedTx>) -> Receiver<TxId> {
        let (say, said) = std::sync::mpsc::channel();
        for (number, tx) in txs.into_iter().enumerate() {
            let hospital = OrgId(id16(&format!("hospital{}", number % self.nodes.len())));
            let (id, say) = (tx.id(), say.clone());
            let reply = Reply::new(move |word| {
                if word == Ok(Admitted::New { durable: true }) {
                    let _gone = say.send(id);
                }
            });
            let origin = Origin::Client(Account::Client(hospital.into()), reply);
            let parsed = parse(tx, self.genesis.chain_id()).unwrap();
            self.nodes[node].inbox.push(Input::Submit(Candidate { parsed, origin }));
        }
        said
    }

    // --- what is seen ---

    /// What a node's durable pool holds on disk, and whether its first file is gone.
    pub fn pool_log(&self, node: usize) -> (BTreeSet<TxId>, bool) {
        let mut disk = self.machines[node].pool.clone();
        let trimmed = !disk.names().unwrap().iter().any(|name| name.starts_with("00000000000000000000."));
        let (_, held) = PoolLog::open_with(disk, POOL_FILES).unwrap();
        (held.into_iter().map(|(_, tx)| tx.id()).collect(), trimmed)
    }

    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }
    /// A node's store: shared with the node.
    pub fn shelf(&self, node: usize) -> MemoryDisk {
        self.machines[node].shelf.clone()
    }
    pub fn store(&self, node: usize) -> MemoryStore {
        self.machines[node].store.clone()
    }
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }
    pub fn accepted(&self, node: usize) -> usize {
        self.nodes[node].accepted.get()
    }
    pub fn evidence(&self, node: usize) -> Vec<(u64, Vec<u8>)> {
        self.nodes[node].chain.evidence(0, 100).unwrap()
    }
    pub fn beginnings(&self, node: usize) -> usize {
        self.nodes[node].beginnings
    }
    /// How often `node` counted this of `peer`.
    pub fn offences(&self, node: usize, peer: usize, offence: Offence) -> u64 {
        let peer = ValidatorIndex(u16::try_from(peer).unwrap());
        let status = self.nodes[node].driver.as_ref().unwrap().status();
        status.conduct.get(&peer).map_or(0, |conduct| conduct.count(offence))
    }
    pub fn fault(&self, node: usize) -> Option<String> {
        self.nodes[node].driver.as_ref().unwrap().status().fault
    }
    pub fn receipt(&self, node: usize, id: &TxId) -> Option<Receipt> {
        self.nodes[node].chain.receipt(*id).unwrap()
    }
    pub fn receipts(&self, node: usize, height: u64) -> Vec<Receipt> {
        self.nodes[node].chain.receipts(Height(height)).unwrap().unwrap_or_default()
    }
    pub fn has(&self, node: usize, ids: &[TxId]) -> bool {
        ids.iter().all(|id| self.receipt(node, id).is_some())
    }
    pub fn all_have(&self, ids: &[TxId]) -> bool {
        (0..self.nodes.len()).all(|node| self.has(node, ids))
    }
    /// What a node's mempool says of a transaction.
    pub fn known(&mut self, node: usize, id: &TxId) -> Option<Known> {
        let (say, said) = std::sync::mpsc::channel();
        let reply = LookupReply::new(move |known| say.send(known).unwrap());
        self.nodes[node].inbox.push(Input::Lookup { id: *id, reply });
        self.round();
        said.try_recv().unwrap()
    }
    pub fn may_be_below(&self, node: usize, id: TxId, expires_at: TimestampMs) -> bool {
        epione_node::handle::may_be_below(&self.nodes[node].chain, id, expires_at).unwrap()
    }
    pub fn head_time(&self, node: usize) -> TimestampMs {
        self.nodes[node].head().timestamp
    }
    pub fn pending(&mut self, node: usize, id: &TxId) -> bool {
        let (say, said) = std::sync::mpsc::channel();
        let reply =
            LookupReply::new(move |known| say.send(matches!(known, Some(Known::Pending { .. }))).unwrap());
        self.nodes[node].inbox.push(Input::Lookup { id: *id, reply });
        self.round();
        said.try_recv().unwrap()
    }
    pub fn all_equal_and_certified(&self) -> bool {
        let head = self.nodes[0].head();
        self.nodes.iter().all(|node| {
            let certified = node.chain.certified().map(|certificate| certificate.header_hash);
            node.head() == head && (certified == Some(head.hash) || head.height == Height(0))
        })
    }
    pub fn trace(&self) -> [u8; 32] {
        self.world.trace.get()
    }

    /// No fork, no fault, nobody is blamed for what an honest validator does, and what is certified verifies.
    #[track_caller]
    pub fn check(&self) {
        for node in &self.nodes {
            let status = node.driver.as_ref().unwrap().status();
            assert_eq!((status.fault, status.waiting.halted), (None, None));
            for (peer, conduct) in &status.conduct {
                let strikes: Vec<_> = conduct.counts().filter(|(offence, _)| offence.is_strike()).collect();
                let hostile = self.world.hostile.borrow().contains(&peer.get());
                assert!(hostile || strikes.is_empty(), "validator {peer} is honest: {strikes:?}");
            }
            for height in (node.chain.base().0.max(1)..=node.head().height.0).map(Height) {
                let header = node.chain.header(height).unwrap();
                let has = |other: &&Node| other.chain.base() <= height && other.head().height >= height;
                for other in self.nodes.iter().filter(has) {
                    assert_eq!(other.chain.header(height).unwrap(), header, "a fork at {height}");
                }
            }
            for lane in Lane::ALL {
                let most = node.jobs.most.borrow().get(&lane).copied().unwrap_or_default();
                assert!(most <= jobs_max(lane), "{lane:?}: {most} jobs");
            }
            if let Some(certificate) = node.chain.certified() {
                assert!(certificate.verify(self.genesis.chain_id(), &self.genesis.validators, &Zip215));
                assert_eq!(node.feed.progress().borrow().certified, certificate.height);
            }
        }
    }
}
