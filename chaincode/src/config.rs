//! Constants of the chain, in the state from genesis on: organisations change them by vote, never a node's own file.
//!
//! What genesis sets ([`Policy`]) and what it leaves at its default ([`Constants`]) are both read once a block: a
//! change holds from the next block on.

use core::ops::RangeInclusive;
use std::collections::BTreeSet;

use epione_types::codes::PolicyConstant;
use epione_types::genesis::{Genesis, NextEpoch, Policy, ValidatorSet};
use epione_types::id::OrgId;
use epione_types::{ChainId, Height, PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::consent::RULES_HARD_MAX;
use crate::host::{Overlay, State, StateError, get};
use crate::keys;

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Hash of the genesis.
    pub chain_id: ChainId,
    /// Sealed time of height 0.
    pub genesis_time: TimestampMs,
}

/// Constants that genesis does not name: absent from the state until a vote changes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constants {
    /// Most live grants and denials of one patient.
    pub live_rules_max: u64,
    /// How long a patient has to review a report, in milliseconds.
    pub report_review_ms: u64,
    /// Longest life of a guest link, in milliseconds.
    pub link_ms: u64,
    /// Longest life of a request for access, in milliseconds.
    pub access_request_ms: u64,
    /// How long a recovery can be stopped by the old key, in milliseconds.
    pub recovery_delay_ms: u64,
    /// From which age a minor has privacy before a parent, in years.
    pub minor_privacy_age: u64,
    /// Majority, in years.
    pub majority_age: u64,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            live_rules_max: 512,
            report_review_ms: 14 * DAY_MS,
            link_ms: 30 * DAY_MS,
            access_request_ms: 90 * DAY_MS,
            recovery_delay_ms: 72 * HOUR_MS,
            minor_privacy_age: 12,
            majority_age: 18,
        }
    }
}

/// All constants in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What genesis set.
    pub policy: Policy,
    /// The others.
    pub constants: Constants,
}

impl Settings {
    /// The values that a constant may have.
    #[must_use]
    pub const fn limits(constant: PolicyConstant) -> RangeInclusive<u64> {
        match constant {
            PolicyConstant::OrganisationSignatures => 1..=64,
            PolicyConstant::OverrideOpenMs => 600_000..=DAY_MS,
            PolicyConstant::OverrideReviewMs => HOUR_MS..=30 * DAY_MS,
            PolicyConstant::OverdueReviewsMax => 1..=100,
            PolicyConstant::LiveRulesMax => 16..=RULES_HARD_MAX as u64,
            PolicyConstant::ReportReviewMs => DAY_MS..=365 * DAY_MS,
            PolicyConstant::LinkMs => HOUR_MS..=365 * DAY_MS,
            PolicyConstant::AccessRequestMs => HOUR_MS..=365 * DAY_MS,
            PolicyConstant::RecoveryDelayMs => DAY_MS..=30 * DAY_MS,
            PolicyConstant::MinorPrivacyAge | PolicyConstant::MajorityAge => 1..=30,
        }
    }

    /// The values that a constant may have on this chain: one for tests and demonstrations need not wait for days.
    #[must_use]
    pub fn limits_here(&self, constant: PolicyConstant) -> RangeInclusive<u64> {
        let limits = Self::limits(constant);
        match constant {
            PolicyConstant::OverrideOpenMs
            | PolicyConstant::OverrideReviewMs
            | PolicyConstant::ReportReviewMs
            | PolicyConstant::LinkMs
            | PolicyConstant::AccessRequestMs
            | PolicyConstant::RecoveryDelayMs
                if self.policy.allow_sensitive_in_clear =>
            {
                SECOND_MS..=*limits.end()
            }
            PolicyConstant::OrganisationSignatures
            | PolicyConstant::OverrideOpenMs
            | PolicyConstant::OverrideReviewMs
            | PolicyConstant::OverdueReviewsMax
            | PolicyConstant::LiveRulesMax
            | PolicyConstant::ReportReviewMs
            | PolicyConstant::LinkMs
            | PolicyConstant::AccessRequestMs
            | PolicyConstant::RecoveryDelayMs
            | PolicyConstant::MinorPrivacyAge
            | PolicyConstant::MajorityAge => limits,
        }
    }

    /// The value of a constant.
    #[must_use]
    pub fn get(&self, constant: PolicyConstant) -> u64 {
        let Self { policy, constants } = self;
        match constant {
            PolicyConstant::OrganisationSignatures => policy.organisation_signatures.into(),
            PolicyConstant::OverrideOpenMs => policy.override_open_ms,
            PolicyConstant::OverrideReviewMs => policy.override_review_ms,
            PolicyConstant::OverdueReviewsMax => policy.overdue_reviews_max.into(),
            PolicyConstant::LiveRulesMax => constants.live_rules_max,
            PolicyConstant::ReportReviewMs => constants.report_review_ms,
            PolicyConstant::LinkMs => constants.link_ms,
            PolicyConstant::AccessRequestMs => constants.access_request_ms,
            PolicyConstant::RecoveryDelayMs => constants.recovery_delay_ms,
            PolicyConstant::MinorPrivacyAge => constants.minor_privacy_age,
            PolicyConstant::MajorityAge => constants.majority_age,
        }
    }

    /// Sets a constant; `value` is within its limits.
    pub(crate) fn set(&mut self, constant: PolicyConstant, value: u64) {
        let Self { policy, constants } = self;
        match constant {
            PolicyConstant::OrganisationSignatures => {
                policy.organisation_signatures = u16::try_from(value).unwrap_or(u16::MAX);
            }
            PolicyConstant::OverrideOpenMs => policy.override_open_ms = value,
            PolicyConstant::OverrideReviewMs => policy.override_review_ms = value,
            PolicyConstant::OverdueReviewsMax => {
                policy.overdue_reviews_max = u32::try_from(value).unwrap_or(u32::MAX);
            }
            PolicyConstant::LiveRulesMax => constants.live_rules_max = value,
            PolicyConstant::ReportReviewMs => constants.report_review_ms = value,
            PolicyConstant::LinkMs => constants.link_ms = value,
            PolicyConstant::AccessRequestMs => constants.access_request_ms = value,
            PolicyConstant::RecoveryDelayMs => constants.recovery_delay_ms = value,
            PolicyConstant::MinorPrivacyAge => constants.minor_privacy_age = value,
            PolicyConstant::MajorityAge => constants.majority_age = value,
        }
    }
}

/// Constants of the access policy now in force.
///
/// # Errors
/// The store failed, or the state has no policy: it was not made from a genesis.
pub fn policy(state: &dyn State) -> Result<Policy, StateError> {
    let key = keys::policy();
    get(state, &key)?.ok_or_else(|| StateError::damaged(key.as_bytes(), "no policy"))
}

/// All constants now in force.
///
/// # Errors
/// As [`policy`].
pub fn settings(state: &dyn State) -> Result<Settings, StateError> {
    let constants = get(state, &keys::constants())?.unwrap_or_default();
    Ok(Settings { policy: policy(state)?, constants })
}

/// Organisations that run a validator, ascending.
///
/// # Errors
/// The store failed, or the state has none: it was not made from a genesis.
pub fn validator_organisations(state: &dyn State) -> Result<Vec<OrgId>, StateError> {
    let key = keys::validators();
    get(state, &key)?.ok_or_else(|| StateError::damaged(key.as_bytes(), "no validators"))
}

/// The epoch of a block: validators and parameters, and the height above which they are in force (R20).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// In force.
    pub set: ValidatorSet,
    /// Last height of the epoch before; 0 in epoch 0.
    pub begin: Height,
}

/// Everything the state says of epochs after a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// Of the block itself.
    pub of: Epoch,
    /// The next one, if it is decided.
    pub next: Option<NextEpoch>,
    /// Network keys of those whose joining is voted on: nodes may follow before they join.
    pub candidates: Vec<PublicKey>,
}

impl Epochs {
    /// Validators and parameters of the height after `height`: what its header commits to (R21).
    #[must_use]
    pub fn after(&self, height: Height) -> &ValidatorSet {
        self.next.as_ref().filter(|next| next.after == height).map_or(&self.of.set, |next| &next.set)
    }
}

/// What the state says of epochs.
///
/// # Errors
/// The store failed, or the state has no epoch: it was not made from a genesis.
pub fn epochs(state: &dyn State) -> Result<Epochs, StateError> {
    let key = keys::epoch();
    let of = get(state, &key)?.ok_or_else(|| StateError::damaged(key.as_bytes(), "no epoch"))?;
    let candidates = get(state, &keys::candidates())?.unwrap_or_default();
    Ok(Epochs { of, next: get(state, &keys::next_epoch())?, candidates: candidates.into_values().collect() })
}

/// The decided epoch begins with the first block above its height (R20).
pub(crate) fn turn(overlay: &mut Overlay<'_>, height: Height) -> Result<(), StateError> {
    let Some(NextEpoch { after, set }) = get(overlay, &keys::next_epoch())? else { return Ok(()) };
    if height > after {
        put_organisations(overlay, &set);
        let mut candidates = get(overlay, &keys::candidates())?.unwrap_or_default();
        candidates.retain(|_, key| set.validators.iter().all(|one| one.network_key != *key));
        overlay.put(&keys::candidates(), &candidates);
        overlay.put(&keys::epoch(), &Epoch { set, begin: after });
        overlay.delete(&keys::next_epoch());
        overlay.keep_call();
    }
    Ok(())
}

fn put_organisations(overlay: &mut Overlay<'_>, set: &ValidatorSet) {
    let organisations: BTreeSet<OrgId> = set.validators.iter().map(|one| one.organisation).collect();
    overlay.put(&keys::validators(), &organisations.into_iter().collect());
}

pub(crate) fn found(overlay: &mut Overlay<'_>, genesis: &Genesis) {
    overlay.put(&keys::chain(), &Chain { chain_id: genesis.chain_id(), genesis_time: genesis.timestamp });
    overlay.put(&keys::policy(), &genesis.policy);
    overlay.put(&keys::epoch(), &Epoch { set: genesis.validators.clone(), begin: Height::ZERO });
    put_organisations(overlay, &genesis.validators);
}
