//! Snapshots: one is made of a ledger, sent to a peer, verified and installed; and what making one takes from the blocks.
//!
//! `cargo bench -p epione-benches --bench snapshot [-- --keys 1000000 --pause-ms 10 --rest-percent 300 --rounds 2 --blocks 2000 --txs 100 --control 0]`
//!
//! The ledger is in sled, its keys are as long and as random as records. Making goes in steps with pauses, as the driver
//! does it. Sending is what nodes do: requests, two under way, over a real link on loopback, chunk after chunk checked and
//! kept. Then blocks are executed and stored one after another on two copies of the ledger in turn, the same some blocks on
//! each; of one a snapshot is made meanwhile. They are compared window by window, because what else the machine does changes.
//! `--control 1` does that with no snapshot being made.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics is a broken benchmark")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use epione_benches::clinic::{CHAIN, ChainState, Clinic, Map, Txs, certificate, validators};
use epione_benches::{Scratch, copy_folder, load, median, on_processor, option, percentile};
use epione_ledger::chain::{Appended, Chain, Origin};
use epione_ledger::disk::FileDisk;
use epione_ledger::snapshot::{Made, Maker, Manifest, Shelf, install};
use epione_ledger::store::SledStore;
use epione_node::network::{self, Event, Inbound, Limits, Network, Peer, PeerIndex};
use epione_node::wire::Frame;
use epione_types::Height;
use epione_types::sign::Zip215;

/// A node's default (`limits.store_cache_mib`).
const CACHE: u64 = 96 << 20;
/// Chunks that one peer is asked for at a time, as by the driver.
const CHUNKS_OF_PEER: usize = 2;
/// Blocks that are compared with the same blocks elsewhere.
const WINDOW: usize = 20;

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn open(dir: &Path, origin: &Origin) -> Chain {
    let store = SledStore::open(dir, CACHE).expect("a store in the temporary folder");
    Chain::open(Arc::new(store), origin).expect("opened")
}

/// With the same people, however many keys.
fn filled(keys: usize) -> (Clinic, Map) {
    Clinic::filled(200, 4_000, keys)
}

fn shelf(dir: &Path) -> Shelf<FileDisk> {
    Shelf::open(FileDisk::open(dir).expect("a temporary folder")).expect("a shelf")
}

/// Executes and stores the next block; certified at once.
fn append(chain: &Chain, clinic: &mut Clinic, txs: Txs) {
    let head = chain.head();
    let block = clinic.block(&ChainState(chain), head.height.next(), head.hash, txs);
    let Appended::Stored(header) = chain.append(&block).expect("stored") else { panic!("the block is new") };
    chain.certify(&certificate(&header)).expect("stored");
}

/// How a snapshot was made.
struct Making {
    height: Height,
    took: Duration,
    steps: Vec<Duration>,
    processor: Duration,
    entries: u64,
    bytes: u64,
}

/// Makes what is being captured, step by step.
fn make(chain: &Chain, shelf: &mut Shelf<FileDisk>, height: Height, between: impl Fn(Duration)) -> Making {
    let (begun, processor) = (Instant::now(), on_processor());
    let (mut maker, mut steps) = (Maker::new(height), Vec::new());
    loop {
        let step = Instant::now();
        let made = maker.step(chain, shelf).expect("a step");
        let step = step.elapsed();
        steps.push(step);
        match made {
            Made::More => between(step),
            Made::Waiting => panic!("its height is certified"),
            Made::Done { height, entries, bytes } => {
                let processor = on_processor().saturating_sub(processor);
                return Making { height, took: begun.elapsed(), steps, processor, entries, bytes };
            }
        }
    }
}

fn print_making(name: &str, it: &Making) {
    let [p50, p99] = [50, 99].map(|at| percentile(&it.steps, at) / 1e3);
    println!(
        "{name:<40}{:>8.2} s   {} steps of p50 {p50:.1}, p99 {p99:.1} ms; {:.2} s on the processor",
        it.took.as_secs_f64(),
        it.steps.len(),
        it.processor.as_secs_f64()
    );
}

/// As the driver does after a step, unless told otherwise: `--rest-percent` is of the step's time, and `--pause-ms` the least.
fn rest(step: Duration) {
    let (least, share) = (option("--pause-ms", 10) as u64, option("--rest-percent", 300));
    let rest = step.mul_f64(share as f64 / 100.0);
    thread::sleep(rest.clamp(Duration::from_millis(least), Duration::from_millis(500)));
}

/// Answers requests until the link is cut, as the serve and snapshot lanes do.
async fn serve(network: Network, mut inbound: Inbound, mut shelf: Shelf<FileDisk>) {
    while let Some(event) = inbound.recv().await {
        let (peer, bytes) = match event {
            Event::Frame { peer, bytes, .. } => (peer, bytes),
            Event::Connected(_) => continue,
            Event::Disconnected(_) | Event::OtherChain { .. } => break,
        };
        let request = Frame::decode(&bytes).expect("a frame");
        let answer = if let Frame::FetchChunk { id, index } = request {
            Frame::Chunk { id, index, bytes: shelf.chunk(id, index).expect("readable") }
        } else if let Frame::FetchSnapshot { above } = request {
            Frame::Snapshot(shelf.newest(above).map(|manifest| manifest.encode().into()))
        } else {
            panic!("nobody sends {request:?}")
        };
        network.send(peer, answer.class(), answer.encode()).expect("room for an answer");
    }
    network.shutdown().await;
}

/// What fetching came to.
struct Fetching {
    took: f64,
    verifying: f64,
    keeping: f64,
    wire_bytes: u64,
    chunks: usize,
}

async fn fetch(from: Shelf<FileDisk>, to: &mut Shelf<FileDisk>) -> Fetching {
    let any = "127.0.0.1:0".parse().expect("an address");
    let peer = |index: u16, seed: [u8; 32], address| Peer {
        index: PeerIndex(index),
        key: network::public_key(seed),
        address,
    };
    let config =
        |seed, peers| network::Config { seed, chain: CHAIN, listen: any, peers, limits: Limits::default() };
    let (serving, requests) =
        Network::start(config([1; 32], vec![peer(1, [2; 32], None)])).await.expect("a network");
    let address = serving.listen_address().into();
    let (network, mut inbound) =
        Network::start(config([2; 32], vec![peer(0, [1; 32], Some(address))])).await.expect("a network");
    let served = tokio::spawn(serve(serving, requests, from));
    let send = |frame: &Frame| network.send(PeerIndex(0), frame.class(), frame.encode()).expect("a link");
    while !matches!(inbound.recv().await, Some(Event::Connected(_))) {}

    let begun = Instant::now();
    let (mut verifying, mut keeping, mut wire_bytes) = (0.0, 0.0, 0);
    let (mut id, mut missing, mut count) = (None, Vec::new().into_iter(), 0);
    send(&Frame::FetchSnapshot { above: Height::ZERO });
    loop {
        let Some(Event::Frame { bytes, .. }) = inbound.recv().await else { panic!("the link broke") };
        wire_bytes += bytes.len() as u64;
        let work = Instant::now();
        let answer = Frame::decode(&bytes).expect("a frame");
        let asked = if let Frame::Chunk { index, bytes: Some(bytes), .. } = answer {
            let left = to.keep(index, &bytes).expect("stored").expect("as the manifest says");
            keeping += seconds(work);
            if left == 0 {
                break;
            }
            1
        } else if let Frame::Snapshot(Some(manifest)) = answer {
            let manifest = Manifest::decode(&manifest).expect("a manifest");
            manifest.verify(CHAIN, &validators(), &Zip215).expect("it follows from the genesis");
            let fetched = to.begin(manifest).expect("stored");
            verifying += seconds(work);
            (id, count, missing) = (Some(fetched.id), fetched.chunks, fetched.missing.into_iter());
            CHUNKS_OF_PEER
        } else {
            panic!("nobody sends {answer:?}")
        };
        for index in missing.by_ref().take(asked) {
            send(&Frame::FetchChunk { id: id.expect("begun"), index });
        }
    }
    to.install_next().expect("stored");
    let took = seconds(begun);
    network.shutdown().await;
    served.await.expect("it ends");
    Fetching { took, verifying, keeping, wire_bytes, chunks: count as usize }
}

/// Made, sent, verified, installed: seconds in all.
async fn from_one_to_another(scratch: &Path, chain: &Chain, origin: &Origin) -> f64 {
    let begin = || chain.begin_capture().expect("none is under way");
    let alone = make(chain, &mut shelf(&scratch.join("alone")), begin(), |_| ());
    print_making("made without pauses", &alone);
    let mut made = shelf(&scratch.join("made"));
    let making = make(chain, &mut made, begin(), rest);
    print_making("made, pauses between steps", &making);
    let (manifest_bytes, height) = (made.newest(Height::ZERO).expect("made").encode().len(), making.height);

    let dir = scratch.join("fetched");
    let mut fetched = shelf(&dir);
    let fetching = fetch(made, &mut fetched).await;
    drop(fetched);
    println!(
        "{:<40}{:>8.2} s   {} chunks, {:.1} MiB on the wire, manifest {} KiB; {:.0} MiB/s",
        "sent over a link, verified, kept",
        fetching.took,
        fetching.chunks,
        mib(fetching.wire_bytes),
        manifest_bytes >> 10,
        mib(fetching.wire_bytes) / fetching.took
    );
    println!("{:<40}{:>8.4} s", "  of which the manifest's proof", fetching.verifying);
    println!("{:<40}{:>8.2} s", "  of which chunks unpacked, checked, kept", fetching.keeping);

    let begun = Instant::now();
    let mut shelf = shelf(&dir);
    let manifest = shelf.to_install().expect("readable").expect("whole");
    manifest.verify(CHAIN, &validators(), &Zip215).expect("it follows from the genesis");
    let dir = scratch.join("installed");
    let store = SledStore::open(&dir, CACHE).expect("a store in the temporary folder");
    assert!(install(&store, &mut shelf, &manifest, origin).expect("installed"), "the store is empty");
    let installed = seconds(begun);
    println!("{:<40}{installed:>8.2} s", "verified again, installed in an empty sled");
    let begun = Instant::now();
    let there = Chain::open(Arc::new(store), origin).expect("whole");
    let opened = seconds(begun);
    println!("{:<40}{opened:>8.2} s", "opened, root checked");
    assert_eq!((there.head(), there.base()), (chain.head(), height), "they are the same");
    println!("{} keys, {:.1} MiB of entries", making.entries, mib(making.bytes));
    drop(there);
    let total = making.took.as_secs_f64() + fetching.took + installed + opened;
    for part in ["alone", "made", "fetched", "installed"] {
        std::fs::remove_dir_all(scratch.join(part)).expect("removed");
    }
    total
}

/// A ledger to which blocks are added, and what that took.
struct Ledger {
    chain: Arc<Chain>,
    clinic: Clinic,
    blocks: Vec<Duration>,
    processor: Duration,
}

impl Ledger {
    fn copied(from: &Path, to: &Path, clinic: &Clinic, origin: &Origin) -> Self {
        copy_folder(from, to);
        let (blocks, processor) = (Vec::new(), Duration::ZERO);
        Self { chain: Arc::new(open(to, origin)), clinic: clinic.clone(), blocks, processor }
    }

    /// How long these blocks took, one after another.
    fn append(&mut self, txs: &[Txs]) -> Duration {
        let mut window = Duration::ZERO;
        for txs in txs {
            let txs = txs.clone();
            let (begun, before) = (Instant::now(), on_processor());
            append(&self.chain, &mut self.clinic, txs);
            self.processor += on_processor().saturating_sub(before);
            self.blocks.push(begun.elapsed());
            window += begun.elapsed();
        }
        window
    }

    fn print(&self, name: &str, txs: usize) {
        let [p50, p99, most] = [50, 99, 100].map(|at| percentile(&self.blocks, at) / 1e3);
        let (took, count) = (self.blocks.iter().sum::<Duration>().as_secs_f64(), self.blocks.len() * txs);
        println!(
            "{name:<12}{:>7.0} tx/s; a block p50 {p50:.1} p99 {p99:.1} max {most:.0} ms; {:.0} us/tx on the processor",
            count as f64 / took,
            self.processor.as_secs_f64() * 1e6 / count as f64
        );
    }
}

/// Lets the maker go on only in its windows.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    waiting: AtomicBool,
    over: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        while !self.open.load(Ordering::SeqCst) {
            self.waiting.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        self.waiting.store(false, Ordering::SeqCst);
    }

    fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.waiting.store(false, Ordering::SeqCst); // it says so again
        while !self.waiting.load(Ordering::SeqCst) && !self.is_over() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// Ratios of windows while one snapshot is made: the same blocks on two copies of the ledger, of one of which it is made.
fn round(scratch: &Path, clinic: &Clinic, origin: &Origin, txs: &[Txs]) -> Vec<f64> {
    let dir = scratch.join("round");
    let copied = |name| Ledger::copied(&scratch.join("ledger"), &dir.join(name), clinic, origin);
    let (mut with, mut without) = (copied("with"), copied("without"));
    let (gate, mut ratios, per_block) = (Gate::default(), Vec::new(), txs[0].decoded.len());
    let height = with.chain.begin_capture().expect("none is under way");
    let chain = with.chain.clone();
    let making = thread::scope(|scope| {
        let making = scope.spawn(|| {
            gate.pass();
            let between = |step| {
                rest(step);
                gate.pass();
            };
            let making = make(&chain, &mut shelf(&dir.join("snapshots")), height, between);
            gate.over.store(true, Ordering::SeqCst);
            making
        });
        let mut beside = |txs: &[Txs]| {
            gate.open.store(true, Ordering::SeqCst);
            let took = with.append(txs);
            let is_whole = !gate.is_over();
            gate.close();
            (took, is_whole)
        };
        for (number, txs) in txs.chunks(WINDOW).enumerate() {
            // Whatever else the machine does, it should hit both as much: now the one comes first, now the other.
            let ((one, is_whole), other) = if number.is_multiple_of(2) {
                let one = beside(txs);
                (one, without.append(txs))
            } else {
                let other = without.append(txs);
                (beside(txs), other)
            };
            if !is_whole {
                break;
            }
            ratios.push(other.as_secs_f64() / one.as_secs_f64());
        }
        if !gate.is_over() {
            println!("all blocks are stored before the snapshot is made: give more by --blocks");
        }
        gate.open.store(true, Ordering::SeqCst);
        making.join().expect("it is made")
    });
    let [p50, p99] = [50, 99].map(|at| percentile(&making.steps, at) / 1e3);
    let processor = making.processor.as_secs_f64();
    with.print("making", per_block);
    without.print("without", per_block);
    println!(
        "            ratio of {} windows {:.2}; made in {processor:.1} s on the processor, steps p50 {p50:.1} p99 {p99:.1} ms",
        ratios.len(),
        median(&ratios)
    );
    drop((chain, with, without));
    std::fs::remove_dir_all(&dir).expect("removed");
    ratios
}

/// The same windows without a snapshot being made: how equal two equal ledgers are, or what it costs that the writer saves
/// what it overwrites while nobody reads it.
fn control(scratch: &Path, clinic: &Clinic, origin: &Origin) {
    let (blocks, per_block) = (option("--blocks", 2_000), option("--txs", 100));
    let txs = clinic.clone().records_ahead(blocks, per_block);
    for (name, is_captured) in [("equal", false), ("captured", true)] {
        let dir = scratch.join("round");
        let copied = |name| Ledger::copied(&scratch.join("ledger"), &dir.join(name), clinic, origin);
        let (mut with, mut without, mut ratios) = (copied("with"), copied("without"), Vec::new());
        if is_captured {
            with.chain.begin_capture().expect("none is under way");
        }
        for (number, txs) in txs.chunks(WINDOW).enumerate() {
            let (one, other) = if number.is_multiple_of(2) {
                let one = with.append(txs);
                (one, without.append(txs))
            } else {
                let other = without.append(txs);
                (with.append(txs), other)
            };
            ratios.push(other.as_secs_f64() / one.as_secs_f64());
        }
        with.print(name, per_block);
        without.print("without", per_block);
        println!(
            "            ratio of {} windows {:.2}; load average {}",
            ratios.len(),
            median(&ratios),
            load()
        );
        drop((with, without));
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}

fn beside_blocks(scratch: &Path, clinic: &Clinic, origin: &Origin) {
    let (rounds, blocks, txs) = (option("--rounds", 2), option("--blocks", 2_000), option("--txs", 100));
    println!("\n{txs} transactions to a block, {WINDOW} blocks to a window, load average {}", load());
    let txs = clinic.clone().records_ahead(blocks, txs);
    let ratios: Vec<f64> = (0..rounds).flat_map(|_| round(scratch, clinic, origin, &txs)).collect();
    if ratios.is_empty() {
        return;
    }
    println!(
        "throughput while a snapshot is made, by that without: median {:.2} of {} windows; load average {}",
        median(&ratios),
        ratios.len(),
        load()
    );
}

/// Makes the ledger in a process of its own: one whose heap has held a million keys is slow for what comes after.
fn fill(dir: &Path) {
    let myself = std::env::current_exe().expect("a program");
    let keys = option("--keys", 1_000_000).to_string();
    let made = Command::new(myself).arg("--fill").arg(dir).args(["--keys", &keys]).status();
    assert!(made.expect("it starts").success(), "a ledger is made");
}

fn main() {
    if let Some(dir) = std::env::args().skip_while(|arg| arg != "--fill").nth(1) {
        let (_, state) = filled(option("--keys", 1_000_000));
        open(Path::new(&dir), &Clinic::origin(&state)).sync().expect("synced");
        return;
    }
    let scratch = Scratch::new("snapshot");
    let ledger = scratch.path().join("ledger");
    fill(&ledger);
    let (mut clinic, _) = filled(0);
    let origin = Clinic::origin(&Map::new()); // what it holds is in the ledger
    let chain = open(&ledger, &origin);
    let txs = clinic.records(option("--txs", 100));
    append(&chain, &mut clinic, txs);
    chain.sync().expect("synced");
    println!("load average {}", load());
    if option("--control", 0) > 0 {
        drop(chain);
        return control(scratch.path(), &clinic, &origin);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let total = runtime.expect("a runtime").block_on(from_one_to_another(scratch.path(), &chain, &origin));
    println!("{:<40}{total:>8.2} s", "in all, with pauses");
    drop(chain);
    beside_blocks(scratch.path(), &clinic, &origin);
}
