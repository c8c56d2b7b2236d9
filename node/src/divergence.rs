//! What this node executed differently from the quorum: the first transaction and the first key that differ.
//!
//! ```text
//!  Halt::Diverged, Halt::Replay ─▶ Wanted: a header's hash ─▶ FetchExecution ─▶ a peer ─▶ Execution ─▶ compare
//!            ▲                                                                                           │
//!            └──── the parents differ, too: one height below ◀──────────────────────────────────────────┤
//!                                                            a peer that lied: the next one ◀───────────┤
//!                                                            Divergence: `epione node explain`, log ◀───┘
//! ```
//!
//! Nobody is believed. The header must have the hash that the halt names, the receipts must fold to its receipts root, and
//! the changes must lead from the state before, on which both agree, to its state root. Values are not told, only keys: in
//! the state they are ids and hashes. Tested in `divergence/tests.rs`; between nodes by `tests/divergence.rs`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use epione_ledger::chain::{Chain, ChainError};
use epione_ledger::tree::Changes;
use epione_types::event::Event;
use epione_types::{BlockHeader, Hash, Height, Outcome, Receipt, TxId, codec, merkle};
use serde::{Deserialize, Serialize};

use crate::wire::BLOCKS_BYTES_MAX;

/// Most keys of the state that are looked through for the name of one.
const KEYS_MAX: usize = 1 << 20;
/// Bytes of a frame that are no receipts and no changes, rounded up.
const OVERHEAD: usize = 512;

/// What a node executed at a height, as it tells one that executed it differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its header.
    pub header: BlockHeader,
    /// Its receipts.
    pub receipts: Vec<Receipt>,
    /// The state changes of the block, [`Changes::encode`]d; none if they are forgotten or too long.
    pub changes: Option<Bytes>,
}

/// The header that this node's own is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Height.
    pub height: Height,
    /// Hash of the header.
    pub header: Hash,
    /// Does a quorum vouch for it? Otherwise this node sealed it before, and others may have another.
    pub quorum: bool,
}

/// Why an [`Execution`] is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is of another block.
    #[error("its header is not the one that is wanted")]
    Header,
    /// Its receipts are not the header's.
    #[error("its receipts do not fold to its header's root")]
    Receipts,
    /// Its changes are not the header's.
    #[error("its changes do not lead to its header's state")]
    Changes,
}

/// What a comparison gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// The answer is refused.
    Wrong(Wrong),
    /// The blocks below differ already.
    Below(Wanted),
    /// This is what differs first.
    Found(Box<Divergence>),
}

/// What differs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// At which height.
    pub height: Height,
    /// The first transaction whose receipt differs.
    pub transaction: Option<Differing>,
    /// The first key that differs, or its path if it is not in this node's state.
    pub key: Option<String>,
    /// The first key whose value was altered in this node's store: it is not what the state tree holds.
    pub altered: Option<String>,
    /// All of it in a sentence.
    pub text: String,
    /// Another peer can add nothing.
    pub complete: bool,
}

/// A transaction that did not become the same here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// Its place in the block.
    pub index: u32,
    /// Its id; here, if the transactions themselves differ.
    pub id: TxId,
    /// What became of it here.
    pub here: String,
    /// And there.
    pub there: String,
}

/// What was executed at `height`, for one who asks; none if there is no such block, or its receipts are too long for a frame.
///
/// # Errors
/// The store failed.
pub fn read(chain: &Chain, height: Height) -> Result<Option<Execution>, ChainError> {
    let (Some(header), Some(receipts)) = (chain.header(height)?, chain.receipts(height)?) else {
        return Ok(None);
    };
    let Some(room) = (BLOCKS_BYTES_MAX - OVERHEAD).checked_sub(codec::encode(&receipts).len()) else {
        return Ok(None);
    };
    let changes = chain.changes(height)?.map(|changes| changes.encode());
    let changes = changes.filter(|bytes| bytes.len() <= room).map(Bytes::from);
    Ok(Some(Execution { header, receipts, changes }))
}

/// Holds what another node executed against what this one did.
///
/// # Errors
/// The store failed.
pub fn compare(chain: &Chain, wanted: Wanted, theirs: &Execution) -> Result<Compared, ChainError> {
    let (height, header) = (wanted.height, &theirs.header);
    let mine = chain.header(height)?;
    if !wanted.quorum && mine.as_ref() == Some(header) {
        let text = format!(
            "a peer has the block {height} that this node has now: only what it sealed before differs"
        );
        return Ok(Compared::found(Divergence::odd(height, text)));
    }
    if header.height != height || header.hash() != wanted.header {
        return Ok(Compared::Wrong(Wrong::Header));
    }
    let leaves: Vec<Hash> = theirs.receipts.iter().map(Receipt::leaf).collect();
    if merkle::root(&leaves) != header.receipts_root {
        return Ok(Compared::Wrong(Wrong::Receipts));
    }
    let Ok(changes) = theirs.changes.as_deref().map(Changes::decode).transpose() else {
        return Ok(Compared::Wrong(Wrong::Changes));
    };
    let Some(mine) = mine else {
        let text = format!("this node does not have its block {height} any more: what differed is lost");
        return Ok(Compared::found(Divergence::odd(height, text)));
    };
    if mine.hash() == wanted.header {
        let text = format!("executed again, block {height} has the header that it should have");
        return Ok(Compared::found(Divergence::odd(height, text)));
    }
    let below = height.minus(1);
    if mine.parent != header.parent && below > Height::ZERO {
        return Ok(Compared::Below(Wanted { height: below, header: header.parent, ..wanted }));
    }
    // Both stand on the state of the block below. What this node does not know of it any more it cannot hold them to.
    let known = match chain.header(below)? {
        Some(parent) => chain.state_root_at(below) == Ok(parent.state_root),
        None => below == Height::ZERO && chain.base() == Height::ZERO,
    };
    let changes = match changes.map(|changes| (chain.root_after(below, &changes), changes)) {
        Some((Ok(root), _)) if known && root != header.state_root => {
            return Ok(Compared::Wrong(Wrong::Changes));
        }
        Some((Ok(_), changes)) if known => Some(changes),
        Some((Ok(_) | Err(_), _)) | None => None,
    };
    let receipts = chain.receipts(height)?.unwrap_or_default();
    let keys = first_key(chain, chain.changes(height)?, changes)?;
    let transaction = first_transaction(&receipts, &theirs.receipts);
    Ok(Compared::found(Divergence::of(wanted, transaction, keys, &parts(&mine, header))))
}

impl Compared {
    fn found(divergence: Divergence) -> Self {
        Self::Found(Box::new(divergence))
    }
}

/// Which keys differ.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    /// The first one and how it differs; none if none does or it cannot be told.
    first: Option<(String, &'static str)>,
    count: usize,
    /// Whose changes are forgotten.
    forgotten: Option<&'static str>,
    altered: Option<String>,
    complete: bool,
}

/// What one block does to a key, here and there: nothing, or a new value, which may be none.
type Both = [Option<Option<Hash>>; 2];

fn differing(here: &Changes, there: &Changes) -> BTreeMap<Hash, Both> {
    let mut both: BTreeMap<Hash, Both> = BTreeMap::new();
    for change in here.as_slice() {
        both.entry(change.path).or_default()[0] = Some(change.value);
    }
    for change in there.as_slice() {
        both.entry(change.path).or_default()[1] = Some(change.value);
    }
    both.retain(|_, [here, there]| here != there);
    both
}

const fn how([here, there]: Both) -> &'static str {
    match (here, there) {
        (Some(Some(_)), Some(Some(_))) => "another value",
        (Some(None), _) => "deleted here",
        (_, Some(None)) => "deleted there",
        (Some(Some(_)), None) => "written here",
        (None, Some(Some(_)) | None) => "written there",
    }
}

fn first_key(chain: &Chain, here: Option<Changes>, there: Option<Changes>) -> Result<Keys, ChainError> {
    let forgotten = match (&here, &there) {
        (None, _) => Some("here"),
        (Some(_), None) => Some("at the one that was asked"),
        (Some(_), Some(_)) => None,
    };
    let complete = here.is_none() || there.is_some();
    let both = here.zip(there).map(|(here, there)| differing(&here, &there)).unwrap_or_default();
    let paths: BTreeSet<Hash> = both.keys().copied().collect();
    let named = chain.name(&paths, KEYS_MAX)?;
    let mut keys: Vec<(&Vec<u8>, &Hash)> = named.keys.iter().map(|(path, key)| (key, path)).collect();
    keys.sort_unstable();
    // One that has a name here says more than a path.
    let first = keys.first().map(|(key, path)| (epione_chaincode::keys::shown(key), **path));
    let first = first
        .or_else(|| both.keys().next().map(|path| (format!("path {path}, no key of this node's"), *path)));
    let first = first.and_then(|(name, path)| Some((name, how(*both.get(&path)?))));
    let altered = named.altered.map(|key| epione_chaincode::keys::shown(&key));
    Ok(Keys { first, count: both.len(), forgotten, altered, complete })
}

fn first_transaction(here: &[Receipt], there: &[Receipt]) -> Option<Differing> {
    let alike = here.iter().zip(there).take_while(|(here, there)| here == there).count();
    let (mine, theirs) = (here.get(alike), there.get(alike));
    let id = mine.or(theirs)?.tx_id;
    let (here, there) = match (mine, theirs) {
        (Some(mine), Some(theirs)) => outcomes(mine, theirs),
        (Some(_), None) => (format!("transaction {id}"), "none".to_owned()),
        (None, _) => ("none".to_owned(), format!("transaction {id}")),
    };
    Some(Differing { index: u32::try_from(alike).unwrap_or(u32::MAX), id, here, there })
}

/// How two receipts of one place differ.
fn outcomes(here: &Receipt, there: &Receipt) -> (String, String) {
    if here.tx_id != there.tx_id {
        return (format!("transaction {}", here.tx_id), format!("transaction {}", there.tx_id));
    }
    if here.outcome != there.outcome {
        return (outcome(here), outcome(there));
    }
    let alike = here.events.iter().zip(&there.events).take_while(|(here, there)| here == there).count();
    let [here, there] = [here, there].map(|receipt| match receipt.events.get(alike) {
        Some(it) => format!("{} with {}", outcome(receipt), event(it)),
        None => format!("{} with {alike} events", outcome(receipt)),
    });
    if here == there { (here, format!("{there} of other content")) } else { (here, there) }
}

fn outcome(receipt: &Receipt) -> String {
    match receipt.outcome {
        Outcome::Ok => "OK".to_owned(),
        Outcome::Refused(why) => why.name().to_owned(),
    }
}

/// Its kind, and what was decided: no ids, of which the transaction has enough.
#[expect(clippy::wildcard_enum_match_arm, reason = "one kind says more than its name")]
fn event(event: &Event) -> String {
    match event {
        Event::AccessDecided { decision, reason, .. } => format!("AccessDecided {decision} {reason}"),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
        }
    }
}

/// Which parts of the headers differ, besides those that the sentence names anyway.
fn parts(here: &BlockHeader, there: &BlockHeader) -> Vec<&'static str> {
    let all = [
        ("version", here.version == there.version),
        ("epoch", here.epoch == there.epoch),
        ("parent", here.parent == there.parent),
        ("timestamp", here.timestamp == there.timestamp),
        ("batch", here.batch_digest == there.batch_digest),
        ("state", here.state_root == there.state_root),
        ("next epoch", here.next_epoch_hash == there.next_epoch_hash),
    ];
    all.into_iter().filter(|(_, alike)| !alike).map(|(name, _)| name).collect()
}

impl Divergence {
    /// Nothing can be compared.
    fn odd(height: Height, text: String) -> Self {
        Self { height, transaction: None, key: None, altered: None, text, complete: true }
    }

    /// Every block down to this height has another header: more than one halt explains.
    pub(crate) fn bottomless(height: Height) -> Self {
        Self::odd(height, format!("blocks differ down to height {height} and below: compare the ledgers"))
    }

    fn of(wanted: Wanted, transaction: Option<Differing>, keys: Keys, parts: &[&str]) -> Self {
        let height = wanted.height;
        let there = if wanted.quorum { "at the quorum" } else { "as it was sealed" };
        let mut text = match &transaction {
            Some(it) => {
                let Differing { index, id, here, there: theirs } = it;
                format!(
                    "at height {height} transaction {index} ({id}) differs: here {here}, {there} {theirs}"
                )
            }
            None => format!("at height {height} all transactions have the same receipts"),
        };
        let _infallible = match (&keys.first, keys.forgotten) {
            (Some((key, how)), _) if keys.count == 1 => write!(text, "; one key differs: {key} ({how})"),
            (Some((key, how)), _) => {
                write!(text, "; first of {} keys that differ: {key} ({how})", keys.count)
            }
            (None, Some(whose)) => write!(text, "; which keys differ is forgotten {whose}"),
            (None, None) => write!(text, "; no key differs"),
        };
        if (transaction.is_none() || keys.count == 0) && !parts.is_empty() {
            let _infallible = write!(text, "; other in the header: {}", parts.join(", "));
        }
        if let Some(key) = &keys.altered {
            let _infallible =
                write!(text, "; this node's store was altered: {key} does not hold what the state tree does");
        }
        let (key, altered, complete) = (keys.first.map(|(key, _)| key), keys.altered, keys.complete);
        Self { height, transaction, key, altered, text, complete }
    }
}
