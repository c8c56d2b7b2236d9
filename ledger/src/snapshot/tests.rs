//! Snapshots over both stores, made while blocks come in, and spoilt in every way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use epione_types::finality::FinalityError;
use epione_types::genesis::Params;
use epione_types::{Certificate, ChainId, Epoch, Hash, Height, SignatureSet, TxId, ValidatorSet, Verifier};

use super::format::{Entry, pack};
use super::make::Made;
use super::*;
use crate::chain::tests::{block, certify, origin, stores};
use crate::chain::{Appended, Captured, Chain, ChainError, StateWrites};
use crate::disk::{Disk, MemoryDisk};
use crate::store::{Batch, MemoryStore, Page, Store, StoreError};

/// A block that sets, replaces and deletes keys of 500, and writes some as they are.
fn extend(chain: &Chain) {
    let n = chain.head().height.0 + 1;
    let key = |at: u64| format!("key{:03}", (n * 97 + at * 61) % 500).into_bytes();
    let mut writes: StateWrites =
        (40..50).filter_map(|at| Some((key(at), Some(chain.state(&key(at)).unwrap()?)))).collect();
    writes.extend((0..40).map(|at| (key(at), (at < 30).then(|| (n * at).to_be_bytes().repeat(5)))));
    let block = crate::chain::NewBlock { writes, ..block(chain, u8::try_from(n % 256).unwrap()) };
    let Appended::Stored(header) = chain.append(&block).unwrap() else { panic!("it is new") };
    certify(chain, &header);
}

fn state(chain: &Chain) -> BTreeMap<Vec<u8>, Vec<u8>> {
    chain.state_after(None, usize::MAX).unwrap().into_iter().collect()
}

/// A snapshot of the head in small chunks and runs; a block comes in after every step.
fn make<D: Disk>(chain: &Chain, shelf: &mut Shelf<D>) -> (Height, u64) {
    let height = chain.begin_capture().unwrap();
    assert!(chain.begin_capture().is_none(), "one at a time");
    let mut maker = Maker::sized(height, 1, 2_000, 900);
    loop {
        match maker.step(chain, shelf).unwrap() {
            Made::More => extend(chain),
            Made::Waiting => panic!("it is certified"),
            Made::Done { height, entries, .. } => return (height, entries),
        }
    }
}

/// Its entries by key, all checked.
fn entries<D: Disk>(shelf: &mut Shelf<D>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let manifest = shelf.newest(Height::ZERO).unwrap().clone();
    let mut all = BTreeMap::new();
    for (index, chunk) in (0..).zip(&manifest.chunks) {
        let packed = shelf.chunk(manifest.id(), index).unwrap().unwrap();
        let unpacked = unpack(chunk, index, &packed).unwrap();
        all.extend(unpacked.entries().map(|entry| (entry.key.to_vec(), entry.value.to_vec())));
    }
    all
}

fn chain_of(store: Arc<dyn Store>, blocks: u64) -> Chain {
    let chain = Chain::open(store, &origin()).unwrap();
    (0..blocks).for_each(|_| extend(&chain));
    chain
}

#[test]
fn what_is_captured_while_blocks_come_in_is_the_state_of_its_height() {
    let (stores, _dir) = stores();
    for store in stores {
        let chain = chain_of(store, 20);
        let before = state(&chain);
        let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
        let (height, count) = make(&chain, &mut shelf);
        assert_eq!((height, count), (Height(20), before.len() as u64));
        assert!(chain.head().height > height, "blocks came in meanwhile");
        assert_ne!(state(&chain), before);
        assert_eq!(entries(&mut shelf), before);
        let manifest = shelf.newest(Height(19)).unwrap();
        assert!(manifest.chunks.len() > 20, "{} chunks", manifest.chunks.len());
        assert!(shelf.newest(height).is_none());
    }
}

#[test]
fn a_page_gives_what_stood_at_the_height_whatever_was_written_since() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 30);
    let before = state(&chain);
    let height = chain.begin_capture().unwrap();
    let mut seen = BTreeMap::new();
    loop {
        (0..7).for_each(|_| extend(&chain));
        match chain.captured(height).unwrap() {
            Captured::Rows(rows) => seen.extend(rows),
            Captured::All => break,
            Captured::Lost => panic!("it is under way"),
        }
    }
    assert_eq!(seen, before);
    assert_eq!(chain.captured(height).unwrap(), Captured::Lost, "it is over");
    let next = chain.begin_capture().unwrap();
    chain.drop_capture(height);
    assert!(matches!(chain.captured(next).unwrap(), Captured::Rows(_)), "another one's");
    chain.drop_capture(next);
    assert_eq!(chain.captured(next).unwrap(), Captured::Lost);
}

/// Fetches a snapshot from one shelf to another, chunk after chunk, the last first.
fn fetch<D: Disk>(from: &mut Shelf<MemoryDisk>, to: &mut Shelf<D>) -> Manifest {
    let manifest = from.newest(Height::ZERO).unwrap().clone();
    let begun = to.begin(manifest.clone()).unwrap();
    for index in begun.missing.iter().rev() {
        let packed = from.chunk(begun.id, *index).unwrap().unwrap();
        to.keep(*index, &packed).unwrap().unwrap();
    }
    to.install_next().unwrap();
    manifest
}

#[test]
fn a_ledger_goes_on_from_a_snapshot_as_if_it_had_been_there() {
    let source = chain_of(Arc::new(MemoryStore::new()), 25);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&source, &mut shelf);
    for blocks in [0, 9] {
        let (stores, _dir) = stores();
        for store in stores {
            let old: Vec<_> = {
                let chain = chain_of(store.clone(), blocks);
                (1..=blocks).map(|height| chain.receipts(Height(height)).unwrap()).collect()
            };
            let disk = MemoryDisk::new();
            let mut here = Shelf::open(disk.clone()).unwrap();
            fetch(&mut shelf, &mut here);
            let mut here = Shelf::open(disk).unwrap();
            let manifest = here.to_install().unwrap().unwrap();
            assert!(install(&*store, &mut here, &manifest, &origin()).unwrap());
            assert!(here.to_install().unwrap().is_none(), "once");

            let chain = Chain::open(store.clone(), &origin()).unwrap();
            assert_eq!((chain.head().height, chain.base()), (Height(25), Height(25)));
            assert_eq!(state(&chain), entries(&mut here), "and it serves the snapshot too");
            assert_eq!(chain.certified().unwrap().height, Height(25));
            for (height, receipts) in (1..).zip(&old) {
                assert_eq!(chain.receipts(Height(height)).unwrap(), *receipts, "what was there stays");
            }
            // The same blocks give the same headers, and it opens again at each.
            for height in 26..=28 {
                extend(&chain);
                assert_eq!(chain.header(Height(height)).unwrap(), source.header(Height(height)).unwrap());
            }
            drop(chain);
            assert_eq!(Chain::open(store, &origin()).unwrap().head().height, Height(28));
        }
    }
}

/// Fails after so many writes.
#[derive(Debug)]
struct Dying(MemoryStore, std::sync::atomic::AtomicUsize);

impl Store for Dying {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        self.0.scan(from, to, limit)
    }
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let died = || StoreError::Disk { doing: "writing", source: std::io::Error::other("died") };
        let left = |left: usize| left.checked_sub(1);
        self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).map_err(|_| died())?;
        self.0.apply(batch)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync()
    }
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.0.size_bytes()
    }
}

/// A ledger of ten certified blocks and two that nobody vouches for.
fn lagging() -> MemoryStore {
    let store = MemoryStore::new();
    let chain = chain_of(Arc::new(store.clone()), 10);
    for n in [211, 212] {
        chain.append(&block(&chain, n)).unwrap();
    }
    store
}

#[test]
fn an_installation_that_was_cut_short_begins_anew_and_nothing_opens_before() {
    let source = chain_of(Arc::new(MemoryStore::new()), 25);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&source, &mut shelf);
    for writes in 0.. {
        let store = lagging();
        let mut here = Shelf::open(MemoryDisk::new()).unwrap();
        fetch(&mut shelf, &mut here);
        let manifest = here.to_install().unwrap().unwrap();
        let dying = Dying(store.clone(), writes.into());
        let first = install(&dying, &mut here, &manifest, &origin());
        if writes == 0 {
            assert_eq!(Chain::open(Arc::new(store.clone()), &origin()).unwrap().head().height, Height(12));
        } else if first.is_err() {
            let refused = Chain::open(Arc::new(store.clone()), &origin()).unwrap_err();
            assert!(
                matches!(refused, ChainError::Damaged { what: "state", height: Height(25), .. }),
                "after {writes} writes: {refused}"
            );
        }
        if first.is_err() {
            let manifest = here.to_install().unwrap().unwrap();
            assert!(install(&store, &mut here, &manifest, &origin()).unwrap());
        }
        let chain = Chain::open(Arc::new(store), &origin()).unwrap();
        assert_eq!((chain.head().height, state(&chain)), (Height(25), entries(&mut here)));
        // What the log has to hold is what the tip said before (R26).
        assert_eq!(chain.log_position(Height(25)).unwrap(), Some(2_120), "after {writes} writes");
        // Nothing will hold the two blocks against the chain: they are gone, with their index.
        for (n, height) in [(211, 11), (212, 12)] {
            assert_eq!(chain.header(Height(height)).unwrap(), None);
            assert_eq!(chain.receipts(Height(height)).unwrap(), None);
            assert_eq!(chain.batch(Height(height)).unwrap(), None);
            assert_eq!(chain.locate(TxId([n; 32])).unwrap(), None);
        }
        assert!(chain.receipts(Height(10)).unwrap().is_some() && chain.header(Height(10)).unwrap().is_some());
        if first.is_ok() {
            assert!(writes > 3, "it was cut short at several places");
            return;
        }
    }
}

#[test]
fn a_damaged_snapshot_costs_itself_and_not_the_ledger() {
    let source = chain_of(Arc::new(MemoryStore::new()), 25);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&source, &mut shelf);
    let (store, disk) = (lagging(), MemoryDisk::new());
    let before = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut here = Shelf::open(disk.clone()).unwrap();
    fetch(&mut shelf, &mut here);
    disk.damage(&format!("{:020}.chunks", 25), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let manifest = here.to_install().unwrap().unwrap();
    let error = install(&store, &mut here, &manifest, &origin()).unwrap_err();
    assert!(matches!(error, InstallError::Shelf(ShelfError::Damaged { height: Height(25), .. })), "{error}");
    assert!(here.to_install().unwrap().is_none(), "what is damaged is gone");
    let chain = Chain::open(Arc::new(store.clone()), &origin()).unwrap();
    assert_eq!((chain.head().height, chain.base()), (Height(12), Height(0)));
    assert_eq!(chain.header(Height(10)).unwrap(), before.header(Height(10)).unwrap());
    drop(chain);
    // Fetched again, it is installed.
    fetch(&mut shelf, &mut here);
    let manifest = here.to_install().unwrap().unwrap();
    assert!(install(&store, &mut here, &manifest, &origin()).unwrap());
    assert_eq!(Chain::open(Arc::new(store), &origin()).unwrap().head().height, Height(25));
}

#[test]
fn what_a_power_cut_leaves_of_a_fetched_snapshot_is_fetched_again_and_what_did_not_change_is_not() {
    let still = |chain: &Chain, shelf: &mut Shelf<MemoryDisk>| {
        let mut maker = Maker::sized(chain.begin_capture().unwrap(), 1, 2_000, 900);
        while maker.step(chain, shelf).unwrap() == Made::More {}
    };
    let source = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    still(&source, &mut shelf);
    let manifest = shelf.newest(Height::ZERO).unwrap().clone();
    let disk = MemoryDisk::new();
    let mut here = Shelf::open(disk.clone()).unwrap();
    here.begin(manifest.clone()).unwrap();
    let chunks = manifest.chunks.len();
    for index in (0..).take(chunks - 1) {
        here.keep(index, &shelf.read_chunk(manifest.id(), index).unwrap().0).unwrap().unwrap();
    }
    drop(here);
    // The length was kept, the bytes of the last records were not.
    let name = format!("{:020}.chunks", manifest.header.height.0);
    let third = {
        let bytes = disk.bytes(&name).unwrap();
        let mut at = 0;
        for _ in 0..2 {
            at += 8 + u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        }
        at
    };
    disk.clone().sync(&name).unwrap();
    disk.damage(&name, |bytes| bytes[third..].fill(0));
    let mut here = Shelf::open(disk).unwrap();
    let partial = here.partial().unwrap();
    assert_eq!(partial.missing.len(), chunks - 2, "two are whole");
    assert!(
        shelf.has(partial.height) && !here.has(partial.height),
        "one that is being fetched stands nowhere"
    );
    // A later one: what it has in common need not come again.
    here.keep(2, &shelf.read_chunk(manifest.id(), 2).unwrap().0).unwrap().unwrap();
    let writes = [(b"key000".to_vec(), Some(b"another".to_vec()))].into();
    let next = crate::chain::NewBlock { writes, ..block(&source, 11) };
    let Appended::Stored(header) = source.append(&next).unwrap() else { panic!("it is new") };
    certify(&source, &header);
    let mut other = Shelf::open(MemoryDisk::new()).unwrap();
    still(&source, &mut other);
    let later = other.newest(Height::ZERO).unwrap().clone();
    let common = later.chunks.iter().filter(|chunk| manifest.chunks[..3].contains(chunk)).count();
    assert!(later.header.height > manifest.header.height && common > 0, "{common}");
    let begun = here.begin(later.clone()).unwrap();
    assert_eq!(begun.missing.len(), later.chunks.len() - common);
    for index in begun.missing {
        here.keep(index, &other.read_chunk(later.id(), index).unwrap().0).unwrap().unwrap();
    }
    here.install_next().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let waiting = here.to_install().unwrap().unwrap();
    assert!(install(&*store, &mut here, &waiting, &origin()).unwrap());
    assert_eq!(state(&Chain::open(store, &origin()).unwrap()), state(&source));
}

#[test]
fn a_fetched_snapshot_goes_on_after_a_restart_and_a_torn_record_is_fetched_again() {
    let source = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&source, &mut shelf);
    let disk = MemoryDisk::new();
    let mut here = Shelf::open(disk.clone()).unwrap();
    let begun = here.begin(shelf.newest(Height::ZERO).unwrap().clone()).unwrap();
    for index in [3, 0, 5] {
        let packed = shelf.chunk(begun.id, index).unwrap().unwrap();
        here.keep(index, &packed).unwrap().unwrap();
    }
    disk.damage(&format!("{:020}.chunks", 10), |bytes| {
        bytes.pop();
    });
    let mut here = Shelf::open(disk).unwrap();
    let again = here.partial().unwrap();
    let had = [0, 3];
    assert_eq!(again.missing, (0..begun.chunks).filter(|index| !had.contains(index)).collect::<Vec<_>>());
    for index in again.missing {
        let packed = shelf.chunk(begun.id, index).unwrap().unwrap();
        here.keep(index, &packed).unwrap().unwrap();
    }
    here.install_next().unwrap();
    assert!(here.to_install().unwrap().is_some());
}

#[test]
fn no_entry_can_be_changed_left_out_added_or_moved() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&chain, &mut shelf);
    let manifest = shelf.newest(Height::ZERO).unwrap().clone();
    let (index, chunk) = (0..).zip(&manifest.chunks).find(|(_, chunk)| chunk.entries > 2).unwrap();
    let packed = shelf.chunk(manifest.id(), index).unwrap().unwrap();
    let sound = unpack(chunk, index, &packed).unwrap();
    let sound: Vec<(Vec<u8>, Vec<u8>)> =
        sound.entries().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect();
    let claimed = |entries: &[(Vec<u8>, Vec<u8>)], count: usize| {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            assert!(Entry { key, value }.put(&mut bytes));
        }
        // Whoever sends it may lie about its size too.
        let claim = Chunk {
            bytes: u32::try_from(bytes.len()).unwrap(),
            entries: u32::try_from(count).unwrap(),
            ..*chunk
        };
        match unpack(&claim, index, &pack(&bytes)) {
            Ok(_) => "sound".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let refused = |entries: &[(Vec<u8>, Vec<u8>)]| claimed(entries, entries.len());
    let says = |what: &str| format!("chunk {index} of the snapshot {what}");
    assert_eq!(refused(&sound), "sound");
    let mut other = sound.clone();
    other[1].1[0] ^= 1;
    assert_eq!(refused(&other), says("holds other entries than the state has there"), "changed");
    let mut other = sound.clone();
    other.remove(1);
    assert_eq!(refused(&other), says("holds other entries than the state has there"), "left out");
    assert_eq!(claimed(&other, sound.len()), says("has another number of entries"), "left out, and not said");
    // One that belongs in this chunk by its path, in its place; at the end of it; and one of another chunk.
    let path = |key: &[u8]| Entry { key, value: b"" }.leaf().path;
    let (first, last) = (path(&sound[0].0), path(&sound.last().unwrap().0));
    let strange = |wanted: &dyn Fn(&Hash) -> bool| {
        let mut keys = (0..).map(|number: u32| format!("one more {number}").into_bytes());
        (keys.find(|key| wanted(&path(key))).unwrap(), Vec::new())
    };
    let mut other = sound.clone();
    other.push(strange(&|path| first < *path && *path < last));
    assert_eq!(refused(&other), says("has an entry out of order"), "added at the end");
    other.sort_by_key(|(key, _)| path(key));
    assert_eq!(refused(&other), says("holds other entries than the state has there"), "added");
    assert_eq!(claimed(&other, sound.len()), says("has another number of entries"), "added, and not said");
    let mut other = sound.clone();
    let differs = |path: &Hash| (path.0[0] ^ first.0[0]) & 0x80 != 0;
    other.push(strange(&differs));
    other.sort_by_key(|(key, _)| path(key));
    assert_eq!(refused(&other), says("has entries of other chunks"), "of another chunk");
    let mut other = sound.clone();
    other.swap(0, 1);
    assert_eq!(refused(&other), says("has an entry out of order"), "moved");
    let mut other = sound;
    other[1] = other[0].clone();
    assert_eq!(refused(&other), says("has an entry out of order"), "twice");
    for at in 0..packed.len() {
        let mut flipped = packed.to_vec();
        flipped[at] ^= 0x10;
        let read = unpack(chunk, index, &flipped);
        assert!(read.is_err() || read == unpack(chunk, index, &packed), "byte {at}");
    }
}

/// Whatever is signed with nothing counts.
struct Nobody;
impl Verifier for Nobody {
    fn verify(&self, _: &epione_types::PublicKey, _: &[u8], _: &epione_types::Signature) -> bool {
        false
    }
}

#[test]
fn a_manifest_is_believed_only_as_a_division_of_the_headers_state() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&chain, &mut shelf);
    let sound = shelf.newest(Height::ZERO).unwrap().clone();
    let genesis = ValidatorSet { epoch: Epoch::ZERO, validators: Vec::new(), params: Params::default() };
    let verdict = |manifest: &Manifest| manifest.verify(chain.chain_id(), &genesis, &Nobody).unwrap_err();
    // The division is sound; what is missing is a quorum that signed.
    assert!(matches!(verdict(&sound), SnapshotError::Finality(_)), "{}", verdict(&sound));
    assert_eq!(Manifest::decode(&sound.encode()), Ok(sound.clone()));
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        verdict(&manifest)
    };
    assert!(matches!(with(&|m| m.chain = ChainId([9; 32])), SnapshotError::OtherChain { .. }));
    let (height, epoch) = (sound.header.height, Epoch::ZERO);
    let other_epoch = FinalityError::OtherEpoch { height, found: Epoch(1), epoch };
    assert_eq!(with(&|m| m.certificate.epoch = Epoch(1)), SnapshotError::Finality(other_epoch));
    let other_header = FinalityError::OtherHeader { height, epoch };
    assert_eq!(with(&|m| m.header.epoch = Epoch(1)), SnapshotError::Finality(other_header));
    assert!(matches!(with(&|m| m.chunks[1].hash = Hash([1; 32])), SnapshotError::Root { .. }));
    assert!(matches!(with(&|m| m.chunks.swap(0, 1)), SnapshotError::Root { .. } | SnapshotError::Division));
    assert!(matches!(
        with(&|m| {
            m.chunks.pop();
        }),
        SnapshotError::Division
    ));
    assert!(matches!(with(&|m| m.chunks.push(m.chunks[0])), SnapshotError::Division));
    assert!(matches!(with(&|m| m.chunks.clear()), SnapshotError::Division));
    assert!(matches!(with(&|m| m.chunks[0].depth = 255), SnapshotError::Division));
    // What nobody could ever deliver.
    assert!(matches!(with(&|m| m.chunks[0].entries = 0), SnapshotError::Division));
    assert!(matches!(with(&|m| m.chunks[0].bytes = 0), SnapshotError::Division));
    assert!(matches!(with(&|m| m.chunks[0].depth = 0), SnapshotError::Division));
    assert!(matches!(with(&|m| m.chunks = vec![m.chunks[0]; CHUNKS_MAX + 1]), SnapshotError::Division));
    let mut other = sound.clone();
    other.version = 2;
    assert_eq!(Manifest::decode(&other.encode()), Err(SnapshotError::Version(2)));
    // Certificates of one height differ, and the snapshot is the same.
    let signatures = SignatureSet::default();
    let certificate = Certificate { signatures, ..sound.certificate.clone() };
    assert_eq!(Manifest { certificate, ..sound.clone() }.id(), sound.id());
    let mut other = sound.clone();
    other.chunks[0].entries += 1;
    assert_ne!(other.id(), sound.id());
}

#[test]
fn two_are_kept_and_a_damaged_one_is_dropped_when_it_shows() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 5);
    let disk = MemoryDisk::new();
    let mut shelf = Shelf::open(disk.clone()).unwrap();
    let heights: Vec<Height> = (0..3).map(|_| make(&chain, &mut shelf).0).collect();
    assert_eq!(shelf.heights().collect::<Vec<_>>(), heights[1..]);
    let mut shelf = Shelf::open(disk.clone()).unwrap();
    assert_eq!(shelf.heights().collect::<Vec<_>>(), heights[1..]);
    let id = shelf.newest(Height::ZERO).unwrap().id();
    disk.damage(&format!("{:020}.chunks", heights[2].0), |bytes| bytes[9] ^= 1);
    assert!(matches!(shelf.chunk(id, 0), Err(ShelfError::Damaged { .. })));
    assert_eq!(shelf.chunk(id, 0).unwrap(), None);
    assert_eq!(Shelf::open(disk).unwrap().heights().collect::<Vec<_>>(), heights[1..2]);
}

/// The newest snapshot of a shelf as a backup.
fn archive<D: Disk>(shelf: &mut Shelf<D>) -> Vec<u8> {
    let (manifest, mut out) = (shelf.newest(Height::ZERO).unwrap().clone(), Vec::new());
    let id = manifest.id();
    write_archive(&mut out, &manifest, |index| shelf.read_chunk(id, index).map(|(packed, _)| packed))
        .unwrap();
    out
}

fn read_archive(bytes: &[u8]) -> Result<(Manifest, usize), ArchiveError> {
    let mut reader = ArchiveReader::open(bytes)?;
    let mut chunks = 0;
    while reader.chunk()?.is_some() {
        chunks += 1;
    }
    Ok((reader.manifest().clone(), chunks))
}

#[test]
fn a_backup_is_whole_and_in_order_or_refused() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 10);
    let disk = MemoryDisk::new();
    let mut shelf = Shelf::open(disk.clone()).unwrap();
    make(&chain, &mut shelf);
    let bytes = archive(&mut shelf);
    let (manifest, chunks) = read_archive(&bytes).unwrap();
    assert_eq!((&manifest, chunks), (shelf.newest(Height::ZERO).unwrap(), manifest.chunks.len()));
    assert!(chunks > 3);
    // A running node's shelf gives the same, and is left alone.
    let names = disk.clone().names().unwrap();
    assert_eq!(archive(&mut Shelf::look(disk.clone()).unwrap()), bytes);
    assert_eq!(disk.clone().names().unwrap(), names);
    for cut in 0..bytes.len() {
        let error = read_archive(&bytes[..cut]).unwrap_err();
        match cut {
            0..8 => assert!(matches!(error, ArchiveError::NoArchive), "{cut}: {error}"),
            _ => assert!(matches!(error, ArchiveError::Truncated), "{cut}: {error}"),
        }
    }
    assert!(matches!(read_archive(&[&bytes[..], &[0]].concat()), Err(ArchiveError::Trailing)));
    assert!(matches!(read_archive(b"PK nothing of ours"), Err(ArchiveError::NoArchive)));
    let long = [&ARCHIVE_MAGIC[..], &u32::MAX.to_le_bytes()].concat();
    assert!(matches!(read_archive(&long), Err(ArchiveError::ManifestLength { found: u32::MAX })));
    // Records of chunks, in another order, or one of them twice or left out.
    let head = 12 + u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let mut records = Vec::new();
    let mut rest = &bytes[head..];
    while !rest.is_empty() {
        let length = 8 + u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        records.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut records = records.clone();
        change(&mut records);
        read_archive(&[&bytes[..head], &records.concat()].concat())
    };
    assert!(with(&|_| {}).is_ok());
    assert!(matches!(with(&|r| r.swap(0, 1)), Err(ArchiveError::Order { expected: 0, found: 1 })));
    assert!(matches!(
        with(&|r| r.insert(0, r[0].clone())),
        Err(ArchiveError::Order { expected: 1, found: 0 })
    ));
    assert!(matches!(with(&|r| drop(r.remove(1))), Err(ArchiveError::Order { expected: 1, found: 2 })));
    assert!(matches!(with(&|r| drop(r.pop())), Err(ArchiveError::Truncated)));
    let flipped = with(&|r| *r[2].last_mut().unwrap() ^= 1);
    assert!(
        matches!(flipped, Err(ArchiveError::Snapshot(SnapshotError::Chunk { index: 2, .. }))),
        "{flipped:?}"
    );
}

#[test]
fn what_was_installed_stays_however_many_are_made() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 20);
    let mut source = Shelf::open(MemoryDisk::new()).unwrap();
    make(&chain, &mut source);
    let manifest = source.newest(Height::ZERO).unwrap().clone();
    let disk = MemoryDisk::new();
    let mut shelf = Shelf::open(disk.clone()).unwrap();
    shelf.begin(manifest.clone()).unwrap();
    for index in (0..).take(manifest.chunks.len()) {
        let (packed, _) = source.read_chunk(manifest.id(), index).unwrap();
        assert!(shelf.keep(index, &packed).unwrap().is_ok());
    }
    shelf.install_next().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let waiting = shelf.to_install().unwrap().unwrap();
    assert!(install(&*store, &mut shelf, &waiting, &origin()).unwrap());
    let chain = Chain::open(store.clone(), &origin()).unwrap();
    assert_eq!(chain.base(), manifest.header.height);
    (0..3).for_each(|_| {
        extend(&chain);
        make(&chain, &mut shelf);
    });
    let mut shelf = Shelf::open(disk).unwrap();
    assert_eq!(shelf.base(), Some(&manifest), "it is what a verifier begins with");
    assert_eq!(shelf.heights().count(), KEPT);
    // The same state again, of a fresh store: what `epione ledger verify` does.
    let fresh: Arc<dyn Store> = Arc::new(MemoryStore::new());
    fill(&*fresh, &manifest, &origin(), |index| shelf.read_chunk(manifest.id(), index).map(|(_, it)| it))
        .unwrap();
    let fresh = Chain::open(fresh, &origin()).unwrap();
    assert_eq!(
        (fresh.head().height, fresh.head().state_root),
        (manifest.header.height, manifest.header.state_root)
    );
}

/// What was once written stays readable. To bless a new version: `EPIONE_BLESS=1`, which writes the file and fails all the same.
#[test]
fn a_backup_of_version_1_is_read() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 2);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    let mut maker = Maker::sized(chain.begin_capture().unwrap(), 1, 2_000, 900);
    while maker.step(&chain, &mut shelf).unwrap() == Made::More {}
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/snapshot-v1.bin");
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(file, archive(&mut shelf)).unwrap();
        panic!("blessed");
    }
    let golden = std::fs::read(file).unwrap();
    let mut reader = ArchiveReader::open(&golden[..]).unwrap();
    assert_eq!(reader.manifest(), shelf.newest(Height::ZERO).unwrap());
    let mut all = BTreeMap::new();
    while let Some((index, packed)) = reader.chunk().unwrap() {
        let unpacked = unpack(&reader.manifest().chunks[index as usize], index, &packed).unwrap();
        all.extend(unpacked.entries().map(|entry| (entry.key.to_vec(), entry.value.to_vec())));
    }
    assert_eq!(all, state(&chain));
}

/// What a crash or a full disk leaves of a manifest may decode; and what is removed with a manifest is not there a second time.
#[test]
fn a_manifest_that_is_not_whole_is_none_and_the_shelf_opens_without_it() {
    let chain = chain_of(Arc::new(MemoryStore::new()), 10);
    let mut shelf = Shelf::open(MemoryDisk::new()).unwrap();
    make(&chain, &mut shelf);
    let manifest = shelf.newest(Height::ZERO).unwrap().clone();
    let name = format!("{:020}.partial", manifest.header.height.0);
    let begun = || {
        let disk = MemoryDisk::new();
        Shelf::open(disk.clone()).unwrap().begin(manifest.clone()).unwrap();
        disk
    };
    let length = begun().bytes(&name).unwrap().len();
    for at in 0..length {
        for cut in [true, false] {
            let disk = begun();
            disk.damage(&name, |bytes| if cut { bytes.truncate(at) } else { bytes[at..].fill(0) });
            let zeros_already = !cut && disk.bytes(&name) == begun().bytes(&name);
            let mut here = Shelf::open(disk.clone()).unwrap();
            assert_eq!(here.partial().is_some(), zeros_already, "{at} {cut}");
            assert!(zeros_already || disk.clone().names().unwrap().is_empty(), "nothing of it stays");
            assert!(here.begin(manifest.clone()).is_ok());
        }
    }
}
