//! Four validators on loopback in one process: the latency of one transaction when idle, then sustained throughput.
//!
//! `cargo bench -p epione-benches --bench throughput [-- --txs 20000 --in-flight 500 --pipeline 1]`
//!
//! Whole nodes with real signatures, links and syncs; transactions enter behind the API, each hospital's through its
//! own node. `--in-flight` is per node, and less than an organisation's share of its mempool. `--profile bench-fast` builds faster and is as fast.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics is a broken benchmark")]

use std::time::{Duration, Instant};

use epione_benches::network::{NODES, start, submit};
use epione_benches::{Random, Scratch, option};
use epione_client::tx::now;
use epione_node::config::LogFormat;
use epione_node::handle::Level;
use epione_node::run;
use epione_types::SignedTx;
use futures::StreamExt as _;

const IDLE: usize = 100;

fn print(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |of_hundred: usize| latencies[latencies.len() * of_hundred / 100].as_secs_f64() * 1e3;
    println!("{what:<24} p50 {:>7.1} ms   p99 {:>7.1} ms", at(50), at(99));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (count, in_flight) = (option("--txs", 20_000), option("--in-flight", 500));
    run::init_logging("warn", LogFormat::Text).expect("the first to log");
    let scratch = Scratch::new("throughput");
    let hospitals = start(&scratch, option("--pipeline", 1)).await;
    let mut random = Random(now().0);

    let first = hospitals[0].patient(&mut random);
    submit(hospitals[0].handle(), hospitals[0].organisation, first, Level::Certified).await;
    for (name, level) in [("idle, committed", Level::Committed), ("idle, certified", Level::Certified)] {
        let mut latencies = Vec::new();
        for hospital in hospitals.iter().cycle().take(IDLE) {
            let tx = hospital.patient(&mut random);
            latencies.push(submit(hospital.handle(), hospital.organisation, tx, level).await);
        }
        print(name, latencies);
    }

    let mut loads = Vec::new();
    for hospital in &hospitals {
        let txs: Vec<SignedTx> = (0..count / NODES).map(|_| hospital.patient(&mut random)).collect();
        loads.push((hospital.handle().clone(), hospital.organisation, txs));
    }
    println!("{count} transactions of {} bytes", loads[0].2.first().map_or(0, SignedTx::encoded_len));
    let begun = Instant::now();
    let clients = loads.into_iter().map(|(handle, organisation, txs)| {
        tokio::spawn(async move {
            let submit = |tx: SignedTx| {
                let handle = handle.clone();
                async move { submit(&handle, organisation, tx, Level::Committed).await }
            };
            futures::stream::iter(txs).map(submit).buffer_unordered(in_flight).collect::<Vec<_>>().await
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.expect("a client that ends"));
    }
    let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    print(&format!("loaded, {rate:.0} tx/s"), latencies);
    for hospital in hospitals {
        hospital.node.shutdown().await.expect("a node that stops");
    }
}
