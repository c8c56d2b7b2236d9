//! Bodies of every kind from a seed, and an editor for their wire form that knows nothing of the code under test.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "test helpers; each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "the other kinds do not occur in bodies")]

use epione_proto::FILE_DESCRIPTOR_SET;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::genesis::{Params, Validator};
use epione_types::id::*;
use epione_types::{Domain, Hash, PublicKey};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label as FieldLabel, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// How many kinds of calls there are.
pub const CALLS: u64 = 47;

/// Values drawn from a seed.
pub struct Draw(u64, u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed, 0)
    }
    fn bytes32(&mut self) -> [u8; 32] {
        self.1 += 1;
        Domain::new("test").hash(&[self.0.to_le_bytes(), self.1.to_le_bytes()].concat()).0
    }
    fn bytes16(&mut self) -> [u8; 16] {
        self.bytes32()[..16].try_into().unwrap()
    }
    fn number(&mut self) -> u64 {
        let number = u64::from_le_bytes(self.bytes32()[..8].try_into().unwrap());
        number >> (number % 64)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).unwrap()
    }
    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| value(self))
    }
    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
    fn many<T>(&mut self, mut value: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| value(self)).collect()
    }
    fn codes<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        self.many(|d| d.one(all))
    }
    fn month(&mut self) -> Month {
        Month::new(
            1800 + u32::try_from(self.below(8000)).unwrap(),
            1 + u32::try_from(self.below(12)).unwrap(),
        )
        .unwrap()
    }

    fn person(&mut self) -> Person {
        match self.below(3) {
            0 => Person::Practitioner(OrgId(self.bytes16()), PractitionerId(self.bytes16())),
            1 => Person::Patient(PatientId(self.bytes16())),
            _ => Person::Representative(RepresentativeId(self.bytes16())),
        }
    }

    fn grantee(&mut self) -> Grantee {
        match self.below(6) {
            0 => Grantee::Any,
            1 => Grantee::Org(OrgId(self.bytes16())),
            2 => Grantee::Role(OrgId(self.bytes16()), self.one(Role::ALL)),
            3 => Grantee::Person(self.person()),
            4 => Grantee::Study(StudyId(self.bytes16())),
            _ => Grantee::Guest(LinkId(self.bytes16())),
        }
    }

    fn content(&mut self) -> Body {
        Body {
            commitment: Hash(self.bytes32()),
            ciphertext_hash: Hash(self.bytes32()),
            size_class: u8::try_from(self.below(256)).unwrap(),
            pointer: OpaqueRef(self.bytes16()),
        }
    }

    fn register_record(&mut self) -> RegisterRecord {
        RegisterRecord {
            record: RecordId(self.bytes16()),
            patient: PatientId(self.bytes16()),
            role: self.one(Role::ALL),
            category: self.one(Category::ALL),
            labels: self.codes(Label::ALL),
            service_month: self.month(),
            commitment: Hash(self.bytes32()),
            ciphertext_hash: Hash(self.bytes32()),
            size_class: u8::try_from(self.below(256)).unwrap(),
            pointer: OpaqueRef(self.bytes16()),
            minor_consented: self.flag(),
        }
    }

    fn action(&mut self) -> ProposalAction {
        match self.below(5) {
            0 => {
                ProposalAction::SetConstant { constant: self.one(PolicyConstant::ALL), value: self.number() }
            }
            1 => ProposalAction::SetStudy {
                study: StudyId(self.bytes16()),
                status: self.one(StudyStatus::ALL),
                approved_until: TimestampMs(self.number()),
                team: self.many(|d| TeamMember {
                    organisation: OrgId(d.bytes16()),
                    practitioner: PractitionerId(d.bytes16()),
                }),
            },
            2 => ProposalAction::ChangeValidators {
                remove: self.flag().then(|| PublicKey(self.bytes32())),
                add: self.flag().then(|| Validator {
                    organisation: OrgId(self.bytes16()),
                    public_key: PublicKey(self.bytes32()),
                    network_key: PublicKey(self.bytes32()),
                }),
            },
            3 => ProposalAction::SetParams {
                params: Params { window: self.number(), view_timeout_ms: self.number(), ..Params::default() },
            },
            _ => ProposalAction::SetEnrolment {
                study: StudyId(self.bytes16()),
                patient: PatientId(self.bytes16()),
                status: self.one(EnrolmentStatus::ALL),
            },
        }
    }

    fn rule(&mut self) -> Rule {
        let kind = self.one(&[GrantKind::Permit, GrantKind::Deny]);
        let to = self.grantee();
        Rule {
            kind,
            to,
            purposes: if self.flag() { Purposes::All } else { Purposes::Only(self.codes(Purpose::ALL)) },
            actions: self.codes(Action::ALL),
            categories: self.codes(Category::ALL),
            records: self.many(|d| RecordId(d.bytes16())),
            labels: if self.flag() { Labels::Any } else { Labels::Only(self.codes(Label::ALL)) },
            data_period: self
                .maybe(|d| DataPeriod { from: d.maybe(Self::month), until: d.maybe(Self::month) }),
            from: self.maybe(|d| TimestampMs(d.number())),
            until: self.maybe(|d| TimestampMs(d.number())),
            max_uses: self.maybe(|d| u32::try_from(d.number() & 0xffff_ffff).unwrap()),
            delegable: self.flag(),
            parent: self.maybe(|d| GrantId(d.bytes16())),
            policy: self.maybe(|d| Hash(d.bytes32())),
            document: self.maybe(|d| Hash(d.bytes32())),
        }
    }

    /// A body with call number `which % CALLS`.
    pub fn body(&mut self, which: u64) -> TxBody {
        let call = match which % CALLS {
            0 => Call::RegisterOrganisation(RegisterOrganisation {
                organisation: OrgId(self.bytes16()),
                kind: self.one(OrganisationKind::ALL),
                admins: self.many(|d| PublicKey(d.bytes32())),
                admin_threshold: u8::try_from(self.below(256)).unwrap(),
                break_glass: self.flag(),
            }),
            1 => Call::RegisterPractitioner(RegisterPractitioner {
                practitioner: PractitionerId(self.bytes16()),
                key: PublicKey(self.bytes32()),
                roles: self.codes(Role::ALL),
                capabilities: self.codes(Capability::ALL),
                credential_until: self.maybe(|d| TimestampMs(d.number())),
                identity_commitment: Hash(self.bytes32()),
            }),
            2 => Call::RegisterPatient(RegisterPatient {
                patient: PatientId(self.bytes16()),
                key: self.maybe(|d| PublicKey(d.bytes32())),
                notice_hash: Hash(self.bytes32()),
            }),
            3 => Call::RegisterRecord(self.register_record()),
            4 => Call::CreateGrant(CreateGrant {
                grant: GrantId(self.bytes16()),
                patient: PatientId(self.bytes16()),
                rule: self.rule(),
            }),
            5 => Call::RevokeGrant(RevokeGrant {
                patient: PatientId(self.bytes16()),
                grant: GrantId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            6 => Call::RecordAccess(RecordAccess {
                record: RecordId(self.bytes16()),
                role: self.one(Role::ALL),
                action: self.one(Action::ALL),
                purpose: self.one(Purpose::ALL),
                study: self.maybe(|d| StudyId(d.bytes16())),
                link: self.maybe(|d| LinkId(d.bytes16())),
                mandate: self.maybe(|d| OpaqueRef(d.bytes16())),
                emergency: self.maybe(|d| Emergency {
                    reason: d.one(EmergencyReason::ALL),
                    text_commitment: d.maybe(|d| Hash(d.bytes32())),
                }),
                attestation: self.maybe(|d| Hash(d.bytes32())),
            }),
            7 => Call::SetOrganisationStatus(SetOrganisationStatus {
                organisation: OrgId(self.bytes16()),
                status: self.one(OrganisationStatus::ALL),
            }),
            8 => Call::UpdatePractitioner(UpdatePractitioner {
                practitioner: PractitionerId(self.bytes16()),
                roles: self.codes(Role::ALL),
                capabilities: self.codes(Capability::ALL),
                credential_until: self.maybe(|d| TimestampMs(d.number())),
                key: self.maybe(|d| PublicKey(d.bytes32())),
            }),
            9 => Call::SetPractitionerStatus(SetPractitionerStatus {
                practitioner: PractitionerId(self.bytes16()),
                status: self.one(PractitionerStatus::ALL),
            }),
            10 => Call::RegisterDevice(RegisterDevice {
                device: DeviceId(self.bytes16()),
                kind: self.one(DeviceKind::ALL),
                key: PublicKey(self.bytes32()),
                practitioner: PractitionerId(self.bytes16()),
            }),
            11 => Call::RevokeDevice(RevokeDevice { device: DeviceId(self.bytes16()) }),
            12 => Call::LinkCare(LinkCare {
                patient: PatientId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            13 => Call::UnlinkCare(UnlinkCare {
                patient: PatientId(self.bytes16()),
                organisation: OrgId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            14 => Call::TakeOver(TakeOver {
                patient: PatientId(self.bytes16()),
                key: PublicKey(self.bytes32()),
                document: Hash(self.bytes32()),
            }),
            15 => Call::MarkDeceased(MarkDeceased {
                patient: PatientId(self.bytes16()),
                document: Hash(self.bytes32()),
            }),
            16 => Call::ErasePatient(ErasePatient {
                patient: PatientId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            17 => Call::AddRepresentation(AddRepresentation {
                patient: PatientId(self.bytes16()),
                person: self.person(),
                key: self.maybe(|d| PublicKey(d.bytes32())),
                kind: self.one(RepresentationKind::ALL),
                from: self.maybe(|d| TimestampMs(d.number())),
                until: self.maybe(|d| TimestampMs(d.number())),
                minor_privacy_from: self.maybe(|d| TimestampMs(d.number())),
                categories: self.codes(Category::ALL),
                evidence: Hash(self.bytes32()),
            }),
            18 => Call::RevokeRepresentation(RevokeRepresentation {
                patient: PatientId(self.bytes16()),
                person: self.person(),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            19 => Call::SupersedeRecord(SupersedeRecord {
                record: RecordId(self.bytes16()),
                version: u32::try_from(self.number() & 0xffff_ffff).unwrap(),
                role: self.one(Role::ALL),
                category: self.one(Category::ALL),
                labels: self.codes(Label::ALL),
                service_month: self.month(),
                body: self.content(),
                minor_consented: self.flag(),
            }),
            20 => Call::MarkEnteredInError(MarkEnteredInError {
                record: RecordId(self.bytes16()),
                version: u32::try_from(self.number() & 0xffff_ffff).unwrap(),
                role: self.one(Role::ALL),
            }),
            21 => Call::EraseRecord(EraseRecord {
                record: RecordId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            22 => Call::SetRetention(SetRetention {
                record: RecordId(self.bytes16()),
                until: self.maybe(|d| TimestampMs(d.number())),
            }),
            23 => Call::SetOptOut(SetOptOut {
                patient: PatientId(self.bytes16()),
                grant: GrantId(self.bytes16()),
                keep_permits: self.flag(),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            24 => Call::RequestAccess(RequestAccess {
                request: AccessRequestId(self.bytes16()),
                patient: PatientId(self.bytes16()),
                rule: self.rule(),
                message: self.maybe(|d| Hash(d.bytes32())),
                expires_at: TimestampMs(self.number()),
            }),
            25 => Call::ApproveAccessRequest(ApproveAccessRequest {
                patient: PatientId(self.bytes16()),
                request: AccessRequestId(self.bytes16()),
                grant: GrantId(self.bytes16()),
                rule: self.rule(),
            }),
            26 => Call::RejectAccessRequest(RejectAccessRequest {
                patient: PatientId(self.bytes16()),
                request: AccessRequestId(self.bytes16()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            27 => Call::WithdrawAccessRequest(WithdrawAccessRequest {
                patient: PatientId(self.bytes16()),
                request: AccessRequestId(self.bytes16()),
            }),
            28 => Call::ReviewOverride(ReviewOverride {
                patient: PatientId(self.bytes16()),
                height: Height(self.number()),
                organisation: OrgId(self.bytes16()),
                practitioner: PractitionerId(self.bytes16()),
                verdict: self.one(Verdict::ALL),
                text_commitment: self.maybe(|d| Hash(d.bytes32())),
            }),
            29 => Call::AcknowledgeNotice(AcknowledgeNotice {
                patient: PatientId(self.bytes16()),
                height: Height(self.number()),
                index: u32::try_from(self.number() & 0xffff_ffff).unwrap(),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            30 => Call::DraftReport(DraftReport { record: self.register_record() }),
            31 => Call::SubmitReport(SubmitReport {
                record: RecordId(self.bytes16()),
                body: self.content(),
                viewers: self.many(|d| Viewer {
                    grant: GrantId(d.bytes16()),
                    to: d.grantee(),
                    until: d.maybe(|d| TimestampMs(d.number())),
                }),
            }),
            32 => Call::ApproveReport(ApproveReport {
                record: RecordId(self.bytes16()),
                commitment: Hash(self.bytes32()),
                viewers_hash: Hash(self.bytes32()),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            33 => Call::RequestChanges(RequestChanges {
                record: RecordId(self.bytes16()),
                text_commitment: self.maybe(|d| Hash(d.bytes32())),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            34 => Call::WithdrawReport(WithdrawReport { record: RecordId(self.bytes16()) }),
            35 => Call::AnchorUnreviewed(AnchorUnreviewed { record: RecordId(self.bytes16()) }),
            36 => Call::CreateGuestLink(CreateGuestLink {
                link: LinkId(self.bytes16()),
                patient: PatientId(self.bytes16()),
                record: RecordId(self.bytes16()),
                key: PublicKey(self.bytes32()),
                grant: GrantId(self.bytes16()),
                until: TimestampMs(self.number()),
                max_uses: u32::try_from(self.number() & 0xffff_ffff).unwrap(),
                document: self.maybe(|d| Hash(d.bytes32())),
            }),
            37 => Call::CloseGuestLink(CloseGuestLink { link: LinkId(self.bytes16()) }),
            38 => Call::RotateKey(RotateKey { key: PublicKey(self.bytes32()) }),
            39 => Call::SetGuardians(SetGuardians {
                guardians: self.many(|d| Hash(d.bytes32())),
                threshold: u8::try_from(self.below(256)).unwrap(),
            }),
            40 => Call::StartRecovery(StartRecovery {
                patient: PatientId(self.bytes16()),
                key: PublicKey(self.bytes32()),
                salt: Hash(self.bytes32()),
            }),
            41 => Call::ApproveRecovery(ApproveRecovery {
                patient: PatientId(self.bytes16()),
                key: PublicKey(self.bytes32()),
                salt: Hash(self.bytes32()),
            }),
            42 => Call::CancelRecovery(CancelRecovery { patient: PatientId(self.bytes16()) }),
            43 => Call::FinishRecovery(FinishRecovery { patient: PatientId(self.bytes16()) }),
            44 => Call::Propose(Propose { proposal: ProposalId(self.bytes16()), action: self.action() }),
            45 => Call::Vote(Vote { proposal: ProposalId(self.bytes16()), accept: self.flag() }),
            46 => Call::WithdrawProposal(WithdrawProposal { proposal: ProposalId(self.bytes16()) }),
            47 => Call::ConfirmReadiness(ConfirmReadiness {
                proposal: ProposalId(self.bytes16()),
                height: Height(self.number()),
            }),
            _ => unreachable!("below CALLS"),
        };
        TxBody {
            chain_id: ChainId(self.bytes32()),
            sender: PublicKey(self.bytes32()),
            co_signers: self.many(|d| PublicKey(d.bytes32())).into_iter().take(15).collect(),
            request_id: RequestId(self.bytes16()),
            expires_at: TimestampMs(self.number()),
            call,
        }
    }
}

/// The API's own description.
pub fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap()
}

/// A message of the API by its full name (with a leading dot).
pub fn message_type(set: &FileDescriptorSet, name: &str) -> DescriptorProto {
    let short = name.strip_prefix(".epione.v1.").unwrap();
    set.file.iter().flat_map(|file| &file.message_type).find(|m| m.name() == short).unwrap().clone()
}

/// One field as it stands on the wire; lists of numbers are taken apart.
#[derive(Debug, Clone)]
pub enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    Message(Tree),
}

/// A message as it stands on the wire.
#[derive(Debug, Clone)]
pub struct Tree {
    pub name: String,
    pub fields: Vec<(FieldDescriptorProto, Value)>,
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).unwrap()
}

fn read_delimited<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(read_varint(bytes)).unwrap();
    let (head, tail) = bytes.split_at(length);
    *bytes = tail;
    head
}

/// A varint of at least `width` bytes.
pub fn write_varint(out: &mut Vec<u8>, mut value: u64, width: usize) {
    for written in 1.. {
        let more = value > 0x7f || written < width;
        out.push(u8::try_from(value & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            return;
        }
    }
}

impl Tree {
    /// Reads a body that our own encoder wrote.
    pub fn read(set: &FileDescriptorSet, name: &str, mut bytes: &[u8]) -> Self {
        let message = message_type(set, name);
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = read_varint(&mut bytes);
            let number = i32::try_from(key >> 3).unwrap();
            let field = message.field.iter().find(|field| field.number() == number).unwrap();
            let mut push = |value| fields.push((field.clone(), value));
            match (field.r#type(), key & 7) {
                (Type::Message, _) => {
                    push(Value::Message(Self::read(set, field.type_name(), read_delimited(&mut bytes))));
                }
                (Type::Bytes, _) => push(Value::Bytes(read_delimited(&mut bytes).to_vec())),
                (_, 0) => push(Value::Number(read_varint(&mut bytes))),
                (_, _) => {
                    let mut packed = read_delimited(&mut bytes);
                    while !packed.is_empty() {
                        push(Value::Number(read_varint(&mut packed)));
                    }
                }
            }
        }
        Self { name: name.to_owned(), fields }
    }

    /// Writes it, numbers of lists one by one.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, value) in &self.fields {
            let number = u64::from(field.number().unsigned_abs()) << 3;
            let mut delimited = |bytes: &[u8]| {
                write_varint(&mut out, number | 2, 1);
                write_varint(&mut out, bytes.len() as u64, 1);
                out.extend_from_slice(bytes);
            };
            match value {
                Value::Message(tree) => delimited(&tree.write()),
                Value::Bytes(bytes) => delimited(bytes),
                Value::Number(value) => {
                    write_varint(&mut out, number, 1);
                    write_varint(&mut out, *value, 1);
                }
            }
        }
        out
    }

    /// Every way to change one message of the tree: `edit` may return several changed copies of a message.
    pub fn edits(&self, edit: &dyn Fn(&Self) -> Vec<Self>) -> Vec<Self> {
        let mut all = edit(self);
        for (i, (_, value)) in self.fields.iter().enumerate() {
            if let Value::Message(inner) = value {
                for changed in inner.edits(edit) {
                    let mut copy = self.clone();
                    copy.fields[i].1 = Value::Message(changed);
                    all.push(copy);
                }
            }
        }
        all
    }
}

/// Is it a list?
pub fn is_list(field: &FieldDescriptorProto) -> bool {
    field.label() == FieldLabel::Repeated
}
