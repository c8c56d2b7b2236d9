//! Transactions that wait to be ordered: bounded, each once, fair between accounts.
//!
//! ```text
//!  reserve (bytes, account) ─▶ insert ─▶ Waiting ── cut into a batch ──▶ Offered ── view entered ──▶ Waiting
//!                                           └──────────── delivered ──────┴──▶ Delivered ── executed ──▶ gone
//! ```
//!
//! An account is a client's organisation at this node, or the validator that forwarded; each has a share, so one that
//! floods is refused while the others are served (R24), and batches take turns between accounts, then between an account's
//! senders, each sender's transactions in their order of arrival. What is taken in stays until it is delivered or can never
//! commit any more: until a block's time has passed `expires_at`.
//! A plain value: no clock, no lock, no I/O. Tested below.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use epione_types::id::OrgId;
use epione_types::{Params, PublicKey, TimestampMs, TxId, ValidatorIndex};

use crate::validate::{Checked, expiry_fits};

/// Whose share a transaction is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A client of this node, by its organisation.
    Client(OrgId),
    /// Forwarded by this validator.
    Peer(ValidatorIndex),
}

/// Bounds of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most transactions.
    pub txs_max: usize,
    /// Most bytes of encoded transactions.
    pub bytes_max: usize,
    /// The part of both that one account may fill, in percent.
    pub share_percent: usize,
    /// Ids of delivered transactions that are remembered, so that a late forward is not offered again.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { txs_max: 50_000, bytes_max: 64 << 20, share_percent: 40, remembered: 100_000 }
    }
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

/// Waiting transactions of one account: by sender, in order of arrival.
type Senders = Turns<PublicKey, BTreeMap<u64, TxId>>;

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
    waiting: Turns<Account, Senders>,
    waiting_usage: Usage,
    usage: BTreeMap<Account, Usage>,
    total: Usage,
    checking: usize,
    delivered: HashSet<TxId>,
    delivered_order: VecDeque<TxId>,
}

impl Pool {
    /// Empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            arrivals: 0,
            by_arrival: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            waiting: Turns::default(),
            waiting_usage: Usage::default(),
            usage: BTreeMap::new(),
            total: Usage::default(),
            checking: 0,
            delivered: HashSet::new(),
            delivered_order: VecDeque::new(),
        }
    }

    /// Keeps room for a transaction while it is checked; [`Pool::insert`] or [`Pool::release`] follows.
    ///
    /// # Errors
    /// The pool, or the account's share of it, is full.
    pub fn reserve(&mut self, account: Account, bytes: usize) -> Result<(), Full> {
        let share = |all: usize| (all / 100).saturating_mul(self.limits.share_percent).max(1);
        let own = self.usage.get(&account).copied().unwrap_or_default();
        let full = |what, used, limit, unit| Err(Full { what, used, limit, unit });
        if self.total.txs >= self.limits.txs_max {
            return full("mempool", self.total.txs, self.limits.txs_max, "transactions");
        }
        if self.total.bytes.saturating_add(bytes) > self.limits.bytes_max {
            return full("mempool", self.total.bytes, self.limits.bytes_max, "bytes");
        }
        if own.txs >= share(self.limits.txs_max) {
            return full("share of the mempool", own.txs, share(self.limits.txs_max), "transactions");
        }
        if own.bytes.saturating_add(bytes) > share(self.limits.bytes_max) {
            return full("share of the mempool", own.bytes, share(self.limits.bytes_max), "bytes");
        }
        let own = self.usage.entry(account).or_default();
        own.txs += 1;
        own.bytes += bytes;
        self.total.txs += 1;
        self.total.bytes += bytes;
        self.checking += 1;
        Ok(())
    }

    /// Gives back what was reserved.
    pub fn release(&mut self, account: Account, bytes: usize) {
        self.checking = self.checking.saturating_sub(1);
        self.give_back(account, bytes);
    }

    fn give_back(&mut self, account: Account, bytes: usize) {
        self.total.txs = self.total.txs.saturating_sub(1);
        self.total.bytes = self.total.bytes.saturating_sub(bytes);
        if let Some(own) = self.usage.get_mut(&account) {
            own.txs = own.txs.saturating_sub(1);
            own.bytes = own.bytes.saturating_sub(bytes);
            if own.txs == 0 {
                self.usage.remove(&account);
            }
        }
    }

    /// Takes in a transaction that room was reserved for. False, and the room given back, if it is here already.
    pub fn insert(&mut self, tx: Checked, account: Account, now: u64) -> bool {
        let (id, bytes) = (tx.id(), tx.signed.encoded_len());
        if self.holds(&id) {
            self.release(account, bytes);
            return false;
        }
        self.checking = self.checking.saturating_sub(1);
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.by_arrival.insert(arrival, id);
        self.by_expiry.insert((tx.expires_at(), id));
        let entry = Entry { tx, account, arrival, since: now, sent: now, state: State::Waiting };
        Self::enqueue(&mut self.waiting, &mut self.waiting_usage, &entry);
        self.entries.insert(id, entry);
        true
    }

    fn enqueue(waiting: &mut Turns<Account, Senders>, usage: &mut Usage, entry: &Entry) {
        let queue = waiting.queue(entry.account).queue(*entry.tx.sender());
        if queue.insert(entry.arrival, entry.tx.id()).is_none() {
            usage.txs += 1;
            usage.bytes += entry.tx.signed.encoded_len();
        }
    }

    fn dequeue(waiting: &mut Turns<Account, Senders>, usage: &mut Usage, entry: &Entry) {
        let Some(senders) = waiting.queues.get_mut(&entry.account) else { return };
        let Some(queue) = senders.queues.get_mut(entry.tx.sender()) else { return };
        if queue.remove(&entry.arrival).is_none() {
            return;
        }
        usage.txs = usage.txs.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(entry.tx.signed.encoded_len());
        if queue.is_empty() {
            senders.remove(entry.tx.sender());
        }
        if senders.queues.is_empty() {
            waiting.remove(&entry.account);
        }
    }

    /// Is it here, or was it delivered of late?
    #[must_use]
    pub fn holds(&self, id: &TxId) -> bool {
        self.entries.contains_key(id) || self.delivered.contains(id)
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
        PoolSize { txs: self.entries.len(), bytes: self.total.bytes, checking: self.checking }
    }

    /// Cuts a batch: accounts take turns, within an account its senders. Takes only what may stand in a batch with this stamp.
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
        let account = self.waiting.order.pop_front()?;
        self.waiting.order.push_back(account);
        let senders = self.waiting.queues.get_mut(&account)?;
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
            if self.delivered.insert(id) {
                self.delivered_order.push_back(id);
            }
            if self.delivered_order.len() > self.limits.remembered
                && let Some(oldest) = self.delivered_order.pop_front()
            {
                self.delivered.remove(&oldest);
            }
        }
        let mut dropped = 0;
        while let Some((_, id)) = self.by_expiry.first().copied().filter(|(expiry, _)| *expiry < block_time) {
            self.remove(&id);
            dropped += 1;
        }
        dropped
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
    /// for time, not for the primary (R11).
    #[must_use]
    pub fn oldest(&self, clock: TimestampMs) -> Option<u64> {
        let live = self.by_arrival.values().filter_map(|id| self.entries.get(id));
        live.filter(|entry| entry.tx.expires_at() >= clock).map(|entry| entry.since).next()
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
            let mine = matches!(entry.account, Account::Client(_));
            if mine != own || now.saturating_sub(entry.sent) < patience {
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
    pub fn unfinished(&self) -> impl Iterator<Item = (Account, &Checked)> + '_ {
        let mine = self.entries.values().filter(|entry| matches!(entry.account, Account::Client(_)));
        mine.map(|entry| (entry.account, &entry.tx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::tests::{checked, key};

    const CLINIC: Account = Account::Client(OrgId([1; 16]));
    const FLOODER: Account = Account::Client(OrgId([2; 16]));

    fn pool(limits: Limits) -> Pool {
        Pool::new(limits)
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
        let mut pool = pool(Limits { txs_max: 100, share_percent: 40, ..Limits::default() });
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
    fn the_pool_is_bounded_in_bytes_and_as_a_whole() {
        let tx = checked(&key(1), 1, 500);
        let bytes = tx.signed.encoded_len();
        let mut small = pool(Limits { bytes_max: bytes * 2, share_percent: 100, ..Limits::default() });
        // A share is counted in whole hundredths.
        let room = bytes * 2 / 100 * 100;
        assert!(small.reserve(CLINIC, room).is_ok());
        assert_eq!(small.reserve(FLOODER, bytes).unwrap_err().what, "mempool");
        small.release(CLINIC, room);
        assert_eq!(take(&mut small, &tx, FLOODER, 0), Ok(true));
        let mut few = pool(Limits { txs_max: 1, ..Limits::default() });
        assert_eq!(take(&mut few, &tx, CLINIC, 0), Ok(true));
        assert_eq!(few.reserve(FLOODER, 1).unwrap_err().what, "mempool");
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
        assert_eq!(pool.oldest(TimestampMs(0)), Some(7), "offered is not delivered");
        pool.offers_lapsed();
        assert_eq!(pool.waiting().0, 4);
        pool.offered([ids[0]]); // carried over by the NewView
        assert_eq!(cut(&mut pool, 9), ids[1..]);
        assert_eq!(pool.waiting(), (0, 0));
        pool.delivered(ids);
        assert_eq!(pool.oldest(TimestampMs(0)), None);
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
            pool.oldest(TimestampMs(100)),
            Some(1),
            "an expired one waits for time, not for the primary"
        );
        assert_eq!(pool.first_expiry(), Some(TimestampMs(99)));
        assert_eq!(pool.executed([], TimestampMs(99)), 0, "valid while block time <= expires_at");
        assert_eq!(pool.executed([], TimestampMs(100)), 1);
        assert!(!pool.holds(&late.id()));
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
