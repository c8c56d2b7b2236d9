//! The one block writer's front: a batch in, a sealed header out.
//!
//! ```text
//!  append(height, batch) ─▶ contracts ─▶ receipts, writes ─▶ chain: roots, header, one atomic write
//! ```
//!
//! Consensus, sync and a restart all come through here, in order, so a height is executed once: what is stored already is
//! answered from the store, what is further ahead is an error. The header is a function of the parent and the batch
//! alone (R12). Tested by `tests/cluster.rs`.

use std::sync::Arc;

use epione_chaincode::config::{self, Epoch, Epochs};
use epione_chaincode::host::Entry;
use epione_chaincode::{BlockContext, DecodedTx, State, StateError, execute_block};
use epione_consensus::{Payload, Tip};
use epione_ledger::chain::{Appended, Chain, ChainError, NewBlock};
use epione_types::{BlockHeader, Hash, Height, Receipt, TimestampMs, TxId};

use crate::validate::{Checked, InvalidBatch, parse_vouched};

/// The state after the chain's head, as the contracts read it. It moves on with the chain.
#[derive(Debug, Clone)]
pub struct ChainState(pub Arc<Chain>);

impl State for ChainState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.state(key).map_err(|error| StateError::Store(error.to_string()))
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError> {
        self.0.state_range(from, to, limit).map_err(|error| StateError::Store(error.to_string()))
    }
}

/// The chain's head, as consensus names it.
///
/// # Errors
/// The store failed.
pub fn tip(chain: &Chain) -> Result<Tip, ChainError> {
    let head = chain.head();
    Ok(match chain.header(head.height)? {
        Some(header) => Tip::of(&header),
        None => {
            Tip { height: head.height, hash: head.hash, timestamp: head.timestamp, batch_digest: Hash::ZERO }
        }
    })
}

/// Why a block was not written. Voting stops.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The chain or its store.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A quorum vouches for a batch that this binary cannot read.
    #[error("the batch of height {height}, which a quorum ordered, is invalid here: {why}; compare versions")]
    Unreadable {
        /// Height.
        height: Height,
        /// What is wrong.
        why: InvalidBatch,
    },
    /// A block above the next one.
    #[error("block {height} does not follow the chain's head, {head}")]
    Gap {
        /// What was to be executed.
        height: Height,
        /// The head.
        head: Height,
    },
}

/// What became of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its header.
    pub header: BlockHeader,
    /// Its transactions.
    pub ids: Vec<TxId>,
    /// Its receipts.
    pub receipts: Vec<Receipt>,
    /// When something in the state next waits for time (R11).
    pub deadline: Option<TimestampMs>,
    /// Of which epoch it is, and what comes after.
    pub epochs: Epochs,
}

/// The writer of one chain.
#[derive(Debug)]
pub struct Executor {
    chain: Arc<Chain>,
    state: ChainState,
}

impl Executor {
    /// On an open chain, of which it is the only writer.
    #[must_use]
    pub fn new(chain: Arc<Chain>) -> Self {
        Self { state: ChainState(chain.clone()), chain }
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Executes and stores the batch of `height` on top of the head.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing of the block is stored, and the node must stop voting.
    pub fn append(
        &self,
        height: Height,
        payload: &Payload,
        txs: Option<Vec<Checked>>,
        log_position: u64,
    ) -> Result<Written, ExecuteError> {
        let head = self.chain.head();
        if height <= head.height {
            return self.stored(height, payload);
        }
        if height != head.height.next() {
            return Err(ExecuteError::Gap { height, head: head.height });
        }
        let decoded: Vec<DecodedTx> = match txs {
            Some(txs) => txs.iter().map(|tx| tx.decoded.clone()).collect(),
            None => parse_vouched(payload, self.chain.chain_id())
                .map_err(|why| ExecuteError::Unreadable { height, why })?,
        };
        let timestamp = payload.batch().sealed_time(head.timestamp);
        let context = BlockContext { height, timestamp, parent_timestamp: head.timestamp };
        let execution = execute_block(&self.state, &context, &decoded)?;
        let epochs = execution.epochs;
        let Epoch { set, begin } = &epochs.of;
        let first = set.epoch > epione_types::Epoch::ZERO && height == begin.next();
        let block = NewBlock {
            height,
            parent: head.hash,
            epoch: set.epoch,
            timestamp,
            batch_digest: payload.digest(),
            batch: payload.bytes().clone(),
            receipts: execution.receipts,
            writes: execution.writes,
            next_epoch_hash: epochs.after(height).hash(),
            epoch_begins: first.then(|| set.clone()),
            log_position,
        };
        let (Appended::Stored(header) | Appended::AlreadyHave(header)) = self.chain.append(&block)?;
        let ids = decoded.iter().map(|tx| tx.id).collect();
        Ok(Written { header, ids, receipts: block.receipts, deadline: execution.next_deadline, epochs })
    }

    /// A block that is here already: the same answer as the first time.
    fn stored(&self, height: Height, payload: &Payload) -> Result<Written, ExecuteError> {
        let header = self.chain.header(height)?.filter(|header| header.batch_digest == payload.digest());
        let header = header.ok_or(ExecuteError::Gap { height, head: self.chain.head().height })?;
        let receipts = self.chain.receipts(height)?.unwrap_or_default();
        let ids = receipts.iter().map(|receipt| receipt.tx_id).collect();
        Ok(Written { header, ids, receipts, deadline: self.deadline()?, epochs: self.epochs()? })
    }

    /// When something in the state next waits for time (R11).
    ///
    /// # Errors
    /// The store failed.
    pub fn deadline(&self) -> Result<Option<TimestampMs>, ExecuteError> {
        Ok(epione_chaincode::next_deadline(&self.state)?)
    }

    /// What the state says of epochs after the head.
    ///
    /// # Errors
    /// The store failed.
    pub fn epochs(&self) -> Result<Epochs, ExecuteError> {
        Ok(config::epochs(&self.state)?)
    }
}
