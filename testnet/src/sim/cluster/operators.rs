//! Operators: they change who validates as operators do, by signed transactions through whatever node takes them.
//!
//! ```text
//!  propose ─▶ the node that is to join follows, and confirms ─▶ organisations vote, one after the other ─▶ passed
//! ```
//!
//! What is refused is tried again later or by another organisation, as the ledger then says; what is not answered is sent
//! again to another node. A change that cannot be made is given up.

use std::collections::BTreeSet;

use epione_types::call::{Call, ConfirmReadiness, ProposalAction, Propose, Vote};
use epione_types::codes::Refusal;
use epione_types::id::ProposalId;
use epione_types::{Outcome, Signer as _};

use super::{CLIENT_PATIENCE, Cluster, Event, Phase};
use crate::sim::clock::MS;
use crate::sim::plan::Change;
use crate::sim::random::{Purpose, Rng};
use crate::sim::workload;

/// Refusals after which a change is given up.
const TRIES_MAX: u64 = 40;
/// For how long a transaction of theirs may be ordered, in ms.
const EXPIRES_IN_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Propose,
    Ready,
    Vote,
    Over,
}

/// Those who want one change.
#[derive(Debug)]
pub(super) struct Operator {
    change: Change,
    stage: Stage,
    /// Under way: its number, and the hospital that signed it.
    sent: Option<(u64, usize)>,
    /// Proposals made, and refusals.
    tries: u64,
    voted: BTreeSet<usize>,
}

impl Operator {
    /// They have done nothing yet.
    pub(super) const fn new(change: Change) -> Self {
        Self { change, stage: Stage::Propose, sent: None, tries: 0, voted: BTreeSet::new() }
    }

    /// Nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

impl Cluster<'_> {
    pub(super) fn operator(&mut self, at: usize) {
        if self.phase != Phase::One || self.operators[at].is_over() {
            return;
        }
        let now = self.queue.now();
        let random = &mut Rng::new(self.plan.seed, Purpose::Operator, &[at as u64, now]);
        let pace = 20 * MS + self.plan.latency.1;
        self.queue.at(now + random.within(pace / 2, pace * 3 / 2), Event::Operator(at));
        let Some((number, hospital)) = self.operators[at].sent else { return self.next_step(at, random) };
        let submission = self.oracle.one(number);
        let (id, tried) = (submission.id, submission.tried);
        match self.oracle.place(&id).map(|place| place.outcome) {
            Some(Outcome::Ok) => {
                self.operators[at].sent = None;
                self.accepted(at, hospital);
            }
            Some(Outcome::Refused(why)) => {
                self.operators[at].sent = None;
                self.refused(at, hospital, why);
            }
            None if self.oracle.is_over(self.oracle.one_of(number)) => self.operators[at].sent = None,
            None if now.saturating_sub(tried) > CLIENT_PATIENCE => {
                let node = self.some_node(random);
                self.submit(number, node);
            }
            None => {}
        }
    }

    /// Mostly a validator; it may be any machine.
    fn some_node(&self, random: &mut Rng) -> usize {
        let members: Vec<usize> = self.validators().iter().collect();
        if random.chance(850) { *random.pick(&members) } else { random.index(self.plan.machines()) }
    }

    pub(super) fn proposal(&self, at: usize) -> ProposalId {
        workload::proposal(at, 0)
    }

    /// Hospitals that have a vote, by what is decided.
    fn voters(&self) -> Vec<usize> {
        let voters: BTreeSet<usize> = self.validators().iter().map(|node| self.hospital(node)).collect();
        voters.into_iter().collect()
    }

    fn next_step(&mut self, at: usize, random: &mut Rng) {
        let (change, proposal) = (self.operators[at].change, self.proposal(at));
        let voters = self.voters();
        let (call, hospital, mut signers) = match self.operators[at].stage {
            Stage::Propose => {
                let hospital = *random.pick(&voters);
                let action = self.action(&change);
                (Call::Propose(Propose { proposal, action }), hospital, Vec::new())
            }
            Stage::Ready => {
                // The node is asked how far it follows; until it is up and does, there is nothing to confirm.
                let Some(node) = change.joins() else { return };
                let Some(process) = self.running(node).and_then(|body| self.bodies[body].process.as_ref())
                else {
                    return;
                };
                let height = process.chain.head().height;
                if height.0 == 0 {
                    return;
                }
                let ready = ConfirmReadiness { proposal, height };
                let key = workload::validator_key(node);
                (Call::ConfirmReadiness(ready), self.hospital(node), vec![key])
            }
            Stage::Vote => {
                let voted = &self.operators[at].voted;
                let Some(hospital) = voters.into_iter().find(|one| !voted.contains(one)) else {
                    return self.give_up(at);
                };
                (Call::Vote(Vote { proposal, accept: true }), hospital, Vec::new())
            }
            Stage::Over => return,
        };
        signers.insert(0, workload::admin_key(hospital));
        let client = workload::organisation(hospital).into();
        let number = self.make_for(client, call, &signers, false, EXPIRES_IN_MS);
        self.operators[at].sent = Some((number, hospital));
        let node = self.some_node(random);
        self.submit(number, node);
    }

    fn action(&self, change: &Change) -> ProposalAction {
        if let Change::Params(tuning) = change {
            return ProposalAction::SetParams { params: self.plan.tuned(tuning) };
        }
        let key = |node: usize| self.common.signers[node].public_key();
        let validator = |node| workload::validator(node, self.hospital(node), &self.keys);
        ProposalAction::ChangeValidators {
            remove: change.leaves().map(key),
            add: change.joins().map(validator),
        }
    }

    fn accepted(&mut self, at: usize, hospital: usize) {
        let passed = self.roll.borrow().has_passed(&self.proposal(at));
        let change = self.operators[at].change;
        let one = &mut self.operators[at];
        if one.stage == Stage::Propose {
            self.counts.add(&format!("change {}", change.kind()), 1);
        }
        match one.stage {
            Stage::Propose | Stage::Vote => drop(one.voted.insert(hospital)),
            Stage::Ready | Stage::Over => {}
        }
        one.stage = if passed {
            Stage::Over
        } else if one.stage == Stage::Propose && change.joins().is_some() {
            Stage::Ready
        } else {
            Stage::Vote
        };
        if passed {
            self.counts.add("changes decided", 1);
        }
    }

    fn refused(&mut self, at: usize, hospital: usize, why: Refusal) {
        self.counts.add("changes refused", 1);
        let one = &mut self.operators[at];
        one.tries += 1;
        match (one.stage, why) {
            (Stage::Vote, Refusal::NotReady) => one.stage = Stage::Ready,
            // It has voted, or has left.
            (Stage::Vote, Refusal::VoteTwice | Refusal::NotAuthorised) => drop(one.voted.insert(hospital)),
            _ => {}
        }
        if one.tries > TRIES_MAX {
            self.give_up(at);
        }
    }

    fn give_up(&mut self, at: usize) {
        self.operators[at].stage = Stage::Over;
        self.counts.add("changes given up", 1);
    }
}
