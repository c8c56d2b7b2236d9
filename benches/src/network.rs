//! Four validators on loopback in one process: whole nodes with real signatures, links and syncs, and the API behind TLS.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use epione_client::tx::now;
use epione_client::{TxBuilder, keys};
use epione_node::config::{self, Config};
use epione_node::handle::{Level, NodeHandle};
use epione_node::rpc::{Limits, Server};
use epione_node::run::Node;
use epione_testnet::local::{Lifetime, Network, Options};
use epione_types::call::{Call, RegisterPatient};
use epione_types::id::{OrgId, PatientId};
use epione_types::{ChainId, Hash, Params, SecretKey, SignedTx, Signer};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::{Random, Scratch};

/// How many.
pub const NODES: usize = 4;

/// Who sends, and through which node.
#[derive(Debug)]
pub struct Hospital {
    /// The organisation.
    pub organisation: OrgId,
    /// Its administrator.
    pub admin: SecretKey,
    /// Its node.
    pub node: Node,
    /// With which it was started.
    pub config: Config,
    ca: Vec<u8>,
}

/// A node's API.
#[derive(Debug)]
pub struct Api {
    /// The server.
    pub server: Server,
    /// Who vouches for it, PEM.
    pub ca: Vec<u8>,
}

/// Starts a network, `pipeline` batches at a time.
///
/// # Panics
/// If it does not start.
pub async fn start(scratch: &Scratch, pipeline: usize) -> Vec<Hospital> {
    start_with(scratch, |_, config| config.pipeline = pipeline as u64).await
}

/// Starts a network, each node's configuration changed.
///
/// # Panics
/// If it does not start.
pub async fn start_with(scratch: &Scratch, change: impl Fn(usize, &mut Config)) -> Vec<Hospital> {
    let options = Options { nodes: NODES, binary: PathBuf::new(), params: Params::default() };
    let network = Network::create(&scratch.path().join("net"), &options, Lifetime::WithStarter);
    let network = network.expect("a network's files");
    let (layout, state) = (network.layout().clone(), network.state().clone());
    drop(network); // it held the ports for the nodes
    let mut hospitals = Vec::new();
    for (node, place) in state.nodes.iter().enumerate() {
        let mut config = config::load(&layout.config(node)).expect("a configuration as written");
        change(node, &mut config);
        hospitals.push(Hospital {
            organisation: place.organisation,
            admin: keys::read(&layout.admin_key(node)).expect("a key as written"),
            node: Node::start(config.clone()).await.expect("a node that starts"),
            config,
            ca: std::fs::read(layout.ca()).expect("a certificate as written"),
        });
    }
    hospitals
}

impl Hospital {
    /// What runs here.
    #[must_use]
    pub const fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// Serves the API at a port that is free.
    ///
    /// # Panics
    /// If nothing listens.
    pub async fn serve(&self) -> Api {
        let (any, node) = ("127.0.0.1:0".parse().expect("an address"), self.handle().clone());
        let mut grpc = self.config.grpc.clone();
        grpc.listen = any;
        let server = Server::start(node, &grpc, any, Limits::default()).await;
        Api { server: server.expect("a server that starts"), ca: self.ca.clone() }
    }

    /// A transaction of this chain by `signers`, the first of whom sends it; good for an hour.
    ///
    /// # Panics
    /// If it cannot be signed.
    #[must_use]
    pub fn tx(&self, signers: &[&SecretKey], call: Call) -> SignedTx {
        let builder = TxBuilder::new(self.handle().chain_id(), call).expires_at(now().plus(3_600_000));
        let others: Vec<&dyn Signer> = signers.iter().skip(1).map(|key| *key as &dyn Signer).collect();
        builder.sign(signers[0], &others).expect("a body that can be signed")
    }

    /// A new patient of this hospital.
    #[must_use]
    pub fn patient(&self, random: &mut Random) -> SignedTx {
        let (patient, notice_hash) = (PatientId(random.bytes()), Hash([1; 32]));
        self.tx(&[&self.admin], Call::RegisterPatient(RegisterPatient { patient, key: None, notice_hash }))
    }
}

impl Api {
    /// `https://` and so on.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.server.public_address())
    }

    /// A new connection over TLS.
    ///
    /// # Panics
    /// If there is none.
    pub async fn connect(&self) -> Channel {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        let endpoint = Endpoint::from_shared(self.url()).expect("an address").tls_config(tls);
        endpoint.expect("a certificate").tcp_nodelay(true).connect().await.expect("a connection")
    }
}

/// Submits behind the API; how long it took to the level. A refusal ends the benchmark: nothing here may have to be sent again.
///
/// # Panics
/// If the node does not take it.
pub async fn submit(handle: &NodeHandle, organisation: OrgId, tx: SignedTx, level: Level) -> Duration {
    let begun = Instant::now();
    handle.submit(tx, organisation, level).await.expect("room in the mempool: lower --in-flight");
    begun.elapsed()
}

/// The chain of a network.
#[must_use]
pub fn chain(hospitals: &[Hospital]) -> ChainId {
    hospitals[0].handle().chain_id()
}
