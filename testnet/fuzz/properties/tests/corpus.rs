//! Every input that was ever worth keeping still passes, with any toolchain.
#![allow(clippy::unwrap_used, reason = "a test may panic; that is how it fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use epione_fuzz::{Outcome, TARGETS, seeds};

/// A corpus is read by people and cloned by everybody.
const FILES_MAX: usize = 300;
const FILE_BYTES_MAX: u64 = 4 << 10;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut seen = BTreeSet::new();
    for input in seeds(target) {
        seen.insert(check(&input));
    }
    let files = corpus(target);
    assert!((20..=FILES_MAX).contains(&files.len()), "{} files", files.len());
    for file in files {
        assert!(file.metadata().unwrap().len() <= FILE_BYTES_MAX, "{}", file.display());
        println!("{}", file.display()); // the last one shown is the one that fails
        seen.insert(check(&std::fs::read(&file).unwrap()));
    }
    assert_eq!(seen.len(), 2, "{target}: both {:?} and {:?}", Outcome::Refused, Outcome::Accepted);
}

#[test]
fn frames() {
    replay("frames");
}
#[test]
fn blocks() {
    replay("blocks");
}
#[test]
fn log() {
    replay("log");
}
#[test]
fn replica() {
    replay("replica");
}
#[test]
fn bodies() {
    replay("bodies");
}
#[test]
fn fhir() {
    replay("fhir");
}
#[test]
fn config() {
    replay("config");
}

#[test]
fn every_target_has_its_file_and_its_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fuzz.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets"), targets);
    assert_eq!(names("corpus"), targets);
}
