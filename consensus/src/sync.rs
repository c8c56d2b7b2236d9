//! Lost messages, falling behind, restarting (R22, R23).
//!
//! A status says what its sender has; whoever holds more answers with signed messages, so nothing has to be
//! believed. Further behind than the window, certified blocks are fetched from any peer: the certificate is
//! checked before they come in, the header after execution. Tested by `tests/rules.rs` (R22, R23).

use std::collections::BTreeMap;

use epione_types::genesis::WINDOW_MAX;
use epione_types::{Hash, Height, ValidatorIndex, View};

use crate::event::{Effect, Halt, Step};
use crate::guard::{self, Guard};
use crate::message::{Body, Kind, Message, SlotStatus, Status, VerifiedBlocks, bit};
use crate::replica::Replica;
use crate::slot::{Slot, Tally};

/// Blocks that wait for execution when more are asked for: what is asked for is on its way meanwhile.
const BACKLOG: u64 = 2 * WINDOW_MAX;

/// A batch that is missing and who should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) height: Height,
    pub(crate) from: Vec<ValidatorIndex>,
}

/// What is being fetched, and how answers to peers are paced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetching {
    /// Blocks asked for: up to which height, of whom, when.
    pub(crate) blocks: Option<(Height, u64)>,
    /// How many times blocks were asked for: the next peer in turn.
    turn: u64,
    /// When each peer's status was answered last.
    answered: BTreeMap<ValidatorIndex, u64>,
}

impl Fetching {
    /// Peers have other places now; whose turn it is goes on.
    pub(crate) fn of_another_epoch(self) -> Self {
        Self { turn: self.turn, ..Self::default() }
    }
}

fn bits(tally: &Tally) -> u128 {
    tally.keys().fold(0, |bits, who| bits | bit(*who))
}

impl Replica {
    /// Asks for a batch by digest; again at every status tick until it is here.
    pub(crate) fn want(&mut self, digest: Hash, height: Height, from: Vec<ValidatorIndex>, step: &mut Step) {
        let known =
            self.wanted.get(&digest).is_some_and(|want| from.iter().all(|who| want.from.contains(who)));
        if known || self.batches.contains_key(&digest) {
            return;
        }
        let want = self.wanted.entry(digest).or_insert_with(|| Want { height, from: Vec::new() });
        for who in from {
            if who != self.config.me && !want.from.contains(&who) {
                want.from.push(who);
            }
        }
        let from = want.from.clone();
        step.effects.push(Effect::FetchBatch { height, digest, from });
    }

    /// On the status tick: whatever is still missing is asked for again, batches from everybody.
    pub(crate) fn fetch_again(&mut self, step: &mut Step) {
        let everybody: Vec<ValidatorIndex> = self.others().collect();
        for (digest, want) in &self.wanted {
            step.effects.push(Effect::FetchBatch {
                height: want.height,
                digest: *digest,
                from: everybody.clone(),
            });
        }
        self.catch_up(step);
    }

    /// A certificate above what is delivered, and no way there by votes at hand: fetch blocks (R23).
    pub(crate) fn catch_up(&mut self, step: &mut Step) {
        let Some((from, to)) = self.worth_asking() else { return };
        let by_votes = self
            .slots
            .get(&from)
            .and_then(|slot| slot.ordered.as_ref())
            .is_some_and(|one| from > self.delivered && self.batches.contains_key(&one.digest));
        // Blocks are not fetched faster than they are executed.
        let backlog = self.delivered.0.saturating_sub(self.executed.height.0);
        if to < from || by_votes || self.halted.is_some() || backlog > BACKLOG {
            return;
        }
        let now = self.timers.now;
        let recent = self.fetching.blocks.is_some_and(|(up_to, at)| {
            from <= up_to && now.saturating_sub(at) < self.timers.status_interval().saturating_mul(2)
        });
        if recent {
            return;
        }
        let peers: Vec<ValidatorIndex> = self.others().collect();
        let Some(len) = u64::try_from(peers.len()).ok().filter(|len| *len > 0) else { return };
        let at = usize::try_from(self.fetching.turn % len).unwrap_or(0);
        self.fetching.turn = self.fetching.turn.wrapping_add(1);
        self.fetching.blocks = Some((to, now));
        if let Some(peer) = peers.get(at) {
            step.effects.push(Effect::FetchBlocks { from, to, peer: *peer });
        }
    }

    /// Which blocks are worth asking for. Nobody tells one who is no validator what there is: it asks, for what it has
    /// executed without a certificate too (R20). It asks without end: nobody need hold the certificate that its own log does,
    /// nor any other up to there.
    fn worth_asking(&self) -> Option<(Height, Height)> {
        if let Some(certificate) = &self.pending_certificate {
            let to = if self.config.is_member() { certificate.height } else { self.end() };
            return Some((self.delivered.next(), to));
        }
        let asks = !self.config.is_member() && self.delivered == self.executed.height;
        asks.then(|| (self.low.next(), self.end()))
    }

    /// Fetched blocks: executed in order on top of the tip; each header is compared after execution.
    pub(crate) fn on_blocks(&mut self, blocks: VerifiedBlocks, step: &mut Step) {
        self.fetching.blocks = None;
        let top = blocks.certificate.height;
        let newer = self.pending_certificate.as_ref().is_none_or(|held| held.height < top);
        if newer && top > self.executed.height {
            self.pending_certificate = Some(blocks.certificate.clone());
        }
        for block in blocks.blocks {
            if block.height != self.delivered.next() || self.halted.is_some() {
                continue; // already here: syncing to one's own height changes nothing
            }
            let slot = self.slots.entry(block.height).or_default();
            if let Some(ordered) = slot.ordered.as_ref().filter(|one| one.digest != block.payload.digest()) {
                let (height, mine) = (block.height, ordered.digest);
                return self.halt(Halt::Conflict { height, mine, theirs: block.payload.digest() }, step); // R31
            }
            self.delivered = block.height;
            slot.vouched = Some(block.header_hash);
            slot.sealed_digest.get_or_insert(block.payload.digest());
            step.effects.push(Effect::Deliver { height: block.height, payload: block.payload });
        }
        self.adopt(blocks.certificate, step);
        self.deliver_ready(step);
        self.catch_up(step);
    }

    pub(crate) fn on_connected(&mut self, peer: ValidatorIndex, step: &mut Step) {
        self.fetching.answered.remove(&peer);
        if !self.config.is_member() {
            return;
        }
        let status = self.status();
        step.effects.push(Effect::Send(peer, status));
    }

    pub(crate) fn broadcast_status(&self, step: &mut Step) {
        if self.others().next().is_some() && self.config.is_member() {
            Self::broadcast(self.status(), step);
        }
    }

    fn status(&self) -> Message {
        let slots = (self.low.next().0..=self.low.plus(self.window).0)
            .map(|height| {
                self.slots
                    .get(&Height(height))
                    .map_or_else(SlotStatus::default, |slot| self.slot_status(slot))
            })
            .collect();
        let view = self.view.max(self.asked);
        let suspects = self.suspects.values().filter(|vote| vote.vote.view >= view);
        let asking = self.view_changes.iter().filter(|(_, change)| change.body.view >= self.asked);
        let status = Status {
            epoch: self.config.set.epoch,
            view: self.view,
            asked: self.asked,
            low: self.low,
            delivered: self.delivered,
            suspects: suspects.fold(0, |bits, vote| bits | bit(vote.from)),
            view_changes: asking.fold(0, |bits, (who, _)| bits | bit(*who)),
            slots,
        };
        Message::Status(Box::new(status.sign(self.config.chain, self.config.me, &*self.signer)))
    }

    fn slot_status(&self, slot: &Slot) -> SlotStatus {
        let votes = slot.views.get(&self.view);
        let digest = slot.ordered.as_ref().map(|one| one.digest);
        SlotStatus {
            prepares: votes.map_or(0, |votes| {
                let batch = votes.pre_prepare.filter(|vote| self.batches.contains_key(&vote.vote.digest));
                bits(&votes.prepares) | batch.map_or(0, |vote| bit(vote.from))
            }),
            commits: votes.map_or(0, |votes| bits(&votes.commits)),
            seals: bits(&slot.seals),
            ordered: digest.is_some_and(|digest| self.batches.contains_key(&digest))
                || slot.executed.is_some(),
        }
    }

    /// Sends a peer what it lacks and is here (R22).
    pub(crate) fn on_status(&mut self, from: ValidatorIndex, theirs: &Status, step: &mut Step) {
        if from == self.config.me {
            return;
        }
        self.timers.heard(from);
        if !guard::holds(Guard::Resend) {
            return;
        }
        let now = self.timers.now;
        let gap = self.timers.status_interval() / 4;
        if self.fetching.answered.get(&from).is_some_and(|at| now.saturating_sub(*at) < gap) {
            return; // rate limit
        }
        self.fetching.answered.insert(from, now);
        let mut send = |message| step.effects.push(Effect::Send(from, message));
        if theirs.low < self.low
            && let Some(certificate) = self.low_certificate.clone()
        {
            send(Message::Certificate(certificate));
        }
        if theirs.view < self.view
            && let Some(new_view) = &self.new_view
        {
            send(Message::NewView(Box::new((**new_view).clone())));
        }
        let their_view = theirs.view.max(theirs.asked);
        for (who, change) in &self.view_changes {
            let lacks = change.body.view > theirs.asked || theirs.view_changes & bit(*who) == 0;
            if change.body.view >= theirs.asked && change.body.view > theirs.view && lacks {
                send(Message::ViewChange(Box::new((**change).clone())));
            }
        }
        for vote in self
            .suspects
            .values()
            .filter(|vote| vote.vote.view >= their_view && theirs.suspects & bit(vote.from) == 0)
        {
            send(Message::Vote(*vote));
        }
        for (at, has) in theirs.slots.iter().enumerate() {
            let height = theirs.low.plus(at as u64 + 1);
            for message in self.missing(height, theirs.view, has) {
                send(message);
            }
        }
    }

    /// Own messages of a slot that a peer in `view` does not have, and q Commits if it has not got there.
    fn missing(&self, height: Height, view: View, has: &SlotStatus) -> Vec<Message> {
        let Some(slot) = self.slots.get(&height) else { return Vec::new() };
        let mine = bit(self.config.me);
        let mut messages = Vec::new();
        if !has.ordered {
            if let Some(ordered) = &slot.ordered {
                messages.push(Message::Commits(ordered.clone()));
            }
            if view == self.view {
                messages.extend(self.own_slot_votes(
                    height,
                    slot,
                    has.prepares & mine == 0,
                    has.commits & mine == 0,
                ));
            }
        } else if view == self.view && has.commits & mine == 0 {
            messages.extend(self.own_slot_votes(height, slot, has.prepares & mine == 0, true));
        }
        if has.seals & mine == 0
            && let Some(sealed) = slot.sealed
        {
            messages.push(Message::Vote(self.own_vote(Kind::Seal, View::ZERO, height, sealed)));
        }
        messages
    }

    /// Own proposal or Prepare, and Commit, of the entered view at this height.
    fn own_slot_votes(&self, height: Height, slot: &Slot, prepare: bool, commit: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let Some(votes) = slot.views.get(&self.view) else { return messages };
        let Some(digest) = votes.accepted else { return messages };
        if prepare {
            match votes.pre_prepare.filter(|vote| vote.from == self.config.me) {
                Some(vote) => {
                    let batch = self.batches.get(&digest).map(|held| held.payload.bytes().clone());
                    messages.push(Message::Proposal(vote, batch));
                }
                None => messages.push(Message::Vote(self.own_vote(Kind::Prepare, self.view, height, digest))),
            }
        }
        if commit && votes.committed {
            messages.push(Message::Vote(self.own_vote(Kind::Commit, self.view, height, digest)));
        }
        messages
    }

    /// After a restart everything of one's own above low is said again, the unsent proposal too (R22).
    /// Seals follow from execution.
    pub(crate) fn own_messages(&self, step: &mut Step) {
        if let Some(new_view) = self.new_view.as_ref().filter(|one| one.from == self.config.me) {
            Self::broadcast(Message::NewView(Box::new((**new_view).clone())), step); // before what it lists
        }
        for (height, slot) in &self.slots {
            for message in self.own_slot_votes(*height, slot, true, true) {
                Self::broadcast(message, step);
            }
        }
        if self.asked > self.view {
            let own = self.view_changes.get(&self.config.me);
            step.effects.extend(
                own.map(|change| Effect::Broadcast(Message::ViewChange(Box::new((**change).clone())))),
            );
        }
        self.broadcast_status(step);
    }
}
