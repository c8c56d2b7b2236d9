//! One validator with its server, and some people.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use epione_client::{Config as ClientConfig, EpioneClient, Trust, TxBuilder, auth, tx};
use epione_node::config::{Config, Grpc, LogFormat};
use epione_node::driver::Settings;
use epione_node::network::{Limits as NetworkLimits, Peer, PeerIndex};
use epione_node::rpc::{Limits, Server};
use epione_node::run::Node;
use epione_proto::ApiError;
use epione_proto::v1 as pb;
use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_types::call::{
    Call, CreateGrant, Emergency, GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess,
    RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord, RequestAccess, Rule,
};
use epione_types::codes::{Action, Capability, Category, EmergencyReason, OrganisationKind, Purpose, Role};
use epione_types::id::{AccessRequestId, GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Genesis, Outcome, Receipt, SecretKey, SignedTx, Signer};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::support::{genesis, hash, id16, key};

/// Long enough for anything on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

pub(crate) fn org(name: &str) -> OrgId {
    OrgId(id16(name))
}
pub(crate) fn patient(name: &str) -> PatientId {
    PatientId(id16(name))
}
pub(crate) fn record(name: &str) -> RecordId {
    RecordId(id16(name))
}
pub(crate) fn grant(name: &str) -> GrantId {
    GrantId(id16(name))
}

/// What a refusal says.
pub(crate) fn told(status: &Status) -> (Code, String) {
    let error = ApiError::from(status);
    (error.code, error.reason)
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Node `me`, with the addresses of those that run.
fn config(
    genesis: &Genesis,
    me: usize,
    dir: &Path,
    grpc: Grpc,
    running: &BTreeMap<usize, SocketAddr>,
) -> Config {
    let validators = genesis.validators.validators.iter().enumerate().filter(|(index, _)| *index != me);
    let peers = validators.map(|(index, validator)| Peer {
        index: PeerIndex(u16::try_from(index).unwrap()),
        key: validator.network_key.0,
        address: running.get(&index).copied().map(Into::into),
    });
    Config {
        genesis: genesis.clone(),
        organisation: genesis.validators.validators[me].organisation,
        data_dir: dir.join(format!("node{me}")),
        voting_key_file: dir.join(format!("voting{me}.key")),
        voting_key: key(&format!("hospital{me}.validator")),
        network_key: key(&format!("hospital{me}.network")),
        grpc,
        operator: any(),
        listen: any(),
        peers: peers.collect(),
        network_limits: NetworkLimits::default(),
        log_level: "info".to_owned(),
        log_format: LogFormat::Text,
        settings: Settings::default(),
        pipeline: 1,
        store_cache_bytes: 16 << 20,
        clock_offset_ms: 0,
        inbox: 1_024,
    }
}

pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) node: Option<Node>,
    pub(crate) server: Option<Server>,
    ca: String,
    dir: TempDir,
    tweak: fn(&mut Config),
    config: Config,
    limits: Limits,
}

impl World {
    /// One hospital, alone in the world.
    pub(crate) async fn empty(limits: Limits) -> Self {
        Self::one_of(1, 0, limits).await
    }

    /// Hospital `me` of `n`, the others of which are not there (yet).
    pub(crate) async fn one_of(n: usize, me: usize, limits: Limits) -> Self {
        Self::tweaked(n, me, limits, |_| ()).await
    }

    /// The same, with every node's configuration changed.
    pub(crate) async fn tweaked(n: usize, me: usize, limits: Limits, tweak: fn(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let genesis = genesis(n);
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let ca = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let tls_key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&tls_key, &issuer).unwrap().pem().into_bytes();
        let grpc = Grpc {
            listen: any(),
            certificate,
            key: tls_key.serialize_pem().into_bytes(),
            client_ca: None,
            connections_per_address: 128,
        };
        let mut config = config(&genesis, me, dir.path(), grpc, &BTreeMap::new());
        tweak(&mut config);
        let node = Node::start(config.clone()).await.unwrap();
        // Where it will be found again.
        config.listen = node.listen_address();
        let world = Self { genesis, node: None, server: None, ca, dir, tweak, config, limits };
        let server = Some(world.serve(&node).await);
        Self { node: Some(node), server, ..world }
    }

    /// A server in front of a node.
    pub(crate) async fn serve(&self, node: &Node) -> Server {
        let (node, limits) = (node.handle().clone(), self.limits.clone());
        Server::start(node, &self.config.grpc, any(), limits).await.unwrap()
    }

    /// The node and its server stop and start again, at another address for clients.
    pub(crate) async fn restart(&mut self) {
        self.server.take().unwrap().shutdown().await;
        self.node.take().unwrap().shutdown().await.unwrap();
        self.start().await;
    }

    /// Starts the node again that was stopped.
    pub(crate) async fn start(&mut self) {
        let node = Node::start(self.config.clone()).await.unwrap();
        self.server = Some(self.serve(&node).await);
        self.node = Some(node);
    }

    /// Where its consensus log is.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.config.log_dir()
    }

    /// The other hospitals' nodes, without servers.
    pub(crate) async fn others(&self) -> Vec<Node> {
        self.others_but(None).await
    }

    /// All of them but one.
    pub(crate) async fn others_but(&self, absent: Option<usize>) -> Vec<Node> {
        let first = self.node.as_ref().unwrap();
        let mut running = BTreeMap::from([(first.handle().epoch().me.get(), first.listen_address())]);
        let mut nodes = Vec::new();
        for me in 0..self.genesis.validators.len() {
            if running.contains_key(&me) || absent == Some(me) {
                continue;
            }
            let grpc = Grpc {
                listen: any(),
                certificate: vec![],
                key: vec![],
                client_ca: None,
                connections_per_address: 128,
            };
            let mut config = config(&self.genesis, me, self.dir.path(), grpc, &running);
            (self.tweak)(&mut config);
            let node = Node::start(config).await.unwrap();
            running.insert(me, node.listen_address());
            nodes.push(node);
        }
        nodes
    }

    /// A hospital with a registrar `regA`, a physician `drA` and an auditor `audA`; a `clinic` without a validator, with
    /// a physician `drC`; patients `anna`, with a key, and `karl`, in custody, each with a record `anna1`, `karl1`.
    pub(crate) async fn new(limits: Limits) -> Self {
        let world = Self::empty(limits).await;
        world.staff("hospital0", "regA", Role::Registrar).await;
        world.staff("hospital0", "drA", Role::Physician).await;
        world.staff("hospital0", "audA", Role::Auditor).await;
        let clinic = RegisterOrganisation {
            organisation: org("clinic"),
            kind: OrganisationKind::Clinic,
            admins: vec![key("clinic.admin").public_key()],
            admin_threshold: 1,
            break_glass: true,
        };
        world.ok(&["hospital0.admin", "clinic.admin"], Call::RegisterOrganisation(clinic)).await;
        world.staff("clinic", "drC", Role::Physician).await;
        for (name, signers) in [("anna", &["regA", "anna"][..]), ("karl", &["regA"])] {
            let own = signers.len() > 1;
            let call = RegisterPatient {
                patient: patient(name),
                key: own.then(|| key(name).public_key()),
                notice_hash: hash("notice"),
            };
            world.ok(signers, Call::RegisterPatient(call)).await;
            world.ok(&["drA"], record_call(name, &format!("{name}1"))).await;
        }
        world
    }

    pub(crate) async fn staff(&self, organisation: &str, name: &str, role: Role) {
        let call = practitioner_call(name, role);
        self.ok(&[&format!("{organisation}.admin"), name], call).await;
    }

    /// A physician who may break the glass.
    pub(crate) async fn emergency_physician(&self, organisation: &str, name: &str) {
        let mut call = practitioner_call(name, Role::Physician);
        if let Call::RegisterPractitioner(call) = &mut call {
            call.capabilities = vec![Capability::BreakGlass];
        }
        self.ok(&[&format!("{organisation}.admin"), name], call).await;
    }

    /// A transaction by `signers`, the first of whom sends it.
    pub(crate) fn tx(&self, signers: &[&str], call: Call) -> SignedTx {
        let keys: Vec<SecretKey> = signers.iter().map(|name| key(name)).collect();
        let others: Vec<&dyn Signer> = keys.iter().skip(1).map(|key| key as &dyn Signer).collect();
        TxBuilder::new(self.genesis.chain_id(), call).sign(&keys[0], &others).unwrap()
    }

    /// Submits as the hospital's administrator and waits for the receipt.
    pub(crate) async fn run(&self, tx: &SignedTx) -> Receipt {
        let status = self.submit_at(self.channel(), tx).await.unwrap();
        status.receipt.unwrap().try_into().unwrap()
    }

    /// The same at any node, whatever comes of it.
    pub(crate) async fn submit_at(
        &self,
        channel: Channel,
        tx: &SignedTx,
    ) -> Result<pb::TransactionStatus, Status> {
        self.submit_to(channel, tx, pb::WaitLevel::Committed).await
    }

    /// The same, and waits for as much.
    pub(crate) async fn submit_to(
        &self,
        channel: Channel,
        tx: &SignedTx,
        wait: pb::WaitLevel,
    ) -> Result<pb::TransactionStatus, Status> {
        let request = pb::SubmitRequest { transaction: Some(tx.into()), wait: wait.into() };
        let answer =
            soon(SubmissionServiceClient::new(channel).submit(self.by("hospital0.admin", request))).await?;
        Ok(answer.into_inner().status.unwrap())
    }

    /// The same, and it is applied.
    pub(crate) async fn ok(&self, signers: &[&str], call: Call) -> Receipt {
        let receipt = self.run(&self.tx(signers, call)).await;
        assert_eq!(receipt.outcome, Outcome::Ok, "{signers:?}: {receipt:?}");
        receipt
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.server.as_ref().unwrap().public_address())
    }

    fn reach(&self, url: String) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap()
    }

    /// A new connection to the clinics' address.
    pub(crate) fn channel(&self) -> Channel {
        self.reach(self.endpoint()).connect_lazy()
    }

    /// One that takes little in without reading it.
    pub(crate) fn narrow_channel(&self) -> Channel {
        self.reach(self.endpoint()).initial_stream_window_size(65_535).connect_lazy()
    }

    /// A new connection to another node's server.
    pub(crate) fn channel_to(&self, server: &Server) -> Channel {
        self.reach(format!("https://{}", server.public_address())).connect_lazy()
    }

    /// A new connection to the operators' address.
    pub(crate) fn operator_channel(&self) -> Channel {
        let address = self.server.as_ref().unwrap().operator_address();
        self.reach(format!("https://{address}")).connect_lazy()
    }

    pub(crate) fn token(&self, name: &str) -> String {
        auth::create(&key(name), self.genesis.chain_id(), tx::now(), 300)
    }

    /// A request with the token of this member.
    pub(crate) fn by<T>(&self, name: &str, message: T) -> Request<T> {
        with_token(&self.token(name), message)
    }

    /// The SDK.
    pub(crate) fn client(&self, name: &str) -> EpioneClient {
        let trust = Trust::new(&self.genesis).unwrap();
        let ca = self.ca.clone().into_bytes();
        EpioneClient::lazy(ClientConfig::new(vec![self.endpoint()], ca, trust, key(name))).unwrap()
    }

    pub(crate) async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        self.node.take().unwrap().shutdown().await.unwrap();
    }
}

pub(crate) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub(crate) fn practitioner_call(name: &str, role: Role) -> Call {
    Call::RegisterPractitioner(RegisterPractitioner {
        practitioner: PractitionerId(id16(name)),
        key: key(name).public_key(),
        roles: vec![role],
        capabilities: vec![],
        credential_until: None,
        identity_commitment: hash("licence"),
    })
}

pub(crate) fn record_call(patient_name: &str, name: &str) -> Call {
    Call::RegisterRecord(RegisterRecord {
        record: record(name),
        patient: patient(patient_name),
        role: Role::Physician,
        category: Category::Lab,
        labels: vec![],
        service_month: Month::new(2026, 3).unwrap(),
        commitment: hash("commitment"),
        ciphertext_hash: hash("ciphertext"),
        size_class: 12,
        pointer: OpaqueRef(id16("pointer")),
        minor_consented: false,
    })
}

/// drC may read for treatment, or may not.
pub(crate) fn grant_call(patient_name: &str, name: &str, kind: GrantKind) -> Call {
    let rule = rule(kind, "drC");
    Call::CreateGrant(CreateGrant { grant: grant(name), patient: patient(patient_name), rule })
}

/// Somebody of the clinic asks for as much.
pub(crate) fn request_call(patient_name: &str, by: &str, name: &str) -> Call {
    Call::RequestAccess(RequestAccess {
        request: AccessRequestId(id16(name)),
        patient: patient(patient_name),
        rule: rule(GrantKind::Permit, by),
        message: None,
        expires_at: tx::now().plus(3_600_000),
    })
}

fn rule(kind: GrantKind, to: &str) -> Rule {
    Rule {
        kind,
        to: Grantee::Person(Person::Practitioner(org("clinic"), PractitionerId(id16(to)))),
        purposes: Purposes::Only(vec![Purpose::Treat]),
        actions: vec![Action::Read],
        categories: vec![],
        records: vec![],
        labels: Labels::Only(vec![]),
        data_period: None,
        from: None,
        until: None,
        max_uses: None,
        delegable: false,
        parent: None,
        policy: None,
        document: None,
    }
}

pub(crate) fn access(name: &str) -> RecordAccess {
    RecordAccess::new(record(name), Role::Physician, Action::Read, Purpose::Treat)
}

/// Breaks the glass.
pub(crate) fn emergency_call(name: &str) -> Call {
    let text_commitment = Some(hash("found unconscious"));
    Call::RecordAccess(RecordAccess {
        purpose: Purpose::Btg,
        emergency: Some(Emergency { reason: EmergencyReason::ALL[0], text_commitment }),
        ..access(name)
    })
}
