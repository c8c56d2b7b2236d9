//! The API over TLS on loopback, in front of a real node: what is refused and why, who sees what, and what can be proven.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod auth;
mod bad_input;
mod events;
mod limits;
mod raw;
mod reads;
mod submit;
#[path = "../support/mod.rs"]
mod support;
mod world;
