//! A snapshot in one file: a backup, to be kept elsewhere.
//!
//! ```text
//! "EPIONEBK" │ length of the manifest, 4 bytes │ manifest │ chunk 0: number, length, bytes │ chunk 1 │ …      little endian
//! ```
//!
//! Written and read from the first byte to the last, so that it can be piped. Everything in it is checked as it is read,
//! against the genesis alone: who keeps it need not be trusted. Tested in `tests.rs`.

use std::io::{self, Read, Write};

use super::format::{MANIFEST_BYTES_MAX, Manifest, PACKED_BYTES_MAX, SnapshotError, unpack};
use super::shelf::{ShelfError, record, record_head};

/// How a file with a snapshot begins.
pub const ARCHIVE_MAGIC: [u8; 8] = *b"EPIONEBK";

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it does not begin with {}: it is no backup", ARCHIVE_MAGIC.escape_ascii())]
    NoArchive,
    /// Its length of the manifest is beyond all bounds.
    #[error("its manifest has {found} bytes, the longest has {MANIFEST_BYTES_MAX}")]
    ManifestLength {
        /// What it says.
        found: u32,
    },
    /// What it holds is not to be believed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The chunks are not in order.
    #[error("chunk {expected} is expected, chunk {found} comes")]
    Order {
        /// Next in order.
        expected: u32,
        /// In the file.
        found: u32,
    },
    /// Something follows the last chunk.
    #[error("bytes follow its last chunk")]
    Trailing,
    /// It ends in the midst of something.
    #[error("it ends before its last chunk: it is not whole")]
    Truncated,
    /// Where the chunks come from.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Writes a snapshot; `chunk` gives its packed chunks.
///
/// # Errors
/// [`ArchiveError`]; what is written then is not whole.
pub fn write_archive(
    out: &mut impl Write,
    manifest: &Manifest,
    mut chunk: impl FnMut(u32) -> Result<Vec<u8>, ShelfError>,
) -> Result<(), ArchiveError> {
    let encoded = manifest.encode();
    let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
    out.write_all(&ARCHIVE_MAGIC)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&encoded)?;
    for index in (0..).take(manifest.chunks.len()) {
        out.write_all(&record(index, &chunk(index)?))?;
    }
    out.flush()?;
    Ok(())
}

/// A backup that is being read.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    input: R,
    manifest: Manifest,
    next: u32,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the manifest, which is not believed yet: [`Manifest::verify`].
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(mut input: R) -> Result<Self, ArchiveError> {
        if upto(&mut input, ARCHIVE_MAGIC.len())? != ARCHIVE_MAGIC {
            return Err(ArchiveError::NoArchive);
        }
        let length = take(&mut input, 4)?;
        let found = length.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if found as usize > MANIFEST_BYTES_MAX {
            return Err(ArchiveError::ManifestLength { found });
        }
        let manifest = Manifest::decode(&take(&mut input, found as usize)?)?;
        Ok(Self { input, manifest, next: 0 })
    }

    /// What it says it is.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next chunk, packed and checked against the manifest; none after the last, and nothing else is there then.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn chunk(&mut self) -> Result<Option<(u32, Vec<u8>)>, ArchiveError> {
        let index = self.next;
        let Some(chunk) = self.manifest.chunks.get(index as usize) else {
            let mut more = [0];
            return if self.input.read(&mut more)? == 0 { Ok(None) } else { Err(ArchiveError::Trailing) };
        };
        let (found, length) = record_head(&take(&mut self.input, 8)?).ok_or(ArchiveError::Truncated)?;
        if found != index {
            return Err(ArchiveError::Order { expected: index, found });
        }
        if length > PACKED_BYTES_MAX {
            return Err(SnapshotError::Chunk { index, what: "is longer than a chunk may be" }.into());
        }
        let packed = take(&mut self.input, length)?;
        unpack(chunk, index, &packed)?;
        self.next += 1;
        Ok(Some((index, packed)))
    }
}

fn take(input: &mut impl Read, length: usize) -> Result<Vec<u8>, ArchiveError> {
    let bytes = upto(input, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(ArchiveError::Truncated) }
}

/// Memory grows with the bytes that are there, not with those that are promised.
fn upto(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
