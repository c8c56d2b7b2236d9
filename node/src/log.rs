//! The consensus log on a disk: records of consensus in the ledger's write-ahead log.
//!
//! A log that was trimmed begins with a birth record and what bound the validator then. A crash may leave the older
//! files in place; [`Records::resumable`] then drops from them what the new beginning replaces, and keeps what the store
//! may need again: batches, and what was sealed and certified. Tested below and by `tests/cluster.rs`.

use epione_consensus::{Record, Wal};
use epione_ledger::disk::Disk;
use epione_ledger::wal::{self, WalConfig, WalError};
use epione_types::Epoch;
use epione_types::codec::CodecError;

use crate::ports::Log;

/// Sizes of the consensus log: a new beginning is one append.
const CONFIG: WalConfig = WalConfig { segment_bytes: 64 << 20, append_bytes_max: 256 << 20 };

/// Why the log cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk, or what stands on it.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A record of another program.
    #[error("record {index} of the consensus log does not decode: {why}; was it written by another version?")]
    Record {
        /// Its index.
        index: u64,
        /// What is wrong.
        why: CodecError,
    },
}

/// The log.
#[derive(Debug)]
pub struct ConsensusLog<D>(wal::Wal<D>);

impl<D: Disk> ConsensusLog<D> {
    /// Opens the log of a directory, or begins one, and reads it.
    ///
    /// # Errors
    /// [`LogError`]: a log that is not certainly whole is refused (R26).
    pub fn open(disk: D) -> Result<(Self, Records), LogError> {
        Self::open_sized(disk, CONFIG)
    }

    /// The same with files of another size: small ones make trimming frequent.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open_sized(disk: D, config: WalConfig) -> Result<(Self, Records), LogError> {
        let (mut records, mut bad) = (Vec::new(), None);
        let wal = wal::Wal::open(disk, config, |index, bytes| match Record::decode(bytes) {
            Ok(record) => records.push(record),
            Err(why) => bad = bad.take().or(Some(LogError::Record { index, why })),
        })?;
        match bad {
            Some(error) => Err(error),
            None => Ok((Self(wal), Records(records))),
        }
    }

    /// Gives the disk back.
    pub fn close(self) -> D {
        self.0.close()
    }
}

impl<D: Disk> Wal for ConsensusLog<D> {
    type Error = WalError;
    fn append_and_sync(&mut self, records: &[Record]) -> Result<(), WalError> {
        let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        self.0.append_and_sync(&encoded).map(|_| ())
    }
}

impl<D: Disk> Log for ConsensusLog<D> {
    fn position(&self) -> u64 {
        self.0.next_index()
    }
    fn bytes(&self) -> u64 {
        self.0.segments().map(|segment| segment.bytes).sum()
    }
    fn fits(&self, records: &[Record]) -> bool {
        self.0.fits(records.iter().map(|record| record.encode().len()))
    }
    fn drop_below(&mut self, index: u64) -> Result<(), WalError> {
        self.0.trim_below(index)
    }
}

/// What a log holds, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records(Vec<Record>);

impl Records {
    /// Nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.iter()
    }

    /// How often the log was begun: at birth, and whenever it was trimmed.
    #[must_use]
    pub fn beginnings(&self) -> usize {
        self.0.iter().filter(|record| matches!(record, Record::Born { .. })).count()
    }

    /// What a replica is restored from. Votes and views before a birth record of their epoch, or of one before, are all in
    /// what follows it. Those of an epoch before the newest birth's are not: they bind again if the store lost its end and is
    /// back in that epoch (R20). So do batches and seals, of any epoch, above the store's tip.
    #[must_use]
    pub fn resumable(self) -> Vec<Record> {
        let epoch_at = |at: usize| self.0.get(at + 1).and_then(Record::begins).unwrap_or(Epoch::ZERO);
        let records = self.0.iter().enumerate();
        let births = records.filter(|(_, record)| matches!(record, Record::Born { .. }));
        let births: Vec<(usize, Epoch)> = births.map(|(at, _)| (at, epoch_at(at))).collect();
        let Some((newest, _)) = births.last().copied() else { return self.0 };
        let repeated = |at: usize, epoch| births.iter().any(|(birth, of)| *birth > at && *of <= epoch);
        let binds = |at: usize, record: &Record| match record {
            Record::Batch { .. } | Record::Sealed { .. } | Record::Certified(_) | Record::Epoch { .. } => {
                true
            }
            Record::Accepted(_) | Record::Prepared(_) | Record::Asked(_) | Record::Entered(_) => {
                record.epoch().is_some_and(|epoch| !repeated(at, epoch))
            }
            Record::Born { .. } | Record::Halted(_) => false,
        };
        let mut earlier = self.0;
        let mut records = earlier.split_off(newest).into_iter();
        let born = records.next();
        let earlier = earlier.into_iter().enumerate().filter(|(at, record)| binds(*at, record));
        born.into_iter().chain(earlier.map(|(_, record)| record)).chain(records).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_consensus::{Kind, MAX_RECORD_BYTES, Vote, max_message_bytes};
    use epione_ledger::disk::MemoryDisk;
    use epione_types::id::OrgId;
    use epione_types::quorum::MAX_VALIDATORS;
    use epione_types::{
        ChainId, Hash, Height, Params, PublicKey, SecretKey, Validator, ValidatorIndex, ValidatorSet, View,
        genesis,
    };

    fn born() -> Record {
        Record::Born { version: 1, key: PublicKey([1; 32]), chain: ChainId([2; 32]) }
    }
    fn sealed(height: u64) -> Record {
        let (digest, header_hash) = (Hash([1; 32]), Hash([2; 32]));
        Record::Sealed { epoch: Epoch(0), height: Height(height), digest, header_hash }
    }

    #[test]
    fn records_come_back_in_order_and_trimming_drops_whole_files_only() {
        let (mut log, records) = ConsensusLog::open(MemoryDisk::new()).unwrap();
        assert!(records.is_empty());
        log.append_and_sync(&[born(), sealed(1)]).unwrap();
        log.append_and_sync(&[sealed(2)]).unwrap();
        assert_eq!(log.position(), 3);
        log.drop_below(2).unwrap();
        let (log, records) = ConsensusLog::open(log.close()).unwrap();
        assert_eq!(records, Records(vec![born(), sealed(1), sealed(2)]));
        assert_eq!(log.position(), 3);
        assert!(log.bytes() > 0);
    }

    #[test]
    fn a_new_beginning_replaces_votes_but_not_what_the_store_may_need() {
        let records = vec![born(), sealed(1), sealed(2), born(), sealed(3)];
        let resumable = Records(records).resumable();
        assert_eq!(resumable, [born(), sealed(1), sealed(2), sealed(3)]);
        assert_eq!(Records(vec![born(), sealed(1)]).resumable(), [born(), sealed(1)]);
        assert_eq!(Records(Vec::new()).resumable(), []);
    }

    /// The store may fall back to an epoch before the one in which the log began anew.
    #[test]
    fn a_new_beginning_replaces_votes_of_its_epoch_and_later_ones_alone() {
        let accepted = |epoch, height| {
            let (view, digest) = (View::ZERO, Hash([1; 32]));
            let vote =
                Vote { kind: Kind::PrePrepare, epoch: Epoch(epoch), view, height: Height(height), digest };
            Record::Accepted(vote.sign(ChainId([2; 32]), ValidatorIndex(0), &SecretKey::from_seed(&[3; 32])))
        };
        let begins = |epoch| {
            let set = ValidatorSet { epoch: Epoch(epoch), validators: Vec::new(), params: Params::default() };
            Record::Epoch { after: Height(5), set }
        };
        let of_0 = [born(), accepted(0, 1), sealed(1), born(), accepted(0, 2), begins(1), accepted(1, 6)];
        let resumable = |records: &[Record]| Records(records.to_vec()).resumable();
        let one = [&of_0[..], &[born(), begins(1), accepted(1, 7)]].concat();
        assert_eq!(
            resumable(&one),
            [born(), sealed(1), accepted(0, 2), begins(1), begins(1), accepted(1, 7)],
            "epoch 0's first beginning is replaced by its second, epoch 1's votes by its own"
        );
        // Back in epoch 0, a beginning repeats what is known of later ones.
        let back = [&of_0[..], &[born(), accepted(0, 3), begins(1), accepted(1, 6)]].concat();
        assert_eq!(
            resumable(&back),
            [born(), sealed(1), begins(1), accepted(0, 3), begins(1), accepted(1, 6)]
        );
    }

    #[test]
    fn a_record_of_another_program_is_refused() {
        let mut wal = wal::Wal::open(MemoryDisk::new(), CONFIG, |_, _| {}).unwrap();
        wal.append_and_sync(&[[9u8; 5]]).unwrap();
        let error = ConsensusLog::open(wal.close()).unwrap_err();
        assert!(matches!(error, LogError::Record { index: 0, .. }), "{error}");
    }

    /// What a genesis may allow must fit: the longest record its length, a new beginning one append.
    #[test]
    fn the_largest_parameters_fit_a_record_and_a_new_beginning() {
        let window = genesis::WINDOW_MAX;
        let batch_bytes_max = u32::try_from(genesis::IN_FLIGHT_BYTES_MAX / window).unwrap();
        let params = Params { window, batch_bytes_max, ..Params::default() };
        assert_eq!(params.check(), Ok(()));
        let (organisation, key) = (OrgId([0; 16]), PublicKey([0; 32]));
        let one = Validator { organisation, public_key: key, network_key: key };
        let set = ValidatorSet { epoch: Epoch::ZERO, validators: vec![one; MAX_VALIDATORS], params };
        let new_view = max_message_bytes(&set);
        assert!(new_view < MAX_RECORD_BYTES, "a NewView of {new_view} bytes");
        // Per height the batches of three views (R28) and one prepared before; votes and certificates are small.
        let in_flight = usize::try_from(genesis::IN_FLIGHT_BYTES_MAX).unwrap();
        assert!(new_view + 4 * in_flight + (8 << 20) < CONFIG.append_bytes_max as usize);
    }
}
