//! The network as a whole: brought up, watched, broken, taken down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use epione_proto::v1 as pb;

use super::create::AddedKeys;
use super::layout::Layout;
use super::process::Process;
use super::state::{NodeState, State};
use super::status::Probe;
use super::{Options, TestnetError, create, ports};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);
/// How long a node may take to stop after SIGTERM, before SIGKILL.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How much of a log's end is shown.
const TAIL_BYTES: u64 = 4_096;
const TAIL_LINES: usize = 12;

/// How long nodes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until they are told to stop.
    Detached,
    /// As long as the process that started them, at most.
    WithStarter,
}

/// A local network, and the right to change it while this value lives.
#[derive(Debug)]
pub struct Network {
    layout: Layout,
    state: State,
    lifetime: Lifetime,
    /// Ports of nodes that were never started, so that nobody else takes them.
    held: Vec<TcpListener>,
    /// Processes started here: their end of the pipe, and nothing else.
    children: BTreeMap<usize, Child>,
    _lock: File,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// Its number.
    pub node: usize,
    /// Its place on this machine.
    pub state: NodeState,
    /// Does its process run?
    pub running: bool,
    /// What it says of itself, or why it says nothing.
    pub answer: Result<pb::GetNodeStatusResponse, String>,
}

impl NodeReport {
    /// Answers, and is connected to at least so many others; or why not.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn connected(&self, others: usize) -> Result<&pb::GetNodeStatusResponse, String> {
        if !self.running {
            return Err("its process has ended".to_owned());
        }
        let status = self.answer.as_ref().map_err(Clone::clone)?;
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        if connected < others {
            return Err(format!("connected to {connected} of {others} other nodes"));
        }
        Ok(status)
    }

    /// In consensus with so many others: its view, or why not.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn in_consensus(&self, others: usize) -> Result<u64, String> {
        let status = self.connected(others)?;
        match status.role() {
            // One that follows has no part in it.
            pb::NodeRole::Primary | pb::NodeRole::Backup | pb::NodeRole::Follower => {}
            pb::NodeRole::Halted | pb::NodeRole::Unspecified => {
                return Err(format!("does not vote: {}", status.waiting_for));
            }
        }
        if status.asked_view > status.view {
            return Err(format!("changes from view {} to {}", status.view, status.asked_view));
        }
        Ok(status.view)
    }
}

impl Network {
    /// Makes a new network in an empty or missing folder, and starts no node yet.
    ///
    /// # Errors
    /// [`TestnetError`]; whatever stood in the folder stays as it was.
    pub fn create(dir: &Path, options: &Options, lifetime: Lifetime) -> Result<Self, TestnetError> {
        options.check()?;
        std::fs::create_dir_all(dir).map_err(TestnetError::io(dir))?;
        let mut entries = std::fs::read_dir(dir).map_err(TestnetError::io(dir))?;
        if entries.next().is_some() {
            return Err(TestnetError::NotEmpty { dir: dir.to_owned() });
        }
        // Nodes are started from other places too, and the state names files.
        let layout = Layout::new(dir.canonicalize().map_err(TestnetError::io(dir))?);
        let lock = lock(&layout)?;
        let create::Created { state, held } = create::create(&layout, options)?;
        state.write(&layout)?;
        Ok(Self { layout, state, lifetime, held, children: BTreeMap::new(), _lock: lock })
    }

    /// Opens a network to change it.
    ///
    /// # Errors
    /// [`TestnetError::NoTestnet`], [`TestnetError::Busy`], or what is wrong with the folder.
    pub fn open(dir: &Path, lifetime: Lifetime) -> Result<Self, TestnetError> {
        let layout = Layout::new(dir);
        State::read(&layout)?;
        let layout = Layout::new(dir.canonicalize().map_err(TestnetError::io(dir))?);
        let lock = lock(&layout)?;
        let state = State::read(&layout)?;
        Ok(Self { layout, state, lifetime, held: Vec::new(), children: BTreeMap::new(), _lock: lock })
    }

    /// Makes a new network and starts all of it; nothing is left running if it does not come up by the deadline.
    ///
    /// # Errors
    /// [`TestnetError`], which names the node and shows the end of its log.
    pub async fn up(
        dir: &Path,
        options: &Options,
        lifetime: Lifetime,
        within: Duration,
    ) -> Result<Self, TestnetError> {
        let mut network = Self::create(dir, options, lifetime)?;
        network.start_all(within).await?;
        Ok(network)
    }

    /// Starts every node of a network that is down, and waits until all are in consensus.
    ///
    /// # Errors
    /// [`TestnetError`]; nothing is left running.
    pub async fn start_all(&mut self, within: Duration) -> Result<(), TestnetError> {
        let running: Vec<usize> = self.numbers().filter(|node| self.is_running(*node)).collect();
        if !running.is_empty() {
            return Err(TestnetError::AlreadyUp { dir: self.layout.dir().to_owned(), nodes: running });
        }
        let begun = Instant::now();
        let mut started = Ok(());
        for node in self.numbers() {
            started = started.and_then(|()| self.start(node));
        }
        let ready = match started {
            Ok(()) => self.wait_until_in_consensus(within.saturating_sub(begun.elapsed())).await,
            Err(error) => Err(error),
        };
        if ready.is_err() {
            self.kill_all();
        }
        ready
    }

    /// Where things are.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Who runs where.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// How many nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.nodes.len()
    }

    /// Never: a network has a node at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.nodes.is_empty()
    }

    /// Does this node's process run?
    #[must_use]
    pub fn is_running(&self, node: usize) -> bool {
        self.process(node).is_some_and(Process::is_alive)
    }

    /// Adds a node for the hospital of node `of`: its number and keys. It is not started yet.
    ///
    /// # Errors
    /// [`TestnetError::NoSuchNode`], or what the system says.
    pub fn add(&mut self, of: usize) -> Result<(usize, AddedKeys), TestnetError> {
        let (state, keys) = create::add(&self.layout, &self.state, of)?;
        self.state.nodes.push(state);
        self.state.write(&self.layout)?;
        Ok((self.len() - 1, keys))
    }

    /// Starts one node on its own ports.
    ///
    /// # Errors
    /// [`TestnetError::Running`], [`TestnetError::PortTaken`], or what the system says.
    pub fn start(&mut self, node: usize) -> Result<(), TestnetError> {
        let ports = self.node(node)?.ports;
        if let Some(process) = self.process(node).filter(|process| process.is_alive()) {
            return Err(TestnetError::Running { node, pid: process.pid });
        }
        for (what, port) in ports.each() {
            self.held.retain(|held| ports::port_of(held).ok() != Some(port));
            drop(ports::bind(port).map_err(|_| TestnetError::PortTaken { node, what, port })?);
        }
        let mut arguments = vec!["node", "run"];
        let tied = self.lifetime == Lifetime::WithStarter;
        if tied {
            arguments.push("--stop-with-stdin");
        }
        arguments.push("--config");
        let (config, log) = (self.layout.config(node), self.layout.log(node));
        let started = Process::start(&self.state.binary, &arguments, &config, &log, tied);
        let (process, child) =
            started.map_err(|error| TestnetError::Process { node, what: "start", error })?;
        if tied {
            self.children.insert(node, child);
        }
        self.remember(node, Some(process))
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// [`TestnetError::NotRunning`], or what the system says.
    pub async fn kill(&mut self, node: usize) -> Result<(), TestnetError> {
        self.node(node)?;
        let Some(process) = self.process(node).filter(|process| process.is_alive()).cloned() else {
            return Err(TestnetError::NotRunning { node });
        };
        process.kill().map_err(|error| TestnetError::Process { node, what: "kill", error })?;
        gone(&process, STOP_WITHIN).await;
        self.remember(node, None)
    }

    /// SIGSTOP: the node stands still.
    ///
    /// # Errors
    /// [`TestnetError::NotRunning`], or what the system says.
    pub fn freeze(&self, node: usize) -> Result<(), TestnetError> {
        let process = self.alive(node)?;
        process.freeze().map_err(|error| TestnetError::Process { node, what: "freeze", error })
    }

    /// SIGCONT: the node goes on.
    ///
    /// # Errors
    /// [`TestnetError::NotRunning`], or what the system says.
    pub fn thaw(&self, node: usize) -> Result<(), TestnetError> {
        let process = self.alive(node)?;
        process.thaw().map_err(|error| TestnetError::Process { node, what: "thaw", error })
    }

    /// SIGTERM, and SIGKILL if the node is not gone in time.
    ///
    /// # Errors
    /// [`TestnetError::NotRunning`], or what the system says.
    pub async fn stop(&mut self, node: usize) -> Result<(), TestnetError> {
        self.node(node)?;
        let Some(process) = self.process(node).filter(|process| process.is_alive()).cloned() else {
            return Err(TestnetError::NotRunning { node });
        };
        process.terminate().map_err(|error| TestnetError::Process { node, what: "terminate", error })?;
        if gone(&process, STOP_WITHIN).await { self.remember(node, None) } else { self.kill(node).await }
    }

    /// SIGTERM to all, SIGKILL to those that are not gone in time. How many had to be killed.
    ///
    /// # Errors
    /// What the system says.
    pub async fn down(&mut self) -> Result<usize, TestnetError> {
        let running: Vec<(usize, Process)> = self
            .numbers()
            .filter_map(|node| Some((node, self.process(node).filter(|process| process.is_alive())?.clone())))
            .collect();
        for (node, process) in &running {
            process.terminate().map_err(|error| TestnetError::Process {
                node: *node,
                what: "terminate",
                error,
            })?;
        }
        let begun = Instant::now();
        let mut killed = 0;
        for (node, process) in &running {
            if !gone(process, STOP_WITHIN.saturating_sub(begun.elapsed())).await {
                process.kill().map_err(|error| TestnetError::Process { node: *node, what: "kill", error })?;
                gone(process, STOP_WITHIN).await;
                killed += 1;
            }
        }
        self.children.clear();
        for node in self.numbers() {
            if let Some(state) = self.state.nodes.get_mut(node) {
                state.process = None;
            }
        }
        self.state.write(&self.layout)?;
        Ok(killed)
    }

    /// SIGKILL to all, and waits until they are gone: for ways out that cannot fail.
    pub fn kill_all(&mut self) {
        let processes: Vec<&Process> =
            self.state.nodes.iter().filter_map(|node| node.process.as_ref()).collect();
        for process in &processes {
            let _already_gone = process.kill();
        }
        let begun = Instant::now();
        while processes.iter().any(|process| process.is_alive()) && begun.elapsed() < STOP_WITHIN {
            std::thread::sleep(POLL);
        }
        self.children.clear();
    }

    /// Removes the folder with all that the nodes stored. The network must be down.
    ///
    /// # Errors
    /// [`TestnetError::AlreadyUp`], or what the system says.
    pub fn delete(self) -> Result<(), TestnetError> {
        let running: Vec<usize> = self.numbers().filter(|node| self.is_running(*node)).collect();
        if !running.is_empty() {
            return Err(TestnetError::AlreadyUp { dir: self.layout.dir().to_owned(), nodes: running });
        }
        std::fs::remove_dir_all(self.layout.dir()).map_err(TestnetError::io(self.layout.dir()))
    }

    /// Asks every node how it is.
    ///
    /// # Errors
    /// [`TestnetError`] if the folder is damaged.
    pub async fn reports(&self) -> Result<Vec<NodeReport>, TestnetError> {
        Ok(Probe::new(&self.layout, &self.state)?.reports(&self.state).await)
    }

    /// Waits until every node votes in one view and is connected to all the others.
    ///
    /// # Errors
    /// [`TestnetError::NotReady`] about the first node that is not.
    pub async fn wait_until_in_consensus(&self, within: Duration) -> Result<(), TestnetError> {
        let begun = Instant::now();
        let probe = Probe::new(&self.layout, &self.state)?;
        loop {
            let reports = probe.reports(&self.state).await;
            let others = self.len() - 1;
            let mut view = None;
            let mut late = None;
            for report in &reports {
                let reason = match report.in_consensus(others) {
                    Ok(found) if *view.get_or_insert(found) == found => continue,
                    Ok(found) => format!("is in view {found}, others are not"),
                    Err(reason) => reason,
                };
                // One that has ended is why the others wait.
                if late.is_none() || !report.running {
                    late = Some((report, reason));
                }
            }
            let Some((report, reason)) = late else { return Ok(()) };
            self.patience(report, reason, begun, within)?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until one node answers, and all that run are connected to each other, whether or not these are a quorum.
    ///
    /// # Errors
    /// [`TestnetError::NotReady`].
    pub async fn wait_for(&self, node: usize, within: Duration) -> Result<(), TestnetError> {
        self.node(node)?;
        let begun = Instant::now();
        let probe = Probe::new(&self.layout, &self.state)?;
        loop {
            let reports = probe.reports(&self.state).await;
            let others = reports.iter().filter(|report| report.running && report.node != node).count();
            // The others too: each knows of its own ends of the links alone.
            let linked = |report: &&NodeReport| report.running || report.node == node;
            let late = reports.iter().filter(linked).find_map(|it| Some((it, it.connected(others).err()?)));
            let Some((report, reason)) = late else { return Ok(()) };
            self.patience(report, reason, begun, within)?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// An error once it has been waited for long enough, or in vain.
    fn patience(
        &self,
        report: &NodeReport,
        reason: String,
        begun: Instant,
        within: Duration,
    ) -> Result<(), TestnetError> {
        // A process that ended does not come back.
        if begun.elapsed() < within && report.running {
            return Ok(());
        }
        let log = self.layout.log(report.node);
        let tail = tail(&log);
        Err(TestnetError::NotReady {
            node: report.node,
            waited_s: begun.elapsed().as_secs(),
            reason,
            log,
            tail,
        })
    }

    fn numbers(&self) -> core::ops::Range<usize> {
        0..self.len()
    }

    fn node(&self, node: usize) -> Result<&NodeState, TestnetError> {
        self.state.nodes.get(node).ok_or(TestnetError::NoSuchNode { node, last: self.len() - 1 })
    }

    fn process(&self, node: usize) -> Option<&Process> {
        self.state.nodes.get(node)?.process.as_ref()
    }

    fn alive(&self, node: usize) -> Result<&Process, TestnetError> {
        self.node(node)?;
        let process = self.process(node).filter(|process| process.is_alive());
        process.ok_or(TestnetError::NotRunning { node })
    }

    fn remember(&mut self, node: usize, process: Option<Process>) -> Result<(), TestnetError> {
        let last = self.len() - 1;
        self.state.nodes.get_mut(node).ok_or(TestnetError::NoSuchNode { node, last })?.process = process;
        self.state.write(&self.layout)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::WithStarter {
            self.kill_all();
        }
    }
}

/// Reads a network without the right to change it.
///
/// # Errors
/// [`TestnetError::NoTestnet`], or what is wrong with the state file.
pub fn look(dir: &Path) -> Result<(Layout, State), TestnetError> {
    let layout = Layout::new(dir);
    let state = State::read(&layout)?;
    Ok((layout, state))
}

/// The last lines of a log, bounded however long it is.
#[must_use]
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n"))
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}

fn lock(layout: &Layout) -> Result<File, TestnetError> {
    let path = layout.lock();
    let file = File::options().create(true).append(true).open(&path).map_err(TestnetError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(TestnetError::Busy { dir: layout.dir().to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(TestnetError::Io { path, error }),
    }
}

/// Waits until a process is gone.
async fn gone(process: &Process, within: Duration) -> bool {
    let begun = Instant::now();
    while process.is_alive() {
        if begun.elapsed() >= within {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}
