//! Whatever an honest node takes for a quorum's word is one: valid signatures of q distinct members of that height's epoch.
//!
//! Certificates, prepared certificates, q Commits, and the view changes of a NewView; counted anew here, without the
//! quorum arithmetic of the nodes.

use std::collections::BTreeSet;

use epione_consensus::{
    CommitCertificate, Kind, NewView, PreparedCertificate, Signed, SignedVote, ViewChange, Vote,
};
use epione_types::block::seal_bytes;
use epione_types::{
    Certificate, ChainId, Domain, Epoch, Hash, Height, SignatureSet, ValidatorIndex, ValidatorSet,
    Verifier as _, codec,
};
use serde::Serialize;

use super::Check;
use crate::sim::crypto::SimVerifier;
use crate::sim::roll::SharedRoll;

/// Proofs seen; each is checked once.
#[derive(Debug)]
pub(super) struct Certificates {
    chain: ChainId,
    roll: SharedRoll,
    verifier: SimVerifier,
    good: BTreeSet<Hash>,
}

impl Certificates {
    pub(super) const fn new(chain: ChainId, roll: SharedRoll, verifier: SimVerifier) -> Self {
        Self { chain, roll, verifier, good: BTreeSet::new() }
    }

    /// Checks what was not found good before.
    fn once<T: Serialize>(&mut self, proof: &T, check: impl FnOnce(&mut Self) -> Check) -> Check {
        let name = Domain::new("epione/sim-proof").hash(&codec::encode(proof));
        if !self.good.contains(&name) {
            check(self)?;
            self.good.insert(name);
        }
        Ok(())
    }

    /// The set of a proof, if its height is of this epoch.
    fn set(&self, epoch: Epoch, height: Option<Height>) -> Result<ValidatorSet, String> {
        let roll = self.roll.borrow();
        let era = roll.era(epoch).ok_or_else(|| format!("a proof of epoch {epoch}, which is not decided"))?;
        let end = roll.end(epoch).unwrap_or(Height(u64::MAX));
        match height.filter(|height| *height <= era.begin || *height > end) {
            Some(height) => Err(format!("a proof of height {height} in epoch {epoch}")),
            None => Ok(era.set.clone()),
        }
    }

    /// Members whose signature over the message is valid; `first` is counted without one.
    fn signed(
        &self,
        set: &ValidatorSet,
        message: &[u8],
        signatures: &SignatureSet,
        first: Option<ValidatorIndex>,
    ) -> usize {
        let valid = signatures.iter().filter(|(who, signature)| {
            let member = set.get(*who);
            member.is_some_and(|member| self.verifier.verify(&member.public_key, message, signature))
        });
        valid.map(|(who, _)| who).chain(first).collect::<BTreeSet<_>>().len()
    }

    /// More than half of all and the faulty together.
    fn need(set: &ValidatorSet, what: &str, at: impl std::fmt::Display, members: usize) -> Check {
        let n = set.len();
        if 2 * members > n + (n - 1) / 3 {
            return Ok(());
        }
        Err(format!("the {what} of {at} has valid signatures of {members} members out of {n}"))
    }

    pub(super) fn certificate(&mut self, certificate: &Certificate) -> Check {
        self.once(certificate, |all| {
            let set = all.set(certificate.epoch, Some(certificate.height))?;
            let message =
                seal_bytes(all.chain, certificate.epoch, certificate.height, certificate.header_hash);
            let members = all.signed(&set, &message, &certificate.signatures, None);
            Self::need(&set, "certificate", format_args!("height {}", certificate.height), members)
        })
    }

    pub(super) fn commits(&mut self, commits: &CommitCertificate) -> Check {
        self.once(commits, |all| {
            let CommitCertificate { epoch, view, height, digest, .. } = *commits;
            let set = all.set(epoch, Some(height))?;
            let message = Vote { kind: Kind::Commit, epoch, view, height, digest }.bytes(all.chain);
            let members = all.signed(&set, &message, &commits.commits, None);
            Self::need(&set, "commit certificate", format_args!("height {height}, view {view}"), members)
        })
    }

    fn vote(&self, set: &ValidatorSet, vote: &SignedVote) -> bool {
        let member = set.get(vote.from);
        let message = vote.vote.bytes(self.chain);
        member.is_some_and(|member| self.verifier.verify(&member.public_key, &message, &vote.signature))
    }

    pub(super) fn prepared(&mut self, prepared: &PreparedCertificate) -> Check {
        self.once(prepared, |all| {
            let first = &prepared.pre_prepare;
            let (height, view) = (first.vote.height, first.vote.view);
            let set = all.set(first.vote.epoch, Some(height))?;
            let n = set.len() as u64;
            let primary = u64::from(first.from.0) == (first.vote.epoch.0 + view.0) % n;
            if !primary || first.vote.kind != Kind::PrePrepare || !all.vote(&set, first) {
                return Err(format!(
                    "a prepared certificate of height {height} is not by the primary of view {view}"
                ));
            }
            let message = Vote { kind: Kind::Prepare, ..first.vote }.bytes(all.chain);
            let members = all.signed(&set, &message, &prepared.prepares, Some(first.from));
            Self::need(&set, "prepared certificate", format_args!("height {height}, view {view}"), members)
        })
    }

    pub(super) fn view_change(&mut self, change: &ViewChange) -> Check {
        change.certificate.iter().try_for_each(|one| self.certificate(one))?;
        change.prepared.iter().try_for_each(|one| self.prepared(one))
    }

    pub(super) fn new_view(&mut self, new_view: &Signed<NewView>) -> Check {
        let body = &new_view.body;
        let asking: BTreeSet<ValidatorIndex> = body.view_changes.iter().map(|change| change.from).collect();
        let set = self.set(body.epoch, None)?;
        Self::need(&set, "NewView", format_args!("view {}", body.view), asking.len())?;
        for change in &body.view_changes {
            if (change.body.epoch, change.body.view) != (body.epoch, body.view) {
                return Err(format!("the NewView of view {} counts one who asked for another", body.view));
            }
            self.view_change(&change.body)?;
        }
        Ok(())
    }
}
