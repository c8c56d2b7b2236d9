//! What the API shows, and to whom.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::identity::{Member, Representation, RepresentationKind};
use epione_chaincode::keys;
use epione_chaincode::read::{self, Page, Reader};
use epione_types::TimestampMs;
use epione_types::call::{Call, Grantee, Labels, Person, Rule};
use epione_types::codes::{Label, Purpose, Reason, Role};
use epione_types::id::RepresentativeId;
use support::*;

fn staff(hospital: &str, name: &str) -> Member {
    Member::Practitioner(org(hospital), practitioner(name))
}

fn open<'a>(world: &'a World, who: Member) -> Option<Reader<'a>> {
    Reader::open(&world.state, TimestampMs(world.now), who, patient("anna")).unwrap()
}

/// How many records, grants, accesses and overrides are shown.
fn counts(world: &World, who: Member) -> Option<[usize; 4]> {
    let reader = open(world, who)?;
    Some([
        all(|after| reader.records(after, 2).unwrap()).len(),
        all(|after| reader.grants(after, 2).unwrap()).len(),
        all(|after| reader.accesses(after, 2).unwrap()).len(),
        all(|after| reader.overrides(after, 2).unwrap()).len(),
    ])
}

fn all<T>(page: impl Fn(Option<&[u8]>) -> Page<T>) -> Vec<T> {
    let (mut items, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = page(after.as_deref());
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

/// anna's records anna1 (plain) and hiv; a grant to drB for plain ones, a denial to drB2; accesses by drA and drB, an emergency by drB2.
fn world() -> World {
    let mut world = World::new();
    let txs = [
        world.practitioner("hospA", "audA", &[Role::Auditor], false),
        world.practitioner("hospC", "audC", &[Role::Auditor], false),
        world.practitioner("hospA", "offA", &[Role::PrivacyOfficer], false),
        world.record("drA", "anna", "hiv", &[Label::Hiv]),
        world.grant("anna", "anna", "g", permit(person("hospB", "drB"))),
        world.grant("anna", "anna", "d", deny(person("hospB", "drB2"))),
        world.access("drA", "anna1", Purpose::Treat),
        world.access("drB", "anna1", Purpose::Treat),
        world.access("drB", "hiv", Purpose::Treat),
        world.emergency("drB2", "hiv"),
    ];
    for tx in txs {
        world.ok(tx);
    }
    world
}

#[test]
fn who_sees_how_much() {
    let world = world();
    for (who, expected) in [
        (Member::Patient(patient("anna")), Some([2, 2, 4, 1])),
        (staff("hospA", "offA"), Some([2, 2, 4, 1])),
        (staff("hospA", "audA"), Some([2, 2, 4, 1])),
        (staff("hospC", "audC"), Some([2, 2, 4, 1])), // a validator's auditor
        (staff("hospA", "drA"), Some([2, 2, 4, 1])),
        (staff("hospA", "regA"), Some([0, 2, 0, 1])), // demographics alone
        (staff("hospB", "drB"), Some([1, 1, 2, 0])),  // within the grant, and the own accesses
        (staff("hospB", "drB2"), Some([2, 0, 1, 1])), // by the open override; the denial is not shown
        (staff("hospA", "bilA"), None),
        (staff("hospB", "nurB"), None),
        (Member::Patient(patient("karl")), None),
        (Member::Admin(org("hospA")), None),
        (staff("hospA", "nobody"), None),
    ] {
        assert_eq!(counts(&world, who), expected, "{who:?}");
    }
    let precise = |who| open(&world, who).unwrap().sees_precise_reasons();
    assert!(precise(Member::Patient(patient("anna"))) && precise(staff("hospA", "drA")));
    assert!(!precise(staff("hospB", "drB")), "a grantee is told no more than the decision told");
}

#[test]
fn a_stranger_learns_not_even_whether_there_is_a_patient() {
    let world = world();
    let who = staff("hospB", "nurB");
    let now = TimestampMs(world.now);
    assert!(Reader::open(&world.state, now, who, patient("anna")).unwrap().is_none());
    assert!(Reader::open(&world.state, now, who, patient("nobody")).unwrap().is_none());
    for name in ["anna1", "nothing"] {
        assert!(read::record(&world.state, now, who, record(name)).unwrap().is_none());
    }
    let doctor = staff("hospB", "drB");
    assert!(read::record(&world.state, now, doctor, record("anna1")).unwrap().is_some());
    assert!(read::record(&world.state, now, doctor, record("hiv")).unwrap().is_none());
}

#[test]
fn what_ends_is_not_shown_any_more() {
    let mut world = world();
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospB", "drB")), None);
    world.block_after(4 * HOUR, &[]);
    assert_eq!(counts(&world, staff("hospB", "drB2")), None, "nor after the override");
    // A denial closes the record's entry to the caring hospital's doctor, too.
    let tx = world.grant("anna", "anna", "d2", deny(person("hospA", "drA")));
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospA", "drA")), Some([0, 3, 1, 1]));
}

#[test]
fn a_parent_sees_what_the_minor_does_not_keep() {
    let mut world = world();
    let mother = RepresentativeId(id16("mother"));
    let mut entry = Representation {
        kind: RepresentationKind::Parent,
        from: TimestampMs(0),
        until: None,
        minor_privacy_from: None,
        categories: vec![],
        revoked_at: None,
        evidence: hash("evidence"),
        organisation: org("hospA"),
    };
    let key = keys::representation(patient("anna"), Person::Representative(mother));
    put(&mut world.state, &key, &entry);
    let who = Member::Representative(mother);
    assert_eq!(counts(&world, who), Some([2, 2, 4, 1]));
    entry.minor_privacy_from = Some(TimestampMs(world.now));
    put(&mut world.state, &key, &entry);
    assert_eq!(counts(&world, who), Some([1, 0, 2, 0]), "without the HIV result, its accesses and who asked");
    entry.until = Some(TimestampMs(world.now));
    put(&mut world.state, &key, &entry);
    assert_eq!(counts(&world, who), None);
}

#[test]
fn pages_are_bounded_and_cursors_from_outside_harmless() {
    let mut world = World::new();
    for i in 0..20 {
        let tx = world.record("drA", "anna", &format!("r{i}"), &[]);
        world.ok(tx);
    }
    let reader = open(&world, Member::Patient(patient("anna"))).unwrap();
    let records = all(|after| reader.records(after, 7).unwrap());
    assert_eq!(records.len(), 21);
    assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(reader.records(None, 0).unwrap().items.len(), 1, "at least one");
    assert_eq!(reader.records(None, usize::MAX).unwrap().items.len(), 21);
    let exact = reader.records(None, 21).unwrap();
    assert_eq!((exact.items.len(), exact.next), (21, None));
    for cursor in [&b""[..], b"a", b"rbp/"] {
        assert_eq!(
            reader.records(Some(cursor), 3).unwrap().items.len(),
            3,
            "before the range: its beginning"
        );
    }
    for cursor in [&b"zzz"[..], &[0xff; 300]] {
        assert_eq!(reader.records(Some(cursor), 3).unwrap().items.len(), 0, "behind it: nothing");
    }
}

#[test]
fn accesses_come_oldest_first_with_precise_reasons() {
    let world = world();
    let reader = open(&world, Member::Patient(patient("anna"))).unwrap();
    let reasons: Vec<Reason> =
        all(|after| reader.accesses(after, 3).unwrap()).iter().map(|it| it.reason).collect();
    let expected =
        [Reason::PermitCustodian, Reason::PermitGrant, Reason::DenySensitivity, Reason::PermitBreakGlass];
    assert_eq!(reasons, expected);
}

#[test]
fn a_grantee_by_role_or_label_sees_that() {
    let mut world = world();
    let rule = Rule {
        labels: Labels::Only(vec![Label::Hiv]),
        records: vec![record("hiv")],
        ..permit(Grantee::Role(org("hospB"), Role::Nurse))
    };
    let tx = world.grant("anna", "anna", "nurses", rule);
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospB", "nurB")), Some([1, 1, 0, 0]));
    let call = Call::RecordAccess(access_call("hiv", Role::Nurse, Purpose::Treat));
    let tx = world.tx(&["nurB"], call);
    assert_eq!(world.decided(tx).1, Reason::PermitGrant);
}
