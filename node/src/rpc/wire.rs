//! What the contracts keep, as the API shows it.

use epione_chaincode::access::notices::Notice;
use epione_chaincode::access::{AccessEvent, Override};
use epione_chaincode::consent::requests::AccessRequest;
use epione_chaincode::consent::{Basis, Grant};
use epione_chaincode::identity::{
    Member, Organisation, OrganisationStatus, Patient, PatientStatus, Practitioner, PractitionerStatus,
    Representation,
};
use epione_chaincode::records::Record;
use epione_consensus::{Kind, SignedVote};
use epione_proto::convert::{Code, code_to_wire, raw};
use epione_proto::v1::{self as pb, member::Member as MemberKind};
use epione_types::TimestampMs;
use epione_types::call::Person;
use epione_types::codes::{OverrideStatus, Reason};
use epione_types::id::{OrgId, PatientId, PractitionerId};

fn codes<T: Code>(list: &[T]) -> Vec<i32> {
    list.iter().copied().map(code_to_wire).collect()
}

fn practitioner_ref(organisation: OrgId, id: PractitionerId) -> pb::PractitionerRef {
    pb::PractitionerRef { org_id: raw(organisation.0), practitioner_id: raw(id.0) }
}

pub(super) fn org(id: OrgId, found: &Organisation) -> pb::Org {
    let status = match found.status {
        OrganisationStatus::Active => pb::MemberStatus::Active,
        OrganisationStatus::Suspended => pb::MemberStatus::Suspended,
        OrganisationStatus::Exited => pb::MemberStatus::Ended,
    };
    pb::Org {
        org_id: raw(id.0),
        kind: code_to_wire(found.kind),
        admins: found.admins.iter().map(|key| raw(key.0)).collect(),
        admin_threshold: found.admin_threshold.into(),
        break_glass: found.break_glass,
        status: status.into(),
    }
}

pub(super) fn practitioner(
    organisation: OrgId,
    id: PractitionerId,
    found: &Practitioner,
) -> pb::Practitioner {
    let status = match found.status {
        PractitionerStatus::Active => pb::MemberStatus::Active,
        PractitionerStatus::Suspended => pb::MemberStatus::Suspended,
        PractitionerStatus::Retired => pb::MemberStatus::Ended,
    };
    pb::Practitioner {
        org_id: raw(organisation.0),
        practitioner_id: raw(id.0),
        public_key: raw(found.key.0),
        roles: codes(&found.roles),
        capabilities: codes(&found.capabilities),
        credential_until_ms: found.credential_until.map(|until| until.0),
        identity_commitment: raw(found.identity_commitment.0),
        status: status.into(),
    }
}

pub(super) fn patient(id: PatientId, found: &Patient) -> pb::Patient {
    let status = match found.status {
        PatientStatus::Active => pb::MemberStatus::Active,
        PatientStatus::Deceased | PatientStatus::Erased => pb::MemberStatus::Ended,
    };
    pb::Patient {
        patient_id: raw(id.0),
        public_key: found.key.map(|key| raw(key.0)),
        care_org_ids: found.care_organisations.iter().map(|id| raw(id.0)).collect(),
        notice_hash: raw(found.notice_hash.0),
        status: status.into(),
    }
}

/// None for a guest, who is known by the link alone, and for a device, which reads nothing.
pub(super) fn member(found: Member) -> Option<pb::Member> {
    let member = match found {
        Member::Admin(organisation) => MemberKind::AdminOfOrgId(raw(organisation.0)),
        Member::Practitioner(organisation, id) => {
            MemberKind::Practitioner(practitioner_ref(organisation, id))
        }
        Member::Patient(id) => MemberKind::PatientId(raw(id.0)),
        Member::Representative(id) => MemberKind::RepresentativeId(raw(id.0)),
        Member::Guest(_) | Member::Device(..) | Member::Retired => return None,
    };
    Some(pb::Member { member: Some(member) })
}

pub(super) fn record(found: &Record) -> pb::Record {
    pb::Record {
        record_id: raw(found.id.0),
        patient_id: raw(found.patient.0),
        author: Some(practitioner_ref(found.custodian, found.author)),
        custodian_org_id: raw(found.custodian.0),
        category: code_to_wire(found.category),
        labels: codes(&found.labels),
        service_month: found.service_month.into(),
        commitment: raw(found.commitment.0),
        ciphertext_hash: raw(found.ciphertext_hash.0),
        size_class: found.size_class.into(),
        pointer: raw(found.pointer.0),
        minor_consented: found.minor_consented,
    }
}

pub(super) fn grant(patient: PatientId, found: &Grant) -> pb::Grant {
    let source = match found.basis {
        Basis::OwnKey => pb::GrantSource::Patient,
        Basis::Representative(_) => pb::GrantSource::Representative,
        Basis::Attested { .. } => pb::GrantSource::Attested,
        Basis::Delegated { .. } => pb::GrantSource::Delegated,
    };
    pb::Grant {
        grant_id: raw(found.id.0),
        patient_id: raw(patient.0),
        rule: Some((&found.rule).into()),
        source: source.into(),
        created_ms: found.created_at.0,
        revoked_ms: found.revoked.as_ref().map(|it| it.at.0),
        uses: found.uses,
    }
}

/// With the precise reason, or what everybody may know of it.
pub(super) fn reason(found: Reason, precise: bool) -> i32 {
    code_to_wire(if precise { found } else { found.public() })
}

pub(super) fn access(patient: PatientId, found: &AccessEvent, precise: bool) -> pb::AccessEvent {
    pb::AccessEvent {
        height: found.height.0,
        index: found.index,
        block_time_ms: found.at.0,
        record_id: raw(found.record.0),
        patient_id: raw(patient.0),
        requester: found.who.person().map(Into::into),
        role: code_to_wire(found.role),
        action: code_to_wire(found.action),
        purpose: code_to_wire(found.purpose),
        decision: code_to_wire(found.decision),
        reason: reason(found.reason, precise),
        grant_id: found.grant.map(|id| raw(id.0)),
        obligations: codes(&found.obligations),
        emergency: found.emergency.map(Into::into),
    }
}

pub(super) fn emergency(patient: PatientId, found: &Override, status: OverrideStatus) -> pb::Override {
    let (organisation, practitioner) = found.practitioner;
    pb::Override {
        patient_id: raw(patient.0),
        practitioner: Some(practitioner_ref(organisation, practitioner)),
        reason: code_to_wire(found.reason),
        text_commitment: raw(found.text_commitment.0),
        opened_ms: found.opened.0,
        expires_ms: found.expires.0,
        review_due_ms: found.review_due.0,
        height: found.height.0,
        status: code_to_wire(status),
    }
}

pub(super) fn notice(patient: PatientId, found: &Notice) -> pb::Notice {
    pb::Notice {
        patient_id: raw(patient.0),
        height: found.height.0,
        index: found.index,
        kind: code_to_wire(found.kind),
        block_time_ms: found.at.0,
        practitioner: found.about.practitioner.map(|(organisation, id)| practitioner_ref(organisation, id)),
        record_id: found.about.record.map(|id| raw(id.0)),
        acknowledged_ms: found.acknowledged.map(|(at, _)| at.0),
    }
}

pub(super) fn access_request(patient: PatientId, found: &AccessRequest) -> pb::AccessRequest {
    let (organisation, practitioner) = found.requester;
    pb::AccessRequest {
        access_request_id: raw(found.id.0),
        patient_id: raw(patient.0),
        requester: Some(practitioner_ref(organisation, practitioner)),
        rule: Some((&found.rule).into()),
        message_commitment: found.message.map(|hash| raw(hash.0)),
        created_ms: found.created_at.0,
        expires_ms: found.expires_at.0,
        status: code_to_wire(found.status),
        grant_id: found.grant.map(|id| raw(id.0)),
        answered_ms: found.answered.as_ref().map(|(at, _)| at.0),
    }
}

pub(super) fn representation(
    patient: PatientId,
    person: Person,
    found: &Representation,
    now: TimestampMs,
) -> pb::Representation {
    pb::Representation {
        patient_id: raw(patient.0),
        person: Some(person.into()),
        kind: code_to_wire(found.kind),
        status: code_to_wire(found.status(now)),
        from_ms: found.from.0,
        until_ms: found.until.map(|at| at.0),
        minor_privacy_from_ms: found.minor_privacy_from.map(|at| at.0),
        categories: codes(&found.categories),
        revoked_ms: found.revoked_at.map(|at| at.0),
        evidence: raw(found.evidence.0),
        attested_by_org_id: raw(found.organisation.0),
    }
}

/// None for votes that are no evidence.
pub(super) fn evidence(first: &SignedVote, second: &SignedVote) -> Option<pb::Evidence> {
    let kind = match first.vote.kind {
        Kind::PrePrepare => pb::VoteKind::PrePrepare,
        Kind::Prepare => pb::VoteKind::Prepare,
        Kind::Commit => pb::VoteKind::Commit,
        Kind::Seal => pb::VoteKind::Seal,
        Kind::Suspect => return None,
    };
    let signed = |vote: &SignedVote| pb::SignedDigest {
        digest: raw(vote.vote.digest.0),
        signature: raw(vote.signature.0),
    };
    Some(pb::Evidence {
        kind: kind.into(),
        epoch: first.vote.epoch.0,
        view: first.vote.view.0,
        height: first.vote.height.0,
        validator: first.from.0.into(),
        first: Some(signed(first)),
        second: Some(signed(second)),
    })
}
