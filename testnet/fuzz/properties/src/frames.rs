//! Frames and consensus messages, from the wire to the gate: *nothing gets in that its signers did not sign*, and each value
//! has one encoding (failures.md, 6 and 15).
//!
//! An input is a frame, or says which message of four honest validators is damaged and how.

use std::sync::{Arc, LazyLock};

use epione_consensus::Message;
use epione_ledger::chain::{Chain, NewBlock, Origin};
use epione_ledger::snapshot::{Chunk, Manifest, SNAPSHOT_VERSION, SnapshotId, unpack};
use epione_ledger::store::MemoryStore;
use epione_node::divergence::{self, Compared, Execution, Wanted};
use epione_node::validate;
use epione_node::wire::Frame;
use epione_types::{ChainId, Epoch, Hash, Height, TimestampMs};

use crate::choices::Choices;
use crate::lived::LIVED;
use crate::{Outcome, blocks};

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    if choices.flag() {
        let Some(message) = choices.pick(&LIVED.messages) else { return Outcome::Refused };
        let mut bytes = Frame::Message(message.clone()).encode().to_vec();
        choices.edit(&mut bytes);
        return frame(&bytes);
    }
    frame(choices.rest())
}

fn frame(bytes: &[u8]) -> Outcome {
    let Ok(frame) = Frame::decode(bytes) else { return Outcome::Refused };
    assert_eq!(frame.encode(), bytes, "one encoding per value");
    let _ = frame.class();
    match frame {
        Frame::Message(message) => consensus(&message),
        Frame::Transactions(list) => {
            let parsed = list.into_iter().filter_map(|tx| validate::parse(tx, LIVED.chain_id).ok());
            Outcome::accepted(parsed.count() > 0)
        }
        Frame::Blocks(answer) => blocks::answer(answer),
        Frame::Execution(execution) => executed(&execution),
        Frame::FetchBatch { .. }
        | Frame::FetchBlocks { .. }
        | Frame::FetchExecution { .. }
        | Frame::FetchSnapshot { .. }
        | Frame::FetchChunk { .. }
        | Frame::Snapshot(None)
        | Frame::Chunk { bytes: None, .. } => Outcome::Accepted,
        Frame::Snapshot(Some(manifest)) => snapshot(&manifest),
        Frame::Chunk { index, bytes: Some(bytes), .. } => chunk(index, &bytes),
    }
}

/// A ledger of one block that writes this, on a state that all such ledgers have.
fn ledger(value: u8) -> Chain {
    let writes = |keys: &[u8], value| keys.iter().map(|key| (vec![*key], Some(vec![value]))).collect();
    let origin = Origin {
        chain: ChainId([1; 32]),
        timestamp: TimestampMs(1),
        writes: writes(&(0..100).collect::<Vec<u8>>(), 0),
    };
    let chain = Chain::open(Arc::new(MemoryStore::new()), &origin).expect("a new ledger");
    let block = NewBlock {
        height: Height(1),
        parent: chain.head().hash,
        epoch: Epoch::ZERO,
        timestamp: TimestampMs(2),
        batch_digest: Hash::ZERO,
        batch: vec![0; 4].into(),
        receipts: Vec::new(),
        writes: writes(&[1, 2, 200], value),
        next_epoch_hash: Hash::ZERO,
        epoch_begins: None,
        log_position: 0,
    };
    chain.append(&block).expect("it is the next");
    chain
}

/// What a quorum sealed, and whoever answers says that it is this, is compared with what this node executed.
fn executed(execution: &Execution) -> Outcome {
    static HERE: LazyLock<Chain> = LazyLock::new(|| ledger(1));
    let wanted = Wanted { height: Height(1), header: execution.header.hash(), quorum: true };
    match divergence::compare(&HERE, wanted, execution).expect("a store in memory") {
        Compared::Wrong(_) => Outcome::Refused,
        Compared::Below(_) | Compared::Found(_) => Outcome::Accepted,
    }
}

/// It is of a block that was certified, and its chunks have that one's root.
fn snapshot(bytes: &[u8]) -> Outcome {
    let Ok(manifest) = Manifest::decode(bytes) else { return Outcome::Refused };
    assert_eq!(manifest.encode(), bytes, "one encoding per value");
    let gate = LIVED.gate();
    let verified = manifest.verify(gate.chain, gate.set, gate.verifier).is_ok();
    assert!(!verified || LIVED.chain.iter().any(|(header, _)| *header == manifest.header), "{manifest:?}");
    Outcome::accepted(verified)
}

/// Whatever it is, it has not this hash.
fn chunk(index: u32, packed: &[u8]) -> Outcome {
    for entries in [0, 1, u32::MAX] {
        for bytes in [0, 300, 1 << 16, u32::MAX] {
            let chunk = Chunk { depth: 0, entries, bytes, hash: Hash([1; 32]) };
            assert!(unpack(&chunk, index, packed).is_err());
        }
    }
    Outcome::Refused
}

fn consensus(message: &Message) -> Outcome {
    let verified = LIVED.gate().message(message.clone()).is_ok();
    assert!(!verified || LIVED.was_said(message), "let in, but never said: {message:?}");
    Outcome::accepted(verified)
}

/// Inputs to begin with: every honest message, whole and by number, and frames of the other kinds.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let whole = |frame: Frame| [&[0][..], &frame.encode()].concat();
    let messages = &LIVED.messages;
    let mut kinds = std::collections::BTreeSet::new();
    let first = messages.iter().filter(|message| kinds.insert(format!("{message:?}")[..8].to_owned()));
    let mut seeds: Vec<Vec<u8>> = first.map(|message| whole(Frame::Message(message.clone()))).collect();
    seeds.extend((0..messages.len()).map(|i| vec![1, (i >> 8) as u8, i as u8]));
    let (height, digest) = (epione_types::Height(1), epione_types::Hash::ZERO);
    seeds.push(whole(Frame::FetchBatch { height, digest }));
    seeds.push(whole(Frame::FetchBlocks { from: height, to: height }));
    seeds.push(whole(Frame::FetchSnapshot { above: height }));
    let (id, index) = (SnapshotId(digest), 0);
    seeds.push(whole(Frame::FetchChunk { id, index }));
    let packed = vec![0x70, 2, 0, 1, 0, b'k', b'y', b'v'].into(); // an lz4 block: seven literals
    seeds.push(whole(Frame::Chunk { id, index, bytes: Some(packed) }));
    if let Some(certificate) = LIVED.certificates.first()
        && let Some((header, _)) = LIVED.chain.iter().find(|(header, _)| header.height == certificate.height)
    {
        let manifest = Manifest {
            version: SNAPSHOT_VERSION,
            chain: LIVED.chain_id,
            header: header.clone(),
            certificate: certificate.clone(),
            turns: Vec::new(),
            chunks: vec![Chunk { depth: 0, entries: 0, bytes: 0, hash: header.state_root }],
        };
        seeds.push(whole(Frame::Snapshot(Some(manifest.encode().into()))));
    }
    seeds.push(whole(Frame::FetchExecution { height }));
    let execution = divergence::read(&ledger(2), height).ok().flatten();
    seeds.extend(execution.map(|execution| whole(Frame::Execution(Box::new(execution)))));
    seeds.extend(LIVED.answer(height, height).map(|answer| whole(Frame::Blocks(answer))));
    let tx = epione_types::SignedTx { body: vec![1, 2, 3].into(), signatures: Vec::new() };
    seeds.push(whole(Frame::Transactions(vec![tx])));
    seeds
}
