//! What happened, as told to subscribers: ids and codes only.
//!
//! Events of accesses carry the public reason; the precise one stands in the state, for those who may read it (domain D7).

use serde::{Deserialize, Serialize};

use crate::call::GrantKind;
use crate::call::Person;
use crate::codes::{
    AccessRequestStatus, Action, Decision, DeviceStatus, EmergencyReason, LinkStatus, NoticeKind, Obligation,
    OrganisationStatus, PatientChange, PolicyConstant, PractitionerStatus, ProposalStatus, Purpose, Reason,
    RecordStatus, RecoveryStatus, ReportStatus, RepresentationKind, RepresentationStatus, Role, Verdict,
};
use crate::id::{
    AccessRequestId, DeviceId, GrantId, Height, LinkId, OrgId, PatientId, PractitionerId, ProposalId,
    RecordId, TimestampMs,
};
use crate::sign::PublicKey;

/// One thing that a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An organisation joined.
    OrganisationRegistered {
        /// Which.
        organisation: OrgId,
    },
    /// A practitioner was enrolled.
    PractitionerRegistered {
        /// Employer.
        organisation: OrgId,
        /// Who.
        practitioner: PractitionerId,
    },
    /// A patient was enrolled.
    PatientRegistered {
        /// Who.
        patient: PatientId,
        /// Caring organisation.
        organisation: OrgId,
        /// Without an own key: the organisation keeps custody.
        custodial: bool,
    },
    /// A record was registered.
    RecordRegistered {
        /// Which.
        record: RecordId,
        /// Whose.
        patient: PatientId,
        /// Keeps the body.
        custodian: OrgId,
    },
    /// A grant or denial was made.
    GrantCreated {
        /// Which.
        grant: GrantId,
        /// Whose records.
        patient: PatientId,
        /// Permit or deny.
        kind: GrantKind,
    },
    /// A grant or denial was ended.
    GrantRevoked {
        /// Which.
        grant: GrantId,
        /// Whose records.
        patient: PatientId,
    },
    /// An access was decided.
    AccessDecided {
        /// The record asked for.
        record: RecordId,
        /// Its patient, if the access is permitted: a denial does not tell whose the record is, nor whether there is one.
        patient: Option<PatientId>,
        /// The requester's organisation, if any.
        organisation: Option<OrgId>,
        /// The requester's capacity.
        role: Role,
        /// What was asked.
        action: Action,
        /// For what.
        purpose: Purpose,
        /// The decision.
        decision: Decision,
        /// What the requester may know of its reason.
        reason: Reason,
        /// The grant that permitted.
        grant: Option<GrantId>,
        /// Duties, ascending.
        obligations: Vec<Obligation>,
    },
    /// An emergency override was opened.
    OverrideOpened {
        /// Whose records.
        patient: PatientId,
        /// Requester's organisation.
        organisation: OrgId,
        /// Requester.
        practitioner: PractitionerId,
        /// Coded reason.
        reason: EmergencyReason,
        /// End, exclusive.
        expires: TimestampMs,
        /// To be reviewed by.
        review_due: TimestampMs,
    },
    /// An organisation stands elsewhere.
    OrganisationChanged {
        /// Which.
        organisation: OrgId,
        /// Where.
        status: OrganisationStatus,
    },
    /// A practitioner stands elsewhere, or was renewed.
    PractitionerChanged {
        /// Employer.
        organisation: OrgId,
        /// Who.
        practitioner: PractitionerId,
        /// Where.
        status: PractitionerStatus,
    },
    /// A device was registered or revoked.
    DeviceChanged {
        /// Owner.
        organisation: OrgId,
        /// Which.
        device: DeviceId,
        /// Where it stands.
        status: DeviceStatus,
    },
    /// Somebody signs with another key.
    KeyRotated {
        /// Their organisation, if any.
        organisation: Option<OrgId>,
        /// The new key.
        key: PublicKey,
    },
    /// Something about a patient changed.
    PatientChanged {
        /// Who.
        patient: PatientId,
        /// What.
        change: PatientChange,
        /// The organisation that it is about, or that attests it.
        organisation: Option<OrgId>,
    },
    /// A representation began or ended.
    RepresentationChanged {
        /// For whom.
        patient: PatientId,
        /// Who.
        person: Person,
        /// Why.
        kind: RepresentationKind,
        /// Where it stands.
        status: RepresentationStatus,
    },
    /// A record was drafted, stands elsewhere, or has a new version.
    RecordChanged {
        /// Which.
        record: RecordId,
        /// Whose.
        patient: PatientId,
        /// Keeps the body.
        custodian: OrgId,
        /// Its version in force.
        version: u32,
        /// Where that stands.
        status: RecordStatus,
    },
    /// A patient opted out.
    OptedOut {
        /// Who.
        patient: PatientId,
        /// The denial.
        grant: GrantId,
        /// How many permits ended with it.
        revoked: u32,
        /// Permits that are still open, ascending.
        still_open: Vec<GrantId>,
    },
    /// Somebody asked for access, or was answered.
    AccessRequestChanged {
        /// Which request.
        request: AccessRequestId,
        /// Whose records.
        patient: PatientId,
        /// The requester's organisation.
        organisation: OrgId,
        /// The requester.
        practitioner: PractitionerId,
        /// Where it stands.
        status: AccessRequestStatus,
    },
    /// An emergency access was reviewed.
    OverrideReviewed {
        /// Whose records.
        patient: PatientId,
        /// Its holder's organisation.
        organisation: OrgId,
        /// Its holder.
        practitioner: PractitionerId,
        /// The block that opened it.
        height: Height,
        /// What was found.
        verdict: Verdict,
    },
    /// The patient is told something.
    NoticeGiven {
        /// Who.
        patient: PatientId,
        /// What.
        kind: NoticeKind,
    },
    /// The patient has seen it.
    NoticeAcknowledged {
        /// Who.
        patient: PatientId,
        /// The block that gave the notice.
        height: Height,
        /// Its place there.
        index: u32,
    },
    /// A report stands elsewhere.
    ReportChanged {
        /// Which.
        record: RecordId,
        /// Whose.
        patient: PatientId,
        /// Keeps the body.
        custodian: OrgId,
        /// Where.
        status: ReportStatus,
        /// How often it was submitted.
        round: u32,
    },
    /// A guest link was made or closed.
    LinkChanged {
        /// Which.
        link: LinkId,
        /// Whose record.
        patient: PatientId,
        /// Which record.
        record: RecordId,
        /// Where it stands.
        status: LinkStatus,
    },
    /// The recovery of a patient's key went on.
    RecoveryChanged {
        /// Whose.
        patient: PatientId,
        /// Where it stands.
        status: RecoveryStatus,
        /// How many guardians have signed.
        approvals: u32,
    },
    /// A proposal was made, voted on, or decided.
    ProposalChanged {
        /// Which.
        proposal: ProposalId,
        /// Where it stands.
        status: ProposalStatus,
        /// Organisations for it.
        accepted: u32,
        /// Organisations against it.
        declined: u32,
    },
    /// A constant of policy has another value from the next block on.
    PolicyChanged {
        /// Which.
        constant: PolicyConstant,
        /// Which value.
        value: u64,
        /// The first block that it holds for.
        height: Height,
    },
}
