//! What process-level tests share: the binary, its output, and the certainty that no node outlives a test.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use epione_testnet::local::{self, Options};
use epione_types::Params;
use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub(crate) const EPIONE: &str = env!("CARGO_BIN_EXE_epione");

/// Patience with processes on a machine that does other things too. Nothing waits this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers from a seed: the fates of a run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// At least `from`, below `to` (splitmix64).
    pub(crate) fn draw(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from)
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The last line of standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.exit, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the command ended with this code and said these words.
    #[track_caller]
    pub(crate) fn fails(self, exit: i32, words: &[&str]) -> Self {
        assert_eq!(self.exit, exit, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is not in: {}", self.stderr);
        }
        self
    }
}

/// The binary in an environment of its own.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(EPIONE);
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("EPIONE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn epione(args: &[&str]) -> Output {
    finish(&mut command(args))
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output {
        exit: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits for a condition; a panic with `what` if it does not come.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Options of a network that runs the binary under test, patient with slow machines.
pub(crate) fn options(nodes: usize) -> Options {
    Options { nodes, binary: EPIONE.into(), params: Params::default() }
}

/// A testnet that `epione testnet up` started; gone, with its folder, when the test ends.
pub(crate) struct Testnet {
    folder: TempDir,
}

impl Testnet {
    /// Four nodes, or another number.
    pub(crate) fn up(nodes: usize) -> Self {
        let net = Self { folder: tempfile::tempdir().unwrap() };
        let nodes = nodes.to_string();
        net.run(&["testnet", "up", "-n", &nodes, "--wait", "120"], "--dir").ok();
        net
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("net")
    }

    /// Runs a command with the testnet's folder behind `flag`.
    pub(crate) fn run(&self, args: &[&str], flag: &str) -> Output {
        let dir = self.dir();
        epione(&[args, &[flag, arg(&dir)]].concat())
    }

    /// Runs a client's command as somebody.
    pub(crate) fn as_(&self, who: &str, args: &[&str]) -> Output {
        let dir = self.dir();
        epione(&[args, &["--json", "--as", who, "--testnet", arg(&dir)]].concat())
    }

    /// A file beside the testnet.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A folder beside the testnet.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        if let Ok((_, state)) = local::look(&self.dir()) {
            for process in state.nodes.iter().filter_map(|node| node.process.as_ref()) {
                let _gone = process.kill();
            }
        }
    }
}

/// Command lines of all processes that name this folder.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let all = match std::fs::read_dir("/proc/self") {
        Ok(_) => std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .collect(),
        Err(_) => {
            let ps = Command::new("ps").args(["-axo", "args="]).output().unwrap();
            String::from_utf8_lossy(&ps.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
        }
    };
    all.into_iter().filter(|line| line.contains(arg(folder))).collect()
}

/// A child that does not outlive the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
