//! Opting out, and the places that rules take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::{Basis, MAX_GRANTS};
use epione_chaincode::keys;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::{Hash, TimestampMs};
use support::*;

fn opt_out(patient_name: &str, keep_permits: bool, document: Option<Hash>) -> Call {
    Call::SetOptOut(SetOptOut { patient: patient(patient_name), grant: grant("out"), keep_permits, document })
}

/// anna permits two: drB, and hospC for one record.
fn with_two_permits() -> World {
    let mut world = World::cast();
    let one_record = Rule { records: vec![record("anna1")], ..permit(Grantee::Org(org("hospC"))) };
    for (name, rule) in [("a", permit(person("hospB", "drB"))), ("b", one_record)] {
        let tx = world.grant("anna", "anna", name, rule);
        world.ok(tx);
    }
    world
}

#[test]
fn s14_opting_out_ends_every_permit() {
    let mut world = with_two_permits();
    let tx = world.tx(&["anna"], opt_out("anna", false, None));
    let receipt = world.ok(tx);
    let out =
        Event::OptedOut { patient: patient("anna"), grant: grant("out"), revoked: 2, still_open: vec![] };
    assert_eq!(receipt.events.last(), Some(&out));
    for name in ["a", "b"] {
        assert_eq!(world.stored_grant("anna", name).revoked.unwrap().basis, Basis::OwnKey);
    }
    let denial = world.stored_grant("anna", "out");
    assert_eq!((denial.rule.kind, denial.rule.to), (GrantKind::Deny, Grantee::Any));
    assert_eq!(denial.rule.purposes, Purposes::All);
    // The custodian's own doctor is out too; an emergency is not.
    for (by, reason) in [("drB", Reason::DenyExplicit), ("drA", Reason::DenyExplicit)] {
        let access = world.access(by, "anna1", Purpose::Treat);
        assert_eq!(world.decided(access).1, reason, "{by}");
    }
    let tx = world.record("drA", "anna", "late", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
    let emergency = world.emergency("drB", "anna1");
    assert_eq!(world.decided(emergency).1, Reason::PermitBreakGlass);
}

#[test]
fn what_is_kept_is_told_because_it_goes_on_opening() {
    let mut world = with_two_permits();
    let tx = world.tx(&["anna"], opt_out("anna", true, None));
    let receipt = world.ok(tx);
    let mut still_open = vec![grant("a"), grant("b")];
    still_open.sort_unstable();
    let out = Event::OptedOut { patient: patient("anna"), grant: grant("out"), revoked: 0, still_open };
    assert_eq!(receipt.events.last(), Some(&out));
    // A permit to one person is narrower than a denial to everybody.
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
}

#[test]
fn what_is_over_is_neither_ended_nor_open() {
    let mut world = with_two_permits();
    let soon = Rule { until: Some(TimestampMs(world.now + 2_000)), ..permit(Grantee::Org(org("hospD"))) };
    let later = Rule { from: Some(TimestampMs(world.now + HOUR)), ..permit(Grantee::Org(org("hospD"))) };
    for (name, rule) in [("over", soon), ("to come", later)] {
        let tx = world.grant("anna", "anna", name, rule);
        world.ok(tx);
    }
    let tx = world.revoke("anna", "anna", "a", None);
    world.ok(tx);
    let tx = world.tx(&["anna"], opt_out("anna", true, None));
    let receipt = world.ok(tx);
    let mut still_open = vec![grant("b"), grant("to come")];
    still_open.sort_unstable();
    let Some(Event::OptedOut { still_open: found, .. }) = receipt.events.last() else { panic!() };
    assert_eq!(found, &still_open);
}

#[test]
fn whoever_speaks_for_the_patient_opts_out() {
    let mut world = with_two_permits();
    for (by, name, document, refusal) in [
        ("drB", "anna", Some(hash("paper")), Refusal::NotGrantor),
        ("bilA", "anna", Some(hash("paper")), Refusal::NotGrantor),
        ("regA", "karl", None, Refusal::AuthElementMissing),
        ("mother", "karl", None, Refusal::NotGrantor),
    ] {
        let tx = world.tx(&[by], opt_out(name, false, document));
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
    let tx = world.tx(&["regA"], opt_out("karl", false, Some(hash("paper"))));
    world.ok(tx);
    // Paper takes away from those with a key, too; and it stays visible that it was paper.
    let tx = world.tx(&["regA"], opt_out("anna", false, Some(hash("paper"))));
    world.ok(tx);
    let basis = world.stored_grant("anna", "a").revoked.unwrap().basis;
    assert!(matches!(basis, Basis::Attested { document, .. } if document == hash("paper")));
    let tx = world.tx(&["anna"], opt_out("anna", false, None));
    assert_eq!(world.refused(tx), Refusal::GrantExists);
}

/// The cap is on what decisions read. What is over makes place, and is kept elsewhere.
#[test]
fn what_is_over_makes_place_for_what_lives() {
    let mut world = World::new();
    for i in 0..MAX_GRANTS {
        let rule = permit(Grantee::Org(org("hospB")));
        let tx = world.grant("anna", "anna", &format!("g{i}"), rule);
        world.ok(tx);
    }
    let tx = world.grant("anna", "anna", "x", deny(Grantee::Any));
    assert_eq!(world.refused(tx), Refusal::TooManyGrants, "all of them live");
    for name in ["g7", "g11"] {
        let tx = world.revoke("anna", "anna", name, None);
        world.ok(tx);
    }
    let tx = world.grant("anna", "anna", "x", deny(Grantee::Any));
    world.ok(tx);
    assert_eq!(get(&world.state, &keys::patient(patient("anna"))).unwrap().grants, MAX_GRANTS - 1);
    assert_eq!(get(&world.state, &keys::grant(patient("anna"), grant("g7"))), None);
    let archived = get(&world.state, &keys::grant_archived(patient("anna"), grant("g7"))).unwrap();
    assert!(archived.revoked.is_some());
    // Neither made again nor ended again.
    let tx = world.grant("anna", "anna", "g7", permit(Grantee::Any));
    assert_eq!(world.refused(tx), Refusal::GrantExists);
    let tx = world.revoke("anna", "anna", "g7", None);
    assert_eq!(world.refused(tx), Refusal::GrantUnknown);
    let tx = world.grant("anna", "anna", "y", deny(Grantee::Any));
    world.ok(tx);
    let tx = world.grant("anna", "anna", "z", deny(Grantee::Any));
    assert_eq!(world.refused(tx), Refusal::TooManyGrants);
}
