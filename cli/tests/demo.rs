//! The demo as a process: it works, and whatever way it ends, no node and no folder stays.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::{Running, command, eventually, finish, processes_of, signal};

fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = command(&[&["demo", "--json"], args].concat());
    command.env("TMPDIR", temporary);
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_demo_tells_the_whole_story() {
    let temporary = tempfile::tempdir().unwrap();
    let output = finish(&mut demo(temporary.path(), &[])).ok();
    let told = output.json();
    assert_eq!(output.stdout.lines().count(), 1, "only the object is on standard output");
    assert_eq!(told["ok"], true);
    assert_eq!(told["hospitals"], 4);
    assert_eq!(told["patients"], 40);
    assert!(told["records"].as_u64().unwrap() > 400);
    assert_eq!(told["refused"], 0);
    let accesses: Vec<&str> =
        told["accesses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let decisions: Vec<&str> = accesses.iter().map(|one| one.rsplit(' ').next().unwrap()).collect();
    assert_eq!(decisions, ["DENY", "PERMIT", "DENY", "PERMIT"]);
    assert_eq!(told["emergency_overrides"], 1);
    assert!(told["view_after"].as_u64() > told["view_before"].as_u64());
    assert_eq!(told["receipt_verified_offline"], true);
    assert_eq!(told["receipt_with_a_bit_flipped"], "refused");
    assert!(told["height"].as_u64() > told["load_height"].as_u64());
    let roots = told["state_roots"].as_array().unwrap();
    assert!(roots.len() == 4 && roots.iter().all(|root| *root == told["state_root"]));
    assert!(is_empty(temporary.path()));
    assert_eq!(processes_of(temporary.path()), Vec::<String>::new());
}

/// Starts a demo and reads its progress until all nodes run.
fn started(temporary: &Path) -> Running {
    let mut child =
        Running(demo(temporary, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("enrolled a doctor")),
        "the demo did not get as far as its doctors"
    );
    assert_eq!(processes_of(temporary).len(), 4);
    // Its later words go nowhere, but must not stop it.
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = started(temporary.path());
    signal(&child.0, Signal::INT);
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
    assert_eq!(processes_of(temporary.path()), Vec::<String>::new());
    assert!(is_empty(temporary.path()));
}

#[test]
fn even_sigkill_leaves_no_process_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = started(temporary.path());
    signal(&child.0, Signal::KILL);
    child.0.wait().unwrap();
    eventually("the nodes notice that nobody holds their pipe", || processes_of(temporary.path()).is_empty());
}

#[test]
fn bundles_that_cannot_be_read_end_the_demo_before_any_process_starts() {
    let temporary = tempfile::tempdir().unwrap();
    let bundles = tempfile::tempdir().unwrap();
    let path = bundles.path().to_str().unwrap();
    finish(&mut demo(temporary.path(), &["--bundles", path])).fails(1, &["no .json file"]);
    std::fs::write(bundles.path().join("one.json"), "{\"resourceType\": \"Bundle\"").unwrap();
    let refused = finish(&mut demo(temporary.path(), &["--bundles", path])).fails(1, &["bundle 1 of 1"]);
    assert!(!refused.stderr.contains("come up"), "{}", refused.stderr);
    finish(&mut demo(temporary.path(), &["--bundles", "/nowhere"])).fails(2, &["/nowhere"]);
    assert!(is_empty(temporary.path()));
}
