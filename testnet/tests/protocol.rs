//! docs/protocol.md and the code are one: each rule is marked where it is enforced, and has a test of its number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// All sources below these folders, as one text.
fn sources(dirs: &[&str]) -> String {
    let mut files = Vec::new();
    dirs.iter().for_each(|dir| rust_files(&root().join(dir), &mut files));
    files.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect()
}

/// Numbers that follow this mark where a word begins.
fn numbers(text: &str, mark: &str) -> BTreeSet<u32> {
    let within_word = |char: char| char.is_alphanumeric() || char == '_';
    let begins = |at: &usize| !text[..*at].ends_with(within_word);
    let number = |at: usize| {
        let rest = &text[at + mark.len()..];
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let whole = !rest[end..].starts_with(char::is_alphabetic);
        if whole { rest[..end].parse().ok() } else { None }
    };
    text.match_indices(mark).map(|(at, _)| at).filter(begins).filter_map(number).collect()
}

fn rules() -> BTreeSet<u32> {
    let text = std::fs::read_to_string(root().join("docs/protocol.md")).expect("the protocol");
    let rules: BTreeSet<u32> =
        text.match_indices("**R").flat_map(|(at, _)| numbers(&text[at + 2..at + 6], "R")).collect();
    assert_eq!(rules.iter().max(), Some(&31), "{rules:?}");
    rules
}

#[test]
fn every_rule_is_stated() {
    let stated = rules();
    assert_eq!((1..=31).filter(|rule| !stated.contains(rule)).collect::<Vec<_>>(), Vec::<u32>::new());
}

#[test]
fn every_rule_is_marked_in_the_code() {
    let marked =
        numbers(&sources(&["types/src", "consensus/src", "ledger/src", "chaincode/src", "node/src"]), "R");
    assert_eq!(rules().difference(&marked).collect::<Vec<_>>(), Vec::<&u32>::new());
}

#[test]
fn every_rule_has_a_test_of_its_number() {
    let tested = numbers(
        &sources(&["types", "consensus/tests", "ledger/tests", "chaincode/tests", "node/tests"]),
        "fn r",
    );
    assert_eq!(rules().difference(&tested).collect::<Vec<_>>(), Vec::<&u32>::new());
}
