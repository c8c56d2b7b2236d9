//! Accesses: decide, count the use, leave the trace; emergencies, with their deadlines.
//!
//! ```text
//! RecordAccess ─▶ decide ─▶ access event, always (a denial is the audit trail)
//!                   ├ CONSUME_USE      one use of the grant
//!                   └ BREAK_GLASS      override OPEN ─(4 h)▶ ENDED ─(72 h)▶ OVERDUE, unless reviewed
//! ```
//!
//! The event in the receipt carries what the requester may know: the public reason, and the patient if they are permitted;
//! the one in the state the precise reason (it is an oracle: "sensitive" tells that there is something sensitive).
//! Whoever is denied gets the same receipt for a record that is hidden and for one that is not there. An override ends when block time reaches its deadline,
//! so a second emergency needs its own grounds; overdue reviews suspend emergency access.
//! A requester is denied 60 times an hour at most: then requests that would be denied are refused, or the audit
//! trail would be a flooding target. Permitted ones are never held up. Tested by `tests/access.rs`.

pub mod decide;
pub mod notices;
pub mod review;
pub(crate) mod rules;

use epione_types::TimestampMs;
use epione_types::call::{Emergency, RecordAccess};
use epione_types::codes::{
    Action, Decision, EmergencyReason, NoticeKind, Obligation, Purpose, Reason, Refusal, Role,
};
use epione_types::event::Event;
use epione_types::genesis::Policy;
use epione_types::id::{GrantId, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, StudyId};
use epione_types::{Hash, Height};
use serde::{Deserialize, Serialize};

use crate::block::BlockContext;
use crate::consent;
use crate::host::{Done, Host, Overlay, State, StateError, get, range, require};
use crate::identity::{self, Member};
use crate::keys;
use crate::machine::{Actor, Verb};
use crate::{config, records};

use notices::About;

use decide::{Decided, Facts, Request};

/// Most denials of one requester within [`DENIALS_WINDOW_MS`].
pub const MAX_DENIALS: u32 = 60;
/// How many entries are read from the store at once.
const PAGE: usize = 1_000;
/// Length of the window, in milliseconds: an hour.
pub const DENIALS_WINDOW_MS: u64 = 3_600_000;

/// One access, as the patient, the custodian and the auditors may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEvent {
    /// Who asked.
    pub who: Member,
    /// In which capacity.
    pub role: Role,
    /// For which record.
    pub record: RecordId,
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
    /// The emergency, as stated.
    pub emergency: Option<Emergency>,
    /// The custodian's attestation.
    pub attestation: Option<Hash>,
    /// What was decided.
    pub decision: Decision,
    /// Why, precisely.
    pub reason: Reason,
    /// By which grant.
    pub grant: Option<GrantId>,
    /// With which duties, ascending.
    pub obligations: Vec<Obligation>,
    /// Block.
    pub height: Height,
    /// Place of the transaction in it.
    pub index: u32,
    /// Block time.
    pub at: TimestampMs,
}

/// An emergency override, kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Who opened it.
    pub practitioner: (OrgId, PractitionerId),
    /// The record whose request opened it; it holds for all of the patient's.
    pub record: RecordId,
    /// Coded reason.
    pub reason: EmergencyReason,
    /// Salted commitment to the written reason.
    pub text_commitment: Hash,
    /// Since when.
    pub opened: TimestampMs,
    /// End, exclusive.
    pub expires: TimestampMs,
    /// To be reviewed by.
    pub review_due: TimestampMs,
    /// The block that opened it.
    pub height: Height,
}

/// The override that is open, or was until its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOverride {
    /// End, exclusive.
    pub expires: TimestampMs,
}

/// Something that waits for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deadline {
    /// An override ends.
    OverrideEnds {
        /// Whose records.
        patient: PatientId,
        /// Who holds it.
        practitioner: (OrgId, PractitionerId),
    },
    /// An override should have been reviewed.
    ReviewDue {
        /// Whose records.
        patient: PatientId,
        /// Who held it.
        practitioner: (OrgId, PractitionerId),
    },
}

impl Deadline {
    pub(crate) const fn parts(&self) -> (u8, PatientId, (OrgId, PractitionerId)) {
        match *self {
            Self::OverrideEnds { patient, practitioner } => (0, patient, practitioner),
            Self::ReviewDue { patient, practitioner } => (1, patient, practitioner),
        }
    }
}

/// Denials of a requester within one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denials {
    /// Start of the window.
    pub since: TimestampMs,
    /// How many.
    pub count: u32,
}

/// The dry run: what the decision would be for `who` at `now` (the later of block time and own clock), with
/// nothing counted and nothing written.
///
/// # Errors
/// The store failed.
pub fn check_access(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    call: &RecordAccess,
) -> Result<Decided, StateError> {
    check_access_as_told(state, now, who, call).map(|(decided, _)| decided)
}

/// The same, and what the requester may be told of its reason.
///
/// # Errors
/// The store failed.
pub fn check_access_as_told(
    state: &dyn State,
    now: TimestampMs,
    who: Member,
    call: &RecordAccess,
) -> Result<(Decided, Reason), StateError> {
    let policy = config::policy(state)?;
    let request = Request::of(who, call);
    let record = get(state, &keys::record(call.record))?;
    let facts = Facts::load(state, &request, record, &policy, now)?;
    let decided = decide::decide(&facts, &request, now);
    let told = decide::told(&facts, &request, now, &decided);
    Ok((decided, told))
}

/// Sent by the requester: the decision, with all that follows from it.
pub(crate) fn record_access(host: &mut Host<'_, '_>, call: &RecordAccess) -> Done {
    let who = identity::sender(host)?;
    let request = Request::of(who, call);
    let record = host.get(&keys::record(call.record))?;
    let patient = record.as_ref().map(|record: &records::Record| record.patient);
    let facts = Facts::load(host.state(), &request, record, host.policy(), host.now())?;
    let decided = decide::decide(&facts, &request, host.now());
    let told = decide::told(&facts, &request, host.now(), &decided);

    if decided.decision == Decision::Deny {
        count_denial(host, who)?;
    }
    if let (Some(patient), Some(grant)) = (patient, decided.grant)
        && decided.obligations.contains(&Obligation::ConsumeUse)
    {
        consent::consume(host, patient, grant)?;
    }
    let key = match patient {
        Some(patient) => keys::access(patient, host.height(), host.index()),
        None => keys::access_unknown(who, host.height(), host.index()),
    };
    let event = AccessEvent {
        who,
        role: call.role,
        record: call.record,
        action: call.action,
        purpose: call.purpose,
        study: call.study,
        link: call.link,
        mandate: call.mandate,
        emergency: call.emergency,
        attestation: call.attestation,
        decision: decided.decision,
        reason: decided.reason,
        grant: decided.grant,
        obligations: decided.obligations.clone(),
        height: host.height(),
        index: host.index(),
        at: host.now(),
    };
    host.put(&key, &event);
    host.emit(Event::AccessDecided {
        record: call.record,
        patient: patient.filter(|_| decided.decision == Decision::Permit),
        organisation: who.organisation(),
        role: call.role,
        action: call.action,
        purpose: call.purpose,
        decision: decided.decision,
        reason: told,
        grant: decided.grant,
        obligations: decided.obligations,
    });
    if let (Reason::PermitBreakGlass, Some(patient)) = (decided.reason, patient) {
        open_override(host, patient, who, call)?;
    }
    Ok(())
}

/// The decision has found grounds, and no override open.
fn open_override(host: &mut Host<'_, '_>, patient: PatientId, who: Member, call: &RecordAccess) -> Done {
    let (Member::Practitioner(organisation, practitioner), Some(emergency)) = (who, call.emergency) else {
        let why = "only a practitioner with grounds breaks the glass";
        return Err(StateError::damaged(b"ovr/", why).into());
    };
    let who = (organisation, practitioner);
    review::MACHINE.step(None, Verb::Open, Actor::Requester)?;
    let opened = host.now();
    // Never a deadline that is reached already.
    let expires = opened.plus(host.policy().override_open_ms.max(1));
    let review_due = opened.plus(host.policy().override_review_ms.max(1));
    let text_commitment = emergency.text_commitment.unwrap_or(Hash::ZERO);
    let opening = Override {
        practitioner: who,
        record: call.record,
        reason: emergency.reason,
        text_commitment,
        opened,
        expires,
        review_due,
        height: host.height(),
    };
    host.put(&keys::emergency(patient, host.height(), who), &opening);
    host.put(&keys::open_override(patient, who), &OpenOverride { expires });
    host.put(&keys::review(who, review_due, patient), &());
    for (time, deadline) in [
        (expires, Deadline::OverrideEnds { patient, practitioner: who }),
        (review_due, Deadline::ReviewDue { patient, practitioner: who }),
    ] {
        host.put(&keys::due(time, &deadline), &deadline);
    }
    let reason = emergency.reason;
    host.emit(Event::OverrideOpened { patient, organisation, practitioner, reason, expires, review_due });
    let about = About { practitioner: Some(who), record: Some(call.record) };
    notices::give(host, patient, NoticeKind::EmergencyAccess, about);
    Ok(())
}

fn count_denial(host: &mut Host<'_, '_>, who: Member) -> Done {
    let (key, now) = (keys::denials(who), host.now());
    let window = host.get(&key)?.filter(|window| now < window.since.plus(DENIALS_WINDOW_MS));
    let Denials { since, count } = window.unwrap_or(Denials { since: now, count: 0 });
    require(count < MAX_DENIALS, Refusal::TooManyDenials)?;
    host.put(&key, &Denials { since, count: count + 1 });
    Ok(())
}

/// End of a practitioner's latest override for a patient, unless the deadline has passed.
pub(crate) fn override_until(
    state: &dyn State,
    patient: PatientId,
    who: (OrgId, PractitionerId),
) -> Result<Option<TimestampMs>, StateError> {
    Ok(get(state, &keys::open_override(patient, who))?.map(|open| open.expires))
}

/// Has the practitioner as many overdue reviews as suspend emergency access?
pub(crate) fn reviews_overdue(
    state: &dyn State,
    who: (OrgId, PractitionerId),
    policy: &Policy,
    now: TimestampMs,
) -> Result<bool, StateError> {
    let most = usize::try_from(policy.overdue_reviews_max).unwrap_or(usize::MAX);
    let overdue = keys::reviews_overdue(who, now);
    Ok(state.range(overdue.from(), overdue.to(), most)?.len() >= most)
}

/// What block time has reached is no longer waited for: overrides end, reviews that are still owed become overdue.
pub(crate) fn meet_deadlines(overlay: &mut Overlay<'_>, block: &BlockContext) -> Result<(), StateError> {
    let mut left = keys::dues_until(block.timestamp);
    let mut notices = 0;
    loop {
        let page = range(overlay as &dyn State, &left, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        left = left.after(&last.clone());
        for (key, deadline) in page {
            let due = due_time(&key)?;
            overlay.delete_raw(key);
            match deadline {
                Deadline::OverrideEnds { patient, practitioner } => {
                    overlay.delete(&keys::open_override(patient, practitioner));
                }
                Deadline::ReviewDue { patient, practitioner } => {
                    let at = (block.height, block.timestamp);
                    review::escalate(overlay, at, due, notices, patient, practitioner);
                    notices = notices.saturating_add(1);
                }
            }
        }
        overlay.keep_call();
    }
}

fn due_time(key: &[u8]) -> Result<TimestampMs, StateError> {
    keys::due_time(key).ok_or_else(|| StateError::damaged(key, "a deadline without a time"))
}

/// When time next matters to something in the state (R11): what [`crate::Execution::next_deadline`] says after a
/// block, for a node that starts without executing one.
///
/// # Errors
/// The store failed.
pub fn next_deadline(state: &dyn State) -> Result<Option<TimestampMs>, StateError> {
    let all = keys::dues();
    let first = state.range(all.from(), all.to(), 1)?;
    first.first().map(|(key, _)| due_time(key)).transpose()
}
