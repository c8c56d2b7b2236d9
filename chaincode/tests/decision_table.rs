//! The access decision, case by case: `decision_cases.txt`, which a clinician can read.
//!
//! Every case is decided three times, and must come out the same: as a dry run, as a committed transaction
//! (whose trace in the state is compared), and with the patient's rules in reverse order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::str::FromStr;

use epione_chaincode::access::{AccessEvent, OpenOverride};
use epione_chaincode::consent::{Basis, Grant, Revocation};
use epione_chaincode::identity::{
    Member, Organisation, OrganisationStatus, Patient, PatientStatus, Practitioner, PractitionerStatus,
    Representation, RepresentationKind,
};
use epione_chaincode::records::{Record, RecordStatus};
use epione_chaincode::research::{Enrolment, EnrolmentStatus, Study, StudyStatus};
use epione_chaincode::{
    BlockContext, Decided, Facts, Request, check_access, config, decide, execute_block, genesis_writes, host,
    keys,
};
use epione_types::call::{
    Call, DataPeriod, Emergency, GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess, Rule,
};
use epione_types::codes::{Capability, Decision, Obligation, Reason, Role};
use epione_types::genesis::Policy;
use epione_types::id::{LinkId, OpaqueRef, OrgId, PractitionerId, RepresentativeId, RequestId, StudyId};
use epione_types::{Height, TimestampMs, codec};
use support::{Map, get, grant, hash, id16, key, org, patient, practitioner, put, record, tx_with};

const TABLE: &str = include_str!("decision_cases.txt");

#[test]
fn every_case_of_the_table() {
    let table = Table::parse(TABLE);
    let mut faults = Vec::new();
    for case in &table.cases {
        let mut check = |how: &str, found: Decided| {
            if found != case.then {
                faults.push(format!("{} ({how})\n   want {:?}\n  found {found:?}", case.title, case.then));
            }
        };
        check("dry run", case.dry_run());
        check("transaction", case.transaction());
        check("rules reversed", case.with_rules_reversed());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_is_whole() {
    let table = Table::parse(TABLE);
    for number in 1..=48 {
        let prefix = format!("C{number:02} ");
        let cases = table.cases.iter().filter(|case| case.title.starts_with(&prefix)).count();
        assert_eq!(cases, 1, "{prefix}");
    }
}

/// A reason that no case ends in is a step that nobody looks at.
#[test]
fn every_reason_occurs() {
    let table = Table::parse(TABLE);
    // A record whose patient is missing cannot be written, and ACCESS_DENIED is only what requesters are told.
    let elsewhere = [Reason::DenyBadRequest, Reason::AccessDenied];
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !elsewhere.contains(reason))
        .filter(|reason| table.cases.iter().all(|case| case.then.reason != **reason))
        .collect();
    assert!(missing.is_empty(), "no case ends in {missing:?}");
}

#[test]
fn a_record_without_its_patient_is_a_broken_reference() {
    let mut case = Table::parse(TABLE).cases.remove(0);
    case.state.remove(keys::patient(patient("p1")).as_bytes());
    assert_eq!(case.dry_run().reason, Reason::DenyBadRequest);
}

struct Table {
    cases: Vec<Case>,
}

struct Case {
    title: String,
    state: Map,
    now: TimestampMs,
    who: Member,
    call: RecordAccess,
    then: Decided,
}

impl Case {
    fn dry_run(&self) -> Decided {
        check_access(&self.state, self.now, self.who, &self.call).unwrap()
    }

    fn transaction(&self) -> Decided {
        let mut state = self.state.clone();
        put(&mut state, &keys::member(&key("the requester")), &self.who);
        let block =
            BlockContext { height: Height(7), timestamp: self.now, parent_timestamp: self.now.minus(1) };
        let sender = key("the requester");
        let call = Call::RecordAccess(self.call.clone());
        let tx = tx_with(sender, &[sender], RequestId([1; 16]), self.now.0, call);
        let execution = execute_block(&state, &block, &[tx]).unwrap();
        support::apply(&mut state, &execution);
        let event: AccessEvent = match get(&state, &keys::record(self.call.record)) {
            Some(record) => get(&state, &keys::access(record.patient, Height(7), 0)).unwrap(),
            None => get(&state, &keys::access_unknown(self.who, Height(7), 0)).unwrap(),
        };
        let AccessEvent { decision, reason, grant, obligations, .. } = event;
        Decided { decision, reason, grant, obligations }
    }

    fn with_rules_reversed(&self) -> Decided {
        let request = Request::of(self.who, &self.call);
        let record = host::get(&self.state, &keys::record(self.call.record)).unwrap();
        let policy = config::policy(&self.state).unwrap();
        let mut facts = Facts::load(&self.state, &request, record, &policy, self.now).unwrap();
        facts.rules.reverse();
        decide(&facts, &request, self.now)
    }
}

/// What a line says beside its fixed words: `name=value` pairs and bare flags.
struct Extra<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Extra<'a> {
    fn of(words: &[&'a str]) -> Self {
        Self(words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }
    fn take(&mut self, name: &str) -> Option<&'a str> {
        self.0.remove(name)
    }
    fn time(&mut self, name: &str) -> Option<TimestampMs> {
        self.take(name).map(time)
    }
    fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }
    /// A word that nothing understood would be a case that tests something else than it says.
    fn end(self, line: &str) {
        assert!(self.0.is_empty(), "{:?} in: {line}", self.0);
    }
}

#[derive(Default)]
struct World {
    state: Map,
    now: TimestampMs,
    /// Practitioners by name.
    staff: BTreeMap<String, OrgId>,
    representatives: Vec<String>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let mut world = World::default();
        for (key, value) in genesis_writes(&support::genesis(Policy::default())) {
            world.state.insert(key, value.unwrap());
        }
        let mut cases = Vec::new();
        let mut open: Option<(String, Map)> = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (line.starts_with(' '), words[0]) {
                (true, "given") => world.given(&mut open.as_mut().expect(line).1, line, &words[1..]),
                (true, "when") => {
                    let (title, state) = open.take().expect(line);
                    let (who, call) = world.when(line, &words[1..]);
                    let then = Decided {
                        decision: Decision::Deny,
                        reason: Reason::AccessDenied,
                        grant: None,
                        obligations: vec![],
                    };
                    cases.push(Case { title, state, now: world.now, who, call, then });
                }
                (true, "then") => cases.last_mut().expect(line).then = outcome(&words[1..]),
                (false, "now") => world.now = time(words[1]),
                (
                    false,
                    "organisation" | "practitioner" | "patient" | "representative" | "study" | "record",
                ) => {
                    world.fact(line, &words);
                }
                (false, _) => open = Some((line.to_owned(), world.state.clone())),
                (true, _) => panic!("cannot read: {line}"),
            }
        }
        assert!(open.is_none(), "the last case asks nothing");
        Self { cases }
    }
}

impl World {
    fn fact(&mut self, line: &str, words: &[&str]) {
        let state = &mut self.state;
        let from =
            if words[0] == "patient" || words[0] == "organisation" || words[0] == "study" { 3 } else { 4 };
        let from = if words[0] == "record" { 8 } else { from };
        let mut extra = Extra::of(&words[from.min(words.len())..]);
        match words[0] {
            "organisation" => {
                let suspended = extra.flag("suspended");
                let organisation = Organisation {
                    kind: code(words[2]),
                    status: if suspended {
                        OrganisationStatus::Suspended
                    } else {
                        OrganisationStatus::Active
                    },
                    admins: vec![key("admin")],
                    admin_threshold: 1,
                    break_glass: extra.flag("break-glass"),
                    registered_at: TimestampMs(0),
                };
                put(state, &keys::organisation(org(words[1])), &organisation);
            }
            "practitioner" => {
                let (name, organisation) = (words[1], org(words[2]));
                let who = (organisation, practitioner(name));
                let entry = Practitioner {
                    key: key(name),
                    roles: codes(words[3]),
                    capabilities: if extra.flag("btg") { vec![Capability::BreakGlass] } else { vec![] },
                    credential_until: extra.time("until"),
                    status: PractitionerStatus::Active,
                    identity_commitment: hash("licence"),
                    registered_at: TimestampMs(0),
                };
                put(state, &keys::practitioner(who.0, who.1), &entry);
                let overdue: u64 = extra.take("overdue").map_or(0, |number| number.parse().unwrap());
                for days in 1..=overdue {
                    let due = self.now.minus(days * 24 * support::HOUR);
                    put(state, &keys::review(who, due, patient("somebody")), &());
                }
                self.staff.insert(name.to_owned(), organisation);
            }
            "patient" => {
                let status =
                    if extra.flag("deceased") { PatientStatus::Deceased } else { PatientStatus::Active };
                let entry = Patient {
                    key: Some(key(words[1])),
                    care_organisations: words[2].split('/').map(org).collect(),
                    status,
                    notice_hash: hash("notice"),
                    grants: 0,
                    registered_at: TimestampMs(0),
                };
                put(state, &keys::patient(patient(words[1])), &entry);
            }
            "representative" => {
                let entry = Representation {
                    kind: match words[3] {
                        "PARENT" => RepresentationKind::Parent,
                        "GUARDIAN" => RepresentationKind::Guardian,
                        "POA" => RepresentationKind::Attorney,
                        "EXECUTOR" => RepresentationKind::Executor,
                        other => panic!("{other}"),
                    },
                    from: extra.time("from").unwrap(),
                    until: extra.time("until"),
                    minor_privacy_from: extra.time("minor-privacy-from"),
                    categories: extra.take("categories").map_or(vec![], codes),
                    revoked_at: extra.time("revoked"),
                    evidence: hash("evidence"),
                    organisation: org("hospA"),
                };
                let person = Person::Representative(RepresentativeId(id16(words[1])));
                put(state, &keys::representation(patient(words[2]), person), &entry);
                self.representatives.push(words[1].to_owned());
            }
            "study" => {
                let staff = &self.staff;
                let entry = Study {
                    status: match words[2] {
                        "APPROVED" => StudyStatus::Approved,
                        "SUSPENDED" => StudyStatus::Suspended,
                        other => panic!("{other}"),
                    },
                    approved_until: extra.time("until").unwrap(),
                    team: extra
                        .take("team")
                        .unwrap()
                        .split('/')
                        .map(|name| (staff[name], practitioner(name)))
                        .collect(),
                };
                let id = StudyId(id16(words[1]));
                put(state, &keys::study(id), &entry);
                for (name, status) in std::mem::take(&mut extra.0) {
                    let status = match status {
                        "ACTIVE" => EnrolmentStatus::Active,
                        "WITHDRAWN" => EnrolmentStatus::Withdrawn,
                        other => panic!("{other}"),
                    };
                    put(state, &keys::enrolment(id, patient(name)), &Enrolment { status });
                }
            }
            "record" => {
                let entry = Record {
                    id: record(words[1]),
                    patient: patient(words[2]),
                    custodian: org(words[5]),
                    author: practitioner(words[6]),
                    role: Role::Physician,
                    status: match words[7] {
                        "DRAFT" => RecordStatus::Draft,
                        "ACTIVE" => RecordStatus::Active,
                        "ERASED" => RecordStatus::Erased,
                        other => panic!("{other}"),
                    },
                    version: 1,
                    category: code(words[3]),
                    labels: extra.take("labels").map_or(vec![], codes),
                    service_month: words[4].parse().unwrap(),
                    minor_consented: extra.flag("minor-consented"),
                    commitment: hash("commitment"),
                    ciphertext_hash: hash("ciphertext"),
                    size_class: 12,
                    pointer: OpaqueRef(id16("pointer")),
                    registered_at: TimestampMs(0),
                };
                put(state, &keys::record(entry.id), &entry);
            }
            other => panic!("{other}"),
        }
        extra.end(line);
    }

    fn practitioner(&self, name: &str) -> (OrgId, PractitionerId) {
        (*self.staff.get(name).unwrap_or_else(|| panic!("who is {name}?")), practitioner(name))
    }

    /// + g1 ORG hospB for TREAT/COC to READ name=value ...
    fn given(&self, state: &mut Map, line: &str, words: &[&str]) {
        if let &["override", name, whose, until] = words {
            let open = OpenOverride { expires: time(until.strip_prefix("until=").unwrap()) };
            put(state, &keys::open_override(patient(whose), self.practitioner(name)), &open);
            return;
        }
        let place = |word: &str| words.iter().position(|it| *it == word).unwrap_or_else(|| panic!("{line}"));
        let (for_, to) = (place("for"), place("to"));
        let to_whom = match &words[2..for_] {
            ["ANY"] => Grantee::Any,
            ["ORG", name] => Grantee::Org(org(name)),
            ["ROLE", name, role] => Grantee::Role(org(name), code(role)),
            ["PERSON", name] if self.representatives.iter().any(|it| it == name) => {
                Grantee::Person(Person::Representative(RepresentativeId(id16(name))))
            }
            ["PERSON", name] => {
                let (organisation, practitioner) = self.practitioner(name);
                Grantee::Person(Person::Practitioner(organisation, practitioner))
            }
            ["STUDY", name] => Grantee::Study(StudyId(id16(name))),
            ["GUEST", name] => Grantee::Guest(LinkId(id16(name))),
            other => panic!("{other:?}"),
        };
        let mut extra = Extra::of(&words[to + 2..]);
        let month = |text: &str| (!text.is_empty()).then(|| text.parse::<Month>().unwrap());
        let uses = extra.take("uses").map(|text| text.split_once('/').unwrap());
        let rule = Rule {
            kind: if words[0] == "+" { GrantKind::Permit } else { GrantKind::Deny },
            to: to_whom,
            purposes: match words[for_ + 1] {
                "*" => Purposes::All,
                list => Purposes::Only(codes(list)),
            },
            actions: codes(words[to + 1]),
            categories: extra.take("categories").map_or(vec![], codes),
            records: extra.take("records").map_or(vec![], |list| list.split('/').map(record).collect()),
            labels: match extra.take("labels") {
                Some("*") => Labels::Any,
                list => Labels::Only(list.map_or(vec![], codes)),
            },
            data_period: extra.take("data").map(|text| {
                let (from, until) = text.split_once("..").unwrap();
                DataPeriod { from: month(from), until: month(until) }
            }),
            from: extra.time("from"),
            until: extra.time("until"),
            max_uses: uses.map(|(_, most)| most.parse().unwrap()),
            delegable: extra.flag("delegable"),
            parent: extra.take("parent").map(grant),
            policy: None,
            document: None,
        };
        let entry = Grant {
            id: grant(words[1]),
            rule,
            basis: Basis::OwnKey,
            created_at: TimestampMs(0),
            revoked: extra.time("revoked").map(|at| Revocation { at, basis: Basis::OwnKey }),
            uses: uses.map_or(0, |(used, _)| used.parse().unwrap()),
        };
        let whose = patient(extra.take("patient").unwrap_or("p1"));
        extra.end(line);
        put(state, &keys::grant(whose, entry.id), &entry);
        let key = keys::patient(whose);
        let known = get(state, &key).unwrap();
        put(state, &key, &Patient { grants: known.grants + 1, ..known });
    }

    /// drB as PHYSICIAN READ lab1 for TREAT name=value ...
    fn when(&self, line: &str, words: &[&str]) -> (Member, RecordAccess) {
        let &[name, "as", role, action, record_name, "for", purpose, ref extra @ ..] = words else {
            panic!("cannot read: {line}")
        };
        let mut extra = Extra::of(extra);
        let link = extra.take("link").map(|name| LinkId(id16(name)));
        let emergency = extra.take("emergency").map(|reason| Emergency {
            reason: code(reason),
            text_commitment: (!extra.flag("without-text")).then(|| hash("what happened")),
        });
        let who = if name == "guest" {
            Member::Guest(link.expect(line))
        } else if self.representatives.iter().any(|it| it == name) {
            Member::Representative(RepresentativeId(id16(name)))
        } else if let Some(organisation) = self.staff.get(name) {
            Member::Practitioner(*organisation, practitioner(name))
        } else {
            Member::Patient(patient(name))
        };
        let call = RecordAccess {
            record: record(record_name),
            role: code(role),
            action: code(action),
            purpose: code(purpose),
            study: extra.take("study").map(|name| StudyId(id16(name))),
            link,
            mandate: extra.take("mandate").map(|name| OpaqueRef(id16(name))),
            emergency,
            attestation: None,
        };
        extra.end(line);
        (who, call)
    }
}

/// PERMIT_GRANT via g1 with NO_REDISCLOSE ...
fn outcome(words: &[&str]) -> Decided {
    let reason: Reason = code(words[0]);
    let (via, with) = match &words[1..] {
        [] => (None, &[][..]),
        ["via", name] => (Some(grant(name)), &[][..]),
        ["via", name, "with", duties @ ..] => (Some(grant(name)), duties),
        ["with", duties @ ..] => (None, duties),
        other => panic!("{other:?}"),
    };
    let mut obligations: Vec<Obligation> = with.iter().map(|duty| code(duty)).collect();
    obligations.push(Obligation::Audit);
    obligations.sort_unstable();
    let permit = reason.name().starts_with("PERMIT");
    let decision = if permit { Decision::Permit } else { Decision::Deny };
    Decided { decision, reason, grant: via, obligations }
}

fn code<T: FromStr>(name: &str) -> T {
    name.parse().unwrap_or_else(|_| panic!("no such code: {name}"))
}

fn codes<T: FromStr>(list: &str) -> Vec<T> {
    list.split('/').map(code).collect()
}

/// yyyy-mm-ddThh:mm:ssZ
fn time(text: &str) -> TimestampMs {
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Days since 1970-01-01, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    assert!(text.ends_with('Z') && text.len() == 20, "{text}");
    TimestampMs(seconds * 1_000)
}

#[test]
fn times_are_read_right() {
    assert_eq!(time("1970-01-01T00:00:00Z"), TimestampMs(0));
    assert_eq!(time("2026-06-15T12:00:00Z"), TimestampMs(1_781_524_800_000));
    assert_eq!(codec::encode(&time("2000-02-29T00:00:01Z")), 951_782_401_000_u64.to_le_bytes());
}
