//! What validators say to one another, and the gate it passes: `Message` (unverified) to [`Verified`].
//!
//! Votes have one fixed layout under one tag per kind (R5), so they are transferable and a certificate is
//! just q of them. `from` is the key that signed, never a claim: [`Verifying::message`] is the only way to a
//! [`Verified`], and it checks every signature inside too, so the core never sees one that is not valid.
//! Sizes are bounded by the codec before anything is allocated (R28). Tested in `tests/hostile.rs`.

use std::sync::Arc;

use bytes::Bytes;
use epione_types::block::{seal_bytes, vote_bytes};
use epione_types::codec::{self, CodecError};
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::{
    BlockHeader, Certificate, ChainId, Domain, Epoch, Hash, Height, Signature, SignatureSet, Signer,
    ValidatorIndex, ValidatorSet, Verifier, View,
};
use serde::{Deserialize, Serialize};

use crate::guard::{self, Guard};
use crate::payload::Payload;

/// What a vote says about its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The primary proposes a batch; it is the primary's Prepare too (R6).
    PrePrepare,
    /// A backup accepts it.
    Prepare,
    /// A prepared certificate exists.
    Commit,
    /// Executed; the digest is the header hash and the view is 0 (R13).
    Seal,
    /// A timer fired in this view; height 0 and digest zero (R14).
    Suspect,
}

/// A signed statement of fixed layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vote {
    /// What is said.
    pub kind: Kind,
    /// Epoch whose set the signer belongs to.
    pub epoch: Epoch,
    /// View; 0 in a Seal.
    pub view: View,
    /// Height; 0 in a Suspect.
    pub height: Height,
    /// Batch digest, or header hash in a Seal.
    pub digest: Hash,
}

impl Vote {
    /// The bytes under the signature.
    #[must_use]
    pub fn bytes(&self, chain: ChainId) -> [u8; 120] {
        let domain = match self.kind {
            Kind::PrePrepare => Domain::PRE_PREPARE,
            Kind::Prepare => Domain::PREPARE,
            Kind::Commit => Domain::COMMIT,
            Kind::Seal => Domain::SEAL,
            Kind::Suspect => Domain::SUSPECT,
        };
        vote_bytes(domain, chain, self.epoch, self.view, self.height, self.digest)
    }

    /// Signs it. Deterministic: signing again gives the same bytes.
    #[must_use]
    pub fn sign(self, chain: ChainId, from: ValidatorIndex, signer: &dyn Signer) -> SignedVote {
        SignedVote { from, vote: self, signature: signer.sign(&self.bytes(chain)) }
    }
}

/// A vote and who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedVote {
    /// Place of the signer in the epoch's set.
    pub from: ValidatorIndex,
    /// The statement.
    pub vote: Vote,
    /// Over [`Vote::bytes`].
    pub signature: Signature,
}

/// Proof that q validators prepared one digest in one view: the PrePrepare and q-1 Prepares (R6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedCertificate {
    /// The primary's.
    pub pre_prepare: SignedVote,
    /// Of distinct backups.
    pub prepares: SignatureSet,
}

impl PreparedCertificate {
    /// View in which it was prepared.
    #[must_use]
    pub const fn view(&self) -> View {
        self.pre_prepare.vote.view
    }
    /// Its slot.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.pre_prepare.vote.height
    }
    /// The prepared batch.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.pre_prepare.vote.digest
    }
    /// All who accepted it, the primary first.
    pub fn holders(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        core::iter::once(self.pre_prepare.from).chain(self.prepares.iter().map(|(who, _)| who))
    }
}

/// q Commits of one (e, v, h, d): the batch is ordered at h for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitCertificate {
    /// Epoch.
    pub epoch: Epoch,
    /// View.
    pub view: View,
    /// Slot.
    pub height: Height,
    /// The ordered batch.
    pub digest: Hash,
    /// Of distinct validators.
    pub commits: SignatureSet,
}

/// A body signed as a whole, over its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// Place of the signer in the epoch's set.
    pub from: ValidatorIndex,
    /// What is said.
    pub body: T,
    /// Over the vote layout with the body's hash as digest.
    pub signature: Signature,
}

/// A body that is signed as a whole.
pub trait Body: Serialize + Sized {
    /// Tag of its kind.
    const DOMAIN: Domain;
    /// Epoch of the signer.
    fn epoch(&self) -> Epoch;
    /// View it is about.
    fn view(&self) -> View;

    /// The bytes under the signature.
    fn bytes(&self, chain: ChainId) -> [u8; 120] {
        let digest = Self::DOMAIN.hash(&codec::encode(self));
        vote_bytes(Self::DOMAIN, chain, self.epoch(), self.view(), Height::ZERO, digest)
    }

    /// Signs it. Deterministic.
    fn sign(self, chain: ChainId, from: ValidatorIndex, signer: &dyn Signer) -> Signed<Self> {
        let signature = signer.sign(&self.bytes(chain));
        Signed { from, body: self, signature }
    }
}

/// "I am done with lower views; this is what I prepared" (R17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// Epoch.
    pub epoch: Epoch,
    /// The view asked for.
    pub view: View,
    /// Of the highest certified height known; none for the height at which the epoch begins, which all its validators know.
    pub certificate: Option<Certificate>,
    /// For heights in (c, c+W], ascending: the prepared certificate of the highest view.
    pub prepared: Vec<PreparedCertificate>,
    /// The Suspects that are its reason, if they were (R14).
    pub reason: Vec<SignedVote>,
}

impl ViewChange {
    /// c: the highest certified height it knows, in an epoch that begins above `begin`.
    #[must_use]
    pub fn certified(&self, begin: Height) -> Height {
        self.certificate.as_ref().map_or(begin, |certificate| certificate.height)
    }
}

impl Body for ViewChange {
    const DOMAIN: Domain = Domain::VIEW_CHANGE;
    fn epoch(&self) -> Epoch {
        self.epoch
    }
    fn view(&self) -> View {
        self.view
    }
}

/// The new primary's proof of the view and what it carries over (R18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewView {
    /// Epoch.
    pub epoch: Epoch,
    /// The view it opens.
    pub view: View,
    /// q of them, by distinct validators in ascending order, all for this view.
    pub view_changes: Vec<Signed<ViewChange>>,
    /// One PrePrepare per height from base+1 on, signed in this view.
    pub pre_prepares: Vec<SignedVote>,
}

impl Body for NewView {
    const DOMAIN: Domain = Domain::NEW_VIEW;
    fn epoch(&self) -> Epoch {
        self.epoch
    }
    fn view(&self) -> View {
        self.view
    }
}

impl NewView {
    /// Height of the highest certificate among the view changes, in an epoch that begins above `begin`.
    #[must_use]
    pub fn base(&self, begin: Height) -> Height {
        base_of(self.view_changes.iter().map(|change| &change.body)).map_or(begin, |one| one.height)
    }
}

/// Highest certificate among view changes.
pub(crate) fn base_of<'a>(changes: impl Iterator<Item = &'a ViewChange>) -> Option<&'a Certificate> {
    changes.filter_map(|change| change.certificate.as_ref()).max_by_key(|certificate| certificate.height)
}

/// The list that follows from view changes (R18): everybody recomputes it.
pub(crate) fn carried<'a>(
    begin: Height,
    changes: impl Iterator<Item = &'a ViewChange> + Clone,
) -> Vec<(Height, Hash)> {
    let base = base_of(changes.clone()).map_or(begin, |certificate| certificate.height);
    let prepared = || changes.clone().flat_map(|change| &change.prepared).filter(|one| one.height() > base);
    let Some(top) = prepared().map(PreparedCertificate::height).max() else { return Vec::new() };
    (base.next().0..=top.0)
        .map(Height)
        .map(|height| {
            let best = prepared()
                .filter(|one| one.height() == height)
                .max_by_key(|one| guard::holds(Guard::HighestPrepared).then(|| one.view())); // R18
            (height, best.map_or_else(crate::payload::null_digest, PreparedCertificate::digest))
        })
        .collect()
}

/// What one slot lacks, as bitmaps over validators (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Whose PrePrepare or Prepare of the entered view is here.
    pub prepares: u128,
    /// Whose Commit of the entered view is here.
    pub commits: u128,
    /// Whose Seal is here.
    pub seals: u128,
    /// q Commits and the batch are here.
    pub ordered: bool,
}

/// Where a validator is, so that others can send what it lacks (R22).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Epoch.
    pub epoch: Epoch,
    /// View entered.
    pub view: View,
    /// View asked for.
    pub asked: View,
    /// Highest certified and executed height.
    pub low: Height,
    /// Highest delivered height.
    pub delivered: Height,
    /// Whose Suspect of the view it is in is here.
    pub suspects: u128,
    /// Whose ViewChange for the view asked for, or above, is here.
    pub view_changes: u128,
    /// For low+1 and on, at most W.
    pub slots: Vec<SlotStatus>,
}

impl Body for Status {
    const DOMAIN: Domain = Domain::STATUS;
    fn epoch(&self) -> Epoch {
        self.epoch
    }
    fn view(&self) -> View {
        self.view
    }
}

/// Everything that travels between validators for consensus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Prepare, Commit, Seal or Suspect.
    Vote(SignedVote),
    /// A PrePrepare with its batch, or without when answering one who has it.
    Proposal(SignedVote, Option<Bytes>),
    /// A batch that was asked for by digest.
    Batch(Bytes),
    /// q Commits for one who lacks them.
    Commits(CommitCertificate),
    /// q Seals for one who lacks them.
    Certificate(Certificate),
    /// View change.
    ViewChange(Box<Signed<ViewChange>>),
    /// New view.
    NewView(Box<Signed<NewView>>),
    /// Status.
    Status(Box<Signed<Status>>),
}

/// Longest encoding of a message under these parameters, in bytes: what a decoder may allocate.
#[must_use]
pub fn max_message_bytes(set: &ValidatorSet) -> usize {
    let certificate = 64 + set.len() * 66 + 160;
    let per_change =
        (usize::try_from(set.params.window).unwrap_or(64) + 1) * certificate + set.len() * 160 + 160;
    let new_view = set.len() * per_change + 64 * 160 + 160;
    new_view.max(set.params.batch_bytes_max as usize + 512)
}

impl Message {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From the wire: bounded, canonical, not yet trusted.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8], set: &ValidatorSet) -> Result<Self, CodecError> {
        codec::decode(bytes, max_message_bytes(set))
    }
}

/// A message whose every signature is valid and whose shape is right. Built only by [`Verifying`].
#[derive(Debug, Clone)]
pub struct Verified(pub(crate) Input);

#[derive(Debug, Clone)]
pub(crate) enum Input {
    Vote(SignedVote),
    Proposal(SignedVote, Option<Arc<Payload>>),
    Batch(Arc<Payload>),
    Commits(CommitCertificate),
    Certificate(Certificate),
    ViewChange(Arc<Signed<ViewChange>>),
    NewView(Arc<Signed<NewView>>),
    Status(Box<Signed<Status>>),
}

impl Input {
    /// The epoch whose validators it was verified among; a batch is vouched for by its digest alone.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        Some(match self {
            Self::Vote(vote) | Self::Proposal(vote, _) => vote.vote.epoch,
            Self::Batch(_) => return None,
            Self::Commits(certificate) => certificate.epoch,
            Self::Certificate(certificate) => certificate.epoch,
            Self::ViewChange(change) => change.body.epoch,
            Self::NewView(new_view) => new_view.body.epoch,
            Self::Status(status) => status.body.epoch,
        })
    }
}

/// Why a message is not let in. Counted by peer; an invalid signature leads to disconnection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A signature does not verify.
    #[error("invalid signature")]
    Signature,
    /// A signer is no member of the set.
    #[error("signer is not a validator of this epoch")]
    NotMember,
    /// Of another epoch than the one in force.
    #[error("message of another epoch")]
    Epoch,
    /// The wrong validator speaks: a PrePrepare or NewView not by its view's primary.
    #[error("not the primary of that view")]
    NotPrimary,
    /// Fewer than q distinct signers.
    #[error("certificate short of a quorum")]
    ShortCertificate,
    /// Fields that do not fit together.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// What verification needs to know: chain, set in force, signature predicate.
#[derive(Debug)]
pub struct Verifying<'a, V> {
    /// The chain.
    pub chain: ChainId,
    /// The epoch's set.
    pub set: &'a ValidatorSet,
    /// Last height of the epoch before.
    pub begin: Height,
    /// The one predicate (R29).
    pub verifier: &'a V,
}

impl<V: Verifier> Verifying<'_, V> {
    /// Lets a message in, or says why not.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn message(&self, message: Message) -> Result<Verified, Rejected> {
        Ok(Verified(match message {
            Message::Vote(vote) => {
                if vote.vote.kind == Kind::PrePrepare {
                    return Err(Rejected::Malformed("a PrePrepare travels as a proposal"));
                }
                self.vote(&vote)?;
                Input::Vote(vote)
            }
            Message::Proposal(vote, batch) => {
                self.pre_prepare(&vote)?;
                let payload = batch.map(|bytes| self.payload(bytes)).transpose()?;
                if payload.as_ref().is_some_and(|payload| payload.digest() != vote.vote.digest) {
                    return Err(Rejected::Malformed("batch is not the proposed one"));
                }
                Input::Proposal(vote, payload)
            }
            Message::Batch(bytes) => Input::Batch(self.payload(bytes)?),
            Message::Commits(certificate) => {
                self.commits(&certificate)?;
                Input::Commits(certificate)
            }
            Message::Certificate(certificate) => {
                self.certificate(&certificate)?;
                Input::Certificate(certificate)
            }
            Message::ViewChange(change) => {
                self.view_change(&change)?;
                Input::ViewChange(Arc::new(*change))
            }
            Message::NewView(new_view) => {
                self.new_view(&new_view)?;
                Input::NewView(Arc::new(*new_view))
            }
            Message::Status(status) => {
                self.signed(&status)?;
                if status.body.slots.len() as u64 > self.set.params.window {
                    return Err(Rejected::Malformed("more slots than the window has"));
                }
                Input::Status(status)
            }
        }))
    }

    fn payload(&self, bytes: Bytes) -> Result<Arc<Payload>, Rejected> {
        Payload::decode(bytes, &self.set.params)
            .map(Arc::new)
            .map_err(|_| Rejected::Malformed("batch does not decode"))
    }

    fn epoch(&self, epoch: Epoch) -> Result<(), Rejected> {
        let known = epoch == self.set.epoch || !guard::holds(Guard::Epoch);
        if known { Ok(()) } else { Err(Rejected::Epoch) }
    }

    fn vote(&self, vote: &SignedVote) -> Result<(), Rejected> {
        self.epoch(vote.vote.epoch)?;
        let shaped = match vote.vote.kind {
            Kind::Seal => vote.vote.view == View::ZERO && vote.vote.height > Height::ZERO,
            Kind::Suspect => vote.vote.height == Height::ZERO && vote.vote.digest == Hash::ZERO,
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => vote.vote.height > Height::ZERO,
        };
        if !shaped {
            return Err(Rejected::Malformed("vote fields do not fit its kind"));
        }
        self.signature(vote.from, &vote.vote.bytes(self.chain), &vote.signature)
    }

    fn signature(&self, from: ValidatorIndex, message: &[u8], signature: &Signature) -> Result<(), Rejected> {
        let validator = self.set.get(from).ok_or(Rejected::NotMember)?;
        let valid = self.verifier.verify(&validator.public_key, message, signature)
            || !guard::holds(Guard::MessageSignature);
        if valid { Ok(()) } else { Err(Rejected::Signature) }
    }

    fn primary(&self, from: ValidatorIndex, view: View) -> Result<(), Rejected> {
        let primary = from == crate::primary(self.set, view) || !guard::holds(Guard::OnlyPrimary);
        if primary { Ok(()) } else { Err(Rejected::NotPrimary) }
    }

    fn pre_prepare(&self, vote: &SignedVote) -> Result<(), Rejected> {
        if vote.vote.kind != Kind::PrePrepare {
            return Err(Rejected::Malformed("not a PrePrepare"));
        }
        self.epoch(vote.vote.epoch)?; // who is primary depends on it: another epoch's is no offence
        self.primary(vote.from, vote.vote.view)?;
        self.vote(vote)
    }

    fn quorum_of(&self, signatures: &SignatureSet, needed: usize, message: &[u8]) -> Result<(), Rejected> {
        let needed = if guard::holds(Guard::CertificateSize) { needed } else { 1 };
        if signatures.len() < needed {
            return Err(Rejected::ShortCertificate);
        }
        if signatures.iter().any(|(who, _)| self.set.get(who).is_none()) {
            return Err(Rejected::NotMember);
        }
        let valid = signatures.verify(self.set, needed, message, self.verifier)
            || !guard::holds(Guard::CertificateSignatures);
        if valid { Ok(()) } else { Err(Rejected::Signature) }
    }

    /// q Seals of this epoch's set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn certificate(&self, certificate: &Certificate) -> Result<(), Rejected> {
        self.epoch(certificate.epoch)?;
        let message = seal_bytes(self.chain, certificate.epoch, certificate.height, certificate.header_hash);
        self.quorum_of(&certificate.signatures, crate::quorum(self.set), &message)
    }

    fn commits(&self, certificate: &CommitCertificate) -> Result<(), Rejected> {
        self.epoch(certificate.epoch)?;
        let CommitCertificate { epoch, view, height, digest, .. } = *certificate;
        let vote = Vote { kind: Kind::Commit, epoch, view, height, digest };
        self.quorum_of(&certificate.commits, crate::quorum(self.set), &vote.bytes(self.chain))
    }

    fn prepared(&self, certificate: &PreparedCertificate) -> Result<(), Rejected> {
        self.pre_prepare(&certificate.pre_prepare)?;
        if certificate.prepares.contains(certificate.pre_prepare.from)
            && guard::holds(Guard::PrimaryCountsOnce)
        {
            return Err(Rejected::Malformed("the primary's Prepare is its PrePrepare"));
        }
        let vote = Vote { kind: Kind::Prepare, ..certificate.pre_prepare.vote };
        self.quorum_of(
            &certificate.prepares,
            crate::quorum(self.set).saturating_sub(1),
            &vote.bytes(self.chain),
        )
    }

    fn signed<T: Body>(&self, signed: &Signed<T>) -> Result<(), Rejected> {
        self.epoch(signed.body.epoch())?;
        self.signature(signed.from, &signed.body.bytes(self.chain), &signed.signature)
    }

    fn view_change(&self, change: &Signed<ViewChange>) -> Result<(), Rejected> {
        self.signed(change)?;
        let body = &change.body;
        if let Some(certificate) = &body.certificate {
            self.certificate(certificate)?;
        }
        let certified = body.certified(self.begin);
        let window = self.set.params.window;
        if !body.prepared.is_sorted_by(|a, b| a.height() < b.height()) {
            return Err(Rejected::Malformed("prepared certificates are not in ascending order"));
        }
        for one in &body.prepared {
            let inside = one.height() > certified && one.height() <= certified.plus(window);
            if !inside || one.view() >= body.view {
                return Err(Rejected::Malformed(
                    "prepared certificate outside (c, c+W] or not below the view",
                ));
            }
            self.prepared(one)?;
        }
        if body.reason.len() > self.set.len() {
            return Err(Rejected::Malformed("more Suspects than validators"));
        }
        for suspect in &body.reason {
            if suspect.vote.kind != Kind::Suspect || suspect.vote.view >= body.view {
                return Err(Rejected::Malformed("reason is no Suspect of a lower view"));
            }
            self.vote(suspect)?;
        }
        Ok(())
    }

    fn new_view(&self, new_view: &Signed<NewView>) -> Result<(), Rejected> {
        let body = &new_view.body;
        self.epoch(body.epoch)?; // how many are needed depends on it
        // Cheap bounds before q view changes' worth of signatures (R18).
        if body.view_changes.len() != crate::quorum(self.set)
            || body.pre_prepares.len() as u64 > self.set.params.window
        {
            return Err(Rejected::Malformed("a NewView has q view changes and at most W proposals"));
        }
        self.primary(new_view.from, body.view)?;
        self.signed(new_view)?;
        if !body.view_changes.is_sorted_by(|a, b| a.from < b.from) && guard::holds(Guard::DistinctViewChanges)
        {
            return Err(Rejected::Malformed("view changes are not of distinct validators in order"));
        }
        for change in &body.view_changes {
            if change.body.view != body.view {
                return Err(Rejected::Malformed("view change for another view"));
            }
            self.view_change(change)?;
        }
        for vote in &body.pre_prepares {
            if vote.vote.view != body.view {
                return Err(Rejected::Malformed("proposal of another view"));
            }
            self.pre_prepare(vote)?;
        }
        Ok(())
    }

    /// Blocks from any peer (R23): a certificate on the last header, parent links down from it, batches that hash.
    ///
    /// # Errors
    /// What is wrong; the sender is to be noted and another one asked.
    pub fn blocks(&self, answer: BlocksAnswer) -> Result<VerifiedBlocks, Rejected> {
        let last = answer.blocks.last().ok_or(Rejected::Malformed("no blocks"))?;
        let certified = last.header.hash() == answer.certificate.header_hash
            && last.header.height == answer.certificate.height;
        if !certified && guard::holds(Guard::BlocksCertified) {
            return Err(Rejected::Malformed("certificate is for another header"));
        }
        self.certificate(&answer.certificate)?;
        let linked = answer.blocks.is_sorted_by(|a, b| {
            a.header.hash() == b.header.parent && a.header.height.next() == b.header.height
        });
        if !linked && guard::holds(Guard::ParentLinks) {
            return Err(Rejected::Malformed("headers are not a chain"));
        }
        let mut blocks = Vec::with_capacity(answer.blocks.len());
        for block in answer.blocks {
            let payload = self.payload(block.batch)?;
            if payload.digest() != block.header.batch_digest && guard::holds(Guard::BodyDigest) {
                return Err(Rejected::Malformed("batch is not the header's"));
            }
            blocks.push(VouchedBlock {
                height: block.header.height,
                header_hash: block.header.hash(),
                payload,
            });
        }
        Ok(VerifiedBlocks { blocks, certificate: answer.certificate })
    }
}

/// A block as fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedBlock {
    /// Header.
    pub header: BlockHeader,
    /// Encoded batch.
    pub batch: Bytes,
}

/// Consecutive blocks and the certificate of the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksAnswer {
    /// Ascending.
    pub blocks: Vec<FetchedBlock>,
    /// Of the last block: it vouches for all before (R12).
    pub certificate: Certificate,
}

/// A block that a certificate vouches for.
#[derive(Debug, Clone)]
pub(crate) struct VouchedBlock {
    pub(crate) height: Height,
    pub(crate) header_hash: Hash,
    pub(crate) payload: Arc<Payload>,
}

/// Blocks that passed [`Verifying::blocks`].
#[derive(Debug, Clone)]
pub struct VerifiedBlocks {
    pub(crate) blocks: Vec<VouchedBlock>,
    pub(crate) certificate: Certificate,
}

/// A validator's bit in a [`SlotStatus`].
#[must_use]
pub(crate) const fn bit(who: ValidatorIndex) -> u128 {
    1u128.wrapping_shl(who.0 as u32)
}

const _: () = assert!(MAX_VALIDATORS <= 128, "one bit per validator");
