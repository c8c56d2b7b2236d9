//! Connections from outside: a bounded number of all and of each address, and none that says nothing, or not who it is,
//! for ever.
//!
//! HTTP/2 pings keep a live connection from falling silent, so silence means a dead peer or one that never finishes its
//! handshake. A connection on which no call has passed the door within [`Bounds::unknown_max`] is closed, whatever it
//! says meanwhile: health and reflection are for asking, not for staying. Tested below and by `tests/rpc/`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// A pause after an error that concerns the listener: no files left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections of all; when as many are open, the next one waits in the system's queue.
    pub(super) connections_max: usize,
    /// Connections of one address; more are closed as they come.
    pub(super) per_address_max: usize,
    /// How long a connection may be silent.
    pub(super) silence_max: Duration,
    /// How long it may go without a call that passes the door.
    pub(super) unknown_max: Duration,
}

/// Who is counted as one: an IPv4 address, or the network of an IPv6 one, which its owner has whole.
pub(super) fn network_of(from: SocketAddr) -> IpAddr {
    match from.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// A connection's other end, as its calls know it.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// Where it is.
    pub(super) address: SocketAddr,
    known: Arc<AtomicBool>,
}

impl Remote {
    fn new(address: SocketAddr) -> Self {
        Self { address, known: Arc::default() }
    }

    /// A call of this connection has passed the door: it may stay.
    pub(super) fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }
}

/// Open connections by address.
#[derive(Debug, Default)]
struct Crowd(Mutex<HashMap<IpAddr, usize>>);

impl Crowd {
    /// A place for one more, unless the address has as many as it may.
    fn seat(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: self.clone(), address })
    }
}

/// A place in the crowd, given back when dropped.
#[derive(Debug)]
struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection<S = TcpStream> {
    stream: S,
    remote: Remote,
    bounds: Bounds,
    opened: Instant,
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    _room: (OwnedSemaphorePermit, Seat),
}

impl<S> Connection<S> {
    fn new(stream: S, address: SocketAddr, bounds: Bounds, room: (OwnedSemaphorePermit, Seat)) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + bounds.silence_max.min(bounds.unknown_max)));
        Self { stream, remote: Remote::new(address), bounds, opened: now, heard: now, alarm, _room: room }
    }

    /// Until when it may live if nothing more is heard.
    fn until(&self) -> Instant {
        let silence = self.heard + self.bounds.silence_max;
        if self.remote.known.load(Ordering::Relaxed) {
            return silence;
        }
        silence.min(self.opened + self.bounds.unknown_max)
    }
}

/// Connections as they come.
pub(super) fn incoming(listener: TcpListener, bounds: Bounds) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(bounds.connections_max));
    let crowd = Arc::new(Crowd::default());
    futures::stream::unfold((listener, room, crowd), move |(listener, room, crowd)| async move {
        let permit = room.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Some(seat) = crowd.seat(network_of(address), bounds.per_address_max) else {
                        // Not louder: a stranger must not be able to fill the log.
                        debug!(%address, limit = bounds.per_address_max, "an address has too many connections");
                        continue;
                    };
                    // Answers are small and waited for.
                    drop(stream.set_nodelay(true));
                    let connection = Connection::new(stream, address, bounds, (permit, seat));
                    return Some((Ok(connection), (listener, room, crowd)));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = Remote;
    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.heard = Instant::now();
            if self.until() <= self.heard {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into())); // talks, and does not say who it is
            }
            return Poll::Ready(done);
        }
        // The alarm is only moved when it rings: reading costs no timer.
        while self.alarm.as_mut().poll(cx).is_ready() {
            let until = self.until();
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt as _, pin_mut, poll};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::advance;

    const BOUNDS: Bounds = Bounds {
        connections_max: 3,
        per_address_max: 2,
        silence_max: Duration::from_secs(60),
        unknown_max: Duration::from_secs(30),
    };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let of = |text: &str| network_of(SocketAddr::new(text.parse().unwrap(), 1));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    #[test]
    fn an_address_has_so_many_seats_and_gets_them_back() {
        let crowd = Arc::new(Crowd::default());
        let [one, two] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let seats = [crowd.seat(one, 2).unwrap(), crowd.seat(one, 2).unwrap()];
        assert!(crowd.seat(one, 2).is_none());
        let other = crowd.seat(two, 2).unwrap();
        drop(seats);
        assert!(crowd.seat(one, 1).is_some());
        drop(other);
        assert!(crowd.0.lock().unwrap().is_empty(), "who is gone is forgotten");
    }

    #[tokio::test]
    async fn connections_are_bounded_by_all_and_by_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = incoming(listener, BOUNDS);
        pin_mut!(connections);
        let first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let accepted = connections.next().await.unwrap().unwrap();
        assert_eq!(accepted.connect_info().address, first.local_addr().unwrap());
        let _also = connections.next().await.unwrap().unwrap();

        // The third of this address is closed as it comes, the next one has its place.
        let mut third = TcpStream::connect(address).await.unwrap();
        let mut next = connections.next();
        let mut byte = [0];
        tokio::select! {
            _ = &mut next => panic!("there are two already"),
            ended = third.read(&mut byte) => assert!(matches!(ended, Ok(0) | Err(_))),
        }
        drop(accepted);
        let fourth = TcpStream::connect(address).await.unwrap();
        let accepted = next.await.unwrap().unwrap();
        assert_eq!(accepted.connect_info().address, fourth.local_addr().unwrap());
    }

    #[tokio::test]
    async fn when_all_are_taken_the_next_one_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = incoming(listener, Bounds { connections_max: 1, ..BOUNDS });
        pin_mut!(connections);
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let accepted = connections.next().await.unwrap().unwrap();
        assert!(poll!(connections.next()).is_pending(), "there is room for one");
        drop(accepted);
        connections.next().await.unwrap().unwrap();
    }

    /// A connection and its other end.
    fn pair() -> (Connection<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let seat = Arc::new(Crowd::default()).seat(address.ip(), 1).unwrap();
        (Connection::new(near, address, BOUNDS, (permit, seat)), far)
    }

    /// The far end says something every second, and the near end reads it; how many times that works, up to 200.
    async fn talks(near: &mut Connection<DuplexStream>, far: &mut DuplexStream) -> u32 {
        for round in 0..200 {
            far.write_all(&[7]).await.unwrap();
            if near.read_u8().await.is_err() {
                return round;
            }
            advance(SECOND).await;
        }
        200
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_talks_and_never_says_who_it_is_is_closed() {
        let (mut near, mut far) = pair();
        assert_eq!(talks(&mut near, &mut far).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_known_stays_until_it_is_silent() {
        let (mut near, mut far) = pair();
        near.remote.is_known();
        assert_eq!(talks(&mut near, &mut far).await, 200);
        let begun = Instant::now();
        let ended = near.read_u8().await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        // The last word was a second before.
        assert_eq!(begun.elapsed(), BOUNDS.silence_max - SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_is_closed_as_an_unknown_one() {
        let (mut near, _far) = pair();
        let begun = Instant::now();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), BOUNDS.unknown_max);
    }
}
