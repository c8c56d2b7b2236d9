//! Views of an epoch asked for and entered never decrease over restarts; low and delivered never while a process lives.

use std::collections::BTreeMap;

use epione_consensus::Status;
use epione_types::Epoch;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// The highest of each.
#[derive(Debug, Default)]
pub(super) struct Monotone {
    asked: BTreeMap<(usize, Epoch), u64>,
    /// The same, as told to others: what was decided before a record may leave after it.
    told: BTreeMap<(usize, Epoch), u64>,
    view: BTreeMap<(usize, Epoch), u64>,
    /// Low and delivered of the living.
    heights: BTreeMap<usize, (u64, u64)>,
}

impl Monotone {
    /// What one sync made durable. A log that begins anew repeats what binds: of each epoch the last counts.
    pub(super) fn durable(&mut self, node: usize, facts: &[Fact]) -> Check {
        let asking = facts.iter().filter(|fact| fact.statement == Statement::ViewChange);
        let last: BTreeMap<Epoch, u64> = asking.map(|fact| (fact.epoch, fact.view)).collect();
        for (epoch, view) in last {
            let asked = self.asked.entry((node, epoch)).or_default();
            if view < *asked {
                return Err(format!("node {node} asked for view {view} after view {asked}"));
            }
            *asked = view;
        }
        Ok(())
    }

    pub(super) fn status(&mut self, node: usize, status: &Status) -> Check {
        let need = |what: &str, before: u64, now: u64| {
            if now >= before {
                Ok(())
            } else {
                Err(format!("node {node}: {what} fell from {before} to {now}"))
            }
        };
        let place = (node, status.epoch);
        let view = self.view.entry(place).or_default();
        need("the view entered", *view, status.view.0)?;
        *view = status.view.0;
        let asked = self.told.entry(place).or_default();
        need("the view asked for", *asked, status.asked.0)?;
        *asked = status.asked.0;
        let (low, delivered) = self.heights.entry(node).or_default();
        need("low", *low, status.low.0)?;
        need("the height delivered", *delivered, status.delivered.0)?;
        (*low, *delivered) = (status.low.0, status.delivered.0);
        Ok(())
    }

    /// A process that begins knows all that its log says.
    pub(super) fn ended(&mut self, node: usize) {
        self.heights.remove(&node);
        for ((_, epoch), asked) in self.asked.range((node, Epoch::ZERO)..=(node, Epoch(u64::MAX))) {
            let told = self.told.entry((node, *epoch)).or_default();
            *told = (*asked).max(*told);
        }
    }
}
