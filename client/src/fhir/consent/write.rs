//! A grant of the ledger as a Consent in the shape of IHE PCF: one root provision. What PCF has no element for (actions,
//! categories, uses, delegation) stands in a modifier extension, so that whoever does not know it must refuse it.

use epione_proto::ConvertError;
use epione_proto::convert::fixed;
use epione_proto::v1 as pb;
use epione_types::call::{DataPeriod, GrantKind, Labels, Month, Purposes, Rule};
use epione_types::codes::Label;
use epione_types::id::{GrantId, OrgId, PatientId, TimestampMs};
use serde_json::{Map, Value, json};

use super::read::default_actions;
use super::{ACT_CODE, ACT_REASON, CONFIDENTIALITY, OWN_LABEL, PARTICIPATION, RULE, SCOPE};
use crate::fhir::{identity, time};

/// A grant or denial as the ledger states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedGrant {
    /// Which.
    pub grant: GrantId,
    /// Whose records.
    pub patient: PatientId,
    /// What it says.
    pub rule: Rule,
    /// On whose word.
    pub source: pb::GrantSource,
    /// When it was made.
    pub created: TimestampMs,
    /// Was it revoked?
    pub revoked: bool,
}

impl TryFrom<&pb::Grant> for StatedGrant {
    type Error = ConvertError;
    fn try_from(grant: &pb::Grant) -> Result<Self, ConvertError> {
        Ok(Self {
            grant: fixed("grant_id", &grant.grant_id)?,
            patient: fixed("patient_id", &grant.patient_id)?,
            rule: grant.rule.clone().unwrap_or_default().try_into()?,
            source: grant.source(),
            created: TimestampMs(grant.created_ms),
            revoked: grant.revoked_ms.is_some(),
        })
    }
}

/// The Consent of a grant. `keepers` are the organisations that enforce it: those that care for the patient.
#[must_use]
pub fn write_consent(grant: &StatedGrant, keepers: &[OrgId]) -> Value {
    let StatedGrant { grant: id, patient, ref rule, source, created, revoked } = *grant;
    let word = if source == pb::GrantSource::Patient {
        identity::patient(patient)
    } else {
        json!({"display": source.as_str_name().trim_start_matches("GRANT_SOURCE_")})
    };
    let evidence = match rule.document {
        Some(hash) => json!({"identifier": identity::identifier("document", hash)}),
        None => json!({"identifier": identity::identifier("grant", id)}),
    };
    let mut consent = json!({
        "resourceType": "Consent",
        "id": id.to_string(),
        "meta": {"profile": ["https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentAdvanced"]},
        "identifier": [identity::identifier("grant", id)],
        "status": if revoked { "inactive" } else { "active" },
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": identity::patient(patient),
        "dateTime": time::instant(created),
        "performer": [word],
        "sourceReference": evidence,
        "policy": [{"uri": identity::policy(rule.policy)}],
        "provision": provision(rule),
    });
    if !keepers.is_empty() {
        let keepers: Vec<Value> = keepers.iter().map(|org| identity::org(*org)).collect();
        set(&mut consent, "organization", keepers.into());
    }
    consent
}

fn provision(rule: &Rule) -> Value {
    let kind = match rule.kind {
        GrantKind::Permit => "permit",
        GrantKind::Deny => "deny",
    };
    let mut provision = json!({"type": kind});
    // The last instant that is within: FHIR's periods hold their ends.
    let until = rule.until.map(|until| TimestampMs(until.0.saturating_sub(1)));
    set_period(&mut provision, "period", rule.from.map(time::instant), until.map(time::instant));
    if let Some(actor) = identity::grantee(rule.to) {
        let role = json!({"coding": [{"system": PARTICIPATION, "code": "IRCP"}]});
        set(&mut provision, "actor", json!([{"role": role, "reference": actor}]));
    }
    let labels: Vec<Value> = match &rule.labels {
        Labels::Any => vec![json!({"system": CONFIDENTIALITY, "code": "R"})],
        Labels::Only(labels) => labels.iter().map(|label| security_label(*label)).collect(),
    };
    set_list(&mut provision, "securityLabel", labels);
    if let Purposes::Only(purposes) = &rule.purposes {
        let purposes = purposes.iter().map(|purpose| json!({"system": ACT_REASON, "code": purpose.name()}));
        set_list(&mut provision, "purpose", purposes.collect());
    }
    if let Some(DataPeriod { from, until }) = rule.data_period {
        set_period(
            &mut provision,
            "dataPeriod",
            from.map(|month| month.to_string()),
            until.map(month_before),
        );
    }
    let data = rule.records.iter();
    let data = data.map(|id| json!({"meaning": "instance", "reference": identity::record(*id)}));
    set_list(&mut provision, "data", data.collect());
    let extension = extension(rule);
    if !extension.is_empty() {
        set(&mut provision, "modifierExtension", json!([{"url": RULE, "extension": extension}]));
    }
    provision
}

/// What PCF has no element for.
fn extension(rule: &Rule) -> Vec<Value> {
    let code = |url: &str, code: &str| json!({"url": url, "valueCode": code});
    let mut parts = Vec::new();
    if rule.actions != default_actions(rule.kind) {
        parts.extend(rule.actions.iter().map(|action| code("action", action.name())));
    }
    parts.extend(rule.categories.iter().map(|category| code("category", category.name())));
    if let Some(uses) = rule.max_uses {
        parts.push(json!({"url": "maxUses", "valuePositiveInt": uses}));
    }
    if rule.delegable {
        parts.push(json!({"url": "delegable", "valueBoolean": true}));
    }
    if let Some(parent) = rule.parent {
        parts.push(json!({"url": "parent", "valueString": parent.to_string()}));
    }
    parts
}

fn security_label(label: Label) -> Value {
    let own = [(Label::Part2, ACT_CODE, "42CFRPart2"), (Label::Other, OWN_LABEL, Label::Other.name())];
    let named = own.into_iter().find(|(own, ..)| *own == label);
    let (_, system, code) = named.unwrap_or((label, ACT_CODE, label.name()));
    json!({"system": system, "code": code})
}

fn month_before(month: Month) -> String {
    match (month.year(), month.month()) {
        (year, 1) => format!("{:04}-12", year - 1),
        (year, month) => format!("{year:04}-{:02}", month - 1),
    }
}

fn set_period(object: &mut Value, field: &str, start: Option<String>, end: Option<String>) {
    let ends = [("start", start), ("end", end)];
    let ends: Map<String, Value> =
        ends.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))).collect();
    // A period of neither end says nothing.
    if !ends.is_empty() {
        set(object, field, ends.into());
    }
}

fn set_list(object: &mut Value, field: &str, list: Vec<Value>) {
    if !list.is_empty() {
        set(object, field, list.into());
    }
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(field.to_owned(), value);
    }
}
