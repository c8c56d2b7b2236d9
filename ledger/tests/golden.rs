//! Every layout on disk, in `tests/golden/*.txt`: the log's frames, the store's rows, the tree's changes and checkpoints.
//!
//! A node's own data folder is a promise to the next version of this program: a change here is a deliberate act with a
//! version bump and a way to read what is there. The files are read by people in review. To bless a deliberate change:
//! `EPIONE_BLESS=1 cargo test -p epione-ledger --test golden`, which writes the files and fails all the same; then
//! read the difference and run again without.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use epione_ledger::chain::{Appended, Chain, NewBlock, Origin, StateWrites};
use epione_ledger::disk::{Disk as _, MemoryDisk};
use epione_ledger::store::{Batch, MemoryStore, Store as _};
use epione_ledger::tree::checkpoint::{self, Checkpoint, ROW_LEAVES};
use epione_ledger::tree::{Changes, StateTree};
use epione_ledger::wal::{Wal, WalConfig};
use epione_types::codes::Refusal;
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId};
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Outcome, Receipt, SecretKey, Signer as _,
    TimestampMs, TxId, ValidatorIndex,
};

/// Bytes of a value that are shown; of a longer one the first and the hash of all.
const SHOWN: usize = 256;

/// One golden file being computed.
struct Golden {
    name: &'static str,
    text: String,
}

impl Golden {
    fn new(name: &'static str, about: &str) -> Self {
        Self { name, text: format!("# {about}\n") }
    }

    /// Bytes as hex, 32 a line; those of a long value only by their beginning and their hash.
    fn bytes(&mut self, name: &str, bytes: &[u8], all: bool) {
        let shown = if all || bytes.len() <= SHOWN { bytes } else { &bytes[..32] };
        writeln!(self.text, "\n{name}: {} bytes", bytes.len()).unwrap();
        for line in shown.chunks(32) {
            writeln!(self.text, "  {}", hex(line)).unwrap();
        }
        if shown.len() < bytes.len() {
            writeln!(self.text, "  … blake3 {}", blake3::hash(bytes)).unwrap();
        }
    }

    /// Rows of a store whose keys begin with this byte, each under its key.
    fn rows(&mut self, store: &MemoryStore, prefix: u8, about: &str) {
        let page = store.scan(&[prefix], Some(&[prefix + 1]), usize::MAX).unwrap();
        assert!(page.next.is_none() && !page.rows.is_empty(), "rows of {}", char::from(prefix));
        writeln!(self.text, "\n## {about}").unwrap();
        for (key, value) in page.rows {
            let name = format!("{} {}", char::from(prefix), readable(&key[1..]));
            self.bytes(name.trim_end(), &value, false);
        }
    }

    /// Compares with the file in the repository.
    fn check(self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(self.name);
        if std::env::var_os("EPIONE_BLESS").is_some() {
            std::fs::write(&path, &self.text).unwrap();
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of letters as such, another one in hex.
fn readable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/') => text.to_owned(),
        _ => hex(key),
    }
}

/// Three appends: one record, three of which one is empty, and one that opens a second segment.
#[test]
fn log() {
    let mut disk = MemoryDisk::new();
    let config = WalConfig { segment_bytes: 120, append_bytes_max: 1 << 10 };
    let mut wal = Wal::open(disk.clone(), config, |_, _| panic!("a new log is empty")).unwrap();
    let frames: [&[&[u8]]; 3] = [&[b"one"], &[b"two", b"", b"four"], &[&[0x55; 40]]];
    for records in frames {
        wal.append_and_sync(records).unwrap();
    }

    let mut golden = Golden::new(
        "log.txt",
        "The write-ahead log, whole segments by file name (layout: src/wal/format.rs)",
    );
    let names = disk.names().unwrap();
    assert_eq!(names.len(), 2, "two segments");
    for name in names {
        golden.bytes(&name, &disk.bytes(&name).unwrap(), true);
    }
    golden.check();

    let mut read = Vec::new();
    Wal::open(disk, config, |index, record| read.push((index, record.to_vec()))).unwrap();
    let written: Vec<_> = (0..).zip(frames.concat().into_iter().map(<[u8]>::to_vec)).collect();
    assert_eq!(read, written, "the log reads back");
}

fn writes(pairs: &[(&str, Option<&[u8]>)]) -> StateWrites {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.map(<[u8]>::to_vec))).collect()
}

fn origin() -> Origin {
    let writes = writes(&[("cfg/policy", Some(b"v1")), ("gone", Some(b"soon"))]);
    Origin { chain: ChainId([1; 32]), timestamp: TimestampMs(1_767_225_600_000), writes }
}

fn receipt(id: u8, height: Height, index: u32, outcome: Outcome) -> Receipt {
    let enrolled = Event::PatientRegistered {
        patient: PatientId([id; 16]),
        organisation: OrgId([2; 16]),
        custodial: false,
    };
    let events = if outcome == Outcome::Ok { vec![enrolled] } else { Vec::new() };
    Receipt { version: RECEIPT_VERSION, tx_id: TxId([id; 32]), height, index, outcome, events }
}

fn append(chain: &Chain, batch: Vec<u8>, receipts: Vec<Receipt>, writes: StateWrites) -> BlockHeader {
    let head = chain.head();
    let height = head.height.next();
    let block = NewBlock {
        height,
        parent: head.hash,
        epoch: Epoch::ZERO,
        timestamp: head.timestamp.next(),
        batch_digest: Hash([6; 32]),
        batch: batch.into(),
        receipts,
        writes,
        next_epoch_hash: Hash([7; 32]),
        epoch_begins: None,
        log_position: height.0 * 10,
    };
    match chain.append(&block).unwrap() {
        Appended::Stored(header) => header,
        Appended::AlreadyHave(_) => panic!("a new block"),
    }
}

/// Two blocks: one of two chunks with a repeated transaction and a deleted key, one empty. The first is certified.
#[test]
fn store() {
    let store = MemoryStore::new();
    let chain = Chain::open(Arc::new(store.clone()), &origin()).unwrap();
    let receipts = vec![
        receipt(0xa1, Height(1), 0, Outcome::Ok),
        receipt(0xa2, Height(1), 1, Outcome::Refused(Refusal::NotAuthorised)),
        receipt(0xa1, Height(1), 2, Outcome::Refused(Refusal::Duplicate)),
    ];
    let batch: Vec<u8> = (0..5_000).map(|at: u32| at.to_le_bytes()[0]).collect();
    let state = writes(&[("pat/a1", Some(&[0xa1; 20])), ("gone", None)]);
    let header = append(&chain, batch, receipts, state);
    append(&chain, vec![0], Vec::new(), BTreeMap::new());
    let signature = |i: u8| (ValidatorIndex(u16::from(i)), SecretKey::from_seed(&[i; 32]).sign(b"a seal"));
    chain
        .certify(&Certificate {
            epoch: Epoch::ZERO,
            height: Height(1),
            header_hash: header.hash(),
            signatures: [0, 1, 3].map(signature).into_iter().collect(),
        })
        .unwrap();
    chain.keep_evidence(5, b"evidence".to_vec()).unwrap();

    let mut golden = Golden::new(
        "store.txt",
        "The store's rows: a prefix, then the key (heights big-endian) and the value (layout: src/chain/keys.rs)",
    );
    golden.rows(&store, b'M', "Metadata: layout and chain, highest block, highest certificate");
    golden.rows(&store, b'H', "Headers, each with the log position of its block");
    golden.rows(&store, b'C', "Certificates");
    golden.rows(&store, b'B', "Batches in chunks");
    golden.rows(&store, b'R', "Receipts in chunks");
    golden.rows(&store, b'T', "Index of transactions: height and place");
    golden.rows(&store, b'S', "State");
    golden.rows(&store, b'D', "State changes, for the tree");
    golden.rows(&store, b'E', "Evidence");
    let all = store.scan(&[], None, usize::MAX).unwrap().rows;
    let prefixes: Vec<u8> = all.iter().map(|(key, _)| key[0]).collect();
    assert!(prefixes.iter().all(|prefix| b"MHCBRTSDE".contains(prefix)), "no row is left out");
    golden.check();

    let head = chain.head();
    let again = Chain::open(Arc::new(store), &origin()).unwrap();
    assert_eq!((again.head(), again.certified()), (head, chain.certified()), "the store reads back");
}

/// The changes of a block, and a checkpoint of one leaf more than a row holds.
#[test]
fn tree() {
    let mut golden = Golden::new(
        "tree.txt",
        "What the state tree keeps in the store (src/tree/changes.rs, checkpoint.rs)",
    );
    let changes = Changes::of([(b"set".as_slice(), Some(b"value".as_slice())), (b"deleted", None)]);
    golden.bytes("Changes: \"set\" = \"value\", \"deleted\" gone", &changes.encode(), true);
    assert_eq!(Changes::decode(&changes.encode()), Ok(changes), "changes read back");

    let keys: Vec<[u8; 2]> = (0..=u16::try_from(ROW_LEAVES).unwrap()).map(u16::to_be_bytes).collect();
    let mut tree = StateTree::empty(Height(0));
    tree.apply(&Changes::of(keys.iter().map(|key| (key.as_slice(), Some(b"value".as_slice())))));
    tree.forget_below(tree.height());
    let store = MemoryStore::new();
    // The second one: it goes to the other place, and leaves the first where it is.
    for _ in 0..2 {
        let mut batch = Batch::new();
        let mut checkpoint = Checkpoint::begin(&store, b'P', &tree).unwrap();
        assert!(checkpoint.step(&tree, &mut batch, 9).unwrap());
        store.apply(batch).unwrap();
    }
    golden.rows(&store, b'P', "Two checkpoints of 257 leaves: place, height, root and leaves of the newest; rows by place and number");
    golden.check();
    let loaded = checkpoint::load(&store, b'P').unwrap().unwrap();
    assert_eq!((loaded.height(), loaded.root()), (tree.height(), tree.root()), "the checkpoint reads back");
}
