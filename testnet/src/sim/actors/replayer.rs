//! Plays back everything it ever saw, its own words and others', to anybody, whenever it likes.
//!
//! Others' statuses are left out: who plays those back is cut off (`STATUS_REPLAYED`), and could do no more.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;

use super::{Actor, Stage, message_in};

/// Frames that it remembers: the first ones, and a sample of all since.
const REMEMBERED: usize = 3_000;
/// Frames that it plays back at a time.
const AT_A_TIME: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct Replayer {
    seen: Vec<(Class, Bytes)>,
}

impl Replayer {
    fn remember(&mut self, stage: &mut Stage<'_>, class: Class, bytes: &Bytes) {
        if self.seen.len() < REMEMBERED {
            self.seen.push((class, bytes.clone()));
        } else if stage.random.chance(100) {
            let at = stage.random.index(REMEMBERED);
            self.seen[at] = (class, bytes.clone());
        }
    }
}

impl Actor for Replayer {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, class: Class, bytes: &Bytes) -> bool {
        let message = message_in(bytes);
        if !matches!(message, Some(Message::Status(_))) {
            self.remember(stage, class, bytes);
        }
        // Its own words come back to it: its body, which is honest, would stop for some of them (R27).
        !message.is_some_and(|message| stage.is_by_me(&message))
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        self.remember(stage, class, &bytes);
        stage.send(to, class, bytes);
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..stage.random.below(AT_A_TIME * 2).min(self.seen.len() as u64) {
            let (class, bytes) = self.seen[stage.random.index(self.seen.len())].clone();
            let to = stage.random.index(stage.set.len());
            stage.deed();
            stage.send(to, class, bytes);
        }
    }
}
