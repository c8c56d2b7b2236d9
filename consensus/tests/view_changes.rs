//! View changes, all of them that are small: a cut after every message, twice, with one validator that hides what it prepared
//! (failures.md, 8); networks slower than the first time-outs (12), and idle ones (O5); a replica in any mode beside one that
//! was restored there (18).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use std::collections::BTreeSet;

use common::{Cluster, Packet, v};
use epione_consensus::{Body as _, Event, Kind, Message, Record, Replica, Stored, Tip, ViewChange};
use epione_types::{Height, View};

/// The validator that lies, if one does.
const LIAR: usize = 3;

/// From here on `who` is out of reach, and what was on the way in this view or below never arrives.
fn cut(cluster: &mut Cluster, who: usize, crash: bool, view: u64) {
    if crash {
        cluster.crash(who);
    }
    cluster.lose = Box::new(move |(from, to, message)| {
        let of = match message {
            Message::Vote(vote) if vote.vote.kind == Kind::Suspect => u64::MAX,
            Message::Vote(vote) | Message::Proposal(vote, _) => vote.vote.view.0,
            Message::Commits(one) => one.view.0,
            _ => u64::MAX,
        };
        *from == who || *to == who || of <= view
    });
}

/// What the liar says instead: the same ViewChange without what it prepared.
fn hidden(cluster: &Cluster, message: Message) -> Message {
    match message {
        Message::ViewChange(change) if change.from == v(LIAR) => {
            let body = ViewChange { prepared: Vec::new(), ..change.body };
            Message::ViewChange(Box::new(body.sign(cluster.chain_id, v(LIAR), &*cluster.signer(LIAR))))
        }
        other => other,
    }
}

/// Time passes until so many messages have arrived, for at most `ms`.
fn arrive(cluster: &mut Cluster, lies: bool, mut messages: usize, ms: u64) {
    let end = cluster.now + ms;
    loop {
        while let Some((from, to, message)) = cluster.net.pop_front() {
            let packet: Packet = (from, to, if lies { hidden(cluster, message) } else { message });
            // The liar does not listen to itself.
            if (cluster.lose)(&packet) || !cluster.up(to) || lies && to == LIAR && is_liars(&packet.2) {
                continue;
            }
            if messages == 0 {
                return;
            }
            messages -= 1;
            cluster.receive(to, packet.2).expect("well-formed");
        }
        if cluster.now >= end {
            return;
        }
        cluster.now += 50;
        tick(cluster);
    }
}

fn is_liars(message: &Message) -> bool {
    matches!(message, Message::ViewChange(change) if change.from == v(LIAR))
}

fn tick(cluster: &mut Cluster) {
    for i in 0..cluster.n() {
        let (oldest, deadline) = cluster.nodes[i].waiting;
        cluster.feed(i, Event::Waiting { oldest, deadline });
        cluster.feed(i, Event::Tick { now: cluster.now, clock: cluster.clock() });
    }
}

/// The primary is lost after `first` messages of the normal case, the next one after `second` messages of the view change.
/// True if there were that many.
fn story(first: usize, second: usize, crash: bool, lies: bool) -> bool {
    let mut cluster = Cluster::new(4);
    if lies {
        cluster.byzantine.insert(LIAR);
    }
    cluster.propose(0, "x");
    arrive(&mut cluster, lies, first, 0);
    let all = cluster.net.is_empty();
    cut(&mut cluster, 0, crash, 0);
    cluster.pending(true);
    arrive(&mut cluster, lies, second, 2_500);
    if crash {
        cluster.restart(0);
    }
    cut(&mut cluster, 1, crash, 1);
    arrive(&mut cluster, lies, usize::MAX, 4_000);
    // I1 and I2 are checked all the way.
    cluster.must_progress();
    !all
}

/// Every cut, or every so many-th of the second ones.
fn all_stories(step: usize) -> usize {
    let mut stories = 0;
    for (crash, lies) in [(false, false), (true, false), (false, true), (true, true)] {
        for first in 0.. {
            let second = (first % step..60).step_by(step);
            stories += second.len();
            if second.filter(|second| story(first, *second, crash, lies)).count() == 0 {
                break;
            }
        }
    }
    stories
}

#[test]
fn a_cut_after_every_message_of_two_view_changes_neither_forks_nor_strands() {
    let stories = all_stories(6);
    assert!(stories > 1_000, "{stories} stories");
}

/// What the cuts are there to notice, they notice.
#[cfg(feature = "teeth")]
#[test]
fn a_view_change_without_its_guards_forks_or_strands() {
    use epione_consensus::guard::{Guard, without};
    for guard in [Guard::PreparedCarried, Guard::Resend] {
        let run = std::panic::catch_unwind(|| without(guard, || all_stories(20)));
        assert!(run.is_err(), "nobody noticed that {guard:?} was gone");
    }
}

#[test]
fn after_two_idle_hours_one_transaction_commits_in_the_same_view_at_once() {
    for n in [1, 4] {
        let mut cluster = Cluster::new(n);
        for _ in 0..2 * 60 * 60 {
            cluster.now += 1_000;
            tick(&mut cluster);
            cluster.settle();
        }
        for i in 0..n {
            let waiting = cluster.replica(i).waiting();
            assert_eq!(
                (waiting.view, waiting.asked, waiting.executed),
                (View(0), View(0), Height(0)),
                "n={n}"
            );
        }
        let began = cluster.now;
        cluster.pending(true);
        cluster.propose(0, "at last");
        cluster.settle();
        assert!((0..n).all(|i| cluster.low(i) == 1 && cluster.view(i) == 0), "n={n}");
        assert_eq!(cluster.now, began, "no timer had to pass");
    }
}

#[test]
fn messages_slower_than_the_first_timeouts_are_outlived() {
    for n in [4, 5, 7] {
        let mut cluster = Cluster::new(n);
        let mut slow: Vec<(u64, Packet)> = Vec::new();
        let mut run = |cluster: &mut Cluster, delay: u64, ms: u64, goal: u64| {
            let end = cluster.now + ms;
            while cluster.now < end && (0..n).any(|i| cluster.low(i) < goal) {
                cluster.now += 50;
                tick(cluster);
                if let Some(primary) =
                    (0..n).find(|i| cluster.replica(*i).opening().is_some_and(|one| one.idle))
                {
                    cluster.propose(primary, "x");
                }
                let due = cluster.now + delay;
                slow.extend(cluster.net.drain(..).map(|packet| (due, packet)));
                let now = cluster.now;
                let (arrived, later): (Vec<_>, Vec<_>) = slow.drain(..).partition(|(due, _)| *due <= now);
                slow = later;
                for (_, (_, to, message)) in arrived {
                    cluster.receive(to, message).expect("honest messages are valid");
                }
            }
            (0..n).map(|i| cluster.low(i)).min().unwrap()
        };
        cluster.pending(true);
        // Three times the first time-out from one to another: PBFT needs several such steps in one view.
        let low = run(&mut cluster, 3_000, 400_000, 1);
        assert!(low >= 1, "n={n}: nothing committed in {} ms", cluster.now);
        let view = (0..n).map(|i| cluster.view(i)).max().unwrap();
        assert!(view >= 2, "n={n}: it took view changes, or the delay is not what is tested");
        // The network is well again: no more views fall.
        cluster.pending(false);
        let goal = low + 20;
        assert!(run(&mut cluster, 0, 60_000, goal) >= goal, "n={n}");
        let after = (0..n).map(|i| cluster.view(i)).max().unwrap();
        assert!(after <= view + 1, "n={n}: from view {view} to {after}");
    }
}

/// The same validator, back from its log and store.
fn restored(cluster: &Cluster, i: usize) -> Replica {
    let node = &cluster.nodes[i];
    let certificate = node.certificates.values().next_back().cloned();
    let floor = certificate.as_ref().map_or(Height::ZERO, |one| one.height);
    let above =
        node.chain.iter().map(|(header, _)| Tip::of(header)).filter(|tip| tip.height > floor).collect();
    let stored = Stored { certificate, tip: cluster.tip(i), above, next: None };
    let (replica, step) =
        Replica::restore(cluster.config(i), cluster.signer(i), stored, node.disk.synced.clone()).unwrap();
    let _ = step.commit(&mut common::Disk::default()).unwrap();
    replica
}

#[test]
fn what_binds_a_replica_is_the_same_after_a_restart_whatever_mode_it_is_in() {
    for n in [4, 5, 6, 7, 10] {
        let mut cluster = Cluster::new(n);
        cluster.propose(0, "committed");
        cluster.settle();
        cluster.propose(0, "cut short");
        let mut modes = BTreeSet::new();
        arrive(&mut cluster, false, 3 * n, 0);
        cluster.crash(0);
        cluster.pending(true);
        for _ in 0..120 {
            arrive(&mut cluster, false, n / 2, 50);
            for i in 1..n {
                let (live, back) = (cluster.replica(i), restored(&cluster, i));
                // But for batches: a log that was not trimmed holds those of closed heights too.
                let said = |replica: &Replica| -> BTreeSet<Vec<u8>> {
                    let binding = |record: &Record| !matches!(record, Record::Batch { .. });
                    replica.live_records().iter().filter(|one| binding(one)).map(Record::encode).collect()
                };
                assert!(said(live) == said(&back), "n={n}, validator {i}: {live:?} and {back:?}");
                let place = |replica: &Replica| {
                    let waiting = replica.waiting();
                    (waiting.view, waiting.asked, waiting.low, waiting.executed, waiting.delivered)
                };
                assert_eq!(place(live), place(&back), "n={n}, validator {i}");
                let waiting = live.waiting();
                modes.insert((waiting.asked > waiting.view, waiting.view.0 > 0));
            }
        }
        assert!(modes.len() >= 3, "n={n}: before, in and after a view change: {modes:?}");
        cluster.must_progress();
    }
}
