//! Byzantine validators, one file each: what they do besides, or instead of, what the protocol says.
//!
//! An actor owns one validator's key. It may run the honest code inside (one body, or two) and stands between that and the
//! network: it sees every frame that comes, may keep it from the body, and may change, drop or delay whatever the body sends,
//! or send anything else. It cannot sign for others, and what it sends arrives under its own identity.
//!
//! A new actor is a file here and a line in the list of [`ActorKind`].

mod censor;
mod corrupt_server;
mod equivocator;
mod flooder;
mod impostor;
mod lawless_primary;
mod liar;
mod replayer;
mod rewritten;
mod selective;
mod silent;
mod slow_primary;
mod twin;
mod usurper;
mod withholder;

use bytes::Bytes;
use epione_consensus::{Body, Kind, Message, Signed, SignedVote, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{
    ChainId, Hash, Height, PublicKey, Signature, SignatureSet, Signer as _, TimestampMs, ValidatorIndex,
    ValidatorSet, View,
};

use super::clock::Micros;
use super::crypto::SimSigner;
use super::random::Rng;

macro_rules! actors {
    ($($(#[doc = $what:literal])+ $kind:ident $name:literal $make:expr,)+) => {
        /// How a validator may misbehave.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ActorKind { $($(#[doc = $what])+ $kind,)+ }

        impl ActorKind {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// Its name in a plan.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            pub(super) fn make(self) -> Box<dyn Actor> {
                match self { $(Self::$kind => Box::new($make)),+ }
            }
        }
    };
}

actors! {
    /// Says nothing.
    Silent "silent" silent::Silent,
    /// Says one thing to some and another to others.
    Equivocator "equivocator" equivocator::Equivocator::default(),
    /// Speaks to some only.
    Selective "selective" selective::Selective::default(),
    /// Sends as much as it can.
    Flooder "flooder" flooder::Flooder::default(),
    /// Plays back everything.
    Replayer "replayer" replayer::Replayer::default(),
    /// Lies in its ViewChanges.
    Liar "liar" liar::Liar::default(),
    /// Lies in its NewViews.
    Usurper "usurper" usurper::Usurper::default(),
    /// Keeps batches to itself.
    Withholder "withholder" withholder::Withholder,
    /// Lets some clients wait for ever.
    Censor "censor" censor::Censor,
    /// Proposes late, or nothing.
    SlowPrimary "slow-primary" slow_primary::SlowPrimary::default(),
    /// Runs twice.
    Twin "twin" twin::Twin::default(),
    /// Serves wrong blocks.
    CorruptServer "corrupt-server" corrupt_server::CorruptServer,
    /// Signs for others, badly.
    Impostor "impostor" impostor::Impostor::default(),
    /// Proposes what must not be proposed.
    LawlessPrimary "lawless-primary" lawless_primary::LawlessPrimary::default(),
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

    /// Is it the primary of this view?
    #[must_use]
    pub fn is_primary(&self, view: View) -> bool {
        epione_consensus::primary(self.set, view) == self.index()
    }

    /// A view in which it is the primary, at or soon after this one; this one if it never is.
    #[must_use]
    pub fn own_view(&self, from: u64) -> View {
        let views = (0..self.set.len() as u64).map(|more| View(from.saturating_add(more)));
        views.into_iter().find(|view| self.is_primary(*view)).unwrap_or(View(from))
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

    /// Its key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// Signs a vote with its key.
    #[must_use]
    pub fn sign(&self, vote: Vote) -> SignedVote {
        vote.sign(self.chain, self.index(), self.signer)
    }

    /// Signs a body with its key.
    #[must_use]
    pub fn sign_body<T: Body>(&self, body: T) -> Signed<T> {
        body.sign(self.chain, self.index(), self.signer)
    }

    /// Is that itself?
    #[must_use]
    pub fn is_mine(&self, from: ValidatorIndex) -> bool {
        from == self.index()
    }

    /// Is it signed with its key?
    #[must_use]
    pub fn is_by_me(&self, message: &Message) -> bool {
        match message {
            Message::Vote(vote) | Message::Proposal(vote, _) => self.is_mine(vote.from),
            Message::ViewChange(change) => self.is_mine(change.from),
            Message::NewView(new_view) => self.is_mine(new_view.from),
            Message::Status(status) => self.is_mine(status.from),
            Message::Batch(_) | Message::Commits(_) | Message::Certificate(_) => false,
        }
    }

    /// A hash of nothing.
    #[must_use]
    pub fn random_hash(&mut self) -> Hash {
        let mut hash = [0; 32];
        hash.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.random.word().to_le_bytes()));
        Hash(hash)
    }

    /// So many signatures for a vote: its own, and of others such as are none.
    #[must_use]
    pub fn some_signatures(&self, vote: Vote, count: usize) -> SignatureSet {
        let n = self.set.len();
        let others = (self.me + 1..self.me + count.min(n)).map(|at| at % n);
        let others = others.map(|at| (ValidatorIndex(u16::try_from(at).unwrap_or(0)), Signature([7; 64])));
        others.chain([(self.index(), self.sign(vote).signature)]).collect()
    }

    /// Now and then it suspects whoever is primary, for no reason: it wants the office, or the confusion.
    pub fn is_restless(&mut self, view: u64) {
        if !self.random.chance(30) {
            return;
        }
        let (kind, epoch) = (Kind::Suspect, self.set.epoch);
        let view = View(view);
        let suspect = self.sign(Vote { kind, epoch, view, height: Height::ZERO, digest: Hash::ZERO });
        self.deed();
        self.others().for_each(|to| self.message(to, Message::Vote(suspect)));
    }

    /// It did something that no honest node does.
    pub fn deed(&mut self) {
        *self.deeds += 1;
    }
}

/// The message in a frame, if it is one.
fn message_in(bytes: &Bytes) -> Option<Message> {
    // The first word of an encoding says which frame it is.
    match Frame::decode(bytes).ok().filter(|_| bytes.first() == Some(&0))? {
        Frame::Message(message) => Some(message),
        _ => None,
    }
}

/// Where the others are, as far as their frames tell.
#[derive(Debug, Default)]
struct Watch {
    view: u64,
    height: u64,
}

impl Watch {
    /// Statuses are enough: everybody sends them all the time. What another Byzantine one says may be beyond belief.
    fn see(&mut self, bytes: &Bytes) {
        const FAR: u64 = 1 << 24;
        if let Some(Message::Status(status)) = message_in(bytes)
            && status.body.view.0 < FAR
            && status.body.low.0 < FAR
        {
            self.view = status.body.view.0;
            self.height = self.height.max(status.body.low.0);
        }
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
