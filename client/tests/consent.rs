//! FHIR Consents: what becomes rules, what is refused and where, and that what goes out comes back the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use epione_client::fhir::consent::{
    ConsentPlan, Fault, MAX_CONSENT_BYTES, MAX_RULES, Reason, StatedGrant, read_consent, write_consent,
};
use epione_client::fhir::{Directory, Tables, Target};
use epione_proto::v1::GrantSource;
use epione_types::Hash;
use epione_types::call::{DataPeriod, GrantKind, Grantee, Labels, Month, Person, Purposes, Rule};
use epione_types::codes::{Action, Category, Label, Purpose, Role};
use epione_types::id::{
    GrantId, LinkId, OrgId, PatientId, PractitionerId, RecordId, RepresentativeId, StudyId, TimestampMs,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const PATIENT: PatientId = PatientId([1; 16]);
const CLINIC: OrgId = OrgId([2; 16]);
const DOCTOR: Grantee = Grantee::Person(Person::Practitioner(CLINIC, PractitionerId([3; 16])));
const RECORD: RecordId = RecordId([4; 16]);
const POLICY: Hash = Hash([5; 32]);
const DOCUMENT: Hash = Hash([6; 32]);

fn directory() -> Directory {
    let mut directory = Directory::default();
    for (reference, target) in [
        ("Patient/p", Target::Who(Grantee::Person(Person::Patient(PATIENT)))),
        ("Patient/q", Target::Who(Grantee::Person(Person::Patient(PatientId([9; 16]))))),
        ("Organization/clinic", Target::Who(Grantee::Org(CLINIC))),
        ("Practitioner/doctor", Target::Who(DOCTOR)),
        ("PractitionerRole/nurse", Target::Who(Grantee::Role(CLINIC, Role::Nurse))),
        ("urn:mrn|17", Target::Record(RECORD)),
        ("DocumentReference/signed", Target::Document(DOCUMENT)),
    ] {
        directory.add_reference(reference, target);
    }
    directory.add_policy("http://example.org/policy", POLICY);
    directory
}

/// A Consent of PCF's shape with this root provision.
fn consent(provision: Value) -> Value {
    json!({
        "resourceType": "Consent", "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": "Patient/p"},
        "dateTime": "2026-06-13",
        "sourceReference": {"reference": "DocumentReference/signed"},
        "policy": [{"uri": "http://example.org/policy"}],
        "provision": provision,
    })
}

/// The same with another element, or without it.
fn with(mut consent: Value, field: &str, value: Value) -> Value {
    let object = consent.as_object_mut().unwrap();
    if value.is_null() {
        object.remove(field)
    } else {
        object.insert(field.to_owned(), value)
    };
    consent
}

fn read(consent: &Value) -> Result<ConsentPlan, Vec<Fault>> {
    read_consent(consent.to_string().as_bytes(), PATIENT, None, &directory(), &Tables::built_in())
}

fn rules(provision: Value) -> Vec<Rule> {
    read(&consent(provision)).unwrap().rules
}

/// Every fault, as `path CODE`.
fn faults(consent: &Value) -> Vec<String> {
    let faults = read(consent).unwrap_err();
    faults.iter().map(|fault| format!("{} {}", fault.path, fault.reason.code())).collect()
}

fn actor(reference: &str) -> Value {
    json!({
        "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]},
        "reference": {"reference": reference},
    })
}

fn purpose(code: &str) -> Value {
    json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": code})
}

fn label(code: &str) -> Value {
    json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code})
}

fn confidentiality(code: &str) -> Value {
    json!({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": code})
}

/// A rule that says nothing but this.
fn rule(kind: GrantKind, to: Grantee, purposes: &[Purpose]) -> Rule {
    Rule {
        kind,
        to,
        purposes: if purposes.is_empty() { Purposes::All } else { Purposes::Only(purposes.to_vec()) },
        actions: if kind == GrantKind::Permit { vec![Action::Read] } else { Action::ALL.to_vec() },
        categories: Vec::new(),
        records: Vec::new(),
        labels: Labels::Only(Vec::new()),
        data_period: None,
        from: None,
        until: None,
        max_uses: None,
        delegable: false,
        parent: None,
        policy: Some(POLICY),
        document: Some(DOCUMENT),
    }
}

#[test]
fn every_element_of_a_provision_becomes_a_part_of_the_rule() {
    let provision = json!({
        "type": "permit",
        "period": {"start": "2026-01-01", "end": "2026-12-31"},
        "actor": [actor("PractitionerRole/nurse")],
        "purpose": [purpose("TREAT"), purpose("HPAYMT"), purpose("TREAT")],
        "securityLabel": [label("HIV"), label("42CFRPart2")],
        "dataPeriod": {"start": "2024", "end": "2025-02-28"},
        "data": [{"meaning": "instance", "reference": {"identifier": {"system": "urn:mrn", "value": "17"}}}],
        "action": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "disclose"}]}],
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Immunization"}],
    });
    let month = |year, month| Month::new(year, month);
    let wanted = Rule {
        actions: vec![Action::Disclose],
        categories: vec![Category::Immunization],
        records: vec![RECORD],
        labels: Labels::Only(vec![Label::Hiv, Label::Part2]),
        data_period: Some(DataPeriod { from: month(2024, 1), until: month(2025, 3) }),
        from: Some(TimestampMs(1_767_225_600_000)),
        until: Some(TimestampMs(1_798_761_600_000)),
        ..rule(GrantKind::Permit, Grantee::Role(CLINIC, Role::Nurse), &[Purpose::Treat, Purpose::Hpaymt])
    };
    assert_eq!(rules(provision), [wanted]);
}

#[test]
fn an_exception_flips_and_takes_over_what_it_does_not_say() {
    let provision = json!({
        "type": "permit", "actor": [actor("Organization/clinic")], "purpose": [purpose("TREAT")],
        "period": {"end": "2026"},
        "provision": [
            {"type": "deny", "securityLabel": [label("HIV")]},
            {"type": "deny", "actor": [actor("Practitioner/doctor")], "period": {"start": "2025"}},
        ],
    });
    let base = Rule {
        until: Some(TimestampMs(1_798_761_600_000)),
        ..rule(GrantKind::Permit, Grantee::Org(CLINIC), &[Purpose::Treat])
    };
    let denial = Rule { kind: GrantKind::Deny, actions: Action::ALL.to_vec(), ..base.clone() };
    let of_hiv = Rule { labels: Labels::Only(vec![Label::Hiv]), ..denial.clone() };
    let of_doctor = Rule { to: DOCTOR, from: Some(TimestampMs(1_735_689_600_000)), until: None, ..denial };
    assert_eq!(rules(provision.clone()), [base.clone(), of_hiv.clone(), of_doctor.clone()]);
    // What is submitted begins with the denials.
    let calls =
        read(&consent(provision)).unwrap().calls(&mut rand_core::UnwrapErr(getrandom::SysRng)).unwrap();
    let submitted: Vec<&Rule> = calls.iter().map(|call| &call.rule).collect();
    assert_eq!(submitted, [&of_hiv, &of_doctor, &base]);
    assert!(calls[0].grant != calls[1].grant && calls.iter().all(|call| call.patient == PATIENT));
}

#[test]
fn several_actors_are_as_many_rules_and_none_is_everybody() {
    let actors = [actor("Organization/clinic"), actor("Practitioner/doctor")];
    let found = rules(json!({"type": "deny", "actor": actors}));
    assert_eq!(found.iter().map(|rule| rule.to).collect::<Vec<_>>(), [Grantee::Org(CLINIC), DOCTOR]);
    let everybody =
        rules(json!({"type": "deny", "provision": [{"type": "permit", "purpose": [purpose("ETREAT")]}]}));
    assert_eq!(
        everybody,
        [rule(GrantKind::Deny, Grantee::Any, &[]), rule(GrantKind::Permit, Grantee::Any, &[Purpose::Etreat])]
    );
}

#[test]
fn confidentiality_is_whether_there_is_a_label() {
    let permit =
        |labels: Value| json!({"type": "permit", "purpose": [purpose("TREAT")], "securityLabel": labels});
    let deny = |labels: Value| json!({"type": "deny", "securityLabel": labels});
    for (provision, wanted) in [
        (permit(json!([confidentiality("N")])), Labels::Only(vec![])),
        (permit(json!([confidentiality("R")])), Labels::Any),
        (permit(json!([confidentiality("N"), confidentiality("R"), label("HIV")])), Labels::Any),
        (permit(json!([confidentiality("N"), label("ETH")])), Labels::Only(vec![Label::Eth])),
        (deny(json!([confidentiality("R")])), Labels::Any),
        (deny(json!([confidentiality("N"), confidentiality("R")])), Labels::Only(vec![])),
        (deny(json!([label("PSYTHPN"), label("HIV")])), Labels::Only(vec![Label::PsyThPn, Label::Hiv])),
    ] {
        assert_eq!(rules(provision.clone())[0].labels, wanted, "{provision}");
    }
    for (provision, reason) in [
        (deny(json!([confidentiality("N")])), "CONSENT_LABEL_UNMAPPED"),
        (deny(json!([confidentiality("N"), label("HIV")])), "CONSENT_LABEL_UNMAPPED"),
        (permit(json!([confidentiality("R"), label("42CFRPart2")])), "CONSENT_LABEL_UNMAPPED"),
        (permit(json!([label("PSYTHPN"), label("HIV")])), "PSYTHPN_NOT_ALONE"),
    ] {
        assert_eq!(faults(&consent(provision)), [format!("provision.securityLabel {reason}")]);
    }
    for wrong in [
        confidentiality("V"),
        label("SICKVIS"),
        label("OTHER"),
        label("PART2"),
        json!("HIV"),
        json!({"code": "HIV"}),
    ] {
        assert_eq!(
            faults(&consent(deny(json!([wrong])))),
            ["provision.securityLabel[0] CONSENT_LABEL_UNMAPPED"]
        );
    }
}

#[test]
fn every_refusal_has_its_reason_and_its_place() {
    let permit = |field: &str, value: Value| {
        let mut provision =
            json!({"type": "permit", "actor": [actor("Organization/clinic")], "purpose": [purpose("TREAT")]});
        provision.as_object_mut().unwrap().insert(field.to_owned(), value);
        consent(provision)
    };
    let good = permit("type", json!("permit"));
    assert!(read(&good).is_ok());
    let many = vec![actor("Organization/clinic"); 65];
    for (consent, wanted) in [
        (with(good.clone(), "resourceType", json!("Contract")), "Consent CONSENT_SHAPE"),
        (with(good.clone(), "status", json!("inactive")), "status CONSENT_NOT_ACTIVE"),
        (with(good.clone(), "status", Value::Null), "status CONSENT_NOT_ACTIVE"),
        (
            with(good.clone(), "scope", json!({"coding": [{"code": "patient-privacy"}]})),
            "scope CONSENT_SCOPE",
        ),
        (with(good.clone(), "patient", Value::Null), "patient CONSENT_SHAPE"),
        (with(good.clone(), "patient", json!({"reference": "Patient/q"})), "patient CONSENT_OTHER_PATIENT"),
        (
            with(good.clone(), "patient", json!({"reference": "Patient/r"})),
            "patient CONSENT_REFERENCE_UNKNOWN",
        ),
        (
            with(good.clone(), "patient", json!({"reference": "Organization/clinic"})),
            "patient CONSENT_REFERENCE_KIND",
        ),
        (with(good.clone(), "policy", Value::Null), "policy.uri CONSENT_POLICY_MISSING"),
        (with(good.clone(), "policy", json!([{"authority": "x"}])), "policy[0].uri CONSENT_POLICY_MISSING"),
        (with(good.clone(), "policy", json!([{"uri": "x"}])), "policy[0].uri CONSENT_POLICY_UNKNOWN"),
        (with(good.clone(), "policy", json!([{"uri": "x"}, {"uri": "y"}])), "policy CONSENT_TOO_MANY"),
        (with(good.clone(), "policyRule", json!({})), "policyRule CONSENT_ELEMENT_UNSUPPORTED"),
        (with(good.clone(), "implicitRules", json!("x")), "implicitRules CONSENT_MODIFIER_UNKNOWN"),
        (with(good.clone(), "modifierExtension", json!([])), "modifierExtension CONSENT_MODIFIER_UNKNOWN"),
        (with(good.clone(), "_status", json!({})), "Consent CONSENT_ELEMENT_UNSUPPORTED"),
        (with(good.clone(), "provision", Value::Null), "provision.type CONSENT_TYPE_MISSING"),
        (with(good.clone(), "provision", json!([])), "provision CONSENT_SHAPE"),
        (permit("type", json!("perhaps")), "provision.type CONSENT_SHAPE"),
        (permit("Anna", json!(1)), "provision CONSENT_ELEMENT_UNSUPPORTED"),
        (permit("actor", json!([])), "provision.actor CONSENT_SHAPE"),
        (permit("actor", json!(many)), "provision.actor CONSENT_TOO_MANY"),
        (
            permit("actor", json!([actor("Organization/x")])),
            "provision.actor[0].reference CONSENT_REFERENCE_UNKNOWN",
        ),
        (
            permit("actor", json!([actor("DocumentReference/signed")])),
            "provision.actor[0].reference CONSENT_REFERENCE_KIND",
        ),
        (
            permit("actor", json!([{"modifierExtension": []}])),
            "provision.actor[0] CONSENT_ELEMENT_UNSUPPORTED",
        ),
        (permit("data", json!([{"_meaning": {}}])), "provision.data[0] CONSENT_ELEMENT_UNSUPPORTED"),
        (permit("purpose", json!([purpose("FUN")])), "provision.purpose[0] CONSENT_PURPOSE_UNKNOWN"),
        (permit("purpose", json!([{"code": "TREAT"}])), "provision.purpose[0] CONSENT_PURPOSE_UNKNOWN"),
        (
            permit("action", json!([{"coding": [{"code": "access"}]}])),
            "provision.action[0] CONSENT_ACTION_UNKNOWN",
        ),
        (
            permit("class", json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}])),
            "provision.class[0] CONSENT_CLASS_UNMAPPED",
        ),
        (
            permit("code", json!([{"coding": [{"system": "http://loinc.org", "code": "1-8"}]}])),
            "provision.code[0] CONSENT_CLASS_UNMAPPED",
        ),
        (
            permit("data", json!([{"meaning": "related", "reference": {"reference": "Encounter/e"}}])),
            "provision.data[0].meaning CONSENT_DATA_MEANING",
        ),
        (permit("data", json!([{"meaning": "instance"}])), "provision.data[0].reference CONSENT_SHAPE"),
        (
            permit("data", json!([{"meaning": "instance", "reference": {"reference": "Patient/p"}}])),
            "provision.data[0].reference CONSENT_REFERENCE_KIND",
        ),
        (
            permit("dataPeriod", json!({"start": "2024-01-15"})),
            "provision.dataPeriod.start CONSENT_DATA_PERIOD",
        ),
        (permit("dataPeriod", json!({"end": "2024-12-30"})), "provision.dataPeriod.end CONSENT_DATA_PERIOD"),
        (
            permit("dataPeriod", json!({"start": "2025", "end": "2024"})),
            "provision.dataPeriod CONSENT_DATA_PERIOD",
        ),
        (permit("period", json!({"end": "tomorrow"})), "provision.period.end CONSENT_PERIOD"),
        (permit("period", json!({"start": "2025", "end": "2024"})), "provision.period CONSENT_PERIOD"),
        (permit("period", json!({})), "provision.period CONSENT_PERIOD"),
        (permit("period", json!({"end": "2026", "_end": {}})), "provision.period CONSENT_PERIOD"),
        (permit("purpose", json!([purpose("HRESCH")])), "provision AUTH_ELEMENT_MISSING"),
        (
            permit("modifierExtension", json!([{"url": "urn:x"}])),
            "provision.modifierExtension[0] CONSENT_MODIFIER_UNKNOWN",
        ),
        (
            permit("modifierExtension", json!([{"url": "urn:epione:rule", "extension": [{"url": "x"}]}])),
            "provision.modifierExtension[0].extension[0] CONSENT_MODIFIER_UNKNOWN",
        ),
        (
            permit(
                "modifierExtension",
                json!([{"url": "urn:epione:rule", "extension": [{"url": "maxUses", "valuePositiveInt": 0}]}]),
            ),
            "provision.modifierExtension[0].extension[0] CONSENT_SHAPE",
        ),
        (
            permit("provision", json!([{"purpose": [purpose("COC")]}])),
            "provision.provision[0].type CONSENT_TYPE_MISSING",
        ),
        (
            permit("provision", json!([{"type": "permit"}])),
            "provision.provision[0].type CONSENT_TYPE_NOT_FLIPPED",
        ),
        (
            permit("provision", json!([{"type": "deny", "provision": []}])),
            "provision.provision[0].provision CONSENT_NESTING",
        ),
    ] {
        let found = faults(&consent);
        assert!(found.contains(&wanted.to_owned()), "{wanted}: {found:?}");
        assert!(read(&consent).unwrap_err().iter().all(|fault| !fault.to_string().contains("Anna")));
    }
    // FHIR's element and the ledger's own part for the same: which one holds would be a guess.
    let both = |field: &str, element: Value, part: &str, code: &str| {
        let extension = json!([{"url": "urn:epione:rule", "extension": [{"url": part, "valueCode": code}]}]);
        let provision = json!({
            "type": "permit", "purpose": [purpose("TREAT")], field: element, "modifierExtension": extension,
        });
        faults(&consent(provision))
    };
    let disclose = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "disclose"}]}]);
    assert_eq!(both("action", disclose, "action", "READ"), ["provision.action CONSENT_ELEMENT_UNSUPPORTED"]);
    let class = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Immunization"}]);
    assert_eq!(both("class", class, "category", "LAB"), ["provision.class CONSENT_ELEMENT_UNSUPPORTED"]);
    let purposeless = consent(json!({"type": "permit"}));
    assert_eq!(faults(&purposeless), ["provision.purpose CONSENT_PURPOSE_MISSING"]);
    // A signed document is what a permit of Part 2 needs even for treatment.
    let part2 = permit("securityLabel", json!([label("42CFRPart2")]));
    assert!(read(&part2).is_ok());
    let unsigned = with(part2, "sourceReference", Value::Null);
    assert_eq!(faults(&unsigned), ["provision AUTH_ELEMENT_MISSING"]);
    // Whoever holds the document need not find it named in the Consent.
    let bytes = unsigned.to_string();
    let given = read_consent(bytes.as_bytes(), PATIENT, Some(DOCUMENT), &directory(), &Tables::built_in());
    assert!(given.unwrap().rules.iter().all(|rule| rule.document == Some(DOCUMENT)));
}

#[test]
fn all_faults_are_told_at_once() {
    let several = json!({
        "resourceType": "Consent", "status": "draft", "patient": {"reference": "Patient/p"},
        "provision": {"actor": [{"reference": {"reference": "Organization/x"}}], "purpose": [purpose("FUN"), purpose("TREAT"), purpose("X")]},
    });
    assert_eq!(
        faults(&several),
        [
            "status CONSENT_NOT_ACTIVE",
            "scope CONSENT_SCOPE",
            "policy.uri CONSENT_POLICY_MISSING",
            "provision.actor[0].role CONSENT_ACTOR_ROLE",
            "provision.actor[0].reference CONSENT_REFERENCE_UNKNOWN",
            "provision.purpose[0] CONSENT_PURPOSE_UNKNOWN",
            "provision.purpose[2] CONSENT_PURPOSE_UNKNOWN",
            "provision.type CONSENT_TYPE_MISSING",
        ]
    );
}

/// The ledger knows no exceptions, only precedence among rules: what that would lose is refused.
#[test]
fn an_exception_that_would_not_prevail_is_refused() {
    let lost = ["provision.provision[0] CONSENT_EXCEPTION_INEFFECTIVE"];
    let nested = |base: Value, exception: Value| {
        let mut base = base;
        base.as_object_mut().unwrap().insert("provision".to_owned(), json!([exception]));
        consent(base)
    };
    let doctor = json!([actor("Practitioner/doctor")]);
    let clinic = json!([actor("Organization/clinic")]);
    let treat = json!([purpose("TREAT")]);
    // The base names a person; the exception her whole clinic, which the narrower permit would outlive.
    let base = json!({"type": "permit", "actor": doctor, "purpose": treat});
    assert_eq!(faults(&nested(base.clone(), json!({"type": "deny", "actor": clinic}))), lost);
    assert!(read(&nested(base, json!({"type": "deny", "securityLabel": [label("HIV")]}))).is_ok());
    // The exception's purpose is wider than the base's.
    let base = json!({"type": "permit", "actor": clinic, "purpose": [purpose("ETREAT")]});
    assert_eq!(faults(&nested(base, json!({"type": "deny", "purpose": treat}))), lost);
    // A permit within a denial must be narrower in something.
    let base = json!({"type": "deny", "actor": clinic, "purpose": treat});
    assert_eq!(faults(&nested(base.clone(), json!({"type": "permit"}))), lost);
    assert_eq!(
        faults(&nested(
            base.clone(),
            json!({"type": "permit", "purpose": [purpose("ETREAT"), purpose("TREAT")]})
        )),
        lost
    );
    assert!(read(&nested(base.clone(), json!({"type": "permit", "purpose": [purpose("ETREAT")]}))).is_ok());
    assert!(read(&nested(base.clone(), json!({"type": "permit", "actor": doctor}))).is_ok());
    assert!(read(&nested(base, json!({"type": "permit", "dataPeriod": {"start": "2020"}}))).is_ok());
    // Of a denial of labelled data, it must name the labels.
    let base = json!({"type": "deny", "securityLabel": [confidentiality("R")]});
    assert_eq!(faults(&nested(base, json!({"type": "permit", "actor": doctor, "purpose": treat}))), lost);
    let base = json!({"type": "deny", "securityLabel": [label("HIV")]});
    assert!(read(&nested(base, json!({"type": "permit", "actor": doctor, "purpose": treat}))).is_ok());
}

#[test]
fn r5_decides_for_everything_and_its_provisions_are_exceptions() {
    let r5 = |decision: &str, provision: Value| {
        json!({
            "resourceType": "Consent", "status": "active", "decision": decision,
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
            "subject": {"reference": "Patient/p"}, "grantor": [{"reference": "Patient/p"}],
            "sourceReference": [{"reference": "DocumentReference/signed"}],
            "policyBasis": {"uri": "http://example.org/policy"},
            "period": {"end": "2026"}, "provision": provision,
        })
    };
    let until = Some(TimestampMs(1_798_761_600_000));
    let exception = json!([{"actor": [actor("Organization/clinic")], "purpose": [purpose("TREAT")]}]);
    let base = Rule { until, ..rule(GrantKind::Deny, Grantee::Any, &[]) };
    let permit = Rule { until, ..rule(GrantKind::Permit, Grantee::Org(CLINIC), &[Purpose::Treat]) };
    assert_eq!(read(&r5("deny", exception.clone())).unwrap().rules, [base, permit]);
    let open = r5("permit", exception.clone());
    assert!(faults(&open).contains(&"decision CONSENT_PURPOSE_MISSING".to_owned()), "{:?}", faults(&open));
    let undecided = with(r5("deny", exception.clone()), "decision", Value::Null);
    assert_eq!(faults(&undecided), ["decision CONSENT_TYPE_MISSING"]);
    let typed = r5("deny", json!([{"type": "permit", "purpose": [purpose("TREAT")]}]));
    assert_eq!(faults(&typed), ["provision[0] CONSENT_ELEMENT_UNSUPPORTED"]);
    let of_treatment = with(r5("deny", exception), "category", json!([{"text": "surgery"}]));
    assert_eq!(faults(&of_treatment), ["category CONSENT_SCOPE"]);
}

#[test]
fn hostile_input_is_bounded() {
    let read = |bytes: &[u8]| {
        read_consent(bytes, PATIENT, None, &directory(), &Tables::built_in()).unwrap_err()[0].reason
    };
    assert!(matches!(read(b"{"), Reason::Unreadable(_)));
    assert!(matches!(read(&b"[".repeat(100_000)), Reason::Unreadable(_)));
    assert!(matches!(
        read(br#"{"resourceType":"Consent","status":"active","status":"draft"}"#),
        Reason::Unreadable(_)
    ));
    assert_eq!(read(&vec![b' '; MAX_CONSENT_BYTES + 1]).code(), "CONSENT_TOO_MANY");
    assert_eq!(read(b"\xff").code(), "CONSENT_SHAPE");
    assert_eq!(read(b"[]").code(), "CONSENT_SHAPE");
    // 64 exceptions of 2 actors each.
    let one = json!({"type": "permit", "actor": [actor("Practitioner/doctor"), actor("PractitionerRole/nurse")], "purpose": [purpose("TREAT")]});
    let many = consent(json!({"type": "deny", "provision": vec![one; 64]}));
    assert_eq!(faults(&many), ["provision CONSENT_TOO_MANY"], "at most {MAX_RULES}");
}

/// Small look-alikes of HL7's own examples: none of PCF's shape.
#[test]
fn the_official_shapes_are_refused_and_never_guessed() {
    let official = |provision: Value| {
        let optin = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]});
        with(with(consent(provision), "policy", Value::Null), "policyRule", optin)
    };
    let recipient = |code: &str| {
        json!({"role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": code}]},
               "reference": {"reference": "Organization/clinic"}})
    };
    // "Not this": opted in, with a provision that has no type and means the opposite.
    let not_this = official(json!({"data": [{"meaning": "related", "reference": {"reference": "Task/t"}}]}));
    assert!(faults(&not_this).contains(&"provision.type CONSENT_TYPE_MISSING".to_owned()));
    // "Emergency": opted out, ETREAT at the root, and a denial within.
    let emergency = official(
        json!({"purpose": [purpose("ETREAT")], "provision": [{"type": "deny", "actor": [recipient("CST")]}]}),
    );
    assert_eq!(
        faults(&emergency),
        [
            "policy.uri CONSENT_POLICY_MISSING",
            "provision.type CONSENT_TYPE_MISSING",
            "provision.provision[0].actor[0].role CONSENT_ACTOR_ROLE",
        ]
    );
    // "Not this organisation": a type, but no policy, and a primary recipient.
    let actions = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "access"}]}]);
    let not_org = official(json!({"type": "deny", "actor": [recipient("PRCP")], "action": actions}));
    assert_eq!(
        faults(&not_org),
        ["policy.uri CONSENT_POLICY_MISSING", "provision.actor[0].role CONSENT_ACTOR_ROLE"]
    );
}

/// `EPIONE_FHIR_EXAMPLES=folder cargo test -p epione-client --test consent -- --ignored --nocapture`
#[test]
#[ignore = "needs HL7's R4 examples: EPIONE_FHIR_EXAMPLES=path"]
fn hl7s_own_examples_are_refused() {
    let folder = std::env::var("EPIONE_FHIR_EXAMPLES").expect("EPIONE_FHIR_EXAMPLES names a folder");
    let mut directory = Directory::default();
    directory.add_reference("Patient/f001", Target::Who(Grantee::Person(Person::Patient(PATIENT))));
    directory.add_reference("Organization/f001", Target::Who(Grantee::Org(CLINIC)));
    let (mut typeless, mut seen) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("Consent-") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let refused = read_consent(&bytes, PATIENT, None, &directory, &Tables::built_in()).unwrap_err();
        println!("{name}");
        refused.iter().for_each(|fault| println!("    {fault}"));
        seen += 1;
        if refused.iter().any(|fault| fault.path == "provision.type" && fault.reason == Reason::TypeMissing) {
            typeless += 1;
        } else {
            let found: Vec<Reason> = refused.iter().map(|fault| fault.reason).collect();
            assert!(name.contains("notOrg"), "{name}");
            assert_eq!(found, [Reason::PolicyMissing, Reason::ActorRole]);
        }
    }
    assert_eq!((seen, typeless), (12, 11));
}

fn any_grantee() -> impl Strategy<Value = Grantee> {
    let id = any::<[u8; 16]>();
    prop_oneof![
        Just(Grantee::Any),
        id.prop_map(|id| Grantee::Org(OrgId(id))),
        (id, select(Role::ALL)).prop_map(|(id, role)| Grantee::Role(OrgId(id), role)),
        (id, id).prop_map(|(org, id)| Grantee::Person(Person::Practitioner(OrgId(org), PractitionerId(id)))),
        id.prop_map(|id| Grantee::Person(Person::Patient(PatientId(id)))),
        id.prop_map(|id| Grantee::Person(Person::Representative(RepresentativeId(id)))),
        id.prop_map(|id| Grantee::Study(StudyId(id))),
        id.prop_map(|id| Grantee::Guest(LinkId(id))),
    ]
}

/// Of two drawn limits, the lower as the start. Both unset is no limit.
fn limits<T: Ord + Copy>(pair: (Option<T>, Option<T>)) -> (Option<T>, Option<T>) {
    match pair {
        (Some(one), Some(other)) if one == other => (Some(one), None),
        (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other))),
        unordered => unordered,
    }
}

prop_compose! {
    /// A rule that the ledger would take.
    fn any_rule()(
        permit in any::<bool>(),
        to in any_grantee(),
        purposes in subsequence(Purpose::ALL, 0..Purpose::ALL.len()).prop_shuffle(),
        actions in subsequence(Action::ALL, 1..=4).prop_shuffle(),
        categories in subsequence(Category::ALL, 0..5).prop_shuffle(),
        records in proptest::collection::btree_set(any::<[u8; 16]>(), 0..4),
        labels in proptest::option::weighted(0.8, subsequence(Label::ALL, 0..4).prop_shuffle()),
        months in any::<(Option<u16>, Option<u16>)>(),
        times in any::<(Option<u32>, Option<u32>)>(),
        permits in any::<(Option<u32>, bool, Option<[u8; 16]>)>(),
        hashes in any::<(Option<[u8; 32]>, Option<[u8; 32]>)>(),
    ) -> Rule {
        let kind = if permit { GrantKind::Permit } else { GrantKind::Deny };
        let only = if purposes.is_empty() { vec![Purpose::Treat] } else { purposes };
        let all = !permit && only.len().is_multiple_of(3);
        let ordinary = only.iter().all(|purpose| {
            [Purpose::Treat, Purpose::Hpaymt, Purpose::Hoperat].iter().any(|root| purpose.is_within(*root))
        });
        let labels = match labels {
            None => Labels::Any,
            Some(labels) if permit && labels.contains(&Label::PsyThPn) => Labels::Only(vec![Label::PsyThPn]),
            Some(labels) => Labels::Only(labels),
        };
        let (mut from, mut until) = limits((times.0.map(u64::from), times.1.map(u64::from)));
        let (mut policy, mut document) = (hashes.0.map(Hash), hashes.1.map(Hash));
        let mut to = to;
        if permit {
            document = document.or(Some(DOCUMENT));
            if !ordinary {
                to = if to == Grantee::Any { DOCTOR } else { to };
                policy = policy.or(Some(POLICY));
                (from, until) = (None, until.or(Some(1_800_000_000_000)));
            }
        }
        let month = |number: u16| Month::new(1800 + u32::from(number) / 12 % 8_000, 1 + u32::from(number) % 12).unwrap();
        let (first, end) = limits((months.0.map(month), months.1.map(month)));
        let (uses, delegable, parent) = permits;
        Rule {
            kind,
            to,
            purposes: if all { Purposes::All } else { Purposes::Only(only) },
            actions,
            categories,
            records: records.into_iter().map(RecordId).collect(),
            labels,
            data_period: (first.is_some() || end.is_some()).then_some(DataPeriod { from: first, until: end }),
            from: from.map(TimestampMs),
            until: until.filter(|until| *until > 0).map(TimestampMs),
            max_uses: uses.filter(|uses| permit && *uses > 0),
            delegable: permit && delegable,
            parent: parent.filter(|_| permit).map(GrantId),
            policy,
            document,
        }
    }
}

fn stated(rule: Rule) -> StatedGrant {
    StatedGrant {
        grant: GrantId([7; 16]),
        patient: PATIENT,
        rule,
        source: GrantSource::Patient,
        created: TimestampMs(1_780_000_000_123),
        revoked: false,
    }
}

proptest! {
    #[test]
    fn what_goes_out_comes_back_the_same(rule in any_rule()) {
        let written = write_consent(&stated(rule.clone()), &[CLINIC]);
        // With nothing in the directory: the ledger's own names need none.
        let read = read_consent(written.to_string().as_bytes(), PATIENT, None, &Directory::default(), &Tables::built_in());
        prop_assert_eq!(read.unwrap(), ConsentPlan { patient: PATIENT, rules: vec![rule] });
    }

    #[test]
    fn no_change_of_a_consent_panics_or_is_echoed(rule in any_rule(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = write_consent(&stated(rule), &[]).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(faults) = read_consent(&bytes, PATIENT, None, &Directory::default(), &Tables::built_in()) {
            for fault in faults {
                let named = |c: char| c.is_ascii_alphanumeric() || "[].".contains(c);
                prop_assert!(fault.path.chars().all(named) && fault.to_string().len() < 400, "{}", fault);
            }
        }
    }
}

#[test]
fn what_goes_out_is_of_pcfs_shape() {
    let own = Rule {
        max_uses: Some(3),
        categories: vec![Category::Lab],
        ..rule(GrantKind::Permit, DOCTOR, &[Purpose::Treat])
    };
    let written = write_consent(&stated(own), &[CLINIC]);
    for required in
        ["status", "scope", "category", "patient", "dateTime", "performer", "organization", "sourceReference"]
    {
        assert!(written.get(required).is_some(), "{required}");
    }
    assert_eq!(written["policy"], json!([{"uri": format!("urn:epione:policy:{POLICY}")}]));
    assert_eq!(written["dateTime"], "2026-05-28T20:26:40.123Z");
    let provision = written["provision"].as_object().unwrap();
    assert_eq!(provision["type"], "permit");
    assert_eq!(provision["actor"][0]["role"]["coding"][0]["code"], "IRCP");
    for forbidden in ["action", "class", "code", "provision"] {
        assert!(!provision.contains_key(forbidden), "{forbidden}");
    }
    assert_eq!(provision["modifierExtension"][0]["url"], "urn:epione:rule");
    let ended = StatedGrant { revoked: true, ..stated(rule(GrantKind::Deny, Grantee::Any, &[])) };
    assert_eq!(faults(&write_consent(&ended, &[])), ["status CONSENT_NOT_ACTIVE"]);
}
