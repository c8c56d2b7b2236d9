//! The operating system's directory. Locked, so that two processes never write one log.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::Disk;

/// Holds the lock while the process lives; not one of the directory's [`Disk::names`].
const LOCK: &str = "lock";

/// A directory of the operating system.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    /// The file written last stays open: one handle sees every write error of its file.
    open: Option<(String, File)>,
    /// None if nothing is to be written.
    lock: Option<File>,
}

impl FileDisk {
    /// Opens a directory, making it if need be, and keeps everybody else out.
    ///
    /// # Errors
    /// Of the file system; [`io::ErrorKind::WouldBlock`] if another process has it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        if !dir.exists() {
            fs::create_dir_all(dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is in use by another process", dir.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { dir: dir.to_owned(), open: None, lock: Some(lock) })
    }

    /// Looks at a directory that may be another process's: whatever would change it fails.
    #[must_use]
    pub fn look(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), open: None, lock: None }
    }

    fn may_write(&self) -> io::Result<()> {
        let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "it is open to be looked at only");
        self.lock.as_ref().map(|_| ()).ok_or_else(denied)
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let open = match self.open.take() {
            Some(open) if open.0 == name => open,
            _ => (
                name.to_owned(),
                OpenOptions::new().read(true).write(self.lock.is_some()).open(self.dir.join(name))?,
            ),
        };
        Ok(&mut self.open.insert(open).1)
    }

    fn close(&mut self, name: &str) {
        self.open.take_if(|open| open.0 == name);
    }
}

impl Disk for FileDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Names that are no text are none of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string())
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.dir.join(name))?.len())
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        let rest = file.metadata()?.len().saturating_sub(offset);
        let len = rest.min(len as u64);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.dir.join(name))?;
        self.open = Some((name.to_owned(), file));
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(name)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.file(name)?.set_len(len)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data() // fdatasync: bytes and length, not the times
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        self.close(from);
        self.close(to);
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        self.close(name);
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_kept_out_until_the_first_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let first = FileDisk::open(&dir.path().join("new/log")).unwrap();
        let error = FileDisk::open(&dir.path().join("new/log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        FileDisk::open(&dir.path().join("new/log")).unwrap();
    }

    #[test]
    fn who_looks_changes_nothing_and_needs_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mut owner = FileDisk::open(dir.path()).unwrap();
        owner.create("a").unwrap();
        owner.write("a", 0, b"text").unwrap();
        let mut look = FileDisk::look(dir.path());
        assert_eq!(
            (look.names().unwrap(), look.read("a", 0, 9).unwrap()),
            (vec!["a".to_owned()], b"text".to_vec())
        );
        assert!(look.create("b").is_err() && look.remove("a").is_err() && look.rename("a", "b").is_err());
        assert!(look.write("a", 0, b"x").is_err() && look.truncate("a", 0).is_err());
        assert_eq!(owner.read("a", 0, 9).unwrap(), b"text");
    }
}
