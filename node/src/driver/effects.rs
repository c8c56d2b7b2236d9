//! What the replica wants done, and what workers answer.

use epione_consensus::{Alarm, Config, Effect, Event, Evidence, Message, Payload, Step};
use epione_types::{Hash, Height, ValidatorIndex};
use tracing::{debug, error, info, warn};

use super::{ALARMS_KEPT, Driver, Ports};
use crate::conduct::Offence;
use crate::ports::{Answer, Job, Log as _, Transport as _, Workers as _};
use crate::start::leavers;
use crate::wire::Frame;

/// How many validators are asked for a batch at once: an answer may be large.
const BATCH_ASKED: usize = 2;

impl<P: Ports> Driver<P> {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(to, message) => self.send(to, &Frame::Message(message)),
            Effect::Broadcast(message) => self.broadcast(message),
            Effect::Validate { epoch, payload } => self.validate(epoch, payload),
            Effect::Deliver { height, payload } => {
                let txs = self.checked.remove(&payload.digest());
                match &txs {
                    Some(txs) => self.pool.delivered(txs.iter().map(|tx| tx.id())),
                    None => self.pool.delivered(payload.batch().txs().iter().map(epione_types::SignedTx::id)),
                }
                self.executing += 1;
                self.delivered = height;
                let position = self.log.position();
                self.workers.start(Job::Execute { height, payload, txs, position });
            }
            Effect::Certified(certificate) => self.workers.start(Job::Certify(certificate)),
            Effect::Entered { epoch, view } => {
                info!(%epoch, %view, "view entered");
                self.entered = (epoch, view);
                self.pool.offers_lapsed();
            }
            Effect::Turned(config) => self.turned(&config),
            Effect::FetchBatch { height, digest, from } => self.fetch_batch(height, digest, &from),
            Effect::FetchBlocks { from, to, peer } => self.fetch_blocks(from, to, peer),
            Effect::Evidence(evidence) => self.keep(evidence),
            Effect::Alarm(alarm) => self.alarm(&alarm),
            Effect::Halt(halt) => {
                error!(%halt, "voting has stopped; reads are served");
                self.note(format!("halted: {halt}"));
                self.on_halt(&halt);
            }
        }
    }

    /// Another epoch: peers have other places, and what was counted of the old ones is over (R20).
    fn turned(&mut self, config: &Config) {
        let place = if config.is_member() { config.me.to_string() } else { "none".to_owned() };
        info!(epoch = %config.set.epoch, validators = config.set.len(), %place, after = %config.begin, "epoch begun");
        self.pool.share_between(config.set.len());
        self.conduct.clear();
        self.turned_at = self.now;
        self.rostered = config.set.epoch;
        self.asked = None;
        let waiting = self.replica.waiting();
        let restoring = waiting.halted.is_none() && waiting.delivered > waiting.executed;
        self.restoring = restoring.then_some(waiting.delivered);
        self.ask_anew();
        // Who has left still has what those who are behind need, and is behind itself.
        let before = core::mem::take(&mut self.members);
        self.members = config.set.validators.iter().map(|one| one.network_key).collect();
        let members = &self.members;
        self.peers.keep(|place| before.get(place).is_some() && before.get(place) == members.get(place));
        self.left = leavers(before, &config.set);
        self.forget_snapshot_peers(None);
        self.tell_roster();
    }

    /// Tells the transport who may be linked to.
    pub(super) fn tell_roster(&mut self) {
        let set = &self.replica.config().set;
        let mut others = self.left.clone();
        others.extend(&self.candidates_known);
        self.turned_at = self.now.max(1); // who follows may have another number now
        self.transport.roster(set, &others);
    }

    fn broadcast(&mut self, message: Message) {
        if let Message::NewView(new_view) = &message
            && new_view.from == self.replica.config().me
        {
            // What this primary carries over is in flight: not to be offered a second time.
            for vote in &new_view.body.pre_prepares {
                if let Some(payload) = self.replica.batch(vote.vote.digest) {
                    self.pool.offered(ids(&payload));
                }
            }
        }
        let frame = Frame::Message(message);
        self.transport.broadcast(frame.class(), frame.encode());
    }

    /// Asks a few of those who should have it, others the next time: the replica asks again until it is here.
    fn fetch_batch(&mut self, height: Height, digest: Hash, from: &[ValidatorIndex]) {
        let start = self.batch_turn;
        self.batch_turn = self.batch_turn.wrapping_add(1);
        let frame = Frame::FetchBatch { height, digest };
        for peer in from.iter().cycle().skip(start % from.len().max(1)).take(BATCH_ASKED.min(from.len())) {
            self.send(*peer, &frame);
        }
    }

    fn fetch_blocks(&mut self, from: Height, to: Height, peer: ValidatorIndex) {
        if self.fetches_snapshot(from, to) {
            return;
        }
        if self.replica.config().is_member() {
            info!(%from, %to, %peer, "fetching blocks");
        } else {
            debug!(%from, %to, %peer, "asking for blocks");
        }
        // Whoever has them may serve them: a certificate vouches. The validators that this node knows of may all have left.
        let peer = self.peers.linked(peer, self.batch_turn);
        self.batch_turn = self.batch_turn.wrapping_add(1);
        self.asked = Some(peer);
        self.send(peer, &Frame::FetchBlocks { from, to });
    }

    fn keep(&mut self, evidence: Evidence) {
        warn!(against = %evidence.against(), kind = ?evidence.kind(), "a validator contradicts itself; the proof is kept");
        self.note(format!("validator {} signed two different {:?}s", evidence.against(), evidence.kind()));
        self.blame(evidence.against(), Offence::Contradiction);
        self.workers.start(Job::Keep(evidence));
    }

    fn alarm(&mut self, alarm: &Alarm) {
        let text = match alarm {
            Alarm::Diverging { height, mine, theirs } => {
                format!("f+1 validators sealed header {theirs} at height {height}, this node {mine}")
            }
            Alarm::WindowFull { height, missing } if missing.is_empty() => {
                format!("no progress above height {height}: execution is behind")
            }
            Alarm::WindowFull { height, missing } => {
                format!("no progress above height {height}: no Seals from validators {missing:?}")
            }
            Alarm::FaultyPrimary { view, what } => format!("the primary of view {view} is faulty: {what:?}"),
        };
        warn!("{text}");
        self.note(text);
    }

    pub(super) fn note(&mut self, text: String) {
        self.alarms.push_back(text);
        if self.alarms.len() > ALARMS_KEPT {
            self.alarms.pop_front();
        }
    }

    pub(super) fn on_answer(&mut self, answer: Answer, step: &mut Step) {
        match answer {
            Answer::Checked { verdicts, logged } => self.on_checked(verdicts, logged),
            Answer::Validated { epoch, digest, result } => {
                self.validating = self.validating.saturating_sub(1);
                self.validate_next();
                let valid = result.is_ok();
                match result {
                    Ok(txs) => self.remember(digest, txs),
                    Err(why) => warn!(%digest, why, "a batch is invalid"),
                }
                self.feed(Event::Validated { epoch, digest, valid }, step);
            }
            Answer::Executed { header, ids, deadline, epochs, captured } => {
                if captured {
                    self.make_snapshot(header.height);
                }
                self.executing = self.executing.saturating_sub(1);
                self.deadline = deadline;
                self.settled(ids, header.timestamp);
                self.restoring = self.restoring.filter(|height| header.height < *height);
                if self.candidates_known != epochs.candidates {
                    self.candidates_known.clone_from(&epochs.candidates);
                    self.tell_roster();
                }
                self.feed(Event::Executed { header: *header, next: epochs.next }, step);
            }
            Answer::Synced(height) => self.on_synced(height),
            Answer::Read { peer, lane, frame } => {
                if let Some(under_way) = self.serving.get_mut(&(peer, lane)) {
                    *under_way = under_way.saturating_sub(1);
                }
                if let Some((class, frame)) = frame {
                    self.transport.send(peer, class, frame);
                }
            }
            Answer::Captured(height) => self.on_captured(height),
            Answer::Snapshot(answer) => self.on_snapshot_answer(answer),
            Answer::Compared { peer, compared } => self.on_compared(peer, compared),
            Answer::Failed(why) => self.fail(why),
        }
    }
}

fn ids(payload: &Payload) -> impl Iterator<Item = epione_types::TxId> + '_ {
    payload.batch().txs().iter().map(epione_types::SignedTx::id)
}
