//! Three clinics submit through whatever node answers, nodes are killed meanwhile, and in the end the clinics' books and the
//! ledger say the same of every single submission.
//!
//! ```text
//! clinic ─▶ SDK: the same bytes again, at the next node ─▶ answer ─▶ its book
//!             ▲ after a drawn number of answers a drawn node gets SIGKILL, and comes back after a drawn number more
//! then: every line of every book has that one receipt on all four nodes; the ledgers hold these and nothing else
//! ```
//!
//! One in sixteen is sent when it is about to expire: it commits, or it is proven that it never will. `EPIONE_FAILOVER_COUNT`
//! (10,000 submissions) and `EPIONE_FAILOVER_SEED` (drawn, printed) repeat a run: the seed decides who is
//! killed and when, counted in answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use epione_client::{ClientError, Config, EpioneClient, Trust, TxBuilder, TxStatus, Wait, keys, tx};
use epione_proto::v1 as pb;
use epione_testnet::local::{self, Lifetime, Network};
use epione_types::call::{
    Call, Month, RegisterOrganisation, RegisterPatient, RegisterPractitioner, RegisterRecord,
};
use epione_types::codes::{Category, OrganisationKind, Refusal, Role};
use epione_types::id::{OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, Outcome, Receipt, SecretKey, SignedTx, Signer, TxId};
use support::{PATIENCE, number, options};
use tokio::task::JoinSet;

const CLINICS: usize = 3;
/// Unanswered submissions of one clinic at a time.
const WINDOW: usize = 64;
/// One in so many has little time left.
const HASTY: u64 = 16;
/// How little, in ms, at most: some of them cannot make it.
const HASTE: u64 = 400;

/// How the three are reached: each clinic begins at another node, and knows them all.
struct Nodes {
    trust: Trust,
    ca: Vec<u8>,
    endpoints: Vec<String>,
}

impl Nodes {
    fn of(network: &Network) -> Self {
        let layout = network.layout();
        Self {
            trust: Trust::new(&local::genesis(layout).unwrap()).unwrap(),
            ca: std::fs::read(layout.ca()).unwrap(),
            endpoints: (network.state().nodes.iter())
                .map(|node| format!("https://127.0.0.1:{}", node.ports.grpc))
                .collect(),
        }
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
struct Clinic {
    client: EpioneClient,
    key: SecretKey,
    patient: PatientId,
}

impl Clinic {
    /// A clinic has no validator: a hospital vouches for it.
    async fn enrol(nodes: &Nodes, network: &Network, first: usize) -> Self {
        let hospital = keys::read(&network.layout().admin_key(first)).unwrap();
        let (admin, key) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let call = RegisterOrganisation {
            organisation: OrgId(tx::random_id().unwrap()),
            kind: OrganisationKind::Clinic,
            admins: vec![admin.public_key()],
            admin_threshold: 1,
            break_glass: false,
        };
        let other = keys::read(&network.layout().admin_key((first + 1) % network.len())).unwrap();
        let by_hospital = nodes.all_from(first, &hospital);
        applied(&by_hospital, &[&hospital, &other, &admin], Call::RegisterOrganisation(call)).await;
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

    fn record(&self, number: u64) -> SignedTx {
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
        let hasty = number % HASTY == HASTY - 1;
        let builder = if hasty { builder.expires_at(tx::now().plus(number % HASTE)) } else { builder };
        builder.sign(&self.key, &[]).unwrap()
    }

    /// Submits `count`, and books what became of each.
    async fn work(self, count: u64, answered: Arc<AtomicU64>) -> Vec<(SignedTx, Booked)> {
        let (sink, mut answers) = self.client.submit_stream(Wait::Certified, WINDOW);
        let (client, key) = (self.client.clone(), self.key.clone());
        let sending = tokio::spawn(async move {
            let mut sent = BTreeMap::new();
            for number in 0..count {
                let tx = self.record(number);
                sent.insert(tx.id(), tx.clone());
                sink.send(tx).await.unwrap();
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

/// For so many heights, and a window above, a node can prove that something expired.
const PROOF_HEIGHTS: u64 = 300;

/// What stands in a clinic's book.
#[derive(Debug, Clone, PartialEq)]
enum Booked {
    Committed(Box<Receipt>),
    Expired,
    /// Refused as expired, and asked too late for a proof: nodes keep them for 256 heights. The ledgers are looked at instead.
    Late,
}

impl Booked {
    /// The SDK has verified the proof.
    fn of(status: TxStatus) -> Self {
        match status {
            TxStatus::Certified { receipt, .. } => Self::Committed(receipt),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clinics_books_and_the_ledger_agree_on_every_single_submission() {
    let count = number("EPIONE_FAILOVER_COUNT").unwrap_or(10_000).div_ceil(CLINICS as u64);
    let total = count * CLINICS as u64;
    let seed = number("EPIONE_FAILOVER_SEED").unwrap_or_else(|| tx::now().0);
    println!("EPIONE_FAILOVER_SEED={seed} EPIONE_FAILOVER_COUNT={total}");
    let mut dice = support::Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut network =
        Network::up(&folder.path().join("net"), &options(4), Lifetime::WithStarter, PATIENCE).await.unwrap();
    let nodes = Nodes::of(&network);
    let mut clinics = Vec::new();
    for first in 0..CLINICS {
        clinics.push(Clinic::enrol(&nodes, &network, first).await);
    }
    let (begun, answered) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut working = JoinSet::new();
    for clinic in clinics {
        working.spawn(clinic.work(count, answered.clone()));
    }
    // One is killed, and back before the next: three of four go on.
    let (mut next, mut kills) = (dice.draw(100, 300), 0);
    let reached = async |wanted: u64| {
        while answered.load(Ordering::Relaxed) < wanted.min(total) {
            assert!(
                begun.elapsed() < PATIENCE * 10,
                "{} of {total} answers",
                answered.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    while next + 500 < total {
        reached(next).await;
        let victim = usize::try_from(dice.draw(0, 4)).unwrap();
        network.kill(victim).await.unwrap();
        let back = next + dice.draw(50, 400);
        reached(back).await;
        network.start(victim).unwrap();
        network.wait_for(victim, PATIENCE).await.unwrap();
        println!(
            "node {victim} killed after {next} answers, back after {}",
            answered.load(Ordering::Relaxed)
        );
        kills += 1;
        next = answered.load(Ordering::Relaxed) + dice.draw(200, 600);
    }
    let mut books = Vec::new();
    while let Some(book) = working.join_next().await {
        books.extend(book.unwrap());
    }
    let took = begun.elapsed();
    assert_eq!(books.len() as u64, total);
    assert!(kills > 0, "nobody was killed");

    // All four hold the same, and it is what the books say.
    let tip = books.iter().filter_map(|(_, booked)| match booked {
        Booked::Committed(receipt) => Some(receipt.height.0),
        Booked::Expired | Booked::Late => None,
    });
    let tip = tip.max().unwrap();
    let (mut expired, mut late, mut committed) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for (tx, booked) in &books {
        match booked {
            Booked::Committed(receipt) => drop(committed.insert(tx.id(), (**receipt).clone())),
            Booked::Expired => drop(expired.insert(tx.id())),
            Booked::Late => drop(late.insert(tx.id())),
        }
    }
    assert!(late.len() * 100 <= books.len(), "{} of {} asked too late", late.len(), books.len());
    for node in 0..network.len() {
        let admin = keys::read(&network.layout().admin_key(node)).unwrap();
        let client = nodes.client(vec![nodes.endpoints[node].clone()], &admin);
        let begun = Instant::now();
        while client.get_status(pb::GetStatusRequest {}).await.unwrap().height < tip {
            assert!(begun.elapsed() < PATIENCE, "node {node} does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = ledger(&client).await;
        for (id, receipt) in &committed {
            assert_eq!(held.get(id), Some(receipt), "{id} on node {node}");
        }
        assert!(
            expired.iter().chain(&late).all(|id| !held.contains_key(id)),
            "an expired one took effect on node {node}"
        );
        let records = |receipt: &&Receipt| {
            let event = receipt.events.first();
            matches!(event, Some(epione_types::event::Event::RecordRegistered { .. }))
        };
        assert_eq!(held.values().filter(records).count(), committed.len(), "and nothing else on node {node}");
        // What the API answers for an id, once of each kind.
        if let Some(receipt) = committed.values().next() {
            let status = client.receipt(receipt.tx_id, Some(Wait::Certified)).await.unwrap();
            assert_eq!(status.receipt(), Some(receipt));
        }
    }
    println!(
        "{} submissions in {took:?}, {kills} kills: {} committed once, the same on four nodes; {} proven expired, {} too late for a proof",
        books.len(),
        committed.len(),
        expired.len(),
        late.len()
    );
    network.down().await.unwrap();
}
