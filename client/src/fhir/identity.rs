//! Who and what a FHIR reference means: the ledger's own names in FHIR, and a directory for everybody else's.
//!
//! The ledger writes logical references: `{"type": "Organization", "identifier": {"system": "urn:epione:org",
//! "value": ID}}`, which no server has to resolve. References of others (`Practitioner/17`) mean what the caller's
//! directory says, and without an entry they mean nothing. Tested with the consents.

use core::str::FromStr;
use std::collections::BTreeMap;

use epione_types::Hash;
use epione_types::call::{Grantee, Person};
use epione_types::codes::Role;
use epione_types::id::{GrantId, OrgId, PatientId, RecordId};
use serde_json::{Value, json};

use super::consent::Reason;
use super::json;

/// What all identifier systems of the ledger begin with.
const SYSTEM: &str = "urn:epione:";
/// Before the hash of a policy's text in `policy.uri`; `none` where a rule names none.
const POLICY: &str = "urn:epione:policy:";

/// What a reference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Somebody who may be granted access; a patient is a person.
    Who(Grantee),
    /// A record.
    Record(RecordId),
    /// A signed document, by its hash.
    Document(Hash),
    /// A grant: stands where the ledger itself is the evidence.
    Grant(GrantId),
}

/// What references and policies mean that are not the ledger's own: the custodian's knowledge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    references: BTreeMap<String, Target>,
    policies: BTreeMap<String, Hash>,
}

impl Directory {
    /// Adds a reference as it stands in resources, such as `Organization/f001`, or an identifier as `system|value`.
    pub fn add_reference(&mut self, reference: impl Into<String>, target: Target) {
        self.references.insert(reference.into(), target);
    }

    /// Adds a policy's uri and the hash of its text.
    pub fn add_policy(&mut self, uri: impl Into<String>, text: Hash) {
        self.policies.insert(uri.into(), text);
    }

    /// The policy at a uri; `None` within for the ledger's own way to say that there is none.
    pub(super) fn policy(&self, uri: &str) -> Option<Option<Hash>> {
        match uri.strip_prefix(POLICY) {
            Some("none") => Some(None),
            Some(hash) => hash.parse().ok().map(Some),
            None => self.policies.get(uri).copied().map(Some),
        }
    }

    /// What a Reference means: by its literal reference, else by its identifier.
    pub(super) fn resolve(&self, reference: &Value) -> Result<Target, Reason> {
        if !reference.is_object() {
            return Err(Reason::Shape("a reference"));
        }
        if let Some(literal) = json::text(reference, "reference") {
            return self.references.get(literal).copied().ok_or(Reason::ReferenceUnknown);
        }
        let text = |path| json::text(reference, path).unwrap_or_default();
        let (system, value) = (text("identifier.system"), text("identifier.value"));
        let target = match system.strip_prefix(SYSTEM) {
            Some(kind) => own(kind, value),
            None => self.references.get(&format!("{system}|{value}")).copied(),
        };
        target.ok_or(Reason::ReferenceUnknown)
    }
}

/// What an identifier of the ledger means.
fn own(kind: &str, value: &str) -> Option<Target> {
    fn pair<A: FromStr, B: FromStr>(value: &str) -> Option<(A, B)> {
        let (first, second) = value.split_once('/')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    }
    Some(match kind {
        "org" => Target::Who(Grantee::Org(value.parse().ok()?)),
        "role" => {
            let (org, role) = pair::<_, Role>(value)?;
            Target::Who(Grantee::Role(org, role))
        }
        "practitioner" => {
            let (org, practitioner) = pair(value)?;
            Target::Who(Grantee::Person(Person::Practitioner(org, practitioner)))
        }
        "patient" => Target::Who(Grantee::Person(Person::Patient(value.parse().ok()?))),
        "representative" => Target::Who(Grantee::Person(Person::Representative(value.parse().ok()?))),
        "study" => Target::Who(Grantee::Study(value.parse().ok()?)),
        "link" => Target::Who(Grantee::Guest(value.parse().ok()?)),
        "record" => Target::Record(value.parse().ok()?),
        "document" => Target::Document(value.parse().ok()?),
        "grant" => Target::Grant(value.parse().ok()?),
        _ => return None,
    })
}

/// An identifier of the ledger.
pub(super) fn identifier(kind: &str, value: impl core::fmt::Display) -> Value {
    json!({"system": format!("{SYSTEM}{kind}"), "value": value.to_string()})
}

/// A logical reference to a resource type.
pub(super) fn reference(resource_type: &str, kind: &str, value: impl core::fmt::Display) -> Value {
    json!({"type": resource_type, "identifier": identifier(kind, value)})
}

pub(super) fn patient(id: PatientId) -> Value {
    reference("Patient", "patient", id)
}

pub(super) fn org(id: OrgId) -> Value {
    reference("Organization", "org", id)
}

pub(super) fn record(id: RecordId) -> Value {
    reference("DocumentReference", "record", id)
}

pub(super) fn person(person: Person) -> Value {
    match person {
        Person::Practitioner(org, id) => {
            reference("Practitioner", "practitioner", format_args!("{org}/{id}"))
        }
        Person::Patient(id) => patient(id),
        Person::Representative(id) => reference("RelatedPerson", "representative", id),
    }
}

/// Whom a rule names; none for everybody.
pub(super) fn grantee(to: Grantee) -> Option<Value> {
    Some(match to {
        Grantee::Any => return None,
        Grantee::Org(id) => org(id),
        Grantee::Role(org, role) => reference("PractitionerRole", "role", format_args!("{org}/{role}")),
        Grantee::Person(of) => person(of),
        // FHIR R4 has no actor of these kinds: an identifier without a type.
        Grantee::Study(id) => json!({"identifier": identifier("study", id)}),
        Grantee::Guest(id) => json!({"identifier": identifier("link", id)}),
    })
}

/// Where a policy's text is named.
pub(super) fn policy(text: Option<Hash>) -> String {
    text.map_or_else(|| format!("{POLICY}none"), |hash| format!("{POLICY}{hash}"))
}
