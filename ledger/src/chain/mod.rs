//! The chain: the one block writer, and everything that is read back.
//!
//! ```text
//!                    execution (receipts, writes)
//!                          ▼
//!  append(expected head) ──▶ state tree ──▶ header ──▶ one atomic batch: header + log position, batch, receipts,
//!                                                      index, state, state changes
//! ```
//!
//! A block is there whole or not at all, with the position of the log it stems from (R26). Consensus and sync
//! both come through [`Chain::append`], which takes only the successor of the tip. Values may be
//! read while a block comes in, except while its batch is applied (`store::sled`); proofs wait for the block. On
//! opening, the tip is checked: its hash chain, its certificate's header, and its state root against the tree's.
//! Tested in `tests.rs`; under SIGKILL by `tests/kill.rs`.

mod capture;
mod differ;
pub(crate) mod keys;
mod read;
mod restart;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use epione_types::block::HEADER_VERSION;
use epione_types::codec::{self, CodecError};
use epione_types::codes::Refusal;
use epione_types::finality::EPOCHS_MAX;
use epione_types::genesis::WINDOW_MAX;
use epione_types::receipt::tx_leaf;
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Outcome, Receipt, TimestampMs, ValidatorSet,
    merkle,
};

use crate::store::{Batch, Gathered, Store, StoreError};
use crate::tree::Changes;

pub use capture::Captured;
pub use differ::Named;
pub use read::{Located, ProofError};
use restart::{Kept, Pace};

/// Version of the store's layout.
pub(crate) const LAYOUT: u16 = 1;
/// Bytes of a chunk: sled likes values of a few KiB.
const CHUNK: usize = 4 << 10;
/// Heights before the last certified one for which proofs are kept.
pub const PROOF_HEIGHTS: u64 = 256;
/// Why the chain does not open or go on.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Bytes in the store are not what their key says.
    #[error(
        "{what} at height {height} is damaged: {why}; run `epione ledger verify`, then rebuild from peers"
    )]
    Damaged {
        /// What.
        what: &'static str,
        /// Where.
        height: Height,
        /// How it shows.
        why: String,
    },
    /// The store belongs to another chain or layout.
    #[error(
        "the store belongs to chain {found}, the genesis file to {wanted}; use the right genesis or another data folder"
    )]
    OtherChain {
        /// In the store.
        found: String,
        /// By the genesis.
        wanted: ChainId,
    },
    /// A block that is not the tip's successor.
    #[error("block {height} declares parent {declared}, the chain's head is {head}")]
    NotNext {
        /// Its height.
        height: Height,
        /// The head it expects.
        declared: Hash,
        /// The head there is.
        head: Hash,
    },
    /// How an epoch began cannot be proven: the walk from genesis has a gap (R21).
    #[error(
        "how epoch {epoch} began cannot be proven by this ledger, which lacks {what}; run `epione ledger verify`, or ask another node"
    )]
    NoTurn {
        /// The epoch that is not accounted for.
        epoch: Epoch,
        /// What is missing.
        what: String,
    },
    /// The walk from genesis to this epoch is longer than anybody verifies.
    #[error("epoch {0} is more than {EPOCHS_MAX} changes of validators after genesis: no proof is so long")]
    EpochsTooMany(Epoch),
    /// An earlier write failed; nothing more is written.
    #[error("an earlier write failed: {0}; repair the disk and restart")]
    Poisoned(String),
}

/// New values by key; none deletes.
pub type StateWrites = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An executed block on its way into the chain.
#[derive(Debug, Clone)]
pub struct NewBlock {
    /// Height.
    pub height: Height,
    /// Hash of the head it was executed on.
    pub parent: Hash,
    /// Epoch that orders it.
    pub epoch: Epoch,
    /// Sealed time.
    pub timestamp: TimestampMs,
    /// Digest of its batch.
    pub batch_digest: Hash,
    /// Encoded batch.
    pub batch: Bytes,
    /// What became of its transactions.
    pub receipts: Vec<Receipt>,
    /// What it changes.
    pub writes: StateWrites,
    /// Hash of the successor height's validator set and parameters.
    pub next_epoch_hash: Hash,
    /// The validators that come into force with this block, if it is the first of an epoch above 0.
    pub epoch_begins: Option<ValidatorSet>,
    /// Position of the consensus log that it stems from.
    pub log_position: u64,
}

/// Did a block come in?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored.
    Stored(BlockHeader),
    /// It was there already.
    AlreadyHave(BlockHeader),
}

/// What genesis is to the chain.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its hash: the parent of block 1.
    pub chain: ChainId,
    /// Its time.
    pub timestamp: TimestampMs,
    /// The state at height 0.
    pub writes: StateWrites,
}

/// The highest block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its height, 0 for genesis.
    pub height: Height,
    /// Its header hash; the chain id for genesis.
    pub hash: Hash,
    /// Its sealed time.
    pub timestamp: TimestampMs,
    /// State after it.
    pub state_root: Hash,
}

/// The ledger of one node.
pub struct Chain {
    store: Gathered,
    chain: ChainId,
    genesis_time: TimestampMs,
    kept: RwLock<Kept>,
    head: RwLock<Head>,
    /// Height of the block that is being stored, or was last: above the head's while one comes in.
    coming: AtomicU64,
    certified: RwLock<Option<Certificate>>,
    poisoned: RwLock<Option<String>>,
    /// Taken after `kept`.
    capture: Mutex<Option<capture::Capture>>,
    /// The lowest height from which on every block is here.
    base: Height,
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chain").field("head", &self.head()).finish_non_exhaustive()
    }
}

/// Puts `bytes` in pieces that the store likes.
fn put_chunked(batch: &mut Batch, prefix: u8, height: Height, bytes: &[u8]) {
    for (part, at) in bytes.chunks(CHUNK).zip(0u16..) {
        batch.put(keys::chunk(prefix, height, at), part);
    }
}

fn put_state(batch: &mut Batch, writes: &StateWrites) {
    for (key, value) in writes {
        match value {
            Some(value) => batch.put(keys::state(key), value.as_slice()),
            None => batch.delete(keys::state(key)),
        }
    }
}

impl Chain {
    /// Opens the chain in `store`, or begins it, and checks the tip.
    ///
    /// # Errors
    /// [`ChainError`]: another chain's store, or damage at the tip.
    pub fn open(store: Arc<dyn Store>, origin: &Origin) -> Result<Self, ChainError> {
        Self::open_at(Pace::default(), store, origin)
    }

    fn open_at(pace: Pace, store: Arc<dyn Store>, origin: &Origin) -> Result<Self, ChainError> {
        let identity = codec::encode(&(LAYOUT, origin.chain));
        let genesis =
            Changes::of(origin.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
        match store.get(keys::IDENTITY)? {
            None => {
                let mut batch = Batch::new();
                put_state(&mut batch, &origin.writes);
                put_chunked(&mut batch, keys::CHANGES, Height::ZERO, &genesis.encode());
                batch.put(keys::IDENTITY, identity);
                store.apply(batch)?;
            }
            Some(found) if found != identity => {
                let found = codec::decode::<(u16, ChainId)>(&found, 64)
                    .map_or_else(|_| "of another layout".to_owned(), |(_, chain)| chain.to_string());
                return Err(ChainError::OtherChain { found, wanted: origin.chain });
            }
            Some(_) => {}
        }
        let mut chain = Self {
            store: Gathered::new(store),
            chain: origin.chain,
            genesis_time: origin.timestamp,
            kept: RwLock::new(Kept::empty(pace)),
            head: RwLock::new(Head {
                height: Height::ZERO,
                hash: Hash(origin.chain.0),
                timestamp: origin.timestamp,
                state_root: Hash::ZERO,
            }),
            coming: AtomicU64::new(0),
            certified: RwLock::new(None),
            poisoned: RwLock::new(None),
            capture: Mutex::new(None),
            base: Height::ZERO,
        };
        chain.load(pace)?;
        Ok(chain)
    }

    /// Rebuilds what is kept in memory and checks the tip.
    fn load(&mut self, pace: Pace) -> Result<(), ChainError> {
        if let Some(height) = self.height_under(keys::INSTALLING)? {
            let why = "a snapshot was being installed, and is not there any more: remove the ledger's folder, and this node fetches its ledger again".to_owned();
            return Err(ChainError::Damaged { what: "state", height, why });
        }
        self.base = self.height_under(keys::BASE)?.unwrap_or(Height::ZERO);
        let height = self.height_under(keys::TIP)?.unwrap_or(Height::ZERO);
        let tip = self.header(height)?;
        if tip.is_none() && height > Height::ZERO {
            return Err(ChainError::Damaged { what: "header", height, why: "it is missing".to_owned() });
        }
        let certified = self.height_under(keys::CERTIFIED)?;
        let certificate = certified.map(|height| self.certificate(height)).transpose()?.flatten();
        if let Some(certificate) = &certificate {
            let header = self.header(certificate.height)?;
            if header.is_none_or(|header| header.hash() != certificate.header_hash) {
                let why = "its certificate is for another header".to_owned();
                return Err(ChainError::Damaged { what: "header", height: certificate.height, why });
            }
        }
        self.certified = RwLock::new(certificate);
        let kept = self.load_tree(pace, self.oldest_provable(height), height)?;
        let root = kept.tree.root();
        if let Some(header) = &tip
            && header.state_root != root
        {
            let why = format!("the state has root {root}, the header says {}", header.state_root);
            return Err(ChainError::Damaged { what: "state", height, why });
        }
        self.kept = RwLock::new(kept);
        let head = tip.map_or(
            Head {
                height: Height::ZERO,
                hash: Hash(self.chain.0),
                timestamp: self.genesis_time,
                state_root: root,
            },
            |header| Head {
                height: header.height,
                hash: header.hash(),
                timestamp: header.timestamp,
                state_root: header.state_root,
            },
        );
        self.coming = AtomicU64::new(head.height.0);
        self.head = RwLock::new(head);
        Ok(())
    }

    /// The lowest height for which proofs are kept while the head is at `head`.
    fn oldest_provable(&self, head: Height) -> Height {
        let certified = self.certified.read().unwrap_or_else(PoisonError::into_inner);
        let certified = certified.as_ref().map_or(Height::ZERO, |certificate| certificate.height);
        // So many heights may be executed above the last certified one (R8): what is remembered is bounded even when
        // certificates stay out.
        certified.max(head.minus(WINDOW_MAX)).minus(PROOF_HEIGHTS)
    }

    fn height_under(&self, key: &[u8]) -> Result<Option<Height>, ChainError> {
        let bytes = self.store.get(key)?;
        bytes.map(|bytes| Self::decode("metadata", Height::ZERO, &bytes)).transpose()
    }

    /// Stores an executed block on top of `block.parent`, whole or not at all, and returns its header.
    ///
    /// # Errors
    /// [`ChainError::NotNext`] if it is no successor; any other error poisons the chain: nothing more is written.
    pub fn append(&self, block: &NewBlock) -> Result<Appended, ChainError> {
        if let Some(why) = self.poisoned.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(ChainError::Poisoned(why));
        }
        let head = self.head();
        if block.height <= head.height {
            let header = self.header(block.height)?;
            return header
                .filter(|header| header.parent == block.parent && header.batch_digest == block.batch_digest)
                .map(Appended::AlreadyHave)
                .ok_or(ChainError::NotNext {
                    height: block.height,
                    declared: block.parent,
                    head: head.hash,
                });
        }
        if block.height != head.height.next() || block.parent != head.hash {
            return Err(ChainError::NotNext {
                height: block.height,
                declared: block.parent,
                head: head.hash,
            });
        }
        let changes = Changes::of(block.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
        // Held until the head has moved: whoever holds it for reading sees no block come in (`consistent`).
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let state_root = kept.tree.apply(&changes);
        self.coming.store(block.height.0, Ordering::SeqCst);
        let header = Self::seal(block, state_root);
        let changes = changes.encode();
        let stored = self.batch_of(block, &header, &changes).and_then(|mut batch| {
            kept.add_to(&mut batch, &self.store, self.oldest_provable(block.height), changes.len())?;
            self.save_captured(&block.writes, &kept.tree)?;
            Ok(self.store.apply(batch)?)
        });
        if let Err(error) = stored {
            self.coming.store(head.height.0, Ordering::SeqCst); // none comes
            return Err(self.poison(error));
        }
        *self.head.write().unwrap_or_else(PoisonError::into_inner) =
            Head { height: header.height, hash: header.hash(), timestamp: header.timestamp, state_root };
        Ok(Appended::Stored(header))
    }

    /// Has a write failed? Then no block comes in any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn poison(&self, error: ChainError) -> ChainError {
        *self.poisoned.write().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        error
    }

    /// What comes in from now on is seen at once, and stored together at [`Chain::settle`]: blocks whose batches are small
    /// cost less so. Until then a crash of the process loses it, as a power cut would.
    pub fn gather(&self) {
        self.store.gather();
    }

    /// How many rows wait for [`Chain::settle`].
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.store.rows()
    }

    /// Stores what was gathered, all of it or nothing.
    ///
    /// # Errors
    /// The store failed. Nothing more is written.
    pub fn settle(&self) -> Result<(), ChainError> {
        self.store.settle().map_err(|error| self.poison(error.into()))
    }

    /// The header: a function of the parent and the batch alone (R12).
    fn seal(block: &NewBlock, state_root: Hash) -> BlockHeader {
        let ids: Vec<Hash> = block.receipts.iter().map(|receipt| tx_leaf(receipt.tx_id)).collect();
        let leaves: Vec<Hash> = block.receipts.iter().map(Receipt::leaf).collect();
        BlockHeader {
            version: HEADER_VERSION,
            height: block.height,
            epoch: block.epoch,
            parent: block.parent,
            timestamp: block.timestamp,
            batch_digest: block.batch_digest,
            txs_root: merkle::root(&ids),
            receipts_root: merkle::root(&leaves),
            state_root,
            next_epoch_hash: block.next_epoch_hash,
        }
    }

    fn batch_of(&self, block: &NewBlock, header: &BlockHeader, changes: &[u8]) -> Result<Batch, ChainError> {
        let height = block.height;
        let mut batch = Batch::new();
        batch.put(keys::at(keys::HEADER, height), codec::encode(&(header, block.log_position)));
        batch.put(keys::TIP, codec::encode(&height));
        if let Some(set) = &block.epoch_begins {
            batch.put(keys::epoch(set.epoch), codec::encode(&(height.minus(1), set)));
        }
        put_chunked(&mut batch, keys::BATCH, height, &block.batch);
        put_chunked(&mut batch, keys::RECEIPTS, height, &codec::encode(&block.receipts));
        put_chunked(&mut batch, keys::CHANGES, height, changes);
        // The first occurrence of an id keeps the index (R10): a later one is refused as DUPLICATE, or as EXPIRED once
        // its time has passed, and is found in its own block.
        for receipt in &block.receipts {
            let later = match receipt.outcome {
                Outcome::Refused(Refusal::Duplicate) => true,
                Outcome::Refused(Refusal::Expired) => self.locate(receipt.tx_id)?.is_some(),
                Outcome::Ok | Outcome::Refused(_) => false,
            };
            if !later {
                batch.put(keys::tx(receipt.tx_id), codec::encode(&(height, receipt.index)));
            }
        }
        put_state(&mut batch, &block.writes);
        Ok(batch)
    }

    /// Stores a certificate of a block that is here.
    ///
    /// # Errors
    /// The store failed, or there is no such block.
    pub fn certify(&self, certificate: &Certificate) -> Result<(), ChainError> {
        let height = certificate.height;
        if self.header(height)?.is_none_or(|header| header.hash() != certificate.header_hash) {
            let why = "certificate for a header that is not here".to_owned();
            return Err(ChainError::Damaged { what: "certificate", height, why });
        }
        let mut certified = self.certified.write().unwrap_or_else(PoisonError::into_inner);
        let highest = certified.as_ref().is_none_or(|held| held.height < height);
        let mut batch = Batch::new();
        batch.put(keys::at(keys::CERTIFICATE, height), codec::encode(certificate));
        if highest {
            batch.put(keys::CERTIFIED, codec::encode(&height));
        }
        self.store.apply(batch)?;
        if highest {
            *certified = Some(certificate.clone());
        }
        Ok(())
    }

    /// Keeps a proof of misbehaviour, encoded by the caller, under a number of the caller's.
    ///
    /// # Errors
    /// The store failed.
    pub fn keep_evidence(&self, number: u64, bytes: Vec<u8>) -> Result<(), ChainError> {
        let mut batch = Batch::new();
        batch.put(keys::at(keys::EVIDENCE, Height(number)), bytes);
        Ok(self.store.apply(batch)?)
    }

    /// Everything stored so far survives a power cut; up to which height that is.
    ///
    /// # Errors
    /// The store failed.
    pub fn sync(&self) -> Result<Height, ChainError> {
        let height = self.head().height;
        self.store.sync()?;
        Ok(height)
    }

    fn decode<T: serde::Serialize + serde::de::DeserializeOwned>(
        what: &'static str,
        height: Height,
        bytes: &[u8],
    ) -> Result<T, ChainError> {
        codec::decode(bytes, usize::MAX).map_err(|error: CodecError| ChainError::Damaged {
            what,
            height,
            why: error.to_string(),
        })
    }
}
