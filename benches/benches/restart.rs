//! Opening the chain again: with the checkpoint that was written meanwhile, and what writing it added to the blocks.
//!
//! `cargo bench -p epione-benches --bench restart [-- --keys 1000000 --touched 500]`
//!
//! So many keys from genesis, then blocks that each change some of them, over sled, until the first checkpoint is
//! finished and 100 blocks more. The file cache of the system is warm.
#![allow(clippy::float_arithmetic, reason = "figures for people")]

use std::sync::Arc;

use epione_benches::{Random, Samples, Scratch, Table, option};
use epione_ledger::chain::{Appended, Chain, NewBlock, Origin};
use epione_ledger::store::{SledStore, Store};
use epione_types::{Certificate, ChainId, Epoch, Hash, SignatureSet, TimestampMs};

const CACHE: u64 = 128 << 20;
/// Under which the store names the finished checkpoint.
const CHECKPOINT: &[u8] = b"P";

fn key(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    [b"rec/".as_slice(), &random.bytes::<16>()].concat()
}

fn value(number: u64) -> Option<Vec<u8>> {
    let mut value = vec![7; 180];
    value.splice(..8, number.to_be_bytes());
    Some(value)
}

fn append(chain: &Chain, random: &mut Random, keys: u64, touched: usize, samples: &mut Samples) {
    let head = chain.head();
    let writes = (0..touched).map(|_| (key(random.number() % keys), value(random.number()))).collect();
    let block = NewBlock {
        height: head.height.next(),
        parent: head.hash,
        epoch: Epoch::ZERO,
        timestamp: head.timestamp.next(),
        batch_digest: Hash(random.bytes()),
        batch: vec![1; 100].into(),
        receipts: Vec::new(),
        writes,
        next_epoch_hash: Hash([7; 32]),
        epoch_begins: None,
        log_position: head.height.0,
    };
    let Appended::Stored(header) = samples.time(|| chain.append(&block)).expect("stored") else {
        panic!("the block is new")
    };
    let certificate = Certificate {
        epoch: Epoch::ZERO,
        height: header.height,
        header_hash: header.hash(),
        signatures: SignatureSet::default(),
    };
    chain.certify(&certificate).expect("stored");
}

fn main() {
    let (keys, touched) = (option("--keys", 1_000_000) as u64, option("--touched", 500));
    let scratch = Scratch::new("restart");
    let origin = Origin {
        chain: ChainId([9; 32]),
        timestamp: TimestampMs(1),
        writes: (0..keys).map(|number| (key(number), value(number))).collect(),
    };
    let (mut sled, mut tree) = (Samples::default(), Samples::default());
    let open = |sled: &mut Samples, tree: &mut Samples| {
        let store = sled.time(|| SledStore::open(scratch.path(), CACHE)).expect("a temporary folder");
        let store = Arc::new(store);
        let chain = tree.time(|| Chain::open(store.clone(), &origin)).expect("whole");
        (store, chain)
    };
    let (store, chain) = open(&mut sled, &mut tree);
    let (mut random, mut before, mut during, mut after) =
        (Random(5), Samples::default(), Samples::default(), Samples::default());
    while store.get(CHECKPOINT).expect("readable").is_none() {
        let begun = !store.scan(CHECKPOINT, Some(b"Q"), 1).expect("readable").rows.is_empty();
        append(&chain, &mut random, keys, touched, if begun { &mut during } else { &mut before });
    }
    for _ in 0..100 {
        append(&chain, &mut random, keys, touched, &mut after);
    }
    let mut table = Table::new(&format!("append of a block with {touched} writes, per block"));
    table.row("before the checkpoint", &before, 1);
    table.row("while it is written", &during, 1);
    table.row("after it, dropping what it replaces", &after, 1);
    chain.sync().expect("synced");
    drop((store, chain));
    (sled, tree) = Default::default(); // the first time made it
    for _ in 0..5 {
        drop(open(&mut sled, &mut tree));
    }
    let mut table = Table::new("opening it again");
    table.row("chain: checkpoint, changes, root checked", &tree, 1);
    table.row("sled itself", &sled, 1);
}
