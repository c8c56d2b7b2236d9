//! The write-ahead log: what consensus may not forget, durable before anybody hears of it (R3, R4).
//!
//! ```text
//! 00000000000000000000.log   header | frame | frame | frame          one segment per file, named after the index
//! 00000000000000000117.log   header | frame | frame | fra            of its first record
//!                                                     └ torn: the power went before the sync returned
//! ```
//!
//! One [`Wal::append_and_sync`] is one write and one fdatasync: a *frame* of records with one checksum, there as a
//! whole or not at all. Records are bytes under consecutive indexes from 0; what they say is their writer's business.
//!
//! How it cannot go wrong:
//!
//! * Opening gives back exactly a prefix of what was appended, or refuses. A tail is *cut* only if it looks as a power
//!   cut leaves it (the file ends within the frame, or a whole sector of it reads zero) and no whole frame follows:
//!   that frame was never acknowledged. Anything else is damage to what was promised, and refused with file, offset
//!   and the way out (R26).
//! * The checksum covers the record index, so no frame passes for another one's, and lengths are checked before they
//!   are believed.
//! * After a write or sync that failed, nothing is appended until [`Wal::repair`]: a sync that succeeds after one that
//!   failed says nothing about the bytes before. For the same reason opening writes the last frame again.
//! * A new segment and its name are durable before the first frame goes into it.
//!
//! Not seen from here: a log that lost whole segments or frames at its end without a trace. The chain records
//! [`Wal::next_index`] with each block and compares at start (R26).
//!
//! Tested by `tests.rs`: every byte of a real log cut, flipped and zeroed; a disk that forgets what was not synced.

mod format;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io, ops::Range};

use self::format::{Broken, Frame, SEGMENT_HEADER};
use crate::disk::Disk;

/// Longest segment that is read, in bytes: a bound on memory whatever stands in the directory.
const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// Sizes of a log, each at most 512 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalConfig {
    /// A segment that would grow beyond this is closed and a new one begun, in bytes. What trimming frees at once.
    pub segment_bytes: u32,
    /// Most bytes of all records of one append together. Bounds the memory that opening needs per segment.
    pub append_bytes_max: u32,
}

impl Default for WalConfig {
    /// 64 MiB and 64 MiB.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, append_bytes_max: 64 << 20 }
    }
}

/// Why the log cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed. The log takes no more records until [`Wal::repair`].
    #[error("log file {file}: {doing} failed: {source}")]
    Disk {
        /// File name, in the log's directory.
        file: String,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure was not repaired.
    #[error("the log stopped after a failed write; free or replace the disk, then repair or restart")]
    Stopped,
    /// Bytes that were acknowledged as durable are not what was written.
    #[error(
        "log file {file} is damaged at byte {offset}: {what}. What this validator has voted is not known any more, so \
         it must not vote under this key: restore this very file if its disk has a good copy, else rejoin with a new \
         key and an empty log directory (a backup of the log is no way out)"
    )]
    Damaged {
        /// File name, in the log's directory.
        file: String,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment is missing between two others.
    #[error(
        "log file {file} begins with record {found}, but the one before ends before record {expected}: a file is missing"
    )]
    Gap {
        /// The file after the gap.
        file: String,
        /// The record it should begin with.
        expected: u64,
        /// The record it begins with.
        found: u64,
    },
    /// Written by a version of this program with another format.
    #[error("log file {file} has format {found}, this program reads {known}: run the version that wrote it")]
    Version {
        /// File name, in the log's directory.
        file: String,
        /// Format of the file.
        found: u32,
        /// Format of this program.
        known: u32,
    },
    /// More than [`WalConfig::append_bytes_max`] at once. Nothing was written.
    #[error("{bytes} bytes of records at once, the log takes {max}")]
    TooLong {
        /// Bytes given, with 4 per record.
        bytes: usize,
        /// Bytes allowed.
        max: u32,
    },
}

/// A segment of the log, for trimming and for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Indexes of its records.
    pub records: Range<u64>,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Segment {
    fn name(&self) -> String {
        format::name(self.records.start)
    }
}

/// An open log. It owns its directory.
#[derive(Debug)]
pub struct Wal<D> {
    disk: D,
    config: WalConfig,
    /// All segments, oldest first; the last one takes appends. Never empty.
    segments: VecDeque<Segment>,
    /// A write failed and may have left bytes behind the last segment's end.
    stopped: bool,
}

impl<D: Disk> Wal<D> {
    /// Opens the log of a directory, or begins one, and gives every record with its index to `replay`, in order. On
    /// an error what was given must be dropped.
    ///
    /// # Errors
    /// [`WalError`]: a log that is not certainly whole is refused.
    pub fn open(
        mut disk: D,
        config: WalConfig,
        mut replay: impl FnMut(u64, &[u8]),
    ) -> Result<Self, WalError> {
        let mut firsts: Vec<u64> =
            disk.names().map_err(on(".", "listing"))?.iter().filter_map(|name| format::first(name)).collect();
        firsts.sort_unstable();
        let largest = config.segment_bytes.max(config.append_bytes_max);
        assert!(largest <= SEGMENT_BYTES_MAX / 2, "a segment would be longer than what is read back");
        let mut wal = Self { disk, config, segments: VecDeque::new(), stopped: false };
        let newest = firsts.last().copied();
        for first in firsts {
            wal.open_segment(first, Some(first) == newest, &mut replay)?;
        }
        if wal.segments.is_empty() {
            wal.begin_segment(0)?;
        }
        wal.disk.sync_dir().map_err(on(".", "syncing"))?;
        Ok(wal)
    }

    /// Index that the next record will get.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.active().records.end
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Whether these records, so many bytes each, can be one append.
    #[must_use]
    pub fn fits(&self, bytes: impl Iterator<Item = usize>) -> bool {
        format::payload(bytes) <= self.config.append_bytes_max as usize
    }

    /// Whether a failure waits for [`Self::repair`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Writes records and returns their indexes once they are durable.
    ///
    /// # Errors
    /// [`WalError::TooLong`] changes nothing. After [`WalError::Disk`] none of the records counts as written, and the
    /// log stops until [`Self::repair`].
    pub fn append_and_sync<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Range<u64>, WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        let first = self.next_index();
        if records.is_empty() {
            return Ok(first..first);
        }
        let frame = Frame::encode(first, records, self.config.append_bytes_max)?;
        let full = self.active().bytes + frame.len() as u64 > u64::from(self.config.segment_bytes);
        self.stopped = true; // until all of it has succeeded
        if full && !self.active().records.is_empty() {
            self.begin_segment(first)?;
        }
        let Segment { bytes: end, .. } = *self.active();
        let name = self.active().name();
        self.disk.write(&name, end, &frame).map_err(on(&name, "writing"))?;
        self.disk.sync(&name).map_err(on(&name, "syncing"))?;
        self.stopped = false;
        let count = records.len() as u64;
        if let Some(active) = self.segments.back_mut() {
            active.bytes += frame.len() as u64;
            active.records.end += count;
        }
        Ok(first..first + count)
    }

    /// After a failure: removes what it may have left behind, and takes records again. Those of the append that failed
    /// are not in the log; append them again.
    ///
    /// # Errors
    /// [`WalError::Disk`] while the disk still fails; the log stays stopped.
    pub fn repair(&mut self) -> Result<(), WalError> {
        if !self.stopped {
            return Ok(());
        }
        let Segment { bytes: end, ref records } = *self.active();
        let (name, unborn) = (self.active().name(), format::name(records.end));
        let names = self.disk.names().map_err(on(".", "listing"))?;
        if unborn != name && names.contains(&unborn) {
            self.disk.remove(&unborn).map_err(on(&unborn, "removing"))?;
        }
        self.disk.truncate(&name, end).map_err(on(&name, "cutting"))?;
        self.disk.sync(&name).map_err(on(&name, "syncing"))?;
        self.disk.sync_dir().map_err(on(".", "syncing"))?;
        self.stopped = false;
        Ok(())
    }

    /// Drops every segment whose records are all below `index`, oldest first; the last segment stays. Whoever needs
    /// an old record appends it again beforehand: [`Self::segments`] says which records hold which segment.
    ///
    /// # Errors
    /// [`WalError::Disk`]; what was not removed is removed by the next trim.
    pub fn trim_below(&mut self, index: u64) -> Result<(), WalError> {
        while let Some(oldest) = self.segments.front()
            && self.segments.len() > 1
            && oldest.records.end <= index
        {
            let name = oldest.name();
            self.disk.remove(&name).map_err(on(&name, "removing"))?;
            self.segments.pop_front();
        }
        // A removal that a power cut undoes only brings back a whole, older segment.
        Ok(())
    }

    /// Gives the directory back.
    pub fn close(self) -> D {
        self.disk
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("an open log has a segment")
    }

    /// Makes a new segment durable, name and all, and the one that takes appends.
    fn begin_segment(&mut self, first: u64) -> Result<(), WalError> {
        let segment = Segment { records: first..first, bytes: SEGMENT_HEADER as u64 };
        let name = segment.name();
        self.disk.create(&name).map_err(on(&name, "creating"))?;
        self.disk.write(&name, 0, &format::segment_header(first)).map_err(on(&name, "writing"))?;
        self.disk.sync(&name).map_err(on(&name, "syncing"))?;
        self.disk.sync_dir().map_err(on(".", "syncing"))?;
        self.segments.push_back(segment);
        Ok(())
    }

    fn open_segment(
        &mut self,
        first: u64,
        newest: bool,
        replay: &mut impl FnMut(u64, &[u8]),
    ) -> Result<(), WalError> {
        let name = format::name(first);
        let damaged =
            |offset: usize, what| WalError::Damaged { file: name.clone(), offset: offset as u64, what };
        if let Some(before) = self.segments.back()
            && before.records.end != first
        {
            return Err(WalError::Gap { file: name, expected: before.records.end, found: first });
        }

        let len = self.disk.len(&name).map_err(on(&name, "reading"))?;
        let len = usize::try_from(len).ok().filter(|len| *len <= SEGMENT_BYTES_MAX as usize);
        let len = len.ok_or_else(|| damaged(0, "longer than a segment can be"))?;
        let bytes = self.disk.read(&name, 0, len).map_err(on(&name, "reading"))?;

        match format::check_segment_header(&bytes, first) {
            Ok(()) => {}
            Err(Broken::Version(found)) => {
                return Err(WalError::Version { file: name, found, known: format::VERSION });
            }
            // The power went while the segment was made: its first frame came after.
            Err(Broken::Torn) if newest && !format::frame_follows(&bytes, 0, first) => {
                self.disk.remove(&name).map_err(on(&name, "removing"))?;
                self.disk.sync_dir().map_err(on(".", "syncing"))?;
                return if self.segments.is_empty() { self.begin_segment(first) } else { Ok(()) };
            }
            Err(Broken::Torn) => return Err(damaged(0, "the header is cut off or zero")),
            Err(Broken::Damaged(what)) => return Err(damaged(0, what)),
        }

        let (mut index, mut end, mut last) = (first, SEGMENT_HEADER, 0);
        while end < bytes.len() {
            match Frame::decode(&bytes, end, index) {
                Ok(frame) => {
                    for record in frame.records() {
                        replay(index, record);
                        index += 1;
                    }
                    (last, end) = (end, end + frame.len());
                }
                Err(Broken::Torn) if newest && !format::frame_follows(&bytes, end, index + 1) => break,
                Err(Broken::Torn) => {
                    return Err(damaged(end, "a frame is cut off or zero, and more was written after it"));
                }
                Err(Broken::Damaged(what)) => return Err(damaged(end, what)),
                Err(Broken::Version(_)) => return Err(damaged(end, "not a frame")),
            }
        }

        if newest {
            if end < bytes.len() {
                self.disk.truncate(&name, end as u64).map_err(on(&name, "cutting"))?;
            }
            // The last frame (of an empty segment, the header) may be there in the cache only: its sync may have
            // failed in the life before, and succeeds now without writing anything. The same bytes once more.
            let last = bytes.get(last..end).unwrap_or_default();
            self.disk.write(&name, (end - last.len()) as u64, last).map_err(on(&name, "writing"))?;
            self.disk.sync(&name).map_err(on(&name, "syncing"))?;
        }
        self.segments.push_back(Segment { records: first..index, bytes: end as u64 });
        Ok(())
    }
}

fn on(file: &str, doing: &'static str) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Disk { file: file.to_owned(), doing, source }
}
