//! The contracts: executing a block, over a map and over the chain's state in sled.
//!
//! `cargo bench -p epione-benches --bench execution [-- --txs 2000 --blocks 30]`
//!
//! 200 physicians, 4,000 patients, four hospitals; one thread. Storing the block is not timed (see `storage`), checking
//! signatures neither (see `verify`). Transactions expire after 20 blocks, which is part of what later blocks do.

use std::sync::Arc;

use epione_benches::clinic::{ChainState, Clinic, Txs, apply};
use epione_benches::{Samples, Scratch, Table, option};
use epione_chaincode::read::member_of;
use epione_chaincode::{State, check_access};
use epione_ledger::chain::Chain;
use epione_ledger::store::SledStore;
use epione_types::call::Call;
use epione_types::codes::Decision;
use epione_types::{Hash, Height, Signer as _};

/// Dry runs timed together: the clock is too coarse for one.
const TOGETHER: usize = 100;

/// A batch of the next transactions.
type Next = fn(&mut Clinic, usize) -> Txs;

fn records(clinic: &mut Clinic, count: usize) -> Txs {
    clinic.records(count)
}

fn accesses(clinic: &mut Clinic, count: usize) -> Txs {
    let txs = (0..count).map(|_| clinic.access()).collect();
    clinic.batch(txs)
}

fn grants(clinic: &mut Clinic, count: usize) -> Txs {
    let txs = (0..count).map(|_| clinic.grant()).collect();
    clinic.batch(txs)
}

fn strangers(clinic: &mut Clinic, count: usize) -> Txs {
    let txs = (0..count).map(|_| clinic.record_by_a_stranger()).collect();
    clinic.batch(txs)
}

const KINDS: [(&str, Next); 3] =
    [("RegisterRecord", records), ("RecordAccess, permitted", accesses), ("CreateGrant", grants)];

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
    let (mut samples, batch) = (Samples::default(), strangers(&mut clinic, txs));
    for height in 1..=blocks as u64 {
        time(&mut samples, &clinic, &state, Height(height), &batch);
    }
    table.row("refused: unknown signer, map", &samples, txs);

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
    dry_runs();
}

/// A physician elsewhere asks for the record of a patient with so many grants, all of which are for that hospital.
fn dry_runs() {
    let mut table = Table::new("check_access, over a map");
    for rules in [0, 10, 100] {
        let (mut clinic, mut state) = Clinic::open(4, 1);
        let mut txs = vec![clinic.record()];
        txs.extend((0..rules).map(|_| clinic.grant()));
        let batch = clinic.batch(txs);
        let block = clinic.block(&state, Height(1), Hash::ZERO, batch);
        apply(&mut state, block.writes);
        let body = clinic.access().decoded.body;
        let Call::RecordAccess(call) = body.call else { unreachable!("an access") };
        let key = clinic.elsewhere(&body.sender).public_key();
        let who = member_of(&state, &key).expect("a whole state").expect("enrolled");
        let expected = if rules == 0 { Decision::Deny } else { Decision::Permit };
        let mut samples = Samples::default();
        for _ in 0..100 {
            samples.time(|| {
                for _ in 0..TOGETHER {
                    let decided = check_access(&state, clinic.next_time(), who, &call);
                    assert_eq!(decided.expect("a whole state").decision, expected);
                }
            });
        }
        table.row(&format!("{rules} rules"), &samples, TOGETHER);
    }
}
