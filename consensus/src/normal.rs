//! Normal case (R7): propose, prepare, commit, deliver, seal, certify.
//!
//! Each message only adds a fact to its slot; [`Replica::advance`] then takes every step whose conditions now
//! hold, each once per view and height. There is no other order of events to get wrong.
//! Tested by `tests/rules.rs` (R6-R13) and `tests/scripts/`.

use std::sync::Arc;

use epione_types::{Batch, BlockHeader, Certificate, Hash, Height, NextEpoch, View};

use crate::event::{Alarm, Effect, Halt, Misbehavior, Step};
use crate::guard::{self, Guard};
use crate::message::{CommitCertificate, Kind, Message, SignedVote};
use crate::payload::{Payload, null_digest};
use crate::record::Record;
use crate::replica::{Held, Opening, Replica, Tip, Validity};
use crate::slot::{Tally, Votes, for_digest};

/// One vote of a validator in a tally; a second, different one is evidence.
enum Counted {
    New,
    Again,
    Contradiction(SignedVote),
}

fn count(tally: &mut Tally, vote: SignedVote) -> Counted {
    match tally.get(&vote.from) {
        None => {
            tally.insert(vote.from, (vote.vote.digest, vote.signature));
            Counted::New
        }
        Some((digest, _)) if *digest == vote.vote.digest => Counted::Again,
        Some((digest, signature)) => {
            let first = SignedVote {
                vote: crate::message::Vote { digest: *digest, ..vote.vote },
                signature: *signature,
                ..vote
            };
            Counted::Contradiction(first)
        }
    }
}

impl Replica {
    /// Where the primary may propose now; none if it may not (R7).
    #[must_use]
    pub fn opening(&self) -> Option<Opening> {
        if !self.voting() || !self.is_primary() {
            return None;
        }
        let height = self.proposed.max(self.low).max(self.base).next();
        // Up to a certified height that is not here yet, everything is decided already.
        let decided =
            self.pending_certificate.as_ref().map_or(Height::ZERO, |one| one.height).max(self.delivered);
        if !self.in_window(height) || height <= decided {
            return None;
        }
        Some(Opening { view: self.view, height, idle: self.proposed <= self.delivered })
    }

    pub(crate) fn on_propose(&mut self, view: View, height: Height, payload: Arc<Payload>, step: &mut Step) {
        let fits = self.opening().is_some_and(|opening| opening.view == view && opening.height == height);
        let mine = payload.stamp().is_some_and(|(proposer, _)| proposer == self.config.me);
        if !fits || !mine {
            return; // a stale answer changes nothing
        }
        let vote = self.own_vote(Kind::PrePrepare, view, height, payload.digest());
        let message = Message::Proposal(vote, Some(payload.bytes().clone()));
        self.hold(payload, height, Validity::Valid);
        self.accept(vote, step);
        Self::broadcast(message, step);
        self.advance(height, step);
    }

    /// Proposes an empty batch: time has to move and nothing else does it (R11).
    pub(crate) fn propose_empty(&mut self, step: &mut Step) {
        let Some(opening) = self.opening().filter(|opening| opening.idle) else { return };
        let batch = Batch::Proposed { proposer: self.config.me, stamp: self.timers.clock, txs: Vec::new() };
        self.on_propose(opening.view, opening.height, Arc::new(Payload::new(batch)), step);
    }

    pub(crate) fn on_proposal(&mut self, vote: SignedVote, payload: Option<Arc<Payload>>, step: &mut Step) {
        let crate::message::Vote { view, height, digest, .. } = vote.vote;
        if vote.from == self.config.me {
            self.check_own(&vote, step);
        }
        if let Some(payload) = payload.as_ref().filter(|payload| self.wanted.contains_key(&payload.digest()))
        {
            self.on_batch(payload.clone(), step);
        }
        if !self.keeps(height, view) {
            return;
        }
        if digest == null_digest() && view == self.view && !self.is_listed(view, height) {
            let proof = vec![Message::Proposal(vote, None)];
            return self.primary_is_faulty(view, Misbehavior::NullBatch, proof, step); // R11
        }
        let skew = self.config.set.params.max_clock_skew_ms;
        let clock = self.timers.clock;
        let votes = self.votes(height, view);
        if !guard::holds(Guard::VoteOnce)
            && votes.pre_prepare.is_some_and(|first| first.vote.digest != digest)
        {
            *votes = Votes::default();
        }
        match votes.pre_prepare {
            Some(first) if first.vote.digest != digest => {
                self.accuse(first, vote, step);
                let proof = vec![Message::Proposal(first, None), Message::Proposal(vote, None)];
                return self.primary_is_faulty(view, Misbehavior::Equivocation, proof, step);
            }
            Some(_) => {}
            None => votes.pre_prepare = Some(vote),
        }
        if let Some(payload) = payload {
            // R9: judged when it arrives.
            votes.stamp_ok |= payload.stamp().is_some_and(|(_, stamp)| stamp.0.abs_diff(clock.0) <= skew);
            self.hold(payload, height, Validity::Unknown);
        }
        self.advance(height, step);
    }

    pub(crate) fn on_batch(&mut self, payload: Arc<Payload>, step: &mut Step) {
        // Only what was asked for is taken (R28).
        let Some(want) = self.wanted.remove(&payload.digest()) else { return };
        self.hold(payload, want.height, Validity::Unknown);
        self.advance(want.height, step);
    }

    pub(crate) fn on_validated(&mut self, digest: Hash, valid: bool, step: &mut Step) {
        let Some(held) = self.batches.get_mut(&digest) else { return };
        let valid = valid || !guard::holds(Guard::InvalidBatch);
        held.validity = if valid { Validity::Valid } else { Validity::Invalid };
        self.advance_all(step); // the batch may be of more than one slot
    }

    pub(crate) fn on_prepare(&mut self, vote: SignedVote, step: &mut Step) {
        let crate::message::Vote { view, height, .. } = vote.vote;
        if vote.from == crate::primary(&self.config.set, view) && guard::holds(Guard::PrimaryCountsOnce) {
            return; // R6: the PrePrepare is the primary's Prepare
        }
        self.on_slot_vote(vote, step);
        self.advance(height, step);
    }

    pub(crate) fn on_commit(&mut self, vote: SignedVote, step: &mut Step) {
        self.on_slot_vote(vote, step);
        self.advance(vote.vote.height, step);
    }

    fn on_slot_vote(&mut self, vote: SignedVote, step: &mut Step) {
        let crate::message::Vote { kind, view, height, .. } = vote.vote;
        if vote.from == self.config.me {
            return self.check_own(&vote, step);
        }
        if !self.keeps(height, view) {
            return;
        }
        let votes = self.votes(height, view);
        let tally = if kind == Kind::Prepare { &mut votes.prepares } else { &mut votes.commits };
        if let Counted::Contradiction(first) = count(tally, vote) {
            self.accuse(first, vote, step);
        }
    }

    /// q Commits that somebody collected, of whatever view (R22).
    pub(crate) fn on_commits(&mut self, certificate: CommitCertificate, step: &mut Step) {
        if self.kept_height(certificate.height) {
            self.ordered(certificate, step);
        }
    }

    fn ordered(&mut self, certificate: CommitCertificate, step: &mut Step) {
        let height = certificate.height;
        let slot = self.slots.entry(height).or_default();
        match &slot.ordered {
            Some(held) if held.digest != certificate.digest => {
                let halt = Halt::Conflict { height, mine: held.digest, theirs: certificate.digest };
                return self.halt(halt, step);
            }
            Some(_) => return,
            None => slot.ordered = Some(certificate),
        }
        self.deliver_ready(step);
    }

    /// Takes every step of this height whose conditions hold.
    pub(crate) fn advance(&mut self, height: Height, step: &mut Step) {
        self.prepare(height, step);
        self.commit(height, step);
        self.gather_commits(height, step);
        self.deliver_ready(step);
        self.certify(height, step);
    }

    pub(crate) fn is_listed(&self, view: View, height: Height) -> bool {
        view == self.view && self.listed.contains_key(&height)
    }

    fn prepare(&mut self, height: Height, step: &mut Step) {
        if !self.voting() || !self.in_window(height) {
            return; // R7
        }
        if height <= self.base && guard::holds(Guard::NewViewBase) {
            return; // R19: only its certificate counts here
        }
        let (view, me) = (self.view, self.config.me);
        let listed = self.listed.get(&height).copied();
        if listed.is_none() && height <= self.proposed_list_top() {
            return;
        }
        let votes = self.votes(height, view);
        if votes.accepted.is_some() {
            return; // once per (e, v, h)
        }
        if let Some(listed) = listed {
            votes.pre_prepare = Some(listed); // R19
        }
        let Some(pre_prepare) = votes.pre_prepare else { return self.fetch_supported(height, step) };
        let stamp_ok = votes.stamp_ok;
        let digest = pre_prepare.vote.digest;
        let acceptances: Vec<_> = votes.acceptances(digest).filter(|who| *who != me).collect();
        if pre_prepare.from == me && listed.is_none() {
            return; // own proposals are accepted when made
        }
        let epoch = self.config.set.epoch;
        let Some(held) = self.batches.get_mut(&digest) else {
            return self.want(digest, height, acceptances, step);
        };
        match held.validity {
            Validity::Asked => return,
            Validity::Unknown => {
                held.validity = Validity::Asked;
                return step.effects.push(Effect::Validate { epoch, payload: held.payload.clone() });
            }
            Validity::Invalid if listed.is_some() => {
                return self.halt(Halt::InvalidPrepared { digest }, step);
            } // R31
            Validity::Invalid => {
                let proof = vec![Message::Proposal(pre_prepare, Some(held.payload.bytes().clone()))];
                return self.primary_is_faulty(view, Misbehavior::InvalidBatch, proof, step); // R8
            }
            Validity::Valid => {}
        }
        if listed.is_none() {
            if held.payload.stamp().is_none_or(|(proposer, _)| proposer != pre_prepare.from) {
                let proof = vec![Message::Proposal(pre_prepare, Some(held.payload.bytes().clone()))];
                return self.primary_is_faulty(view, Misbehavior::InvalidBatch, proof, step); // R8: proposer = primary
            }
            if !stamp_ok && acceptances.len() <= self.faults && guard::holds(Guard::Stamp) {
                return; // R9: f+1 acceptances by others stand in
            }
        }
        self.accept(pre_prepare, step);
        if pre_prepare.from != self.config.me {
            let own = self.own_vote(Kind::Prepare, view, height, digest);
            Self::broadcast(Message::Vote(own), step);
        }
        if listed.is_none() {
            self.note_empty(height, step); // may end voting in this view (R17): the vote comes first
        }
    }

    /// Highest height of the NewView's list.
    fn proposed_list_top(&self) -> Height {
        self.listed.keys().next_back().copied().unwrap_or(Height::ZERO)
    }

    /// Records the acceptance; the own Prepare is counted with it.
    fn accept(&mut self, pre_prepare: SignedVote, step: &mut Step) {
        let crate::message::Vote { height, digest, .. } = pre_prepare.vote;
        self.log_batch(digest, height, step);
        self.record(Record::Accepted(pre_prepare), step);
    }

    fn log_batch(&mut self, digest: Hash, height: Height, step: &mut Step) {
        let Some(held) = self.batches.get_mut(&digest) else { return };
        if held.logged {
            if !held.payload.is_null() {
                held.height = held.height.max(height);
            }
            return;
        }
        held.logged = true;
        held.height = height;
        let bytes = held.payload.bytes().clone();
        self.record(Record::Batch { height, bytes }, step);
    }

    pub(crate) fn hold(&mut self, payload: Arc<Payload>, height: Height, validity: Validity) {
        self.wanted.remove(&payload.digest());
        let held = Held { payload, height, logged: false, validity };
        self.batches.entry(held.payload.digest()).or_insert(held);
    }

    /// f+1 votes for a digest without its proposal: at least one correct validator has it (R7).
    fn fetch_supported(&mut self, height: Height, step: &mut Step) {
        let (view, faults) = (self.view, self.faults);
        let votes = self.votes(height, view);
        let mut digests: Vec<Hash> =
            votes.prepares.values().chain(votes.commits.values()).map(|(d, _)| *d).collect();
        digests.sort_unstable();
        digests.dedup();
        let supported = digests.into_iter().find_map(|digest| {
            let mut who: Vec<_> = for_digest(&votes.prepares, digest)
                .chain(for_digest(&votes.commits, digest))
                .map(|(w, _)| w)
                .collect();
            who.sort_unstable();
            who.dedup();
            (who.len() > faults).then_some((digest, who))
        });
        if let Some((digest, who)) = supported {
            self.want(digest, height, who, step);
        }
    }

    fn commit(&mut self, height: Height, step: &mut Step) {
        if !self.voting() || !self.in_window(height) {
            return;
        }
        let (view, quorum) = (self.view, self.quorum);
        let votes = self.votes(height, view);
        if votes.committed || votes.accepted.is_none() {
            return;
        }
        let Some(certificate) = votes.prepared(quorum).filter(|one| votes.accepted == Some(one.digest()))
        else {
            return;
        };
        let digest = certificate.digest();
        self.record(Record::Prepared(certificate), step);
        let own = self.own_vote(Kind::Commit, view, height, digest);
        Self::broadcast(Message::Vote(own), step);
    }

    /// Commits of any kept view order a batch, those of a view already left too.
    fn gather_commits(&mut self, height: Height, step: &mut Step) {
        let quorum = self.quorum;
        let Some(slot) = self.slots.get(&height) else { return };
        let found = slot.views.iter().find_map(|(view, votes)| {
            votes.ordered(quorum).map(|(digest, commits)| (*view, digest, commits))
        });
        if let Some((view, digest, commits)) = found {
            let epoch = self.config.set.epoch;
            self.ordered(CommitCertificate { epoch, view, height, digest, commits }, step);
        }
    }

    /// Hands ordered batches to execution, in height order, each with its batch in the log (R7). What was sealed before a
    /// restart is ordered for ever, and stands in the log: it may be nowhere else (R4).
    pub(crate) fn deliver_ready(&mut self, step: &mut Step) {
        while self.halted.is_none() {
            let height = self.delivered.next();
            let Some(slot) = self.slots.get(&height) else { return };
            let commits = slot.ordered.as_ref().map(|certificate| (certificate.digest, &certificate.commits));
            let Some(digest) = commits.map(|(digest, _)| digest).or(slot.sealed_digest) else { return };
            let epoch = self.config.set.epoch;
            let Some(held) = self.batches.get_mut(&digest) else {
                let from = commits.into_iter().flat_map(|(_, commits)| commits.iter()).map(|(who, _)| who);
                let from: Vec<_> = from.filter(|who| *who != self.config.me).collect();
                return self.want(digest, height, from, step);
            };
            match held.validity {
                Validity::Asked => return,
                Validity::Unknown => {
                    held.validity = Validity::Asked;
                    return step.effects.push(Effect::Validate { epoch, payload: held.payload.clone() });
                }
                Validity::Invalid => return self.halt(Halt::InvalidPrepared { digest }, step), // R31
                Validity::Valid => {}
            }
            let payload = held.payload.clone();
            self.log_batch(digest, height, step);
            self.delivered = height;
            self.timers.delivered(payload.is_full(&self.config.set.params));
            step.effects.push(Effect::Deliver { height, payload });
        }
    }

    pub(crate) fn on_executed(&mut self, header: &BlockHeader, next: Option<NextEpoch>, step: &mut Step) {
        let tip = Tip::of(header);
        if tip.height != self.executed.height.next() {
            return; // an answer for a closed height changes nothing
        }
        self.learn(next);
        self.executed = tip;
        self.delivered = self.delivered.max(tip.height);
        if tip.height <= self.low {
            return;
        }
        self.slots.entry(tip.height).or_default().executed = Some(tip.hash);
        self.settle(tip, step);
        if let Some(certificate) = self.slots.get_mut(&tip.height).and_then(|slot| slot.certificate.take()) {
            self.adopt(certificate, step);
        }
        if let Some(certificate) = self.pending_certificate.take_if(|one| one.height <= tip.height) {
            self.adopt(certificate, step);
        }
        self.certify(tip.height, step);
        self.catch_up(step);
    }

    /// Compares an executed header with what was sealed or vouched for, then seals it (R13).
    pub(crate) fn settle(&mut self, tip: Tip, step: &mut Step) {
        let slot = self.slots.entry(tip.height).or_default();
        if let Some(sealed) = slot.sealed.filter(|sealed| *sealed != tip.hash) {
            return self.halt(Halt::Replay { height: tip.height, sealed, executed: tip.hash }, step);
        }
        if let Some(theirs) = slot.vouched.filter(|vouched| *vouched != tip.hash) {
            return self.halt(Halt::Diverged { height: tip.height, mine: tip.hash, theirs }, step);
        }
        // Below a certificate that is already here a Seal adds nothing.
        if self.halted.is_none()
            && self.config.is_member()
            && self.pending_certificate.as_ref().is_none_or(|one| one.height < tip.height)
        {
            self.seal(tip, step);
        }
    }

    fn seal(&mut self, tip: Tip, step: &mut Step) {
        let already = self.slots.get(&tip.height).is_some_and(|slot| slot.sealed.is_some());
        if !already {
            let epoch = self.config.set.epoch;
            let (height, digest, header_hash) = (tip.height, tip.batch_digest, tip.hash);
            self.record(Record::Sealed { epoch, height, digest, header_hash }, step);
        }
        let own = self.own_vote(Kind::Seal, View::ZERO, tip.height, tip.hash);
        Self::broadcast(Message::Vote(own), step);
    }

    pub(crate) fn on_seal(&mut self, vote: SignedVote, step: &mut Step) {
        let height = vote.vote.height;
        if vote.from == self.config.me {
            return self.check_own(&vote, step);
        }
        if !self.kept_height(height) {
            return;
        }
        let slot = self.slots.entry(height).or_default();
        if let Counted::Contradiction(first) = count(&mut slot.seals, vote) {
            self.accuse(first, vote, step);
        }
        self.certify(height, step);
    }

    /// q Seals with one header hash equal to mine certify it; others raise an alarm or halt (R13).
    pub(crate) fn certify(&mut self, height: Height, step: &mut Step) {
        let (quorum, faults, epoch) = (self.quorum, self.faults, self.config.set.epoch);
        let Some(slot) = self.slots.get_mut(&height) else { return };
        let Some(mine) = slot.executed else { return };
        let others = slot.seals.values().filter(|(header, _)| *header != mine).map(|(header, _)| *header);
        for theirs in others.collect::<std::collections::BTreeSet<_>>() {
            let count = for_digest(&slot.seals, theirs).count();
            if count >= quorum {
                return self.halt(Halt::Diverged { height, mine, theirs }, step);
            }
            if count > faults && !slot.alarmed {
                slot.alarmed = true;
                Self::alarm(Alarm::Diverging { height, mine, theirs }, step);
            }
        }
        let template = |signatures| Certificate { epoch, height, header_hash: mine, signatures };
        if let Some(certificate) = slot.certificate(mine, template, quorum) {
            self.adopt(certificate, step);
        }
    }

    /// A valid certificate: low moves to it once its block is executed here (R2).
    pub(crate) fn adopt(&mut self, certificate: Certificate, step: &mut Step) {
        let height = certificate.height;
        if height <= self.low || self.halted.is_some() {
            return;
        }
        if height > self.executed.height {
            if height <= self.delivered {
                self.slots.entry(height).or_default().certificate = Some(certificate.clone());
            }
            if self.pending_certificate.as_ref().is_none_or(|held| held.height < height) {
                self.pending_certificate = Some(certificate);
            }
            return self.catch_up(step);
        }
        let mine = if height == self.executed.height {
            Some(self.executed.hash)
        } else {
            self.slots.get(&height).and_then(|slot| slot.executed)
        };
        // A restart forgets headers between low and the tip; their Seals or a higher certificate settle them.
        let Some(mine) = mine else { return };
        if mine != certificate.header_hash && guard::holds(Guard::HeaderAgrees) {
            let halt = Halt::Diverged { height, mine, theirs: certificate.header_hash };
            return self.halt(halt, step); // R13
        }
        self.record(Record::Certified(certificate.clone()), step);
        self.pending_certificate.take_if(|one| one.height <= height);
        step.effects.push(Effect::Certified(certificate.clone()));
        self.low_certificate = Some(certificate);
        self.move_low(height, step);
    }

    fn move_low(&mut self, height: Height, step: &mut Step) {
        self.timers.certified(height.0.saturating_sub(self.low.0), self.window);
        self.low = height;
        let above = self.slots.split_off(&height.next());
        for (height, slot) in core::mem::replace(&mut self.slots, above) {
            self.closed.extend(slot.ordered.map(|one| (height, (one.view, one.digest))));
        }
        let floor = height.minus(self.window);
        self.closed.retain(|height, _| *height > floor);
        self.batches.retain(|_, held| held.height > height);
        self.wanted.retain(|_, want| want.height > height);
        self.turn(step);
        // What waited just above the window is inside it now.
        self.advance_all(step);
    }

    /// Every height that may have a step to take: with votes, or carried over by the NewView.
    pub(crate) fn advance_all(&mut self, step: &mut Step) {
        let heights: std::collections::BTreeSet<Height> =
            self.slots.keys().chain(self.listed.keys()).copied().collect();
        for height in heights {
            self.advance(height, step);
        }
    }
}
