//! A disk that can be full: a small file system of its own where one may be mounted, else a limit on the size of files.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failed;

/// Which way it is made.
#[derive(Debug)]
enum Way {
    /// A tmpfs of this many MiB, mounted here. Filled with a file.
    Mount { at: PathBuf, mib: u64 },
    /// Nodes run through this script, which has them survive the limit; no file may grow past it.
    Limit { script: PathBuf },
}

/// The disk of one node. Gone with this value, which must outlive the node.
#[derive(Debug)]
pub(super) struct SmallDisk(Way);

const FILLER: &str = "filler";

impl SmallDisk {
    /// Prepares it in a folder, before the network is made.
    pub(super) fn prepare(folder: &Path, mib: u64, binary: &Path) -> Result<Self, Failed> {
        let at = folder.join("disk");
        std::fs::create_dir(&at).map_err(Failed::of)?;
        let size = format!("size={mib}m,mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "epione-drill"]).arg(&at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Self(Way::Mount { at, mib }));
        }
        // A write past a limit of its size raises a signal that would end the process; ignored, the write fails.
        let script = folder.join("node.sh");
        let text = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", binary.display());
        std::fs::write(&script, text).map_err(Failed::of)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).map_err(Failed::of)?;
        Ok(Self(Way::Limit { script }))
    }

    /// What nodes are run with, if not with the binary itself.
    pub(super) fn binary(&self) -> Option<&Path> {
        match &self.0 {
            Way::Mount { .. } => None,
            Way::Limit { script } => Some(script),
        }
    }

    /// Becomes the place of a node's data, before its first start.
    pub(super) fn place(&self, data: &Path) -> Result<(), Failed> {
        match &self.0 {
            Way::Mount { at, .. } => std::os::unix::fs::symlink(at, data).map_err(Failed::of),
            Way::Limit { .. } => Ok(()),
        }
    }

    /// For people.
    pub(super) fn way(&self) -> String {
        match &self.0 {
            Way::Mount { mib, .. } => format!("a tmpfs of {mib} MiB, mounted for the node and filled"),
            Way::Limit { .. } => {
                "mounting is not allowed here: a limit on the size of the node's files".to_owned()
            }
        }
    }

    /// Takes nothing more. The node runs, as this process, and stores there.
    pub(super) fn fill(&self, data: &Path, pid: u32) -> Result<(), Failed> {
        match &self.0 {
            Way::Mount { at, .. } => {
                let mut file = File::create(at.join(FILLER)).map_err(Failed::of)?;
                for length in [1 << 16, 1 << 12, 1] {
                    let chunk = vec![0x5a; length];
                    while file.write_all(&chunk).is_ok() {}
                }
                Ok(())
            }
            Way::Limit { .. } => limit(pid, Some(newest_log(data)?)),
        }
    }

    /// There is room again.
    pub(super) fn free(&self, pid: Option<u32>) -> Result<(), Failed> {
        match (&self.0, pid) {
            (Way::Mount { at, .. }, _) => std::fs::remove_file(at.join(FILLER)).map_err(Failed::of),
            (Way::Limit { .. }, Some(pid)) => limit(pid, None),
            (Way::Limit { .. }, None) => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Way::Mount { at, .. } = &self.0 {
            // One that is still in use goes when its last user does.
            let _gone = Command::new("umount").arg("-l").arg(at).output();
        }
    }
}

/// Length of the log that is written to now.
fn newest_log(data: &Path) -> Result<u64, Failed> {
    let file = super::stored::newest_log(data)?;
    std::fs::metadata(file).map(|file| file.len()).map_err(Failed::of)
}

/// No file of this process may be longer, or any may again.
#[cfg(target_os = "linux")]
fn limit(pid: u32, bytes: Option<u64>) -> Result<(), Failed> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // The hard limit stays as it is, so that the other may be raised again.
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).map(|_| ()).map_err(Failed::of)
}

#[cfg(not(target_os = "linux"))]
fn limit(_pid: u32, _bytes: Option<u64>) -> Result<(), Failed> {
    Err(Failed("this system has no way to fill a disk: neither a mount nor a limit from outside".to_owned()))
}
