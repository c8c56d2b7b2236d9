//! FHIR bundles as hospitals hold them: *a bundle is planned whole or refused, and what is said of it quotes nothing*. Spaces
//! between tokens change nothing (no PHI on the ledger or in errors: cli/tests/phi.rs looks for it in the running system).
//!
//! A Consent becomes rules that its own writer could have meant, or is refused whole, with every fault.
//!
//! An input is a bundle or a Consent.

use std::sync::LazyLock;

use epione_client::fhir::consent::{MAX_RULES, StatedGrant, read_consent, write_consent};
use epione_client::fhir::{Directory, ImportPlan, Tables, Target, read_bundle};
use epione_proto::v1::GrantSource;
use epione_types::call::{GrantKind, Grantee, Month, Person, Purposes};
use epione_types::id::{GrantId, OrgId, PatientId, TimestampMs};
use serde_json::Value;

use crate::Outcome;

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::built_in);

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    if let accepted @ Outcome::Accepted = consent(bytes) {
        return accepted;
    }
    let undated = Month::new(2024, 1);
    let plan = match read_bundle(bytes, &TABLES, undated) {
        Ok(plan) => plan,
        Err(error) => {
            let named = |c: char| c.is_ascii_alphanumeric() || "[]._-".contains(c);
            assert!(error.path.chars().all(named), "a path of FHIR's names and numbers: {error}");
            assert!(error.to_string().len() < 300, "{error}");
            return Outcome::Refused;
        }
    };
    for record in &plan.records {
        assert!(record.patient < plan.patients.len());
        assert!(record.labels.is_sorted_by(|a, b| a < b), "labels are distinct, ascending");
        assert!(serde_json::from_slice::<Value>(record.body.expose()).is_ok(), "a body is JSON");
    }
    let spaced = spread(bytes);
    assert_eq!(read_bundle(&spaced, &TABLES, undated).as_ref(), Ok(&plan), "spaces mean nothing");
    // Without a month for them, undated records are refused and nothing else changes.
    if let Ok(dated) = read_bundle(bytes, &TABLES, None) {
        assert_eq!(dated, plan);
    }
    let ImportPlan { patients, records, references } = &plan;
    Outcome::accepted(patients.len() + records.len() + references > 0)
}

const PATIENT: PatientId = PatientId([1; 16]);

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let mut directory = Directory::default();
    directory.add_reference("Patient/a", Target::Who(Grantee::Person(Person::Patient(PATIENT))));
    directory.add_reference("Organization/o", Target::Who(Grantee::Org(OrgId([2; 16]))));
    directory
});

/// What is said of a Consent is bounded and quotes nothing; the rules it became say themselves again.
fn consent(bytes: &[u8]) -> Outcome {
    let plan = match read_consent(bytes, PATIENT, None, &DIRECTORY, &TABLES) {
        Ok(plan) => plan,
        Err(faults) => {
            assert!(!faults.is_empty(), "refused for a reason");
            for fault in faults {
                let named = |c: char| c.is_ascii_alphanumeric() || "[].".contains(c);
                assert!(fault.path.chars().all(named), "a path of FHIR's names and numbers: {fault}");
                assert!(fault.to_string().len() < 400, "{fault}");
            }
            return Outcome::Refused;
        }
    };
    assert!((1..=MAX_RULES).contains(&plan.rules.len()));
    assert_eq!(read_consent(&spread(bytes), PATIENT, None, &DIRECTORY, &TABLES).as_ref(), Ok(&plan));
    for rule in plan.rules {
        assert!(rule.kind == GrantKind::Deny || rule.purposes != Purposes::All, "no permit for everything");
        let stated = StatedGrant {
            grant: GrantId([3; 16]),
            patient: PATIENT,
            rule,
            source: GrantSource::Patient,
            created: TimestampMs(0),
            revoked: false,
        };
        let written = write_consent(&stated, &[]).to_string();
        let again = read_consent(written.as_bytes(), PATIENT, None, &Directory::default(), &TABLES);
        assert_eq!(again.map(|plan| plan.rules), Ok(vec![stated.rule]));
    }
    Outcome::Accepted
}

/// A space around every token that may have one.
fn spread(bytes: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped, mut out) = (false, false, Vec::new());
    for byte in bytes {
        let structural = !in_string && b"{}[]:,".contains(byte);
        if structural {
            out.push(b' ');
        }
        out.push(*byte);
        if structural {
            out.push(b'\n');
        }
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else {
            in_string = *byte == b'"';
        }
    }
    out
}

/// Inputs to begin with: the smallest bundles of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let patient = r#"{"fullUrl":"urn:uuid:a","resource":{"resourceType":"Patient","id":"a"}}"#;
    let subject = r#""subject":{"reference":"urn:uuid:a"}"#;
    let resources = [
        format!(r#"{{"resourceType":"Observation",{subject},"effectiveDateTime":"2024-05-17T08:30:00+02:00","valueQuantity":{{"value":1.10}}}}"#),
        format!(r#"{{"resourceType":"Condition",{subject},"onsetDateTime":"2023","code":{{"coding":[{{"system":"http://snomed.info/sct","code":"86406008"}}]}}}}"#),
        format!(r#"{{"resourceType":"MedicationRequest",{subject},"authoredOn":"2020-01","meta":{{"security":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PSY"}}]}}}}"#),
        r#"{"resourceType":"Immunization","patient":{"reference":"Patient/a"},"occurrenceDateTime":"2024-05-17"}"#.to_owned(),
        format!(r#"{{"resourceType":"DiagnosticReport",{subject},"contained":[{{"resourceType":"Specimen","meta":{{"security":[{{"code":"R"}}]}}}}]}}"#),
        r#"{"resourceType":"Organization","name":"x"}"#.to_owned(),
        format!(r#"{{"resourceType":"Encounter",{subject},"period":{{"start":"2021-02-03"}},"class":{{"code":"AMB"}}}}"#),
    ];
    let bundle = |entries: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#).into_bytes()
    };
    let mut seeds = vec![bundle(""), bundle(patient)];
    let consent = |provision: &str| {
        format!(r#"{{"resourceType":"Consent","status":"active","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"patient":{{"reference":"Patient/a"}},"policy":[{{"uri":"urn:epione:policy:none"}}],"provision":{provision}}}"#).into_bytes()
    };
    let actor = r#""actor":[{"role":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationType","code":"IRCP"}]},"reference":{"reference":"Organization/o"}}]"#;
    let purpose =
        r#""purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT"}]"#;
    let label =
        r#""securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]"#;
    seeds.push(consent(r#"{"type":"deny"}"#));
    seeds.push(consent(&format!(r#"{{"type":"permit",{actor},{purpose},"period":{{"start":"2026-01-01","end":"2026-12-31T23:59:59+01:00"}},"provision":[{{"type":"deny",{label}}}]}}"#)));
    seeds.push(consent(&format!(r#"{{"type":"permit",{purpose},"dataPeriod":{{"end":"2025-02-28"}},"modifierExtension":[{{"url":"urn:epione:rule","extension":[{{"url":"action","valueCode":"WRITE"}},{{"url":"maxUses","valuePositiveInt":1}}]}}]}}"#)));
    seeds.extend(resources.iter().map(|one| bundle(&format!(r#"{patient},{{"resource":{one}}}"#))));
    seeds
}
