//! Real nodes join, leave, and come back: sockets on loopback, sled, files, threads (R20, R21).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use epione_ledger::disk::FileDisk;
use epione_ledger::snapshot::Shelf;
use epione_ledger::store::SledStore;
use epione_node::config::{Config, Grpc, LogFormat};
use epione_node::driver::Settings;
use epione_node::handle::{Finality, Level, NodeHandle, Outcome};
use epione_node::network::{Limits as NetworkLimits, Peer, PeerIndex};
use epione_node::run::Node;
use epione_types::call::{Call, ConfirmReadiness, ProposalAction, Propose, Vote};
use epione_types::id::{OrgId, ProposalId};
use epione_types::sign::Zip215;
use epione_types::{Epoch, Genesis, Height, Signer as _, TimestampMs, Validator};
use support::{genesis, id16, key, patient_call, sign};

/// Long enough for anything on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !condition() {
            look.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "{what} did not come about");
}

/// A network whose nodes have names: a validator's keys are `NAME.validator` and `NAME.network`.
struct Network {
    dir: tempfile::TempDir,
    genesis: Genesis,
    nodes: Vec<(String, Option<Node>)>,
    requests: u64,
}

impl Network {
    async fn up(n: usize) -> Self {
        let genesis = genesis(n);
        let mut network = Self { dir: tempfile::tempdir().unwrap(), genesis, nodes: Vec::new(), requests: 0 };
        for i in 0..n {
            network.start(&format!("hospital{i}")).await;
        }
        network
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node, which knows where those listen that run.
    async fn start(&mut self, name: &str) {
        let running = self.nodes.iter().filter(|(other, _)| other != name);
        let mut peers: Vec<Peer> = running
            .filter_map(|(other, node)| Some((other, node.as_ref()?.listen_address())))
            .map(|(other, address)| Peer {
                index: PeerIndex(0),
                key: key(&format!("{other}.network")).public_key().0,
                address: Some(address.into()),
            })
            .collect();
        for (index, peer) in (0..).zip(&mut peers) {
            peer.index = PeerIndex(index);
        }
        let config = self.config(name, peers, &self.data(name));
        let node = Node::start(config).await.unwrap();
        match self.nodes.iter_mut().find(|(other, _)| other == name) {
            Some((_, place)) => *place = Some(node),
            None => self.nodes.push((name.to_owned(), Some(node))),
        }
    }

    fn config(&self, name: &str, peers: Vec<Peer>, dir: &Path) -> Config {
        let any = "127.0.0.1:0".parse().unwrap();
        let grpc = Grpc {
            listen: any,
            certificate: Vec::new(),
            key: Vec::new(),
            client_ca: None,
            connections_per_address: 128,
        };
        Config {
            genesis: self.genesis.clone(),
            organisation: OrgId(id16(&name[..9])),
            data_dir: dir.to_owned(),
            voting_key_file: dir.with_extension("key"),
            voting_key: key(&format!("{name}.validator")),
            network_key: key(&format!("{name}.network")),
            grpc,
            operator: any,
            listen: any,
            peers,
            network_limits: NetworkLimits::default(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            settings: Settings::default(),
            pipeline: 1,
            store_cache_bytes: 16 << 20,
            inbox: 1_024,
            clock_offset_ms: 0,
        }
    }

    async fn stop(&mut self, name: &str) {
        let node = self.nodes.iter_mut().find(|(other, _)| other == name).unwrap().1.take();
        soon(node.unwrap().shutdown()).await.unwrap();
    }

    fn handle(&self, name: &str) -> NodeHandle {
        let node = self.nodes.iter().find(|(other, _)| other == name).unwrap().1.as_ref();
        node.unwrap().handle().clone()
    }

    /// Submits at a node and waits for the certificate; the height, and why it is final.
    async fn certify(&mut self, at: &str, signers: &[&str], call: Call) -> (Height, Finality) {
        let handle = self.handle(at);
        self.requests += 1;
        let expires_at = TimestampMs(now() + 600_000);
        let tx = sign(handle.chain_id(), signers, self.requests, expires_at, call);
        let done = soon(handle.submit(tx, OrgId(id16("hospital0")), Level::Certified)).await.unwrap();
        let Outcome::Certified(committed, finality) = done.outcome else { panic!("{:?}", done.outcome) };
        assert_eq!(committed.receipt().outcome, epione_types::Outcome::Ok, "{signers:?}");
        (committed.block().header.height, finality)
    }

    async fn load(&mut self, at: &str, count: usize) {
        for _ in 0..count {
            let call = patient_call(usize::try_from(self.requests).unwrap());
            self.certify(at, &["hospital0.admin"], call).await;
        }
    }

    fn validator(&self, name: &str) -> Validator {
        Validator {
            organisation: OrgId(id16(&name[..9])),
            public_key: key(&format!("{name}.validator")).public_key(),
            network_key: key(&format!("{name}.network")).public_key(),
        }
    }

    /// Puts a change to the vote, confirms, and passes it with the votes of `by`; the first of them proposes.
    async fn change(&mut self, at: &str, by: &[&str], remove: Option<&str>, add: Option<&str>) {
        let proposal = ProposalId(id16(&format!("proposal {}", self.requests)));
        let action = ProposalAction::ChangeValidators {
            remove: remove.map(|name| self.validator(name).public_key),
            add: add.map(|name| self.validator(name)),
        };
        let admin = |name: &str| format!("{name}.admin");
        let (proposed, _) =
            self.certify(at, &[&admin(by[0])], Call::Propose(Propose { proposal, action })).await;
        if let Some(name) = add {
            // Its node follows from now on.
            if self.nodes.iter().all(|(other, node)| other != name || node.is_none()) {
                self.start(name).await;
            }
            soon(self.handle(name).certified(proposed)).await.unwrap();
            assert!(!self.handle(name).epoch().is_member());
            let height = self.handle(name).progress().borrow().height;
            let ready = Call::ConfirmReadiness(ConfirmReadiness { proposal, height });
            let signers = [admin(&name[..9]), format!("{name}.validator")];
            self.certify(at, &[&signers[0], &signers[1]], ready).await;
        }
        for name in &by[1..] {
            let vote = Call::Vote(Vote { proposal, accept: true });
            self.certify(at, &[&admin(name)], vote).await;
        }
    }

    async fn all_in(&self, epoch: u64) {
        for (name, node) in &self.nodes {
            if let Some(node) = node {
                let handle = node.handle();
                let there = || handle.epoch().set.epoch == Epoch(epoch);
                until(&format!("{name} in epoch {epoch}"), there).await;
            }
        }
    }
}

/// As a client does who has the genesis alone: each set is what the last header of the epoch before names.
fn follows_from_genesis(genesis: &Genesis, finality: &Finality) -> Epoch {
    let (chain, mut set) = (genesis.chain_id(), genesis.validators.clone());
    for turn in &finality.epochs {
        assert_eq!(turn.last.hash(), turn.certificate.header_hash);
        assert!(turn.certificate.verify(chain, &set, &Zip215));
        assert_eq!(turn.last.next_epoch_hash, turn.set.hash());
        set = turn.set.clone();
    }
    assert!(finality.certificate.verify(chain, &set, &Zip215), "by the validators of epoch {}", set.epoch);
    set.epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_nodes_join_leave_and_take_the_place_of_another_and_all_follows_from_genesis() {
    let mut network = Network::up(4).await;
    network.load("hospital0", 3).await;

    // A fifth joins: a second node of the first hospital.
    let by = ["hospital0", "hospital1", "hospital2"];
    network.change("hospital0", &by, None, Some("hospital0b")).await;
    network.all_in(1).await;
    assert_eq!(network.handle("hospital0b").epoch().me.get(), 4);
    let genesis = network.genesis.clone();
    let (_, finality) = network.certify("hospital0b", &["hospital0.admin"], patient_call(1_000)).await;
    assert_eq!(follows_from_genesis(&genesis, &finality), Epoch(1));

    // Of five one may fail, and it is not missed because the new one votes.
    network.stop("hospital3").await;
    network.load("hospital1", 3).await;
    network.start("hospital3").await;

    // One leaves; it goes on as one that follows.
    network.change("hospital0b", &["hospital2", "hospital0", "hospital3"], Some("hospital1"), None).await;
    network.all_in(2).await;
    let (height, finality) = network.certify("hospital2", &["hospital0.admin"], patient_call(1_001)).await;
    assert_eq!(follows_from_genesis(&genesis, &finality), Epoch(2));
    let left = network.handle("hospital1");
    assert!(!left.epoch().is_member());
    soon(left.certified(height)).await.unwrap();
    drop(left);
    network.stop("hospital1").await;

    // A hospital renews its keys: another node takes the place of the first one, which is stopped afterwards.
    let by = ["hospital0", "hospital2"]; // of three organisations
    network.change("hospital2", &by, Some("hospital0"), Some("hospital0c")).await;
    network.all_in(3).await;
    network.stop("hospital0").await;
    network.load("hospital0c", 2).await;

    // Whoever was away for epochs, and whoever joined and restarts, is back.
    for name in ["hospital0b", "hospital3"] {
        network.stop(name).await;
        network.start(name).await;
    }
    let (height, finality) = network.certify("hospital0b", &["hospital0.admin"], patient_call(1_002)).await;
    assert_eq!(follows_from_genesis(&genesis, &finality), Epoch(3));
    for name in ["hospital0b", "hospital0c", "hospital2", "hospital3"] {
        soon(network.handle(name).certified(height)).await.unwrap();
        assert!(network.handle(name).status().driver.alarms.is_empty());
    }

    // The whole ledger again from genesis, each certificate by the validators of its epoch.
    let names: Vec<String> = network.nodes.iter().map(|(name, _)| name.clone()).collect();
    for name in &names {
        if network.nodes.iter().any(|(other, node)| other == name && node.is_some()) {
            network.stop(name).await;
        }
    }
    let folder = network.data("hospital0c").join("ledger");
    let mut store = None;
    // What read it last may be letting go of it.
    until("the store is free", || {
        store = SledStore::open(&folder, 16 << 20).ok();
        store.is_some()
    })
    .await;
    let store = Arc::new(store.unwrap());
    let mut shelf = Shelf::look(FileDisk::look(&network.data("hospital0c").join("snapshots"))).unwrap();
    let report = epione_node::verify::verify(store, &mut shelf, &genesis, |_, _| {}).unwrap();
    assert_eq!(report.damage, None);
    assert!(report.certified >= height);
}
