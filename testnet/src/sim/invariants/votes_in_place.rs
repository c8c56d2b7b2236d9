//! An honest node votes in no view that it has left, and at most a window above what its log knows certified.

use std::collections::BTreeMap;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// The view each node asked for, and the highest height certified in its log.
#[derive(Debug)]
pub(super) struct VotesInPlace {
    window: u64,
    asked: BTreeMap<usize, u64>,
    certified: BTreeMap<usize, u64>,
}

impl VotesInPlace {
    pub(super) const fn new(window: u64) -> Self {
        Self { window, asked: BTreeMap::new(), certified: BTreeMap::new() }
    }

    /// A fact that was not in the node's log before: a log that begins anew repeats what it knows.
    pub(super) fn says(&mut self, node: usize, fact: &Fact) -> Check {
        let asked = self.asked.entry(node).or_default();
        let certified = self.certified.entry(node).or_default();
        let Fact { statement, view, height, .. } = *fact;
        match statement {
            Statement::Prepare | Statement::Commit if view < *asked => {
                Err(format!("node {node} says {statement:?} of view {view} after it asked for view {asked}"))
            }
            Statement::Prepare | Statement::Commit if height > *certified + self.window => {
                Err(format!("node {node} says {statement:?} of height {height}; {certified} is certified"))
            }
            Statement::ViewChange => {
                *asked = view.max(*asked);
                Ok(())
            }
            Statement::Certified => {
                *certified = height.max(*certified);
                Ok(())
            }
            // A proposal may be a NewView's, whose list the others' windows made.
            _ => Ok(()),
        }
    }
}
