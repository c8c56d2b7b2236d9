//! The local testnet: up, watched, broken, down.

use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use epione_client::{Config, EpioneClient, Trust, keys};
use epione_testnet::local::{self, Lifetime, Network, NodeReport, Options, Probe};

use super::{enrol, view};
use crate::args::Testnet;
use crate::book::{Book, PractitionerName};
use crate::error::{About as _, CliError, EXIT_FAILED};
use crate::output::{Fields, Shown};
use crate::session;
use crate::time::took;

/// How many nodes unless said otherwise: the least that survive one failure.
pub(crate) const NODES: usize = 4;
/// How long a restarted node may take to be in consensus again.
const RESTART_WITHIN: Duration = Duration::from_secs(60);

/// Printed whenever a testnet comes up.
const LOUD: &str = "WARNING: a testnet is for invented patients only. Its genesis sets allow_sensitive_in_clear: labels such as
PART2 and PSYTHPN stand on its ledger in clear, its keys lie in one folder, its certificates are its own.";

pub(super) async fn run(command: Testnet, json: bool) -> Result<Shown, CliError> {
    match command {
        Testnet::Up { n, wait, dir } => up(n, &dir.dir, Duration::from_secs(wait)).await,
        Testnet::Status { dir } => {
            let (layout, state) = local::look(&dir.dir)?;
            let reports = Probe::new(&layout, &state)?.reports(&state).await;
            let all_well = in_consensus(&reports);
            let shown = Shown::many(reports.iter().map(row).collect());
            Ok(if all_well { shown } else { shown.note(troubles(&reports)).exit(EXIT_FAILED) })
        }
        Testnet::Logs { node, follow, lines, dir } => logs(&dir.dir, node, follow, lines).await,
        Testnet::Add { hospital, dir } => add(&dir.dir, hospital).await,
        Testnet::Drill(args) => super::drill::run(&args, json).await,
        Testnet::Kill { node, dir } => {
            let mut network = Network::open(&dir.dir, Lifetime::Detached)?;
            network.kill(node).await?;
            Ok(Shown::one(Fields::new().with("killed", node))
                .note(format!("Bring it back with `epione testnet restart {node}`.")))
        }
        Testnet::Restart { node, dir } => {
            let mut network = Network::open(&dir.dir, Lifetime::Detached)?;
            if network.is_running(node) {
                network.stop(node).await?;
            }
            network.start(node)?;
            let begun = Instant::now();
            network.wait_for(node, RESTART_WITHIN).await?;
            Ok(Shown::one(Fields::new().with("restarted", node).ms("took_ms", begun.elapsed())))
        }
        Testnet::Down { delete, dir } => {
            let mut network = Network::open(&dir.dir, Lifetime::Detached)?;
            let killed = network.down().await?;
            let nodes = network.len();
            let fields = Fields::new().with("stopped", nodes).with("killed", killed).with("deleted", delete);
            let note = if delete {
                network.delete()?;
                String::new()
            } else {
                format!(
                    "What they stored stays in {}; `epione testnet up` brings them back.",
                    dir.dir.display()
                )
            };
            if !json && killed > 0 {
                eprintln!("{killed} of {nodes} nodes did not stop in time and were killed");
            }
            Ok(Shown::one(fields).note(note))
        }
    }
}

/// One more node: it starts, and is let in once its joining is proposed.
async fn add(dir: &Path, of: usize) -> Result<Shown, CliError> {
    let mut network = Network::open(dir, Lifetime::Detached)?;
    let (node, keys) = network.add(of)?;
    network.start(node)?;
    let place = network.state().nodes.get(node).map(|state| state.organisation);
    let mut book = Book::open(network.layout().dir())?;
    book.orgs.extend(place.map(|organisation| (local::hospital(node), organisation)));
    book.save()?;
    let (name, voting) = (local::hospital(of), network.layout().node(node).join("voting.key"));
    let fields = Fields::new()
        .with("node", node)
        .text("hospital", &name)
        .text("voting_key", keys.voting)
        .text("network_key", keys.network)
        .text("voting_key_file", voting.display());
    Ok(Shown::one(fields).note(format!(
        "It is let in, and follows, once its joining is proposed:
  epione validator add --org {name} --voting-key {} --network-key {} --as {name}/admin
It votes once it is ready and the others agree:
  epione validator ready PROPOSAL --voting-key-file {} --joining {node} --as {name}/admin
  epione policy vote PROPOSAL --as hospital1/admin",
        keys.voting,
        keys.network,
        voting.display()
    )))
}

async fn up(n: Option<usize>, dir: &Path, within: Duration) -> Result<Shown, CliError> {
    let begun = Instant::now();
    let mut network = match local::look(dir) {
        Ok((_, state)) => {
            let found = state.nodes.len();
            if n.is_some_and(|n| n != found) {
                return Err(local::TestnetError::OtherSize { dir: dir.to_owned(), found }.into());
            }
            Network::open(dir, Lifetime::Detached)?
        }
        Err(local::TestnetError::NoTestnet { .. }) => {
            Network::create(dir, &Options::of_this_binary(n.unwrap_or(NODES))?, Lifetime::Detached)?
        }
        Err(error) => return Err(error.into()),
    };
    eprintln!("{LOUD}");
    // Ctrl-C while it comes up leaves nothing behind.
    let started = tokio::select! {
        started = network.start_all(within) => Ok(started),
        signal = crate::commands::interrupted() => Err(signal),
    };
    let staffed = match started {
        // What it started and could not use it has ended itself; a network that was up stays up.
        Ok(started) => {
            started?;
            staff(&network).await
        }
        Err(signal) => Err(signal),
    };
    if let Err(error) = staffed {
        network.kill_all();
        return Err(error);
    }
    let reports = network.reports().await?;
    Ok(Shown::many(reports.iter().map(row).collect()).note(format!(
        "Ready in {}. Each hospital has an admin and a doctor: --as hospital0/admin, --as hospital0/doctor.\nCertificate authority: {}   Genesis: {}",
        took(begun.elapsed()),
        network.layout().ca().display(),
        network.layout().genesis().display(),
    )))
}

/// A doctor for each hospital, once: the first transactions, through every node.
async fn staff(network: &Network) -> Result<(), CliError> {
    let (layout, state) = (network.layout(), network.state());
    let trust = Trust::new(&local::genesis(layout)?)?;
    let ca = std::fs::read(layout.ca()).about(layout.ca().display())?;
    let mut book = Book::open(layout.dir())?;
    for (node, place) in state.nodes.iter().enumerate() {
        let hospital = local::hospital(node);
        let name = format!("{hospital}/doctor");
        if book.practitioners.contains_key(&name) {
            continue;
        }
        let admin = keys::read(&layout.admin_key(node))?;
        let path = layout.hospital_keys(node).join("doctor.key");
        let key = if path.exists() { keys::read(&path)? } else { session::new_key(&path)? };
        let endpoint = format!("https://127.0.0.1:{}", place.ports.grpc);
        let client =
            EpioneClient::connect(Config::new(vec![endpoint], ca.clone(), trust.clone(), admin.clone()))
                .await?;
        let practitioner = enrol::physician(&client, &admin, &key).await?;
        book.orgs.insert(hospital, place.organisation);
        book.practitioners.insert(name, PractitionerName { org: place.organisation, practitioner });
        book.save()?;
    }
    Ok(())
}

fn row(report: &NodeReport) -> Fields {
    let place = &report.state;
    let mut fields = Fields::new()
        .with("node", report.node)
        .with("hospital", local::hospital(report.node))
        .with("endpoint", format!("https://127.0.0.1:{}", place.ports.grpc))
        .with("operator", format!("https://127.0.0.1:{}", place.ports.operator))
        .with("pid", place.process.as_ref().map(|process| process.pid))
        .with("running", report.running);
    let silent = epione_proto::v1::GetNodeStatusResponse::default();
    fields = fields.and(view::node_status(report.answer.as_ref().unwrap_or(&silent)));
    fields
}

fn in_consensus(reports: &[NodeReport]) -> bool {
    reports.iter().all(|report| report.in_consensus(reports.len().saturating_sub(1)).is_ok())
}

fn troubles(reports: &[NodeReport]) -> String {
    let others = reports.len().saturating_sub(1);
    let lines: Vec<String> = reports
        .iter()
        .filter_map(|report| Some(format!("node {}: {}", report.node, report.in_consensus(others).err()?)))
        .collect();
    lines.join("\n")
}

async fn logs(dir: &Path, node: Option<usize>, follow: bool, lines: usize) -> Result<Shown, CliError> {
    let (layout, state) = local::look(dir)?;
    let count = state.nodes.len();
    if let Some(node) = node.filter(|node| *node >= count) {
        return Err(local::TestnetError::NoSuchNode { node, last: count.saturating_sub(1) }.into());
    }
    let nodes = node.map_or(0..count, |node| node..node + 1);
    let mut places = Vec::new();
    for node in nodes {
        let path = layout.log(node);
        let prefix = if count > 1 { format!("{node} | ") } else { String::new() };
        let text = last_lines(&path, lines).about(path.display())?;
        for text in &text.lines {
            crate::output::line(format_args!("{prefix}{text}"));
        }
        places.push((path, prefix, text.end));
    }
    if !follow {
        return Ok(Shown::nothing());
    }
    loop {
        for (path, prefix, from) in &mut places {
            *from = more_lines(path, prefix, *from).about(path.display())?;
        }
        std::io::stdout().flush().about("standard output")?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Tail {
    lines: Vec<String>,
    end: u64,
}

/// The last lines of a file, read once with memory for those lines alone.
fn last_lines(path: &Path, count: usize) -> std::io::Result<Tail> {
    let mut lines = std::collections::VecDeque::new();
    let mut end = 0;
    let mut reader = std::io::BufReader::new(std::fs::File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(1 << 20).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(Tail { lines: lines.into(), end });
        }
        end += length as u64;
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        if lines.len() > count {
            lines.pop_front();
        }
    }
}

/// Prints the whole lines after a place; the place after them.
fn more_lines(path: &Path, prefix: &str, from: u64) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut reader = std::io::BufReader::new(file);
    let mut at = from;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(1 << 20).read_until(b'\n', &mut line)?;
        if length == 0 || !line.ends_with(b"\n") {
            return Ok(at);
        }
        at += length as u64;
        crate::output::line(format_args!("{prefix}{}", String::from_utf8_lossy(&line).trim_end()));
    }
}
