//! Who votes, by the certificates of the last heights: a hundred reads, for operators. Tested by `tests/explain.rs`.

use std::collections::{BTreeMap, BTreeSet};

use epione_ledger::chain::{Chain, ChainError};
use epione_types::{Epoch, Height, ValidatorIndex};

use crate::explain::Peer;

/// Heights whose certificates are looked at.
const HEIGHTS: u64 = 100;

/// Whose signatures they hold. A certificate is made as soon as a quorum has signed: one that is slow and well is in few.
#[derive(Debug, Clone, Default)]
pub struct Votes {
    certificates: u32,
    by: BTreeMap<ValidatorIndex, u32>,
    /// Whose signature one of the last window holds.
    lately: BTreeSet<ValidatorIndex>,
    window: u64,
}

impl Votes {
    /// Of the present epoch, whose window this is.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn read(chain: &Chain, epoch: Epoch, window: u64) -> Result<Self, ChainError> {
        let mut votes = Self { window, ..Self::default() };
        let Some(top) = chain.certified().map(|certificate| certificate.height.0) else { return Ok(votes) };
        for height in (top.saturating_sub(HEIGHTS - 1).max(1)..=top).rev() {
            let certificate = chain.certificate(Height(height))?;
            let Some(certificate) = certificate.filter(|one| one.epoch == epoch) else { continue };
            votes.certificates += 1;
            for (who, _) in certificate.signatures.iter() {
                *votes.by.entry(who).or_default() += 1;
                if height.saturating_add(window) > top {
                    votes.lately.insert(who);
                }
            }
        }
        Ok(votes)
    }

    /// How many certificates there were: a fetched block has none of its own.
    #[must_use]
    pub const fn certificates(&self) -> u32 {
        self.certificates
    }

    /// How many hold the signature of this validator.
    #[must_use]
    pub fn of(&self, who: ValidatorIndex) -> u32 {
        self.by.get(&who).copied().unwrap_or_default()
    }

    /// Is this peer connected, caught up and voting, as far as can be seen from a node at `low`? Its votes are for heights of
    /// the present window, or stand in a certificate of it; before the first block there was nothing to vote for.
    #[must_use]
    pub fn ready(&self, peer: &Peer, low: Height) -> bool {
        let voted = peer.voted > Height::ZERO && peer.voted.plus(self.window) >= low;
        let votes = low == Height::ZERO || voted || self.lately.contains(&peer.index);
        peer.connected && !peer.silent && votes && peer.lag.is_some_and(|lag| lag <= self.window)
    }
}
