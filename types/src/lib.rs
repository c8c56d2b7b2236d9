//! The words that consensus, ledger, chaincode and clients share, without importing one another.
//!
//! Nothing here does I/O. Every encoding goes through [`codec`], every hash and signature
//! through a [`hash::Domain`] tag, every consensus-critical signature check through the one
//! predicate of [`sign`] (consensus rule R29). `tests/golden.rs` pins each of them byte for byte.

pub mod batch;
pub mod block;
pub mod call;
pub mod codec;
pub mod codes;
pub mod event;
pub mod finality;
pub mod genesis;
pub mod hash;
pub mod holding;
pub mod id;
pub mod merkle;
pub mod quorum;
pub mod receipt;
pub mod sign;
pub mod state_proof;
pub mod tx;

pub use batch::Batch;
pub use block::{BlockHeader, Certificate, SignatureSet};
pub use finality::Turn;
pub use genesis::{Genesis, NextEpoch, Params, Validator, ValidatorSet};
pub use hash::{Domain, Hash};
pub use id::{ChainId, Epoch, EventCursor, Height, TimestampMs, TxId, ValidatorIndex, View};
pub use receipt::{Outcome, Receipt};
pub use sign::{PublicKey, SecretKey, Signature, Signer, Verifier};
pub use tx::{SignedTx, TxSignature};
