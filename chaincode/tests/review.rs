//! Reviews of emergency accesses, what is overdue, and what the patient is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::access::notices::Notice;
use epione_chaincode::{host, keys};
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::{Height, TimestampMs};
use support::*;

const DR_B: fn() -> (epione_types::id::OrgId, epione_types::id::PractitionerId) =
    || (org("hospB"), practitioner("drB"));

fn review(height: u64, verdict: Verdict) -> Call {
    Call::ReviewOverride(ReviewOverride {
        patient: patient("anna"),
        height: Height(height),
        organisation: org("hospB"),
        practitioner: practitioner("drB"),
        verdict,
        text_commitment: Some(hash("findings")),
    })
}

/// drB broke the glass on anna's record, in the block whose height this is.
fn broken() -> (World, u64) {
    let mut world = World::cast();
    let tx = world.emergency("drB", "anna1");
    world.ok(tx);
    let height = world.height;
    (world, height)
}

fn notices(world: &World, patient_name: &str) -> Vec<Notice> {
    let all = host::range(&world.state, &keys::notices(patient(patient_name)), 100).unwrap();
    all.into_iter().map(|(_, notice)| notice).collect()
}

#[test]
fn s11_nobody_reviews_their_own_emergency() {
    let (mut world, height) = broken();
    let tx = world.tx(&["drB"], review(height, Verdict::Ok));
    assert_eq!(world.refused(tx), Refusal::ReviewSelf);
    // Nor as a privacy officer: it is the person, not the role.
    let both = UpdatePractitioner {
        practitioner: practitioner("drB"),
        roles: vec![Role::Physician, Role::PrivacyOfficer],
        capabilities: vec![],
        credential_until: None,
        key: None,
    };
    let tx = world.tx(&["hospB.admin0"], Call::UpdatePractitioner(both));
    world.ok(tx);
    world.block_after(4 * HOUR, &[]);
    let tx = world.tx(&["drB"], review(height, Verdict::Ok));
    assert_eq!(world.refused(tx), Refusal::ReviewSelf);
}

#[test]
fn a_review_is_of_what_is_over_and_happens_once() {
    let (mut world, height) = broken();
    let tx = world.tx(&["offB"], review(height, Verdict::Ok));
    assert_eq!(world.refused(tx), Refusal::BadState, "still open");
    world.block_after(4 * HOUR, &[]);
    let tx = world.tx(&["offB"], review(height + 1, Verdict::Ok));
    assert_eq!(world.refused(tx), Refusal::Unknown);
    let tx = world.tx(&["offB"], review(height, Verdict::Ok));
    let receipt = world.ok(tx);
    assert!(matches!(receipt.events[0], Event::OverrideReviewed { verdict: Verdict::Ok, .. }));
    let tx = world.tx(&["offA"], review(height, Verdict::Misuse));
    assert_eq!(world.refused(tx), Refusal::ReviewTwice);
    // Nothing is owed any more: no deadline, no count.
    assert_eq!(world.next_deadline, None);
    world.block_after(72 * HOUR, &[]);
    for prefix in [&b"rev/"[..], b"esc/", b"due/"] {
        assert!(!world.state.keys().any(|key| key.starts_with(prefix)));
    }
}

#[test]
fn misuse_is_found_by_an_organisation_that_cares() {
    let (mut world, height) = broken();
    world.block_after(4 * HOUR, &[]);
    for (by, verdict) in
        [("offB", Verdict::Misuse), ("drA", Verdict::Ok), ("audC", Verdict::Ok), ("anna", Verdict::Ok)]
    {
        let tx = world.tx(&[by], review(height, verdict));
        assert_eq!(world.refused(tx), Refusal::NotAuthorised, "{by}");
    }
    let tx = world.tx(&["offA"], review(height, Verdict::Misuse));
    world.ok(tx);
    let found = get(&world.state, &keys::review_found(patient("anna"), Height(height), DR_B())).unwrap();
    assert_eq!((found.verdict, found.overdue), (Verdict::Misuse, false));
    let kinds: Vec<_> = notices(&world, "anna").iter().map(|notice| notice.kind).collect();
    assert_eq!(
        kinds,
        [NoticeKind::RepresentationAdded, NoticeKind::EmergencyAccess, NoticeKind::ReviewedMisuse]
    );
}

#[test]
fn a_review_that_is_late_is_escalated_and_counts_until_it_is_done() {
    let (mut world, height) = broken();
    let due = TimestampMs(world.now + 72 * HOUR);
    world.block_after(72 * HOUR - 1, &[]);
    let escalated = keys::escalation(DR_B(), due, patient("anna"));
    assert_eq!(get(&world.state, &escalated), None, "a millisecond early");
    world.block_after(1, &[]);
    assert_eq!(get(&world.state, &escalated), Some(()));
    let told = *notices(&world, "anna").last().unwrap();
    assert_eq!((told.kind, told.at), (NoticeKind::ReviewOverdue, due));
    assert_eq!(told.about.practitioner, Some(DR_B()));
    // Now an auditor of another hospital may settle it.
    let tx = world.tx(&["audC"], review(height, Verdict::Ok));
    world.ok(tx);
    assert_eq!(get(&world.state, &escalated), None);
    let found = get(&world.state, &keys::review_found(patient("anna"), Height(height), DR_B())).unwrap();
    assert!(found.overdue);
}

#[test]
fn three_overdue_reviews_suspend_until_one_is_done() {
    let mut world = World::cast();
    let mut opened = Vec::new();
    for name in ["p0", "p1", "p2", "p3"] {
        let tx = world.patient(name, None, "regA");
        world.ok(tx);
        let tx = world.record("drA", name, &format!("{name}.1"), &[]);
        world.ok(tx);
    }
    for name in ["p0", "p1", "p2"] {
        let tx = world.emergency("drB", &format!("{name}.1"));
        world.ok(tx);
        opened.push((name, world.height));
    }
    world.block_after(73 * HOUR, &[]);
    let count = host::range(&world.state, &keys::escalations(org("hospB")), 9).unwrap().len();
    assert_eq!(count, 3);
    let tx = world.emergency("drB", "p3.1");
    assert_eq!(world.decided(tx).1, Reason::DenyBtgSuspended);
    let (name, height) = opened[0];
    let Call::ReviewOverride(call) = review(height, Verdict::Ok) else { panic!() };
    let call = ReviewOverride { patient: patient(name), ..call };
    let tx = world.tx(&["offB"], Call::ReviewOverride(call));
    world.ok(tx);
    let tx = world.emergency("drB", "p3.1");
    assert_eq!(world.decided(tx).1, Reason::PermitBreakGlass);
}

#[test]
fn a_notice_is_acknowledged_by_whoever_speaks_for_the_patient_once() {
    let (mut world, height) = broken();
    let call = |index| {
        Call::AcknowledgeNotice(AcknowledgeNotice {
            patient: patient("anna"),
            height: Height(height),
            index,
            document: None,
        })
    };
    for (by, index, refusal) in [
        ("drB", 0, Refusal::NotGrantor),
        ("gus1", 0, Refusal::NotGrantor),
        ("regA", 0, Refusal::AuthElementMissing),
        ("anna", 1, Refusal::Unknown),
    ] {
        let tx = world.tx(&[by], call(index));
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
    let tx = world.tx(&["anna"], call(0));
    world.ok(tx);
    let tx = world.tx(&["mother"], call(0));
    assert_eq!(world.refused(tx), Refusal::BadState);
    let seen = get(&world.state, &keys::notice(patient("anna"), Height(height), 0)).unwrap();
    assert!(seen.acknowledged.is_some());
}
