//! What must hold: the requirements of a drill, and its end.

use epione_node::driver::DriverStatus;
use epione_node::explain;
use epione_types::{Height, Outcome};

use super::{Drilling, Stop, missed};
use crate::drill::Who;
use crate::sim::clock::{MS, Micros};
use crate::sim::plan::Nodes;
use crate::sim::workload::Client;

/// A client that is not answered asks again after so long.
const ASKED_AGAIN: Micros = 1_000 * MS;

impl Drilling<'_, '_> {
    pub(super) fn answers(&mut self, more: u64) -> Result<String, Stop> {
        let goal = self.world.committed() as u64 + more;
        self.until(|it| {
            let count = it.world.committed() as u64;
            Ok(if count >= goal { Ok(()) } else { Err(format!("{count} of {goal} answers")) })
        })?;
        Ok(String::new())
    }

    /// A submission made now is certified.
    pub(super) fn progress(&mut self) -> Result<String, Stop> {
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
                    return Ok(Err("no node answers".to_owned()));
                };
                asked = Some(now);
                it.world.submit(number, at);
            }
            let submission = it.world.oracle.one_of(number);
            match it.world.oracle.place(&submission.id) {
                Some(place) if place.outcome != Outcome::Ok => missed(format!("it is refused: {place:?}")),
                Some(place) if submission.answer.is_some() && it.world.certified >= place.height => {
                    Ok(Ok(()))
                }
                _ => Ok(Err("a submission is not certified".to_owned())),
            }
        })?;
        let took = self.now() - self.acted;
        self.played.recovery = self.played.recovery.max(Some(took));
        Ok(format!("certified {} ms after what was done", took / MS))
    }

    pub(super) fn other_primary(&mut self) -> Result<String, Stop> {
        let found = self.until(|it| {
            let found = it.primary().filter(|node| !it.them.contains(node));
            Ok(found.ok_or_else(|| format!("the primary is {:?}", it.primary())))
        })?;
        Ok(format!("node {found}"))
    }

    /// Nobody certifies anything for so long. What was under way may end first; who runs and does not answer may be going on.
    pub(super) fn standstill(&mut self, time: Micros) -> Result<String, Stop> {
        let mut last = (Vec::new(), self.now());
        self.until(|it| {
            let running = it.all().filter(|node| it.is_running(*node));
            let heights: Vec<Option<Height>> = running.map(|node| it.certified(node)).collect();
            if heights != last.0 || heights.iter().any(Option::is_none) {
                last = (heights, it.now());
            }
            let still = it.now() - last.1 >= time;
            Ok(if still { Ok(()) } else { Err(format!("certified heights change: {:?}", last.0)) })
        })?;
        Ok(String::new())
    }

    /// They vote in the others' view, and have what the others had.
    pub(super) fn back(&mut self, who: Who) -> Result<String, Stop> {
        let nodes = self.whom(who)?;
        let goal = self.all().filter_map(|node| self.certified(node)).max().unwrap_or(Height::ZERO);
        self.until(|it| {
            let voting = it.well().into_iter().filter_map(|node| it.status(node));
            let newest = voting
                .filter(DriverStatus::is_voting)
                .map(|status| (status.waiting.epoch, status.waiting.view))
                .max();
            for node in &nodes {
                if !it.is_running(*node) {
                    let why = it.refused(*node).unwrap_or("it was stopped");
                    return missed(format!("node {node} does not run: {why}"));
                }
                let Some(status) = it.status(*node) else {
                    return Ok(Err(format!("node {node} does not answer")));
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
                return Ok(Err(format!("node {node} {why}")));
            }
            Ok(Ok(()))
        })?;
        let took = self.now() - self.acted;
        self.played.back = self.played.back.max(Some(took));
        Ok(format!("{}, at height {goal} and more, {} ms after what was done", self.names(), took / MS))
    }

    /// The node runs and says that it has stopped voting, or has ended.
    pub(super) fn silent(&mut self, node: usize) -> Result<String, Stop> {
        self.until(|it| {
            if !it.is_running(node) {
                return Ok(Ok("its process has ended".to_owned()));
            }
            Ok(match it.status(node) {
                Some(status) if status.fault.is_some() || status.waiting.halted.is_some() => {
                    Ok(explain::summary(&status.snapshot))
                }
                Some(_) => Err(format!("node {node} still votes")),
                None => Err(format!("node {node} does not answer")),
            })
        })
    }

    /// The node refuses to vote, in these words. From then on it is not to come back.
    pub(super) fn refusal(&mut self, node: usize, words: &[String]) -> Result<String, Stop> {
        let why = self.until(|it| {
            let refused = it.refused(node).map(str::to_owned);
            Ok(refused.ok_or_else(|| format!("node {node} refuses nothing")))
        })?;
        if let Some(word) = words.iter().find(|word| !why.contains(*word)) {
            return missed(format!("node {node} does not say {word:?}: {why}"));
        }
        self.out.insert(node);
        Ok(why)
    }

    pub(super) fn advice(&mut self, who: Who, words: &[String]) -> Result<String, Stop> {
        let nodes = self.whom(who)?;
        self.until(|it| {
            for node in &nodes {
                let Some(status) = it.status(*node) else {
                    return Ok(Err(format!("node {node} does not answer")));
                };
                let advice = explain::advice(&status.snapshot);
                if words.iter().any(|word| !advice.contains(word)) {
                    return Ok(Err(format!("node {node} advises: {advice}")));
                }
            }
            Ok(Ok(()))
        })?;
        Ok(self.names())
    }

    /// It has what the others have: that the blocks are the same is looked at with every one of them. What it says of a
    /// snapshot holds if its ledger began with one when it was last started; other words are refused (`sim/drill.rs`).
    pub(super) fn sound(&mut self, node: usize, words: &[String]) -> Result<String, Stop> {
        let others = self.all().filter(|other| *other != node);
        let goal = others.filter_map(|node| self.certified(node)).max().unwrap_or(Height::ZERO);
        self.until(|it| {
            let Some(installed) = it.process(node).map(|process| process.installed) else {
                return Ok(Err(format!("node {node} does not answer")));
            };
            let low = it.certified(node).unwrap_or(Height::ZERO);
            Ok(if !words.is_empty() && !installed {
                Err(format!("node {node} has installed no snapshot"))
            } else if low < goal {
                Err(format!("node {node} has certified {low} of {goal}"))
            } else {
                Ok(format!("node {node} has certified {low}"))
            })
        })
    }

    /// All that are to run have one height, all of it certified, and one state root.
    pub(super) fn equal(&mut self) -> Result<(), Stop> {
        self.until(|it| {
            let mut first = None;
            for node in it.all().filter(|node| !it.out.contains(node)) {
                let Some(process) = it.process(node) else {
                    return Ok(Err(format!("node {node} does not answer")));
                };
                let head = process.chain.head();
                let certified = it.certified(node).unwrap_or(Height::ZERO);
                if certified != head.height {
                    return Ok(Err(format!("node {node} has certified {certified} of {}", head.height)));
                }
                let end = (head.height, head.state_root);
                if *first.get_or_insert(end) != end {
                    return Ok(Err(format!("node {node} has another height or state root")));
                }
            }
            Ok(Ok(()))
        })
    }
}
