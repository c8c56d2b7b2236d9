//! What the organisations decide together: constants of policy, and the studies that decisions read.
//!
//! An organisation that runs a validator proposes, and votes for it thereby; each has one vote. A proposal passes with
//! as many votes as consensus needs of them (R1), and holds from the next block on; it fails when it cannot pass any
//! more. Tested by `tests/governance.rs` and `tests/machines.rs`.

use std::collections::BTreeMap;

use epione_types::call::{ProposalAction, Propose, Vote, WithdrawProposal};
use epione_types::codes::{ProposalStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::{OrgId, ProposalId};
use epione_types::{TimestampMs, quorum};
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
    row(Some(Open), Verb::Withdraw, Withdrawn, &[Actor::Proposer]),
];

/// How long a proposal can be voted on, in milliseconds.
pub const VOTE_MS: u64 = 30 * 24 * 3_600_000;

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
}

/// The validator's organisation that signed with its admin threshold, and how many there are.
fn voter(host: &Host<'_, '_>) -> Done<(OrgId, usize)> {
    let organisation = organisations::of_admin(host)?;
    let validators = config::validator_organisations(host.state())?;
    require(validators.contains(&organisation), Refusal::NotAuthorised)?;
    Ok((organisation, validators.len()))
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
    };
    count(host, call.proposal, proposal, (proposer, true), validators)
}

/// Sent by an admin, signed by the admin threshold.
pub(crate) fn vote(host: &mut Host<'_, '_>, call: &Vote) -> Done {
    let (organisation, validators) = voter(host)?;
    let proposal = host.get(&keys::proposal(call.proposal))?.ok_or(Refusal::Unknown)?;
    require(proposal.status != Open || host.now() < proposal.expires, Refusal::TooLate)?;
    count(host, call.proposal, proposal, (organisation, call.accept), validators)
}

fn count(
    host: &mut Host<'_, '_>,
    id: ProposalId,
    mut proposal: Proposal,
    (voter, accept): (OrgId, bool),
    validators: usize,
) -> Done {
    let twice = proposal.votes.insert(voter, accept).is_some();
    let accepted = proposal.votes.values().filter(|vote| **vote).count();
    let declined = proposal.votes.len().saturating_sub(accepted);
    let needed = quorum::quorum(validators);
    let verb = if accepted >= needed {
        Verb::Pass
    } else if declined > validators.saturating_sub(needed) {
        Verb::Decline
    } else if accept {
        Verb::Approve
    } else {
        Verb::Reject
    };
    proposal.status = MACHINE.step(Some(proposal.status), verb, Actor::Validator)?;
    require(!twice, Refusal::VoteTwice)?;
    if proposal.status == Passed {
        apply(host, &proposal.action)?;
    }
    save(host, id, &proposal);
    Ok(())
}

fn save(host: &mut Host<'_, '_>, id: ProposalId, proposal: &Proposal) {
    host.put(&keys::proposal(id), proposal);
    let accepted = proposal.votes.values().filter(|vote| **vote).count();
    let declined = proposal.votes.len().saturating_sub(accepted);
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
    let (organisation, _) = voter(host)?;
    let mut proposal = host.get(&keys::proposal(call.proposal))?.ok_or(Refusal::Unknown)?;
    require(proposal.proposer == organisation, Refusal::NotAuthorised)?;
    proposal.status = MACHINE.step(Some(proposal.status), Verb::Withdraw, Actor::Proposer)?;
    save(host, call.proposal, &proposal);
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
                && settings.constants.minor_privacy_age <= settings.constants.majority_age;
            require(sound, Refusal::InvalidField)
        }
        ProposalAction::SetStudy { team, .. } => require(is_distinct(team), Refusal::InvalidField),
        ProposalAction::SetEnrolment { study, patient, .. } => {
            require(host.has(&keys::study(*study))?, Refusal::Unknown)?;
            patients::known(host, *patient).map(|_| ())
        }
    }
}

fn apply(host: &mut Host<'_, '_>, action: &ProposalAction) -> Done {
    check(host, action)?;
    match action {
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
