//! Two ledgers that part ways, block by block.

use std::sync::Arc;

use epione_ledger::chain::{Appended, NewBlock, Origin};
use epione_ledger::store::{Batch, MemoryStore, Store as _};
use epione_types::call::GrantKind;
use epione_types::codes::Refusal;
use epione_types::id::{GrantId, PatientId};
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::{ChainId, Epoch, TimestampMs};

use super::*;

/// What one block is in one ledger: outcomes of its transactions, and what it writes.
#[derive(Clone)]
struct Block {
    outcomes: Vec<Outcome>,
    events: Vec<Event>,
    writes: Vec<(&'static str, Option<&'static str>)>,
    time: u64,
}

const PATIENT: &str = "pat/0123456789abcdef";
const REQUEST: &str = "req/0123456789abcdef";

fn block(writes: &[(&'static str, Option<&'static str>)]) -> Block {
    Block { outcomes: vec![Outcome::Ok; 3], events: Vec::new(), writes: writes.to_vec(), time: 10 }
}

struct Ledger {
    chain: Chain,
    store: MemoryStore,
}

impl Ledger {
    fn of(blocks: &[Block]) -> Self {
        let store = MemoryStore::new();
        let writes = BTreeMap::from([(b"cfg/policy".to_vec(), Some(b"v1".to_vec()))]);
        let origin = Origin { chain: ChainId([1; 32]), timestamp: TimestampMs(1), writes };
        let chain = Chain::open(Arc::new(store.clone()), &origin).unwrap();
        for block in blocks {
            let head = chain.head();
            let height = head.height.next();
            let receipt = |(index, outcome): (u32, &Outcome)| Receipt {
                version: RECEIPT_VERSION,
                tx_id: TxId([u8::try_from(index).unwrap() + 1; 32]),
                height,
                index,
                outcome: *outcome,
                events: if index == 1 { block.events.clone() } else { Vec::new() },
            };
            let bytes = |text: &str| text.as_bytes().to_vec();
            let new = NewBlock {
                height,
                parent: head.hash,
                epoch: Epoch::ZERO,
                timestamp: TimestampMs(head.timestamp.0 + block.time),
                batch_digest: Hash([9; 32]),
                batch: vec![9; 10].into(),
                receipts: (0..).zip(&block.outcomes).map(receipt).collect(),
                writes: block.writes.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect(),
                next_epoch_hash: Hash([7; 32]),
                epoch_begins: None,
                log_position: 0,
            };
            assert!(matches!(chain.append(&new).unwrap(), Appended::Stored(_)));
        }
        Self { chain, store }
    }

    fn header(&self, height: u64) -> Hash {
        self.chain.header(Height(height)).unwrap().unwrap().hash()
    }
}

/// What `here` finds in comparison with `there` at a height where a quorum has `there`'s header.
fn compared(here: &Ledger, there: &Ledger, height: u64) -> Compared {
    let theirs = read(&there.chain, Height(height)).unwrap().unwrap();
    let wanted = Wanted { height: Height(height), header: there.header(height), quorum: true };
    compare(&here.chain, wanted, &theirs).unwrap()
}

#[track_caller]
fn found(here: &Ledger, there: &Ledger, height: u64) -> Divergence {
    match compared(here, there, height) {
        Compared::Found(found) => *found,
        other @ (Compared::Wrong(_) | Compared::Below(_)) => panic!("{other:?}"),
    }
}

#[test]
fn the_first_transaction_with_another_outcome_and_the_first_key_are_named() {
    let before = block(&[(PATIENT, Some("a")), (REQUEST, Some("a"))]);
    let mut mine = block(&[(PATIENT, Some("b")), (REQUEST, Some("b"))]);
    let theirs = block(&[(PATIENT, Some("c")), (REQUEST, Some("c")), ("ntf/x", Some("new"))]);
    mine.outcomes[1] = Outcome::Refused(Refusal::Duplicate);
    mine.outcomes[2] = Outcome::Refused(Refusal::Expired);
    let (here, there) = (Ledger::of(&[before.clone(), mine]), Ledger::of(&[before, theirs]));
    let it = found(&here, &there, 2);
    let id = TxId([2; 32]);
    let (mine, theirs) = ("DUPLICATE".to_owned(), "OK".to_owned());
    assert_eq!(it.transaction, Some(Differing { index: 1, id, here: mine, there: theirs }));
    let key = format!("pat/{}", "0123456789abcdef".bytes().map(|b| format!("{b:02x}")).collect::<String>());
    assert_eq!((it.height, &it.key, &it.altered, it.complete), (Height(2), &Some(key.clone()), &None, true));
    assert_eq!(
        it.text,
        format!(
            "at height 2 transaction 1 ({id}) differs: here DUPLICATE, at the quorum OK; first of 3 keys that differ: {key} (another value)"
        )
    );
    // The other way round, and of what was only sealed here before.
    let theirs = read(&here.chain, Height(2)).unwrap().unwrap();
    let wanted = Wanted { height: Height(2), header: here.header(2), quorum: false };
    let Compared::Found(it) = compare(&there.chain, wanted, &theirs).unwrap() else { panic!("found") };
    assert!(it.text.contains("differs: here OK, as it was sealed DUPLICATE; first of 3 keys"), "{}", it.text);
    assert_eq!(it.key, Some("ntf/78".to_owned()), "it is written here alone, and comes first");
}

#[test]
fn a_key_that_is_not_here_is_named_by_its_path() {
    let (here, there) = (Ledger::of(&[block(&[])]), Ledger::of(&[block(&[("ntf/x", Some("new"))])]));
    let it = found(&here, &there, 1);
    let path = epione_ledger::state_proof::path(b"ntf/x");
    assert_eq!((it.transaction, &it.key), (None, &Some(format!("path {path}, no key of this node's"))));
    assert_eq!(
        it.text,
        format!(
            "at height 1 all transactions have the same receipts; one key differs: path {path}, no key of this node's (written there); other in the header: state"
        )
    );
}

#[test]
fn equal_outcomes_differ_by_their_events_and_ids_stay_out() {
    let decided = |grant| Event::GrantCreated {
        grant: GrantId([grant; 16]),
        patient: PatientId([1; 16]),
        kind: GrantKind::Permit,
    };
    let revoked = Event::GrantRevoked { grant: GrantId([1; 16]), patient: PatientId([1; 16]) };
    let with = |events: &[Event]| Ledger::of(&[Block { events: events.to_vec(), ..block(&[]) }]);
    let here = with(&[decided(1), decided(1)]);
    let says = |there: &Ledger| {
        let it = found(&here, there, 1);
        let differing = it.transaction.unwrap();
        assert!(it.text.ends_with("; no key differs"), "{}", it.text);
        (differing.index, differing.here, differing.there)
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(
        says(&with(&[decided(1), revoked])),
        (1, text("OK with GrantCreated"), text("OK with GrantRevoked"))
    );
    assert_eq!(says(&with(&[decided(1)])), (1, text("OK with GrantCreated"), text("OK with 1 events")));
    assert_eq!(
        says(&with(&[decided(1), decided(2)])),
        (1, text("OK with GrantCreated"), text("OK with GrantCreated of other content"))
    );
}

#[test]
fn a_block_with_fewer_transactions_and_another_time_is_told_apart() {
    let mut less = block(&[]);
    less.outcomes.pop();
    less.time = 11;
    let (here, there) = (Ledger::of(&[block(&[])]), Ledger::of(&[less]));
    let id = TxId([3; 32]);
    let it = found(&here, &there, 1);
    assert_eq!(
        it.text,
        format!(
            "at height 1 transaction 2 ({id}) differs: here transaction {id}, at the quorum none; no key differs; other in the header: timestamp"
        )
    );
}

#[test]
fn blocks_that_follow_other_blocks_lead_one_height_down() {
    let mine = [block(&[]), block(&[(PATIENT, Some("a"))]), block(&[])];
    let theirs = [block(&[]), block(&[(PATIENT, Some("b"))]), block(&[])];
    let (here, there) = (Ledger::of(&mine), Ledger::of(&theirs));
    let below = Wanted { height: Height(2), header: there.header(2), quorum: true };
    assert_eq!(compared(&here, &there, 3), Compared::Below(below));
    assert_eq!(found(&here, &there, 2).height, Height(2));
}

#[test]
fn what_the_header_does_not_say_is_refused() {
    let (here, there) = (
        Ledger::of(&[block(&[(PATIENT, Some("a"))]), block(&[(PATIENT, Some("b"))])]),
        Ledger::of(&[block(&[(PATIENT, Some("a"))]), block(&[(PATIENT, Some("c"))])]),
    );
    let truth = read(&there.chain, Height(2)).unwrap().unwrap();
    let wanted = Wanted { height: Height(2), header: there.header(2), quorum: true };
    let refused = |lie: &dyn Fn(&mut Execution)| {
        let mut theirs = truth.clone();
        lie(&mut theirs);
        match compare(&here.chain, wanted, &theirs).unwrap() {
            Compared::Wrong(why) => Some(why),
            Compared::Below(_) | Compared::Found(_) => None,
        }
    };
    let changes = |key: &str, value: &str| {
        let changes = Changes::of([(key.as_bytes(), Some(value.as_bytes()))]);
        Some(Bytes::from(changes.encode()))
    };
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(refused(&|it| it.header.timestamp = TimestampMs(5)), Some(Wrong::Header));
    let below = read(&there.chain, Height(1)).unwrap().unwrap();
    assert_eq!(refused(&|it| *it = below.clone()), Some(Wrong::Header));
    assert_eq!(refused(&|it| drop(it.receipts.pop())), Some(Wrong::Receipts));
    let outcome = Outcome::Refused(Refusal::Expired);
    assert_eq!(refused(&|it| it.receipts[2].outcome = outcome), Some(Wrong::Receipts));
    assert_eq!(refused(&|it| it.changes = Some(Bytes::from_static(&[1; 40]))), Some(Wrong::Changes));
    assert_eq!(refused(&|it| it.changes = Some(Bytes::new())), Some(Wrong::Changes));
    assert_eq!(refused(&|it| it.changes = changes(REQUEST, "x")), Some(Wrong::Changes));
    assert_eq!(refused(&|it| it.changes = changes(PATIENT, "d")), Some(Wrong::Changes));
    assert_eq!(refused(&|it| it.changes = changes(PATIENT, "c")), None, "that is the truth");
}

#[test]
fn forgotten_changes_are_said_to_be_and_another_peer_may_know_them() {
    let (here, there) =
        (Ledger::of(&[block(&[(PATIENT, Some("b"))])]), Ledger::of(&[block(&[(PATIENT, Some("c"))])]));
    let mut theirs = read(&there.chain, Height(1)).unwrap().unwrap();
    theirs.changes = None;
    let wanted = Wanted { height: Height(1), header: there.header(1), quorum: true };
    let Compared::Found(it) = compare(&here.chain, wanted, &theirs).unwrap() else { panic!("found") };
    assert_eq!((it.key, it.complete), (None, false));
    assert!(it.text.contains("; which keys differ is forgotten at the one that was asked"), "{}", it.text);
}

#[test]
fn a_value_altered_in_the_store_is_found_beside_the_block_writer() {
    let (here, there) =
        (Ledger::of(&[block(&[(PATIENT, Some("b"))])]), Ledger::of(&[block(&[(PATIENT, Some("c"))])]));
    let mut batch = Batch::new();
    batch.put(b"Scfg/policy".to_vec(), b"v2".to_vec());
    here.store.apply(batch).unwrap();
    let it = found(&here, &there, 1);
    assert_eq!(it.altered, Some("cfg/policy".to_owned()));
    assert!(
        it.text
            .ends_with("; this node's store was altered: cfg/policy does not hold what the state tree does")
    );
}

#[test]
fn no_difference_and_no_block_are_said() {
    let ledger = Ledger::of(&[block(&[])]);
    let it = found(&ledger, &ledger, 1);
    assert_eq!(it.text, "executed again, block 1 has the header that it should have");
    let it = found(&Ledger::of(&[]), &ledger, 1);
    assert_eq!(it.text, "this node does not have its block 1 any more: what differed is lost");
    assert_eq!(read(&ledger.chain, Height(2)).unwrap(), None);
    let wanted = Wanted { height: Height(1), header: Hash([8; 32]), quorum: false };
    let theirs = read(&ledger.chain, Height(1)).unwrap().unwrap();
    let Compared::Found(it) = compare(&ledger.chain, wanted, &theirs).unwrap() else { panic!("found") };
    assert_eq!(it.text, "a peer has the block 1 that this node has now: only what it sealed before differs");
    let vouched = Wanted { quorum: true, ..wanted };
    assert_eq!(compare(&ledger.chain, vouched, &theirs).unwrap(), Compared::Wrong(Wrong::Header));
    assert_eq!(read(&ledger.chain, Height(0)).unwrap(), None);
}

#[test]
fn an_answer_fits_a_frame_and_leaves_out_changes_that_do_not() {
    const LEAVES: usize = BLOCKS_BYTES_MAX / 65 + 1;
    let names: Vec<String> = (0..LEAVES).map(|number| format!("ntf/{number}")).collect();
    let ledger = Ledger::of(&[block(&[])]);
    let head = ledger.chain.head();
    let new = NewBlock {
        height: Height(2),
        parent: head.hash,
        epoch: Epoch::ZERO,
        timestamp: head.timestamp,
        batch_digest: Hash([9; 32]),
        batch: vec![9; 10].into(),
        receipts: vec![Receipt {
            version: RECEIPT_VERSION,
            tx_id: TxId([1; 32]),
            height: Height(2),
            index: 0,
            outcome: Outcome::Ok,
            events: Vec::new(),
        }],
        writes: names.iter().map(|name| (name.as_bytes().to_vec(), Some(vec![1]))).collect(),
        next_epoch_hash: Hash([7; 32]),
        epoch_begins: None,
        log_position: 0,
    };
    ledger.chain.append(&new).unwrap();
    let it = read(&ledger.chain, Height(2)).unwrap().unwrap();
    assert_eq!((it.receipts.len(), it.changes), (1, None));
}
