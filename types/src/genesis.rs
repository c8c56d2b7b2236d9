//! Genesis, validator sets and the parameters that come with them.
//!
//! Consensus parameters come from here, never from a node's own configuration: two nodes that
//! differ in a limit would differ in what is a valid batch. What could never run is refused before it begins:
//! [`Genesis::check`], tested field by field in `tests/genesis.rs`.

use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::call::RegisterOrganisation;
use crate::codec;
use crate::hash::{Domain, Hash};
use crate::id::{ChainId, Epoch, Height, OrgId, TimestampMs, ValidatorIndex};
use crate::quorum;
use crate::sign::PublicKey;

/// Version of the genesis layout.
pub const GENESIS_VERSION: u16 = 1;
/// Largest genesis file, in bytes.
pub const MAX_GENESIS_BYTES: usize = 1 << 20;
/// Largest [`Params::window`], in heights. With [`quorum::MAX_VALIDATORS`] it bounds a NewView, which must fit a record
/// of the consensus log.
pub const WINDOW_MAX: u64 = 32;
/// Largest [`Params::batch_bytes_max`], in bytes.
pub const BATCH_BYTES_MAX: u32 = 8 << 20;
/// Most bytes of batches in flight: a full window of the largest batches. A trimmed consensus log begins with several
/// of them per height in one append, which must not be refused.
pub const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;
/// Latest beginning of a chain, in milliseconds: the year 9999, so that block time never reaches the end of numbers.
const TIMESTAMP_MAX: TimestampMs = TimestampMs(253_402_300_799_999);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// One validator: a hospital's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// The hospital.
    pub organisation: OrgId,
    /// Verifies its votes.
    pub public_key: PublicKey,
    /// Its node's libp2p identity (ed25519).
    pub network_key: PublicKey,
}

/// Parameters of an epoch. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Meaning of transactions; binaries change it only with an epoch.
    pub execution_version: u32,
    /// W: heights in flight above the last certified one (R2), at most [`WINDOW_MAX`].
    pub window: u64,
    /// Most transactions in a batch.
    pub batch_txs_max: u32,
    /// Most bytes of an encoded batch; a window of them is at most [`IN_FLIGHT_BYTES_MAX`].
    pub batch_bytes_max: u32,
    /// A transaction's `expires_at` is at most this far ahead of the batch's stamp.
    pub expiry_ahead_max_ms: u64,
    /// How far a proposal's stamp may be from a validator's clock (R9).
    pub max_clock_skew_ms: u64,
    /// Slot and request time-out of view 0 (R15).
    pub view_timeout_ms: u64,
    /// Cap of the doubled time-out (R16).
    pub view_timeout_max_ms: u64,
    /// How often an empty batch moves time while something waits for it (R11).
    pub time_block_interval_ms: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            execution_version: 1,
            window: 8,
            batch_txs_max: 2_000,
            batch_bytes_max: 1 << 20,
            expiry_ahead_max_ms: DAY_MS,
            max_clock_skew_ms: 5_000,
            view_timeout_ms: 1_000,
            view_timeout_max_ms: 60_000,
            time_block_interval_ms: 10_000,
        }
    }
}

impl Params {
    /// Refuses parameters under which nothing could commit, or a limit of the log or of memory would be met.
    ///
    /// # Errors
    /// Every fault, each naming field, limit and value.
    pub fn check(&self) -> Result<(), GenesisError> {
        let mut faults = Faults::default();
        faults.find_in_params(self);
        faults.result()
    }
}

/// The validators of one epoch, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorSet {
    /// Which epoch.
    pub epoch: Epoch,
    /// Primary of view v is number (epoch + v) mod n (R7).
    pub validators: Vec<Validator>,
    /// In force during this epoch.
    pub params: Params,
}

impl ValidatorSet {
    /// n.
    #[must_use]
    pub fn len(&self) -> usize {
        self.validators.len()
    }
    /// No validators: refused by [`Genesis::check`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }
    /// q of R1.
    #[must_use]
    pub fn quorum(&self) -> usize {
        quorum::quorum(self.len())
    }
    /// f of R1.
    #[must_use]
    pub fn faults(&self) -> usize {
        quorum::faults(self.len())
    }
    /// The validator at this place.
    #[must_use]
    pub fn get(&self, index: ValidatorIndex) -> Option<&Validator> {
        self.validators.get(index.get())
    }
    /// The place of the validator with this voting key.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        let at = self.validators.iter().position(|validator| validator.public_key == *key)?;
        u16::try_from(at).ok().map(ValidatorIndex)
    }
    /// What a header carries as `next_epoch_hash` (R21).
    #[must_use]
    pub fn hash(&self) -> Hash {
        Domain::EPOCH.hash(&codec::encode(self))
    }
}

/// A decision of the ledger about its validators or parameters, once it is executed (R20).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextEpoch {
    /// b: the last height of the epoch in force.
    pub after: Height,
    /// From then on.
    pub set: ValidatorSet,
}

/// How security labels stand on the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// In clear: a known privacy limit, see docs/.
    Clear,
}

/// Constants of the access policy; governance may change them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How labels stand on the ledger.
    pub labels: Labels,
    /// Records labelled PART2 or PSYTHPN are refused unless this is set: for tests and demonstrations only.
    pub allow_sensitive_in_clear: bool,
    /// How many validators' organisations must sign a new organisation.
    pub organisation_signatures: u16,
    /// How long an emergency override stays open, in milliseconds.
    pub override_open_ms: u64,
    /// When an emergency override must have been reviewed, in milliseconds after opening.
    pub override_review_ms: u64,
    /// Overdue reviews at which a practitioner loses emergency access.
    pub overdue_reviews_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            labels: Labels::Clear,
            allow_sensitive_in_clear: false,
            organisation_signatures: 2,
            override_open_ms: 4 * HOUR_MS,
            override_review_ms: 3 * DAY_MS,
            overdue_reviews_max: 3,
        }
    }
}

/// The agreed beginning. Its hash is the chain id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Layout version, [`GENESIS_VERSION`].
    pub version: u16,
    /// When the chain begins; sealed time of height 0.
    pub timestamp: TimestampMs,
    /// Epoch 0.
    pub validators: ValidatorSet,
    /// Constants of the access policy.
    pub policy: Policy,
    /// Founding organisations, each validator's among them.
    pub organisations: Vec<RegisterOrganisation>,
}

/// What is wrong with a genesis: all of it at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("genesis is not usable: {}", .0.join("; "))]
pub struct GenesisError(pub Vec<String>);

impl Genesis {
    /// The chain id: differs if one byte differs.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        ChainId(Domain::GENESIS.hash(&codec::encode(self)).0)
    }

    /// Refuses what could never run.
    ///
    /// # Errors
    /// Every fault, each naming field, limit and value.
    pub fn check(&self) -> Result<(), GenesisError> {
        let mut faults = Faults::default();
        faults.need(
            self.version == GENESIS_VERSION,
            format_args!("version is {}, this build reads {GENESIS_VERSION}", self.version),
        );
        faults.need(
            self.timestamp <= TIMESTAMP_MAX,
            format_args!("timestamp is {}; at most {TIMESTAMP_MAX}, the year 9999", self.timestamp),
        );
        faults.find_in_validators(&self.validators, &self.organisations);
        faults.find_in_params(&self.validators.params);
        faults.find_in_policy(&self.policy, &self.validators);
        faults.find_in_organisations(&self.organisations);
        faults.result()
    }
}

/// What is wrong, in the order found.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn need(&mut self, holds: bool, text: impl ToString) {
        if !holds {
            self.0.push(text.to_string());
        }
    }

    fn within(&mut self, field: &str, value: u64, limits: RangeInclusive<u64>) {
        let (least, most) = (limits.start(), limits.end());
        self.need(limits.contains(&value), format_args!("{field} is {value}; {least} to {most}"));
    }

    fn find_in_validators(&mut self, set: &ValidatorSet, organisations: &[RegisterOrganisation]) {
        let n = set.len();
        self.need(
            (1..=quorum::MAX_VALIDATORS).contains(&n),
            format_args!("{n} validators; there must be 1 to {}", quorum::MAX_VALIDATORS),
        );
        self.need(set.epoch == Epoch::ZERO, format_args!("epoch is {}, genesis starts epoch 0", set.epoch));
        for (i, validator) in set.validators.iter().enumerate() {
            self.need(!validator.public_key.is_weak(), format_args!("validator {i}: public_key is weak"));
            self.need(!validator.network_key.is_weak(), format_args!("validator {i}: network_key is weak"));
            let earlier = || set.validators.iter().take(i);
            self.need(
                earlier().all(|other| other.public_key != validator.public_key),
                format_args!("validator {i}: public_key appears twice"),
            );
            self.need(
                earlier().all(|other| other.network_key != validator.network_key),
                format_args!("validator {i}: network_key appears twice"),
            );
            self.need(
                organisations.iter().any(|org| org.organisation == validator.organisation),
                format_args!(
                    "validator {i}: organisation {} is not among organisations",
                    validator.organisation
                ),
            );
        }
    }

    fn find_in_params(&mut self, params: &Params) {
        let Params {
            execution_version,
            window,
            batch_txs_max,
            batch_bytes_max,
            expiry_ahead_max_ms,
            max_clock_skew_ms,
            view_timeout_ms,
            view_timeout_max_ms,
            time_block_interval_ms,
        } = *params;
        self.need(
            execution_version == 1,
            format_args!("params.execution_version is {execution_version}; this build executes 1"),
        );
        self.within("params.window", window, 1..=WINDOW_MAX);
        self.within("params.batch_txs_max", batch_txs_max.into(), 1..=100_000);
        self.within("params.batch_bytes_max", batch_bytes_max.into(), 1 << 16..=BATCH_BYTES_MAX.into());
        let in_flight = window.saturating_mul(batch_bytes_max.into());
        self.need(
            in_flight <= IN_FLIGHT_BYTES_MAX,
            format_args!(
                "params.window times params.batch_bytes_max is {in_flight}; at most {IN_FLIGHT_BYTES_MAX} bytes in flight"
            ),
        );
        // A correct sender's clock and a correct primary's are each up to this far off, in opposite directions.
        self.within("params.max_clock_skew_ms", max_clock_skew_ms, 10..=10 * MINUTE_MS);
        let least = max_clock_skew_ms.saturating_mul(2).saturating_add(1);
        self.within("params.expiry_ahead_max_ms", expiry_ahead_max_ms, least..=31 * DAY_MS);
        self.within("params.view_timeout_ms", view_timeout_ms, 10..=MINUTE_MS);
        self.within("params.view_timeout_max_ms", view_timeout_max_ms, view_timeout_ms..=HOUR_MS);
        self.within("params.time_block_interval_ms", time_block_interval_ms, 100..=HOUR_MS);
    }

    fn find_in_policy(&mut self, policy: &Policy, set: &ValidatorSet) {
        let Policy {
            labels: Labels::Clear,
            allow_sensitive_in_clear: _,
            organisation_signatures,
            override_open_ms,
            override_review_ms,
            overdue_reviews_max,
        } = *policy;
        let mut signers: Vec<_> = set.validators.iter().map(|validator| validator.organisation).collect();
        signers.sort_unstable();
        signers.dedup();
        // Of no organisations none can sign; that there must be some is said elsewhere.
        let most = signers.len().max(1) as u64;
        self.within("policy.organisation_signatures", organisation_signatures.into(), 1..=most);
        self.within("policy.override_open_ms", override_open_ms, MINUTE_MS..=31 * DAY_MS);
        self.within("policy.override_review_ms", override_review_ms, override_open_ms..=366 * DAY_MS);
        // Each emergency access looks at so many.
        self.within("policy.overdue_reviews_max", overdue_reviews_max.into(), 1..=1_000);
    }

    fn find_in_organisations(&mut self, organisations: &[RegisterOrganisation]) {
        for (i, org) in organisations.iter().enumerate() {
            if let Err(error) = org.check() {
                self.need(false, format_args!("organisation {i}: {error}"));
            }
            let earlier = || organisations.iter().take(i);
            self.need(
                earlier().all(|other| other.organisation != org.organisation),
                format_args!("organisation {i}: id appears twice"),
            );
            self.need(
                earlier().all(|other| other.admins.iter().all(|key| !org.admins.contains(key))),
                format_args!("organisation {i}: an admin key is another organisation's"),
            );
        }
    }

    fn result(self) -> Result<(), GenesisError> {
        if self.0.is_empty() { Ok(()) } else { Err(GenesisError(self.0)) }
    }
}
