//! The simulator itself: what it must be, so that what it says can be believed.

use epione_testnet::sim::actors::ActorKind;
use epione_testnet::sim::many::run_many;
use epione_testnet::sim::plan::SIZES;
use epione_testnet::sim::scenario::ScenarioError;
use epione_testnet::sim::shrink::shrink;
use epione_testnet::sim::{Class, Lines, Options, Plan, run};

fn short(seed: u64, n: usize) -> Plan {
    Plan::draw_sized(seed, n, 12)
}

#[test]
fn a_plan_is_text_and_text_is_a_plan() {
    for seed in 0..300 {
        let plan = Plan::draw(seed);
        assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan), "seed {seed}");
    }
    assert_eq!(Plan::from_text("# nothing but a remark\n\n"), Ok(Plan::default()));
}

#[test]
fn a_line_that_means_nothing_is_named() {
    for (text, line) in [
        ("nodes 4\nnodes four", 2),
        ("at 5 partition {0,1} for", 1),
        ("at 5 crash {0} after 3 politely for 9", 1),
        ("nodes 4\nat 1 freeze 4 for 5", 2),
        ("at 1 freeze 200 for 5\nnodes 4", 1),
        ("actor 1 saint", 1),
        ("nodes 0", 1),
        ("at 1 partition {0,99} for 5", 1),
    ] {
        let error: ScenarioError = Plan::from_text(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
    }
}

#[test]
fn every_size_comes_through_its_faults() {
    for n in SIZES {
        for seed in 0..3 {
            let report = run(&short(seed, n), &Options::default());
            assert_eq!(report.failure, None, "seed {seed}, {n} nodes");
            assert!(
                report.counts.get("transactions") > 0,
                "seed {seed}, {n} nodes: an empty run shows nothing"
            );
        }
    }
}

#[test]
fn one_plan_gives_one_trace_and_lines_change_nothing() {
    for seed in 0..4 {
        let plan = short(seed, 4);
        let first = run(&plan, &Options::default());
        let again = run(&plan, &Options { lines: Lines::Last(5), ..Options::default() });
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!(first.counts, again.counts, "seed {seed}");
        assert_ne!(first.trace, run(&short(seed + 100, 4), &Options::default()).trace);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let with = |jobs| run_many(50, 6, jobs, |seed| short(seed, 4), &Options::default(), |_| ());
    let (one, two) = (with(1), with(2));
    assert_eq!(one.trace(), two.trace());
    assert_eq!(one.exercised, two.exercised);
}

/// A Byzantine validator that is taken for an honest one must be caught.
#[test]
fn the_canary_dies() {
    let plan = Plan { actors: vec![(0, ActorKind::Equivocator)], heights: 20, ..Plan::default() };
    assert_eq!(run(&plan, &Options::default()).failure, None);
    let failure = run(&plan, &Options { canary: true, ..Options::default() }).failure.expect("it must fail");
    assert_eq!((failure.class, failure.invariant.as_str()), (Class::Safety, "one vote"), "{}", failure.text);
}

#[test]
fn a_failing_plan_shrinks_to_what_it_fails_by() {
    let plan = Plan { actors: vec![(0, ActorKind::Equivocator)], ..short(7, 4) };
    let options = Options { canary: true, ..Options::default() };
    let lines = plan.schedule.len();
    let small = shrink(&plan, &options, 60).expect("the canary dies");
    assert!(small.plan.schedule.len() <= lines.min(1), "{}", small.plan.to_text());
    assert_eq!(small.plan.actors.len(), 1);
    let again = Plan::from_text(&small.plan.to_text()).unwrap();
    assert_eq!(run(&again, &options).failure.map(|failure| failure.invariant), Some(small.failure.invariant));
}

/// Seed 2838, shrunk: no disk took the birth record, and the restarted validator was told that its key had a log already.
#[test]
fn a_key_whose_log_could_not_be_begun_begins_it_later() {
    let text = "seed 2838\nview-timeout 500 8000\ntick 10\nlatency-us 500 2000\nload-us 7739\nclients 1\nheights 5\n\
                limit 29284\nat 11 broken 1 for 649\nat 747 broken 1 for 743\n";
    let plan = Plan::from_text(text).expect("a plan");
    assert_eq!(run(&plan, &Options::default()).failure, None);
}

/// Seed 1949, shrunk: a store falls back to the epoch before, and the log, which begins anew meanwhile, says again all that it
/// holds of the next one, an older ViewChange too.
#[test]
fn a_log_that_begins_anew_in_the_epoch_before_repeats_itself() {
    let report = changing(include_str!("plans/begins_anew.txt"));
    assert!(report.counts.get("crashes") > 0);
}

/// Seed 1661: a disk was full while a snapshot's manifest was written, and lost power; what it kept of it decoded, was taken for
/// whole, and its node refused to start. The same plan fetches and installs others.
#[test]
fn what_a_crash_keeps_of_a_manifest_is_none_and_others_are_installed() {
    let plan = Plan::from_text(include_str!("plans/torn_manifest.txt")).expect("a plan");
    let report = run(&plan, &Options::default());
    assert_eq!(report.failure, None);
    assert!(report.counts.get("snapshots fetched") > 0 && report.counts.get("snapshots installed") > 0);
}

/// Seed 5337: a node installed a snapshot and died before it had started; a check that did not know of it took what the node
/// said afterwards for votes above its window.
#[test]
fn who_dies_after_installing_a_snapshot_goes_on_from_it() {
    let plan = Plan::from_text(include_str!("plans/died_installing.txt")).expect("a plan");
    let report = run(&plan, &Options::default());
    assert_eq!(report.failure, None);
    assert!(report.counts.get("snapshots fetched") > report.counts.get("snapshots installed"));
}

/// Seed 9816: a log that began anew in epoch 1 no longer had the views of epoch 0, to which its store fell back.
#[test]
fn a_store_that_falls_back_to_the_epoch_before_a_logs_beginning_finds_its_views_there() {
    let plan = Plan::from_text(include_str!("plans/epoch_before.txt")).expect("a plan");
    assert_eq!(run(&plan, &Options::default()).failure, None);
}

/// Seed 13999: one machine is lost, and the three others lose power at once. Each had certificates in its log for blocks that
/// the others lacked, and stored none but the highest: nobody could give what it had.
#[test]
fn who_lost_power_together_give_one_another_what_each_has_in_its_log() {
    let plan = Plan::from_text(include_str!("plans/scattered_blocks.txt")).expect("a plan");
    assert_eq!(run(&plan, &Options::default()).failure, None);
}

/// Seed 16760: a node that had stood still learned of an epoch and read what had come before it in one turn. Peers' numbers
/// were still those of the epoch before, and it shut out one for speaking as another.
#[test]
fn who_reads_of_an_epoch_and_what_came_before_it_at_once_blames_nobody() {
    let plan = Plan::from_text(include_str!("plans/turned_in_one_turn.txt")).expect("a plan");
    assert_eq!(run(&plan, &Options::default()).failure, None);
}

/// Each actor must be seen to do something, and honest nodes must bear it.
#[test]
fn every_actor_acts_and_is_borne() {
    for kind in ActorKind::ALL {
        let mut acted = 0;
        for seed in 0..2 {
            let mut plan = Plan { actors: vec![(1, kind)], ..short(seed, 4) };
            plan.schedule.retain(|line| line.fault.kind() != "rot"); // one faulty validator is all that four bear
            plan.bear();
            let report = run(&plan, &Options::default());
            assert_eq!(report.failure, None, "{} in seed {seed}", kind.name());
            acted += report.counts.get(&format!("actor {}", kind.name()));
        }
        assert!(acted > 0, "{} did nothing", kind.name());
    }
}

/// Nothing goes wrong, and validators change.
fn changing(text: &str) -> epione_testnet::sim::Report {
    let plan = Plan::from_text(&format!("load-us 20000\nheights 60\n{text}")).expect("a plan");
    let report = run(&plan, &Options::default());
    assert_eq!(report.failure, None, "{text}");
    report
}

#[test]
fn a_machine_joins_and_what_follows_is_of_five() {
    for how in ["spare 4 of 4 at 0 listed", "spare 4 of 0 at 900"] {
        let report = changing(&format!("{how}\nat 300 join 4"));
        let counts = &report.counts;
        assert_eq!((counts.get("joined"), counts.get("changes begun"), counts.get("observers")), (1, 1, 1));
    }
}

#[test]
fn a_validator_leaves_and_follows() {
    let report = changing("at 300 leave 1");
    assert_eq!((report.counts.get("left"), report.counts.get("observers")), (1, 1));
}

#[test]
fn a_machine_takes_the_place_of_another_and_parameters_change() {
    let report = changing(
        "spare 4 of 2 at 0\nat 300 replace 2 by 4\nat 310 params window 3 view-timeout 300 4000 batch-txs 2",
    );
    let counts = &report.counts;
    assert_eq!(
        (counts.get("replaced"), counts.get("params changed"), counts.get("changes begun")),
        (1, 1, 2)
    );
}

#[test]
fn one_only_follows_and_has_the_same_ledger() {
    let report = changing("spare 4 of 4 at 500 listed");
    assert_eq!((report.counts.get("observers"), report.counts.get("changes begun")), (1, 0));
}
