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
    without_durable_first DurableFirst,
    without_restored_votes RestoredVotes,
    without_accepted_logged AcceptedLogged,
    without_prepared_logged PreparedLogged,
    without_sealed_logged SealedLogged,
    without_asked_logged AskedLogged,
    without_entered_logged EnteredLogged,
    without_vote_once VoteOnce,
    without_quorum Quorum,
    without_primary_counts_once PrimaryCountsOnce,
    without_distinct_view_changes DistinctViewChanges,
    without_certificate_size CertificateSize,
    without_certificate_signatures CertificateSignatures,
    without_message_signature MessageSignature,
    without_epoch Epoch,
    without_epoch_ends EpochEnds,
    without_epoch_logged EpochLogged,
    without_only_primary OnlyPrimary,
    without_new_view_list NewViewList,
    without_prepared_carried PreparedCarried,
    without_new_view_base NewViewBase,
    without_first_new_view FirstNewView,
    without_voting_ends VotingEnds,
    without_view_jump ViewJump,
    without_window Window,
    without_kept_heights KeptHeights,
    without_stamp Stamp,
    without_invalid_batch InvalidBatch,
    without_blocks_certified BlocksCertified,
    without_parent_links ParentLinks,
    without_body_digest BodyDigest,
    without_resend Resend,
}

/// What random schedules do not show, and the test of the consensus crate that falls.
const ELSEWHERE: &[(Guard, &str)] = &[
    (Guard::HighestPrepared, "`r18_the_list_follows_from_the_view_changes_and_another_is_proof`"),
    (Guard::KeptViews, "`r28_memory_is_bounded_whatever_a_validator_sends`"),
    (Guard::HeaderAgrees, "`r13_f_plus_1_other_seals_alarm_and_q_halt`"),
];

/// The row of a guard in docs/testing.md: in which seed something broke first, and what.
fn row(guard: Guard) -> String {
    if let Some((_, test)) = ELSEWHERE.iter().find(|(one, _)| *one == guard) {
        return format!("| {guard:?} | | {test} |");
    }
    let text = pinned(guard);
    let first = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    let (seed, invariant) = first.split_once("; breaks ").expect("as the search writes it");
    format!("| {guard:?} | {seed} | {invariant} |")
}

#[test]
fn every_guard_is_in_the_table_of_the_docs() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md");
    let docs = std::fs::read_to_string(docs).expect("the docs");
    let rows: Vec<String> = Guard::ALL.iter().map(|guard| row(*guard)).collect();
    let missing = rows.iter().filter(|row| !docs.lines().any(|line| line == **row)).count();
    assert_eq!(missing, 0, "the table is:\n{}", rows.join("\n"));
    let known = |guard: &&Guard| PINNED.contains(guard) || ELSEWHERE.iter().any(|(one, _)| one == *guard);
    assert_eq!(Guard::ALL.iter().filter(known).count(), Guard::ALL.len());
    assert!(PINNED.len() >= 15);
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
