//! A policy tried before it goes live: cases in a file, each with what is given, asked and expected.
//!
//! The file is the one of the project's own table of cases: a fixture (organisations, people, records, studies), and
//! cases that add grants, ask one question and say what must come out, duties included. Times are RFC 3339 in UTC, dates
//! ISO; a date counts by its month, as on the ledger. Names stand for ids. A word that no list knows is an error that
//! names its place, but for a request's purpose or action: there it is what a requester might ask, and is denied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use epione_chaincode::consent::{Basis, Grant, Revocation};
use epione_chaincode::identity::{Member, Organisation, Patient, Practitioner, Representation};
use epione_chaincode::records::Record;
use epione_chaincode::research::{Enrolment, Study};
use epione_chaincode::{Decided, Facts, Request, decide};
use epione_types::call::{DataPeriod, Emergency, GrantKind, Grantee, Labels, Month, Person, Purposes, Rule};
use epione_types::codes::{Decision, Obligation, OrganisationStatus, PractitionerStatus, Reason, Role};
use epione_types::genesis::Policy;
use epione_types::id::{
    GrantId, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RepresentativeId, StudyId,
};
use epione_types::{Domain, Hash, PublicKey, TimestampMs};
use serde::Deserialize;

use crate::error::CliError;
use crate::time;

/// Layout that this build reads.
const SCHEMA: u32 = 1;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    schema: u32,
    #[serde(default, rename = "note")]
    _note: String,
    fixture: Fixture,
    pub(crate) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    now: String,
    #[serde(default)]
    orgs: BTreeMap<String, OrgEntry>,
    #[serde(default)]
    practitioners: BTreeMap<String, PractitionerEntry>,
    #[serde(default)]
    patients: BTreeMap<String, PatientEntry>,
    #[serde(default)]
    reps: Vec<RepEntry>,
    #[serde(default)]
    records: BTreeMap<String, RecordEntry>,
    #[serde(default)]
    studies: BTreeMap<String, StudyEntry>,
    #[serde(default)]
    overrides: Vec<OverrideEntry>,
    #[serde(default)]
    grants: Vec<GrantEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrgEntry {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    btg: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PractitionerEntry {
    org: String,
    roles: Vec<String>,
    #[serde(default)]
    caps: Vec<String>,
    credential_until: Option<String>,
    status: Option<String>,
    #[serde(default)]
    overdue_reviews: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientEntry {
    status: String,
    #[serde(default)]
    care_orgs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepEntry {
    rep: String,
    patient: String,
    kind: String,
    from: String,
    until: Option<String>,
    minor_privacy_from: Option<String>,
    revoked_at: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordEntry {
    #[serde(rename = "id")]
    _id: Option<String>,
    patient: String,
    category: String,
    date: String,
    #[serde(default)]
    labels: Vec<String>,
    custodian: String,
    author: String,
    status: String,
    #[serde(default)]
    minor_consented: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StudyEntry {
    status: String,
    irb_until: String,
    #[serde(default)]
    team: Vec<String>,
    #[serde(default)]
    enrolment: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideEntry {
    who: String,
    patient: String,
    until: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntry {
    id: String,
    kind: String,
    to: Vec<String>,
    purposes: Vec<String>,
    actions: Vec<String>,
    patient: String,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    records: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    data_period: Option<[Option<String>; 2]>,
    from: Option<String>,
    until: Option<String>,
    revoked_at: Option<String>,
    max_uses: Option<u32>,
    #[serde(default)]
    uses: u32,
    #[serde(default)]
    delegable: bool,
    parent: Option<String>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) title: String,
    now: Option<String>,
    #[serde(default)]
    grants: Vec<GrantEntry>,
    #[serde(default)]
    overrides: Vec<OverrideEntry>,
    request: RequestEntry,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEntry {
    who: String,
    org: Option<String>,
    role: String,
    record: String,
    purpose: String,
    action: String,
    study: Option<String>,
    link: Option<String>,
    mandate: Option<String>,
    btg_reason: Option<String>,
    btg_text_commit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    decision: String,
    reason: String,
    grant: Option<String>,
    obligations: Vec<String>,
}

/// What came out, or was to: compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) decision: Decision,
    pub(crate) reason: Reason,
    pub(crate) grant: Option<String>,
    pub(crate) obligations: BTreeSet<Obligation>,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(grant) = &self.grant {
            write!(f, " via {grant}")?;
        }
        let duties: Vec<&str> = self.obligations.iter().map(|duty| duty.name()).collect();
        write!(f, " with {}", duties.join(", "))
    }
}

impl File {
    /// Reads a file of cases.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CliError> {
        let file: Self = serde_json::from_slice(bytes)
            .map_err(|error| CliError::failed(format!("not a file of cases: {error}")))?;
        if file.schema != SCHEMA {
            let text = format!("schema is {}; this build reads {SCHEMA}", file.schema);
            return Err(CliError::failed(text));
        }
        Ok(file)
    }

    /// What is expected of a case, and what is decided.
    pub(crate) fn decide(&self, case: &Case) -> Result<(Outcome, Outcome), CliError> {
        self.outcomes(case).map_err(|text| CliError::failed(format!("case {}: {text}", case.id)))
    }

    fn outcomes(&self, case: &Case) -> Result<(Outcome, Outcome), String> {
        let expect = &case.expect;
        let expected = Outcome {
            decision: code("expect.decision", &expect.decision)?,
            reason: code("expect.reason", &expect.reason)?,
            grant: expect.grant.clone(),
            obligations: codes("expect.obligations", &expect.obligations)?.into_iter().collect(),
        };
        let now = instant("now", case.now.as_ref().unwrap_or(&self.fixture.now))?;
        let entry = &case.request;
        let decided = match (entry.purpose.parse(), entry.action.parse()) {
            (Ok(purpose), Ok(action)) => {
                let who = self.who(entry)?;
                let request = Request {
                    study: entry.study.as_deref().map(|name| StudyId(id(name))),
                    link: entry.link.as_deref().map(|name| LinkId(id(name))),
                    mandate: entry.mandate.as_deref().map(|name| OpaqueRef(id(name))),
                    emergency: emergency(entry)?,
                    ..Request::new(who, code("request.role", &entry.role)?, action, purpose)
                };
                decide(&self.facts(case, &request)?, &request, now)
            }
            _ => Decided {
                decision: Decision::Deny,
                reason: Reason::DenyBadRequest,
                grant: None,
                obligations: vec![Obligation::Audit],
            },
        };
        let name = |id: GrantId| {
            let all = self.fixture.grants.iter().chain(&case.grants);
            all.map(|grant| &grant.id).find(|name| grant_id(name) == id).cloned().unwrap_or_default()
        };
        let decided = Outcome {
            decision: decided.decision,
            reason: decided.reason,
            grant: decided.grant.map(name),
            obligations: decided.obligations.into_iter().collect(),
        };
        Ok((expected, decided))
    }

    /// Who asks follows from the role; an organisation other than the one of registration makes a stranger.
    fn who(&self, entry: &RequestEntry) -> Result<Member, String> {
        let name = entry.who.as_str();
        Ok(match code("request.role", &entry.role)? {
            Role::Patient => Member::Patient(PatientId(id(name))),
            Role::Representative => match self.person("request.who", name)? {
                Person::Practitioner(organisation, id) => Member::Practitioner(organisation, id),
                Person::Patient(id) => Member::Patient(id),
                Person::Representative(id) => Member::Representative(id),
            },
            Role::Guest => Member::Guest(LinkId(id(entry.link.as_deref().unwrap_or(name)))),
            Role::Physician
            | Role::Nurse
            | Role::Pharmacist
            | Role::Lab
            | Role::Billing
            | Role::InsurerReviewer
            | Role::Registrar
            | Role::PrivacyOfficer
            | Role::Auditor
            | Role::Researcher
            | Role::PublicHealth => {
                let registered = self.fixture.practitioners.get(name).map(|it| &it.org);
                let organisation = entry.org.as_ref().or(registered);
                let organisation = organisation.ok_or_else(|| unknown("request.who", name))?;
                Member::Practitioner(org_id(organisation), PractitionerId(id(name)))
            }
        })
    }

    fn person(&self, place: &str, name: &str) -> Result<Person, String> {
        let fixture = &self.fixture;
        if let Some(practitioner) = fixture.practitioners.get(name) {
            return Ok(Person::Practitioner(org_id(&practitioner.org), PractitionerId(id(name))));
        }
        if fixture.reps.iter().any(|it| it.rep == name) {
            return Ok(Person::Representative(RepresentativeId(id(name))));
        }
        let patient = fixture.patients.contains_key(name).then(|| Person::Patient(PatientId(id(name))));
        patient.ok_or_else(|| unknown(place, name))
    }

    fn facts(&self, case: &Case, request: &Request) -> Result<Facts, String> {
        let (fixture, asked) = (&self.fixture, &case.request);
        let mut facts = Facts::default();
        if let Member::Practitioner(organisation, practitioner) = request.who {
            let found = fixture.orgs.iter().find(|(name, _)| org_id(name) == organisation);
            facts.organisation = found.map(|(name, it)| it.read(&format!("orgs.{name}"))).transpose()?;
            let found = fixture.practitioners.iter().find(|(name, it)| {
                org_id(&it.org) == organisation && PractitionerId(id(name)) == practitioner
            });
            if let Some((name, entry)) = found {
                facts.practitioner = Some(entry.read(&format!("practitioners.{name}"))?);
                facts.reviews_overdue = entry.overdue_reviews >= Policy::default().overdue_reviews_max;
            }
        }
        let Some(record) = fixture.records.get(&asked.record) else { return Ok(facts) };
        facts.record = Some(record.read(&asked.record)?);
        let grants: Vec<_> = fixture.grants.iter().chain(&case.grants).collect();
        let grants = grants.into_iter().filter(|it| it.patient == record.patient);
        facts.rules = grants.map(|it| self.grant(it)).collect::<Result<_, String>>()?;
        let patient = fixture.patients.get(&record.patient);
        let count = facts.rules.len();
        facts.patient = patient.map(|it| it.read(&record.patient, count)).transpose()?;
        let representation =
            fixture.reps.iter().find(|it| it.rep == asked.who && it.patient == record.patient);
        facts.representation = representation.map(RepEntry::read).transpose()?;
        if let Some(name) = &asked.study
            && let Some(study) = fixture.studies.get(name)
        {
            facts.study = Some(self.study(name, study)?);
            let status = study.enrolment.get(&record.patient);
            let place = format!("studies.{name}.enrolment");
            facts.enrolment =
                status.map(|it| Ok::<_, String>(Enrolment { status: code(&place, it)? })).transpose()?;
        }
        let overrides = fixture.overrides.iter().chain(&case.overrides);
        let open = overrides.filter(|it| it.who == asked.who && it.patient == record.patient);
        facts.override_until = open.map(|it| instant("overrides.until", &it.until)).max().transpose()?;
        Ok(facts)
    }

    fn study(&self, name: &str, entry: &StudyEntry) -> Result<Study, String> {
        let place = format!("studies.{name}");
        let team = entry.team.iter().map(|who| match self.person(&format!("{place}.team"), who)? {
            Person::Practitioner(organisation, id) => Ok((organisation, id)),
            Person::Patient(_) | Person::Representative(_) => Err(unknown(&place, who)),
        });
        Ok(Study {
            status: code(&format!("{place}.status"), &entry.status)?,
            approved_until: instant(&format!("{place}.irb_until"), &entry.irb_until)?,
            team: team.collect::<Result<_, String>>()?,
        })
    }

    fn grant(&self, entry: &GrantEntry) -> Result<Grant, String> {
        let place = |field: &str| format!("grants.{}.{field}", entry.id);
        let words: Vec<&str> = entry.to.iter().map(String::as_str).collect();
        let to = match words.as_slice() {
            ["ANY"] => Grantee::Any,
            ["ORG", name] => Grantee::Org(org_id(name)),
            ["ROLE", name, role] => Grantee::Role(org_id(name), code(&place("to"), role)?),
            ["PERSON", name] => Grantee::Person(self.person(&place("to"), name)?),
            ["STUDY", name] => Grantee::Study(StudyId(id(name))),
            ["GUEST", name] => Grantee::Guest(LinkId(id(name))),
            _ => {
                let known = "[ANY], [ORG, o], [ROLE, o, r], [PERSON, p], [STUDY, s] or [GUEST, l]";
                return Err(format!("{}: {words:?} is nobody; write {known}", place("to")));
            }
        };
        let kind = match entry.kind.as_str() {
            "PERMIT" => GrantKind::Permit,
            "DENY" => GrantKind::Deny,
            other => return Err(format!("{}: '{other}' is neither PERMIT nor DENY", place("kind"))),
        };
        let period = entry.data_period.as_ref().map(|[from, until]| {
            let month =
                |at: &Option<String>| at.as_deref().map(|text| first_of_month(&place("data_period"), text));
            Ok::<_, String>(DataPeriod { from: month(from).transpose()?, until: month(until).transpose()? })
        });
        let rule = Rule {
            kind,
            to,
            purposes: if any(&entry.purposes) {
                Purposes::All
            } else {
                Purposes::Only(codes(&place("purposes"), &entry.purposes)?)
            },
            actions: codes(&place("actions"), &entry.actions)?,
            categories: codes(&place("categories"), &entry.categories)?,
            records: entry.records.iter().map(|name| RecordId(id(name))).collect(),
            labels: if any(&entry.labels) {
                Labels::Any
            } else {
                Labels::Only(codes(&place("labels"), &entry.labels)?)
            },
            data_period: period.transpose()?,
            from: maybe(&place("from"), entry.from.as_ref())?,
            until: maybe(&place("until"), entry.until.as_ref())?,
            max_uses: entry.max_uses,
            delegable: entry.delegable,
            parent: entry.parent.as_deref().map(grant_id),
            policy: None,
            document: None,
        };
        let revoked = maybe(&place("revoked_at"), entry.revoked_at.as_ref())?;
        Ok(Grant {
            id: grant_id(&entry.id),
            rule,
            basis: Basis::OwnKey,
            created_at: TimestampMs(0),
            revoked: revoked.map(|at| Revocation { at, basis: Basis::OwnKey }),
            uses: entry.uses,
        })
    }
}

impl OrgEntry {
    fn read(&self, place: &str) -> Result<Organisation, String> {
        let status: OrganisationStatus = code(&format!("{place}.status"), &self.status)?;
        Ok(Organisation {
            kind: code(&format!("{place}.type"), &self.kind)?,
            status,
            admins: Vec::new(),
            admin_threshold: 1,
            break_glass: self.btg,
            registered_at: TimestampMs(0),
        })
    }
}

impl PractitionerEntry {
    fn read(&self, place: &str) -> Result<Practitioner, String> {
        let status = self.status.as_deref().map(|text| code(&format!("{place}.status"), text));
        Ok(Practitioner {
            key: PublicKey([0; 32]),
            roles: codes(&format!("{place}.roles"), &self.roles)?,
            capabilities: codes(&format!("{place}.caps"), &self.caps)?,
            credential_until: maybe(&format!("{place}.credential_until"), self.credential_until.as_ref())?,
            status: status.transpose()?.unwrap_or(PractitionerStatus::Active),
            identity_commitment: Hash::ZERO,
            registered_at: TimestampMs(0),
        })
    }
}

impl PatientEntry {
    fn read(&self, name: &str, grants: usize) -> Result<Patient, String> {
        Ok(Patient {
            key: None,
            care_organisations: self.care_orgs.iter().map(|name| org_id(name)).collect(),
            status: code(&format!("patients.{name}.status"), &self.status)?,
            notice_hash: Hash::ZERO,
            grants: u32::try_from(grants).unwrap_or(u32::MAX),
            registered_at: TimestampMs(0),
        })
    }
}

impl RepEntry {
    fn read(&self) -> Result<Representation, String> {
        let place = |field: &str| format!("reps.{}.{field}", self.rep);
        Ok(Representation {
            kind: code(&place("kind"), &self.kind)?,
            from: instant(&place("from"), &self.from)?,
            until: maybe(&place("until"), self.until.as_ref())?,
            minor_privacy_from: maybe(&place("minor_privacy_from"), self.minor_privacy_from.as_ref())?,
            categories: codes(&place("categories"), &self.categories)?,
            revoked_at: maybe(&place("revoked_at"), self.revoked_at.as_ref())?,
            evidence: Hash::ZERO,
            organisation: OrgId([0; 16]),
        })
    }
}

impl RecordEntry {
    fn read(&self, name: &str) -> Result<Record, String> {
        let place = |field: &str| format!("records.{name}.{field}");
        Ok(Record {
            id: RecordId(id(name)),
            patient: PatientId(id(&self.patient)),
            custodian: org_id(&self.custodian),
            author: PractitionerId(id(&self.author)),
            role: Role::Physician,
            status: code(&place("status"), &self.status)?,
            version: 1,
            category: code(&place("category"), &self.category)?,
            labels: codes(&place("labels"), &self.labels)?,
            service_month: month(&place("date"), &self.date)?.0,
            minor_consented: self.minor_consented,
            commitment: Hash::ZERO,
            ciphertext_hash: Hash::ZERO,
            size_class: 12,
            pointer: OpaqueRef([0; 16]),
            registered_at: TimestampMs(0),
        })
    }
}

/// Grounds count with their text; the reason alone is none.
fn emergency(entry: &RequestEntry) -> Result<Option<Emergency>, String> {
    let Some(reason) = &entry.btg_reason else { return Ok(None) };
    let text_commitment = entry.btg_text_commit.as_ref().map(|text| Domain::COMMITMENT.hash(text.as_bytes()));
    Ok(Some(Emergency { reason: code("request.btg_reason", reason)?, text_commitment }))
}

/// The id that a name stands for.
fn id(name: &str) -> [u8; 16] {
    let hash = Domain::new("epione/case-name").hash(name.as_bytes()).0;
    core::array::from_fn(|i| hash.get(i).copied().unwrap_or_default())
}

fn org_id(name: &str) -> OrgId {
    OrgId(id(name))
}

/// Ids of grants keep the order of their names, by which ties are broken.
fn grant_id(name: &str) -> GrantId {
    let bytes = name.as_bytes();
    if bytes.len() > 16 {
        return GrantId(id(name));
    }
    GrantId(core::array::from_fn(|i| bytes.get(i).copied().unwrap_or_default()))
}

fn any(words: &[String]) -> bool {
    words.iter().any(|word| word == "*")
}

fn unknown(place: &str, name: &str) -> String {
    format!("{place}: the fixture knows no '{name}'")
}

fn code<T: FromStr<Err: Display>>(place: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{place}: {error}"))
}

fn codes<T: FromStr<Err: Display>>(place: &str, words: &[String]) -> Result<Vec<T>, String> {
    words.iter().map(|word| code(place, word)).collect()
}

fn instant(place: &str, text: &str) -> Result<TimestampMs, String> {
    time::parse(text, TimestampMs(0)).map_err(|error| format!("{place}: {error}"))
}

fn maybe(place: &str, text: Option<&String>) -> Result<Option<TimestampMs>, String> {
    text.map(|text| instant(place, text)).transpose()
}

/// Month of an ISO date, and what is left of it.
fn month<'a>(place: &str, text: &'a str) -> Result<(Month, &'a str), String> {
    let parts = text.split_at_checked(7).and_then(|(month, rest)| Some((month.parse().ok()?, rest)));
    parts.ok_or_else(|| format!("{place}: '{text}' is no date; write 2026-01-01"))
}

fn first_of_month(place: &str, text: &str) -> Result<Month, String> {
    match month(place, text)? {
        (month, "" | "-01") => Ok(month),
        _ => Err(format!("{place}: '{text}' is within a month; periods of data begin and end with one")),
    }
}
