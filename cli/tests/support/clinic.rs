//! Clinics that submit and keep books, and what their books are compared with.
//!
//! ```text
//! clinic ─▶ SDK: the same bytes again, at the next node ─▶ answer ─▶ its book ─▶ each line is in a node's ledger, once
//! ```

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use epione_client::{ClientError, Config, EpioneClient, Trust, TxBuilder, TxStatus, Wait, keys, tx};
use epione_proto::v1 as pb;
use epione_testnet::local::{self, Layout, State};
use epione_types::call::{
    Call, Month, RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord,
};
use epione_types::codes::{Category, OrganisationKind, Refusal, Role};
use epione_types::id::{OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, Outcome, Receipt, SecretKey, SignedTx, Signer, TxId};
use tokio::sync::watch;

use crate::support::PATIENCE;

/// Unanswered submissions of one clinic at a time.
const WINDOW: usize = 64;
/// One in so many has little time left.
const HASTY: u64 = 16;
/// How little, in ms, at most: some of them cannot make it.
const HASTE: u64 = 400;

/// How clinics reach the nodes: each begins at another one, and knows them all.
pub(crate) struct Nodes {
    pub(crate) trust: Trust,
    ca: Vec<u8>,
    endpoints: Vec<String>,
    admins: Vec<SecretKey>,
}

impl Nodes {
    pub(crate) fn of(layout: &Layout, state: &State) -> Self {
        Self {
            trust: Trust::new(&local::genesis(layout).unwrap()).unwrap(),
            ca: std::fs::read(layout.ca()).unwrap(),
            endpoints: (state.nodes.iter())
                .map(|node| format!("https://127.0.0.1:{}", node.ports.grpc))
                .collect(),
            admins: (0..state.nodes.len()).map(|node| keys::read(&layout.admin_key(node)).unwrap()).collect(),
        }
    }

    /// A hospital's administrator, who asks the hospital's node alone.
    pub(crate) fn admin_at(&self, node: usize) -> EpioneClient {
        self.client(vec![self.endpoints[node].clone()], &self.admins[node])
    }

    fn client(&self, endpoints: Vec<String>, key: &SecretKey) -> EpioneClient {
        let mut config = Config::new(endpoints, self.ca.clone(), self.trust.clone(), key.clone());
        (config.timeout, config.attempt_timeout) = (PATIENCE, Duration::from_secs(5));
        EpioneClient::lazy(config).unwrap()
    }

    fn all_from(&self, first: usize, key: &SecretKey) -> EpioneClient {
        let mut endpoints = self.endpoints.clone();
        endpoints.rotate_left(first);
        self.client(endpoints, key)
    }
}

async fn applied(client: &EpioneClient, keys: &[&SecretKey], call: Call) {
    let tx = {
        let others: Vec<&dyn Signer> = keys[1..].iter().map(|key| *key as &dyn Signer).collect();
        TxBuilder::new(client.chain_id(), call).sign(keys[0], &others).unwrap()
    };
    let status = client.submit(&tx, Wait::Certified).await.unwrap();
    assert_eq!(status.receipt().map(|receipt| receipt.outcome), Some(Outcome::Ok));
}

/// A clinic's doctor and a patient of theirs.
#[derive(Clone)]
pub(crate) struct Clinic {
    pub(crate) client: EpioneClient,
    key: SecretKey,
    patient: PatientId,
}

impl Clinic {
    /// A clinic has no validator: a hospital vouches for it.
    pub(crate) async fn enrol(nodes: &Nodes, first: usize) -> Self {
        let hospital = &nodes.admins[first];
        let (admin, key) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let call = RegisterOrganisation {
            organisation: OrgId(tx::random_id().unwrap()),
            kind: OrganisationKind::Clinic,
            admins: vec![admin.public_key()],
            admin_threshold: 1,
            break_glass: false,
        };
        let other = &nodes.admins[(first + 1) % nodes.admins.len()];
        let by_hospital = nodes.all_from(first, hospital);
        applied(&by_hospital, &[hospital, other, &admin], Call::RegisterOrganisation(call)).await;
        let call = RegisterPractitioner {
            practitioner: PractitionerId(tx::random_id().unwrap()),
            key: key.public_key(),
            roles: vec![Role::Physician],
            capabilities: Vec::new(),
            credential_until: None,
            identity_commitment: Hash([1; 32]),
        };
        applied(&nodes.all_from(first, &admin), &[&admin, &key], Call::RegisterPractitioner(call)).await;
        let (client, patient) = (nodes.all_from(first, &key), PatientId(tx::random_id().unwrap()));
        let call = RegisterPatient { patient, key: None, notice_hash: Hash([2; 32]) };
        applied(&client, &[&key], Call::RegisterPatient(call)).await;
        Self { client, key, patient }
    }

    /// The same, who asks one node alone.
    pub(crate) fn at(self, nodes: &Nodes, node: usize) -> Self {
        Self { client: nodes.client(vec![nodes.endpoints[node].clone()], &self.key), ..self }
    }

    pub(crate) fn record(&self, hasty: Option<u64>) -> SignedTx {
        let call = RegisterRecord {
            record: RecordId(tx::random_id().unwrap()),
            patient: self.patient,
            role: Role::Physician,
            category: Category::Lab,
            labels: Vec::new(),
            service_month: Month::new(2026, 7).unwrap(),
            commitment: Hash([3; 32]),
            ciphertext_hash: Hash([4; 32]),
            size_class: 12,
            pointer: OpaqueRef(tx::random_id().unwrap()),
            minor_consented: false,
        };
        let builder = TxBuilder::new(self.client.chain_id(), Call::RegisterRecord(call));
        let builder = match hasty {
            Some(ms) => builder.expires_at(tx::now().plus(ms)),
            None => builder,
        };
        builder.sign(&self.key, &[]).unwrap()
    }

    /// Submits, and books what became of each.
    pub(crate) async fn work(self, mut orders: Orders, answered: Arc<AtomicU64>) -> Vec<(SignedTx, Booked)> {
        let (sink, mut answers) = self.client.submit_stream(Wait::Certified, WINDOW);
        let (client, key) = (self.client.clone(), self.key.clone());
        let sending = tokio::spawn(async move {
            let mut sent = BTreeMap::new();
            let mut number = 0;
            while let Some(hasty) = orders.next(number).await {
                let tx = self.record(hasty);
                sent.insert(tx.id(), tx.clone());
                sink.send(tx).await.unwrap();
                number += 1;
            }
            sent
        });
        let mut results = BTreeMap::new();
        while let Some(answer) = answers.next().await {
            assert!(results.insert(answer.id, answer.result).is_none(), "answered twice");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        let sent = sending.await.unwrap();
        let mut book = Vec::new();
        for (id, tx) in sent {
            let booked = match results.remove(&id).expect("every submission is answered") {
                Ok(status) => Booked::of(status),
                // Too late for a node's door: what became of it is for the ledger to say.
                Err(ClientError::Api(error)) if error.reason == "EXPIRED" => settle(&client, &key, &tx).await,
                Err(error) => panic!("{id}: {error}"),
            };
            book.push((tx, booked));
        }
        assert!(results.is_empty(), "answers to nothing that was sent");
        book
    }
}

/// What a clinic is to submit.
pub(crate) enum Orders {
    /// So many, as fast as they are answered; some of them have little time left.
    Count(u64),
    /// One in so long, until it is told to stop; none of them is in a hurry.
    Until { every: tokio::time::Interval, stop: watch::Receiver<bool> },
}

impl Orders {
    /// So many a second, until told to stop. What was held up is not made up for in a burst.
    pub(crate) fn steady(every: Duration, stop: &watch::Receiver<bool>) -> Self {
        let mut every = tokio::time::interval(every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self::Until { every, stop: stop.clone() }
    }

    /// When the next one is due: how much time it has, in ms, if it is little. None: that was all.
    async fn next(&mut self, number: u64) -> Option<Option<u64>> {
        match self {
            Self::Count(count) => {
                (number < *count).then(|| (number % HASTY == HASTY - 1).then_some(number % HASTE))
            }
            Self::Until { every, stop } => tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                _ = every.tick() => Some(None),
            },
        }
    }
}

/// For so many heights, and a window above, a node can prove that something expired.
const PROOF_HEIGHTS: u64 = 300;

/// What stands in a clinic's book.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Booked {
    /// With the proof, for whoever has the genesis.
    Committed(Box<Receipt>, Box<pb::ReceiptProof>),
    Expired,
    /// Refused as expired, and asked too late for a proof: nodes keep them for 256 heights. The ledgers are looked at instead.
    Late,
}

impl Booked {
    /// The SDK has verified the proof.
    fn of(status: TxStatus) -> Self {
        match status {
            TxStatus::Certified { receipt, proof } => Self::Committed(receipt, proof),
            TxStatus::Expired(_) => Self::Expired,
            open @ (TxStatus::Unknown | TxStatus::Pending { .. } | TxStatus::Committed(_)) => {
                panic!("asked for a certificate, answered {open:?}")
            }
        }
    }
}

/// Sends the same bytes until the ledger's time has passed their expiry, which other submissions move.
async fn settle(client: &EpioneClient, key: &SecretKey, tx: &SignedTx) -> Booked {
    let begun = Instant::now();
    let mut since = None;
    loop {
        match client.submit(tx, Wait::Certified).await {
            Ok(status) => return Booked::of(status),
            Err(ClientError::Api(error)) if error.reason == "EXPIRED" => {
                assert!(begun.elapsed() < PATIENCE, "no outcome of {}", tx.id());
                let height = client.get_status(pb::GetStatusRequest {}).await.map_or(0, |it| it.height);
                if height > *since.get_or_insert(height) + PROOF_HEIGHTS {
                    return Booked::Late;
                }
                let patient = PatientId(tx::random_id().unwrap());
                let call = RegisterPatient { patient, key: None, notice_hash: Hash([2; 32]) };
                applied(client, &[key], Call::RegisterPatient(call)).await;
            }
            Err(error) => panic!("{}: {error}", tx.id()),
        }
    }
}

/// Every record's registration in a node's ledger, by id: each took effect once.
async fn ledger(client: &EpioneClient) -> BTreeMap<TxId, Receipt> {
    let tip = client.get_status(pb::GetStatusRequest {}).await.unwrap().height;
    let mut found = BTreeMap::new();
    for height in 1..=tip {
        let request = pb::GetBlockRequest { height, with_transactions: false, with_receipts: true };
        for receipt in client.get_block(request).await.unwrap().block.unwrap().receipts {
            let receipt = Receipt::try_from(receipt).unwrap();
            match receipt.outcome {
                // Ordered once more after a change of view: the first receipt stands.
                Outcome::Refused(Refusal::Duplicate) => {}
                outcome @ (Outcome::Ok | Outcome::Refused(_)) => {
                    assert_eq!(outcome, Outcome::Ok, "{receipt:?}");
                    let id = receipt.tx_id;
                    assert!(found.insert(id, receipt).is_none(), "{id} took effect twice");
                }
            }
        }
    }
    found
}

/// All clinics' books.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) committed: BTreeMap<TxId, (Receipt, pb::ReceiptProof)>,
    pub(crate) expired: BTreeSet<TxId>,
    pub(crate) late: BTreeSet<TxId>,
}

impl Books {
    pub(crate) fn of(lines: Vec<(SignedTx, Booked)>) -> Self {
        let mut books = Self::default();
        for (tx, booked) in lines {
            let id = tx.id();
            let first = match booked {
                Booked::Committed(receipt, proof) => books.committed.insert(id, (*receipt, *proof)).is_none(),
                Booked::Expired => books.expired.insert(id),
                Booked::Late => books.late.insert(id),
            };
            assert!(first, "{id} stands in the books twice");
        }
        books
    }

    /// The highest block that they speak of.
    pub(crate) fn tip(&self) -> u64 {
        self.committed.values().map(|(receipt, _)| receipt.height.0).max().unwrap_or_default()
    }

    /// Once a node has caught up, its ledger and the books say the same of every submission.
    pub(crate) async fn hold_at(&self, node: usize, client: &EpioneClient) {
        let begun = Instant::now();
        while client.get_status(pb::GetStatusRequest {}).await.unwrap().height < self.tip() {
            assert!(begun.elapsed() < PATIENCE, "node {node} does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = ledger(client).await;
        for (id, (receipt, _)) in &self.committed {
            assert_eq!(held.get(id), Some(receipt), "{id} on node {node}");
        }
        assert!(
            self.expired.iter().chain(&self.late).all(|id| !held.contains_key(id)),
            "an expired one took effect on node {node}"
        );
        let records = |receipt: &&Receipt| {
            let event = receipt.events.first();
            matches!(event, Some(epione_types::event::Event::RecordRegistered { .. }))
        };
        assert_eq!(
            held.values().filter(records).count(),
            self.committed.len(),
            "and nothing else on node {node}"
        );
        // What the API answers for an id, once of each kind.
        if let Some((receipt, _)) = self.committed.values().next() {
            let status = client.receipt(receipt.tx_id, Some(Wait::Certified)).await.unwrap();
            assert_eq!(status.receipt(), Some(receipt));
        }
    }
}
