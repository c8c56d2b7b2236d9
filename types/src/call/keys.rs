//! Calls on keys: rotation, and recovery by guardians.

use serde::{Deserialize, Serialize};

use super::Person;
use crate::codec;
use crate::hash::{Domain, Hash};
use crate::id::{OrgId, PatientId};
use crate::sign::PublicKey;

/// Most guardians of a patient.
pub const MAX_GUARDIANS: usize = 16;

/// The sender signs with another key from now on. Signed by both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateKey {
    /// The new key.
    pub key: PublicKey,
}

/// One who helps to restore a patient's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guardian {
    /// An organisation, by its admins.
    Organisation(OrgId),
    /// A person.
    Person(Person),
}

impl Guardian {
    /// What the ledger keeps of a guardian until the guardian acts: nobody reads from it who it is.
    #[must_use]
    pub fn commitment(&self, salt: &Hash) -> Hash {
        Domain::GUARDIAN.hash_parts(&[salt.as_bytes(), &codec::encode(self)])
    }
}

/// Who may restore the patient's key together. Signed by the patient's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetGuardians {
    /// [`Guardian::commitment`] of each, distinct; empty: nobody.
    pub guardians: Vec<Hash>,
    /// How many of them together, at least 2.
    pub threshold: u8,
}

/// A guardian begins to restore a patient's key. Signed by the guardian and by the new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecovery {
    /// Whose.
    pub patient: PatientId,
    /// The key to be.
    pub key: PublicKey,
    /// The salt of the guardian's commitment.
    pub salt: Hash,
}

/// One more guardian signs. Signed by the guardian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveRecovery {
    /// Whose.
    pub patient: PatientId,
    /// The key to be: the one that the recovery was begun with.
    pub key: PublicKey,
    /// The salt of the guardian's commitment.
    pub salt: Hash,
}

/// The patient stops it. Signed by the present key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRecovery {
    /// Whose.
    pub patient: PatientId,
}

/// The new key comes into force, when enough guardians signed and the delay is over. Signed by any member, or by the
/// new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishRecovery {
    /// Whose.
    pub patient: PatientId,
}
