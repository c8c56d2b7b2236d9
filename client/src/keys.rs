//! Key files: one ed25519 seed, 64 hex digits and a line end, readable by its owner alone.
//!
//! A file that others may read is refused rather than used: the key may be known already. Nothing here prints or
//! returns a seed. Tested below.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use epione_types::SecretKey;
use zeroize::Zeroizing;

/// Longest key file, in bytes.
const FILE_BYTES_MAX: usize = 66;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("key file {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// There is a file already.
    #[error("key file {path} exists, and a key is never overwritten: choose another name, or move it away")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write it.
    #[error(
        "key file {path} has mode {mode:03o}; run `chmod 600 {path}`, and replace the key if others had access"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("key file {path} does not hold one key: 64 hex digits and nothing else")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Writes a new key file. Never overwrites one.
///
/// # Errors
/// [`KeyFileError::Exists`], [`KeyFileError::Io`].
pub fn write(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let seed = key.seed();
    let mut text = Zeroizing::new([0u8; 65]);
    let (digits, end) = text.split_at_mut(64);
    hex::encode_to_slice(seed.as_ref(), digits).map_err(|error| io(std::io::Error::other(error)))?;
    end.fill(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let exists = || KeyFileError::Exists { path: path.to_owned() };
    let is_there = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AlreadyExists;
    let mut file = options.open(path).map_err(|error| if is_there(&error) { exists() } else { io(error) })?;
    file.write_all(text.as_ref()).and_then(|()| file.sync_all()).map_err(io)
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let malformed = || KeyFileError::Malformed { path: path.to_owned() };
    let file = File::open(path).map_err(io)?;
    check_mode(path, &file)?;
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(malformed());
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim_ascii(), seed.as_mut()).map_err(|_| malformed())?;
    Ok(SecretKey::from_seed(&seed))
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|error| KeyFileError::Io { path: path.to_owned(), error })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

/// Other systems protect a user's files by other means.
#[cfg(not(unix))]
fn check_mode(_: &Path, _: &File) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::Signer as _;

    #[test]
    fn a_key_comes_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member.key");
        let key = SecretKey::from_seed(&[7; 32]);
        write(&path, &key).unwrap();
        assert_eq!(read(&path).unwrap().public_key(), key.public_key());
        assert!(write(&path, &SecretKey::from_seed(&[8; 32])).unwrap_err().to_string().contains("exists"));
        assert_eq!(read(&path).unwrap().public_key(), key.public_key());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member.key");
        write(&path, &SecretKey::from_seed(&[7; 32])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn anything_but_one_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member.key");
        for text in ["".to_owned(), "07".repeat(31), "07".repeat(33), "zz".repeat(32), "07".repeat(4_000)] {
            write(&path, &SecretKey::from_seed(&[7; 32])).unwrap();
            std::fs::write(&path, &text).unwrap();
            assert!(matches!(read(&path), Err(KeyFileError::Malformed { .. })), "{text}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
