//! Who cares for a patient, and who takes part in the consortium.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::keys;
use epione_types::TimestampMs;
use epione_types::call::*;
use epione_types::codes::*;
use support::*;

fn link(name: &str, document: bool) -> Call {
    Call::LinkCare(LinkCare { patient: patient(name), document: document.then(|| hash("paper")) })
}

fn unlink(name: &str, hospital: &str, document: bool) -> Call {
    let document = document.then(|| hash("paper"));
    Call::UnlinkCare(UnlinkCare { patient: patient(name), organisation: org(hospital), document })
}

#[test]
fn an_organisation_begins_to_care_in_the_patients_word() {
    let mut world = World::cast();
    let tx = world.record("drB", "anna", "r", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
    for (signers, refusal) in [
        (&["regB"][..], Refusal::SignatureMissing),
        (&["regB", "mother"], Refusal::SignatureMissing),
        (&["offB", "anna"], Refusal::NotAuthorised),
        (&["anna"], Refusal::NotAuthorised),
        (&["regA", "anna"], Refusal::CareRelation), // cares already
    ] {
        let tx = world.tx(signers, link("anna", true));
        assert_eq!(world.refused(tx), refusal, "{signers:?}");
    }
    let tx = world.tx(&["regB", "anna"], link("anna", false));
    world.ok(tx);
    let tx = world.record("drB", "anna", "r", &[]);
    world.ok(tx);
    let tx = world.tx(&["anna"], unlink("anna", "hospC", false));
    assert_eq!(world.refused(tx), Refusal::CareRelation);
    for hospital in ["hospB", "hospA"] {
        let tx = world.tx(&["anna"], unlink("anna", hospital, false));
        world.ok(tx);
    }
    let tx = world.record("drB", "anna", "r2", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
}

/// Or any hospital could make itself the one that speaks for a patient in custody.
#[test]
fn for_a_patient_in_custody_one_that_cares_signs_with_the_one_that_is_to() {
    let mut world = World::cast();
    for (signers, document, refusal) in [
        (&["regB"][..], true, Refusal::SignatureMissing),
        (&["regB", "nurB"], true, Refusal::SignatureMissing),
        (&["regB", "bilA"], true, Refusal::SignatureMissing), // billing attests nothing
        (&["regB", "hospA.admin0"], true, Refusal::SignatureMissing),
        (&["regB", "regA"], false, Refusal::AuthElementMissing),
    ] {
        let tx = world.tx(signers, link("karl", document));
        assert_eq!(world.refused(tx), refusal, "{signers:?}");
    }
    let tx = world.tx(&["regB", "regA"], link("karl", true));
    world.ok(tx);
    let tx = world.tx(&["regA"], unlink("karl", "hospB", true));
    world.ok(tx);
    let tx = world.tx(&["regA"], unlink("karl", "hospA", true));
    assert_eq!(world.refused(tx), Refusal::CareRelation, "somebody keeps custody");
}

#[test]
fn insurers_care_for_nobody() {
    let mut world = World::cast();
    let call = RegisterOrganisation {
        organisation: org("insurer"),
        ..organisation_call("insurer", OrganisationKind::Insurer, 1, 1)
    };
    let tx = world.tx(&["hospA.admin0", "hospB.admin0", "insurer.admin0"], Call::RegisterOrganisation(call));
    world.ok(tx);
    let tx = world.practitioner("insurer", "regI", &[Role::Registrar], false);
    world.ok(tx);
    let tx = world.tx(&["regI", "anna"], link("anna", false));
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
}

#[test]
fn a_suspended_organisation_stops_at_once_and_resumes() {
    let mut world = World::cast();
    let set = |name: &str, status| {
        Call::SetOrganisationStatus(SetOrganisationStatus { organisation: org(name), status })
    };
    let tx = world.grant("anna", "anna", "g", permit(Grantee::Org(org("hospB"))));
    world.ok(tx);
    // Neither by itself nor with its own signature among the two.
    for signers in
        [&["hospB.admin0"][..], &["hospB.admin0", "hospC.admin0"], &["hospC.admin0", "hospC.admin1"]]
    {
        let tx = world.tx(signers, set("hospB", OrganisationStatus::Suspended));
        let refusal = world.refused(tx);
        assert!(matches!(refusal, Refusal::SignatureMissing | Refusal::NotAuthorised), "{signers:?}");
    }
    let suspend = world.tx(&["hospA.admin0", "hospC.admin0"], set("hospB", OrganisationStatus::Suspended));
    let access = world.access("drB", "anna1", Purpose::Treat);
    let receipts = world.block(&[suspend, access]);
    assert_eq!(receipts[0].outcome, epione_types::Outcome::Ok);
    let key = keys::access(patient("anna"), epione_types::Height(world.height), 1);
    assert_eq!(get(&world.state, &key).unwrap().reason, Reason::DenyOrgInactive, "in the same block");
    let tx = world.practitioner("hospB", "new", &[Role::Nurse], false);
    assert_eq!(world.refused(tx), Refusal::OrgInactive);
    // Two of four are left to sign: one more may not go, or nobody could resume.
    let tx = world.tx(&["hospC.admin0", "hospD.admin0"], set("hospA", OrganisationStatus::Suspended));
    world.ok(tx);
    let tx = world.tx(&["hospC.admin0"], set("hospC", OrganisationStatus::Exited));
    assert_eq!(world.refused(tx), Refusal::BadState);
    let tx = world.tx(&["hospC.admin0", "hospD.admin0"], set("hospB", OrganisationStatus::Active));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
    let tx = world.tx(&["hospC.admin0", "hospD.admin0"], set("nowhere", OrganisationStatus::Active));
    assert_eq!(world.refused(tx), Refusal::Unknown);
}

#[test]
fn a_practitioners_credential_is_renewed_and_a_suspension_holds_from_its_block() {
    let mut world = World::cast();
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let until = world.now + HOUR;
    let renew = |until: Option<u64>| {
        Call::UpdatePractitioner(UpdatePractitioner {
            practitioner: practitioner("drB"),
            roles: vec![Role::Physician],
            capabilities: vec![],
            credential_until: until.map(TimestampMs),
            key: None,
        })
    };
    let tx = world.tx(&["hospB.admin0"], renew(Some(until)));
    world.ok(tx);
    world.block_after(HOUR, &[]);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyCredential);
    let tx = world.tx(&["hospB.admin0"], renew(None));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
    let emergency = world.emergency("drB", "karl1");
    assert_eq!(world.decided(emergency).1, Reason::DenyBtgNotAuthorised, "the capability was not renewed");
    let empty = UpdatePractitioner {
        practitioner: practitioner("drB"),
        roles: vec![],
        capabilities: vec![],
        credential_until: None,
        key: None,
    };
    let tx = world.tx(&["hospB.admin0"], Call::UpdatePractitioner(empty));
    assert_eq!(world.refused(tx), Refusal::InvalidField);
    // Another hospital's admins have no practitioner of this id.
    let tx = world.tx(&["hospA.admin0"], renew(None));
    assert_eq!(world.refused(tx), Refusal::Unknown);
    let status = PractitionerStatus::Suspended;
    let set = SetPractitionerStatus { practitioner: practitioner("drB"), status };
    let tx = world.tx(&["hospB.admin0"], Call::SetPractitionerStatus(set));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyIdentity);
}
