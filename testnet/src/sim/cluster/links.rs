//! Who is linked to whom, by network keys: each process says whom it lists and under which number, as the real network does.
//!
//! There is a link where both list each other. When a peer's number changes, the link is taken down with whatever is on its
//! way and made anew, so nothing arrives under another's number.

use epione_node::network::Peer;
use epione_types::{Epoch, Signer as _, ValidatorIndex, ValidatorSet, call::ProposalAction};

use super::{Cluster, Event};
use crate::sim::clock::MS;
use crate::sim::random::{Purpose, Rng};

impl Cluster<'_> {
    /// Another one's number with a body.
    pub(super) fn number(&self, body: usize, node: usize) -> Option<ValidatorIndex> {
        let (number, _) = self.bodies[body].peers.iter().find(|(_, other)| **other == node)?;
        u16::try_from(*number).ok().map(ValidatorIndex)
    }

    fn lists(&self, node: usize, other: usize) -> bool {
        self.bodies.iter().any(|one| one.who == node && one.peers.values().any(|peer| *peer == other))
    }

    /// Does each of them list the other?
    pub(super) fn are_linked(&self, a: usize, b: usize) -> bool {
        self.lists(a, b) && self.lists(b, a)
    }

    /// Is it up as one that is no validator where it is?
    pub(super) fn follows(&self, node: usize) -> bool {
        let key = self.common.signers[node].public_key();
        self.bodies
            .iter()
            .any(|one| one.who == node && one.process.is_some() && one.set.index_of(&key).is_none())
    }

    /// A process says whom it may be linked to from now on.
    pub(super) fn roster(&mut self, body: usize, set: ValidatorSet, peers: &[Peer]) {
        let now = self.queue.now();
        let node = self.bodies[body].who;
        self.trace.note(now, 22, body, set.epoch.0, &set.hash().0, || {
            format!("is in epoch {} with {} validators and has {} peers", set.epoch, set.len(), peers.len())
        });
        if self.bodies[body].honest {
            self.has_begun(&set);
        }
        let machine = |key: &[u8; 32]| self.common.network_keys.iter().position(|one| one.0 == *key);
        let peers =
            peers.iter().filter_map(|peer| Some((usize::from(peer.index.0), machine(&peer.key)?))).collect();
        let one = &mut self.bodies[body];
        one.set = set;
        let before = core::mem::replace(&mut one.peers, peers);
        let changed = |(number, peer): (&usize, &usize)| {
            (one.peers.get(number) != Some(peer)).then_some((*number, *peer))
        };
        let gone: Vec<(usize, usize)> = before.iter().filter_map(changed).collect();
        let new: Vec<usize> = one
            .peers
            .iter()
            .filter(|(number, peer)| before.get(number) != Some(*peer))
            .map(|(_, peer)| *peer)
            .collect();
        if before.is_empty() {
            return; // it has just started, and is connected then
        }
        let random = &mut Rng::new(self.plan.seed, Purpose::Link, &[u64::MAX - 1, node as u64, now]);
        for (number, peer) in gone {
            let heard = now + self.net.way(random);
            self.net.renew(node, peer, heard + random.within(50, 250) * MS);
            let number = ValidatorIndex(u16::try_from(number).unwrap_or(u16::MAX));
            self.input(body, epione_node::driver::Input::Disconnected(number));
            for (other, one) in self.bodies.iter().enumerate().filter(|(_, one)| one.who == peer) {
                self.queue.at(heard, Event::Disconnected { body: other, life: one.life, peer: node });
            }
        }
        for peer in new {
            self.connect_pair(node, peer, now);
        }
    }

    /// The first honest node is in this epoch.
    fn has_begun(&mut self, set: &ValidatorSet) {
        while self.begun < set.epoch {
            self.begun = Epoch(self.begun.0 + 1);
            let roll = self.roll.borrow();
            let Some(era) = roll.era(self.begun) else { return };
            let what = match &era.by {
                Some(ProposalAction::ChangeValidators { remove: None, .. }) => "joined",
                Some(ProposalAction::ChangeValidators { add: None, .. }) => "left",
                Some(ProposalAction::ChangeValidators { .. }) => "replaced",
                _ => "params changed",
            };
            let bad = roll.members(&era.set).iter().filter(|node| {
                let lost = self.bodies.iter().any(|one| one.who == *node && one.refused.is_some());
                lost || self.plan.actor(*node).is_some()
            });
            let (bad, borne) = (bad.count(), era.set.faults());
            drop(roll);
            self.counts.add("changes begun", 1);
            self.counts.add(what, 1);
            if bad > borne {
                self.harness =
                    Some(format!("{bad} faulty validators in epoch {}, {borne} are borne", self.begun));
            }
        }
    }
}
