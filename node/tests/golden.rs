//! Every frame between validators and every record of the durable pool, byte for byte, in `tests/golden/*.txt`.
//!
//! Validators of one network run different builds for a while, and a pool outlives its binary: a change of these bytes is
//! another stream name or another `pool_log::RECORD_VERSION`. To bless a deliberate change:
//! `EPIONE_BLESS=1 cargo test -p epione-node --test golden`, which writes the files and fails all the same; then read the
//! difference and run again without. What is inside a message is pinned in `consensus/tests/golden`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use epione_consensus::{BlocksAnswer, CommitCertificate, FetchedBlock, Kind, Message, Payload, Vote};
use epione_ledger::snapshot::SnapshotId;
use epione_node::divergence::Execution;
use epione_node::mempool::Client;
use epione_node::network::Class;
use epione_node::pool_log::{RECORD_BYTES_MAX, RECORD_VERSION, Record};
use epione_node::wire::Frame;
use epione_types::block::HEADER_VERSION;
use epione_types::codes::Refusal;
use epione_types::id::OrgId;
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::tx::{MAX_BODY_BYTES, MAX_SIGNATURES, TxSignature};
use epione_types::{
    Batch, BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Outcome, Receipt, SignatureSet, SignedTx,
    Signer as _, TimestampMs, ValidatorIndex, View,
};
use support::key;

const CHAIN: ChainId = ChainId([0xcc; 32]);

/// One golden file being computed: a line an item, `name | bytes | hex`.
struct Golden {
    name: &'static str,
    text: String,
}

impl Golden {
    fn new(name: &'static str, about: &str) -> Self {
        Self { name, text: format!("# {about}\n# name | bytes | hex\n") }
    }

    fn line(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.text, "{name} | {} | {hex}", bytes.len()).unwrap();
    }

    /// Compares with the file in the repository.
    fn check(self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(self.name);
        if std::env::var_os("EPIONE_BLESS").is_some() {
            std::fs::write(&path, &self.text).unwrap();
            panic!("{} is blessed: read the difference, then run without EPIONE_BLESS", self.name);
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (wanted, found)) in wanted.lines().zip(self.text.lines()).enumerate() {
            assert_eq!(found, wanted, "format changed: tests/golden/{} line {}", self.name, number + 1);
        }
        assert_eq!(self.text.lines().count(), wanted.lines().count(), "tests/golden/{}", self.name);
    }
}

fn tx() -> SignedTx {
    SignedTx::sign(Bytes::from_static(b"a transaction"), &[&key("sender"), &key("co-signer")])
}

fn payload() -> Payload {
    let stamp = TimestampMs(1_767_225_600_000);
    Payload::new(Batch::Proposed { proposer: ValidatorIndex(0), stamp, txs: vec![tx()] })
}

/// A frame of each kind, and of each kind of message that has a stream of its own.
fn frames() -> Vec<(&'static str, Frame)> {
    let vote = |kind| {
        let payload = payload();
        let vote = Vote { kind, epoch: Epoch(0), view: View(2), height: Height(7), digest: payload.digest() };
        vote.sign(CHAIN, ValidatorIndex(2), &key("hospital2.validator"))
    };
    let signatures =
        || SignatureSet::from_iter([(ValidatorIndex(2), key("hospital2.validator").sign(b"abc"))]);
    let header = BlockHeader {
        version: HEADER_VERSION,
        epoch: Epoch(0),
        height: Height(7),
        parent: Hash([1; 32]),
        timestamp: TimestampMs(1_767_225_600_001),
        batch_digest: payload().digest(),
        txs_root: Hash([2; 32]),
        receipts_root: Hash([3; 32]),
        state_root: Hash([4; 32]),
        next_epoch_hash: Hash([5; 32]),
    };
    let certificate = Certificate {
        epoch: Epoch(0),
        height: Height(7),
        header_hash: header.hash(),
        signatures: signatures(),
    };
    let commits = CommitCertificate {
        epoch: Epoch(0),
        view: View(2),
        height: Height(7),
        digest: payload().digest(),
        commits: signatures(),
    };
    let id = SnapshotId(Hash([6; 32]));
    let batch = payload().bytes().clone();
    let execution = |changes| {
        let receipt = Receipt {
            version: RECEIPT_VERSION,
            tx_id: tx().id(),
            height: Height(7),
            index: 0,
            outcome: Outcome::Refused(Refusal::Duplicate),
            events: Vec::new(),
        };
        Frame::Execution(Box::new(Execution { header: header.clone(), receipts: vec![receipt], changes }))
    };
    let executions = [execution(None), execution(Some(Bytes::from_static(b"changes")))];
    let [forgotten, execution] = executions;
    let blocks = vec![FetchedBlock { header, batch: batch.clone() }];
    vec![
        ("Message(Vote)", Frame::Message(Message::Vote(vote(Kind::Prepare)))),
        ("Message(Proposal), alone", Frame::Message(Message::Proposal(vote(Kind::PrePrepare), None))),
        (
            "Message(Proposal), with its batch",
            Frame::Message(Message::Proposal(vote(Kind::PrePrepare), Some(batch.clone()))),
        ),
        ("Message(Batch)", Frame::Message(Message::Batch(batch))),
        ("Message(Commits)", Frame::Message(Message::Commits(commits))),
        ("Message(Certificate)", Frame::Message(Message::Certificate(certificate.clone()))),
        ("Transactions, none", Frame::Transactions(Vec::new())),
        ("Transactions", Frame::Transactions(vec![tx(), tx()])),
        ("FetchBatch", Frame::FetchBatch { height: Height(7), digest: payload().digest() }),
        ("FetchBlocks", Frame::FetchBlocks { from: Height(7), to: Height(u64::MAX) }),
        ("Blocks", Frame::Blocks(BlocksAnswer { blocks, certificate })),
        ("FetchSnapshot", Frame::FetchSnapshot { above: Height(7) }),
        ("Snapshot, none", Frame::Snapshot(None)),
        ("Snapshot", Frame::Snapshot(Some(Bytes::from_static(b"manifest")))),
        ("FetchChunk", Frame::FetchChunk { id, index: 3 }),
        ("Chunk, none", Frame::Chunk { id, index: 3, bytes: None }),
        ("Chunk", Frame::Chunk { id, index: 3, bytes: Some(Bytes::from_static(b"chunk")) }),
        ("FetchExecution", Frame::FetchExecution { height: Height(7) }),
        ("Execution, changes forgotten", forgotten),
        ("Execution", execution),
    ]
}

/// The kinds of frames: a new one has to be named here, and shown below.
const fn kind(frame: &Frame) -> usize {
    match frame {
        Frame::Message(_) => 0,
        Frame::Transactions(_) => 1,
        Frame::FetchBatch { .. } => 2,
        Frame::FetchBlocks { .. } => 3,
        Frame::Blocks(_) => 4,
        Frame::FetchSnapshot { .. } => 5,
        Frame::Snapshot(_) => 6,
        Frame::FetchChunk { .. } => 7,
        Frame::Chunk { .. } => 8,
        Frame::FetchExecution { .. } => 9,
        Frame::Execution(_) => 10,
    }
}

#[test]
fn frames_keep_their_bytes_and_streams() {
    let mut golden = Golden::new("wire.txt", "Frames between validators, by stream");
    for class in Class::ALL {
        writeln!(golden.text, "\n{}", class.protocol_name()).unwrap();
        for (name, frame) in frames().iter().filter(|(_, frame)| frame.class() == class) {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes).as_ref(), Ok(frame), "{name} reads back");
            golden.line(name, &bytes);
        }
    }
    let mut shown: Vec<usize> = frames().iter().map(|(_, frame)| kind(frame)).collect();
    shown.dedup();
    assert_eq!(shown, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "every kind has a golden");
    golden.check();
}

#[test]
fn records_of_the_durable_pool_keep_their_bytes() {
    let mut golden = Golden::new("pool_log.txt", "Records of the durable mempool");
    writeln!(golden.text, "version {RECORD_VERSION}").unwrap();
    for (name, client) in
        [("an organisation's", Client::Organisation(OrgId([7; 16]))), ("a person's", Client::Person([8; 16]))]
    {
        let record = Record::new(client, tx());
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "{name} reads back");
        golden.line(name, &record.encode());
    }
    golden.check();

    let one = TxSignature { ..tx().signatures[0] };
    let largest = SignedTx { body: vec![0; MAX_BODY_BYTES].into(), signatures: vec![one; MAX_SIGNATURES] };
    let record = Record::new(Client::Organisation(OrgId([7; 16])), largest);
    assert!(record.encode().len() <= RECORD_BYTES_MAX, "the largest transaction fits a record");
    assert_eq!(Record::decode(&record.encode()), Ok(record));
}
