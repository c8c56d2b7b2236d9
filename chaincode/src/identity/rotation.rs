//! A member signs with another key from now on. Both sign for it; the old one is nobody's any more.
//!
//! Tested by `tests/keys.rs` and `tests/machines.rs`.

use epione_types::call::RotateKey;
use epione_types::codes::{PatientChange, Refusal};
use epione_types::event::Event;

use super::patients::{self, KeyBasis};
use super::{Member, devices, organisations, practitioners, representation};
use crate::host::{Done, Host, require};
use crate::machine::{Actor, Verb};
use crate::{identity, keys};

/// Sent with the old key, signed by the new one too.
pub(crate) fn rotate(host: &mut Host<'_, '_>, call: &RotateKey) -> Done {
    let member = identity::sender(host)?;
    let old = *host.sender();
    identity::replace_key(host, &old, &call.key, member)?;
    match member {
        Member::Admin(id) => {
            let entry = keys::organisation(id);
            let mut organisation = host.get(&entry)?.ok_or(Refusal::Unknown)?;
            organisations::MACHINE.step(Some(organisation.status), Verb::RotateKey, Actor::Owner)?;
            for admin in organisation.admins.iter_mut().filter(|admin| **admin == old) {
                *admin = call.key;
            }
            host.put(&entry, &organisation);
        }
        Member::Practitioner(organisation, id) => {
            let entry = keys::practitioner(organisation, id);
            let mut practitioner = host.get(&entry)?.ok_or(Refusal::Unknown)?;
            practitioners::MACHINE.step(Some(practitioner.status), Verb::RotateKey, Actor::Owner)?;
            practitioner.key = call.key;
            host.put(&entry, &practitioner);
        }
        Member::Device(organisation, id) => {
            let entry = keys::device(organisation, id);
            let mut device = host.get(&entry)?.ok_or(Refusal::Unknown)?;
            devices::MACHINE.step(Some(device.status), Verb::RotateKey, Actor::Owner)?;
            device.key = call.key;
            host.put(&entry, &device);
        }
        Member::Patient(id) => {
            let patient = patients::known(host, id)?;
            patients::MACHINE.step(Some(patient.status), Verb::RotateKey, Actor::Owner)?;
            patients::set_key(host, id, patient, call.key, KeyBasis::Rotated);
            let change = PatientChange::KeyRotated;
            host.emit(Event::PatientChanged { patient: id, change, organisation: None });
            return Ok(());
        }
        Member::Representative(id) => {
            let before = representation::rotate(host, id, call.key)?;
            require(before == old, Refusal::Unknown)?;
        }
        // A link's key is derived from its secret.
        Member::Guest(_) | Member::Retired => return Err(Refusal::NotAuthorised.into()),
    }
    host.emit(Event::KeyRotated { organisation: member.organisation(), key: call.key });
    Ok(())
}
