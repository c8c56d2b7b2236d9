//! A chain that an earlier release made gives the same headers in this one (failures.md, O10).
//!
//! `tests/golden/chain.txt` is a genesis and blocks, bytes and all: it is read, and executed as it stands. What makes it fall
//! changes what past transactions mean. Once a release is out, that needs an execution version of its own (R20) and a second
//! file; until then a deliberate change writes it anew: `EPIONE_BLESS=1 cargo test -p epione-node --test release`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use epione_consensus::Payload;
use epione_ledger::chain::Chain;
use epione_ledger::store::MemoryStore;
use epione_node::executor::Executor;
use epione_node::start::origin;
use epione_node::validate::validate_batch;
use epione_types::sign::Zip215;
use epione_types::{Batch, BlockHeader, Genesis, Height, ValidatorIndex};
use support::{Cluster, SECOND};

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chain.txt")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A ledger that starts at a genesis and executes what it is given, checked as a validator does.
struct Ledger {
    genesis: Genesis,
    executor: Executor,
}

impl Ledger {
    fn new(genesis: Genesis) -> Self {
        let chain = Chain::open(Arc::new(MemoryStore::new()), &origin(&genesis)).unwrap();
        let executor = Executor::new(Arc::new(chain));
        Self { genesis, executor }
    }

    fn append(&self, batch: Vec<u8>) -> (BlockHeader, usize) {
        let params = &self.genesis.validators.params;
        let payload = Payload::decode(batch.into(), params).unwrap();
        let txs = validate_batch(&payload, &[], self.genesis.chain_id(), params, &Zip215).unwrap();
        let count = txs.len();
        let height = Height(self.executor.chain().head().height.0 + 1);
        let written = self.executor.append(height, &payload, Some(txs), 0).unwrap();
        (written.header, count)
    }
}

#[test]
fn a_chain_of_the_first_release_gives_the_same_headers() {
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(file(), made()).unwrap();
        panic!("chain.txt is blessed: read the difference, then run without EPIONE_BLESS");
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let (id, genesis) = lines.next().unwrap().split_once(" | ").unwrap();
    let ledger = Ledger::new(serde_json::from_str(genesis).unwrap());
    assert_eq!(ledger.genesis.chain_id().to_string(), id, "the chain's id");
    let (mut blocks, mut txs) = (0, 0);
    for line in lines {
        let parts: Vec<&str> = line.split(" | ").collect();
        let (header, count) = ledger.append(bytes(parts[3]));
        let found =
            [header.hash().to_string(), header.state_root.to_string(), header.receipts_root.to_string()];
        assert_eq!(found, parts[..3], "block {}", header.height);
        (blocks, txs) = (blocks + 1, txs + count);
    }
    assert!(blocks >= 6 && txs >= 10, "{blocks} blocks, {txs} transactions");
}

/// The story of enrolment, records, grants and an access, two transactions a block; an empty block; the null batch.
fn made() -> String {
    let mut cluster = Cluster::new(4);
    let ledger = Ledger::new(cluster.genesis().clone());
    let genesis = serde_json::to_string(&ledger.genesis).unwrap();
    let about = "# A chain as the first release makes it (tests/release.rs).\n# chain id | genesis, then per block: header | state root | receipts root | batch\n";
    let mut text = format!("{about}{} | {genesis}\n", ledger.genesis.chain_id());
    let txs = cluster.story();
    let proposed = |at: usize, txs: &[epione_types::SignedTx]| Batch::Proposed {
        proposer: ValidatorIndex(0),
        stamp: ledger.genesis.timestamp.plus(at as u64 * SECOND),
        txs: txs.to_vec(),
    };
    let mut batches: Vec<Batch> = txs.chunks(2).enumerate().map(|(at, txs)| proposed(at + 1, txs)).collect();
    batches.push(Batch::Null);
    batches.push(proposed(20, &[]));
    for batch in batches {
        let payload = Payload::new(batch);
        let (header, _) = ledger.append(payload.bytes().to_vec());
        let (hash, state, receipts) = (header.hash(), header.state_root, header.receipts_root);
        text += &format!("{hash} | {state} | {receipts} | {}\n", hex(payload.bytes()));
    }
    text
}
