//! The durable pool (R24): clients' transactions that were accepted and are not delivered yet survive a crash.
//!
//! A write-ahead log of its own, synced once for all transactions that were checked together. After a restart what it
//! holds goes through the door again; what has a receipt by then is recognised there. A disk that fails costs
//! durability, which the answer to the client then says, and nothing else. A record that does not decode (another version's)
//! is left out, counted, and said in the log: its client still has the transaction. Tested below; the records' bytes are
//! pinned in `tests/golden`.

use epione_ledger::disk::Disk;
use epione_ledger::wal::{Wal, WalConfig, WalError};
use epione_types::SignedTx;
use epione_types::codec::{self, CodecError};
use epione_types::id::OrgId;
use epione_types::tx::MAX_TX_BYTES;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::mempool::Client;
use crate::validate::Checked;

/// Sizes of the log.
const CONFIG: WalConfig = WalConfig { segment_bytes: 16 << 20, append_bytes_max: 128 << 20 };

/// Records of one append, in bytes: compaction is written in pieces.
const PIECE_BYTES: usize = 8 << 20;

/// Version of [`Record`].
pub const RECORD_VERSION: u16 = 2;
/// Longest record, in bytes: version, client, transaction.
pub const RECORD_BYTES_MAX: usize = 2 + 4 + OrgId::LEN + MAX_TX_BYTES;

/// The durable pool cannot be opened. No vote depends on it: the voting key stays good whatever has become of it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were acknowledged as durable are not what was written.
    #[error(
        "{cause}. Transactions that were accepted here and stand in no block yet may be lost; votes and the voting key are \
         not concerned. Restore the file if its disk has a good copy; else move the folder away and start the node, and let \
         whoever has no receipt submit again"
    )]
    Damaged {
        /// Which file, and what is wrong with it.
        cause: String,
    },
    /// The disk, or another version's file.
    #[error(transparent)]
    Log(WalError),
}

impl From<WalError> for OpenError {
    /// The log's own words for damage are about votes.
    fn from(error: WalError) -> Self {
        match error {
            WalError::Damaged { file, offset, what } => {
                Self::Damaged { cause: format!("file {file} is damaged at byte {offset}: {what}") }
            }
            gap @ WalError::Gap { .. } => Self::Damaged { cause: gap.to_string() },
            other @ (WalError::Disk { .. }
            | WalError::Stopped
            | WalError::Version { .. }
            | WalError::TooLong { .. }) => Self::Log(other),
        }
    }
}

/// An accepted transaction, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u16,
    /// In whose share it is counted.
    pub client: Client,
    /// It.
    pub tx: SignedTx,
}

impl Record {
    /// Of this version.
    #[must_use]
    pub const fn new(client: Client, tx: SignedTx) -> Self {
        Self { version: RECORD_VERSION, client, tx }
    }

    /// As stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the log.
    ///
    /// # Errors
    /// Damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let record: Self = codec::decode(bytes, RECORD_BYTES_MAX)?;
        if record.version == RECORD_VERSION {
            Ok(record)
        } else {
            Err(CodecError::Malformed(format!("version {}", record.version)))
        }
    }
}

/// The log.
#[derive(Debug)]
pub struct PoolLog<D> {
    wal: Wal<D>,
    failing: bool,
    /// Where the last write that failed would have gone.
    failed_at: Option<u64>,
    unreadable: usize,
}

impl<D: Disk> PoolLog<D> {
    /// Opens the log of a directory, or begins one; gives what it holds, in order of acceptance.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: D) -> Result<(Self, Vec<(Client, SignedTx)>), OpenError> {
        Self::open_with(disk, CONFIG)
    }

    /// The same, with files of another size.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(disk: D, config: WalConfig) -> Result<(Self, Vec<(Client, SignedTx)>), OpenError> {
        let (mut held, mut unreadable) = (Vec::new(), 0);
        let wal = Wal::open(disk, config, |_, bytes| match Record::decode(bytes) {
            Ok(record) => held.push((record.client, record.tx)),
            Err(_) => unreadable += 1,
        })?;
        if unreadable > 0 {
            warn!(
                unreadable,
                read = held.len(),
                "records of the durable mempool do not decode and are left out"
            );
        }
        Ok((Self { wal, failing: false, failed_at: None, unreadable }, held))
    }

    /// Records that did not decode when the log was opened.
    #[must_use]
    pub const fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Makes these durable. False if that failed.
    pub fn append<'a>(&mut self, txs: impl Iterator<Item = (Client, &'a Checked)>) -> bool {
        let records: Vec<Vec<u8>> =
            txs.map(|(client, tx)| Record::new(client, tx.signed.clone()).encode()).collect();
        self.write(&records)
    }

    fn write(&mut self, records: &[Vec<u8>]) -> bool {
        let at = self.wal.next_index();
        let written = self.wal.repair().and_then(|()| self.wal.append_and_sync(records));
        match written {
            Ok(_) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    warn!(%error, "accepted transactions are not durable here until this is repaired");
                }
                (self.failing, self.failed_at) = (true, Some(at));
            }
        }
        !self.failing
    }

    /// Index that the next record gets.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.wal.next_index()
    }

    /// Writes what is still needed anew and drops what stands before `from`, whole files of it. What was appended since `live`
    /// was gathered is not in it, and stays.
    pub fn compact(&mut self, live: &[(Client, SignedTx)], from: u64) {
        let mut piece = Vec::new();
        let mut bytes = 0;
        for (client, tx) in live {
            let record = Record::new(*client, tx.clone()).encode();
            bytes += record.len();
            piece.push(record);
            if bytes >= PIECE_BYTES {
                self.write(&core::mem::take(&mut piece));
                bytes = 0;
            }
        }
        self.write(&piece);
        // What could not be written since then is in neither: the files before may hold it.
        let complete = self.failed_at.is_none_or(|at| at < from);
        if complete && let Err(error) = self.wal.trim_below(from) {
            warn!(%error, "old files of the pool stay");
        }
    }

    /// Gives the disk back.
    pub fn close(self) -> D {
        self.wal.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::tests::{checked, key};
    use epione_ledger::disk::MemoryDisk;

    #[test]
    fn what_was_accepted_comes_back_and_a_full_disk_is_no_lie() {
        let client = Client::Organisation(OrgId([1; 16]));
        let txs: Vec<Checked> = (0..3).map(|i| checked(&key(1), i, 50)).collect();
        let disk = MemoryDisk::new();
        let (mut log, held) = PoolLog::open(disk.clone()).unwrap();
        assert!(held.is_empty());
        assert!(log.append(txs[..2].iter().map(|tx| (client, tx))));
        disk.fail_after(0);
        assert!(!log.append(txs[2..].iter().map(|tx| (client, tx))), "not durable, and it says so");
        disk.heal();
        assert!(log.append(txs[2..].iter().map(|tx| (client, tx))));
        let live = [(client, txs[1].signed.clone()), (Client::Person([3; 16]), txs[2].signed.clone())];
        log.compact(&live, log.end());
        let (_, held) = PoolLog::open(log.close()).unwrap();
        // Only whole files go; what comes back too often is recognised at the door.
        assert!(held.contains(&(client, txs[1].signed.clone())));
        assert!(held.contains(&(Client::Person([3; 16]), txs[2].signed.clone())));
    }

    #[test]
    fn what_is_appended_after_the_snapshot_stays_and_so_does_all_if_an_append_failed() {
        let files = WalConfig { segment_bytes: 1, ..CONFIG };
        let tx = |number| checked(&key(1), number, 50);
        let held = |disk: &MemoryDisk| {
            let (_, held) = PoolLog::open_with(disk.clone(), files).unwrap();
            held.into_iter().map(|(_, tx)| tx).collect::<Vec<_>>()
        };
        let (done, live, later, lost) = (tx(1), tx(2), tx(3), tx(4));
        let disk = MemoryDisk::new();
        let (mut log, _) = PoolLog::open_with(disk.clone(), files).unwrap();
        let append = |log: &mut PoolLog<_>, tx| log.append([(Client::Person([3; 16]), tx)].into_iter());
        assert!([&done, &live].into_iter().all(|tx| append(&mut log, tx)));
        let (snapshot, from) = ([(Client::Person([3; 16]), live.signed.clone())], log.end());
        assert!(append(&mut log, &later));
        disk.fail_after(0);
        assert!(!append(&mut log, &lost));
        disk.heal();
        log.compact(&snapshot, from);
        let all = [&done, &live, &later, &live].map(|tx| tx.signed.clone());
        assert_eq!(held(&disk), all, "what could not be written again may stand in a file before");
        log.compact(&snapshot, log.end());
        assert_eq!(held(&disk), all[3..]);
    }

    #[test]
    fn what_is_finished_leaves_the_disk_a_file_at_a_time() {
        let client = Client::Organisation(OrgId([1; 16]));
        let (done, live) = (checked(&key(1), 1, 50), checked(&key(1), 2, 50));
        let (mut log, _) = PoolLog::open(MemoryDisk::new()).unwrap();
        let per_append = 10_000;
        let fills_a_file =
            usize::try_from(CONFIG.segment_bytes).unwrap() / done.signed.encoded_len() / per_append + 1;
        for _ in 0..fills_a_file {
            assert!(log.append(core::iter::repeat_n((client, &done), per_append)));
        }
        log.compact(&[(client, live.signed.clone())], log.end());
        let (_, held) = PoolLog::open(log.close()).unwrap();
        assert!(held.len() < fills_a_file * per_append);
        assert_eq!(held.last(), Some(&(client, live.signed.clone())));
    }

    #[test]
    fn a_record_of_another_version_is_left_out_and_counted() {
        let tx = checked(&key(1), 1, 50);
        let disk = MemoryDisk::new();
        let (mut log, _) = PoolLog::open(disk.clone()).unwrap();
        assert!(log.append([(Client::Person([3; 16]), &tx)].into_iter()));
        let good = Record::new(Client::Person([3; 16]), tx.signed.clone());
        let later = Record { version: RECORD_VERSION + 1, ..good.clone() }.encode();
        let strange = [&good.encode()[..], &[0]].concat();
        let former = codec::encode(&(OrgId([1; 16]), &tx.signed));
        assert!(log.write(&[later, strange, former, Vec::new()]));
        assert!(log.append([(Client::Person([3; 16]), &tx)].into_iter()));
        let (log, held) = PoolLog::open(log.close()).unwrap();
        assert_eq!(
            held,
            [(Client::Person([3; 16]), tx.signed.clone()), (Client::Person([3; 16]), tx.signed.clone())]
        );
        assert_eq!(log.unreadable(), 4);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn a_damaged_record_is_another_or_none(place in 0usize..1_000, bit in 0u8..8) {
            let good = Record::new(Client::Organisation(OrgId([1; 16])), checked(&key(1), 1, 50).signed.clone());
            let mut bytes = good.encode();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            proptest::prop_assert!(Record::decode(&bytes).ok() != Some(good.clone()));
            proptest::prop_assert!(Record::decode(&bytes[..place]).is_err());
        }
    }
}
