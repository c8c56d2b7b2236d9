//! Accesses to records.

use std::path::Path;

use epione_proto::v1 as pb;
use epione_types::call::{Call, RecordAccess};
use epione_types::codes::Decision;
use epione_types::event::Event;
use epione_types::id::PatientId;
use epione_types::{Height, Receipt};

use serde_json::Value;

use super::{all_pages, fhir, view};
use crate::args::{Access, Write};
use crate::cases::File;
use crate::error::{About as _, CliError, EXIT_DENIED, EXIT_FAILED};
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Access, json: bool) -> Result<Shown, CliError> {
    match command {
        Access::Check { access, connect } => {
            let asked = request::access(&access)?;
            let session = Session::open(&connect).await?;
            let answer = session.client.check_access(&asked, Height(0)).await?;
            let permitted = answer.decision() == pb::Decision::Permit;
            let fields = view::decision(&answer)?.and(view::context(answer.context.as_ref()));
            let shown = Shown::one(fields).note("A preview: nothing was written, no key released.");
            Ok(if permitted { shown } else { shown.exit(EXIT_DENIED) })
        }
        Access::Record { access, write } => {
            let asked = request::access(&access)?;
            record(asked, &write).await
        }
        Access::Export(args) => fhir::export_accesses(&args).await,
        Access::Accounting(args) => fhir::accounting(&args, json).await,
        Access::Test { cases } => test(&cases, json),
        Access::List { patient, connect } => {
            let session = Session::open(&connect).await?;
            let patient = session.book.patient(&patient)?;
            let rows = events(&session, patient).await?;
            Ok(Shown::many(rows.iter().map(view::access_event).collect::<Result<_, _>>()?))
        }
    }
}

/// Has an access decided, counted and traced.
pub(super) async fn record(asked: RecordAccess, write: &Write) -> Result<Shown, CliError> {
    let session = Session::open(&write.connect).await?;
    let done = session.submit(Call::RecordAccess(asked), &[], write).await?;
    let Some((decision, fields)) = decided(&done.receipt) else {
        return Err(CliError::failed("the receipt holds no decision: the node is of another version"));
    };
    let shown = Shown::one(fields.and(done.fields()));
    Ok(if decision == Decision::Permit { shown } else { shown.exit(EXIT_DENIED) })
}

/// Decides every case of a file, here and now: no node, no ledger.
fn test(path: &Path, json: bool) -> Result<Shown, CliError> {
    let file = File::parse(&std::fs::read(path).about(path.display())?)?;
    let (mut rows, mut failed) = (Vec::new(), 0_u64);
    for case in &file.cases {
        let (expected, decided) = file.decide(case)?;
        let passed = expected == decided;
        failed += u64::from(!passed);
        let row = Fields::new().text("case", &case.id).with("passed", passed);
        rows.push(row.text("expected", expected).text("decided", decided).text("title", &case.title));
    }
    let passed = u64::try_from(rows.len()).unwrap_or(u64::MAX).saturating_sub(failed);
    let shown = if json {
        Shown::one(Fields::new().with("cases", rows_of(&rows)?).with("passed", passed).with("failed", failed))
    } else {
        Shown::many(rows).note(format!("{passed} passed, {failed} failed"))
    };
    Ok(if failed == 0 { shown } else { shown.exit(EXIT_FAILED) })
}

fn rows_of(rows: &[Fields]) -> Result<Value, CliError> {
    serde_json::to_value(rows).about("the result cannot be written")
}

/// What a receipt says was decided.
pub(crate) fn decided(receipt: &Receipt) -> Option<(Decision, Fields)> {
    receipt.events.iter().find_map(|event| {
        let Event::AccessDecided { decision, reason, grant, obligations, .. } = event else { return None };
        let fields = Fields::new().text("decision", decision).text("reason", reason);
        Some((*decision, fields.maybe("grant", *grant).list("obligations", obligations)))
    })
}

/// All accesses to a patient's records, oldest first.
pub(crate) async fn events(session: &Session, patient: PatientId) -> Result<Vec<pb::AccessEvent>, CliError> {
    all_pages(async |page| {
        let request = pb::ListAccessEventsRequest {
            patient_id: epione_proto::convert::raw(patient.0),
            page: Some(page),
            ..Default::default()
        };
        let answer = session.client.list_access_events(request).await?;
        Ok((answer.events, answer.next_page_token))
    })
    .await
}
