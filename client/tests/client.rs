//! The SDK against a node made of canned answers, over TLS on loopback: tokens, failover, retries, streams, resumption.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{GENESIS_TIME, block, expiry_proof, genesis, receipt_proof, transaction, trust};
use epione_client::{ClientError, Config, EpioneClient, Start, Trust, TxStatus, Wait, auth, tx};
use epione_proto::ApiError;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_proto::v1::event_service_server::{EventService, EventServiceServer};
use epione_proto::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use epione_proto::v1::submission_service_server::{SubmissionService, SubmissionServiceServer};
use epione_types::id::{EventCursor, OrgId};
use epione_types::{Height, SecretKey, SignedTx, Signer, TxId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a node does with the next submissions; then it commits.
#[derive(Clone)]
enum Then {
    Fail(ApiError),
    Answer(Box<pb::TransactionStatus>),
    Never,
}

#[derive(Default)]
struct Script {
    submit: VecDeque<Then>,
    /// Subscriptions: what each sends before it ends.
    events: VecDeque<Vec<pb::SubscribeResponse>>,
    /// A stream ends after this many answers, once.
    break_stream_after: Option<usize>,
    /// Seen transactions, as sent.
    seen: Vec<SignedTx>,
    subscribed: Vec<pb::SubscribeRequest>,
    unanswered_max: usize,
}

#[derive(Clone, Default)]
struct Node(Arc<Mutex<Script>>);

fn caller<T>(request: &Request<T>) -> Result<(), Status> {
    let header = request.metadata().get("authorization").unwrap().to_str().unwrap();
    let token = header.strip_prefix("Bearer ").unwrap();
    let caller = auth::verify(token, genesis().chain_id(), tx::now())
        .map_err(|error| ApiError::new(Code::Unauthenticated, error.reason(), error.to_string()))?;
    assert_eq!(caller.key, key().public_key());
    Ok(())
}

fn committed(id: TxId) -> pb::TransactionStatus {
    let receipt = pb::Receipt {
        version: 1,
        transaction_id: raw(id.0),
        height: 7,
        index: 0,
        outcome: Some(epione_types::Outcome::Ok.into()),
        events: Vec::new(),
    };
    pb::TransactionStatus {
        transaction_id: raw(id.0),
        state: pb::TransactionState::Committed.into(),
        receipt: Some(receipt),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl SubmissionService for Node {
    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        caller(&request)?;
        let tx = SignedTx::try_from(request.into_inner().transaction.unwrap()).unwrap();
        let then = {
            let mut script = self.0.lock().unwrap();
            script.seen.push(tx.clone());
            script.submit.pop_front()
        };
        let status = match then {
            Some(Then::Fail(error)) => return Err(error.into()),
            Some(Then::Never) => std::future::pending().await,
            Some(Then::Answer(status)) => *status,
            None => committed(tx.id()),
        };
        Ok(Response::new(pb::SubmitResponse { status: Some(status) }))
    }

    type SubmitStreamStream = Boxed<pb::SubmitStreamResponse>;
    async fn submit_stream(
        &self,
        request: Request<Streaming<pb::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        caller(&request)?;
        let mut input = request.into_inner();
        let script = Arc::clone(&self.0);
        let break_after = script.lock().unwrap().break_stream_after.take();
        let (to, answers) = mpsc::channel(1_000);
        tokio::spawn(async move {
            let mut held: Vec<TxId> = Vec::new();
            let mut answered = 0;
            while let Some(Ok(request)) = input.next().await {
                let tx = SignedTx::try_from(request.transaction.unwrap()).unwrap();
                held.push(tx.id());
                let fail = {
                    let mut script = script.lock().unwrap();
                    script.seen.push(tx);
                    script.unanswered_max = script.unanswered_max.max(held.len());
                    script.submit.pop_front()
                };
                // Answers in another order than asked, when the window is full.
                if held.len() < 16 {
                    continue;
                }
                for id in held.drain(..).rev() {
                    if break_after == Some(answered) {
                        let _ = to.send(Err(Status::unavailable("gone"))).await;
                        return;
                    }
                    answered += 1;
                    let result = match &fail {
                        Some(Then::Fail(error)) => {
                            pb::submit_stream_response::Result::Error(error.clone().into())
                        }
                        _ => pb::submit_stream_response::Result::Status(committed(id)),
                    };
                    let answer = pb::SubmitStreamResponse { transaction_id: raw(id.0), result: Some(result) };
                    let _ = to.send(Ok(answer)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let status = match self.0.lock().unwrap().submit.pop_front() {
            Some(Then::Answer(status)) => *status,
            _ => committed(TxId::try_from(&*request.into_inner().transaction_id).unwrap()),
        };
        Ok(Response::new(pb::GetReceiptResponse { status: Some(status) }))
    }

    type WatchReceiptStream = Boxed<pb::WatchReceiptResponse>;
    async fn watch_receipt(
        &self,
        _: Request<pb::WatchReceiptRequest>,
    ) -> Result<Response<Self::WatchReceiptStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

#[tonic::async_trait]
impl EventService for Node {
    type SubscribeStream = Boxed<pb::SubscribeResponse>;
    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        caller(&request)?;
        let mut script = self.0.lock().unwrap();
        script.subscribed.push(request.into_inner());
        let Some(events) = script.events.pop_front() else {
            return Err(ApiError::new(Code::OutOfRange, "PRUNED", "heights below 9 are pruned").into());
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(events.into_iter().map(Ok)))))
    }
}

macro_rules! not_scripted {
    ($($name:ident($request:ident) -> $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl LedgerService for Node {
            async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Result<Response<pb::GetStatusResponse>, Status> {
                caller(&request)?;
                Ok(Response::new(pb::GetStatusResponse { chain_id: raw(genesis().chain_id().0), ..Default::default() }))
            }
            $(async fn $name(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Status::unimplemented("not scripted"))
            })+
        }
    };
}

not_scripted! {
    get_block(GetBlockRequest) -> GetBlockResponse,
    get_header(GetHeaderRequest) -> GetHeaderResponse,
    list_headers(ListHeadersRequest) -> ListHeadersResponse,
    get_proof(GetProofRequest) -> GetProofResponse,
    get_validators(GetValidatorsRequest) -> GetValidatorsResponse,
    get_genesis(GetGenesisRequest) -> GetGenesisResponse,
    list_evidence(ListEvidenceRequest) -> ListEvidenceResponse,
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[42; 32])
}

/// Two nodes under one authority, and a client that knows both and a third endpoint where nobody listens.
struct Lab {
    nodes: [Node; 2],
    endpoints: Vec<String>,
    ca: Vec<u8>,
}

impl Lab {
    async fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let nodes = [Node::default(), Node::default()];
        // A port that was free a moment ago, with nobody behind it.
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut endpoints = vec![format!("https://{nobody}")];
        for node in &nodes {
            let node_key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&node_key, &issuer).unwrap().pem();
            let identity = Identity::from_pem(certificate, node_key.serialize_pem());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            endpoints.push(format!("https://{}", listener.local_addr().unwrap()));
            let server = Server::builder()
                .tls_config(ServerTlsConfig::new().identity(identity))
                .unwrap()
                .add_service(SubmissionServiceServer::new(node.clone()))
                .add_service(EventServiceServer::new(node.clone()))
                .add_service(LedgerServiceServer::new(node.clone()));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        }
        Self { nodes, endpoints, ca: ca.into_bytes() }
    }

    fn config(&self) -> Config {
        Config::new(self.endpoints.clone(), self.ca.clone(), trust(), key())
    }

    async fn client(&self) -> EpioneClient {
        EpioneClient::connect(self.config()).await.unwrap()
    }

    /// What both nodes are told to do next.
    fn script(&self, which: usize, then: impl IntoIterator<Item = Then>) {
        self.nodes[which].0.lock().unwrap().submit.extend(then);
    }

    fn seen(&self) -> Vec<SignedTx> {
        self.nodes.iter().flat_map(|node| node.0.lock().unwrap().seen.clone()).collect()
    }
}

fn unavailable() -> Then {
    Then::Fail(ApiError::new(Code::Unavailable, "NOT_IN_CONSENSUS", "no quorum"))
}

#[tokio::test]
async fn it_finds_a_node_that_listens_and_shows_its_token() {
    let lab = Lab::new().await;
    let tx = transaction(GENESIS_TIME, 1);
    let status = lab.client().await.submit(&tx, Wait::Committed).await.unwrap();
    assert_eq!(status.receipt().unwrap().tx_id, tx.id());
    assert_eq!(lab.seen(), [tx]);
}

#[tokio::test]
async fn another_chain_is_noticed() {
    let lab = Lab::new().await;
    let mut other = genesis();
    other.timestamp = GENESIS_TIME.next();
    let config = Config { trust: Trust::new(&other).unwrap(), ..lab.config() };
    // The node refuses the token, which is for the other chain, before it says which chain it serves.
    let error = EpioneClient::connect(config).await.unwrap_err();
    assert!(matches!(error, ClientError::Api(api) if api.reason == "TOKEN_AUDIENCE"));
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (lab, stranger) = (Lab::new().await, Lab::new().await);
    let config = Config { ca_pem: stranger.ca, timeout: Duration::from_millis(300), ..lab.config() };
    let error = EpioneClient::connect(config).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named() {
    let lab = Lab::new().await;
    let endpoints = lab.endpoints[..1].to_vec();
    let config = Config { endpoints, timeout: Duration::from_millis(300), ..lab.config() };
    let error = EpioneClient::connect(config).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&lab.endpoints[0]) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_says_why() {
    let lab = Lab::new().await;
    for endpoints in [vec![], vec!["http://127.0.0.1:1".to_owned()], vec!["https://a b".to_owned()]] {
        let error = EpioneClient::lazy(Config { endpoints, ..lab.config() }).unwrap_err();
        assert!(matches!(&error, ClientError::Config(text) if text.contains("endpoint")), "{error}");
    }
}

#[tokio::test]
async fn the_same_bytes_go_to_the_next_node() {
    let lab = Lab::new().await;
    let tx = transaction(GENESIS_TIME, 1);
    lab.script(0, [unavailable(), unavailable()]);
    lab.script(1, [unavailable()]);
    let status = lab.client().await.submit(&tx, Wait::Committed).await.unwrap();
    assert!(matches!(status, TxStatus::Committed(_)));
    assert_eq!(lab.seen(), vec![tx; 4]);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_left() {
    let lab = Lab::new().await;
    let tx = transaction(GENESIS_TIME, 1);
    lab.script(0, [Then::Never]);
    let config = Config { attempt_timeout: Duration::from_millis(200), ..lab.config() };
    let client = EpioneClient::connect(config).await.unwrap();
    assert!(matches!(client.submit(&tx, Wait::Committed).await.unwrap(), TxStatus::Committed(_)));
    assert_eq!(lab.seen(), vec![tx; 2]);
}

#[tokio::test]
async fn a_refusal_is_final_and_whole() {
    let lab = Lab::new().await;
    let refusal = ApiError::invalid("transaction.body", "WRONG_LENGTH", "0 bytes; there must be 1 to 16384");
    lab.script(0, [Then::Fail(refusal.clone())]);
    let error = lab.client().await.submit(&transaction(GENESIS_TIME, 1), Wait::Accepted).await.unwrap_err();
    assert_eq!(error, ClientError::Api(refusal));
    assert_eq!(lab.seen().len(), 1);
}

#[tokio::test]
async fn a_certified_answer_is_verified_first() {
    let lab = Lab::new().await;
    let txs: Vec<_> = (0..3).map(|i| transaction(GENESIS_TIME, i)).collect();
    let (header, receipts) = block(7, &txs);
    let certified = |index: usize| pb::TransactionStatus {
        transaction_id: raw(txs[index].id().0),
        state: pb::TransactionState::Certified.into(),
        proof: Some(receipt_proof(&header, &receipts, index)),
        ..Default::default()
    };
    let mut forged = certified(2);
    let bytes = forged.proof.as_mut().unwrap();
    let mut receipt = bytes.receipt_bytes.to_vec();
    *receipt.last_mut().unwrap() ^= 1;
    bytes.receipt_bytes = receipt.into();
    let exchanged = pb::TransactionStatus { proof: certified(1).proof, ..certified(2) };
    let answers = [certified(0), certified(1), forged, exchanged];
    lab.script(0, answers.into_iter().map(|status| Then::Answer(Box::new(status))));

    let client = lab.client().await;
    for i in [0, 1] {
        let status = client.submit(&txs[i], Wait::Certified).await.unwrap();
        assert_eq!(status.receipt(), Some(&receipts[i]));
        let TxStatus::Certified { proof, .. } = status else { panic!("{status:?}") };
        assert!(trust().receipt(&proof).is_ok());
    }
    assert!(matches!(client.submit(&txs[2], Wait::Certified).await, Err(ClientError::Proof(_))));
    let error = client.receipt(txs[2].id(), Some(Wait::Certified)).await.unwrap_err();
    assert_eq!(error, ClientError::OtherTransaction { asked: txs[2].id() });
}

#[tokio::test]
async fn an_expired_answer_is_verified_first() {
    let lab = Lab::new().await;
    let (tx, other) = (transaction(GENESIS_TIME.plus(39_500), 1), transaction(GENESIS_TIME.plus(50_000), 2));
    let expired = |tx: &SignedTx| {
        Then::Answer(Box::new(pb::TransactionStatus {
            transaction_id: raw(tx.id().0),
            state: pb::TransactionState::Expired.into(),
            expiry_proof: Some(expiry_proof(40)),
            ..Default::default()
        }))
    };
    lab.script(0, [expired(&tx), expired(&other)]);
    let client = lab.client().await;
    assert!(matches!(client.submit(&tx, Wait::Certified).await, Ok(TxStatus::Expired(_))));
    assert!(matches!(client.submit(&other, Wait::Certified).await, Err(ClientError::Proof(_))));
}

#[tokio::test]
async fn a_stream_answers_each_once_over_a_lost_node_within_its_window() {
    let lab = Lab::new().await;
    lab.nodes[0].0.lock().unwrap().break_stream_after = Some(40);
    let later = ApiError::overload("MEMPOOL_FULL", "16 of 16 batches wait", Duration::from_millis(1));
    lab.script(1, vec![Then::Fail(later); 40]);
    let (sink, mut answers) = lab.client().await.submit_stream(Wait::Committed, 16);
    // The node that breaks answers 40: eight full windows are left.
    let txs: Vec<_> = (0..168).map(|i| transaction(GENESIS_TIME, i)).collect();
    let sent: HashSet<TxId> = txs.iter().map(SignedTx::id).collect();
    tokio::spawn(async move {
        for tx in txs {
            sink.send(tx).await.unwrap();
        }
    });
    let mut answered = HashSet::new();
    while let Some(answer) = answers.next().await {
        assert!(matches!(answer.result, Ok(TxStatus::Committed(_))), "{answer:?}");
        assert!(answered.insert(answer.id), "answered twice");
    }
    assert_eq!(answered, sent);
    let seen = lab.seen();
    assert!(seen.len() > 168, "the lost and the overloaded node saw some twice");
    let mut bytes: HashMap<TxId, Bytes> = HashMap::new();
    for tx in seen {
        assert_eq!(*bytes.entry(tx.id()).or_insert_with(|| tx.body.clone()), tx.body);
    }
    assert!(lab.nodes.iter().all(|node| node.0.lock().unwrap().unanswered_max <= 16));
}

#[tokio::test]
async fn a_refused_transaction_does_not_end_the_stream() {
    let lab = Lab::new().await;
    let refusal = ApiError::invalid("transaction.body", "UNKNOWN_FIELD", "unknown field 9");
    lab.script(0, vec![Then::Fail(refusal.clone()); 16]);
    let (sink, mut answers) = lab.client().await.submit_stream(Wait::Accepted, 16);
    tokio::spawn(async move {
        for i in 0..32 {
            sink.send(transaction(GENESIS_TIME, i)).await.unwrap();
        }
    });
    let mut results = Vec::new();
    while let Some(answer) = answers.next().await {
        results.push(answer.result);
    }
    let refused = results.iter().filter(|result| **result == Err(ClientError::Api(refusal.clone()))).count();
    assert_eq!((results.len(), refused), (32, 16));
}

fn event(height: u64, index: u32) -> pb::SubscribeResponse {
    let event = epione_types::event::Event::OrganisationRegistered { organisation: OrgId([1; 16]) };
    let event = pb::LedgerEvent {
        cursor: Some(EventCursor { height: Height(height), index }.into()),
        block_time_ms: 1,
        transaction_id: raw([9; 32]),
        event: Some((&event).into()),
    };
    pb::SubscribeResponse { message: Some(pb::subscribe_response::Message::Event(event)) }
}

fn heartbeat(height: u64) -> pb::SubscribeResponse {
    let cursor = Some(pb::EventCursor { height, index: u32::MAX });
    let beat = pb::Heartbeat { cursor, block_time_ms: 1 };
    pb::SubscribeResponse { message: Some(pb::subscribe_response::Message::Heartbeat(beat)) }
}

#[tokio::test]
async fn a_subscription_goes_on_where_it_was_and_repeats_nothing() {
    let lab = Lab::new().await;
    for (node, events) in [
        (0, vec![heartbeat(4), event(5, 0), event(5, 1)]),
        // The next node begins too early.
        (1, vec![event(5, 0), event(5, 1), event(6, 0), heartbeat(8)]),
        (0, vec![heartbeat(8), event(9, 3)]),
    ] {
        lab.nodes[node].0.lock().unwrap().events.push_back(events);
    }
    let client = lab.client().await;
    let mut events = client.subscribe(Start::Height(Height(5)), pb::EventFilter::default());
    let mut places = Vec::new();
    let error = loop {
        match events.next().await {
            Ok(event) => places.push((event.cursor.height.0, event.cursor.index)),
            Err(error) => break error,
        }
    };
    assert_eq!(places, [(5, 0), (5, 1), (6, 0), (9, 3)]);
    // Nothing to gain from another try: it says so, and where it stands.
    assert!(matches!(error, ClientError::Api(api) if api.reason == "PRUNED"));
    assert_eq!(events.position(), Start::After(EventCursor { height: Height(9), index: 3 }));
    let starts: Vec<_> = [0, 1].map(|node| lab.nodes[node].0.lock().unwrap().subscribed.clone()).concat();
    let starts: HashSet<_> = starts.iter().map(|request| format!("{:?}", request.start)).collect();
    assert!(starts.contains("Some(FromHeight(5))"), "{starts:?}");
    assert!(starts.contains("Some(After(EventCursor { height: 5, index: 1 }))"), "{starts:?}");
    assert!(starts.contains("Some(After(EventCursor { height: 8, index: 4294967295 }))"), "{starts:?}");
}

#[tokio::test]
async fn a_stream_to_nodes_that_hold_everything_ends_with_answers() {
    let lab = Lab::new().await;
    let config = Config {
        timeout: Duration::from_millis(400),
        attempt_timeout: Duration::from_millis(100),
        ..lab.config()
    };
    let client = EpioneClient::lazy(config).unwrap();
    let (sink, mut answers) = client.submit_stream(Wait::Committed, 16);
    for i in 0..3 {
        sink.send(transaction(GENESIS_TIME, i)).await.unwrap();
    }
    drop(sink);
    let mut unknown = 0;
    while let Some(answer) = answers.next().await {
        // Unknown outcome, and so marked.
        assert!(answer.result.unwrap_err().retryable().is_some());
        unknown += 1;
    }
    assert_eq!(unknown, 3);
    assert!(lab.nodes.iter().all(|node| node.0.lock().unwrap().seen.len() >= 3), "both were tried");
}
