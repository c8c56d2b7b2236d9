//! Further versions of a record, errors, and what devices write.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::keys;
use epione_chaincode::records::versions::MAX_VERSIONS;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::genesis::Policy;
use epione_types::id::DeviceId;
use support::*;

fn supersede(name: &str, version: u32) -> SupersedeRecord {
    SupersedeRecord {
        record: record(name),
        version,
        role: Role::Physician,
        category: Category::Lab,
        labels: vec![],
        service_month: Month::new(2026, 3).unwrap(),
        body: body("next"),
        minor_consented: false,
    }
}

#[test]
fn a_version_replaces_the_one_it_names_and_that_one_stays() {
    let mut world = World::cast();
    let before = get(&world.state, &keys::record(record("anna1"))).unwrap();
    let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("anna1", 1)));
    let receipt = world.ok(tx);
    assert_eq!(
        receipt.events,
        [Event::RecordChanged {
            record: record("anna1"),
            patient: patient("anna"),
            custodian: org("hospA"),
            version: 2,
            status: RecordStatus::Active,
        }]
    );
    let head = get(&world.state, &keys::record(record("anna1"))).unwrap();
    assert_eq!((head.version, head.commitment), (2, hash("next")));
    let kept = get(&world.state, &keys::record_version(record("anna1"), 1)).unwrap();
    assert_eq!(kept.status, RecordStatus::Superseded);
    assert_eq!(kept.commitment, before.commitment);

    // Two who correct the same version: the second one is told.
    let tx = world
        .tx(&["nurA"], Call::SupersedeRecord(SupersedeRecord { role: Role::Nurse, ..supersede("anna1", 1) }));
    assert_eq!(world.refused(tx), Refusal::VersionConflict);
    // A colleague may.
    let tx = world
        .tx(&["nurA"], Call::SupersedeRecord(SupersedeRecord { role: Role::Nurse, ..supersede("anna1", 2) }));
    world.ok(tx);
    let head = get(&world.state, &keys::record(record("anna1"))).unwrap();
    assert_eq!((head.version, head.author), (3, practitioner("nurA")));
}

#[test]
fn a_version_is_a_write() {
    let mut world = World::cast();
    for (by, refusal) in [
        ("drB", Refusal::NotAuthorised), // not of the custodian
        ("regA", Refusal::WriteDenied),
        ("anna", Refusal::NotAuthorised),
        ("hospA.admin0", Refusal::NotAuthorised),
    ] {
        let tx = world.tx(&[by], Call::SupersedeRecord(supersede("anna1", 1)));
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
    let rule = Rule { actions: vec![Action::Write], ..deny(person("hospA", "drA")) };
    let tx = world.grant("anna", "anna", "d", rule);
    world.ok(tx);
    let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("anna1", 1)));
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
    for call in [
        SupersedeRecord { labels: vec![Label::Std, Label::Hiv], ..supersede("anna1", 1) },
        SupersedeRecord { body: Body { size_class: 11, ..body("x") }, ..supersede("anna1", 1) },
    ] {
        let tx = world.tx(&["nurA"], Call::SupersedeRecord(call));
        assert_eq!(world.refused(tx), Refusal::InvalidField);
    }
    let call = SupersedeRecord { labels: vec![Label::Part2], ..supersede("anna1", 1) };
    let tx = world.tx(&["nurA"], Call::SupersedeRecord(call));
    assert_eq!(world.refused(tx), Refusal::SensitiveInClear);
}

/// Dropping a label opens a record: then both versions must be the writer's to write.
#[test]
fn a_label_is_taken_away_by_those_alone_who_may_write_it() {
    let mut world = World::cast();
    let tx = world.record("drA", "anna", "hiv", &[Label::Hiv]);
    world.ok(tx);
    let rule = Rule {
        actions: vec![Action::Write],
        labels: Labels::Only(vec![Label::Hiv]),
        ..deny(person("hospA", "drA"))
    };
    let tx = world.grant("anna", "anna", "d", rule);
    world.ok(tx);
    let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("hiv", 1)));
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
}

#[test]
fn a_psychotherapy_note_has_one_author() {
    let mut world = World::with(Policy { allow_sensitive_in_clear: true, ..Policy::default() });
    let note = RegisterRecord {
        category: Category::PsychotherapyNote,
        ..record_call("anna", "note", &[Label::PsyThPn])
    };
    let tx = world.tx(&["drA"], Call::RegisterRecord(note));
    world.ok(tx);
    let next = SupersedeRecord {
        category: Category::PsychotherapyNote,
        labels: vec![Label::PsyThPn],
        ..supersede("note", 1)
    };
    let by_colleague = SupersedeRecord { role: Role::Nurse, ..next.clone() };
    let tx = world.tx(&["nurA"], Call::SupersedeRecord(by_colleague));
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
    let tx = world.tx(&["drA"], Call::SupersedeRecord(next));
    world.ok(tx);
}

#[test]
fn what_should_not_have_been_stays_and_says_so() {
    let mut world = World::cast();
    let call = |version| {
        Call::MarkEnteredInError(MarkEnteredInError {
            record: record("anna1"),
            version,
            role: Role::Physician,
        })
    };
    let tx = world.tx(&["drA"], call(2));
    assert_eq!(world.refused(tx), Refusal::VersionConflict);
    let tx = world.tx(&["drA"], call(1));
    world.ok(tx);
    let entry = get(&world.state, &keys::record(record("anna1"))).unwrap();
    assert_eq!((entry.status, entry.version), (RecordStatus::EnteredInError, 1));
    let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("anna1", 1)));
    assert_eq!(world.refused(tx), Refusal::BadState);
}

#[test]
fn versions_are_contiguous_and_bounded() {
    let mut world = World::cast();
    for version in 1..MAX_VERSIONS {
        let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("anna1", version)));
        world.ok(tx);
    }
    let tx = world.tx(&["drA"], Call::SupersedeRecord(supersede("anna1", MAX_VERSIONS)));
    assert_eq!(world.refused(tx), Refusal::TooMany);
    for version in 1..MAX_VERSIONS {
        let kept = get(&world.state, &keys::record_version(record("anna1"), version)).unwrap();
        assert_eq!((kept.version, kept.status), (version, RecordStatus::Superseded));
    }
    // All of them go at once.
    let erase = EraseRecord { record: record("anna1"), document: None };
    let tx = world.tx(&["offA", "anna"], Call::EraseRecord(erase));
    world.ok(tx);
    assert!(!world.state.keys().any(|key| key.starts_with(b"rvs/")));
}

#[test]
fn a_device_writes_in_the_name_of_who_answers_for_it_and_does_nothing_else() {
    let mut world = World::cast();
    let device = DeviceId(id16("device"));
    let call = RegisterDevice {
        device,
        kind: DeviceKind::Analyser,
        key: key("device"),
        practitioner: practitioner("drA"),
    };
    let tx = world.tx(&["hospA.admin0"], Call::RegisterDevice(call.clone()));
    assert_eq!(world.refused(tx), Refusal::KeyProof);
    let unknown = RegisterDevice { practitioner: practitioner("nobody"), ..call.clone() };
    let tx = world.tx(&["hospA.admin0", "device"], Call::RegisterDevice(unknown));
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
    let tx = world.tx(&["hospA.admin0", "device"], Call::RegisterDevice(call));
    world.ok(tx);

    let tx = world.record("device", "anna", "measured", &[]);
    world.ok(tx);
    let entry = get(&world.state, &keys::record(record("measured"))).unwrap();
    assert_eq!((entry.author, entry.custodian), (practitioner("drA"), org("hospA")));
    let by = get(&world.state, &keys::written_by_device(record("measured"), 1));
    assert_eq!(by, Some(device), "and that it was the device stays");

    let access = world.access("device", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyIdentity);
    let draft = DraftReport { record: record_call("anna", "report", &[]) };
    let tx = world.tx(&["device"], Call::DraftReport(draft));
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
    let tx = world.grant("device", "karl", "g", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);

    // It writes no more than the one who answers for it, and nothing once it is revoked.
    let status = PractitionerStatus::Suspended;
    let suspend = |status| {
        Call::SetPractitionerStatus(SetPractitionerStatus { practitioner: practitioner("drA"), status })
    };
    let tx = world.tx(&["hospA.admin0"], suspend(status));
    world.ok(tx);
    let tx = world.record("device", "anna", "second", &[]);
    assert_eq!(world.refused(tx), Refusal::WriteDenied);
    let tx = world.tx(&["hospA.admin0"], suspend(PractitionerStatus::Active));
    world.ok(tx);
    let tx = world.tx(&["hospA.admin0"], Call::RevokeDevice(RevokeDevice { device }));
    world.ok(tx);
    let tx = world.record("device", "anna", "second", &[]);
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
}
