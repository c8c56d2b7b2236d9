//! The audit trail of a patient, what the patient is told of it, and the reviews that an organisation owes.

use epione_chaincode::access::{AccessEvent, Override, review};
use epione_chaincode::keys;
use epione_chaincode::read::Reviews;
use epione_proto::convert::{fixed, fixed_opt};
use epione_proto::v1::{self as pb, audit_service_server::AuditService};
use epione_types::id::{OrgId, PatientId, RecordId};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::read::{Paging, View, context, view};
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
        let ((overrides, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            let (found, next) = paging.fill(
                |after, limit| reader.overrides(after, limit),
                |_| true,
                |it| keys::emergency(id, it.height, it.practitioner).as_bytes().to_vec(),
            )?;
            let row = |it: &Override| shown(view, id, it);
            Ok((found.iter().map(row).collect::<Result<_, RpcError>>()?, next))
        })
        .await?;
        Ok(Response::new(pb::ListOverridesResponse {
            overrides,
            next_page_token,
            context: Some(context(&head)),
        }))
    }

    async fn list_open_reviews(
        &self,
        request: Request<pb::ListOpenReviewsRequest>,
    ) -> Result<Response<pb::ListOpenReviewsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListOpenReviewsRequest { org_id, overdue_only, page, options } = request.into_inner();
        let id: OrgId = fixed("org_id", &org_id).map_err(RpcError::from)?;
        let all = if overdue_only { keys::escalations(id) } else { keys::reviews(id) };
        let paging = Paging::new(page, options.as_ref(), all.from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((overrides, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reviews = Reviews::open(view.state, view.now, view.caller.member, id)?;
            let reviews = reviews.ok_or(RpcError::NotAllowed)?;
            let (found, next) = paging.fill(
                |after, limit| reviews.list(overdue_only, after, limit),
                |_| true,
                |(patient, it)| {
                    let (who, due) = (it.practitioner, it.review_due);
                    let key = if overdue_only {
                        keys::escalation(who, due, *patient)
                    } else {
                        keys::review(who, due, *patient)
                    };
                    key.as_bytes().to_vec()
                },
            )?;
            let row = |(patient, it): &(PatientId, Override)| shown(view, *patient, it);
            Ok((found.iter().map(row).collect::<Result<_, RpcError>>()?, next))
        })
        .await?;
        Ok(Response::new(pb::ListOpenReviewsResponse {
            overrides,
            next_page_token,
            context: Some(context(&head)),
        }))
    }

    async fn list_notices(
        &self,
        request: Request<pb::ListNoticesRequest>,
    ) -> Result<Response<pb::ListNoticesResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListNoticesRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::notices(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((notices, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            paging.fill(
                |after, limit| reader.notices(after, limit),
                |_| true,
                |it| keys::notice(id, it.height, it.index).as_bytes().to_vec(),
            )
        })
        .await?;
        Ok(Response::new(pb::ListNoticesResponse {
            notices: notices.iter().map(|it| wire::notice(id, it)).collect(),
            next_page_token,
            context: Some(context(&head)),
        }))
    }
}

/// An override, and where it stands now.
fn shown(view: &View<'_>, patient: PatientId, it: &Override) -> Result<pb::Override, RpcError> {
    Ok(wire::emergency(patient, it, review::status(view.state, patient, it, view.now)?))
}
