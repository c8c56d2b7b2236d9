//! Running, watching and checking a node.

use std::io::Read as _;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use epione_node::config::{self, Config};
use epione_node::explain;
use epione_node::rpc::{Limits, Server};
use epione_node::run::{self, Node as RunningNode};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::view;
use crate::args::{ConnectOnly, Node};
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::session::{Door, Session};

pub(super) async fn run(command: Node) -> Result<Shown, CliError> {
    match command {
        Node::Run { config, stop_with_stdin } => serve(&load(&config)?, stop_with_stdin).await,
        Node::Status(ConnectOnly { connect }) => {
            let session = Session::lazy(&connect, Door::Operators)?;
            let status = session.client.get_node_status(epione_proto::v1::GetNodeStatusRequest {}).await?;
            let shown = Shown::one(view::node_status(&status).and(view::node_peers(&status)));
            if status.role() != epione_proto::v1::NodeRole::Follower {
                return Ok(shown);
            }
            // Is it needed, or needed yet? Its role alone does not say.
            let answer = session.client.explain(epione_proto::v1::ExplainRequest {}).await?;
            Ok(shown.note(answer.advice))
        }
        Node::Explain(ConnectOnly { connect }) => {
            let session = Session::lazy(&connect, Door::Operators)?;
            let answer = session.client.explain(epione_proto::v1::ExplainRequest {}).await?;
            let fields = explain::fields(&answer).into_iter();
            Ok(Shown::one(fields.fold(Fields::new(), |fields, (name, value)| fields.with(name, value))))
        }
        Node::Snapshot(ConnectOnly { connect }) => {
            let session = Session::lazy(&connect, Door::Operators)?;
            let made = session.client.make_snapshot(epione_proto::v1::MakeSnapshotRequest {}).await?;
            Ok(Shown::one(Fields::new().with("height", made.height)))
        }
        Node::Check { config } => {
            let found = load(&config)?;
            let fields = Fields::new()
                .text("config", config.display())
                .text("chain", found.genesis.chain_id())
                .text("organisation", found.organisation)
                .with("validators", found.genesis.validators.len())
                .text("data", found.data_dir.display())
                .text("grpc", found.grpc.listen)
                .text("operator", found.operator)
                .text("network", found.listen);
            Ok(Shown::one(fields).note("The configuration can be used."))
        }
    }
}

fn load(path: &Path) -> Result<Config, CliError> {
    config::load(path).map_err(|error| CliError::failed(error.to_string()).reason("CONFIG"))
}

/// How often a node tries to start again by itself, and after how long.
const RESTARTS_TRIED: u32 = 10;
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Why a node stopped.
enum Why {
    Signal,
    Stdin,
    /// A snapshot is to be installed.
    Restart,
    Defect,
}

async fn serve(config: &Config, stop_with_stdin: bool) -> Result<Shown, CliError> {
    run::init_logging(&config.log_level, config.log_format).map_err(CliError::failed)?;
    // Listened for once: none is missed while the node starts again.
    let (mut signal, mut stdin) = (pin!(run::signal()), pin!(end_of_stdin(stop_with_stdin)));
    // A node that ran and starts again by itself may find its ports or its ledger not let go of yet.
    let mut tries_left = 0;
    loop {
        match serve_once(config, signal.as_mut(), stdin.as_mut()).await {
            Ok(Why::Restart) => tries_left = RESTARTS_TRIED,
            Ok(Why::Signal | Why::Stdin) => return Ok(Shown::nothing()),
            Ok(Why::Defect) => {
                return Err(CliError::failed("the node stopped because of a defect: see its log"));
            }
            Err(error) if tries_left == 0 => return Err(error),
            Err(_) => {
                tries_left -= 1;
                tokio::time::sleep(RESTART_AFTER).await;
            }
        }
    }
}

async fn serve_once(
    config: &Config,
    signal: Pin<&mut impl Future<Output = std::io::Result<()>>>,
    stdin: Pin<&mut impl Future<Output = ()>>,
) -> Result<Why, CliError> {
    let started = RunningNode::start(config.clone()).await;
    let node = started.map_err(|error| {
        // Whoever reads the log later sees why, too.
        error!(%error, "the node does not start");
        CliError::failed(error.to_string())
    })?;
    let served = Server::start(node.handle().clone(), &config.grpc, config.operator, Limits::default()).await;
    let server = match served {
        Ok(server) => server,
        Err(failure) => {
            error!(error = %failure, "the node does not serve");
            node.shutdown().await.about("the node did not stop cleanly")?;
            return Err(CliError::failed(failure.to_string()));
        }
    };
    let (why, text) = tokio::select! {
        signal = signal => { signal.about("signals")?; (Why::Signal, "a signal") }
        () = node.ended() => match node.wants_restart() {
            true => (Why::Restart, "a snapshot is to be installed"),
            false => (Why::Defect, "a defect"),
        },
        () = stdin => (Why::Stdin, "the end of standard input"),
    };
    info!(why = text, "stopping");
    server.shutdown().await;
    node.shutdown().await.about("the node did not stop cleanly")?;
    Ok(why)
}

/// Resolves when standard input ends; never if that means nothing. A thread of its own: reading cannot be interrupted.
async fn end_of_stdin(wanted: bool) {
    if wanted {
        let (ended, end) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut ignored = [0; 256];
            // The end, or an error: either way whoever held the other end is gone.
            while matches!(stdin.read(&mut ignored), Ok(1..)) {}
            drop(ended);
        });
        let _closed = end.await;
    } else {
        std::future::pending::<()>().await;
    }
}
