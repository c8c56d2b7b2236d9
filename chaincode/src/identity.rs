//! Who is who: organisations, practitioners, patients, representatives, and the key that each signs with.
//!
//! ```text
//! key/{public key} ─▶ Member ─▶ org/ pra/ pat/ rep/
//! ```
//!
//! Who acts is never a field of a call. It follows from the key that sent it, and the organisation from that
//! key's registration. A key belongs to one member for ever. Whoever is enrolled with a key signs with it too
//! (proof of possession), so nobody can be enrolled under another's key.
//! No name, licence number, birth date or address is ever here: pseudonyms and salted commitments.
//! Tested by `tests/identity.rs`.

use epione_types::call::{MAX_LIST, Person, RegisterOrganisation, RegisterPatient, RegisterPractitioner};
use epione_types::codes::{Capability, Category, OrganisationKind, Refusal, Role};
use epione_types::event::Event;
use epione_types::id::{LinkId, OrgId, PatientId, PractitionerId, RepresentativeId};
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::host::{Done, Host, Overlay, State, StateError, get, require};
use crate::keys;

/// Whose key it is: who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Member {
    /// An organisation's administrator: enrols, and is no practitioner.
    Admin(OrgId),
    /// A practitioner of an organisation.
    Practitioner(OrgId, PractitionerId),
    /// A patient.
    Patient(PatientId),
    /// Somebody who acts for patients and is none: parent, guardian, attorney, executor.
    Representative(RepresentativeId),
    /// Whoever holds a guest link's key.
    Guest(LinkId),
}

impl Member {
    /// As a grant would name them; nobody grants to an administrator or a guest in person.
    #[must_use]
    pub const fn person(self) -> Option<Person> {
        match self {
            Self::Practitioner(organisation, id) => Some(Person::Practitioner(organisation, id)),
            Self::Patient(id) => Some(Person::Patient(id)),
            Self::Representative(id) => Some(Person::Representative(id)),
            Self::Admin(_) | Self::Guest(_) => None,
        }
    }

    /// The organisation they act in, if any.
    #[must_use]
    pub const fn organisation(self) -> Option<OrgId> {
        match self {
            Self::Admin(organisation) | Self::Practitioner(organisation, _) => Some(organisation),
            Self::Patient(_) | Self::Representative(_) | Self::Guest(_) => None,
        }
    }
}

/// Where an organisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrganisationStatus {
    /// Takes part.
    Active,
    /// Stopped for now.
    Suspended,
    /// Left.
    Exited,
}

/// An organisation of the consortium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its kind.
    pub kind: OrganisationKind,
    /// Where it stands.
    pub status: OrganisationStatus,
    /// Keys of its administrators.
    pub admins: Vec<PublicKey>,
    /// How many of them sign together.
    pub admin_threshold: u8,
    /// May its staff break the glass?
    pub break_glass: bool,
    /// Since when.
    pub registered_at: TimestampMs,
}

impl Organisation {
    /// Takes part now?
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == OrganisationStatus::Active
    }

    fn new(call: &RegisterOrganisation, now: TimestampMs) -> Self {
        Self {
            kind: call.kind,
            status: OrganisationStatus::Active,
            admins: call.admins.clone(),
            admin_threshold: call.admin_threshold,
            break_glass: call.break_glass,
            registered_at: now,
        }
    }

    fn approved_by(&self, signers: &[PublicKey]) -> bool {
        let signed = self.admins.iter().filter(|admin| signers.contains(admin)).count();
        signed >= usize::from(self.admin_threshold)
    }
}

/// Where a practitioner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PractitionerStatus {
    /// Works.
    Active,
    /// Stopped for now.
    Suspended,
    /// Left.
    Retired,
}

/// A practitioner of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Practitioner {
    /// Signs for them.
    pub key: PublicKey,
    /// In which roles, ascending.
    pub roles: Vec<Role>,
    /// Beyond the roles, ascending.
    pub capabilities: Vec<Capability>,
    /// End of the credential, exclusive; none if unlimited.
    pub credential_until: Option<TimestampMs>,
    /// Where they stand.
    pub status: PractitionerStatus,
    /// Salted commitment to name and licence.
    pub identity_commitment: Hash,
    /// Since when.
    pub registered_at: TimestampMs,
}

impl Practitioner {
    /// Registered in this role, and not suspended or retired?
    #[must_use]
    pub fn acts_as(&self, role: Role) -> bool {
        self.status == PractitionerStatus::Active && self.roles.contains(&role)
    }

    /// Is the credential good at `now`?
    #[must_use]
    pub fn is_credentialed(&self, now: TimestampMs) -> bool {
        self.credential_until.is_none_or(|until| now < until)
    }
}

/// Where a patient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatientStatus {
    /// Alive, as far as the ledger knows.
    Active,
    /// Dead: the own key is over, representatives are not.
    Deceased,
    /// Erased.
    Erased,
}

/// A patient, by pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patient {
    /// The own key; none while an organisation keeps custody.
    pub key: Option<PublicKey>,
    /// Organisations that care for the patient.
    pub care_organisations: Vec<OrgId>,
    /// Where they stand.
    pub status: PatientStatus,
    /// Hash of the privacy notice that was given.
    pub notice_hash: Hash,
    /// How many grants and denials were ever made: bounds what a decision has to read.
    pub grants: u32,
    /// Since when.
    pub registered_at: TimestampMs,
}

impl Patient {
    /// Does this organisation care for the patient?
    #[must_use]
    pub fn is_cared_for_by(&self, organisation: OrgId) -> bool {
        self.care_organisations.contains(&organisation)
    }
}

/// Why somebody may act for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepresentationKind {
    /// Parent of a minor.
    Parent,
    /// Guardian.
    Guardian,
    /// Power of attorney.
    Attorney,
    /// Executor of the dead.
    Executor,
}

/// What makes a person a patient's representative. Its calls are not built yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Representation {
    /// Why.
    pub kind: RepresentationKind,
    /// Valid from, inclusive.
    pub from: TimestampMs,
    /// Valid until, exclusive.
    pub until: Option<TimestampMs>,
    /// From when a minor has privacy before a parent, inclusive.
    pub minor_privacy_from: Option<TimestampMs>,
    /// Only these kinds of record; empty: all.
    pub categories: Vec<Category>,
    /// Ended early.
    pub revoked_at: Option<TimestampMs>,
    /// Commitment to the evidence.
    pub evidence: Hash,
    /// Attested by.
    pub organisation: OrgId,
}

impl Representation {
    /// In force at `now`?
    #[must_use]
    pub fn is_active(&self, now: TimestampMs) -> bool {
        self.from <= now
            && self.until.is_none_or(|until| now < until)
            && self.revoked_at.is_none_or(|revoked| now < revoked)
    }

    /// Has the minor privacy before this parent at `now`?
    #[must_use]
    pub fn minor_has_privacy(&self, now: TimestampMs) -> bool {
        self.kind == RepresentationKind::Parent && self.minor_privacy_from.is_some_and(|from| from <= now)
    }
}

/// Physician, nurse, pharmacist, laboratory.
#[must_use]
pub const fn is_clinician(role: Role) -> bool {
    matches!(role, Role::Physician | Role::Nurse | Role::Pharmacist | Role::Lab)
}

/// Roles of people outside every organisation.
const fn is_lay(role: Role) -> bool {
    matches!(role, Role::Patient | Role::Representative | Role::Guest)
}

/// Whose key is it?
///
/// # Errors
/// The store failed.
pub fn member_of(state: &dyn State, key: &PublicKey) -> Result<Option<Member>, StateError> {
    get(state, &keys::member(key))
}

/// Who sent the transaction.
pub(crate) fn sender(host: &Host<'_, '_>) -> Done<Member> {
    Ok(member_of(host.state(), host.sender())?.ok_or(Refusal::UnknownSigner)?)
}

/// A practitioner who may act now, with their organisation.
pub(crate) fn practitioner_at_work(
    host: &Host<'_, '_>,
    organisation: OrgId,
    id: PractitionerId,
) -> Done<Practitioner> {
    active_organisation(host, organisation)?;
    let practitioner = host.get(&keys::practitioner(organisation, id))?.ok_or(Refusal::NotAuthorised)?;
    let at_work =
        practitioner.status == PractitionerStatus::Active && practitioner.is_credentialed(host.now());
    require(at_work, Refusal::NotAuthorised)?;
    Ok(practitioner)
}

/// A patient who is known and not erased. The dead are: their last results come late, their executors act.
pub(crate) fn known_patient(host: &Host<'_, '_>, id: PatientId) -> Done<Patient> {
    let patient = host.get(&keys::patient(id))?.ok_or(Refusal::PatientUnknown)?;
    require(patient.status != PatientStatus::Erased, Refusal::PatientUnknown)?;
    Ok(patient)
}

/// One more grant stands in the patient's name.
pub(crate) fn count_grant(host: &mut Host<'_, '_>, id: PatientId, mut patient: Patient) {
    patient.grants = patient.grants.saturating_add(1);
    host.put(&keys::patient(id), &patient);
}

fn active_organisation(host: &Host<'_, '_>, id: OrgId) -> Done<Organisation> {
    let organisation = host.get(&keys::organisation(id))?.ok_or(Refusal::OrgInactive)?;
    require(organisation.is_active(), Refusal::OrgInactive)?;
    Ok(organisation)
}

/// A founding organisation.
pub(crate) fn found_organisation(overlay: &mut Overlay<'_>, call: &RegisterOrganisation, now: TimestampMs) {
    overlay.put(&keys::organisation(call.organisation), &Organisation::new(call, now));
    for admin in &call.admins {
        overlay.put(&keys::member(admin), &Member::Admin(call.organisation));
    }
}

/// Signed by enough validators' organisations, each by its own admin threshold, and by the new admins' threshold.
pub(crate) fn register_organisation(host: &mut Host<'_, '_>, call: &RegisterOrganisation) -> Done {
    require(call.check().is_ok(), Refusal::InvalidField)?;
    require(!host.has(&keys::organisation(call.organisation))?, Refusal::OrgExists)?;
    for admin in &call.admins {
        require(!host.has(&keys::member(admin))?, Refusal::KeyInUse)?;
    }
    let organisation = Organisation::new(call, host.now());
    require(organisation.approved_by(host.signers()), Refusal::KeyProof)?;

    let validators = config::validator_organisations(host.state())?;
    let mut approvals = 0;
    for id in &validators {
        let validator = host.get(&keys::organisation(*id))?;
        approvals +=
            usize::from(validator.is_some_and(|it| it.is_active() && it.approved_by(host.signers())));
    }
    // A consortium smaller than the policy's number asks all of its organisations.
    let needed = usize::from(host.policy().organisation_signatures).min(validators.len());
    require(approvals >= needed, Refusal::SignatureMissing)?;

    host.put(&keys::organisation(call.organisation), &organisation);
    for admin in &call.admins {
        host.put(&keys::member(admin), &Member::Admin(call.organisation));
    }
    host.emit(Event::OrganisationRegistered { organisation: call.organisation });
    Ok(())
}

/// Sent by an admin, signed by the admin threshold of the same organisation and by the practitioner's key.
pub(crate) fn register_practitioner(host: &mut Host<'_, '_>, call: &RegisterPractitioner) -> Done {
    let distinct = is_distinct(&call.roles) && is_distinct(&call.capabilities);
    require(distinct && !call.roles.is_empty(), Refusal::InvalidField)?;
    require(!call.roles.iter().copied().any(is_lay), Refusal::InvalidField)?;
    let organisation = admins_organisation(host)?;
    let key = keys::practitioner(organisation, call.practitioner);
    require(!host.has(&key)?, Refusal::PractitionerExists)?;
    enrol_key(host, &call.key, Member::Practitioner(organisation, call.practitioner))?;

    let (mut roles, mut capabilities) = (call.roles.clone(), call.capabilities.clone());
    roles.sort_unstable();
    capabilities.sort_unstable();
    let practitioner = Practitioner {
        key: call.key,
        roles,
        capabilities,
        credential_until: call.credential_until,
        status: PractitionerStatus::Active,
        identity_commitment: call.identity_commitment,
        registered_at: host.now(),
    };
    host.put(&key, &practitioner);
    host.emit(Event::PractitionerRegistered { organisation, practitioner: call.practitioner });
    Ok(())
}

/// Sent by a registrar or clinician, or by an admin with the admin threshold; signed by the patient's key if any.
pub(crate) fn register_patient(host: &mut Host<'_, '_>, call: &RegisterPatient) -> Done {
    require(call.notice_hash != Hash::ZERO, Refusal::InvalidField)?;
    let organisation = match sender(host)? {
        Member::Practitioner(organisation, id) => {
            let practitioner = practitioner_at_work(host, organisation, id)?;
            let enrols = |role: &Role| *role == Role::Registrar || is_clinician(*role);
            require(practitioner.roles.iter().any(enrols), Refusal::NotAuthorised)?;
            organisation
        }
        Member::Admin(_) => admins_organisation(host)?,
        Member::Patient(_) | Member::Representative(_) | Member::Guest(_) => {
            return Err(Refusal::NotAuthorised.into());
        }
    };
    require(!host.has(&keys::patient(call.patient))?, Refusal::PatientExists)?;
    if let Some(key) = &call.key {
        enrol_key(host, key, Member::Patient(call.patient))?;
    }
    let patient = Patient {
        key: call.key,
        care_organisations: vec![organisation],
        status: PatientStatus::Active,
        notice_hash: call.notice_hash,
        grants: 0,
        registered_at: host.now(),
    };
    host.put(&keys::patient(call.patient), &patient);
    let custodial = call.key.is_none();
    host.emit(Event::PatientRegistered { patient: call.patient, organisation, custodial });
    Ok(())
}

/// The active organisation of the admin who sent this, if its threshold signed.
fn admins_organisation(host: &Host<'_, '_>) -> Done<OrgId> {
    let Member::Admin(id) = sender(host)? else { return Err(Refusal::NotAuthorised.into()) };
    let organisation = active_organisation(host, id)?;
    require(organisation.approved_by(host.signers()), Refusal::SignatureMissing)?;
    Ok(id)
}

/// The key is strong, its owner signed, and it is nobody else's.
fn enrol_key(host: &mut Host<'_, '_>, key: &PublicKey, member: Member) -> Done {
    require(host.signed_by(key) && !key.is_weak(), Refusal::KeyProof)?;
    require(!host.has(&keys::member(key))?, Refusal::KeyInUse)?;
    host.put(&keys::member(key), &member);
    Ok(())
}

/// A list short enough, and without repetition.
pub(crate) fn is_distinct<T: Ord>(list: &[T]) -> bool {
    list.len() <= MAX_LIST && list.iter().collect::<std::collections::BTreeSet<_>>().len() == list.len()
}
