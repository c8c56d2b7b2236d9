//! Plays a drill in this world: the same file as on real processes, step after step in virtual time. What is done stands in
//! [`acts`], what must hold in [`holds`].
//!
//! Whatever must hold of a run is looked at here too, after every event. In the end the load stops, and all that are to run
//! must have one height and state root by themselves; then everything works again, and every answer that was ever given
//! must stand. Tested by `tests/drills.rs`: each drill plays, and each requirement has a drill in which it does not hold.

mod acts;
mod holds;

use std::collections::{BTreeMap, BTreeSet};

use epione_consensus::primary;
use epione_node::driver::DriverStatus;
use epione_types::{Height, Outcome, quorum};

use super::{Cluster, LOOK_EVERY};
use crate::drill::{Drill, Step, Who};
use crate::sim::client::{Answer, Place};
use crate::sim::clock::{MS, Micros};
use crate::sim::drill::Played;
use crate::sim::node::Process;
use crate::sim::plan::Nodes;
use crate::sim::{Class, Failure};

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

struct Drilling<'w, 'a> {
    world: &'w mut Cluster<'a>,
    /// Whom the last name meant.
    them: Vec<usize>,
    /// Who hears a quorum, if links are cut.
    together: Nodes,
    /// Who is not to run now.
    down: BTreeSet<usize>,
    frozen: BTreeSet<usize>,
    /// Who was voted out, and has no part in what must hold.
    left: BTreeSet<usize>,
    /// Who must not vote any more.
    out: BTreeSet<usize>,
    /// How wrong wall clocks are from the next start on, in ms.
    jumps: BTreeMap<usize, i64>,
    /// How many faults of links there were, and which of them cuts.
    wrong: usize,
    cut: Option<usize>,
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
            down: BTreeSet::new(),
            frozen: BTreeSet::new(),
            left: BTreeSet::new(),
            out: BTreeSet::new(),
            jumps: BTreeMap::new(),
            wrong: 0,
            cut: None,
            spare,
            own: 0,
            acted: 0,
            patience,
            played: Played::default(),
        };
        let mut ended = drilling.play(drill);
        let played = drilling.played;
        if ended.is_ok() {
            self.heal();
            ended = self.run();
        }
        (played, ended)
    }

    /// Submissions of clients that were answered: applied, as all blocks say.
    fn committed(&self) -> usize {
        let applied = |number: &&u64| {
            let answer = self.oracle.one_of(**number).answer;
            matches!(answer, Some(Answer::Committed(Place { outcome: Outcome::Ok, .. })))
        };
        self.load.iter().filter(applied).count()
    }
}

impl Drilling<'_, '_> {
    fn play(&mut self, drill: &Drill) -> Result<(), Failure> {
        for (number, (line, step)) in drill.steps.iter().enumerate() {
            let now = self.now();
            self.world.trace.note(now, 23, usize::MAX, number as u64, &[], || format!("drill: {line}"));
            let told = self.step(step);
            let told = told.map_err(|stop| self.failed(line, stop))?;
            let told = if told.is_empty() { told } else { format!(": {told}") };
            self.played.told.push(format!("{line}{told} ({} ms)", (self.now() - now) / MS));
        }
        self.world.quiet = true;
        let ended = self.equal();
        self.played.committed = self.world.committed();
        ended.map_err(|stop| self.failed("in the end", stop))?;
        if self.played.committed == 0 {
            let text = "no client was answered at all: nothing was tested".to_owned();
            return Err(self.world.failure(Class::Harness, "drill", text));
        }
        Ok(())
    }

    fn failed(&self, line: &str, stop: Stop) -> Failure {
        match stop {
            Stop::World(failure) => failure,
            Stop::Missed(why) => self.world.failure(Class::Liveness, "drill", format!("{line}: {why}")),
        }
    }

    fn step(&mut self, step: &Step) -> Result<String, Stop> {
        if !step.is_requirement() && !matches!(step, Step::Await(_)) {
            self.acted = self.now();
        }
        match step {
            Step::Await(answers) => self.answers(*answers),
            // One that ends in order has stored more: what it bears, a kill bears as well.
            Step::Kill(who) | Step::Stop(who) => self.each(*who, Self::stop),
            Step::Start(who) => {
                self.each(
                    *who,
                    |it, node| {
                        if *who == Who::All && it.is_running(node) { Ok(()) } else { it.start(node) }
                    },
                )
            }
            Step::Restart(who) => self.each(*who, |it, node| {
                if it.is_running(node) {
                    it.stop(node)?;
                }
                it.start(node)
            }),
            Step::Freeze(who) => self.each(*who, Self::freeze),
            Step::Thaw(who) => self.each(*who, Self::thaw),
            Step::Partition(groups) => self.partition(groups),
            Step::Slow(who, delay) => self.slow(*who, *delay),
            Step::Heal => self.heal(),
            Step::Full(node) => self.full(*node),
            Step::Free(node) => self.free(*node),
            Step::Damage(node, part) => self.damage(*node, *part),
            Step::Wipe(who, parts) => self.each(*who, |it, node| it.wipe(node, parts)),
            Step::Jump(who, ms) => self.each(*who, |it, node| {
                it.jumps.insert(node, *ms);
                Ok(())
            }),
            Step::Join(with) => self.join(*with),
            Step::Leave(who) => self.leave(*who),
            Step::Renew(who) => self.renew(*who),
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

    /// Lets the world go on until there is an answer other than a reason to wait.
    fn until<T>(
        &mut self,
        mut look: impl FnMut(&mut Self) -> Result<Result<T, String>, Stop>,
    ) -> Result<T, Stop> {
        let (begun, mut next) = (self.now(), self.now());
        loop {
            if self.now() >= next {
                next = self.now() + LOOK_EVERY;
                match look(self)? {
                    Ok(found) => return Ok(found),
                    Err(why) if self.now() - begun > self.patience => {
                        return missed(format!("not within {} s: {why}", self.patience / MS / 1_000));
                    }
                    Err(_) => {}
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

    /// Is there to be a process? One that starts again by itself counts.
    fn is_running(&self, node: usize) -> bool {
        node < self.spare && !self.down.contains(&node) && self.refused(node).is_none()
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

    /// Those that answer.
    fn well(&self) -> Vec<usize> {
        self.all().filter(|node| self.process(*node).is_some()).collect()
    }

    fn certified(&self, node: usize) -> Option<Height> {
        Some(self.process(node)?.chain.certified().map_or(Height::ZERO, |certificate| certificate.height))
    }

    /// The one that says it is the primary, of the newest view.
    fn primary(&self) -> Option<usize> {
        let says = |node: usize| {
            let status = self.status(node).filter(DriverStatus::is_voting)?;
            let (epoch, view) = (status.waiting.epoch, status.waiting.view);
            let place = primary(&status.epoch.set, view);
            (self.world.roll.borrow().node(epoch, place) == Some(node)).then_some((epoch, view, node))
        };
        self.all().filter_map(says).max().map(|(_, _, node)| node)
    }

    fn some_primary(&mut self) -> Result<usize, Stop> {
        self.until(|it| Ok(it.primary().ok_or_else(|| "nobody is the primary".to_owned())))
    }

    /// Whom a name means; `them` from now on.
    fn whom(&mut self, who: Who) -> Result<Vec<usize>, Stop> {
        self.them = match who {
            Who::Node(node) => vec![node],
            Who::Primary => vec![self.some_primary()?],
            Who::Faults => {
                let (first, mut nodes) = (self.some_primary()?, self.all().collect::<Vec<_>>());
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

    fn each(
        &mut self,
        who: Who,
        mut act: impl FnMut(&mut Self, usize) -> Result<(), Stop>,
    ) -> Result<String, Stop> {
        for node in self.whom(who)? {
            act(self, node)?;
        }
        Ok(self.names())
    }
}
