//! What a replica says of where it stands: each stage, each cause of a view change, and the next timer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; that is how it fails")]

mod common;

use std::sync::Arc;

use common::{Cluster, v};
use epione_consensus::{Action, Alarm, Cause, Due, Explanation, Kind, Message, Misbehavior, Payload, Stage};
use epione_types::{Batch, Height, View};

fn is_vote(message: &Message, kind: Kind) -> bool {
    matches!(message, Message::Vote(vote) if vote.vote.kind == kind)
}

fn votes(it: &Explanation) -> (Vec<u16>, usize) {
    let votes = it.votes.as_ref().unwrap();
    (votes.had.iter().map(|who| who.0).collect(), votes.needed)
}

fn awaited(it: &Explanation) -> Vec<u16> {
    it.awaited.iter().map(|who| who.0).collect()
}

#[test]
fn each_stage_names_its_votes_and_whom_it_waits_for() {
    let mut cluster = Cluster::new(4);
    cluster.tick(100);
    let idle = cluster.replica(1).explain();
    assert_eq!((idle.place.stage, idle.place.height), (Stage::Transactions, Height(1)));
    assert_eq!((idle.votes, idle.awaited, idle.change), (None, Vec::new(), None));
    assert_eq!(idle.due.map(|due| due.action), Some(Action::Retell));

    // Something waits and the primary says nothing.
    cluster.crash(0);
    cluster.pending(true);
    cluster.tick(300);
    let late = cluster.replica(1).explain();
    assert_eq!((late.place.stage, awaited(&late)), (Stage::Proposal, vec![0]));
    let Some(Due { action: Action::Suspect(Cause::RequestLate), in_ms }) = late.due else {
        panic!("{:?}", late.due)
    };
    assert!((600..=800).contains(&in_ms), "a second less what has passed: {in_ms}");

    for (kind, stage) in
        [(Kind::Prepare, Stage::Prepares), (Kind::Commit, Stage::Commits), (Kind::Seal, Stage::Seals)]
    {
        let mut cluster = Cluster::new(4);
        cluster.lose = Box::new(move |(from, _, m)| *from > 1 && is_vote(m, kind));
        cluster.propose(0, "x").unwrap();
        cluster.settle();
        let it = cluster.replica(1).explain();
        assert_eq!((it.place.stage, it.place.height), (stage, Height(1)));
        assert_eq!((votes(&it), awaited(&it)), ((vec![0, 1], 3), vec![2, 3]), "{stage:?}");
        let expected = if kind == Kind::Seal { Action::Retell } else { Action::Suspect(Cause::SlotLate) };
        cluster.tick(50);
        let due = cluster.replica(1).explain().due.unwrap();
        assert_eq!(due.action, expected, "{stage:?}");
    }

    // Ordered, and not executed here yet.
    let mut cluster = Cluster::new(4);
    cluster.nodes[2].slow = true;
    cluster.propose(0, "x").unwrap();
    cluster.settle();
    assert_eq!(cluster.replica(2).explain().place.stage, Stage::Execution);
}

#[test]
fn one_that_is_behind_fetches_and_says_up_to_where() {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    for number in 0..12 {
        cluster.propose(0, &number.to_string()).unwrap();
        cluster.settle();
    }
    cluster.unserved.insert(3);
    cluster.restart(3);
    cluster.tick(1_000);
    let it = cluster.replica(3).explain();
    assert_eq!((it.place.stage, it.place.height, it.to), (Stage::Blocks, Height(1), Height(12)));
    assert_eq!(it.due.map(|due| due.action), Some(Action::AskForBlocks));
}

#[test]
fn why_a_view_was_left_is_remembered_and_counted() {
    // A request that nobody orders; the primary of view 1 is dead too, and the turn passes to 2.
    let mut cluster = Cluster::new(7);
    cluster.crash(0);
    cluster.crash(1);
    cluster.pending(true);
    let mut seen = None;
    for _ in 0..200 {
        cluster.tick(50);
        let it = cluster.replica(3).explain();
        if it.place.stage == Stage::ViewChange && it.asked == View(1) && seen.is_none() && it.due.is_some() {
            seen = Some(it);
        }
        if cluster.view(3) == 2 {
            break;
        }
    }
    let seen = seen.unwrap();
    assert_eq!(
        (votes(&seen), awaited(&seen)),
        ((vec![2, 3, 4, 5, 6], 5), vec![1]),
        "its primary is waited for"
    );
    assert_eq!(seen.due.map(|due| due.action), Some(Action::NextView(View(2))));
    let it = cluster.replica(3).explain();
    let change = it.change.unwrap();
    assert_eq!((change.from, change.to, change.cause), (View(0), View(2), Cause::RequestLate));
    assert_eq!(change.given_up, 1);
    assert_eq!(it.changes, [(Cause::RequestLate, 1), (Cause::NotOpened, 1)]);

    // One whose timers are quiet goes along with the others.
    let mut cluster = Cluster::new(4);
    cluster.crash(0);
    cluster.pending(true);
    cluster.nodes[3].waiting.0 = None;
    cluster.tick(1_200);
    assert_eq!(cluster.replica(3).explain().changes, [(Cause::OthersLeft, 1)]);
    assert_eq!(cluster.replica(2).explain().changes, [(Cause::RequestLate, 1)]);

    // A slot that is not decided.
    let mut cluster = Cluster::new(4);
    cluster.lose = Box::new(|(_, _, m)| is_vote(m, Kind::Commit));
    cluster.propose(0, "x").unwrap();
    cluster.tick(1_200);
    assert_eq!(cluster.replica(1).explain().changes, [(Cause::SlotLate, 1)]);
}

#[test]
fn proof_against_the_primary_is_a_cause_of_its_own() {
    let mut cluster = Cluster::new(4);
    let forge = |cluster: &Cluster, payload| {
        common::forge::Forge { chain: cluster.chain_id, epoch: cluster.set.epoch, set: &cluster.set }
            .proposal(0, 1, payload)
    };
    let (one, other) = (cluster.batch(0, "one"), cluster.batch(0, "other"));
    let both = [forge(&cluster, &one), forge(&cluster, &other)];
    cluster.byzantine.insert(0);
    for message in both {
        cluster.receive(2, message).unwrap();
    }
    cluster.settle();
    let what = Misbehavior::Equivocation;
    assert!(cluster.nodes[2].alarms.contains(&Alarm::FaultyPrimary { view: View(0), what }));
    let it = cluster.replica(2).explain();
    assert_eq!(it.change.unwrap().cause, Cause::FaultyPrimary(what));
    assert_eq!(it.changes[0].0.name(), "PRIMARY_EQUIVOCATION");
    assert!(cluster.replica(2).place().view > View(0) && it.primary == v(1));
}

/// The reasons that a primary gives by what it proposes, each by the name under which operators count it.
#[test]
fn what_a_primary_proposes_wrongly_is_counted_by_its_name() {
    let propose = |cluster: &mut Cluster, to: &[usize], height, batch: Batch| {
        let forge =
            common::forge::Forge { chain: cluster.chain_id, epoch: cluster.set.epoch, set: &cluster.set };
        let message = forge.proposal(0, height, &Arc::new(Payload::new(batch)));
        for at in to {
            cluster.receive(*at, message.clone()).unwrap();
        }
        cluster.settle();
    };
    let counted = |cluster: &Cluster, at: usize| -> Vec<(&str, u64)> {
        let changes = cluster.replica(at).explain().changes;
        changes.into_iter().map(|(cause, count)| (cause.name(), count)).collect()
    };
    let mut cluster = Cluster::new(4);
    cluster.byzantine.insert(0);
    propose(&mut cluster, &[1], 1, Batch::Null);
    assert_eq!(counted(&cluster, 1), [("PRIMARY_NULL_BATCH", 1)]);

    // By the batch's own rules: it names another proposer.
    let mut cluster = Cluster::new(4);
    cluster.byzantine.insert(0);
    let stamp = cluster.clock();
    propose(&mut cluster, &[1], 1, Batch::Proposed { proposer: v(2), stamp, txs: Vec::new() });
    assert_eq!(counted(&cluster, 1), [("PRIMARY_INVALID_BATCH", 1)]);

    // Two that are empty, at once: f+1 suspect it.
    let mut cluster = Cluster::new(4);
    cluster.byzantine.insert(0);
    for height in [1, 2] {
        let stamp = cluster.clock();
        propose(&mut cluster, &[1, 2], height, Batch::Proposed { proposer: v(0), stamp, txs: Vec::new() });
    }
    for at in [1, 2] {
        assert_eq!(counted(&cluster, at), [("EMPTY_BATCHES", 1)], "at {at}");
    }
    assert_eq!(counted(&cluster, 3), [("OTHERS_LEFT", 1)]);
}
