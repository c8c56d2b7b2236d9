//! What happened about a patient, as events tell it: the source of the lists of reports and links, for which the API has
//! no call.

use epione_client::{LedgerEvent, Start};
use epione_proto::convert::raw;
use epione_proto::v1::{self as pb, EventKind};
use epione_types::Height;
use epione_types::id::PatientId;

use crate::error::CliError;
use crate::session::Session;

/// A patient's events of these kinds (none: of all), oldest first, as far as the caller may know of them.
pub(super) async fn of(
    session: &Session,
    patient: PatientId,
    kinds: &[EventKind],
) -> Result<Vec<LedgerEvent>, CliError> {
    let head = session.client.get_status(pb::GetStatusRequest {}).await?;
    let filter = pb::EventFilter {
        kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
        patient_ids: vec![raw(patient.0)],
        ..Default::default()
    };
    let subscription = session.client.subscribe(Start::Height(Height(1)), filter);
    Ok(subscription.read_to(Height(head.height)).await?)
}
