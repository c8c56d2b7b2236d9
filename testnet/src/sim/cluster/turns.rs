//! What a node does when it is its turn: the driver's loop, what it says, and the lanes' work.

use bytes::Bytes;
use epione_node::network::Class;
use epione_node::ports::{Job, Lane};
use epione_node::wire::Frame;
use epione_types::Signer as _;

use super::{Cluster, Event, MEASURED_EVERY, PENALTY, TURN};
use crate::sim::clock::{MS, Micros};
use crate::sim::disk::End;
use crate::sim::facts::Proof;
use crate::sim::node::{Done, Said};
use crate::sim::random::{Purpose, Rng};
use crate::sim::trace::describe;

impl Cluster<'_> {
    pub(super) fn turn(&mut self, body: usize) {
        let now = self.queue.now();
        let clock = self.wall(body);
        let one = &mut self.bodies[body];
        one.busy.turn = false;
        one.turns += 1;
        let (turns, honest, node) = (one.turns, one.honest, one.who);
        let now_ms = one.clock.monotone_ms(now);
        let Some(process) = &mut one.process else { return };
        process.turn(now_ms, clock);
        if honest {
            self.checks.clock(clock);
        }
        // Until its ledger is back where its log is, what the log holds is kept besides.
        if honest && turns.is_multiple_of(MEASURED_EVERY) && process.is_restored() {
            self.checks.keeps(node, process.driver.replica());
        }
        self.after(body);
    }

    /// What a process said is played; if it died meanwhile it is buried.
    pub(super) fn after(&mut self, body: usize) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        let (tape, words) = (process.tape.take(), process.take_words());
        let (syncs, dead) = (process.life.take_syncs(), process.life.is_over());
        let wants_restart = process.driver.wants_restart();
        let random = &mut Rng::new(self.plan.seed, Purpose::Work, &[body as u64, one.life, one.turns, 3]);
        let took = TURN + syncs * (random.within(self.plan.sync.0, self.plan.sync.1) + one.stall);
        one.busy.until = now + took;
        let leaves = one.busy.until;
        for said in tape {
            self.said(body, said, leaves);
        }
        for (number, word) in words {
            self.word(body, number, &word);
        }
        if dead {
            self.bury(body);
        } else if wants_restart {
            // Harsher than a node that stops in order: what its lanes have not done is not done.
            self.counts.add("snapshots fetched", 1);
            self.end(body, End::Kill, now + 20 * MS);
        }
    }

    pub(super) fn said(&mut self, body: usize, said: Said, leaves: Micros) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        match said {
            Said::Durable(facts) => {
                self.trace.note(now, 3, body, facts.len() as u64, &[], || {
                    let list: Vec<String> = facts
                        .iter()
                        .map(|fact| format!("{:?} v{} h{}", fact.statement, fact.view, fact.height))
                        .collect();
                    format!("on disk  {}", list.join(", "))
                });
                if honest {
                    self.checks.durable(node, &facts);
                }
            }
            Said::Proven(proof) => {
                if let Proof::NewView(new_view) = &proof {
                    let view = new_view.body.view.0;
                    self.trace.note(now, 4, body, view, &[], || format!("enters view {view}"));
                    if honest {
                        self.counts.add("views entered", 1);
                        self.counts.most("highest view", view);
                    }
                }
                if honest {
                    self.checks.proven(node, &proof);
                }
            }
            Said::Halted(why) => {
                self.trace.note(now, 5, body, 0, &[], || format!("halts: {why}"));
                if honest {
                    self.checks.breaks("no halt", format!("node {node} halted: {why}"));
                }
            }
            Said::Frame(to, class, bytes) => self.frame(body, to, class, bytes, leaves),
            Said::Roster(set, peers) => self.roster(body, *set, &peers),
            Said::Disconnect(number, why) => {
                let Some(peer) = self.bodies[body].peers.get(&number).copied() else { return };
                self.trace.note(now, 6, body, peer as u64, &[], || format!("shuts out {peer}: {why}"));
                self.counts.add("shut out", 1);
                if honest && self.plan.actor(peer).is_none() {
                    self.checks.breaks(
                        "no false strike",
                        format!("node {node} shuts out honest node {peer}: {why}"),
                    );
                }
                self.net.shut(node, peer, now + PENALTY);
                self.connect_pair(node, peer, now + PENALTY);
            }
            Said::Start(job) => self.start_job(body, *job, leaves),
        }
    }

    pub(super) fn frame(
        &mut self,
        body: usize,
        to: Option<usize>,
        class: Class,
        bytes: Bytes,
        leaves: Micros,
    ) {
        let now = self.queue.now();
        let (node, honest, copy) = (self.bodies[body].who, self.bodies[body].honest, self.bodies[body].copy);
        let number = to.map_or(u64::MAX, |to| to as u64);
        self.trace.note(now, 7, body, number, &bytes, || {
            let to = to.map_or_else(|| "all".to_owned(), |to| to.to_string());
            format!("-> {to}  {}", describe(&bytes))
        });
        // The first word of an encoding says which frame it is: only messages are looked into.
        if honest
            && bytes.first() == Some(&0)
            && let Ok(Frame::Message(message)) = Frame::decode(&bytes)
        {
            self.checks.sent(node, &message);
        } else if honest && bytes.first() == Some(&2) {
            self.counts.add("batches fetched", 1);
        } else if honest && bytes.first() == Some(&3) {
            self.counts.add("blocks fetched", 1);
        }
        let player = self.players.iter().position(|player| player.who == node);
        let peers = self.bodies[body].peers.iter().map(|(number, node)| (*number, *node));
        let receivers: Vec<_> = peers.filter(|(number, _)| to.is_none_or(|to| to == *number)).collect();
        for (to, other) in receivers {
            match player {
                Some(at) => {
                    let bytes = bytes.clone();
                    self.play(at, body, |actor, stage| actor.outbound(stage, copy, to, class, bytes));
                }
                None => self.leaves(node, other, class, bytes.clone(), leaves),
            }
        }
    }

    /// A frame leaves a validator.
    pub(super) fn leaves(&mut self, from: usize, to: usize, class: Class, bytes: Bytes, at: Micros) {
        let (link, _) = self.net.link(from, to);
        for arrival in self.net.send(at, from, to, class).into_iter().flatten() {
            for (body, one) in self.bodies.iter().enumerate().filter(|(_, one)| one.who == to) {
                let event = Event::Frame { body, life: one.life, from, link, class, bytes: bytes.clone() };
                self.queue.at(arrival, event);
            }
        }
    }

    pub(super) fn start_job(&mut self, body: usize, job: Job, leaves: Micros) {
        let lane = job.lane();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        process.jobs[lane as usize].push_back(job);
        if !one.busy.lanes[lane as usize] {
            one.busy.lanes[lane as usize] = true;
            self.next_job(body, lane, leaves);
        }
    }

    pub(super) fn next_job(&mut self, body: usize, lane: Lane, from: Micros) {
        let one = &self.bodies[body];
        let random =
            &mut Rng::new(self.plan.seed, Purpose::Work, &[body as u64, one.life, from, lane as u64]);
        let takes = random.within(self.plan.work.0, self.plan.work.1) * one.slow;
        let life = one.life;
        self.queue.at(from + takes, Event::Work { body, life, lane });
    }

    pub(super) fn work(&mut self, body: usize, lane: Lane) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        let Some(process) = &mut one.process else { return };
        // What was done together takes as long as one after the other.
        if let Some(ahead) = one.busy.ahead[lane as usize].checked_sub(1) {
            one.busy.ahead[lane as usize] = ahead;
            one.busy.lanes[lane as usize] = ahead > 0 || !process.jobs[lane as usize].is_empty();
            if one.busy.lanes[lane as usize] {
                self.next_job(body, lane, now);
            }
            return;
        }
        let done = process.work(lane);
        let (dead, failed) = (process.life.is_over(), process.life.has_failed());
        let ahead = done.jobs.saturating_sub(1);
        one.busy.ahead[lane as usize] = ahead;
        let more = ahead > 0 || !process.jobs[lane as usize].is_empty();
        one.busy.lanes[lane as usize] = more;
        if !dead
            && let Some(why) = &done.failed
            && !failed
        {
            self.harness_or_safety(body, format!("a job failed: {why}"));
        }
        self.done(body, done);
        if dead {
            return self.bury(body);
        }
        if more {
            self.next_job(body, lane, now);
        }
        self.wake(body);
    }

    /// A node that fails without a fault of its machine.
    pub(super) fn harness_or_safety(&mut self, body: usize, why: String) {
        if self.bodies[body].honest {
            let node = self.bodies[body].who;
            self.checks.breaks("no failure", format!("node {node}: {why}"));
        }
    }

    pub(super) fn done(&mut self, body: usize, done: Done) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        if let Some(height) = done.early {
            self.checks
                .breaks("acknowledged", format!("node {node} answered block {height} before it was stored"));
        }
        for executed in &done.executed {
            let height = executed.header.height;
            self.trace.note(now, 8, body, height.0, &executed.header.state_root.0, || {
                format!("executes h{height}, {} transactions", executed.payload.batch().txs().len())
            });
            if honest && height > executed.before {
                let one = &mut self.bodies[body];
                let follows = one.set.index_of(&self.common.signers[node].public_key()).is_none();
                if follows && !one.followed {
                    one.followed = true;
                    self.counts.add("observers", 1);
                }
                let receipts = self.bodies[body].process.as_ref().map(|one| one.chain.receipts(height));
                let receipts = receipts.and_then(Result::ok).flatten().unwrap_or_default();
                if self.checks.executed(node, executed, &receipts) {
                    self.counts.add("heights", 1);
                    self.counts.add("null batches", u64::from(executed.payload.is_null()));
                    let empty = !executed.payload.is_null() && receipts.is_empty();
                    self.counts.add("empty batches", u64::from(empty));
                    self.counts.add("transactions", receipts.len() as u64);
                    if let Err(text) = self.oracle.executed(&executed.header, &receipts) {
                        self.checks.breaks("acknowledged", text);
                    }
                }
            }
        }
        if honest && !done.executed.is_empty() {
            self.tell(body);
        }
        for certificate in &done.certified {
            let height = certificate.height;
            self.trace.note(now, 9, body, height.0, &[], || format!("certifies h{height}"));
            if honest {
                self.certified = self.certified.max(height);
                self.checks.certified(node, certificate);
            }
        }
        for (epoch, place) in done.evidence {
            let against = self.roll.borrow().node(epoch, place);
            self.trace.note(now, 10, body, place.get() as u64, &[], || {
                format!("keeps proof against {place} of epoch {epoch}")
            });
            self.counts.add("evidence", 1);
            if honest && against.is_none_or(|against| self.plan.actor(against).is_none()) {
                self.checks.breaks(
                    "no false evidence",
                    format!("node {node} holds proof against honest node {against:?}"),
                );
            }
        }
    }
}
