//! `epione ledger verify`: the whole ledger again from genesis, trusting nothing that is stored.
//!
//! ```text
//!  stored batch h ─▶ digest, signatures (R8) ─▶ executed on a fresh ledger ─▶ header, receipts, index = stored ones?
//!  stored certificate ─▶ a quorum's signatures on that header?          at the end: state = stored state, key by key?
//! ```
//!
//! A ledger that begins with a snapshot is verified from that one on: its manifest from genesis, its chunks against that, and
//! every block after it as above.
//!
//! It stops at the first height that differs and says what differs there. The fresh ledger is in memory: about as
//! much as the ledger itself. Tested by `tests/verify.rs`.

use std::sync::Arc;

use epione_consensus::Payload;
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::Disk;
use epione_ledger::snapshot::{InstallError, Shelf, ShelfError, fill};
use epione_ledger::store::{MemoryStore, Store, StoreError};
use epione_types::sign::Zip215;
use epione_types::{BlockHeader, Genesis, Height};
use serde::Serialize;

use crate::executor::{ExecuteError, Executor};
use crate::start::origin;
use crate::validate::validate_batch;

/// State keys compared at a time.
const PAGE: usize = 4_096;

/// What a full check saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The height of the snapshot that it begins with; 0 if it begins with the genesis.
    pub from: Height,
    /// Highest height that was checked and found right.
    pub height: Height,
    /// Highest height that a quorum vouches for.
    pub certified: Height,
    /// Certificates checked.
    pub certificates: u64,
    /// Transactions executed again.
    pub transactions: u64,
    /// Keys of the state compared.
    pub state_keys: u64,
    /// The first damage; none if all is right.
    pub damage: Option<Damage>,
}

/// Where the ledger is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Height at which it shows.
    pub height: Height,
    /// What is wrong there.
    pub what: String,
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "height {}: {}", self.height, self.what)
    }
}

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store fails, or belongs to another chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shelf, or the snapshot on it, cannot be used.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The snapshot that the ledger begins with is not here.
    #[error(
        "the ledger begins with a snapshot of height {0}, which is not in the folder of snapshots beside it: without it \
         its blocks cannot be executed again; let the node fetch its ledger anew"
    )]
    NoBase(Height),
}

/// Checks the ledger in `store`, and the snapshot on `shelf` that it may begin with, from `genesis` on. `progress` hears of every height that is right, and of the last one.
///
/// # Errors
/// [`VerifyError`]: nothing can be said. Damage is not an error but a [`Report`].
pub fn verify<D: Disk>(
    store: Arc<dyn Store>,
    shelf: &mut Shelf<D>,
    genesis: &Genesis,
    mut progress: impl FnMut(Height, Height),
) -> Result<Report, VerifyError> {
    let mut report = Report {
        from: Height::ZERO,
        height: Height::ZERO,
        certified: Height::ZERO,
        certificates: 0,
        transactions: 0,
        state_keys: 0,
        damage: None,
    };
    let origin = origin(genesis);
    let stored = match Chain::open(store, &origin) {
        Ok(chain) => chain,
        Err(ChainError::Damaged { what, height, why }) => {
            report.damage = Some(Damage { height, what: format!("{what}: {why}") });
            return Ok(report);
        }
        Err(error) => return Err(error.into()),
    };
    let begun: Arc<dyn Store> = Arc::new(MemoryStore::new());
    if stored.base() > Height::ZERO {
        let base = stored.base();
        if let Err(fault) = begin(&*begun, base, shelf, genesis) {
            let what = match fault {
                Fault::Damage(what) => what,
                Fault::Fails(error) => return Err(error),
            };
            report.damage = Some(Damage { height: base, what });
            return Ok(report);
        }
        (report.from, report.height, report.certified) = (base, base, base);
    }
    let fresh = Arc::new(Chain::open(begun, &origin)?);
    let check = Check { stored: &stored, executor: Executor::new(fresh) };
    let tip = stored.head().height;
    while report.height < tip {
        let height = report.height.next();
        match check.block(height, &mut report) {
            Ok(()) => report.height = height,
            Err(Fault::Damage(what)) => {
                report.damage = Some(Damage { height, what });
                return Ok(report);
            }
            Err(Fault::Fails(error)) => return Err(error),
        }
        progress(height, tip);
    }
    match check.state(&mut report) {
        Ok(()) => {}
        Err(Fault::Damage(what)) => report.damage = Some(Damage { height: tip, what }),
        Err(Fault::Fails(error)) => return Err(error),
    }
    Ok(report)
}

/// Damage ends the check with a report, a failing store without one.
enum Fault {
    Damage(String),
    Fails(VerifyError),
}

impl<E: Into<VerifyError>> From<E> for Fault {
    fn from(error: E) -> Self {
        let error = error.into();
        if let VerifyError::Chain(ChainError::Damaged { what, why, .. }) = &error {
            return Self::Damage(format!("{what}: {why}"));
        }
        Self::Fails(error)
    }
}

fn damage<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damage(what.into()))
}

/// What the ledger begins with, in a store of its own.
fn begin<D: Disk>(
    store: &dyn Store,
    base: Height,
    shelf: &mut Shelf<D>,
    genesis: &Genesis,
) -> Result<(), Fault> {
    let manifest = shelf.base().filter(|manifest| manifest.header.height == base).cloned();
    let manifest = manifest.ok_or(VerifyError::NoBase(base))?;
    if let Err(error) = manifest.verify(genesis.chain_id(), &genesis.validators, &Zip215) {
        return damage(error.to_string());
    }
    let id = manifest.id();
    match fill(store, &manifest, &origin(genesis), |index| shelf.read_chunk(id, index).map(|(_, it)| it)) {
        Err(InstallError::Shelf(damaged @ ShelfError::Damaged { .. })) => damage(damaged.to_string()),
        filled => Ok(filled?),
    }
}

struct Check<'a> {
    stored: &'a Chain,
    executor: Executor,
}

impl Check<'_> {
    fn block(&self, height: Height, report: &mut Report) -> Result<(), Fault> {
        // As the state before it says: that has been executed.
        let epochs = self.executor.epochs().map_err(|error| Fault::Damage(error.to_string()))?;
        let set = epochs.after(height.minus(1));
        let (Some(header), Some(batch)) = (self.stored.header(height)?, self.stored.batch(height)?) else {
            return damage("the header or the batch is missing");
        };
        let payload = match Payload::decode(batch.into(), &set.params) {
            Ok(payload) => payload,
            Err(error) => return damage(format!("the batch does not decode: {error}")),
        };
        if payload.digest() != header.batch_digest {
            return damage(format!(
                "the batch has digest {}, the header names {}",
                payload.digest(),
                header.batch_digest
            ));
        }
        let chain = self.stored.chain_id();
        let txs = match validate_batch(&payload, &[], chain, &set.params, &Zip215) {
            Ok(txs) => txs,
            Err(why) => return damage(format!("the batch is invalid: {why}")),
        };
        let written = match self.executor.append(height, &payload, Some(txs), 0) {
            Ok(written) => written,
            Err(ExecuteError::Chain(error)) => return Err(error.into()),
            Err(error) => return damage(format!("the batch cannot be executed: {error}")),
        };
        if let Some(what) = difference(&written.header, &header) {
            return damage(what);
        }
        if self.stored.receipts(height)?.as_ref() != Some(&written.receipts) {
            return damage("the stored receipts are not those of the execution");
        }
        for id in &written.ids {
            // One that occurred before the snapshot as well may be indexed there.
            let stored = self.stored.locate(*id)?.filter(|located| located.height > report.from);
            let right = self.executor.chain().locate(*id)?;
            if stored != right && (stored.is_some() || report.from == Height::ZERO) {
                return damage(format!("the index of transaction {id} is wrong"));
            }
        }
        report.transactions = report.transactions.saturating_add(written.ids.len() as u64);
        if let Some(certificate) = self.stored.certificate(height)? {
            if certificate.header_hash != header.hash() || certificate.height != height {
                return damage("the certificate is for another header");
            }
            if !certificate.verify(chain, set, &Zip215) {
                return damage("the certificate is not a quorum's");
            }
            report.certificates = report.certificates.saturating_add(1);
            report.certified = height;
        }
        Ok(())
    }

    /// The flat state, key by key, against that of the execution.
    fn state(&self, report: &mut Report) -> Result<(), Fault> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let stored = self.stored.state_after(after.as_deref(), PAGE)?;
            let right = self.executor.chain().state_after(after.as_deref(), PAGE)?;
            if let Some((stored, right)) = stored.iter().zip(&right).find(|(stored, right)| stored != right) {
                let key = stored.0.as_slice().min(&right.0);
                return damage(format!("the state differs first under key {}", hex(key)));
            }
            if stored.len() != right.len() {
                return damage("the state has keys too many or too few");
            }
            report.state_keys = report.state_keys.saturating_add(stored.len() as u64);
            let Some((last, _)) = stored.last() else { return Ok(()) };
            after = Some(last.clone());
        }
    }
}

/// The first field in which a stored header differs from the executed one.
fn difference(executed: &BlockHeader, stored: &BlockHeader) -> Option<String> {
    let fields = [
        ("parent", executed.parent, stored.parent),
        ("transactions root", executed.txs_root, stored.txs_root),
        ("receipts root", executed.receipts_root, stored.receipts_root),
        ("state root", executed.state_root, stored.state_root),
        ("next epoch hash", executed.next_epoch_hash, stored.next_epoch_hash),
    ];
    let hash = fields.iter().find(|(_, executed, stored)| executed != stored);
    let text = hash.map(|(name, executed, stored)| {
        format!("the {name} is {executed} by execution, {stored} in the header")
    });
    text.or_else(|| (executed != stored).then(|| "the header is not that of the execution".to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
