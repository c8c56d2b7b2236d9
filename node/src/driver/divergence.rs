//! After a halt because this node executed something differently: what, and where first. One linked peer is asked at a time;
//! what it says is compared by a worker ([`crate::divergence`]), and one that lies or says nothing is passed over.
//!
//! How it cannot go wrong: one question and one comparison are under way at most; an answer that nobody asked for is not
//! looked at; it decides nothing: the node stays halted whatever is found. Tested by `tests/divergence.rs`.

use std::collections::BTreeSet;

use epione_consensus::Halt;
use epione_types::ValidatorIndex;
use epione_types::genesis::WINDOW_MAX;
use tracing::{debug, error};

use super::{Driver, Ports};
use crate::conduct::{FORGIVEN_AFTER_MS, Offence};
use crate::divergence::{Compared, Divergence, Execution, Wanted, Wrong};
use crate::ports::{Job, Workers as _};
use crate::wire::Frame;

/// How long a peer may take to answer, in ms.
const ASK_MS: u64 = 5_000;
/// How long it takes until all are asked again, in ms: somebody may have been behind. An older version that knows no such
/// question takes it for a strike, and forgives one in a shorter time than this.
const REST_MS: u64 = 2 * FORGIVEN_AFTER_MS;
/// Most heights that are gone down: more than ever lie between the certified height and one that is compared.
const STEPS_MAX: u64 = 2 * WINDOW_MAX;

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing, since then.
    Resting(u64),
    /// This peer was asked, then.
    Asked(ValidatorIndex, u64),
    /// What this peer said is being compared.
    Comparing(ValidatorIndex),
    /// No more.
    Done,
}

/// The search for what differs first.
#[derive(Debug)]
pub(super) struct Search {
    wanted: Wanted,
    step: Step,
    steps: u64,
    /// Who said nothing that helps, of this height.
    passed: BTreeSet<ValidatorIndex>,
    found: Option<Divergence>,
}

impl Search {
    /// Nothing was executed differently where other things are wrong.
    fn after(halt: &Halt) -> Option<Self> {
        let wanted = match halt {
            Halt::Diverged { height, theirs, .. } => {
                Wanted { height: *height, header: *theirs, quorum: true }
            }
            Halt::Replay { height, sealed, .. } => Wanted { height: *height, header: *sealed, quorum: false },
            Halt::Conflict { .. }
            | Halt::InvalidPrepared { .. }
            | Halt::Impersonated { .. }
            | Halt::OtherEpoch { .. } => return None,
        };
        let passed = BTreeSet::new();
        Some(Self { wanted, step: Step::Resting(0), steps: 0, passed, found: None })
    }

    pub(super) const fn found(&self) -> Option<&Divergence> {
        self.found.as_ref()
    }
}

impl<P: Ports> Driver<P> {
    /// Voting has stopped. What peers say is heard from now on: nothing is waited for any more.
    pub(super) fn on_halt(&mut self, halt: &Halt) {
        self.restoring = None;
        self.search = Search::after(halt);
    }

    /// Asks the next peer, when its turn comes.
    pub(super) fn seek(&mut self) {
        let Some(search) = self.search.as_mut().filter(|_| self.fault.is_none()) else { return };
        match search.step {
            Step::Asked(peer, since) => {
                let linked = self.peers.all_linked().any(|one| one == peer);
                if linked && self.now.saturating_sub(since) < ASK_MS {
                    return;
                }
                search.passed.insert(peer);
            }
            Step::Resting(since) if self.now.saturating_sub(since) >= REST_MS => search.passed.clear(),
            Step::Resting(_) => {
                if self.peers.all_linked().all(|peer| search.passed.contains(&peer)) {
                    return;
                }
            }
            Step::Comparing(_) | Step::Done => return,
        }
        self.ask_next();
    }

    fn ask_next(&mut self) {
        let now = self.now;
        let Some(search) = &mut self.search else { return };
        let next = self.peers.all_linked().find(|peer| !search.passed.contains(peer));
        let height = search.wanted.height;
        match (next, search.found.take()) {
            (Some(peer), found) => {
                (search.step, search.found) = (Step::Asked(peer, now), found);
                debug!(%height, %peer, "asking what it executed");
                self.send(peer, &Frame::FetchExecution { height });
            }
            (None, Some(found)) => self.differs(found), // nobody knows more than that
            (None, None) => search.step = Step::Resting(now),
        }
    }

    /// An execution that was asked for; others are not looked at (R28).
    pub(super) fn on_execution(&mut self, from: ValidatorIndex, execution: Box<Execution>) {
        match &mut self.search {
            Some(search) if matches!(search.step, Step::Asked(peer, _) if peer == from) => {
                search.step = Step::Comparing(from);
                let wanted = search.wanted;
                self.workers.start(Job::Compare { peer: from, wanted, execution });
            }
            Some(_) | None => self.blame(from, Offence::ExecutionUnasked),
        }
    }

    /// What a comparison gave; nothing if this node's store could not be read.
    pub(super) fn on_compared(&mut self, peer: ValidatorIndex, compared: Option<Compared>) {
        let Some(search) = self.search.as_mut().filter(|one| one.step == Step::Comparing(peer)) else {
            return;
        };
        search.passed.insert(peer);
        match compared {
            Some(Compared::Below(wanted)) if search.steps < STEPS_MAX => {
                (search.wanted, search.steps) = (wanted, search.steps.saturating_add(1));
                search.passed.clear();
            }
            Some(Compared::Below(wanted)) => return self.differs(Divergence::bottomless(wanted.height)),
            Some(Compared::Found(found)) if found.complete => return self.differs(*found),
            Some(Compared::Found(found)) => search.found = Some(*found),
            Some(Compared::Wrong(why)) => {
                debug!(%peer, %why, "an execution is refused");
                // What this node alone sealed once, others need not have.
                if why != Wrong::Header || search.wanted.quorum {
                    self.blame(peer, Offence::ExecutionInvalid);
                }
            }
            None => {}
        }
        self.ask_next();
    }

    /// It is found.
    fn differs(&mut self, found: Divergence) {
        error!(height = %found.height, difference = %found.text, "what this node executed differently");
        self.note(found.text.clone());
        if let Some(search) = &mut self.search {
            (search.step, search.found) = (Step::Done, Some(found));
        }
    }

    /// Another epoch: peers have other places.
    pub(super) fn ask_anew(&mut self) {
        if let Some(search) = self.search.as_mut().filter(|search| search.step != Step::Done) {
            (search.step, search.passed) = (Step::Resting(0), BTreeSet::new());
        }
    }
}
