//! Backups of a node's ledger.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::disk::{Disk, FileDisk};
use epione_ledger::snapshot::{Manifest, Shelf};
use epione_ledger::store::SledStore;
use epione_node::config::{self, Config};
use epione_node::log::ConsensusLog;
use epione_node::{backup, start};
use epione_types::Height;
use indicatif::ProgressBar;

use crate::args::Backup;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::request;

/// Page cache while a ledger is read, in bytes.
const CACHE_BYTES: u64 = 96 << 20;

pub(super) fn run(command: Backup) -> Result<Shown, CliError> {
    match command {
        Backup::Create { config, to } => create(&load(&config)?, &to),
        Backup::Verify { file, genesis } => verify(&file, &genesis),
        Backup::Restore { file, config, new_key } => restore(&file, &load(&config)?, new_key),
    }
}

fn load(path: &Path) -> Result<Config, CliError> {
    config::load(path).map_err(|error| CliError::failed(error.to_string()).reason("CONFIG"))
}

fn create(config: &Config, to: &Path) -> Result<Shown, CliError> {
    let dir = config.snapshots_dir();
    let about = || format!("the folder of snapshots {}", dir.display());
    let (manifest, bytes) = match FileDisk::open(&dir) {
        Ok(disk) => {
            let mut shelf = Shelf::open(disk).about(about())?;
            let log = FileDisk::open(&config.log_dir())
                .about(format!("the consensus log {}", config.log_dir().display()))?;
            let (_, log) = ConsensusLog::open(log).about("the consensus log")?;
            let manifest = backup::make(&open(config)?, &log, &mut shelf)
                .map_err(|error| CliError::failed(error.to_string()).reason("NO_SNAPSHOT"))?;
            let bytes = write(&mut shelf, &manifest, to)?;
            (manifest, bytes)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let mut shelf = Shelf::look(FileDisk::look(&dir)).about(about())?;
            let manifest = shelf.newest(Height::ZERO).cloned().ok_or_else(|| {
                let every = config.settings.snapshots.every;
                CliError::failed(format!(
                    "the node is running and has made no snapshot yet, which it does every {every} heights at most (snapshots.every): let it make one with `epione node snapshot`, or stop it for a backup of its head"
                ))
                .reason("NO_SNAPSHOT")
            })?;
            let bytes = write(&mut shelf, &manifest, to)?;
            (manifest, bytes)
        }
        Err(error) => return Err(CliError::failed(format!("{}: {error}", about()))),
    };
    Ok(Shown::one(fields(&manifest).text("backup", to.display()).with("file_bytes", bytes)))
}

fn open(config: &Config) -> Result<Arc<Chain>, CliError> {
    let folder = config.ledger_dir();
    let store = SledStore::open(&folder, CACHE_BYTES).about(format!("the ledger {}", folder.display()))?;
    let chain = Chain::open(Arc::new(store), &start::origin(&config.genesis));
    Ok(Arc::new(chain.about(format!("the ledger {}", folder.display()))?))
}

fn head(config: &Config) -> Result<Height, CliError> {
    let folder = config.ledger_dir();
    let store = SledStore::open(&folder, CACHE_BYTES).about(format!("the ledger {}", folder.display()))?;
    match Chain::open(Arc::new(store), &start::origin(&config.genesis)) {
        Ok(chain) => Ok(chain.head().height),
        Err(ChainError::Damaged { .. }) => Ok(Height::ZERO),
        Err(error) => Err(CliError::failed(format!("the ledger {}: {error}", folder.display()))),
    }
}

/// Whole under its name, or not there.
fn write<D: Disk>(shelf: &mut Shelf<D>, manifest: &Manifest, to: &Path) -> Result<u64, CliError> {
    let about = || to.display().to_string();
    if to.exists() {
        return Err(CliError::failed(format!("{} is there already: give --to another name", about())));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let mut out = BufWriter::new(File::create(part).about(about())?);
    let bar = ProgressBar::new(0);
    let written = backup::write(shelf, manifest, &mut out, |done, all| follow(&bar, done, all));
    bar.finish_and_clear();
    let kept = written.about(about()).and_then(|()| {
        out.get_ref().sync_all().about(about())?;
        fs::rename(part, to).about(about())?;
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).about(about())?;
        fs::metadata(to).about(about())
    });
    if kept.is_err() {
        drop(fs::remove_file(part)); // it is of no use, and the error says what is wrong
    }
    Ok(kept?.len())
}

fn verify(file: &Path, genesis: &Path) -> Result<Shown, CliError> {
    let genesis = request::genesis(genesis)?;
    let input = BufReader::new(File::open(file).about(file.display().to_string())?);
    let bar = ProgressBar::new(0);
    let checked = backup::verify(input, &genesis, |done, all| follow(&bar, done, all));
    bar.finish_and_clear();
    match checked {
        Ok(manifest) => Ok(Shown::one(fields(&manifest).text("backup", file.display()))
            .note("It follows from the genesis: validators, certificate, state and every entry.")),
        Err(error) => Err(CliError::not_proven(format!("{}: {error}", file.display())).reason("BACKUP")),
    }
}

/// Is there a consensus log that says what the voting key has voted? Whether it is whole is seen when the node starts.
fn has_log(config: &Config) -> bool {
    let entries = fs::read_dir(config.log_dir()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "log"))
}

fn restore(file: &Path, config: &Config, new_key: bool) -> Result<Shown, CliError> {
    let dir = config.snapshots_dir();
    let disk = FileDisk::open(&dir).map_err(|error| {
        if error.kind() == ErrorKind::WouldBlock {
            CliError::failed("the node is running: stop it first")
        } else {
            CliError::failed(format!("the folder of snapshots {}: {error}", dir.display()))
        }
    })?;
    let mut shelf = Shelf::open(disk).about(format!("the folder of snapshots {}", dir.display()))?;
    // A ledger older than the key's first vote does not know it for a validator's: only its owner can say that it is new (R25).
    if !new_key && !has_log(config) {
        let (log, key) = (config.log_dir(), &config.voting_key_file);
        return Err(CliError::failed(format!(
            "there is no consensus log in {}, so what the voting key {} has voted is not known, and it must not vote again: make a new one with `epione keys new`, name it in the configuration, and say with --new-key that it has never voted",
            log.display(),
            key.display()
        ))
        .reason("NO_LOG"));
    }
    // What does not open is as good as lost: the backup takes its place.
    let head = if config.ledger_dir().is_dir() { head(config)? } else { Height::ZERO };
    let input = BufReader::new(File::open(file).about(file.display().to_string())?);
    let bar = ProgressBar::new(0);
    let restored = backup::restore(input, &config.genesis, (head, &mut shelf), |done, all| {
        follow(&bar, done, all);
    });
    bar.finish_and_clear();
    let manifest = restored
        .map_err(|error| CliError::failed(format!("{}: {error}", file.display())).reason("BACKUP"))?;
    Ok(Shown::one(fields(&manifest).text("backup", file.display())).note(format!(
        "Start the node: it installs the backup first, and fetches what came after height {} from the others.",
        manifest.header.height
    )))
}

fn follow(bar: &ProgressBar, done: usize, all: usize) {
    bar.set_length(all as u64);
    bar.set_position(done as u64);
}

fn fields(manifest: &Manifest) -> Fields {
    let header = &manifest.header;
    Fields::new()
        .text("chain", manifest.chain)
        .with("height", header.height.0)
        .with("epoch", header.epoch.0)
        .with("block_time_ms", header.timestamp.0)
        .text("state_root", header.state_root)
        .with("entries", manifest.entries())
        .with("bytes", manifest.bytes())
        .with("chunks", manifest.chunks.len())
}
