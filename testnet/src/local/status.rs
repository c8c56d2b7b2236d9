//! Asking every node how it is, over its operators' address, as its hospital's administrator.

use std::time::Duration;

use epione_client::{Config, EpioneClient, Trust, keys};
use epione_proto::v1 as pb;
use epione_types::Genesis;

use super::TestnetError;
use super::layout::Layout;
use super::network::NodeReport;
use super::process::Process;
use super::state::State;

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// A connection to each node.
#[derive(Debug)]
pub struct Probe {
    clients: Vec<EpioneClient>,
}

impl Probe {
    /// Reads the genesis, the certificate and the keys; contacts nobody yet.
    ///
    /// # Errors
    /// [`TestnetError`] if the folder is damaged.
    pub fn new(layout: &Layout, state: &State) -> Result<Self, TestnetError> {
        let trust = Trust::new(&genesis(layout)?)?;
        let ca = std::fs::read(layout.ca()).map_err(TestnetError::io(layout.ca()))?;
        let mut clients = Vec::with_capacity(state.nodes.len());
        for (node, place) in state.nodes.iter().enumerate() {
            let key = keys::read(&layout.admin_key(node))?;
            let endpoint = format!("https://127.0.0.1:{}", place.ports.operator);
            let mut config = Config::new(vec![endpoint], ca.clone(), trust.clone(), key);
            (config.timeout, config.attempt_timeout) = (ANSWER_WITHIN, ANSWER_WITHIN);
            clients
                .push(EpioneClient::lazy(config).map_err(|error| TestnetError::Options(error.to_string()))?);
        }
        Ok(Self { clients })
    }

    /// How one node explains itself, or why it does not.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn explain(&self, node: usize) -> Result<pb::ExplainResponse, String> {
        let client = self.clients.get(node).ok_or_else(|| format!("there is no node {node}"))?;
        client.explain(pb::ExplainRequest {}).await.map_err(|error| format!("explains nothing: {error}"))
    }

    /// Asks every node, all at once.
    pub async fn reports(&self, state: &State) -> Vec<NodeReport> {
        let asked: Vec<_> = self
            .clients
            .iter()
            .zip(&state.nodes)
            .map(|(client, place)| {
                let running = place.process.as_ref().is_some_and(Process::is_alive);
                let client = client.clone();
                let answer = running.then(|| {
                    tokio::spawn(async move { client.get_node_status(pb::GetNodeStatusRequest {}).await })
                });
                (place.clone(), running, answer)
            })
            .collect();
        let mut reports = Vec::with_capacity(asked.len());
        for (node, (state, running, answer)) in asked.into_iter().enumerate() {
            let answer = match answer {
                None => Err("its process does not run".to_owned()),
                Some(task) => match task.await {
                    Ok(Ok(status)) => Ok(status),
                    Ok(Err(error)) => Err(format!("gives no status: {error}")),
                    Err(error) => Err(format!("gives no status: {error}")),
                },
            };
            reports.push(NodeReport { node, state, running, answer });
        }
        reports
    }
}

/// The network's genesis.
///
/// # Errors
/// [`TestnetError`] if the file is damaged.
pub fn genesis(layout: &Layout) -> Result<Genesis, TestnetError> {
    let path = layout.genesis();
    let text = std::fs::read(&path).map_err(TestnetError::io(&path))?;
    serde_json::from_slice(&text).map_err(|error| TestnetError::State { path, reason: error.to_string() })
}
