//! Golden transcripts: a story in `scripts/NAME.txt`, told by the replicas in `transcripts/NAME.nN.txt`.
//!
//! A change of a transcript is a change of the protocol: read it, then bless it by hand with EPIONE_BLESS=1.
//!
//! | command | meaning |
//! |---|---|
//! | `cluster n=1,4,7` | run for each n |
//! | `propose WHO "text"` | WHO proposes a batch, if it may |
//! | `deliver` | messages arrive until none is under way |
//! | `cut WHO` / `heal` | messages from and to WHO are lost / nothing is lost |
//! | `lose KIND` / `lose KIND to WHO` | messages of this kind are lost (until `heal`) |
//! | `crash WHO` / `powercut WHO` | at once / at its next sync, which is lost |
//! | `restart WHO` | from log and store |
//! | `pending` / `served` | a transaction waits at every validator / none does |
//! | `pass MS` | time passes, messages arrive |
//! | `slow WHO` / `fast WHO` | execution stops / goes on |
//! | `trim WHO` | the log is rewritten to what still binds |
//! | `progress` | everything is healed and one more batch must be certified everywhere |
//!
//! WHO: numbers, `all`, `primary`, `backups`, `faulty` (the last f), or `rest` (all but those).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{Cluster, Packet};
use epione_consensus::{Kind, Message};

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Vote(vote) => match vote.vote.kind {
            Kind::PrePrepare => "PrePrepare",
            Kind::Prepare => "Prepare",
            Kind::Commit => "Commit",
            Kind::Seal => "Seal",
            Kind::Suspect => "Suspect",
        },
        Message::Proposal(..) => "PrePrepare",
        Message::Batch(_) => "Batch",
        Message::Commits(_) => "Commits",
        Message::Certificate(_) => "Certificate",
        Message::ViewChange(_) => "ViewChange",
        Message::NewView(_) => "NewView",
        Message::Status(_) => "Status",
    }
}

fn who(cluster: &Cluster, words: &[&str]) -> Vec<usize> {
    let n = cluster.n();
    let faulty = epione_types::quorum::faults(n);
    let primary =
        (0..n).filter(|i| cluster.up(*i)).map(|i| cluster.replica(i).waiting()).max_by_key(|w| w.view);
    let primary = primary.map_or(0, |waiting| waiting.primary.get());
    let mut found = Vec::new();
    for word in words {
        match *word {
            "all" => found.extend(0..n),
            "primary" => found.push(primary),
            "backups" => found.extend((0..n).filter(|i| *i != primary)),
            "faulty" => found.extend(n - faulty..n),
            "rest" => found.extend(0..n - faulty),
            number => found.push(number.parse().unwrap_or_else(|_| panic!("who is {number}?"))),
        }
    }
    found.retain(|i| *i < n);
    found
}

fn run(script: &str, n: usize) -> String {
    let mut cluster = Cluster::new(n);
    let mut transcript = String::new();
    let mut rules: Vec<(Option<&'static str>, Option<usize>)> = Vec::new();
    cluster.take_story();
    for line in
        script.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = &words[1..];
        match words[0] {
            "cluster" => continue,
            "propose" => {
                let text = line.split('"').nth(1).expect("a text in quotes");
                for i in who(&cluster, &rest[..1]) {
                    if cluster.propose(i, text).is_none() {
                        writeln!(transcript, "{line}\n  {i} has no opening").unwrap();
                    }
                }
            }
            "deliver" => cluster.settle(),
            "cut" => rules.extend(who(&cluster, rest).into_iter().map(|i| (None, Some(i)))),
            "lose" => {
                let kinds = [
                    "PrePrepare",
                    "Prepare",
                    "Commit",
                    "Seal",
                    "Suspect",
                    "Batch",
                    "Commits",
                    "Certificate",
                    "ViewChange",
                    "NewView",
                    "Status",
                ];
                let kind = kinds.into_iter().find(|kind| *kind == rest[0]).expect("a kind of message");
                let targets = if rest.len() > 1 { who(&cluster, &rest[2..]) } else { Vec::new() };
                if targets.is_empty() {
                    rules.push((Some(kind), None));
                }
                rules.extend(targets.into_iter().map(|i| (Some(kind), Some(i))));
            }
            "heal" => rules.clear(),
            "crash" => who(&cluster, rest).into_iter().for_each(|i| cluster.crash(i)),
            "powercut" => who(&cluster, rest).into_iter().for_each(|i| cluster.nodes[i].disk.cut = true),
            "restart" => who(&cluster, rest).into_iter().for_each(|i| cluster.restart(i)),
            "pending" => cluster.pending(true),
            "served" => cluster.pending(false),
            "pass" => cluster.tick(rest[0].parse().unwrap()),
            "slow" => who(&cluster, rest).into_iter().for_each(|i| cluster.nodes[i].slow = true),
            "fast" => who(&cluster, rest).into_iter().for_each(|i| {
                cluster.nodes[i].slow = false;
                cluster.execute(i);
            }),
            "trim" => who(&cluster, rest).into_iter().for_each(|i| cluster.trim(i)),
            "progress" => {
                rules.clear();
                cluster.must_progress();
            }
            other => panic!("unknown command {other}"),
        }
        let rules = rules.clone();
        cluster.lose = Box::new(move |(from, to, message): &Packet| {
            rules.iter().any(|rule| match rule {
                (None, Some(i)) => from == i || to == i,
                (Some(lost), None) => kind(message) == *lost,
                (Some(lost), Some(i)) => kind(message) == *lost && to == i,
                (None, None) => false,
            })
        });
        writeln!(transcript, "{line}").unwrap();
        for event in cluster.take_story() {
            writeln!(transcript, "  {event}").unwrap();
        }
    }
    transcript
}

#[test]
fn every_script_tells_its_golden_story() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let bless = std::env::var_os("EPIONE_BLESS").is_some();
    let mut scripts: Vec<_> =
        std::fs::read_dir(root.join("scripts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 3, "scripts are missing");
    let mut wrong = Vec::new();
    for path in scripts {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        let sizes =
            script.lines().find_map(|line| line.strip_prefix("cluster n=")).expect("a line `cluster n=...`");
        for n in sizes.split(',').map(|n| n.trim().parse::<usize>().unwrap()) {
            let golden = root.join("transcripts").join(format!("{name}.n{n}.txt"));
            let told = run(&script, n);
            if bless {
                std::fs::write(&golden, &told).unwrap();
            }
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            if told != expected {
                let line = told.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
                wrong.push(format!("{name} n={n} line {}: {:?}", line + 1, told.lines().nth(line)));
            }
        }
    }
    assert!(wrong.is_empty(), "transcripts differ (read, then EPIONE_BLESS=1):\n{}", wrong.join("\n"));
}
