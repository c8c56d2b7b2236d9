//! The contracts: executing a block, over a map and over the chain's state in sled.
//!
//! `cargo bench -p epione-benches --bench execution [-- --txs 2000 --blocks 30]`
//!
//! 200 physicians, 4,000 patients, four hospitals; one thread. Storing the block is not timed (see `storage`), checking
//! signatures neither (see `verify`). Transactions expire after 20 blocks, which is part of what later blocks do.

use std::sync::Arc;

use epione_benches::clinic::{ChainState, Clinic, Txs, apply};
use epione_benches::{Samples, Scratch, Table, option};
use epione_chaincode::State;
use epione_ledger::chain::Chain;
use epione_ledger::store::SledStore;
use epione_types::{Hash, Height};

/// A batch of the next transactions.
type Next = fn(&mut Clinic, usize) -> Txs;

fn records(clinic: &mut Clinic, count: usize) -> Txs {
    clinic.records(count)
}

fn accesses(clinic: &mut Clinic, count: usize) -> Txs {
    let txs = (0..count).map(|_| clinic.access()).collect();
    clinic.batch(txs)
}

const KINDS: [(&str, Next); 2] = [("RegisterRecord", records), ("RecordAccess, permitted", accesses)];

/// The block is executed once more than needed: for its time alone.
fn time(samples: &mut Samples, clinic: &Clinic, state: &dyn State, height: Height, txs: &Txs) {
    drop(samples.time(|| clinic.execute(state, height, &txs.decoded)));
}

fn main() {
    let (txs, blocks) = (option("--txs", 2_000), option("--blocks", 30));
    let mut table = Table::new(&format!("execute_block per transaction, {txs} to a block"));

    let (mut clinic, mut state) = Clinic::open(200, 4_000);
    for (name, next) in KINDS {
        let mut samples = Samples::default();
        for height in 1..=blocks as u64 {
            let batch = next(&mut clinic, txs);
            time(&mut samples, &clinic, &state, Height(height), &batch);
            let block = clinic.block(&state, Height(height), Hash::ZERO, batch);
            apply(&mut state, block.writes);
        }
        table.row(&format!("{name}, map"), &samples, txs);
    }

    let scratch = Scratch::new("execution");
    let (mut clinic, state) = Clinic::open(200, 4_000);
    let store = Arc::new(SledStore::open(scratch.path(), 128 << 20).expect("a temporary folder"));
    let chain = Chain::open(store, &Clinic::origin(&state)).expect("opened");
    for (name, next) in KINDS {
        let mut samples = Samples::default();
        for _ in 0..blocks {
            let (batch, head) = (next(&mut clinic, txs), chain.head());
            time(&mut samples, &clinic, &ChainState(&chain), head.height.next(), &batch);
            let block = clinic.block(&ChainState(&chain), head.height.next(), head.hash, batch);
            chain.append(&block).expect("stored");
        }
        table.row(&format!("{name}, chain in sled"), &samples, txs);
    }
}
