//! Who acts for a patient: how they come, what they may, how they go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::Basis;
use epione_chaincode::identity::representation::MAX_REPRESENTATIONS;
use epione_chaincode::keys;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::{Hash, TimestampMs};
use support::*;

const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 31_557_600_000;

/// A parent of a child who is ten: majority in eight years, privacy at twelve, in two.
fn parent(world: &World, patient_name: &str, name: &str) -> AddRepresentation {
    AddRepresentation {
        until: Some(TimestampMs(world.now + 8 * YEAR)),
        minor_privacy_from: Some(TimestampMs(world.now + 2 * YEAR)),
        ..representation_call(patient_name, name, RepresentationKind::Parent)
    }
}

#[track_caller]
fn refuses(world: &mut World, signers: &[&str], call: AddRepresentation) -> Refusal {
    let tx = world.tx(signers, Call::AddRepresentation(call));
    world.refused(tx)
}

#[track_caller]
fn adds(world: &mut World, signers: &[&str], call: AddRepresentation) {
    let tx = world.tx(signers, Call::AddRepresentation(call));
    world.ok(tx);
}

/// The representative reads anna's record.
fn read_as(world: &mut World, who: &str, name: &str) -> Reason {
    let call = access_call(name, Role::Representative, Purpose::FamRqt);
    let tx = world.tx(&[who], Call::RecordAccess(call));
    world.decided(tx).1
}

#[test]
fn a_representation_is_attested_with_its_evidence() {
    let mut world = World::cast();
    let good = || representation_call("anna", "uncle", RepresentationKind::Guardian);
    let signers = ["regA", "uncle"];
    for (signers, call, refusal) in [
        (&signers[..], AddRepresentation { evidence: Hash::ZERO, ..good() }, Refusal::RepEvidenceMissing),
        (&["regB", "uncle"], good(), Refusal::NotAuthorised), // hospB does not care for anna
        (&["bilA", "uncle"], good(), Refusal::NotAuthorised),
        (&["anna", "uncle"], good(), Refusal::NotAuthorised),
        (&["regA"], good(), Refusal::KeyProof),
        (&signers, AddRepresentation { key: None, ..good() }, Refusal::Unknown),
        (&signers, AddRepresentation { patient: patient("nobody"), ..good() }, Refusal::PatientUnknown),
        (
            &signers,
            AddRepresentation { person: Person::Patient(patient("anna")), key: None, ..good() },
            Refusal::RepSelf,
        ),
        (
            &signers,
            AddRepresentation {
                person: Person::Practitioner(org("hospA"), practitioner("regA")),
                key: None,
                ..good()
            },
            Refusal::RepSelf,
        ),
        (&signers, AddRepresentation { categories: vec![Category::Lab; 2], ..good() }, Refusal::InvalidField),
        (&signers, AddRepresentation { until: Some(TimestampMs(world.now)), ..good() }, Refusal::BadPeriod),
        (
            &signers,
            AddRepresentation { minor_privacy_from: Some(TimestampMs(1)), ..good() },
            Refusal::InvalidField,
        ),
    ] {
        assert_eq!(refuses(&mut world, signers, call), refusal);
    }
    adds(&mut world, &signers, good());
    assert_eq!(read_as(&mut world, "uncle", "anna1"), Reason::PermitRepresentative);
    let tx = world.grant("uncle", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let uncle = Person::Representative(representative("uncle"));
    assert_eq!(world.stored_grant("anna", "g").basis, Basis::Representative(uncle), "for ever");
    let notices = world.state.keys().filter(|key| key.starts_with(b"ntf/")).count();
    assert_eq!(notices, 2, "anna is told of each, mother and uncle");
}

/// A representative has one key: a second one could act for everybody whom the first represents.
#[test]
fn nobody_becomes_another_representative() {
    let mut world = World::cast();
    let mut call = representation_call("karl", "mother", RepresentationKind::Guardian);
    call.key = Some(key("thief"));
    assert_eq!(refuses(&mut world, &["regA", "thief"], call), Refusal::Exists);
    let known = AddRepresentation {
        key: None,
        ..representation_call("karl", "mother", RepresentationKind::Guardian)
    };
    adds(&mut world, &["regA"], known);
    assert_eq!(read_as(&mut world, "mother", "karl1"), Reason::PermitRepresentative);
}

#[test]
fn a_power_of_attorney_is_the_patients_own_to_give_and_to_end() {
    let mut world = World::cast();
    let call = || representation_call("anna", "friend", RepresentationKind::Attorney);
    assert_eq!(refuses(&mut world, &["regA", "friend"], call()), Refusal::SignatureMissing);
    adds(&mut world, &["regA", "friend", "anna"], call());
    let revoke = |name: &str| {
        Call::RevokeRepresentation(RevokeRepresentation {
            patient: patient("anna"),
            person: Person::Representative(representative(name)),
            document: None,
        })
    };
    // A guardian is not the patient's to send away, nor one representative another's.
    for (by, whom) in [("anna", "mother"), ("mother", "friend"), ("friend", "mother"), ("drB", "friend")] {
        let tx = world.tx(&[by], revoke(whom));
        assert_eq!(world.refused(tx), Refusal::NotGrantor, "{by} {whom}");
    }
    let tx = world.tx(&["regA"], revoke("mother"));
    assert_eq!(world.refused(tx), Refusal::AuthElementMissing);
    let tx = world.tx(&["anna"], revoke("friend"));
    world.ok(tx);
    assert_eq!(read_as(&mut world, "friend", "anna1"), Reason::DenyRepresentationLapsed);
    let tx = world.grant("friend", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    // The mother may step down by herself.
    let tx = world.tx(&["mother"], revoke("mother"));
    world.ok(tx);
}

#[test]
fn a_parents_dates_agree_with_the_ages_of_policy() {
    let mut world = World::cast();
    let good = parent(&world, "anna", "father");
    let signers = ["regA", "father"];
    let now = world.now;
    for (call, refusal) in [
        (AddRepresentation { until: None, ..good.clone() }, Refusal::RepEvidenceMissing),
        (AddRepresentation { minor_privacy_from: None, ..good.clone() }, Refusal::RepEvidenceMissing),
        // Nobody comes of age later than eighteen years from now.
        (
            AddRepresentation {
                until: Some(TimestampMs(now + 18 * YEAR + 40 * DAY)),
                minor_privacy_from: Some(TimestampMs(now)),
                ..good.clone()
            },
            Refusal::BadPeriod,
        ),
        // Privacy begins six years before majority, not later.
        (
            AddRepresentation {
                minor_privacy_from: Some(TimestampMs(now + 2 * YEAR + 40 * DAY)),
                ..good.clone()
            },
            Refusal::BadPeriod,
        ),
    ] {
        assert_eq!(refuses(&mut world, &signers, call), refusal);
    }
    adds(&mut world, &signers, good);
}

#[test]
fn a_minors_privacy_and_majority_come_by_themselves() {
    let mut world = World::cast();
    let tx = world.patient("kim", None, "regA");
    world.ok(tx);
    for (name, labels) in [("plain", &[][..]), ("sex", &[Label::Sex])] {
        let tx = world.record("drA", "kim", name, labels);
        world.ok(tx);
    }
    let alone = RegisterRecord { minor_consented: true, ..record_call("kim", "alone", &[]) };
    let tx = world.tx(&["drA"], Call::RegisterRecord(alone));
    world.ok(tx);
    let call = parent(&world, "kim", "father");
    adds(&mut world, &["regA", "father"], call);
    let seen = |world: &mut World| ["plain", "sex", "alone"].map(|name| read_as(world, "father", name));
    let own = Reason::PermitRepresentative;
    assert_eq!(seen(&mut world), [own, own, Reason::DenyMinorPrivacy]);
    world.block_after(2 * YEAR, &[]);
    assert_eq!(seen(&mut world), [own, Reason::DenyMinorPrivacy, Reason::DenyMinorPrivacy]);
    world.block_after(6 * YEAR, &[]);
    assert_eq!(seen(&mut world), [Reason::DenyRepresentationLapsed; 3]);
    let tx = world.grant("father", "kim", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "a lapsed guardian grants nothing");
}

#[test]
fn the_dead_are_represented_by_executors_and_no_more_by_attorneys() {
    let mut world = World::cast();
    let executor = || representation_call("anna", "heir", RepresentationKind::Executor);
    assert_eq!(refuses(&mut world, &["regA", "heir"], executor()), Refusal::BadState, "anna lives");
    let call = representation_call("anna", "friend", RepresentationKind::Attorney);
    adds(&mut world, &["regA", "friend", "anna"], call);
    let died = MarkDeceased { patient: patient("anna"), document: hash("certificate") };
    for (by, document, refusal) in [
        ("drB", hash("certificate"), Refusal::NotAuthorised),
        ("anna", hash("certificate"), Refusal::NotAuthorised),
        ("drA", Hash::ZERO, Refusal::AuthElementMissing),
    ] {
        let tx = world.tx(&[by], Call::MarkDeceased(MarkDeceased { document, ..died.clone() }));
        assert_eq!(world.refused(tx), refusal);
    }
    let tx = world.tx(&["drA"], Call::MarkDeceased(died));
    world.ok(tx);

    // The own key is over; so is what anna gave by it.
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "the dead grant nothing");
    let call = access_call("anna1", Role::Patient, Purpose::PatRqt);
    let tx = world.tx(&["anna"], Call::RecordAccess(call));
    assert_eq!(world.decided(tx).1, Reason::DenyNotSubject);
    assert_eq!(read_as(&mut world, "friend", "anna1"), Reason::DenyRepresentationLapsed);
    let tx = world.tx(&["anna", "new"], Call::RotateKey(RotateKey { key: key("new") }));
    assert_eq!(world.refused(tx), Refusal::BadState);
    adds(&mut world, &["regA", "heir"], executor());
    assert_eq!(read_as(&mut world, "heir", "anna1"), Reason::PermitRepresentative);
    let tx = world.grant("heir", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let late = representation_call("anna", "late", RepresentationKind::Attorney);
    assert_eq!(refuses(&mut world, &["regA", "late", "anna"], late), Refusal::BadState);
}

#[test]
fn what_ended_is_kept_and_their_number_is_bounded() {
    let mut world = World::cast();
    let uncle = Person::Representative(representative("uncle"));
    let call = AddRepresentation {
        until: Some(TimestampMs(world.now + HOUR)),
        ..representation_call("anna", "uncle", RepresentationKind::Guardian)
    };
    adds(&mut world, &["regA", "uncle"], call.clone());
    let again = AddRepresentation { key: None, ..call };
    assert_eq!(refuses(&mut world, &["regA"], again.clone()), Refusal::BadState, "still in force");
    world.block_after(HOUR, &[]);
    let again = AddRepresentation { until: None, evidence: hash("second"), ..again };
    adds(&mut world, &["regA"], again);
    let height = epione_types::Height(world.height);
    let first = get(&world.state, &keys::representation_ended(patient("anna"), uncle, height)).unwrap();
    assert_eq!(first.evidence, hash("evidence"));
    let second = get(&world.state, &keys::representation(patient("anna"), uncle)).unwrap();
    assert_eq!(second.evidence, hash("second"));
    for i in 2..MAX_REPRESENTATIONS {
        let name = format!("relative {i}");
        let call = representation_call("anna", &name, RepresentationKind::Guardian);
        adds(&mut world, &["regA", &name], call);
    }
    let call = representation_call("anna", "one more", RepresentationKind::Guardian);
    assert_eq!(refuses(&mut world, &["regA", "one more"], call), Refusal::TooMany);
}
