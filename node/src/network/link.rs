//! The work on one complete link: for each class, frames from the stream to the inbox and from the outbox to the stream.
//!
//! Each of the six loops waits only for its own stream and queue. The first to end ends the link: a stream that broke
//! means a connection that broke.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::{
    AsyncReadExt as _, FutureExt as _, StreamExt as _,
    future::BoxFuture,
    io::{BufReader, ReadHalf, WriteHalf},
    stream::FuturesUnordered,
};
use libp2p::{Stream, swarm::ConnectionId};

use super::{
    Class, PerClass, Shared,
    frame::{FrameError, read_frame, write_frames},
    peer::PeerState,
};

/// Bytes read ahead from a stream, so that many small frames cost one read.
const READ_AHEAD_BYTES: usize = 16 * 1024;

pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Arc<PeerState>,
    pub(super) connection: ConnectionId,
    /// Counts the frames of this link: a sign of life.
    pub(super) heard: Arc<AtomicU64>,
}

impl Link {
    /// Carries frames until a stream ends, and says why it did.
    pub(super) async fn run(self, streams: PerClass<Stream>) -> FrameError {
        let link = &self;
        let mut loops = FuturesUnordered::<BoxFuture<'_, FrameError>>::new();
        let PerClass { consensus, bulk, sync } = streams;
        for (class, stream) in [(Class::Consensus, consensus), (Class::Bulk, bulk), (Class::Sync, sync)] {
            let (reader, writer) = stream.split();
            loops.push(link.receive(class, reader).boxed());
            loops.push(link.transmit(class, writer).boxed());
        }
        match loops.next().await {
            Some(end) => end,
            None => FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn receive(&self, class: Class, reader: ReadHalf<Stream>) -> FrameError {
        let max = self.shared.limits.classes.get(class).frame_bytes_max;
        let traffic = self.peer.traffic.get(class);
        let mut reader = BufReader::with_capacity(READ_AHEAD_BYTES, reader);
        loop {
            let frame = match read_frame(&mut reader, max).await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            self.heard.fetch_add(1, Ordering::Relaxed);
            traffic.frames_in.add(1);
            traffic.bytes_in.add(length(&frame));
            if !self.shared.inbox.push(self.peer.id, class, frame).await {
                return FrameError::Io(std::io::Error::other("the peer was removed"));
            }
        }
    }

    async fn transmit(&self, class: Class, mut writer: WriteHalf<Stream>) -> FrameError {
        let outbox = self.peer.outboxes.get(class);
        let traffic = self.peer.traffic.get(class);
        let mut batch = Vec::new();
        let mut buffer = Vec::new();
        loop {
            outbox.take(self.connection, &mut batch).await;
            if let Err(error) = write_frames(&mut writer, &batch, &mut buffer).await {
                return error.into();
            }
            traffic.frames_out.add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
            traffic.bytes_out.add(batch.iter().map(|frame| length(frame)).sum());
        }
    }
}

fn length(frame: &[u8]) -> u64 {
    u64::try_from(frame.len()).unwrap_or(u64::MAX)
}
