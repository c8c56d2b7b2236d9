//! A node in the real world: files, threads, the network, and the order in which they start and stop.
//!
//! ```text
//!  start: store ─▶ ledger's tip checked ─▶ log ─▶ born or resumed ─▶ network ─▶ threads ─▶ handle
//!  stop:  network ─▶ driver ─▶ workers finish ─▶ store synced
//! ```
//!
//! A voting key gets exactly one log (R25). Beside the key's file a mark is kept, made before the first vote: a key with a
//! mark and without a log has lost it, and is refused. Tested by `tests/node.rs`.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::FileDisk;
use epione_ledger::snapshot::{Shelf, ShelfError};
use epione_ledger::store::{SledStore, StoreError};
use epione_types::genesis::{BATCH_BYTES_MAX, WINDOW_MAX};
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::sign::Zip215;
use epione_types::{Height, PublicKey, Signer, TimestampMs, ValidatorIndex, ValidatorSet};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, LogFormat};
use crate::driver::{Driver, Input, Ports};
use crate::executor::{ExecuteError, Executor};
use crate::feed::{Feed, Progress};
use crate::handle::{Inner, NodeHandle};
use crate::log::{ConsensusLog, LogError};
use crate::mempool::Client;
use crate::network::{self, Class, Inbound, Network, Peer, PeerIndex, PerClass};
use crate::pool_log::{self, PoolLog};
use crate::ports::{Log as _, Transport};
use crate::snapshots::SnapshotLane;
use crate::start::{self, ResumeError};
use crate::threads::{self, LaneThreads};
use crate::workers::{ServeLane, VerifyLane, WriteLane};

/// Inputs of one round: they share one sync.
const ROUND_MAX: usize = 1_024;
/// How often the driver is woken without an input.
const TICK: Duration = Duration::from_millis(20);
/// For how many validators a frame has room from the start, so that none has to be restarted for those who join.
const VALIDATORS_AHEAD: usize = 32;
/// How often the driver tells how it is.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder or file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ledger's store.
    #[error("the ledger's store in {path}: {source}")]
    Store {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ChainError),
    /// A snapshot that waits for being installed.
    #[error(transparent)]
    Install(#[from] start::PlaceError),
    /// The state.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The consensus log.
    #[error("the consensus log: {0}")]
    Log(#[from] LogError),
    /// The durable mempool.
    #[error("the durable mempool in {path}: {source}")]
    Pool {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        source: pool_log::OpenError,
    },
    /// Log and ledger do not let this validator vote.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The network.
    #[error(transparent)]
    Network(#[from] network::StartError),
    /// A task of this process failed.
    #[error("cannot start: {0}")]
    Task(String),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RunError + '_ {
    move |source| RunError::Io { path: path.to_owned(), source }
}

/// The ports of a real node.
struct Real;

impl Ports for Real {
    type Transport = Links;
    type Log = ConsensusLog<FileDisk>;
    type Workers = LaneThreads;
    type Verifier = Zip215;
}

struct Links {
    network: Network,
    /// Where nodes listen, and who may follow, by the configuration.
    listed: Vec<Peer>,
}

/// Who may be linked to: validators under their places, then the others; not oneself.
#[must_use]
pub fn roster(set: &ValidatorSet, others: &[PublicKey], listed: &[Peer], own: [u8; 32]) -> Vec<Peer> {
    let members = set.validators.iter().map(|one| one.network_key.0);
    let mut keys: Vec<[u8; 32]> = members.collect();
    let listed_keys = listed.iter().map(|peer| peer.key);
    for key in others.iter().map(|key| key.0).chain(listed_keys) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let address = |key: &[u8; 32]| listed.iter().find(|peer| peer.key == *key)?.address.clone();
    let peers = (0..).zip(keys).filter(|(_, key)| *key != own);
    peers.map(|(index, key)| Peer { index: PeerIndex(index), key, address: address(&key) }).collect()
}

impl Transport for Links {
    fn send(&mut self, to: ValidatorIndex, class: Class, frame: Bytes) {
        // Who is not connected is told what it missed when it is (R22).
        if let Err(error @ network::SendError::Length { .. }) =
            self.network.send(PeerIndex(to.0), class, frame)
        {
            error!(%error, "a frame was not sent");
        }
    }
    fn broadcast(&mut self, class: Class, frame: Bytes) {
        if let Err(error) = self.network.broadcast(class, &frame) {
            error!(%error, "a frame was not sent");
        }
    }
    fn disconnect(&mut self, peer: ValidatorIndex, reason: &str) {
        self.network.disconnect(PeerIndex(peer.0), reason);
    }
    fn roster(&mut self, set: &ValidatorSet, others: &[PublicKey]) {
        let peers = roster(set, others, &self.listed, self.network.key());
        if let Err(error) = self.network.set_peers(peers) {
            error!(%error, "the validators cannot be linked to");
        }
    }
}

/// A running node. Dropping it stops it too, but does not wait.
pub struct Node {
    handle: NodeHandle,
    network: Network,
    stop: CancellationToken,
    ended: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    chain: Arc<Chain>,
    /// A snapshot is to be installed.
    restart: Arc<AtomicBool>,
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Node").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// What is read and opened before the network starts.
struct Opened {
    chain: Arc<Chain>,
    log: ConsensusLog<FileDisk>,
    records: crate::log::Records,
    pool: PoolLog<FileDisk>,
    held: Vec<(Client, epione_types::SignedTx)>,
    /// None if its disk failed: that costs snapshots and nothing else.
    shelf: Option<Shelf<FileDisk>>,
}

fn open(config: &Config) -> Result<Opened, RunError> {
    for dir in [config.ledger_dir(), config.log_dir(), config.pool_dir()] {
        fs::create_dir_all(&dir).map_err(io(&dir))?;
    }
    let path = config.ledger_dir();
    let store = SledStore::open(&path, config.store_cache_bytes)
        .map_err(|source| RunError::Store { path, source })?;
    let disk = |dir: PathBuf| FileDisk::open(&dir).map_err(io(&dir));
    let shelf = FileDisk::open(&config.snapshots_dir()).map_err(ShelfError::from).and_then(Shelf::open);
    let shelf = match shelf {
        Ok(mut shelf) => {
            start::install_snapshot(&store, &mut shelf, &config.genesis, &Zip215)?;
            Some(shelf)
        }
        Err(error) => {
            warn!(%error, "this node starts without snapshots");
            None
        }
    };
    let chain = Arc::new(Chain::open(Arc::new(store), &start::origin(&config.genesis))?);
    let (log, records) = ConsensusLog::open(disk(config.log_dir())?)?;
    let path = config.pool_dir();
    let (pool, held) =
        PoolLog::open(disk(path.clone())?).map_err(|source| RunError::Pool { path, source })?;
    Ok(Opened { chain, log, records, pool, held, shelf })
}

/// The mark of a voting key that has begun its log.
fn mark_of(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".born");
    name.into()
}

/// Makes the mark durable, if it is not there.
fn mark(key_file: &Path, log_dir: &Path) -> Result<(), RunError> {
    let path = mark_of(key_file);
    match File::options().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            let text = format!(
                "This voting key has a consensus log, in {}. It may never get a second one.\n",
                log_dir.display()
            );
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io(&path))?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io(&path)(error)),
    }
}

/// What the driver takes for the time: the system's, and in drills wrong by so much.
fn wall_clock(offset_ms: i64) -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    TimestampMs(now.saturating_add_signed(offset_ms))
}

impl Node {
    /// Opens everything, checks it, and starts. Needs a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// [`RunError`]: nothing was started, or it was stopped again.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        let config = Arc::new(config);
        let opening = config.clone();
        // Opening reads whole files and checks the ledger's tip: not on an async worker.
        let opened = tokio::task::spawn_blocking(move || open(&opening)).await;
        let Opened { chain, log, records, pool, held, shelf } =
            opened.map_err(|error| RunError::Task(error.to_string()))??;
        let head = chain.head();
        let signer: Arc<dyn Signer + Send + Sync> = Arc::new(config.voting_key.clone());
        let identity = start::config(&chain, &signer.public_key())?;
        let epochs = start::epochs(&chain)?;
        let left = start::left(&chain, &config.genesis, &epochs)?;
        let (set, place) = (identity.set.clone(), identity.is_member().then_some(identity.me));
        let (replica, step) = if records.is_empty() {
            if mark_of(&config.voting_key_file).exists() {
                return Err(ResumeError::NoLog.into()); // R25
            }
            start::born(&chain, identity, signer)?
        } else {
            start::resume(&chain, identity, signer, records, log.position())?
        };

        let certified = chain.certified().map_or(Height::ZERO, |certificate| certificate.height);
        info!(
            chain = %chain.chain_id(), validator = ?place, epoch = %set.epoch, height = %head.height, %certified,
            state_root = %head.state_root, validators = set.len(), "ledger and log are open"
        );
        let feed =
            Arc::new(Feed::new(Progress { height: head.height, timestamp: head.timestamp, certified }));
        let deadline = Executor::new(chain.clone()).deadline()?;
        let verify = VerifyLane::new(chain.clone(), &set.params, Zip215, pool, config.settings.pool.txs_max);
        let write = WriteLane::new(chain.clone(), feed.clone(), config.settings.snapshots)?;
        let serve = ServeLane::new(chain.clone());
        let trust = (config.genesis.validators.clone(), Zip215);
        let shelve = SnapshotLane::new(chain.clone(), shelf, trust, config.settings.snapshots);
        let partial = shelve.partial();
        let mut limits = config.network_limits.clone();
        // The largest message must fit a frame: a batch, proposed or fetched, and the NewView of as many validators as there
        // may be before this process ends, under whatever parameters.
        let batch = set.params.batch_bytes_max.max(BATCH_BYTES_MAX).saturating_add(1 << 20);
        let mut grown = set.clone();
        grown.params.window = WINDOW_MAX;
        let one = grown.validators.first().cloned();
        let more = VALIDATORS_AHEAD.max(grown.len().saturating_mul(2)).min(MAX_VALIDATORS);
        grown.validators.extend(one.into_iter().cycle().take(more.saturating_sub(set.len())));
        let message = u32::try_from(epione_consensus::max_message_bytes(&grown)).unwrap_or(u32::MAX);
        let PerClass { consensus, bulk, sync } = &mut limits.classes;
        for (class, frame) in [(consensus, message), (bulk, batch), (sync, batch)] {
            class.frame_bytes_max = class.frame_bytes_max.max(frame.saturating_add(1 << 10));
            class.queue_bytes_max = class.queue_bytes_max.max(class.frame_bytes_max as usize);
        }
        let others: Vec<PublicKey> = left.iter().chain(&epochs.candidates).copied().collect();
        let (network, inbound) = Network::start(network::Config {
            seed: *config.network_key.seed(),
            chain: chain.chain_id(),
            listen: config.listen,
            peers: roster(&set, &others, &config.peers, config.network_key.public_key().0),
            limits,
        })
        .await?;

        let (inbox, inputs) = mpsc::channel(config.inbox.max(1));
        let task = |error: std::io::Error| RunError::Task(error.to_string());
        let (lanes, mut threads) = threads::start(verify, write, serve, shelve, &inbox).map_err(task)?;
        let links = Links { network: network.clone(), listed: config.peers.clone() };
        let mut driver: Driver<Real> =
            Driver::new(replica, deadline, config.settings.clone(), links, log, lanes, Zip215)
                .with_pipeline(config.pipeline)
                .with_others(left.clone(), epochs.candidates.clone())
                .with_partial_snapshot(partial);
        let begun = Instant::now();
        let offset_ms = config.clock_offset_ms;
        if offset_ms != 0 {
            warn!(offset_ms, "the wall clock of this node is made wrong: testnet.clock_offset_ms");
        }
        driver.start(step, 0, wall_clock(offset_ms));
        if !held.is_empty() {
            info!(count = held.len(), "transactions of the durable mempool are offered again");
        }
        driver.offer_again(held);
        if driver.has_begun() {
            mark(&config.voting_key_file, &config.log_dir())?; // before the first vote can leave
        }

        let stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let (publish, published) = watch::channel(Arc::new(driver.status()));
        let (stopping, done) = (stop.clone(), ended.clone().drop_guard());
        let restart = Arc::new(AtomicBool::new(false));
        let restarts = restart.clone();
        let driving = Builder::new().name("driver".to_owned()).spawn(move || {
            let _done = done;
            let wants = drive(driver, inputs, &stopping, (begun, offset_ms), |driver| {
                publish.send_replace(Arc::new(driver.status()));
            });
            restarts.store(wants, Ordering::Release);
        });
        threads.insert(0, driving.map_err(task)?);
        tokio::spawn(pump(inbound, inbox.clone(), stop.clone()));
        tokio::spawn(tick(inbox.clone(), ended.clone()));

        let handle = NodeHandle::new(Inner {
            genesis: config.genesis.clone(),
            chain: chain.chain_id(),
            organisation: config.organisation,
            inbox,
            ledger: chain.clone(),
            feed,
            status: published,
            network: network.clone(),
            stop: stop.clone(),
        });
        info!(address = %network.listen_address(), "listening for validators");
        Ok(Self { handle, network, stop, ended, threads, chain, restart })
    }

    /// What services do with it.
    #[must_use]
    pub const fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Where it listens for validators.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.network.listen_address()
    }

    /// Resolves when the driver has ended: after [`Node::shutdown`] began, because it wants to be started again
    /// ([`Node::wants_restart`]), or because of a defect.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// It has ended because a snapshot is to be installed: shut it down and start it again.
    #[must_use]
    pub fn wants_restart(&self) -> bool {
        self.restart.load(Ordering::Acquire)
    }

    /// Stops: no more votes, blocks that are being stored are finished, the store is synced.
    ///
    /// # Errors
    /// The store cannot be synced; the next start repeats from the log what is missing.
    pub async fn shutdown(mut self) -> Result<(), RunError> {
        info!("stopping");
        self.stop.cancel();
        self.network.shutdown().await;
        let (threads, chain) = (core::mem::take(&mut self.threads), self.chain.clone());
        let stopped = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                if thread.join().is_err() {
                    warn!(name, "a thread had panicked");
                }
            }
            chain.sync()
        });
        let height = stopped.await.map_err(|error| RunError::Task(error.to_string()))??;
        info!(%height, "stopped");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The driver's thread: takes what has come, at most a round's worth, and hands it over. Time since it began, and the
/// wall clock, which is wrong by an offset in drills. True: it wants to be started again.
fn drive(
    mut driver: Driver<Real>,
    mut inputs: mpsc::Receiver<Input>,
    stop: &CancellationToken,
    (begun, offset_ms): (Instant, i64),
    mut publish: impl FnMut(&Driver<Real>),
) -> bool {
    let mut round = Vec::with_capacity(ROUND_MAX);
    let mut published = Instant::now();
    while !driver.wants_restart()
        && inputs.blocking_recv_many(&mut round, ROUND_MAX) > 0
        && !stop.is_cancelled()
    {
        let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        driver.handle(round.drain(..), now, wall_clock(offset_ms));
        if published.elapsed() >= STATUS_EVERY {
            published = Instant::now();
            publish(&driver);
        }
    }
    publish(&driver);
    driver.wants_restart()
}

/// From the network to the driver; a full inbox stops reading from peers.
async fn pump(mut inbound: Inbound, inbox: mpsc::Sender<Input>, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(inbound.recv()).await {
        let input = match event {
            network::Event::Connected(peer) => {
                info!(%peer, "connected");
                Input::Connected(ValidatorIndex(peer.0))
            }
            network::Event::Disconnected(peer) => {
                info!(%peer, "disconnected");
                Input::Disconnected(ValidatorIndex(peer.0))
            }
            // The network has logged it.
            network::Event::OtherChain { peer, chain } => {
                Input::OtherChain { from: ValidatorIndex(peer.0), chain }
            }
            network::Event::Frame { peer, class, bytes } => {
                Input::Frame { from: ValidatorIndex(peer.0), class, bytes }
            }
        };
        if inbox.send(input).await.is_err() {
            return;
        }
    }
}

/// Time for an idle driver. A full inbox wakes it anyway.
async fn tick(inbox: mpsc::Sender<Input>, ended: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while ended.run_until_cancelled(interval.tick()).await.is_some() {
        drop(inbox.try_send(Input::Tick));
    }
}

/// Resolves on SIGTERM or Ctrl-C.
///
/// # Errors
/// The signals cannot be listened for.
pub async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Starts the log of this process, on stderr.
///
/// # Errors
/// There is one already.
pub fn init_logging(level: &str, format: LogFormat) -> Result<(), String> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = tracing_subscriber::EnvFilter::builder().parse(level).map_err(|error| error.to_string())?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => subscriber.finish().try_init(),
        LogFormat::Json => subscriber.json().finish().try_init(),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use epione_types::{Epoch, Params, Validator, id::OrgId};

    use super::*;

    /// A key under two numbers would be two peers for the network: which of them frames come from would be by chance.
    #[test]
    fn everyone_is_linked_under_one_number() {
        let key = |n: u8| PublicKey([n; 32]);
        let one =
            |n| Validator { organisation: OrgId([n; 16]), public_key: key(n + 100), network_key: key(n) };
        let set =
            ValidatorSet { epoch: Epoch::ZERO, validators: vec![one(1), one(2)], params: Params::default() };
        let listed = [Peer { index: PeerIndex(0), key: [3; 32], address: None }];
        let peers = roster(&set, &[key(2), key(4), key(3), key(4)], &listed, [1; 32]);
        let places: Vec<_> = peers.iter().map(|peer| (peer.index.0, peer.key[0])).collect();
        assert_eq!(places, [(1, 2), (2, 4), (3, 3)]);
    }
}
