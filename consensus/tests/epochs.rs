//! The validator set changes on the chain (R20): machines join and leave, by decisions that execution reports.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use common::{Cluster, FakeVerifier, Packet, key_of, v};
use epione_consensus::{
    Effect, Event, Halt, Kind, Message, Record, Rejected, Replica, RestoreError, Step, Verifying, Vote,
};
use epione_types::{Epoch, Height, Params, View};

const W: u64 = 4;

fn params() -> Params {
    Params { window: W, ..Params::default() }
}

/// `n` of `machines` are validators; each decision is (height, who is one a window later).
fn cluster(n: usize, machines: usize, decisions: &[(u64, &[usize])]) -> Cluster {
    let mut cluster = Cluster::among(n, machines, params());
    cluster.decisions = decisions.iter().map(|(at, who)| (Height(*at), who.to_vec())).collect();
    cluster
}

/// Who is up and a validator of the epoch it is in.
fn members(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.nodes.len()).filter(|i| cluster.up(*i) && cluster.replica(*i).config().is_member()).collect()
}

/// Proposes until `who` have certified and executed `height`.
fn run(cluster: &mut Cluster, who: &[usize], height: u64) {
    for round in 0..2_000 {
        if who.iter().all(|i| cluster.low(*i) >= height) {
            return;
        }
        let idle = |i: &usize| cluster.replica(*i).opening().is_some_and(|opening| opening.idle);
        match members(cluster).into_iter().find(idle) {
            Some(primary) if round % 2 == 0 => {
                cluster.pending(false);
                cluster.propose(primary, "work");
            }
            // Its primary may be down.
            None if cluster.nodes[0].waiting.0.is_none() => cluster.pending(true),
            Some(_) | None => {}
        }
        cluster.settle();
        cluster.tick(50);
    }
    let at: Vec<_> = (0..cluster.nodes.len())
        .filter(|i| cluster.up(*i))
        .map(|i| {
            (i, cluster.replica(i).config().set.epoch, cluster.replica(i).waiting().text, cluster.low(i))
        })
        .collect();
    panic!("height {height} is not reached by {who:?}: {at:?}");
}

fn epoch(cluster: &Cluster, i: usize) -> u64 {
    cluster.replica(i).config().set.epoch.0
}

#[test]
fn r20_machines_join_and_leave_and_every_height_is_of_one_epoch() {
    // 4 grow to 5 and 7, lose two of the first, and one is replaced.
    let steps: [(u64, &[usize]); 4] =
        [(2, &[0, 1, 2, 3, 4]), (8, &[0, 1, 2, 3, 4, 5, 6]), (14, &[2, 3, 4, 5, 6]), (20, &[2, 3, 4, 5, 7])];
    let mut cluster = cluster(4, 8, &steps);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5, 6, 7], 30);
    for i in 0..8 {
        assert_eq!(epoch(&cluster, i), 4, "machine {i}");
        assert_eq!(cluster.replica(i).config().begin, Height(24));
        for (header, _) in &cluster.nodes[i].chain {
            assert_eq!(header.epoch, cluster.epoch_of(header.height).1.epoch);
        }
        // The last height of each epoch has a certificate of its own, by its own set (R21).
        for (last, of) in [(6, 0), (12, 1), (18, 2), (24, 3)] {
            assert_eq!(cluster.nodes[i].certificates[&Height(last)].epoch, Epoch(of));
        }
    }
    // Who left says nothing in the epochs after, who joined nothing in those before.
    let spoke = |i: usize| {
        let by = move |(from, _, message): &&Packet| *from == i && matches!(message, Message::Vote(_));
        cluster.sent.iter().filter(by).filter_map(|(_, _, message)| match message {
            Message::Vote(vote) => Some(vote.vote.epoch.0),
            _ => None,
        })
    };
    assert_eq!((spoke(0).max(), spoke(7).min()), (Some(2), Some(4)));
    assert!(cluster.nodes.iter().all(|node| node.evidence.is_empty() && node.halted.is_none()));
}

/// Only what is needed: the heights up to the last one of the epoch are filled at once, with nothing to order.
#[test]
fn r20_the_primary_fills_the_epoch_up_at_once_and_nobody_suspects_it() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4])]);
    cluster.propose(0, "decides");
    cluster.settle();
    let began = cluster.now;
    cluster.tick(1_000);
    assert!((0..5).all(|i| epoch(&cluster, i) == 1), "after {} ms", cluster.now - began);
    assert!((0..4).all(|i| cluster.low(i) == 1 + W && cluster.view(i) == 0));
    let suspects =
        |message: &Message| matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Suspect);
    assert!(!cluster.sent.iter().any(|(_, _, message)| suspects(message)), "empty batches are no flood now");
    // Nothing is paced any more once the epoch has begun.
    cluster.tick(60_000);
    assert!((0..4).all(|i| cluster.low(i) == 1 + W && cluster.view(i) == 0));
    assert!(cluster.nodes.iter().all(|node| node.alarms.is_empty()));
}

/// A primary that does not fill up is replaced: a decision that never holds would be a veto of one.
#[test]
fn r20_a_primary_that_lets_a_decision_wait_is_suspected() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4])]);
    cluster.propose(0, "decides");
    cluster.settle();
    cluster.lose = Box::new(|(from, _, message)| {
        *from == 0 && matches!(message, Message::Proposal(vote, _) if vote.vote.view == View::ZERO)
    });
    cluster.tick(20_000);
    assert!((1..5).all(|i| epoch(&cluster, i) == 1), "{:?}", cluster.replica(1).waiting());
}

#[test]
fn r20_nothing_is_accepted_above_the_last_height_before_it_is_certified() {
    let mut cluster = cluster(4, 4, &[(1, &[0, 1, 2, 3])]);
    // Everything but Seals arrives: heights are executed and not certified.
    cluster.propose(0, "decides");
    cluster.settle();
    cluster.lose = Box::new(|(_, _, message)| {
        matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Seal)
            || matches!(message, Message::Certificate(_) | Message::Status(_))
    });
    for _ in 0..10 {
        cluster.propose(0, "more");
        cluster.settle();
    }
    let top = |i: usize| cluster.replica(i).waiting().delivered.0;
    assert_eq!(
        (top(0), top(1), epoch(&cluster, 1)),
        (1 + W, 1 + W, 0),
        "low is 1: the window ends there too"
    );
    // Inside the window by R2, and above the epoch: with the Seals of one height the window moves, the end stays.
    cluster.lose = Box::new(|(_, _, message)| {
        matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Seal && vote.vote.height > Height(3))
            || matches!(message, Message::Certificate(certificate) if certificate.height > Height(3))
    });
    cluster.tick(2_000);
    assert!((0..4).all(|i| cluster.low(i) == 3));
    assert!(members(&cluster).iter().all(|i| cluster.replica(*i).opening().is_none()), "an opening above b");
    let vote = Vote {
        kind: Kind::PrePrepare,
        epoch: Epoch::ZERO,
        view: cluster.replica(1).waiting().view,
        height: Height(2 + W),
        digest: cluster.batch(0, "above").digest(),
    };
    let primary = cluster.replica(1).waiting().primary.get();
    let victim = (primary + 1) % 4;
    let signed = vote.sign(cluster.chain_id, v(primary), &*cluster.signer(primary));
    let before = cluster.sent.len();
    cluster.receive(victim, Message::Proposal(signed, None)).unwrap();
    assert!(
        cluster.sent[before..].iter().all(
            |(_, _, message)| !matches!(message, Message::Vote(vote) if vote.vote.height > Height(1 + W))
        ),
        "accepted above the last height of the epoch"
    );
    cluster.lose = Box::new(|_| false);
    run(&mut cluster, &[0, 1, 2, 3], 10);
    assert!((0..4).all(|i| epoch(&cluster, i) == 1));
}

/// What was said among other validators is nothing here, whatever its signature.
#[test]
fn r20_a_message_verified_in_the_epoch_before_says_nothing_in_this_one() {
    let mut cluster = cluster(4, 5, &[(1, &[1, 2, 3, 4])]);
    let (_, old) = cluster.epoch_of(Height(1));
    let gate = Verifying { chain: cluster.chain_id, set: &old, begin: Height::ZERO, verifier: &FakeVerifier };
    // Machine 1 is number 1 of epoch 0, and number 0 of epoch 1.
    let vote = Vote {
        kind: Kind::Seal,
        epoch: Epoch::ZERO,
        view: View::ZERO,
        height: Height(3 + W),
        digest: epione_types::Hash([7; 32]),
    };
    let late = [0, 1, 2].map(|i| {
        let signed = vote.sign(cluster.chain_id, v(i), &*cluster.signer(i));
        gate.message(Message::Vote(signed)).unwrap()
    });
    run(&mut cluster, &[1, 2, 3, 4], 2 + W);
    for message in late {
        cluster.feed(4, Event::Message(message));
    }
    run(&mut cluster, &[1, 2, 3, 4], 5 + W);
    assert!(cluster.nodes.iter().all(|node| node.halted.is_none() && node.alarms.is_empty()));
    // At the gate it is refused by its epoch before anything else: who was primary then is no offence now.
    let stale = Vote { kind: Kind::PrePrepare, ..vote }.sign(cluster.chain_id, v(2), &*cluster.signer(2));
    assert_eq!(cluster.receive(4, Message::Proposal(stale, None)), Err(Rejected::Epoch));
}

/// A validator that was away for two epochs, one that left meanwhile, and one that joined: each gets to the end.
#[test]
fn r20_who_missed_epochs_walks_through_them() {
    let steps: [(u64, &[usize]); 3] = [(2, &[0, 1, 2, 3, 4]), (8, &[1, 2, 3, 4, 5]), (14, &[1, 2, 3, 5, 0])];
    let mut cluster = cluster(4, 6, &steps);
    run(&mut cluster, &[0, 1, 2, 3], 1);
    cluster.crash(3);
    run(&mut cluster, &[0, 1, 2, 4, 5], 25);
    cluster.restart(3);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5], 30);
    assert!((0..6).all(|i| epoch(&cluster, i) == 3));
    // As if its store had lost everything that was not synced, and not its log.
    cluster.crash(2);
    cluster.forget(2);
    cluster.restart(2);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5], 34);
    assert_eq!(epoch(&cluster, 2), 3);
    assert!(cluster.nodes.iter().all(|node| node.halted.is_none()));
}

/// Every one restarts with nothing but its log, at every height of two epochs, and goes on.
#[test]
fn r20_all_restart_from_their_logs_at_every_height_around_a_boundary() {
    for at in 1..=2 * W + 4 {
        for trimmed in [false, true] {
            let mut cluster = cluster(4, 5, &[(2, &[0, 1, 2, 4]), (3 + W, &[0, 1, 2, 3])]);
            run(&mut cluster, &[0, 1, 2], at);
            for i in 0..5 {
                if trimmed {
                    cluster.trim(i);
                }
                cluster.crash(i);
                if !trimmed {
                    cluster.forget(i);
                }
            }
            // Machine 3 and 4 know nothing any more but what their logs say; the others first.
            for i in 0..5 {
                cluster.restart(i);
            }
            run(&mut cluster, &[0, 1, 2, 3, 4], 4 * W);
            assert!((0..5).all(|i| epoch(&cluster, i) == 2), "at {at}, trimmed: {trimmed}");
            assert!(cluster.nodes.iter().all(|node| node.halted.is_none()), "at {at}, trimmed: {trimmed}");
        }
    }
}

/// The store may have synced the last block of an epoch and nothing above; the log was trimmed just then.
#[test]
fn r20_a_log_trimmed_as_an_epoch_begins_says_in_which_it_is() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4])]);
    run(&mut cluster, &[0, 1, 2, 3, 4], 1 + W);
    let end = Height(1 + W);
    assert!((0..5).all(|i| cluster.replica(i).low() == end && epoch(&cluster, i) == 1));
    (0..5).for_each(|i| cluster.trim(i));
    run(&mut cluster, &[0, 1, 2, 3, 4], 4 + W);
    for i in 0..5 {
        cluster.crash(i);
        cluster.nodes[i].chain.retain(|(header, _)| header.height <= end);
        cluster.nodes[i].certificates.retain(|height, _| *height <= end);
    }
    (0..5).for_each(|i| cluster.restart(i));
    run(&mut cluster, &[0, 1, 2, 3, 4], 8 + W);
    assert!(cluster.nodes.iter().all(|node| node.halted.is_none()));
}

/// Limits change with the epoch; what was logged under the old ones is read all the same.
#[test]
fn r20_a_batch_larger_than_the_epoch_allows_is_read_from_the_log() {
    let mut cluster = cluster(4, 4, &[]);
    cluster.propose(0, &"x".repeat(200_000));
    cluster.settle();
    let mut config = cluster.replica(1).config().clone();
    config.set.params.batch_bytes_max = 1 << 16;
    let stored = epione_consensus::Stored::genesis(cluster.chain_id, cluster.genesis_time);
    let records = cluster.nodes[1].disk.synced.clone();
    assert!(
        records.iter().any(|record| matches!(record, Record::Batch { bytes, .. } if bytes.len() > 1 << 16))
    );
    let (_, step) = Replica::restore(config, cluster.signer(1), stored, records).unwrap();
    drop(step);
}

/// A store that fell back to an epoch before, and one more restart: what was said meanwhile stands behind the next epoch's
/// records in the log, and binds at once.
#[test]
fn r20_what_was_said_after_falling_back_to_an_epoch_binds() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4])]);
    run(&mut cluster, &[0, 1, 2, 3, 4], 3 + W);
    let mut records = cluster.nodes[1].disk.synced.clone();
    let digest = epione_types::Hash([7; 32]);
    let vote =
        Vote { kind: Kind::PrePrepare, epoch: Epoch::ZERO, view: View::ZERO, height: Height(9), digest };
    let accepted = Record::Accepted(vote.sign(cluster.chain_id, v(0), &*cluster.signer(0)));
    let halted = Record::Halted(Halt::InvalidPrepared { digest });
    records.extend([accepted.clone(), halted.clone()]);
    let (_, set) = cluster.epoch_of(Height(1));
    let config = epione_consensus::Config::new(cluster.chain_id, set, Height::ZERO, &key_of(1));
    let stored = epione_consensus::Stored::genesis(cluster.chain_id, cluster.genesis_time);
    let (replica, _step) = Replica::restore(config, cluster.signer(1), stored, records).unwrap();
    assert!(replica.waiting().halted.is_some(), "a restart does not undo a halt");
    assert!(replica.live_records().contains(&accepted) && replica.live_records().contains(&halted));
}

/// The same in an epoch between: the store had fallen back by two, and falls back again.
#[test]
fn r20_what_was_said_in_an_epoch_after_a_later_one_had_begun_binds() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4]), (8, &[0, 1, 2, 3])]);
    run(&mut cluster, &[0, 1, 2, 3, 4], 10 + W);
    let mut records = cluster.nodes[1].disk.synced.clone();
    let digest = epione_types::Hash([7; 32]);
    let vote = Vote { kind: Kind::PrePrepare, epoch: Epoch(1), view: View::ZERO, height: Height(9), digest };
    let accepted = Record::Accepted(vote.sign(cluster.chain_id, v(1), &*cluster.signer(1)));
    records.retain(|record| !matches!(record, Record::Accepted(vote) if vote.vote.height == Height(9)));
    records.push(accepted.clone());
    // Its store is back at the last height of epoch 0.
    let (after, node) = (Height(1 + W), &cluster.nodes[1]);
    let (header, _) = node.chain.iter().find(|(header, _)| header.height == after).unwrap();
    let (_, set) = cluster.epoch_of(after.next());
    let stored = epione_consensus::Stored {
        certificate: node.certificates.get(&after).cloned(),
        tip: epione_consensus::Tip::of(header),
        above: Vec::new(),
        next: Some(epione_types::NextEpoch { after, set }),
    };
    let (_, set) = cluster.epoch_of(after);
    let config = epione_consensus::Config::new(cluster.chain_id, set, Height::ZERO, &key_of(1));
    let (replica, _step) = Replica::restore(config, cluster.signer(1), stored, records).unwrap();
    assert_eq!(replica.config().set.epoch, Epoch(1));
    assert!(replica.live_records().contains(&accepted));
}

/// A ledger that was lost, and a log that does not lead from genesis to where its validator voted: it was trimmed there, or a
/// snapshot took the ledger over the epochs between.
#[test]
fn r20_a_ledger_far_behind_its_log_is_named_and_nothing_is_said() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4]), (8, &[0, 1, 2, 3])]);
    run(&mut cluster, &[0, 1, 2, 3, 4], 10 + W);
    assert_eq!(epoch(&cluster, 1), 2);
    let whole = cluster.nodes[1].disk.synced.clone();
    let (_, set) = cluster.epoch_of(Height(1));
    let config = epione_consensus::Config::new(cluster.chain_id, set, Height::ZERO, &key_of(1));
    let stored = || epione_consensus::Stored::genesis(cluster.chain_id, cluster.genesis_time);
    let restored = |records| Replica::restore(config.clone(), cluster.signer(1), stored(), records);
    assert!(restored(whole.clone()).is_ok(), "whole, it leads there");
    let trimmed = cluster.replica(1).live_records();
    let jumped: Vec<Record> = whole
        .into_iter()
        .filter(|record| !matches!(record, Record::Epoch { .. }))
        .filter(|record| !matches!(record, Record::Sealed { epoch, .. } if *epoch == Epoch(1)))
        .filter(|record| !matches!(record, Record::Accepted(vote) if vote.vote.epoch == Epoch(1)))
        .filter(|record| !matches!(record, Record::Prepared(one) if one.pre_prepare.vote.epoch == Epoch(1)))
        .filter(|record| !matches!(record, Record::Certified(one) if one.epoch == Epoch(1)))
        .collect();
    for records in [trimmed, jumped] {
        let refused = restored(records).map(drop).unwrap_err();
        assert_eq!(refused, RestoreError::LedgerBehind { log: Epoch(2), ledger: Epoch::ZERO });
    }
}

/// Nobody need hold a certificate up to the one in a follower's own log: those who synced past it have a later one.
#[test]
fn r23_one_who_follows_asks_beyond_the_certificate_in_its_log() {
    let mut cluster = cluster(4, 5, &[]);
    run(&mut cluster, &[0, 1, 2, 3, 4], 6);
    cluster.crash(4);
    cluster.forget(4);
    run(&mut cluster, &[0, 1, 2, 3], 12);
    for node in &mut cluster.nodes[..4] {
        node.certificates.retain(|height, _| *height > Height(6));
    }
    cluster.restart(4);
    run(&mut cluster, &[4], 12);
}

/// Its log lacks a height that it fetched once, and knows a certificate above: what it has below it can give to others.
#[test]
fn r23_certificates_of_the_log_come_back_with_the_blocks_that_it_leads_to() {
    let mut cluster = cluster(4, 4, &[]);
    run(&mut cluster, &[0, 1, 2, 3], 12);
    let node = &cluster.nodes[1];
    let certified = |record: &Record| match record {
        Record::Certified(certificate) => Some(certificate.height),
        _ => None,
    };
    let heights: Vec<Height> = node.disk.synced.iter().filter_map(certified).collect();
    let (gap, below) = (*heights.last().unwrap(), heights[heights.len() - 2]);
    assert!(below < gap && below > Height(1));
    let mut records = node.disk.synced.clone();
    records.retain(|record| !matches!(record, Record::Sealed { height, .. } if *height > below));
    let (_, set) = cluster.epoch_of(Height(1));
    let config = epione_consensus::Config::new(cluster.chain_id, set, Height::ZERO, &key_of(1));
    for executed_before in [0, below.0] {
        let stored = epione_consensus::Stored::genesis(cluster.chain_id, cluster.genesis_time);
        let tips = node.chain.iter().map(|(header, _)| epione_consensus::Tip::of(header));
        let above: Vec<_> = tips.filter(|tip| tip.height.0 <= executed_before).collect();
        let stored =
            epione_consensus::Stored { tip: above.last().copied().unwrap_or(stored.tip), above, ..stored };
        let (mut replica, mut step) =
            Replica::restore(config.clone(), cluster.signer(1), stored, records.clone()).unwrap();
        for (header, _) in node.chain.iter().filter(|(header, _)| header.height <= below) {
            step.merge(replica.on(Event::Executed { header: header.clone(), next: None }));
        }
        let effects = step.commit(&mut common::Disk::default()).unwrap();
        let stored = effects.iter().filter_map(|effect| match effect {
            Effect::Certified(certificate) => Some(certificate.height),
            _ => None,
        });
        assert_eq!(stored.max(), Some(below), "executed before: {executed_before}");
        assert_eq!(replica.low(), below);
    }
}

/// A log that was in an epoch which execution does not decide: the store or the binary is another.
#[test]
fn r20_a_log_of_another_epoch_than_executed_halts() {
    let mut cluster = cluster(4, 5, &[(1, &[0, 1, 2, 3, 4])]);
    run(&mut cluster, &[0, 1, 2, 3], 3 + W);
    let mut records = cluster.nodes[0].disk.synced.clone();
    let begins = records.iter_mut().find_map(|record| match record {
        Record::Epoch { set, .. } => Some(set),
        _ => None,
    });
    begins.unwrap().validators.pop();
    cluster.nodes[0].disk.synced = records;
    cluster.crash(0);
    cluster.forget(0);
    cluster.restart(0);
    cluster.tick(3_000);
    assert_eq!(cluster.nodes[0].halted, Some(Halt::OtherEpoch { epoch: Epoch(1) }));
}

/// A batch may be under validation, by the old parameters, while an epoch begins; the same bytes can be proposed again then.
#[test]
fn r20_a_batch_validated_by_the_epoch_before_is_not_validated() {
    let mut cluster = cluster(4, 4, &[(1, &[0, 1, 2, 3])]);
    run(&mut cluster, &[0, 1, 2, 3], 1 + W);
    let primary = cluster.replica(2).waiting().primary.get();
    let batch = cluster.batch(primary, "again");
    let digest = batch.digest();
    let vote =
        Vote { kind: Kind::PrePrepare, epoch: Epoch(1), view: View::ZERO, height: Height(2 + W), digest };
    let signed = vote.sign(cluster.chain_id, v(primary), &*cluster.signer(primary));
    let (begin, set) = cluster.epoch_of(Height(2 + W));
    let gate = Verifying { chain: cluster.chain_id, set: &set, begin, verifier: &FakeVerifier };
    let message = gate.message(Message::Proposal(signed, Some(batch.bytes().clone()))).unwrap();
    let backup = (0..4).find(|i| *i != primary).unwrap();
    let mut replica = cluster.replica(backup).clone();
    let effects = |step: Step| step.commit(&mut common::Disk::default()).unwrap();
    let asked = effects(replica.on(Event::Message(message)));
    assert!(
        asked.iter().any(
            |it| matches!(it, Effect::Validate { epoch: Epoch(1), payload } if payload.digest() == digest)
        ),
        "{asked:?}"
    );
    for valid in [true, false] {
        let stale = effects(replica.on(Event::Validated { epoch: Epoch::ZERO, digest, valid }));
        assert_eq!(stale, [], "by other parameters");
    }
    let accepts = effects(replica.on(Event::Validated { epoch: Epoch(1), digest, valid: true }));
    let prepare =
        |it: &Effect| matches!(it, Effect::Broadcast(Message::Vote(vote)) if vote.vote.kind == Kind::Prepare);
    assert!(accepts.iter().any(prepare), "{accepts:?}");
}

/// Who is no validator follows without a word.
#[test]
fn r20_one_who_follows_says_nothing_and_keeps_up() {
    let mut cluster = cluster(4, 6, &[]);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5], 12);
    assert!(cluster.sent.iter().all(|(from, ..)| *from < 4), "who is no validator spoke");
    let follower: &Replica = cluster.replica(5);
    assert!(!follower.config().is_member() && follower.opening().is_none());
    assert!(cluster.replica(0).config().set.index_of(&key_of(5)).is_none());
    // Without a single message it still gets every block: it asks.
    cluster.lose = Box::new(|(_, to, _)| *to == 5);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5], 24);
    // What it saw ordered and not sealed it does not wait for either, not even at the end of an epoch.
    cluster.lose = Box::new(|(_, to, message)| {
        *to == 5 && matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Seal)
    });
    cluster.decisions.insert(Height(30), vec![0, 1, 2, 3, 5]);
    run(&mut cluster, &[0, 1, 2, 3, 4, 5], 30 + W);
    assert!((0..6).all(|i| epoch(&cluster, i) == 1));
}
