//! PBFT as a pure state machine: `Replica::on(Event) -> Step`. No clock, socket, file, thread or randomness.
//!
//! ```text
//!             opening          PrePrepare      Prepare q-1      Commit q        executed      Seal q
//!  primary: ──────────▶ propose ──────▶ accept ──────▶ prepared ──────▶ deliver ──────▶ seal ──────▶ certified
//!                                         │                                                     low moves up
//!               timer ▶ Suspect ▶ f+1 ▶ ViewChange ▶ q ▶ NewView ▶ accept what was prepared
//! ```
//!
//! PBFT orders batches; the ledger seals blocks. Rules are numbered R1..R31 in docs/protocol.md; the
//! line that enforces one is marked. Invariants:
//!
//! * I1  No two correct replicas deliver different digests at one height, nor certify different headers.
//! * I2  One statement per (kind, view, height), and one Seal per height, over all restarts.
//! * I3  Nothing leaves before the records behind it are durable ([`Step::commit`]).
//! * I4  `view`, `asked`, `low`, `delivered` never decrease, on disk or in memory.
//! * I5  Memory is bounded by n and the window, not by what peers send.
//!
//! Tested by `tests/` (golden transcripts, one test per rule, hostile input) and by the simulator (`testnet/src/sim`).

mod epochs;
mod event;
mod explain;
pub mod guard;
mod message;
mod normal;
mod payload;
mod record;
mod replica;
mod slot;
mod sync;
mod timers;
mod view_change;

pub use event::{Alarm, Effect, Event, Evidence, Foreign, Halt, Misbehavior, Step, Wal};
pub use explain::{Action, Ballot, Cause, Change, Due, Explanation, Place, Stage};
pub use message::{
    BlocksAnswer, Body, CommitCertificate, FetchedBlock, Kind, Message, NewView, PreparedCertificate,
    Rejected, Signed, SignedVote, SlotStatus, Status, Verified, VerifiedBlocks, Verifying, ViewChange, Vote,
    max_message_bytes,
};
pub use payload::Payload;
pub use record::{MAX_RECORD_BYTES, RECORD_VERSION, Record};
pub use replica::{Config, Opening, Replica, RestoreError, Stored, Tip, Waiting};

pub use epione_types::NextEpoch;
use epione_types::{ValidatorIndex, ValidatorSet, View};

use guard::Guard;

/// The primary of a view: number (epoch + v) mod n of the ordered set (R7).
#[must_use]
pub fn primary(set: &ValidatorSet, view: View) -> ValidatorIndex {
    let n = set.len().max(1) as u128;
    let at = (u128::from(set.epoch.0) + u128::from(view.0)) % n;
    ValidatorIndex(u16::try_from(at).unwrap_or(0))
}

/// Votes that decide (R1).
fn quorum(set: &ValidatorSet) -> usize {
    if guard::holds(Guard::Quorum) { set.quorum() } else { set.faults() + 1 }
}
