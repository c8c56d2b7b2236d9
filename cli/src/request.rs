//! What is meant: text of the command line turned into the ledger's words, every fault named.

use std::path::Path;
use std::str::FromStr;

use epione_client::Start;
use epione_client::fhir::RecordFile;
use epione_client::tx::{now, random_id};
use epione_types::call::{
    DataPeriod, Emergency, GrantKind, Grantee, Guardian, Labels, Month, Person, Purposes, RecordAccess, Rule,
};
use epione_types::codes::Role;
use epione_types::genesis::MAX_GENESIS_BYTES;
use epione_types::id::RecordId;
use epione_types::{Domain, EventCursor, Hash, Height, TimestampMs};

use crate::args;
use crate::book::Book;
use crate::error::{About as _, CliError};
use crate::{import, time};

/// Tag of the hash of a document (a privacy notice, a signed consent) that stays off the ledger.
const DOCUMENT: Domain = Domain::new("epione/document/v1");
/// Largest document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// A new random id.
pub(crate) fn new_id<T>(make: impl Fn([u8; 16]) -> T) -> Result<T, CliError> {
    Ok(make(random_id()?))
}

/// A salted commitment to nothing: for those who keep no directory yet.
pub(crate) fn empty_commitment() -> Result<Hash, CliError> {
    Ok(Domain::COMMITMENT.hash(&random_id()?))
}

/// An id in hex, named in the error.
pub(crate) fn id<T: FromStr>(flag: &str, text: &str) -> Result<T, CliError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| CliError::usage(format!("{flag} '{text}': {error}")))
}

fn ids<T: FromStr>(flag: &str, texts: &[String]) -> Result<Vec<T>, CliError>
where
    T::Err: std::fmt::Display,
{
    texts.iter().map(|text| id(flag, text)).collect()
}

/// A document's hash: given, or of a file. Errors name the flag: a signed consent is often named after its signer.
pub(crate) fn document(flag: &str, text: &str) -> Result<Hash, CliError> {
    if let Ok(hash) = text.parse() {
        return Ok(hash);
    }
    let length = std::fs::metadata(text).about(format_args!("{flag} is neither a hash nor a file"))?.len();
    if length > DOCUMENT_BYTES_MAX {
        return Err(CliError::failed(format!(
            "{flag}: the file has {length} bytes; at most {DOCUMENT_BYTES_MAX} are hashed here: give its hash instead"
        )));
    }
    Ok(DOCUMENT.hash(&std::fs::read(text).about(flag)?))
}

/// A document's hash, where one is named by `--document`.
pub(crate) fn attested(document: Option<&str>) -> Result<Option<Hash>, CliError> {
    document.map(|text| self::document("--document", text)).transpose()
}

/// The hash of a privacy notice; of an empty one if none is named.
pub(crate) fn notice(text: Option<&str>) -> Result<Hash, CliError> {
    text.map_or_else(|| Ok(DOCUMENT.hash(b"")), |text| document("--notice", text))
}

/// A point in time.
pub(crate) fn instant(flag: &str, text: Option<&str>) -> Result<Option<TimestampMs>, CliError> {
    text.map(|text| time::parse(text, now()).map_err(|error| CliError::usage(format!("{flag}: {error}"))))
        .transpose()
}

/// A place among the ledger's events.
pub(crate) fn place(flag: &str, text: &str) -> Result<Start, CliError> {
    let wrong = || {
        CliError::usage(format!(
            "{flag} '{text}': write HEIGHT or HEIGHT/INDEX, as `epione events` shows, or now"
        ))
    };
    let height = |text: &str| text.parse().map(Height).map_err(|_| wrong());
    Ok(match text.split_once('/') {
        _ if text == "now" => Start::Now,
        None => Start::Height(height(text)?),
        Some((block, index)) => {
            let index = index.parse().map_err(|_| wrong())?;
            Start::After(EventCursor { height: height(block)?, index })
        }
    })
}

/// This month.
pub(crate) fn this_month() -> Option<Month> {
    time::show(now()).get(..7)?.parse().ok()
}

/// To whom a rule applies, as `flag` says.
pub(crate) fn grantee(flag: &str, book: &Book, text: &str) -> Result<Grantee, CliError> {
    let (kind, rest) = text.split_once(':').unwrap_or(("", text));
    let practitioner = |text: &str| {
        let name = book.practitioner(text)?;
        Ok(Grantee::Person(Person::Practitioner(name.org, name.practitioner)))
    };
    match kind {
        "" if text == "everybody" => Ok(Grantee::Any),
        "" if text.contains('/') => practitioner(text),
        "" | "org" => Ok(Grantee::Org(book.org(rest)?)),
        "person" => practitioner(rest),
        "role" => {
            let (org, role) = rest.split_once('/').ok_or_else(|| {
                CliError::usage(format!(
                    "{flag} '{text}': write role:ORG/ROLE, such as role:hospital1/PHYSICIAN"
                ))
            })?;
            Ok(Grantee::Role(book.org(org)?, id::<Role>(flag, role)?))
        }
        "patient" => Ok(Grantee::Person(Person::Patient(book.patient(rest)?))),
        "representative" => Ok(Grantee::Person(Person::Representative(book.representative(rest)?))),
        "study" => Ok(Grantee::Study(id(flag, rest)?)),
        "link" => Ok(Grantee::Guest(id(flag, rest)?)),
        other => Err(CliError::usage(format!(
            "{flag} '{text}': '{other}' is no kind of grantee; write everybody, org:, role:, person:, patient:, representative:, study: or link:"
        ))),
    }
}

/// One person.
pub(crate) fn person(flag: &str, book: &Book, text: &str) -> Result<Person, CliError> {
    if let Grantee::Person(person) = grantee(flag, book, text)? {
        return Ok(person);
    }
    Err(CliError::usage(format!(
        "{flag} '{text}' is no person: write ORG/PRACTITIONER, patient:ID or representative:ID, or names for ids"
    )))
}

/// One who helps to restore a key.
pub(crate) fn guardian(book: &Book, text: &str) -> Result<Guardian, CliError> {
    match grantee("--guardian", book, text)? {
        Grantee::Org(org) => Ok(Guardian::Organisation(org)),
        Grantee::Person(person) => Ok(Guardian::Person(person)),
        Grantee::Any | Grantee::Role(..) | Grantee::Study(_) | Grantee::Guest(_) => Err(CliError::usage(
            format!("--guardian '{text}': write org:ORG, ORG/PRACTITIONER, patient:ID or representative:ID"),
        )),
    }
}

/// What a grant or denial says.
pub(crate) fn rule(kind: GrantKind, args: &args::Rule, book: &Book) -> Result<Rule, CliError> {
    let purposes = if args.purposes == ["all"] {
        if kind == GrantKind::Permit {
            return Err(CliError::usage(
                "--purpose all: only a denial may have every purpose; name the purposes, such as TREAT",
            ));
        }
        Purposes::All
    } else {
        Purposes::Only(ids("--purpose", &args.purposes)?)
    };
    let labels =
        if args.labels == ["any"] { Labels::Any } else { Labels::Only(ids("--label", &args.labels)?) };
    let data_period = (args.data_from.is_some() || args.data_until.is_some())
        .then_some(DataPeriod { from: args.data_from, until: args.data_until });
    Ok(Rule {
        kind,
        to: grantee("--to", book, &args.to)?,
        purposes,
        actions: args.actions.clone(),
        categories: args.categories.clone(),
        records: ids::<RecordId>("--record", &args.records)?,
        labels,
        data_period,
        from: instant("--from", args.from.as_deref())?,
        until: instant("--until", args.until.as_deref())?,
        max_uses: args.uses,
        delegable: args.delegable,
        parent: args.parent.as_deref().map(|text| id("--parent", text)).transpose()?,
        policy: args.policy,
        document: attested(args.document.as_deref())?,
    })
}

/// An access as it is asked for.
pub(crate) fn access(args: &args::AccessArgs) -> Result<RecordAccess, CliError> {
    let commitment = args.written.as_deref().map(|path| written("--written", path)).transpose()?;
    let emergency = args.emergency.map(|reason| Emergency { reason, text_commitment: commitment });
    Ok(RecordAccess {
        record: id("RECORD", &args.record)?,
        role: args.role,
        action: args.action,
        purpose: args.purpose,
        study: args.study.as_deref().map(|text| id("--study", text)).transpose()?,
        link: args.link.as_deref().map(|text| id("--link", text)).transpose()?,
        mandate: args.mandate.as_deref().map(|text| id("--mandate", text)).transpose()?,
        emergency,
        attestation: None,
    })
}

/// Commits to a text. The salted copy, which opens the commitment, is kept beside it; the same one is used again.
pub(crate) fn written(flag: &str, path: &Path) -> Result<Hash, CliError> {
    let salted = path.with_added_extension("salted");
    let bytes = match std::fs::read(&salted) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let file = RecordFile::new(&salt()?, &import::read(flag, path)?);
            import::write(&salted, file.bytes())?;
            file.bytes().to_vec()
        }
        Err(error) => return Err(error).about(format_args!("{flag}: the salted copy beside the file")),
    };
    Ok(Domain::COMMITMENT.hash(&bytes))
}

/// Thirty-two random bytes.
pub(crate) fn salt() -> Result<[u8; 32], CliError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).about("no randomness from the operating system")?;
    Ok(salt)
}

/// The genesis of a file.
pub(crate) fn genesis(path: &Path) -> Result<epione_types::Genesis, CliError> {
    let length = std::fs::metadata(path).about(format_args!("--genesis {}", path.display()))?.len();
    if length > MAX_GENESIS_BYTES as u64 {
        return Err(CliError::failed(format!(
            "--genesis {} has {length} bytes, a genesis at most {MAX_GENESIS_BYTES}: name the file the consortium agreed on",
            path.display()
        )));
    }
    let text = std::fs::read(path).about(path.display())?;
    // The parser's own words may quote whatever file this is.
    serde_json::from_slice(&text).map_err(|error| {
        CliError::failed(format!(
            "--genesis {} is no genesis: not as it must be at line {}, column {}; name the file the consortium agreed on",
            path.display(),
            error.line(),
            error.column()
        ))
    })
}
