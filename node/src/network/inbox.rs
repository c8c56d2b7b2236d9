//! What the peers have sent and the node has not yet taken.
//!
//! One bounded lane per peer and class. A full lane stops the reading of that one stream, so the sender's socket fills and
//! nobody else's does. Lanes take turns, one frame each; consensus lanes have [`URGENT_TURNS`] turns for each turn of the
//! others, so that a vote does not wait for everybody's batches and batches do not starve under votes.
//!
//! A frame's peer is the key that the connection was authenticated with: lanes are kept by that key and closed with it, so a
//! frame cannot be taken for another peer's even while the membership changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use epione_types::ChainId;
use libp2p::{PeerId, swarm::ConnectionId};
use tokio::sync::Notify;

use super::{Class, ClassLimits, Event, PeerIndex, PerClass};

/// Frames of consensus lanes served between two frames of other lanes, when both wait.
const URGENT_TURNS: u32 = 8;

/// A frame did not go into its lane.
enum Refused {
    /// No room: here it is back, with what tells when to try again.
    Full(Bytes, Arc<Notify>),
    /// The peer was removed.
    Removed,
}

pub(super) struct Inbox {
    limits: PerClass<ClassLimits>,
    state: Mutex<State>,
    /// Wakes the one consumer.
    ready: Notify,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<PeerId, Lanes>,
    /// Peers whose link is not the announced one, or of whom there is something else to say, each at most once.
    changed: VecDeque<PeerId>,
    /// Consensus lanes that hold frames, each once, in order of their turns.
    urgent: VecDeque<PeerId>,
    /// The other lanes that hold frames.
    others: VecDeque<(PeerId, Class)>,
    urgent_streak: u32,
    closed: bool,
}

struct Lanes {
    index: PeerIndex,
    lanes: PerClass<Lane>,
    link: Option<ConnectionId>,
    announced: Option<ConnectionId>,
    /// The other chain that it belongs to, until that is announced.
    other_chain: Option<ChainId>,
    in_changed: bool,
    /// Removed from the peers; forgotten once its disconnection is announced.
    removed: bool,
}

#[derive(Default)]
struct Lane {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Wakes the readers that wait for room.
    room: Arc<Notify>,
}

impl Inbox {
    pub(super) fn new(limits: PerClass<ClassLimits>) -> Self {
        Self { limits, state: Mutex::default(), ready: Notify::new() }
    }

    /// Opens lanes for a peer.
    pub(super) fn admit(&self, peer: PeerId, index: PeerIndex) {
        let mut state = self.state();
        let lanes = state.peers.entry(peer).or_insert_with(|| Lanes {
            index,
            lanes: PerClass::from_fn(|_| Lane::default()),
            link: None,
            announced: None,
            other_chain: None,
            in_changed: false,
            removed: false,
        });
        lanes.removed = false;
        lanes.index = index;
    }

    /// Closes a peer's lanes and throws away what is in them.
    pub(super) fn remove(&self, peer: PeerId) {
        self.set_link(peer, None);
        let mut state = self.state();
        let State { peers, urgent, others, .. } = &mut *state;
        let Some(lanes) = peers.get_mut(&peer) else {
            return;
        };
        lanes.other_chain = None;
        for class in Class::ALL {
            let lane = lanes.lanes.get_mut(class);
            lane.frames.clear();
            lane.bytes = 0;
            lane.room.notify_waiters();
        }
        urgent.retain(|waiting| *waiting != peer);
        others.retain(|(waiting, _)| *waiting != peer);
        if lanes.in_changed {
            lanes.removed = true;
        } else {
            peers.remove(&peer);
        }
    }

    /// Notes the link that a peer has now; the consumer hears of it before the frames that come by it.
    pub(super) fn set_link(&self, peer: PeerId, link: Option<ConnectionId>) {
        let mut state = self.state();
        let Some(lanes) = state.peers.get_mut(&peer) else {
            return;
        };
        lanes.link = link;
        if lanes.announced != link && !std::mem::replace(&mut lanes.in_changed, true) {
            state.changed.push_back(peer);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Notes that a peer belongs to another chain; the consumer hears of it once.
    pub(super) fn other_chain(&self, peer: PeerId, chain: ChainId) {
        let mut state = self.state();
        let Some(lanes) = state.peers.get_mut(&peer) else {
            return;
        };
        lanes.other_chain = Some(chain);
        if !std::mem::replace(&mut lanes.in_changed, true) {
            state.changed.push_back(peer);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Puts a frame into its lane, waiting for room. `false`: the peer was removed.
    pub(super) async fn push(&self, peer: PeerId, class: Class, mut frame: Bytes) -> bool {
        loop {
            match self.try_push(peer, class, frame) {
                Ok(()) => return true,
                Err(Refused::Removed) => return false,
                Err(Refused::Full(back, room)) => {
                    frame = back;
                    room.notified().await;
                }
            }
        }
    }

    fn try_push(&self, peer: PeerId, class: Class, frame: Bytes) -> Result<(), Refused> {
        let limits = self.limits.get(class);
        let mut state = self.state();
        let lanes = state.peers.get_mut(&peer);
        let lanes = lanes.filter(|lanes| !lanes.removed).ok_or(Refused::Removed)?;
        let lane = lanes.lanes.get_mut(class);
        let was_empty = lane.frames.is_empty();
        let fits =
            lane.frames.len() < limits.queue_frames_max && lane.bytes + frame.len() <= limits.queue_bytes_max;
        if !fits && !was_empty {
            return Err(Refused::Full(frame, Arc::clone(&lane.room)));
        }
        lane.bytes += frame.len();
        lane.frames.push_back(frame);
        if was_empty {
            state.enqueue(peer, class);
        }
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// The next event, if there is one.
    pub(super) fn pop(&self) -> Option<Event> {
        let mut state = self.state();
        if let Some(event) = state.pop_changed() {
            return Some(event);
        }
        let urgent_first = state.others.is_empty() || state.urgent_streak < URGENT_TURNS;
        let turn = match state.urgent.front() {
            Some(&peer) if urgent_first => {
                state.urgent_streak = state.urgent_streak.saturating_add(1);
                state.urgent.pop_front();
                (peer, Class::Consensus)
            }
            _ => {
                state.urgent_streak = 0;
                state.others.pop_front()?
            }
        };
        state.pop_frame(turn)
    }

    /// The next event; `None` once the network has stopped and everything was taken.
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            if let Some(event) = self.pop() {
                return Some(event);
            }
            if self.state().closed {
                return None;
            }
            self.ready.notified().await;
        }
    }

    /// No event will follow.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_one();
    }

    /// Bytes that wait in a peer's lanes.
    pub(super) fn queued_bytes(&self, peer: PeerId) -> PerClass<usize> {
        let state = self.state();
        PerClass::from_fn(|class| state.peers.get(&peer).map_or(0, |lanes| lanes.lanes.get(class).bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One step from the announced link of a peer towards the one it has: however often it changed in between, the consumer
    /// hears of one end and one beginning.
    fn pop_changed(&mut self) -> Option<Event> {
        loop {
            let peer = *self.changed.front()?;
            let Some(lanes) = self.peers.get_mut(&peer) else {
                self.changed.pop_front();
                continue;
            };
            let index = lanes.index;
            if let Some(chain) = lanes.other_chain.take() {
                return Some(Event::OtherChain { peer: index, chain });
            }
            if lanes.announced == lanes.link {
                lanes.in_changed = false;
                if lanes.removed {
                    self.peers.remove(&peer);
                }
                self.changed.pop_front();
            } else if lanes.announced.take().is_some() {
                return Some(Event::Disconnected(index));
            } else {
                lanes.announced = lanes.link;
                return Some(Event::Connected(index));
            }
        }
    }

    fn pop_frame(&mut self, (peer, class): (PeerId, Class)) -> Option<Event> {
        let lanes = self.peers.get_mut(&peer)?;
        let lane = lanes.lanes.get_mut(class);
        let bytes = lane.frames.pop_front()?;
        lane.bytes -= bytes.len();
        // A permit is kept for a reader that is just about to wait.
        lane.room.notify_one();
        let event = Event::Frame { peer: lanes.index, class, bytes };
        if !lane.frames.is_empty() {
            self.enqueue(peer, class);
        }
        Some(event)
    }

    /// Gives a lane that holds frames its next turn.
    fn enqueue(&mut self, peer: PeerId, class: Class) {
        match class {
            Class::Consensus => self.urgent.push_back(peer),
            Class::Bulk | Class::Sync => self.others.push_back((peer, class)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LIMITS: ClassLimits =
        ClassLimits { frame_bytes_max: 100, queue_bytes_max: 100, queue_frames_max: 50 };

    fn inbox(peers: &[(PeerId, u16)]) -> Inbox {
        let inbox = Inbox::new(PerClass::from_fn(|_| LIMITS));
        for (id, index) in peers {
            inbox.admit(*id, PeerIndex(*index));
        }
        inbox
    }

    fn put(inbox: &Inbox, peer: PeerId, class: Class, size: usize) -> Option<bool> {
        inbox.push(peer, class, vec![0; size].into()).now_or_never()
    }

    fn drain(inbox: &Inbox) -> Vec<(u16, Class)> {
        std::iter::from_fn(|| inbox.pop())
            .map(|event| match event {
                Event::Frame { peer, class, .. } => (peer.0, class),
                Event::Connected(_) | Event::Disconnected(_) | Event::OtherChain { .. } => {
                    panic!("{event:?}")
                }
            })
            .collect()
    }

    #[test]
    fn peers_take_turns_whatever_one_of_them_sends() {
        for class in Class::ALL {
            let (flooder, other) = (PeerId::random(), PeerId::random());
            let inbox = inbox(&[(flooder, 1), (other, 2)]);
            for _ in 0..50 {
                assert_eq!(put(&inbox, flooder, class, 1), Some(true));
            }
            put(&inbox, other, class, 1);
            put(&inbox, other, class, 1);
            assert_eq!(drain(&inbox)[..4], [1, 2, 1, 2].map(|peer| (peer, class)));
        }
    }

    #[test]
    fn votes_go_first_but_not_for_ever() {
        let peer = PeerId::random();
        let inbox = inbox(&[(peer, 1)]);
        for _ in 0..20 {
            put(&inbox, peer, Class::Bulk, 1);
            put(&inbox, peer, Class::Consensus, 1);
        }
        let order = drain(&inbox);
        let turns = usize::try_from(URGENT_TURNS).unwrap();
        assert!(order[..turns].iter().all(|f| f.1 == Class::Consensus));
        assert_eq!(order[turns].1, Class::Bulk);
        assert_eq!(order[turns + 1].1, Class::Consensus);
        assert_eq!(order.len(), 40);
    }

    #[test]
    fn that_a_peer_is_of_another_chain_is_said_once_and_of_nobody_else() {
        let (old, new, chain) = (PeerId::random(), PeerId::random(), ChainId([4; 32]));
        let inbox = inbox(&[(old, 1)]);
        inbox.other_chain(old, chain);
        inbox.other_chain(old, chain);
        assert_eq!(inbox.pop(), Some(Event::OtherChain { peer: PeerIndex(1), chain }));
        assert_eq!(inbox.pop(), None);
        inbox.other_chain(old, chain);
        inbox.set_link(old, Some(ConnectionId::new_unchecked(1)));
        assert_eq!(inbox.pop(), Some(Event::OtherChain { peer: PeerIndex(1), chain }));
        assert_eq!(inbox.pop(), Some(Event::Connected(PeerIndex(1))));
        // The number goes to another key before it was said.
        inbox.other_chain(old, chain);
        inbox.remove(old);
        inbox.admit(new, PeerIndex(1));
        assert_eq!(inbox.pop(), Some(Event::Disconnected(PeerIndex(1))));
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn a_full_lane_waits_for_room_and_the_others_do_not() {
        let (full, other) = (PeerId::random(), PeerId::random());
        let inbox = inbox(&[(full, 1), (other, 2)]);
        assert_eq!(put(&inbox, full, Class::Bulk, 60), Some(true));
        let mut waiting = Box::pin(inbox.push(full, Class::Bulk, vec![0; 60].into()));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(put(&inbox, full, Class::Consensus, 60), Some(true));
        assert_eq!(put(&inbox, other, Class::Bulk, 60), Some(true));
        assert_eq!(*inbox.queued_bytes(full).get(Class::Bulk), 60);
        assert_eq!(drain(&inbox).len(), 3);
        assert_eq!((&mut waiting).now_or_never(), Some(true));
    }

    #[test]
    fn a_removed_peers_frames_are_gone_and_none_follows() {
        let (old, new) = (PeerId::random(), PeerId::random());
        let inbox = inbox(&[(old, 1)]);
        inbox.set_link(old, Some(ConnectionId::new_unchecked(1)));
        assert_eq!(inbox.pop(), Some(Event::Connected(PeerIndex(1))));
        put(&inbox, old, Class::Bulk, 60);
        let mut waiting = Box::pin(inbox.push(old, Class::Bulk, vec![0; 60].into()));
        assert!((&mut waiting).now_or_never().is_none());
        inbox.remove(old);
        // The number goes to another key: nothing of the old one may appear under it.
        inbox.admit(new, PeerIndex(1));
        inbox.set_link(new, Some(ConnectionId::new_unchecked(2)));
        assert_eq!((&mut waiting).now_or_never(), Some(false));
        assert_eq!(put(&inbox, old, Class::Consensus, 1), Some(false));
        assert_eq!(inbox.pop(), Some(Event::Disconnected(PeerIndex(1))));
        assert_eq!(inbox.pop(), Some(Event::Connected(PeerIndex(1))));
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn a_flapping_peer_costs_two_events_however_often_it_flaps() {
        let peer = PeerId::random();
        let inbox = inbox(&[(peer, 1)]);
        inbox.set_link(peer, Some(ConnectionId::new_unchecked(0)));
        assert_eq!(inbox.pop(), Some(Event::Connected(PeerIndex(1))));
        for link in 1..1000 {
            inbox.set_link(peer, None);
            inbox.set_link(peer, Some(ConnectionId::new_unchecked(link)));
        }
        assert_eq!(inbox.pop(), Some(Event::Disconnected(PeerIndex(1))));
        assert_eq!(inbox.pop(), Some(Event::Connected(PeerIndex(1))));
        assert_eq!(inbox.pop(), None);
        inbox.set_link(peer, None);
        assert_eq!(inbox.pop(), Some(Event::Disconnected(PeerIndex(1))));
        assert_eq!(inbox.pop(), None);
    }
}
