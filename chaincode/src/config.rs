//! Constants of the chain, in the state from genesis on: organisations change them by vote, never a node's own file.
//!
//! What genesis sets ([`Policy`]) and what it leaves at its default ([`Constants`]) are both read once a block: a
//! change holds from the next block on.

use core::ops::RangeInclusive;
use std::collections::BTreeSet;

use epione_types::codes::PolicyConstant;
use epione_types::genesis::{Genesis, Policy};
use epione_types::id::OrgId;
use epione_types::{ChainId, TimestampMs};
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

pub(crate) fn found(overlay: &mut Overlay<'_>, genesis: &Genesis) {
    overlay.put(&keys::chain(), &Chain { chain_id: genesis.chain_id(), genesis_time: genesis.timestamp });
    overlay.put(&keys::policy(), &genesis.policy);
    let organisations: BTreeSet<OrgId> =
        genesis.validators.validators.iter().map(|validator| validator.organisation).collect();
    overlay.put(&keys::validators(), &organisations.into_iter().collect());
}
