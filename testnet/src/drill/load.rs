//! A steady load of small submissions, and what was answered to each.
//!
//! Doctors register records, each through whatever node answers. An answer counts once it says COMMITTED: from then on the
//! submission must be on the ledger, once, whatever happens. What was not answered was no promise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use epione_client::{ClientError, Config, EpioneClient, Trust, TxBuilder, TxStatus, Wait, keys, tx};
use epione_types::call::{Call, Month, RegisterPatient, RegisterPractitioner, RegisterRecord};
use epione_types::codes::{Category, Role};
use epione_types::id::{OpaqueRef, PatientId, PractitionerId, RecordId};
use epione_types::{Hash, Outcome, Receipt, SecretKey, SignedTx, Signer, TxId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Failed;
use crate::local::{self, Layout, State};

/// Unanswered submissions of one client at a time.
const WINDOW: usize = 64;
/// How long a node may take before the next one is asked.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);

/// How the nodes are reached.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    trust: Trust,
    ca: Vec<u8>,
    endpoints: Vec<String>,
    admins: Vec<SecretKey>,
}

impl Doors {
    pub(super) fn of(layout: &Layout, state: &State) -> Result<Self, Failed> {
        let admins = (0..state.nodes.len()).map(|node| keys::read(&layout.admin_key(node)));
        Ok(Self {
            trust: Trust::new(&local::genesis(layout)?).map_err(Failed::of)?,
            ca: std::fs::read(layout.ca()).map_err(Failed::of)?,
            endpoints: (state.nodes.iter())
                .map(|node| format!("https://127.0.0.1:{}", node.ports.grpc))
                .collect(),
            admins: admins.collect::<Result<_, _>>().map_err(Failed::of)?,
        })
    }

    /// A client of all nodes, who asks `first` first.
    fn all_from(&self, first: usize, key: &SecretKey, within: Duration) -> Result<EpioneClient, Failed> {
        let mut endpoints = self.endpoints.clone();
        let first = first.checked_rem(endpoints.len()).unwrap_or(0);
        endpoints.rotate_left(first);
        self.client(endpoints, key, within)
    }

    /// The administrator of a node's hospital, who asks that node alone.
    pub(super) fn admin_at(&self, node: usize, within: Duration) -> Result<EpioneClient, Failed> {
        match (self.endpoints.get(node), self.admins.get(node)) {
            (Some(endpoint), Some(key)) => self.client(vec![endpoint.clone()], key, within),
            _ => Err(Failed(format!("there is no node {node}"))),
        }
    }

    /// The administrator of a node's hospital, who asks that node first, and the key.
    pub(super) fn admin_of(
        &self,
        node: usize,
        within: Duration,
    ) -> Result<(EpioneClient, &SecretKey), Failed> {
        let key = self.admins.get(node).ok_or_else(|| Failed(format!("there is no node {node}")))?;
        Ok((self.all_from(node, key, within)?, key))
    }

    fn client(
        &self,
        endpoints: Vec<String>,
        key: &SecretKey,
        within: Duration,
    ) -> Result<EpioneClient, Failed> {
        let mut config = Config::new(endpoints, self.ca.clone(), self.trust.clone(), key.clone());
        (config.timeout, config.attempt_timeout) = (within, ATTEMPT_WITHIN.min(within));
        EpioneClient::lazy(config).map_err(Failed::of)
    }
}

/// A doctor, with a patient of theirs.
#[derive(Debug, Clone)]
pub(super) struct Doctor {
    doors: Doors,
    first: usize,
    key: SecretKey,
    patient: PatientId,
    within: Duration,
}

impl Doctor {
    /// Of hospital `first`.
    pub(super) async fn enrol(doors: &Doors, first: usize, within: Duration) -> Result<Self, Failed> {
        let (by_admin, admin) = doors.admin_of(first, within)?;
        let key = SecretKey::generate().map_err(Failed::of)?;
        let call = RegisterPractitioner {
            practitioner: PractitionerId(tx::random_id().map_err(Failed::of)?),
            key: key.public_key(),
            roles: vec![Role::Physician],
            capabilities: Vec::new(),
            credential_until: None,
            identity_commitment: Hash([1; 32]),
        };
        let signed = TxBuilder::new(by_admin.chain_id(), Call::RegisterPractitioner(call));
        applied(&by_admin, &signed.sign(admin, &[&key as &dyn Signer]).map_err(Failed::of)?).await?;
        let patient = PatientId(tx::random_id().map_err(Failed::of)?);
        let call = RegisterPatient { patient, key: None, notice_hash: Hash([2; 32]) };
        let client = doors.all_from(first, &key, within)?;
        let signed = TxBuilder::new(client.chain_id(), Call::RegisterPatient(call));
        applied(&client, &signed.sign(&key, &[]).map_err(Failed::of)?).await?;
        Ok(Self { doors: doors.clone(), first, key, patient, within })
    }

    fn record(&self, client: &EpioneClient) -> Result<SignedTx, Failed> {
        let call = RegisterRecord {
            record: RecordId(tx::random_id().map_err(Failed::of)?),
            patient: self.patient,
            role: Role::Physician,
            category: Category::Lab,
            labels: Vec::new(),
            service_month: Month::new(2026, 7).unwrap_or(Month::MIN),
            commitment: Hash([3; 32]),
            ciphertext_hash: Hash([4; 32]),
            size_class: 12,
            pointer: OpaqueRef(tx::random_id().map_err(Failed::of)?),
            minor_consented: false,
        };
        let builder = TxBuilder::new(client.chain_id(), Call::RegisterRecord(call));
        builder.sign(&self.key, &[]).map_err(Failed::of)
    }

    /// One submission made now, through this node first, until its certificate is there and verified.
    pub(super) async fn submit_one(&self, first: usize, within: Duration) -> Result<Answered, Failed> {
        let client = self.doors.all_from(first, &self.key, within)?;
        let receipt = applied(&client, &self.record(&client)?).await?;
        Ok(Answered { id: receipt.tx_id, height: receipt.height.0, index: receipt.index })
    }
}

/// Certified, and not refused.
pub(super) async fn applied(client: &EpioneClient, tx: &SignedTx) -> Result<Receipt, Failed> {
    let status = client.submit(tx, Wait::Certified).await.map_err(Failed::of)?;
    match status.receipt() {
        Some(receipt) if receipt.outcome == Outcome::Ok => Ok(receipt.clone()),
        _ => Err(Failed(format!("a submission came to {status:?}"))),
    }
}

/// A submission that was answered COMMITTED, and where it stands by that answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) id: TxId,
    pub(super) height: u64,
    pub(super) index: u32,
}

/// Everything that was answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) committed: Vec<Answered>,
    /// No answer, or none yet: by reason.
    pub(super) open: BTreeMap<String, u64>,
    /// Answers that should not be.
    pub(super) wrong: Vec<String>,
}

/// The load.
#[derive(Debug)]
pub(super) struct Load {
    answers: Arc<Mutex<Answers>>,
    stop: watch::Sender<bool>,
    clients: JoinSet<Result<(), Failed>>,
}

impl Load {
    /// Each doctor submits once in so long.
    pub(super) fn start(doctors: &[Doctor], every: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let answers = Arc::<Mutex<Answers>>::default();
        let mut clients = JoinSet::new();
        for doctor in doctors {
            clients.spawn(submit(doctor.clone(), every, answers.clone(), stopped.clone()));
        }
        Self { answers, stop, clients }
    }

    /// How many were answered so far.
    pub(super) fn committed(&self) -> u64 {
        lock(&self.answers).committed.len() as u64
    }

    /// Stops, and waits for the answers that are due, for so long.
    pub(super) async fn finish(mut self, within: Duration) -> Result<Answers, Failed> {
        self.stop.send_replace(true);
        let all = async {
            while let Some(client) = self.clients.join_next().await {
                client.map_err(Failed::of)??;
            }
            Ok::<(), Failed>(())
        };
        // What is not answered by then was no promise.
        if let Ok(ended) = tokio::time::timeout(within, all).await {
            ended?;
        }
        Ok(lock(&self.answers).clone())
    }
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn submit(
    doctor: Doctor,
    every: Duration,
    answers: Arc<Mutex<Answers>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failed> {
    let client = doctor.doors.all_from(doctor.first, &doctor.key, doctor.within)?;
    let (sink, mut heard) = client.submit_stream(Wait::Committed, WINDOW);
    let sending = async move {
        let mut pace = tokio::time::interval(every);
        // A load that was held up does not catch up in a burst.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = pace.tick() => {}
            }
            let tx = doctor.record(&client)?;
            // The window is full: a load that is stopped then need not wait for it.
            let sent = tokio::select! {
                sent = sink.send(tx) => sent,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            if sent.is_err() {
                return Err(Failed("the stream of a client ended by itself".to_owned()));
            }
        }
    };
    let hearing = async {
        while let Some(answer) = heard.next().await {
            let mut answers = lock(&answers);
            match answer.result {
                Ok(TxStatus::Committed(receipt) | TxStatus::Certified { receipt, .. }) => {
                    if receipt.outcome == Outcome::Ok {
                        let (height, index) = (receipt.height.0, receipt.index);
                        answers.committed.push(Answered { id: answer.id, height, index });
                    } else {
                        answers.wrong.push(format!("{} was refused: {:?}", answer.id, receipt.outcome));
                    }
                }
                Ok(TxStatus::Unknown | TxStatus::Pending { .. } | TxStatus::Expired(_)) => {
                    answers.wrong.push(format!("{} was answered with no outcome", answer.id));
                }
                Err(ClientError::Api(error)) => {
                    let reason = if error.reason.is_empty() { error.code.to_string() } else { error.reason };
                    *answers.open.entry(reason).or_insert(0) += 1;
                }
                Err(error) => answers.wrong.push(format!("{}: {error}", answer.id)),
            }
        }
        Ok(())
    };
    let (sent, heard) = tokio::join!(sending, hearing);
    sent.and(heard)
}
