//! A disk in memory that loses power. Deterministic: what a crash keeps is drawn from the caller's random numbers.
//!
//! A file is what reads back (`current`) and what a power cut would leave (`kept`), with the sectors in
//! between. Sectors are written in any order and whole; names change in the order they were changed. As on
//! Linux, a failed sync marks its sectors as done: they read back, and no later sync writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Disk;

const SECTOR: usize = 512;

/// A simulated directory. A clone is another handle of it: keep one over a crash of whoever uses the other.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: Names,
    kept_names: Names,
    /// Names as they were after each change since the last directory sync.
    name_changes: Vec<Names>,
    /// Successful changes left before all changes fail.
    changes_left: Option<u64>,
    /// Bytes that all files together may take.
    capacity: Option<usize>,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct File {
    current: Vec<u8>,
    kept: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl MemoryDisk {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power. `random(n)` gives numbers below `n`: of every sector and name change that was not
    /// synced it decides whether it was kept. `|_| 0` loses all of them.
    pub fn crash(&self, mut random: impl FnMut(u64) -> u64) {
        let mut state = self.state();
        let changes = state.name_changes.len() as u64;
        let kept = usize::try_from(random(changes + 1)).unwrap_or(0);
        if let Some(names) = kept.checked_sub(1).and_then(|last| state.name_changes.get(last)).cloned() {
            state.kept_names = names;
        }
        state.names = state.kept_names.clone();
        state.name_changes.clear();
        for file in &mut state.files {
            let grown = file.current.len().saturating_sub(file.kept.len()) as u64;
            let shrunk = file.kept.len().saturating_sub(file.current.len());
            let growth = usize::try_from(random(grown + 1)).unwrap_or(0);
            let len =
                if shrunk > 0 && random(2) == 1 { file.current.len() } else { file.kept.len() + growth };
            file.kept.resize(len, 0);
            for sector in std::mem::take(&mut file.dirty) {
                if random(2) == 1 {
                    file.keep(sector);
                }
            }
            file.current = file.kept.clone();
        }
        (state.changes_left, state.capacity) = (None, None);
    }

    /// Lets `changes` more changes and syncs succeed; later ones fail until [`Self::heal`].
    pub fn fail_after(&self, changes: u64) {
        self.state().changes_left = Some(changes);
    }

    /// Lets all files together have at most `bytes` bytes.
    pub fn fill_up(&self, bytes: usize) {
        self.state().capacity = Some(bytes);
    }

    /// Ends [`Self::fail_after`] and [`Self::fill_up`].
    pub fn heal(&self) {
        let mut state = self.state();
        (state.changes_left, state.capacity) = (None, None);
    }

    /// Rot: changes bytes of a file where they are kept.
    pub fn damage(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Ok(file) = state.file(name) {
            change(&mut file.current);
            change(&mut file.kept);
        }
    }

    /// Bytes of a file as they read back.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.state().file(name).ok().map(|file| file.current.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    /// Moves one sector to what is kept, within its length.
    fn keep(&mut self, sector: usize) {
        let end = ((sector + 1) * SECTOR).min(self.current.len()).min(self.kept.len());
        let range = sector * SECTOR..end;
        if let (Some(kept), Some(current)) = (self.kept.get_mut(range.clone()), self.current.get(range)) {
            kept.copy_from_slice(current);
        }
    }
}

impl State {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let id = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(*id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn changing(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => Err(io::Error::other("simulated disk failure")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn renamed(&mut self) {
        self.name_changes.push(self.names.clone());
    }
}

impl Disk for MemoryDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.state().file(name)?.current.len() as u64)
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        Ok(self.state().file(name)?.current.iter().skip(offset).take(len).copied().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        state.files.push(File::default());
        state.names.insert(name.to_owned(), id);
        state.renamed();
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.state();
        state.changing()?;
        let used: usize =
            state.names.values().filter_map(|id| state.files.get(*id)).map(|f| f.current.len()).sum();
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let file = state.file(name)?;
        let fits = file.current.len().saturating_add(room).saturating_sub(offset).min(bytes.len());
        let end = offset + fits;
        file.current.resize(file.current.len().max(end), 0);
        for (to, from) in file.current.iter_mut().skip(offset).zip(bytes.iter().take(fits)) {
            *to = *from;
        }
        file.touch(offset, end);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.state();
        state.changing()?;
        let file = state.file(name)?;
        let old = file.current.len();
        file.current.resize(len, 0);
        file.touch(old.min(len), old.max(len));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let allowed = state.changing();
        let file = state.file(name)?;
        let dirty = std::mem::take(&mut file.dirty);
        allowed?;
        file.kept.resize(file.current.len(), 0);
        dirty.into_iter().for_each(|sector| file.keep(sector));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        state.renamed();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.renamed();
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        state.kept_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(bytes: &[u8]) -> MemoryDisk {
        let mut disk = MemoryDisk::new();
        disk.create("a").unwrap();
        disk.write("a", 0, bytes).unwrap();
        disk.sync("a").unwrap();
        disk.sync_dir().unwrap();
        disk
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_only_that() {
        let mut disk = disk_with(b"kept");
        disk.write("a", 4, b" lost").unwrap();
        disk.create("b").unwrap();
        disk.rename("a", "c").unwrap();
        disk.crash(|_| 0);
        assert_eq!(disk.names().unwrap(), ["a"]);
        assert_eq!(disk.bytes("a").unwrap(), b"kept");
    }

    #[test]
    fn after_a_failed_sync_a_good_one_does_not_bring_the_bytes_back() {
        let mut disk = disk_with(b"kept");
        disk.write("a", 0, b"lost").unwrap();
        disk.fail_after(0);
        disk.sync("a").unwrap_err();
        disk.heal();
        disk.sync("a").unwrap();
        assert_eq!(disk.bytes("a").unwrap(), b"lost");
        disk.crash(|n| n - 1);
        assert_eq!(disk.bytes("a").unwrap(), b"kept");
    }

    #[test]
    fn a_full_disk_writes_what_fits() {
        let mut disk = disk_with(b"kept");
        disk.fill_up(6);
        assert_eq!(disk.write("a", 4, b"1234").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes("a").unwrap(), b"kept12");
        disk.heal();
        disk.write("a", 4, b"1234").unwrap();
    }
}
