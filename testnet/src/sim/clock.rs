//! Virtual time: what happens next, and what each node's own clocks say meanwhile.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time since the beginning, in microseconds.
pub type Micros = u64;

/// Microseconds of a millisecond.
pub const MS: Micros = 1_000;

/// Wall clock when virtual time is 0, in ms.
pub const START_MS: u64 = 1_780_000_000_000;

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is to happen, by time; at one time in the order in which it was said.
#[derive(Debug)]
pub struct Queue<E> {
    now: Micros,
    number: u64,
    heap: BinaryHeap<Reverse<Entry<E>>>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { now: 0, number: 0, heap: BinaryHeap::new() }
    }
}

impl<E> Queue<E> {
    /// Virtual time now.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// Says what happens at a time; what is past happens now.
    pub fn at(&mut self, at: Micros, event: E) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), number: self.number, event }));
    }

    /// The next event; time moves to it.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

/// The clocks of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeClock {
    /// Of the wall clock, in ms.
    pub skew_ms: i64,
    /// Of both clocks, in millionths.
    pub drift_ppm: i64,
}

impl NodeClock {
    /// What a monotone clock has counted by now, in ms.
    #[must_use]
    pub fn monotone_ms(&self, now: Micros) -> u64 {
        let drift = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        u64::try_from((i128::from(now) + drift) / i128::from(MS)).unwrap_or(0)
    }

    /// What the wall clock shows, in ms.
    #[must_use]
    pub fn wall_ms(&self, now: Micros) -> u64 {
        START_MS.saturating_add_signed(self.skew_ms).saturating_add(self.monotone_ms(now))
    }
}
