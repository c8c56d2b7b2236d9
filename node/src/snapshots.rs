//! Snapshots beside consensus: made of the chain in steps, read for peers, and kept as they come from peers.
//!
//! ```text
//!  write lane: height is a multiple ─▶ capture begins        driver: one step after the other ─▶ shelf
//!  driver: too far behind ─▶ manifest from a peer ─▶ verified ─▶ chunks from all peers ─▶ whole ─▶ installed at the next start
//! ```
//!
//! A shelf whose disk fails costs snapshots and nothing else: voting never depends on it. Tested by `tests/snapshots.rs`.

use std::sync::Arc;

use bytes::Bytes;
use epione_ledger::chain::Chain;
use epione_ledger::disk::Disk;
use epione_ledger::snapshot::{CHUNK_BYTES, Fetched, Made, Maker, Manifest, Shelf, ShelfError, SnapshotId};
use epione_types::{Height, TimestampMs, ValidatorIndex, ValidatorSet, Verifier};
use tracing::{info, warn};

use crate::ports::{Answer, Job, Lane};
use crate::wire::Frame;

/// When a node makes snapshots, and when it wants one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshots {
    /// A snapshot is made of heights that are a multiple of this; of none if it is 0.
    pub every: u64,
    /// Of the first of them in each such span of block time, in ms; of all if it is 0. So nodes under load are not always making
    /// one, and all make the same.
    pub span_ms: u64,
    /// A snapshot is fetched if it saves at least so many blocks; none ever is if it is 0.
    pub gap: u64,
    /// Chunks of so many bytes: the same at all nodes, which else cannot share them. Tests make them small.
    pub chunk_bytes: usize,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { every: 1_000, span_ms: 600_000, gap: 10_000, chunk_bytes: CHUNK_BYTES }
    }
}

impl Snapshots {
    /// Is one made of this height? `sealed` gives the time of a block, if it is known.
    #[must_use]
    pub fn is_due(self, height: Height, sealed: impl Fn(Height) -> Option<TimestampMs>) -> bool {
        let span = |height| sealed(height)?.0.checked_div(self.span_ms);
        self.every > 0
            && height.0.is_multiple_of(self.every)
            && span(height).is_none_or(|now| span(height.minus(self.every)) != Some(now))
    }
}

/// Work on snapshots.
#[derive(Debug)]
pub enum SnapshotJob {
    /// Some milliseconds of making the one that is captured.
    Make(Height),
    /// Read the newest manifest above a height, for a peer.
    ReadManifest {
        /// Who asks.
        peer: ValidatorIndex,
        /// What it has, and blocks that are fetched as fast.
        above: Height,
    },
    /// Read a chunk for a peer.
    ReadChunk {
        /// Who asks.
        peer: ValidatorIndex,
        /// Of this snapshot.
        id: SnapshotId,
        /// Which.
        index: u32,
    },
    /// Verify a manifest that a peer sent, and begin to fetch, or go on.
    Begin {
        /// Who sent it.
        peer: ValidatorIndex,
        /// Encoded.
        manifest: Bytes,
        /// It must be of a greater height.
        above: Height,
    },
    /// Check and keep a chunk that a peer sent.
    Keep {
        /// Who sent it.
        peer: ValidatorIndex,
        /// Which.
        index: u32,
        /// Packed.
        bytes: Bytes,
    },
    /// All chunks are here: let it be installed at the next start.
    Finish,
    /// Give up the one that is being fetched.
    Drop,
}

/// What became of it.
#[derive(Debug)]
pub enum SnapshotAnswer {
    /// Of [`SnapshotJob::Make`].
    Made(Making),
    /// Of [`SnapshotJob::Begin`].
    Begun {
        /// Who sent the manifest.
        peer: ValidatorIndex,
        /// What is missing now.
        result: Result<Fetched, Trouble>,
    },
    /// Of [`SnapshotJob::Keep`].
    Kept {
        /// Who sent the chunk.
        peer: ValidatorIndex,
        /// Which.
        index: u32,
        /// Whether it is kept.
        result: Result<(), Trouble>,
    },
    /// Of [`SnapshotJob::Finish`].
    Finished(Result<(), Trouble>),
}

/// How far making is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// There is more to do.
    More {
        /// Better soon: what is overwritten meanwhile has to be remembered.
        hurry: bool,
    },
    /// It waits for its height's certificate.
    Waiting,
    /// It stands on the shelf.
    Made,
    /// It was given up.
    GivenUp,
}

/// Why a snapshot is not fetched further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// What the peer sent is wrong.
    Peer(String),
    /// This node's disk failed.
    Disk(String),
}

impl From<ShelfError> for Trouble {
    fn from(error: ShelfError) -> Self {
        Self::Disk(error.to_string())
    }
}

/// Does all of it; with no shelf, for want of a disk, nobody's state stays captured.
#[derive(Debug)]
pub struct SnapshotLane<V, D>(Result<Work<V, D>, Arc<Chain>>);

#[derive(Debug)]
struct Work<V, D> {
    chain: Arc<Chain>,
    shelf: Shelf<D>,
    genesis: ValidatorSet,
    verifier: V,
    maker: Option<Maker>,
    chunk_bytes: usize,
}

impl<V: Verifier, D: Disk> SnapshotLane<V, D> {
    /// With the shelf of this node; the validators of genesis are what manifests are verified from.
    pub fn new(
        chain: Arc<Chain>,
        shelf: Option<Shelf<D>>,
        (genesis, verifier): (ValidatorSet, V),
        settings: Snapshots,
    ) -> Self {
        let chunk_bytes = settings.chunk_bytes;
        Self(match shelf {
            Some(shelf) => Ok(Work { chain, shelf, genesis, verifier, maker: None, chunk_bytes }),
            None => Err(chain),
        })
    }

    /// What was being fetched when the node stopped, if it is still worth it.
    #[must_use]
    pub fn partial(&self) -> Option<Fetched> {
        let Work { chain, shelf, .. } = self.0.as_ref().ok()?;
        shelf.partial().filter(|one| one.height > chain.head().height)
    }

    /// Does a job of [`crate::ports::Lane::Snapshot`].
    pub fn perform(&mut self, job: Job) -> Option<Answer> {
        let Job::Snapshot(job) = job else { return None };
        match &mut self.0 {
            Ok(work) => work.perform(job),
            Err(chain) => without(chain, job),
        }
    }
}

impl<V: Verifier, D: Disk> Work<V, D> {
    fn perform(&mut self, job: SnapshotJob) -> Option<Answer> {
        let shelf = &mut self.shelf;
        let answer = match job {
            SnapshotJob::Make(height) => SnapshotAnswer::Made(self.make(height)),
            SnapshotJob::ReadManifest { peer, above } => {
                let manifest = shelf.newest(above).map(|manifest| manifest.encode().into());
                return Some(read(peer, &Frame::Snapshot(manifest)));
            }
            SnapshotJob::ReadChunk { peer, id, index } => {
                let bytes = shelf.chunk(id, index).unwrap_or_else(|error| {
                    warn!(%error, "a chunk could not be read for a peer");
                    None
                });
                return Some(read(peer, &Frame::Chunk { id, index, bytes }));
            }
            SnapshotJob::Begin { peer, manifest, above } => {
                SnapshotAnswer::Begun { peer, result: self.begin(&manifest, above) }
            }
            SnapshotJob::Keep { peer, index, bytes } => {
                SnapshotAnswer::Kept { peer, index, result: self.keep(index, &bytes) }
            }
            SnapshotJob::Finish => SnapshotAnswer::Finished(shelf.install_next().map_err(Into::into)),
            SnapshotJob::Drop => {
                if let Err(error) = shelf.drop_partial() {
                    warn!(%error, "a snapshot that is given up could not be removed");
                }
                return None;
            }
        };
        Some(Answer::Snapshot(answer))
    }

    fn make(&mut self, height: Height) -> Making {
        let shelf = &mut self.shelf;
        let begun = self.maker.take().filter(|maker| maker.height() == height);
        if begun.is_none() {
            // A ledger that lost its end executes a height again whose snapshot was made.
            if shelf.has(height) {
                self.chain.drop_capture(height);
                return Making::Made;
            }
            // One of this height that was being fetched has no use any more, and its file is the one that is written now.
            if shelf.partial().is_some_and(|one| one.height == height)
                && let Err(error) = shelf.drop_partial()
            {
                warn!(%error, "a snapshot that is given up could not be removed");
            }
        }
        let mut maker = begun.unwrap_or_else(|| Maker::with_chunks_of(height, self.chunk_bytes));
        let made = match maker.step(&self.chain, shelf) {
            Ok(Made::More) => Making::More { hurry: self.chain.is_capture_large() },
            Ok(Made::Waiting) => Making::Waiting,
            Ok(Made::Done { height, entries, bytes }) => {
                info!(%height, entries, bytes, "a snapshot is made");
                return Making::Made;
            }
            Err(error) => {
                warn!(%height, %error, "no snapshot is made of this height");
                self.chain.drop_capture(height);
                if let Err(error) = shelf.drop_making() {
                    warn!(%error, "the beginning of a snapshot could not be removed");
                }
                return Making::GivenUp;
            }
        };
        self.maker = Some(maker);
        made
    }

    fn begin(&mut self, manifest: &[u8], above: Height) -> Result<Fetched, Trouble> {
        let wrong = |error: epione_ledger::snapshot::SnapshotError| Trouble::Peer(error.to_string());
        let manifest = Manifest::decode(manifest).map_err(wrong)?;
        if manifest.header.height <= above {
            let height = manifest.header.height;
            return Err(Trouble::Peer(format!("its height {height} is not above {above}, as asked for")));
        }
        manifest.verify(self.chain.chain_id(), &self.genesis, &self.verifier).map_err(wrong)?;
        Ok(self.shelf.begin(manifest)?)
    }

    fn keep(&mut self, index: u32, bytes: &[u8]) -> Result<(), Trouble> {
        match self.shelf.keep(index, bytes)? {
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Peer(error.to_string())),
        }
    }
}

/// What a node says that has no shelf.
fn without(chain: &Chain, job: SnapshotJob) -> Option<Answer> {
    let trouble = || Trouble::Disk("there is no folder of snapshots".to_owned());
    let answer = match job {
        SnapshotJob::Make(height) => {
            chain.drop_capture(height); // what blocks overwrite would be remembered for nobody
            SnapshotAnswer::Made(Making::GivenUp)
        }
        SnapshotJob::ReadManifest { peer, .. } => return Some(read(peer, &Frame::Snapshot(None))),
        SnapshotJob::ReadChunk { peer, id, index } => {
            return Some(read(peer, &Frame::Chunk { id, index, bytes: None }));
        }
        SnapshotJob::Begin { peer, .. } => SnapshotAnswer::Begun { peer, result: Err(trouble()) },
        SnapshotJob::Keep { peer, index, .. } => SnapshotAnswer::Kept { peer, index, result: Err(trouble()) },
        SnapshotJob::Finish => SnapshotAnswer::Finished(Err(trouble())),
        SnapshotJob::Drop => return None,
    };
    Some(Answer::Snapshot(answer))
}

fn read(peer: ValidatorIndex, frame: &Frame) -> Answer {
    Answer::Read { peer, lane: Lane::Snapshot, frame: Some((frame.class(), frame.encode())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_made_of_the_first_multiple_in_each_span_of_block_time() {
        let due = |every, span_ms, times: &[u64]| -> Vec<u64> {
            let settings = Snapshots { every, span_ms, ..Snapshots::default() };
            let sealed =
                |height: Height| times.get(usize::try_from(height.0).unwrap()).copied().map(TimestampMs);
            let heights = 1..u64::try_from(times.len()).unwrap();
            heights.filter(|height| settings.is_due(Height(*height), sealed)).collect()
        };
        let slow: Vec<u64> = (0..12).map(|height| height * 1_000).collect();
        assert_eq!(due(2, 1_500, &slow), [2, 4, 6, 8, 10], "each is in a span of its own");
        assert_eq!(due(2, 5_000, &slow), [6, 10]);
        assert_eq!(due(2, 0, &slow), [2, 4, 6, 8, 10]);
        assert!(due(0, 5_000, &slow).is_empty());
    }

    /// What a snapshot took the place of has no time here.
    #[test]
    fn after_a_snapshot_the_first_multiple_is_due() {
        let settings = Snapshots { every: 4, span_ms: 1 << 40, ..Snapshots::default() };
        let sealed = |height: Height| (height >= Height(5)).then_some(TimestampMs(7));
        assert!(settings.is_due(Height(8), sealed) && !settings.is_due(Height(12), sealed));
    }
}
