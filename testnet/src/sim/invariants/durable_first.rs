//! What an honest node sends, it has on disk: a vote leaves only after the record that binds to it.

use std::collections::BTreeSet;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// What each node has on disk.
#[derive(Debug, Default)]
pub(super) struct DurableFirst {
    durable: BTreeSet<(usize, Statement, u64, u64)>,
}

impl DurableFirst {
    /// True if it is new.
    pub(super) fn durable(&mut self, node: usize, fact: &Fact) -> bool {
        self.durable.insert((node, fact.statement, fact.view, fact.height))
    }

    pub(super) fn sent(&self, node: usize, fact: &Fact) -> Check {
        if self.durable.contains(&(node, fact.statement, fact.view, fact.height)) {
            return Ok(());
        }
        let Fact { statement, view, height, .. } = fact;
        Err(format!(
            "node {node} sent {statement:?} of view {view}, height {height}, which is not in its log"
        ))
    }
}
