//! What a caller is told when a call fails: every reason of this API, its code and its words, in one table.
//!
//! The code tells a client what to do: INVALID_ARGUMENT (fix it), UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND,
//! ALREADY_EXISTS,
//! FAILED_PRECONDITION (build it anew), OUT_OF_RANGE, RESOURCE_EXHAUSTED (later), UNAVAILABLE (elsewhere, or later),
//! DEADLINE_EXCEEDED (outcome unknown: ask by id). What went wrong inside stands in this node's log, not in the answer;
//! absent and hidden are one answer. No id but the caller's own is ever in a text. Tested below, row by row.

use std::net::IpAddr;
use std::time::Duration;

use epione_chaincode::StateError;
use epione_client::auth::TokenError;
use epione_proto::{ApiError, ConvertError, HISTORY_ELSEWHERE};
use epione_types::tx::TxShapeError;
use epione_types::{EventCursor, Height};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{debug, warn};

use crate::handle::{NodeError, SubmitError};
use crate::ports::Refused;
use crate::validate::Malformed;

/// When a caller that was shed may come again.
const LATER: Duration = Duration::from_secs(1);

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    State(#[from] StateError),

    #[error("the call has no token: send `authorization: Bearer <token>`")]
    TokenMissing,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token's key is not registered on this chain, as of height {0}")]
    UnknownKey(Height),
    #[error(
        "more than {limit} bad tokens from {from} within {seconds} s; new ones are not looked at for now"
    )]
    BadTokens { from: IpAddr, limit: u32, seconds: u64 },
    #[error("the caller may not do this, or there is nothing of this kind")]
    NotAllowed,

    #[error("{open} of {limit} {what} are open; try again later")]
    TooMany { what: &'static str, open: usize, limit: usize },
    #[error(
        "no answer within the call's deadline; the outcome of what was submitted is unknown: ask by its id"
    )]
    Deadline,
    #[error("the subscriber takes events more slowly than they happen; resume after height {}, index {}", .0.height, .0.index)]
    SlowConsumer(EventCursor),
    #[error("the stream is {minutes} minutes old: open it again")]
    StreamAge { minutes: u64 },

    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("page_size is {found}; at most {limit}")]
    PageSize { found: u32, limit: u32 },
    #[error("page_token is not one that this list gave: begin with the first page")]
    PageToken,
    #[error("lists and decisions have no proof: leave with_proof unset")]
    NoProofs,
    #[error("{found} {what}; at most {limit}")]
    FilterSize { what: &'static str, found: usize, limit: usize },
    #[error("key has {found} bytes; 1 to {limit}")]
    KeyLength { found: usize, limit: usize },

    #[error("this node is at height {height}, the call asks for {asked} or above")]
    NotYet { asked: u64, height: Height },
    #[error("block {0} has no certificate yet")]
    NotCertified(Height),
    #[error("proofs are kept for heights {first} to {last}; the call asks for {asked}")]
    Pruned { asked: u64, first: Height, last: Height },
    #[error(
        "the key has changed since height {0}, and older values are not kept: ask for the last certified height"
    )]
    ValueNotKept(u64),
    #[error("the transaction has expired; its proof is not kept any more")]
    ExpiryNotProvable,

    #[error("no snapshot was made: {0}")]
    NoSnapshot(String),

    /// A refusal of the transport's: no message, too large a message, no such method.
    #[error("{0}")]
    Transport(Status),
}

impl From<RpcError> for ApiError {
    /// The table.
    fn from(error: RpcError) -> Self {
        use RpcError as E;
        let text = error.to_string();
        match error {
            E::Convert(error) => error.into(),
            E::Submit(SubmitError::Malformed(why)) => malformed(&why).within("transaction"),
            E::Submit(SubmitError::Refused(why)) => refused(&why),
            E::Submit(SubmitError::Node(error)) | E::Node(error) => node(&error),
            E::State(error) => unreadable(&error),

            E::TokenMissing => Self::new(Code::Unauthenticated, "TOKEN_MISSING", text),
            E::Token(why) => Self::new(Code::Unauthenticated, why.reason(), text),
            E::UnknownKey(_) => Self::new(Code::Unauthenticated, "KEY_NOT_REGISTERED", text),
            E::BadTokens { seconds, .. } => {
                Self::overload("TOO_MANY_BAD_TOKENS", text, Duration::from_secs(seconds))
            }
            E::NotAllowed => Self::new(Code::PermissionDenied, "NOT_ALLOWED", text),

            E::TooMany { .. } => Self::overload("TOO_MANY_CALLS", text, LATER),
            E::Deadline => Self::new(Code::DeadlineExceeded, "DEADLINE", text),
            E::SlowConsumer(_) => Self::overload("SLOW_CONSUMER", text, LATER),
            E::StreamAge { .. } => Self::new(Code::Unavailable, "STREAM_AGE", text),

            E::NoSnapshot(_) => Self::new(Code::FailedPrecondition, "NO_SNAPSHOT", text),
            E::NotFound(_) => Self::new(Code::NotFound, "NOT_FOUND", text),
            E::PageSize { .. } => Self::invalid("page.page_size", "OUT_OF_RANGE", text),
            E::PageToken => Self::invalid("page.page_token", "BAD_PAGE_TOKEN", text),
            E::NoProofs => Self::invalid("options.with_proof", "NO_PROOFS", text),
            E::FilterSize { what, .. } => Self::invalid(format!("filter.{what}"), "TOO_MANY", text),
            E::KeyLength { .. } => Self::invalid("key", "WRONG_LENGTH", text),

            E::NotYet { .. } => {
                Self { retry_after: Some(LATER), ..Self::new(Code::Unavailable, "HEIGHT_NOT_REACHED", text) }
            }
            E::NotCertified(_) => {
                Self { retry_after: Some(LATER), ..Self::new(Code::Unavailable, "NOT_CERTIFIED", text) }
            }
            E::Pruned { .. } => Self::new(Code::OutOfRange, "HEIGHT_NOT_KEPT", text),
            E::ValueNotKept(_) => Self::new(Code::OutOfRange, "VALUE_NOT_KEPT", text),
            E::ExpiryNotProvable => Self::new(Code::OutOfRange, "PROOF_NOT_KEPT", text),

            E::Transport(status) => transport(&status),
        }
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let cursor = if let RpcError::SlowConsumer(cursor) = error { Some(cursor) } else { None };
        let status = Self::from(ApiError::from(error));
        match cursor {
            Some(cursor) => with_cursor(&status, cursor),
            None => status,
        }
    }
}

/// The same, with the place to resume after for machines.
fn with_cursor(status: &Status, cursor: EventCursor) -> Status {
    let mut details: ErrorDetails = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let place = [("height", cursor.height.to_string()), ("index", cursor.index.to_string())];
    details.set_error_info(
        reason,
        epione_proto::status::ERROR_DOMAIN,
        place.map(|(name, value)| (name.to_owned(), value)),
    );
    Status::with_error_details(status.code(), status.message(), details)
}

fn malformed(why: &Malformed) -> ApiError {
    let text = why.to_string();
    match why {
        Malformed::Shape(TxShapeError::BodySize { .. }) => ApiError::invalid("body", "WRONG_LENGTH", text),
        Malformed::Shape(TxShapeError::SignatureCount { .. }) => {
            ApiError::invalid("signatures", "SIGNATURE_COUNT", text)
        }
        Malformed::Shape(TxShapeError::DuplicateSigner { .. }) => {
            ApiError::invalid("signatures", "DUPLICATE_SIGNER", text)
        }
        Malformed::Body(error) => ApiError::from(error.clone()).within("body"),
        Malformed::OtherChain { .. } => ApiError::invalid("body.chain_id", "OTHER_CHAIN", text),
        Malformed::SenderDidNotSign(_) => ApiError::invalid("signatures", "SENDER_NOT_SIGNER", text),
        Malformed::Signers { .. } => ApiError::invalid("signatures", "SIGNATURE_MISSING", text),
        Malformed::Signature => ApiError::invalid("signatures", "BAD_SIGNATURE", text),
    }
}

fn refused(why: &Refused) -> ApiError {
    let text = why.to_string();
    match why {
        Refused::Full(_) => ApiError::overload("MEMPOOL_FULL", text, LATER),
        Refused::Signature => ApiError::invalid("transaction.signatures", "BAD_SIGNATURE", text),
        Refused::RequestIdTaken => ApiError {
            field: "transaction.body.request_id".to_owned(),
            ..ApiError::new(Code::AlreadyExists, "IDEMPOTENCY_MISMATCH", text)
        },
        Refused::Expired { .. } => ApiError {
            field: "transaction.body.expires_at_ms".to_owned(),
            ..ApiError::new(Code::FailedPrecondition, "EXPIRED", text)
        },
        Refused::TooFarAhead { .. } => {
            ApiError::invalid("transaction.body.expires_at_ms", "EXPIRES_TOO_LATE", text)
        }
        // The cause names files of this machine.
        Refused::Unavailable(cause) => {
            debug!(%cause, "a transaction was refused");
            let text = "this node takes no transactions now; submit to another one";
            ApiError::new(Code::Unavailable, "NODE_HALTED", text)
        }
    }
}

fn node(error: &NodeError) -> ApiError {
    match error {
        NodeError::Stopping => ApiError::new(Code::Unavailable, "NODE_STOPPING", error.to_string()),
        NodeError::Below(_) => ApiError::new(Code::Unavailable, HISTORY_ELSEWHERE, error.to_string()),
        NodeError::Ledger(_) | NodeError::Missing(_) => unreadable(error),
    }
}

fn unreadable(cause: &dyn std::error::Error) -> ApiError {
    warn!(%cause, "a call cannot be answered");
    let text = "this node's ledger cannot be read; ask another one";
    ApiError::new(Code::Unavailable, "LEDGER_UNREADABLE", text)
}

/// tonic's own refusals have codes of their own mind and no reason.
fn transport(status: &Status) -> ApiError {
    let text = status.message();
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            ApiError::new(Code::InvalidArgument, "MESSAGE_TOO_LARGE", text)
        }
        Code::Unimplemented => {
            ApiError::new(Code::Unimplemented, "UNKNOWN_METHOD", "no such method, or no such encoding")
        }
        Code::Internal | Code::InvalidArgument => ApiError::new(
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
            "the request is not one message of the method's type",
        ),
        code @ (Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated) => ApiError::new(code, "TRANSPORT", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::Full;
    use epione_ledger::chain::ChainError;
    use epione_proto::ConvertReason;
    use epione_types::{ChainId, PublicKey, TimestampMs};

    /// Every row: error, code, reason, field.
    fn table() -> Vec<(RpcError, Code, &'static str, &'static str)> {
        use RpcError as E;
        let malformed = |why: Malformed| E::Submit(SubmitError::Malformed(why));
        let refused = |why: Refused| E::Submit(SubmitError::Refused(why));
        let key = PublicKey([7; 32]);
        let (t1, t2) = (TimestampMs(1), TimestampMs(2));
        let missing = ConvertError::new("page", ConvertReason::MissingField, "not set");
        let full = Full { what: "mempool", used: 2, limit: 2, unit: "transactions" };
        let other = Malformed::OtherChain { expected: ChainId([1; 32]), found: ChainId([2; 32]) };
        let secret = || ChainError::Poisoned("/secret/path".to_owned());
        let peer = IpAddr::from([127, 0, 0, 1]);
        vec![
            (E::Convert(missing.clone()), Code::InvalidArgument, "MISSING_FIELD", "page"),
            (
                malformed(Malformed::Body(missing)),
                Code::InvalidArgument,
                "MISSING_FIELD",
                "transaction.body.page",
            ),
            (
                malformed(TxShapeError::BodySize { found: 0 }.into()),
                Code::InvalidArgument,
                "WRONG_LENGTH",
                "transaction.body",
            ),
            (
                malformed(TxShapeError::SignatureCount { found: 0 }.into()),
                Code::InvalidArgument,
                "SIGNATURE_COUNT",
                "transaction.signatures",
            ),
            (
                malformed(TxShapeError::DuplicateSigner { key }.into()),
                Code::InvalidArgument,
                "DUPLICATE_SIGNER",
                "transaction.signatures",
            ),
            (malformed(other), Code::InvalidArgument, "OTHER_CHAIN", "transaction.body.chain_id"),
            (
                malformed(Malformed::SenderDidNotSign(key)),
                Code::InvalidArgument,
                "SENDER_NOT_SIGNER",
                "transaction.signatures",
            ),
            (
                malformed(Malformed::Signers { wanted: 2, found: 1 }),
                Code::InvalidArgument,
                "SIGNATURE_MISSING",
                "transaction.signatures",
            ),
            (
                malformed(Malformed::Signature),
                Code::InvalidArgument,
                "BAD_SIGNATURE",
                "transaction.signatures",
            ),
            (refused(Refused::Full(full)), Code::ResourceExhausted, "MEMPOOL_FULL", ""),
            (refused(Refused::Signature), Code::InvalidArgument, "BAD_SIGNATURE", "transaction.signatures"),
            (
                refused(Refused::RequestIdTaken),
                Code::AlreadyExists,
                "IDEMPOTENCY_MISMATCH",
                "transaction.body.request_id",
            ),
            (
                refused(Refused::Expired { expires_at: t1, now: t2 }),
                Code::FailedPrecondition,
                "EXPIRED",
                "transaction.body.expires_at_ms",
            ),
            (
                refused(Refused::TooFarAhead { expires_at: t2, limit: t1 }),
                Code::InvalidArgument,
                "EXPIRES_TOO_LATE",
                "transaction.body.expires_at_ms",
            ),
            (refused(Refused::Unavailable("/secret/path".to_owned())), Code::Unavailable, "NODE_HALTED", ""),
            (E::Node(NodeError::Stopping), Code::Unavailable, "NODE_STOPPING", ""),
            (E::Node(NodeError::Ledger(secret())), Code::Unavailable, "LEDGER_UNREADABLE", ""),
            (E::Submit(NodeError::Ledger(secret()).into()), Code::Unavailable, "LEDGER_UNREADABLE", ""),
            (E::Node(NodeError::Missing(Height(3))), Code::Unavailable, "LEDGER_UNREADABLE", ""),
            (E::Node(NodeError::Below(Height(3))), Code::Unavailable, "HISTORY_ELSEWHERE", ""),
            (
                E::State(StateError::Store("/secret/path".to_owned())),
                Code::Unavailable,
                "LEDGER_UNREADABLE",
                "",
            ),
            (E::TokenMissing, Code::Unauthenticated, "TOKEN_MISSING", ""),
            (E::Token(TokenError::OtherAudience), Code::Unauthenticated, "TOKEN_AUDIENCE", ""),
            (E::Token(TokenError::BadSignature), Code::Unauthenticated, "TOKEN_SIGNATURE", ""),
            (E::UnknownKey(Height(3)), Code::Unauthenticated, "KEY_NOT_REGISTERED", ""),
            (
                E::BadTokens { from: peer, limit: 3, seconds: 10 },
                Code::ResourceExhausted,
                "TOO_MANY_BAD_TOKENS",
                "",
            ),
            (E::NotAllowed, Code::PermissionDenied, "NOT_ALLOWED", ""),
            (E::TooMany { what: "calls", open: 3, limit: 3 }, Code::ResourceExhausted, "TOO_MANY_CALLS", ""),
            (E::Deadline, Code::DeadlineExceeded, "DEADLINE", ""),
            (E::SlowConsumer(EventCursor::default()), Code::ResourceExhausted, "SLOW_CONSUMER", ""),
            (E::StreamAge { minutes: 60 }, Code::Unavailable, "STREAM_AGE", ""),
            (E::NotFound("block"), Code::NotFound, "NOT_FOUND", ""),
            (E::PageSize { found: 501, limit: 500 }, Code::InvalidArgument, "OUT_OF_RANGE", "page.page_size"),
            (E::PageToken, Code::InvalidArgument, "BAD_PAGE_TOKEN", "page.page_token"),
            (E::NoProofs, Code::InvalidArgument, "NO_PROOFS", "options.with_proof"),
            (
                E::FilterSize { what: "kinds", found: 65, limit: 64 },
                Code::InvalidArgument,
                "TOO_MANY",
                "filter.kinds",
            ),
            (E::KeyLength { found: 0, limit: 256 }, Code::InvalidArgument, "WRONG_LENGTH", "key"),
            (E::NotYet { asked: 9, height: Height(3) }, Code::Unavailable, "HEIGHT_NOT_REACHED", ""),
            (E::NotCertified(Height(3)), Code::Unavailable, "NOT_CERTIFIED", ""),
            (
                E::Pruned { asked: 1, first: Height(2), last: Height(3) },
                Code::OutOfRange,
                "HEIGHT_NOT_KEPT",
                "",
            ),
            (E::ValueNotKept(1), Code::OutOfRange, "VALUE_NOT_KEPT", ""),
            (E::ExpiryNotProvable, Code::OutOfRange, "PROOF_NOT_KEPT", ""),
            (E::Transport(Status::out_of_range("too large")), Code::InvalidArgument, "MESSAGE_TOO_LARGE", ""),
            (E::Transport(Status::internal("prost")), Code::InvalidArgument, "MALFORMED_MESSAGE", ""),
            (E::Transport(Status::unimplemented("")), Code::Unimplemented, "UNKNOWN_METHOD", ""),
            (E::Transport(Status::cancelled("gone")), Code::Cancelled, "TRANSPORT", ""),
        ]
    }

    #[test]
    fn every_error_has_its_code_reason_and_field_and_betrays_nothing() {
        for (error, code, reason, field) in table() {
            let name = format!("{error:?}");
            let status = Status::from(error);
            let told = ApiError::from(&status);
            assert_eq!(
                (told.code, told.reason.as_str(), told.field.as_str()),
                (code, reason, field),
                "{name}"
            );
            assert!(!told.message.contains("secret") && !told.message.is_empty(), "{told}");
            assert_eq!(
                told.retry_after.is_some(),
                told.code == Code::ResourceExhausted
                    || matches!(reason, "HEIGHT_NOT_REACHED" | "NOT_CERTIFIED"),
                "{name}"
            );
            let info = status.get_error_details().error_info().cloned().unwrap();
            assert_eq!(info.domain, "epione");
            assert!(info.reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn a_slow_subscriber_is_told_where_to_go_on() {
        let status = Status::from(RpcError::SlowConsumer(EventCursor { height: Height(41), index: 3 }));
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!((info.metadata["height"].as_str(), info.metadata["index"].as_str()), ("41", "3"));
        assert!(status.message().contains("height 41, index 3"));
    }
}
