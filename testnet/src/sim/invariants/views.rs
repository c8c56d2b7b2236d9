//! An honest node asks for a view that is at most one above what some honest node has asked for: f alone move nobody.

use std::collections::BTreeMap;

use epione_types::Epoch;

use super::Check;
use crate::sim::facts::{Fact, Statement};

/// The highest view that an honest node asked for.
#[derive(Debug, Default)]
pub(super) struct Views {
    asked: BTreeMap<Epoch, u64>,
}

impl Views {
    pub(super) fn durable(&mut self, node: usize, fact: &Fact) -> Check {
        if fact.statement != Statement::ViewChange {
            return Ok(());
        }
        let asked = self.asked.entry(fact.epoch).or_default();
        if fact.view > *asked + 1 {
            let view = fact.view;
            return Err(format!(
                "node {node} asks for view {view}; no honest node has asked for more than {asked}"
            ));
        }
        *asked = fact.view.max(*asked);
        Ok(())
    }
}
