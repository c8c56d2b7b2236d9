//! What clients ask for: enrolment, records, grants and their end, accesses that are permitted and accesses that are not.
//!
//! A client is a hospital's practitioner with a patient; it grants to other clients, revokes, and reads what others may or
//! may not let it read. What comes of each call is the contracts' business; the oracle only wants the answer to be one.

use epione_types::call::{
    Call, CreateGrant, GrantKind, Grantee, Labels, Month, Person, Purposes, RecordAccess,
    RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord, RevokeGrant, Rule, TxBody,
};
use epione_types::codes::{Action, Category, OrganisationKind, Purpose, Role};
use epione_types::genesis::{GENESIS_VERSION, Genesis, Policy};
use epione_types::id::{
    GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, ProposalId, RecordId, RequestId,
};
use epione_types::{ChainId, Domain, Epoch, Hash, SignedTx, Signer, TimestampMs, Validator, ValidatorSet};

use super::clock::START_MS;
use super::crypto::Keys;
use super::plan::Plan;
use super::random::Rng;

fn hash(name: &str) -> Hash {
    Domain::new("epione/sim-name").hash(name.as_bytes())
}

fn id16(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(name).0[..16]);
    id
}

/// A hospital's organisation.
#[must_use]
pub fn organisation(hospital: usize) -> OrgId {
    OrgId(id16(&format!("hospital{hospital}")))
}

/// Name of the key of a hospital's admin.
#[must_use]
pub fn admin_key(hospital: usize) -> String {
    format!("hospital{hospital}.admin")
}

/// Name of a machine's voting key.
#[must_use]
pub fn validator_key(node: usize) -> String {
    format!("hospital{node}.validator")
}

/// A machine as a validator of a hospital.
#[must_use]
pub fn validator(node: usize, hospital: usize, keys: &Keys) -> Validator {
    Validator {
        organisation: organisation(hospital),
        public_key: keys.signer(&validator_key(node)).public_key(),
        network_key: keys.signer(&format!("hospital{node}.network")).public_key(),
    }
}

/// A proposal's name.
#[must_use]
pub fn proposal(change: usize, number: u64) -> ProposalId {
    ProposalId(id16(&format!("proposal {change} {number}")))
}

/// Genesis of the first validators, of a hospital each, and of all hospitals that there are.
#[must_use]
pub fn genesis(plan: &Plan, keys: &Keys) -> Genesis {
    let (n, params) = (plan.n, plan.params.clone());
    let mut hospitals: Vec<usize> = (0..plan.machines()).map(|node| plan.hospital(node)).collect();
    hospitals.sort_unstable();
    hospitals.dedup();
    // As many as there may come to be at least.
    let organisation_signatures = if n < 4 { 1 } else { 2 };
    let founder = |hospital| RegisterOrganisation {
        organisation: organisation(hospital),
        kind: OrganisationKind::Hospital,
        admins: vec![keys.signer(&admin_key(hospital)).public_key()],
        admin_threshold: 1,
        break_glass: true,
    };
    Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(START_MS - 60_000),
        validators: ValidatorSet {
            epoch: Epoch::ZERO,
            validators: (0..n).map(|node| validator(node, node, keys)).collect(),
            params,
        },
        policy: Policy { organisation_signatures, ..Policy::default() },
        organisations: hospitals.into_iter().map(founder).collect(),
    }
}

/// One who submits.
#[derive(Debug)]
pub struct Client {
    number: usize,
    hospital: usize,
    hospitals: usize,
    clients: usize,
    steps: u64,
    records: u64,
    grants: Vec<u64>,
    made: u64,
}

impl Client {
    /// A practitioner of a hospital.
    #[must_use]
    pub const fn new(number: usize, hospitals: usize, clients: usize) -> Self {
        let hospital = number % hospitals;
        Self { number, hospital, hospitals, clients, steps: 0, records: 0, grants: Vec::new(), made: 0 }
    }

    /// Its hospital.
    #[must_use]
    pub const fn hospital(&self) -> usize {
        self.hospital
    }

    fn doctor(number: usize) -> String {
        format!("doctor{number}")
    }
    fn patient(number: usize) -> String {
        format!("patient{number}")
    }

    /// The next thing it wants, and who signs for it.
    pub fn next(&mut self, keys: &Keys, random: &mut Rng) -> (Call, Vec<String>) {
        let me = self.number;
        self.steps += 1;
        let admin = admin_key(self.hospital);
        match self.steps {
            1 => {
                let call = Call::RegisterPractitioner(RegisterPractitioner {
                    practitioner: PractitionerId(id16(&Self::doctor(me))),
                    key: keys.signer(&Self::doctor(me)).public_key(),
                    roles: vec![Role::Physician],
                    capabilities: vec![],
                    credential_until: None,
                    identity_commitment: hash("licence"),
                });
                (call, vec![admin, Self::doctor(me)])
            }
            2 => {
                let key = Some(keys.signer(&Self::patient(me)).public_key());
                let patient = PatientId(id16(&Self::patient(me)));
                let call = RegisterPatient { patient, key, notice_hash: hash("notice") };
                (Call::RegisterPatient(call), vec![admin, Self::patient(me)])
            }
            3 => self.record(),
            _ => match random.below(100) {
                0..15 => self.record(),
                15..35 => self.grant(random),
                35..45 if !self.grants.is_empty() => self.revoke(random),
                35..75 => self.access(random),
                _ => self.custodial(),
            },
        }
    }

    /// A patient in the hospital's custody: this always works.
    pub fn custodial(&mut self) -> (Call, Vec<String>) {
        self.made += 1;
        let patient = PatientId(id16(&format!("custodial {} {}", self.number, self.made)));
        let call = RegisterPatient { patient, key: None, notice_hash: hash("notice") };
        (Call::RegisterPatient(call), vec![admin_key(self.hospital)])
    }

    fn record(&mut self) -> (Call, Vec<String>) {
        self.records += 1;
        let call = RegisterRecord {
            record: RecordId(id16(&format!("record {} {}", self.number, self.records))),
            patient: PatientId(id16(&Self::patient(self.number))),
            role: Role::Physician,
            category: Category::Lab,
            labels: vec![],
            service_month: Month::new(2026, 3).unwrap_or_else(|| unreachable!("March is a month")),
            commitment: hash("commitment"),
            ciphertext_hash: hash("ciphertext"),
            size_class: 12,
            pointer: OpaqueRef(id16("pointer")),
            minor_consented: false,
        };
        (Call::RegisterRecord(call), vec![Self::doctor(self.number)])
    }

    fn other(&self, random: &mut Rng) -> usize {
        random.index(self.clients)
    }

    fn grant(&mut self, random: &mut Rng) -> (Call, Vec<String>) {
        self.made += 1;
        self.grants.push(self.made);
        let other = self.other(random);
        let organisation = organisation(other % self.hospitals);
        let person = Person::Practitioner(organisation, PractitionerId(id16(&Self::doctor(other))));
        let rule = Rule {
            kind: GrantKind::Permit,
            to: if random.chance(700) { Grantee::Person(person) } else { Grantee::Org(organisation) },
            purposes: Purposes::Only(vec![Purpose::Treat]),
            actions: vec![Action::Read],
            categories: vec![],
            records: vec![],
            labels: Labels::Only(vec![]),
            data_period: None,
            from: None,
            until: random.chance(300).then(|| TimestampMs(START_MS + random.below(30_000))),
            max_uses: random.chance(300).then(|| 1 + u32::try_from(random.below(3)).unwrap_or(0)),
            delegable: false,
            parent: None,
            policy: None,
            document: None,
        };
        let call = CreateGrant {
            grant: self.grant_id(self.made),
            patient: PatientId(id16(&Self::patient(self.number))),
            rule,
        };
        (Call::CreateGrant(call), vec![Self::patient(self.number)])
    }

    fn grant_id(&self, number: u64) -> GrantId {
        GrantId(id16(&format!("grant {} {number}", self.number)))
    }

    fn revoke(&mut self, random: &mut Rng) -> (Call, Vec<String>) {
        let at = random.index(self.grants.len());
        let number = self.grants.swap_remove(at);
        let patient = PatientId(id16(&Self::patient(self.number)));
        let call = RevokeGrant { patient, grant: self.grant_id(number), document: None };
        (Call::RevokeGrant(call), vec![Self::patient(self.number)])
    }

    fn access(&self, random: &mut Rng) -> (Call, Vec<String>) {
        let call = RecordAccess {
            record: RecordId(id16(&format!("record {} {}", self.other(random), random.within(1, 3)))),
            role: Role::Physician,
            action: Action::Read,
            purpose: Purpose::Treat,
            study: None,
            link: None,
            mandate: None,
            emergency: None,
            attestation: None,
        };
        (Call::RecordAccess(call), vec![Self::doctor(self.number)])
    }
}

/// A transaction of `signers`, the first of whom sends it.
#[must_use]
pub fn sign(
    chain_id: ChainId,
    keys: &Keys,
    signers: &[String],
    request: u64,
    expires_at: TimestampMs,
    call: Call,
) -> SignedTx {
    let signers: Vec<_> = signers.iter().map(|name| keys.signer(name)).collect();
    let request_id = RequestId(id16(&format!("request {request}")));
    let mut publics = signers.iter().map(|signer| signer.public_key());
    let sender = publics.next().unwrap_or_else(|| unreachable!("somebody signs"));
    let body = TxBody { chain_id, sender, co_signers: publics.collect(), request_id, expires_at, call };
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer as &dyn Signer).collect();
    SignedTx::sign(epione_proto::encode_body(&body), &signers)
}
