//! Makes the files of a new network: genesis, keys, certificates, a configuration per node.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use epione_client::keys;
use epione_client::tx::{now, random_id};
use epione_types::call::RegisterOrganisation;
use epione_types::codes::OrganisationKind;
use epione_types::genesis::{GENESIS_VERSION, Policy};
use epione_types::id::OrgId;
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::{Epoch, Genesis, Params, PublicKey, SecretKey, Signer as _, Validator, ValidatorSet};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::layout::{Layout, hospital};
use super::state::{NodeState, Ports, State};
use super::{TestnetError, config, ports};

/// What a new network is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many nodes, each a hospital's: 1 to 128. 4 survive one that fails.
    pub nodes: usize,
    /// Runs each node as `BINARY node run --config FILE`.
    pub binary: PathBuf,
    /// Consensus parameters.
    pub params: Params,
}

impl Options {
    /// Refuses what cannot work, before a single file is written.
    pub(crate) fn check(&self) -> Result<(), TestnetError> {
        let n = self.nodes;
        if (1..=MAX_VALIDATORS).contains(&n) {
            return Ok(());
        }
        Err(TestnetError::Options(format!("{n} nodes; there must be 1 to {MAX_VALIDATORS}")))
    }

    /// As many nodes of the binary that runs now.
    ///
    /// # Errors
    /// When the system does not tell which binary that is.
    pub fn of_this_binary(nodes: usize) -> Result<Self, TestnetError> {
        let binary = std::env::current_exe().map_err(TestnetError::io("this program"))?;
        Ok(Self { nodes, binary, params: Params::default() })
    }
}

/// A new network's state, and its ports, still held.
pub(crate) struct Created {
    pub(crate) state: State,
    pub(crate) held: Vec<TcpListener>,
}

/// Writes everything but the state file into an empty folder.
pub(crate) fn create(layout: &Layout, options: &Options) -> Result<Created, TestnetError> {
    let n = options.nodes;
    let mut organisations = Vec::with_capacity(n);
    let mut validators = Vec::with_capacity(n);
    for node in 0..n {
        make_dir(&layout.node(node))?;
        make_dir(&layout.hospital_keys(node))?;
        let organisation = OrgId(random_id().map_err(|error| TestnetError::Randomness(error.to_string()))?);
        let admin = new_key(&layout.admin_key(node))?;
        let voting = new_key(&layout.node(node).join("voting.key"))?;
        let network = new_key(&layout.node(node).join("network.key"))?;
        organisations.push(RegisterOrganisation {
            organisation,
            kind: OrganisationKind::Hospital,
            admins: vec![admin.public_key()],
            admin_threshold: 1,
            break_glass: true,
        });
        validators.push(Validator {
            organisation,
            public_key: voting.public_key(),
            network_key: network.public_key(),
        });
    }
    let genesis = Genesis {
        version: GENESIS_VERSION,
        timestamp: now(),
        validators: ValidatorSet { epoch: Epoch::ZERO, validators, params: options.params.clone() },
        policy: Policy {
            // Invented patients only: see the warning that `testnet up` prints.
            allow_sensitive_in_clear: true,
            organisation_signatures: Policy::default()
                .organisation_signatures
                .min(u16::try_from(n).unwrap_or(u16::MAX)),
            ..Policy::default()
        },
        organisations,
    };
    genesis.check()?;
    let text = serde_json::to_vec_pretty(&genesis)
        .map_err(|error| TestnetError::io(layout.genesis())(error.into()))?;
    write(&layout.genesis(), &text)?;
    write(&layout.ca(), certificates(layout, 0..n)?.as_bytes())?;

    let held = ports::free(n * 3)?;
    let numbers = held.iter().map(ports::port_of).collect::<Result<Vec<_>, _>>();
    let numbers = numbers.map_err(TestnetError::io("a bound port"))?;
    let (triples, _) = numbers.as_chunks::<3>();
    let ports: Vec<Ports> =
        triples.iter().map(|&[grpc, operator, peer]| Ports { grpc, operator, peer }).collect();
    for (node, _) in ports.iter().enumerate() {
        write(&layout.config(node), config::text(&genesis, &ports, node).as_bytes())?;
    }
    let nodes = genesis.organisations.iter().zip(ports);
    let nodes = nodes.map(|(org, ports)| NodeState { organisation: org.organisation, ports, process: None });
    let state = State::new(options.binary.clone(), genesis.timestamp, genesis.chain_id(), nodes.collect());
    Ok(Created { state, held })
}

/// One authority, whose certificate this is, and a certificate of 127.0.0.1 and localhost for each node. The authority's key
/// is not kept.
fn certificates(layout: &Layout, nodes: core::ops::Range<usize>) -> Result<String, TestnetError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let name = format!("Epione testnet, from node {} on: trust it for this testnet alone", nodes.start);
    authority.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let pem = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);
    for node in nodes {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, hospital(node));
        let key = KeyPair::generate()?;
        write(&layout.node(node).join("tls.pem"), params.signed_by(&key, &issuer)?.pem().as_bytes())?;
        write_secret(&layout.node(node).join("tls.key"), key.serialize_pem().as_bytes())?;
    }
    Ok(pem)
}

/// The keys of a node that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedKeys {
    /// Verifies its votes.
    pub voting: PublicKey,
    /// Its network identity.
    pub network: PublicKey,
}

/// Writes the files of one more node, for the hospital of node `of`.
pub(crate) fn add(layout: &Layout, state: &State, of: usize) -> Result<(NodeState, AddedKeys), TestnetError> {
    let node = state.nodes.len();
    let organisation = state
        .nodes
        .get(of)
        .ok_or(TestnetError::NoSuchNode { node: of, last: node.saturating_sub(1) })?
        .organisation;
    make_dir(&layout.node(node))?;
    make_dir(&layout.hospital_keys(node))?;
    // Its hospital has one administrator, under the name of each of its nodes.
    keys::write(&layout.admin_key(node), &keys::read(&layout.admin_key(of))?)?;
    let voting = new_key(&layout.node(node).join("voting.key"))?;
    let network = new_key(&layout.node(node).join("network.key"))?;
    let mut others = Vec::with_capacity(node);
    for (number, place) in state.nodes.iter().enumerate() {
        let key = keys::read(&layout.node(number).join("network.key"))?;
        others.push((key.public_key(), place.ports));
    }
    let authority = certificates(layout, node..node + 1)?;
    let known = fs::read_to_string(layout.ca()).map_err(TestnetError::io(layout.ca()))?;
    write(&layout.ca(), (known + &authority).as_bytes())?;
    let held = ports::free(3)?;
    let numbers = held.iter().map(ports::port_of).collect::<Result<Vec<_>, _>>();
    let numbers = numbers.map_err(TestnetError::io("a bound port"))?;
    let [grpc, operator, peer] = numbers[..] else {
        return Err(TestnetError::Options("no three ports".into()));
    };
    let ports = Ports { grpc, operator, peer };
    write(&layout.config(node), config::joining(organisation, &others, &ports).as_bytes())?;
    let keys = AddedKeys { voting: voting.public_key(), network: network.public_key() };
    Ok((NodeState { organisation, ports, process: None }, keys))
}

fn new_key(path: &Path) -> Result<SecretKey, TestnetError> {
    let key = SecretKey::generate().map_err(|error| TestnetError::Randomness(error.to_string()))?;
    keys::write(path, &key)?;
    Ok(key)
}

fn make_dir(path: &Path) -> Result<(), TestnetError> {
    fs::create_dir_all(path).map_err(TestnetError::io(path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TestnetError> {
    fs::write(path, bytes).map_err(TestnetError::io(path))
}

/// Readable by its owner alone from the first byte on.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), TestnetError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(TestnetError::io(path))?;
    file.write_all(bytes).map_err(TestnetError::io(path))
}
