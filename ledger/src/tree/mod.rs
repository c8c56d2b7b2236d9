//! The authenticated state in memory: one root per block, proofs for the blocks still remembered.
//!
//! What a root means is written in [`crate::state_proof`]; this is only a fast way to keep it.
//!
//! ```text
//! versions   h-2 ──┐    h-1 ──┐      h ──┐         a root per height; a block copies the nodes on the way
//!                  ▼          ▼          ▼         of its keys and shares all others with the block before
//!               inner ─┬── inner       inner        40 bytes: hash, two links
//!                      └──▶ bucket ◀──────┘         48 bytes: hash, up to 4 leaves in order of path
//!                             └▶ leaf …             64 bytes: path, value hash
//! ```
//!
//! What a block costs is cache misses more than hashing. So it is done in slices that stay in the cache, each
//! touched level by level before it is worked on, and the hashes of a slice are computed side by side. A bucket
//! stands for the lowest two levels or so, whose hashes are cheaper to compute than to keep. Nodes are never
//! changed in place, so a proof at an old height walks from that height's root and is right by construction; a
//! version lists the nodes it replaced, and they are freed when the version before it is forgotten.
//!
//! The tree holds no keys and no values (the store does) and trusts nobody: paths are hashes, sorted and unique
//! by the type [`Changes`].
//! Tested by `tests.rs` against a naive tree. Shape and figures: docs/decisions/0001-state-tree.md.

mod after;
mod changes;
pub mod checkpoint;
mod plan;
mod slab;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, hint, mem};

use epione_types::{Hash, Height};

pub use self::changes::{Change, Changes, ChangesError};
use self::{
    plan::{Plan, Slot},
    slab::Slab,
};
use crate::state_proof::{EMPTY, StateLeaf, StateProof, bit, inner};

/// Most leaves in a bucket. Of 4, three are in use on average; 8 save 13 bytes per key and cost 0.4 us per write.
const BUCKET: usize = 4;

/// A subtree: nothing, or a node by kind and number, packed to keep an inner node at 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(u32);

/// What a link leads to.
enum Node {
    Empty,
    Inner(u32),
    Bucket(u32),
}

impl Link {
    const BUCKET_BIT: u32 = 1 << 31;
    const EMPTY: Self = Self(Slab::<Inner>::NONE);

    const fn bucket(id: u32) -> Self {
        Self(id | Self::BUCKET_BIT)
    }

    const fn node(self) -> Node {
        if self.0 == Self::EMPTY.0 {
            Node::Empty
        } else if self.0 & Self::BUCKET_BIT == 0 {
            Node::Inner(self.0)
        } else {
            Node::Bucket(self.0 & !Self::BUCKET_BIT)
        }
    }
}

/// A subtree and its hash.
#[derive(Clone, Copy)]
struct Child {
    link: Link,
    hash: Hash,
}

impl Child {
    const EMPTY: Self = Self { link: Link::EMPTY, hash: EMPTY };
}

#[derive(Clone, Copy)]
struct Inner {
    hash: Hash,
    left: Link,
    right: Link,
}

#[derive(Clone, Copy)]
struct Bucket {
    hash: Hash,
    /// Leaf numbers in order of path, then [`Slab::NONE`].
    leaves: [u32; BUCKET],
}

impl Bucket {
    fn ids(&self) -> impl Iterator<Item = u32> {
        self.leaves.into_iter().take_while(|id| *id != Slab::<StateLeaf>::NONE)
    }
}

/// A leaf at hand while a bucket is made or searched.
#[derive(Clone, Copy)]
struct Placed {
    leaf: StateLeaf,
    id: u32,
}

/// A subtree of the version being made.
#[derive(Clone, Copy)]
enum Subtree {
    /// Untouched, or empty, or done in a slice before: its hash is known.
    Known(Child),
    /// New: the hash is to be computed.
    New(Link, Slot),
}

impl Subtree {
    const fn link(self) -> Link {
        match self {
            Self::Known(child) => child.link,
            Self::New(link, _) => link,
        }
    }
}

/// A version being made. Kept from block to block for its memory.
#[derive(Default)]
struct Making {
    plan: Plan,
    /// New nodes, which get their hash when the plan has run.
    inners: Vec<(u32, Slot)>,
    buckets: Vec<(u32, Slot)>,
    replaced: Replaced,
    /// Paths of changes whose key was there before, in order.
    stood: Vec<Hash>,
}

/// One height's tree.
struct Version {
    height: Height,
    root: Child,
    /// What this version no longer shares with the one before.
    replaced: Replaced,
}

#[derive(Default)]
struct Replaced {
    inners: Vec<u32>,
    buckets: Vec<u32>,
    leaves: Vec<u32>,
}

/// A height whose tree is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no state tree for height {asked}; proofs are kept for heights {first} to {last}")]
pub struct NoSuchVersion {
    /// The height asked for.
    pub asked: Height,
    /// Oldest height remembered.
    pub first: Height,
    /// Newest height.
    pub last: Height,
}

/// Leaves given to [`StateTree::load`] were not in strictly ascending order of path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leaf {index} of the state is not above the one before it")]
pub struct LeavesOutOfOrder {
    /// Which leaf, from 0.
    pub index: usize,
}

/// Sizes, for metrics and the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeSize {
    /// Leaves in memory, those that only older versions hold included.
    pub leaves: usize,
    /// Inner nodes in memory, likewise.
    pub inners: usize,
    /// Buckets in memory, likewise.
    pub buckets: usize,
    /// Memory of all of them, in bytes.
    pub bytes: usize,
}

/// The state tree of the newest block and of the blocks before it that were not forgotten.
pub struct StateTree {
    inners: Slab<Inner>,
    buckets: Slab<Bucket>,
    leaves: Slab<StateLeaf>,
    /// Consecutive heights, oldest first; never empty.
    versions: VecDeque<Version>,
    making: Making,
}

impl StateTree {
    /// The tree without keys, as of `height`.
    #[must_use]
    pub fn empty(height: Height) -> Self {
        Self {
            inners: Slab::new(),
            buckets: Slab::new(),
            leaves: Slab::new(),
            versions: VecDeque::from([Version { height, root: Child::EMPTY, replaced: Replaced::default() }]),
            making: Making::default(),
        }
    }

    /// The tree of `leaves` in strictly ascending order of path, as of `height`. Two hashes per leaf; keys and
    /// values are not needed. That the result is the right state shows in its [`Self::root`], nowhere else.
    ///
    /// # Errors
    /// [`LeavesOutOfOrder`].
    pub fn load(
        height: Height,
        leaves: impl IntoIterator<Item = StateLeaf>,
    ) -> Result<Self, LeavesOutOfOrder> {
        let mut tree = Self::empty(height);
        let mut last = None;
        for (index, leaf) in leaves.into_iter().enumerate() {
            if last.replace(leaf.path).is_some_and(|last| last >= leaf.path) {
                return Err(LeavesOutOfOrder { index });
            }
            tree.leaves.insert(leaf);
        }
        let end = u32::try_from(tree.leaves.len()).expect("leaf numbers are 32 bits");
        let root = tree.load_range(0, end, 0);
        tree.versions = VecDeque::from([Version { height, root, replaced: Replaced::default() }]);
        Ok(tree)
    }

    /// The tree of the leaves numbered `start..end`, in slices, so that the plan stays small.
    fn load_range(&mut self, start: u32, end: u32, depth: usize) -> Child {
        const SLICE: u32 = 1 << 12;
        let halves = (end - start > SLICE).then(|| {
            let middle = self.first_right(start, end, depth);
            [(start, middle), (middle, end)].map(|(start, end)| self.load_range(start, end, depth + 1))
        });
        let mut making = mem::take(&mut self.making);
        let root = if let Some([left, right]) = halves {
            self.join(&mut making, Subtree::Known(left), Subtree::Known(right), depth)
        } else {
            let leaves: Vec<_> = (start..end).map(|id| Placed { leaf: *self.leaves.get(id), id }).collect();
            self.build(&mut making, &leaves, depth)
        };
        self.finish(making, root)
    }

    /// The first of the leaves `start..end` that goes right at `depth`.
    fn first_right(&self, mut start: u32, mut end: u32, depth: usize) -> u32 {
        while start < end {
            let middle = start.midpoint(end);
            if bit(&self.leaves.get(middle).path, depth) { end = middle } else { start = middle + 1 }
        }
        start
    }

    /// Height of the newest tree.
    #[must_use]
    pub fn height(&self) -> Height {
        self.newest().height
    }

    /// Root of the newest tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.newest().root.hash
    }

    /// Root of the tree of `height`.
    ///
    /// # Errors
    /// [`NoSuchVersion`] when it is not remembered.
    pub fn root_at(&self, height: Height) -> Result<Hash, NoSuchVersion> {
        self.version(height).map(|version| version.root.hash)
    }

    /// Oldest height remembered.
    #[must_use]
    pub fn oldest(&self) -> Height {
        self.versions.front().expect("there is always a version").height
    }

    /// Sizes of what is in memory.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize {
            leaves: self.leaves.len(),
            inners: self.inners.len(),
            buckets: self.buckets.len(),
            bytes: self.inners.bytes() + self.buckets.bytes() + self.leaves.bytes(),
        }
    }

    /// Makes the tree of the next height and returns its root.
    pub fn apply(&mut self, changes: &Changes) -> Hash {
        let Version { height, root, .. } = *self.newest();
        self.making.stood.clear();
        let root = self.apply_slice(root, 0, changes.as_slice());
        let replaced = mem::take(&mut self.making.replaced);
        self.versions.push_back(Version { height: height.next(), root, replaced });
        root.hash
    }

    /// Was there a leaf at the path of this change, before the newest tree was made with it?
    pub(crate) fn stood(&self, path: &Hash) -> bool {
        self.making.stood.binary_search(path).is_ok()
    }

    /// Makes the tree of a later height from the changes of all blocks up to it, merged, and returns its root. All
    /// versions before are forgotten.
    pub fn jump(&mut self, height: Height, changes: &Changes) -> Hash {
        assert!(height >= self.height(), "heights go up");
        let root = self.apply(changes);
        self.making.stood = Vec::new(); // of very many changes
        self.forget_below(self.height());
        if let Some(only) = self.versions.front_mut() {
            only.height = height;
        }
        root
    }

    /// The subtree after `changes`, done in slices whose nodes stay in the processor's cache until they are hashed.
    fn apply_slice(&mut self, at: Child, depth: usize, changes: &[Change]) -> Child {
        const SLICE: usize = 128;
        if let Node::Inner(id) = at.link.node()
            && changes.len() > SLICE
        {
            let [left, right] = self.children(id);
            let (to_left, to_right) = divide(changes, depth);
            let new_left = self.apply_slice(left, depth + 1, to_left);
            let new_right = self.apply_slice(right, depth + 1, to_right);
            if (new_left.link, new_right.link) == (left.link, right.link) {
                return at;
            }
            let mut making = mem::take(&mut self.making);
            making.replaced.inners.push(id);
            let node = self.join(&mut making, Subtree::Known(new_left), Subtree::Known(new_right), depth);
            return self.finish(making, node);
        }
        self.warm(at.link, depth, changes);
        let mut making = mem::take(&mut self.making);
        let node = self.update(&mut making, at, depth, changes);
        self.finish(making, node)
    }

    /// Forgets all heights below `height`, except the newest.
    pub fn forget_below(&mut self, height: Height) {
        while self.versions.len() > 1 && self.oldest() < height {
            self.versions.pop_front();
            let Some(oldest) = self.versions.front_mut() else { return };
            let Replaced { inners, buckets, leaves } = mem::take(&mut oldest.replaced);
            self.inners.free(inners);
            self.buckets.free(buckets);
            self.leaves.free(leaves);
        }
    }

    /// Proof of what the key with this path holds after block `height`, or that it holds nothing.
    ///
    /// # Errors
    /// [`NoSuchVersion`] when that tree is not remembered.
    pub fn prove(&self, height: Height, path: &Hash) -> Result<StateProof, NoSuchVersion> {
        let mut link = self.version(height)?.root.link;
        let mut siblings = Vec::new();
        let leaf = loop {
            match link.node() {
                Node::Empty => break None,
                Node::Inner(id) => {
                    let [left, right] = self.children(id);
                    let way = bit(path, siblings.len());
                    let (next, beside) = if way { (right, left) } else { (left, right) };
                    siblings.push(beside.hash);
                    link = next.link;
                }
                Node::Bucket(id) => {
                    let placed: Vec<_> = self.placed(id).collect();
                    let mut rest = placed.as_slice();
                    while rest.len() > 1 {
                        let depth = siblings.len();
                        let (left, right) = split(rest, depth);
                        let (next, beside) = if bit(path, depth) { (right, left) } else { (left, right) };
                        siblings.push(subtree(beside, depth + 1));
                        rest = next;
                    }
                    break rest.first().map(|placed| placed.leaf);
                }
            }
        };
        Ok(StateProof { siblings, leaf })
    }

    /// Up to `limit` leaves of the tree of `height`, in order of path, above `after`: how a checkpoint is
    /// written piece by piece while blocks go on.
    ///
    /// # Errors
    /// [`NoSuchVersion`] when that tree is not remembered.
    pub fn leaves_after(
        &self,
        height: Height,
        after: Option<&Hash>,
        limit: usize,
    ) -> Result<Vec<StateLeaf>, NoSuchVersion> {
        let mut found = Vec::new();
        self.collect(self.version(height)?.root.link, 0, after, limit, &mut found);
        Ok(found)
    }

    /// `after` is `None` once the walk is to the right of it.
    fn collect(
        &self,
        link: Link,
        depth: usize,
        after: Option<&Hash>,
        limit: usize,
        found: &mut Vec<StateLeaf>,
    ) {
        if found.len() >= limit {
            return;
        }
        match link.node() {
            Node::Empty => {}
            Node::Inner(id) => {
                let [left, right] = self.children(id);
                let skip_left = after.is_some_and(|after| bit(after, depth));
                if !skip_left {
                    self.collect(left.link, depth + 1, after, limit, found);
                }
                self.collect(right.link, depth + 1, after.filter(|_| skip_left), limit, found);
            }
            Node::Bucket(id) => {
                let leaves = self.buckets.get(id).ids().map(|id| *self.leaves.get(id));
                let room = limit - found.len();
                found.extend(leaves.filter(|leaf| after.is_none_or(|after| leaf.path > *after)).take(room));
            }
        }
    }

    fn newest(&self) -> &Version {
        self.versions.back().expect("there is always a version")
    }

    fn version(&self, asked: Height) -> Result<&Version, NoSuchVersion> {
        let (first, last) = (self.oldest(), self.height());
        let index = asked.0.checked_sub(first.0).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.versions.get(index)).ok_or(NoSuchVersion { asked, first, last })
    }

    /// Touches, level by level, what [`Self::update`] will read one after the other: within a level nothing waits
    /// for anything, so the processor fetches many nodes at once.
    fn warm(&self, link: Link, depth: usize, changes: &[Change]) {
        let mut touched = 0;
        let (mut level, mut below) = (vec![(link, changes)], Vec::new());
        for depth in depth.. {
            for (link, changes) in level.drain(..) {
                match link.node() {
                    Node::Empty => {}
                    Node::Inner(id) => {
                        let [left, right] = self.children(id);
                        touched ^= left.hash.0[0] ^ right.hash.0[0];
                        let (to_left, to_right) = divide(changes, depth);
                        let ways = [(left.link, to_left), (right.link, to_right)];
                        below.extend(ways.into_iter().filter(|(_, changes)| !changes.is_empty()));
                    }
                    Node::Bucket(id) => {
                        let leaves = self.buckets.get(id).ids().map(|id| self.leaves.get(id));
                        touched ^= leaves.fold(0, |touched, leaf| touched ^ leaf.path.0[0]);
                    }
                }
            }
            if below.is_empty() {
                break;
            }
            mem::swap(&mut level, &mut below);
        }
        hint::black_box(touched);
    }

    /// The subtree after `changes`, which all belong there. The same if nothing changes.
    fn update(&mut self, making: &mut Making, at: Child, depth: usize, changes: &[Change]) -> Subtree {
        if changes.is_empty() {
            return Subtree::Known(at);
        }
        match at.link.node() {
            Node::Empty => {
                let leaves = changes.iter().filter_map(Change::leaf);
                let placed: Vec<_> = leaves.map(|leaf| self.place(leaf)).collect();
                self.build(making, &placed, depth)
            }
            Node::Bucket(id) => self.update_bucket(making, at, id, depth, changes),
            Node::Inner(id) => {
                let [left, right] = self.children(id);
                let (to_left, to_right) = divide(changes, depth);
                let new_left = self.update(making, left, depth + 1, to_left);
                let new_right = self.update(making, right, depth + 1, to_right);
                if (new_left.link(), new_right.link()) == (left.link, right.link) {
                    return Subtree::Known(at);
                }
                making.replaced.inners.push(id);
                self.join(making, new_left, new_right, depth)
            }
        }
    }

    fn update_bucket(
        &mut self,
        making: &mut Making,
        at: Child,
        id: u32,
        depth: usize,
        changes: &[Change],
    ) -> Subtree {
        let old: Vec<_> = self.placed(id).collect();
        let mut new = Vec::with_capacity(old.len() + changes.len());
        let mut old = old.into_iter().peekable();
        let mut changed = false;
        for change in changes {
            while let Some(before) = old.next_if(|placed| placed.leaf.path < change.path) {
                new.push(before);
            }
            let same = old.next_if(|placed| placed.leaf.path == change.path);
            if let Some(same) = same {
                making.stood.push(change.path);
                if Some(same.leaf) == change.leaf() {
                    new.push(same);
                    continue;
                }
                making.replaced.leaves.push(same.id);
            }
            changed |= same.is_some() || change.value.is_some();
            new.extend(change.leaf().map(|leaf| self.place(leaf)));
        }
        if !changed {
            return Subtree::Known(at);
        }
        making.replaced.buckets.push(id);
        new.extend(old);
        self.build(making, &new, depth)
    }

    /// A new inner node, or a bucket when so few leaves are left that they fit one.
    fn join(&mut self, making: &mut Making, left: Subtree, right: Subtree, depth: usize) -> Subtree {
        if let (Some(few), Some(more)) = (self.few(left.link()), self.few(right.link()))
            && few + more <= BUCKET
        {
            let mut leaves = Vec::with_capacity(BUCKET);
            for half in [left, right] {
                if let Node::Bucket(id) = half.link().node() {
                    leaves.extend(self.placed(id));
                    making.replaced.buckets.push(id);
                }
            }
            return self.build(making, &leaves, depth);
        }
        let hashes = [left, right].map(|half| match half {
            Subtree::Known(child) => making.plan.known(child.hash),
            Subtree::New(_, hash) => hash,
        });
        let [left, right] = [left, right].map(|half| half.link());
        let id = self.inners.insert(Inner { hash: EMPTY, left, right });
        let slot = making.plan.inner(depth, hashes);
        making.inners.push((id, slot));
        Subtree::New(Link(id), slot)
    }

    /// How many leaves are below, unless an inner node is there: it has more than fit a bucket.
    fn few(&self, link: Link) -> Option<usize> {
        match link.node() {
            Node::Empty => Some(0),
            Node::Bucket(id) => Some(self.buckets.get(id).ids().count()),
            Node::Inner(_) => None,
        }
    }

    /// New nodes for `leaves` alone.
    fn build(&mut self, making: &mut Making, leaves: &[Placed], depth: usize) -> Subtree {
        if leaves.is_empty() {
            return Subtree::Known(Child::EMPTY);
        }
        if leaves.len() > BUCKET {
            let (left, right) = split(leaves, depth);
            let left = self.build(making, left, depth + 1);
            let right = self.build(making, right, depth + 1);
            return self.join(making, left, right, depth);
        }
        let mut ids = [Slab::<StateLeaf>::NONE; BUCKET];
        let mut hashed = [StateLeaf { path: EMPTY, value: EMPTY }; BUCKET];
        for ((id, leaf), placed) in ids.iter_mut().zip(&mut hashed).zip(leaves) {
            (*id, *leaf) = (placed.id, placed.leaf);
        }
        let (hashed, _) = hashed.split_at(leaves.len());
        let id = self.buckets.insert(Bucket { hash: EMPTY, leaves: ids });
        let slot = making.plan.subtree(hashed, depth);
        making.buckets.push((id, slot));
        Subtree::New(Link::bucket(id), slot)
    }

    /// Computes the hashes of what was made, gives them to the new nodes, and keeps the rest of it.
    fn finish(&mut self, mut making: Making, root: Subtree) -> Child {
        making.plan.run();
        for (id, slot) in making.inners.drain(..) {
            self.inners.get_mut(id).hash = making.plan.hash(slot);
        }
        for (id, slot) in making.buckets.drain(..) {
            self.buckets.get_mut(id).hash = making.plan.hash(slot);
        }
        let root = match root {
            Subtree::Known(child) => child,
            Subtree::New(link, hash) => Child { link, hash: making.plan.hash(hash) },
        };
        making.plan.clear();
        self.making = making;
        root
    }

    fn children(&self, inner: u32) -> [Child; 2] {
        let Inner { left, right, .. } = *self.inners.get(inner);
        [left, right].map(|link| {
            let hash = match link.node() {
                Node::Empty => EMPTY,
                Node::Inner(id) => self.inners.get(id).hash,
                Node::Bucket(id) => self.buckets.get(id).hash,
            };
            Child { link, hash }
        })
    }

    fn place(&mut self, leaf: StateLeaf) -> Placed {
        Placed { leaf, id: self.leaves.insert(leaf) }
    }

    fn placed(&self, bucket: u32) -> impl Iterator<Item = Placed> {
        self.buckets.get(bucket).ids().map(|id| Placed { leaf: *self.leaves.get(id), id })
    }
}

/// Leaves whose path goes left at `depth`, and those that go right.
fn split(leaves: &[Placed], depth: usize) -> (&[Placed], &[Placed]) {
    leaves.split_at(leaves.partition_point(|placed| !bit(&placed.leaf.path, depth)))
}

/// Likewise for changes.
fn divide(changes: &[Change], depth: usize) -> (&[Change], &[Change]) {
    changes.split_at(changes.partition_point(|change| !bit(&change.path, depth)))
}

/// Hash of the subtree of these leaves, which are in order of path and agree in its first `depth` bits.
pub(crate) fn subtree_hash(leaves: &[StateLeaf], depth: usize) -> Hash {
    let mut plan = Plan::default();
    let slot = plan.subtree(leaves, depth);
    plan.run();
    plan.hash(slot)
}

/// The same of leaves at hand in a tree, which are few.
fn subtree(leaves: &[Placed], depth: usize) -> Hash {
    match leaves {
        [] => EMPTY,
        [placed] => placed.leaf.hash(),
        _ => {
            let (left, right) = split(leaves, depth);
            inner(&subtree(left, depth + 1), &subtree(right, depth + 1))
        }
    }
}
