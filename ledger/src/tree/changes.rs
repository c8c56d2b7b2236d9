//! All writes of one block, as the tree sees them: sorted by path, one per key, hashed once.

use epione_types::Hash;

use crate::state_proof::{self, StateLeaf};

/// What one block does to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Path of the key.
    pub path: Hash,
    /// Hash of its new value; `None` deletes the key.
    pub value: Option<Hash>,
}

impl Change {
    /// The leaf that the change leaves behind.
    pub(super) fn leaf(&self) -> Option<StateLeaf> {
        self.value.map(|value| StateLeaf { path: self.path, value })
    }
}

/// The writes of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

/// Bytes of a block's changes that are not its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged record of state changes at byte {at}")]
pub struct ChangesError {
    /// Where, counted in bytes.
    pub at: usize,
}

impl Changes {
    /// Hashes the writes of a block: a value, or `None` to delete. Of several writes of one key the last counts.
    pub fn of<'a>(writes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let changes = writes.into_iter().map(|(key, value)| Change {
            path: state_proof::path(key),
            value: value.map(state_proof::value_hash),
        });
        Self::sorted(changes.collect())
    }

    /// The changes of several blocks in a row as those of one, sorted once.
    pub fn merged(blocks: impl IntoIterator<Item = Self>) -> Self {
        Self::sorted(blocks.into_iter().flat_map(|block| block.0).collect())
    }

    /// These changes, then `later` ones, as one. For many blocks see [`Self::merged`].
    #[must_use]
    pub fn then(self, later: &Self) -> Self {
        Self::merged([self, later.clone()])
    }

    pub(super) fn sorted(mut changes: Vec<Change>) -> Self {
        // The sort is stable: of equal paths the last written stands last, and is the one that is kept.
        changes.sort_by_key(|change| change.path);
        changes.dedup_by(|later, kept| {
            let same = later.path == kept.path;
            if same {
                *kept = *later;
            }
            same
        });
        Self(changes)
    }

    /// In order of path, no path twice.
    #[must_use]
    pub fn as_slice(&self) -> &[Change] {
        &self.0
    }

    /// For the store, 33 or 65 bytes per key: path, then 0 for deleted or 1 and the value hash.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * (2 * Hash::LEN + 1));
        for change in &self.0 {
            bytes.extend_from_slice(&change.path.0);
            bytes.push(u8::from(change.value.is_some()));
            bytes.extend(change.value.iter().flat_map(|value| value.0));
        }
        bytes
    }

    /// Inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`ChangesError`] on anything that `encode` does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangesError> {
        let mut changes: Vec<Change> = Vec::with_capacity(bytes.len() / (2 * Hash::LEN + 1));
        let mut rest = bytes;
        while !rest.is_empty() {
            let damaged = ChangesError { at: bytes.len() - rest.len() };
            let path = take_hash(&mut rest).ok_or(damaged)?;
            let (kind, after) = rest.split_first().ok_or(damaged)?;
            rest = after;
            let value = match kind {
                0 => None,
                1 => Some(take_hash(&mut rest).ok_or(damaged)?),
                _ => return Err(damaged),
            };
            if changes.last().is_some_and(|last| last.path >= path) {
                return Err(damaged);
            }
            changes.push(Change { path, value });
        }
        Ok(Self(changes))
    }
}

fn take_hash(bytes: &mut &[u8]) -> Option<Hash> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(Hash(*head))
}
