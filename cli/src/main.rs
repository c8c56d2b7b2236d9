//! The `epione` binary: the node, the clinic's client, the operator's tool and the local testnet.
//!
//! ```text
//! what was typed      what is meant           what is done            what is shown
//! args.rs      ─────▶ request.rs, book.rs ──▶ commands/*.rs    ─────▶ output.rs     error.rs ─▶ exit code
//! ```
//!
//! Tables for people; with `--json` the last line of standard output is one JSON value, on failure too. Progress and
//! warnings go to standard error. Tested as a process in `tests/`.

mod args;
mod book;
mod cases;
mod commands;
mod error;
mod import;
mod load;
mod output;
mod request;
mod session;
mod time;

use std::process::ExitCode;

use clap::Parser as _;

/// What clap says instead of a command: help, or what is wrong; that as JSON too where JSON is wanted.
fn misused(error: &clap::Error) -> ExitCode {
    // Help that nobody reads any more is no failure.
    let _printed = error.print();
    let wants_json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if error.use_stderr() && wants_json {
        let text = error.to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(&text);
        error::CliError::usage(message).print_json();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::EXIT_USAGE))
}

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    let json = args.json;
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(commands::run(args)),
        Err(error) => Err(error::CliError::failed(format!("cannot start: {error}"))),
    };
    match result {
        Ok(shown) => {
            shown.print(json);
            ExitCode::from(shown.exit)
        }
        Err(error) => {
            error.print(json);
            ExitCode::from(error.exit)
        }
    }
}
