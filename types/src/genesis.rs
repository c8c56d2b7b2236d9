//! Genesis, validator sets and the parameters that come with them.
//!
//! Consensus parameters come from here, never from a node's own configuration: two nodes that
//! differ in a limit would differ in what is a valid batch.

use serde::{Deserialize, Serialize};

use crate::call::RegisterOrganisation;
use crate::codec;
use crate::hash::{Domain, Hash};
use crate::id::{ChainId, Epoch, OrgId, TimestampMs, ValidatorIndex};
use crate::quorum;
use crate::sign::PublicKey;

/// Version of the genesis layout.
pub const GENESIS_VERSION: u16 = 1;
/// Largest genesis file, in bytes.
pub const MAX_GENESIS_BYTES: usize = 1 << 20;

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
    /// W: heights in flight above the last certified one (R2).
    pub window: u64,
    /// Most transactions in a batch.
    pub batch_txs_max: u32,
    /// Most bytes of an encoded batch.
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
            expiry_ahead_max_ms: 24 * 3_600_000,
            max_clock_skew_ms: 5_000,
            view_timeout_ms: 1_000,
            view_timeout_max_ms: 60_000,
            time_block_interval_ms: 10_000,
        }
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
            override_open_ms: 4 * 3_600_000,
            override_review_ms: 72 * 3_600_000,
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
        let mut faults = Vec::new();
        let mut need = |ok: bool, text: String| {
            if !ok {
                faults.push(text);
            }
        };
        let set = &self.validators;
        let n = set.len();
        need(
            self.version == GENESIS_VERSION,
            format!("version is {}, this build reads {GENESIS_VERSION}", self.version),
        );
        need(
            (1..=quorum::MAX_VALIDATORS).contains(&n),
            format!("{n} validators; there must be 1 to {}", quorum::MAX_VALIDATORS),
        );
        need(set.epoch == Epoch::ZERO, format!("epoch is {}, genesis starts epoch 0", set.epoch));
        for (i, validator) in set.validators.iter().enumerate() {
            need(!validator.public_key.is_weak(), format!("validator {i}: public_key is weak"));
            need(!validator.network_key.is_weak(), format!("validator {i}: network_key is weak"));
            let earlier = || set.validators.iter().take(i);
            need(
                earlier().all(|other| other.public_key != validator.public_key),
                format!("validator {i}: public_key appears twice"),
            );
            need(
                earlier().all(|other| other.network_key != validator.network_key),
                format!("validator {i}: network_key appears twice"),
            );
            need(
                self.organisations.iter().any(|org| org.organisation == validator.organisation),
                format!("validator {i}: organisation {} is not among organisations", validator.organisation),
            );
        }
        let p = &set.params;
        need((1..=64).contains(&p.window), format!("params.window is {}; 1 to 64", p.window));
        need(
            (1..=100_000).contains(&p.batch_txs_max),
            format!("params.batch_txs_max is {}; 1 to 100000", p.batch_txs_max),
        );
        need(
            (65_536..=8 << 20).contains(&p.batch_bytes_max),
            format!("params.batch_bytes_max is {}; 65536 to 8388608", p.batch_bytes_max),
        );
        need(
            p.view_timeout_ms >= 10,
            format!("params.view_timeout_ms is {}; at least 10", p.view_timeout_ms),
        );
        need(
            p.view_timeout_max_ms >= p.view_timeout_ms,
            "params.view_timeout_max_ms is below view_timeout_ms".to_owned(),
        );
        need(
            p.execution_version == 1,
            format!("params.execution_version is {}; this build executes 1", p.execution_version),
        );
        for (i, org) in self.organisations.iter().enumerate() {
            if let Err(error) = org.check() {
                need(false, format!("organisation {i}: {error}"));
            }
            let earlier = || self.organisations.iter().take(i);
            need(
                earlier().all(|other| other.organisation != org.organisation),
                format!("organisation {i}: id appears twice"),
            );
            need(
                earlier().all(|other| other.admins.iter().all(|key| !org.admins.contains(key))),
                format!("organisation {i}: an admin key is another organisation's"),
            );
        }
        if faults.is_empty() { Ok(()) } else { Err(GenesisError(faults)) }
    }
}
