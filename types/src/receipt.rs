//! What became of a transaction.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::codes::Refusal;
use crate::event::Event;
use crate::hash::{Domain, Hash};
use crate::id::{Height, TxId};

/// Version of the receipt's layout.
pub const RECEIPT_VERSION: u16 = 1;

/// Committed outcome of one transaction at one place in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Layout version, [`RECEIPT_VERSION`].
    pub version: u16,
    /// The transaction.
    pub tx_id: TxId,
    /// Block.
    pub height: Height,
    /// Place within the block, from 0.
    pub index: u32,
    /// Applied, or refused with nothing applied.
    pub outcome: Outcome,
    /// What happened; empty when refused.
    pub events: Vec<Event>,
}

/// A call applies all of its writes and events, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Applied. A denied access is applied too: the denial is the audit trail.
    Ok,
    /// Nothing was applied.
    Refused(Refusal),
}

impl Receipt {
    /// Leaf in the block's receipts tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        Domain::RECEIPT_LEAF.hash(&codec::encode(self))
    }
}

/// Leaf in the block's transactions tree.
#[must_use]
pub fn tx_leaf(id: TxId) -> Hash {
    Domain::TX_LEAF.hash(id.as_bytes())
}
