//! Many seeds, by as many threads as are wanted; the result does not depend on how many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use epione_types::{Domain, Hash};

use super::actors::ActorKind;
use super::plan::{Change, Fault, Plan};
use super::{Options, Report, run};

/// From so many seeds on, a fault or an actor that never occurred is a failure.
pub const COVERED_FROM: u64 = 100;
/// From so many seeds on, one that occurred in less than a hundredth of them is, too.
pub const SHARED_FROM: u64 = 2_000;

/// What happened, of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exercised {
    /// In so many seeds.
    pub seeds: u64,
    /// So often in all of them.
    pub times: u64,
    /// So often in one of them, at most.
    pub most: u64,
}

/// What many runs came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many runs.
    pub seeds: u64,
    /// How many of each size.
    pub sizes: BTreeMap<usize, u64>,
    /// What happened, by name.
    pub exercised: BTreeMap<String, Exercised>,
    /// Runs that failed, by seed.
    pub failures: Vec<Report>,
    /// Virtual time of all, in ms.
    pub virtual_ms: u64,
    traces: Vec<(u64, Hash)>,
}

impl Summary {
    fn take(&mut self, report: Report) {
        self.seeds += 1;
        self.virtual_ms += report.virtual_ms;
        *self.sizes.entry(report.n).or_default() += 1;
        for (what, times) in report.counts.iter().filter(|(_, times)| *times > 0) {
            let one = self.exercised.entry(what.to_owned()).or_default();
            one.seeds += 1;
            one.times += times;
            one.most = one.most.max(times);
        }
        self.traces.push((report.seed, report.trace));
        if report.failure.is_some() {
            self.failures.push(report);
        }
    }

    /// One hash over the traces of all runs.
    #[must_use]
    pub fn trace(&self) -> Hash {
        let mut traces = self.traces.clone();
        traces.sort_unstable();
        let bytes: Vec<u8> =
            traces.iter().flat_map(|(seed, hash)| [&seed.to_le_bytes()[..], &hash.0[..]].concat()).collect();
        Domain::new("epione/sim-traces").hash(&bytes)
    }

    /// What there must be: faults, actors, changes, observers and snapshots.
    fn wanted() -> impl Iterator<Item = String> {
        let faults = Fault::KINDS.iter().map(|kind| format!("fault {kind}"));
        let actors = ActorKind::ALL.iter().map(|kind| format!("actor {}", kind.name()));
        let changes = Change::KINDS.iter().map(|kind| format!("change {kind}"));
        let begun = ["fault observer", "joined", "left", "observers", "params changed", "replaced"];
        let snapshots = ["snapshots fetched", "snapshots installed"];
        let begun = begun.into_iter().chain(snapshots).map(str::to_owned);
        faults.chain(actors).chain(changes).chain(begun)
    }

    /// What there must be, and was in no run.
    #[must_use]
    pub fn never(&self) -> Vec<String> {
        Self::wanted().filter(|what| !self.exercised.contains_key(what)).collect()
    }

    /// What there must be, and was in less than a hundredth of the runs.
    #[must_use]
    pub fn rare(&self) -> Vec<String> {
        let rare = |what: &String| {
            self.exercised.get(what).is_some_and(|one| one.seeds.saturating_mul(100) < self.seeds)
        };
        Self::wanted().filter(rare).collect()
    }
}

/// Runs the plans of `count` seeds from `from` on. `progress` hears of each run that is done.
///
/// # Panics
/// If a thread cannot be started.
pub fn run_many(
    from: u64,
    count: u64,
    jobs: usize,
    plan: impl Fn(u64) -> Plan + Sync,
    options: &Options,
    progress: impl Fn(&Summary) + Sync,
) -> Summary {
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let report = run(&plan(from + number), options);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.take(report);
                    progress(&summary);
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_unstable_by_key(|report| report.seed);
    summary.traces.sort_unstable();
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_rare_is_named() {
        let of = |seeds| Exercised { seeds, times: seeds, most: 1 };
        let mut summary = Summary { seeds: 2_000, ..Summary::default() };
        summary.exercised = Summary::wanted().map(|what| (what, of(20))).collect();
        assert_eq!((summary.never(), summary.rare()), (vec![], vec![]));
        summary.exercised.insert("snapshots installed".to_owned(), of(19));
        summary.exercised.remove("observers");
        assert_eq!(summary.never(), ["observers"]);
        assert_eq!(summary.rare(), ["snapshots installed"]);
    }
}
