//! Far behind: a snapshot in the place of blocks, from whoever has it, whatever they send (R23).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use epione_node::conduct::Offence;
use epione_node::wire::Frame;
use epione_types::TxId;
use support::{Cluster, SECOND};

/// Blocks between two snapshots, and what one must save.
const EVERY: u64 = 16;

/// Node 3 is away while so many blocks come.
fn away(blocks: u64) -> (Cluster, Vec<TxId>) {
    let mut cluster = Cluster::with_snapshots(4, EVERY, EVERY);
    cluster.run(SECOND);
    cluster.cut(3);
    let mut ids = Vec::new();
    for number in 0.. {
        if cluster.node(1).head().height.0 >= blocks {
            break;
        }
        ids.push(cluster.patient_reaches(number, 0..3));
    }
    cluster.run(2 * SECOND); // what is due is made
    (cluster, ids)
}

/// It comes back, and the network goes on with it.
fn comes_back(cluster: &mut Cluster, limit: u64) {
    cluster.bring_back(3);
    cluster.run_until(limit, Cluster::all_equal_and_certified);
    let tx = cluster.patient(10_000);
    let id = cluster.submit(3, tx);
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&[id]));
    cluster.check();
}

/// What is sent to node 3, by whom: manifests and chunks.
type Sent = Rc<RefCell<BTreeMap<(usize, &'static str), usize>>>;

fn kind(frame: &Frame) -> &'static str {
    match frame {
        Frame::Snapshot(Some(_)) => "manifest",
        Frame::Snapshot(None) => "no manifest",
        Frame::Chunk { bytes: Some(_), .. } => "chunk",
        Frame::Chunk { bytes: None, .. } => "no chunk",
        Frame::Blocks(_) => "blocks",
        Frame::Message(_)
        | Frame::Transactions(_)
        | Frame::FetchBatch { .. }
        | Frame::FetchBlocks { .. }
        | Frame::FetchSnapshot { .. }
        | Frame::FetchChunk { .. }
        | Frame::FetchExecution { .. }
        | Frame::Execution(_) => "other",
    }
}

/// Counts what is sent to node 3, and lets `change` lie.
fn watch(
    cluster: &mut Cluster,
    hostile: &[usize],
    mut change: impl FnMut(usize, Frame) -> Option<Frame> + 'static,
) -> Sent {
    let sent = Sent::default();
    let count = sent.clone();
    cluster.tamper(
        hostile,
        Box::new(move |from, to, frame| {
            if to != 3 {
                return Some(frame);
            }
            *count.borrow_mut().entry((from, kind(&frame))).or_default() += 1;
            change(from, frame)
        }),
    );
    sent
}

/// One bit in the middle is another.
fn spoilt(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

fn total(sent: &Sent, kind: &str) -> usize {
    sent.borrow().iter().filter(|((_, what), _)| *what == kind).map(|(_, count)| count).sum()
}

#[test]
fn who_is_far_behind_fetches_a_snapshot_and_votes_again() {
    let (mut cluster, ids) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[], |_, frame| Some(frame));
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3], "it installed a snapshot");
    let base = cluster.base(3);
    assert!(base >= 2 * EVERY && base.is_multiple_of(EVERY), "{base}");
    assert!(!cluster.has(3, &ids[..1]), "what was before is not here");
    assert_eq!([0, 1, 2].map(|node| cluster.base(node)), [0; 3]);
    for peer in 0..3 {
        assert!(sent.borrow().contains_key(&(peer, "chunk")), "chunks come from all: {sent:?}");
    }
    // It has a vote: without another one nothing is decided but with its own.
    cluster.cut(0);
    let tx = cluster.patient(20_000);
    let id = cluster.submit(3, tx);
    cluster.run_until(60 * SECOND, |cluster| (1..4).all(|node| cluster.has(node, &[id])));
}

#[test]
fn who_is_a_little_behind_fetches_blocks() {
    let (mut cluster, ids) = away(EVERY + 2);
    let sent = watch(&mut cluster, &[], |_, frame| Some(frame));
    comes_back(&mut cluster, 60 * SECOND);
    assert!(cluster.restarts.is_empty() && cluster.has(3, &ids));
    assert!(total(&sent, "blocks") > 0 && total(&sent, "chunk") == 0);
}

#[test]
fn a_damaged_chunk_is_refused_its_sender_noted_and_it_is_fetched_elsewhere() {
    let (mut cluster, _) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[0, 1], |from, mut frame| {
        if let Frame::Chunk { bytes: Some(bytes), .. } = &mut frame
            && from < 2
        {
            *bytes = spoilt(bytes);
        }
        Some(frame)
    });
    cluster.bring_back(3);
    let noted = |cluster: &Cluster, peer| cluster.offences(3, peer, Offence::SnapshotInvalid) > 0;
    cluster.run_until(60 * SECOND, |cluster| noted(cluster, 0) && noted(cluster, 1));
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3]);
    // Each liar was asked for two chunks, and after the first for no more.
    let sent = sent.borrow();
    let count = |from, kind| sent.get(&(from, kind)).copied().unwrap_or_default();
    assert!((1..=2).contains(&count(0, "chunk")) && (1..=2).contains(&count(1, "chunk")), "{sent:?}");
    assert!(count(2, "chunk") > 4, "{sent:?}");
}

#[test]
fn a_manifest_that_does_not_verify_is_refused_and_another_peer_is_asked() {
    let (mut cluster, _) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[0], |from, mut frame| {
        if let Frame::Snapshot(Some(bytes)) = &mut frame
            && from == 0
        {
            *bytes = spoilt(bytes);
        }
        Some(frame)
    });
    cluster.bring_back(3);
    cluster.run_until(60 * SECOND, |cluster| cluster.offences(3, 0, Offence::SnapshotInvalid) == 1);
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3]);
    assert!(sent.borrow().contains_key(&(1, "manifest")), "{sent:?}");
}

#[test]
fn an_old_snapshot_is_not_what_was_asked_for() {
    let (mut cluster, _) = away(3 * EVERY);
    let first: Rc<RefCell<Option<Bytes>>> = Rc::default();
    let keep = first.clone();
    let _sent = watch(&mut cluster, &[0, 1, 2], move |_, frame| {
        if let Frame::Snapshot(Some(bytes)) = &frame {
            let old = keep.borrow_mut().get_or_insert_with(|| bytes.clone()).clone();
            return Some(Frame::Snapshot(Some(old)));
        }
        Some(frame)
    });
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3]);
    cluster.cut(3);
    let mut number = 30_000;
    let height = cluster.node(1).head().height.0;
    while cluster.node(1).head().height.0 < height + 3 * EVERY {
        number += 1;
        cluster.patient_reaches(number, 0..3);
    }
    cluster.run(2 * SECOND);
    cluster.bring_back(3);
    cluster.run_until(60 * SECOND, Cluster::all_equal_and_certified);
    assert_eq!(cluster.restarts, [3], "by blocks this time");
    for peer in 0..3 {
        assert_eq!(cluster.offences(3, peer, Offence::SnapshotInvalid), 1, "it was asked once");
    }
}

#[test]
fn who_is_asked_may_have_none_or_say_nothing_and_blocks_are_fetched_in_the_end() {
    let (mut cluster, ids) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[], |from, frame| {
        if matches!(frame, Frame::Snapshot(_)) {
            return (from != 0).then_some(Frame::Snapshot(None));
        }
        Some(frame)
    });
    comes_back(&mut cluster, 60 * SECOND);
    assert!(cluster.restarts.is_empty() && cluster.has(3, &ids));
    assert!(total(&sent, "blocks") > 0);
}

#[test]
fn who_offers_a_snapshot_and_sends_no_chunk_of_it_delays_and_does_not_stop() {
    let (mut cluster, ids) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[], |_, frame| (kind(&frame) != "chunk").then_some(frame));
    comes_back(&mut cluster, 300 * SECOND);
    assert!(cluster.restarts.is_empty() && cluster.has(3, &ids));
    assert!(total(&sent, "chunk") > 1, "they were asked again");
}

/// A node that comes back to a snapshot, of whose chunks so many come.
fn fetches(chunks: usize) -> (Cluster, Rc<RefCell<usize>>, Sent) {
    let (mut cluster, _) = away(3 * EVERY);
    let passes: Rc<RefCell<usize>> = Rc::new(RefCell::new(chunks));
    let more = passes.clone();
    let sent = watch(&mut cluster, &[], move |_, frame| {
        if kind(&frame) == "chunk" {
            let mut left = more.borrow_mut();
            *left = left.checked_sub(1)?;
        }
        Some(frame)
    });
    cluster.bring_back(3);
    let here = move |cluster: &Cluster| cluster.explain(3)["snapshot"]["here"] == chunks;
    cluster.run_until(60 * SECOND, here);
    (cluster, passes, sent)
}

#[test]
fn fetching_goes_on_after_a_restart_with_what_is_here() {
    let (mut cluster, passes, sent) = fetches(4);
    let explained = cluster.explain(3);
    assert!(
        explained["summary"].as_str().unwrap().contains("fetching the snapshot of height"),
        "{explained}"
    );
    let chunks = usize::try_from(explained["snapshot"]["chunks"].as_u64().unwrap()).unwrap();
    cluster.restart(3);
    let explained = cluster.explain(3);
    assert_eq!(explained["snapshot"]["here"], 4, "it goes on with what is here");
    assert!(explained["snapshot"]["eta_ms"].is_null(), "nothing has come since: {explained}");
    let before = total(&sent, "chunk");
    *passes.borrow_mut() = usize::MAX;
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3]);
    assert_eq!(total(&sent, "manifest"), 1, "nobody was asked for a manifest again");
    assert_eq!(total(&sent, "chunk") - before, chunks - 4, "nor for what was here");
}

#[test]
fn what_is_left_of_a_snapshot_takes_as_long_a_chunk_as_what_came() {
    let (mut cluster, ..) = fetches(2);
    let explained = cluster.explain(3);
    let left = explained["snapshot"]["chunks"].as_u64().unwrap() - 2;
    let eta = |cluster: &Cluster| cluster.explain(3)["snapshot"]["eta_ms"].as_u64().unwrap();
    let early = eta(&cluster);
    cluster.run(10 * SECOND);
    let grown = eta(&cluster) - early;
    assert!((9_000..=11_000).contains(&(grown * 2 / left)), "{grown} ms more for {left} chunks");
}

#[test]
fn what_was_committed_below_a_snapshot_is_neither_taken_again_nor_called_expired() {
    let mut cluster = Cluster::with_snapshots(4, EVERY, EVERY);
    cluster.run(SECOND);
    cluster.cut(3);
    // One that two nodes take, and one that nobody orders: who is away holds both.
    let (both, mine) = (cluster.patient_until(1, 90 * SECOND), cluster.patient_until(2, 90 * SECOND));
    let expires_at = support::expires_at(&both);
    let (committed, lost) = (both.id(), mine.id());
    cluster.submit(1, both.clone());
    cluster.submit(3, both.clone());
    for number in 10.. {
        if cluster.node(1).head().height.0 >= 3 * EVERY {
            break;
        }
        cluster.patient_reaches(number, 0..3);
    }
    cluster.run(2 * SECOND);
    assert!(cluster.pending(3, &committed));
    comes_back(&mut cluster, 60 * SECOND);
    assert_eq!(cluster.restarts, [3]);
    assert!(cluster.has(1, &[committed]) && !cluster.has(3, &[committed]));
    assert_eq!(cluster.known(3, &committed), None, "its durable pool offered it, and it was not taken");
    assert!(cluster.may_be_below(3, committed, expires_at));
    assert!(!cluster.may_be_below(3, lost, support::expires_at(&mine)), "that one occurred nowhere");
    assert!(!cluster.may_be_below(1, committed, expires_at), "this node has every block");
    cluster.submit(3, both);
    cluster.run(SECOND);
    assert_eq!(cluster.known(3, &committed), None);
    // Time passes, and the state forgets it.
    let (mut number, mut after) = (40_000, 0);
    while after < 3 {
        number += 1;
        after += usize::from(cluster.head_time(3) > expires_at);
        cluster.run(30 * SECOND);
        cluster.patient_reaches(number, 0..4);
    }
    cluster.run_until(60 * SECOND, Cluster::all_equal_and_certified);
    assert_eq!(cluster.known(3, &committed), None, "it has not expired");
    assert!(cluster.may_be_below(3, committed, expires_at));
    assert!(!cluster.may_be_below(3, lost, support::expires_at(&mine)), "a proof says so now");
    cluster.check();
}

#[test]
fn who_comes_and_goes_instead_of_answering_stops_nobody() {
    let (mut cluster, _) = away(3 * EVERY);
    let sent = watch(&mut cluster, &[], |from, frame| {
        (from != 0 || !matches!(frame, Frame::Snapshot(_) | Frame::Blocks(_))).then_some(frame)
    });
    cluster.bring_back(3);
    for _ in 0..60 {
        if cluster.all_equal_and_certified() {
            break;
        }
        cluster.run(500);
        cluster.drop_link(3, 0);
    }
    assert!(cluster.all_equal_and_certified(), "{sent:?}");
    assert_eq!(cluster.restarts, [3]);
    cluster.check();
}

#[test]
fn a_snapshot_that_only_a_liar_has_holds_back_no_blocks() {
    let (mut cluster, ids) = away(3 * EVERY);
    // It offers one and sends nothing of it; the others do not have it.
    let sent = watch(&mut cluster, &[], |from, mut frame| {
        if let Frame::Chunk { bytes, .. } = &mut frame {
            if from == 0 {
                return None;
            }
            *bytes = None;
        }
        Some(frame)
    });
    comes_back(&mut cluster, 30 * SECOND);
    assert!(cluster.restarts.is_empty() && cluster.has(3, &ids));
    assert!(total(&sent, "other") > 0 && cluster.explain(3)["snapshot"].is_null(), "{sent:?}");
}

#[test]
fn where_nobody_has_the_blocks_any_more_any_snapshot_helps() {
    let mut cluster = Cluster::with_snapshots(4, EVERY, 1_000);
    cluster.run(SECOND);
    cluster.cut(3);
    for number in 0..usize::try_from(2 * EVERY + 2).unwrap() {
        cluster.patient_reaches(number, 0..3);
    }
    cluster.run(2 * SECOND);
    let sent = watch(&mut cluster, &[], |_, frame| (kind(&frame) != "blocks").then_some(frame));
    cluster.bring_back(3);
    cluster.run_until(200 * SECOND, |cluster| cluster.restarts == [3]);
    assert!(total(&sent, "blocks") > 3 && cluster.base(3) == 2 * EVERY, "everybody was asked before");
    watch(&mut cluster, &[], |_, frame| Some(frame));
    comes_back(&mut cluster, 60 * SECOND);
}

#[test]
fn every_state_that_is_captured_is_read_however_slow_its_lane_is() {
    let mut cluster = Cluster::with_snapshots(4, 1, 0);
    cluster.slow_snapshots();
    for number in 0..30 {
        let tx = cluster.patient(number);
        let ids = [cluster.submit(1, tx)];
        cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&ids));
    }
    cluster.slow_lanes(false);
    cluster.run(5 * SECOND);
    for node in 0..4 {
        assert!(!cluster.is_captured(node), "node {node} remembers for nobody what changes");
        let newest = cluster.newest_snapshot(node).expect("some were made");
        assert!(newest + 6 >= cluster.node(node).head().height.0, "node {node}: {newest}");
    }
}

#[test]
fn an_operator_hears_of_a_snapshot_that_a_node_which_fails_cannot_make() {
    let mut cluster = Cluster::with_snapshots(4, 0, 0);
    let made = cluster.want_snapshot(0);
    cluster.run(SECOND);
    assert!(made.try_recv().unwrap().unwrap_err().contains("no block"), "not yet");
    let tx = cluster.patient(1);
    let ids = [cluster.submit(0, tx)];
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&ids));
    let made = cluster.want_snapshot(0);
    cluster.run(5 * SECOND);
    assert_eq!(made.try_recv().unwrap(), Ok(cluster.node(0).head().height));

    cluster.slow_snapshots();
    let made = cluster.want_snapshot(0);
    cluster.run(100);
    assert!(made.try_recv().is_err(), "it is being made");
    cluster.fail_job(0, "the disk is full");
    cluster.run(100);
    assert!(made.try_recv().unwrap().unwrap_err().contains("has stopped voting"));
    let made = cluster.want_snapshot(0);
    cluster.run(100);
    assert!(made.try_recv().unwrap().unwrap_err().contains("the disk is full"));
}
