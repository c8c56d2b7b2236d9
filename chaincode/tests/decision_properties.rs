//! Seven properties of the access decision, each on generated situations that shrink when they fail, through the state
//! where it matters. The hundred thousand states, and the second implementation, are in `tests/oracle/`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::LazyLock;

use epione_chaincode::consent::{Basis, Grant, Revocation};
use epione_chaincode::identity::{
    Member, Organisation, OrganisationStatus, Patient, PatientStatus, Practitioner, PractitionerStatus,
    Representation, RepresentationKind,
};
use epione_chaincode::records::{Record, RecordStatus};
use epione_chaincode::research::{Enrolment, EnrolmentStatus, Study, StudyStatus};
use epione_chaincode::{Facts, Request, check_access, decide, keys};
use epione_types::TimestampMs;
use epione_types::call::{
    DataPeriod, Emergency, GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess, Rule,
};
use epione_types::codes::{
    Action, Capability, Category, Decision, EmergencyReason, Label, Obligation, OrganisationKind, Purpose,
    Role,
};
use epione_types::genesis::Policy;
use epione_types::id::{GrantId, LinkId, OpaqueRef, RepresentativeId, StudyId};
use proptest::collection::btree_set;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use support::*;

const NOW: TimestampMs = TimestampMs(1_000);
/// Edges of time around now.
const TIMES: [TimestampMs; 3] = [TimestampMs(999), TimestampMs(1_000), TimestampMs(1_001)];
const LABELS: [Label; 7] =
    [Label::Hiv, Label::Sud, Label::OpioidUd, Label::Bh, Label::Cogn, Label::PsyThPn, Label::Part2];
const PURPOSES: [Purpose; 12] = [
    Purpose::Treat,
    Purpose::Coc,
    Purpose::Etreat,
    Purpose::Btg,
    Purpose::Hpaymt,
    Purpose::Coverage,
    Purpose::Hoperat,
    Purpose::Fraud,
    Purpose::Hresch,
    Purpose::ClinTrch,
    Purpose::PatRqt,
    Purpose::PubHlth,
];
const CATEGORIES: [Category; 5] = [
    Category::Lab,
    Category::Billing,
    Category::Demographics,
    Category::Diagnosis,
    Category::PsychotherapyNote,
];

fn link() -> LinkId {
    LinkId(id16("link"))
}
fn study() -> StudyId {
    StudyId(id16("study"))
}
fn mother() -> RepresentativeId {
    RepresentativeId(id16("mother"))
}
fn dr(hospital: &str) -> Member {
    Member::Practitioner(org(hospital), practitioner("dr"))
}

fn grantee() -> impl Strategy<Value = Grantee> {
    let role = |role| Grantee::Role(org("hospB"), role);
    select(vec![
        Grantee::Any,
        Grantee::Any,
        Grantee::Org(org("hospA")),
        Grantee::Org(org("hospB")),
        Grantee::Org(org("hospB")),
        role(Role::Physician),
        role(Role::Billing),
        role(Role::Researcher),
        person("hospA", "dr"),
        person("hospB", "dr"),
        Grantee::Person(Person::Representative(mother())),
        Grantee::Study(study()),
        Grantee::Guest(link()),
    ])
}

fn month() -> impl Strategy<Value = Option<Month>> {
    of((1..=12_u32).prop_map(|month| Month::new(2026, month).unwrap()))
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![
        2 => Just(Labels::Only(vec![])),
        1 => Just(Labels::Any),
        4 => subsequence(LABELS.to_vec(), 1..=5).prop_map(Labels::Only),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let what = (
        select(vec![GrantKind::Permit, GrantKind::Permit, GrantKind::Deny]),
        grantee(),
        prop_oneof![
            1 => Just(Purposes::All),
            5 => subsequence(PURPOSES.to_vec(), 1..=4).prop_map(Purposes::Only),
        ],
        subsequence(Action::ALL.to_vec(), 2..=4),
        prop_oneof![3 => Just(vec![]), 1 => subsequence(CATEGORIES.to_vec(), 1..=3)],
        prop_oneof![3 => Just(vec![]), 1 => subsequence(vec![record("r"), record("other")], 1..=2)],
        labels(),
        weighted(0.2, (month(), month()).prop_map(|(from, until)| DataPeriod { from, until })),
    );
    let when = (
        weighted(0.2, select(&TIMES[..])),
        weighted(0.2, select(&TIMES[..])),
        weighted(0.2, 1..=2_u32),
        any::<bool>(),
        weighted(0.15, 0..6_u8),
    );
    (what, when).prop_map(|(what, when)| {
        let (kind, to, purposes, actions, categories, records, labels, data_period) = what;
        let (from, until, max_uses, delegable, parent) = when;
        Rule {
            kind,
            to,
            purposes,
            actions,
            categories,
            records,
            labels,
            data_period,
            from,
            until,
            max_uses: max_uses.filter(|_| kind == GrantKind::Permit),
            delegable,
            parent: parent.map(|id| GrantId([id; 16])),
            policy: None,
            document: None,
        }
    })
}

fn one_grant(id: u8) -> impl Strategy<Value = Grant> {
    (rule(), weighted(0.15, select(&TIMES[..])), 0..=1_u32).prop_map(move |(rule, revoked, uses)| Grant {
        id: GrantId([id; 16]),
        uses: uses.min(rule.max_uses.unwrap_or(0)),
        rule,
        basis: Basis::OwnKey,
        created_at: TimestampMs(0),
        revoked: revoked.map(|at| Revocation { at, basis: Basis::OwnKey }),
    })
}

fn a_record() -> impl Strategy<Value = Record> {
    (
        btree_set(select(&LABELS[..]), 0..=3),
        select(&CATEGORIES[..]),
        1..=12_u32,
        any::<bool>(),
        select(vec![RecordStatus::Active, RecordStatus::Active, RecordStatus::Active, RecordStatus::Draft]),
        select(vec!["hospA", "hospB"]),
        any::<bool>(),
    )
        .prop_map(|(labels, category, month, minor_consented, status, custodian, by_dr)| Record {
            id: record("r"),
            patient: patient("anna"),
            custodian: org(custodian),
            author: practitioner(if by_dr { "dr" } else { "another" }),
            role: Role::Physician,
            status,
            version: 1,
            category,
            labels: labels.into_iter().collect(),
            service_month: Month::new(2026, month).unwrap(),
            minor_consented,
            commitment: hash("commitment"),
            ciphertext_hash: hash("ciphertext"),
            size_class: 12,
            pointer: OpaqueRef(id16("pointer")),
            registered_at: TimestampMs(0),
        })
}

/// Requests that pass the gates often enough to reach the rules.
fn request() -> impl Strategy<Value = Request> {
    let who = prop_oneof![
        6 => (
            select(vec!["hospA", "hospB", "hospB"]),
            select(vec![
                (Role::Physician, vec![Purpose::Treat, Purpose::Coc, Purpose::Etreat, Purpose::Btg, Purpose::Btg]),
                (Role::Billing, vec![Purpose::Hpaymt, Purpose::Coverage]),
                (Role::InsurerReviewer, vec![Purpose::Coverage, Purpose::Fraud]),
                (Role::Researcher, vec![Purpose::Hresch, Purpose::ClinTrch]),
                (Role::Registrar, vec![Purpose::Hoperat]),
                (Role::PublicHealth, vec![Purpose::PubHlth]),
            ]),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(hospital, (role, purposes), which)| (dr(hospital), role, *which.get(&purposes))),
        1 => Just((Member::Patient(patient("anna")), Role::Patient, Purpose::PatRqt)),
        2 => Just((Member::Representative(mother()), Role::Representative, Purpose::FamRqt)),
        1 => Just((Member::Guest(link()), Role::Guest, Purpose::PatRqt)),
    ];
    let action = select(vec![
        Action::Read,
        Action::Read,
        Action::Read,
        Action::Write,
        Action::Disclose,
        Action::DeidRead,
    ]);
    (who, action, any::<bool>(), any::<bool>()).prop_map(
        |((who, role, purpose), action, emergency, mandate)| {
            let grounds =
                Emergency { reason: EmergencyReason::LifeThreat, text_commitment: Some(hash("text")) };
            Request {
                study: Some(study()),
                link: Some(link()),
                mandate: mandate.then_some(OpaqueRef(id16("mandate"))),
                emergency: emergency.then_some(grounds),
                ..Request::new(who, role, action, purpose)
            }
        },
    )
}

prop_compose! {
    fn situation()(
        record in a_record(),
        request in request(),
        mut rules in (0..5).map(one_grant).collect::<Vec<_>>(),
        count in 0..=5_usize,
        cares in any::<bool>(),
        (capable, break_glass, team) in (prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        kind in select(vec![RepresentationKind::Parent, RepresentationKind::Guardian]),
        privacy in of(select(&TIMES[..])),
        override_until in weighted(0.2, select(&TIMES[..])),
    ) -> (Facts, Request) {
        rules.truncate(count);
        let organisation = Organisation {
            kind: OrganisationKind::PublicHealth,
            status: OrganisationStatus::Active,
            admins: vec![],
            admin_threshold: 1,
            break_glass,
            registered_at: TimestampMs(0),
        };
        let practitioner = Practitioner {
            key: epione_types::PublicKey([1; 32]),
            roles: Role::ALL.to_vec(),
            capabilities: if capable { vec![Capability::BreakGlass] } else { vec![] },
            credential_until: None,
            status: PractitionerStatus::Active,
            identity_commitment: hash("licence"),
            registered_at: TimestampMs(0),
        };
        let representation = Representation {
            kind,
            from: TimestampMs(0),
            until: None,
            minor_privacy_from: privacy,
            categories: vec![],
            revoked_at: None,
            evidence: hash("evidence"),
            organisation: org("hospA"),
        };
        let anna = Patient {
            key: None,
            care_organisations: vec![org(if cares { "hospB" } else { "hospA" })],
            status: PatientStatus::Active,
            notice_hash: hash("notice"),
            grants: u32::try_from(rules.len()).unwrap(),
            registered_at: TimestampMs(0),
        };
        let id = support::practitioner("dr");
        let facts = Facts {
            record: Some(record),
            patient: Some(anna),
            organisation: Some(organisation),
            practitioner: Some(practitioner),
            representation: Some(representation),
            rules,
            study: Some(Study {
                status: StudyStatus::Approved,
                approved_until: TimestampMs(1_001),
                team: if team { vec![(org("hospA"), id), (org("hospB"), id)] } else { vec![] },
            }),
            enrolment: Some(Enrolment { status: EnrolmentStatus::Active }),
            override_until,
            reviews_overdue: false,
        };
        (facts, request)
    }
}

fn permits(facts: &Facts, request: &Request) -> bool {
    decide(facts, request, NOW).decision == Decision::Permit
}

/// The facts as a state, entries inserted in the given order.
fn state(facts: &Facts, request: &Request, backwards: bool) -> Map {
    static GENESIS: LazyLock<Map> = LazyLock::new(|| World::empty(Policy::default()).state);
    let mut state = GENESIS.clone();
    let id = patient("anna");
    let mut rules: Vec<_> = facts.rules.iter().collect();
    if backwards {
        rules.reverse();
    }
    for grant in rules {
        put(&mut state, &keys::grant(id, grant.id), grant);
    }
    let record = facts.record.as_ref().unwrap();
    put(&mut state, &keys::record(record.id), record);
    put(&mut state, &keys::patient(id), facts.patient.as_ref().unwrap());
    let representation = facts.representation.as_ref().unwrap();
    put(&mut state, &keys::representation(id, Person::Representative(mother())), representation);
    put(&mut state, &keys::study(study()), facts.study.as_ref().unwrap());
    put(&mut state, &keys::enrolment(study(), id), &facts.enrolment.unwrap());
    if let Member::Practitioner(hospital, dr) = request.who {
        put(&mut state, &keys::organisation(hospital), facts.organisation.as_ref().unwrap());
        put(&mut state, &keys::practitioner(hospital, dr), facts.practitioner.as_ref().unwrap());
        if let Some(expires) = facts.override_until {
            let open = epione_chaincode::access::OpenOverride { expires };
            put(&mut state, &keys::open_override(id, (hospital, dr)), &open);
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn p1_the_order_of_rules_does_not_matter((facts, request) in situation(), seed in any::<u64>()) {
        let expected = decide(&facts, &request, NOW);
        let mut shuffled = facts;
        shuffled.rules.sort_by_key(|grant| hash(&format!("{seed} {:?}", grant.id)));
        prop_assert_eq!(decide(&shuffled, &request, NOW), expected);
    }

    #[test]
    fn p2_one_more_denial_never_opens((facts, request) in situation(), mut denial in one_grant(99)) {
        denial.rule.kind = GrantKind::Deny;
        let mut more = facts.clone();
        more.rules.push(denial);
        prop_assert!(permits(&facts, &request) || !permits(&more, &request));
    }

    #[test]
    fn p3_one_permit_less_never_opens((facts, request) in situation(), mut permit in one_grant(0), revoke in any::<bool>()) {
        // Under an id that others may name as their parent.
        permit.rule.kind = GrantKind::Permit;
        let mut fewer = facts.clone();
        fewer.rules.retain(|grant| grant.id != permit.id);
        let mut with = fewer.clone();
        with.rules.push(permit.clone());
        if revoke {
            permit.revoked = Some(Revocation { at: NOW, basis: Basis::OwnKey });
            fewer.rules.push(permit);
        }
        prop_assert!(permits(&with, &request) || !permits(&fewer, &request));
    }

    #[test]
    fn p4_one_more_label_never_opens((facts, request) in situation(), label in select(Label::ALL)) {
        let mut labelled = facts.clone();
        let record = labelled.record.as_mut().unwrap();
        prop_assume!(!record.labels.contains(&label));
        record.labels.push(label);
        record.labels.sort_unstable();
        prop_assert!(permits(&facts, &request) || !permits(&labelled, &request));
    }

    #[test]
    fn p5_every_output_is_audited_and_every_denial_bare((facts, request) in situation()) {
        let decided = decide(&facts, &request, NOW);
        prop_assert!(decided.obligations.contains(&Obligation::Audit));
        prop_assert!(decided.obligations.windows(2).all(|pair| pair[0] < pair[1]), "ascending");
        if decided.decision == Decision::Deny {
            prop_assert_eq!(decided.obligations.len(), 1);
            prop_assert_eq!(decided.grant, None);
        }
        prop_assert_eq!(decided.reason.name().starts_with("PERMIT"), decided.decision == Decision::Permit);
    }

    #[test]
    fn p6_equal_states_give_equal_decisions((facts, request) in situation()) {
        let call = RecordAccess {
            record: record("r"),
            role: request.role,
            action: request.action,
            purpose: request.purpose,
            study: request.study,
            link: request.link,
            mandate: request.mandate,
            emergency: request.emergency,
            attestation: None,
        };
        let expected = decide(&facts, &request, NOW);
        for backwards in [false, true] {
            let state = state(&facts, &request, backwards);
            prop_assert_eq!(check_access(&state, NOW, request.who, &call).unwrap(), expected.clone());
        }
    }

    #[test]
    fn p7_what_has_ended_is_as_if_it_were_not((facts, request) in situation()) {
        let ended = |grant: &Grant| {
            grant.rule.until.is_some_and(|until| until <= NOW) || grant.revoked.is_some_and(|it| it.at <= NOW)
        };
        let mut without = facts.clone();
        without.rules.retain(|grant| !ended(grant));
        let (with, without) = (decide(&facts, &request, NOW), decide(&without, &request, NOW));
        prop_assert_eq!((with.decision, with.grant, with.obligations), (without.decision, without.grant, without.obligations));
    }
}

/// The properties say nothing if hardly anything is permitted, or by hardly any step.
#[test]
fn the_generated_situations_are_varied() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reasons = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..4_000 {
        let (facts, request) = situation().new_tree(&mut runner).unwrap().current();
        *reasons.entry(decide(&facts, &request, NOW).reason).or_default() += 1;
    }
    let permitted: u32 =
        reasons.iter().filter(|(reason, _)| reason.name().starts_with("PERMIT")).map(|(_, n)| n).sum();
    assert!((400..3_600).contains(&permitted), "{reasons:?}");
    assert!(reasons.len() >= 25, "{} of the reasons: {reasons:?}", reasons.len());
}
