//! The simulator: whole validators in virtual time, attacked.
//!
//! ```text
//!  seed ─▶ plan (data: sizes, clocks, faults, actors) ─▶ cluster ─▶ report: what happened, trace hash, or what broke
//! ```
//!
//! The production driver, replica, ledger, contracts, log and mempool run here over a simulated network, disks and clocks, in
//! one thread. Phase one: faults and load, every invariant after every event. Phase two: all is healed but the Byzantine,
//! and within a bounded time everything must be well. Everything follows from the plan: one plan, one trace.
//!
//! Tested by `tests/sim.rs`; `tests/teeth.rs` takes out the guards that it has to miss.
#![expect(clippy::indexing_slicing, reason = "a harness that panics has failed, and says so: exit code 4")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at what concerns it")]

pub mod actors;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod counts;
pub mod crypto;
pub mod disk;
pub mod drill;
pub mod facts;
pub mod invariants;
pub mod many;
pub mod net;
pub mod node;
pub mod plan;
pub mod random;
pub mod roll;
pub mod scenario;
pub mod shrink;
pub mod trace;
pub mod workload;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use epione_types::Hash;

pub use counts::Counts;
pub use plan::Plan;
pub use trace::Lines;

/// How a run is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done with the trace's lines.
    pub lines: Lines,
    /// Byzantine validators are held to be honest: a run with one must fail.
    pub canary: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { lines: Lines::None, canary: false }
    }
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen that must.
    Liveness,
    /// The simulator itself is wrong.
    Harness,
}

impl Class {
    /// Exit code of the command.
    #[must_use]
    pub const fn exit(self) -> u8 {
        match self {
            Self::Safety => 2,
            Self::Liveness => 3,
            Self::Harness => 4,
        }
    }
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Harness => "harness",
        }
    }
}

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// The invariant's name.
    pub invariant: String,
    /// How it shows.
    pub text: String,
    /// Virtual time, in ms.
    pub at_ms: u64,
    /// The last lines of the trace, if they were kept.
    pub last: Vec<String>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Validators.
    pub n: usize,
    /// What happened how often.
    pub counts: Counts,
    /// Hash over every transition.
    pub trace: Hash,
    /// How long it was, in virtual ms.
    pub virtual_ms: u64,
    /// What broke; none if nothing did.
    pub failure: Option<Failure>,
}

thread_local! {
    /// Where the last panic of this thread came from.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Takes over the panic hook: panics of runs are caught, and belong to their report.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let running = PANIC.with(|place| place.borrow().is_some());
            if !running {
                return before(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic without words").to_owned();
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PANIC.with(|panic| *panic.borrow_mut() = Some((place, text)));
        }));
    });
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan, options: &Options) -> Report {
    let mut cluster = cluster::Cluster::new(plan, options);
    let failure = watched(&mut cluster, cluster::Cluster::run);
    let (counts, trace, virtual_ms) = cluster.finish();
    Report { seed: plan.seed, n: plan.n, counts, trace, virtual_ms, failure }
}

/// Lets a cluster do something; what broke, a panic included.
fn watched<'a>(
    cluster: &mut cluster::Cluster<'a>,
    act: impl FnOnce(&mut cluster::Cluster<'a>) -> Result<(), Failure>,
) -> Option<Failure> {
    quiet();
    PANIC.with(|place| *place.borrow_mut() = Some((String::new(), String::new())));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| act(cluster)));
    let panicked = PANIC.with(|place| place.borrow_mut().take());
    match outcome {
        Ok(result) => result.err(),
        Err(_) => {
            let (place, text) = panicked.unwrap_or_default();
            let class = if place.contains("testnet/src/sim") { Class::Harness } else { Class::Safety };
            let text = format!("{place}: {text}");
            Some(cluster.failure(class, "no panic", text))
        }
    }
}
