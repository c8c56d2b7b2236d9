//! Calls on consent beyond single grants, and on emergencies and notices.

use serde::{Deserialize, Serialize};

use super::Rule;
use crate::codes::Verdict;
use crate::hash::Hash;
use crate::id::{AccessRequestId, GrantId, Height, OrgId, PatientId, PractitionerId};

/// Nobody may anything: a denial to everybody, of every purpose and action; and the end of every permit. Signed by
/// whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOptOut {
    /// Whose records.
    pub patient: PatientId,
    /// Id of the denial: random.
    pub grant: GrantId,
    /// Leaves standing what was permitted: a permit that is narrower than the denial goes on opening.
    pub keep_permits: bool,
    /// Hash of the signed wish, when an organisation attests it.
    pub document: Option<Hash>,
}

/// A practitioner asks the patient for a grant. Signed by the requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestAccess {
    /// Random.
    pub request: AccessRequestId,
    /// Whose records.
    pub patient: PatientId,
    /// The grant wanted: to the requester, or to the requester's organisation.
    pub rule: Rule,
    /// Salted commitment to a message, which is kept off the ledger.
    pub message: Option<Hash>,
    /// Until when it may be answered, exclusive.
    pub expires_at: crate::id::TimestampMs,
}

/// The patient grants what was asked for, or less. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveAccessRequest {
    /// Whose records.
    pub patient: PatientId,
    /// Which request.
    pub request: AccessRequestId,
    /// Id of the grant: random.
    pub grant: GrantId,
    /// The grant: within what was asked for.
    pub rule: Rule,
}

/// The patient says no. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectAccessRequest {
    /// Whose records.
    pub patient: PatientId,
    /// Which request.
    pub request: AccessRequestId,
    /// Hash of the signed answer, when an organisation attests it.
    pub document: Option<Hash>,
}

/// The requester asks no more. Signed by the requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawAccessRequest {
    /// Whose records.
    pub patient: PatientId,
    /// Which request.
    pub request: AccessRequestId,
}

/// What was found of an emergency access. Signed by a privacy officer other than its holder; misuse by one of an
/// organisation that cares for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewOverride {
    /// Whose records.
    pub patient: PatientId,
    /// The block that opened it.
    pub height: Height,
    /// Its holder's organisation.
    pub organisation: OrgId,
    /// Its holder.
    pub practitioner: PractitionerId,
    /// What was found.
    pub verdict: Verdict,
    /// Salted commitment to the written findings.
    pub text_commitment: Option<Hash>,
}

/// The patient has seen a notice. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeNotice {
    /// Whose.
    pub patient: PatientId,
    /// The block that gave it.
    pub height: Height,
    /// Its place there.
    pub index: u32,
    /// Hash of the letter, when an organisation attests it.
    pub document: Option<Hash>,
}
