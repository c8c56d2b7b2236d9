//! What is done to nodes, their machines and their links, and how the hospitals change who validates.

use std::time::Duration;

use epione_ledger::disk::{Disk as _, MemoryDisk};
use epione_ledger::store::MemoryStore;

use super::{Drilling, Stop, missed};
use crate::drill::{Member, Part, UNFINISHED, Who};
use crate::sim::clock::{MS, Micros};
use crate::sim::cluster::Event;
use crate::sim::cluster::operators::Operator;
use crate::sim::disk::End;
use crate::sim::plan::{Change, Fault, Nodes};

/// How long it takes until the other end of a connection hears that a process is gone.
const HEARD_AFTER: Micros = MS;

impl Drilling<'_, '_> {
    fn bodies(&self, node: usize) -> Vec<usize> {
        let bodies = self.world.bodies.iter().enumerate().filter(|(_, body)| body.who == node);
        bodies.map(|(body, _)| body).collect()
    }

    fn running(&self, node: usize) -> Result<(), Stop> {
        if self.is_running(node) { Ok(()) } else { missed(format!("node {node} does not run")) }
    }

    fn stopped(&self, node: usize) -> Result<(), Stop> {
        if self.is_running(node) { missed(format!("node {node} runs: kill it first")) } else { Ok(()) }
    }

    pub(super) fn stop(&mut self, node: usize) -> Result<(), Stop> {
        self.running(node)?;
        self.frozen.remove(&node);
        self.down.insert(node);
        for body in self.bodies(node) {
            self.world.bodies[body].frozen_until = 0;
            if self.world.bodies[body].process.is_some() {
                self.world.end(body, End::Kill, Micros::MAX);
            } else {
                self.world.bodies[body].life += 1; // it was about to start again by itself
            }
        }
        let heard = self.now() + HEARD_AFTER;
        for other in 0..self.world.bodies.len() {
            if self.world.number(other, node).is_some() {
                let life = self.world.bodies[other].life;
                self.world.queue.at(heard, Event::Disconnected { body: other, life, peer: node });
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), Stop> {
        self.stopped(node)?;
        self.down.remove(&node);
        self.out.remove(&node);
        let now = self.now();
        let jump = self.jumps.get(&node).copied();
        for body in self.bodies(node) {
            let one = &mut self.world.bodies[body];
            one.refused = None;
            one.jump_ms = jump.unwrap_or(one.jump_ms);
            let life = one.life;
            self.world.queue.at(now, Event::Start { body, life });
        }
        Ok(())
    }

    pub(super) fn freeze(&mut self, node: usize) -> Result<(), Stop> {
        self.running(node)?;
        self.frozen.insert(node);
        Ok(())
    }

    pub(super) fn thaw(&mut self, node: usize) -> Result<(), Stop> {
        self.running(node)?;
        self.frozen.remove(&node);
        Ok(())
    }

    /// Links go wrong until they are healed; which fault it is.
    fn links(&mut self, fault: Fault) -> usize {
        self.world.net.begin(self.wrong, fault, Micros::MAX);
        self.wrong += 1;
        self.wrong - 1
    }

    /// Cuts these links, and only these.
    pub(super) fn partition(&mut self, groups: &[Vec<Member>]) -> Result<String, Stop> {
        let primary = match groups.iter().flatten().any(|member| *member == Member::Primary) {
            true => Some(self.some_primary()?),
            false => None,
        };
        let named = |member: &Member| match member {
            Member::Node(node) => Some(*node),
            Member::Primary => primary,
            Member::Others => None,
        };
        let all: Nodes = groups.iter().flatten().filter_map(named).collect();
        let others: Nodes = self.all().filter(|node| !all.has(*node)).collect();
        let members = |group: &Vec<Member>| {
            let of = |member: &Member| match member {
                Member::Others => others,
                Member::Node(_) | Member::Primary => named(member).into_iter().collect(),
            };
            group.iter().map(of).fold(Nodes::default(), |nodes, more| Nodes(nodes.0 | more.0))
        };
        let groups: Vec<Nodes> = groups.iter().map(members).collect();
        self.together = groups.iter().copied().max_by_key(|group| group.0.count_ones()).unwrap_or_default();
        self.them = groups.first().into_iter().flat_map(|group| group.iter()).collect();
        let text: Vec<String> = groups.iter().map(ToString::to_string).collect();
        if let Some(before) = self.cut.take() {
            self.world.net.end(before);
            let now = self.now();
            self.world.connect_all(now);
        }
        self.cut = Some(self.links(Fault::Partition(groups)));
        Ok(text.join(" | "))
    }

    pub(super) fn slow(&mut self, who: Who, delay: Duration) -> Result<String, Stop> {
        let nodes = self.whom(who)?.into_iter().collect();
        self.links(Fault::Late(nodes, u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / MS)));
        Ok(self.names())
    }

    pub(super) fn heal(&mut self) -> Result<String, Stop> {
        (0..self.wrong).for_each(|fault| self.world.net.end(fault));
        self.cut = None;
        self.together = Nodes::default();
        let now = self.now();
        self.world.connect_all(now);
        Ok(String::new())
    }

    pub(super) fn full(&mut self, node: usize) -> Result<String, Stop> {
        self.running(node)?;
        self.world.fill(node);
        Ok(String::new())
    }

    pub(super) fn free(&mut self, node: usize) -> Result<String, Stop> {
        self.world.each(node, |body| {
            body.disk_fault = false;
            body.machine.disks().into_iter().for_each(MemoryDisk::heal);
        });
        Ok(String::new())
    }

    pub(super) fn damage(&mut self, node: usize, part: Part) -> Result<String, Stop> {
        self.stopped(node)?;
        let mut told = None;
        self.world.each(node, |body| {
            let disk = &body.machine.log;
            let names = disk.clone().names().unwrap_or_default();
            let Some(name) = names.iter().filter(|name| name.ends_with(".log")).max() else { return };
            let length = disk.bytes(name).map_or(0, |bytes| bytes.len());
            if part == Part::LogTail {
                disk.damage(name, |bytes| bytes.extend_from_slice(UNFINISHED));
                told =
                    Some(format!("10 bytes of an unfinished record at the end of {name} ({length} bytes)"));
            } else {
                body.spoilt = true;
                disk.damage(name, |bytes| {
                    if let Some(byte) = bytes.get_mut(length / 2) {
                        *byte = !*byte;
                    }
                });
                told = Some(format!("byte {} of {name} ({length} bytes) is another", length / 2));
            }
        });
        told.map_or_else(|| missed(format!("node {node} has no log")), Ok)
    }

    pub(super) fn wipe(&mut self, node: usize, parts: &[Part]) -> Result<(), Stop> {
        self.stopped(node)?;
        self.world.each(node, |body| {
            for part in parts {
                match part {
                    Part::Log | Part::LogTail => {
                        body.machine.log = MemoryDisk::new();
                        body.spoilt = true;
                    }
                    Part::Ledger | Part::LedgerHead | Part::LedgerPages => {
                        body.machine.store = MemoryStore::new();
                    }
                    Part::Pool => body.machine.pool = MemoryDisk::new(),
                }
            }
        });
        if parts.contains(&Part::Pool) {
            // What only it had taken is lost with its pool.
            for number in 0..self.world.oracle.all().len() as u64 {
                self.world.oracle.one(number).taken.0 &= !Nodes::one(node).0;
            }
        }
        Ok(())
    }

    pub(super) fn join(&mut self, with: usize) -> Result<String, Stop> {
        let joins = self.machine(self.world.hospital(with))?;
        self.change(Change::Join(joins))?;
        self.them = vec![joins];
        Ok(self.names())
    }

    pub(super) fn leave(&mut self, who: Who) -> Result<String, Stop> {
        for node in self.whom(who)? {
            self.change(Change::Leave(node))?;
        }
        Ok(self.names())
    }

    pub(super) fn renew(&mut self, who: Who) -> Result<String, Stop> {
        let mut told = Vec::new();
        for node in self.whom(who)? {
            let joins = self.machine(self.world.hospital(node))?;
            self.change(Change::Replace(node, joins))?;
            told.push(format!("node {joins} for node {node}"));
        }
        Ok(told.join(", "))
    }

    /// Another machine for a hospital, started.
    fn machine(&mut self, hospital: usize) -> Result<usize, Stop> {
        let node = self.spare;
        if node >= self.world.plan.machines() {
            return missed("more machines join than one for each line");
        }
        self.world.placed.insert(node, hospital);
        self.start(node)?;
        self.spare += 1;
        Ok(node)
    }

    /// The hospitals vote for it; then all that are well are in the next epoch.
    fn change(&mut self, change: Change) -> Result<(), Stop> {
        if let Some(node) = change.leaves().filter(|node| self.left.contains(node)) {
            return missed(format!("node {node} has left already"));
        }
        let before = self.world.begun;
        let at = self.world.operators.len();
        self.world.operators.push(Operator::new(change));
        let now = self.now();
        self.world.queue.at(now, Event::Operator(at));
        let proposal = self.world.proposal(at);
        self.until(|it| {
            let passed = it.world.roll.borrow().has_passed(&proposal);
            if !passed && it.world.operators[at].is_over() {
                return missed("the change was given up");
            }
            Ok(if passed { Ok(()) } else { Err("the change is not decided".to_owned()) })
        })?;
        self.acted = self.now();
        self.left.extend(change.leaves());
        self.until(|it| {
            let waits = |node: &usize| it.status(*node).is_none_or(|status| status.waiting.epoch <= before);
            let late = it.well().into_iter().find(waits);
            Ok(late.map_or(Ok(()), |node| Err(format!("node {node} is not in the epoch after {before}"))))
        })
    }
}
