//! FHIR at the ledger's edge: what a hospital has becomes what the ledger may know, and what the ledger knows is told in
//! FHIR's words: consents ([`consent`]), audit events, a record's history; and the accounting of disclosures.
//!
//! Bundles become ledger records:
//!
//! ```text
//! bundle bytes --read_bundle--> ImportPlan --seal--> RegisterPatient, RegisterRecord   (to sign and submit)
//!   (bounded)                (pure, no ids yet)      PatientFile, RecordFile           (stay with the custodian)
//! ```
//!
//! Every resource but patients and the directory (organisations, practitioners: [`Tables`]) is a clinical
//! record. Only random ids, codes, a month, a size class and salted hashes leave this module in a call; names,
//! bodies, dates and the bundle's own ids are in [`Private`] values, which print nothing, and errors
//! name a place in the bundle, never what stands there. A bundle is planned whole or refused.
//!
//! Labels come from `meta.security` and from a code table; what is unknown is protected ([`Label::Other`]).
//! Not looked at: narrative text, labels of a record that is only referred to, `Bundle.meta`.
//!
//! Tested beside, and over generated bundles and PHI scans in the testnet crate (`tests/import.rs`).
//!
//! [`Label::Other`]: epione_types::codes::Label::Other

mod access;
mod accounting;
mod bundle;
pub mod consent;
mod identity;
mod json;
mod provenance;
mod record;
mod tables;
mod time;

pub use access::{Access, KnownRecord, audit_events};
pub use accounting::{Accounting, Regime};
pub use bundle::{Dated, ImportPlan, PatientDraft, RecordDraft, read_bundle};
pub use identity::{Directory, Target};
pub use provenance::{RecordChange, provenance};
pub use record::{Import, PatientFile, RecordFile, RecordFileError, SealedRecord};
pub use tables::{Tables, TablesError};

use core::fmt;

/// Largest bundle, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 32 << 20;
/// Most entries of a bundle.
pub const MAX_ENTRIES: usize = 50_000;
/// Deepest nesting within one resource; real ones stay below 12.
pub const MAX_DEPTH: usize = 48;

/// Resources as one Bundle of the type collection.
#[must_use]
pub fn collection(resources: Vec<serde_json::Value>) -> serde_json::Value {
    let entries = resources.into_iter().map(|resource| serde_json::json!({"resource": resource}));
    serde_json::json!({"resourceType": "Bundle", "type": "collection", "entry": entries.collect::<Vec<_>>()})
}

/// Something that may name a person. Does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Takes it under cover.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
    /// The value itself: every place that calls this handles health data.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}

/// Why a bundle is refused: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FhirError {
    /// JSON path in the bundle, made of indexes and of FHIR's own names.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong at a place of a bundle. Never holds what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More bytes than [`MAX_BUNDLE_BYTES`].
    #[error("{found} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// More entries than [`MAX_ENTRIES`].
    #[error("{found} entries; a bundle has at most {MAX_ENTRIES}")]
    TooManyEntries {
        /// Entries found.
        found: usize,
    },
    /// Not JSON.
    #[error("not well-formed JSON, at line {line}, column {column} of this value")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON that no reader should have to understand.
    #[error("a key appears twice in one object, or nesting is deeper than {MAX_DEPTH}")]
    Ambiguous,
    /// Not what FHIR has here.
    #[error("must be {0}")]
    Wanted(&'static str),
    /// No date found where the tables look, and no month given for such records.
    #[error("no date of service; name a month for undated records")]
    Undated,
    /// No element names a patient.
    #[error("names no patient")]
    NoPatient,
    /// The patient is not in the bundle.
    #[error("names no patient of this bundle")]
    UnknownPatient,
    /// Two patients under one name.
    #[error("another patient of this bundle has the same")]
    SamePatient,
}

impl Problem {
    fn at(self, path: impl Into<String>) -> FhirError {
        FhirError { path: path.into(), problem: self }
    }
}
