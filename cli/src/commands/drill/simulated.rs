//! Drills in virtual time, each with as many seeds as are wanted. Tested, but for the table, by `testnet/tests/drills.rs`.

use std::time::Duration;

use epione_testnet::drill::Drill;
use epione_testnet::sim::drill::{Report, only_real, run};
use epione_testnet::sim::{Lines, Options};

use super::tell;
use crate::args;
use crate::error::{CliError, EXIT_FAILED};
use crate::output::{Fields, Shown};

/// Lines of the trace that are shown with a failure.
const LAST: usize = 20;

/// What all seeds of a drill came to.
#[derive(Default)]
struct Seeds {
    seeds: u64,
    recovery: Option<u64>,
    back: Option<u64>,
    committed: usize,
    virtual_ms: u64,
    failures: Vec<String>,
}

impl Seeds {
    fn take(&mut self, report: &Report) {
        self.seeds += 1;
        self.recovery = self.recovery.max(report.played.recovery);
        self.back = self.back.max(report.played.back);
        self.committed += report.played.committed;
        self.virtual_ms += report.virtual_ms;
        if let Some(failure) = &report.failure {
            let (class, what) = (failure.class.name(), &failure.invariant);
            self.failures.push(format!("seed {} ({class}: {what}): {}", report.seed, failure.text));
        }
    }

    fn row(&self, drill: &Drill, json: bool) -> Fields {
        let ms = |time: Option<u64>| time.map(|micros| micros / 1_000);
        let fields = Fields::new()
            .text("drill", &drill.name)
            .with("passed", self.failures.is_empty())
            .with("seeds", self.seeds)
            .with("recovery_ms", ms(self.recovery))
            .with("back_ms", ms(self.back))
            .with("committed", self.committed)
            .with("virtual_ms", self.virtual_ms);
        if json { fields.list("failures", &self.failures) } else { fields }
    }
}

pub(super) fn play(args: &args::Drill, drills: &[Drill], json: bool) -> Result<Shown, CliError> {
    let (real, drills): (Vec<&Drill>, Vec<&Drill>) =
        drills.iter().partition(|drill| only_real(drill).is_some());
    if let Some(drill) = real.first().filter(|_| !args.all) {
        let line = only_real(drill).unwrap_or_default();
        let why = format!("{}: `{line}` is for real processes: run it without --simulated", drill.name);
        return Err(CliError::usage(why));
    }
    let options =
        Options { lines: if args.trace { Lines::Print } else { Lines::Last(LAST) }, ..Options::default() };
    let patience = Duration::from_secs(args.wait);
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for drill in &drills {
        let mut seeds = Seeds::default();
        for seed in args.from..args.from.saturating_add(args.seeds) {
            let report = run(drill, seed, patience, &options).map_err(CliError::usage)?;
            if args.seeds == 1 {
                tell(json, &format!("{}: {}", drill.name, drill.about));
                report.played.told.iter().for_each(|told| tell(json, &format!("  {told}")));
            }
            if let Some(failure) = &report.failure {
                let last = if args.trace { String::new() } else { failure.last.join("\n  ") };
                tell(json, &format!("{}: FAIL with seed {seed}: {}\n  {last}", drill.name, failure.text));
            }
            seeds.take(&report);
        }
        if let Some(first) = seeds.failures.first() {
            failed.push(format!("{}, {first}", drill.name));
        }
        rows.push(seeds.row(drill, json));
    }
    let mut notes: Vec<String> = failed.iter().map(|first| format!("FAILED: {first}")).collect();
    if !real.is_empty() {
        let names: Vec<&str> = real.iter().map(|drill| drill.name.as_str()).collect();
        notes.push(format!("Not played, for they are for real processes: {}.", names.join(", ")));
    }
    let exit = if failed.is_empty() { 0 } else { EXIT_FAILED };
    Ok(Shown::many(rows).note(notes.join("\n")).exit(exit))
}
