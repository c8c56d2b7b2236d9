//! The consensus log: one append with its fdatasync, as a driver's iteration makes it.
//!
//! `cargo bench -p epione-benches --bench wal [-- --rounds 300]`
//!
//! On the disk of `TMPDIR`. **What fdatasync costs is the disk's affair**: a cached virtual disk answers in microseconds
//! what takes an SSD without power-loss protection milliseconds. The rows with a memory disk show our own part.
#![allow(clippy::float_arithmetic, reason = "figures for people")]

use epione_benches::{Samples, Scratch, Table, option};
use epione_ledger::disk::{Disk, FileDisk, MemoryDisk};
use epione_ledger::wal::{Wal, WalConfig};

/// What an iteration may have to say: a vote, some votes, a batch of 1,000 transactions.
const APPENDS: [(&str, usize, usize); 3] =
    [("one vote of 200 B", 1, 200), ("16 votes of 200 B", 16, 200), ("one batch of 400 kB", 1, 400_000)];

fn measure(
    table: &mut Table,
    name: &str,
    disk: impl Disk,
    (what, records, bytes): (&str, usize, usize),
    rounds: usize,
) {
    let mut wal = Wal::open(disk, WalConfig::default(), |_, _| {}).expect("an empty folder");
    let records = vec![vec![7; bytes]; records];
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.time(|| wal.append_and_sync(&records)).expect("written");
    }
    table.row(&format!("{what}, {name}"), &samples, 1);
}

fn main() {
    let rounds = option("--rounds", 300);
    let mut table = Table::new("append and fdatasync, per append");
    for append in APPENDS {
        let scratch = Scratch::new("wal");
        measure(&mut table, "file", FileDisk::open(scratch.path()).expect("a folder"), append, rounds);
        measure(&mut table, "memory", MemoryDisk::default(), append, rounds);
    }
}
