//! What a snapshot is made of, and how it is checked.

use epione_types::codec::{self, CodecError};
use epione_types::finality::{self, FinalityError};
use epione_types::{BlockHeader, Certificate, ChainId, Domain, Hash, Turn, ValidatorSet, Verifier};
use serde::{Deserialize, Serialize};

use crate::state_proof::{
    self, EMPTY, STATE_DEPTH_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, StateLeaf, bit, inner,
};
use crate::tree::subtree_hash;

/// Version of the format.
pub const SNAPSHOT_VERSION: u16 = 1;
/// A subtree whose entries take no more than this is one chunk, in bytes before compression.
pub const CHUNK_BYTES: usize = 512 << 10;
/// Longest chunk after compression, in bytes: what does not compress grows by a 255th and a little.
pub const PACKED_BYTES_MAX: usize = CHUNK_BYTES + CHUNK_BYTES / 255 + 16;
/// Most chunks of a snapshot: 64 GiB of entries.
pub const CHUNKS_MAX: usize = 1 << 17;
/// Longest encoded manifest, in bytes: must fit a frame between validators.
pub const MANIFEST_BYTES_MAX: usize = 7 << 20;
/// What is hashed to name a snapshot.
const ID: Domain = Domain::new("epione/snapshot/v1");

const _: () = assert!(STATE_VALUE_BYTES_MAX <= u16::MAX as usize); // keys are shorter
const _: () = assert!(4 + STATE_KEY_BYTES_MAX + STATE_VALUE_BYTES_MAX <= CHUNK_BYTES);

/// Names a snapshot: its header, and how it is divided. Certificates of one height differ, so they are no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId(pub Hash);

impl core::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// A subtree of the state tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// How many bits its paths have in common: with the chunks before it, that says which.
    pub depth: u8,
    /// Keys.
    pub entries: u32,
    /// Of its entries before compression.
    pub bytes: u32,
    /// The subtree's hash.
    pub hash: Hash,
}

/// What a snapshot holds, and why it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SNAPSHOT_VERSION`].
    pub version: u16,
    /// The chain.
    pub chain: ChainId,
    /// The block after which this was the state.
    pub header: BlockHeader,
    /// Its certificate.
    pub certificate: Certificate,
    /// How its epoch's validators follow from the genesis.
    pub turns: Vec<Turn>,
    /// In order of path.
    pub chunks: Vec<Chunk>,
}

/// Why a snapshot is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The manifest cannot be read.
    #[error("the snapshot's manifest: {0}")]
    Manifest(CodecError),
    /// Made by another version.
    #[error("the snapshot has version {0}, this build reads {SNAPSHOT_VERSION}")]
    Version(u16),
    /// Of another chain.
    #[error("the snapshot is of chain {found}, the genesis of {wanted}; use the right genesis file")]
    OtherChain {
        /// By the manifest.
        found: ChainId,
        /// By the genesis.
        wanted: ChainId,
    },
    /// Its header does not follow from the genesis.
    #[error(transparent)]
    Finality(#[from] FinalityError),
    /// Its chunks are no division of a tree, or too many.
    #[error("the snapshot's chunks are no division of the state")]
    Division,
    /// Its chunks have another root.
    #[error("the snapshot's chunks have state root {found}, its header says {wanted}")]
    Root {
        /// What they fold to.
        found: Hash,
        /// By the header.
        wanted: Hash,
    },
    /// There is no such chunk.
    #[error("the snapshot has no chunk {0}")]
    NoSuchChunk(u32),
    /// A chunk is not what the manifest says.
    #[error("chunk {index} of the snapshot {what}")]
    Chunk {
        /// Which.
        index: u32,
        /// How it shows.
        what: &'static str,
    },
}

impl Manifest {
    /// For the wire and the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the wire or the disk: bounded, canonical, not yet believed.
    ///
    /// # Errors
    /// [`SnapshotError::Manifest`], [`SnapshotError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let manifest: Self = codec::decode(bytes, MANIFEST_BYTES_MAX).map_err(SnapshotError::Manifest)?;
        if manifest.version == SNAPSHOT_VERSION {
            Ok(manifest)
        } else {
            Err(SnapshotError::Version(manifest.version))
        }
    }

    /// Names it.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        SnapshotId(ID.hash(&codec::encode(&(self.chain, self.header.hash(), &self.chunks))))
    }

    /// Is this the state of a final block of this chain? Its chunks are believed for their hashes from then on.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn verify(
        &self,
        chain: ChainId,
        genesis: &ValidatorSet,
        verifier: &impl Verifier,
    ) -> Result<(), SnapshotError> {
        if self.chain != chain {
            return Err(SnapshotError::OtherChain { found: self.chain, wanted: chain });
        }
        let found = fold(&self.chunks).ok_or(SnapshotError::Division)?;
        let wanted = self.header.state_root;
        if found != wanted {
            return Err(SnapshotError::Root { found, wanted });
        }
        let set = finality::walk(chain, genesis, &self.turns, verifier)?;
        Ok(finality::certified(chain, set, (&self.header, &self.certificate), verifier)?)
    }

    /// Keys in all.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.entries)).sum()
    }

    /// Bytes of all entries before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()
    }
}

/// Root of the tree that these subtrees divide; none if they divide none.
fn fold(chunks: &[Chunk]) -> Option<Hash> {
    /// The subtree that begins with the next chunk, and how many keys it has: none, one, or more.
    fn subtree<'a>(
        chunks: &mut impl Iterator<Item = &'a Chunk>,
        next: &mut Option<&'a Chunk>,
        depth: u8,
    ) -> Option<(Hash, u64)> {
        let chunk = (*next)?;
        if chunk.depth < depth || chunk.depth > DEPTH_MAX {
            return None;
        }
        // Nothing has one hash: what could never be delivered is not begun.
        if (chunk.entries == 0) != (chunk.hash == EMPTY) || (chunk.entries == 0) != (chunk.bytes == 0) {
            return None;
        }
        if chunk.depth == depth {
            *next = chunks.next();
            return Some((chunk.hash, u64::from(chunk.entries)));
        }
        let (left, few) = subtree(chunks, next, depth + 1)?;
        let (right, more) = subtree(chunks, next, depth + 1)?;
        let hash = match (few, more) {
            (0, 0) => EMPTY,
            // One key alone has its leaf's hash at whatever depth.
            (1, 0) => left,
            (0, 1) => right,
            _ => inner(&left, &right),
        };
        Some((hash, few + more))
    }
    if chunks.len() > CHUNKS_MAX {
        return None;
    }
    let mut rest = chunks.iter();
    let mut next = rest.next();
    let (root, _) = subtree(&mut rest, &mut next, 0)?;
    next.is_none().then_some(root)
}

/// Deepest subtree that is a chunk: nobody can make many keys whose paths agree in so many bits.
pub(super) const DEPTH_MAX: u8 = 64;
const _: () = assert!((DEPTH_MAX as usize) < STATE_DEPTH_MAX);

/// A key and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// At most [`STATE_KEY_BYTES_MAX`].
    pub key: &'a [u8],
    /// At most [`STATE_VALUE_BYTES_MAX`].
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Where it lives, and what is hashed of it.
    #[must_use]
    pub fn leaf(&self) -> StateLeaf {
        StateLeaf { path: state_proof::path(self.key), value: state_proof::value_hash(self.value) }
    }

    /// Bytes that it takes in a chunk.
    pub(super) const fn bytes(&self) -> usize {
        4 + self.key.len() + self.value.len()
    }

    /// Appends it; false if it is too long for a state.
    #[must_use]
    pub(super) fn put(&self, out: &mut Vec<u8>) -> bool {
        let (Ok(key), Ok(value)) = (u16::try_from(self.key.len()), u16::try_from(self.value.len())) else {
            return false;
        };
        out.extend(key.to_le_bytes());
        out.extend(value.to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
        self.key.len() <= STATE_KEY_BYTES_MAX && self.value.len() <= STATE_VALUE_BYTES_MAX
    }

    /// Takes the first one; none if there is no whole one.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value).into())?;
        *bytes = rest;
        let fits = key.len() <= STATE_KEY_BYTES_MAX && value.len() <= STATE_VALUE_BYTES_MAX;
        fits.then_some(Self { key, value })
    }
}

/// The entries of a chunk, checked: the very ones that the manifest's hash is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    bytes: Vec<u8>,
    /// Their leaves, in the same order.
    pub leaves: Vec<StateLeaf>,
}

impl Unpacked {
    /// In order of path.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || Entry::take(&mut rest))
    }
}

/// Compresses a chunk.
pub(super) fn pack(entries: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress(entries)
}

/// Decompresses and checks a chunk. Nothing is allocated beyond what the manifest says, which is bounded.
///
/// # Errors
/// [`SnapshotError::Chunk`] with what is wrong, [`SnapshotError::NoSuchChunk`].
pub fn unpack(chunk: &Chunk, index: u32, packed: &[u8]) -> Result<Unpacked, SnapshotError> {
    let wrong = |what| SnapshotError::Chunk { index, what };
    if packed.len() > PACKED_BYTES_MAX || chunk.bytes as usize > CHUNK_BYTES {
        return Err(wrong("is longer than a chunk may be"));
    }
    let mut bytes = vec![0; chunk.bytes as usize];
    let length = lz4_flex::block::decompress_into(packed, &mut bytes);
    if length.ok() != Some(bytes.len()) {
        return Err(wrong("does not decompress to its length"));
    }
    let mut leaves: Vec<StateLeaf> = Vec::with_capacity((chunk.entries as usize).min(bytes.len() / 4));
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let leaf = Entry::take(&mut rest).ok_or_else(|| wrong("holds what is no entry"))?.leaf();
        if leaves.last().is_some_and(|last| last.path >= leaf.path) {
            return Err(wrong("has an entry out of order"));
        }
        leaves.push(leaf);
    }
    if let (Some(first), Some(last)) = (leaves.first(), leaves.last())
        && (0..usize::from(chunk.depth)).any(|at| bit(&first.path, at) != bit(&last.path, at))
    {
        return Err(wrong("has entries of other chunks"));
    }
    if leaves.len() != chunk.entries as usize {
        return Err(wrong("has another number of entries"));
    }
    if subtree_hash(&leaves, chunk.depth.into()) != chunk.hash {
        return Err(wrong("holds other entries than the state has there"));
    }
    Ok(Unpacked { bytes, leaves })
}
