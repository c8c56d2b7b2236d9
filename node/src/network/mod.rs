//! Bytes between validators: authenticated, bounded, and never in anybody's way.
//!
//! ```text
//!  send / broadcast ─▶ outbox (peer, class) ─▶ stream ═══ TCP, Noise, yamux ═══ stream ─▶ inbox (peer, class) ─▶ Inbound
//!                      full: drops oldest                                       full: stops reading
//! ```
//!
//! A peer is an ed25519 key on the allow-list; the Noise handshake proves it, and every frame carries that peer's index and no
//! claim of its own. Each connection has one long-lived stream per [`Class`], so that a vote never waits behind a batch.
//!
//! This is a lossy transport on purpose. What does not fit or finds no link is dropped and counted: consensus repairs
//! losses (R22 after every [`Event::Connected`], R24 for transactions), while a queue that waits for a dead peer would only
//! grow. Frames of one peer and class arrive in order as long as the link holds; across links some may be missing, and
//! frames that crossed two links may change places.
//!
//! How it cannot go wrong: sending never waits and never allocates beyond the limits; each peer costs a fixed amount of
//! memory whatever it does (R28); one flooding, frozen or silent peer stops its own streams only. Who breaks the framing, or
//! is reported through [`Network::disconnect`], is shut out for [`Limits::penalty`].
//!
//! A peer whose genesis is another one belongs to another chain: both say so to their operators, and there is no link.
//!
//! Each pair needs one connection. Either side dials whenever there is none, the side with the lesser key first, so they
//! rarely dial at once; if they do, both connections stay and the newer is written to. Nothing ever dials while connected:
//! no storms.
//!
//! Memory that a hostile peer can fill, per connection: the lanes of the inbox, three frames being read, and the yamux
//! windows (see `swarm::YAMUX_STREAMS_MAX`).
//!
//! Tested by node/tests/network.rs and the modules' own tests.

mod frame;
mod inbox;
mod link;
mod outbox;
mod peer;
mod streams;
mod swarm;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use epione_types::ChainId;
use libp2p::{PeerId, StreamProtocol, identity};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use inbox::Inbox;
use peer::PeerState;
pub use peer::{ClassStatus, LinkStatus, PeerStatus};

/// Time for each step of setting a connection up: handshake, negotiation of a stream, all streams there.
const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer's number, unique among the configured peers: a validator's index, or any free number for an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub u16);

impl fmt::Display for PeerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a frame is for. Each class has its own stream, queues and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Votes and everything else that the protocol's progress waits for.
    Consensus,
    /// Batches and forwarded transactions.
    Bulk,
    /// Requests for blocks and batches, and their answers.
    Sync,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Consensus, Self::Bulk, Self::Sync];

    /// The name of the class's stream on the wire, with its version.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::Consensus => "/epione/consensus/1",
            Self::Bulk => "/epione/bulk/1",
            Self::Sync => "/epione/sync/1",
        }
    }

    const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(self.protocol_name())
    }
}

/// One value for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerClass<T> {
    /// Of [`Class::Consensus`].
    pub consensus: T,
    /// Of [`Class::Bulk`].
    pub bulk: T,
    /// Of [`Class::Sync`].
    pub sync: T,
}

impl<T> PerClass<T> {
    /// Builds the value of each class.
    pub fn from_fn(mut make: impl FnMut(Class) -> T) -> Self {
        Self { consensus: make(Class::Consensus), bulk: make(Class::Bulk), sync: make(Class::Sync) }
    }

    /// The value of a class.
    pub const fn get(&self, class: Class) -> &T {
        match class {
            Class::Consensus => &self.consensus,
            Class::Bulk => &self.bulk,
            Class::Sync => &self.sync,
        }
    }

    const fn get_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Bulk => &mut self.bulk,
            Class::Sync => &mut self.sync,
        }
    }
}

/// Where a peer listens: `host:port`. Names are looked up at every dial, so a peer may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// The text is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an address: write host:port, like 10.0.0.7:7000, [fd00::7]:7000 or node7.example.org:7000"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        text.rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']))
            .and_then(|(host, port)| Some(Self { host: host.to_owned(), port: port.parse().ok()? }))
            .ok_or_else(|| AddressError(text.to_owned()))
    }
}

/// A node that may connect, and to which this one connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The number by which frames name it.
    pub index: PeerIndex,
    /// Its ed25519 network key: its identity.
    pub key: [u8; 32],
    /// Where it listens; without one this node waits to be dialed.
    pub address: Option<Address>,
}

/// Bounds of one class, in each direction and for each peer.
#[derive(Debug, Clone, Copy)]
pub struct ClassLimits {
    /// The largest frame, in bytes. A peer that declares more is shut out.
    pub frame_bytes_max: u32,
    /// Bytes in a queue; not less than a frame.
    pub queue_bytes_max: usize,
    /// Frames in a queue.
    pub queue_frames_max: usize,
}

/// Bounds of the network.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bounds of frames and queues.
    pub classes: PerClass<ClassLimits>,
    /// How long a peer that misbehaved is shut out.
    pub penalty: Duration,
    /// A link on which neither a frame nor the answer to a ping arrived for this long is given up.
    pub silence_max: Duration,
}

impl Default for Limits {
    /// Room for a NewView of twenty validators and for batches of thousands of transactions; at most 112 MiB for a peer that
    /// fills everything in both directions.
    fn default() -> Self {
        const MIB: u32 = 1024 * 1024;
        let class = |frame_mib: u32, queue_mib: usize, queue_frames_max| ClassLimits {
            frame_bytes_max: frame_mib * MIB,
            queue_bytes_max: queue_mib * 1024 * 1024,
            queue_frames_max,
        };
        Self {
            classes: PerClass {
                consensus: class(4, 8, 16_384),
                bulk: class(8, 32, 16_384),
                sync: class(8, 16, 1_024),
            },
            penalty: Duration::from_secs(10),
            silence_max: Duration::from_secs(5),
        }
    }
}

/// How the network is started. Not `Debug`: it holds the secret key.
pub struct Config {
    /// The secret ed25519 network key.
    pub seed: [u8; 32],
    /// The chain: peers of another one get no link.
    pub chain: ChainId,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// Bounds.
    pub limits: Limits,
}

/// The public network key that belongs to a secret one.
#[must_use]
pub fn public_key(mut seed: [u8; 32]) -> [u8; 32] {
    // Cannot fail: any 32 bytes are a secret key.
    identity::ed25519::SecretKey::try_from_bytes(&mut seed)
        .map(|secret| identity::ed25519::Keypair::from(secret).public().to_bytes())
        .unwrap_or_default()
}

/// The list of peers cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeersError {
    /// Two peers have one index.
    #[error("two peers have the index {0}: give each its own")]
    DuplicateIndex(PeerIndex),
    /// Two peers have one key.
    #[error("peers {0} and {1} have the same network key: each node needs its own")]
    DuplicateKey(PeerIndex, PeerIndex),
    /// The key is no point of the curve.
    #[error("the network key of peer {0} is not an ed25519 public key")]
    InvalidKey(PeerIndex),
    /// A peer has this node's own key.
    #[error("peer {0} has this node's own network key: list only the others")]
    OwnKey(PeerIndex),
}

/// The network could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address to listen on cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why it was refused.
        cause: String,
    },
    /// The peers contradict one another.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// A queue could never hold the largest frame.
    #[error("the {0:?} queue is smaller than the largest {0:?} frame, or holds no frame")]
    Limits(Class),
    /// The transport could not be set up.
    #[error("cannot set up the transport: {0}")]
    Transport(String),
}

/// A frame was not queued.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// No such peer is configured.
    #[error("no peer has the index {0}")]
    UnknownPeer(PeerIndex),
    /// The peer has no link now; send again when it has ([`Event::Connected`]).
    #[error("peer {0} is not connected")]
    NotConnected(PeerIndex),
    /// The frame is empty, or larger than its class allows.
    #[error("a {class:?} frame has 1 to {max} bytes, this one has {length}")]
    Length {
        /// The frame's class.
        class: Class,
        /// The frame's bytes.
        length: usize,
        /// The class's limit in bytes.
        max: u32,
    },
}

/// What the network has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link to the peer is up, or was replaced by a new one: tell it what it may have missed (R22).
    Connected(PeerIndex),
    /// The link is gone. Frames that came by it may still follow.
    Disconnected(PeerIndex),
    /// The peer belongs to another chain: its genesis is another one. There is no link; said once until there was one.
    OtherChain {
        /// Who.
        peer: PeerIndex,
        /// The chain that it says is its own.
        chain: ChainId,
    },
    /// A frame from the peer.
    Frame {
        /// Who sent it: the key that authenticated the connection.
        peer: PeerIndex,
        /// By which stream it came.
        class: Class,
        /// The payload: 1 byte to the class's limit.
        bytes: Bytes,
    },
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// What happened on the network as a whole; per peer see [`Network::peers`].
#[derive(Debug, Default)]
pub struct Counters {
    /// Links that came up.
    pub links: Counter,
    /// Dials that failed.
    pub dials_failed: Counter,
    /// Inbound connections refused because their key is not allowed.
    pub refused: Counter,
    /// Inbound connections that never authenticated: garbage, port scans, timeouts, too many at once.
    pub handshakes_failed: Counter,
    /// Peers that broke the framing or opened a stream twice.
    pub violations: Counter,
    /// Peers that were shut out, for a violation or through [`Network::disconnect`].
    pub penalties: Counter,
    /// Links given up because nothing was heard on them.
    pub silences: Counter,
}

/// What the handle, the consumer and the tasks share.
struct Shared {
    own_key: [u8; 32],
    chain: ChainId,
    limits: Limits,
    peers: RwLock<BTreeMap<PeerIndex, Arc<PeerState>>>,
    inbox: Inbox,
    counters: Counters,
    /// Peers to be shut out, with the reason. Bounded by the number of peers.
    condemned: Mutex<BTreeMap<PeerId, String>>,
    condemned_changed: Notify,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Shared {
    fn peer(&self, index: PeerIndex) -> Option<Arc<PeerState>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&index).cloned()
    }

    fn condemn(&self, peer: PeerId, reason: String) {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_insert(reason);
        self.condemned_changed.notify_one();
    }
}

/// The running network. Clones share it; it stops at [`Network::shutdown`], or when its [`Inbound`] is dropped.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    wanted: watch::Sender<Arc<[Peer]>>,
    listen: SocketAddr,
}

impl Network {
    /// Binds the address and starts the tasks, in the runtime of the caller.
    ///
    /// # Errors
    /// When the address cannot be bound, or the peers or limits make no sense.
    pub async fn start(config: Config) -> Result<(Self, Inbound), StartError> {
        let own_key = public_key(config.seed);
        check_peers(own_key, &config.peers)?;
        for class in Class::ALL {
            let limits = config.limits.classes.get(class);
            let frame = usize::try_from(limits.frame_bytes_max).unwrap_or(usize::MAX);
            if frame == 0 || frame > limits.queue_bytes_max || limits.queue_frames_max == 0 {
                return Err(StartError::Limits(class));
            }
        }
        let shared = Arc::new(Shared {
            own_key,
            chain: config.chain,
            inbox: Inbox::new(config.limits.classes),
            limits: config.limits,
            peers: RwLock::default(),
            counters: Counters::default(),
            condemned: Mutex::default(),
            condemned_changed: Notify::new(),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        let (wanted, peers) = watch::channel(config.peers.into());
        let (task, listen) = swarm::bind(config.seed, config.listen, Arc::clone(&shared)).await?;
        tokio::spawn(task.run(peers));
        let inbound = Inbound { shared: Arc::clone(&shared), _stop: shared.stop.clone().drop_guard() };
        let network = Self { shared, wanted, listen };
        Ok((network, inbound))
    }

    /// Queues a frame for a peer. Never waits. When the queue is full its oldest frames make room.
    ///
    /// # Errors
    /// When the frame is empty or too large, the peer unknown or not connected; the frame is then dropped.
    pub fn send(&self, peer: PeerIndex, class: Class, frame: Bytes) -> Result<(), SendError> {
        self.check_length(class, &frame)?;
        let state = self.shared.peer(peer).ok_or(SendError::UnknownPeer(peer))?;
        state.send(class, frame).map_err(|outbox::NoLink| SendError::NotConnected(peer))
    }

    /// Queues a frame for every connected peer and says for how many.
    ///
    /// # Errors
    /// When the frame is empty or too large.
    pub fn broadcast(&self, class: Class, frame: &Bytes) -> Result<usize, SendError> {
        self.check_length(class, frame)?;
        let peers = self.shared.peers.read();
        let peers = peers.unwrap_or_else(PoisonError::into_inner);
        Ok(peers.values().filter(|state| state.send(class, frame.clone()).is_ok()).count())
    }

    fn check_length(&self, class: Class, frame: &Bytes) -> Result<(), SendError> {
        let max = self.shared.limits.classes.get(class).frame_bytes_max;
        match u32::try_from(frame.len()) {
            Ok(length) if (1..=max).contains(&length) => Ok(()),
            _ => Err(SendError::Length { class, length: frame.len(), max }),
        }
    }

    /// Shuts a peer out for [`Limits::penalty`], for something that its frames prove: invalid signatures, nonsense. The
    /// reason goes to the log and to [`PeerStatus::trouble`]. An unknown index is ignored.
    pub fn disconnect(&self, peer: PeerIndex, reason: &str) {
        if let Some(state) = self.shared.peer(peer) {
            self.shared.condemn(state.id, reason.to_owned());
        }
    }

    /// Replaces the peers. Links of peers whose key and index stay are kept, even if the address changes; the others are
    /// closed. Takes effect soon after the call.
    ///
    /// # Errors
    /// When the peers contradict one another; nothing changes then.
    pub fn set_peers(&self, peers: Vec<Peer>) -> Result<(), PeersError> {
        check_peers(self.shared.own_key, &peers)?;
        self.wanted.send_replace(peers.into());
        Ok(())
    }

    /// How things stand with each peer, by index.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers: Vec<_> = {
            let peers = self.shared.peers.read();
            let peers = peers.unwrap_or_else(PoisonError::into_inner);
            peers.values().cloned().collect()
        };
        peers.iter().map(|state| state.status(&self.shared.inbox)).collect()
    }

    /// Where this node listens; the port is the real one.
    #[must_use]
    pub const fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// This node's public network key.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.shared.own_key
    }

    /// Counts of the network as a whole.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Stops: closes the port and every connection, drops what is queued, and returns when all of it is done.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.stopped.cancelled().await;
    }
}

/// The consumer's end. Dropping it stops the network: without a consumer nothing could be received.
pub struct Inbound {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Inbound {
    /// The next event; `None` once the network has stopped and everything was taken. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        self.shared.inbox.next().await
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.shared.inbox.pop()
    }
}

fn check_peers(own_key: [u8; 32], peers: &[Peer]) -> Result<(), PeersError> {
    let mut indices = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for peer in peers {
        if peer.key == own_key {
            return Err(PeersError::OwnKey(peer.index));
        }
        peer_id(&peer.key).map_err(|_| PeersError::InvalidKey(peer.index))?;
        if indices.insert(peer.index, ()).is_some() {
            return Err(PeersError::DuplicateIndex(peer.index));
        }
        if let Some(other) = keys.insert(peer.key, peer.index) {
            return Err(PeersError::DuplicateKey(other, peer.index));
        }
    }
    Ok(())
}

fn peer_id(key: &[u8; 32]) -> Result<PeerId, identity::DecodingError> {
    let key = identity::ed25519::PublicKey::try_from_bytes(key)?;
    Ok(identity::PublicKey::from(key).to_peer_id())
}

/// All addresses that a name has now.
async fn look_up(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_names_or_numbers_with_a_port() {
        for good in ["10.0.0.7:7000", "[fd00::7]:7000", "node7.example.org:7000"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", ":7000", "node7", "node7:", "node7:70000", "fd00::7:7000", "http://node7:7000"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn contradictory_peers_are_refused() {
        let peer = |index, seed| Peer { index: PeerIndex(index), key: public_key([seed; 32]), address: None };
        let own = public_key([9; 32]);
        assert_eq!(check_peers(own, &[peer(1, 1), peer(2, 2)]), Ok(()));
        assert_eq!(
            check_peers(own, &[peer(1, 1), peer(1, 2)]),
            Err(PeersError::DuplicateIndex(PeerIndex(1)))
        );
        assert_eq!(
            check_peers(own, &[peer(1, 1), peer(2, 1)]),
            Err(PeersError::DuplicateKey(PeerIndex(1), PeerIndex(2)))
        );
        assert_eq!(check_peers(own, &[peer(1, 9)]), Err(PeersError::OwnKey(PeerIndex(1))));
        let no_point = (0..=255).map(|byte| [byte; 32]).find(|key| peer_id(key).is_err()).unwrap();
        let invalid = Peer { key: no_point, ..peer(3, 3) };
        assert_eq!(check_peers(own, &[invalid]), Err(PeersError::InvalidKey(PeerIndex(3))));
    }
}
