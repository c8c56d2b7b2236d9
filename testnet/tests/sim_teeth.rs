//! Teeth: each guard of the protocol is taken out, and the simulator must notice.

use epione_consensus::guard::{Guard, without};
use epione_testnet::sim::{Failure, Options, Plan, run};

/// A short run of a small cluster, with somebody Byzantine in it.
fn plan(seed: u64) -> Plan {
    let n = [4, 4, 5, 6, 7][usize::try_from(seed % 5).unwrap()];
    Plan::draw_attacked(seed, n, 40)
}

fn caught(guard: Guard, seeds: u64) -> Option<(u64, Failure)> {
    (0..seeds).find_map(|seed| {
        let failure = without(guard, || run(&plan(seed), &Options::default())).failure?;
        Some((seed, failure))
    })
}

#[test]
#[ignore = "a search, to find the seeds of the table"]
fn search() {
    let seeds = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let only = std::env::var("GUARD").ok();
    for guard in Guard::ALL {
        let name = format!("{guard:?}");
        if only.as_ref().is_some_and(|only| !only.split(',').any(|one| one == name)) {
            continue;
        }
        let begun = std::time::Instant::now();
        match caught(*guard, seeds) {
            Some((seed, failure)) => println!(
                "{name:22} {seed:4} {:?} {}: {} ({} ms)",
                failure.class,
                failure.invariant,
                failure.text.chars().take(110).collect::<String>(),
                begun.elapsed().as_millis()
            ),
            None => println!("{name:22} not in {seeds} ({} ms)", begun.elapsed().as_millis()),
        }
    }
}
