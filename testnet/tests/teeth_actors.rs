//! Each Byzantine actor on its own: some seeds in which it must have acted and nothing may break.
//!
//! `EPIONE_ACTOR=liar EPIONE_SEEDS=0..300 cargo test -p epione-testnet --test teeth_actors hunt -- --ignored
//! --nocapture` looks for more, `EPIONE_TRACE=1` prints every line of it.

use std::ops::Range;

use epione_testnet::sim::actors::ActorKind;
use epione_testnet::sim::plan::SIZES;
use epione_testnet::sim::random::{Purpose, Rng};
use epione_testnet::sim::{Lines, Options, Plan, run};

/// The plan of a seed with this actor in it.
fn plan(kind: ActorKind, seed: u64, heights: u64) -> Plan {
    let random = &mut Rng::new(seed, Purpose::Plan, &[9]);
    let sizes: Vec<usize> = SIZES.into_iter().filter(|n| *n > 1).collect();
    let n = if random.chance(600) { 4 } else { *random.pick(&sizes) };
    Plan::draw_with(seed, n, if n <= 5 { heights } else { heights / 2 }, kind)
}

/// Runs seeds; says what broke, and how often the actor acted.
fn hunt(kind: ActorKind, seeds: Range<u64>, heights: u64) -> (Vec<String>, u64) {
    let (mut broken, mut acted) = (Vec::new(), 0);
    for seed in seeds {
        let lines = if std::env::var_os("EPIONE_TRACE").is_some() { Lines::Print } else { Lines::None };
        let report = run(&plan(kind, seed, heights), &Options { lines, canary: false });
        acted += u64::from(report.counts.get(&format!("actor {}", kind.name())) > 0);
        if let Some(failure) = report.failure {
            broken.push(format!(
                "{} seed {seed} n {}: {} {} at {} ms: {}",
                kind.name(),
                report.n,
                failure.class.name(),
                failure.invariant,
                failure.at_ms,
                failure.text
            ));
        }
    }
    (broken, acted)
}

#[test]
fn every_actor_acts_and_nothing_breaks() {
    for kind in ActorKind::ALL {
        let (broken, acted) = hunt(kind, 0..2, 30);
        assert_eq!(broken, Vec::<String>::new());
        assert!(acted > 0, "{} did nothing", kind.name());
    }
}

#[test]
#[ignore = "a search of its own, as long as one likes"]
fn hunt_by_hand() {
    let name = std::env::var("EPIONE_ACTOR").unwrap_or_default();
    let seeds = std::env::var("EPIONE_SEEDS").unwrap_or_else(|_| "0..100".to_owned());
    let (from, to) = seeds.split_once("..").expect("as 0..100");
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    for kind in ActorKind::ALL.into_iter().filter(|kind| name.is_empty() || kind.name() == name) {
        let begun = std::time::Instant::now();
        let (broken, acted) = hunt(kind, from..to, 120);
        println!(
            "{}: {} seeds, acted in {acted}, {} broken, {:?}",
            kind.name(),
            to - from,
            broken.len(),
            begun.elapsed()
        );
        for one in broken {
            println!("  {}", one.chars().take(700).collect::<String>());
        }
    }
}
