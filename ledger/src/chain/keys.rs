//! Where things are in the store: one ordered map, a prefix byte per kind, heights big-endian.
//!
//! ```text
//! H height            header, then the log position of its block
//! C height            certificate
//! B height chunk      batch, in chunks
//! R height chunk      receipts, in chunks
//! T transaction id    height and index
//! S key               state: the value under this key
//! D height chunk      state changes of the block, for the tree; dropped once a checkpoint holds them
//! P ...               checkpoint of the tree (`tree::checkpoint`)
//! V epoch             last height of the epoch before, validators; none for epoch 0
//! E number            evidence
//! M name              metadata
//! ```

use epione_types::{Epoch, Height, TxId};

pub(crate) const HEADER: u8 = b'H';
pub(crate) const CERTIFICATE: u8 = b'C';
pub(crate) const BATCH: u8 = b'B';
pub(crate) const RECEIPTS: u8 = b'R';
pub(crate) const TX: u8 = b'T';
pub(crate) const STATE: u8 = b'S';
pub(crate) const CHANGES: u8 = b'D';
pub(crate) const CHECKPOINT: u8 = b'P';
pub(crate) const EVIDENCE: u8 = b'E';
pub(crate) const EPOCH: u8 = b'V';
/// Hash of the genesis that the store belongs to, and the layout's version.
pub(crate) const IDENTITY: &[u8] = b"Midentity";
/// Height of the highest block.
pub(crate) const TIP: &[u8] = b"Mtip";
/// Height of the snapshot that the ledger began with again; none if it has every block.
pub(crate) const BASE: &[u8] = b"Mbase";
/// Height of a snapshot that is being installed: until it is, nothing else here counts.
pub(crate) const INSTALLING: &[u8] = b"Minstalling";
/// What the log has to hold at least, while a snapshot is being installed (R26).
pub(crate) const POSITION: &[u8] = b"Mposition";
/// Height of the highest certificate.
pub(crate) const CERTIFIED: &[u8] = b"Mcertified";

pub(crate) fn at(prefix: u8, height: Height) -> Vec<u8> {
    let mut key = vec![prefix];
    key.extend(height.0.to_be_bytes());
    key
}

pub(crate) fn epoch(epoch: Epoch) -> Vec<u8> {
    at(EPOCH, Height(epoch.0))
}

/// The height in a key of [`at`] or [`chunk`].
pub(crate) fn height(key: &[u8]) -> Option<Height> {
    Some(Height(u64::from_be_bytes(*key.get(1..)?.first_chunk()?)))
}

pub(crate) fn chunk(prefix: u8, height: Height, chunk: u16) -> Vec<u8> {
    let mut key = at(prefix, height);
    key.extend(chunk.to_be_bytes());
    key
}

pub(crate) fn tx(id: TxId) -> Vec<u8> {
    let mut key = vec![TX];
    key.extend(id.0);
    key
}

pub(crate) fn state(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(STATE);
    full.extend_from_slice(key);
    full
}
