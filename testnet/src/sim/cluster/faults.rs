//! What goes wrong, when the schedule says so, and when it is over.

use epione_ledger::disk::{Disk as _, MemoryDisk};

use super::{Body, Cluster, Event, Phase};
use crate::sim::clock::{MS, Micros};
use crate::sim::disk::End;
use crate::sim::plan::{Fault, Nodes};

impl Cluster<'_> {
    pub(super) fn begin(&mut self, line: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One {
            return;
        }
        let one = &self.plan.schedule[line];
        let until = now + one.lasts * MS;
        self.trace.note(now, 15, usize::MAX, line as u64, &[], || format!("fault: {one}"));
        self.counts.add(&format!("fault {}", one.fault.kind()), 1);
        if one.fault.nodes().iter().any(|node| self.follows(node)) {
            self.counts.add("fault observer", 1);
        }
        self.queue.at(until, Event::Over(line));
        match &one.fault {
            Fault::Partition(_)
            | Fault::Oneway(..)
            | Fault::Clog(..)
            | Fault::Late(..)
            | Fault::Lossy(_)
            | Fault::Duplicates(_)
            | Fault::Reorder(..) => self.net.begin(line, one.fault.clone(), until),
            Fault::Slow(node, factor) => self.each(*node, |body| body.slow = (*factor).max(1)),
            Fault::Stall(node, ms) => self.each(*node, |body| body.stall = ms * MS),
            Fault::Freeze(node) => self.each(*node, |body| body.frozen_until = until),
            Fault::Jump(node, ms) => self.each(*node, |body| body.jump_ms = *ms),
            Fault::Full(node) => self.fill(*node),
            Fault::Broken(node) => self.each(*node, |body| {
                body.disk_fault = true;
                body.machine.log.fail_after(3);
                body.machine.pool.fail_after(5);
                body.machine.shelf.fail_after(7);
            }),
            Fault::Crash(nodes, after, end) => self.condemn(*nodes, *after, *end, one.lasts * MS),
        }
    }

    /// Its disks take little more.
    pub(super) fn fill(&mut self, node: usize) {
        self.each(node, |body| {
            body.disk_fault = true;
            for disk in body.machine.disks() {
                let names = disk.clone().names().unwrap_or_default();
                let used: usize =
                    names.iter().map(|name| disk.bytes(name).map_or(0, |bytes| bytes.len())).sum();
                disk.fill_up(used + 700);
            }
        });
    }

    pub(super) fn each(&mut self, node: usize, mut act: impl FnMut(&mut Body)) {
        self.bodies.iter_mut().filter(|body| body.who == node).for_each(&mut act);
    }

    pub(super) fn condemn(&mut self, nodes: Nodes, after: u64, end: End, lasts: Micros) {
        let now = self.queue.now();
        for body in 0..self.bodies.len() {
            let one = &mut self.bodies[body];
            if !nodes.has(one.who) {
                continue;
            }
            match &one.process {
                Some(_) if after == 0 => self.end(body, end, now + lasts),
                Some(process) => {
                    process.life.ends_after(after);
                    one.sentence = Some((end, lasts));
                }
                None => one.next_sentence = Some((after, end, lasts)),
            }
        }
    }

    pub(super) fn over(&mut self, line: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One {
            return;
        }
        let one = &self.plan.schedule[line];
        self.trace.note(now, 16, usize::MAX, line as u64, &[], || format!("over: {one}"));
        match &one.fault {
            Fault::Partition(_) | Fault::Oneway(..) => {
                self.net.end(line);
                self.connect_all(now);
            }
            Fault::Clog(..)
            | Fault::Late(..)
            | Fault::Lossy(_)
            | Fault::Duplicates(_)
            | Fault::Reorder(..) => self.net.end(line),
            Fault::Slow(node, _) => self.each(*node, |body| body.slow = 1),
            Fault::Stall(node, _) => self.each(*node, |body| body.stall = 0),
            Fault::Jump(node, _) => self.each(*node, |body| body.jump_ms = 0),
            Fault::Full(node) | Fault::Broken(node) => self.mend_disk(*node),
            Fault::Freeze(_) | Fault::Crash(..) => {}
        }
    }

    pub(super) fn connect_all(&mut self, now: Micros) {
        for a in 0..self.plan.machines() {
            for b in 0..a {
                self.connect_pair(a, b, now);
            }
        }
    }

    /// The disk is emptied or replaced, and the node started again if it had noticed.
    pub(super) fn mend_disk(&mut self, node: usize) {
        let now = self.queue.now();
        self.each(node, |body| {
            body.disk_fault = false;
            body.machine.disks().into_iter().for_each(MemoryDisk::heal);
        });
        for body in 0..self.bodies.len() {
            let one = &self.bodies[body];
            if one.who == node && one.process.as_ref().is_some_and(|process| process.life.has_failed()) {
                self.end(body, End::Kill, now + 20 * MS);
            }
        }
    }
}
