//! Consent beyond single grants: opting out, passing on, asking; emergencies and their review; the rules themselves.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use epione_types::codes::{PolicyConstant, Verdict};

use super::{Connect, ConnectOnly, OfPatient, Rule, Write};

/// Nobody may anything.
#[derive(Debug, ClapArgs)]
pub(crate) struct OptOut {
    /// Whose records: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// Leave standing what was permitted.
    #[arg(long)]
    pub(crate) keep_permits: bool,
    /// The signed wish, if you attest one for the patient: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// That there is no permit.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProveNone {
    /// For which record.
    pub(crate) record: String,
    /// Whose it is: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// Who holds none: id or name.
    #[arg(long)]
    pub(crate) organisation: String,
    /// At this height, one of the last 256; the last certified one if not given.
    #[arg(long)]
    pub(crate) height: Option<u64>,
    /// Keep the proof.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// A grant passed on.
#[derive(Debug, ClapArgs)]
pub(crate) struct Delegate {
    /// The grant to pass on: a delegable one, to you.
    #[arg(conflicts_with = "parent")]
    pub(crate) grant: String,
    #[command(flatten)]
    pub(crate) rule: Rule,
}

/// A request for a grant.
#[derive(Debug, ClapArgs)]
pub(crate) struct RequestAsk {
    /// Until when it may be answered.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub(crate) answer_until: String,
    /// A message to the patient. It stays here: a commitment to FILE.salted, made of it, is sent.
    #[arg(long, value_name = "FILE")]
    pub(crate) message: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rule: Rule,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Ask a patient for a grant: to yourself, or to your organisation.
    #[command(after_help = "Example:
  epione request ask --patient anna --to hospital2/doctor --purpose TREAT --until 90d --as hospital2/doctor")]
    Ask(Box<RequestAsk>),
    /// Grant what was asked for, or for a shorter time or fewer uses.
    #[command(after_help = "Examples:
  epione request approve REQUEST --patient anna --as patients/anna
  epione request approve REQUEST --patient anna --until 7d --uses 1 --as patients/anna")]
    Approve {
        /// Which.
        request: String,
        /// Whose records: id or name.
        #[arg(long)]
        patient: String,
        /// Valid until this time. [default: as asked]
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// How often it may be used. [default: as asked]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// The signed consent, if you attest one for the patient: a file, or its hash. [default: as asked]
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Say no.
    #[command(after_help = "Example:
  epione request reject REQUEST --patient anna --as patients/anna")]
    Reject {
        /// Which.
        request: String,
        /// Whose records: id or name.
        #[arg(long)]
        patient: String,
        /// The signed answer, if you attest one for the patient: a file, or its hash.
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Ask no more.
    #[command(after_help = "Example:
  epione request withdraw REQUEST --patient anna --as hospital2/doctor")]
    Withdraw {
        /// Which.
        request: String,
        /// Whose records: id or name.
        #[arg(long)]
        patient: String,
        #[command(flatten)]
        write: Write,
    },
    /// Who asked for what, and how it was answered. Whoever asked sees their own.
    #[command(after_help = "Example:
  epione request list --patient anna --as patients/anna")]
    List(OfPatient),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Emergency {
    /// Emergency accesses to a patient's records, and how their reviews stand.
    #[command(after_help = "Example:
  epione emergency list --patient anna --as patients/anna")]
    List(OfPatient),
    /// Emergency accesses by an organisation's people that nobody has reviewed.
    #[command(after_help = "Examples:
  epione emergency reviews --org hospital1 --as hospital1/officer
  epione emergency reviews --org hospital1 --overdue --as hospital0/admin")]
    Reviews {
        /// Whose people: id or name.
        #[arg(long)]
        org: String,
        /// Only those that should have been reviewed.
        #[arg(long)]
        overdue: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// Review one, as a privacy officer and another person.
    #[command(after_help = "Example:
  epione emergency review 41 --patient anna --holder hospital1/doctor --verdict OK --findings findings.txt --as hospital1/officer")]
    Review {
        /// The block that opened it.
        height: u64,
        /// Whose records: id or name.
        #[arg(long)]
        patient: String,
        /// Who broke the glass: ORG/PRACTITIONER, by ids or names.
        #[arg(long)]
        holder: String,
        /// What you found.
        #[arg(long)]
        verdict: Verdict,
        /// The findings in writing. They stay here: a commitment to FILE.salted, made of them, is sent.
        #[arg(long, value_name = "FILE")]
        findings: Option<PathBuf>,
        #[command(flatten)]
        write: Write,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// The constants in force, proven.
    #[command(after_help = "Example:
  epione policy show --as hospital0/admin")]
    Show(ConnectOnly),
    /// Propose a constant's value, as a validator's organisation, which votes for it thereby.
    #[command(after_help = "Examples:
  epione policy propose OVERRIDE_REVIEW_MS 48h --as hospital0/admin
  epione policy propose LIVE_RULES_MAX 256 --as hospital0/admin")]
    Propose {
        /// Which.
        constant: PolicyConstant,
        /// A number, or a duration such as 48h or 30d.
        value: String,
        #[command(flatten)]
        write: Write,
    },
    /// Vote on a proposal, as a validator's organisation.
    #[command(after_help = "Examples:
  epione policy vote PROPOSAL --as hospital1/admin
  epione policy vote PROPOSAL --reject --as hospital1/admin")]
    Vote {
        /// Which.
        proposal: String,
        /// Against it.
        #[arg(long)]
        reject: bool,
        #[command(flatten)]
        write: Write,
    },
    /// Take a proposal back, as the organisation that made it.
    #[command(after_help = "Example:
  epione policy withdraw PROPOSAL --as hospital0/admin")]
    Withdraw {
        /// Which.
        proposal: String,
        #[command(flatten)]
        write: Write,
    },
    /// Show a proposal and its votes, proven.
    #[command(after_help = "Example:
  epione policy proposal PROPOSAL --as hospital0/admin")]
    Proposal {
        /// Which.
        proposal: String,
        #[command(flatten)]
        connect: Connect,
    },
}
