//! One process: started, known again, signalled.
//!
//! A process id alone is no identity: after a crash and a while it belongs to somebody else's process. So the birth of the
//! process stands beside it, and nothing is signalled whose birth differs. A process that ended but was not yet
//! reaped does not count as alive.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

/// A process, known by its id and its birth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it was born, as the system tells it; opaque.
    pub born: String,
}

impl Process {
    /// Starts `binary` with `arguments` in its own process group (no Ctrl-C of our terminal reaches it), its output
    /// appended to `log`. With `tied` its standard input is a pipe whose other end the child handle holds.
    pub(crate) fn start(
        binary: &Path,
        arguments: &[&str],
        config: &Path,
        log: &Path,
        tied: bool,
    ) -> std::io::Result<(Self, Child)> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(binary);
        command.args(arguments).arg(config);
        command.stdin(if tied { Stdio::piped() } else { Stdio::null() });
        command.env("NO_COLOR", "1"); // the log is a file
        command.stdout(out.try_clone()?).stderr(out);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn()?;
        let pid = child.id();
        // Ended already: the log says why, and no birth matches.
        let born = birth(pid).unwrap_or_default();
        Ok((Self { pid, born }, child))
    }

    /// Does this very process run?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.reap();
        birth(self.pid).is_some_and(|born| born == self.born)
    }

    /// SIGKILL: no chance to clean up. Nothing happens to a process that is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> std::io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// SIGTERM: asks it to stop.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&self) -> std::io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: it stands still, and its connections stay up.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn freeze(&self) -> std::io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&self) -> std::io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> std::io::Result<()> {
        match self.id() {
            Some(pid) if self.is_alive() => match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
            _ => Ok(()),
        }
    }

    /// If it is our child and has ended, takes its exit status, so that no zombie stays.
    fn reap(&self) {
        if let Some(pid) = self.id() {
            let _not_ours_or_not_ended = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }
}

/// When a process was born: boot and clock ticks since. None if it does not run, or has ended and waits to be reaped.
#[cfg(target_os = "linux")]
fn birth(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; state and start time are fields 3 and 22 (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // The first thread is gone before the others are, and its files with the last one only: the ports are still held.
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let ended = matches!(state, "Z" | "X") && threads() <= 1;
    (!ended).then(|| format!("{}:{ticks}", boot.trim()))
}

/// When a process was born. None if it does not run, or has ended and waits to be reaped.
#[cfg(not(target_os = "linux"))]
fn birth(pid: u32) -> Option<String> {
    let ps = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(ps.stdout).ok()?;
    let (state, start) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (Process, Child) {
        let dir = tempfile::tempdir().unwrap();
        Process::start(Path::new("/bin/cat"), &[], Path::new("-"), &dir.path().join("log"), true).unwrap()
    }

    #[test]
    fn a_process_is_known_by_its_birth_too() {
        let (process, child) = sleeper();
        assert!(process.is_alive());
        let reused = Process { born: "another".to_owned(), ..process.clone() };
        assert!(!reused.is_alive());
        reused.kill().unwrap();
        assert!(process.is_alive(), "a process of another birth is not signalled");
        drop(child);
    }

    #[test]
    fn killed_is_not_alive_and_killing_again_is_no_error() {
        let (process, _child) = sleeper();
        process.kill().unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        process.kill().unwrap();
    }

    #[test]
    fn a_tied_process_sees_its_starter_go() {
        let (process, mut child) = sleeper();
        drop(child.stdin.take());
        while process.is_alive() {
            std::thread::yield_now();
        }
    }
}
