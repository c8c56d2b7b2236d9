//! What the API reads: entries, bounded pages, and who may see what of a patient.
//!
//! [`Reader`] answers for one member and one patient. Where it is not obvious, the access decision answers: a
//! record's entry is shown to whom some READ of it would be permitted now, so that there is no second rule book.
//!
//! | who | records | grants | accesses, overrides | reasons |
//! |---|---|---|---|---|
//! | the patient; a representative without limits | all | all | all | precise |
//! | privacy officer or auditor of a caring organisation, auditor of a validator's | all | all | all | precise |
//! | clinician or registrar of a caring organisation | where a READ is permitted | all | of those records | precise |
//! | a representative with limits | where a READ is permitted | permits to them | of those records | public |
//! | a grantee | where a READ is permitted | permits to them | their own | public |
//! | anybody else | nothing: the same answer as for a patient who does not exist | | | |
//!
//! A page may be short, even empty, and have a next one: it is the reading that is bounded.
//! Tested by `tests/read.rs`.

use std::collections::BTreeSet;

use epione_types::call::{GrantKind, Purposes};
use epione_types::codes::{Action, Decision, Purpose, Role};
use epione_types::id::{GrantId, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{PublicKey, TimestampMs};
use serde::{Serialize, de::DeserializeOwned};

use crate::access::decide::{Facts, Request, decide_on, roots_of};
use crate::access::rules::{lives, subject_rank};
use crate::access::{AccessEvent, Override};
use crate::config;
use crate::consent::Grant;
use crate::host::{State, StateError, get, range};
use crate::identity::{self, Member, Organisation, Patient, PatientStatus, Practitioner};
use crate::keys::{self, KeyRange};
use crate::records::Record;
use crate::voice;

/// Most entries that one page reads.
pub const MAX_PAGE: usize = 500;

/// Entries, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order of their keys.
    pub items: Vec<T>,
    /// Pass as `after` for what follows; none at the end.
    pub next: Option<Vec<u8>>,
}

/// Whose key is it?
///
/// # Errors
/// The store failed.
pub fn member_of(state: &dyn State, key: &PublicKey) -> Result<Option<Member>, StateError> {
    identity::member_of(state, key)
}

/// An organisation. Everybody enrolled may know it.
///
/// # Errors
/// The store failed.
pub fn organisation(state: &dyn State, id: OrgId) -> Result<Option<Organisation>, StateError> {
    get(state, &keys::organisation(id))
}

/// A practitioner. Everybody enrolled may know them: a patient has to, to grant.
///
/// # Errors
/// The store failed.
pub fn practitioner(
    state: &dyn State,
    organisation: OrgId,
    id: PractitionerId,
) -> Result<Option<Practitioner>, StateError> {
    get(state, &keys::practitioner(organisation, id))
}

/// A record as `who` may see it: none if there is none, or if it is not for them.
///
/// # Errors
/// The store failed.
pub fn record(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    id: RecordId,
) -> Result<Option<Record>, StateError> {
    let Some(record) = get(state, &keys::record(id))? else { return Ok(None) };
    let reader = Reader::new(state, now, who, record.patient)?;
    Ok(reader.filter(|reader| reader.sees_record(&record)).map(|_| record))
}

/// What one member may see of one patient.
pub struct Reader<'s> {
    state: &'s dyn State,
    now: TimestampMs,
    who: Member,
    id: PatientId,
    patient: Patient,
    /// Sees everything.
    whole: bool,
    /// Cares for the patient, and may attest the patient's documents.
    cares: bool,
    /// Questions whose permission for a record shows it.
    questions: Vec<Request>,
    facts: Facts,
}

impl<'s> Reader<'s> {
    /// None if the patient does not exist or nothing of theirs is for `who`: one answer for both.
    /// `now` is the later of block time and own clock.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(
        state: &'s dyn State,
        now: TimestampMs,
        who: Member,
        patient: PatientId,
    ) -> Result<Option<Self>, StateError> {
        Ok(Self::new(state, now, who, patient)?.filter(Self::sees_something))
    }

    fn new(
        state: &'s dyn State,
        now: TimestampMs,
        who: Member,
        id: PatientId,
    ) -> Result<Option<Self>, StateError> {
        let policy = config::policy(state)?;
        // Of emergencies the facts hold the override that is open: its holder has to find the records.
        let role = if who == Member::Patient(id) { Role::Patient } else { Role::Representative };
        let probe = Request::new(who, role, Action::Read, Purpose::Btg);
        let mut facts = Facts::about(state, &probe, Some(id), &policy, now)?;
        let Some(patient) = facts.patient.clone() else { return Ok(None) };

        let member_roles = match who {
            Member::Practitioner(..) => {
                let organisation = facts.organisation.as_ref().filter(|it| it.is_active());
                let practitioner = facts.practitioner.as_ref().filter(|it| it.is_credentialed(now));
                let roles = organisation.and(practitioner).map(|it| it.roles.clone()).unwrap_or_default();
                let at_work = |role: &Role| facts.practitioner.as_ref().is_some_and(|it| it.acts_as(*role));
                roles.into_iter().filter(at_work).collect()
            }
            Member::Patient(_) | Member::Representative(_) => vec![role],
            Member::Guest(_) => vec![Role::Guest],
            Member::Admin(_) | Member::Device(..) | Member::Retired => vec![],
        };
        let has = |wanted: &[Role]| member_roles.iter().any(|role| wanted.contains(role));
        let caring = who.organisation().is_some_and(|organisation| patient.is_cared_for_by(organisation));
        let auditing = has(&[Role::Auditor])
            && config::validator_organisations(state)?.iter().any(|it| who.organisation() == Some(*it));
        let unlimited = facts
            .representation
            .as_ref()
            .is_some_and(|it| it.is_active(now) && it.categories.is_empty() && !it.minor_has_privacy(now));
        let subject = role == Role::Patient && patient.status == PatientStatus::Active;
        let officer = caring && has(&[Role::PrivacyOfficer, Role::Auditor]);
        let attests = facts.practitioner.as_ref().is_some_and(voice::may_attest);
        let cares = caring && attests && !member_roles.is_empty();
        let questions = questions(who, &member_roles, &facts.rules);
        if who == Member::Patient(id) {
            facts.rules = Vec::new();
        }
        Ok(Some(Self {
            state,
            now,
            who,
            id,
            patient,
            whole: subject || unlimited || officer || auditing,
            cares,
            questions,
            facts,
        }))
    }

    fn sees_something(&self) -> bool {
        let granted = |grant: &Grant| {
            grant.rule.kind == GrantKind::Permit
                && lives(grant, self.now).is_ok()
                && self.questions.iter().any(|request| subject_rank(request, &grant.rule).is_some())
        };
        let represents = self.facts.representation.as_ref().is_some_and(|it| it.is_active(self.now));
        let emergency = self.facts.override_until.is_some_and(|until| self.now < until);
        self.whole || self.cares || represents || emergency || self.facts.rules.iter().any(granted)
    }

    /// The patient's entry.
    #[must_use]
    pub const fn patient(&self) -> &Patient {
        &self.patient
    }

    /// May the precise reasons of decisions be shown? Else [`epione_types::codes::Reason::public`].
    #[must_use]
    pub const fn sees_precise_reasons(&self) -> bool {
        self.whole || self.cares
    }

    /// Is this record's entry for the reader?
    #[must_use]
    pub fn sees_record(&self, record: &Record) -> bool {
        if record.patient != self.id {
            return false;
        }
        let decision = |ask| decide_on(Some(record), &self.facts, ask, self.now).decision;
        let permitted = || self.questions.iter().any(|ask| decision(ask) == Decision::Permit);
        // What was erased is still known to have been, to those who see everything.
        self.whole || permitted()
    }

    /// Is this grant or denial for the reader?
    #[must_use]
    pub fn sees_grant(&self, grant: &Grant) -> bool {
        let addressed = || self.questions.iter().any(|ask| subject_rank(ask, &grant.rule).is_some());
        // Whom the patient distrusts is told to nobody, not even to them.
        self.whole || self.cares || (grant.rule.kind == GrantKind::Permit && addressed())
    }

    /// The patient's records, ascending by id.
    ///
    /// # Errors
    /// The store failed.
    pub fn records(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Record>, StateError> {
        let page = page(self.state, keys::records_of_patient(self.id), after, limit)?;
        let mut items = Vec::new();
        for (key, ()) in &page.items {
            let id = key.get(key.len().saturating_sub(RecordId::LEN)..).unwrap_or_default();
            let id = RecordId::try_from(id).map_err(|error| StateError::damaged(key, error.to_string()))?;
            let record = get(self.state, &keys::record(id))?;
            let record = record.ok_or_else(|| StateError::damaged(key, "the record is not there"))?;
            items.extend(Some(record).filter(|record| self.sees_record(record)));
        }
        Ok(Page { items, next: page.next })
    }

    /// One grant or denial; none if there is none, or if it is not for the reader.
    ///
    /// # Errors
    /// The store failed.
    pub fn grant(&self, id: GrantId) -> Result<Option<Grant>, StateError> {
        Ok(get(self.state, &keys::grant(self.id, id))?.filter(|grant| self.sees_grant(grant)))
    }

    /// The patient's grants and denials, revoked ones too, ascending by id.
    ///
    /// # Errors
    /// The store failed.
    pub fn grants(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Grant>, StateError> {
        let page = page(self.state, keys::grants(self.id), after, limit)?;
        let items = page.items.into_iter().map(|(_, grant)| grant);
        Ok(Page { items: items.filter(|grant| self.sees_grant(grant)).collect(), next: page.next })
    }

    /// Accesses to the patient's records, oldest first. Reasons are the precise ones.
    ///
    /// # Errors
    /// The store failed.
    pub fn accesses(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<AccessEvent>, StateError> {
        let page = page(self.state, keys::accesses(self.id), after, limit)?;
        let mut items = Vec::new();
        for (_, event) in page.items {
            if self.sees_access(&event)? {
                items.push(event);
            }
        }
        Ok(Page { items, next: page.next })
    }

    fn sees_access(&self, event: &AccessEvent) -> Result<bool, StateError> {
        if self.whole || event.who == self.who {
            return Ok(true);
        }
        if !self.cares && self.facts.representation.is_none() {
            return Ok(false);
        }
        Ok(get(self.state, &keys::record(event.record))?.is_some_and(|record| self.sees_record(&record)))
    }

    /// Emergency overrides on the patient's records, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn overrides(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Override>, StateError> {
        let page = page(self.state, keys::emergencies(self.id), after, limit)?;
        let own = |it: &Override| self.who == Member::Practitioner(it.practitioner.0, it.practitioner.1);
        let items = page.items.into_iter().map(|(_, emergency)| emergency);
        let items = items.filter(|emergency| self.whole || self.cares || own(emergency)).collect();
        Ok(Page { items, next: page.next })
    }
}

/// A member's requests to read that could be permitted: for the roots of each role, and for what permits name.
fn questions(who: Member, roles: &[Role], rules: &[Grant]) -> Vec<Request> {
    let named = rules.iter().filter(|grant| grant.rule.kind == GrantKind::Permit);
    let named = named.flat_map(|grant| match &grant.rule.purposes {
        Purposes::All => &[][..],
        Purposes::Only(purposes) => purposes,
    });
    let purposes: BTreeSet<Purpose> = named.copied().chain([Purpose::Btg]).collect();
    let mut questions = Vec::new();
    for role in roles {
        let served = purposes.iter().filter(|it| roots_of(*role).iter().any(|root| it.is_within(*root)));
        let asked: BTreeSet<Purpose> = served.chain(roots_of(*role)).copied().collect();
        questions.extend(asked.into_iter().map(|purpose| Request {
            link: if let Member::Guest(link) = who { Some(link) } else { None },
            ..Request::new(who, *role, Action::Read, purpose)
        }));
    }
    questions
}

fn page<T: Serialize + DeserializeOwned>(
    state: &dyn State,
    all: KeyRange<T>,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<(Vec<u8>, T)>, StateError> {
    let left = match after {
        Some(cursor) => all.after(cursor),
        None => all,
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let mut items = range(state, &left, limit.saturating_add(1))?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(|(key, _)| key.clone()) } else { None };
    Ok(Page { items, next })
}
