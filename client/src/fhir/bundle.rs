//! From a bundle's bytes to a plan: who its patients are, and what each record is to the ledger.

use std::collections::BTreeMap;

use epione_types::call::Month;
use epione_types::codes::{Category, Label};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{FhirError, MAX_BUNDLE_BYTES, MAX_ENTRIES, Private, Problem, Tables, json};

/// What a bundle comes to. Nothing random yet, nothing signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPlan {
    /// Patients to enrol, in the bundle's order.
    pub patients: Vec<PatientDraft>,
    /// Records to register, in the bundle's order.
    pub records: Vec<RecordDraft>,
    /// How many entries are of the directory (organisations, practitioners) and go nowhere.
    pub references: usize,
}

/// A patient of a bundle. All of it stays with the custodian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientDraft {
    /// The bundle's own name of the patient (`fullUrl`, else `Patient/id`), if it has one.
    pub local: Private<Option<String>>,
    /// The Patient resource.
    pub body: Private<Vec<u8>>,
}

/// A clinical record of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDraft {
    /// FHIR's resource type, such as `Observation`.
    pub resource_type: String,
    /// Kind of record on the ledger.
    pub category: Category,
    /// Sensitivity labels, distinct, ascending.
    pub labels: Vec<Label>,
    /// Month of the service.
    pub service_month: Month,
    /// Where the month is from.
    pub dated: Dated,
    /// Which of [`ImportPlan::patients`].
    pub patient: usize,
    /// The resource as sent, without whitespace between tokens.
    pub body: Private<Vec<u8>>,
}

/// Where a record's month is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// The resource's own date. A date of a year alone counts as its January.
    Itself,
    /// The month the caller gave for resources without a date.
    Given,
}

/// The parts of a bundle that matter; the rest is skipped.
#[derive(Deserialize)]
struct BundleText<'a> {
    #[serde(rename = "resourceType", default)]
    resource_type: Value,
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow, default)]
    entry: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct EntryText<'a> {
    #[serde(rename = "fullUrl", default)]
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// One entry, read.
struct Entry {
    path: String,
    full_url: Option<String>,
    resource_type: String,
    resource: Value,
    body: Vec<u8>,
}

/// Plans the import of one bundle (transaction, batch, collection or document).
///
/// `undated` is the month for resources that hold no date; without it they are refused. It is a claim about when
/// the service was, by which consents select, so a custodian chooses it, not this function.
///
/// # Errors
/// The first fault, by its JSON path. Never quotes the bundle.
pub fn read_bundle(bytes: &[u8], tables: &Tables, undated: Option<Month>) -> Result<ImportPlan, FhirError> {
    let entries = read_entries(bytes)?;
    let mut names = BTreeMap::new();
    let mut patients = Vec::new();
    for entry in entries.iter().filter(|entry| entry.resource_type == "Patient") {
        let id = json::text(&entry.resource, "id").map(|id| format!("Patient/{id}"));
        for (name, field) in [(&entry.full_url, "fullUrl"), (&id, "resource.id")] {
            if let Some(name) = name
                && names.insert(name.clone(), patients.len()).is_some_and(|other| other != patients.len())
            {
                return Err(Problem::SamePatient.at(format!("{}.{field}", entry.path)));
            }
        }
        let local = Private::new(entry.full_url.clone().or(id));
        patients.push(PatientDraft { local, body: Private::new(entry.body.clone()) });
    }
    let mut plan = ImportPlan { patients, records: Vec::new(), references: 0 };
    for entry in entries {
        if tables.is_reference(&entry.resource_type) {
            plan.references += 1;
        } else if entry.resource_type != "Patient" {
            plan.records.push(record(entry, tables, undated, &names)?);
        }
    }
    Ok(plan)
}

fn record(
    entry: Entry,
    tables: &Tables,
    undated: Option<Month>,
    patients: &BTreeMap<String, usize>,
) -> Result<RecordDraft, FhirError> {
    let Entry { path, resource_type, resource, body, .. } = entry;
    let place = |field: &str| format!("{path}.resource.{field}");
    let (field, reference) =
        tables.patient(&resource).ok_or_else(|| Problem::NoPatient.at(format!("{path}.resource")))?;
    let patient = reference.as_str().and_then(|name| patients.get(name));
    let patient = *patient.ok_or_else(|| Problem::UnknownPatient.at(place(field)))?;
    let (service_month, dated) = match (tables.date(&resource), undated) {
        (Some((field, date)), _) => {
            let month = date.as_str().and_then(month);
            (month.ok_or_else(|| Problem::Wanted("a FHIR date").at(place(field)))?, Dated::Itself)
        }
        (None, Some(month)) => (month, Dated::Given),
        (None, None) => return Err(Problem::Undated.at(format!("{path}.resource"))),
    };
    let labels = tables.labels(&resource, security(&resource, &path)?.into_iter());
    let category = tables.category(&resource_type, &resource, &labels);
    let body = Private::new(body);
    Ok(RecordDraft { resource_type, category, labels, service_month, dated, patient, body })
}

/// Security codings of a resource and of those it contains. Of another shape than FHIR's they are an error:
/// a label must not get lost in a misspelling.
fn security<'a>(resource: &'a Value, path: &str) -> Result<Vec<&'a Value>, FhirError> {
    if resource.get("contained").is_some_and(|contained| !contained.is_array()) {
        return Err(Problem::Wanted("a list").at(format!("{path}.resource.contained")));
    }
    let mut codings = Vec::new();
    for holder in core::iter::once(resource).chain(json::list(resource.get("contained"))) {
        match holder.get("meta") {
            None => {}
            Some(Value::Object(meta)) => match meta.get("security") {
                None => {}
                Some(Value::Array(list)) => codings.extend(list),
                Some(_) => return Err(Problem::Wanted("a list").at(format!("{path}.resource.meta.security"))),
            },
            Some(_) => return Err(Problem::Wanted("an object").at(format!("{path}.resource.meta"))),
        }
    }
    Ok(codings)
}

/// Month of a FHIR date, dateTime or instant: yyyy, yyyy-mm, yyyy-mm-dd or longer.
fn month(date: &str) -> Option<Month> {
    match date.get(..7) {
        None if date.len() == 4 => Month::new(digits(date)?, 1),
        Some(head) if matches!(date.as_bytes().get(7), None | Some(b'-')) => head.parse().ok(),
        _ => None,
    }
}

/// A number of digits alone; `parse` would take a sign too.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn read_entries(bytes: &[u8]) -> Result<Vec<Entry>, FhirError> {
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(Problem::TooLarge { found: bytes.len() }.at("bundle"));
    }
    // serde_json looks only at what is not skipped.
    let text =
        core::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()).at("bundle"))?;
    // serde would take a list of the fields' values for the object.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(OBJECT.at("bundle"));
    }
    let bundle: BundleText<'_> = serde_json::from_str(text).map_err(|error| shape(&error).at("bundle"))?;
    if bundle.resource_type != "Bundle" {
        return Err(Problem::Wanted("\"Bundle\"").at("resourceType"));
    }
    if !["transaction", "batch", "collection", "document"].iter().any(|kind| bundle.kind == *kind) {
        return Err(Problem::Wanted("transaction, batch, collection or document").at("type"));
    }
    if bundle.entry.len() > MAX_ENTRIES {
        return Err(Problem::TooManyEntries { found: bundle.entry.len() }.at("entry"));
    }
    bundle.entry.iter().enumerate().map(|(i, text)| read_entry(format!("entry[{i}]"), text)).collect()
}

fn read_entry(path: String, text: &RawValue) -> Result<Entry, FhirError> {
    if !text.get().starts_with('{') {
        return Err(OBJECT.at(path));
    }
    let entry: EntryText<'_> = serde_json::from_str(text.get()).map_err(|error| shape(&error).at(&path))?;
    let Some(text) = entry.resource else {
        return Err(Problem::Wanted("an entry with a resource").at(path));
    };
    let resource = json::parse(text.get()).map_err(|problem| problem.at(format!("{path}.resource")))?;
    let resource_type = match json::text(&resource, "resourceType") {
        Some(name) if is_type_name(name) => name.to_owned(),
        _ => {
            return Err(Problem::Wanted("a FHIR resource type").at(format!("{path}.resource.resourceType")));
        }
    };
    Ok(Entry { path, full_url: entry.full_url, resource_type, resource, body: json::compact(text.get()) })
}

/// What a bundle and its entries must be.
const OBJECT: Problem = Problem::Wanted("an object as FHIR has it, each field once and of its type");

/// A parser's error on the outer shape, without its text.
fn shape(error: &serde_json::Error) -> Problem {
    if error.is_data() { OBJECT } else { json::problem(error) }
}

/// JSON is UTF-8; `at` is the first byte that is not.
fn not_utf8(bytes: &[u8], at: usize) -> Problem {
    let before = bytes.get(..at).unwrap_or_default();
    let (line, column) = before
        .iter()
        .fold((1, 1), |(line, column), byte| if *byte == b'\n' { (line + 1, 1) } else { (line, column + 1) });
    Problem::NotJson { line, column }
}

/// Resource types are shown and counted, so nothing else may pass for one.
fn is_type_name(name: &str) -> bool {
    name.len() <= 40
        && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        && name.starts_with(|first: char| first.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ANNA: &str = "urn:uuid:anna";

    fn bundle(entries: Value) -> Vec<u8> {
        serde_json::to_vec(&json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
            .unwrap()
    }

    fn anna() -> Value {
        json!({"fullUrl": ANNA, "resource": {"resourceType": "Patient", "id": "anna", "birthDate": "1950-04-22"}})
    }

    fn read(entries: Value) -> Result<ImportPlan, FhirError> {
        read_bundle(&bundle(entries), &Tables::built_in(), None)
    }

    fn observation(fields: Value) -> Value {
        let mut resource = json!({
            "resourceType": "Observation", "subject": {"reference": ANNA}, "effectiveDateTime": "2024-05-17T08:30:00+02:00",
        });
        resource.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"resource": resource})
    }

    /// Refusal of Anna and one observation with these fields.
    fn refused(fields: Value) -> (String, Problem) {
        let FhirError { path, problem } = read(json!([anna(), observation(fields)])).unwrap_err();
        (path, problem)
    }

    #[test]
    fn patients_records_and_references_part() {
        let plan = read(json!([
            {"resource": {"resourceType": "Organization"}},
            {"resource": {"resourceType": "Practitioner"}},
            observation(json!({"category": [{"coding": [{"code": "laboratory"}]}]})),
            anna(),
            observation(json!({"subject": {"reference": "Patient/anna"}})),
        ]))
        .unwrap();
        assert_eq!((plan.patients.len(), plan.records.len(), plan.references), (1, 2, 2));
        let lab = &plan.records[0];
        assert_eq!((lab.category, lab.patient, lab.dated), (Category::Lab, 0, Dated::Itself));
        assert_eq!(lab.service_month.to_string(), "2024-05");
        assert_eq!(plan.patients[0].local.expose().as_deref(), Some(ANNA));
    }

    #[test]
    fn bodies_are_the_resource_as_sent() {
        let text = format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[
                {{"fullUrl":"{ANNA}","resource":{{"resourceType":"Patient"}}}},
                {{"resource":{{ "resourceType":"Observation", "subject":{{"reference":"{ANNA}"}}, "issued":"2024-05", "value": 7.20 }}}}]}}"#
        );
        let plan = read_bundle(text.as_bytes(), &Tables::built_in(), None).unwrap();
        let wanted = format!(
            r#"{{"resourceType":"Observation","subject":{{"reference":"{ANNA}"}},"issued":"2024-05","value":7.20}}"#
        );
        assert_eq!(plan.records[0].body.expose(), wanted.as_bytes(), "7.20 keeps its zero");
    }

    #[test]
    fn dates_of_every_precision_become_months() {
        for (date, wanted) in [
            ("2024", "2024-01"),
            ("2024-05", "2024-05"),
            ("2024-05-17", "2024-05"),
            ("2024-05-31T23:59:59.999-11:00", "2024-05"),
        ] {
            assert_eq!(month(date).unwrap().to_string(), wanted);
        }
        for wrong in ["", "24", "+024", "2024-5", "2024-13", "2024-05x", "20240517", "last May", "２０２４"]
        {
            assert_eq!(month(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_undated_record_takes_the_given_month_or_is_refused() {
        let goal = json!({"resource": {"resourceType": "Goal", "subject": {"reference": ANNA}}});
        let bytes = bundle(json!([anna(), goal]));
        let refusal = read_bundle(&bytes, &Tables::built_in(), None).unwrap_err();
        assert_eq!(refusal, Problem::Undated.at("entry[1].resource"));
        let given = Month::new(2026, 2).unwrap();
        let plan = read_bundle(&bytes, &Tables::built_in(), Some(given)).unwrap();
        assert_eq!((plan.records[0].service_month, plan.records[0].dated), (given, Dated::Given));
    }

    #[test]
    fn every_refusal_names_the_place() {
        let at = |field: &str| format!("entry[1].resource{field}");
        assert_eq!(refused(json!({"subject": null})), (at(""), Problem::NoPatient));
        assert_eq!(
            refused(json!({"subject": {"reference": "urn:uuid:berta"}})),
            (at(".subject.reference"), Problem::UnknownPatient)
        );
        assert_eq!(
            refused(json!({"effectiveDateTime": "yesterday"})),
            (at(".effectiveDateTime"), Problem::Wanted("a FHIR date"))
        );
        assert_eq!(refused(json!({"meta": "HIV"})), (at(".meta"), Problem::Wanted("an object")));
        assert_eq!(refused(json!({"contained": {}})), (at(".contained"), Problem::Wanted("a list")));
        assert_eq!(
            refused(json!({"meta": {"security": {"code": "HIV"}}})),
            (at(".meta.security"), Problem::Wanted("a list"))
        );
        assert_eq!(
            refused(json!({"resourceType": "Ob servation"})),
            (at(".resourceType"), Problem::Wanted("a FHIR resource type"))
        );
        let two = read(json!([anna(), anna()])).unwrap_err();
        assert_eq!(two, Problem::SamePatient.at("entry[1].fullUrl"));
        assert_eq!(
            read(json!([{"request": {"method": "DELETE"}}])).unwrap_err().path,
            "entry[0]",
            "an entry without a resource"
        );
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let refusal = |text: &str| read_bundle(text.as_bytes(), &Tables::built_in(), None).unwrap_err();
        assert_eq!(refusal("{").problem, Problem::NotJson { line: 1, column: 1 });
        let bytes = b"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\n\"x\":\"\xff\"}";
        let error = read_bundle(bytes, &Tables::built_in(), None).unwrap_err();
        assert_eq!(error, Problem::NotJson { line: 2, column: 6 }.at("bundle"), "even where nobody looks");
        assert_eq!(refusal("[]"), OBJECT.at("bundle"));
        assert_eq!(refusal(r#" ["Bundle","batch",[]]"#), OBJECT.at("bundle"));
        assert_eq!(read(json!([["urn:x", {"resourceType": "Basic"}]])).unwrap_err(), OBJECT.at("entry[0]"));
        assert_eq!(refusal(r#"{"resourceType":"Patient"}"#).path, "resourceType");
        assert_eq!(refusal(r#"{"resourceType":"Bundle","type":"history"}"#).path, "type");
        assert_eq!(refusal(r#"{"resourceType":"Bundle","resourceType":"Bundle"}"#).path, "bundle");
        let deep = "[".repeat(1 << 20);
        assert!(matches!(refusal(&deep).problem, Problem::NotJson { .. } | Problem::Wanted(_)));
        let large = vec![b' '; MAX_BUNDLE_BYTES + 1];
        let found = large.len();
        let error = read_bundle(&large, &Tables::built_in(), None).unwrap_err();
        assert_eq!(error, Problem::TooLarge { found }.at("bundle"));
        let many = bundle(Value::Array(vec![json!(0); MAX_ENTRIES + 1]));
        let error = read_bundle(&many, &Tables::built_in(), None).unwrap_err();
        assert_eq!(error.problem, Problem::TooManyEntries { found: MAX_ENTRIES + 1 });
    }

    #[test]
    fn labels_of_contained_resources_count() {
        let security = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]);
        let plan =
            read(json!([anna(), observation(json!({"contained": [{"meta": {"security": security}}]}))]))
                .unwrap();
        assert_eq!(plan.records[0].labels, [Label::Hiv]);
    }
}
