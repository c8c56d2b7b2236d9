//! The main job, end to end, on a network of its own: four processes, real consensus, and nothing left behind.
//!
//! ```text
//! up ─▶ enrol ─▶ load ½ ─▶ deny · grant · permit · revoke · deny · emergency ─▶ load ½, primary killed ─▶ it returns
//!    ─▶ receipt verified offline, and with a bit flipped ─▶ four state roots read back and compared
//! ```
//!
//! Every step is checked against what the nodes say afterwards, not against what was sent. The first thing that is
//! not as it must be ends the demo with a non-zero exit code and the reason. Tested by `tests/demo.rs`.

mod cast;
mod load;
mod story;

use std::time::Instant;

use epione_client::fhir::ImportPlan;
use epione_testnet::local::{Lifetime, Network, Options};
use tempfile::TempDir;

use crate::args::Demo;
use crate::commands::testnet::NODES;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use cast::Cast;

/// How long the network may take to come up.
const UP_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn run(args: Demo) -> Result<Shown, CliError> {
    // The folder outlives the network: nodes are gone before it is removed.
    let folder = tempfile::Builder::new().prefix("epione-demo-").tempdir().about("temporary folder")?;
    tokio::select! {
        done = tell(&args, &folder) => done,
        signal = super::interrupted() => Err(signal),
    }
}

/// One line of progress, on standard error.
fn say(line: impl std::fmt::Display) {
    eprintln!("demo: {line}");
}

/// Is something as it must be?
fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), CliError> {
    if holds { Ok(()) } else { Err(CliError::failed(what()).reason("DEMO_FAILED")) }
}

async fn tell(args: &Demo, folder: &TempDir) -> Result<Shown, CliError> {
    let begun = Instant::now();
    let bundles = load::bundles(args.bundles.as_deref())?;
    say(format_args!("{NODES} hospitals come up in {}", folder.path().display()));
    let options = Options::of_this_binary(NODES)?;
    let mut network =
        Network::up(&folder.path().join("net"), &options, Lifetime::WithStarter, UP_WITHIN).await?;
    let up = begun.elapsed();
    let told = story(&mut network, bundles).await;
    if told.is_err() {
        say("last lines of every node's log:");
        for node in 0..network.len() {
            eprintln!("--- node {node}\n{}", epione_testnet::local::tail(&network.layout().log(node)));
        }
    }
    let fields = told?;
    let killed = network.down().await?;
    must(killed == 0, || format!("{killed} nodes did not stop when asked to"))?;
    let fields = Fields::new()
        .with("ok", true)
        .with("hospitals", NODES)
        .ms("up_after_ms", up)
        .and(fields)
        .ms("took_ms", begun.elapsed());
    Ok(Shown::one(fields))
}

async fn story(network: &mut Network, bundles: Vec<ImportPlan>) -> Result<Fields, CliError> {
    let mut cast = Cast::enrol(network).await?;
    say("every hospital has enrolled a doctor");
    let mut work = load::deal(&cast, bundles)?;
    cast.anna_is(&mut work)?;

    let first = load::first_half(&cast, &mut work).await?;
    say(format_args!("{} patients and {} records are registered", work.patients.applied, first.applied));
    let consent = story::consent(&cast).await?;
    let killing = load::second_half_with_a_kill(&cast, network, work, first).await?;
    let proof = story::receipt(&cast, &consent)?;
    let ending = story::ending(&cast, network, killing.height).await?;
    Ok(killing.fields().and(consent.fields()).and(proof).and(ending))
}
