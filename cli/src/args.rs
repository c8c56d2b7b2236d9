//! What was typed: the command line, as clap reads it. What it means is `request.rs` and the commands.
//!
//! `epione NOUN VERB THING`: what the noun names stands alone, everything else has a flag, the same one everywhere
//! (`--patient`). Every command has examples; that they can be typed is tested below.

pub(crate) mod consent;
pub(crate) mod fhir;
mod identity;
mod record;
pub(crate) mod validator;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use epione_types::call::Month;
use epione_types::codes::{
    Action, Capability, Category, EmergencyReason, Label, OrganisationKind, Purpose, Role,
};
use epione_types::{Hash, TxId};

pub(crate) use consent::*;
pub(crate) use identity::*;
pub(crate) use record::*;
pub(crate) use validator::Validator;

/// A permissioned ledger of hospitals: who holds which health record, who may see it, and who did.
#[derive(Debug, Parser)]
#[command(name = "epione", version, propagate_version = true, after_help = EXAMPLES, after_long_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Print one JSON value as the last line of standard output instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  epione demo                                  the whole story in one minute, on this machine
  epione testnet up                            four hospitals that stay
  epione patient register --name anna --as hospital0/doctor
  epione record register lab.json --patient anna --category LAB --month 2026-07 --keep vault --as hospital0/doctor
  epione consent grant --patient anna --to hospital1/doctor --purpose TREAT --as patients/anna
  epione access record RECORD --role PHYSICIAN --purpose TREAT --as hospital1/doctor
  epione testnet down";

const EXIT_CODES: &str = "Examples:
  epione demo
  epione testnet up
  epione help consent grant

Exit codes:
  0  done
  1  failed: refused by a node or by the ledger, not found, broken; the message says why
  2  the command line cannot mean anything
  3  an access was decided, and denied
  4  no answer in time: the outcome is unknown, ask for the receipt or repeat the command
  5  a proof does not hold";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A network of real nodes on this machine.
    #[command(
        subcommand,
        after_help = "Examples:
  epione testnet up
  epione testnet kill 2
  epione testnet status
  epione testnet restart 2
  epione testnet down --delete"
    )]
    Testnet(Testnet),
    /// Run, watch or check a node.
    #[command(
        subcommand,
        after_help = "Examples:
  epione node check --config node.toml
  epione node run --config node.toml
  epione node status --node 2"
    )]
    Node(Node),
    /// Look after what a node has stored.
    #[command(
        subcommand,
        after_help = "Examples:
  epione ledger verify --config .epione-testnet/node0/node.toml
  epione help ledger verify"
    )]
    Ledger(Ledger),
    /// Keep the state of a ledger elsewhere, and bring it back.
    #[command(
        subcommand,
        after_help = "Examples:
  epione backup create --config .epione-testnet/node0/node.toml --to node0.backup
  epione backup verify node0.backup --genesis .epione-testnet/genesis.json
  epione backup restore node0.backup --config .epione-testnet/node0/node.toml"
    )]
    Backup(Backup),
    /// Signing keys.
    #[command(
        subcommand,
        after_help = "Examples:
  epione keys new doctor.key
  epione keys show doctor.key"
    )]
    Keys(Keys),
    /// Organisations.
    #[command(
        subcommand,
        after_help = "Examples:
  epione org register --name clinic --kind CLINIC --as hospital0/admin --cosign .epione-testnet/keys/hospital1/admin.key
  epione org show hospital1"
    )]
    Org(Org),
    /// Practitioners.
    #[command(
        subcommand,
        after_help = "Examples:
  epione practitioner register --name dr-b --role PHYSICIAN --as hospital1/admin
  epione practitioner show hospital1/dr-b"
    )]
    Practitioner(Practitioner),
    /// Devices that write records in a practitioner's name.
    #[command(
        subcommand,
        after_help = "Examples:
  epione device register --name analyser1 --kind ANALYSER --practitioner hospital0/doctor --as hospital0/admin
  epione device revoke DEVICE --as hospital0/admin"
    )]
    Device(Device),
    /// Patients, by pseudonym.
    #[command(
        subcommand,
        after_help = "Examples:
  epione patient register --name anna --as hospital0/doctor
  epione patient show anna --as patients/anna"
    )]
    Patient(Patient),
    /// Those who may act for a patient: parents, guardians, attorneys, executors.
    #[command(
        subcommand,
        after_help = "Examples:
  epione representative add --patient ben --name mother --kind GUARDIAN --evidence court.pdf --as hospital0/doctor
  epione representative list --patient ben --as hospital0/doctor"
    )]
    Representative(Representative),
    /// A lost key of a patient, restored by guardians.
    #[command(
        subcommand,
        after_help = "Examples:
  epione recovery guardians --guardian hospital1 --guardian patient:karl --threshold 2 --salts guardians/ --as patients/anna
  epione recovery show --patient anna --as patients/anna"
    )]
    Recovery(Recovery),
    /// Health records: their register, never their content.
    #[command(
        subcommand,
        after_help = "Examples:
  epione record register bundles/ --keep vault --as hospital0/doctor
  epione record list --patient anna --as patients/anna"
    )]
    Record(Record),
    /// Reports: the patient sees them first, and says who else does.
    #[command(
        subcommand,
        after_help = "Examples:
  epione report draft letter.txt --patient anna --category CLINICAL_NOTE --month 2026-07 --keep vault --as hospital0/doctor
  epione report approve REPORT --viewer hospital1/doctor --as patients/anna"
    )]
    Report(Report),
    /// Links that open one record to a guest.
    #[command(
        subcommand,
        after_help = "Examples:
  epione link create --name gp --patient anna --record RECORD --until 7d --uses 3 --as patients/anna
  epione link close LINK --as patients/anna"
    )]
    Link(Link),
    /// Grants and denials.
    #[command(
        subcommand,
        after_help = "Examples:
  epione consent grant --patient anna --to hospital1/doctor --purpose TREAT --as patients/anna
  epione consent list --patient anna --as patients/anna
  epione consent revoke GRANT --patient anna --as patients/anna"
    )]
    Consent(Consent),
    /// Asking a patient for a grant, and the answer.
    #[command(
        subcommand,
        after_help = "Examples:
  epione request ask --patient anna --to hospital2/doctor --purpose TREAT --as hospital2/doctor
  epione request approve REQUEST --patient anna --as patients/anna"
    )]
    Request(Request),
    /// Accesses to records: decided, counted, traced.
    #[command(
        subcommand,
        after_help = "Examples:
  epione access check RECORD --as hospital1/doctor
  epione access record RECORD --as hospital1/doctor
  epione access list --patient anna --as patients/anna"
    )]
    Access(Access),
    /// Emergency accesses and their review.
    #[command(
        subcommand,
        after_help = "Examples:
  epione emergency list --patient anna --as patients/anna
  epione emergency review 41 --patient anna --holder hospital1/doctor --verdict OK --as hospital1/officer"
    )]
    Emergency(Emergency),
    /// Constants of policy, which the organisations change by vote.
    #[command(
        subcommand,
        after_help = "Examples:
  epione policy show --as hospital0/admin
  epione policy propose OVERRIDE_REVIEW_MS 48h --as hospital0/admin"
    )]
    Policy(Policy),
    /// Proofs of what became of a transaction.
    #[command(
        subcommand,
        after_help = "Examples:
  epione receipt get TRANSACTION --out anna.receipt
  epione receipt verify anna.receipt --genesis genesis.json"
    )]
    Receipt(Receipt),
    /// Who validates, and by which parameters: shown, and changed by vote.
    #[command(
        subcommand,
        after_help = "Examples:
  epione validator list
  epione validator add --org hospital0 --voting-key KEY --network-key KEY --as hospital0/admin
  epione validator ready PROPOSAL --voting-key-file node4/voting.key --joining 4 --as hospital0/admin"
    )]
    Validator(Validator),
    /// Blocks.
    #[command(
        subcommand,
        after_help = "Examples:
  epione block show
  epione block show 41 --transactions"
    )]
    Block(Block),
    /// What happened on the ledger, in order, as far as you may know of it: up to now, or on and on.
    Events(Events),
    /// The main job, end to end, on a network of its own: exit code 0 if all of it works.
    Demo(Demo),
    /// The simulator: whole validators in virtual time, attacked. Exit code 2 safety, 3 liveness, 4 the simulator itself.
    Sim(Sim),
    /// Completions for a shell, on standard output.
    #[command(after_help = "Example:
  epione completions bash > ~/.local/share/bash-completion/completions/epione")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

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
  epione testnet drill --all")]
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
    /// It is installed when the node starts; what came after it is fetched from the others. A validator whose consensus log is
    /// lost as well refuses to vote under its old key: make a new one and rejoin with it.
    #[command(after_help = "Example:
  epione backup restore node0.backup --config node.toml")]
    Restore {
        /// The backup.
        file: PathBuf,
        /// The node's configuration (TOML).
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a new ed25519 key. Never overwrites one.
    #[command(after_help = "Example:
  epione keys new doctor.key")]
    New {
        /// Where to write it, readable by you alone.
        file: PathBuf,
    },
    /// The public half of a key file.
    #[command(after_help = "Example:
  epione keys show doctor.key")]
    Show {
        /// The key file.
        file: PathBuf,
    },
    /// Sign with another key from now on; the old one is nobody's any more.
    #[command(after_help = "Example:
  epione keys rotate new.key --as patients/anna")]
    Rotate(Box<KeysRotate>),
}

/// How to reach the consortium, and as whom. With a testnet all of it is known but `--as`.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// A testnet's folder: gives endpoints, certificate, genesis and names.
    #[arg(long, env = "EPIONE_TESTNET", value_name = "DIR")]
    pub(crate) testnet: Option<PathBuf>,
    /// Who you are in the testnet: a key below its `keys/`, such as hospital0/doctor. [default: hospital0/admin, or of --node]
    #[arg(long = "as", env = "EPIONE_AS", value_name = "NAME", conflicts_with = "key")]
    pub(crate) who: Option<String>,
    /// Ask this node of the testnet alone. [default: that of your hospital, then the others]
    #[arg(short = 'N', long, value_name = "N", conflicts_with = "endpoints")]
    pub(crate) node: Option<usize>,
    /// A node's address, https://HOST:PORT; give several to go on when one is gone.
    #[arg(long = "endpoint", env = "EPIONE_ENDPOINT", value_delimiter = ',', value_name = "URL")]
    pub(crate) endpoints: Vec<String>,
    /// Certificate (PEM) of the authority that signed the nodes' certificates.
    #[arg(long, env = "EPIONE_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The consortium's genesis (JSON): what all proofs are checked against.
    #[arg(long, env = "EPIONE_GENESIS", value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
    /// Your key file; see `epione keys new`.
    #[arg(long, env = "EPIONE_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// How long the whole command may wait for nodes, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
}

impl Connect {
    /// The same, to one node: its address, or its number in the testnet.
    pub(crate) fn at(&self, place: &str) -> Self {
        match place.parse() {
            Ok(node) => Self { node: Some(node), endpoints: Vec::new(), ..self.clone() },
            Err(_) => Self { node: None, endpoints: vec![place.to_owned()], ..self.clone() },
        }
    }
}

/// A command of which nothing but the connection is asked.
#[derive(Debug, ClapArgs)]
pub(crate) struct ConnectOnly {
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// What every transaction can be given.
#[derive(Debug, ClapArgs)]
pub(crate) struct Write {
    /// Key file of somebody else who must sign; give it once for each.
    #[arg(long = "cosign", value_name = "FILE")]
    pub(crate) cosigners: Vec<PathBuf>,
    /// Keep the proof of what became of the transaction.
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Org {
    /// Register an organisation: signed by admins of as many validators' organisations as the policy says.
    #[command(after_help = "Example:
  epione org register --name clinic --kind CLINIC --as hospital0/admin --cosign .epione-testnet/keys/hospital1/admin.key")]
    Register {
        /// Its kind.
        #[arg(long)]
        kind: OrganisationKind,
        /// What to call it on this machine; with a testnet and no --admin its admin key is made.
        #[arg(long)]
        name: Option<String>,
        /// Key file of an admin; give it once for each.
        #[arg(long = "admin", value_name = "FILE")]
        admins: Vec<PathBuf>,
        /// How many admins must sign together.
        #[arg(long, default_value_t = 1)]
        threshold: u8,
        /// Its staff may break the glass in an emergency.
        #[arg(long)]
        break_glass: bool,
        #[command(flatten)]
        write: Write,
    },
    /// Stop an organisation for now: signed as its registration is.
    #[command(after_help = "Example:
  epione org suspend clinic --as hospital0/admin --cosign .epione-testnet/keys/hospital1/admin.key")]
    Suspend(OrgStatus),
    /// Let a suspended organisation take part again.
    #[command(after_help = "Example:
  epione org resume clinic --as hospital0/admin --cosign .epione-testnet/keys/hospital1/admin.key")]
    Resume(OrgStatus),
    /// An organisation leaves, for ever.
    #[command(after_help = "Example:
  epione org leave clinic --as clinic/admin")]
    Leave(OrgStatus),
    /// Show an organisation.
    #[command(after_help = "Example:
  epione org show hospital1")]
    Show {
        /// Id or name.
        org: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Practitioner {
    /// Enrol a practitioner of your organisation, as its admin.
    #[command(after_help = "Example:
  epione practitioner register --name dr-b --role PHYSICIAN --capability btg --as hospital1/admin")]
    Register {
        /// What to call them on this machine; with a testnet and no --member-key their key is made.
        #[arg(long)]
        name: Option<String>,
        /// The practitioner's key file.
        #[arg(long, value_name = "FILE")]
        member_key: Option<PathBuf>,
        /// In which roles; give it once for each.
        #[arg(long = "role", required = true)]
        roles: Vec<Role>,
        /// Beyond the roles (btg: may break the glass).
        #[arg(long = "capability")]
        capabilities: Vec<Capability>,
        /// End of the credential.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Salted commitment to name and licence, 64 hex digits. [default: to nothing but a random salt]
        #[arg(long, value_name = "HASH")]
        commitment: Option<Hash>,
        #[command(flatten)]
        write: Write,
    },
    /// Renew roles, capabilities, credential or key: what is not given again is over.
    #[command(after_help = "Example:
  epione practitioner update hospital1/dr-b --role PHYSICIAN --until 2027-12-31 --as hospital1/admin")]
    Update(PractitionerUpdate),
    /// Stop a practitioner for now.
    #[command(after_help = "Example:
  epione practitioner suspend hospital1/dr-b --as hospital1/admin")]
    Suspend(PractitionerStatus),
    /// Let a suspended practitioner work again.
    #[command(after_help = "Example:
  epione practitioner resume hospital1/dr-b --as hospital1/admin")]
    Resume(PractitionerStatus),
    /// A practitioner leaves, for ever.
    #[command(after_help = "Example:
  epione practitioner retire hospital1/dr-b --as hospital1/admin")]
    Retire(PractitionerStatus),
    /// Show a practitioner.
    #[command(after_help = "Example:
  epione practitioner show hospital1/doctor")]
    Show {
        /// ORG/PRACTITIONER, by ids or names.
        practitioner: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Patient {
    /// Enrol a patient under a random pseudonym, as a clinician, registrar or admin of the caring organisation.
    #[command(after_help = "Examples:
  epione patient register --name anna --as hospital0/doctor
  epione patient register --custodial --notice notice.pdf --as hospital0/admin")]
    Register {
        /// What to call them on this machine: a nickname, as it is typed and part of file names. With a testnet their key is made as patients/NAME.
        #[arg(long)]
        name: Option<String>,
        /// The patient's key file.
        #[arg(long, value_name = "FILE")]
        member_key: Option<PathBuf>,
        /// The patient holds no key: the organisation keeps custody.
        #[arg(long, conflicts_with = "member_key")]
        custodial: bool,
        /// The privacy notice that was given: a file, or its hash. [default: an empty notice]
        #[arg(long, value_name = "FILE|HASH")]
        notice: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Your organisation begins to care: the patient's key signs too (--cosign), or for a patient in custody a carer's.
    #[command(after_help = "Examples:
  epione patient link anna --cosign .epione-testnet/keys/patients/anna.key --as hospital1/doctor
  epione patient link PATIENT --document consent.pdf --cosign carer.key --as hospital1/doctor")]
    Link(PatientSaid),
    /// An organisation cares no more.
    #[command(after_help = "Example:
  epione patient unlink anna --org hospital1 --as patients/anna")]
    Unlink(PatientUnlink),
    /// The end of custody: a patient takes an own key.
    #[command(after_help = "Example:
  epione patient take-over ben --document identified.pdf --as hospital0/doctor")]
    TakeOver(PatientTakeOver),
    /// A patient died.
    #[command(after_help = "Example:
  epione patient deceased anna --document certificate.pdf --as hospital0/doctor")]
    Deceased(PatientSaid),
    /// The end of a patient whose records are erased; the patient's key signs too (--cosign).
    #[command(after_help = "Example:
  epione patient erase anna --cosign .epione-testnet/keys/patients/anna.key --as hospital0/doctor")]
    Erase(PatientSaid),
    /// What a patient was told, and what was seen of it.
    #[command(after_help = "Example:
  epione patient notices anna --as patients/anna")]
    Notices(PatientHistory),
    /// Say that a notice was seen.
    #[command(after_help = "Example:
  epione patient acknowledge anna --notice 41/0 --as patients/anna")]
    Acknowledge(PatientAcknowledge),
    /// Everything that happened about a patient, in order, as far as you may know of it.
    #[command(after_help = "Examples:
  epione patient history anna --as patients/anna
  epione patient history anna --as patients/anna --json")]
    History(PatientHistory),
    /// Show a patient.
    #[command(after_help = "Example:
  epione patient show anna --as patients/anna")]
    Show {
        /// Id or name.
        patient: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Record {
    /// Register records: one file, or FHIR bundles with their patients (one record per clinical resource).
    #[command(after_help = "Examples:
  epione record register lab.json --patient anna --category LAB --month 2026-07 --keep vault --as hospital0/doctor
  epione record register bundles/ --keep vault --as hospital0/doctor

Bodies stay with you: only random ids, codes, a month, a size class and salted hashes are sent. --keep DIR keeps
each body with its salt, without which nobody can show later what was registered. Messages name a file by its place
(as given; in a folder by name), never by its name, which may be a patient's.")]
    Register(RecordRegister),
    /// A new version in place of the present one, which stays.
    #[command(after_help = "Example:
  epione record revise RECORD lab2.json --keep vault --as hospital0/doctor")]
    Revise(RecordRevise),
    /// Say that a record should not have been; it stays.
    #[command(after_help = "Example:
  epione record mark-error RECORD --as hospital0/doctor")]
    MarkError(RecordError),
    /// The end of a record in all its versions: by the custodian's privacy officer or registrar, at the patient's wish.
    #[command(after_help = "Examples:
  epione record erase RECORD --cosign .epione-testnet/keys/patients/anna.key --as hospital0/officer
  epione record erase RECORD --document wish.pdf --as hospital0/officer")]
    Erase(RecordErase),
    /// Keep a record from being erased, by law or for a dispute.
    #[command(after_help = "Examples:
  epione record hold RECORD --until 2036-12-31 --as hospital0/officer
  epione record hold RECORD --lift --as hospital0/officer")]
    Hold(RecordHold),
    /// A patient's records, as far as you may know of them.
    #[command(after_help = "Example:
  epione record list --patient anna --as patients/anna")]
    List {
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// A record's history as FHIR Provenance.
    Provenance(fhir::RecordProvenance),
    /// Show one record.
    #[command(after_help = "Example:
  epione record show RECORD --as hospital0/doctor")]
    Show {
        /// Its id.
        record: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RecordRegister {
    /// Files, or folders of .json files.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Keep bodies and salts in this folder.
    #[arg(long, value_name = "DIR", required_unless_present = "discard", conflicts_with = "discard")]
    pub(crate) keep: Option<PathBuf>,
    /// Do not keep bodies and salts: for trials.
    #[arg(long)]
    pub(crate) discard: bool,
    /// In which capacity you write.
    #[arg(long, default_value = "PHYSICIAN")]
    pub(crate) role: Role,
    /// Whose record it is: id or name (not for bundles, which name their patients).
    #[arg(long)]
    pub(crate) patient: Option<String>,
    /// Kind of record (not for bundles).
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// Sensitivity label; give it once for each (not for bundles).
    #[arg(long = "label")]
    pub(crate) labels: Vec<Label>,
    /// Month of the service, yyyy-mm; for bundles: of resources without a date. [default for bundles: this month]
    #[arg(long)]
    pub(crate) month: Option<Month>,
    /// The privacy notice that a bundle's patients were given: a file, or its hash. [default: an empty notice]
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) notice: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Consent {
    /// Allow.
    #[command(after_help = "Examples:
  epione consent grant --patient anna --to hospital1/doctor --purpose TREAT --as patients/anna
  epione consent grant --patient anna --to hospital1 --purpose TREAT --label HIV --until 30d --as patients/anna
  epione consent grant --patient PATIENT --to org:ORG --purpose TREAT --document consent.pdf --as hospital0/doctor")]
    Grant(Rule),
    /// Forbid. The narrower of a grant and a denial wins.
    #[command(after_help = "Example:
  epione consent deny --patient anna --to hospital2 --purpose all --as patients/anna")]
    Deny(Rule),
    /// End a grant or denial.
    #[command(after_help = "Examples:
  epione consent revoke GRANT --patient anna --as patients/anna
  epione consent revoke GRANT --patient anna --document withdrawal.pdf --as hospital0/doctor")]
    Revoke {
        /// Which grant.
        grant: String,
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        /// The signed withdrawal, if you attest one for the patient: a file, or its hash.
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Nobody may anything any more: a denial to everybody, and the end of every permit. Shows the permits still open.
    #[command(after_help = "Examples:
  epione consent opt-out --patient anna --as patients/anna
  epione consent opt-out --patient anna --keep-permits --as patients/anna")]
    OptOut(OptOut),
    /// Pass on a delegable grant that you hold, within it and one level deep.
    #[command(after_help = "Example:
  epione consent delegate GRANT --patient anna --to hospital2/doctor --purpose TREAT --as hospital1/doctor")]
    Delegate(Delegate),
    /// Make a FHIR Consent the grants and denials that it means, or say all that cannot be meant by it.
    Import(fhir::ConsentImport),
    /// A patient's grants and denials as FHIR Consents.
    Export(fhir::ConsentExport),
    /// A patient's grants and denials, ended ones too.
    #[command(after_help = "Example:
  epione consent list --patient anna --as patients/anna")]
    List {
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Prove that an organisation holds no permit in force for a record, or held none lately. Exit code 5 if it may.
    #[command(after_help = "Example:
  epione consent prove-none RECORD --patient anna --organisation hospital2 --out none.proof --as patients/anna")]
    ProveNone(consent::ProveNone),
    /// Verify a kept proof that there was no permit, with the genesis alone: no node, no network. Exit code 5 if it does
    /// not hold.
    #[command(after_help = "Example:
  epione consent verify-none none.proof --genesis genesis.json")]
    VerifyNone {
        /// The kept proof.
        file: PathBuf,
        /// The consortium's genesis (JSON).
        #[arg(long)]
        genesis: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Rule {
    /// Whose records: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// To whom: a name, everybody, org:ORG, role:ORG/ROLE, person:ORG/PRACTITIONER, patient:ID, study:ID or link:ID.
    #[arg(long)]
    pub(crate) to: String,
    /// For what (HL7 purpose of use), and what lies below it; once for each. `all` for denials.
    #[arg(long = "purpose", required = true)]
    pub(crate) purposes: Vec<String>,
    /// Doing what; once for each.
    #[arg(long = "action", default_values_t = [Action::Read])]
    pub(crate) actions: Vec<Action>,
    /// Only this kind of record; once for each.
    #[arg(long = "category")]
    pub(crate) categories: Vec<Category>,
    /// Only this record; once for each.
    #[arg(long = "record")]
    pub(crate) records: Vec<String>,
    /// Sensitivity label that a grant unlocks or a denial hits, or `any`; once for each.
    #[arg(long = "label")]
    pub(crate) labels: Vec<String>,
    /// Only records of services from this month on, yyyy-mm.
    #[arg(long, value_name = "MONTH")]
    pub(crate) data_from: Option<Month>,
    /// Only records of services before this month, yyyy-mm.
    #[arg(long, value_name = "MONTH")]
    pub(crate) data_until: Option<Month>,
    /// Valid from this time on.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Valid until this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// How often it may be used.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// The grantee may pass it on, one level deep.
    #[arg(long)]
    pub(crate) delegable: bool,
    /// The grant that is passed on.
    #[arg(long, value_name = "GRANT")]
    pub(crate) parent: Option<String>,
    /// Hash of the policy text it refers to.
    #[arg(long, value_name = "HASH")]
    pub(crate) policy: Option<Hash>,
    /// The signed consent, if you attest one for the patient: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Access {
    /// What an access would come to now. Writes nothing; exit code 3 if denied.
    #[command(after_help = "Example:
  epione access check RECORD --role PHYSICIAN --purpose TREAT --as hospital1/doctor")]
    Check {
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        connect: Connect,
    },
    /// Access a record: decided, counted, and traced on the ledger. Exit code 3 if denied.
    #[command(after_help = "Examples:
  epione access record RECORD --role PHYSICIAN --purpose TREAT --as hospital1/doctor
  epione access record RECORD --role PHYSICIAN --purpose BTG --emergency UNCONSCIOUS --written reason.txt --as hospital1/doctor")]
    Record {
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        write: Write,
    },
    /// Try a policy before it goes live: cases in a file, each with what it expects. Exit code 1 if one differs.
    #[command(after_help = "Examples:
  epione access test --cases policy.json
  epione access test --cases policy.json --json")]
    Test {
        /// The cases (JSON): a fixture of people, records and grants, and what is asked and expected of it.
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
    },
    /// Who asked for a patient's records as FHIR AuditEvents (IHE BALP).
    Export(fhir::AccessExport),
    /// The accounting of disclosures that a law gives a patient a right to.
    Accounting(fhir::AccessAccounting),
    /// Who asked for a patient's records, and what was decided.
    #[command(after_help = "Examples:
  epione access list --patient anna --as patients/anna
  epione access list --patient anna --as patients/anna --json")]
    List {
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AccessArgs {
    /// Which record.
    pub(crate) record: String,
    /// In which capacity.
    #[arg(long, default_value = "PHYSICIAN")]
    pub(crate) role: Role,
    /// Doing what.
    #[arg(long, default_value = "READ")]
    pub(crate) action: Action,
    /// For what (HL7 purpose of use).
    #[arg(long, default_value = "TREAT")]
    pub(crate) purpose: Purpose,
    /// Grounds of an emergency access (purpose BTG).
    #[arg(long, value_name = "REASON", requires = "written")]
    pub(crate) emergency: Option<EmergencyReason>,
    /// The reason in writing, for an emergency access. It stays here: a commitment to FILE.salted, made of it, is sent.
    #[arg(long, value_name = "FILE", requires = "emergency")]
    pub(crate) written: Option<PathBuf>,
    /// The study, for research.
    #[arg(long)]
    pub(crate) study: Option<String>,
    /// The guest link, for guests.
    #[arg(long)]
    pub(crate) link: Option<String>,
    /// The mandate, for public health.
    #[arg(long)]
    pub(crate) mandate: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// What became of a transaction, with its proof verified.
    #[command(after_help = "Example:
  epione receipt get TRANSACTION --out anna.receipt")]
    Get {
        /// The transaction.
        transaction: TxId,
        /// Keep the proof.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        connect: Connect,
    },
    /// Verify a kept proof with the genesis alone: no node, no network. Exit code 5 if it does not hold.
    #[command(after_help = "Example:
  epione receipt verify anna.receipt --genesis genesis.json")]
    Verify {
        /// The kept proof.
        file: PathBuf,
        /// The consortium's genesis (JSON).
        #[arg(long)]
        genesis: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Block {
    /// One block's header, verified, and who signed it.
    #[command(after_help = "Examples:
  epione block show
  epione block show 41 --transactions --json")]
    Show {
        /// Its height; the last certified one if not given.
        height: Option<u64>,
        /// With the ids and outcomes of its transactions: for validators and auditors.
        #[arg(long)]
        transactions: bool,
        #[command(flatten)]
        connect: Connect,
    },
}

/// What happened.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  epione events --as hospital0/admin
  epione events --from 41/3 --as hospital0/admin     what came after the fourth event of block 41
  epione events --from now --follow --json --as patients/anna")]
pub(crate) struct Events {
    /// Where to start: HEIGHT, with that block; HEIGHT/INDEX, after that event; or `now`.
    #[arg(long, value_name = "CURSOR", default_value = "1")]
    pub(crate) from: String,
    /// Go on as the ledger grows, a line an event (with --json one JSON value each), until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// The main job, end to end.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  epione demo
  epione demo --bundles synthea/ --json")]
pub(crate) struct Demo {
    /// Load the FHIR R4 bundles (.json) of this folder instead of invented ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) bundles: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// The command lines of a command's examples, without the remark that follows some.
    fn examples(command: &Command) -> Vec<String> {
        let texts = [command.get_after_help(), command.get_after_long_help()];
        let lines = texts.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let lines = lines.lines().filter_map(|line| line.strip_prefix("  epione "));
        lines.filter_map(|line| line.split("  ").next().map(str::to_owned)).collect()
    }

    fn walk(command: &Command, path: &[&str], seen: &mut usize) {
        let examples = examples(command);
        assert!(!examples.is_empty(), "`epione {}` has no example", path.join(" "));
        for example in examples {
            let about =
                path.is_empty() || example.starts_with(&path.join(" ")) || example.starts_with("help ");
            assert!(about, "`epione {}` has an example of something else: {example}", path.join(" "));
            let words = example.split_whitespace().take_while(|word| *word != ">");
            // What stands for an id is one.
            let words =
                words.map(|word| if word == "TRANSACTION" { "00".repeat(32) } else { word.to_owned() });
            match Args::try_parse_from(std::iter::once("epione".to_owned()).chain(words)) {
                Ok(_) => *seen += 1,
                Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => *seen += 1,
                Err(error) => panic!("`epione {example}` cannot be typed: {error}"),
            }
        }
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(below, &[path, &[below.get_name()]].concat(), seen);
        }
    }

    #[test]
    fn every_command_has_examples_that_can_be_typed() {
        let mut seen = 0;
        walk(&Args::command(), &[], &mut seen);
        assert!(seen > 70, "{seen} examples");
    }

    #[test]
    fn whoever_is_not_what_the_noun_names_has_a_flag() {
        fn walk(command: &Command, path: &str) {
            let patient = command.get_arguments().find(|arg| arg.get_id() == "patient");
            if let Some(patient) = patient {
                assert_eq!(patient.is_positional(), path.starts_with(" patient "), "epione{path}");
            }
            command.get_subcommands().for_each(|below| walk(below, &format!("{path} {}", below.get_name())));
        }
        walk(&Args::command(), "");
        Args::command().debug_assert();
    }
}
