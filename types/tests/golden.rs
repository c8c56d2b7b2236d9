//! Every encoding, hash and signature payload, byte for byte, in `tests/golden/*.txt`.
//!
//! A change of format is a deliberate act with a version bump: stored blocks, signatures and ids of
//! running networks depend on each of these bytes. The files are read by people in review. To bless a
//! deliberate change: `EPIONE_BLESS=1 cargo test -p epione-types --test golden`, which writes the files
//! and fails all the same; then read the difference and run again without.

mod samples;

use std::collections::BTreeSet;
use std::fmt::{Debug, Display, Write as _};
use std::path::PathBuf;

use epione_types::codes::*;
use epione_types::merkle;
use epione_types::*;
use samples::*;
use serde::{Serialize, de::DeserializeOwned};

/// One golden file being computed.
struct Golden {
    name: &'static str,
    text: String,
}

impl Golden {
    fn new(name: &'static str, about: &str) -> Self {
        Self { name, text: format!("# {about}\n") }
    }

    fn line(&mut self, name: &str, value: impl Display) {
        writeln!(self.text, "{name} = {value}").expect("memory");
    }

    /// Bytes as hex, 32 a line.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        writeln!(self.text, "\n{name}: {} bytes", bytes.len()).expect("memory");
        for line in bytes.chunks(32) {
            writeln!(self.text, "  {}", hex::encode(line)).expect("memory");
        }
    }

    /// The encoding of a value, which must also read back.
    fn encoding<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let bytes = codec::encode(value);
        assert_eq!(codec::decode::<T>(&bytes, bytes.len()).as_ref(), Ok(value), "{name} reads back");
        self.bytes(name, &bytes);
    }

    /// Compares with the file in the repository.
    fn check(self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(self.name);
        if std::env::var_os("EPIONE_BLESS").is_some() {
            std::fs::write(&path, &self.text).expect("golden file can be written");
            panic!("{} is blessed: read the difference, then run without EPIONE_BLESS", self.name);
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        let differing = wanted.lines().zip(self.text.lines()).position(|(wanted, found)| wanted != found);
        let at = differing.unwrap_or_else(|| wanted.lines().count().min(self.text.lines().count()));
        assert!(
            wanted == self.text,
            "format changed: tests/golden/{} line {}\n  was {:?}\n  is  {:?}",
            self.name,
            at + 1,
            wanted.lines().nth(at),
            self.text.lines().nth(at),
        );
    }
}

/// Every public tag of `hash.rs`.
const DOMAINS: [Domain; 20] = [
    Domain::GENESIS,
    Domain::TX_ID,
    Domain::TX_SIGN,
    Domain::BATCH,
    Domain::HEADER,
    Domain::TX_LEAF,
    Domain::RECEIPT_LEAF,
    Domain::MERKLE_NODE,
    Domain::EPOCH,
    Domain::PRE_PREPARE,
    Domain::PREPARE,
    Domain::COMMIT,
    Domain::SEAL,
    Domain::SUSPECT,
    Domain::VIEW_CHANGE,
    Domain::NEW_VIEW,
    Domain::STATUS,
    Domain::COMMITMENT,
    Domain::VIEWERS,
    Domain::GUARDIAN,
];

#[test]
fn domains() {
    let mut golden =
        Golden::new("domains.txt", "Domain tags, and blake3 keyed with each (zero-padded) over 'abc'");
    for domain in DOMAINS {
        let tag = String::from_utf8(domain.as_bytes().to_vec()).unwrap();
        golden.line(tag.trim_end_matches('\0'), domain.hash(b"abc"));
        assert_eq!(domain.hash_parts(&[b"a", b"", b"bc"]), domain.hash(b"abc"));
    }
    golden.check();
}

#[test]
fn domains_are_distinct_and_all_listed() {
    let distinct: BTreeSet<_> = DOMAINS.iter().map(|domain| *domain.as_bytes()).collect();
    assert_eq!(distinct.len(), DOMAINS.len());
    let defined = include_str!("../src/hash.rs").matches("Self = Self::new(").count();
    assert_eq!(defined, DOMAINS.len(), "a tag of hash.rs is missing in this list");
}

#[test]
fn codes() {
    let mut golden = Golden::new(
        "codes.txt",
        "Codes: place in the list (little-endian u32 in the codec) and name (in JSON). Lists only grow at their end",
    );
    macro_rules! list {
        ($($kind:ident),+) => { $(
            golden.text.push_str(concat!("\n", stringify!($kind), "\n"));
            for code in $kind::ALL {
                assert_eq!(code.name().parse(), Ok(*code));
                assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.name()));
                writeln!(golden.text, "  {} {code}", hex::encode(codec::encode(code))).unwrap();
            }
        )+ };
    }
    list!(Purpose, Action, Role, OrganisationKind, Capability, Category, Label);
    list!(EmergencyReason, Decision, Obligation, Reason, Refusal);
    list!(OrganisationStatus, PractitionerStatus, DeviceStatus, DeviceKind);
    list!(PatientStatus, PatientChange, RepresentationKind, RepresentationStatus);
    list!(RecordStatus, GrantStatus, AccessRequestStatus, OverrideStatus);
    list!(Verdict, ReportStatus, LinkStatus, RecoveryStatus);
    list!(ProposalStatus, NoticeKind, PolicyConstant, StudyStatus);
    list!(EnrolmentStatus);
    golden.check();
}

#[test]
fn numbers() {
    let mut golden = Golden::new("numbers.txt", "Numbers, ids, keys");
    golden.encoding("Height(1)", &Height(1));
    golden.encoding("View(0x0102)", &View(0x0102));
    golden.encoding("ValidatorIndex(3)", &ValidatorIndex(3));
    golden.encoding("Month 2026-02", &month(2026, 2));
    golden.encoding("EventCursor", &cursor());
    golden.encoding("RequestId 00..0f", &id::RequestId(core::array::from_fn(|i| u8::try_from(i).unwrap())));
    golden.encoding("PublicKey of seed 01..01", &key(1));
    golden.encoding("Signature of seed 01..01 over 'abc'", &secret(1).sign(b"abc"));
    golden.check();
}

#[test]
fn genesis() {
    let genesis = samples::genesis();
    assert_eq!(genesis.check(), Ok(()));
    let mut golden = Golden::new(
        "genesis.txt",
        "Genesis, its hash (the chain id), its validator set's hash (next_epoch_hash)",
    );
    golden.line("chain_id", genesis.chain_id());
    golden.line("validator_set_hash", genesis.validators.hash());
    golden.encoding("params", &genesis.validators.params);
    golden.encoding("policy", &genesis.policy);
    golden.encoding("validator set", &genesis.validators);
    golden.encoding("genesis", &genesis);
    let json = serde_json::to_string_pretty(&genesis).unwrap();
    assert_eq!(serde_json::from_str::<Genesis>(&json).unwrap(), genesis);
    writeln!(golden.text, "\ngenesis as JSON\n{json}").unwrap();
    golden.check();
}

#[test]
fn transaction() {
    let tx = tx(1);
    let mut golden = Golden::new(
        "transaction.txt",
        "A signed transaction: id over the body alone, signatures over tag and body",
    );
    golden.line("id", tx.id());
    golden.bytes("signing bytes", &tx::signing_bytes(&tx.body));
    golden.encoding("signed transaction", &tx);
    golden.check();
}

#[test]
fn calls() {
    let mut golden = Golden::new(
        "calls.txt",
        "Every call, in a transaction body. (Clients sign protobuf; this is how nodes hold it)",
    );
    for call in samples::calls() {
        golden.encoding(call_name(&call), &body(call.clone()));
    }
    for (name, grantee) in grantees() {
        golden.encoding(&format!("Grantee {name}"), &grantee);
    }
    golden.encoding("bare denial", &bare_denial(call::Grantee::Any));
    golden.encoding("viewers", &viewers());
    golden.line("viewers_hash", call::viewers_hash(&viewers()));
    let guardian = call::Guardian::Organisation(id::OrgId([2; 16]));
    golden.encoding("Guardian organisation", &guardian);
    golden.line("its commitment under salt 50..50", guardian.commitment(&Hash([50; 32])));
    golden.check();
}

#[test]
fn batches() {
    let mut golden = Golden::new("batches.txt", "Batches and their digests");
    for (name, batch) in samples::batches() {
        golden.encoding(name, &batch);
        golden.line("digest", batch.digest());
    }
    assert_eq!(Batch::null_digest(), Batch::Null.digest());
    golden.check();
}

#[test]
fn blocks() {
    let header = header();
    let chain = samples::genesis().chain_id();
    let mut golden = Golden::new("blocks.txt", "Header, votes, seal, certificate");
    golden.encoding("header", &header);
    assert_eq!(codec::encode(&header).len(), block::HEADER_BYTES);
    golden.line("hash", header.hash());
    let kinds = [Domain::PRE_PREPARE, Domain::PREPARE, Domain::COMMIT];
    for (kind, name) in kinds.into_iter().zip(["pre-prepare", "prepare", "commit"]) {
        let vote = block::vote_bytes(kind, chain, Epoch(1), View(2), Height(3), Hash([7; 32]));
        golden.bytes(&format!("{name} of epoch 1, view 2, height 3"), &vote);
    }
    golden
        .bytes("seal of epoch 0, height 7", &block::seal_bytes(chain, Epoch::ZERO, Height(7), header.hash()));
    let certificate = certificate(chain);
    assert!(certificate.verify(chain, &validators(4), &sign::Zip215));
    golden.encoding("certificate by validators 0, 1, 3 of 4", &certificate);
    golden.check();
}

#[test]
fn receipts() {
    let mut golden = Golden::new("receipts.txt", "Receipts, their leaves, every event");
    for (name, receipt) in samples::receipts() {
        golden.encoding(name, &receipt);
        golden.line("leaf", receipt.leaf());
    }
    for event in events() {
        golden.encoding(event_name(&event), &event);
    }
    golden.check();
}

#[test]
fn merkle_lists() {
    let leaf = |i: u8| receipt::tx_leaf(TxId([i; 32]));
    let mut golden =
        Golden::new("merkle.txt", "Roots over the first n leaves tx_leaf([i; 32]), and one path");
    golden.line("tx_leaf(0)", leaf(0));
    for count in 0..=9 {
        let leaves: Vec<_> = (0..count).map(leaf).collect();
        golden.line(&format!("root of {count}"), merkle::root(&leaves));
    }
    let leaves: Vec<_> = (0..5).map(leaf).collect();
    golden.encoding("path of leaf 2 of 5", &merkle::path(&leaves, 2).unwrap());
    golden.check();
}

#[test]
fn state_proofs() {
    use epione_types::state_proof::{StateLeaf, StateProof, inner, path, value_hash};
    let leaf = |key: &[u8]| StateLeaf { path: path(key), value: value_hash(b"value") };
    let mut golden = Golden::new("state_proofs.txt", "State tree: paths, leaves, an inner node, a proof");
    golden.line("path of 'key'", path(b"key"));
    golden.line("value hash of 'value'", value_hash(b"value"));
    golden.line("leaf", leaf(b"key").hash());
    let sibling = leaf(b"other").hash();
    golden.line("inner node of leaf and the leaf of 'other'", inner(&leaf(b"key").hash(), &sibling));
    let present = StateProof { siblings: vec![sibling], leaf: Some(leaf(b"key")) };
    golden.encoding("proof that ends in a leaf", &present);
    golden.encoding("proof that ends in nothing", &StateProof { siblings: vec![sibling], leaf: None });
    golden.check();
}
