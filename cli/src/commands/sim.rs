//! The simulator: one seed, or many.
//!
//! Its exit codes are its own: 0 nothing broke, 2 safety, 3 liveness, 4 the harness itself.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use epione_testnet::sim::many::{COVERED_FROM, SHARED_FROM, Summary, run_many};
use epione_testnet::sim::shrink::shrink;
use epione_testnet::sim::{Class, Failure, Lines, Options, Plan, Report, run};
use serde_json::json;

use crate::args::Sim;
use crate::error::CliError;
use crate::output::{Fields, Shown, line};

/// Lines of the trace that are shown with a failure.
const LAST: usize = 20;
/// Runs that shrinking may take.
const SHRINK_RUNS: usize = 400;

pub(super) fn run_command(args: &Sim, json: bool) -> Result<Shown, CliError> {
    match args.seeds {
        Some(count) => many(args, count, json),
        None => one(args, json),
    }
}

fn plan_of(args: &Sim, seed: u64) -> Plan {
    match (args.nodes, args.heights) {
        (None, None) => Plan::draw(seed),
        (n, heights) => {
            let drawn = Plan::draw(seed);
            Plan::draw_sized(seed, n.unwrap_or(drawn.n), heights.unwrap_or(drawn.heights))
        }
    }
}

fn the_plan(args: &Sim) -> Result<Plan, CliError> {
    let Some(path) = &args.faults else { return Ok(plan_of(args, args.seed.unwrap_or(1))) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    let mut plan =
        Plan::from_text(&text).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    plan.seed = args.seed.unwrap_or(plan.seed);
    Ok(plan)
}

fn one(args: &Sim, json: bool) -> Result<Shown, CliError> {
    let plan = the_plan(args)?;
    if args.print_schedule {
        line(plan.to_text().trim_end());
        return Ok(Shown::nothing());
    }
    let lines = if args.trace { Lines::Print } else { Lines::Last(LAST) };
    let options = Options { lines, canary: args.canary };
    let report = run(&plan, &options);
    let exit = report.failure.as_ref().map_or(0, |failure| failure.class.exit());
    if json {
        let counts: serde_json::Map<_, _> =
            report.counts.iter().map(|(what, times)| (what.to_owned(), times.into())).collect();
        line(json!({
            "seed": report.seed, "nodes": report.n, "virtual_ms": report.virtual_ms, "counts": counts,
            "failure": report.failure.as_ref().map(failure_json), "trace": report.trace.to_string(),
        }));
        return Ok(Shown::nothing().exit(exit));
    }
    for (what, times) in report.counts.iter() {
        line(format_args!("{what:24} {times}"));
    }
    if let Some(failure) = &report.failure {
        tell(args, &plan, &report, failure);
    }
    line(format_args!("trace {}", report.trace));
    Ok(Shown::nothing().exit(exit))
}

fn failure_json(failure: &Failure) -> serde_json::Value {
    json!({
        "class": failure.class.name(), "invariant": failure.invariant, "text": failure.text, "at_ms": failure.at_ms,
    })
}

/// Everything about a failure, and the smallest plan that still fails.
fn tell(args: &Sim, plan: &Plan, report: &Report, failure: &Failure) {
    line(format_args!(
        "\nFAILED ({}): {}\nseed {}, {} nodes, at {} ms of virtual time\n{}",
        failure.class.name(),
        failure.invariant,
        report.seed,
        report.n,
        failure.at_ms,
        failure.text
    ));
    line(format_args!("\nschedule:\n{}", plan.to_text()));
    if !failure.last.is_empty() {
        line(format_args!("last transitions:\n{}", failure.last.join("\n")));
    }
    line(format_args!("\nreplay: epione sim {} --trace", replay(args, plan.seed)));
    if args.no_shrink || failure.class == Class::Harness {
        return;
    }
    let options = Options { lines: Lines::None, canary: args.canary };
    if let Some(small) = shrink(plan, &options, SHRINK_RUNS) {
        line(format_args!(
            "\nshrunk in {} runs; save as FILE and replay with: epione sim --faults FILE --trace\n{}",
            small.runs,
            small.plan.to_text()
        ));
        line(format_args!("it fails at {} ms: {}", small.failure.at_ms, small.failure.text));
    }
}

fn replay(args: &Sim, seed: u64) -> String {
    let mut words = vec![format!("--seed {seed}")];
    words.extend(args.faults.as_ref().map(|path| format!("--faults {}", path.display())));
    words.extend(args.nodes.map(|n| format!("--nodes {n}")));
    words.extend(args.heights.map(|heights| format!("--heights {heights}")));
    words.extend(args.canary.then(|| "--canary".to_owned()));
    words.join(" ")
}

fn many(args: &Sim, count: u64, json: bool) -> Result<Shown, CliError> {
    if args.faults.is_some() || args.trace || args.seed.is_some() {
        return Err(CliError::usage("--seeds runs drawn plans: not with --seed, --faults or --trace"));
    }
    let begun = Instant::now();
    let options = Options { lines: Lines::None, canary: args.canary };
    let shown = std::io::stderr().is_terminal();
    let told = AtomicU64::new(0);
    // At most once a second; in a file, at most twenty lines.
    let progress = |summary: &Summary| {
        let (seeds, failed, seconds) = (summary.seeds, summary.failures.len(), begun.elapsed().as_secs());
        let due = shown || seeds.is_multiple_of((count / 20).max(1));
        if seeds < count && (!due || told.swap(seconds, Ordering::Relaxed) == seconds) {
            return;
        }
        let end = if shown && seeds < count { "\r" } else { "\n" };
        let text = format!("{seeds} of {count} seeds, {failed} failed, {seconds} s{end}");
        // Progress that nobody reads is no failure.
        drop(std::io::stderr().write_all(text.as_bytes()));
    };
    let summary = run_many(args.from, count, args.jobs, |seed| plan_of(args, seed), &options, progress);
    let took = begun.elapsed();
    let never = if count >= COVERED_FROM { summary.never() } else { Vec::new() };
    let rare = if count >= SHARED_FROM { summary.rare() } else { Vec::new() };
    let worst = summary.failures.iter().filter_map(|one| one.failure.as_ref()).map(|one| one.class).min();
    let exit = worst
        .map_or(if never.is_empty() && rare.is_empty() { 0 } else { Class::Harness.exit() }, Class::exit);
    if json {
        let exercised: serde_json::Map<_, _> = summary
            .exercised
            .iter()
            .map(|(what, one)| {
                (what.clone(), json!({"seeds": one.seeds, "times": one.times, "most": one.most}))
            })
            .collect();
        let failures: Vec<_> = summary
            .failures
            .iter()
            .filter_map(|one| Some(json!({"seed": one.seed, "failure": failure_json(one.failure.as_ref()?)})))
            .collect();
        line(json!({
            "from": args.from, "seeds": summary.seeds, "sizes": summary.sizes, "exercised": exercised,
            "never": never, "rare": rare, "failures": failures, "virtual_ms": summary.virtual_ms,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "trace": summary.trace().to_string(),
        }));
        return Ok(Shown::nothing().exit(exit));
    }
    let row = |(what, one): (&String, &epione_testnet::sim::many::Exercised)| {
        Fields::new()
            .with("what", what.as_str())
            .with("seeds", one.seeds)
            .with("times", one.times)
            .with("most", one.most)
    };
    Shown::many(summary.exercised.iter().map(row).collect()).print(false);
    let sizes: Vec<String> = summary.sizes.iter().map(|(n, seeds)| format!("{n}: {seeds}")).collect();
    line(format_args!(
        "\n{} seeds from {} on, {} s, {} s of virtual time; seeds by nodes {}",
        summary.seeds,
        args.from,
        took.as_secs(),
        summary.virtual_ms / 1_000,
        sizes.join(", ")
    ));
    for what in &never {
        line(format_args!("NEVER OCCURRED: {what}"));
    }
    for what in &rare {
        line(format_args!("IN LESS THAN 1 % OF THE SEEDS: {what}"));
    }
    for report in &summary.failures {
        if let Some(failure) = &report.failure {
            let (class, seed) = (failure.class.name(), report.seed);
            line(format_args!("FAILED ({class}): {}: seed {seed}: {}", failure.invariant, failure.text));
        }
    }
    if let Some(first) = summary.failures.first() {
        let plan = plan_of(args, first.seed);
        let again = run(&plan, &Options { lines: Lines::Last(LAST), canary: args.canary });
        if let Some(failure) = &again.failure {
            tell(args, &plan, &again, failure);
        }
    }
    line(format_args!("trace {}", summary.trace()));
    Ok(Shown::nothing().exit(exit))
}
