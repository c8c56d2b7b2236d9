//! Every message, log record and signed payload, byte for byte, in `tests/golden/*.txt`.
//!
//! Votes bind for ever and logs outlive binaries: a change of these bytes is a new protocol or a new
//! [`epione_consensus::RECORD_VERSION`]. To bless a deliberate change:
//! `EPIONE_BLESS=1 cargo test -p epione-consensus --test golden`, which writes the files and fails all the same; then
//! read the difference and run again without.
//!
//! Keys and signatures are real, and every sample passes the gate: none shows a form that would be refused.
#![expect(clippy::disallowed_methods, reason = "goldens are files")]

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use epione_consensus::{
    BlocksAnswer, Body, CommitCertificate, FetchedBlock, Foreign, Halt, Kind, Message, NewView, Payload,
    PreparedCertificate, RECORD_VERSION, Record, Signed, SignedVote, SlotStatus, Status, Verifying,
    ViewChange, Vote,
};
use epione_types::block::HEADER_VERSION;
use epione_types::id::OrgId;
use epione_types::sign::Zip215;
use epione_types::{
    Batch, BlockHeader, Certificate, ChainId, Domain, Epoch, Hash, Height, Params, SecretKey, SignatureSet,
    SignedTx, Signer, TimestampMs, Validator, ValidatorIndex, ValidatorSet, View, codec,
};

/// The variants of an enum: names for all of them, or this does not compile.
macro_rules! variants {
    ($names:ident, $name:ident, $kind:ident: $($variant:ident),+ $(,)?) => {
        const $names: &[&str] = &[$(stringify!($variant)),+];
        fn $name(value: &$kind) -> &'static str {
            match value { $($kind::$variant { .. } => stringify!($variant)),+ }
        }
    };
}

variants!(KINDS, kind_name, Kind: PrePrepare, Prepare, Commit, Seal, Suspect);
variants!(MESSAGES, message_name, Message:
    Vote, Proposal, Batch, Commits, Certificate, ViewChange, NewView, Status);
variants!(RECORDS, record_name, Record:
    Born, Batch, Accepted, Prepared, Sealed, Certified, Asked, Entered, Halted, Epoch);
variants!(HALTS, halt_name, Halt: Diverged, Replay, Conflict, InvalidPrepared, Impersonated,
    OtherEpoch);
variants!(FOREIGN, foreign_name, Foreign: Vote, ViewChange, NewView);

const CHAIN: ChainId = ChainId([0xcc; 32]);

/// One golden file being computed: a line an item, `name | length | hash | bytes`.
struct Golden {
    name: &'static str,
    text: String,
}

impl Golden {
    fn new(name: &'static str, about: &str) -> Self {
        Self { name, text: format!("# {about}\n# name | bytes | blake3 keyed with 'test/golden' | hex\n") }
    }

    fn line(&mut self, name: &str, bytes: &[u8]) {
        let hash = Domain::new("test/golden").hash(bytes);
        writeln!(self.text, "{name} | {} | {hash} | {}", bytes.len(), hex::encode(bytes)).expect("memory");
    }

    /// Compares with the file in the repository.
    fn check(self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(self.name);
        if std::env::var_os("EPIONE_BLESS").is_some() {
            std::fs::write(&path, &self.text).expect("golden file can be written");
            panic!("{} is blessed: read the difference, then run without EPIONE_BLESS", self.name);
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        let name = |line: Option<&str>| line.and_then(|line| line.split(" | ").next()).map(str::to_owned);
        let differing = wanted.lines().zip(self.text.lines()).position(|(wanted, found)| wanted != found);
        let at = differing.unwrap_or_else(|| wanted.lines().count().min(self.text.lines().count()));
        assert!(
            wanted == self.text,
            "format changed: tests/golden/{} line {}, {:?}",
            self.name,
            at + 1,
            name(self.text.lines().nth(at)).or_else(|| name(wanted.lines().nth(at))),
        );
    }
}

/// Each name of the list has a sample.
fn all_shown<'a>(names: &[&str], shown: impl Iterator<Item = &'a str>) {
    let shown: Vec<&str> = shown.collect();
    for name in names {
        assert!(shown.contains(name), "{name} has no golden");
    }
}

fn secret(i: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(i).expect("small") + 1; 32])
}

/// Four validators: f = 1, q = 3.
fn set() -> ValidatorSet {
    let validator = |i| Validator {
        organisation: OrgId([1; 16]),
        public_key: secret(i).public_key(),
        network_key: secret(i + 100).public_key(),
    };
    ValidatorSet {
        epoch: Epoch::ZERO,
        validators: (0..4).map(validator).collect(),
        params: Params::default(),
    }
}

fn payload() -> Payload {
    let tx = SignedTx::sign(Bytes::from_static(b"a transaction"), &[&secret(20)]);
    let stamp = TimestampMs(1_767_225_600_000);
    Payload::new(Batch::Proposed { proposer: ValidatorIndex(0), stamp, txs: vec![tx] })
}

fn header() -> BlockHeader {
    BlockHeader {
        version: HEADER_VERSION,
        height: Height(7),
        epoch: Epoch::ZERO,
        parent: Hash([1; 32]),
        timestamp: TimestampMs(1_767_225_600_000),
        batch_digest: payload().digest(),
        txs_root: Hash([3; 32]),
        receipts_root: Hash([4; 32]),
        state_root: Hash([5; 32]),
        next_epoch_hash: Hash([6; 32]),
    }
}

/// A vote of each kind about slot (0, 1, 8); the numbers of a Seal and a Suspect are theirs.
fn vote(kind: Kind, from: u16) -> SignedVote {
    let (view, height, digest) = match kind {
        Kind::PrePrepare | Kind::Prepare | Kind::Commit => (View::ZERO, Height(8), payload().digest()),
        Kind::Seal => (View::ZERO, Height(7), header().hash()),
        Kind::Suspect => (View::ZERO, Height::ZERO, Hash::ZERO),
    };
    Vote { kind, epoch: Epoch::ZERO, view, height, digest }.sign(CHAIN, ValidatorIndex(from), &secret(from))
}

fn votes() -> Vec<SignedVote> {
    vec![
        vote(Kind::PrePrepare, 0),
        vote(Kind::Prepare, 1),
        vote(Kind::Commit, 2),
        vote(Kind::Seal, 3),
        vote(Kind::Suspect, 1),
    ]
}

fn signatures(kind: Kind, who: &[u16]) -> SignatureSet {
    who.iter().map(|from| (ValidatorIndex(*from), vote(kind, *from).signature)).collect()
}

fn certificate() -> Certificate {
    let signatures = signatures(Kind::Seal, &[0, 1, 3]);
    Certificate { epoch: Epoch::ZERO, height: Height(7), header_hash: header().hash(), signatures }
}

fn prepared() -> PreparedCertificate {
    PreparedCertificate {
        pre_prepare: vote(Kind::PrePrepare, 0),
        prepares: signatures(Kind::Prepare, &[2, 3]),
    }
}

fn commits() -> CommitCertificate {
    let vote = vote(Kind::Commit, 0).vote;
    CommitCertificate {
        epoch: vote.epoch,
        view: vote.view,
        height: vote.height,
        digest: vote.digest,
        commits: signatures(Kind::Commit, &[0, 1, 2]),
    }
}

fn sign<T: Body>(from: u16, body: T) -> Signed<T> {
    body.sign(CHAIN, ValidatorIndex(from), &secret(from))
}

fn view_change(from: u16) -> Signed<ViewChange> {
    let view = View(1);
    sign(
        from,
        ViewChange {
            epoch: Epoch::ZERO,
            view,
            certificate: Some(certificate()),
            prepared: vec![prepared()],
            reason: vec![vote(Kind::Suspect, 1), vote(Kind::Suspect, 2)],
        },
    )
}

fn bare_view_change(from: u16) -> Signed<ViewChange> {
    let (prepared, reason) = (Vec::new(), Vec::new());
    sign(from, ViewChange { epoch: Epoch::ZERO, view: View(1), certificate: None, prepared, reason })
}

fn new_view() -> Signed<NewView> {
    let listed = Vote { view: View(1), ..vote(Kind::PrePrepare, 0).vote };
    let view_changes = vec![view_change(0), bare_view_change(1), bare_view_change(3)];
    let pre_prepares = vec![listed.sign(CHAIN, ValidatorIndex(1), &secret(1))];
    sign(1, NewView { epoch: Epoch::ZERO, view: View(1), view_changes, pre_prepares })
}

fn status() -> Signed<Status> {
    let slot = SlotStatus { prepares: 0b0111, commits: 0b0001, seals: 0, ordered: false };
    let behind = SlotStatus { prepares: 1 << 127, commits: 2, seals: 3, ordered: true };
    sign(
        2,
        Status {
            epoch: Epoch::ZERO,
            view: View(1),
            asked: View(2),
            low: Height(7),
            delivered: Height(8),
            suspects: 0b10,
            view_changes: 0b1101,
            slots: vec![slot, behind],
        },
    )
}

#[test]
fn messages() {
    let batch = payload().bytes().clone();
    let mut samples: Vec<(String, Message)> = votes()
        .into_iter()
        .filter(|vote| vote.vote.kind != Kind::PrePrepare) // travels as a proposal
        .map(|vote| (format!("Vote {}", kind_name(&vote.vote.kind)), Message::Vote(vote)))
        .collect();
    let pre_prepare = vote(Kind::PrePrepare, 0);
    for (what, message) in [
        ("Proposal with batch", Message::Proposal(pre_prepare, Some(batch.clone()))),
        ("Proposal without batch", Message::Proposal(pre_prepare, None)),
        ("Batch", Message::Batch(batch)),
        ("Batch null", Message::Batch(Payload::new(Batch::Null).bytes().clone())),
        ("Commits", Message::Commits(commits())),
        ("Certificate", Message::Certificate(certificate())),
        ("ViewChange", Message::ViewChange(Box::new(view_change(0)))),
        ("ViewChange with nothing", Message::ViewChange(Box::new(bare_view_change(3)))),
        ("NewView", Message::NewView(Box::new(new_view()))),
        ("Status", Message::Status(Box::new(status()))),
    ] {
        samples.push((what.to_owned(), message));
    }
    all_shown(MESSAGES, samples.iter().map(|(_, message)| message_name(message)));
    let spoken = samples.iter().filter_map(|(_, message)| match message {
        Message::Vote(vote) | Message::Proposal(vote, _) => Some(kind_name(&vote.vote.kind)),
        Message::Batch(_)
        | Message::Commits(_)
        | Message::Certificate(_)
        | Message::ViewChange(_)
        | Message::NewView(_)
        | Message::Status(_) => None,
    });
    all_shown(KINDS, spoken);

    let set = set();
    let gate = Verifying { chain: CHAIN, set: &set, begin: Height::ZERO, verifier: &Zip215 };
    let mut golden = Golden::new("messages.txt", "What validators send, and the answer with blocks");
    for (name, message) in samples {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes, &set).as_ref(), Ok(&message), "{name} reads back");
        assert!(gate.message(message).is_ok(), "{name} is let in");
        golden.line(&name, &bytes);
    }
    let block = FetchedBlock { header: header(), batch: payload().bytes().clone() };
    let answer = BlocksAnswer { blocks: vec![block], certificate: certificate() };
    let bytes = codec::encode(&answer);
    assert_eq!(codec::decode::<BlocksAnswer>(&bytes, bytes.len()).as_ref(), Ok(&answer));
    assert!(gate.blocks(answer).is_ok());
    golden.line("BlocksAnswer", &bytes);
    golden.check();
}

#[test]
fn records() {
    let (mine, theirs, height) = (Hash([0xaa; 32]), Hash([0xbb; 32]), Height(8));
    let foreign = [Foreign::Vote(Kind::Commit), Foreign::ViewChange, Foreign::NewView];
    let mut halts = vec![
        Halt::Diverged { height, mine, theirs },
        Halt::Replay { height, sealed: mine, executed: theirs },
        Halt::Conflict { height, mine, theirs },
        Halt::InvalidPrepared { digest: mine },
    ];
    halts.push(Halt::OtherEpoch { epoch: Epoch(3) });
    halts.extend(foreign.map(|what| Halt::Impersonated { what, height }));
    all_shown(FOREIGN, foreign.iter().map(foreign_name));
    all_shown(HALTS, halts.iter().map(halt_name));

    let header_hash = header().hash();
    let mut samples = vec![
        Record::Born { version: RECORD_VERSION, key: secret(0).public_key(), chain: CHAIN },
        Record::Batch { height, bytes: payload().bytes().clone() },
        Record::Accepted(vote(Kind::PrePrepare, 0)),
        Record::Prepared(prepared()),
        Record::Sealed { epoch: Epoch::ZERO, height: Height(7), digest: payload().digest(), header_hash },
        Record::Certified(certificate()),
        Record::Asked(view_change(0)),
        Record::Entered(new_view()),
    ];
    samples.push(Record::Epoch { after: height, set: ValidatorSet { epoch: Epoch(1), ..set() } });
    samples.extend(halts.into_iter().map(Record::Halted));
    all_shown(RECORDS, samples.iter().map(record_name));

    let mut golden = Golden::new("records.txt", "The log");
    golden.line("RECORD_VERSION", &RECORD_VERSION.to_le_bytes());
    for record in samples {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record), "{record:?} reads back");
        let name = match &record {
            Record::Halted(halt @ Halt::Impersonated { what, .. }) => {
                format!("Halted {} {}", halt_name(halt), foreign_name(what))
            }
            Record::Halted(halt) => format!("Halted {}", halt_name(halt)),
            Record::Born { .. }
            | Record::Batch { .. }
            | Record::Accepted(_)
            | Record::Prepared(_)
            | Record::Sealed { .. }
            | Record::Certified(_)
            | Record::Asked(_)
            | Record::Entered(_)
            | Record::Epoch { .. } => record_name(&record).to_owned(),
        };
        golden.line(&name, &bytes);
    }
    golden.check();
}

/// What a signature covers: tag (32), chain (32), epoch, view, height (8 each, little-endian), digest (32).
#[test]
fn signed_payloads() {
    let mut golden = Golden::new("signed.txt", "The bytes under each signature, and the signature of them");
    let votes = votes();
    all_shown(KINDS, votes.iter().map(|vote| kind_name(&vote.vote.kind)));
    for vote in votes {
        let name = kind_name(&vote.vote.kind);
        golden.line(name, &vote.vote.bytes(CHAIN));
        golden.line(&format!("{name} signature of {}", vote.from), &vote.signature.0);
    }
    // No number of one slot: each field has its own bytes.
    let all = Vote {
        kind: Kind::Commit,
        epoch: Epoch(0x0102),
        view: View(0x0304),
        height: Height(0x0506),
        digest: Hash([7; 32]),
    };
    golden.line("Commit of epoch 0x0102, view 0x0304, height 0x0506", &all.bytes(CHAIN));

    let (change, view, status) = (view_change(0), new_view(), status());
    let bodies = [
        (
            "ViewChange",
            ViewChange::DOMAIN,
            codec::encode(&change.body),
            change.body.bytes(CHAIN),
            change.signature,
        ),
        ("NewView", NewView::DOMAIN, codec::encode(&view.body), view.body.bytes(CHAIN), view.signature),
        ("Status", Status::DOMAIN, codec::encode(&status.body), status.body.bytes(CHAIN), status.signature),
    ];
    let signed_as_a_whole = include_str!("../src/message.rs").matches("impl Body for").count();
    assert_eq!(bodies.len(), signed_as_a_whole, "a body of message.rs has no golden");
    for (name, domain, body, bytes, signature) in bodies {
        golden.line(&format!("{name} body"), &body);
        golden.line(&format!("{name} hash of the body"), &domain.hash(&body).0);
        golden.line(name, &bytes);
        golden.line(&format!("{name} signature"), &signature.0);
    }
    golden.check();
}
