//! Byzantine validators on their stage.

use epione_consensus::Config;
use epione_node::wire::Frame;
use epione_types::{Signer as _, TimestampMs, ValidatorIndex};

use super::{Cluster, Event, TURN};
use crate::sim::actors::{Actor, Outgoing, Stage};
use crate::sim::clock::{MS, NodeClock};

impl Cluster<'_> {
    /// An actor acts, and sees the others as this body of its own does: by their numbers.
    pub(super) fn play<T>(
        &mut self,
        at: usize,
        body: usize,
        act: impl FnOnce(&mut dyn Actor, &mut Stage<'_>) -> T,
    ) -> T {
        let now = self.queue.now();
        let who = self.players[at].who;
        let set = &self.bodies[body].set;
        let signer = &self.common.signers[who];
        let me = set.index_of(&signer.public_key()).map_or(Config::OUTSIDE.get(), ValidatorIndex::get);
        let clock = TimestampMs(NodeClock::default().wall_ms(now));
        let player = &mut self.players[at];
        let mut out = Vec::new();
        let mut stage = Stage {
            now,
            clock,
            me,
            chain: self.common.origin.chain,
            set,
            signer,
            random: &mut player.random,
            out: &mut out,
            deeds: &mut player.deeds,
        };
        let result = act(&mut *player.actor, &mut stage);
        for Outgoing { to, class, bytes, delay } in out {
            if self.options.canary
                && let Ok(Frame::Message(message)) = Frame::decode(&bytes)
            {
                self.checks.sent(who, &message);
            }
            if let Some(to) = self.bodies[body].peers.get(&to) {
                self.leaves(who, *to, class, bytes, now + TURN + delay);
            }
        }
        result
    }

    pub(super) fn actor_tick(&mut self, player: usize) {
        let next = self.queue.now() + self.plan.tick_ms * MS;
        self.queue.at(next, Event::Actor(player));
        let who = self.players[player].who;
        // One that has not started yet is nobody.
        if let Some(body) = self.bodies.iter().position(|one| one.who == who && !one.peers.is_empty()) {
            self.play(player, body, |actor, stage| actor.tick(stage));
        }
    }
}
