//! What a refused call says: `google.rpc.Status` with `ErrorInfo`, `BadRequest` and `RetryInfo`.
//!
//! One type for both ends: a node makes a [`tonic::Status`] of an [`ApiError`], a client makes the [`ApiError`] again.
//! Nothing of a person may stand in it; the reason is stable, the message is for people.

use core::fmt;
use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::convert::ConvertError;
use crate::v1 as pb;

/// Domain of every reason.
pub const ERROR_DOMAIN: &str = "epione";

/// Reason of a node whose ledger begins with a snapshot, and lacks what came before.
pub const HISTORY_ELSEWHERE: &str = "HISTORY_ELSEWHERE";

/// Longest wait that a client takes from a node.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A refused call. The code tells a client what to do, the reason why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ApiError {
    /// gRPC status code.
    pub code: Code,
    /// Stable reason in SCREAMING_SNAKE case; empty when the peer sent none (a proxy, a broken connection).
    pub reason: String,
    /// For people: field, limit and value.
    pub message: String,
    /// Path of the field at fault; empty if none is.
    pub field: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.reason, self.message)
        }
    }
}

impl ApiError {
    /// An error of this code.
    pub fn new(code: Code, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), field: String::new(), retry_after: None }
    }

    /// INVALID_ARGUMENT about one field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), ..Self::new(Code::InvalidArgument, reason, message) }
    }

    /// RESOURCE_EXHAUSTED: new work is shed, try again then.
    pub fn overload(reason: impl Into<String>, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Code::ResourceExhausted, reason, message) }
    }

    /// The field's path as seen from the message that holds `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }

    /// Does it ask for what this node never had, and others may have?
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.reason == HISTORY_ELSEWHERE
    }

    /// May the same request succeed at another node, or here later? A node always gives a reason: without one it is
    /// the connection that failed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retry_after.is_some()
            || matches!(self.code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
            || (self.reason.is_empty()
                && matches!(self.code, Code::Unknown | Code::Internal | Code::Cancelled))
    }
}

impl From<ConvertError> for ApiError {
    fn from(error: ConvertError) -> Self {
        let message = error.to_string();
        Self::invalid(error.field, error.reason.name(), message)
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason, ERROR_DOMAIN, HashMap::new());
        if !error.field.is_empty() {
            details.add_bad_request_violation(error.field, error.message.clone());
        }
        if error.retry_after.is_some() {
            details.set_retry_info(error.retry_after);
        }
        Self::with_error_details(error.code, error.message, details)
    }
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        Self {
            code: status.code(),
            reason: details.error_info().map_or_else(String::new, |info| info.reason.clone()),
            message: with_causes(status),
            field: details
                .bad_request()
                .and_then(|bad| bad.field_violations.first())
                .map_or_else(String::new, |violation| violation.field.clone()),
            retry_after: details
                .retry_info()
                .and_then(|retry| retry.retry_delay)
                .map(|delay| delay.min(RETRY_AFTER_MAX)),
        }
    }
}

/// The message, and for a failed connection why it failed: a refused port, an unknown authority.
fn with_causes(status: &Status) -> String {
    let mut message = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = if message.is_empty() { text } else { format!("{message}: {text}") };
        }
        cause = error.source();
    }
    message
}

impl From<ApiError> for pb::SubmitError {
    fn from(error: ApiError) -> Self {
        Self {
            code: i32::from(error.code).unsigned_abs(),
            reason: error.reason,
            message: error.message,
            field: error.field,
            retry_after_ms: error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<pb::SubmitError> for ApiError {
    fn from(wire: pb::SubmitError) -> Self {
        Self {
            code: i32::try_from(wire.code).map_or(Code::Unknown, Code::from_i32),
            reason: wire.reason,
            message: wire.message,
            field: wire.field,
            retry_after: wire.retry_after_ms.map(|ms| Duration::from_millis(ms).min(RETRY_AFTER_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_what_a_client_reads() {
        let errors = [
            ApiError::new(Code::PermissionDenied, "NOT_ALLOWED", "not allowed"),
            ApiError::invalid("transaction.body", "WRONG_LENGTH", "0 bytes; there must be 1 to 16384"),
            ApiError::overload("MEMPOOL_FULL", "16 of 16 batches wait", Duration::from_millis(250)),
        ];
        for error in errors {
            assert_eq!(ApiError::from(&Status::from(error.clone())), error);
            assert_eq!(ApiError::from(pb::SubmitError::from(error.clone())), error);
        }
    }

    #[test]
    fn a_bare_status_has_a_code_and_no_reason() {
        let error = ApiError::from(&Status::unavailable("connection refused"));
        assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, ""));
        assert!(error.is_retryable());
    }

    #[test]
    fn a_hostile_wait_is_capped() {
        let error = ApiError::overload("X", "x", Duration::from_secs(1 << 40));
        assert_eq!(ApiError::from(&Status::from(error)).retry_after, Some(RETRY_AFTER_MAX));
    }
}
