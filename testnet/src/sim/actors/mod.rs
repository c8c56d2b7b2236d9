//! Byzantine validators, one file each: what they do besides, or instead of, what the protocol says.
//!
//! An actor owns one validator's key. It may run the honest code inside (one body, or two) and stands between that and the
//! network: it sees every frame that comes, may keep it from the body, and may change, drop or delay whatever the body sends,
//! or send anything else. It cannot sign for others, and what it sends arrives under its own identity.
//!
//! A new actor is a file here, a variant of [`ActorKind`] and a line in [`ActorKind::make`].

mod equivocator;
mod silent;

use bytes::Bytes;
use epione_consensus::{Message, SignedVote, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{ChainId, TimestampMs, ValidatorIndex, ValidatorSet};

use super::clock::Micros;
use super::crypto::SimSigner;
use super::random::Rng;

/// How a validator may misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorKind {
    /// Says nothing.
    Silent,
    /// Says one thing to some and another to others.
    Equivocator,
}

impl ActorKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Silent, Self::Equivocator];

    /// Its name in a plan.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Equivocator => "equivocator",
        }
    }

    pub(super) fn make(self) -> Box<dyn Actor> {
        match self {
            Self::Silent => Box::new(silent::Silent),
            Self::Equivocator => Box::<equivocator::Equivocator>::default(),
        }
    }
}

/// A frame that leaves an actor.
#[derive(Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: usize,
    /// On which stream.
    pub class: Class,
    /// What.
    pub bytes: Bytes,
    /// How long it is held back first.
    pub delay: Micros,
}

/// What an actor has to work with.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Virtual time.
    pub now: Micros,
    /// What its wall clock shows.
    pub clock: TimestampMs,
    /// Who it is.
    pub me: usize,
    /// The chain.
    pub chain: ChainId,
    /// Everybody.
    pub set: &'a ValidatorSet,
    /// Its key.
    pub signer: &'a SimSigner,
    /// Its own random numbers.
    pub random: &'a mut Rng,
    /// What it sends.
    pub out: &'a mut Vec<Outgoing>,
    /// How often it did something that no honest node does.
    pub deeds: &'a mut u64,
}

impl Stage<'_> {
    /// Sends bytes to one validator.
    pub fn send(&mut self, to: usize, class: Class, bytes: Bytes) {
        self.out.push(Outgoing { to, class, bytes, delay: 0 });
    }

    /// Sends a frame to one validator.
    pub fn frame(&mut self, to: usize, frame: &Frame) {
        self.send(to, frame.class(), frame.encode());
    }

    /// Sends a message to one validator.
    pub fn message(&mut self, to: usize, message: Message) {
        self.frame(to, &Frame::Message(message));
    }

    /// All other validators.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..self.set.len()).filter(move |other| *other != me)
    }

    /// Signs a vote with its key.
    #[must_use]
    pub fn sign(&self, vote: Vote) -> SignedVote {
        let from = ValidatorIndex(u16::try_from(self.me).unwrap_or(u16::MAX));
        vote.sign(self.chain, from, self.signer)
    }

    /// It did something that no honest node does.
    pub fn deed(&mut self) {
        *self.deeds += 1;
    }
}

/// A Byzantine validator.
pub trait Actor {
    /// How many copies of the honest code it runs.
    fn bodies(&self) -> usize {
        1
    }

    /// A frame comes. True if its body (of this number) is to have it.
    fn inbound(
        &mut self,
        _stage: &mut Stage<'_>,
        _body: usize,
        _from: usize,
        _class: Class,
        _bytes: &Bytes,
    ) -> bool {
        true
    }

    /// Its body (of this number) sends a frame.
    fn outbound(&mut self, stage: &mut Stage<'_>, _body: usize, to: usize, class: Class, bytes: Bytes) {
        stage.send(to, class, bytes);
    }

    /// Time passes.
    fn tick(&mut self, _stage: &mut Stage<'_>) {}
}
