//! Backups: a snapshot out of a node and into one.
//!
//! ```text
//!  running: the newest snapshot of its shelf ─┐                                          ┌─▶ verified, by whoever has the genesis
//!  stopped: one of its ledger's head ─────────┴─▶ one file (`epione_ledger::snapshot`) ──┴─▶ a shelf; installed at the next start
//! ```
//!
//! A backup holds the state and what proves it, no keys and no consensus log: a validator that lost its log does not know
//! what it voted, so over a restored ledger a key that is a validator's there begins none (R25, [`crate::start::born`]). A key
//! that became a validator's only later is known by its mark alone: so the command restores nothing over a missing log unless
//! its owner says that the key is new.
//! Tested by `tests/backup.rs`.

use std::io::{Read, Write};
use std::sync::Arc;

use epione_consensus::Record;
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::Disk;
use epione_ledger::snapshot::{
    ArchiveError, ArchiveReader, Made, MakeError, Maker, Manifest, Shelf, ShelfError, write_archive,
};
use epione_types::sign::Zip215;
use epione_types::{Certificate, Genesis, Height};

use crate::log::Records;
use crate::start::{ResumeError, epochs};

/// Why there is no backup, or nothing is restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ChainError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] ResumeError),
    /// The snapshots cannot be read or written.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The backup cannot be read or written, or is not to be believed.
    #[error("the backup: {0}")]
    Archive(#[from] ArchiveError),
    /// No snapshot can be made.
    #[error("no snapshot can be made: {0}")]
    Make(MakeError),
    /// Nothing was ordered yet.
    #[error("the ledger holds no block yet: there is nothing to back up but the genesis")]
    Empty,
    /// The head is not final.
    #[error(
        "the ledger's head, height {0}, has no certificate here yet; start the node, and stop it again when \
         `epione node status` shows it certified"
    )]
    NotCertified(Height),
    /// The ledger is as far already.
    #[error(
        "the ledger is at height {head} already, the backup is of height {height}: there is nothing to restore"
    )]
    NotAhead {
        /// The ledger's.
        head: Height,
        /// The backup's.
        height: Height,
    },
}

/// Makes a snapshot of the head of a stopped node's ledger, unless the shelf has it. The ledger may have lost the head's
/// certificate with the process: the consensus log has it then.
///
/// # Errors
/// [`BackupError`].
pub fn make<D: Disk>(
    chain: &Arc<Chain>,
    log: &Records,
    shelf: &mut Shelf<D>,
) -> Result<Manifest, BackupError> {
    let head = chain.head().height;
    if head == Height::ZERO {
        return Err(BackupError::Empty);
    }
    if chain.certificate(head)?.is_none() {
        let certificate = logged(chain, log)?.ok_or(BackupError::NotCertified(head))?;
        chain.certify(&certificate)?;
    }
    let newest = |shelf: &Shelf<D>| shelf.newest(head.minus(1)).cloned();
    if let Some(manifest) = newest(shelf) {
        return Ok(manifest);
    }
    let mut maker = Maker::new(chain.begin_capture().unwrap_or(head));
    loop {
        match maker.step(chain, shelf) {
            Ok(Made::More) => {}
            Ok(Made::Waiting) => return Err(BackupError::NotCertified(head)),
            Ok(Made::Done { .. }) => return newest(shelf).ok_or(BackupError::NotCertified(head)),
            Err(error) => {
                shelf.drop_making()?;
                return Err(BackupError::Make(error));
            }
        }
    }
}

/// The head's certificate, if the log holds it and it is one.
fn logged(chain: &Arc<Chain>, log: &Records) -> Result<Option<Certificate>, BackupError> {
    let (head, set) = (chain.head(), epochs(chain)?.of.set);
    let mut certificates = log.iter().filter_map(|record| match record {
        Record::Certified(certificate) => Some(certificate),
        Record::Born { .. }
        | Record::Batch { .. }
        | Record::Accepted(_)
        | Record::Prepared(_)
        | Record::Sealed { .. }
        | Record::Asked(_)
        | Record::Entered(_)
        | Record::Epoch { .. }
        | Record::Halted(_) => None,
    });
    let is_heads = |one: &&Certificate| {
        one.height == head.height
            && one.header_hash == head.hash
            && one.epoch == set.epoch
            && one.verify(chain.chain_id(), &set, &Zip215)
    };
    Ok(certificates.find(is_heads).cloned())
}

/// Writes a snapshot of a shelf as a backup. `progress` hears how many chunks of how many are written.
///
/// # Errors
/// [`BackupError`]; what was written is not whole then.
pub fn write<D: Disk>(
    shelf: &mut Shelf<D>,
    manifest: &Manifest,
    out: &mut impl Write,
    mut progress: impl FnMut(usize, usize),
) -> Result<(), BackupError> {
    let (id, all) = (manifest.id(), manifest.chunks.len());
    let written = write_archive(out, manifest, |index| {
        progress(index as usize, all);
        shelf.read_chunk(id, index).map(|(packed, _)| packed)
    });
    Ok(written?)
}

/// Checks a backup from the genesis on, with all that is in it.
///
/// # Errors
/// [`BackupError::Archive`]: why it is not to be believed.
pub fn verify(
    input: impl Read,
    genesis: &Genesis,
    progress: impl FnMut(usize, usize),
) -> Result<Manifest, BackupError> {
    each(input, genesis, |_| Ok(()), |_, _| Ok(()), progress)
}

/// Puts a backup on the shelf of a stopped node, whose ledger is at `head`; it is installed at its next start.
///
/// # Errors
/// [`BackupError`]; nothing is to be installed then.
pub fn restore<D: Disk>(
    input: impl Read,
    genesis: &Genesis,
    (head, shelf): (Height, &mut Shelf<D>),
    progress: impl FnMut(usize, usize),
) -> Result<Manifest, BackupError> {
    let shelf = std::cell::RefCell::new(shelf);
    let begin = |manifest: &Manifest| {
        let height = manifest.header.height;
        if height <= head {
            return Err(BackupError::NotAhead { head, height });
        }
        shelf.borrow_mut().begin(manifest.clone())?;
        Ok(())
    };
    let keep = |index: u32, packed: &[u8]| {
        let kept = shelf.borrow_mut().keep(index, packed)?;
        kept.map(drop).map_err(|error| ArchiveError::Snapshot(error).into())
    };
    let restored = each(input, genesis, begin, keep, progress);
    let shelf = shelf.into_inner();
    match restored {
        Ok(manifest) => {
            shelf.install_next()?;
            Ok(manifest)
        }
        Err(error) => {
            shelf.drop_partial()?;
            Err(error)
        }
    }
}

fn each(
    input: impl Read,
    genesis: &Genesis,
    begin: impl FnOnce(&Manifest) -> Result<(), BackupError>,
    mut keep: impl FnMut(u32, &[u8]) -> Result<(), BackupError>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Manifest, BackupError> {
    let mut reader = ArchiveReader::open(input)?;
    let believed = reader.manifest().verify(genesis.chain_id(), &genesis.validators, &Zip215);
    believed.map_err(ArchiveError::Snapshot)?;
    begin(reader.manifest())?;
    let all = reader.manifest().chunks.len();
    while let Some((index, packed)) = reader.chunk()? {
        keep(index, &packed)?;
        progress(index as usize + 1, all);
    }
    Ok(reader.manifest().clone())
}
