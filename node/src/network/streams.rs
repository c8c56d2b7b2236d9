//! One stream per class on every connection: the libp2p behaviour behind [`super`].
//!
//! First of all both sides show their chain, on a stream of its own: who has another genesis has the same keys, and would
//! otherwise be known by signatures that do not verify. A node too old to know that stream is linked to all the same.
//!
//! Then the side that dialed opens one stream for each [`Class`]; the other side accepts exactly one of each. Both directions
//! of a stream are used. A connection is usable when all of its streams are there, and is given up when one of them fails:
//! there is no half-working link to reason about.
//!
//! Why not `libp2p_stream::Behaviour`, whose wire format this is: its accept slot holds one stream and silently drops the
//! next (three validators dialing at once lose two streams), it opens on a random one of several connections (a dead one
//! too), it dials by itself, and it keeps an entry for every connection that ever was.
//!
//! Tested by node/tests/network.rs, which talks to it with `libp2p_stream`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    task::{Context, Poll},
};

use epione_types::ChainId;
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _,
    future::{BoxFuture, ready},
};
use libp2p::{
    InboundUpgrade, Multiaddr, OutboundUpgrade, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{Class, PerClass};

/// The stream on which both sides write the 32 bytes of their chain's id, and nothing else.
const CHAIN: StreamProtocol = StreamProtocol::new("/epione/chain/1");

/// What happened to a stream of a connection.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) news: News,
}

/// The news of an [`Event`].
#[derive(Debug)]
pub(super) enum News {
    /// The stream of this class is ready in both directions.
    Opened(Class, Stream),
    /// The remote refused or did not answer in time; the connection is of no use.
    Failed(Which, String),
    /// The remote opened a class twice, which no correct node does.
    Twice(Class),
    /// The remote belongs to this chain, which is another one; the side that dialed opens nothing more.
    OtherChain(ChainId),
}

/// A stream that this side asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// The one that shows the chains.
    Chain,
    /// That of a class.
    Class(Class),
}

impl Which {
    /// All, in the order in which they are offered.
    const ALL: [Self; 4] =
        [Self::Chain, Self::Class(Class::Consensus), Self::Class(Class::Bulk), Self::Class(Class::Sync)];

    const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Chain => CHAIN,
            Self::Class(class) => class.protocol(),
        }
    }
}

/// Hands every connection its [`Handler`] and passes their news on.
pub(super) struct Behaviour {
    chain: ChainId,
    events: VecDeque<Event>,
}

impl Behaviour {
    /// Of a node of this chain.
    pub(super) const fn new(chain: ChainId) -> Self {
        Self { chain, events: VecDeque::new() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::listener(self.chain))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::dialer(self.chain))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        news: THandlerOutEvent<Self>,
    ) {
        // Bounded: the swarm drains `poll` before it takes the next event of a connection.
        self.events.push_back(Event { peer, connection, news });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ToSwarm::GenerateEvent(event)),
            None => Poll::Pending,
        }
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    chain: ChainId,
    /// What this side has still to ask for; empty on the listening side.
    to_open: VecDeque<Which>,
    /// Classes that the remote may still open: none on the dialing side.
    to_accept: PerClass<bool>,
    news: VecDeque<News>,
}

impl Handler {
    fn dialer(chain: ChainId) -> Self {
        let to_accept = PerClass::from_fn(|_| false);
        Self { chain, to_open: [Which::Chain].into(), to_accept, news: VecDeque::new() }
    }

    fn listener(chain: ChainId) -> Self {
        let to_accept = PerClass::from_fn(|_| true);
        Self { chain, to_open: VecDeque::new(), to_accept, news: VecDeque::new() }
    }

    /// Nothing speaks against the remote: what frames are carried by.
    fn open_classes(&mut self) {
        self.to_open.extend(Class::ALL.map(Which::Class));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = News;
    type InboundProtocol = Any;
    type OutboundProtocol = Asked;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Which;

    fn listen_protocol(&self) -> SubstreamProtocol<Any> {
        SubstreamProtocol::new(Any(self.chain), ()).with_timeout(super::SETUP_TIMEOUT)
    }

    /// The swarm's task decides when a connection is of no use; idleness never does.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Which, News>> {
        // No waker is kept: the connection polls again after each `on_connection_event`, the only source of news.
        if let Some(news) = self.news.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(news));
        }
        match self.to_open.pop_front() {
            Some(which) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Asked(which, self.chain), which)
                    .with_timeout(super::SETUP_TIMEOUT),
            }),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, never: Infallible) {
        match never {}
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum is non-exhaustive, and what is left out asks for no action"
    )]
    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Any, Self::OutboundProtocol, (), Which>) {
        let news = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: Ready::Class(class, stream),
                ..
            }) => {
                if std::mem::replace(self.to_accept.get_mut(class), false) {
                    News::Opened(class, stream)
                } else {
                    News::Twice(class)
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: Ready::Class(class, stream),
                ..
            }) => News::Opened(class, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: Ready::Chain(theirs),
                ..
            }) if theirs == self.chain => return self.open_classes(),
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: Ready::Chain(theirs),
                ..
            }) if theirs == self.chain => return,
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: Ready::Chain(theirs),
                ..
            })
            | ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: Ready::Chain(theirs),
                ..
            }) => News::OtherChain(theirs),
            // It does not know the question.
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                info: Which::Chain,
                error: StreamUpgradeError::NegotiationFailed,
            }) => return self.open_classes(),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: which, error }) => {
                News::Failed(which, error.to_string())
            }
            // A failed inbound negotiation leaves the link incomplete; its deadline ends it.
            _ => return,
        };
        // Bounded: a connection has three streams to give, after the first `Twice` it is closed, and one word about another
        // chain is as good as many.
        if self.news.len() <= 2 * Class::ALL.len() {
            self.news.push_back(news);
        }
    }
}

/// A stream that is ready, or what was read on it.
#[derive(Debug)]
pub(super) enum Ready {
    /// The remote's chain.
    Chain(ChainId),
    /// Frames may follow.
    Class(Class, Stream),
}

/// The side that dialed shows its chain first. The answer tells that it was read, so hanging up now leaves nobody in the dark.
async fn show(own: ChainId, mut stream: Stream) -> io::Result<Ready> {
    let mut theirs = [0; 32];
    stream.write_all(&own.0).await?;
    stream.flush().await?;
    stream.read_exact(&mut theirs).await?;
    Ok(Ready::Chain(ChainId(theirs)))
}

/// The other side reads, then answers.
async fn answer(own: ChainId, mut stream: Stream) -> io::Result<Ready> {
    let mut theirs = [0; 32];
    stream.read_exact(&mut theirs).await?;
    stream.write_all(&own.0).await?;
    stream.flush().await?;
    Ok(Ready::Chain(ChainId(theirs)))
}

/// Asks for one stream, on behalf of a node of this chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(Which, ChainId);

impl UpgradeInfo for Asked {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0.protocol())
    }
}

impl OutboundUpgrade<Stream> for Asked {
    type Output = Ready;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Ready>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        match self.0 {
            Which::Chain => show(self.1, stream).boxed(),
            Which::Class(class) => ready(Ok(Ready::Class(class, stream))).boxed(),
        }
    }
}

/// Accepts any of the streams, on behalf of a node of this chain, and says which it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Any(ChainId);

/// A stream in the shape in which libp2p wants a protocol's name.
#[derive(Debug, Clone)]
pub(super) struct Offered(Which, StreamProtocol);

impl AsRef<str> for Offered {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Any {
    type Info = Offered;
    type InfoIter = std::array::IntoIter<Offered, 4>;

    fn protocol_info(&self) -> Self::InfoIter {
        Which::ALL.map(|which| Offered(which, which.protocol())).into_iter()
    }
}

impl InboundUpgrade<Stream> for Any {
    type Output = Ready;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Ready>>;

    fn upgrade_inbound(self, stream: Stream, offered: Offered) -> Self::Future {
        match offered.0 {
            Which::Chain => answer(self.0, stream).boxed(),
            Which::Class(class) => ready(Ok(Ready::Class(class, stream))).boxed(),
        }
    }
}
