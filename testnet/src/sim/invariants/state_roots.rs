//! Nodes at equal heights have equal states.

use std::collections::BTreeMap;

use epione_types::{BlockHeader, Hash, Height};

use super::Check;

/// The state's root at each height.
#[derive(Debug, Default)]
pub(super) struct StateRoots {
    roots: BTreeMap<Height, (Hash, usize)>,
}

impl StateRoots {
    pub(super) fn executed(&mut self, node: usize, header: &BlockHeader) -> Check {
        let (root, by) = *self.roots.entry(header.height).or_insert((header.state_root, node));
        if root == header.state_root {
            return Ok(());
        }
        let (height, mine) = (header.height, header.state_root);
        Err(format!("at height {height} node {node} has state {mine}, node {by} has {root}"))
    }
}
