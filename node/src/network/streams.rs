//! One stream per class on every connection: the libp2p behaviour behind [`super`].
//!
//! The side that dialed opens one stream for each [`Class`]; the other side accepts exactly one of each. Both directions
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
    future::Ready,
    task::{Context, Poll},
};

use libp2p::{
    InboundUpgrade, Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{Class, PerClass};

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
    Failed(Class, String),
    /// The remote opened a class twice, which no correct node does.
    Twice(Class),
}

/// Hands every connection its [`Handler`] and passes their news on.
#[derive(Default)]
pub(super) struct Behaviour {
    events: VecDeque<Event>,
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
        Ok(Handler::listener())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::dialer())
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
    /// Classes that this side has still to ask for; empty on the listening side.
    to_open: VecDeque<Class>,
    /// Classes that the remote may still open: none on the dialing side.
    to_accept: PerClass<bool>,
    news: VecDeque<News>,
}

impl Handler {
    fn dialer() -> Self {
        Self { to_open: Class::ALL.into(), to_accept: PerClass::from_fn(|_| false), news: VecDeque::new() }
    }

    fn listener() -> Self {
        Self { to_open: VecDeque::new(), to_accept: PerClass::from_fn(|_| true), news: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = News;
    type InboundProtocol = AnyClass;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Class;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyClass> {
        SubstreamProtocol::new(AnyClass, ()).with_timeout(super::SETUP_TIMEOUT)
    }

    /// The swarm's task decides when a connection is of no use; idleness never does.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Class, News>> {
        // No waker is kept: the connection polls again after each `on_connection_event`, the only source of news.
        if let Some(news) = self.news.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(news));
        }
        match self.to_open.pop_front() {
            Some(class) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(class.protocol()), class)
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
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, AnyClass, Self::OutboundProtocol, (), Class>,
    ) {
        let news = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (class, stream),
                ..
            }) => {
                if std::mem::replace(self.to_accept.get_mut(class), false) {
                    News::Opened(class, stream)
                } else {
                    News::Twice(class)
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: class,
            }) => News::Opened(class, stream),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: class, error }) => {
                News::Failed(class, error.to_string())
            }
            // A failed inbound negotiation leaves the link incomplete; its deadline ends it.
            _ => return,
        };
        // Bounded: a connection has three streams to give, and after the first `Twice` it is closed.
        if self.news.len() <= 2 * Class::ALL.len() {
            self.news.push_back(news);
        }
    }
}

/// Accepts any of the classes and says which it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnyClass;

/// A class in the shape in which libp2p wants a protocol's name.
#[derive(Debug, Clone)]
pub(super) struct Offered(Class, StreamProtocol);

impl AsRef<str> for Offered {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for AnyClass {
    type Info = Offered;
    type InfoIter = std::array::IntoIter<Offered, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        Class::ALL.map(|class| Offered(class, class.protocol())).into_iter()
    }
}

impl InboundUpgrade<Stream> for AnyClass {
    type Output = (Class, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, offered: Offered) -> Self::Future {
        std::future::ready(Ok((offered.0, stream)))
    }
}
