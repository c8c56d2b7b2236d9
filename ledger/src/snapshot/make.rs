//! Making a snapshot: a captured state, read in order of key, goes out in chunks in order of path.
//!
//! ```text
//! captured pages ─▶ a run in memory, sorted when it is full ─▶ spool … ─▶ runs merged ─▶ chunks ─▶ shelf
//! ```
//!
//! In steps of some milliseconds each, so that whoever makes it also does other things. A state of less than a run never
//! touches the spool.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use epione_types::{Hash, Height};

use super::format::{
    CHUNK_BYTES, CHUNKS_MAX, Chunk, DEPTH_MAX, Entry, MANIFEST_BYTES_MAX, Manifest, SNAPSHOT_VERSION, pack,
};
use super::shelf::{Shelf, ShelfError};
use crate::chain::{Captured, Chain, ChainError};
use crate::disk::Disk;
use crate::state_proof::{self, StateLeaf, bit};
use crate::tree::subtree_hash;

/// Bytes of entries that are sorted in memory.
const RUN_BYTES: usize = 64 << 20;
/// Read from a run at a time, in bytes.
const READ_BYTES: usize = 1 << 20;
/// Pages read in one step.
const PAGES: usize = 16;
/// Chunks written in one step.
const CHUNKS: usize = 4;
/// Bits of a path by which bytes are counted.
const COUNTED: u8 = 16;

/// Why a snapshot is not made. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ChainError),
    /// The shelf's disk failed.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// Blocks changed more of the state than can be remembered meanwhile.
    #[error("too much of the state changed while it was read")]
    Lost,
    /// No certificate is of this very height: a later one was adopted.
    #[error("height {0} has no certificate of its own")]
    Uncertified(Height),
    /// More keys than a snapshot holds.
    #[error("the state does not fit {CHUNKS_MAX} chunks, or their list {MANIFEST_BYTES_MAX} bytes")]
    TooLarge,
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Shelf(error.into())
    }
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    /// There is more to do.
    More,
    /// The height is not certified yet: try again after the next certificate.
    Waiting,
    /// It stands on the shelf.
    Done {
        /// Of this height.
        height: Height,
        /// With so many keys.
        entries: u64,
        /// In so many bytes.
        bytes: u64,
    },
}

/// Entries in order of path, in memory.
#[derive(Debug, Default)]
struct Run {
    bytes: Vec<u8>,
    /// Path, and where its entry stands.
    places: Vec<(Hash, usize)>,
}

impl Run {
    fn sort(&mut self) {
        self.places.sort_unstable_by_key(|(path, _)| *path);
    }

    fn at(&self, place: usize) -> Option<Entry<'_>> {
        Entry::take(&mut self.bytes.get(place..)?)
    }
}

/// Where entries in order of path come from.
#[derive(Debug)]
enum Source {
    /// From memory: the next one's number.
    Memory(Run, usize),
    /// From the spool: what was read and not used yet, and where the rest stands.
    Spool { ahead: Vec<u8>, used: usize, from: u64, to: u64 },
}

impl Source {
    /// The next entry, and its path.
    fn peek<D: Disk>(&mut self, shelf: &mut Shelf<D>) -> io::Result<Option<(Hash, Entry<'_>)>> {
        match self {
            Self::Memory(run, next) => {
                Ok(run.places.get(*next).and_then(|(path, at)| Some((*path, run.at(*at)?))))
            }
            Self::Spool { ahead, used, from, to } => {
                let whole = |ahead: &[u8], used: usize| {
                    ahead.get(used..).and_then(|mut rest| Entry::take(&mut rest)).is_some()
                };
                if !whole(ahead, *used) && from < to {
                    ahead.drain(..*used);
                    *used = 0;
                    let len = READ_BYTES.min(usize::try_from(*to - *from).unwrap_or(READ_BYTES));
                    let read = shelf.read_spool(*from, len)?;
                    *from += read.len() as u64;
                    ahead.extend(read);
                }
                let entry = ahead.get(*used..).and_then(|mut rest| Entry::take(&mut rest));
                Ok(entry.map(|entry| (state_proof::path(entry.key), entry)))
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        match self {
            Self::Memory(_, next) => *next += 1,
            Self::Spool { used, .. } => *used += bytes,
        }
    }
}

/// A subtree that is one chunk, or deep enough to be looked at when its entries are at hand.
#[derive(Debug, Clone, Copy)]
struct Tile {
    depth: u8,
    /// The first of [`COUNTED`]-bit prefixes above it.
    end: u32,
}

#[derive(Debug)]
enum Stage {
    Reading { run: Run, spooled: Vec<(u64, u64)>, counted: Vec<u64> },
    Writing { sources: Vec<Source>, tiles: VecDeque<Tile>, chunks: Vec<Chunk> },
}

/// A snapshot being made.
#[derive(Debug)]
pub struct Maker {
    height: Height,
    stage: Stage,
    pages: usize,
    run_bytes: usize,
    chunk_bytes: usize,
}

impl Maker {
    /// Of the state that [`Chain::begin_capture`] began to capture.
    #[must_use]
    pub fn new(height: Height) -> Self {
        Self::with_chunks_of(height, CHUNK_BYTES)
    }

    /// With chunks of so many bytes; nodes that fetch from one another divide alike.
    #[must_use]
    pub fn with_chunks_of(height: Height, chunk_bytes: usize) -> Self {
        Self::sized(height, PAGES, RUN_BYTES, chunk_bytes.min(CHUNK_BYTES))
    }

    /// With so many pages in a step, and runs and chunks of so many bytes; tests make them small.
    pub(super) fn sized(height: Height, pages: usize, run_bytes: usize, chunk_bytes: usize) -> Self {
        let (run, counted) = (Run::default(), vec![0; 1 << COUNTED]);
        Self {
            height,
            stage: Stage::Reading { run, spooled: Vec::new(), counted },
            pages,
            run_bytes,
            chunk_bytes,
        }
    }

    /// Its height.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Some of the work.
    ///
    /// # Errors
    /// [`MakeError`]: it is over, and nothing stands on the shelf.
    pub fn step<D: Disk>(&mut self, chain: &Chain, shelf: &mut Shelf<D>) -> Result<Made, MakeError> {
        match &mut self.stage {
            Stage::Reading { run, spooled, counted } => {
                for _ in 0..self.pages {
                    let rows = match chain.captured(self.height)? {
                        Captured::Rows(rows) => rows,
                        Captured::Lost => return Err(MakeError::Lost),
                        Captured::All => {
                            run.sort();
                            let mut sources = vec![Source::Memory(std::mem::take(run), 0)];
                            sources.extend(spooled.drain(..).map(|(from, to)| Source::Spool {
                                ahead: Vec::new(),
                                used: 0,
                                from,
                                to,
                            }));
                            let mut tiles =
                                Tiling { counted, chunk_bytes: self.chunk_bytes, tiles: VecDeque::new() };
                            tiles.divide(0, 0, 1 << COUNTED);
                            let tiles = tiles.tiles;
                            shelf.begin_chunks(self.height)?;
                            self.stage = Stage::Writing { sources, tiles, chunks: Vec::new() };
                            return Ok(Made::More);
                        }
                    };
                    for (key, value) in &rows {
                        let entry = Entry { key, value };
                        let path = state_proof::path(key);
                        run.places.push((path, run.bytes.len()));
                        if !entry.put(&mut run.bytes) {
                            return Err(MakeError::TooLarge);
                        }
                        if let Some(count) = counted.get_mut(prefix(&path) as usize) {
                            *count += entry.bytes() as u64;
                        }
                    }
                    if run.bytes.len() >= self.run_bytes {
                        run.sort();
                        spooled.push(shelf.spool(run.places.iter().filter_map(|(_, at)| run.at(*at)))?);
                        (run.bytes, run.places) = (Vec::new(), Vec::new());
                    }
                }
                Ok(Made::More)
            }
            Stage::Writing { sources, tiles, chunks } => {
                for _ in 0..CHUNKS {
                    let Some(tile) = tiles.pop_front() else { return self.finish(chain, shelf) };
                    let gathered = gather(sources, shelf, tile.end)?;
                    let mut out = Out { shelf, height: self.height, chunk_bytes: self.chunk_bytes, chunks };
                    out.put(&gathered, 0..gathered.leaves.len(), tile.depth)?;
                }
                Ok(Made::More)
            }
        }
    }

    fn finish<D: Disk>(&mut self, chain: &Chain, shelf: &mut Shelf<D>) -> Result<Made, MakeError> {
        let height = self.height;
        let Some(certificate) = chain.certificate(height)? else {
            let later = chain.certified().is_some_and(|certificate| certificate.height > height);
            return if later { Err(MakeError::Uncertified(height)) } else { Ok(Made::Waiting) };
        };
        let Stage::Writing { chunks, .. } = &mut self.stage else { return Ok(Made::More) };
        let header = chain.header(height)?.ok_or(MakeError::Uncertified(height))?;
        let manifest = Manifest {
            version: SNAPSHOT_VERSION,
            chain: chain.chain_id(),
            turns: chain.turns(header.epoch)?,
            header,
            certificate,
            chunks: std::mem::take(chunks),
        };
        if manifest.encode().len() > MANIFEST_BYTES_MAX {
            return Err(MakeError::TooLarge);
        }
        let (entries, bytes) = (manifest.entries(), manifest.bytes());
        shelf.finish(&manifest)?;
        Ok(Made::Done { height, entries, bytes })
    }
}

/// The first [`COUNTED`] bits of a path.
fn prefix(path: &Hash) -> u32 {
    let [first, second, ..] = path.0;
    u32::from(first) << 8 | u32::from(second)
}

/// Divides the tree so that a subtree is one chunk if it fits.
struct Tiling<'a> {
    counted: &'a [u64],
    chunk_bytes: usize,
    tiles: VecDeque<Tile>,
}

impl Tiling<'_> {
    fn divide(&mut self, depth: u8, start: u32, end: u32) {
        let bytes: u64 = self.counted.get(start as usize..end as usize).into_iter().flatten().sum();
        if bytes <= self.chunk_bytes as u64 || depth == COUNTED {
            self.tiles.push_back(Tile { depth, end });
        } else {
            let middle = start.midpoint(end);
            self.divide(depth + 1, start, middle);
            self.divide(depth + 1, middle, end);
        }
    }
}

/// Entries in order of path, one after the other.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
    leaves: Vec<StateLeaf>,
}

impl Gathered {
    /// The bytes of these entries.
    fn slice(&self, range: &Range<usize>) -> &[u8] {
        let end =
            |count: usize| count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.bytes.get(end(range.start)..end(range.end)).unwrap_or_default()
    }
}

/// All entries whose prefix is below `end`, in order of path.
fn gather<D: Disk>(sources: &mut [Source], shelf: &mut Shelf<D>, end: u32) -> io::Result<Gathered> {
    let mut gathered = Gathered::default();
    loop {
        let mut least: Option<(Hash, usize)> = None;
        for (at, source) in sources.iter_mut().enumerate() {
            if let Some((path, _)) = source.peek(shelf)?
                && prefix(&path) < end
                && least.is_none_or(|(other, _)| path < other)
            {
                least = Some((path, at));
            }
        }
        let Some(source) = least.and_then(|(_, at)| sources.get_mut(at)) else { return Ok(gathered) };
        let Some((path, entry)) = source.peek(shelf)? else { return Ok(gathered) };
        let _fits = entry.put(&mut gathered.bytes); // it was put before
        gathered.ends.push(gathered.bytes.len());
        gathered.leaves.push(StateLeaf { path, value: state_proof::value_hash(entry.value) });
        let bytes = entry.bytes();
        source.advance(bytes);
    }
}

/// Where chunks go.
struct Out<'a, D> {
    shelf: &'a mut Shelf<D>,
    height: Height,
    chunk_bytes: usize,
    chunks: &'a mut Vec<Chunk>,
}

impl<D: Disk> Out<'_, D> {
    /// Puts a subtree, as one chunk if it fits.
    fn put(&mut self, gathered: &Gathered, range: Range<usize>, depth: u8) -> Result<(), MakeError> {
        let bytes = gathered.slice(&range);
        let leaves = gathered.leaves.get(range.clone()).unwrap_or_default();
        if bytes.len() > self.chunk_bytes {
            if depth == DEPTH_MAX {
                return Err(MakeError::TooLarge);
            }
            let middle = range.start + leaves.partition_point(|leaf| !bit(&leaf.path, depth.into()));
            self.put(gathered, range.start..middle, depth + 1)?;
            return self.put(gathered, middle..range.end, depth + 1);
        }
        let (Ok(index), Ok(count), Ok(length)) =
            (u32::try_from(self.chunks.len()), u32::try_from(leaves.len()), u32::try_from(bytes.len()))
        else {
            return Err(MakeError::TooLarge);
        };
        if self.chunks.len() >= CHUNKS_MAX {
            return Err(MakeError::TooLarge);
        }
        self.shelf.put_chunk(self.height, index, &pack(bytes))?;
        let hash = subtree_hash(leaves, depth.into());
        self.chunks.push(Chunk { depth, entries: count, bytes: length, hash });
        Ok(())
    }
}
