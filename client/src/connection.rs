//! Nodes, connections, retries: one call that any of the nodes may answer.
//!
//! Every call of the API may be repeated: reads change nothing, and the same transaction bytes commit once. So a
//! failure of a node is answered with the next node, until the client's time-out; a refusal is final.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use epione_proto::{ApiError, v1 as pb};
use epione_types::{BlockHeader, ChainId, SecretKey, TimestampMs};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::verify::{Trust, VerifyError};
use crate::{ClientError, auth, tx};

/// Life of a token, in seconds.
const TOKEN_S: u64 = 300;
/// A token is renewed when it has less than this left, in ms.
const TOKEN_RENEW_MS: u64 = 120_000;
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// First pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Largest answer accepted, in bytes: a full block with its receipts.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// How to reach the consortium.
#[derive(Debug, Clone)]
pub struct Config {
    /// Nodes, as `https://host:port`; one is enough, more are tried in turn.
    pub endpoints: Vec<String>,
    /// Certificates (PEM) of the authority that signed the nodes' TLS certificates.
    pub ca_pem: Vec<u8>,
    /// The genesis one trusts: which chain it is and who vouches for it.
    pub trust: Trust,
    /// The caller's registered key.
    pub key: SecretKey,
    /// How long one operation may take, over all attempts.
    pub timeout: Duration,
    /// How long one attempt may take before the next node is tried.
    pub attempt_timeout: Duration,
}

impl Config {
    /// With a time-out of 30 s, 10 s an attempt.
    #[must_use]
    pub const fn new(endpoints: Vec<String>, ca_pem: Vec<u8>, trust: Trust, key: SecretKey) -> Self {
        let (timeout, attempt_timeout) = (Duration::from_secs(30), Duration::from_secs(10));
        Self { endpoints, ca_pem, trust, key, timeout, attempt_timeout }
    }
}

/// A client of the consortium. Cheap to clone; all clones share the connections.
///
/// ```no_run
/// use epione_client::{Config, EpioneClient, Trust, TxBuilder, TxStatus, Wait, keys};
/// # async fn example(genesis: epione_types::Genesis, call: epione_types::call::Call) -> Result<(), Box<dyn std::error::Error>> {
/// let key = keys::read("doctor.key".as_ref())?;
/// let ca = std::fs::read("ca.pem")?;
/// let config = Config::new(vec!["https://127.0.0.1:7001".into()], ca, Trust::new(&genesis)?, key.clone());
/// let client = EpioneClient::connect(config).await?;
/// let tx = TxBuilder::new(client.chain_id(), call).sign(&key, &[])?;
/// if let TxStatus::Certified { receipt, .. } = client.submit(&tx, Wait::Certified).await? {
///     println!("{:?} in block {}", receipt.outcome, receipt.height);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct EpioneClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// With their addresses.
    nodes: Vec<(String, Channel)>,
    /// The node that answered last.
    current: AtomicUsize,
    bearer: Bearer,
    trust: Trust,
    timeout: Duration,
    attempt_timeout: Duration,
    /// The last header that was proven, with its proof: transactions of one block share it.
    proven: Mutex<Option<(pb::CertifiedHeader, BlockHeader)>>,
}

/// A connection that shows the caller's token.
pub(crate) type Node = InterceptedService<Channel, Bearer>;

/// The header value, and when to renew it.
type Token = (MetadataValue<Ascii>, TimestampMs);

/// Adds the caller's token, renewed in time.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    key: SecretKey,
    chain: ChainId,
    token: Arc<Mutex<Option<Token>>>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let now = tx::now();
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match token.as_ref() {
            Some((value, until)) if now < *until => value.clone(),
            _ => {
                let text = format!("Bearer {}", auth::create(&self.key, self.chain, now, TOKEN_S));
                let value = MetadataValue::try_from(text)
                    .map_err(|error| Status::internal(format!("token is no header value: {error}")))?;
                *token = Some((value.clone(), now.plus(TOKEN_S * 1_000 - TOKEN_RENEW_MS)));
                value
            }
        };
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl EpioneClient {
    /// Connects to the first node that answers, and checks that it serves the genesis' chain.
    ///
    /// # Errors
    /// [`ClientError::Config`], [`ClientError::OtherChain`], or [`ClientError::Api`] if no node answers in time.
    pub async fn connect(config: Config) -> Result<Self, ClientError> {
        let client = Self::lazy(config)?;
        let found = client.get_status(pb::GetStatusRequest {}).await?.chain_id;
        let expected = client.chain_id();
        if found != expected.as_bytes().as_slice() {
            let found = found.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(ClientError::OtherChain { expected: expected.to_string(), found });
        }
        Ok(client)
    }

    /// The same without contacting a node yet.
    ///
    /// # Errors
    /// [`ClientError::Config`] for no endpoint, one that is no URL, or certificates that are none.
    pub fn lazy(config: Config) -> Result<Self, ClientError> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&config.ca_pem));
        let node = |url: &String| {
            if !url.starts_with("https://") {
                return Err(ClientError::Config(format!("endpoint '{url}' does not begin with https://")));
            }
            let fault = |error: tonic::transport::Error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                ClientError::Config(format!("endpoint '{url}': {error}: {cause}"))
            };
            let endpoint = Endpoint::from_shared(url.clone()).map_err(fault)?;
            let channel = endpoint
                .tls_config(tls.clone())
                .map_err(fault)?
                .connect_timeout(Duration::from_secs(5))
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .tcp_nodelay(true)
                .connect_lazy();
            Ok((url.clone(), channel))
        };
        let nodes = config.endpoints.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(ClientError::Config("no endpoint given; at least one is needed".to_owned()));
        }
        let bearer = Bearer { key: config.key, chain: config.trust.chain_id(), token: Arc::default() };
        Ok(Self {
            shared: Arc::new(Shared {
                nodes,
                current: AtomicUsize::new(0),
                bearer,
                trust: config.trust,
                timeout: config.timeout,
                attempt_timeout: config.attempt_timeout,
                proven: Mutex::new(None),
            }),
        })
    }

    /// The chain.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.shared.trust.chain_id()
    }

    /// What this client verifies proofs with.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.shared.trust
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.shared.attempt_timeout
    }

    fn at(&self, number: usize) -> Option<&(String, Channel)> {
        let nodes = &self.shared.nodes;
        nodes.get(number.checked_rem(nodes.len())?)
    }

    /// The node's error; one of the connection names the node, which could not name itself.
    pub(crate) fn error(&self, number: usize, mut error: ApiError) -> ApiError {
        if error.reason.is_empty() {
            let address = self.at(number).map_or("", |(address, _)| address);
            error.message = format!("{address}: {}", error.message);
        }
        error
    }

    /// The node to ask now, and its number.
    pub(crate) fn node(&self) -> (usize, Node) {
        let number = self.shared.current.load(Ordering::Relaxed);
        let channel = self.at(number).map(|(_, channel)| channel.clone());
        // `lazy` refuses an empty list, and `at` finds one in any other.
        let channel = channel.unwrap_or_else(|| Endpoint::from_static("https://0.0.0.0").connect_lazy());
        (number, InterceptedService::new(channel, self.shared.bearer.clone()))
    }

    /// This node failed: the next one, unless somebody moved on already.
    pub(crate) fn move_on(&self, failed: usize) {
        let next = failed.wrapping_add(1);
        let _ = self.shared.current.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One operation, tried at one node after the other until the time-out.
    pub(crate) async fn call<Q, A, F>(
        &self,
        request: Q,
        send: impl Fn(Node, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.shared.timeout;
        let mut pauses = Pauses::default();
        let mut elsewhere = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = left.min(self.shared.attempt_timeout);
            let mut request = Request::new(request.clone());
            request.set_timeout(patience);
            let (number, node) = self.node();
            let error = match tokio::time::timeout(patience, send(node, request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => ApiError::from(&status),
                Err(_) => ApiError::new(Code::DeadlineExceeded, "", "no answer within the time-out"),
            };
            // A node does not come by old blocks later: each is asked once.
            elsewhere += usize::from(error.is_elsewhere());
            let nowhere = error.is_elsewhere() && elsewhere >= self.shared.nodes.len();
            let again = !nowhere && (error.is_retryable() || error.code == Code::DeadlineExceeded);
            let pause = error.retry_after.unwrap_or_else(|| pauses.next());
            if !again || Instant::now() + pause >= deadline {
                return Err(self.error(number, error).into());
            }
            self.move_on(number);
            tokio::time::sleep(pause).await;
        }
    }

    /// The proven header; verified once for all that share the proof.
    pub(crate) fn header(&self, proof: &pb::CertifiedHeader) -> Result<BlockHeader, VerifyError> {
        let mut proven = self.shared.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, header)) = proven.as_ref().filter(|(known, _)| known == proof) {
            return Ok(header.clone());
        }
        let header = self.shared.trust.header(proof)?;
        *proven = Some((proof.clone(), header.clone()));
        Ok(header)
    }
}

/// Growing pauses between attempts.
#[derive(Debug, Default)]
pub(crate) struct Pauses(u32);

impl Pauses {
    pub(crate) fn next(&mut self) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.0.min(6));
        self.0 = self.0.saturating_add(1);
        pause.min(PAUSE_MAX)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = 0;
    }
}
