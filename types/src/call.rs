//! What a transaction asks for: the typed body that the protobuf bytes mean.
//!
//! No field holds free text: ids, codes, hashes, months, numbers. Who acts is never a field; it
//! follows from the keys that signed (architecture: the organisation comes from the signer's registration).

mod consent;
mod governance;
mod identity;
mod keys;
mod records;
pub mod refused;

use serde::{Deserialize, Serialize};

pub use consent::*;
pub use governance::*;
pub use identity::*;
pub use keys::*;
pub use records::*;

use crate::codes::{Action, Capability, Category, EmergencyReason, Label, OrganisationKind, Purpose, Role};
use crate::hash::Hash;
use crate::id::{
    ChainId, GrantId, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RequestId, StudyId,
    TimestampMs,
};
use crate::sign::PublicKey;

/// Most admin keys of an organisation.
pub const MAX_ADMINS: usize = 8;
/// Most entries in any list of a grant or record.
pub const MAX_LIST: usize = 64;

/// A decoded transaction body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxBody {
    /// The chain it is for.
    pub chain_id: ChainId,
    /// The key that sends it, and signs first.
    pub sender: PublicKey,
    /// The keys that sign after it, in this order: nobody can drop a signature, and with it burn the id.
    pub co_signers: Vec<PublicKey>,
    /// Unique per sender until `expires_at`.
    pub request_id: RequestId,
    /// Last block time at which it may still commit.
    pub expires_at: TimestampMs,
    /// What is asked.
    pub call: Call,
}

/// Every chaincode call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// identity: a new organisation.
    RegisterOrganisation(RegisterOrganisation),
    /// identity: a new practitioner of the signing admins' organisation.
    RegisterPractitioner(RegisterPractitioner),
    /// identity: a new patient, cared for by the signer's organisation.
    RegisterPatient(RegisterPatient),
    /// records: a new record, authored by the sender, kept by the sender's organisation.
    RegisterRecord(RegisterRecord),
    /// consent: a grant or a denial.
    CreateGrant(CreateGrant),
    /// consent: end of a grant or denial.
    RevokeGrant(RevokeGrant),
    /// access: decide, count the use, leave the trace.
    RecordAccess(RecordAccess),
    /// identity: an organisation is suspended, resumed, or leaves.
    SetOrganisationStatus(SetOrganisationStatus),
    /// identity: a practitioner's roles, credential or key anew.
    UpdatePractitioner(UpdatePractitioner),
    /// identity: a practitioner is suspended, resumed, or leaves.
    SetPractitionerStatus(SetPractitionerStatus),
    /// identity: a new device.
    RegisterDevice(RegisterDevice),
    /// identity: the end of a device.
    RevokeDevice(RevokeDevice),
    /// identity: an organisation begins to care for a patient.
    LinkCare(LinkCare),
    /// identity: an organisation ceases to care.
    UnlinkCare(UnlinkCare),
    /// identity: a patient in custody takes an own key.
    TakeOver(TakeOver),
    /// identity: a patient died.
    MarkDeceased(MarkDeceased),
    /// identity: the end of a patient.
    ErasePatient(ErasePatient),
    /// identity: somebody may act for a patient.
    AddRepresentation(AddRepresentation),
    /// identity: somebody may no more.
    RevokeRepresentation(RevokeRepresentation),
    /// records: a new version.
    SupersedeRecord(SupersedeRecord),
    /// records: a record that should not have been.
    MarkEnteredInError(MarkEnteredInError),
    /// records: the end of a record.
    EraseRecord(EraseRecord),
    /// records: until when a record must be kept.
    SetRetention(SetRetention),
    /// consent: nobody may anything.
    SetOptOut(SetOptOut),
    /// consent: a practitioner asks for a grant.
    RequestAccess(RequestAccess),
    /// consent: the patient grants it.
    ApproveAccessRequest(ApproveAccessRequest),
    /// consent: the patient does not.
    RejectAccessRequest(RejectAccessRequest),
    /// consent: the requester asks no more.
    WithdrawAccessRequest(WithdrawAccessRequest),
    /// access: an emergency access is reviewed.
    ReviewOverride(ReviewOverride),
    /// access: the patient has seen a notice.
    AcknowledgeNotice(AcknowledgeNotice),
    /// reports: a report begins.
    DraftReport(DraftReport),
    /// reports: a report goes to the patient.
    SubmitReport(SubmitReport),
    /// reports: the patient approves it.
    ApproveReport(ApproveReport),
    /// reports: the patient wants it changed.
    RequestChanges(RequestChanges),
    /// reports: the author takes it back.
    WithdrawReport(WithdrawReport),
    /// reports: a report comes into force without review.
    AnchorUnreviewed(AnchorUnreviewed),
    /// links: a link to one record.
    CreateGuestLink(CreateGuestLink),
    /// links: the end of a link.
    CloseGuestLink(CloseGuestLink),
    /// keys: the sender signs with another key.
    RotateKey(RotateKey),
    /// keys: who may restore a patient's key.
    SetGuardians(SetGuardians),
    /// keys: a guardian begins to.
    StartRecovery(StartRecovery),
    /// keys: one more guardian signs.
    ApproveRecovery(ApproveRecovery),
    /// keys: the old key stops it.
    CancelRecovery(CancelRecovery),
    /// keys: the new key comes into force.
    FinishRecovery(FinishRecovery),
    /// governance: something is put to the vote.
    Propose(Propose),
    /// governance: an organisation votes.
    Vote(Vote),
    /// governance: a proposal is taken back.
    WithdrawProposal(WithdrawProposal),
    /// See [`ConfirmReadiness`].
    ConfirmReadiness(ConfirmReadiness),
}

impl Call {
    /// As the `.proto` names it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RegisterOrganisation(_) => "register_org",
            Self::RegisterPractitioner(_) => "register_practitioner",
            Self::RegisterPatient(_) => "register_patient",
            Self::RegisterRecord(_) => "register_record",
            Self::CreateGrant(_) => "create_grant",
            Self::RevokeGrant(_) => "revoke_grant",
            Self::RecordAccess(_) => "record_access",
            Self::SetOrganisationStatus(_) => "set_org_status",
            Self::UpdatePractitioner(_) => "update_practitioner",
            Self::SetPractitionerStatus(_) => "set_practitioner_status",
            Self::RegisterDevice(_) => "register_device",
            Self::RevokeDevice(_) => "revoke_device",
            Self::LinkCare(_) => "link_care",
            Self::UnlinkCare(_) => "unlink_care",
            Self::TakeOver(_) => "take_over",
            Self::MarkDeceased(_) => "mark_deceased",
            Self::ErasePatient(_) => "erase_patient",
            Self::AddRepresentation(_) => "add_representation",
            Self::RevokeRepresentation(_) => "revoke_representation",
            Self::SupersedeRecord(_) => "supersede_record",
            Self::MarkEnteredInError(_) => "mark_entered_in_error",
            Self::EraseRecord(_) => "erase_record",
            Self::SetRetention(_) => "set_retention",
            Self::SetOptOut(_) => "set_opt_out",
            Self::RequestAccess(_) => "request_access",
            Self::ApproveAccessRequest(_) => "approve_access_request",
            Self::RejectAccessRequest(_) => "reject_access_request",
            Self::WithdrawAccessRequest(_) => "withdraw_access_request",
            Self::ReviewOverride(_) => "review_override",
            Self::AcknowledgeNotice(_) => "acknowledge_notice",
            Self::DraftReport(_) => "draft_report",
            Self::SubmitReport(_) => "submit_report",
            Self::ApproveReport(_) => "approve_report",
            Self::RequestChanges(_) => "request_changes",
            Self::WithdrawReport(_) => "withdraw_report",
            Self::AnchorUnreviewed(_) => "anchor_unreviewed",
            Self::CreateGuestLink(_) => "create_guest_link",
            Self::CloseGuestLink(_) => "close_guest_link",
            Self::RotateKey(_) => "rotate_key",
            Self::SetGuardians(_) => "set_guardians",
            Self::StartRecovery(_) => "start_recovery",
            Self::ApproveRecovery(_) => "approve_recovery",
            Self::CancelRecovery(_) => "cancel_recovery",
            Self::FinishRecovery(_) => "finish_recovery",
            Self::Propose(_) => "propose",
            Self::Vote(_) => "vote",
            Self::WithdrawProposal(_) => "withdraw_proposal",
            Self::ConfirmReadiness(_) => "confirm_readiness",
        }
    }
}

/// Signed by the admins of as many validators' organisations as the policy says, and by the new admins' threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterOrganisation {
    /// Its id.
    pub organisation: OrgId,
    /// Its kind.
    pub kind: OrganisationKind,
    /// Admin keys, 1 to 8, distinct.
    pub admins: Vec<PublicKey>,
    /// How many of them must sign together.
    pub admin_threshold: u8,
    /// May its staff break the glass?
    pub break_glass: bool,
}

impl RegisterOrganisation {
    /// Admin keys and threshold that can work.
    ///
    /// # Errors
    /// Names the field, the limit and the value.
    pub fn check(&self) -> Result<(), String> {
        let admins = self.admins.len();
        if !(1..=MAX_ADMINS).contains(&admins) {
            return Err(format!("{admins} admins; there must be 1 to {MAX_ADMINS}"));
        }
        if !(1..=admins).contains(&usize::from(self.admin_threshold)) {
            return Err(format!("admin_threshold is {}; 1 to {admins}", self.admin_threshold));
        }
        for (i, key) in self.admins.iter().enumerate() {
            if key.is_weak() {
                return Err(format!("admin {i}: weak key"));
            }
            if self.admins.iter().take(i).any(|other| other == key) {
                return Err(format!("admin {i}: key appears twice"));
            }
        }
        Ok(())
    }
}

/// Signed by the organisation's admin threshold and by the practitioner's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterPractitioner {
    /// Id within the organisation.
    pub practitioner: PractitionerId,
    /// Signs for the practitioner.
    pub key: PublicKey,
    /// In which roles.
    pub roles: Vec<Role>,
    /// Beyond the roles.
    pub capabilities: Vec<Capability>,
    /// End of the credential, exclusive; none if unlimited.
    pub credential_until: Option<TimestampMs>,
    /// Salted commitment to name and licence, which are kept off the ledger.
    pub identity_commitment: Hash,
}

/// Signed by a registrar, a clinician or the admins of the caring organisation, and by the patient's key if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterPatient {
    /// Pseudonym: random.
    pub patient: PatientId,
    /// The patient's own key; none for a patient whose organisation keeps custody.
    pub key: Option<PublicKey>,
    /// Hash of the privacy notice that was given.
    pub notice_hash: Hash,
}

/// Signed by the author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRecord {
    /// Random.
    pub record: RecordId,
    /// Whose.
    pub patient: PatientId,
    /// In which capacity the author writes.
    pub role: Role,
    /// Kind of record.
    pub category: Category,
    /// Sensitivity labels, distinct, ascending.
    pub labels: Vec<Label>,
    /// Month of the service.
    pub service_month: Month,
    /// Salted commitment to the body.
    pub commitment: Hash,
    /// Hash of the ciphertext.
    pub ciphertext_hash: Hash,
    /// The ciphertext has at most 2^size_class bytes: 12 (4 KiB) to 40.
    pub size_class: u8,
    /// Where the custodian keeps it; resolved by the custodian alone.
    pub pointer: OpaqueRef,
    /// A minor consented alone to the service.
    pub minor_consented: bool,
}

/// A calendar month: dates on the ledger are no finer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Month(u32);

impl Month {
    /// The first one that can be named.
    pub const MIN: Self = Self(1800 * 100 + 1);
    /// Of a year (1800 to 9999) and month (1 to 12).
    #[must_use]
    pub fn new(year: u32, month: u32) -> Option<Self> {
        ((1800..=9999).contains(&year) && (1..=12).contains(&month)).then(|| Self(year * 100 + month))
    }
    /// Calendar year.
    #[must_use]
    pub const fn year(self) -> u32 {
        self.0 / 100
    }
    /// 1 to 12.
    #[must_use]
    pub const fn month(self) -> u32 {
        self.0 % 100
    }
}
impl TryFrom<u32> for Month {
    type Error = String;
    /// From yyyymm.
    fn try_from(number: u32) -> Result<Self, String> {
        Self::new(number / 100, number % 100)
            .ok_or_else(|| format!("{number} is no month; write yyyymm, 180001 to 999912"))
    }
}
impl From<Month> for u32 {
    /// yyyymm.
    fn from(month: Month) -> Self {
        month.0
    }
}
impl core::fmt::Display for Month {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.month())
    }
}
impl core::fmt::Debug for Month {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Month({self})")
    }
}
impl core::str::FromStr for Month {
    type Err = String;
    /// yyyy-mm, in exactly these digits.
    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('-')
            .and_then(|(year, month)| Self::new(year.parse().ok()?, month.parse().ok()?))
            .filter(|month| month.to_string() == text)
            .ok_or_else(|| "a month is written yyyy-mm".to_owned())
    }
}

/// A grant permits, a denial refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GrantKind {
    /// Grant.
    Permit,
    /// Denial.
    Deny,
}

impl crate::codes::Code for GrantKind {
    const ALL: &'static [Self] = &[Self::Permit, Self::Deny];
    fn name(self) -> &'static str {
        match self {
            Self::Permit => "PERMIT",
            Self::Deny => "DENY",
        }
    }
    fn place(self) -> u32 {
        self as u32
    }
}

/// To whom a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Grantee {
    /// Everybody.
    Any,
    /// Members of an organisation.
    Org(OrgId),
    /// Members of an organisation acting in a role.
    Role(OrgId, Role),
    /// One person.
    Person(Person),
    /// A study's team.
    Study(StudyId),
    /// Whoever holds a guest link.
    Guest(LinkId),
}

/// One person who may be granted access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Person {
    /// A practitioner of an organisation.
    Practitioner(OrgId, PractitionerId),
    /// A patient or, by the same key, a representative.
    Patient(PatientId),
    /// A representative.
    Representative(crate::id::RepresentativeId),
}

/// Purposes of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purposes {
    /// Every purpose: for denials only.
    All,
    /// These and what they cover; at least one.
    Only(Vec<Purpose>),
}

/// Labels a permit unlocks or a denial hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Labels {
    /// `*`. In a permit it never opens PART2 or PSYTHPN.
    Any,
    /// These and their descendants; empty unlocks none, and does not restrict a denial.
    Only(Vec<Label>),
}

/// Half-open period of months `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPeriod {
    /// First month, inclusive.
    pub from: Option<Month>,
    /// End, exclusive.
    pub until: Option<Month>,
}

impl DataPeriod {
    /// Does the period hold this month?
    #[must_use]
    pub fn contains(&self, month: Month) -> bool {
        self.from.is_none_or(|from| from <= month) && self.until.is_none_or(|until| month < until)
    }
}

/// What a rule says. Unset fields do not restrict; all periods are half open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Permit or deny.
    pub kind: GrantKind,
    /// To whom.
    pub to: Grantee,
    /// For what.
    pub purposes: Purposes,
    /// Doing what; at least one.
    pub actions: Vec<Action>,
    /// Only these kinds of record; empty: all.
    pub categories: Vec<Category>,
    /// Only these records; empty: all.
    pub records: Vec<RecordId>,
    /// Labels unlocked or hit.
    pub labels: Labels,
    /// Only records of services in this period.
    pub data_period: Option<DataPeriod>,
    /// Valid from, inclusive.
    pub from: Option<TimestampMs>,
    /// Valid until, exclusive.
    pub until: Option<TimestampMs>,
    /// How often it may be used; none: without limit.
    pub max_uses: Option<u32>,
    /// May the grantee pass it on, one level deep?
    pub delegable: bool,
    /// The grant this one was delegated from.
    pub parent: Option<GrantId>,
    /// Hash of the policy text it refers to.
    pub policy: Option<Hash>,
    /// Hash of the consent document.
    pub document: Option<Hash>,
}

/// Signed by the patient, a representative, or (attesting a document) a member of a caring organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGrant {
    /// Random.
    pub grant: GrantId,
    /// Whose records.
    pub patient: PatientId,
    /// The rule.
    pub rule: Rule,
}

/// Signed like [`CreateGrant`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeGrant {
    /// Whose grant.
    pub patient: PatientId,
    /// Which.
    pub grant: GrantId,
    /// Hash of the signed withdrawal, needed when an organisation attests it.
    pub document: Option<Hash>,
}

/// An access as asked for, by transaction or as a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAccess {
    /// Which record.
    pub record: RecordId,
    /// In which capacity.
    pub role: Role,
    /// Doing what.
    pub action: Action,
    /// For what.
    pub purpose: Purpose,
    /// The study, for research.
    pub study: Option<StudyId>,
    /// The guest link, for guests.
    pub link: Option<LinkId>,
    /// The mandate, for public health.
    pub mandate: Option<OpaqueRef>,
    /// The emergency, for BTG.
    pub emergency: Option<Emergency>,
    /// The custodian's attestation of the full decision (later stage: labels as keyed tags).
    pub attestation: Option<Hash>,
}

impl RecordAccess {
    /// What every access says; no study, link, mandate, emergency or attestation.
    #[must_use]
    pub const fn new(record: RecordId, role: Role, action: Action, purpose: Purpose) -> Self {
        let (study, link, mandate, emergency, attestation) = (None, None, None, None, None);
        Self { record, role, action, purpose, study, link, mandate, emergency, attestation }
    }
}

/// Grounds of an emergency access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// Coded reason.
    pub reason: EmergencyReason,
    /// Salted commitment to the written reason, which is kept off the ledger.
    pub text_commitment: Option<Hash>,
}
