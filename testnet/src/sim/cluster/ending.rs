//! Phase two and the end: everything is healed, and then everything must come to a good end.

use std::collections::BTreeMap;

use epione_ledger::disk::MemoryDisk;
use epione_ledger::store::Row;
use epione_types::{Height, Outcome};

use super::{Body, Cluster, Event, LOOK_EVERY, PROBED_EVERY, Phase};
use crate::sim::client::{Place, Submission};
use crate::sim::clock::MS;
use crate::sim::disk::End;
use crate::sim::plan::{Change, Nodes};
use crate::sim::workload::Client;

impl Cluster<'_> {
    pub(super) fn look(&mut self) {
        let now = self.queue.now();
        match self.phase {
            Phase::One => {
                let enough = self.certified.0 >= self.plan.heights
                    && now >= self.calm_at
                    && self.operators.iter().all(|one| one.is_over());
                if enough || now >= self.plan.limit_ms * MS {
                    self.heal();
                }
            }
            Phase::Two { .. } => {
                // A full mempool refuses, and a client comes again.
                if (now / LOOK_EVERY).is_multiple_of(PROBED_EVERY) {
                    self.probe_again();
                }
                if self.what_is_missing().is_none() {
                    self.trace.note(now, 20, usize::MAX, 0, &[], || "all is well".to_owned());
                    self.phase = Phase::Done;
                }
            }
            Phase::Done => {}
        }
    }

    /// Everything works again, everybody honest is up; Byzantine validators go on.
    pub(super) fn heal(&mut self) {
        let now = self.queue.now();
        self.trace.note(now, 21, usize::MAX, 0, &[], || "healed: everything works from here on".to_owned());
        self.counts.add("heights under faults", self.certified.0);
        self.net.heal();
        for body in 0..self.bodies.len() {
            let one = &mut self.bodies[body];
            (one.slow, one.stall, one.jump_ms, one.frozen_until) = (1, 0, 0, 0);
            (one.sentence, one.next_sentence) = (None, None);
            one.machine.disks().into_iter().for_each(MemoryDisk::heal);
            match &one.process {
                Some(process) if process.life.has_failed() => self.end(body, End::Kill, now + 10 * MS),
                Some(process) => process.life.ends_after(u64::MAX),
                None => {
                    let life = one.life;
                    self.queue.at(now + 10 * MS, Event::Start { body, life });
                }
            }
        }
        self.connect_all(now);
        let caps = self.plan.changes.iter().filter_map(|order| match order.change {
            Change::Params(tuning) => Some(tuning.view_timeout_ms.1),
            Change::Join(_) | Change::Leave(_) | Change::Replace(..) => None,
        });
        let cap = caps.chain([self.plan.params.view_timeout_max_ms]).max().unwrap_or_default();
        let patience = 30_000 + 20 * cap;
        self.phase = Phase::Two { until: now + patience * MS };
    }

    /// The honest machines whose log is whole, and which somebody is linked to: one that left two epochs ago is only where
    /// it is listed (decision 3).
    pub(super) fn good(&self) -> impl Iterator<Item = (usize, &Body)> {
        let members = self.validators();
        self.bodies.iter().enumerate().filter(move |(_, one)| {
            let linked = members.has(one.who) || self.plan.is_listed(one.who);
            self.plan.actor(one.who).is_none() && one.refused.is_none() && linked
        })
    }

    /// The validators of the last epoch that is decided.
    pub(super) fn validators(&self) -> Nodes {
        let roll = self.roll.borrow();
        roll.members(&roll.last().set)
    }

    /// What phase two still waits for.
    pub(super) fn what_is_missing(&mut self) -> Option<String> {
        if let Some((_, one)) = self.good().find(|(_, one)| one.process.is_none()) {
            return Some(format!("node {} is down", one.who));
        }
        if self.probes.is_empty() {
            self.probe();
        }
        for number in 0..self.probes.len() {
            let number = self.probes[number];
            let id = self.oracle.one(number).id;
            match self.oracle.place(&id).map(|place| place.outcome) {
                Some(Outcome::Ok) => {}
                Some(Outcome::Refused(why)) => {
                    return Some(format!("a new transaction was refused: {why:?}"));
                }
                None => {
                    return Some(format!(
                        "transaction {number}, new after the healing, is in no block: {}",
                        self.states()
                    ));
                }
            }
        }
        // What only a node took that has lost its log since is lost with it.
        // One that has left can propose nothing and forward nothing any more: its clients turn to others.
        let members = self.validators();
        let good: Nodes = self.good().map(|(_, one)| one.who).filter(|who| members.has(*who)).collect();
        let open = |one: &&Submission| one.taken.0 & good.0 != 0 && !self.oracle.is_over(one);
        if let Some(open) = self.oracle.all().iter().find(open) {
            return Some(format!(
                "transaction {} was taken by nodes {} and is in no block",
                open.id, open.taken
            ));
        }
        let heads: BTreeMap<usize, (Height, Height)> = self
            .good()
            .filter_map(|(_, one)| one.process.as_ref().map(|process| (one.who, process)))
            .map(|(who, process)| {
                let certified =
                    process.chain.certified().map_or(Height::ZERO, |certificate| certificate.height);
                (who, (process.chain.head().height, certified))
            })
            .collect();
        let top = heads.values().map(|(head, _)| *head).max()?;
        let (epoch, begin) = (self.roll.borrow().last().set.epoch, self.roll.borrow().last().begin);
        if top < begin || self.begun < epoch {
            return Some(format!("epoch {epoch} is decided and has not begun: {}", self.states()));
        }
        let behind = heads.iter().find(|(_, (head, certified))| *head != top || *certified != top);
        behind.map(|(who, (head, certified))| {
            format!("node {who} is at height {head}, certified {certified}, of {top}: {}", self.states())
        })
    }

    pub(super) fn states(&self) -> String {
        let state = |(_, one): (usize, &Body)| {
            let process = one.process.as_ref()?;
            let waiting = process.driver.status().waiting;
            Some(format!("node {}: view {}, {}", one.who, waiting.view, waiting.text))
        };
        self.good().filter_map(state).collect::<Vec<_>>().join("; ")
    }

    /// The good nodes that take transactions.
    fn doors(&self) -> Vec<usize> {
        let members = self.validators();
        self.good().map(|(_, one)| one.who).filter(|who| members.has(*who)).collect()
    }

    /// A transaction at each good validator, which must commit.
    pub(super) fn probe(&mut self) {
        let nodes = self.doors();
        for node in nodes {
            let mut client = Client::new(1_000 + node + self.plan.n * 1_000, self.plan.n, 1);
            let (call, signers) = client.custodial();
            let number = self.make_call(0, call, &signers, false, 500_000);
            self.probes.push(number);
            self.submit(number, node);
        }
    }

    pub(super) fn probe_again(&mut self) {
        let nodes = self.doors();
        let probes: Vec<u64> = self.probes.clone();
        for (number, node) in probes.into_iter().zip(nodes.into_iter().cycle()) {
            let id = self.oracle.one(number).id;
            if self.oracle.place(&id).is_none() {
                self.submit(number, node);
            }
        }
    }

    /// At the end every honest node holds the same ledger, and every answer that was ever given.
    pub(super) fn final_checks(&self) -> Result<(), String> {
        let mut first: Option<(usize, Vec<Row>)> = None;
        for (_, one) in self.good() {
            let (Some(process), who) = (&one.process, one.who) else { continue };
            self.checks.walk(&process.chain).map_err(|text| format!("node {who}: {text}"))?;
            for (id, place) in self.oracle.truths() {
                if place.height <= process.chain.base() {
                    continue; // below the snapshot that it installed
                }
                let found = process.chain.receipt(*id).map_err(|error| format!("node {who}: {error}"))?;
                if found.as_ref().map(Place::of) != Some(*place) {
                    return Err(format!(
                        "node {who} has {found:?} of transaction {id}, which stands at {place:?}"
                    ));
                }
            }
            let state = process
                .chain
                .state_after(None, usize::MAX)
                .map_err(|error| format!("node {who}: {error}"))?;
            match &first {
                None => first = Some((who, state)),
                Some((other, theirs)) if *theirs != state => {
                    return Err(format!("the states of nodes {other} and {who} differ at equal height"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
