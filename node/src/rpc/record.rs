//! The register of records, for those who may know of them.

use epione_chaincode::{keys, read};
use epione_proto::convert::fixed;
use epione_proto::v1::{self as pb, record_service_server::RecordService};
use epione_types::id::{PatientId, RecordId};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::read::{Paging, context, entry, view};
use super::wire;
use crate::handle::NodeHandle;

#[derive(Debug, Clone)]
pub(super) struct Records(pub(super) NodeHandle);

#[tonic::async_trait]
impl RecordService for Records {
    async fn get_record(
        &self,
        request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id: RecordId = fixed("record_id", &request.record_id).map_err(RpcError::from)?;
        let key = keys::record(id).as_bytes().to_vec();
        let (found, context) = entry(&self.0, &caller, request.options, key, move |view| {
            let found = read::record(view.state, view.now, view.caller.member, id)?;
            found.ok_or(RpcError::NotAllowed)
        })
        .await?;
        Ok(Response::new(pb::GetRecordResponse { record: Some(wire::record(&found)), context }))
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListRecordsRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::records_of_patient(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((records, next_page_token), head) = view(&self.0, &caller, min_height, move |view| {
            let reader = view.patient(id)?;
            paging.fill(
                |after, limit| reader.records(after, limit),
                |_| true,
                |record| keys::record_of_patient(id, record.id).as_bytes().to_vec(),
            )
        })
        .await?;
        let records = records.iter().map(wire::record).collect();
        Ok(Response::new(pb::ListRecordsResponse { records, next_page_token, context: Some(context(&head)) }))
    }
}
