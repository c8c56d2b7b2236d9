//! Reports: the patient sees them first, and says who else does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::Basis;
use epione_chaincode::keys;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::genesis::Policy;
use epione_types::{Hash, TimestampMs};
use support::*;

const DAY: u64 = 24 * HOUR;

fn viewer(name: &str, to: Grantee) -> Viewer {
    Viewer { grant: grant(name), to, until: None }
}

fn viewers() -> Vec<Viewer> {
    vec![viewer("v1", person("hospB", "drB")), viewer("v2", Grantee::Org(org("hospC")))]
}

fn submit(viewers: Vec<Viewer>, content: &str) -> Call {
    Call::SubmitReport(SubmitReport { record: record("report"), body: body(content), viewers })
}

fn approve(viewers: &[Viewer], content: &str, document: Option<Hash>) -> Call {
    Call::ApproveReport(ApproveReport {
        record: record("report"),
        commitment: body(content).commitment,
        viewers_hash: viewers_hash(viewers),
        document,
    })
}

/// drA has submitted a report on this patient.
fn submitted(patient_name: &str, labels: &[Label], policy: Policy) -> World {
    let mut world = World::with(policy);
    let officer = world.practitioner("hospA", "offA", &[Role::PrivacyOfficer], false);
    world.ok(officer);
    let draft = DraftReport { record: record_call(patient_name, "report", labels) };
    let tx = world.tx(&["drA"], Call::DraftReport(draft));
    world.ok(tx);
    let tx = world.tx(&["drA"], submit(viewers(), "one"));
    world.ok(tx);
    world
}

fn status(world: &World) -> (ReportStatus, RecordStatus) {
    let report = get(&world.state, &keys::report(record("report"))).unwrap();
    (report.status, get(&world.state, &keys::record(record("report"))).unwrap().status)
}

/// S09, without the envelopes.
#[test]
fn s09_an_approval_brings_record_and_viewers_into_force_together() {
    let mut world = submitted("anna", &[Label::Hiv], Policy::default());
    let access = world.access("drB", "report", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyDraft);
    let call = access_call("report", Role::Patient, Purpose::PatRqt);
    let tx = world.tx(&["anna"], Call::RecordAccess(call));
    assert_eq!(world.decided(tx).1, Reason::PermitSubject, "the patient reads the draft");
    let tx = world.tx(&["anna"], approve(&viewers(), "one", None));
    world.ok(tx);
    assert_eq!(status(&world), (ReportStatus::Approved, RecordStatus::Active));
    for name in ["v1", "v2"] {
        let made = world.stored_grant("anna", name);
        assert_eq!((made.rule.records, made.basis), (vec![record("report")], Basis::OwnKey));
    }
    let access = world.access("drB", "report", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant, "with its label");
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyOutOfScope, "and nothing else");
}

#[test]
fn s10_what_changed_meanwhile_is_not_what_was_approved() {
    let mut world = submitted("anna", &[], Policy::default());
    let more = [viewers(), vec![viewer("v3", Grantee::Org(org("hospD")))]].concat();
    let tx = world.tx(&["drA"], submit(more, "one"));
    world.ok(tx);
    let tx = world.tx(&["anna"], approve(&viewers(), "one", None));
    assert_eq!(world.refused(tx), Refusal::ViewerSetChanged);
    assert_eq!(status(&world), (ReportStatus::Submitted, RecordStatus::Draft));
    // Neither another body, nor another order, nor another end.
    let tx = world.tx(&["drA"], submit(viewers(), "two"));
    world.ok(tx);
    let mut reversed = viewers();
    reversed.reverse();
    let mut ends = viewers();
    ends[0].until = Some(TimestampMs(world.now + DAY));
    for (viewers, content) in [(viewers(), "one"), (reversed, "two"), (ends, "two"), (vec![], "two")] {
        let tx = world.tx(&["anna"], approve(&viewers, content, None));
        assert_eq!(world.refused(tx), Refusal::ViewerSetChanged);
    }
    let tx = world.tx(&["anna"], approve(&viewers(), "two", None));
    world.ok(tx);
}

#[test]
fn the_patient_wants_changes_and_the_author_makes_them() {
    let mut world = submitted("anna", &[], Policy::default());
    let changes =
        RequestChanges { record: record("report"), text_commitment: Some(hash("please")), document: None };
    let tx = world.tx(&["anna"], Call::RequestChanges(changes));
    world.ok(tx);
    let tx = world.tx(&["anna"], approve(&viewers(), "one", None));
    assert_eq!(world.refused(tx), Refusal::BadState);
    let tx = world.tx(&["drA"], submit(viewers(), "two"));
    world.ok(tx);
    let report = get(&world.state, &keys::report(record("report"))).unwrap();
    assert_eq!((report.round, report.changes), (2, Some(hash("please"))));
    let withdraw = Call::WithdrawReport(WithdrawReport { record: record("report") });
    let tx = world.tx(&["drA"], withdraw);
    world.ok(tx);
    assert_eq!(status(&world), (ReportStatus::Withdrawn, RecordStatus::Draft));
    let access = world.access("drB", "report", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyDraft, "it never was in force");
}

#[test]
fn without_an_answer_it_comes_into_force_and_nobody_sees_it() {
    let mut world = submitted("anna", &[], Policy::default());
    let anchor = || Call::AnchorUnreviewed(AnchorUnreviewed { record: record("report") });
    let tx = world.tx(&["drA"], anchor());
    assert_eq!(world.refused(tx), Refusal::TooEarly);
    world.block_after(14 * DAY - 3_000, &[]);
    let tx = world.tx(&["drA"], anchor());
    assert_eq!(world.refused(tx), Refusal::TooEarly, "a second early");
    let tx = world.tx(&["drA"], anchor());
    world.ok(tx);
    assert_eq!(status(&world), (ReportStatus::Unreviewed, RecordStatus::Active));
    assert_eq!(get(&world.state, &keys::patient(patient("anna"))).unwrap().grants, 0);
    let access = world.access("drB", "report", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyNoGrant);
}

#[test]
fn the_author_does_not_answer_for_the_patient() {
    let mut world = submitted("karl", &[], Policy::default());
    let paper = Some(hash("paper"));
    let tx = world.tx(&["drA"], approve(&viewers(), "one", paper));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.tx(&["nurA"], approve(&viewers(), "one", None));
    assert_eq!(world.refused(tx), Refusal::AuthElementMissing);
    let tx = world.tx(&["nurA"], approve(&viewers(), "one", paper));
    world.ok(tx);
    let report = get(&world.state, &keys::report(record("report"))).unwrap();
    let attested = Basis::Attested {
        organisation: org("hospA"),
        practitioner: practitioner("nurA"),
        document: hash("paper"),
    };
    assert_eq!(report.answered.unwrap().1, attested, "for ever");
    // For anna, who has a key, paper does not.
    let mut world = submitted("anna", &[], Policy::default());
    let tx = world.tx(&["nurA"], approve(&viewers(), "one", paper));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
}

#[test]
fn a_strict_label_needs_the_document_for_its_viewers() {
    let policy = Policy { allow_sensitive_in_clear: true, ..Policy::default() };
    let mut world = submitted("anna", &[Label::Part2], policy);
    let tx = world.tx(&["anna"], approve(&viewers(), "one", None));
    assert_eq!(world.refused(tx), Refusal::AuthElementMissing);
    let tx = world.tx(&["anna"], approve(&viewers(), "one", Some(hash("consent"))));
    world.ok(tx);
    let access = world.access("drB", "report", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
}

#[test]
fn what_a_list_of_viewers_must_be() {
    let mut world = submitted("anna", &[], Policy::default());
    let many = (0..33).map(|i| viewer(&format!("{i}"), Grantee::Org(org("hospB")))).collect();
    let twice = vec![viewer("v", Grantee::Org(org("hospB"))), viewer("v", Grantee::Org(org("hospC")))];
    for (viewers, refusal) in [
        (many, Refusal::TooMany),
        (twice, Refusal::InvalidField),
        (vec![viewer("v", Grantee::Any)], Refusal::InvalidField),
        (vec![viewer("v", Grantee::Org(org("nowhere")))], Refusal::OrgInactive),
    ] {
        let tx = world.tx(&["drA"], submit(viewers, "one"));
        assert_eq!(world.refused(tx), refusal);
    }
    for by in ["nurA", "drB", "anna", "hospA.admin0"] {
        let tx = world.tx(&[by], submit(viewers(), "one"));
        assert_eq!(world.refused(tx), Refusal::NotAuthorised, "{by}");
    }
    // A grant's id that is used already spoils the whole approval: nothing of it is applied.
    let tx = world.grant("anna", "anna", "v2", deny(person("hospB", "drB2")));
    world.ok(tx);
    let tx = world.tx(&["anna"], approve(&viewers(), "one", None));
    assert_eq!(world.refused(tx), Refusal::GrantExists);
    assert_eq!(get(&world.state, &keys::grant(patient("anna"), grant("v1"))), None);
    // A viewer whose time is over meanwhile is no reason to refuse.
    let mut short = vec![viewer("w1", person("hospB", "drB")), viewer("w2", Grantee::Org(org("hospC")))];
    short[0].until = Some(TimestampMs(world.now + 2_000));
    let tx = world.tx(&["drA"], submit(short.clone(), "one"));
    world.ok(tx);
    world.block_after(HOUR, &[]);
    let tx = world.tx(&["anna"], approve(&short, "one", None));
    world.ok(tx);
    assert_eq!(get(&world.state, &keys::grant(patient("anna"), grant("w1"))), None);
    assert!(get(&world.state, &keys::grant(patient("anna"), grant("w2"))).is_some());
}
