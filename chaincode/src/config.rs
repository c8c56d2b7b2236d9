//! Constants of the chain, in the state from genesis on: governance will change them there, never a node's own file.

use std::collections::BTreeSet;

use epione_types::genesis::{Genesis, Policy};
use epione_types::id::OrgId;
use epione_types::{ChainId, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::host::{Overlay, State, StateError, get};
use crate::keys;

/// What never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Hash of the genesis.
    pub chain_id: ChainId,
    /// Sealed time of height 0.
    pub genesis_time: TimestampMs,
}

/// Constants of the access policy now in force.
///
/// # Errors
/// The store failed, or the state has no policy: it was not made from a genesis.
pub fn policy(state: &dyn State) -> Result<Policy, StateError> {
    let key = keys::policy();
    get(state, &key)?.ok_or_else(|| StateError::damaged(key.as_bytes(), "no policy"))
}

/// Organisations that run a validator, ascending.
///
/// # Errors
/// The store failed, or the state has none: it was not made from a genesis.
pub fn validator_organisations(state: &dyn State) -> Result<Vec<OrgId>, StateError> {
    let key = keys::validators();
    get(state, &key)?.ok_or_else(|| StateError::damaged(key.as_bytes(), "no validators"))
}

pub(crate) fn found(overlay: &mut Overlay<'_>, genesis: &Genesis) {
    overlay.put(&keys::chain(), &Chain { chain_id: genesis.chain_id(), genesis_time: genesis.timestamp });
    overlay.put(&keys::policy(), &genesis.policy);
    let organisations: BTreeSet<OrgId> =
        genesis.validators.validators.iter().map(|validator| validator.organisation).collect();
    overlay.put(&keys::validators(), &organisations.into_iter().collect());
}
