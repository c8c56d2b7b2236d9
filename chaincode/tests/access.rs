//! Accesses as transactions: what is counted, what is left behind, and how emergencies end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::access::{AccessEvent, DENIALS_WINDOW_MS, MAX_DENIALS, Override};
use epione_chaincode::identity::Member;
use epione_chaincode::{check_access, check_access_as_told, keys, read};
use epione_types::call::{Call, Emergency, Grantee, Purposes, RecordAccess, Rule};
use epione_types::codes::{Decision, EmergencyReason, Obligation, Purpose, Reason, Refusal, Role};
use epione_types::event::Event;
use epione_types::{Height, Outcome, TimestampMs};
use support::*;

const DR_B: fn() -> Member = || Member::Practitioner(org("hospB"), practitioner("drB"));

fn one_use() -> Rule {
    Rule { max_uses: Some(1), ..permit(person("hospB", "drB")) }
}

fn with_one_use() -> World {
    let mut world = World::new();
    let tx = world.grant("anna", "anna", "g", one_use());
    world.ok(tx);
    world
}

#[test]
fn s01_one_use_and_two_accesses_in_one_block() {
    let mut world = with_one_use();
    let a = world.access("drB", "anna1", Purpose::Treat);
    let b = world.access("drB", "anna1", Purpose::Treat);
    let execution = world.block_after(1_000, &[a, b]);
    let reasons: Vec<_> = decided(&execution).into_iter().map(|(_, precise)| precise).collect();
    assert_eq!(reasons, [Reason::PermitGrant, Reason::DenyUsesExhausted]);
    assert_eq!(world.stored_grant("anna", "g").uses, 1);
    for index in [0, 1] {
        let key = keys::access(patient("anna"), Height(world.height), index);
        assert!(get(&world.state, &key).is_some(), "both leave their event");
    }
}

#[test]
fn s02_dry_runs_count_nothing() {
    let mut world = with_one_use();
    let call = access_call("anna1", Role::Physician, Purpose::Treat);
    for _ in 0..3 {
        let before = world.state.clone();
        let found = check_access(&world.state, TimestampMs(world.now), DR_B(), &call).unwrap();
        assert_eq!((found.decision, found.grant), (Decision::Permit, Some(grant("g"))));
        assert!(found.obligations.contains(&Obligation::ConsumeUse));
        assert_eq!(world.state, before);
    }
    assert_eq!(world.stored_grant("anna", "g").uses, 0);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
}

#[test]
fn what_is_told_does_not_depend_on_what_is_hidden() {
    let mut world = World::new();
    let refusal = Rule { purposes: Purposes::Only(vec![Purpose::Btg]), ..deny(Grantee::Any) };
    let tx = world.grant("anna", "anna", "never", refusal);
    world.ok(tx);
    let told = |id: &str| {
        let call = access_call(id, Role::Physician, Purpose::Btg);
        let now = TimestampMs(world.now);
        let (decided, told) = check_access_as_told(&world.state, now, DR_B(), &call).unwrap();
        (decided.reason, told)
    };
    // Refused in advance, which is looked at first; there, and without grounds; not there at all.
    assert_eq!(told("anna1"), (Reason::DenyEmergencyRefused, Reason::DenyBtgNoReason));
    assert_eq!(told("karl1"), (Reason::DenyBtgNoReason, Reason::DenyBtgNoReason));
    assert_eq!(told("nowhere"), (Reason::DenyNoSuchRecord, Reason::DenyBtgNoReason));
}

#[test]
fn s05_a_revocation_stops_what_comes_after_and_changes_nothing_before() {
    let mut world = World::new();
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    world.ok(access);
    let key = keys::access(patient("anna"), Height(world.height), 0);
    let earlier = get(&world.state, &key).unwrap();
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyRevoked);
    assert_eq!(get(&world.state, &key).unwrap(), earlier);
}

#[test]
fn s06_within_a_block_order_decides() {
    for (revoke_first, reason) in [(true, Reason::DenyRevoked), (false, Reason::PermitGrant)] {
        let mut world = World::new();
        let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
        world.ok(tx);
        let revoke = world.revoke("anna", "anna", "g", None);
        let access = world.access("drB", "anna1", Purpose::Treat);
        let index = u32::from(revoke_first);
        world.block(&if revoke_first { [revoke, access] } else { [access, revoke] });
        let key = keys::access(patient("anna"), Height(world.height), index);
        assert_eq!(get(&world.state, &key).unwrap().reason, reason);
    }
}

#[test]
fn the_trace_is_precise_and_the_receipt_is_not() {
    let mut world = World::new();
    let tx = world.record("drA", "anna", "hiv", &[epione_types::codes::Label::Hiv]);
    world.ok(tx);
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let access = world.access("drB", "hiv", Purpose::Treat);
    let receipt = world.run(access);
    let Event::AccessDecided { decision, reason, grant: by, organisation, .. } = &receipt.events[0] else {
        panic!()
    };
    assert_eq!((*decision, *reason, *by), (Decision::Deny, Reason::AccessDenied, None));
    assert_eq!(*organisation, Some(org("hospB")));
    let key = keys::access(patient("anna"), receipt.height, 0);
    let event: AccessEvent = get(&world.state, &key).unwrap();
    assert_eq!((event.who, event.reason), (DR_B(), Reason::DenySensitivity));
    assert_eq!(event.at, TimestampMs(world.now));
}

#[test]
fn asking_for_what_does_not_exist_leaves_a_trace_too() {
    let mut world = World::new();
    let access = world.access("drB", "nothing", Purpose::Treat);
    let receipt = world.ok(access);
    let Event::AccessDecided { patient: None, reason: Reason::AccessDenied, .. } = receipt.events[0] else {
        panic!()
    };
    let key = keys::access_unknown(DR_B(), receipt.height, 0);
    assert_eq!(get(&world.state, &key).unwrap().reason, Reason::DenyNoSuchRecord);
    let access = world.access("nobody", "anna1", Purpose::Treat);
    assert_eq!(world.refused(access), Refusal::UnknownSigner);
}

#[test]
fn denials_are_limited_and_permits_are_not_held_up() {
    let mut world = World::new();
    let start = world.now + 1_000;
    let txs: Vec<_> = (0..=MAX_DENIALS).map(|_| world.access("drB", "anna1", Purpose::Treat)).collect();
    let receipts = world.block(&txs);
    let refused = Outcome::Refused(Refusal::TooManyDenials);
    let (last, first) = receipts.split_last().unwrap();
    assert!(first.iter().all(|receipt| receipt.outcome == Outcome::Ok));
    assert_eq!(last.outcome, refused);
    // A colleague has an own count; a permitted access is none; an emergency goes through.
    let access = world.access("drB2", "anna1", Purpose::Treat);
    world.ok(access);
    let access = world.emergency("drB", "anna1");
    assert_eq!(world.decided(access).1, Reason::PermitBreakGlass);
    let mut access = world.access("drB", "anna1", Purpose::Treat);
    access.body.expires_at = TimestampMs(start + 2 * DENIALS_WINDOW_MS);
    let before = DENIALS_WINDOW_MS - (world.now - start) - 1;
    assert_eq!(world.block_after(before, &[access]).receipts[0].outcome, refused, "a millisecond early");
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.block_after(1, &[access]).receipts[0].outcome, Outcome::Ok, "an hour later");
}

#[test]
fn an_emergency_opens_an_override_with_its_deadlines() {
    let mut world = World::new();
    assert_eq!(world.next_deadline, None);
    let access = world.emergency("drB", "anna1");
    let receipt = world.ok(access);
    let opened = world.now;
    let (expires, review_due) = (TimestampMs(opened + 4 * HOUR), TimestampMs(opened + 72 * HOUR));
    assert_eq!(
        receipt.events[1],
        Event::OverrideOpened {
            patient: patient("anna"),
            organisation: org("hospB"),
            practitioner: practitioner("drB"),
            reason: EmergencyReason::Unconscious,
            expires,
            review_due,
        }
    );
    let who = (org("hospB"), practitioner("drB"));
    let stored: Override = get(&world.state, &keys::emergency(patient("anna"), receipt.height, who)).unwrap();
    assert_eq!(
        (stored.opened, stored.expires, stored.review_due),
        (TimestampMs(opened), expires, review_due)
    );
    assert_eq!(stored.text_commitment, hash("found unconscious"));
    assert_eq!(world.next_deadline, Some(expires), "something waits for time");

    // For this practitioner and patient, all records, no new reason.
    let tx = world.record("drA", "anna", "anna2", &[]);
    world.ok(tx);
    let again = world.access("drB", "anna2", Purpose::Btg);
    assert_eq!(world.decided(again).1, Reason::PermitOverrideActive);
    let other = world.access("drB", "karl1", Purpose::Btg);
    assert_eq!(world.decided(other).1, Reason::DenyBtgNoReason);
    let colleague = world.access("drB2", "anna1", Purpose::Btg);
    assert_eq!(world.decided(colleague).1, Reason::DenyBtgNoReason);
    // A grant that suffices opens none.
    let own = world.emergency("drA", "anna1");
    assert_eq!(world.decided(own).1, Reason::PermitCustodian);
    let overrides = world.state.keys().filter(|key| key.starts_with(b"ovr/")).count();
    assert_eq!(overrides, 1);
}

#[test]
fn a_second_emergency_after_the_first_expired_needs_its_own_grounds() {
    let mut world = World::new();
    let tx = world.emergency("drB", "anna1");
    world.ok(tx);
    let expires = world.now + 4 * HOUR;
    let last = world.access("drB", "anna1", Purpose::Btg);
    let mut last = last;
    last.body.expires_at = TimestampMs(expires);
    let early = expires - 1 - world.now;
    assert_eq!(decided(&world.block_after(early, &[last]))[0].1, Reason::PermitOverrideActive);
    let over = world.access("drB", "anna1", Purpose::Btg);
    assert_eq!(decided(&world.block_after(1, &[over]))[0].1, Reason::DenyBtgNoReason, "at its end exactly");
    let who = (org("hospB"), practitioner("drB"));
    assert_eq!(get(&world.state, &keys::open_override(patient("anna"), who)), None);

    let second = world.emergency("drB", "anna1");
    assert_eq!(world.decided(second).1, Reason::PermitBreakGlass);
    let overrides = world.state.keys().filter(|key| key.starts_with(b"ovr/")).count();
    assert_eq!(overrides, 2, "the first is history, not overwritten");
}

#[test]
fn the_deadline_comes_before_the_blocks_transactions() {
    let mut world = World::new();
    let tx = world.emergency("drB", "anna1");
    world.ok(tx);
    let mut renewed = world.emergency("drB", "anna1");
    renewed.body.expires_at = TimestampMs(world.now + 5 * HOUR);
    let execution = world.block_after(4 * HOUR, &[renewed]);
    assert_eq!(decided(&execution)[0].1, Reason::PermitBreakGlass);
    let again = world.access("drB", "anna1", Purpose::Btg);
    assert_eq!(
        world.decided(again).1,
        Reason::PermitOverrideActive,
        "the old deadline did not end the new override"
    );
}

#[test]
fn at_most_one_override_is_open_per_patient_and_practitioner() {
    let mut world = World::new();
    let txs = [world.emergency("drB", "anna1"), world.emergency("drB", "anna1")];
    let execution = world.block_after(1_000, &txs);
    let reasons: Vec<_> = decided(&execution).into_iter().map(|(_, precise)| precise).collect();
    assert_eq!(reasons, [Reason::PermitBreakGlass, Reason::PermitOverrideActive]);
    assert_eq!(world.state.keys().filter(|key| key.starts_with(b"ovr/")).count(), 1);
    assert_eq!(world.state.keys().filter(|key| key.starts_with(b"ovo/")).count(), 1);
}

#[test]
fn three_overdue_reviews_suspend_emergency_access() {
    let mut world = World::new();
    for name in ["p0", "p1", "p2", "p3"] {
        let tx = world.patient(name, None, "regA");
        world.ok(tx);
        let tx = world.record("drA", name, &format!("{name}1"), &[]);
        world.ok(tx);
    }
    for name in ["p01", "p11", "p21"] {
        let tx = world.emergency("drB", name);
        world.ok(tx);
    }
    let third_due = world.now + 72 * HOUR;
    let mut fourth = world.emergency("drB", "p31");
    fourth.body.expires_at = TimestampMs(third_due);
    let mut longer = world.clone();
    let early = third_due - 1 - world.now;
    assert_eq!(
        decided(&world.block_after(early, &[fourth.clone()]))[0].1,
        Reason::PermitBreakGlass,
        "two are overdue"
    );
    let late = third_due - longer.now;
    assert_eq!(decided(&longer.block_after(late, &[fourth]))[0].1, Reason::DenyBtgSuspended, "three are");
    // Nothing waits for time any more but what the fourth one opened.
    assert_eq!(longer.next_deadline, None);
    // The dry run, whose clock may be ahead of the blocks, sees it at the same instant.
    let call = RecordAccess {
        emergency: Some(Emergency {
            reason: EmergencyReason::LifeThreat,
            text_commitment: Some(hash("text")),
        }),
        ..access_call("karl1", Role::Physician, Purpose::Btg)
    };
    let at = |now| check_access(&longer.state, TimestampMs(now), DR_B(), &call).unwrap().reason;
    assert_eq!((at(third_due - 1), at(third_due)), (Reason::PermitBreakGlass, Reason::DenyBtgSuspended));
}

#[test]
fn deadlines_pass_in_an_empty_block_however_many() {
    let mut world = World::new();
    let patients: Vec<String> = (0..30).map(|i| format!("p{i}")).collect();
    for name in &patients {
        let tx = world.patient(name, None, "regA");
        world.ok(tx);
        let tx = world.record("drA", name, &format!("{name}.1"), &[]);
        world.ok(tx);
        let tx = world.emergency("drB", &format!("{name}.1"));
        world.ok(tx);
    }
    world.block_after(100 * HOUR, &[]);
    assert_eq!(world.next_deadline, None);
    for prefix in [&b"due/"[..], b"ovo/"] {
        assert!(!world.state.keys().any(|key| key.starts_with(prefix)));
    }
    assert_eq!(world.state.keys().filter(|key| key.starts_with(b"ovr/")).count(), 30);
    assert_eq!(
        world.state.keys().filter(|key| key.starts_with(b"rev/")).count(),
        30,
        "reviews are still owed"
    );
    let member = read::member_of(&world.state, &key("drB")).unwrap();
    assert_eq!(member, Some(DR_B()));
}

/// A call applies whole or not at all: the denial that is refused leaves neither event nor count.
#[test]
fn an_admin_is_no_requester_with_a_role() {
    let mut world = World::new();
    let call = Call::RecordAccess(access_call("anna1", Role::Physician, Purpose::Treat));
    let tx = world.tx(&["hospA.admin0"], call);
    assert_eq!(world.decided(tx).1, Reason::DenyIdentity);
}
