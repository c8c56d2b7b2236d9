//! What consensus orders: a batch of transactions with the primary's stamp, or the null batch.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::hash::{Domain, Hash};
use crate::id::{TimestampMs, ValidatorIndex};
use crate::tx::SignedTx;

/// A batch of one slot. Equal bytes, equal digest; the digest is all that votes are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Batch {
    /// Fills a slot that a view change left without a prepared proposal. Has no stamp; only a `NewView` brings it (R11).
    Null,
    /// Cut by a primary; empty when only time has to move (R11).
    Proposed {
        /// The primary that cut it.
        proposer: ValidatorIndex,
        /// The primary's clock.
        stamp: TimestampMs,
        /// In execution order.
        txs: Vec<SignedTx>,
    },
}

impl Batch {
    /// Digest over the encoding.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Domain::BATCH.hash(&codec::encode(self))
    }

    /// The null batch's constant digest.
    #[must_use]
    pub fn null_digest() -> Hash {
        Self::Null.digest()
    }

    /// The transactions, none for the null batch.
    #[must_use]
    pub fn txs(&self) -> &[SignedTx] {
        match self {
            Self::Null => &[],
            Self::Proposed { txs, .. } => txs,
        }
    }

    /// Sealed time of the block this batch makes on a parent sealed at `parent`: max(parent + 1 ms, stamp) (R11).
    #[must_use]
    pub fn sealed_time(&self, parent: TimestampMs) -> TimestampMs {
        match self {
            Self::Null => parent.next(),
            Self::Proposed { stamp, .. } => parent.next().max(*stamp),
        }
    }
}
