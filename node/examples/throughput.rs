//! Four nodes in one process on loopback: latency of one transaction when idle, then sustained throughput.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    reason = "a measurement, no product"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use epione_node::config::{Config, Grpc, LogFormat};
use epione_node::driver::Settings;
use epione_node::handle::Level;
use epione_node::network::{Limits as NetworkLimits, Peer, PeerIndex};
use epione_node::run::Node;
use epione_types::id::OrgId;
use epione_types::{TimestampMs, ValidatorIndex};
use futures::StreamExt as _;
use support::{genesis, id16, key, patient_call, sign};

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count: usize = std::env::args().nth(1).map_or(20_000, |text| text.parse().unwrap());
    let in_flight: usize = std::env::args().nth(2).map_or(1_000, |text| text.parse().unwrap());
    epione_node::run::init_logging("warn,epione_node=info", LogFormat::Text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(4);
    let mut nodes: Vec<Node> = Vec::new();
    for me in 0..4 {
        let validators = genesis.validators.validators.iter().enumerate().filter(|(index, _)| *index != me);
        let peers = validators.map(|(index, validator)| Peer {
            index: PeerIndex(u16::try_from(index).unwrap()),
            key: validator.network_key.0,
            address: nodes.get(index).map(|node| node.listen_address().into()),
        });
        let any = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            genesis: genesis.clone(),
            me: ValidatorIndex(u16::try_from(me).unwrap()),
            data_dir: dir.path().join(format!("node{me}")),
            voting_key_file: dir.path().join(format!("voting{me}.key")),
            voting_key: key(&format!("hospital{me}.validator")),
            network_key: key(&format!("hospital{me}.network")),
            grpc: Grpc {
                listen: any,
                certificate: Vec::new(),
                key: Vec::new(),
                client_ca: None,
                connections_per_address: 128,
            },
            operator: any,
            listen: any,
            peers: peers.collect(),
            network_limits: NetworkLimits::default(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            settings: Settings::default(),
            pipeline: 1,
            store_cache_bytes: 64 << 20,
            inbox: 1_024,
        };
        nodes.push(Node::start(config).await.unwrap());
    }
    let chain = nodes[0].handle().chain_id();
    let tx = |number: usize| {
        let admin = format!("hospital{}.admin", number % 4);
        sign(chain, &[&admin], number as u64, TimestampMs(now() + 3_600_000), patient_call(number))
    };
    let org = |node: usize| OrgId(id16(&format!("hospital{node}")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for level in [Level::Committed, Level::Certified] {
        let mut latencies = Vec::new();
        for i in 0..100 {
            let tx = tx(10_000_000 + i + if level == Level::Certified { 1_000 } else { 0 });
            let begun = Instant::now();
            nodes[i % 4].handle().submit(tx, org(i % 4), level).await.unwrap();
            latencies.push(begun.elapsed());
        }
        latencies.sort();
        println!("idle {level:?}: p50 {:?} p99 {:?}", latencies[50], latencies[98]);
    }
    let txs: Vec<_> = (0..count).map(tx).collect();
    println!("signed {count}, {} bytes each", txs[0].encoded_len());
    let begun = Instant::now();
    let mut clients = Vec::new();
    for (node, running) in nodes.iter().enumerate() {
        let handle = running.handle().clone();
        let mine: Vec<_> = txs.iter().skip(node).step_by(4).cloned().collect();
        let organisation = org(node);
        clients.push(tokio::spawn(async move {
            let mut latencies: Vec<Duration> = futures::stream::iter(mine)
                .map(|tx| {
                    let handle = handle.clone();
                    async move {
                        let begun = Instant::now();
                        loop {
                            match handle.submit(tx.clone(), organisation, Level::Committed).await {
                                Ok(_) => return begun.elapsed(),
                                Err(error) => {
                                    eprintln!("{error}");
                                    tokio::time::sleep(Duration::from_millis(200)).await;
                                }
                            }
                        }
                    }
                })
                .buffer_unordered(in_flight)
                .collect()
                .await;
            latencies.sort();
            latencies
        }));
    }
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    let took = begun.elapsed();
    all.sort();
    let status = nodes[0].handle().status();
    println!(
        "{count} in {took:?}: {:.0} tx/s; latency p50 {:?} p99 {:?}; {} blocks, view {}",
        count as f64 / took.as_secs_f64(),
        all[all.len() / 2],
        all[all.len() * 99 / 100],
        nodes[0].handle().progress().borrow().height,
        status.driver.waiting.view,
    );
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
