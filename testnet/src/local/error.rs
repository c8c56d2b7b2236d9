//! What can go wrong with a local network, each with what to do about it.

use std::path::PathBuf;

use epione_client::keys::KeyFileError;
use epione_types::genesis::GenesisError;

/// An error of a local network. Its text names the thing and the next step.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The options cannot work.
    #[error("{0}")]
    Options(String),
    /// The folder holds something already.
    #[error("{dir} is not empty: choose another folder with --dir, or remove it")]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds no testnet.
    #[error(
        "no testnet in {dir}: start one with `epione testnet up --dir {dir}`, or name its folder with --dir"
    )]
    NoTestnet {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds a testnet already.
    #[error(
        "{dir} holds a testnet of {found} nodes: bring it up again without -n, or remove it first with `epione testnet down --delete --dir {dir}`"
    )]
    OtherSize {
        /// The folder.
        dir: PathBuf,
        /// Its nodes.
        found: usize,
    },
    /// Some of its nodes run already.
    #[error(
        "the testnet in {dir} is up (nodes {nodes:?} run): see `epione testnet status --dir {dir}`; `restart N` starts a single node, `down` stops all"
    )]
    AlreadyUp {
        /// The folder.
        dir: PathBuf,
        /// Those that run.
        nodes: Vec<usize>,
    },
    /// Another command changes the network at this moment.
    #[error("another command is changing the testnet in {dir}: wait for it to end")]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The state file is damaged or from another version.
    #[error("{path} is not usable ({reason}): remove the folder and start again")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No such node.
    #[error("node {node} does not exist: this testnet has nodes 0 to {last}")]
    NoSuchNode {
        /// What was asked for.
        node: usize,
        /// The highest number.
        last: usize,
    },
    /// The node runs already.
    #[error("node {node} runs already (process {pid})")]
    Running {
        /// The node.
        node: usize,
        /// Its process.
        pid: u32,
    },
    /// The node does not run.
    #[error("node {node} does not run: start it with `epione testnet restart {node}`")]
    NotRunning {
        /// The node.
        node: usize,
    },
    /// Somebody else listens where the node would.
    #[error(
        "node {node} cannot listen on 127.0.0.1:{port} ({what}): another process has taken the port; stop that process, or remove the testnet with `epione testnet down --delete` and create a new one"
    )]
    PortTaken {
        /// The node.
        node: usize,
        /// What the port is for.
        what: &'static str,
        /// The port.
        port: u16,
    },
    /// No free ports found.
    #[error("found no {wanted} free loopback ports in {tries} tries")]
    NoPorts {
        /// How many were needed.
        wanted: usize,
        /// How many were tried.
        tries: usize,
    },
    /// A node's process could not be started or signalled.
    #[error("node {node}: {what}: {error}")]
    Process {
        /// The node.
        node: usize,
        /// What was tried.
        what: &'static str,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A node did not come up.
    #[error("node {node} is not in consensus after {waited_s} s: {reason}\nlast lines of {log}:\n{tail}", log = log.display())]
    NotReady {
        /// The node.
        node: usize,
        /// How long it was waited for.
        waited_s: u64,
        /// What it says, or that it says nothing.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
    /// The genesis that was made is not usable: a defect here.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No certificate could be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl TestnetError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}
