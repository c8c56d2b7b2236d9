//! Submitting and awaiting: the same bytes until there is an answer.
//!
//! ```text
//! send ──▶ window ──▶ stream to a node ──▶ answer
//!             ▲            │ node gone, or "try later"
//!             └── again ◀──┘ the same bytes, at the next node; the ledger commits them once
//! ```
//!
//! A certified answer is shown only after its proof was verified. Tested in `tests/client.rs`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_proto::v1::{self as pb, submit_stream_response::Result as StreamResult};
use epione_proto::{ApiError, ConvertError, ConvertReason, convert::fixed};
use epione_types::{Receipt, SignedTx, TxId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::connection::{ANSWER_BYTES_MAX, Pauses};
use crate::verify;
use crate::{ClientError, EpioneClient};

/// Pause before a transaction of a stream is sent again, if the node names none.
const PAUSE: Duration = Duration::from_millis(200);

/// How far a transaction must be before a call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Checked and taken by one node.
    Accepted,
    /// Executed by one node: its word.
    Committed,
    /// Final, with a proof that is verified here.
    Certified,
}

impl From<Wait> for pb::WaitLevel {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Accepted => Self::Accepted,
            Wait::Committed => Self::Committed,
            Wait::Certified => Self::Certified,
        }
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum TxStatus {
    /// This node has not seen it.
    Unknown,
    /// It waits to be ordered.
    Pending {
        /// A crash of the node does not lose it.
        durable: bool,
    },
    /// Executed: one node's word.
    Committed(Box<Receipt>),
    /// Final; the proof was verified and may be kept.
    Certified {
        /// Its outcome.
        receipt: Box<Receipt>,
        /// For anybody who has the genesis.
        proof: Box<pb::ReceiptProof>,
    },
    /// It can never commit any more. The proof needs the body to be verified ([`verify::Trust::expired`]);
    /// it was, if the transaction was submitted through this client.
    Expired(Box<pb::ExpiryProof>),
}

impl TxStatus {
    /// The outcome, if there is one yet.
    #[must_use]
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Committed(receipt) | Self::Certified { receipt, .. } => Some(receipt),
            Self::Unknown | Self::Pending { .. } | Self::Expired(_) => None,
        }
    }
}

/// What became of one transaction of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The transaction.
    pub id: TxId,
    /// Its status at the level asked for, or why there is none: a refusal at the door, or a proof that does not hold.
    pub result: Result<TxStatus, ClientError>,
}

impl EpioneClient {
    /// Submits a transaction, again and at other nodes until the time-out.
    ///
    /// Refused as EXPIRED, it was too late by a node's clock. If some node may have taken it before, that is no outcome yet:
    /// the same bytes sent again are answered with the receipt, or with [`TxStatus::Expired`] once the ledger's time is past.
    ///
    /// # Errors
    /// [`ClientError::Api`]: refused at the door, or not as far as asked within the time-out (its outcome is unknown
    /// then); [`ClientError::Proof`].
    pub async fn submit(&self, tx: &SignedTx, wait: Wait) -> Result<TxStatus, ClientError> {
        let wait = pb::WaitLevel::from(wait).into();
        let request = pb::SubmitRequest { transaction: Some(tx.into()), wait };
        let answer: pb::SubmitResponse = self
            .call(request, |node, request| async move {
                SubmissionServiceClient::new(node)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .submit(request)
                    .await
            })
            .await?;
        self.status(tx.id(), Some(&tx.body), answer.status)
    }

    /// What became of a transaction; with `wait`, once it is as far as that or expired.
    ///
    /// # Errors
    /// [`ClientError::Api`], [`ClientError::Proof`].
    pub async fn receipt(&self, id: TxId, wait: Option<Wait>) -> Result<TxStatus, ClientError> {
        let wait = wait.map_or(pb::WaitLevel::Unspecified, Into::into).into();
        let request = pb::GetReceiptRequest { transaction_id: epione_proto::convert::raw(id.0), wait };
        let answer: pb::GetReceiptResponse = self
            .call(request, |node, request| async move {
                SubmissionServiceClient::new(node)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .get_receipt(request)
                    .await
            })
            .await?;
        self.status(id, None, answer.status)
    }

    /// Opens a stream of transactions, each answered when it is as far as `wait`, in the order of completion. At most
    /// `window` are unanswered at a time: then [`SubmitSink::send`] waits, so the two ends belong in two tasks.
    #[must_use]
    pub fn submit_stream(&self, wait: Wait, window: usize) -> (SubmitSink, SubmitAnswers) {
        let (to, input) = mpsc::channel(1);
        let (output, from) = mpsc::channel(window.max(1));
        let pump = Pump {
            client: self.clone(),
            wait: pb::WaitLevel::from(wait).into(),
            window: window.max(1),
            input,
            output,
            open: HashMap::new(),
            ready: VecDeque::new(),
            later: VecDeque::new(),
        };
        tokio::spawn(pump.run());
        (SubmitSink(to), SubmitAnswers(from))
    }

    /// Checks a node's answer about `id`: that it is about it, and that its proof holds.
    fn status(
        &self,
        id: TxId,
        body: Option<&[u8]>,
        status: Option<pb::TransactionStatus>,
    ) -> Result<TxStatus, ClientError> {
        let status = status.ok_or_else(|| missing("status"))?;
        if status.transaction_id != id.as_bytes().as_slice() {
            return Err(ClientError::OtherTransaction { asked: id });
        }
        Ok(match status.state() {
            pb::TransactionState::Unknown => TxStatus::Unknown,
            pb::TransactionState::Pending => TxStatus::Pending { durable: status.durable },
            pb::TransactionState::Committed => {
                let receipt = Receipt::try_from(status.receipt.ok_or_else(|| missing("receipt"))?)?;
                if receipt.tx_id != id {
                    return Err(ClientError::OtherTransaction { asked: id });
                }
                TxStatus::Committed(Box::new(receipt))
            }
            pb::TransactionState::Certified => {
                let proof = status.proof.ok_or_else(|| missing("proof"))?;
                let header = self.header(proof.header.as_ref().ok_or_else(|| missing("proof.header"))?)?;
                let receipt = verify::receipt_under(&header, &proof)?;
                if receipt.tx_id != id {
                    return Err(ClientError::OtherTransaction { asked: id });
                }
                TxStatus::Certified { receipt: Box::new(receipt), proof: Box::new(proof) }
            }
            pb::TransactionState::Expired => {
                let proof = status.expiry_proof.ok_or_else(|| missing("expiry_proof"))?;
                if let Some(body) = body {
                    self.trust().expired(body, &proof)?;
                }
                TxStatus::Expired(Box::new(proof))
            }
            pb::TransactionState::Unspecified => return Err(missing("state").into()),
        })
    }
}

fn missing(field: &str) -> ConvertError {
    ConvertError::new(field, ConvertReason::MissingField, "not set")
}

/// Where transactions of a stream go in. Drop it when there are no more.
#[derive(Debug, Clone)]
pub struct SubmitSink(mpsc::Sender<SignedTx>);

impl SubmitSink {
    /// Sends one, once the window has room.
    ///
    /// # Errors
    /// Gives the transaction back if nobody reads the answers any more.
    pub async fn send(&self, tx: SignedTx) -> Result<(), SignedTx> {
        self.0.send(tx).await.map_err(|error| error.0)
    }
}

/// Where their answers come out. Dropping it ends the stream.
#[derive(Debug)]
pub struct SubmitAnswers(mpsc::Receiver<Answer>);

impl SubmitAnswers {
    /// The next answer; `None` when the sink is gone and everything was answered.
    pub async fn next(&mut self) -> Option<Answer> {
        self.0.recv().await
    }
}

/// A transaction that has no answer yet.
struct Open {
    tx: SignedTx,
    /// When to give up.
    until: Instant,
}

/// Keeps a stream to some node open while anything is unanswered.
struct Pump {
    client: EpioneClient,
    wait: i32,
    window: usize,
    input: mpsc::Receiver<SignedTx>,
    output: mpsc::Sender<Answer>,
    open: HashMap<TxId, Open>,
    /// To be sent on the present stream.
    ready: VecDeque<TxId>,
    /// To be sent when their time has come; a node said so.
    later: VecDeque<(Instant, TxId)>,
}

/// Why a stream ended.
enum End {
    /// Everything is answered, or nobody listens any more.
    Done,
    /// The node is gone.
    Broken(ApiError),
}

impl Pump {
    async fn run(mut self) {
        let mut pauses = Pauses::default();
        loop {
            // An idle pump holds no stream open.
            if self.open.is_empty() {
                match self.input.recv().await {
                    Some(tx) => self.admit(tx),
                    None => return,
                }
            }
            let (number, node) = self.client.node();
            match self.serve(SubmissionServiceClient::new(node), &mut pauses).await {
                End::Done => return,
                End::Broken(error) => {
                    let error = self.client.error(number, error);
                    self.client.move_on(number);
                    if self.give_up(&error).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pauses.next()).await;
                    self.later.clear();
                    self.ready = self.open.keys().copied().collect();
                }
            }
        }
    }

    fn admit(&mut self, tx: SignedTx) {
        let id = tx.id();
        let until = Instant::now() + self.client.timeout();
        if self.open.insert(id, Open { tx, until }).is_none() {
            self.ready.push_back(id);
        }
    }

    /// One stream to one node.
    async fn serve(
        &mut self,
        node: SubmissionServiceClient<crate::connection::Node>,
        pauses: &mut Pauses,
    ) -> End {
        let (to, requests) = mpsc::channel::<pb::SubmitStreamRequest>(64);
        let mut node = node.max_decoding_message_size(ANSWER_BYTES_MAX);
        let opened = node.submit_stream(ReceiverStream::new(requests));
        let patience = self.client.attempt_timeout();
        let mut answers: Streaming<pb::SubmitStreamResponse> =
            match tokio::time::timeout(patience, opened).await {
                Ok(Ok(answers)) => answers.into_inner(),
                Ok(Err(status)) => return End::Broken(ApiError::from(&status)),
                Err(_) => return End::Broken(silent()),
            };
        let mut more = true;
        let mut heard = Instant::now();
        loop {
            if self.open.is_empty() && !more {
                return End::Done;
            }
            let due = self.later.front().map(|(at, _)| *at);
            let room = more && self.open.len() < self.window && self.ready.is_empty();
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        pauses.reset();
                        heard = Instant::now();
                        if self.take(answer).await.is_err() {
                            return End::Done;
                        }
                    }
                    Ok(None) => return End::Broken(silent()),
                    Err(status) => return End::Broken(ApiError::from(&status)),
                },
                permit = to.reserve(), if !self.ready.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(open) = self.ready.pop_front().and_then(|id| self.open.get(&id)) {
                            let transaction = Some((&open.tx).into());
                            permit.send(pb::SubmitStreamRequest { transaction, wait: self.wait });
                        }
                    }
                    Err(_) => return End::Broken(silent()),
                },
                tx = self.input.recv(), if room => match tx {
                    Some(tx) => {
                        if self.open.is_empty() {
                            heard = Instant::now();
                        }
                        self.admit(tx);
                    }
                    None => more = false,
                },
                // A node that is cut off from the others holds what it was given: another one may do better.
                () = tokio::time::sleep_until(heard + patience), if !self.open.is_empty() => {
                    return End::Broken(silent());
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.ready.extend(self.later.pop_front().map(|(_, id)| id));
                }
            }
        }
    }

    /// Passes an answer on, or plans to ask again.
    async fn take(&mut self, answer: pb::SubmitStreamResponse) -> Result<(), ()> {
        // An answer about something that was not asked, or twice, is nobody's.
        let Ok(id) = fixed::<TxId>("transaction_id", &answer.transaction_id) else { return Ok(()) };
        let Some(open) = self.open.get(&id) else { return Ok(()) };
        let result = match answer.result {
            Some(StreamResult::Status(status)) => self.client.status(id, Some(&open.tx.body), Some(status)),
            Some(StreamResult::Error(error)) => Err(ApiError::from(error).into()),
            None => Err(missing("result").into()),
        };
        if let Some(error) = result.as_ref().err().and_then(ClientError::retryable) {
            let at = Instant::now() + error.retry_after.unwrap_or(PAUSE);
            if at < open.until {
                let place = self.later.partition_point(|(other, _)| *other <= at);
                self.later.insert(place, (at, id));
                return Ok(());
            }
        }
        self.open.remove(&id);
        self.output.send(Answer { id, result }).await.map_err(drop)
    }

    /// Answers what has waited too long: its outcome is unknown.
    async fn give_up(&mut self, error: &ApiError) -> Result<(), ()> {
        let now = Instant::now();
        let late: Vec<TxId> =
            self.open.iter().filter(|(_, open)| open.until <= now).map(|(id, _)| *id).collect();
        // A refusal of the stream itself (a token, an address) is the answer to everything.
        let late = if error.is_retryable() { late } else { self.open.keys().copied().collect() };
        for id in late {
            self.open.remove(&id);
            let answer = Answer { id, result: Err(error.clone().into()) };
            self.output.send(answer).await.map_err(drop)?;
        }
        Ok(())
    }
}

fn silent() -> ApiError {
    ApiError::new(Code::Unavailable, "", "the node ended the stream or fell silent")
}
