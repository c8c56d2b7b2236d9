//! `epione sim` as a process: one seed, one trace, in every process; exit codes; a plan that is printed can be run.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_epione")).arg("sim").args(args).output().expect("epione runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn trace(output: &Output) -> String {
    text(output).lines().last().expect("a last line").to_owned()
}

const SMALL: [&str; 4] = ["--nodes", "4", "--heights", "8"];

#[test]
fn two_processes_print_the_same_trace_with_lines_or_without() {
    let run = |more: &[&str]| sim(&[&["--seed", "3"], &SMALL[..], more].concat());
    let (one, two, lines) = (run(&[]), run(&[]), run(&["--trace"]));
    assert_eq!(one.status.code(), Some(0), "{}", text(&one));
    assert!(trace(&one).starts_with("trace "), "{}", text(&one));
    assert_eq!(trace(&one), trace(&two));
    assert_eq!(trace(&one), trace(&lines));
    assert!(text(&lines).lines().count() > 1_000, "a line for each transition");
}

#[test]
fn many_seeds_give_the_same_with_one_thread_and_with_two() {
    let run = |jobs| sim(&[&["--seeds", "4", "--jobs", jobs], &SMALL[..]].concat());
    let (one, two) = (run("1"), run("2"));
    assert_eq!(one.status.code(), Some(0), "{}", text(&one));
    assert_eq!(trace(&one), trace(&two));
}

#[test]
fn a_printed_plan_runs_from_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan");
    let printed = sim(&[&["--seed", "5", "--print-schedule"], &SMALL[..]].concat());
    std::fs::write(&file, &printed.stdout).expect("written");
    let path = file.to_str().expect("a path");
    assert_eq!(trace(&sim(&["--faults", path])), trace(&sim(&[&["--seed", "5"], &SMALL[..]].concat())));
}

#[test]
fn a_failure_says_what_it_is_and_how_to_see_it_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan");
    std::fs::write(&file, "actor 0 equivocator\nheights 20\n").expect("written");
    let path = file.to_str().expect("a path");
    let output = sim(&["--faults", path, "--canary", "--no-shrink"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    for word in [
        "FAILED (safety): one vote",
        "schedule:",
        "last transitions:",
        "replay: epione sim --seed 0 --faults",
    ] {
        assert!(text(&output).contains(word), "{word:?} is missing in:\n{}", text(&output));
    }
    assert!(trace(&output).starts_with("trace "));
    let json = sim(&["--faults", path, "--canary", "--json"]);
    let value: serde_json::Value =
        serde_json::from_str(text(&json).lines().last().expect("a line")).expect("JSON");
    assert_eq!(value["failure"]["class"], "safety");
}

#[test]
fn a_plan_that_means_nothing_is_refused_with_its_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan");
    std::fs::write(&file, "nodes 4\nat 3 tickle 2 for 9\n").expect("written");
    let output = sim(&["--faults", file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"), "{output:?}");
}
