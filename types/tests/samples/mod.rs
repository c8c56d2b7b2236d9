//! One fixed value of every type that is stored, hashed, signed or sent. Keys come from seeds, ids count up.
#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::event::Event;
use epione_types::genesis::{self, Policy};
use epione_types::id::*;
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::*;

pub(crate) fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn key(seed: u8) -> PublicKey {
    secret(seed).public_key()
}

pub(crate) fn month(year: u32, month: u32) -> Month {
    Month::new(year, month).expect("a month of this test")
}

pub(crate) fn organisation(number: u8) -> RegisterOrganisation {
    RegisterOrganisation {
        organisation: OrgId([number; 16]),
        kind: OrganisationKind::Hospital,
        admins: vec![key(100 + number), key(110 + number)],
        admin_threshold: 2,
        break_glass: number % 2 == 1,
    }
}

pub(crate) fn validators(count: u8) -> ValidatorSet {
    let one = |i| Validator { organisation: OrgId([i; 16]), public_key: key(i), network_key: key(50 + i) };
    ValidatorSet { epoch: Epoch::ZERO, validators: (1..=count).map(one).collect(), params: Params::default() }
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        version: genesis::GENESIS_VERSION,
        timestamp: TimestampMs(1_767_225_600_000), // 2026-01-01
        validators: validators(4),
        policy: Policy::default(),
        organisations: (1..=4).map(organisation).collect(),
    }
}

pub(crate) fn header() -> BlockHeader {
    BlockHeader {
        version: block::HEADER_VERSION,
        height: Height(7),
        epoch: Epoch(1),
        parent: Hash([1; 32]),
        timestamp: TimestampMs(1_767_225_600_001),
        batch_digest: Hash([2; 32]),
        txs_root: Hash([3; 32]),
        receipts_root: Hash([4; 32]),
        state_root: Hash([5; 32]),
        next_epoch_hash: Hash([6; 32]),
    }
}

/// A certificate of validators 0, 1 and 3 of [`validators`]`(4)` on block 7 of epoch 0.
pub(crate) fn certificate(chain: ChainId) -> Certificate {
    let (epoch, height, header_hash) = (Epoch::ZERO, Height(7), header().hash());
    let message = block::seal_bytes(chain, epoch, height, header_hash);
    let signatures =
        [0u16, 1, 3].map(|i| (ValidatorIndex(i), secret(u8::try_from(i).expect("small") + 1).sign(&message)));
    Certificate { epoch, height, header_hash, signatures: signatures.into_iter().collect() }
}

pub(crate) fn tx(number: u8) -> SignedTx {
    let body = Bytes::from(format!("body of transaction {number}"));
    SignedTx::sign(body, &[&secret(number), &secret(number + 1)])
}

pub(crate) fn batches() -> Vec<(&'static str, Batch)> {
    let proposed =
        |txs| Batch::Proposed { proposer: ValidatorIndex(2), stamp: TimestampMs(1_767_225_600_500), txs };
    vec![("null", Batch::Null), ("empty", proposed(vec![])), ("proposed", proposed(vec![tx(1), tx(2)]))]
}

pub(crate) fn rule() -> Rule {
    Rule {
        kind: GrantKind::Permit,
        to: Grantee::Role(OrgId([2; 16]), Role::Physician),
        purposes: Purposes::Only(vec![Purpose::Treat, Purpose::Btg]),
        actions: vec![Action::Read, Action::Disclose],
        categories: vec![Category::Lab],
        records: vec![RecordId([31; 16])],
        labels: Labels::Only(vec![Label::Sud, Label::Part2]),
        data_period: Some(DataPeriod { from: Some(month(2025, 1)), until: None }),
        from: Some(TimestampMs(1_767_225_600_000)),
        until: Some(TimestampMs(1_798_761_600_000)),
        max_uses: Some(3),
        delegable: true,
        parent: Some(GrantId([40; 16])),
        policy: Some(Hash([41; 32])),
        document: Some(Hash([42; 32])),
    }
}

/// The rule with everything unset that may be.
pub(crate) fn bare_denial(to: Grantee) -> Rule {
    Rule {
        kind: GrantKind::Deny,
        to,
        purposes: Purposes::All,
        actions: vec![Action::Read],
        categories: vec![],
        records: vec![],
        labels: Labels::Any,
        data_period: None,
        from: None,
        until: None,
        max_uses: None,
        delegable: false,
        parent: None,
        policy: None,
        document: None,
    }
}

pub(crate) fn grantees() -> Vec<(&'static str, Grantee)> {
    let org = OrgId([2; 16]);
    vec![
        ("any", Grantee::Any),
        ("org", Grantee::Org(org)),
        ("role", Grantee::Role(org, Role::Nurse)),
        ("practitioner", Grantee::Person(Person::Practitioner(org, PractitionerId([12; 16])))),
        ("patient", Grantee::Person(Person::Patient(PatientId([21; 16])))),
        ("representative", Grantee::Person(Person::Representative(RepresentativeId([22; 16])))),
        ("study", Grantee::Study(StudyId([23; 16]))),
        ("guest", Grantee::Guest(LinkId([24; 16]))),
    ]
}

pub(crate) fn calls() -> Vec<Call> {
    let (patient, record, grant) = (PatientId([21; 16]), RecordId([31; 16]), GrantId([40; 16]));
    vec![
        Call::RegisterOrganisation(organisation(1)),
        Call::RegisterPractitioner(RegisterPractitioner {
            practitioner: PractitionerId([12; 16]),
            key: key(12),
            roles: vec![Role::Physician],
            capabilities: vec![Capability::BreakGlass],
            credential_until: Some(TimestampMs(1_798_761_600_000)),
            identity_commitment: Hash([13; 32]),
        }),
        Call::RegisterPatient(RegisterPatient { patient, key: Some(key(21)), notice_hash: Hash([25; 32]) }),
        Call::RegisterRecord(RegisterRecord {
            record,
            patient,
            role: Role::Physician,
            category: Category::Lab,
            labels: vec![Label::Hiv],
            service_month: month(2026, 2),
            commitment: Hash([32; 32]),
            ciphertext_hash: Hash([33; 32]),
            size_class: 12,
            pointer: OpaqueRef([34; 16]),
            minor_consented: true,
        }),
        Call::CreateGrant(CreateGrant { grant, patient, rule: rule() }),
        Call::RevokeGrant(RevokeGrant { patient, grant, document: None }),
        Call::RecordAccess(RecordAccess {
            record,
            role: Role::Physician,
            action: Action::Read,
            purpose: Purpose::Btg,
            study: Some(StudyId([23; 16])),
            link: Some(LinkId([24; 16])),
            mandate: Some(OpaqueRef([35; 16])),
            emergency: Some(Emergency {
                reason: EmergencyReason::Unconscious,
                text_commitment: Some(Hash([36; 32])),
            }),
            attestation: None,
        }),
    ]
    .into_iter()
    .chain(identity_calls())
    .chain(record_calls())
    .chain(consent_calls())
    .chain(key_calls())
    .collect()
}

const PATIENT: PatientId = PatientId([21; 16]);
const RECORD: RecordId = RecordId([31; 16]);
const GRANT: GrantId = GrantId([40; 16]);
const ORG: OrgId = OrgId([2; 16]);
const PRACTITIONER: PractitionerId = PractitionerId([12; 16]);
const DOCUMENT: Option<Hash> = Some(Hash([42; 32]));

fn identity_calls() -> Vec<Call> {
    let person = Person::Representative(RepresentativeId([22; 16]));
    vec![
        Call::SetOrganisationStatus(SetOrganisationStatus {
            organisation: ORG,
            status: OrganisationStatus::Suspended,
        }),
        Call::UpdatePractitioner(UpdatePractitioner {
            practitioner: PRACTITIONER,
            roles: vec![Role::Nurse],
            capabilities: vec![],
            credential_until: None,
            key: Some(key(13)),
        }),
        Call::SetPractitionerStatus(SetPractitionerStatus {
            practitioner: PRACTITIONER,
            status: PractitionerStatus::Retired,
        }),
        Call::RegisterDevice(RegisterDevice {
            device: DeviceId([14; 16]),
            kind: DeviceKind::Monitor,
            key: key(14),
            practitioner: PRACTITIONER,
        }),
        Call::RevokeDevice(RevokeDevice { device: DeviceId([14; 16]) }),
        Call::LinkCare(LinkCare { patient: PATIENT, document: DOCUMENT }),
        Call::UnlinkCare(UnlinkCare { patient: PATIENT, organisation: ORG, document: None }),
        Call::TakeOver(TakeOver { patient: PATIENT, key: key(21), document: Hash([42; 32]) }),
        Call::MarkDeceased(MarkDeceased { patient: PATIENT, document: Hash([42; 32]) }),
        Call::ErasePatient(ErasePatient { patient: PATIENT, document: DOCUMENT }),
        Call::AddRepresentation(AddRepresentation {
            patient: PATIENT,
            person,
            key: Some(key(22)),
            kind: RepresentationKind::Parent,
            from: None,
            until: Some(TimestampMs(1_898_553_600_000)),
            minor_privacy_from: Some(TimestampMs(1_709_251_200_000)),
            categories: vec![Category::Immunization],
            evidence: Hash([43; 32]),
        }),
        Call::RevokeRepresentation(RevokeRepresentation { patient: PATIENT, person, document: DOCUMENT }),
    ]
}

pub(crate) fn content() -> Body {
    Body {
        commitment: Hash([32; 32]),
        ciphertext_hash: Hash([33; 32]),
        size_class: 13,
        pointer: OpaqueRef([34; 16]),
    }
}

pub(crate) fn viewers() -> Vec<Viewer> {
    let until = Some(TimestampMs(1_798_761_600_000));
    vec![
        Viewer { grant: GRANT, to: Grantee::Org(ORG), until },
        Viewer {
            grant: GrantId([44; 16]),
            to: Grantee::Person(Person::Practitioner(ORG, PRACTITIONER)),
            until: None,
        },
    ]
}

fn record_calls() -> Vec<Call> {
    let link = LinkId([24; 16]);
    vec![
        Call::SupersedeRecord(SupersedeRecord {
            record: RECORD,
            version: 3,
            role: Role::Physician,
            category: Category::Lab,
            labels: vec![Label::Hiv],
            service_month: month(2026, 2),
            body: content(),
            minor_consented: false,
        }),
        Call::MarkEnteredInError(MarkEnteredInError { record: RECORD, version: 4, role: Role::Nurse }),
        Call::EraseRecord(EraseRecord { record: RECORD, document: DOCUMENT }),
        Call::SetRetention(SetRetention { record: RECORD, until: Some(TimestampMs(1_798_761_600_000)) }),
        Call::DraftReport(DraftReport {
            record: RegisterRecord {
                record: RECORD,
                patient: PATIENT,
                role: Role::Physician,
                category: Category::ClinicalNote,
                labels: vec![],
                service_month: month(2026, 2),
                commitment: Hash([32; 32]),
                ciphertext_hash: Hash([33; 32]),
                size_class: 12,
                pointer: OpaqueRef([34; 16]),
                minor_consented: false,
            },
        }),
        Call::SubmitReport(SubmitReport { record: RECORD, body: content(), viewers: viewers() }),
        Call::ApproveReport(ApproveReport {
            record: RECORD,
            commitment: Hash([32; 32]),
            viewers_hash: viewers_hash(&viewers()),
            document: None,
        }),
        Call::RequestChanges(RequestChanges {
            record: RECORD,
            text_commitment: Some(Hash([36; 32])),
            document: None,
        }),
        Call::WithdrawReport(WithdrawReport { record: RECORD }),
        Call::AnchorUnreviewed(AnchorUnreviewed { record: RECORD }),
        Call::CreateGuestLink(CreateGuestLink {
            link,
            patient: PATIENT,
            record: RECORD,
            key: key(24),
            grant: GRANT,
            until: TimestampMs(1_798_761_600_000),
            max_uses: 3,
            document: None,
        }),
        Call::CloseGuestLink(CloseGuestLink { link }),
    ]
}

fn consent_calls() -> Vec<Call> {
    let request = AccessRequestId([45; 16]);
    vec![
        Call::SetOptOut(SetOptOut { patient: PATIENT, grant: GRANT, keep_permits: true, document: DOCUMENT }),
        Call::RequestAccess(RequestAccess {
            request,
            patient: PATIENT,
            rule: bare_denial(Grantee::Org(ORG)),
            message: Some(Hash([46; 32])),
            expires_at: TimestampMs(1_798_761_600_000),
        }),
        Call::ApproveAccessRequest(ApproveAccessRequest {
            patient: PATIENT,
            request,
            grant: GRANT,
            rule: bare_denial(Grantee::Org(ORG)),
        }),
        Call::RejectAccessRequest(RejectAccessRequest { patient: PATIENT, request, document: None }),
        Call::WithdrawAccessRequest(WithdrawAccessRequest { patient: PATIENT, request }),
        Call::ReviewOverride(ReviewOverride {
            patient: PATIENT,
            height: Height(7),
            organisation: ORG,
            practitioner: PRACTITIONER,
            verdict: Verdict::Misuse,
            text_commitment: Some(Hash([36; 32])),
        }),
        Call::AcknowledgeNotice(AcknowledgeNotice {
            patient: PATIENT,
            height: Height(7),
            index: 2,
            document: None,
        }),
    ]
}

fn key_calls() -> Vec<Call> {
    let proposal = ProposalId([47; 16]);
    let propose = |action| Call::Propose(Propose { proposal, action });
    vec![
        Call::RotateKey(RotateKey { key: key(26) }),
        Call::SetGuardians(SetGuardians { guardians: vec![Hash([48; 32]), Hash([49; 32])], threshold: 2 }),
        Call::StartRecovery(StartRecovery { patient: PATIENT, key: key(26), salt: Hash([50; 32]) }),
        Call::ApproveRecovery(ApproveRecovery { patient: PATIENT, key: key(26), salt: Hash([51; 32]) }),
        Call::CancelRecovery(CancelRecovery { patient: PATIENT }),
        Call::FinishRecovery(FinishRecovery { patient: PATIENT }),
        propose(ProposalAction::SetConstant { constant: PolicyConstant::OverrideOpenMs, value: 7_200_000 }),
        propose(ProposalAction::SetStudy {
            study: StudyId([23; 16]),
            status: StudyStatus::Approved,
            approved_until: TimestampMs(1_798_761_600_000),
            team: vec![TeamMember { organisation: ORG, practitioner: PRACTITIONER }],
        }),
        propose(ProposalAction::SetEnrolment {
            study: StudyId([23; 16]),
            patient: PATIENT,
            status: EnrolmentStatus::Active,
        }),
        propose(ProposalAction::ChangeValidators {
            remove: Some(key(27)),
            add: Some(Validator { organisation: ORG, public_key: key(28), network_key: key(29) }),
        }),
        propose(ProposalAction::SetParams { params: Params { window: 16, ..Params::default() } }),
        Call::Vote(Vote { proposal, accept: true }),
        Call::WithdrawProposal(WithdrawProposal { proposal }),
        Call::ConfirmReadiness(ConfirmReadiness { proposal, height: Height(7) }),
    ]
}

/// A new variant does not compile until it has a name here, and with it a sample in [`calls`].
pub(crate) fn call_name(call: &Call) -> &'static str {
    match call {
        Call::RegisterOrganisation(_) => "RegisterOrganisation",
        Call::RegisterPractitioner(_) => "RegisterPractitioner",
        Call::RegisterPatient(_) => "RegisterPatient",
        Call::RegisterRecord(_) => "RegisterRecord",
        Call::CreateGrant(_) => "CreateGrant",
        Call::RevokeGrant(_) => "RevokeGrant",
        Call::RecordAccess(_) => "RecordAccess",
        Call::SetOrganisationStatus(_) => "SetOrganisationStatus",
        Call::UpdatePractitioner(_) => "UpdatePractitioner",
        Call::SetPractitionerStatus(_) => "SetPractitionerStatus",
        Call::RegisterDevice(_) => "RegisterDevice",
        Call::RevokeDevice(_) => "RevokeDevice",
        Call::LinkCare(_) => "LinkCare",
        Call::UnlinkCare(_) => "UnlinkCare",
        Call::TakeOver(_) => "TakeOver",
        Call::MarkDeceased(_) => "MarkDeceased",
        Call::ErasePatient(_) => "ErasePatient",
        Call::AddRepresentation(_) => "AddRepresentation",
        Call::RevokeRepresentation(_) => "RevokeRepresentation",
        Call::SupersedeRecord(_) => "SupersedeRecord",
        Call::MarkEnteredInError(_) => "MarkEnteredInError",
        Call::EraseRecord(_) => "EraseRecord",
        Call::SetRetention(_) => "SetRetention",
        Call::SetOptOut(_) => "SetOptOut",
        Call::RequestAccess(_) => "RequestAccess",
        Call::ApproveAccessRequest(_) => "ApproveAccessRequest",
        Call::RejectAccessRequest(_) => "RejectAccessRequest",
        Call::WithdrawAccessRequest(_) => "WithdrawAccessRequest",
        Call::ReviewOverride(_) => "ReviewOverride",
        Call::AcknowledgeNotice(_) => "AcknowledgeNotice",
        Call::DraftReport(_) => "DraftReport",
        Call::SubmitReport(_) => "SubmitReport",
        Call::ApproveReport(_) => "ApproveReport",
        Call::RequestChanges(_) => "RequestChanges",
        Call::WithdrawReport(_) => "WithdrawReport",
        Call::AnchorUnreviewed(_) => "AnchorUnreviewed",
        Call::CreateGuestLink(_) => "CreateGuestLink",
        Call::CloseGuestLink(_) => "CloseGuestLink",
        Call::RotateKey(_) => "RotateKey",
        Call::SetGuardians(_) => "SetGuardians",
        Call::StartRecovery(_) => "StartRecovery",
        Call::ApproveRecovery(_) => "ApproveRecovery",
        Call::CancelRecovery(_) => "CancelRecovery",
        Call::FinishRecovery(_) => "FinishRecovery",
        Call::Propose(_) => "Propose",
        Call::Vote(_) => "Vote",
        Call::WithdrawProposal(_) => "WithdrawProposal",
        Call::ConfirmReadiness(_) => "ConfirmReadiness",
    }
}

pub(crate) fn body(call: Call) -> TxBody {
    TxBody {
        chain_id: ChainId([9; 32]),
        sender: key(1),
        co_signers: vec![key(2)],
        request_id: RequestId([8; 16]),
        expires_at: TimestampMs(1_767_229_200_000),
        call,
    }
}

pub(crate) fn events() -> Vec<Event> {
    let (organisation, practitioner) = (OrgId([2; 16]), PractitionerId([12; 16]));
    let (patient, record, grant) = (PatientId([21; 16]), RecordId([31; 16]), GrantId([40; 16]));
    vec![
        Event::OrganisationRegistered { organisation },
        Event::PractitionerRegistered { organisation, practitioner },
        Event::PatientRegistered { patient, organisation, custodial: true },
        Event::RecordRegistered { record, patient, custodian: organisation },
        Event::GrantCreated { grant, patient, kind: GrantKind::Deny },
        Event::GrantRevoked { grant, patient },
        Event::AccessDecided {
            record,
            patient: Some(patient),
            organisation: None,
            role: Role::Physician,
            action: Action::Read,
            purpose: Purpose::Treat,
            decision: Decision::Permit,
            reason: Reason::PermitGrant,
            grant: Some(grant),
            obligations: vec![Obligation::Audit, Obligation::NoRedisclose],
        },
        Event::OverrideOpened {
            patient,
            organisation,
            practitioner,
            reason: EmergencyReason::LifeThreat,
            expires: TimestampMs(1_767_240_000_000),
            review_due: TimestampMs(1_767_484_800_000),
        },
        Event::OrganisationChanged { organisation, status: OrganisationStatus::Suspended },
        Event::PractitionerChanged { organisation, practitioner, status: PractitionerStatus::Retired },
        Event::DeviceChanged { organisation, device: DeviceId([14; 16]), status: DeviceStatus::Revoked },
        Event::KeyRotated { organisation: Some(organisation), key: key(26) },
        Event::PatientChanged {
            patient,
            change: PatientChange::CareLinked,
            organisation: Some(organisation),
        },
        Event::RepresentationChanged {
            patient,
            person: Person::Representative(RepresentativeId([22; 16])),
            kind: RepresentationKind::Executor,
            status: RepresentationStatus::Active,
        },
        Event::RecordChanged {
            record,
            patient,
            custodian: organisation,
            version: 4,
            status: RecordStatus::EnteredInError,
        },
        Event::OptedOut { patient, grant, revoked: 2, still_open: vec![GrantId([44; 16])] },
        Event::AccessRequestChanged {
            request: AccessRequestId([45; 16]),
            patient,
            organisation,
            practitioner,
            status: AccessRequestStatus::Rejected,
        },
        Event::OverrideReviewed {
            patient,
            organisation,
            practitioner,
            height: Height(7),
            verdict: Verdict::Misuse,
        },
        Event::NoticeGiven { patient, kind: NoticeKind::ReviewedMisuse },
        Event::NoticeAcknowledged { patient, height: Height(7), index: 2 },
        Event::ReportChanged {
            record,
            patient,
            custodian: organisation,
            status: ReportStatus::ChangesRequested,
            round: 2,
        },
        Event::LinkChanged { link: LinkId([24; 16]), patient, record, status: LinkStatus::Closed },
        Event::RecoveryChanged { patient, status: RecoveryStatus::Pending, approvals: 1 },
        Event::ProposalChanged {
            proposal: ProposalId([47; 16]),
            status: ProposalStatus::Passed,
            accepted: 3,
            declined: 1,
        },
        Event::PolicyChanged {
            constant: PolicyConstant::OverrideOpenMs,
            value: 7_200_000,
            height: Height(8),
        },
    ]
}

/// Like [`call_name`].
pub(crate) fn event_name(event: &Event) -> &'static str {
    match event {
        Event::OrganisationRegistered { .. } => "OrganisationRegistered",
        Event::PractitionerRegistered { .. } => "PractitionerRegistered",
        Event::PatientRegistered { .. } => "PatientRegistered",
        Event::RecordRegistered { .. } => "RecordRegistered",
        Event::GrantCreated { .. } => "GrantCreated",
        Event::GrantRevoked { .. } => "GrantRevoked",
        Event::AccessDecided { .. } => "AccessDecided",
        Event::OverrideOpened { .. } => "OverrideOpened",
        Event::OrganisationChanged { .. } => "OrganisationChanged",
        Event::PractitionerChanged { .. } => "PractitionerChanged",
        Event::DeviceChanged { .. } => "DeviceChanged",
        Event::KeyRotated { .. } => "KeyRotated",
        Event::PatientChanged { .. } => "PatientChanged",
        Event::RepresentationChanged { .. } => "RepresentationChanged",
        Event::RecordChanged { .. } => "RecordChanged",
        Event::OptedOut { .. } => "OptedOut",
        Event::AccessRequestChanged { .. } => "AccessRequestChanged",
        Event::OverrideReviewed { .. } => "OverrideReviewed",
        Event::NoticeGiven { .. } => "NoticeGiven",
        Event::NoticeAcknowledged { .. } => "NoticeAcknowledged",
        Event::ReportChanged { .. } => "ReportChanged",
        Event::LinkChanged { .. } => "LinkChanged",
        Event::RecoveryChanged { .. } => "RecoveryChanged",
        Event::ProposalChanged { .. } => "ProposalChanged",
        Event::PolicyChanged { .. } => "PolicyChanged",
    }
}

pub(crate) fn receipts() -> Vec<(&'static str, Receipt)> {
    let receipt = |outcome, events| Receipt {
        version: RECEIPT_VERSION,
        tx_id: tx(1).id(),
        height: Height(7),
        index: 3,
        outcome,
        events,
    };
    vec![
        ("ok", receipt(Outcome::Ok, events().into_iter().take(8).collect())),
        ("refused", receipt(Outcome::Refused(Refusal::WriteDenied), vec![])),
    ]
}

pub(crate) fn cursor() -> EventCursor {
    EventCursor { height: Height(0x0102_0304), index: 5 }
}
