//! Messages of every kind, signed by whom one likes, for the chain and epoch that one likes.

use std::sync::Arc;

use epione_consensus::{
    Body as _, CommitCertificate, Kind, Message, NewView, Payload, PreparedCertificate, Signed, SignedVote,
    SlotStatus, Status, ViewChange, Vote, primary,
};
use epione_types::{Certificate, ChainId, Epoch, Hash, Height, SignatureSet, ValidatorSet, View};

use super::{FakeSigner, v};

/// All keys in one hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forge<'a> {
    pub(crate) chain: ChainId,
    pub(crate) epoch: Epoch,
    pub(crate) set: &'a ValidatorSet,
}

impl Forge<'_> {
    pub(crate) fn signer(&self, who: usize) -> FakeSigner {
        FakeSigner(self.set.validators[who].public_key)
    }

    pub(crate) fn primary(&self, view: u64) -> usize {
        primary(self.set, View(view)).get()
    }

    pub(crate) fn vote(&self, from: usize, kind: Kind, view: u64, height: u64, digest: Hash) -> SignedVote {
        let vote = Vote { kind, epoch: self.epoch, view: View(view), height: Height(height), digest };
        vote.sign(self.chain, v(from), &self.signer(from))
    }

    pub(crate) fn proposal(&self, view: u64, height: u64, payload: &Arc<Payload>) -> Message {
        let vote = self.vote(self.primary(view), Kind::PrePrepare, view, height, payload.digest());
        Message::Proposal(vote, Some(payload.bytes().clone()))
    }

    /// The signatures of the first `count` but `not`.
    fn signatures(&self, count: usize, not: usize, sign: impl Fn(usize) -> SignedVote) -> SignatureSet {
        let who = (0..self.set.len()).filter(|who| *who != not).take(count);
        who.map(|who| (v(who), sign(who).signature)).collect()
    }

    pub(crate) fn prepared(&self, view: u64, height: u64, digest: Hash) -> PreparedCertificate {
        let primary = self.primary(view);
        let sign = |who| self.vote(who, Kind::Prepare, view, height, digest);
        PreparedCertificate {
            pre_prepare: self.vote(primary, Kind::PrePrepare, view, height, digest),
            prepares: self.signatures(self.set.quorum() - 1, primary, sign),
        }
    }

    pub(crate) fn commits(&self, view: u64, height: u64, digest: Hash) -> CommitCertificate {
        let sign = |who| self.vote(who, Kind::Commit, view, height, digest);
        let commits = self.signatures(self.set.quorum(), usize::MAX, sign);
        CommitCertificate { epoch: self.epoch, view: View(view), height: Height(height), digest, commits }
    }

    pub(crate) fn certificate(&self, height: u64, header_hash: Hash) -> Certificate {
        let sign = |who| self.vote(who, Kind::Seal, 0, height, header_hash);
        let signatures = self.signatures(self.set.quorum(), usize::MAX, sign);
        Certificate { epoch: self.epoch, height: Height(height), header_hash, signatures }
    }

    pub(crate) fn suspect(&self, from: usize, view: u64) -> SignedVote {
        self.vote(from, Kind::Suspect, view, 0, Hash::ZERO)
    }

    pub(crate) fn change(&self, from: usize, body: ViewChange) -> Signed<ViewChange> {
        body.sign(self.chain, v(from), &self.signer(from))
    }

    /// A ViewChange with all that one may hold: a certificate of height 1, the next height prepared in view 0, Suspects.
    pub(crate) fn full_change(&self, from: usize, view: u64) -> Signed<ViewChange> {
        let body = ViewChange {
            epoch: self.epoch,
            view: View(view),
            certificate: Some(self.certificate(1, Hash([1; 32]))),
            prepared: vec![self.prepared(0, 2, Hash([2; 32]))],
            reason: vec![self.suspect(0, 0), self.suspect(1, 0)],
        };
        self.change(from, body)
    }

    pub(crate) fn new_view(&self, from: usize, body: NewView) -> Signed<NewView> {
        body.sign(self.chain, v(from), &self.signer(from))
    }

    /// q such ViewChanges and the list that follows from them.
    pub(crate) fn full_new_view(&self, view: u64) -> NewView {
        let primary = self.primary(view);
        let view_changes = (0..self.set.quorum()).map(|from| self.full_change(from, view)).collect();
        let pre_prepares = vec![self.vote(primary, Kind::PrePrepare, view, 2, Hash([2; 32]))];
        NewView { epoch: self.epoch, view: View(view), view_changes, pre_prepares }
    }

    pub(crate) fn status(&self, from: usize, slots: usize) -> Message {
        let (low, delivered) = (Height(0), Height(0));
        let status = Status {
            epoch: self.epoch,
            view: View(0),
            asked: View(0),
            low,
            delivered,
            suspects: 0,
            view_changes: 0,
            slots: vec![SlotStatus::default(); slots],
        };
        Message::Status(Box::new(status.sign(self.chain, v(from), &self.signer(from))))
    }

    /// One of every kind that carries a signature, by name.
    pub(crate) fn all(&self, payload: &Arc<Payload>) -> Vec<(&'static str, Message)> {
        let digest = payload.digest();
        vec![
            ("Prepare", Message::Vote(self.vote(1, Kind::Prepare, 0, 1, digest))),
            ("Commit", Message::Vote(self.vote(1, Kind::Commit, 0, 1, digest))),
            ("Seal", Message::Vote(self.vote(1, Kind::Seal, 0, 1, digest))),
            ("Suspect", Message::Vote(self.suspect(1, 0))),
            ("Proposal", self.proposal(0, 1, payload)),
            ("Commits", Message::Commits(self.commits(0, 1, digest))),
            ("Certificate", Message::Certificate(self.certificate(1, digest))),
            ("ViewChange", Message::ViewChange(Box::new(self.full_change(2, 1)))),
            ("NewView", Message::NewView(Box::new(self.new_view(self.primary(1), self.full_new_view(1))))),
            ("Status", self.status(1, 8)),
        ]
    }
}
