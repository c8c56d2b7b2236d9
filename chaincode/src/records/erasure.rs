//! The end of a record: body and keys are destroyed by their holders, here stays a tombstone for ever.
//!
//! The tombstone keeps whose it was, who kept it and when it ended, and nothing else: no label, no commitment, no hash,
//! no pointer. Its id can never be a record's again. In whose word it was erased stays too.
//! Tested by `tests/erasure.rs` and `tests/machines.rs`.

use epione_types::call::{EraseRecord, SetRetention};
use epione_types::codes::{RecordStatus, Refusal, Role};
use epione_types::id::{OpaqueRef, OrgId, PractitionerId, RecordId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{MACHINE, Record, changed};
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, patients};
use crate::keys;
use crate::machine::{Actor, Verb};
use crate::voice::{self, Basis};

/// Who erased a record, in whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// When.
    pub at: TimestampMs,
    /// Who did it.
    pub by: (OrgId, PractitionerId),
    /// In whose word.
    pub basis: Basis,
}

/// The record, and its custodian's privacy officer or registrar who sent this.
fn open(host: &Host<'_, '_>, id: RecordId) -> Done<(Record, (OrgId, PractitionerId))> {
    let Member::Practitioner(organisation, practitioner) = identity::sender(host)? else {
        return Err(Refusal::NotAuthorised.into());
    };
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    let record = host.get(&keys::record(id))?.ok_or(Refusal::Unknown)?;
    let keeps = |role: &Role| matches!(role, Role::PrivacyOfficer | Role::Registrar);
    let custodian = record.custodian == organisation && at_work.roles.iter().any(keeps);
    require(custodian, Refusal::NotAuthorised)?;
    Ok((record, (organisation, practitioner)))
}

/// Until when a record must be kept.
pub(crate) fn set_retention(host: &mut Host<'_, '_>, call: &SetRetention) -> Done {
    let (record, _) = open(host, call.record)?;
    MACHINE.step(Some(record.status), Verb::Hold, Actor::Custodian)?;
    let key = keys::retention(call.record);
    match call.until {
        Some(until) => {
            require(host.now() < until, Refusal::BadPeriod)?;
            host.put(&key, &until);
        }
        None => host.delete(&key),
    }
    changed(host, &record);
    Ok(())
}

/// All versions go; the tombstone stays.
pub(crate) fn erase(host: &mut Host<'_, '_>, call: &EraseRecord) -> Done {
    let (record, by) = open(host, call.record)?;
    let patient = patients::known(host, record.patient)?;
    let basis = voice::wished(host, by, record.patient, &patient, call.document)?;
    let status = MACHINE.step(Some(record.status), Verb::Erase, Actor::Custodian)?;
    let held = host.get(&keys::retention(call.record))?.is_some_and(|until| host.now() < until);
    require(!held, Refusal::RetentionHold)?;

    for version in 1..=record.version {
        host.delete(&keys::record_version(call.record, version));
        host.delete(&keys::written_by_device(call.record, version));
    }
    host.delete(&keys::retention(call.record));
    host.delete(&keys::report(call.record));
    let tombstone = Record {
        status,
        labels: Vec::new(),
        minor_consented: false,
        commitment: Hash::ZERO,
        ciphertext_hash: Hash::ZERO,
        size_class: 0,
        pointer: OpaqueRef([0; 16]),
        ..record
    };
    host.put(&keys::record(call.record), &tombstone);
    host.delete(&keys::record_of_patient(tombstone.patient, call.record));
    host.put(&keys::record_erased(tombstone.patient, call.record), &());
    host.put(&keys::erasure(call.record), &Erasure { at: host.now(), by, basis });
    changed(host, &tombstone);
    Ok(())
}

impl Record {
    /// Is it a tombstone?
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.status == RecordStatus::Erased
    }
}
