//! Accesses to records.

use epione_proto::v1 as pb;
use epione_types::call::Call;
use epione_types::codes::Decision;
use epione_types::event::Event;
use epione_types::id::PatientId;
use epione_types::{Height, Receipt};

use super::view;
use crate::args::Access;
use crate::error::{CliError, EXIT_DENIED};
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Access) -> Result<Shown, CliError> {
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
            let session = Session::open(&write.connect).await?;
            let done = session.submit(Call::RecordAccess(asked), &[], &write).await?;
            let Some((decision, fields)) = decided(&done.receipt) else {
                return Err(CliError::failed(
                    "the receipt holds no decision: the node is of another version",
                ));
            };
            let shown = Shown::one(fields.and(done.fields()));
            Ok(if decision == Decision::Permit { shown } else { shown.exit(EXIT_DENIED) })
        }
        Access::List { patient, connect } => {
            let session = Session::open(&connect).await?;
            let patient = session.book.patient(&patient)?;
            let rows = events(&session, patient).await?;
            Ok(Shown::many(rows.iter().map(view::access_event).collect::<Result<_, _>>()?))
        }
    }
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
    let mut events = Vec::new();
    let mut page_token = bytes::Bytes::new();
    loop {
        let request = pb::ListAccessEventsRequest {
            patient_id: epione_proto::convert::raw(patient.0),
            page: Some(pb::PageRequest { page_size: 500, page_token }),
            ..Default::default()
        };
        let page = session.client.list_access_events(request).await?;
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(events);
        }
    }
}
