//! The access decision: on decoded rules, and with all that it depends on read from the state first.
//!
//! `cargo bench -p epione-benches --bench decide`
//!
//! A physician elsewhere asks for a record with a label. Half of the patient's rules permit, half deny, and all match, unless it
//! is said otherwise:
//! - *permitted*: every permit is narrower than every denial;
//! - *denied*: every permit is narrower than every denial but the last, so that nothing is settled early;
//! - *passed on*: as *permitted*, and every permit but one was passed on by the holder of that one, the last of all.
//!
//! Up to the cap on a patient's rules at hand (policy constant `live_rules_max`: 512, at most 1,000) a decision is to take less
//! than 1 ms. 5,000 rules are more than there can be.

use std::hint::black_box;

use epione_benches::clinic::Map;
use epione_benches::{Samples, Table};
use epione_chaincode::consent::{Basis, Grant};
use epione_chaincode::identity::{
    Member, Organisation, OrganisationStatus, Patient, PatientStatus, Practitioner, PractitionerStatus,
};
use epione_chaincode::keys::{self, Key};
use epione_chaincode::records::{Record, RecordStatus};
use epione_chaincode::{Facts, Request, check_access, decide};
use epione_types::call::{GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess, Rule};
use epione_types::codes::{Action, Category, Decision, Label, OrganisationKind, Purpose, Role};
use epione_types::genesis::Policy;
use epione_types::id::{GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, PublicKey, TimestampMs, codec};

/// Rules that one sample looks at, about: the clock is too coarse for one decision.
const SAMPLE_RULES: usize = 50_000;
const ROUNDS: usize = 60;

const NOW: TimestampMs = TimestampMs(1_000_000);
const HERE: OrgId = OrgId([1; 16]);
const ELSEWHERE: OrgId = OrgId([2; 16]);
const DOCTOR: PractitionerId = PractitionerId([3; 16]);
const PATIENT: PatientId = PatientId([4; 16]);
const RECORD: RecordId = RecordId([5; 16]);

/// What the rules are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfOthers,
    Permitted,
    Denied,
    PassedOn,
}

impl Kind {
    const fn expected(self) -> Decision {
        match self {
            Self::OfOthers | Self::Denied => Decision::Deny,
            Self::Permitted | Self::PassedOn => Decision::Permit,
        }
    }
}

fn id(number: usize) -> GrantId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    GrantId(id)
}

/// Rule `number` of `count`.
fn grant(kind: Kind, number: usize, count: usize) -> Grant {
    let denies = number.is_multiple_of(2);
    let doctor = |organisation| Grantee::Person(Person::Practitioner(organisation, DOCTOR));
    let to = match kind {
        Kind::OfOthers => doctor(OrgId([9; 16])),
        // The last denial is as narrow as a permit.
        Kind::Denied if number + 2 >= count => doctor(ELSEWHERE),
        Kind::Denied | Kind::Permitted | Kind::PassedOn if denies => {
            Grantee::Role(ELSEWHERE, Role::Physician)
        }
        Kind::Denied | Kind::Permitted | Kind::PassedOn => doctor(ELSEWHERE),
    };
    let passed_on = kind == Kind::PassedOn && !denies && number + 1 < count;
    let rule = Rule {
        kind: if denies { GrantKind::Deny } else { GrantKind::Permit },
        to,
        purposes: Purposes::Only(vec![Purpose::Treat, Purpose::Hpaymt]),
        actions: vec![Action::Read, Action::Disclose],
        categories: vec![Category::Lab, Category::Diagnosis],
        records: Vec::new(),
        labels: Labels::Only(vec![Label::Hiv]),
        data_period: None,
        from: Some(TimestampMs(1)),
        until: Some(NOW.plus(1_000)),
        max_uses: None,
        delegable: !passed_on,
        parent: passed_on.then(|| id(count - 1)),
        policy: Some(Hash([6; 32])),
        document: Some(Hash([7; 32])),
    };
    let basis = Basis::OwnKey;
    Grant { id: id(number), rule, basis, created_at: TimestampMs(1), revoked: None, uses: 0 }
}

fn rules(kind: Kind, count: usize) -> Vec<Grant> {
    (0..count).map(|number| grant(kind, number, count)).collect()
}

fn facts(rules: Vec<Grant>) -> Facts {
    let organisation = Organisation {
        kind: OrganisationKind::Hospital,
        status: OrganisationStatus::Active,
        admins: vec![PublicKey([8; 32])],
        admin_threshold: 1,
        break_glass: false,
        registered_at: TimestampMs(1),
    };
    let practitioner = Practitioner {
        key: PublicKey([9; 32]),
        roles: vec![Role::Physician],
        capabilities: Vec::new(),
        credential_until: None,
        status: PractitionerStatus::Active,
        identity_commitment: Hash([1; 32]),
        registered_at: TimestampMs(1),
    };
    let patient = Patient {
        key: None,
        care_organisations: vec![HERE],
        status: PatientStatus::Active,
        notice_hash: Hash([2; 32]),
        grants: u32::try_from(rules.len()).expect("some"),
        registered_at: TimestampMs(1),
    };
    let record = Record {
        id: RECORD,
        patient: PATIENT,
        custodian: HERE,
        author: PractitionerId([7; 16]),
        role: Role::Physician,
        status: RecordStatus::Active,
        version: 1,
        category: Category::Lab,
        labels: vec![Label::Hiv],
        service_month: Month::new(2026, 3).expect("a month"),
        minor_consented: false,
        commitment: Hash([3; 32]),
        ciphertext_hash: Hash([4; 32]),
        size_class: 14,
        pointer: OpaqueRef([5; 16]),
        registered_at: TimestampMs(1),
    };
    Facts {
        record: Some(record),
        patient: Some(patient),
        organisation: Some(organisation),
        practitioner: Some(practitioner),
        rules,
        ..Facts::default()
    }
}

/// The state that holds these facts.
fn state(facts: &Facts) -> Map {
    fn put<T: serde::Serialize>(state: &mut Map, key: &Key<T>, value: &T) {
        state.insert(key.as_bytes().to_vec(), codec::encode(value));
    }
    let mut state = Map::new();
    let there = "these facts have all of it";
    put(&mut state, &keys::policy(), &Policy::default());
    put(&mut state, &keys::organisation(ELSEWHERE), facts.organisation.as_ref().expect(there));
    put(&mut state, &keys::practitioner(ELSEWHERE, DOCTOR), facts.practitioner.as_ref().expect(there));
    put(&mut state, &keys::patient(PATIENT), facts.patient.as_ref().expect(there));
    put(&mut state, &keys::record(RECORD), facts.record.as_ref().expect(there));
    for grant in &facts.rules {
        put(&mut state, &keys::grant(PATIENT, grant.id), grant);
    }
    state
}

fn main() {
    let who = Member::Practitioner(ELSEWHERE, DOCTOR);
    let request = Request::new(who, Role::Physician, Action::Read, Purpose::Treat);
    let mut table = Table::new("decide(), on decoded rules");
    for (name, kind, count) in [
        ("50 rules, none for the requester", Kind::OfOthers, 50),
        ("50 rules, permitted", Kind::Permitted, 50),
        ("50 rules, denied", Kind::Denied, 50),
        ("50 rules, passed on", Kind::PassedOn, 50),
        ("512 rules, permitted", Kind::Permitted, 512),
        ("512 rules, denied", Kind::Denied, 512),
        ("512 rules, passed on", Kind::PassedOn, 512),
        ("1,000 rules, permitted", Kind::Permitted, 1_000),
        ("1,000 rules, denied", Kind::Denied, 1_000),
        ("1,000 rules, passed on", Kind::PassedOn, 1_000),
        ("5,000 rules, permitted", Kind::Permitted, 5_000),
        ("5,000 rules, denied", Kind::Denied, 5_000),
        ("5,000 rules, passed on", Kind::PassedOn, 5_000),
    ] {
        let facts = facts(rules(kind, count));
        let together = SAMPLE_RULES / count;
        let mut samples = Samples::default();
        for _ in 0..ROUNDS {
            samples.time(|| {
                for _ in 0..together {
                    let decided = decide(black_box(&facts), black_box(&request), NOW);
                    assert_eq!(decided.decision, kind.expected());
                }
            });
        }
        table.row(name, &samples, together);
    }

    let call = RecordAccess::new(RECORD, Role::Physician, Action::Read, Purpose::Treat);
    let mut table = Table::new("check_access, over a map: the rules are read and decoded, too");
    for (name, kind, count) in [
        ("50 rules, permitted", Kind::Permitted, 50),
        ("512 rules, permitted", Kind::Permitted, 512),
        ("512 rules, denied", Kind::Denied, 512),
        ("1,000 rules, permitted", Kind::Permitted, 1_000),
        ("1,000 rules, denied", Kind::Denied, 1_000),
        ("1,000 rules, passed on", Kind::PassedOn, 1_000),
    ] {
        let state = state(&facts(rules(kind, count)));
        let together = (SAMPLE_RULES / 10 / count).max(1);
        let mut samples = Samples::default();
        for _ in 0..ROUNDS {
            samples.time(|| {
                for _ in 0..together {
                    let decided = check_access(&state, NOW, who, &call).expect("a whole state");
                    assert_eq!(decided.decision, kind.expected());
                }
            });
        }
        table.row(name, &samples, together);
    }
}
