//! An honest node votes in no view that it has left, at most a window above what its log, or a snapshot that it installed,
//! knows certified, and in each epoch for that epoch's heights alone.

use std::collections::BTreeMap;

use epione_types::{Epoch, Height};

use super::Check;
use crate::sim::facts::{Fact, Statement};
use crate::sim::roll::Roll;

/// The view each node asked for, and the highest height certified in its log.
#[derive(Debug, Default)]
pub(super) struct VotesInPlace {
    asked: BTreeMap<(usize, Epoch), u64>,
    certified: BTreeMap<usize, u64>,
}

impl VotesInPlace {
    /// A snapshot is its node's ledger: that is durable before the node starts.
    pub(super) fn installed(&mut self, node: usize, height: Height) {
        let certified = self.certified.entry(node).or_default();
        *certified = height.0.max(*certified);
    }

    /// A fact that was not in the node's log before: a log that begins anew repeats what it knows.
    pub(super) fn says(&mut self, roll: &Roll, node: usize, fact: &Fact) -> Check {
        let Fact { statement, epoch, view, height, .. } = *fact;
        let asked = self.asked.entry((node, epoch)).or_default();
        let certified = self.certified.entry(node).or_default();
        let Some(era) = roll.era(epoch) else {
            return Err(format!("node {node} says {statement:?} in epoch {epoch}, which is not decided"));
        };
        let end = roll.end(epoch).unwrap_or(Height(u64::MAX));
        let of_height = !matches!(statement, Statement::ViewChange | Statement::NewView);
        if of_height && (Height(height) <= era.begin || Height(height) > end) {
            return Err(format!(
                "node {node} says {statement:?} of height {height} in epoch {epoch}, which is above {} up to {end}",
                era.begin
            ));
        }
        let window = era.set.params.window;
        match statement {
            Statement::Prepare | Statement::Commit if view < *asked => {
                Err(format!("node {node} says {statement:?} of view {view} after it asked for view {asked}"))
            }
            Statement::Prepare | Statement::Commit if height > *certified + window => {
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
