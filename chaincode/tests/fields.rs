//! What the contracts refuse about one field of a call is named by the call's sender as that field.
//!
//! That every refusal of a malformed call names some field is asserted wherever one is provoked (`support`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_types::call::*;
use epione_types::codes::*;
use epione_types::id::{AccessRequestId, LinkId, ProposalId, StudyId};
use epione_types::{Hash, TimestampMs};
use support::*;

/// Refused for this reason, and for this field.
#[track_caller]
fn about(world: &mut World, signers: &[&str], call: Call, refusal: Refusal, field: &str) {
    let name = call.name();
    let tx = world.tx(signers, call);
    assert_eq!(world.refused_at(tx), (refusal, Some(field)), "{name}");
}

#[test]
fn each_field_of_a_rule() {
    let mut world = World::cast();
    let doctor = || permit(person("hospB", "drB"));
    let never = || deny(person("hospB", "drB"));
    let twice = |label| Labels::Only(vec![label, label]);
    let at = |hours: u64| Some(TimestampMs(world.now + hours * HOUR));
    let month = |month| Month::new(2026, month);
    let research = || Rule {
        purposes: Purposes::Only(vec![Purpose::Hresch]),
        until: at(9),
        policy: Some(hash("policy")),
        document: Some(hash("document")),
        ..doctor()
    };
    use Refusal as R;
    let cases = [
        (Rule { purposes: Purposes::Only(vec![]), ..doctor() }, R::EmptyPurpose, "rule.purposes"),
        (Rule { purposes: Purposes::All, ..doctor() }, R::WildcardPurposeOnPermit, "rule.purposes"),
        (
            Rule { purposes: Purposes::Only(vec![Purpose::Treat; 2]), ..doctor() },
            R::InvalidField,
            "rule.purposes",
        ),
        (Rule { actions: vec![], ..doctor() }, R::InvalidField, "rule.actions"),
        (Rule { actions: vec![Action::Read; 2], ..doctor() }, R::InvalidField, "rule.actions"),
        (Rule { categories: vec![Category::Lab; 2], ..doctor() }, R::InvalidField, "rule.categories"),
        (Rule { records: vec![record("anna1"); 2], ..doctor() }, R::InvalidField, "rule.record_ids"),
        (Rule { labels: twice(Label::Hiv), ..doctor() }, R::InvalidField, "rule.labels"),
        (Rule { max_uses: Some(0), ..doctor() }, R::InvalidField, "rule.max_uses"),
        (Rule { max_uses: Some(1), ..never() }, R::InvalidField, "rule.max_uses"),
        (Rule { delegable: true, ..never() }, R::InvalidField, "rule.delegable"),
        (Rule { parent: Some(grant("p")), ..never() }, R::InvalidField, "rule.parent_grant_id"),
        (Rule { from: at(2), until: at(2), ..doctor() }, R::BadPeriod, "rule.until_ms"),
        (
            Rule { data_period: Some(DataPeriod { from: month(3), until: month(3) }), ..doctor() },
            R::BadPeriod,
            "rule.data_period",
        ),
        (
            Rule { labels: Labels::Only(vec![Label::PsyThPn, Label::Hiv]), ..doctor() },
            R::PsyThPnNotAlone,
            "rule.labels",
        ),
        (Rule { labels: Labels::Only(vec![Label::PsyThPn]), ..doctor() }, R::SensitiveInClear, "rule.labels"),
        (Rule { to: Grantee::Any, ..research() }, R::AuthElementMissing, "rule.to"),
        (Rule { until: None, ..research() }, R::AuthElementMissing, "rule.until_ms"),
        (Rule { policy: None, ..research() }, R::AuthElementMissing, "rule.policy_hash"),
        (Rule { document: None, ..research() }, R::AuthElementMissing, "rule.document_hash"),
        (Rule { parent: Some(grant("p")), ..doctor() }, R::GrantUnknown, "rule.parent_grant_id"),
    ];
    for (rule, refusal, field) in cases {
        let call = CreateGrant { grant: grant("g"), patient: patient("anna"), rule };
        about(&mut world, &["anna"], Call::CreateGrant(call), refusal, field);
    }
    let attested = CreateGrant { grant: grant("g"), patient: patient("karl"), rule: never() };
    let document = "rule.document_hash";
    about(&mut world, &["regA"], Call::CreateGrant(attested), R::AuthElementMissing, document);
    let call = CreateGrant { grant: grant("g"), patient: patient("nobody"), rule: doctor() };
    about(&mut world, &["anna"], Call::CreateGrant(call), R::PatientUnknown, "patient_id");

    // A request's rule is to the requester, and a permit.
    let expires_at = TimestampMs(world.now + 24 * HOUR);
    let ask = |rule, expires_at| {
        let (request, patient) = (AccessRequestId(id16("q")), patient("anna"));
        Call::RequestAccess(RequestAccess { request, patient, rule, message: None, expires_at })
    };
    let parent = Some(grant("p"));
    for (rule, expires_at, refusal, field) in [
        (permit(person("hospB", "nurB")), expires_at, R::InvalidField, "rule.to"),
        (never(), expires_at, R::InvalidField, "rule.kind"),
        (Rule { parent, ..doctor() }, expires_at, R::InvalidField, "rule.parent_grant_id"),
        (doctor(), TimestampMs(0), R::BadPeriod, "expires_ms"),
    ] {
        about(&mut world, &["drB"], ask(rule, expires_at), refusal, field);
    }
}

#[test]
fn each_field_of_who_is_who() {
    let mut world = World::cast();
    use Refusal as R;
    let staff = |roles: &[Role], capabilities: &[Capability]| {
        let call = practitioner_call("new", roles, false);
        Call::RegisterPractitioner(RegisterPractitioner { capabilities: capabilities.to_vec(), ..call })
    };
    for (call, field) in [
        (staff(&[], &[]), "roles"),
        (staff(&[Role::Nurse; 2], &[]), "roles"),
        (staff(&[Role::Patient], &[]), "roles"),
        (staff(&[Role::Nurse], &[Capability::BreakGlass; 2]), "capabilities"),
    ] {
        about(&mut world, &["hospA.admin0", "new"], call, R::InvalidField, field);
    }
    about(&mut world, &["hospA.admin0"], staff(&[Role::Nurse], &[]), R::KeyProof, "public_key");
    let taken = RegisterPractitioner { key: key("drA"), ..practitioner_call("new", &[Role::Nurse], false) };
    let call = Call::RegisterPractitioner(taken);
    about(&mut world, &["hospA.admin0", "drA"], call, R::KeyInUse, "public_key");
    let again = Call::RegisterPractitioner(practitioner_call("drA", &[Role::Nurse], false));
    about(&mut world, &["hospA.admin0", "drA"], again, R::PractitionerExists, "practitioner_id");

    let patient_call = |name, notice_hash| {
        Call::RegisterPatient(RegisterPatient { patient: patient(name), key: None, notice_hash })
    };
    about(&mut world, &["regA"], patient_call("new", Hash::ZERO), R::InvalidField, "notice_hash");
    about(&mut world, &["regA"], patient_call("anna", hash("notice")), R::PatientExists, "patient_id");

    let friend = || representation_call("anna", "friend", RepresentationKind::Attorney);
    let parent = || representation_call("karl", "father", RepresentationKind::Parent);
    let at = |hours: u64| Some(TimestampMs(world.now + hours * HOUR));
    let someone = Person::Patient(patient("gus1"));
    for (call, refusal, field) in [
        (AddRepresentation { evidence: Hash::ZERO, ..friend() }, R::RepEvidenceMissing, "evidence"),
        (AddRepresentation { categories: vec![Category::Lab; 2], ..friend() }, R::InvalidField, "categories"),
        (
            AddRepresentation { minor_privacy_from: at(1), ..friend() },
            R::InvalidField,
            "minor_privacy_from_ms",
        ),
        (AddRepresentation { person: someone, ..friend() }, R::InvalidField, "public_key"),
        (AddRepresentation { person: Person::Patient(patient("anna")), ..friend() }, R::RepSelf, "person"),
        (AddRepresentation { until: Some(TimestampMs(1)), ..friend() }, R::BadPeriod, "until_ms"),
        (AddRepresentation { from: at(3), until: at(2), ..friend() }, R::BadPeriod, "until_ms"),
        (AddRepresentation { key: None, ..friend() }, R::Unknown, "person"),
        (AddRepresentation { patient: patient("nobody"), ..friend() }, R::PatientUnknown, "patient_id"),
        (parent(), R::RepEvidenceMissing, "until_ms"),
        (AddRepresentation { until: at(9), ..parent() }, R::RepEvidenceMissing, "minor_privacy_from_ms"),
        (
            AddRepresentation { until: at(9), minor_privacy_from: at(9_999), ..parent() },
            R::BadPeriod,
            "minor_privacy_from_ms",
        ),
    ] {
        about(&mut world, &["regA", "friend", "anna"], Call::AddRepresentation(call), refusal, field);
    }
    let nobody = AddRepresentation { person: Person::Patient(patient("nobody")), key: None, ..friend() };
    let tx = world.tx(&["regA", "anna"], Call::AddRepresentation(nobody));
    assert_eq!(world.refused_at(tx), (R::PatientUnknown, None), "either of two patients");

    let guardians = |names: &[&str], threshold| {
        let guardians = names.iter().map(|name| hash(name)).collect();
        Call::SetGuardians(SetGuardians { guardians, threshold })
    };
    for (call, field) in [
        (guardians(&["a", "a"], 2), "guardians"),
        (guardians(&["a"], 1), "guardians"),
        (guardians(&["a", "b"], 1), "threshold"),
        (guardians(&["a", "b"], 3), "threshold"),
    ] {
        about(&mut world, &["anna"], call, R::InvalidField, field);
    }
    let call = Call::TakeOver(TakeOver { patient: patient("karl"), key: key("karl"), document: Hash::ZERO });
    about(&mut world, &["regA", "karl"], call, R::AuthElementMissing, "document_hash");
    let call = UnlinkCare { patient: patient("anna"), organisation: org("hospB"), document: None };
    about(&mut world, &["anna"], Call::UnlinkCare(call), R::CareRelation, "org_id");
    let set_constant = |value| {
        let action = ProposalAction::SetConstant { constant: PolicyConstant::MajorityAge, value };
        Call::Propose(Propose { proposal: ProposalId(id16("p")), action })
    };
    let constant = "action.set_constant.value";
    about(&mut world, &["hospA.admin0"], set_constant(0), R::InvalidField, constant);
    let member = TeamMember { organisation: org("hospA"), practitioner: practitioner("drA") };
    let study = ProposalAction::SetStudy {
        study: StudyId(id16("s")),
        status: StudyStatus::ALL[0],
        approved_until: TimestampMs(world.now + HOUR),
        team: vec![member; 2],
    };
    let call = Call::Propose(Propose { proposal: ProposalId(id16("p")), action: study });
    about(&mut world, &["hospA.admin0"], call, R::InvalidField, "action.set_study.team");
    for (admins, admin_threshold, field) in [
        (vec![], 1, "admins"),
        (vec![key("x"), key("x")], 1, "admins"),
        (vec![key("x")], 2, "admin_threshold"),
        (vec![key("x")], 0, "admin_threshold"),
    ] {
        let kind = OrganisationKind::Clinic;
        let organisation = org("clinic");
        let call = RegisterOrganisation { organisation, kind, admins, admin_threshold, break_glass: false };
        let call = Call::RegisterOrganisation(call);
        about(&mut world, &["hospA.admin0", "hospB.admin0", "x"], call, R::InvalidField, field);
    }
}

#[test]
fn each_field_of_records_and_links() {
    let mut world = World::cast();
    use Refusal as R;
    let new = || record_call("anna", "new", &[]);
    let (hiv, size_class) = (vec![Label::Hiv; 2], 41);
    let note = Category::PsychotherapyNote;
    for (call, refusal, field) in [
        (RegisterRecord { size_class, ..new() }, R::InvalidField, "size_class"),
        (RegisterRecord { labels: hiv.clone(), ..new() }, R::InvalidField, "labels"),
        (RegisterRecord { labels: hiv.clone(), size_class, ..new() }, R::InvalidField, "labels"),
        (RegisterRecord { category: note, ..new() }, R::InvalidField, "labels"),
        (RegisterRecord { labels: vec![Label::Part2], ..new() }, R::SensitiveInClear, "labels"),
        (record_call("anna", "anna1", &[]), R::RecordExists, "record_id"),
        (record_call("nobody", "new", &[]), R::PatientUnknown, "patient_id"),
    ] {
        let draft = Call::DraftReport(DraftReport { record: call.clone() });
        about(&mut world, &["drA"], Call::RegisterRecord(call), refusal, field);
        about(&mut world, &["drA"], draft, refusal, &format!("record.{field}"));
    }
    let next = || SupersedeRecord {
        record: record("anna1"),
        version: 1,
        role: Role::Physician,
        category: Category::Lab,
        labels: vec![],
        service_month: Month::new(2026, 3).unwrap(),
        body: body("x"),
        minor_consented: false,
    };
    let large = Body { size_class, ..body("x") };
    for (call, refusal, field) in [
        (SupersedeRecord { body: large, ..next() }, R::InvalidField, "body.size_class"),
        (SupersedeRecord { labels: hiv, ..next() }, R::InvalidField, "labels"),
        (SupersedeRecord { version: 2, ..next() }, R::VersionConflict, "version"),
        (SupersedeRecord { record: record("nothing"), ..next() }, R::Unknown, "record_id"),
    ] {
        about(&mut world, &["drA"], Call::SupersedeRecord(call), refusal, field);
    }
    let draft = Call::DraftReport(DraftReport { record: record_call("anna", "report", &[]) });
    let tx = world.tx(&["drA"], draft);
    world.ok(tx);
    let viewer = |name: &str, to| Viewer { grant: grant(name), to, until: None };
    let doctor = || person("hospB", "drB");
    let many = (0..=64).map(|number| viewer(&number.to_string(), doctor())).collect();
    for (body, viewers, refusal, field) in [
        (large, vec![], R::InvalidField, "body.size_class"),
        (body("x"), vec![viewer("g", doctor()); 2], R::InvalidField, "viewers"),
        (body("x"), vec![viewer("g", Grantee::Any)], R::InvalidField, "viewers"),
        (body("x"), many, R::TooMany, "viewers"),
    ] {
        let call = SubmitReport { record: record("report"), body, viewers };
        about(&mut world, &["drA"], Call::SubmitReport(call), refusal, field);
    }

    let link = || CreateGuestLink {
        link: LinkId(id16("link")),
        patient: patient("anna"),
        record: record("anna1"),
        key: key("link"),
        grant: grant("link"),
        until: TimestampMs(world.now + 24 * HOUR),
        max_uses: 1,
        document: None,
    };
    for (call, refusal, field) in [
        (CreateGuestLink { record: record("karl1"), ..link() }, R::LinkNeedsRecord, "record_id"),
        (CreateGuestLink { max_uses: 0, ..link() }, R::BadPeriod, "max_uses"),
        (CreateGuestLink { until: TimestampMs(1), ..link() }, R::BadPeriod, "until_ms"),
        (CreateGuestLink { until: TimestampMs(u64::MAX), ..link() }, R::LinkTooLong, "until_ms"),
        (CreateGuestLink { key: key("other"), ..link() }, R::KeyProof, "public_key"),
    ] {
        about(&mut world, &["anna", "link"], Call::CreateGuestLink(call), refusal, field);
    }
    let past = SetRetention { record: record("anna1"), until: Some(TimestampMs(1)) };
    about(&mut world, &["offA"], Call::SetRetention(past), R::BadPeriod, "until_ms");
}

/// Nothing is guessed about a field where it is about who sends it.
#[test]
fn the_sender_is_no_field() {
    let mut world = World::cast();
    let call = |name| {
        let rule = permit(person("hospB", "drB"));
        Call::CreateGrant(CreateGrant { grant: grant("g"), patient: patient(name), rule })
    };
    for (signers, refusal) in [(&["drB"][..], Refusal::NotGrantor), (&["nobody"], Refusal::UnknownSigner)] {
        let tx = world.tx(signers, call("anna"));
        assert_eq!(world.refused_at(tx), (refusal, None));
    }
    let device = RevokeDevice { device: epione_types::id::DeviceId([1; 16]) };
    let tx = world.tx(&["drA"], Call::RevokeDevice(device));
    assert_eq!(world.refused_at(tx), (Refusal::NotAuthorised, None));
}
