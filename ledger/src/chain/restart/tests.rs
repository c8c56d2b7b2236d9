//! Checkpoints that end anywhere, over both stores.

use std::collections::BTreeSet;
use std::sync::Arc;

use epione_types::{BlockHeader, Height};

use super::Pace;
use crate::chain::tests::{block, certify, origin, stores};
use crate::chain::{Appended, Chain, ChainError, NewBlock, PROOF_HEIGHTS, keys};
use crate::store::{Batch, MemoryStore, Store};

/// Checkpoints every few blocks, in steps of one row.
const SHORT: Pace = Pace { changes_bytes_min: 4 << 10, rows_min: 1, blocks_max: 1 << 20 };

/// A block that sets 20 keys of 1,500, deletes 5, and now and then is empty.
fn wide_block(chain: &Chain) -> NewBlock {
    let n = chain.head().height.0 + 1;
    let key = |at: u64| format!("key{:04}", (n * 977 + at * 61) % 1_500).into_bytes();
    let writes = (0..if n.is_multiple_of(7) { 0 } else { 25 })
        .map(|at| (key(at), (at < 20).then(|| (n + at).to_be_bytes().to_vec())))
        .collect();
    let n = u8::try_from(n % 256).unwrap();
    NewBlock { writes, batch: vec![n; 100].into(), ..block(chain, n) }
}

fn wide(chain: &Chain) -> BlockHeader {
    let Appended::Stored(header) = chain.append(&wide_block(chain)).unwrap() else { panic!("it is new") };
    if header.height.0.is_multiple_of(3) {
        certify(chain, &header);
    }
    header
}

fn extend(chain: &Chain, blocks: u64) {
    for _ in 0..blocks {
        wide(chain);
    }
}

fn rows(store: &dyn Store, prefix: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut rows, mut next) = (Vec::new(), Some(vec![prefix]));
    while let Some(from) = next {
        let page = store.scan(&from, Some(&[prefix + 1]), 1_000).unwrap();
        rows.extend(page.rows);
        next = page.next;
    }
    rows
}

fn copy(store: &dyn Store) -> MemoryStore {
    let (copy, mut batch) = (MemoryStore::new(), Batch::new());
    (b'A'..=b'Z').flat_map(|prefix| rows(store, prefix)).for_each(|(key, value)| batch.put(key, value));
    copy.apply(batch).unwrap();
    copy
}

/// Root and proof at the ends of what is remembered, and here and there between.
fn same_memory(chain: &Chain, reopened: &Chain) {
    let head = chain.head();
    assert_eq!((head, chain.certified()), (reopened.head(), reopened.certified()));
    let oldest = reopened.oldest_provable(head.height);
    for height in (oldest.0..=head.height.0).step_by(37).chain([head.height.0]).map(Height) {
        assert_eq!(chain.state_root_at(height).unwrap(), reopened.state_root_at(height).unwrap());
        let key = format!("key{:04}", height.0 * 7 % 1_500);
        let proof = chain.prove(height, key.as_bytes()).unwrap();
        assert_eq!(proof, reopened.prove(height, key.as_bytes()).unwrap());
    }
    assert!(reopened.prove(oldest.minus(1), b"key0000").is_err() || oldest == Height::ZERO);
}

#[test]
fn a_checkpoint_can_be_broken_off_after_every_block() {
    let (stores, _dir) = stores();
    for store in stores {
        let chain = Chain::open_at(SHORT, store.clone(), &origin()).unwrap();
        extend(&chain, PROOF_HEIGHTS);
        assert_eq!(rows(&*store, keys::CHECKPOINT).len(), 0, "genesis is still within the proofs");
        let (mut names, mut unfinished) = (BTreeSet::new(), 0);
        for _ in 0..160 {
            wide(&chain);
            let now = rows(&*store, keys::CHECKPOINT);
            let new = names.insert(store.get(&[keys::CHECKPOINT]).unwrap());
            let writing = chain.kept.read().unwrap().writing.is_some();
            unfinished += usize::from(writing && now.len() > 1);
            if new || writing || chain.head().height.0.is_multiple_of(8) {
                same_memory(&chain, &Chain::open_at(SHORT, Arc::new(copy(&*store)), &origin()).unwrap());
            }
        }
        assert!(names.len() >= 4 && unfinished > 5, "{} checkpoints, {unfinished} unfinished", names.len());
        // What the newest checkpoint holds is dropped soon, and nothing above it is.
        let finished = chain.kept.read().unwrap().finished;
        let lowest = keys::height(&rows(&*store, keys::CHANGES)[0].0).unwrap();
        assert!(
            lowest > finished.minus(20) && finished > Height(50),
            "changes from {lowest}, checkpoint of {finished}"
        );
    }
}

#[test]
fn a_chain_that_loses_power_again_and_again_ends_as_one_that_never_did() {
    let reference = Chain::open(Arc::new(MemoryStore::new()), &origin()).unwrap();
    let headers: Vec<_> = (0..800).map(|_| wide(&reference)).collect();
    let store = MemoryStore::new();
    let (mut crashes, mut random) = (0, 1u64);
    loop {
        let chain = Chain::open_at(SHORT, Arc::new(store.clone()), &origin()).unwrap();
        let head = chain.head();
        assert!(
            head.height == Height::ZERO
                || headers[usize::try_from(head.height.0).unwrap() - 1].hash() == head.hash
        );
        if head.height >= Height(700) {
            break;
        }
        for _ in 0..(random >> 33) % 90 {
            wide(&chain);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if (random >> 33).is_multiple_of(20) {
                chain.sync().unwrap();
            }
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        store.crash(|unsynced| unsynced - unsynced.min(usize::try_from((random >> 33) % 8).unwrap()));
        crashes += 1;
    }
    assert!(crashes > 10 && !rows(&store, keys::CHECKPOINT).is_empty(), "{crashes} crashes");
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let store = MemoryStore::new();
    let chain = Chain::open_at(SHORT, Arc::new(store.clone()), &origin()).unwrap();
    extend(&chain, PROOF_HEIGHTS + 100);
    let refused = |store: MemoryStore, key: &[u8], value: Option<Vec<u8>>| {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        store.apply(batch).unwrap();
        let error = Chain::open(Arc::new(store), &origin()).unwrap_err();
        assert!(matches!(error, ChainError::Damaged { .. }), "{error}");
    };
    let mut name = store.get(&[keys::CHECKPOINT]).unwrap().unwrap();
    refused(copy(&store), &[keys::CHECKPOINT], None); // the changes below it are gone
    name[1] ^= 1; // its height
    refused(copy(&store), &[keys::CHECKPOINT], Some(name));
    let (key, value) = rows(&store, keys::CHANGES).pop().unwrap();
    refused(copy(&store), &key, Some(value[..value.len() - 1].to_vec()));
    refused(copy(&store), &key, None);
}
