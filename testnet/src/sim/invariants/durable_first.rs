//! What an honest node sends, it has on disk: a vote leaves only after the record that binds to it.

use std::collections::BTreeSet;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// What each node has on disk.
#[derive(Debug, Default)]
pub(super) struct DurableFirst {
    durable: BTreeSet<(usize, Statement, u64, u64, u64)>,
}

impl DurableFirst {
    /// True if it is new.
    pub(super) fn durable(&mut self, node: usize, fact: &Fact) -> bool {
        self.durable.insert(key(node, fact))
    }

    pub(super) fn sent(&self, node: usize, fact: &Fact) -> Check {
        if self.durable.contains(&key(node, fact)) {
            return Ok(());
        }
        let Fact { statement, view, height, .. } = fact;
        Err(format!(
            "node {node} sent {statement:?} of view {view}, height {height}, which is not in its log"
        ))
    }
}

const fn key(node: usize, fact: &Fact) -> (usize, Statement, u64, u64, u64) {
    (node, fact.statement, fact.epoch.0, fact.view, fact.height)
}
