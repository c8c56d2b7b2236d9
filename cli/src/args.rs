//! What was typed: the command line, as clap reads it. What it means is `request.rs` and the commands.
//!
//! `epione NOUN VERB THING`: what the noun names stands alone, everything else has a flag, the same one everywhere
//! (`--patient`). Every command has examples; that they can be typed is tested below.

pub(crate) mod consent;
pub(crate) mod fhir;
mod identity;
mod operate;
mod record;
pub(crate) mod validator;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use epione_types::TxId;

pub(crate) use consent::*;
pub(crate) use identity::*;
pub(crate) use operate::*;
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
