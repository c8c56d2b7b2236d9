//! View change (R14, R17-R19): replace a primary without losing what may have committed.
//!
//! ```text
//!          timer: Suspect(v), voting goes on
//!  entered v ───────────────────────────────▶ entered v
//!     │ f+1 Suspects of v or ViewChanges above v, or proof against the primary
//!     ▼
//!  asked v' (accepts and commits nothing below) ──▶ q ViewChanges: the primary of v' sends NewView ──▶ entered v'
//! ```
//!
//! What may have committed has a prepared certificate at f+1 correct replicas, so any q ViewChanges show it,
//! and everybody recomputes the list. Tested by `tests/rules.rs` (R14-R19) and `tests/scripts/`.

use std::sync::Arc;

use epione_types::{Height, ValidatorIndex, View};

use crate::event::{Alarm, Effect, Foreign, Halt, Misbehavior, Step};
use crate::explain::Cause;
use crate::guard::{self, Guard};
use crate::message::{Body, Kind, Message, NewView, Signed, SignedVote, ViewChange, Vote, base_of, carried};
use crate::record::Record;
use crate::replica::Replica;

/// Views further ahead are no views (R28).
const VIEW_AHEAD_MAX: u64 = 1 << 32;

impl Replica {
    /// The (small) reason to look again: a timer of this view fired at its sender.
    pub(crate) fn on_suspect(&mut self, vote: SignedVote, step: &mut Step) {
        if vote.from == self.config.me {
            return; // binds nothing: after a restart it may well come back to us
        }
        self.note_suspect(vote);
        self.try_leave(step);
    }

    fn note_suspect(&mut self, vote: SignedVote) {
        let known = self.suspects.get(&vote.from).map(|held| held.vote.view);
        if vote.vote.view >= self.view
            && self.believable(vote.vote.view)
            && known.is_none_or(|view| view < vote.vote.view)
        {
            self.suspects.insert(vote.from, vote); // one per validator, the highest (R28)
        }
    }

    fn believable(&self, view: View) -> bool {
        view.0 <= self.asked.0.saturating_add(VIEW_AHEAD_MAX)
    }

    /// A timer fired: say so, and keep voting (R14).
    pub(crate) fn suspect(&mut self, step: &mut Step) {
        let own = self.own_vote(Kind::Suspect, self.view, Height::ZERO, epione_types::Hash::ZERO);
        self.suspects.insert(own.from, own);
        Self::broadcast(Message::Vote(own), step);
        self.try_leave(step);
    }

    pub(crate) fn on_view_change(&mut self, change: Arc<Signed<ViewChange>>, step: &mut Step) {
        let (from, view) = (change.from, change.body.view);
        if from == self.config.me {
            return self.check_own_view(view, step);
        }
        if !self.believable(view) {
            return;
        }
        if let Some(certificate) = &change.body.certificate {
            self.adopt(certificate.clone(), step);
        }
        if change.body.epoch != self.config.set.epoch {
            return; // its certificate was the last of the epoch, and the next has begun (R20)
        }
        for suspect in &change.body.reason {
            self.note_suspect(*suspect); // its reason is ours too (R14)
        }
        let newer = self.view_changes.get(&from).is_none_or(|held| held.body.view < view);
        if view > self.view && newer {
            self.conflicting_prepared(&change.body, step);
            self.view_changes.insert(from, change); // the highest only (R28)
        }
        self.try_leave(step);
        self.try_new_view(step);
    }

    /// Two prepared certificates for one (e, v, h) prove more than f faults (R31).
    fn conflicting_prepared(&mut self, change: &ViewChange, step: &mut Step) {
        for theirs in &change.prepared {
            let mine = self.slots.get(&theirs.height()).and_then(|slot| slot.prepared.as_ref());
            if let Some(mine) =
                mine.filter(|mine| mine.view() == theirs.view() && mine.digest() != theirs.digest())
            {
                let halt =
                    Halt::Conflict { height: theirs.height(), mine: mine.digest(), theirs: theirs.digest() };
                return self.halt(halt, step);
            }
        }
    }

    /// Asks for a higher view when f+1 validators say so: at least one of them is correct (R14).
    pub(crate) fn try_leave(&mut self, step: &mut Step) {
        if self.halted.is_some() || !self.config.is_member() {
            return;
        }
        let current = self.asked;
        let faults = if guard::holds(Guard::ViewJump) { self.faults } else { 0 };
        // The (f+1)-th highest view asked for by distinct others.
        let me = self.config.me;
        let mut asked: Vec<View> = self
            .view_changes
            .iter()
            .filter(|(who, _)| **who != me)
            .map(|(_, change)| change.body.view)
            .collect();
        asked.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(jump) = asked.get(faults).filter(|view| **view > current) {
            return self.ask(*jump, step);
        }
        let leaves = |who: ValidatorIndex| {
            let suspects = self.suspects.get(&who).is_some_and(|vote| vote.vote.view == current);
            suspects || self.view_changes.get(&who).is_some_and(|change| change.body.view > current)
        };
        let support = self.others().chain([me]).filter(|who| leaves(*who)).count();
        if support > faults {
            self.ask(current.next(), step);
        }
    }

    /// Proof against the primary of `view`: leave it, unless it is left already. The proof goes to all, so that
    /// nobody leaves alone (R14).
    pub(crate) fn primary_is_faulty(
        &mut self,
        view: View,
        what: Misbehavior,
        proof: Vec<Message>,
        step: &mut Step,
    ) {
        if self.halted.is_some() || view != self.asked || !self.config.is_member() {
            return;
        }
        Self::alarm(Alarm::FaultyPrimary { view, what }, step);
        for message in proof {
            Self::broadcast(message, step);
        }
        self.causes.because(Cause::FaultyPrimary(what));
        self.ask(view.next(), step);
    }

    /// Sends ViewChange(v'); from its record on, nothing is accepted or committed in lower views (R17).
    pub(crate) fn ask(&mut self, view: View, step: &mut Step) {
        let left = self.asked;
        self.causes.left(self.view, left, view);
        let certificate = self.highest_certificate();
        let certified = certificate.as_ref().map_or(self.config.begin, |one| one.height);
        let top = certified.plus(self.window);
        let prepared = self
            .slots
            .range(certified.next()..)
            .take_while(|(height, _)| **height <= top)
            .filter_map(|(_, slot)| slot.prepared.clone())
            .filter(|_| guard::holds(Guard::PreparedCarried))
            .collect();
        let reason = self.suspects.values().filter(|vote| vote.vote.view == left).copied().collect();
        let epoch = self.config.set.epoch;
        let change = ViewChange { epoch, view, certificate, prepared, reason }.sign(
            self.config.chain,
            self.config.me,
            &*self.signer,
        );
        self.record(Record::Asked(change.clone()), step);
        self.timers.asked();
        Self::broadcast(Message::ViewChange(Box::new(change)), step);
        self.try_new_view(step);
    }

    fn highest_certificate(&self) -> Option<epione_types::Certificate> {
        self.pending_certificate.as_ref().or_else(|| self.own_certificate()).cloned()
    }

    /// How many validators ask for the view asked for, or a higher one (R16).
    pub(crate) fn askers(&self) -> usize {
        self.view_changes.values().filter(|change| change.body.view >= self.asked).count()
    }

    /// The new primary opens its view once q validators ask for exactly it (R18).
    fn try_new_view(&mut self, step: &mut Step) {
        let view = self.asked;
        if self.halted.is_some()
            || view == self.view
            || crate::primary(&self.config.set, view) != self.config.me
        {
            return;
        }
        let changes: Vec<Signed<ViewChange>> = self
            .view_changes
            .values()
            .filter(|change| change.body.view == view)
            .take(self.quorum)
            .map(|change| (**change).clone())
            .collect();
        if changes.len() < self.quorum {
            return;
        }
        let list = carried(self.config.begin, changes.iter().map(|change| &change.body));
        let pre_prepares = list
            .into_iter()
            .map(|(height, digest)| self.own_vote(Kind::PrePrepare, view, height, digest))
            .collect();
        let epoch = self.config.set.epoch;
        let new_view = NewView { epoch, view, view_changes: changes, pre_prepares }.sign(
            self.config.chain,
            self.config.me,
            &*self.signer,
        );
        let message = Message::NewView(Box::new(new_view.clone()));
        self.enter(new_view, step);
        Self::broadcast(message, step);
    }

    pub(crate) fn on_new_view(&mut self, new_view: &Signed<NewView>, step: &mut Step) {
        let body = &new_view.body;
        let entered = body.view <= self.view && guard::holds(Guard::FirstNewView);
        let known = entered || body.view < self.asked;
        if new_view.from == self.config.me && body.view > self.view {
            return self.halt(Halt::Impersonated { what: Foreign::NewView, height: Height::ZERO }, step); // R27
        }
        if known || self.halted.is_some() || !self.believable(body.view) {
            return; // the first valid NewView of a view is the one (R19)
        }
        let list = carried(self.config.begin, body.view_changes.iter().map(|change| &change.body));
        let offered = body.pre_prepares.iter().map(|vote| (vote.vote.height, vote.vote.digest));
        if !offered.eq(list.iter().copied()) && guard::holds(Guard::NewViewList) {
            // Everybody recomputes it; another list is proof against the primary (R18). Ask for the view after.
            Self::alarm(Alarm::FaultyPrimary { view: body.view, what: Misbehavior::NewViewList }, step);
            if !self.config.is_member() {
                return;
            }
            Self::broadcast(Message::NewView(Box::new(new_view.clone())), step);
            self.causes.because(Cause::FaultyPrimary(Misbehavior::NewViewList));
            return self.ask(body.view.next(), step);
        }
        if let Some(halt) = self.against_ordered(body, &list) {
            return self.halt(halt, step);
        }
        for change in &body.view_changes {
            self.conflicting_prepared(&change.body, step);
        }
        if self.halted.is_none() {
            self.enter(new_view.clone(), step);
        }
    }

    /// What is ordered here in a lower view, above the base, was prepared by f+1 correct replicas: it must be carried
    /// over (R31). What was ordered in a higher view says nothing about a NewView that comes late.
    fn against_ordered(&self, body: &NewView, list: &[(Height, epione_types::Hash)]) -> Option<Halt> {
        let base = body.base(self.config.begin);
        let open = self.slots.iter().filter_map(|(height, slot)| {
            slot.ordered.as_ref().map(|ordered| (*height, ordered.view, ordered.digest))
        });
        let closed = self.closed.iter().map(|(height, (view, digest))| (*height, *view, *digest));
        closed.chain(open).filter(|(height, view, _)| *height > base && *view < body.view).find_map(
            |(height, _, mine)| {
                let listed = list.iter().find(|(listed, _)| *listed == height).map(|(_, digest)| *digest);
                (listed != Some(mine)).then(|| {
                    let theirs = listed.unwrap_or_else(crate::payload::null_digest);
                    Halt::Conflict { height, mine, theirs }
                })
            },
        )
    }

    /// Enters a view: logged before anything is accepted in it (R4, R19).
    fn enter(&mut self, new_view: Signed<NewView>, step: &mut Step) {
        let base = base_of(new_view.body.view_changes.iter().map(|change| &change.body)).cloned();
        let holders: Vec<(Height, Vec<ValidatorIndex>)> = self.list_holders(&new_view.body);
        self.causes.entering(self.view, self.asked, new_view.body.view);
        self.record(Record::Entered(new_view), step);
        self.timers.entered();
        step.effects.push(Effect::Entered { epoch: self.config.set.epoch, view: self.view });
        if let Some(certificate) = base {
            let epoch = self.config.set.epoch;
            self.adopt(certificate, step); // base above low: fetch blocks first
            if epoch != self.config.set.epoch {
                return; // it was the last of the epoch (R20)
            }
        }
        if self.base < self.low
            && let Some(certificate) = self.low_certificate.clone()
        {
            Self::broadcast(Message::Certificate(certificate), step); // R19: instead of voting at or below low
        }
        for (height, who) in holders {
            if let Some(vote) = self.listed.get(&height).copied()
                && self.in_window(height)
                && !self.batches.contains_key(&vote.vote.digest)
            {
                self.want(vote.vote.digest, height, who, step);
            }
        }
        self.advance_all(step);
    }

    /// Who holds each carried batch: the signers of any certificate of it (R19).
    fn list_holders(&self, new_view: &NewView) -> Vec<(Height, Vec<ValidatorIndex>)> {
        let prepared = || new_view.view_changes.iter().flat_map(|change| &change.body.prepared);
        new_view
            .pre_prepares
            .iter()
            .map(|vote| {
                let Vote { height, digest, .. } = vote.vote;
                let mut who: Vec<_> =
                    prepared().filter(|one| one.digest() == digest).flat_map(|one| one.holders()).collect();
                who.sort_unstable();
                who.dedup();
                who.retain(|one| *one != self.config.me);
                (height, who)
            })
            .collect()
    }

    /// A statement under this validator's own key must be in its log (R27).
    pub(crate) fn check_own(&mut self, vote: &SignedVote, step: &mut Step) {
        let Vote { kind, view, height, digest, .. } = vote.vote;
        if height <= self.low || view < self.view && kind != Kind::Seal {
            return; // forgotten by right
        }
        let slot = self.slots.get(&height);
        let votes = slot.and_then(|slot| slot.views.get(&view));
        let known = match kind {
            Kind::PrePrepare => votes
                .and_then(|v| v.pre_prepare)
                .or_else(|| self.listed.get(&height).copied())
                .is_some_and(|p| p.vote.digest == digest),
            Kind::Prepare => votes.and_then(|v| v.accepted) == Some(digest),
            Kind::Commit => votes.is_some_and(|v| v.committed && v.accepted == Some(digest)),
            Kind::Seal => slot.and_then(|slot| slot.sealed) == Some(digest),
            Kind::Suspect => true,
        };
        if !known {
            let what = Foreign::Vote(kind);
            self.halt(Halt::Impersonated { what, height }, step);
        }
    }

    fn check_own_view(&mut self, view: View, step: &mut Step) {
        if view > self.asked {
            self.halt(Halt::Impersonated { what: Foreign::ViewChange, height: Height::ZERO }, step);
        }
    }
}
