//! An honest node asks for a view that is at most one above what some honest node has asked for: f alone move nobody.

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// The highest view that an honest node asked for.
#[derive(Debug, Default)]
pub(super) struct Views {
    asked: u64,
}

impl Views {
    pub(super) fn durable(&mut self, node: usize, fact: &Fact) -> Check {
        if fact.statement != Statement::ViewChange {
            return Ok(());
        }
        if fact.view > self.asked + 1 {
            let (view, asked) = (fact.view, self.asked);
            return Err(format!(
                "node {node} asks for view {view}; no honest node has asked for more than {asked}"
            ));
        }
        self.asked = self.asked.max(fact.view);
        Ok(())
    }
}
