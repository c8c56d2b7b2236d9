//! Drills on a network of real processes, or in virtual time.

mod simulated;

use std::time::Duration;

use epione_testnet::drill::{self, DRILLS, Report};

use crate::args::Drill;
use crate::error::{About as _, CliError, EXIT_FAILED};
use crate::output::{Fields, Shown, line};
use crate::time::took;

pub(super) async fn run(args: &Drill, json: bool) -> Result<Shown, CliError> {
    let drills = chosen(args)?;
    if args.list {
        let row = |drill: &drill::Drill| {
            Fields::new().text("drill", &drill.name).with("nodes", drill.nodes).text("about", &drill.about)
        };
        return Ok(Shown::many(drills.iter().map(row).collect()));
    }
    if args.simulated {
        return simulated::play(args, &drills, json);
    }
    let binary = std::env::current_exe().about("this program")?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for drill in &drills {
        tell(json, &format!("{}: {}", drill.name, drill.about));
        let folder = tempfile::tempdir().about("a temporary folder")?;
        let say = |text: &str| tell(json, &format!("  {text}"));
        let patience = Duration::from_secs(args.wait);
        // Whatever way it ends, the network is gone with the future.
        let report = tokio::select! {
            report = drill::run(drill, &binary, folder.path(), patience, &say) => report,
            signal = super::interrupted() => return Err(signal),
        };
        tell(json, &verdict(&report));
        if report.failure.is_some() {
            failed.push(report.name.clone());
        }
        rows.push(row(&report, json));
    }
    let count = rows.len();
    let shown = Shown::many(rows);
    Ok(if failed.is_empty() {
        shown
    } else {
        shown.note(format!("{} of {count} failed: {}", failed.len(), failed.join(", "))).exit(EXIT_FAILED)
    })
}

/// What is to be run, in order; all of it is read before anything starts.
fn chosen(args: &Drill) -> Result<Vec<drill::Drill>, CliError> {
    let usage = |what: &str, error: &dyn std::fmt::Display| CliError::usage(format!("{what}: {error}"));
    if let Some(path) = &args.file {
        let text = std::fs::read_to_string(path).about(path.display())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let read = drill::Drill::from_text(&name, &text);
        return Ok(vec![read.map_err(|error| usage(&path.display().to_string(), &error))?]);
    }
    if args.names.is_empty() && !args.all && !args.list {
        return Err(CliError::usage("name a drill, or run them with --all; --list says which there are"));
    }
    let all = args.all || args.list;
    let named = args.names.iter().map(String::as_str);
    let names: Vec<&str> = if all { DRILLS.iter().map(|(name, _)| *name).collect() } else { named.collect() };
    names
        .into_iter()
        .map(|name| {
            let found = DRILLS.iter().find(|(known, _)| *known == name);
            let (_, text) = found.ok_or_else(|| {
                CliError::usage(format!(
                    "there is no drill {name}: `epione testnet drill --list` says which there are"
                ))
            })?;
            drill::Drill::from_text(name, text).map_err(|error| usage(name, &error))
        })
        .collect()
}

/// To people at once; beside JSON, on standard error.
fn tell(json: bool, text: &str) {
    if json { eprintln!("{text}") } else { line(text) }
}

fn verdict(report: &Report) -> String {
    let ways = if report.ways.is_empty() { String::new() } else { format!(" ({})", report.ways.join("; ")) };
    match &report.failure {
        None => format!("{}: PASS in {}{ways}\n", report.name, took(report.took)),
        Some(why) => {
            let why = why.replace('\n', "\n  ");
            format!("{}: FAIL in {}{ways}\n  {why}\n", report.name, took(report.took))
        }
    }
}

/// What was lost, in words; an empty list is worth something only if the ledgers were compared.
fn lost(report: &Report) -> String {
    match (report.compared, report.lost.len()) {
        (false, _) => "not compared".to_owned(),
        (true, 0) => "nothing".to_owned(),
        (true, count) => format!("{count} promises"),
    }
}

fn row(report: &Report, json: bool) -> Fields {
    let ms = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let fields = Fields::new()
        .text("drill", &report.name)
        .with("passed", report.failure.is_none())
        .with("recovery_ms", ms(report.recovery))
        .with("back_ms", ms(report.back))
        .with("committed", report.committed)
        .with("unanswered", report.open)
        .text("lost", lost(report))
        .list("out", &report.out)
        .with("height", report.height)
        .ms("took_ms", report.took);
    if !json {
        return fields;
    }
    fields.list("ways", &report.ways).maybe("failure", report.failure.as_ref()).list("broken", &report.lost)
}
