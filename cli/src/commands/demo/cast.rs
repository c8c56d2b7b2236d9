//! Who takes part: four hospitals, a doctor at each, and a patient with a key of her own.

use std::time::Duration;

use epione_client::{Config, EpioneClient, Refused, Trust, TxBuilder, TxStatus, Wait, keys};
use epione_proto::v1 as pb;
use epione_testnet::local::{self, Network};
use epione_types::call::Call;
use epione_types::id::{OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{Receipt, SecretKey};

use super::load::Work;
use crate::commands::enrol;
use crate::error::{About as _, CliError};

/// How long anything may take: longer than a view change.
const WITHIN: Duration = Duration::from_secs(40);
/// How soon another node is tried.
const ATTEMPT: Duration = Duration::from_secs(5);

/// One hospital.
#[derive(Debug)]
pub(super) struct Hospital {
    pub(super) org: OrgId,
    pub(super) doctor: SecretKey,
    pub(super) practitioner: PractitionerId,
    /// As the doctor, at the own node first, then at the others.
    pub(super) client: EpioneClient,
    /// As the doctor, at the own node alone.
    pub(super) own_node: EpioneClient,
}

/// The patient of the story, cared for by the first hospital.
#[derive(Debug)]
pub(super) struct Anna {
    pub(super) id: PatientId,
    pub(super) key: SecretKey,
    /// A record of hers without a sensitivity label.
    pub(super) record: RecordId,
    /// As herself.
    pub(super) client: EpioneClient,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) trust: Trust,
    pub(super) hospitals: Vec<Hospital>,
    anna: Option<Anna>,
    ca: Vec<u8>,
    endpoints: Vec<String>,
}

/// A transaction that is final and was applied.
pub(super) struct Final {
    pub(super) receipt: Receipt,
    pub(super) proof: pb::ReceiptProof,
    pub(super) latency: Duration,
}

impl Cast {
    /// Enrols a doctor at each hospital, through its own node.
    pub(super) async fn enrol(network: &Network) -> Result<Self, CliError> {
        let (layout, state) = (network.layout(), network.state());
        let trust = Trust::new(&local::genesis(layout)?)?;
        let ca = std::fs::read(layout.ca()).about(layout.ca().display())?;
        let endpoints: Vec<String> =
            state.nodes.iter().map(|node| format!("https://127.0.0.1:{}", node.ports.grpc)).collect();
        let mut cast = Self { trust, hospitals: Vec::new(), anna: None, ca, endpoints };
        for (node, place) in state.nodes.iter().enumerate() {
            let admin = keys::read(&layout.admin_key(node))?;
            let doctor = SecretKey::generate().about("no randomness from the operating system")?;
            let practitioner = enrol::physician(&cast.client(&admin, node, 1)?, &admin, &doctor).await?;
            let client = cast.client(&doctor, node, cast.endpoints.len())?;
            let own_node = cast.client(&doctor, node, 1)?;
            cast.hospitals.push(Hospital { org: place.organisation, doctor, practitioner, client, own_node });
        }
        Ok(cast)
    }

    /// A client at so many nodes, from one on.
    pub(super) fn client(
        &self,
        key: &SecretKey,
        first: usize,
        count: usize,
    ) -> Result<EpioneClient, CliError> {
        let endpoints = self.endpoints.iter().cycle().skip(first).take(count).cloned().collect();
        let mut config = Config::new(endpoints, self.ca.clone(), self.trust.clone(), key.clone());
        (config.timeout, config.attempt_timeout) = (WITHIN, ATTEMPT);
        Ok(EpioneClient::lazy(config)?)
    }

    pub(super) fn hospital(&self, number: usize) -> Result<&Hospital, CliError> {
        self.hospitals.get(number).ok_or_else(|| CliError::failed(format!("there is no hospital {number}")))
    }

    /// The patient of the story.
    pub(super) fn anna(&self) -> Result<&Anna, CliError> {
        self.anna.as_ref().ok_or_else(|| CliError::failed("the story has no patient"))
    }

    /// The first hospital's first patient gets a key of her own.
    pub(super) fn anna_is(&mut self, work: &mut Work) -> Result<(), CliError> {
        let key = SecretKey::generate().about("no randomness from the operating system")?;
        let (id, record) = work.give_key(&key)?;
        let client = self.client(&key, 0, self.endpoints.len())?;
        self.anna = Some(Anna { id, key, record, client });
        Ok(())
    }
}

/// Signs, submits, and waits until it is final; an error if the ledger refuses it.
pub(super) async fn commit(client: &EpioneClient, key: &SecretKey, call: Call) -> Result<Final, CliError> {
    let tx = TxBuilder::new(client.chain_id(), call).sign(key, &[])?;
    let begun = std::time::Instant::now();
    let status = client.submit(&tx, Wait::Certified).await?;
    let TxStatus::Certified { receipt, proof } = status else {
        return Err(CliError::failed(format!("transaction {} is not final: {status:?}", tx.id())));
    };
    match Refused::of(&receipt, &tx) {
        None => Ok(Final { receipt: *receipt, proof: *proof, latency: begun.elapsed() }),
        Some(refused) => {
            let error = CliError::failed(refused.to_string());
            Err(error.reason(refused.refusal.name()).field(refused.field))
        }
    }
}
