//! Every verb from every state by every role: exactly what the tables allow is done, and docs/state-machines.md says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a thing answers for its own verbs")]
#![expect(clippy::disallowed_methods, reason = "the page of the docs is a file")]
#![expect(clippy::disallowed_macros, reason = "says how much was tried")]

mod machines {
    pub(super) mod things;
}
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use epione_chaincode::consent::Revocation;
use epione_chaincode::machine::{Actor, Line, Table, Verb, tables};
use epione_chaincode::{invariants, keys};
use epione_types::call::{Call, DraftReport};
use epione_types::codes::RecordStatus;
use epione_types::{Outcome, TimestampMs};
use machines::things;
use support::*;

/// Who tries: name, who signs (the first sends), and as whom the tables know them.
const ROLES: [(&str, &[&str], &[Actor]); 16] = [
    ("consortium", &["hospD.admin0", "hospC.admin0"], &[Actor::Consortium, Actor::Validator]),
    ("hospA.admin0", &["hospA.admin0"], &[Actor::Admin, Actor::Validator, Actor::Proposer]),
    ("hospB.admin0", &["hospB.admin0"], &[Actor::Validator]),
    ("anna", &["anna"], &[Actor::Patient]),
    ("mother", &["mother"], &[Actor::Representative]),
    ("regA", &["regA"], &[Actor::Attestant, Actor::Enroller, Actor::Custodian]),
    ("drA", &["drA"], &[Actor::Author, Actor::Writer, Actor::Attestant, Actor::Enroller]),
    ("nurA", &["nurA"], &[Actor::Writer, Actor::Attestant, Actor::Enroller]),
    ("offA", &["offA"], &[Actor::Attestant, Actor::Custodian, Actor::CareReviewer]),
    ("bilA", &["bilA"], &[]),
    ("drB", &["drB"], &[Actor::Requester, Actor::Holder]),
    ("nurB", &["nurB"], &[]),
    ("offB", &["offB"], &[Actor::Reviewer]),
    ("audC", &["audC"], &[]),
    ("gus3", &["gus3"], &[Actor::Guardian]),
    ("owner", &[], &[Actor::Owner]),
];

/// One kind of thing: how to bring it into a state, and what is asked of it.
pub(crate) trait Thing {
    fn table(&self) -> Table;
    /// Brings it into `state`, ready for `verb`; false if it is in no such state by itself (an earlier version).
    fn reach(&self, world: &mut World, state: Option<&str>, verb: Verb) -> bool;
    /// Where it stands, for `who`, who may have another one of its kind to deal with.
    fn state(&self, world: &World, verb: Verb, who: &str) -> Option<&'static str>;
    /// The call, and who signs beside `who`; none if the verb has no meaning for them.
    fn call(
        &self,
        world: &World,
        verb: Verb,
        who: &str,
        from: Option<&str>,
    ) -> Option<(Call, Vec<&'static str>)>;
    /// As whom this thing knows `who`, given how the tables do in general.
    fn actors(&self, _verb: Verb, _from: Option<&str>, _who: &str, usual: &[Actor]) -> Vec<Actor> {
        usual.to_vec()
    }
    /// Who signs as its owner.
    fn owner(&self) -> Option<&'static str> {
        None
    }
}

fn by_call(line: &Line) -> bool {
    line.by != [Actor::Time]
}

/// How many attempts were made and how many of them did something.
fn try_all(thing: &dyn Thing) -> (usize, usize) {
    let table = thing.table();
    let verbs: BTreeSet<Verb> =
        table.lines.iter().filter(|line| by_call(line)).map(|line| line.verb).collect();
    let states = [None].into_iter().chain(table.states.iter().copied().map(Some));
    let (mut tried, mut done) = (0, BTreeSet::new());
    for from in states {
        for verb in &verbs {
            let mut world = World::cast();
            if !thing.reach(&mut world, from, *verb) {
                continue;
            }
            for (who, signers, usual) in ROLES {
                let mut world = world.clone();
                let owner = thing.owner();
                let signers = if who == "owner" { owner.as_slice() } else { signers };
                let Some((call, others)) =
                    thing.call(&world, *verb, who, from).filter(|_| !signers.is_empty())
                else {
                    continue;
                };
                let told = format!("{}: {verb:?} from {from:?} by {who}", table.entity);
                assert_eq!(thing.state(&world, *verb, who), from, "{told}: could not be set up");
                let actors = thing.actors(*verb, from, who, usual);
                let line = table.lines.iter().find(|line| {
                    line.from == from
                        && line.verb == *verb
                        && line.by.iter().any(|by| *by == Actor::Anyone || actors.contains(by))
                });
                let all: Vec<&str> = signers.iter().copied().chain(others).collect();
                let mut distinct = Vec::new();
                for name in all {
                    if !distinct.contains(&name) {
                        distinct.push(name);
                    }
                }
                let is_access = matches!(call, Call::RecordAccess(_));
                let tx = world.tx(&distinct, call);
                let outcome = world.run(tx).outcome;
                let state = thing.state(&world, *verb, who);
                tried += 1;
                match line {
                    Some(line) => {
                        assert_eq!(outcome, Outcome::Ok, "{told}");
                        assert_eq!(state, Some(line.to), "{told}");
                        done.insert((from, *verb, who));
                    }
                    None => {
                        assert_eq!(state, from, "{told}: nobody allowed it");
                        // An access that opens nothing is decided and traced all the same.
                        assert!(is_access || outcome != Outcome::Ok, "{told}");
                    }
                }
            }
        }
    }
    // Every line was seen to work, by everybody whom it names.
    for line in table.lines.iter().filter(|line| by_call(line)) {
        for by in line.by.iter().filter(|by| **by != Actor::Anyone) {
            let seen = done.iter().any(|(from, verb, who)| {
                let usual = ROLES.iter().find(|role| role.0 == *who).unwrap().2;
                *from == line.from
                    && *verb == line.verb
                    && thing.actors(line.verb, line.from, who, usual).contains(by)
            });
            assert!(seen, "{}: {:?} from {:?} by {by:?} was never tried", table.entity, line.verb, line.from);
        }
    }
    (tried, done.len())
}

macro_rules! things {
    ($($name:ident = $thing:expr),+ $(,)?) => {
        /// One of each.
        const THINGS: &[&dyn Thing] = &[$(&$thing),+];

        $(#[test]
        fn $name() {
            let (tried, done) = try_all(&$thing);
            println!("{}: {tried} attempts, {done} allowed", $thing.table().entity);
            assert!(tried > done && done > 0);
        })+

        #[test]
        fn no_table_is_left_out() {
            let tested: Vec<&str> = vec![$($thing.table().entity),+];
            let all: Vec<&str> = tables().iter().map(|table| table.entity).collect();
            assert_eq!(tested, all);
        }
    };
}

things! {
    organisations = things::Organisation,
    practitioners = things::Practitioner,
    devices = things::Device,
    patients = things::Patient,
    representations = things::Representation,
    recoveries = things::Recovery,
    records = things::Record,
    reports = things::Report,
    links = things::Link,
    grants = things::Grant,
    requests = things::Request,
    overrides = things::Override,
    proposals = things::Proposal,
}

/// Whatever is done, by whomever and whenever, and whether it is refused or not: the sentences hold after every block.
#[test]
fn a_walk_at_random_breaks_no_invariant() {
    let mut number = 7_u64;
    let mut below = |bound: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((number >> 33) % bound as u64).unwrap()
    };
    let mut applied = 0;
    let start = World::cast();
    for _ in 0..60 {
        let mut world = start.clone();
        for _ in 0..60 {
            let thing = THINGS[below(THINGS.len())];
            let lines = thing.table().lines;
            let Line { verb, by, from, .. } = lines[below(lines.len())];
            let mut roles: Vec<_> = ROLES.to_vec();
            if below(4) > 0 {
                // Mostly somebody who may.
                let may = |who, usual| thing.actors(verb, from, who, usual).iter().any(|it| by.contains(it));
                roles.retain(|(who, _, usual)| may(who, usual));
            }
            let Some((who, signers, _)) = (!roles.is_empty()).then(|| roles[below(roles.len())]) else {
                continue;
            };
            let owner = thing.owner();
            let signers = if who == "owner" { owner.as_slice() } else { signers };
            let Some((call, others)) = thing.call(&world, verb, who, None).filter(|_| !signers.is_empty())
            else {
                continue;
            };
            let mut all: Vec<&str> = Vec::new();
            for name in signers.iter().copied().chain(others) {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
            let after = [1_000, 1_000, 1_000, HOUR, 5 * HOUR, 80 * HOUR, 400 * HOUR][below(7)];
            let mut tx = world.tx(&all, call);
            tx.body.expires_at = epione_types::TimestampMs(world.now + after);
            let outcome = world.block_after(after, &[tx]).receipts[0].outcome;
            applied += u32::from(outcome == Outcome::Ok);
            let broken = invariants::broken(&world.state).unwrap();
            assert!(broken.is_empty(), "{verb:?} by {who} ({outcome:?}): {broken:#?}");
        }
    }
    assert!(applied > 600, "only {applied} calls were applied");
}

/// A check that cannot fail is a defect: each sentence is broken on purpose, and seen.
#[test]
fn every_invariant_has_teeth() {
    let mut world = World::cast();
    let parent = epione_types::call::Rule { delegable: true, ..permit(person("hospB", "drB")) };
    let sub = epione_types::call::Rule { parent: Some(grant("p")), ..permit(person("hospB", "drB2")) };
    let emergency = world.emergency("drB2", "karl1");
    let txs = [
        world.grant("anna", "anna", "p", parent),
        world.grant("drB", "anna", "sub", sub),
        world.tx(&["drA"], Call::DraftReport(DraftReport { record: record_call("anna", "draft", &[]) })),
        emergency,
    ];
    for tx in txs {
        world.ok(tx);
    }
    assert_eq!(invariants::broken(&world.state).unwrap(), [""; 0]);
    type Break = fn(&mut Map);
    fn edit<T: serde::Serialize + serde::de::DeserializeOwned>(
        state: &mut Map,
        key: &keys::Key<T>,
        change: impl FnOnce(&mut T),
    ) {
        let mut value = get(state, key).unwrap();
        change(&mut value);
        put(state, key, &value);
    }
    let breaks: [(&str, Break); 13] = [
        ("2 uses", |state| {
            let key = keys::grant(patient("anna"), grant("p"));
            edit(state, &key, |it| (it.rule.max_uses, it.uses) = (Some(1), 2));
        }),
        ("3 versions", |state| edit(state, &keys::record(record("anna1")), |it| it.version = 2)),
        ("3 the head", |state| {
            edit(state, &keys::record(record("anna1")), |it| it.status = RecordStatus::Superseded);
        }),
        ("4 an erased", |state| {
            edit(state, &keys::record(record("anna1")), |it| it.status = RecordStatus::Erased);
        }),
        ("5 no permit", |state| {
            let key = keys::grant(patient("anna"), grant("p"));
            edit(state, &key, |it| it.rule.purposes = epione_types::call::Purposes::All);
        }),
        ("6 a sub-grant", |state| {
            let key = keys::grant(patient("anna"), grant("sub"));
            edit(state, &key, |it| it.rule.actions.push(epione_types::codes::Action::Disclose));
        }),
        ("9 a patient", |state| edit(state, &keys::patient(patient("anna")), |it| it.key = None)),
        ("as many grants", |state| edit(state, &keys::patient(patient("anna")), |it| it.grants = 9)),
        ("what holders have", |state| state.retain(|key, _| !key.starts_with(b"gro/"))),
        ("what holders have", |state| {
            let key = keys::grant(patient("anna"), grant("p"));
            edit(state, &key, |it| it.revoked = Some(Revocation { at: TimestampMs(1), basis: it.basis }));
        }),
        ("a report's record", |state| {
            edit(state, &keys::record(record("draft")), |it| it.status = RecordStatus::Active);
        }),
        ("a review is owed", |state| state.retain(|key, _| !key.starts_with(b"rev/"))),
        ("a record is listed", |state| state.retain(|key, _| !key.starts_with(b"rbp/"))),
    ];
    for (sentence, change) in breaks {
        let mut state = world.state.clone();
        change(&mut state);
        let broken = invariants::broken(&state).unwrap();
        assert!(broken.iter().any(|it| it.starts_with(sentence)), "{sentence}: {broken:?}");
    }
}

fn words(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// What `Actor` says of each, in words.
fn actor(by: Actor) -> &'static str {
    match by {
        Actor::Consortium => "consortium",
        Actor::Validator => "a validator's organisation",
        Actor::Admin => "its organisation's admins",
        Actor::Proposer => "the organisation that proposed it",
        Actor::Joining => "the organisation that is to run the validator, with its voting key",
        Actor::Owner => "its own key",
        Actor::Patient => "the patient",
        Actor::Representative => "a representative",
        Actor::Attestant => "an attesting member of a caring organisation",
        Actor::Enroller => "a registrar or clinician",
        Actor::Author => "its author",
        Actor::Writer => "a clinician with WRITE at the custodian",
        Actor::Custodian => "the custodian, at the patient's wish",
        Actor::Requester => "who asks",
        Actor::Holder => "the holder of the parent grant",
        Actor::Reviewer => "a reviewer",
        Actor::CareReviewer => "a reviewer of a caring organisation",
        Actor::Guardian => "a guardian",
        Actor::Anyone => "any member",
        Actor::Time => "time",
    }
}

fn document() -> String {
    let mut text = String::from(
        "# State machines\n\n\
         What may be done to each kind of thing, where it stands then, and who may do it. The contracts ask these very\n\
         tables (`chaincode/src/machine.rs`); `chaincode/tests/machines.rs` prints this page (`EPIONE_BLESS=1 cargo test -p\n\
         epione-chaincode --test machines`) and tries every line, and everything that is no line, by every role.\n\n\
         *Consortium*: admins of as many validators' organisations as the policy says. *Organisation's admins*: as many\n\
         as its threshold. *Attesting member*: registrar, clinician or privacy officer of an organisation that cares for\n\
         the patient, with the hash of a signed document.\n",
    );
    for table in tables() {
        writeln!(text, "\n## {}\n", table.entity).unwrap();
        if !table.note.is_empty() {
            writeln!(text, "{}\n", table.note).unwrap();
        }
        text.push_str("| from | what | to | by |\n|---|---|---|---|\n");
        for line in &table.lines {
            let by: Vec<&str> = line.by.iter().copied().map(actor).collect();
            let verb = words(&format!("{:?}", line.verb));
            let from = line.from.unwrap_or("-");
            writeln!(text, "| {from} | {verb} | {} | {} |", line.to, by.join("; ")).unwrap();
        }
        let ends: Vec<&str> = table
            .states
            .iter()
            .copied()
            .filter(|state| table.lines.iter().all(|line| line.from != Some(state)))
            .collect();
        writeln!(text, "\nNothing leads out of: {}.", ends.join(", ")).unwrap();
    }
    text
}

#[test]
fn the_tables_are_in_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/state-machines.md");
    let text = document();
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "docs/state-machines.md is out of date: run with EPIONE_BLESS=1 and commit it");
}
