//! A validator's log as its disk gives it back: *what opens is a prefix of what was written, and a validator restored from it
//! says nothing new* (failures.md, 2; R26). Damage that is no power cut is refused.
//!
//! An input says how a real log was written, what happened to its files, and where the power went; or it is the bytes of a
//! file; or it says in which order sound records of a real log stand in a log.

use std::sync::Arc;

use epione_consensus::{Config, Effect, Message, Record, Replica, Stored, Wal as _};
use epione_ledger::disk::{Disk as _, MemoryDisk};
use epione_ledger::wal::WalConfig;
use epione_node::log::{ConsensusLog, LogError, Records};
use epione_types::ValidatorIndex;

use crate::Outcome;
use crate::choices::Choices;
use crate::common::{Disk, FakeSigner};
use crate::lived::LIVED;

/// Small files, so that a log has several.
const CONFIG: WalConfig = WalConfig { segment_bytes: 2 << 10, append_bytes_max: 1 << 20 };

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    match choices.below(3) {
        0 => damaged(choices),
        1 => foreign(choices.rest()),
        _ => reordered(choices),
    }
}

fn open(disk: MemoryDisk) -> Result<Vec<Record>, LogError> {
    ConsensusLog::open_sized(disk, CONFIG).map(|(_, records)| records.iter().cloned().collect())
}

/// A real log, written in groups; perhaps the power goes; perhaps the disk rots.
fn damaged(mut choices: Choices<'_>) -> Outcome {
    let me = choices.below(LIVED.logs.len());
    let whole = &LIVED.logs[me];
    let written = &whole[..=choices.below(whole.len())];
    let disk = MemoryDisk::new();
    let (mut log, _) = ConsensusLog::open_sized(disk.clone(), CONFIG).unwrap();
    let (mut rest, mut synced) = (written, 0);
    while !rest.is_empty() {
        let (group, later) = rest.split_at(1 + choices.below(rest.len().min(9)));
        rest = later;
        if rest.is_empty() && choices.flag() {
            disk.fail_after(choices.below(4) as u64); // in the midst of the last append
        }
        if log.append_and_sync(group).is_err() {
            break;
        }
        synced += group.len();
    }
    drop(log);
    disk.crash(|bound| choices.number() % bound);
    let mut names = disk.clone().names().unwrap();
    names.sort();
    let (mut rotten, mut beheaded) = (false, 0);
    for _ in 0..choices.below(4) {
        rotten = true;
        rot(&disk, &mut names, &mut choices, &mut beheaded);
    }
    let found = match open(disk.clone()) {
        Ok(found) => found,
        Err(error) => {
            assert!(rotten, "a power cut alone was refused: {error}");
            assert!(error.to_string().len() < 600, "{error}");
            return Outcome::Refused;
        }
    };
    // Oldest files that are gone are as trimmed; then the birth record is missing, and there are no votes.
    let start = (0..=written.len()).find(|at| written[*at..].starts_with(&found));
    let start = start.expect("records that were never written, or with a hole");
    assert!(start == 0 || beheaded > 0 || found.is_empty(), "the beginning is gone");
    assert!(rotten || found.len() >= synced, "{} of {synced} synced records", found.len());
    assert_eq!(open(disk).ok().as_ref(), Some(&found), "opening again gives the same");
    restore(me, &found, start == 0)
}

/// What a bad disk does to its files. A file that vanishes is the oldest: others leave a gap, which is refused.
fn rot(disk: &MemoryDisk, names: &mut Vec<String>, choices: &mut Choices<'_>, beheaded: &mut usize) {
    let which = choices.below(names.len());
    let Some(name) = names.get(which).cloned() else { return };
    let len = disk.bytes(&name).map_or(0, |bytes| bytes.len());
    let at = choices.below(len);
    match choices.below(6) {
        0 => disk.damage(&name, |bytes| bytes.truncate(at)),
        1 => {
            let end = at + choices.below(1_024);
            disk.damage(&name, |bytes| bytes.iter_mut().take(end).skip(at).for_each(|byte| *byte = 0));
        }
        2 => {
            *beheaded += usize::from(which == 0);
            disk.clone().remove(&name).unwrap();
            names.remove(which);
        }
        3 => {
            let end = len + choices.below(1_024);
            disk.damage(&name, |bytes| bytes.resize(end.max(bytes.len()), 0));
        }
        _ => {
            let bit = 1 << choices.below(8);
            disk.damage(&name, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit));
        }
    }
}

/// A validator restored from `found` has what follows from it, and says nothing against what it once said.
fn restore(me: usize, found: &[Record], sound: bool) -> Outcome {
    let me = ValidatorIndex(me as u16);
    let config =
        Config { chain: LIVED.chain_id, set: LIVED.set.clone(), begin: epione_types::Height::ZERO, me };
    let signer = Arc::new(FakeSigner(LIVED.set.get(me).unwrap().public_key));
    let stored = Stored::genesis(LIVED.chain_id, LIVED.genesis_time);
    let (replica, step) = match Replica::restore(config, signer, stored, found.to_vec()) {
        Ok(restored) => restored,
        Err(error) => {
            assert!(!sound || found.is_empty(), "a sound log was refused: {error}");
            return Outcome::Refused;
        }
    };
    // It goes on at once where it can, and logs that first.
    let mut disk = Disk::default();
    let Ok(effects) = step.commit(&mut disk) else { return Outcome::Refused };
    for record in replica.live_records() {
        assert!(found.contains(&record) || disk.synced.contains(&record), "an invented record: {record:?}");
    }
    for effect in effects {
        if let Effect::Broadcast(Message::Vote(vote) | Message::Proposal(vote, _))
        | Effect::Send(_, Message::Vote(vote) | Message::Proposal(vote, _)) = effect
        {
            assert!(vote.from != me || !LIVED.contradicts(&vote), "said otherwise before: {vote:?}");
        }
    }
    Outcome::Accepted
}

/// One file with these bytes, and perhaps a second one.
fn foreign(bytes: &[u8]) -> Outcome {
    let disk = MemoryDisk::new();
    let (second, first) = bytes.split_at(bytes.len().min(2));
    let second = u64::from(second.first().copied().unwrap_or(0)) * 8;
    let cut = if second == 0 { first.len() } else { first.len() / 2 };
    for (name, part) in [(0, &first[..cut]), (second, &first[cut..])] {
        let name = format!("{name:020}.log");
        if disk.bytes(&name).is_none() {
            disk.clone().create(&name).unwrap();
            disk.clone().write(&name, 0, part).unwrap();
        }
    }
    match open(disk.clone()) {
        Ok(records) => {
            assert_eq!(open(disk).ok(), Some(records), "opening again gives the same");
            Outcome::Accepted
        }
        Err(_) => Outcome::Refused,
    }
}

/// Sound frames with records of a real log, or damaged ones, in any order: restored or refused, never a panic.
fn reordered(mut choices: Choices<'_>) -> Outcome {
    let me = choices.below(LIVED.logs.len());
    let config = Config {
        chain: LIVED.chain_id,
        set: LIVED.set.clone(),
        begin: epione_types::Height::ZERO,
        me: ValidatorIndex(me as u16),
    };
    let mut records = Vec::new();
    if !choices.flag() {
        records.push(LIVED.logs[me][0].clone());
    }
    while !choices.is_empty() && records.len() < 200 {
        let log = choices.byte();
        let log = if log < 200 { me } else { usize::from(log) % LIVED.logs.len() };
        let Some(record) = choices.pick(&LIVED.logs[log]) else { break };
        if choices.byte() > 240 {
            let mut bytes = record.encode();
            choices.edit(&mut bytes);
            records.extend(Record::decode(&bytes));
        } else {
            records.push(record.clone());
        }
    }
    let (mut log, _) = ConsensusLog::open_sized(MemoryDisk::new(), CONFIG).unwrap();
    log.append_and_sync(&records).unwrap();
    let (_, read): (_, Records) = ConsensusLog::open_sized(log.close(), CONFIG).unwrap();
    assert!(read.iter().eq(&records));
    let signer = Arc::new(FakeSigner(LIVED.set.get(config.me).unwrap().public_key));
    let stored = Stored::genesis(LIVED.chain_id, LIVED.genesis_time);
    Outcome::accepted(Replica::restore(config, signer, stored, read.resumable()).is_ok())
}

/// Inputs to begin with: whole logs, a cut, a flip, a file of a real log, records in order.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for me in 0..4 {
        for len in [0, 3, 9, 20, 40] {
            seeds.push(vec![0, me, len]);
            seeds.push([&[0, me, len][..], &[4; 12], &[1, 3, 1, 1, 1, 1, 0, 0, 0]].concat());
            seeds.push([&[0, me, len][..], &[2; 16], &[0, 0, 0, 0, 0, 1, 0, 0, 40, 5, 3]].concat());
        }
        let in_order = (0..LIVED.logs[usize::from(me)].len() as u8).flat_map(|at| [0, at, 0]);
        seeds.push([2, me, 1].into_iter().chain(in_order).collect());
    }
    let disk = MemoryDisk::new();
    let (mut log, _) = ConsensusLog::open_sized(disk.clone(), WalConfig::default()).unwrap();
    log.append_and_sync(&LIVED.logs[1][..4]).unwrap();
    log.append_and_sync(&LIVED.logs[1][4..6]).unwrap();
    let file = disk.bytes("00000000000000000000.log").unwrap();
    seeds.push([&[1, 0, 0][..], &file].concat());
    seeds.push([&[1, 1, 0][..], &file, &file].concat());
    seeds
}
