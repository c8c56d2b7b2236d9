//! The block writer over both stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use epione_types::codes::Refusal;
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::{
    Certificate, ChainId, Epoch, Hash, Height, Outcome, Params, Receipt, SignatureSet, TimestampMs, Turn,
    TxId, ValidatorSet,
};

use super::{Appended, Chain, ChainError, NewBlock, Origin, PROOF_HEIGHTS};
use crate::store::{Batch, MemoryStore, Page, SledStore, Store, StoreError};

pub(crate) fn origin() -> Origin {
    let writes = BTreeMap::from([(b"cfg/policy".to_vec(), Some(b"v1".to_vec()))]);
    Origin { chain: ChainId([1; 32]), timestamp: TimestampMs(1_000), writes }
}

/// A block with one transaction that sets `k{n}` and the counter, and deletes `k{n-3}`.
pub(crate) fn block(chain: &Chain, n: u8) -> NewBlock {
    let head = chain.head();
    let height = head.height.next();
    let receipt = Receipt {
        version: RECEIPT_VERSION,
        tx_id: TxId([n; 32]),
        height,
        index: 0,
        outcome: Outcome::Ok,
        events: Vec::new(),
    };
    let writes = BTreeMap::from([
        (format!("k{n}").into_bytes(), Some(vec![n; 100])),
        (b"counter".to_vec(), Some(vec![n])),
        (format!("k{}", n.wrapping_sub(3)).into_bytes(), None),
    ]);
    NewBlock {
        height,
        parent: head.hash,
        epoch: Epoch::ZERO,
        timestamp: head.timestamp.next(),
        batch_digest: Hash([n; 32]),
        batch: vec![n; 10_000].into(),
        receipts: vec![receipt],
        writes,
        next_epoch_hash: Hash([7; 32]),
        epoch_begins: None,
        log_position: u64::from(n) * 10,
    }
}

fn append(chain: &Chain, n: u8) -> epione_types::BlockHeader {
    match chain.append(&block(chain, n)).unwrap() {
        Appended::Stored(header) => header,
        Appended::AlreadyHave(_) => panic!("block {n} is new"),
    }
}

pub(crate) fn stores() -> (Vec<Arc<dyn Store>>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let sled = SledStore::open(dir.path(), 16 << 20).unwrap();
    (vec![Arc::new(MemoryStore::default()), Arc::new(sled)], dir)
}

#[test]
fn r21_a_gap_in_the_walk_from_genesis_is_named_and_not_left_out() {
    let chain = Chain::open(Arc::new(MemoryStore::default()), &origin()).unwrap();
    let last = append(&chain, 1);
    let set = ValidatorSet { epoch: Epoch(1), validators: Vec::new(), params: Params::default() };
    let first = NewBlock { epoch_begins: Some(set.clone()), ..block(&chain, 2) };
    chain.append(&first).unwrap();
    let lacks = |epoch| match chain.turns(Epoch(epoch)) {
        Err(ChainError::NoTurn { epoch, what }) => (epoch.0, what),
        other => panic!("{other:?}"),
    };
    assert_eq!(chain.turns(Epoch(0)).unwrap(), []);
    assert_eq!(lacks(1), (1, "the certificate of block 1".to_owned()));
    certify(&chain, &last);
    let certificate = chain.certificate(Height(1)).unwrap().unwrap();
    assert_eq!(chain.turns(Epoch(1)).unwrap(), [Turn { last, certificate, set }]);
    assert_eq!(lacks(2), (2, "the set of validators".to_owned()));
    assert!(matches!(chain.turns(Epoch(5_000)), Err(ChainError::EpochsTooMany(Epoch(5_000)))));
}

#[test]
fn the_first_receipt_of_an_id_stands_whatever_becomes_of_its_repetitions() {
    let (stores, _dir) = stores();
    for store in stores {
        let chain = Chain::open(store, &origin()).unwrap();
        let first = append(&chain, 1);
        for (n, refusal) in [(2, Refusal::Duplicate), (3, Refusal::Expired)] {
            let mut again = block(&chain, n);
            again.receipts[0].tx_id = TxId([1; 32]);
            again.receipts[0].outcome = Outcome::Refused(refusal);
            chain.append(&again).unwrap();
            let receipt = chain.receipt(TxId([1; 32])).unwrap().unwrap();
            assert_eq!((receipt.height, receipt.outcome), (first.height, Outcome::Ok), "{refusal:?}");
        }
        // Too late at its first occurrence: that is its outcome, and the second changes it as little.
        for n in [4, 5] {
            let mut late = block(&chain, n);
            late.receipts[0].tx_id = TxId([4; 32]);
            late.receipts[0].outcome = Outcome::Refused(Refusal::Expired);
            chain.append(&late).unwrap();
            assert_eq!(chain.receipt(TxId([4; 32])).unwrap().unwrap().height, Height(4));
        }
    }
}

#[test]
fn a_block_is_read_back_as_written() {
    let (stores, _dir) = stores();
    let mut tips = Vec::new();
    for store in stores {
        let chain = Chain::open(store, &origin()).unwrap();
        let headers: Vec<_> = (1..=5).map(|n| append(&chain, n)).collect();
        assert_eq!(chain.head().hash, headers[4].hash());
        assert_eq!(headers[1].parent, headers[0].hash());
        assert_eq!(chain.header(Height(3)).unwrap().unwrap(), headers[2]);
        assert_eq!(chain.log_position(Height(3)).unwrap(), Some(30));
        assert_eq!(chain.batch(Height(2)).unwrap().unwrap(), vec![2; 10_000]);
        assert_eq!(chain.receipt(TxId([4; 32])).unwrap().unwrap().height, Height(4));
        assert_eq!(chain.receipt(TxId([9; 32])).unwrap(), None);
        assert_eq!(chain.state(b"counter").unwrap().unwrap(), [5]);
        assert_eq!(chain.state(b"k2").unwrap(), None, "deleted by block 5");
        assert_eq!(chain.state_range(b"k", b"l", 10).unwrap().len(), 3);
        tips.push(chain.head());
    }
    assert_eq!(tips[0], tips[1], "both stores give the same chain");
}

#[test]
fn only_the_tips_successor_comes_in_and_once() {
    let chain = Chain::open(Arc::new(MemoryStore::default()), &origin()).unwrap();
    let first = block(&chain, 1);
    chain.append(&first).unwrap();
    let root = chain.head().state_root;
    assert!(matches!(chain.append(&first).unwrap(), Appended::AlreadyHave(_)));
    assert_eq!(chain.head().state_root, root);
    let mut other = block(&chain, 2);
    other.parent = Hash([9; 32]);
    assert!(matches!(chain.append(&other), Err(ChainError::NotNext { .. })));
    let mut gap = block(&chain, 2);
    gap.height = Height(3);
    assert!(matches!(chain.append(&gap), Err(ChainError::NotNext { .. })));
    let mut replaced = first;
    replaced.batch_digest = Hash([8; 32]);
    assert!(
        matches!(chain.append(&replaced), Err(ChainError::NotNext { .. })),
        "another block at a taken height"
    );
}

#[test]
fn opening_again_gives_the_same_head_proofs_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::open(Arc::new(SledStore::open(dir.path(), 16 << 20).unwrap()), &origin()).unwrap();
    let header = (1..=20).map(|n| append(&chain, n)).last().unwrap();
    let certificate = Certificate {
        epoch: Epoch::ZERO,
        height: Height(20),
        header_hash: header.hash(),
        signatures: SignatureSet::default(),
    };
    chain.certify(&certificate).unwrap();
    let head = chain.head();
    let proof = chain.prove(Height(12), b"counter").unwrap();
    drop(chain);
    let chain = Chain::open(Arc::new(SledStore::open(dir.path(), 16 << 20).unwrap()), &origin()).unwrap();
    assert_eq!((chain.head(), chain.certified()), (head, Some(certificate)));
    assert_eq!(chain.prove(Height(12), b"counter").unwrap(), proof);
    append(&chain, 21);
}

#[test]
fn proofs_of_presence_and_absence_hold_at_every_remembered_height() {
    let chain = Chain::open(Arc::new(MemoryStore::default()), &origin()).unwrap();
    let headers: Vec<_> = (1..=10).map(|n| append(&chain, n)).collect();
    for header in &headers {
        let n = u8::try_from(header.height.0).unwrap();
        let proof = chain.prove(header.height, b"counter").unwrap();
        let holds = |value: Option<&[u8]>| proof.verify(&header.state_root, b"counter", value).is_ok();
        assert!(holds(Some(&[n])) && !holds(Some(&[n + 1])) && !holds(None));
        let absent = chain.prove(header.height, b"never written").unwrap();
        assert!(absent.verify(&header.state_root, b"never written", None).is_ok());
    }
    assert!(chain.prove(Height(11), b"counter").is_err());
}

pub(crate) fn certify(chain: &Chain, header: &epione_types::BlockHeader) {
    let certificate = Certificate {
        epoch: Epoch::ZERO,
        height: header.height,
        header_hash: header.hash(),
        signatures: SignatureSet::default(),
    };
    chain.certify(&certificate).unwrap();
}

#[test]
fn proofs_reach_back_from_the_certified_height_and_no_further_than_the_window_without_one() {
    let store = MemoryStore::default();
    let chain = Chain::open(Arc::new(store.clone()), &origin()).unwrap();
    let provable = |chain: &Chain, oldest: u64| {
        let proves = |height| chain.prove(Height(height), b"counter").is_ok();
        assert!(proves(oldest) && !proves(oldest - 1), "from {oldest} on");
        assert!(proves(chain.head().height.0) && !proves(chain.head().height.0 + 1));
    };
    let headers: Vec<_> = (0..350u16).map(|n| append(&chain, (n % 256).try_into().unwrap())).collect();
    provable(&chain, 350 - PROOF_HEIGHTS - super::WINDOW_MAX);
    certify(&chain, &headers[329]); // height 330
    append(&chain, 1);
    provable(&chain, 330 - PROOF_HEIGHTS);
    drop(chain);
    provable(&Chain::open(Arc::new(store), &origin()).unwrap(), 330 - PROOF_HEIGHTS);
}

#[test]
fn another_chains_store_and_damage_at_the_tip_are_refused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let chain = Chain::open(store.clone(), &origin()).unwrap();
    append(&chain, 1);
    drop(chain);
    let other = Origin { chain: ChainId([2; 32]), ..origin() };
    assert!(matches!(Chain::open(store.clone(), &other), Err(ChainError::OtherChain { .. })));
    // A changed header no longer fits the state.
    let mut header = Chain::open(store.clone(), &origin()).unwrap().header(Height(1)).unwrap().unwrap();
    header.state_root = Hash([3; 32]);
    let mut batch = Batch::new();
    batch.put(super::keys::at(super::keys::HEADER, Height(1)), epione_types::codec::encode(&(header, 10u64)));
    store.apply(batch).unwrap();
    assert!(matches!(Chain::open(store, &origin()), Err(ChainError::Damaged { .. })));
}

/// Fails the first write after `writes` of them.
struct Failing(MemoryStore, std::sync::atomic::AtomicUsize);

impl Store for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        self.0.scan(from, to, limit)
    }
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            return Err(StoreError::Disk { doing: "test", source: std::io::Error::other("disk full") });
        }
        self.0.apply(batch)
    }
    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.0.size_bytes()
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_written_and_reading_goes_on() {
    let store = Failing(MemoryStore::default(), std::sync::atomic::AtomicUsize::new(2));
    let chain = Chain::open(Arc::new(store), &origin()).unwrap();
    append(&chain, 1);
    assert!(matches!(chain.append(&block(&chain, 2)), Err(ChainError::Store(_))));
    assert!(matches!(chain.append(&block(&chain, 2)), Err(ChainError::Poisoned(_))));
    assert_eq!(chain.head().height, Height(1));
    let mut reads = 0;
    chain.consistent(|| reads += 1);
    assert_eq!(reads, 1, "no block comes in that would have to be waited for");
    assert_eq!(chain.state(b"counter").unwrap().unwrap(), [1]);
}

#[test]
fn gathered_blocks_are_seen_at_once_and_stored_together() {
    let store = MemoryStore::default();
    let stored = || Chain::open(Arc::new(store.clone()), &origin()).unwrap().head().height.0;
    let chain = Chain::open(Arc::new(store.clone()), &origin()).unwrap();
    append(&chain, 1);
    chain.gather();
    let header = append(&chain, 2);
    append(&chain, 3);
    certify(&chain, &header);
    assert_eq!(chain.head().height, Height(3));
    assert_eq!(chain.header(Height(2)).unwrap(), Some(header.clone()));
    assert_eq!(chain.state(b"counter").unwrap().unwrap(), [3]);
    let proof = chain.prove(Height(2), b"counter").unwrap();
    assert!(proof.verify(&header.state_root, b"counter", Some(&[2])).is_ok());
    assert_eq!((chain.gathered() > 0, stored()), (true, 1), "a crash would lose both, and nothing else");
    chain.settle().unwrap();
    assert_eq!((chain.gathered(), stored()), (0, 3));
    append(&chain, 4);
    assert_eq!(stored(), 4, "nothing is gathered any more");
}

#[test]
fn what_cannot_be_settled_poisons_the_chain_and_is_still_read() {
    let memory = MemoryStore::default();
    let store = Failing(memory.clone(), std::sync::atomic::AtomicUsize::new(2));
    let chain = Chain::open(Arc::new(store), &origin()).unwrap();
    append(&chain, 1);
    chain.gather();
    let header = append(&chain, 2);
    assert!(!chain.is_poisoned());
    assert!(matches!(chain.settle(), Err(ChainError::Store(_))));
    assert!(chain.is_poisoned());
    assert!(matches!(chain.append(&block(&chain, 3)), Err(ChainError::Poisoned(_))));
    assert_eq!(chain.header(Height(2)).unwrap().unwrap().height, chain.head().height);
    // The disk has room again: what waits goes first.
    certify(&chain, &header);
    let again = Chain::open(Arc::new(memory), &origin()).unwrap();
    assert_eq!((again.head().height, again.certified().unwrap().height), (Height(2), Height(2)));
}

#[test]
fn what_is_read_while_a_block_comes_in_is_read_again() {
    let chain = Chain::open(Arc::new(MemoryStore::default()), &origin()).unwrap();
    append(&chain, 1);
    let coming = |height| chain.coming.store(height, std::sync::atomic::Ordering::SeqCst);
    coming(2); // as between its batch and the head
    let mut reads = 0;
    let (head, _) = chain.consistent(|| {
        reads += 1;
        if reads == 3 {
            coming(1);
        }
    });
    assert_eq!((head.height, reads), (Height(1), 3));
    append(&chain, 2);
    let mut reads = 0;
    let (head, value) = chain.consistent(|| {
        reads += 1;
        chain.state(b"counter").unwrap().unwrap()
    });
    assert_eq!((head.height, value, reads), (Height(2), vec![2], 1));
}
