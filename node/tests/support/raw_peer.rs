//! A peer that holds a valid network key and says on its streams whatever the test wants, by `libp2p_stream`.
#![allow(unreachable_pub, dead_code, reason = "each test file uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use epione_node::network::{Class, PerClass};
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::{SwarmEvent, dial_opts::DialOpts};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identity, multiaddr::Protocol, noise,
    tcp, yamux,
};
use libp2p_stream::{IncomingStreams, OpenStreamError};
use tokio::task::JoinHandle;

/// How long a connection lives without streams.
const IDLE: Duration = Duration::from_secs(60);

/// The peer; its connection ends with it.
pub struct RawPeer {
    control: libp2p_stream::Control,
    target: PeerId,
    task: JoinHandle<()>,
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn swarm(seed: [u8; 32]) -> Swarm<libp2p_stream::Behaviour> {
    SwarmBuilder::with_existing_identity(identity::Keypair::ed25519_from_bytes(seed).unwrap())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build()
}

impl RawPeer {
    /// Dials the node with this public network key at this address.
    pub fn dial(seed: [u8; 32], node: [u8; 32], address: SocketAddr) -> Self {
        let mut swarm = swarm(seed);
        let key = identity::ed25519::PublicKey::try_from_bytes(&node).unwrap();
        let target = identity::PublicKey::from(key).to_peer_id();
        let address = Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()));
        let dial = DialOpts::peer_id(target).addresses(vec![address]).build();
        swarm.dial(dial).unwrap();
        let control = swarm.behaviour().new_control();
        let task = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self { control, target, task }
    }

    /// A stream with any name.
    pub async fn open_named(&mut self, name: &'static str) -> Result<Stream, OpenStreamError> {
        self.control.open_stream(self.target, StreamProtocol::new(name)).await
    }

    pub async fn open(&mut self, class: Class) -> Result<Stream, OpenStreamError> {
        self.open_named(class.protocol_name()).await
    }

    /// The three streams that a node waits for.
    pub async fn open_all(&mut self) -> Result<PerClass<Stream>, OpenStreamError> {
        let consensus = self.open(Class::Consensus).await?;
        let bulk = self.open(Class::Bulk).await?;
        Ok(PerClass { consensus, bulk, sync: self.open(Class::Sync).await? })
    }
}

/// A peer that is dialed and accepts the three streams alone.
pub struct RawListener {
    /// Where it listens.
    pub address: SocketAddr,
    incoming: PerClass<IncomingStreams>,
    task: JoinHandle<()>,
}

impl Drop for RawListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawListener {
    /// Listens on a free port.
    pub async fn start(seed: [u8; 32]) -> Self {
        let mut swarm = swarm(seed);
        let local = Multiaddr::from(Ipv4Addr::LOCALHOST).with(Protocol::Tcp(0));
        swarm.listen_on(local).unwrap();
        let port = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
                && let Some(Protocol::Tcp(port)) = address.iter().last()
            {
                break port;
            }
        };
        let control = swarm.behaviour().new_control();
        let accept = |class: Class| control.clone().accept(StreamProtocol::new(class.protocol_name()));
        let incoming = PerClass::from_fn(|class| accept(class).unwrap());
        let task = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), incoming, task }
    }

    /// The three streams of whoever dialed.
    pub async fn accept_all(&mut self) -> PerClass<Stream> {
        let PerClass { consensus, bulk, sync } = &mut self.incoming;
        let mut streams = Vec::new();
        for class in [consensus, bulk, sync] {
            streams.push(class.next().await.unwrap().1);
        }
        let [consensus, bulk, sync] = streams.try_into().unwrap();
        PerClass { consensus, bulk, sync }
    }
}

/// The stream of a class.
pub fn stream_of(streams: &mut PerClass<Stream>, class: Class) -> &mut Stream {
    match class {
        Class::Consensus => &mut streams.consensus,
        Class::Bulk => &mut streams.bulk,
        Class::Sync => &mut streams.sync,
    }
}

pub async fn write_frame(stream: &mut Stream, frame: &[u8]) {
    let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(frame);
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
}
