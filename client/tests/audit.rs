//! Accesses and records in FHIR's words, and the accounting of disclosures: who is told what by which law.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use epione_client::LedgerEvent;
use epione_client::fhir::{
    Access, Accounting, KnownRecord, RecordChange, Regime, audit_events, collection, provenance,
};
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::call::{Emergency, Person};
use epione_types::codes::{
    Action, Category, Decision, EmergencyReason, Label, Obligation, Purpose, Reason, RecordStatus, Role,
};
use epione_types::event::Event;
use epione_types::id::{
    ChainId, EventCursor, GrantId, OrgId, PatientId, PractitionerId, RecordId, TimestampMs,
};
use epione_types::{Hash, Height, TxId};
use serde_json::{Value, json};

const PATIENT: PatientId = PatientId([1; 16]);
const HOSPITAL: OrgId = OrgId([2; 16]);
const CLINIC: OrgId = OrgId([3; 16]);
const DOCTOR: Person = Person::Practitioner(CLINIC, PractitionerId([4; 16]));
const LAB: RecordId = RecordId([5; 16]);
const ADDICTION: RecordId = RecordId([6; 16]);
const UNKNOWN: RecordId = RecordId([7; 16]);
const CHAIN: ChainId = ChainId([8; 32]);
/// 2026-06-15T12:00:00Z.
const NOW: TimestampMs = TimestampMs(1_781_524_800_000);

/// A doctor of a clinic read the lab record for treatment by a grant, just now.
fn access() -> Access {
    Access {
        height: Height(7),
        index: 3,
        at: NOW,
        record: LAB,
        patient: PATIENT,
        who: Some(DOCTOR),
        role: Role::Physician,
        action: Action::Read,
        purpose: Purpose::Treat,
        decision: Decision::Permit,
        reason: Reason::PermitGrant,
        grant: Some(GrantId([9; 16])),
        obligations: vec![Obligation::Audit],
        emergency: None,
    }
}

/// A public health authority read under its mandate: what HIPAA's accounting is about.
fn mandated() -> Access {
    let (role, purpose, reason) = (Role::PublicHealth, Purpose::PubHlth, Reason::PermitMandated);
    Access { role, purpose, reason, grant: None, ..access() }
}

fn records() -> BTreeMap<RecordId, KnownRecord> {
    let record =
        |category, labels: &[Label]| KnownRecord { custodian: HOSPITAL, category, labels: labels.to_vec() };
    BTreeMap::from([
        (LAB, record(Category::Lab, &[])),
        (ADDICTION, record(Category::ClinicalNote, &[Label::Sud, Label::Part2])),
    ])
}

fn account(regime: Regime, accesses: &[Access]) -> Accounting {
    Accounting::new(regime, PATIENT, (None, None), NOW, accesses.to_vec(), &records(), |_| None)
}

fn is_told(regime: Regime, access: Access) -> bool {
    account(regime, &[access]).len() == 1
}

#[test]
fn hipaa_leaves_out_what_the_law_leaves_out() {
    assert!(is_told(Regime::Hipaa, mandated()));
    for (what, access) in [
        ("treatment", access()),
        (
            "treatment in an emergency",
            Access { purpose: Purpose::Btg, reason: Reason::PermitBreakGlass, ..access() },
        ),
        ("payment", Access { purpose: Purpose::ClmAttch, ..mandated() }),
        ("operations", Access { purpose: Purpose::Fraud, ..mandated() }),
        (
            "to the individual",
            Access {
                role: Role::Patient,
                reason: Reason::PermitSubject,
                purpose: Purpose::PatRqt,
                ..mandated()
            },
        ),
        (
            "to a representative",
            Access { role: Role::Representative, purpose: Purpose::FamRqt, ..mandated() },
        ),
        ("under an authorization", Access { reason: Reason::PermitGrant, ..mandated() }),
        ("de-identified", Access { action: Action::DeidRead, ..mandated() }),
        ("written, not disclosed", Access { action: Action::Write, ..mandated() }),
        ("denied", Access { decision: Decision::Deny, reason: Reason::DenyNoMandate, ..mandated() }),
        ("of another patient", Access { patient: PatientId([0; 16]), ..mandated() }),
    ] {
        assert!(!is_told(Regime::Hipaa, access), "{what}");
    }
    // Six years: from 2020-06-15T12:00:00Z on.
    let first = TimestampMs(1_592_222_400_000);
    assert!(is_told(Regime::Hipaa, Access { at: first, ..mandated() }));
    assert!(!is_told(Regime::Hipaa, Access { at: TimestampMs(first.0 - 1), ..mandated() }));
    let all = (Some(TimestampMs(0)), Some(NOW));
    let of = |at| {
        Accounting::new(
            Regime::Hipaa,
            PATIENT,
            all,
            NOW,
            vec![Access { at, ..mandated() }],
            &records(),
            |_| None,
        )
    };
    assert_eq!((of(TimestampMs(first.0 - 1)).len(), of(NOW).len()), (1, 0), "half open, as asked for");
}

#[test]
fn part2_tells_of_records_with_its_label() {
    let of_addiction = Access { record: ADDICTION, ..access() };
    assert!(is_told(Regime::Part2, of_addiction.clone()));
    assert!(!is_told(Regime::Part2, access()));
    assert!(!is_told(Regime::Part2, Access { decision: Decision::Deny, ..of_addiction.clone() }));
    assert!(!is_told(
        Regime::Part2,
        Access { role: Role::Patient, reason: Reason::PermitSubject, ..of_addiction.clone() }
    ));
    // Records that the reader may not know: told if a duty gives them away, else counted.
    let unknown = Access { record: UNKNOWN, ..access() };
    let duty = vec![Obligation::Audit, Obligation::Part2EmergencyDoc];
    assert!(is_told(Regime::Part2, Access { obligations: duty, ..unknown.clone() }));
    let report = account(Regime::Part2, &[unknown, access()]);
    assert!(report.is_empty() && report.json()["records_unknown"] == 1);
    assert!(report.text().contains("1 more of records whose labels you may not know"));
    // In an emergency: recipient, discloser, time and nature (42 CFR 2.51).
    let emergency =
        Emergency { reason: EmergencyReason::Unconscious, text_commitment: Some(Hash([0xab; 32])) };
    let told = account(Regime::Part2, &[Access { emergency: Some(emergency), ..of_addiction }]).json();
    let told = &told["disclosures"][0];
    assert_eq!(told["recipient"], format!("{CLINIC}/{}", PractitionerId([4; 16])));
    assert_eq!(
        (&told["discloser"], &told["date"]),
        (&HOSPITAL.to_string().into(), &"2026-06-15T12:00:00.000Z".into())
    );
    assert_eq!(
        (&told["emergency"], &told["written_reason"]),
        (&"UNCONSCIOUS".into(), &"ab".repeat(32).into())
    );
}

#[test]
fn gdpr_tells_all() {
    let denied = Access { decision: Decision::Deny, reason: Reason::DenyNoGrant, grant: None, ..access() };
    let written = Access { action: Action::Write, ..access() };
    let own = Access { who: Some(Person::Patient(PATIENT)), role: Role::Patient, ..access() };
    assert_eq!(account(Regime::Gdpr, &[access(), denied, written, own, mandated()]).len(), 5);
}

#[test]
fn an_accounting_is_read_by_people_spreadsheets_and_programs() {
    let names = |_| Some("=HYPERLINK(\"http://x\"),\"Dr. \"\"B\"\"\"\r\nwith a name of her own".to_owned());
    let accesses = vec![access(), Access { who: None, role: Role::Guest, record: UNKNOWN, ..access() }];
    let report = Accounting::new(Regime::Gdpr, PATIENT, (None, None), NOW, accesses, &records(), names);
    let (csv, json, text) = (report.csv(), report.json(), report.text());
    let rows = parse_csv(&csv);
    assert!(rows.len() == 3 && rows.iter().all(|row| row.len() == rows[0].len()), "{rows:?}");
    let cell =
        |row: usize, name: &str| rows[row][rows[0].iter().position(|head| head == name).unwrap()].as_str();
    assert_eq!((cell(1, "date"), cell(1, "purpose")), ("2026-06-15T12:00:00.000Z", "TREAT"));
    assert_eq!((cell(1, "category"), cell(1, "record")), ("LAB", LAB.to_string().as_str()));
    assert!(cell(1, "recipient_name").starts_with("'=HYPERLINK(\"http://x\"),"), "no formula, and quoted");
    assert_eq!((cell(2, "recipient"), cell(2, "category"), cell(2, "recipient_name")), ("guest", "", ""));
    // Programs are told the same.
    assert_eq!((&json["regime"], &json["from"]), (&"GDPR".into(), &Value::Null));
    for (number, told) in json["disclosures"].as_array().unwrap().iter().enumerate() {
        assert_eq!(told["record"], cell(number + 1, "record"));
        assert_eq!(told["height"], 7);
    }
    assert_eq!(json["disclosures"][1]["category"], Value::Null);
    for part in
        ["2026-06-15 12:00:00", "LAB", "PHYSICIAN", "TREAT", "READ PERMIT: PERMIT_GRANT", "2 disclosures."]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(account(Regime::Hipaa, &[access()]).text().contains("No disclosure."));
}

/// RFC 4180, as a spreadsheet reads it.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(core::mem::take(&mut cell)),
            '\r' if !quoted && chars.next_if_eq(&'\n').is_some() => {
                row.push(core::mem::take(&mut cell));
                rows.push(core::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    assert!(!quoted && cell.is_empty() && row.is_empty());
    rows
}

fn code_of(agent: &Value) -> &str {
    agent["type"]["coding"][0]["code"].as_str().unwrap()
}

/// What BALP's AuthZconsent wants: four agents, patient and consent and nothing else.
#[test]
fn a_decision_is_an_event_of_balps_shape() {
    let denied =
        Access { decision: Decision::Deny, reason: Reason::DenySensitivity, grant: None, ..access() };
    let events = audit_events(&denied, None, CHAIN);
    assert_eq!(events.len(), 1, "nothing was released");
    let event = &events[0];
    assert!(event["meta"]["profile"][0].as_str().unwrap().ends_with("IHE.BasicAudit.AuthZconsent"));
    assert_eq!(
        (&event["type"]["code"], &event["subtype"][0]["code"]),
        (&json!("110113"), &json!("AuthZ-Consent"))
    );
    assert_eq!((&event["action"], &event["recorded"]), (&json!("E"), &json!("2026-06-15T12:00:00.000Z")));
    assert_eq!((&event["outcome"], &event["outcomeDesc"]), (&json!("8"), &json!("DENY_SENSITIVITY")));
    let agents = event["agent"].as_array().unwrap();
    assert_eq!(agents.iter().map(code_of).collect::<Vec<_>>(), ["110150", "IRCP", "PROV", "authserver"]);
    let requestors: Vec<&Value> = agents.iter().map(|agent| &agent["requestor"]).collect();
    assert_eq!(requestors, [&json!(false), &json!(true), &json!(false), &json!(false)]);
    assert_eq!(agents[1]["purposeOfUse"][0]["coding"][0]["code"], "TREAT");
    assert_eq!(agents[2]["who"]["identifier"]["value"], CLINIC.to_string());
    assert_eq!(agents[3]["who"], event["source"]["observer"], "the authorizer is the source");
    assert!(agents[0]["network"].is_object());
    let entities = event["entity"].as_array().unwrap();
    assert_eq!(
        (entities.len(), &entities[0]["what"]["identifier"]["value"]),
        (2, &PATIENT.to_string().into())
    );
    assert_eq!(entities[1]["type"]["code"], "Consent");
    assert!(entities[1]["detail"].to_string().contains(&LAB.to_string()));
    let by_grant = audit_events(&access(), None, CHAIN);
    assert_eq!(by_grant[0]["outcome"], "0");
    assert_eq!(by_grant[0]["entity"][1]["what"]["identifier"]["value"], GrantId([9; 16]).to_string());
}

/// What BALP's PrivacyDisclosure.Source wants: source and recipient, custodian and authorizer, patient and data.
#[test]
fn a_release_is_a_disclosure_as_well() {
    let events = audit_events(&access(), records().get(&LAB), CHAIN);
    let event = &events[1];
    assert!(event["meta"]["profile"][0].as_str().unwrap().ends_with("PrivacyDisclosure.Source"));
    assert_eq!(
        (&event["type"]["code"], &event["subtype"][0]["code"]),
        (&json!("110106"), &json!("disclose"))
    );
    assert_eq!((&event["action"], &event["outcome"]), (&json!("R"), &json!("0")));
    let agents = event["agent"].as_array().unwrap();
    assert_eq!(
        agents.iter().map(code_of).collect::<Vec<_>>(),
        ["110153", "110152", "159541003", "429577009"]
    );
    assert_eq!(agents[0]["who"], event["source"]["observer"], "the source is the custodian itself");
    assert_eq!(agents[2]["who"]["identifier"]["value"], HOSPITAL.to_string());
    assert!(agents[0]["network"].is_object() && agents[1]["network"].is_object());
    let entities = event["entity"].as_array().unwrap();
    assert_eq!(entities[1]["what"]["identifier"]["value"], LAB.to_string());
    assert_ne!(events[0]["id"], events[1]["id"]);
    let written = Access { action: Action::Write, ..access() };
    assert_eq!(audit_events(&written, None, CHAIN).len(), 1, "writing discloses nothing");
    let bundle = collection(events.clone());
    assert_eq!((&bundle["type"], &bundle["entry"][1]["resource"]), (&json!("collection"), &events[1]));
}

#[test]
fn an_access_is_read_from_what_a_node_tells() {
    let wire = pb::AccessEvent {
        height: 7,
        index: 3,
        block_time_ms: NOW.0,
        record_id: raw(LAB.0),
        patient_id: raw(PATIENT.0),
        requester: Some(DOCTOR.into()),
        role: pb::Role::Physician.into(),
        action: pb::Action::Read.into(),
        purpose: pb::Purpose::Treat.into(),
        decision: pb::Decision::Permit.into(),
        reason: pb::Reason::PermitGrant.into(),
        grant_id: Some(raw([9; 16])),
        obligations: vec![pb::Obligation::Audit.into()],
        emergency: None,
    };
    assert_eq!(Access::try_from(&wire).unwrap(), access());
    assert!(Access::try_from(&pb::AccessEvent { role: 999, ..wire }).is_err());
}

#[test]
fn a_records_history_is_a_chain_of_provenance() {
    let told = |height, event| LedgerEvent {
        cursor: EventCursor { height: Height(height), index: 0 },
        time: NOW,
        tx_id: TxId([height.try_into().unwrap(); 32]),
        event,
    };
    let changed = |version, status| Event::RecordChanged {
        record: LAB,
        patient: PATIENT,
        custodian: HOSPITAL,
        version,
        status,
    };
    let events = [
        told(1, changed(1, RecordStatus::Draft)),
        told(2, changed(1, RecordStatus::Active)),
        told(3, changed(2, RecordStatus::Active)),
        told(4, changed(2, RecordStatus::EnteredInError)),
        told(5, changed(2, RecordStatus::Erased)),
        told(6, Event::PatientRegistered { patient: PATIENT, organisation: HOSPITAL, custodial: false }),
    ];
    let changes: Vec<RecordChange> = events.iter().filter_map(RecordChange::of).collect();
    let resources = provenance(&changes, Some(DOCTOR));
    let codes: Vec<&str> =
        resources.iter().map(|it| it["activity"]["coding"][0]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["CREATE", "ACTIVATE", "UPDATE", "NULLIFY", "DELETE"]);
    let version = |number| format!("{LAB}/{number}");
    assert_eq!(resources[2]["target"][0]["identifier"]["value"], version(2));
    assert_eq!(resources[2]["entity"][0]["what"]["identifier"]["value"], TxId([3; 32]).to_string());
    assert_eq!(resources[2]["entity"][1]["role"], "revision");
    assert_eq!(resources[2]["entity"][1]["what"]["identifier"]["value"], version(1));
    assert_eq!(resources[3]["entity"].as_array().unwrap().len(), 1, "the same version");
    // The author is known of the version in force alone.
    assert_eq!(
        resources.iter().map(|it| it["agent"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [1, 1, 2, 2, 2]
    );
    let registered = told(1, Event::RecordRegistered { record: LAB, patient: PATIENT, custodian: HOSPITAL });
    let one = provenance(&[RecordChange::of(&registered).unwrap()], None);
    assert_eq!((one.len(), &one[0]["activity"]["coding"][0]["code"]), (1, &json!("CREATE")));
}
