//! The chain on sled, in a process that is killed again and again: what it said is synced is there, and what is there
//! is whole. (A killed process is not a power cut: what the system had taken is not lost here.)
//!
//! The process is this very test binary, running only [`child`].
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use epione_ledger::chain::{Appended, Chain, NewBlock, Origin};
use epione_ledger::state_proof::{self, StateLeaf};
use epione_ledger::store::SledStore;
use epione_ledger::tree::StateTree;
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Outcome, Receipt, SignatureSet, TimestampMs, TxId,
};

const DIR: &str = "EPIONE_KILL_TEST_DIR";
const TXS: u32 = 40;

fn open(dir: &Path) -> Chain {
    let origin = Origin { chain: ChainId([1; 32]), timestamp: TimestampMs(1_000), writes: BTreeMap::new() };
    let store = SledStore::open(dir, 16 << 20).unwrap();
    Chain::open(Arc::new(store), &origin).unwrap()
}

/// Bytes that look random and are the same in every process.
fn random(height: Height, at: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let seed = [height.0.to_be_bytes().as_slice(), &at.to_be_bytes()].concat();
    blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut bytes);
    bytes
}

fn tx_id(height: Height, index: u32) -> TxId {
    TxId(random(height, index, 32).try_into().unwrap())
}

/// The block of a height: the same whenever it is made.
fn block(height: Height, parent: Hash) -> NewBlock {
    let receipt = |index| Receipt {
        version: RECEIPT_VERSION,
        tx_id: tx_id(height, index),
        height,
        index,
        outcome: Outcome::Ok,
        events: Vec::new(),
    };
    let written = (0..30).map(|at| (random(height, 1_000 + at, 30), Some(random(height, at, 90))));
    let deleted = (0..10).map(|at| (random(height.minus(5), 1_000 + at, 30), None));
    NewBlock {
        height,
        parent,
        epoch: Epoch::ZERO,
        timestamp: TimestampMs(1_000 + height.0),
        batch_digest: Hash(random(height, 0, 32).try_into().unwrap()),
        batch: random(height, 0, 30_000).into(),
        receipts: (0..TXS).map(receipt).collect(),
        writes: deleted.chain(written).collect(),
        next_epoch_hash: Hash([7; 32]),
        epoch_begins: None,
        log_position: height.0 * 10,
    }
}

fn certificate(header: &BlockHeader) -> Certificate {
    Certificate {
        epoch: Epoch::ZERO,
        height: header.height,
        header_hash: header.hash(),
        signatures: SignatureSet::default(),
    }
}

#[test]
#[ignore = "runs until it is killed, by the test below"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let chain = open(Path::new(&dir));
    loop {
        let head = chain.head();
        let Appended::Stored(header) = chain.append(&block(head.height.next(), head.hash)).unwrap() else {
            panic!("it is new")
        };
        chain.certify(&certificate(&header)).unwrap();
        if header.height.0.is_multiple_of(3) {
            let height = chain.sync().unwrap();
            println!("synced {height} {}", chain.head().hash);
            std::io::stdout().flush().unwrap();
        }
    }
}

/// Runs the child until it has said `words` times what it synced, kills it, and returns the last that it said.
fn run_and_kill(dir: &Path, words: u32) -> (Height, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = None;
    let synced = lines.filter_map(|line| line.split_once("synced ").map(|(_, word)| word.to_owned()));
    for (word, at) in synced.zip(1u32..) {
        if at == words {
            child.kill().unwrap(); // what it says until it is dead counts as well
        }
        last = Some(word);
    }
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it ended by itself");
    let last = last.expect("it said something");
    let (height, hash) = last.split_once(' ').unwrap();
    (Height(height.parse().unwrap()), hash.to_owned())
}

/// Everything of the blocks from `from` on, and every key of the state against the root.
fn check(chain: &Chain, from: Height) {
    let head = chain.head();
    let mut parent = chain.header(from.minus(1)).unwrap().map_or(Hash([1; 32]), |header| header.hash());
    for height in (from.0.max(1)..=head.height.0).map(Height) {
        let header = chain.header(height).unwrap().unwrap();
        let wanted = block(height, parent);
        assert_eq!((header.parent, header.batch_digest), (parent, wanted.batch_digest));
        assert_eq!(chain.log_position(height).unwrap(), Some(wanted.log_position));
        assert_eq!(chain.batch(height).unwrap().unwrap(), wanted.batch);
        assert_eq!(chain.receipts(height).unwrap().unwrap(), wanted.receipts);
        let found = chain.locate(tx_id(height, TXS - 1)).unwrap().unwrap();
        assert_eq!((found.height, found.index), (height, TXS - 1));
        parent = header.hash();
    }
    assert_eq!(parent, head.hash);
    let certified = chain.certified().map_or(Height::ZERO, |certificate| certificate.height);
    assert!(certified == head.height || certified.next() == head.height);

    let (mut leaves, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let rows = chain.state_after(after.as_deref(), 5_000).unwrap();
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        leaves.extend(rows.iter().map(|(key, value)| StateLeaf {
            path: state_proof::path(key),
            value: state_proof::value_hash(value),
        }));
    }
    leaves.sort();
    assert_eq!(StateTree::load(head.height, leaves).unwrap().root(), head.state_root);
}

#[test]
fn what_was_synced_survives_every_kill_and_what_is_there_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let mut from = Height(1);
    for words in [1, 40, 25, 20, 2, 3, 1, 2, 30] {
        let (synced, hash) = run_and_kill(&dir, words);
        let chain = open(&dir);
        assert!(chain.head().height >= synced, "{} is there, {synced} was synced", chain.head().height);
        assert_eq!(chain.header(synced).unwrap().unwrap().hash().to_string(), hash);
        check(&chain, from);
        from = synced;
    }
    check(&open(&dir), Height(1));
    let store = SledStore::open(&dir, 16 << 20).unwrap();
    let checkpoint = epione_ledger::tree::checkpoint::load(&store, b'P').unwrap();
    assert!(checkpoint.is_some_and(|tree| tree.height() > Height::ZERO), "a checkpoint was finished");
}
