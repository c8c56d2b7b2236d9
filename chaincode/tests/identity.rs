//! Enrolment: who must sign, and every refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::identity::{Member, OrganisationStatus, PractitionerStatus};
use epione_chaincode::{keys, read};
use epione_types::call::{Call, RegisterPatient};
use epione_types::codes::{OrganisationKind, Refusal, Role};
use epione_types::event::Event;
use epione_types::genesis::Policy;
use epione_types::{Hash, PublicKey, TimestampMs};
use support::*;

#[test]
fn genesis_holds_organisations_admins_and_constants() {
    let world = World::empty(Policy::default());
    let hospital = read::organisation(&world.state, org("hospA")).unwrap().unwrap();
    assert!(hospital.is_active() && hospital.break_glass);
    let admin = read::member_of(&world.state, &key("hospA.admin1")).unwrap();
    assert_eq!(admin, Some(Member::Admin(org("hospA"))));
    assert_eq!(get(&world.state, &keys::policy()), Some(Policy::default()));
    let mut hospitals = ["hospA", "hospB", "hospC", "hospD"].map(org);
    hospitals.sort_unstable();
    assert_eq!(get(&world.state, &keys::validators()).unwrap(), hospitals);
}

#[test]
fn an_organisation_joins_by_two_hospitals_and_its_own_admins() {
    let mut world = World::new();
    let tx =
        world.organisation("clinic", &["hospA.admin0", "hospB.admin1", "clinic.admin0", "clinic.admin2"]);
    let receipt = world.ok(tx);
    assert_eq!(receipt.events, [Event::OrganisationRegistered { organisation: org("clinic") }]);
    for admin in ["clinic.admin0", "clinic.admin1", "clinic.admin2"] {
        assert_eq!(read::member_of(&world.state, &key(admin)).unwrap(), Some(Member::Admin(org("clinic"))));
    }
    // Two of its three admins sign for it.
    let call = Call::RegisterPractitioner(practitioner_call("drC", &[Role::Physician], false));
    let alone = world.tx(&["clinic.admin0", "drC"], call.clone());
    assert_eq!(world.refused(alone), Refusal::SignatureMissing);
    let together = world.tx(&["clinic.admin0", "clinic.admin1", "drC"], call);
    world.ok(together);
}

#[test]
fn an_organisation_is_not_let_in_otherwise() {
    let mut world = World::new();
    let own = ["clinic.admin0", "clinic.admin1"];
    for (approvals, refusal) in [
        (&["hospA.admin0"][..], Refusal::SignatureMissing),
        (&["hospA.admin0", "hospA.admin1"], Refusal::SignatureMissing), // one hospital twice
        (&["hospA.admin0", "drB"], Refusal::SignatureMissing),          // a practitioner is no admin
        (&[], Refusal::SignatureMissing),
    ] {
        let tx = world.organisation("clinic", &[approvals, &own].concat());
        assert_eq!(world.refused(tx), refusal, "{approvals:?}");
    }
    let approvals = ["hospA.admin0", "hospB.admin0"];
    let tx = world.organisation("clinic", &[&approvals[..], &["clinic.admin0"]].concat());
    assert_eq!(world.refused(tx), Refusal::KeyProof, "two of the new admins must sign");

    // Organisations without a validator approve nobody.
    for name in ["clinic", "second", "third"] {
        let own = [format!("{name}.admin0"), format!("{name}.admin1")];
        let approvals = if name == "third" {
            ["clinic.admin0", "clinic.admin1", "second.admin0", "second.admin1"].to_vec()
        } else {
            approvals.to_vec()
        };
        let tx = world.organisation(name, &[&approvals[..], &[&own[0], &own[1]]].concat());
        if name == "third" {
            assert_eq!(world.refused(tx), Refusal::SignatureMissing);
        } else {
            world.ok(tx);
        }
    }
    // A suspended hospital approves nobody.
    let id = keys::organisation(org("hospB"));
    let mut suspended = get(&world.state, &id).unwrap();
    suspended.status = OrganisationStatus::Suspended;
    put(&mut world.state, &id, &suspended);
    let tx = world.organisation("fourth", &[&approvals[..], &["fourth.admin0", "fourth.admin1"]].concat());
    assert_eq!(world.refused(tx), Refusal::SignatureMissing);
}

#[test]
fn an_organisation_is_new_in_id_and_keys() {
    let mut world = World::new();
    let signers = ["hospA.admin0", "hospB.admin0", "clinic.admin0", "clinic.admin1"];
    let tx = world.organisation("clinic", &signers);
    world.ok(tx);
    let tx = world.organisation("clinic", &signers);
    assert_eq!(world.refused(tx), Refusal::OrgExists);

    let mut call = organisation_call("other", OrganisationKind::Lab, 1, 1);
    call.admins = vec![key("clinic.admin0")];
    let tx = world.tx(&signers, Call::RegisterOrganisation(call.clone()));
    assert_eq!(world.refused(tx), Refusal::KeyInUse);
    call.admin_threshold = 2;
    let tx = world.tx(&signers, Call::RegisterOrganisation(call.clone()));
    assert_eq!(world.refused(tx), Refusal::InvalidField, "two of one admin");
    (call.admins, call.admin_threshold) = (vec![PublicKey([0; 32])], 1);
    let tx = world.tx(&signers, Call::RegisterOrganisation(call));
    assert_eq!(world.refused(tx), Refusal::InvalidField, "a weak key");
}

#[test]
fn one_hospital_alone_asks_itself() {
    let mut genesis = genesis(Policy::default());
    genesis.validators.validators.truncate(1);
    let mut world = World::empty(Policy::default());
    world.state =
        epione_chaincode::genesis_writes(&genesis).into_iter().map(|(k, v)| (k, v.unwrap())).collect();
    let tx = world.organisation("clinic", &["hospA.admin0", "clinic.admin0", "clinic.admin1"]);
    world.ok(tx);
    let tx = world.organisation("second", &["hospB.admin0", "second.admin0", "second.admin1"]);
    assert_eq!(world.refused(tx), Refusal::SignatureMissing);
}

#[test]
fn a_practitioner_is_enrolled_by_the_employers_admins_and_the_own_key() {
    let mut world = World::new();
    let tx = world.practitioner("hospC", "drC", &[Role::Physician], false);
    world.ok(tx);
    let entry = read::practitioner(&world.state, org("hospC"), practitioner("drC")).unwrap().unwrap();
    assert_eq!((entry.key, entry.status), (key("drC"), PractitionerStatus::Active));

    let again = practitioner_call("drC", &[Role::Nurse], false);
    let tx = world.tx(&["hospC.admin0", "drC"], Call::RegisterPractitioner(again));
    assert_eq!(world.refused(tx), Refusal::PractitionerExists);
    // The same name at another hospital is another practitioner, but the key is taken.
    let tx = world.practitioner("hospD", "drC", &[Role::Physician], false);
    assert_eq!(world.refused(tx), Refusal::KeyInUse);
}

#[test]
fn a_practitioner_is_not_enrolled_otherwise() {
    let mut world = World::new();
    let call = |roles: &[Role]| Call::RegisterPractitioner(practitioner_call("new", roles, false));
    let physician = || call(&[Role::Physician]);
    let cases = [
        (vec!["hospA.admin0"], physician(), Refusal::KeyProof),
        (vec!["drA", "new"], physician(), Refusal::NotAuthorised),
        (vec!["anna", "new"], physician(), Refusal::NotAuthorised),
        (vec!["nobody", "new"], physician(), Refusal::UnknownSigner),
        (vec!["new"], physician(), Refusal::UnknownSigner),
        (vec!["hospA.admin0", "new"], call(&[]), Refusal::InvalidField),
        (vec!["hospA.admin0", "new"], call(&[Role::Nurse, Role::Nurse]), Refusal::InvalidField),
        (vec!["hospA.admin0", "new"], call(&[Role::Patient]), Refusal::InvalidField),
        (vec!["hospA.admin0", "new"], call(&[Role::Guest, Role::Nurse]), Refusal::InvalidField),
    ];
    for (signers, call, refusal) in cases {
        let tx = world.tx(&signers, call);
        assert_eq!(world.refused(tx), refusal, "{signers:?}");
    }
    let mut weak = practitioner_call("new", &[Role::Physician], false);
    weak.key = PublicKey([0; 32]);
    let mut tx = world.tx(&["hospA.admin0"], Call::RegisterPractitioner(weak));
    tx.signers.push(PublicKey([0; 32]));
    assert_eq!(world.refused(tx), Refusal::KeyProof, "a weak key proves nothing");
}

#[test]
fn the_sender_signs() {
    let mut world = World::new();
    let mut tx = world.practitioner("hospA", "new", &[Role::Physician], false);
    tx.signers.retain(|signer| *signer != key("hospA.admin0"));
    tx.signers.push(key("hospA.admin1"));
    assert_eq!(world.refused(tx), Refusal::SenderNotSigner);
}

#[test]
fn a_patient_is_enrolled_by_registrar_clinician_or_admins() {
    let mut world = World::new();
    for (i, by) in ["regA", "drA", "nurA", "hospA.admin1"].into_iter().enumerate() {
        let tx = world.patient(&format!("patient {i}"), None, by);
        let receipt = world.ok(tx);
        let Event::PatientRegistered { organisation, custodial: true, .. } = receipt.events[0] else {
            panic!()
        };
        assert_eq!(organisation, org("hospA"), "the organisation comes from the signer's registration");
    }
    for (by, refusal) in [
        ("bilA", Refusal::NotAuthorised),
        ("anna", Refusal::NotAuthorised),
        ("nobody", Refusal::UnknownSigner),
    ] {
        let tx = world.patient("another", None, by);
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
}

#[test]
fn a_patients_own_key_proves_itself_and_is_nobody_elses() {
    let mut world = World::new();
    let call = |name: &str, own: &str| {
        Call::RegisterPatient(RegisterPatient {
            patient: patient(name),
            key: Some(key(own)),
            notice_hash: hash("notice"),
        })
    };
    let tx = world.tx(&["regA"], call("berta", "berta"));
    assert_eq!(world.refused(tx), Refusal::KeyProof);
    let tx = world.tx(&["regA", "anna"], call("berta", "anna"));
    assert_eq!(world.refused(tx), Refusal::KeyInUse);
    let tx = world.tx(&["regA"], call("berta", "regA"));
    assert_eq!(world.refused(tx), Refusal::KeyInUse, "the registrar's own key");
    let tx = world.tx(&["regA", "other"], call("anna", "other"));
    assert_eq!(world.refused(tx), Refusal::PatientExists);
    let without_notice = RegisterPatient { patient: patient("berta"), key: None, notice_hash: Hash::ZERO };
    let tx = world.tx(&["regA"], Call::RegisterPatient(without_notice));
    assert_eq!(world.refused(tx), Refusal::InvalidField);
    let tx = world.tx(&["regA", "berta"], call("berta", "berta"));
    world.ok(tx);
    assert_eq!(
        read::member_of(&world.state, &key("berta")).unwrap(),
        Some(Member::Patient(patient("berta")))
    );
}

#[test]
fn who_is_suspended_or_lapsed_enrols_nobody() {
    let mut world = World::new();
    let registrar = keys::practitioner(org("hospA"), practitioner("regA"));
    let good = get(&world.state, &registrar).unwrap();

    let mut entry = good.clone();
    entry.status = PractitionerStatus::Suspended;
    put(&mut world.state, &registrar, &entry);
    let tx = world.patient("berta", None, "regA");
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);

    let mut entry = good.clone();
    entry.credential_until = Some(TimestampMs(world.now + 1_000)); // ends at the next block's very time
    put(&mut world.state, &registrar, &entry);
    let tx = world.patient("berta", None, "regA");
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);

    put(&mut world.state, &registrar, &good);
    let hospital = keys::organisation(org("hospA"));
    let mut suspended = get(&world.state, &hospital).unwrap();
    suspended.status = OrganisationStatus::Suspended;
    put(&mut world.state, &hospital, &suspended);
    for by in ["regA", "hospA.admin0"] {
        let tx = world.patient("berta", None, by);
        assert_eq!(world.refused(tx), Refusal::OrgInactive);
    }
    let tx = world.practitioner("hospA", "new", &[Role::Nurse], false);
    assert_eq!(world.refused(tx), Refusal::OrgInactive);
    let tx = world.record("drA", "anna", "r2", &[]);
    assert_eq!(world.refused(tx), Refusal::OrgInactive);
}
