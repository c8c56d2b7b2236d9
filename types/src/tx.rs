//! A transaction as it travels: the body's exact bytes and who signed them.
//!
//! The body is protobuf and is never re-encoded to verify; its id does not cover the signatures, so
//! nobody can make a second id for one intent by re-signing. What a body means is [`crate::call`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Domain;
use crate::id::TxId;
use crate::sign::{PublicKey, Signature, Signer};

/// Largest body, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Most signatures on one transaction; at least one is needed.
pub const MAX_SIGNATURES: usize = 16;
/// Largest encoded transaction, in bytes.
pub const MAX_TX_BYTES: usize = MAX_BODY_BYTES + MAX_SIGNATURES * 96 + 64;

/// One signer's signature over [`signing_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxSignature {
    /// Who signed.
    pub public_key: PublicKey,
    /// Over the tag and the body bytes.
    pub signature: Signature,
}

/// A transaction as submitted, stored and put in batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTx {
    /// Protobuf `TransactionBody`, exactly as the client encoded it.
    pub body: Bytes,
    /// One to sixteen signatures by distinct keys: the sender's, then the co-signers' that the body names.
    pub signatures: Vec<TxSignature>,
}

/// What every signer signs: the tag, then the body bytes.
#[must_use]
pub fn signing_bytes(body: &[u8]) -> Vec<u8> {
    [Domain::TX_SIGN.as_bytes(), body].concat()
}

impl SignedTx {
    /// Signs `body` with every one of `signers`.
    #[must_use]
    pub fn sign(body: impl Into<Bytes>, signers: &[&dyn Signer]) -> Self {
        let body = body.into();
        let message = signing_bytes(&body);
        let signatures = signers
            .iter()
            .map(|signer| TxSignature { public_key: signer.public_key(), signature: signer.sign(&message) })
            .collect();
        Self { body, signatures }
    }

    /// Hash of the body alone.
    #[must_use]
    pub fn id(&self) -> TxId {
        TxId(Domain::TX_ID.hash(&self.body).0)
    }

    /// Sizes, and signers that are distinct. Says nothing about whether signatures are valid.
    ///
    /// # Errors
    /// Names the limit and the value.
    pub fn check_shape(&self) -> Result<(), TxShapeError> {
        if self.body.is_empty() || self.body.len() > MAX_BODY_BYTES {
            return Err(TxShapeError::BodySize { found: self.body.len() });
        }
        if self.signatures.is_empty() || self.signatures.len() > MAX_SIGNATURES {
            return Err(TxShapeError::SignatureCount { found: self.signatures.len() });
        }
        for (i, one) in self.signatures.iter().enumerate() {
            if self.signatures.iter().take(i).any(|other| other.public_key == one.public_key) {
                return Err(TxShapeError::DuplicateSigner { key: one.public_key });
            }
        }
        Ok(())
    }

    /// Did this key sign? (Once signatures are verified.)
    #[must_use]
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        self.signatures.iter().any(|one| one.public_key == *key)
    }

    /// Encoded size in bytes, without encoding.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        8 + self.body.len() + 8 + self.signatures.len() * 96
    }
}

/// What is wrong with a transaction's outer shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxShapeError {
    /// Empty or too large.
    #[error("body has {found} bytes; it must have 1 to {MAX_BODY_BYTES}")]
    BodySize {
        /// Bytes found.
        found: usize,
    },
    /// None or too many.
    #[error("{found} signatures; there must be 1 to {MAX_SIGNATURES}")]
    SignatureCount {
        /// Signatures found.
        found: usize,
    },
    /// One key twice.
    #[error("key {key} signed twice; each signer signs once")]
    DuplicateSigner {
        /// The key.
        key: PublicKey,
    },
}
