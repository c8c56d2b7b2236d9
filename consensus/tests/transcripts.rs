//! Golden transcripts: a story in `scripts/NAME.txt`, told by n replicas in `transcripts/NAME.nN.txt`.
//!
//! A change of a transcript is a change of the protocol: read it, then bless it by hand with EPIONE_BLESS=1, which
//! rewrites the files and fails.
//!
//! | command | meaning |
//! |---|---|
//! | `propose WHO "text"` | WHO proposes a batch, if it may |
//! | `load NUMBER` | the primary proposes so many batches, each delivered before the next |
//! | `deliver` | messages arrive until none is under way |
//! | `lose KIND [from WHO] [to WHO]` | messages of this kind are lost; `Blocks` are answers to who fetches blocks |
//! | `cut WHO` / `heal` | messages from and to WHO are lost / nothing is lost any more |
//! | `reconnect` | everybody tells everybody where it is, and what is lacking arrives |
//! | `crash WHO` / `powercut WHO` | at once / at its next sync, which is lost |
//! | `restart WHO` / `forget WHO` | from log and store / the store comes back as it was at genesis |
//! | `pending [WHO]` / `served` | a transaction waits at every validator, or at WHO alone / at none |
//! | `pass MS` | time passes, messages arrive |
//! | `slow WHO` / `fast WHO` | execution stops / goes on |
//! | `alter WHO` | its execution gives other headers from now on |
//! | `trim WHO` | the log is rewritten to what still binds |
//! | `twin NUMBER` | a second live copy of a validator, called NUMBER' |
//! | `forge PrePrepare by WHO v=V h=H to WHO` | a proposal signed with WHO's key by somebody |
//! | `forge Prepare by WHO v=V h=H to WHO` | a Prepare of what was proposed there, likewise |
//! | `progress` | everything is healed and one more batch must be certified everywhere |
//!
//! WHO is a list of: a number, `q-1`, `n-f` and the like, a range `a..b` of these (both ends included), `2'` (a twin),
//! `all`, `primary`, `backups`, `faulty` (the last f), `rest` (all but those); `-WHO` takes one away again.
#![expect(clippy::disallowed_methods, reason = "scripts and transcripts are files")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::{Cluster, Packet, v};
use epione_consensus::{Kind, Message, Vote};
use epione_types::{Epoch, Height, View};

/// Every size that the protocol treats differently: f = 0, 1, 1, 1, 2, 3 and quorums that are and are not 2f+1.
const ALL: &[usize] = &[1, 4, 5, 6, 7, 10];
/// A lone validator has nobody to hear from: no message to lose, no view to change, no peer to fetch from or to lie.
const TOGETHER: &[usize] = &[4, 5, 6, 7, 10];

/// Every script, and the sizes at which it makes sense. A script that is missing here, or there, fails.
const SCRIPTS: &[(&str, &[usize])] = &[
    ("altered_replay", TOGETHER), // alone, nobody is left to go on: tests/rules.rs, r13
    ("base_below_low", TOGETHER),
    ("behind_window", TOGETHER),
    ("below_base", TOGETHER),
    ("certified_unsynced", TOGETHER), // alone, the Seal and the certificate are one sync: powercut_before_sync
    ("committed_at_one", TOGETHER),
    ("gap_becomes_null", TOGETHER),
    ("hidden_certificate", TOGETHER),
    ("lone_forward", TOGETHER),
    ("new_view_lost", TOGETHER),
    ("normal", ALL),
    ("one_false_suspect", TOGETHER),
    ("one_view_ahead", TOGETHER),
    ("powercut_before_sync", ALL),
    ("primary_also_prepares", TOGETHER),
    ("primary_first_to_checkpoint", TOGETHER),
    ("restart_after_new_view", TOGETHER),
    ("restart_all", ALL),
    ("restart_one", ALL),
    ("seals_lost", TOGETHER),
    ("shown_to_some", TOGETHER),
    ("shown_to_too_few", TOGETHER),
    ("slow_executors", ALL),
    ("three_states", TOGETHER),
    ("twin_primary", TOGETHER),
    ("unsent_proposal", TOGETHER),
    ("view_change", ALL),
    ("view_change_unprepared", TOGETHER),
    ("window_full", TOGETHER),
];

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

const KINDS: [&str; 11] = [
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

/// Which packets are lost: of this kind, from and to these; none means any.
#[derive(Clone)]
struct Rule {
    kind: Option<&'static str>,
    from: Option<BTreeSet<usize>>,
    to: Option<BTreeSet<usize>>,
}

impl Rule {
    fn takes(&self, (from, to, message): &Packet) -> bool {
        self.kind.is_none_or(|lost| lost == kind(message))
            && self.from.as_ref().is_none_or(|who| who.contains(from))
            && self.to.as_ref().is_none_or(|who| who.contains(to))
    }
}

/// A number: `3`, or n, f, q with a sum after it, as in `q-1` and `n-f+1`.
fn number(cluster: &Cluster, text: &str) -> usize {
    let n = cluster.n();
    let mut sum = 0i64;
    for term in text.replace('-', "+-").split('+').filter(|term| !term.is_empty()) {
        let (sign, name) = term.strip_prefix('-').map_or((1, term), |name| (-1, name));
        let value = match name {
            "n" => n,
            "f" => epione_types::quorum::faults(n),
            "q" => epione_types::quorum::quorum(n),
            digits => digits.parse().unwrap_or_else(|_| panic!("what number is {text}?")),
        };
        sum += sign * i64::try_from(value).unwrap();
    }
    usize::try_from(sum).unwrap()
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
            "all" => found.extend(0..cluster.nodes.len()),
            "primary" => found.push(primary),
            "backups" => found.extend((0..n).filter(|i| *i != primary)),
            "faulty" => found.extend(n - faulty..n),
            "rest" => found.extend(0..n - faulty),
            word => {
                if let Some(not) = word.strip_prefix('-') {
                    let not = who(cluster, &[not]);
                    found.retain(|i| !not.contains(i));
                } else if let Some(of) = word.strip_suffix('\'') {
                    let of = number(cluster, of);
                    found.extend((n..cluster.nodes.len()).filter(|i| cluster.nodes[*i].identity == of));
                } else if let Some((first, last)) = word.split_once("..") {
                    found.extend(number(cluster, first)..=number(cluster, last));
                } else {
                    found.push(number(cluster, word));
                }
            }
        }
    }
    found.retain(|i| *i < cluster.nodes.len());
    found
}

/// `word`'s list: what stands between it and the next of `keywords`.
fn after<'a>(words: &'a [&'a str], word: &str, keywords: &[&str]) -> Option<&'a [&'a str]> {
    let start = words.iter().position(|one| *one == word)? + 1;
    let length = words[start..].iter().take_while(|one| !keywords.contains(one)).count();
    Some(&words[start..start + length])
}

/// A cluster and what is lost in it.
struct Stage {
    cluster: Cluster,
    rules: Vec<Rule>,
}

impl Stage {
    fn new(n: usize) -> Self {
        let mut cluster = Cluster::new(n);
        cluster.take_story();
        Self { cluster, rules: Vec::new() }
    }

    fn heal(&mut self) {
        self.rules.clear();
        self.cluster.unserved.clear();
    }

    fn lose(&mut self, words: &[&str]) {
        let cluster = &mut self.cluster;
        let set = |word| after(words, word, &["from", "to"]).map(|list| who(cluster, list));
        let (from, to) = (set("from"), set("to"));
        if words[0] == "Blocks" {
            return cluster.unserved.extend(to.expect("`lose Blocks to WHO`"));
        }
        let lost = KINDS.into_iter().find(|kind| *kind == words[0]).expect("a kind of message");
        let set = |list: Option<Vec<usize>>| list.map(|list| list.into_iter().collect());
        self.rules.push(Rule { kind: Some(lost), from: set(from), to: set(to) });
    }

    /// Somebody speaks with a validator's key.
    fn forge(&mut self, words: &[&str]) {
        let cluster = &mut self.cluster;
        let field =
            |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).unwrap().parse::<u64>();
        let (view, height) = (View(field("v=").unwrap()), Height(field("h=").unwrap()));
        let by = number(cluster, after(words, "by", &[]).unwrap()[0]);
        let to = who(cluster, after(words, "to", &[]).unwrap());
        cluster.byzantine.insert(by);
        let (kind, batch) = match words[0] {
            "PrePrepare" => (Kind::PrePrepare, Some(cluster.batch(by, "forged"))),
            "Prepare" => (Kind::Prepare, None),
            other => panic!("cannot forge {other}"),
        };
        let proposed = cluster.sent.iter().rev().find_map(|(_, _, message)| match message {
            Message::Proposal(vote, _) if (vote.vote.view, vote.vote.height) == (view, height) => {
                Some(vote.vote.digest)
            }
            _ => None,
        });
        let digest = batch.as_ref().map_or_else(|| proposed.unwrap(), |batch| batch.digest());
        let vote = Vote { kind, epoch: Epoch::ZERO, view, height, digest };
        let vote = vote.sign(cluster.chain_id, v(by), &*cluster.signer(by));
        let message = match batch {
            Some(batch) => Message::Proposal(vote, Some(batch.bytes().clone())),
            None => Message::Vote(vote),
        };
        for i in to {
            cluster.receive(i, message.clone()).unwrap();
        }
    }

    /// Performs one line; what is to be told before the story of it.
    fn perform(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, rest) = (words[0], &words[1..]);
        let cluster = &mut self.cluster;
        let named = |cluster: &Cluster| who(cluster, rest);
        let mut notes = Vec::new();
        match command {
            "propose" => {
                let text = line.split('"').nth(1).expect("a text in quotes");
                for i in who(cluster, &rest[..1]) {
                    if cluster.propose(i, text).is_none() {
                        notes.push(format!("{i} has no opening"));
                    }
                }
            }
            "load" => {
                for at in 1..=number(cluster, rest[0]) {
                    let primary = who(cluster, &["primary"])[0];
                    if cluster.propose(primary, &at.to_string()).is_none() {
                        notes.push(format!("{primary} has no opening for the {at}th"));
                        break;
                    }
                    cluster.settle();
                }
            }
            "deliver" => cluster.settle(),
            "cut" => {
                let set: BTreeSet<usize> = named(cluster).into_iter().collect();
                self.rules.push(Rule { kind: None, from: Some(set.clone()), to: None });
                self.rules.push(Rule { kind: None, from: None, to: Some(set) });
            }
            "lose" => self.lose(rest),
            "heal" => self.heal(),
            "reconnect" => cluster.reconnect(),
            "crash" => named(cluster).into_iter().for_each(|i| cluster.crash(i)),
            "powercut" => named(cluster).into_iter().for_each(|i| cluster.nodes[i].disk.cut = true),
            "restart" => named(cluster).into_iter().for_each(|i| cluster.restart(i)),
            "forget" => named(cluster).into_iter().for_each(|i| cluster.forget(i)),
            "pending" if rest.is_empty() => cluster.pending(true),
            "pending" => {
                let since = Some(cluster.now);
                named(cluster).into_iter().for_each(|i| cluster.nodes[i].waiting.0 = since);
            }
            "served" => cluster.pending(false),
            "pass" => cluster.tick(rest[0].parse().unwrap()),
            "slow" => named(cluster).into_iter().for_each(|i| cluster.nodes[i].slow = true),
            "fast" => named(cluster).into_iter().for_each(|i| {
                cluster.nodes[i].slow = false;
                cluster.execute(i);
            }),
            "alter" => {
                for i in named(cluster) {
                    cluster.byzantine.insert(i); // as a faulty machine is
                    cluster.nodes[i].wrong_from = Some(0);
                }
            }
            "trim" => named(cluster).into_iter().for_each(|i| cluster.trim(i)),
            "twin" => named(cluster).into_iter().for_each(|i| cluster.twin(i)),
            "forge" => self.forge(rest),
            "progress" => {
                self.rules.clear();
                self.cluster.must_progress();
            }
            other => panic!("unknown command {other}"),
        }
        let rules = self.rules.clone();
        self.cluster.lose = Box::new(move |packet: &Packet| rules.iter().any(|rule| rule.takes(packet)));
        notes
    }
}

fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty())
}

fn run(script: &str, n: usize) -> String {
    let mut stage = Stage::new(n);
    let mut transcript = String::new();
    for line in lines(script) {
        let notes = stage.perform(line);
        writeln!(transcript, "{line}").unwrap();
        for event in notes.into_iter().chain(stage.cluster.take_story()) {
            writeln!(transcript, "  {event}").unwrap();
        }
    }
    transcript
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn script(name: &str) -> String {
    std::fs::read_to_string(root().join("scripts").join(format!("{name}.txt"))).unwrap()
}

/// File names of a folder, without their ending.
fn files(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn no_script_and_no_transcript_comes_or_goes_unnoticed() {
    let names: BTreeSet<String> = SCRIPTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files("scripts"), names);
    let told = SCRIPTS.iter().flat_map(|(name, sizes)| sizes.iter().map(move |n| format!("{name}.n{n}")));
    assert_eq!(files("transcripts"), told.collect());
}

#[test]
fn every_script_tells_its_golden_story() {
    let bless = std::env::var_os("EPIONE_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, sizes) in SCRIPTS {
        let script = script(name);
        for n in *sizes {
            let golden = root().join("transcripts").join(format!("{name}.n{n}.txt"));
            let told = run(&script, *n);
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            if told != expected {
                let line = told.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
                wrong.push(format!("{name} n={n} line {}: {:?}", line + 1, told.lines().nth(line)));
                if bless {
                    std::fs::write(&golden, &told).unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "transcripts differ (read, then EPIONE_BLESS=1):\n{}", wrong.join("\n"));
}

/// Recovered, and yet nobody is told: the commonest way to stand still (failures.md, 3). After every line of every
/// script one validator, or all, restart; then everything heals and has to go on.
/// (At n = 1 and 4; the other sizes tell nothing more, and take most of a minute.)
#[test]
fn a_restart_after_any_line_of_any_script_strands_nobody() {
    for (name, sizes) in SCRIPTS {
        let script = script(name);
        let count = lines(&script).filter(|line| *line != "progress").count();
        for n in sizes.iter().filter(|n| **n <= 4) {
            for (after, which) in (0..count).flat_map(|after| [(after, "1"), (after, "all")]) {
                let mut stage = Stage::new(*n);
                for line in lines(&script).take(after + 1) {
                    stage.perform(line);
                }
                for i in who(&stage.cluster, &[which]) {
                    stage.cluster.crash(i);
                }
                stage.cluster.pending(false);
                stage.cluster.must_progress();
            }
        }
    }
}
