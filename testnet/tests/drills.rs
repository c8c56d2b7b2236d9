//! The drills in virtual time: each plays to its end, and one whose requirement does not hold fails there.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use epione_testnet::drill::{DRILLS, Drill};
use epione_testnet::sim::drill::{Report, only_real, run};
use epione_testnet::sim::{Class, Options};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_drill_but_those_of_a_stores_files_plays_to_its_end() {
    let mut real = Vec::new();
    for (name, text) in DRILLS {
        let drill = Drill::from_text(name, text).unwrap();
        if let Some(line) = only_real(&drill) {
            assert!(run(&drill, 1, PATIENCE, &Options::default()).unwrap_err().contains(line), "{name}");
            real.push(*name);
            continue;
        }
        let report = run(&drill, 1, PATIENCE, &Options::default()).unwrap();
        assert_eq!(report.failure, None, "{name}: {:#?}", report.played);
        assert_eq!(report.played.told.len(), drill.steps.len(), "{name}");
    }
    assert_eq!(real, ["corrupt-store", "corrupt-page"]);
    let words = Drill::from_text("words", "require sound 2 \"found damage\"").unwrap();
    assert!(only_real(&words).is_some(), "nobody looks at what is printed");
}

/// What a drill fails with, which it must, and not because of the nodes.
fn fails(text: &str) -> String {
    let drill = Drill::from_text("test", text).unwrap();
    let report = run(&drill, 1, Duration::from_secs(5), &Options::default()).unwrap();
    let failure = report.failure.unwrap_or_else(|| panic!("it passes: {:#?}", report.played));
    assert_eq!((failure.class, failure.invariant.as_str()), (Class::Liveness, "drill"), "{failure:?}");
    failure.text
}

#[test]
fn a_requirement_that_does_not_hold_fails_the_drill_at_its_line() {
    let said = [
        (
            "kill 0\nkill 1\nrequire progress",
            "require progress: not within 5 s: a submission is not certified",
        ),
        ("kill all\nrequire progress", "require progress: not within 5 s: no node answers"),
        ("kill 0\nkill 1\nawait 1000", "await 1000: not within 5 s: "),
        ("require standstill 3", "require standstill 3: not within 5 s: certified heights change"),
        ("freeze 1\nfreeze 2\nrequire standstill 3", "certified heights change: [Some("),
        (
            "slow primary by 1\nrequire other primary",
            "require other primary: not within 5 s: the primary is Some(0)",
        ),
        ("kill 2\nrequire back 2", "require back 2: node 2 does not run: it was stopped"),
        ("freeze 2\nrequire back 2", "require back 2: not within 5 s: node 2 does not answer"),
        ("full 2\nrequire silent 2\nrequire back 2", "require back 2: not within 5 s: node 2 does not vote"),
        ("require silent 1", "require silent 1: not within 5 s: node 1 still votes"),
        ("freeze 1\nrequire silent 1", "require silent 1: not within 5 s: node 1 does not answer"),
        ("leave 1\nrequire silent 1", "require silent 1: not within 5 s: node 1 still votes"),
        ("leave 1\nleave 1", "leave 1: node 1 has left already"),
        ("kill 0\nkill 1\nleave 3", "leave 3: not within 5 s: the change is not decided"),
        (
            "kill 2\nstart 2\nrequire refusal 2 \"a\"",
            "require refusal 2 \"a\": not within 5 s: node 2 refuses nothing",
        ),
        (
            "kill 2\nwipe 2 log\nstart 2\nrequire refusal 2 \"why not\"",
            "node 2 does not say \"why not\": there is no consensus log",
        ),
        (
            "kill 2\ndamage 2 log\nstart 2\nrequire refusal 2 \"is damaged\"\nwipe 2 log\nstart 2\n\
             require refusal 2 \"is damaged\"",
            "node 2 does not say \"is damaged\": there is no consensus log",
        ),
        (
            "kill 2\nwipe 2 log\nstart 2\nawait 5\nrequire back 2",
            "require back 2: node 2 does not run: there is no consensus log",
        ),
        ("require advice 1 \"dance\"", "require advice 1 \"dance\": not within 5 s: node 1 advises: "),
        ("require sound 1 \"installing a snapshot\"", "node 1 has installed no snapshot"),
        ("kill 2\nkill 2", "kill 2: node 2 does not run"),
        ("start 2", "start 2: node 2 runs: kill it first"),
        ("kill 2\nfreeze 2", "freeze 2: node 2 does not run"),
        ("wipe 2 log", "wipe 2 log: node 2 runs: kill it first"),
        ("damage 2 log", "damage 2 log: node 2 runs: kill it first"),
        ("kill 2", "in the end: not within 5 s: node 2 does not answer"),
        ("partition {1}|{others}\nawait 10", "in the end: not within 5 s: node 1 has"),
        ("full 2\nawait 20", "in the end: not within 5 s: node 2 has"),
        // The second partition takes the place of the first: three of four hear one another.
        ("partition {0}|{others}\npartition {1}|{others}\nrequire standstill 3", "certified heights change"),
    ];
    for (text, why) in said {
        let text = format!("disk 2 64\nawait 10\n{text}");
        let found = fails(&text);
        assert!(found.contains(why), "{text}\n{found}");
    }
}

#[test]
fn a_seed_is_one_run_and_another_seed_another() {
    let (name, text) = DRILLS[0];
    let drill = Drill::from_text(name, text).unwrap();
    let trace = |seed| -> Report { run(&drill, seed, PATIENCE, &Options::default()).unwrap() };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7).trace, trace(8).trace);
}
