//! FHIR in and out: consents, audit events, a record's history; the accounting of disclosures.
//!
//! A refused Consent is told by reasons and JSON paths, never by what stands in it; a directory's entries are not
//! repeated either, for its references may name people.

use std::collections::BTreeMap;
use std::path::Path;

use epione_client::Start;
use epione_client::fhir::consent::{Fault, StatedGrant, read_consent, write_consent};
use epione_client::fhir::{
    Access, Accounting, Directory, KnownRecord, RecordChange, Tables, Target, audit_events, collection,
    provenance,
};
use epione_client::tx::now;
use epione_proto::convert::{fixed, raw};
use epione_proto::v1 as pb;
use epione_types::Height;
use epione_types::call::{Call, Person, Rule};
use epione_types::id::{OrgId, PatientId, PractitionerId, RecordId};
use serde_json::Value;

use super::{access, consent, record, view};
use crate::args::fhir::{
    AccessAccounting, AccessExport, ConsentExport, ConsentImport, Format, RecordProvenance,
};
use crate::args::{Connect, DEFAULT_DIR};
use crate::book::Book;
use crate::error::{About as _, CliError, EXIT_FAILED};
use crate::output::{Fields, Shown, line, to_json};
use crate::session::{Door, Session};
use crate::{import, request};

/// A Consent's rules, submitted; or all its faults.
pub(super) async fn import_consent(args: &ConsentImport, json: bool) -> Result<Shown, CliError> {
    let bytes = import::read("the Consent", &args.file)?;
    let document = args.document.as_deref().map(|text| request::document("--document", text)).transpose()?;
    let read = |book: &Book| {
        let patient = book.patient(&args.patient)?;
        let directory = args.directory.as_deref().map(|path| directory(path, book)).transpose()?;
        let directory = directory.unwrap_or_default();
        Ok::<_, CliError>(read_consent(&bytes, patient, document, &directory, &Tables::built_in()))
    };
    if args.dry_run {
        let folder = args.write.connect.testnet.as_deref().unwrap_or(Path::new(DEFAULT_DIR));
        return Ok(match read(&Book::open(folder)?)? {
            Ok(plan) => accepted(&plan.rules, json)?,
            Err(faults) => refused(&faults, json)?,
        });
    }
    let session = Session::lazy(&args.write.connect, Door::Clinics)?;
    let plan = match read(&session.book)? {
        Ok(plan) => plan,
        Err(faults) => return refused(&faults, json),
    };
    let calls = plan.calls(&mut getrandom::SysRng).about("no randomness from the operating system")?;
    let count = calls.len();
    if args.write.receipt.is_some() && count > 1 {
        return Err(CliError::usage(format!(
            "--receipt keeps one proof, and this Consent is {count} transactions: get theirs with `epione receipt get`"
        )));
    }
    let mut rows = Vec::with_capacity(count);
    for (number, call) in calls.into_iter().enumerate() {
        let fields = Fields::new().text("grant", call.grant).and(view::rule(&call.rule));
        let done = session.submit(Call::CreateGrant(call), &[], &args.write).await.map_err(|error| {
            // Denials went first, so what stands so far opens nothing that the Consent closes.
            error.during(&format!("rule {} of {count}, {number} submitted before it", number + 1))
        })?;
        rows.push(fields.and(done.fields()));
    }
    Ok(Shown::many(rows))
}

fn accepted(rules: &[Rule], json: bool) -> Result<Shown, CliError> {
    let rows: Vec<Fields> = rules.iter().map(view::rule).collect();
    Ok(if json {
        Shown::one(Fields::new().with("accepted", true).with("rules", value(&rows)?))
    } else {
        Shown::many(rows).note("A preview: nothing was submitted.")
    })
}

fn refused(faults: &[Fault], json: bool) -> Result<Shown, CliError> {
    let row = |fault: &Fault| {
        let fields = Fields::new().text("path", &fault.path).text("reason", fault.reason.code());
        fields.text("message", fault.reason)
    };
    let rows: Vec<Fields> = faults.iter().map(row).collect();
    let shown = if json {
        Shown::one(Fields::new().with("accepted", false).with("faults", value(&rows)?))
    } else {
        Shown::many(rows).note(format!("Refused for {} faults: nothing was submitted.", faults.len()))
    };
    Ok(shown.exit(EXIT_FAILED))
}

fn value(rows: &[Fields]) -> Result<Value, CliError> {
    serde_json::to_value(rows).about("the result cannot be written")
}

/// What references and policies mean.
fn directory(path: &Path, book: &Book) -> Result<Directory, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        references: BTreeMap<String, String>,
        #[serde(default)]
        policies: BTreeMap<String, String>,
    }
    let file: File = serde_json::from_slice(&import::read("--directory", path)?).map_err(|error| {
        CliError::failed(format!(
            "--directory is not {{\"references\": {{...}}, \"policies\": {{...}}}} at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let (mut directory, mut wrong) = (Directory::default(), 0_usize);
    for (reference, meaning) in file.references {
        match target(&meaning, book) {
            Some(target) => directory.add_reference(reference, target),
            None => wrong += 1,
        }
    }
    for (uri, hash) in file.policies {
        match hash.parse() {
            Ok(hash) => directory.add_policy(uri, hash),
            Err(_) => wrong += 1,
        }
    }
    if wrong > 0 {
        return Err(CliError::failed(format!(
            "--directory: {wrong} entries mean nothing here; references are written as for --to (org:, role:, person:, patient:, representative:), record:ID or document:HASH, with names that are known here, and policies as the hash of their text"
        )));
    }
    Ok(directory)
}

fn target(text: &str, book: &Book) -> Option<Target> {
    match text.split_once(':') {
        Some(("record", id)) => id.parse().ok().map(Target::Record),
        Some(("document", hash)) => hash.parse().ok().map(Target::Document),
        _ => request::grantee("--directory", book, text).ok().map(Target::Who),
    }
}

/// A patient's grants as Consents.
pub(super) async fn export_consents(args: &ConsentExport) -> Result<Shown, CliError> {
    let (session, patient) = open(&args.export.connect, &args.export.patient).await?;
    let asked = pb::GetPatientRequest { patient_id: raw(patient.0), options: None };
    let found = session.client.get_patient(asked).await?.patient.unwrap_or_default();
    let keepers = found.care_org_ids.iter().map(|id| fixed("care_org_ids", id));
    let keepers: Vec<OrgId> = keepers.collect::<Result<_, _>>()?;
    let grants = consent::grants(&session, patient).await?;
    let write_one = |grant| Ok::<_, CliError>(write_consent(&StatedGrant::try_from(grant)?, &keepers));
    Ok(write(grants.iter().map(write_one).collect::<Result<_, _>>()?, args.export.ndjson))
}

/// A patient's accesses as AuditEvents.
pub(super) async fn export_accesses(args: &AccessExport) -> Result<Shown, CliError> {
    let (session, patient) = open(&args.export.connect, &args.export.patient).await?;
    let (accesses, records) = (accesses(&session, patient).await?, records(&session, patient).await?);
    let chain = session.client.chain_id();
    let events = accesses.iter().flat_map(|access| audit_events(access, records.get(&access.record), chain));
    Ok(write(events.collect(), args.export.ndjson))
}

/// The accounting of disclosures to a patient.
pub(super) async fn accounting(args: &AccessAccounting, json: bool) -> Result<Shown, CliError> {
    let from = request::instant("--from", args.from.as_deref())?;
    let until = request::instant("--until", args.until.as_deref())?;
    let (session, patient) = open(&args.connect, &args.patient).await?;
    let (accesses, records) = (accesses(&session, patient).await?, records(&session, patient).await?);
    let book = &session.book;
    let called = |person: Person| {
        // The names of other patients are nobody's business.
        let Person::Practitioner(org, practitioner) = person else { return None };
        let own = book.practitioners.iter().find(|(_, it)| (it.org, it.practitioner) == (org, practitioner));
        let of_org = || book.orgs.iter().find(|(_, it)| **it == org).map(|(name, _)| name.clone());
        own.map(|(name, _)| name.clone()).or_else(of_org)
    };
    let accounting = Accounting::new(args.regime, patient, (from, until), now(), accesses, &records, called);
    match args.format {
        _ if json => line(to_json(&accounting.json())),
        Format::Json => line(to_json(&accounting.json())),
        // The line's end is the last row's.
        Format::Csv => line(accounting.csv().trim_end_matches('\n')),
        Format::Text => line(accounting.text().trim_end()),
    }
    Ok(Shown::nothing())
}

/// A record's history as Provenance.
pub(super) async fn provenance_of(args: &RecordProvenance) -> Result<Shown, CliError> {
    let id: RecordId = request::id("RECORD", &args.record)?;
    let session = Session::open(&args.connect).await?;
    let asked = pb::GetRecordRequest { record_id: raw(id.0), options: None };
    let record = session.client.get_record(asked).await?.record.unwrap_or_default();
    let author = record.author.as_ref().map(|author| {
        let org: OrgId = fixed("author.org_id", &author.org_id)?;
        let practitioner: PractitionerId = fixed("author.practitioner_id", &author.practitioner_id)?;
        Ok::<_, CliError>(Person::Practitioner(org, practitioner))
    });
    let changes = changes(&session, id).await?;
    Ok(write(provenance(&changes, author.transpose()?), args.ndjson))
}

/// All changes of a record up to now.
async fn changes(session: &Session, id: RecordId) -> Result<Vec<RecordChange>, CliError> {
    let head = session.client.get_status(pb::GetStatusRequest {}).await?.height;
    let kinds = [pb::EventKind::RecordRegistered, pb::EventKind::RecordChanged];
    let filter = pb::EventFilter {
        kinds: kinds.map(i32::from).to_vec(),
        record_ids: vec![raw(id.0)],
        ..Default::default()
    };
    let stream = session.client.subscribe(Start::Height(Height(1)), filter);
    Ok(stream.read_to(Height(head)).await?.iter().filter_map(RecordChange::of).collect())
}

async fn open(connect: &Connect, patient: &str) -> Result<(Session, PatientId), CliError> {
    let session = Session::open(connect).await?;
    let patient = session.book.patient(patient)?;
    Ok((session, patient))
}

async fn accesses(session: &Session, patient: PatientId) -> Result<Vec<Access>, CliError> {
    let events = access::events(session, patient).await?;
    Ok(events.iter().map(Access::try_from).collect::<Result<_, _>>()?)
}

/// Those records that the caller may know of.
async fn records(session: &Session, patient: PatientId) -> Result<BTreeMap<RecordId, KnownRecord>, CliError> {
    let known =
        |record: &pb::Record| Ok((fixed("record_id", &record.record_id)?, KnownRecord::try_from(record)?));
    record::records(&session.client, patient).await?.iter().map(known).collect()
}

/// As one Bundle, or a resource a line.
fn write(resources: Vec<Value>, ndjson: bool) -> Shown {
    if ndjson {
        resources.iter().for_each(|resource| line(to_json(resource)));
    } else {
        line(to_json(&collection(resources)));
    }
    Shown::nothing()
}
