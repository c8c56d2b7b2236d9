//! Two live copies of one identity, each with disks of its own: each speaks to a part of the others, and the parts change.

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage};
use crate::sim::clock::{MS, Micros};

#[derive(Debug, Default)]
pub(super) struct Twin {
    until: Micros,
    /// Who hears, and is heard by, the second copy.
    half: u64,
    /// Everybody hears both.
    both: bool,
}

impl Twin {
    fn with(&mut self, stage: &mut Stage<'_>, body: usize, other: usize) -> bool {
        if stage.now >= self.until {
            self.until = stage.now + stage.random.within(200, 3_000) * MS;
            self.half = stage.random.word();
            self.both = stage.random.chance(300);
        }
        self.both || (self.half >> other & 1 == 1) == (body == 1)
    }
}

impl Actor for Twin {
    fn bodies(&self) -> usize {
        2
    }

    fn inbound(&mut self, stage: &mut Stage<'_>, body: usize, from: usize, _: Class, _: &Bytes) -> bool {
        self.with(stage, body, from)
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, body: usize, to: usize, class: Class, bytes: Bytes) {
        if self.with(stage, body, to) {
            if body == 1 {
                stage.deed();
            }
            stage.send(to, class, bytes);
        }
    }
}
