//! Practitioners: enrolled, renewed, suspended and retired by their employer's admins.
//!
//! A suspension takes effect with the block: every later signature of the key is void. Tested by `tests/identity.rs`
//! and `tests/machines.rs`.

use epione_types::call::{RegisterPractitioner, SetPractitionerStatus, UpdatePractitioner};
use epione_types::codes::{Capability, PractitionerStatus, Refusal, Role};
use epione_types::event::Event;
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{Member, is_distinct, is_lay, organisations};
use crate::host::{Done, Host, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::{identity, keys};

use PractitionerStatus::{Active, Retired, Suspended};

/// What may be done to a practitioner.
pub const MACHINE: Machine<PractitionerStatus> = Machine {
    entity: "Practitioner",
    note: "That the credential has lapsed is derived from time; renewing it is an update.",
    rows: ROWS,
};

const ROWS: &[Row<PractitionerStatus>] = &[
    row(None, Verb::Register, Active, &[Actor::Admin]),
    row(Some(Active), Verb::Update, Active, &[Actor::Admin]),
    row(Some(Suspended), Verb::Update, Suspended, &[Actor::Admin]),
    row(Some(Active), Verb::RotateKey, Active, &[Actor::Owner]),
    row(Some(Active), Verb::Suspend, Suspended, &[Actor::Admin]),
    row(Some(Suspended), Verb::Resume, Active, &[Actor::Admin]),
    row(Some(Active), Verb::Retire, Retired, &[Actor::Admin]),
    row(Some(Suspended), Verb::Retire, Retired, &[Actor::Admin]),
];

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

/// Sent by an admin, signed by the admin threshold of the same organisation and by the practitioner's key.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterPractitioner) -> Done {
    check(&call.roles, &call.capabilities)?;
    let organisation = organisations::of_admin(host)?;
    let key = keys::practitioner(organisation, call.practitioner);
    require(!host.has(&key)?, Refusal::PractitionerExists)?;
    identity::enrol_key(host, &call.key, Member::Practitioner(organisation, call.practitioner))?;

    let practitioner = Practitioner {
        key: call.key,
        roles: sorted(&call.roles),
        capabilities: sorted(&call.capabilities),
        credential_until: call.credential_until,
        status: MACHINE.step(None, Verb::Register, Actor::Admin)?,
        identity_commitment: call.identity_commitment,
        registered_at: host.now(),
    };
    host.put(&key, &practitioner);
    host.emit(Event::PractitionerRegistered { organisation, practitioner: call.practitioner });
    Ok(())
}

/// Sent by an admin, signed by the admin threshold, and by the new key if there is one.
pub(crate) fn update(host: &mut Host<'_, '_>, call: &UpdatePractitioner) -> Done {
    check(&call.roles, &call.capabilities)?;
    let organisation = organisations::of_admin(host)?;
    let key = keys::practitioner(organisation, call.practitioner);
    let mut practitioner = host.get(&key)?.ok_or(Refusal::Unknown)?;
    practitioner.status = MACHINE.step(Some(practitioner.status), Verb::Update, Actor::Admin)?;
    if let Some(new) = &call.key {
        let member = Member::Practitioner(organisation, call.practitioner);
        identity::replace_key(host, &practitioner.key, new, member)?;
        practitioner.key = *new;
        host.emit(Event::KeyRotated { organisation: Some(organisation), key: *new });
    }
    practitioner.roles = sorted(&call.roles);
    practitioner.capabilities = sorted(&call.capabilities);
    practitioner.credential_until = call.credential_until;
    host.put(&key, &practitioner);
    let (practitioner, status) = (call.practitioner, practitioner.status);
    host.emit(Event::PractitionerChanged { organisation, practitioner, status });
    Ok(())
}

/// Sent by an admin, signed by the admin threshold.
pub(crate) fn set_status(host: &mut Host<'_, '_>, call: &SetPractitionerStatus) -> Done {
    let organisation = organisations::of_admin(host)?;
    let key = keys::practitioner(organisation, call.practitioner);
    let mut practitioner = host.get(&key)?.ok_or(Refusal::Unknown)?;
    let verb = match call.status {
        Active => Verb::Resume,
        Suspended => Verb::Suspend,
        Retired => Verb::Retire,
    };
    practitioner.status = MACHINE.step(Some(practitioner.status), verb, Actor::Admin)?;
    host.put(&key, &practitioner);
    let (practitioner, status) = (call.practitioner, practitioner.status);
    host.emit(Event::PractitionerChanged { organisation, practitioner, status });
    Ok(())
}

/// Some roles, none of a patient's; nothing twice.
fn check(roles: &[Role], capabilities: &[Capability]) -> Done {
    let distinct = is_distinct(roles) && is_distinct(capabilities);
    require(distinct && !roles.is_empty(), Refusal::InvalidField)?;
    require(!roles.iter().copied().any(is_lay), Refusal::InvalidField)
}

fn sorted<T: Ord + Copy>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list
}
