//! What is known of one peer, for the senders, the tasks and the operator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use epione_types::ChainId;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use super::{
    Address, Class, ClassLimits, Counter, Peer, PeerIndex, PerClass,
    inbox::Inbox,
    outbox::{NoLink, Outbox},
};
use crate::conduct::Offence;

pub(super) struct PeerState {
    pub(super) index: PeerIndex,
    pub(super) id: PeerId,
    pub(super) key: [u8; 32],
    pub(super) outboxes: PerClass<Outbox>,
    pub(super) traffic: PerClass<Traffic>,
    pub(super) view: Mutex<View>,
}

/// Frames and payload bytes that crossed a class's streams.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) frames_in: Counter,
    pub(super) bytes_in: Counter,
    pub(super) frames_out: Counter,
    pub(super) bytes_out: Counter,
}

/// What an operator sees of a peer's connection.
#[derive(Default)]
pub(super) struct View {
    pub(super) address: Option<Address>,
    pub(super) link: Option<(Multiaddr, Instant)>,
    pub(super) rtt: Option<Duration>,
    pub(super) trouble: Option<String>,
    /// The chain that it said it belongs to, since there was a link last.
    pub(super) other_chain: Option<ChainId>,
    pub(super) offences: BTreeMap<Offence, u64>,
    pub(super) penalties: u64,
}

impl PeerState {
    pub(super) fn new(peer: &Peer, id: PeerId, limits: &PerClass<ClassLimits>) -> Self {
        Self {
            index: peer.index,
            id,
            key: peer.key,
            outboxes: PerClass::from_fn(|class| Outbox::new(*limits.get(class))),
            traffic: PerClass::default(),
            view: Mutex::default(),
        }
    }

    pub(super) fn send(&self, class: Class, frame: Bytes) -> Result<(), NoLink> {
        self.outboxes.get(class).push(frame)
    }

    /// Names the link that is written to from now on.
    pub(super) fn set_link(&self, link: Option<(ConnectionId, Multiaddr)>) {
        let mut view = self.view();
        view.rtt = None;
        let (connection, remote) = link.unzip();
        view.link = remote.map(|remote| (remote, Instant::now()));
        if connection.is_some() {
            (view.trouble, view.other_chain) = (None, None);
        }
        drop(view);
        for class in Class::ALL {
            self.outboxes.get(class).set_link(connection);
        }
    }

    /// Counts what the framing proves against the peer.
    pub(super) fn note(&self, offence: Offence) {
        let mut view = self.view();
        let count = view.offences.entry(offence).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts a time that the peer was shut out.
    pub(super) fn note_penalty(&self) {
        let mut view = self.view();
        view.penalties = view.penalties.saturating_add(1);
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, inbox: &Inbox) -> PeerStatus {
        let waiting = inbox.queued_bytes(self.id);
        let view = self.view();
        PeerStatus {
            index: self.index,
            key: self.key,
            address: view.address.clone(),
            link: view.link.as_ref().map(|(remote, since)| LinkStatus {
                remote: remote.to_string(),
                age: since.elapsed(),
                rtt: view.rtt,
            }),
            trouble: view.trouble.clone(),
            offences: view.offences.clone(),
            penalties: view.penalties,
            classes: PerClass::from_fn(|class| {
                let (outbox, traffic) = (self.outboxes.get(class), self.traffic.get(class));
                ClassStatus {
                    queued_out_bytes: outbox.queued_bytes(),
                    queued_in_bytes: *waiting.get(class),
                    dropped: outbox.dropped.get(),
                    frames_in: traffic.frames_in.get(),
                    bytes_in: traffic.bytes_in.get(),
                    frames_out: traffic.frames_out.get(),
                    bytes_out: traffic.bytes_out.get(),
                }
            }),
        }
    }
}

/// How things stand with a peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Its number.
    pub index: PeerIndex,
    /// Its network key.
    pub key: [u8; 32],
    /// Where it is dialed, if that is known.
    pub address: Option<Address>,
    /// The link to it, if there is one.
    pub link: Option<LinkStatus>,
    /// Why there is none, or was none last.
    pub trouble: Option<String>,
    /// Offences against the framing, and how often; those of its frames are the driver's to count.
    pub offences: BTreeMap<Offence, u64>,
    /// How often it was shut out, for these or through [`super::Network::disconnect`].
    pub penalties: u64,
    /// Queues and traffic.
    pub classes: PerClass<ClassStatus>,
}

/// The link to a peer.
#[derive(Debug, Clone)]
pub struct LinkStatus {
    /// The remote end, as a multiaddress.
    pub remote: String,
    /// How long it has been up.
    pub age: Duration,
    /// The round-trip time of the last ping, once there was one.
    pub rtt: Option<Duration>,
}

/// Queues and traffic of one class with one peer, since the peer was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassStatus {
    /// Bytes that wait to be sent.
    pub queued_out_bytes: usize,
    /// Bytes that arrived and wait for the consumer.
    pub queued_in_bytes: usize,
    /// Frames that were dropped unsent: the queue was full, or there was no link.
    pub dropped: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Frames handed to the stream.
    pub frames_out: u64,
    /// Payload bytes handed to the stream.
    pub bytes_out: u64,
}
