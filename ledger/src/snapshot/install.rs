//! A snapshot takes the place of a store's state.
//!
//! A mark is set first and removed by the batch that makes the snapshot's block the tip: between, the store opens as
//! nothing but damaged, and installing begins anew. Blocks that were there stay; those between are nowhere here.

use epione_types::{Height, Receipt, codec};
use tracing::info;

use super::format::{Manifest, Unpacked};
use super::shelf::{Shelf, ShelfError};
use crate::chain::{Origin, keys};
use crate::disk::Disk;
use crate::store::{Batch, Store, StoreError, prefix_end};
use crate::tree::checkpoint;

/// Rows of a batch.
const BATCH_ROWS: usize = 4_096;

/// Why a snapshot could not be installed. The store opens again when it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shelf failed, or the snapshot is damaged.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Rows on their way into a store, some thousands at a time.
struct Rows<'a> {
    store: &'a dyn Store,
    batch: Batch,
}

impl Rows<'_> {
    fn apply(&mut self, at_least: usize) -> Result<(), StoreError> {
        if self.batch.len() >= at_least.max(1) {
            self.store.apply(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn clear(&mut self, prefix: u8) -> Result<(), StoreError> {
        let (end, mut next) = (prefix_end(&[prefix]), Some(vec![prefix]));
        while let Some(from) = next {
            let page = self.store.scan(&from, end.as_deref(), BATCH_ROWS)?;
            page.rows.into_iter().for_each(|(key, _)| self.batch.delete(key));
            self.apply(0)?;
            next = page.next;
        }
        Ok(())
    }
}

impl Rows<'_> {
    /// Blocks up to `tip` that no certificate vouches for: those between them and the snapshot never come, so nothing will ever
    /// hold them against the chain.
    fn clear_uncertified(&mut self, tip: Height) -> Result<(), StoreError> {
        let height_of = |bytes: Vec<u8>| codec::decode::<Height>(&bytes, 8).ok();
        let certified = self.store.get(keys::CERTIFIED)?.and_then(height_of).unwrap_or_default();
        for height in (certified.next().0..=tip.0).map(Height) {
            for prefix in [keys::BATCH, keys::RECEIPTS] {
                let (mut bytes, end) = (Vec::new(), keys::at(prefix, height.next()));
                let mut next = Some(keys::at(prefix, height));
                while let Some(from) = next {
                    let page = self.store.scan(&from, Some(&end), BATCH_ROWS)?;
                    for (key, row) in page.rows {
                        bytes.extend(row);
                        self.batch.delete(key);
                    }
                    next = page.next;
                }
                let receipts = codec::decode::<Vec<Receipt>>(&bytes, bytes.len()).unwrap_or_default();
                for receipt in receipts.iter().filter(|_| prefix == keys::RECEIPTS) {
                    let key = keys::tx(receipt.tx_id);
                    let located = self.store.get(&key)?;
                    let located = located.and_then(|at| codec::decode::<(Height, u32)>(&at, at.len()).ok());
                    if located.is_some_and(|(at, _)| at == height) {
                        self.batch.delete(key);
                    }
                }
            }
            self.batch.delete(keys::at(keys::HEADER, height));
            self.apply(BATCH_ROWS)?;
        }
        Ok(())
    }
}

/// Installs the snapshot that [`Shelf::to_install`] named, verified by the caller, if the store is not as far already.
/// `store` must not be open as a chain. True if it was installed.
///
/// # Errors
/// [`InstallError`].
pub fn install<D: Disk>(
    store: &dyn Store,
    shelf: &mut Shelf<D>,
    manifest: &Manifest,
    origin: &Origin,
) -> Result<bool, InstallError> {
    let identity = codec::encode(&(crate::chain::LAYOUT, origin.chain));
    if store.get(keys::IDENTITY)?.is_some_and(|found| found != identity) {
        return Ok(false); // another chain's: it does not open
    }
    let height = manifest.header.height;
    let under_way = store.get(keys::INSTALLING)?.is_some();
    let tip = store.get(keys::TIP)?.and_then(|bytes| codec::decode::<Height>(&bytes, 8).ok());
    if !under_way && tip.is_some_and(|tip| tip >= height) {
        let base = store.get(keys::BASE)?.and_then(|bytes| codec::decode::<Height>(&bytes, 8).ok());
        shelf.done_with_install(base == Some(height))?;
        return Ok(false);
    }
    if !under_way {
        // Before anything is removed: a damaged snapshot costs itself, and not the ledger.
        for index in (0..).take(manifest.chunks.len()) {
            shelf.installing(index)?;
        }
    }
    fill(store, manifest, origin, |index| shelf.installing(index))?;
    shelf.done_with_install(true)?;
    Ok(true)
}

/// Makes this the state of a store, which is not open as a chain; the chunks are what the manifest says.
///
/// # Errors
/// The store or the chunks' source failed; the store does not open until it is done again.
pub fn fill(
    store: &dyn Store,
    manifest: &Manifest,
    origin: &Origin,
    mut chunk: impl FnMut(u32) -> Result<Unpacked, ShelfError>,
) -> Result<(), InstallError> {
    let height = manifest.header.height;
    let tip = store.get(keys::TIP)?.and_then(|bytes| codec::decode::<Height>(&bytes, 8).ok());
    info!(%height, entries = manifest.entries(), "installing a snapshot");
    // What the log has to hold at least (R26) is what the last block here says, until blocks above the snapshot say more.
    let begun = store.get(keys::POSITION)?.and_then(|bytes| codec::decode::<u64>(&bytes, 8).ok());
    let position = match tip {
        Some(_) if begun.is_some() => begun,
        Some(tip) => store.get(&keys::at(keys::HEADER, tip))?.and_then(|bytes| log_position(&bytes)),
        None => None,
    };
    let mut rows = Rows { store, batch: Batch::new() };
    rows.batch.put(keys::INSTALLING, codec::encode(&height));
    rows.batch.put(keys::POSITION, codec::encode(&position.unwrap_or(0)));
    rows.batch.put(keys::IDENTITY, codec::encode(&(crate::chain::LAYOUT, origin.chain)));
    rows.apply(0)?;
    store.sync()?;
    for prefix in [keys::STATE, keys::CHANGES, keys::CHECKPOINT, keys::EPOCH] {
        rows.clear(prefix)?;
    }
    rows.clear_uncertified(tip.unwrap_or_default())?;
    let mut tree = checkpoint::Whole::new(keys::CHECKPOINT);
    for index in (0..).take(manifest.chunks.len()) {
        let chunk = chunk(index)?;
        for entry in chunk.entries() {
            rows.batch.put(keys::state(entry.key), entry.value);
            rows.apply(BATCH_ROWS)?;
        }
        tree.put(&chunk.leaves, &mut rows.batch);
    }
    rows.apply(0)?;
    for turn in &manifest.turns {
        let (end, certificate) = (turn.last.height, &turn.certificate);
        rows.batch.put(keys::epoch(turn.set.epoch), codec::encode(&(end, &turn.set)));
        rows.batch.put(keys::at(keys::HEADER, end), codec::encode(&(&turn.last, 0u64)));
        rows.batch.put(keys::at(keys::CERTIFICATE, end), codec::encode(certificate));
    }
    tree.finish(height, manifest.header.state_root, &mut rows.batch);
    rows.batch.put(keys::at(keys::HEADER, height), codec::encode(&(&manifest.header, position.unwrap_or(0))));
    rows.batch.put(keys::at(keys::CERTIFICATE, height), codec::encode(&manifest.certificate));
    for key in [keys::TIP, keys::CERTIFIED, keys::BASE] {
        rows.batch.put(key, codec::encode(&height));
    }
    rows.batch.delete(keys::INSTALLING);
    rows.batch.delete(keys::POSITION);
    rows.apply(0)?;
    store.sync()?;
    info!(%height, "installed");
    Ok(())
}

fn log_position(header: &[u8]) -> Option<u64> {
    let decoded = codec::decode::<(epione_types::BlockHeader, u64)>(header, usize::MAX);
    decoded.ok().map(|(_, position)| position)
}
