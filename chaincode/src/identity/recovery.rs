//! A patient who lost the key gets another one by the word of guardians: enough of them, and a delay in which the old
//! key can stop it.
//!
//! Who the guardians are stands on the ledger as commitments: each shows the salt when acting. Organisations alone
//! can never do it: they are always fewer than the threshold. Tested by `tests/keys.rs` and `tests/machines.rs`.

use epione_types::call::{
    ApproveRecovery, CancelRecovery, FinishRecovery, Guardian, MAX_GUARDIANS, SetGuardians, StartRecovery,
};
use epione_types::codes::{NoticeKind, PatientChange, PatientStatus, RecoveryStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::PatientId;
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::patients::{self, KeyBasis};
use super::{Member, is_distinct, organisations};
use crate::access::notices::{self, About};
use crate::host::{Done, Host, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::{identity, keys};

use RecoveryStatus::{Cancelled, Finished, Pending};

/// What may be done to a recovery.
pub const MACHINE: Machine<RecoveryStatus> = Machine {
    entity: "Recovery of a patient's key",
    note: "Finishing needs the threshold of guardians and the end of the delay, which runs from the start.",
    rows: ROWS,
};

const ROWS: &[Row<RecoveryStatus>] = &[
    row(None, Verb::Start, Pending, &[Actor::Guardian]),
    row(Some(Cancelled), Verb::Start, Pending, &[Actor::Guardian]),
    row(Some(Finished), Verb::Start, Pending, &[Actor::Guardian]),
    row(Some(Pending), Verb::Approve, Pending, &[Actor::Guardian]),
    row(Some(Pending), Verb::Cancel, Cancelled, &[Actor::Patient]),
    row(Some(Pending), Verb::Finish, Finished, &[Actor::Anyone]),
];

/// Who may restore a patient's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardians {
    /// Commitments.
    pub guardians: Vec<Hash>,
    /// How many of them together.
    pub threshold: u8,
}

/// The recovery of a patient's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Where it stands.
    pub status: RecoveryStatus,
    /// The key to be.
    pub key: PublicKey,
    /// Since when.
    pub started: TimestampMs,
    /// When it can be finished at the earliest.
    pub due: TimestampMs,
    /// Commitments of the guardians who signed.
    pub approvals: Vec<Hash>,
    /// How many of them are organisations.
    pub organisations: u8,
}

/// Sent by the patient's own key.
pub(crate) fn set_guardians(host: &mut Host<'_, '_>, call: &SetGuardians) -> Done {
    let Member::Patient(id) = identity::sender(host)? else { return Err(Refusal::NotAuthorised.into()) };
    let patient = patients::known(host, id)?;
    patients::MACHINE.step(Some(patient.status), Verb::SetGuardians, Actor::Patient)?;
    let (guardians, threshold) = (call.guardians.len(), usize::from(call.threshold));
    let some =
        is_distinct(&call.guardians) && guardians <= MAX_GUARDIANS && (2..=guardians).contains(&threshold);
    require(guardians == 0 || some, Refusal::InvalidField)?;
    let pending = host.get(&keys::recovery(id))?.is_some_and(|it| it.status == Pending);
    require(!pending, Refusal::BadState)?;
    let set = Guardians { guardians: call.guardians.clone(), threshold: call.threshold };
    host.put(&keys::guardians(id), &set);
    let change = PatientChange::GuardiansSet;
    host.emit(Event::PatientChanged { patient: id, change, organisation: None });
    Ok(())
}

/// The patient's guardians, the sender's commitment, and whether the sender is an organisation.
fn guardian(host: &Host<'_, '_>, id: PatientId, salt: &Hash) -> Done<(Guardians, Hash, bool)> {
    let member = identity::sender(host)?;
    let guardian = if matches!(member, Member::Admin(_)) {
        Guardian::Organisation(organisations::of_admin(host)?)
    } else {
        Guardian::Person(member.person().ok_or(Refusal::GuardianUnknown)?)
    };
    let set = host.get(&keys::guardians(id))?.ok_or(Refusal::GuardianUnknown)?;
    let commitment = guardian.commitment(salt);
    require(set.guardians.contains(&commitment), Refusal::GuardianUnknown)?;
    Ok((set, commitment, matches!(guardian, Guardian::Organisation(_))))
}

/// Sent by a guardian, signed by the key to be.
pub(crate) fn start(host: &mut Host<'_, '_>, call: &StartRecovery) -> Done {
    let patient = patients::known(host, call.patient)?;
    require(patient.status == PatientStatus::Active && patient.key.is_some(), Refusal::BadState)?;
    let (guardians, commitment, organisation) = guardian(host, call.patient, &call.salt)?;
    let before = host.get(&keys::recovery(call.patient))?.map(|it| it.status);
    let status = MACHINE.step(before, Verb::Start, Actor::Guardian)?;
    require(host.signed_by(&call.key) && !call.key.is_weak(), Refusal::KeyProof)?;
    require(!host.has(&keys::member(&call.key))?, Refusal::KeyInUse)?;
    let mut recovery = Recovery {
        status,
        key: call.key,
        started: host.now(),
        due: host.now().plus(host.constants().recovery_delay_ms),
        approvals: Vec::new(),
        organisations: 0,
    };
    sign(&mut recovery, &guardians, commitment, organisation)?;
    save(host, call.patient, &recovery);
    notices::give(host, call.patient, NoticeKind::RecoveryStarted, About::default());
    Ok(())
}

/// Sent by one more guardian.
pub(crate) fn approve(host: &mut Host<'_, '_>, call: &ApproveRecovery) -> Done {
    let (guardians, commitment, organisation) = guardian(host, call.patient, &call.salt)?;
    let mut recovery = host.get(&keys::recovery(call.patient))?.ok_or(Refusal::Unknown)?;
    recovery.status = MACHINE.step(Some(recovery.status), Verb::Approve, Actor::Guardian)?;
    // A guardian signs for the key that was shown to them.
    require(recovery.key == call.key, Refusal::KeyProof)?;
    sign(&mut recovery, &guardians, commitment, organisation)?;
    save(host, call.patient, &recovery);
    Ok(())
}

fn sign(recovery: &mut Recovery, guardians: &Guardians, commitment: Hash, organisation: bool) -> Done {
    require(!recovery.approvals.contains(&commitment), Refusal::VoteTwice)?;
    recovery.approvals.push(commitment);
    recovery.organisations = recovery.organisations.saturating_add(u8::from(organisation));
    require(recovery.organisations < guardians.threshold, Refusal::GuardianOrgMajority)
}

/// Sent by the patient's present key.
pub(crate) fn cancel(host: &mut Host<'_, '_>, call: &CancelRecovery) -> Done {
    let mut recovery = host.get(&keys::recovery(call.patient))?.ok_or(Refusal::Unknown)?;
    let is_patient = identity::sender(host)? == Member::Patient(call.patient);
    require(is_patient, Refusal::NotAuthorised)?;
    recovery.status = MACHINE.step(Some(recovery.status), Verb::Cancel, Actor::Patient)?;
    save(host, call.patient, &recovery);
    Ok(())
}

/// Sent by any member once the delay is over, or by the key to be.
pub(crate) fn finish(host: &mut Host<'_, '_>, call: &FinishRecovery) -> Done {
    let patient = patients::known(host, call.patient)?;
    let mut recovery = host.get(&keys::recovery(call.patient))?.ok_or(Refusal::Unknown)?;
    if *host.sender() != recovery.key {
        identity::sender(host)?;
    }
    recovery.status = MACHINE.step(Some(recovery.status), Verb::Finish, Actor::Anyone)?;
    require(patient.status == PatientStatus::Active, Refusal::BadState)?;
    let guardians = host.get(&keys::guardians(call.patient))?.ok_or(Refusal::GuardianUnknown)?;
    let enough = recovery.approvals.len() >= usize::from(guardians.threshold);
    require(enough && recovery.due <= host.now(), Refusal::RecoveryDelay)?;
    require(!host.has(&keys::member(&recovery.key))?, Refusal::KeyInUse)?;
    host.put(&keys::member(&recovery.key), &Member::Patient(call.patient));
    if let Some(old) = &patient.key {
        host.put(&keys::member(old), &Member::Retired);
    }
    let guardians = u32::try_from(recovery.approvals.len()).unwrap_or(u32::MAX);
    patients::set_key(host, call.patient, patient, recovery.key, KeyBasis::Recovered { guardians });
    save(host, call.patient, &recovery);
    let change = PatientChange::KeyRecovered;
    host.emit(Event::PatientChanged { patient: call.patient, change, organisation: None });
    notices::give(host, call.patient, NoticeKind::KeyChanged, About::default());
    Ok(())
}

fn save(host: &mut Host<'_, '_>, patient: PatientId, recovery: &Recovery) {
    host.put(&keys::recovery(patient), recovery);
    let approvals = u32::try_from(recovery.approvals.len()).unwrap_or(u32::MAX);
    host.emit(Event::RecoveryChanged { patient, status: recovery.status, approvals });
}
