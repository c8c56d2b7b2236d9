//! Consent, emergency, proof, and what the nodes say at the end.

use std::time::Duration;

use epione_client::EpioneClient;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_testnet::local::Network;
use epione_types::Height;
use epione_types::call::{
    Call, CreateGrant, Emergency, GrantKind, Grantee, Labels, Person, Purposes, RecordAccess, RevokeGrant,
    Rule,
};
use epione_types::codes::{Action, Decision, EmergencyReason, Purpose, Reason, Role};
use epione_types::event::Event;
use epione_types::id::{GrantId, RecordId};
use prost::Message as _;
use serde_json::{Value, json};

use super::cast::{Cast, Final, commit};
use super::{must, say};
use crate::commands::receipt;
use crate::error::CliError;
use crate::output::Fields;
use crate::request;

/// How often a node that catches up is asked again.
const POLL: Duration = Duration::from_millis(50);

/// What was decided in the story, in order.
pub(super) struct Consent {
    accesses: Vec<Value>,
    /// The grant's proof.
    grant: Final,
    latencies: Vec<Duration>,
}

impl Consent {
    pub(super) fn fields(&self) -> Fields {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Fields::new().with("accesses", self.accesses.clone()).ms("transaction_latency_ms", median)
    }
}

fn access(record: RecordId, emergency: Option<Emergency>) -> RecordAccess {
    let purpose = if emergency.is_some() { Purpose::Btg } else { Purpose::Treat };
    RecordAccess { emergency, ..RecordAccess::new(record, Role::Physician, Action::Read, purpose) }
}

/// A foreign doctor is denied, is permitted by the patient's grant, is denied after its end, and breaks the glass.
pub(super) async fn consent(cast: &Cast) -> Result<Consent, CliError> {
    let (anna, foreign) = (cast.anna()?, cast.hospital(1)?);
    let mut told = Vec::new();
    let mut latencies = Vec::new();
    let mut ask = async |what: &str, emergency: Option<Emergency>, wanted: Decision, why: Option<Reason>| {
        let done =
            commit(&foreign.client, &foreign.doctor, Call::RecordAccess(access(anna.record, emergency)))
                .await?;
        let decided = done.receipt.events.iter().find_map(|event| {
            let Event::AccessDecided { decision, reason, .. } = event else { return None };
            Some((*decision, *reason))
        });
        let Some((decision, reason)) = decided else {
            return Err(CliError::failed("an access without a decision"));
        };
        must(decision == wanted && why.is_none_or(|why| why == reason), || {
            format!("{what}: {decision} ({reason}), wanted {wanted}")
        })?;
        say(format_args!("{what}: {decision} ({reason}) in block {}", done.receipt.height));
        told.push(json!(format!("{what}: {decision}")));
        latencies.push(done.latency);
        Ok::<Final, CliError>(done)
    };
    ask("a foreign doctor asks", None, Decision::Deny, None).await?;

    let grant = request::new_id(GrantId)?;
    let rule = Rule {
        kind: GrantKind::Permit,
        to: Grantee::Person(Person::Practitioner(foreign.org, foreign.practitioner)),
        purposes: Purposes::Only(vec![Purpose::Treat]),
        actions: vec![Action::Read],
        categories: Vec::new(),
        records: Vec::new(),
        labels: Labels::Only(Vec::new()),
        data_period: None,
        from: None,
        until: None,
        max_uses: None,
        delegable: false,
        parent: None,
        policy: None,
        document: None,
    };
    let call = Call::CreateGrant(CreateGrant { grant, patient: anna.id, rule });
    let granted = commit(&anna.client, &anna.key, call).await?;
    say(format_args!("the patient grants, with her own key, in block {}", granted.receipt.height));
    ask("after the grant", None, Decision::Permit, Some(Reason::PermitGrant)).await?;

    let call = Call::RevokeGrant(RevokeGrant { patient: anna.id, grant, document: None });
    let revoked = commit(&anna.client, &anna.key, call).await?;
    say(format_args!("the patient revokes in block {}", revoked.receipt.height));
    ask("after the revocation", None, Decision::Deny, None).await?;

    // A commitment stands for the reason in writing, which stays with the hospital.
    let text_commitment = Some(request::empty_commitment()?);
    let emergency = Some(Emergency { reason: EmergencyReason::Unconscious, text_commitment });
    let opened = ask("in an emergency", emergency, Decision::Permit, Some(Reason::PermitBreakGlass)).await?;
    must(opened.receipt.events.iter().any(|event| matches!(event, Event::OverrideOpened { .. })), || {
        "the emergency access opened no override".to_owned()
    })?;
    latencies.extend([granted.latency, revoked.latency]);
    Ok(Consent { accesses: told, grant: granted, latencies })
}

/// The grant's receipt is verified with the genesis alone, and not after one bit is flipped.
pub(super) fn receipt(cast: &Cast, consent: &Consent) -> Result<Fields, CliError> {
    let bytes = consent.grant.proof.encode_to_vec();
    let (proven, _) = receipt::verify(&cast.trust, &bytes)?;
    must(proven == consent.grant.receipt, || "the proof is of another receipt".to_owned())?;
    say(format_args!("the grant's receipt ({} bytes) verifies offline, with the genesis alone", bytes.len()));
    // In the transaction's id: it still decodes, and says that another transaction was applied.
    let mut proof = consent.grant.proof.clone();
    let mut flipped = proof.receipt_bytes.to_vec();
    if let Some(byte) = flipped.get_mut(2) {
        *byte ^= 1;
    }
    proof.receipt_bytes = flipped.into();
    let refused = receipt::verify(&cast.trust, &proof.encode_to_vec());
    must(refused.is_err(), || "a receipt with a flipped bit verified".to_owned())?;
    let reason = refused.err().map(|error| error.message).unwrap_or_default();
    say(format_args!("with one bit flipped it does not: {reason}"));
    Ok(Fields::new()
        .with("receipt_verified_offline", true)
        .with("receipt_with_a_bit_flipped", "refused")
        .text("receipt", consent.grant.receipt.tx_id))
}

/// What the nodes say: the traces of every access, and one state root at a certified height above the last transaction.
pub(super) async fn ending(cast: &Cast, network: &Network, loaded: Height) -> Result<Fields, CliError> {
    let anna = cast.anna()?;
    let request = pb::ListAccessEventsRequest { patient_id: raw(anna.id.0), ..Default::default() };
    let events = anna.client.list_access_events(request).await?.events;
    let permitted = events.iter().filter(|event| event.decision() == pb::Decision::Permit).count();
    let emergencies = events.iter().filter(|event| event.emergency.is_some()).count();
    must((events.len(), permitted, emergencies) == (4, 2, 1), || {
        format!(
            "the patient sees {} accesses, {permitted} permitted, {emergencies} in an emergency; 4, 2 and 1 were made",
            events.len()
        )
    })?;
    let request = pb::ListOverridesRequest { patient_id: raw(anna.id.0), ..Default::default() };
    let overrides = anna.client.list_overrides(request).await?.overrides;
    must(overrides.len() == 1, || {
        format!("the patient sees {} emergency overrides; 1 was opened", overrides.len())
    })?;
    say("the patient sees all four accesses and the emergency override");

    // One transaction through every node, the one that returned among them: the last certified height is above the load.
    let mut last = Height::ZERO;
    for hospital in &cast.hospitals {
        let call = Call::RecordAccess(access(anna.record, None));
        let done = commit(&hospital.own_node, &hospital.doctor, call).await?;
        last = last.max(done.receipt.height);
    }
    must(last > loaded, || {
        format!("the last transactions stand in block {last}, not above the load's last block {loaded}")
    })?;
    let mut roots = Vec::new();
    for (node, hospital) in cast.hospitals.iter().enumerate() {
        let header = header_at(&hospital.own_node, last)
            .await
            .map_err(|error| error.during(&format!("node {node}")))?;
        roots.push(header.state_root);
    }
    let first = roots.first().copied().unwrap_or(epione_types::Hash::ZERO);
    must(roots.len() == network.len() && roots.iter().all(|root| *root == first), || {
        format!("the state roots at height {last} differ: {roots:?}")
    })?;
    say(format_args!("all {} state roots at height {last} are equal", roots.len()));
    Ok(Fields::new()
        .with("access_events", events.len())
        .with("emergency_overrides", overrides.len())
        .with("height", last.0)
        .text("state_root", first)
        .list("state_roots", roots))
}

/// A node's own header at a height, verified, once the node has certified it.
async fn header_at(node: &EpioneClient, height: Height) -> Result<epione_types::BlockHeader, CliError> {
    let wait = async {
        while node.get_status(pb::GetStatusRequest {}).await?.certified_height < height.0 {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, CliError>(node.certified_header(Some(height)).await?)
    };
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(header) => header,
        Err(_) => Err(CliError::failed(format!("did not certify height {height} within 30 s"))),
    }
}
