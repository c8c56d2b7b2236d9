//! Asking a patient for a grant, and the answer.
//!
//! A practitioner asks for themselves or for their organisation, one request at a time and patient; the answer is that
//! very grant or less. Tested by `tests/requests.rs` and `tests/machines.rs`.

use epione_types::call::{
    ApproveAccessRequest, GrantKind, Grantee, RejectAccessRequest, RequestAccess, Rule, WithdrawAccessRequest,
};
use epione_types::codes::{AccessRequestStatus, NoticeKind, Refusal};
use epione_types::event::Event;
use epione_types::id::{AccessRequestId, GrantId, OrgId, PatientId, PractitionerId};
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{Basis, make, matter, rule};
use crate::access::notices::{self, About};
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::voice::{self, Matter};

use AccessRequestStatus::{Approved, Pending, Rejected, Withdrawn};

/// What may be done to a request for access.
pub const MACHINE: Machine<AccessRequestStatus> = Machine {
    entity: "Request for access",
    note: "Once expired it cannot be approved. A document approves nothing for a patient who holds a key.",
    rows: ROWS,
};

const ROWS: &[Row<AccessRequestStatus>] = &[
    row(None, Verb::Ask, Pending, &[Actor::Requester]),
    row(Some(Pending), Verb::Approve, Approved, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
    row(Some(Pending), Verb::Reject, Rejected, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
    row(Some(Pending), Verb::Withdraw, Withdrawn, &[Actor::Requester]),
];

/// A request for access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// Which.
    pub id: AccessRequestId,
    /// Who asks.
    pub requester: (OrgId, PractitionerId),
    /// For what.
    pub rule: Rule,
    /// Salted commitment to a message.
    pub message: Option<Hash>,
    /// Since when.
    pub created_at: TimestampMs,
    /// Until when it may be approved, exclusive.
    pub expires_at: TimestampMs,
    /// Where it stands.
    pub status: AccessRequestStatus,
    /// The grant that was made of it.
    pub grant: Option<GrantId>,
    /// When it was answered, and in whose word.
    pub answered: Option<(TimestampMs, Basis)>,
}

/// Sent by the requester.
pub(crate) fn ask(host: &mut Host<'_, '_>, call: &RequestAccess) -> Done {
    let Member::Practitioner(organisation, practitioner) = identity::sender(host)? else {
        return Err(Refusal::NotAuthorised.into());
    };
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    patients::known(host, call.patient)?;
    rule::check(host, &call.rule)?;
    let themselves = Some(Member::Practitioner(organisation, practitioner));
    let to = match call.rule.to {
        Grantee::Org(org) => org == organisation,
        Grantee::Role(org, role) => org == organisation && at_work.acts_as(role),
        Grantee::Person(person) => themselves.and_then(Member::person) == Some(person),
        Grantee::Any | Grantee::Study(_) | Grantee::Guest(_) => false,
    };
    let rule = call.rule.kind == GrantKind::Permit && call.rule.parent.is_none() && to;
    require(rule, Refusal::InvalidField)?;
    let latest = host.now().plus(host.constants().access_request_ms);
    require(host.now() < call.expires_at && call.expires_at <= latest, Refusal::BadPeriod)?;

    let key = keys::access_request(call.patient, call.request);
    require(!host.has(&key)?, Refusal::Exists)?;
    let pending = keys::access_request_pending(call.patient, (organisation, practitioner));
    if let Some(before) = host.get(&pending)? {
        let before = host.get(&keys::access_request(call.patient, before))?;
        require(before.is_none_or(|it| it.expires_at <= host.now()), Refusal::TooMany)?;
    }
    let request = AccessRequest {
        id: call.request,
        requester: (organisation, practitioner),
        rule: call.rule.clone(),
        message: call.message,
        created_at: host.now(),
        expires_at: call.expires_at,
        status: MACHINE.step(None, Verb::Ask, Actor::Requester)?,
        grant: None,
        answered: None,
    };
    host.put(&pending, &call.request);
    save(host, call.patient, &request);
    let about = About { practitioner: Some(request.requester), record: None };
    notices::give(host, call.patient, NoticeKind::AccessRequested, about);
    Ok(())
}

fn find(host: &Host<'_, '_>, patient: PatientId, id: AccessRequestId) -> Done<AccessRequest> {
    Ok(host.get(&keys::access_request(patient, id))?.ok_or(Refusal::Unknown)?)
}

fn save(host: &mut Host<'_, '_>, patient: PatientId, request: &AccessRequest) {
    host.put(&keys::access_request(patient, request.id), request);
    let (organisation, practitioner) = request.requester;
    if request.status != Pending {
        host.delete(&keys::access_request_pending(patient, request.requester));
    }
    let AccessRequest { id: request, status, .. } = *request;
    host.emit(Event::AccessRequestChanged { request, patient, organisation, practitioner, status });
}

/// Signed by whoever speaks for the patient: makes the grant.
pub(crate) fn approve(host: &mut Host<'_, '_>, call: &ApproveAccessRequest) -> Done {
    let mut request = find(host, call.patient, call.request)?;
    let patient = patients::known(host, call.patient)?;
    rule::check(host, &call.rule)?;
    rule::check_authorization(&call.rule)?;
    let basis = voice::spoken(host, call.patient, &patient, &matter(&call.rule, true, call.rule.document))?;
    request.status = MACHINE.step(Some(request.status), Verb::Approve, basis.actor())?;
    require(host.now() < request.expires_at, Refusal::RequestExpired)?;
    let asked = &request.rule;
    let less = call.rule.kind == GrantKind::Permit
        && call.rule.to == asked.to
        && call.rule.parent.is_none()
        && (asked.delegable || !call.rule.delegable)
        && rule::is_within(&call.rule, asked);
    require(less, Refusal::RequestWidens)?;
    make(host, call.patient, call.grant, call.rule.clone(), basis)?;
    request.grant = Some(call.grant);
    request.answered = Some((host.now(), basis));
    save(host, call.patient, &request);
    Ok(())
}

/// Signed by whoever speaks for the patient.
pub(crate) fn reject(host: &mut Host<'_, '_>, call: &RejectAccessRequest) -> Done {
    let mut request = find(host, call.patient, call.request)?;
    let patient = patients::known(host, call.patient)?;
    let matter = Matter { categories: &request.rule.categories, ..Matter::general(call.document) };
    let basis = voice::spoken(host, call.patient, &patient, &matter)?;
    request.status = MACHINE.step(Some(request.status), Verb::Reject, basis.actor())?;
    request.answered = Some((host.now(), basis));
    save(host, call.patient, &request);
    Ok(())
}

/// Sent by the requester.
pub(crate) fn withdraw(host: &mut Host<'_, '_>, call: &WithdrawAccessRequest) -> Done {
    let mut request = find(host, call.patient, call.request)?;
    let (organisation, practitioner) = request.requester;
    let own = identity::sender(host)? == Member::Practitioner(organisation, practitioner);
    require(own, Refusal::NotAuthorised)?;
    request.status = MACHINE.step(Some(request.status), Verb::Withdraw, Actor::Requester)?;
    save(host, call.patient, &request);
    Ok(())
}
