//! Every PERMIT in a block had a live rule at its place: a grant not revoked, or the requester's own organisation's care.
//!
//! Recomputed from the blocks alone, by a model that shares nothing with the contracts.

use std::collections::BTreeMap;

use epione_consensus::Payload;
use epione_types::call::{Call, CreateGrant, GrantKind};
use epione_types::codes::Decision;
use epione_types::event::Event;
use epione_types::id::{GrantId, PatientId};
use epione_types::{BlockHeader, Outcome, Receipt, TimestampMs};

use super::Check;

#[derive(Debug)]
struct Live {
    patient: PatientId,
    until: Option<TimestampMs>,
    uses_left: Option<u32>,
}

/// Grants in force.
#[derive(Debug, Default)]
pub(super) struct Permits {
    grants: BTreeMap<(PatientId, GrantId), Live>,
}

impl Permits {
    pub(super) fn executed(
        &mut self,
        header: &BlockHeader,
        payload: &Payload,
        receipts: &[Receipt],
    ) -> Check {
        for (tx, receipt) in payload.batch().txs().iter().zip(receipts) {
            if receipt.outcome != Outcome::Ok {
                if receipt.events.is_empty() {
                    continue;
                }
                return Err(format!("block {}: a refused transaction has events", header.height));
            }
            let Ok(body) = epione_proto::decode_body(&tx.body) else {
                return Err(format!("block {}: a body that does not decode has outcome OK", header.height));
            };
            match &body.call {
                Call::CreateGrant(CreateGrant { grant, patient, rule }) if rule.kind == GrantKind::Permit => {
                    let live = Live { patient: *patient, until: rule.until, uses_left: rule.max_uses };
                    self.grants.insert((*patient, *grant), live);
                }
                Call::RevokeGrant(revoke) => {
                    self.grants.remove(&(revoke.patient, revoke.grant));
                }
                Call::RecordAccess(_) => self.access(header, receipt)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn access(&mut self, header: &BlockHeader, receipt: &Receipt) -> Check {
        for event in &receipt.events {
            let Event::AccessDecided { decision: Decision::Permit, grant: Some(grant), patient, .. } = event
            else {
                continue;
            };
            let Some(patient) = patient else {
                return Err(format!("block {}: an access to nobody's record is permitted", header.height));
            };
            let live = self.grants.get_mut(&(*patient, *grant));
            let live = live.filter(|live| {
                live.patient == *patient
                    && live.until.is_none_or(|until| header.timestamp < until)
                    && live.uses_left != Some(0)
            });
            match live {
                Some(live) => live.uses_left = live.uses_left.map(|left| left - 1),
                None => {
                    return Err(format!(
                        "block {}: an access is permitted by grant {grant}, which is not in force",
                        header.height
                    ));
                }
            }
        }
        Ok(())
    }
}
