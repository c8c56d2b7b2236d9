//! Devices: they write records, and nothing else, in the name of a practitioner who answers for them.
//!
//! Tested by `tests/identity.rs`, `tests/records.rs` and `tests/machines.rs`.

use epione_types::call::{RegisterDevice, RevokeDevice};
use epione_types::codes::{DeviceKind, DeviceStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::PractitionerId;
use epione_types::{PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{Member, organisations};
use crate::host::{Done, Host, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::{identity, keys};

/// What may be done to a device.
pub const MACHINE: Machine<DeviceStatus> = Machine { entity: "Device", note: "", rows: ROWS };

const ROWS: &[Row<DeviceStatus>] = &[
    row(None, Verb::Register, DeviceStatus::Active, &[Actor::Admin]),
    row(Some(DeviceStatus::Active), Verb::RotateKey, DeviceStatus::Active, &[Actor::Owner]),
    row(Some(DeviceStatus::Active), Verb::Revoke, DeviceStatus::Revoked, &[Actor::Admin]),
];

/// A device of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its kind.
    pub kind: DeviceKind,
    /// Signs for it.
    pub key: PublicKey,
    /// Where it stands.
    pub status: DeviceStatus,
    /// Answers for what it writes.
    pub practitioner: PractitionerId,
    /// Since when.
    pub registered_at: TimestampMs,
}

/// Sent by an admin, signed by the admin threshold and by the device.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterDevice) -> Done {
    let organisation = organisations::of_admin(host)?;
    let key = keys::device(organisation, call.device);
    require(!host.has(&key)?, Refusal::Exists)?;
    identity::practitioner_at_work(host, organisation, call.practitioner)?;
    identity::enrol_key(host, &call.key, Member::Device(organisation, call.device))?;
    let device = Device {
        kind: call.kind,
        key: call.key,
        status: MACHINE.step(None, Verb::Register, Actor::Admin)?,
        practitioner: call.practitioner,
        registered_at: host.now(),
    };
    host.put(&key, &device);
    host.emit(Event::DeviceChanged { organisation, device: call.device, status: device.status });
    Ok(())
}

/// Sent by an admin, signed by the admin threshold.
pub(crate) fn revoke(host: &mut Host<'_, '_>, call: &RevokeDevice) -> Done {
    let organisation = organisations::of_admin(host)?;
    let key = keys::device(organisation, call.device);
    let mut device = host.get(&key)?.ok_or(Refusal::Unknown)?;
    device.status = MACHINE.step(Some(device.status), Verb::Revoke, Actor::Admin)?;
    host.put(&key, &device);
    host.emit(Event::DeviceChanged { organisation, device: call.device, status: device.status });
    Ok(())
}
