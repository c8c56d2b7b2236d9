//! What the driver needs from the world: four ports, and the values that pass them.
//!
//! The node implements them with libp2p, files and threads; tests and the simulator with queues and maps. The driver
//! never waits on a port: sending drops what does not fit, jobs are counted before they are started.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use epione_chaincode::config::Epochs;
use epione_consensus::{Evidence, Payload, Record, Wal};
use epione_types::{
    BlockHeader, Certificate, Epoch, Hash, Height, Params, PublicKey, SignedTx, TimestampMs, TxId,
    ValidatorIndex, ValidatorSet,
};

use crate::divergence::{Compared, Execution, Wanted};
use crate::mempool::{Account, Client, Full};
use crate::network::Class;
use crate::snapshots::{SnapshotAnswer, SnapshotJob};
use crate::validate::{Checked, Parsed};

/// Port: bytes to other validators. Lossy; never waits.
pub trait Transport {
    /// Sends to one validator, or drops.
    fn send(&mut self, to: ValidatorIndex, class: Class, frame: Bytes);
    /// Sends to all others, or drops.
    fn broadcast(&mut self, class: Class, frame: Bytes);
    /// Cuts off a peer that breaks the rules, for a while.
    fn disconnect(&mut self, peer: ValidatorIndex, reason: &str);
    /// Who may be linked to from now on: the validators, each under its place, and after them others, in order, who follow.
    /// An implementation passes over others who are validators or named twice.
    fn roster(&mut self, set: &ValidatorSet, others: &[PublicKey]);
}

/// Port: the consensus log: records under consecutive indexes.
pub trait Log: Wal<Error: Display> {
    /// Index that the next record gets. Only grows, restarts and trimming included.
    fn position(&self) -> u64;
    /// Bytes of the whole log.
    fn bytes(&self) -> u64;
    /// Whether one append can hold all of these.
    fn fits(&self, records: &[Record]) -> bool;
    /// Drops records below `index`, as far as they fill files of their own.
    ///
    /// # Errors
    /// When a file cannot be removed.
    fn drop_below(&mut self, index: u64) -> Result<(), Self::Error>;
}

/// Port: work that must not hold up consensus. Each job gives at most one [`Answer`], fed back as an input. Jobs of one
/// [`Lane`] are done in order. Never waits: the driver has at most [`crate::driver::jobs_max`] of them under way.
pub trait Workers {
    /// Starts a job.
    fn start(&mut self, job: Job);
}

/// Which worker does a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Signatures.
    Verify,
    /// Executing and storing: the one writer.
    Write,
    /// Reading for peers.
    Serve,
    /// Snapshots.
    Snapshot,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Verify, Self::Write, Self::Serve, Self::Snapshot];
}

/// Work outside the consensus loop.
#[derive(Debug)]
pub enum Job {
    /// Verify signatures; make clients' transactions durable.
    Check(Vec<Candidate>),
    /// R8.
    Validate {
        /// The epoch that it is for.
        epoch: Epoch,
        /// What.
        payload: Arc<Payload>,
        /// Of that epoch.
        params: Arc<Params>,
    },
    /// Execute on top of the block below, store, answer with the header.
    Execute {
        /// Height.
        height: Height,
        /// What.
        payload: Arc<Payload>,
        /// Its transactions, if they were checked here; else a quorum vouches for them.
        txs: Option<Vec<Checked>>,
        /// Log position that the block stems from (R26).
        position: u64,
    },
    /// Store a certificate.
    Certify(Certificate),
    /// Keep proof against a validator.
    Keep(Evidence),
    /// Make everything stored so far survive a power cut.
    SyncStore,
    /// Begin to capture the head's state for a snapshot.
    Capture,
    /// Write the durable pool anew: only these, and whatever was logged from `from` on, are needed.
    CompactPool {
        /// Everything that was accepted, is not finished, and was logged before `from`.
        live: Vec<(Client, SignedTx)>,
        /// Where the log ended at the last answer to a check that `live` knows of.
        from: u64,
    },
    /// Read blocks for a peer.
    ReadBlocks {
        /// Who asks.
        peer: ValidatorIndex,
        /// First height.
        from: Height,
        /// Last height.
        to: Height,
    },
    /// Read the certificate of an epoch's last height, for a peer that has not reached it.
    ReadEnd {
        /// Who is behind.
        peer: ValidatorIndex,
        /// The epoch that has ended.
        epoch: Epoch,
    },
    /// Read a batch for a peer.
    ReadBatch {
        /// Who asks.
        peer: ValidatorIndex,
        /// Its height.
        height: Height,
        /// Its digest.
        digest: Hash,
    },
    /// Snapshots.
    Snapshot(SnapshotJob),
    /// Read what was executed at a height, for a peer that executed something else.
    ReadExecution {
        /// Who asks.
        peer: ValidatorIndex,
        /// The height.
        height: Height,
    },
    /// Hold what a peer executed against what this node did.
    Compare {
        /// Whose it is.
        peer: ValidatorIndex,
        /// What was asked for.
        wanted: Wanted,
        /// What came.
        execution: Box<Execution>,
    },
}

impl Job {
    /// Who does it.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Check(_) | Self::Validate { .. } | Self::CompactPool { .. } => Lane::Verify,
            Self::Execute { .. } | Self::Certify(_) | Self::Keep(_) | Self::SyncStore | Self::Capture => {
                Lane::Write
            }
            Self::ReadBlocks { .. } | Self::ReadBatch { .. } | Self::ReadEnd { .. } => Lane::Serve,
            Self::Snapshot(_) => Lane::Snapshot,
            Self::ReadExecution { .. } | Self::Compare { .. } => Lane::Serve,
        }
    }
}

/// What became of a job.
#[derive(Debug)]
pub enum Answer {
    /// Of [`Job::Check`].
    Checked {
        /// On each.
        verdicts: Vec<Verdict>,
        /// Where the durable pool's log ended then: what these are is logged below.
        logged: u64,
    },
    /// Of [`Job::Validate`]: the transactions, or why the batch is invalid.
    Validated {
        /// By whose parameters.
        epoch: Epoch,
        /// Which batch.
        digest: Hash,
        /// Its transactions.
        result: Result<Vec<Checked>, String>,
    },
    /// Of [`Job::Execute`].
    Executed {
        /// The block.
        header: Box<BlockHeader>,
        /// Its transactions.
        ids: Vec<TxId>,
        /// When something in the state next waits for time (R11).
        deadline: Option<TimestampMs>,
        /// Of which epoch it is, and what comes after (R20).
        epochs: Box<Epochs>,
        /// A snapshot of this height is to be made: its state is being captured.
        captured: bool,
    },
    /// Of [`Job::SyncStore`]: blocks up to this height survive a power cut.
    Synced(Height),
    /// Of whatever reads for a peer: nothing, or a frame for the one who asked.
    Read {
        /// Who asked.
        peer: ValidatorIndex,
        /// Who has read.
        lane: Lane,
        /// For it, and by which stream.
        frame: Option<(Class, Bytes)>,
    },
    /// Of [`Job::Capture`]: the height; none if there is no block, or one is captured already.
    Captured(Option<Height>),
    /// Of [`Job::Snapshot`].
    Snapshot(SnapshotAnswer),
    /// Of [`Job::Compare`].
    Compared {
        /// Whose it was.
        peer: ValidatorIndex,
        /// What came of it; nothing if this node's store could not be read.
        compared: Option<Compared>,
    },
    /// The job failed for want of disk or store: stop voting.
    Failed(String),
}

/// A transaction at the door.
#[derive(Debug)]
pub struct Candidate {
    /// Parsed; its signatures are not looked at yet.
    pub parsed: Parsed,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a transaction comes from.
#[derive(Debug)]
pub enum Origin {
    /// A client of this node.
    Client(Account, Reply),
    /// A validator that forwards its clients'.
    Peer(ValidatorIndex),
}

impl Origin {
    /// Whose share it is counted in.
    #[must_use]
    pub const fn account(&self) -> Account {
        match self {
            Self::Client(account, _) => *account,
            Self::Peer(peer) => Account::Peer(*peer),
        }
    }
}

/// What a check found.
#[derive(Debug)]
pub struct Verdict {
    /// Where it came from.
    pub origin: Origin,
    /// Encoded size, as reserved in the pool.
    pub bytes: usize,
    /// What it is.
    pub found: Found,
}

/// A transaction after its check.
#[derive(Debug)]
pub enum Found {
    /// All signatures are valid.
    Good {
        /// It.
        tx: Checked,
        /// Is it on disk? (Clients' only.)
        durable: bool,
    },
    /// A signature is not.
    BadSignature,
    /// It has a receipt already.
    Executed,
    /// Its sender's request id is another transaction's, which stands in the ledger and is unexpired.
    RequestIdTaken,
}

/// The driver's word to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Taken, and on its way to all validators.
    New {
        /// It survives a crash of this node.
        durable: bool,
    },
    /// It waits here already.
    Pending,
    /// It has a receipt.
    Executed,
}

/// Why a transaction is not taken. It leaves no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No room (RESOURCE_EXHAUSTED).
    #[error(transparent)]
    Full(#[from] Full),
    /// A signature is not valid.
    #[error("a signature is not valid for the body and its key")]
    Signature,
    /// The request id is another transaction's.
    #[error(
        "the sender used this request_id for another transaction, which the ledger still remembers: send that one's bytes again, or take a new id"
    )]
    RequestIdTaken,
    /// Its time has passed.
    #[error(
        "expires_at is {expires_at}, by this node's clock or the ledger's it is {now} already: if another node may have taken it, send the same bytes until the answer comes with its proof"
    )]
    Expired {
        /// Asked.
        expires_at: TimestampMs,
        /// The later of block time and clock.
        now: TimestampMs,
    },
    /// It asks to be kept for too long.
    #[error("expires_at is {expires_at}, at most {limit} is possible now")]
    TooFarAhead {
        /// Asked.
        expires_at: TimestampMs,
        /// The latest possible.
        limit: TimestampMs,
    },
    /// This node takes nothing now (UNAVAILABLE): try another one.
    #[error("this node takes no transactions: {0}; submit to another node")]
    Unavailable(String),
}

/// Called once with the driver's word. Must not block.
pub struct Reply(Option<Box<Word>>);

/// Hears the driver's word.
type Word = dyn FnOnce(Result<Admitted, Refused>) + Send;

impl Reply {
    /// From a closure.
    pub fn new(reply: impl FnOnce(Result<Admitted, Refused>) + Send + 'static) -> Self {
        Self(Some(Box::new(reply)))
    }
    /// Nobody listens: a transaction out of the durable pool.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(None)
    }
    /// May it still be refused? What was accepted before a restart may not: its outcome is for the contracts to say.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.0.is_some()
    }
    /// Says it.
    pub fn say(self, word: Result<Admitted, Refused>) {
        if let Some(reply) = self.0 {
            reply(word);
        }
    }
}

impl core::fmt::Debug for Reply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Reply")
    }
}
