//! Names for ids, on this machine alone: `hospital0/doctor` is shorter to type than 64 hex digits.
//!
//! Names never leave the folder: on the ledger there are pseudonyms only, and a message names no patient but the one
//! that was typed. Kept in the testnet's folder, readable by its owner alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use epione_types::id::{OrgId, PatientId, PractitionerId, RepresentativeId};
use serde::{Deserialize, Serialize};

use crate::error::{About as _, CliError};

/// A practitioner's two ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PractitionerName {
    pub(crate) org: OrgId,
    pub(crate) practitioner: PractitionerId,
}

/// Who is called what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Book {
    pub(crate) orgs: BTreeMap<String, OrgId>,
    /// By `organisation/name`.
    pub(crate) practitioners: BTreeMap<String, PractitionerName>,
    pub(crate) patients: BTreeMap<String, PatientId>,
    #[serde(default)]
    pub(crate) representatives: BTreeMap<String, RepresentativeId>,
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl Book {
    /// The book of a folder; empty if it has none yet.
    pub(crate) fn open(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join("book.json");
        let mut book: Self = match std::fs::read(&path) {
            // The parser's own words may quote a name.
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                CliError::failed(format!(
                    "{} is damaged at line {}, column {}: mend it, or remove it and name everybody by id",
                    path.display(),
                    error.line(),
                    error.column()
                ))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).about(path.display()),
        };
        book.path = Some(path);
        Ok(book)
    }

    /// Keeps what was added.
    pub(crate) fn save(&self) -> Result<(), CliError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(path) = &self.path else { return Ok(()) };
        let next = path.with_extension("json.next");
        let text = serde_json::to_vec_pretty(self).about("book")?;
        let write = || {
            let mut file =
                std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&text)?;
            std::fs::rename(&next, path)
        };
        write().about(path.display())
    }

    pub(crate) fn org(&self, text: &str) -> Result<OrgId, CliError> {
        let id = find(&self.orgs, text);
        id.ok_or_else(|| unknown("organisation", text, &known(self.orgs.keys())))
    }

    pub(crate) fn patient(&self, text: &str) -> Result<PatientId, CliError> {
        // The other patients of this machine are nobody's business.
        find(&self.patients, text)
            .ok_or_else(|| unknown("patient", text, "the names known here are in book.json"))
    }

    pub(crate) fn representative(&self, text: &str) -> Result<RepresentativeId, CliError> {
        find(&self.representatives, text)
            .ok_or_else(|| unknown("representative", text, "the names known here are in book.json"))
    }

    /// `organisation/practitioner`: a name of the book, or two ids or names.
    pub(crate) fn practitioner(&self, text: &str) -> Result<PractitionerName, CliError> {
        if let Some(known) = self.practitioners.get(text) {
            return Ok(*known);
        }
        let (org, practitioner) = text.split_once('/').ok_or_else(|| {
            CliError::usage(format!("'{text}' is no practitioner; write ORG/PRACTITIONER, by name or by id"))
        })?;
        let practitioner = practitioner
            .parse()
            .map_err(|_| unknown("practitioner", text, &known(self.practitioners.keys())))?;
        Ok(PractitionerName { org: self.org(org)?, practitioner })
    }
}

fn find<T: Copy + FromStr>(names: &BTreeMap<String, T>, text: &str) -> Option<T> {
    names.get(text).copied().or_else(|| text.parse().ok())
}

fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.take(20).map(String::as_str).collect();
    if names.is_empty() {
        "no names are known here".to_owned()
    } else {
        format!("known names: {}", names.join(", "))
    }
}

fn unknown(kind: &str, text: &str, known: &str) -> CliError {
    CliError::usage(format!("'{text}' is no {kind}: it is neither 32 hex digits nor a known name; {known}"))
}
