//! One test per rule of the protocol: remove the rule and its test falls.
//!
//! R1 is tested in `types::quorum`; R10 and what a valid batch is (R8's contents) in `chaincode` and `node`;
//! R12's header and R24's durable acceptance in `node`; R20 and R21 come with membership.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use std::sync::Arc;

use common::{Cluster, FakeSigner, FakeVerifier, PowerCut, v};
use epione_consensus::{
    Alarm, Body, Effect, Event, Evidence, Halt, Kind, Message, Misbehavior, NewView, Payload,
    PreparedCertificate, Record, Rejected, Replica, RestoreError, Signed, SignedVote, Step, Stored,
    Verifying, ViewChange, Vote, Wal,
};
use epione_types::{
    Batch, Certificate, ChainId, Epoch, Hash, Height, Params, SignatureSet, Signer, TimestampMs, View,
    sign::Zip215,
};

fn vote(cluster: &Cluster, from: usize, kind: Kind, view: u64, height: u64, digest: Hash) -> SignedVote {
    let vote = Vote { kind, epoch: Epoch::ZERO, view: View(view), height: Height(height), digest };
    vote.sign(cluster.chain_id, v(from), &*cluster.signer(from))
}

fn proposal(cluster: &Cluster, from: usize, view: u64, height: u64, payload: &Payload) -> Message {
    let vote = vote(cluster, from, Kind::PrePrepare, view, height, payload.digest());
    Message::Proposal(vote, Some(payload.bytes().clone()))
}

fn prepared(cluster: &Cluster, view: u64, height: u64, digest: Hash) -> PreparedCertificate {
    let n = cluster.n();
    let primary = usize::try_from(view).unwrap() % n;
    let prepares = (0..n)
        .filter(|i| *i != primary)
        .take(cluster.set.quorum() - 1)
        .map(|i| (v(i), vote(cluster, i, Kind::Prepare, view, height, digest).signature))
        .collect();
    PreparedCertificate {
        pre_prepare: vote(cluster, primary, Kind::PrePrepare, view, height, digest),
        prepares,
    }
}

fn change(
    cluster: &Cluster,
    from: usize,
    view: u64,
    prepared: Vec<PreparedCertificate>,
) -> Signed<ViewChange> {
    let certificate = cluster.nodes[from].certificates.values().next_back().cloned();
    ViewChange { epoch: Epoch::ZERO, view: View(view), certificate, prepared, reason: Vec::new() }.sign(
        cluster.chain_id,
        v(from),
        &*cluster.signer(from),
    )
}

fn new_view(
    cluster: &Cluster,
    from: usize,
    changes: Vec<Signed<ViewChange>>,
    list: &[(u64, Hash)],
) -> Message {
    let view = changes[0].body.view;
    let pre_prepares =
        list.iter().map(|(h, d)| vote(cluster, from, Kind::PrePrepare, view.0, *h, *d)).collect();
    let body = NewView { epoch: Epoch::ZERO, view, view_changes: changes, pre_prepares };
    Message::NewView(Box::new(body.sign(cluster.chain_id, v(from), &*cluster.signer(from))))
}

/// Steps of one replica, without a network.
fn records(step: &mut Step) -> Vec<Record> {
    #[derive(Default)]
    struct Spy(Vec<Record>);
    impl Wal for Spy {
        type Error = PowerCut;
        fn append_and_sync(&mut self, records: &[Record]) -> Result<(), PowerCut> {
            self.0.extend_from_slice(records);
            Ok(())
        }
    }
    let mut spy = Spy::default();
    let effects = core::mem::take(step).commit(&mut spy).unwrap();
    drop(effects);
    spy.0
}

fn sent(cluster: &Cluster, from: usize, wanted: impl Fn(&Message) -> bool) -> usize {
    cluster.sent.iter().filter(|(who, _, message)| *who == from && wanted(message)).count()
}

fn is_vote(message: &Message, kind: Kind) -> bool {
    matches!(message, Message::Vote(vote) if vote.vote.kind == kind)
}

#[test]
fn r02_votes_only_inside_the_window_and_low_needs_the_block() {
    let mut cluster = Cluster::new(4);
    // A proposal one above the window is kept, not voted on; two windows up it is not even kept.
    for (height, kept) in [(9u64, true), (16, true), (17, false)] {
        let payload = cluster.batch(0, "x");
        let message = proposal(&cluster, 0, 0, height, &payload);
        cluster.receive(1, message).unwrap();
        assert_eq!(cluster.replica(1).batch(payload.digest()).is_some(), kept, "height {height}");
    }
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 0);
    // A certificate alone does not move low: block 1 is not here.
    let mut other = Cluster::new(4);
    other.propose(0, "x");
    other.nodes[3].slow = true;
    other.settle();
    assert_eq!((other.low(0), other.low(3)), (1, 0));
    other.nodes[3].slow = false;
    other.execute(3);
    assert_eq!(other.low(3), 1);
}

#[test]
fn r03_nothing_leaves_before_its_records_are_durable() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "x");
    let message = proposal(&cluster, 0, 0, 1, &payload);
    cluster.nodes[1].disk.cut = true;
    cluster.sent.clear();
    cluster.receive(1, message).unwrap();
    assert!(cluster.sent.is_empty(), "a vote left although its record was lost");
    assert!(!cluster.up(1), "a failed sync ends the process");
}

#[test]
fn r04_each_record_stands_before_what_depends_on_it() {
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "x");
    cluster.settle();
    let kinds: Vec<&str> = cluster.nodes[1]
        .disk
        .synced
        .iter()
        .map(|record| match record {
            Record::Born { .. } => "born",
            Record::Batch { .. } => "batch",
            Record::Accepted(_) => "accepted",
            Record::Prepared(_) => "prepared",
            Record::Sealed { .. } => "sealed",
            Record::Certified(_) => "certified",
            Record::Asked(_) => "asked",
            Record::Entered(_) => "entered",
            Record::Halted(_) => "halted",
            Record::Epoch { .. } => "epoch",
        })
        .collect();
    assert_eq!(kinds, ["born", "batch", "accepted", "prepared", "sealed", "certified"]);
}

#[test]
fn r04_sealed_heights_above_the_store_are_executed_again_first() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, message)| is_vote(message, Kind::Seal));
    cluster.propose(0, "x");
    cluster.settle();
    for i in 0..4 {
        cluster.crash(i);
        cluster.nodes[i].chain.clear(); // the store lost the block; the log has its batch
    }
    cluster.lose = Box::new(|_| false);
    for i in 0..4 {
        cluster.restart(i);
    }
    cluster.settle();
    cluster.tick(1_000);
    assert!((0..4).all(|i| cluster.low(i) == 1));
    cluster.must_progress();
}

/// Simulation seed 5039: a height reached by sync has no Seal, and when all stores lost their ends, what was sealed above it
/// stood in every log and was asked for in vain.
#[test]
fn r04_sealed_heights_above_a_gap_are_executed_again_once_it_is_closed() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, to, _)| *to == 3);
    cluster.propose(0, "reached by sync at 3");
    cluster.settle();
    cluster.lose = Box::new(|(_, _, message)| is_vote(message, Kind::Seal));
    cluster.tick(1_000);
    cluster.settle();
    assert_eq!(cluster.low(3), 1);
    let first = cluster.blocks(0, Height(1), Height(1)).unwrap();
    cluster.propose(0, "sealed everywhere");
    cluster.settle();
    assert_eq!(cluster.nodes[3].chain.len(), 2);
    for i in 0..4 {
        cluster.crash(i);
        cluster.nodes[i].chain.clear();
    }
    cluster.restart(3);
    assert_eq!(cluster.replica(3).tip().height, Height(0), "block 1 is not in its log");
    let gate = Verifying {
        chain: cluster.chain_id,
        set: &cluster.set,
        begin: Height::ZERO,
        verifier: &FakeVerifier,
    };
    let blocks = gate.blocks(first).unwrap();
    cluster.feed(3, Event::Blocks(blocks));
    assert_eq!(cluster.replica(3).tip().height, Height(2), "block 2 is, and nowhere else");
}

#[test]
fn r04_trimming_keeps_what_binds() {
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "certified");
    cluster.settle();
    cluster.lose = Box::new(|(_, _, message)| is_vote(message, Kind::Commit));
    let digest = cluster.propose(0, "prepared").unwrap();
    cluster.settle();
    cluster.trim(1);
    cluster.crash(1);
    cluster.restart(1);
    // It still knows the batch, that it accepted, and that it committed: another digest is refused.
    assert!(cluster.replica(1).batch(digest).is_some());
    let other = cluster.batch(0, "other");
    cluster.byzantine.insert(0);
    let message = proposal(&cluster, 0, 0, 2, &other);
    cluster.receive(1, message).unwrap();
    let accepted = cluster.nodes[1]
        .disk
        .synced
        .iter()
        .any(|record| matches!(record, Record::Accepted(vote) if vote.vote.digest == other.digest()));
    assert!(!accepted);
    assert_eq!(cluster.nodes[1].evidence.len(), 1, "what it accepted is known, and so is the contradiction");
}

#[test]
fn r05_votes_are_bound_to_chain_epoch_view_height_digest_and_kind() {
    let cluster = Cluster::new(4);
    let digest = Hash([7; 32]);
    let good = vote(&cluster, 1, Kind::Commit, 0, 1, digest);
    let gate = |chain| Verifying { chain, set: &cluster.set, begin: Height::ZERO, verifier: &FakeVerifier };
    assert!(gate(cluster.chain_id).message(Message::Vote(good)).is_ok());
    assert_eq!(gate(ChainId([1; 32])).message(Message::Vote(good)).unwrap_err(), Rejected::Signature);
    let changed = [
        SignedVote { vote: Vote { view: View(1), ..good.vote }, ..good },
        SignedVote { vote: Vote { height: Height(2), ..good.vote }, ..good },
        SignedVote { vote: Vote { digest: Hash([8; 32]), ..good.vote }, ..good },
        SignedVote { vote: Vote { kind: Kind::Prepare, ..good.vote }, ..good },
        SignedVote { from: v(2), ..good },
    ];
    for vote in changed {
        assert_eq!(gate(cluster.chain_id).message(Message::Vote(vote)).unwrap_err(), Rejected::Signature);
    }
    let epoch = SignedVote { vote: Vote { epoch: Epoch(1), ..good.vote }, ..good };
    assert_eq!(gate(cluster.chain_id).message(Message::Vote(epoch)).unwrap_err(), Rejected::Epoch);
    assert_eq!(vote(&cluster, 1, Kind::Commit, 0, 1, digest), good, "signing again gives the same bytes");
}

#[test]
fn r06_the_primarys_own_prepare_is_ignored() {
    for n in [4, 5, 6] {
        let mut cluster = Cluster::new(n);
        let q = cluster.set.quorum();
        let payload = cluster.batch(0, "x");
        let (digest, message) = (payload.digest(), proposal(&cluster, 0, 0, 1, &payload));
        cluster.receive(1, message).unwrap(); // PrePrepare of 0 and own Prepare: 2
        cluster.byzantine.insert(0);
        let extra = vote(&cluster, 0, Kind::Prepare, 0, 1, digest);
        cluster.receive(1, Message::Vote(extra)).unwrap();
        for i in 2..q - 1 {
            let prepare = vote(&cluster, i, Kind::Prepare, 0, 1, digest);
            cluster.receive(1, Message::Vote(prepare)).unwrap();
        }
        assert_eq!(
            sent(&cluster, 1, |m| is_vote(m, Kind::Commit)),
            0,
            "n={n}: q-1 acceptances are no quorum"
        );
        let last = vote(&cluster, q - 1, Kind::Prepare, 0, 1, digest);
        cluster.receive(1, Message::Vote(last)).unwrap();
        assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Commit)), n - 1);
    }
}

#[test]
fn r06_votes_for_different_digests_do_not_add_up() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "x");
    let message = proposal(&cluster, 0, 0, 1, &payload);
    cluster.receive(1, message).unwrap();
    for i in [2, 3] {
        let other = vote(&cluster, i, Kind::Prepare, 0, 1, Hash([7; 32]));
        cluster.receive(1, Message::Vote(other)).unwrap();
    }
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Commit)), 0);
}

#[test]
fn r07_only_the_views_primary_proposes_and_the_first_proposal_stands() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(1, "x");
    let message = proposal(&cluster, 1, 0, 1, &payload);
    assert_eq!(cluster.receive(2, message).unwrap_err(), Rejected::NotPrimary);
    assert!(cluster.replica(1).opening().is_none());
    assert_eq!(cluster.replica(0).opening().unwrap().height, Height(1));
}

#[test]
fn r07_ordered_batches_are_delivered_in_height_order() {
    let mut cluster = Cluster::new(4);
    // Commits of height 1 are lost, those of height 2 arrive: 2 waits for 1.
    cluster.lose = Box::new(
        |(_, _, m)| matches!(m, Message::Vote(vote) if vote.vote.kind == Kind::Commit && vote.vote.height == Height(1)),
    );
    cluster.propose(0, "1");
    cluster.propose(0, "2");
    cluster.settle();
    assert!(cluster.nodes.iter().all(|node| node.delivered.is_empty()));
    cluster.lose = Box::new(|_| false);
    cluster.tick(600);
    assert!(cluster.nodes.iter().all(|node| node.delivered.len() == 2));
}

#[test]
fn r07_votes_of_f_plus_1_make_one_fetch_the_batch() {
    // No Commit arrives, so nothing is ordered yet: Prepares alone make the fourth fetch, and vote.
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(from, to, m)| {
        (*from, *to) == (0, 3) && matches!(m, Message::Proposal(..)) || is_vote(m, Kind::Commit)
    });
    let digest = cluster.propose(0, "x").unwrap();
    cluster.settle();
    assert!(cluster.replica(3).batch(digest).is_some(), "the fourth fetched what three voted for");
    assert_eq!(sent(&cluster, 3, |m| is_vote(m, Kind::Prepare)), 3);
}

#[test]
fn r08_an_invalid_batch_is_proof_against_the_primary() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "bad");
    cluster.invalid.insert(payload.digest());
    cluster.byzantine.insert(0);
    let message = proposal(&cluster, 0, 0, 1, &payload);
    for i in 1..4 {
        cluster.receive(i, message.clone()).unwrap();
    }
    let what = Misbehavior::InvalidBatch;
    assert!((1..4).all(|i| cluster.nodes[i].alarms.contains(&Alarm::FaultyPrimary { view: View(0), what })));
    cluster.settle();
    assert!((1..4).all(|i| cluster.view(i) == 1));
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 0);
    // A batch that names another proposer than its primary is invalid too.
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(2, "not mine");
    let message = proposal(&cluster, 0, 0, 1, &payload);
    cluster.receive(1, message).unwrap();
    assert!(cluster.nodes[1].alarms.contains(&Alarm::FaultyPrimary { view: View(0), what }));
}

#[test]
fn r09_a_stamp_off_the_clock_needs_f_plus_1_acceptances_by_others() {
    let mut cluster = Cluster::new(7);
    let tx = epione_types::SignedTx { body: b"x".to_vec().into(), signatures: Vec::new() };
    let stamp = cluster.clock().plus(5_001);
    let payload = Payload::new(Batch::Proposed { proposer: v(0), stamp, txs: vec![tx] });
    let (digest, message) = (payload.digest(), proposal(&cluster, 0, 0, 1, &payload));
    cluster.receive(1, message).unwrap();
    let prepare = vote(&cluster, 2, Kind::Prepare, 0, 1, digest);
    cluster.receive(1, Message::Vote(prepare)).unwrap();
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 0, "two acceptances are not f+1 = 3");
    let prepare = vote(&cluster, 3, Kind::Prepare, 0, 1, digest);
    cluster.receive(1, Message::Vote(prepare)).unwrap();
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 6);
}

#[test]
fn r11_time_moves_only_while_something_waits_for_it() {
    let mut cluster = Cluster::new(4);
    cluster.tick(120_000);
    assert!(
        cluster
            .nodes
            .iter()
            .all(|node| node.chain.is_empty() && node.replica.as_ref().unwrap().waiting().view == View(0)),
        "idle: no blocks, no view change"
    );
    let deadline = cluster.clock().plus(2_000);
    for node in &mut cluster.nodes {
        node.waiting.1 = Some(deadline);
    }
    cluster.tick(4_000);
    for node in &cluster.nodes {
        let (header, payload) = &node.chain[0];
        assert!(header.timestamp > deadline && payload.batch().txs().is_empty());
    }
    assert_eq!(cluster.view(0), 0);
}

#[test]
fn r11_a_primary_that_lets_time_stand_is_replaced() {
    let mut cluster = Cluster::new(4);
    cluster.crash(0);
    let deadline = cluster.clock().plus(100);
    for node in &mut cluster.nodes {
        node.waiting.1 = Some(deadline);
    }
    cluster.tick(15_000);
    assert!((1..4).all(|i| cluster.view(i) == 1 && cluster.tip(i).timestamp > deadline));
}

#[test]
fn r11_the_null_batch_comes_only_from_a_new_view_and_empty_floods_are_suspected() {
    let mut cluster = Cluster::new(4);
    let null = Payload::new(Batch::Null);
    let message = proposal(&cluster, 0, 0, 1, &null);
    cluster.receive(1, message).unwrap();
    assert!(
        cluster.nodes[1]
            .alarms
            .contains(&Alarm::FaultyPrimary { view: View(0), what: Misbehavior::NullBatch })
    );

    let mut cluster = Cluster::new(4);
    for height in 1..=2 {
        let empty = Payload::new(Batch::Proposed { proposer: v(0), stamp: cluster.clock(), txs: Vec::new() });
        let message = proposal(&cluster, 0, 0, height, &empty);
        cluster.receive(1, message).unwrap();
    }
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 6, "the batches are not refused");
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Suspect)), 3, "the flood is suspected");
}

#[test]
fn r12_a_header_knows_neither_view_nor_certificate() {
    // The same batch ordered in view 0 here, in view 1 there; certified by different quorums.
    let mut straight = Cluster::new(4);
    straight.propose(0, "x");
    straight.settle();
    let mut changed = Cluster::new(4);
    changed.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Commit));
    changed.propose(0, "x");
    changed.settle();
    changed.crash(0);
    changed.lose = Box::new(|(_, _, m)| {
        is_vote(m, Kind::Commit) && matches!(m, Message::Vote(vote) if vote.vote.view == View(0))
    });
    changed.pending(true);
    changed.tick(1_500);
    assert!(changed.view(1) >= 1 && changed.low(1) == 1);
    let (here, there) = (&straight.nodes[1], &changed.nodes[1]);
    assert_eq!(here.chain[0].0, there.chain[0].0, "one header");
    assert_ne!(here.certificates[&Height(1)].signatures, there.certificates[&Height(1)].signatures);
}

#[test]
fn r13_a_replay_that_gives_another_header_halts() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Seal));
    cluster.propose(0, "x");
    cluster.settle();
    cluster.crash(1);
    cluster.nodes[1].chain.clear();
    cluster.nodes[1].wrong_from = Some(1);
    cluster.restart(1);
    assert!(
        matches!(cluster.nodes[1].halted, Some(Halt::Replay { height: Height(1), .. })),
        "{:?}",
        cluster.nodes[1].halted
    );
}

#[test]
fn r13_f_plus_1_other_seals_alarm_and_q_halt() {
    let mut cluster = Cluster::new(7); // f = 2, q = 5
    cluster.nodes[6].wrong_from = Some(1);
    cluster.lose = Box::new(|(from, to, m)| {
        *to == 6 && *from > 2 && is_vote(m, Kind::Seal) || *to == 6 && matches!(m, Message::Certificate(_))
    });
    cluster.propose(0, "x");
    cluster.settle();
    assert!(matches!(cluster.nodes[6].alarms.as_slice(), [Alarm::Diverging { height: Height(1), .. }]));
    assert_eq!(cluster.nodes[6].halted, None);
    cluster.lose = Box::new(|_| false);
    cluster.tick(600);
    assert!(matches!(cluster.nodes[6].halted, Some(Halt::Diverged { height: Height(1), .. })));
    // The others go on, and the halted one no longer votes.
    assert!((0..6).all(|i| cluster.low(i) == 1));
    cluster.sent.clear();
    cluster.propose(0, "y");
    cluster.settle();
    assert_eq!(sent(&cluster, 6, |m| matches!(m, Message::Vote(_))), 0);
    assert!((0..6).all(|i| cluster.low(i) == 2));
}

#[test]
fn r13_a_full_window_names_who_is_missing_and_keeps_the_view() {
    let mut cluster = Cluster::with(4, Params { window: 2, ..Params::default() });
    cluster.lose = Box::new(|(from, to, m)| {
        (*from >= 2 || *to >= 2) && (is_vote(m, Kind::Seal) || matches!(m, Message::Status(_)))
    });
    cluster.propose(0, "1");
    cluster.propose(0, "2");
    cluster.settle();
    cluster.pending(true);
    cluster.tick(5_000);
    let alarm = Alarm::WindowFull { height: Height(1), missing: vec![v(2), v(3)] };
    assert!(cluster.nodes[0].alarms.contains(&alarm), "{:?}", cluster.nodes[0].alarms);
    assert_eq!(cluster.view(0), 0);
}

#[test]
fn r14_one_suspect_moves_nobody_and_f_plus_1_move_all() {
    for n in [4, 7] {
        let f = epione_types::quorum::faults(n);
        let mut cluster = Cluster::new(n);
        for from in n - f..n {
            for to in 0..n - f {
                let suspect = vote(&cluster, from, Kind::Suspect, 0, 0, Hash::ZERO);
                cluster.receive(to, Message::Vote(suspect)).unwrap();
            }
        }
        cluster.settle();
        assert!((0..n).all(|i| cluster.view(i) == 0), "n={n}: f Suspects move nobody");
    }
    for n in [4, 7] {
        // f+1 Suspects reach one validator alone: they travel with its ViewChange, and all have the reason.
        let f = epione_types::quorum::faults(n);
        let mut cluster = Cluster::new(n);
        for from in n - f - 1..n {
            let suspect = vote(&cluster, from, Kind::Suspect, 0, 0, Hash::ZERO);
            cluster.receive(0, Message::Vote(suspect)).unwrap();
        }
        cluster.settle();
        assert!((0..n).all(|i| cluster.view(i) == 1), "n={n}: the attached reason moves all");
    }
}

#[test]
fn r14_the_jump_is_to_the_f_plus_1th_highest_view() {
    let mut cluster = Cluster::new(4); // f = 1
    for (from, view) in [(1, 7), (2, 6)] {
        let message = Message::ViewChange(Box::new(change(&cluster, from, view, Vec::new())));
        cluster.receive(0, message).unwrap();
    }
    assert_eq!(cluster.replica(0).waiting().asked, View(6), "one liar at 7 does not drag to 7");
}

#[test]
fn r15_the_slot_timer_counts_gaps_and_the_request_timer_counts_from_forwarding() {
    // Only height 2 was proposed to the others: height 1 is a gap that nobody fills.
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "gap");
    let message = proposal(&cluster, 0, 0, 2, &payload);
    for i in 1..4 {
        cluster.receive(i, message.clone()).unwrap();
    }
    cluster.lose = Box::new(|(from, _, _)| *from == 0);
    cluster.tick(900);
    assert!((1..4).all(|i| cluster.view(i) == 0));
    cluster.tick(400);
    assert!((1..4).all(|i| cluster.view(i) == 1), "the gap is overdue");

    let mut cluster = Cluster::new(4);
    cluster.tick(500);
    cluster.crash(0);
    cluster.pending(true);
    cluster.tick(900);
    assert!((1..4).all(|i| cluster.view(i) == 0), "the request has waited 900 ms");
    cluster.tick(200);
    assert!((1..4).all(|i| cluster.view(i) == 1), "now it is overdue");
}

#[test]
fn r16_the_next_view_waits_for_a_quorum_and_backs_off() {
    let mut cluster = Cluster::new(4);
    // Two ask for view 1, the third is away: without a quorum nobody runs ahead.
    cluster.crash(0);
    cluster.crash(3);
    cluster.pending(true);
    cluster.tick(60_000);
    assert!(
        [1, 2].iter().all(|i| cluster.replica(*i).waiting().asked == View(1)),
        "without q nobody runs ahead"
    );
    // View 1's and 2's primaries are silent: time-outs double.
    let mut cluster = Cluster::new(7);
    cluster.lose = Box::new(|(from, _, m)| [1, 2].contains(from) && matches!(m, Message::NewView(_)));
    cluster.crash(0);
    cluster.pending(true);
    let mut asked = Vec::new();
    for step in 0u64..400 {
        cluster.tick(50);
        let now = cluster.replica(6).waiting().asked.0;
        if asked.last().is_none_or(|(view, _)| *view != now) {
            asked.push((now, step * 50));
        }
        if cluster.view(6) >= 3 {
            break;
        }
    }
    let times: Vec<u64> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(
        times.len() >= 3 && times[1] >= 2 * times[0].min(1000) && times[2] >= 2 * times[1] - 100,
        "{asked:?}"
    );
}

/// How long after asking for view 1, whose primary does not open it, the others ask for view 2, in ms.
fn wait_for_the_next_view(silent: bool) -> u64 {
    let mut cluster = Cluster::new(7);
    cluster.lose = Box::new(|(from, _, m)| *from == 1 && matches!(m, Message::NewView(_)));
    cluster.crash(0);
    if silent {
        cluster.crash(1);
        cluster.tick(2_000);
    }
    cluster.pending(true);
    let mut asked = None;
    for now in (0..).step_by(50) {
        cluster.tick(50);
        match (cluster.replica(6).waiting().asked.0, asked) {
            (1, None) => asked = Some(now),
            (2.., Some(asked)) => return now - asked,
            _ => assert!(now < 60_000, "stuck"),
        }
    }
    unreachable!("time goes on")
}

#[test]
fn r16_the_turn_of_a_primary_long_silent_costs_a_quarter() {
    assert_eq!(wait_for_the_next_view(false), 2_000, "the second time-out");
    assert_eq!(wait_for_the_next_view(true), 500);
}

#[test]
fn r16_views_asked_for_above_mine_count_too() {
    // 8 / 7 / 7 / silent: whoever asks for 7 counts the one at 8, or waits for ever.
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    // How they came to ask is made up: what was made up in others' names is not passed on.
    cluster.lose =
        Box::new(|(from, _, m)| matches!(m, Message::ViewChange(change) if change.from != v(*from)));
    for (to, others) in [(0, [(1, 7), (2, 7)]), (2, [(0, 7), (1, 7)]), (1, [(0, 8), (2, 8)])] {
        for (from, view) in others {
            let message = Message::ViewChange(Box::new(change(&cluster, from, view, Vec::new())));
            cluster.receive(to, message).unwrap();
        }
    }
    assert_eq!([0, 1, 2].map(|i| cluster.replica(i).waiting().asked.0), [7, 8, 7]);
    cluster.tick(120_000);
    let views = [0, 1, 2].map(|i| cluster.view(i));
    assert!(views[0] >= 8 && views == [views[0]; 3], "{views:?}");
}

#[test]
fn r17_a_view_change_carries_the_highest_prepared_certificates_and_voting_below_is_over() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Commit));
    let digest = cluster.propose(0, "x").unwrap();
    cluster.settle();
    cluster.crash(0);
    cluster.pending(true);
    cluster.tick(1_100);
    let asked = cluster.nodes[2].disk.synced.iter().find_map(|record| match record {
        Record::Asked(change) => Some(change.body.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!(
        asked.prepared.iter().map(|one| (one.height(), one.digest())).collect::<Vec<_>>(),
        [(Height(1), digest)]
    );
    assert!(asked.reason.len() >= 2, "f+1 Suspects are attached");

    // A vote in the view that was left is not made any more.
    let mut cluster = Cluster::new(4);
    for from in [2, 3] {
        let suspect = vote(&cluster, from, Kind::Suspect, 0, 0, Hash::ZERO);
        cluster.receive(1, Message::Vote(suspect)).unwrap();
    }
    let payload = cluster.batch(0, "late");
    let message = proposal(&cluster, 0, 0, 1, &payload);
    cluster.receive(1, message).unwrap();
    assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 0);
}

#[test]
fn r18_the_list_follows_from_the_view_changes_and_another_is_proof() {
    let cluster = Cluster::new(4);
    let (old, newer) = (Hash([1; 32]), Hash([2; 32]));
    // Heights 1 and 3 are prepared, 1 in two views: the highest view wins, the gap becomes null.
    let changes = vec![
        change(&cluster, 0, 6, vec![prepared(&cluster, 0, 1, old)]),
        change(&cluster, 1, 6, vec![prepared(&cluster, 4, 1, newer), prepared(&cluster, 0, 3, old)]),
        change(&cluster, 3, 6, vec![prepared(&cluster, 0, 1, old)]),
    ];
    let right = [(1, newer), (2, Batch::null_digest()), (3, old)];
    for (list, enters) in [
        (right.to_vec(), true),
        (vec![(1, old), (2, Batch::null_digest()), (3, old)], false),
        (vec![(1, newer), (2, Batch::null_digest())], false),
        (vec![(1, newer), (2, newer), (3, old)], false),
        (vec![], false),
    ] {
        let mut cluster = Cluster::new(4);
        let message = new_view(&cluster, 2, changes.clone(), &list);
        cluster.receive(0, message).unwrap();
        assert_eq!(cluster.view(0) == 6, enters, "{list:?}");
        let what = Misbehavior::NewViewList;
        assert_eq!(cluster.nodes[0].alarms.contains(&Alarm::FaultyPrimary { view: View(6), what }), !enters);
    }
}

#[test]
fn r18_a_new_view_needs_q_distinct_view_changes() {
    let mut cluster = Cluster::new(4);
    let [one, two] = [0, 1].map(|from| change(&cluster, from, 1, Vec::new()));
    for changes in [
        vec![two.clone(), two.clone(), two.clone()],
        vec![one.clone(), two.clone(), two.clone()],
        vec![one.clone(), two.clone()],
    ] {
        let message = new_view(&cluster, 1, changes, &[]);
        assert!(matches!(cluster.receive(3, message), Err(Rejected::Malformed(_))));
    }
    assert_eq!(cluster.view(3), 0);
}

#[test]
fn r19_the_first_new_view_is_the_one_and_listed_heights_take_the_listed_digest() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "carried");
    let digest = payload.digest();
    let with = vec![
        change(&cluster, 0, 1, vec![prepared(&cluster, 0, 1, digest)]),
        change(&cluster, 1, 1, Vec::new()),
        change(&cluster, 2, 1, Vec::new()),
    ];
    let message = new_view(&cluster, 1, with, &[(1, digest)]);
    cluster.byzantine.extend([0, 1]);
    cluster.receive(3, message).unwrap();
    assert_eq!(cluster.view(3), 1);
    // The batch arrives by digest and is accepted although its proposer was another primary.
    cluster.receive(3, Message::Batch(payload.bytes().clone())).unwrap();
    let accepted: Vec<Hash> = cluster.nodes[3]
        .disk
        .synced
        .iter()
        .filter_map(|r| match r {
            Record::Accepted(vote) => Some(vote.vote.digest),
            _ => None,
        })
        .collect();
    assert_eq!(accepted, [digest]);
    // A second NewView of the same view is ignored.
    let without = vec![
        change(&cluster, 1, 1, Vec::new()),
        change(&cluster, 2, 1, Vec::new()),
        change(&cluster, 3, 1, Vec::new()),
    ];
    let message = new_view(&cluster, 1, without, &[]);
    cluster.receive(3, message).unwrap();
    let entered = cluster.nodes[3].disk.synced.iter().filter(|r| matches!(r, Record::Entered(_))).count();
    assert_eq!(entered, 1);
    // Another proposal for the listed height is an equivocation.
    let other = cluster.batch(1, "other");
    let message = proposal(&cluster, 1, 1, 1, &other);
    cluster.receive(3, message).unwrap();
    assert_eq!(cluster.nodes[3].evidence[0].against(), v(1));
}

#[test]
fn r19_nothing_is_accepted_at_or_below_the_base() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, to, _)| *to == 3);
    cluster.propose(0, "1");
    cluster.settle();
    // The base is the certificate of height 1, which 3 does not have yet.
    let changes: Vec<_> = (0..3).map(|i| change(&cluster, i, 1, Vec::new())).collect();
    assert_eq!(changes[0].body.certified(Height::ZERO), Height(1));
    let message = new_view(&cluster, 1, changes, &[]);
    let forged = cluster.batch(1, "below the base");
    let below = proposal(&cluster, 1, 1, 1, &forged);
    cluster.byzantine.insert(1);
    cluster.nodes[0].replica = None; // nobody serves blocks yet
    cluster.receive(3, message).unwrap();
    assert_eq!(cluster.view(3), 1);
    cluster.sent.clear();
    cluster.receive(3, below).unwrap();
    assert_eq!(sent(&cluster, 3, |m| is_vote(m, Kind::Prepare)), 0);
}

#[test]
fn r22_everything_lost_once_comes_back_by_status() {
    for lost in [Kind::Prepare, Kind::Commit, Kind::Seal] {
        let mut cluster = Cluster::new(4);
        cluster.lose = Box::new(move |(_, _, m)| is_vote(m, lost));
        cluster.propose(0, "x");
        cluster.settle();
        cluster.lose = Box::new(|_| false);
        cluster.tick(600);
        assert!((0..4).all(|i| cluster.low(i) == 1), "{lost:?}");
        assert_eq!(cluster.view(0), 0);
    }
}

#[test]
fn r22_answers_to_one_peer_are_rate_limited() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, to, _)| *to == 3);
    cluster.propose(0, "x");
    cluster.settle();
    cluster.tick(600);
    let status = cluster
        .sent
        .iter()
        .rev()
        .find_map(|(from, _, m)| (*from == 3 && matches!(m, Message::Status(_))).then(|| m.clone()));
    let status = status.unwrap();
    cluster.tick(100);
    cluster.sent.clear();
    for _ in 0..50 {
        cluster.receive(0, status.clone()).unwrap();
    }
    let answers = cluster.sent.iter().filter(|(from, to, _)| (*from, *to) == (0, 3)).count();
    assert!((1..=8).contains(&answers), "{answers} answers to 50 statuses");
}

#[test]
fn r23_fetched_blocks_are_verified_and_syncing_to_ones_own_height_changes_nothing() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, to, _)| *to == 3);
    for text in ["1", "2", "3"] {
        cluster.propose(0, text);
        cluster.settle();
    }
    let honest = cluster.blocks(0, Height(1), Height(3)).unwrap();
    let gate = Verifying {
        chain: cluster.chain_id,
        set: &cluster.set,
        begin: Height::ZERO,
        verifier: &FakeVerifier,
    };
    let mut swapped = honest.clone();
    swapped.blocks[1].batch = swapped.blocks[0].batch.clone();
    let mut unlinked = honest.clone();
    unlinked.blocks.remove(1);
    let mut forged = honest.clone();
    forged.blocks[0].header.state_root = Hash([9; 32]);
    let mut forged_last = honest.clone();
    forged_last.blocks[2].header.state_root = Hash([9; 32]);
    let mut older = honest.clone();
    older.certificate = cluster.nodes[0].certificates[&Height(2)].clone();
    let mut short = honest.clone();
    short.certificate.signatures = short.certificate.signatures.iter().take(2).collect();
    let mut wrong = honest.clone();
    wrong.certificate.signatures = wrong
        .certificate
        .signatures
        .iter()
        .map(|(who, s)| (who, if who == v(0) { epione_types::Signature([1; 64]) } else { s }))
        .collect();
    for (name, bad) in [
        ("swapped", swapped),
        ("unlinked", unlinked),
        ("forged", forged),
        ("forged last", forged_last),
        ("older certificate", older),
        ("short", short),
        ("wrong", wrong),
    ] {
        assert!(gate.blocks(bad).is_err(), "{name}");
    }
    let blocks = gate.blocks(honest).unwrap();
    let before = cluster.nodes[0].chain.len();
    cluster.feed(0, Event::Blocks(blocks.clone()));
    assert_eq!(cluster.nodes[0].chain.len(), before);
    cluster.feed(3, Event::Blocks(blocks));
    assert_eq!((cluster.low(3), cluster.nodes[3].chain.len()), (3, 3));
}

#[test]
fn r25_a_log_without_birth_or_of_another_key_gives_no_votes() {
    let mut cluster = Cluster::new(4);
    cluster.crash(1);
    cluster.nodes[1].disk.synced.clear();
    assert_eq!(cluster.try_restart(1).unwrap_err(), RestoreError::NotBorn);
    cluster.nodes[1].disk.synced = cluster.nodes[2].disk.synced.clone();
    assert_eq!(cluster.try_restart(1).unwrap_err(), RestoreError::Foreign);
}

#[test]
fn r26_a_log_that_contradicts_itself_is_refused() {
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "x");
    cluster.settle();
    cluster.crash(1);
    let forged = vote(&cluster, 0, Kind::PrePrepare, 0, 1, Hash([9; 32]));
    let at = cluster.nodes[1].disk.synced.len();
    cluster.nodes[1].disk.synced.push(Record::Accepted(forged));
    assert_eq!(cluster.try_restart(1).unwrap_err(), RestoreError::Contradiction { index: at });
}

#[test]
fn r27_a_foreign_vote_under_ones_own_key_stops_voting() {
    let digest = Hash([7; 32]);
    for (kind, height) in [(Kind::Prepare, 1), (Kind::Commit, 1), (Kind::Seal, 1)] {
        let mut cluster = Cluster::new(4);
        cluster.byzantine.insert(1);
        let twin = vote(&cluster, 1, kind, 0, height, digest);
        cluster.receive(1, Message::Vote(twin)).unwrap();
        assert!(matches!(cluster.nodes[1].halted, Some(Halt::Impersonated { .. })), "{kind:?}");
    }
    let mut cluster = Cluster::new(4);
    let twin = Message::ViewChange(Box::new(change(&cluster, 1, 3, Vec::new())));
    cluster.receive(1, twin).unwrap();
    assert!(matches!(cluster.nodes[1].halted, Some(Halt::Impersonated { .. })));
    // Its own votes, played back, are no foreign ones.
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "x");
    cluster.settle();
    for (_, _, message) in cluster.sent.clone() {
        cluster.receive(1, message).unwrap();
    }
    assert_eq!(cluster.nodes[1].halted, None);
}

#[test]
fn r28_memory_is_bounded_whatever_a_validator_sends() {
    let mut cluster = Cluster::new(4);
    cluster.byzantine.insert(3);
    for view in [0u64, 1, 2, 77, 1 << 33, u64::MAX] {
        for height in (1..40).chain([u64::MAX]) {
            for digest in 0..4u8 {
                for kind in [Kind::Prepare, Kind::Commit, Kind::Seal, Kind::Suspect] {
                    let (view, height, digest) = match kind {
                        Kind::Seal => (0, height, Hash([digest; 32])),
                        Kind::Suspect => (view, 0, Hash::ZERO),
                        _ => (view, height, Hash([digest; 32])),
                    };
                    let message = Message::Vote(vote(&cluster, 3, kind, view, height, digest));
                    cluster.receive(1, message).unwrap();
                }
            }
        }
        let message = Message::ViewChange(Box::new(change(&cluster, 3, view.max(1), Vec::new())));
        cluster.receive(1, message).unwrap();
    }
    let (_, entries) = cluster.replica(1).memory();
    // Of one sender: Prepare, Commit and Seal for 2W heights in the one view there is, one Suspect, one ViewChange.
    assert!(entries <= 3 * 16 + 2, "{entries} entries");
    assert_eq!(cluster.view(1), 0);
    cluster.must_progress();
}

#[test]
fn r28_contradicting_votes_are_evidence_once() {
    let mut cluster = Cluster::new(4);
    for digest in 1..5u8 {
        let message = Message::Vote(vote(&cluster, 3, Kind::Commit, 0, 1, Hash([digest; 32])));
        cluster.receive(1, message).unwrap();
    }
    assert_eq!(cluster.nodes[1].evidence.len(), 1);
    let (first, second) = cluster.nodes[1].evidence[0].votes();
    assert_eq!((first.from, second.from), (v(3), v(3)));
    assert_eq!(Evidence::new(*first, *first), None, "two equal votes prove nothing");
    let elsewhere = vote(&cluster, 3, Kind::Commit, 0, 2, Hash([9; 32]));
    assert_eq!(Evidence::new(*first, elsewhere), None, "another slot proves nothing");
}

#[test]
fn r28_two_proposals_for_a_slot_are_proof_against_the_primary() {
    let mut cluster = Cluster::new(4);
    cluster.byzantine.insert(0);
    for text in ["one", "other"] {
        let payload = cluster.batch(0, text);
        let message = proposal(&cluster, 0, 0, 1, &payload);
        cluster.receive(1, message).unwrap();
    }
    assert_eq!(cluster.nodes[1].evidence[0].against(), v(0));
    assert_eq!(cluster.replica(1).waiting().asked, View(1));
}

#[test]
fn r29_votes_pass_the_one_predicate() {
    // The real one, end to end: a validator that signs with ed25519 and one bit that is wrong.
    let cluster = Cluster::new(4);
    let secret = epione_types::SecretKey::from_seed(&[3; 32]);
    let mut set = cluster.set.clone();
    set.validators[1].public_key = secret.public_key();
    let body = Vote {
        kind: Kind::Prepare,
        epoch: Epoch::ZERO,
        view: View(0),
        height: Height(1),
        digest: Hash([1; 32]),
    };
    let good = body.sign(cluster.chain_id, v(1), &secret);
    let gate = Verifying { chain: cluster.chain_id, set: &set, begin: Height::ZERO, verifier: &Zip215 };
    assert!(gate.message(Message::Vote(good)).is_ok());
    let mut bad = good;
    bad.signature.0[5] ^= 1;
    assert_eq!(gate.message(Message::Vote(bad)).unwrap_err(), Rejected::Signature);
}

#[test]
fn r30_a_lone_validator_takes_the_same_steps_with_one_sync_and_never_suspects_itself() {
    let mut cluster = Cluster::new(1);
    let before = cluster.nodes[0].disk.syncs;
    cluster.nodes[0].slow = true;
    cluster.propose(0, "x");
    assert_eq!(cluster.nodes[0].disk.syncs, before + 1, "accepted, prepared and ordered in one sync");
    cluster.nodes[0].slow = false;
    cluster.execute(0);
    assert_eq!(cluster.low(0), 1);
    cluster.pending(true);
    cluster.tick(100_000);
    assert_eq!(cluster.replica(0).waiting().asked, View(0));
}

#[test]
fn r31_a_prepared_batch_that_is_invalid_halts() {
    let mut cluster = Cluster::new(4);
    let payload = cluster.batch(0, "x");
    cluster.invalid.insert(payload.digest());
    let changes = vec![
        change(&cluster, 0, 1, vec![prepared(&cluster, 0, 1, payload.digest())]),
        change(&cluster, 1, 1, Vec::new()),
        change(&cluster, 2, 1, Vec::new()),
    ];
    let message = new_view(&cluster, 1, changes, &[(1, payload.digest())]);
    cluster.receive(3, message).unwrap();
    cluster.receive(3, Message::Batch(payload.bytes().clone())).unwrap();
    assert!(matches!(cluster.nodes[3].halted, Some(Halt::InvalidPrepared { .. })));
}

#[test]
fn r31_a_new_view_against_what_is_certified_and_conflicting_prepared_certificates_halt() {
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Seal));
    cluster.propose(0, "ordered here");
    cluster.settle();
    cluster.lose = Box::new(|_| false);
    let other = Hash([9; 32]);
    // More than f are faulty: a prepared certificate of a higher view for another digest.
    let changes = vec![
        change(&cluster, 0, 6, vec![prepared(&cluster, 5, 1, other)]),
        change(&cluster, 1, 6, Vec::new()),
        change(&cluster, 2, 6, Vec::new()),
    ];
    let message = new_view(&cluster, 2, changes, &[(1, other)]);
    cluster.receive(3, message).unwrap();
    assert!(
        matches!(cluster.nodes[3].halted, Some(Halt::Conflict { height: Height(1), .. })),
        "{:?}",
        cluster.nodes[3].halted
    );

    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Commit));
    cluster.propose(0, "prepared here");
    cluster.settle();
    let conflicting = change(&cluster, 2, 1, vec![prepared(&cluster, 0, 1, other)]);
    cluster.receive(3, Message::ViewChange(Box::new(conflicting))).unwrap();
    assert!(matches!(cluster.nodes[3].halted, Some(Halt::Conflict { .. })));
}

#[test]
fn stale_answers_change_nothing() {
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "x");
    cluster.settle();
    let before = cluster.replica(1).waiting();
    let header = cluster.nodes[1].chain[0].0.clone();
    let stale = cluster.batch(1, "stale");
    for event in [
        Event::Executed { header, next: None },
        Event::Validated { epoch: Epoch::ZERO, digest: Hash([4; 32]), valid: false },
        Event::Propose { view: View(0), height: Height(1), payload: stale },
    ] {
        let mut replica: Replica = cluster.replica(1).clone();
        let mut step = replica.on(event);
        assert!(records(&mut step).is_empty());
        assert_eq!(replica.waiting(), before);
    }
}

#[test]
fn every_event_in_every_mode_gives_a_step() {
    // Totality: no event makes a replica panic, whatever mode it is in (failures.md, 9).
    let mut cluster = Cluster::new(4);
    cluster.propose(0, "x");
    cluster.settle();
    let donor = cluster.sent.clone();
    for script in 0..4 {
        let mut other = Cluster::new(4);
        match script {
            0 => {}
            1 => other.crash(0),
            2 => {
                other.pending(true);
                other.crash(0);
                other.tick(2_000);
            }
            _ => {
                other.nodes[1].wrong_from = Some(1);
                other.propose(0, "y");
                other.settle();
            }
        }
        other.byzantine.extend(0..4);
        for (_, _, message) in &donor {
            let _ = other.receive(1, message.clone());
        }
        let digest = Hash([1; 32]);
        other.feed(1, Event::Validated { epoch: Epoch::ZERO, digest, valid: true });
        other.feed(1, Event::Connected(v(2)));
        other.feed(1, Event::Tick { now: 5, clock: TimestampMs(5) });
    }
}

#[test]
fn a_certificate_needs_q_distinct_members() {
    let cluster = Cluster::new(4);
    let header_hash = Hash([5; 32]);
    let seal = |i: usize| (v(i), vote(&cluster, i, Kind::Seal, 0, 1, header_hash).signature);
    let certificate = |signatures: SignatureSet| Certificate {
        epoch: Epoch::ZERO,
        height: Height(1),
        header_hash,
        signatures,
    };
    let gate = Verifying {
        chain: cluster.chain_id,
        set: &cluster.set,
        begin: Height::ZERO,
        verifier: &FakeVerifier,
    };
    assert!(gate.certificate(&certificate([0, 1, 2].map(seal).into_iter().collect())).is_ok());
    assert_eq!(
        gate.certificate(&certificate([0, 1].map(seal).into_iter().collect())),
        Err(Rejected::ShortCertificate)
    );
    let doubled: SignatureSet = [0, 1, 1, 1].map(seal).into_iter().collect();
    assert_eq!(
        gate.certificate(&certificate(doubled)),
        Err(Rejected::ShortCertificate),
        "one signer twice is one"
    );
    let stranger: SignatureSet = [seal(0), seal(1), (v(9), seal(2).1)].into_iter().collect();
    assert_eq!(gate.certificate(&certificate(stranger)), Err(Rejected::NotMember));
    let other = Certificate { epoch: Epoch(1), ..certificate([0, 1, 2].map(seal).into_iter().collect()) };
    assert_eq!(gate.certificate(&other), Err(Rejected::Epoch));
}

#[test]
fn a_real_signer_gives_the_same_bytes_again() {
    let signer = FakeSigner(epione_types::PublicKey([1; 32]));
    assert_eq!(signer.sign(b"x"), signer.sign(b"x"));
    let arc: Arc<dyn Signer + Send + Sync> = Arc::new(epione_types::SecretKey::from_seed(&[1; 32]));
    assert_eq!(arc.sign(b"x"), arc.sign(b"x"));
    let stored = Stored::genesis(ChainId([0; 32]), TimestampMs(0));
    let cluster = Cluster::new(4);
    assert!(matches!(
        Replica::restore(cluster.config(0), arc, stored, Vec::new()),
        Err(RestoreError::NotBorn)
    ));
}

#[test]
fn effects_are_sealed_until_committed() {
    // The type has no other way out: `Step` gives its effects only for a log that took its records.
    let mut cluster = Cluster::new(4);
    let opening = cluster.replica(0).opening().unwrap();
    let payload = cluster.batch(0, "x");
    let mut replica = cluster.replica(0).clone();
    let step = replica.on(Event::Propose { view: opening.view, height: opening.height, payload });
    struct Full;
    impl Wal for Full {
        type Error = &'static str;
        fn append_and_sync(&mut self, _: &[Record]) -> Result<(), &'static str> {
            Err("disk full")
        }
    }
    assert_eq!(step.commit(&mut Full), Err::<Vec<Effect>, _>("disk full"));
}

/// Found by a randomised model of the protocol: each schedule left a replica stuck, or refusing to start.
mod found {
    use super::*;

    #[test]
    fn a_sealed_height_above_a_synced_one_does_not_keep_a_replica_from_starting() {
        // Height 1 came as a fetched block, so it has no Sealed record; 2 was sealed; the store lost both.
        let mut cluster = Cluster::new(4);
        cluster.lose = Box::new(|(_, to, _)| *to == 3);
        cluster.propose(0, "1");
        cluster.settle();
        cluster.lose = Box::new(|_| false);
        cluster.tick(600);
        assert_eq!(cluster.nodes[3].chain.len(), 1);
        cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Seal));
        cluster.propose(0, "2");
        cluster.settle();
        cluster.crash(3);
        cluster.nodes[3].chain.clear();
        cluster.nodes[3].certificates.clear();
        cluster.restart(3);
        cluster.must_progress();
        cluster.assert_equal_tips();
    }

    #[test]
    fn a_lone_validator_goes_on_from_a_prepared_slot() {
        let mut cluster = Cluster::new(1);
        cluster.nodes[0].slow = true;
        cluster.propose(0, "x");
        cluster.crash(0); // prepared and logged, not executed
        cluster.nodes[0].slow = false;
        cluster.restart(0);
        assert_eq!(cluster.low(0), 1);
        cluster.must_progress();
    }

    #[test]
    fn an_ordered_height_whose_batch_is_gone_everywhere_comes_as_a_block() {
        let mut cluster = Cluster::new(4);
        cluster.lose =
            Box::new(|(_, to, m)| *to == 3 && matches!(m, Message::Proposal(..) | Message::Batch(_)));
        cluster.propose(0, "x");
        cluster.settle();
        assert!((0..3).all(|i| cluster.low(i) == 1), "the others certified it and dropped the batch");
        cluster.lose = Box::new(|_| false);
        cluster.tick(2_000);
        assert_eq!(cluster.low(3), 1);
    }

    #[test]
    fn the_null_batch_before_its_new_view_is_no_proof() {
        // The primary of view 1 carries null at height 1; its PrePrepare overtakes its NewView.
        let mut cluster = Cluster::new(4);
        for from in [1, 2] {
            let suspect = vote(&cluster, from, Kind::Suspect, 0, 0, Hash::ZERO);
            cluster.receive(3, Message::Vote(suspect)).unwrap();
        }
        assert_eq!(cluster.replica(3).waiting().asked, View(1));
        let null = Payload::new(Batch::Null);
        let message = proposal(&cluster, 1, 1, 1, &null);
        cluster.receive(3, message).unwrap();
        assert!(cluster.nodes[3].alarms.is_empty());
    }

    #[test]
    fn low_moves_while_catching_up() {
        let mut cluster = Cluster::new(4);
        cluster.lose = Box::new(|(_, to, _)| *to == 3);
        for n in 0..30 {
            cluster.propose(0, &n.to_string());
            cluster.settle();
        }
        // A chunk up to 10 while a certificate for 30 is known.
        cluster.nodes[3].slow = true;
        let top = Message::Certificate(cluster.nodes[0].certificates[&Height(30)].clone());
        let mut chunk = cluster.blocks(0, Height(1), Height(30)).unwrap();
        chunk.blocks.truncate(10);
        chunk.certificate = cluster.nodes[0].certificates[&Height(10)].clone();
        for i in 0..3 {
            cluster.nodes[i].certificates.clear(); // nobody else serves
        }
        cluster.receive(3, top).unwrap();
        let gate = Verifying {
            chain: cluster.chain_id,
            set: &cluster.set,
            begin: Height::ZERO,
            verifier: &FakeVerifier,
        };
        let blocks = gate.blocks(chunk).unwrap();
        cluster.feed(3, Event::Blocks(blocks));
        cluster.nodes[3].slow = false;
        cluster.execute(3);
        assert_eq!(cluster.low(3), 10);
    }

    #[test]
    fn a_halt_outlives_a_restart_and_a_trimmed_log() {
        let mut cluster = Cluster::new(4);
        cluster.byzantine.insert(1);
        let twin = vote(&cluster, 1, Kind::Prepare, 0, 1, Hash([7; 32]));
        cluster.receive(1, Message::Vote(twin)).unwrap();
        cluster.trim(1);
        cluster.crash(1);
        cluster.restart(1);
        cluster.sent.clear();
        cluster.propose(0, "x");
        cluster.settle();
        assert_eq!(sent(&cluster, 1, |m| matches!(m, Message::Vote(_))), 0);
        assert!(cluster.replica(1).waiting().halted.is_some());
    }

    #[test]
    fn proof_against_a_primary_reaches_all() {
        // Two proposals are shown to one validator only; it does not leave alone.
        let mut cluster = Cluster::new(7);
        cluster.byzantine.insert(0);
        for text in ["one", "other"] {
            let payload = cluster.batch(0, text);
            let message = proposal(&cluster, 0, 0, 1, &payload);
            cluster.receive(3, message).unwrap();
        }
        cluster.settle();
        assert!((1..7).all(|i| cluster.view(i) == 1));
    }

    #[test]
    fn a_proposal_shown_to_some_is_passed_on_with_its_batch() {
        let mut cluster = Cluster::new(4);
        cluster.lose = Box::new(|(from, to, m)| *from == 0 && *to == 3 && matches!(m, Message::Proposal(..)));
        cluster.nodes[2].slow = false;
        cluster.propose(0, "x");
        cluster.settle();
        cluster.tick(100);
        let accepted = cluster.nodes[3].disk.synced.iter().any(|r| matches!(r, Record::Accepted(_)));
        assert!(accepted, "the fourth accepts what another showed it");
    }

    #[test]
    fn the_proposal_that_makes_one_leave_is_accepted_before_leaving_or_not_at_all() {
        // Found by the simulator, with a primary that empties its batches: the second one was suspected, with another's
        // Suspect that was enough to ask for view 1, and then it was accepted in view 0 (R17).
        let mut cluster = Cluster::new(4);
        let suspect = vote(&cluster, 2, Kind::Suspect, 0, 0, Hash::ZERO);
        cluster.receive(1, Message::Vote(suspect)).unwrap();
        for height in 1..=2 {
            let (proposer, stamp) = (v(0), cluster.clock());
            let empty = Payload::new(Batch::Proposed { proposer, stamp, txs: Vec::new() });
            let message = proposal(&cluster, 0, 0, height, &empty);
            cluster.receive(1, message).unwrap();
        }
        let log = &cluster.nodes[1].disk.synced;
        let asked = log.iter().position(|record| matches!(record, Record::Asked(_))).unwrap();
        let accepted = log.iter().rposition(|record| matches!(record, Record::Accepted(_))).unwrap();
        assert!(accepted < asked, "{accepted} of {log:#?}");
        assert_eq!(sent(&cluster, 1, |m| is_vote(m, Kind::Prepare)), 6, "the batch is not refused (R11)");
    }

    #[test]
    fn a_late_new_view_of_a_lower_view_is_no_conflict_with_what_a_higher_view_ordered() {
        let mut cluster = Cluster::new(4);
        cluster.byzantine.extend(0..4);
        let payload = cluster.batch(0, "ordered in view 5");
        let digest = payload.digest();
        let commits =
            (0..3).map(|i| (v(i), vote(&cluster, i, Kind::Commit, 5, 1, digest).signature)).collect();
        let ordered = epione_consensus::CommitCertificate {
            epoch: Epoch::ZERO,
            view: View(5),
            height: Height(1),
            digest,
            commits,
        };
        cluster.receive(3, Message::Commits(ordered)).unwrap();
        let changes = (0..3).map(|i| change(&cluster, i, 2, Vec::new())).collect();
        let message = new_view(&cluster, 2, changes, &[]);
        cluster.receive(3, message).unwrap();
        assert_eq!(cluster.nodes[3].halted, None);
        assert_eq!(cluster.view(3), 2);
    }
}
