//! A small cluster in which bytes decide what happens next, and up to f validators say whatever their keys can sign: *no panic,
//! one vote per slot, one batch and one header per height, nobody honest is blamed or halts, memory stays bounded, nothing
//! goes backwards; and once the faults end, a transaction commits* (failures.md, 1, 3, 5, 7 to 13, 18).
//!
//! An input is a story: sizes first, then an event every few bytes. Agreement and one vote per slot are checked by the
//! cluster itself (I1, I2); the simulator does the same at random, with a real ledger below.

use std::collections::BTreeSet;

use epione_consensus::{Alarm, Event, Message, Verifying, primary};
use epione_types::{Epoch, Hash, Height, View};

use crate::Outcome;
use crate::choices::Choices;
use crate::common::{Cluster, FakeVerifier};
use crate::liar::{Liars, Side};

/// Events of one story.
const EVENTS_MAX: usize = 120;
/// Messages under way above which they are delivered.
const UNDER_WAY_MAX: usize = 3_000;
/// Longest batch of a story, in bytes.
const BATCH_BYTES: usize = 160;

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    play(bytes, &mut |_| {})
}

/// The same, line by line.
///
/// # Panics
/// If the property does not hold.
pub fn play(bytes: &[u8], tell: &mut dyn FnMut(String)) -> Outcome {
    let mut choices = Choices::new(bytes);
    let mut story = Story::begin(&mut choices);
    tell(format!("n={}, liars {:?}", story.cluster.n(), story.liars.who));
    for _ in 0..EVENTS_MAX {
        let Some(what) = choices.peek() else { break };
        tell(format!("event {} of 32, at {} ms", what % 32, story.cluster.now));
        story.event(&mut choices);
        story.cluster.take_story().into_iter().for_each(|line| tell(format!("  {line}")));
        story.check();
    }
    story.end()
}

struct Story {
    cluster: Cluster,
    liars: Liars,
    /// Logs that were trimmed: their stores had synced before.
    trimmed: BTreeSet<usize>,
    /// View, view asked for, low: never backwards.
    reached: Vec<(View, View, u64)>,
    let_in: usize,
}

impl Story {
    fn begin(choices: &mut Choices<'_>) -> Self {
        let n = [4, 4, 4, 5, 6, 7, 4, 1][choices.below(8)];
        let mut cluster = Cluster::new(n);
        let first = choices.below(n);
        let faults = choices.below(cluster.set.faults() + 1);
        let who: Vec<usize> = (0..faults).map(|at| (first + at) % n).collect();
        cluster.byzantine.extend(&who);
        let reached = vec![(View::ZERO, View::ZERO, 0); n];
        Self { cluster, liars: Liars::new(who), trimmed: BTreeSet::new(), reached, let_in: 0 }
    }

    fn event(&mut self, choices: &mut Choices<'_>) {
        let cluster = &mut self.cluster;
        let (what, n) = (choices.below(32), cluster.n());
        match what {
            0..=2 => {
                for _ in 0..=choices.below(24) {
                    let at = choices.below(cluster.net.len().min(64));
                    let Some((from, to, message)) = cluster.net.remove(at) else { break };
                    if !(cluster.lose)(&(from, to, message.clone())) && cluster.up(to) {
                        cluster.receive(to, message).expect("what was sent is valid");
                    }
                }
            }
            3 | 4 => cluster.settle(),
            5 => {
                let to = choices.below(n);
                cluster.net.retain(|packet| packet.1 != to);
            }
            6 => {
                let at = choices.below(cluster.net.len());
                cluster.net.extend(cluster.net.get(at).cloned());
            }
            7 | 8 => {
                let some = choices.below(n);
                let open = |i: &usize| cluster.up(*i) && cluster.replica(*i).opening().is_some();
                if let Some(i) = (some..n).chain(0..some).find(open) {
                    cluster.propose(i, "x");
                }
            }
            9 | 10 => cluster.tick(u64::from(choices.byte()) * 8),
            11 => cluster.pending(choices.flag()),
            12 => {
                let i = choices.below(n);
                if cluster.up(i) {
                    cluster.crash(i);
                }
            }
            13 => {
                let i = choices.below(n);
                if !cluster.up(i) {
                    cluster.restart(i);
                }
            }
            14 => cluster.nodes[choices.below(n)].disk.cut = true,
            15 => {
                let i = choices.below(n);
                cluster.nodes[i].slow = choices.flag();
                if !cluster.nodes[i].slow && cluster.up(i) {
                    cluster.execute(i);
                }
            }
            16 => {
                let (side, one_way) = (choices.byte(), choices.flag());
                cluster.lose = Box::new(move |(from, to, _)| {
                    let (a, b) = (side >> (from % 8) & 1, side >> (to % 8) & 1);
                    a != b && (!one_way || a == 1)
                });
            }
            17 => cluster.reconnect(),
            18 => {
                let i = choices.below(n);
                if cluster.up(i) {
                    cluster.trim(i);
                    self.trimmed.insert(i);
                }
            }
            19 => {
                // The store comes back as it was at genesis; only a whole log allows that.
                let i = choices.below(n);
                if cluster.up(i) && !self.trimmed.contains(&i) {
                    cluster.crash(i);
                    cluster.forget(i);
                    self.reached[i].2 = 0;
                    cluster.restart(i);
                }
            }
            20 => self.stale(choices),
            21 => self.blocks(choices),
            _ => self.lie(choices),
        }
        if self.cluster.net.len() > UNDER_WAY_MAX {
            self.cluster.settle();
        }
    }

    /// A liar says something to some.
    fn lie(&mut self, choices: &mut Choices<'_>) {
        let n = self.cluster.n();
        let (target, mask) = (choices.below(n), choices.byte());
        for (side, message) in self.liars.speak(&mut self.cluster, target, choices) {
            for i in 0..n {
                let meant = i == target || mask >> (i % 8) & 1 == 1;
                if (side == Side::Meant) == meant {
                    self.say(i, message.clone());
                }
            }
        }
    }

    fn say(&mut self, to: usize, message: Message) {
        if self.cluster.up(to) && self.cluster.receive(to, message).is_ok() {
            self.let_in += 1;
        }
    }

    /// Answers of one's own parts that come too late.
    fn stale(&mut self, choices: &mut Choices<'_>) {
        let cluster = &mut self.cluster;
        let i = choices.below(cluster.n());
        let payload = cluster.batch(i, "stale");
        let event = match choices.below(3) {
            0 => Event::Validated {
                epoch: Epoch(choices.below(2) as u64),
                digest: Hash([choices.byte(); 32]),
                valid: choices.flag(),
            },
            1 => {
                let Some((header, _)) = cluster.nodes[i].chain.first() else { return };
                Event::Executed { header: header.clone(), next: None }
            }
            _ => Event::Propose { view: View(77), height: Height(choices.number()), payload },
        };
        cluster.feed(i, event);
    }

    /// Blocks that nobody asked for, or from another place than asked.
    fn blocks(&mut self, choices: &mut Choices<'_>) {
        let cluster = &mut self.cluster;
        let (i, peer) = (choices.below(cluster.n()), choices.below(cluster.n()));
        let from = Height(1 + choices.below(12) as u64);
        let Some(answer) = cluster.blocks(peer, from, from) else { return };
        let gate = Verifying {
            chain: cluster.chain_id,
            set: &cluster.set,
            begin: Height::ZERO,
            verifier: &FakeVerifier,
        };
        if let Ok(blocks) = gate.blocks(answer) {
            cluster.feed(i, Event::Blocks(blocks));
        }
    }

    fn check(&mut self) {
        let (n, window) = (self.cluster.n(), self.cluster.set.params.window as usize);
        for i in (0..n).filter(|i| !self.liars.who.contains(i)) {
            let node = &self.cluster.nodes[i];
            for evidence in &node.evidence {
                let against = evidence.against().get();
                assert!(self.liars.who.contains(&against), "{i} blames the honest {against}");
            }
            for alarm in &node.alarms {
                if let Alarm::FaultyPrimary { view, what } = alarm {
                    let who = primary(&self.cluster.set, *view).get();
                    assert!(
                        self.liars.who.contains(&who),
                        "{i} has proof against the honest {who}: {what:?}"
                    );
                }
            }
            assert_eq!(node.halted, None, "the honest {i} halted");
            let Some(replica) = &node.replica else { continue };
            let (bytes, entries) = replica.memory();
            // Per sender: two votes in each of three views and a Seal for 2W heights, a Suspect, a ViewChange.
            assert!(entries <= n * (7 * 2 * window + 2), "{i} keeps {entries} entries");
            assert!(bytes <= 3 * 2 * window * BATCH_BYTES * 2, "{i} keeps {bytes} bytes of batches");
            let (waiting, before) = (replica.waiting(), self.reached[i]);
            let now = (waiting.view, waiting.asked, waiting.low.0);
            let on = now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2;
            assert!(on, "{i} went back from {before:?} to {now:?}");
            self.reached[i] = now;
        }
    }

    /// The faults end: everybody is up and hears the others, and a transaction must commit.
    fn end(mut self) -> Outcome {
        self.cluster.must_progress();
        self.check();
        Outcome::accepted(self.let_in > 0)
    }
}

/// Inputs to begin with: a normal case, a view change, each lie after each.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let propose = [7, 0, 3, 7, 0, 3];
    let change = [11, 1, 12, 0, 9, 255, 9, 255, 13, 0, 3];
    let mut seeds = vec![
        vec![0, 0, 0],
        [&[0, 0, 0][..], &propose].concat(),
        [&[0, 0, 0][..], &propose, &change].concat(),
    ];
    for lie in 0..16 {
        for before in [&propose[..], &change[..]] {
            for near in [0, 1, 130, 251] {
                let said = [22, 0, 0xff, 0, 0, near, 0, lie, 1, 0, 0, 1, 2, 3];
                seeds.push([&[0, 0, 1][..], before, &said, &[3, 7, 1, 9, 200, 3]].concat());
            }
        }
    }
    // Every move, before and after a view change, to all and to some.
    for own in 0..8 {
        for before in [&[][..], &propose[..], &change[..], &[7, 0, 0, 10, 7, 0]] {
            for (mask, near) in [(0xff, 0), (0x02, 1), (0x06, 2)] {
                let said = [22, 1, mask, 200, near, own, 0, 0, 6, 7, 8, 9, 40];
                let after = [3, 12, 1, 9, 250, 3];
                seeds.push([&[0, 0, 1][..], before, &said, &[0, 9, 3], &said, &after].concat());
            }
        }
    }
    seeds
}
