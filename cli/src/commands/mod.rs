//! One module per noun of the command line.

mod access;
mod backup;
mod block;
mod care;
mod consent;
mod demo;
mod device;
mod drill;
mod emergency;
mod enrol;
mod events;
mod fhir;
mod history;
mod identity;
mod keys;
mod ledger;
mod link;
mod node;
mod policy;
mod receipt;
mod record;
mod recovery;
mod report;
mod representative;
mod request;
mod sim;
mod testnet;
mod validator;
mod view;

use epione_client::ClientError;
use epione_proto::v1 as pb;
use epione_types::call::Call;
use epione_types::codes::Refusal;

use crate::args::{Args, Command, Write};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::session::Session;

/// Does what was typed.
pub(crate) async fn run(args: Args) -> Result<Shown, CliError> {
    let json = args.json;
    match args.command {
        Command::Testnet(command) => testnet::run(command, json).await,
        Command::Node(command) => node::run(command).await,
        Command::Ledger(command) => ledger::run(command),
        Command::Backup(command) => backup::run(command),
        Command::Keys(command) => keys::run(command).await,
        Command::Org(command) => identity::org(command).await,
        Command::Practitioner(command) => identity::practitioner(command).await,
        Command::Device(command) => device::run(command).await,
        Command::Patient(command) => identity::patient(command).await,
        Command::Representative(command) => representative::run(command).await,
        Command::Recovery(command) => recovery::run(command).await,
        Command::Record(command) => record::run(command).await,
        Command::Report(command) => report::run(command).await,
        Command::Link(command) => link::run(command).await,
        Command::Consent(command) => consent::run(command, json).await,
        Command::Request(command) => request::run(command).await,
        Command::Access(command) => access::run(command, json).await,
        Command::Emergency(command) => emergency::run(command).await,
        Command::Policy(command) => policy::run(command).await,
        Command::Validator(command) => validator::run(command).await,
        Command::Receipt(command) => receipt::run(command).await,
        Command::Block(command) => block::run(command).await,
        Command::Events(args) => events::run(args, json).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Sim(args) => sim::run_command(&args, json),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut <Args as clap::CommandFactory>::command(),
                "epione",
                &mut std::io::stdout(),
            );
            Ok(Shown::nothing())
        }
    }
}

/// A whole list, page by page.
pub(crate) async fn all_pages<T>(
    mut page: impl AsyncFnMut(pb::PageRequest) -> Result<(Vec<T>, bytes::Bytes), ClientError>,
) -> Result<Vec<T>, CliError> {
    let (mut items, mut page_token) = (Vec::new(), bytes::Bytes::new());
    loop {
        let (more, next) = page(pb::PageRequest { page_size: 500, page_token }).await?;
        items.extend(more);
        if next.is_empty() {
            return Ok(items);
        }
        page_token = next;
    }
}

/// Submits one call, and shows `fields` and where it stands.
async fn done(session: &Session, call: Call, fields: Fields, write: &Write) -> Result<Shown, CliError> {
    let done = session.submit(call, &[], write).await?;
    Ok(Shown::one(fields.and(done.fields())))
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn interrupted() -> CliError {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind);
    let signals =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup()));
    if let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    } else {
        // Without handlers the system's own way applies, and nodes end with the pipe they hold.
        std::future::pending::<()>().await;
    }
    CliError::failed("interrupted").reason("INTERRUPTED")
}

/// What to do about a refusal of the ledger; empty where its name says it.
pub(crate) fn hint(refusal: Refusal) -> &'static str {
    const HINTS: &[(Refusal, &str)] = &[
        (
            Refusal::UnknownSigner,
            "; the sender's key is not registered on this chain: name another with --as or --key",
        ),
        (Refusal::SignatureMissing, "; somebody who must sign did not: add their key with --cosign"),
        (Refusal::NotAuthorised, "; the sender may not do this: name somebody who may with --as or --key"),
        (
            Refusal::NotGrantor,
            "; sign as the patient (--as patients/NAME), or as a clinician of a caring organisation with --document",
        ),
        (
            Refusal::WriteDenied,
            "; the author's organisation must care for the patient, or hold a grant for WRITE, and the role must be the author's",
        ),
        (
            Refusal::SensitiveInClear,
            "; this consortium's genesis refuses PART2 and PSYTHPN while labels stand in clear",
        ),
        (
            Refusal::AuthElementMissing,
            "; a grant outside treatment, payment and operations needs --until, --policy and --document",
        ),
        (Refusal::BadState, "; docs/state-machines.md says what may be done where"),
        (Refusal::VersionConflict, "; somebody was faster: read the record again"),
        (Refusal::ViewerSetChanged, "; the author changed the report or its viewers: review it again"),
        (Refusal::RetentionHold, "; the custodian's privacy officer says until when"),
        (Refusal::TooManyDenials, "; this requester was denied too often within the hour"),
    ];
    HINTS.iter().find(|(about, _)| *about == refusal).map_or("", |(_, hint)| hint)
}
