//! What always holds of the contracts' state, whatever was executed: sentences that can be checked after every block.
//!
//! The contracts never read this; simulators and tests do. Each invariant carries the number of the specification
//! where it has one. Those that the keys themselves enforce (one open override per patient and practitioner, one
//! pending request, one head per record) need no check. Tested by `tests/machines.rs`, which walks at random and also
//! breaks each sentence on purpose.

use std::collections::BTreeMap;

use epione_types::call::{GrantKind, Labels, Purposes};
use epione_types::codes::{AccessRequestStatus, Label, PatientStatus, RecordStatus, ReportStatus};
use epione_types::holding::{self, Holder};
use epione_types::id::{PatientId, RecordId};
use epione_types::{Hash, PublicKey, TimestampMs};
use serde::{Serialize, de::DeserializeOwned};

use crate::consent::{Grant, rule};
use crate::host::{State, StateError, get, range};
use crate::identity::{Member, Patient};
use crate::keys::{self, KeyRange};
use crate::records::Record;

/// How many entries are read from the store at once.
const PAGE: usize = 1_000;

/// Every sentence that does not hold, with what breaks it: ids alone.
///
/// # Errors
/// The store failed, or a value is damaged.
pub fn broken(state: &dyn State) -> Result<Vec<String>, StateError> {
    let mut check = Check { state, broken: Vec::new() };
    check.patients()?;
    check.records()?;
    check.reports()?;
    check.requests()?;
    check.emergencies()?;
    Ok(check.broken)
}

struct Check<'s> {
    state: &'s dyn State,
    broken: Vec<String>,
}

impl Check<'_> {
    fn need(&mut self, holds: bool, sentence: &str, of: &dyn core::fmt::Display) {
        if !holds {
            self.broken.push(format!("{sentence}: {of}"));
        }
    }

    fn patients(&mut self) -> Result<(), StateError> {
        let mut owners: BTreeMap<PatientId, u32> = BTreeMap::new();
        for (_, member) in all(self.state, keys::members())? {
            if let Member::Patient(id) = member {
                *owners.entry(id).or_default() += 1;
            }
        }
        for (key, patient) in all(self.state, keys::patients())? {
            let id = PatientId(tail(&key)?);
            let keys_live = owners.get(&id).copied().unwrap_or_default();
            let own = u32::from(patient.key.is_some());
            self.need(keys_live == own, "9 a patient has one live signing key, or none in custody", &id);
            if let Some(key) = &patient.key {
                let of = self.owner(key)?;
                self.need(of == Some(Member::Patient(id)), "9 a patient's key is registered as theirs", &id);
            }
            let erased = patient.status == PatientStatus::Erased;
            let cared = !patient.care_organisations.is_empty() || patient.key.is_some();
            self.need(erased != cared, "a patient is cared for or has a key, until erased", &id);
            self.grants(id, &patient)?;
        }
        Ok(())
    }

    fn owner(&self, key: &PublicKey) -> Result<Option<Member>, StateError> {
        get(self.state, &keys::member(key))
    }

    fn grants(&mut self, id: PatientId, patient: &Patient) -> Result<(), StateError> {
        let at_hand: Vec<Grant> =
            all(self.state, keys::grants(id))?.into_iter().map(|(_, grant)| grant).collect();
        let count = u32::try_from(at_hand.len()).unwrap_or(u32::MAX);
        self.need(count == patient.grants, "as many grants are at hand as are counted", &id);
        self.holdings(id, &at_hand)?;
        for grant in &at_hand {
            let rule = &grant.rule;
            let permit = rule.kind == GrantKind::Permit;
            let most = rule.max_uses.unwrap_or(u32::MAX);
            self.need(grant.uses <= most, "2 uses never exceed their limit", &grant.id);
            let wildcard = permit && rule.purposes == Purposes::All;
            self.need(!wildcard, "5 no permit has every purpose", &grant.id);
            let note =
                matches!(&rule.labels, Labels::Only(it) if it.contains(&Label::PsyThPn) && it.len() > 1);
            self.need(!(permit && note), "5 a permit for psychotherapy notes stands alone", &grant.id);
            let Some(parent) = rule.parent else { continue };
            let parent = at_hand.iter().find(|it| it.id == parent).map(|it| it.rule.clone());
            let archived = match (parent, rule.parent) {
                (None, Some(parent)) => get(self.state, &keys::grant_archived(id, parent))?.map(|it| it.rule),
                (found, _) => found,
            };
            let within = archived.is_some_and(|of| of.parent.is_none() && rule::is_within(rule, &of));
            self.need(within, "6 a sub-grant is within its parent, one level deep", &grant.id);
        }
        Ok(())
    }

    fn holdings(&mut self, id: PatientId, at_hand: &[Grant]) -> Result<(), StateError> {
        let mut counted: BTreeMap<Vec<u8>, Vec<Option<TimestampMs>>> = BTreeMap::new();
        for Grant { rule, revoked, .. } in at_hand {
            if let (GrantKind::Permit, None, Some(holder)) = (rule.kind, revoked, Holder::of(rule)) {
                counted.entry(holding::key(id, holder)).or_default().push(rule.until);
            }
        }
        let held = all(self.state, keys::holdings(id))?;
        let same = held.iter().map(|(key, _)| key).eq(counted.keys());
        let sums = held.iter().zip(counted.values()).all(|((_, holding), ends)| {
            let bound = |until: &TimestampMs| ends.iter().all(|end| end.is_some_and(|end| end <= *until));
            usize::try_from(holding.permits) == Ok(ends.len()) && holding.until.as_ref().is_none_or(bound)
        });
        self.need(same && sums, "what holders have is the sum of the permits", &id);
        Ok(())
    }

    fn records(&mut self) -> Result<(), StateError> {
        for (_, record) in all(self.state, keys::records())? {
            let id = record.id;
            let versions: Vec<Record> =
                all(self.state, keys::record_versions(id))?.into_iter().map(|it| it.1).collect();
            let erased = record.status == RecordStatus::Erased;
            let (listed, tombstone) = self.listings(&record)?;
            self.need(listed != erased && tombstone == erased, "a record is listed once, as what it is", &id);
            if erased {
                let bare = record.commitment == Hash::ZERO && record.labels.is_empty() && versions.is_empty();
                let report = get(self.state, &keys::report(id))?.is_none();
                let by = get(self.state, &keys::erasure(id))?.is_some();
                self.need(
                    bare && report && by,
                    "4 an erased record is a tombstone, and says in whose word",
                    &id,
                );
                continue;
            }
            self.need(record.status != RecordStatus::Superseded, "3 the head is no earlier version", &id);
            let contiguous = (1..record.version).eq(versions.iter().map(|it| it.version));
            self.need(contiguous, "3 versions are contiguous", &id);
            let past = versions.iter().all(|it| it.status == RecordStatus::Superseded);
            self.need(past, "3 only the head is in force", &id);
        }
        Ok(())
    }

    /// Is it among its patient's records, and among the erased ones?
    fn listings(&self, record: &Record) -> Result<(bool, bool), StateError> {
        let live = get(self.state, &keys::record_of_patient(record.patient, record.id))?;
        let erased = get(self.state, &keys::record_erased(record.patient, record.id))?;
        Ok((live.is_some(), erased.is_some()))
    }

    fn reports(&mut self) -> Result<(), StateError> {
        for (key, report) in all(self.state, keys::reports())? {
            let id = RecordId(tail(&key)?);
            let record = get(self.state, &keys::record(id))?;
            let draft = record.is_some_and(|it| it.status == RecordStatus::Draft);
            let in_force = matches!(report.status, ReportStatus::Approved | ReportStatus::Unreviewed);
            self.need(draft != in_force, "a report's record is a draft until the report is in force", &id);
            let viewers = report.status == ReportStatus::Unreviewed && !report.viewers.is_empty();
            self.need(!viewers, "what was not reviewed has no viewers", &id);
        }
        Ok(())
    }

    fn requests(&mut self) -> Result<(), StateError> {
        for (_, request) in all(self.state, keys::access_requests_of_all())? {
            let answered =
                matches!(request.status, AccessRequestStatus::Approved | AccessRequestStatus::Rejected);
            self.need(answered == request.answered.is_some(), "an answer says in whose word", &request.id);
            let approved = request.status == AccessRequestStatus::Approved;
            self.need(
                approved == request.grant.is_some(),
                "an approval, and nothing else, has a grant",
                &request.id,
            );
        }
        Ok(())
    }

    fn emergencies(&mut self) -> Result<(), StateError> {
        for (key, emergency) in all(self.state, keys::emergencies_of_all())? {
            let patient = key.get(4..20).and_then(|id| PatientId::try_from(id).ok());
            let Some(patient) = patient else { return Err(StateError::damaged(&key, "no patient")) };
            let who = emergency.practitioner;
            let found = get(self.state, &keys::review_found(patient, emergency.height, who))?;
            let owed = get(self.state, &keys::review(who, emergency.review_due, patient))?.is_some();
            self.need(found.is_none() == owed, "a review is owed until it is done, and no longer", &patient);
            let escalated = get(self.state, &keys::escalation(who, emergency.review_due, patient))?;
            self.need(escalated.is_none() || owed, "only what is owed is escalated", &patient);
            let reviewer = found.map(|it| it.reviewer);
            let self_review = reviewer == Some(Member::Practitioner(who.0, who.1));
            self.need(!self_review, "nobody reviewed their own emergency", &patient);
        }
        Ok(())
    }
}

/// Every entry of a range.
fn all<T: Serialize + DeserializeOwned>(
    state: &dyn State,
    mut left: KeyRange<T>,
) -> Result<Vec<(Vec<u8>, T)>, StateError> {
    let mut found = Vec::new();
    loop {
        let page = range(state, &left, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        left = left.after(&last.clone());
        found.extend(page);
    }
}

/// The id at the end of a key.
fn tail(key: &[u8]) -> Result<[u8; 16], StateError> {
    let id = key.last_chunk::<16>();
    id.copied().ok_or_else(|| StateError::damaged(key, "a key without an id"))
}
