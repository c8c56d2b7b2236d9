//! Some minutes in the life of four honest validators: everything they signed, stored and logged.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use epione_consensus::{
    BlocksAnswer, FetchedBlock, Kind, Message, Payload, Record, SignedVote, Verifying, Vote,
};
use epione_types::{
    BlockHeader, Certificate, ChainId, Hash, Height, SignatureSet, TimestampMs, ValidatorSet, View, codec,
};

use crate::common::{Cluster, FakeVerifier};

pub(crate) struct Lived {
    pub(crate) set: ValidatorSet,
    pub(crate) chain_id: ChainId,
    pub(crate) genesis_time: TimestampMs,
    /// Every different message, in the order of their encodings.
    pub(crate) messages: Vec<Message>,
    votes: BTreeSet<SignedVote>,
    /// Encodings of what is signed as a whole.
    bodies: BTreeSet<Vec<u8>>,
    /// Blocks 1 and on.
    pub(crate) chain: Vec<(BlockHeader, Arc<Payload>)>,
    pub(crate) certificates: Vec<Certificate>,
    /// Each validator's log.
    pub(crate) logs: Vec<Vec<Record>>,
}

pub(crate) static LIVED: LazyLock<Lived> = LazyLock::new(Lived::live);

impl Lived {
    fn live() -> Self {
        let mut cluster = Cluster::new(4);
        for text in ["a", "b", "c"] {
            cluster.propose(0, text);
        }
        cluster.settle();
        // The fourth lags behind and is told.
        cluster.lose = Box::new(|(_, to, _)| *to == 3);
        cluster.propose(0, "d");
        cluster.settle();
        cluster.lose = Box::new(|(_, to, message)| {
            *to == 3 && !matches!(message, Message::Status(_))
                || matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Seal)
        });
        cluster.propose(0, "sealed late");
        cluster.settle();
        cluster.tick(600);
        // Prepared at some, committed at none, and the primary is gone.
        cluster.lose = Box::new(
            |(_, _, message)| matches!(message, Message::Vote(vote) if vote.vote.kind == Kind::Commit),
        );
        cluster.propose(0, "prepared");
        cluster.propose(0, "too");
        cluster.settle();
        cluster.lose = Box::new(|_| false);
        cluster.crash(0);
        cluster.pending(true);
        cluster.tick(2_000);
        cluster.pending(false);
        cluster.restart(0);
        cluster.tick(1_000);
        for i in 0..3 {
            cluster.propose(1, &format!("after {i}"));
            cluster.settle();
        }
        cluster.tick(1_000);
        cluster.assert_equal_tips();
        Self::of(&cluster)
    }

    fn of(cluster: &Cluster) -> Self {
        let mut messages: Vec<Message> = cluster.sent.iter().map(|(_, _, message)| message.clone()).collect();
        messages.sort_by_key(Message::encode);
        messages.dedup();
        let (mut votes, mut bodies) = (BTreeSet::new(), BTreeSet::new());
        for message in &messages {
            match message {
                Message::Vote(vote) | Message::Proposal(vote, _) => {
                    votes.insert(*vote);
                }
                Message::ViewChange(change) => {
                    bodies.insert(codec::encode(change));
                }
                Message::NewView(new_view) => {
                    bodies.insert(codec::encode(new_view));
                }
                Message::Status(status) => {
                    bodies.insert(codec::encode(status));
                }
                Message::Batch(_) | Message::Commits(_) | Message::Certificate(_) => {}
            }
        }
        Self {
            set: cluster.set.clone(),
            chain_id: cluster.chain_id,
            genesis_time: cluster.genesis_time,
            messages,
            votes,
            bodies,
            chain: cluster.nodes[1].chain.clone(),
            certificates: cluster.nodes[1].certificates.values().cloned().collect(),
            logs: cluster.nodes.iter().map(|node| node.disk.synced.clone()).collect(),
        }
    }

    pub(crate) fn gate(&self) -> Verifying<'_, FakeVerifier> {
        Verifying { chain: self.chain_id, set: &self.set, begin: Height::ZERO, verifier: &FakeVerifier }
    }

    /// Blocks `from` and on with the first certificate at or above `to`, as an honest peer answers.
    pub(crate) fn answer(&self, from: Height, to: Height) -> Option<BlocksAnswer> {
        let certificate = self.certificates.iter().find(|one| one.height >= to)?.clone();
        let blocks = self
            .chain
            .iter()
            .filter(|(header, _)| (from..=certificate.height).contains(&header.height))
            .map(|(header, payload)| FetchedBlock { header: header.clone(), batch: payload.bytes().clone() })
            .collect();
        Some(BlocksAnswer { blocks, certificate })
    }

    /// Did those who are said to have signed this do so? The gate must not let in anything else.
    pub(crate) fn was_said(&self, message: &Message) -> bool {
        match message {
            Message::Vote(vote) => self.votes.contains(vote),
            Message::Proposal(vote, batch) => {
                let digest = |bytes: &bytes::Bytes| {
                    Payload::decode(bytes.clone(), &self.set.params).map(|payload| payload.digest())
                };
                let fits = batch.as_ref().is_none_or(|bytes| digest(bytes) == Ok(vote.vote.digest));
                self.votes.contains(vote) && fits
            }
            Message::Batch(_) => true, // an answer by digest: what has another digest is not what was asked for
            Message::Commits(one) => {
                self.all_said(Kind::Commit, one.view, one.height, one.digest, &one.commits)
            }
            Message::Certificate(one) => {
                self.all_said(Kind::Seal, View::ZERO, one.height, one.header_hash, &one.signatures)
            }
            Message::ViewChange(change) => self.bodies.contains(&codec::encode(change)),
            Message::NewView(new_view) => self.bodies.contains(&codec::encode(new_view)),
            Message::Status(status) => self.bodies.contains(&codec::encode(status)),
        }
    }

    /// Did its signer say something else in its place?
    pub(crate) fn contradicts(&self, one: &SignedVote) -> bool {
        let place = |vote: &Vote| (vote.kind, vote.view, vote.height);
        let same = |other: &&SignedVote| other.from == one.from && place(&other.vote) == place(&one.vote);
        self.votes.iter().filter(same).any(|other| other.vote.digest != one.vote.digest)
    }

    fn all_said(&self, kind: Kind, view: View, height: Height, digest: Hash, by: &SignatureSet) -> bool {
        let vote = Vote { kind, epoch: self.set.epoch, view, height, digest };
        by.len() >= self.set.quorum()
            && by.iter().all(|(from, signature)| self.votes.contains(&SignedVote { from, vote, signature }))
    }
}
