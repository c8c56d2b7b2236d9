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

use epione_chaincode::machine::{Actor, Line, Table, Verb, tables};
use epione_types::Outcome;
use epione_types::call::Call;
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
