//! The contracts that every hospital runs: a pure, deterministic function of (state, block context, transactions).
//!
//! ```text
//! execute_block(state, context, txs) ─▶ receipts, writes, next deadline
//!    │  1 deadlines that block time has reached, ids that the parent's time has passed
//!    │  2 per transaction: replay (R10) ─▶ contract ─▶ all of its writes and events, or none
//!    ▼
//! identity ─ records ─ reports ─ links ─ consent ─ access ─ governance     each over its own keys, through `host`
//!     └ what may be done to each kind of thing: one table (`machine`)
//!                                              └ decide()     the one access decision: pure, no state, no clock
//! ```
//!
//! How it cannot go wrong: no contract sees a clock, a random source, a float or an unordered map; a store
//! error is fatal and never an answer; a refusal applies nothing and is a receipt; a denied access is no
//! refusal but a committed outcome. [`check_access`] (dry run), the transaction and the tests share one `decide`.
//! Tested by `tests/`: the table of decision cases, the decision's properties, every refusal, replay, determinism.

pub mod access;
pub mod block;
pub mod config;
pub mod consent;
pub mod governance;
pub mod host;
pub mod identity;
pub mod invariants;
pub mod keys;
pub mod links;
pub mod machine;
pub mod read;
pub mod records;
mod replay;
pub mod reports;
pub mod research;
mod voice;

pub use access::decide::{Decided, Facts, Request, decide};
pub use access::{check_access, check_access_as_told, next_deadline};
pub use block::{BlockContext, DecodedTx, Execution, execute_block, genesis_writes};
pub use host::{State, StateError, Writes};
