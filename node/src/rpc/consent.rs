//! Grants and denials, requests for them, and what an access would come to.
//!
//! A stream of checks is pulled by its reader: what has arrived is read as of one block, at most [`CHECKS_AT_ONCE`] at a time,
//! answered, and only then is more taken in. It ends with the token that opened it, and with the key's registration, which
//! is looked at in every block that is read.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use epione_chaincode::consent::requests::AccessRequest;
use epione_chaincode::read::{self, Reader};
use epione_chaincode::{Decided, check_access_as_told, host, keys};
use epione_client::auth::TokenError;
use epione_client::tx;
use epione_ledger::chain::Head;
use epione_proto::convert::{code_to_wire, fixed, raw};
use epione_proto::v1::{self as pb, consent_service_server::ConsentService};
use epione_proto::{ConvertError, ConvertReason};
use epione_types::call::RecordAccess;
use epione_types::codes::Reason;
use epione_types::id::{GrantId, PatientId};
use futures::stream::StreamExt as _;
use tokio::time::{Instant, timeout};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::door::{Caller, caller};
use super::error::RpcError;
use super::read::{Paging, View, context, entry, view, view_until};
use super::wire;
use crate::handle::{NodeError, NodeHandle};

/// Checks of a stream that are read together.
const CHECKS_AT_ONCE: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Consent {
    pub(super) node: NodeHandle,
    /// How long one check of a stream may wait for its height.
    pub(super) wait_max: Duration,
    pub(super) stop: CancellationToken,
}

/// The access that is asked about, and how fresh the state must be.
fn asked(request: pb::CheckAccessRequest) -> Result<(RecordAccess, u64), RpcError> {
    let pb::CheckAccessRequest { access, options } = request;
    let options = options.unwrap_or_default();
    if options.with_proof {
        return Err(RpcError::NoProofs);
    }
    let unset = || ConvertError::new("access", ConvertReason::MissingField, "not set");
    let access = RecordAccess::try_from(access.ok_or_else(unset)?).map_err(|error| error.within("access"))?;
    Ok((access, options.min_height))
}

/// What an access would come to, and what the caller may know of the reason.
fn check(view: &View<'_>, access: &RecordAccess) -> Result<(Decided, Reason), RpcError> {
    let (decided, told) = check_access_as_told(view.state, view.now, view.caller.member, access)?;
    if decided.reason == told {
        return Ok((decided, told));
    }
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
}

fn answer((decided, reason): &(Decided, Reason), head: &Head) -> pb::CheckAccessResponse {
    pb::CheckAccessResponse {
        decision: code_to_wire(decided.decision),
        reason: code_to_wire(*reason),
        grant_id: decided.grant.map(|id| raw(id.0)),
        obligations: decided.obligations.iter().copied().map(code_to_wire).collect(),
        context: Some(context(head)),
    }
}

type Asked = Result<pb::CheckAccessStreamRequest, Status>;
type Answered = Result<pb::CheckAccessStreamResponse, Status>;

impl Consent {
    /// An answer that is an error is the last one.
    fn checks(
        self,
        caller: Arc<Caller>,
        requests: Streaming<pb::CheckAccessStreamRequest>,
    ) -> impl Stream<Item = Answered> + Send {
        let requests = requests.ready_chunks(CHECKS_AT_ONCE);
        let answers = futures::stream::unfold(Some(requests), move |requests| {
            let (this, caller) = (self.clone(), caller.clone());
            async move {
                let mut requests = requests?;
                let answers = match this.before_the_end(&caller, requests.next()).await {
                    Ok(together) => this.together(&caller, together?).await,
                    Err(error) => vec![Err(error.into())],
                };
                let more = answers.iter().all(Result::is_ok).then_some(requests);
                Some((answers, more))
            }
        });
        answers.flat_map(futures::stream::iter)
    }

    /// Waits no longer than the token is valid.
    async fn before_the_end<T>(
        &self,
        caller: &Caller,
        waiting: impl Future<Output = T>,
    ) -> Result<T, RpcError> {
        let (now, end) = (tx::now(), caller.expires);
        let expired = || TokenError::Expired { exp: end.0 / 1_000, now: tx::now().0 / 1_000 };
        if end <= now {
            return Err(expired().into()); // requests that are there already do not wait
        }
        let waiting = timeout(Duration::from_millis(end.0.saturating_sub(now.0)), waiting);
        match self.stop.run_until_cancelled(waiting).await {
            Some(Ok(found)) => Ok(found),
            Some(Err(_)) => Err(expired().into()),
            None => Err(NodeError::Stopping.into()),
        }
    }

    /// Answers what has arrived, as of one block, up to the first that is no check.
    async fn together(&self, caller: &Arc<Caller>, requests: Vec<Asked>) -> Vec<Answered> {
        let (mut accesses, mut min_height, mut fault) = (Vec::with_capacity(requests.len()), 0, None);
        for request in requests {
            let request = request.map_err(RpcError::Transport);
            match request.and_then(|request| asked(request.check.unwrap_or_default())) {
                Ok((access, height)) => {
                    accesses.push(access);
                    min_height = height.max(min_height);
                }
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
        let deadline = Instant::now() + self.wait_max;
        let look = move |view: &View<'_>| {
            if read::member_of(view.state, &view.caller.key)? != Some(view.caller.member) {
                return Err(RpcError::UnknownKey(view.state.0.head().height));
            }
            accesses.iter().map(|access| check(view, access)).collect::<Result<Vec<_>, _>>()
        };
        let mut answers: Vec<Answered> =
            match view_until(&self.node, caller, deadline, min_height, look).await {
                Ok((decided, head)) => decided
                    .iter()
                    .map(|decided| Ok(pb::CheckAccessStreamResponse { answer: Some(answer(decided, &head)) }))
                    .collect(),
                Err(error) => return vec![Err(error.into())],
            };
        answers.extend(fault.map(|error| Err(error.into())));
        answers
    }
}

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
        let (found, context) = entry(&self.node, &caller, request.options, key, move |view| {
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
        let ((grants, next_page_token), head) = view(&self.node, &caller, min_height, move |view| {
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
        let (access, min_height) = asked(request.into_inner())?;
        let look = move |view: &View<'_>| check(view, &access);
        let (decided, head) = view(&self.node, &caller, min_height, look).await?;
        Ok(Response::new(answer(&decided, &head)))
    }

    type CheckAccessStreamStream = Pin<Box<dyn Stream<Item = Answered> + Send>>;

    async fn check_access_stream(
        &self,
        request: Request<Streaming<pb::CheckAccessStreamRequest>>,
    ) -> Result<Response<Self::CheckAccessStreamStream>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(Box::pin(self.clone().checks(caller, request.into_inner()))))
    }

    async fn list_access_requests(
        &self,
        request: Request<pb::ListAccessRequestsRequest>,
    ) -> Result<Response<pb::ListAccessRequestsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListAccessRequestsRequest { patient_id, page, options } = request.into_inner();
        let id: PatientId = fixed("patient_id", &patient_id).map_err(RpcError::from)?;
        let paging = Paging::new(page, options.as_ref(), keys::access_requests(id).from())?;
        let min_height = options.unwrap_or_default().min_height;
        let ((found, next_page_token), head) = view(&self.node, &caller, min_height, move |view| {
            let key = |it: &AccessRequest| keys::access_request(id, it.id).as_bytes().to_vec();
            let member = view.caller.member;
            if let Some(reader) = Reader::open(view.state, view.now, member, id)? {
                return paging.fill(|after, limit| reader.access_requests(after, limit), |_| true, key);
            }
            // Who asked sees that they did; who did not hears what they would of a patient that there is none of.
            let own =
                |after: Option<&[u8]>, limit| read::own_access_requests(view.state, member, id, after, limit);
            let (own, next) = paging.fill(own, |_| true, key)?;
            if own.is_empty() { Err(RpcError::NotAllowed) } else { Ok((own, next)) }
        })
        .await?;
        Ok(Response::new(pb::ListAccessRequestsResponse {
            access_requests: found.iter().map(|it| wire::access_request(id, it)).collect(),
            next_page_token,
            context: Some(context(&head)),
        }))
    }
}
