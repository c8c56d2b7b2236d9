//! What records there are: commitments, hashes and codes. The body stays encrypted at its custodian.
//!
//! ```text
//! (DRAFT ─▶) ACTIVE ─▶ SUPERSEDED | ENTERED_IN_ERROR          any ─▶ ERASED, for ever
//! ```
//!
//! Registering is a WRITE, and the access decision must permit it; so is every further version.
//! While labels stand in clear, a PART2 or PSYTHPN record is refused unless genesis says otherwise: the label alone
//! would tell every hospital that can link the pseudonym. Tested by `tests/records.rs`.

pub mod erasure;
pub mod versions;

use epione_types::call::{Month, RegisterRecord};
pub use epione_types::codes::RecordStatus;
use epione_types::codes::{
    Action, Category, Decision, DeviceStatus, Label, Obligation, Purpose, Reason, Refusal, Role,
};
use epione_types::event::Event;
use epione_types::genesis::{Labels, Policy};
use epione_types::id::{DeviceId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::access::decide::{Facts, Request, decide};
use crate::consent;
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};

use RecordStatus::{Active, Draft, EnteredInError, Erased};

/// What may be done to a record.
pub const MACHINE: Machine<RecordStatus> = Machine {
    entity: "Record",
    note: "The table is about the version in force; superseding keeps the version before as SUPERSEDED. A report's record is drafted, and comes into force with it. Registering by a device counts as its practitioner's. A psychotherapy note is superseded by its author alone.",
    rows: ROWS,
};

const ROWS: &[Row<RecordStatus>] = &[
    row(None, Verb::Register, Active, &[Actor::Writer]),
    row(None, Verb::Draft, Draft, &[Actor::Writer]),
    row(Some(Draft), Verb::Submit, Draft, &[Actor::Author]),
    row(Some(Draft), Verb::Approve, Active, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
    row(Some(Draft), Verb::AnchorUnreviewed, Active, &[Actor::Author]),
    row(Some(Active), Verb::Supersede, Active, &[Actor::Writer]),
    row(Some(Active), Verb::MarkError, EnteredInError, &[Actor::Writer]),
    row(Some(Draft), Verb::Hold, Draft, &[Actor::Custodian]),
    row(Some(Active), Verb::Hold, Active, &[Actor::Custodian]),
    row(Some(EnteredInError), Verb::Hold, EnteredInError, &[Actor::Custodian]),
    row(Some(Draft), Verb::Erase, Erased, &[Actor::Custodian]),
    row(Some(Active), Verb::Erase, Erased, &[Actor::Custodian]),
    row(Some(EnteredInError), Verb::Erase, Erased, &[Actor::Custodian]),
];

/// A record's head version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub id: RecordId,
    /// Whose.
    pub patient: PatientId,
    /// Keeps the body.
    pub custodian: OrgId,
    /// Wrote it, in the custodian's name.
    pub author: PractitionerId,
    /// In which capacity.
    pub role: Role,
    /// Where it stands.
    pub status: RecordStatus,
    /// 1, and one more for each version.
    pub version: u32,
    /// Kind of record.
    pub category: Category,
    /// Sensitivity labels, ascending.
    pub labels: Vec<Label>,
    /// Month of the service.
    pub service_month: Month,
    /// A minor consented alone to the service.
    pub minor_consented: bool,
    /// Salted commitment to the body.
    pub commitment: Hash,
    /// Hash of the ciphertext.
    pub ciphertext_hash: Hash,
    /// The ciphertext has at most 2^size_class bytes.
    pub size_class: u8,
    /// Where the custodian keeps it.
    pub pointer: OpaqueRef,
    /// Since when.
    pub registered_at: TimestampMs,
}

impl Record {
    /// A plain one of nobody's: what a record would be that is not there.
    pub(crate) const fn nobodys() -> Self {
        Self {
            id: RecordId([0; 16]),
            patient: PatientId([0; 16]),
            custodian: OrgId([0; 16]),
            author: PractitionerId([0; 16]),
            role: Role::Physician,
            status: RecordStatus::Active,
            version: 1,
            category: Category::ClinicalNote,
            labels: Vec::new(),
            service_month: Month::MIN,
            minor_consented: false,
            commitment: Hash::ZERO,
            ciphertext_hash: Hash::ZERO,
            size_class: 0,
            pointer: OpaqueRef([0; 16]),
            registered_at: TimestampMs(0),
        }
    }

    /// Does it carry this very label?
    #[must_use]
    pub fn has(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    /// A psychotherapy note?
    #[must_use]
    pub fn is_psychotherapy_note(&self) -> bool {
        self.has(Label::PsyThPn)
    }
}

/// May a list with these labels stand on the ledger as it is now?
pub(crate) fn may_stand_in_clear(policy: &Policy, labels: &[Label]) -> bool {
    let Labels::Clear = policy.labels;
    policy.allow_sensitive_in_clear || !labels.iter().any(|label| label.is_strict())
}

/// Sent by the author or a device of the author's, in the name of the author's organisation: the custodian.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterRecord) -> Done {
    let status = MACHINE.step(None, Verb::Register, Actor::Writer)?;
    let record = make(host, call, status)?;
    let Record { id: record, patient, custodian, .. } = record;
    host.emit(Event::RecordRegistered { record, patient, custodian });
    Ok(())
}

/// A new record in this state, if its author may write for the patient.
pub(crate) fn make(host: &mut Host<'_, '_>, call: &RegisterRecord, status: RecordStatus) -> Done<Record> {
    require(is_well_formed(&call.labels, call.category, call.size_class), Refusal::InvalidField)?;
    require(may_stand_in_clear(host.policy(), &call.labels), Refusal::SensitiveInClear)?;
    let (custodian, author, device) = writer(host)?;
    patients::known(host, call.patient)?;
    let key = keys::record(call.record);
    require(!host.has(&key)?, Refusal::RecordExists)?;

    let record = Record {
        id: call.record,
        patient: call.patient,
        custodian,
        author,
        role: call.role,
        status,
        version: 1,
        category: call.category,
        labels: call.labels.clone(),
        service_month: call.service_month,
        minor_consented: call.minor_consented,
        commitment: call.commitment,
        ciphertext_hash: call.ciphertext_hash,
        size_class: call.size_class,
        pointer: call.pointer,
        registered_at: host.now(),
    };
    // Whether it may be written does not depend on its being a draft.
    permit_write(host, &record, (custodian, author))?;
    host.put(&key, &record);
    host.put(&keys::record_of_patient(call.patient, call.record), &());
    if let Some(device) = device {
        host.put(&keys::written_by_device(call.record, 1), &device);
    }
    Ok(record)
}

/// Who writes: a practitioner, or the one who answers for a device.
pub(super) fn writer(host: &Host<'_, '_>) -> Done<(OrgId, PractitionerId, Option<DeviceId>)> {
    match identity::sender(host)? {
        Member::Practitioner(organisation, id) => Ok((organisation, id, None)),
        Member::Device(organisation, id) => {
            let device = host.get(&keys::device(organisation, id))?.ok_or(Refusal::NotAuthorised)?;
            require(device.status == DeviceStatus::Active, Refusal::NotAuthorised)?;
            Ok((organisation, device.practitioner, Some(id)))
        }
        Member::Admin(_)
        | Member::Patient(_)
        | Member::Representative(_)
        | Member::Guest(_)
        | Member::Retired => Err(Refusal::NotAuthorised.into()),
    }
}

/// The access decision on a WRITE, with its use counted.
pub(super) fn permit_write(
    host: &mut Host<'_, '_>,
    record: &Record,
    (organisation, author): (OrgId, PractitionerId),
) -> Done {
    let who = Member::Practitioner(organisation, author);
    let request = Request::new(who, record.role, Action::Write, Purpose::Treat);
    let facts = Facts::load(host.state(), &request, Some(record.clone()), host.policy(), host.now())?;
    let decided = decide(&facts, &request, host.now());
    match (decided.decision, decided.reason) {
        (Decision::Permit, _) => {}
        (Decision::Deny, Reason::DenyOrgInactive) => return Err(Refusal::OrgInactive.into()),
        (Decision::Deny, _) => return Err(Refusal::WriteDenied.into()),
    }
    if let Some(grant) = decided.grant.filter(|_| decided.obligations.contains(&Obligation::ConsumeUse)) {
        consent::consume(host, record.patient, grant)?;
    }
    Ok(())
}

pub(super) fn is_well_formed(labels: &[Label], category: Category, size_class: u8) -> bool {
    let ascending = labels.iter().zip(labels.iter().skip(1)).all(|(a, b)| a < b);
    let note = category == Category::PsychotherapyNote;
    // A psychotherapy note that does not say so in its labels would be opened like any other.
    ascending && (12..=40).contains(&size_class) && (!note || labels.contains(&Label::PsyThPn))
}

pub(super) fn changed(host: &mut Host<'_, '_>, record: &Record) {
    let Record { id: record, patient, custodian, version, status, .. } = *record;
    host.emit(Event::RecordChanged { record, patient, custodian, version, status });
}
