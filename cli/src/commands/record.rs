//! Health records: registered singly or by bundles, listed, shown.

use std::time::Duration;

use epione_chaincode::keys;
use epione_client::EpioneClient;
use epione_client::fhir::RecordFile;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::call::{
    Call, EraseRecord, MarkEnteredInError, RegisterRecord, SetRetention, SupersedeRecord,
};
use epione_types::id::{OpaqueRef, PatientId, RecordId};
use indicatif::{ProgressBar, ProgressStyle};

use super::{all_pages, done, fhir, report, view};
use crate::args::{Record, RecordErase, RecordError, RecordHold, RecordRegister, RecordRevise};
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::session::Session;
use crate::{import, load, request, time};

pub(super) async fn run(command: Record) -> Result<Shown, CliError> {
    match command {
        Record::Register(args) => register(args).await,
        Record::Revise(args) => revise(args).await,
        Record::MarkError(RecordError { record, role, of_version, write }) => {
            let record = request::id("RECORD", &record)?;
            let session = Session::open(&write.connect).await?;
            let version = match of_version {
                Some(version) => version,
                None => in_force(&session, record).await?.version,
            };
            let fields = Fields::new().text("record", record).with("version", version);
            let call = Call::MarkEnteredInError(MarkEnteredInError { record, version, role });
            done(&session, call, fields, &write).await
        }
        Record::Erase(RecordErase { record, document, write }) => {
            let record = request::id("RECORD", &record)?;
            let document = request::attested(document.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let call = Call::EraseRecord(EraseRecord { record, document });
            done(&session, call, Fields::new().text("erased", record), &write).await
        }
        Record::Hold(RecordHold { record, until, lift: _, write }) => {
            let record = request::id("RECORD", &record)?;
            let until = request::instant("--until", until.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let fields = Fields::new().text("record", record).maybe("kept_until", until.map(time::show));
            done(&session, Call::SetRetention(SetRetention { record, until }), fields, &write).await
        }
        Record::List { patient, connect } => {
            let session = Session::open(&connect).await?;
            let patient = session.book.patient(&patient)?;
            let found = records(&session.client, patient).await?;
            Ok(Shown::many(found.iter().map(view::record).collect::<Result<_, _>>()?))
        }
        Record::Provenance(args) => fhir::provenance_of(&args).await,
        Record::Show { record, connect } => {
            let id: RecordId = request::id("RECORD", &record)?;
            let session = Session::open(&connect).await?;
            let answer = session
                .client
                .get_record(pb::GetRecordRequest { record_id: raw(id.0), options: None })
                .await?;
            let record = answer.record.unwrap_or_default();
            let fields = view::record(&record)?.and(view::record_details(&record));
            Ok(Shown::one(fields.and(view::context(answer.context.as_ref()))))
        }
    }
}

/// The record's version in force, proven.
async fn in_force(session: &Session, id: RecordId) -> Result<epione_chaincode::records::Record, CliError> {
    let found = session.entry(&keys::record(id)).await?;
    found.ok_or_else(|| CliError::not_there("record", id))
}

async fn revise(args: RecordRevise) -> Result<Shown, CliError> {
    let record = request::id("RECORD", &args.record)?;
    let file = RecordFile::new(&request::salt()?, &import::read("FILE", &args.file)?);
    let session = Session::open(&args.write.connect).await?;
    let before = in_force(&session, record).await?;
    let mut labels = if args.labels.is_empty() { before.labels } else { args.labels };
    labels.sort_unstable();
    labels.dedup();
    let call = SupersedeRecord {
        record,
        version: args.replaces.unwrap_or(before.version),
        role: args.role,
        category: args.category.unwrap_or(before.category),
        labels,
        service_month: args.month.unwrap_or(before.service_month),
        body: report::body(&file)?,
        minor_consented: before.minor_consented,
    };
    std::fs::create_dir_all(&args.keep).about(args.keep.display())?;
    // Beside the versions before it.
    import::keep_record(&args.keep, &format!("{record}-{}", file.commitment()), &file)?;
    let fields = Fields::new().text("record", record).with("version", call.version.saturating_add(1));
    done(&session, Call::SupersedeRecord(call), fields, &args.write).await
}

/// All records of a patient that the caller may know of.
pub(super) async fn records(client: &EpioneClient, patient: PatientId) -> Result<Vec<pb::Record>, CliError> {
    all_pages(async |page| {
        let request = pb::ListRecordsRequest { patient_id: raw(patient.0), page: Some(page), options: None };
        let answer = client.list_records(request).await?;
        Ok((answer.records, answer.next_page_token))
    })
    .await
}

async fn register(args: RecordRegister) -> Result<Shown, CliError> {
    // Whatever is wrong with the files is found before anything is sent.
    let mut bundles = Vec::new();
    let mut single = None;
    let sources = import::sources(&args.files)?;
    let count = sources.len();
    for source in sources {
        let bytes = source.read()?;
        if import::is_bundle(&bytes) {
            let undated = args.month.or_else(request::this_month);
            bundles.push(import::plan(&source.to_string(), &bytes, undated)?);
        } else if count == 1 {
            single = Some(bytes);
        } else {
            return Err(CliError::failed(format!(
                "file {source} is no FHIR bundle: of several files each must be one"
            )));
        }
    }
    if let Some(folder) = &args.keep {
        std::fs::create_dir_all(folder).about(folder.display())?;
    }
    match single {
        Some(body) => register_one(&args, &body).await,
        None => register_bundles(&args, bundles).await,
    }
}

async fn register_one(args: &RecordRegister, body: &[u8]) -> Result<Shown, CliError> {
    let needed = |flag: &str| {
        CliError::usage(format!(
            "{flag} is missing: a file that is no FHIR bundle needs --patient, --category and --month"
        ))
    };
    let patient = args.patient.as_deref().ok_or_else(|| needed("--patient"))?;
    let category = args.category.ok_or_else(|| needed("--category"))?;
    let service_month = args.month.ok_or_else(|| needed("--month"))?;
    let session = Session::open(&args.write.connect).await?;
    let file = RecordFile::new(&request::salt()?, body);
    let mut labels = args.labels.clone();
    labels.sort_unstable();
    labels.dedup();
    let call = RegisterRecord {
        record: request::new_id(RecordId)?,
        patient: session.book.patient(patient)?,
        role: args.role,
        category,
        labels,
        service_month,
        commitment: file.commitment(),
        ciphertext_hash: file.stored_hash(),
        size_class: file.size_class(),
        pointer: request::new_id(OpaqueRef)?,
        minor_consented: false,
    };
    let id = call.record;
    // Before it is registered: a commitment that nobody can open is worth nothing.
    if let Some(folder) = &args.keep {
        import::keep_record(folder, &id.to_string(), &file)?;
    }
    let done = session.submit(Call::RegisterRecord(call), &[], &args.write).await?;
    Ok(Shown::one(Fields::new().text("record", id).and(done.fields())))
}

async fn register_bundles(
    args: &RecordRegister,
    plans: Vec<epione_client::fhir::ImportPlan>,
) -> Result<Shown, CliError> {
    if args.patient.is_some()
        || args.category.is_some()
        || !args.labels.is_empty()
        || args.write.receipt.is_some()
    {
        return Err(CliError::usage(
            "--patient, --category, --label and --receipt are for a single record: a bundle says these itself",
        ));
    }
    let session = Session::open(&args.write.connect).await?;
    let bundles = plans.len();
    let references: usize = plans.iter().map(|plan| plan.references).sum();
    let notice = request::notice(args.notice.as_deref())?;
    let imports =
        plans.into_iter().map(|plan| import::seal(plan, args.role, notice)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &args.keep {
        import::keep(folder, &imports)?;
    }
    let (patients, records) = import::sign(&session.client, &session.key, &imports)?;
    let bar = bar("patients", patients.len());
    let patients = load::submit_all(&session.client, patients, None, |done| bar.set_position(done)).await?;
    bar.finish();
    patients.all_applied("patients")?;
    let bar = self::bar("records", records.len());
    let records = load::submit_all(&session.client, records, None, |done| bar.set_position(done)).await?;
    bar.finish();
    let fields = Fields::new()
        .with("bundles", bundles)
        .with("patients", patients.applied)
        .with("records", records.applied)
        .with("refused", records.refusals())
        .with("unknown", records.unanswered())
        .with("references", references)
        .with("height", records.height.max(patients.height).0)
        .ms("took_ms", records.took + patients.took)
        .ms("latency_p50_ms", records.percentile(50))
        .ms("latency_p99_ms", records.percentile(99));
    records.all_applied("records")?;
    let known: Vec<String> = imports
        .iter()
        .flat_map(|import| &import.patients)
        .map(|(call, _)| call.patient.to_string())
        .collect();
    let note = if args.keep.is_some() {
        ""
    } else {
        "Bodies and salts were not kept (--discard): nobody can show later what was registered."
    };
    Ok(Shown::one(fields.list("patient_ids", known)).note(note))
}

/// A progress bar on standard error; none where that is no terminal.
fn bar(what: &'static str, count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len}  {per_sec}  {eta} left");
    let bar = ProgressBar::new(count as u64).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
