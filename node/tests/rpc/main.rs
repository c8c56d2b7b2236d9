//! The API over TLS on loopback, in front of a real node: what is refused and why, who sees what, and what can be proven.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod auth;
mod authorisation;
mod bad_input;
mod bad_peer;
mod events;
mod limits;
mod raw;
#[path = "../support/raw_peer.rs"]
mod raw_peer;
mod reads;
mod status;
mod submit;
#[path = "../support/mod.rs"]
mod support;
mod world;
