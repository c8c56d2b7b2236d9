//! Which timer is next: the same times as [`super`], read and not moved.

use super::{Replica, Timers};
use crate::explain::{Action, Cause, Due, Stage};

impl Timers {
    /// Since when something waits for the primary, as of the last tick.
    fn requested(&self) -> Option<u64> {
        let time = self.deadline_since.map(|since| since.saturating_add(self.interval));
        let filling = self.filling.map(|(_, since)| since);
        self.oldest.into_iter().chain(time).chain(filling).min()
    }
}

impl Replica {
    /// Something waits for a proposal, and there is room for one.
    pub(crate) fn primary_is_late(&self) -> bool {
        !self.window_full() && (self.timers.requested().is_some() || self.timers.slot.is_some())
    }

    /// The next timer that decides something, or else the one that tells again.
    pub(crate) fn due(&self, stage: Stage) -> Option<Due> {
        let timers = &self.timers;
        let alone = self.others().next().is_none();
        if stage == Stage::Halted {
            return None;
        }
        let mut times = Vec::new();
        if self.asked > self.view {
            if self.askers() >= self.quorum {
                let since = timers.asking.unwrap_or(timers.now);
                times.push((since.saturating_add(self.patience()), Action::NextView(self.asked.next())));
            }
        } else {
            if !timers.suspected && !alone {
                let slot = timers.slot.map(|(_, since)| since.saturating_add(timers.timeout()));
                times.extend(slot.map(|at| (at, Action::Suspect(Cause::SlotLate))));
                let patience = timers.timeout().saturating_mul(if timers.busy { 4 } else { 1 });
                let request = timers.requested().filter(|_| !self.window_full());
                let request = request.map(|since| since.max(timers.entered).saturating_add(patience));
                times.extend(request.map(|at| (at, Action::Suspect(Cause::RequestLate))));
            }
            let moves = timers.deadline_since.is_some() && timers.oldest.is_none();
            if moves && self.opening().is_some_and(|opening| opening.idle) {
                let at = timers.last_empty.map_or(timers.now, |at| at.saturating_add(timers.interval));
                times.push((at, Action::EmptyBatch));
            }
        }
        let retold = timers.last_status.saturating_add(timers.status_interval());
        if stage == Stage::Blocks {
            let patience = timers.status_interval().saturating_mul(2);
            let asked = self.fetching.blocks.map_or(timers.now, |(_, at)| at.saturating_add(patience));
            times.push((asked.max(retold), Action::AskForBlocks));
        }
        if self.window_full() && timers.full_alarmed != Some(self.low.next()) {
            let since = timers.full_since.unwrap_or(timers.now);
            times.push((since.saturating_add(timers.base), Action::AlarmSeals));
        }
        if times.is_empty() && !alone {
            times.push((retold, Action::Retell));
        }
        let (at, action) = times.into_iter().min_by_key(|(at, _)| *at)?;
        Some(Due { action, in_ms: at.saturating_sub(timers.now) })
    }
}
