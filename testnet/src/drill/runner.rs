//! Runs one drill, from an empty folder to what was lost. Who validates is changed in [`change`]. Tested by
//! `cli/tests/drill.rs`: each requirement holds, and one that does not hold fails the drill.

mod change;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use epione_node::snapshots::Snapshots;

use super::disk::SmallDisk;
use super::load::{Answered, Answers, Doctor, Doors, Load};
use super::proxy::Proxies;
use super::scenario::{Drill, Member, Part, Step, Who};
use super::{Failed, lost, stored};
use crate::local::{Lifetime, Network, NodeReport, Options, Probe};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(50);
/// How long a network may take to come up, at least.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// How long the last answers may take once the load has stopped.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Broken promises that are told one by one.
const TOLD: usize = 5;

/// What came of a drill.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Which way the faults were done.
    pub ways: Vec<String>,
    /// Why it failed; none if all held.
    pub failure: Option<String>,
    /// The longest that a submission made after a fault took to be certified, from the fault on.
    pub recovery: Option<Duration>,
    /// The longest that a node took to be in step again.
    pub back: Option<Duration>,
    /// Submissions that were answered COMMITTED.
    pub committed: u64,
    /// Submissions without an answer: no promise was made.
    pub open: u64,
    /// Promises that were not kept; none unless the ledgers were compared.
    pub lost: Vec<String>,
    /// Were they?
    pub compared: bool,
    /// Nodes that must not vote any more, and are left out of the comparison.
    pub out: Vec<usize>,
    /// Height in the end.
    pub height: u64,
    /// All of it.
    pub took: Duration,
}

/// Runs a drill in an empty folder, with nodes of this binary; each step may take so long. `say` hears what is done.
pub async fn run(
    drill: &Drill,
    binary: &Path,
    folder: &Path,
    patience: Duration,
    say: &(dyn Fn(&str) + Sync),
) -> Report {
    let begun = Instant::now();
    let mut report = Report {
        name: drill.name.clone(),
        ways: Vec::new(),
        failure: None,
        recovery: None,
        back: None,
        committed: 0,
        open: 0,
        lost: Vec::new(),
        compared: false,
        out: Vec::new(),
        height: 0,
        took: Duration::ZERO,
    };
    let ended = match Runner::up(drill, binary, folder, patience, say, &mut report).await {
        Ok(mut runner) => {
            let ended = runner.play(drill).await;
            runner.down().await.and(ended)
        }
        Err(error) => Err(error),
    };
    report.failure = ended.err().map(|failed| failed.0);
    report.took = begun.elapsed();
    report
}

struct Runner<'a> {
    // Dropped in this order: the nodes are gone before their wires and disk are.
    network: Network,
    proxies: Proxies,
    disk: Option<SmallDisk>,
    snapshots: Option<Snapshots>,
    probe: Probe,
    doors: Doors,
    doctors: Vec<Doctor>,
    load: Option<Load>,
    /// Submissions made by requirements.
    own: Vec<Answered>,
    /// Whom the last name meant.
    them: Vec<usize>,
    /// Who hears a quorum, if links are cut.
    together: Vec<usize>,
    frozen: BTreeSet<usize>,
    out: BTreeSet<usize>,
    /// Who was voted out, and has no part in what must hold.
    left: BTreeSet<usize>,
    /// Where the log of each node ended before it was last started.
    marks: Vec<u64>,
    /// When something was last done.
    acted: Instant,
    patience: Duration,
    say: &'a (dyn Fn(&str) + Sync),
    report: &'a mut Report,
}

impl<'a> Runner<'a> {
    async fn up(
        drill: &Drill,
        binary: &Path,
        folder: &Path,
        patience: Duration,
        say: &'a (dyn Fn(&str) + Sync),
        report: &'a mut Report,
    ) -> Result<Self, Failed> {
        let disk = drill.disk.map(|(_, mib)| SmallDisk::prepare(folder, mib, binary)).transpose()?;
        let runs = disk.as_ref().and_then(SmallDisk::binary).unwrap_or(binary);
        let options =
            Options { nodes: drill.nodes, binary: runs.to_owned(), params: epione_types::Params::default() };
        let mut network = Network::create(&folder.join("net"), &options, Lifetime::WithStarter)?;
        if let (Some(disk), Some((node, _))) = (&disk, drill.disk) {
            disk.place(&network.layout().data(node))?;
        }
        let ports: Vec<u16> = network.state().nodes.iter().map(|node| node.ports.peer).collect();
        let proxies = Proxies::start(&ports).await.map_err(Failed::of)?;
        for from in 0..ports.len() {
            change::rewire(&network, &proxies, from, &ports)?;
            change::snapshots(&network, from, drill.snapshots)?;
        }
        let up_within = patience.max(UP_WITHIN);
        network.start_all(up_within).await?;
        let probe = Probe::new(network.layout(), network.state())?;
        let doors = Doors::of(network.layout(), network.state())?;
        let mut doctors = Vec::with_capacity(drill.clients);
        for client in 0..drill.clients {
            doctors.push(Doctor::enrol(&doors, client % drill.nodes, up_within).await?);
        }
        say(&format!("{} nodes are up, {} clients submit", drill.nodes, drill.clients));
        let load = Some(Load::start(&doctors, drill.every));
        let marks = vec![0; drill.nodes];
        Ok(Self {
            network,
            proxies,
            disk,
            snapshots: drill.snapshots,
            probe,
            doors,
            doctors,
            load,
            own: Vec::new(),
            them: Vec::new(),
            together: Vec::new(),
            frozen: BTreeSet::new(),
            out: BTreeSet::new(),
            left: BTreeSet::new(),
            marks,
            acted: Instant::now(),
            patience,
            say,
            report,
        })
    }

    /// All steps, and what must hold in the end of every drill.
    async fn play(&mut self, drill: &Drill) -> Result<(), Failed> {
        for (line, step) in &drill.steps {
            let begun = Instant::now();
            let told = self.step(step).await.map_err(|failed| Failed(format!("{line}: {failed}")))?;
            let told = if told.is_empty() { told } else { format!(": {told}") };
            (self.say)(&format!("{line}{told} ({} ms)", begun.elapsed().as_millis()));
        }
        let answers = self.stop_load().await?;
        let height = self.equal().await.map_err(|failed| Failed(format!("in the end: {failed}")))?;
        self.nothing_lost(&answers, height).await
    }

    async fn down(&mut self) -> Result<(), Failed> {
        drop(self.load.take());
        for node in std::mem::take(&mut self.frozen) {
            self.network.thaw(node)?;
        }
        self.network.down().await?;
        Ok(())
    }

    /// Does one step; what there is to say of it.
    async fn step(&mut self, step: &Step) -> Result<String, Failed> {
        if !step.is_requirement() && !matches!(step, Step::Await(_)) {
            self.acted = Instant::now();
        }
        match step {
            Step::Await(answers) => self.answers(*answers).await,
            Step::Kill(who) => {
                for node in self.whom(*who).await? {
                    self.network.kill(node).await?;
                }
                self.way("SIGKILL");
                Ok(self.them())
            }
            Step::Stop(who) => {
                for node in self.whom(*who).await? {
                    self.network.stop(node).await?;
                }
                self.way("SIGTERM");
                Ok(self.them())
            }
            Step::Start(who) => {
                for node in self.whom(*who).await? {
                    // Of all, those that do not run.
                    if *who != Who::All || !self.network.is_running(node) {
                        self.start(node)?;
                    }
                }
                Ok(self.them())
            }
            Step::Restart(who) => {
                for node in self.whom(*who).await? {
                    if self.network.is_running(node) {
                        self.network.stop(node).await?;
                    }
                    self.start(node)?;
                }
                self.way("SIGTERM and a new process");
                Ok(self.them())
            }
            Step::Freeze(who) => {
                for node in self.whom(*who).await? {
                    self.network.freeze(node)?;
                    self.frozen.insert(node);
                }
                self.way("SIGSTOP, later SIGCONT");
                Ok(self.them())
            }
            Step::Thaw(who) => {
                for node in self.whom(*who).await? {
                    self.network.thaw(node)?;
                    self.frozen.remove(&node);
                }
                Ok(self.them())
            }
            Step::Partition(groups) => self.partition(groups).await,
            Step::Slow(who, delay) => {
                let nodes = self.whom(*who).await?;
                self.proxies.delay(&nodes, *delay);
                self.way("a TCP proxy between the validators that delivers later");
                Ok(self.them())
            }
            Step::Heal => {
                self.proxies.heal();
                self.together.clear();
                Ok(String::new())
            }
            Step::Full(node) => {
                let data = self.network.layout().data(*node);
                let process = self.network.state().nodes.get(*node).and_then(|node| node.process.as_ref());
                let pid = process.ok_or_else(|| Failed(format!("node {node} does not run")))?.pid;
                let disk = self.disk.as_ref().ok_or_else(|| Failed("no disk to fill".to_owned()))?;
                disk.fill(&data, pid)?;
                let way = disk.way();
                self.way(&way);
                Ok(way)
            }
            Step::Free(node) => {
                let running = self.network.is_running(*node);
                let process = self.network.state().nodes.get(*node).and_then(|node| node.process.as_ref());
                let pid = process.filter(|_| running).map(|process| process.pid);
                self.disk.as_ref().ok_or_else(|| Failed("no disk to free".to_owned()))?.free(pid)?;
                Ok(String::new())
            }
            Step::Damage(node, part) => {
                let live = *part == Part::LedgerPages;
                if live && !self.network.is_running(*node) {
                    return Err(Failed(format!("node {node} does not run: start it first")));
                }
                if !live {
                    self.stopped(*node)?;
                }
                let told = stored::damage(&self.network.layout().data(*node), *part)?;
                self.way(match part {
                    Part::LogTail => "bytes of an unfinished record at the log's end",
                    Part::Log => "one byte within the log's newest file",
                    Part::Ledger => "one byte in 4096 of sled's file",
                    Part::LedgerHead => "one byte of the file by which sled opens",
                    Part::LedgerPages => "one byte in 4096 of sled's file, while the node runs",
                    Part::Pool => "bytes of the pool",
                });
                Ok(told)
            }
            Step::Wipe(who, parts) => {
                for node in self.whom(*who).await? {
                    self.stopped(node)?;
                    stored::wipe(&self.network.layout().data(node), parts)?;
                }
                self.way("folders removed");
                Ok(self.them())
            }
            Step::Jump(who, ms) => {
                for node in self.whom(*who).await? {
                    self.set_clock(node, *ms)?;
                }
                self.way("testnet.clock_offset_ms, from the next start on");
                Ok(self.them())
            }
            Step::Join(hospital) => {
                let joins = self.change(None, Some(*hospital)).await?;
                self.them = joins.into_iter().collect();
                Ok(self.them())
            }
            Step::Leave(who) => {
                for node in self.whom(*who).await? {
                    self.change(Some(node), None).await?;
                }
                Ok(self.them())
            }
            Step::Renew(who) => {
                let mut told = Vec::new();
                for node in self.whom(*who).await? {
                    if let Some(joins) = self.change(Some(node), Some(node)).await? {
                        told.push(format!("node {joins} for node {node}"));
                    }
                }
                Ok(told.join(", "))
            }
            Step::Progress => self.progress().await,
            Step::OtherPrimary => self.other_primary().await,
            Step::Standstill(time) => self.standstill(*time).await,
            Step::Back(who) => self.back(*who).await,
            Step::Silent(node) => self.silent(*node).await,
            Step::Refusal(node, words) => self.refusal(*node, words).await,
            Step::Advice(who, words) => self.advice(*who, words).await,
            Step::Sound(node, words) => self.sound(*node, words).await,
        }
    }

    fn way(&mut self, way: &str) {
        if !self.report.ways.iter().any(|known| known == way) {
            self.report.ways.push(way.to_owned());
        }
    }

    fn them(&self) -> String {
        let them: Vec<String> = self.them.iter().map(|node| format!("node {node}")).collect();
        them.join(", ")
    }

    /// Every node but those that have left.
    fn all(&self) -> impl Iterator<Item = usize> {
        (0..self.network.len()).filter(|node| !self.left.contains(node))
    }

    /// Who is not compared in the end.
    fn tell_out(&mut self) {
        self.report.out = self.out.union(&self.left).copied().collect();
    }

    /// Runs, and is to answer.
    fn is_well(&self, node: usize) -> bool {
        let excused = [&self.frozen, &self.out, &self.left];
        self.network.is_running(node) && !excused.iter().any(|nodes| nodes.contains(&node))
    }

    fn stopped(&self, node: usize) -> Result<(), Failed> {
        let runs = self.network.is_running(node);
        if runs { Err(Failed(format!("node {node} runs: kill it first"))) } else { Ok(()) }
    }

    fn start(&mut self, node: usize) -> Result<(), Failed> {
        let length = std::fs::metadata(self.network.layout().log(node)).map_or(0, |log| log.len());
        if let Some(mark) = self.marks.get_mut(node) {
            *mark = length;
        }
        self.out.remove(&node);
        self.tell_out();
        Ok(self.network.start(node)?)
    }

    /// Tries until there is an answer other than a reason to wait.
    async fn eventually<T>(
        &self,
        mut look: impl AsyncFnMut() -> Result<Result<T, String>, Failed>,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        loop {
            match look().await? {
                Ok(found) => return Ok(found),
                Err(why) if begun.elapsed() >= self.patience => {
                    return Err(Failed(format!("not within {} s: {why}", self.patience.as_secs())));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn reports(&self) -> Vec<NodeReport> {
        self.probe.reports(self.network.state()).await
    }

    async fn primary(&self) -> Result<usize, Failed> {
        self.eventually(async || {
            let reports = self.reports().await;
            let views = reports.iter().filter_map(|report| Some((report.answer.as_ref().ok()?, report.node)));
            let primaries = views.filter(|(status, _)| status.role() == epione_proto::v1::NodeRole::Primary);
            let newest = primaries.max_by_key(|(status, _)| status.view);
            Ok(newest.map(|(_, node)| node).ok_or_else(|| "nobody is the primary".to_owned()))
        })
        .await
    }

    /// Whom a name means; `them` from now on.
    async fn whom(&mut self, who: Who) -> Result<Vec<usize>, Failed> {
        self.them = match who {
            Who::Node(node) => vec![node],
            Who::Primary => vec![self.primary().await?],
            Who::Faults => {
                let (first, mut nodes) = (self.primary().await?, self.all().collect::<Vec<_>>());
                let place = nodes.iter().position(|node| *node == first).unwrap_or_default();
                nodes.rotate_left(place);
                nodes.truncate(epione_types::quorum::faults(nodes.len()));
                nodes
            }
            Who::All => self.all().collect(),
            Who::Them => std::mem::take(&mut self.them),
        };
        if self.them.is_empty() {
            return Err(Failed("that is nobody: no name stands above, or nobody may fail".to_owned()));
        }
        Ok(self.them.clone())
    }

    async fn answers(&self, more: u64) -> Result<String, Failed> {
        let load = self.load.as_ref().ok_or_else(|| Failed("there is no load".to_owned()))?;
        let goal = load.committed() + more;
        self.eventually(async || {
            let count = load.committed();
            Ok(if count >= goal { Ok(String::new()) } else { Err(format!("{count} of {goal} answers")) })
        })
        .await
    }

    async fn partition(&mut self, groups: &[Vec<Member>]) -> Result<String, Failed> {
        let primary = if groups.iter().flatten().any(|member| *member == Member::Primary) {
            Some(self.primary().await?)
        } else {
            None
        };
        let named: BTreeSet<usize> = (groups.iter().flatten())
            .filter_map(|member| match member {
                Member::Node(node) => Some(*node),
                Member::Primary => primary,
                Member::Others => None,
            })
            .collect();
        let members = |group: &Vec<Member>| -> BTreeSet<usize> {
            let of = |member: &Member| match member {
                Member::Node(node) => vec![*node],
                Member::Primary => primary.into_iter().collect(),
                Member::Others => self.all().filter(|node| !named.contains(node)).collect(),
            };
            group.iter().flat_map(of).collect()
        };
        let groups: Vec<BTreeSet<usize>> = groups.iter().map(members).collect();
        let of = |node: usize| groups.iter().position(|group| group.contains(&node));
        // Who is in no group hears all.
        self.proxies.cut(|from, to| matches!((of(from), of(to)), (Some(a), Some(b)) if a != b));
        self.acted = Instant::now();
        let largest = groups.iter().max_by_key(|group| group.len());
        self.together = largest.into_iter().flatten().copied().collect();
        self.them = groups.first().into_iter().flatten().copied().collect();
        self.way("a TCP proxy between the validators that holds everything back");
        let text = |group: &BTreeSet<usize>| group.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        Ok(groups.iter().map(text).collect::<Vec<_>>().join(" | "))
    }

    fn set_clock(&self, node: usize, ms: i64) -> Result<(), Failed> {
        let path = self.network.layout().config(node);
        let text = std::fs::read_to_string(&path).map_err(Failed::of)?;
        let kept = text.split("\n[testnet]\n").next().unwrap_or_default();
        let added = if ms == 0 { String::new() } else { format!("\n[testnet]\nclock_offset_ms = {ms}\n") };
        std::fs::write(&path, format!("{kept}{added}")).map_err(Failed::of)
    }

    /// A submission made now is certified: the time from what was last done.
    async fn progress(&mut self) -> Result<String, Failed> {
        let well: Vec<usize> = self.all().filter(|node| self.is_well(*node)).collect();
        let first = well.iter().find(|node| self.together.is_empty() || self.together.contains(node));
        let first = *first.ok_or_else(|| Failed("no node runs".to_owned()))?;
        let doctor = self.doctors.first().ok_or_else(|| Failed("there are no clients".to_owned()))?;
        let answered = doctor.submit_one(first, self.patience).await.map_err(|failed| {
            Failed(format!("a submission is not certified within {} s: {failed}", self.patience.as_secs()))
        })?;
        let took = self.acted.elapsed();
        self.own.push(answered);
        self.report.recovery = self.report.recovery.max(Some(took));
        Ok(format!("block {} is certified {} ms after what was done", answered.height, took.as_millis()))
    }

    /// What was done to the primary was done: another one leads.
    async fn other_primary(&self) -> Result<String, Failed> {
        self.eventually(async || {
            let found = self.primary().await?;
            let same = self.them.contains(&found);
            Ok(if same {
                Err(format!("node {found} is still the primary"))
            } else {
                Ok(format!("node {found}"))
            })
        })
        .await
    }

    /// Nobody certifies anything for so long. What was under way may end first.
    async fn standstill(&self, time: Duration) -> Result<String, Failed> {
        let mut last = (Vec::new(), Instant::now());
        self.eventually(async || {
            // Whoever runs and does not answer may be going on.
            let lows: Vec<Option<u64>> = (self.reports().await.iter())
                .filter(|report| report.running)
                .map(|report| report.answer.as_ref().ok().map(|status| status.low))
                .collect();
            if lows != last.0 || lows.iter().any(Option::is_none) {
                last = (lows, Instant::now());
            }
            let still = last.1.elapsed() >= time;
            Ok(if still { Ok(String::new()) } else { Err(format!("certified heights change: {:?}", last.0)) })
        })
        .await
    }

    /// They vote in the others' view, and have what the others had.
    async fn back(&mut self, who: Who) -> Result<String, Failed> {
        let nodes = self.whom(who).await?;
        let begun = self.reports().await;
        let lows = begun.iter().filter_map(|report| Some(report.answer.as_ref().ok()?.low));
        let goal = lows.max().unwrap_or(0);
        let others = self.all().filter(|node| self.is_well(*node)).count().saturating_sub(1);
        self.eventually(async || {
            let reports = self.reports().await;
            let voting = reports.iter().filter(|report| !self.left.contains(&report.node));
            let view = voting.filter_map(|report| report.in_consensus(others).ok()).max().unwrap_or(0);
            for node in &nodes {
                let Some(report) = reports.get(*node) else { continue };
                if !report.running {
                    let tail = self.words(*node);
                    return Err(Failed(format!("node {node} has ended by itself:\n{tail}")));
                }
                let low = report.answer.as_ref().map_or(0, |status| status.low);
                match report.in_consensus(others) {
                    Err(why) => return Ok(Err(format!("node {node} {why}"))),
                    Ok(found) if found < view => {
                        return Ok(Err(format!("node {node} is in view {found}, others in {view}")));
                    }
                    Ok(_) if low < goal => {
                        return Ok(Err(format!("node {node} has certified {low} of {goal}")));
                    }
                    Ok(_) => {}
                }
            }
            Ok(Ok(()))
        })
        .await?;
        let took = self.acted.elapsed();
        self.report.back = self.report.back.max(Some(took));
        Ok(format!("{}, at height {goal} and more, {} ms after what was done", self.them(), took.as_millis()))
    }

    /// The node runs and says that it does not vote, or has ended for that reason.
    async fn silent(&mut self, node: usize) -> Result<String, Failed> {
        self.eventually(async || {
            let reports = self.reports().await;
            let report = reports.get(node).ok_or_else(|| Failed(format!("there is no node {node}")))?;
            if !report.running {
                return Ok(Ok("its process has ended".to_owned()));
            }
            Ok(match &report.answer {
                Ok(status) if status.role() == epione_proto::v1::NodeRole::Halted => {
                    Ok(format!("it says: {}", status.waiting_for))
                }
                Ok(_) => Err(format!("node {node} still votes")),
                Err(why) => Err(why.clone()),
            })
        })
        .await
    }

    /// The node ends by itself and says these words. From then on it is not to come back.
    async fn refusal(&mut self, node: usize, words: &[String]) -> Result<String, Failed> {
        self.eventually(async || {
            let runs = self.network.is_running(node);
            Ok(if runs { Err(format!("node {node} runs and refuses nothing")) } else { Ok(()) })
        })
        .await?;
        let said = self.words(node);
        for word in words {
            if !said.contains(word) {
                return Err(Failed(format!("node {node} has ended without saying {word:?}:\n{said}")));
            }
        }
        self.out.insert(node);
        self.tell_out();
        let error = said.lines().rev().find(|line| line.starts_with("error: "));
        Ok(format!(
            "node {node} does not start, and says: {}",
            error.unwrap_or("").trim_start_matches("error: ")
        ))
    }

    /// They explain themselves, and advise this.
    async fn advice(&mut self, who: Who, words: &[String]) -> Result<String, Failed> {
        let nodes = self.whom(who).await?;
        self.eventually(async || {
            for node in &nodes {
                match self.probe.explain(*node).await {
                    Ok(it) if words.iter().all(|word| it.advice.contains(word)) => {}
                    Ok(it) => return Ok(Err(format!("node {node} advises: {}", it.advice))),
                    Err(why) => return Ok(Err(format!("node {node} {why}"))),
                }
            }
            Ok(Ok(()))
        })
        .await?;
        Ok(self.them())
    }

    /// Whatever block the node gives is the one that another gives; and it has said these words.
    async fn sound(&self, node: usize, words: &[String]) -> Result<String, Failed> {
        let other = self.all().find(|other| *other != node && self.is_well(*other));
        let other = other.ok_or_else(|| Failed("no other node runs".to_owned()))?;
        let low = |reports: &[NodeReport], node: usize| {
            let answer = reports.get(node).and_then(|report| report.answer.as_ref().ok());
            answer.map(|status| status.low).unwrap_or_default()
        };
        self.eventually(async || {
            let reports = self.reports().await;
            let tip = low(&reports, node).min(low(&reports, other));
            let asked = self.doors.admin_at(node, lost::REFUSED_WITHIN)?;
            let (same, none) =
                lost::same_blocks(&asked, &self.doors.admin_at(other, self.patience)?, tip).await?;
            let said = self.words(node);
            Ok(match words.iter().find(|word| !said.contains(*word)) {
                Some(word) => {
                    Err(format!("node {node} gives {same} blocks of {tip} and has not said {word:?}"))
                }
                None => {
                    Ok(format!("node {node} gives {same} blocks as node {other} does, and of {none} none"))
                }
            })
        })
        .await
    }

    /// What a node has printed since it was last started.
    fn words(&self, node: usize) -> String {
        let log = self.network.layout().log(node);
        let from = self.marks.get(node).copied().unwrap_or(0);
        let bytes = std::fs::read(&log).unwrap_or_default();
        let new = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        String::from_utf8_lossy(new).into_owned()
    }

    async fn stop_load(&mut self) -> Result<Answers, Failed> {
        let load = self.load.take().ok_or_else(|| Failed("there is no load".to_owned()))?;
        let answers = load.finish(ANSWERS_WITHIN).await?;
        self.report.committed = answers.committed.len() as u64;
        self.report.open = answers.open.values().sum();
        if let Some(wrong) = answers.wrong.first() {
            let count = answers.wrong.len();
            return Err(Failed(format!("{count} answers to clients are wrong; the first: {wrong}")));
        }
        if answers.committed.is_empty() {
            return Err(Failed("no client was answered at all: nothing was tested".to_owned()));
        }
        Ok(answers)
    }

    /// All nodes that are to run have one height, all of it certified, and one state root.
    async fn equal(&mut self) -> Result<u64, Failed> {
        let wanted: Vec<usize> = self.all().filter(|node| !self.out.contains(node)).collect();
        let height = self
            .eventually(async || {
                let reports = self.reports().await;
                let ends = reports.iter().filter(|report| wanted.contains(&report.node)).map(|report| {
                    let status =
                        report.answer.as_ref().map_err(|why| format!("node {}: {why}", report.node))?;
                    Ok(End {
                        node: report.node,
                        height: status.height,
                        certified: status.low,
                        state_root: status.state_root.to_vec(),
                    })
                });
                Ok(ends.collect::<Result<Vec<_>, String>>().and_then(|ends| same_end(&ends)))
            })
            .await?;
        self.report.height = height;
        (self.say)(&format!("{} nodes have height {height} and one state root", wanted.len()));
        Ok(height)
    }

    async fn nothing_lost(&mut self, answers: &Answers, height: u64) -> Result<(), Failed> {
        let promises: Vec<Answered> = answers.committed.iter().chain(&self.own).copied().collect();
        self.report.committed = promises.len() as u64;
        let (mut lost, mut whole) = (Vec::new(), false);
        for node in self.all().filter(|node| !self.out.contains(node)) {
            let (held, base) = lost::effects(&self.doors.admin_at(node, self.patience)?, height).await?;
            whole |= base == 0;
            lost.extend(lost::broken(&promises, node, (&held, base)));
        }
        if !whole {
            lost.push("every node begins with a snapshot: nobody has all blocks".to_owned());
        }
        self.report.lost.clone_from(&lost);
        self.report.compared = true;
        if lost.is_empty() {
            (self.say)(&format!("lost: nothing; {} answers COMMITTED are there, once", promises.len()));
            return Ok(());
        }
        let told = lost.get(..TOLD.min(lost.len())).unwrap_or_default().join("\n");
        Err(Failed(format!("{} promises are broken:\n{told}", lost.len())))
    }
}

/// Where a node is in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    node: usize,
    height: u64,
    certified: u64,
    state_root: Vec<u8>,
}

/// The height that all have with one state root, or who does not.
fn same_end(ends: &[End]) -> Result<u64, String> {
    let first = ends.first().ok_or("no node is left to compare")?;
    for end in ends {
        if (end.height, &end.state_root) != (first.height, &first.state_root) {
            let what = if end.height == first.height { "another state root" } else { "another height" };
            let (a, b) = (first.height, end.height);
            return Err(format!("node {} at {b} has {what} than node {} at {a}", end.node, first.node));
        }
        if end.certified != end.height {
            return Err(format!("node {} has certified {} of {}", end.node, end.certified, end.height));
        }
    }
    Ok(first.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_one_only_if_all_of_it_is() {
        let end = |node: usize| End { node, height: 9, certified: 9, state_root: vec![1] };
        assert_eq!(same_end(&[end(0), end(1)]), Ok(9));
        assert!(same_end(&[]).is_err());
        let said = |other: End| same_end(&[end(0), other]).unwrap_err();
        assert!(said(End { height: 8, certified: 8, ..end(1) }).contains("another height"));
        assert!(said(End { state_root: vec![2], ..end(1) }).contains("another state root"));
        assert!(said(End { certified: 8, ..end(1) }).contains("certified 8 of 9"));
    }
}
