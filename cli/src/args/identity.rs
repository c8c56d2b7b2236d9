//! Who is who, and as it changes: organisations, practitioners, devices, representatives, patients, and keys that are
//! restored.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use epione_types::codes::{Capability, Category, DeviceKind, OrganisationKind, RepresentationKind, Role};
use epione_types::{Hash, PublicKey};

use super::{Connect, Write};

/// A key in place of another.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeysRotate {
    /// The new key's file; see `epione keys new`.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// An organisation that is to stand elsewhere.
#[derive(Debug, ClapArgs)]
pub(crate) struct OrgStatus {
    /// Id or name.
    pub(crate) org: String,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A practitioner who is to stand elsewhere.
#[derive(Debug, ClapArgs)]
pub(crate) struct PractitionerStatus {
    /// ORG/PRACTITIONER, by ids or names.
    pub(crate) practitioner: String,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// A practitioner's roles and credential anew.
#[derive(Debug, ClapArgs)]
pub(crate) struct PractitionerUpdate {
    /// ORG/PRACTITIONER, by ids or names.
    pub(crate) practitioner: String,
    /// In which roles from now on; give it once for each.
    #[arg(long = "role", required = true)]
    pub(crate) roles: Vec<Role>,
    /// Beyond the roles; what is not given again is over.
    #[arg(long = "capability")]
    pub(crate) capabilities: Vec<Capability>,
    /// End of the credential; unlimited if not given.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Key file in place of a lost key.
    #[arg(long, value_name = "FILE")]
    pub(crate) member_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Enrol a device that writes records in a practitioner's name, as an admin of the organisation.
    #[command(after_help = "Example:
  epione device register --name analyser1 --kind ANALYSER --practitioner hospital0/doctor --as hospital0/admin")]
    Register {
        /// What to call it on this machine; with a testnet and no --member-key its key is made.
        #[arg(long)]
        name: Option<String>,
        /// The device's key file.
        #[arg(long, value_name = "FILE")]
        member_key: Option<PathBuf>,
        /// Its kind.
        #[arg(long)]
        kind: DeviceKind,
        /// Who answers for what it writes: ORG/PRACTITIONER, by ids or names.
        #[arg(long)]
        practitioner: String,
        #[command(flatten)]
        write: Write,
    },
    /// The end of a device: its key is void.
    #[command(after_help = "Example:
  epione device revoke DEVICE --as hospital0/admin")]
    Revoke {
        /// Its id.
        device: String,
        #[command(flatten)]
        write: Write,
    },
    /// Show a device, proven.
    #[command(after_help = "Example:
  epione device show DEVICE --org hospital0 --as hospital0/admin")]
    Show {
        /// Its id.
        device: String,
        /// Whose: id or name.
        #[arg(long)]
        org: String,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Representative {
    /// Somebody may act for a patient: attested by a member of a caring organisation who saw the evidence.
    #[command(after_help = "Examples:
  epione representative add --patient ben --name mother --kind PARENT --until 2034-05-01 --minor-privacy-from 2028-05-01 --evidence birth.pdf --as hospital0/doctor
  epione representative add --patient anna --person patient:karl --kind POA --evidence poa.pdf --cosign anna.key --as hospital0/doctor")]
    Add(RepresentativeAdd),
    /// End a representation: by the representative, by the patient (a power of attorney), or attested by document.
    #[command(after_help = "Example:
  epione representative revoke representative:mother --patient ben --document court.pdf --as hospital0/doctor")]
    Revoke {
        /// Who: representative:ID, patient:ID, or by name.
        person: String,
        /// For whom: id or name.
        #[arg(long)]
        patient: String,
        /// The signed document, if you attest one: a file, or its hash.
        #[arg(long, value_name = "FILE|HASH")]
        document: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Who may act for a patient, or might.
    #[command(after_help = "Example:
  epione representative list --patient ben --as hospital0/doctor")]
    List(OfPatient),
}

/// A new representation.
#[derive(Debug, ClapArgs)]
pub(crate) struct RepresentativeAdd {
    /// For whom: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    /// What to call a new representative on this machine; with a testnet their key is made as representatives/NAME.
    #[arg(long, conflicts_with = "person")]
    pub(crate) name: Option<String>,
    /// A new representative's key file.
    #[arg(long, value_name = "FILE", conflicts_with = "person")]
    pub(crate) member_key: Option<PathBuf>,
    /// Somebody whom the ledger knows: representative:ID or patient:ID, or by name.
    #[arg(long)]
    pub(crate) person: Option<String>,
    /// Why.
    #[arg(long)]
    pub(crate) kind: RepresentationKind,
    /// From this time on; from now if not given.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until this time; a parent's ends at majority.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// From when the minor has privacy before a parent.
    #[arg(long, value_name = "TIME")]
    pub(crate) minor_privacy_from: Option<String>,
    /// Only this kind of record; once for each.
    #[arg(long = "category")]
    pub(crate) categories: Vec<Category>,
    /// The evidence that you saw. It stays here: a commitment to FILE.salted, made of it, is sent.
    #[arg(long, value_name = "FILE")]
    pub(crate) evidence: PathBuf,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// What there is of a patient.
#[derive(Debug, ClapArgs)]
pub(crate) struct OfPatient {
    /// Whose: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// Something said of a patient, with a document where one is attested.
#[derive(Debug, ClapArgs)]
pub(crate) struct PatientSaid {
    /// Id or name.
    pub(crate) patient: String,
    /// The signed document, if you attest one: a file, or its hash.
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// An organisation that cares no more.
#[derive(Debug, ClapArgs)]
pub(crate) struct PatientUnlink {
    #[command(flatten)]
    pub(crate) said: PatientSaid,
    /// Which organisation: id or name.
    #[arg(long)]
    pub(crate) org: String,
}

/// The end of custody.
#[derive(Debug, ClapArgs)]
pub(crate) struct PatientTakeOver {
    #[command(flatten)]
    pub(crate) said: PatientSaid,
    /// The patient's own key file from now on; with a testnet made as patients/NAME if not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) member_key: Option<PathBuf>,
}

/// A notice that was seen.
#[derive(Debug, ClapArgs)]
pub(crate) struct PatientAcknowledge {
    #[command(flatten)]
    pub(crate) said: PatientSaid,
    /// Which notice: HEIGHT/INDEX, as `epione patient notices` shows it.
    #[arg(long, value_name = "HEIGHT/INDEX")]
    pub(crate) notice: String,
}

/// A patient's events.
#[derive(Debug, ClapArgs)]
pub(crate) struct PatientHistory {
    /// Id or name.
    pub(crate) patient: String,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Name those who may restore your key together: the ledger keeps a commitment to each and no name.
    #[command(after_help = "Example:
  epione recovery guardians --guardian hospital1 --guardian patient:karl --threshold 2 --salts guardians/ --as patients/anna

Each guardian gets the file of its number from --salts, without which it cannot act.")]
    Guardians {
        /// An organisation (by its admins) or a person, as --to of a grant names one; once for each.
        #[arg(long = "guardian", required = true)]
        guardians: Vec<String>,
        /// How many of them together; organisations alone never suffice.
        #[arg(long, value_parser = clap::value_parser!(u8).range(2..))]
        threshold: u8,
        /// A new folder for the salts, one file for each guardian.
        #[arg(long, value_name = "DIR")]
        salts: PathBuf,
        #[command(flatten)]
        write: Write,
    },
    /// Begin to restore a patient's key, as a guardian; the new key signs too.
    #[command(after_help = "Example:
  epione recovery start --patient anna --salt guardians/2.salt --new-key new.key --as patients/karl")]
    Start {
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        /// The file that you were given as a guardian.
        #[arg(long, value_name = "FILE")]
        salt: PathBuf,
        /// The key file to be; see `epione keys new`.
        #[arg(long, value_name = "FILE")]
        new_key: PathBuf,
        #[command(flatten)]
        write: Write,
    },
    /// One more guardian signs for the very key that was shown to them.
    #[command(after_help = "Example:
  epione recovery approve --patient anna --salt guardians/1.salt --new-public-key 7777777777777777777777777777777777777777777777777777777777777777 --as hospital1/admin")]
    Approve {
        /// Whose: id or name.
        #[arg(long)]
        patient: String,
        /// The file that you were given as a guardian.
        #[arg(long, value_name = "FILE")]
        salt: PathBuf,
        /// The key to be, 64 hex digits.
        #[arg(long, value_name = "KEY")]
        new_public_key: PublicKey,
        #[command(flatten)]
        write: Write,
    },
    /// Stop it, with the present key.
    #[command(after_help = "Example:
  epione recovery cancel --patient anna --as patients/anna")]
    Cancel(RecoveryStep),
    /// The new key comes into force, once enough guardians signed and the delay is over.
    #[command(after_help = "Example:
  epione recovery finish --patient anna --as hospital1/admin")]
    Finish(RecoveryStep),
    /// Where it stands, proven.
    #[command(after_help = "Example:
  epione recovery show --patient anna --as patients/anna")]
    Show(OfPatient),
}

/// A step that needs nothing but to know whose.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecoveryStep {
    /// Whose: id or name.
    #[arg(long)]
    pub(crate) patient: String,
    #[command(flatten)]
    pub(crate) write: Write,
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
