//! The API over gRPC: one address for clinics, one for operators, TLS on both.
//!
//! ```text
//!  TCP ─▶ listen ─▶ TLS ─▶ HTTP/2 ─┬─ health, reflection
//!         bounded                  └─ door ─▶ submission · identity · record · consent · audit · ledger · event
//!                                     token,   │                                       (operator's address: operator)
//!                                     room,    └─▶ node handle: the driver, or the ledger on threads that may block
//!                                     deadline
//! ```
//!
//! Nothing is anonymous but health and reflection (`door`). Who may read what is not decided here: the contracts'
//! `Reader` answers, and where the answer is no, nothing tells hidden from absent. Every error has its reason (`error`,
//! the one table). No answer, error or log holds a person's data; ids only for whoever may see what they name.
//!
//! How it cannot go wrong: everything that a caller can make this process keep is bounded by [`Limits`] and refused above
//! it, by organisation, so that one cannot take the room of all; a service outside the door has no caller and refuses; a
//! worker of the runtime never waits for a disk. Tested by the modules' own tests and `tests/rpc/`.

mod audit;
mod consent;
mod door;
mod error;
mod event;
mod health;
mod identity;
mod ledger;
mod listen;
mod operator;
mod proof;
mod read;
mod record;
mod submission;
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use epione_proto::FILE_DESCRIPTOR_SET;
use epione_proto::v1::{
    audit_service_server as audit_api, consent_service_server as consent_api,
    event_service_server as event_api, identity_service_server as identity_api,
    ledger_service_server as ledger_api, operator_service_server as operator_api,
    record_service_server as record_api, submission_service_server as submission_api,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Identity, Server as Transport, ServerTlsConfig};
use tonic_health::ServingStatus;
use tracing::{info, warn};

use crate::config::Grpc;
use crate::handle::NodeHandle;
use door::Door;

/// Largest request, in bytes: the largest transaction, and then some.
const REQUEST_BYTES_MAX: usize = 32 << 10;
/// Largest answer, in bytes: a full block with its receipts.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How often a connection is pinged.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Bytes in flight towards this node, for a stream and for a connection: what is not read yet waits at its sender.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Longest headers of a request, in bytes.
const HEADERS_MAX: u32 = 8 << 10;
/// How long a stop waits for connections to end.
const GRACE: Duration = Duration::from_secs(3);
/// Reads of the ledger at a time for subscribers, each of whom reads page by page: who reads it all has others wait for a page
/// at most, and no call waits at all.
const SUBSCRIBERS_READS: usize = 4;
/// Those of the operators' address: asked most when the node is crowded.
const OPERATORS_READS: usize = 4;

/// Services on the clinics' address, by name.
const PUBLIC_SERVICES: &[&str] = &[
    submission_api::SERVICE_NAME,
    identity_api::SERVICE_NAME,
    record_api::SERVICE_NAME,
    consent_api::SERVICE_NAME,
    audit_api::SERVICE_NAME,
    ledger_api::SERVICE_NAME,
    event_api::SERVICE_NAME,
];

/// What callers may take up, at each address.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections; more wait.
    pub connections_max: usize,
    /// Calls and streams of one connection; more wait.
    pub streams_per_connection_max: u32,
    /// Calls and streams of all callers; more are refused.
    pub calls_max: usize,
    /// Those of one organisation. All together have three quarters of all.
    pub calls_per_organisation_max: usize,
    /// Those of a caller without one: a patient, representative or guest. All together have the other quarter.
    pub calls_per_person_max: usize,
    /// Bad tokens from one address in 10 s; then new ones are refused unseen.
    pub bad_tokens_max: u32,
    /// Transactions without an answer on one stream; then it is not read.
    pub in_flight_max: usize,
    /// Bytes of their bodies.
    pub in_flight_bytes_max: usize,
    /// Longest wait of a call, and of a transaction on a stream.
    pub wait_max: Duration,
    /// How often a subscriber hears from this node, at least.
    pub heartbeat: Duration,
    /// How long a subscriber's queue may be full.
    pub slow_max: Duration,
    /// Longest life of a stream of answers, which outlives its token.
    pub stream_age_max: Duration,
    /// How long a connection may be silent; live ones answer pings.
    pub silence_max: Duration,
    /// How long a connection may go without a call that passes the door; health and reflection do not count.
    pub unknown_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            streams_per_connection_max: 256,
            calls_max: 4_096,
            calls_per_organisation_max: 512,
            calls_per_person_max: 16,
            bad_tokens_max: 100,
            in_flight_max: 2_048,
            in_flight_bytes_max: 1 << 20,
            wait_max: Duration::from_secs(60),
            heartbeat: Duration::from_secs(10),
            slow_max: Duration::from_secs(30),
            stream_age_max: Duration::from_secs(3_600),
            silence_max: Duration::from_secs(60),
            unknown_max: Duration::from_secs(30),
        }
    }
}

/// The server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificate or key.
    #[error("grpc.tls_cert, grpc.tls_key or grpc.client_ca cannot be used: {0}")]
    Tls(String),
    /// The descriptors of this build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running server. Dropping it stops it at once.
#[derive(Debug)]
pub struct Server {
    public: SocketAddr,
    operator: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on both addresses and serves until [`Server::shutdown`], or until the node stops.
    ///
    /// # Errors
    /// [`StartError`]: nothing listens.
    pub async fn start(
        node: NodeHandle,
        grpc: &Grpc,
        operator: SocketAddr,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let (public_door, public_address) = bind(grpc.listen).await?;
        let (operator_door, operator_address) = bind(operator).await?;
        let (reporter, health) = tonic_health::server::health_reporter();
        health::tell(&reporter, PUBLIC_SERVICES, false).await; // until somebody has looked
        // Asked most when the node is not well.
        reporter.set_service_status(operator_api::SERVICE_NAME, ServingStatus::Serving).await;
        let door = Door::new(node.clone(), limits.clone(), stop.clone());
        let back_door = Door::new(node.with_own_reads(OPERATORS_READS), limits.clone(), stop.clone());
        macro_rules! serve {
            ($door:ident, $api:ident :: $server:ident, $service:expr) => {
                $door.guard(
                    $api::$server::new($service)
                        .max_decoding_message_size(REQUEST_BYTES_MAX)
                        .max_encoding_message_size(ANSWER_BYTES_MAX),
                )
            };
        }
        let submission = submission::Submission::new(node.clone(), limits.clone(), stop.clone());
        let subscribers = node.with_own_reads(SUBSCRIBERS_READS);
        let events = event::Events { node: subscribers, limits: limits.clone(), stop: stop.clone() };
        let consents = consent::Consent { node: node.clone(), wait_max: limits.wait_max, stop: stop.clone() };
        let public = transport(grpc, &limits)?
            .add_service(health.clone())
            .add_service(reflection()?.build_v1()?)
            .add_service(reflection()?.build_v1alpha()?)
            .add_service(serve!(door, submission_api::SubmissionServiceServer, submission))
            .add_service(serve!(door, identity_api::IdentityServiceServer, identity::Identity(node.clone())))
            .add_service(serve!(door, record_api::RecordServiceServer, record::Records(node.clone())))
            .add_service(serve!(door, consent_api::ConsentServiceServer, consents))
            .add_service(serve!(door, audit_api::AuditServiceServer, audit::Audit(node.clone())))
            .add_service(serve!(door, ledger_api::LedgerServiceServer, ledger::Ledger(node.clone())))
            .add_service(serve!(door, event_api::EventServiceServer, events));
        let since = Instant::now();
        let operators = operator::Operator { node: node.with_own_reads(OPERATORS_READS), since };
        let operators = transport(grpc, &limits)?
            .add_service(health)
            .add_service(reflection()?.build_v1()?)
            .add_service(reflection()?.build_v1alpha()?)
            .add_service(serve!(back_door, operator_api::OperatorServiceServer, operators));
        let stopping = stop.clone();
        let bounds = listen::Bounds {
            connections_max: limits.connections_max,
            per_address_max: grpc.connections_per_address,
            silence_max: limits.silence_max,
            unknown_max: limits.unknown_max,
        };
        let tasks = vec![
            tokio::spawn(run(public, public_door, bounds, stop.clone())),
            tokio::spawn(run(operators, operator_door, bounds, stop.clone())),
            tokio::spawn(health::report(node.clone(), reporter, PUBLIC_SERVICES, stop.clone())),
            tokio::spawn(async move {
                tokio::select! {
                    () = node.stopping() => stopping.cancel(),
                    () = stopping.cancelled() => {}
                }
            }),
        ];
        info!(address = %public_address, operator = %operator_address, "listening for clients");
        Ok(Self { public: public_address, operator: operator_address, stop, tasks })
    }

    /// Where clinics find it.
    #[must_use]
    pub const fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where operators find it.
    #[must_use]
    pub const fn operator_address(&self) -> SocketAddr {
        self.operator
    }

    /// Stops: whoever waits is told, connections are closed. Before the node is stopped.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        for task in core::mem::take(&mut self.tasks) {
            if task.await.is_err() {
                warn!("a task of the server had panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    Ok((listener, bound))
}

fn transport(grpc: &Grpc, limits: &Limits) -> Result<Transport, StartError> {
    let mut tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&grpc.certificate, &grpc.key))
        .timeout(Duration::from_secs(10));
    if let Some(authority) = &grpc.client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(authority));
    }
    let cause = |error: tonic::transport::Error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        StartError::Tls(source.unwrap_or_else(|| error.to_string()))
    };
    Ok(Transport::builder()
        .tls_config(tls)
        .map_err(cause)?
        .max_concurrent_streams(limits.streams_per_connection_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY)))
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, StartError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}

async fn run(router: Router, listener: TcpListener, bounds: listen::Bounds, stop: CancellationToken) {
    let incoming = listen::incoming(listener, bounds);
    let serving = router.serve_with_incoming_shutdown(incoming, stop.cancelled());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                warn!(%error, "a server ended");
            }
        }
        () = late => info!("some connections did not end in time"),
    }
}
