//! Reads: each call of the API, at any node, again at the next one if a node fails.
//!
//! Requests and answers are the API's own messages (`epione_proto::v1`); what a node says here is its word, unless the
//! answer carries a proof and [`crate::verify`] accepts it.

use epione_proto::v1::{
    self as pb, audit_service_client::AuditServiceClient, consent_service_client::ConsentServiceClient,
    identity_service_client::IdentityServiceClient, ledger_service_client::LedgerServiceClient,
    operator_service_client::OperatorServiceClient, record_service_client::RecordServiceClient,
};
use epione_types::call::RecordAccess;
use epione_types::holding::{self, Holder};
use epione_types::id::{OrgId, PatientId, RecordId};
use epione_types::{BlockHeader, Height};

use crate::connection::ANSWER_BYTES_MAX;
use crate::verify::VerifyError;
use crate::{ClientError, EpioneClient};

macro_rules! reads {
    ($( $service:ident { $( $(#[$meta:meta])* $name:ident($request:ident) -> $response:ident; )+ } )+) => {
        impl EpioneClient { $( $(
            $(#[$meta])*
            ///
            /// # Errors
            /// [`ClientError::Api`]: the node's refusal, or that none answered in time.
            pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, ClientError> {
                self.call(request, |node, request| async move {
                    $service::new(node).max_decoding_message_size(ANSWER_BYTES_MAX).$name(request).await
                }).await
            }
        )+ )+ }
    };
}

reads! {
    IdentityServiceClient {
        /// One organisation.
        get_org(GetOrgRequest) -> GetOrgResponse;
        /// One practitioner.
        get_practitioner(GetPractitionerRequest) -> GetPractitionerResponse;
        /// One patient.
        get_patient(GetPatientRequest) -> GetPatientResponse;
        /// Whom the node takes this client for.
        who_am_i(WhoAmIRequest) -> WhoAmIResponse;
        /// A page of those who act for a patient, or did.
        list_representations(ListRepresentationsRequest) -> ListRepresentationsResponse;
    }
    RecordServiceClient {
        /// One record.
        get_record(GetRecordRequest) -> GetRecordResponse;
        /// A page of a patient's records.
        list_records(ListRecordsRequest) -> ListRecordsResponse;
    }
    ConsentServiceClient {
        /// One grant or denial.
        get_grant(GetGrantRequest) -> GetGrantResponse;
        /// A page of a patient's grants and denials.
        list_grants(ListGrantsRequest) -> ListGrantsResponse;
        /// A page of the requests for access to a patient's records.
        list_access_requests(ListAccessRequestsRequest) -> ListAccessRequestsResponse;
    }
    AuditServiceClient {
        /// A page of the accesses to a patient's records.
        list_access_events(ListAccessEventsRequest) -> ListAccessEventsResponse;
        /// A page of the emergency overrides on a patient.
        list_overrides(ListOverridesRequest) -> ListOverridesResponse;
        /// A page of an organisation's overrides that wait for their review.
        list_open_reviews(ListOpenReviewsRequest) -> ListOpenReviewsResponse;
        /// A page of the notices to a patient.
        list_notices(ListNoticesRequest) -> ListNoticesResponse;
    }
    LedgerServiceClient {
        /// Where the node stands.
        get_status(GetStatusRequest) -> GetStatusResponse;
        /// One block.
        get_block(GetBlockRequest) -> GetBlockResponse;
        /// One header with its proof; see [`EpioneClient::certified_header`].
        get_header(GetHeaderRequest) -> GetHeaderResponse;
        /// Headers in order of height.
        list_headers(ListHeadersRequest) -> ListHeadersResponse;
        /// What a key of the state held; see [`EpioneClient::state_value`].
        get_proof(GetProofRequest) -> GetProofResponse;
        /// The validators of an epoch.
        get_validators(GetValidatorsRequest) -> GetValidatorsResponse;
        /// The genesis as the node has it. Not to be taken on trust.
        get_genesis(GetGenesisRequest) -> GetGenesisResponse;
        /// A page of proven misbehaviour.
        list_evidence(ListEvidenceRequest) -> ListEvidenceResponse;
    }
    OperatorServiceClient {
        /// How the node is; on its operators' address only.
        get_node_status(GetNodeStatusRequest) -> GetNodeStatusResponse;
        /// Where consensus stands at the node, and what to do; on its operators' address only.
        explain(ExplainRequest) -> ExplainResponse;
        /// Makes a snapshot of the node's present state; on its operators' address only.
        make_snapshot(MakeSnapshotRequest) -> MakeSnapshotResponse;
    }
}

impl EpioneClient {
    /// What an access would come to now, as of `min_height` or later. Writes nothing.
    ///
    /// # Errors
    /// [`ClientError::Api`]: the node's refusal, or that none answered in time.
    pub async fn check_access(
        &self,
        access: &RecordAccess,
        min_height: Height,
    ) -> Result<pb::CheckAccessResponse, ClientError> {
        let options = pb::ReadOptions { min_height: min_height.0, with_proof: false };
        let request = pb::CheckAccessRequest { access: Some(access.into()), options: Some(options) };
        self.call(request, |node, request| async move {
            ConsentServiceClient::new(node).check_access(request).await
        })
        .await
    }

    /// A header that a quorum vouches for, verified; `None`: the last one.
    ///
    /// # Errors
    /// [`ClientError::Proof`] if the node's proof does not hold, or is for another height.
    pub async fn certified_header(&self, height: Option<Height>) -> Result<BlockHeader, ClientError> {
        let answer = self.get_header(pb::GetHeaderRequest { height: height.map_or(0, |h| h.0) }).await?;
        let header = self.header(&answer.certified.unwrap_or_default())?;
        same(height, &header)?;
        Ok(header)
    }

    /// What a key of the state held at a height (`None`: the last certified one), verified: its value, or `None` if it
    /// held nothing; and the header under which it did.
    ///
    /// # Errors
    /// [`ClientError::Proof`] if the node's proof does not hold, or is for another key or height.
    pub async fn state_value(
        &self,
        key: &[u8],
        height: Option<Height>,
    ) -> Result<(Option<bytes::Bytes>, BlockHeader), ClientError> {
        let (proof, header) = self.state_proof(key.to_vec(), height).await?;
        Ok((proof.value, header))
    }

    /// The proof of what a key held, verified.
    async fn state_proof(
        &self,
        key: Vec<u8>,
        height: Option<Height>,
    ) -> Result<(pb::StateValueProof, BlockHeader), ClientError> {
        let request =
            pb::GetProofRequest { key: key.clone().into(), height: height.map_or(0, |height| height.0) };
        let proof = self.get_proof(request).await?.proof.unwrap_or_default();
        if proof.key != key {
            return Err(VerifyError::OtherSubject.into());
        }
        let (_, header) = self.trust().value(&proof)?;
        same(height, &header)?;
        Ok((proof, header))
    }

    /// Proof that an organisation held no permit in force for a patient's record at a height (`None`: the last
    /// certified one), verified; and the header under which it held none. Keep it: [`Trust::no_grant`] needs no node.
    ///
    /// For the patient, who speaks for them, and the hospitals that care for them.
    ///
    /// # Errors
    /// [`VerifyError::Held`] if it may have held one, else [`ClientError::Proof`] if the node's proof does not hold.
    ///
    /// [`Trust::no_grant`]: crate::Trust::no_grant
    pub async fn no_grant(
        &self,
        (patient, record): (PatientId, RecordId),
        organisation: OrgId,
        height: Option<Height>,
    ) -> Result<(pb::NoGrantProof, BlockHeader), ClientError> {
        let held = holding::key(patient, Holder::Organisation(organisation));
        let (held, header) = self.state_proof(held, height).await?;
        let height = Some(header.height);
        let (everybody, _) = self.state_proof(holding::key(patient, Holder::Everybody), height).await?;
        // Of the present: a record registered later was nobody's at the time.
        let (listed, _) = self.state_proof(holding::record_key(patient, record), None).await?;
        let proof =
            pb::NoGrantProof { record: Some(listed), organisation: Some(held), everybody: Some(everybody) };
        let header = self.trust().no_grant((patient, record), organisation, &proof)?;
        Ok((proof, header))
    }
}

/// Is the header of the height that was asked for?
fn same(asked: Option<Height>, header: &BlockHeader) -> Result<(), VerifyError> {
    if asked.is_none_or(|asked| asked == header.height) { Ok(()) } else { Err(VerifyError::OtherSubject) }
}
