//! Rust SDK: sign, submit, await, subscribe, verify; and import what a hospital has.
//!
//! [`EpioneClient`] speaks to any of the nodes it is given and goes on with the next when one is gone. A transaction
//! is encoded and signed once ([`TxBuilder`]) and its bytes are sent again until there is an answer, which the ledger
//! makes safe. What a node proves is checked against the genesis ([`verify`]) before a caller sees it, so that no
//! single node is trusted for it; what it only says is marked so. [`auth`] is the token by which nodes know a caller.
//!
//! Tested in `tests/`: against a node made of canned answers over TLS (`client.rs`), and proofs with every bit
//! flipped (`verify.rs`).

pub mod auth;
pub mod civil;
pub mod fhir;
pub mod keys;
pub mod tx;
pub mod verify;

mod connection;
mod error;
mod events;
mod read;
mod submit;

pub use connection::{Config, EpioneClient};
pub use error::ClientError;
pub use events::{LedgerEvent, Start, Subscription};
pub use submit::{Answer, SubmitAnswers, SubmitSink, TxStatus, Wait};
pub use tx::TxBuilder;
pub use verify::Trust;
