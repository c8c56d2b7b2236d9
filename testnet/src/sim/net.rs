//! The simulated network: when a frame arrives, if it does.
//!
//! Frames of one sender, receiver and class arrive in order, as on a stream, unless a fault says otherwise. What a link loses
//! is lost: nobody below consensus sends again. Each frame has random numbers of its own, by link and number.

use std::collections::BTreeMap;

use epione_node::network::Class;

use super::clock::{MS, Micros};
use super::plan::{Fault, Plan};
use super::random::{Purpose, Rng};

/// Frames of one link that wait behind a clog; what comes after is lost.
const CLOGGED_MAX: u64 = 2_000;

#[derive(Debug, Default, Clone, Copy)]
struct Stream {
    frames: u64,
    last_arrival: Micros,
    clogged: u64,
}

/// All links.
#[derive(Debug)]
pub struct Net {
    seed: u64,
    n: usize,
    latency: (u64, u64),
    tail: (u64, u64),
    streams: Vec<Stream>,
    /// What is wrong now, by line of the schedule, and until when.
    wrong: BTreeMap<usize, (Fault, Micros)>,
    /// Pairs that one side has cut off, and until when.
    shut: BTreeMap<(usize, usize), Micros>,
    /// Links that were taken down because a place changed: how often, and when they are up again.
    links: BTreeMap<(usize, usize), (u64, Micros)>,
    /// Frames lost so far.
    pub lost: u64,
}

impl Net {
    /// As planned, with nothing wrong.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            n: plan.machines(),
            latency: plan.latency,
            tail: plan.tail,
            streams: vec![Stream::default(); plan.machines() * plan.machines() * Class::ALL.len()],
            wrong: BTreeMap::new(),
            shut: BTreeMap::new(),
            links: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Something goes wrong.
    pub fn begin(&mut self, line: usize, fault: Fault, until: Micros) {
        self.wrong.insert(line, (fault, until));
    }

    /// It is over.
    pub fn end(&mut self, line: usize) {
        self.wrong.remove(&line);
    }

    /// Nothing is wrong any more.
    pub fn heal(&mut self) {
        self.wrong.clear();
        self.shut.clear();
        self.tail = (0, 0);
    }

    /// One of them has cut the other off.
    pub fn shut(&mut self, a: usize, b: usize, until: Micros) {
        self.shut.insert((a.min(b), a.max(b)), until);
    }

    /// The link between them ends, and with it whatever is on its way; another one is up from then on.
    pub fn renew(&mut self, a: usize, b: usize, up_at: Micros) {
        let link = self.links.entry((a.min(b), a.max(b))).or_default();
        *link = (link.0 + 1, up_at.max(link.1));
    }

    /// Which link between them this is, and since when there is one.
    #[must_use]
    pub fn link(&self, a: usize, b: usize) -> (u64, Micros) {
        self.links.get(&(a.min(b), a.max(b))).copied().unwrap_or_default()
    }

    /// Does nothing at all pass now?
    #[must_use]
    pub fn is_cut(&self, now: Micros, from: usize, to: usize) -> bool {
        let shut = self.shut.get(&(from.min(to), from.max(to))).is_some_and(|until| now < *until);
        shut || self.wrong.values().any(|(fault, _)| match fault {
            Fault::Partition(groups) => {
                let group = |node| groups.iter().position(|group| group.has(node));
                matches!((group(from), group(to)), (Some(a), Some(b)) if a != b)
            }
            Fault::Oneway(a, b) => a.has(from) && b.has(to),
            _ => false,
        })
    }

    /// When a frame that leaves now arrives: never, once, or twice.
    pub fn send(&mut self, now: Micros, from: usize, to: usize, class: Class) -> [Option<Micros>; 2] {
        let at = (from * self.n + to) * Class::ALL.len() + class as usize;
        let number = self.streams[at].frames;
        self.streams[at].frames += 1;
        if self.is_cut(now, from, to) || now < self.link(from, to).1 {
            self.lost += 1;
            return [None; 2];
        }
        let random = &mut Rng::new(self.seed, Purpose::Link, &[at as u64, number]);
        let mut arrival = now + self.way(random);
        let (mut twice, mut in_order, mut late) = (None, true, 0);
        for (fault, until) in self.wrong.values() {
            match fault {
                Fault::Late(nodes, ms) if nodes.has(from) || nodes.has(to) => late = ms * MS,
                Fault::Lossy(share) if random.chance(*share) => {
                    self.lost += 1;
                    return [None; 2];
                }
                Fault::Duplicates(share) if random.chance(*share) => {
                    twice = Some(arrival + random.below(50 * MS));
                }
                Fault::Reorder(share, late) if random.chance(*share) => {
                    arrival += random.below(late * MS);
                    in_order = false;
                }
                Fault::Clog(a, b) if a.has(from) && b.has(to) => {
                    self.streams[at].clogged += 1;
                    if self.streams[at].clogged > CLOGGED_MAX {
                        return [None; 2];
                    }
                    arrival = arrival.max(*until + number % MS);
                }
                _ => {}
            }
        }
        arrival += late; // of those that say so, the last
        if in_order {
            let last = &mut self.streams[at].last_arrival;
            arrival = arrival.max(*last + 1);
            *last = arrival;
        }
        [Some(arrival), twice]
    }

    /// How long a frame is on its way.
    pub fn way(&self, random: &mut Rng) -> Micros {
        let (low, high) = self.latency;
        let more = if random.chance(self.tail.0) { random.below(self.tail.1) } else { 0 };
        random.within(low, high) + more
    }
}
