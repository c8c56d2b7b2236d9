//! Consent and access: grants, opting out, passing on, asking; emergencies and their review; the rules themselves.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use epione_types::Hash;
use epione_types::call::Month;
use epione_types::codes::{Action, Category, EmergencyReason, PolicyConstant, Purpose, Role, Verdict};

use super::{Connect, ConnectOnly, OfPatient, Write, fhir};

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
    ProveNone(ProveNone),
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
