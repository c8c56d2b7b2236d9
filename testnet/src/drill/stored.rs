//! Damage to what a stopped node stores.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Failed;
use super::scenario::Part;

/// One byte in so many of a damaged store is another.
const STRIDE: u64 = 4_096;

/// The first bytes of a record that was being written when the power went.
pub(crate) const UNFINISHED: &[u8; 10] = b"frme\x40\x00\x00\x00\x07\x00";

/// The segment of the consensus log that is written to.
pub(super) fn newest_log(data: &Path) -> Result<PathBuf, Failed> {
    let folder = data.join("log");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    let files = entries.flatten().map(|entry| entry.path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.max().ok_or_else(|| Failed(format!("{}: no log", folder.display())))
}

/// Changes bytes; says which.
pub(super) fn damage(data: &Path, part: Part) -> Result<String, Failed> {
    let path = match part {
        Part::Log | Part::LogTail => newest_log(data)?,
        Part::Ledger | Part::LedgerPages => data.join("ledger").join("db"),
        Part::LedgerHead => data.join("ledger").join("conf"),
        Part::Pool => {
            return Err(Failed("the pool is not damaged: a drill for it is not written".to_owned()));
        }
    };
    let about = |error: std::io::Error| Failed(format!("{}: {error}", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = File::options().read(true).write(true).open(&path).map_err(about)?;
    let length = file.metadata().map_err(about)?.len();
    match part {
        Part::LogTail => {
            let mut file = File::options().append(true).open(&path).map_err(about)?;
            file.write_all(UNFINISHED).map_err(about)?;
            Ok(format!("10 bytes of an unfinished record at the end of {name} ({length} bytes)"))
        }
        Part::Log | Part::LedgerHead => {
            flip(&file, length / 2).map_err(about)?;
            Ok(format!("byte {} of {name} ({length} bytes) is another", length / 2))
        }
        Part::Ledger | Part::LedgerPages | Part::Pool => {
            let places = (0..length / STRIDE).map(|place| place * STRIDE + STRIDE / 2);
            let count = places.clone().count();
            for place in places {
                flip(&file, place).map_err(about)?;
            }
            file.flush().map_err(about)?;
            Ok(format!("{count} bytes of the ledger's {name} ({length} bytes), one in {STRIDE}, are others"))
        }
    }
}

fn flip(file: &File, place: u64) -> std::io::Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)?;
    let [found] = byte;
    file.write_all_at(&[!found], place)
}

/// Removes parts of what is stored.
pub(super) fn wipe(data: &Path, parts: &[Part]) -> Result<(), Failed> {
    for part in parts {
        let folder = data.join(part.to_string());
        std::fs::remove_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_where_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let (log, ledger) = (dir.path().join("log"), dir.path().join("ledger"));
        std::fs::create_dir(&log).unwrap();
        std::fs::create_dir(&ledger).unwrap();
        std::fs::write(log.join("00000000000000000000.log"), [7; 10]).unwrap();
        std::fs::write(log.join("00000000000000000117.log"), [7; 10]).unwrap();
        std::fs::write(ledger.join("db"), vec![7; 10_000]).unwrap();
        let newest = newest_log(dir.path()).unwrap();
        assert!(newest.ends_with("00000000000000000117.log"));
        damage(dir.path(), Part::Log).unwrap();
        assert_eq!(std::fs::read(&newest).unwrap(), [7, 7, 7, 7, 7, !7, 7, 7, 7, 7]);
        damage(dir.path(), Part::LogTail).unwrap();
        assert_eq!(std::fs::read(&newest).unwrap().len(), 20);
        damage(dir.path(), Part::Ledger).unwrap();
        let others = std::fs::read(ledger.join("db")).unwrap().iter().filter(|byte| **byte != 7).count();
        assert_eq!(others, 2);
        wipe(dir.path(), &[Part::Ledger, Part::Log]).unwrap();
        assert!(!log.exists() && !ledger.exists());
        assert!(damage(dir.path(), Part::Log).is_err() && wipe(dir.path(), &[Part::Log]).is_err());
    }
}
