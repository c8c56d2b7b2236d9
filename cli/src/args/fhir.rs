//! Commands that speak FHIR, and the accounting of disclosures.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use epione_client::fhir::Regime;

use super::{Connect, Write};

/// `epione consent import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  epione consent import consent.json --patient anna --directory directory.json --dry-run
  epione consent import consent.json --patient anna --directory directory.json --as patients/anna

The Consent is R4 in the shape of IHE PCF, or R5. It becomes rules whole, or is refused with every reason and its
JSON path. The directory (JSON) says what its references and policies mean:
  {\"references\": {\"Patient/17\": \"patient:anna\", \"Organization/4\": \"org:hospital1\", \"DocumentReference/8\": \"record:ID\"},
   \"policies\": {\"http://example.org/policy/2\": \"HASH OF ITS TEXT\"}}
with the words of --to, record:ID for records and document:HASH for signed documents.")]
pub(crate) struct ConsentImport {
    /// The Consent (JSON).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose it is: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// What references and policies mean (JSON). Consents that this ledger wrote need none.
    #[arg(long, value_name = "FILE")]
    pub(crate) directory: Option<PathBuf>,
    /// The signed consent, if you attest one for the patient: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    /// Show the rules; submit nothing, ask no node.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// `epione consent export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  epione consent export --patient anna --as patients/anna
  epione consent export --patient anna --ndjson --as patients/anna")]
pub(crate) struct ConsentExport {
    #[command(flatten)]
    pub(crate) export: OfPatient,
}

/// `epione access export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  epione access export --patient anna --as patients/anna
  epione access export --patient anna --ndjson --as patients/anna")]
pub(crate) struct AccessExport {
    #[command(flatten)]
    pub(crate) export: OfPatient,
}

/// Whose, and how to write it.
#[derive(Debug, Args)]
pub(crate) struct OfPatient {
    /// Whose: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// One resource a line instead of one Bundle.
    #[arg(long)]
    pub(crate) ndjson: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// `epione record provenance`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  epione record provenance RECORD --as hospital0/doctor")]
pub(crate) struct RecordProvenance {
    /// Its id.
    pub(crate) record: String,
    /// One resource a line instead of one Bundle.
    #[arg(long)]
    pub(crate) ndjson: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// How an accounting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
}

/// `epione access accounting`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  epione access accounting --patient anna --regime GDPR --as patients/anna
  epione access accounting --patient anna --regime HIPAA --format csv --as patients/anna

HIPAA (45 CFR 164.528) leaves out treatment, payment and operations, disclosures to the individual and under an
authorization, and goes six years back; PART2 (42 CFR 2.25) is about records labelled PART2; GDPR leaves out nothing.")]
pub(crate) struct AccessAccounting {
    /// Whose: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// By which law: HIPAA, PART2 or GDPR.
    #[arg(long)]
    pub(crate) regime: Regime,
    /// How it is written; --json means json.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// From this time on. [default: HIPAA six years ago, else the beginning]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Before this time. [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) connect: Connect,
}
