//! What can go wrong for a client, split by what it can do about it.

use epione_proto::{ApiError, ConvertError};
use epione_types::TxId;

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
