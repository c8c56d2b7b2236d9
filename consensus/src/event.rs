//! What goes into the replica, what comes out, and the seal between a decision and its effects.

use std::sync::Arc;

use epione_types::{
    BlockHeader, Certificate, Epoch, Hash, Height, NextEpoch, TimestampMs, ValidatorIndex, View,
};

use serde::{Deserialize, Serialize};

use crate::guard::{self, Guard};
use crate::message::{Kind, Message, SignedVote, Verified, VerifiedBlocks};
use crate::payload::Payload;
use crate::record::Record;
use crate::replica::Config;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A verified message.
    Message(Verified),
    /// Time passed.
    Tick {
        /// Monotone clock of this process, in milliseconds.
        now: u64,
        /// Wall clock.
        clock: TimestampMs,
    },
    /// A batch cut for this opening (see [`crate::Replica::opening`]).
    Propose {
        /// The opening's view; another one is a stale answer.
        view: View,
        /// The opening's height.
        height: Height,
        /// The batch.
        payload: Arc<Payload>,
    },
    /// Answer to [`Effect::Validate`].
    Validated {
        /// By whose parameters; an answer by another epoch's says nothing.
        epoch: Epoch,
        /// Which batch.
        digest: Hash,
        /// Valid by R8?
        valid: bool,
    },
    /// Answer to [`Effect::Deliver`]: executed and stored.
    Executed {
        /// The block.
        header: BlockHeader,
        /// The next epoch, if the ledger has decided it (R20).
        next: Option<NextEpoch>,
    },
    /// Fetched blocks.
    Blocks(VerifiedBlocks),
    /// What waits for the primary (R15).
    Waiting {
        /// Monotone time since when the oldest pending transaction has been at all validators.
        oldest: Option<u64>,
        /// Time that a block must pass: the earliest deadline or pending expiry (R11).
        deadline: Option<TimestampMs>,
    },
    /// A connection to this validator was made: tell it where we are (R22).
    Connected(ValidatorIndex),
}

/// Something to do, once the records before it are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send to one validator.
    Send(ValidatorIndex, Message),
    /// Send to all others.
    Broadcast(Message),
    /// Check this batch by R8, with the parameters in force, and answer [`Event::Validated`].
    Validate {
        /// Whose parameters these are.
        epoch: Epoch,
        /// What to check.
        payload: Arc<Payload>,
    },
    /// Execute this batch on top of the one below, store the block, answer [`Event::Executed`].
    Deliver {
        /// Height.
        height: Height,
        /// What to execute.
        payload: Arc<Payload>,
    },
    /// Store this certificate: every block up to its height is final.
    Certified(Certificate),
    /// A view was entered: what was proposed and not delivered is pending again.
    Entered {
        /// Epoch.
        epoch: Epoch,
        /// View.
        view: View,
    },
    /// The next epoch has begun: everything is by its validators and parameters now (R20).
    Turned(Box<Config>),
    /// Ask these validators for a batch.
    FetchBatch {
        /// Slot.
        height: Height,
        /// Digest.
        digest: Hash,
        /// Who should have it.
        from: Vec<ValidatorIndex>,
    },
    /// Ask this validator for blocks.
    FetchBlocks {
        /// First height.
        from: Height,
        /// Last height.
        to: Height,
        /// Whom.
        peer: ValidatorIndex,
    },
    /// Keep this proof against a validator.
    Evidence(Evidence),
    /// Tell the operator.
    Alarm(Alarm),
    /// Voting has stopped (R31). Reading and serving go on.
    Halt(Halt),
}

/// Two statements of one validator of which a correct one makes at most one (R28).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    first: SignedVote,
    second: SignedVote,
}

impl Evidence {
    /// A pair that contradicts itself, and nothing else.
    #[must_use]
    pub fn new(first: SignedVote, second: SignedVote) -> Option<Self> {
        let (a, b) = (first.vote, second.vote);
        let same_slot = (a.kind, a.epoch, a.view, a.height) == (b.kind, b.epoch, b.view, b.height);
        let contradiction =
            first.from == second.from && same_slot && a.digest != b.digest && a.kind != Kind::Suspect;
        contradiction.then_some(Self { first, second })
    }
    /// Against whom.
    #[must_use]
    pub const fn against(&self) -> ValidatorIndex {
        self.first.from
    }
    /// The kind of statement.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.first.vote.kind
    }
    /// Both statements.
    #[must_use]
    pub const fn votes(&self) -> (&SignedVote, &SignedVote) {
        (&self.first, &self.second)
    }
}

/// For operators; voting goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// f+1 validators sealed another header than this one (R13).
    Diverging {
        /// Height.
        height: Height,
        /// Mine.
        mine: Hash,
        /// Theirs.
        theirs: Hash,
    },
    /// The window is full for want of Seals (R13).
    WindowFull {
        /// Lowest height that lacks them.
        height: Height,
        /// Who has not sealed it.
        missing: Vec<ValidatorIndex>,
    },
    /// The primary proved itself faulty.
    FaultyPrimary {
        /// View.
        view: View,
        /// What it did.
        what: Misbehavior,
    },
}

/// What a primary must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misbehavior {
    /// Two proposals for one slot.
    Equivocation,
    /// A batch that is invalid by R8.
    InvalidBatch,
    /// The null batch outside a NewView.
    NullBatch,
    /// A NewView whose list does not follow from its view changes.
    NewViewList,
}

/// A statement under this validator's key that it did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// A vote.
    Vote(Kind),
    /// A ViewChange.
    ViewChange,
    /// A NewView.
    NewView,
}

/// Why voting stopped. Each proves more than f faults, or that this replica is wrong (R31).
/// It is logged: a restart does not undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Halt {
    /// A quorum vouches for another header.
    Diverged {
        /// Height.
        height: Height,
        /// Mine.
        mine: Hash,
        /// Theirs.
        theirs: Hash,
    },
    /// Executing again gave another header than was sealed.
    Replay {
        /// Height.
        height: Height,
        /// As sealed before.
        sealed: Hash,
        /// As executed now.
        executed: Hash,
    },
    /// Two digests hold a quorum at one height.
    Conflict {
        /// Height.
        height: Height,
        /// One.
        mine: Hash,
        /// The other.
        theirs: Hash,
    },
    /// A batch that a quorum prepared is invalid.
    InvalidPrepared {
        /// Its digest.
        digest: Hash,
    },
    /// Somebody signs with this validator's key: a second live copy, or the log has lost a vote (R27).
    Impersonated {
        /// The foreign statement.
        what: Foreign,
        /// Its height, zero for view changes.
        height: Height,
    },
    /// The log was in an epoch that the ledger, executed again, does not decide.
    OtherEpoch {
        /// The epoch.
        epoch: Epoch,
    },
}

impl core::fmt::Display for Halt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Diverged { height, mine, theirs } => write!(
                f,
                "at height {height} a quorum sealed header {theirs}, this node has {mine}; verify the state with `epione ledger verify`"
            ),
            Self::Replay { height, sealed, executed } => write!(
                f,
                "executing height {height} again gave header {executed}, it was sealed as {sealed}; the store or the binary differs"
            ),
            Self::Conflict { height, mine, theirs } => {
                write!(
                    f,
                    "two digests hold a quorum at height {height}: {mine} and {theirs}; more than f validators are faulty"
                )
            }
            Self::InvalidPrepared { digest } => {
                write!(
                    f,
                    "batch {digest} was prepared by a quorum and is invalid here; compare binaries and parameters"
                )
            }
            Self::OtherEpoch { epoch } => write!(
                f,
                "the log was in epoch {epoch} with other validators than the ledger, executed again, decides; the store or the binary differs"
            ),
            Self::Impersonated { what, height } => write!(
                f,
                "a {what:?} at height {height} signed with this validator's key is not in its log: a second copy runs, or the log lost votes; stop the copy, or take a new key"
            ),
        }
    }
}

/// What one event decided. Effects stay sealed until the records before them are durable (R3).
///
/// Own votes are counted in the step that records them; that is the same as counting them once durable,
/// because nothing that follows from them can be seen before [`Step::commit`] has synced.
#[must_use = "a dropped step is a lost vote"]
#[derive(Debug, Default)]
pub struct Step {
    pub(crate) records: Vec<Record>,
    pub(crate) effects: Vec<Effect>,
}

/// Port: the write-ahead log.
pub trait Wal {
    /// Why it failed; the caller must stop.
    type Error;
    /// Appends and makes durable, all or an error.
    ///
    /// # Errors
    /// When the records may not be on disk.
    fn append_and_sync(&mut self, records: &[Record]) -> Result<(), Self::Error>;
}

impl Step {
    /// Joins what a later event decided, so that many events share one sync.
    pub fn merge(&mut self, later: Self) {
        self.records.extend(later.records);
        self.effects.extend(later.effects);
    }

    /// Nothing was decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.effects.is_empty()
    }

    /// The only way to the effects: the records are durable first.
    ///
    /// # Errors
    /// The log's; the effects are lost with it, and the process must stop.
    pub fn commit<W: Wal>(self, wal: &mut W) -> Result<Vec<Effect>, W::Error> {
        if !self.records.is_empty()
            && let Err(lost) = wal.append_and_sync(&self.records)
            && guard::holds(Guard::DurableFirst)
        {
            return Err(lost);
        }
        Ok(self.effects)
    }
}
