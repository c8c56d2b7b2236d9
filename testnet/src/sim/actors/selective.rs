//! Speaks to some and not to others, and changes its mind: nobody can tell it from a bad network but by asking around.

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage};
use crate::sim::clock::{MS, Micros};

#[derive(Debug, Default)]
pub(super) struct Selective {
    until: Micros,
    spoken_to: u64,
}

impl Actor for Selective {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        if stage.now >= self.until {
            self.until = stage.now + stage.random.within(50, 1_500) * MS;
            self.spoken_to = stage.random.word();
        }
        if self.spoken_to >> to & 1 == 1 {
            return stage.send(to, class, bytes);
        }
        stage.deed();
    }
}
