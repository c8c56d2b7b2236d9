//! A small world to execute transactions in: names stand for ids and keys, time moves a second a block.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use epione_chaincode::{BlockContext, DecodedTx, Execution, execute_block, genesis_writes, keys};
use epione_types::call::refused::field_of;
use epione_types::call::{
    AddRepresentation, Body, Call, CreateGrant, Emergency, GrantKind, Grantee, Labels, Month, Person,
    Purposes, RecordAccess, RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord,
    RevokeGrant, Rule, TxBody,
};
use epione_types::codes::{
    Action, Capability, Category, EmergencyReason, Label, OrganisationKind, Purpose, Reason, Refusal,
    RepresentationKind, Role,
};
use epione_types::event::Event;
use epione_types::genesis::{GENESIS_VERSION, Genesis, Policy};
use epione_types::id::{
    GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RepresentativeId, RequestId,
};
use epione_types::receipt::{Outcome, Receipt};
use epione_types::{
    ChainId, Domain, Epoch, Hash, Height, Params, PublicKey, SecretKey, Signer as _, TimestampMs, TxId,
    Validator, ValidatorSet, codec,
};

pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The genesis block's time.
pub const START: u64 = 1_780_000_000_000;
pub const HOUR: u64 = 3_600_000;

pub fn hash(name: &str) -> Hash {
    Domain::new("epione/test-name").hash(name.as_bytes())
}

pub fn id16(name: &str) -> [u8; 16] {
    hash(name).0[..16].try_into().unwrap()
}

pub fn key(name: &str) -> PublicKey {
    SecretKey::from_seed(&hash(name).0).public_key()
}

pub fn org(name: &str) -> OrgId {
    OrgId(id16(name))
}

pub fn patient(name: &str) -> PatientId {
    PatientId(id16(name))
}

pub fn practitioner(name: &str) -> PractitionerId {
    PractitionerId(id16(name))
}

pub fn record(name: &str) -> RecordId {
    RecordId(id16(name))
}

pub fn grant(name: &str) -> GrantId {
    GrantId(id16(name))
}

pub fn person(organisation: &str, name: &str) -> Grantee {
    Grantee::Person(Person::Practitioner(org(organisation), practitioner(name)))
}

pub fn put<T: serde::Serialize>(state: &mut Map, key: &keys::Key<T>, value: &T) {
    state.insert(key.as_bytes().to_vec(), codec::encode(value));
}

pub fn get<T: serde::Serialize + serde::de::DeserializeOwned>(state: &Map, key: &keys::Key<T>) -> Option<T> {
    epione_chaincode::host::get(state, key).unwrap()
}

pub fn apply(state: &mut Map, execution: &Execution) {
    for (key, value) in &execution.writes {
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
}

/// Admin keys of `hospA` are `hospA.admin0` and on.
pub fn organisation_call(
    name: &str,
    kind: OrganisationKind,
    admins: u8,
    threshold: u8,
) -> RegisterOrganisation {
    RegisterOrganisation {
        organisation: org(name),
        kind,
        admins: (0..admins).map(|i| key(&format!("{name}.admin{i}"))).collect(),
        admin_threshold: threshold,
        break_glass: kind == OrganisationKind::Hospital,
    }
}

pub fn genesis(policy: Policy) -> Genesis {
    let hospitals = ["hospA", "hospB", "hospC", "hospD"];
    let validator = |name: &&str| Validator {
        organisation: org(name),
        public_key: key(&format!("{name}.validator")),
        network_key: key(&format!("{name}.network")),
    };
    let genesis = Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(START),
        validators: ValidatorSet {
            epoch: Epoch::ZERO,
            validators: hospitals.iter().map(validator).collect(),
            params: Params::default(),
        },
        policy,
        organisations: hospitals
            .iter()
            .map(|name| organisation_call(name, OrganisationKind::Hospital, 2, 1))
            .collect(),
    };
    genesis.check().unwrap();
    genesis
}

#[derive(Clone)]
pub struct World {
    pub state: Map,
    pub height: u64,
    pub now: u64,
    pub next_deadline: Option<TimestampMs>,
    requests: u64,
}

impl World {
    /// Four hospitals; drA (physician, break-glass), nurA, regA, bilA at hospA, drB (physician, break-glass), drB2 and
    /// nurB at hospB; patients `anna` with an own key and `karl` in custody, both cared for by hospA, each with a
    /// record `anna1`, `karl1`.
    pub fn new() -> Self {
        Self::with(Policy::default())
    }

    pub fn with(policy: Policy) -> Self {
        let mut world = Self::empty(policy);
        let staff = [
            ("hospA", "drA", Role::Physician, true),
            ("hospA", "nurA", Role::Nurse, false),
            ("hospA", "regA", Role::Registrar, false),
            ("hospA", "bilA", Role::Billing, false),
            ("hospB", "drB", Role::Physician, true),
            ("hospB", "drB2", Role::Physician, true),
            ("hospB", "nurB", Role::Nurse, false),
        ];
        for (organisation, name, role, break_glass) in staff {
            let tx = world.practitioner(organisation, name, &[role], break_glass);
            world.ok(tx);
        }
        let anna = world.patient("anna", Some("anna"), "regA");
        let karl = world.patient("karl", None, "regA");
        world.ok(anna);
        world.ok(karl);
        for name in ["anna", "karl"] {
            let tx = world.record("drA", name, &format!("{name}1"), &[]);
            world.ok(tx);
        }
        world
    }

    /// The same, and: a privacy officer `offA` at hospA, `offB` and a registrar `regB` at hospB, an auditor `audC` at
    /// hospC; `mother`, a guardian of anna's; three patients with keys, `gus1` to `gus3`.
    pub fn cast() -> Self {
        let mut world = Self::new();
        for (organisation, name, role) in [
            ("hospA", "offA", Role::PrivacyOfficer),
            ("hospB", "offB", Role::PrivacyOfficer),
            ("hospB", "regB", Role::Registrar),
            ("hospC", "audC", Role::Auditor),
        ] {
            let tx = world.practitioner(organisation, name, &[role], false);
            world.ok(tx);
        }
        for name in ["gus1", "gus2", "gus3"] {
            let tx = world.patient(name, Some(name), "regB");
            world.ok(tx);
        }
        let call = representation_call("anna", "mother", RepresentationKind::Guardian);
        let tx = world.tx(&["regA", "mother"], Call::AddRepresentation(call));
        world.ok(tx);
        world
    }

    pub fn empty(policy: Policy) -> Self {
        let writes = genesis_writes(&genesis(policy));
        let state = writes.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
        Self { state, height: 0, now: START, next_deadline: None, requests: 0 }
    }

    /// The block that comes `after` milliseconds later.
    pub fn context(&self, after: u64) -> BlockContext {
        BlockContext {
            height: Height(self.height + 1),
            timestamp: TimestampMs(self.now + after),
            parent_timestamp: TimestampMs(self.now),
        }
    }

    /// Executes a block `after` milliseconds later and applies it.
    pub fn block_after(&mut self, after: u64, txs: &[DecodedTx]) -> Execution {
        let context = self.context(after);
        let execution = execute_block(&self.state, &context, txs).unwrap();
        apply(&mut self.state, &execution);
        (self.height, self.now) = (context.height.0, context.timestamp.0);
        self.next_deadline = execution.next_deadline;
        assert!(self.next_deadline.is_none_or(|time| time > context.timestamp));
        assert_eq!(
            self.next_deadline,
            epione_chaincode::next_deadline(&self.state).unwrap(),
            "after a restart too"
        );
        execution
    }

    pub fn block(&mut self, txs: &[DecodedTx]) -> Vec<Receipt> {
        self.block_after(1_000, txs).receipts
    }

    pub fn run(&mut self, tx: DecodedTx) -> Receipt {
        self.block(&[tx]).pop().unwrap()
    }

    /// Executes one transaction that must be applied.
    #[track_caller]
    pub fn ok(&mut self, tx: DecodedTx) -> Receipt {
        let receipt = self.run(tx);
        assert_eq!(receipt.outcome, Outcome::Ok);
        receipt
    }

    /// Executes one transaction that must be refused, and sees that nothing but its replay record was written.
    #[track_caller]
    pub fn refused(&mut self, tx: DecodedTx) -> Refusal {
        self.refused_at(tx).0
    }

    /// The same, and the field of the call that it is about. What is wrong with a call by itself names one.
    #[track_caller]
    pub fn refused_at(&mut self, tx: DecodedTx) -> (Refusal, Option<&'static str>) {
        let call = tx.body.call.clone();
        let execution = self.block_after(1_000, &[tx]);
        let receipt = &execution.receipts[0];
        let Outcome::Refused(refusal) = receipt.outcome else { panic!("not refused") };
        assert_eq!(receipt.events, [], "a refusal has no events");
        let replay = |key: &[u8]| key.starts_with(b"txi/") || key.starts_with(b"req/");
        assert!(execution.writes.keys().all(|key| replay(key)), "a refusal writes nothing: {refusal}");
        let field = field_of(refusal, &call);
        // A parent's two times depend on each other, on the clock and on policy.
        let parent = matches!(&call, Call::AddRepresentation(it) if it.kind == RepresentationKind::Parent);
        let undecided = (refusal == Refusal::BadPeriod && parent)
            // What was put to the vote, or who is to see the report: it was right when it was sent.
            || matches!(
                (refusal, call.name()),
                (Refusal::InvalidField, "vote") | (Refusal::GrantExists, "approve_report")
            );
        let needed = MALFORMED.contains(&refusal) && !undecided;
        assert!(field.is_some() || !needed, "{refusal} of {} names no field", call.name());
        (refusal, field)
    }

    /// Executes one access and gives its public and its precise reason.
    #[track_caller]
    pub fn decided(&mut self, tx: DecodedTx) -> (Reason, Reason) {
        let execution = self.block_after(1_000, &[tx]);
        decided(&execution)[0]
    }

    pub fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(id16(&format!("request {}", self.requests)))
    }

    /// Sent by the first of `signers`.
    pub fn tx(&mut self, signers: &[&str], call: Call) -> DecodedTx {
        let request_id = self.next_request();
        let signers: Vec<PublicKey> = signers.iter().map(|name| key(name)).collect();
        tx_with(signers[0], &signers, request_id, self.now + 60_000, call)
    }

    pub fn organisation(&mut self, name: &str, signers: &[&str]) -> DecodedTx {
        let call = organisation_call(name, OrganisationKind::Clinic, 3, 2);
        self.tx(signers, Call::RegisterOrganisation(call))
    }

    pub fn practitioner(&mut self, organisation: &str, name: &str, roles: &[Role], btg: bool) -> DecodedTx {
        let call = practitioner_call(name, roles, btg);
        self.tx(&[&format!("{organisation}.admin0"), name], Call::RegisterPractitioner(call))
    }

    pub fn patient(&mut self, name: &str, own_key: Option<&str>, by: &str) -> DecodedTx {
        let call = RegisterPatient {
            patient: patient(name),
            key: own_key.map(key),
            notice_hash: hash("privacy notice"),
        };
        let signers: Vec<&str> = [by].into_iter().chain(own_key).collect();
        self.tx(&signers, Call::RegisterPatient(call))
    }

    pub fn record(&mut self, by: &str, patient: &str, name: &str, labels: &[Label]) -> DecodedTx {
        let call = record_call(patient, name, labels);
        self.tx(&[by], Call::RegisterRecord(call))
    }

    pub fn grant(&mut self, by: &str, patient_name: &str, name: &str, rule: Rule) -> DecodedTx {
        let call = CreateGrant { grant: grant(name), patient: patient(patient_name), rule };
        self.tx(&[by], Call::CreateGrant(call))
    }

    pub fn revoke(&mut self, by: &str, patient_name: &str, name: &str, document: Option<Hash>) -> DecodedTx {
        let call = RevokeGrant { patient: patient(patient_name), grant: grant(name), document };
        self.tx(&[by], Call::RevokeGrant(call))
    }

    /// A physician reads.
    pub fn access(&mut self, by: &str, record_name: &str, purpose: Purpose) -> DecodedTx {
        let call = access_call(record_name, Role::Physician, purpose);
        self.tx(&[by], Call::RecordAccess(call))
    }

    pub fn emergency(&mut self, by: &str, record_name: &str) -> DecodedTx {
        let emergency = Emergency {
            reason: EmergencyReason::Unconscious,
            text_commitment: Some(hash("found unconscious")),
        };
        let call = RecordAccess {
            emergency: Some(emergency),
            ..access_call(record_name, Role::Physician, Purpose::Btg)
        };
        self.tx(&[by], Call::RecordAccess(call))
    }

    pub fn stored_grant(&self, patient_name: &str, name: &str) -> epione_chaincode::consent::Grant {
        get(&self.state, &keys::grant(patient(patient_name), grant(name))).unwrap()
    }
}

/// Public and precise reasons of a block's accesses, in order.
pub fn decided(execution: &Execution) -> Vec<(Reason, Reason)> {
    let mut found = Vec::new();
    for receipt in &execution.receipts {
        assert_eq!(receipt.outcome, Outcome::Ok);
        let Event::AccessDecided { reason: public, record, .. } = &receipt.events[0] else {
            panic!("no access")
        };
        let place = [receipt.height.0.to_be_bytes().as_slice(), &receipt.index.to_be_bytes()].concat();
        let trace = execution.writes.iter().find(|(key, _)| key.starts_with(b"ac") && key.ends_with(&place));
        let bytes = trace.expect("every access leaves an event").1.as_ref().unwrap();
        let event: epione_chaincode::access::AccessEvent = codec::decode(bytes, 16 * 1024).unwrap();
        assert_eq!(event.record, *record);
        found.push((*public, event.reason));
    }
    found
}

/// Refusals of what a call says, whoever sends it and when.
const MALFORMED: &[Refusal] = &[
    Refusal::InvalidField,
    Refusal::BadPeriod,
    Refusal::EmptyPurpose,
    Refusal::WildcardPurposeOnPermit,
    Refusal::PsyThPnNotAlone,
    Refusal::AuthElementMissing,
    Refusal::SensitiveInClear,
    Refusal::DelegationWidens,
    Refusal::DelegationDepth,
    Refusal::RepEvidenceMissing,
    Refusal::RepSelf,
    Refusal::VersionConflict,
    Refusal::RequestWidens,
    Refusal::LinkNeedsRecord,
    Refusal::LinkTooLong,
    Refusal::KeyProof,
    Refusal::OrgExists,
    Refusal::PractitionerExists,
    Refusal::PatientExists,
    Refusal::RecordExists,
    Refusal::GrantExists,
    Refusal::GrantUnknown,
    Refusal::Exists,
];

pub fn tx_with(
    sender: PublicKey,
    signers: &[PublicKey],
    request_id: RequestId,
    expires_at: u64,
    call: Call,
) -> DecodedTx {
    let body = TxBody {
        chain_id: ChainId(hash("chain").0),
        sender,
        co_signers: signers.iter().copied().filter(|key| *key != sender).collect(),
        request_id,
        expires_at: TimestampMs(expires_at),
        call,
    };
    let id = TxId(Domain::TX_ID.hash(&codec::encode(&body)).0);
    DecodedTx { id, body, signers: signers.to_vec() }
}

pub fn practitioner_call(name: &str, roles: &[Role], btg: bool) -> RegisterPractitioner {
    RegisterPractitioner {
        practitioner: practitioner(name),
        key: key(name),
        roles: roles.to_vec(),
        capabilities: if btg { vec![Capability::BreakGlass] } else { vec![] },
        credential_until: None,
        identity_commitment: hash("licence"),
    }
}

pub fn record_call(patient_name: &str, name: &str, labels: &[Label]) -> RegisterRecord {
    RegisterRecord {
        record: record(name),
        patient: patient(patient_name),
        role: Role::Physician,
        category: Category::Lab,
        labels: labels.to_vec(),
        service_month: Month::new(2026, 3).unwrap(),
        commitment: hash("commitment"),
        ciphertext_hash: hash("ciphertext"),
        size_class: 12,
        pointer: epione_types::id::OpaqueRef(id16("pointer")),
        minor_consented: false,
    }
}

pub fn access_call(record_name: &str, role: Role, purpose: Purpose) -> RecordAccess {
    RecordAccess::new(record(record_name), role, Action::Read, purpose)
}

pub fn representative(name: &str) -> RepresentativeId {
    RepresentativeId(id16(name))
}

/// A new representative without limits, named by a key of the same name.
pub fn representation_call(patient_name: &str, name: &str, kind: RepresentationKind) -> AddRepresentation {
    AddRepresentation {
        patient: patient(patient_name),
        person: Person::Representative(representative(name)),
        key: Some(key(name)),
        kind,
        from: None,
        until: None,
        minor_privacy_from: None,
        categories: vec![],
        evidence: hash("evidence"),
    }
}

pub fn body(name: &str) -> Body {
    Body {
        commitment: hash(name),
        ciphertext_hash: hash("ciphertext"),
        size_class: 12,
        pointer: OpaqueRef(id16(name)),
    }
}

/// Treatment, reading, nothing else said.
pub fn rule(kind: GrantKind, to: Grantee) -> Rule {
    Rule {
        kind,
        to,
        purposes: Purposes::Only(vec![Purpose::Treat]),
        actions: vec![Action::Read],
        categories: vec![],
        records: vec![],
        labels: Labels::Only(vec![]),
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

pub fn permit(to: Grantee) -> Rule {
    rule(GrantKind::Permit, to)
}

pub fn deny(to: Grantee) -> Rule {
    Rule { purposes: Purposes::All, ..rule(GrantKind::Deny, to) }
}
