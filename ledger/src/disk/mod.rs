//! The file system as the ledger needs it: one directory, flat names, and a difference between written and kept.
//!
//! A port, so that the simulator runs the real log over a disk that loses power: [`FileDisk`] is the operating
//! system, [`MemoryDisk`] forgets what was not synced, tears, flips, fills up and fails on demand.
//! Calls block; they belong on a thread of their own, never on an async worker.

mod file;
mod memory;

use std::io;

pub use self::{file::FileDisk, memory::MemoryDisk};

/// One directory of files. A write, a truncation or a new length survives a power cut only after
/// [`Disk::sync`] of the file, a creation, rename or removal only after [`Disk::sync_dir`].
pub trait Disk: Send {
    /// Names of all files, in any order.
    ///
    /// # Errors
    /// Of the file system, as in every method here.
    fn names(&mut self) -> io::Result<Vec<String>>;

    /// Length in bytes.
    ///
    /// # Errors
    /// No such file.
    fn len(&mut self, name: &str) -> io::Result<u64>;

    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// No such file.
    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// A new empty file.
    ///
    /// # Errors
    /// The name is taken.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if need be. On an error some of it may be written.
    ///
    /// # Errors
    /// No such file, no space.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends with zeros to `len` bytes.
    ///
    /// # Errors
    /// No such file.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable. After an error, what was written since the last success may be
    /// lost although it still reads back, and a later success says nothing about it: write it again.
    ///
    /// # Errors
    /// No such file, a disk that failed.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Gives a file another name, replacing what had it, at once.
    ///
    /// # Errors
    /// No such file.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// No such file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// A disk that failed.
    fn sync_dir(&mut self) -> io::Result<()>;
}
