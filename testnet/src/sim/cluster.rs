//! The world: nodes, network, clocks, clients and faults, moved by one queue of events in one thread.
//!
//! ```text
//!  frame, tick, answer ─▶ inbox ─▶ turn: driver.handle ─▶ tape ─▶ invariants, trace ─▶ network, lanes
//!                                       └ dead in the midst of it? the process is buried, its machine keeps what it keeps
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use epione_ledger::disk::Disk as _;
use epione_ledger::wal::WalConfig;
use epione_node::driver::{Input, Settings};
use epione_node::feed::Word;
use epione_node::mempool::{self, Account, Limits};
use epione_node::network::Class;
use epione_node::ports::{Admitted, Job, Lane, Refused};
use epione_node::start;
use epione_node::validate::parse;
use epione_node::wire::Frame;
use epione_types::{Height, Outcome, SignedTx, TimestampMs, ValidatorIndex};

use super::actors::{Actor, Outgoing, Stage};
use super::client::{Answer, Oracle, Place, Submission};
use super::clock::{MS, Micros, NodeClock, Queue};
use super::counts::Counts;
use super::crypto::Keys;
use super::disk::{End, Life, Machine};
use super::invariants::Invariants;
use super::net::Net;
use super::node::{Busy, Common, Done, NotStarted, Process, Said};
use super::plan::{Fault, Nodes, Plan};
use super::random::{Purpose, Rng};
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
    Frame { body: usize, life: u64, from: usize, class: Class, bytes: Bytes },
    Connected { body: usize, life: u64, peer: usize },
    Turn { body: usize, life: u64 },
    Tick { body: usize, life: u64 },
    Work { body: usize, life: u64, lane: Lane },
    Start { body: usize, life: u64 },
    Begin(usize),
    Over(usize),
    Actor(usize),
    Client(usize),
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
    /// Its log is damaged: it never votes again.
    lost: bool,
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
        let genesis = workload::genesis(plan.n, plan.params.clone(), &keys);
        let chain = genesis.chain_id();
        let signers = (0..plan.n).map(|node| keys.signer(&workload::validator_key(node))).collect();
        let pool = Limits { txs_max: plan.pool_txs, ..Limits::default() };
        let common = Common {
            origin: start::origin(&genesis),
            verifier: keys.verifier(),
            signers,
            settings: Settings { pool, log_bytes_max: plan.trim_bytes },
            wal: WalConfig { segment_bytes: plan.segment_bytes, append_bytes_max: 64 << 20 },
            genesis,
        };
        let checks = Invariants::new(chain, &common.genesis.validators, common.verifier);
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
            (0..plan.n).flat_map(|who| (0..bodies(who)).map(move |copy| (who, copy))).collect();
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
                lost: false,
                turns: 0,
            });
        }
        for body in 0..self.bodies.len() {
            let at = Rng::new(plan.seed, Purpose::Tick, &[body as u64]).below(50 * MS);
            self.queue.at(at, Event::Start { body, life: 0 });
        }
        for player in 0..self.players.len() {
            self.queue.at(plan.tick_ms * MS, Event::Actor(player));
        }
        for client in 0..self.clients.len() {
            self.queue.at(100 * MS + plan.load_every * client as u64, Event::Client(client));
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
            let Some(event) = self.queue.pop() else {
                return Err(self.failure(
                    FailureClass::Harness,
                    "harness",
                    "nothing happens any more".to_owned(),
                ));
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
        }
        self.final_checks().map_err(|text| self.failure(FailureClass::Safety, "acknowledged", text))
    }

    pub(super) fn failure(&self, class: FailureClass, invariant: &str, text: String) -> Failure {
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
            Event::Frame { body, life, from, class, bytes } => {
                if self.bodies[body].life == life && self.bodies[body].process.is_some() {
                    self.arrives(body, from, class, bytes);
                }
            }
            Event::Connected { body, life, peer } => {
                if self.lives(body, life) {
                    self.trace.note(now, 2, body, peer as u64, &[], || format!("connected to {peer}"));
                    let peer = ValidatorIndex(u16::try_from(peer).unwrap_or(u16::MAX));
                    self.input(body, Input::Connected(peer));
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
        self.trace
            .note(now, 1, body, from as u64, &[class as u8], || format!("<- {from}  {}", describe(&bytes)));
        let who = self.bodies[body].who;
        if let Some(at) = self.players.iter().position(|player| player.who == who) {
            let copy = self.bodies[body].copy;
            let passes = self.play(at, |actor, stage| actor.inbound(stage, copy, from, class, &bytes));
            if !passes {
                return;
            }
        }
        let from = ValidatorIndex(u16::try_from(from).unwrap_or(u16::MAX));
        self.input(body, Input::Frame { from, class, bytes });
    }

    fn wall(&self, body: usize) -> TimestampMs {
        let one = &self.bodies[body];
        TimestampMs(one.clock.wall_ms(self.queue.now()).saturating_add_signed(one.jump_ms))
    }

    fn turn(&mut self, body: usize) {
        let now = self.queue.now();
        let clock = self.wall(body);
        let one = &mut self.bodies[body];
        one.busy.turn = false;
        one.turns += 1;
        let (turns, honest, node) = (one.turns, one.honest, one.who);
        let now_ms = one.clock.monotone_ms(now);
        let Some(process) = &mut one.process else { return };
        process.turn(now_ms, clock);
        // Until its ledger is back where its log is, what the log holds is kept besides.
        if honest && turns % MEASURED_EVERY == 0 && process.is_restored() {
            self.checks.keeps(node, process.driver.replica());
        }
        self.after(body);
    }

    /// What a process said is played; if it died meanwhile it is buried.
    fn after(&mut self, body: usize) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        let (tape, words) = (process.tape.take(), process.take_words());
        let (syncs, dead) = (process.life.take_syncs(), process.life.is_over());
        let random = &mut Rng::new(self.plan.seed, Purpose::Work, &[body as u64, one.life, one.turns, 3]);
        let took = TURN + syncs * (random.within(self.plan.sync.0, self.plan.sync.1) + one.stall);
        one.busy.until = now + took;
        let leaves = one.busy.until;
        for said in tape {
            self.said(body, said, leaves);
        }
        for (number, word) in words {
            self.word(body, number, &word);
        }
        if dead {
            self.bury(body);
        }
    }

    fn said(&mut self, body: usize, said: Said, leaves: Micros) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        match said {
            Said::Durable(facts) => {
                self.trace.note(now, 3, body, facts.len() as u64, &[], || {
                    let list: Vec<String> = facts
                        .iter()
                        .map(|fact| format!("{:?} v{} h{}", fact.statement, fact.view, fact.height))
                        .collect();
                    format!("on disk  {}", list.join(", "))
                });
                if honest {
                    self.checks.durable(node, &facts);
                }
            }
            Said::Entered(view) => {
                self.trace.note(now, 4, body, view, &[], || format!("enters view {view}"));
                if honest {
                    self.counts.add("views entered", 1);
                    self.counts.most("highest view", view);
                }
            }
            Said::Halted(why) => {
                self.trace.note(now, 5, body, 0, &[], || format!("halts: {why}"));
                if honest {
                    self.checks.breaks("no halt", format!("node {node} halted: {why}"));
                }
            }
            Said::Frame(to, class, bytes) => self.frame(body, to, class, bytes, leaves),
            Said::Disconnect(peer, why) => {
                self.trace.note(now, 6, body, peer as u64, &[], || format!("shuts out {peer}: {why}"));
                self.counts.add("shut out", 1);
                if honest && self.plan.actor(peer).is_none() {
                    self.checks.breaks(
                        "no false strike",
                        format!("node {node} shuts out honest node {peer}: {why}"),
                    );
                }
                self.net.shut(node, peer, now + PENALTY);
                self.connect_pair(node, peer, now + PENALTY);
            }
            Said::Start(job) => self.start_job(body, job, leaves),
        }
    }

    fn frame(&mut self, body: usize, to: Option<usize>, class: Class, bytes: Bytes, leaves: Micros) {
        let now = self.queue.now();
        let (node, honest, copy) = (self.bodies[body].who, self.bodies[body].honest, self.bodies[body].copy);
        let number = to.map_or(u64::MAX, |to| to as u64);
        self.trace.note(now, 7, body, number, &bytes, || {
            let to = to.map_or_else(|| "all".to_owned(), |to| to.to_string());
            format!("-> {to}  {}", describe(&bytes))
        });
        // The first word of an encoding says which frame it is: only messages are looked into.
        if honest
            && bytes.first() == Some(&0)
            && let Ok(Frame::Message(message)) = Frame::decode(&bytes)
        {
            self.checks.sent(node, &message);
        } else if honest && bytes.first() == Some(&2) {
            self.counts.add("batches fetched", 1);
        } else if honest && bytes.first() == Some(&3) {
            self.counts.add("blocks fetched", 1);
        }
        let player = self.players.iter().position(|player| player.who == node);
        let receivers = match to {
            Some(to) => to..to + 1,
            None => 0..self.plan.n,
        };
        for to in receivers.filter(|to| *to != node && *to < self.plan.n) {
            match player {
                Some(at) => {
                    let bytes = bytes.clone();
                    self.play(at, |actor, stage| actor.outbound(stage, copy, to, class, bytes));
                }
                None => self.leaves(node, to, class, bytes.clone(), leaves),
            }
        }
    }

    /// A frame leaves a validator.
    fn leaves(&mut self, from: usize, to: usize, class: Class, bytes: Bytes, at: Micros) {
        for arrival in self.net.send(at, from, to, class).into_iter().flatten() {
            for (body, one) in self.bodies.iter().enumerate().filter(|(_, one)| one.who == to) {
                let event = Event::Frame { body, life: one.life, from, class, bytes: bytes.clone() };
                self.queue.at(arrival, event);
            }
        }
    }

    fn start_job(&mut self, body: usize, job: Job, leaves: Micros) {
        let lane = job.lane();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        process.jobs[lane as usize].push_back(job);
        if !one.busy.lanes[lane as usize] {
            one.busy.lanes[lane as usize] = true;
            self.next_job(body, lane, leaves);
        }
    }

    fn next_job(&mut self, body: usize, lane: Lane, from: Micros) {
        let one = &self.bodies[body];
        let random =
            &mut Rng::new(self.plan.seed, Purpose::Work, &[body as u64, one.life, from, lane as u64]);
        let takes = random.within(self.plan.work.0, self.plan.work.1) * one.slow;
        let life = one.life;
        self.queue.at(from + takes, Event::Work { body, life, lane });
    }

    fn work(&mut self, body: usize, lane: Lane) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        let done = process.work(lane);
        let (dead, failed) = (process.life.is_over(), process.life.has_failed());
        let more = !process.jobs[lane as usize].is_empty();
        one.busy.lanes[lane as usize] = more;
        if !dead
            && let Some(why) = &done.failed
            && !failed
        {
            self.harness_or_safety(body, format!("a job failed: {why}"));
        }
        self.done(body, done);
        if dead {
            return self.bury(body);
        }
        if more {
            self.next_job(body, lane, now);
        }
        self.wake(body);
    }

    /// A node that fails without a fault of its machine.
    fn harness_or_safety(&mut self, body: usize, why: String) {
        if self.bodies[body].honest {
            let node = self.bodies[body].who;
            self.checks.breaks("no failure", format!("node {node}: {why}"));
        }
    }

    fn done(&mut self, body: usize, done: Done) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        if let Some(executed) = &done.executed {
            let height = executed.header.height;
            self.trace.note(now, 8, body, height.0, &executed.header.state_root.0, || {
                format!("executes h{height}, {} transactions", executed.payload.batch().txs().len())
            });
            if honest && height > executed.before {
                let receipts = self.bodies[body].process.as_ref().map(|one| one.chain.receipts(height));
                let receipts = receipts.and_then(Result::ok).flatten().unwrap_or_default();
                if self.checks.executed(node, executed, &receipts) {
                    self.counts.add("heights", 1);
                    self.counts.add("null batches", u64::from(executed.payload.is_null()));
                    let empty = !executed.payload.is_null() && receipts.is_empty();
                    self.counts.add("empty batches", u64::from(empty));
                    self.counts.add("transactions", receipts.len() as u64);
                    if let Err(text) = self.oracle.executed(&executed.header, &receipts) {
                        self.checks.breaks("acknowledged", text);
                    }
                }
                self.tell(body);
            }
        }
        if let Some(certificate) = &done.certified {
            let height = certificate.height;
            self.trace.note(now, 9, body, height.0, &[], || format!("certifies h{height}"));
            if honest {
                self.certified = self.certified.max(height);
                self.checks.certified(node, certificate);
            }
        }
        if let Some(against) = done.evidence {
            self.trace.note(now, 10, body, against as u64, &[], || format!("keeps proof against {against}"));
            self.counts.add("evidence", 1);
            if honest && self.plan.actor(against).is_none() {
                self.checks.breaks(
                    "no false evidence",
                    format!("node {node} holds proof against honest node {against}"),
                );
            }
        }
    }

    // --- life and death ---

    fn start(&mut self, body: usize) {
        let (now, clock) = (self.queue.now(), self.wall(body));
        let one = &mut self.bodies[body];
        if one.lost {
            return;
        }
        let life = Life::endless();
        one.sentence = None;
        if let Some((calls, end, lasts)) = one.next_sentence.take() {
            life.ends_after(calls);
            one.sentence = Some((end, lasts));
        }
        one.busy = Busy::default();
        let (node, honest, number) = (one.who, one.honest, one.life);
        let now_ms = one.clock.monotone_ms(now);
        let started = Process::start(&self.common, node, &mut one.machine, &life, now_ms, clock);
        match started {
            Ok((process, facts)) => {
                let height = process.chain.head().height;
                one.process = Some(process);
                self.trace.note(now, 11, body, height.0, &[], || format!("starts at h{height}"));
                if honest {
                    self.checks.started(node, height, &facts);
                }
                self.after(body);
                let tick = Rng::new(self.plan.seed, Purpose::Tick, &[body as u64, number])
                    .below(self.plan.tick_ms * MS);
                self.queue.at(now + tick, Event::Tick { body, life: number });
                for other in 0..self.plan.n {
                    if other != node {
                        self.connect_pair(node, other, now);
                    }
                }
                self.wake(body);
            }
            Err(NotStarted::Died) => self.bury(body),
            Err(NotStarted::Disk(why)) => {
                // Tried again when the disk is better.
                self.trace.note(now, 12, body, 0, &[], || format!("does not start: {why}"));
                one.life += 1;
                let life = one.life;
                self.queue.at(now + 200 * MS, Event::Start { body, life });
            }
            Err(NotStarted::Refused(why)) => {
                self.trace.note(now, 13, body, 0, &[], || format!("refuses to vote: {why}"));
                one.lost = true;
                self.counts.add("logs lost", 1);
                let allowed =
                    self.plan.schedule.iter().any(
                        |line| matches!(&line.fault, Fault::Crash(nodes, _, End::Rot) if nodes.has(node)),
                    );
                if honest && !allowed {
                    self.checks.breaks("no failure", format!("node {node} does not start again: {why}"));
                }
            }
        }
    }

    /// Both of a pair notice that they can speak.
    fn connect_pair(&mut self, a: usize, b: usize, from: Micros) {
        if self.net.is_cut(from, a, b) || self.net.is_cut(from, b, a) {
            return;
        }
        let random = &mut Rng::new(self.plan.seed, Purpose::Link, &[u64::MAX, a as u64, b as u64, from]);
        for (me, peer) in [(a, b), (b, a)] {
            let at = from + self.net.way(random);
            if !self.bodies.iter().any(|one| one.who == peer && one.process.is_some()) {
                continue;
            }
            for (body, one) in self.bodies.iter().enumerate() {
                if one.who == me && one.process.is_some() {
                    self.queue.at(at, Event::Connected { body, life: one.life, peer });
                }
            }
        }
    }

    fn bury(&mut self, body: usize) {
        let now = self.queue.now();
        let (end, lasts) = self.bodies[body].sentence.take().unwrap_or((End::Kill, 100 * MS));
        self.end(body, end, now + lasts);
    }

    /// The process ends, the machine keeps what it keeps, and starts again then.
    fn end(&mut self, body: usize, end: End, again: Micros) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        self.trace.note(now, 14, body, one.life, &[], || format!("dies ({})", end.name()));
        one.process = None;
        one.machine.end(end, Rng::new(self.plan.seed, Purpose::Disk, &[body as u64, one.life]));
        one.life += 1;
        one.busy = Busy::default();
        let (node, life) = (one.who, one.life);
        if one.honest {
            self.checks.ended(node);
        }
        self.counts.add("crashes", 1);
        self.queue.at(again, Event::Start { body, life });
    }

    // --- faults ---

    fn begin(&mut self, line: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One {
            return;
        }
        let one = &self.plan.schedule[line];
        let until = now + one.lasts * MS;
        self.trace.note(now, 15, usize::MAX, line as u64, &[], || format!("fault: {one}"));
        self.counts.add(&format!("fault {}", one.fault.kind()), 1);
        self.queue.at(until, Event::Over(line));
        match &one.fault {
            Fault::Partition(_)
            | Fault::Oneway(..)
            | Fault::Clog(..)
            | Fault::Lossy(_)
            | Fault::Duplicates(_)
            | Fault::Reorder(..) => self.net.begin(line, one.fault.clone(), until),
            Fault::Slow(node, factor) => self.each(*node, |body| body.slow = (*factor).max(1)),
            Fault::Stall(node, ms) => self.each(*node, |body| body.stall = ms * MS),
            Fault::Freeze(node) => self.each(*node, |body| body.frozen_until = until),
            Fault::Jump(node, ms) => self.each(*node, |body| body.jump_ms = *ms),
            Fault::Full(node) => self.each(*node, |body| {
                body.disk_fault = true;
                for disk in [&body.machine.log, &body.machine.pool] {
                    let names = disk.clone().names().unwrap_or_default();
                    let used: usize =
                        names.iter().map(|name| disk.bytes(name).map_or(0, |bytes| bytes.len())).sum();
                    disk.fill_up(used + 700);
                }
            }),
            Fault::Broken(node) => self.each(*node, |body| {
                body.disk_fault = true;
                body.machine.log.fail_after(3);
                body.machine.pool.fail_after(5);
            }),
            Fault::Crash(nodes, after, end) => self.condemn(*nodes, *after, *end, one.lasts * MS),
        }
    }

    fn each(&mut self, node: usize, mut act: impl FnMut(&mut Body)) {
        self.bodies.iter_mut().filter(|body| body.who == node).for_each(&mut act);
    }

    fn condemn(&mut self, nodes: Nodes, after: u64, end: End, lasts: Micros) {
        let now = self.queue.now();
        for body in 0..self.bodies.len() {
            let one = &mut self.bodies[body];
            if !nodes.has(one.who) {
                continue;
            }
            match &one.process {
                Some(_) if after == 0 => self.end(body, end, now + lasts),
                Some(process) => {
                    process.life.ends_after(after);
                    one.sentence = Some((end, lasts));
                }
                None => one.next_sentence = Some((after, end, lasts)),
            }
        }
    }

    fn over(&mut self, line: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One {
            return;
        }
        let one = &self.plan.schedule[line];
        self.trace.note(now, 16, usize::MAX, line as u64, &[], || format!("over: {one}"));
        match &one.fault {
            Fault::Partition(_) | Fault::Oneway(..) => {
                self.net.end(line);
                self.connect_all(now);
            }
            Fault::Clog(..) | Fault::Lossy(_) | Fault::Duplicates(_) | Fault::Reorder(..) => {
                self.net.end(line)
            }
            Fault::Slow(node, _) => self.each(*node, |body| body.slow = 1),
            Fault::Stall(node, _) => self.each(*node, |body| body.stall = 0),
            Fault::Jump(node, _) => self.each(*node, |body| body.jump_ms = 0),
            Fault::Full(node) | Fault::Broken(node) => self.mend_disk(*node),
            Fault::Freeze(_) | Fault::Crash(..) => {}
        }
    }

    fn connect_all(&mut self, now: Micros) {
        for a in 0..self.plan.n {
            for b in 0..a {
                self.connect_pair(a, b, now);
            }
        }
    }

    /// The disk is emptied or replaced, and the node started again if it had noticed.
    fn mend_disk(&mut self, node: usize) {
        let now = self.queue.now();
        self.each(node, |body| {
            body.disk_fault = false;
            body.machine.log.heal();
            body.machine.pool.heal();
        });
        for body in 0..self.bodies.len() {
            let one = &self.bodies[body];
            if one.who == node && one.process.as_ref().is_some_and(|process| process.life.has_failed()) {
                self.end(body, End::Kill, now + 20 * MS);
            }
        }
    }

    // --- Byzantine validators ---

    fn play<T>(&mut self, at: usize, act: impl FnOnce(&mut dyn Actor, &mut Stage<'_>) -> T) -> T {
        let now = self.queue.now();
        let me = self.players[at].who;
        let clock = TimestampMs(NodeClock::default().wall_ms(now));
        let player = &mut self.players[at];
        let mut out = Vec::new();
        let mut stage = Stage {
            now,
            clock,
            me,
            chain: self.common.origin.chain,
            set: &self.common.genesis.validators,
            signer: &self.common.signers[me],
            random: &mut player.random,
            out: &mut out,
            deeds: &mut player.deeds,
        };
        let result = act(&mut *player.actor, &mut stage);
        for Outgoing { to, class, bytes, delay } in out {
            if to != me && to < self.plan.n {
                self.leaves(me, to, class, bytes, now + TURN + delay);
            }
        }
        result
    }

    fn actor_tick(&mut self, player: usize) {
        let next = self.queue.now() + self.plan.tick_ms * MS;
        self.queue.at(next, Event::Actor(player));
        self.play(player, |actor, stage| actor.tick(stage));
    }

    // --- clients ---

    /// The running body of a validator that clients may speak to.
    fn running(&self, node: usize) -> Option<usize> {
        self.bodies.iter().position(|one| one.who == node && one.process.is_some())
    }

    fn client(&mut self, client: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One {
            return;
        }
        let made = self.oracle.all().len() as u64;
        let random = &mut Rng::new(self.plan.seed, Purpose::Client, &[client as u64, now]);
        let pause = self.plan.load_every * self.clients.len() as u64;
        self.queue.at(now + random.within(pause / 2, pause * 3 / 2).max(1), Event::Client(client));
        let patient = |one: &&(usize, &Submission)| now.saturating_sub(one.1.tried) > CLIENT_PATIENCE;
        let open: Vec<(usize, &Submission)> = self
            .oracle
            .all()
            .iter()
            .enumerate()
            .skip(self.oracle.all().len().saturating_sub(200))
            .filter(|(_, one)| one.answer.is_none() && !one.forged && now - one.tried < 20_000 * MS)
            .filter(|(at, _)| at % self.clients.len() == client)
            .collect();
        let overdue = open.iter().find(patient).map(|(at, _)| *at as u64);
        let many = open.len() >= CLIENT_OPEN_MAX;
        let home = self.clients[client].hospital();
        if let Some(number) = overdue {
            let node = random.index(self.plan.n);
            return self.submit(number, node);
        }
        match random.below(100) {
            // Again, what was submitted before: to another node, or long after its end.
            0..8 if made > 0 => {
                let number = made - 1 - random.below(made.min(100));
                self.counts.add("resubmitted", 1);
                self.submit(number, random.index(self.plan.n));
            }
            8..11 => {
                let number = self.make(client, random, true, None);
                self.submit(number, home);
            }
            11..16 => {
                let soon = random.within(1, 2_500);
                let number = self.make(client, random, false, Some(soon));
                self.submit(number, home);
            }
            _ if many => {}
            roll => {
                let number = self.make(client, random, false, None);
                self.submit(number, home);
                if roll < 26 {
                    self.submit(number, random.index(self.plan.n));
                }
            }
        }
    }

    fn make(&mut self, client: usize, random: &mut Rng, forged: bool, expires_in: Option<u64>) -> u64 {
        let (call, signers) = self.clients[client].next(&self.keys, random);
        self.make_call(client, call, &signers, forged, expires_in.unwrap_or(120_000))
    }

    fn make_call(
        &mut self,
        client: usize,
        call: epione_types::call::Call,
        signers: &[String],
        forged: bool,
        expires_in: u64,
    ) -> u64 {
        let clock = NodeClock::default().wall_ms(self.queue.now());
        let expires_at = TimestampMs(clock + expires_in);
        let request = self.oracle.all().len() as u64;
        let mut tx: SignedTx =
            workload::sign(self.common.origin.chain, &self.keys, signers, request, expires_at, call);
        if forged {
            if let Some(one) = tx.signatures.last_mut() {
                one.signature.0[0] ^= 1;
            }
            self.counts.add("forged", 1);
        }
        let patient = signers.first().is_some_and(|sender| sender.starts_with("patient"));
        let organisation = workload::organisation(self.clients[client].hospital());
        let account = Account::Client(if patient { mempool::Client::Patients } else { organisation.into() });
        let id = tx.id();
        self.oracle.made(Submission {
            tx,
            id,
            account,
            expires_at,
            forged,
            taken: Nodes::default(),
            answer: None,
            tried: 0,
        })
    }

    fn submit(&mut self, number: u64, node: usize) {
        let now = self.queue.now();
        let chain = self.common.origin.chain;
        let submission = self.oracle.one(number);
        submission.tried = now;
        let (tx, account) = (submission.tx.clone(), submission.account);
        self.trace.note(now, 17, node, number, &[], || format!("a client submits transaction {number}"));
        let Some(body) = self.running(node) else { return };
        let Ok(parsed) = parse(tx, chain) else {
            self.harness = Some(format!("transaction {number} does not parse"));
            return;
        };
        if let Some(process) = &mut self.bodies[body].process {
            process.submit(number, parsed, account);
            self.wake(body);
        }
    }

    fn word(&mut self, body: usize, number: u64, word: &Result<Admitted, Refused>) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        self.trace.note(now, 18, body, number, &[u8::from(word.is_ok())], || {
            format!("tells client {number}: {word:?}")
        });
        if !honest {
            return;
        }
        match self.oracle.word(node, number, word) {
            Ok(true) => {
                let submission = self.oracle.one(number);
                let (id, expires_at) = (submission.id, submission.expires_at);
                let Some(process) = &mut self.bodies[body].process else { return };
                process.wait(number, id, expires_at);
                // A waiter registers first, and asks then.
                let found = process.chain.receipt(id).ok().flatten();
                let expired = || (process.chain.head().timestamp > expires_at).then_some(Answer::Expired);
                let answer = found.map(|receipt| Answer::Committed(Place::of(&receipt))).or_else(expired);
                if let Some(answer) = answer {
                    process.waits.pop();
                    let check = self.oracle.answered(node, number, answer);
                    self.acknowledged(check);
                }
            }
            Ok(false) => self.counts.add("refused at the door", 1),
            Err(text) => self.checks.breaks("acknowledged", text),
        }
    }

    fn acknowledged(&mut self, check: super::invariants::Check) {
        if let Err(text) = check {
            self.checks.breaks("acknowledged", text);
        }
    }

    /// A block was stored: clients who wait for it hear of it.
    fn tell(&mut self, body: usize) {
        let now = self.queue.now();
        let node = self.bodies[body].who;
        let Some(process) = &mut self.bodies[body].process else { return };
        let mut heard = Vec::new();
        process.waits.retain_mut(|(number, wait)| match wait.try_word() {
            Some(Word::Committed(found)) => {
                heard.push((*number, Answer::Committed(Place::of(found.receipt()))));
                false
            }
            Some(Word::Expired(_)) => {
                heard.push((*number, Answer::Expired));
                false
            }
            None => true,
        });
        for (number, answer) in heard {
            let said = match answer {
                Answer::Committed(_) => 0,
                Answer::Expired => 1,
            };
            self.trace
                .note(now, 19, body, number, &[said], || format!("answers client {number}: {answer:?}"));
            self.counts.add(if said == 0 { "answered committed" } else { "answered expired" }, 1);
            let check = self.oracle.answered(node, number, answer);
            self.acknowledged(check);
        }
    }

    // --- the end ---

    fn look(&mut self) {
        let now = self.queue.now();
        match self.phase {
            Phase::One => {
                let enough = self.certified.0 >= self.plan.heights && now >= self.calm_at;
                if enough || now >= self.plan.limit_ms * MS {
                    self.heal();
                }
            }
            Phase::Two { .. } => {
                // A full mempool refuses, and a client comes again.
                if now / LOOK_EVERY % PROBED_EVERY == 0 {
                    self.probe_again();
                }
                if self.what_is_missing().is_none() {
                    self.trace.note(now, 20, usize::MAX, 0, &[], || "all is well".to_owned());
                    self.phase = Phase::Done;
                }
            }
            Phase::Done => {}
        }
    }

    /// Everything works again, everybody honest is up; Byzantine validators go on.
    fn heal(&mut self) {
        let now = self.queue.now();
        self.trace.note(now, 21, usize::MAX, 0, &[], || "healed: everything works from here on".to_owned());
        self.counts.add("heights under faults", self.certified.0);
        self.net.heal();
        for body in 0..self.bodies.len() {
            let one = &mut self.bodies[body];
            (one.slow, one.stall, one.jump_ms, one.frozen_until) = (1, 0, 0, 0);
            (one.sentence, one.next_sentence) = (None, None);
            one.machine.log.heal();
            one.machine.pool.heal();
            match &one.process {
                Some(process) if process.life.has_failed() => self.end(body, End::Kill, now + 10 * MS),
                Some(process) => process.life.ends_after(u64::MAX),
                None => {
                    let life = one.life;
                    self.queue.at(now + 10 * MS, Event::Start { body, life });
                }
            }
        }
        self.connect_all(now);
        let patience = 30_000 + 20 * self.plan.params.view_timeout_max_ms;
        self.phase = Phase::Two { until: now + patience * MS };
    }

    /// The honest validators whose log is whole.
    fn good(&self) -> impl Iterator<Item = (usize, &Body)> {
        self.bodies.iter().enumerate().filter(|(_, one)| self.plan.actor(one.who).is_none() && !one.lost)
    }

    /// What phase two still waits for.
    fn what_is_missing(&mut self) -> Option<String> {
        if let Some((_, one)) = self.good().find(|(_, one)| one.process.is_none()) {
            return Some(format!("node {} is down", one.who));
        }
        if self.probes.is_empty() {
            self.probe();
        }
        for number in 0..self.probes.len() {
            let number = self.probes[number];
            let id = self.oracle.one(number).id;
            match self.oracle.place(&id).map(|place| place.outcome) {
                Some(Outcome::Ok) => {}
                Some(Outcome::Refused(why)) => {
                    return Some(format!("a new transaction was refused: {why:?}"));
                }
                None => {
                    return Some(format!(
                        "transaction {number}, new after the healing, is in no block: {}",
                        self.states()
                    ));
                }
            }
        }
        // What only a node took that has lost its log since is lost with it.
        let good: Nodes = self.good().map(|(_, one)| one.who).collect();
        let open = |one: &&Submission| one.taken.0 & good.0 != 0 && !self.oracle.is_over(one);
        if let Some(open) = self.oracle.all().iter().find(open) {
            return Some(format!(
                "transaction {} was taken by nodes {} and is in no block",
                open.id, open.taken
            ));
        }
        let heads: BTreeMap<usize, (Height, Height)> = self
            .good()
            .filter_map(|(_, one)| one.process.as_ref().map(|process| (one.who, process)))
            .map(|(who, process)| {
                let certified =
                    process.chain.certified().map_or(Height::ZERO, |certificate| certificate.height);
                (who, (process.chain.head().height, certified))
            })
            .collect();
        let top = heads.values().map(|(head, _)| *head).max()?;
        let behind = heads.iter().find(|(_, (head, certified))| *head != top || *certified != top);
        behind.map(|(who, (head, certified))| {
            format!("node {who} is at height {head}, certified {certified}, of {top}: {}", self.states())
        })
    }

    fn states(&self) -> String {
        let state = |(_, one): (usize, &Body)| {
            let process = one.process.as_ref()?;
            let waiting = process.driver.status().waiting;
            Some(format!("node {}: view {}, {}", one.who, waiting.view, waiting.text))
        };
        self.good().filter_map(state).collect::<Vec<_>>().join("; ")
    }

    /// A transaction at each good node, which must commit.
    fn probe(&mut self) {
        let nodes: Vec<usize> = self.good().map(|(_, one)| one.who).collect();
        for node in nodes {
            let mut client = Client::new(1_000 + node + self.plan.n * 1_000, self.plan.n, 1);
            let (call, signers) = client.custodial();
            let number = self.make_call(0, call, &signers, false, 500_000);
            self.probes.push(number);
            self.submit(number, node);
        }
    }

    fn probe_again(&mut self) {
        let nodes: Vec<usize> = self.good().map(|(_, one)| one.who).collect();
        let probes: Vec<u64> = self.probes.clone();
        for (number, node) in probes.into_iter().zip(nodes) {
            let id = self.oracle.one(number).id;
            if self.oracle.place(&id).is_none() {
                self.submit(number, node);
            }
        }
    }

    /// At the end every honest node holds the same ledger, and every answer that was ever given.
    fn final_checks(&self) -> Result<(), String> {
        let mut first: Option<(usize, Vec<(Vec<u8>, Vec<u8>)>)> = None;
        for (_, one) in self.good() {
            let (Some(process), who) = (&one.process, one.who) else { continue };
            for (id, place) in self.oracle.truths() {
                let found = process.chain.receipt(*id).map_err(|error| format!("node {who}: {error}"))?;
                if found.as_ref().map(Place::of) != Some(*place) {
                    return Err(format!(
                        "node {who} has {found:?} of transaction {id}, which stands at {place:?}"
                    ));
                }
            }
            let state = process
                .chain
                .state_after(None, usize::MAX)
                .map_err(|error| format!("node {who}: {error}"))?;
            match &first {
                None => first = Some((who, state)),
                Some((other, theirs)) if *theirs != state => {
                    return Err(format!("the states of nodes {other} and {who} differ at equal height"));
                }
                Some(_) => {}
            }
        }
        Ok(())
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
