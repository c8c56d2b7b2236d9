//! How fast a node that was down comes level again: block by block, and with a snapshot in their place.
//!
//! `cargo bench -p epione-benches --bench catch_up [-- --blocks 10000 --in-flight 4 --pipeline 1 --minutes 10 --load 0]`
//!
//! Four whole nodes in one process, as in `throughput`. The last one is stopped; the others go on committing, with so many
//! transactions in flight at each, until there are so many blocks or the time is over. Then it starts, takes blocks only,
//! and is stopped when it is level; what it had on its disk when it was down is put back, and it starts again, this
//! time with snapshots. With `--load 1` the others go on meanwhile, and it is level when it is where they were when it started.
//! The goal is a ratio above ten: blocks executed per second, by those that were made per second.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics is a broken benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use epione_benches::network::{Hospital, start_with, submit};
use epione_benches::{Random, Scratch, copy_folder, load, on_processors, option};
use epione_client::tx::now;
use epione_node::config::{Config, LogFormat};
use epione_node::handle::{Level, NodeHandle};
use epione_node::run::{self, Node};
use futures::StreamExt as _;

/// Clients of all hospitals that are up; they go on until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(hospitals: &Arc<Vec<Hospital>>, in_flight: usize) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |at: usize| {
            let (hospitals, stop, committed) = (hospitals.clone(), stop.clone(), committed.clone());
            tokio::spawn(async move {
                let mut random = Random(now().0.wrapping_add(at as u64));
                let txs = futures::stream::repeat_with(|| hospitals[at].patient(&mut random));
                let open = txs.take_while(|_| core::future::ready(!stop.load(Ordering::Relaxed)));
                let submit =
                    |tx| submit(hospitals[at].handle(), hospitals[at].organisation, tx, Level::Committed);
                let done = open.map(submit).buffer_unordered(in_flight);
                done.for_each(|_| async {
                    committed.fetch_add(1, Ordering::Relaxed);
                })
                .await;
            })
        };
        let clients = (0..hospitals.len()).map(client).collect();
        Self { stop, committed, clients }
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client that ends");
        }
    }
}

/// Until it has the block, or the time is over.
async fn reach(handle: &NodeHandle, height: u64, end: Instant) -> bool {
    let mut progress = handle.progress();
    let reached = progress.wait_for(|progress| progress.height.0 >= height);
    tokio::time::timeout(end.saturating_duration_since(Instant::now()), reached)
        .await
        .is_ok_and(|it| it.is_ok())
}

/// What coming level took.
struct Came {
    opening: f64,
    took: f64,
    reached: u64,
    restarts: usize,
    processors: f64,
    /// Blocks of each second.
    seconds: Vec<u64>,
    node: Node,
}

/// Starts the node that was down, again if it wants it, until it has the block or the time is over.
async fn come_level(config: &Config, height: u64, end: Instant) -> Came {
    let (begun, before) = (Instant::now(), on_processors());
    let mut node = Node::start(config.clone()).await.expect("a node that starts");
    let (opening, mut restarts) = (begun.elapsed().as_secs_f64(), 0);
    let (mut seconds, mut last) = (Vec::new(), node.handle().status().head.height.0);
    loop {
        let next = (Instant::now() + Duration::from_secs(1)).min(end);
        let has = tokio::select! {
            has = reach(node.handle(), height, next) => has,
            () = node.ended() => {
                assert!(node.wants_restart(), "a node that goes on");
                node.shutdown().await.expect("a node that stops");
                node = Node::start(config.clone()).await.expect("a node that starts");
                restarts += 1;
                false
            }
        };
        let reached = node.handle().status().head.height.0;
        seconds.push(reached.saturating_sub(last));
        last = reached;
        if has || Instant::now() >= end {
            let took = begun.elapsed().as_secs_f64();
            let processors = on_processors().saturating_sub(before).as_secs_f64() / took;
            return Came { opening, took, reached, restarts, processors, seconds, node };
        }
    }
}

/// What was made while the node was down.
struct Made {
    /// What it has, and what is to be reached.
    had: u64,
    blocks: u64,
    per_second: f64,
    txs_of_block: f64,
}

fn print(name: &str, made: &Made, it: &Came) {
    let blocks = it.reached.saturating_sub(made.had);
    let per_second = blocks as f64 / it.took;
    println!(
        "{name:<16}{:>7.2} s (opening {:.2}, restarts {}) for {blocks} of {} blocks: {per_second:.0} blocks/s, {:.0} tx/s; ratio {:.1}; {:.2} processors",
        it.took,
        it.opening,
        it.restarts,
        made.blocks,
        per_second * made.txs_of_block,
        per_second / made.per_second,
        it.processors
    );
    println!("                blocks of each second: {:?}", it.seconds);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (blocks, in_flight) = (option("--blocks", 10_000) as u64, option("--in-flight", 4));
    let limit = Duration::from_secs(60 * option("--minutes", 10) as u64);
    run::init_logging("error", LogFormat::Text).expect("the first to log");
    let scratch = Scratch::new("catch-up");
    let mut hospitals = start_with(&scratch, |_, config| {
        config.pipeline = option("--pipeline", 1) as u64;
        config.settings.snapshots.every = 0;
        config.settings.snapshots.gap = 0;
    })
    .await;
    let mut random = Random(now().0);
    for hospital in &hospitals {
        let first = hospital.patient(&mut random);
        submit(hospital.handle(), hospital.organisation, first, Level::Certified).await;
    }
    let Hospital { node, mut config, .. } = hospitals.pop().expect("one of four");
    let had = node.handle().status().head.height.0;
    node.shutdown().await.expect("a node that stops");
    let down = scratch.path().join("down");
    copy_folder(&config.data_dir, &down);
    let hospitals = Arc::new(hospitals);
    let other = hospitals[0].handle();
    println!("load average {}; {in_flight} in flight at each of three nodes, the fourth is down", load());

    let (begun, before) = (Instant::now(), on_processors());
    let clients = Load::start(&hospitals, in_flight);
    // One snapshot, with a tenth of the blocks still to come. It is whole before anybody comes level.
    reach(other, had + blocks * 9 / 10, begun + limit * 9 / 10).await;
    let handles: Vec<NodeHandle> = hospitals.iter().map(|one| one.handle().clone()).collect();
    let snapshots = tokio::spawn(async move {
        for made in futures::future::join_all(handles.iter().map(NodeHandle::make_snapshot)).await {
            made.expect("a node that answers").expect("a snapshot");
        }
    });
    if !reach(other, had + blocks, begun + limit).await {
        println!("the time is over before all blocks are made");
    }
    let (took, committed) = (begun.elapsed().as_secs_f64(), clients.committed());
    let count = other.status().head.height.0 - had;
    let mut made = Made {
        had,
        blocks: count,
        per_second: count as f64 / took,
        txs_of_block: committed as f64 / count as f64,
    };
    println!(
        "made            {took:>7.2} s for {count} blocks: {:.1} blocks/s, {:.0} tx/s, {:.1} to a block; {:.2} processors",
        made.per_second,
        committed as f64 / took,
        made.txs_of_block,
        on_processors().saturating_sub(before).as_secs_f64() / took
    );
    let mut clients = Some(clients);
    if option("--load", 0) == 0
        && let Some(clients) = clients.take()
    {
        clients.end().await;
    }

    snapshots.await.expect("all are made");
    for (name, gap) in [("by blocks", 0), ("by a snapshot", 1_000)] {
        let height = other.status().head.height.0;
        made.blocks = height - had;
        config.settings.snapshots.gap = gap;
        let level = come_level(&config, height, Instant::now() + limit).await;
        print(name, &made, &level);
        level.node.shutdown().await.expect("a node that stops");
        // As it was when it was down. It has voted since: a benchmark may do that, nobody else.
        std::fs::remove_dir_all(&config.data_dir).expect("removed");
        copy_folder(&down, &config.data_dir);
    }
    println!("load average {}", load());
    if let Some(clients) = clients {
        clients.end().await;
    }
    let hospitals = Arc::into_inner(hospitals).expect("no client is left");
    for hospital in hospitals {
        hospital.node.shutdown().await.expect("a node that stops");
    }
}
