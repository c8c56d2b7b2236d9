//! No two honest nodes execute or certify different blocks at one height, now or ever.

use std::collections::BTreeMap;

use epione_types::{Certificate, Hash, Height};

use super::Check;

/// What was executed and certified where first.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    executed: BTreeMap<Height, (Hash, usize)>,
    certified: BTreeMap<Height, (Hash, usize)>,
}

impl Agreement {
    pub(super) fn is_first(&self, height: Height) -> bool {
        !self.executed.contains_key(&height)
    }

    pub(super) fn executed(&mut self, node: usize, height: Height, hash: Hash) -> Check {
        same("executed", &mut self.executed, node, height, hash)?;
        match self.certified.get(&height) {
            Some((other, by)) if *other != hash => Err(format!(
                "node {node} executed {hash} at height {height}, node {by} holds a certificate of {other}"
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn certified(&mut self, node: usize, certificate: &Certificate) -> Check {
        let (height, hash) = (certificate.height, certificate.header_hash);
        same("certified", &mut self.certified, node, height, hash)?;
        match self.executed.get(&height) {
            Some((other, by)) if *other != hash => {
                Err(format!("node {node} certified {hash} at height {height}, node {by} executed {other}"))
            }
            _ => Ok(()),
        }
    }
}

fn same(
    what: &str,
    known: &mut BTreeMap<Height, (Hash, usize)>,
    node: usize,
    height: Height,
    hash: Hash,
) -> Check {
    let (first, by) = *known.entry(height).or_insert((hash, node));
    if first == hash {
        return Ok(());
    }
    Err(format!("node {node} {what} {hash} at height {height}, node {by} {what} {first}"))
}
