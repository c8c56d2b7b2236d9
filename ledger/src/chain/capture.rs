//! The state of one height, read page by page while blocks go on coming in.
//!
//! The store holds the newest state only. From the moment a capture begins, the writer saves what a block is about to
//! overwrite, if no page has read it yet, and of a key that is new its path; a page puts that in the place of what it finds. So the writer is never stopped
//! for longer than a page takes, and nothing is copied that does not change. Tested by `snapshot/tests.rs`.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::PoisonError;

use epione_types::{Hash, Height};

use super::{Chain, ChainError, StateWrites, keys};
use crate::state_proof;
use crate::store::{Row, Store, StoreError, prefix_end};
use crate::tree::StateTree;

/// Most that a capture remembers of what was overwritten, in bytes; beyond it is given up.
const SAVED_BYTES_MAX: usize = 256 << 20;
/// What it takes to remember a new key.
const NEW_BYTES: usize = 40;
/// Rows of a page: blocks wait for it.
const PAGE_ROWS: usize = 256;

/// A capture under way.
#[derive(Debug)]
pub(super) struct Capture {
    height: Height,
    /// The first key that no page has read; none when all are read.
    next: Option<Vec<u8>>,
    /// What unread keys held at the height, of those that have changed since.
    saved: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Paths of unread keys that stood nowhere at the height: most of what blocks write.
    new: HashSet<Hash>,
    bytes: usize,
}

/// Some of the state of a captured height.
#[derive(Debug, PartialEq, Eq)]
pub enum Captured {
    /// These entries come next, in order of key.
    Rows(Vec<Row>),
    /// That was all. The capture is over.
    All,
    /// There is no capture: it took too long, or never began.
    Lost,
}

impl Capture {
    fn new(height: Height) -> Self {
        Self { height, next: Some(Vec::new()), saved: BTreeMap::new(), new: HashSet::new(), bytes: 0 }
    }

    /// Saves what these writes, which `tree` has already, are about to replace. False if that is too much.
    fn save(
        &mut self,
        store: &dyn Store,
        writes: &StateWrites,
        tree: &StateTree,
    ) -> Result<bool, StoreError> {
        let Some(next) = &self.next else { return Ok(true) };
        let unread = (Bound::Included(next.as_slice()), Bound::Unbounded);
        for (key, value) in writes.range::<[u8], _>(unread) {
            let path = state_proof::path(key);
            if self.saved.contains_key(key) {
                continue; // it was removed or overwritten before
            }
            if tree.stood(&path) {
                if !self.new.contains(&path) {
                    let held = store.get(&keys::state(key))?;
                    self.bytes += key.len() + held.as_ref().map_or(0, Vec::len);
                    self.saved.insert(key.clone(), held);
                }
            } else if value.is_some() && self.new.insert(path) {
                self.bytes += NEW_BYTES;
            }
        }
        Ok(self.bytes <= SAVED_BYTES_MAX)
    }

    /// The next entries as of the height, while no block comes in.
    fn page(&mut self, store: &dyn Store) -> Result<Captured, StoreError> {
        let Some(from) = self.next.take() else { return Ok(Captured::All) };
        let page = store.scan(&keys::state(&from), prefix_end(&[keys::STATE]).as_deref(), PAGE_ROWS)?;
        let plain = |key: Vec<u8>| key.get(1..).unwrap_or_default().to_vec();
        self.next = page.next.map(plain);
        let later = self.next.as_ref().map(|next| self.saved.split_off(next)).unwrap_or_default();
        let saved = std::mem::replace(&mut self.saved, later);
        self.bytes = self.bytes.saturating_sub(
            saved.iter().map(|(key, held)| key.len() + held.as_ref().map_or(0, Vec::len)).sum(),
        );
        let (new, mut gone) = (&mut self.new, 0);
        let stood = |(key, _): &Row| {
            let is_new = !new.is_empty() && new.remove(&state_proof::path(key));
            gone += usize::from(is_new);
            !is_new
        };
        let found: Vec<Row> =
            page.rows.into_iter().map(|(key, value)| (plain(key), value)).filter(stood).collect();
        self.bytes = self.bytes.saturating_sub(gone * NEW_BYTES);
        if saved.is_empty() {
            return Ok(Captured::Rows(found)); // what is hot changes often, and is little
        }
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = found.into_iter().collect();
        for (key, held) in saved {
            match held {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(Captured::Rows(rows.into_iter().collect()))
    }
}

impl Chain {
    /// Begins to capture the state at the head; which height that is. None if a capture is under way.
    pub fn begin_capture(&self) -> Option<Height> {
        // No block comes in meanwhile: the head is the state's.
        let _kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if capture.is_some() {
            return None;
        }
        let height = self.head().height;
        *capture = Some(Capture::new(height));
        Some(height)
    }

    /// The next entries of the captured state of `height`; page after page until [`Captured::All`].
    ///
    /// # Errors
    /// The store failed. The capture is over.
    pub fn captured(&self, height: Height) -> Result<Captured, ChainError> {
        let _kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(under_way) = capture.as_mut().filter(|one| one.height == height) else {
            return Ok(Captured::Lost);
        };
        let page = under_way.page(&self.store);
        if !matches!(page, Ok(Captured::Rows(_))) {
            *capture = None;
        }
        Ok(page?)
    }

    /// Is so much remembered of what was overwritten that the rest had better be read soon?
    #[must_use]
    pub fn is_capture_large(&self) -> bool {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        capture.as_ref().is_some_and(|one| one.bytes > SAVED_BYTES_MAX / 4)
    }

    /// Gives up the capture of this height, if there is one. Another one may have begun since its state was read.
    pub fn drop_capture(&self, height: Height) {
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        *capture = capture.take().filter(|one| one.height != height);
    }

    /// Before a block's writes are applied.
    pub(super) fn save_captured(&self, writes: &StateWrites, tree: &StateTree) -> Result<(), ChainError> {
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = capture.as_mut()
            && !under_way.save(&self.store, writes, tree)?
        {
            *capture = None;
        }
        Ok(())
    }
}
