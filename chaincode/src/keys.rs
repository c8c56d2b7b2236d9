//! Where everything stands in the state: `prefix/`, then fields of fixed width, so that a range scan is a listing.
//!
//! Ids are raw bytes, integers big-endian. A key carries the type of its value: what is written under a key
//! can only be read as what it is. A contract writes under its own prefixes alone.
//!
//! | prefix | then | value | contract |
//! |---|---|---|---|
//! | `cfg/` | `chain`, `policy`, `constants`, `validators`, `epoch`, `next`, `candidates` | chain constants, validators | config |
//! | `txi/` | expires_at, transaction id | whose request id it holds | replay |
//! | `req/` | sender, request id | transaction id | replay |
//! | `key/` | public key | member | identity |
//! | `org/` | organisation | organisation | identity |
//! | `pra/` | organisation, practitioner | practitioner | identity |
//! | `pat/` | patient | patient | identity |
//! | `rep/` | patient, person | representation | identity |
//! | `rpx/` | patient, person, height | representation that was replaced then | identity |
//! | `rpn/` | representative | a representative's key | identity |
//! | `dev/` | organisation, device | device | identity |
//! | `pkc/` | patient, height, index | change of the patient's key | identity |
//! | `gua/` | patient | who may restore the key | identity |
//! | `rcv/` | patient | recovery of the key | identity |
//! | `rec/` | record | record | records |
//! | `rvs/` | record, version | an earlier version | records |
//! | `rbp/` | patient, record | - | records |
//! | `rbe/` | patient, record | - (a tombstone) | records |
//! | `ers/` | record | who erased it | records |
//! | `hld/` | record | until when it must be kept | records |
//! | `rdv/` | record, version | the device that wrote it | records |
//! | `rpt/` | record | report | reports |
//! | `gst/` | link | guest link | links |
//! | `grt/` | patient, grant | grant | consent |
//! | `gro/` | patient, holder | what the holder has of the patient in total | consent |
//! | `gra/` | patient, grant | grant that is over and was put away | consent |
//! | `arq/` | patient, request | request for access | consent |
//! | `arp/` | patient, organisation, practitioner | the request that waits | consent |
//! | `acc/` | patient, height, index | access event | access |
//! | `acx/` | member, height, index | access event on an unknown record | access |
//! | `ovr/` | patient, height, organisation, practitioner | emergency override | access |
//! | `ovo/` | patient, organisation, practitioner | the open override's end | access |
//! | `rev/` | organisation, practitioner, review deadline, patient | - (an unreviewed override) | access |
//! | `ovv/` | patient, height, organisation, practitioner | what its review found | access |
//! | `esc/` | organisation, review deadline, practitioner, patient | - (an overdue review) | access |
//! | `ntf/` | patient, height, index | notice to the patient | access |
//! | `due/` | time, kind, patient, organisation, practitioner | what is due then | access |
//! | `den/` | member | denials within the hour | access |
//! | `sty/` | study | study | research |
//! | `enr/` | study, patient | enrolment | research |
//! | `prp/` | proposal | proposal | governance |

use core::marker::PhantomData;
use std::collections::BTreeMap;

use epione_types::call::Person;
use epione_types::holding::{self, Holder, Holding};
use epione_types::id::{
    AccessRequestId, DeviceId, GrantId, LinkId, OrgId, PatientId, PractitionerId, ProposalId, RecordId,
    RepresentativeId, RequestId, StudyId,
};
use epione_types::{Height, NextEpoch, PublicKey, TimestampMs, TxId};

use crate::access::notices::Notice;
use crate::access::review::Review;
use crate::access::{AccessEvent, Deadline, Denials, OpenOverride, Override};
use crate::config::{Chain, Constants, Epoch};
use crate::consent::Grant;
use crate::consent::requests::AccessRequest;
use crate::governance::Proposal;
use crate::host::StateError;
use crate::identity::patients::KeyChange;
use crate::identity::recovery::{Guardians, Recovery};
use crate::identity::representation::Representative;
use crate::identity::{Device, Member, Organisation, Patient, Practitioner, Representation};
use crate::links::GuestLink;
use crate::read::Escalation;
use crate::records::Record;
use crate::records::erasure::Erasure;
use crate::reports::Report;
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

/// A key for people: its prefix, then its ids and numbers in hexadecimal. Nothing in a key is secret or about health.
#[must_use]
pub fn shown(key: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    match key.split_at_checked(b"cfg/".len()) {
        Some((b"cfg/", name)) if name.is_ascii() => format!("cfg/{}", name.escape_ascii()),
        Some((prefix @ [_, _, _, b'/'], ids)) if prefix.is_ascii() => {
            format!("{}{}", prefix.escape_ascii(), hex(ids))
        }
        Some(_) | None => hex(key),
    }
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

/// Constants that genesis does not name; absent while all are at their default.
#[must_use]
pub fn constants() -> Key<Constants> {
    Key::new(&[b"cfg/constants"])
}

/// Organisations that run a validator, ascending.
#[must_use]
pub fn validators() -> Key<Vec<OrgId>> {
    Key::new(&[b"cfg/validators"])
}

/// Validators and parameters in force, and since when.
#[must_use]
pub fn epoch() -> Key<Epoch> {
    Key::new(&[b"cfg/epoch"])
}

/// The next epoch, while it is decided and has not begun.
#[must_use]
pub fn next_epoch() -> Key<NextEpoch> {
    Key::new(&[b"cfg/next"])
}

/// Network keys of those whose joining is voted on, by proposal.
#[must_use]
pub fn candidates() -> Key<BTreeMap<ProposalId, PublicKey>> {
    Key::new(&[b"cfg/candidates"])
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

/// All keys that ever were somebody's.
pub(crate) fn members() -> KeyRange<Member> {
    KeyRange::all(&[b"key/"])
}

/// All patients.
pub(crate) fn patients() -> KeyRange<Patient> {
    KeyRange::all(&[b"pat/"])
}

/// All records.
pub(crate) fn records() -> KeyRange<Record> {
    KeyRange::all(&[b"rec/"])
}

/// All reports.
pub(crate) fn reports() -> KeyRange<Report> {
    KeyRange::all(&[b"rpt/"])
}

/// All requests for access.
pub(crate) fn access_requests_of_all() -> KeyRange<AccessRequest> {
    KeyRange::all(&[b"arq/"])
}

/// All emergency overrides.
pub(crate) fn emergencies_of_all() -> KeyRange<Override> {
    KeyRange::all(&[b"ovr/"])
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

/// All representations of a patient, ended ones too.
#[must_use]
pub fn representations(patient: PatientId) -> KeyRange<Representation> {
    KeyRange::all(&[b"rep/", patient.as_bytes()])
}

/// A representation that was replaced at a height.
#[must_use]
pub fn representation_ended(patient: PatientId, person: Person, height: Height) -> Key<Representation> {
    Key::new(&[b"rpx/", patient.as_bytes(), &person_bytes(person), &height.0.to_be_bytes()])
}

/// The person of a `rep/` key.
pub(crate) fn person_of(key: &[u8]) -> Result<Person, StateError> {
    let person = || {
        let (kind, ids) = key.get(b"rep/".len() + PatientId::LEN..)?.split_first()?;
        let (first, second) = ids.split_at_checked(16)?;
        Some(match kind {
            1 => Person::Practitioner(OrgId::try_from(first).ok()?, PractitionerId::try_from(second).ok()?),
            2 => Person::Patient(PatientId::try_from(first).ok()?),
            3 => Person::Representative(RepresentativeId::try_from(first).ok()?),
            _ => return None,
        })
    };
    person().ok_or_else(|| StateError::damaged(key, "a representation of nobody"))
}

/// A representative's entry.
#[must_use]
pub fn representative(id: RepresentativeId) -> Key<Representative> {
    Key::new(&[b"rpn/", id.as_bytes()])
}

/// A device.
#[must_use]
pub fn device(organisation: OrgId, id: DeviceId) -> Key<Device> {
    Key::new(&[b"dev/", organisation.as_bytes(), id.as_bytes()])
}

/// All devices of an organisation.
#[must_use]
pub fn devices(organisation: OrgId) -> KeyRange<Device> {
    KeyRange::all(&[b"dev/", organisation.as_bytes()])
}

/// A change of the key that signs for a patient.
#[must_use]
pub fn key_change(patient: PatientId, height: Height, index: u32) -> Key<KeyChange> {
    Key::new(&[b"pkc/", patient.as_bytes(), &height.0.to_be_bytes(), &index.to_be_bytes()])
}

/// All changes of the key that signs for a patient, oldest first.
#[must_use]
pub fn key_changes(patient: PatientId) -> KeyRange<KeyChange> {
    KeyRange::all(&[b"pkc/", patient.as_bytes()])
}

/// Who may restore a patient's key.
#[must_use]
pub fn guardians(patient: PatientId) -> Key<Guardians> {
    Key::new(&[b"gua/", patient.as_bytes()])
}

/// The recovery of a patient's key, the latest.
#[must_use]
pub fn recovery(patient: PatientId) -> Key<Recovery> {
    Key::new(&[b"rcv/", patient.as_bytes()])
}

/// A record.
#[must_use]
pub fn record(id: RecordId) -> Key<Record> {
    Key::new(&[b"rec/", id.as_bytes()])
}

/// A patient's record; the listing.
#[must_use]
pub fn record_of_patient(patient: PatientId, id: RecordId) -> Key<()> {
    Key::new(&[&holding::record_key(patient, id)])
}

/// All records of a patient.
#[must_use]
pub fn records_of_patient(patient: PatientId) -> KeyRange<()> {
    KeyRange::all(&[b"rbp/", patient.as_bytes()])
}

/// An earlier version of a record.
#[must_use]
pub fn record_version(id: RecordId, version: u32) -> Key<Record> {
    Key::new(&[b"rvs/", id.as_bytes(), &version.to_be_bytes()])
}

/// All earlier versions of a record, oldest first.
#[must_use]
pub fn record_versions(id: RecordId) -> KeyRange<Record> {
    KeyRange::all(&[b"rvs/", id.as_bytes()])
}

/// A patient's record that was erased; the listing.
#[must_use]
pub fn record_erased(patient: PatientId, id: RecordId) -> Key<()> {
    Key::new(&[b"rbe/", patient.as_bytes(), id.as_bytes()])
}

/// All erased records of a patient.
#[must_use]
pub fn records_erased(patient: PatientId) -> KeyRange<()> {
    KeyRange::all(&[b"rbe/", patient.as_bytes()])
}

/// Who erased a record.
#[must_use]
pub fn erasure(id: RecordId) -> Key<Erasure> {
    Key::new(&[b"ers/", id.as_bytes()])
}

/// Until when a record must be kept, exclusive.
#[must_use]
pub fn retention(id: RecordId) -> Key<TimestampMs> {
    Key::new(&[b"hld/", id.as_bytes()])
}

/// The device that wrote a version.
#[must_use]
pub fn written_by_device(id: RecordId, version: u32) -> Key<DeviceId> {
    Key::new(&[b"rdv/", id.as_bytes(), &version.to_be_bytes()])
}

/// A report.
#[must_use]
pub fn report(record: RecordId) -> Key<Report> {
    Key::new(&[b"rpt/", record.as_bytes()])
}

/// A guest link.
#[must_use]
pub fn guest_link(id: LinkId) -> Key<GuestLink> {
    Key::new(&[b"gst/", id.as_bytes()])
}

/// A grant or denial that is over and was put away.
#[must_use]
pub fn grant_archived(patient: PatientId, id: GrantId) -> Key<Grant> {
    Key::new(&[b"gra/", patient.as_bytes(), id.as_bytes()])
}

/// All grants and denials of a patient that were put away.
#[must_use]
pub fn grants_archived(patient: PatientId) -> KeyRange<Grant> {
    KeyRange::all(&[b"gra/", patient.as_bytes()])
}

/// What a holder has of a patient in total.
#[must_use]
pub fn holding(patient: PatientId, holder: Holder) -> Key<Holding> {
    Key::new(&[&holding::key(patient, holder)])
}

/// All that holders have of a patient.
pub(crate) fn holdings(patient: PatientId) -> KeyRange<Holding> {
    KeyRange::all(&[b"gro/", patient.as_bytes()])
}

/// A request for access.
#[must_use]
pub fn access_request(patient: PatientId, id: AccessRequestId) -> Key<AccessRequest> {
    Key::new(&[b"arq/", patient.as_bytes(), id.as_bytes()])
}

/// All requests for access to a patient's records.
#[must_use]
pub fn access_requests(patient: PatientId) -> KeyRange<AccessRequest> {
    KeyRange::all(&[b"arq/", patient.as_bytes()])
}

/// A practitioner's request to a patient that waits: one at a time, because it is one key.
#[must_use]
pub fn access_request_pending(patient: PatientId, who: (OrgId, PractitionerId)) -> Key<AccessRequestId> {
    Key::new(&[b"arp/", patient.as_bytes(), who.0.as_bytes(), who.1.as_bytes()])
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

/// All of an organisation's overrides that wait for their review, by practitioner, soonest due first.
#[must_use]
pub fn reviews(organisation: OrgId) -> KeyRange<()> {
    KeyRange::all(&[b"rev/", organisation.as_bytes()])
}

/// What a `rev/` key says.
pub(crate) fn review_of(key: &[u8]) -> Result<Escalation, StateError> {
    let parts = || {
        let (organisation, rest) = key.strip_prefix(b"rev/")?.split_at_checked(16)?;
        let (practitioner, rest) = rest.split_at_checked(16)?;
        let (due, patient) = rest.split_first_chunk::<8>()?;
        let practitioner = PractitionerId::try_from(practitioner).ok()?;
        Some(Escalation {
            practitioner: (OrgId::try_from(organisation).ok()?, practitioner),
            patient: PatientId::try_from(patient).ok()?,
            due: TimestampMs(u64::from_be_bytes(*due)),
        })
    };
    parts().ok_or_else(|| StateError::damaged(key, "a review of nobody"))
}

/// What the review of an override found.
#[must_use]
pub fn review_found(patient: PatientId, opened: Height, who: (OrgId, PractitionerId)) -> Key<Review> {
    let parts: [&[u8]; 5] =
        [b"ovv/", patient.as_bytes(), &opened.0.to_be_bytes(), who.0.as_bytes(), who.1.as_bytes()];
    Key::new(&parts)
}

/// A review that is overdue.
#[must_use]
pub fn escalation(who: (OrgId, PractitionerId), due: TimestampMs, patient: PatientId) -> Key<()> {
    Key::new(&[b"esc/", who.0.as_bytes(), &due.0.to_be_bytes(), who.1.as_bytes(), patient.as_bytes()])
}

/// All overdue reviews of an organisation's members, oldest first.
#[must_use]
pub fn escalations(organisation: OrgId) -> KeyRange<()> {
    KeyRange::all(&[b"esc/", organisation.as_bytes()])
}

/// What an `esc/` key says.
pub(crate) fn escalation_of(key: &[u8]) -> Result<Escalation, StateError> {
    let parts = || {
        let (organisation, rest) = key.strip_prefix(b"esc/")?.split_at_checked(16)?;
        let (due, rest) = rest.split_first_chunk::<8>()?;
        let (practitioner, patient) = rest.split_at_checked(16)?;
        let practitioner = PractitionerId::try_from(practitioner).ok()?;
        Some(Escalation {
            practitioner: (OrgId::try_from(organisation).ok()?, practitioner),
            patient: PatientId::try_from(patient).ok()?,
            due: TimestampMs(u64::from_be_bytes(*due)),
        })
    };
    parts().ok_or_else(|| StateError::damaged(key, "an escalation of nobody"))
}

/// A notice to a patient.
#[must_use]
pub fn notice(patient: PatientId, height: Height, index: u32) -> Key<Notice> {
    Key::new(&[b"ntf/", patient.as_bytes(), &height.0.to_be_bytes(), &index.to_be_bytes()])
}

/// All notices to a patient, oldest first.
#[must_use]
pub fn notices(patient: PatientId) -> KeyRange<Notice> {
    KeyRange::all(&[b"ntf/", patient.as_bytes()])
}

/// A proposal.
#[must_use]
pub fn proposal(id: ProposalId) -> Key<Proposal> {
    Key::new(&[b"prp/", id.as_bytes()])
}

/// All proposals.
#[must_use]
pub fn proposals() -> KeyRange<Proposal> {
    KeyRange::all(&[b"prp/"])
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
        Member::Device(org, id) => [&[5], org.as_bytes().as_slice(), id.as_bytes()].concat(),
        Member::Retired => vec![6],
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
    fn a_key_is_shown_with_its_prefix_and_whatever_it_holds_as_one_line() {
        assert_eq!(shown(validators().as_bytes()), "cfg/validators");
        let text = shown(grant(PatientId([0xab; 16]), GrantId([1; 16])).as_bytes());
        assert_eq!(text, format!("grt/{}{}", "ab".repeat(16), "01".repeat(16)));
        assert_eq!(
            [b"".as_slice(), b"gr", b"grt-x", b"\xffab/", b"cfg/\n"].map(shown),
            ["", "6772", "6772742d78", "ff61622f", "cfg/\\n"]
        );
    }

    #[test]
    fn overdue_means_at_the_deadline_not_before() {
        let who = (OrgId([1; 16]), PractitionerId([2; 16]));
        let key = review(who, TimestampMs(100), PatientId([3; 16]));
        assert!(key.as_bytes() >= reviews_overdue(who, TimestampMs(99)).to());
        assert!(key.as_bytes() < reviews_overdue(who, TimestampMs(100)).to());
    }
}
