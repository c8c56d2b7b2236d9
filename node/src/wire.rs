//! What travels between validators: one enum, one encoding, a class for each kind of frame.
//!
//! Decoding is bounded by the frame, whose length the transport has bounded, and accepts one encoding per value.
//! Tested below and by `tests/hostile.rs`.

use bytes::Bytes;
use epione_consensus::{BlocksAnswer, Message};
use epione_ledger::snapshot::SnapshotId;
use epione_types::codec::{self, CodecError};
use epione_types::{Hash, Height, SignedTx};
use serde::{Deserialize, Serialize};

use crate::divergence::Execution;
use crate::network::Class;

/// Bytes of transactions that are gathered into one frame.
pub const FORWARD_BYTES: usize = 64 * 1024;
/// Bytes of blocks after which an answer ends with the next certificate.
pub const BLOCKS_BYTES: usize = 1 << 20;
/// Most blocks in an answer: each becomes a job at once.
pub const BLOCKS_MAX: usize = 1_024;
/// Longest answer with blocks; must fit a frame of [`Class::Sync`].
pub const BLOCKS_BYTES_MAX: usize = 7 << 20;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Consensus.
    Message(Message),
    /// Clients' transactions, forwarded.
    Transactions(Vec<SignedTx>),
    /// "Send me this batch."
    FetchBatch {
        /// Its height.
        height: Height,
        /// Its digest.
        digest: Hash,
    },
    /// "Send me these blocks, as many as fit."
    FetchBlocks {
        /// First height.
        from: Height,
        /// Last height.
        to: Height,
    },
    /// The answer.
    Blocks(BlocksAnswer),
    /// "Which snapshot have you above this height?"
    FetchSnapshot {
        /// A snapshot no higher is not worth fetching.
        above: Height,
    },
    /// The answer: the manifest of the newest one, or that there is none.
    Snapshot(Option<Bytes>),
    /// "Send me this chunk."
    FetchChunk {
        /// Of this snapshot.
        id: SnapshotId,
        /// Which.
        index: u32,
    },
    /// The answer.
    Chunk {
        /// Of this snapshot.
        id: SnapshotId,
        /// Which.
        index: u32,
        /// Packed; none if the snapshot is not here any more.
        bytes: Option<Bytes>,
    },
    /// "Send me what you executed at this height: I executed something else."
    FetchExecution {
        /// The height.
        height: Height,
    },
    /// The answer.
    Execution(Box<Execution>),
}

impl Frame {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From the wire: bounded, canonical, not yet trusted.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, bytes.len())
    }

    /// Votes never wait behind batches, nor either behind blocks.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Message(Message::Proposal(_, Some(_))) | Self::Transactions(_) => Class::Bulk,
            Self::Message(Message::Batch(_)) | Self::FetchBatch { .. } => Class::Sync,
            Self::FetchBlocks { .. } | Self::Blocks(_) => Class::Sync,
            Self::FetchSnapshot { .. } | Self::Snapshot(_) => Class::Sync,
            Self::FetchChunk { .. } | Self::Chunk { .. } => Class::Sync,
            Self::FetchExecution { .. } | Self::Execution(_) => Class::Sync,
            Self::Message(_) => Class::Consensus,
        }
    }
}

/// Transactions as frames of about [`FORWARD_BYTES`].
pub fn forwards<'a>(txs: impl IntoIterator<Item = &'a SignedTx>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut list, mut bytes) = (Vec::new(), 0);
    for tx in txs {
        bytes += tx.encoded_len();
        list.push(tx.clone());
        if bytes >= FORWARD_BYTES {
            frames.push(Frame::Transactions(core::mem::take(&mut list)));
            bytes = 0;
        }
    }
    if !list.is_empty() {
        frames.push(Frame::Transactions(list));
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::tests::{CHAIN, key, signed};

    #[test]
    fn frames_come_back_and_forwards_are_gathered() {
        let txs: Vec<SignedTx> = (0..400).map(|i| signed(CHAIN, &key(1), i, 50)).collect();
        let frames = forwards(&txs);
        assert!(frames.len() > 1);
        let mut back = Vec::new();
        for frame in &frames {
            let bytes = frame.encode();
            assert!(bytes.len() < FORWARD_BYTES + epione_types::tx::MAX_TX_BYTES + 16);
            let Ok(Frame::Transactions(list)) = Frame::decode(&bytes) else { panic!("a list") };
            back.extend(list);
        }
        assert_eq!(back, txs, "all of them, in order");
        assert!(forwards(&[]).is_empty());
    }

    #[test]
    fn cut_and_lengthened_frames_are_errors() {
        let frame = Frame::FetchBlocks { from: Height(1), to: Height(9) };
        let bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        for cut in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..cut]).is_err());
        }
        assert!(Frame::decode(&[&bytes[..], &[0]].concat()).is_err());
        // A list that claims 2^60 transactions: an error, and nothing allocated for it.
        let mut hostile = Frame::Transactions(Vec::new()).encode().to_vec();
        hostile[4..12].copy_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(Frame::decode(&hostile).is_err());
    }
}
