//! Calls on who is who.

use serde::{Deserialize, Serialize};

use super::Person;
use crate::codes::{
    Capability, Category, DeviceKind, OrganisationStatus, PractitionerStatus, RepresentationKind, Role,
};
use crate::hash::Hash;
use crate::id::{DeviceId, OrgId, PatientId, PractitionerId, TimestampMs};
use crate::sign::PublicKey;

/// Suspends, resumes or ends an organisation. Signed by the admins of as many other validators' organisations as the
/// policy says; leaving also by its own admins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOrganisationStatus {
    /// Which.
    pub organisation: OrgId,
    /// Where it is to stand.
    pub status: OrganisationStatus,
}

/// Renews a practitioner: what is not given again is over. Signed by the organisation's admin threshold, and by the
/// new key if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePractitioner {
    /// Who.
    pub practitioner: PractitionerId,
    /// In which roles from now on.
    pub roles: Vec<Role>,
    /// Beyond the roles.
    pub capabilities: Vec<Capability>,
    /// End of the credential, exclusive; none if unlimited.
    pub credential_until: Option<TimestampMs>,
    /// In place of a lost key; none keeps the present one.
    pub key: Option<PublicKey>,
}

/// Suspends, resumes or retires a practitioner. Signed by the organisation's admin threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPractitionerStatus {
    /// Who.
    pub practitioner: PractitionerId,
    /// Where they are to stand.
    pub status: PractitionerStatus,
}

/// A device that writes records in a practitioner's name. Signed by the organisation's admin threshold and the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterDevice {
    /// Id within the organisation.
    pub device: DeviceId,
    /// Its kind.
    pub kind: DeviceKind,
    /// Signs for it.
    pub key: PublicKey,
    /// Answers for what it writes.
    pub practitioner: PractitionerId,
}

/// The end of a device. Signed by the organisation's admin threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeDevice {
    /// Which.
    pub device: DeviceId,
}

/// One more organisation cares. Sent by a member of it, signed by the patient's key; for a patient in custody by the
/// document's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCare {
    /// Who is cared for.
    pub patient: PatientId,
    /// Hash of the signed consent, for a patient in custody.
    pub document: Option<Hash>,
}

/// An organisation cares no more. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlinkCare {
    /// Who was cared for.
    pub patient: PatientId,
    /// By whom.
    pub organisation: OrgId,
    /// Hash of the signed wish, when an organisation attests it.
    pub document: Option<Hash>,
}

/// The end of custody. Sent by a member of a caring organisation who saw the patient, signed by the patient's new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// Who.
    pub patient: PatientId,
    /// The own key from now on.
    pub key: PublicKey,
    /// Hash of the document by which the patient was identified.
    pub document: Hash,
}

/// The patient died. Sent by a member of a caring organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkDeceased {
    /// Who.
    pub patient: PatientId,
    /// Hash of the certificate.
    pub document: Hash,
}

/// The end of a patient whose records are erased. Sent by a member of a caring organisation, in the patient's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasePatient {
    /// Who.
    pub patient: PatientId,
    /// Hash of the signed request, when the patient does not sign.
    pub document: Option<Hash>,
}

/// Somebody may act for a patient. Sent by a member of a caring organisation who saw the evidence; signed by the key
/// of a new representative, and for a power of attorney by the patient's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRepresentation {
    /// For whom.
    pub patient: PatientId,
    /// Who.
    pub person: Person,
    /// The key of a representative whom the ledger does not know yet.
    pub key: Option<PublicKey>,
    /// Why.
    pub kind: RepresentationKind,
    /// From, inclusive; none: from now.
    pub from: Option<TimestampMs>,
    /// Until, exclusive; a parent's ends at majority.
    pub until: Option<TimestampMs>,
    /// From when the minor has privacy before a parent, inclusive.
    pub minor_privacy_from: Option<TimestampMs>,
    /// Only these kinds of record; empty: all.
    pub categories: Vec<Category>,
    /// Salted commitment to the evidence.
    pub evidence: Hash,
}

/// The end of a representation. Signed by the patient (a power of attorney), by the representative, or by a member of
/// a caring organisation with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRepresentation {
    /// For whom.
    pub patient: PatientId,
    /// Who.
    pub person: Person,
    /// Hash of the document, when an organisation attests it.
    pub document: Option<Hash>,
}
