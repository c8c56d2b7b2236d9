//! Real nodes in one process: sockets on loopback, sled, files, threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use epione_node::config::{Config, Grpc, LogFormat};
use epione_node::driver::Settings;
use epione_node::handle::{Level, NodeHandle, Outcome, SubmitError};
use epione_node::network::{Limits as NetworkLimits, Peer, PeerIndex};
use epione_node::ports::Refused;
use epione_node::run::Node;
use epione_node::validate::Malformed;
use epione_proto::v1::{Absence, MissingValidator};
use epione_types::id::OrgId;
use epione_types::sign::Zip215;
use epione_types::{ChainId, Genesis, SignedTx, TimestampMs, codec};
use support::{genesis, id16, key, patient_call, sign};

/// Long enough for anything on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Node `me`, listening wherever there is room, with the addresses of those that run already.
fn config(genesis: &Genesis, me: usize, dir: &Path, running: &[Option<Node>]) -> Config {
    let validators = genesis.validators.validators.iter().enumerate().filter(|(index, _)| *index != me);
    let peers = validators.map(|(index, validator)| Peer {
        index: PeerIndex(u16::try_from(index).unwrap()),
        key: validator.network_key.0,
        address: running.get(index).and_then(Option::as_ref).map(|node| node.listen_address().into()),
    });
    let any = "127.0.0.1:0".parse().unwrap();
    Config {
        genesis: genesis.clone(),
        organisation: genesis.validators.validators[me].organisation,
        data_dir: dir.join(format!("node{me}")),
        voting_key_file: dir.join(format!("voting{me}.key")),
        voting_key: key(&format!("hospital{me}.validator")),
        network_key: key(&format!("hospital{me}.network")),
        grpc: Grpc {
            listen: any,
            certificate: Vec::new(),
            key: Vec::new(),
            client_ca: None,
            connections_per_address: 128,
        },
        operator: any,
        listen: any,
        peers: peers.collect(),
        network_limits: NetworkLimits::default(),
        log_level: "info".to_owned(),
        log_format: LogFormat::Text,
        settings: Settings::default(),
        pipeline: 1,
        store_cache_bytes: 16 << 20,
        clock_offset_ms: 0,
        // Full all the time at every other node: whoever waits for the driver, it waits for nobody.
        inbox: if me.is_multiple_of(2) { 1 } else { 1_024 },
    }
}

fn organisation() -> OrgId {
    OrgId(id16("hospital0"))
}

fn patient(handle: &NodeHandle, number: usize) -> SignedTx {
    let expires_at = TimestampMs(now() + 600_000);
    sign(handle.chain_id(), &["hospital0.admin"], number as u64, expires_at, patient_call(number))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_commit_certify_answer_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(4);
    let mut nodes: Vec<Option<Node>> = Vec::new();
    for me in 0..4 {
        let config = config(&genesis, me, dir.path(), &nodes);
        nodes.push(Some(Node::start(config).await.unwrap()));
    }
    let handle = |nodes: &[Option<Node>], me: usize| nodes[me].as_ref().unwrap().handle().clone();
    let (first, second) = (handle(&nodes, 0), handle(&nodes, 1));

    // Each level, and what it carries.
    let taken = soon(first.submit(patient(&first, 1), organisation(), Level::Accepted)).await.unwrap();
    assert!(taken.durable);
    assert!(matches!(taken.outcome, Outcome::Pending { .. }));
    let tx = patient(&second, 2);
    let done = soon(second.submit(tx.clone(), organisation(), Level::Certified)).await.unwrap();
    let Outcome::Certified(committed, finality) = &done.outcome else { panic!("{:?}", done.outcome) };
    assert_eq!(committed.receipt().tx_id, done.id);
    assert!(finality.certificate.verify(first.chain_id(), &genesis.validators, &Zip215));
    let last = finality.descendants.last().unwrap_or(&committed.block().header);
    assert_eq!(last.hash(), finality.certificate.header_hash);

    // The same bytes again, at any node: the first receipt.
    for handle in [&first, &second] {
        let again = soon(handle.submit(tx.clone(), organisation(), Level::Committed)).await.unwrap();
        let Outcome::Committed(found) = again.outcome else { panic!("{:?}", again.outcome) };
        assert_eq!(found.receipt(), committed.receipt());
    }
    // Any node tells, and waits for, what was submitted elsewhere.
    let third = handle(&nodes, 2);
    let told = soon(third.wait_for(taken.id, Level::Committed)).await.unwrap();
    assert!(matches!(told, Outcome::Committed(_)));
    assert!(!matches!(third.outcome(done.id).await.unwrap(), Outcome::Unknown | Outcome::Pending { .. }));
    let nobodys = patient(&first, 999).id();
    assert!(matches!(third.outcome(nobodys).await.unwrap(), Outcome::Unknown));

    // One stops, the others go on; it comes back, on another port, and has what it missed.
    nodes[3].take().unwrap().shutdown().await.unwrap();
    for number in 10..30 {
        soon(first.submit(patient(&first, number), organisation(), Level::Committed)).await.unwrap();
    }
    let config3 = config(&genesis, 3, dir.path(), &nodes);
    nodes[3] = Some(Node::start(config3).await.unwrap());
    let fourth = handle(&nodes, 3);
    let head = first.progress().borrow().height;
    soon(fourth.certified(head)).await.unwrap();
    let roots = [&first, &second, &third, &fourth].map(|handle| {
        handle.read(move |chain| {
            Ok::<_, epione_node::handle::NodeError>(chain.header(head)?.unwrap().state_root)
        })
    });
    let roots = futures::future::try_join_all(roots).await.unwrap();
    assert!(roots.iter().all(|root| *root == roots[0]));
    assert_eq!(first.peers().len(), 3);
    assert_eq!(first.status().driver.fault, None);

    // When a node stops, whoever waits hears of it.
    let waiting = tokio::spawn(async move { fourth.wait_for(nobodys, Level::Committed).await });
    for node in nodes.into_iter().flatten() {
        node.shutdown().await.unwrap();
    }
    assert!(soon(waiting).await.unwrap().is_err());
    assert!(first.submit(patient(&first, 50), organisation(), Level::Accepted).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_at_the_door_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(&genesis(1), 0, dir.path(), &[])).await.unwrap();
    let handle = node.handle().clone();
    let submit = |tx| handle.submit(tx, organisation(), Level::Committed);

    let mut forged = patient(&handle, 1);
    forged.signatures[0].signature.0[5] ^= 1;
    assert!(matches!(submit(forged).await, Err(SubmitError::Refused(Refused::Signature))));

    let at = |expires_at| {
        sign(handle.chain_id(), &["hospital0.admin"], 7, TimestampMs(expires_at), patient_call(7))
    };
    assert!(matches!(submit(at(now() - 1)).await, Err(SubmitError::Refused(Refused::Expired { .. }))));
    let beyond = now() + 25 * 3_600_000;
    assert!(matches!(submit(at(beyond)).await, Err(SubmitError::Refused(Refused::TooFarAhead { .. }))));

    let other = sign(ChainId([9; 32]), &["hospital0.admin"], 7, TimestampMs(now() + 60_000), patient_call(7));
    let refused = submit(other).await;
    assert!(matches!(refused, Err(SubmitError::Malformed(Malformed::OtherChain { .. }))));

    // And what is right goes through, after all that.
    let done = soon(submit(patient(&handle, 1))).await.unwrap();
    assert!(matches!(done.outcome, Outcome::Committed(_)));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voting_key_gets_one_log_and_a_lost_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(1);
    let node = Node::start(config(&genesis, 0, dir.path(), &[])).await.unwrap();
    let tx = patient(node.handle(), 1);
    soon(node.handle().submit(tx.clone(), organisation(), Level::Certified)).await.unwrap();
    node.shutdown().await.unwrap();

    // Comes back from what it stored, and knows what it knew.
    let node = Node::start(config(&genesis, 0, dir.path(), &[])).await.unwrap();
    let known = node.handle().outcome(tx.id()).await.unwrap();
    assert!(matches!(known, Outcome::Certified(..)), "{known:?}");
    soon(node.handle().submit(patient(node.handle(), 2), organisation(), Level::Certified)).await.unwrap();
    node.shutdown().await.unwrap();

    // A damaged pool has its own words: the key is as good as ever, and without the pool the node starts.
    let pool = dir.path().join("node0/pool");
    let file = pool.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let refused = Node::start(config(&genesis, 0, dir.path(), &[])).await.unwrap_err().to_string();
    assert!(!refused.contains("new key") && !refused.contains("must not vote"), "{refused}");
    for word in ["durable mempool", pool.to_str().unwrap(), "byte 0", "move the folder away", "submit again"]
    {
        assert!(refused.contains(word), "'{word}' is not in: {refused}");
    }
    std::fs::rename(&pool, dir.path().join("node0/pool.damaged")).unwrap();
    Node::start(config(&genesis, 0, dir.path(), &[])).await.unwrap().shutdown().await.unwrap();

    // Without its log, or without anything at all, the key may not vote again.
    let data = dir.path().join("node0");
    std::fs::remove_dir_all(data.join("log")).unwrap();
    let refused = Node::start(config(&genesis, 0, dir.path(), &[])).await.unwrap_err().to_string();
    assert!(refused.contains("new key"), "{refused}");
    std::fs::remove_dir_all(data).unwrap();
    assert!(Node::start(config(&genesis, 0, dir.path(), &[])).await.is_err());
}

/// One of four has a genesis that differs in one byte: it and the others are told, and the others go on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genesis_that_differs_by_one_byte_is_named_by_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let right = genesis(4);
    let mut wrong = right.clone();
    wrong.timestamp = wrong.timestamp.next();
    let differ = codec::encode(&right)
        .iter()
        .zip(codec::encode(&wrong))
        .filter(|(one, other)| **one != *other)
        .count();
    assert_eq!(differ, 1);
    let mut nodes: Vec<Option<Node>> = Vec::new();
    for me in 0..4 {
        let genesis = if me == 3 { &wrong } else { &right };
        nodes.push(Some(Node::start(config(genesis, me, dir.path(), &nodes)).await.unwrap()));
    }
    let explained = |at: usize| {
        let handle = nodes[at].as_ref().unwrap().handle();
        epione_node::explain::answer(&handle.status().driver.snapshot)
    };
    let of_another_chain = |at: usize| -> Vec<u32> {
        let other = |it: &MissingValidator| it.why() == Absence::OtherChain;
        explained(at).missing.iter().filter(|it| other(it)).map(|it| it.validator).collect()
    };
    let all_know = || (0..3).all(|at| of_another_chain(at) == [3]) && of_another_chain(3) == [0, 1, 2];
    let mut look = tokio::time::interval(Duration::from_millis(20));
    soon(async {
        while !all_know() {
            look.tick().await;
        }
    })
    .await;
    let (here, there) = (right.chain_id().to_string(), wrong.chain_id().to_string());
    for (at, who, [own, theirs]) in [
        (0, "with that of validator 3 (", [&here, &there]),
        (3, "with that of validator 0 (", [&there, &here]),
    ] {
        let advice = explained(at).advice;
        assert!(
            advice.starts_with("Compare the genesis file of this node ") && advice.contains(who),
            "{advice}"
        );
        let chains = format!("by this one the chain is {own}, by that one {theirs}");
        assert!(advice.contains(&chains), "{advice}");
    }
    let first = nodes[0].as_ref().unwrap().handle().clone();
    let done = soon(first.submit(patient(&first, 1), organisation(), Level::Certified)).await.unwrap();
    assert!(matches!(done.outcome, Outcome::Certified(..)));

    // With its own data it cannot even be started with the other genesis: what it holds is of its chain.
    nodes[3].take().unwrap().shutdown().await.unwrap();
    let refused = Node::start(config(&right, 3, dir.path(), &nodes)).await.unwrap_err().to_string();
    for words in [&*there, &*here, "use the right genesis or another data folder"] {
        assert!(refused.contains(words), "'{words}' is not in: {refused}");
    }
    for node in nodes.into_iter().flatten() {
        node.shutdown().await.unwrap();
    }
}

/// Snapshots are worth nothing to who votes: what they are kept in may be broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_folder_of_snapshots_does_not_open_votes_and_remembers_nothing_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(1);
    let mut config = config(&genesis, 0, dir.path(), &[]);
    (config.settings.snapshots.every, config.settings.snapshots.span_ms) = (1, 0);
    std::fs::create_dir_all(&config.data_dir).unwrap();
    std::fs::write(config.snapshots_dir(), b"no folder").unwrap();
    let node = Node::start(config).await.unwrap();
    let handle = node.handle().clone();
    for number in 0..3 {
        let tx = patient(&handle, number);
        soon(handle.submit(tx, organisation(), Level::Certified)).await.unwrap();
    }
    let why = soon(handle.make_snapshot()).await.unwrap().unwrap_err();
    assert!(why.contains("could not be made"), "{why}");
    let is_free = handle.read(|chain| {
        let began = chain.begin_capture();
        began.into_iter().for_each(|height| chain.drop_capture(height));
        Ok::<_, epione_node::handle::NodeError>(began.is_some())
    });
    assert!(is_free.await.unwrap(), "blocks save what they overwrite, for nobody");
    node.shutdown().await.unwrap();
}
