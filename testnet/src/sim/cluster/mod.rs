//! The world: nodes, network, clocks, clients and faults, moved by one queue of events in one thread.
//!
//! ```text
//!  frame, tick, answer ─▶ inbox ─▶ turn: driver.handle ─▶ tape ─▶ invariants, trace ─▶ network, lanes
//!                                       └ dead in the midst of it? the process is buried, its machine keeps what it keeps
//! ```

mod clients;
mod drill;
mod ending;
mod faults;
mod life;
mod links;
mod operators;
mod players;
mod turns;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use epione_ledger::wal::WalConfig;
use epione_node::driver::{Input, Settings};
use epione_node::mempool::Limits;
use epione_node::network::{Class, Peer, PeerIndex};
use epione_node::ports::Lane;
use epione_node::start;
use epione_types::{Epoch, Height, TimestampMs, ValidatorSet};
use operators::Operator;

use super::actors::Actor;
use super::client::Oracle;
use super::clock::{MS, Micros, NodeClock, Queue};
use super::counts::Counts;
use super::crypto::Keys;
use super::disk::{End, Machine};
use super::invariants::Invariants;
use super::net::Net;
use super::node::{Busy, Common, Process};
use super::plan::Plan;
use super::random::{Purpose, Rng};
use super::roll::{Roll, SharedRoll};
use super::trace::{Trace, describe};
use super::workload::{self, Client};
use super::{Class as FailureClass, Failure, Options};

/// How long a node shuts out who breaks the rules.
const PENALTY: Micros = 10_000 * MS;
/// One turn of a driver's loop, besides syncing.
const TURN: Micros = 20;
/// Every so many turns the replica's memory is measured.
const MEASURED_EVERY: u64 = 16;
/// How long a client waits before it asks elsewhere.
const CLIENT_PATIENCE: Micros = 3_000 * MS;
/// Transactions that one client has under way.
const CLIENT_OPEN_MAX: usize = 24;
/// Every so many looks the transactions of phase two are submitted again.
const PROBED_EVERY: u64 = 20;
/// Phase two looks this often whether all is well.
const LOOK_EVERY: Micros = 50 * MS;

#[derive(Debug)]
enum Event {
    Frame { body: usize, life: u64, from: usize, link: u64, class: Class, bytes: Bytes },
    Connected { body: usize, life: u64, peer: usize },
    Disconnected { body: usize, life: u64, peer: usize },
    Turn { body: usize, life: u64 },
    Tick { body: usize, life: u64 },
    Work { body: usize, life: u64, lane: Lane },
    Start { body: usize, life: u64 },
    Begin(usize),
    Over(usize),
    Actor(usize),
    Client(usize),
    Operator(usize),
    Look,
}

/// A machine and what runs on it.
struct Body {
    who: usize,
    /// Number among the bodies of its validator.
    copy: usize,
    honest: bool,
    machine: Machine,
    process: Option<Process>,
    /// Counts processes: what was meant for an earlier one is void.
    life: u64,
    busy: Busy,
    clock: NodeClock,
    jump_ms: i64,
    frozen_until: Micros,
    stall: Micros,
    slow: u64,
    /// How the process that is condemned ends, and how long it stays down.
    sentence: Option<(End, Micros)>,
    /// The same for the next process: it dies while it starts.
    next_sentence: Option<(u64, End, Micros)>,
    /// A disk is full or broken.
    disk_fault: bool,
    /// Its log was damaged or removed on purpose: it may refuse to vote.
    spoilt: bool,
    /// Why it never votes again.
    refused: Option<String>,
    /// The epoch it is in, as its process said last.
    set: ValidatorSet,
    /// Which machine has which number with it.
    peers: BTreeMap<usize, usize>,
    /// It has executed a block as one that follows.
    followed: bool,
    turns: u64,
}

/// A Byzantine validator.
struct Player {
    who: usize,
    actor: Box<dyn Actor>,
    random: Rng,
    deeds: u64,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Faults and load.
    One,
    /// All is healed: everything must come to a good end by then.
    Two {
        until: Micros,
    },
    Done,
}

/// The world of one run.
pub struct Cluster<'a> {
    plan: &'a Plan,
    options: &'a Options,
    common: Common,
    keys: Keys,
    queue: Queue<Event>,
    net: Net,
    bodies: Vec<Body>,
    players: Vec<Player>,
    clients: Vec<Client>,
    operators: Vec<Operator>,
    /// What clients submitted by themselves, by number.
    load: Vec<u64>,
    /// They submit nothing more.
    quiet: bool,
    /// Hospitals of machines that no plan places.
    placed: BTreeMap<usize, usize>,
    roll: SharedRoll,
    /// The highest epoch that an honest node has begun.
    begun: Epoch,
    oracle: Oracle,
    checks: Invariants,
    counts: Counts,
    trace: Trace,
    phase: Phase,
    /// Highest certified height of an honest node.
    certified: Height,
    /// The last fault is over then.
    calm_at: Micros,
    probes: Vec<u64>,
    harness: Option<String>,
}

impl<'a> Cluster<'a> {
    /// All nodes off, everything scheduled.
    #[must_use]
    pub fn new(plan: &'a Plan, options: &'a Options) -> Self {
        let keys = Keys::new(plan.scheme, plan.seed);
        let genesis = workload::genesis(plan, &keys);
        let chain = genesis.chain_id();
        let machines = || {
            (0..plan.machines()).map(|node| workload::validator(node, plan.hospital(node), &keys)).enumerate()
        };
        let signers = (0..plan.machines()).map(|node| keys.signer(&workload::validator_key(node))).collect();
        let voting_keys = machines().map(|(_, one)| one.public_key).collect();
        let roll = Rc::new(RefCell::new(Roll::new(voting_keys, genesis.validators.clone())));
        let listed = machines().filter(|(node, _)| plan.is_listed(*node));
        let listed =
            listed.map(|(_, one)| Peer { index: PeerIndex(0), key: one.network_key.0, address: None });
        let pool = Limits { txs_max: plan.pool_txs, ..Limits::default() };
        let common = Common {
            origin: start::origin(&genesis),
            verifier: keys.verifier(),
            signers,
            network_keys: machines().map(|(_, one)| one.network_key).collect(),
            listed: listed.collect(),
            roll: roll.clone(),
            settings: Settings { pool, log_bytes_max: plan.trim_bytes, snapshots: plan.snapshots },
            wal: WalConfig { segment_bytes: plan.segment_bytes, append_bytes_max: 64 << 20 },
            genesis,
        };
        let checks = Invariants::new(chain, &roll, common.verifier);
        let mut cluster = Self {
            plan,
            options,
            keys,
            queue: Queue::default(),
            net: Net::new(plan),
            bodies: Vec::new(),
            players: Vec::new(),
            clients: (0..plan.clients.max(1))
                .map(|at| Client::new(at, plan.n, plan.clients.max(1)))
                .collect(),
            operators: plan.changes.iter().map(|order| Operator::new(order.change)).collect(),
            load: Vec::new(),
            quiet: false,
            placed: BTreeMap::new(),
            roll,
            begun: Epoch::ZERO,
            oracle: Oracle::default(),
            checks,
            counts: Counts::default(),
            trace: Trace::new(options.lines),
            phase: Phase::One,
            certified: Height::ZERO,
            calm_at: 0,
            probes: Vec::new(),
            harness: None,
            common,
        };
        cluster.set_up();
        cluster
    }

    fn set_up(&mut self) {
        let plan = self.plan;
        for (who, kind) in &plan.actors {
            let random = Rng::new(plan.seed, Purpose::Actor, &[*who as u64]);
            self.players.push(Player { who: *who, actor: kind.make(), random, deeds: 0 });
        }
        let bodies =
            |who| self.players.iter().find(|player| player.who == who).map_or(1, |one| one.actor.bodies());
        let all: Vec<(usize, usize)> =
            (0..plan.machines()).flat_map(|who| (0..bodies(who)).map(move |copy| (who, copy))).collect();
        for (who, copy) in all {
            let clock = plan.clocks.iter().find(|(node, _)| *node == who).map(|(_, clock)| *clock);
            self.bodies.push(Body {
                who,
                copy,
                honest: plan.actor(who).is_none() || self.options.canary,
                machine: Machine::default(),
                process: None,
                life: 0,
                busy: Busy::default(),
                clock: clock.unwrap_or_default(),
                jump_ms: 0,
                frozen_until: 0,
                stall: 0,
                slow: 1,
                sentence: None,
                next_sentence: None,
                disk_fault: false,
                spoilt: false,
                refused: None,
                set: self.common.genesis.validators.clone(),
                peers: BTreeMap::new(),
                followed: false,
                turns: 0,
            });
        }
        for body in 0..self.bodies.len() {
            let who = self.bodies[body].who;
            let begins = plan.spares.iter().find(|spare| spare.node == who).map_or(0, |spare| spare.at);
            let at = Rng::new(plan.seed, Purpose::Tick, &[body as u64]).below(50 * MS);
            self.queue.at(begins * MS + at, Event::Start { body, life: 0 });
        }
        for player in 0..self.players.len() {
            self.queue.at(plan.tick_ms * MS, Event::Actor(player));
        }
        for client in 0..self.clients.len() {
            self.queue.at(100 * MS + plan.load_every * client as u64, Event::Client(client));
        }
        for (operator, order) in plan.changes.iter().enumerate() {
            self.queue.at(order.at * MS, Event::Operator(operator));
        }
        for (line, one) in plan.schedule.iter().enumerate() {
            self.queue.at(one.at * MS, Event::Begin(line));
            self.calm_at = self.calm_at.max((one.at + one.lasts) * MS);
        }
        self.queue.at(LOOK_EVERY, Event::Look);
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The first thing that must not be.
    pub fn run(&mut self) -> Result<(), Failure> {
        while self.phase != Phase::Done {
            self.advance()?;
        }
        self.final_checks().map_err(|text| self.failure(FailureClass::Safety, "acknowledged", text))
    }

    /// The next event, and whatever must hold after it.
    fn advance(&mut self) -> Result<(), Failure> {
        let Some(event) = self.queue.pop() else {
            let text = "nothing happens any more".to_owned();
            return Err(self.failure(FailureClass::Harness, "harness", text));
        };
        self.handle(event);
        if let Some(broken) = self.checks.broken() {
            let (invariant, text) = (broken.invariant, broken.text.clone());
            return Err(self.failure(FailureClass::Safety, invariant, text));
        }
        if let Some(why) = self.harness.take() {
            return Err(self.failure(FailureClass::Harness, "harness", why));
        }
        if let Phase::Two { until } = self.phase
            && self.queue.now() > until
        {
            let text = self.what_is_missing().unwrap_or_else(|| "nothing".to_owned());
            return Err(self.failure(FailureClass::Liveness, "progress", text));
        }
        Ok(())
    }

    /// A machine's hospital.
    fn hospital(&self, node: usize) -> usize {
        self.placed.get(&node).copied().unwrap_or_else(|| self.plan.hospital(node))
    }

    pub(in crate::sim) fn failure(&self, class: FailureClass, invariant: &str, text: String) -> Failure {
        Failure {
            class,
            invariant: invariant.to_owned(),
            text,
            at_ms: self.queue.now() / MS,
            last: self.trace.last(),
        }
    }

    /// Counts, trace hash and virtual time of the run.
    #[must_use]
    pub fn finish(mut self) -> (Counts, epione_types::Hash, u64) {
        for player in &self.players {
            let name = self.plan.actor(player.who).map_or("nobody", |kind| kind.name());
            self.counts.add(&format!("actor {name}"), player.deeds);
        }
        self.counts.add("certificates", self.certified.0);
        self.counts.add("transitions", self.trace.transitions);
        self.counts.add("frames lost", self.net.lost);
        (self.counts, self.trace.hash(), self.queue.now() / MS)
    }

    // --- events ---

    fn handle(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Frame { body, life, from, link, class, bytes } => {
                if self.lives(body, life) && self.net.link(from, self.bodies[body].who).0 == link {
                    self.arrives(body, from, class, bytes);
                }
            }
            Event::Connected { body, life, peer } => {
                if self.lives(body, life)
                    && let Some(number) = self.number(body, peer)
                {
                    self.trace.note(now, 2, body, peer as u64, &[], || format!("connected to {peer}"));
                    self.input(body, Input::Connected(number));
                }
            }
            Event::Disconnected { body, life, peer } => {
                if self.lives(body, life)
                    && let Some(number) = self.number(body, peer)
                {
                    self.input(body, Input::Disconnected(number));
                }
            }
            Event::Tick { body, life } => {
                if self.lives(body, life) {
                    self.queue.at(now + self.plan.tick_ms * MS, Event::Tick { body, life });
                    self.input(body, Input::Tick);
                }
            }
            Event::Turn { body, life } => {
                if self.lives(body, life) {
                    if self.bodies[body].frozen_until > now {
                        self.queue.at(self.bodies[body].frozen_until, Event::Turn { body, life });
                    } else {
                        self.turn(body);
                    }
                }
            }
            Event::Work { body, life, lane } => {
                if self.lives(body, life) {
                    if self.bodies[body].frozen_until > now {
                        self.queue.at(self.bodies[body].frozen_until, Event::Work { body, life, lane });
                    } else {
                        self.work(body, lane);
                    }
                }
            }
            Event::Start { body, life } => {
                if self.bodies[body].life == life && self.bodies[body].process.is_none() {
                    self.start(body);
                }
            }
            Event::Begin(line) => self.begin(line),
            Event::Over(line) => self.over(line),
            Event::Actor(player) => self.actor_tick(player),
            Event::Client(client) => self.client(client),
            Event::Operator(operator) => self.operator(operator),
            Event::Look => {
                self.queue.at(now + LOOK_EVERY, Event::Look);
                self.look();
            }
        }
    }

    fn lives(&self, body: usize, life: u64) -> bool {
        self.bodies[body].life == life && self.bodies[body].process.is_some()
    }

    /// Something for a node's inbox; its loop wakes.
    fn input(&mut self, body: usize, input: Input) {
        let one = &mut self.bodies[body];
        if let Some(process) = &mut one.process {
            process.inbox.push(input);
            self.wake(body);
        }
    }

    fn wake(&mut self, body: usize) {
        let one = &mut self.bodies[body];
        if !one.busy.turn {
            one.busy.turn = true;
            let (at, life) = (one.busy.until, one.life);
            self.queue.at(at, Event::Turn { body, life });
        }
    }

    fn arrives(&mut self, body: usize, from: usize, class: Class, bytes: Bytes) {
        let now = self.queue.now();
        let Some(number) = self.number(body, from) else { return };
        self.trace
            .note(now, 1, body, from as u64, &[class as u8], || format!("<- {from}  {}", describe(&bytes)));
        let who = self.bodies[body].who;
        if let Some(at) = self.players.iter().position(|player| player.who == who) {
            let copy = self.bodies[body].copy;
            let peer = number.get();
            let passes = self.play(at, body, |actor, stage| actor.inbound(stage, copy, peer, class, &bytes));
            if !passes {
                return;
            }
        }
        self.input(body, Input::Frame { from: number, class, bytes });
    }

    fn wall(&self, body: usize) -> TimestampMs {
        let one = &self.bodies[body];
        TimestampMs(one.clock.wall_ms(self.queue.now()).saturating_add_signed(one.jump_ms))
    }
}

impl core::fmt::Debug for Cluster<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cluster")
            .field("phase", &self.phase)
            .field("certified", &self.certified)
            .finish_non_exhaustive()
    }
}
