//! The end of a record, and of a patient.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::Basis;
use epione_chaincode::keys;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::id::OpaqueRef;
use epione_types::{Hash, TimestampMs};
use support::*;

fn erase(name: &str, document: Option<Hash>) -> Call {
    Call::EraseRecord(EraseRecord { record: record(name), document })
}

/// S13, without the receipts of the key's holders.
#[test]
fn s13_an_erased_record_opens_to_nobody_and_its_id_is_used_up() {
    let mut world = World::cast();
    let before = get(&world.state, &keys::record(record("anna1"))).unwrap();
    let tx = world.tx(&["offA", "anna"], erase("anna1", None));
    world.ok(tx);
    let call = RecordAccess { role: Role::Patient, ..access_call("anna1", Role::Patient, Purpose::PatRqt) };
    let tx = world.tx(&["anna"], Call::RecordAccess(call));
    assert_eq!(world.decided(tx), (Reason::AccessDenied, Reason::DenyRecordErased));
    let emergency = world.emergency("drB", "anna1");
    assert_eq!(world.decided(emergency).1, Reason::DenyRecordErased);
    let tx = world.record("drA", "anna", "anna1", &[]);
    assert_eq!(world.refused(tx), Refusal::RecordExists);

    let tombstone = get(&world.state, &keys::record(record("anna1"))).unwrap();
    assert!(tombstone.is_erased());
    assert_eq!((tombstone.patient, tombstone.custodian), (before.patient, before.custodian));
    assert_eq!((tombstone.commitment, tombstone.ciphertext_hash), (Hash::ZERO, Hash::ZERO));
    assert_eq!((tombstone.pointer, tombstone.labels.len()), (OpaqueRef([0; 16]), 0));
    let erasure = get(&world.state, &keys::erasure(record("anna1"))).unwrap();
    assert_eq!(erasure.basis, Basis::OwnKey);
    // Nothing of what it was is left anywhere in the state.
    for secret in [before.commitment.0, before.ciphertext_hash.0] {
        let karls = keys::record(record("karl1"));
        let found = world.state.iter().filter(|(key, _)| key.as_slice() != karls.as_bytes());
        assert!(!found.into_iter().any(|(_, value)| value.windows(32).any(|part| part == secret)));
    }
}

#[test]
fn it_is_the_custodians_act_in_the_patients_word() {
    let mut world = World::cast();
    for (signers, name, document, refusal) in [
        (&["offA"][..], "anna1", Some(hash("letter")), Refusal::SignatureMissing), // anna has a key
        (&["offA", "gus1"], "anna1", None, Refusal::SignatureMissing),
        (&["offB", "anna"], "anna1", None, Refusal::NotAuthorised), // not the custodian
        (&["drA", "anna"], "anna1", None, Refusal::NotAuthorised),  // a clinician keeps no archive
        (&["anna"], "anna1", None, Refusal::NotAuthorised),
        (&["offA"], "karl1", None, Refusal::AuthElementMissing), // in custody: a document
        (&["offA"], "karl1", Some(Hash::ZERO), Refusal::AuthElementMissing),
        (&["offA", "anna"], "nothing", None, Refusal::Unknown),
    ] {
        let tx = world.tx(signers, erase(name, document));
        assert_eq!(world.refused(tx), refusal, "{signers:?} {name}");
    }
    let tx = world.tx(&["offA", "mother"], erase("anna1", None));
    world.ok(tx);
    let erasure = get(&world.state, &keys::erasure(record("anna1"))).unwrap();
    let mother = Person::Representative(representative("mother"));
    assert_eq!(erasure.basis, Basis::Representative(mother));
    let tx = world.tx(&["regA"], erase("karl1", Some(hash("letter"))));
    world.ok(tx);
}

#[test]
fn what_the_law_keeps_is_kept_until_its_day() {
    let mut world = World::cast();
    let hold = |until| Call::SetRetention(SetRetention { record: record("anna1"), until });
    let until = TimestampMs(world.now + HOUR);
    let tx = world.tx(&["offA"], hold(Some(TimestampMs(world.now))));
    assert_eq!(world.refused(tx), Refusal::BadPeriod);
    let tx = world.tx(&["drA"], hold(Some(until)));
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
    let tx = world.tx(&["offA"], hold(Some(until)));
    world.ok(tx);
    let tx = world.tx(&["offA", "anna"], erase("anna1", None));
    assert_eq!(world.refused(tx), Refusal::RetentionHold);
    let mut late = world.clone();
    late.now = until.0 - 1_000; // the next block is at its end exactly
    let tx = late.tx(&["offA", "anna"], erase("anna1", None));
    late.ok(tx);
    let tx = world.tx(&["offA"], hold(None));
    world.ok(tx);
    let tx = world.tx(&["offA", "anna"], erase("anna1", None));
    world.ok(tx);
}

#[test]
fn a_patient_is_erased_when_every_record_is() {
    let mut world = World::cast();
    let call = || Call::ErasePatient(ErasePatient { patient: patient("anna"), document: None });
    let tx = world.tx(&["drA", "anna"], call());
    assert_eq!(world.refused(tx), Refusal::RecordsRemain);
    let tx = world.tx(&["offA", "anna"], erase("anna1", None));
    world.ok(tx);
    let tx = world.tx(&["drA"], call());
    assert_eq!(world.refused(tx), Refusal::SignatureMissing);
    let tx = world.tx(&["drA", "anna"], call());
    world.ok(tx);
    let entry = get(&world.state, &keys::patient(patient("anna"))).unwrap();
    assert_eq!((entry.status, entry.key, entry.care_organisations.len()), (PatientStatus::Erased, None, 0));
    // The key is nobody's, and never anybody's again.
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::UnknownSigner);
    let tx = world.patient("berta", Some("anna"), "regA");
    assert_eq!(world.refused(tx), Refusal::KeyInUse);
    let tx = world.patient("anna", None, "regA");
    assert_eq!(world.refused(tx), Refusal::PatientExists);
    let tx = world.record("drA", "anna", "late", &[]);
    assert_eq!(world.refused(tx), Refusal::PatientUnknown);
    let tx = world.grant("mother", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::PatientUnknown);
}
