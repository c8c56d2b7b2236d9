//! What must hold whatever bytes come from outside: one function a target, for the fuzzer and for ordinary tests.
//!
//! ```text
//!  ../targets/NAME.rs   cargo fuzz: bytes ──┐
//!  ../corpus/NAME/*     what it found ──────┼──▶ NAME::check(bytes)   panics if the property does not hold
//!  tests/corpus.rs      replays it ─────────┘
//! ```
//!
//! An input is read either as bytes from outside or as decisions ([`choices`]): which honest message to damage, which event
//! comes next. Each target's sentence is in its module. A finding is mended and its input stays in the corpus.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a property that does not hold panics; that is how the fuzzer and the tests hear of it"
)]

pub mod blocks;
pub mod bodies;
mod choices;
#[path = "../../../../consensus/tests/common/mod.rs"]
mod common;
pub mod config;
pub mod fhir;
pub mod frames;
mod liar;
mod lived;
pub mod log;
pub mod replica;

/// What became of an input. A corpus in which all is refused tests only the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// An error said so.
    Refused,
    /// It was let in, and everything behind the door held too.
    Accepted,
}

impl Outcome {
    const fn accepted(yes: bool) -> Self {
        if yes { Self::Accepted } else { Self::Refused }
    }
}

/// A target: the property that its inputs are held against.
pub type Target = fn(&[u8]) -> Outcome;

/// All targets by name: that of the folder in `corpus/` and of the file in `targets/`.
pub const TARGETS: [(&str, Target); 7] = [
    ("frames", frames::check),
    ("blocks", blocks::check),
    ("log", log::check),
    ("replica", replica::check),
    ("bodies", bodies::check),
    ("fhir", fhir::check),
    ("config", config::check),
];

/// Inputs to begin with, by target: what the fuzzer is given before it has found any.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frames" => frames::seeds(),
        "blocks" => blocks::seeds(),
        "log" => log::seeds(),
        "replica" => replica::seeds(),
        "fhir" => fhir::seeds(),
        "config" => config::seeds(),
        _ => Vec::new(),
    }
}
