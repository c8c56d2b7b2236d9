//! How a validator comes back, or comes to be: what the log and the ledger say together (R4, R25, R26).

use std::sync::Arc;

use epione_chaincode::StateError;
use epione_chaincode::config::{self, Epochs};
use epione_consensus::{Config, Replica, RestoreError, Step, Stored, Tip};
use epione_ledger::chain::{Chain, ChainError, Origin};
use epione_ledger::disk::Disk;
use epione_ledger::snapshot::{InstallError, Shelf, ShelfError, install};
use epione_ledger::store::Store;
use epione_types::{Epoch, Genesis, Height, PublicKey, Signer, ValidatorSet, Verifier};
use tracing::warn;

use crate::executor::{ChainState, tip};
use crate::log::Records;

/// Why a validator must not vote.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ChainError),
    /// The log contradicts itself, or is another's.
    #[error(transparent)]
    Log(#[from] RestoreError),
    /// The log ends before what the ledger says it held (R26).
    #[error(
        "the consensus log ends at record {end}, but block {height} stems from record {position}: the log lost its end. \
         What this validator has voted is not known any more: rejoin with a new key and an empty log"
    )]
    Amnesia {
        /// End of the log.
        end: u64,
        /// The ledger's tip.
        height: Height,
        /// Log position stored with it.
        position: u64,
    },
    /// The log was never begun (R25).
    #[error(
        "there is no consensus log for this voting key. A key is made together with its log: if the log was lost, \
         rejoin with a new key; never begin a second log for one key"
    )]
    NoLog,
    /// The ledger was restored, and the key may have voted (R25).
    #[error(
        "the ledger holds {height} blocks and there is no consensus log for this voting key, which is a validator's: \
         what it has voted is not known. A restored ledger needs a new voting key: make one and rejoin with it"
    )]
    Restored {
        /// The ledger's tip.
        height: Height,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why the snapshot that waits for being installed is not.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be installed.
    #[error("a snapshot cannot be installed: {0}")]
    Install(#[from] InstallError),
    /// The shelf cannot be read.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Installs the snapshot that waits for it, if one does, before the chain is opened. One that is damaged is removed: its
/// node fetches another. True if one was installed.
///
/// # Errors
/// [`PlaceError`].
pub fn install_snapshot<D: Disk>(
    store: &dyn Store,
    shelf: &mut Shelf<D>,
    genesis: &Genesis,
    verifier: &impl Verifier,
) -> Result<bool, PlaceError> {
    let found = match shelf.to_install() {
        Ok(Some(manifest)) => {
            if let Err(error) = manifest.verify(genesis.chain_id(), &genesis.validators, verifier) {
                warn!(%error, "a snapshot is not installed");
                shelf.drop_install()?;
                return Ok(false);
            }
            install(store, shelf, &manifest, &origin(genesis))
        }
        Ok(None) => Ok(false),
        Err(error) => Err(InstallError::Shelf(error)),
    };
    match found {
        Ok(installed) => Ok(installed),
        Err(InstallError::Shelf(damaged @ ShelfError::Damaged { .. })) => {
            warn!(error = %damaged, "a snapshot is not installed");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// What genesis is to the ledger.
#[must_use]
pub fn origin(genesis: &Genesis) -> Origin {
    let writes = epione_chaincode::genesis_writes(genesis);
    Origin { chain: genesis.chain_id(), timestamp: genesis.timestamp, writes }
}

/// The epoch of the chain's head, as whoever has this voting key.
///
/// # Errors
/// The ledger cannot be read.
pub fn config(chain: &Arc<Chain>, key: &PublicKey) -> Result<Config, ResumeError> {
    let epochs = epochs(chain)?;
    Ok(Config::new(chain.chain_id(), epochs.of.set, epochs.of.begin, key))
}

/// What the ledger says of epochs after its head.
///
/// # Errors
/// The ledger cannot be read.
pub fn epochs(chain: &Arc<Chain>) -> Result<Epochs, ResumeError> {
    Ok(config::epochs(&ChainState(chain.clone()))?)
}

/// Network keys of those who left with the epoch of the head: they may not have reached its end.
///
/// # Errors
/// The ledger cannot be read.
pub fn left(chain: &Arc<Chain>, genesis: &Genesis, epochs: &Epochs) -> Result<Vec<PublicKey>, ResumeError> {
    let Some(before) = epochs.of.set.epoch.0.checked_sub(1).map(Epoch) else { return Ok(Vec::new()) };
    let set = match chain.epoch(before)? {
        Some((_, set)) => set,
        None => genesis.validators.clone(),
    };
    Ok(leavers(set.validators.into_iter().map(|one| one.network_key), &epochs.of.set))
}

/// Those network keys of the epoch before that no validator of this set has.
pub(crate) fn leavers(before: impl IntoIterator<Item = PublicKey>, set: &ValidatorSet) -> Vec<PublicKey> {
    let stays = |key: &PublicKey| set.validators.iter().any(|one| one.network_key == *key);
    before.into_iter().filter(|key| !stays(key)).collect()
}

/// One whose key has never voted: its log is empty and so is its ledger; or the ledger came from a backup, and no validator
/// has the key there. That it became one later only the mark beside its file tells. The step holds the birth record.
///
/// # Errors
/// The ledger cannot be read; [`ResumeError::Restored`].
pub fn born(
    chain: &Arc<Chain>,
    config: Config,
    signer: Arc<dyn Signer + Send + Sync>,
) -> Result<(Replica, Step), ResumeError> {
    let height = chain.head().height;
    if height > Height::ZERO && config.is_member() {
        return Err(ResumeError::Restored { height });
    }
    Ok(Replica::born(config, signer, stored(chain)?))
}

/// A validator that comes back. `end` is the position after the last record.
///
/// # Errors
/// [`ResumeError`]: it must not vote.
pub fn resume(
    chain: &Arc<Chain>,
    config: Config,
    signer: Arc<dyn Signer + Send + Sync>,
    records: Records,
    end: u64,
) -> Result<(Replica, Step), ResumeError> {
    if records.is_empty() {
        return Err(ResumeError::NoLog);
    }
    let head = chain.head();
    if let Some(position) = chain.log_position(head.height)?.filter(|position| *position > end) {
        return Err(ResumeError::Amnesia { end, height: head.height, position });
    }
    Ok(Replica::restore(config, signer, stored(chain)?, records.resumable())?)
}

/// What the ledger holds, as consensus sees it.
fn stored(chain: &Arc<Chain>) -> Result<Stored, ResumeError> {
    let certificate = chain.certified();
    let certified = certificate.as_ref().map_or(Height::ZERO, |certificate| certificate.height);
    let heights = certified.next().0..=chain.head().height.0;
    let headers = heights.filter_map(|height| chain.header(Height(height)).transpose());
    let above =
        headers.map(|header| header.map(|header| Tip::of(&header))).collect::<Result<_, ChainError>>()?;
    Ok(Stored { certificate, tip: tip(chain)?, above, next: epochs(chain)?.next })
}
