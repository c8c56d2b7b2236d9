//! The transaction body and its calls.

use epione_types::call::{
    AcknowledgeNotice, AddRepresentation, AnchorUnreviewed, ApproveAccessRequest, ApproveRecovery,
    ApproveReport, Body, Call, CancelRecovery, CloseGuestLink, ConfirmReadiness, CreateGrant,
    CreateGuestLink, DataPeriod, DraftReport, Emergency, ErasePatient, EraseRecord, FinishRecovery, Grantee,
    Labels, LinkCare, MAX_ADMINS, MAX_LIST, MarkDeceased, MarkEnteredInError, Person, ProposalAction,
    Propose, Purposes, RecordAccess, RegisterDevice, RegisterOrganisation, RegisterPatient,
    RegisterPractitioner, RegisterRecord, RejectAccessRequest, RequestAccess, RequestChanges, ReviewOverride,
    RevokeDevice, RevokeGrant, RevokeRepresentation, RotateKey, Rule, SetGuardians, SetOptOut,
    SetOrganisationStatus, SetPractitionerStatus, SetRetention, StartRecovery, SubmitReport, SupersedeRecord,
    TakeOver, TeamMember, TxBody, UnlinkCare, UpdatePractitioner, Viewer, Vote, WithdrawAccessRequest,
    WithdrawProposal, WithdrawReport,
};
use epione_types::genesis::Validator;
use epione_types::id::TimestampMs;
use epione_types::tx::{MAX_SIGNATURES, SignedTx, TxSignature};

use super::field::{Field, messages, nested};
use super::{
    At as _, Code, ConvertError, ConvertReason, code_from_wire, code_to_wire, fits, fixed, fixed_opt, list,
    month, need, raw,
};
use crate::v1::{
    self as pb, grantee::To, person::Person as PersonKind, proposal_action::Action,
    transaction_body::Call as Kind,
};

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

/// The call of a body, by its place in the oneof.
macro_rules! calls {
    ($($kind:ident = $call:ident $path:literal),+ $(,)?) => {
        fn read_call(kind: Kind) -> Result<Call, ConvertError> {
            Ok(match kind { $(Kind::$kind(call) => Call::$call(call.try_into().at($path)?)),+ })
        }
        fn write_call(call: &Call) -> Kind {
            match call { $(Call::$call(call) => Kind::$kind(call.into())),+ }
        }
    };
}

calls! {
    RegisterOrg = RegisterOrganisation "register_org",
    RegisterPractitioner = RegisterPractitioner "register_practitioner",
    RegisterPatient = RegisterPatient "register_patient",
    RegisterRecord = RegisterRecord "register_record",
    CreateGrant = CreateGrant "create_grant",
    RevokeGrant = RevokeGrant "revoke_grant",
    RecordAccess = RecordAccess "record_access",
    SetOrgStatus = SetOrganisationStatus "set_org_status",
    UpdatePractitioner = UpdatePractitioner "update_practitioner",
    SetPractitionerStatus = SetPractitionerStatus "set_practitioner_status",
    RegisterDevice = RegisterDevice "register_device",
    RevokeDevice = RevokeDevice "revoke_device",
    LinkCare = LinkCare "link_care",
    UnlinkCare = UnlinkCare "unlink_care",
    TakeOver = TakeOver "take_over",
    MarkDeceased = MarkDeceased "mark_deceased",
    ErasePatient = ErasePatient "erase_patient",
    AddRepresentation = AddRepresentation "add_representation",
    RevokeRepresentation = RevokeRepresentation "revoke_representation",
    SupersedeRecord = SupersedeRecord "supersede_record",
    MarkEnteredInError = MarkEnteredInError "mark_entered_in_error",
    EraseRecord = EraseRecord "erase_record",
    SetRetention = SetRetention "set_retention",
    SetOptOut = SetOptOut "set_opt_out",
    RequestAccess = RequestAccess "request_access",
    ApproveAccessRequest = ApproveAccessRequest "approve_access_request",
    RejectAccessRequest = RejectAccessRequest "reject_access_request",
    WithdrawAccessRequest = WithdrawAccessRequest "withdraw_access_request",
    ReviewOverride = ReviewOverride "review_override",
    AcknowledgeNotice = AcknowledgeNotice "acknowledge_notice",
    DraftReport = DraftReport "draft_report",
    SubmitReport = SubmitReport "submit_report",
    ApproveReport = ApproveReport "approve_report",
    RequestChanges = RequestChanges "request_changes",
    WithdrawReport = WithdrawReport "withdraw_report",
    AnchorUnreviewed = AnchorUnreviewed "anchor_unreviewed",
    CreateGuestLink = CreateGuestLink "create_guest_link",
    CloseGuestLink = CloseGuestLink "close_guest_link",
    RotateKey = RotateKey "rotate_key",
    SetGuardians = SetGuardians "set_guardians",
    StartRecovery = StartRecovery "start_recovery",
    ApproveRecovery = ApproveRecovery "approve_recovery",
    CancelRecovery = CancelRecovery "cancel_recovery",
    FinishRecovery = FinishRecovery "finish_recovery",
    Propose = Propose "propose",
    Vote = Vote "vote",
    WithdrawProposal = WithdrawProposal "withdraw_proposal",
    ConfirmReadiness = ConfirmReadiness "confirm_readiness",
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
            call: read_call(need("call", wire.call)?)?,
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
            call: Some(write_call(&body.call)),
        }
    }
}

messages! {
    RegisterPractitioner = RegisterPractitioner {
        practitioner = practitioner_id, key = public_key, roles = roles, capabilities = capabilities,
        credential_until = credential_until_ms, identity_commitment = identity_commitment,
    },
    RegisterPatient = RegisterPatient { patient = patient_id, key = public_key, notice_hash = notice_hash },
    RegisterRecord = RegisterRecord {
        record = record_id, patient = patient_id, role = role, category = category, labels = labels,
        service_month = service_month, commitment = commitment, ciphertext_hash = ciphertext_hash,
        size_class = size_class, pointer = pointer, minor_consented = minor_consented,
    },
    CreateGrant = CreateGrant { grant = grant_id, patient = patient_id, rule = rule },
    RevokeGrant = RevokeGrant { patient = patient_id, grant = grant_id, document = document_hash },
    RecordAccess = RecordAccess {
        record = record_id, role = role, action = action, purpose = purpose, study = study_id, link = link_id,
        mandate = mandate, emergency = emergency, attestation = attestation,
    },
    SetOrganisationStatus = SetOrgStatus { organisation = org_id, status = status },
    UpdatePractitioner = UpdatePractitioner {
        practitioner = practitioner_id, roles = roles, capabilities = capabilities,
        credential_until = credential_until_ms, key = public_key,
    },
    SetPractitionerStatus = SetPractitionerStatus { practitioner = practitioner_id, status = status },
    RegisterDevice = RegisterDevice {
        device = device_id, kind = kind, key = public_key, practitioner = practitioner_id,
    },
    RevokeDevice = RevokeDevice { device = device_id },
    LinkCare = LinkCare { patient = patient_id, document = document_hash },
    UnlinkCare = UnlinkCare { patient = patient_id, organisation = org_id, document = document_hash },
    TakeOver = TakeOver { patient = patient_id, key = public_key, document = document_hash },
    MarkDeceased = MarkDeceased { patient = patient_id, document = document_hash },
    ErasePatient = ErasePatient { patient = patient_id, document = document_hash },
    AddRepresentation = AddRepresentation {
        patient = patient_id, person = person, key = public_key, kind = kind, from = from_ms,
        until = until_ms, minor_privacy_from = minor_privacy_from_ms, categories = categories,
        evidence = evidence,
    },
    RevokeRepresentation = RevokeRepresentation {
        patient = patient_id, person = person, document = document_hash,
    },
    Body = Body {
        commitment = commitment, ciphertext_hash = ciphertext_hash, size_class = size_class,
        pointer = pointer,
    },
    SupersedeRecord = SupersedeRecord {
        record = record_id, version = version, role = role, category = category, labels = labels,
        service_month = service_month, body = body, minor_consented = minor_consented,
    },
    MarkEnteredInError = MarkEnteredInError { record = record_id, version = version, role = role },
    EraseRecord = EraseRecord { record = record_id, document = document_hash },
    SetRetention = SetRetention { record = record_id, until = until_ms },
    SetOptOut = SetOptOut {
        patient = patient_id, grant = grant_id, keep_permits = keep_permits, document = document_hash,
    },
    RequestAccess = RequestAccess {
        request = access_request_id, patient = patient_id, rule = rule, message = message_commitment,
        expires_at = expires_ms,
    },
    ApproveAccessRequest = ApproveAccessRequest {
        patient = patient_id, request = access_request_id, grant = grant_id, rule = rule,
    },
    RejectAccessRequest = RejectAccessRequest {
        patient = patient_id, request = access_request_id, document = document_hash,
    },
    WithdrawAccessRequest = WithdrawAccessRequest { patient = patient_id, request = access_request_id },
    ReviewOverride = ReviewOverride {
        patient = patient_id, height = height, organisation = org_id, practitioner = practitioner_id,
        verdict = verdict, text_commitment = text_commitment,
    },
    AcknowledgeNotice = AcknowledgeNotice {
        patient = patient_id, height = height, index = index, document = document_hash,
    },
    DraftReport = DraftReport { record = record },
    Viewer = Viewer { grant = grant_id, to = to, until = until_ms },
    SubmitReport = SubmitReport { record = record_id, body = body, viewers = viewers },
    ApproveReport = ApproveReport {
        record = record_id, commitment = commitment, viewers_hash = viewers_hash, document = document_hash,
    },
    RequestChanges = RequestChanges {
        record = record_id, text_commitment = text_commitment, document = document_hash,
    },
    WithdrawReport = WithdrawReport { record = record_id },
    AnchorUnreviewed = AnchorUnreviewed { record = record_id },
    CreateGuestLink = CreateGuestLink {
        link = link_id, patient = patient_id, record = record_id, key = public_key, grant = grant_id,
        until = until_ms, max_uses = max_uses, document = document_hash,
    },
    CloseGuestLink = CloseGuestLink { link = link_id },
    RotateKey = RotateKey { key = public_key },
    SetGuardians = SetGuardians { guardians = guardians, threshold = threshold },
    StartRecovery = StartRecovery { patient = patient_id, key = public_key, salt = salt },
    ApproveRecovery = ApproveRecovery { patient = patient_id, key = public_key, salt = salt },
    CancelRecovery = CancelRecovery { patient = patient_id },
    FinishRecovery = FinishRecovery { patient = patient_id },
    Propose = Propose { proposal = proposal_id, action = action },
    Vote = Vote { proposal = proposal_id, accept = accept },
    WithdrawProposal = WithdrawProposal { proposal = proposal_id },
    ConfirmReadiness = ConfirmReadiness { proposal = proposal_id, height = height },
}

messages! {
    TeamMember = PractitionerRef { organisation = org_id, practitioner = practitioner_id },
}

nested! {
    Body = Body,
    DataPeriod = DataPeriod,
    Emergency = Emergency,
    Grantee = Grantee,
    Person = Person,
    ProposalAction = ProposalAction,
    RegisterRecord = RegisterRecord,
    Rule = Rule,
    TeamMember = PractitionerRef,
    Viewer = Viewer,
}

/// What is small enough to be passed by value elsewhere.
macro_rules! by_reference {
    ($($name:ident),+) => { $(
        impl From<&$name> for pb::$name {
            fn from(it: &$name) -> Self {
                (*it).into()
            }
        }
    )+ };
}

by_reference!(DataPeriod, Emergency, Grantee, Person);

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

impl TryFrom<pb::ProposalAction> for ProposalAction {
    type Error = ConvertError;
    fn try_from(wire: pb::ProposalAction) -> Result<Self, ConvertError> {
        Ok(match need("action", wire.action)? {
            Action::SetConstant(it) => Self::SetConstant {
                constant: code_from_wire("set_constant.constant", it.constant)?,
                value: it.value,
            },
            Action::SetStudy(it) => Self::SetStudy {
                study: fixed("set_study.study_id", &it.study_id)?,
                status: code_from_wire("set_study.status", it.status)?,
                approved_until: TimestampMs(it.approved_until_ms),
                team: Field::read("set_study.team", it.team)?,
            },
            Action::SetEnrolment(it) => Self::SetEnrolment {
                study: fixed("set_enrolment.study_id", &it.study_id)?,
                patient: fixed("set_enrolment.patient_id", &it.patient_id)?,
                status: code_from_wire("set_enrolment.status", it.status)?,
            },
            Action::ChangeValidators(it) => Self::ChangeValidators {
                remove: it.remove.map(|key| fixed("change_validators.remove", &key)).transpose()?,
                add: it.add.map(Validator::try_from).transpose().at("change_validators.add")?,
            },
            Action::SetParams(it) => Self::SetParams { params: need("set_params.params", it.params)?.into() },
        })
    }
}

impl From<&ProposalAction> for pb::ProposalAction {
    fn from(action: &ProposalAction) -> Self {
        let action = match action {
            ProposalAction::SetConstant { constant, value } => {
                Action::SetConstant(pb::SetConstant { constant: code_to_wire(*constant), value: *value })
            }
            ProposalAction::SetStudy { study, status, approved_until, team } => {
                Action::SetStudy(pb::SetStudy {
                    study_id: raw(study.0),
                    status: code_to_wire(*status),
                    approved_until_ms: approved_until.0,
                    team: team.write(),
                })
            }
            ProposalAction::SetEnrolment { study, patient, status } => {
                Action::SetEnrolment(pb::SetEnrolment {
                    study_id: raw(study.0),
                    patient_id: raw(patient.0),
                    status: code_to_wire(*status),
                })
            }
            ProposalAction::ChangeValidators { remove, add } => {
                Action::ChangeValidators(pb::ChangeValidators {
                    remove: remove.map(|key| raw(key.0)),
                    add: add.as_ref().map(Into::into),
                })
            }
            ProposalAction::SetParams { params } => {
                Action::SetParams(pb::SetParams { params: Some(params.into()) })
            }
        };
        Self { action: Some(action) }
    }
}

/// The list beside a flag that means "all of them".
fn empty<T>(field: &str, items: &[T]) -> Result<(), ConvertError> {
    if items.is_empty() {
        return Ok(());
    }
    let text = format!("{} entries; none beside the flag that means all", items.len());
    Err(ConvertError::new(field, ConvertReason::Conflict, text))
}
