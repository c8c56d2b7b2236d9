//! Execution is a function: equal state and block, equal bytes; and a store that fails stops the node.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use epione_chaincode::host::Entry;
use epione_chaincode::{DecodedTx, State, StateError, execute_block, keys};
use epione_types::call::*;
use epione_types::codes::{Label, Purpose, Role};
use epione_types::{Domain, codec};
use proptest::prelude::*;
use support::*;

/// A store of another make: unordered inside, and it counts.
struct Unordered {
    entries: Vec<Entry>,
    reads: Cell<usize>,
    fails_at: Option<usize>,
    asked: RefCell<Vec<Vec<u8>>>,
}

impl Unordered {
    fn of(state: &Map, seed: u64) -> Self {
        let mut entries: Vec<Entry> = state.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let place = |(key, _): &Entry| {
            Domain::new("epione/test-shuffle").hash(&[&seed.to_le_bytes(), &key[..]].concat())
        };
        entries.sort_by_key(place);
        Self { entries, reads: Cell::new(0), fails_at: None, asked: RefCell::default() }
    }

    fn read(&self, key: &[u8]) -> Result<(), StateError> {
        self.reads.set(self.reads.get() + 1);
        self.asked.borrow_mut().push(key.to_vec());
        match self.fails_at {
            Some(at) if self.reads.get() >= at => Err(StateError::Store("the disk is gone".to_owned())),
            _ => Ok(()),
        }
    }
}

impl State for Unordered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.read(key)?;
        Ok(self.entries.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone()))
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError> {
        self.read(from)?;
        let mut found: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(key, _)| from <= key.as_slice() && key.as_slice() < to)
            .cloned()
            .collect();
        found.sort();
        found.truncate(limit);
        Ok(found)
    }
}

/// A block with every call in it, permitted, denied and refused.
fn busy_block(world: &mut World) -> Vec<DecodedTx> {
    let to = Grantee::Org(org("hospB"));
    let sub = Rule { parent: Some(grant("g")), ..permit(person("hospB", "drB2")) };
    let nurse = Call::RegisterRecord(RegisterRecord {
        role: Role::Nurse,
        ..record_call("karl", "k2", &[Label::Hiv])
    });
    let mut txs = vec![
        world.organisation("clinic", &["hospA.admin0", "hospB.admin0", "clinic.admin0", "clinic.admin1"]),
        world.practitioner("hospC", "drC", &[Role::Physician, Role::Nurse], true),
        world.patient("berta", Some("berta"), "regA"),
        world.record("drA", "anna", "anna2", &[Label::Hiv]),
        world.record("drB", "anna", "x", &[]),
        world.tx(&["nurA"], nurse),
        world.access("drB", "anna1", Purpose::Treat),
        world.grant("anna", "anna", "g", Rule { max_uses: Some(2), delegable: true, ..permit(to) }),
        world.grant("drB", "anna", "sub", Rule { max_uses: Some(1), ..sub }),
        world.access("drB", "anna1", Purpose::Treat),
        world.access("drB2", "anna1", Purpose::Treat),
        world.access("drB", "anna2", Purpose::Treat),
        world.access("drB", "nothing", Purpose::Treat),
        world.emergency("drB", "karl1"),
        world.emergency("drB2", "karl1"),
        world.revoke("anna", "anna", "g", None),
        world.access("drB", "anna1", Purpose::Treat),
    ];
    txs.push(txs[3].clone());
    txs
}

/// The same, and of every contract what it does beyond.
fn busier_block(world: &mut World) -> Vec<DecodedTx> {
    let mut txs = busy_block(world);
    let anna = patient("anna");
    let viewers = vec![Viewer { grant: grant("v"), to: Grantee::Org(org("hospC")), until: None }];
    let report = DraftReport { record: record_call("anna", "report", &[]) };
    let approve = ApproveReport {
        record: record("report"),
        commitment: body("report").commitment,
        viewers_hash: viewers_hash(&viewers),
        document: None,
    };
    let supersede = SupersedeRecord {
        record: record("anna1"),
        version: 1,
        role: Role::Physician,
        category: epione_types::codes::Category::Lab,
        labels: vec![],
        service_month: Month::new(2026, 3).unwrap(),
        body: body("second"),
        minor_consented: false,
    };
    let link = CreateGuestLink {
        link: epione_types::id::LinkId(id16("link")),
        patient: anna,
        record: record("anna1"),
        key: key("link"),
        grant: grant("link"),
        until: epione_types::TimestampMs(world.now + 24 * HOUR),
        max_uses: 2,
        document: None,
    };
    let request = RequestAccess {
        request: epione_types::id::AccessRequestId(id16("q")),
        patient: anna,
        rule: permit(person("hospB", "drB2")),
        message: None,
        expires_at: epione_types::TimestampMs(world.now + 24 * HOUR),
    };
    let guardians = ["gus1", "gus2"]
        .map(|name| Guardian::Person(Person::Patient(patient(name))).commitment(&hash(name)))
        .to_vec();
    let recover = StartRecovery { patient: anna, key: key("lost"), salt: hash("gus1") };
    let action =
        ProposalAction::SetConstant { constant: epione_types::codes::PolicyConstant::LinkMs, value: HOUR };
    let propose = Propose { proposal: epione_types::id::ProposalId(id16("p")), action };
    let out = SetOptOut { patient: anna, grant: grant("out"), keep_permits: false, document: None };
    let review = ReviewOverride {
        patient: patient("karl"),
        height: epione_types::Height(world.height),
        organisation: org("hospB"),
        practitioner: practitioner("drB"),
        verdict: epione_types::codes::Verdict::Ok,
        text_commitment: None,
    };
    let calls: Vec<(&[&str], Call)> = vec![
        (&["drA"], Call::DraftReport(report)),
        (
            &["drA"],
            Call::SubmitReport(SubmitReport { record: record("report"), body: body("report"), viewers }),
        ),
        (&["anna"], Call::ApproveReport(approve)),
        (&["drA"], Call::SupersedeRecord(supersede)),
        (&["anna", "link"], Call::CreateGuestLink(link)),
        (&["drB2"], Call::RequestAccess(request)),
        (&["anna"], Call::SetGuardians(SetGuardians { guardians, threshold: 2 })),
        (&["gus1", "lost"], Call::StartRecovery(recover)),
        (&["hospA.admin0"], Call::Propose(propose)),
        (&["anna"], Call::SetOptOut(out)),
        (&["regB", "anna"], Call::LinkCare(LinkCare { patient: anna, document: None })),
        (&["offA", "anna"], Call::EraseRecord(EraseRecord { record: record("anna1"), document: None })),
        (&["offB"], Call::ReviewOverride(review)),
        (&["drA"], Call::MarkDeceased(MarkDeceased { patient: anna, document: hash("certificate") })),
        (&["anna", "fresh"], Call::RotateKey(RotateKey { key: key("fresh") })),
    ];
    for (signers, call) in calls {
        txs.push(world.tx(signers, call));
    }
    txs
}

/// The cast, and an emergency of drB's on karl whose review is not done yet.
fn with_history() -> World {
    let mut world = World::cast();
    let tx = world.emergency("drB", "karl1");
    world.ok(tx);
    world
}

#[test]
fn the_same_block_twice_gives_the_same_bytes_from_any_store() {
    let mut world = with_history();
    let txs = busier_block(&mut world);
    let context = world.context(4 * HOUR);
    let late = txs.iter().cloned().map(|mut tx| {
        tx.body.expires_at = epione_types::TimestampMs(world.now + 5 * HOUR);
        tx
    });
    let txs: Vec<_> = late.collect();
    let expected = execute_block(&world.state, &context, &txs).unwrap();
    assert!(expected.writes.len() > 40 && expected.next_deadline.is_some());
    for seed in 0..20 {
        let store = Unordered::of(&world.state, seed);
        let again = execute_block(&store, &context, &txs).unwrap();
        assert_eq!(codec::encode(&again.receipts), codec::encode(&expected.receipts));
        assert_eq!(codec::encode(&again.writes), codec::encode(&expected.writes));
        assert_eq!(again.next_deadline, expected.next_deadline);
    }
}

/// One block of all transactions, or one block for each at the same place in time: the same contracts' state, but for
/// heights and times. Here: accesses on separate patients commute.
#[test]
fn independent_transactions_commute() {
    let mut world = World::new();
    let names = ["p0", "p1", "p2", "p3", "p4"];
    let mut txs: Vec<_> = names.iter().map(|name| world.patient(name, None, "regA")).collect();
    let state = |txs: &[DecodedTx]| {
        let mut world = world.clone();
        world.block(txs);
        world.state
    };
    let forwards = state(&txs);
    txs.reverse();
    assert_eq!(state(&txs), forwards);
}

/// Whatever read fails, the block fails: no answer is made up, no write leaves.
#[test]
fn a_store_that_fails_anywhere_stops_the_block() {
    let mut world = with_history();
    let txs = busier_block(&mut world);
    let context = world.context(1_000);
    let whole = Unordered::of(&world.state, 0);
    execute_block(&whole, &context, &txs).unwrap();
    // Every third: each takes a whole block.
    for at in (1..=whole.reads.get()).step_by(3) {
        let store = Unordered { fails_at: Some(at), ..Unordered::of(&world.state, 0) };
        let error = execute_block(&store, &context, &txs).unwrap_err();
        assert_eq!(error, StateError::Store("the disk is gone".to_owned()), "read {at}");
    }
}

#[test]
fn a_damaged_value_stops_the_block() {
    let mut world = World::new();
    let tx = world.access("drB", "anna1", Purpose::Treat);
    let context = world.context(1_000);
    for key in [
        keys::record(record("anna1")).as_bytes().to_vec(),
        keys::member(&key("drB")).as_bytes().to_vec(),
        keys::patient(patient("anna")).as_bytes().to_vec(),
        keys::policy().as_bytes().to_vec(),
    ] {
        let mut state = world.state.clone();
        state.get_mut(&key).unwrap().push(0);
        let error = execute_block(&state, &context, std::slice::from_ref(&tx)).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
    assert!(execute_block(&Map::new(), &context, &[]).is_err(), "a state without a genesis");
}

/// What a transaction costs: reads of the store for its own sake, and writes. Readers of docs/benchmarks.md rely on it.
#[test]
fn reads_and_writes_per_call() {
    let world = World::new();
    let cost = |make: &mut dyn FnMut(&mut World) -> DecodedTx| {
        let mut world = world.clone();
        let (first, second) = (make(&mut world), make(&mut world));
        let context = world.context(1_000);
        let reads = |txs: &[DecodedTx]| {
            let store = Unordered::of(&world.state, 0);
            let writes = execute_block(&store, &context, txs).unwrap().writes.len();
            (store.reads.get(), writes)
        };
        let (none, one, both) = (reads(&[]), reads(std::slice::from_ref(&first)), reads(&[first, second]));
        assert_eq!(
            none,
            (8, 0),
            "an empty block: policy, constants, expired ids, due deadlines, next deadline; epoch, next one, candidates"
        );
        // (reads of the first such transaction in a block, of a further one, its writes)
        (one.0 - none.0, both.0 - one.0, both.1 - one.1)
    };
    let mut number = 0;
    let mut next = |kind: &str| {
        number += 1;
        format!("{kind}{number}")
    };
    let mut costs = BTreeMap::new();
    costs.insert("record", cost(&mut |world| world.record("drA", "anna", &next("r"), &[])));
    costs.insert("patient", cost(&mut |world| world.patient(&next("p"), None, "regA")));
    costs.insert(
        "grant",
        cost(&mut |world| world.grant("anna", "anna", &next("g"), permit(Grantee::Org(org("hospB"))))),
    );
    costs.insert("access", cost(&mut |world| world.access("drA", "anna1", Purpose::Treat)));
    costs.insert("denied", cost(&mut |world| world.access("drB", "anna1", Purpose::Treat)));
    costs.insert("emergency", cost(&mut |world| world.emergency("drB", "anna1")));
    let expected = BTreeMap::from([
        ("record", (7, 3, 4)),
        ("patient", (6, 3, 3)),
        ("grant", (8, 4, 3)),
        ("access", (7, 2, 3)),
        ("denied", (8, 2, 3)),
        ("emergency", (9, 3, 3)),
    ]);
    assert_eq!(costs, expected);
}

#[test]
fn a_block_reads_no_key_twice_but_to_look_for_it() {
    let mut world = World::new();
    let txs = busy_block(&mut world);
    let store = Unordered::of(&world.state, 0);
    execute_block(&store, &world.context(1_000), &txs).unwrap();
    let asked = store.asked.borrow();
    let remembered = [&b"key/"[..], b"org/", b"pra/", b"pat/", b"cfg/"];
    let gets: Vec<_> =
        asked.iter().filter(|key| remembered.iter().any(|prefix| key.starts_with(prefix))).collect();
    let distinct: BTreeSet<_> = gets.iter().collect();
    // A new key is looked for once, unremembered, before it is enrolled.
    assert!(gets.len() <= distinct.len() + 6, "{} reads of {} keys", gets.len(), distinct.len());
}

/// Every value fits the store's limit, whatever the lists hold.
#[test]
fn the_largest_values_fit() {
    use epione_chaincode::consent::{Basis, Grant, Revocation};
    let attested =
        Basis::Attested { organisation: org("o"), practitioner: practitioner("p"), document: hash("d") };
    let rule = Rule {
        purposes: epione_types::call::Purposes::Only(epione_types::codes::Purpose::ALL.to_vec()),
        actions: epione_types::codes::Action::ALL.to_vec(),
        categories: epione_types::codes::Category::ALL.to_vec(),
        records: (0..64).map(|i| record(&format!("{i}"))).collect(),
        labels: epione_types::call::Labels::Only(Label::ALL.to_vec()),
        document: Some(hash("d")),
        policy: Some(hash("p")),
        ..permit(Grantee::Any)
    };
    let grant = Grant {
        id: grant("g"),
        rule,
        basis: attested,
        created_at: epione_types::TimestampMs(0),
        revoked: Some(Revocation { at: epione_types::TimestampMs(0), basis: attested }),
        uses: 0,
    };
    assert!(codec::encode(&grant).len() < 4 * 1024, "{}", codec::encode(&grant).len());
    let viewer = Viewer { grant: grant.id, to: person("o", "p"), until: Some(epione_types::TimestampMs(0)) };
    let report = epione_chaincode::reports::Report {
        status: epione_types::codes::ReportStatus::Approved,
        viewers: vec![viewer; epione_chaincode::reports::MAX_VIEWERS],
        round: 1,
        deadline: Some(epione_types::TimestampMs(0)),
        changes: Some(hash("c")),
        answered: Some((epione_types::TimestampMs(0), attested)),
    };
    assert!(codec::encode(&report).len() < 4 * 1024, "{}", codec::encode(&report).len());
    let member = TeamMember { organisation: org("o"), practitioner: practitioner("p") };
    let proposal = epione_chaincode::governance::Proposal {
        action: ProposalAction::SetStudy {
            study: epione_types::id::StudyId([1; 16]),
            status: epione_types::codes::StudyStatus::Approved,
            approved_until: epione_types::TimestampMs(0),
            team: vec![member; 64],
        },
        proposer: org("o"),
        expires: epione_types::TimestampMs(0),
        status: epione_types::codes::ProposalStatus::Open,
        votes: (0..100).map(|i| (org(&format!("{i}")), true)).collect(),
        ready: None,
    };
    assert!(codec::encode(&proposal).len() < 8 * 1024, "{}", codec::encode(&proposal).len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Uses never exceed their limit, history never shrinks, and blocks of any cut give the same contracts' state.
    #[test]
    fn whatever_happens_uses_keep_their_limit(steps in proptest::collection::vec((0..6_u8, any::<bool>()), 1..25)) {
        let mut world = World::new();
        let mut grants = 0;
        for (step, emergency) in steps {
            let tx = match step {
                0 => {
                    grants += 1;
                    let rule = Rule { max_uses: Some(2), ..permit(Grantee::Org(org("hospB"))) };
                    world.grant("anna", "anna", &format!("g{grants}"), rule)
                }
                1 => world.revoke("anna", "anna", &format!("g{grants}"), None),
                2 if emergency => world.emergency("drB", "anna1"),
                3 => world.access("drB2", "anna1", Purpose::Treat),
                _ => world.access("drB", "anna1", Purpose::Treat),
            };
            // What a holder has now is a sum, and no history.
            let passing = [b"txi/", b"req/", b"gro/"];
            let kept = |world: &World| {
                world.state.keys().filter(|key| !passing.iter().any(|prefix| key.starts_with(*prefix))).count()
            };
            let before = kept(&world);
            world.run(tx);
            let after = kept(&world);
            prop_assert!(after >= before, "nothing of the contracts' history goes");
            for i in 1..=grants {
                let grant = world.stored_grant("anna", &format!("g{i}"));
                prop_assert!(grant.uses <= 2);
            }
        }
    }
}
