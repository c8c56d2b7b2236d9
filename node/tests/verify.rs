//! `ledger verify` finds every kind of damage, and where it begins.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::sync::Arc;

use epione_ledger::disk::MemoryDisk;
use epione_ledger::snapshot::Shelf;
use epione_ledger::store::{Batch, MemoryStore, Store, prefix_end};
use epione_node::verify::{Report, verify};
use epione_types::{Height, codec};
use support::{Cluster, SECOND};

/// A ledger of some blocks that a cluster of four agreed on.
fn ledger() -> (MemoryStore, epione_types::Genesis) {
    let mut cluster = Cluster::new(4);
    let mut ids = Vec::new();
    for tx in cluster.story() {
        ids.push(cluster.submit(0, tx));
        cluster.run(SECOND);
    }
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&ids) && cluster.all_equal_and_certified());
    (cluster.store(0), cluster.genesis().clone())
}

fn shelf() -> Shelf<MemoryDisk> {
    Shelf::open(MemoryDisk::new()).unwrap()
}

fn check(store: &MemoryStore, genesis: &epione_types::Genesis) -> Report {
    verify(Arc::new(store.clone()), &mut shelf(), genesis, |_, _| {}).unwrap()
}

fn rows(store: &MemoryStore, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.scan(prefix, prefix_end(prefix).as_deref(), usize::MAX).unwrap().rows
}

fn put(store: &MemoryStore, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.apply(batch).unwrap();
}

#[test]
fn a_sound_ledger_is_executed_again_to_its_tip() {
    let (store, genesis) = ledger();
    let mut seen = Vec::new();
    let report =
        verify(Arc::new(store), &mut shelf(), &genesis, |height, tip| seen.push((height, tip))).unwrap();
    assert_eq!(report.damage, None);
    assert_eq!(report.transactions, 10);
    assert!(report.height >= Height(10) && report.certified == report.height && report.state_keys > 10);
    assert_eq!(seen.len() as u64, report.height.0);
}

#[test]
fn every_kind_of_damage_is_found_at_its_height() {
    let (store, genesis) = ledger();
    let height_of = |key: &[u8]| Height(u64::from_be_bytes(key[1..9].try_into().unwrap()));
    // Batches, receipts and certificates of the third block: one flipped bit each, then put back.
    for (prefix, what) in [(b'B', "batch"), (b'R', "receipts"), (b'C', "certificate")] {
        let (key, value) =
            rows(&store, &[prefix]).into_iter().find(|(key, _)| height_of(key) == Height(3)).unwrap();
        let mut bad = value.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        put(&store, &key, &bad);
        let damage = check(&store, &genesis).damage.unwrap();
        assert_eq!(damage.height, Height(3), "{what}: {damage}");
        put(&store, &key, &value);
    }
    // An index entry that leads elsewhere.
    let (key, value) = rows(&store, b"T").remove(0);
    put(&store, &key, &codec::encode(&(Height(1), 77u32)));
    assert!(check(&store, &genesis).damage.unwrap().what.contains("index"));
    put(&store, &key, &value);
    // A header below the tip that says something else.
    let (key, value) = rows(&store, b"H").into_iter().find(|(key, _)| height_of(key) == Height(2)).unwrap();
    let mut bad = value.clone();
    bad[60] ^= 1;
    put(&store, &key, &bad);
    assert_eq!(check(&store, &genesis).damage.unwrap().height, Height(2));
    put(&store, &key, &value);
    // A value of the state that nobody wrote: headers and roots are all right, the flat state is not.
    let (key, value) = rows(&store, b"Srec/").remove(0);
    put(&store, &key, b"changed");
    let damage = check(&store, &genesis).damage.unwrap();
    assert!(damage.what.contains("state"), "{damage}");
    put(&store, &key, &value);
    put(&store, b"Szzz/extra", b"");
    assert!(check(&store, &genesis).damage.unwrap().what.contains("state"));
}

#[test]
fn another_genesis_is_refused() {
    let (store, mut genesis) = ledger();
    genesis.timestamp = genesis.timestamp.next();
    assert!(verify(Arc::new(store), &mut shelf(), &genesis, |_, _| {}).is_err());
}

/// A snapshot in the place of the first blocks: its node's store and shelf.
fn begun_by_a_snapshot() -> (Cluster, MemoryStore, MemoryDisk) {
    let mut cluster = Cluster::with_snapshots(4, 8, 8);
    cluster.run(SECOND);
    cluster.cut(3);
    for number in 0..24 {
        cluster.patient_reaches(number, 0..3);
    }
    cluster.run(2 * SECOND);
    cluster.bring_back(3);
    cluster.run_until(60 * SECOND, Cluster::all_equal_and_certified);
    for number in 100..104 {
        cluster.patient_reaches(number, 0..4);
    }
    cluster.run_until(60 * SECOND, Cluster::all_equal_and_certified);
    assert!(cluster.base(3) >= 8);
    let (store, shelf) = (cluster.store(3), cluster.shelf(3));
    (cluster, store, shelf)
}

#[test]
fn a_ledger_that_begins_with_a_snapshot_is_verified_from_it_on() {
    let (cluster, store, disk) = begun_by_a_snapshot();
    let genesis = cluster.genesis();
    let check = |store: &MemoryStore, disk: &MemoryDisk| {
        verify(Arc::new(store.clone()), &mut Shelf::open(disk.clone()).unwrap(), genesis, |_, _| {})
    };
    let report = check(&store, &disk).unwrap();
    assert_eq!((&report.damage, report.from.0), (&None, cluster.base(3)));
    assert_eq!(report.height, cluster.node(3).head().height);
    assert!(report.transactions >= 4 && report.state_keys > 20, "{report:?}");
    // Without the snapshot nothing can be said, and a damaged one is damage.
    let error = check(&store, &MemoryDisk::new()).unwrap_err();
    assert!(error.to_string().contains("begins with a snapshot of height"), "{error}");
    let chunks = format!("{:020}.chunks", report.from.0);
    disk.damage(&chunks, |bytes| bytes[20] ^= 1);
    let damage = check(&store, &disk).unwrap().damage.unwrap();
    assert!(damage.height == report.from && damage.what.contains("chunk 0"), "{damage}");
    disk.damage(&chunks, |bytes| bytes[20] ^= 1);
    // A value of the state that no block wrote.
    let (key, _) = rows(&store, b"S").into_iter().next_back().unwrap();
    put(&store, &key, b"another");
    assert!(check(&store, &disk).unwrap().damage.unwrap().what.contains("the state differs first"));
}
