//! The leaves of one height in the store, so that a restart reads 64 bytes per key instead of every key and value.
//!
//! A checkpoint is written in steps, a few rows with each block, while the tree goes on: it walks the version of its
//! own height, which must be remembered until it is done. There are two places; an unfinished one never touches the
//! finished one, and the row that names the newer one is written with its last step. No checksum is needed:
//! [`load`] hashes the leaves together and compares with the root, which the caller compares with the header.
//!
//! A tree loaded from here is brought up to date with the changes of the blocks above. Tested below.

use epione_types::{Hash, Height, codec};
use serde::{Deserialize, Serialize};

use super::{NoSuchVersion, StateTree};
use crate::{
    state_proof::StateLeaf,
    store::{Batch, Store, StoreError},
};

/// Leaves per row: 16 KiB.
pub const ROW_LEAVES: usize = 256;
const LEAF_BYTES: usize = 2 * Hash::LEN;

/// What a checkpoint of so many leaves takes, in bytes.
#[must_use]
pub const fn bytes(leaves: u64) -> u64 {
    leaves.saturating_mul(LEAF_BYTES as u64)
}

/// The row that says which checkpoint counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    place: u8,
    height: Height,
    root: Hash,
    leaves: u64,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is not what was written.
    #[error("state checkpoint of height {height} is damaged: {what}")]
    Damaged {
        /// The height it claims.
        height: Height,
        /// How it shows.
        what: &'static str,
    },
}

/// A checkpoint being written.
#[derive(Debug)]
pub struct Checkpoint {
    prefix: u8,
    newest: Newest,
    /// The last leaf written.
    after: Option<Hash>,
    row: u32,
}

impl Checkpoint {
    /// Begins one of the oldest version that `tree` remembers, under keys that begin with `prefix`.
    ///
    /// # Errors
    /// The store failed, or names a checkpoint that it cannot decode.
    pub fn begin(store: &dyn Store, prefix: u8, tree: &StateTree) -> Result<Self, CheckpointError> {
        let place = newest(store, prefix)?.map_or(0, |newest| newest.place ^ 1);
        let height = tree.oldest();
        let root = tree.root_at(height).expect("the oldest version is remembered");
        Ok(Self { prefix, newest: Newest { place, height, root, leaves: 0 }, after: None, row: 0 })
    }

    /// The height whose version must be remembered until this is done.
    #[must_use]
    pub fn height(&self) -> Height {
        self.newest.height
    }

    /// What was written so far, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(self.newest.leaves)
    }

    /// Puts up to `rows` more rows of 16 KiB into `batch`, to be applied before the next step. True when it is done:
    /// with that batch the checkpoint counts, and changes of blocks up to its height are not needed any more.
    ///
    /// # Errors
    /// The version was forgotten: begin again.
    pub fn step(&mut self, tree: &StateTree, batch: &mut Batch, rows: usize) -> Result<bool, NoSuchVersion> {
        let wanted = rows.saturating_mul(ROW_LEAVES);
        let leaves = tree.leaves_after(self.newest.height, self.after.as_ref(), wanted)?;
        for leaves in leaves.chunks(ROW_LEAVES) {
            put_row(batch, row_key(self.prefix, self.newest.place, self.row), leaves);
            self.row += 1;
        }
        self.newest.leaves += leaves.len() as u64;
        self.after = leaves.last().map(|leaf| leaf.path).or(self.after);
        let done = leaves.len() < wanted;
        if done {
            batch.put([self.prefix], codec::encode(&self.newest));
        }
        Ok(done)
    }
}

/// A checkpoint of leaves that come from elsewhere, in order of path, in place of any other.
#[derive(Debug)]
pub struct Whole {
    prefix: u8,
    row: u32,
    leaves: u64,
    /// Leaves that fill no row yet.
    ahead: Vec<StateLeaf>,
}

impl Whole {
    /// Begins one; nothing else is under the prefix.
    #[must_use]
    pub const fn new(prefix: u8) -> Self {
        Self { prefix, row: 0, leaves: 0, ahead: Vec::new() }
    }

    /// Adds leaves.
    pub fn put(&mut self, leaves: &[StateLeaf], batch: &mut Batch) {
        self.leaves += leaves.len() as u64;
        self.ahead.extend_from_slice(leaves);
        let full = self.ahead.len() / ROW_LEAVES * ROW_LEAVES;
        let rows: Vec<StateLeaf> = self.ahead.drain(..full).collect();
        self.rows(&rows, batch);
    }

    /// With this batch the checkpoint counts.
    pub fn finish(mut self, height: Height, root: Hash, batch: &mut Batch) {
        let rest = core::mem::take(&mut self.ahead);
        self.rows(&rest, batch);
        batch.put([self.prefix], codec::encode(&Newest { place: 0, height, root, leaves: self.leaves }));
    }

    fn rows(&mut self, leaves: &[StateLeaf], batch: &mut Batch) {
        for leaves in leaves.chunks(ROW_LEAVES) {
            put_row(batch, row_key(self.prefix, 0, self.row), leaves);
            self.row += 1;
        }
    }
}

fn put_row(batch: &mut Batch, key: Vec<u8>, leaves: &[StateLeaf]) {
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| [leaf.path.0, leaf.value.0]).flatten().collect();
    batch.put(key, bytes);
}

/// The tree of the newest finished checkpoint, at its height; nothing if there is none.
///
/// # Errors
/// [`CheckpointError`].
pub fn load(store: &dyn Store, prefix: u8) -> Result<Option<StateTree>, CheckpointError> {
    const ROWS_PER_READ: usize = 64;
    let Some(Newest { place, height, root, leaves: count }) = newest(store, prefix)? else { return Ok(None) };
    let damaged = |what| CheckpointError::Damaged { height, what };
    let rows = u32::try_from(count.div_ceil(ROW_LEAVES as u64)).map_err(|_| damaged("too many leaves"))?;
    let mut leaves: Vec<StateLeaf> = Vec::new();
    let end = row_key(prefix, place, rows);
    let mut next = Some(row_key(prefix, place, 0));
    while let Some(from) = next {
        let page = store.scan(&from, Some(&end), ROWS_PER_READ)?;
        for (_, row) in &page.rows {
            let (row, []) = row.as_chunks::<LEAF_BYTES>() else { return Err(damaged("a row is cut off")) };
            leaves.extend(row.iter().map(decode));
        }
        next = page.next;
    }
    if leaves.len() as u64 != count {
        return Err(damaged("leaves are missing"));
    }
    let tree = StateTree::load(height, leaves).map_err(|_| damaged("leaves are out of order"))?;
    if tree.root() != root {
        return Err(damaged("its leaves have another root"));
    }
    Ok(Some(tree))
}

fn newest(store: &dyn Store, prefix: u8) -> Result<Option<Newest>, CheckpointError> {
    let Some(bytes) = store.get(&[prefix])? else { return Ok(None) };
    let newest = codec::decode(&bytes, 64);
    newest
        .map(Some)
        .map_err(|_| CheckpointError::Damaged { height: Height::ZERO, what: "its name is no name" })
}

fn row_key(prefix: u8, place: u8, row: u32) -> Vec<u8> {
    [&[prefix, place], row.to_be_bytes().as_slice()].concat()
}

fn decode(bytes: &[u8; LEAF_BYTES]) -> StateLeaf {
    let (path, value) = bytes.split_at(Hash::LEN);
    let hash = |half: &[u8]| Hash(half.try_into().expect("half of a leaf is a hash"));
    StateLeaf { path: hash(path), value: hash(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::MemoryStore, tree::Changes};

    const PREFIX: u8 = 9;

    fn changes(block: u64, keys: u64) -> Changes {
        let keys: Vec<_> = (0..keys).map(|key| (key * 7 + block).to_be_bytes()).collect();
        let value = block.to_be_bytes();
        Changes::of(keys.iter().map(|key| (key.as_slice(), Some(value.as_slice()))))
    }

    /// Writes a checkpoint with `rows` rows per block; blocks go on meanwhile.
    fn write(store: &MemoryStore, tree: &mut StateTree, rows: usize) -> Height {
        let mut checkpoint = Checkpoint::begin(store, PREFIX, tree).unwrap();
        loop {
            let mut batch = Batch::new();
            let done = checkpoint.step(tree, &mut batch, rows).unwrap();
            store.apply(batch).unwrap();
            if done {
                return checkpoint.height();
            }
            tree.apply(&changes(tree.height().0, 50));
        }
    }

    #[test]
    fn a_restart_from_a_checkpoint_and_the_changes_above_is_the_same_tree() {
        let store = MemoryStore::new();
        let mut tree = StateTree::empty(Height(0));
        assert!(load(&store, PREFIX).unwrap().is_none());
        for keys in [0, 256, 5_000, 300] {
            tree.apply(&changes(tree.height().0, keys));
            tree.forget_below(tree.height());
            let height = write(&store, &mut tree, 2);
            let mut loaded = load(&store, PREFIX).unwrap().unwrap();
            assert_eq!(loaded.height(), height);
            assert_eq!(loaded.root(), tree.root_at(height).unwrap());
            while loaded.height() < tree.height() {
                loaded.apply(&changes(loaded.height().0, 50));
            }
            assert_eq!(loaded.root(), tree.root());
        }
    }

    #[test]
    fn an_unfinished_checkpoint_leaves_the_finished_one_alone() {
        let store = MemoryStore::new();
        let mut tree = StateTree::empty(Height(0));
        tree.apply(&changes(0, 3_000));
        tree.forget_below(tree.height());
        let (height, root) = (write(&store, &mut tree, 100), tree.root());
        tree.apply(&changes(9, 3_000));
        tree.forget_below(tree.height());
        let mut unfinished = Checkpoint::begin(&store, PREFIX, &tree).unwrap();
        let mut batch = Batch::new();
        assert!(!unfinished.step(&tree, &mut batch, 3).unwrap());
        store.apply(batch).unwrap();
        let loaded = load(&store, PREFIX).unwrap().unwrap();
        assert_eq!((loaded.height(), loaded.root()), (height, root));
        tree.apply(&changes(10, 1));
        tree.forget_below(tree.height());
        assert!(unfinished.step(&tree, &mut Batch::new(), 3).is_err());
    }

    #[test]
    fn damage_is_refused_wherever_it_is() {
        let store = MemoryStore::new();
        let mut tree = StateTree::empty(Height(0));
        tree.apply(&changes(0, 600));
        tree.forget_below(tree.height());
        write(&store, &mut tree, 100);
        let rows = store.scan(&[PREFIX], None, 99).unwrap().rows;
        assert_eq!(rows.len(), 4);
        for (key, value) in rows {
            for at in (0..value.len()).step_by(13) {
                let mut damaged = value.clone();
                damaged[at] ^= 1;
                let mut batch = Batch::new();
                batch.put(key.clone(), damaged);
                store.apply(batch).unwrap();
                // The height stands beside the leaves: the caller holds it against the header of that height.
                let height_only = load(&store, PREFIX)
                    .is_ok_and(|tree| key == [PREFIX] && tree.unwrap().height() != Height(1));
                assert!(load(&store, PREFIX).is_err() || height_only, "row {key:?}, byte {at}");
            }
            let mut batch = Batch::new();
            batch.delete(key.clone());
            store.apply(batch).unwrap();
            assert!(key == [PREFIX] || load(&store, PREFIX).is_err());
            let mut batch = Batch::new();
            batch.put(key, value);
            store.apply(batch).unwrap();
        }
    }
}
