//! An honest node makes one statement per kind, view and height, and one Seal per height, over all its restarts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use epione_types::Hash;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// Every statement ever logged or sent.
#[derive(Debug, Default)]
pub(super) struct OneVote {
    said: BTreeMap<(usize, Statement, u64, u64, u64), Hash>,
}

impl OneVote {
    pub(super) fn says(&mut self, node: usize, fact: &Fact) -> Check {
        let Fact { statement, epoch, view, height, digest } = *fact;
        // A height is sealed and certified once for all epochs (R13).
        let epoch = if matches!(statement, Statement::Seal | Statement::Certified) { 0 } else { epoch.0 };
        match self.said.entry((node, statement, epoch, view, height)) {
            Entry::Vacant(place) => {
                place.insert(digest);
                Ok(())
            }
            Entry::Occupied(first) if *first.get() == digest => Ok(()),
            Entry::Occupied(first) => {
                let first = first.get();
                Err(format!(
                    "node {node} voted twice: {statement:?} of view {view}, height {height} for {first}, then for {digest}"
                ))
            }
        }
    }
}
