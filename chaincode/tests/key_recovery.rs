//! Keys that change: by their owner, by admins, by guardians, at the end of custody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::Basis;
use epione_chaincode::identity::Member;
use epione_chaincode::identity::patients::{KeyBasis, KeyChange};
use epione_chaincode::{host, keys, read};
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::{Hash, PublicKey};
use support::*;

fn rotate(name: &str) -> Call {
    Call::RotateKey(RotateKey { key: key(name) })
}

fn key_changes(world: &World, name: &str) -> Vec<KeyChange> {
    let all = host::range(&world.state, &keys::key_changes(patient(name)), 9).unwrap();
    all.into_iter().map(|(_, change)| change).collect()
}

#[test]
fn everybody_rotates_the_own_key_and_the_old_one_is_nobodys() {
    let mut world = World::cast();
    for (who, new) in [("hospA.admin0", "a"), ("drB", "b"), ("anna", "c"), ("mother", "d")] {
        let member = read::member_of(&world.state, &key(who)).unwrap();
        let tx = world.tx(&[who], rotate(new));
        assert_eq!(world.refused(tx), Refusal::KeyProof, "{who}: the new key signs too");
        let tx = world.tx(&[who, "nurA"], rotate("nurA"));
        assert_eq!(world.refused(tx), Refusal::KeyInUse);
        let tx = world.tx(&[who, new], rotate(new));
        world.ok(tx);
        assert_eq!(read::member_of(&world.state, &key(new)).unwrap(), member);
        assert_eq!(read::member_of(&world.state, &key(who)).unwrap(), None);
        let tx = world.tx(&[who, "e"], rotate("e"));
        assert_eq!(world.refused(tx), Refusal::UnknownSigner);
        let tx = world.tx(&[new, who], rotate(who));
        assert_eq!(world.refused(tx), Refusal::KeyInUse, "never anybody's again, not even theirs");
    }
    // What they were they are: the admin enrols, the doctor reads, the patient and the mother grant.
    let tx =
        world.tx(&["a", "new"], Call::RegisterPractitioner(practitioner_call("new", &[Role::Nurse], false)));
    world.ok(tx);
    let tx = world.grant("c", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    let access = world.access("b", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
    let tx = world.revoke("d", "anna", "g", None);
    world.ok(tx);
    let change = key_changes(&world, "anna")[0];
    assert_eq!((change.before, change.key, change.basis), (Some(key("anna")), key("c"), KeyBasis::Rotated));
    let mut tx = world.tx(&["c"], Call::RotateKey(RotateKey { key: PublicKey([0; 32]) }));
    tx.signers.push(PublicKey([0; 32]));
    assert_eq!(world.refused(tx), Refusal::KeyProof, "a weak key");
}

#[test]
fn admins_replace_a_practitioners_lost_key() {
    let mut world = World::cast();
    let update = |key| UpdatePractitioner {
        practitioner: practitioner("drB"),
        roles: vec![Role::Physician],
        capabilities: vec![Capability::BreakGlass],
        credential_until: None,
        key,
    };
    let tx = world.tx(&["hospB.admin0"], Call::UpdatePractitioner(update(Some(key("found")))));
    assert_eq!(world.refused(tx), Refusal::KeyProof);
    let tx = world.tx(&["hospB.admin0", "found"], Call::UpdatePractitioner(update(Some(key("found")))));
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.refused(access), Refusal::UnknownSigner);
    let access = world.emergency("found", "anna1");
    assert_eq!(world.decided(access).1, Reason::PermitBreakGlass);
}

#[test]
fn custody_ends_with_an_own_key_and_paper_opens_nothing_any_more() {
    let mut world = World::cast();
    let rule = Rule { document: Some(hash("paper")), ..permit(person("hospB", "drB")) };
    let tx = world.grant("regA", "karl", "before", rule.clone());
    world.ok(tx);
    let take = |document| Call::TakeOver(TakeOver { patient: patient("karl"), key: key("karl"), document });
    for (signers, document, refusal) in [
        (&["regA"][..], hash("passport"), Refusal::KeyProof),
        (&["regB", "karl"], hash("passport"), Refusal::NotAuthorised),
        (&["karl"], hash("passport"), Refusal::UnknownSigner),
        (&["regA", "karl"], Hash::ZERO, Refusal::AuthElementMissing),
    ] {
        let tx = world.tx(signers, take(document));
        assert_eq!(world.refused(tx), refusal);
    }
    let tx = world.tx(&["regA", "karl"], take(hash("passport")));
    let receipt = world.ok(tx);
    let change = PatientChange::OwnKey;
    let organisation = Some(org("hospA"));
    assert_eq!(receipt.events[0], Event::PatientChanged { patient: patient("karl"), change, organisation });
    let taken = KeyBasis::TakenOver {
        organisation: org("hospA"),
        practitioner: practitioner("regA"),
        document: hash("passport"),
    };
    assert_eq!(key_changes(&world, "karl")[0].basis, taken);
    let tx = world.tx(
        &["regA", "thief"],
        Call::TakeOver(TakeOver { patient: patient("karl"), key: key("thief"), document: hash("passport") }),
    );
    assert_eq!(world.refused(tx), Refusal::BadState, "once");
    let tx = world.grant("regA", "karl", "after", rule);
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    // What was attested before stands, says so, and is karl's to end.
    let before = world.stored_grant("karl", "before");
    assert!(matches!(before.basis, Basis::Attested { .. }));
    let tx = world.revoke("karl", "karl", "before", None);
    world.ok(tx);
}

fn salt(name: &str) -> Hash {
    hash(&format!("salt of {name}"))
}

fn start(name: &str, new: &str) -> Call {
    Call::StartRecovery(StartRecovery { patient: patient("anna"), key: key(new), salt: salt(name) })
}

fn approve(name: &str, new: &str) -> Call {
    Call::ApproveRecovery(ApproveRecovery { patient: patient("anna"), key: key(new), salt: salt(name) })
}

fn finish() -> Call {
    Call::FinishRecovery(FinishRecovery { patient: patient("anna") })
}

/// gus1, gus2, and two hospitals; this many together.
fn guarded(threshold: u8) -> World {
    let mut world = World::cast();
    let people = ["gus1", "gus2"].map(|name| (name, Guardian::Person(Person::Patient(patient(name)))));
    let hospitals = [("hospB.admin0", "hospB"), ("hospC.admin0", "hospC")]
        .map(|(admin, name)| (admin, Guardian::Organisation(org(name))));
    let guardians = people.iter().chain(&hospitals).map(|(name, it)| it.commitment(&salt(name))).collect();
    let tx = world.tx(&["anna"], Call::SetGuardians(SetGuardians { guardians, threshold }));
    world.ok(tx);
    world
}

#[test]
fn guardians_restore_a_lost_key_together_after_a_delay() {
    let mut world = guarded(2);
    for (signers, call, refusal) in [
        (&["gus3", "new"][..], start("gus3", "new"), Refusal::GuardianUnknown),
        (&["gus1", "new"], start("gus2", "new"), Refusal::GuardianUnknown), // another's salt
        (&["drA", "new"], start("gus1", "new"), Refusal::GuardianUnknown),
        (&["gus1"], start("gus1", "new"), Refusal::KeyProof),
        (&["gus1", "drA"], start("gus1", "drA"), Refusal::KeyInUse),
        (&["gus2"], approve("gus2", "new"), Refusal::Unknown),
        (&["gus2"], finish(), Refusal::Unknown),
    ] {
        let tx = world.tx(signers, call);
        assert_eq!(world.refused(tx), refusal);
    }
    let tx = world.tx(&["gus1", "new"], start("gus1", "new"));
    let receipt = world.ok(tx);
    let started = world.now;
    assert!(
        receipt
            .events
            .contains(&Event::NoticeGiven { patient: patient("anna"), kind: NoticeKind::RecoveryStarted })
    );
    let tx = world.tx(&["gus1"], approve("gus1", "new"));
    assert_eq!(world.refused(tx), Refusal::VoteTwice);
    let tx = world.tx(&["gus2"], approve("gus2", "other"));
    assert_eq!(world.refused(tx), Refusal::KeyProof, "another key than the one begun with");
    let mut alone = world.clone();
    let tx = world.tx(&["gus2"], approve("gus2", "new"));
    world.ok(tx);
    let tx = world.tx(&["gus2"], finish());
    assert_eq!(world.refused(tx), Refusal::RecoveryDelay);
    let due = started + 72 * HOUR;
    world.block_after(due - 1_000 - 1 - world.now, &[]);
    let tx = world.tx(&["gus2"], finish());
    let mut early = world.clone();
    let early = early.block_after(1_000, std::slice::from_ref(&tx)).receipts.pop().unwrap();
    assert_eq!(early.outcome, epione_types::Outcome::Refused(Refusal::RecoveryDelay), "a millisecond early");
    let done = world.block_after(1_001, &[tx]).receipts.pop().unwrap();
    assert_eq!(done.outcome, epione_types::Outcome::Ok);

    assert_eq!(read::member_of(&world.state, &key("new")).unwrap(), Some(Member::Patient(patient("anna"))));
    let tx = world.grant("anna", "anna", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::UnknownSigner);
    let tx = world.grant("new", "anna", "g", permit(person("hospB", "drB")));
    world.ok(tx);
    assert_eq!(key_changes(&world, "anna")[0].basis, KeyBasis::Recovered { guardians: 2 });

    alone.block_after(80 * HOUR, &[]);
    let tx = alone.tx(&["gus1"], finish());
    assert_eq!(alone.refused(tx), Refusal::RecoveryDelay, "one guardian is not enough, however long");
    // The key to be may finish by itself.
    let tx = alone.tx(&["gus2"], approve("gus2", "new"));
    alone.ok(tx);
    let tx = alone.tx(&["new"], finish());
    alone.ok(tx);
}

#[test]
fn the_old_key_stops_it() {
    let mut world = guarded(2);
    for (who, call) in [("gus1", start("gus1", "thief")), ("gus2", approve("gus2", "thief"))] {
        let tx = world.tx(&[who, "thief"], call);
        world.ok(tx);
    }
    let cancel = || Call::CancelRecovery(CancelRecovery { patient: patient("anna") });
    for by in ["gus1", "mother", "drA"] {
        let tx = world.tx(&[by], cancel());
        assert_eq!(world.refused(tx), Refusal::NotAuthorised, "{by}");
    }
    let none = Call::SetGuardians(SetGuardians { guardians: vec![], threshold: 0 });
    let tx = world.tx(&["anna"], none.clone());
    assert_eq!(world.refused(tx), Refusal::BadState, "while one is under way");
    let tx = world.tx(&["anna"], cancel());
    world.ok(tx);
    world.block_after(80 * HOUR, &[]);
    let tx = world.tx(&["gus1"], finish());
    assert_eq!(world.refused(tx), Refusal::BadState);
    let tx = world.tx(&["anna"], none);
    world.ok(tx);
    let tx = world.tx(&["gus1", "thief"], start("gus1", "thief"));
    assert_eq!(world.refused(tx), Refusal::GuardianUnknown);
}

#[test]
fn organisations_alone_restore_no_key() {
    let mut world = guarded(2);
    let tx = world.tx(&["hospB.admin0", "new"], start("hospB.admin0", "new"));
    world.ok(tx);
    let tx = world.tx(&["hospC.admin0"], approve("hospC.admin0", "new"));
    assert_eq!(world.refused(tx), Refusal::GuardianOrgMajority);
    let tx = world.tx(&["gus1"], approve("gus1", "new"));
    world.ok(tx);
}

#[test]
fn guardians_are_some_and_distinct() {
    let mut world = World::cast();
    let three: Vec<Hash> = ["a", "b", "c"].map(hash).to_vec();
    for (by, guardians, threshold, refusal) in [
        ("anna", three.clone(), 1, Refusal::InvalidField),
        ("anna", three.clone(), 4, Refusal::InvalidField),
        ("anna", vec![hash("a"), hash("a")], 2, Refusal::InvalidField),
        ("anna", (0..17).map(|i| hash(&format!("{i}"))).collect(), 2, Refusal::InvalidField),
        ("mother", three, 2, Refusal::NotAuthorised),
    ] {
        let tx = world.tx(&[by], Call::SetGuardians(SetGuardians { guardians, threshold }));
        assert_eq!(world.refused(tx), refusal);
    }
}
