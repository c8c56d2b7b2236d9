//! No batch with an invalid signature is executed.

use epione_consensus::Payload;
use epione_types::tx::signing_bytes;
use epione_types::{Height, Verifier as _};

use super::Check;
use crate::sim::crypto::SimVerifier;

/// The predicate.
#[derive(Debug)]
pub(super) struct Signatures {
    verifier: SimVerifier,
}

impl Signatures {
    pub(super) const fn new(verifier: SimVerifier) -> Self {
        Self { verifier }
    }

    pub(super) fn committed(&self, height: Height, payload: &Payload) -> Check {
        for (index, tx) in payload.batch().txs().iter().enumerate() {
            let message = signing_bytes(&tx.body);
            let valid = |one: &epione_types::TxSignature| {
                self.verifier.verify(&one.public_key, &message, &one.signature)
            };
            if tx.signatures.is_empty() || !tx.signatures.iter().all(valid) {
                return Err(format!("transaction {index} of height {height} has an invalid signature"));
            }
        }
        Ok(())
    }
}
