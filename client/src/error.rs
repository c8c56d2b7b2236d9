//! What can go wrong for a client, split by what it can do about it.

use core::fmt;

use epione_proto::{ApiError, ConvertError, decode_body};
use epione_types::call::refused::field_of;
use epione_types::codes::Refusal;
use epione_types::{Height, Outcome, Receipt, SignedTx, TxId};

use crate::verify::VerifyError;

/// An error of the SDK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The configuration cannot work; nothing was sent.
    #[error("{0}")]
    Config(String),
    /// A node refused, or none could be reached within the time-out. Whether a submitted transaction commits is
    /// unknown if [`ApiError::is_retryable`]: submit the same bytes again, or ask for the receipt.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A node's answer is no value of the API: another version, or a node that lies.
    #[error("the node's answer is not usable: {0}")]
    Answer(#[from] ConvertError),
    /// A node's proof does not hold: do not trust that node.
    #[error("the node's proof does not hold: {0}")]
    Proof(#[from] VerifyError),
    /// A node answered about something else than it was asked.
    #[error("asked about transaction {asked}, the node answered about another")]
    OtherTransaction {
        /// What was asked.
        asked: TxId,
    },
    /// The node serves another chain than the genesis given here.
    #[error("the node serves chain {found}, this client's genesis is chain {expected}")]
    OtherChain {
        /// Chain id of the genesis given here.
        expected: String,
        /// Chain id that the node says.
        found: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl ClientError {
    /// The node's error, if trying again may help.
    #[must_use]
    pub fn retryable(&self) -> Option<&ApiError> {
        if let Self::Api(error) = self { Some(error).filter(|error| error.is_retryable()) } else { None }
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Api(ApiError::from(&status))
    }
}

/// The ledger refused a transaction. That is final, and nothing of it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Which.
    pub id: TxId,
    /// The block whose receipt says so.
    pub height: Height,
    /// Why.
    pub refusal: Refusal,
    /// The field of the call that it is about, by its path in the call's message; none where it is about none, or where
    /// the call does not tell about which.
    pub field: Option<&'static str>,
}

impl Refused {
    /// What the receipt of `tx` says; none if it was applied. A receipt alone does not name the field: it does not hold
    /// the call.
    #[must_use]
    pub fn of(receipt: &Receipt, tx: &SignedTx) -> Option<Self> {
        let Outcome::Refused(refusal) = receipt.outcome else { return None };
        let own = decode_body(&tx.body).ok().filter(|_| receipt.tx_id == tx.id());
        let field = own.and_then(|body| field_of(refusal, &body.call));
        Some(Self { id: receipt.tx_id, height: receipt.height, refusal, field })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, height, refusal, .. } = self;
        write!(f, "the ledger refused transaction {id} in block {height}: {refusal}")?;
        self.field.map_or(Ok(()), |field| write!(f, " ({field})"))
    }
}

#[cfg(test)]
mod tests {
    use epione_types::call::{Call, RegisterPatient, RotateKey};
    use epione_types::id::PatientId;
    use epione_types::receipt::RECEIPT_VERSION;
    use epione_types::{ChainId, Hash, SecretKey, Signer as _};

    use super::*;
    use crate::TxBuilder;

    #[test]
    fn a_refusal_names_the_field_of_the_call_that_was_sent() {
        let key = SecretKey::from_seed(&[7; 32]);
        let sign = |call| TxBuilder::new(ChainId([1; 32]), call).sign(&key, &[]).unwrap();
        let patient = PatientId([2; 16]);
        let tx = sign(Call::RegisterPatient(RegisterPatient { patient, key: None, notice_hash: Hash::ZERO }));
        let receipt = |outcome| Receipt {
            version: RECEIPT_VERSION,
            tx_id: tx.id(),
            height: Height(41),
            index: 0,
            outcome,
            events: vec![],
        };
        assert_eq!(Refused::of(&receipt(Outcome::Ok), &tx), None);
        let refused = receipt(Outcome::Refused(Refusal::InvalidField));
        let said = Refused::of(&refused, &tx).unwrap();
        assert_eq!((said.refusal, said.field), (Refusal::InvalidField, Some("notice_hash")));
        assert_eq!(
            said.to_string(),
            format!("the ledger refused transaction {} in block 41: INVALID_FIELD (notice_hash)", tx.id())
        );
        let sender = Refused::of(&receipt(Outcome::Refused(Refusal::NotAuthorised)), &tx).unwrap();
        assert_eq!(sender.field, None);
        assert!(sender.to_string().ends_with("NOT_AUTHORISED"));
        // Of another call the receipt says nothing.
        let other = sign(Call::RotateKey(RotateKey { key: key.public_key() }));
        assert_eq!(Refused::of(&refused, &other).unwrap().field, None);
    }
}
