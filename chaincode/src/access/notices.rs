//! What a patient is told of: kept until the end of time, marked when seen.
//!
//! Nothing is sent from here. A patient's app, or the organisation that keeps custody, reads the list and acknowledges.
//! A call gives a patient at most one notice; those that time gives stand behind all transactions of their block.
//! Tested by `tests/review.rs`.

use epione_types::call::AcknowledgeNotice;
use epione_types::codes::{NoticeKind, Refusal};
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Height, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::host::{Done, Host, Overlay, require};
use crate::identity::patients;
use crate::keys;
use crate::voice::{self, Basis, Matter};

/// Place in its block of the first notice that time gives.
const BY_TIME: u32 = 1 << 31;

/// What a notice is about, beside the patient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Who did it.
    pub practitioner: Option<(OrgId, PractitionerId)>,
    /// To which record.
    pub record: Option<RecordId>,
}

/// Told to a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// Of whom and what.
    pub about: About,
    /// When.
    pub at: TimestampMs,
    /// The block that gave it.
    pub height: Height,
    /// Its place there.
    pub index: u32,
    /// When it was seen, and by whom.
    pub acknowledged: Option<(TimestampMs, Basis)>,
}

/// By the call being executed.
pub(crate) fn give(host: &mut Host<'_, '_>, patient: PatientId, kind: NoticeKind, about: About) {
    let (at, height, index) = (host.now(), host.height(), host.index());
    let notice = Notice { kind, about, at, height, index, acknowledged: None };
    host.put(&keys::notice(patient, height, index), &notice);
    host.emit(Event::NoticeGiven { patient, kind });
}

/// By time: the `number`-th of its block.
pub(super) fn give_by_time(
    overlay: &mut Overlay<'_>,
    (height, at): (Height, TimestampMs),
    number: u32,
    patient: PatientId,
    kind: NoticeKind,
    about: About,
) {
    let index = BY_TIME.saturating_add(number);
    let notice = Notice { kind, about, at, height, index, acknowledged: None };
    overlay.put(&keys::notice(patient, height, index), &notice);
}

/// Signed by whoever speaks for the patient.
pub(crate) fn acknowledge(host: &mut Host<'_, '_>, call: &AcknowledgeNotice) -> Done {
    let patient = patients::known(host, call.patient)?;
    let basis = voice::spoken(host, call.patient, &patient, &Matter::general(call.document))?;
    let key = keys::notice(call.patient, call.height, call.index);
    let mut notice = host.get(&key)?.ok_or(Refusal::Unknown)?;
    require(notice.acknowledged.is_none(), Refusal::BadState)?;
    notice.acknowledged = Some((host.now(), basis));
    host.put(&key, &notice);
    let AcknowledgeNotice { patient, height, index, .. } = *call;
    host.emit(Event::NoticeAcknowledged { patient, height, index });
    Ok(())
}
