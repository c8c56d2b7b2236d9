//! A node's store gets each height exactly once, in order, for as long as it keeps what it got.

use std::collections::BTreeMap;

use epione_types::Height;

use super::Check;

/// The highest block of each store.
#[derive(Debug, Default)]
pub(super) struct AppliedOnce {
    tips: BTreeMap<usize, Height>,
}

impl AppliedOnce {
    pub(super) fn started(&mut self, node: usize, height: Height) {
        self.tips.insert(node, height);
    }

    pub(super) fn executed(&mut self, node: usize, before: Height, height: Height) -> Check {
        let tip = self.tips.entry(node).or_insert(before);
        if before != *tip {
            return Err(format!("the store of node {node} went from height {tip} to {before} by itself"));
        }
        if height <= before {
            return Ok(()); // answered from the store, not written
        }
        if height != before.next() {
            return Err(format!("node {node} applied height {height} on top of height {before}"));
        }
        *tip = height;
        Ok(())
    }
}
