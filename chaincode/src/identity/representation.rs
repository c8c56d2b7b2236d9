//! Who may act for a patient: parents, guardians, attorneys, executors, each attested by an organisation that cares.
//!
//! A birth date never stands on the ledger: the dates of majority and of a minor's privacy do, and the policy's ages
//! bound how they may lie to each other. What ended is kept. Tested by `tests/representation.rs` and `tests/machines.rs`.

use epione_types::call::{AddRepresentation, Person, RevokeRepresentation};
use epione_types::codes::{
    Category, NoticeKind, PatientStatus, Refusal, RepresentationKind, RepresentationStatus,
};
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId, RepresentativeId};
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{Member, is_distinct, patients};
use crate::access::notices::{self, About};
use crate::host::{Done, Host, range, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::voice::{self, Basis, Matter};
use crate::{identity, keys};

use RepresentationStatus::{Active, Revoked};

/// What may be done to a representation.
pub const MACHINE: Machine<RepresentationStatus> = Machine {
    entity: "Representation",
    note: "One that lapsed by time counts as revoked. The patient ends a power of attorney alone; a representative ends the own one.",
    rows: ROWS,
};

const ROWS: &[Row<RepresentationStatus>] = &[
    row(None, Verb::Register, Active, &[Actor::Attestant]),
    row(Some(Revoked), Verb::Register, Active, &[Actor::Attestant]),
    row(Some(Active), Verb::Revoke, Revoked, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
];

/// Most representatives of one patient, ended ones included.
pub const MAX_REPRESENTATIONS: usize = 32;
/// A year, in milliseconds.
const YEAR_MS: u64 = 31_557_600_000;
/// Dates are rounded to a month.
const MONTH_MS: u64 = 31 * 24 * 3_600_000;

/// A representative whom the ledger knows by an own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Representative {
    /// Signs for them.
    pub key: PublicKey,
    /// Since when.
    pub registered_at: TimestampMs,
}

/// What makes a person a patient's representative.
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

    /// Where it stands at `now`; active also before its beginning.
    #[must_use]
    pub fn status(&self, now: TimestampMs) -> RepresentationStatus {
        let over = self.revoked_at.is_some() || self.until.is_some_and(|until| until <= now);
        if over { Revoked } else { Active }
    }

    /// Has the minor privacy before this parent at `now`?
    #[must_use]
    pub fn minor_has_privacy(&self, now: TimestampMs) -> bool {
        self.kind == RepresentationKind::Parent && self.minor_privacy_from.is_some_and(|from| from <= now)
    }
}

/// Sent by a member of a caring organisation who saw the evidence.
pub(crate) fn add(host: &mut Host<'_, '_>, call: &AddRepresentation) -> Done {
    let patient = patients::known(host, call.patient)?;
    let (organisation, _) = voice::attestant(host, &patient)?;
    check(host, call)?;
    match call.kind {
        RepresentationKind::Executor => {
            require(patient.status == PatientStatus::Deceased, Refusal::BadState)?
        }
        RepresentationKind::Parent | RepresentationKind::Guardian | RepresentationKind::Attorney => {
            require(patient.status == PatientStatus::Active, Refusal::BadState)?;
        }
    }
    if let (RepresentationKind::Attorney, Some(key)) = (call.kind, &patient.key) {
        require(host.signed_by(key), Refusal::SignatureMissing)?;
    }
    enrol(host, call)?;

    let key = keys::representation(call.patient, call.person);
    let before = host.get(&key)?;
    let status = before.as_ref().map(|it| it.status(host.now()));
    let status = MACHINE.step(status, Verb::Register, Actor::Attestant)?;
    if let Some(before) = before {
        host.put(&keys::representation_ended(call.patient, call.person, host.height()), &before);
    } else {
        let all = range(host.state(), &keys::representations(call.patient), MAX_REPRESENTATIONS)?;
        require(all.len() < MAX_REPRESENTATIONS, Refusal::TooMany)?;
    }
    let representation = Representation {
        kind: call.kind,
        from: call.from.unwrap_or(host.now()),
        until: call.until,
        minor_privacy_from: call.minor_privacy_from,
        categories: call.categories.clone(),
        revoked_at: None,
        evidence: call.evidence,
        organisation,
    };
    host.put(&key, &representation);
    let AddRepresentation { patient, person, kind, .. } = *call;
    host.emit(Event::RepresentationChanged { patient, person, kind, status });
    notices::give(host, patient, NoticeKind::RepresentationAdded, About::default());
    Ok(())
}

fn check(host: &Host<'_, '_>, call: &AddRepresentation) -> Done {
    require(call.evidence != Hash::ZERO, Refusal::RepEvidenceMissing)?;
    require(is_distinct(&call.categories), Refusal::InvalidField)?;
    match call.person {
        Person::Patient(id) => {
            require(id != call.patient, Refusal::RepSelf)?;
            require(patients::known(host, id)?.status == PatientStatus::Active, Refusal::PatientUnknown)?;
        }
        // Who treats and who represents are two members with two keys, be it one person.
        Person::Practitioner(..) => return Err(Refusal::RepSelf.into()),
        Person::Representative(_) => {}
    }
    let from = call.from.unwrap_or(host.now());
    require(call.until.is_none_or(|until| from < until && host.now() < until), Refusal::BadPeriod)?;
    if call.kind != RepresentationKind::Parent {
        return require(call.minor_privacy_from.is_none(), Refusal::InvalidField);
    }
    let (Some(majority), Some(privacy)) = (call.until, call.minor_privacy_from) else {
        return Err(Refusal::RepEvidenceMissing.into());
    };
    let constants = host.constants();
    let years = |years: u64| years.saturating_mul(YEAR_MS);
    let apart = years(constants.majority_age.saturating_sub(constants.minor_privacy_age));
    let is_minor = majority <= host.now().plus(years(constants.majority_age)).plus(MONTH_MS);
    let in_time = privacy <= majority.minus(apart).plus(MONTH_MS);
    require(is_minor && in_time, Refusal::BadPeriod)
}

/// A representative is known by one key, whomever they represent.
fn enrol(host: &mut Host<'_, '_>, call: &AddRepresentation) -> Done {
    let Person::Representative(id) = call.person else {
        return require(call.key.is_none(), Refusal::InvalidField);
    };
    let entry = keys::representative(id);
    match (host.get(&entry)?, call.key) {
        (Some(_), None) => Ok(()),
        (None, Some(key)) => {
            identity::enrol_key(host, &key, Member::Representative(id))?;
            host.put(&entry, &Representative { key, registered_at: host.now() });
            Ok(())
        }
        // Or a second key could act for everybody whom the first one represents.
        (Some(_), Some(_)) => Err(Refusal::Exists.into()),
        (None, None) => Err(Refusal::Unknown.into()),
    }
}

/// Signed by the patient, by the representative, or attested with a document.
pub(crate) fn revoke(host: &mut Host<'_, '_>, call: &RevokeRepresentation) -> Done {
    let patient = patients::known(host, call.patient)?;
    let key = keys::representation(call.patient, call.person);
    let mut representation = host.get(&key)?.ok_or(Refusal::Unknown)?;
    let member = identity::sender(host)?;
    let actor = if member.person() == Some(call.person) {
        Actor::Representative
    } else {
        let matter = Matter::general(call.document);
        match voice::speaks_for(host, member, call.patient, &patient, &matter)? {
            Some(Basis::OwnKey) if representation.kind == RepresentationKind::Attorney => Actor::Patient,
            Some(Basis::Attested { .. }) => Actor::Attestant,
            _ => return Err(Refusal::NotGrantor.into()),
        }
    };
    let status = MACHINE.step(Some(representation.status(host.now())), Verb::Revoke, actor)?;
    representation.revoked_at = Some(host.now());
    host.put(&key, &representation);
    let RevokeRepresentation { patient, person, .. } = *call;
    host.emit(Event::RepresentationChanged { patient, person, kind: representation.kind, status });
    Ok(())
}

/// Ends every representation of a kind that is in force.
pub(super) fn end_all(host: &mut Host<'_, '_>, patient: PatientId, kind: RepresentationKind) -> Done {
    let all = range(host.state(), &keys::representations(patient), MAX_REPRESENTATIONS)?;
    for (key, mut representation) in all {
        if representation.kind == kind && representation.status(host.now()) == Active {
            let person = keys::person_of(&key)?;
            representation.revoked_at = Some(host.now());
            host.put(&keys::representation(patient, person), &representation);
            host.emit(Event::RepresentationChanged { patient, person, kind, status: Revoked });
        }
    }
    Ok(())
}

/// The key of a representative changes.
pub(super) fn rotate(host: &mut Host<'_, '_>, id: RepresentativeId, key: PublicKey) -> Done<PublicKey> {
    let entry = keys::representative(id);
    let mut representative = host.get(&entry)?.ok_or(Refusal::Unknown)?;
    let before = core::mem::replace(&mut representative.key, key);
    host.put(&entry, &representative);
    Ok(before)
}
