//! How a validator set follows from the genesis, epoch after epoch (R21): what nodes keep of it, and how it is checked.
//!
//! The last header of each epoch names the next set, and a quorum of the epoch's own set vouches for that header. Nothing
//! else is needed to come from the genesis to any certificate. Tested by `tests/finality.rs`.

use serde::{Deserialize, Serialize};

use crate::block::{BlockHeader, Certificate};
use crate::genesis::ValidatorSet;
use crate::id::{ChainId, Epoch, Height};
use crate::sign::Verifier;

/// Most turns in one proof: who verifies takes no more, and who proves gives no more.
pub const EPOCHS_MAX: usize = 4_096;

/// How the validators of an epoch follow from those of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The last header of the epoch before.
    pub last: BlockHeader,
    /// Its certificate.
    pub certificate: Certificate,
    /// Whom it names.
    pub set: ValidatorSet,
}

/// Why something does not follow from the genesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FinalityError {
    /// The certificate is for another header, or another epoch's.
    #[error(
        "the certificate is not for the header of height {height}, or the header is not of epoch {epoch}"
    )]
    OtherHeader {
        /// Height of the header.
        height: Height,
        /// The epoch whose header was expected.
        epoch: Epoch,
    },
    /// The certificate is of another epoch than the header: other validators may have signed it.
    #[error(
        "the certificate of height {height} is of epoch {found}, and epoch {epoch}'s validators were to sign it"
    )]
    OtherEpoch {
        /// Height of the header.
        height: Height,
        /// The epoch that the certificate says.
        found: Epoch,
        /// The header's.
        epoch: Epoch,
    },
    /// Not signed by a quorum.
    #[error("the certificate of height {height} is not signed by a quorum of epoch {epoch}'s validators")]
    NoQuorum {
        /// Height of the header.
        height: Height,
        /// The epoch whose validators were asked for.
        epoch: Epoch,
    },
    /// A header does not name this set as the next epoch's.
    #[error("the validators of epoch {epoch} are not those that the header before names")]
    OtherSet {
        /// Epoch that the set says.
        epoch: Epoch,
    },
}

/// Does a quorum of `set` vouch for this header?
///
/// # Errors
/// [`FinalityError`]: it does not.
pub fn certified(
    chain: ChainId,
    set: &ValidatorSet,
    (header, certificate): (&BlockHeader, &Certificate),
    verifier: &impl Verifier,
) -> Result<(), FinalityError> {
    let (height, epoch) = (header.height, set.epoch);
    if certificate.header_hash != header.hash() || certificate.height != height || header.epoch != epoch {
        return Err(FinalityError::OtherHeader { height, epoch });
    }
    if certificate.epoch != epoch {
        return Err(FinalityError::OtherEpoch { height, found: certificate.epoch, epoch });
    }
    if certificate.verify(chain, set, verifier) {
        Ok(())
    } else {
        Err(FinalityError::NoQuorum { height, epoch })
    }
}

/// The validators of the epoch that `turns` lead to, from those of the genesis.
///
/// # Errors
/// [`FinalityError`] of the first turn that does not follow.
pub fn walk<'a>(
    chain: ChainId,
    genesis: &'a ValidatorSet,
    turns: &'a [Turn],
    verifier: &impl Verifier,
) -> Result<&'a ValidatorSet, FinalityError> {
    let mut set = genesis;
    for turn in turns {
        certified(chain, set, (&turn.last, &turn.certificate), verifier)?;
        // The hash covers the epoch's number too; a header in mid-epoch names the present set again.
        if turn.set.hash() != turn.last.next_epoch_hash
            || turn.set.epoch != Epoch(set.epoch.0.saturating_add(1))
        {
            return Err(FinalityError::OtherSet { epoch: turn.set.epoch });
        }
        set = &turn.set;
    }
    Ok(set)
}
