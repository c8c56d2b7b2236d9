//! Reports: drafted, submitted, answered.
//!
//! Whoever approves names the viewers. The ledger's list, proven, must be that very list; then its hash is signed.

use std::collections::BTreeMap;
use std::path::Path;

use epione_chaincode::keys;
use epione_chaincode::records::Record;
use epione_client::fhir::RecordFile;
use epione_proto::v1::EventKind;
use epione_types::Domain;
use epione_types::call::{
    AnchorUnreviewed, ApproveReport, Body, Call, DraftReport, Grantee, RegisterRecord, RequestChanges,
    SubmitReport, Viewer, WithdrawReport, viewers_hash,
};
use epione_types::codes::Refusal;
use epione_types::event::Event;
use epione_types::id::{GrantId, OpaqueRef, RecordId};

use super::{done, history, view};
use crate::args::{Report, ReportApprove, ReportDraft, ReportSubmit};
use crate::book::Book;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::session::Session;
use crate::{import, request, time};

pub(super) async fn run(command: Report) -> Result<Shown, CliError> {
    match command {
        Report::Draft(args) => draft(args).await,
        Report::Submit(args) => submit(args).await,
        Report::Approve(args) => approve(args).await,
        Report::RequestChanges { report, written, document, write } => {
            let record = request::id("REPORT", &report)?;
            let text_commitment =
                written.as_deref().map(|path| request::written("--written", path)).transpose()?;
            let document = request::attested(document.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let call = Call::RequestChanges(RequestChanges { record, text_commitment, document });
            done(&session, call, Fields::new().text("report", record), &write).await
        }
        Report::Withdraw(step) => {
            let record = request::id("REPORT", &step.report)?;
            let session = Session::open(&step.write.connect).await?;
            let call = Call::WithdrawReport(WithdrawReport { record });
            done(&session, call, Fields::new().text("report", record), &step.write).await
        }
        Report::Anchor(step) => {
            let record = request::id("REPORT", &step.report)?;
            let session = Session::open(&step.write.connect).await?;
            let call = Call::AnchorUnreviewed(AnchorUnreviewed { record });
            done(&session, call, Fields::new().text("report", record), &step.write).await
        }
        Report::Show { report, connect } => {
            let id = request::id("REPORT", &report)?;
            let session = Session::open(&connect).await?;
            let (record, report) = find(&session, id).await?;
            Ok(Shown::one(
                Fields::new()
                    .text("report", id)
                    .text("patient", record.patient)
                    .text("status", report.status)
                    .with("round", report.round)
                    .maybe("answer_until", report.deadline.map(time::show))
                    .list("viewers", report.viewers.iter().map(|viewer| view::grantee(viewer.to)))
                    .text("category", record.category)
                    .list("labels", &record.labels)
                    .text("commitment", record.commitment)
                    .text("viewers_hash", viewers_hash(&report.viewers)),
            ))
        }
        Report::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let mut last = BTreeMap::new();
            for it in history::of(&session, patient, &[EventKind::ReportChanged]).await? {
                let Event::ReportChanged { record, status, round, .. } = it.event else { continue };
                last.insert(record, (status, round, it.time));
            }
            let row = |(report, (status, round, since))| {
                let fields = Fields::new().text("report", report).text("status", status);
                fields.with("round", round).text("since", time::show(since))
            };
            Ok(Shown::many(last.into_iter().map(row).collect()))
        }
    }
}

async fn find(
    session: &Session,
    id: RecordId,
) -> Result<(Record, epione_chaincode::reports::Report), CliError> {
    let report = session.entry(&keys::report(id)).await?;
    let record = session.entry(&keys::record(id)).await?;
    record.zip(report).ok_or_else(|| CliError::not_there("report", id))
}

async fn draft(args: ReportDraft) -> Result<Shown, CliError> {
    let file = RecordFile::new(&request::salt()?, &import::read("FILE", &args.file)?);
    let session = Session::open(&args.write.connect).await?;
    let mut labels = args.labels.clone();
    labels.sort_unstable();
    labels.dedup();
    let record = RegisterRecord {
        record: request::new_id(RecordId)?,
        patient: session.book.patient(&args.patient)?,
        role: args.role,
        category: args.category,
        labels,
        service_month: args.month,
        commitment: file.commitment(),
        ciphertext_hash: file.stored_hash(),
        size_class: file.size_class(),
        pointer: request::new_id(OpaqueRef)?,
        minor_consented: false,
    };
    let id = record.record;
    std::fs::create_dir_all(&args.keep).about(args.keep.display())?;
    import::keep_record(&args.keep, &id.to_string(), &file)?;
    let call = Call::DraftReport(DraftReport { record });
    done(&session, call, Fields::new().text("report", id), &args.write).await
}

async fn submit(args: ReportSubmit) -> Result<Shown, CliError> {
    let record = request::id("REPORT", &args.report)?;
    let file = match (&args.sealed, &args.body, &args.keep) {
        (Some(path), _, _) => sealed(path)?,
        (None, Some(path), Some(keep)) => {
            let file = RecordFile::new(&request::salt()?, &import::read("--body", path)?);
            std::fs::create_dir_all(keep).about(keep.display())?;
            // Beside the body before it, which the patient may have seen.
            import::keep_record(keep, &format!("{record}-{}", file.commitment()), &file)?;
            file
        }
        _ => return Err(CliError::usage("--sealed is missing: the kept body; or --body and --keep")),
    };
    let session = Session::open(&args.write.connect).await?;
    let until = request::instant("--until", args.until.as_deref())?;
    let viewer = |to| Ok(Viewer { grant: request::new_id(GrantId)?, to, until });
    let viewers = viewers(&session.book, &args.viewers)?.into_iter().map(viewer);
    let call =
        SubmitReport { record, body: body(&file)?, viewers: viewers.collect::<Result<_, CliError>>()? };
    let fields = Fields::new()
        .text("report", record)
        .list("viewers", call.viewers.iter().map(|viewer| view::grantee(viewer.to)))
        .list("grants", call.viewers.iter().map(|viewer| viewer.grant));
    done(&session, Call::SubmitReport(call), fields, &args.write).await
}

/// What a body that stays here is to the ledger.
pub(super) fn body(file: &RecordFile) -> Result<Body, CliError> {
    Ok(Body {
        commitment: file.commitment(),
        ciphertext_hash: file.stored_hash(),
        size_class: file.size_class(),
        pointer: request::new_id(OpaqueRef)?,
    })
}

/// A body with its salt, as it was kept.
fn sealed(path: &Path) -> Result<RecordFile, CliError> {
    let bytes = import::read("--sealed", path)?;
    let own = Domain::COMMITMENT.hash(&bytes);
    RecordFile::open(bytes, own).about("--sealed")
}

fn viewers(book: &Book, texts: &[String]) -> Result<Vec<Grantee>, CliError> {
    texts.iter().map(|text| request::grantee("--viewer", book, text)).collect()
}

async fn approve(args: ReportApprove) -> Result<Shown, CliError> {
    let id = request::id("REPORT", &args.report)?;
    let document = request::attested(args.document.as_deref())?;
    let read = args.sealed.as_deref().map(sealed).transpose()?;
    let session = Session::open(&args.write.connect).await?;
    let (record, report) = find(&session, id).await?;
    let mut named = viewers(&session.book, &args.viewers)?;
    let mut listed: Vec<Grantee> = report.viewers.iter().map(|viewer| viewer.to).collect();
    named.sort_unstable();
    listed.sort_unstable();
    let changed = |what: &str| {
        CliError::failed(format!("{what}{}", super::hint(Refusal::ViewerSetChanged)))
            .reason(Refusal::ViewerSetChanged.name())
    };
    if named != listed {
        let listed: Vec<String> = listed.into_iter().map(view::grantee).collect();
        return Err(changed(&format!("--viewer: the report's viewers are [{}]", listed.join(", "))));
    }
    if read.is_some_and(|file| file.commitment() != record.commitment) {
        return Err(changed("--sealed: the ledger commits to another body"));
    }
    let viewers_hash = viewers_hash(&report.viewers);
    let call = ApproveReport { record: id, commitment: record.commitment, viewers_hash, document };
    let fields =
        Fields::new().text("report", id).list("grants", report.viewers.iter().map(|viewer| viewer.grant));
    done(&session, Call::ApproveReport(call), fields, &args.write).await
}
