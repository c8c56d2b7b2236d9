//! What happens, told to those who wait for it: a block was stored, a certificate came.
//!
//! The writer calls in after the store has it; nothing is told that a read would not show. A waiter registers before it
//! asks the ledger, so no block slips between. Never blocks the writer: waiters are woken, subscribers read the ledger
//! themselves from their cursor on, so that a slow one costs nothing and loses nothing. Tested below.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epione_types::{BlockHeader, Certificate, Height, Receipt, TimestampMs, TxId};
use tokio::sync::{oneshot, watch};

/// How far the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Highest stored block.
    pub height: Height,
    /// Its sealed time.
    pub timestamp: TimestampMs,
    /// Highest certified block.
    pub certified: Height,
}

/// A block as the writer stored it.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Its header.
    pub header: BlockHeader,
    /// Its receipts, in order.
    pub receipts: Vec<Receipt>,
}

/// A block that was waited for, and the place of the transaction's receipt in it, which exists.
#[derive(Debug, Clone)]
pub struct Found {
    block: Arc<Block>,
    index: u32,
    at: usize,
}

impl Found {
    /// None if the block has no such receipt.
    #[must_use]
    pub fn new(block: Arc<Block>, index: u32) -> Option<Self> {
        let at = usize::try_from(index).ok().filter(|at| *at < block.receipts.len())?;
        Some(Self { block, index, at })
    }
    /// The block.
    #[must_use]
    pub const fn block(&self) -> &Arc<Block> {
        &self.block
    }
    /// The receipt's index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }
    /// The receipt.
    ///
    /// # Panics
    /// Never: it is made only with an index that exists.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        self.block.receipts.get(self.at).expect("made only with an index that exists")
    }
}

/// Why one stopped waiting.
#[derive(Debug, Clone)]
pub enum Word {
    /// The receipt is stored.
    Committed(Found),
    /// A block's time has passed this `expires_at` without it.
    Expired(TimestampMs),
}

struct Waiter {
    number: u64,
    expires_at: Option<TimestampMs>,
    tell: oneshot::Sender<Word>,
}

#[derive(Default)]
struct Waiters {
    number: u64,
    by_id: HashMap<TxId, Vec<Waiter>>,
    by_expiry: BTreeMap<(TimestampMs, u64), TxId>,
}

/// One who waits. Dropping it ends the waiting and leaves nothing behind.
#[derive(Debug)]
pub struct Wait {
    feed: Arc<Feed>,
    id: TxId,
    number: u64,
    expires_at: Option<TimestampMs>,
    word: oneshot::Receiver<Word>,
}

impl Wait {
    /// The word; none if the node stops. Cancel-safe.
    pub async fn word(&mut self) -> Option<Word> {
        (&mut self.word).await.ok()
    }

    /// What block time ends the waiting, if one does.
    #[must_use]
    pub const fn expires_at(&self) -> Option<TimestampMs> {
        self.expires_at
    }

    /// The word, if it came already.
    pub fn try_word(&mut self) -> Option<Word> {
        self.word.try_recv().ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.feed.forget(&self.id, self.number, self.expires_at);
    }
}

/// The feed of one node.
pub struct Feed {
    waiters: Mutex<Waiters>,
    progress: watch::Sender<Progress>,
}

impl core::fmt::Debug for Feed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Feed").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl Feed {
    /// At the ledger's tip.
    #[must_use]
    pub fn new(progress: Progress) -> Self {
        Self { waiters: Mutex::default(), progress: watch::Sender::new(progress) }
    }

    /// How far the ledger is, now and whenever it moves.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a transaction's receipt, or until a block's time has passed `expires_at`. Ask the ledger after this.
    pub fn wait(self: &Arc<Self>, id: TxId, expires_at: Option<TimestampMs>) -> Wait {
        let (tell, word) = oneshot::channel();
        let mut waiters = self.waiters();
        waiters.number += 1;
        let number = waiters.number;
        waiters.by_id.entry(id).or_default().push(Waiter { number, expires_at, tell });
        if let Some(expires_at) = expires_at {
            waiters.by_expiry.insert((expires_at, number), id);
        }
        drop(waiters);
        Wait { feed: self.clone(), id, number, expires_at, word }
    }

    fn forget(&self, id: &TxId, number: u64, expires_at: Option<TimestampMs>) {
        let mut waiters = self.waiters();
        if let Some(expires_at) = expires_at {
            waiters.by_expiry.remove(&(expires_at, number));
        }
        if let Some(list) = waiters.by_id.get_mut(id) {
            list.retain(|waiter| waiter.number != number);
            if list.is_empty() {
                waiters.by_id.remove(id);
            }
        }
    }

    /// A block is stored.
    pub fn stored(&self, block: Block) {
        let block = Arc::new(block);
        let mut waiters = self.waiters();
        for (index, receipt) in (0..).zip(&block.receipts) {
            let Some(found) = Found::new(block.clone(), index) else { break };
            let Some(list) = waiters.by_id.remove(&receipt.tx_id) else { continue };
            for waiter in list {
                if let Some(expires_at) = waiter.expires_at {
                    waiters.by_expiry.remove(&(expires_at, waiter.number));
                }
                // Whoever does not listen any more has given up.
                drop(waiter.tell.send(Word::Committed(found.clone())));
            }
        }
        let now = block.header.timestamp;
        while let Some((key, id)) = waiters.by_expiry.first_key_value().map(|(key, id)| (*key, *id))
            && key.0 < now
        {
            waiters.by_expiry.remove(&key);
            let Some(list) = waiters.by_id.get_mut(&id) else { continue };
            if let Some(at) = list.iter().position(|waiter| waiter.number == key.1) {
                drop(list.swap_remove(at).tell.send(Word::Expired(key.0)));
            }
            if list.is_empty() {
                waiters.by_id.remove(&id);
            }
        }
        drop(waiters);
        let (height, timestamp) = (block.header.height, now);
        self.progress.send_modify(|progress| (progress.height, progress.timestamp) = (height, timestamp));
    }

    /// A certificate is stored.
    pub fn certified(&self, certificate: &Certificate) {
        self.progress.send_modify(|progress| progress.certified = progress.certified.max(certificate.height));
    }

    /// Those who wait for a receipt: bounded by the calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters().by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::receipt::RECEIPT_VERSION;
    use epione_types::{Epoch, Hash, Outcome};

    fn block(height: u64, timestamp: u64, ids: &[TxId]) -> Block {
        let zero = Hash::ZERO;
        let header = BlockHeader {
            version: 1,
            height: Height(height),
            epoch: Epoch(0),
            parent: zero,
            timestamp: TimestampMs(timestamp),
            batch_digest: zero,
            txs_root: zero,
            receipts_root: zero,
            state_root: zero,
            next_epoch_hash: zero,
        };
        let receipt = |(index, id): (u32, &TxId)| Receipt {
            version: RECEIPT_VERSION,
            tx_id: *id,
            height: header.height,
            index,
            outcome: Outcome::Ok,
            events: Vec::new(),
        };
        let receipts = (0..).zip(ids).map(receipt).collect();
        Block { header, receipts }
    }

    #[test]
    fn everybody_who_waits_is_told_once_and_the_impatient_are_forgotten() {
        let start = Progress { height: Height(0), timestamp: TimestampMs(0), certified: Height(0) };
        let feed = Arc::new(Feed::new(start));
        let id = |n| TxId([n; 32]);
        let mut first = feed.wait(id(1), Some(TimestampMs(50)));
        let mut second = feed.wait(id(1), None);
        let mut late = feed.wait(id(2), Some(TimestampMs(50)));
        drop(feed.wait(id(3), None));
        feed.stored(block(1, 50, &[id(9), id(1)]));
        for told in [&mut first, &mut second] {
            let Some(Word::Committed(found)) = told.try_word() else { panic!("committed") };
            assert_eq!((found.index(), found.block().header.height), (1, Height(1)));
        }
        assert!(late.try_word().is_none(), "valid while block time <= expires_at");
        feed.stored(block(2, 51, &[]));
        assert!(matches!(late.try_word(), Some(Word::Expired(TimestampMs(50)))));
        assert_eq!(feed.progress().borrow().height, Height(2));
        assert_eq!(feed.waiting(), 0, "those who gave up left nothing behind");
    }
}
