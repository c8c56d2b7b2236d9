//! Batches that go in together: one write for many small blocks, each of which is seen at once.
//!
//! A batch of sled's has a price of its own, whatever is in it, that a small block is not worth. While gathering, batches
//! wait in memory, in front of what the store holds; settled they are one batch, so of what was gathered all remains
//! or nothing (decision 5). Held to the stores' model in `tests.rs`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Batch, PAGE_BYTES_MAX, Page, Store, StoreError};

/// A store in front of another one.
pub struct Gathered {
    store: Arc<dyn Store>,
    waiting: RwLock<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    gathering: bool,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl core::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gathered").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl Gathered {
    /// In front of `store`. It does not gather yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, waiting: RwLock::default() }
    }

    /// What is applied from now on waits for [`Gathered::settle`].
    pub fn gather(&self) {
        self.write().gathering = true;
    }

    /// Rows that wait.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.read().rows.len()
    }

    /// Applies what waits, as one batch, and gathers no more.
    ///
    /// # Errors
    /// [`StoreError`]. It goes on waiting, and is seen.
    pub fn settle(&self) -> Result<(), StoreError> {
        let mut waiting = self.write();
        waiting.gathering = false;
        self.apply_waiting(&mut waiting)
    }

    /// Nobody reads meanwhile: a row is either here or there.
    fn apply_waiting(&self, waiting: &mut Waiting) -> Result<(), StoreError> {
        if !waiting.rows.is_empty() {
            self.store.apply(Batch(waiting.rows.clone().into_iter().collect()))?;
            waiting.rows.clear();
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Gathered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.read().rows.get(key) {
            return Ok(value.clone());
        }
        self.store.get(key)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        let end = |to: Option<&'_ [u8]>| to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.to_vec()));
        let waiting = self.read();
        let is_empty = to.is_some_and(|to| to <= from);
        let range = || waiting.rows.range((Bound::Included(from.to_vec()), end(to)));
        if is_empty || range().next().is_none() {
            drop(waiting);
            return self.store.scan(from, to, limit);
        }
        // One more row tells where the next page starts; one that is removed takes a place in what the store gives.
        let removed = range().filter(|(_, value)| value.is_none()).count();
        let rows_asked = limit.saturating_add(1).saturating_add(removed);
        let (mut rows, mut bytes, mut next) = (BTreeMap::new(), 0, Some(from.to_vec()));
        while rows.len() <= limit
            && bytes < PAGE_BYTES_MAX
            && let Some(start) = next.take()
        {
            let page = self.store.scan(&start, to, rows_asked)?;
            rows.extend(page.rows);
            for (key, value) in waiting.rows.range((Bound::Included(start), end(page.next.as_deref().or(to))))
            {
                match value {
                    Some(value) => rows.insert(key.clone(), value.clone()),
                    None => rows.remove(key),
                };
            }
            bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            next = page.next;
        }
        let Ok(mut page) = Page::collect(rows.into_iter().map(Ok::<_, Infallible>), limit);
        page.next = page.next.or(next);
        Ok(page)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut waiting = self.write();
        if waiting.gathering {
            waiting.rows.extend(batch.checked()?);
            return Ok(());
        }
        self.apply_waiting(&mut waiting)?;
        self.store.apply(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.apply_waiting(&mut self.write())?;
        self.store.sync()
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.store.size_bytes()
    }
}
