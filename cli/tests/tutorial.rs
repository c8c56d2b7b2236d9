//! `docs/tutorial.md`, followed literally: every `sh` block in order, in one shell, and what is shown must be printed.
//!
//! Ids, heights and times differ from run to run; everything else that a `text` block shows must come in that order
//! from the block of commands above it, with other lines between. Blocks `sh python` and `sh typescript` install what
//! they need from the network, so only the ignored test (`.ci/run`) runs them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::Path;
use std::process::Command;

use epione_testnet::local;
use support::{EPIONE, command, finish};

/// A block of commands, and what it shows.
#[derive(Debug, Default)]
struct Step {
    commands: String,
    shown: Vec<String>,
    /// Installs things from the network.
    other_language: bool,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match kind {
            "sh" | "sh python" | "sh typescript" => {
                steps.push(Step {
                    commands: block.join("\n") + "\n",
                    other_language: kind != "sh",
                    ..Step::default()
                });
            }
            "text" => steps.last_mut().unwrap().shown.extend(block.into_iter().map(same_each_time)),
            "bash" => {}
            _ => panic!("```{kind}: a tutorial has blocks of sh, text and bash"),
        }
    }
    steps
}

/// A line without what differs from run to run, and without the width of columns.
fn same_each_time(line: &str) -> String {
    let word = |(place, word): (usize, &str)| {
        let ids = word.split([':', '/']).filter(|part| part.len() >= 32);
        let is_id = ids.clone().count() > 0 && ids.flat_map(str::bytes).all(|b| b.is_ascii_hexdigit());
        let is_time = word.len() == 20 && word.ends_with('Z');
        let is_height = word.bytes().all(|b| b.is_ascii_digit())
            && (place == 0 || line.contains("height") || line.contains("block "));
        if is_id || is_time || is_height { "*".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// Whatever the tutorial leaves running ends with the test.
struct Folder(tempfile::TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Ok((_, state)) = local::look(&self.0.path().join("first-hour/.epione-testnet")) {
            for process in state.nodes.iter().filter_map(|node| node.process.as_ref()) {
                let _gone = process.kill();
            }
        }
    }
}

fn follow(steps: &[Step]) {
    let folder = Folder(tempfile::tempdir().unwrap());
    let mut script = "exec 2>&1\n".to_owned();
    for (i, step) in steps.iter().enumerate() {
        script += &format!("echo '@@ {i}'\n{}", step.commands);
    }
    let path = [Path::new(EPIONE).parent().unwrap().to_owned()].into_iter();
    let path = std::env::join_paths(path.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.0.path());
    // As the binary's other tests: nothing of the environment speaks for the user.
    for (name, value) in command(&[]).get_envs() {
        assert!(value.is_none());
        shell.env_remove(name);
    }
    shell.env("PATH", path.unwrap()).env("REPO", concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = finish(&mut shell);
    let mut printed = output.stdout.split("@@ ").skip(1);
    for (i, step) in steps.iter().enumerate() {
        let printed = printed.next().unwrap_or_else(|| panic!("ended before: {step:#?}\n{output:#?}"));
        assert!(printed.starts_with(&format!("{i}\n")), "{printed}");
        let mut lines = printed.lines().map(same_each_time);
        for shown in step.shown.iter().filter(|line| !line.is_empty()) {
            assert!(
                lines.any(|line| line == *shown),
                "the tutorial shows '{shown}' after\n{}and this was printed:\n{printed}",
                step.commands
            );
        }
    }
    assert_eq!(output.exit, 0, "{}", output.stdout);
}

fn tutorial() -> Vec<Step> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md");
    let steps = steps(&std::fs::read_to_string(path).unwrap());
    let shown: usize = steps.iter().map(|step| step.shown.len()).sum();
    assert!(steps.len() >= 15 && shown >= 30, "{} steps, {shown} lines shown", steps.len());
    steps
}

#[test]
fn every_command_of_the_tutorial_works_as_it_stands() {
    let mut steps = tutorial();
    steps.retain(|step| !step.other_language);
    follow(&steps);
}

#[test]
#[ignore = "installs from PyPI and npm"]
fn and_the_same_from_python_and_typescript() {
    follow(&tutorial());
}
