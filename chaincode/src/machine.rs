//! State machines: for every kind of thing one table of what may be done to it, where, and by whom.
//!
//! ```text
//! row(from, verb, to, by)      the contract asks `step(from, verb, by)` and goes where the table says
//! ```
//!
//! A contract finds out *who* acts (from the keys that signed) and *whether* the call makes sense; *what may be done*
//! stands in the table alone. `tests/machines.rs` tries every verb from every state as every role, sees that exactly
//! what the table allows is done, and prints the tables as docs/state-machines.md.

use epione_types::codes::{Code, Refusal};

use crate::host::{Done, Fault};

/// Who does something, seen from the thing that it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Admins of as many validators' organisations as the policy says, each by its own threshold.
    Consortium,
    /// The admin threshold of a validator's organisation.
    Validator,
    /// The admin threshold of the organisation that owns it.
    Admin,
    /// The admin threshold of the organisation that proposed it.
    Proposer,
    /// The admin threshold of the organisation that is to run the validator, with its voting key.
    Joining,
    /// The member itself, by its own key.
    Owner,
    /// The patient's own key.
    Patient,
    /// A representative in force, within its limits.
    Representative,
    /// A member of a caring organisation who attests a signed document.
    Attestant,
    /// A registrar or clinician at work.
    Enroller,
    /// Who wrote it.
    Author,
    /// A clinician of the custodian to whom a WRITE of it is permitted.
    Writer,
    /// A privacy officer or registrar of the custodian, in the patient's word.
    Custodian,
    /// Who asked.
    Requester,
    /// The holder of the grant that it was passed on from.
    Holder,
    /// A privacy officer who is another person: of the holder's organisation, or of a caring one; once overdue, also
    /// an auditor of a validator's organisation.
    Reviewer,
    /// A reviewer of an organisation that cares for the patient.
    CareReviewer,
    /// A guardian of the patient.
    Guardian,
    /// Any member.
    Anyone,
    /// Block time alone: no call does it.
    Time,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the name of what is done; who may do what stands in the tables")]
pub enum Verb {
    Register,
    Suspend,
    Resume,
    Leave,
    Retire,
    Update,
    Revoke,
    LinkCare,
    UnlinkCare,
    TakeOver,
    MarkDeceased,
    Erase,
    Supersede,
    MarkError,
    Hold,
    Draft,
    Submit,
    Approve,
    RequestChanges,
    Withdraw,
    AnchorUnreviewed,
    Create,
    Ask,
    Reject,
    Open,
    End,
    BecomeOverdue,
    FindOk,
    FindMisuse,
    Close,
    RotateKey,
    SetGuardians,
    Start,
    Cancel,
    Finish,
    Propose,
    Confirm,
    Pass,
    Decline,
}

/// One line of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<S: 'static> {
    /// Where the thing stands; none: it does not exist.
    pub from: Option<S>,
    /// What is done.
    pub verb: Verb,
    /// Where it stands then.
    pub to: S,
    /// By whom.
    pub by: &'static [Actor],
}

/// A line of a table, as it reads.
pub(crate) const fn row<S>(from: Option<S>, verb: Verb, to: S, by: &'static [Actor]) -> Row<S> {
    Row { from, verb, to, by }
}

/// All that may be done to one kind of thing.
#[derive(Debug, Clone, Copy)]
pub struct Machine<S: 'static> {
    /// Kind of thing.
    pub entity: &'static str,
    /// What the table does not say.
    pub note: &'static str,
    /// The table.
    pub rows: &'static [Row<S>],
}

impl<S: Code> Machine<S> {
    /// Where `verb` by `by` leads from `from`.
    pub(crate) fn step(&self, from: Option<S>, verb: Verb, by: Actor) -> Done<S> {
        let leads =
            |row: &&Row<S>| row.verb == verb && row.by.iter().any(|it| *it == by || *it == Actor::Anyone);
        let mut may = self.rows.iter().filter(leads).peekable();
        let refusal = if may.peek().is_some() { Refusal::BadState } else { Refusal::NotAuthorised };
        may.find(|row| row.from == from).map(|row| row.to).ok_or(Fault::Refused(refusal))
    }

    /// The table in words.
    #[must_use]
    pub fn table(&self) -> Table {
        let line = |row: &Row<S>| Line {
            from: row.from.map(Code::name),
            verb: row.verb,
            to: row.to.name(),
            by: row.by,
        };
        Table {
            entity: self.entity,
            note: self.note,
            states: S::ALL.iter().map(|state| state.name()).collect(),
            lines: self.rows.iter().map(line).collect(),
        }
    }
}

/// A [`Machine`] in words.
#[derive(Debug, Clone)]
pub struct Table {
    /// Kind of thing.
    pub entity: &'static str,
    /// What the lines do not say.
    pub note: &'static str,
    /// All states.
    pub states: Vec<&'static str>,
    /// All that may be done.
    pub lines: Vec<Line>,
}

/// A [`Row`] in words.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// State before; none: it does not exist.
    pub from: Option<&'static str>,
    /// What is done.
    pub verb: Verb,
    /// State after.
    pub to: &'static str,
    /// By whom.
    pub by: &'static [Actor],
}

/// Every state machine of the contracts.
#[must_use]
pub fn tables() -> Vec<Table> {
    use crate::{access, consent, governance, identity, links, records, reports};
    vec![
        identity::organisations::MACHINE.table(),
        identity::practitioners::MACHINE.table(),
        identity::devices::MACHINE.table(),
        identity::patients::MACHINE.table(),
        identity::representation::MACHINE.table(),
        identity::recovery::MACHINE.table(),
        records::MACHINE.table(),
        reports::MACHINE.table(),
        links::MACHINE.table(),
        consent::MACHINE.table(),
        consent::requests::MACHINE.table(),
        access::review::MACHINE.table(),
        governance::MACHINE.table(),
    ]
}
