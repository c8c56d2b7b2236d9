//! Where everything stands in the state: `prefix/`, then fields of fixed width, so that a range scan is a listing.
//!
//! Ids are raw bytes, integers big-endian. A key carries the type of its value: what is written under a key
//! can only be read as what it is. A contract writes under its own prefixes alone.
//!
//! | prefix | then | value | contract |
//! |---|---|---|---|
//! | `cfg/` | `chain`, `policy`, `validators` | chain constants | config |
//! | `txi/` | expires_at, transaction id | whose request id it holds | replay |
//! | `req/` | sender, request id | transaction id | replay |
//! | `key/` | public key | member | identity |
//! | `org/` | organisation | organisation | identity |
//! | `pra/` | organisation, practitioner | practitioner | identity |
//! | `pat/` | patient | patient | identity |
//! | `rep/` | patient, person | representation | identity |
//! | `rec/` | record | record | records |
//! | `rbp/` | patient, record | - | records |
//! | `grt/` | patient, grant | grant | consent |
//! | `acc/` | patient, height, index | access event | access |
//! | `acx/` | member, height, index | access event on an unknown record | access |
//! | `ovr/` | patient, height, organisation, practitioner | emergency override | access |
//! | `ovo/` | patient, organisation, practitioner | the open override's end | access |
//! | `rev/` | organisation, practitioner, review deadline, patient | - (an unreviewed override) | access |
//! | `due/` | time, kind, patient, organisation, practitioner | what is due then | access |
//! | `den/` | member | denials within the hour | access |
//! | `sty/` | study | study | research |
//! | `enr/` | study, patient | enrolment | research |

use core::marker::PhantomData;

use epione_types::call::Person;
use epione_types::id::{GrantId, OrgId, PatientId, PractitionerId, RecordId, RequestId, StudyId};
use epione_types::{Height, PublicKey, TimestampMs, TxId};

use crate::access::{AccessEvent, Deadline, Denials, OpenOverride, Override};
use crate::config::Chain;
use crate::consent::Grant;
use crate::identity::{Member, Organisation, Patient, Practitioner, Representation};
use crate::records::Record;
use crate::research::{Enrolment, Study};

/// A key whose value is a `T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<T> {
    bytes: Vec<u8>,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    fn new(parts: &[&[u8]]) -> Self {
        Self { bytes: parts.concat(), value: PhantomData }
    }

    /// As it stands in the state.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The keys that begin alike, of values `T`, from `from` (inclusive) to `to` (exclusive).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange<T> {
    from: Vec<u8>,
    to: Vec<u8>,
    value: PhantomData<fn() -> T>,
}

impl<T> KeyRange<T> {
    fn all(parts: &[&[u8]]) -> Self {
        let from = parts.concat();
        let to = after_prefix(&from);
        Self { from, to, value: PhantomData }
    }

    fn below(parts: &[&[u8]], end: &[u8]) -> Self {
        let from = parts.concat();
        let to = [from.as_slice(), end].concat();
        Self { from, to, value: PhantomData }
    }

    /// What is left of the range after `cursor`; all of it if the cursor lies before, nothing if behind.
    #[must_use]
    pub(crate) fn after(mut self, cursor: &[u8]) -> Self {
        if cursor >= self.from.as_slice() {
            self.from = [cursor, &[0]].concat();
        }
        self
    }

    /// First key, inclusive.
    #[must_use]
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// End, exclusive.
    #[must_use]
    pub fn to(&self) -> &[u8] {
        &self.to
    }
}

/// The first key behind all that begin with `prefix`. Every prefix here begins with a letter.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// Chain constants.
#[must_use]
pub fn chain() -> Key<Chain> {
    Key::new(&[b"cfg/chain"])
}

/// Constants of the access policy.
#[must_use]
pub fn policy() -> Key<epione_types::genesis::Policy> {
    Key::new(&[b"cfg/policy"])
}

/// Organisations that run a validator, ascending.
#[must_use]
pub fn validators() -> Key<Vec<OrgId>> {
    Key::new(&[b"cfg/validators"])
}

/// A transaction that occurred, while it is unexpired: absence under the first header past `expires_at` proves
/// that it never took effect. Holds what it occupies beside its id, if anything.
#[must_use]
pub fn transaction(expires_at: TimestampMs, id: TxId) -> Key<Option<(PublicKey, RequestId)>> {
    Key::new(&[b"txi/", &expires_at.0.to_be_bytes(), id.as_bytes()])
}

/// Transactions that expired before `time`.
pub(crate) fn transactions_expired_before(time: TimestampMs) -> KeyRange<Option<(PublicKey, RequestId)>> {
    KeyRange::below(&[b"txi/"], &time.0.to_be_bytes())
}

/// The transaction that used a sender's request id first.
#[must_use]
pub fn request(sender: &PublicKey, id: RequestId) -> Key<TxId> {
    Key::new(&[b"req/", sender.as_bytes(), id.as_bytes()])
}

/// Whose key it is.
#[must_use]
pub fn member(key: &PublicKey) -> Key<Member> {
    Key::new(&[b"key/", key.as_bytes()])
}

/// An organisation.
#[must_use]
pub fn organisation(id: OrgId) -> Key<Organisation> {
    Key::new(&[b"org/", id.as_bytes()])
}

/// A practitioner.
#[must_use]
pub fn practitioner(organisation: OrgId, id: PractitionerId) -> Key<Practitioner> {
    Key::new(&[b"pra/", organisation.as_bytes(), id.as_bytes()])
}

/// A patient.
#[must_use]
pub fn patient(id: PatientId) -> Key<Patient> {
    Key::new(&[b"pat/", id.as_bytes()])
}

/// What makes a person a patient's representative.
#[must_use]
pub fn representation(patient: PatientId, person: Person) -> Key<Representation> {
    Key::new(&[b"rep/", patient.as_bytes(), &person_bytes(person)])
}

/// A record.
#[must_use]
pub fn record(id: RecordId) -> Key<Record> {
    Key::new(&[b"rec/", id.as_bytes()])
}

/// A patient's record; the listing.
#[must_use]
pub fn record_of_patient(patient: PatientId, id: RecordId) -> Key<()> {
    Key::new(&[b"rbp/", patient.as_bytes(), id.as_bytes()])
}

/// All records of a patient.
#[must_use]
pub fn records_of_patient(patient: PatientId) -> KeyRange<()> {
    KeyRange::all(&[b"rbp/", patient.as_bytes()])
}

/// A grant or denial.
#[must_use]
pub fn grant(patient: PatientId, id: GrantId) -> Key<Grant> {
    Key::new(&[b"grt/", patient.as_bytes(), id.as_bytes()])
}

/// All grants and denials of a patient, revoked ones too.
#[must_use]
pub fn grants(patient: PatientId) -> KeyRange<Grant> {
    KeyRange::all(&[b"grt/", patient.as_bytes()])
}

/// An access to a patient's record.
#[must_use]
pub fn access(patient: PatientId, height: Height, index: u32) -> Key<AccessEvent> {
    Key::new(&[b"acc/", patient.as_bytes(), &height.0.to_be_bytes(), &index.to_be_bytes()])
}

/// All accesses to a patient's records, oldest first.
#[must_use]
pub fn accesses(patient: PatientId) -> KeyRange<AccessEvent> {
    KeyRange::all(&[b"acc/", patient.as_bytes()])
}

/// A request for a record that does not exist, kept under who asked.
#[must_use]
pub fn access_unknown(who: Member, height: Height, index: u32) -> Key<AccessEvent> {
    Key::new(&[b"acx/", &member_bytes(who), &height.0.to_be_bytes(), &index.to_be_bytes()])
}

/// All requests of a member for records that do not exist.
#[must_use]
pub fn accesses_unknown(who: Member) -> KeyRange<AccessEvent> {
    KeyRange::all(&[b"acx/", &member_bytes(who)])
}

/// An emergency override, kept for ever.
#[must_use]
pub fn emergency(patient: PatientId, opened: Height, who: (OrgId, PractitionerId)) -> Key<Override> {
    let parts: [&[u8]; 5] =
        [b"ovr/", patient.as_bytes(), &opened.0.to_be_bytes(), who.0.as_bytes(), who.1.as_bytes()];
    Key::new(&parts)
}

/// All emergency overrides on a patient's records, oldest first.
#[must_use]
pub fn emergencies(patient: PatientId) -> KeyRange<Override> {
    KeyRange::all(&[b"ovr/", patient.as_bytes()])
}

/// The override that is open: at most one per patient and practitioner, because it is one key.
#[must_use]
pub fn open_override(patient: PatientId, who: (OrgId, PractitionerId)) -> Key<OpenOverride> {
    Key::new(&[b"ovo/", patient.as_bytes(), who.0.as_bytes(), who.1.as_bytes()])
}

/// An override that waits for its review.
#[must_use]
pub fn review(who: (OrgId, PractitionerId), due: TimestampMs, patient: PatientId) -> Key<()> {
    Key::new(&[b"rev/", who.0.as_bytes(), who.1.as_bytes(), &due.0.to_be_bytes(), patient.as_bytes()])
}

/// A practitioner's overrides that should have been reviewed at `now`.
#[must_use]
pub fn reviews_overdue(who: (OrgId, PractitionerId), now: TimestampMs) -> KeyRange<()> {
    KeyRange::below(&[b"rev/", who.0.as_bytes(), who.1.as_bytes()], &now.next().0.to_be_bytes())
}

/// Something that waits for time.
#[must_use]
pub fn due(time: TimestampMs, deadline: &Deadline) -> Key<Deadline> {
    let (kind, patient, (organisation, practitioner)) = deadline.parts();
    let parts: [&[u8]; 6] = [
        b"due/",
        &time.0.to_be_bytes(),
        &[kind],
        patient.as_bytes(),
        organisation.as_bytes(),
        practitioner.as_bytes(),
    ];
    Key::new(&parts)
}

/// All that waits for time, soonest first.
#[must_use]
pub fn dues() -> KeyRange<Deadline> {
    KeyRange::all(&[b"due/"])
}

/// All that is due at `now`.
pub(crate) fn dues_until(now: TimestampMs) -> KeyRange<Deadline> {
    KeyRange::below(&[b"due/"], &now.next().0.to_be_bytes())
}

/// The time of a `due/` key.
pub(crate) fn due_time(key: &[u8]) -> Option<TimestampMs> {
    let (time, _) = key.strip_prefix(b"due/")?.split_first_chunk::<8>()?;
    Some(TimestampMs(u64::from_be_bytes(*time)))
}

/// How often a member was denied lately.
#[must_use]
pub fn denials(who: Member) -> Key<Denials> {
    Key::new(&[b"den/", &member_bytes(who)])
}

/// A research study.
#[must_use]
pub fn study(id: StudyId) -> Key<Study> {
    Key::new(&[b"sty/", id.as_bytes()])
}

/// A patient's enrolment in a study.
#[must_use]
pub fn enrolment(study: StudyId, patient: PatientId) -> Key<Enrolment> {
    Key::new(&[b"enr/", study.as_bytes(), patient.as_bytes()])
}

/// Kind and ids: fixed width per kind, and no kind is a prefix of another.
fn member_bytes(member: Member) -> Vec<u8> {
    match member {
        Member::Admin(org) => [&[0], org.as_bytes().as_slice()].concat(),
        Member::Practitioner(org, id) => [&[1], org.as_bytes().as_slice(), id.as_bytes()].concat(),
        Member::Patient(id) => [&[2], id.as_bytes().as_slice()].concat(),
        Member::Representative(id) => [&[3], id.as_bytes().as_slice()].concat(),
        Member::Guest(id) => [&[4], id.as_bytes().as_slice()].concat(),
    }
}

fn person_bytes(person: Person) -> Vec<u8> {
    match person {
        Person::Practitioner(org, id) => member_bytes(Member::Practitioner(org, id)),
        Person::Patient(id) => member_bytes(Member::Patient(id)),
        Person::Representative(id) => member_bytes(Member::Representative(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_prefix_and_nothing_else() {
        assert_eq!(after_prefix(b"grt/"), b"grt0");
        assert_eq!(after_prefix(&[b'a', 0xff, 0xff]), b"b");
        let all = grants(PatientId([0xff; 16]));
        let key = grant(PatientId([0xff; 16]), GrantId([0xff; 16]));
        assert!(all.from() <= key.as_bytes() && key.as_bytes() < all.to());
    }

    #[test]
    fn overdue_means_at_the_deadline_not_before() {
        let who = (OrgId([1; 16]), PractitionerId([2; 16]));
        let key = review(who, TimestampMs(100), PatientId([3; 16]));
        assert!(key.as_bytes() >= reviews_overdue(who, TimestampMs(99)).to());
        assert!(key.as_bytes() < reviews_overdue(who, TimestampMs(100)).to());
    }
}
