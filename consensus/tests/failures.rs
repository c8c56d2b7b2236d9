//! docs/failures.md answers everything that it has to, and names nothing that is not there.
#![allow(clippy::unwrap_used, reason = "a test may panic; that is how it fails")]
#![expect(clippy::disallowed_methods, reason = "the page and the sources are files")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/failures.md")).unwrap()
}

/// What stands between backquotes and looks like a file of ours, perhaps with a test in it.
fn named(page: &str) -> Vec<&str> {
    let ends = [".rs", ".txt", ".toml", ".md", ".py", ".sh"];
    let file = |name: &&str| {
        let file = name.split("::").next().unwrap_or_default();
        file.contains('/') && ends.iter().any(|end| file.ends_with(end))
    };
    page.split('`').skip(1).step_by(2).filter(file).collect()
}

#[test]
fn every_named_file_and_test_exists() {
    let page = page();
    let named = named(&page);
    assert!(named.len() > 100, "{} names", named.len());
    for name in named {
        let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
        let text = std::fs::read_to_string(root().join(file));
        let text = text.unwrap_or_else(|_| panic!("{name}: no such file"));
        if let Some(test) = test {
            // A star stands for the rest of a name.
            let wanted = match test.strip_suffix('*') {
                Some(start) => format!("fn {start}"),
                None => format!("fn {test}("),
            };
            assert!(text.contains(&wanted), "{name}: no such test in the file");
        }
    }
}

#[test]
fn every_row_pattern_and_story_is_answered() {
    let page = page();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let begins = |start: &str| headings.iter().any(|heading| heading.starts_with(start));
    for row in 1..=18 {
        assert!(begins(&format!("{row}. ")), "row {row}");
    }
    for pattern in ["(a) ", "(b) ", "(c) "] {
        assert!(begins(pattern), "pattern {pattern}");
    }
    for story in 1..=10 {
        assert!(begins(&format!("O{story}. ")), "story O{story}");
    }
    // Each answer says what stops it, and what catches it or why there is nothing to catch.
    for answer in page.split("\n### ").skip(1) {
        let heading = answer.lines().next().unwrap_or_default();
        assert!(answer.contains("*Here.*"), "{heading}: what stops it?");
        assert!(
            answer.contains("*Caught by.*") || answer.contains("*Cannot happen.*"),
            "{heading}: what catches it?"
        );
    }
}

/// A check that a release build leaves out guards nothing (row 4).
#[test]
fn no_rule_is_left_to_a_check_that_a_release_leaves_out() {
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for part in ["types", "consensus", "ledger", "chaincode", "proto", "node"] {
        sources(&root().join(part).join("src"), &mut files);
    }
    assert!(files.len() > 60, "{} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(concat!("debug_", "assert")), "{}", file.display());
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let release = manifest.split("[profile.release]").nth(1).unwrap();
    assert!(release.trim_start().starts_with("overflow-checks = true"), "numbers wrap in a release");
}
