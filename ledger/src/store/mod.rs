//! Keys and values that survive: one ordered key space, one atomic batch for a block, or for small ones that wait ([`Gathered`]).
//!
//! A port with two sides: [`SledStore`] for validators, [`MemoryStore`] for tests and the simulator, which go
//! through the same block writer. Reading blocks writing for a page or two at most. Durability is a step of its own: an applied batch is
//! atomic and visible at once, and safe from a power cut after [`Store::sync`]; until then the log can repeat it.
//!
//! Both sides are held to one model in `tests.rs`.

mod gathered;
mod memory;
mod sled;
#[cfg(test)]
mod tests;

use std::io;

pub use self::{gathered::Gathered, memory::MemoryStore, sled::SledStore};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// Longest value, in bytes. sled keeps items near 128 KiB in files that it never syncs, so values stay far below;
/// what is longer is stored in pieces.
pub const VALUE_BYTES_MAX: usize = 20 * 1024;

/// A page ends after the row that reaches this, in bytes, whatever number of rows was asked for.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed. Reads may go on; nothing more can be written until the store is opened again.
    #[error("block store: {doing} failed: {source}; free or replace the disk, then restart")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The files are not a store any more. The blocks are elsewhere: in the log, at the peers, in a backup.
    #[error(
        "block store: {doing} found damage: {what}; restore a backup, or remove the store to rebuild it from the log and peers"
    )]
    Damaged {
        /// What was tried.
        doing: &'static str,
        /// What was found.
        what: String,
    },
    /// A key or value that does not fit. Nothing of its batch was written.
    #[error("block store: a {part} of {bytes} bytes, at most {max} fit")]
    TooLong {
        /// "key" or "value".
        part: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Writes that happen together or not at all. Of several to one key the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    /// Nothing to write yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push((key.into(), Some(value.into())));
    }

    /// Removes a key; one that is not there is no error.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.0.push((key.into(), None));
    }

    /// The writes in the order given; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The writes in the order given, if all of them fit.
    fn checked(self) -> Result<impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>, StoreError> {
        for (key, value) in &self.0 {
            let fits = |part, bytes, max| {
                if bytes > max { Err(StoreError::TooLong { part, bytes, max }) } else { Ok(()) }
            };
            fits("key", key.len(), KEY_BYTES_MAX)?;
            fits("value", value.as_ref().map_or(0, Vec::len), VALUE_BYTES_MAX)?;
        }
        Ok(self.0.into_iter())
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Some rows of a range, in order of key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the next page starts; `None` when the range is through.
    pub next: Option<Vec<u8>>,
}

impl Page {
    /// Takes rows until the limits of a page; one row more tells where the next page starts.
    fn collect<E>(rows: impl Iterator<Item = Result<Row, E>>, limit: usize) -> Result<Self, E> {
        let (mut page, mut bytes) = (Self::default(), 0);
        for row in rows {
            let (key, value) = row?;
            if page.rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
                page.next = Some(key);
                break;
            }
            bytes += key.len() + value.len();
            page.rows.push((key, value));
        }
        Ok(page)
    }
}

/// An ordered map of bytes on something that lasts. See the module for what lasts when.
pub trait Store: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Disk`], [`StoreError::Damaged`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` rows with `from <= key < to`, in order; without `to` up to the last key. Fewer if the page is
    /// full ([`PAGE_BYTES_MAX`]). Rows written meanwhile may or may not be seen.
    ///
    /// # Errors
    /// [`StoreError::Disk`], [`StoreError::Damaged`].
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError>;

    /// Writes a batch: all of it, or after an error or a crash nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn apply(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns when all batches applied so far survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: then nothing since the last success may be counted on.
    fn sync(&self) -> Result<(), StoreError>;

    /// Bytes that the store takes where it is kept.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    fn size_bytes(&self) -> Result<u64, StoreError>;
}

/// The first key above all keys with this prefix; `None` if there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let (last, head) = prefix.split_last()?;
    last.checked_add(1).map_or_else(|| prefix_end(head), |last| Some([head, &[last]].concat()))
}
