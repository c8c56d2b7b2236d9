//! What the gRPC services (and anybody else in this process) do with a node.
//!
//! ```text
//!  submit ─▶ parse ─▶ driver: room, signatures, durable ─▶ ACCEPTED ─▶ feed: COMMITTED ─▶ CERTIFIED
//!  outcome / watch: driver (waits here?), then ledger (has a receipt?)
//!  read: the ledger, on a thread that may block          progress: wakes subscribers, who read from their cursor on
//!  status: the driver's last words, no waiting
//! ```
//!
//! Everything here is cancel-safe: a call that is dropped leaves a transaction as it is, and nothing else behind.
//! Tested by `tests/node.rs`.

use std::sync::Arc;

use epione_ledger::chain::{Chain, ChainError, Head, Located};
use epione_types::id::OrgId;
use epione_types::state_proof::StateProof;
use epione_types::{
    BlockHeader, Certificate, ChainId, Genesis, Height, Receipt, SignedTx, TimestampMs, Turn, TxId,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::driver::{DriverStatus, Input, LookupReply, SnapshotReply};
use crate::feed::{Block, Feed, Found, Progress, Wait, Word};
use crate::mempool::{Account, Client, Known};
use crate::network::{Counters, Network, PeerStatus};
use crate::ports::{Admitted, Candidate, Origin, Refused, Reply};
use crate::validate::{Malformed, parse};

/// Reads of the ledger at a time; more wait.
pub const READS_MAX: usize = 32;

/// How far a transaction must be before a call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Checked and taken by this node.
    Accepted,
    /// Executed here: one node's word.
    Committed,
    /// In a block that a quorum vouches for.
    Certified,
}

/// A receipt and the block it stands in.
#[derive(Debug, Clone)]
pub struct Committed {
    found: Found,
}

impl Committed {
    /// What became of it.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        self.found.receipt()
    }
    /// The block: header and all receipts, for the Merkle path.
    #[must_use]
    pub fn block(&self) -> &Arc<Block> {
        self.found.block()
    }
    /// Index of the receipt.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.found.index()
    }
}

/// Why a block is final: a certificate of it or of a later one, and the headers between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finality {
    /// Headers above the block, ascending, the certified one last; empty if the block itself is certified.
    pub descendants: Vec<BlockHeader>,
    /// The certificate.
    pub certificate: Certificate,
    /// How the validators of its epoch follow from genesis, oldest first; empty in epoch 0.
    pub epochs: Vec<Turn>,
}

/// Proof that a transaction can never commit any more: its id is absent under the first header past its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The first header past `expires_at`.
    pub header: BlockHeader,
    /// Why it is final.
    pub finality: Finality,
    /// The header below, which is not past it; none if that is genesis.
    pub parent: Option<BlockHeader>,
    /// The id holds nothing in the state of `header`.
    pub absence: StateProof,
}

/// What this node knows of a transaction.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Nothing.
    Unknown,
    /// It waits to be ordered, or is being executed.
    Pending {
        /// Last block time at which it may commit.
        expires_at: TimestampMs,
    },
    /// It has a receipt.
    Committed(Committed),
    /// It has a receipt, and a quorum vouches for it.
    Certified(Committed, Finality),
    /// It can never commit any more: a block's time has passed its `expires_at` without it. [`NodeHandle::expiry`] proves it.
    Expired {
        /// Last block time at which it could have committed.
        expires_at: TimestampMs,
    },
}

/// Why a transaction was not taken. It leaves no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It is not what a transaction must be (INVALID_ARGUMENT).
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Refused at the door.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node is stopping, or its store fails (UNAVAILABLE).
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// The node cannot answer (UNAVAILABLE).
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It stops.
    #[error("this node is stopping")]
    Stopping,
    /// Its store fails.
    #[error("this node's ledger cannot be read: {0}")]
    Ledger(#[from] ChainError),
    /// Block {0} is named by the index or a certificate, and is not in the store.
    #[error("block {0} is missing in this node's ledger; run `epione ledger verify`")]
    Missing(Height),
    /// It stands below the snapshot of height {0} with which this node's ledger begins.
    #[error("this node's ledger begins after height {0}, with a snapshot: ask a node that has older blocks")]
    Below(Height),
}

impl NodeError {
    /// What is not in the ledger, and why.
    pub(crate) fn missing(chain: &Chain, height: Height) -> Self {
        let base = chain.base();
        if base > Height::ZERO && height <= base { Self::Below(base) } else { Self::Missing(height) }
    }
}

/// May a transaction that has no receipt here have one in a block below the snapshot with which the ledger begins? Asked
/// before it is taken or said to have expired: else what was committed would be called expired, or be executed no more and
/// waited for in vain.
///
/// # Errors
/// The store failed.
pub fn may_be_below(chain: &Arc<Chain>, id: TxId, expires_at: TimestampMs) -> Result<bool, ChainError> {
    if chain.base() == Height::ZERO {
        return Ok(false);
    }
    let key = epione_chaincode::keys::transaction(expires_at, id);
    let (head, occurred) = chain.consistent(|| chain.state(key.as_bytes()));
    // As long as it is unexpired the state remembers it; afterwards only a proof under the first block past its expiry does.
    Ok(occurred?.is_some() || (expires_at < head.timestamp && expiry(chain, id, expires_at)?.is_none()))
}

/// What a submission came to.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The transaction.
    pub id: TxId,
    /// Taken now and on disk here; a crash of this node does not lose it.
    pub durable: bool,
    /// How far it is; at least at the level asked for, or expired.
    pub outcome: Outcome,
}

/// How a node is.
#[derive(Debug, Clone)]
pub struct Status {
    /// Consensus and mempool, a tenth of a second ago at most.
    pub driver: Arc<DriverStatus>,
    /// The ledger's tip, now.
    pub head: Head,
}

pub(crate) struct Inner {
    pub(crate) genesis: Genesis,
    pub(crate) chain: ChainId,
    pub(crate) organisation: OrgId,
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) ledger: Arc<Chain>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) status: watch::Receiver<Arc<DriverStatus>>,
    pub(crate) network: Network,
    pub(crate) stop: CancellationToken,
}

/// A running node, as seen from inside its process. Cheap to clone. While one is left, the ledger's files stay open.
#[derive(Clone)]
pub struct NodeHandle(Arc<Inner>, Reads);

/// How many reads of the ledger there may be at a time through the same handle and its copies.
type Reads = Arc<Semaphore>;

impl core::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NodeHandle").field("chain", &self.0.chain).finish_non_exhaustive()
    }
}

impl NodeHandle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner), Arc::new(Semaphore::new(READS_MAX)))
    }

    /// The same node, whose reads through this handle and its copies wait for one another alone, in turn.
    #[must_use]
    pub fn with_own_reads(&self, at_a_time: usize) -> Self {
        Self(self.0.clone(), Arc::new(Semaphore::new(at_a_time)))
    }

    /// The agreed beginning.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.0.genesis
    }

    /// The chain.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.0.chain
    }

    /// Whose node it is.
    #[must_use]
    pub fn organisation(&self) -> OrgId {
        self.0.organisation
    }

    /// The epoch that this node is in, and its place among the validators.
    #[must_use]
    pub fn epoch(&self) -> Arc<epione_consensus::Config> {
        self.0.status.borrow().epoch.clone()
    }

    /// Submits a transaction of a client, in whose share of the mempool it is counted, and waits for a level. Waiting for a full inbox is the stream's back-pressure.
    ///
    /// # Errors
    /// [`SubmitError`]: it was not taken and leaves no outcome. (When the node stops while it waits for more than
    /// [`Level::Accepted`], the outcome is unknown.)
    pub async fn submit(
        &self,
        tx: SignedTx,
        client: impl Into<Client>,
        level: Level,
    ) -> Result<Submitted, SubmitError> {
        let parsed = parse(tx, self.0.chain)?;
        let (id, expires_at) = (parsed.id(), parsed.expires_at());
        // Before it is offered: no block can slip between.
        let wait = (level > Level::Accepted).then(|| self.0.feed.wait(id, Some(expires_at)));
        let (reply, word) = oneshot::channel();
        let reply = Reply::new(move |word| drop(reply.send(word)));
        let origin = Origin::Client(Account::Client(client.into()), reply);
        self.input(Input::Submit(Candidate { parsed, origin })).await?;
        let admitted = match self.unless_stopped(word).await?.map_err(|_| NodeError::Stopping)? {
            Ok(admitted) => admitted,
            // Too late to be taken, but it may have come before: then it has an outcome, and that is for ever.
            Err(refused @ Refused::Expired { .. }) => {
                let outcome = match self.past(id, expires_at).await? {
                    Some(outcome) => outcome,
                    None if self.is_below(id, Some(expires_at)).await? => {
                        return Err(NodeError::Below(self.0.ledger.base()).into());
                    }
                    None => return Err(refused.into()),
                };
                return Ok(Submitted { id, durable: false, outcome });
            }
            Err(refused) => return Err(refused.into()),
        };
        let durable = matches!(admitted, Admitted::New { durable: true });
        let outcome = match (admitted, wait) {
            (Admitted::New { .. } | Admitted::Pending, None) => Outcome::Pending { expires_at },
            (Admitted::Executed, None) => {
                let mut wait = self.0.feed.wait(id, Some(expires_at));
                self.settled(id, &mut wait, Level::Committed, false).await?
            }
            (admitted, Some(mut wait)) => {
                let fresh = matches!(admitted, Admitted::New { .. });
                self.settled(id, &mut wait, level, fresh).await?
            }
        };
        Ok(Submitted { id, durable, outcome })
    }

    /// What became of a transaction whose expiry is past by this node's clock; none while no certified block says so.
    async fn past(&self, id: TxId, expires_at: TimestampMs) -> Result<Option<Outcome>, NodeError> {
        if let Some(committed) = self.committed(id).await? {
            return Ok(Some(Outcome::Committed(committed)));
        }
        Ok(self.expiry(id, expires_at).await?.map(|_| Outcome::Expired { expires_at }))
    }

    /// What this node knows of a transaction now.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn outcome(&self, id: TxId) -> Result<Outcome, NodeError> {
        // The driver first: what it knows no more has a receipt by the time the ledger is asked.
        let known = self.lookup(id).await?;
        if let Some(committed) = self.committed(id).await? {
            return self.with_finality(committed).await;
        }
        Ok(match known {
            Some(Known::Pending { expires_at }) => Outcome::Pending { expires_at },
            Some(Known::Expired { expires_at }) if self.is_below(id, Some(expires_at)).await? => {
                return Err(NodeError::Below(self.0.ledger.base()));
            }
            Some(Known::Expired { expires_at }) => Outcome::Expired { expires_at },
            Some(Known::Executed) | None => Outcome::Unknown,
        })
    }

    /// Waits until a transaction is as far as `level`, or expired. For one that this node does not know it waits for it
    /// to come; bound that with a deadline.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn wait_for(&self, id: TxId, level: Level) -> Result<Outcome, NodeError> {
        let expires_at = match self.lookup(id).await? {
            Some(Known::Expired { .. }) => return self.outcome(id).await,
            Some(Known::Pending { .. }) if level == Level::Accepted => return self.outcome(id).await,
            Some(Known::Pending { expires_at }) => Some(expires_at),
            Some(Known::Executed) | None => None,
        };
        let mut wait = self.0.feed.wait(id, expires_at);
        self.settled(id, &mut wait, level, false).await
    }

    /// Waits until the block at `height`, or one above it, is certified.
    ///
    /// # Errors
    /// The node stops.
    pub async fn certified(&self, height: Height) -> Result<Progress, NodeError> {
        let mut progress = self.0.feed.progress();
        let reached = self.unless_stopped(progress.wait_for(|progress| progress.certified >= height)).await?;
        reached.map(|progress| *progress).map_err(|_| NodeError::Stopping)
    }

    /// How far the ledger is; changes with every block and certificate. For subscribers: wait for a change, then read the
    /// ledger from the cursor on. Nothing is lost by being slow.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.feed.progress()
    }

    /// How the node is. Does not wait for the driver: one that hangs is what is asked about.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { driver: self.0.status.borrow().clone(), head: self.0.ledger.head() }
    }

    /// Links to the other validators.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.0.network.peers()
    }

    /// What happened on the validators' port.
    #[must_use]
    pub fn network_counters(&self) -> &Counters {
        self.0.network.counters()
    }

    /// Reads the ledger on a thread that may block; at most a few at a time, in turn.
    ///
    /// # Errors
    /// The node stops, or the store failed.
    pub async fn read<T: Send + 'static, E: Into<NodeError> + Send + 'static>(
        &self,
        read: impl FnOnce(&Arc<Chain>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, NodeError> {
        let _permit = self.1.acquire().await.map_err(|_| NodeError::Stopping)?;
        let ledger = self.0.ledger.clone();
        let done = tokio::task::spawn_blocking(move || read(&ledger)).await;
        done.map_err(|_| NodeError::Stopping)?.map_err(Into::into)
    }

    /// Why the block at `height` is final; none while no certificate vouches for it.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn finality(&self, height: Height) -> Result<Option<Finality>, NodeError> {
        let certified = self.0.feed.progress().borrow().certified;
        if height > certified || height == Height::ZERO {
            return Ok(None);
        }
        self.read(move |chain| finality(chain, height)).await
    }

    /// Why a transaction that expires at `expires_at` can never commit any more; none while no certified block's time is past
    /// that, if it has a receipt, or if the block is too old for proofs.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn expiry(&self, id: TxId, expires_at: TimestampMs) -> Result<Option<Expiry>, NodeError> {
        self.read(move |chain| expiry(chain, id, expires_at)).await
    }

    async fn input(&self, input: Input) -> Result<(), NodeError> {
        self.unless_stopped(self.0.inbox.send(input)).await?.map_err(|_| NodeError::Stopping)
    }

    async fn lookup(&self, id: TxId) -> Result<Option<Known>, NodeError> {
        let (reply, word) = oneshot::channel();
        let reply = LookupReply::new(move |known| {
            // Whoever does not listen any more has given up.
            let _ = reply.send(known);
        });
        self.input(Input::Lookup { id, reply }).await?;
        self.unless_stopped(word).await?.map_err(|_| NodeError::Stopping)
    }

    /// Ends when the node stops, whatever is waited for.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Result<T, NodeError> {
        self.0.stop.run_until_cancelled(waiting).await.ok_or(NodeError::Stopping)
    }

    /// Makes a snapshot of the present state, or of one a little earlier that is being made; its height.
    ///
    /// # Errors
    /// The node stops. Inside: why there is none.
    pub async fn make_snapshot(&self) -> Result<Result<Height, String>, NodeError> {
        let (reply, word) = oneshot::channel();
        let reply = SnapshotReply::new(move |made| {
            // Whoever does not listen any more has given up.
            let _ = reply.send(made);
        });
        self.input(Input::MakeSnapshot(reply)).await?;
        self.unless_stopped(word).await?.map_err(|_| NodeError::Stopping)
    }

    /// Resolves when the node begins to stop.
    pub async fn stopping(&self) {
        self.0.stop.cancelled().await;
    }

    /// The receipt as stored.
    async fn committed(&self, id: TxId) -> Result<Option<Committed>, NodeError> {
        self.read(move |chain| {
            let Some(Located { height, index }) = chain.locate(id)? else { return Ok(None) };
            let (Some(header), Some(receipts)) = (chain.header(height)?, chain.receipts(height)?) else {
                return Err(NodeError::missing(chain, height));
            };
            let found = Found::new(Arc::new(Block { header, receipts }), index);
            found.map(|found| Some(Committed { found })).ok_or(NodeError::Missing(height))
        })
        .await
    }

    async fn is_below(&self, id: TxId, expires_at: Option<TimestampMs>) -> Result<bool, NodeError> {
        let Some(expires_at) = expires_at.filter(|_| self.0.ledger.base() > Height::ZERO) else {
            return Ok(false);
        };
        self.read(move |chain| may_be_below(chain, id, expires_at)).await
    }

    /// Waits for the receipt, and for its certificate if asked. `fresh`: the ledger cannot have had it before the wait.
    async fn settled(
        &self,
        id: TxId,
        wait: &mut Wait,
        level: Level,
        fresh: bool,
    ) -> Result<Outcome, NodeError> {
        let stored = if fresh { None } else { self.committed(id).await? };
        let committed = match stored {
            Some(committed) => committed,
            None if !fresh && self.is_below(id, wait.expires_at()).await? => {
                // A block may have come with it between the two questions.
                let committed = self.committed(id).await?;
                committed.ok_or_else(|| NodeError::Below(self.0.ledger.base()))?
            }
            None => match self.unless_stopped(wait.word()).await? {
                Some(Word::Committed(found)) => Committed { found },
                Some(Word::Expired(expires_at)) => return Ok(Outcome::Expired { expires_at }),
                None => return Err(NodeError::Stopping),
            },
        };
        if level < Level::Certified {
            return Ok(Outcome::Committed(committed));
        }
        self.certified(committed.block().header.height).await?;
        self.with_finality(committed).await
    }

    async fn with_finality(&self, committed: Committed) -> Result<Outcome, NodeError> {
        Ok(match self.finality(committed.block().header.height).await? {
            Some(finality) => Outcome::Certified(committed, finality),
            None => Outcome::Committed(committed),
        })
    }
}

/// The lowest certificate at or above a block, and the headers on the way to it.
fn finality(chain: &Chain, height: Height) -> Result<Option<Finality>, ChainError> {
    let Some(certificate) = chain.certificate_from(height)? else { return Ok(None) };
    let heights = (height.next().0..=certificate.height.0).map(Height);
    // Where a snapshot took the place of blocks, the way from one to the next certificate is not here.
    let descendants: Option<Vec<BlockHeader>> = heights
        .map(|height| chain.header(height).transpose())
        .collect::<Option<Result<_, _>>>()
        .transpose()?;
    let Some(descendants) = descendants else { return Ok(None) };
    Ok(Some(Finality { descendants, epochs: chain.turns(certificate.epoch)?, certificate }))
}

fn expiry(chain: &Chain, id: TxId, expires_at: TimestampMs) -> Result<Option<Expiry>, ChainError> {
    if chain.locate(id)?.is_some() {
        return Ok(None);
    }
    // Sealed time grows with every block (R11), so the first one past the expiry is found by halving.
    let past = |height: Height| {
        let header = chain.header(height)?;
        Ok::<_, ChainError>(header.is_none_or(|header| header.timestamp > expires_at))
    };
    // Below the snapshot that the ledger began with there may be none, and nothing is known.
    let (base, mut high) = (chain.base().0, chain.head().height.0);
    let mut low = base;
    while low < high {
        let middle = low.midpoint(high);
        if middle > base && past(Height(middle))? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let first = Height(high);
    let Some(header) = chain.header(first)?.filter(|header| header.timestamp > expires_at) else {
        return Ok(None);
    };
    let parent = chain.header(first.minus(1))?;
    let is_first = base == 0 || parent.as_ref().is_some_and(|parent| parent.timestamp <= expires_at);
    let key = epione_chaincode::keys::transaction(expires_at, id);
    let (true, Some(finality), Ok(absence)) =
        (is_first, finality(chain, first)?, chain.prove(first, key.as_bytes()))
    else {
        return Ok(None);
    };
    // Its receipt may stand below the ledger's base: then the state holds it.
    let absent = absence.verify(&header.state_root, key.as_bytes(), None).is_ok();
    Ok(absent.then_some(Expiry { header, finality, parent, absence }))
}
