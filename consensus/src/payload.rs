//! A batch with its bytes and digest: what a slot is about.

use bytes::Bytes;
use epione_types::codec::{self, CodecError};
use epione_types::genesis::BATCH_BYTES_MAX;
use epione_types::{Batch, Domain, Hash, Params, TimestampMs, ValidatorIndex};

/// A batch, its encoding and its digest: decoded once, hashed once, never encoded again.
#[derive(Debug, Clone)]
pub struct Payload {
    digest: Hash,
    bytes: Bytes,
    batch: Batch,
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
impl Eq for Payload {}

/// The null batch's digest.
#[must_use]
pub(crate) fn null_digest() -> Hash {
    Batch::null_digest()
}

impl Payload {
    /// Of a batch of one's own.
    #[must_use]
    pub fn new(batch: Batch) -> Self {
        let bytes = Bytes::from(codec::encode(&batch));
        Self { digest: Domain::BATCH.hash(&bytes), bytes, batch }
    }

    /// Of bytes from outside: bounded and canonical. Says nothing of the transactions inside.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: Bytes, params: &Params) -> Result<Self, CodecError> {
        let batch: Batch = codec::decode(&bytes, params.batch_bytes_max as usize)?;
        Ok(Self { digest: Domain::BATCH.hash(&bytes), bytes, batch })
    }

    /// Of bytes from the own log, which may be of an epoch with other limits.
    ///
    /// # Errors
    /// [`CodecError`].
    pub(crate) fn of_the_log(bytes: Bytes) -> Result<Self, CodecError> {
        let batch: Batch = codec::decode(&bytes, BATCH_BYTES_MAX as usize)?;
        Ok(Self { digest: Domain::BATCH.hash(&bytes), bytes, batch })
    }

    /// Hash of the encoding.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.digest
    }
    /// The encoding.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// The batch.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }
    /// Is it the null batch?
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.batch, Batch::Null)
    }
    /// Proposer and stamp; none for the null batch.
    #[must_use]
    pub const fn stamp(&self) -> Option<(ValidatorIndex, TimestampMs)> {
        match &self.batch {
            Batch::Null => None,
            Batch::Proposed { proposer, stamp, .. } => Some((*proposer, *stamp)),
        }
    }
    /// Could no further transaction be sure to fit?
    #[must_use]
    pub fn is_full(&self, params: &Params) -> bool {
        let room = (params.batch_bytes_max as usize).saturating_sub(self.bytes.len());
        self.batch.txs().len() >= params.batch_txs_max as usize || room < epione_types::tx::MAX_TX_BYTES
    }
}
