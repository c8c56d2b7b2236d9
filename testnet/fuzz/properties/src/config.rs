//! Files that an operator writes: *a configuration is refused with all its faults by field, and what is accepted can start*:
//! a genesis that passes opens a ledger and gives birth to every one of its validators.
//!
//! An input is the text of `node.toml`, beside files that are as they should be, or of `genesis.json`.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use epione_consensus::Replica;
use epione_ledger::chain::Chain;
use epione_ledger::store::MemoryStore;
use epione_node::{config, start};
use epione_types::call::RegisterOrganisation;
use epione_types::codes::OrganisationKind;
use epione_types::genesis::{GENESIS_VERSION, Policy};
use epione_types::id::OrgId;
use epione_types::{Epoch, Genesis, Params, SecretKey, Signer as _, TimestampMs, Validator, ValidatorSet};

use crate::Outcome;
use crate::choices::Choices;

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    if choices.flag() { genesis(choices.rest()) } else { toml(choices.rest()) }
}

thread_local! {
    static FOLDER: Folder = Folder::new();
}

static GENESIS: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec_pretty(&sound()).unwrap());

/// Everything that a configuration may name, as it should be.
struct Folder {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("genesis.json"), &*GENESIS).unwrap();
        epione_client::keys::write(&at("voting.key"), &key(2)).unwrap();
        epione_client::keys::write(&at("network.key"), &key(12)).unwrap();
        for name in ["tls.pem", "tls.key"] {
            fs::write(at(name), "-----BEGIN SOMETHING-----\n").unwrap();
        }
        Self { file: at("node.toml"), _dir: dir }
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// A genesis of two validators; the node is the second.
fn sound() -> Genesis {
    let validator = |n: u8| Validator {
        organisation: OrgId([n; 16]),
        public_key: key(n).public_key(),
        network_key: key(n + 10).public_key(),
    };
    let organisation = |n: u8| RegisterOrganisation {
        organisation: OrgId([n; 16]),
        kind: OrganisationKind::Hospital,
        admins: vec![key(n + 20).public_key()],
        admin_threshold: 1,
        break_glass: false,
    };
    let validators = vec![validator(1), validator(2)];
    Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(1),
        validators: ValidatorSet { epoch: Epoch(0), validators, params: Params::default() },
        policy: Policy::default(),
        organisations: vec![organisation(1), organisation(2)],
    }
}

fn toml(text: &[u8]) -> Outcome {
    FOLDER.with(|folder| {
        fs::write(&folder.file, text).unwrap();
        match config::load(&folder.file) {
            Ok(config) => {
                let known = |one: &RegisterOrganisation| one.organisation == config.organisation;
                assert!(
                    text.windows(4).any(|at| at == b"join") || config.genesis.organisations.iter().any(known)
                );
                assert!(config.peers.len() < config.genesis.validators.len() + config::PEERS_MAX);
                Outcome::Accepted
            }
            Err(errors) => {
                assert!(!errors.faults.is_empty(), "refused for nothing");
                for secret in [2, 12] {
                    let seed = format!("{:02x}", secret).repeat(32);
                    assert!(!errors.to_string().contains(&seed), "a secret key in an error");
                }
                Outcome::Refused
            }
        }
    })
}

fn genesis(text: &[u8]) -> Outcome {
    let Ok(genesis) = serde_json::from_slice::<Genesis>(text) else { return Outcome::Refused };
    if let Err(error) = genesis.check() {
        assert!(!error.0.is_empty(), "refused for nothing");
        return Outcome::Refused;
    }
    let again: Genesis = serde_json::from_slice(&serde_json::to_vec(&genesis).unwrap()).unwrap();
    assert_eq!(again.chain_id(), genesis.chain_id(), "one genesis, one chain id");
    let chain = Chain::open(Arc::new(MemoryStore::new()), &start::origin(&genesis)).expect("it can start");
    let chain = Arc::new(chain);
    for validator in &genesis.validators.validators {
        let config = start::config(&chain, &validator.public_key).expect("its state is whole");
        assert!(config.is_member());
        let signer = Arc::new(crate::common::FakeSigner(validator.public_key));
        let born: (Replica, _) = start::born(&chain, config, signer).expect("born");
        assert_eq!(born.0.low().0, 0);
    }
    Outcome::Accepted
}

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let peer = key(11).public_key();
    let good = format!(
        r#"genesis = "genesis.json"
data_dir = "data"
[keys]
voting = "voting.key"
network = "network.key"
[grpc]
listen = "127.0.0.1:7001"
tls_cert = "tls.pem"
tls_key = "tls.key"
client_ca = "tls.pem"
connections_per_address = 16
[operator]
listen = "127.0.0.1:7002"
[network]
listen = "/ip4/127.0.0.1/tcp/7003"
[[network.peers]]
network_key = "{peer}"
address = "/dns4/node0.example.org/tcp/7000"
[log]
level = "info,epione=debug"
format = "json"
[limits]
mempool_txs = 2000
account_percent = 10
"#
    );
    let toml = |text: &str| [&[0][..], text.as_bytes()].concat();
    let mut seeds = vec![
        toml(&good),
        toml(&good.replace("tls.pem", "nowhere.pem")),
        toml(&good.replace("/dns4/", "/ip6/")),
        toml(&good.replace("[operator]", "[[operator]]")),
        toml(&good.replace("16", "-1")),
        toml(""),
    ];
    seeds.push([&[1][..], &GENESIS].concat());
    let text = String::from_utf8(GENESIS.clone()).unwrap();
    seeds.push([&[1][..], text.replace("\"hospital\"", "\"laboratory\"").as_bytes()].concat());
    seeds.push([&[1][..], text.replace(": 1,", ": 0,").as_bytes()].concat());
    seeds
}
