//! Honest to some: for a while part of what it sends reaches some of the others only, then another part and others.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;

use super::{Actor, Stage, message_in};
use crate::sim::clock::{MS, Micros};

/// What is kept back.
#[derive(Debug, Clone, Copy)]
enum Part {
    Everything,
    Proposals,
    Votes,
    ViewChanges,
    Syncing,
}

#[derive(Debug)]
pub(super) struct Selective {
    favoured: u64,
    part: Part,
    until: Micros,
}

impl Default for Selective {
    fn default() -> Self {
        Self { favoured: u64::MAX, part: Part::Everything, until: 0 }
    }
}

impl Part {
    fn covers(self, class: Class, bytes: &Bytes) -> bool {
        match self {
            Self::Everything => true,
            Self::Syncing => class == Class::Sync,
            Self::Proposals => matches!(message_in(bytes), Some(Message::Proposal(..))),
            Self::Votes => matches!(message_in(bytes), Some(Message::Vote(_))),
            Self::ViewChanges => {
                matches!(message_in(bytes), Some(Message::ViewChange(_) | Message::NewView(_)))
            }
        }
    }
}

impl Actor for Selective {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        if self.favoured >> to & 1 == 0 && self.part.covers(class, &bytes) {
            return stage.deed();
        }
        stage.send(to, class, bytes);
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        if stage.now < self.until {
            return;
        }
        let parts = [Part::Everything, Part::Proposals, Part::Votes, Part::ViewChanges, Part::Syncing];
        self.part = *stage.random.pick(&parts);
        self.favoured = stage.random.word();
        let timeout = stage.set.params.view_timeout_ms * MS;
        self.until = stage.now + stage.random.within(timeout / 4, timeout * 4);
    }
}
