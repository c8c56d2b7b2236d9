//! The store on sled 0.34, with its traps walked around.
//!
//! * `flush` is not durable against a power cut (it uses `sync_file_range`): [`Store::sync`] also syncs sled's file
//!   itself, and every file in `blobs/`, should one ever appear there.
//! * Atomic is one batch of one tree: everything lives in the default tree, told apart by key prefixes.
//! * A page of up to 17 values is one item to sled, and one longer than a quarter of a segment goes to `blobs/`: with its
//!   segments of 512 KiB that happens at values of 8 KiB (`tests.rs` saw 39 such files). Here segments are larger.
//! * A batch goes in under a lock that every read in the process waits for: 5 us and more per row of it.
//! * Its cache defaults to 1 GiB: here it is given.
//! * Damaged files make it fail in its own ways, panics included: opening turns them into [`StoreError::Damaged`].

use std::{
    fs::{self, File},
    io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Batch, KEY_BYTES_MAX, Page, Store, StoreError, VALUE_BYTES_MAX};

/// A quarter of it takes 17 of the longest values with their keys.
const SEGMENT_BYTES: usize = 2 << 20;
const _: () = assert!(17 * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + 4096 < SEGMENT_BYTES / 4);

/// sled's own threads let go of its files a little after the store was dropped: how often, and for how long, one that was
/// opened again at once waits for them.
const LOCK_WAITS: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// A sled database of one tree.
#[derive(Debug)]
pub struct SledStore {
    db: sled::Db,
    dir: PathBuf,
    /// sled's own file, for the sync that sled leaves out.
    file: File,
}

impl SledStore {
    /// Opens a store, or makes one. `cache_bytes` bounds sled's page cache; 64 to 128 MiB suit a validator.
    ///
    /// # Errors
    /// [`StoreError::Disk`], also if another process has it; [`StoreError::Damaged`].
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        const DOING: &str = "opening";
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).segment_size(SEGMENT_BYTES);
        let mut waits = LOCK_WAITS;
        let db = loop {
            let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| {
                StoreError::Damaged { doing: DOING, what: "sled could not read its files".to_owned() }
            })?;
            match opened {
                Err(sled::Error::Io(error)) if waits > 0 && error.to_string().contains("acquire lock") => {
                    waits -= 1;
                    std::thread::sleep(LOCK_WAIT);
                }
                opened => break opened.map_err(on(DOING))?,
            }
        };
        let file = File::open(dir.join("db")).map_err(disk(DOING))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent).map_err(disk(DOING))?;
        }
        sync_dir(dir).map_err(disk(DOING))?;
        Ok(Self { db, dir: dir.to_owned(), file })
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get(key).map_err(on("reading"))?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Page::default()); // sled panics on a range that ends before it starts
        }
        let rows = match to {
            Some(to) => self.db.range(from..to),
            None => self.db.range(from..),
        };
        Page::collect(rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))), limit)
            .map_err(on("reading"))
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.checked()? {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.db.apply_batch(writes).map_err(on("writing"))
    }

    fn sync(&self) -> Result<(), StoreError> {
        const DOING: &str = "syncing";
        self.db.flush().map_err(on(DOING))?;
        self.file.sync_data().map_err(disk(DOING))?;
        sync_blobs(&self.dir.join("blobs")).map_err(disk(DOING))
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(on("measuring"))
    }
}

/// Values are kept too short for sled to put them there; if a page of several ever is not, it is synced all the same.
fn sync_blobs(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in &entries {
        match File::open(entry.path()) {
            Ok(file) => file.sync_data()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed since
            Err(error) => return Err(error),
        }
    }
    if entries.is_empty() { Ok(()) } else { sync_dir(dir) }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Disk { doing, source }
}

fn on(doing: &'static str) -> impl FnOnce(sled::Error) -> StoreError {
    move |error| match error {
        sled::Error::Io(source) => StoreError::Disk { doing, source },
        damaged @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. }) => StoreError::Damaged { doing, what: damaged.to_string() },
    }
}
