//! Timers (R11, R15, R16): all derived from the last tick, armed by what is seen, never by a clock of their own.
//!
//! At most one timer runs for each purpose. Tested by `tests/rules.rs` (R11, R14-R16).

mod due;

use std::collections::BTreeMap;

use epione_types::{Height, Params, TimestampMs, ValidatorIndex};

use crate::event::{Alarm, Step};
use crate::explain::Cause;
use crate::message::bit;
use crate::replica::Replica;

/// Doublings beyond this change nothing: the cap is reached long before.
const MAX_DOUBLINGS: u32 = 32;

/// State of the timers. Times are milliseconds of the process's monotone clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timers {
    /// Last tick.
    pub(crate) now: u64,
    /// Wall clock at the last tick.
    pub(crate) clock: TimestampMs,
    /// When each validator last told its own position: of all it says, what nobody passes on for it (R22).
    heard: BTreeMap<ValidatorIndex, u64>,
    /// When the first of them did: what comes before, a process that has just begun may not take in.
    first_heard: Option<u64>,
    base: u64,
    cap: u64,
    interval: u64,
    /// Failed views in a row, less what was certified since (R16).
    failures: u32,
    certified: u64,
    /// Start of the view, or since when the window is not full.
    entered: u64,
    /// The lowest undecided height and since when it is overdue to be decided.
    slot: Option<(Height, u64)>,
    /// Since when q validators ask for the view asked for.
    asking: Option<u64>,
    /// Oldest pending transaction, and the time that a block must pass.
    oldest: Option<u64>,
    deadline: Option<TimestampMs>,
    deadline_since: Option<u64>,
    /// Every batch delivered of late was full.
    busy: bool,
    /// This view was suspected already.
    suspected: bool,
    /// What is delivered while the end of the epoch is to be reached, and since when.
    filling: Option<(Height, u64)>,
    /// When the last empty batch was accepted or made.
    last_empty: Option<u64>,
    /// The stamp of the last empty batch that was accepted.
    last_empty_stamp: Option<TimestampMs>,
    last_status: u64,
    full_since: Option<u64>,
    full_alarmed: Option<Height>,
}

impl Timers {
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            now: 0,
            clock: TimestampMs::ZERO,
            heard: BTreeMap::new(),
            first_heard: None,
            base: params.view_timeout_ms,
            cap: params.view_timeout_max_ms,
            interval: params.time_block_interval_ms,
            failures: 0,
            certified: 0,
            entered: 0,
            slot: None,
            asking: None,
            oldest: None,
            deadline: None,
            deadline_since: None,
            busy: false,
            suspected: false,
            filling: None,
            last_empty: None,
            last_empty_stamp: None,
            last_status: 0,
            full_since: None,
            full_alarmed: None,
        }
    }

    /// Doubles per failed view, capped (R16).
    pub(crate) fn timeout(&self) -> u64 {
        self.base.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(self.cap)
    }

    /// How often one's own position is told.
    pub(crate) fn status_interval(&self) -> u64 {
        (self.base / 2).max(1)
    }

    pub(crate) fn heard(&mut self, who: ValidatorIndex) {
        self.heard.insert(who, self.now);
        self.first_heard.get_or_insert(self.now);
    }

    /// Not a word for a whole time-out, in which it would have told its position twice. Time-outs double with failed
    /// views, so a correct validator is not silent for ever, however slow the network (R16).
    fn silent(&self, who: ValidatorIndex) -> bool {
        let since = self.heard.get(&who).copied().or(self.first_heard);
        since.is_some_and(|since| self.now.saturating_sub(since) > self.timeout())
    }

    pub(crate) fn waiting(&mut self, oldest: Option<u64>, deadline: Option<TimestampMs>) {
        self.oldest = oldest;
        if self.deadline != deadline {
            self.deadline_since = None;
        }
        self.deadline = deadline;
    }

    pub(crate) fn delivered(&mut self, full: bool) {
        self.busy = full;
    }

    /// A view is given up: it failed.
    pub(crate) fn asked(&mut self) {
        self.failures = self.failures.saturating_add(1).min(MAX_DOUBLINGS);
        self.certified = 0;
        self.asking = None;
        self.slot = None;
    }

    pub(crate) fn entered(&mut self) {
        self.entered = self.now; // R15: both start anew
        self.slot = None;
        self.asking = None;
        self.suspected = false;
        self.last_empty = None;
        self.last_empty_stamp = None;
    }

    /// Another epoch, with its own parameters and places: what was learned of the old one's validators is over (R20).
    pub(crate) fn turned(&mut self, params: &Params) {
        let Self { now, clock, oldest, deadline, last_status, .. } = *self;
        *self = Self { now, clock, oldest, deadline, last_status, entered: now, ..Self::new(params) };
    }

    /// Halves per W heights certified without a failed view (R16).
    pub(crate) fn certified(&mut self, heights: u64, window: u64) {
        self.certified = self.certified.saturating_add(heights);
        while self.certified >= window && self.failures > 0 {
            self.certified = self.certified.saturating_sub(window);
            self.failures = self.failures.saturating_sub(1);
        }
    }
}

impl Replica {
    pub(crate) fn on_tick(&mut self, now: u64, clock: TimestampMs, step: &mut Step) {
        if self.timers.clock == TimestampMs::ZERO {
            self.timers.entered = now; // the process has just begun
        }
        self.timers.now = now.max(self.timers.now);
        self.timers.clock = clock;
        self.window_alarm(step);
        self.fill_up(step);
        if self.asked > self.view {
            self.view_change_timer(step);
        } else {
            self.view_timers(step);
        }
        if self.timers.now.saturating_sub(self.timers.last_status) >= self.timers.status_interval() {
            self.timers.last_status = self.timers.now;
            self.broadcast_status(step);
            self.fetch_again(step);
        }
    }

    /// Starts when q validators ask for this view or a higher one; its expiry asks for the next. A primary that has
    /// long been silent is given a quarter: the turn of a dead one should not cost a whole time-out (R16).
    fn view_change_timer(&mut self, step: &mut Step) {
        if self.halted.is_some() || self.askers() < self.quorum {
            return;
        }
        let since = *self.timers.asking.get_or_insert(self.timers.now);
        if self.timers.now.saturating_sub(since) >= self.patience() {
            self.causes.because(Cause::NotOpened);
            self.ask(self.asked.next(), step);
        }
    }

    /// How long the primary of the view asked for has to open it.
    fn patience(&self) -> u64 {
        let primary = crate::primary(&self.config.set, self.asked);
        let dead = primary != self.config.me && self.timers.silent(primary);
        if dead { self.timers.timeout() / 4 } else { self.timers.timeout() }
    }

    fn view_timers(&mut self, step: &mut Step) {
        let now = self.timers.now;
        let timeout = self.timers.timeout();
        if self.window_full() {
            self.timers.entered = now; // R15: stopped while the window is full
        }
        let slot_due = self.slot_overdue().is_some_and(|since| now.saturating_sub(since) >= timeout);
        let request_due = self.request_since().is_some_and(|since| {
            let patience = if self.timers.busy { 4 } else { 1 }; // R15
            now.saturating_sub(since.max(self.timers.entered)) >= timeout.saturating_mul(patience)
        });
        self.move_time(step);
        if (slot_due || request_due)
            && self.config.is_member()
            && !self.timers.suspected
            && self.others().next().is_some()
            && self.halted.is_none()
        {
            self.causes.suspect(self.view, if slot_due { Cause::SlotLate } else { Cause::RequestLate });
            self.timers.suspected = true; // R30: a lone validator has nobody to suspect
            self.suspect(step);
        }
    }

    fn window_full(&self) -> bool {
        self.delivered >= self.low.plus(self.window)
    }

    /// Since when the lowest undecided height is overdue: a proposal or f+1 votes at or above it were seen (R15).
    fn slot_overdue(&mut self) -> Option<u64> {
        let mut height = self.delivered.max(self.low).next();
        while self.slots.get(&height).is_some_and(|slot| slot.ordered.is_some()) {
            height = height.next();
        }
        let view = self.view;
        let active = self.in_window(height)
            && self.slots.range(height..).any(|(_, slot)| {
                slot.views.get(&view).is_some_and(|votes| {
                    votes.pre_prepare.is_some() || votes.voters().count_ones() as usize > self.faults
                })
            });
        if !active {
            self.timers.slot = None;
        } else if self.timers.slot.is_none_or(|(held, _)| held != height) {
            self.timers.slot = Some((height, self.timers.now));
        }
        self.timers.slot.map(|(_, since)| since)
    }

    /// Since when something waits for the primary: a transaction, or time itself (R11, R15).
    fn request_since(&mut self) -> Option<u64> {
        let passed = self
            .timers
            .deadline
            .is_some_and(|deadline| deadline < self.timers.clock && self.executed.timestamp <= deadline);
        if !passed {
            self.timers.deadline_since = None;
        } else if self.timers.deadline_since.is_none() {
            self.timers.deadline_since = Some(self.timers.now);
        }
        // Time is allowed its interval before the primary is late with it.
        let time = self.timers.deadline_since.map(|since| since.saturating_add(self.timers.interval));
        self.timers.oldest.into_iter().chain(time).chain(self.filling_since()).min()
    }

    /// Since when the primary owes the next height on the way to the end of the epoch (R20).
    fn filling_since(&mut self) -> Option<u64> {
        if self.next.is_none() || self.delivered >= self.end() {
            self.timers.filling = None; // Seals of the last heights are nothing that it owes (R13)
        } else if self.timers.filling.is_none_or(|(height, _)| height != self.delivered) {
            self.timers.filling = Some((self.delivered, self.timers.now));
        }
        self.timers.filling.map(|(_, since)| since)
    }

    /// The primary orders empty batches up to the end of the epoch, unpaced: nothing above may be accepted before (R20).
    fn fill_up(&mut self, step: &mut Step) {
        let due = self.next.is_some() && self.timers.oldest.is_none();
        if due && self.opening().is_some_and(|opening| opening.idle) {
            self.propose_empty(step);
        }
    }

    /// The primary lets time pass while something waits for it and there is no work (R11).
    fn move_time(&mut self, step: &mut Step) {
        let due = self.timers.deadline_since.is_some() && self.timers.oldest.is_none();
        let paced = self
            .timers
            .last_empty
            .is_none_or(|at| self.timers.now.saturating_sub(at) >= self.timers.interval);
        if due && paced && self.opening().is_some_and(|opening| opening.idle) {
            self.timers.last_empty = Some(self.timers.now);
            self.propose_empty(step);
        }
    }

    /// A primary that floods empty batches is suspected; the batch itself is never refused for it (R11).
    pub(crate) fn note_empty(&mut self, height: Height, step: &mut Step) {
        let votes = self.slots.get(&height).and_then(|slot| slot.views.get(&self.view));
        let held =
            votes.and_then(|votes| votes.pre_prepare).and_then(|vote| self.batches.get(&vote.vote.digest));
        let empty = held.filter(|held| held.payload.batch().txs().is_empty());
        let Some((_, stamp)) = empty.and_then(|held| held.payload.stamp()) else { return };
        // By stamps: two honest ones may well arrive together after a partition.
        let last = self.timers.last_empty_stamp.replace(stamp);
        self.timers.last_empty = Some(self.timers.now);
        let soon = last.is_some_and(|last| stamp.0.saturating_sub(last.0) < self.timers.interval / 2);
        let flood = soon && !self.may_be_filling(height);
        if flood && !self.timers.suspected {
            self.causes.suspect(self.view, Cause::EmptyBatches);
            self.timers.suspected = true;
            self.suspect(step);
        }
    }

    /// Towards the end of an epoch empty batches are due at once (R20): that is known to whoever has executed the decision,
    /// and what is ordered below and not executed may be one, unless it is empty.
    fn may_be_filling(&self, height: Height) -> bool {
        let mut below = (self.executed.height.next().0..height.0).map(Height);
        let empty = |height: Height| {
            let votes = self.slots.get(&height).and_then(|slot| slot.views.get(&self.view));
            let digest = votes.and_then(|votes| votes.pre_prepare).map(|vote| vote.vote.digest);
            let held = digest.and_then(|digest| self.batches.get(&digest));
            held.is_some_and(|held| held.payload.batch().txs().is_empty())
        };
        self.next.is_some() || !below.all(empty)
    }

    /// The window is full for want of Seals: say who is missing; views do not change (R13).
    fn window_alarm(&mut self, step: &mut Step) {
        if !self.window_full() || self.halted.is_some() {
            self.timers.full_since = None;
            return;
        }
        let since = *self.timers.full_since.get_or_insert(self.timers.now);
        let height = self.low.next();
        if self.timers.now.saturating_sub(since) >= self.timers.base
            && self.timers.full_alarmed != Some(height)
        {
            self.timers.full_alarmed = Some(height);
            let sealed = self
                .slots
                .get(&height)
                .map_or(0, |slot| slot.seals.keys().fold(0, |bits, who| bits | bit(*who)));
            let missing = self.others().filter(|who| sealed & bit(*who) == 0).collect();
            Self::alarm(Alarm::WindowFull { height, missing }, step);
        }
    }
}
