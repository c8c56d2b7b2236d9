//! What a validator has bound itself to: read from its log's records and from its frames alike, to be compared.

use epione_consensus::{Kind, Message, NewView, PreparedCertificate, Record, Signed, SignedVote};
use epione_types::{Hash, Signature};

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

/// A validator's one statement for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Kind.
    pub statement: Statement,
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
        Some(Self { statement, view, height, digest })
    }

    /// A statement about a view is named by its signature: signing is deterministic.
    fn of_view(statement: Statement, view: u64, signature: &Signature) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(&signature.0[..32]);
        Self { statement, view, height: 0, digest: Hash(digest) }
    }

    /// What a record binds `me` to.
    #[must_use]
    pub fn of_record(me: usize, record: &Record) -> Vec<Self> {
        match record {
            Record::Accepted(vote) if vote.from.get() == me => Self::of_vote(vote).into_iter().collect(),
            Record::Accepted(vote) => {
                let fact = Self::of_vote(vote).map(|fact| Self { statement: Statement::Prepare, ..fact });
                fact.into_iter().collect()
            }
            Record::Prepared(certificate) => vec![Self {
                statement: Statement::Commit,
                view: certificate.view().0,
                height: certificate.height().0,
                digest: certificate.digest(),
            }],
            Record::Sealed { height, header_hash, .. } => {
                vec![Self { statement: Statement::Seal, view: 0, height: height.0, digest: *header_hash }]
            }
            Record::Asked(change) => {
                vec![Self::of_view(Statement::ViewChange, change.body.view.0, &change.signature)]
            }
            Record::Entered(new_view) if new_view.from.get() == me => {
                let mut facts =
                    vec![Self::of_view(Statement::NewView, new_view.body.view.0, &new_view.signature)];
                facts.extend(new_view.body.pre_prepares.iter().filter_map(Self::of_vote));
                facts
            }
            Record::Certified(certificate) => vec![Self {
                statement: Statement::Certified,
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
    pub fn of_message(me: usize, message: &Message) -> Vec<Self> {
        match message {
            Message::Vote(vote) | Message::Proposal(vote, _) if vote.from.get() == me => {
                Self::of_vote(vote).into_iter().collect()
            }
            Message::ViewChange(change) if change.from.get() == me => {
                vec![Self::of_view(Statement::ViewChange, change.body.view.0, &change.signature)]
            }
            Message::NewView(new_view) if new_view.from.get() == me => {
                let mut facts =
                    vec![Self::of_view(Statement::NewView, new_view.body.view.0, &new_view.signature)];
                facts.extend(new_view.body.pre_prepares.iter().filter_map(Self::of_vote));
                facts
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
