//! Drills as an operator runs them: four quick ones, and proof that a drill can fail.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::Path;

use support::{Output, arg, command, epione, eventually, finish, processes_of};

/// Runs drills with their temporary folders in this one; nothing of them stays.
fn drill(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(&[&["testnet", "drill"], args].concat());
    let output = finish(command.env("TMPDIR", folder));
    eventually("no node stays", || processes_of(folder).is_empty());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "a network's folder stays: {output:?}");
    output
}

#[test]
fn four_drills_pass_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["kill-primary", "freeze", "partition", "corrupt-log"];
    let output = drill(folder.path(), &[&names[..], &["--wait", "120", "--json"]].concat()).ok();
    println!("{}", output.stderr);
    let rows = output.json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), names.len());
    for (row, name) in rows.iter().zip(names) {
        assert_eq!(
            (&row["drill"], &row["passed"], &row["lost"]),
            (&name.into(), &true.into(), &"nothing".into()),
            "{row}"
        );
        assert!(row["failure"].is_null() && row["broken"].as_array().unwrap().is_empty(), "{row}");
        assert!(row["committed"].as_u64().unwrap() >= 40 && row["recovery_ms"].as_u64().is_some(), "{row}");
        assert!(!row["ways"].as_array().unwrap().is_empty(), "which way it was done: {row}");
        let out: &[&str] = if name == "corrupt-log" { &["2"] } else { &[] };
        assert_eq!(row["out"], serde_json::json!(out), "{row}");
    }
}

/// A check that cannot fail is none.
#[test]
fn what_does_not_hold_fails_the_drill() {
    let beside = tempfile::tempdir().unwrap();
    // On a machine that does other things too: none of them can come true, however slow it is.
    let cases = [
        (
            "progress",
            "3",
            "kill 1\nkill 2\nrequire progress",
            "require progress: a submission is not certified",
        ),
        (
            "standstill",
            "3",
            "require standstill 60",
            "require standstill 60: not within 3 s: certified heights",
        ),
        ("back", "3", "kill 2\nstart 2\nfreeze 2\nrequire back 2", "require back 2: not within 3 s: node 2"),
        ("ended", "60", "kill 2\nrequire back 2", "require back 2: node 2 has ended by itself"),
        ("refusal", "3", "require refusal 2 \"no\"", "node 2 runs and refuses nothing"),
        (
            "words",
            "60",
            "kill 2\ndamage 2 log\nstart 2\nrequire refusal 2 \"all is well\"",
            "ended without saying",
        ),
        ("other", "3", "slow all by 0\nrequire other primary", "is still the primary"),
        ("silent", "3", "require silent 2", "require silent 2: not within 3 s"),
        ("advice", "3", "require advice 2 \"it may be switched off\"", "not within 3 s: node 2 advises"),
        ("sound", "20", "require sound 2 \"found damage\"", "and has not said \"found damage\""),
        ("left", "60", "leave 1\nleave 1", "leave 1: node 1 has left already"),
        ("end", "10", "await 1\nkill 2", "in the end: not within 10 s: node 2"),
    ];
    for (name, wait, text, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = beside.path().join(format!("{name}.txt"));
        std::fs::write(&file, text).unwrap();
        let output = drill(folder.path(), &["--file", arg(&file), "--wait", wait]).fails(1, &[]);
        let (told, note) = (format!("{name}: FAIL"), format!("1 of 1 failed: {name}"));
        for word in [words, &told, &note] {
            assert!(output.stdout.contains(word), "'{word}' is not in: {output:?}");
        }
    }
}

#[test]
fn drills_are_listed_and_what_is_none_is_refused() {
    let rows = epione(&["testnet", "drill", "--list", "--json"]).ok().json();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() >= 13 && rows.iter().any(|row| row["drill"] == "kill-primary"), "{rows:?}");
    epione(&["testnet", "drill"]).fails(2, &["--all"]);
    epione(&["testnet", "drill", "kill-everybody"]).fails(2, &["no drill kill-everybody", "--list"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.txt");
    std::fs::write(&file, "await 1\nlossy 50\n").unwrap();
    epione(&["testnet", "drill", "--file", arg(&file)]).fails(2, &["line 2", "`lossy` is for the simulator"]);
    std::fs::write(&file, "nodes 4\nkill primary\n").unwrap();
    epione(&["sim", "--faults", arg(&file)]).fails(2, &["line 2", "`kill` is a step of a drill"]);
}
