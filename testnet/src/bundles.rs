//! FHIR R4 bundles of invented people, from a seed: every test that imports runs from a bare clone.
//!
//! Shaped like what hospitals export (transaction bundles, `urn:uuid` references, a narrative that repeats the
//! name, codes in several systems, some resources without a date), and full of what must never reach a ledger: names,
//! birth dates, addresses, telephone numbers, social security and record numbers. [`phi_needles`] lists them for
//! a search. One seed, one bundle, byte for byte. Names are made of syllables; numbers are
//! in ranges that are never issued (SSN 9xx, telephone 555).
//!
//! Tested in `tests/import.rs`.

use std::collections::BTreeSet;

use epione_types::hash::Domain;
use serde_json::{Value, json};

/// Shorter strings are found everywhere and prove nothing.
const NEEDLE_BYTES_MIN: usize = 5;

/// The bundle of one invented patient. Every second patient has something sensitive: of each four, the
/// second has HIV by `meta.security`, the fourth an opioid disorder by its code alone.
#[must_use]
pub fn bundle(seed: u64, patient: u64) -> Value {
    let mut dice = Dice { seed, patient, draws: 0 };
    let person = Person::new(&mut dice);
    let mut entries = vec![person.resource.clone()];
    let organisation = dice.uuid();
    entries.push(json!({"resourceType": "Organization", "id": organisation, "name": format!("{} Clinic", dice.name(3))}));
    let practitioner = dice.uuid();
    entries.push(json!({
        "resourceType": "Practitioner", "id": practitioner,
        "name": [{"family": dice.name(3), "given": [dice.name(3)], "prefix": ["Dr."]}],
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": format!("99{}", dice.digits(8))}],
    }));
    for _ in 0..=dice.below(3) {
        visit(&mut dice, &person, &organisation, &mut entries);
    }
    match patient % 4 {
        1 => {
            let mut condition =
                condition(&mut dice, &person, "86406008", "Human immunodeficiency virus infection");
            put(
                &mut condition,
                "meta",
                json!({"security": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"},
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"},
                ]}),
            );
            entries.push(condition);
        }
        3 => entries.push(condition(&mut dice, &person, "5602001", "Opioid abuse")),
        _ => {}
    }
    // As exporters write them: without any date.
    let mut goal = person.record(&mut dice, "Goal", "subject");
    put(&mut goal, "lifecycleStatus", json!("active"));
    put(&mut goal, "description", json!({"text": "Walk every day"}));
    entries.push(goal);
    let entry: Vec<Value> = entries.into_iter().map(posted).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entry})
}

/// Everything in a bundle that says who somebody is, at least five bytes long, sorted: names, numbers, addresses,
/// birth dates, telephone numbers and the bundle's own ids of people. Works for any FHIR R4 bundle.
#[must_use]
pub fn phi_needles(bundle: &Value) -> Vec<String> {
    let mut needles = BTreeSet::new();
    for entry in bundle.get("entry").and_then(Value::as_array).into_iter().flatten() {
        let Some(resource) = entry.get("resource") else { continue };
        let kind = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        if ["Patient", "Practitioner", "RelatedPerson", "Person"].contains(&kind) {
            collect_strings(entry.get("fullUrl"), &mut needles);
            collect_strings(resource.get("id"), &mut needles);
            collect_personal(resource, &mut needles);
        }
    }
    needles.retain(|needle| needle.len() >= NEEDLE_BYTES_MIN);
    needles.into_iter().collect()
}

/// Elements of a person's resource that identify, wherever they stand in it. `value` is a number or an address of
/// an identifier or a telecom.
const PERSONAL: [&str; 8] =
    ["family", "given", "line", "city", "postalCode", "birthDate", "deceasedDateTime", "value"];

fn collect_personal(value: &Value, needles: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let is_name =
                object.get("url").and_then(Value::as_str).is_some_and(|url| url.ends_with("MaidenName"));
            for (key, value) in object {
                if PERSONAL.contains(&key.as_str()) || (is_name && key == "valueString") {
                    collect_strings(Some(value), needles);
                }
                collect_personal(value, needles);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect_personal(value, needles)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_strings(value: Option<&Value>, needles: &mut BTreeSet<String>) {
    match value {
        Some(Value::String(text)) => {
            needles.insert(text.clone());
        }
        Some(Value::Array(list)) => list.iter().for_each(|value| collect_strings(Some(value), needles)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
    }
}

/// The invented patient.
struct Person {
    id: String,
    name: String,
    resource: Value,
}

impl Person {
    fn new(dice: &mut Dice) -> Self {
        let (id, given, family) = (dice.uuid(), dice.name(3), dice.name(4));
        let name = format!("{given} {family}");
        let birth_date =
            format!("{}-{:02}-{:02}", 1930 + dice.below(90), 1 + dice.below(12), 1 + dice.below(28));
        let number = |kind: &str, system: &str, value: String| {
            let kind = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}]});
            json!({"type": kind, "system": system, "value": value})
        };
        let ssn = format!("9{}-{}-{}", dice.digits(2), dice.digits(2), dice.digits(4));
        let resource = json!({
            "resourceType": "Patient", "id": id,
            "text": {"status": "generated", "div": format!("<div>{name}, born {birth_date}</div>")},
            "identifier": [
                number("MR", "urn:invented:record-number", format!("MRN-{}", dice.digits(8))),
                number("SS", "http://hl7.org/fhir/sid/us-ssn", ssn),
            ],
            "name": [{"use": "official", "family": family, "given": [given]}],
            "telecom": [
                {"system": "phone", "value": format!("555-{}-{}", dice.digits(3), dice.digits(4))},
                {"system": "email", "value": format!("{}@example.org", dice.name(4).to_lowercase())},
            ],
            "gender": dice.pick(&["female", "male"]),
            "birthDate": birth_date,
            "address": [{
                "line": [format!("{} {} Street", 1 + dice.below(999), dice.name(3))],
                "city": format!("{}ville", dice.name(2)),
                "postalCode": dice.digits(5),
            }],
        });
        Self { id, name, resource }
    }

    /// A resource about the patient: `element` names the patient, and repeats the name, as exporters do.
    fn record(&self, dice: &mut Dice, resource_type: &str, element: &str) -> Value {
        let patient = json!({"reference": format!("urn:uuid:{}", self.id), "display": self.name});
        json!({"resourceType": resource_type, "id": dice.uuid(), element: patient})
    }
}

fn put(resource: &mut Value, field: &str, value: Value) {
    if let Some(object) = resource.as_object_mut() {
        object.insert(field.to_owned(), value);
    }
}

fn posted(resource: Value) -> Value {
    let text = |field: &str| resource.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (url, method) =
        (format!("urn:uuid:{}", text("id")), json!({"method": "POST", "url": text("resourceType")}));
    json!({"fullUrl": url, "resource": resource, "request": method})
}

fn coded(system: &str, code: &str, display: &str) -> Value {
    json!({"coding": [{"system": system, "code": code, "display": display}], "text": display})
}

fn condition(dice: &mut Dice, person: &Person, code: &str, display: &str) -> Value {
    let mut condition = person.record(dice, "Condition", "subject");
    put(&mut condition, "code", coded("http://snomed.info/sct", code, display));
    put(&mut condition, "onsetDateTime", json!(dice.time()));
    condition
}

/// One visit: an encounter and what came of it.
fn visit(dice: &mut Dice, person: &Person, organisation: &str, entries: &mut Vec<Value>) {
    let when = dice.time();
    let mut encounter = person.record(dice, "Encounter", "subject");
    put(&mut encounter, "status", json!("finished"));
    put(&mut encounter, "period", json!({"start": when, "end": when}));
    put(&mut encounter, "serviceProvider", json!({"reference": format!("urn:uuid:{organisation}")}));
    entries.push(encounter);

    let (code, display) = *dice.pick(&[
        ("38341003", "Hypertension"),
        ("195967001", "Asthma"),
        ("10509002", "Acute bronchitis"),
    ]);
    entries.push(condition(dice, person, code, display));

    let observations =
        [("laboratory", "2339-0", "Glucose"), ("vital-signs", "8480-6", "Systolic blood pressure")];
    for (category, code, display) in observations {
        let mut observation = person.record(dice, "Observation", "subject");
        let system = "http://terminology.hl7.org/CodeSystem/observation-category";
        put(&mut observation, "category", json!([coded(system, category, category)]));
        put(&mut observation, "code", coded("http://loinc.org", code, display));
        put(&mut observation, "effectiveDateTime", json!(when));
        put(&mut observation, "valueQuantity", json!({"value": 60 + dice.below(100), "unit": "1"}));
        entries.push(observation);
    }

    if dice.below(2) == 0 {
        let mut immunization = person.record(dice, "Immunization", "patient");
        put(&mut immunization, "vaccineCode", coded("http://hl7.org/fhir/sid/cvx", "140", "Influenza"));
        put(&mut immunization, "occurrenceDateTime", json!(when));
        entries.push(immunization);
    } else {
        let mut medication = person.record(dice, "MedicationRequest", "subject");
        let system = "http://www.nlm.nih.gov/research/umls/rxnorm";
        put(&mut medication, "medicationCodeableConcept", coded(system, "313782", "Acetaminophen 325 MG"));
        put(&mut medication, "authoredOn", json!(when));
        entries.push(medication);
    }

    let mut claim = person.record(dice, "Claim", "patient");
    put(&mut claim, "billablePeriod", json!({"start": when, "end": when}));
    put(&mut claim, "total", json!({"value": 20 + dice.below(500), "currency": "USD"}));
    entries.push(claim);
}

/// Numbers from a seed, a patient and a counter.
struct Dice {
    seed: u64,
    patient: u64,
    draws: u64,
}

impl Dice {
    const DRAW: Domain = Domain::new("epione/testnet-bundles/v1");
    const SYLLABLES: [&str; 20] = [
        "ba", "dru", "fe", "gli", "ho", "ju", "ka", "lem", "mo", "nis", "or", "pel", "qui", "ras", "sto",
        "tur", "ulf", "ven", "wik", "zan",
    ];

    fn bytes(&mut self) -> [u8; 32] {
        self.draws += 1;
        let parts = [self.seed, self.patient, self.draws].map(u64::to_le_bytes);
        Self::DRAW.hash_parts(&parts.each_ref().map(|part| part.as_slice())).0
    }

    /// At least 0, below `end`.
    fn below(&mut self, end: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % end
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let at = self.below(list.len() as u64);
        list.get(usize::try_from(at).expect("below a length")).expect("below the length")
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"))).collect()
    }

    fn name(&mut self, syllables: usize) -> String {
        let name: String = (0..syllables).map(|_| *self.pick(&Self::SYLLABLES)).collect();
        let (first, rest) = name.split_at(1);
        first.to_uppercase() + rest
    }

    fn uuid(&mut self) -> String {
        let hex: String = self.bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let cuts = [0..8, 8..12, 12..16, 16..20, 20..32];
        cuts.map(|cut| hex.get(cut).unwrap_or_default().to_owned()).join("-")
    }

    /// An instant between 2015 and 2025, as FHIR writes one.
    fn time(&mut self) -> String {
        let (year, month, day) = (2015 + self.below(11), 1 + self.below(12), 1 + self.below(28));
        format!("{year}-{month:02}-{day:02}T{:02}:{:02}:00+00:00", self.below(24), self.below(60))
    }
}
