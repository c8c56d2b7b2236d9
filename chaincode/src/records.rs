//! What records there are: commitments, hashes and codes. The body stays encrypted at its custodian.
//!
//! ```text
//! (DRAFT ─▶) ACTIVE ─▶ SUPERSEDED | ENTERED_IN_ERROR          any ─▶ ERASED, for ever
//! ```
//!
//! Registering is a WRITE, and the access decision must permit it. Only registration is built yet.
//! While labels stand in clear, a PART2 or PSYTHPN record is refused unless genesis says otherwise: the label alone
//! would tell every hospital that can link the pseudonym. Tested by `tests/records.rs`.

use epione_types::call::{Month, RegisterRecord};
use epione_types::codes::{Action, Category, Decision, Label, Obligation, Purpose, Reason, Refusal, Role};
use epione_types::event::Event;
use epione_types::genesis::{Labels, Policy};
use epione_types::id::{OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::access::decide::{Facts, Request, decide};
use crate::consent;
use crate::host::{Done, Host, require};
use crate::identity::{self, Member};
use crate::keys;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordStatus {
    /// Its author works on it.
    Draft,
    /// In force.
    Active,
    /// A later version is in force.
    Superseded,
    /// Should not have been.
    EnteredInError,
    /// Body and keys are destroyed.
    Erased,
}

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

/// Sent by the author, in the name of the author's organisation, which becomes the custodian.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterRecord) -> Done {
    require(is_well_formed(call), Refusal::InvalidField)?;
    require(may_stand_in_clear(host.policy(), &call.labels), Refusal::SensitiveInClear)?;
    let who = identity::sender(host)?;
    let Member::Practitioner(custodian, author) = who else { return Err(Refusal::NotAuthorised.into()) };
    identity::known_patient(host, call.patient)?;
    let key = keys::record(call.record);
    require(!host.has(&key)?, Refusal::RecordExists)?;

    let record = Record {
        id: call.record,
        patient: call.patient,
        custodian,
        author,
        role: call.role,
        status: RecordStatus::Active,
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
    let request = Request::new(who, call.role, Action::Write, Purpose::Treat);
    let facts = Facts::load(host.state(), &request, Some(record.clone()), host.policy(), host.now())?;
    let decided = decide(&facts, &request, host.now());
    match (decided.decision, decided.reason) {
        (Decision::Permit, _) => {}
        (Decision::Deny, Reason::DenyOrgInactive) => return Err(Refusal::OrgInactive.into()),
        (Decision::Deny, _) => return Err(Refusal::WriteDenied.into()),
    }
    if let Some(grant) = decided.grant.filter(|_| decided.obligations.contains(&Obligation::ConsumeUse)) {
        consent::consume(host, call.patient, grant)?;
    }
    host.put(&key, &record);
    host.put(&keys::record_of_patient(call.patient, call.record), &());
    host.emit(Event::RecordRegistered { record: call.record, patient: call.patient, custodian });
    Ok(())
}

fn is_well_formed(call: &RegisterRecord) -> bool {
    let ascending = call.labels.iter().zip(call.labels.iter().skip(1)).all(|(a, b)| a < b);
    let note = call.category == Category::PsychotherapyNote;
    // A psychotherapy note that does not say so in its labels would be opened like any other.
    ascending && (12..=40).contains(&call.size_class) && (!note || call.labels.contains(&Label::PsyThPn))
}
