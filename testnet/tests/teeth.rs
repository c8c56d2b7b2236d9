//! Teeth: a guard of the protocol that is taken out is missed by the simulator, each on its own.
//!
//! `teeth/GUARD.txt` is the smallest plan that was found in which the guard's absence shows: without it something breaks, with
//! it nothing does. Should the code change so that other things happen in it, the next seeds of the same plan are tried.
//!
//! The search takes the seeds of `epione sim --seeds` one after the other, or those with an actor in them, until one breaks;
//! shrinks it, tells all about it, and writes the file if `EPIONE_BLESS=1`:
//!
//! ```text
//! EPIONE_GUARD=Quorum,Epoch [EPIONE_SEEDS=300] [EPIONE_ACTOR=impostor] \
//!   cargo test --release -p epione-testnet --test teeth search -- --ignored --nocapture
//! ```

use std::path::PathBuf;

use epione_consensus::guard::{Guard, without};
use epione_testnet::sim::actors::ActorKind;
use epione_testnet::sim::shrink::shrink;
use epione_testnet::sim::{Class, Failure, Lines, Options, Plan, run};

/// Of a pinned plan so many seeds are tried.
const TRIES: u64 = 12;
/// Runs that shrinking may take.
const SHRINK_RUNS: usize = 400;
/// Lines of the trace that are shown.
const LAST: usize = 12;

fn file(guard: Guard) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/teeth/{guard:?}.txt"))
}

fn pinned(guard: Guard) -> String {
    std::fs::read_to_string(file(guard)).unwrap_or_else(|error| panic!("{guard:?}: {error}"))
}

/// What breaks without the guard. Of a harness that breaks nothing is learned.
fn missed(guard: Guard, plan: &Plan, lines: Lines) -> Option<Failure> {
    let failure = without(guard, || run(plan, &Options { lines, canary: false })).failure;
    failure.filter(|failure| failure.class != Class::Harness)
}

fn bites(guard: Guard) {
    let plan = Plan::from_text(&pinned(guard)).expect("a plan");
    let seeds = (0..TRIES).map(|more| Plan { seed: plan.seed + more, ..plan.clone() });
    let bitten = seeds.clone().any(|plan| missed(guard, &plan, Lines::None).is_some());
    assert!(bitten, "nobody misses {guard:?} in {TRIES} seeds");
    assert_eq!(run(&plan, &Options::default()).failure, None, "{guard:?} is in place");
}

macro_rules! teeth {
    ($($name:ident $guard:ident,)+) => {
        /// Guards that a plan is pinned for.
        const PINNED: &[Guard] = &[$(Guard::$guard),+];
        $(
            #[test]
            fn $name() {
                bites(Guard::$guard);
            }
        )+
    };
}

teeth! {
    a_quorum_too_small Quorum,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Only what differs from the default.
fn brief(plan: &Plan) -> String {
    let default = Plan::default().to_text();
    let said = |line: &&str| !default.lines().any(|other| other == *line);
    plan.to_text().lines().filter(said).map(|line| format!("{line}\n")).collect()
}

#[test]
#[ignore = "a search, as long as one likes"]
fn search() {
    let wanted = variable("EPIONE_GUARD");
    let wanted = |guard: &Guard| {
        let name = format!("{guard:?}");
        wanted.as_ref().is_none_or(|names| names.split(',').any(|one| one == name))
    };
    let seeds = variable("EPIONE_SEEDS").map_or(300, |seeds| seeds.parse().expect("a number"));
    let actor = variable("EPIONE_ACTOR")
        .map(|name| ActorKind::ALL.into_iter().find(|one| one.name() == name).expect("an actor"));
    let draw = |seed| actor.map_or_else(|| Plan::draw(seed), |kind| Plan::draw_with(seed, 4, 80, kind));
    for guard in Guard::ALL.iter().copied().filter(wanted) {
        let found = (1..=seeds).find_map(|seed| Some((seed, missed(guard, &draw(seed), Lines::None)?)));
        let Some((seed, failure)) = found else {
            println!("| {guard:?} | none of {seeds} | |");
            continue;
        };
        println!("| {guard:?} | {seed} | {} |", failure.invariant);
        println!("seed {seed} at {} ms: {}", failure.at_ms, failure.text);
        let small = without(guard, || shrink(&draw(seed), &Options::default(), SHRINK_RUNS));
        let Some(small) = small else { continue };
        let drawn = actor.map_or_else(String::new, |kind| format!(", {}", kind.name()));
        let text =
            format!("# seed {seed}{drawn}; breaks {}\n{}", small.failure.invariant, brief(&small.plan));
        println!("shrunk in {} runs:\n{text}", small.runs);
        let again = Plan::from_text(&text).expect("what was printed");
        let again = missed(guard, &again, Lines::Last(LAST)).expect("it fails again");
        println!("at {} ms: {}\n{}\n", again.at_ms, again.text, again.last.join("\n"));
        assert_eq!(again.text, small.failure.text, "a replay");
        if variable("EPIONE_BLESS").is_some() {
            std::fs::write(file(guard), text).expect("written");
        }
    }
}
