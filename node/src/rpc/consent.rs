//! Grants and denials, and what an access would come to.

use epione_chaincode::{check_access_as_told, host, keys};
use epione_proto::convert::{code_to_wire, fixed, raw};
use epione_proto::v1::{self as pb, consent_service_server::ConsentService};
use epione_proto::{ConvertError, ConvertReason};
use epione_types::call::RecordAccess;
use epione_types::id::{GrantId, PatientId};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::read::{Paging, context, entry, view};
use super::wire;
use crate::handle::NodeHandle;

#[derive(Debug, Clone)]
pub(super) struct Consent(pub(super) NodeHandle);

#[tonic::async_trait]
impl ConsentService for Consent {
    async fn get_grant(
        &self,
        request: Request<pb::GetGrantRequest>,
    ) -> Result<Response<pb::GetGrantResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let patient: PatientId = fixed("patient_id", &request.patient_id).map_err(RpcError::from)?;
        let id: GrantId = fixed("grant_id", &request.grant_id).map_err(RpcError::from)?;
        let key = keys::grant(patient, id).as_bytes().to_vec();
        let (found, context) = entry(&self.0, &caller, request.options, key, move |view| {
            view.patient(patient)?.grant(id)?.ok_or(RpcError::NotAllowed)
        })
        .await?;
        Ok(Response::new(pb::GetGrantResponse { grant: Some(wire::grant(patient, &found)), context }))
    }

    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListGrantsRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::grants(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((grants, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            paging.fill(
                |after, limit| reader.grants(after, limit),
                |_| true,
                |grant| keys::grant(id, grant.id).as_bytes().to_vec(),
            )
        })
        .await?;
        let grants = grants.iter().map(|grant| wire::grant(id, grant)).collect();
        Ok(Response::new(pb::ListGrantsResponse { grants, next_page_token, context: Some(context(&head)) }))
    }

    async fn check_access(
        &self,
        request: Request<pb::CheckAccessRequest>,
    ) -> Result<Response<pb::CheckAccessResponse>, Status> {
        let caller = caller(&request)?;
        let pb::CheckAccessRequest { access, options } = request.into_inner();
        let options = options.unwrap_or_default();
        if options.with_proof {
            return Err(RpcError::NoProofs.into());
        }
        let unset = || ConvertError::new("access", ConvertReason::MissingField, "not set");
        let access = access.ok_or_else(unset).map_err(RpcError::from)?;
        let access =
            RecordAccess::try_from(access).map_err(|error| RpcError::from(error.within("access")))?;
        let ((decided, reason), head) = view(&self.0, &caller, options.min_height, move |view| {
            let (decided, told) = check_access_as_told(view.state, view.now, view.caller.member, &access)?;
            // The precise reason is an oracle: only for whom it tells nothing new.
            let precise = match host::get(view.state, &keys::record(access.record))? {
                Some(record) => match view.patient(record.patient) {
                    Ok(reader) => reader.sees_precise_reasons(),
                    Err(RpcError::NotAllowed) => false,
                    Err(error) => return Err(error),
                },
                None => false,
            };
            let reason = if precise { decided.reason } else { told };
            Ok((decided, reason))
        })
        .await?;
        Ok(Response::new(pb::CheckAccessResponse {
            decision: code_to_wire(decided.decision),
            reason: code_to_wire(reason),
            grant_id: decided.grant.map(|id| raw(id.0)),
            obligations: decided.obligations.iter().copied().map(code_to_wire).collect(),
            context: Some(context(&head)),
        }))
    }
}
