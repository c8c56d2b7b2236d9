//! Whole validators in one thread and in virtual time: the real driver, replica, contracts, chain and log, over a network of
//! queues, memory stores and memory disks.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use epione_consensus::{BlocksAnswer, Kind, Payload};
use epione_ledger::chain::Chain;
use epione_ledger::store::{MemoryStore, Page, Store, StoreError};
use epione_node::executor::{ExecuteError, Executor};
use epione_node::feed::{Feed, Progress};
use epione_node::ports::{Answer, Job, Lane};
use epione_node::snapshots::Snapshots;
use epione_node::start::ResumeError;
use epione_node::wire::{BLOCKS_MAX, Frame};
use epione_node::workers::{ServeLane, WriteLane};
use epione_types::codes::Decision;
use epione_types::event::Event;
use epione_types::{
    Batch, Certificate, Epoch, Height, Outcome, SignatureSet, TimestampMs, TxId, ValidatorIndex,
};
use support::{Cluster, SECOND};

#[test]
fn real_transactions_give_equal_ledgers_for_every_size() {
    for n in [1, 4, 7] {
        let mut cluster = Cluster::new(n);
        // Each through another node than the one before, as soon as that one has it: what was committed holds everywhere.
        let mut decisions = Vec::new();
        for (number, tx) in cluster.story().into_iter().enumerate() {
            let id = cluster.submit(number % n, tx);
            cluster.run_until(5 * SECOND, |cluster| cluster.receipt(number % n, &id).is_some());
            let receipt = cluster.receipt(number % n, &id).unwrap();
            assert_eq!(receipt.outcome, Outcome::Ok, "n={n}: {receipt:?}");
            for event in receipt.events {
                if let Event::AccessDecided { decision, .. } = event {
                    decisions.push(decision);
                }
            }
        }
        // With one hospital the doctor who asks is of the house.
        let foreign = if n == 1 { Decision::Permit } else { Decision::Deny };
        assert_eq!(decisions, [foreign, Decision::Permit, foreign]);
        cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
        cluster.check();
    }
}

#[test]
fn idle_validators_make_no_blocks_and_do_not_suspect_one_another() {
    let mut cluster = Cluster::new(4);
    cluster.run(60 * SECOND);
    assert!(cluster.nodes().all(|node| node.head().height == Height(0) && node.view() == 0));
}

#[test]
fn any_node_takes_transactions_and_the_same_one_everywhere_is_executed_once() {
    let mut cluster = Cluster::new(4);
    let tx = cluster.patient(0);
    let ids: Vec<_> = (0..4).map(|node| cluster.submit(node, tx.clone())).collect();
    cluster.run_until(5 * SECOND, |cluster| cluster.all_have(&ids[..1]));
    cluster.run(2 * SECOND);
    let executed: usize = (1..=cluster.node(0).head().height.0).map(|h| cluster.receipts(0, h).len()).sum();
    assert_eq!(executed, 1);
}

#[test]
fn one_restarts_from_its_log_and_store_and_goes_on() {
    let mut cluster = Cluster::new(4);
    let mut first = cluster.patients(8);
    let later = first.split_off(2);
    let ids: Vec<_> = first.into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(5 * SECOND, |cluster| cluster.all_have(&ids));
    for node in 0..4 {
        cluster.restart(node);
    }
    let ids: Vec<_> = later.into_iter().map(|tx| cluster.submit(2, tx)).collect();
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

#[test]
fn all_lose_power_at_once_and_nothing_that_was_committed_is_lost() {
    for n in [1, 4, 7] {
        let mut cluster = Cluster::new(n);
        let first = cluster.patients(8);
        let ids: Vec<_> = first.into_iter().map(|tx| cluster.submit(0, tx)).collect();
        cluster.run_until(20 * SECOND, |cluster| ids.iter().any(|id| cluster.receipt(0, id).is_some()));
        let committed: Vec<_> =
            ids.iter().filter_map(|id| cluster.receipt(0, id).map(|receipt| (*id, receipt))).collect();
        assert!(!committed.is_empty());
        cluster.power_cut(); // the stores lose all they did not sync
        assert!(cluster.nodes().all(|node| node.head().height == Height(0)), "the store was not synced yet");
        cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&ids));
        for (id, receipt) in committed {
            assert_eq!(cluster.receipt(0, &id), Some(receipt), "n={n}: executed again, alike");
        }
        cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
        cluster.check();
    }
}

#[test]
fn one_that_missed_everything_fetches_certified_blocks() {
    let mut cluster = Cluster::new(4);
    cluster.isolate(3);
    let ids: Vec<_> = (0..40)
        .map(|number| {
            let tx = cluster.patient(number);
            let id = cluster.submit(0, tx);
            cluster.run_until(10 * SECOND, |cluster| cluster.receipt(0, &id).is_some());
            id
        })
        .collect();
    assert!(cluster.node(0).head().height > Height(30), "far beyond the window");
    assert_eq!(cluster.node(3).head().height, Height(0));
    cluster.heal();
    cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

#[test]
fn a_dead_primary_is_replaced_and_what_waited_is_ordered() {
    for n in [4, 7] {
        let mut cluster = Cluster::new(n);
        cluster.isolate(0); // the primary of view 0
        let ids: Vec<_> = cluster.patients(8).into_iter().map(|tx| cluster.submit(1, tx)).collect();
        cluster.run_until(60 * SECOND, |cluster| (1..n).all(|node| cluster.has(node, &ids)));
        assert!((1..n).all(|node| cluster.node(node).view() > 0));
        cluster.heal();
        cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&ids));
        cluster.run_until(10 * SECOND, Cluster::all_equal_and_certified);
        cluster.check();
    }
}

#[test]
fn r24_accepted_transactions_survive_a_crash_of_the_node_that_took_them() {
    let mut cluster = Cluster::new(4);
    // Nobody hears of them before the crash.
    cluster.isolate(2);
    let ids: Vec<_> = cluster.patients(8).into_iter().map(|tx| cluster.submit(2, tx)).collect();
    cluster.run(SECOND / 10);
    assert!(cluster.accepted(2) >= ids.len(), "every one was accepted as durable");
    cluster.restart(2);
    cluster.heal();
    cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&ids));
}

/// Simulation seed 267: what is finished stands in the durable pool too, and took up the room of what was not.
#[test]
fn r24_accepted_transactions_wait_for_room_after_a_restart() {
    let mut cluster = Cluster::with_pool_txs(4, 80); // 20 for each validator, 10 for one of its organisations
    let submit = |cluster: &mut Cluster, from: usize| -> Vec<_> {
        (from..from + 10)
            .map(|number| {
                let tx = cluster.patient(number);
                cluster.submit(1, tx)
            })
            .collect()
    };
    let finished = submit(&mut cluster, 0);
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&finished));
    cluster.isolate(1);
    let waiting = submit(&mut cluster, 10);
    cluster.restart(1);
    cluster.heal();
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&waiting));
    cluster.check();
}

/// What was acknowledged and has no receipt yet stands in the node's durable pool.
#[track_caller]
fn on_disk_until_done(cluster: &Cluster, node: usize, open: &mut Vec<TxId>) {
    open.retain(|id| cluster.receipt(node, id).is_none());
    let (disk, _) = cluster.pool_log(node);
    let lost = open.iter().filter(|id| !disk.contains(id)).count();
    assert_eq!(lost, 0, "of {} that were acknowledged as durable", open.len());
}

#[test]
fn r24_what_is_acknowledged_while_the_durable_pool_is_written_anew_stays_in_it() {
    let mut cluster = Cluster::with_pool_txs(4, 100); // room for all there is; written anew after a hundred
    cluster.slow_lanes(true);
    let (mut words, mut open) = (Vec::new(), Vec::new());
    for number in 0..300 {
        let tx = cluster.patient(number);
        words.push(cluster.hand_in_durably(0, vec![tx]));
        // Out of step with the lanes: checks are under way when a block is executed.
        for _ in 0..3 {
            cluster.run(5);
            open.extend(words.iter().flat_map(|word| word.try_iter()));
            on_disk_until_done(&cluster, 0, &mut open);
        }
    }
    assert!(cluster.pool_log(0).1, "what is finished has left the disk");
    cluster.restart(0);
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&open));
    cluster.check();
}

#[test]
fn r24_what_waits_for_room_after_a_restart_outlives_the_durable_pool_being_written_anew() {
    let mut cluster = Cluster::with_pool_txs(4, 400);
    cluster.isolate(1);
    let txs = cluster.patients(40);
    let words = cluster.hand_in_durably(1, txs);
    cluster.run(SECOND / 10);
    let mut open: Vec<_> = words.try_iter().collect();
    assert_eq!(open.len(), 40);
    cluster.next_pool_txs(16); // 2 for an organisation: most wait
    cluster.restart(1);
    cluster.slow_lanes(true);
    cluster.heal();
    for round in 0..4_000 {
        if open.is_empty() {
            break;
        }
        // Others' transactions keep the lane busy: what comes back waits its turn there too.
        if round % 4 == 0 && round < 400 {
            let tx = cluster.patient(1_000 + round);
            cluster.hand_in([0, 2, 3][round % 3], vec![tx]);
        }
        cluster.run(5);
        on_disk_until_done(&cluster, 1, &mut open);
    }
    assert!(open.is_empty() && cluster.pool_log(1).1);
    cluster.check();
}

#[test]
fn r24_lost_forwards_and_frames_are_made_good() {
    let mut cluster = Cluster::new(4);
    cluster.lose_one_in(5);
    let ids: Vec<_> = cluster.patients(8).into_iter().map(|tx| cluster.submit(3, tx)).collect();
    cluster.run_until(120 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.lose_one_in(u64::MAX);
    cluster.run_until(30 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

#[test]
fn a_transaction_that_nobody_can_order_expires_by_block_time() {
    let mut cluster = Cluster::new(4);
    let tx = cluster.patient_until(1, 3 * SECOND);
    cluster.isolate(2);
    let id = cluster.submit(2, tx);
    cluster.run(4 * SECOND);
    assert!(cluster.pending(2, &id), "its own clock is no proof");
    cluster.heal();
    // Block time moves because something waits for it (R11).
    let mut rounds = 0;
    while cluster.pending(2, &id) {
        rounds += 1;
        assert!(rounds < 12_000, "a minute has passed");
    }
    assert!(cluster.receipt(2, &id).is_none());
}

#[test]
fn a_full_disk_stops_voting_at_once_and_reads_go_on() {
    let mut cluster = Cluster::new(4);
    let mut first = cluster.patients(8);
    let later = first.split_off(2);
    let ids: Vec<_> = first.into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(5 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.fail_log(3);
    let more: Vec<_> = later.into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(20 * SECOND, |cluster| (0..3).all(|node| cluster.has(node, &more)));
    assert!(cluster.fault(3).unwrap().contains("log"), "{:?}", cluster.fault(3));
    assert!(cluster.has(3, &ids), "what it has is still read");
    let spoken = cluster.spoken(3);
    cluster.run(10 * SECOND);
    assert_eq!(cluster.spoken(3), spoken, "what is in memory is ahead of the disk: nothing of it leaves");
    // Repaired and restarted, without an operator's surgery.
    cluster.heal_log(3);
    cluster.restart(3);
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&more));
    cluster.check();
}

#[test]
fn a_store_that_fails_while_the_log_is_executed_again_leaves_peers_served() {
    let mut cluster = Cluster::new(4);
    for number in 0..4 {
        let tx = cluster.patient(number);
        let id = cluster.submit(0, tx);
        cluster.run_until(5 * SECOND, |cluster| cluster.all_have(&[id]));
    }
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    cluster.slow_lanes(true);
    cluster.restart_without(1, 3);
    assert!(cluster.is_restoring(1));
    cluster.fail_job(1, "the disk is gone");
    cluster.run(5);
    cluster.keep_frames();
    let ask = Frame::FetchBlocks { from: Height(1), to: Height(2) };
    cluster.inject_on(2, 1, ask.class(), &ask.encode());
    cluster.run(SECOND / 2);
    assert!(cluster.is_restoring(1) && cluster.fault(1).is_some(), "it never came to an end");
    let mut frames = cluster.frames().into_iter().map(|(_, bytes)| Frame::decode(&bytes));
    let asked = |answer: &BlocksAnswer| answer.certificate.height == Height(2);
    assert!(frames.any(|frame| matches!(frame, Ok(Frame::Blocks(answer)) if asked(&answer))));
}

#[test]
fn the_log_is_trimmed_and_a_restart_from_it_goes_on() {
    let mut cluster = Cluster::with_log_bytes(4, 4_096);
    let mut ids = Vec::new();
    for number in 0..30 {
        let tx = cluster.patient(number);
        ids.push(cluster.submit(usize::from(number % 4 == 0), tx));
        cluster.run(SECOND / 5);
    }
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    for node in 0..4 {
        cluster.restart(node);
        assert!(cluster.beginnings(node) > 1, "the log had a new beginning");
    }
    let last = cluster.patient(200);
    ids.push(cluster.submit(0, last));
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.power_cut();
    cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&ids));
    cluster.check();
}

#[test]
fn a_new_beginning_that_no_append_can_hold_is_put_off_and_voting_goes_on() {
    let mut cluster = Cluster::with_appends_of(4, 1_500, 4_096);
    let mut ids = Vec::new();
    for number in 0..60 {
        let tx = cluster.patient(number);
        ids.push(cluster.submit(0, tx));
        cluster.run(SECOND / 50);
    }
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    assert_eq!((0..4).find_map(|node| cluster.fault(node)), None);
    cluster.check();
}

#[test]
fn a_peer_that_sends_rubbish_is_disconnected_and_nothing_else_happens() {
    let mut cluster = Cluster::new(4);
    for bytes in [&[][..], &[0xff; 64], &[0, 0, 0, 0]] {
        cluster.inject(0, 1, bytes);
    }
    cluster.run(SECOND / 10);
    assert_eq!(cluster.disconnected(1), [0]);
    let ids: Vec<_> = cluster.patients(8).into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
}

#[test]
fn slow_lanes_have_their_measure_of_jobs_and_the_rest_waits() {
    let mut cluster = Cluster::apart(4, 5, 8); // many proposals at once, too
    cluster.isolate(3);
    cluster.slow_lanes(true);
    // Many small rounds of candidates: without a measure each would be a job of its own.
    let mut ids = Vec::new();
    for round in 0..30 {
        let txs = (0..2).map(|number| cluster.patient(round * 2 + number)).collect();
        ids.extend(cluster.hand_in(round % 3, txs));
        cluster.run(5);
    }
    cluster.run_until(60 * SECOND, |cluster| (0..3).all(|node| cluster.has(node, &ids)));
    // And one that has everything to execute at once.
    for number in 1_000..1_015 {
        let tx = cluster.patient(number);
        ids.extend(cluster.hand_in(0, vec![tx]));
        cluster.run_until(20 * SECOND, |cluster| (0..3).all(|node| cluster.has(node, &ids)));
    }
    cluster.heal();
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&ids));
    for node in 0..3 {
        assert!(cluster.most_jobs(node, Lane::Verify) <= 4, "two checks, two validations");
    }
    assert!(cluster.most_jobs(3, Lane::Write) > 10, "it did fall behind");
    cluster.run_until(20 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

/// A transaction every 10 ms for two seconds, validators 50 ms apart: how long each took in the mean, in ms, and in how many
/// blocks they stand.
fn steady(pipeline: u64) -> (u64, u64) {
    let mut cluster = Cluster::apart(4, 50, pipeline);
    let (mut open, mut took) = (Vec::new(), Vec::new());
    for round in 0..1_000 {
        if round < 200 {
            let tx = cluster.patient(round);
            open.extend(cluster.hand_in(0, vec![tx]).into_iter().map(|id| (round, id)));
        }
        cluster.run(10);
        open.retain(|(since, id)| {
            let waits = cluster.receipt(0, id).is_none();
            took.extend((!waits).then_some((round - since) as u64 * 10));
            waits
        });
    }
    assert!(open.is_empty());
    cluster.check();
    (took.iter().sum::<u64>() / took.len() as u64, cluster.node(0).head().height.0)
}

#[test]
fn a_busy_pipeline_lets_batches_grow_and_a_deeper_one_trades_blocks_for_latency() {
    let (shallow, deep) = (steady(1), steady(4));
    assert!(shallow.1 < 30, "{shallow:?}: many in a block");
    assert!(deep.1 > 2 * shallow.1, "{shallow:?} {deep:?}");
    assert!(deep.0 * 10 < shallow.0 * 9, "{shallow:?} {deep:?}: a tenth sooner at least");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut cluster = Cluster::new(4);
        cluster.lose_one_in(7);
        let ids: Vec<_> = cluster.patients(8).into_iter().map(|tx| cluster.submit(3, tx)).collect();
        cluster.run_until(120 * SECOND, |cluster| cluster.all_have(&ids));
        cluster.trace()
    };
    assert_eq!(run(), run());
}

#[test]
fn contradictions_of_a_validator_are_kept_as_evidence() {
    let mut cluster = Cluster::new(4);
    let ids: Vec<_> = cluster.patients(2).into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    let height = cluster.node(1).head().height.next();
    for name in ["one batch", "another batch"] {
        cluster.inject_vote(2, 1, Kind::Commit, height, support::hash(name));
    }
    cluster.run(SECOND / 10);
    assert_eq!(cluster.evidence(1).len(), 1);
    cluster.restart(1);
    assert_eq!(cluster.evidence(1).len(), 1, "over restarts");
    cluster.check();
}

#[test]
fn a_log_that_lost_its_end_does_not_vote() {
    let mut cluster = Cluster::new(4);
    let ids: Vec<_> = cluster.patients(3).into_iter().map(|tx| cluster.submit(1, tx)).collect();
    cluster.run_until(20 * SECOND, |cluster| cluster.all_have(&ids));
    let error = cluster.resume_with_born_log(2).unwrap_err();
    assert!(matches!(error, ResumeError::Amnesia { end: 1, .. }), "{error}");
    assert!(error.to_string().contains("new key"), "{error}");
}

#[test]
fn r24_what_a_primary_offered_in_vain_it_offers_again_when_its_turn_comes() {
    let mut cluster = Cluster::new(4);
    cluster.lose_forwards_of(0);
    cluster.isolate(0);
    let tx = cluster.patient(0);
    let id = cluster.submit(0, tx); // proposed at once, to nobody
    for primary in 0..4 {
        cluster.isolate(primary);
        let tx = cluster.patient(primary + 1);
        let other = (primary + 1) % 4;
        let moved = cluster.submit(if other == 0 { 1 } else { other }, tx);
        cluster.run_until(60 * SECOND, |cluster| {
            (0..4).all(|node| node == primary || cluster.has(node, &[moved]))
        });
        cluster.heal();
        cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&[moved]));
    }
    cluster.run_until(60 * SECOND, |cluster| cluster.all_have(&[id]));
    cluster.check();
}

#[test]
fn a_height_is_executed_once_and_in_order() {
    let genesis = support::genesis(1);
    let chain = Chain::open(Arc::new(MemoryStore::new()), &epione_node::start::origin(&genesis)).unwrap();
    let executor = Executor::new(Arc::new(chain));
    let null = Payload::new(Batch::Null);
    let first = executor.append(Height(1), &null, None, 5).unwrap();
    assert_eq!(executor.append(Height(1), &null, None, 9).unwrap(), first, "answered from the store");
    assert!(matches!(executor.append(Height(3), &null, None, 9), Err(ExecuteError::Gap { .. })));
    let (proposer, stamp) = (ValidatorIndex(0), TimestampMs(1));
    let other = Payload::new(Batch::Proposed { proposer, stamp, txs: Vec::new() });
    assert!(executor.append(Height(1), &other, None, 9).is_err(), "another batch at a height that is taken");
    let second = executor.append(Height(2), &other, None, 9).unwrap();
    assert_eq!(second.header.parent, first.header.hash());
}

/// Fails all writes after so many, and one read after so many.
struct Limited {
    store: MemoryStore,
    writes: AtomicUsize,
    reads: AtomicUsize,
}

impl Limited {
    fn read(&self) -> Result<(), StoreError> {
        match self.reads.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(StoreError::Disk { doing: "reading", source: std::io::Error::other("unreadable") }),
            _ => Ok(()),
        }
    }
}

impl Store for Limited {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read()?;
        self.store.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        self.read()?;
        self.store.scan(from, to, limit)
    }
    fn apply(&self, batch: epione_ledger::store::Batch) -> Result<(), StoreError> {
        let left = self.writes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.store.apply(batch),
            Err(_) => Err(StoreError::Disk { doing: "writing", source: std::io::Error::other("disk full") }),
        }
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.store.size_bytes()
    }
}

#[test]
fn small_blocks_are_stored_together_and_none_is_answered_before() {
    let (genesis, store) = (support::genesis(1), MemoryStore::new());
    let origin = epione_node::start::origin(&genesis);
    let reads = AtomicUsize::new(usize::MAX);
    let limited = Arc::new(Limited { store: store.clone(), writes: AtomicUsize::new(5), reads });
    let chain = Arc::new(Chain::open(limited.clone(), &origin).unwrap());
    let begins = Progress { height: Height::ZERO, timestamp: TimestampMs(0), certified: Height::ZERO };
    let feed = Arc::new(Feed::new(begins));
    let told = feed.progress();
    let mut lane = WriteLane::new(chain, feed, Snapshots::default()).unwrap();
    let execute = |height| Job::Execute {
        height: Height(height),
        payload: Arc::new(Payload::new(Batch::Null)),
        txs: None,
        position: height,
    };
    let written = || 5 - limited.writes.load(Ordering::Relaxed);
    let before = written();
    let mut answered = Vec::new();
    lane.perform((1..=20).map(execute), |answer| {
        let Answer::Executed { header, .. } = answer else { panic!("{answer:?}") };
        let stored = Chain::open(Arc::new(store.clone()), &origin).unwrap().head().height;
        assert!(stored >= header.height, "block {} is answered, {stored} stored", header.height);
        answered.push(header.height.0);
    });
    assert_eq!(answered, (1..=20).collect::<Vec<_>>());
    assert_eq!(written() - before, 1, "as one");

    // So many that they are not stored as one: nobody waits for the last of them.
    let (mut firsts, mut count) = (Vec::new(), 0);
    lane.perform((21..=600).map(execute), |answer| {
        let Answer::Executed { .. } = answer else { panic!("{answer:?}") };
        count += 1;
        let stored = Chain::open(Arc::new(store.clone()), &origin).unwrap().head().height;
        if !firsts.contains(&stored) {
            firsts.push(stored);
        }
    });
    assert_eq!(count, 580);
    assert!((2..=3).contains(&firsts.len()), "{firsts:?}");

    // The disk is full: what waited for it is not answered.
    limited.writes.store(0, Ordering::Relaxed);
    let mut answers = Vec::new();
    lane.perform((601..=610).map(execute), |answer| answers.push(answer));
    assert!(matches!(&answers[..], [Answer::Failed(why)] if why.contains("disk full")), "{answers:?}");
    answers.clear();
    lane.perform([Job::Capture, execute(611)], |answer| answers.push(answer));
    let heard = matches!(&answers[..], [Answer::Captured(Some(_)), Answer::Failed(_)]);
    assert!(heard, "who reads is answered, who writes hears why: {answers:?}");
    assert_eq!(told.borrow().height, Height(600), "nobody heard of what is not stored");
    assert_eq!(Chain::open(Arc::new(store.clone()), &origin).unwrap().head().height, Height(600));
}

/// Every read of three blocks fails once.
#[test]
fn whatever_cannot_be_read_between_no_block_is_answered_that_is_not_stored() {
    let genesis = support::genesis(1);
    let origin = epione_node::start::origin(&genesis);
    let (mut failed_after_blocks, mut poisoned, mut whole) = (0, 0, false);
    for reads in 0.. {
        let store = MemoryStore::new();
        let limited = Limited {
            store: store.clone(),
            writes: AtomicUsize::new(usize::MAX),
            reads: AtomicUsize::new(usize::MAX),
        };
        let limited = Arc::new(limited);
        let chain = Arc::new(Chain::open(limited.clone(), &origin).unwrap());
        let begins = Progress { height: Height::ZERO, timestamp: TimestampMs(0), certified: Height::ZERO };
        let feed = Arc::new(Feed::new(begins));
        let told = feed.progress();
        let mut lane = WriteLane::new(chain.clone(), feed, Snapshots::default()).unwrap();
        let expired =
            support::sign(genesis.chain_id(), &["anna"], 1, TimestampMs(1), support::patient_call(1));
        let stamp = TimestampMs(chain.head().timestamp.0 + 1_000);
        let late = Batch::Proposed { proposer: ValidatorIndex(0), stamp, txs: vec![expired] };
        let jobs =
            [Batch::Null, late, Batch::Null].into_iter().zip(1..).map(|(batch, height)| Job::Execute {
                height: Height(height),
                payload: Arc::new(Payload::new(batch)),
                txs: None,
                position: height,
            });
        limited.reads.store(reads, Ordering::Relaxed);
        let (mut answered, mut failed) = (Height::ZERO, false);
        let stored = || Chain::open(Arc::new(store.clone()), &origin).unwrap().head().height;
        lane.perform(jobs, |answer| {
            if let Answer::Executed { header, .. } = &answer {
                assert!(stored() >= header.height, "read {reads}: block {} is answered", header.height);
                answered = header.height;
            }
            failed |= matches!(answer, Answer::Failed(_));
        });
        assert!(stored() >= told.borrow().height, "read {reads}");
        assert!(failed || answered == Height(3), "read {reads}: every job is answered");
        failed_after_blocks += u32::from(failed && answered > Height::ZERO);
        poisoned += u32::from(chain.is_poisoned() && answered > Height::ZERO);
        whole = !failed;
        if whole {
            break;
        }
    }
    assert!(whole && failed_after_blocks > 0 && poisoned > 0, "{failed_after_blocks} {poisoned}");
}

#[test]
fn an_answer_with_blocks_is_bounded_and_ends_with_a_certificate() {
    let genesis = support::genesis(1);
    let chain = Chain::open(Arc::new(MemoryStore::new()), &epione_node::start::origin(&genesis)).unwrap();
    let chain = Arc::new(chain);
    let executor = Executor::new(chain.clone());
    let null = Payload::new(Batch::Null);
    for height in 1..=BLOCKS_MAX as u64 + 10 {
        let header = executor.append(Height(height), &null, None, height).unwrap().header;
        if [10, BLOCKS_MAX as u64 - 4, BLOCKS_MAX as u64 + 10].contains(&height) {
            let (header_hash, signatures) = (header.hash(), SignatureSet::default());
            let certificate =
                Certificate { epoch: Epoch::ZERO, height: Height(height), header_hash, signatures };
            chain.certify(&certificate).unwrap();
        }
    }
    let mut lane = ServeLane::new(chain);
    let mut ask = |from, to| {
        let job = Job::ReadBlocks { peer: ValidatorIndex(0), from: Height(from), to: Height(to) };
        let Some(Answer::Read { frame, .. }) = lane.perform(job) else { panic!("an answer") };
        let frame = frame.map(|(_, frame)| frame);
        frame.map(|frame| match Frame::decode(&frame) {
            Ok(Frame::Blocks(answer)) => (answer.blocks.len(), answer.certificate.height.0),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(ask(1, u64::MAX), Some((BLOCKS_MAX - 4, BLOCKS_MAX as u64 - 4)));
    assert_eq!(ask(20, u64::MAX), Some((BLOCKS_MAX - 9, BLOCKS_MAX as u64 + 10)));
    assert_eq!(ask(1, 12), Some((10, 10)));
    assert_eq!(ask(11, 12), None, "no certificate, no answer");
    assert_eq!(ask(u64::MAX, u64::MAX), None);
}
