//! Registering records, and every refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::identity::PatientStatus;
use epione_chaincode::keys;
use epione_types::call::{Call, RegisterRecord, Rule};
use epione_types::codes::{Action, Category, Label, Refusal, Role};
use epione_types::event::Event;
use epione_types::genesis::Policy;
use support::*;

#[test]
fn a_clinician_of_a_caring_hospital_registers() {
    let mut world = World::new();
    let tx = world.record("nurA", "anna", "r", &[Label::Hiv, Label::Std]);
    let call = RegisterRecord { role: Role::Nurse, ..record_call("anna", "r", &[Label::Hiv, Label::Std]) };
    let wrong_role = world.run(tx);
    assert_ne!(wrong_role.outcome, epione_types::Outcome::Ok, "a nurse is no physician");
    let tx = world.tx(&["nurA"], Call::RegisterRecord(call));
    let receipt = world.ok(tx);
    let event =
        Event::RecordRegistered { record: record("r"), patient: patient("anna"), custodian: org("hospA") };
    assert_eq!(receipt.events, [event]);
    let entry = get(&world.state, &keys::record(record("r"))).unwrap();
    assert_eq!((entry.author, entry.custodian), (practitioner("nurA"), org("hospA")));
}

#[test]
fn nobody_else_does() {
    let mut world = World::new();
    for (by, refusal) in [
        ("drB", Refusal::WriteDenied), // another hospital's patient
        ("regA", Refusal::WriteDenied),
        ("anna", Refusal::NotAuthorised),
        ("hospA.admin0", Refusal::NotAuthorised),
        ("nobody", Refusal::UnknownSigner),
    ] {
        let tx = world.record(by, "anna", "r", &[]);
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
    let tx = world.record("drA", "anna", "anna1", &[]);
    assert_eq!(world.refused(tx), Refusal::RecordExists);
    let tx = world.record("drA", "nobody", "r", &[]);
    assert_eq!(world.refused(tx), Refusal::PatientUnknown);
}

#[test]
fn a_grant_to_write_is_counted() {
    let mut world = World::new();
    let rule = Rule { actions: vec![Action::Write], max_uses: Some(1), ..permit(person("hospB", "drB")) };
    let tx = world.grant("anna", "anna", "g", rule);
    world.ok(tx);
    let tx = world.record("drB", "anna", "r", &[]);
    world.ok(tx);
    assert_eq!(world.stored_grant("anna", "g").uses, 1);
    let tx = world.record("drB", "anna", "r2", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
}

#[test]
fn the_patients_denial_stops_the_caring_hospital_too() {
    let mut world = World::new();
    let rule = Rule { actions: vec![Action::Write], ..deny(person("hospA", "drA")) };
    let tx = world.grant("anna", "anna", "d", rule);
    world.ok(tx);
    let tx = world.record("drA", "anna", "r", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
}

#[test]
fn the_dead_get_late_results_and_the_erased_none() {
    let mut world = World::new();
    let id = keys::patient(patient("anna"));
    let mut entry = get(&world.state, &id).unwrap();
    entry.status = PatientStatus::Deceased;
    put(&mut world.state, &id, &entry);
    let tx = world.record("drA", "anna", "r", &[]);
    world.ok(tx);
    entry.status = PatientStatus::Erased;
    put(&mut world.state, &id, &entry);
    let tx = world.record("drA", "anna", "r2", &[]);
    assert_eq!(world.refused(tx), Refusal::PatientUnknown);
}

#[test]
fn sensitive_labels_do_not_stand_in_clear_unless_genesis_says_so() {
    let note = || {
        let call = record_call("anna", "r", &[Label::PsyThPn]);
        Call::RegisterRecord(RegisterRecord { category: Category::PsychotherapyNote, ..call })
    };
    let mut world = World::new();
    let tx = world.record("drA", "anna", "r", &[Label::Sud, Label::Part2]);
    assert_eq!(world.refused(tx), Refusal::SensitiveInClear);
    let tx = world.tx(&["drA"], note());
    assert_eq!(world.refused(tx), Refusal::SensitiveInClear);

    let mut world = World::with(Policy { allow_sensitive_in_clear: true, ..Policy::default() });
    let tx = world.tx(&["drA"], note());
    world.ok(tx);
}

#[test]
fn fields_outside_their_limits() {
    let mut world = World::with(Policy { allow_sensitive_in_clear: true, ..Policy::default() });
    let good = || record_call("anna", "r", &[]);
    for call in [
        RegisterRecord { size_class: 11, ..good() },
        RegisterRecord { size_class: 41, ..good() },
        RegisterRecord { labels: vec![Label::Std, Label::Hiv], ..good() },
        RegisterRecord { labels: vec![Label::Hiv, Label::Hiv], ..good() },
        RegisterRecord { category: Category::PsychotherapyNote, ..good() },
    ] {
        let tx = world.tx(&["drA"], Call::RegisterRecord(call));
        assert_eq!(world.refused(tx), Refusal::InvalidField);
    }
    let tx = world.tx(&["drA"], Call::RegisterRecord(good()));
    world.ok(tx);
}
