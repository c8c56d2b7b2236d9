//! Who is who: organisations, practitioners, patients, representatives, and the key that each signs with.
//!
//! ```text
//! key/{public key} ─▶ Member ─▶ organisations  practitioners  devices  patients  representation
//!                               rotation and recovery of keys
//! ```
//!
//! Who acts is never a field of a call. It follows from the key that sent it, and the organisation from that
//! key's registration. A key belongs to one member for ever. Whoever is enrolled with a key signs with it too
//! (proof of possession), so nobody can be enrolled under another's key.
//! No name, licence number, birth date or address is ever here: pseudonyms and salted commitments.
//! Tested by `tests/identity.rs`.

pub mod devices;
pub mod organisations;
pub mod patients;
pub mod practitioners;
pub mod recovery;
pub mod representation;
pub(crate) mod rotation;

use epione_types::PublicKey;
use epione_types::call::{MAX_LIST, Person};
pub use epione_types::codes::{
    DeviceStatus, OrganisationStatus, PatientStatus, PractitionerStatus, RepresentationKind,
};
use epione_types::codes::{Refusal, Role};
use epione_types::id::{DeviceId, LinkId, OrgId, PatientId, PractitionerId, RepresentativeId};
use serde::{Deserialize, Serialize};

pub use devices::Device;
pub use organisations::Organisation;
pub use patients::Patient;
pub use practitioners::Practitioner;
pub use representation::Representation;

use crate::host::{Done, Host, State, StateError, get, require};
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
    /// A device of an organisation.
    Device(OrgId, DeviceId),
    /// Nobody any more: a key that was replaced stays taken.
    Retired,
}

impl Member {
    /// As a grant would name them; nobody grants to an administrator or a guest in person.
    #[must_use]
    pub const fn person(self) -> Option<Person> {
        match self {
            Self::Practitioner(organisation, id) => Some(Person::Practitioner(organisation, id)),
            Self::Patient(id) => Some(Person::Patient(id)),
            Self::Representative(id) => Some(Person::Representative(id)),
            Self::Admin(_) | Self::Guest(_) | Self::Device(..) | Self::Retired => None,
        }
    }

    /// The organisation they act in, if any.
    #[must_use]
    pub const fn organisation(self) -> Option<OrgId> {
        match self {
            Self::Admin(organisation)
            | Self::Practitioner(organisation, _)
            | Self::Device(organisation, _) => Some(organisation),
            Self::Patient(_) | Self::Representative(_) | Self::Guest(_) | Self::Retired => None,
        }
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
    Ok(get(state, &keys::member(key))?.filter(|member| *member != Member::Retired))
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
    organisations::active(host, organisation)?;
    let practitioner = host.get(&keys::practitioner(organisation, id))?.ok_or(Refusal::NotAuthorised)?;
    let at_work =
        practitioner.status == PractitionerStatus::Active && practitioner.is_credentialed(host.now());
    require(at_work, Refusal::NotAuthorised)?;
    Ok(practitioner)
}

/// The key is strong, its owner signed, and it is nobody else's.
pub(crate) fn enrol_key(host: &mut Host<'_, '_>, key: &PublicKey, member: Member) -> Done {
    require(host.signed_by(key) && !key.is_weak(), Refusal::KeyProof)?;
    require(!host.has(&keys::member(key))?, Refusal::KeyInUse)?;
    host.put(&keys::member(key), &member);
    Ok(())
}

/// `key` takes the place of `old`, which nobody holds any more and nobody else ever will.
fn replace_key(host: &mut Host<'_, '_>, old: &PublicKey, key: &PublicKey, member: Member) -> Done {
    enrol_key(host, key, member)?;
    host.put(&keys::member(old), &Member::Retired);
    Ok(())
}

/// A list short enough, and without repetition.
pub(crate) fn is_distinct<T: Ord>(list: &[T]) -> bool {
    list.len() <= MAX_LIST && list.iter().collect::<std::collections::BTreeSet<_>>().len() == list.len()
}
