//! Calls on records, reports and guest links.

use serde::{Deserialize, Serialize};

use super::{Grantee, Month, RegisterRecord};
use crate::codec;
use crate::codes::{Category, Label, Role};
use crate::hash::{Domain, Hash};
use crate::id::{GrantId, LinkId, OpaqueRef, PatientId, RecordId, TimestampMs};
use crate::sign::PublicKey;

/// Where a version's body is, and what it commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Salted commitment to the body.
    pub commitment: Hash,
    /// Hash of the ciphertext.
    pub ciphertext_hash: Hash,
    /// The ciphertext has at most 2^size_class bytes: 12 (4 KiB) to 40.
    pub size_class: u8,
    /// Where the custodian keeps it; resolved by the custodian alone.
    pub pointer: OpaqueRef,
}

/// A new version of a record, in place of the present one. Signed by its author at the custodian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupersedeRecord {
    /// Which.
    pub record: RecordId,
    /// The version that it replaces.
    pub version: u32,
    /// In which capacity the author writes.
    pub role: Role,
    /// Kind of record.
    pub category: Category,
    /// Sensitivity labels, distinct, ascending.
    pub labels: Vec<Label>,
    /// Month of the service.
    pub service_month: Month,
    /// Its body.
    pub body: Body,
    /// A minor consented alone to the service.
    pub minor_consented: bool,
}

/// A record that should not have been: it stays, and says so. Signed as a new version is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkEnteredInError {
    /// Which.
    pub record: RecordId,
    /// The version meant.
    pub version: u32,
    /// In which capacity the author writes.
    pub role: Role,
}

/// The end of a record in all its versions, for ever. Sent by a privacy officer or registrar of the custodian, in the
/// patient's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseRecord {
    /// Which.
    pub record: RecordId,
    /// Hash of the signed request, when the patient does not sign.
    pub document: Option<Hash>,
}

/// Until when law or a dispute keeps a record from being erased. Sent by a privacy officer or registrar of the custodian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRetention {
    /// Which.
    pub record: RecordId,
    /// Exclusive; none lifts the hold.
    pub until: Option<TimestampMs>,
}

/// A report that its author works on: a record that is a draft. Signed by the author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftReport {
    /// The record as it stands.
    pub record: RegisterRecord,
}

/// One who is to see a report, by a grant that its approval makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    /// Id of the grant: random.
    pub grant: GrantId,
    /// Who.
    pub to: Grantee,
    /// Until when, exclusive.
    pub until: Option<TimestampMs>,
}

/// What the patient signs of a list of viewers: the tagged hash of its encoding.
#[must_use]
pub fn viewers_hash(viewers: &[Viewer]) -> Hash {
    Domain::VIEWERS.hash(&codec::encode(&viewers))
}

/// A report goes to the patient, or once more with changes. Signed by its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitReport {
    /// Which.
    pub record: RecordId,
    /// Its body.
    pub body: Body,
    /// Who is to see it.
    pub viewers: Vec<Viewer>,
}

/// The patient approves a report as it is, for exactly these viewers. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveReport {
    /// Which.
    pub record: RecordId,
    /// The body that was approved.
    pub commitment: Hash,
    /// [`viewers_hash`] of the viewers that were approved.
    pub viewers_hash: Hash,
    /// Hash of the signed approval, when an organisation attests it or a strict label demands it.
    pub document: Option<Hash>,
}

/// The patient wants a report changed. Signed by whoever speaks for the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestChanges {
    /// Which.
    pub record: RecordId,
    /// Salted commitment to what is to change.
    pub text_commitment: Option<Hash>,
    /// Hash of the signed wish, when an organisation attests it.
    pub document: Option<Hash>,
}

/// A report is taken back. Signed by its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawReport {
    /// Which.
    pub record: RecordId,
}

/// A report that the patient has not reviewed in time comes into force, without viewers. Signed by its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorUnreviewed {
    /// Which.
    pub record: RecordId,
}

/// A link that opens one record to whoever holds its key. Signed by the patient or a representative, and by the link's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGuestLink {
    /// Random.
    pub link: LinkId,
    /// Whose record.
    pub patient: PatientId,
    /// Which.
    pub record: RecordId,
    /// Derived from the link's secret.
    pub key: PublicKey,
    /// Id of the grant that it makes: random.
    pub grant: GrantId,
    /// Until when, exclusive.
    pub until: TimestampMs,
    /// How often it may be used.
    pub max_uses: u32,
    /// Hash of the signed consent, when a strict label demands it.
    pub document: Option<Hash>,
}

/// The end of a guest link. Signed by the patient or a representative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseGuestLink {
    /// Which.
    pub link: LinkId,
}
