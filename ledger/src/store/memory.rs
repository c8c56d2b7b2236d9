//! The store in memory. A clone is another handle: keep one over a simulated crash of whoever uses the other.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Batch, Page, Store, StoreError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// A key and what it held.
type Replaced = (Vec<u8>, Option<Vec<u8>>);

/// An ordered map that a simulated power cut can set back to its last [`Store::sync`].
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    rows: Rows,
    /// Batches since the last sync, as the values they replaced, oldest first.
    unsynced: Vec<Vec<Replaced>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: of the batches not synced only the first `kept(number of them)` remain, `|_| 0` loses all.
    pub fn crash(&self, kept: impl FnOnce(usize) -> usize) {
        let mut state = self.write();
        let kept = kept(state.unsynced.len());
        while state.unsynced.len() > kept {
            for (key, before) in state.unsynced.pop().into_iter().flatten().rev() {
                match before {
                    Some(value) => state.rows.insert(key, value),
                    None => state.rows.remove(&key),
                };
            }
        }
        state.unsynced.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Page::default());
        }
        let state = self.read();
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = state.rows.range::<[u8], _>((Bound::Included(from), to));
        let Ok(page) =
            Page::collect(rows.map(|(key, value)| Ok::<_, Infallible>((key.clone(), value.clone()))), limit);
        Ok(page)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let writes = batch.checked()?;
        let mut state = self.write();
        let replaced = writes
            .map(|(key, value)| {
                let before = match value {
                    Some(value) => state.rows.insert(key.clone(), value),
                    None => state.rows.remove(&key),
                };
                (key, before)
            })
            .collect();
        state.unsynced.push(replaced);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.write().unsynced.clear();
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.read().rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}
