//! The durable pool (R24): clients' transactions that were accepted and are not delivered yet survive a crash.
//!
//! A write-ahead log of its own, synced once for all transactions that were checked together. After a restart what it
//! holds goes through the door again; what has a receipt by then is recognised there. A disk that fails costs
//! durability, which the answer to the client then says, and nothing else. Tested below.

use epione_ledger::disk::Disk;
use epione_ledger::wal::{Wal, WalConfig, WalError};
use epione_types::id::OrgId;
use epione_types::tx::MAX_TX_BYTES;
use epione_types::{SignedTx, codec};
use tracing::warn;

use crate::mempool::Account;
use crate::validate::Checked;

/// Sizes of the log.
const CONFIG: WalConfig = WalConfig { segment_bytes: 16 << 20, append_bytes_max: 128 << 20 };

/// Records of one append, in bytes: compaction is written in pieces.
const PIECE_BYTES: usize = 8 << 20;

/// The log.
#[derive(Debug)]
pub struct PoolLog<D> {
    wal: Wal<D>,
    failing: bool,
}

impl<D: Disk> PoolLog<D> {
    /// Opens the log of a directory, or begins one; gives what it holds, in order of acceptance.
    ///
    /// # Errors
    /// [`WalError`]: damaged; what was accepted and not delivered may be lost if it is removed.
    pub fn open(disk: D) -> Result<(Self, Vec<(OrgId, SignedTx)>), WalError> {
        let mut held = Vec::new();
        let wal = Wal::open(disk, CONFIG, |_, bytes| {
            // Another version's record is no transaction of this one; its client still has it.
            held.extend(codec::decode::<(OrgId, SignedTx)>(bytes, MAX_TX_BYTES + OrgId::LEN).ok());
        })?;
        Ok((Self { wal, failing: false }, held))
    }

    /// Makes these durable. False if that failed.
    pub fn append<'a>(&mut self, txs: impl Iterator<Item = (Account, &'a Checked)>) -> bool {
        let records: Vec<Vec<u8>> = txs
            .filter_map(|(account, tx)| match account {
                Account::Client(organisation) => Some(codec::encode(&(organisation, &tx.signed))),
                Account::Peer(_) => None,
            })
            .collect();
        self.write(&records)
    }

    fn write(&mut self, records: &[Vec<u8>]) -> bool {
        let written = self.wal.repair().and_then(|()| self.wal.append_and_sync(records));
        match written {
            Ok(_) => self.failing = false,
            Err(error) if !self.failing => {
                warn!(%error, "accepted transactions are not durable here until this is repaired");
                self.failing = true;
            }
            Err(_) => {}
        }
        !self.failing
    }

    /// Writes what is still needed anew and drops everything before.
    pub fn compact(&mut self, live: &[(Account, Checked)]) {
        let from = self.wal.next_index();
        let mut piece = Vec::new();
        let (mut bytes, mut complete) = (0, true);
        for (account, tx) in live {
            let Account::Client(organisation) = account else { continue };
            let record = codec::encode(&(organisation, &tx.signed));
            bytes += record.len();
            piece.push(record);
            if bytes >= PIECE_BYTES {
                complete &= self.write(&core::mem::take(&mut piece));
                bytes = 0;
            }
        }
        complete &= self.write(&piece);
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
        let account = Account::Client(OrgId([1; 16]));
        let txs: Vec<Checked> = (0..3).map(|i| checked(&key(1), i, 50)).collect();
        let disk = MemoryDisk::new();
        let (mut log, held) = PoolLog::open(disk.clone()).unwrap();
        assert!(held.is_empty());
        assert!(log.append(txs[..2].iter().map(|tx| (account, tx))));
        disk.fail_after(0);
        assert!(!log.append(txs[2..].iter().map(|tx| (account, tx))), "not durable, and it says so");
        disk.heal();
        assert!(log.append(txs[2..].iter().map(|tx| (account, tx))));
        log.compact(&[(account, txs[1].clone()), (account, txs[2].clone())]);
        let (_, held) = PoolLog::open(log.close()).unwrap();
        // Only whole files go; what comes back too often is recognised at the door.
        for tx in &txs[1..] {
            assert!(held.contains(&(OrgId([1; 16]), tx.signed.clone())));
        }
    }

    #[test]
    fn what_is_finished_leaves_the_disk_a_file_at_a_time() {
        let account = Account::Client(OrgId([1; 16]));
        let (done, live) = (checked(&key(1), 1, 50), checked(&key(1), 2, 50));
        let (mut log, _) = PoolLog::open(MemoryDisk::new()).unwrap();
        let per_append = 10_000;
        let fills_a_file =
            usize::try_from(CONFIG.segment_bytes).unwrap() / done.signed.encoded_len() / per_append + 1;
        for _ in 0..fills_a_file {
            assert!(log.append(core::iter::repeat_n((account, &done), per_append)));
        }
        log.compact(&[(account, live.clone())]);
        let (_, held) = PoolLog::open(log.close()).unwrap();
        assert!(held.len() < fills_a_file * per_append);
        assert_eq!(held.last(), Some(&(OrgId([1; 16]), live.signed.clone())));
    }
}
