//! Decided accesses as FHIR `AuditEvent`s, in the shapes of IHE BALP: one of the decision (`AuthZconsent`), and of what
//! was released another (`PrivacyDisclosure.Source`).
//!
//! The ledger knows pseudonyms and organisations, neither names nor network addresses; what BALP wants of those is
//! the ledger's own identifiers. Tested by `tests/audit.rs`.

use epione_proto::ConvertError;
use epione_proto::convert::{code_from_wire, fixed, fixed_opt};
use epione_proto::v1 as pb;
use epione_types::Height;
use epione_types::call::{Emergency, Person};
use epione_types::codes::{Action, Category, Decision, Label, Obligation, Purpose, Reason, Role};
use epione_types::id::{ChainId, GrantId, OrgId, PatientId, RecordId, TimestampMs};
use serde_json::{Value, json};

use super::{identity, time};

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const PROFILE: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";

/// One decided access, as a node told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Block.
    pub height: Height,
    /// Place of the transaction in it.
    pub index: u32,
    /// Block time.
    pub at: TimestampMs,
    /// For which record.
    pub record: RecordId,
    /// Whose.
    pub patient: PatientId,
    /// Who asked; none for the holder of a guest link.
    pub who: Option<Person>,
    /// In which capacity.
    pub role: Role,
    /// Doing what.
    pub action: Action,
    /// For what.
    pub purpose: Purpose,
    /// What was decided.
    pub decision: Decision,
    /// Why, as far as the reader may know.
    pub reason: Reason,
    /// By which grant.
    pub grant: Option<GrantId>,
    /// With which duties.
    pub obligations: Vec<Obligation>,
    /// Grounds of an emergency.
    pub emergency: Option<Emergency>,
}

impl TryFrom<&pb::AccessEvent> for Access {
    type Error = ConvertError;
    fn try_from(event: &pb::AccessEvent) -> Result<Self, ConvertError> {
        let obligations = event.obligations.iter().map(|number| code_from_wire("obligations", *number));
        Ok(Self {
            height: Height(event.height),
            index: event.index,
            at: TimestampMs(event.block_time_ms),
            record: fixed("record_id", &event.record_id)?,
            patient: fixed("patient_id", &event.patient_id)?,
            who: event.requester.clone().map(Person::try_from).transpose()?,
            role: code_from_wire("role", event.role)?,
            action: code_from_wire("action", event.action)?,
            purpose: code_from_wire("purpose", event.purpose)?,
            decision: code_from_wire("decision", event.decision)?,
            reason: code_from_wire("reason", event.reason)?,
            grant: fixed_opt("grant_id", event.grant_id.as_ref())?,
            obligations: obligations.collect::<Result<_, _>>()?,
            emergency: event.emergency.clone().map(Emergency::try_from).transpose()?,
        })
    }
}

impl Access {
    /// Did something leave the custodian by it?
    #[must_use]
    pub fn released(&self) -> bool {
        self.decision == Decision::Permit && self.action != Action::Write
    }
}

/// What an audit says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRecord {
    /// Keeps the body.
    pub custodian: OrgId,
    /// Kind of record.
    pub category: Category,
    /// Sensitivity labels.
    pub labels: Vec<Label>,
}

impl TryFrom<&pb::Record> for KnownRecord {
    type Error = ConvertError;
    fn try_from(record: &pb::Record) -> Result<Self, ConvertError> {
        let labels = record.labels.iter().map(|number| code_from_wire("labels", *number));
        Ok(Self {
            custodian: fixed("custodian_org_id", &record.custodian_org_id)?,
            category: code_from_wire("category", record.category)?,
            labels: labels.collect::<Result<_, _>>()?,
        })
    }
}

/// The `AuditEvent`s of an access: of the decision, and of the release if there was one. `record` is none if the
/// reader may not know of it.
#[must_use]
pub fn audit_events(access: &Access, record: Option<&KnownRecord>, chain: ChainId) -> Vec<Value> {
    let mut events = vec![decision(access, chain)];
    if access.released() {
        events.push(disclosure(access, record, chain));
    }
    events
}

/// `IHE.BasicAudit.AuthZconsent`. Its entities are patient and consent and no other, so the record is a detail.
fn decision(access: &Access, chain: ChainId) -> Value {
    let ledger = ledger(chain);
    let permitted = access.decision == Decision::Permit;
    let organisation = match access.who {
        Some(Person::Practitioner(org, _)) => identity::org(org),
        Some(Person::Patient(_) | Person::Representative(_)) | None => {
            json!({"display": "none: the requester acts in no organisation's name"})
        }
    };
    let mut user =
        agent("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", requester(access));
    set(&mut user, "requestor", true.into());
    set(&mut user, "role", json!([{"coding": [{"system": "urn:epione:role", "code": access.role.name()}]}]));
    set(&mut user, "purposeOfUse", json!([purpose(access)]));
    let consent = match access.grant {
        Some(grant) => json!({"type": "Consent", "identifier": identity::identifier("grant", grant)}),
        // No grant of the patient's: what holds where there is none.
        None => json!({"type": "Consent", "identifier": identity::identifier("policy", "implicit")}),
    };
    let mut detail = vec![
        json!({"type": "record", "valueString": access.record.to_string()}),
        json!({"type": "action", "valueString": access.action.name()}),
    ];
    detail
        .extend(access.obligations.iter().map(|it| json!({"type": "obligation", "valueString": it.name()})));
    if let Some(emergency) = access.emergency {
        detail.push(json!({"type": "emergency", "valueString": emergency.reason.name()}));
    }
    let mut event = event(access, "decision", "AuthZconsent", ("110113", "Security Alert"), "E");
    let subtype = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType";
    set(&mut event, "subtype", json!([{"system": subtype, "code": "AuthZ-Consent"}]));
    set(&mut event, "outcome", if permitted { "0" } else { "8" }.into());
    set(&mut event, "outcomeDesc", access.reason.name().into());
    set(&mut event, "source", json!({"observer": ledger}));
    let client = networked(agent(DCM, "110150", ledger.clone()), "chain", chain);
    let organisation = agent("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV", organisation);
    let authorizer =
        agent("http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver", ledger);
    set(&mut event, "agent", json!([client, user, organisation, authorizer]));
    let consent = json!({
        "type": {"system": "http://hl7.org/fhir/resource-types", "code": "Consent"}, "what": consent, "detail": detail,
    });
    set(&mut event, "entity", json!([patient(access), consent]));
    event
}

/// `IHE.BasicAudit.PrivacyDisclosure.Source`: the custodian's record of a release.
fn disclosure(access: &Access, record: Option<&KnownRecord>, chain: ChainId) -> Value {
    let source = record.map_or_else(|| ledger(chain), |record| identity::org(record.custodian));
    let mut event = event(access, "disclosure", "PrivacyDisclosure.Source", ("110106", "Export"), "R");
    let lifecycle = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
    set(&mut event, "subtype", json!([{"system": lifecycle, "code": "disclose"}]));
    set(&mut event, "outcome", "0".into());
    set(&mut event, "outcomeDesc", access.reason.name().into());
    set(&mut event, "source", json!({"observer": source}));
    let mut authorizer = agent("http://snomed.info/sct", "429577009", identity::patient(access.patient));
    set(&mut authorizer, "requestor", (access.reason == Reason::PermitSubject).into());
    let agents = [
        networked(agent(DCM, "110153", source.clone()), "chain", chain),
        networked(agent(DCM, "110152", requester(access)), "chain", chain),
        agent("http://snomed.info/sct", "159541003", source),
        authorizer,
    ];
    set(&mut event, "agent", agents.to_vec().into());
    let mut data = json!({
        "type": {"system": ENTITY_TYPE, "code": "2", "display": "System Object"},
        "role": {"system": OBJECT_ROLE, "code": "3", "display": "Report"},
        "what": identity::record(access.record),
    });
    if let Some(record) = record {
        set(&mut data, "detail", json!([{"type": "category", "valueString": record.category.name()}]));
    }
    set(&mut event, "entity", json!([patient(access), data]));
    event
}

/// What all events have.
fn event(access: &Access, part: &str, profile: &str, (code, display): (&str, &str), action: &str) -> Value {
    json!({
        "resourceType": "AuditEvent",
        "id": format!("{}-{}-{part}", access.height, access.index),
        "meta": {"profile": [format!("{PROFILE}{profile}")]},
        "type": {"system": DCM, "code": code, "display": display},
        "action": action,
        "recorded": time::instant(access.at),
        "purposeOfEvent": [purpose(access)],
    })
}

fn agent(system: &str, code: &str, who: Value) -> Value {
    json!({"type": {"coding": [{"system": system, "code": code}]}, "who": who, "requestor": false})
}

/// BALP wants an address; the ledger has none but its own name.
fn networked(mut agent: Value, kind: &str, value: impl core::fmt::Display) -> Value {
    set(&mut agent, "network", json!({"address": format!("urn:epione:{kind}:{value}"), "type": "5"}));
    agent
}

fn ledger(chain: ChainId) -> Value {
    identity::reference("Device", "chain", chain)
}

fn requester(access: &Access) -> Value {
    access.who.map_or_else(|| json!({"display": "the holder of a guest link"}), identity::person)
}

fn purpose(access: &Access) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
    json!({"coding": [{"system": system, "code": access.purpose.name()}]})
}

fn patient(access: &Access) -> Value {
    json!({
        "type": {"system": ENTITY_TYPE, "code": "1", "display": "Person"},
        "role": {"system": OBJECT_ROLE, "code": "1", "display": "Patient"},
        "what": identity::patient(access.patient),
    })
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(field.to_owned(), value);
    }
}
