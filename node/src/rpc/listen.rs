//! Connections from outside: a bounded number, and none that says nothing for ever.
//!
//! HTTP/2 pings keep a live connection from falling silent, so silence means a dead peer or one that never finishes its
//! handshake. Tested by `tests/rpc/`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::warn;

/// A pause after an error that concerns the listener: no files left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) SocketAddr);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    silence_max: Duration,
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    _room: OwnedSemaphorePermit,
}

/// Connections as they come; when as many as may be are open, the next one waits in the system's queue.
pub(super) fn incoming(
    listener: TcpListener,
    connections_max: usize,
    silence_max: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(connections_max));
    futures::stream::unfold((listener, room), move |(listener, room)| async move {
        let permit = room.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    // Answers are small and waited for.
                    drop(stream.set_nodelay(true));
                    let heard = Instant::now();
                    let alarm = Box::pin(sleep_until(heard + silence_max));
                    let connection = Connection { stream, remote, silence_max, heard, alarm, _room: permit };
                    return Some((Ok(connection), (listener, room)));
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
        Remote(self.remote)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.heard = Instant::now();
            return Poll::Ready(done);
        }
        // The alarm is only moved when it rings: reading costs no timer.
        while self.alarm.as_mut().poll(cx).is_ready() {
            let until = self.heard + self.silence_max;
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn connections_are_bounded_and_a_silent_one_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = incoming(listener, 1, Duration::from_millis(50));
        pin_mut!(connections);
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let mut accepted = connections.next().await.unwrap().unwrap();
        assert!(poll!(connections.next()).is_pending(), "there is room for one");
        assert_eq!(accepted.connect_info().0, first.local_addr().unwrap());

        let mut byte = [0];
        first.write_all(&[7]).await.unwrap();
        assert_eq!((accepted.read(&mut byte).await.unwrap(), byte), (1, [7]));
        let silent = accepted.read(&mut byte).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(accepted);
        connections.next().await.unwrap().unwrap();
    }
}
