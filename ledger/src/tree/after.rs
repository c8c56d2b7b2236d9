//! What somebody else says a block changed, held against the root that it claims: nothing is made, nothing is kept.
//!
//! Such changes are a stranger's: their paths need be nobody's hashes and may agree in almost all bits. So this hashes one
//! by one and remembers a way of at most 256 steps, whatever it is given. Tested by `tests.rs` against [`StateTree::apply`].

use epione_types::{Hash, Height};

use super::{Change, Changes, Link, NoSuchVersion, Node, StateTree, divide};
use crate::state_proof::{EMPTY, StateLeaf, bit, inner};

/// A subtree, as far as the one above it needs to know it.
enum Subtree {
    Empty,
    /// One leaf, which has the same hash at every depth.
    Leaf(Hash),
    More(Hash),
}

impl Subtree {
    const fn hash(&self) -> Hash {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf(hash) | Self::More(hash) => *hash,
        }
    }

    fn of(leaves: &[StateLeaf], depth: usize) -> Self {
        match leaves {
            [] => Self::Empty,
            [leaf] => Self::Leaf(leaf.hash()),
            _ => {
                let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.path, depth)));
                Self::join(&Self::of(left, depth + 1), &Self::of(right, depth + 1))
            }
        }
    }

    fn join(left: &Self, right: &Self) -> Self {
        match (left, right) {
            (Self::Empty, Self::Empty) => Self::Empty,
            (Self::Leaf(hash), Self::Empty) | (Self::Empty, Self::Leaf(hash)) => Self::Leaf(*hash),
            (Self::Empty | Self::Leaf(_) | Self::More(_), Self::Leaf(_) | Self::More(_))
            | (Self::More(_), Self::Empty) => Self::More(inner(&left.hash(), &right.hash())),
        }
    }
}

impl StateTree {
    /// The root that the tree of `height` would have after `changes`.
    ///
    /// # Errors
    /// [`NoSuchVersion`] when that tree is not remembered.
    pub fn root_after(&self, height: Height, changes: &Changes) -> Result<Hash, NoSuchVersion> {
        let root = self.version(height)?.root;
        Ok(self.subtree_after(root.link, root.hash, 0, changes.as_slice()).hash())
    }

    fn subtree_after(&self, link: Link, hash: Hash, depth: usize, changes: &[Change]) -> Subtree {
        let held = |id: u32| self.placed(id).map(|placed| placed.leaf);
        match link.node() {
            Node::Empty => {
                let leaves: Vec<StateLeaf> = changes.iter().filter_map(Change::leaf).collect();
                Subtree::of(&leaves, depth)
            }
            Node::Inner(_) if changes.is_empty() => Subtree::More(hash),
            Node::Inner(id) => {
                let [left, right] = self.children(id);
                let (to_left, to_right) = divide(changes, depth);
                let left = self.subtree_after(left.link, left.hash, depth + 1, to_left);
                let right = self.subtree_after(right.link, right.hash, depth + 1, to_right);
                Subtree::join(&left, &right)
            }
            Node::Bucket(id) => {
                let untouched =
                    |leaf: &StateLeaf| changes.binary_search_by_key(&leaf.path, |it| it.path).is_err();
                let mut leaves: Vec<StateLeaf> = held(id).filter(untouched).collect();
                leaves.extend(changes.iter().filter_map(Change::leaf));
                leaves.sort_unstable_by_key(|leaf| leaf.path);
                Subtree::of(&leaves, depth)
            }
        }
    }

    /// What the newest tree holds at this path.
    #[must_use]
    pub fn value_at(&self, path: &Hash) -> Option<Hash> {
        let (mut link, mut depth) = (self.newest().root.link, 0);
        loop {
            match link.node() {
                Node::Empty => return None,
                Node::Inner(id) => {
                    let [left, right] = self.children(id);
                    link = if bit(path, depth) { right.link } else { left.link };
                    depth += 1;
                }
                Node::Bucket(id) => {
                    let mut leaves = self.placed(id).map(|placed| placed.leaf);
                    return leaves.find(|leaf| leaf.path == *path).map(|leaf| leaf.value);
                }
            }
        }
    }
}
