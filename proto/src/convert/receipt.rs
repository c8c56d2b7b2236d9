//! Receipts and events.

use epione_types::event::Event;
use epione_types::id::{EventCursor, Height};
use epione_types::receipt::{Outcome, Receipt};

use super::field::Field;
use super::{At as _, ConvertError, code_from_wire, code_to_wire, fits, fixed, list, need, raw};
use crate::v1::{self as pb, event::Kind, outcome::Outcome as OutcomeKind};

/// Most events of one receipt that a client reads.
const EVENTS_MAX: usize = 1_024;

impl TryFrom<pb::Receipt> for Receipt {
    type Error = ConvertError;
    fn try_from(wire: pb::Receipt) -> Result<Self, ConvertError> {
        Ok(Self {
            version: fits("version", wire.version)?,
            tx_id: fixed("transaction_id", &wire.transaction_id)?,
            height: Height(wire.height),
            index: wire.index,
            outcome: need("outcome", wire.outcome)?.try_into().at("outcome")?,
            events: list("events", EVENTS_MAX, wire.events.into_iter(), |_, event| event.try_into())?,
        })
    }
}

impl From<&Receipt> for pb::Receipt {
    fn from(receipt: &Receipt) -> Self {
        Self {
            version: receipt.version.into(),
            transaction_id: raw(receipt.tx_id.0),
            height: receipt.height.0,
            index: receipt.index,
            outcome: Some(receipt.outcome.into()),
            events: receipt.events.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = ConvertError;
    fn try_from(wire: pb::Outcome) -> Result<Self, ConvertError> {
        Ok(match need("", wire.outcome)? {
            OutcomeKind::Applied(pb::Applied {}) => Self::Ok,
            OutcomeKind::Refused(refusal) => Self::Refused(code_from_wire("refused", refusal)?),
        })
    }
}

impl From<Outcome> for pb::Outcome {
    fn from(outcome: Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Ok => OutcomeKind::Applied(pb::Applied {}),
            Outcome::Refused(refusal) => OutcomeKind::Refused(code_to_wire(refusal)),
        };
        Self { outcome: Some(outcome) }
    }
}

impl From<EventCursor> for pb::EventCursor {
    fn from(cursor: EventCursor) -> Self {
        Self { height: cursor.height.0, index: cursor.index }
    }
}

impl From<pb::EventCursor> for EventCursor {
    fn from(wire: pb::EventCursor) -> Self {
        Self { height: Height(wire.height), index: wire.index }
    }
}

/// Both directions of every event: `Domain = Wire "path" { domain_field = wire_field, .. }`.
macro_rules! events {
    ($($event:ident = $kind:ident $path:literal { $($field:ident = $name:ident),+ $(,)? }),+ $(,)?) => {
        impl TryFrom<pb::Event> for Event {
            type Error = ConvertError;
            fn try_from(wire: pb::Event) -> Result<Self, ConvertError> {
                match need("kind", wire.kind)? {
                    $(Kind::$kind(it) => (|| {
                        Ok(Self::$event { $($field: Field::read(stringify!($name), it.$name)?),+ })
                    })().at($path)),+
                }
            }
        }
        impl From<&Event> for pb::Event {
            fn from(event: &Event) -> Self {
                let kind = match event {
                    $(Event::$event { $($field),+ } => {
                        Kind::$kind(pb::$kind { $($name: Field::write($field)),+ })
                    })+
                };
                Self { kind: Some(kind) }
            }
        }
    };
}

events! {
    OrganisationRegistered = OrgRegistered "org_registered" { organisation = org_id },
    PractitionerRegistered = PractitionerRegistered "practitioner_registered" { organisation = org_id, practitioner = practitioner_id },
    PatientRegistered = PatientRegistered "patient_registered" {
        patient = patient_id, organisation = org_id, custodial = custodial,
    },
    RecordRegistered = RecordRegistered "record_registered" {
        record = record_id, patient = patient_id, custodian = custodian_org_id,
    },
    GrantCreated = GrantCreated "grant_created" { grant = grant_id, patient = patient_id, kind = kind },
    GrantRevoked = GrantRevoked "grant_revoked" { grant = grant_id, patient = patient_id },
    AccessDecided = AccessDecided "access_decided" {
        record = record_id, patient = patient_id, organisation = org_id, role = role, action = action,
        purpose = purpose, decision = decision, reason = reason, grant = grant_id, obligations = obligations,
    },
    OverrideOpened = OverrideOpened "override_opened" {
        patient = patient_id, organisation = org_id, practitioner = practitioner_id, reason = reason,
        expires = expires_ms, review_due = review_due_ms,
    },
    OrganisationChanged = OrgChanged "org_changed" { organisation = org_id, status = status },
    PractitionerChanged = PractitionerChanged "practitioner_changed" {
        organisation = org_id, practitioner = practitioner_id, status = status,
    },
    DeviceChanged = DeviceChanged "device_changed" { organisation = org_id, device = device_id, status = status },
    KeyRotated = KeyRotated "key_rotated" { organisation = org_id, key = public_key },
    PatientChanged = PatientChanged "patient_changed" { patient = patient_id, change = change, organisation = org_id },
    RepresentationChanged = RepresentationChanged "representation_changed" {
        patient = patient_id, person = person, kind = kind, status = status,
    },
    RecordChanged = RecordChanged "record_changed" {
        record = record_id, patient = patient_id, custodian = custodian_org_id, version = version,
        status = status,
    },
    OptedOut = OptedOut "opted_out" {
        patient = patient_id, grant = grant_id, revoked = revoked, still_open = still_open_grant_ids,
    },
    AccessRequestChanged = AccessRequestChanged "access_request_changed" {
        request = access_request_id, patient = patient_id, organisation = org_id,
        practitioner = practitioner_id, status = status,
    },
    OverrideReviewed = OverrideReviewed "override_reviewed" {
        patient = patient_id, organisation = org_id, practitioner = practitioner_id, height = height,
        verdict = verdict,
    },
    NoticeGiven = NoticeGiven "notice_given" { patient = patient_id, kind = kind },
    NoticeAcknowledged = NoticeAcknowledged "notice_acknowledged" { patient = patient_id, height = height, index = index },
    ReportChanged = ReportChanged "report_changed" {
        record = record_id, patient = patient_id, custodian = custodian_org_id, status = status,
        round = round,
    },
    LinkChanged = LinkChanged "link_changed" { link = link_id, patient = patient_id, record = record_id, status = status },
    RecoveryChanged = RecoveryChanged "recovery_changed" { patient = patient_id, status = status, approvals = approvals },
    ProposalChanged = ProposalChanged "proposal_changed" {
        proposal = proposal_id, status = status, accepted = accepted, declined = declined,
    },
    PolicyChanged = PolicyChanged "policy_changed" { constant = constant, value = value, height = height },
}
