//! What each holder has of a patient in total: kept so that "this hospital held no grant" can be proven.
//!
//! Counted from a permit's creation until it is taken back or put away. Tested by `tests/consent.rs`, and against the
//! grants themselves after every block (`invariants`).

use epione_types::call::{GrantKind, Rule};
use epione_types::holding::{Holder, Holding};
use epione_types::id::PatientId;

use crate::host::{Done, Host, StateError};
use crate::keys;

fn holder(rule: &Rule) -> Option<Holder> {
    if rule.kind == GrantKind::Permit { Holder::of(rule) } else { None }
}

/// A permit more.
pub(super) fn add(host: &mut Host<'_, '_>, patient: PatientId, rule: &Rule) -> Done {
    let Some(holder) = holder(rule) else { return Ok(()) };
    let key = keys::holding(patient, holder);
    let holding = match host.get(&key)? {
        Some(Holding { permits, until }) => Holding {
            permits: permits.saturating_add(1),
            until: until.zip(rule.until).map(|(one, other)| one.max(other)),
        },
        None => Holding { permits: 1, until: rule.until },
    };
    host.put(&key, &holding);
    Ok(())
}

/// A permit less.
pub(super) fn remove(host: &mut Host<'_, '_>, patient: PatientId, rule: &Rule) -> Done {
    let Some(holder) = holder(rule) else { return Ok(()) };
    let key = keys::holding(patient, holder);
    let damaged = || StateError::damaged(key.as_bytes(), "a permit that was never counted");
    let holding = host.get(&key)?.ok_or_else(damaged)?;
    if holding.permits > 1 {
        host.put(&key, &Holding { permits: holding.permits - 1, ..holding });
    } else {
        host.delete(&key);
    }
    Ok(())
}
