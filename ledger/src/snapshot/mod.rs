//! Snapshots: the state of a certified height, in chunks that each verify against its state root.
//!
//! ```text
//! genesis ── turns ── certificate ── header ── state root
//!                                                 │ folds from
//!                   chunk 0 │ chunk 1 │ chunk 2 │ … │ chunk n      one hash for each subtree, in order of path
//!                      ▲         ▲
//!                   entries   entries, in order of path, compressed
//! ```
//!
//! A chunk holds all keys whose path begins with some bits: a subtree of the state tree. The manifest lists the subtrees'
//! hashes, which fold to the header's state root, so it is believed for the certificate's sake alone; and each chunk is
//! believed for its hash's, whoever sent it. Which subtrees there are follows from the state, so all nodes make the same
//! chunks of one height, and each may come from another node.
//!
//! * [`Maker`] reads a captured state ([`crate::chain::Captured`]) in steps, while blocks go on coming in.
//! * [`Shelf`] keeps snapshots in files: made ones, and one that is being fetched and goes on after a restart.
//! * [`install`] puts one in the place of a store's state, all or nothing.
//! * [`write_archive`] and [`ArchiveReader`] make one file of one: a backup.
//!
//! Tested in `tests.rs`: no entry can be changed, left out, added
//! or moved, and none that was captured differs from what a ledger held that stood still.

mod archive;
mod format;
mod install;
mod make;
mod shelf;
#[cfg(test)]
mod tests;

pub use archive::{ARCHIVE_MAGIC, ArchiveError, ArchiveReader, write_archive};
pub use format::{
    CHUNK_BYTES, CHUNKS_MAX, Chunk, Entry, MANIFEST_BYTES_MAX, Manifest, PACKED_BYTES_MAX, SNAPSHOT_VERSION,
    SnapshotError, SnapshotId, Unpacked, unpack,
};
pub use install::{InstallError, fill, install};
pub use make::{Made, MakeError, Maker};
pub use shelf::{Fetched, KEPT, Shelf, ShelfError};
