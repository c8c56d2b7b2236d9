//! Keeps everything it ever heard or said, and says it again, to anybody, at any time.

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage};

/// Frames that it keeps; later ones take random places.
const KEPT: usize = 1_000;
/// Frames a tick.
const A_TICK: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Replayer {
    kept: Vec<(Class, Bytes)>,
}

impl Replayer {
    fn keep(&mut self, stage: &mut Stage<'_>, class: Class, bytes: &Bytes) {
        if self.kept.len() < KEPT {
            self.kept.push((class, bytes.clone()));
        } else if stage.random.chance(200) {
            let at = stage.random.index(KEPT);
            self.kept[at] = (class, bytes.clone());
        }
    }
}

impl Actor for Replayer {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, class: Class, bytes: &Bytes) -> bool {
        self.keep(stage, class, bytes);
        true
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        self.keep(stage, class, &bytes);
        stage.send(to, class, bytes);
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..stage.random.below(A_TICK) {
            let Some((class, bytes)) = self.kept.get(stage.random.index(self.kept.len())).cloned() else {
                return;
            };
            let to = stage.random.index(stage.set.len());
            stage.send(to, class, bytes);
            stage.deed();
        }
    }
}
