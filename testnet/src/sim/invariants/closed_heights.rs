//! In a view an honest node votes for nothing at or below the base of its NewView: those heights are certified.

use std::collections::BTreeMap;

use epione_types::Epoch;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// The base of each view that a node entered.
#[derive(Debug, Default)]
pub(super) struct ClosedHeights {
    bases: BTreeMap<(usize, Epoch, u64), u64>,
}

impl ClosedHeights {
    pub(super) fn entered(&mut self, node: usize, epoch: Epoch, view: u64, base: u64) {
        self.bases.insert((node, epoch, view), base);
    }

    pub(super) fn durable(&self, node: usize, fact: &Fact) -> Check {
        let vote = matches!(fact.statement, Statement::PrePrepare | Statement::Prepare);
        let base = self.bases.get(&(node, fact.epoch, fact.view)).copied().unwrap_or(0);
        if !vote || fact.height > base || fact.height == 0 {
            return Ok(());
        }
        let Fact { statement, view, height, .. } = fact;
        Err(format!(
            "node {node}: {statement:?} of view {view} at height {height}; the view begins above {base}"
        ))
    }
}
