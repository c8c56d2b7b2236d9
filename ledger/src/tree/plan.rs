//! Hashing of many nodes at once: what to hash is noted first, then done level by level, several in one go.
//!
//! Nodes of one depth do not depend on each other, so blake3's SIMD code hashes 8 or 16 of them in the time of
//! two or three. That entry point of the (exactly pinned) crate is public but not documented; the test below
//! holds it to `Domain::hash`, and [`hash_pairs`] is the only place that would change.

use std::mem;

use blake3::{IncrementCounter, platform::Platform};
use epione_types::{Domain, Hash};

use crate::state_proof::{EMPTY, LEAF, NODE, StateLeaf, bit};

/// Place of a hash in a [`Plan`], known already or to be computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    /// [`EMPTY`].
    pub(super) const EMPTY: Self = Self(0);
}

/// `out` becomes the hash of the two.
#[derive(Clone, Copy)]
struct Job {
    children: [Slot; 2],
    out: Slot,
}

/// Hashes known and wanted. A node of depth d needs only leaves and nodes of depth d + 1.
#[derive(Default)]
pub(super) struct Plan {
    /// By slot, from 1.
    hashes: Vec<Hash>,
    leaves: Vec<(StateLeaf, Slot)>,
    /// By depth.
    nodes: Vec<Vec<Job>>,
}

impl Plan {
    /// A hash that is known.
    pub(super) fn known(&mut self, hash: Hash) -> Slot {
        self.hashes.push(hash);
        Slot(u32::try_from(self.hashes.len()).expect("a plan covers one block, or one slice of a load"))
    }

    /// The hash of a leaf.
    fn leaf(&mut self, leaf: StateLeaf) -> Slot {
        let out = self.known(EMPTY);
        self.leaves.push((leaf, out));
        out
    }

    /// The hash of an inner node at `depth`.
    pub(super) fn inner(&mut self, depth: usize, children: [Slot; 2]) -> Slot {
        let out = self.known(EMPTY);
        if self.nodes.len() <= depth {
            self.nodes.resize_with(depth + 1, Vec::new);
        }
        if let Some(jobs) = self.nodes.get_mut(depth) {
            jobs.push(Job { children, out });
        }
        out
    }

    /// The hash of the subtree of these leaves, whose paths are in order and agree in the first `depth` bits.
    pub(super) fn subtree(&mut self, leaves: &[StateLeaf], depth: usize) -> Slot {
        match leaves {
            [] => Slot::EMPTY,
            [leaf] => self.leaf(*leaf),
            _ => {
                let at = leaves.partition_point(|leaf| !bit(&leaf.path, depth));
                let (left, right) = leaves.split_at(at);
                let children = [left, right].map(|half| self.subtree(half, depth + 1));
                self.inner(depth, children)
            }
        }
    }

    /// Computes all that is wanted.
    pub(super) fn run(&mut self) {
        let leaves = mem::take(&mut self.leaves);
        let mut out = [EMPTY; GROUP];
        for leaves in leaves.chunks(GROUP) {
            hash_pairs(LEAF, leaves.iter().map(|(leaf, _)| [leaf.path, leaf.value]), &mut out);
            for ((_, slot), hash) in leaves.iter().zip(out) {
                *self.slot(*slot) = hash;
            }
        }
        let levels = mem::take(&mut self.nodes);
        for jobs in levels.iter().rev().flat_map(|jobs| jobs.chunks(GROUP)) {
            hash_pairs(NODE, jobs.iter().map(|job| job.children.map(|child| self.hash(child))), &mut out);
            for (job, hash) in jobs.iter().zip(out) {
                *self.slot(job.out) = hash;
            }
        }
        (self.leaves, self.nodes) = (leaves, levels);
    }

    /// Forgets all, for the next use; slots given out mean nothing any more.
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.leaves.clear();
        self.nodes.iter_mut().for_each(Vec::clear);
    }

    /// The hash in a slot; final once [`Self::run`] is done.
    pub(super) fn hash(&self, slot: Slot) -> Hash {
        match slot.0.checked_sub(1) {
            None => EMPTY,
            Some(at) => *self.hashes.get(at as usize).expect("slots come from this plan"),
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Hash {
        let at = slot.0.checked_sub(1).expect("what is empty is never computed");
        self.hashes.get_mut(at as usize).expect("slots come from this plan")
    }
}

/// Pairs hashed by one call: four rounds of the widest SIMD code.
const GROUP: usize = 64;

/// `Domain::hash` of each pair: one compression each, so many fit side by side.
fn hash_pairs(tag: Domain, pairs: impl Iterator<Item = [Hash; 2]>, out: &mut [Hash; GROUP]) {
    // Flags of blake3's specification, 2.1: a message of one block is its first, its last and the root.
    const CHUNK_START: u8 = 1 << 0;
    const CHUNK_END: u8 = 1 << 1;
    const ROOT: u8 = 1 << 3;
    const KEYED_HASH: u8 = 1 << 4;

    let mut blocks = [[0; 2 * Hash::LEN]; GROUP];
    let mut count = 0;
    for (block, [left, right]) in blocks.iter_mut().zip(pairs) {
        let (head, tail) = block.split_at_mut(Hash::LEN);
        head.copy_from_slice(&left.0);
        tail.copy_from_slice(&right.0);
        count += 1;
    }
    let inputs: [&[u8; 2 * Hash::LEN]; GROUP] = blocks.each_ref();
    let (inputs, _) = inputs.split_at(count);
    let key = blake3::platform::words_from_le_bytes_32(tag.as_bytes());
    let (counter, end) = (0, CHUNK_END | ROOT);
    let mut hashes = [[0; Hash::LEN]; GROUP];
    let bytes = hashes.as_flattened_mut();
    Platform::detect().hash_many(
        inputs,
        &key,
        counter,
        IncrementCounter::No,
        KEYED_HASH,
        CHUNK_START,
        end,
        bytes,
    );
    *out = hashes.map(Hash);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_proof::inner;

    #[test]
    fn hashing_side_by_side_is_hashing_one_by_one() {
        let pairs: [[Hash; 2]; GROUP] =
            std::array::from_fn(|i| [2 * i, 2 * i + 1].map(|n| NODE.hash(&n.to_le_bytes())));
        for count in 0..=GROUP {
            let mut out = [EMPTY; GROUP];
            hash_pairs(NODE, pairs[..count].iter().copied(), &mut out);
            for ([left, right], hash) in pairs[..count].iter().zip(out) {
                assert_eq!(hash, inner(left, right));
            }
        }
    }
}
