//! What a node's machine keeps: disks and a store that lose power, and the wire through which a process dies.
//!
//! Every change through a port spends one unit of the process's [`Life`]. A crash that is due in `k` calls lets `k` succeed;
//! from then on nothing works any more, in the middle of whatever was being done, and the scheduler takes the dead process
//! away. So a crash falls between any two effects, recovery's own included.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use epione_ledger::disk::{Disk, MemoryDisk};
use epione_ledger::store::{Batch, MemoryStore, Page, Store, StoreError};

use super::random::Rng;

/// How much longer a process lives, in calls of its ports.
#[derive(Debug)]
pub struct Life {
    left: AtomicU64,
    /// Syncs of a disk since this was asked last.
    syncs: AtomicU64,
    /// A disk has failed in the process's face.
    failed: AtomicBool,
}

impl Life {
    /// Without an end in sight.
    #[must_use]
    pub fn endless() -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(u64::MAX),
            syncs: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// One call; false if the process is dead already.
    #[must_use]
    pub fn spend(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left != u64::MAX {
            self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        left > 0
    }

    /// The end comes after so many calls.
    pub fn ends_after(&self, calls: u64) {
        self.left.store(calls, Ordering::Relaxed);
    }

    /// Nothing works any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Syncs since the last time.
    #[must_use]
    pub fn take_syncs(&self) -> u64 {
        self.syncs.swap(0, Ordering::Relaxed)
    }

    /// Did a disk fail, other than by death?
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

/// A disk as one process sees it.
#[derive(Debug)]
pub struct SimDisk {
    disk: MemoryDisk,
    life: Arc<Life>,
}

impl SimDisk {
    /// A handle that lives as long as its process.
    #[must_use]
    pub fn new(disk: &MemoryDisk, life: &Arc<Life>) -> Self {
        Self { disk: disk.clone(), life: life.clone() }
    }

    fn change<T>(&mut self, act: impl FnOnce(&mut MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        if !self.life.spend() {
            return Err(dead());
        }
        let done = act(&mut self.disk);
        if done.is_err() {
            self.life.failed.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Disk for SimDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        self.disk.names()
    }
    fn len(&mut self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read(name, offset, len)
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| disk.create(name))
    }
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| disk.write(name, offset, bytes))
    }
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.change(|disk| disk.truncate(name, len))
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.life.syncs.fetch_add(1, Ordering::Relaxed);
        self.change(|disk| disk.sync(name))
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| disk.rename(from, to))
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| disk.remove(name))
    }
    fn sync_dir(&mut self) -> io::Result<()> {
        self.change(MemoryDisk::sync_dir)
    }
}

/// A store as one process sees it.
#[derive(Debug)]
pub struct SimStore {
    store: MemoryStore,
    life: Arc<Life>,
}

impl SimStore {
    /// A handle that lives as long as its process.
    #[must_use]
    pub fn new(store: &MemoryStore, life: &Arc<Life>) -> Self {
        Self { store: store.clone(), life: life.clone() }
    }

    fn alive(&self, doing: &'static str) -> Result<(), StoreError> {
        if self.life.spend() { Ok(()) } else { Err(StoreError::Disk { doing, source: dead() }) }
    }
}

impl Store for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(from, to, limit)
    }
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        self.alive("writing")?;
        self.store.apply(batch)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.alive("syncing")?;
        self.store.sync()
    }
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.store.size_bytes()
    }
}

/// How a process ends, by what its machine keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// SIGKILL: the system goes on, and with it everything written; the store's own buffers are lost from some point on.
    Kill,
    /// Power cut: everything that was not synced is lost.
    Power,
    /// Power cut: of what was not synced, some sectors, names and batches were kept.
    Torn,
    /// The same, and a bit of the log is not what was written: the validator may refuse to vote for ever.
    Rot,
}

impl End {
    /// Its name in a plan.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Torn => "torn",
            Self::Rot => "rot",
        }
    }
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Power, Self::Torn, Self::Rot];
}

/// What outlives a process.
#[derive(Debug, Default)]
pub struct Machine {
    /// The ledger's store.
    pub store: MemoryStore,
    /// The consensus log's disk.
    pub log: MemoryDisk,
    /// The durable mempool's disk.
    pub pool: MemoryDisk,
    /// The snapshots' disk.
    pub shelf: MemoryDisk,
    /// The mark that the voting key has begun its log (R25).
    pub born: bool,
}

impl Machine {
    /// All its disks.
    #[must_use]
    pub const fn disks(&self) -> [&MemoryDisk; 3] {
        [&self.log, &self.pool, &self.shelf]
    }

    /// What remains after a process ended this way.
    pub fn end(&self, how: End, mut random: Rng) {
        match how {
            End::Kill => {
                let lost = if random.chance(500) { 0 } else { random.index(4) };
                self.store.crash(|unsynced| unsynced.saturating_sub(lost));
            }
            End::Power => {
                self.store.crash(|_| 0);
                self.disks().into_iter().for_each(|disk| disk.crash(|_| 0));
            }
            End::Torn | End::Rot => {
                self.store.crash(|unsynced| random.index(unsynced + 1));
                self.disks().into_iter().for_each(|disk| disk.crash(|n| random.below(n)));
            }
        }
        if how == End::Rot {
            self.rot(&mut random);
        }
    }

    fn rot(&self, random: &mut Rng) {
        let names = self.log.clone().names().unwrap_or_default();
        if names.is_empty() {
            return;
        }
        let name = random.pick(&names).clone();
        let len = self.log.bytes(&name).map_or(0, |bytes| bytes.len());
        let (at, bit) = (random.index(len), random.below(8));
        self.log.damage(&name, |bytes| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        });
    }
}
