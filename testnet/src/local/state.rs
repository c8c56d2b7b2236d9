//! `testnet.json`: who runs where. Replaced whole, so that a reader sees one state or the next.

use std::io::Write as _;
use std::path::PathBuf;

use epione_types::ChainId;
use epione_types::id::{OrgId, TimestampMs};
use serde::{Deserialize, Serialize};

use super::TestnetError;
use super::layout::Layout;
use super::process::Process;

const VERSION: u16 = 1;

/// Who runs where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Layout version.
    pub version: u16,
    /// Runs the nodes.
    pub binary: PathBuf,
    /// When the network was created.
    pub created_ms: TimestampMs,
    /// Hash of its genesis.
    pub chain_id: ChainId,
    /// Each node, by number.
    pub nodes: Vec<NodeState>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// The hospital it runs for.
    pub organisation: OrgId,
    /// Where it listens, for as long as the network exists.
    pub ports: Ports,
    /// The process last started for it; none once it was stopped.
    pub process: Option<Process>,
}

/// Ports of one node on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// gRPC for clinics.
    pub grpc: u16,
    /// gRPC for operators.
    pub operator: u16,
    /// libp2p, for the other nodes.
    pub peer: u16,
}

impl Ports {
    /// Each with what it is for.
    #[must_use]
    pub const fn each(&self) -> [(&'static str, u16); 3] {
        [("gRPC", self.grpc), ("operator", self.operator), ("peers", self.peer)]
    }
}

impl State {
    pub(crate) const fn new(
        binary: PathBuf,
        created_ms: TimestampMs,
        chain_id: ChainId,
        nodes: Vec<NodeState>,
    ) -> Self {
        Self { version: VERSION, binary, created_ms, chain_id, nodes }
    }

    pub(crate) fn read(layout: &Layout) -> Result<Self, TestnetError> {
        let path = layout.state();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TestnetError::NoTestnet { dir: layout.dir().to_owned() });
            }
            Err(error) => return Err(TestnetError::Io { path, error }),
        };
        let unusable = |reason: String| TestnetError::State { path: layout.state(), reason };
        let state: Self = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        if state.version != VERSION {
            return Err(unusable(format!("version {}, this build reads {VERSION}", state.version)));
        }
        if state.nodes.is_empty() {
            return Err(unusable("no nodes".to_owned()));
        }
        Ok(state)
    }

    pub(crate) fn write(&self, layout: &Layout) -> Result<(), TestnetError> {
        let path = layout.state();
        let next = path.with_extension("json.next");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| TestnetError::Io { path: path.clone(), error: error.into() })?;
        let write = || {
            let mut file = std::fs::File::create(&next)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&next, &path)
        };
        write().map_err(TestnetError::io(&path))
    }
}
