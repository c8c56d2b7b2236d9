//! What the state root commits to, and how a proof against it is checked: all a light client needs, no database.
//!
//! The state is a set of (key, value). A key lives at its *path*, the tagged hash of the key; the tree over
//! the paths is binary, most significant bit first, 0 to the left, and each subtree is named by one hash:
//!
//! ```text
//! no key      EMPTY, 32 zero bytes (no known input hashes to it)
//! one key     leaf  = H(state-leaf,  path || H(state-value, value)), at whatever depth it stands alone
//! more keys   inner = H(state-node,  left || right)
//! ```
//!
//! So the root is a function of the set alone, never of the order of writes. It is also the reason why one
//! shape of proof shows presence and absence: on the way of a path the tree ends, after `siblings.len()`
//! bits, in EMPTY or in the only leaf of its subtree; if that is another key's leaf, this key is absent.
//! Leaf, inner node, path and value are hashed under four tags, so none passes for another.
//!
//! The hashing rules stand here once; `epione-ledger`'s tree computes with the same functions.
//! Tested below, and against a naive tree and forged proofs in `ledger/src/tree/tests.rs`.

use serde::{Deserialize, Serialize};

use crate::hash::{Domain, Hash};

/// Path of a key.
const PATH: Domain = Domain::new("epione/state-path/v1");
/// Hash of a value.
const VALUE: Domain = Domain::new("epione/state-value/v1");
/// Tag of a leaf: path and value hash.
pub const LEAF: Domain = Domain::new("epione/state-leaf/v1");
/// Tag of an inner node: left and right hash.
pub const NODE: Domain = Domain::new("epione/state-node/v1");

/// Longest key of the state, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;

/// Longest value of the state, in bytes: the store below keeps values of a few KiB well, and large ones badly.
pub const STATE_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Bits of a path, and so the deepest place a leaf can have.
pub const STATE_DEPTH_MAX: usize = Hash::LEN * 8;

/// Hash of a subtree without keys.
pub const EMPTY: Hash = Hash::ZERO;

/// Where `key` lives in the tree.
#[must_use]
pub fn path(key: &[u8]) -> Hash {
    PATH.hash(key)
}

/// What the tree holds of a value.
#[must_use]
pub fn value_hash(value: &[u8]) -> Hash {
    VALUE.hash(value)
}

/// Hash of a subtree of two keys or more.
#[must_use]
pub fn inner(left: &Hash, right: &Hash) -> Hash {
    pair(NODE, left, right)
}

/// Bit `depth` of a path, counted from the most significant: false is left.
///
/// # Panics
/// If `depth` is [`STATE_DEPTH_MAX`] or more: two different paths part before.
#[must_use]
pub fn bit(path: &Hash, depth: usize) -> bool {
    assert!(depth < STATE_DEPTH_MAX, "a path has {STATE_DEPTH_MAX} bits");
    path.0.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

fn pair(tag: Domain, left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 2 * Hash::LEN];
    let (head, tail) = bytes.split_at_mut(Hash::LEN);
    head.copy_from_slice(&left.0);
    tail.copy_from_slice(&right.0);
    tag.hash(&bytes)
}

/// One key's place in the tree: 64 bytes, whatever the size of key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateLeaf {
    /// [`path`] of the key.
    pub path: Hash,
    /// [`value_hash`] of the value.
    pub value: Hash,
}

impl StateLeaf {
    /// Hash of the subtree that holds this key alone.
    #[must_use]
    pub fn hash(&self) -> Hash {
        pair(LEAF, &self.path, &self.value)
    }
}

/// Shows what one key holds under one state root. Grows with the logarithm of the state: about 21 hashes for
/// a million keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// Hashes beside the way, from the root down.
    pub siblings: Vec<Hash>,
    /// The leaf at its end: the key's own, a neighbour's, or nothing.
    pub leaf: Option<StateLeaf>,
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// Longer than any path.
    #[error("state proof has {found} siblings, at most {STATE_DEPTH_MAX} are possible")]
    TooDeep {
        /// Number of siblings given.
        found: usize,
    },
    /// The leaf shown stands on another branch than the key.
    #[error("state proof ends in a leaf that is not on the way of the key")]
    OtherBranch,
    /// The hashes do not lead to the root: tampered with, or made for another height.
    #[error("state proof leads to root {found}, expected {expected}")]
    OtherRoot {
        /// The root asked for.
        expected: Hash,
        /// Where the proof leads.
        found: Hash,
    },
    /// The proof is sound and shows something else than claimed.
    #[error("state proof is sound, but the key holds {0} at this root")]
    OtherValue(Held),
}

/// What a sound proof shows a key to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing: the key is absent.
    Nothing,
    /// A value with this [`value_hash`].
    Value(Hash),
}

impl core::fmt::Display for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Value(hash) => write!(f, "a value with hash {hash}"),
        }
    }
}

impl StateProof {
    /// Checks that under `root` the key holds exactly `value`, or nothing at all when `value` is `None`.
    ///
    /// # Errors
    /// [`StateProofError`]; only [`StateProofError::OtherValue`] says anything about the state.
    pub fn verify(&self, root: &Hash, key: &[u8], value: Option<&[u8]>) -> Result<(), StateProofError> {
        let claimed = value.map_or(Held::Nothing, |value| Held::Value(value_hash(value)));
        match self.held(root, key)? {
            held if held == claimed => Ok(()),
            held => Err(StateProofError::OtherValue(held)),
        }
    }

    /// What the proof shows `key` to hold under `root`.
    ///
    /// # Errors
    /// [`StateProofError`] when it shows nothing.
    pub fn held(&self, root: &Hash, key: &[u8]) -> Result<Held, StateProofError> {
        self.held_at(root, &path(key))
    }

    /// The same for a key of which only the [`path`] is known.
    ///
    /// # Errors
    /// [`StateProofError`] when it shows nothing.
    pub fn held_at(&self, root: &Hash, path: &Hash) -> Result<Held, StateProofError> {
        let depth = self.siblings.len();
        if depth > STATE_DEPTH_MAX {
            return Err(StateProofError::TooDeep { found: depth });
        }
        // Without this, any leaf of the tree would prove the absence of any key on another branch.
        if self.leaf.is_some_and(|leaf| (0..depth).any(|at| bit(&leaf.path, at) != bit(path, at))) {
            return Err(StateProofError::OtherBranch);
        }
        let end = self.leaf.map_or(EMPTY, |leaf| leaf.hash());
        let found = self.siblings.iter().enumerate().rev().fold(end, |below, (at, sibling)| {
            if bit(path, at) { inner(sibling, &below) } else { inner(&below, sibling) }
        });
        if found != *root {
            return Err(StateProofError::OtherRoot { expected: *root, found });
        }
        Ok(match self.leaf {
            Some(leaf) if leaf.path == *path => Held::Value(leaf.value),
            _ => Held::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(key: &[u8], value: &[u8]) -> StateLeaf {
        StateLeaf { path: path(key), value: value_hash(value) }
    }

    #[test]
    fn the_empty_state_holds_nothing() {
        let proof = StateProof { siblings: vec![], leaf: None };
        assert_eq!(proof.verify(&EMPTY, b"k", None), Ok(()));
        assert_eq!(proof.verify(&EMPTY, b"k", Some(b"v")), Err(StateProofError::OtherValue(Held::Nothing)));
    }

    #[test]
    fn a_lone_leaf_is_the_root_and_proves_every_other_key_absent() {
        let alone = leaf(b"k", b"v");
        let proof = StateProof { siblings: vec![], leaf: Some(alone) };
        assert_eq!(proof.verify(&alone.hash(), b"k", Some(b"v")), Ok(()));
        assert_eq!(proof.verify(&alone.hash(), b"other", None), Ok(()));
        assert!(proof.verify(&alone.hash(), b"k", None).is_err());
        assert!(proof.verify(&alone.hash(), b"k", Some(b"w")).is_err());
    }

    #[test]
    fn a_leaf_of_another_branch_proves_no_absence() {
        // Two keys that part at the first bit.
        let (left, right) =
            (0u8..=255).map(|byte| leaf(&[byte], b"")).fold((None, None), |(left, right), leaf| {
                if bit(&leaf.path, 0) { (left, Some(leaf)) } else { (Some(leaf), right) }
            });
        let (left, right) = (left.unwrap(), right.unwrap());
        let root = inner(&left.hash(), &right.hash());
        let present = (0u8..=255).find(|byte| path(&[*byte]) == right.path).unwrap();
        let forged = StateProof { siblings: vec![right.hash()], leaf: Some(left) };
        assert_eq!(forged.verify(&root, &[present], None), Err(StateProofError::OtherBranch));
    }

    #[test]
    fn more_siblings_than_bits_are_refused() {
        let proof = StateProof { siblings: vec![EMPTY; STATE_DEPTH_MAX + 1], leaf: None };
        assert_eq!(
            proof.verify(&EMPTY, b"k", None),
            Err(StateProofError::TooDeep { found: STATE_DEPTH_MAX + 1 })
        );
    }
}
