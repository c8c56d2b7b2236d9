//! The mempool's door: what is taken in, from clients and from peers, and what is sent again (R24).

use epione_types::{SignedTx, TxId, ValidatorIndex};
use tracing::debug;

use super::{Driver, Ports};
use crate::conduct::Offence;
use crate::mempool::{Account, Client, Known};
use crate::ports::{
    Admitted, Candidate, Found, Job, Origin, Refused, Reply, Transport as _, Verdict, Workers as _,
};
use crate::validate::{Checked, Parsed, parse};
use crate::wire::forwards;

/// Most bytes of transactions that one round of sending again may take.
const RESEND_BYTES: usize = 256 * 1024;

impl<P: Ports> Driver<P> {
    /// Takes a client's transaction as far as its signatures, or refuses it.
    pub(super) fn admit(&mut self, candidate: Candidate) {
        let Candidate { parsed, origin } = candidate;
        let word = match self.at_the_door(&parsed, origin.account(), false) {
            Ok(None) => return self.candidates.push_back(Candidate { parsed, origin }),
            Ok(Some(known)) => Ok(known),
            Err(refused) => Err(refused),
        };
        self.answer(origin, word);
    }

    /// The word on a transaction: a client hears it, a peer is held to it.
    fn answer(&mut self, origin: Origin, word: Result<Admitted, Refused>) {
        match origin {
            Origin::Client(_, reply) => reply.say(word),
            Origin::Peer(from) => {
                if let Some(offence) = Offence::of(&word) {
                    self.blame(from, offence);
                }
            }
        }
    }

    /// What was accepted before a restart may find others in its place: it waits for room instead of being refused.
    pub(super) fn admit_held(&mut self) {
        let chain = self.replica.config().chain;
        while let Some((client, tx)) = self.held.pop_front() {
            let Ok(parsed) = parse(tx, chain) else { continue };
            let origin = Origin::Client(Account::Client(client), Reply::nobody());
            match self.at_the_door(&parsed, origin.account(), true) {
                Ok(None) => self.candidates.push_back(Candidate { parsed, origin }),
                Err(Refused::Full(_) | Refused::Unavailable(_)) => {
                    return self.held.push_front((client, parsed.signed.clone()));
                }
                // A peer brought it back first: it is still this client's, and stays durable.
                Ok(Some(Admitted::Pending)) => self.pool.adopt(&parsed.id(), client),
                // Expired while this node was down, unless the ledger has it: whoever asks is told.
                Err(Refused::Expired { expires_at, .. }) => self.pool.expired(parsed.id(), expires_at),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    /// Everything but signatures: known already, in time, and there is room, which is now reserved. What was `held` was
    /// in time once: only a block's time ends it.
    fn at_the_door(
        &mut self,
        tx: &Parsed,
        account: Account,
        held: bool,
    ) -> Result<Option<Admitted>, Refused> {
        let id = tx.id();
        match self.pool.known(&id) {
            Some(Known::Pending { .. }) => return Ok(Some(Admitted::Pending)),
            Some(Known::Executed) => return Ok(Some(Admitted::Executed)),
            Some(Known::Expired { .. }) | None => {}
        }
        if let Some(fault) = &self.fault {
            return Err(Refused::Unavailable(fault.clone()));
        }
        let config = self.replica.config();
        if !config.is_member() {
            return Err(Refused::Unavailable("it follows, and is no validator".to_owned()));
        }
        let params = &config.set.params;
        // A forwarded one that is late by the clock is taken: until a block's time has passed it, time must move (R11).
        let block_time = self.replica.tip().timestamp;
        let now = match account {
            Account::Client(_) if !held => self.clock.max(block_time),
            Account::Client(_) | Account::Peer(_) => block_time,
        };
        let expires_at = tx.expires_at();
        if expires_at < now {
            return Err(Refused::Expired { expires_at, now });
        }
        // What is taken here must fit the stamp of a primary whose clock is behind.
        let ahead = match account {
            Account::Client(_) => params.expiry_ahead_max_ms.saturating_sub(params.max_clock_skew_ms),
            Account::Peer(_) => params.expiry_ahead_max_ms,
        };
        let limit = self.clock.plus(ahead);
        if expires_at > limit && !held {
            return Err(Refused::TooFarAhead { expires_at, limit });
        }
        self.pool.reserve(account, tx.signed.encoded_len())?;
        Ok(None)
    }

    /// A peer's clients' transactions. What does not fit is dropped: its own node sends it again.
    pub(super) fn on_forwarded(&mut self, from: ValidatorIndex, txs: Vec<SignedTx>) {
        if self.replica.config().set.get(from).is_none() {
            return; // who follows takes nothing in, and a validator that has left no more
        }
        let chain = self.replica.config().chain;
        for tx in txs {
            match self.pool.known(&tx.id()) {
                Some(Known::Pending { .. }) => self.blame(from, Offence::TxDuplicate),
                Some(Known::Executed) => self.blame(from, Offence::TxExecuted),
                Some(Known::Expired { .. }) | None => match parse(tx, chain) {
                    Ok(parsed) => self.admit(Candidate { parsed, origin: Origin::Peer(from) }),
                    // A correct validator forwards nothing that it did not check: the rest is not looked at.
                    Err(why) => return self.blame(from, Offence::from(&why)),
                },
            }
        }
    }

    pub(super) fn on_checked(&mut self, verdicts: Vec<Verdict>, logged: u64) {
        self.checking = self.checking.saturating_sub(1);
        self.pool_end = logged;
        let mut forward = Vec::new();
        for Verdict { origin, bytes, found } in verdicts {
            let account = origin.account();
            let word = match found {
                Found::Good { tx, durable } => {
                    self.pool_logged += usize::from(durable);
                    let new = self.pool.insert(tx.clone(), account, self.now);
                    if new && matches!(origin, Origin::Client(..)) {
                        forward.push(tx);
                    }
                    Ok(if new { Admitted::New { durable } } else { Admitted::Pending })
                }
                Found::Executed => {
                    self.pool.release(account, bytes);
                    Ok(Admitted::Executed)
                }
                Found::BadSignature => {
                    self.pool.release(account, bytes);
                    Err(Refused::Signature)
                }
                Found::RequestIdTaken => {
                    self.pool.release(account, bytes);
                    Err(Refused::RequestIdTaken)
                }
            };
            self.answer(origin, word);
        }
        self.forward(&forward, None);
    }

    /// To all, or to one.
    fn forward(&mut self, txs: &[Checked], to: Option<ValidatorIndex>) {
        for frame in forwards(txs.iter().map(|tx| &tx.signed)) {
            match to {
                Some(to) => self.transport.send(to, frame.class(), frame.encode()),
                None => self.transport.broadcast(frame.class(), frame.encode()),
            }
        }
    }

    /// The one forward may be lost: clients' transactions go to everybody again until they are delivered, and what a
    /// peer forwarded goes to the primary, which may be the one that missed it (R24).
    pub(super) fn resend(&mut self) {
        let patience = self.replica.config().set.params.view_timeout_ms / 2;
        if self.now.saturating_sub(self.last_resend) < patience.max(1) {
            return;
        }
        self.last_resend = self.now;
        let own = self.pool.resend(true, self.now, patience, RESEND_BYTES);
        self.forward(&own, None);
        let foreign = self.pool.resend(false, self.now, patience, RESEND_BYTES);
        let config = self.replica.config();
        let primary = epione_consensus::primary(&config.set, self.entered.1);
        if primary != config.me {
            self.forward(&foreign, Some(primary));
        }
    }

    /// A block was executed: its transactions have receipts.
    pub(super) fn settled(&mut self, ids: Vec<TxId>, block_time: epione_types::TimestampMs) {
        let dropped = self.pool.executed(ids, block_time);
        if dropped > 0 {
            debug!(dropped, "transactions expired before they were ordered");
        }
        // The durable pool holds more that is finished than the pool has room for: it is written anew.
        if self.pool_logged > self.settings.pool.txs_max.saturating_add(self.pool.size().txs) {
            let live = self.accepted();
            self.pool_logged = live.len();
            self.workers.start(Job::CompactPool { live, from: self.pool_end });
        }
    }

    /// Everything that a client was told is durable and that is not finished, but for what checks under way have written.
    fn accepted(&self) -> Vec<(Client, SignedTx)> {
        let pool = self.pool.unfinished().map(|(client, tx)| (client, tx.signed.clone()));
        // Out of the durable pool after a restart, and on the way back in.
        let returning = self.candidates.iter().filter_map(|candidate| match &candidate.origin {
            Origin::Client(Account::Client(client), _) => Some((*client, candidate.parsed.signed.clone())),
            Origin::Client(Account::Peer(_), _) | Origin::Peer(_) => None,
        });
        pool.chain(self.held.iter().cloned()).chain(returning).collect()
    }
}
