//! The simulator: networks of four validators, each of at least 200 certified heights under faults, per minute and core.
//!
//! `cargo bench -p epione-benches --bench simulator [-- --networks 100 --from 1]`
//!
//! The plans that `epione sim --nodes 4 --heights 200` draws from seeds, one after the other in one thread; those with real
//! signatures are left out, as they end after 40 heights. A network that ran out of virtual time before it had its heights counts
//! for nothing, and its time counts.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics is a broken benchmark")]

use std::time::Instant;

use epione_benches::{on_processor, option};
use epione_testnet::sim::crypto::Scheme;
use epione_testnet::sim::{Options, Plan, run};

const NODES: usize = 4;
const HEIGHTS: u64 = 200;

fn main() {
    let (networks, from) = (option("--networks", 60), option("--from", 1) as u64);
    let plans = (from..).map(|seed| Plan::draw_sized(seed, NODES, HEIGHTS));
    let plans = plans.filter(|plan| plan.scheme == Scheme::Fast);
    let (begun, before) = (Instant::now(), on_processor());
    let mut heights = Vec::new();
    let (mut faults, mut transitions) = (0, 0);
    for plan in plans.take(networks) {
        let report = run(&plan, &Options::default());
        assert_eq!(report.failure, None, "seed {}", plan.seed);
        heights.push(report.counts.get("heights under faults"));
        transitions += report.counts.get("transitions");
        faults += plan.schedule.len() + plan.actors.len();
    }
    let (clock, processor) = (begun.elapsed().as_secs_f64(), (on_processor() - before).as_secs_f64());
    let whole = heights.iter().filter(|reached| **reached >= HEIGHTS).count();
    let rate = |seconds: f64| whole as f64 * 60.0 / seconds;
    heights.sort_unstable();
    println!("{networks} networks of {NODES}, {faults} faults and actors, {transitions} transitions");
    println!(
        "{whole} had {HEIGHTS} certified heights under faults; median {}, least {}",
        heights[networks / 2],
        heights[0]
    );
    println!("by the clock      {clock:>6.1} s, {:>6.0} networks per minute", rate(clock));
    println!("on the processor  {processor:>6.1} s, {:>6.0} networks per minute and core", rate(processor));
}
