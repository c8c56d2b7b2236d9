//! The authenticated state: cost per touched key, memory per key, proofs, restart.
//!
//! `cargo bench -p epione-benches --bench state_tree [-- KEYS]`, one million keys unless told otherwise.
//! Keys of 40 bytes, values of 128; blocks of 2,000 touched keys; one thread. Times are the median over blocks.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark that panics is a broken benchmark"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use epione_benches::{Random, Scratch};
use epione_ledger::{
    state_proof::{self, StateLeaf},
    store::{Batch, SledStore, Store},
    tree::{
        Changes, StateTree,
        checkpoint::{self, Checkpoint},
    },
};
use epione_types::Height;

const TOUCHED: u64 = 2_000;
const WINDOW: u64 = 257;

fn key(number: u64) -> [u8; 40] {
    let mut key = *b"records/v1/patient/0000000000/00000000/#";
    key[20..28].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64) -> [u8; 128] {
    let mut value = [7; 128];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Median and best: on a shared machine the second says what the first would be on an idle one.
fn summary(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [times[times.len() / 2], times[0]]
}

fn micros_per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn main() {
    let keys: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);

    let start = Instant::now();
    let mut leaves: Vec<StateLeaf> = (0..keys)
        .map(|number| StateLeaf {
            path: state_proof::path(&key(number)),
            value: state_proof::value_hash(&value(number)),
        })
        .collect();
    leaves.sort();
    println!("hash and sort {keys} keys and values: {:.2?}", start.elapsed());

    let start = Instant::now();
    let mut tree = StateTree::load(Height(0), leaves.iter().copied()).expect("sorted");
    println!("load {keys} leaves: {:.2?}, root {}", start.elapsed(), tree.root());
    drop(leaves);
    let fresh = tree.size();
    println!("memory: {:.1} bytes per key ({fresh:?})", fresh.bytes as f64 / keys as f64);

    let mut random = Random(1);
    let mut block = 0;
    for (name, fresh_keys) in
        [("updates, memory filling", false), ("updates, window full", false), ("inserts, window full", true)]
    {
        let (mut hashing, mut applying) = (Vec::new(), Vec::new());
        for _ in 0..WINDOW {
            block += 1;
            let writes: Vec<_> = (0..TOUCHED)
                .map(|at| if fresh_keys { keys + block * TOUCHED + at } else { random.number() % keys })
                .map(|number| (key(number), value(number ^ block << 32)))
                .collect();
            let start = Instant::now();
            let changes =
                Changes::of(writes.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))));
            hashing.push(start.elapsed());
            let start = Instant::now();
            black_box(tree.apply(&changes));
            tree.forget_below(Height(tree.height().0.saturating_sub(WINDOW - 1)));
            applying.push(start.elapsed());
        }
        let [hashing, applying] =
            [hashing, applying].map(|times| summary(times).map(|time| micros_per(time, TOUCHED)));
        println!(
            "block of {TOUCHED} {name}: {:.2} us per key median ({:.2} keys and values, {:.2} tree), {:.2} best",
            hashing[0] + applying[0],
            hashing[0],
            applying[0],
            hashing[1] + applying[1]
        );
    }
    let full = tree.size();
    println!("memory with {WINDOW} full blocks remembered: {} MiB more", (full.bytes - fresh.bytes) >> 20);

    let oldest = tree.oldest();
    let (mut times, mut siblings) = (Vec::new(), 0);
    for _ in 0..10_000 {
        let path = state_proof::path(&key(random.number() % keys));
        let start = Instant::now();
        let proof = tree.prove(oldest, &path).expect("remembered");
        times.push(start.elapsed());
        siblings += proof.siblings.len();
    }
    println!("proof at height {oldest}: {:.2?}, {:.1} siblings", summary(times)[0], siblings as f64 / 1e4);

    let scratch = Scratch::new("state-tree");
    let store = SledStore::open(scratch.path(), 128 << 20).expect("a store in the temporary folder");
    persist(&store, keys, &mut random);
    restart(&store, &tree);
}

/// What a block's changes cost in sled: for the tree alone, and beside them the state itself.
fn persist(store: &SledStore, keys: u64, random: &mut Random) {
    let (mut for_tree, mut for_state) = (Vec::new(), Vec::new());
    for block in 0u32..40 {
        let numbers: Vec<u64> = (0..TOUCHED).map(|_| random.number() % keys).collect();
        let writes: Vec<_> = numbers.iter().map(|number| (key(*number), value(*number))).collect();
        let changes = Changes::of(writes.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))));
        let start = Instant::now();
        let mut batch = Batch::new();
        for (part, at) in changes.encode().chunks(4096).zip(0u16..) {
            batch.put([b"c".as_slice(), &block.to_be_bytes(), &at.to_be_bytes()].concat(), part);
        }
        store.apply(batch).expect("written");
        for_tree.push(start.elapsed());
        let start = Instant::now();
        let mut batch = Batch::new();
        for (key, value) in &writes {
            batch.put([b"s".as_slice(), key].concat(), value.as_slice());
        }
        store.apply(batch).expect("written");
        for_state.push(start.elapsed());
        store.sync().expect("synced");
    }
    let [tree, state] = [for_tree, for_state].map(|times| micros_per(summary(times)[0], TOUCHED));
    println!(
        "persisting: {tree:.2} us per key for the tree's changes, {state:.2} beside it for the state itself"
    );
}

fn restart(store: &SledStore, tree: &StateTree) {
    let start = Instant::now();
    let (mut writing, mut longest) = (Checkpoint::begin(store, b't', tree).expect("begun"), Duration::ZERO);
    loop {
        let start = Instant::now();
        let mut batch = Batch::new();
        let done = writing.step(tree, &mut batch, 16).expect("remembered");
        store.apply(batch).expect("written");
        longest = longest.max(start.elapsed());
        if done {
            break;
        }
    }
    store.sync().expect("synced");
    println!("checkpoint written: {:.2?}, longest step {longest:.2?}", start.elapsed());
    let start = Instant::now();
    let loaded = checkpoint::load(store, b't').expect("whole").expect("written");
    println!("restart from the checkpoint, root checked: {:.2?}", start.elapsed());
    assert_eq!(loaded.root(), tree.root_at(writing.height()).expect("remembered"));
}
