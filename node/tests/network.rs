//! The peer transport over loopback: order, bounds, fairness, strangers, hostile peers, and getting back together.
//!
//! Hostile peers are raw `libp2p_stream` swarms, so that they can say what `Network` never would. Nothing here depends on
//! how long something takes: each wait is for a condition, and gives up only after [`PATIENCE`].
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/raw_peer.rs"]
mod raw_peer;

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use epione_node::conduct::Offence;
use epione_node::network::{
    Class, ClassLimits, ClassStatus, Config, Event, Inbound, Limits, Network, Peer, PeerIndex, PeerStatus,
    PeersError, PerClass, SendError, StartError, public_key,
};
use epione_types::ChainId;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::try_join_all};
use proptest::prelude::*;
use raw_peer::{RawListener, RawPeer, stream_of, write_frame};
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const CHAIN: ChainId = ChainId([3; 32]);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

// Helpers

fn seed(index: u16) -> [u8; 32] {
    let [high, low] = index.to_be_bytes();
    let mut seed = [7; 32];
    (seed[0], seed[1]) = (high, low);
    seed
}

fn peer(index: u16, address: Option<SocketAddr>) -> Peer {
    Peer { index: PeerIndex(index), key: public_key(seed(index)), address: address.map(Into::into) }
}

/// The peer of this index, in hostile hands.
fn dial(index: u16, node: &Network) -> RawPeer {
    RawPeer::dial(seed(index), node.key(), node.listen_address())
}

fn small_queues() -> Limits {
    let class =
        ClassLimits { frame_bytes_max: 64 * 1024, queue_bytes_max: 256 * 1024, queue_frames_max: 100 };
    Limits {
        classes: PerClass::from_fn(|_| class),
        // The raw peers answer no pings.
        silence_max: PATIENCE * 2,
        ..Limits::default()
    }
}

async fn start_at(
    listen: SocketAddr,
    index: u16,
    peers: Vec<Peer>,
    limits: Limits,
) -> Result<(Network, Inbound), StartError> {
    Network::start(Config { seed: seed(index), chain: CHAIN, listen, peers, limits }).await
}

async fn start(index: u16, peers: Vec<Peer>, limits: Limits) -> (Network, Inbound) {
    start_at(ANY_PORT, index, peers, limits).await.unwrap()
}

/// Nodes 0..n that know one another; each dials those with a lesser index only, so that each pair has exactly one link.
async fn mesh(n: u16, limits: &Limits) -> Vec<(Network, Inbound)> {
    let mut nodes: Vec<(Network, Inbound)> = Vec::new();
    for index in 0..n {
        let peers = (0..n)
            .filter(|other| *other != index)
            .map(|other| {
                let listening = nodes.get(usize::from(other));
                peer(other, listening.map(|(node, _)| node.listen_address()))
            })
            .collect();
        nodes.push(start(index, peers, limits.clone()).await);
    }
    for (_, inbound) in &mut nodes {
        for _ in 1..n {
            assert!(matches!(next(inbound).await, Event::Connected(_)));
        }
    }
    nodes
}

async fn next(inbound: &mut Inbound) -> Event {
    let event = timeout(PATIENCE, inbound.recv()).await;
    event.expect("an event in time").expect("a running network")
}

async fn next_frame(inbound: &mut Inbound) -> (u16, Class, Bytes) {
    loop {
        if let Event::Frame { peer, class, bytes } = next(inbound).await {
            return (peer.0, class, bytes);
        }
    }
}

/// Waits until the condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        let mut ticks = interval(Duration::from_millis(2));
        while !holds() {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

fn status(node: &Network, peer: u16) -> PeerStatus {
    let peers = node.peers();
    peers.into_iter().find(|status| status.index.0 == peer).unwrap()
}

fn class_status(node: &Network, peer: u16, class: Class) -> ClassStatus {
    *status(node, peer).classes.get(class)
}

// Frames

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_exchange_every_class_in_order() {
    const FRAMES: u16 = 200;
    // A machine so busy that a ping takes seconds is no dead peer.
    let limits = Limits { silence_max: PATIENCE * 2, ..Limits::default() };
    let mut nodes = mesh(4, &limits).await;
    for (node, _) in &nodes {
        for number in 0..FRAMES {
            for class in Class::ALL {
                let mut frame = number.to_be_bytes().to_vec();
                frame.resize(2 + usize::from(number) * 200, 1);
                assert_eq!(node.broadcast(class, &frame.into()), Ok(3));
            }
        }
    }
    for (index, (node, inbound)) in nodes.iter_mut().enumerate() {
        let mut expected = BTreeMap::new();
        for _ in 0..FRAMES * 3 * 3 {
            let (peer, class, frame) = next_frame(inbound).await;
            assert_ne!(usize::from(peer), index);
            let expected = expected.entry((peer, class)).or_insert(0_u16);
            assert_eq!(frame[..2], expected.to_be_bytes());
            assert_eq!(frame.len(), 2 + usize::from(*expected) * 200);
            *expected += 1;
        }
        assert_eq!(expected.len(), 9);
        for status in node.peers() {
            for class in Class::ALL {
                let class = status.classes.get(class);
                assert_eq!((class.dropped, class.frames_in), (0, u64::from(FRAMES)));
            }
        }
    }
}

/// libp2p issue 5410: a yamux stream written to from both ends at once must not deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_cross_on_one_stream() {
    const MIB: usize = 1024 * 1024;
    let mut limits = Limits { silence_max: PATIENCE * 2, ..Limits::default() };
    limits.classes.bulk.queue_bytes_max = 64 * MIB;
    let mut nodes = mesh(2, &limits).await;
    for (node, _) in &nodes {
        for number in 0..64 {
            node.broadcast(Class::Bulk, &vec![number; MIB].into()).unwrap();
        }
    }
    let receivers = nodes.iter_mut().map(|(_, inbound)| async {
        for number in 0..64 {
            let (_, _, frame) = next_frame(inbound).await;
            assert_eq!(frame, vec![number; MIB]);
        }
        Ok::<_, ()>(())
    });
    try_join_all(receivers).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    let limits = small_queues();
    let (node, _inbound) = start(0, vec![peer(1, None)], limits).await;
    until("the peers are known", || node.peers().len() == 1).await;
    let one = Bytes::from_static(&[1]);
    let send = |peer, frame| node.send(PeerIndex(peer), Class::Bulk, frame);
    assert_eq!(send(1, one.clone()), Err(SendError::NotConnected(PeerIndex(1))));
    assert_eq!(send(7, one), Err(SendError::UnknownPeer(PeerIndex(7))));
    for length in [0, 64 * 1024 + 1] {
        let refused = SendError::Length { class: Class::Bulk, length, max: 64 * 1024 };
        assert_eq!(send(1, vec![0; length].into()), Err(refused));
        assert_eq!(node.broadcast(Class::Bulk, &vec![0; length].into()), Err(refused));
    }
}

// Strangers and hostile peers

#[tokio::test]
async fn a_stranger_is_refused() {
    let (node, mut inbound) = start(0, vec![peer(1, None)], Limits::default()).await;
    let address = node.listen_address();
    let (stranger, _stranger_inbound) = start(9, vec![peer(0, Some(address))], Limits::default()).await;
    until("the stranger tried several times", || node.counters().refused.get() >= 3).await;
    assert_eq!(stranger.counters().links.get(), 0);
    assert_eq!(node.counters().links.get(), 0);
    assert!(inbound.try_recv().is_none());
    let trouble = status(&stranger, 0).trouble.unwrap_or_default();
    assert!(trouble.contains("network key in the peer's list"), "{trouble}");
}

#[tokio::test]
async fn a_wrong_key_at_an_address_is_no_peer() {
    let (other, _other_inbound) = start(5, vec![peer(0, None)], Limits::default()).await;
    let address = other.listen_address();
    let (node, mut inbound) = start(0, vec![peer(1, Some(address))], Limits::default()).await;
    until("the trouble is named", || {
        node.peers().iter().any(|status| {
            let trouble = status.trouble.as_deref().unwrap_or_default();
            trouble.contains("another network key")
        })
    })
    .await;
    assert!(inbound.try_recv().is_none());
}

/// Both dial, and one's genesis is another: each says so, of the other, and neither has a link.
#[tokio::test]
async fn a_peer_of_another_chain_is_named_by_both_sides_and_linked_to_by_none() {
    let other = ChainId([4; 32]);
    let (node, mut inbound) = start(0, vec![peer(1, None)], Limits::default()).await;
    let config = |chain| Config {
        seed: seed(1),
        chain,
        listen: ANY_PORT,
        peers: vec![peer(0, Some(node.listen_address()))],
        limits: Limits::default(),
    };
    let (stranger, mut strangers) = Network::start(config(other)).await.unwrap();
    node.set_peers(vec![peer(1, Some(stranger.listen_address()))]).unwrap();
    assert_eq!(next(&mut inbound).await, Event::OtherChain { peer: PeerIndex(1), chain: other });
    assert_eq!(next(&mut strangers).await, Event::OtherChain { peer: PeerIndex(0), chain: CHAIN });
    let tried = |node: &Network, peer| status(node, peer).offences.get(&Offence::OtherChain).copied();
    until("they try again and again", || tried(&node, 1) >= Some(3) && tried(&stranger, 0) >= Some(3)).await;
    assert_eq!((inbound.try_recv(), strangers.try_recv()), (None, None), "said once");
    for (node, peer, theirs, own) in [(&node, 1, other, CHAIN), (&stranger, 0, CHAIN, other)] {
        assert_eq!((node.counters().links.get(), node.counters().penalties.get()), (0, 0));
        let trouble = status(node, peer).trouble.unwrap_or_default();
        let said = format!("it belongs to chain {theirs}, this node to {own}: compare the genesis files");
        assert_eq!(trouble, said);
    }
    // Started again with the right genesis, it is met as any other.
    stranger.shutdown().await;
    let (again, _again) = Network::start(config(CHAIN)).await.unwrap();
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
    assert_eq!(status(&node, 1).trouble, None);
    drop(again);
}

/// A node of before the chains were shown: it refuses that stream, and is linked to.
#[tokio::test]
async fn a_peer_that_does_not_know_the_question_for_its_chain_is_linked_to() {
    let mut old = RawListener::start(seed(1)).await;
    let (node, mut inbound) = start(0, vec![peer(1, Some(old.address))], small_queues()).await;
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
    let mut streams = timeout(PATIENCE, old.accept_all()).await.unwrap();
    write_frame(stream_of(&mut streams, Class::Sync), b"hello").await;
    assert_eq!(next_frame(&mut inbound).await, (1, Class::Sync, Bytes::from_static(b"hello")));
    assert_eq!(status(&node, 1).offences, BTreeMap::new());
}

#[tokio::test]
async fn a_frame_too_large_or_empty_shuts_its_sender_out() {
    for (class, declared) in [(Class::Bulk, u32::MAX), (Class::Consensus, 64 * 1024 + 1), (Class::Sync, 0)] {
        let limits = Limits { penalty: PATIENCE * 2, ..small_queues() };
        let (node, mut inbound) = start(0, vec![peer(1, None)], limits).await;
        let mut hostile = dial(1, &node);
        let mut streams = hostile.open_all().await.unwrap();
        assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));

        // The connection works, and what it sends carries its key's number.
        write_frame(&mut streams.sync, b"hello").await;
        let frame = next_frame(&mut inbound).await;
        assert_eq!(frame, (1, Class::Sync, Bytes::from_static(b"hello")));

        let stream = stream_of(&mut streams, class);
        stream.write_all(&declared.to_be_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(next(&mut inbound).await, Event::Disconnected(PeerIndex(1)));
        let ended = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
        assert_eq!(node.counters().violations.get(), 1);
        until("its penalty is counted", || status(&node, 1).penalties == 1).await;
        assert_eq!(status(&node, 1).offences, BTreeMap::from([(Offence::FrameLength, 1)]));
        assert_eq!(node.counters().penalties.get(), 1);

        // And it stays out.
        let mut again = dial(1, &node);
        assert!(again.open(Class::Bulk).await.is_err());
        until("the next try was refused", || node.counters().refused.get() == 1).await;
        assert_eq!(node.counters().links.get(), 1);
    }
}

#[tokio::test]
async fn a_stream_opened_twice_is_a_violation() {
    let (node, mut inbound) = start(0, vec![peer(1, None)], small_queues()).await;
    let mut hostile = dial(1, &node);
    let _streams = hostile.open_all().await.unwrap();
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
    let _second = hostile.open(Class::Bulk).await;
    assert_eq!(next(&mut inbound).await, Event::Disconnected(PeerIndex(1)));
    assert_eq!(node.counters().violations.get(), 1);
    assert_eq!(status(&node, 1).offences, BTreeMap::from([(Offence::StreamTwice, 1)]));
}

#[tokio::test]
async fn an_end_inside_a_frame_is_counted_and_an_end_between_frames_is_not() {
    for (sent, counted) in [(&[0, 0, 0, 100, 1, 2, 3][..], 1), (&[0, 0], 1), (&[0, 0, 0, 1, 9], 0)] {
        let (node, mut inbound) = start(0, vec![peer(1, None)], small_queues()).await;
        let mut hostile = dial(1, &node);
        let mut streams = hostile.open_all().await.unwrap();
        assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
        streams.bulk.write_all(sent).await.unwrap();
        streams.bulk.close().await.unwrap();
        loop {
            if next(&mut inbound).await == Event::Disconnected(PeerIndex(1)) {
                break;
            }
        }
        let offences = status(&node, 1).offences;
        assert_eq!(offences.get(&Offence::FrameTruncated).copied().unwrap_or_default(), counted, "{sent:?}");
        assert_eq!(node.counters().penalties.get(), 0, "it may just have died");
    }
}

#[tokio::test]
async fn an_unknown_stream_is_refused_and_the_link_stays() {
    let (node, mut inbound) = start(0, vec![peer(1, None)], small_queues()).await;
    let mut hostile = dial(1, &node);
    let mut streams = hostile.open_all().await.unwrap();
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
    for name in ["/epione/consensus/2", "/epione/gossip/1", "/meshsub/1.1.0"] {
        let unknown = hostile.open_named(name).await;
        assert!(
            matches!(unknown, Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))),
            "{unknown:?}"
        );
    }
    write_frame(&mut streams.consensus, b"still here").await;
    assert_eq!(next_frame(&mut inbound).await.2, "still here");
}

#[tokio::test]
async fn garbage_on_the_port_and_a_crowd_of_silent_sockets_harm_nobody() {
    let (other, _other_inbound) = start(1, vec![peer(0, None)], Limits::default()).await;
    let (node, mut inbound) = start(0, vec![peer(1, None)], Limits::default()).await;
    let mut sockets = Vec::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: epione\r\n\r\n"[..],
        &[0; 4096],
        &[0xff; 4096],
        b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff\xff\xff",
    ] {
        let mut socket = TcpStream::connect(node.listen_address()).unwrap();
        // May fail: the node may have hung up in the middle.
        let _ = socket.write_all(garbage);
        sockets.push(socket);
    }
    until("garbage was recognised", || node.counters().handshakes_failed.get() >= 3).await;
    // More than may be shaking hands at once; they say nothing and stay.
    for _ in 0..80 {
        sockets.push(TcpStream::connect(node.listen_address()).unwrap());
    }
    until("the crowd is too large", || node.counters().handshakes_failed.get() >= 10).await;
    // The node still reaches its peers by itself.
    node.set_peers(vec![peer(1, Some(other.listen_address()))]).unwrap();
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
}

/// What a stranger may say instead of a handshake: anything, and anything after a good beginning.
fn strangers_words() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    // Messages as multistream-select frames them, and as Noise does.
    let lines = prop::collection::vec(bytes(300), 0..6).prop_map(|list| {
        let line = |one: Vec<u8>| [&[u8::try_from(one.len() % 128).unwrap()][..], &one].concat();
        list.into_iter().flat_map(line).collect()
    });
    let noise = prop::collection::vec((any::<u16>(), bytes(400)), 0..6).prop_map(|list| {
        let message = |(length, one): (u16, Vec<u8>)| {
            let honest = u16::try_from(one.len()).unwrap();
            let length = if length % 3 == 0 { length } else { honest };
            [&length.to_be_bytes()[..], &one].concat()
        };
        list.into_iter().flat_map(message).collect()
    });
    const HELLO: &[u8] = b"\x13/multistream/1.0.0\n";
    const NOISE: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";
    let begun = prop_oneof![Just(&b""[..]), Just(HELLO), Just(NOISE)];
    (begun, prop_oneof![bytes(3_000).boxed(), lines.boxed(), noise.boxed()])
        .prop_map(|(begun, rest): (&[u8], Vec<u8>)| [begun, &rest].concat())
}

#[test]
fn any_handshake_is_one_or_is_turned_away() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (node, mut inbound) = runtime.block_on(start(0, vec![peer(1, None)], Limits::default()));
    let said = Cell::new(0);
    proptest!(ProptestConfig::with_cases(128), |(words in strangers_words())| {
        let mut socket = TcpStream::connect(node.listen_address()).unwrap();
        // May fail: the node may have hung up in the middle.
        let _ = socket.write_all(&words);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // Until it hangs up: whatever was said, one at a time leaves nothing behind.
        let mut answer = Vec::new();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = (&socket).take(64 * 1024).read_to_end(&mut answer);
        prop_assert!(answer.len() < 4_096, "{} bytes for a stranger", answer.len());
        let hangs = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        prop_assert!(!ended.is_err_and(|error| hangs(&error)));
        said.set(said.get() + 1);
    });
    runtime.block_on(async {
        until("each was counted", || node.counters().handshakes_failed.get() >= said.get()).await;
        assert_eq!((node.counters().links.get(), inbound.try_recv()), (0, None));
        let friend = start(1, vec![peer(0, Some(node.listen_address()))], Limits::default()).await;
        assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
        drop(friend);
    });
}

// Fairness

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_peer_does_not_delay_the_others() {
    let mut nodes = mesh(3, &small_queues()).await;
    let (flooder, _flooder_inbound) = nodes.remove(2);
    let (honest, _honest_inbound) = nodes.remove(1);
    let (node, mut inbound) = nodes.remove(0);
    let flood = tokio::spawn(async move {
        loop {
            for class in Class::ALL {
                flooder.send(PeerIndex(0), class, Bytes::from_static(&[2; 5000])).unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    // Its lanes are full: a frame more would not fit.
    for class in Class::ALL {
        until("the flood fills its lane", || class_status(&node, 2, class).queued_in_bytes > 250 * 1024)
            .await;
    }
    for class in Class::ALL {
        let frame = Bytes::from_static(b"honest");
        honest.send(PeerIndex(0), class, frame).unwrap();
        until("the honest frame arrived", || class_status(&node, 1, class).queued_in_bytes == 6).await;
    }
    let mut served = BTreeMap::new();
    for turn in 0..40 {
        let (peer, class, _) = next_frame(&mut inbound).await;
        if peer == 1 {
            served.insert(class, turn);
        }
    }
    // Two consensus lanes take turns; of the four others one has a turn after each eight of those.
    assert!(served[&Class::Consensus] <= 2, "{served:?}");
    assert!(served[&Class::Bulk] <= 36, "{served:?}");
    assert!(served[&Class::Sync] <= 36, "{served:?}");
    assert!(class_status(&node, 2, Class::Bulk).queued_in_bytes <= 256 * 1024);
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_costs_a_bounded_queue_and_nobody_else() {
    let peers = vec![peer(1, None), peer(2, None)];
    let (node, mut inbound) = start(0, peers, small_queues()).await;
    let address = node.listen_address();
    let (_reader, mut reader_inbound) = start(2, vec![peer(0, Some(address))], small_queues()).await;
    let mut deaf = dial(1, &node);
    let mut streams = deaf.open_all().await.unwrap();
    for _ in 0..2 {
        assert!(matches!(next(&mut inbound).await, Event::Connected(_)));
    }

    // The bulk stream is never read. yamux and the sockets take some megabytes, then the queue fills, then frames drop.
    let frame = Bytes::from(vec![1; 64 * 1024]);
    until("frames are dropped", || {
        node.send(PeerIndex(1), Class::Bulk, frame.clone()).unwrap();
        class_status(&node, 1, Class::Bulk).dropped >= 100
    })
    .await;
    let bulk = class_status(&node, 1, Class::Bulk);
    assert!(bulk.queued_out_bytes <= 256 * 1024, "{bulk:?}");

    // The other peer, and the other classes of the deaf one, go on.
    node.send(PeerIndex(2), Class::Bulk, frame.clone()).unwrap();
    assert_eq!(next_frame(&mut reader_inbound).await.2, frame);
    node.send(PeerIndex(1), Class::Consensus, Bytes::from_static(b"vote")).unwrap();
    let mut vote = [0; 8];
    timeout(PATIENCE, streams.consensus.read_exact(&mut vote)).await.unwrap().unwrap();
    assert_eq!(vote, *b"\0\0\0\x04vote");
    assert_eq!(class_status(&node, 2, Class::Bulk).dropped, 0);
}

// Coming and going

/// A node in its own thread and runtime, which can be frozen (SIGSTOP) and killed (SIGKILL).
struct Victim {
    orders: mpsc::Sender<Order>,
    address: SocketAddr,
}

enum Order {
    Freeze(mpsc::Receiver<()>),
    Die,
}

impl Victim {
    /// Waits to be dialed: whoever wants it back has to come.
    fn start(listen: SocketAddr, index: u16) -> Self {
        let (orders, todo) = mpsc::channel();
        let (started, address) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let running = runtime.block_on(async {
                let mut ticks = interval(Duration::from_millis(2));
                loop {
                    ticks.tick().await;
                    // The port may be held for a moment by the former life.
                    match start_at(listen, index, vec![peer(0, None)], Limits::default()).await {
                        Ok(running) => return running,
                        Err(StartError::Listen { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            started.send(running.0.listen_address()).unwrap();
            runtime.block_on(async {
                let mut ticks = interval(Duration::from_millis(2));
                loop {
                    ticks.tick().await;
                    match todo.try_recv() {
                        // Nothing runs in this runtime until the thread goes on.
                        Ok(Order::Freeze(thaw)) => thaw.recv().unwrap(),
                        Ok(Order::Die) | Err(mpsc::TryRecvError::Disconnected) => return,
                        Err(mpsc::TryRecvError::Empty) => {}
                    }
                }
            });
            // Dropped in the middle of everything, without `shutdown`.
            runtime.shutdown_background();
            drop(running);
        });
        let address = address.recv_timeout(PATIENCE).unwrap();
        Self { orders, address }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_peer_is_met_again_on_its_port() {
    let victim = Victim::start(ANY_PORT, 1);
    let peers = vec![peer(1, Some(victim.address))];
    let (node, mut inbound) = start(0, peers, Limits::default()).await;
    let mut address = victim.address;
    let mut victim = Some(victim);
    for _ in 0..3 {
        assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
        let victim_now = victim.take().unwrap();
        victim_now.orders.send(Order::Die).unwrap();
        assert_eq!(next(&mut inbound).await, Event::Disconnected(PeerIndex(1)));
        assert_eq!(
            node.send(PeerIndex(1), Class::Sync, Bytes::from_static(b"x")),
            Err(SendError::NotConnected(PeerIndex(1)))
        );
        let reborn = Victim::start(address, 1);
        assert_eq!(reborn.address, address);
        address = reborn.address;
        victim = Some(reborn);
    }
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
    assert!(status(&node, 1).trouble.is_none());
    assert_eq!(node.counters().links.get(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_is_noticed_blocks_nobody_and_is_met_again() {
    let limits = Limits { silence_max: Duration::from_secs(1), ..Limits::default() };
    let victim = Victim::start(ANY_PORT, 1);
    let peers = vec![peer(1, Some(victim.address)), peer(2, None)];
    let (node, mut inbound) = start(0, peers, limits).await;
    let address = node.listen_address();
    let (_other, mut other_inbound) = start(2, vec![peer(0, Some(address))], Limits::default()).await;
    for _ in 0..2 {
        assert!(matches!(next(&mut inbound).await, Event::Connected(_)));
    }
    let (thaw, frozen) = mpsc::channel();
    victim.orders.send(Order::Freeze(frozen)).unwrap();
    let frame = Bytes::from(vec![0; 64 * 1024]);
    until("the frozen peer is given up", || {
        let _ = node.send(PeerIndex(1), Class::Bulk, frame.clone());
        let _ = node.send(PeerIndex(2), Class::Bulk, frame.clone());
        while other_inbound.try_recv().is_some() {}
        status(&node, 1).link.is_none()
    })
    .await;
    assert!(node.counters().silences.get() >= 1);
    assert_eq!(next(&mut inbound).await, Event::Disconnected(PeerIndex(1)));
    thaw.send(()).unwrap();
    assert_eq!(next(&mut inbound).await, Event::Connected(PeerIndex(1)));
}

#[tokio::test]
async fn both_sides_may_dial_and_an_idle_link_stays() {
    let limits = Limits { silence_max: Duration::from_secs(2), ..Limits::default() };
    let (a, mut a_inbound) = start(0, vec![], limits.clone()).await;
    let (b, mut b_inbound) = start(1, vec![], limits).await;
    a.set_peers(vec![peer(1, Some(b.listen_address()))]).unwrap();
    b.set_peers(vec![peer(0, Some(a.listen_address()))]).unwrap();
    assert_eq!(next(&mut a_inbound).await, Event::Connected(PeerIndex(1)));
    assert_eq!(next(&mut b_inbound).await, Event::Connected(PeerIndex(0)));
    // Longer than the silence that is borne, in which pings are all there is.
    let old = |status: PeerStatus| {
        status.link.is_some_and(|link| link.rtt.is_some() && link.age > Duration::from_secs(5))
    };
    until("the link is old", || old(status(&a, 1)) && old(status(&b, 0))).await;
    for node in [&a, &b] {
        let links = node.counters().links.get();
        assert!((1..=2).contains(&links), "{links} links");
        assert_eq!(node.counters().silences.get(), 0);
    }
}

#[tokio::test]
async fn a_peer_reported_for_its_frames_is_shut_out_for_a_while() {
    let limits = Limits { penalty: Duration::from_millis(300), ..Limits::default() };
    let mut nodes = mesh(2, &limits).await;
    let (node, inbound) = &mut nodes[0];
    node.disconnect(PeerIndex(1), "100 invalid signatures");
    node.disconnect(PeerIndex(77), "no such peer");
    assert_eq!(next(inbound).await, Event::Disconnected(PeerIndex(1)));
    assert_eq!(status(node, 1).trouble.as_deref(), Some("100 invalid signatures"));
    assert_eq!(next(inbound).await, Event::Connected(PeerIndex(1)));
    assert_eq!(node.counters().penalties.get(), 1);
}

#[tokio::test]
async fn peers_can_be_replaced_while_running() {
    let mut nodes = mesh(3, &Limits::default()).await;
    let (others, rest) = nodes.split_at_mut(1);
    let (node, inbound) = &mut others[0];
    let (removed, removed_inbound) = &mut rest[0];
    // Peer 1 leaves, and what it said and nobody took leaves with it; peer 2 stays and keeps its link.
    removed.send(PeerIndex(0), Class::Bulk, Bytes::from_static(b"late")).unwrap();
    until("the frame arrived", || class_status(node, 1, Class::Bulk).queued_in_bytes == 4).await;
    node.set_peers(vec![peer(2, None)]).unwrap();
    until("the peer is gone", || node.peers().len() == 1).await;
    assert_eq!(next(inbound).await, Event::Disconnected(PeerIndex(1)));
    assert_eq!(next(removed_inbound).await, Event::Disconnected(PeerIndex(0)));
    until("it is refused now", || node.counters().refused.get() >= 1).await;
    assert!(inbound.try_recv().is_none());
    assert_eq!(
        node.send(PeerIndex(1), Class::Bulk, Bytes::from_static(b"x")),
        Err(SendError::UnknownPeer(PeerIndex(1)))
    );
    // It comes back under another number, and that is what its frames carry.
    let renumbered = Peer { index: PeerIndex(40), ..peer(1, None) };
    node.set_peers(vec![peer(2, None), renumbered]).unwrap();
    assert_eq!(next(inbound).await, Event::Connected(PeerIndex(40)));
    assert_eq!(next(removed_inbound).await, Event::Connected(PeerIndex(0)));
    removed.send(PeerIndex(0), Class::Bulk, Bytes::from_static(b"x")).unwrap();
    assert_eq!(next_frame(inbound).await.0, 40);
    assert_eq!(node.counters().links.get(), 3);

    let twice = vec![peer(1, None), peer(1, None)];
    assert_eq!(node.set_peers(twice), Err(PeersError::DuplicateIndex(PeerIndex(1))));
}

#[tokio::test]
async fn shutdown_ends_everything_and_frees_the_port() {
    let mut nodes = mesh(2, &Limits::default()).await;
    let (node, mut inbound) = nodes.remove(0);
    let address = node.listen_address();
    timeout(PATIENCE, node.shutdown()).await.unwrap();
    assert_eq!(next(&mut inbound).await, Event::Disconnected(PeerIndex(1)));
    assert_eq!(timeout(PATIENCE, inbound.recv()).await.unwrap(), None);
    assert_eq!(next(&mut nodes[0].1).await, Event::Disconnected(PeerIndex(0)));
    let again = start_at(address, 0, vec![], Limits::default()).await;
    assert_eq!(again.unwrap().0.listen_address(), address);

    // A port that is taken is an error that names it.
    let taken = nodes[0].0.listen_address();
    let refused = start_at(taken, 3, vec![], Limits::default()).await.err();
    assert!(refused.unwrap().to_string().contains(&taken.to_string()));

    // Without a consumer there is no network.
    let (node, inbound) = nodes.remove(0);
    drop(inbound);
    timeout(PATIENCE, node.shutdown()).await.unwrap();
}

#[tokio::test]
async fn limits_that_could_never_hold_a_frame_are_refused() {
    let mut limits = small_queues();
    limits.classes.sync.queue_bytes_max = 10;
    let refused = start_at(ANY_PORT, 0, vec![], limits).await.err();
    assert!(matches!(refused, Some(StartError::Limits(Class::Sync))));
}
