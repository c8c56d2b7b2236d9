//! The lanes and the driver, each on an operating-system thread of its own: nothing here blocks an async worker.
//!
//! Jobs wait in queues as long as the driver's design allows ([`jobs_max`]): it must never wait for a worker that waits for
//! it, so a queue that is full is a defect, which ends the node rather than growing. A thread that panics says so with its
//! last breath, and voting stops. Tested below and by `tests/node.rs`.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use epione_ledger::disk::Disk;
use epione_types::Verifier;
use tokio::sync::mpsc;

use crate::driver::{Input, jobs_max};
use crate::ports::{Answer, Job, Lane, Workers};
use crate::snapshots::SnapshotLane;
use crate::workers::{ServeLane, VerifyLane, WriteLane};

/// The driver's end: a queue for each lane. Dropping it lets the threads finish.
#[derive(Debug)]
pub struct LaneThreads {
    verify: SyncSender<Job>,
    write: SyncSender<Job>,
    serve: SyncSender<Job>,
    snapshot: SyncSender<Job>,
}

impl Workers for LaneThreads {
    fn start(&mut self, job: Job) {
        let lane = job.lane();
        let queue = match lane {
            Lane::Verify => &self.verify,
            Lane::Write => &self.write,
            Lane::Serve => &self.serve,
            Lane::Snapshot => &self.snapshot,
        };
        let full = matches!(queue.try_send(job), Err(TrySendError::Full(_)));
        // A thread that is gone has said why.
        assert!(!full, "more jobs are under way in lane {lane:?} than the driver's design allows");
    }
}

/// Says that its thread panicked.
struct LastBreath {
    name: &'static str,
    answers: mpsc::Sender<Input>,
}

impl Drop for LastBreath {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = format!("the {} thread panicked; this is a defect, see the log", self.name);
            drop(self.answers.blocking_send(Input::Answer(Answer::Failed(why))));
        }
    }
}

/// Does jobs that wait, and tells each answer.
type Perform = Box<dyn FnMut(Vec<Job>, &mut dyn FnMut(Answer)) + Send>;

fn one_by_one(perform: impl FnMut(Job) -> Option<Answer> + Send + 'static) -> Perform {
    let mut perform = perform;
    Box::new(move |jobs, answer| jobs.into_iter().filter_map(&mut perform).for_each(answer))
}

/// Starts the four threads.
///
/// # Errors
/// The operating system gives no thread.
pub fn start<V, D, S>(
    mut verify: VerifyLane<V, D>,
    mut write: WriteLane,
    mut serve: ServeLane,
    mut snapshots: SnapshotLane<V, S>,
    answers: &mpsc::Sender<Input>,
) -> std::io::Result<(LaneThreads, Vec<JoinHandle<()>>)>
where
    V: Verifier + Send + 'static,
    D: Disk + 'static,
    S: Disk + 'static,
{
    let spawn = |name: &'static str, lane, mut perform: Perform| {
        let most = jobs_max(lane);
        let (jobs, queue): (_, Receiver<Job>) = sync_channel(most);
        let last_breath = LastBreath { name, answers: answers.clone() };
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(first) = queue.recv() {
                let mut waiting: Vec<Job> =
                    core::iter::once(first).chain(queue.try_iter().take(most)).collect();
                // A batch, for which consensus waits, goes before transactions that wait at the door.
                waiting.sort_by_key(|job| !matches!(job, Job::Validate { .. }));
                perform(waiting, &mut |answer| {
                    // Nobody takes it any more: the node stops.
                    drop(last_breath.answers.blocking_send(Input::Answer(answer)));
                });
            }
        })?;
        Ok::<_, std::io::Error>((jobs, thread))
    };
    let (verify, verifying) = spawn("verify", Lane::Verify, one_by_one(move |job| verify.perform(job)))?;
    let (write, writing) =
        spawn("write", Lane::Write, Box::new(move |jobs, answer| write.perform(jobs, answer)))?;
    let (serve, serving) = spawn("serve", Lane::Serve, one_by_one(move |job| serve.perform(job)))?;
    let (snapshot, shelving) =
        spawn("snapshot", Lane::Snapshot, one_by_one(move |job| snapshots.perform(job)))?;
    Ok((LaneThreads { verify, write, serve, snapshot }, vec![verifying, writing, serving, shelving]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::Height;

    fn read() -> Job {
        Job::ReadBlocks { peer: epione_types::ValidatorIndex(0), from: Height(1), to: Height(1) }
    }

    #[test]
    #[should_panic(expected = "more jobs are under way in lane Serve than the driver's design allows")]
    fn a_lane_grows_no_longer_than_its_queue() {
        let ((verify, _v), (write, _w), (serve, _s)) = (sync_channel(1), sync_channel(1), sync_channel(2));
        let mut lanes = LaneThreads { verify, write, serve, snapshot: sync_channel(1).0 };
        for _ in 0..3 {
            lanes.start(read());
        }
    }

    #[test]
    fn jobs_for_a_lane_that_has_ended_go_nowhere() {
        let (verify, write, serve) = (sync_channel(1).0, sync_channel(1).0, sync_channel(1).0);
        let mut lanes = LaneThreads { verify, write, serve, snapshot: sync_channel(1).0 };
        for _ in 0..3 {
            lanes.start(read());
        }
    }
}
