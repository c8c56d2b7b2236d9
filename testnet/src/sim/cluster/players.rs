//! Byzantine validators on their stage.

use epione_node::wire::Frame;
use epione_types::TimestampMs;

use super::{Cluster, Event, TURN};
use crate::sim::actors::{Actor, Outgoing, Stage};
use crate::sim::clock::{MS, NodeClock};

impl Cluster<'_> {
    pub(super) fn play<T>(&mut self, at: usize, act: impl FnOnce(&mut dyn Actor, &mut Stage<'_>) -> T) -> T {
        let now = self.queue.now();
        let me = self.players[at].who;
        let clock = TimestampMs(NodeClock::default().wall_ms(now));
        let player = &mut self.players[at];
        let mut out = Vec::new();
        let mut stage = Stage {
            now,
            clock,
            me,
            chain: self.common.origin.chain,
            set: &self.common.genesis.validators,
            signer: &self.common.signers[me],
            random: &mut player.random,
            out: &mut out,
            deeds: &mut player.deeds,
        };
        let result = act(&mut *player.actor, &mut stage);
        for Outgoing { to, class, bytes, delay } in out {
            if self.options.canary
                && let Ok(Frame::Message(message)) = Frame::decode(&bytes)
            {
                self.checks.sent(me, &message);
            }
            if to != me && to < self.plan.n {
                self.leaves(me, to, class, bytes, now + TURN + delay);
            }
        }
        result
    }

    pub(super) fn actor_tick(&mut self, player: usize) {
        let next = self.queue.now() + self.plan.tick_ms * MS;
        self.queue.at(next, Event::Actor(player));
        self.play(player, |actor, stage| actor.tick(stage));
    }
}
