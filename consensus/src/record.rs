//! The log (R4): what must be on disk before something leaves.

use bytes::Bytes;
use epione_types::codec::{self, CodecError};
use epione_types::{Certificate, ChainId, Epoch, Hash, Height, PublicKey, ValidatorSet};
use serde::{Deserialize, Serialize};

use crate::event::Halt;
use crate::guard::{self, Guard};
use crate::message::{NewView, PreparedCertificate, Signed, SignedVote, ViewChange};

/// Version of the records' layout, in [`Record::Born`].
pub const RECORD_VERSION: u16 = 1;

/// One durable fact. Live running and replay both go through `Replica::apply`, so that a restart cannot disagree with the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// First record: whose votes these are (R25).
    Born {
        /// Layout version.
        version: u16,
        /// Voting key.
        key: PublicKey,
        /// Chain.
        chain: ChainId,
    },
    /// A batch, once per digest, before what refers to it.
    Batch {
        /// Slot it is for.
        height: Height,
        /// Encoded batch.
        bytes: Bytes,
    },
    /// Before a PrePrepare or Prepare leaves.
    Accepted(SignedVote),
    /// Before a Commit leaves.
    Prepared(PreparedCertificate),
    /// Before a Seal leaves.
    Sealed {
        /// Epoch.
        epoch: Epoch,
        /// Height.
        height: Height,
        /// Digest of the executed batch.
        digest: Hash,
        /// What was sealed.
        header_hash: Hash,
    },
    /// Before low moves.
    Certified(Certificate),
    /// Before a ViewChange leaves; voting in lower views is over.
    Asked(Signed<ViewChange>),
    /// Before anything is accepted in a view above 0.
    Entered(Signed<NewView>),
    /// Voting has stopped, over restarts too; only a repair ends it.
    Halted(Halt),
    /// Before anything is said in an epoch above 0: it begins in view 0, above `after` (R20).
    Epoch {
        /// b: the last height of the epoch before.
        after: Height,
        /// Its validators and parameters.
        set: ValidatorSet,
    },
}

impl Record {
    /// For the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Does it go to the log? Always, but for the teeth.
    pub(crate) fn is_logged(&self) -> bool {
        match self {
            Self::Accepted(_) => guard::holds(Guard::AcceptedLogged),
            Self::Prepared(_) => guard::holds(Guard::PreparedLogged),
            Self::Sealed { .. } => guard::holds(Guard::SealedLogged),
            Self::Asked(_) => guard::holds(Guard::AskedLogged),
            Self::Entered(_) => guard::holds(Guard::EnteredLogged),
            Self::Epoch { .. } => guard::holds(Guard::EpochLogged),
            Self::Born { .. } | Self::Batch { .. } | Self::Certified(_) | Self::Halted(_) => true,
        }
    }

    /// The epoch that it begins, if it does.
    #[must_use]
    pub const fn begins(&self) -> Option<Epoch> {
        if let Self::Epoch { set, .. } = self { Some(set.epoch) } else { None }
    }

    /// The epoch whose votes it is about, if it is about votes.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Accepted(vote) => Some(vote.vote.epoch),
            Self::Prepared(certificate) => Some(certificate.pre_prepare.vote.epoch),
            Self::Sealed { epoch, .. } => Some(*epoch),
            Self::Certified(certificate) => Some(certificate.epoch),
            Self::Asked(change) => Some(change.body.epoch),
            Self::Entered(new_view) => Some(new_view.body.epoch),
            Self::Born { .. } | Self::Batch { .. } | Self::Halted(_) | Self::Epoch { .. } => None,
        }
    }

    /// From the log.
    ///
    /// # Errors
    /// [`CodecError`]: the log is not ours, or damaged in a way its checksum does not show.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RECORD_BYTES)
    }
}

/// Longest record, in bytes: a NewView of the largest set.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
