//! The only door to state.
//!
//! ```text
//! State (the store, or a map in tests)
//!   ▲ reads through
//! Overlay   writes of the block ◀─ keep ─ writes of the call ─ drop ▶ nothing
//!   ▲
//! Host      what one contract call sees: typed reads and writes, block time, who signed, emit
//! ```
//!
//! A call's writes and events are kept together or dropped together. A [`StateError`] is no refusal: a store
//! that fails, or a value that does not decode, stops the node, because an answer computed without it would
//! differ from everybody else's. Tested below and by every test of `tests/`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use epione_types::codec;
use epione_types::codes::Refusal;
use epione_types::event::Event;
use epione_types::genesis::Policy;
use epione_types::{Height, PublicKey, TimestampMs};
use serde::{Serialize, de::DeserializeOwned};

use crate::block::BlockContext;
use crate::config::{Constants, Settings};
use crate::keys::{Key, KeyRange};

/// Largest value, in bytes.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Why the state gives no answer. Fatal: the node stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error("the state cannot be read: {0}; repair the store, then restart")]
    Store(String),
    /// A value is not what its key says, or a value that must be there is not.
    #[error("state under {prefix} is damaged: {why}; verify the ledger, then restore or resync")]
    Damaged {
        /// First four characters of the key.
        prefix: String,
        /// What is wrong.
        why: String,
    },
}

impl StateError {
    pub(crate) fn damaged(key: &[u8], why: impl Into<String>) -> Self {
        let prefix = String::from_utf8_lossy(key.get(..4).unwrap_or(key)).into_owned();
        Self::Damaged { prefix, why: why.into() }
    }
}

/// Port: the state after some block, flat.
pub trait State {
    /// The value under `key`.
    ///
    /// # Errors
    /// Only when the store itself fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// At most `limit` entries with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// Only when the store itself fails.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError>;
}

/// Key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// New values by key; none deletes (the key may be absent before).
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A state in memory, for tests and simulations.
impl State for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(Self::get(self, key).cloned())
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let found = Self::range::<[u8], _>(self, (bound(from), core::ops::Bound::Excluded(to)));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

fn bound(from: &[u8]) -> core::ops::Bound<&[u8]> {
    core::ops::Bound::Included(from)
}

fn value<T: Serialize + DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StateError> {
    codec::decode(bytes, VALUE_BYTES_MAX).map_err(|error| StateError::damaged(key, error.to_string()))
}

/// The value under a key.
///
/// # Errors
/// The store failed, or the value is damaged.
pub fn get<T: Serialize + DeserializeOwned>(
    state: &dyn State,
    key: &Key<T>,
) -> Result<Option<T>, StateError> {
    state.get(key.as_bytes())?.map(|bytes| value(key.as_bytes(), &bytes)).transpose()
}

/// At most `limit` keys and values of a range, ascending.
///
/// # Errors
/// The store failed, or a value is damaged.
pub fn range<T: Serialize + DeserializeOwned>(
    state: &dyn State,
    range: &KeyRange<T>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, T)>, StateError> {
    if range.from() >= range.to() {
        return Ok(Vec::new()); // a cursor from outside may lie anywhere
    }
    let entries = state.range(range.from(), range.to(), limit)?;
    entries.into_iter().map(|(key, bytes)| value(&key, &bytes).map(|value| (key, value))).collect()
}

/// The state as the block being executed sees it: what is below, what the block wrote, what the call wrote.
pub(crate) struct Overlay<'s> {
    base: &'s dyn State,
    block: Writes,
    call: Writes,
    /// What was read from below: members and organisations occur in many transactions of a block.
    seen: RefCell<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl<'s> Overlay<'s> {
    pub(crate) fn new(base: &'s dyn State) -> Self {
        Self { base, block: Writes::new(), call: Writes::new(), seen: RefCell::default() }
    }

    /// Is there a value? For keys that are asked for once: the answer is not remembered.
    pub(crate) fn has<T>(&self, key: &Key<T>) -> Result<bool, StateError> {
        let key = key.as_bytes();
        match self.call.get(key).or_else(|| self.block.get(key)) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.base.get(key)?.is_some()),
        }
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: &Key<T>, value: &T) {
        self.call.insert(key.as_bytes().to_vec(), Some(codec::encode(value)));
    }

    pub(crate) fn delete<T>(&mut self, key: &Key<T>) {
        self.delete_raw(key.as_bytes().to_vec());
    }

    pub(crate) fn delete_raw(&mut self, key: Vec<u8>) {
        self.call.insert(key, None);
    }

    /// The call is done: its writes are the block's.
    pub(crate) fn keep_call(&mut self) {
        // One by one: `append` would rebuild the whole block's map for every call.
        self.block.extend(core::mem::take(&mut self.call));
    }

    /// The call was refused: it wrote nothing.
    pub(crate) fn drop_call(&mut self) {
        self.call.clear();
    }

    /// What the block changed.
    pub(crate) fn into_writes(mut self) -> Writes {
        self.keep_call();
        self.block
    }
}

impl State for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = self.call.get(key).or_else(|| self.block.get(key)) {
            return Ok(value.clone());
        }
        if let Some(value) = self.seen.borrow().get(key) {
            return Ok(value.clone());
        }
        let value = self.base.get(key)?;
        self.seen.borrow_mut().insert(key.to_vec(), value.clone());
        Ok(value)
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StateError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut written: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for writes in [&self.block, &self.call] {
            let within = writes.range::<[u8], _>((bound(from), core::ops::Bound::Excluded(to)));
            written.extend(within.map(|(key, value)| (key.as_slice(), value.as_deref())));
        }
        // Deleted keys take a place each in what comes from below.
        let deleted = written.values().filter(|value| value.is_none()).count();
        let below = self.base.range(from, to, limit.saturating_add(deleted))?;
        if written.is_empty() {
            return Ok(below);
        }
        let mut merged: BTreeMap<&[u8], Option<&[u8]>> =
            below.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))).collect();
        merged.append(&mut written);
        let present = merged.into_iter().filter_map(|(key, value)| Some((key.to_vec(), value?.to_vec())));
        Ok(present.take(limit).collect())
    }
}

/// Why a call does not go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The call is refused: a receipt says so, nothing is applied.
    Refused(Refusal),
    /// The state gives no answer: the node stops.
    State(StateError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// What a step of a contract gives.
pub(crate) type Done<T = ()> = Result<T, Fault>;

/// Refuses unless `condition` holds.
pub(crate) fn require(condition: bool, refusal: Refusal) -> Done {
    if condition { Ok(()) } else { Err(Fault::Refused(refusal)) }
}

/// What one call sees and does.
pub(crate) struct Host<'a, 's> {
    overlay: &'a mut Overlay<'s>,
    block: &'a BlockContext,
    settings: &'a Settings,
    index: u32,
    sender: &'a PublicKey,
    signers: &'a [PublicKey],
    events: Vec<Event>,
}

impl<'a, 's> Host<'a, 's> {
    pub(crate) const fn new(
        overlay: &'a mut Overlay<'s>,
        block: &'a BlockContext,
        settings: &'a Settings,
        index: u32,
        sender: &'a PublicKey,
        signers: &'a [PublicKey],
    ) -> Self {
        Self { overlay, block, settings, index, sender, signers, events: Vec::new() }
    }

    /// The state as this call sees it, for the functions that only read.
    pub(crate) const fn state(&self) -> &Overlay<'s> {
        self.overlay
    }

    pub(crate) fn get<T: Serialize + DeserializeOwned>(&self, key: &Key<T>) -> Result<Option<T>, StateError> {
        get(self.overlay, key)
    }

    pub(crate) fn has<T>(&self, key: &Key<T>) -> Result<bool, StateError> {
        self.overlay.has(key)
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: &Key<T>, value: &T) {
        self.overlay.put(key, value);
    }

    pub(crate) fn delete<T>(&mut self, key: &Key<T>) {
        self.overlay.delete(key);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Time of the block: the only clock.
    pub(crate) const fn now(&self) -> TimestampMs {
        self.block.timestamp
    }

    pub(crate) const fn height(&self) -> Height {
        self.block.height
    }

    /// Place of the transaction in its block.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(crate) const fn policy(&self) -> &'a Policy {
        &self.settings.policy
    }

    /// The constants that genesis does not name.
    pub(crate) const fn constants(&self) -> &'a Constants {
        &self.settings.constants
    }

    pub(crate) const fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The key that sent the transaction; it is among the signers.
    pub(crate) const fn sender(&self) -> &'a PublicKey {
        self.sender
    }

    /// The keys whose signatures were verified.
    pub(crate) const fn signers(&self) -> &'a [PublicKey] {
        self.signers
    }

    pub(crate) fn signed_by(&self, key: &PublicKey) -> bool {
        self.signers.contains(key)
    }

    /// All of a call's writes and events, or none.
    pub(crate) fn attempt(mut self, call: impl FnOnce(&mut Self) -> Done) -> Done<Vec<Event>> {
        let done = call(&mut self);
        match done {
            Ok(()) => self.overlay.keep_call(),
            Err(_) => self.overlay.drop_call(),
        }
        done.map(|()| self.events)
    }
}

#[cfg(test)]
mod tests {
    use epione_types::id::{OrgId, PatientId};

    use super::*;
    use crate::identity::Member;

    fn entry(key: &str, value: &str) -> Entry {
        (key.into(), value.into())
    }

    #[test]
    fn a_range_sees_the_call_over_the_block_over_the_base() {
        let base: BTreeMap<_, _> =
            [("a", "0"), ("b", "0"), ("c", "0"), ("e", "0")].map(|(k, v)| entry(k, v)).into();
        let mut overlay = Overlay::new(&base);
        overlay.block.insert("b".into(), None);
        overlay.block.insert("c".into(), Some("1".into()));
        overlay.call.insert("a".into(), None);
        overlay.call.insert("d".into(), Some("2".into()));
        let seen = |limit| overlay.range(b"a", b"z", limit).unwrap();
        assert_eq!(seen(9), [entry("c", "1"), entry("d", "2"), entry("e", "0")]);
        assert_eq!(seen(3), seen(9), "deletions take no place in a page");
        assert_eq!(seen(2), [entry("c", "1"), entry("d", "2")]);
        assert_eq!(overlay.range(b"z", b"a", 9).unwrap(), []);
    }

    #[test]
    fn a_call_applies_whole_or_not_at_all() {
        let (base, sender) = (BTreeMap::new(), PublicKey([1; 32]));
        let block =
            BlockContext { height: Height(1), timestamp: TimestampMs(2), parent_timestamp: TimestampMs(1) };
        let settings = Settings { policy: Policy::default(), constants: Constants::default() };
        let mut overlay = Overlay::new(&base);
        let mut run = |id: u8, refusal: Option<Refusal>| {
            let host = Host::new(&mut overlay, &block, &settings, 0, &sender, &[]);
            host.attempt(|host| {
                host.put(&crate::keys::member(&PublicKey([id; 32])), &Member::Patient(PatientId([id; 16])));
                host.emit(Event::OrganisationRegistered { organisation: OrgId([id; 16]) });
                refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
            })
        };
        assert!(matches!(run(1, Some(Refusal::NotGrantor)), Err(Fault::Refused(Refusal::NotGrantor))));
        assert_eq!(run(2, None).unwrap().len(), 1);
        assert!(run(3, Some(Refusal::NotGrantor)).is_err());
        let written = crate::keys::member(&PublicKey([2; 32])).as_bytes().to_vec();
        assert_eq!(overlay.into_writes().into_keys().collect::<Vec<_>>(), [written]);
    }

    #[test]
    fn damage_names_the_place_and_not_the_content() {
        let base = BTreeMap::from([(crate::keys::policy().as_bytes().to_vec(), b"?".to_vec())]);
        let error = get(&base, &crate::keys::policy()).unwrap_err();
        assert!(error.to_string().starts_with("state under cfg/ is damaged"), "{error}");
    }
}
