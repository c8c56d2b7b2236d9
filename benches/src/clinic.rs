//! Transactions as they would come: four hospitals whose physicians register records and read them.
//!
//! Bodies are real protobuf, signed with real keys, executed by the real contracts; ids are random.

use std::collections::BTreeMap;

use epione_chaincode::host::{Entry, Writes};
use epione_chaincode::{
    BlockContext, DecodedTx, Execution, State, StateError, execute_block, genesis_writes,
};
use epione_ledger::chain::{Chain, NewBlock, Origin};
use epione_types::block::seal_bytes;
use epione_types::call::{
    Call, CreateGrant, DataPeriod, GrantKind, Grantee, Labels, Month, Purposes, RecordAccess,
    RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord, Rule, TxBody,
};
use epione_types::codes::{Action, Category, Label, OrganisationKind, Purpose, Role};
use epione_types::genesis::{GENESIS_VERSION, Genesis, Policy};
use epione_types::id::{GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RequestId};
use epione_types::{
    Batch, BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Outcome, Params, PublicKey, SecretKey,
    SignedTx, Signer as _, TimestampMs, Validator, ValidatorIndex, ValidatorSet, codec,
};

use crate::Random;

/// Of which all blocks and transactions here are.
pub const CHAIN: ChainId = ChainId([9; 32]);
const HOSPITALS: u8 = 4;
const START: u64 = 1_780_000_000_000;
/// Time between blocks, and how long a transaction may wait.
const BLOCK_MS: u64 = 1_000;
const EXPIRY_MS: u64 = 20_000;

/// A state in memory.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A transaction as signed and as the contracts see it.
#[derive(Debug, Clone)]
pub struct Tx {
    /// As signed.
    pub signed: SignedTx,
    /// As the contracts see it.
    pub decoded: DecodedTx,
}

/// A block's transactions.
#[derive(Debug, Clone)]
pub struct Txs {
    /// As the contracts see them.
    pub decoded: Vec<DecodedTx>,
    /// As a batch.
    pub batch: Vec<u8>,
}

/// Everybody there is, and what they did so far.
#[derive(Debug, Clone)]
pub struct Clinic {
    /// Keys of the physicians, hospital by hospital in turn.
    pub physicians: Vec<SecretKey>,
    patients: Vec<PatientId>,
    records: Vec<(RecordId, usize)>,
    random: Random,
    now: u64,
}

fn admin(hospital: u8) -> SecretKey {
    SecretKey::from_seed(&[hospital + 1; 32])
}

fn organisation(hospital: u8) -> OrgId {
    OrgId([hospital + 1; 16])
}

fn voting_key(hospital: u8) -> SecretKey {
    SecretKey::from_seed(&[hospital + 101; 32])
}

/// Those who certify.
#[must_use]
pub fn validators() -> ValidatorSet {
    genesis().validators
}

/// Signed by all of them.
#[must_use]
pub fn certificate(header: &BlockHeader) -> Certificate {
    let (epoch, height, header_hash) = (header.epoch, header.height, header.hash());
    let message = seal_bytes(CHAIN, epoch, height, header_hash);
    let sign = |hospital: u8| (ValidatorIndex(hospital.into()), voting_key(hospital).sign(&message));
    Certificate { epoch, height, header_hash, signatures: (0..HOSPITALS).map(sign).collect() }
}

fn genesis() -> Genesis {
    let validator = |hospital: u8| Validator {
        organisation: organisation(hospital),
        public_key: voting_key(hospital).public_key(),
        network_key: SecretKey::from_seed(&[hospital + 201; 32]).public_key(),
    };
    let hospital = |hospital: u8| RegisterOrganisation {
        organisation: organisation(hospital),
        kind: OrganisationKind::Hospital,
        admins: vec![admin(hospital).public_key()],
        admin_threshold: 1,
        break_glass: true,
    };
    Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(START),
        validators: ValidatorSet {
            epoch: Epoch::ZERO,
            validators: (0..HOSPITALS).map(validator).collect(),
            params: Params::default(),
        },
        policy: Policy::default(),
        organisations: (0..HOSPITALS).map(hospital).collect(),
    }
}

impl Clinic {
    /// With so many physicians and patients, and the state in which all of them are registered.
    #[must_use]
    pub fn open(physicians: usize, patients: usize) -> (Self, Map) {
        let mut random = Random(1);
        let mut clinic = Self {
            physicians: (0..physicians).map(|_| SecretKey::from_seed(&random.bytes())).collect(),
            patients: (0..patients).map(|_| PatientId(random.bytes())).collect(),
            records: Vec::new(),
            random,
            now: START,
        };
        let mut state = Map::new();
        apply(&mut state, genesis_writes(&genesis()));
        let enrol = |key: &SecretKey, random: &mut Random| {
            Call::RegisterPractitioner(RegisterPractitioner {
                practitioner: PractitionerId(random.bytes()),
                key: key.public_key(),
                roles: vec![Role::Physician],
                capabilities: Vec::new(),
                credential_until: None,
                identity_commitment: Hash([1; 32]),
            })
        };
        let admins: Vec<SecretKey> = (0..HOSPITALS).map(admin).collect();
        let mut txs = Vec::new();
        for at in 0..physicians {
            let key = clinic.physicians[at].clone();
            let call = enrol(&key, &mut clinic.random);
            txs.push(clinic.tx(&[&admins[at % admins.len()], &key], call).decoded);
        }
        for at in 0..patients {
            let patient = clinic.patients[at];
            let call =
                Call::RegisterPatient(RegisterPatient { patient, key: None, notice_hash: Hash([2; 32]) });
            let by = clinic.physicians[at % admins.len()].clone();
            txs.push(clinic.tx(&[&by], call).decoded);
        }
        for txs in txs.chunks(2_000) {
            let executed = clinic.execute(&state, Height(1), txs);
            assert!(executed.receipts.iter().all(|receipt| receipt.outcome == Outcome::Ok));
            apply(&mut state, executed.writes);
            clinic.now += 1; // all at once, as far as their expiry is concerned
        }
        clinic.now += EXPIRY_MS + 1;
        for _ in 0..2 {
            clinic.now += BLOCK_MS;
            let executed = clinic.execute(&state, Height(1), &[]);
            apply(&mut state, executed.writes);
        }
        (clinic, state)
    }

    /// The same, and the state filled up to so many keys as random as a record's.
    #[must_use]
    pub fn filled(physicians: usize, patients: usize, keys: usize) -> (Self, Map) {
        let (clinic, mut state) = Self::open(physicians, patients);
        let mut random = Random(7);
        while state.len() < keys {
            let mut value = [0; 180];
            value[..144].copy_from_slice(&random.bytes::<144>()); // ids and hashes, as in a record
            state.insert([b"rec/".as_slice(), &random.bytes::<16>()].concat(), value.to_vec());
        }
        (clinic, state)
    }

    /// A genesis with this state.
    #[must_use]
    pub fn origin(state: &Map) -> Origin {
        let writes = state.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        Origin { chain: CHAIN, timestamp: TimestampMs(START), writes }
    }

    fn tx(&mut self, signers: &[&SecretKey], call: Call) -> Tx {
        let keys: Vec<PublicKey> = signers.iter().map(|key| key.public_key()).collect();
        let body = TxBody {
            chain_id: CHAIN,
            sender: keys[0],
            co_signers: keys[1..].to_vec(),
            request_id: RequestId(self.random.bytes()),
            expires_at: TimestampMs(self.now + EXPIRY_MS + self.random.number() % BLOCK_MS),
            call,
        };
        let signers: Vec<&dyn epione_types::Signer> =
            signers.iter().map(|key| *key as &dyn epione_types::Signer).collect();
        let signed = SignedTx::sign(epione_proto::encode_body(&body), &signers);
        Tx { decoded: DecodedTx { id: signed.id(), body, signers: keys }, signed }
    }

    /// A physician's new record of a patient of the same hospital.
    pub fn record(&mut self) -> Tx {
        let patient = self.random.number() as usize % self.patients.len();
        let by = self.colleague(patient);
        self.record_by(&by, patient)
    }

    /// The same by somebody whom nobody enrolled: refused.
    pub fn record_by_a_stranger(&mut self) -> Tx {
        let (patient, by) = (0, SecretKey::from_seed(&self.random.bytes()));
        let tx = self.record_by(&by, patient);
        self.records.pop();
        tx
    }

    fn record_by(&mut self, by: &SecretKey, patient: usize) -> Tx {
        let record = RecordId(self.random.bytes());
        self.records.push((record, patient));
        let call = RegisterRecord {
            record,
            patient: self.patients[patient],
            role: Role::Physician,
            category: Category::Lab,
            labels: Vec::new(),
            service_month: Month::new(2026, 3).expect("a month"),
            commitment: Hash(self.random.bytes()),
            ciphertext_hash: Hash(self.random.bytes()),
            size_class: 14,
            pointer: OpaqueRef(self.random.bytes()),
            minor_consented: false,
        };
        self.tx(&[by], Call::RegisterRecord(call))
    }

    /// A patient's grant to the next hospital, attested by a physician of their own; everything said that can be.
    pub fn grant(&mut self) -> Tx {
        let patient = self.random.number() as usize % self.patients.len();
        let by = self.colleague(patient);
        let month = |year| Month::new(year, 1);
        let next = u8::try_from((patient + 1) % usize::from(HOSPITALS)).expect("a hospital");
        let rule = Rule {
            kind: GrantKind::Permit,
            to: Grantee::Role(organisation(next), Role::Physician),
            purposes: Purposes::Only(vec![Purpose::Treat, Purpose::Hpaymt]),
            actions: vec![Action::Read, Action::Disclose],
            categories: vec![Category::Lab, Category::Diagnosis],
            records: Vec::new(),
            labels: Labels::Only(vec![Label::Hiv]),
            data_period: Some(DataPeriod { from: month(2020), until: month(2030) }),
            from: Some(TimestampMs(START)),
            until: Some(TimestampMs(START + 365 * 86_400_000)),
            max_uses: Some(1_000),
            delegable: true,
            parent: None,
            policy: Some(Hash([3; 32])),
            document: Some(Hash([4; 32])),
        };
        let call = CreateGrant { grant: GrantId(self.random.bytes()), patient: self.patients[patient], rule };
        self.tx(&[&by], Call::CreateGrant(call))
    }

    /// A physician reads a record of a patient of the same hospital; one must have been registered.
    pub fn access(&mut self) -> Tx {
        let (record, patient) = self.records[self.random.number() as usize % self.records.len()];
        let by = self.colleague(patient);
        let call = RecordAccess::new(record, Role::Physician, Action::Read, Purpose::Treat);
        self.tx(&[&by], Call::RecordAccess(call))
    }

    fn colleague(&mut self, patient: usize) -> SecretKey {
        let hospitals = usize::from(HOSPITALS);
        let floor = self.random.number() as usize % (self.physicians.len() / hospitals);
        self.physicians[floor * hospitals + patient % hospitals].clone()
    }

    /// A physician of the hospital after this one's: for patients of one hospital, somebody elsewhere.
    #[must_use]
    pub fn elsewhere(&self, key: &PublicKey) -> &SecretKey {
        let at = self.physicians.iter().position(|physician| physician.public_key() == *key);
        &self.physicians[at.map_or(0, |at| (at + 1) % self.physicians.len())]
    }

    /// When the next block is.
    #[must_use]
    pub const fn next_time(&self) -> TimestampMs {
        TimestampMs(self.now + BLOCK_MS)
    }

    /// A batch of `count` new records.
    pub fn records(&mut self, count: usize) -> Txs {
        let txs: Vec<Tx> = (0..count).map(|_| self.record()).collect();
        self.batch(txs)
    }

    /// Batches of `count` new records each for the next blocks, signed before the first of them comes.
    pub fn records_ahead(&mut self, blocks: usize, count: usize) -> Vec<Txs> {
        let now = self.now;
        let next = |_| {
            let txs = self.records(count);
            self.now += BLOCK_MS;
            txs
        };
        let made = (0..blocks).map(next).collect();
        self.now = now;
        made
    }

    /// These as a batch of the next block.
    #[must_use]
    pub fn batch(&self, txs: Vec<Tx>) -> Txs {
        let (decoded, signed) = txs.into_iter().map(|tx| (tx.decoded, tx.signed)).unzip();
        let stamp = TimestampMs(self.now + BLOCK_MS);
        let batch = Batch::Proposed { proposer: ValidatorIndex(0), stamp, txs: signed };
        Txs { decoded, batch: codec::encode(&batch) }
    }

    /// Executes the next block.
    ///
    /// # Panics
    /// If the state fails.
    #[must_use]
    pub fn execute(&self, state: &dyn State, height: Height, txs: &[DecodedTx]) -> Execution {
        let context = BlockContext {
            height,
            timestamp: TimestampMs(self.now + BLOCK_MS),
            parent_timestamp: TimestampMs(self.now),
        };
        execute_block(state, &context, txs).expect("a whole state")
    }

    /// The next block, executed, on `parent`; time moves on.
    ///
    /// # Panics
    /// If a transaction is refused.
    #[must_use]
    pub fn block(&mut self, state: &dyn State, height: Height, parent: Hash, txs: Txs) -> NewBlock {
        let executed = self.execute(state, height, &txs.decoded);
        assert!(executed.receipts.iter().all(|receipt| receipt.outcome == Outcome::Ok));
        self.now += BLOCK_MS;
        NewBlock {
            height,
            parent,
            epoch: Epoch::ZERO,
            timestamp: TimestampMs(self.now),
            batch_digest: Hash(self.random.bytes()),
            batch: txs.batch.into(),
            receipts: executed.receipts,
            writes: executed.writes,
            next_epoch_hash: Hash([7; 32]),
            epoch_begins: None,
            log_position: height.0,
        }
    }
}

/// Makes a block's writes part of a state.
pub fn apply(state: &mut Map, writes: Writes) {
    for (key, value) in writes {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
}

/// The state after a chain's head, as the node gives it to the contracts.
#[derive(Debug)]
pub struct ChainState<'a>(pub &'a Chain);

impl State for ChainState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.state(key).map_err(|error| StateError::Store(error.to_string()))
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError> {
        self.0.state_range(from, to, limit).map_err(|error| StateError::Store(error.to_string()))
    }
}
