//! Snapshots in files of one directory.
//!
//! ```text
//! HEIGHT.chunks     records: number, length, a packed chunk; of a fetched one in any order
//! HEIGHT.snapshot   manifest of a whole one, with a sum   written last, so that it is whole
//! HEIGHT.partial    manifest of the one being fetched
//! HEIGHT.install    manifest of a whole one that takes the ledger's place at the next start
//! HEIGHT.base       manifest of the one that the ledger begins with: kept, because whoever verifies it begins there
//! spool             while one is made
//! ```
//!
//! What a chunk is worth, only its manifest says: it is checked whenever it is read, so a damaged file costs a snapshot and
//! nobody's trust. Tested in `tests.rs`.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use epione_types::{Domain, Hash, Height};

use super::format::{
    Chunk, Entry, MANIFEST_BYTES_MAX, Manifest, PACKED_BYTES_MAX, SnapshotError, SnapshotId, Unpacked, unpack,
};
use crate::disk::Disk;

/// Whole snapshots that are kept: one that somebody is fetching, and a newer one.
pub const KEPT: usize = 2;
/// Bytes before a packed chunk: its number and its length.
const RECORD_HEAD: usize = 8;
const SPOOL: &str = "spool";
/// Ends the file of a manifest.
const SUM: Domain = Domain::new("epione/snapshot-file/v1");
/// Written to the spool at a time, in bytes.
const WRITE_BYTES: usize = 1 << 20;

/// Why the shelf cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk failed.
    #[error("the snapshots' folder: {0}; free or replace the disk")]
    Disk(#[from] io::Error),
    /// Something there is not what it was.
    #[error("the snapshot of height {height} is damaged: {source}")]
    Damaged {
        /// Its height.
        height: Height,
        /// How it shows.
        source: SnapshotError,
    },
}

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chunks,
    Whole,
    Partial,
    Install,
    Base,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Chunks, Self::Whole, Self::Partial, Self::Install, Self::Base];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Whole => "snapshot",
            Self::Partial => "partial",
            Self::Install => "install",
            Self::Base => "base",
        }
    }

    fn name(self, height: Height) -> String {
        format!("{:020}.{}", height.0, self.suffix())
    }

    fn of(name: &str) -> Option<(Self, Height)> {
        let (height, suffix) = name.split_once('.')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some((kind, Height(height.parse().ok()?)))
    }
}

/// A snapshot in files.
#[derive(Debug)]
struct Kept {
    manifest: Manifest,
    id: SnapshotId,
    /// Where each chunk's record stands, and how long it is.
    places: Vec<Option<(u64, usize)>>,
    /// Where the next record goes.
    end: u64,
}

/// The records of a snapshot that is being made.
#[derive(Debug)]
struct Making {
    height: Height,
    places: Vec<Option<(u64, usize)>>,
    end: u64,
}

impl Kept {
    fn missing(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.places).filter(|(_, place)| place.is_none()).map(|(index, _)| index)
    }
}

/// How far a fetched snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Which.
    pub id: SnapshotId,
    /// Of this height.
    pub height: Height,
    /// Chunks in all.
    pub chunks: u32,
    /// Those that are not here, ascending.
    pub missing: Vec<u32>,
    /// Of all entries before compression.
    pub bytes: u64,
}

/// The snapshots of one node. Its directory is nobody else's.
#[derive(Debug)]
pub struct Shelf<D> {
    disk: D,
    /// Ascending; at most [`KEPT`].
    whole: Vec<Kept>,
    partial: Option<Kept>,
    /// The one that the ledger begins with.
    base: Option<Kept>,
    /// The one that takes the ledger's place.
    installing: Option<Kept>,
    making: Option<Making>,
    spool: u64,
}

impl<D: Disk> Shelf<D> {
    /// Opens a directory: what a crash left unfinished is removed, but for the fetched one, which goes on. One that is to
    /// be installed is left alone: [`Self::to_install`].
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(disk: D) -> Result<Self, ShelfError> {
        let mut shelf = Self {
            disk,
            whole: Vec::new(),
            partial: None,
            base: None,
            installing: None,
            making: None,
            spool: 0,
        };
        let names = shelf.disk.names()?;
        let of = |wanted: Kind| {
            let mut heights: Vec<Height> = names
                .iter()
                .filter_map(|name| Kind::of(name))
                .filter(|(kind, _)| *kind == wanted)
                .map(|(_, height)| height)
                .collect();
            heights.sort_unstable();
            heights
        };
        for height in of(Kind::Whole) {
            match shelf.load(Kind::Whole, height)? {
                Some(kept) if kept.missing().next().is_none() => shelf.whole.push(kept),
                Some(_) | None => shelf.remove(Kind::Whole, height)?,
            }
        }
        // The highest, if a crash left two.
        for height in of(Kind::Base) {
            if let Some(before) = shelf.base.take() {
                shelf.remove(Kind::Base, before.manifest.header.height)?;
            }
            match shelf.load(Kind::Base, height)? {
                Some(kept) if kept.missing().next().is_none() => shelf.base = Some(kept),
                Some(_) | None => shelf.remove(Kind::Base, height)?,
            }
        }
        for height in of(Kind::Partial) {
            match shelf.load(Kind::Partial, height)? {
                Some(kept) if shelf.partial.is_none() => shelf.partial = Some(kept),
                Some(_) | None => shelf.remove(Kind::Partial, height)?,
            }
        }
        let installing = of(Kind::Install);
        for height in of(Kind::Chunks) {
            let others = shelf.partial.iter().chain(&shelf.base);
            let known = shelf.whole.iter().chain(others).map(|kept| kept.manifest.header.height);
            if !known.chain(installing.iter().copied()).any(|known| known == height) {
                shelf.remove_file(&Kind::Chunks.name(height))?;
            }
        }
        shelf.drop_spool()?;
        shelf.keep_few()?;
        Ok(shelf)
    }

    /// A manifest and where its chunks stand; none if the manifest is none. What is torn off its end is cut.
    fn load(&mut self, kind: Kind, height: Height) -> Result<Option<Kept>, ShelfError> {
        let bytes = self.disk.read(&kind.name(height), 0, MANIFEST_BYTES_MAX + 1 + Hash::LEN)?;
        // A power cut or a full disk leaves anything of what was not synced, and some of that decodes.
        let Some((bytes, sum)) = bytes.split_last_chunk() else { return Ok(None) };
        if SUM.hash(bytes) != Hash(*sum) {
            return Ok(None);
        }
        let Ok(manifest) = Manifest::decode(bytes) else { return Ok(None) };
        if manifest.header.height != height {
            return Ok(None);
        }
        let (name, mut end) = (Kind::Chunks.name(height), 0);
        let mut places = vec![None; manifest.chunks.len()];
        let length = match self.disk.len(&name) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        while let Some((index, bytes)) = record_head(&self.disk.read(&name, end, RECORD_HEAD)?) {
            let next = end + (RECORD_HEAD + bytes) as u64;
            let (Some(place), Some(chunk)) =
                (places.get_mut(index as usize), manifest.chunks.get(index as usize))
            else {
                break;
            };
            if next > length || bytes > PACKED_BYTES_MAX {
                break;
            }
            // What is fetched is not synced until it is whole: a power cut leaves anything of it, zeros too.
            if kind == Kind::Partial {
                let packed = self.disk.read(&name, end + RECORD_HEAD as u64, bytes)?;
                if unpack(chunk, index, &packed).is_err() {
                    break;
                }
            }
            *place = Some((end, bytes));
            end = next;
        }
        if end < length && kind == Kind::Partial {
            self.disk.truncate(&name, end)?;
        }
        Ok(Some(Kept { id: manifest.id(), manifest, places, end }))
    }

    fn remove(&mut self, kind: Kind, height: Height) -> io::Result<()> {
        // The manifest first: chunks without one are nothing.
        self.remove_file(&kind.name(height))?;
        self.remove_file(&Kind::Chunks.name(height))
    }

    /// That it is not there any more is as good. Looked for first: a failed removal is a failed disk.
    fn remove_file(&mut self, name: &str) -> io::Result<()> {
        if self.disk.names()?.iter().any(|there| there == name) { self.disk.remove(name) } else { Ok(()) }
    }

    /// Newest last.
    pub fn heights(&self) -> impl Iterator<Item = Height> {
        self.whole.iter().map(|kept| kept.manifest.header.height)
    }

    /// Is there a whole one of this height? A second one would be written over it.
    #[must_use]
    pub fn has(&self, height: Height) -> bool {
        let all = self.whole.iter().chain(&self.base);
        all.map(|kept| kept.manifest.header.height).any(|found| found == height)
    }

    /// The newest whole one above a height.
    #[must_use]
    pub fn newest(&self, above: Height) -> Option<&Manifest> {
        let all = self.whole.iter().chain(&self.base).map(|kept| &kept.manifest);
        all.filter(|manifest| manifest.header.height > above).max_by_key(|manifest| manifest.header.height)
    }

    /// The one that the ledger begins with.
    #[must_use]
    pub fn base(&self) -> Option<&Manifest> {
        self.base.as_ref().map(|kept| &kept.manifest)
    }

    /// A packed chunk of a whole snapshot, checked; none if that snapshot is not here any more.
    ///
    /// # Errors
    /// The disk failed; or the snapshot is damaged, and is removed.
    pub fn chunk(&mut self, id: SnapshotId, index: u32) -> Result<Option<Bytes>, ShelfError> {
        if !self.whole.iter().chain(&self.base).any(|kept| kept.id == id) {
            return Ok(None);
        }
        match self.read_chunk(id, index) {
            Ok((packed, _)) => Ok(Some(packed.into())),
            Err(ShelfError::Disk(error)) => Err(error.into()),
            Err(ShelfError::Damaged { height, source }) => {
                let kind = match self.base.take_if(|kept| kept.id == id) {
                    Some(_) => Kind::Base,
                    None => Kind::Whole,
                };
                self.whole.retain(|kept| kept.id != id);
                self.remove(kind, height)?;
                Err(ShelfError::Damaged { height, source })
            }
        }
    }

    /// Opens a directory to look at it, which may be a running node's: nothing is changed, whatever is there.
    ///
    /// # Errors
    /// The disk failed.
    pub fn look(disk: D) -> Result<Self, ShelfError> {
        let (whole, making) = (Vec::new(), None);
        let mut shelf = Self { disk, whole, partial: None, base: None, installing: None, making, spool: 0 };
        for (kind, height) in shelf.disk.names()?.iter().filter_map(|name| Kind::of(name)) {
            if matches!(kind, Kind::Whole | Kind::Base)
                && let Some(kept) = shelf.load(kind, height)?.filter(|kept| kept.missing().next().is_none())
            {
                match kind {
                    Kind::Base => shelf.base = Some(kept),
                    Kind::Whole | Kind::Chunks | Kind::Partial | Kind::Install => shelf.whole.push(kept),
                }
            }
        }
        shelf.whole.sort_by_key(|kept| kept.manifest.header.height);
        Ok(shelf)
    }

    /// A chunk of a whole snapshot, packed and checked; nothing is changed.
    ///
    /// # Errors
    /// The disk failed; it is damaged, or not here.
    pub fn read_chunk(&mut self, id: SnapshotId, index: u32) -> Result<(Vec<u8>, Unpacked), ShelfError> {
        let source = SnapshotError::NoSuchChunk(index);
        let Some(kept) = self.whole.iter().chain(&self.base).find(|kept| kept.id == id) else {
            return Err(ShelfError::Damaged { height: Height::ZERO, source });
        };
        let (height, wanted) = (kept.manifest.header.height, place(kept, index));
        let read = read(&mut self.disk, height, index, wanted)?;
        read.map_err(|source| ShelfError::Damaged { height, source })
    }

    /// Begins to fetch a snapshot whose manifest was verified, or goes on with it. It takes the place of another one that was
    /// being fetched, whose chunks that did not change need not come again.
    ///
    /// # Errors
    /// The disk failed.
    pub fn begin(&mut self, manifest: Manifest) -> Result<Fetched, ShelfError> {
        let id = manifest.id();
        if let Some(partial) = self.partial.as_ref().filter(|kept| kept.id == id) {
            return Ok(fetched(partial));
        }
        let height = manifest.header.height;
        if let Some(at) = self.whole.iter().position(|kept| kept.manifest.header.height == height) {
            self.whole.remove(at);
            self.remove(Kind::Whole, height)?;
        }
        if self.partial.as_ref().is_some_and(|kept| kept.manifest.header.height == height) {
            self.drop_partial()?; // its file is this one's
        }
        let earlier = self.partial.take();
        self.fresh(&Kind::Chunks.name(height))?;
        self.manifest_file(Kind::Partial, &manifest)?;
        let places = vec![None; manifest.chunks.len()];
        let mut kept = Kept { id, manifest, places, end: 0 };
        if let Some(earlier) = earlier {
            self.take_over(&earlier, &mut kept)?;
            self.remove(Kind::Partial, earlier.manifest.header.height)?;
        }
        let begun = fetched(&kept);
        self.partial = Some(kept);
        Ok(begun)
    }

    /// Chunks that the snapshot before had as well: most of a state does not change while it is fetched.
    fn take_over(&mut self, earlier: &Kept, kept: &mut Kept) -> io::Result<()> {
        let known: HashMap<Hash, u32> =
            (0..).zip(&earlier.manifest.chunks).map(|(index, chunk)| (chunk.hash, index)).collect();
        for index in (0..).take(kept.places.len()) {
            let chunk = kept.manifest.chunks.get(index as usize);
            let Some(of) = chunk.and_then(|chunk| known.get(&chunk.hash)) else { continue };
            let (height, there) = (earlier.manifest.header.height, place(earlier, *of));
            if let Ok((packed, _)) = read(&mut self.disk, height, *of, there)? {
                // Checked again: equal hashes at another place of the tree are another chunk.
                let _kept = keep(&mut self.disk, kept, index, &packed)?;
            }
        }
        Ok(())
    }

    /// The snapshot that is being fetched.
    #[must_use]
    pub fn partial(&self) -> Option<Fetched> {
        self.partial.as_ref().map(fetched)
    }

    /// Keeps a fetched chunk; how many are missing then.
    ///
    /// # Errors
    /// [`SnapshotError`] inside: it is not the one that is missing, whoever sent it. The disk failed.
    pub fn keep(&mut self, index: u32, packed: &[u8]) -> Result<Result<usize, SnapshotError>, ShelfError> {
        let Some(kept) = &mut self.partial else { return Ok(Err(SnapshotError::NoSuchChunk(index))) };
        let checked = keep(&mut self.disk, kept, index, packed)?;
        Ok(checked.map(|()| kept.missing().count()))
    }

    /// The fetched snapshot is whole: at the next start it takes the ledger's place.
    ///
    /// # Errors
    /// The disk failed.
    pub fn install_next(&mut self) -> Result<(), ShelfError> {
        let whole = self.partial.take_if(|kept| kept.missing().next().is_none());
        if let Some(kept) = whole {
            let height = kept.manifest.header.height;
            self.disk.sync(&Kind::Chunks.name(height))?;
            self.disk.rename(&Kind::Partial.name(height), &Kind::Install.name(height))?;
            self.disk.sync_dir()?;
        }
        Ok(())
    }

    /// Gives up the snapshot that [`Self::to_install`] named.
    ///
    /// # Errors
    /// The disk failed.
    pub fn drop_install(&mut self) -> Result<(), ShelfError> {
        if let Some(kept) = self.installing.take() {
            self.remove(Kind::Install, kept.manifest.header.height)?;
        }
        Ok(())
    }

    /// Gives up the snapshot that is being fetched.
    ///
    /// # Errors
    /// The disk failed.
    pub fn drop_partial(&mut self) -> Result<(), ShelfError> {
        if let Some(kept) = self.partial.take() {
            self.remove(Kind::Partial, kept.manifest.header.height)?;
        }
        Ok(())
    }

    /// The snapshot that is to take the ledger's place, the highest if there are several.
    ///
    /// # Errors
    /// The disk failed; or it is damaged, and is removed.
    pub fn to_install(&mut self) -> Result<Option<Manifest>, ShelfError> {
        let names = self.disk.names()?;
        let heights =
            names.iter().filter_map(|name| Kind::of(name)).filter(|(kind, _)| *kind == Kind::Install);
        let mut heights: Vec<Height> = heights.map(|(_, height)| height).collect();
        heights.sort_unstable();
        let Some(height) = heights.pop() else { return Ok(None) };
        for lower in heights {
            self.remove(Kind::Install, lower)?;
        }
        match self.load(Kind::Install, height)? {
            Some(kept) if kept.missing().next().is_none() => {
                let manifest = kept.manifest.clone();
                self.installing = Some(kept);
                Ok(Some(manifest))
            }
            Some(_) | None => {
                self.remove(Kind::Install, height)?;
                let source = SnapshotError::Division;
                Err(ShelfError::Damaged { height, source })
            }
        }
    }

    /// A chunk of the snapshot that [`Self::to_install`] named, checked.
    pub(super) fn installing(&mut self, index: u32) -> Result<Unpacked, ShelfError> {
        let Some(kept) = &self.installing else {
            let source = SnapshotError::NoSuchChunk(index);
            return Err(ShelfError::Damaged { height: Height::ZERO, source });
        };
        let height = kept.manifest.header.height;
        let wanted = place(kept, index);
        match read(&mut self.disk, height, index, wanted)? {
            Ok((_, entries)) => Ok(entries),
            Err(source) => {
                self.installing = None;
                self.remove(Kind::Install, height)?;
                Err(ShelfError::Damaged { height, source })
            }
        }
    }

    /// What was installed is what the ledger begins with; what was not needed any more is a snapshot like others.
    pub(super) fn done_with_install(&mut self, is_base: bool) -> Result<(), ShelfError> {
        let Some(kept) = self.installing.take() else { return Ok(()) };
        let height = kept.manifest.header.height;
        let kind = if is_base { Kind::Base } else { Kind::Whole };
        self.disk.rename(&Kind::Install.name(height), &kind.name(height))?;
        self.disk.sync_dir()?;
        if !is_base {
            self.whole.push(kept);
            return self.keep_few();
        }
        if let Some(before) = self.base.replace(kept) {
            self.remove(Kind::Base, before.manifest.header.height)?;
        }
        Ok(())
    }

    /// The oldest go.
    fn keep_few(&mut self) -> Result<(), ShelfError> {
        self.whole.sort_by_key(|kept| kept.manifest.header.height);
        while self.whole.len() > KEPT {
            let oldest = self.whole.remove(0);
            self.remove(Kind::Whole, oldest.manifest.header.height)?;
        }
        Ok(())
    }

    pub(super) fn begin_chunks(&mut self, height: Height) -> io::Result<()> {
        self.fresh(&Kind::Chunks.name(height))?;
        self.making = Some(Making { height, places: Vec::new(), end: 0 });
        Ok(())
    }

    pub(super) fn put_chunk(&mut self, height: Height, index: u32, packed: &[u8]) -> io::Result<()> {
        if let Some(Making { places, end, .. }) =
            self.making.as_mut().filter(|making| making.height == height)
        {
            self.disk.write(&Kind::Chunks.name(height), *end, &record(index, packed))?;
            places.push(Some((*end, packed.len())));
            *end += (RECORD_HEAD + packed.len()) as u64;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, manifest: &Manifest) -> Result<(), ShelfError> {
        let height = manifest.header.height;
        if let Some(Making { places, end, .. }) = self.making.take_if(|making| making.height == height) {
            self.disk.sync(&Kind::Chunks.name(height))?;
            self.manifest_file(Kind::Whole, manifest)?;
            self.whole.push(Kept { id: manifest.id(), manifest: manifest.clone(), places, end });
            self.keep_few()?;
        }
        self.drop_spool()?;
        Ok(())
    }

    /// Gives up the snapshot that is being made.
    ///
    /// # Errors
    /// The disk failed.
    pub fn drop_making(&mut self) -> Result<(), ShelfError> {
        if let Some(Making { height, .. }) = self.making.take() {
            self.remove_file(&Kind::Chunks.name(height))?;
        }
        Ok(self.drop_spool()?)
    }

    /// Writes entries one after the other; where they begin and end.
    pub(super) fn spool<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>) -> io::Result<(u64, u64)> {
        let from = self.spool;
        if from == 0 {
            self.fresh(SPOOL)?;
        }
        let mut bytes = Vec::new();
        let mut write = |bytes: &mut Vec<u8>, spool: &mut u64| {
            self.disk.write(SPOOL, *spool, bytes)?;
            *spool += bytes.len() as u64;
            bytes.clear();
            Ok::<_, io::Error>(())
        };
        for entry in entries {
            let _fits = entry.put(&mut bytes); // it was put before
            if bytes.len() >= WRITE_BYTES {
                write(&mut bytes, &mut self.spool)?;
            }
        }
        write(&mut bytes, &mut self.spool)?;
        Ok((from, self.spool))
    }

    pub(super) fn read_spool(&mut self, from: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read(SPOOL, from, len)
    }

    fn drop_spool(&mut self) -> io::Result<()> {
        self.spool = 0;
        self.remove_file(SPOOL)
    }

    /// An empty file, whatever was there.
    fn fresh(&mut self, name: &str) -> io::Result<()> {
        self.remove_file(name)?;
        self.disk.create(name)
    }

    /// A manifest, and its sum after it.
    fn manifest_file(&mut self, kind: Kind, manifest: &Manifest) -> io::Result<()> {
        let mut bytes = manifest.encode();
        bytes.extend(SUM.hash(&bytes).0);
        self.file(&kind.name(manifest.header.height), &bytes)
    }

    /// A file that is durable.
    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.fresh(name)?;
        self.disk.write(name, 0, bytes)?;
        self.disk.sync(name)?;
        self.disk.sync_dir()
    }

    /// Gives the disk back.
    pub fn close(self) -> D {
        self.disk
    }
}

fn fetched(kept: &Kept) -> Fetched {
    Fetched {
        id: kept.id,
        height: kept.manifest.header.height,
        chunks: u32::try_from(kept.places.len()).unwrap_or(u32::MAX),
        missing: kept.missing().collect(),
        bytes: kept.manifest.bytes(),
    }
}

/// What a chunk should be, and where its record stands.
fn place(kept: &Kept, index: u32) -> Option<(Chunk, u64, usize)> {
    let chunk = kept.manifest.chunks.get(index as usize)?;
    let (offset, bytes) = (*kept.places.get(index as usize)?)?;
    Some((*chunk, offset, bytes))
}

/// Checks a chunk, and writes it if it is missing.
fn keep<D: Disk>(
    disk: &mut D,
    kept: &mut Kept,
    index: u32,
    packed: &[u8],
) -> io::Result<Result<(), SnapshotError>> {
    let chunk = kept.manifest.chunks.get(index as usize).ok_or(SnapshotError::NoSuchChunk(index));
    if let Err(wrong) = chunk.and_then(|chunk| unpack(chunk, index, packed)) {
        return Ok(Err(wrong));
    }
    if let Some(place) = kept.places.get_mut(index as usize).filter(|place| place.is_none()) {
        disk.write(&Kind::Chunks.name(kept.manifest.header.height), kept.end, &record(index, packed))?;
        *place = Some((kept.end, packed.len()));
        kept.end += (RECORD_HEAD + packed.len()) as u64;
    }
    Ok(Ok(()))
}

/// A chunk from its file, packed and checked.
fn read<D: Disk>(
    disk: &mut D,
    height: Height,
    index: u32,
    place: Option<(Chunk, u64, usize)>,
) -> io::Result<Result<(Vec<u8>, Unpacked), SnapshotError>> {
    let Some((chunk, offset, bytes)) = place else { return Ok(Err(SnapshotError::NoSuchChunk(index))) };
    let packed = disk.read(&Kind::Chunks.name(height), offset + RECORD_HEAD as u64, bytes)?;
    Ok(unpack(&chunk, index, &packed).map(|entries| (packed, entries)))
}

pub(super) fn record(index: u32, packed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(packed.len()).unwrap_or(u32::MAX); // longer ones are never packed
    [&index.to_le_bytes(), &length.to_le_bytes(), packed].concat()
}

/// Number and length of the record that begins here.
pub(super) fn record_head(bytes: &[u8]) -> Option<(u32, usize)> {
    let (index, rest) = bytes.split_first_chunk()?;
    let length = rest.first_chunk()?;
    Some((u32::from_le_bytes(*index), usize::try_from(u32::from_le_bytes(*length)).ok()?))
}
