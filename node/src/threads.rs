//! The lanes and the driver, each on an operating-system thread of its own: nothing here blocks an async worker.
//!
//! Jobs wait in unbounded channels, because the driver must never wait for a worker that waits for it; what it starts is
//! bounded where it is decided: candidates by the mempool, batches by the window, reads by peer. A thread that panics
//! says so with its last breath, and voting stops. Tested by `tests/node.rs`.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use epione_ledger::disk::Disk;
use epione_types::Verifier;
use tokio::sync::mpsc;

use crate::driver::Input;
use crate::ports::{Answer, Candidate, Job, Lane, Workers};
use crate::workers::{ServeLane, VerifyLane, WriteLane};

/// Candidates that are checked together: more gains nothing, and what comes after them waits.
const CHECK_MAX: usize = 1_024;

/// The driver's end: a queue for each lane. Dropping it lets the threads finish.
#[derive(Debug)]
pub struct LaneThreads {
    verify: Sender<Job>,
    write: Sender<Job>,
    serve: Sender<Job>,
}

impl Workers for LaneThreads {
    fn start(&mut self, job: Job) {
        let lane = match job.lane() {
            Lane::Verify => &self.verify,
            Lane::Write => &self.write,
            Lane::Serve => &self.serve,
        };
        // A thread that is gone has said why.
        drop(lane.send(job));
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

/// Starts the three threads.
///
/// # Errors
/// The operating system gives no thread.
pub fn start<V, D>(
    mut verify: VerifyLane<V, D>,
    mut write: WriteLane,
    mut serve: ServeLane,
    answers: &mpsc::Sender<Input>,
) -> std::io::Result<(LaneThreads, Vec<JoinHandle<()>>)>
where
    V: Verifier + Send + 'static,
    D: Disk + 'static,
{
    let spawn = |name: &'static str, mut perform: Box<dyn FnMut(Vec<Job>) -> Vec<Answer> + Send>| {
        let (jobs, queue): (_, Receiver<Job>) = channel();
        let last_breath = LastBreath { name, answers: answers.clone() };
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(first) = queue.recv() {
                let waiting = core::iter::once(first).chain(queue.try_iter().take(CHECK_MAX)).collect();
                for answer in perform(waiting) {
                    // Nobody takes it any more: the node stops.
                    drop(last_breath.answers.blocking_send(Input::Answer(answer)));
                }
            }
        })?;
        Ok::<_, std::io::Error>((jobs, thread))
    };
    let each = |jobs: Vec<Job>, perform: &mut dyn FnMut(Job) -> Option<Answer>| -> Vec<Answer> {
        jobs.into_iter().filter_map(perform).collect()
    };
    let (verify, verifying) =
        spawn("verify", Box::new(move |jobs| each(in_order_of_need(jobs), &mut |job| verify.perform(job))))?;
    let (write, writing) = spawn("write", Box::new(move |jobs| each(jobs, &mut |job| write.perform(job))))?;
    let (serve, serving) = spawn("serve", Box::new(move |jobs| each(jobs, &mut |job| serve.perform(job))))?;
    Ok((LaneThreads { verify, write, serve }, vec![verifying, writing, serving]))
}

/// Batches first, for which consensus waits; then candidates, gathered: signatures are cheaper together.
fn in_order_of_need(jobs: Vec<Job>) -> Vec<Job> {
    let mut ordered = Vec::with_capacity(jobs.len());
    let mut later = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    for job in jobs {
        match job {
            Job::Check(more) => {
                candidates.extend(more);
                if candidates.len() >= CHECK_MAX {
                    later.push(Job::Check(core::mem::take(&mut candidates)));
                }
            }
            Job::CompactPool(_) => later.push(job),
            Job::Validate(_)
            | Job::Execute { .. }
            | Job::Certify(_)
            | Job::Keep(_)
            | Job::SyncStore
            | Job::ReadBlocks { .. }
            | Job::ReadBatch { .. } => ordered.push(job),
        }
    }
    if !candidates.is_empty() {
        later.push(Job::Check(candidates));
    }
    ordered.append(&mut later);
    ordered
}
