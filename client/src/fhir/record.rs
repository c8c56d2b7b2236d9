//! From a plan to calls and files: ids and salts are drawn, commitments made.
//!
//! ```text
//! file        = salt (32 random bytes) || body          kept by the custodian, never on the ledger
//! commitment  = H(epione/commitment/v1,  file)          on the ledger: what was registered
//! stored hash = H(epione/record-file/v1, file)          on the ledger: what the custodian keeps
//! ```
//!
//! The salt keeps both from being guessed: without it a low-entropy body (a negative test, a birth date)
//! is found by trying. Once the vault encrypts, the stored object is a ciphertext and `ciphertext_hash` is its
//! hash; until then the custodian's file is in clear on the custodian's own disk, and the
//! field is the hash of that file under a tag of its own, so the two can never be taken for one another.

use epione_types::call::{RegisterPatient, RegisterRecord};
use epione_types::codes::Role;
use epione_types::hash::{Domain, Hash};
use epione_types::id::{OpaqueRef, PatientId, RecordId};
use rand_core::TryCryptoRng;

use super::{ImportPlan, PatientDraft, Private, RecordDraft};
use crate::tx::draw;

/// Tag of the hash of a file that a custodian keeps in clear.
const RECORD_FILE: Domain = Domain::new("epione/record-file/v1");
/// Length of a salt, in bytes.
const SALT_BYTES: usize = 32;
/// Smallest size class: 4 KiB.
const SIZE_CLASS_MIN: u8 = 12;

/// Calls to sign, and what stays behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// One per patient, in the plan's order.
    pub patients: Vec<(RegisterPatient, PatientFile)>,
    /// One per record, in the plan's order.
    pub records: Vec<SealedRecord>,
}

/// What a custodian keeps of a patient: the only link from the pseudonym to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientFile {
    /// The pseudonym.
    pub patient: PatientId,
    /// The bundle's name of the patient and the Patient resource.
    pub person: PatientDraft,
}

/// A record's call and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// For the ledger: ids, codes, a month, hashes.
    pub call: RegisterRecord,
    /// For the custodian.
    pub file: RecordFile,
}

/// A record as its custodian keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFile {
    /// Salt and body.
    bytes: Private<Vec<u8>>,
}

/// Bytes that are not the record registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFileError {
    /// Not even a salt.
    #[error("a record file has at least {SALT_BYTES} bytes, found {found}")]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Another body or another salt than was committed to.
    #[error("the record file is not what was registered: its commitment is {found}, the ledger has {wanted}")]
    Commitment {
        /// On the ledger.
        wanted: Hash,
        /// Of these bytes.
        found: Hash,
    },
}

impl RecordFile {
    /// A file of a body under a salt.
    #[must_use]
    pub fn new(salt: &[u8; SALT_BYTES], body: &[u8]) -> Self {
        Self { bytes: Private::new([salt.as_slice(), body].concat()) }
    }

    /// Opens a file that was kept, if it is the one committed to.
    ///
    /// # Errors
    /// [`RecordFileError`]; says nothing of the content.
    pub fn open(bytes: Vec<u8>, wanted: Hash) -> Result<Self, RecordFileError> {
        if bytes.len() < SALT_BYTES {
            return Err(RecordFileError::Short { found: bytes.len() });
        }
        let file = Self { bytes: Private::new(bytes) };
        let found = file.commitment();
        if found == wanted { Ok(file) } else { Err(RecordFileError::Commitment { wanted, found }) }
    }

    /// What to store.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// The body: a FHIR resource.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes().get(SALT_BYTES..).unwrap_or_default()
    }

    /// Salted commitment to the body.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        Domain::COMMITMENT.hash(self.bytes())
    }

    /// Hash of the file as stored.
    #[must_use]
    pub fn stored_hash(&self) -> Hash {
        RECORD_FILE.hash(self.bytes())
    }

    /// The file has at most 2^class bytes; at least 12.
    #[must_use]
    pub fn size_class(&self) -> u8 {
        let exponent = self.bytes().len().next_power_of_two().trailing_zeros();
        u8::try_from(exponent).unwrap_or(u8::MAX).max(SIZE_CLASS_MIN)
    }
}

impl ImportPlan {
    /// Draws pseudonyms, record ids, storage pointers and salts; commits to every body.
    ///
    /// `role` is the capacity in which the author registers, `notice_hash` the privacy notice that patients were given.
    /// Patients are custodial: a bundle holds no keys.
    ///
    /// # Errors
    /// Of the random source.
    ///
    /// # Panics
    /// If a draft's patient is not in the plan, which [`super::read_bundle`] never leaves.
    pub fn seal<R: TryCryptoRng>(
        self,
        role: Role,
        notice_hash: Hash,
        random: &mut R,
    ) -> Result<Import, R::Error> {
        let mut patients = Vec::with_capacity(self.patients.len());
        for person in self.patients {
            let patient = PatientId(draw(random)?);
            let call = RegisterPatient { patient, key: None, notice_hash };
            patients.push((call, PatientFile { patient, person }));
        }
        let mut records = Vec::with_capacity(self.records.len());
        for draft in self.records {
            let (_, owner) = patients.get(draft.patient).expect("a draft's patient is in its plan");
            records.push(seal(draft, owner.patient, role, random)?);
        }
        Ok(Import { patients, records })
    }
}

fn seal<R: TryCryptoRng>(
    draft: RecordDraft,
    patient: PatientId,
    role: Role,
    random: &mut R,
) -> Result<SealedRecord, R::Error> {
    let file = RecordFile::new(&draw(random)?, draft.body.expose());
    let call = RegisterRecord {
        record: RecordId(draw(random)?),
        patient,
        role,
        category: draft.category,
        labels: draft.labels,
        service_month: draft.service_month,
        commitment: file.commitment(),
        ciphertext_hash: file.stored_hash(),
        size_class: file.size_class(),
        pointer: OpaqueRef(draw(random)?),
        minor_consented: false, // no FHIR element says so
    };
    Ok(SealedRecord { call, file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use epione_types::call::Month;
    use epione_types::codes::Category;

    use crate::fhir::Dated;

    /// Counts up: the same draws each time.
    struct Counter(u8);
    impl rand_core::TryRng for Counter {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unimplemented!("bytes only")
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unimplemented!("bytes only")
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            self.0 += 1;
            bytes.fill(self.0);
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Counter {}

    fn plan(body: &[u8]) -> ImportPlan {
        let draft = RecordDraft {
            resource_type: "Observation".to_owned(),
            category: Category::Lab,
            labels: vec![],
            service_month: Month::new(2026, 2).unwrap(),
            dated: Dated::Itself,
            patient: 0,
            body: Private::new(body.to_vec()),
        };
        let person = PatientDraft { local: Private::new(None), body: Private::new(b"{}".to_vec()) };
        ImportPlan { patients: vec![person], records: vec![draft.clone(), draft], references: 0 }
    }

    fn sealed(body: &[u8]) -> Import {
        plan(body).seal(Role::Physician, Hash([9; 32]), &mut Counter(0)).unwrap()
    }

    #[test]
    fn equal_bodies_have_unequal_commitments() {
        let import = sealed(b"negative");
        let [one, other] = &import.records[..] else { panic!("two records") };
        assert_ne!(one.call.commitment, other.call.commitment);
        assert_ne!(one.call.record, other.call.record);
        assert_ne!(one.call.commitment, one.call.ciphertext_hash, "two tags");
        assert_eq!(one.call.patient, import.patients[0].0.patient);
        assert_eq!(import.patients[0].0.patient, import.patients[0].1.patient);
    }

    #[test]
    fn the_commitment_is_as_documented() {
        let import = sealed(b"negative");
        let call = &import.records[0].call;
        let salted = [&[2; 32], &b"negative"[..]].concat();
        assert_eq!(call.commitment, Domain::COMMITMENT.hash(&salted));
        assert_eq!(call.ciphertext_hash, Domain::new("epione/record-file/v1").hash(&salted));
    }

    #[test]
    fn a_file_opens_only_as_registered() {
        let import = sealed(b"negative");
        let SealedRecord { call, file } = &import.records[0];
        assert_eq!(RecordFile::open(file.bytes().to_vec(), call.commitment).unwrap().body(), b"negative");
        for at in 0..file.bytes().len() {
            let mut changed = file.bytes().to_vec();
            changed[at] ^= 1;
            assert!(matches!(
                RecordFile::open(changed, call.commitment),
                Err(RecordFileError::Commitment { .. })
            ));
        }
        assert_eq!(RecordFile::open(vec![0; 31], call.commitment), Err(RecordFileError::Short { found: 31 }));
    }

    #[test]
    fn sizes_are_told_in_classes() {
        for (body, class) in [(0, 12), (4096 - 32, 12), (4096 - 31, 13), (8192 - 32, 13), (8192 - 31, 14)] {
            assert_eq!(RecordFile::new(&[0; 32], &vec![0; body]).size_class(), class, "{body}");
        }
    }

    #[test]
    fn nothing_private_is_printed() {
        let import = sealed(b"negative");
        let text = format!("{import:?}");
        assert!(!text.contains("negative") && !text.contains("110, 101, 103"), "{text}");
    }
}
