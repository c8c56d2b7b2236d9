//! The bytes of a segment. All numbers little-endian.
//!
//! ```text
//! header   "EPIONLOG" | format u32 | index of the first record u64 | crc32 of the 20 bytes before u32
//! frame    "frme" | payload length u32 | index of the first record u64 | crc32 of the payload u32 | crc32 of the 20 before u32
//!          payload: records, each length u32 | bytes
//!          0xa5
//! ```
//!
//! A frame begins and ends with bytes that are not zero, so that a sector of it that reads zero was not written.

use crate::wal::WalError;

/// Format of this program.
pub(super) const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 24;
/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 24;

const SEGMENT_MAGIC: &[u8; 8] = b"EPIONLOG";
const FRAME_MAGIC: &[u8; 4] = b"frme";
const FRAME_END: u8 = 0xa5;
/// What a disk writes whole or not at all. Larger ones are multiples of it.
const SECTOR: usize = 512;

/// Why bytes are no header or frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// As a power cut leaves an unfinished write: cut off, or with a sector that was never written.
    Torn,
    /// In another way.
    Damaged(&'static str),
    /// Sound, of another format.
    Version(u32),
}

/// Name of the segment that begins with record `first`.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.log")
}

/// Inverse of [`name`]; nothing for a file that is no segment.
pub(super) fn first(file: &str) -> Option<u64> {
    let first = file.strip_suffix(".log")?.parse().ok()?;
    (name(first) == file).then_some(first)
}

pub(super) fn segment_header(first: u64) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    let parts = SEGMENT_MAGIC.iter().copied().chain(VERSION.to_le_bytes()).chain(first.to_le_bytes());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    seal(&mut bytes);
    bytes
}

pub(super) fn check_segment_header(bytes: &[u8], first: u64) -> Result<(), Broken> {
    let header: &[u8; SEGMENT_HEADER] = bytes.first_chunk().ok_or(Broken::Torn)?;
    if !is_sealed(header) {
        return Err(torn_or(bytes, 0, SEGMENT_HEADER, "the header does not match its checksum"));
    }
    let (magic, rest) = header.split_at(SEGMENT_MAGIC.len());
    if magic != SEGMENT_MAGIC {
        return Err(Broken::Damaged("not a segment of this log"));
    }
    match (u32_at(rest, 0), u64_at(rest, 4)) {
        (VERSION, found) if found == first => Ok(()),
        (VERSION, _) => Err(Broken::Damaged("the header belongs to another file name")),
        (version, _) => Err(Broken::Version(version)),
    }
}

/// Bytes that records of these lengths take in a frame, header and end aside.
pub(super) fn payload(records: impl Iterator<Item = usize>) -> usize {
    records.fold(0, |sum, bytes| sum.saturating_add(4).saturating_add(bytes))
}

/// A whole frame within a segment.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The bytes of a frame with these records, `max` bytes of payload at most.
    pub(super) fn encode<R: AsRef<[u8]>>(first: u64, records: &[R], max: u32) -> Result<Vec<u8>, WalError> {
        let payload = payload(records.iter().map(|record| record.as_ref().len()));
        let too_long = WalError::TooLong { bytes: payload, max };
        let Some(length) = u32::try_from(payload).ok().filter(|length| *length <= max) else {
            return Err(too_long);
        };
        let mut bytes = Vec::with_capacity(FRAME_HEADER + payload + 1);
        bytes.extend([0; FRAME_HEADER]);
        for record in records {
            let record = record.as_ref();
            let length = u32::try_from(record.len()).expect("shorter than the payload");
            bytes.extend(length.to_le_bytes());
            bytes.extend_from_slice(record);
        }
        let (header, payload) = bytes.split_at_mut(FRAME_HEADER);
        let check = crc32fast::hash(payload).to_le_bytes();
        let parts =
            FRAME_MAGIC.iter().copied().chain(length.to_le_bytes()).chain(first.to_le_bytes()).chain(check);
        header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        seal(header);
        bytes.push(FRAME_END);
        Ok(bytes)
    }

    /// The frame at `start` of a segment, which must begin with record `index`.
    pub(super) fn decode(segment: &'a [u8], start: usize, index: u64) -> Result<Self, Broken> {
        let bytes = segment.get(start..).unwrap_or_default();
        let (header, rest) = bytes.split_at_checked(FRAME_HEADER).ok_or(Broken::Torn)?;
        if !is_sealed(header) {
            let end = start + FRAME_HEADER;
            return Err(torn_or(segment, start, end, "a frame's header does not match its checksum"));
        }
        let (magic, numbers) = header.split_at(FRAME_MAGIC.len());
        if magic != FRAME_MAGIC {
            return Err(Broken::Damaged("not a frame"));
        }
        if u64_at(numbers, 4) != index {
            return Err(Broken::Damaged("a frame of another place in the log"));
        }
        let length = u32_at(numbers, 0) as usize;
        let (payload, rest) = rest.split_at_checked(length).ok_or(Broken::Torn)?;
        let end = start + FRAME_HEADER + length + 1;
        match rest.first() {
            None => Err(Broken::Torn),
            Some(&FRAME_END) if crc32fast::hash(payload) == u32_at(numbers, 12) => {
                Ok(Self { payload }).and_then(Self::check_lengths)
            }
            Some(_) => Err(torn_or(segment, start, end, "a frame does not match its checksum")),
        }
    }

    /// Bytes of the frame in its segment.
    pub(super) const fn len(&self) -> usize {
        FRAME_HEADER + self.payload.len() + 1
    }

    /// Its records.
    pub(super) fn records(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.payload;
        std::iter::from_fn(move || take_record(&mut rest))
    }

    fn check_lengths(self) -> Result<Self, Broken> {
        let mut rest = self.payload;
        while take_record(&mut rest).is_some() {}
        if rest.is_empty() { Ok(self) } else { Err(Broken::Damaged("record lengths do not add up")) }
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(record)
}

/// Whether a whole frame with record `least` or a later one stands after what is torn at `start`: then that was
/// synced once, and is damaged. A sound frame header says where its own records end; they are not searched, since
/// anybody may have sent them.
pub(super) fn frame_follows(segment: &[u8], start: usize, least: u64) -> bool {
    let torn = segment.get(start..).unwrap_or_default();
    let own = match torn.first_chunk::<FRAME_HEADER>() {
        Some(header) if torn.starts_with(FRAME_MAGIC) && is_sealed(header) => {
            FRAME_HEADER + u32_at(header, 4) as usize + 1
        }
        _ => 1,
    };
    let rest = torn.get(own..).unwrap_or_default();
    let heads = rest.windows(FRAME_MAGIC.len()).enumerate().filter(|(_, head)| head == FRAME_MAGIC);
    heads.map(|(at, _)| at).any(|at| {
        let first = u64_at(rest.get(at..).unwrap_or_default(), 8);
        first >= least && Frame::decode(rest, at, first).is_ok()
    })
}

/// Torn if a part of `start..end` that one sector holds reads zero.
fn torn_or(bytes: &[u8], start: usize, end: usize, what: &'static str) -> Broken {
    let unwritten = (start / SECTOR..end.div_ceil(SECTOR)).any(|sector| {
        let part = bytes.get((sector * SECTOR).max(start)..((sector + 1) * SECTOR).min(end));
        part.is_some_and(|part| part.iter().all(|byte| *byte == 0))
    });
    if unwritten { Broken::Torn } else { Broken::Damaged(what) }
}

/// Puts the checksum of all bytes before into the last four.
fn seal(header: &mut [u8]) {
    if let Some((body, check)) = header.split_last_chunk_mut::<4>() {
        *check = crc32fast::hash(body).to_le_bytes();
    }
}

fn is_sealed(header: &[u8]) -> bool {
    header.split_last_chunk::<4>().is_some_and(|(body, check)| crc32fast::hash(body).to_le_bytes() == *check)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
