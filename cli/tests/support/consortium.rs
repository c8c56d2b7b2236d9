//! Hospitals that decide together who validates, by the command line.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use serde_json::Value;

use crate::support::{Output, Testnet, arg, epione, eventually};

/// A field of an answer.
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

/// A testnet, and its hospitals' administrators.
pub(crate) struct Consortium {
    pub(crate) net: Testnet,
}

/// A node that is to join.
pub(crate) struct Joining {
    pub(crate) node: usize,
    pub(crate) hospital: usize,
    pub(crate) voting: String,
    network: String,
    voting_file: String,
}

impl Joining {
    /// The proposal that lets it join.
    pub(crate) fn change(&self) -> String {
        let Self { hospital, voting, network, .. } = self;
        format!("validator add --org hospital{hospital} --voting-key {voting} --network-key {network}")
    }
}

impl Consortium {
    /// A client's command, as somebody.
    pub(crate) fn act(&self, who: &str, line: &str) -> Output {
        self.net.as_(who, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// What a hospital's administrator is told.
    pub(crate) fn admin(&self, hospital: usize, line: &str) -> Output {
        self.act(&format!("hospital{hospital}/admin"), line)
    }

    /// The epoch in which a node is; 0 too if it does not answer.
    pub(crate) fn epoch(&self, node: usize) -> u64 {
        let out = self.admin(node, &format!("node status --node {node}"));
        if out.exit == 0 { out.json()["epoch"].as_u64().unwrap() } else { 0 }
    }

    /// Waits until all of these are in an epoch.
    pub(crate) fn are_in(&self, epoch: u64, nodes: &[usize]) {
        eventually(&format!("{nodes:?} are in epoch {epoch}"), || {
            nodes.iter().all(|node| self.epoch(*node) == epoch)
        });
    }

    /// Waits until a node is ready, or is not.
    pub(crate) fn is_ready(&self, node: usize, wanted: bool) {
        let status = format!("node status --node {node}");
        eventually(&format!("node {node} is ready: {wanted}"), || {
            self.admin(node, &status).ok().json()["ready"] == wanted
        });
    }

    /// Waits until a node that left says that it may be switched off.
    pub(crate) fn may_go(&self, node: usize) {
        let explain = format!("node explain --node {node}");
        eventually(&format!("node {node} may be switched off"), || {
            let advice = text(&self.admin(node, &explain).ok().json(), "advice");
            advice.starts_with("If this node left, it may be switched off")
        });
    }

    /// The voting keys in force, as a node tells them.
    pub(crate) fn validators(&self, node: usize) -> Vec<String> {
        let rows = self.admin(node, &format!("validator list --node {node}")).ok().json();
        rows.as_array().unwrap().iter().map(|row| text(row, "voting_key")).collect()
    }

    /// Another node for a hospital; it is started, and let in by nobody yet.
    pub(crate) fn add(&self, hospital: usize) -> Joining {
        let out = self.net.run(&["--json", "testnet", "add", "--hospital", &hospital.to_string()], "--dir");
        let out = out.ok().json();
        Joining {
            node: usize::try_from(out["node"].as_u64().unwrap()).unwrap(),
            hospital,
            voting: text(&out, "voting_key"),
            network: text(&out, "network_key"),
            voting_file: text(&out, "voting_key_file"),
        }
    }

    /// A hospital proposes a change, whoever is to join says that it is ready once it is, and the others vote for it.
    pub(crate) fn decide(&self, change: &str, joins: Option<&Joining>, proposer: usize, voters: &[usize]) {
        let proposal = text(&self.admin(proposer, change).ok().json(), "proposal");
        if let Some(Joining { node, hospital, voting_file, .. }) = joins {
            let ready =
                format!("validator ready {proposal} --voting-key-file {voting_file} --joining {node}");
            eventually(&format!("node {node} is ready"), || self.admin(*hospital, &ready).exit == 0);
        }
        for voter in voters {
            self.admin(*voter, &format!("policy vote {proposal}")).ok();
        }
    }

    /// A patient is registered at a node, and the proof is kept; it holds for whoever has the genesis.
    pub(crate) fn certified_at(&self, node: usize, name: &str) {
        let kept = self.net.beside(&format!("{name}.receipt"));
        let line = format!("patient register --name {name} --node {node} --receipt {}", arg(&kept));
        self.act("hospital0/doctor", &line).ok();
        let genesis = self.net.dir().join("genesis.json");
        epione(&["--json", "receipt", "verify", arg(&kept), "--genesis", arg(&genesis)]).ok();
    }
}
