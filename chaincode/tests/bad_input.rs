//! The traps of consent, one after the other (docs/failures.md): each is somebody's way to what is not theirs.
//!
//! Oversized lists, unknown codes and fields, and text are stopped where a body is decoded (`proto/tests/body.rs`); here
//! is what a well-formed call tries. A trap that has its own test elsewhere is here in one line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_types::TimestampMs;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use support::*;

#[test]
fn self_grant() {
    let mut world = World::cast();
    let paper = Rule { document: Some(hash("paper")), ..permit(person("hospA", "drA")) };
    let mother = Person::Representative(representative("mother"));
    for (by, whose, rule) in [
        ("drA", "karl", paper),
        ("mother", "anna", permit(Grantee::Person(mother))),
        ("drB", "anna", permit(person("hospB", "drB"))),
    ] {
        let tx = world.grant(by, whose, "x", rule);
        assert_eq!(world.refused(tx), Refusal::NotGrantor, "{by}");
    }
}

#[test]
fn grant_for_another_patient() {
    let mut world = World::cast();
    let tx = world.grant("gus1", "anna", "x", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    // A grant of one's own on another's record opens nothing.
    let rule = Rule { records: vec![record("anna1")], ..permit(person("hospB", "drB")) };
    let tx = world.grant("gus1", "gus1", "own", rule);
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyNoGrant);
}

/// No field names the requester: who co-signs lends nothing, and a role is what one is registered in.
#[test]
fn requester_spoofed_in_a_field() {
    let mut world = World::cast();
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    for (signers, role, reason) in [
        (&["drB2", "drB"][..], Role::Physician, Reason::DenyNoGrant),
        (&["nurB", "drB"], Role::Physician, Reason::DenyIdentity),
        (&["drB"], Role::PrivacyOfficer, Reason::DenyIdentity),
        (&["drB"], Role::Patient, Reason::DenyRolePurpose),
        (&["drB"], Role::Guest, Reason::DenyRolePurpose),
    ] {
        let tx = world.tx(signers, Call::RecordAccess(access_call("anna1", role, Purpose::Treat)));
        assert_eq!(world.decided(tx).1, reason, "{signers:?} {role}");
    }
    // Nor does somebody sign a link's access who does not hold its key.
    let call = RecordAccess {
        link: Some(epione_types::id::LinkId(id16("link"))),
        ..access_call("anna1", Role::Guest, Purpose::PatRqt)
    };
    let tx = world.tx(&["drB"], Call::RecordAccess(call));
    assert_eq!(world.decided(tx).1, Reason::DenyNoGrant);
}

#[test]
fn replay_after_revoke() {
    let mut world = World::cast();
    let granting = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(granting.clone());
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    assert_eq!(world.refused(granting), Refusal::Duplicate);
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::GrantExists, "signed anew");
}

#[test]
fn expiry_exactly_at_block_time() {
    let mut world = World::cast();
    let now = world.now;
    let rule = Rule { until: Some(TimestampMs(now + 5_000)), ..permit(person("hospB", "drB")) };
    let tx = world.grant("anna", "anna", "g", rule);
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(decided(&world.block_after(3_999, &[access]))[0].1, Reason::PermitGrant); // a ms before
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(decided(&world.block_after(1, &[access]))[0].1, Reason::DenyExpired);
}

/// A grant by a proxy is a grant in the state, with the proxy's name on it for ever, and not an event alone.
#[test]
fn proxy_grant() {
    let mut world = World::cast();
    let tx = world.grant("mother", "anna", "g", permit(person("hospB", "drB")));
    let receipt = world.ok(tx);
    assert_eq!(receipt.events.len(), 1);
    assert_eq!(world.stored_grant("anna", "g").rule.to, person("hospB", "drB"));
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
}

#[test]
fn second_emergency_after_the_first_expired() {
    let mut world = World::cast();
    let tx = world.emergency("drB", "anna1");
    world.ok(tx);
    world.block_after(4 * HOUR, &[]);
    let again = world.access("drB", "anna1", Purpose::Btg);
    assert_eq!(world.decided(again).1, Reason::DenyBtgNoReason);
    let again = world.emergency("drB", "anna1");
    assert_eq!(world.decided(again).1, Reason::PermitBreakGlass);
}

#[test]
fn erased_record() {
    let mut world = World::cast();
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let erase = EraseRecord { record: record("anna1"), document: None };
    let tx = world.tx(&["offA", "anna"], Call::EraseRecord(erase));
    world.ok(tx);
    for by in ["drA", "drB"] {
        let access = world.access(by, "anna1", Purpose::Treat);
        assert_eq!(world.decided(access), (Reason::AccessDenied, Reason::DenyRecordErased));
    }
    let next = SupersedeRecord {
        record: record("anna1"),
        version: 1,
        role: Role::Physician,
        category: Category::Lab,
        labels: vec![],
        service_month: Month::new(2026, 3).unwrap(),
        body: body("x"),
        minor_consented: false,
    };
    let tx = world.tx(&["drA"], Call::SupersedeRecord(next));
    assert_eq!(world.refused(tx), Refusal::BadState);
}

#[test]
fn suspended_organisation_lapsed_credential_retired_practitioner() {
    let mut world = World::cast();
    let tx = world.grant("anna", "anna", "g", permit(Grantee::Org(org("hospB"))));
    world.ok(tx);
    let set = |name: &str, status| {
        Call::SetPractitionerStatus(SetPractitionerStatus { practitioner: practitioner(name), status })
    };
    let tx = world.tx(&["hospB.admin0"], set("drB", PractitionerStatus::Retired));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyIdentity);
    let renewed = UpdatePractitioner {
        practitioner: practitioner("drB2"),
        roles: vec![Role::Physician],
        capabilities: vec![],
        credential_until: Some(TimestampMs(world.now + 2_000)),
        key: None,
    };
    let tx = world.tx(&["hospB.admin0"], Call::UpdatePractitioner(renewed));
    world.ok(tx);
    let access = world.access("drB2", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyCredential, "at its end exactly");
    let status = OrganisationStatus::Suspended;
    let suspend = SetOrganisationStatus { organisation: org("hospB"), status };
    let tx = world.tx(&["hospC.admin0", "hospD.admin0"], Call::SetOrganisationStatus(suspend));
    world.ok(tx);
    let access = world.access("nurB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyOrgInactive);
    for (by, call) in [
        ("regB", Call::LinkCare(LinkCare { patient: patient("anna"), document: None })),
        ("hospB.admin0", Call::RevokeDevice(RevokeDevice { device: epione_types::id::DeviceId([1; 16]) })),
    ] {
        let tx = world.tx(&[by, "anna"], call);
        assert_eq!(world.refused(tx), Refusal::OrgInactive, "{by}");
    }
}

#[test]
fn dead_patient_lapsed_guardian() {
    let mut world = World::cast();
    let died = MarkDeceased { patient: patient("anna"), document: hash("certificate") };
    let tx = world.tx(&["drA"], Call::MarkDeceased(died));
    world.ok(tx);
    let tx = world.grant("anna", "anna", "x", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let guardian = AddRepresentation {
        until: Some(TimestampMs(world.now + HOUR)),
        ..representation_call("karl", "uncle", RepresentationKind::Guardian)
    };
    let tx = world.tx(&["regA", "uncle"], Call::AddRepresentation(guardian));
    world.ok(tx);
    world.block_after(HOUR, &[]);
    let tx = world.grant("uncle", "karl", "x", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
}

/// Revoking takes nothing from history: who was permitted before stays permitted in what is written.
#[test]
fn revocation_erases_no_history() {
    let mut world = World::cast();
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    let receipt = world.ok(access);
    assert!(matches!(receipt.events[0], Event::AccessDecided { decision: Decision::Permit, .. }));
    let before: Vec<_> = world
        .state
        .iter()
        .filter(|(key, _)| key.starts_with(b"acc/"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let out =
        SetOptOut { patient: patient("anna"), grant: grant("out"), keep_permits: false, document: None };
    let tx = world.tx(&["anna"], Call::SetOptOut(out));
    world.ok(tx);
    let after: Vec<_> = world
        .state
        .iter()
        .filter(|(key, _)| key.starts_with(b"acc/"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    assert_eq!(before, after);
}
