//! What went wrong, and the exit code that says what a script can do about it.

use epione_client::ClientError;
use epione_client::keys::KeyFileError;
use epione_testnet::local::TestnetError;
use serde_json::json;

/// Failed: refused, not found, broken.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The command line cannot mean anything (clap's own code).
pub(crate) const EXIT_USAGE: u8 = 2;
/// The access was decided, and denied.
pub(crate) const EXIT_DENIED: u8 = 3;
/// No answer in time: the outcome is unknown, ask again.
pub(crate) const EXIT_UNKNOWN: u8 = 4;
/// A proof does not hold.
pub(crate) const EXIT_NOT_PROVEN: u8 = 5;

/// A failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit: u8,
    /// Stable, in SCREAMING_SNAKE case; empty where there is none.
    pub(crate) reason: String,
    /// The field that it is about, by its path in the `.proto`; empty where it is about none.
    pub(crate) field: String,
    pub(crate) message: String,
}

impl CliError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: EXIT_FAILED, reason: String::new(), field: String::new(), message: message.into() }
    }

    /// What became of it is not known yet: ask again.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self { exit: EXIT_UNKNOWN, ..Self::failed(message) }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, ..Self::failed(message) }
    }

    /// The ledger holds none, and that is proven.
    pub(crate) fn not_there(kind: &str, id: impl std::fmt::Display) -> Self {
        Self::failed(format!("there is no {kind} {id}: check the id")).reason("NOT_FOUND")
    }

    pub(crate) fn not_proven(message: impl Into<String>) -> Self {
        Self { exit: EXIT_NOT_PROVEN, ..Self::failed(message) }.reason("NOT_PROVEN")
    }

    pub(crate) fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    pub(crate) fn field(mut self, field: Option<&str>) -> Self {
        field.unwrap_or_default().clone_into(&mut self.field);
        self
    }

    /// The same, after what was tried.
    pub(crate) fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn print(&self, json: bool) {
        eprintln!("error: {}", self.message);
        if json {
            self.print_json();
        }
    }

    /// As the last line of standard output.
    pub(crate) fn print_json(&self) {
        let Self { exit, reason, field, message } = self;
        crate::output::line(
            json!({"error": {"exit": exit, "reason": reason, "field": field, "message": message}}),
        );
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Api(api) => {
                let unknown = api.is_retryable() || api.code == tonic::Code::DeadlineExceeded;
                let exit = if unknown { EXIT_UNKNOWN } else { EXIT_FAILED };
                let place = if api.field.is_empty() { String::new() } else { format!("{}: ", api.field) };
                let remedy = if api.is_elsewhere() {
                    ""
                } else if unknown {
                    "; no node answered in time: is it running, are --endpoint and --ca right? A transaction may commit yet: ask for its receipt"
                } else if api.code == tonic::Code::Unauthenticated {
                    "; is the key (--key, --as) registered on this chain?"
                } else if api.code == tonic::Code::PermissionDenied {
                    "; ask with the key (--key, --as) of somebody who may"
                } else {
                    ""
                };
                let reason = if api.reason.is_empty() { format!("{:?}", api.code) } else { api.reason };
                let message = format!("{reason}: {place}{}{remedy}", api.message);
                Self { exit, message, reason, field: api.field }
            }
            ClientError::Proof(_) => Self::not_proven(message),
            ClientError::OtherChain { .. } => {
                Self::failed(format!("{message}; give the genesis of that chain with --genesis"))
                    .reason("OTHER_CHAIN")
            }
            ClientError::Config(_) => Self::usage(message),
            ClientError::Answer(_) | ClientError::OtherTransaction { .. } => {
                Self::failed(message).reason("BAD_ANSWER")
            }
            ClientError::Randomness(_) => Self::failed(message),
        }
    }
}

macro_rules! failed {
    ($($type:ty),+ $(,)?) => { $(
        impl From<$type> for CliError {
            fn from(error: $type) -> Self {
                Self::failed(error.to_string())
            }
        }
    )+ };
}

failed!(TestnetError, KeyFileError, epione_proto::ConvertError, epione_types::genesis::GenesisError);

/// Gives an I/O error the file it is about.
pub(crate) trait About<T> {
    fn about(self, what: impl std::fmt::Display) -> Result<T, CliError>;
}

impl<T, E: std::fmt::Display> About<T> for Result<T, E> {
    fn about(self, what: impl std::fmt::Display) -> Result<T, CliError> {
        self.map_err(|error| CliError::failed(format!("{what}: {error}")))
    }
}
