//! Records: registration, versions, errors, erasure; reports; guest links.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use epione_types::call::Month;
use epione_types::codes::{Category, Label, Role};

use super::{Connect, OfPatient, Write, fhir};

/// A record's next version.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecordRevise {
    /// Its id.
    pub(crate) record: String,
    /// The new body.
    pub(crate) file: PathBuf,
    /// Keep body and salt in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: PathBuf,
    /// In which capacity you write.
    #[arg(long, default_value = "PHYSICIAN")]
    pub(crate) role: Role,
    /// Kind of record. [default: as before]
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// Sensitivity label; once for each. [default: as before]
    #[arg(long = "label")]
    pub(crate) labels: Vec<Label>,
    /// Month of the service, yyyy-mm. [default: as before]
    #[arg(long)]
    pub(crate) month: Option<Month>,
    /// The version that it replaces. [default: the one in force]
    #[arg(long, value_name = "VERSION")]
    pub(crate) replaces: Option<u32>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A record that should not have been.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecordError {
    /// Its id.
    pub(crate) record: String,
    /// In which capacity you write.
    #[arg(long, default_value = "PHYSICIAN")]
    pub(crate) role: Role,
    /// The version meant. [default: the one in force]
    #[arg(long, value_name = "VERSION")]
    pub(crate) of_version: Option<u32>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// The end of a record.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecordErase {
    /// Its id.
    pub(crate) record: String,
    /// The signed request, when the patient does not sign: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A record that must be kept.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecordHold {
    /// Its id.
    pub(crate) record: String,
    /// Until when it cannot be erased.
    #[arg(long, value_name = "TIME", required_unless_present = "lift")]
    pub(crate) until: Option<String>,
    /// It need not be kept any more.
    #[arg(long, conflicts_with = "until")]
    pub(crate) lift: bool,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    /// Begin a report: a record that is a draft until the patient approves it.
    #[command(after_help = "Example:
  epione report draft letter.txt --patient anna --category CLINICAL_NOTE --month 2026-07 --keep vault --as hospital0/doctor")]
    Draft(ReportDraft),
    /// Give a report to the patient, with everybody who is to see it; again after changes.
    #[command(after_help = "Examples:
  epione report submit REPORT --sealed vault/REPORT.record --viewer hospital1/doctor --viewer hospital2/doctor --as hospital0/doctor
  epione report submit REPORT --body letter2.txt --keep vault --viewer hospital1/doctor --as hospital0/doctor")]
    Submit(ReportSubmit),
    /// Approve a report for exactly these viewers: any other list on the ledger is refused.
    #[command(after_help = "Example:
  epione report approve REPORT --viewer hospital1/doctor --viewer hospital2/doctor --sealed REPORT.record --as patients/anna")]
    Approve(ReportApprove),
    /// Say that a report must be changed.
    #[command(after_help = "Example:
  epione report request-changes REPORT --written wish.txt --as patients/anna")]
    RequestChanges {
        /// Its id.
        report: String,
        /// What is to change. It stays here: a commitment to FILE.salted, made of it, is sent.
        #[arg(long, value_name = "FILE")]
        written: Option<PathBuf>,
        /// The signed wish, if you attest one for the patient: a file, or its hash.
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Take a report back, as its author.
    #[command(after_help = "Example:
  epione report withdraw REPORT --as hospital0/doctor")]
    Withdraw(ReportStep),
    /// Bring a report into force without review and without viewers, once the patient's time is over.
    #[command(after_help = "Example:
  epione report anchor REPORT --as hospital0/doctor")]
    Anchor(ReportStep),
    /// Where a report stands and who is to see it, proven.
    #[command(after_help = "Example:
  epione report show REPORT --as patients/anna")]
    Show {
        /// Its id.
        report: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// A patient's reports.
    #[command(after_help = "Example:
  epione report list --patient anna --as patients/anna")]
    List(OfPatient),
}

/// A report begun.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportDraft {
    /// Its body.
    pub(crate) file: PathBuf,
    /// Whose: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// Kind of record.
    #[arg(long)]
    pub(crate) category: Category,
    /// Month of the service, yyyy-mm.
    #[arg(long)]
    pub(crate) month: Month,
    /// Sensitivity label; once for each.
    #[arg(long = "label")]
    pub(crate) labels: Vec<Label>,
    /// In which capacity you write.
    #[arg(long, default_value = "PHYSICIAN")]
    pub(crate) role: Role,
    /// Keep body and salt in this folder, as REPORT.record.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: PathBuf,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A report given to the patient.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportSubmit {
    /// Its id.
    pub(crate) report: String,
    /// Its body and salt, as they were kept.
    #[arg(long, value_name = "FILE", required_unless_present = "body")]
    pub(crate) sealed: Option<PathBuf>,
    /// A changed body.
    #[arg(long, value_name = "FILE", conflicts_with = "sealed", requires = "keep")]
    pub(crate) body: Option<PathBuf>,
    /// Keep the changed body and its salt in this folder.
    #[arg(long, value_name = "DIR", requires = "body")]
    pub(crate) keep: Option<PathBuf>,
    /// Who is to see it, as --to of a grant; once for each.
    #[arg(long = "viewer")]
    pub(crate) viewers: Vec<String>,
    /// Until when they are.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A report approved.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportApprove {
    /// Its id.
    pub(crate) report: String,
    /// Who is to see it: everybody on the ledger's list, and nobody else; once for each.
    #[arg(long = "viewer", required_unless_present = "nobody")]
    pub(crate) viewers: Vec<String>,
    /// Nobody is to see it.
    #[arg(long, conflicts_with = "viewers")]
    pub(crate) nobody: bool,
    /// What you read: refused if the ledger commits to another body.
    #[arg(long, value_name = "FILE")]
    pub(crate) sealed: Option<PathBuf>,
    /// The signed approval, if you attest one or a strict label demands it: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A step that needs nothing but to know which report.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportStep {
    /// Its id.
    pub(crate) report: String,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// Open one record to whoever holds the link's key.
    #[command(after_help = "Example:
  epione link create --name gp --patient anna --record RECORD --until 7d --uses 3 --as patients/anna")]
    Create {
        /// Whose record: id or name.
        #[arg(long)]
        patient: String,
        /// Which record.
        #[arg(long)]
        record: String,
        /// What to call it on this machine; with a testnet its key is made as links/NAME.
        #[arg(long)]
        name: Option<String>,
        /// The link's key file.
        #[arg(long, value_name = "FILE")]
        member_key: Option<PathBuf>,
        /// Until when.
        #[arg(long, value_name = "TIME")]
        until: String,
        /// How often it may be used.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// The signed consent, when a strict label demands it: a file, or its hash.
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Close it.
    #[command(after_help = "Example:
  epione link close LINK --as patients/anna")]
    Close {
        /// Its id.
        link: String,
        #[command(flatten)]
        write: Write,
    },
    /// Read the record by the link: decided, counted, and traced. Exit code 3 if denied.
    #[command(after_help = "Example:
  epione link read LINK --record RECORD --as links/gp")]
    Read {
        /// Its id.
        link: String,
        /// The record that it opens.
        #[arg(long)]
        record: String,
        #[command(flatten)]
        write: Write,
    },
    /// A patient's links.
    #[command(after_help = "Example:
  epione link list --patient anna --as patients/anna")]
    List(OfPatient),
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
