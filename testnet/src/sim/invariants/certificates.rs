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
    Certificate, ChainId, Domain, Epoch, Hash, SignatureSet, ValidatorIndex, ValidatorSet, Verifier as _,
    codec,
};
use serde::Serialize;

use super::Check;
use crate::sim::crypto::SimVerifier;

/// Proofs seen; each is checked once.
#[derive(Debug)]
pub(super) struct Certificates {
    chain: ChainId,
    set: ValidatorSet,
    verifier: SimVerifier,
    good: BTreeSet<Hash>,
}

impl Certificates {
    pub(super) fn new(chain: ChainId, set: ValidatorSet, verifier: SimVerifier) -> Self {
        Self { chain, set, verifier, good: BTreeSet::new() }
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

    /// More than half of all and the faulty together.
    fn is_quorum(&self, members: usize) -> bool {
        let n = self.set.len();
        2 * members > n + (n - 1) / 3
    }

    fn epoch(&self, epoch: Epoch) -> Check {
        if epoch == self.set.epoch { Ok(()) } else { Err(format!("a proof of epoch {epoch}")) }
    }

    /// Members whose signature over the message is valid; `first` is counted without one.
    fn signed(&self, message: &[u8], signatures: &SignatureSet, first: Option<ValidatorIndex>) -> usize {
        let valid = signatures.iter().filter(|(who, signature)| {
            let member = self.set.get(*who);
            member.is_some_and(|member| self.verifier.verify(&member.public_key, message, signature))
        });
        valid.map(|(who, _)| who).chain(first).collect::<BTreeSet<_>>().len()
    }

    fn need(&self, what: &str, at: impl std::fmt::Display, members: usize) -> Check {
        if self.is_quorum(members) {
            return Ok(());
        }
        Err(format!("the {what} of {at} has valid signatures of {members} members out of {}", self.set.len()))
    }

    pub(super) fn certificate(&mut self, certificate: &Certificate) -> Check {
        self.once(certificate, |all| {
            all.epoch(certificate.epoch)?;
            let message =
                seal_bytes(all.chain, certificate.epoch, certificate.height, certificate.header_hash);
            let members = all.signed(&message, &certificate.signatures, None);
            all.need("certificate", format_args!("height {}", certificate.height), members)
        })
    }

    pub(super) fn commits(&mut self, commits: &CommitCertificate) -> Check {
        self.once(commits, |all| {
            let CommitCertificate { epoch, view, height, digest, .. } = *commits;
            all.epoch(epoch)?;
            let message = Vote { kind: Kind::Commit, epoch, view, height, digest }.bytes(all.chain);
            let members = all.signed(&message, &commits.commits, None);
            all.need("commit certificate", format_args!("height {height}, view {view}"), members)
        })
    }

    fn vote(&self, vote: &SignedVote) -> bool {
        let member = self.set.get(vote.from);
        let message = vote.vote.bytes(self.chain);
        member.is_some_and(|member| self.verifier.verify(&member.public_key, &message, &vote.signature))
    }

    pub(super) fn prepared(&mut self, prepared: &PreparedCertificate) -> Check {
        self.once(prepared, |all| {
            let first = &prepared.pre_prepare;
            let (height, view) = (first.vote.height, first.vote.view);
            all.epoch(first.vote.epoch)?;
            let n = all.set.len() as u64;
            let primary = u64::from(first.from.0) == (first.vote.epoch.0 + view.0) % n;
            if !primary || first.vote.kind != Kind::PrePrepare || !all.vote(first) {
                return Err(format!(
                    "a prepared certificate of height {height} is not by the primary of view {view}"
                ));
            }
            let message = Vote { kind: Kind::Prepare, ..first.vote }.bytes(all.chain);
            let members = all.signed(&message, &prepared.prepares, Some(first.from));
            all.need("prepared certificate", format_args!("height {height}, view {view}"), members)
        })
    }

    pub(super) fn view_change(&mut self, change: &ViewChange) -> Check {
        change.certificate.iter().try_for_each(|one| self.certificate(one))?;
        change.prepared.iter().try_for_each(|one| self.prepared(one))
    }

    pub(super) fn new_view(&mut self, new_view: &Signed<NewView>) -> Check {
        let body = &new_view.body;
        let asking: BTreeSet<ValidatorIndex> = body.view_changes.iter().map(|change| change.from).collect();
        self.need("NewView", format_args!("view {}", body.view), asking.len())?;
        for change in &body.view_changes {
            if change.body.view != body.view {
                return Err(format!("the NewView of view {} counts one who asked for another", body.view));
            }
            self.view_change(&change.body)?;
        }
        Ok(())
    }
}
