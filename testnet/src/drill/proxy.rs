//! The wires between the validators: every link runs through a proxy here, which can hold back, delay and let go.
//!
//! ```text
//!  node i ── dials what its configuration calls node j ──▶ Link(i, j) ──▶ node j
//! ```
//!
//! A cut link is silence, as behind a broken switch: connections stay up, and nothing arrives. What was under way arrives when
//! it is healed, unless an end has given the connection up meanwhile. Two nodes have a link for each direction in which a
//! connection may be made; both are cut together.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// Chunks under way in one direction of one connection.
const UNDER_WAY: usize = 256;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mode {
    cut: bool,
    delay: Duration,
}

/// All links of a network. They end with this value.
#[derive(Debug)]
pub(super) struct Proxies {
    links: BTreeMap<(usize, usize), (u16, watch::Sender<Mode>)>,
    tasks: JoinSet<()>,
}

impl Proxies {
    /// Between nodes that listen at these ports of 127.0.0.1.
    pub(super) async fn start(ports: &[u16]) -> io::Result<Self> {
        let mut proxies = Self { links: BTreeMap::new(), tasks: JoinSet::new() };
        for from in 0..ports.len() {
            proxies.add(from, ports).await?;
        }
        Ok(proxies)
    }

    /// From one node to those that listen at these ports, of which one may be its own.
    pub(super) async fn add(&mut self, from: usize, ports: &[u16]) -> io::Result<()> {
        for (to, target) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            let (mode, modes) = watch::channel(Mode::default());
            self.links.insert((from, to), (port, mode));
            self.tasks.spawn(serve(listener, *target, modes));
        }
        Ok(())
    }

    /// Where one node reaches another.
    pub(super) fn port(&self, from: usize, to: usize) -> Option<u16> {
        self.links.get(&(from, to)).map(|(port, _)| *port)
    }

    /// Cuts the links for which this holds, and only those.
    pub(super) fn cut(&self, is_cut: impl Fn(usize, usize) -> bool) {
        for ((from, to), (_, mode)) in &self.links {
            mode.send_modify(|mode| mode.cut = is_cut(*from, *to));
        }
    }

    /// Delays the links of these nodes, each way.
    pub(super) fn delay(&self, nodes: &[usize], delay: Duration) {
        for ((from, to), (_, mode)) in &self.links {
            if nodes.contains(from) || nodes.contains(to) {
                mode.send_modify(|mode| mode.delay = delay);
            }
        }
    }

    /// All as in the beginning.
    pub(super) fn heal(&self) {
        for (_, mode) in self.links.values() {
            mode.send_replace(Mode::default());
        }
    }
}

async fn serve(listener: TcpListener, target: u16, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        // Those that ended are forgotten.
        while connections.try_join_next().is_some() {}
        if let Ok((near, _)) = listener.accept().await {
            connections.spawn(connection(near, target, mode.clone()));
        }
    }
}

async fn connection(near: TcpStream, target: u16, mut mode: watch::Receiver<Mode>) {
    if mode.borrow().cut {
        // Nobody answers the handshake. Once healed, the other end dials again.
        let _healed = mode.wait_for(|mode| !mode.cut).await;
        return;
    }
    // Nobody there: the caller sees the end.
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (way(near_in, far_out, mode.clone()), way(far_in, near_out, mode));
    // An end that closes, closes both ways: what one end does not hear the other must not believe.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// One direction of one connection, until it ends.
async fn way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let now = mode.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
            chunk.truncate(length);
            let due = Instant::now() + now.borrow().delay;
            if under_way.send((due, chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if mode.wait_for(|mode| !mode.cut).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (Proxies, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxies = Proxies::start(&[0, port]).await.unwrap();
        let near = TcpStream::connect((Ipv4Addr::LOCALHOST, proxies.port(0, 1).unwrap())).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (proxies, near, far)
    }

    async fn hears(stream: &mut TcpStream, within: Duration) -> Option<u8> {
        tokio::time::timeout(within, stream.read_u8()).await.ok().map(Result::unwrap)
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_cut_link_is_silent_and_a_healed_one_delivers() {
        let (proxies, mut near, mut far) = pair().await;
        near.write_u8(1).await.unwrap();
        assert_eq!(hears(&mut far, LONG).await, Some(1));
        proxies.cut(|from, to| (from, to) == (0, 1));
        near.write_u8(2).await.unwrap();
        far.write_u8(3).await.unwrap();
        assert_eq!(hears(&mut far, SHORT).await, None);
        assert_eq!(hears(&mut near, SHORT).await, None);
        proxies.heal();
        assert_eq!(hears(&mut far, LONG).await, Some(2));
        assert_eq!(hears(&mut near, LONG).await, Some(3));
    }

    #[tokio::test]
    async fn a_delayed_link_is_late_both_ways() {
        let (proxies, mut near, mut far) = pair().await;
        proxies.delay(&[1], SHORT);
        for stream in [&mut near, &mut far] {
            stream.write_u8(1).await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(hears(&mut far, LONG).await, Some(1));
        assert_eq!(hears(&mut near, LONG).await, Some(1));
        assert!(begun.elapsed() >= SHORT - Duration::from_millis(20), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_end_that_closes_is_seen_by_the_other() {
        let (_proxies, near, mut far) = pair().await;
        drop(near);
        assert!(tokio::time::timeout(LONG, far.read_u8()).await.unwrap().is_err());
    }
}
