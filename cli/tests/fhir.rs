//! FHIR by the command line: a Consent in, consents, audit events, history and accounting out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]
#![allow(dead_code, unused_imports, reason = "the support module serves other tests too")]

mod support;

use serde_json::{Value, json};
use support::{Testnet, arg, epione};

fn actor(reference: &str) -> Value {
    json!({
        "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]},
        "reference": {"reference": reference},
    })
}

/// Treatment by the hospital is permitted, but not by its doctor.
fn consent() -> Value {
    json!({
        "resourceType": "Consent", "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "patient": {"reference": "Patient/Wilhelmina"},
        "policy": [{"uri": "http://example.org/policy"}],
        "provision": {
            "type": "permit", "actor": [actor("Organization/h")],
            "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}],
            "provision": [{"type": "deny", "actor": [actor("Practitioner/d")]}],
        },
    })
}

#[test]
fn a_consent_goes_in_and_all_that_came_of_it_goes_out() {
    let net = Testnet::up(1);
    net.as_("hospital0/doctor", &["patient", "register", "--name", "anna"]).ok();
    let body = net.file("lab.txt", b"potassium 4.1 mmol/l");
    let args = [
        "record",
        "register",
        arg(&body),
        "--patient",
        "anna",
        "--category",
        "LAB",
        "--month",
        "2026-07",
        "--discard",
    ];
    let record = net.as_("hospital0/doctor", &args).ok().json()["record"].as_str().unwrap().to_owned();

    // Refused, with every reason; then shown; then submitted, the denial first.
    let directory = json!({
        "references": {"Patient/Wilhelmina": "patient:anna", "Organization/h": "org:hospital0", "Practitioner/d": "person:hospital0/doctor"},
        "policies": {"http://example.org/policy": "ab".repeat(32)},
    });
    let directory = net.file("directory.json", directory.to_string().as_bytes());
    let import = |name: &str, consent: &Value, more: &[&str]| {
        let file = net.file(name, consent.to_string().as_bytes());
        let args = ["consent", "import", arg(&file), "--patient", "anna", "--directory", arg(&directory)];
        net.as_("patients/anna", &[&args, more].concat())
    };
    let mut typeless = consent();
    typeless["provision"].as_object_mut().unwrap().remove("type");
    typeless["status"] = json!("draft");
    for more in [[].as_slice(), &["--dry-run"]] {
        let refused = import("typeless.json", &typeless, more).fails(1, &[]);
        assert!(!format!("{refused:?}").contains("Wilhelmina"), "{refused:?}");
        let refused = refused.json();
        let reasons: Vec<&str> = refused["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["reason"].as_str().unwrap())
            .collect();
        assert_eq!(reasons, ["CONSENT_NOT_ACTIVE", "CONSENT_TYPE_MISSING"]);
        assert_eq!(
            (&refused["accepted"], &refused["faults"][1]["path"]),
            (&json!(false), &json!("provision.type"))
        );
    }
    let listed = || net.as_("patients/anna", &["consent", "list", "--patient", "anna"]).ok().json();
    let shown = import("consent.json", &consent(), &["--dry-run"]).ok().json();
    assert_eq!((shown["rules"].as_array().unwrap().len(), listed()), (2, json!([])), "nothing was submitted");
    let rows = import("consent.json", &consent(), &[]).ok().json();
    let kinds: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["kind"]).collect();
    assert_eq!((kinds, listed().as_array().unwrap().len()), (vec![&json!("DENY"), &json!("PERMIT")], 2));
    let wrong = net.file("wrong.json", br#"{"references": {"Patient/Wilhelmina": "patient:nobody"}}"#);
    let file = net.beside("consent.json");
    let args =
        ["consent", "import", arg(&file), "--patient", "anna", "--directory", arg(&wrong), "--dry-run"];
    let refused = net.as_("patients/anna", &args).fails(1, &["1 entries"]);
    assert!(!format!("{refused:?}").contains("Wilhelmina"), "{refused:?}");

    // What the ledger holds comes out as Consents that mean the same, without a directory.
    let bundle = net.as_("patients/anna", &["consent", "export", "--patient", "anna"]).ok().json();
    let consents: Vec<&Value> =
        bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]).collect();
    assert_eq!((consents.len(), &consents[0]["organization"][0]["type"]), (2, &json!("Organization")));
    let mut again: Vec<Value> = Vec::new();
    for consent in consents {
        let file = net.file("exported.json", consent.to_string().as_bytes());
        let args = ["consent", "import", arg(&file), "--patient", "anna", "--dry-run"];
        again.extend(net.as_("patients/anna", &args).ok().json()["rules"].as_array().unwrap().clone());
    }
    for rule in shown["rules"].as_array().unwrap() {
        assert!(again.contains(rule), "{rule} in {again:?}");
    }

    // The doctor is denied by it; the patient reads.
    net.as_("hospital0/doctor", &["access", "record", &record]).fails(3, &[]);
    net.as_("patients/anna", &["access", "record", &record, "--role", "PATIENT", "--purpose", "PATRQT"]).ok();
    let lines = net.as_("patients/anna", &["access", "export", "--patient", "anna", "--ndjson"]).ok().stdout;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&str> = events.iter().map(|event| event["type"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["110113", "110113", "110106"], "denied; permitted and disclosed");
    assert_eq!((&events[0]["outcome"], &events[0]["outcomeDesc"]), (&json!("8"), &json!("DENY_EXPLICIT")));

    // The patient is told by each law what it wants told.
    let account = |regime: &str, more: &[&str]| {
        let args = ["access", "accounting", "--patient", "anna", "--regime", regime];
        net.as_("patients/anna", &[&args, more].concat()).ok()
    };
    let told = |regime: &str| account(regime, &[]).json()["disclosures"].as_array().unwrap().clone();
    assert_eq!((told("GDPR").len(), told("HIPAA").len(), told("PART2").len()), (2, 0, 0));
    assert_eq!(told("GDPR")[0]["recipient_name"], "hospital0/doctor");
    let dir = net.dir();
    let format = |format: &str| {
        let args = ["access", "accounting", "--patient", "anna", "--regime", "GDPR", "--format", format];
        epione(&[&args[..], &["--as", "patients/anna", "--testnet", arg(&dir)]].concat()).ok().stdout
    };
    assert_eq!(format("csv").lines().count(), 3);
    assert!(format("text").contains("2 disclosures."));
    let early = account("GDPR", &["--until", "2020-01-01"]).json();
    assert_eq!(
        (&early["until"], early["disclosures"].as_array().unwrap().len()),
        (&json!("2020-01-01T00:00:00.000Z"), 0)
    );

    // And the record's history; the doctor, who is denied, may no longer ask for it.
    net.as_("hospital0/doctor", &["record", "provenance", &record]).fails(1, &["NOT_ALLOWED"]);
    let bundle = net.as_("patients/anna", &["record", "provenance", &record]).ok().json();
    let history = bundle["entry"].as_array().unwrap();
    let first = &history[0]["resource"];
    assert_eq!((history.len(), &first["activity"]["coding"][0]["code"]), (1, &json!("CREATE")));
    assert_eq!(first["agent"].as_array().unwrap().len(), 2, "custodian and author");
}
