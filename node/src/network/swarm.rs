//! The one task that owns the libp2p swarm: who is connected, who is dialed when, who is shut out.
//!
//! A connection counts from the moment it is authenticated until it is closed *or given up*. Giving up does not wait for
//! libp2p's orderly close, which may have to wait for room in the socket of a frozen remote.
//!
//! At most one connection per peer and direction: a second one in the same direction means that the peer forgot the first
//! (it was killed), so the first is given up.
//!
//! ```text
//!            due              looked up, dialed             authenticated
//!  At(time) ─────▶ Busy ───────────────────────▶ (Busy) ───────────────────▶ Idle, connected
//!     ▲              │ failed: back-off                                         │ last connection gone
//!     └──────────────┴──────────────────────────────────────────────────────────┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use epione_types::ChainId;
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder, TransportError,
    allow_block_list::{self, AllowedPeers},
    connection_limits::{self, ConnectionLimits},
    core::ConnectedPoint,
    identity, multiaddr, noise, ping,
    swarm::{
        ConnectionId, DialError, ListenError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    Peer, PerClass, SETUP_TIMEOUT, Shared, StartError,
    frame::FrameError,
    link::Link,
    look_up,
    peer::PeerState,
    peer_id,
    streams::{self, News, Which},
};
use crate::conduct::Offence;

/// First wait before a dial is tried again; it doubles up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// Longest wait between dials, so that a peer that comes back is met within about a second.
const REDIAL_MAX: Duration = Duration::from_secs(1);
/// Head start of the side with the lesser key: the other side's dial then usually finds the connection there.
const HEAD_START: Duration = Duration::from_millis(200);
/// Spreads the dials to different peers, without chance.
const SPREAD: Duration = Duration::from_millis(5);
/// A peer out of reach is mentioned after this time, and then after each [`REMIND`].
const MENTION: Duration = Duration::from_secs(5);
/// See [`MENTION`].
const REMIND: Duration = Duration::from_secs(30);
/// Pings within the longest silence that is borne.
const PINGS_PER_SILENCE: u32 = 4;
/// Connections that may be shaking hands at once: what strangers can occupy.
const PENDING_MAX: u32 = 64;
/// Connections of one peer, those included that libp2p is still closing.
const PER_PEER_MAX: u32 = 16;
/// Inbound streams that may be negotiating on one connection.
const NEGOTIATING_MAX: usize = 8;
/// Streams that yamux allows on a connection. It is also the only knob left for its memory: of the fixed 1 GiB of receive
/// windows each allowed stream reserves 256 KiB, and only what is left may be added to windows in use. 64 less than 4096
/// leaves 16 MiB (enough for 1 Gbit/s at 130 ms) that a peer can fill, instead of nearly 1 GiB. Of the streams that a
/// hostile peer opens, all but three are dropped as soon as they are negotiated.
const YAMUX_STREAMS_MAX: usize = 4096 - 64;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // First: a stranger must not reach the others.
    allowed: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

/// Builds the swarm and binds its port; returns the address with the real port.
pub(super) async fn bind(
    seed: [u8; 32],
    listen: SocketAddr,
    shared: Arc<Shared>,
) -> Result<(Connector, SocketAddr), StartError> {
    let transport = |error: &dyn std::error::Error| StartError::Transport(error.to_string());
    let identity = identity::Keypair::ed25519_from_bytes(seed).map_err(|e| transport(&e))?;
    let silence_max = shared.limits.silence_max;
    let mut swarm = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, || {
            let mut yamux = yamux::Config::default();
            yamux.set_max_num_streams(YAMUX_STREAMS_MAX);
            yamux
        })
        .map_err(|e| transport(&e))?
        .with_behaviour(|_| Behaviour {
            allowed: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_pending_incoming(Some(PENDING_MAX))
                    .with_max_established_per_peer(Some(PER_PEER_MAX)),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(silence_max / PINGS_PER_SILENCE).with_timeout(silence_max),
            ),
            streams: streams::Behaviour::new(shared.chain),
        })
        .map_err(|e| transport(&e))?
        .with_swarm_config(|config| config.with_max_negotiating_inbound_streams(NEGOTIATING_MAX))
        .with_connection_timeout(SETUP_TIMEOUT)
        .build();

    let refused = |cause: String| StartError::Listen { address: listen, cause };
    // libp2p listens with SO_REUSEPORT: two nodes on one port would silently share its connections.
    if listen.port() != 0 {
        std::net::TcpListener::bind(listen).map_err(|error| refused(error.to_string()))?;
    }
    swarm.listen_on(multiaddress(listen)).map_err(|error| match error {
        TransportError::Other(error) => refused(error.to_string()),
        error @ TransportError::MultiaddrNotSupported(_) => refused(error.to_string()),
    })?;
    // The allow-list is still empty: nobody can connect before `run`.
    let bound = loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::NewListenAddr { address, .. } = event {
            let port = address
                .iter()
                .find_map(|part| if let multiaddr::Protocol::Tcp(port) = part { Some(port) } else { None });
            break SocketAddr::new(listen.ip(), port.unwrap_or(listen.port()));
        } else if let SwarmEvent::ListenerClosed { reason, .. } = event {
            return Err(refused(format!("{reason:?}")));
        }
    };
    let connector = Connector {
        swarm,
        shared,
        contacts: BTreeMap::new(),
        connections: BTreeMap::new(),
        links: JoinSet::new(),
        lookups: JoinSet::new(),
    };
    Ok((connector, bound))
}

pub(super) struct Connector {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    contacts: BTreeMap<PeerId, Contact>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// The running links.
    links: JoinSet<(ConnectionId, FrameError)>,
    /// The running look-ups of names.
    lookups: JoinSet<(PeerId, io::Result<Vec<SocketAddr>>)>,
}

/// A peer as the connector sees it.
struct Contact {
    state: Arc<PeerState>,
    dial: Dial,
    /// Dials that failed since the last link.
    failures: u32,
    /// The connection that is written to.
    link: Option<ConnectionId>,
    /// Since when there is none.
    down_since: Instant,
    /// When to mention next that there is none.
    mention_at: Instant,
}

/// What is to be done to reach a peer.
enum Dial {
    /// Nothing: it is connected, or its address is not known.
    Idle,
    /// Dial at that time.
    At(Instant),
    /// A look-up or dial is running.
    Busy,
    /// It is shut out until then.
    ShutOut(Instant),
}

/// An authenticated connection.
struct Connection {
    peer: PeerId,
    /// Whether this side dialed.
    dialed: bool,
    remote: Multiaddr,
    streams: PerClass<Option<Stream>>,
    /// The task that carries its frames, once its streams are there.
    link: Option<AbortHandle>,
    /// Given up then: before it is a link because its streams are not there, afterwards for silence.
    deadline: Instant,
    /// Frames received on it.
    heard: Arc<AtomicU64>,
    /// That number when the deadline was last looked at.
    heard_before: u64,
}

impl Connector {
    /// Runs until the network is stopped.
    pub(super) async fn run(mut self, mut wanted: watch::Receiver<Arc<[Peer]>>) {
        // Held to the end, whatever the end.
        let _stopped = self.shared.stopped.clone().drop_guard();
        let shared = Arc::clone(&self.shared);
        let peers = wanted.borrow_and_update().clone();
        self.set_peers(&peers);
        loop {
            let due = self.next_due();
            tokio::select! {
                () = shared.stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(end) = self.links.join_next() => if let Ok((connection, error)) = end {
                    self.on_link_end(connection, &error);
                },
                Some(found) = self.lookups.join_next() => if let Ok((peer, addresses)) = found {
                    self.on_looked_up(peer, addresses);
                },
                () = shared.condemned_changed.notified() => self.punish(),
                Ok(()) = wanted.changed() => {
                    let peers = wanted.borrow_and_update().clone();
                    self.set_peers(&peers);
                },
                () = sleep_until(due) => self.on_due(Instant::now()),
            }
        }
        self.links.shutdown().await;
        self.lookups.shutdown().await;
        for id in self.contacts.keys() {
            shared.inbox.set_link(*id, None);
        }
        for contact in self.contacts.values() {
            contact.state.set_link(None);
        }
        shared.inbox.close();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum is non-exhaustive, and what is left out asks for no action"
    )]
    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint)
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let mut reason = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
                if self.connections.get(&connection_id).is_some_and(|connection| connection.link.is_none()) {
                    reason
                        .push_str(" as soon as it was open: is this node's network key in the peer's list?");
                }
                self.forget(connection_id, &reason);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                self.on_dial_failed(peer, explain(&error))
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, peer_id, .. } => {
                self.on_refused(&send_back_addr, peer_id, &error)
            }
            SwarmEvent::ListenerError { error, .. } => {
                warn!(%error, "accepting a connection failed");
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                warn!(?reason, "no longer listening: peers cannot connect to this node");
            }
            // Dials and handshakes under way, addresses found.
            _ => {}
        }
    }

    // Connections

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(contact) = self.contacts.get_mut(&peer) else {
            // The peer was removed while it connected.
            self.swarm.close_connection(id);
            return;
        };
        if !matches!(contact.dial, Dial::ShutOut(_)) {
            contact.dial = Dial::Idle;
        }
        let dialed = endpoint.is_dialer();
        let older: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, other)| other.peer == peer && other.dialed == dialed)
            .map(|(id, _)| *id)
            .collect();
        self.connections.insert(
            id,
            Connection {
                peer,
                dialed,
                remote: endpoint.get_remote_address().clone(),
                streams: PerClass::default(),
                link: None,
                deadline: Instant::now() + SETUP_TIMEOUT,
                heard: Arc::default(),
                heard_before: 0,
            },
        );
        for older in older {
            self.give_up(older, "replaced by a newer connection");
        }
    }

    fn on_stream(&mut self, event: streams::Event) {
        let Some(connection) = self.connections.get_mut(&event.connection) else {
            return; // given up in the meantime
        };
        match event.news {
            News::Opened(class, stream) => {
                *connection.streams.get_mut(class) = Some(stream);
                self.link_if_complete(event.connection);
            }
            News::Failed(which, error) => {
                let name = match which {
                    Which::Chain => "no word about its chain".to_owned(),
                    Which::Class(class) => format!("no {class:?} stream"),
                };
                self.give_up(event.connection, &format!("{name}: {error}"));
            }
            News::OtherChain(theirs) => self.on_other_chain(event.peer, event.connection, theirs),
            News::Twice(class) => {
                let reason = format!("opened the {class:?} stream twice");
                self.violation(event.peer, Offence::StreamTwice, &reason);
            }
        }
    }

    /// Its genesis is another one, so nothing that it signs counts here, nor the other way round: there is no link.
    fn on_other_chain(&mut self, peer: PeerId, id: ConnectionId, theirs: ChainId) {
        let Some(contact) = self.contacts.get(&peer) else {
            return;
        };
        contact.state.note(Offence::OtherChain);
        if contact.state.view().other_chain.replace(theirs) != Some(theirs) {
            warn!(
                peer = %contact.state.index, theirs = %theirs, own = %self.shared.chain,
                "a peer belongs to another chain: compare the genesis files"
            );
            self.shared.inbox.other_chain(peer, theirs);
        }
        // The side that dialed hangs up, now that it has the answer: the other one's hanging up could overtake it.
        if self.connections.get(&id).is_some_and(|connection| connection.dialed) {
            self.give_up(id, "closed");
        }
    }

    fn link_if_complete(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(contact) = self.contacts.get_mut(&connection.peer) else {
            return;
        };
        let streams = match std::mem::take(&mut connection.streams) {
            PerClass { consensus: Some(consensus), bulk: Some(bulk), sync: Some(sync) } => {
                PerClass { consensus, bulk, sync }
            }
            incomplete => {
                connection.streams = incomplete;
                return;
            }
        };
        let link = Link {
            shared: Arc::clone(&self.shared),
            peer: Arc::clone(&contact.state),
            connection: id,
            heard: Arc::clone(&connection.heard),
        };
        let task = async move { (id, link.run(streams).await) };
        info!(
            peer = %contact.state.index,
            remote = %connection.remote,
            dialed = connection.dialed,
            down_ms = contact.down_since.elapsed().as_millis(),
            "peer connected"
        );
        self.shared.counters.links.add(1);
        contact.link = Some(id);
        contact.failures = 0;
        // In this order: who hears of the link can send at once, and hears of it before its first frame.
        contact.state.set_link(Some((id, connection.remote.clone())));
        self.shared.inbox.set_link(connection.peer, Some(id));
        connection.link = Some(self.links.spawn(task));
        connection.deadline = Instant::now() + self.shared.limits.silence_max;
    }

    fn on_link_end(&mut self, id: ConnectionId, error: &FrameError) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match error {
            FrameError::Length { .. } => {
                self.violation(connection.peer, Offence::FrameLength, &error.to_string());
            }
            FrameError::Truncated => {
                if let Some(contact) = self.contacts.get(&connection.peer) {
                    contact.state.note(Offence::FrameTruncated);
                }
                self.give_up(id, &error.to_string());
            }
            FrameError::Io(_) => self.give_up(id, &error.to_string()),
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        // A failure says nothing that the deadline does not say sooner: libp2p takes 10 s to try again.
        let Ok(rtt) = event.result else { return };
        let Some(connection) = self.connections.get_mut(&event.connection) else {
            return;
        };
        if connection.link.is_some() {
            connection.deadline = Instant::now() + self.shared.limits.silence_max;
        }
        if let Some(contact) = self.contacts.get(&connection.peer)
            && contact.link == Some(event.connection)
        {
            contact.state.view().rtt = Some(rtt);
        }
    }

    fn on_deadline(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let heard = connection.heard.load(Ordering::Relaxed);
        if connection.link.is_none() {
            self.give_up(id, "its streams did not open in time");
        } else if std::mem::replace(&mut connection.heard_before, heard) == heard {
            self.shared.counters.silences.add(1);
            self.give_up(id, "silent: neither frames nor answers to pings");
        } else {
            // Busy, and perhaps too slow for pings to come through in time.
            connection.deadline = now + self.shared.limits.silence_max;
        }
    }

    /// Closes a connection and forgets it at once, however long the closing takes.
    fn give_up(&mut self, id: ConnectionId, reason: &str) {
        self.swarm.close_connection(id);
        self.forget(id, reason);
    }

    fn forget(&mut self, id: ConnectionId, reason: &str) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        if let Some(task) = &connection.link {
            task.abort();
        }
        let peer = connection.peer;
        let other = self
            .connections
            .iter()
            .rfind(|(_, other)| other.peer == peer && other.link.is_some())
            .map(|(id, other)| (*id, other.remote.clone()));
        let alone = !self.connections.values().any(|other| other.peer == peer);
        let Some(contact) = self.contacts.get_mut(&peer) else {
            return;
        };
        if contact.link == Some(id) {
            contact.link = other.as_ref().map(|(id, _)| *id);
            contact.state.set_link(other);
            self.shared.inbox.set_link(peer, contact.link);
            if contact.link.is_none() {
                contact.down_since = Instant::now();
                contact.mention_at = contact.down_since + MENTION;
                info!(peer = %contact.state.index, reason, "peer disconnected");
            }
        }
        if contact.link.is_none() {
            let mut view = contact.state.view();
            let other = view.other_chain.map(|theirs| foreign(theirs, self.shared.chain));
            view.trouble = Some(other.unwrap_or_else(|| reason.to_owned()));
        }
        if alone && matches!(contact.dial, Dial::Idle) {
            let own = *self.swarm.local_peer_id();
            contact.dial_later(own);
        }
    }

    fn on_refused(&self, from: &Multiaddr, peer: Option<PeerId>, error: &ListenError) {
        let counters = &self.shared.counters;
        if let ListenError::Denied { cause } = error
            && cause.downcast_ref::<allow_block_list::NotAllowed>().is_some()
        {
            counters.refused.add(1);
        } else {
            counters.handshakes_failed.add(1);
        }
        // Not louder: a stranger must not be able to fill the log. The counters tell.
        debug!(%from, ?peer, %error, "inbound connection refused");
    }

    // Reaching peers

    fn next_due(&self) -> Instant {
        let contacts = self.contacts.values().flat_map(|contact| {
            let dial = match contact.dial {
                Dial::At(time) | Dial::ShutOut(time) => Some(time),
                Dial::Idle | Dial::Busy => None,
            };
            let mention = contact.link.is_none().then_some(contact.mention_at);
            dial.into_iter().chain(mention)
        });
        let deadlines = self.connections.values().map(|connection| connection.deadline);
        contacts.chain(deadlines).min().unwrap_or_else(|| Instant::now() + REMIND)
    }

    fn on_due(&mut self, now: Instant) {
        let late: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.on_deadline(id, now);
        }
        let own = *self.swarm.local_peer_id();
        for (id, contact) in &mut self.contacts {
            if contact.link.is_none() && contact.mention_at <= now {
                contact.mention_at = now + REMIND;
                contact.mention();
            }
            match contact.dial {
                Dial::ShutOut(end) if end <= now => {
                    self.swarm.behaviour_mut().allowed.allow_peer(*id);
                    contact.failures = 0;
                    contact.dial_later(own);
                }
                Dial::At(time) if time <= now => {
                    let Some(address) = contact.state.view().address.clone() else {
                        contact.dial = Dial::Idle;
                        continue;
                    };
                    contact.dial = Dial::Busy;
                    let id = *id;
                    self.lookups.spawn(async move { (id, look_up(&address).await) });
                }
                Dial::Idle | Dial::At(_) | Dial::Busy | Dial::ShutOut(_) => {}
            }
        }
    }

    fn on_looked_up(&mut self, peer: PeerId, found: io::Result<Vec<SocketAddr>>) {
        let Some(contact) = self.contacts.get(&peer) else {
            return;
        };
        if !matches!(contact.dial, Dial::Busy) {
            return; // the peer came to us, or is shut out
        }
        let addresses = match found {
            Ok(found) => found.into_iter().map(multiaddress).collect(),
            Err(error) => return self.on_dial_failed(peer, format!("looking up: {error}")),
        };
        let dial = DialOpts::peer_id(peer)
            // This task knows better than libp2p, which still counts connections that were given up.
            .condition(PeerCondition::Always)
            .addresses(addresses)
            // The listening port would clash with connections of a former life.
            .allocate_new_port()
            .build();
        if let Err(error) = self.swarm.dial(dial) {
            self.on_dial_failed(peer, explain(&error));
        }
    }

    fn on_dial_failed(&mut self, peer: PeerId, error: String) {
        self.shared.counters.dials_failed.add(1);
        let own = *self.swarm.local_peer_id();
        let Some(contact) = self.contacts.get_mut(&peer) else {
            return;
        };
        debug!(peer = %contact.state.index, error, "dialing failed");
        if contact.link.is_none() {
            contact.state.view().trouble = Some(error);
        }
        if matches!(contact.dial, Dial::Busy) {
            contact.dial_later(own);
        }
    }

    // Who may connect

    fn violation(&mut self, peer: PeerId, offence: Offence, reason: &str) {
        self.shared.counters.violations.add(1);
        if let Some(contact) = self.contacts.get(&peer) {
            contact.state.note(offence);
        }
        self.shut_out(peer, reason);
    }

    fn punish(&mut self) {
        let condemned = {
            let condemned = self.shared.condemned.lock();
            std::mem::take(&mut *condemned.unwrap_or_else(PoisonError::into_inner))
        };
        for (peer, reason) in condemned {
            self.shut_out(peer, &reason);
        }
    }

    fn shut_out(&mut self, peer: PeerId, reason: &str) {
        let Some(contact) = self.contacts.get_mut(&peer) else {
            return;
        };
        let penalty = self.shared.limits.penalty;
        warn!(peer = %contact.state.index, reason, penalty_ms = penalty.as_millis(), "peer shut out");
        contact.dial = Dial::ShutOut(Instant::now() + penalty);
        let state = contact.state.clone();
        self.turn_away(peer, reason);
        self.shared.counters.penalties.add(1);
        state.note_penalty();
    }

    /// Closes a peer's connections and lets it make no new one.
    fn turn_away(&mut self, peer: PeerId, reason: &str) {
        self.swarm.behaviour_mut().allowed.disallow_peer(peer);
        let connections: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.peer == peer)
            .map(|(id, _)| *id)
            .collect();
        for id in connections {
            self.give_up(id, reason);
        }
    }

    fn set_peers(&mut self, wanted: &[Peer]) {
        let wanted: BTreeMap<PeerId, &Peer> =
            wanted.iter().filter_map(|peer| Some((peer_id(&peer.key).ok()?, peer))).collect();
        let leaving: Vec<_> = self
            .contacts
            .iter()
            .filter(|(id, contact)| wanted.get(id).is_none_or(|peer| peer.index != contact.state.index))
            .map(|(id, contact)| (*id, contact.state.index))
            .collect();
        for (id, index) in leaving {
            // First, so that nothing arrives under the old number any more.
            self.shared.inbox.remove(id);
            self.directory().remove(&index);
            self.turn_away(id, "no longer a peer");
            self.contacts.remove(&id);
        }
        let own = *self.swarm.local_peer_id();
        let now = Instant::now();
        for (id, peer) in wanted {
            let contact = self.contacts.entry(id).or_insert_with(|| {
                let limits = &self.shared.limits.classes;
                let state = Arc::new(PeerState::new(peer, id, limits));
                self.shared.inbox.admit(id, peer.index);
                self.swarm.behaviour_mut().allowed.allow_peer(id);
                Contact {
                    state,
                    dial: Dial::Idle,
                    failures: 0,
                    link: None,
                    down_since: now,
                    mention_at: now + MENTION,
                }
            });
            contact.state.view().address.clone_from(&peer.address);
            let connected = self.connections.values().any(|other| other.peer == id);
            if matches!(contact.dial, Dial::Idle) && !connected {
                contact.dial_later(own);
            }
            let state = Arc::clone(&contact.state);
            self.directory().insert(peer.index, state);
        }
    }

    fn directory(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<super::PeerIndex, Arc<PeerState>>> {
        let peers = self.shared.peers.write();
        peers.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact {
    /// Plans the next dial: capped back-off, the lesser key first, peers spread.
    fn dial_later(&mut self, own: PeerId) {
        if self.state.view().address.is_none() {
            self.dial = Dial::Idle;
            return;
        }
        let back_off = REDIAL_MIN.saturating_mul(1 << self.failures.min(10)).min(REDIAL_MAX);
        let head_start = if own < self.state.id { Duration::ZERO } else { HEAD_START };
        let spread = SPREAD.saturating_mul(u32::from(self.state.index.0 % 16));
        self.failures = self.failures.saturating_add(1);
        self.dial = Dial::At(Instant::now() + back_off + head_start + spread);
    }

    /// Says what is awaited.
    fn mention(&self) {
        let view = self.state.view();
        info!(
            peer = %self.state.index,
            address = view.address.as_ref().map_or_else(|| "unknown, waiting to be dialed".to_owned(), ToString::to_string),
            down_s = self.down_since.elapsed().as_secs(),
            attempts = self.failures,
            trouble = view.trouble.as_deref().unwrap_or("no answer yet"),
            "waiting for peer"
        );
    }
}

fn multiaddress(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(multiaddr::Protocol::Tcp(address.port()))
}

/// Why there is no link to a peer with another genesis, in a line that an operator can act on.
fn foreign(theirs: ChainId, own: ChainId) -> String {
    format!("it belongs to chain {theirs}, this node to {own}: compare the genesis files")
}

/// A dial's failure in a line that an operator can act on.
fn explain(error: &DialError) -> String {
    if let DialError::WrongPeerId { address, .. } = error {
        format!("{address} answers with another network key: check its address and key")
    } else if let DialError::Transport(errors) = error
        && let Some((address, TransportError::Other(cause))) = errors.first()
    {
        format!("{address}: {cause}")
    } else {
        error.to_string()
    }
}
