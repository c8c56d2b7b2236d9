//! One height's votes and what they amount to.
//!
//! Tallies are keyed by kind, view, height and digest, one vote per validator (R6, R28). Votes are kept
//! for the views that can still matter; the caller prunes the rest.

use std::collections::BTreeMap;

use epione_types::{Certificate, Hash, Signature, SignatureSet, ValidatorIndex, View};

use crate::message::{CommitCertificate, PreparedCertificate, SignedVote, bit};

/// A validator's vote: on which digest, with which signature.
pub(crate) type Tally = BTreeMap<ValidatorIndex, (Hash, Signature)>;

/// Who voted for this digest.
pub(crate) fn for_digest(
    tally: &Tally,
    digest: Hash,
) -> impl Iterator<Item = (ValidatorIndex, Signature)> + '_ {
    tally.iter().filter(move |(_, (d, _))| *d == digest).map(|(who, (_, signature))| (*who, *signature))
}

/// Votes of one view at one height.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Votes {
    /// The primary's proposal.
    pub(crate) pre_prepare: Option<SignedVote>,
    /// Its stamp was within the skew when it arrived (R9).
    pub(crate) stamp_ok: bool,
    /// Backups' Prepares.
    pub(crate) prepares: Tally,
    /// Commits.
    pub(crate) commits: Tally,
    /// What this replica accepted in this view.
    pub(crate) accepted: Option<Hash>,
    /// This replica's Commit left.
    pub(crate) committed: bool,
}

impl Votes {
    /// Validators that accepted `digest`: the primary by its PrePrepare, backups by their Prepares.
    pub(crate) fn acceptances(&self, digest: Hash) -> impl Iterator<Item = ValidatorIndex> + '_ {
        let primary = self.pre_prepare.filter(|vote| vote.vote.digest == digest).map(|vote| vote.from);
        primary.into_iter().chain(for_digest(&self.prepares, digest).map(|(who, _)| who))
    }

    /// The prepared certificate, once there are q-1 Prepares for the proposal (R6).
    pub(crate) fn prepared(&self, quorum: usize) -> Option<PreparedCertificate> {
        let pre_prepare = self.pre_prepare?;
        let prepares: SignatureSet = for_digest(&self.prepares, pre_prepare.vote.digest).collect();
        (prepares.len() + 1 >= quorum).then_some(PreparedCertificate { pre_prepare, prepares })
    }

    /// A digest with q Commits.
    pub(crate) fn ordered(&self, quorum: usize) -> Option<(Hash, SignatureSet)> {
        let mut digests: Vec<Hash> = self.commits.values().map(|(digest, _)| *digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests.into_iter().find_map(|digest| {
            let commits: SignatureSet = for_digest(&self.commits, digest).collect();
            (commits.len() >= quorum).then_some((digest, commits))
        })
    }

    /// Distinct validators that voted at all, for the slot timer and for fetching (R15).
    pub(crate) fn voters(&self) -> u128 {
        self.prepares.keys().chain(self.commits.keys()).fold(0, |bits, who| bits | bit(*who))
    }
}

/// Everything about one height above low.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// By view.
    pub(crate) views: BTreeMap<View, Votes>,
    /// The prepared certificate of the highest view.
    pub(crate) prepared: Option<PreparedCertificate>,
    /// q Commits, of whatever view.
    pub(crate) ordered: Option<CommitCertificate>,
    /// Header of the executed block.
    pub(crate) executed: Option<Hash>,
    /// What this replica sealed, for ever (R13).
    pub(crate) sealed: Option<Hash>,
    /// Digest that was sealed.
    pub(crate) sealed_digest: Option<Hash>,
    /// Its certificate, while the block is not executed here.
    pub(crate) certificate: Option<Certificate>,
    /// A certified header for this height that a fetched block brought.
    pub(crate) vouched: Option<Hash>,
    /// Seals: header hash and signature.
    pub(crate) seals: Tally,
    /// The alarm about diverging Seals was raised.
    pub(crate) alarmed: bool,
}

impl Slot {
    /// Seals that agree with `header`.
    pub(crate) fn certificate(
        &self,
        header: Hash,
        template: impl FnOnce(SignatureSet) -> Certificate,
        quorum: usize,
    ) -> Option<Certificate> {
        let seals: SignatureSet = for_digest(&self.seals, header).collect();
        (seals.len() >= quorum).then(|| template(seals))
    }
}
