//! What happened, as told to subscribers: ids and codes only.
//!
//! Events of accesses carry the public reason; the precise one stands in the state, for those who may read it (domain D7).

use serde::{Deserialize, Serialize};

use crate::call::GrantKind;
use crate::codes::{Action, Decision, EmergencyReason, Obligation, Purpose, Reason, Role};
use crate::id::{GrantId, OrgId, PatientId, PractitionerId, RecordId, TimestampMs};

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
        /// Its patient; none if there is no such record.
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
}
