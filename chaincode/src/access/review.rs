//! Emergency accesses are reviewed, by another person and in time, or they count.
//!
//! ```text
//! OPEN ─(its end)▶ ENDED ─(review due)▶ OVERDUE        told to the patient, on the list of escalations,
//!                    │                     │           counted against its holder (three suspend)
//!                    └────── review ───────┴─▶ REVIEWED_OK | REVIEWED_MISUSE
//! ```
//!
//! Who could judge their own case judges nobody's: the holder reviews nothing of their own, whatever their roles.
//! Misuse is found by an organisation that cares for the patient. Tested by `tests/review.rs` and `tests/machines.rs`.

use epione_types::TimestampMs;
use epione_types::call::ReviewOverride;
use epione_types::codes::{NoticeKind, OverrideStatus, Refusal, Role, Verdict};
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId, PractitionerId};
use epione_types::{Hash, Height};
use serde::{Deserialize, Serialize};

use super::notices::{self, About};
use super::{Deadline, Override};
use crate::host::{Done, Host, Overlay, State, StateError, get, require};
use crate::identity::{self, Member, Patient, patients};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::{config, keys};

use OverrideStatus::{Ended, Open, Overdue, ReviewedMisuse, ReviewedOk};

/// What may be done to an emergency override.
pub const MACHINE: Machine<OverrideStatus> = Machine {
    entity: "Emergency override",
    note: "A reviewer is a privacy officer who is another person, of the holder's organisation or of one that cares for the patient; once the review is overdue, also an auditor of a validator's organisation.",
    rows: ROWS,
};

const ROWS: &[Row<OverrideStatus>] = &[
    row(None, Verb::Open, Open, &[Actor::Requester]),
    row(Some(Open), Verb::End, Ended, &[Actor::Time]),
    row(Some(Ended), Verb::BecomeOverdue, Overdue, &[Actor::Time]),
    row(Some(Ended), Verb::FindOk, ReviewedOk, &[Actor::Reviewer, Actor::CareReviewer]),
    row(Some(Overdue), Verb::FindOk, ReviewedOk, &[Actor::Reviewer, Actor::CareReviewer]),
    row(Some(Ended), Verb::FindMisuse, ReviewedMisuse, &[Actor::CareReviewer]),
    row(Some(Overdue), Verb::FindMisuse, ReviewedMisuse, &[Actor::CareReviewer]),
];

/// What was found of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// What.
    pub verdict: Verdict,
    /// By whom.
    pub reviewer: Member,
    /// When.
    pub at: TimestampMs,
    /// Salted commitment to the written findings.
    pub text_commitment: Option<Hash>,
    /// Was it late?
    pub overdue: bool,
}

/// Where an override stands at `now`.
///
/// # Errors
/// The store failed.
pub fn status(
    state: &dyn State,
    patient: PatientId,
    emergency: &Override,
    now: TimestampMs,
) -> Result<OverrideStatus, StateError> {
    let review = get(state, &keys::review_found(patient, emergency.height, emergency.practitioner))?;
    Ok(match review.map(|it| it.verdict) {
        Some(Verdict::Ok) => ReviewedOk,
        Some(Verdict::Misuse) => ReviewedMisuse,
        None if now < emergency.expires => Open,
        None if now < emergency.review_due => Ended,
        None => Overdue,
    })
}

/// Sent by the reviewer.
pub(crate) fn review(host: &mut Host<'_, '_>, call: &ReviewOverride) -> Done {
    let reviewer = identity::sender(host)?;
    let holder = (call.organisation, call.practitioner);
    require(reviewer != Member::Practitioner(holder.0, holder.1), Refusal::ReviewSelf)?;
    let patient = patients::known(host, call.patient)?;
    let emergency = host.get(&keys::emergency(call.patient, call.height, holder))?.ok_or(Refusal::Unknown)?;
    let status = status(host.state(), call.patient, &emergency, host.now())?;
    require(!matches!(status, ReviewedOk | ReviewedMisuse), Refusal::ReviewTwice)?;
    let actor = actor(host, reviewer, holder.0, &patient, status == Overdue)?;
    let verb = match call.verdict {
        Verdict::Ok => Verb::FindOk,
        Verdict::Misuse => Verb::FindMisuse,
    };
    MACHINE.step(Some(status), verb, actor)?;

    let found = Review {
        verdict: call.verdict,
        reviewer,
        at: host.now(),
        text_commitment: call.text_commitment,
        overdue: status == Overdue,
    };
    host.put(&keys::review_found(call.patient, call.height, holder), &found);
    let due = emergency.review_due;
    host.delete(&keys::review(holder, due, call.patient));
    host.delete(&keys::escalation(holder, due, call.patient));
    host.delete(&keys::due(due, &Deadline::ReviewDue { patient: call.patient, practitioner: holder }));
    let ReviewOverride { patient, height, organisation, practitioner, verdict, .. } = *call;
    host.emit(Event::OverrideReviewed { patient, organisation, practitioner, height, verdict });
    let kind = match verdict {
        Verdict::Ok => NoticeKind::ReviewedOk,
        Verdict::Misuse => NoticeKind::ReviewedMisuse,
    };
    notices::give(host, patient, kind, About { practitioner: Some(holder), record: Some(emergency.record) });
    Ok(())
}

/// As whom the sender reviews.
fn actor(
    host: &Host<'_, '_>,
    reviewer: Member,
    holders: OrgId,
    patient: &Patient,
    overdue: bool,
) -> Done<Actor> {
    let Member::Practitioner(organisation, id) = reviewer else {
        return Err(Refusal::NotAuthorised.into());
    };
    let at_work = identity::practitioner_at_work(host, organisation, id)?;
    let officer = at_work.roles.contains(&Role::PrivacyOfficer);
    if officer && patient.is_cared_for_by(organisation) {
        return Ok(Actor::CareReviewer);
    }
    let auditor = at_work.roles.contains(&Role::Auditor)
        && overdue
        && config::validator_organisations(host.state())?.contains(&organisation);
    require((officer && organisation == holders) || auditor, Refusal::NotAuthorised)?;
    Ok(Actor::Reviewer)
}

/// A review is due and was not done: the patient is told, and it is on the list.
pub(super) fn escalate(
    overlay: &mut Overlay<'_>,
    at: (Height, TimestampMs),
    due: TimestampMs,
    number: u32,
    patient: PatientId,
    practitioner: (OrgId, PractitionerId),
) {
    overlay.put(&keys::escalation(practitioner, due, patient), &());
    let about = About { practitioner: Some(practitioner), record: None };
    notices::give_by_time(overlay, at, number, patient, NoticeKind::ReviewOverdue, about);
}
