//! What is read back from the chain.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use epione_types::finality::EPOCHS_MAX;
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Receipt, TimestampMs, Turn, TxId, ValidatorSet,
};

use super::{Chain, ChainError, Head, keys};
use crate::state_proof::{self, StateProof};
use crate::store::{Row, Store as _, StoreError, prefix_end};
use crate::tree::NoSuchVersion;

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Block.
    pub height: Height,
    /// Place within it.
    pub index: u32,
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The height is not remembered.
    #[error(transparent)]
    NoSuchVersion(#[from] NoSuchVersion),
}

impl Chain {
    /// The chain's id.
    #[must_use]
    pub const fn chain_id(&self) -> ChainId {
        self.chain
    }

    /// Sealed time of genesis.
    #[must_use]
    pub const fn genesis_time(&self) -> TimestampMs {
        self.genesis_time
    }

    /// The highest block.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that this ledger began with: blocks up to that height are not here, but for those that were before.
    /// Zero if it has every block.
    #[must_use]
    pub const fn base(&self) -> Height {
        self.base
    }

    /// The highest certificate; none while only genesis is certain.
    #[must_use]
    pub fn certified(&self) -> Option<Certificate> {
        self.certified.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Header of a block.
    ///
    /// # Errors
    /// The store failed or the header is damaged.
    pub fn header(&self, height: Height) -> Result<Option<BlockHeader>, ChainError> {
        Ok(self.header_and_position(height)?.map(|(header, _)| header))
    }

    /// Position of the consensus log that a block stems from.
    ///
    /// # Errors
    /// The store failed or the header is damaged.
    pub fn log_position(&self, height: Height) -> Result<Option<u64>, ChainError> {
        Ok(self.header_and_position(height)?.map(|(_, position)| position))
    }

    fn header_and_position(&self, height: Height) -> Result<Option<(BlockHeader, u64)>, ChainError> {
        let bytes = self.store.get(&keys::at(keys::HEADER, height))?;
        bytes.map(|bytes| Self::decode("header", height, &bytes)).transpose()
    }

    /// Certificate of exactly this block, if one was stored.
    ///
    /// # Errors
    /// The store failed or the certificate is damaged.
    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, ChainError> {
        let bytes = self.store.get(&keys::at(keys::CERTIFICATE, height))?;
        bytes.map(|bytes| Self::decode("certificate", height, &bytes)).transpose()
    }

    /// The lowest certificate at or above `height`: it vouches for that block too (R12).
    ///
    /// # Errors
    /// The store failed or the certificate is damaged.
    pub fn certificate_from(&self, height: Height) -> Result<Option<Certificate>, ChainError> {
        let end = prefix_end(&[keys::CERTIFICATE]);
        let found = self.store.scan(&keys::at(keys::CERTIFICATE, height), end.as_deref(), 1)?;
        found.rows.first().map(|(_, bytes)| Self::decode("certificate", height, bytes)).transpose()
    }

    /// An epoch above 0 that has begun: the last height of the one before, and its validators.
    ///
    /// # Errors
    /// The store failed or the entry is damaged.
    pub fn epoch(&self, epoch: Epoch) -> Result<Option<(Height, ValidatorSet)>, ChainError> {
        let bytes = self.store.get(&keys::epoch(epoch))?;
        bytes.map(|bytes| Self::decode("epoch", Height::ZERO, &bytes)).transpose()
    }

    /// How one comes from the genesis to this epoch, oldest first: every step of the way (R21).
    ///
    /// # Errors
    /// [`ChainError::NoTurn`] with what is missing, [`ChainError::EpochsTooMany`]; the store failed.
    pub fn turns(&self, epoch: Epoch) -> Result<Vec<Turn>, ChainError> {
        if usize::try_from(epoch.0).map_or(true, |steps| steps > EPOCHS_MAX) {
            return Err(ChainError::EpochsTooMany(epoch));
        }
        let turn = |epoch: u64| {
            let lacks = |what: String| ChainError::NoTurn { epoch: Epoch(epoch), what };
            let begun = self.epoch(Epoch(epoch))?;
            let (end, set) = begun.ok_or_else(|| lacks("the set of validators".to_owned()))?;
            let last = self.header(end)?.ok_or_else(|| lacks(format!("the header of block {end}")))?;
            let certificate = self.certificate(end)?;
            let certificate = certificate.ok_or_else(|| lacks(format!("the certificate of block {end}")))?;
            Ok(Turn { last, certificate, set })
        };
        (1..=epoch.0).map(turn).collect()
    }

    /// Page after page, at most `limit` rows.
    fn rows(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut page = self.store.scan(from, to, limit)?;
        let mut rows = page.rows;
        while let Some(next) = page.next.filter(|_| rows.len() < limit) {
            page = self.store.scan(&next, to, limit - rows.len())?;
            rows.append(&mut page.rows);
        }
        Ok(rows)
    }

    pub(super) fn chunked(&self, prefix: u8, height: Height) -> Result<Vec<u8>, StoreError> {
        let (from, to) = (keys::at(prefix, height), keys::at(prefix, height.next()));
        let parts = self.rows(&from, Some(&to), usize::MAX)?;
        Ok(parts.into_iter().flat_map(|(_, part)| part).collect())
    }

    /// Encoded batch of a block; none if there is no such block.
    ///
    /// # Errors
    /// The store failed.
    pub fn batch(&self, height: Height) -> Result<Option<Vec<u8>>, ChainError> {
        let bytes = self.chunked(keys::BATCH, height)?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Receipts of a block, in order; none if there is no such block.
    ///
    /// # Errors
    /// The store failed or the receipts are damaged.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<Receipt>>, ChainError> {
        let bytes = self.chunked(keys::RECEIPTS, height)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Self::decode("receipts", height, &bytes).map(Some)
    }

    /// Where a transaction was executed first.
    ///
    /// # Errors
    /// The store failed or the index is damaged.
    pub fn locate(&self, id: TxId) -> Result<Option<Located>, ChainError> {
        let Some(bytes) = self.store.get(&keys::tx(id))? else { return Ok(None) };
        let (height, index): (Height, u32) = Self::decode("transaction index", Height::ZERO, &bytes)?;
        Ok(Some(Located { height, index }))
    }

    /// The first receipt of a transaction.
    ///
    /// # Errors
    /// The store failed or the receipt is damaged.
    pub fn receipt(&self, id: TxId) -> Result<Option<Receipt>, ChainError> {
        let Some(located) = self.locate(id)? else { return Ok(None) };
        let receipts = self.receipts(located.height)?.unwrap_or_default();
        Ok(usize::try_from(located.index).ok().and_then(|at| receipts.into_iter().nth(at)))
    }

    /// A value of the current state.
    ///
    /// # Errors
    /// The store failed.
    pub fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(&keys::state(key))
    }

    /// At most `limit` entries of the current state with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// The store failed.
    pub fn state_range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let entries = self.rows(&keys::state(from), Some(&keys::state(to)), limit)?;
        Ok(entries
            .into_iter()
            .map(|(key, value)| (key.get(1..).unwrap_or_default().to_vec(), value))
            .collect())
    }

    /// Reads several things as of one block: `read` runs again if a block came in meanwhile.
    /// After some attempts the last answer is given with the head it ended at.
    pub fn consistent<T>(&self, mut read: impl FnMut() -> T) -> (Head, T) {
        let mut before = self.head();
        for _ in 0..8 {
            let answer = read();
            let after = self.head();
            // A block may be there already, or half of it, before the head is its own.
            if before == after && self.coming.load(Ordering::SeqCst) == after.height.0 {
                return (after, answer);
            }
            before = after;
        }
        // Blocks come faster than this read: hold the writer off for once. It takes this lock before anything else.
        let _kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        (self.head(), read())
    }

    /// Root of the state after block `height`, if it is remembered.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn state_root_at(&self, height: Height) -> Result<Hash, ProofError> {
        Ok(self.kept.read().unwrap_or_else(PoisonError::into_inner).tree.root_at(height)?)
    }

    /// Proof of what `key` holds after block `height`, or that it holds nothing; for the heights above the last
    /// certified one, for that one, and for [`super::PROOF_HEIGHTS`] before it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn prove(&self, height: Height, key: &[u8]) -> Result<StateProof, ProofError> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.tree.prove(height, &state_proof::path(key))?)
    }

    /// Evidence kept, at most `limit` pieces from `number` on.
    ///
    /// # Errors
    /// The store failed.
    pub fn evidence(&self, number: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ChainError> {
        let end = prefix_end(&[keys::EVIDENCE]);
        let found = self.rows(&keys::at(keys::EVIDENCE, Height(number)), end.as_deref(), limit)?;
        Ok(found
            .into_iter()
            .filter_map(|(key, bytes)| Some((u64::from_be_bytes(key.get(1..)?.try_into().ok()?), bytes)))
            .collect())
    }

    /// Everything that the store holds of the state, for a full check: at most `limit` entries after `after`.
    ///
    /// # Errors
    /// The store failed.
    pub fn state_after(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut from = keys::state(after.unwrap_or_default());
        if after.is_some() {
            from.push(0);
        }
        let entries = self.rows(&from, prefix_end(&[keys::STATE]).as_deref(), limit)?;
        Ok(entries
            .into_iter()
            .map(|(key, value)| (key.get(1..).unwrap_or_default().to_vec(), value))
            .collect())
    }
}
