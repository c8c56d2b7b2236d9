//! What a holder may open of a patient's, in total: one value of the state, so that its absence can be proven.
//!
//! Grants stand under the patient and their own random id: that a hospital holds *none* cannot be read off one of those
//! keys. This one names the holder. The contracts keep it with every grant; a verifier needs nothing but this module.

use serde::{Deserialize, Serialize};

use crate::call::{Grantee, Person, Rule};
use crate::id::{OrgId, PatientId, RecordId, StudyId, TimestampMs};

/// Whom permits are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Permits to anybody.
    Everybody,
    /// Permits to an organisation, to a role in it, or to one of its practitioners.
    Organisation(OrgId),
    /// Permits to a study, whoever takes part in it.
    Study(StudyId),
}

impl Holder {
    /// Whom a rule names. None: a person or a guest link, which belong to no organisation.
    #[must_use]
    pub const fn of(rule: &Rule) -> Option<Self> {
        match rule.to {
            Grantee::Any => Some(Self::Everybody),
            Grantee::Org(organisation)
            | Grantee::Role(organisation, _)
            | Grantee::Person(Person::Practitioner(organisation, _)) => {
                Some(Self::Organisation(organisation))
            }
            Grantee::Study(study) => Some(Self::Study(study)),
            Grantee::Person(Person::Patient(_) | Person::Representative(_)) | Grantee::Guest(_) => None,
        }
    }

    fn bytes(self) -> [u8; 17] {
        let (kind, id) = match self {
            Self::Everybody => (0, [0; 16]),
            Self::Organisation(id) => (1, id.0),
            Self::Study(id) => (2, id.0),
        };
        let mut bytes = [kind; 17];
        bytes[1..].copy_from_slice(&id);
        bytes
    }
}

/// Permits at hand that were not taken back. A holder without any has no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// How many. Some may be past their end, or used up.
    pub permits: u32,
    /// No permit counted here lasts longer, exclusive; none: one of them has no end. It only moves back when the last
    /// permit goes.
    pub until: Option<TimestampMs>,
}

impl Holding {
    /// Longest encoding, in bytes.
    pub const BYTES_MAX: usize = 16;

    /// May none of the permits counted here open anything any more?
    #[must_use]
    pub fn is_over(&self, now: TimestampMs) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Where a [`Holding`] stands in the state.
#[must_use]
pub fn key(patient: PatientId, holder: Holder) -> Vec<u8> {
    [b"gro/".as_slice(), patient.as_bytes(), &holder.bytes()].concat()
}

/// Where the state says that a record is a patient's: present while the record is not erased.
#[must_use]
pub fn record_key(patient: PatientId, record: RecordId) -> Vec<u8> {
    [b"rbp/".as_slice(), patient.as_bytes(), record.as_bytes()].concat()
}
