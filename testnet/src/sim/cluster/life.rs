//! Life and death: a process starts from what its machine holds, and ends in the midst of anything.

use epione_types::Height;

use super::{Cluster, Event};
use crate::sim::clock::{MS, Micros};
use crate::sim::disk::{End, Life};
use crate::sim::node::{Busy, NotStarted, Process};
use crate::sim::plan::{Fault, Line};
use crate::sim::random::{Purpose, Rng};

impl Cluster<'_> {
    pub(super) fn start(&mut self, body: usize) {
        let (now, clock) = (self.queue.now(), self.wall(body));
        let one = &mut self.bodies[body];
        if one.refused.is_some() {
            return;
        }
        let life = Life::endless();
        one.sentence = None;
        if let Some((calls, end, lasts)) = one.next_sentence.take() {
            life.ends_after(calls);
            one.sentence = Some((end, lasts));
        }
        one.busy = Busy::default();
        let (node, honest, number) = (one.who, one.honest, one.life);
        let now_ms = one.clock.monotone_ms(now);
        let started = Process::start(&self.common, node, &mut one.machine, &life, now_ms, clock);
        match started {
            Ok((process, facts)) => {
                let (height, installed) = (process.chain.head().height, process.installed);
                let header = process.chain.header(height).ok().flatten();
                // Of the snapshot that the ledger begins with, whoever installed it: a start before may have died of it.
                let base = process.chain.base();
                let certificate =
                    process.chain.certificate(base).ok().flatten().filter(|_| base > Height::ZERO);
                one.process = Some(process);
                self.counts.add("snapshots installed", u64::from(installed));
                self.trace.note(now, 11, body, height.0, &[], || format!("starts at h{height}"));
                if honest {
                    self.checks.started(node, height, header.as_ref(), &facts);
                    certificate.iter().for_each(|one| self.checks.installed(node, one));
                }
                self.after(body);
                let tick = Rng::new(self.plan.seed, Purpose::Tick, &[body as u64, number])
                    .below(self.plan.tick_ms * MS);
                self.queue.at(now + tick, Event::Tick { body, life: number });
                for other in 0..self.plan.machines() {
                    if other != node {
                        self.connect_pair(node, other, now);
                    }
                }
                self.wake(body);
            }
            Err(NotStarted::Died) => self.bury(body),
            Err(NotStarted::Disk(why)) => {
                // Tried again when the disk is better.
                self.trace.note(now, 12, body, 0, &[], || format!("does not start: {why}"));
                one.life += 1;
                let life = one.life;
                self.queue.at(now + 200 * MS, Event::Start { body, life });
            }
            Err(NotStarted::Refused(why)) => {
                self.trace.note(now, 13, body, 0, &[], || format!("refuses to vote: {why}"));
                one.refused = Some(why.clone());
                self.counts.add("logs lost", 1);
                let rots =
                    |line: &Line| matches!(&line.fault, Fault::Crash(nodes, _, End::Rot) if nodes.has(node));
                let allowed = one.spoilt || self.plan.schedule.iter().any(rots);
                if honest && !allowed {
                    self.checks.breaks("no failure", format!("node {node} does not start again: {why}"));
                }
            }
        }
    }

    /// Both of a pair notice that they can speak.
    pub(super) fn connect_pair(&mut self, a: usize, b: usize, from: Micros) {
        if self.net.is_cut(from, a, b) || self.net.is_cut(from, b, a) || !self.are_linked(a, b) {
            return;
        }
        let from = from.max(self.net.link(a, b).1);
        let random = &mut Rng::new(self.plan.seed, Purpose::Link, &[u64::MAX, a as u64, b as u64, from]);
        for (me, peer) in [(a, b), (b, a)] {
            let at = from + self.net.way(random);
            if !self.bodies.iter().any(|one| one.who == peer && one.process.is_some()) {
                continue;
            }
            for (body, one) in self.bodies.iter().enumerate() {
                if one.who == me && one.process.is_some() {
                    self.queue.at(at, Event::Connected { body, life: one.life, peer });
                }
            }
        }
    }

    pub(super) fn bury(&mut self, body: usize) {
        let now = self.queue.now();
        let (end, lasts) = self.bodies[body].sentence.take().unwrap_or((End::Kill, 100 * MS));
        self.end(body, end, now + lasts);
    }

    /// The process ends, the machine keeps what it keeps, and starts again then.
    pub(super) fn end(&mut self, body: usize, end: End, again: Micros) {
        let now = self.queue.now();
        let one = &mut self.bodies[body];
        self.trace.note(now, 14, body, one.life, &[], || format!("dies ({})", end.name()));
        one.process = None;
        one.machine.end(end, Rng::new(self.plan.seed, Purpose::Disk, &[body as u64, one.life]));
        one.life += 1;
        one.busy = Busy::default();
        let (node, life) = (one.who, one.life);
        if one.honest {
            self.checks.ended(node);
        }
        self.counts.add("crashes", 1);
        self.queue.at(again, Event::Start { body, life });
    }
}
