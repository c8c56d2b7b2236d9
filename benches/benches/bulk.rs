//! Bulk registration: through the API of one node, and past it, so that one sees which of API and consensus sets the pace.
//!
//! `cargo bench -p epione-benches --bench bulk [-- --txs 4000 --in-flight 500 --rounds 3]`
//!
//! Four nodes, the client and its signatures in one process. Each round registers as many patients in each of three ways,
//! one after the other: over one `SubmitStream` (TLS, the SDK), at the same node's handle, and at all four nodes' handles.
//! Transactions are signed in advance; `--in-flight` is of all nodes together.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics is a broken benchmark")]

use std::time::Instant;

use epione_benches::network::{Hospital, NODES, start, submit};
use epione_benches::{Random, Scratch, load, median, on_processors, option};
use epione_client::tx::now;
use epione_client::{Config, EpioneClient, Trust, TxStatus, Wait};
use epione_node::config::LogFormat;
use epione_node::handle::Level;
use epione_node::run;
use epione_types::{Outcome, SignedTx};
use futures::StreamExt as _;

/// Over one stream.
async fn by_stream(client: &EpioneClient, txs: Vec<SignedTx>, in_flight: usize) -> f64 {
    let (count, begun) = (txs.len(), Instant::now());
    let (sink, mut answers) = client.submit_stream(Wait::Committed, in_flight);
    let sending = tokio::spawn(async move {
        for tx in txs {
            sink.send(tx).await.expect("somebody who reads the answers");
        }
    });
    let mut committed = 0;
    while let Some(answer) = answers.next().await {
        let status = answer.result.expect("an outcome");
        assert!(
            matches!(&status, TxStatus::Committed(receipt) if receipt.outcome == Outcome::Ok),
            "{status:?}"
        );
        committed += 1;
    }
    sending.await.expect("all sent");
    assert_eq!(committed, count);
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Behind the API of so many nodes.
async fn by_handle(hospitals: &[Hospital], txs: Vec<SignedTx>, in_flight: usize) -> f64 {
    let (count, begun) = (txs.len(), Instant::now());
    let nodes = hospitals.len();
    let clients = txs.chunks(count.div_ceil(nodes)).zip(hospitals).map(|(txs, hospital)| {
        let (handle, organisation, txs) = (hospital.handle().clone(), hospital.organisation, txs.to_vec());
        tokio::spawn(async move {
            let submit = |tx: SignedTx| {
                let handle = handle.clone();
                async move { submit(&handle, organisation, tx, Level::Committed).await }
            };
            let done = futures::stream::iter(txs).map(submit).buffer_unordered(in_flight / nodes);
            done.count().await
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        client.await.expect("a client that ends");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (count, in_flight) = (option("--txs", 4_000), option("--in-flight", 500));
    run::init_logging("warn", LogFormat::Text).expect("the first to log");
    let scratch = Scratch::new("bulk");
    let hospitals = start(&scratch, 1).await;
    let api = hospitals[0].serve().await;
    let trust = Trust::new(hospitals[0].handle().genesis()).expect("a genesis");
    let config = Config::new(vec![api.url()], api.ca.clone(), trust, hospitals[0].admin.clone());
    let client = EpioneClient::connect(config).await.expect("a connection");
    let mut random = Random(now().0);
    let mut txs =
        |count: usize| -> Vec<SignedTx> { (0..count).map(|_| hospitals[0].patient(&mut random)).collect() };
    by_stream(&client, txs(200), in_flight).await; // all links are up
    by_handle(&hospitals, txs(200), in_flight).await;

    println!("bulk registration, {count} transactions each, {in_flight} in flight; load {}", load());
    let mut rates = [const { Vec::new() }; 3];
    let (begun, processors) = (Instant::now(), on_processors());
    for _ in 0..option("--rounds", 3) {
        rates[0].push(by_handle(&hospitals, txs(count), in_flight).await);
        rates[1].push(by_handle(&hospitals[..1], txs(count), in_flight).await);
        rates[2].push(by_stream(&client, txs(count), in_flight).await);
    }
    let base = median(&rates[0]);
    println!("{:<40}{:>10}{:>8}   rounds", "committed per second", "median", "ratio");
    let all = format!("at the handles of {NODES} nodes");
    for (name, rates) in
        [all.as_str(), "at one node's handle", "over one node's SubmitStream"].iter().zip(&rates)
    {
        let rounds: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("{name:<40}{:>10.0}{:>8.2}   {}", median(rates), median(rates) / base, rounds.join(" "));
    }
    let processors = (on_processors() - processors).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("load {}; this process had {processors:.2} processors", load());
    api.server.shutdown().await;
    for hospital in hospitals {
        hospital.node.shutdown().await.expect("a node that stops");
    }
}
