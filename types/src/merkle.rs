//! Merkle root and paths over a list of leaf hashes (transactions and receipts of a block).
//!
//! Shape of RFC 6962: a list splits at the largest power of two below its length. Leaves and nodes
//! are hashed under different tags, so a node cannot be shown as a leaf. The list's length is part of the root.

use serde::{Deserialize, Serialize};

use crate::hash::{Domain, Hash};

/// Longest path accepted: 2^32 leaves.
pub const MAX_DEPTH: usize = 32;

/// The way from a leaf to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerklePath {
    /// Which leaf, from 0.
    pub index: u32,
    /// How many leaves the list has.
    pub count: u32,
    /// Hashes beside the way, from the leaf up.
    pub siblings: Vec<Hash>,
}

fn node(left: Hash, right: Hash) -> Hash {
    Domain::MERKLE_NODE.hash_parts(&[left.as_bytes(), right.as_bytes()])
}

fn with_length(count: usize, top: Hash) -> Hash {
    Domain::MERKLE_NODE.hash_parts(&[&(count as u64).to_le_bytes(), top.as_bytes()])
}

/// Where a list of `count > 1` leaves splits.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn subtree(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(subtree(left), subtree(right))
        }
    }
}

/// Root over `leaves`, which are already tagged hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    with_length(leaves.len(), subtree(leaves))
}

/// Path of leaf `index`, or nothing if there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Option<MerklePath> {
    fn walk(leaves: &[Hash], index: usize, siblings: &mut Vec<Hash>) {
        if leaves.len() <= 1 {
            return;
        }
        let at = split(leaves.len());
        let (left, right) = leaves.split_at(at);
        if index < at {
            walk(left, index, siblings);
            siblings.push(subtree(right));
        } else {
            walk(right, index - at, siblings);
            siblings.push(subtree(left));
        }
    }
    if index >= leaves.len() {
        return None;
    }
    let mut siblings = Vec::new();
    walk(leaves, index, &mut siblings);
    Some(MerklePath { index: u32::try_from(index).ok()?, count: u32::try_from(leaves.len()).ok()?, siblings })
}

/// All paths of one list, for whoever asks for many: each hash is computed once.
#[derive(Debug, Clone)]
pub struct Tree {
    /// From the leaves up; the last level has at most one hash.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Over `leaves`, which are already tagged hashes.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            // Whoever has no neighbour goes up as it is: the same shape as splitting from the top.
            let above = below.chunks(2).map(subtree).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Path of leaf `index`, or nothing if there is no such leaf.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<MerklePath> {
        let count = self.levels.first()?.len();
        if index >= count {
            return None;
        }
        let sibling = |(depth, level): (usize, &Vec<Hash>)| level.get((index >> depth) ^ 1).copied();
        let siblings = self.levels.iter().enumerate().filter_map(sibling).collect();
        Some(MerklePath { index: u32::try_from(index).ok()?, count: u32::try_from(count).ok()?, siblings })
    }
}

impl MerklePath {
    /// The root that this path and `leaf` lead to, or nothing if the path has the wrong length for its index.
    #[must_use]
    pub fn root(&self, leaf: Hash) -> Option<Hash> {
        let (index, count) = (self.index as usize, self.count as usize);
        if index >= count || self.siblings.len() > MAX_DEPTH {
            return None;
        }
        // Which side the leaf is on at every split, from the root down.
        let mut rights = Vec::with_capacity(self.siblings.len());
        let (mut at, mut width) = (index, count);
        while width > 1 {
            let left = split(width);
            rights.push(at >= left);
            if at >= left {
                (at, width) = (at - left, width - left);
            } else {
                width = left;
            }
        }
        if rights.len() != self.siblings.len() {
            return None;
        }
        let top = self.siblings.iter().zip(rights.iter().rev()).fold(leaf, |hash, (sibling, right)| {
            if *right { node(*sibling, hash) } else { node(hash, *sibling) }
        });
        Some(with_length(count, top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| Domain::TX_LEAF.hash(&i.to_le_bytes())).collect()
    }

    proptest! {
        #[test]
        fn every_path_verifies_and_no_changed_one_does(count in 1usize..70, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let index = at.index(count);
            let path = path(&leaves, index).unwrap();
            prop_assert_eq!(path.root(leaves[index]), Some(root(&leaves)));
            // Another leaf, another index, another count or a flipped sibling leads elsewhere.
            prop_assert_ne!(path.root(Hash::ZERO), Some(root(&leaves)));
            let other = MerklePath { index: path.index ^ 1, ..path.clone() };
            prop_assert_ne!(other.root(leaves[index]), Some(root(&leaves)));
            let longer = MerklePath { count: path.count + 1, ..path.clone() };
            prop_assert_ne!(longer.root(leaves[index]), Some(root(&leaves)));
            if !path.siblings.is_empty() {
                let mut forged = path.clone();
                let which = flip.index(forged.siblings.len());
                forged.siblings[which].0[0] ^= 1;
                prop_assert_ne!(forged.root(leaves[index]), Some(root(&leaves)));
            }
        }
    }

    #[test]
    fn a_tree_gives_the_paths_that_are_computed_one_by_one() {
        for count in 0..70 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone());
            for index in 0..count + 2 {
                assert_eq!(tree.path(index), path(&leaves, index), "{index} of {count}");
            }
        }
    }

    #[test]
    fn the_empty_list_has_a_root_of_its_own() {
        assert_ne!(root(&[]), root(&[Hash::ZERO]));
        assert_eq!(path(&[], 0), None);
    }
}
