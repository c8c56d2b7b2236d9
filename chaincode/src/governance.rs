//! What the organisations decide together: constants of policy, the studies that decisions read, who validates, and the
//! parameters of consensus.
//!
//! An organisation that runs a validator proposes, and votes for it thereby; each has one vote. A proposal passes with
//! as many votes as consensus needs of them (R1), and holds from the next block on, or for validators and parameters from
//! the next epoch on (R20); it fails when it cannot pass any more. Tested by `tests/governance.rs` and `tests/machines.rs`.

use std::collections::{BTreeMap, BTreeSet};

use epione_types::call::{ConfirmReadiness, ProposalAction, Propose, Vote, WithdrawProposal};
use epione_types::codes::{ProposalStatus, Refusal};
use epione_types::event::Event;
use epione_types::genesis::{NextEpoch, Params, Validator, ValidatorSet};
use epione_types::id::{OrgId, ProposalId};
use epione_types::{Epoch, Height, PublicKey, TimestampMs, quorum};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::host::{Done, Host, require};
use crate::identity::{is_distinct, organisations, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::research::{Enrolment, Study};

use ProposalStatus::{Open, Passed, Rejected, Withdrawn};

/// What may be done to a proposal. A vote that decides is `PASS` or `DECLINE`, one that does not is `APPROVE` or `REJECT`.
pub const MACHINE: Machine<ProposalStatus> = Machine {
    entity: "Proposal",
    note: "APPROVE and REJECT are votes that do not decide; PASS and DECLINE are those that do. It can be voted on for 30 days.",
    rows: ROWS,
};

const ROWS: &[Row<ProposalStatus>] = &[
    row(None, Verb::Propose, Open, &[Actor::Validator]),
    row(Some(Open), Verb::Approve, Open, &[Actor::Validator]),
    row(Some(Open), Verb::Reject, Open, &[Actor::Validator]),
    row(Some(Open), Verb::Pass, Passed, &[Actor::Validator]),
    row(Some(Open), Verb::Decline, Rejected, &[Actor::Validator]),
    row(Some(Open), Verb::Confirm, Open, &[Actor::Joining]),
    row(Some(Open), Verb::Withdraw, Withdrawn, &[Actor::Proposer]),
];

/// How long a proposal can be voted on, in milliseconds.
pub const VOTE_MS: u64 = 30 * 24 * 3_600_000;
/// For how many heights a word that one is ready counts.
pub const READY_HEIGHTS: u64 = 10_000;
/// Most proposals at a time to let somebody join: each lets a node follow.
pub const CANDIDATES_MAX: usize = 16;
/// And most of one organisation: it cannot fill the others' room.
pub const CANDIDATES_OF_ONE: usize = 4;

/// A proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What it does.
    pub action: ProposalAction,
    /// Who proposed it.
    pub proposer: OrgId,
    /// Until when it can be voted on, exclusive.
    pub expires: TimestampMs,
    /// Where it stands.
    pub status: ProposalStatus,
    /// Who voted, for it or against it.
    pub votes: BTreeMap<OrgId, bool>,
    /// The height at which whoever is to join was ready, as it said last.
    pub ready: Option<Height>,
}

impl Proposal {
    /// How many of these organisations are for it and against it. Who has left meanwhile has no vote any more (R20).
    fn tally(&self, validators: &[OrgId]) -> (usize, usize) {
        let here = |organisation: &OrgId| validators.contains(organisation);
        let votes = self.votes.iter().filter(|(organisation, _)| here(organisation));
        let (accepted, declined): (Vec<_>, Vec<_>) = votes.partition(|(_, accept)| **accept);
        (accepted.len(), declined.len())
    }
}

/// The validator's organisation that signed with its admin threshold, and all there are.
fn voter(host: &Host<'_, '_>) -> Done<(OrgId, Vec<OrgId>)> {
    let organisation = organisations::of_admin(host)?;
    let validators = config::validator_organisations(host.state())?;
    require(validators.contains(&organisation), Refusal::NotAuthorised)?;
    Ok((organisation, validators))
}

/// Sent by an admin, signed by the admin threshold.
pub(crate) fn propose(host: &mut Host<'_, '_>, call: &Propose) -> Done {
    let (proposer, validators) = voter(host)?;
    check(host, &call.action)?;
    require(!host.has(&keys::proposal(call.proposal))?, Refusal::Exists)?;
    let proposal = Proposal {
        action: call.action.clone(),
        proposer,
        expires: host.now().plus(VOTE_MS),
        status: MACHINE.step(None, Verb::Propose, Actor::Validator)?,
        votes: BTreeMap::new(),
        ready: None,
    };
    follow(host, call, proposer)?;
    count(host, call.proposal, proposal, (proposer, true), &validators)
}

/// Sent by an admin, signed by the admin threshold.
pub(crate) fn vote(host: &mut Host<'_, '_>, call: &Vote) -> Done {
    let (organisation, validators) = voter(host)?;
    let proposal = host.get(&keys::proposal(call.proposal))?.ok_or(Refusal::Unknown)?;
    require(proposal.status != Open || host.now() < proposal.expires, Refusal::TooLate)?;
    count(host, call.proposal, proposal, (organisation, call.accept), &validators)
}

fn count(
    host: &mut Host<'_, '_>,
    id: ProposalId,
    mut proposal: Proposal,
    (voter, accept): (OrgId, bool),
    validators: &[OrgId],
) -> Done {
    let twice = proposal.votes.insert(voter, accept).is_some();
    let (accepted, declined) = proposal.tally(validators);
    let needed = quorum::quorum(validators.len());
    let verb = if accepted >= needed {
        Verb::Pass
    } else if declined > validators.len().saturating_sub(needed) {
        Verb::Decline
    } else if accept {
        Verb::Approve
    } else {
        Verb::Reject
    };
    proposal.status = MACHINE.step(Some(proposal.status), verb, Actor::Validator)?;
    require(!twice, Refusal::VoteTwice)?;
    if proposal.status == Passed {
        apply(host, &proposal)?;
    }
    if proposal.status == Rejected {
        unfollow(host, id)?;
    }
    save(host, id, &proposal, validators);
    Ok(())
}

/// Nobody is to join by this proposal any more.
fn unfollow(host: &mut Host<'_, '_>, id: ProposalId) -> Done {
    let mut candidates = host.get(&keys::candidates())?.unwrap_or_default();
    if candidates.remove(&id).is_some() {
        host.put(&keys::candidates(), &candidates);
    }
    Ok(())
}

/// The node of one who is to join may follow while the proposal is open.
fn follow(host: &mut Host<'_, '_>, call: &Propose, proposer: OrgId) -> Done {
    let ProposalAction::ChangeValidators { add: Some(joins), .. } = &call.action else { return Ok(()) };
    let (mut candidates, mut own) = (BTreeMap::new(), 0);
    for (id, key) in host.get(&keys::candidates())?.unwrap_or_default() {
        let open = |it: &Proposal| matches!(it.status, Open | Passed) && host.now() < it.expires;
        if let Some(other) = host.get(&keys::proposal(id))?.filter(open) {
            own += usize::from(other.proposer == proposer);
            candidates.insert(id, key);
        }
    }
    require(own < CANDIDATES_OF_ONE && candidates.len() < CANDIDATES_MAX, Refusal::TooMany)?;
    candidates.insert(call.proposal, joins.network_key);
    host.put(&keys::candidates(), &candidates);
    Ok(())
}

/// Sent by an admin of the organisation that is to run the validator, signed by the admin threshold and the voting key.
pub(crate) fn confirm_readiness(host: &mut Host<'_, '_>, call: &ConfirmReadiness) -> Done {
    let organisation = organisations::of_admin(host)?;
    let mut proposal = host.get(&keys::proposal(call.proposal))?.ok_or(Refusal::Unknown)?;
    let ProposalAction::ChangeValidators { add: Some(joins), .. } = &proposal.action else {
        return Err(Refusal::InvalidField.into());
    };
    require(joins.organisation == organisation && host.signed_by(&joins.public_key), Refusal::NotAuthorised)?;
    proposal.status = MACHINE.step(Some(proposal.status), Verb::Confirm, Actor::Joining)?;
    require(host.now() < proposal.expires, Refusal::TooLate)?;
    let recent = call.height <= host.height() && host.height() <= call.height.plus(READY_HEIGHTS);
    require(recent, Refusal::NotReady)?;
    proposal.ready = Some(call.height);
    let validators = config::validator_organisations(host.state())?;
    save(host, call.proposal, &proposal, &validators);
    Ok(())
}

fn save(host: &mut Host<'_, '_>, id: ProposalId, proposal: &Proposal, validators: &[OrgId]) {
    host.put(&keys::proposal(id), proposal);
    let (accepted, declined) = proposal.tally(validators);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    host.emit(Event::ProposalChanged {
        proposal: id,
        status: proposal.status,
        accepted: number(accepted),
        declined: number(declined),
    });
}

/// Sent by an admin of the organisation that proposed it.
pub(crate) fn withdraw(host: &mut Host<'_, '_>, call: &WithdrawProposal) -> Done {
    let (organisation, validators) = voter(host)?;
    let mut proposal = host.get(&keys::proposal(call.proposal))?.ok_or(Refusal::Unknown)?;
    require(proposal.proposer == organisation, Refusal::NotAuthorised)?;
    proposal.status = MACHINE.step(Some(proposal.status), Verb::Withdraw, Actor::Proposer)?;
    unfollow(host, call.proposal)?;
    save(host, call.proposal, &proposal, &validators);
    Ok(())
}

/// What could be done; asked when it is proposed and again when it passes, since others may have passed meanwhile.
fn check(host: &Host<'_, '_>, action: &ProposalAction) -> Done {
    match action {
        ProposalAction::SetConstant { constant, value } => {
            let mut settings = host.settings().clone();
            require(settings.limits_here(*constant).contains(value), Refusal::InvalidField)?;
            settings.set(*constant, *value);
            // A review cannot be due before the override is over, nor privacy begin after majority.
            let sound = settings.policy.override_open_ms <= settings.policy.override_review_ms
                && settings.constants.minor_privacy_age <= settings.constants.majority_age
                && usize::from(settings.policy.organisation_signatures)
                    <= config::validator_organisations(host.state())?.len().max(1);
            require(sound, Refusal::InvalidField)
        }
        ProposalAction::SetStudy { team, .. } => require(is_distinct(team), Refusal::InvalidField),
        ProposalAction::SetEnrolment { study, patient, .. } => {
            require(host.has(&keys::study(*study))?, Refusal::Unknown)?;
            patients::known(host, *patient).map(|_| ())
        }
        ProposalAction::ChangeValidators { remove, add } => next_set(host, *remove, add.as_ref()).map(|_| ()),
        ProposalAction::SetParams { params } => {
            require(params.check().is_ok(), Refusal::InvalidField)?;
            undecided(host).map(|_| ())
        }
    }
}

/// What is in force, while nothing else is decided: two changes would not know of each other (R20).
fn undecided(host: &Host<'_, '_>) -> Done<ValidatorSet> {
    let epochs = config::epochs(host.state())?;
    require(epochs.next.is_none(), Refusal::ChangePending)?;
    Ok(epochs.of.set)
}

/// The validators of the next epoch: in place of the one that leaves, or at the end.
fn next_set(host: &Host<'_, '_>, remove: Option<PublicKey>, add: Option<&Validator>) -> Done<Vec<Validator>> {
    let mut validators = undecided(host)?.validators;
    let leaves = match remove {
        Some(key) => {
            let place = validators.iter().position(|one| one.public_key == key);
            Some(place.ok_or(Refusal::Unknown)?)
        }
        None => None,
    };
    if let Some(joins) = add {
        let strong = !joins.public_key.is_weak() && !joins.network_key.is_weak();
        require(strong && joins.public_key != joins.network_key, Refusal::InvalidField)?;
        let known =
            |one: &Validator| one.public_key == joins.public_key || one.network_key == joins.network_key;
        require(!validators.iter().any(known), Refusal::KeyInUse)?;
        organisations::active(host, joins.organisation)?;
    }
    match (leaves, add) {
        (Some(place), Some(joins)) => {
            if let Some(one) = validators.get_mut(place) {
                *one = joins.clone();
            }
        }
        (Some(place), None) => {
            validators.remove(place);
        }
        (None, Some(joins)) => validators.push(joins.clone()),
        (None, None) => return Err(Refusal::InvalidField.into()),
    }
    require(validators.len() <= quorum::MAX_VALIDATORS, Refusal::TooMany)?;
    // As many organisations as must agree on what only they can do.
    let organisations: BTreeSet<OrgId> = validators.iter().map(|one| one.organisation).collect();
    let needed = usize::from(host.policy().organisation_signatures).max(1);
    require(organisations.len() >= needed, Refusal::InvalidField)?;
    Ok(validators)
}

/// In force after a window: nobody votes above it before it knows (R20).
fn decide(host: &mut Host<'_, '_>, validators: Vec<Validator>, params: Params) -> Done {
    let set = undecided(host)?;
    let after = host.height().plus(set.params.window);
    let set = ValidatorSet { epoch: Epoch(set.epoch.0.saturating_add(1)), validators, params };
    host.put(&keys::next_epoch(), &NextEpoch { after, set });
    Ok(())
}

fn apply(host: &mut Host<'_, '_>, proposal: &Proposal) -> Done {
    let action = &proposal.action;
    check(host, action)?;
    match action {
        ProposalAction::ChangeValidators { remove, add } => {
            let recent = proposal.ready.is_some_and(|at| host.height() <= at.plus(READY_HEIGHTS));
            require(add.is_none() || recent, Refusal::NotReady)?;
            let params = undecided(host)?.params;
            decide(host, next_set(host, *remove, add.as_ref())?, params)?;
        }
        ProposalAction::SetParams { params } => {
            let validators = undecided(host)?.validators;
            decide(host, validators, params.clone())?;
        }
        ProposalAction::SetConstant { constant, value } => {
            // From the state and not from the block's own settings: another may have passed in this block.
            let mut settings = config::settings(host.state())?;
            settings.set(*constant, *value);
            host.put(&keys::policy(), &settings.policy);
            host.put(&keys::constants(), &settings.constants);
            let height = host.height().next();
            host.emit(Event::PolicyChanged { constant: *constant, value: *value, height });
        }
        ProposalAction::SetStudy { study, status, approved_until, team } => {
            let team = team.iter().map(|it| (it.organisation, it.practitioner)).collect();
            let study_entry = Study { status: *status, approved_until: *approved_until, team };
            host.put(&keys::study(*study), &study_entry);
        }
        ProposalAction::SetEnrolment { study, patient, status } => {
            host.put(&keys::enrolment(*study, *patient), &Enrolment { status: *status });
        }
    }
    Ok(())
}
