//! The audit trail of a patient.

use epione_chaincode::access::AccessEvent;
use epione_chaincode::keys;
use epione_proto::convert::{fixed, fixed_opt};
use epione_proto::v1::{self as pb, audit_service_server::AuditService};
use epione_types::id::{PatientId, RecordId};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::read::{Paging, context, view};
use super::wire;
use crate::handle::NodeHandle;

#[derive(Debug, Clone)]
pub(super) struct Audit(pub(super) NodeHandle);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_access_events(
        &self,
        request: Request<pb::ListAccessEventsRequest>,
    ) -> Result<Response<pb::ListAccessEventsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id: PatientId = fixed("patient_id", &request.patient_id).map_err(RpcError::from)?;
        let record: Option<RecordId> =
            fixed_opt("record_id", request.record_id.as_ref()).map_err(RpcError::from)?;
        let paging = Paging::new(request.page, request.options.as_ref(), keys::accesses(id).from())?;
        let (from, until) = (request.from_ms, request.until_ms);
        let wanted = move |event: &AccessEvent| {
            record.is_none_or(|record| event.record == record)
                && from.is_none_or(|from| from <= event.at.0)
                && until.is_none_or(|until| event.at.0 < until)
        };
        let min_height = request.options.unwrap_or_default().min_height;
        let ((events, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            let precise = reader.sees_precise_reasons();
            let (events, next) = paging.fill(
                |after, limit| reader.accesses(after, limit),
                wanted,
                |event| keys::access(id, event.height, event.index).as_bytes().to_vec(),
            )?;
            Ok((events.iter().map(|event| wire::access(id, event, precise)).collect(), next))
        })
        .await?;
        Ok(Response::new(pb::ListAccessEventsResponse {
            events,
            next_page_token,
            context: Some(context(&head)),
        }))
    }

    async fn list_overrides(
        &self,
        request: Request<pb::ListOverridesRequest>,
    ) -> Result<Response<pb::ListOverridesResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListOverridesRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::emergencies(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((found, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            paging.fill(
                |after, limit| reader.overrides(after, limit),
                |_| true,
                |it| keys::emergency(id, it.height, it.practitioner).as_bytes().to_vec(),
            )
        })
        .await?;
        let overrides = found.iter().map(|it| wire::emergency(id, it)).collect();
        Ok(Response::new(pb::ListOverridesResponse {
            overrides,
            next_page_token,
            context: Some(context(&head)),
        }))
    }
}
