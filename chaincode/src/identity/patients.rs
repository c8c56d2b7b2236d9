//! Patients: pseudonyms with an own key, or in an organisation's custody until they take one.
//!
//! Tested by `tests/identity.rs`, `tests/patients.rs` and `tests/machines.rs`.

use epione_types::call::{
    ErasePatient, LinkCare, MAX_LIST, MarkDeceased, RegisterPatient, TakeOver, UnlinkCare,
};
use epione_types::codes::{
    NoticeKind, OrganisationKind, PatientChange, PatientStatus, Refusal, RepresentationKind, Role,
};
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId, PractitionerId};
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{Member, is_clinician, organisations, representation};
use crate::access::notices::{self, About};
use crate::host::{Done, Host, State as _, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::voice::{self, Matter};
use crate::{identity, keys};

use PatientStatus::{Active, Deceased, Erased};

/// What may be done to a patient.
pub const MACHINE: Machine<PatientStatus> = Machine {
    entity: "Patient",
    note: "An organisation begins to care with the signature of the patient's key; for a patient in custody, with that of a member of an organisation that cares already.",
    rows: ROWS,
};

const ROWS: &[Row<PatientStatus>] = &[
    row(None, Verb::Register, Active, &[Actor::Enroller, Actor::Admin]),
    row(Some(Active), Verb::TakeOver, Active, &[Actor::Attestant]),
    row(Some(Active), Verb::RotateKey, Active, &[Actor::Owner]),
    row(Some(Active), Verb::SetGuardians, Active, &[Actor::Patient]),
    row(Some(Active), Verb::LinkCare, Active, &[Actor::Enroller]),
    row(Some(Active), Verb::UnlinkCare, Active, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
    row(Some(Active), Verb::MarkDeceased, Deceased, &[Actor::Attestant]),
    row(Some(Active), Verb::Erase, Erased, &[Actor::Attestant]),
    row(Some(Deceased), Verb::Erase, Erased, &[Actor::Attestant]),
];

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
    /// Whose a record would be that is not there.
    pub(crate) const fn nobody() -> Self {
        Self {
            key: None,
            care_organisations: Vec::new(),
            status: PatientStatus::Active,
            notice_hash: Hash::ZERO,
            grants: 0,
            registered_at: TimestampMs(0),
        }
    }

    /// Does this organisation care for the patient?
    #[must_use]
    pub fn is_cared_for_by(&self, organisation: OrgId) -> bool {
        self.care_organisations.contains(&organisation)
    }
}

/// In whose word a patient's key changed: kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyBasis {
    /// Out of custody: a member of a caring organisation identified the patient.
    TakenOver {
        /// The organisation.
        organisation: OrgId,
        /// Its member.
        practitioner: PractitionerId,
        /// Hash of the document.
        document: Hash,
    },
    /// The key before.
    Rotated,
    /// Guardians.
    Recovered {
        /// How many.
        guardians: u32,
    },
}

/// A change of the key that signs for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// The key before; none while in custody.
    pub before: Option<PublicKey>,
    /// The key since.
    pub key: PublicKey,
    /// When.
    pub at: TimestampMs,
    /// In whose word.
    pub basis: KeyBasis,
}

/// A patient who is known and not erased. The dead are: their last results come late, their executors act.
pub(crate) fn known(host: &Host<'_, '_>, id: PatientId) -> Done<Patient> {
    let patient = host.get(&keys::patient(id))?.ok_or(Refusal::PatientUnknown)?;
    require(patient.status != PatientStatus::Erased, Refusal::PatientUnknown)?;
    Ok(patient)
}

/// As many grants and denials stand at hand for the patient.
pub(crate) fn count_grants(host: &mut Host<'_, '_>, id: PatientId, grants: u32) -> Done {
    let mut patient = known(host, id)?;
    patient.grants = grants;
    host.put(&keys::patient(id), &patient);
    Ok(())
}

/// Sent by a registrar or clinician, or by an admin with the admin threshold; signed by the patient's key if any.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterPatient) -> Done {
    require(call.notice_hash != Hash::ZERO, Refusal::InvalidField)?;
    let (organisation, actor) = match identity::sender(host)? {
        Member::Practitioner(organisation, id) => {
            enroller(host, organisation, id)?;
            (organisation, Actor::Enroller)
        }
        Member::Admin(_) => (organisations::of_admin(host)?, Actor::Admin),
        Member::Patient(_)
        | Member::Representative(_)
        | Member::Guest(_)
        | Member::Device(..)
        | Member::Retired => {
            return Err(Refusal::NotAuthorised.into());
        }
    };
    require(!host.has(&keys::patient(call.patient))?, Refusal::PatientExists)?;
    if let Some(key) = &call.key {
        identity::enrol_key(host, key, Member::Patient(call.patient))?;
    }
    let patient = Patient {
        key: call.key,
        care_organisations: vec![organisation],
        status: MACHINE.step(None, Verb::Register, actor)?,
        notice_hash: call.notice_hash,
        grants: 0,
        registered_at: host.now(),
    };
    host.put(&keys::patient(call.patient), &patient);
    let custodial = call.key.is_none();
    host.emit(Event::PatientRegistered { patient: call.patient, organisation, custodial });
    Ok(())
}

/// A registrar or clinician at work.
fn enroller(host: &Host<'_, '_>, organisation: OrgId, id: PractitionerId) -> Done {
    let practitioner = identity::practitioner_at_work(host, organisation, id)?;
    let enrols = |role: &Role| *role == Role::Registrar || is_clinician(*role);
    require(practitioner.roles.iter().any(enrols), Refusal::NotAuthorised)
}

fn changed(host: &mut Host<'_, '_>, patient: PatientId, change: PatientChange, organisation: Option<OrgId>) {
    host.emit(Event::PatientChanged { patient, change, organisation });
}

/// One more organisation cares: it may write, and attest what a patient in custody signed.
pub(crate) fn link_care(host: &mut Host<'_, '_>, call: &LinkCare) -> Done {
    let Member::Practitioner(organisation, id) = identity::sender(host)? else {
        return Err(Refusal::NotAuthorised.into());
    };
    enroller(host, organisation, id)?;
    let kind = organisations::active(host, organisation)?.kind;
    let cares = matches!(
        kind,
        OrganisationKind::Hospital
            | OrganisationKind::Clinic
            | OrganisationKind::Lab
            | OrganisationKind::Pharmacy
    );
    require(cares, Refusal::NotAuthorised)?;
    let mut patient = known(host, call.patient)?;
    patient.status = MACHINE.step(Some(patient.status), Verb::LinkCare, Actor::Enroller)?;
    require(!patient.is_cared_for_by(organisation), Refusal::CareRelation)?;
    require(patient.care_organisations.len() < MAX_LIST, Refusal::TooMany)?;
    match &patient.key {
        Some(key) => require(host.signed_by(key), Refusal::SignatureMissing)?,
        None => {
            // Or anybody could make themselves the one who speaks for a patient.
            require(carer_signed(host, &patient)?, Refusal::SignatureMissing)?;
            require(call.document.is_some_and(|hash| hash != Hash::ZERO), Refusal::AuthElementMissing)?;
        }
    }
    patient.care_organisations.push(organisation);
    host.put(&keys::patient(call.patient), &patient);
    changed(host, call.patient, PatientChange::CareLinked, Some(organisation));
    Ok(())
}

/// Did a member of an organisation that cares already sign, who may attest?
fn carer_signed(host: &Host<'_, '_>, patient: &Patient) -> Done<bool> {
    for signer in host.signers() {
        let Some(Member::Practitioner(organisation, id)) = identity::member_of(host.state(), signer)? else {
            continue;
        };
        if patient.is_cared_for_by(organisation) {
            let at_work = identity::practitioner_at_work(host, organisation, id)?;
            if voice::may_attest(&at_work) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// One organisation cares no more. A patient in custody keeps one.
pub(crate) fn unlink_care(host: &mut Host<'_, '_>, call: &UnlinkCare) -> Done {
    let mut patient = known(host, call.patient)?;
    let basis = voice::spoken(host, call.patient, &patient, &Matter::general(call.document))?;
    patient.status = MACHINE.step(Some(patient.status), Verb::UnlinkCare, basis.actor())?;
    require(patient.is_cared_for_by(call.organisation), Refusal::CareRelation)?;
    patient.care_organisations.retain(|it| *it != call.organisation);
    require(patient.key.is_some() || !patient.care_organisations.is_empty(), Refusal::CareRelation)?;
    host.put(&keys::patient(call.patient), &patient);
    changed(host, call.patient, PatientChange::CareUnlinked, Some(call.organisation));
    Ok(())
}

/// The end of custody: from now on the own key speaks, and paper only takes away.
pub(crate) fn take_over(host: &mut Host<'_, '_>, call: &TakeOver) -> Done {
    let mut patient = known(host, call.patient)?;
    let (organisation, practitioner) = voice::attestant(host, &patient)?;
    patient.status = MACHINE.step(Some(patient.status), Verb::TakeOver, Actor::Attestant)?;
    require(patient.key.is_none(), Refusal::BadState)?;
    require(call.document != Hash::ZERO, Refusal::AuthElementMissing)?;
    identity::enrol_key(host, &call.key, Member::Patient(call.patient))?;
    let basis = KeyBasis::TakenOver { organisation, practitioner, document: call.document };
    set_key(host, call.patient, patient, call.key, basis);
    changed(host, call.patient, PatientChange::OwnKey, Some(organisation));
    notices::give(host, call.patient, NoticeKind::KeyChanged, About::default());
    Ok(())
}

/// Another key signs for the patient, and who said so is kept.
pub(super) fn set_key(
    host: &mut Host<'_, '_>,
    id: PatientId,
    mut patient: Patient,
    key: PublicKey,
    basis: KeyBasis,
) {
    let change = KeyChange { before: patient.key, key, at: host.now(), basis };
    host.put(&keys::key_change(id, host.height(), host.index()), &change);
    patient.key = Some(key);
    host.put(&keys::patient(id), &patient);
}

/// The own key is over, and with it what the patient alone could give: powers of attorney.
pub(crate) fn mark_deceased(host: &mut Host<'_, '_>, call: &MarkDeceased) -> Done {
    let mut patient = known(host, call.patient)?;
    let (organisation, _) = voice::attestant(host, &patient)?;
    patient.status = MACHINE.step(Some(patient.status), Verb::MarkDeceased, Actor::Attestant)?;
    require(call.document != Hash::ZERO, Refusal::AuthElementMissing)?;
    host.put(&keys::patient(call.patient), &patient);
    representation::end_all(host, call.patient, RepresentationKind::Attorney)?;
    changed(host, call.patient, PatientChange::Deceased, Some(organisation));
    Ok(())
}

/// The end, once every record is erased: nobody cares, no key signs.
pub(crate) fn erase(host: &mut Host<'_, '_>, call: &ErasePatient) -> Done {
    let mut patient = known(host, call.patient)?;
    let attestant = voice::attestant(host, &patient)?;
    voice::wished(host, attestant, call.patient, &patient, call.document)?;
    patient.status = MACHINE.step(Some(patient.status), Verb::Erase, Actor::Attestant)?;
    let records = keys::records_of_patient(call.patient);
    let remain = host.state().range(records.from(), records.to(), 1)?;
    require(remain.is_empty(), Refusal::RecordsRemain)?;
    if let Some(key) = patient.key.take() {
        host.put(&keys::member(&key), &Member::Retired);
    }
    patient.care_organisations.clear();
    host.put(&keys::patient(call.patient), &patient);
    changed(host, call.patient, PatientChange::Erased, Some(attestant.0));
    Ok(())
}
