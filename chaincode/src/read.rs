//! What the API reads: entries, bounded pages, and who may see what of a patient.
//!
//! [`Reader`] answers for one member and one patient. Where it is not obvious, the access decision answers: a
//! record's entry is shown to whom some READ of it would be permitted now, so that there is no second rule book.
//!
//! | who | records | grants | accesses, overrides | reasons | the rest |
//! |---|---|---|---|---|---|
//! | the patient; a representative without limits | all | all | all | precise | all |
//! | privacy officer or auditor of a caring organisation, auditor of a validator's | all | all | all | precise | all |
//! | clinician or registrar of a caring organisation | where a READ is permitted | all | of those records | precise | all |
//! | a representative with limits | where a READ is permitted | permits to them | of those records | public | their own |
//! | a grantee | where a READ is permitted | permits to them | their own: permitted ones, and denied ones of those records | public | their own |
//! | anybody else | nothing: the same answer as for a patient who does not exist | | | | |
//!
//! *The rest*: representations, requests for access, reviews, notices, reports, guest links, changes of the key and its
//! recovery. *Their own*: the representation by which they act, the request that they made, the review of their own
//! override, the report that they wrote. Earlier versions are shown where a READ of that very version is permitted.
//! Who takes part (organisations, practitioners, devices) and by which rules (constants, proposals) is for everybody
//! enrolled; overdue reviews of an organisation's members for its administrators, privacy officers and auditors, and
//! for those of validators' organisations who oversee.
//!
//! A page may be short, even empty, and have a next one: it is the reading that is bounded.
//! Tested by `tests/read.rs`.

use std::collections::BTreeSet;

use epione_types::call::{GrantKind, Person, Purposes};
use epione_types::codes::{Action, Decision, OverrideStatus, Purpose, Role};
use epione_types::id::{
    AccessRequestId, DeviceId, GrantId, LinkId, OrgId, PatientId, PractitionerId, ProposalId, RecordId,
};
use epione_types::{PublicKey, TimestampMs};
use serde::{Serialize, de::DeserializeOwned};

use crate::access::decide::{Facts, Request, decide_on, roots_of};
use crate::access::notices::Notice;
use crate::access::review::{self, Review};
use crate::access::rules::{lives, subject_rank};
use crate::access::{AccessEvent, Override};
use crate::config::{self, Settings};
use crate::consent::Grant;
use crate::consent::requests::AccessRequest;
use crate::governance::Proposal;
use crate::host::{State, StateError, get, range};
use crate::identity::patients::KeyChange;
use crate::identity::recovery::Recovery;
use crate::identity::{
    self, Device, Member, Organisation, Patient, PatientStatus, Practitioner, Representation,
};
use crate::keys::{self, KeyRange};
use crate::links::GuestLink;
use crate::records::Record;
use crate::records::erasure::Erasure;
use crate::reports::Report;
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

/// A device. Everybody enrolled may know it: a record names it.
///
/// # Errors
/// The store failed.
pub fn device(state: &dyn State, organisation: OrgId, id: DeviceId) -> Result<Option<Device>, StateError> {
    get(state, &keys::device(organisation, id))
}

/// The constants in force. Everybody enrolled may know them.
///
/// # Errors
/// The store failed.
pub fn settings(state: &dyn State) -> Result<Settings, StateError> {
    config::settings(state)
}

/// A proposal. Everybody enrolled may know it.
///
/// # Errors
/// The store failed.
pub fn proposal(state: &dyn State, id: ProposalId) -> Result<Option<Proposal>, StateError> {
    get(state, &keys::proposal(id))
}

/// All proposals, ascending by id. Everybody enrolled may know them.
///
/// # Errors
/// The store failed.
pub fn proposals(
    state: &dyn State,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<(ProposalId, Proposal)>, StateError> {
    let page = page(state, keys::proposals(), after, limit)?;
    let with_id = |(key, proposal): (Vec<u8>, Proposal)| Ok((id_of(&key)?, proposal));
    let items = page.items.into_iter().map(with_id).collect::<Result<_, StateError>>()?;
    Ok(Page { items, next: page.next })
}

/// A review that is owed; of an escalation, one that should have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escalation {
    /// Who broke the glass.
    pub practitioner: (OrgId, PractitionerId),
    /// On whose records.
    pub patient: PatientId,
    /// By when it is to be reviewed.
    pub due: TimestampMs,
}

/// Overdue reviews of an organisation's members, oldest first; none if they are not for `who`.
///
/// # Errors
/// The store failed.
pub fn escalations(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    organisation: OrgId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Option<Page<Escalation>>, StateError> {
    if !answers_for(state, now, who, organisation)? {
        return Ok(None);
    }
    let page = page(state, keys::escalations(organisation), after, limit)?;
    let items = page.items.iter().map(|(key, ())| keys::escalation_of(key)).collect::<Result<_, _>>()?;
    Ok(Some(Page { items, next: page.next }))
}

/// What an organisation's members owe to be reviewed, as those may see it who answer for them.
pub struct Reviews<'s> {
    state: &'s dyn State,
    organisation: OrgId,
}

impl<'s> Reviews<'s> {
    /// None if they are not for `who`.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(
        state: &'s dyn State,
        now: TimestampMs,
        who: Member,
        organisation: OrgId,
    ) -> Result<Option<Self>, StateError> {
        Ok(answers_for(state, now, who, organisation)?.then_some(Self { state, organisation }))
    }

    /// Overrides that nobody has reviewed, by member, soonest due first; or the overdue ones alone, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn list(
        &self,
        overdue_only: bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<(PatientId, Override)>, StateError> {
        let Self { state, organisation } = *self;
        let all = if overdue_only { keys::escalations(organisation) } else { keys::reviews(organisation) };
        let owed_of = if overdue_only { keys::escalation_of } else { keys::review_of };
        let page = page(state, all, after, limit)?;
        let mut items = Vec::new();
        for (key, ()) in &page.items {
            let owed = owed_of(key)?;
            let found = owed_override(state, owed)?;
            let found = found.ok_or_else(|| StateError::damaged(key, "the override is not there"))?;
            items.push((owed.patient, found));
        }
        Ok(Page { items, next: page.next })
    }
}

/// The override whose review is owed. A patient's overrides are few, and their keys do not begin with the practitioner.
fn owed_override(state: &dyn State, owed: Escalation) -> Result<Option<Override>, StateError> {
    let mut after = None;
    loop {
        let found = page(state, keys::emergencies(owed.patient), after.as_deref(), MAX_PAGE)?;
        let is_it = |it: &Override| it.practitioner == owed.practitioner && it.review_due == owed.due;
        if let Some((_, found)) = found.items.into_iter().find(|(_, it)| is_it(it)) {
            return Ok(Some(found));
        }
        after = found.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

/// Administrators, privacy officers and auditors: of the organisation, or (but for privacy officers) of a validator's.
fn answers_for(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    organisation: OrgId,
) -> Result<bool, StateError> {
    let Some(own) = who.organisation() else { return Ok(false) };
    if !get(state, &keys::organisation(own))?.is_some_and(|it| it.is_active()) {
        return Ok(false);
    }
    let is_own = own == organisation;
    let oversees = config::validator_organisations(state)?.contains(&own);
    Ok(match who {
        Member::Admin(_) => is_own || oversees,
        Member::Practitioner(_, id) => {
            get(state, &keys::practitioner(own, id))?.filter(|it| it.is_credentialed(now)).is_some_and(|it| {
                (it.acts_as(Role::Auditor) && (is_own || oversees))
                    || (it.acts_as(Role::PrivacyOfficer) && is_own)
            })
        }
        Member::Patient(_)
        | Member::Representative(_)
        | Member::Guest(_)
        | Member::Device(..)
        | Member::Retired => false,
    })
}

/// The id at the end of a key.
fn id_of<T>(key: &[u8]) -> Result<T, StateError>
where
    T: for<'a> TryFrom<&'a [u8], Error = epione_types::id::IdError>,
{
    let id = key.get(key.len().saturating_sub(16)..).unwrap_or_default();
    T::try_from(id).map_err(|error| StateError::damaged(key, error.to_string()))
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

/// A request for access, for whoever made it and whoever may see all that a [`Reader`] shows; none for others.
///
/// # Errors
/// The store failed.
pub fn access_request(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    patient: PatientId,
    id: AccessRequestId,
) -> Result<Option<AccessRequest>, StateError> {
    let Some(request) = get(state, &keys::access_request(patient, id))? else { return Ok(None) };
    let (organisation, practitioner) = request.requester;
    if who == Member::Practitioner(organisation, practitioner) {
        return Ok(Some(request));
    }
    let reader = Reader::open(state, now, who, patient)?;
    Ok(reader.filter(|reader| reader.sees_request(&request)).map(|_| request))
}

/// The requests that `who` made for access to a patient's records, ascending by id: for those for whom there is no
/// [`Reader`]. Nothing is shown of a patient who does not exist, as of one whom they did not ask.
///
/// # Errors
/// The store failed.
pub fn own_access_requests(
    state: &dyn State,
    who: Member,
    patient: PatientId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<AccessRequest>, StateError> {
    let page = page(state, keys::access_requests(patient), after, limit)?;
    let items = page.items.into_iter().map(|(_, request)| request);
    let items = items.filter(|it| who == Member::Practitioner(it.requester.0, it.requester.1)).collect();
    Ok(Page { items, next: page.next })
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

    /// The patient's records but erased ones, ascending by id.
    ///
    /// # Errors
    /// The store failed.
    pub fn records(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Record>, StateError> {
        let page = page(self.state, keys::records_of_patient(self.id), after, limit)?;
        let mut items = Vec::new();
        for (key, ()) in &page.items {
            let record = self.listed(key)?;
            items.extend(Some(record).filter(|record| self.sees_record(record)));
        }
        Ok(Page { items, next: page.next })
    }

    /// The record of a listing's key.
    fn listed(&self, key: &[u8]) -> Result<Record, StateError> {
        let record = get(self.state, &keys::record(id_of(key)?))?;
        record.ok_or_else(|| StateError::damaged(key, "the record is not there"))
    }

    /// Tombstones of the patient's erased records, ascending by id: for those who see everything.
    ///
    /// # Errors
    /// The store failed.
    pub fn records_erased(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<(Record, Option<Erasure>)>, StateError> {
        let page = page(self.state, keys::records_erased(self.id), after, limit)?;
        let mut items = Vec::new();
        for (key, ()) in page.items.iter().filter(|_| self.whole) {
            let record = self.listed(key)?;
            let erasure = get(self.state, &keys::erasure(record.id))?;
            items.push((record, erasure));
        }
        Ok(Page { items, next: page.next })
    }

    /// Earlier versions of a record, oldest first, each where a READ of it would be permitted.
    ///
    /// # Errors
    /// The store failed.
    pub fn versions(
        &self,
        id: RecordId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<Record>, StateError> {
        let page = page(self.state, keys::record_versions(id), after, limit)?;
        let items = page.items.into_iter().map(|(_, version)| version);
        let items = items.filter(|version| self.sees_record(version)).collect();
        Ok(Page { items, next: page.next })
    }

    /// A record's report; none if there is none, or if it is not for the reader: its list of viewers says whom the
    /// patient trusts.
    ///
    /// # Errors
    /// The store failed.
    pub fn report(&self, id: RecordId) -> Result<Option<Report>, StateError> {
        let Some(record) = get(self.state, &keys::record(id))? else { return Ok(None) };
        if record.patient != self.id {
            return Ok(None);
        }
        let author = self.who == Member::Practitioner(record.custodian, record.author);
        let sees = self.whole || author || (self.cares && self.sees_record(&record));
        if sees { get(self.state, &keys::report(id)) } else { Ok(None) }
    }

    /// A guest link to one of the patient's records; none if there is none, or if it is not for the reader.
    ///
    /// # Errors
    /// The store failed.
    pub fn guest_link(&self, id: LinkId) -> Result<Option<GuestLink>, StateError> {
        let link = get(self.state, &keys::guest_link(id))?;
        Ok(link.filter(|link| link.patient == self.id && (self.whole || self.cares)))
    }

    /// Grants and denials that are over and were put away, ascending by id.
    ///
    /// # Errors
    /// The store failed.
    pub fn grants_archived(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Grant>, StateError> {
        let page = page(self.state, keys::grants_archived(self.id), after, limit)?;
        let items = page.items.into_iter().map(|(_, grant)| grant);
        Ok(Page { items: items.filter(|grant| self.sees_grant(grant)).collect(), next: page.next })
    }

    /// Requests for access to the patient's records, ascending by id.
    ///
    /// # Errors
    /// The store failed.
    pub fn access_requests(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<AccessRequest>, StateError> {
        let page = page(self.state, keys::access_requests(self.id), after, limit)?;
        let items = page.items.into_iter().map(|(_, request)| request);
        let items = items.filter(|request| self.sees_request(request)).collect();
        Ok(Page { items, next: page.next })
    }

    fn sees_request(&self, request: &AccessRequest) -> bool {
        let (organisation, practitioner) = request.requester;
        self.whole || self.cares || self.who == Member::Practitioner(organisation, practitioner)
    }

    /// Who represents the patient, or did, with the person; those that were replaced apart.
    ///
    /// # Errors
    /// The store failed.
    pub fn representations(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<(Person, Representation)>, StateError> {
        let page = page(self.state, keys::representations(self.id), after, limit)?;
        let mut items = Vec::new();
        for (key, representation) in page.items {
            let person = keys::person_of(&key)?;
            if self.whole || self.cares || self.who.person() == Some(person) {
                items.push((person, representation));
            }
        }
        Ok(Page { items, next: page.next })
    }

    /// What the patient is told, oldest first. A record is named to those for whom its entry is.
    ///
    /// # Errors
    /// The store failed.
    pub fn notices(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<Notice>, StateError> {
        let page = page(self.state, keys::notices(self.id), after, limit)?;
        let mut items = Vec::new();
        for (_, mut notice) in page.items.into_iter().filter(|_| self.whole || self.cares) {
            if let Some(id) = notice.about.record {
                let record = get(self.state, &keys::record(id))?;
                notice.about.record = record.filter(|it| self.sees_record(it)).map(|it| it.id);
            }
            items.push(notice);
        }
        Ok(Page { items, next: page.next })
    }

    /// Changes of the key that signs for the patient, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn key_changes(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<KeyChange>, StateError> {
        let page = page(self.state, keys::key_changes(self.id), after, limit)?;
        let items = page.items.into_iter().map(|(_, change)| change);
        Ok(Page { items: items.filter(|_| self.whole || self.cares).collect(), next: page.next })
    }

    /// The latest recovery of the patient's key; none if there is none, or if it is not for the reader.
    ///
    /// # Errors
    /// The store failed.
    pub fn recovery(&self) -> Result<Option<Recovery>, StateError> {
        Ok(get(self.state, &keys::recovery(self.id))?.filter(|_| self.whole || self.cares))
    }

    /// Where an override stands, and what its review found. The override is one that [`Self::overrides`] showed.
    ///
    /// # Errors
    /// The store failed.
    pub fn review_of(&self, emergency: &Override) -> Result<(OverrideStatus, Option<Review>), StateError> {
        let status = review::status(self.state, self.id, emergency, self.now)?;
        let key = keys::review_found(self.id, emergency.height, emergency.practitioner);
        Ok((status, get(self.state, &key)?))
    }

    /// One grant or denial at hand; none if there is none, or if it is not for the reader.
    ///
    /// # Errors
    /// The store failed.
    pub fn grant(&self, id: GrantId) -> Result<Option<Grant>, StateError> {
        Ok(get(self.state, &keys::grant(self.id, id))?.filter(|grant| self.sees_grant(grant)))
    }

    /// The patient's grants and denials at hand, revoked ones too, ascending by id.
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
        // A denied request is listed for whom it tells nothing new: that the record is this patient's.
        let own = event.who == self.who;
        if self.whole || (own && event.decision == Decision::Permit) {
            return Ok(true);
        }
        if !own && !self.cares && self.facts.representation.is_none() {
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
