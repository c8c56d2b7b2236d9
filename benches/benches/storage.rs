//! The block writer: what storing a block costs per transaction, by kind of row, and what it takes on the disk.
//!
//! `cargo bench -p epione-benches --bench storage [-- --keys 1000000 --blocks 150]`
//!
//! Blocks of 1,000 new records (real bodies, receipts and state writes; execution is not timed) on a state that already
//! holds so many keys, over sled with a cache of 128 MiB and over memory. Certified at once, synced every 16 blocks.
//! Then the same with every block's rows given to sled kind by kind, which shows where the time goes; and a restart.

#![allow(clippy::float_arithmetic, reason = "figures for people")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use epione_benches::clinic::{ChainState, Clinic, Map};
use epione_benches::{Samples, Scratch, Table, option};
use epione_ledger::chain::{Appended, Chain, NewBlock};
use epione_ledger::store::{Batch, MemoryStore, Page, SledStore, Store, StoreError};
use epione_types::{BlockHeader, Certificate, Epoch, SignatureSet};

const TXS: usize = 1_000;
const CACHE: u64 = 128 << 20;
/// Blocks before transactions begin to expire, which are not measured.
const WARM: usize = 25;

/// Kinds of rows, by the first byte of their key.
const KINDS: [(&[u8], &str); 7] = [
    (b"HM", "header, tip"),
    (b"B", "batch"),
    (b"R", "receipts"),
    (b"T", "transaction index"),
    (b"S", "state"),
    (b"D", "changes, for the tree"),
    (b"P", "checkpoint of the tree"),
];

#[derive(Default)]
struct Kind {
    samples: Samples,
    rows: usize,
    bytes: usize,
}

/// Gives a batch to sled kind by kind.
struct ByKind {
    sled: SledStore,
    kinds: Mutex<[Kind; 7]>,
}

impl Store for ByKind {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.sled.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        self.sled.scan(from, to, limit)
    }
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut kinds = self.kinds.lock().expect("one thread");
        for ((prefixes, _), kind) in KINDS.iter().zip(kinds.iter_mut()) {
            let mut part = Batch::new();
            for (key, value) in
                batch.iter().filter(|(key, _)| key.first().is_some_and(|k| prefixes.contains(k)))
            {
                kind.rows += 1;
                kind.bytes += key.len() + value.map_or(0, <[u8]>::len);
                match value {
                    Some(value) => part.put(key, value),
                    None => part.delete(key),
                }
            }
            if !part.is_empty() {
                kind.samples.time(|| self.sled.apply(part))?;
            }
        }
        drop(kinds);
        Ok(())
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.sled.sync()
    }
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.sled.size_bytes()
    }
}

fn certify(chain: &Chain, header: &BlockHeader) {
    let certificate = Certificate {
        epoch: Epoch::ZERO,
        height: header.height,
        header_hash: header.hash(),
        signatures: SignatureSet::default(),
    };
    chain.certify(&certificate).expect("stored");
}

/// Appends blocks and returns what each append and each sync took.
fn run(chain: &Chain, clinic: &mut Clinic, blocks: usize) -> (Samples, Samples) {
    let (mut appends, mut syncs) = (Samples::default(), Samples::default());
    for at in 1..=blocks {
        let head = chain.head();
        let txs = clinic.records(TXS);
        let block: NewBlock = clinic.block(&ChainState(chain), head.height.next(), head.hash, txs);
        let Appended::Stored(header) = appends.time(|| chain.append(&block)).expect("stored") else {
            panic!("the block is new")
        };
        certify(chain, &header);
        if at.is_multiple_of(16) {
            syncs.time(|| chain.sync()).expect("synced");
        }
    }
    (appends, syncs)
}

fn filled(keys: usize) -> (Clinic, Map) {
    Clinic::filled(200, 4_000, keys)
}

fn sled(dir: &Path) -> SledStore {
    SledStore::open(dir, CACHE).expect("a store in the temporary folder")
}

fn main() {
    let (keys, blocks) = (option("--keys", 1_000_000), option("--blocks", 150));
    let mut table = Table::new(&format!("append per transaction, {TXS} to a block, {keys} keys at first"));

    let (mut clinic, state) = filled(keys);
    let chain = Chain::open(Arc::new(MemoryStore::new()), &Clinic::origin(&state)).expect("opened");
    run(&chain, &mut clinic, WARM);
    table.row("memory", &run(&chain, &mut clinic, blocks).0, TXS);
    drop(chain);

    let scratch = Scratch::new("storage");
    let (mut clinic, state) = filled(keys);
    let chain = Chain::open(Arc::new(sled(scratch.path())), &Clinic::origin(&state)).expect("opened");
    run(&chain, &mut clinic, WARM);
    chain.sync().expect("synced");
    let before = size(scratch.path());
    let (appends, syncs) = run(&chain, &mut clinic, blocks);
    chain.sync().expect("synced");
    table.row("sled", &appends, TXS);
    table.row("sled: sync, every 16 blocks", &syncs, 16 * TXS);
    let grown = (size(scratch.path()) - before) / (blocks * TXS) as u64;
    println!("disk: {grown} bytes per transaction");
    drop(chain);

    let (start, origin) = (Instant::now(), Clinic::origin(&state));
    let store = sled(scratch.path());
    let opened = start.elapsed();
    let chain = Chain::open(Arc::new(store), &origin).expect("opened");
    println!(
        "restart at height {}: {opened:.2?} sled, {:.2?} chain",
        chain.head().height,
        start.elapsed().saturating_sub(opened)
    );
    drop(chain);
    drop(scratch);
    by_kind(keys, blocks);
}

fn by_kind(keys: usize, blocks: usize) {
    let scratch = Scratch::new("by-kind");
    let (mut clinic, state) = filled(keys);
    let store = Arc::new(ByKind { sled: sled(scratch.path()), kinds: Mutex::default() });
    let chain = Chain::open(store.clone(), &Clinic::origin(&state)).expect("opened");
    run(&chain, &mut clinic, WARM);
    *store.kinds.lock().expect("one thread") = Default::default();
    let (appends, _) = run(&chain, &mut clinic, blocks);
    let mut table = Table::new("the same by kind of row, each kind a batch of its own (per transaction)");
    table.row("all of append", &appends, TXS);
    let kinds = store.kinds.lock().expect("one thread");
    for ((_, name), kind) in KINDS.iter().zip(kinds.iter()).filter(|(_, kind)| kind.rows > 0) {
        let [rows, bytes] = [kind.rows, kind.bytes].map(|count| count as f64 / (blocks * TXS) as f64);
        table.row(&format!("{name}: {rows:.2} rows, {bytes:.0} bytes"), &kind.samples, TXS);
    }
}

/// What the folder takes on the disk.
fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("readable");
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
        })
        .sum()
}
