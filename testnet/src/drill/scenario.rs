//! A drill as text: one thing a line, in the order in which it happens.
//!
//! ```text
//! about the primary's process is killed          what an operator would say it is
//! nodes 4                                        settings: the simulator's words, where it has them
//! await 40                                       so many more submissions are answered COMMITTED
//! kill primary                                   a fault, with a name for whom it hits
//! require progress                               a submission made after it is certified
//! start them                                     those whom the last name meant
//! require back them                              they vote again, in step with the others
//! ```
//!
//! No times: a step waits for what it is about, up to a deadline. In the end of every drill the load stops, all nodes that
//! are to run must have one height and state root, and whatever was answered COMMITTED must be there once.
//!
//! The simulator plays the same text in virtual time (`sim/drill.rs`), but for what is done to the files of a real store.
//! Its own plans (`sim/scenario.rs`) have times, and faults that processes cannot do: each format refuses the other's by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use epione_node::snapshots::Snapshots;

/// Most nodes of a drill: processes of one machine.
const NODES_MAX: usize = 16;
/// Most that a link can be slower: longer than any time-out.
const SLOW_MAX_MS: u64 = 600_000;

/// A line that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScenarioError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Whom a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// This node.
    Node(usize),
    /// The primary of the moment.
    Primary,
    /// As many as may fail, the primary first.
    Faults,
    /// Every node.
    All,
    /// Those whom the last name meant.
    Them,
}

/// A member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// This node.
    Node(usize),
    /// The primary of the moment.
    Primary,
    /// All that stand in no group.
    Others,
}

/// A part of what a node stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The consensus log: votes.
    Log,
    /// The end of the consensus log.
    LogTail,
    /// The ledger's store.
    Ledger,
    /// The file by which the ledger's store is opened.
    LedgerHead,
    /// The ledger's store while the node runs: what it has not read yet.
    LedgerPages,
    /// The durable mempool.
    Pool,
}

/// What is done, or must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// So many more submissions are answered.
    Await(u64),
    /// SIGKILL.
    Kill(Who),
    /// SIGTERM: it stores what it has, and ends.
    Stop(Who),
    /// A process again.
    Start(Who),
    /// SIGTERM, and a process again.
    Restart(Who),
    /// SIGSTOP.
    Freeze(Who),
    /// SIGCONT.
    Thaw(Who),
    /// Only members of one group hear one another.
    Partition(Vec<Vec<Member>>),
    /// Whatever these nodes say or hear takes so much longer each way.
    Slow(Who, Duration),
    /// All links as they were.
    Heal,
    /// The disk of a node takes nothing more.
    Full(usize),
    /// There is room on it again.
    Free(usize),
    /// Bytes of what a stopped node stores are changed.
    Damage(usize, Part),
    /// Parts of what a stopped node stores are removed.
    Wipe(Who, Vec<Part>),
    /// The wall clock of a node is wrong by so many ms from its next start on.
    Jump(Who, i64),
    /// Another node for the hospital of this one: it follows, and is voted in. It has the next number.
    Join(usize),
    /// They are voted out; they go on running, and follow.
    Leave(Who),
    /// Another node with new keys takes the place of each, in one step. The old ones go on running, if they run.
    Renew(Who),
    /// A submission made now is certified.
    Progress,
    /// The primary is none of those whom the last name meant.
    OtherPrimary,
    /// Nothing is certified for so long.
    Standstill(Duration),
    /// They vote in the others' view and have what the others have.
    Back(Who),
    /// The node runs and does not vote.
    Silent(usize),
    /// The node ends by itself, and says each of these.
    Refusal(usize, Vec<String>),
    /// They explain themselves, and each of these stands in what they advise.
    Advice(Who, Vec<String>),
    /// The node answers with what the others have or not at all, and has said each of these.
    Sound(usize, Vec<String>),
}

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub about: String,
    /// How many nodes.
    pub nodes: usize,
    /// Clients that submit.
    pub clients: usize,
    /// Each submits once in so long.
    pub every: Duration,
    /// A node whose data is kept on a small disk of its own, in MiB.
    pub disk: Option<(usize, u64)>,
    /// When snapshots are made and fetched, if not as seldom as by default.
    pub snapshots: Option<Snapshots>,
    /// In order, each with the line that says it.
    pub steps: Vec<(String, Step)>,
}

impl Drill {
    /// From text.
    ///
    /// # Errors
    /// The first line that means nothing, or that processes cannot do.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let mut drill = Self {
            name: name.to_owned(),
            about: String::new(),
            nodes: 4,
            clients: 2,
            every: Duration::from_millis(40),
            disk: None,
            snapshots: None,
            steps: Vec::new(),
        };
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if !line.is_empty() {
                drill.take(line).map_err(|why| ScenarioError { line: at + 1, why })?;
            }
        }
        drill.check().map_err(|why| ScenarioError { line: text.lines().count(), why })?;
        Ok(drill)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["about", ..] => line.trim_start_matches("about").trim().clone_into(&mut self.about),
            ["nodes", n] => self.nodes = number(n)?,
            ["clients", n] => self.clients = number::<usize>(n)?.max(1),
            ["load-us", us] => self.every = Duration::from_micros(number::<u64>(us)?.max(1_000)),
            ["snapshots", "every", every, "gap", gap] => {
                self.snapshots =
                    Some(Snapshots { every: number(every)?, gap: number(gap)?, ..Snapshots::default() });
            }
            ["disk", who, mib] => self.disk = Some((number(who)?, number(mib)?)),
            words => {
                self.steps.push((line.split_whitespace().collect::<Vec<_>>().join(" "), step(line, words)?))
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.nodes == 0 || self.nodes > NODES_MAX {
            return Err(format!("nodes is {}; 1 to {NODES_MAX}", self.nodes));
        }
        if self.steps.is_empty() {
            return Err("nothing happens in it".to_owned());
        }
        // Nodes are numbered as they come.
        let mut count = self.nodes;
        let disk = self.disk.iter().map(|(node, _)| (*node, count));
        let mut named: Vec<(usize, usize)> = disk.collect();
        for (_, step) in &self.steps {
            named.extend(step.named().into_iter().map(|node| (node, count)));
            count += usize::from(matches!(step, Step::Join(_) | Step::Renew(_)));
        }
        if let Some((node, count)) = named.into_iter().find(|(node, count)| node >= count) {
            return Err(format!("there is no node {node} among {count}"));
        }
        if count > NODES_MAX {
            return Err(format!("in the end there are {count} nodes; at most {NODES_MAX}"));
        }
        let full = self.steps.iter().find_map(|(_, step)| {
            if let Step::Full(node) | Step::Free(node) = step { Some(*node) } else { None }
        });
        match full {
            Some(node) if self.disk.map(|(with, _)| with) != Some(node) => {
                Err(format!("node {node} has no disk of its own to fill: write `disk {node} 64` above"))
            }
            _ => Ok(()),
        }
    }
}

impl Step {
    /// Nodes that stand in it by number.
    fn named(&self) -> Vec<usize> {
        let of = |who: &Who| if let Who::Node(node) = who { vec![*node] } else { Vec::new() };
        match self {
            Self::Kill(who)
            | Self::Stop(who)
            | Self::Start(who)
            | Self::Restart(who)
            | Self::Freeze(who)
            | Self::Thaw(who)
            | Self::Slow(who, _)
            | Self::Jump(who, _)
            | Self::Wipe(who, _)
            | Self::Leave(who)
            | Self::Renew(who)
            | Self::Advice(who, _)
            | Self::Back(who) => of(who),
            Self::Full(node)
            | Self::Free(node)
            | Self::Damage(node, _)
            | Self::Join(node)
            | Self::Silent(node)
            | Self::Refusal(node, _)
            | Self::Sound(node, _) => vec![*node],
            Self::Partition(groups) => {
                let node = |member: &Member| if let Member::Node(node) = member { Some(*node) } else { None };
                groups.iter().flatten().filter_map(node).collect()
            }
            Self::Await(_) | Self::Heal | Self::Progress | Self::OtherPrimary | Self::Standstill(_) => {
                Vec::new()
            }
        }
    }

    /// Must something hold here, or is something done?
    #[must_use]
    pub const fn is_requirement(&self) -> bool {
        matches!(
            self,
            Self::Progress
                | Self::OtherPrimary
                | Self::Standstill(_)
                | Self::Back(_)
                | Self::Silent(_)
                | Self::Refusal(..)
                | Self::Advice(..)
                | Self::Sound(..)
        )
    }
}

/// What the simulator does and processes cannot.
const SIMULATOR_ONLY: [&str; 13] = [
    "seed",
    "signatures",
    "window",
    "tick",
    "actor",
    "clog",
    "lossy",
    "duplicates",
    "reorder",
    "stall",
    "broken",
    "oneway",
    "crash",
];

/// First words of steps, for the simulator to refuse by name.
pub const STEPS: [&str; 15] = [
    "about", "await", "kill", "stop", "start", "restart", "thaw", "heal", "free", "damage", "wipe", "join",
    "leave", "renew", "require",
];

fn step(line: &str, words: &[&str]) -> Result<Step, String> {
    Ok(match words {
        ["await", answers] => Step::Await(number(answers)?),
        ["kill", who] => Step::Kill(whom(who)?),
        ["stop", who] => Step::Stop(whom(who)?),
        ["start", who] => Step::Start(whom(who)?),
        ["restart", who] => Step::Restart(whom(who)?),
        ["freeze", who] => Step::Freeze(whom(who)?),
        ["thaw", who] => Step::Thaw(whom(who)?),
        ["partition", groups] => Step::Partition(groups.split('|').map(group).collect::<Result<_, _>>()?),
        ["slow", who, "by", ms] => {
            let delay = number::<u64>(ms)?;
            if delay > SLOW_MAX_MS {
                return Err(format!("a link is slower by {delay} ms; at most {SLOW_MAX_MS}"));
            }
            Step::Slow(whom(who)?, Duration::from_millis(delay))
        }
        ["heal"] => Step::Heal,
        ["full", node] => Step::Full(number(node)?),
        ["free", node] => Step::Free(number(node)?),
        ["damage", node, what] => Step::Damage(number(node)?, part(what)?),
        ["wipe", who, parts @ ..] if !parts.is_empty() => {
            let parts = parts.iter().map(|name| part(name)).collect::<Result<Vec<_>, _>>()?;
            if parts.iter().any(|part| matches!(part, Part::LogTail | Part::LedgerHead | Part::LedgerPages)) {
                return Err("a part of a file cannot be wiped alone: write `damage`".to_owned());
            }
            Step::Wipe(whom(who)?, parts)
        }
        ["jump", who, "by", ms] => Step::Jump(whom(who)?, number(ms)?),
        ["join", hospital] => Step::Join(number(hospital)?),
        ["leave", who] => Step::Leave(whom(who)?),
        ["renew", who] => Step::Renew(whom(who)?),
        ["require", "progress"] => Step::Progress,
        ["require", "other", "primary"] => Step::OtherPrimary,
        ["require", "standstill", seconds] => Step::Standstill(Duration::from_secs(number(seconds)?)),
        ["require", "back", who] => Step::Back(whom(who)?),
        ["require", "silent", node] => Step::Silent(number(node)?),
        ["require", "refusal", node, ..] => Step::Refusal(number(node)?, quoted(line)?),
        ["require", "advice", who, ..] => Step::Advice(whom(who)?, quoted(line)?),
        ["require", "sound", node, ..] => Step::Sound(number(node)?, quoted(line)?),
        ["at", ..] => {
            return Err("a drill waits for what happens and knows no times: write the fault alone".to_owned());
        }
        ["late", ..] => return Err("write `slow WHO by MS`".to_owned()),
        [word, ..] if SIMULATOR_ONLY.contains(word) => {
            return Err(format!("`{word}` is for the simulator: processes cannot do it"));
        }
        _ => return Err(format!("{:?} means nothing here", words.join(" "))),
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that fits here"))
}

fn whom(word: &str) -> Result<Who, String> {
    Ok(match word {
        "primary" => Who::Primary,
        "f" => Who::Faults,
        "all" => Who::All,
        "them" => Who::Them,
        node => Who::Node(
            number(node).map_err(|_| format!("{node:?} is nobody: a number, primary, f, all or them"))?,
        ),
    })
}

fn group(text: &str) -> Result<Vec<Member>, String> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let list = inner.ok_or_else(|| format!("{text:?} is no set of nodes, as {{0,2}}"))?;
    let member = |word: &str| match word {
        "primary" => Ok(Member::Primary),
        "others" => Ok(Member::Others),
        node => number(node).map(Member::Node),
    };
    list.split(',').filter(|word| !word.is_empty()).map(member).collect()
}

fn part(word: &str) -> Result<Part, String> {
    match word {
        "log" => Ok(Part::Log),
        "log-tail" => Ok(Part::LogTail),
        "ledger" => Ok(Part::Ledger),
        "ledger-head" => Ok(Part::LedgerHead),
        "ledger-pages" => Ok(Part::LedgerPages),
        "pool" => Ok(Part::Pool),
        other => Err(format!(
            "{other:?} is nothing that a node stores: log, log-tail, ledger, ledger-head, ledger-pages or pool"
        )),
    }
}

/// Every text in quotes.
fn quoted(line: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = line.split('"').collect();
    let words: Vec<String> = parts.iter().skip(1).step_by(2).map(|text| (*text).to_owned()).collect();
    if words.is_empty() || parts.len().is_multiple_of(2) {
        return Err("what the node must say stands in quotes behind its number".to_owned());
    }
    Ok(words)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::LogTail => "log-tail",
            Self::Ledger => "ledger",
            Self::LedgerHead => "ledger-head",
            Self::LedgerPages => "ledger-pages",
            Self::Pool => "pool",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        Drill::from_text("x", text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_what_happens() {
        let text = "about it stops  # and more\nnodes 7\nclients 3\nload-us 5000\ndisk 2 64\n\nawait 40\nkill f\n\
                    partition {primary}|{others}\nfull 2\nwipe 1 ledger log\nrequire refusal 1 \"must not\" \"so\"\n";
        let drill = Drill::from_text("x", text).unwrap();
        assert_eq!((drill.about.as_str(), drill.nodes, drill.clients), ("it stops", 7, 3));
        assert_eq!((drill.every, drill.disk), (Duration::from_millis(5), Some((2, 64))));
        let steps: Vec<Step> = drill.steps.into_iter().map(|(_, step)| step).collect();
        assert_eq!(
            steps,
            [
                Step::Await(40),
                Step::Kill(Who::Faults),
                Step::Partition(vec![vec![Member::Primary], vec![Member::Others]]),
                Step::Full(2),
                Step::Wipe(Who::Node(1), vec![Part::Ledger, Part::Log]),
                Step::Refusal(1, vec!["must not".to_owned(), "so".to_owned()]),
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name_and_line() {
        assert_eq!(why("await 1\nlossy 50"), "line 2: `lossy` is for the simulator: processes cannot do it");
        assert!(why("at 812 partition {0,1}|{2,3} for 400").contains("knows no times"));
        assert!(why("kill 4").contains("no node 4 among 4"));
        assert!(why("kill 4\njoin 0").contains("no node 4 among 4"));
        assert!(why("join 0\nrenew 1\nkill 6").contains("no node 6 among 6"));
        assert!(why("nodes 16\njoin 0").contains("at most 16"));
        assert!(
            Drill::from_text("x", "join 0\nrenew 1\nkill 5\nleave them\nrequire advice them \"so\"").is_ok()
        );
        assert!(why("nodes 2\npartition {0}|{2}").contains("no node 2 among 2"));
        assert!(why("kill somebody").contains("nobody"));
        assert!(why("slow 1 by 600001").contains("at most 600000"));
        assert!(why("late {1} by 3").contains("write `slow WHO by MS`"));
        assert!(why("full 2").contains("disk 2 64"));
        assert!(why("require refusal 2 no quotes").contains("quotes"));
        assert!(why("require refusal 2 \"open").contains("quotes"));
        assert!(why("damage 2 heart").contains("nothing that a node stores"));
        assert!(why("nodes 4").contains("nothing happens"));
        assert!(why("explode 1").contains("means nothing"));
    }
}
