//! A block's time is at most the permitted skew ahead of the fastest clock of an honest node.

use epione_types::{BlockHeader, TimestampMs};

use super::Check;

/// The fastest clock so far.
#[derive(Debug)]
pub(super) struct Time {
    skew_ms: u64,
    fastest: TimestampMs,
}

impl Time {
    pub(super) const fn new(skew_ms: u64) -> Self {
        Self { skew_ms, fastest: TimestampMs::ZERO }
    }

    pub(super) fn shows(&mut self, clock: TimestampMs) {
        self.fastest = self.fastest.max(clock);
    }

    pub(super) fn executed(&self, header: &BlockHeader) -> Check {
        // Null batches and stamps behind their parent's time each add a millisecond.
        let latest = self.fastest.plus(self.skew_ms + header.height.0);
        if header.timestamp <= latest {
            return Ok(());
        }
        let (height, time, fastest) = (header.height, header.timestamp, self.fastest);
        Err(format!("block {height} has time {time}; the fastest honest clock shows {fastest}"))
    }
}
