//! Block header and certificate.
//!
//! A header is a function of its parent and its batch alone (R12): no view, no certificate, so that
//! every correct validator seals the same bytes. A certificate is a quorum of signatures on a
//! header's hash; nothing is ever hashed over it, because any quorum will do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::genesis::ValidatorSet;
use crate::hash::{Domain, Hash};
use crate::id::{ChainId, Epoch, Height, TimestampMs, ValidatorIndex, View};
use crate::quorum;
use crate::sign::{Signature, Verifier};

/// Version of the header's layout.
pub const HEADER_VERSION: u16 = 1;
/// Length of an encoded header, in bytes.
pub const HEADER_BYTES: usize = 2 + 3 * 8 + 6 * 32;

/// The sealed summary of one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Layout version, [`HEADER_VERSION`].
    pub version: u16,
    /// Height; genesis is 0.
    pub height: Height,
    /// Epoch whose validators seal it.
    pub epoch: Epoch,
    /// Hash of the header below; of genesis at height 1.
    pub parent: Hash,
    /// Sealed time.
    pub timestamp: TimestampMs,
    /// Digest of the batch that was executed.
    pub batch_digest: Hash,
    /// Merkle root over the transactions' ids.
    pub txs_root: Hash,
    /// Merkle root over the receipts.
    pub receipts_root: Hash,
    /// State after this block.
    pub state_root: Hash,
    /// Validators and parameters of the successor height (R21).
    pub next_epoch_hash: Hash,
}

impl BlockHeader {
    /// What a certificate is over and what the next header names as parent.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Domain::HEADER.hash(&codec::encode(self))
    }
}

/// Bytes under a consensus signature: tag, chain, epoch, view, height, digest. Fixed layout, 120 bytes (R5).
#[must_use]
pub fn vote_bytes(
    kind: Domain,
    chain: ChainId,
    epoch: Epoch,
    view: View,
    height: Height,
    digest: Hash,
) -> [u8; 120] {
    let mut bytes = [0u8; 120];
    let parts: [&[u8]; 6] = [
        kind.as_bytes(),
        chain.as_bytes(),
        &epoch.0.to_le_bytes(),
        &view.0.to_le_bytes(),
        &height.0.to_le_bytes(),
        digest.as_bytes(),
    ];
    let mut rest = bytes.as_mut_slice();
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    bytes
}

/// Bytes under a Seal. A Seal has no view: one per height and validator, for ever (R13).
#[must_use]
pub fn seal_bytes(chain: ChainId, epoch: Epoch, height: Height, header_hash: Hash) -> [u8; 120] {
    vote_bytes(Domain::SEAL, chain, epoch, View::ZERO, height, header_hash)
}

/// Signatures by distinct validators: a duplicate signer cannot be written down, nor decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(ValidatorIndex, Signature)>", into = "Vec<(ValidatorIndex, Signature)>")]
pub struct SignatureSet(BTreeMap<ValidatorIndex, Signature>);

impl SignatureSet {
    /// Adds one signature; keeps the first of a validator.
    pub fn insert(&mut self, who: ValidatorIndex, signature: Signature) {
        self.0.entry(who).or_insert(signature);
    }
    /// How many validators signed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Nobody signed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// In validator order.
    pub fn iter(&self) -> impl Iterator<Item = (ValidatorIndex, Signature)> + '_ {
        self.0.iter().map(|(who, signature)| (*who, *signature))
    }
    /// Did this validator sign?
    #[must_use]
    pub fn contains(&self, who: ValidatorIndex) -> bool {
        self.0.contains_key(&who)
    }

    /// At least `needed` members of `set` signed `message`, and nobody else is in here.
    #[must_use]
    pub fn verify(
        &self,
        set: &ValidatorSet,
        needed: usize,
        message: &[u8],
        verifier: &impl Verifier,
    ) -> bool {
        if self.len() < needed {
            return false;
        }
        let mut items = Vec::with_capacity(self.len());
        for (who, signature) in self.iter() {
            let Some(validator) = set.get(who) else {
                return false;
            };
            items.push((validator.public_key, message, signature));
        }
        verifier.verify_all(&items)
    }
}

impl FromIterator<(ValidatorIndex, Signature)> for SignatureSet {
    fn from_iter<I: IntoIterator<Item = (ValidatorIndex, Signature)>>(items: I) -> Self {
        let mut set = Self::default();
        for (who, signature) in items {
            set.insert(who, signature);
        }
        set
    }
}

impl From<SignatureSet> for Vec<(ValidatorIndex, Signature)> {
    fn from(set: SignatureSet) -> Self {
        set.0.into_iter().collect()
    }
}

impl TryFrom<Vec<(ValidatorIndex, Signature)>> for SignatureSet {
    type Error = &'static str;
    fn try_from(list: Vec<(ValidatorIndex, Signature)>) -> Result<Self, Self::Error> {
        if list.len() > quorum::MAX_VALIDATORS {
            return Err("more signatures than validators can exist");
        }
        if !list.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("signers must be distinct and in ascending order");
        }
        Ok(Self(list.into_iter().collect()))
    }
}

/// A quorum's signatures on a header: proof that the block is final. PBFT's stable checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Epoch of the signers.
    pub epoch: Epoch,
    /// Height of the block.
    pub height: Height,
    /// Hash of its header.
    pub header_hash: Hash,
    /// Who signed.
    pub signatures: SignatureSet,
}

impl Certificate {
    /// A quorum of `set` signed this header on `chain`. `set` must be the set of this height's epoch.
    #[must_use]
    pub fn verify(&self, chain: ChainId, set: &ValidatorSet, verifier: &impl Verifier) -> bool {
        let message = seal_bytes(chain, self.epoch, self.height, self.header_hash);
        self.epoch == set.epoch && self.signatures.verify(set, set.quorum(), &message, verifier)
    }
}
