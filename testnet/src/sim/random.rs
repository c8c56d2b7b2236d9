//! Random numbers that belong to a purpose: what is drawn for one thing does not depend on how often another was asked.
//!
//! A stream is keyed by the seed, what it is for, and whatever names the occasion (a link and a frame's number). So a plan
//! from which one fault was deleted runs much as before, which is what makes shrinking work.

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// The plan itself.
    Plan = 1,
    /// A frame on a link.
    Link,
    /// What a power cut leaves.
    Disk,
    /// How long work takes.
    Work,
    /// What clients do.
    Client,
    /// What a Byzantine validator does.
    Actor,
    /// When each node's timer ticks.
    Tick,
    /// Which byte rots.
    Rot,
    /// What operators do.
    Operator,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream for a purpose and an occasion.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, keys: &[u64]) -> Self {
        let start = mix(seed ^ mix((purpose as u64).wrapping_mul(GOLDEN)));
        Self(keys.iter().fold(start, |state, key| mix(state.wrapping_add(GOLDEN) ^ key.wrapping_mul(GOLDEN))))
    }

    /// The next number.
    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `n`; 0 if there is none.
    pub const fn below(&mut self, n: u64) -> u64 {
        let word = self.word();
        if n == 0 { 0 } else { word % n }
    }

    /// A number from `low` to `high`, both included.
    pub const fn within(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True in so many of a thousand cases.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// A number of items, as an index.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}
