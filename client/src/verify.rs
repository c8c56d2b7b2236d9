//! Checking what a node says with the genesis alone, offline: no node has to be trusted.
//!
//! ```text
//! genesis ── set of epoch 0 ── last header of each epoch names the next set ── set of the certificate
//!                                                                               │ quorum of signatures
//! receipt ── leaf ── path ── receipts root ┐                                     ▼
//!                                          ├─ header ◀── parent links ── certified header
//! key, value ─ leaf ─ path ─ state root    ┘
//! ```
//!
//! A certificate vouches for every ancestor of its header too (R12), and a validator set is what the epoch before
//! certified (R21). What is hashed arrives as the very bytes that are hashed; they are decoded only in their one
//! canonical form. Every list is bounded before it is walked. Tested in `tests/verify.rs`: no flipped bit passes.

use epione_proto::{ConvertError, decode_body, v1 as pb};
use epione_types::block::{HEADER_BYTES, HEADER_VERSION};
use epione_types::codec::{self, CodecError};
use epione_types::finality::{self, EPOCHS_MAX, FinalityError};
use epione_types::genesis::GenesisError;
use epione_types::holding::{self, Holder, Holding};
use epione_types::id::{OrgId, PatientId, RecordId};
use epione_types::merkle::MerklePath;
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::sign::Zip215;
use epione_types::state_proof::{StateProof, StateProofError};
use epione_types::{
    BlockHeader, Certificate, ChainId, Domain, Genesis, Height, Receipt, TimestampMs, Turn, TxId,
    ValidatorSet,
};

/// Most headers between a proven one and the certified one.
pub const DESCENDANTS_MAX: usize = 1_024;
/// Largest receipt, in bytes.
const RECEIPT_BYTES_MAX: usize = 64 * 1024;
/// Largest validator set, in bytes.
const SET_BYTES_MAX: usize = 16 * 1024;

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Some part is missing, or has a wrong length.
    #[error(transparent)]
    Shape(#[from] ConvertError),
    /// Some bytes are not the canonical encoding of what they should be.
    #[error("{what}: {error}")]
    Encoding {
        /// What was decoded.
        what: &'static str,
        /// What is wrong with it.
        error: CodecError,
    },
    /// Written by another version.
    #[error("{what} has version {found}, this build reads {known}")]
    Version {
        /// What.
        what: &'static str,
        /// Its version.
        found: u16,
        /// The version this build knows.
        known: u16,
    },
    /// A list longer than any honest proof's.
    #[error("{found} {what}; at most {max}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A header that does not name the one before as its parent.
    #[error("header {height} is not the child of the header before it in the proof")]
    NotChild {
        /// Height that the header says.
        height: Height,
    },
    /// It does not follow from the genesis.
    #[error(transparent)]
    Finality(#[from] FinalityError),
    /// The receipt is not in the block.
    #[error("receipt is not in block {height}")]
    NotInBlock {
        /// The block.
        height: Height,
    },
    /// A proof about the state does not hold.
    #[error(transparent)]
    State(#[from] StateProofError),
    /// Sound, but about another key or height than was asked for.
    #[error("proof is about another key or height than was asked for")]
    OtherSubject,
    /// Sound, but it shows that there may have been a permit in force.
    #[error("{permits} permits were at hand at height {height}, and not all of them past their end")]
    Held {
        /// How many.
        permits: u32,
        /// The height.
        height: Height,
    },
    /// The proof of expiry is about another chain's transaction.
    #[error("transaction is for another chain")]
    OtherChain,
    /// The header or its parent does not stand on its side of the expiry.
    #[error(
        "transaction expires at {expires_at}; the proof's header is of {header}, its parent of {parent}; the first header past the expiry is needed"
    )]
    NotTheFirst {
        /// The transaction's expiry, ms.
        expires_at: TimestampMs,
        /// The header's time, ms.
        header: TimestampMs,
        /// Its parent's time, ms.
        parent: TimestampMs,
    },
}

/// What a verifier starts from, and all it has to trust: the genesis.
#[derive(Debug, Clone)]
pub struct Trust {
    chain: ChainId,
    set: ValidatorSet,
    since: TimestampMs,
}

impl Trust {
    /// From a genesis that can work. Compare [`Self::chain_id`] with the one you were told.
    ///
    /// # Errors
    /// Every fault of the genesis.
    pub fn new(genesis: &Genesis) -> Result<Self, GenesisError> {
        genesis.check()?;
        Ok(Self { chain: genesis.chain_id(), set: genesis.validators.clone(), since: genesis.timestamp })
    }

    /// The chain.
    #[must_use]
    pub const fn chain_id(&self) -> ChainId {
        self.chain
    }

    /// The header that is proven.
    ///
    /// # Errors
    /// [`VerifyError`] if it is not vouched for by a quorum that follows from the genesis.
    pub fn header(&self, proof: &pb::CertifiedHeader) -> Result<BlockHeader, VerifyError> {
        limit("epochs", proof.epochs.len(), EPOCHS_MAX)?;
        limit("descendants", proof.descendant_bytes.len(), DESCENDANTS_MAX)?;
        let turn = |step: &pb::EpochStep| {
            Ok::<_, VerifyError>(Turn {
                last: decode_header(&step.header_bytes)?,
                certificate: decode_certificate(step.certificate.as_ref())?,
                set: decode("validator set", &step.validator_set_bytes, SET_BYTES_MAX)?,
            })
        };
        let turns = proof.epochs.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
        let set = finality::walk(self.chain, &self.set, &turns, &Zip215)?;
        let header = decode_header(&proof.header_bytes)?;
        let mut tip = header.clone();
        for bytes in &proof.descendant_bytes {
            let child = decode_header(bytes)?;
            if child.parent != tip.hash() || child.height != tip.height.next() {
                return Err(VerifyError::NotChild { height: child.height });
            }
            tip = child;
        }
        let certificate = decode_certificate(proof.certificate.as_ref())?;
        finality::certified(self.chain, set, (&tip, &certificate), &Zip215)?;
        Ok(header)
    }

    /// The receipt that is proven, and the header of its block.
    ///
    /// # Errors
    /// [`VerifyError`] if it is not in a block that is final.
    pub fn receipt(&self, proof: &pb::ReceiptProof) -> Result<(Receipt, BlockHeader), VerifyError> {
        let header = self.header(present("header", proof.header.as_ref())?)?;
        Ok((receipt_under(&header, proof)?, header))
    }

    /// The value that is proven, or nothing if the key is proven absent; and the header under which it is.
    ///
    /// # Errors
    /// [`VerifyError`] if nothing is proven.
    pub fn value(
        &self,
        proof: &pb::StateValueProof,
    ) -> Result<(Option<bytes::Bytes>, BlockHeader), VerifyError> {
        let header = self.header(present("header", proof.header.as_ref())?)?;
        let path = StateProof::try_from(present("proof", proof.proof.as_ref())?.clone())?;
        path.verify(&header.state_root, &proof.key, proof.value.as_deref())?;
        Ok((proof.value.clone(), header))
    }

    /// Proves that an organisation held no permit in force for a patient's record; the header under which it held none.
    ///
    /// # Errors
    /// [`VerifyError::Held`] if it may have held one; every other [`VerifyError`] if nothing is proven.
    pub fn no_grant(
        &self,
        (patient, record): (PatientId, RecordId),
        organisation: OrgId,
        proof: &pb::NoGrantProof,
    ) -> Result<BlockHeader, VerifyError> {
        let listed = self.value_of(&holding::record_key(patient, record), "record", proof.record.as_ref())?;
        if listed.0.is_none() {
            return Err(VerifyError::OtherSubject);
        }
        let none = |holder: Holder, field, proof: Option<&pb::StateValueProof>| {
            let (value, header) = self.value_of(&holding::key(patient, holder), field, proof)?;
            if let Some(bytes) = value {
                let held: Holding = decode("holding", &bytes, Holding::BYTES_MAX)?;
                if !held.is_over(header.timestamp) {
                    return Err(VerifyError::Held { permits: held.permits, height: header.height });
                }
            }
            Ok(header)
        };
        let organisation = Holder::Organisation(organisation);
        let header = none(organisation, "organisation", proof.organisation.as_ref())?;
        if none(Holder::Everybody, "everybody", proof.everybody.as_ref())? != header {
            return Err(VerifyError::OtherSubject);
        }
        Ok(header)
    }

    /// What this key is proven to have held.
    fn value_of(
        &self,
        key: &[u8],
        field: &str,
        proof: Option<&pb::StateValueProof>,
    ) -> Result<(Option<bytes::Bytes>, BlockHeader), VerifyError> {
        let proof = present(field, proof)?;
        if proof.key != key {
            return Err(VerifyError::OtherSubject);
        }
        self.value(proof)
    }

    /// Proves that the transaction with this body can never commit; the header under which its id is absent.
    ///
    /// The id of an unexpired transaction stands in the state until the first block whose parent is past
    /// `expires_at` (R10). So under the first header past `expires_at` it is still there if it ever occurred.
    ///
    /// # Errors
    /// [`VerifyError`] if that is not proven.
    pub fn expired(&self, body: &[u8], proof: &pb::ExpiryProof) -> Result<BlockHeader, VerifyError> {
        let tx = decode_body(body)?;
        if tx.chain_id != self.chain {
            return Err(VerifyError::OtherChain);
        }
        let header = self.header(present("header", proof.header.as_ref())?)?;
        let parent = if header.height == Height(1) {
            self.since
        } else {
            let parent = decode_header(&proof.parent_header_bytes)?;
            if parent.hash() != header.parent {
                return Err(VerifyError::NotChild { height: header.height });
            }
            parent.timestamp
        };
        let expires_at = tx.expires_at;
        if header.timestamp <= expires_at || parent > expires_at {
            return Err(VerifyError::NotTheFirst { expires_at, header: header.timestamp, parent });
        }
        let key = transaction_key(expires_at, TxId(Domain::TX_ID.hash(body).0));
        StateProof::try_from(present("absence", proof.absence.as_ref())?.clone())?.verify(
            &header.state_root,
            &key,
            None,
        )?;
        Ok(header)
    }
}

/// The receipt under a header that is verified already.
pub(crate) fn receipt_under(header: &BlockHeader, proof: &pb::ReceiptProof) -> Result<Receipt, VerifyError> {
    let receipt: Receipt = decode("receipt", &proof.receipt_bytes, RECEIPT_BYTES_MAX)?;
    version("receipt", receipt.version, RECEIPT_VERSION)?;
    let path = MerklePath::try_from(present("path", proof.path.as_ref())?.clone())?;
    if path.root(receipt.leaf()) != Some(header.receipts_root) {
        return Err(VerifyError::NotInBlock { height: header.height });
    }
    Ok(receipt)
}

/// Where an unexpired transaction that occurred stands in the state.
#[must_use]
pub fn transaction_key(expires_at: TimestampMs, id: TxId) -> Vec<u8> {
    [b"txi/".as_slice(), &expires_at.0.to_be_bytes(), id.as_bytes()].concat()
}

fn decode_certificate(certificate: Option<&pb::Certificate>) -> Result<Certificate, VerifyError> {
    Ok(Certificate::try_from(present("certificate", certificate)?.clone())?)
}

fn decode_header(bytes: &[u8]) -> Result<BlockHeader, VerifyError> {
    let header: BlockHeader = decode("header", bytes, HEADER_BYTES)?;
    version("header", header.version, HEADER_VERSION)?;
    Ok(header)
}

fn decode<T: serde::Serialize + serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, VerifyError> {
    codec::decode(bytes, max).map_err(|error| VerifyError::Encoding { what, error })
}

const fn version(what: &'static str, found: u16, known: u16) -> Result<(), VerifyError> {
    if found == known { Ok(()) } else { Err(VerifyError::Version { what, found, known }) }
}

const fn limit(what: &'static str, found: usize, max: usize) -> Result<(), VerifyError> {
    if found <= max { Ok(()) } else { Err(VerifyError::TooMany { what, found, max }) }
}

fn present<'a, T>(field: &str, value: Option<&'a T>) -> Result<&'a T, VerifyError> {
    let reason = epione_proto::ConvertReason::MissingField;
    value.ok_or_else(|| ConvertError::new(field, reason, "not set").into())
}
