//! The transaction body and its calls.

use epione_types::call::{
    Call, CreateGrant, DataPeriod, Emergency, Grantee, Labels, MAX_ADMINS, MAX_LIST, Month, Person, Purposes,
    RecordAccess, RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord, RevokeGrant,
    Rule, TxBody,
};
use epione_types::id::TimestampMs;
use epione_types::tx::{MAX_SIGNATURES, SignedTx, TxSignature};

use super::{
    At as _, Code, ConvertError, ConvertReason, code_from_wire, code_to_wire, fits, fixed, fixed_opt, list,
    need, raw,
};
use crate::v1::{self as pb, grantee::To, person::Person as PersonKind, transaction_body::Call as Kind};

impl TryFrom<pb::SignedTransaction> for SignedTx {
    type Error = ConvertError;
    /// The number of signatures and their lengths; the rest of the shape is [`SignedTx::check_shape`].
    fn try_from(wire: pb::SignedTransaction) -> Result<Self, ConvertError> {
        let signatures = list("signatures", MAX_SIGNATURES, wire.signatures.iter(), |_, one| {
            Ok(TxSignature {
                public_key: fixed("public_key", &one.public_key)?,
                signature: fixed("signature", &one.signature)?,
            })
        })?;
        Ok(Self { body: wire.body, signatures })
    }
}

impl From<&SignedTx> for pb::SignedTransaction {
    fn from(tx: &SignedTx) -> Self {
        let signature = |one: &TxSignature| pb::Signature {
            public_key: raw(one.public_key.0),
            signature: raw(one.signature.0),
        };
        Self { body: tx.body.clone(), signatures: tx.signatures.iter().map(signature).collect() }
    }
}

impl TryFrom<pb::TransactionBody> for TxBody {
    type Error = ConvertError;
    fn try_from(wire: pb::TransactionBody) -> Result<Self, ConvertError> {
        Ok(Self {
            chain_id: fixed("chain_id", &wire.chain_id)?,
            sender: fixed("sender", &wire.sender)?,
            co_signers: list("co_signers", MAX_SIGNATURES - 1, wire.co_signers.iter(), |field, key| {
                fixed(field, key)
            })?,
            request_id: fixed("request_id", &wire.request_id)?,
            expires_at: TimestampMs(wire.expires_at_ms),
            call: match need("call", wire.call)? {
                Kind::RegisterOrg(call) => Call::RegisterOrganisation(call.try_into().at("register_org")?),
                Kind::RegisterPractitioner(call) => {
                    Call::RegisterPractitioner(call.try_into().at("register_practitioner")?)
                }
                Kind::RegisterPatient(call) => Call::RegisterPatient(call.try_into().at("register_patient")?),
                Kind::RegisterRecord(call) => Call::RegisterRecord(call.try_into().at("register_record")?),
                Kind::CreateGrant(call) => Call::CreateGrant(call.try_into().at("create_grant")?),
                Kind::RevokeGrant(call) => Call::RevokeGrant(call.try_into().at("revoke_grant")?),
                Kind::RecordAccess(call) => Call::RecordAccess(call.try_into().at("record_access")?),
            },
        })
    }
}

impl From<&TxBody> for pb::TransactionBody {
    fn from(body: &TxBody) -> Self {
        Self {
            chain_id: raw(body.chain_id.0),
            sender: raw(body.sender.0),
            co_signers: body.co_signers.iter().map(|key| raw(key.0)).collect(),
            request_id: raw(body.request_id.0),
            expires_at_ms: body.expires_at.0,
            call: Some(match &body.call {
                Call::RegisterOrganisation(call) => Kind::RegisterOrg(call.into()),
                Call::RegisterPractitioner(call) => Kind::RegisterPractitioner(call.into()),
                Call::RegisterPatient(call) => Kind::RegisterPatient(call.into()),
                Call::RegisterRecord(call) => Kind::RegisterRecord(call.into()),
                Call::CreateGrant(call) => Kind::CreateGrant(call.into()),
                Call::RevokeGrant(call) => Kind::RevokeGrant(call.into()),
                Call::RecordAccess(call) => Kind::RecordAccess(call.into()),
            }),
        }
    }
}

impl TryFrom<pb::RegisterOrg> for RegisterOrganisation {
    type Error = ConvertError;
    fn try_from(wire: pb::RegisterOrg) -> Result<Self, ConvertError> {
        Ok(Self {
            organisation: fixed("org_id", &wire.org_id)?,
            kind: code_from_wire("kind", wire.kind)?,
            admins: list("admins", MAX_ADMINS, wire.admins.iter(), |field, key| fixed(field, key))?,
            admin_threshold: fits("admin_threshold", wire.admin_threshold)?,
            break_glass: wire.break_glass,
        })
    }
}

impl From<&RegisterOrganisation> for pb::RegisterOrg {
    fn from(call: &RegisterOrganisation) -> Self {
        Self {
            org_id: raw(call.organisation.0),
            kind: code_to_wire(call.kind),
            admins: call.admins.iter().map(|key| raw(key.0)).collect(),
            admin_threshold: call.admin_threshold.into(),
            break_glass: call.break_glass,
        }
    }
}

impl TryFrom<pb::RegisterPractitioner> for RegisterPractitioner {
    type Error = ConvertError;
    fn try_from(wire: pb::RegisterPractitioner) -> Result<Self, ConvertError> {
        Ok(Self {
            practitioner: fixed("practitioner_id", &wire.practitioner_id)?,
            key: fixed("public_key", &wire.public_key)?,
            roles: codes("roles", &wire.roles)?,
            capabilities: codes("capabilities", &wire.capabilities)?,
            credential_until: wire.credential_until_ms.map(TimestampMs),
            identity_commitment: fixed("identity_commitment", &wire.identity_commitment)?,
        })
    }
}

impl From<&RegisterPractitioner> for pb::RegisterPractitioner {
    fn from(call: &RegisterPractitioner) -> Self {
        Self {
            practitioner_id: raw(call.practitioner.0),
            public_key: raw(call.key.0),
            roles: numbers(&call.roles),
            capabilities: numbers(&call.capabilities),
            credential_until_ms: call.credential_until.map(|time| time.0),
            identity_commitment: raw(call.identity_commitment.0),
        }
    }
}

impl TryFrom<pb::RegisterPatient> for RegisterPatient {
    type Error = ConvertError;
    fn try_from(wire: pb::RegisterPatient) -> Result<Self, ConvertError> {
        Ok(Self {
            patient: fixed("patient_id", &wire.patient_id)?,
            key: fixed_opt("public_key", wire.public_key.as_ref())?,
            notice_hash: fixed("notice_hash", &wire.notice_hash)?,
        })
    }
}

impl From<&RegisterPatient> for pb::RegisterPatient {
    fn from(call: &RegisterPatient) -> Self {
        Self {
            patient_id: raw(call.patient.0),
            public_key: call.key.map(|key| raw(key.0)),
            notice_hash: raw(call.notice_hash.0),
        }
    }
}

impl TryFrom<pb::RegisterRecord> for RegisterRecord {
    type Error = ConvertError;
    fn try_from(wire: pb::RegisterRecord) -> Result<Self, ConvertError> {
        Ok(Self {
            record: fixed("record_id", &wire.record_id)?,
            patient: fixed("patient_id", &wire.patient_id)?,
            role: code_from_wire("role", wire.role)?,
            category: code_from_wire("category", wire.category)?,
            labels: codes("labels", &wire.labels)?,
            service_month: month("service_month", wire.service_month)?,
            commitment: fixed("commitment", &wire.commitment)?,
            ciphertext_hash: fixed("ciphertext_hash", &wire.ciphertext_hash)?,
            size_class: fits("size_class", wire.size_class)?,
            pointer: fixed("pointer", &wire.pointer)?,
            minor_consented: wire.minor_consented,
        })
    }
}

impl From<&RegisterRecord> for pb::RegisterRecord {
    fn from(call: &RegisterRecord) -> Self {
        Self {
            record_id: raw(call.record.0),
            patient_id: raw(call.patient.0),
            role: code_to_wire(call.role),
            category: code_to_wire(call.category),
            labels: numbers(&call.labels),
            service_month: call.service_month.into(),
            commitment: raw(call.commitment.0),
            ciphertext_hash: raw(call.ciphertext_hash.0),
            size_class: call.size_class.into(),
            pointer: raw(call.pointer.0),
            minor_consented: call.minor_consented,
        }
    }
}

impl TryFrom<pb::CreateGrant> for CreateGrant {
    type Error = ConvertError;
    fn try_from(wire: pb::CreateGrant) -> Result<Self, ConvertError> {
        Ok(Self {
            grant: fixed("grant_id", &wire.grant_id)?,
            patient: fixed("patient_id", &wire.patient_id)?,
            rule: need("rule", wire.rule)?.try_into().at("rule")?,
        })
    }
}

impl From<&CreateGrant> for pb::CreateGrant {
    fn from(call: &CreateGrant) -> Self {
        Self { grant_id: raw(call.grant.0), patient_id: raw(call.patient.0), rule: Some((&call.rule).into()) }
    }
}

impl TryFrom<pb::Rule> for Rule {
    type Error = ConvertError;
    fn try_from(wire: pb::Rule) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: code_from_wire("kind", wire.kind)?,
            to: need("to", wire.to)?.try_into().at("to")?,
            purposes: match wire.purposes {
                Some(set) => set.try_into().at("purposes")?,
                None => Purposes::Only(Vec::new()),
            },
            actions: codes("actions", &wire.actions)?,
            categories: codes("categories", &wire.categories)?,
            records: list("record_ids", MAX_LIST, wire.record_ids.iter(), |field, id| fixed(field, id))?,
            labels: match wire.labels {
                Some(set) => set.try_into().at("labels")?,
                None => Labels::Only(Vec::new()),
            },
            data_period: wire.data_period.map(|period| period.try_into().at("data_period")).transpose()?,
            from: wire.from_ms.map(TimestampMs),
            until: wire.until_ms.map(TimestampMs),
            max_uses: wire.max_uses,
            delegable: wire.delegable,
            parent: fixed_opt("parent_grant_id", wire.parent_grant_id.as_ref())?,
            policy: fixed_opt("policy_hash", wire.policy_hash.as_ref())?,
            document: fixed_opt("document_hash", wire.document_hash.as_ref())?,
        })
    }
}

impl From<&Rule> for pb::Rule {
    fn from(rule: &Rule) -> Self {
        Self {
            kind: code_to_wire(rule.kind),
            to: Some(rule.to.into()),
            purposes: Some((&rule.purposes).into()),
            actions: numbers(&rule.actions),
            categories: numbers(&rule.categories),
            record_ids: rule.records.iter().map(|id| raw(id.0)).collect(),
            labels: Some((&rule.labels).into()),
            data_period: rule.data_period.map(Into::into),
            from_ms: rule.from.map(|time| time.0),
            until_ms: rule.until.map(|time| time.0),
            max_uses: rule.max_uses,
            delegable: rule.delegable,
            parent_grant_id: rule.parent.map(|id| raw(id.0)),
            policy_hash: rule.policy.map(|hash| raw(hash.0)),
            document_hash: rule.document.map(|hash| raw(hash.0)),
        }
    }
}

impl TryFrom<pb::Grantee> for Grantee {
    type Error = ConvertError;
    fn try_from(wire: pb::Grantee) -> Result<Self, ConvertError> {
        Ok(match need("", wire.to)? {
            To::Everybody(pb::Everybody {}) => Self::Any,
            To::OrgId(id) => Self::Org(fixed("org_id", &id)?),
            To::OrgRole(of) => {
                Self::Role(fixed("org_role.org_id", &of.org_id)?, code_from_wire("org_role.role", of.role)?)
            }
            To::Person(person) => Self::Person(person.try_into().at("person")?),
            To::StudyId(id) => Self::Study(fixed("study_id", &id)?),
            To::LinkId(id) => Self::Guest(fixed("link_id", &id)?),
        })
    }
}

impl From<Grantee> for pb::Grantee {
    fn from(grantee: Grantee) -> Self {
        let to = match grantee {
            Grantee::Any => To::Everybody(pb::Everybody {}),
            Grantee::Org(org) => To::OrgId(raw(org.0)),
            Grantee::Role(org, role) => {
                To::OrgRole(pb::OrgRole { org_id: raw(org.0), role: code_to_wire(role) })
            }
            Grantee::Person(person) => To::Person(person.into()),
            Grantee::Study(study) => To::StudyId(raw(study.0)),
            Grantee::Guest(link) => To::LinkId(raw(link.0)),
        };
        Self { to: Some(to) }
    }
}

impl TryFrom<pb::Person> for Person {
    type Error = ConvertError;
    fn try_from(wire: pb::Person) -> Result<Self, ConvertError> {
        Ok(match need("", wire.person)? {
            PersonKind::Practitioner(of) => Self::Practitioner(
                fixed("practitioner.org_id", &of.org_id)?,
                fixed("practitioner.practitioner_id", &of.practitioner_id)?,
            ),
            PersonKind::PatientId(id) => Self::Patient(fixed("patient_id", &id)?),
            PersonKind::RepresentativeId(id) => Self::Representative(fixed("representative_id", &id)?),
        })
    }
}

impl From<Person> for pb::Person {
    fn from(person: Person) -> Self {
        let person = match person {
            Person::Practitioner(org, practitioner) => PersonKind::Practitioner(pb::PractitionerRef {
                org_id: raw(org.0),
                practitioner_id: raw(practitioner.0),
            }),
            Person::Patient(patient) => PersonKind::PatientId(raw(patient.0)),
            Person::Representative(representative) => PersonKind::RepresentativeId(raw(representative.0)),
        };
        Self { person: Some(person) }
    }
}

impl TryFrom<pb::PurposeSet> for Purposes {
    type Error = ConvertError;
    fn try_from(wire: pb::PurposeSet) -> Result<Self, ConvertError> {
        let only = codes("only", &wire.only)?;
        if wire.all { empty("only", &only).map(|()| Self::All) } else { Ok(Self::Only(only)) }
    }
}

impl From<&Purposes> for pb::PurposeSet {
    fn from(purposes: &Purposes) -> Self {
        match purposes {
            Purposes::All => Self { all: true, only: Vec::new() },
            Purposes::Only(only) => Self { all: false, only: numbers(only) },
        }
    }
}

impl TryFrom<pb::LabelSet> for Labels {
    type Error = ConvertError;
    fn try_from(wire: pb::LabelSet) -> Result<Self, ConvertError> {
        let only = codes("only", &wire.only)?;
        if wire.any { empty("only", &only).map(|()| Self::Any) } else { Ok(Self::Only(only)) }
    }
}

impl From<&Labels> for pb::LabelSet {
    fn from(labels: &Labels) -> Self {
        match labels {
            Labels::Any => Self { any: true, only: Vec::new() },
            Labels::Only(only) => Self { any: false, only: numbers(only) },
        }
    }
}

impl TryFrom<pb::DataPeriod> for DataPeriod {
    type Error = ConvertError;
    fn try_from(wire: pb::DataPeriod) -> Result<Self, ConvertError> {
        Ok(Self {
            from: wire.from_month.map(|number| month("from_month", number)).transpose()?,
            until: wire.until_month.map(|number| month("until_month", number)).transpose()?,
        })
    }
}

impl From<DataPeriod> for pb::DataPeriod {
    fn from(period: DataPeriod) -> Self {
        Self { from_month: period.from.map(Into::into), until_month: period.until.map(Into::into) }
    }
}

impl TryFrom<pb::RevokeGrant> for RevokeGrant {
    type Error = ConvertError;
    fn try_from(wire: pb::RevokeGrant) -> Result<Self, ConvertError> {
        Ok(Self {
            patient: fixed("patient_id", &wire.patient_id)?,
            grant: fixed("grant_id", &wire.grant_id)?,
            document: fixed_opt("document_hash", wire.document_hash.as_ref())?,
        })
    }
}

impl From<&RevokeGrant> for pb::RevokeGrant {
    fn from(call: &RevokeGrant) -> Self {
        Self {
            patient_id: raw(call.patient.0),
            grant_id: raw(call.grant.0),
            document_hash: call.document.map(|hash| raw(hash.0)),
        }
    }
}

impl TryFrom<pb::RecordAccess> for RecordAccess {
    type Error = ConvertError;
    fn try_from(wire: pb::RecordAccess) -> Result<Self, ConvertError> {
        Ok(Self {
            record: fixed("record_id", &wire.record_id)?,
            role: code_from_wire("role", wire.role)?,
            action: code_from_wire("action", wire.action)?,
            purpose: code_from_wire("purpose", wire.purpose)?,
            study: fixed_opt("study_id", wire.study_id.as_ref())?,
            link: fixed_opt("link_id", wire.link_id.as_ref())?,
            mandate: fixed_opt("mandate", wire.mandate.as_ref())?,
            emergency: wire.emergency.map(|emergency| emergency.try_into().at("emergency")).transpose()?,
            attestation: fixed_opt("attestation", wire.attestation.as_ref())?,
        })
    }
}

impl From<&RecordAccess> for pb::RecordAccess {
    fn from(call: &RecordAccess) -> Self {
        Self {
            record_id: raw(call.record.0),
            role: code_to_wire(call.role),
            action: code_to_wire(call.action),
            purpose: code_to_wire(call.purpose),
            study_id: call.study.map(|id| raw(id.0)),
            link_id: call.link.map(|id| raw(id.0)),
            mandate: call.mandate.map(|id| raw(id.0)),
            emergency: call.emergency.map(Into::into),
            attestation: call.attestation.map(|hash| raw(hash.0)),
        }
    }
}

impl TryFrom<pb::Emergency> for Emergency {
    type Error = ConvertError;
    fn try_from(wire: pb::Emergency) -> Result<Self, ConvertError> {
        Ok(Self {
            reason: code_from_wire("reason", wire.reason)?,
            text_commitment: fixed_opt("text_commitment", wire.text_commitment.as_ref())?,
        })
    }
}

impl From<Emergency> for pb::Emergency {
    fn from(emergency: Emergency) -> Self {
        Self {
            reason: code_to_wire(emergency.reason),
            text_commitment: emergency.text_commitment.map(|hash| raw(hash.0)),
        }
    }
}

fn codes<T: Code>(field: &str, numbers: &[i32]) -> Result<Vec<T>, ConvertError> {
    list(field, MAX_LIST, numbers.iter(), |field, number| code_from_wire(field, *number))
}

fn numbers<T: Code>(codes: &[T]) -> Vec<i32> {
    codes.iter().copied().map(code_to_wire).collect()
}

fn month(field: &str, number: u32) -> Result<Month, ConvertError> {
    Month::try_from(number).map_err(|text| ConvertError::new(field, ConvertReason::OutOfRange, text))
}

/// The list beside a flag that means "all of them".
fn empty<T>(field: &str, items: &[T]) -> Result<(), ConvertError> {
    if items.is_empty() {
        return Ok(());
    }
    let text = format!("{} entries; none beside the flag that means all", items.len());
    Err(ConvertError::new(field, ConvertReason::Conflict, text))
}
