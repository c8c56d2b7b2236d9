//! Grants and denials: what a patient allows and forbids, and who said so in the patient's name.
//!
//! ```text
//! ACTIVE ─▶ REVOKED      expired and used up are derived from time and count, never stored
//!     └── at hand ── archived when it is over and its place is needed
//! ```
//!
//! Three may speak for a patient, and a fourth may pass on: the own key, a representative in force, a member of a
//! caring organisation who attests a signed document, and the holder of a delegable grant. The [`Basis`] stays with the
//! grant for ever; so does the grant: revoking only adds to it. Guards, each with a test in `tests/consent.rs`:
//! - nobody speaks for a patient in what concerns themselves: no attested or parental grant to oneself;
//! - once a patient holds a key, an attested document can only take access away;
//! - those who do not hold the patient's own word may fill half of the patient's places, no more, so that the
//!   patient can always still deny;
//! - a sub-grant is no wider than its parent in any dimension, and one level deep.

mod holdings;
pub mod optout;
pub mod requests;
pub(crate) mod rule;

use epione_types::call::{CreateGrant, GrantKind, Grantee, RevokeGrant, Rule};
use epione_types::codes::{GrantStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::{GrantId, PatientId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::host::{Done, Host, State, StateError, get, range, require};
use crate::identity::{self, Member, Patient, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};
pub use crate::voice::Basis;
use crate::voice::{self, Matter};

use GrantStatus::{Active, Revoked};

/// What may be done to a grant or denial.
pub const MACHINE: Machine<GrantStatus> = Machine {
    entity: "Grant or denial",
    note: "Expired and used up are derived. A document opens nothing for a patient who holds a key; whoever passed a grant on takes back that one.",
    rows: ROWS,
};

const ROWS: &[Row<GrantStatus>] = &[
    row(
        None,
        Verb::Create,
        Active,
        &[Actor::Patient, Actor::Representative, Actor::Attestant, Actor::Holder],
    ),
    row(
        Some(Active),
        Verb::Revoke,
        Revoked,
        &[Actor::Patient, Actor::Representative, Actor::Attestant, Actor::Holder],
    ),
];

/// Most grants and denials at hand of one patient, by default: live ones, and ended ones while there is room. Policy
/// may set another number, up to [`RULES_HARD_MAX`]: it bounds what a decision has to read.
pub const MAX_GRANTS: u32 = 512;
/// What policy may not exceed.
pub const RULES_HARD_MAX: usize = 1_000;

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

impl Grant {
    /// Where it stands.
    #[must_use]
    pub const fn status(&self) -> GrantStatus {
        if self.revoked.is_some() { Revoked } else { Active }
    }

    /// Can it never matter again?
    pub(crate) fn is_over(&self, now: TimestampMs) -> bool {
        self.revoked.is_some()
            || self.rule.until.is_some_and(|until| until <= now)
            || self.rule.max_uses.is_some_and(|most| most <= self.uses)
    }
}

/// All rules at hand of a patient, ended ones too.
pub(crate) fn rules(state: &dyn State, id: PatientId, patient: &Patient) -> Result<Vec<Grant>, StateError> {
    if patient.grants == 0 {
        return Ok(Vec::new()); // most patients: saves the scan
    }
    let found = range(state, &keys::grants(id), RULES_HARD_MAX)?;
    Ok(found.into_iter().map(|(_, grant)| grant).collect())
}

/// A grant or a denial.
pub(crate) fn create(host: &mut Host<'_, '_>, call: &CreateGrant) -> Done {
    let rule = &call.rule;
    rule::check(host, rule)?;
    rule::check_authorization(rule)?;
    let member = identity::sender(host)?;
    let patient = patients::known(host, call.patient)?;
    let parent = match rule.parent {
        Some(id) => Some(live_parent(host, call.patient, id)?),
        None => None,
    };
    let matter = matter(rule, rule.kind == GrantKind::Permit, rule.document);
    let basis = match voice::speaks_for(host, member, call.patient, &patient, &matter)? {
        Some(basis) => basis,
        None => delegates(host, member, parent.as_ref())?,
    };
    if let Some(parent) = &parent {
        rule::check_delegation(rule, &parent.rule)?;
    }
    make(host, call.patient, call.grant, rule.clone(), basis)
}

/// A rule that was checked, in the word of somebody who may.
pub(crate) fn make(
    host: &mut Host<'_, '_>,
    patient: PatientId,
    grant: GrantId,
    rule: Rule,
    basis: Basis,
) -> Done {
    MACHINE.step(None, Verb::Create, basis.actor())?;
    let key = keys::grant(patient, grant);
    let used = host.has(&key)? || host.has(&keys::grant_archived(patient, grant))?;
    require(!used, Refusal::GrantExists)?;
    let most = u32::try_from(host.constants().live_rules_max).unwrap_or(u32::MAX);
    let most = if basis.is_the_patients() { most } else { most / 2 };
    let mut at_hand = patients::known(host, patient)?.grants;
    if at_hand >= most {
        at_hand = at_hand.saturating_sub(archive(host, patient)?);
    }
    require(at_hand < most, Refusal::TooManyGrants)?;
    let kind = rule.kind;
    holdings::add(host, patient, &rule)?;
    let entry = Grant { id: grant, rule, basis, created_at: host.now(), revoked: None, uses: 0 };
    host.put(&key, &entry);
    patients::count_grants(host, patient, at_hand.saturating_add(1))?;
    host.emit(Event::GrantCreated { grant, patient, kind });
    Ok(())
}

/// Puts away what is over, and says how many.
fn archive(host: &mut Host<'_, '_>, patient: PatientId) -> Done<u32> {
    let mut archived = 0;
    for (_, grant) in range(host.state(), &keys::grants(patient), RULES_HARD_MAX)? {
        if grant.is_over(host.now()) {
            if grant.revoked.is_none() {
                holdings::remove(host, patient, &grant.rule)?;
            }
            host.delete(&keys::grant(patient, grant.id));
            host.put(&keys::grant_archived(patient, grant.id), &grant);
            archived += 1;
        }
    }
    Ok(archived)
}

/// The end of a grant or denial. The grant stays, with its end written to it.
pub(crate) fn revoke(host: &mut Host<'_, '_>, call: &RevokeGrant) -> Done {
    let member = identity::sender(host)?;
    let patient = patients::known(host, call.patient)?;
    let grant = host.get(&keys::grant(call.patient, call.grant))?.ok_or(Refusal::GrantUnknown)?;
    require(grant.revoked.is_none(), Refusal::GrantUnknown)?;
    let matter = matter(&grant.rule, grant.rule.kind == GrantKind::Deny, call.document);
    let basis = match voice::speaks_for(host, member, call.patient, &patient, &matter)? {
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
    end(host, call.patient, grant, basis)
}

/// Ends a grant that stands, in the word of somebody who may.
pub(crate) fn end(host: &mut Host<'_, '_>, patient: PatientId, mut grant: Grant, basis: Basis) -> Done {
    MACHINE.step(Some(grant.status()), Verb::Revoke, basis.actor())?;
    holdings::remove(host, patient, &grant.rule)?;
    grant.revoked = Some(Revocation { at: host.now(), basis });
    host.put(&keys::grant(patient, grant.id), &grant);
    host.emit(Event::GrantRevoked { grant: grant.id, patient });
    Ok(())
}

/// What a rule is about, for those who would speak for the patient.
pub(crate) const fn matter(rule: &Rule, opens: bool, document: Option<Hash>) -> Matter<'_> {
    Matter {
        categories: rule.categories.as_slice(),
        labels: &rule.labels,
        minor_consented: false,
        concerns: if let Grantee::Person(person) = rule.to { Some(person) } else { None },
        opens,
        // Passing on is the holder's act, not the patient's.
        on_paper: rule.parent.is_none(),
        document,
    }
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
