//! Byzantine validators, one file each: what they do besides, or instead of, what the protocol says.
//!
//! An actor owns one validator's key. It may run the honest code inside (one body, or two) and stands between that and the
//! network: it sees every frame that comes, may keep it from the body, and may change, drop or delay whatever the body sends,
//! or send anything else. It cannot sign for others, and what it sends arrives under its own identity.
//!
//! A new actor is a file here, a variant of [`ActorKind`] and a line in [`ActorKind::make`].

mod censor;
mod corrupt_server;
mod equivocator;
mod flooder;
mod impostor;
mod lawless_primary;
mod liar;
mod replayer;
mod selective;
mod silent;
mod slow_primary;
mod twin;
mod withholder;

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
    /// Speaks to some and not to others.
    Selective,
    /// Sends whatever fills memory or moves others too far.
    Flooder,
    /// Says everything again that was ever said.
    Replayer,
    /// Lies in view changes.
    Liar,
    /// Keeps batches to itself.
    Withholder,
    /// Proposes everything but what some want.
    Censor,
    /// Is as late as it dares.
    SlowPrimary,
    /// Lives twice.
    Twin,
    /// Serves blocks that are none.
    CorruptServer,
    /// Signs for others, badly.
    Impostor,
    /// Proposes what must not be proposed.
    LawlessPrimary,
}

impl ActorKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Silent,
        Self::Equivocator,
        Self::Selective,
        Self::Flooder,
        Self::Replayer,
        Self::Liar,
        Self::Withholder,
        Self::Censor,
        Self::SlowPrimary,
        Self::Twin,
        Self::CorruptServer,
        Self::Impostor,
        Self::LawlessPrimary,
    ];

    /// Its name in a plan.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Equivocator => "equivocator",
            Self::Selective => "selective",
            Self::Flooder => "flooder",
            Self::Replayer => "replayer",
            Self::Liar => "liar",
            Self::Withholder => "withholder",
            Self::Censor => "censor",
            Self::SlowPrimary => "slow-primary",
            Self::Twin => "twin",
            Self::CorruptServer => "corrupt-server",
            Self::Impostor => "impostor",
            Self::LawlessPrimary => "lawless-primary",
        }
    }

    pub(super) fn make(self) -> Box<dyn Actor> {
        match self {
            Self::Silent => Box::new(silent::Silent),
            Self::Equivocator => Box::<equivocator::Equivocator>::default(),
            Self::Selective => Box::<selective::Selective>::default(),
            Self::Flooder => Box::<flooder::Flooder>::default(),
            Self::Replayer => Box::<replayer::Replayer>::default(),
            Self::Liar => Box::<liar::Liar>::default(),
            Self::Withholder => Box::new(withholder::Withholder),
            Self::Censor => Box::<censor::Censor>::default(),
            Self::SlowPrimary => Box::new(slow_primary::SlowPrimary),
            Self::Twin => Box::<twin::Twin>::default(),
            Self::CorruptServer => Box::new(corrupt_server::CorruptServer),
            Self::Impostor => Box::<impostor::Impostor>::default(),
            Self::LawlessPrimary => Box::<lawless_primary::LawlessPrimary>::default(),
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

    /// Its place in the set.
    #[must_use]
    pub fn index(&self) -> ValidatorIndex {
        ValidatorIndex(u16::try_from(self.me).unwrap_or(u16::MAX))
    }

    /// Signs a vote with its key.
    #[must_use]
    pub fn sign(&self, vote: Vote) -> SignedVote {
        vote.sign(self.chain, self.index(), self.signer)
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

/// Where the others are, as far as their frames tell.
#[derive(Debug, Default)]
struct Watch {
    view: u64,
    height: u64,
}

impl Watch {
    /// Statuses are enough: everybody sends them all the time.
    fn see(&mut self, bytes: &Bytes) {
        if bytes.first() == Some(&0)
            && let Ok(Frame::Message(Message::Status(status))) = Frame::decode(bytes)
        {
            self.view = status.body.view.0;
            self.height = self.height.max(status.body.low.0);
        }
    }
}

/// The bytes with one part of them replaced by another of equal length.
fn overwrite(bytes: &[u8], part: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(part.len()).position(|window| window == part)?;
    let mut changed = bytes.to_vec();
    changed.get_mut(at..at + part.len())?.copy_from_slice(by);
    Some(changed)
}
