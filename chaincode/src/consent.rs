//! Grants and denials: what a patient allows and forbids, and who said so in the patient's name.
//!
//! ```text
//! CREATED ─▶ REVOKED      expired and used up are derived from time and count, never stored
//! ```
//!
//! Three may speak for a patient, and a fourth may pass on: the own key, a representative in force, a member of a
//! caring organisation who attests a signed document, and the holder of a delegable grant. The [`Basis`] stays with the
//! grant for ever; so does the grant: revoking only adds to it. Guards, each with a test in `tests/consent.rs`:
//! - nobody speaks for a patient in what concerns themselves: no attested or parental grant to oneself;
//! - once a patient holds a key, an attested document can only take access away;
//! - those who do not hold the patient's own word may fill half of the patient's grants, no more, so that the
//!   patient can always still deny;
//! - a sub-grant is no wider than its parent in any dimension, and one level deep.

use epione_types::call::{
    CreateGrant, DataPeriod, GrantKind, Grantee, Labels, Person, Purposes, RevokeGrant, Rule,
};
use epione_types::codes::{Label, Purpose, Refusal, Role};
use epione_types::event::Event;
use epione_types::id::{GrantId, OrgId, PatientId, PractitionerId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::access::decide::MINOR_SENSITIVE;
use crate::host::{Done, Host, State, StateError, get, range, require};
use crate::identity::{self, Member, Patient, PatientStatus, Practitioner};
use crate::keys;
use crate::records;

/// Most grants and denials of one patient, revoked ones included: bounds what a decision has to read.
pub const MAX_GRANTS: u32 = 512;

/// In whose word a grant was made or revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// The patient's own key.
    OwnKey,
    /// A representative in force.
    Representative(Person),
    /// A member of a caring organisation attests a signed document.
    Attested {
        /// The organisation.
        organisation: OrgId,
        /// Its member.
        practitioner: PractitionerId,
        /// Hash of the document.
        document: Hash,
    },
    /// The holder of the parent grant.
    Delegated {
        /// The organisation.
        organisation: OrgId,
        /// Its member.
        practitioner: PractitionerId,
    },
}

impl Basis {
    /// The patient's word, or a representative's.
    const fn is_the_patients(&self) -> bool {
        matches!(self, Self::OwnKey | Self::Representative(_))
    }
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When: from this time on it is void.
    pub at: TimestampMs,
    /// In whose word.
    pub basis: Basis,
}

/// A grant or denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which.
    pub id: GrantId,
    /// What it says.
    pub rule: Rule,
    /// In whose word.
    pub basis: Basis,
    /// Since when.
    pub created_at: TimestampMs,
    /// Its end, if it was ended.
    pub revoked: Option<Revocation>,
    /// How often it was used; counted only where the rule limits it.
    pub uses: u32,
}

/// All rules of a patient, revoked ones too.
pub(crate) fn rules(state: &dyn State, id: PatientId, patient: &Patient) -> Result<Vec<Grant>, StateError> {
    if patient.grants == 0 {
        return Ok(Vec::new()); // most patients: saves the scan
    }
    let found = range(state, &keys::grants(id), MAX_GRANTS as usize)?;
    Ok(found.into_iter().map(|(_, grant)| grant).collect())
}

/// A grant or a denial.
pub(crate) fn create(host: &mut Host<'_, '_>, call: &CreateGrant) -> Done {
    let rule = &call.rule;
    check_rule(host, rule)?;
    let member = identity::sender(host)?;
    let patient = identity::known_patient(host, call.patient)?;
    let key = keys::grant(call.patient, call.grant);
    require(!host.has(&key)?, Refusal::GrantExists)?;
    let parent = match rule.parent {
        Some(id) => Some(live_parent(host, call.patient, id)?),
        None => None,
    };
    let widens = rule.kind == GrantKind::Permit;
    let basis = match speaks_for(host, member, call.patient, &patient, rule, widens, rule.document)? {
        Some(basis) => basis,
        None => delegates(host, member, parent.as_ref())?,
    };
    if let Some(parent) = &parent {
        check_delegation(rule, &parent.rule)?;
    }
    let most = if basis.is_the_patients() { MAX_GRANTS } else { MAX_GRANTS / 2 };
    require(patient.grants < most, Refusal::TooManyGrants)?;

    let grant =
        Grant { id: call.grant, rule: rule.clone(), basis, created_at: host.now(), revoked: None, uses: 0 };
    host.put(&key, &grant);
    identity::count_grant(host, call.patient, patient);
    host.emit(Event::GrantCreated { grant: call.grant, patient: call.patient, kind: rule.kind });
    Ok(())
}

/// The end of a grant or denial. The grant stays, with its end written to it.
pub(crate) fn revoke(host: &mut Host<'_, '_>, call: &RevokeGrant) -> Done {
    let member = identity::sender(host)?;
    let patient = identity::known_patient(host, call.patient)?;
    let key = keys::grant(call.patient, call.grant);
    let mut grant = host.get(&key)?.ok_or(Refusal::GrantUnknown)?;
    require(grant.revoked.is_none(), Refusal::GrantUnknown)?;
    let widens = grant.rule.kind == GrantKind::Deny;
    let spoken = speaks_for(host, member, call.patient, &patient, &grant.rule, widens, call.document)?;
    let basis = match spoken {
        Some(basis) => basis,
        // Whoever passed a grant on may take it back.
        None => match (grant.basis, member) {
            (Basis::Delegated { organisation, practitioner }, Member::Practitioner(org, id))
                if (organisation, practitioner) == (org, id) =>
            {
                identity::practitioner_at_work(host, org, id)?;
                grant.basis
            }
            _ => return Err(Refusal::NotGrantor.into()),
        },
    };
    grant.revoked = Some(Revocation { at: host.now(), basis });
    host.put(&key, &grant);
    host.emit(Event::GrantRevoked { grant: call.grant, patient: call.patient });
    Ok(())
}

/// Counts one use of a limited grant, and of the limited grant it was delegated from.
///
/// The decision has found both live and unexhausted in this very state.
pub(crate) fn consume(host: &mut Host<'_, '_>, patient: PatientId, id: GrantId) -> Done {
    let mut next = Some(id);
    while let Some(id) = next {
        let key = keys::grant(patient, id);
        let damaged = || StateError::damaged(key.as_bytes(), "a grant that permits is not there");
        let mut grant = get(host.state(), &key)?.ok_or_else(damaged)?;
        next = grant.rule.parent;
        if let Some(most) = grant.rule.max_uses {
            if grant.uses >= most {
                return Err(StateError::damaged(key.as_bytes(), "a grant that permits is exhausted").into());
            }
            grant.uses += 1;
            host.put(&key, &grant);
        }
    }
    Ok(())
}

/// Does `member` speak for the patient in this rule? `widens`: the act opens access.
fn speaks_for(
    host: &Host<'_, '_>,
    member: Member,
    id: PatientId,
    patient: &Patient,
    rule: &Rule,
    widens: bool,
    document: Option<Hash>,
) -> Done<Option<Basis>> {
    if member == Member::Patient(id) && patient.status == PatientStatus::Active {
        return Ok(Some(Basis::OwnKey));
    }
    let Some(person) = member.person() else { return Ok(None) };
    let concerns_themselves = rule.to == Grantee::Person(person);

    if let Some(representation) = host.get(&keys::representation(id, person))? {
        let in_scope = representation.categories.is_empty()
            || (!rule.categories.is_empty() && is_subset(&rule.categories, &representation.categories));
        // What a minor may keep from a parent, the parent may not open to others either.
        let minors_own = representation.minor_has_privacy(host.now()) && widens && unlocks_minors_own(rule);
        let speaks = representation.is_active(host.now()) && in_scope && !concerns_themselves && !minors_own;
        return if speaks { Ok(Some(Basis::Representative(person))) } else { Ok(None) };
    }

    let Member::Practitioner(organisation, practitioner) = member else { return Ok(None) };
    if !patient.is_cared_for_by(organisation) || rule.parent.is_some() {
        return Ok(None);
    }
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    let own_word_needed = patient.key.is_some() && widens;
    if !may_attest(&at_work) || concerns_themselves || own_word_needed {
        return Ok(None);
    }
    let document = document.ok_or(Refusal::AuthElementMissing)?;
    Ok(Some(Basis::Attested { organisation, practitioner, document }))
}

/// Do the roles allow to attest a patient's signed document?
pub(crate) fn may_attest(practitioner: &Practitioner) -> bool {
    let attests =
        |role: &Role| identity::is_clinician(*role) || matches!(role, Role::Registrar | Role::PrivacyOfficer);
    practitioner.roles.iter().any(attests)
}

fn unlocks_minors_own(rule: &Rule) -> bool {
    match &rule.labels {
        Labels::Any => true,
        Labels::Only(labels) => {
            labels.iter().any(|label| MINOR_SENSITIVE.iter().any(|minors| label.is_within(*minors)))
        }
    }
}

/// The holder of a grant that may be passed on.
fn delegates(host: &Host<'_, '_>, member: Member, parent: Option<&Grant>) -> Done<Basis> {
    let (Member::Practitioner(organisation, practitioner), Some(parent)) = (member, parent) else {
        return Err(Refusal::NotGrantor.into());
    };
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    let holds = match parent.rule.to {
        Grantee::Org(org) => org == organisation,
        Grantee::Role(org, role) => org == organisation && at_work.acts_as(role),
        Grantee::Person(person) => member.person() == Some(person),
        Grantee::Any | Grantee::Study(_) | Grantee::Guest(_) => false,
    };
    require(holds, Refusal::NotGrantor)?;
    Ok(Basis::Delegated { organisation, practitioner })
}

fn live_parent(host: &Host<'_, '_>, patient: PatientId, id: GrantId) -> Done<Grant> {
    let parent = host.get(&keys::grant(patient, id))?.ok_or(Refusal::GrantUnknown)?;
    let expired = parent.rule.until.is_some_and(|until| until <= host.now());
    require(parent.revoked.is_none() && !expired, Refusal::GrantUnknown)?;
    Ok(parent)
}

/// What a rule must be by itself, whoever makes it.
fn check_rule(host: &Host<'_, '_>, rule: &Rule) -> Done {
    let permit = rule.kind == GrantKind::Permit;
    let purposes: &[Purpose] = match &rule.purposes {
        Purposes::All => {
            require(!permit, Refusal::WildcardPurposeOnPermit)?;
            &[]
        }
        Purposes::Only(purposes) => {
            require(!purposes.is_empty(), Refusal::EmptyPurpose)?;
            purposes
        }
    };
    let labels: &[Label] = match &rule.labels {
        Labels::Any => &[],
        Labels::Only(labels) => labels,
    };
    let lists = identity::is_distinct(purposes)
        && identity::is_distinct(&rule.actions)
        && identity::is_distinct(&rule.categories)
        && identity::is_distinct(&rule.records)
        && identity::is_distinct(labels);
    require(lists && !rule.actions.is_empty(), Refusal::InvalidField)?;
    let uses = rule.max_uses.is_none_or(|most| permit && most > 0);
    let passed_on = permit || (!rule.delegable && rule.parent.is_none());
    require(uses && passed_on, Refusal::InvalidField)?;

    let period = matches!((rule.from, rule.until), (Some(from), Some(until)) if from >= until);
    let data = rule.data_period.is_some_and(
        |DataPeriod { from, until }| matches!((from, until), (Some(from), Some(until)) if from >= until),
    );
    require(!period && !data, Refusal::BadPeriod)?;

    if permit {
        let note = labels.contains(&Label::PsyThPn);
        require(!note || labels.len() == 1, Refusal::PsyThPnNotAlone)?;
        require(has_authorization(rule, purposes, labels), Refusal::AuthElementMissing)?;
    }
    if let Grantee::Org(organisation)
    | Grantee::Role(organisation, _)
    | Grantee::Person(Person::Practitioner(organisation, _)) = rule.to
    {
        require(host.get(&keys::organisation(organisation))?.is_some(), Refusal::OrgInactive)?;
    }
    require(records::may_stand_in_clear(host.policy(), labels), Refusal::SensitiveInClear)
}

/// 45 CFR 164.508: outside treatment, payment and operations an authorization names recipient and end, the policy's text
/// and the signed document. Psychotherapy notes and 42 CFR Part 2 need the document for treatment too.
fn has_authorization(rule: &Rule, purposes: &[Purpose], labels: &[Label]) -> bool {
    let ordinary = |purpose: &Purpose| {
        [Purpose::Treat, Purpose::Hpaymt, Purpose::Hoperat].iter().any(|root| purpose.is_within(*root))
    };
    if !purposes.iter().all(ordinary) {
        return rule.to != Grantee::Any
            && rule.until.is_some()
            && rule.policy.is_some()
            && rule.document.is_some();
    }
    rule.document.is_some() || !labels.iter().any(|label| label.is_strict())
}

/// A sub-grant is within its parent in every dimension, and one level deep.
fn check_delegation(rule: &Rule, parent: &Rule) -> Done {
    require(parent.parent.is_none() && !rule.delegable, Refusal::DelegationDepth)?;
    let to = match rule.to {
        Grantee::Org(_) | Grantee::Role(..) | Grantee::Person(_) => true,
        Grantee::Any | Grantee::Study(_) | Grantee::Guest(_) => false,
    };
    let purposes = match (&rule.purposes, &parent.purposes) {
        (Purposes::Only(purposes), Purposes::Only(of)) => {
            purposes.iter().all(|purpose| of.iter().any(|wider| covers(*wider, *purpose)))
        }
        (Purposes::All, _) | (_, Purposes::All) => false,
    };
    let labels = match (&rule.labels, &parent.labels) {
        (Labels::Any, Labels::Any) => true,
        (Labels::Any, Labels::Only(_)) => false,
        (Labels::Only(labels), Labels::Any) => !labels.iter().any(|label| label.is_strict()),
        (Labels::Only(labels), Labels::Only(of)) => {
            labels.iter().all(|label| of.iter().any(|wider| label.is_within(*wider)))
        }
    };
    let within = parent.kind == GrantKind::Permit
        && parent.delegable
        && to
        && purposes
        && labels
        && is_subset(&rule.actions, &parent.actions)
        && is_restriction(&rule.categories, &parent.categories)
        && is_restriction(&rule.records, &parent.records)
        && starts_no_earlier(rule.from, parent.from)
        && ends_no_later(rule.until, parent.until)
        && ends_no_later(rule.max_uses, parent.max_uses)
        && parent.data_period.is_none_or(|of| {
            rule.data_period.is_some_and(|period| {
                starts_no_earlier(period.from, of.from) && ends_no_later(period.until, of.until)
            })
        });
    require(within, Refusal::DelegationWidens)
}

/// A permit for `wider` serves `purpose`. Fraud detection is served by its own name alone.
fn covers(wider: Purpose, purpose: Purpose) -> bool {
    wider == purpose || (purpose != Purpose::Fraud && purpose.is_within(wider))
}

fn is_subset<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    part.iter().all(|item| whole.contains(item))
}

/// Of two lists of which an empty one does not restrict.
fn is_restriction<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    whole.is_empty() || (!part.is_empty() && is_subset(part, whole))
}

fn starts_no_earlier<T: Ord + Copy>(part: Option<T>, whole: Option<T>) -> bool {
    whole.is_none_or(|whole| part.is_some_and(|part| part >= whole))
}

fn ends_no_later<T: Ord + Copy>(part: Option<T>, whole: Option<T>) -> bool {
    whole.is_none_or(|whole| part.is_some_and(|part| part <= whole))
}
