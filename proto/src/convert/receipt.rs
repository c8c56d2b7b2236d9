//! Receipts and events.

use epione_types::event::Event;
use epione_types::id::{EventCursor, Height, TimestampMs};
use epione_types::receipt::{Outcome, Receipt};

use super::{At as _, ConvertError, code_from_wire, code_to_wire, fits, fixed, fixed_opt, list, need, raw};
use crate::v1::{self as pb, event::Kind, outcome::Outcome as OutcomeKind};

/// Most events of one receipt that a client reads.
const EVENTS_MAX: usize = 1_024;
/// Most obligations of one decision.
const OBLIGATIONS_MAX: usize = 64;

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

impl TryFrom<pb::Event> for Event {
    type Error = ConvertError;
    fn try_from(wire: pb::Event) -> Result<Self, ConvertError> {
        Ok(match need("kind", wire.kind)? {
            Kind::OrgRegistered(e) => {
                Self::OrganisationRegistered { organisation: fixed("org_registered.org_id", &e.org_id)? }
            }
            Kind::PractitionerRegistered(e) => practitioner_registered(&e).at("practitioner_registered")?,
            Kind::PatientRegistered(e) => patient_registered(&e).at("patient_registered")?,
            Kind::RecordRegistered(e) => record_registered(&e).at("record_registered")?,
            Kind::GrantCreated(e) => grant_created(&e).at("grant_created")?,
            Kind::GrantRevoked(e) => grant_revoked(&e).at("grant_revoked")?,
            Kind::AccessDecided(e) => access_decided(&e).at("access_decided")?,
            Kind::OverrideOpened(e) => override_opened(&e).at("override_opened")?,
        })
    }
}

fn practitioner_registered(e: &pb::PractitionerRegistered) -> Result<Event, ConvertError> {
    Ok(Event::PractitionerRegistered {
        organisation: fixed("org_id", &e.org_id)?,
        practitioner: fixed("practitioner_id", &e.practitioner_id)?,
    })
}

fn patient_registered(e: &pb::PatientRegistered) -> Result<Event, ConvertError> {
    Ok(Event::PatientRegistered {
        patient: fixed("patient_id", &e.patient_id)?,
        organisation: fixed("org_id", &e.org_id)?,
        custodial: e.custodial,
    })
}

fn record_registered(e: &pb::RecordRegistered) -> Result<Event, ConvertError> {
    Ok(Event::RecordRegistered {
        record: fixed("record_id", &e.record_id)?,
        patient: fixed("patient_id", &e.patient_id)?,
        custodian: fixed("custodian_org_id", &e.custodian_org_id)?,
    })
}

fn grant_created(e: &pb::GrantCreated) -> Result<Event, ConvertError> {
    Ok(Event::GrantCreated {
        grant: fixed("grant_id", &e.grant_id)?,
        patient: fixed("patient_id", &e.patient_id)?,
        kind: code_from_wire("kind", e.kind)?,
    })
}

fn grant_revoked(e: &pb::GrantRevoked) -> Result<Event, ConvertError> {
    Ok(Event::GrantRevoked {
        grant: fixed("grant_id", &e.grant_id)?,
        patient: fixed("patient_id", &e.patient_id)?,
    })
}

fn access_decided(e: &pb::AccessDecided) -> Result<Event, ConvertError> {
    Ok(Event::AccessDecided {
        record: fixed("record_id", &e.record_id)?,
        patient: fixed_opt("patient_id", e.patient_id.as_ref())?,
        organisation: fixed_opt("org_id", e.org_id.as_ref())?,
        role: code_from_wire("role", e.role)?,
        action: code_from_wire("action", e.action)?,
        purpose: code_from_wire("purpose", e.purpose)?,
        decision: code_from_wire("decision", e.decision)?,
        reason: code_from_wire("reason", e.reason)?,
        grant: fixed_opt("grant_id", e.grant_id.as_ref())?,
        obligations: list("obligations", OBLIGATIONS_MAX, e.obligations.iter(), |field, number| {
            code_from_wire(field, *number)
        })?,
    })
}

fn override_opened(e: &pb::OverrideOpened) -> Result<Event, ConvertError> {
    Ok(Event::OverrideOpened {
        patient: fixed("patient_id", &e.patient_id)?,
        organisation: fixed("org_id", &e.org_id)?,
        practitioner: fixed("practitioner_id", &e.practitioner_id)?,
        reason: code_from_wire("reason", e.reason)?,
        expires: TimestampMs(e.expires_ms),
        review_due: TimestampMs(e.review_due_ms),
    })
}

impl From<&Event> for pb::Event {
    fn from(event: &Event) -> Self {
        let kind = match event {
            Event::OrganisationRegistered { organisation } => {
                Kind::OrgRegistered(pb::OrgRegistered { org_id: raw(organisation.0) })
            }
            Event::PractitionerRegistered { organisation, practitioner } => {
                Kind::PractitionerRegistered(pb::PractitionerRegistered {
                    org_id: raw(organisation.0),
                    practitioner_id: raw(practitioner.0),
                })
            }
            Event::PatientRegistered { patient, organisation, custodial } => {
                Kind::PatientRegistered(pb::PatientRegistered {
                    patient_id: raw(patient.0),
                    org_id: raw(organisation.0),
                    custodial: *custodial,
                })
            }
            Event::RecordRegistered { record, patient, custodian } => {
                Kind::RecordRegistered(pb::RecordRegistered {
                    record_id: raw(record.0),
                    patient_id: raw(patient.0),
                    custodian_org_id: raw(custodian.0),
                })
            }
            Event::GrantCreated { grant, patient, kind } => Kind::GrantCreated(pb::GrantCreated {
                grant_id: raw(grant.0),
                patient_id: raw(patient.0),
                kind: code_to_wire(*kind),
            }),
            Event::GrantRevoked { grant, patient } => {
                Kind::GrantRevoked(pb::GrantRevoked { grant_id: raw(grant.0), patient_id: raw(patient.0) })
            }
            Event::AccessDecided {
                record,
                patient,
                organisation,
                role,
                action,
                purpose,
                decision,
                reason,
                grant,
                obligations,
            } => Kind::AccessDecided(pb::AccessDecided {
                record_id: raw(record.0),
                patient_id: patient.map(|id| raw(id.0)),
                org_id: organisation.map(|id| raw(id.0)),
                role: code_to_wire(*role),
                action: code_to_wire(*action),
                purpose: code_to_wire(*purpose),
                decision: code_to_wire(*decision),
                reason: code_to_wire(*reason),
                grant_id: grant.map(|id| raw(id.0)),
                obligations: obligations.iter().copied().map(code_to_wire).collect(),
            }),
            Event::OverrideOpened { patient, organisation, practitioner, reason, expires, review_due } => {
                Kind::OverrideOpened(pb::OverrideOpened {
                    patient_id: raw(patient.0),
                    org_id: raw(organisation.0),
                    practitioner_id: raw(practitioner.0),
                    reason: code_to_wire(*reason),
                    expires_ms: expires.0,
                    review_due_ms: review_due.0,
                })
            }
        };
        Self { kind: Some(kind) }
    }
}
