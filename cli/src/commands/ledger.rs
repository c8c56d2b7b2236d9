//! What a stopped node has stored, checked from genesis on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use epione_ledger::disk::FileDisk;
use epione_ledger::snapshot::Shelf;
use epione_ledger::store::SledStore;
use epione_node::{config, verify};
use epione_types::Genesis;
use indicatif::ProgressBar;

use crate::args::Ledger;
use crate::error::{About as _, CliError, EXIT_NOT_PROVEN};
use crate::output::{Fields, Shown};
use crate::request;

/// Page cache while verifying, in bytes.
const CACHE_BYTES: u64 = 96 << 20;

pub(super) fn run(command: Ledger) -> Result<Shown, CliError> {
    let Ledger::Verify { config, data, genesis } = command;
    let (folder, snapshots, genesis) = what(config.as_deref(), data, genesis.as_deref())?;
    if !folder.is_dir() {
        return Err(CliError::failed(format!(
            "{} is no folder: the node has stored nothing yet, or --data is not its data_dir",
            folder.display()
        )));
    }
    let store = SledStore::open(&folder, CACHE_BYTES)
        .about(format!("{}: is its node still running? Stop it first", folder.display()))?;
    let mut shelf = Shelf::look(FileDisk::look(&snapshots))
        .about(format!("the folder of snapshots {}", snapshots.display()))?;
    let bar = ProgressBar::new(0);
    let report = verify::verify(Arc::new(store), &mut shelf, &genesis, |height, tip| {
        bar.set_length(tip.0);
        bar.set_position(height.0);
    });
    bar.finish_and_clear();
    let report = report.about("the ledger cannot be verified")?;
    let fields = Fields::new()
        .text("data", folder.display())
        .with("from", report.from.0)
        .with("height", report.height.0)
        .with("certified", report.certified.0)
        .with("certificates", report.certificates)
        .with("transactions", report.transactions)
        .with("state_keys", report.state_keys)
        .maybe("damage", report.damage.as_ref());
    Ok(match report.damage {
        None if report.from.0 == 0 => Shown::one(fields)
            .note("Every block was executed again: links, certificates, receipts and state are right."),
        None => Shown::one(fields).note(format!(
            "The ledger begins with a snapshot of height {}, whose state follows from the genesis; every block above it was executed again: links, certificates, receipts and state are right.",
            report.from
        )),
        Some(_) => Shown::one(fields)
            .note("The ledger is damaged: keep the folder, and let the node fetch its ledger from the others into a new one.")
            .exit(EXIT_NOT_PROVEN),
    })
}

/// Which ledger, and from which beginning.
fn what(
    config: Option<&Path>,
    data: Option<PathBuf>,
    genesis: Option<&Path>,
) -> Result<(PathBuf, PathBuf, Genesis), CliError> {
    match (config, data, genesis) {
        (Some(file), _, _) => {
            let config = config::load(file).map_err(|error| CliError::failed(error.to_string()))?;
            Ok((config.ledger_dir(), config.snapshots_dir(), config.genesis))
        }
        (None, Some(data), Some(genesis)) => {
            Ok((data.join("ledger"), data.join("snapshots"), request::genesis(genesis)?))
        }
        (None, _, _) => Err(CliError::usage("give --config FILE, or --data DIR and --genesis FILE")),
    }
}
