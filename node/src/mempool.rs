//! Transactions that wait to be ordered: bounded, each once, fair between accounts.
//!
//! ```text
//!  reserve (bytes, account) ─▶ insert ─▶ Waiting ── cut into a batch ──▶ Offered ── view entered ──▶ Waiting
//!                                           └──────────── delivered ──────┴──▶ Delivered ── executed ──▶ gone
//! ```
//!
//! Each validator has an equal part of the pool, for its own clients here and for what the others forward: what one correct
//! validator takes in, all have room for, and what is taken in can be delivered within a few batches (R24). An account is a
//! client's organisation at this node, a person who comes by themselves (patients mostly), or the validator that forwarded.
//! Persons together have a quarter of their validator's part, each of them a tenth of that, and organisations the rest. One
//! that floods is refused while the others are served: batches take turns between organisations, validators, and all persons
//! together; then between senders or persons; each one's transactions in their order of arrival. What is taken in stays until
//! it is delivered or can never commit any more: until a block's time has passed `expires_at`.
//! A plain value: no clock, no lock, no I/O. Tested below.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use epione_types::id::OrgId;
use epione_types::tx::MAX_TX_BYTES;
use epione_types::{Params, PublicKey, TimestampMs, TxId, ValidatorIndex};

use serde::{Deserialize, Serialize};

use crate::validate::{Checked, expiry_fits};

/// Of a validator's part, what is kept for persons, in percent.
const PERSONS_PERCENT: usize = 25;
/// Of that, what one of them may fill, in percent; one transaction at least.
const PERSON_PERCENT: usize = 10;

/// On whose behalf a client of this node comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Client {
    /// This organisation's.
    Organisation(OrgId),
    /// Their own: a patient, representative or guest, by their id.
    Person([u8; 16]),
}

impl From<OrgId> for Client {
    fn from(organisation: OrgId) -> Self {
        Self::Organisation(organisation)
    }
}

/// Whose share a transaction is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A client of this node.
    Client(Client),
    /// Forwarded by this validator.
    Peer(ValidatorIndex),
}

/// Bounds of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most transactions, of all validators together. More than a few full batches only makes everybody wait until they
    /// suspect the primary.
    pub txs_max: usize,
    /// Most bytes of encoded transactions, of all validators together.
    pub bytes_max: usize,
    /// What one organisation may fill of its validator's part, in percent; all together, all but the persons' quarter.
    pub account_percent: usize,
    /// Ids of finished transactions that are remembered, so that a late forward is not offered again.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { txs_max: 8_000, bytes_max: 32 << 20, account_percent: 50, remembered: 100_000 }
    }
}

/// What the pool knows of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It waits, or is being executed.
    Pending {
        /// Last block time at which it may commit.
        expires_at: TimestampMs,
    },
    /// It was executed: the ledger has its receipt.
    Executed,
    /// A block's time has passed its expiry while it waited here.
    Expired {
        /// Last block time at which it could have committed.
        expires_at: TimestampMs,
    },
}

/// No room: try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {used} of {limit} {unit} are taken; try again later")]
pub struct Full {
    /// Which bound.
    pub what: &'static str,
    /// What is in use.
    pub used: usize,
    /// The bound.
    pub limit: usize,
    /// Of what.
    pub unit: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Offered,
    Delivered,
}

#[derive(Debug)]
struct Entry {
    tx: Checked,
    account: Account,
    /// The client of this node whose transaction it is, whoever brought it first.
    client: Option<Client>,
    arrival: u64,
    /// Monotone time since when all validators should have it.
    since: u64,
    /// Monotone time when it was sent last.
    sent: u64,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    txs: usize,
    bytes: usize,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.txs += 1;
        self.bytes += bytes;
    }
    fn remove(&mut self, bytes: usize) {
        self.txs = self.txs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
    fn fits(&self, what: &'static str, bytes: usize, txs_max: usize, bytes_max: usize) -> Result<(), Full> {
        if self.txs >= txs_max {
            return Err(Full { what, used: self.txs, limit: txs_max, unit: "transactions" });
        }
        if self.bytes.saturating_add(bytes) > bytes_max {
            return Err(Full { what, used: self.bytes, limit: bytes_max, unit: "bytes" });
        }
        Ok(())
    }
}

/// Who takes a turn in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Organisation(OrgId),
    Persons,
    Peer(ValidatorIndex),
}

impl Group {
    const fn of(account: Account) -> Self {
        match account {
            Account::Client(Client::Organisation(organisation)) => Self::Organisation(organisation),
            Account::Client(Client::Person(_)) => Self::Persons,
            Account::Peer(peer) => Self::Peer(peer),
        }
    }
}

/// Who takes a turn in a group's turn. A person may sign with as many keys as they like, and is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    Key(PublicKey),
    Person([u8; 16]),
}

impl Sender {
    fn of(entry: &Entry) -> Self {
        match entry.account {
            Account::Client(Client::Person(person)) => Self::Person(person),
            Account::Client(Client::Organisation(_)) | Account::Peer(_) => Self::Key(*entry.tx.sender()),
        }
    }
}

/// Waiting transactions of one group: by sender, in order of arrival.
type Senders = Turns<Sender, BTreeMap<u64, TxId>>;

/// Queues that take turns: whoever was served goes to the back.
#[derive(Debug)]
struct Turns<K, Q> {
    queues: BTreeMap<K, Q>,
    order: VecDeque<K>,
}

impl<K: Ord + Copy, Q: Default> Turns<K, Q> {
    fn queue(&mut self, key: K) -> &mut Q {
        let order = &mut self.order;
        self.queues.entry(key).or_insert_with(|| {
            order.push_back(key);
            Q::default()
        })
    }
    fn remove(&mut self, key: &K) {
        self.queues.remove(key);
        self.order.retain(|other| other != key);
    }
}
impl<K, Q> Default for Turns<K, Q> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), order: VecDeque::new() }
    }
}

/// What the pool holds, for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// Transactions that are not executed yet.
    pub txs: usize,
    /// Their encoded bytes, and those being checked.
    pub bytes: usize,
    /// Being checked at the door.
    pub checking: usize,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    entries: HashMap<TxId, Entry>,
    arrivals: u64,
    by_arrival: BTreeMap<u64, TxId>,
    by_expiry: BTreeSet<(TimestampMs, TxId)>,
    waiting: Turns<Group, Senders>,
    waiting_usage: Usage,
    usage: BTreeMap<Account, Usage>,
    /// Of all organisations together, and of all persons.
    organisations: Usage,
    persons: Usage,
    checking: usize,
    /// What was finished of late; the oldest are forgotten first.
    finished: HashMap<TxId, Known>,
    finished_order: VecDeque<TxId>,
    /// Between how many the pool is shared.
    validators: usize,
}

impl Pool {
    /// Empty, and shared between this many validators.
    #[must_use]
    pub fn new(limits: Limits, validators: usize) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            arrivals: 0,
            by_arrival: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            waiting: Turns::default(),
            waiting_usage: Usage::default(),
            usage: BTreeMap::new(),
            organisations: Usage::default(),
            persons: Usage::default(),
            checking: 0,
            finished: HashMap::new(),
            finished_order: VecDeque::new(),
            validators: validators.max(1),
        }
    }

    /// From now on shared between this many validators; what is in has its place.
    pub fn share_between(&mut self, validators: usize) {
        self.validators = validators.max(1);
    }

    /// Keeps room for a transaction while it is checked; [`Pool::insert`] or [`Pool::release`] follows.
    ///
    /// # Errors
    /// The validator's part of the pool, or the account's share of that, is full.
    pub fn reserve(&mut self, account: Account, bytes: usize) -> Result<(), Full> {
        let part = |all: usize| all / self.validators;
        let share = |all: usize, percent| part(all) / 100 * percent + part(all) % 100 * percent / 100;
        let persons = |all: usize| share(all, PERSONS_PERCENT);
        let (txs_max, bytes_max) = (self.limits.txs_max, self.limits.bytes_max);
        let own = self.usage.get(&account).copied().unwrap_or_default();
        let within = |usage: Usage, what, most: &dyn Fn(usize) -> usize| {
            usage.fits(what, bytes, most(txs_max), most(bytes_max))
        };
        match account {
            Account::Client(Client::Organisation(_)) => {
                let rest = |all| part(all) - persons(all);
                within(self.organisations, "mempool for organisations", &rest)?;
                let one = |all| share(all, self.limits.account_percent);
                within(own, "organisation's share of the mempool", &one)?;
                self.organisations.add(bytes);
            }
            Account::Client(Client::Person(_)) => {
                within(self.persons, "mempool for persons", &persons)?;
                let one = |all: usize, least: usize| (persons(all) * PERSON_PERCENT / 100).max(least);
                let (txs_max, bytes_max) = (one(txs_max, 1), one(bytes_max, MAX_TX_BYTES));
                own.fits("person's share of the mempool", bytes, txs_max, bytes_max)?;
                self.persons.add(bytes);
            }
            Account::Peer(_) => within(own, "validator's part of the mempool", &part)?,
        }
        self.usage.entry(account).or_default().add(bytes);
        self.checking += 1;
        Ok(())
    }

    /// Gives back what was reserved.
    pub fn release(&mut self, account: Account, bytes: usize) {
        self.checking = self.checking.saturating_sub(1);
        self.give_back(account, bytes);
    }

    fn give_back(&mut self, account: Account, bytes: usize) {
        match account {
            Account::Client(Client::Organisation(_)) => self.organisations.remove(bytes),
            Account::Client(Client::Person(_)) => self.persons.remove(bytes),
            Account::Peer(_) => {}
        }
        if let Some(own) = self.usage.get_mut(&account) {
            own.remove(bytes);
            if own.txs == 0 {
                self.usage.remove(&account);
            }
        }
    }

    /// Takes in a transaction that room was reserved for. False, and the room given back, if it is here already.
    pub fn insert(&mut self, tx: Checked, account: Account, now: u64) -> bool {
        let (id, bytes) = (tx.id(), tx.signed.encoded_len());
        let client = if let Account::Client(client) = account { Some(client) } else { None };
        if self.holds(&id) {
            self.release(account, bytes);
            client.into_iter().for_each(|client| self.adopt(&id, client));
            return false;
        }
        self.checking = self.checking.saturating_sub(1);
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.by_arrival.insert(arrival, id);
        self.by_expiry.insert((tx.expires_at(), id));
        let entry = Entry { tx, account, client, arrival, since: now, sent: now, state: State::Waiting };
        Self::enqueue(&mut self.waiting, &mut self.waiting_usage, &entry);
        self.entries.insert(id, entry);
        true
    }

    /// A transaction that is here, from a peer perhaps, is this client's too: it was accepted, and stays on offer (R24).
    pub fn adopt(&mut self, id: &TxId, client: Client) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.client.get_or_insert(client);
        }
    }

    fn enqueue(waiting: &mut Turns<Group, Senders>, usage: &mut Usage, entry: &Entry) {
        let queue = waiting.queue(Group::of(entry.account)).queue(Sender::of(entry));
        if queue.insert(entry.arrival, entry.tx.id()).is_none() {
            usage.add(entry.tx.signed.encoded_len());
        }
    }

    fn dequeue(waiting: &mut Turns<Group, Senders>, usage: &mut Usage, entry: &Entry) {
        let (group, sender) = (Group::of(entry.account), Sender::of(entry));
        let Some(senders) = waiting.queues.get_mut(&group) else { return };
        let Some(queue) = senders.queues.get_mut(&sender) else { return };
        if queue.remove(&entry.arrival).is_none() {
            return;
        }
        usage.remove(entry.tx.signed.encoded_len());
        if queue.is_empty() {
            senders.remove(&sender);
        }
        if senders.queues.is_empty() {
            waiting.remove(&group);
        }
    }

    /// Is it here, or was it executed of late?
    #[must_use]
    pub fn holds(&self, id: &TxId) -> bool {
        matches!(self.known(id), Some(Known::Pending { .. } | Known::Executed))
    }

    /// What is known of a transaction; nothing long after it was finished.
    #[must_use]
    pub fn known(&self, id: &TxId) -> Option<Known> {
        let pending = self.entries.get(id).map(|entry| Known::Pending { expires_at: entry.tx.expires_at() });
        pending.or_else(|| self.finished.get(id).copied())
    }

    /// The transaction, if it waits here or is being executed.
    #[must_use]
    pub fn get(&self, id: &TxId) -> Option<&Checked> {
        self.entries.get(id).map(|entry| &entry.tx)
    }

    /// Transactions and bytes that could be put in a batch.
    #[must_use]
    pub const fn waiting(&self) -> (usize, usize) {
        (self.waiting_usage.txs, self.waiting_usage.bytes)
    }

    /// Sizes, for operators.
    #[must_use]
    pub fn size(&self) -> PoolSize {
        let bytes = self.usage.values().map(|own| own.bytes).sum();
        PoolSize { txs: self.entries.len(), bytes, checking: self.checking }
    }

    /// Cuts a batch: groups take turns, within a group its senders. Takes only what may stand in a batch with this stamp.
    pub fn cut(
        &mut self,
        stamp: TimestampMs,
        txs_max: usize,
        bytes_max: usize,
        params: &Params,
    ) -> Vec<Checked> {
        let mut batch: Vec<Checked> = Vec::new();
        let mut bytes: usize = 0;
        // What does not fit this stamp is skipped, not taken: put back when the batch is cut.
        let mut skipped: Vec<TxId> = Vec::new();
        while batch.len() < txs_max {
            let Some(id) = self.next() else { break };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            Self::dequeue(&mut self.waiting, &mut self.waiting_usage, entry);
            let length = entry.tx.signed.encoded_len();
            if !expiry_fits(entry.tx.expires_at(), stamp, params) {
                skipped.push(id);
            } else if bytes.saturating_add(length) > bytes_max {
                skipped.push(id);
                break;
            } else {
                bytes += length;
                entry.state = State::Offered;
                batch.push(entry.tx.clone());
            }
        }
        for id in skipped {
            if let Some(entry) = self.entries.get(&id) {
                Self::enqueue(&mut self.waiting, &mut self.waiting_usage, entry);
            }
        }
        batch
    }

    /// The transaction whose turn it is; moves the turn on.
    fn next(&mut self) -> Option<TxId> {
        let group = self.waiting.order.pop_front()?;
        self.waiting.order.push_back(group);
        let senders = self.waiting.queues.get_mut(&group)?;
        let sender = senders.order.pop_front()?;
        senders.order.push_back(sender);
        senders.queues.get(&sender)?.values().next().copied()
    }

    /// These stand in a proposal of the view that is entered now: not to be offered again in it.
    pub fn offered(&mut self, ids: impl IntoIterator<Item = TxId>) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.state == State::Waiting) {
                entry.state = State::Offered;
                Self::dequeue(&mut self.waiting, &mut self.waiting_usage, entry);
            }
        }
    }

    /// A view was entered: what was offered and not delivered waits again, in its old place (R19).
    pub fn offers_lapsed(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Offered) {
            entry.state = State::Waiting;
            Self::enqueue(&mut self.waiting, &mut self.waiting_usage, entry);
        }
    }

    /// Ordered for ever, and being executed.
    pub fn delivered(&mut self, ids: impl IntoIterator<Item = TxId>) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                Self::dequeue(&mut self.waiting, &mut self.waiting_usage, entry);
                entry.state = State::Delivered;
                self.by_arrival.remove(&entry.arrival);
                self.by_expiry.remove(&(entry.tx.expires_at(), id));
            }
        }
    }

    /// A block was executed: its transactions have receipts, and what can never commit any more is dropped. Returns
    /// how many were dropped.
    pub fn executed(&mut self, ids: impl IntoIterator<Item = TxId>, block_time: TimestampMs) -> usize {
        for id in ids {
            self.remove(&id);
            self.finish(id, Known::Executed);
        }
        let mut dropped = 0;
        while let Some((expires_at, id)) = self.by_expiry.first().copied().filter(|(at, _)| *at < block_time)
        {
            self.remove(&id);
            self.finish(id, Known::Expired { expires_at });
            dropped += 1;
        }
        dropped
    }

    /// Remembers that a block's time has passed this one, which is not in the pool.
    pub(crate) fn expired(&mut self, id: TxId, expires_at: TimestampMs) {
        self.finish(id, Known::Expired { expires_at });
    }

    fn finish(&mut self, id: TxId, how: Known) {
        if self.finished.insert(id, how).is_none() {
            self.finished_order.push_back(id);
        }
        if self.finished_order.len() > self.limits.remembered
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.finished.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &TxId) {
        if let Some(entry) = self.entries.remove(id) {
            Self::dequeue(&mut self.waiting, &mut self.waiting_usage, &entry);
            self.by_arrival.remove(&entry.arrival);
            self.by_expiry.remove(&(entry.tx.expires_at(), *id));
            self.give_back(entry.account, entry.tx.signed.encoded_len());
        }
    }

    /// Since when the oldest undelivered transaction has been at all validators. What its expiry has passed by the clock waits
    /// for time, not for the primary (R11), and so does what an epoch with another limit took in and no batch may hold yet:
    /// what expires more than `ahead` ms from now.
    #[must_use]
    pub fn oldest(&self, clock: TimestampMs, ahead: u64) -> Option<u64> {
        let live = self.by_arrival.values().filter_map(|id| self.entries.get(id));
        let fits = |expiry: TimestampMs| expiry >= clock && expiry <= clock.plus(ahead);
        live.filter(|entry| fits(entry.tx.expires_at())).map(|entry| entry.since).next()
    }

    /// The earliest expiry among what is undelivered: a block must pass it (R11).
    #[must_use]
    pub fn first_expiry(&self) -> Option<TimestampMs> {
        self.by_expiry.first().map(|(expiry, _)| *expiry)
    }

    /// Transactions to send again: a client's to everybody after `patience` ms, a forwarded one (`own` false) to the primary
    /// (R24). At most `bytes_max` bytes, oldest first; each is then left alone for `patience` ms.
    pub fn resend(&mut self, own: bool, now: u64, patience: u64, bytes_max: usize) -> Vec<Checked> {
        let mut bytes: usize = 0;
        let mut list = Vec::new();
        for id in self.by_arrival.values() {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            if entry.client.is_some() != own || now.saturating_sub(entry.sent) < patience {
                continue;
            }
            bytes = bytes.saturating_add(entry.tx.signed.encoded_len());
            if bytes > bytes_max {
                break;
            }
            entry.sent = now;
            list.push(entry.tx.clone());
        }
        list
    }

    /// Clients' transactions that are not delivered: what a durable log of them must still hold.
    pub fn unfinished(&self) -> impl Iterator<Item = (Client, &Checked)> + '_ {
        self.entries.values().filter_map(|entry| entry.client.map(|client| (client, &entry.tx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::tests::{checked, key};

    const fn clinic(number: u8) -> Account {
        Account::Client(Client::Organisation(OrgId([number; 16])))
    }
    const CLINIC: Account = clinic(1);
    const FLOODER: Account = clinic(2);
    const fn person(number: u8) -> Account {
        Account::Client(Client::Person([number; 16]))
    }

    fn pool(limits: Limits) -> Pool {
        Pool::new(limits, 1)
    }
    fn take(pool: &mut Pool, tx: &Checked, account: Account, now: u64) -> Result<bool, Full> {
        pool.reserve(account, tx.signed.encoded_len())?;
        Ok(pool.insert(tx.clone(), account, now))
    }
    fn cut(pool: &mut Pool, count: usize) -> Vec<TxId> {
        let params = Params { expiry_ahead_max_ms: 1_000, ..Params::default() };
        pool.cut(TimestampMs(100), count, 1 << 20, &params).iter().map(|tx| tx.id()).collect()
    }

    #[test]
    fn each_id_once_until_long_after_its_delivery() {
        let mut pool = pool(Limits { remembered: 2, ..Limits::default() });
        let tx = checked(&key(1), 1, 500);
        assert_eq!(take(&mut pool, &tx, CLINIC, 0), Ok(true));
        assert_eq!(
            take(&mut pool, &tx, FLOODER, 0),
            Ok(false),
            "another account's copy is the same transaction"
        );
        assert_eq!(pool.size().txs, 1);
        pool.delivered([tx.id()]);
        assert_eq!(take(&mut pool, &tx, CLINIC, 0), Ok(false));
        assert!(pool.get(&tx.id()).is_some(), "not executed yet");
        pool.executed([tx.id()], TimestampMs(1));
        assert_eq!(take(&mut pool, &tx, CLINIC, 0), Ok(false), "remembered");
        assert_eq!(pool.size(), PoolSize::default(), "every reservation was given back");
        pool.executed([checked(&key(1), 2, 500).id(), checked(&key(1), 3, 500).id()], TimestampMs(1));
        assert_eq!(take(&mut pool, &tx, CLINIC, 0), Ok(true), "forgotten: the ledger's index knows it");
    }

    #[test]
    fn one_that_floods_is_refused_and_waits_its_turn() {
        let mut pool = pool(Limits { txs_max: 100, account_percent: 40, ..Limits::default() });
        let flood: Vec<Checked> = (0..41).map(|i| checked(&key(2), i, 500)).collect();
        for tx in &flood[..40] {
            assert_eq!(take(&mut pool, tx, FLOODER, 0), Ok(true));
        }
        let error = take(&mut pool, &flood[40], FLOODER, 0).unwrap_err();
        assert_eq!((error.used, error.limit, error.unit), (40, 40, "transactions"));
        let (first, second) = (checked(&key(1), 100, 500), checked(&key(1), 101, 500));
        assert_eq!(take(&mut pool, &first, CLINIC, 0), Ok(true));
        assert_eq!(take(&mut pool, &second, CLINIC, 0), Ok(true));
        let batch = cut(&mut pool, 4);
        let own = |tx: &TxId| [first.id(), second.id()].contains(tx);
        assert_eq!(batch.iter().filter(|id| own(id)).count(), 2, "turns are by account");
        let order: Vec<&TxId> = batch.iter().filter(|id| own(id)).collect();
        assert_eq!(order, [&first.id(), &second.id()], "a sender's transactions keep their order");
        // Many keys of one account do not get it more turns.
        for i in 0..10 {
            take(&mut pool, &checked(&key(10 + i), u64::from(i), 500), CLINIC, 0).unwrap();
        }
        let accounts = cut(&mut pool, 10).iter().filter(|id| flood.iter().any(|tx| tx.id() == **id)).count();
        assert_eq!(accounts, 5);
    }

    #[test]
    fn each_validator_has_its_part_for_its_clients_and_for_each_peer() {
        let limits = Limits { txs_max: 16, bytes_max: 4_000, account_percent: 50, ..Limits::default() };
        let mut pool = Pool::new(limits, 4);
        let full =
            |result: Result<(), Full>| result.map_err(|full| (full.what, full.limit, full.unit)).unwrap_err();
        let peer = |n| Account::Peer(ValidatorIndex(n));
        assert!((0..4).all(|_| pool.reserve(peer(1), 10).is_ok()));
        assert_eq!(full(pool.reserve(peer(1), 10)), ("validator's part of the mempool", 4, "transactions"));
        assert!(pool.reserve(peer(2), 1_000).is_ok(), "another's part is its own");
        assert_eq!(full(pool.reserve(peer(2), 1)), ("validator's part of the mempool", 1_000, "bytes"));
        assert!(pool.reserve(CLINIC, 400).is_ok());
        let share = "organisation's share of the mempool";
        assert_eq!(full(pool.reserve(CLINIC, 101)), (share, 500, "bytes"));
        assert!(pool.reserve(CLINIC, 1).is_ok());
        assert_eq!(full(pool.reserve(CLINIC, 1)), (share, 2, "transactions"));
        assert_eq!(full(pool.reserve(FLOODER, 350)), ("mempool for organisations", 750, "bytes"));
        assert!(pool.reserve(FLOODER, 1).is_ok());
        let third = clinic(3);
        assert_eq!(full(pool.reserve(third, 1)), ("mempool for organisations", 3, "transactions"));
        pool.release(CLINIC, 400);
        assert!(pool.reserve(third, 499).is_ok());
    }

    #[test]
    fn persons_share_a_quarter_which_nobody_else_takes_and_none_of_them_alone() {
        let limits = Limits { txs_max: 80, account_percent: 100, ..Limits::default() };
        let (orgs, persons, one) = (60, 20, 2);
        let mut pool = pool(limits);
        assert_eq!((0..100).filter(|_| pool.reserve(FLOODER, 1).is_ok()).count(), orgs);
        assert_eq!((0..100).filter(|_| pool.reserve(person(0), 1).is_ok()).count(), one);
        let full = pool.reserve(person(0), 1).unwrap_err();
        assert_eq!((full.what, full.limit), ("person's share of the mempool", one));
        assert_eq!((2..102).filter(|i| pool.reserve(person(i / 2), 1).is_ok()).count(), persons - one);
        let full = pool.reserve(person(101), 1).unwrap_err();
        assert_eq!((full.what, full.limit), ("mempool for persons", persons));
        pool.release(person(0), 1);
        assert!(pool.reserve(FLOODER, 1).is_err(), "their room stays theirs");
        assert!(pool.reserve(person(101), 1).is_ok());
        pool.release(FLOODER, 1);
        assert!(pool.reserve(person(0), 1).is_err(), "and the organisations' theirs");
        assert!(pool.reserve(CLINIC, 1).is_ok());
    }

    #[test]
    fn a_person_has_room_for_a_transaction_in_the_smallest_part() {
        let mut pool =
            Pool::new(Limits { txs_max: 400, bytes_max: 100 * 4 * MAX_TX_BYTES, ..Limits::default() }, 100);
        assert!(pool.reserve(person(1), MAX_TX_BYTES).is_ok());
        assert_eq!(pool.reserve(person(2), 1).unwrap_err().limit, 1);
        pool.release(person(1), MAX_TX_BYTES);
        assert!(pool.reserve(person(2), 1).is_ok());
    }

    #[test]
    fn all_persons_together_have_one_turn_and_take_turns_in_it() {
        let mut pool = pool(Limits::default());
        // Nobody gets more turns by more keys.
        let many: Vec<Checked> = (0..9).map(|i| checked(&key(10 + i), i.into(), 500)).collect();
        let other = checked(&key(2), 100, 500);
        let clinics: Vec<Checked> = (0..9).map(|i| checked(&key(3), 200 + i, 500)).collect();
        for tx in &many {
            take(&mut pool, tx, person(1), 0).unwrap();
        }
        take(&mut pool, &other, person(2), 0).unwrap();
        for tx in &clinics {
            take(&mut pool, tx, CLINIC, 0).unwrap();
        }
        let batch = cut(&mut pool, 6);
        assert_eq!(batch.iter().filter(|id| clinics.iter().any(|tx| tx.id() == **id)).count(), 3);
        assert!(batch.contains(&other.id()), "one who sends much does not hold up the other");
    }

    #[test]
    fn offers_lapse_into_their_old_places() {
        let mut pool = pool(Limits::default());
        let txs: Vec<Checked> = (0..4).map(|i| checked(&key(1), i, 500)).collect();
        for tx in &txs {
            take(&mut pool, tx, CLINIC, 7).unwrap();
        }
        let ids: Vec<TxId> = txs.iter().map(|tx| tx.id()).collect();
        assert_eq!(cut(&mut pool, 2), ids[..2]);
        assert_eq!(pool.waiting().0, 2);
        assert_eq!(pool.oldest(TimestampMs(0), u64::MAX), Some(7), "offered is not delivered");
        pool.offers_lapsed();
        assert_eq!(pool.waiting().0, 4);
        pool.offered([ids[0]]); // carried over by the NewView
        assert_eq!(cut(&mut pool, 9), ids[1..]);
        assert_eq!(pool.waiting(), (0, 0));
        pool.delivered(ids);
        assert_eq!(pool.oldest(TimestampMs(0), u64::MAX), None);
        pool.offers_lapsed();
        assert_eq!(pool.waiting(), (0, 0), "what is delivered is never offered again");
    }

    #[test]
    fn what_cannot_stand_in_the_batch_is_left_and_dropped_only_by_block_time() {
        let mut pool = pool(Limits::default());
        let (late, far, good) =
            (checked(&key(1), 1, 99), checked(&key(1), 2, 1_101), checked(&key(1), 3, 100));
        for (at, tx) in [&late, &far, &good].into_iter().enumerate() {
            take(&mut pool, tx, CLINIC, at as u64).unwrap();
        }
        assert_eq!(cut(&mut pool, 9), [good.id()]);
        assert_eq!(pool.waiting().0, 2);
        assert_eq!(
            pool.oldest(TimestampMs(100), u64::MAX),
            Some(1),
            "an expired one waits for time, not for the primary"
        );
        assert_eq!(pool.first_expiry(), Some(TimestampMs(99)));
        assert_eq!(pool.executed([], TimestampMs(99)), 0, "valid while block time <= expires_at");
        assert_eq!(pool.executed([], TimestampMs(100)), 1);
        assert!(!pool.holds(&late.id()));
        assert_eq!(pool.known(&late.id()), Some(Known::Expired { expires_at: TimestampMs(99) }));
    }

    #[test]
    fn what_a_client_brings_after_a_peer_is_the_clients_too() {
        let mut pool = pool(Limits::default());
        let tx = checked(&key(1), 1, 500);
        let peer = Account::Peer(ValidatorIndex(3));
        assert_eq!(take(&mut pool, &tx, peer, 0), Ok(true));
        assert_eq!(pool.unfinished().count(), 0);
        assert_eq!(take(&mut pool, &tx, CLINIC, 0), Ok(false));
        assert_eq!(
            pool.unfinished().map(|(client, _)| Account::Client(client)).collect::<Vec<_>>(),
            [CLINIC]
        );
        assert_eq!(
            pool.resend(true, 10, 10, 1 << 20),
            std::slice::from_ref(&tx),
            "to everybody, as one of ours"
        );
        pool.executed([tx.id()], TimestampMs(1));
        assert_eq!(pool.size(), PoolSize::default());
    }

    #[test]
    fn what_is_sent_again_is_paced_and_bounded() {
        let mut pool = pool(Limits::default());
        let (own, foreign) = (checked(&key(1), 1, 500), checked(&key(1), 2, 500));
        take(&mut pool, &own, CLINIC, 0).unwrap();
        take(&mut pool, &foreign, Account::Peer(ValidatorIndex(3)), 0).unwrap();
        assert!(pool.resend(true, 9, 10, 1 << 20).is_empty());
        assert_eq!(pool.resend(true, 10, 10, 1 << 20), std::slice::from_ref(&own));
        assert!(pool.resend(true, 11, 10, 1 << 20).is_empty(), "left alone again");
        assert_eq!(pool.resend(false, 11, 10, 1 << 20), std::slice::from_ref(&foreign));
        assert!(pool.resend(true, 100, 10, 5).is_empty(), "bounded in bytes");
        assert_eq!(pool.unfinished().map(|(_, tx)| tx.id()).collect::<Vec<_>>(), [own.id()]);
    }
}
