//! What a Byzantine validator can put on a stream: rubbish, damaged and replayed frames, oversized lists. Nothing panics,
//! nothing halts, and the others go on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use epione_consensus::BlocksAnswer;
use epione_node::conduct::Offence;
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Certificate, Epoch, Height, SignatureSet, TxId};
use proptest::prelude::*;
use support::{Cluster, SECOND};

/// A cluster with some history, and every frame that was ever sent in it.
fn lived() -> Cluster {
    let mut cluster = Cluster::new(4);
    cluster.keep_frames();
    cluster.isolate(0); // frames of a view change, too
    let ids: Vec<TxId> = cluster.patients(4).into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(60 * SECOND, |cluster| (1..4).all(|node| cluster.has(node, &ids)));
    cluster.heal();
    for number in 10..20 {
        goes_on(&mut cluster, number);
    }
    cluster
}

fn goes_on(cluster: &mut Cluster, number: usize) {
    let tx = cluster.patient(number);
    let id = cluster.submit(2, tx);
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&[id]));
    cluster.check();
}

#[test]
fn damaged_frames_are_dropped_and_the_others_go_on() {
    let mut cluster = lived();
    let frames = cluster.frames();
    let mut kinds = std::collections::BTreeSet::new();
    for (at, (class, bytes)) in frames.iter().enumerate() {
        kinds.insert(format!("{:?}", Frame::decode(bytes).unwrap()).chars().take(18).collect::<String>());
        let mut damaged = bytes.to_vec();
        let place = at * 7_919 % damaged.len();
        damaged[place] ^= 1 << (at % 8);
        cluster.inject_on(3, 1, *class, &damaged);
        cluster.inject_on(3, 1, *class, &bytes[..place]);
        if at % 50 == 0 {
            cluster.run(5);
        }
    }
    assert!(kinds.len() >= 8, "many kinds of frames were tried: {kinds:?}");
    assert!(cluster.disconnected(1).iter().all(|peer| *peer == 3));
    assert!(!cluster.disconnected(1).is_empty());
    goes_on(&mut cluster, 100);
}

#[test]
fn everything_ever_said_said_again_by_another_changes_nothing() {
    let mut cluster = lived();
    let frames = cluster.frames();
    let before = cluster.node(1).head();
    for (at, (class, bytes)) in frames.iter().enumerate() {
        for to in [1, 2] {
            cluster.inject_on(3, to, *class, bytes);
        }
        if at % 50 == 0 {
            cluster.run(5);
        }
    }
    cluster.run(SECOND);
    assert_eq!(cluster.node(1).head(), before);
    assert_eq!(cluster.evidence(1), [], "nobody contradicted himself");
    goes_on(&mut cluster, 100);
}

#[test]
fn unasked_answers_and_impossible_requests_cost_nothing() {
    let mut cluster = lived();
    let fetch = |from, to| Frame::FetchBlocks { from: Height(from), to: Height(to) };
    for frame in [fetch(0, u64::MAX), fetch(u64::MAX, u64::MAX), fetch(5, 1), fetch(u64::MAX, 0)] {
        for _ in 0..100 {
            cluster.inject_on(3, 1, Class::Sync, &frame.encode());
        }
    }
    let digest = support::hash("no batch");
    let height = Height(u64::MAX);
    cluster.inject_on(3, 1, Class::Sync, &Frame::FetchBatch { height, digest }.encode());
    let (header_hash, signatures) = (digest, SignatureSet::default());
    let certificate = Certificate { epoch: Epoch(0), height, header_hash, signatures };
    let unasked = Frame::Blocks(BlocksAnswer { blocks: Vec::new(), certificate });
    for _ in 0..10 {
        cluster.inject_on(3, 1, Class::Sync, &unasked.encode());
    }
    cluster.run(SECOND);
    assert_eq!(cluster.disconnected(1), [] as [usize; 0], "a silly question is no crime, and nobody asked");
    let counted = [Offence::RequestEmpty, Offence::RequestTooMany, Offence::BlocksUnasked];
    // Of the 100 questions that name blocks and the one for a batch, two were looked at.
    assert_eq!(counted.map(|offence| cluster.offences(1, 3, offence)), [300, 99, 10]);
    goes_on(&mut cluster, 100);
}

#[test]
fn blocks_that_do_not_verify_are_held_against_who_was_asked() {
    let mut cluster = lived();
    cluster.isolate(1);
    for number in 30..60 {
        let tx = cluster.patient(number);
        let id = cluster.submit(2, tx);
        cluster.run_until(60 * SECOND, |cluster| [0, 2, 3].iter().all(|node| cluster.has(*node, &[id])));
    }
    cluster.heal();
    let (header_hash, signatures) = (support::hash("header"), SignatureSet::default());
    let certificate = Certificate { epoch: Epoch(0), height: Height(1), header_hash, signatures };
    let bad = Frame::Blocks(BlocksAnswer { blocks: Vec::new(), certificate }).encode();
    // In every round, so that one comes right after each question: to whom does not matter to the one who sends it.
    for _ in 0..2_000 {
        for peer in [0, 2, 3] {
            cluster.inject_on(peer, 1, Class::Sync, &bad);
        }
        cluster.run(5);
        if [0, 2, 3].iter().all(|peer| cluster.offences(1, *peer, Offence::BlocksInvalid) > 0) {
            break;
        }
    }
    for peer in [0, 2, 3] {
        assert!(cluster.offences(1, peer, Offence::BlocksInvalid) > 0, "each was asked in turn");
    }
    goes_on(&mut cluster, 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_on_any_stream(list in prop::collection::vec((0usize..3, prop::collection::vec(any::<u8>(), 1..300)), 1..20)) {
        let mut cluster = Cluster::new(4);
        for (class, bytes) in list {
            cluster.inject_on(3, 1, Class::ALL[class], &bytes);
        }
        cluster.run(50);
        cluster.check();
    }
}
