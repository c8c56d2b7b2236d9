//! blake3 with domain separation: one tag per type, so that no hash of one kind passes for another.
//!
//! Keyed mode with the zero-padded tag as key: any blake3 library can reproduce it in one call.
//! Keys are public; keyed blake3 stays collision resistant under a known key.

use crate::id::byte_id;

byte_id!(
    /// A blake3 hash, 32 bytes.
    Hash, 32
);

impl Hash {
    /// All zero: the parent of genesis and other "nothing before" places. No known input has it.
    pub const ZERO: Self = Self([0; 32]);
}

/// A domain tag: the blake3 key under which one kind of thing is hashed, or the prefix of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain([u8; 32]);

impl Domain {
    /// Genesis file; its hash is the chain id.
    pub const GENESIS: Self = Self::new("epione/genesis/v1");
    /// Transaction id, over the body bytes.
    pub const TX_ID: Self = Self::new("epione/tx-id/v1");
    /// Prefix of what a transaction's signers sign; the body follows.
    pub const TX_SIGN: Self = Self::new("epione/tx-sign/v1");
    /// Batch digest.
    pub const BATCH: Self = Self::new("epione/batch/v1");
    /// Block header.
    pub const HEADER: Self = Self::new("epione/header/v1");
    /// Leaf of the transactions tree.
    pub const TX_LEAF: Self = Self::new("epione/tx-leaf/v1");
    /// Leaf of the receipts tree.
    pub const RECEIPT_LEAF: Self = Self::new("epione/receipt-leaf/v1");
    /// Inner node of a Merkle list.
    pub const MERKLE_NODE: Self = Self::new("epione/merkle-node/v1");
    /// Validator set and parameters of an epoch.
    pub const EPOCH: Self = Self::new("epione/epoch/v1");
    /// PrePrepare vote.
    pub const PRE_PREPARE: Self = Self::new("epione/pre-prepare/v1");
    /// Prepare vote.
    pub const PREPARE: Self = Self::new("epione/prepare/v1");
    /// Commit vote.
    pub const COMMIT: Self = Self::new("epione/commit/v1");
    /// Seal: signature over a header; a quorum is a certificate.
    pub const SEAL: Self = Self::new("epione/seal/v1");
    /// Suspect message.
    pub const SUSPECT: Self = Self::new("epione/suspect/v1");
    /// View-change message.
    pub const VIEW_CHANGE: Self = Self::new("epione/view-change/v1");
    /// New-view message.
    pub const NEW_VIEW: Self = Self::new("epione/new-view/v1");
    /// Status message.
    pub const STATUS: Self = Self::new("epione/status/v1");
    /// Commitment to something kept off the ledger.
    pub const COMMITMENT: Self = Self::new("epione/commitment/v1");
    /// Viewers of a report, as the patient approves them.
    pub const VIEWERS: Self = Self::new("epione/viewers/v1");
    /// Commitment to a guardian, under a salt.
    pub const GUARDIAN: Self = Self::new("epione/guardian/v1");

    /// A tag of at most 32 ASCII bytes, zero-padded.
    ///
    /// # Panics
    /// When the tag is longer; at compile time for a constant.
    #[must_use]
    pub const fn new(tag: &str) -> Self {
        let text = tag.as_bytes();
        assert!(text.len() <= 32, "a domain tag has at most 32 bytes");
        let mut key = [0u8; 32];
        let (head, _) = key.split_at_mut(text.len());
        head.copy_from_slice(text);
        Self(key)
    }

    /// The 32 bytes: blake3 key, or signature prefix.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hash of `bytes` under this tag.
    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> Hash {
        Hash(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }

    /// Hash of the concatenation of `parts`. Callers see to it that the split is unambiguous.
    #[must_use]
    pub fn hash_parts(&self, parts: &[&[u8]]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}
