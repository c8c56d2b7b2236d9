//! Further versions of a record: the one in force under `rec/`, those before it kept under `rvs/`.
//!
//! Versions are contiguous. Nothing is overwritten: a record that should not have been stays, and says so. Whoever
//! writes a version names the one it replaces, so that two corrections cannot pass each other unseen.
//! Tested by `tests/versions.rs` and `tests/machines.rs`.

use epione_types::call::{MarkEnteredInError, SupersedeRecord};
use epione_types::codes::{RecordStatus, Refusal};
use epione_types::id::{DeviceId, OrgId, PractitionerId};

use super::{MACHINE, Record, changed, is_well_formed, may_stand_in_clear, permit_write, writer};
use crate::host::{Done, Host, require};
use crate::identity::patients;
use crate::keys;
use crate::machine::{Actor, Verb};

/// Most versions of one record: erasing takes them all at once.
pub const MAX_VERSIONS: u32 = 256;

/// The record, and its writer, who is at the custodian and means this version.
fn open(
    host: &Host<'_, '_>,
    id: epione_types::id::RecordId,
    version: u32,
) -> Done<(Record, (OrgId, PractitionerId), Option<DeviceId>)> {
    let (organisation, author, device) = writer(host)?;
    let record = host.get(&keys::record(id))?.ok_or(Refusal::Unknown)?;
    patients::known(host, record.patient)?;
    require(record.custodian == organisation, Refusal::NotAuthorised)?;
    require(!record.is_psychotherapy_note() || record.author == author, Refusal::WriteDenied)?;
    require(record.version == version, Refusal::VersionConflict)?;
    Ok((record, (organisation, author), device))
}

/// A new version in place of the present one.
pub(crate) fn supersede(host: &mut Host<'_, '_>, call: &SupersedeRecord) -> Done {
    require(is_well_formed(&call.labels, call.category, call.body.size_class), Refusal::InvalidField)?;
    require(may_stand_in_clear(host.policy(), &call.labels), Refusal::SensitiveInClear)?;
    let (before, writer, device) = open(host, call.record, call.version)?;
    let status = MACHINE.step(Some(before.status), Verb::Supersede, Actor::Writer)?;
    require(before.version < MAX_VERSIONS, Refusal::TooMany)?;
    let next = Record {
        author: writer.1,
        role: call.role,
        status,
        version: before.version.saturating_add(1),
        category: call.category,
        labels: call.labels.clone(),
        service_month: call.service_month,
        minor_consented: call.minor_consented,
        commitment: call.body.commitment,
        ciphertext_hash: call.body.ciphertext_hash,
        size_class: call.body.size_class,
        pointer: call.body.pointer,
        registered_at: host.now(),
        ..before.clone()
    };
    // Both must be theirs to write: the one that goes, and the one that comes.
    let going = Record { role: call.role, ..before };
    permit_write(host, &going, writer)?;
    if going.labels != next.labels || going.category != next.category {
        permit_write(host, &next, writer)?;
    }
    let before = Record { role: before.role, status: RecordStatus::Superseded, ..going };
    host.put(&keys::record_version(call.record, before.version), &before);
    host.put(&keys::record(call.record), &next);
    if let Some(device) = device {
        host.put(&keys::written_by_device(call.record, next.version), &device);
    }
    changed(host, &next);
    Ok(())
}

/// A record that should not have been.
pub(crate) fn mark_entered_in_error(host: &mut Host<'_, '_>, call: &MarkEnteredInError) -> Done {
    let (mut record, writer, _) = open(host, call.record, call.version)?;
    let status = MACHINE.step(Some(record.status), Verb::MarkError, Actor::Writer)?;
    permit_write(host, &Record { role: call.role, ..record.clone() }, writer)?;
    record.status = status;
    host.put(&keys::record(call.record), &record);
    changed(host, &record);
    Ok(())
}
