//! Where consensus stands, for people: what is waited for, whose word is missing, why the view changed, which timer is next.
//!
//! A snapshot of what the replica holds anyway, and a record in memory of why views were left; nothing is decided by it.
//! Durations are counted from the last tick. Tested by `tests/explain.rs`; sentences are the node's part.

use std::collections::BTreeMap;

use epione_types::{Epoch, Height, ValidatorIndex, View};

use crate::event::{Halt, Misbehavior};
use crate::replica::Replica;
use crate::slot::for_digest;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// For transactions: there is nothing to do.
    Transactions,
    /// For the primary's proposal: something waits to be ordered.
    Proposal,
    /// For the batch of a proposal that is here.
    Batch,
    /// For Prepares.
    Prepares,
    /// For Commits.
    Commits,
    /// For blocks to be executed here.
    Execution,
    /// For Seals.
    Seals,
    /// For blocks of others: this replica is behind.
    Blocks,
    /// For a higher view: first for a quorum that asks for it, then for its primary to open it.
    ViewChange,
    /// For nothing: voting has stopped (R31).
    Halted,
}

/// Where a replica stands; as long as it equals itself, nothing has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Epoch.
    pub epoch: Epoch,
    /// The view that is entered, or asked for.
    pub view: View,
    /// The height that the stage is about.
    pub height: Height,
    /// What is waited for.
    pub stage: Stage,
}

/// Why a view was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A request was not ordered in time (R15).
    RequestLate,
    /// A slot was not decided in time (R15).
    SlotLate,
    /// Its primary flooded empty batches (R11).
    EmptyBatches,
    /// f+1 others left it, or a quorum entered a higher one, while no timer of this replica had fired (R14).
    OthersLeft,
    /// Proof of a faulty primary (R14).
    FaultyPrimary(Misbehavior),
    /// It was asked for by a quorum, and its primary did not open it in time (R16).
    NotOpened,
}

impl Cause {
    /// A stable name, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLate => "REQUEST_LATE",
            Self::SlotLate => "SLOT_LATE",
            Self::EmptyBatches => "EMPTY_BATCHES",
            Self::OthersLeft => "OTHERS_LEFT",
            Self::FaultyPrimary(Misbehavior::Equivocation) => "PRIMARY_EQUIVOCATION",
            Self::FaultyPrimary(Misbehavior::InvalidBatch) => "PRIMARY_INVALID_BATCH",
            Self::FaultyPrimary(Misbehavior::NullBatch) => "PRIMARY_NULL_BATCH",
            Self::FaultyPrimary(Misbehavior::NewViewList) => "PRIMARY_NEW_VIEW_LIST",
            Self::NotOpened => "NOT_OPENED",
        }
    }
}

/// How a view came to be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The view that was left: the last that had been entered.
    pub from: View,
    /// The view that is entered since, or asked for.
    pub to: View,
    /// Why it was left.
    pub cause: Cause,
    /// How many views between were asked for and given up.
    pub given_up: u64,
}

/// Why views were left since this replica was made; a restart forgets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Causes {
    /// Of the view that is about to be left.
    because: Option<Cause>,
    /// What a timer here held against a view.
    suspected: Option<(View, Cause)>,
    last: Option<Change>,
    counts: BTreeMap<Cause, u64>,
}

impl Causes {
    /// Views are numbered anew; what was counted stays.
    pub(crate) fn of_another_epoch(self) -> Self {
        Self { counts: self.counts, ..Self::default() }
    }

    /// The view is left at once, because of this.
    pub(crate) const fn because(&mut self, cause: Cause) {
        self.because = Some(cause);
    }

    /// A timer fired in `view`; whether the view is left is for f+1 to say.
    pub(crate) const fn suspect(&mut self, view: View, cause: Cause) {
        self.suspected = Some((view, cause));
    }

    /// `asked`, entered or not, is left for `to`.
    pub(crate) fn left(&mut self, entered: View, asked: View, to: View) {
        let own = self.suspected.filter(|(view, _)| *view == asked).map(|(_, cause)| cause);
        let cause = self.because.take().or(own).unwrap_or(Cause::OthersLeft);
        let count = self.counts.entry(cause).or_default();
        *count = count.saturating_add(1);
        match self.last.as_mut().filter(|last| asked > entered && last.to == asked) {
            Some(last) => (last.to, last.given_up) = (to, last.given_up.saturating_add(1)),
            None => self.last = Some(Change { from: entered, to, cause, given_up: 0 }),
        }
    }

    /// `to` is entered; if it was not asked for here, others have left.
    pub(crate) fn entering(&mut self, entered: View, asked: View, to: View) {
        if to > asked {
            self.left(entered, asked, to);
        }
    }
}

/// What the next timer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Suspects the primary, for this reason; f+1 such and the view is left.
    Suspect(Cause),
    /// Gives up the view asked for and asks for this one.
    NextView(View),
    /// Proposes an empty batch, so that time passes (R11).
    EmptyBatch,
    /// Tells the operator that the window is full for want of Seals.
    AlarmSeals,
    /// Asks the next validator for blocks.
    AskForBlocks,
    /// Tells the others its position again, and they send what is missing (R22).
    Retell,
}

/// The next timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What it does.
    pub action: Action,
    /// When, in ms from the last tick.
    pub in_ms: u64,
}

/// Votes of the step that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Who has voted, this replica included, in order.
    pub had: Vec<ValidatorIndex>,
    /// How many must.
    pub needed: usize,
}

/// All that a replica can say of where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where.
    pub place: Place,
    /// The last height of what is fetched or executed; of `place` otherwise.
    pub to: Height,
    /// View entered.
    pub view: View,
    /// View asked for; above `view` while a view change is under way.
    pub asked: View,
    /// Primary of the view asked for.
    pub primary: ValidatorIndex,
    /// Certified and executed.
    pub low: Height,
    /// Executed.
    pub executed: Height,
    /// Votes, where votes are waited for.
    pub votes: Option<Ballot>,
    /// Other validators for whose message this step waits, in order.
    pub awaited: Vec<ValidatorIndex>,
    /// How the present view came to be; none in the first one, or if a restart forgot it.
    pub change: Option<Change>,
    /// How often a view was left, by cause.
    pub changes: Vec<(Cause, u64)>,
    /// Why voting has stopped.
    pub halted: Option<Halt>,
    /// The next timer that decides something, or else the one that tells again; none if there is none.
    pub due: Option<Due>,
}

impl Replica {
    /// Where it stands. Cheap: to be asked after every event.
    #[must_use]
    pub fn place(&self) -> Place {
        let (stage, height) = self.stage();
        Place { epoch: self.config.set.epoch, view: self.asked, height, stage }
    }

    fn stage(&self) -> (Stage, Height) {
        let next = self.delivered.next();
        if self.halted.is_some() {
            return (Stage::Halted, self.executed.height);
        }
        if self.asked > self.view {
            return (Stage::ViewChange, next);
        }
        if self.pending_certificate.as_ref().is_some_and(|one| one.height > self.delivered) {
            return (Stage::Blocks, next);
        }
        if self.delivered > self.executed.height {
            return (Stage::Execution, self.executed.height.next());
        }
        let votes = self.slots.get(&next).and_then(|slot| slot.views.get(&self.view));
        if let Some((votes, proposal)) = votes.and_then(|votes| Some((votes, votes.pre_prepare?.vote.digest)))
        {
            let stage = if !self.batches.contains_key(&proposal) {
                Stage::Batch
            } else if votes.acceptances(proposal).count() < self.quorum {
                Stage::Prepares
            } else {
                Stage::Commits
            };
            return (stage, next);
        }
        if self.executed.height > self.low {
            return (Stage::Seals, self.low.next());
        }
        let stage = if self.primary_is_late() { Stage::Proposal } else { Stage::Transactions };
        (stage, next)
    }

    /// All that can be said of it.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let place = self.place();
        let had = self.had(place);
        let primary = crate::primary(&self.config.set, place.view);
        let open = place.stage == Stage::ViewChange && self.askers() >= self.quorum;
        let awaited: Vec<ValidatorIndex> = match &had {
            _ if open || place.stage == Stage::Proposal => {
                self.others().filter(|who| *who == primary).collect()
            }
            Some(had) => self.others().filter(|who| !had.contains(who)).collect(),
            None => Vec::new(),
        };
        let to = if place.stage == Stage::Blocks {
            self.pending_certificate.as_ref().map_or(place.height, |one| one.height)
        } else if place.stage == Stage::Execution {
            self.delivered
        } else {
            place.height
        };
        Explanation {
            place,
            to,
            view: self.view,
            asked: self.asked,
            primary,
            low: self.low,
            executed: self.executed.height,
            votes: had.map(|had| Ballot { had, needed: self.quorum }),
            awaited,
            change: self.causes.last.filter(|change| change.to == self.asked),
            changes: self.causes.counts.iter().map(|(cause, count)| (*cause, *count)).collect(),
            halted: self.halted.clone(),
            due: self.due(place.stage),
        }
    }

    /// Who has voted for what is waited for; none where no votes are.
    fn had(&self, place: Place) -> Option<Vec<ValidatorIndex>> {
        let slot = self.slots.get(&place.height);
        let votes = slot.and_then(|slot| slot.views.get(&self.view));
        let proposal = votes.and_then(|votes| votes.pre_prepare).map(|vote| vote.vote.digest);
        let mut had: Vec<ValidatorIndex> = match place.stage {
            Stage::Prepares => votes.zip(proposal)?.0.acceptances(proposal?).collect(),
            Stage::Commits => for_digest(&votes?.commits, proposal?).map(|(who, _)| who).collect(),
            Stage::Seals => match slot.map(|slot| (slot, slot.sealed)) {
                Some((slot, Some(header))) => for_digest(&slot.seals, header).map(|(who, _)| who).collect(),
                Some((slot, None)) => slot.seals.keys().copied().collect(),
                None => Vec::new(),
            },
            Stage::ViewChange => {
                let asking = self.view_changes.iter().filter(|(_, change)| change.body.view >= self.asked);
                asking.map(|(who, _)| *who).collect()
            }
            Stage::Transactions
            | Stage::Proposal
            | Stage::Batch
            | Stage::Execution
            | Stage::Blocks
            | Stage::Halted => return None,
        };
        had.sort_unstable();
        had.dedup();
        Some(had)
    }
}
