//! A plan as text: one thing a line, to be read, edited, and shrunk by deleting lines.
//!
//! ```text
//! nodes 4                                   a setting; one that is missing has its default
//! spare 4 of 0 at 1500 listed               a machine that follows from then on: of hospital 0, in all configurations
//! actor 3 equivocator                       who is Byzantine, and how
//! clock 2 skew 300 drift -50                ms and millionths
//! at 812 partition {0,1}|{2,3} for 400      a fault: when, what, for how long, in ms
//! at 900 join 4                             operators begin to make it a validator; leave 1, replace 1 by 4
//! at 990 params window 4 view-timeout 500 8000 batch-txs 64
//! at 900 crash {2} after 17 power for 800   after 17 more calls of its ports; back after 800 ms
//! ```
//!
//! Printing and parsing are inverse to one another. Tested by `tests/sim.rs`.

use std::fmt::Write as _;
use std::str::FromStr;

use epione_node::snapshots::Snapshots;

use super::actors::ActorKind;
use super::clock::NodeClock;
use super::crypto::Scheme;
use super::disk::End;
use super::plan::{
    CHANGES_MAX, Change, Fault, Line, NO_SNAPSHOTS, NODES_MAX, Nodes, Order, Plan, Spare, Tuning,
};

/// A line that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScenarioError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl Plan {
    /// As text, every setting included.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let p = &self.params;
        say(format!("seed {}", self.seed));
        say(format!("nodes {}", self.n));
        say(format!("signatures {}", if self.scheme == Scheme::Fast { "fast" } else { "ed25519" }));
        say(format!("window {}", p.window));
        say(format!("view-timeout {} {}", p.view_timeout_ms, p.view_timeout_max_ms));
        say(format!("max-skew {}", p.max_clock_skew_ms));
        say(format!("time-interval {}", p.time_block_interval_ms));
        say(format!("batch-txs {}", p.batch_txs_max));
        say(format!("tick {}", self.tick_ms));
        say(format!("latency-us {} {}", self.latency.0, self.latency.1));
        say(format!("tail-us {} {}", self.tail.0, self.tail.1));
        say(format!("sync-us {} {}", self.sync.0, self.sync.1));
        say(format!("work-us {} {}", self.work.0, self.work.1));
        say(format!("log-segment {}", self.segment_bytes));
        say(format!("log-trim {}", self.trim_bytes));
        if self.snapshots.every > 0 {
            say(format!("snapshots every {} gap {}", self.snapshots.every, self.snapshots.gap));
        }
        say(format!("pool-txs {}", self.pool_txs));
        say(format!("load-us {}", self.load_every));
        say(format!("clients {}", self.clients));
        say(format!("heights {}", self.heights));
        say(format!("limit {}", self.limit_ms));
        for Spare { node, of, at, listed } in &self.spares {
            let listed = if *listed { " listed" } else { "" };
            say(format!("spare {node} of {of} at {at}{listed}"));
        }
        for (node, clock) in &self.clocks {
            say(format!("clock {node} skew {} drift {}", clock.skew_ms, clock.drift_ppm));
        }
        for (node, kind) in &self.actors {
            say(format!("actor {node} {}", kind.name()));
        }
        for order in &self.changes {
            say(order.to_string());
        }
        for line in &self.schedule {
            say(line.to_string());
        }
        text
    }

    /// From text.
    ///
    /// # Errors
    /// The first line that means nothing, or names a node that there is not.
    pub fn from_text(text: &str) -> Result<Self, ScenarioError> {
        let mut plan = Self::default();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            if !words.is_empty() {
                plan.take(&words).map_err(|why| ScenarioError { line: at + 1, why })?;
            }
        }
        plan.check().map_err(|why| ScenarioError { line: text.lines().count(), why })?;
        Ok(plan)
    }

    fn take(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["seed", seed] => self.seed = number(seed)?,
            ["nodes", n] => self.n = number(n)?,
            ["signatures", "fast"] => self.scheme = Scheme::Fast,
            ["signatures", "ed25519"] => self.scheme = Scheme::Ed25519,
            ["window", w] => self.params.window = number(w)?,
            ["view-timeout", base, cap] => {
                (self.params.view_timeout_ms, self.params.view_timeout_max_ms) =
                    (number(base)?, number(cap)?);
            }
            ["max-skew", ms] => self.params.max_clock_skew_ms = number(ms)?,
            ["time-interval", ms] => self.params.time_block_interval_ms = number(ms)?,
            ["batch-txs", txs] => self.params.batch_txs_max = number(txs)?,
            ["tick", ms] => self.tick_ms = number::<u64>(ms)?.max(1),
            ["latency-us", low, high] => self.latency = (number(low)?, number(high)?),
            ["tail-us", share, more] => self.tail = (number(share)?, number(more)?),
            ["sync-us", low, high] => self.sync = (number(low)?, number(high)?),
            ["work-us", low, high] => self.work = (number(low)?, number(high)?),
            ["log-segment", bytes] => self.segment_bytes = number(bytes)?,
            ["log-trim", bytes] => self.trim_bytes = number(bytes)?,
            ["snapshots", "every", every, "gap", gap] => {
                self.snapshots = Snapshots { every: number(every)?, gap: number(gap)?, ..NO_SNAPSHOTS };
            }
            ["pool-txs", txs] => self.pool_txs = number(txs)?,
            ["load-us", every] => self.load_every = number::<u64>(every)?.max(1),
            ["clients", clients] => self.clients = number(clients)?,
            ["heights", heights] => self.heights = number(heights)?,
            ["limit", ms] => self.limit_ms = number(ms)?,
            ["clock", who, "skew", skew, "drift", drift] => {
                let clock = NodeClock { skew_ms: number(skew)?, drift_ppm: number(drift)? };
                self.clocks.push((node(who)?, clock));
            }
            ["actor", who, kind] => {
                let kind = ActorKind::ALL.into_iter().find(|known| known.name() == *kind);
                self.actors.push((node(who)?, kind.ok_or("no such actor")?));
            }
            ["spare", who, "of", of, "at", at, listed @ ..] if matches!(listed, [] | ["listed"]) => {
                let (who, of, at) = (node(who)?, node(of)?, number(at)?);
                self.spares.push(Spare { node: who, of, at, listed: !listed.is_empty() });
            }
            ["at", at, "join", who] => self.order(at, Change::Join(node(who)?))?,
            ["at", at, "leave", who] => self.order(at, Change::Leave(node(who)?))?,
            ["at", at, "replace", who, "by", other] => {
                self.order(at, Change::Replace(node(who)?, node(other)?))?;
            }
            ["at", at, "params", "window", window, "view-timeout", base, cap, "batch-txs", txs] => {
                let tuning = Tuning {
                    window: number(window)?,
                    view_timeout_ms: (number(base)?, number(cap)?),
                    batch_txs_max: number(txs)?,
                };
                self.order(at, Change::Params(tuning))?;
            }
            ["at", at, what @ .., "for", lasts] => {
                let (at, lasts) = (number(at)?, number(lasts)?);
                self.schedule.push(Line { at, fault: fault(what)?, lasts });
            }
            [word, ..] if crate::drill::STEPS.contains(word) => {
                return Err(format!(
                    "`{word}` is a step of a drill: play it with `epione testnet drill --file FILE --simulated`"
                ));
            }
            _ => return Err(format!("{:?} means nothing here", words.join(" "))),
        }
        Ok(())
    }

    fn order(&mut self, at: &str, change: Change) -> Result<(), String> {
        self.changes.push(Order { at: number(at)?, change });
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.n == 0 || self.n > NODES_MAX / 2 {
            return Err(format!("nodes is {}; 1 to {}", self.n, NODES_MAX / 2));
        }
        let mut named: Vec<usize> = self.clocks.iter().map(|(node, _)| *node).collect();
        named.extend(self.actors.iter().map(|(node, _)| *node));
        named.extend(self.schedule.iter().flat_map(|line| line.fault.nodes().iter()));
        let changes = || self.changes.iter().map(|order| order.change);
        named.extend(changes().filter_map(|change| change.joins()));
        named.extend(changes().filter_map(|change| change.leaves()));
        if self.machines() > NODES_MAX || self.changes.len() > CHANGES_MAX {
            return Err(format!("at most {NODES_MAX} machines and {CHANGES_MAX} changes"));
        }
        for (number, spare) in (self.n..).zip(&self.spares) {
            if spare.node != number || spare.of >= self.machines() {
                return Err(format!("spare {} is number {number}, of a hospital that there is", spare.node));
            }
        }
        match named.into_iter().find(|node| *node >= self.machines()) {
            Some(node) => Err(format!("there is no node {node} among {}", self.machines())),
            None => Ok(()),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that fits here"))
}

fn node(word: &str) -> Result<usize, String> {
    let node = number(word)?;
    if node < NODES_MAX { Ok(node) } else { Err(format!("there is no node {node}")) }
}

fn nodes(text: &str) -> Result<Nodes, String> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let list = inner.ok_or_else(|| format!("{text:?} is no set of nodes, as {{0,2}}"))?;
    list.split(',').filter(|word| !word.is_empty()).map(node).collect()
}

fn arrow(text: &str) -> Result<(Nodes, Nodes), String> {
    let (from, to) = text.split_once("->").ok_or_else(|| format!("{text:?} is no way, as {{0}}->{{1,2}}"))?;
    Ok((nodes(from)?, nodes(to)?))
}

fn fault(words: &[&str]) -> Result<Fault, String> {
    Ok(match words {
        ["partition", groups] => Fault::Partition(groups.split('|').map(nodes).collect::<Result<_, _>>()?),
        ["oneway", way] => arrow(way).map(|(from, to)| Fault::Oneway(from, to))?,
        ["clog", way] => arrow(way).map(|(from, to)| Fault::Clog(from, to))?,
        ["late", who, "by", ms] => Fault::Late(nodes(who)?, number(ms)?),
        ["lossy", share] => Fault::Lossy(number(share)?),
        ["duplicates", share] => Fault::Duplicates(number(share)?),
        ["reorder", share, "by", ms] => Fault::Reorder(number(share)?, number(ms)?),
        ["slow", who, "by", factor] => Fault::Slow(node(who)?, number(factor)?),
        ["stall", who, "by", ms] => Fault::Stall(node(who)?, number(ms)?),
        ["full", who] => Fault::Full(node(who)?),
        ["broken", who] => Fault::Broken(node(who)?),
        ["freeze", who] => Fault::Freeze(node(who)?),
        ["jump", who, "by", ms] => Fault::Jump(node(who)?, number(ms)?),
        ["crash", who, "after", calls, end] => {
            let end = End::ALL.into_iter().find(|known| known.name() == *end);
            Fault::Crash(nodes(who)?, number(calls)?, end.ok_or("no such end: kill, power, torn or rot")?)
        }
        _ => return Err(format!("{:?} is no fault", words.join(" "))),
    })
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} ", self.at)?;
        match &self.change {
            Change::Join(node) => write!(f, "join {node}"),
            Change::Leave(node) => write!(f, "leave {node}"),
            Change::Replace(node, by) => write!(f, "replace {node} by {by}"),
            Change::Params(Tuning { window, view_timeout_ms: (base, cap), batch_txs_max }) => {
                write!(f, "params window {window} view-timeout {base} {cap} batch-txs {batch_txs_max}")
            }
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} ", self.at)?;
        match &self.fault {
            Fault::Partition(groups) => {
                let mut text = String::new();
                for (at, group) in groups.iter().enumerate() {
                    write!(text, "{}{group}", if at == 0 { "" } else { "|" })?;
                }
                write!(f, "partition {text}")?;
            }
            Fault::Oneway(from, to) => write!(f, "oneway {from}->{to}")?,
            Fault::Clog(from, to) => write!(f, "clog {from}->{to}")?,
            Fault::Late(nodes, ms) => write!(f, "late {nodes} by {ms}")?,
            Fault::Lossy(share) => write!(f, "lossy {share}")?,
            Fault::Duplicates(share) => write!(f, "duplicates {share}")?,
            Fault::Reorder(share, ms) => write!(f, "reorder {share} by {ms}")?,
            Fault::Slow(node, factor) => write!(f, "slow {node} by {factor}")?,
            Fault::Stall(node, ms) => write!(f, "stall {node} by {ms}")?,
            Fault::Full(node) => write!(f, "full {node}")?,
            Fault::Broken(node) => write!(f, "broken {node}")?,
            Fault::Freeze(node) => write!(f, "freeze {node}")?,
            Fault::Jump(node, ms) => write!(f, "jump {node} by {ms}")?,
            Fault::Crash(nodes, calls, end) => write!(f, "crash {nodes} after {calls} {}", end.name())?,
        }
        write!(f, " for {}", self.lasts)
    }
}
