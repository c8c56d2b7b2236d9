//! What the organisations decide together.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::config::{self, Constants, Settings};
use epione_chaincode::governance::VOTE_MS;
use epione_chaincode::keys;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::genesis::{Params, Policy, Validator};
use epione_types::id::{ProposalId, StudyId};
use epione_types::receipt::Outcome;
use epione_types::{Height, TimestampMs};
use support::*;

fn propose(name: &str, action: ProposalAction) -> Call {
    Call::Propose(Propose { proposal: ProposalId(id16(name)), action })
}

fn vote(name: &str, accept: bool) -> Call {
    Call::Vote(Vote { proposal: ProposalId(id16(name)), accept })
}

fn set(constant: PolicyConstant, value: u64) -> ProposalAction {
    ProposalAction::SetConstant { constant, value }
}

/// Proposed by hospA, passed by hospB and hospC.
#[track_caller]
fn pass(world: &mut World, name: &str, action: ProposalAction) -> Vec<Event> {
    let tx = world.tx(&["hospA.admin0"], propose(name, action));
    world.ok(tx);
    let tx = world.tx(&["hospB.admin0"], vote(name, true));
    world.ok(tx);
    let tx = world.tx(&["hospC.admin0"], vote(name, true));
    world.ok(tx).events
}

#[test]
fn a_constant_changes_with_the_block_after_the_vote() {
    let mut world = World::cast();
    let tx = world.tx(&["hospA.admin0"], propose("p", set(PolicyConstant::OverrideOpenMs, HOUR)));
    world.ok(tx);
    let tx = world.tx(&["hospB.admin0"], vote("p", true));
    world.ok(tx);
    // The third vote, and in the same block an emergency: it still opens for four hours.
    let third = world.tx(&["hospC.admin0"], vote("p", true));
    let emergency = world.emergency("drB", "anna1");
    let receipts = world.block(&[third, emergency]);
    let height = Height(world.height + 1);
    let changed = Event::PolicyChanged { constant: PolicyConstant::OverrideOpenMs, value: HOUR, height };
    assert!(receipts[0].events.contains(&changed));
    assert_eq!(world.next_deadline, Some(TimestampMs(world.now + 4 * HOUR)));
    let emergency = world.emergency("drB2", "anna1");
    world.ok(emergency);
    assert_eq!(world.next_deadline, Some(TimestampMs(world.now + HOUR)));
    assert_eq!(config::policy(&world.state).unwrap().override_open_ms, HOUR);
}

#[test]
fn two_that_pass_in_one_block_both_hold() {
    let mut world = World::cast();
    let constants = [(PolicyConstant::LinkMs, HOUR), (PolicyConstant::LiveRulesMax, 16)];
    for (i, (constant, value)) in constants.into_iter().enumerate() {
        let name = format!("p{i}");
        let tx = world.tx(&["hospA.admin0"], propose(&name, set(constant, value)));
        world.ok(tx);
        let tx = world.tx(&["hospB.admin0"], vote(&name, true));
        world.ok(tx);
    }
    let txs = [world.tx(&["hospC.admin0"], vote("p0", true)), world.tx(&["hospC.admin0"], vote("p1", true))];
    world.block(&txs);
    let Settings { constants, .. } = config::settings(&world.state).unwrap();
    assert_eq!((constants.link_ms, constants.live_rules_max), (HOUR, 16));
    // And the cap holds.
    for i in 0..16 {
        let tx = world.grant("anna", "anna", &format!("{i}"), permit(person("hospB", "drB")));
        world.ok(tx);
    }
    let tx = world.grant("anna", "anna", "x", permit(person("hospB", "drB")));
    assert_eq!(world.refused(tx), Refusal::TooManyGrants);
}

#[test]
fn who_votes_once_and_in_time() {
    let mut world = World::cast();
    let tx =
        world.organisation("clinic", &["hospA.admin0", "hospB.admin0", "clinic.admin0", "clinic.admin1"]);
    world.ok(tx);
    let action = || set(PolicyConstant::LinkMs, HOUR);
    for (signers, refusal) in [
        (&["clinic.admin0", "clinic.admin1"][..], Refusal::NotAuthorised), // runs no validator
        (&["drA"], Refusal::NotAuthorised),
        (&["anna"], Refusal::NotAuthorised),
    ] {
        let tx = world.tx(signers, propose("p", action()));
        assert_eq!(world.refused(tx), refusal);
    }
    let tx = world.tx(&["hospA.admin0"], propose("p", action()));
    world.ok(tx);
    let withdraw = || Call::WithdrawProposal(WithdrawProposal { proposal: ProposalId(id16("p")) });
    for call in [vote("p", true), withdraw()] {
        let tx = world.tx(&["clinic.admin0", "clinic.admin1"], call);
        assert_eq!(world.refused(tx), Refusal::NotAuthorised, "runs no validator");
    }
    let tx = world.tx(&["hospB.admin0"], withdraw());
    assert_eq!(world.refused(tx), Refusal::NotAuthorised, "it did not propose it");
    let tx = world.tx(&["hospB.admin0"], propose("p", action()));
    assert_eq!(world.refused(tx), Refusal::Exists);
    let tx = world.tx(&["hospA.admin1"], vote("p", true));
    assert_eq!(world.refused(tx), Refusal::VoteTwice, "proposing was a vote");
    let tx = world.tx(&["hospB.admin0"], vote("p", false));
    world.ok(tx);
    let tx = world.tx(&["hospB.admin0"], vote("p", true));
    assert_eq!(world.refused(tx), Refusal::VoteTwice);
    let tx = world.tx(&["hospB.admin0"], vote("unknown", true));
    assert_eq!(world.refused(tx), Refusal::Unknown);
    world.block_after(VOTE_MS, &[]);
    let tx = world.tx(&["hospC.admin0"], vote("p", true));
    assert_eq!(world.refused(tx), Refusal::TooLate);
}

#[test]
fn a_chain_for_tests_alone_need_not_wait_for_days() {
    let mut settings = Settings { policy: Policy::default(), constants: Constants::default() };
    for constant in PolicyConstant::ALL {
        assert_eq!(settings.limits_here(*constant), Settings::limits(*constant), "{constant}");
    }
    settings.policy.allow_sensitive_in_clear = true;
    for constant in PolicyConstant::ALL {
        let (here, there) = (settings.limits_here(*constant), Settings::limits(*constant));
        let least = if constant.name().ends_with("_MS") { 1_000 } else { *there.start() };
        assert_eq!(here, least..=*there.end(), "{constant}");
    }
}

#[test]
fn constants_keep_their_limits_and_each_other() {
    let mut world = World::cast();
    for constant in PolicyConstant::ALL {
        let limits = Settings::limits(*constant);
        for value in [limits.start() - 1, limits.end() + 1, u64::MAX] {
            let tx = world.tx(&["hospA.admin0"], propose("p", set(*constant, value)));
            assert_eq!(world.refused(tx), Refusal::InvalidField, "{constant} {value}");
        }
    }
    // A review due before its override is over; privacy after majority.
    for action in [set(PolicyConstant::OverrideReviewMs, HOUR), set(PolicyConstant::MinorPrivacyAge, 19)] {
        let tx = world.tx(&["hospA.admin0"], propose("p", action));
        assert_eq!(world.refused(tx), Refusal::InvalidField);
    }
    // Two that are sound alone and not together: the second one cannot pass any more.
    let privacy = set(PolicyConstant::MinorPrivacyAge, 17);
    let tx = world.tx(&["hospA.admin0"], propose("privacy", privacy));
    world.ok(tx);
    pass(&mut world, "majority", set(PolicyConstant::MajorityAge, 16));
    let tx = world.tx(&["hospB.admin0"], vote("privacy", true));
    world.ok(tx);
    let tx = world.tx(&["hospC.admin0"], vote("privacy", true));
    assert_eq!(world.refused(tx), Refusal::InvalidField);
}

#[test]
fn studies_and_enrolments_are_set_by_vote_and_decisions_read_them() {
    let mut world = World::cast();
    let tx = world.practitioner("hospC", "resC", &[Role::Researcher], false);
    world.ok(tx);
    let study = StudyId(id16("study"));
    let enrol = |status| ProposalAction::SetEnrolment { study, patient: patient("anna"), status };
    let tx = world.tx(&["hospA.admin0"], propose("too early", enrol(EnrolmentStatus::Active)));
    assert_eq!(world.refused(tx), Refusal::Unknown);
    let team = vec![TeamMember { organisation: org("hospC"), practitioner: practitioner("resC") }];
    let approved_until = TimestampMs(world.now + 1_000 * HOUR);
    let set_study = |team: &[TeamMember]| ProposalAction::SetStudy {
        study,
        status: StudyStatus::Approved,
        approved_until,
        team: team.to_vec(),
    };
    let tx = world.tx(&["hospA.admin0"], propose("twice", set_study(&[team[0], team[0]])));
    assert_eq!(world.refused(tx), Refusal::InvalidField);
    pass(&mut world, "study", set_study(&team));
    let read = |world: &mut World| {
        let call = RecordAccess {
            study: Some(study),
            action: Action::DeidRead,
            ..access_call("anna1", Role::Researcher, Purpose::ClinTrch)
        };
        let tx = world.tx(&["resC"], Call::RecordAccess(call));
        world.decided(tx).1
    };
    assert_eq!(read(&mut world), Reason::DenyNotEnrolled);
    pass(&mut world, "enrol", enrol(EnrolmentStatus::Active));
    assert_eq!(read(&mut world), Reason::DenyNoGrant, "and the patient's own grant is still needed");
    let rule = Rule {
        purposes: Purposes::Only(vec![Purpose::Hresch]),
        actions: vec![Action::DeidRead],
        until: Some(TimestampMs(world.now + HOUR)),
        policy: Some(hash("policy")),
        document: Some(hash("consent")),
        ..permit(Grantee::Study(study))
    };
    let tx = world.grant("anna", "anna", "g", rule);
    world.ok(tx);
    assert_eq!(read(&mut world), Reason::PermitGrant);
    pass(&mut world, "leave", enrol(EnrolmentStatus::Withdrawn));
    assert_eq!(read(&mut world), Reason::DenyNotEnrolled);
    assert!(get(&world.state, &keys::study(study)).is_some());
}

// Who validates (R20).

fn validator(name: &str) -> Validator {
    Validator {
        organisation: org("hospB"),
        public_key: key(name),
        network_key: key(&format!("{name}.network")),
    }
}

fn change(remove: Option<&str>, add: Option<&str>) -> ProposalAction {
    ProposalAction::ChangeValidators { remove: remove.map(key), add: add.map(validator) }
}

fn ready(name: &str, height: u64) -> Call {
    Call::ConfirmReadiness(ConfirmReadiness { proposal: ProposalId(id16(name)), height: Height(height) })
}

#[test]
fn who_validates_changes_a_window_after_the_vote_and_one_change_at_a_time() {
    let mut world = World::cast();
    let window = config::epochs(&world.state).unwrap().of.set.params.window;
    let tx = world.tx(&["hospA.admin0"], propose("join", change(None, Some("new"))));
    world.ok(tx);
    let epochs = config::epochs(&world.state).unwrap();
    assert_eq!(epochs.candidates, [key("new.network")], "its node may follow");
    let tx = world.tx(&["hospC.admin0"], vote("join", true));
    world.ok(tx);

    // Not before it is ready: the vote that would decide is refused, and may be given again.
    let tx = world.tx(&["hospD.admin0"], vote("join", true));
    assert_eq!(world.refused(tx), Refusal::NotReady);
    for (signers, refusal) in [
        (&["hospC.admin0", "new"][..], Refusal::NotAuthorised),
        (&["hospB.admin0"][..], Refusal::NotAuthorised),
        (&["hospB.admin0", "another"][..], Refusal::NotAuthorised),
    ] {
        let tx = world.tx(signers, ready("join", world.height));
        assert_eq!(world.refused(tx), refusal, "{signers:?}");
    }
    let tx = world.tx(&["hospB.admin0", "new"], ready("join", world.height + 2));
    assert_eq!(world.refused(tx), Refusal::NotReady, "of a height to come");
    let tx = world.tx(&["hospB.admin0", "new"], ready("join", world.height));
    world.ok(tx);
    let before = config::epochs(&world.state).unwrap();
    let tx = world.tx(&["hospD.admin0"], vote("join", true));
    world.ok(tx);

    let decided = world.height;
    let epochs = config::epochs(&world.state).unwrap();
    let next = epochs.next.clone().unwrap();
    assert_eq!((epochs.of, next.after), (before.of.clone(), Height(decided + window)));
    assert_eq!((next.set.epoch, next.set.len()), (epione_types::Epoch(1), before.of.set.len() + 1));
    // Another one would not know of it.
    for action in
        [change(Some("hospA.validator"), None), ProposalAction::SetParams { params: Params::default() }]
    {
        let tx = world.tx(&["hospA.admin0"], propose("second", action));
        assert_eq!(world.refused(tx), Refusal::ChangePending);
    }
    for height in world.height + 1..=decided + window {
        world.block(&[]);
        let epochs = config::epochs(&world.state).unwrap();
        assert_eq!((height, &epochs.of.set), (world.height, &before.of.set));
        let commits_to = if height == decided + window { &next.set } else { &before.of.set };
        assert_eq!(epochs.after(Height(height)), commits_to, "what the header names (R21)");
    }
    world.block(&[]);
    let epochs = config::epochs(&world.state).unwrap();
    assert_eq!((&epochs.of.set, epochs.of.begin, epochs.next), (&next.set, next.after, None));
}

/// Both were open before either passed: the vote that would decide the second is refused, and may be given again later.
#[test]
fn of_two_changes_in_one_window_the_second_waits_for_the_first() {
    let mut world = World::cast();
    let before = config::epochs(&world.state).unwrap().of.set;
    let leave = |at: usize| ProposalAction::ChangeValidators {
        remove: Some(before.validators[at].public_key),
        add: None,
    };
    let params = ProposalAction::SetParams { params: Params { window: 4, ..Params::default() } };
    for (name, action) in [("first", leave(3)), ("second", leave(2)), ("third", params)] {
        let tx = world.tx(&["hospA.admin0"], propose(name, action));
        world.ok(tx);
        let tx = world.tx(&["hospB.admin0"], vote(name, true));
        world.ok(tx);
    }
    // In one block: the order of its transactions decides.
    let last = ["first", "second", "third"].map(|name| world.tx(&["hospC.admin0"], vote(name, true)));
    let outcomes = world.block(&last).into_iter().map(|receipt| receipt.outcome).collect::<Vec<_>>();
    let pending = Outcome::Refused(Refusal::ChangePending);
    assert_eq!(outcomes, [Outcome::Ok, pending, pending]);
    // To the last height of the window.
    for _ in 0..before.params.window {
        let tx = world.tx(&["hospC.admin0"], vote("second", true));
        assert_eq!(world.refused(tx), Refusal::ChangePending);
    }
    let tx = world.tx(&["hospC.admin0"], vote("second", true));
    world.ok(tx);
    assert!(config::epochs(&world.state).unwrap().next.is_some());
}

/// With nobody left, or too few hospitals to sign what only they can, the ledger could never change again.
#[test]
fn the_last_validators_cannot_leave() {
    for (organisation_signatures, left) in [(2, 2), (1, 1)] {
        let mut world = World::cast();
        if organisation_signatures != 2 {
            let action = set(PolicyConstant::OrganisationSignatures, organisation_signatures);
            pass(&mut world, "signatures", action);
        }
        loop {
            let set = config::epochs(&world.state).unwrap().of.set;
            let leave = ProposalAction::ChangeValidators {
                remove: Some(set.validators.last().unwrap().public_key),
                add: None,
            };
            let name = format!("leave {}", set.len());
            let tx = world.tx(&["hospA.admin0"], propose(&name, leave));
            if set.len() == left {
                assert_eq!(world.refused(tx), Refusal::InvalidField);
                break;
            }
            world.ok(tx);
            for hospital in ["hospB", "hospC"].iter().take(set.quorum() - 1) {
                let tx = world.tx(&[&format!("{hospital}.admin0")], vote(&name, true));
                world.ok(tx);
            }
            for _ in 0..=set.params.window {
                world.block(&[]);
            }
        }
    }
}

#[test]
fn parameters_change_with_the_epoch_and_keep_their_limits() {
    let mut world = World::cast();
    let of = |window| ProposalAction::SetParams { params: Params { window, ..Params::default() } };
    for window in [0, 33, u64::MAX] {
        let tx = world.tx(&["hospA.admin0"], propose("p", of(window)));
        assert_eq!(world.refused(tx), Refusal::InvalidField);
    }
    pass(&mut world, "p", of(4));
    let before = config::epochs(&world.state).unwrap();
    for _ in 0..=before.of.set.params.window {
        world.block(&[]);
    }
    let epochs = config::epochs(&world.state).unwrap();
    assert_eq!((epochs.of.set.params.window, epochs.of.set.len()), (4, before.of.set.len()));
}

#[test]
fn what_a_change_of_validators_must_be() {
    let mut world = World::cast();
    let set = config::epochs(&world.state).unwrap().of.set;
    let theirs = set.validators[1].clone();
    let with = |joins: Validator| ProposalAction::ChangeValidators { remove: None, add: Some(joins) };
    let unknown = Validator { organisation: org("nobody"), ..validator("new") };
    let same = Validator { network_key: key("new"), ..validator("new") };
    let weak = Validator { public_key: epione_types::PublicKey([0; 32]), ..validator("new") };
    for (action, refusal) in [
        (change(None, None), Refusal::InvalidField),
        (change(Some("nobody"), None), Refusal::Unknown),
        (with(theirs.clone()), Refusal::KeyInUse),
        (with(Validator { public_key: key("new"), ..theirs.clone() }), Refusal::KeyInUse),
        (with(unknown), Refusal::OrgInactive),
        (with(same), Refusal::InvalidField),
        (with(weak), Refusal::InvalidField),
    ] {
        let tx = world.tx(&["hospA.admin0"], propose("p", action.clone()));
        assert_eq!(world.refused(tx), refusal, "{action:?}");
    }
    // The organisation that has no validator any more has no vote either; with too few left none could sign for another.
    let leave = |at: usize| ProposalAction::ChangeValidators {
        remove: Some(set.validators[at].public_key),
        add: None,
    };
    let turn = |world: &mut World| {
        for _ in 0..=set.params.window {
            world.block(&[]);
        }
    };
    pass(&mut world, "first", leave(3));
    turn(&mut world);
    let tx = world.tx(&["hospD.admin0"], propose("p", leave(0)));
    assert_eq!(world.refused(tx), Refusal::NotAuthorised);
    // Three are left, none of whom may be faulty: two decide (R1).
    let tx = world.tx(&["hospA.admin0"], propose("second", leave(2)));
    world.ok(tx);
    let tx = world.tx(&["hospB.admin0"], vote("second", true));
    world.ok(tx);
    turn(&mut world);
    assert_eq!(config::epochs(&world.state).unwrap().of.set.len(), 2);
    let tx = world.tx(&["hospA.admin0"], propose("p", leave(1)));
    assert_eq!(world.refused(tx), Refusal::InvalidField, "organisation_signatures are 2");
}

#[test]
fn so_many_may_follow_before_they_join() {
    let mut world = World::cast();
    let mut number = 0;
    let mut add = |world: &mut World, hospital: &str| {
        number += 1;
        let name = format!("new{number}");
        let call = propose(&name, change(None, Some(&name)));
        world.tx(&[&format!("{hospital}.admin0")], call)
    };
    // One cannot fill the others' room.
    for _ in 0..epione_chaincode::governance::CANDIDATES_OF_ONE {
        let tx = add(&mut world, "hospA");
        world.ok(tx);
    }
    let tx = add(&mut world, "hospA");
    assert_eq!(world.refused(tx), Refusal::TooMany);
    for hospital in ["hospB", "hospC", "hospD"] {
        for _ in 0..epione_chaincode::governance::CANDIDATES_OF_ONE {
            let tx = add(&mut world, hospital);
            world.ok(tx);
        }
    }
    let all = config::epochs(&world.state).unwrap().candidates;
    assert_eq!(all.len(), epione_chaincode::governance::CANDIDATES_MAX);
    // What is taken back, declined, or out of time makes room.
    let withdraw = Call::WithdrawProposal(WithdrawProposal { proposal: ProposalId(id16("new1")) });
    let tx = world.tx(&["hospA.admin0"], withdraw);
    world.ok(tx);
    for hospital in ["hospC", "hospD"] {
        let tx = world.tx(&[&format!("{hospital}.admin0")], vote("new2", false));
        world.ok(tx);
    }
    assert_eq!(config::epochs(&world.state).unwrap().candidates.len(), all.len() - 2);
    world.block_after(VOTE_MS, &[]);
    let tx = world.tx(&["hospA.admin0"], propose("late", change(None, Some("late"))));
    world.ok(tx);
    assert_eq!(config::epochs(&world.state).unwrap().candidates, [key("late.network")]);
}

/// A vote counts as long as its organisation validates.
#[test]
fn who_has_left_has_no_vote_on_what_is_still_open() {
    let mut world = World::cast();
    let set = config::epochs(&world.state).unwrap().of.set;
    let action = || ProposalAction::SetConstant { constant: PolicyConstant::LinkMs, value: HOUR };
    let tx = world.tx(&["hospD.admin0"], propose("p", action()));
    world.ok(tx);
    let leave = ProposalAction::ChangeValidators { remove: Some(set.validators[3].public_key), add: None };
    pass(&mut world, "leave", leave);
    for _ in 0..=set.params.window {
        world.block(&[]);
    }
    // Of three two decide: D's word of before and A's are not two. What is said of it counts as the decision does.
    let tx = world.tx(&["hospA.admin0"], vote("p", true));
    let said = world.ok(tx).events;
    let counted = |event: &Event| {
        if let Event::ProposalChanged { accepted, declined, .. } = event {
            Some((*accepted, *declined))
        } else {
            None
        }
    };
    assert_eq!(said.iter().find_map(counted), Some((1, 0)));
    let status = |world: &World| get(&world.state, &keys::proposal(ProposalId(id16("p")))).unwrap().status;
    assert_eq!(status(&world), ProposalStatus::Open);
    let tx = world.tx(&["hospB.admin0"], vote("p", true));
    world.ok(tx);
    assert_eq!(status(&world), ProposalStatus::Passed);
}
