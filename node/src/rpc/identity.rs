//! Who is who.

use epione_chaincode::{keys, read};
use epione_proto::convert::{fixed, raw};
use epione_proto::v1::{self as pb, identity_service_server::IdentityService, member::Member as MemberKind};
use epione_types::call::Person;
use epione_types::id::{OrgId, PatientId, PractitionerId};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::read::{Paging, context, entry, view};
use super::wire;
use crate::handle::NodeHandle;

#[derive(Debug, Clone)]
pub(super) struct Identity(pub(super) NodeHandle);

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn get_org(
        &self,
        request: Request<pb::GetOrgRequest>,
    ) -> Result<Response<pb::GetOrgResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id: OrgId = fixed("org_id", &request.org_id).map_err(RpcError::from)?;
        let key = keys::organisation(id).as_bytes().to_vec();
        let (found, context) = entry(&self.0, &caller, request.options, key, move |view| {
            read::organisation(view.state, id)?.ok_or(RpcError::NotFound("organisation"))
        })
        .await?;
        Ok(Response::new(pb::GetOrgResponse { org: Some(wire::org(id, &found)), context }))
    }

    async fn get_practitioner(
        &self,
        request: Request<pb::GetPractitionerRequest>,
    ) -> Result<Response<pb::GetPractitionerResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let organisation: OrgId = fixed("org_id", &request.org_id).map_err(RpcError::from)?;
        let id: PractitionerId =
            fixed("practitioner_id", &request.practitioner_id).map_err(RpcError::from)?;
        let key = keys::practitioner(organisation, id).as_bytes().to_vec();
        let (found, context) = entry(&self.0, &caller, request.options, key, move |view| {
            read::practitioner(view.state, organisation, id)?.ok_or(RpcError::NotFound("practitioner"))
        })
        .await?;
        let practitioner = Some(wire::practitioner(organisation, id, &found));
        Ok(Response::new(pb::GetPractitionerResponse { practitioner, context }))
    }

    async fn get_patient(
        &self,
        request: Request<pb::GetPatientRequest>,
    ) -> Result<Response<pb::GetPatientResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id: PatientId = fixed("patient_id", &request.patient_id).map_err(RpcError::from)?;
        let key = keys::patient(id).as_bytes().to_vec();
        let (found, context) = entry(&self.0, &caller, request.options, key, move |view| {
            Ok(wire::patient(id, view.patient(id)?.patient()))
        })
        .await?;
        Ok(Response::new(pb::GetPatientResponse { patient: Some(found), context }))
    }

    async fn who_am_i(
        &self,
        request: Request<pb::WhoAmIRequest>,
    ) -> Result<Response<pb::WhoAmIResponse>, Status> {
        let caller = caller(&request)?;
        let ((), head) = view(&self.0, &caller, 0, |_| Ok(())).await?;
        let validator = self.0.epoch().set.index_of(&caller.key);
        let validator = validator.map(|index| MemberKind::Validator(index.0.into()));
        let validator = validator.map(|member| pb::Member { member: Some(member) });
        Ok(Response::new(pb::WhoAmIResponse {
            public_key: raw(caller.key.0),
            members: wire::member(caller.member).into_iter().chain(validator).collect(),
            context: Some(context(&head)),
        }))
    }

    async fn list_representations(
        &self,
        request: Request<pb::ListRepresentationsRequest>,
    ) -> Result<Response<pb::ListRepresentationsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListRepresentationsRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::representations(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((representations, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            let (found, next) = paging.fill(
                |after, limit| reader.representations(after, limit),
                |_| true,
                |(person, _): &(Person, _)| keys::representation(id, *person).as_bytes().to_vec(),
            )?;
            let row = |(person, it): &(Person, _)| wire::representation(id, *person, it, view.now);
            Ok((found.iter().map(row).collect(), next))
        })
        .await?;
        Ok(Response::new(pb::ListRepresentationsResponse {
            representations,
            next_page_token,
            context: Some(context(&head)),
        }))
    }
}
