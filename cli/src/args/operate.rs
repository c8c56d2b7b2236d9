//! Running it: networks on this machine, drills, the simulator, a node, its ledger and its backups.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::ConnectOnly;

/// What is simulated.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  epione sim --seed 17 --trace                 one run, a line for each transition
  epione sim --seed 17 --print-schedule > 17   its plan, to be edited
  epione sim --faults 17                       the run of an edited plan
  epione sim --seeds 500 --jobs 2              many runs, and what they exercised")]
pub(crate) struct Sim {
    /// The seed from which everything follows. [default: 1]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, conflicts_with = "seed")]
    pub(crate) seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    pub(crate) from: u64,
    /// Threads; the result does not depend on them.
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// A line for each transition.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Run the plan in this file instead of drawing one.
    #[arg(long)]
    pub(crate) faults: Option<PathBuf>,
    /// Print the plan and do not run it.
    #[arg(long)]
    pub(crate) print_schedule: bool,
    /// So many validators instead of a drawn number.
    #[arg(long)]
    pub(crate) nodes: Option<usize>,
    /// So many certified heights instead of a drawn number.
    #[arg(long)]
    pub(crate) heights: Option<u64>,
    /// Take Byzantine validators for honest ones: a run with one that does something must fail.
    #[arg(long)]
    pub(crate) canary: bool,
    /// Do not look for a smaller plan that fails.
    #[arg(long)]
    pub(crate) no_shrink: bool,
}

/// Where a testnet lives.
#[derive(Debug, ClapArgs)]
pub(crate) struct Dir {
    /// The testnet's folder.
    #[arg(long, env = "EPIONE_TESTNET", default_value = DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
}

/// Where a testnet is kept and looked for unless said otherwise.
pub(crate) const DEFAULT_DIR: &str = ".epione-testnet";

#[derive(Debug, Subcommand)]
pub(crate) enum Testnet {
    /// Start N nodes on free loopback ports; they keep running. A network that is down comes up again with all it holds.
    #[command(after_help = "Examples:
  epione testnet up
  epione testnet up -n 7 --dir /tmp/seven")]
    Up {
        /// How many hospitals, each with a node; 4 survive one that fails. [default: 4]
        #[arg(short, long = "nodes")]
        n: Option<usize>,
        /// How long to wait until all are in consensus, in seconds.
        #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
        wait: u64,
        #[command(flatten)]
        dir: Dir,
    },
    /// How the nodes are.
    #[command(after_help = "Examples:
  epione testnet status
  epione testnet status --json")]
    Status {
        #[command(flatten)]
        dir: Dir,
    },
    /// What nodes printed.
    #[command(after_help = "Examples:
  epione testnet logs 2
  epione testnet logs -f")]
    Logs {
        /// Which node; all if not given.
        node: Option<usize>,
        /// Go on as the logs grow, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines.
        #[arg(long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        dir: Dir,
    },
    /// Kill a node at once (SIGKILL), as a crash would.
    #[command(after_help = "Example:
  epione testnet kill 2")]
    Kill {
        /// Which node, from 0.
        node: usize,
        #[command(flatten)]
        dir: Dir,
    },
    /// Start a node that does not run, or restart one that does.
    #[command(after_help = "Example:
  epione testnet restart 2")]
    Restart {
        /// Which node, from 0.
        node: usize,
        #[command(flatten)]
        dir: Dir,
    },
    /// Add a node for a hospital that has one already. It follows; `epione validator add` lets it vote.
    #[command(after_help = "Example:
  epione testnet add --hospital 0")]
    Add {
        /// For the hospital of which node, from 0.
        #[arg(long, default_value_t = 0)]
        hospital: usize,
        #[command(flatten)]
        dir: Dir,
    },
    /// Break a network of its own on purpose, and see that it comes back with all that it promised.
    #[command(after_help = "Examples:
  epione testnet drill --list
  epione testnet drill kill-primary partition
  epione testnet drill --all
  epione testnet drill join --simulated --seeds 100 --from 1")]
    Drill(Drill),
    /// Stop all nodes; what they stored stays.
    #[command(after_help = "Examples:
  epione testnet down
  epione testnet down --delete")]
    Down {
        /// Remove the folder too, with keys and ledgers.
        #[arg(long)]
        delete: bool,
        #[command(flatten)]
        dir: Dir,
    },
}

/// A drill: an own network in a temporary folder, gone in the end.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Drill {
    /// Which, in this order.
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "list", "file"])]
    pub(crate) names: Vec<String>,
    /// All there are; some minutes.
    #[arg(long, conflicts_with_all = ["list", "file"])]
    pub(crate) all: bool,
    /// Say which there are.
    #[arg(long, conflicts_with = "file")]
    pub(crate) list: bool,
    /// One of your own: a file like those in testnet/scenarios.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How long each step may take, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) wait: u64,
    /// In the simulator's virtual time instead: no processes, and all that must hold there is looked at after every event.
    #[arg(long, conflicts_with = "list")]
    pub(crate) simulated: bool,
    /// How many seeds of each; a seed draws latencies, what a crash loses, and what clients want.
    #[arg(long, default_value_t = 1, requires = "simulated", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, requires = "simulated")]
    pub(crate) from: u64,
    /// A line for each transition.
    #[arg(long, requires = "simulated")]
    pub(crate) trace: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Run a node in the foreground until SIGTERM or Ctrl-C.
    #[command(after_help = "Example:
  epione node run --config node.toml")]
    Run {
        /// Its configuration (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Stop when standard input ends: for a starter that must not leave the node behind.
        #[arg(long)]
        stop_with_stdin: bool,
    },
    /// How a node is: consensus, peers, mempool. Asks its operators' address.
    #[command(after_help = "Examples:
  epione node status --node 2
  epione node status --endpoint https://10.0.0.7:7001 --ca ca.pem --genesis genesis.json --key admin.key")]
    Status(ConnectOnly),
    /// Where consensus stands at a node, whom it waits for and since when, why the view changed, what comes next, what to do.
    #[command(after_help = "Examples:
  epione node explain --node 2
  epione node explain --node 2 --json")]
    Explain(ConnectOnly),
    /// Let a running node make a snapshot of its present state, for `epione backup create`; blocks go on coming in.
    #[command(after_help = "Example:
  epione node snapshot --node 2")]
    Snapshot(ConnectOnly),
    /// Check a configuration without running it; reports every fault at once.
    #[command(after_help = "Example:
  epione node check --config node.toml")]
    Check {
        /// The configuration (TOML).
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Verify all that a stopped node has stored: chain links, certificates, roots, receipts.
    #[command(after_help = "Examples:
  epione ledger verify --config .epione-testnet/node0/node.toml
  epione ledger verify --data .epione-testnet/node0/data --genesis .epione-testnet/genesis.json")]
    Verify {
        /// The node's configuration, which names its data and genesis.
        #[arg(long, required_unless_present = "data", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The node's data folder.
        #[arg(long, requires = "genesis")]
        data: Option<PathBuf>,
        /// The genesis (JSON).
        #[arg(long)]
        genesis: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Write a backup: of the ledger's head if the node is stopped, else the newest snapshot that it made.
    ///
    /// `epione node snapshot` lets a running node make one now.
    ///
    /// A backup holds the state and the proof that it is the network's. It holds no keys and no consensus log: a voting key
    /// is never backed up.
    #[command(after_help = "Example:
  epione backup create --config node.toml --to node0.backup")]
    Create {
        /// The node's configuration (TOML).
        #[arg(long)]
        config: PathBuf,
        /// The file to write. Never overwritten.
        #[arg(long)]
        to: PathBuf,
    },
    /// Check a backup against the genesis alone.
    #[command(after_help = "Example:
  epione backup verify node0.backup --genesis genesis.json")]
    Verify {
        /// The backup.
        file: PathBuf,
        /// The genesis (JSON).
        #[arg(long)]
        genesis: PathBuf,
    },
    /// Give a stopped node the ledger of a backup, if its own is not as far.
    ///
    /// It is installed when the node starts; what came after it is fetched from the others. Where the consensus log is lost as
    /// well, what the voting key has voted is not known, and it must not vote again: make a new one and rejoin with it.
    #[command(after_help = "Examples:
  epione backup restore node0.backup --config node.toml
  epione backup restore node0.backup --config new-node.toml --new-key")]
    Restore {
        /// The backup.
        file: PathBuf,
        /// The node's configuration (TOML).
        #[arg(long)]
        config: PathBuf,
        /// There is no consensus log because the voting key is new: it was made for this node and has never voted anywhere.
        #[arg(long)]
        new_key: bool,
    },
}
