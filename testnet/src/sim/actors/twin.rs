//! Two live copies of one identity, with disks of their own: each speaks to a part of the others, and the parts change.
//!
//! Sometimes each also hears only its part. Neither hears what the other said, or it would stop (R27).

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage, message_in};
use crate::sim::clock::{MS, Micros};

#[derive(Debug, Default)]
pub(super) struct Twin {
    until: Micros,
    /// Who hears the second copy.
    second: u64,
    /// Each copy is heard by all, or hears all.
    heard_by_all: bool,
    hears_all: bool,
}

impl Twin {
    const fn has(&self, body: usize, other: usize) -> bool {
        (self.second >> other & 1 == 1) == (body == 1)
    }
}

impl Actor for Twin {
    fn bodies(&self) -> usize {
        2
    }

    fn inbound(&mut self, stage: &mut Stage<'_>, body: usize, from: usize, _: Class, bytes: &Bytes) -> bool {
        (self.hears_all || self.has(body, from))
            && !message_in(bytes).is_some_and(|message| stage.is_by_me(&message))
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, body: usize, to: usize, class: Class, bytes: Bytes) {
        if self.heard_by_all || self.has(body, to) {
            if body == 1 {
                stage.deed();
            }
            stage.send(to, class, bytes);
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        if stage.now >= self.until {
            self.until = stage.now + stage.random.within(200, 3_000) * MS;
            self.second = stage.random.word();
            self.heard_by_all = stage.random.chance(150);
            self.hears_all = stage.random.chance(500);
        }
    }
}
