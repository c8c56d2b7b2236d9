//! Damage at every byte, a disk that forgets, and the promise: what was acknowledged is there, what is there was written.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::disk::{FileDisk, MemoryDisk};

const SMALL: WalConfig = WalConfig { segment_bytes: 1400, append_bytes_max: 4096 };

type Records = Vec<(u64, Vec<u8>)>;

fn open(disk: &MemoryDisk, config: WalConfig) -> Result<(Wal<MemoryDisk>, Records), WalError> {
    let mut records = Vec::new();
    let wal = Wal::open(disk.clone(), config, |index, record| records.push((index, record.to_vec())))?;
    Ok((wal, records))
}

fn record(index: u64) -> Vec<u8> {
    let length = usize::try_from(index * 97 % 500).unwrap();
    (0..length).map(|at| 1 + u8::try_from((at as u64 + index * 31) % 251).unwrap()).collect()
}

fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let mut copy = MemoryDisk::new();
    for name in disk.clone().names().unwrap() {
        copy.create(&name).unwrap();
        copy.write(&name, 0, &disk.bytes(&name).unwrap()).unwrap();
        copy.sync(&name).unwrap();
    }
    copy.sync_dir().unwrap();
    copy
}

/// Three segments or more of appends of one, two or three records; also where each frame of the last segment ends.
fn real_log() -> (MemoryDisk, Records, Vec<(u64, u64)>) {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    let mut ends = Vec::new();
    while wal.segments().count() < 3 || ends.len() < 3 {
        let first = wal.next_index();
        let records: Vec<_> = (first..=first + first % 3).map(record).collect();
        let before = wal.segments().count();
        assert_eq!(wal.append_and_sync(&records).unwrap(), first..first + records.len() as u64);
        if wal.segments().count() > before {
            ends.clear();
        }
        ends.push((wal.segments().last().unwrap().bytes, wal.next_index()));
    }
    let records = (0..wal.next_index()).map(|index| (index, record(index))).collect();
    (disk, records, ends)
}

/// Opens a damaged copy. What it accepts must be a prefix, and must be able to go on.
fn open_damaged(
    disk: &MemoryDisk,
    written: &Records,
    change: impl Fn(&mut Vec<u8>),
    name: &str,
) -> Result<u64, WalError> {
    let disk = copy(disk);
    disk.damage(name, change);
    let (mut wal, found) = open(&disk, SMALL)?;
    assert_eq!(found, written[..found.len()], "an invented record");
    let next = found.len() as u64;
    assert_eq!(wal.append_and_sync(&[b"after"]).unwrap(), next..next + 1);
    drop(wal);
    disk.crash(|_| 0);
    let (_, again) = open(&disk, SMALL).unwrap();
    assert_eq!(again[..found.len()], found);
    assert_eq!(again[found.len()..], [(next, b"after".to_vec())]);
    Ok(next)
}

#[test]
fn every_byte_cut_flipped_or_zeroed_gives_a_prefix_or_a_refusal() {
    let (disk, written, ends) = real_log();
    let names = {
        let mut names = disk.clone().names().unwrap();
        names.sort();
        names
    };
    let first_of_newest = format::first(names.last().unwrap()).unwrap();
    let last_frame = ends[ends.len() - 2].0;
    for (segment, name) in names.iter().enumerate() {
        let length = disk.bytes(name).unwrap().len();
        let newest = segment + 1 == names.len();
        for at in 0..length {
            let cut = open_damaged(&disk, &written, |bytes| bytes.truncate(at), name);
            if newest {
                // Exactly the frames that are whole.
                let whole = ends.iter().rev().find(|(end, _)| *end <= at as u64);
                assert_eq!(cut.unwrap(), whole.map_or(first_of_newest, |(_, next)| *next), "cut at {at}");
            } else {
                assert!(
                    matches!(cut, Err(WalError::Damaged { .. } | WalError::Gap { .. })),
                    "cut of segment {segment} at {at}"
                );
            }

            for mask in [1, 0x80, 0xff] {
                match open_damaged(&disk, &written, |bytes| bytes[at] ^= mask, name) {
                    Err(WalError::Damaged { file, offset, .. }) => {
                        assert_eq!(&file, name);
                        assert!(offset <= at as u64, "the place named is where the frame begins");
                    }
                    other => panic!("flip of segment {segment} at {at}: {other:?}"),
                }
            }

            for zeroed in [
                at..at + 1,
                at..(at + 600).min(length),
                at / 512 * 512..(at / 512 * 512 + 512).min(length),
                at..length,
            ] {
                if disk.bytes(name).unwrap()[zeroed.clone()].iter().all(|byte| *byte == 0) {
                    continue;
                }
                let outcome = open_damaged(&disk, &written, |bytes| bytes[zeroed.clone()].fill(0), name);
                match outcome {
                    // Only what can be the unfinished last write goes without a word: no whole frame is left after it.
                    Ok(_) => {
                        assert!(newest && zeroed.end as u64 > last_frame, "zeroed {zeroed:?} of {segment}")
                    }
                    Err(WalError::Damaged { file, .. }) => assert_eq!(&file, name),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_and_a_foreign_format_are_named() {
    let (disk, _, _) = real_log();
    let mut names = disk.clone().names().unwrap();
    names.sort();
    let mut holed = copy(&disk);
    holed.remove(&names[1]).unwrap();
    assert!(matches!(open(&holed, SMALL), Err(WalError::Gap { file, .. }) if file == names[2]));

    let newer = copy(&disk);
    newer.damage(&names[0], |bytes| {
        bytes[8] = 2;
        let check = crc32fast::hash(&bytes[..20]).to_le_bytes();
        bytes[20..24].copy_from_slice(&check);
    });
    assert!(matches!(open(&newer, SMALL), Err(WalError::Version { found: 2, known: 1, .. })));

    let mut swapped = copy(&disk);
    swapped.rename(&names[2], "x").unwrap();
    swapped.rename(&names[0], &names[2]).unwrap();
    swapped.rename("x", &names[0]).unwrap();
    assert!(matches!(open(&swapped, SMALL), Err(WalError::Damaged { offset: 0, .. })));
}

#[test]
fn a_frame_taken_out_or_doubled_is_noticed() {
    let (disk, written, ends) = real_log();
    let name = {
        let mut names = disk.clone().names().unwrap();
        names.sort();
        names.pop().unwrap()
    };
    let (from, to) = (usize::try_from(ends[0].0).unwrap(), usize::try_from(ends[1].0).unwrap());
    let out = open_damaged(&disk, &written, |bytes| drop(bytes.drain(from..to)), &name);
    assert!(matches!(out, Err(WalError::Damaged { offset, .. }) if offset == from as u64));
    let doubled = open_damaged(&disk, &written, |bytes| bytes.extend_from_within(from..to), &name);
    assert!(matches!(doubled, Err(WalError::Damaged { .. })));
}

/// A client may put the bytes of a frame into a record. They must not make a torn tail look like damage.
#[test]
fn a_record_that_looks_like_a_frame_is_only_a_record() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    wal.append_and_sync(&[b"kept"]).unwrap();
    let forged = Frame::encode(7, &[b"forged"], 100).unwrap();
    wal.append_and_sync(&[forged]).unwrap();
    let name = format::name(0);
    let whole = disk.bytes(&name).unwrap().len();
    disk.damage(&name, |bytes| bytes.truncate(whole - 1));
    assert_eq!(open(&disk, SMALL).unwrap().1, [(0, b"kept".to_vec())]);
}

#[test]
fn too_much_at_once_changes_nothing() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    let error = wal.append_and_sync(&[vec![1; 4096]]).unwrap_err();
    assert!(matches!(error, WalError::TooLong { bytes: 4100, max: 4096 }));
    assert_eq!(wal.append_and_sync(&[vec![1; 4092]]).unwrap(), 0..1);
    drop(wal);
    assert_eq!(open(&disk, SMALL).unwrap().1.len(), 1);
}

#[test]
fn trimming_drops_whole_segments_below_and_keeps_the_rest_over_restarts() {
    let (disk, written, _) = real_log();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    let segments: Vec<_> = wal.segments().cloned().collect();
    wal.trim_below(segments[0].records.end - 1).unwrap();
    assert_eq!(wal.segments().count(), segments.len());
    wal.trim_below(segments[0].records.end).unwrap();
    assert_eq!(wal.segments().count(), segments.len() - 1);
    wal.trim_below(u64::MAX).unwrap();
    assert_eq!(wal.segments().count(), 1, "the last one stays");
    drop(wal);
    let (wal, found) = open(&disk, SMALL).unwrap();
    assert_eq!(found, written[usize::try_from(segments.last().unwrap().records.start).unwrap()..]);
    assert_eq!(wal.next_index(), written.len() as u64);
}

#[test]
fn after_a_failure_nothing_is_written_until_repaired() {
    // Of one append that begins a segment: create, write, sync, sync_dir, write, sync.
    for fails_after in 0..6 {
        let disk = MemoryDisk::new();
        let (mut wal, _) = open(&disk, SMALL).unwrap();
        wal.append_and_sync(&[vec![1; 1000]]).unwrap();
        disk.fail_after(fails_after);
        assert!(matches!(wal.append_and_sync(&[vec![2; 1000]]), Err(WalError::Disk { .. })), "{fails_after}");
        assert!(wal.repair().is_err() && wal.is_stopped());
        disk.heal();
        assert!(matches!(wal.append_and_sync(&[b"x"]), Err(WalError::Stopped)));
        wal.repair().unwrap();
        assert_eq!(wal.append_and_sync(&[vec![3; 1000]]).unwrap(), 1..2);
        drop(wal);
        disk.crash(|_| 0);
        assert_eq!(open(&disk, SMALL).unwrap().1, [(0, vec![1; 1000]), (1, vec![3; 1000])]);
    }
}

#[test]
fn a_full_disk_stops_the_log_and_room_brings_it_back() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    wal.append_and_sync(&[b"kept"]).unwrap();
    disk.fill_up(100);
    let error = wal.append_and_sync(&[vec![2; 500]]).unwrap_err();
    assert!(
        matches!(error, WalError::Disk { ref source, .. } if source.kind() == io::ErrorKind::StorageFull)
    );
    // A restart on a full disk reads all that was acknowledged.
    drop(wal);
    disk.heal();
    let (mut wal, found) = open(&disk, SMALL).unwrap();
    assert_eq!(found, [(0, b"kept".to_vec())]);
    wal.append_and_sync(&[vec![2; 500]]).unwrap();
}

/// The sync fails, the process dies, the next one reads the record from the cache: from then on it must be durable.
#[test]
fn what_opening_reports_is_durable_even_if_its_sync_had_failed() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    wal.append_and_sync(&[b"one"]).unwrap();
    disk.fail_after(1); // the write succeeds, the sync does not
    wal.append_and_sync(&[b"two"]).unwrap_err();
    drop(wal);
    disk.heal();
    let (_, reported) = open(&disk, SMALL).unwrap();
    assert_eq!(reported.len(), 2);
    disk.crash(|_| 0);
    assert_eq!(open(&disk, SMALL).unwrap().1, reported);
}

#[test]
fn real_files_keep_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let mut found = Vec::new();
        let disk = FileDisk::open(dir.path()).unwrap();
        let wal = Wal::open(disk, SMALL, |index, record| found.push((index, record.to_vec()))).unwrap();
        (wal, found)
    };
    let (mut wal, _) = open();
    for index in 0..20 {
        wal.append_and_sync(&[record(index)]).unwrap();
    }
    assert!(wal.segments().count() > 2);
    let second = wal.segments().nth(1).unwrap().records.start;
    wal.trim_below(second).unwrap();
    let newest = dir.path().join(wal.segments().last().unwrap().name());
    drop(wal);
    let length = std::fs::metadata(&newest).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(length - 1).unwrap();
    let (mut wal, found) = open();
    assert_eq!(found, (second..19).map(|index| (index, record(index))).collect::<Vec<_>>());
    assert_eq!(wal.append_and_sync(&[b"again"]).unwrap(), 19..20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Appends, failures, power cuts and trims in any order: acknowledged records stay, and nothing else appears
    /// but records of an append whose outcome was unknown.
    #[test]
    fn acknowledged_records_survive_power_cuts(seed in any::<u64>(), steps in 1usize..60) {
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below.max(1)
        };
        let disk = MemoryDisk::new();
        let mut log = None;
        let mut acknowledged: Records = Vec::new();
        let mut unknown: Records = Vec::new();
        for step in 0..steps {
            let mut wal = match log.take() {
                Some(wal) => wal,
                None => {
                    let (wal, mut found) = open(&disk, SMALL).unwrap();
                    found.retain(|(index, _)| acknowledged.first().is_none_or(|(first, _)| index >= first));
                    prop_assert!(found.len() >= acknowledged.len(), "an acknowledged record is gone");
                    let extra = found.split_off(acknowledged.len());
                    prop_assert_eq!(&found, &acknowledged);
                    prop_assert!(extra.is_empty() || extra == unknown, "an invented record");
                    acknowledged.extend(extra);
                    unknown.clear();
                    wal
                }
            };
            match random(10) {
                0 => { drop(wal); disk.crash(&mut random); continue }
                1 => { drop(wal); disk.heal(); continue }
                2 => disk.fail_after(random(6)),
                3 => { disk.heal(); if wal.is_stopped() { wal.repair().unwrap(); unknown.clear(); } }
                4 => {
                    let below = acknowledged.len() as u64 / 2 + acknowledged.first().map_or(0, |(index, _)| *index);
                    let _ = wal.trim_below(below);
                    let first = wal.segments().next().unwrap().records.start;
                    acknowledged.retain(|(index, _)| *index >= first);
                }
                _ => {
                    let was_stopped = wal.is_stopped();
                    let records: Vec<Vec<u8>> = (0..=random(3)).map(|n| record(n + random(100) + step as u64)).collect();
                    let numbered = (wal.next_index()..).zip(records.iter().cloned());
                    match wal.append_and_sync(&records) {
                        Ok(_) => acknowledged.extend(numbered),
                        Err(_) if was_stopped => {}
                        Err(_) => unknown = numbered.collect(),
                    }
                }
            }
            if wal.is_stopped() && random(2) == 0 { drop(wal); disk.crash(&mut random); } else { log = Some(wal); }
        }
    }
}
