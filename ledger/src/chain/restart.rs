//! What a restart reads: the newest checkpoint of the state tree, and the changes of the blocks above it.
//!
//! ```text
//!        finished                 oldest            certified   head
//! ───────────┼──────────────────────┼─────────── … ─────┼─────────┤
//!  checkpoint  changes, read merged   changes, one version each
//! ```
//!
//! A new checkpoint begins when the changes stored since the last one began are larger than that one was: so all
//! checkpoints together write no more than twice what the changes did, and a restart reads a few times the state at
//! most. It is written with the blocks, some rows each, and so are the changes dropped that it made superfluous.
//! Whatever comes with a block is in the block's own batch, in which order does the rest: the row that names a
//! checkpoint comes with its last rows, and what it replaces is dropped later. So the store opens wherever a crash
//! leaves it. Tested in `restart/tests.rs` by opening a copy of the store after every block; under SIGKILL by `tests/kill.rs`.

#[cfg(test)]
mod tests;

use std::mem;
use std::ops::RangeInclusive;

use epione_types::Height;

use super::{Chain, ChainError, keys};
use crate::store::{Batch, Store};
use crate::tree::checkpoint::{self, Checkpoint, CheckpointError};
use crate::tree::{Changes, StateTree};

/// Changes merged at a time when loading, in keys: bounds the memory that takes, at 65 bytes each.
const MERGED_KEYS: usize = 1 << 20;

/// When checkpoints begin and how fast they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Changes below this never ask for one, in bytes: they are read in no time.
    pub(super) changes_bytes_min: u64,
    /// Rows of a checkpoint with one block, at least; of 16 KiB each.
    pub(super) rows_min: usize,
    /// Blocks that one takes at most: its version is remembered as long.
    pub(super) blocks_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { changes_bytes_min: 256 << 10, rows_min: 4, blocks_max: 256 }
    }
}

/// The tree, and what is done for the next restart.
pub(super) struct Kept {
    pub(super) tree: StateTree,
    pace: Pace,
    /// Height of the newest finished checkpoint; genesis if there is none.
    finished: Height,
    /// Its size.
    finished_bytes: u64,
    /// The next one.
    writing: Option<Checkpoint>,
    /// Bytes of changes since the last one began.
    changed_bytes: u64,
    /// Where changes that nobody will read may still be.
    stale: Option<Vec<u8>>,
}

impl Kept {
    /// As long as nothing was loaded.
    pub(super) fn empty(pace: Pace) -> Self {
        Self {
            tree: StateTree::empty(Height::ZERO),
            pace,
            finished: Height::ZERO,
            finished_bytes: 0,
            writing: None,
            changed_bytes: 0,
            stale: Some(keys::at(keys::CHANGES, Height::ZERO)),
        }
    }

    /// Up to this height changes are dropped.
    pub(super) const fn finished(&self) -> Height {
        self.finished
    }

    /// Adds to the batch of the tree's newest block, whose changes took `changes_bytes`, what a restart will need
    /// after it. Versions below `oldest` are forgotten, unless a checkpoint is being made of one.
    ///
    /// # Errors
    /// The store failed. The batch must not be applied then.
    pub(super) fn add_to(
        &mut self,
        batch: &mut Batch,
        store: &dyn Store,
        oldest: Height,
        changes_bytes: usize,
    ) -> Result<(), ChainError> {
        self.changed_bytes += changes_bytes as u64;
        self.drop_stale(batch, store, changes_bytes)?;
        let held = self.writing.as_ref().map_or(oldest, |writing| writing.height().min(oldest));
        self.tree.forget_below(held);
        let enough = self.changed_bytes >= self.finished_bytes.max(self.pace.changes_bytes_min);
        if self.writing.is_none() && enough && self.tree.oldest() > self.finished {
            self.writing = Some(Checkpoint::begin(store, keys::CHECKPOINT, &self.tree)?);
            self.changed_bytes = 0;
        }
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let rows = self.tree.size().leaves / checkpoint::ROW_LEAVES / self.pace.blocks_max + 1;
        let done = writing.step(&self.tree, batch, rows.max(self.pace.rows_min));
        if done.expect("the version of an unfinished checkpoint is not forgotten") {
            (self.finished, self.finished_bytes) = (writing.height(), writing.bytes());
            self.writing = None;
            self.stale = Some(keys::at(keys::CHANGES, Height::ZERO));
        }
        Ok(())
    }

    /// Removes some rows of changes up to the finished checkpoint: twice as many as the block brings new ones, so that
    /// they do not pile up.
    fn drop_stale(
        &mut self,
        batch: &mut Batch,
        store: &dyn Store,
        changes_bytes: usize,
    ) -> Result<(), ChainError> {
        let Some(from) = self.stale.take() else { return Ok(()) };
        let end = keys::at(keys::CHANGES, self.finished.next());
        let rows = 2 * changes_bytes.div_ceil(super::CHUNK) + 4;
        // Genesis is kept until a checkpoint is there, which is above it.
        if self.finished > Height::ZERO {
            let page = store.scan(&from, Some(&end), rows)?;
            page.rows.into_iter().for_each(|(key, _)| batch.delete(key));
            self.stale = page.next;
        }
        Ok(())
    }
}

impl Chain {
    /// The tree as of `tip`, with its versions from `oldest` on.
    pub(super) fn load_tree(&self, pace: Pace, oldest: Height, tip: Height) -> Result<Kept, ChainError> {
        let mut kept = Kept::empty(pace);
        let mut from = Height::ZERO;
        if let Some(tree) = checkpoint::load(&self.store, keys::CHECKPOINT)? {
            let height = tree.height();
            let header = self.header(height)?;
            if header.is_none_or(|header| header.state_root != tree.root()) {
                let why = "it has another root than the header".to_owned();
                return Err(ChainError::Damaged { what: "state checkpoint", height, why });
            }
            (kept.finished, kept.finished_bytes) = (height, checkpoint::bytes(tree.size().leaves as u64));
            (kept.tree, from) = (tree, height.next());
        }
        // What checkpoints are made of was remembered once, and what is remembered only moves up.
        let oldest = oldest.max(kept.tree.height());
        let (mut blocks, mut count) = (Vec::new(), 0);
        let mut bytes = self.each_changes(from..=oldest, |height, changes| {
            count += changes.as_slice().len();
            blocks.push(changes);
            if count >= MERGED_KEYS {
                kept.tree.jump(height, &Changes::merged(mem::take(&mut blocks)));
                count = 0;
            }
        })?;
        kept.tree.jump(oldest, &Changes::merged(blocks));
        let tree = &mut kept.tree;
        let fill = |tree: &mut StateTree, below: Height| {
            while tree.height().next() < below {
                tree.apply(&Changes::default());
            }
        };
        bytes += self.each_changes(oldest.next()..=tip, |height, changes| {
            fill(tree, height);
            tree.apply(&changes);
        })?;
        fill(tree, tip.next());
        kept.changed_bytes = bytes;
        Ok(kept)
    }

    /// The changes of these blocks in order, without the blocks that change nothing. Returns how many bytes they take.
    fn each_changes(
        &self,
        heights: RangeInclusive<Height>,
        mut each: impl FnMut(Height, Changes),
    ) -> Result<u64, ChainError> {
        const ROWS: usize = 256;
        let end = keys::at(keys::CHANGES, heights.end().next());
        let mut next = Some(keys::at(keys::CHANGES, *heights.start()));
        let (mut height, mut bytes, mut total) = (Height::ZERO, Vec::new(), 0);
        let mut give = |height, bytes: &[u8]| -> Result<(), ChainError> {
            if bytes.is_empty() {
                return Ok(());
            }
            total += bytes.len() as u64;
            let damaged = |why| ChainError::Damaged { what: "state changes", height, why };
            each(height, Changes::decode(bytes).map_err(|error| damaged(error.to_string()))?);
            Ok(())
        };
        while let Some(from) = next {
            let page = self.store.scan(&from, Some(&end), ROWS)?;
            for (key, row) in page.rows {
                let at = keys::height(&key).unwrap_or_default();
                if at != height {
                    give(height, &mem::take(&mut bytes))?;
                    height = at;
                }
                bytes.extend(row);
            }
            next = page.next;
        }
        give(height, &bytes)?;
        Ok(total)
    }
}

impl From<CheckpointError> for ChainError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Store(error) => Self::Store(error),
            CheckpointError::Damaged { height, what } => {
                Self::Damaged { what: "state checkpoint", height, why: what.to_owned() }
            }
        }
    }
}
