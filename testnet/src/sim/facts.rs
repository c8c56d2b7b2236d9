//! What a validator has bound itself to: read from its log's records and from its frames alike, to be compared.

use epione_consensus::{Kind, Message, NewView, PreparedCertificate, Record, Signed, SignedVote, ViewChange};
use epione_types::{Epoch, Hash, Signature, ValidatorIndex};

use super::roll::Roll;

/// Of what kind a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statement {
    /// A proposal.
    PrePrepare,
    /// An acceptance.
    Prepare,
    /// A commit.
    Commit,
    /// A seal.
    Seal,
    /// A view change.
    ViewChange,
    /// A new view.
    NewView,
    /// A height is certified.
    Certified,
}

/// A quorum's word, as a record of a log has it.
#[derive(Debug, Clone)]
pub enum Proof {
    /// q prepared a digest.
    Prepared(Box<PreparedCertificate>),
    /// q asked for a view.
    NewView(Box<Signed<NewView>>),
}

impl Proof {
    /// What a record proves, if it does.
    #[must_use]
    pub fn of_record(record: &Record) -> Option<Self> {
        match record {
            Record::Prepared(prepared) => Some(Self::Prepared(Box::new(prepared.clone()))),
            Record::Entered(new_view) => Some(Self::NewView(Box::new(new_view.clone()))),
            _ => None,
        }
    }
}

/// Who speaks: a place in an epoch is this machine's or it is not.
#[derive(Debug, Clone, Copy)]
pub struct Me<'a> {
    /// Who has which place.
    pub roll: &'a Roll,
    /// The machine.
    pub node: usize,
}

impl Me<'_> {
    /// Is this place its own?
    #[must_use]
    pub fn is(self, epoch: Epoch, place: ValidatorIndex) -> bool {
        self.roll.node(epoch, place) == Some(self.node)
    }
}

/// A validator's one statement for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Kind.
    pub statement: Statement,
    /// Epoch.
    pub epoch: Epoch,
    /// View; 0 of a seal.
    pub view: u64,
    /// Height; 0 of views.
    pub height: u64,
    /// What it says.
    pub digest: Hash,
}

impl Fact {
    fn of_vote(vote: &SignedVote) -> Option<Self> {
        let statement = match vote.vote.kind {
            Kind::PrePrepare => Statement::PrePrepare,
            Kind::Prepare => Statement::Prepare,
            Kind::Commit => Statement::Commit,
            Kind::Seal => Statement::Seal,
            Kind::Suspect => return None,
        };
        let (view, height, digest) = (vote.vote.view.0, vote.vote.height.0, vote.vote.digest);
        Some(Self { statement, epoch: vote.vote.epoch, view, height, digest })
    }

    /// A statement about a view is named by its signature: signing is deterministic.
    fn of_view(statement: Statement, epoch: Epoch, view: u64, signature: &Signature) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(&signature.0[..32]);
        Self { statement, epoch, view, height: 0, digest: Hash(digest) }
    }

    fn of_view_change(change: &Signed<ViewChange>) -> Self {
        let body = &change.body;
        Self::of_view(Statement::ViewChange, body.epoch, body.view.0, &change.signature)
    }

    fn of_new_view(new_view: &Signed<NewView>) -> Vec<Self> {
        let body = &new_view.body;
        let mut facts = vec![Self::of_view(Statement::NewView, body.epoch, body.view.0, &new_view.signature)];
        facts.extend(body.pre_prepares.iter().filter_map(Self::of_vote));
        facts
    }

    /// What a record binds `me` to.
    #[must_use]
    pub fn of_record(me: Me<'_>, record: &Record) -> Vec<Self> {
        match record {
            Record::Accepted(vote) if me.is(vote.vote.epoch, vote.from) => {
                Self::of_vote(vote).into_iter().collect()
            }
            Record::Accepted(vote) => {
                let fact = Self::of_vote(vote).map(|fact| Self { statement: Statement::Prepare, ..fact });
                fact.into_iter().collect()
            }
            Record::Prepared(certificate) => vec![Self {
                statement: Statement::Commit,
                epoch: certificate.pre_prepare.vote.epoch,
                view: certificate.view().0,
                height: certificate.height().0,
                digest: certificate.digest(),
            }],
            Record::Sealed { epoch, height, header_hash, .. } => vec![Self {
                statement: Statement::Seal,
                epoch: *epoch,
                view: 0,
                height: height.0,
                digest: *header_hash,
            }],
            Record::Asked(change) => vec![Self::of_view_change(change)],
            Record::Entered(new_view) if me.is(new_view.body.epoch, new_view.from) => {
                Self::of_new_view(new_view)
            }
            Record::Certified(certificate) => vec![Self {
                statement: Statement::Certified,
                epoch: certificate.epoch,
                view: 0,
                height: certificate.height.0,
                digest: certificate.header_hash,
            }],
            Record::Entered(_)
            | Record::Born { .. }
            | Record::Batch { .. }
            | Record::Halted(_)
            | Record::Epoch { .. } => Vec::new(),
        }
    }

    /// What a message binds `me` to; what it passes on of others, nothing.
    #[must_use]
    pub fn of_message(me: Me<'_>, message: &Message) -> Vec<Self> {
        match message {
            Message::Vote(vote) | Message::Proposal(vote, _) if me.is(vote.vote.epoch, vote.from) => {
                Self::of_vote(vote).into_iter().collect()
            }
            Message::ViewChange(change) if me.is(change.body.epoch, change.from) => {
                vec![Self::of_view_change(change)]
            }
            Message::NewView(new_view) if me.is(new_view.body.epoch, new_view.from) => {
                Self::of_new_view(new_view)
            }
            Message::Vote(_)
            | Message::Proposal(..)
            | Message::Batch(_)
            | Message::Commits(_)
            | Message::Certificate(_)
            | Message::ViewChange(_)
            | Message::NewView(_)
            | Message::Status(_) => Vec::new(),
        }
    }
}
