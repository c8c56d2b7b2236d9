//! From a plan that fails to a small one that fails in the same way.
//!
//! Lines are deleted, first many at once, then one by one; then actors, clocks and settings go back to their defaults. What
//! still breaks the same invariant is kept. Random numbers belong to purposes (`random.rs`), so the rest of the run stays
//! much as it was.

use super::plan::{Order, Plan, SIZES};
use super::{Failure, Options, run};

/// The smallest plan found, how it fails, and how many runs it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Its failure.
    pub failure: Failure,
    /// Runs tried.
    pub runs: usize,
}

struct Search<'a> {
    options: &'a Options,
    best: Plan,
    failure: Failure,
    runs: usize,
    runs_max: usize,
}

impl Search<'_> {
    /// Keeps a candidate that fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if plan == self.best || self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        match run(&plan, self.options).failure {
            Some(failure)
                if (failure.class, &failure.invariant) == (self.failure.class, &self.failure.invariant) =>
            {
                (self.best, self.failure) = (plan, failure);
                true
            }
            _ => false,
        }
    }

    fn try_change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.try_plan(plan)
    }

    /// Deletes lines: halves, quarters, and so on down to single ones, until nothing more can go.
    fn delete_lines(&mut self) {
        let mut size = self.best.schedule.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            let mut deleted = false;
            while at < self.best.schedule.len() {
                let end = (at + size).min(self.best.schedule.len());
                if self.try_change(|plan| drop(plan.schedule.drain(at..end))) {
                    deleted = true;
                } else {
                    at = end;
                }
            }
            if size == 1 && !deleted {
                return;
            }
            size = size.div_ceil(2).max(1);
            if self.runs >= self.runs_max {
                return;
            }
        }
    }
}

/// Without the last spare machine, if no change names it.
fn without_spare(plan: &mut Plan) {
    let Some(spare) = plan.spares.last().map(|spare| spare.node) else { return };
    let names = |order: &Order| [order.change.joins(), order.change.leaves()].contains(&Some(spare));
    if !plan.changes.iter().any(names) {
        plan.spares.pop();
        plan.schedule.retain(|line| !line.fault.nodes().has(spare));
        plan.actors.retain(|(node, _)| *node != spare);
        plan.clocks.retain(|(node, _)| *node != spare);
    }
}

/// Fewer validators; what names others goes.
fn fewer(plan: &mut Plan, n: usize) {
    plan.n = n;
    plan.schedule.retain(|line| line.fault.nodes().0 >> n == 0);
    plan.actors.retain(|(node, _)| *node < n);
    plan.clocks.retain(|(node, _)| *node < n);
}

/// Shrinks a plan that fails, in at most so many runs. None if it does not fail.
#[must_use]
pub fn shrink(plan: &Plan, options: &Options, runs_max: usize) -> Option<Shrunk> {
    let failure = run(plan, options).failure?;
    let mut search = Search { options, best: plan.clone(), failure, runs: 1, runs_max };
    // Nothing after the failure matters.
    let end = search.failure.at_ms;
    search.try_change(|plan| plan.schedule.retain(|line| line.at <= end));
    search.delete_lines();
    for at in (0..search.best.actors.len()).rev() {
        search.try_change(|plan| {
            plan.actors.remove(at);
        });
    }
    for at in (0..search.best.clocks.len()).rev() {
        search.try_change(|plan| {
            plan.clocks.remove(at);
        });
    }
    for at in (0..search.best.changes.len()).rev() {
        search.try_change(|plan| {
            plan.changes.remove(at);
        });
    }
    while search.try_change(without_spare) {}
    let numbered = !search.best.spares.is_empty(); // spares come after the validators
    for n in SIZES.into_iter().filter(|n| *n > 1 && *n < plan.n && !numbered) {
        let mut smaller = search.best.clone();
        fewer(&mut smaller, n);
        if smaller.is_borne() && search.try_change(|plan| *plan = smaller) {
            break;
        }
    }
    let plain = Plan::default();
    search.try_change(|plan| plan.tail = plain.tail);
    search.try_change(|plan| plan.latency = plain.latency);
    search.try_change(|plan| (plan.sync, plan.work) = (plain.sync, plain.work));
    search.try_change(|plan| (plan.segment_bytes, plan.trim_bytes) = (plain.segment_bytes, plain.trim_bytes));
    search.try_change(|plan| plan.snapshots = plain.snapshots);
    search.try_change(|plan| plan.pool_txs = plain.pool_txs);
    search.try_change(|plan| plan.params = plain.params.clone());
    search.try_change(|plan| plan.scheme = plain.scheme);
    for heights in [5, 10, 20, 40, 80] {
        if heights < search.best.heights && search.try_change(|plan| plan.heights = heights) {
            break;
        }
    }
    for clients in 1..search.best.clients {
        if search.try_change(|plan| plan.clients = clients) {
            break;
        }
    }
    search.delete_lines();
    let Search { best, failure, runs, .. } = search;
    Some(Shrunk { plan: best, failure, runs })
}
