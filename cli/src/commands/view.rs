//! What nodes answer, as fields to show.

use epione_client::LedgerEvent;
use epione_proto::ConvertError;
use epione_proto::convert::{Code, code_from_wire, fixed};
use epione_proto::v1 as pb;
use epione_types::TimestampMs;
use epione_types::call::{GrantKind, Grantee, Labels, Person, Purposes, Rule};
use epione_types::codes::{
    AccessRequestStatus, Action, Capability, Category, Decision, EmergencyReason, Label, NoticeKind,
    Obligation, OrganisationKind, OverrideStatus, Purpose, Reason, RepresentationKind, RepresentationStatus,
    Role,
};
use epione_types::event::Event;
use serde_json::{Value, json};

use crate::error::{About as _, CliError};
use crate::output::Fields;
use crate::session::hex;
use crate::time;

type Viewed = Result<Fields, ConvertError>;

pub(crate) fn name<T: Code + std::fmt::Display>(field: &str, number: i32) -> Result<String, ConvertError> {
    code_from_wire::<T>(field, number).map(|code| code.to_string())
}

fn names<T: Code + std::fmt::Display>(field: &str, numbers: &[i32]) -> Result<Vec<String>, ConvertError> {
    numbers.iter().map(|number| name::<T>(field, *number)).collect()
}

fn status(status: pb::MemberStatus) -> &'static str {
    match status {
        pb::MemberStatus::Unspecified => "UNSPECIFIED",
        pb::MemberStatus::Active => "ACTIVE",
        pb::MemberStatus::Suspended => "SUSPENDED",
        pb::MemberStatus::Ended => "ENDED",
    }
}

fn at(ms: u64) -> String {
    time::show(TimestampMs(ms))
}

/// An id or nothing.
fn id_or_null(bytes: Option<&bytes::Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| Value::from(hex(bytes)))
}

/// As of when a node answered.
pub(crate) fn context(context: Option<&pb::ReadContext>) -> Fields {
    Fields::new().with("as_of_height", context.map_or(0, |context| context.height))
}

pub(crate) fn org(org: &pb::Org) -> Viewed {
    Ok(Fields::new()
        .text("org", hex(&org.org_id))
        .with("kind", name::<OrganisationKind>("kind", org.kind)?)
        .with("status", status(org.status()))
        .list("admins", org.admins.iter().map(|key| hex(key)))
        .with("admin_threshold", org.admin_threshold)
        .with("break_glass", org.break_glass))
}

pub(crate) fn practitioner(practitioner: &pb::Practitioner) -> Viewed {
    Ok(Fields::new()
        .text("org", hex(&practitioner.org_id))
        .text("practitioner", hex(&practitioner.practitioner_id))
        .with("status", status(practitioner.status()))
        .list("roles", names::<Role>("roles", &practitioner.roles)?)
        .list("capabilities", names::<Capability>("capabilities", &practitioner.capabilities)?)
        .maybe("credential_until", practitioner.credential_until_ms.map(at))
        .text("public_key", hex(&practitioner.public_key))
        .text("identity_commitment", hex(&practitioner.identity_commitment)))
}

pub(crate) fn patient(patient: &pb::Patient) -> Viewed {
    Ok(Fields::new()
        .text("patient", hex(&patient.patient_id))
        .with("status", status(patient.status()))
        .list("care_orgs", patient.care_org_ids.iter().map(|id| hex(id)))
        .with("public_key", id_or_null(patient.public_key.as_ref()))
        .text("notice_hash", hex(&patient.notice_hash)))
}

pub(crate) fn record(record: &pb::Record) -> Viewed {
    let month = record.service_month;
    Ok(Fields::new()
        .text("record", hex(&record.record_id))
        .with("category", name::<Category>("category", record.category)?)
        .list("labels", names::<Label>("labels", &record.labels)?)
        .text("month", format!("{:04}-{:02}", month / 100, month % 100))
        .text("custodian", hex(&record.custodian_org_id))
        .text("patient", hex(&record.patient_id)))
}

/// The rest of a record, for a single one.
pub(crate) fn record_details(record: &pb::Record) -> Fields {
    let author = record.author.clone().unwrap_or_default();
    Fields::new()
        .text("author", format!("{}/{}", hex(&author.org_id), hex(&author.practitioner_id)))
        .text("commitment", hex(&record.commitment))
        .text("ciphertext_hash", hex(&record.ciphertext_hash))
        .with("size_class", record.size_class)
        .text("pointer", hex(&record.pointer))
        .with("minor_consented", record.minor_consented)
}

/// To whom, as `--to` reads it.
pub(crate) fn grantee(to: Grantee) -> String {
    match to {
        Grantee::Any => "everybody".to_owned(),
        Grantee::Org(org) => format!("org:{org}"),
        Grantee::Role(org, role) => format!("role:{org}/{role}"),
        Grantee::Person(Person::Practitioner(org, id)) => format!("person:{org}/{id}"),
        Grantee::Person(Person::Patient(id)) => format!("patient:{id}"),
        Grantee::Person(Person::Representative(id)) => format!("representative:{id}"),
        Grantee::Study(id) => format!("study:{id}"),
        Grantee::Guest(id) => format!("link:{id}"),
    }
}

/// What a rule says, but for how often it may be used.
pub(crate) fn rule(rule: &Rule) -> Fields {
    let purposes: Vec<String> = match &rule.purposes {
        Purposes::All => vec!["all".to_owned()],
        Purposes::Only(only) => only.iter().map(ToString::to_string).collect(),
    };
    let labels: Vec<String> = match &rule.labels {
        Labels::Any => vec!["any".to_owned()],
        Labels::Only(only) => only.iter().map(ToString::to_string).collect(),
    };
    let kind = match rule.kind {
        GrantKind::Permit => "PERMIT",
        GrantKind::Deny => "DENY",
    };
    Fields::new()
        .with("kind", kind)
        .with("to", grantee(rule.to))
        .list("purposes", purposes)
        .list("actions", &rule.actions)
        .list("categories", &rule.categories)
        .list("records", &rule.records)
        .list("labels", labels)
        .maybe("from", rule.from.map(time::show))
        .maybe("until", rule.until.map(time::show))
}

pub(crate) fn grant(grant: &pb::Grant) -> Viewed {
    let rule = Rule::try_from(grant.rule.clone().unwrap_or_default())?;
    let source = match grant.source() {
        pb::GrantSource::Unspecified => "UNSPECIFIED",
        pb::GrantSource::Patient => "PATIENT",
        pb::GrantSource::Representative => "REPRESENTATIVE",
        pb::GrantSource::Attested => "ATTESTED",
        pb::GrantSource::Delegated => "DELEGATED",
    };
    Ok(Fields::new()
        .text("grant", hex(&grant.grant_id))
        .and(self::rule(&rule))
        .with("uses", grant.uses)
        .with("max_uses", rule.max_uses)
        .with("source", source)
        .text("created", at(grant.created_ms))
        .maybe("revoked", grant.revoked_ms.map(at)))
}

/// A practitioner, as `--holder` reads it.
fn practitioner_of(found: Option<&pb::PractitionerRef>) -> Option<String> {
    found.map(|it| format!("person:{}/{}", hex(&it.org_id), hex(&it.practitioner_id)))
}

pub(crate) fn access_request(request: &pb::AccessRequest) -> Viewed {
    let rule = Rule::try_from(request.rule.clone().unwrap_or_default())?;
    Ok(Fields::new()
        .text("request", hex(&request.access_request_id))
        .maybe("requester", practitioner_of(request.requester.as_ref()))
        .with("status", name::<AccessRequestStatus>("status", request.status)?)
        .and(self::rule(&rule))
        .text("asked", at(request.created_ms))
        .text("answer_until", at(request.expires_ms))
        .with("grant", id_or_null(request.grant_id.as_ref())))
}

pub(crate) fn representation(it: &pb::Representation) -> Viewed {
    let person = Person::try_from(it.person.clone().unwrap_or_default())?;
    Ok(Fields::new()
        .with("person", grantee(Grantee::Person(person)))
        .with("kind", name::<RepresentationKind>("kind", it.kind)?)
        .with("status", name::<RepresentationStatus>("status", it.status)?)
        .text("from", at(it.from_ms))
        .maybe("until", it.until_ms.map(at))
        .list("categories", names::<Category>("categories", &it.categories)?)
        .maybe("revoked", it.revoked_ms.map(at)))
}

/// `notice` is what `patient acknowledge --notice` reads.
pub(crate) fn notice(it: &pb::Notice) -> Viewed {
    Ok(Fields::new()
        .text("notice", format_args!("{}/{}", it.height, it.index))
        .text("time", at(it.block_time_ms))
        .with("kind", name::<NoticeKind>("kind", it.kind)?)
        .maybe("practitioner", practitioner_of(it.practitioner.as_ref()))
        .with("record", id_or_null(it.record_id.as_ref()))
        .with("seen", it.acknowledged_ms.is_some()))
}

pub(crate) fn emergency(it: &pb::Override) -> Viewed {
    Ok(Fields::new()
        .with("height", it.height)
        .maybe("holder", practitioner_of(it.practitioner.as_ref()))
        .with("grounds", name::<EmergencyReason>("reason", it.reason)?)
        .with("status", name::<OverrideStatus>("status", it.status)?)
        .text("opened", at(it.opened_ms))
        .text("ends", at(it.expires_ms))
        .text("review_until", at(it.review_due_ms)))
}

pub(crate) fn decision(answer: &pb::CheckAccessResponse) -> Viewed {
    Ok(Fields::new()
        .with("decision", name::<Decision>("decision", answer.decision)?)
        .with("reason", name::<Reason>("reason", answer.reason)?)
        .with("grant", id_or_null(answer.grant_id.as_ref()))
        .list("obligations", names::<Obligation>("obligations", &answer.obligations)?))
}

pub(crate) fn access_event(event: &pb::AccessEvent) -> Viewed {
    let requester = match event.requester.clone() {
        Some(person) => grantee(Grantee::Person(Person::try_from(person)?)),
        None => "-".to_owned(),
    };
    let emergency =
        event.emergency.as_ref().map(|it| name::<EmergencyReason>("emergency", it.reason)).transpose()?;
    Ok(Fields::new()
        .with("height", event.height)
        .with("index", event.index)
        .text("time", at(event.block_time_ms))
        .text("record", hex(&event.record_id))
        .with("requester", requester)
        .with("role", name::<Role>("role", event.role)?)
        .with("action", name::<Action>("action", event.action)?)
        .with("purpose", name::<Purpose>("purpose", event.purpose)?)
        .with("decision", name::<Decision>("decision", event.decision)?)
        .with("reason", name::<Reason>("reason", event.reason)?)
        .with("grant", id_or_null(event.grant_id.as_ref()))
        .with("emergency", emergency))
}

/// An event's name, and what it says.
pub(crate) fn named(event: &Event) -> Result<(String, Value), CliError> {
    // One name with its fields, as serde writes a variant.
    let event = serde_json::to_value(event).about("an event cannot be shown")?;
    let variant = event.as_object().and_then(|event| event.iter().next());
    Ok(variant.map(|(name, detail)| (name.clone(), detail.clone())).unwrap_or_default())
}

/// An event: its place, its name, and what it says.
pub(crate) fn event(it: &LedgerEvent) -> Result<Fields, CliError> {
    let (name, detail) = named(&it.event)?;
    Ok(Fields::new()
        .with("height", it.cursor.height.0)
        .with("index", it.cursor.index)
        .text("time", time::show(it.time))
        .with("event", name)
        .with("detail", detail)
        .text("transaction", it.tx_id))
}

/// A node as its operator sees it.
pub(crate) fn node_status(status: &pb::GetNodeStatusResponse) -> Fields {
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    let offences = status.peers.iter().flat_map(|peer| &peer.offences);
    Fields::new()
        .with("role", node_role(status.role()))
        .with("epoch", status.epoch)
        .with("view", status.view)
        .with("height", status.height)
        .with("certified", status.low)
        .with("peers", format!("{connected}/{}", status.peers.len()))
        .with("strikes", offences.filter(|offence| offence.strike).map(|offence| offence.count).sum::<u64>())
        .with("waiting_tx", status.mempool_transactions)
        .with("waiting_for", status.waiting_for.clone())
}

/// Whether it is ready, why it left views, and each peer as it sees it.
pub(crate) fn node_peers(status: &pb::GetNodeStatusResponse) -> Fields {
    let left = status.views_left.iter().map(|it| format!("{} {}", it.reason, it.count));
    let peer = |peer: &pb::Peer| {
        json!({
            "validator": peer.validator,
            "organisation": hex(&peer.org_id),
            "connected": peer.connected,
            "lag": peer.lag,
            "rtt_us": peer.rtt_us,
            "votes": format!("{}/{}", peer.votes, status.certificates),
            "ready": peer.ready,
        })
    };
    Fields::new()
        .with("ready", status.ready)
        .list("views_left", left)
        .with("validators", status.peers.iter().map(peer).collect::<Vec<_>>())
}

fn node_role(role: pb::NodeRole) -> &'static str {
    match role {
        pb::NodeRole::Unspecified => "UNSPECIFIED",
        pb::NodeRole::Primary => "PRIMARY",
        pb::NodeRole::Backup => "BACKUP",
        pb::NodeRole::Follower => "FOLLOWER",
        pb::NodeRole::Halted => "HALTED",
    }
}

/// A header of the API.
pub(crate) fn header(header: &pb::BlockHeader, hash: &[u8]) -> Result<Fields, ConvertError> {
    let _whole: epione_types::Hash = fixed("state_root", &header.state_root)?;
    Ok(Fields::new()
        .with("height", header.height)
        .text("hash", hex(hash))
        .text("parent", hex(&header.parent))
        .with("epoch", header.epoch)
        .text("time", at(header.timestamp_ms))
        .text("transactions_root", hex(&header.transactions_root))
        .text("receipts_root", hex(&header.receipts_root))
        .text("state_root", hex(&header.state_root)))
}
