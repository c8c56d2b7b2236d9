//! The replica: its state, its one entrance, and its return from the log.
//!
//! Every change of durable state goes through [`Replica::apply`], in live running and in replay, so a restart
//! cannot disagree with the past (R4). Handlers live in `normal`, `view_change`, `timers`, `sync` and `epochs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, NextEpoch, PublicKey, Signer, TimestampMs,
    ValidatorIndex, ValidatorSet, View,
};

use crate::event::{Alarm, Effect, Event, Evidence, Halt, Step};
use crate::guard::{self, Guard};
use crate::message::{Input, Kind, Message, NewView, Signed, SignedVote, Verified, ViewChange, Vote};
use crate::payload::{Payload, null_digest};
use crate::record::{RECORD_VERSION, Record};
use crate::slot::{Slot, Votes};
use crate::sync::{Fetching, Want};
use crate::timers::Timers;

/// Who this replica is and among whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The chain.
    pub chain: ChainId,
    /// Validators and parameters of the epoch in force.
    pub set: ValidatorSet,
    /// Last height of the epoch before; 0 in epoch 0.
    pub begin: Height,
    /// This replica's place in the set; [`Config::OUTSIDE`] if it only follows.
    pub me: ValidatorIndex,
}

impl Config {
    /// The place of one who is no validator: it executes and verifies like all, and never says a word.
    pub const OUTSIDE: ValidatorIndex = ValidatorIndex(u16::MAX);

    /// In this epoch, as whoever has this voting key.
    #[must_use]
    pub fn new(chain: ChainId, set: ValidatorSet, begin: Height, key: &PublicKey) -> Self {
        let me = set.index_of(key).unwrap_or(Self::OUTSIDE);
        Self { chain, set, begin, me }
    }

    /// Is it a validator of this epoch?
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.set.get(self.me).is_some()
    }
}

/// The store's tip: the highest executed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height, 0 for genesis.
    pub height: Height,
    /// Its header hash; the chain id for genesis.
    pub hash: Hash,
    /// Its sealed time.
    pub timestamp: TimestampMs,
    /// Digest of its batch.
    pub batch_digest: Hash,
}

/// What the store holds when a validator comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The highest certificate; none if only genesis is certain.
    pub certificate: Option<Certificate>,
    /// The highest executed block.
    pub tip: Tip,
    /// Executed blocks above the certificate, ascending up to the tip.
    pub above: Vec<Tip>,
    /// The next epoch, if it is decided.
    pub next: Option<NextEpoch>,
}

impl Stored {
    /// A store that holds genesis only.
    #[must_use]
    pub const fn genesis(chain: ChainId, timestamp: TimestampMs) -> Self {
        Self { certificate: None, tip: Tip::genesis(chain, timestamp), above: Vec::new(), next: None }
    }
}

impl Tip {
    /// Of genesis: certain without a certificate.
    #[must_use]
    pub const fn genesis(chain: ChainId, timestamp: TimestampMs) -> Self {
        Self { height: Height::ZERO, hash: Hash(chain.0), timestamp, batch_digest: Hash::ZERO }
    }

    /// Of a header.
    #[must_use]
    pub fn of(header: &BlockHeader) -> Self {
        Self {
            height: header.height,
            hash: header.hash(),
            timestamp: header.timestamp,
            batch_digest: header.batch_digest,
        }
    }
}

/// A batch and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) payload: Arc<Payload>,
    pub(crate) height: Height,
    pub(crate) logged: bool,
    pub(crate) validity: Validity,
}

/// Answer of R8, a pure function of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Unknown,
    Asked,
    Valid,
    Invalid,
}

/// Where the primary may propose now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The view.
    pub view: View,
    /// The lowest free height.
    pub height: Height,
    /// Nothing is in flight: propose whatever there is. Otherwise only a full batch is worth a slot.
    pub idle: bool,
}

/// Why the log cannot be resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// No birth record: the key may have voted elsewhere (R25).
    #[error(
        "the log has no birth record; a voting key is made together with its log: take a new key and a new log"
    )]
    NotBorn,
    /// Of another key or chain.
    #[error("the log belongs to another voting key or chain")]
    Foreign,
    /// Layout unknown to this build.
    #[error("the log has layout {found}, this build reads {RECORD_VERSION}")]
    Version {
        /// Found.
        found: u16,
    },
    /// The ledger is of an epoch that this validator has left behind, and the log does not lead from there to where it voted:
    /// what it said between is not in it any more, or it never was there (R20).
    #[error(
        "the log is of epoch {log}, the ledger of epoch {ledger}, and nothing leads from one to the other: bring the ledger to \
         epoch {log} first, with `epione backup create` at another node and `epione backup restore` at this one"
    )]
    LedgerBehind {
        /// In which it voted.
        log: Epoch,
        /// Of the ledger's head.
        ledger: Epoch,
    },
    /// A record that cannot follow the ones before.
    #[error("record {index} of the log contradicts the ones before it")]
    Contradiction {
        /// Its place, from 0.
        index: usize,
    },
}

/// What the replica waits for, for logs and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Epoch.
    pub epoch: Epoch,
    /// View entered.
    pub view: View,
    /// View asked for; above `view` while a view change is under way.
    pub asked: View,
    /// Primary of the view entered.
    pub primary: ValidatorIndex,
    /// Certified and executed.
    pub low: Height,
    /// Executed.
    pub executed: Height,
    /// Handed to execution.
    pub delivered: Height,
    /// Highest height with a proposal.
    pub proposed: Height,
    /// Halted for this reason.
    pub halted: Option<Halt>,
    /// One sentence.
    pub text: String,
    /// Validators whose votes are missing for the next step.
    pub missing: Vec<ValidatorIndex>,
}

/// One validator's PBFT.
#[derive(Clone)]
pub struct Replica {
    pub(crate) config: Config,
    /// The next epoch, if the ledger has decided it.
    pub(crate) next: Option<NextEpoch>,
    /// What a log holds of later epochs than the store has reached: applied when each begins (R4).
    pub(crate) later: VecDeque<Record>,
    pub(crate) signer: Arc<dyn Signer + Send + Sync>,
    pub(crate) quorum: usize,
    pub(crate) faults: usize,
    pub(crate) window: u64,

    /// View entered.
    pub(crate) view: View,
    /// View asked for, at least `view`.
    pub(crate) asked: View,
    /// The view entered before this one, whose messages still count (R28).
    pub(crate) previous: View,
    /// The NewView that opened `view`; none in view 0.
    pub(crate) new_view: Option<Arc<Signed<NewView>>>,
    /// Height of its highest certificate.
    pub(crate) base: Height,
    /// What it carries over.
    pub(crate) listed: BTreeMap<Height, SignedVote>,
    /// Highest height proposed or listed in `view`.
    pub(crate) proposed: Height,

    pub(crate) low: Height,
    pub(crate) low_certificate: Option<Certificate>,
    pub(crate) executed: Tip,
    pub(crate) delivered: Height,
    /// What was ordered by votes at or below low, for W heights: a later NewView must not contradict it.
    pub(crate) closed: BTreeMap<Height, (View, Hash)>,
    /// Highest certificate above low.
    pub(crate) pending_certificate: Option<Certificate>,

    pub(crate) slots: BTreeMap<Height, Slot>,
    pub(crate) batches: BTreeMap<Hash, Held>,
    /// Highest ViewChange of each validator.
    pub(crate) view_changes: BTreeMap<ValidatorIndex, Arc<Signed<ViewChange>>>,
    /// Highest Suspect of each validator.
    pub(crate) suspects: BTreeMap<ValidatorIndex, SignedVote>,
    /// Evidence was given once per validator and kind.
    pub(crate) accused: BTreeSet<(ValidatorIndex, Kind)>,

    /// Batches that are missing.
    pub(crate) wanted: BTreeMap<Hash, Want>,
    pub(crate) fetching: Fetching,
    pub(crate) timers: Timers,
    /// Why views were left.
    pub(crate) causes: crate::explain::Causes,
    pub(crate) halted: Option<Halt>,
}

impl core::fmt::Debug for Replica {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Replica")
            .field("me", &self.config.me)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// A validator that has never voted. The step holds its birth record (R25). Feed a tick before anything else.
    pub fn born(config: Config, signer: Arc<dyn Signer + Send + Sync>, stored: Stored) -> (Self, Step) {
        let mut replica = Self::new(config, signer, stored.tip);
        let mut step = Step::default();
        let born = Record::Born {
            version: RECORD_VERSION,
            key: replica.signer.public_key(),
            chain: replica.config.chain,
        };
        replica.record(born, &mut step);
        replica.resume(stored, &mut step);
        (replica, step)
    }

    /// A validator coming back from its log and store (R4).
    ///
    /// The step re-executes sealed heights above the store's tip. Feed a tick before anything else.
    ///
    /// # Errors
    /// When the log cannot be trusted; the validator must not vote (R26).
    pub fn restore(
        config: Config,
        signer: Arc<dyn Signer + Send + Sync>,
        stored: Stored,
        records: Vec<Record>,
    ) -> Result<(Self, Step), RestoreError> {
        let mut replica = Self::new(config, signer, stored.tip);
        let mut records = records.into_iter().enumerate();
        match records.next() {
            Some((_, Record::Born { version, key, chain })) => {
                if version != RECORD_VERSION {
                    return Err(RestoreError::Version { found: version });
                }
                if key != replica.signer.public_key() || chain != replica.config.chain {
                    return Err(RestoreError::Foreign);
                }
            }
            _ => return Err(RestoreError::NotBorn),
        }
        replica.settle_low(&stored);
        for (index, record) in records {
            let ahead = record.begins().is_some_and(|epoch| epoch > replica.config.set.epoch);
            if ahead && replica.later.iter().any(|later| later.begins() >= record.begins()) {
                continue; // a trimmed log says again in which epoch it is
            }
            if ahead {
                replica.later.push_back(record);
                continue;
            }
            // After a restart whose store had fallen back, this epoch's votes stand behind what the log held of the next.
            let now = replica.later.is_empty() || replica.binds_now(&record);
            let ledger = replica.config.set.epoch;
            if let Some(log) = record.epoch().filter(|epoch| *epoch > ledger && replica.later.is_empty()) {
                return Err(RestoreError::LedgerBehind { log, ledger });
            }
            if now && guard::holds(Guard::RestoredVotes) && !replica.apply(&record) {
                return Err(RestoreError::Contradiction { index });
            }
            if !now || !replica.later.is_empty() && matches!(record, Record::Batch { .. }) {
                replica.later.push_back(record);
            }
        }
        let ledger = replica.config.set.epoch;
        let log = replica.later.front().and_then(Record::begins);
        if let Some(log) = log.filter(|log| log.0 > ledger.0.saturating_add(1)) {
            return Err(RestoreError::LedgerBehind { log, ledger });
        }
        let mut step = Step::default();
        replica.resume(stored, &mut step);
        Ok((replica, step))
    }

    pub(crate) fn new(config: Config, signer: Arc<dyn Signer + Send + Sync>, tip: Tip) -> Self {
        let null = Arc::new(Payload::new(epione_types::Batch::Null));
        let null = Held { payload: null, height: Height(u64::MAX), logged: true, validity: Validity::Valid };
        Self {
            quorum: crate::quorum(&config.set),
            faults: config.set.faults(),
            window: config.set.params.window,
            next: None,
            later: VecDeque::new(),
            view: View::ZERO,
            asked: View::ZERO,
            previous: View::ZERO,
            new_view: None,
            base: config.begin,
            listed: BTreeMap::new(),
            proposed: config.begin,
            low: Height::ZERO,
            low_certificate: None,
            executed: tip,
            delivered: tip.height,
            closed: BTreeMap::new(),
            pending_certificate: None,
            slots: BTreeMap::new(),
            batches: BTreeMap::from([(null_digest(), null)]),
            view_changes: BTreeMap::new(),
            suspects: BTreeMap::new(),
            accused: BTreeSet::new(),
            wanted: BTreeMap::new(),
            fetching: Fetching::default(),
            timers: Timers::new(&config.set.params),
            causes: crate::explain::Causes::default(),
            halted: None,
            config,
            signer,
        }
    }

    /// After replay: blocks of the store above low are sealed, sealed heights above it are executed again
    /// from the log, as far as there is no gap, and everything of one's own is said again (R4, R22).
    fn resume(&mut self, stored: Stored, step: &mut Step) {
        self.settle_low(&stored);
        self.learn(stored.next);
        if let Some(halt) = self.halted.clone() {
            step.effects.push(Effect::Halt(halt));
        }
        let low = self.low;
        self.slots.retain(|height, _| *height > low);
        for tip in stored.above.iter().filter(|tip| tip.height > low) {
            self.slots.entry(tip.height).or_default().executed = Some(tip.hash);
            self.settle(*tip, step);
        }
        let here = self.slots.range_mut(..=self.executed.height);
        if let Some(certificate) = here.rev().find_map(|(_, slot)| slot.certificate.take()) {
            self.adopt(certificate, step);
        }
        if let Some(certificate) = self.pending_certificate.take() {
            self.adopt(certificate, step);
        }
        self.turn(step);
        self.deliver_ready(step); // R4: what was sealed, before anything else
        self.own_messages(step);
        self.advance_all(step);
    }

    /// low as the store knows it: certified and executed.
    fn settle_low(&mut self, stored: &Stored) {
        match &stored.certificate {
            Some(certificate) if certificate.height <= stored.tip.height => {
                self.low = certificate.height;
                self.low_certificate = Some(certificate.clone());
            }
            Some(certificate) => self.pending_certificate = Some(certificate.clone()),
            None => {}
        }
    }

    /// The one entrance. Pure: same state and event, same step.
    pub fn on(&mut self, event: Event) -> Step {
        let mut step = Step::default();
        match event {
            Event::Tick { now, clock } => self.on_tick(now, clock, &mut step),
            Event::Message(Verified(input)) => self.on_input(input, &mut step),
            Event::Propose { view, height, payload } => self.on_propose(view, height, payload, &mut step),
            Event::Validated { epoch, digest, valid } if epoch == self.config.set.epoch => {
                self.on_validated(digest, valid, &mut step);
            }
            Event::Validated { .. } => {} // by parameters that are not in force (R20)
            Event::Executed { header, next } => self.on_executed(&header, next, &mut step),
            Event::Blocks(blocks) => self.on_blocks(blocks, &mut step),
            Event::Waiting { oldest, deadline } => self.timers.waiting(oldest, deadline),
            Event::Connected(peer) => self.on_connected(peer, &mut step),
        }
        step
    }

    fn on_input(&mut self, input: Input, step: &mut Step) {
        if self.timers.clock == TimestampMs::ZERO {
            return; // without a clock no stamp can be judged; whatever is lost comes again (R22)
        }
        // Verified among another epoch's validators it says nothing among these (R20).
        if input.epoch().is_some_and(|epoch| epoch != self.config.set.epoch) && guard::holds(Guard::Epoch) {
            return;
        }
        match input {
            Input::Vote(vote) => match vote.vote.kind {
                Kind::Prepare => self.on_prepare(vote, step),
                Kind::Commit => self.on_commit(vote, step),
                Kind::Seal => self.on_seal(vote, step),
                Kind::Suspect => self.on_suspect(vote, step),
                Kind::PrePrepare => {} // travels as a proposal; the gate refuses it
            },
            Input::Proposal(vote, payload) => self.on_proposal(vote, payload, step),
            Input::Batch(payload) => self.on_batch(payload, step),
            Input::Commits(certificate) => self.on_commits(certificate, step),
            Input::Certificate(certificate) => self.adopt(certificate, step),
            Input::ViewChange(change) => self.on_view_change(change, step),
            Input::NewView(new_view) => self.on_new_view(&new_view, step),
            Input::Status(status) => self.on_status(status.from, &status.body, step),
        }
    }

    /// Records a fact: applied now, durable before any effect of this step or a later one (I3).
    pub(crate) fn record(&mut self, record: Record, step: &mut Step) {
        let applied = self.apply(&record);
        assert!(applied, "a record of our own contradicts the state: {record:?}");
        if record.is_logged() {
            step.records.push(record);
        }
    }

    /// What a record means for the state. False if it contradicts what is there.
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        match record.epoch() {
            // Of an epoch that the store has left: everything it bound is certified and executed (R20).
            Some(epoch) if epoch < self.config.set.epoch => return true,
            Some(epoch) if epoch > self.config.set.epoch => return false,
            Some(_) | None => {}
        }
        match record {
            Record::Born { .. } => true,
            Record::Epoch { after, set } => {
                if set.epoch > self.config.set.epoch {
                    self.enter_epoch(*after, set);
                }
                true
            }
            Record::Batch { height, bytes } => {
                let Ok(payload) = Payload::of_the_log(bytes.clone()) else {
                    return false;
                };
                let held = Held {
                    height: *height,
                    logged: true,
                    validity: Validity::Valid, // only valid batches are logged
                    payload: Arc::new(payload),
                };
                self.batches.entry(held.payload.digest()).or_insert(held).logged = true;
                true
            }
            Record::Accepted(pre_prepare) => {
                let Vote { view, height, digest, .. } = pre_prepare.vote;
                let votes = self.votes(height, view);
                if votes.accepted.is_some_and(|other| other != digest) {
                    return false; // I2
                }
                votes.accepted = Some(digest);
                if let Some(held) = self.batches.get_mut(&digest) {
                    held.height = held.height.max(height); // kept for the highest slot that needs it (R4)
                }
                let votes = self.votes(height, view);
                votes.pre_prepare = Some(*pre_prepare);
                if view == self.view && pre_prepare.from == self.config.me {
                    self.proposed = self.proposed.max(height);
                }
                if pre_prepare.from != self.config.me {
                    let own = self.own_vote(Kind::Prepare, view, height, digest);
                    self.votes(height, view).prepares.insert(own.from, (digest, own.signature));
                }
                true
            }
            Record::Prepared(certificate) => {
                let (view, height, digest) = (certificate.view(), certificate.height(), certificate.digest());
                let own = self.own_vote(Kind::Commit, view, height, digest);
                let votes = self.votes(height, view);
                votes.committed = true;
                votes.commits.insert(own.from, (digest, own.signature));
                let slot = self.slots.entry(height).or_default();
                if slot.prepared.as_ref().is_none_or(|held| held.view() < view) {
                    slot.prepared = Some(certificate.clone());
                }
                true
            }
            Record::Sealed { height, digest, header_hash, .. } => {
                let own = self.own_vote(Kind::Seal, View::ZERO, *height, *header_hash);
                let slot = self.slots.entry(*height).or_default();
                if slot.sealed.is_some_and(|other| other != *header_hash) {
                    return false; // I2, R13
                }
                if let Some(held) = self.batches.get_mut(digest) {
                    held.height = held.height.max(*height); // R4
                }
                slot.sealed = Some(*header_hash);
                slot.sealed_digest = Some(*digest);
                slot.seals.insert(own.from, (*header_hash, own.signature));
                true
            }
            Record::Certified(certificate) => {
                // Not the highest alone: a block without one cannot be given to who lacks it (R23), and the highest may be
                // above what is here.
                if certificate.height > self.low {
                    self.slots.entry(certificate.height).or_default().certificate = Some(certificate.clone());
                }
                if self.pending_certificate.as_ref().is_none_or(|held| held.height < certificate.height) {
                    self.pending_certificate = Some(certificate.clone());
                }
                true
            }
            Record::Asked(change) => {
                if change.body.view < self.asked {
                    return false; // I4
                }
                self.asked = change.body.view;
                self.view_changes.insert(self.config.me, Arc::new(change.clone()));
                self.forget_views();
                true
            }
            Record::Entered(new_view) => {
                if new_view.body.view < self.asked || new_view.body.view < self.view {
                    return false; // I4
                }
                self.previous = self.view;
                self.view = new_view.body.view;
                self.asked = new_view.body.view;
                self.base = new_view.body.base(self.config.begin);
                self.listed =
                    new_view.body.pre_prepares.iter().map(|vote| (vote.vote.height, *vote)).collect();
                self.proposed = self.listed.keys().next_back().copied().unwrap_or(self.base);
                self.new_view = Some(Arc::new(new_view.clone()));
                self.forget_views();
                let me = self.config.me;
                self.view_changes.retain(|who, change| *who != me && change.body.view > new_view.body.view);
                self.suspects.retain(|_, vote| vote.vote.view >= new_view.body.view);
                true
            }
            Record::Halted(halt) => {
                self.halted.get_or_insert(halt.clone());
                true
            }
        }
    }

    /// Votes of views that no longer count are dropped, and with them what only they needed (R28).
    pub(crate) fn forget_views(&mut self) {
        let keep = self.kept_views();
        for slot in self.slots.values_mut() {
            slot.views.retain(|view, _| keep.contains(view));
        }
        let proposed =
            self.slots.values().flat_map(|slot| slot.views.values().filter_map(|votes| votes.pre_prepare));
        let ordered = self.slots.values().filter_map(|slot| slot.ordered.as_ref().map(|one| one.digest));
        let listed = self.listed.values().map(|vote| vote.vote.digest);
        let needed: BTreeSet<Hash> =
            proposed.map(|vote| vote.vote.digest).chain(ordered).chain(listed).collect();
        self.batches.retain(|digest, held| held.logged || needed.contains(digest));
        self.wanted.retain(|digest, _| needed.contains(digest));
    }

    /// The records that a new log must begin with: everything that still binds this validator.
    ///
    /// The old log may be dropped only once the store has synced every block up to [`Replica::low`]:
    /// what is at or below it is left out here.
    #[must_use]
    pub fn live_records(&self) -> Vec<Record> {
        let mut records = vec![Record::Born {
            version: RECORD_VERSION,
            key: self.signer.public_key(),
            chain: self.config.chain,
        }];
        if self.config.set.epoch > Epoch::ZERO {
            records.push(Record::Epoch { after: self.config.begin, set: self.config.set.clone() });
        }
        records.extend(self.new_view.as_ref().map(|new_view| Record::Entered((**new_view).clone())));
        if self.asked > self.view {
            let own = self.view_changes.get(&self.config.me);
            records.extend(own.map(|change| Record::Asked((**change).clone())));
        }
        let batches = self.batches.values().filter(|held| held.logged && !held.payload.is_null());
        records.extend(
            batches.map(|held| Record::Batch { height: held.height, bytes: held.payload.bytes().clone() }),
        );
        for (height, slot) in &self.slots {
            for votes in slot.views.values() {
                let accepted = votes.accepted.and(votes.pre_prepare);
                records.extend(accepted.map(Record::Accepted));
            }
            records.extend(slot.prepared.clone().map(Record::Prepared));
            if let (Some(header_hash), Some(digest)) = (slot.sealed, slot.sealed_digest) {
                let epoch = self.config.set.epoch;
                records.push(Record::Sealed { epoch, height: *height, digest, header_hash });
            }
        }
        records.extend(self.own_certificate().cloned().map(Record::Certified));
        records.extend(self.later.iter().cloned());
        records.extend(self.halted.clone().map(Record::Halted));
        records
    }

    // --- small words that every handler uses ---

    pub(crate) fn own_vote(&self, kind: Kind, view: View, height: Height, digest: Hash) -> SignedVote {
        let vote = Vote { kind, epoch: self.config.set.epoch, view, height, digest };
        vote.sign(self.config.chain, self.config.me, &*self.signer)
    }

    pub(crate) fn votes(&mut self, height: Height, view: View) -> &mut Votes {
        self.slots.entry(height).or_default().views.entry(view).or_default()
    }

    pub(crate) fn primary(&self) -> ValidatorIndex {
        crate::primary(&self.config.set, self.view)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.primary() == self.config.me
    }

    /// Votes go on in the entered view only until a higher one was asked for (R17), and never when halted.
    pub(crate) fn voting(&self) -> bool {
        let here = self.asked == self.view || !guard::holds(Guard::VotingEnds);
        here && self.halted.is_none() && self.config.is_member()
    }

    /// The last height of this epoch, if that is decided (R20).
    pub(crate) fn end(&self) -> Height {
        let next = self.next.as_ref().filter(|_| guard::holds(Guard::EpochEnds));
        next.map_or(Height(u64::MAX), |next| next.after)
    }

    /// The highest certificate of this epoch: the one before has others to vouch for it.
    pub(crate) fn own_certificate(&self) -> Option<&Certificate> {
        self.low_certificate.as_ref().filter(|one| one.epoch == self.config.set.epoch)
    }

    pub(crate) fn in_window(&self, height: Height) -> bool {
        let below_top = height <= self.low.plus(self.window) || !guard::holds(Guard::Window);
        height > self.low && below_top && height <= self.end() // R2, R20
    }

    pub(crate) fn kept_height(&self, height: Height) -> bool {
        let below_top =
            height <= self.low.plus(self.window.saturating_mul(2)) || !guard::holds(Guard::KeptHeights);
        height > self.low && below_top && height <= self.end() // R2, R20
    }

    pub(crate) fn kept_views(&self) -> BTreeSet<View> {
        BTreeSet::from([self.previous, self.view, self.asked]) // R28
    }

    pub(crate) fn keeps(&self, height: Height, view: View) -> bool {
        self.kept_height(height) && (self.kept_views().contains(&view) || !guard::holds(Guard::KeptViews))
    }

    pub(crate) fn accuse(&mut self, first: SignedVote, second: SignedVote, step: &mut Step) {
        if let Some(evidence) = Evidence::new(first, second)
            && self.accused.insert((evidence.against(), evidence.kind()))
        {
            step.effects.push(Effect::Evidence(evidence));
        }
    }

    pub(crate) fn alarm(alarm: Alarm, step: &mut Step) {
        step.effects.push(Effect::Alarm(alarm));
    }

    pub(crate) fn halt(&mut self, halt: Halt, step: &mut Step) {
        if self.halted.is_none() {
            self.record(Record::Halted(halt.clone()), step);
            step.effects.push(Effect::Halt(halt));
        }
    }

    pub(crate) fn broadcast(message: Message, step: &mut Step) {
        step.effects.push(Effect::Broadcast(message));
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        (0..self.config.set.len())
            .filter_map(|at| u16::try_from(at).ok())
            .map(ValidatorIndex)
            .filter(|who| *who != self.config.me)
    }

    // --- what others may ask ---

    /// Who this replica is and among whom.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Highest certified and executed height.
    #[must_use]
    pub const fn low(&self) -> Height {
        self.low
    }

    /// Its certificate; none at genesis.
    #[must_use]
    pub const fn low_certificate(&self) -> Option<&Certificate> {
        self.low_certificate.as_ref()
    }

    /// The executed tip.
    #[must_use]
    pub const fn tip(&self) -> Tip {
        self.executed
    }

    /// A batch held by digest.
    #[must_use]
    pub fn batch(&self, digest: Hash) -> Option<Arc<Payload>> {
        self.batches.get(&digest).map(|held| held.payload.clone())
    }

    /// The answer to one who lacks this batch: with its PrePrepare if there is one (R7).
    #[must_use]
    pub fn batch_for(&self, height: Height, digest: Hash) -> Option<Message> {
        let bytes = self.batches.get(&digest)?.payload.bytes().clone();
        let votes = self.slots.get(&height).and_then(|slot| slot.views.get(&self.view));
        let pre_prepare = votes.and_then(|votes| votes.pre_prepare).filter(|vote| vote.vote.digest == digest);
        Some(match pre_prepare {
            Some(vote) if !self.listed.contains_key(&height) => Message::Proposal(vote, Some(bytes)),
            _ => Message::Batch(bytes),
        })
    }

    /// Bytes and entries that grow with what peers send: bounded by n and the window (I5).
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        let votes: usize = self
            .slots
            .values()
            .map(|slot| {
                slot.seals.len()
                    + slot.views.values().map(|v| v.prepares.len() + v.commits.len()).sum::<usize>()
            })
            .sum();
        let bytes = self.batches.values().map(|held| held.payload.bytes().len()).sum();
        (bytes, votes + self.view_changes.len() + self.suspects.len())
    }

    /// What it waits for, in words.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let next = self.delivered.next();
        let votes = self.slots.get(&next).and_then(|slot| slot.views.get(&self.view));
        let lacks = |has: u128| -> Vec<ValidatorIndex> {
            self.others().filter(|who| has & crate::message::bit(*who) == 0).collect()
        };
        let heard = |tally: &crate::slot::Tally| {
            tally.keys().fold(0u128, |bits, who| bits | crate::message::bit(*who))
        };
        let (text, missing) = if let Some(halt) = &self.halted {
            (format!("halted: {halt}"), Vec::new())
        } else if self.asked > self.view {
            let asking = self.view_changes.iter().filter(|(_, change)| change.body.view >= self.asked);
            let bits = asking.clone().fold(0u128, |bits, (who, _)| bits | crate::message::bit(*who));
            let count = asking.count();
            (format!("view change to {}: {count} of {} ask for it", self.asked, self.quorum), lacks(bits))
        } else if let Some(certificate) =
            self.pending_certificate.as_ref().filter(|one| one.height > self.delivered)
        {
            (format!("fetching blocks {next} to {}", certificate.height), Vec::new())
        } else if self.delivered > self.executed.height {
            (format!("executing height {}", self.executed.height.next()), Vec::new())
        } else if let Some(votes) = votes.filter(|votes| votes.pre_prepare.is_some()) {
            let commits = votes.commits.len();
            let prepares = votes.prepares.len() + 1;
            if prepares < self.quorum {
                (
                    format!("height {next}: {prepares} of {} accept the proposal", self.quorum),
                    lacks(heard(&votes.prepares)),
                )
            } else {
                (format!("height {next}: {commits} of {} Commits", self.quorum), lacks(heard(&votes.commits)))
            }
        } else if self.executed.height > self.low {
            let height = self.low.next();
            let seals = self.slots.get(&height).map(|slot| heard(&slot.seals)).unwrap_or_default();
            (format!("height {height}: {} of {} Seals", seals.count_ones(), self.quorum), lacks(seals))
        } else {
            ("transactions".to_owned(), Vec::new())
        };
        Waiting {
            epoch: self.config.set.epoch,
            view: self.view,
            asked: self.asked,
            primary: self.primary(),
            low: self.low,
            executed: self.executed.height,
            delivered: self.delivered,
            proposed: self.proposed,
            halted: self.halted.clone(),
            text,
            missing,
        }
    }
}
