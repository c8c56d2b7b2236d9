//! A record's history as FHIR `Provenance`: one for each change that the ledger committed. Rendered on request from
//! the ledger's events, never stored. The signatures are in the transactions, which are named.
//!
//! Tested by `tests/audit.rs`.

use epione_types::TxId;
use epione_types::call::Person;
use epione_types::codes::RecordStatus;
use epione_types::event::Event;
use epione_types::id::{EventCursor, OrgId, RecordId, TimestampMs};
use serde_json::{Value, json};

use super::{identity, time};
use crate::LedgerEvent;

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Which record.
    pub record: RecordId,
    /// Keeps the body.
    pub custodian: OrgId,
    /// The version in force from then on.
    pub version: u32,
    /// Where it stands.
    pub status: RecordStatus,
    /// Block time.
    pub at: TimestampMs,
    /// Place in the ledger.
    pub cursor: EventCursor,
    /// The transaction that did it.
    pub tx_id: TxId,
}

impl RecordChange {
    /// The change that an event tells of, if it does.
    #[must_use]
    pub fn of(told: &LedgerEvent) -> Option<Self> {
        let (record, custodian, version, status) =
            if let Event::RecordRegistered { record, custodian, .. } = told.event {
                (record, custodian, 1, RecordStatus::Active)
            } else if let Event::RecordChanged { record, custodian, version, status, .. } = told.event {
                (record, custodian, version, status)
            } else {
                return None;
            };
        let &LedgerEvent { cursor, time: at, tx_id, .. } = told;
        Some(Self { record, custodian, version, status, at, cursor, tx_id })
    }
}

/// The `Provenance` of a record's changes, in their order. `author` wrote the version in force; of those before,
/// events name the custodian alone.
#[must_use]
pub fn provenance(changes: &[RecordChange], author: Option<Person>) -> Vec<Value> {
    let head = changes.iter().map(|change| change.version).max();
    let mut seen = None;
    let mut resources = Vec::with_capacity(changes.len());
    for change in changes {
        let author = author.filter(|_| Some(change.version) == head);
        resources.push(resource(change, seen, author));
        seen = Some(change.version);
    }
    resources
}

fn resource(change: &RecordChange, before: Option<u32>, author: Option<Person>) -> Value {
    let new_version = before != Some(change.version);
    let operation = match change.status {
        RecordStatus::Erased => "DELETE",
        RecordStatus::EnteredInError => "NULLIFY",
        RecordStatus::Superseded => "OBSOLETE",
        RecordStatus::Draft | RecordStatus::Active if before.is_none() => "CREATE",
        RecordStatus::Active if !new_version => "ACTIVATE",
        RecordStatus::Draft | RecordStatus::Active => "UPDATE",
    };
    let agent = |role: &str, who: Value| {
        let system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
        json!({"type": {"coding": [{"system": system, "code": role}]}, "who": who})
    };
    let mut agents = vec![agent("custodian", identity::org(change.custodian))];
    agents.extend(author.map(|author| agent("author", identity::person(author))));
    let of_version = |version| {
        let value = format!("{}/{version}", change.record);
        identity::reference("DocumentReference", "record-version", value)
    };
    let mut entities = vec![json!({
        "role": "source", "what": {"identifier": identity::identifier("transaction", change.tx_id)},
    })];
    if let Some(before) = before.filter(|_| new_version) {
        entities.push(json!({"role": "revision", "what": of_version(before)}));
    }
    json!({
        "resourceType": "Provenance",
        "id": format!("{}-{}", change.cursor.height, change.cursor.index),
        "target": [of_version(change.version)],
        "recorded": time::instant(change.at),
        "activity": {"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "code": operation},
        ]},
        "agent": agents,
        "entity": entities,
    })
}
