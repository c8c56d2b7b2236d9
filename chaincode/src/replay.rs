//! Replay protection without nonces (R10): what occurred stands in the state until it could not occur again.
//!
//! ```text
//! block time > expires_at            EXPIRED                 records nothing: it can never be valid again
//! txi/{expires_at}{id} present       DUPLICATE               changes neither state nor the first receipt
//! req/{sender}{request_id} present   IDEMPOTENCY_MISMATCH    records the id; the request id stays the first one's
//! neither                            goes on                 records id and request id, whatever becomes of it
//! ```
//!
//! A refused transaction is recorded like any other: its refusal is its outcome, and a retry after mending
//! the cause is a new intent with a new request id. An id is part of the body's bytes' hash, so equal ids have
//! equal senders and request ids; only a mismatch leaves an id that holds no request id.
//!
//! Both leave in the first block whose *parent* is past `expires_at`: then every later block's time is past it
//! too, so nothing that left can come back. The index by time is the key itself: no further entry is needed.
//! Tested by `tests/replay.rs`.

use epione_types::TimestampMs;
use epione_types::codes::Refusal;

use crate::block::{BlockContext, DecodedTx};
use crate::host::{Done, Overlay, State, StateError, range, require};
use crate::keys;

/// How many entries are read from the store at once.
const PAGE: usize = 1_000;

/// Forgets what expired before the parent's time.
pub(crate) fn forget(overlay: &mut Overlay<'_>, parent: TimestampMs) -> Result<(), StateError> {
    let mut left = keys::transactions_expired_before(parent);
    loop {
        let page = range(overlay as &dyn State, &left, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        left = left.after(&last.clone());
        for (key, occupied) in page {
            overlay.delete_raw(key);
            if let Some((sender, request_id)) = occupied {
                overlay.delete(&keys::request(&sender, request_id));
            }
        }
        overlay.keep_call();
    }
}

/// Lets the first occurrence of an unexpired transaction through, and records every unexpired one.
pub(crate) fn admit(overlay: &mut Overlay<'_>, block: &BlockContext, tx: &DecodedTx) -> Done {
    let body = &tx.body;
    require(block.timestamp <= body.expires_at, Refusal::Expired)?;
    let occurrence = keys::transaction(body.expires_at, tx.id);
    require(!overlay.has(&occurrence)?, Refusal::Duplicate)?;
    let request = keys::request(&body.sender, body.request_id);
    let first = !overlay.has(&request)?;
    if first {
        overlay.put(&request, &tx.id);
    }
    overlay.put(&occurrence, &first.then_some((body.sender, body.request_id)));
    overlay.keep_call();
    require(first, Refusal::IdempotencyMismatch)
}
