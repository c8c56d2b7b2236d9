//! What waits to be sent to one peer in one class.
//!
//! Bounded by bytes and by frames. A full outbox drops its oldest frames and counts them: the newest vote or Status says
//! more than an old one, and R22 and R24 send again whatever was lost. Without a link nothing is kept at all, so a peer
//! that returns gets fresh messages instead of an hour of stale ones. Pushing never waits.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use libp2p::swarm::ConnectionId;
use tokio::sync::Notify;

use super::{ClassLimits, Counter, frame::CHUNK};

/// The peer has no link.
#[derive(Debug)]
pub(super) struct NoLink;

#[derive(Debug)]
pub(super) struct Outbox {
    limits: ClassLimits,
    state: Mutex<State>,
    /// Wakes the writers when frames or another link arrive.
    changed: Notify,
    /// Frames that were dropped, unsent.
    pub(super) dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The link whose writer may take frames. Only one may: two would mix up their order.
    link: Option<ConnectionId>,
}

impl State {
    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

impl Outbox {
    pub(super) fn new(limits: ClassLimits) -> Self {
        Self { limits, state: Mutex::default(), changed: Notify::new(), dropped: Counter::default() }
    }

    /// Appends a frame whose size the caller has checked.
    pub(super) fn push(&self, frame: Bytes) -> Result<(), NoLink> {
        let mut state = self.state();
        if state.link.is_none() {
            self.dropped.add(1);
            return Err(NoLink);
        }
        while !state.frames.is_empty()
            && (state.frames.len() >= self.limits.queue_frames_max
                || state.bytes + frame.len() > self.limits.queue_bytes_max)
        {
            state.pop();
            self.dropped.add(1);
        }
        let was_empty = state.frames.is_empty();
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        if was_empty {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Moves at least one frame and up to about [`CHUNK`] bytes into `batch`, for the writer of `link`.
    pub(super) async fn take(&self, link: ConnectionId, batch: &mut Vec<Bytes>) {
        batch.clear();
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before the look, so that a push in between is not missed.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.link == Some(link) {
                    let mut bytes = 0;
                    while bytes < CHUNK
                        && let Some(frame) = state.pop()
                    {
                        bytes += frame.len();
                        batch.push(frame);
                    }
                }
            }
            if !batch.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Names the link to write to from now on. Without one, what waits is dropped.
    pub(super) fn set_link(&self, link: Option<ConnectionId>) {
        let mut state = self.state();
        state.link = link;
        if link.is_none() {
            self.dropped.add(u64::try_from(state.frames.len()).unwrap_or(u64::MAX));
            state.frames = VecDeque::new();
            state.bytes = 0;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Bytes that wait.
    pub(super) fn queued_bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic inside cannot leave the state half-changed in a way that matters more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, executor::block_on};

    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(ClassLimits { frame_bytes_max: 100, queue_bytes_max: 100, queue_frames_max: 3 })
    }

    fn frame(byte: u8, size: usize) -> Bytes {
        vec![byte; size].into()
    }

    #[test]
    fn nothing_is_kept_without_a_link() {
        let outbox = outbox();
        assert!(outbox.push(frame(1, 1)).is_err());
        outbox.set_link(Some(ConnectionId::new_unchecked(1)));
        outbox.push(frame(2, 1)).unwrap();
        outbox.set_link(None);
        assert_eq!((outbox.queued_bytes(), outbox.dropped.get()), (0, 2));
    }

    #[test]
    fn the_oldest_goes_first_by_count_and_by_bytes() {
        let link = ConnectionId::new_unchecked(1);
        let outbox = outbox();
        outbox.set_link(Some(link));
        for byte in 1..=4 {
            outbox.push(frame(byte, 30)).unwrap();
        }
        assert_eq!((outbox.queued_bytes(), outbox.dropped.get()), (90, 1));
        outbox.push(frame(5, 100)).unwrap();
        assert_eq!((outbox.queued_bytes(), outbox.dropped.get()), (100, 4));
        let mut batch = Vec::new();
        block_on(outbox.take(link, &mut batch));
        assert_eq!(batch, [frame(5, 100)]);
    }

    #[test]
    fn only_the_current_link_takes() {
        let (old, new) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        let outbox = outbox();
        outbox.set_link(Some(old));
        outbox.push(frame(1, 1)).unwrap();
        outbox.set_link(Some(new));
        assert!(outbox.take(old, &mut Vec::new()).now_or_never().is_none());
        let mut batch = Vec::new();
        assert!(outbox.take(new, &mut batch).now_or_never().is_some());
        assert_eq!(batch, [frame(1, 1)]);
    }
}
