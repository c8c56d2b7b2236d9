//! Writing: submit, and learn what became of it.
//!
//! A stream is pulled by its reader: an answer goes out, then the next request is read, and there is always a bounded
//! number in flight. Whoever does not read its answers is not read either. The token was verified once, at the door.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use epione_proto::convert::{fixed, raw};
use epione_proto::v1::submission_service_server::SubmissionService;
use epione_proto::v1::{self as pb, submit_stream_response::Result as StreamResult};
use epione_proto::{ApiError, ConvertError, ConvertReason};
use epione_types::{Domain, Height, SignedTx, TimestampMs, TxId};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Request, Response, Status, Streaming};

use super::Limits;
use super::door::{Caller, caller};
use super::error::RpcError;
use super::proof::{self, ReceiptProofs};
use crate::handle::{Committed, Level, NodeError, NodeHandle, Outcome};
use crate::mempool::Client;

/// How often a watched transaction is looked at between blocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When a stream's client may send a transaction again whose outcome is unknown.
const AGAIN: Duration = Duration::from_secs(1);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(super) struct Submission(Arc<Parts>);

pub(super) struct Parts {
    node: NodeHandle,
    proofs: ReceiptProofs,
    limits: Limits,
    stop: CancellationToken,
}

impl core::ops::Deref for Submission {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

fn level(number: i32) -> Result<Option<Level>, RpcError> {
    match pb::WaitLevel::try_from(number) {
        Ok(pb::WaitLevel::Unspecified) => Ok(None),
        Ok(pb::WaitLevel::Accepted) => Ok(Some(Level::Accepted)),
        Ok(pb::WaitLevel::Committed) => Ok(Some(Level::Committed)),
        Ok(pb::WaitLevel::Certified) => Ok(Some(Level::Certified)),
        Err(_) => {
            Err(ConvertError::new("wait", ConvertReason::UnknownCode, format!("{number}; 0 to 3")).into())
        }
    }
}

/// A stream of submissions.
struct Bulk<F> {
    /// None when the client has sent its last.
    requests: Option<Streaming<pb::SubmitStreamRequest>>,
    /// What has no answer yet, and the bytes of it.
    open: FuturesUnordered<F>,
    bytes: usize,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Submission {
    pub(super) fn new(node: NodeHandle, limits: Limits, stop: CancellationToken) -> Self {
        let proofs = ReceiptProofs::new(node.clone());
        Self(Arc::new(Parts { node, proofs, limits, stop }))
    }

    /// Submits one and waits.
    async fn submitted(
        &self,
        client: Client,
        transaction: Option<pb::SignedTransaction>,
        wait: i32,
    ) -> Result<pb::TransactionStatus, RpcError> {
        let level = level(wait)?.unwrap_or(Level::Accepted);
        let unset = || ConvertError::new("transaction", ConvertReason::MissingField, "not set");
        let mut tx = SignedTx::try_from(transaction.ok_or_else(unset)?)
            .map_err(|error: ConvertError| error.within("transaction"))?;
        // A slice of the receive buffer would keep all of that for as long as the transaction waits.
        tx.body = Bytes::copy_from_slice(&tx.body);
        // The certificate is waited for below, where a block's proofs are made once for all.
        let done = self.node.submit(tx, client, level.min(Level::Committed)).await?;
        self.status(done.id, done.outcome, level == Level::Certified, done.durable).await
    }

    /// What is known of a transaction; with `certify`, once a receipt is certified.
    async fn status(
        &self,
        id: TxId,
        outcome: Outcome,
        certify: bool,
        durable: bool,
    ) -> Result<pb::TransactionStatus, RpcError> {
        let mut status = pb::TransactionStatus { transaction_id: raw(id.0), ..Default::default() };
        let receipt = |committed: &Committed| Some(committed.receipt().into());
        let state = match outcome {
            Outcome::Unknown => pb::TransactionState::Unknown,
            Outcome::Pending { .. } => {
                status.durable = durable;
                pb::TransactionState::Pending
            }
            Outcome::Committed(committed) if !certify => {
                status.receipt = receipt(&committed);
                pb::TransactionState::Committed
            }
            Outcome::Committed(committed) | Outcome::Certified(committed, _) => {
                status.receipt = receipt(&committed);
                status.proof = Some(self.proofs.of(&committed).await?);
                pb::TransactionState::Certified
            }
            Outcome::Expired { expires_at } => {
                status.expiry_proof = Some(self.expired(id, expires_at).await?);
                pb::TransactionState::Expired
            }
        };
        status.set_state(state);
        // Whoever waits for a receipt is told of it a little before those who follow the ledger.
        let there = status.receipt.as_ref().map_or(0, |receipt| receipt.height);
        status.height = self.node.progress().borrow().height.0.max(there);
        Ok(status)
    }

    /// Waits until the first block past the expiry is certified, and proves the absence under it.
    async fn expired(&self, id: TxId, expires_at: TimestampMs) -> Result<pb::ExpiryProof, RpcError> {
        let mut progress = self.node.progress();
        loop {
            let certified = progress.borrow_and_update().certified;
            if let Some(expiry) = self.node.expiry(id, expires_at).await? {
                return Ok(proof::expired(&expiry));
            }
            let past = move |chain: &Arc<epione_ledger::chain::Chain>| {
                let header = chain.header(certified)?;
                Ok::<_, NodeError>(header.is_some_and(|header| header.timestamp > expires_at))
            };
            if certified > Height::ZERO && self.node.read(past).await? {
                return Err(RpcError::ExpiryNotProvable);
            }
            progress.changed().await.map_err(|_| NodeError::Stopping)?;
        }
    }

    /// One of a stream. A refusal is an answer like any other.
    async fn one(self, client: Client, request: pb::SubmitStreamRequest) -> pb::SubmitStreamResponse {
        let pb::SubmitStreamRequest { transaction, wait } = request;
        let id = transaction.as_ref().map(|tx| Domain::TX_ID.hash(&tx.body));
        let submitted = self.submitted(client, transaction, wait);
        let result = match tokio::time::timeout(self.limits.wait_max, submitted).await {
            Ok(Ok(status)) => StreamResult::Status(status),
            Ok(Err(error)) => StreamResult::Error(ApiError::from(error).into()),
            Err(_) => {
                let error = ApiError::from(RpcError::Deadline);
                StreamResult::Error(ApiError { retry_after: Some(AGAIN), ..error }.into())
            }
        };
        pb::SubmitStreamResponse {
            transaction_id: id.map(|id| raw(id.0)).unwrap_or_default(),
            result: Some(result),
        }
    }

    fn answers(
        self,
        caller: Arc<Caller>,
        requests: Streaming<pb::SubmitStreamRequest>,
    ) -> impl Stream<Item = Result<pb::SubmitStreamResponse, Status>> + Send {
        let client = caller.client();
        let bulk = Bulk {
            requests: Some(requests),
            open: FuturesUnordered::new(),
            bytes: 0,
            stop: Box::pin(self.stop.child_token().cancelled_owned()),
        };
        futures::stream::unfold(Some(bulk), move |bulk| {
            let (this, _room) = (self.clone(), caller.clone());
            async move {
                let mut bulk = bulk?;
                let Bulk { requests, open, bytes, stop } = &mut bulk;
                loop {
                    if requests.is_none() && open.is_empty() {
                        return None;
                    }
                    let room =
                        open.len() < this.limits.in_flight_max && *bytes < this.limits.in_flight_bytes_max;
                    // A stream that has ended is never ready again: else this would spin until the last answer.
                    let next = async {
                        match requests.as_mut() {
                            Some(requests) => requests.next().await,
                            None => core::future::pending().await,
                        }
                    };
                    let error = tokio::select! {
                        biased;
                        () = stop.as_mut() => NodeError::Stopping.into(),
                        Some((answer, size)) = open.next() => {
                            *bytes = bytes.saturating_sub(size);
                            return Some((Ok(answer), Some(bulk)));
                        }
                        request = next, if room => match request {
                            Some(Ok(request)) => {
                                let size = request.transaction.as_ref().map_or(0, |tx| tx.body.len());
                                *bytes = bytes.saturating_add(size);
                                let one = this.clone().one(client, request);
                                open.push(async move { (one.await, size) });
                                continue;
                            }
                            Some(Err(status)) => RpcError::Transport(status),
                            None => {
                                *requests = None;
                                continue;
                            }
                        },
                    };
                    return Some((Err(error.into()), None));
                }
            }
        })
    }

    /// The present status, then each other one until the last.
    fn changes(
        self,
        caller: Arc<Caller>,
        id: TxId,
    ) -> impl Stream<Item = Result<pb::WatchReceiptResponse, Status>> + Send {
        let until = Instant::now() + self.limits.stream_age_max;
        let first = Some(pb::TransactionState::Unspecified);
        futures::stream::unfold(first, move |told| {
            let (this, _room) = (self.clone(), caller.clone());
            async move {
                let told = told?;
                let answer = this.change(id, told, until).await;
                let last = match &answer {
                    Ok(status) => matches!(
                        status.state(),
                        pb::TransactionState::Certified | pb::TransactionState::Expired
                    ),
                    Err(_) => true,
                };
                let next = answer.as_ref().ok().filter(|_| !last).map(pb::TransactionStatus::state);
                let answer = answer.map(|status| pb::WatchReceiptResponse { status: Some(status) });
                Some((answer.map_err(Status::from), next))
            }
        })
    }

    /// The next status that is not the one told.
    async fn change(
        &self,
        id: TxId,
        told: pb::TransactionState,
        until: Instant,
    ) -> Result<pb::TransactionStatus, RpcError> {
        let mut progress = self.node.progress();
        loop {
            progress.mark_unchanged();
            let status = self.status(id, self.node.outcome(id).await?, false, false).await?;
            if status.state() != told {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(RpcError::StreamAge { minutes: self.limits.stream_age_max.as_secs() / 60 });
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(NodeError::Stopping.into()),
                changed = tokio::time::timeout(LOOK_EVERY, progress.changed()) => {
                    if matches!(changed, Ok(Err(_))) {
                        return Err(NodeError::Stopping.into());
                    }
                }
            }
        }
    }
}

#[tonic::async_trait]
impl SubmissionService for Submission {
    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        let client = caller(&request)?.client();
        let pb::SubmitRequest { transaction, wait } = request.into_inner();
        let status = self.submitted(client, transaction, wait).await?;
        Ok(Response::new(pb::SubmitResponse { status: Some(status) }))
    }

    type SubmitStreamStream = Answers<pb::SubmitStreamResponse>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<pb::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(Box::pin(self.clone().answers(caller, request.into_inner()))))
    }

    /// Whoever knows an id knows the body: it is a hash over random bytes.
    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let pb::GetReceiptRequest { transaction_id, wait } = request.into_inner();
        let id: TxId = fixed("transaction_id", &transaction_id).map_err(RpcError::from)?;
        let wanted = level(wait)?;
        let outcome = match wanted {
            None => self.node.outcome(id).await,
            Some(level) => self.node.wait_for(id, level.min(Level::Committed)).await,
        };
        let certify = wanted == Some(Level::Certified);
        let status = self.status(id, outcome.map_err(RpcError::from)?, certify, false).await?;
        Ok(Response::new(pb::GetReceiptResponse { status: Some(status) }))
    }

    type WatchReceiptStream = Answers<pb::WatchReceiptResponse>;

    async fn watch_receipt(
        &self,
        request: Request<pb::WatchReceiptRequest>,
    ) -> Result<Response<Self::WatchReceiptStream>, Status> {
        let caller = caller(&request)?;
        let id: TxId =
            fixed("transaction_id", &request.into_inner().transaction_id).map_err(RpcError::from)?;
        Ok(Response::new(Box::pin(self.clone().changes(caller, id))))
    }
}
