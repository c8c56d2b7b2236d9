//! A plan: everything that a run does, as data. Drawn from a seed, or read from a file (`scenario.rs`).
//!
//! Swarm testing: a seed draws which kinds of faults there are at all, not only when; a run with few kinds goes deeper into
//! each of them than a run with all. Sizes, latencies, clocks and parameters are drawn too.

use std::collections::BTreeSet;
use std::fmt;

use epione_node::snapshots::Snapshots;
use epione_types::{Params, quorum};

use super::actors::ActorKind;
use super::clock::NodeClock;
use super::crypto::Scheme;
use super::disk::End;
use super::random::{Purpose, Rng};

/// Cluster sizes: each is drawn.
pub const SIZES: [usize; 7] = [1, 4, 5, 6, 7, 10, 13];

/// Real signatures in one seed of so many.
pub const REAL_SIGNATURES_ONE_IN: u64 = 50;

/// So many of a thousand plans have machines that join, leave or follow.
pub const CHANGES_PER_MILLE: u64 = 350;

/// So many of a thousand plans make snapshots, and fetch them.
pub const SNAPSHOTS_PER_MILLE: u64 = 400;

/// None are made or fetched. Where they are, a state of some dozen keys has several chunks.
pub const NO_SNAPSHOTS: Snapshots = Snapshots { every: 0, span_ms: 0, gap: 0, chunk_bytes: 4 << 10 };

/// Most nodes that a plan can name.
pub const NODES_MAX: usize = 64;

/// A set of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nodes(pub u64);

impl Nodes {
    /// Of one.
    #[must_use]
    pub const fn one(node: usize) -> Self {
        Self(1 << node)
    }
    /// The first `n`.
    #[must_use]
    pub const fn all(n: usize) -> Self {
        Self((1 << n) - 1)
    }
    /// Is it in here?
    #[must_use]
    pub const fn has(self, node: usize) -> bool {
        self.0 >> node & 1 == 1
    }
    /// In order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..NODES_MAX).filter(move |node| self.has(*node))
    }
}

impl FromIterator<usize> for Nodes {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        Self(nodes.into_iter().fold(0, |bits, node| bits | 1 << node))
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.iter().map(|node| node.to_string()).collect();
        write!(f, "{{{}}}", list.join(","))
    }
}

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Only members of one group hear one another. Who is in none hears all.
    Partition(Vec<Nodes>),
    /// Frames of the first do not reach the second.
    Oneway(Nodes, Nodes),
    /// Frames from the first to the second wait until the end.
    Clog(Nodes, Nodes),
    /// Frames from and to these take so many ms longer. No plan is drawn with it; drills say `slow`.
    Late(Nodes, u64),
    /// So many of a thousand frames are lost.
    Lossy(u64),
    /// So many of a thousand frames arrive twice.
    Duplicates(u64),
    /// So many of a thousand frames are late by up to so many ms, and overtaken.
    Reorder(u64, u64),
    /// A node's workers need so many times as long.
    Slow(usize, u64),
    /// Each sync of a node takes so many ms longer.
    Stall(usize, u64),
    /// A node's disks take nothing more; it is started again at the end.
    Full(usize),
    /// A node's disks fail; it is started again at the end.
    Broken(usize),
    /// Processes die after so many more calls of their ports, and are started again.
    Crash(Nodes, u64, End),
    /// A node stands still, and its links stay up.
    Freeze(usize),
    /// A node's wall clock is wrong by so many ms.
    Jump(usize, i64),
}

impl Fault {
    /// What is counted.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Partition(_) => "partition",
            Self::Oneway(..) => "oneway",
            Self::Clog(..) => "clog",
            Self::Late(..) => "late",
            Self::Lossy(_) => "lossy",
            Self::Duplicates(_) => "duplicates",
            Self::Reorder(..) => "reorder",
            Self::Slow(..) => "slow",
            Self::Stall(..) => "stall",
            Self::Full(_) => "full",
            Self::Broken(_) => "broken",
            Self::Crash(_, _, end) => end.name(),
            Self::Freeze(_) => "freeze",
            Self::Jump(..) => "jump",
        }
    }

    /// Whom it names.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        match self {
            Self::Partition(groups) => {
                groups.iter().fold(Nodes::default(), |all, group| Nodes(all.0 | group.0))
            }
            Self::Oneway(a, b) | Self::Clog(a, b) => Nodes(a.0 | b.0),
            Self::Crash(nodes, ..) | Self::Late(nodes, _) => *nodes,
            Self::Slow(node, _)
            | Self::Stall(node, _)
            | Self::Full(node)
            | Self::Broken(node)
            | Self::Freeze(node)
            | Self::Jump(node, _) => Nodes::one(*node),
            Self::Lossy(_) | Self::Duplicates(_) | Self::Reorder(..) => Nodes::default(),
        }
    }

    /// All kinds that are drawn.
    pub const KINDS: [&'static str; 16] = [
        "partition",
        "oneway",
        "clog",
        "lossy",
        "duplicates",
        "reorder",
        "slow",
        "stall",
        "full",
        "broken",
        "kill",
        "power",
        "torn",
        "rot",
        "freeze",
        "jump",
    ];
}

/// A line of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, in ms.
    pub at: u64,
    /// What.
    pub fault: Fault,
    /// For how long, in ms; of a crash, until it is started again.
    pub lasts: u64,
}

/// A machine besides the first validators: it follows, and may become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spare {
    /// Its number; they come after the first validators, in order.
    pub node: usize,
    /// Its hospital: another one's second machine, or of its own number.
    pub of: usize,
    /// When it starts, in ms.
    pub at: u64,
    /// Everybody's configuration lists it; else it is linked to only by what the ledger says.
    pub listed: bool,
}

/// Another epoch, by the vote of the organisations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A machine becomes a validator.
    Join(usize),
    /// A validator leaves, and goes on as one that follows.
    Leave(usize),
    /// A machine takes the place of a validator.
    Replace(usize, usize),
    /// Other parameters.
    Params(Tuning),
}

/// Parameters that a plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The window.
    pub window: u64,
    /// Base and cap of the view time-out, in ms.
    pub view_timeout_ms: (u64, u64),
    /// Most transactions of a batch.
    pub batch_txs_max: u32,
}

impl Change {
    /// What is counted.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Replace(..) => "replace",
            Self::Params(_) => "params",
        }
    }

    /// All kinds.
    pub const KINDS: [&'static str; 4] = ["join", "leave", "replace", "params"];

    /// Who joins.
    #[must_use]
    pub const fn joins(&self) -> Option<usize> {
        match self {
            Self::Join(node) | Self::Replace(_, node) => Some(*node),
            Self::Leave(_) | Self::Params(_) => None,
        }
    }

    /// Who leaves.
    #[must_use]
    pub const fn leaves(&self) -> Option<usize> {
        match self {
            Self::Leave(node) | Self::Replace(node, _) => Some(*node),
            Self::Join(_) | Self::Params(_) => None,
        }
    }

    /// The validators afterwards, if it can be made.
    const fn apply(&self, members: Nodes) -> Nodes {
        let (out, into) = (self.leaves(), self.joins());
        let leaves = match out {
            Some(node) if !members.has(node) => return members,
            Some(node) => 1 << node,
            None => 0,
        };
        let joins = match into {
            Some(node) if members.has(node) => return members,
            Some(node) => 1 << node,
            None => 0,
        };
        Nodes(members.0 & !leaves | joins)
    }
}

/// A change, and when its operators begin, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// When.
    pub at: u64,
    /// What.
    pub change: Change,
}

/// Most changes of a plan: every way in which they may come about is looked at.
pub const CHANGES_MAX: usize = 8;

/// Everything that a run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is random about the run follows from it.
    pub seed: u64,
    /// Validators at first.
    pub n: usize,
    /// Machines besides.
    pub spares: Vec<Spare>,
    /// Changes of the validators and of the parameters.
    pub changes: Vec<Order>,
    /// Signatures.
    pub scheme: Scheme,
    /// Parameters of the epoch.
    pub params: Params,
    /// Each node's timer, in ms.
    pub tick_ms: u64,
    /// A frame's way, in microseconds: least and most.
    pub latency: (u64, u64),
    /// So many of a thousand frames take up to so many microseconds more.
    pub tail: (u64, u64),
    /// A sync, in microseconds: least and most.
    pub sync: (u64, u64),
    /// A job, in microseconds: least and most.
    pub work: (u64, u64),
    /// Size of a file of the consensus log, in bytes.
    pub segment_bytes: u32,
    /// The consensus log is trimmed at this size, in bytes.
    pub trim_bytes: u64,
    /// When snapshots are made, and fetched.
    pub snapshots: Snapshots,
    /// Most transactions in a mempool.
    pub pool_txs: usize,
    /// Each node's clocks, where they are not right.
    pub clocks: Vec<(usize, NodeClock)>,
    /// A client does something every so many microseconds.
    pub load_every: u64,
    /// Clients.
    pub clients: usize,
    /// Phase one lasts until this height is certified.
    pub heights: u64,
    /// And no longer than this, in ms.
    pub limit_ms: u64,
    /// Who is Byzantine, and how.
    pub actors: Vec<(usize, ActorKind)>,
    /// What goes wrong.
    pub schedule: Vec<Line>,
}

impl Default for Plan {
    /// Four nodes on a good network, and nothing goes wrong.
    fn default() -> Self {
        Self {
            seed: 0,
            n: 4,
            spares: Vec::new(),
            changes: Vec::new(),
            scheme: Scheme::Fast,
            params: Params {
                batch_txs_max: 64,
                batch_bytes_max: 1 << 17,
                expiry_ahead_max_ms: 600_000,
                max_clock_skew_ms: 2_000,
                view_timeout_ms: 500,
                view_timeout_max_ms: 8_000,
                time_block_interval_ms: 1_000,
                ..Params::default()
            },
            tick_ms: 20,
            latency: (500, 2_000),
            tail: (0, 0),
            sync: (100, 300),
            work: (50, 300),
            segment_bytes: 64 << 20,
            trim_bytes: 160 << 20,
            snapshots: NO_SNAPSHOTS,
            pool_txs: 2_000,
            clocks: Vec::new(),
            load_every: 8_000,
            clients: 4,
            heights: 200,
            limit_ms: 60_000,
            actors: Vec::new(),
            schedule: Vec::new(),
        }
    }
}

impl Plan {
    /// All machines.
    #[must_use]
    pub const fn machines(&self) -> usize {
        self.n + self.spares.len()
    }

    /// A machine's hospital.
    #[must_use]
    pub fn hospital(&self, node: usize) -> usize {
        self.spares.iter().find(|spare| spare.node == node).map_or(node, |spare| spare.of)
    }

    /// Is it linked to whatever the ledger says?
    #[must_use]
    pub fn is_listed(&self, node: usize) -> bool {
        node < self.n || self.spares.iter().any(|spare| spare.node == node && spare.listed)
    }

    /// Parameters with a change.
    #[must_use]
    pub fn tuned(&self, tuning: &Tuning) -> Params {
        let (view_timeout_ms, view_timeout_max_ms) = tuning.view_timeout_ms;
        let Tuning { window, batch_txs_max, .. } = *tuning;
        Params { window, view_timeout_ms, view_timeout_max_ms, batch_txs_max, ..self.params.clone() }
    }

    /// Every set of validators that there may come to be: each change is decided or it is not.
    #[must_use]
    pub fn sets(&self) -> BTreeSet<Nodes> {
        let mut sets = BTreeSet::from([Nodes::all(self.n)]);
        // One that waits for another comes after it: each may come after each.
        loop {
            let orders = || self.changes.iter();
            let more: BTreeSet<Nodes> = sets
                .iter()
                .flat_map(|set| orders().map(|order| order.change.apply(*set)))
                .filter(|set| set.0 != 0)
                .collect();
            let before = sets.len();
            sets.extend(more);
            if sets.len() == before {
                return sets;
            }
        }
    }

    /// How many may be Byzantine, or lose their log.
    #[must_use]
    pub const fn faults(&self) -> usize {
        quorum::faults(self.n)
    }

    /// Are no more validators Byzantine, or bound to lose their log, than the protocol bears, in every set?
    #[must_use]
    pub fn is_borne(&self) -> bool {
        let rots = self.schedule.iter().filter_map(|line| match line.fault {
            Fault::Crash(nodes, _, End::Rot) => Some(nodes),
            _ => None,
        });
        let bad = rots.fold(self.actors.iter().map(|(node, _)| *node).collect(), |all: Nodes, one| {
            Nodes(all.0 | one.0)
        });
        let count = |nodes: u64| nodes.count_ones() as usize;
        self.sets().iter().all(|set| count(set.0 & bad.0) <= quorum::faults(count(set.0)))
    }

    /// How a validator misbehaves, if it does.
    #[must_use]
    pub fn actor(&self, node: usize) -> Option<ActorKind> {
        self.actors.iter().find(|(who, _)| *who == node).map(|(_, kind)| *kind)
    }

    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let random = &mut Rng::new(seed, Purpose::Plan, &[]);
        let n = if random.chance(400) { 4 } else { *random.pick(&SIZES) };
        Self::draw_sized(seed, n, if n <= 5 { 200 } else { 80 })
    }

    /// The plan of a seed for so many validators and heights.
    #[must_use]
    pub fn draw_sized(seed: u64, n: usize, heights: u64) -> Self {
        let mut plan = Self { seed, n, heights, ..Self::default() };
        let of = |part: u64| Rng::new(seed, Purpose::Plan, &[part]);
        plan.draw_sizes(&mut of(1));
        plan.draw_changes(&mut of(5));
        plan.draw_people(&mut of(2));
        plan.draw_schedule(&mut of(3));
        plan.draw_snapshots(&mut of(6));
        plan
    }

    /// The plan of a seed in which one of the Byzantine validators misbehaves this way, if there may be one.
    #[must_use]
    pub fn draw_with(seed: u64, n: usize, heights: u64, kind: ActorKind) -> Self {
        let mut plan = Self::draw_attacked(seed, n, heights);
        if let Some((_, first)) = plan.actors.first_mut() {
            *first = kind;
        }
        plan
    }

    /// The plan of a seed in which somebody is Byzantine.
    #[must_use]
    pub fn draw_attacked(seed: u64, n: usize, heights: u64) -> Self {
        let mut plan = Self::draw_sized(seed, n, heights);
        if plan.actors.is_empty() && plan.faults() > 0 {
            let random = &mut Rng::new(seed, Purpose::Plan, &[4]);
            plan.actors.push((random.index(n), *random.pick(&ActorKind::ALL)));
            plan.schedule.retain(|line| line.fault.kind() != End::Rot.name());
        }
        plan.bear();
        plan
    }

    /// Leaves out changes until no set has more faulty validators than it bears.
    pub fn bear(&mut self) {
        while !self.is_borne() && self.changes.pop().is_some() {}
    }

    fn draw_sizes(&mut self, random: &mut Rng) {
        if random.below(REAL_SIGNATURES_ONE_IN) == 0 {
            self.scheme = Scheme::Ed25519;
            self.heights = self.heights.min(if self.n <= 7 { 40 } else { 12 });
        }
        self.params.window = *random.pick(&[2, 4, 8, 8, 16]);
        self.params.view_timeout_ms = *random.pick(&[200, 500, 500, 1_000]);
        self.params.view_timeout_max_ms = *random.pick(&[4_000, 8_000]);
        self.params.batch_txs_max = *random.pick(&[1, 4, 64]);
        self.tick_ms = *random.pick(&[10, 20, 50]);
        self.latency =
            *random.pick(&[(100, 500), (500, 2_000), (500, 2_000), (2_000, 10_000), (5_000, 60_000)]);
        if random.chance(300) {
            self.tail = (random.within(1, 30), random.within(10_000, 300_000));
        }
        self.sync = *random.pick(&[(50, 100), (100, 300), (1_000, 8_000)]);
        self.work = *random.pick(&[(20, 100), (50, 300), (500, 5_000)]);
        if random.chance(500) {
            self.segment_bytes = *random.pick(&[16 << 10, 64 << 10, 256 << 10]);
            self.trim_bytes = u64::from(self.segment_bytes) * random.within(1, 4);
        }
        if random.chance(100) {
            self.pool_txs = *random.pick(&[100, 300]);
        }
        // About one height per step of a client, if the network can.
        let height = self.latency.1 * 3 + self.sync.1 * 3 + self.work.1 * 2;
        self.load_every = (height * random.within(60, 150) / 100).max(1_000);
        self.clients = usize::try_from(random.within(2, 8)).unwrap_or(4);
    }

    /// What phase one lasts without faults, in ms.
    fn span(&self) -> u64 {
        (self.heights * self.load_every * 3 / 2_000).max(2_000)
    }

    fn draw_changes(&mut self, random: &mut Rng) {
        if !random.chance(CHANGES_PER_MILLE) {
            return;
        }
        let span = self.span();
        let mut outside = Vec::new();
        for node in self.n..self.n + usize::try_from(random.within(1, 3)).unwrap_or(1) {
            let of = if random.chance(300) { random.index(self.n) } else { node };
            let (at, listed) = (random.below(span / 2), random.chance(400));
            self.spares.push(Spare { node, of, at, listed });
            outside.push(node);
        }
        // Some only follow.
        let (mut inside, changes): (Vec<usize>, u64) = ((0..self.n).collect(), random.below(5));
        let mut times: Vec<u64> = (0..changes).map(|_| random.below(span * 3 / 4)).collect();
        times.sort_unstable();
        for at in times {
            let change = match random.below(100) {
                0..35 if !outside.is_empty() => {
                    Change::Join(outside.swap_remove(random.index(outside.len())))
                }
                35..60 if inside.len() > 2 => Change::Leave(inside.swap_remove(random.index(inside.len()))),
                60..80 if !outside.is_empty() => Change::Replace(
                    inside.swap_remove(random.index(inside.len())),
                    outside.swap_remove(random.index(outside.len())),
                ),
                _ => Change::Params(Tuning {
                    window: *random.pick(&[2, 4, 8, 16]),
                    view_timeout_ms: (*random.pick(&[200, 500, 1_000]), *random.pick(&[4_000, 8_000])),
                    batch_txs_max: *random.pick(&[1, 4, 64]),
                }),
            };
            inside.extend(change.joins());
            outside.extend(change.leaves());
            self.changes.push(Order { at, change });
        }
    }

    fn draw_snapshots(&mut self, random: &mut Rng) {
        if random.chance(SNAPSHOTS_PER_MILLE) {
            let (every, gap) = (*random.pick(&[3, 8, 20]), *random.pick(&[2, 4, 8, 8, 20]));
            self.snapshots = Snapshots { every, gap, ..NO_SNAPSHOTS };
        }
    }

    fn draw_people(&mut self, random: &mut Rng) {
        let skew = self.params.max_clock_skew_ms / 2;
        for node in 0..self.machines() {
            let away = i64::try_from(random.below(skew)).unwrap_or(0) - i64::try_from(skew / 2).unwrap_or(0);
            let drift = i64::try_from(random.below(400)).unwrap_or(0) - 200;
            if random.chance(500) {
                self.clocks.push((node, NodeClock { skew_ms: away, drift_ppm: drift }));
            }
        }
        let byzantine = if random.chance(350) { 0 } else { random.index(self.faults() + 1) };
        for _ in 0..byzantine {
            let (node, kind) = (random.index(self.machines()), *random.pick(&ActorKind::ALL));
            // One that is never primary does nothing: it stands where views begin.
            let node = if kind == ActorKind::SlowPrimary { 0 } else { node };
            if self.actor(node).is_none() {
                self.actors.push((node, kind));
                if !self.is_borne() {
                    self.actors.pop();
                }
            }
        }
        self.actors.sort_unstable();
    }

    fn draw_schedule(&mut self, random: &mut Rng) {
        let (span, machines) = (self.span(), self.machines());
        self.limit_ms = span * 4 + 20_000;
        let patience = self.params.view_timeout_ms * 3;
        let mut expendable = self.faults().saturating_sub(self.actors.len());
        for kind in Fault::KINDS {
            if !random.chance(280) {
                continue;
            }
            for _ in 0..random.within(1, 4) {
                let at = random.below(span);
                let mut lasts = random.within(20, patience);
                let fault = match kind {
                    "partition" => Fault::Partition(self.draw_groups(random)),
                    "oneway" => Fault::Oneway(self.draw_nodes(random), self.draw_nodes(random)),
                    "clog" => Fault::Clog(self.draw_nodes(random), self.draw_nodes(random)),
                    "lossy" => Fault::Lossy(*random.pick(&[10, 50, 100, 300])),
                    "duplicates" => Fault::Duplicates(*random.pick(&[20, 100, 500])),
                    "reorder" => Fault::Reorder(*random.pick(&[20, 100, 500]), random.within(1, 200)),
                    "slow" => Fault::Slow(random.index(machines), random.within(5, 100)),
                    "stall" => Fault::Stall(random.index(machines), random.within(5, 300)),
                    "full" => Fault::Full(random.index(machines)),
                    "broken" => Fault::Broken(random.index(machines)),
                    "freeze" => Fault::Freeze(random.index(machines)),
                    "jump" => {
                        lasts *= 3;
                        let far =
                            i64::try_from(random.within(1, self.params.max_clock_skew_ms * 4)).unwrap_or(0);
                        Fault::Jump(random.index(machines), if random.chance(500) { far } else { -far })
                    }
                    "rot" => {
                        if expendable == 0 {
                            continue;
                        }
                        expendable -= 1;
                        Fault::Crash(Nodes::one(random.index(machines)), random.below(200), End::Rot)
                    }
                    name => {
                        let end = End::ALL.into_iter().find(|end| end.name() == name).unwrap_or(End::Kill);
                        let nodes = if random.chance(700) {
                            Nodes::one(random.index(machines))
                        } else if random.chance(500) {
                            Nodes::all(machines)
                        } else {
                            self.draw_nodes(random)
                        };
                        let after = if random.chance(300) { 0 } else { random.below(80) };
                        Fault::Crash(nodes, after, end)
                    }
                };
                self.schedule.push(Line { at, fault, lasts });
                if kind == "rot" && !self.is_borne() {
                    self.schedule.pop();
                }
            }
        }
        self.schedule.sort_by_key(|line| line.at);
    }

    /// Some nodes, at least one.
    fn draw_nodes(&self, random: &mut Rng) -> Nodes {
        let some: Nodes = (0..self.machines()).filter(|_| random.chance(400)).collect();
        if some.0 == 0 { Nodes::one(random.index(self.machines())) } else { some }
    }

    fn draw_groups(&self, random: &mut Rng) -> Vec<Nodes> {
        let groups = random.within(2, 3);
        let machines = self.machines();
        let place: Vec<u64> = (0..machines).map(|_| random.below(groups)).collect();
        let group =
            |number| (0..machines).filter(|node| place.get(*node) == Some(&number)).collect::<Nodes>();
        (0..groups).map(group).filter(|group| group.0 != 0).collect()
    }
}
