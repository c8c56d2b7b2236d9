//! Headers, certificates, batches, validator sets and proofs.
//!
//! What is hashed travels as the very bytes that are hashed (`*_bytes`): a verifier in any language needs blake3, not
//! our encoding.

use bytes::Bytes;
use epione_types::batch::Batch;
use epione_types::block::{BlockHeader, Certificate, SignatureSet};
use epione_types::codec;
use epione_types::genesis::{Params, Validator, ValidatorSet};
use epione_types::id::{Epoch, Height, TimestampMs, ValidatorIndex};
use epione_types::merkle::{self, MerklePath};
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::receipt::Receipt;
use epione_types::state_proof::{STATE_DEPTH_MAX, StateLeaf, StateProof};

use super::{At as _, ConvertError, ConvertReason, fits, fixed, list, need, raw};
use crate::v1::{self as pb, batch::Batch as BatchKind};

/// Canonical bytes of a header: what its hash is over.
#[must_use]
pub fn bytes_of_header(header: &BlockHeader) -> Bytes {
    codec::encode(header).into()
}

/// Canonical bytes of a receipt: what its leaf is over.
#[must_use]
pub fn bytes_of_receipt(receipt: &Receipt) -> Bytes {
    codec::encode(receipt).into()
}

/// Canonical bytes of a validator set: what `next_epoch_hash` is over.
#[must_use]
pub fn bytes_of_validators(set: &ValidatorSet) -> Bytes {
    codec::encode(set).into()
}

impl From<&BlockHeader> for pb::BlockHeader {
    fn from(header: &BlockHeader) -> Self {
        Self {
            version: header.version.into(),
            height: header.height.0,
            epoch: header.epoch.0,
            parent: raw(header.parent.0),
            timestamp_ms: header.timestamp.0,
            batch_digest: raw(header.batch_digest.0),
            transactions_root: raw(header.txs_root.0),
            receipts_root: raw(header.receipts_root.0),
            state_root: raw(header.state_root.0),
            next_epoch_hash: raw(header.next_epoch_hash.0),
        }
    }
}

impl TryFrom<pb::BlockHeader> for BlockHeader {
    type Error = ConvertError;
    fn try_from(wire: pb::BlockHeader) -> Result<Self, ConvertError> {
        Ok(Self {
            version: fits("version", wire.version)?,
            height: Height(wire.height),
            epoch: Epoch(wire.epoch),
            parent: fixed("parent", &wire.parent)?,
            timestamp: TimestampMs(wire.timestamp_ms),
            batch_digest: fixed("batch_digest", &wire.batch_digest)?,
            txs_root: fixed("transactions_root", &wire.transactions_root)?,
            receipts_root: fixed("receipts_root", &wire.receipts_root)?,
            state_root: fixed("state_root", &wire.state_root)?,
            next_epoch_hash: fixed("next_epoch_hash", &wire.next_epoch_hash)?,
        })
    }
}

impl From<&Certificate> for pb::Certificate {
    fn from(certificate: &Certificate) -> Self {
        let one = |(who, signature): (ValidatorIndex, epione_types::Signature)| pb::ValidatorSignature {
            validator: who.0.into(),
            signature: raw(signature.0),
        };
        Self {
            epoch: certificate.epoch.0,
            height: certificate.height.0,
            header_hash: raw(certificate.header_hash.0),
            signatures: certificate.signatures.iter().map(one).collect(),
        }
    }
}

impl TryFrom<pb::Certificate> for Certificate {
    type Error = ConvertError;
    fn try_from(wire: pb::Certificate) -> Result<Self, ConvertError> {
        let signatures = list("signatures", MAX_VALIDATORS, wire.signatures.iter(), |_, one| {
            Ok((ValidatorIndex(fits("validator", one.validator)?), fixed("signature", &one.signature)?))
        })?;
        let signatures = SignatureSet::try_from(signatures)
            .map_err(|text| ConvertError::new("signatures", ConvertReason::Conflict, text))?;
        Ok(Self {
            epoch: Epoch(wire.epoch),
            height: Height(wire.height),
            header_hash: fixed("header_hash", &wire.header_hash)?,
            signatures,
        })
    }
}

impl From<&Batch> for pb::Batch {
    fn from(batch: &Batch) -> Self {
        let batch = match batch {
            Batch::Null => BatchKind::Null(pb::NullBatch {}),
            Batch::Proposed { proposer, stamp, txs } => BatchKind::Proposed(pb::ProposedBatch {
                proposer: proposer.0.into(),
                stamp_ms: stamp.0,
                transactions: txs.iter().map(Into::into).collect(),
            }),
        };
        Self { batch: Some(batch) }
    }
}

impl TryFrom<pb::Batch> for Batch {
    type Error = ConvertError;
    fn try_from(wire: pb::Batch) -> Result<Self, ConvertError> {
        Ok(match need("batch", wire.batch)? {
            BatchKind::Null(pb::NullBatch {}) => Self::Null,
            BatchKind::Proposed(batch) => Self::Proposed {
                proposer: ValidatorIndex(fits("proposed.proposer", batch.proposer)?),
                stamp: TimestampMs(batch.stamp_ms),
                txs: list("proposed.transactions", 100_000, batch.transactions.into_iter(), |_, tx| {
                    tx.try_into()
                })?,
            },
        })
    }
}

impl From<&MerklePath> for pb::MerklePath {
    fn from(path: &MerklePath) -> Self {
        Self {
            index: path.index,
            count: path.count,
            siblings: path.siblings.iter().map(|hash| raw(hash.0)).collect(),
        }
    }
}

impl TryFrom<pb::MerklePath> for MerklePath {
    type Error = ConvertError;
    fn try_from(wire: pb::MerklePath) -> Result<Self, ConvertError> {
        Ok(Self {
            index: wire.index,
            count: wire.count,
            siblings: list("siblings", merkle::MAX_DEPTH, wire.siblings.iter(), |field, hash| {
                fixed(field, hash)
            })?,
        })
    }
}

impl From<&StateProof> for pb::StateProof {
    fn from(proof: &StateProof) -> Self {
        let leaf = |leaf: StateLeaf| pb::StateLeaf { path: raw(leaf.path.0), value_hash: raw(leaf.value.0) };
        Self { siblings: proof.siblings.iter().map(|hash| raw(hash.0)).collect(), leaf: proof.leaf.map(leaf) }
    }
}

impl TryFrom<pb::StateProof> for StateProof {
    type Error = ConvertError;
    fn try_from(wire: pb::StateProof) -> Result<Self, ConvertError> {
        let leaf = |leaf: pb::StateLeaf| {
            Ok(StateLeaf { path: fixed("path", &leaf.path)?, value: fixed("value_hash", &leaf.value_hash)? })
        };
        Ok(Self {
            siblings: list("siblings", STATE_DEPTH_MAX, wire.siblings.iter(), |field, hash| {
                fixed(field, hash)
            })?,
            leaf: wire.leaf.map(leaf).transpose().at("leaf")?,
        })
    }
}

impl From<&Validator> for pb::Validator {
    fn from(one: &Validator) -> Self {
        Self {
            org_id: raw(one.organisation.0),
            public_key: raw(one.public_key.0),
            network_key: raw(one.network_key.0),
        }
    }
}

impl TryFrom<pb::Validator> for Validator {
    type Error = ConvertError;
    fn try_from(wire: pb::Validator) -> Result<Self, ConvertError> {
        Ok(Self {
            organisation: fixed("org_id", &wire.org_id)?,
            public_key: fixed("public_key", &wire.public_key)?,
            network_key: fixed("network_key", &wire.network_key)?,
        })
    }
}

impl From<&ValidatorSet> for pb::ValidatorSet {
    fn from(set: &ValidatorSet) -> Self {
        Self {
            epoch: set.epoch.0,
            validators: set.validators.iter().map(Into::into).collect(),
            params: Some((&set.params).into()),
        }
    }
}

impl TryFrom<pb::ValidatorSet> for ValidatorSet {
    type Error = ConvertError;
    fn try_from(wire: pb::ValidatorSet) -> Result<Self, ConvertError> {
        Ok(Self {
            epoch: Epoch(wire.epoch),
            validators: list("validators", MAX_VALIDATORS, wire.validators.into_iter(), |_, one| {
                one.try_into()
            })?,
            params: need("params", wire.params)?.into(),
        })
    }
}

impl From<&Params> for pb::Params {
    fn from(params: &Params) -> Self {
        Self {
            execution_version: params.execution_version,
            window: params.window,
            batch_txs_max: params.batch_txs_max,
            batch_bytes_max: params.batch_bytes_max,
            expiry_ahead_max_ms: params.expiry_ahead_max_ms,
            max_clock_skew_ms: params.max_clock_skew_ms,
            view_timeout_ms: params.view_timeout_ms,
            view_timeout_max_ms: params.view_timeout_max_ms,
            time_block_interval_ms: params.time_block_interval_ms,
        }
    }
}

impl From<pb::Params> for Params {
    fn from(wire: pb::Params) -> Self {
        Self {
            execution_version: wire.execution_version,
            window: wire.window,
            batch_txs_max: wire.batch_txs_max,
            batch_bytes_max: wire.batch_bytes_max,
            expiry_ahead_max_ms: wire.expiry_ahead_max_ms,
            max_clock_skew_ms: wire.max_clock_skew_ms,
            view_timeout_ms: wire.view_timeout_ms,
            view_timeout_max_ms: wire.view_timeout_max_ms,
            time_block_interval_ms: wire.time_block_interval_ms,
        }
    }
}
