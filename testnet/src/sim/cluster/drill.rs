//! Plays a drill in this world: the same file as on real processes, step after step in virtual time.
//!
//! Whatever must hold of a run is looked at here too, after every event; in the end everything works again, and every answer
//! that was ever given must stand. What a process prints does not exist here: `require sound` looks at blocks alone, but for
//! the snapshot that a node says it installs.

use std::collections::BTreeSet;

use epione_consensus::primary;
use epione_ledger::disk::{Disk as _, MemoryDisk};
use epione_ledger::store::MemoryStore;
use epione_node::driver::DriverStatus;
use epione_node::explain;
use epione_types::{Height, Outcome, quorum};

use super::operators::Operator;
use super::{Cluster, Event, LOOK_EVERY};
use crate::drill::{Drill, Member, Part, Step, Who};
use crate::sim::client::{Answer, Submission};
use crate::sim::clock::{MS, Micros};
use crate::sim::disk::End;
use crate::sim::drill::Played;
use crate::sim::node::Process;
use crate::sim::plan::{Change, Fault, Nodes};
use crate::sim::workload::Client;
use crate::sim::{Class, Failure};

/// A client that is not answered asks again after so long.
const ASKED_AGAIN: Micros = 1_000 * MS;
/// What a node says when its ledger is a snapshot's.
const INSTALLS: &str = "installing a snapshot";

/// A step that cannot go on: the world broke, or what is required does not hold.
enum Stop {
    World(Failure),
    Missed(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::World(failure)
    }
}

fn missed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Missed(why.into()))
}

/// Nothing is missing, or what is.
type Missing = Result<Option<String>, Stop>;

struct Drilling<'w, 'a> {
    world: &'w mut Cluster<'a>,
    /// Whom the last name meant.
    them: Vec<usize>,
    /// Who hears a quorum, if links are cut.
    together: Nodes,
    frozen: BTreeSet<usize>,
    left: BTreeSet<usize>,
    /// How many faults of links there were.
    wrong: usize,
    /// The next machine that is not up yet.
    spare: usize,
    /// Submissions made by requirements.
    own: usize,
    /// When something was last done.
    acted: Micros,
    /// How long a step may take.
    patience: Micros,
    played: Played,
}

impl Cluster<'_> {
    /// Does all of it, and then lets everything come to a good end.
    ///
    /// # Errors
    /// The first thing that must not be.
    pub(in crate::sim) fn drill(&mut self, drill: &Drill, patience: Micros) -> (Played, Result<(), Failure>) {
        let spare = self.plan.n;
        let mut drilling = Drilling {
            world: self,
            them: Vec::new(),
            together: Nodes::default(),
            frozen: BTreeSet::new(),
            left: BTreeSet::new(),
            wrong: 0,
            spare,
            own: 0,
            acted: 0,
            patience,
            played: Played::default(),
        };
        let mut ended = drilling.steps(drill);
        let mut played = drilling.played;
        if ended.is_ok() {
            self.heal();
            ended = self.run();
        }
        let committed = |one: &&Submission| matches!(one.answer, Some(Answer::Committed(_)));
        played.committed = self.oracle.all().iter().filter(committed).count();
        if ended.is_ok() && played.committed == 0 {
            let text = "no client was answered at all: nothing was tested".to_owned();
            ended = Err(self.failure(Class::Harness, "drill", text));
        }
        (played, ended)
    }
}

impl Drilling<'_, '_> {
    fn steps(&mut self, drill: &Drill) -> Result<(), Failure> {
        for (number, (line, step)) in drill.steps.iter().enumerate() {
            let now = self.now();
            self.world.trace.note(now, 23, usize::MAX, number as u64, &[], || format!("drill: {line}"));
            let told = self.step(step).map_err(|stop| match stop {
                Stop::World(failure) => failure,
                Stop::Missed(why) => self.world.failure(Class::Liveness, "drill", format!("{line}: {why}")),
            })?;
            let told = if told.is_empty() { told } else { format!(": {told}") };
            self.played.told.push(format!("{line}{told} ({} ms)", (self.now() - now) / MS));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<String, Stop> {
        if !step.is_requirement() && !matches!(step, Step::Await(_)) {
            self.acted = self.now();
        }
        match step {
            Step::Await(answers) => self.answers(*answers),
            // One that ends in order has stored more: what it bears, a kill bears as well.
            Step::Kill(who) | Step::Stop(who) => self.each(*who, Self::stop),
            Step::Start(who) => self.each(*who, Self::start),
            Step::Restart(who) => self.each(*who, |it, node| {
                it.stop(node);
                it.start(node);
            }),
            Step::Freeze(who) => self.each(*who, |it, node| {
                it.frozen.insert(node);
            }),
            Step::Thaw(who) => self.each(*who, |it, node| {
                it.frozen.remove(&node);
            }),
            Step::Partition(groups) => self.partition(groups),
            Step::Slow(who, delay) => {
                let nodes = self.whom(*who)?.into_iter().collect();
                let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / MS);
                self.links(Fault::Late(nodes, ms));
                Ok(self.names())
            }
            Step::Heal => {
                (0..self.wrong).for_each(|fault| self.world.net.end(fault));
                let now = self.now();
                self.world.connect_all(now);
                self.together = Nodes::default();
                Ok(String::new())
            }
            Step::Full(node) => {
                self.world.fill(*node);
                Ok(String::new())
            }
            Step::Free(node) => {
                self.world.each(*node, |body| {
                    body.disk_fault = false;
                    body.machine.disks().into_iter().for_each(MemoryDisk::heal);
                });
                Ok(String::new())
            }
            Step::Damage(node, part) => self.damage(*node, *part),
            Step::Wipe(who, parts) => self.each(*who, |it, node| it.wipe(node, parts)),
            Step::Jump(who, ms) => self.each(*who, |it, node| it.world.each(node, |body| body.jump_ms = *ms)),
            Step::Join(with) => {
                let hospital = self.world.hospital(*with);
                let joins = self.machine(hospital)?;
                self.change(Change::Join(joins))?;
                self.them = vec![joins];
                Ok(self.names())
            }
            Step::Leave(who) => {
                for node in self.whom(*who)? {
                    self.change(Change::Leave(node))?;
                }
                Ok(self.names())
            }
            Step::Renew(who) => {
                let mut told = Vec::new();
                for node in self.whom(*who)? {
                    let joins = self.machine(self.world.hospital(node))?;
                    self.change(Change::Replace(node, joins))?;
                    told.push(format!("node {joins} for node {node}"));
                }
                Ok(told.join(", "))
            }
            Step::Progress => self.progress(),
            Step::OtherPrimary => self.other_primary(),
            Step::Standstill(time) => self.standstill(u64::try_from(time.as_micros()).unwrap_or(Micros::MAX)),
            Step::Back(who) => self.back(*who),
            Step::Silent(node) => self.silent(*node),
            Step::Refusal(node, words) => self.refusal(*node, words),
            Step::Advice(who, words) => self.advice(*who, words),
            Step::Sound(node, words) => self.sound(*node, words),
        }
    }

    // --- time ---

    fn now(&self) -> Micros {
        self.world.queue.now()
    }

    /// Lets the world go on until nothing is missing.
    fn until(&mut self, mut missing: impl FnMut(&mut Self) -> Missing) -> Result<(), Stop> {
        let (begun, mut look) = (self.now(), self.now());
        loop {
            if self.now() >= look {
                look = self.now() + LOOK_EVERY;
                match missing(self)? {
                    None => return Ok(()),
                    Some(why) if self.now() - begun > self.patience => {
                        return missed(format!("not within {} s: {why}", self.patience / MS / 1_000));
                    }
                    Some(_) => {}
                }
            }
            for node in &self.frozen {
                let until = self.world.queue.now() + LOOK_EVERY;
                self.world.each(*node, |body| body.frozen_until = until);
            }
            self.world.advance()?;
        }
    }

    // --- who ---

    /// Every machine that was ever up, but those that have left.
    fn all(&self) -> impl Iterator<Item = usize> {
        (0..self.spare).filter(|node| !self.left.contains(node))
    }

    fn refused(&self, node: usize) -> Option<&str> {
        self.world.bodies.iter().find(|body| body.who == node)?.refused.as_deref()
    }

    /// The process of a node that answers.
    fn process(&self, node: usize) -> Option<&Process> {
        let body = self.world.running(node).filter(|_| !self.frozen.contains(&node))?;
        self.world.bodies[body].process.as_ref()
    }

    /// What a node says of itself.
    fn status(&self, node: usize) -> Option<DriverStatus> {
        Some(self.process(node)?.driver.status())
    }

    /// Those that run, and are to answer.
    fn well(&self) -> Vec<usize> {
        self.all().filter(|node| self.process(*node).is_some()).collect()
    }

    fn certified(&self, node: usize) -> Option<Height> {
        Some(self.process(node)?.chain.certified().map_or(Height::ZERO, |certificate| certificate.height))
    }

    /// The primary of the newest view that somebody is in.
    fn primary(&self) -> Option<usize> {
        let states = self.all().filter_map(|node| self.status(node)).filter(DriverStatus::is_voting);
        let newest = states.max_by_key(|status| (status.waiting.epoch, status.waiting.view))?;
        let place = primary(&newest.epoch.set, newest.waiting.view);
        self.world.roll.borrow().node(newest.waiting.epoch, place)
    }

    /// Whom a name means; `them` from now on.
    fn whom(&mut self, who: Who) -> Result<Vec<usize>, Stop> {
        let primary = |it: &Self| it.primary().map_or_else(|| missed("nobody is the primary"), Ok);
        self.them = match who {
            Who::Node(node) => vec![node],
            Who::Primary => vec![primary(self)?],
            Who::Faults => {
                let (first, mut nodes) = (primary(self)?, self.all().collect::<Vec<_>>());
                let place = nodes.iter().position(|node| *node == first).unwrap_or_default();
                nodes.rotate_left(place);
                nodes.truncate(quorum::faults(nodes.len()));
                nodes
            }
            Who::All => self.all().collect(),
            Who::Them => core::mem::take(&mut self.them),
        };
        if self.them.is_empty() {
            return missed("that is nobody: no name stands above, or nobody may fail");
        }
        Ok(self.them.clone())
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.them.iter().map(|node| format!("node {node}")).collect();
        names.join(", ")
    }

    fn each(&mut self, who: Who, mut act: impl FnMut(&mut Self, usize)) -> Result<String, Stop> {
        for node in self.whom(who)? {
            act(self, node);
        }
        Ok(self.names())
    }

    fn bodies(&self, node: usize) -> Vec<usize> {
        let bodies = self.world.bodies.iter().enumerate().filter(|(_, body)| body.who == node);
        bodies.map(|(body, _)| body).collect()
    }

    // --- what is done ---

    fn stop(&mut self, node: usize) {
        for body in self.bodies(node) {
            if self.world.bodies[body].process.is_some() {
                self.world.end(body, End::Kill, Micros::MAX);
            } else {
                self.world.bodies[body].life += 1; // whoever meant to start it, does not
            }
        }
    }

    fn start(&mut self, node: usize) {
        let now = self.now();
        for body in self.bodies(node) {
            let life = self.world.bodies[body].life;
            self.world.queue.at(now, Event::Start { body, life });
        }
    }

    /// Links go wrong until they are healed.
    fn links(&mut self, fault: Fault) {
        self.world.net.begin(self.wrong, fault, Micros::MAX);
        self.wrong += 1;
    }

    fn partition(&mut self, groups: &[Vec<Member>]) -> Result<String, Stop> {
        let primary = self.primary();
        let named = |member: &Member| match member {
            Member::Node(node) => Some(*node),
            Member::Primary => primary,
            Member::Others => None,
        };
        if primary.is_none() && groups.iter().flatten().any(|member| *member == Member::Primary) {
            return missed("nobody is the primary");
        }
        let all: Nodes = groups.iter().flatten().filter_map(named).collect();
        let others: Nodes = self.all().filter(|node| !all.has(*node)).collect();
        let members = |group: &Vec<Member>| {
            let of = |member: &Member| {
                if *member == Member::Others { others } else { named(member).into_iter().collect() }
            };
            group.iter().map(of).fold(Nodes::default(), |nodes, more| Nodes(nodes.0 | more.0))
        };
        let groups: Vec<Nodes> = groups.iter().map(members).collect();
        self.together = groups.iter().copied().max_by_key(|group| group.0.count_ones()).unwrap_or_default();
        self.them = groups.first().into_iter().flat_map(|group| group.iter()).collect();
        let text: Vec<String> = groups.iter().map(ToString::to_string).collect();
        self.links(Fault::Partition(groups));
        Ok(text.join(" | "))
    }

    fn damage(&mut self, node: usize, part: Part) -> Result<String, Stop> {
        let mut told = None;
        self.world.each(node, |body| {
            let disk = &body.machine.log;
            let names = disk.clone().names().unwrap_or_default();
            let Some(name) = names.iter().filter(|name| name.ends_with(".log")).max() else { return };
            let length = disk.bytes(name).map_or(0, |bytes| bytes.len());
            if part == Part::LogTail {
                disk.damage(name, |bytes| bytes.extend_from_slice(b"frme\x40\x00\x00\x00\x07\x00"));
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

    fn wipe(&mut self, node: usize, parts: &[Part]) {
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
    }

    /// Another machine for a hospital, started.
    fn machine(&mut self, hospital: usize) -> Result<usize, Stop> {
        let node = self.spare;
        if node >= self.world.plan.machines() {
            return missed("more machines join than one for each line");
        }
        self.spare += 1;
        self.world.placed.insert(node, hospital);
        self.start(node);
        Ok(node)
    }

    /// The hospitals vote for it; then all that are well are in the next epoch.
    fn change(&mut self, change: Change) -> Result<(), Stop> {
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
            Ok((!passed).then(|| "the change is not decided".to_owned()))
        })?;
        self.acted = self.now();
        self.left.extend(change.leaves());
        self.until(|it| {
            let late = it
                .well()
                .into_iter()
                .find(|node| it.status(*node).is_none_or(|status| status.waiting.epoch <= before));
            Ok(late.map(|node| format!("node {node} is not in the epoch after {before}")))
        })
    }

    // --- what must hold ---

    fn answers(&mut self, more: u64) -> Result<String, Stop> {
        let goal = self.world.counts.get("answered committed") + more;
        self.until(|it| {
            let count = it.world.counts.get("answered committed");
            Ok((count < goal).then(|| format!("{count} of {goal} answers")))
        })?;
        Ok(String::new())
    }

    /// A submission made now is certified.
    fn progress(&mut self) -> Result<String, Stop> {
        let hospitals = self.world.plan.n;
        let mut client = Client::new(hospitals * (10_000 + self.own), hospitals, 1);
        self.own += 1;
        let (call, signers) = client.custodial();
        let number = self.world.make_call(0, call, &signers, false, 500_000);
        let mut asked = None;
        self.until(|it| {
            let (now, together) = (it.now(), it.together);
            if asked.is_none_or(|asked| now - asked >= ASKED_AGAIN) {
                let hears = |node: &usize| together == Nodes::default() || together.has(*node);
                let Some(at) = it.well().into_iter().find(hears) else {
                    return Ok(Some("no node answers".to_owned()));
                };
                asked = Some(now);
                it.world.submit(number, at);
            }
            let submission = it.world.oracle.one_of(number);
            match it.world.oracle.place(&submission.id) {
                Some(place) if place.outcome != Outcome::Ok => missed(format!("it is refused: {place:?}")),
                Some(place) if submission.answer.is_some() && it.world.certified >= place.height => Ok(None),
                _ => Ok(Some("a submission is not certified".to_owned())),
            }
        })?;
        let took = self.now() - self.acted;
        self.played.recovery = self.played.recovery.max(Some(took));
        Ok(format!("certified {} ms after what was done", took / MS))
    }

    fn other_primary(&mut self) -> Result<String, Stop> {
        self.until(|it| {
            let found = it.primary();
            let same = found.is_none_or(|node| it.them.contains(&node));
            Ok(same.then(|| format!("the primary is {found:?}")))
        })?;
        Ok(self.primary().map(|node| format!("node {node}")).unwrap_or_default())
    }

    /// Nobody certifies anything for so long. What was under way may end first.
    fn standstill(&mut self, time: Micros) -> Result<String, Stop> {
        let mut last = (Vec::new(), self.now());
        self.until(|it| {
            let heights: Vec<Option<Height>> = it.all().map(|node| it.certified(node)).collect();
            if heights != last.0 {
                last = (heights, it.now());
            }
            let still = it.now() - last.1 >= time;
            Ok((!still).then(|| format!("certified heights change: {:?}", last.0)))
        })?;
        Ok(String::new())
    }

    /// They vote in the others' view, and have what the others had.
    fn back(&mut self, who: Who) -> Result<String, Stop> {
        let nodes = self.whom(who)?;
        let goal = self.all().filter_map(|node| self.certified(node)).max().unwrap_or(Height::ZERO);
        self.until(|it| {
            let voting = it.well().into_iter().filter_map(|node| it.status(node));
            let newest = voting
                .filter(DriverStatus::is_voting)
                .map(|status| (status.waiting.epoch, status.waiting.view))
                .max();
            for node in &nodes {
                if let Some(why) = it.refused(*node) {
                    return missed(format!("node {node} has ended by itself: {why}"));
                }
                let Some(status) = it.status(*node) else {
                    return Ok(Some(format!("node {node} does not answer")));
                };
                let (epoch, view) = (status.waiting.epoch, status.waiting.view);
                let certified = it.certified(*node).unwrap_or(Height::ZERO);
                let why = if !status.is_voting() && !it.left.contains(node) {
                    format!("does not vote: {}", status.waiting.text)
                } else if status.waiting.asked > view {
                    format!("changes from view {view} to {}", status.waiting.asked)
                } else if Some((epoch, view)) < newest {
                    format!("is in view {view} of epoch {epoch}, others in {newest:?}")
                } else if certified < goal {
                    format!("has certified {certified} of {goal}")
                } else {
                    continue;
                };
                return Ok(Some(format!("node {node} {why}")));
            }
            Ok(None)
        })?;
        let took = self.now() - self.acted;
        self.played.back = self.played.back.max(Some(took));
        Ok(format!("{}, at height {goal} and more, {} ms after what was done", self.names(), took / MS))
    }

    /// The node runs and says that it does not vote, or has ended.
    fn silent(&mut self, node: usize) -> Result<String, Stop> {
        self.until(|it| match it.status(node) {
            Some(status) => Ok(status.is_voting().then(|| format!("node {node} still votes"))),
            None => Ok(it.world.running(node).map(|_| format!("node {node} does not answer"))),
        })?;
        let ended = || "its process has ended".to_owned();
        Ok(self.status(node).map_or_else(ended, |status| explain::summary(&status.snapshot)))
    }

    fn refusal(&mut self, node: usize, words: &[String]) -> Result<String, Stop> {
        self.until(|it| Ok(it.refused(node).is_none().then(|| format!("node {node} refuses nothing"))))?;
        let why = self.refused(node).unwrap_or_default().to_owned();
        match words.iter().find(|word| !why.contains(*word)) {
            Some(word) => missed(format!("node {node} does not say {word:?}: {why}")),
            None => Ok(why),
        }
    }

    fn advice(&mut self, who: Who, words: &[String]) -> Result<String, Stop> {
        let nodes = self.whom(who)?;
        self.until(|it| {
            for node in &nodes {
                let Some(status) = it.status(*node) else {
                    return Ok(Some(format!("node {node} does not answer")));
                };
                let advice = explain::advice(&status.snapshot);
                if words.iter().any(|word| !advice.contains(word)) {
                    return Ok(Some(format!("node {node} advises: {advice}")));
                }
            }
            Ok(None)
        })?;
        Ok(self.names())
    }

    /// That its blocks are the others' is looked at with every one of them; here, that it has them.
    fn sound(&mut self, node: usize, words: &[String]) -> Result<String, Stop> {
        let goal = self.certified(node).unwrap_or(Height::ZERO);
        let installs = words.iter().any(|word| word == INSTALLS);
        self.until(|it| {
            let Some(base) = it.process(node).map(|process| process.chain.base()) else {
                return Ok(Some(format!("node {node} does not answer")));
            };
            if installs && base == Height::ZERO {
                return Ok(Some(format!("node {node} has all blocks and no snapshot")));
            }
            let low = it.certified(node).unwrap_or(Height::ZERO);
            Ok((low < goal).then(|| format!("node {node} has certified {low} of {goal}")))
        })?;
        Ok("what it prints is for real processes".to_owned())
    }
}
