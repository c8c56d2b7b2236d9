//! Three clinics submit through whatever node answers, nodes are killed meanwhile, and in the end the clinics' books and the
//! ledger say the same of every single submission.
//!
//! ```text
//! clinic ─▶ SDK: the same bytes again, at the next node ─▶ answer ─▶ its book
//!             ▲ after a drawn number of answers a drawn node gets SIGKILL, and comes back after a drawn number more
//! then: every line of every book has that one receipt on all four nodes; the ledgers hold these and nothing else
//! ```
//!
//! One in sixteen is sent when it is about to expire: it commits, or it is proven that it never will. `EPIONE_FAILOVER_COUNT`
//! (10,000 submissions) and `EPIONE_FAILOVER_SEED` (drawn, printed) repeat a run: the seed decides who is
//! killed and when, counted in answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

#[path = "support/clinic.rs"]
mod clinic;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clinic::{Books, Clinic, Nodes, Orders};
use epione_client::tx;
use epione_testnet::local::{Lifetime, Network};
use support::{PATIENCE, number, options};
use tokio::task::JoinSet;

const CLINICS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clinics_books_and_the_ledger_agree_on_every_single_submission() {
    let count = number("EPIONE_FAILOVER_COUNT").unwrap_or(10_000).div_ceil(CLINICS as u64);
    let total = count * CLINICS as u64;
    let seed = number("EPIONE_FAILOVER_SEED").unwrap_or_else(|| tx::now().0);
    println!("EPIONE_FAILOVER_SEED={seed} EPIONE_FAILOVER_COUNT={total}");
    let mut dice = support::Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut network =
        Network::up(&folder.path().join("net"), &options(4), Lifetime::WithStarter, PATIENCE).await.unwrap();
    let nodes = Nodes::of(network.layout(), network.state());
    let mut clinics = Vec::new();
    for first in 0..CLINICS {
        clinics.push(Clinic::enrol(&nodes, first).await);
    }
    let (begun, answered) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut working = JoinSet::new();
    for clinic in clinics {
        working.spawn(clinic.work(Orders::Count(count), answered.clone()));
    }
    // One is killed, and back before the next: three of four go on.
    let (mut next, mut kills) = (dice.draw(100, 300), 0);
    let reached = async |wanted: u64| {
        while answered.load(Ordering::Relaxed) < wanted.min(total) {
            assert!(
                begun.elapsed() < PATIENCE * 10,
                "{} of {total} answers",
                answered.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    while next + 500 < total {
        reached(next).await;
        let victim = usize::try_from(dice.draw(0, 4)).unwrap();
        network.kill(victim).await.unwrap();
        let back = next + dice.draw(50, 400);
        reached(back).await;
        network.start(victim).unwrap();
        network.wait_for(victim, PATIENCE).await.unwrap();
        println!(
            "node {victim} killed after {next} answers, back after {}",
            answered.load(Ordering::Relaxed)
        );
        kills += 1;
        next = answered.load(Ordering::Relaxed) + dice.draw(200, 600);
    }
    let mut lines = Vec::new();
    while let Some(book) = working.join_next().await {
        lines.extend(book.unwrap());
    }
    let took = begun.elapsed();
    assert_eq!(lines.len() as u64, total);
    assert!(kills > 0, "nobody was killed");

    // All four hold the same, and it is what the books say.
    let books = Books::of(lines);
    assert!(books.late.len() as u64 * 100 <= total, "{} of {total} asked too late", books.late.len());
    for node in 0..network.len() {
        books.hold_at(node, &nodes.admin_at(node)).await;
    }
    println!(
        "{total} submissions in {took:?}, {kills} kills: {} committed once, the same on four nodes; {} proven expired, {} too late for a proof",
        books.committed.len(),
        books.expired.len(),
        books.late.len()
    );
    network.down().await.unwrap();
}
