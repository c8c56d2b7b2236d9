//! The access decision against a second, naive one, and its seven properties, on a hundred thousand states and more;
//! the two for every role, purpose and action; and what requesters are told of it.
//!
//! States are drawn from a seed, `EPIONE_STATES` of them (100,000 unless said); a failure prints the seed of its state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "a draw from a small list")]
#![expect(clippy::disallowed_methods, reason = "the number of states is given by the environment")]
#![expect(clippy::disallowed_macros, reason = "says which reasons were met")]

mod draw;
#[rustfmt::skip] // long lines: the whole decision at one glance
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of roles would be longer than the decision")]
mod naive;

use epione_chaincode::access::decide::told;
use epione_chaincode::consent::{Basis, Revocation};
use epione_chaincode::identity::{Member, Patient, PatientStatus};
use epione_chaincode::records::{Record, RecordStatus};
use epione_chaincode::{Decided, Facts, Request, decide};
use epione_types::call::GrantKind;
use epione_types::codes::{Action, Category, Decision, Label, Obligation, Purpose, Reason, Role};
use epione_types::id::{OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{TimestampMs, codec};

use draw::{Draw, NOW};

fn states() -> u64 {
    std::env::var("EPIONE_STATES").map_or(100_000, |number| number.parse().unwrap())
}

fn naive(facts: &Facts, request: &Request, now: TimestampMs) -> Decided {
    let (decision, reason, grant, mut obligations) = match naive::decide(facts, request, now) {
        Ok((reason, grant, duties)) => (Decision::Permit, reason, grant, duties),
        Err(reason) => (Decision::Deny, reason, None, vec![]),
    };
    obligations.push(Obligation::Audit);
    obligations.sort_unstable();
    Decided { decision, reason, grant, obligations }
}

fn permits(facts: &Facts, request: &Request) -> bool {
    decide(facts, request, NOW).decision == Decision::Permit
}

#[test]
fn two_implementations_and_seven_properties() {
    let mut reasons = std::collections::BTreeMap::new();
    for seed in 0..states() {
        let mut draw = Draw::new(seed);
        let (facts, request) = draw.situation();
        let found = decide(&facts, &request, NOW);
        assert_eq!(
            found,
            naive(&facts, &request, NOW),
            "the two differ: state {seed}\n{request:?}\n{facts:#?}"
        );
        *reasons.entry(found.reason.name()).or_insert(0_u32) += 1;
        properties(&mut draw, &facts, &request, &found, seed);
        assert_eq!(
            told(&facts, &request, NOW, &found),
            sayable(&facts, &request, &found),
            "told: state {seed}"
        );
    }
    for (reason, count) in &reasons {
        println!("{count:>7} {reason}");
    }
    assert!(states() < 50_000 || reasons.len() > 38, "the draw misses reasons: {}", reasons.len());
}

/// Of section 2.6, by its numbers.
fn properties(draw: &mut Draw, facts: &Facts, request: &Request, found: &Decided, seed: u64) {
    let permitted = found.decision == Decision::Permit;

    let mut shuffled = facts.clone();
    shuffled.rules.reverse();
    shuffled.rules.rotate_left(draw.below(facts.rules.len().max(1)));
    assert_eq!(decide(&shuffled, request, NOW), *found, "P1 order: state {seed}");

    let mut more = facts.clone();
    let mut denial = draw.grant(99);
    denial.rule.kind = GrantKind::Deny;
    more.rules.push(denial);
    assert!(permitted || !permits(&more, request), "P2 a denial opened: state {seed}");

    if let Some(at) = facts.rules.iter().position(|grant| grant.rule.kind == GrantKind::Permit) {
        let mut fewer = facts.clone();
        if draw.flag() {
            fewer.rules.remove(at);
        } else {
            fewer.rules[at].revoked = Some(Revocation { at: NOW, basis: Basis::OwnKey });
        }
        assert!(permitted || !permits(&fewer, request), "P3 a permit's end opened: state {seed}");
    }

    let mut labelled = facts.clone();
    if let Some(record) = &mut labelled.record {
        let label = draw.one(Label::ALL);
        record.labels.retain(|it| *it != label);
        record.labels.push(label);
        record.labels.sort_unstable();
        assert!(permitted || !permits(&labelled, request), "P4 a label opened: state {seed}");
    }

    assert!(found.obligations.contains(&Obligation::Audit), "P5: state {seed}");
    assert!(permitted || found.obligations.len() == 1 && found.grant.is_none(), "P5: state {seed}");

    let again = codec::decode::<epione_chaincode::records::Record>;
    if let Some(record) = &facts.record {
        // P6 from what the store would give back.
        let stored = Facts { record: Some(again(&codec::encode(record), 1 << 14).unwrap()), ..facts.clone() };
        assert_eq!(decide(&stored, request, NOW), *found, "P6: state {seed}");
    }

    let mut without = facts.clone();
    let over = |at: Option<TimestampMs>| at.is_some_and(|at| at <= NOW);
    without.rules.retain(|grant| !over(grant.rule.until) && !over(grant.revoked.map(|it| it.at)));
    let absent = decide(&without, request, NOW);
    let outcome = |it: &Decided| (it.decision, it.grant, it.obligations.clone());
    assert_eq!(outcome(&absent), outcome(found), "P7 what is over: state {seed}");
}

/// What may be said of a decision: the requester's own reason. Of any other, what a practitioner would hear of somebody's plain
/// record, there or not; what anybody else would of an erased one if it still stood.
fn sayable(facts: &Facts, request: &Request, found: &Decided) -> Reason {
    let hides = |reason: Reason| reason.public() == Reason::AccessDenied;
    if !hides(found.reason) {
        return found.reason;
    }
    let instead = match &facts.record {
        Some(record) if !matches!(request.who, Member::Practitioner(..)) => {
            if found.reason != Reason::DenyRecordErased {
                return Reason::AccessDenied;
            }
            Facts { record: Some(Record { status: RecordStatus::Active, ..record.clone() }), ..facts.clone() }
        }
        _ => somebodys(facts),
    };
    let instead = decide(&instead, request, NOW);
    if instead.decision == Decision::Permit || hides(instead.reason) {
        return Reason::AccessDenied;
    }
    instead.reason
}

/// A plain note of a patient whom the requester has nothing to do with.
fn somebodys(facts: &Facts) -> Facts {
    let (record, patient) =
        (0..).map(|seed| Draw::new(seed).situation().0).find_map(|it| it.record.zip(it.patient)).unwrap();
    let record = Record {
        id: RecordId([90; 16]),
        patient: PatientId([91; 16]),
        custodian: OrgId([92; 16]),
        author: PractitionerId([93; 16]),
        status: RecordStatus::Active,
        category: Category::ClinicalNote,
        labels: vec![],
        ..record
    };
    let patient = Patient { care_organisations: vec![], status: PatientStatus::Active, ..patient };
    Facts {
        record: Some(record),
        patient: Some(patient),
        representation: None,
        rules: vec![],
        enrolment: None,
        override_until: None,
        ..facts.clone()
    }
}

/// The draw meets a laboratory that looks for fraud once in a hundred thousand states.
#[test]
fn every_role_purpose_and_action() {
    let (mut facts, mut request) = (0..)
        .map(|seed| Draw::new(seed).situation())
        .find(|(facts, request)| {
            let staff = facts.practitioner.as_ref().is_some_and(|it| it.roles == Role::ALL);
            staff && naive::decide(facts, request, NOW).is_ok()
        })
        .unwrap();
    facts.rules.clear();
    let member = request.who;
    for (&role, &purpose, &action) in Role::ALL.iter().flat_map(|role| {
        Purpose::ALL
            .iter()
            .flat_map(move |purpose| Action::ALL.iter().map(move |action| (role, purpose, action)))
    }) {
        request = Request { who: member, role, purpose, action, ..request };
        assert_eq!(decide(&facts, &request, NOW), naive(&facts, &request, NOW), "{request:?}");
    }
}

/// A check that cannot fail is a defect: each of the oracle's own errors is found within a few thousand states.
#[test]
fn the_draw_has_teeth() {
    type Slip = (&'static str, fn(&mut Facts, &mut Request));
    let slips: [Slip; 8] = [
        ("an erased record", |facts, _| {
            let record = facts.record.as_mut();
            record.into_iter().for_each(|it| it.status = epione_types::codes::RecordStatus::Active);
        }),
        ("a label less", |facts, _| {
            facts.record.iter_mut().for_each(|it| it.labels.clear());
        }),
        ("revoked counts as live", |facts, _| facts.rules.iter_mut().for_each(|it| it.revoked = None)),
        ("uses are not counted", |facts, _| facts.rules.iter_mut().for_each(|it| it.uses = 0)),
        ("denials are ignored", |facts, _| facts.rules.retain(|it| it.rule.kind == GrantKind::Permit)),
        ("overdue reviews are ignored", |facts, _| facts.reviews_overdue = false),
        ("the minor's age is ignored", |facts, _| {
            facts.representation.iter_mut().for_each(|it| it.minor_privacy_from = None);
        }),
        ("parents are ignored", |facts, _| facts.rules.iter_mut().for_each(|it| it.rule.parent = None)),
    ];
    for (name, slip) in slips {
        let caught = (0..20_000).any(|seed| {
            let (facts, request) = Draw::new(seed).situation();
            let (mut slipped, mut asked) = (facts.clone(), request);
            slip(&mut slipped, &mut asked);
            decide(&facts, &request, NOW).decision != naive(&slipped, &asked, NOW).decision
        });
        assert!(caught, "{name}: not seen in 20,000 states");
    }
}
