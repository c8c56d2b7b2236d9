//! Drills in virtual time: the files of [`crate::drill`], played by whole validators in the simulated world.
//!
//! ```text
//!  scenarios/NAME.txt ─▶ plan: machines, load, snapshots ─▶ cluster ─▶ step after step ─▶ all is healed ─▶ report
//! ```
//!
//! A drill knows no times, so a seed draws what is left to chance: latencies, what a crash loses, what clients want. Many
//! seeds of one drill are many orders of the same story. Tested by `tests/drills.rs`.

use std::time::Duration;

use epione_node::snapshots::Snapshots;
use epione_types::{Hash, Params};

use super::clock::{MS, Micros};
use super::plan::{NO_SNAPSHOTS, Plan, Spare};
use super::{Counts, Failure, Options, cluster, watched};
use crate::drill::{Drill, Part, Step};

/// A time that does not come, in ms.
const NEVER_MS: u64 = u64::MAX / MS / 2;

/// What a node prints that installs a snapshot. Nothing else that is printed exists here.
const SNAPSHOT_WORDS: [&str; 3] = ["fetching a snapshot", "a snapshot is whole", "installing a snapshot"];

/// What a drill's steps came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Played {
    /// The longest that a submission made after a fault took to be certified, from the fault on, in virtual microseconds.
    pub recovery: Option<Micros>,
    /// The longest that a node took to be in step again, in virtual microseconds.
    pub back: Option<Micros>,
    /// Submissions of clients that were answered COMMITTED before all was healed.
    pub committed: usize,
    /// What was done and seen, line by line.
    pub told: Vec<String>,
}

/// What a drill came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Its steps.
    pub played: Played,
    /// What happened how often.
    pub counts: Counts,
    /// Hash over every transition.
    pub trace: Hash,
    /// How long it was, in virtual ms.
    pub virtual_ms: u64,
    /// What broke; none if nothing did.
    pub failure: Option<Failure>,
}

/// The line of a drill that only real processes can do, if there is one.
#[must_use]
pub fn only_real(drill: &Drill) -> Option<&str> {
    let real = |step: &Step| match step {
        Step::Damage(_, part) => !matches!(part, Part::Log | Part::LogTail),
        Step::Sound(_, words) => words.iter().any(|word| !SNAPSHOT_WORDS.contains(&word.as_str())),
        _ => false,
    };
    drill.steps.iter().find(|(_, step)| real(step)).map(|(line, _)| line.as_str())
}

fn plan(drill: &Drill, seed: u64) -> Plan {
    let joins = drill.steps.iter().filter(|(_, step)| matches!(step, Step::Join(_) | Step::Renew(_))).count();
    let spare = |node| Spare { node, of: 0, at: NEVER_MS, listed: false };
    let clients = drill.clients.max(1);
    let each = u64::try_from(drill.every.as_micros()).unwrap_or(u64::MAX);
    Plan {
        seed,
        n: drill.nodes,
        spares: (drill.nodes..drill.nodes + joins).map(spare).collect(),
        snapshots: drill.snapshots.map_or(NO_SNAPSHOTS, |Snapshots { every, gap, .. }| Snapshots {
            every,
            gap,
            ..NO_SNAPSHOTS
        }),
        clients,
        load_every: (each / clients as u64).max(1),
        heights: u64::MAX,
        limit_ms: NEVER_MS,
        params: Params::default(), // those of a network of processes
        ..Plan::default()
    }
}

/// Plays a drill; each step may take so long, in virtual time.
///
/// # Errors
/// The line that only real processes can do.
pub fn run(drill: &Drill, seed: u64, patience: Duration, options: &Options) -> Result<Report, String> {
    if let Some(line) = only_real(drill) {
        return Err(format!("`{line}` is for real processes: run the drill without --simulated"));
    }
    let plan = plan(drill, seed);
    let patience = u64::try_from(patience.as_micros()).unwrap_or(Micros::MAX);
    let mut cluster = cluster::Cluster::new(&plan, options);
    let mut played = Played::default();
    let failure = watched(&mut cluster, |cluster| {
        let ended;
        (played, ended) = cluster.drill(drill, patience);
        ended
    });
    let (counts, trace, virtual_ms) = cluster.finish();
    Ok(Report { name: drill.name.clone(), seed, played, counts, trace, virtual_ms, failure })
}
