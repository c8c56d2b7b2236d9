//! Opting out: nobody may anything, and what was permitted ends with it.
//!
//! A denial to everybody does not cancel a narrower permit. So a patient who opts out ends the permits too, unless told
//! otherwise, and is answered with the list of those that are still open. Tested by `tests/optout.rs`.

use epione_types::call::{GrantKind, Grantee, Labels, Purposes, Rule, SetOptOut};
use epione_types::codes::Action;
use epione_types::event::Event;

use super::{Grant, end, make, rules};
use crate::host::{Done, Host};
use crate::identity::patients;
use crate::voice::{self, Matter};

/// Signed by whoever speaks for the patient.
pub(crate) fn set(host: &mut Host<'_, '_>, call: &SetOptOut) -> Done {
    let patient = patients::known(host, call.patient)?;
    let basis = voice::spoken(host, call.patient, &patient, &Matter::general(call.document))?;
    let now = host.now();
    let open = |grant: &Grant| grant.rule.kind == GrantKind::Permit && !grant.is_over(now);
    let permits: Vec<Grant> = rules(host.state(), call.patient, &patient)?.into_iter().filter(open).collect();
    let (mut revoked, mut still_open) = (0, Vec::new());
    for grant in permits {
        if call.keep_permits {
            still_open.push(grant.id);
        } else {
            end(host, call.patient, grant, basis)?;
            revoked += 1;
        }
    }
    make(host, call.patient, call.grant, denial(call), basis)?;
    host.emit(Event::OptedOut { patient: call.patient, grant: call.grant, revoked, still_open });
    Ok(())
}

fn denial(call: &SetOptOut) -> Rule {
    Rule {
        kind: GrantKind::Deny,
        to: Grantee::Any,
        purposes: Purposes::All,
        actions: Action::ALL.to_vec(),
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
        document: call.document,
    }
}
