//! As primary proposes everything but what some validators' clients want: it never hears their forwards.

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage};

#[derive(Debug, Default)]
pub(super) struct Censor {
    victims: Option<u64>,
}

impl Actor for Censor {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, from: usize, _: Class, bytes: &Bytes) -> bool {
        let victims = *self.victims.get_or_insert_with(|| stage.random.word() | stage.random.word());
        // Forwarded transactions are the second kind of frame.
        if bytes.first() == Some(&1) && victims >> from & 1 == 1 {
            stage.deed();
            return false;
        }
        true
    }
}
