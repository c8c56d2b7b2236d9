//! What is asked when this node executed a block differently: what a block changed, and under which keys.
//!
//! The tree and the stored changes know paths, which are hashes of keys; the keys stand in the state alone. While they are
//! looked for, the state is held against the tree: a value that was altered in the store shows there, and nowhere else.
//! Tested below.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use epione_types::{Hash, Height};

use super::{Chain, ChainError, ProofError, keys};
use crate::state_proof;
use crate::store::{Store as _, prefix_end};
use crate::tree::Changes;

/// Rows of a page: blocks wait for it.
const PAGE_ROWS: usize = 256;

/// What was found in the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Keys by path, of the paths that were looked for.
    pub keys: BTreeMap<Hash, Vec<u8>>,
    /// The first key whose value is not the one that the tree holds: the store was altered beside the block writer.
    pub altered: Option<Vec<u8>>,
}

impl Chain {
    /// What a block changed. None if that is forgotten, as it is some time after [`super::PROOF_HEIGHTS`] later heights were
    /// certified, or if there is no such block.
    ///
    /// # Errors
    /// The store failed or the changes are damaged.
    pub fn changes(&self, height: Height) -> Result<Option<Changes>, ChainError> {
        // Changes are dropped by the writer of blocks alone.
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if height <= kept.finished() || height > kept.tree.height() {
            return Ok(None);
        }
        // A block that changes nothing has no row.
        let bytes = self.chunked(keys::CHANGES, height)?;
        let damaged = |why: String| ChainError::Damaged { what: "state changes", height, why };
        Changes::decode(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// The state root after block `height`, had `changes` come next.
    ///
    /// # Errors
    /// [`ProofError`]: the tree of that height is not remembered.
    pub fn root_after(&self, height: Height, changes: &Changes) -> Result<Hash, ProofError> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.tree.root_after(height, changes)?)
    }

    /// Looks through the present state, of which at most `keys_max` keys in order, for the keys of `paths`.
    ///
    /// # Errors
    /// The store failed.
    pub fn name(&self, paths: &BTreeSet<Hash>, keys_max: usize) -> Result<Named, ChainError> {
        let mut named = Named::default();
        let end = prefix_end(&[keys::STATE]);
        let (mut next, mut left) = (Some(vec![keys::STATE]), keys_max);
        while let Some(from) = next.filter(|_| left > 0) {
            // No block comes in meanwhile: state and tree are of one height.
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            let page = self.store.scan(&from, end.as_deref(), PAGE_ROWS.min(left))?;
            left = left.saturating_sub(page.rows.len());
            for (key, value) in page.rows {
                let key = key.get(1..).unwrap_or_default();
                let path = state_proof::path(key);
                let held = Some(state_proof::value_hash(&value));
                if named.altered.is_none() && kept.tree.value_at(&path) != held {
                    named.altered = Some(key.to_vec());
                }
                if paths.contains(&path) {
                    named.keys.insert(path, key.to_vec());
                }
            }
            next = page.next;
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use epione_types::Height;

    use super::super::tests::{block, certify, origin, stores};
    use super::super::{Appended, PROOF_HEIGHTS, Pace};
    use super::*;
    use crate::store::{Batch, MemoryStore, Store};

    fn append(chain: &Chain, n: u8) -> epione_types::BlockHeader {
        match chain.append(&block(chain, n)).unwrap() {
            Appended::Stored(header) => header,
            Appended::AlreadyHave(_) => panic!("block {n} is new"),
        }
    }

    fn written(chain: &Chain, n: u8) -> Changes {
        let writes = block(chain, n).writes;
        Changes::of(writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))
    }

    #[test]
    fn the_changes_of_a_block_are_read_back_and_lead_from_root_to_root() {
        let (stores, _dir) = stores();
        for store in stores {
            let chain = Chain::open(store, &origin()).unwrap();
            let (first, second) = (append(&chain, 1), append(&chain, 2));
            let changes = chain.changes(Height(2)).unwrap().unwrap();
            assert_eq!(changes, written(&chain, 2));
            assert_eq!(chain.root_after(Height(1), &changes).unwrap(), second.state_root);
            assert_eq!(chain.root_after(Height(1), &Changes::default()).unwrap(), first.state_root);
            assert_ne!(chain.root_after(Height(1), &written(&chain, 9)).unwrap(), second.state_root);
            assert_eq!(chain.changes(Height(3)).unwrap(), None, "no such block");
            assert!(chain.root_after(Height(3), &changes).is_err());
        }
    }

    #[test]
    fn changes_that_no_restart_needs_are_forgotten_and_not_taken_for_none() {
        let pace = Pace { changes_bytes_min: 1, rows_min: 64, blocks_max: 1 };
        let chain = Chain::open_at(pace, Arc::new(MemoryStore::default()), &origin()).unwrap();
        let mut last = None;
        for n in 0..u16::try_from(PROOF_HEIGHTS).unwrap() + 20 {
            let header = append(&chain, (n % 200).try_into().unwrap());
            certify(&chain, &header);
            last = Some(header.height);
        }
        let last = last.unwrap();
        assert_eq!(chain.changes(Height(1)).unwrap(), None);
        assert!(chain.changes(last).unwrap().is_some_and(|changes| !changes.as_slice().is_empty()));
        let kept = (1..=last.0).filter(|height| chain.changes(Height(*height)).unwrap().is_some()).count();
        assert!(kept >= usize::try_from(PROOF_HEIGHTS).unwrap(), "{kept}: as long as proofs");
        assert!(kept < usize::try_from(last.0).unwrap(), "{kept}");
    }

    #[test]
    fn keys_are_named_and_a_value_altered_in_the_store_is_found() {
        let store = MemoryStore::default();
        let chain = Chain::open(Arc::new(store.clone()), &origin()).unwrap();
        for n in 1..=5 {
            append(&chain, n);
        }
        let paths = BTreeSet::from([b"k4".as_slice(), b"counter", b"k1"].map(state_proof::path));
        let named = chain.name(&paths, 100).unwrap();
        let keys: BTreeSet<_> = named.keys.into_values().collect();
        assert_eq!(keys, BTreeSet::from([b"k4".to_vec(), b"counter".to_vec()]), "k1 was deleted");
        assert_eq!(named.altered, None);
        let mut batch = Batch::new();
        batch.put(super::keys::state(b"k4"), b"other".to_vec());
        store.apply(batch).unwrap();
        assert_eq!(chain.name(&paths, 100).unwrap().altered, Some(b"k4".to_vec()));
        // In order: the configuration, the counter, k3, k4.
        let bounded = chain.name(&paths, 3).unwrap();
        assert_eq!((bounded.altered, bounded.keys.len()), (None, 1));
    }
}
