//! Serves blocks, batches and snapshots that are not what was asked for: swapped bodies, broken chains, certificates that
//! are none, chunks of another state.

use bytes::Bytes;
use epione_consensus::{BlocksAnswer, FetchedBlock, Message, Payload};
use epione_node::network::Class;
use epione_node::wire::{BLOCKS_MAX, Frame};
use epione_types::{Batch, ValidatorIndex, codec};

use super::{Actor, Stage};

#[derive(Debug)]
pub(super) struct CorruptServer;

fn corrupt(stage: &mut Stage<'_>, mut answer: BlocksAnswer) -> Option<BlocksAnswer> {
    let blocks = answer.blocks.len();
    let at = stage.random.index(blocks);
    match stage.random.below(13) {
        // A whole chain of its own under a good certificate; one block of its own in a good chain; one body of its own.
        9 => {
            for block in &mut answer.blocks {
                own_batch(block, true);
            }
            for at in 1..blocks {
                answer.blocks[at].header.parent = answer.blocks[at - 1].header.hash();
            }
        }
        12 => {
            let block = answer.blocks[at].clone();
            answer.blocks.resize(BLOCKS_MAX + 1, block); // more than an answer may have
        }
        10 => own_batch(&mut answer.blocks[at], true),
        11 => own_batch(&mut answer.blocks[at], false),
        0 => answer.blocks[at].batch = codec::encode(&Batch::Null).into(),
        1 => {
            let other = answer.blocks[stage.random.index(blocks)].batch.clone();
            answer.blocks[at].batch = other;
        }
        2 => answer.blocks[at].header.state_root.0[0] ^= 1,
        3 => drop(answer.blocks.remove(at)),
        4 => answer.blocks.swap(0, blocks - 1),
        5 => answer.certificate.height = answer.certificate.height.next(),
        6 => {
            // One bad signature among good ones.
            let spoil = answer.certificate.signatures.iter().map(|(who, mut signature)| {
                signature.0[1] ^= u8::from(who.get() % 2 == 0);
                (who, signature)
            });
            answer.certificate.signatures = spoil.collect();
        }
        7 => answer.blocks.clear(),
        _ => return None, // says nothing
    }
    Some(answer)
}

/// With one bit that is another.
fn spoilt(stage: &mut Stage<'_>, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = stage.random.index(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << stage.random.below(8);
    }
    bytes.into()
}

/// Empties the batch, and says so in the header or not.
fn own_batch(block: &mut FetchedBlock, told: bool) {
    let empty = Payload::new(Batch::Proposed {
        proposer: ValidatorIndex(0),
        stamp: block.header.timestamp,
        txs: Vec::new(),
    });
    block.batch = empty.bytes().clone();
    if told {
        block.header.batch_digest = empty.digest();
    }
}

impl Actor for CorruptServer {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match Frame::decode(&bytes) {
            Ok(Frame::Blocks(answer)) if !answer.blocks.is_empty() => {
                stage.deed();
                if let Some(answer) = corrupt(stage, answer) {
                    let times = if stage.random.chance(100) { 2 } else { 1 }; // the second one nobody asked for
                    (0..times).for_each(|_| stage.frame(to, &Frame::Blocks(answer.clone())));
                }
            }
            // A snapshot of another state, a chunk of another, one that it has not, or nothing.
            Ok(Frame::Snapshot(Some(manifest))) if stage.random.chance(700) => {
                stage.deed();
                let manifest = stage.random.chance(700).then(|| spoilt(stage, &manifest));
                stage.frame(to, &Frame::Snapshot(manifest));
            }
            Ok(Frame::Chunk { id, index, bytes: Some(bytes) }) => {
                stage.deed();
                let bytes = match stage.random.below(4) {
                    0 => None,
                    1 => return, // says nothing
                    2 => Some(bytes.slice(..bytes.len() / 2)),
                    _ => Some(spoilt(stage, &bytes)),
                };
                stage.frame(to, &Frame::Chunk { id, index, bytes });
            }
            Ok(Frame::Message(Message::Batch(batch))) => {
                stage.deed();
                let mut bytes = batch.to_vec();
                let at = stage.random.index(bytes.len());
                bytes[at] ^= 1;
                let sent = if stage.random.chance(500) { bytes.into() } else { batch };
                stage.message(to, Message::Batch(sent));
            }
            Ok(Frame::Message(Message::Certificate(mut certificate))) if stage.random.chance(300) => {
                stage.deed();
                certificate.height = certificate.height.next();
                stage.message(to, Message::Certificate(certificate));
            }
            _ => stage.send(to, class, bytes),
        }
    }

    /// It has more blocks than anybody asked for.
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, from: usize, _: Class, bytes: &Bytes) -> bool {
        if bytes.first() == Some(&3) && stage.random.chance(300) {
            stage.deed();
            stage.frame(
                from,
                &Frame::FetchBlocks { from: epione_types::Height(1), to: epione_types::Height(u64::MAX) },
            );
        }
        true
    }
}
