//! What a deeper pipeline gains (decision 2): latency of a commit in virtual time, by the distance between validators.
//!
//! Nothing here takes time but the network and, 5 ms a round, syncs and work; what more blocks cost a machine is shown by the
//! `throughput` example. `cargo run --profile bench-fast -p epione-node --example pipeline`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement, no product")]

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Cluster, SECOND};

/// For how long transactions come, in ms of virtual time.
const SPAN: u64 = 20 * SECOND;

fn main() {
    println!("ms apart | tx/s | pipeline | mean ms | p50 | p99 | blocks");
    for delay in [5, 25, 50] {
        for every in [200, 50, 10, 2] {
            for pipeline in [1, 2, 4, 8] {
                row(delay, every, pipeline);
            }
        }
    }
}

fn row(delay: u64, every: u64, pipeline: u64) {
    let mut cluster = Cluster::apart(4, delay, pipeline);
    let (mut open, mut took) = (Vec::new(), Vec::new());
    let (mut now, mut next, mut number) = (0, 0, 0);
    let mut random: u64 = 88_172_645_463_325_252;
    while now < SPAN || !open.is_empty() {
        while next <= now && now < SPAN {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            next += 1 + random % (2 * every);
            number += 1;
            let node = usize::try_from(random >> 20).unwrap() % 4;
            let tx = cluster.patient(number);
            open.extend(cluster.hand_in(node, vec![tx]).into_iter().map(|id| (now, node, id)));
        }
        cluster.run(5);
        now += 5;
        open.retain(|(since, node, id)| {
            let waits = cluster.receipt(*node, id).is_none();
            took.extend((!waits).then_some(now - since));
            waits
        });
        assert!(now < 10 * SPAN, "it goes on");
    }
    took.sort_unstable();
    let mean = took.iter().sum::<u64>() / took.len() as u64;
    let at = |percent: usize| took[took.len() * percent / 100];
    let rate = took.len() as u64 * SECOND / SPAN;
    let blocks = cluster.node(0).head().height;
    println!("{delay:8} | {rate:4} | {pipeline:8} | {mean:7} | {:3} | {:3} | {blocks}", at(50), at(99));
}
