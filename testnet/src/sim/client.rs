//! The oracle: every submission, to its terminal answer, and whether any later answer of anybody contradicts it.
//!
//! What is true is what the first honest node executed; agreement sees to it that this is everybody's truth. Then an answer
//! is right or it is a lie, and what was answered once stays so: committed with one receipt, or expired and never applied.

use std::collections::BTreeMap;

use epione_node::mempool::Account;
use epione_node::ports::{Admitted, Refused};
use epione_types::codes::Refusal;
use epione_types::{BlockHeader, Height, Outcome, Receipt, SignedTx, TimestampMs, TxId};

use super::invariants::Check;
use super::plan::Nodes;

/// A transaction that some client made.
#[derive(Debug)]
pub struct Submission {
    /// It.
    pub tx: SignedTx,
    /// Its id.
    pub id: TxId,
    /// Whose share it is counted in.
    pub account: Account,
    /// Last block time at which it may commit.
    pub expires_at: TimestampMs,
    /// A signature on it is not valid.
    pub forged: bool,
    /// Honest nodes that said that they took it and will not forget.
    pub taken: Nodes,
    /// A client has an answer that is final.
    pub answer: Option<Answer>,
    /// When it was submitted last, in microseconds.
    pub tried: u64,
}

/// An answer that is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has this receipt.
    Committed(Place),
    /// It can never be applied any more.
    Expired,
}

/// Where a receipt stands and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Height.
    pub height: Height,
    /// Index in the block.
    pub index: u32,
    /// Outcome.
    pub outcome: Outcome,
}

impl Place {
    /// Of a receipt.
    #[must_use]
    pub const fn of(receipt: &Receipt) -> Self {
        Self { height: receipt.height, index: receipt.index, outcome: receipt.outcome }
    }
}

/// All submissions, and the truth about them.
#[derive(Debug, Default)]
pub struct Oracle {
    submissions: Vec<Submission>,
    numbers: BTreeMap<TxId, u64>,
    truth: BTreeMap<TxId, Place>,
    /// Time of the highest block.
    time: TimestampMs,
}

impl Oracle {
    /// A new one; its number.
    pub fn made(&mut self, submission: Submission) -> u64 {
        let number = self.submissions.len() as u64;
        self.numbers.insert(submission.id, number);
        self.submissions.push(submission);
        number
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> &[Submission] {
        &self.submissions
    }

    /// One of them, to look at.
    ///
    /// # Panics
    /// When there is none of this number.
    #[must_use]
    pub fn one_of(&self, number: u64) -> &Submission {
        &self.submissions[usize::try_from(number).unwrap_or(usize::MAX)]
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn one(&mut self, number: u64) -> &mut Submission {
        &mut self.submissions[usize::try_from(number).unwrap_or(usize::MAX)]
    }

    /// Where a transaction stands.
    #[must_use]
    pub fn place(&self, id: &TxId) -> Option<Place> {
        self.truth.get(id).copied()
    }

    /// Everything that stands in a block, by first occurrence.
    pub fn truths(&self) -> impl Iterator<Item = (&TxId, &Place)> {
        self.truth.iter()
    }

    /// Time of the highest block.
    #[must_use]
    pub const fn time(&self) -> TimestampMs {
        self.time
    }

    /// Nothing more can happen to it: it stands in a block, or time has passed it.
    #[must_use]
    pub fn is_over(&self, submission: &Submission) -> bool {
        self.truth.contains_key(&submission.id) || submission.expires_at < self.time
    }

    /// The first honest node executed a block.
    ///
    /// # Errors
    /// A transaction that nobody made, applied twice, after its time, or after a client was told that it never would be.
    pub fn executed(&mut self, header: &BlockHeader, receipts: &[Receipt]) -> Check {
        self.time = header.timestamp;
        for receipt in receipts {
            let id = receipt.tx_id;
            let Some(number) = self.numbers.get(&id) else {
                return Err(format!(
                    "height {} holds transaction {id}, which no client made",
                    receipt.height
                ));
            };
            let submission = &self.submissions[usize::try_from(*number).unwrap_or(usize::MAX)];
            let applied = receipt.outcome == Outcome::Ok;
            if applied && submission.expires_at < header.timestamp {
                return Err(format!("height {} applies transaction {id} after its time", receipt.height));
            }
            if applied && submission.answer == Some(Answer::Expired) {
                return Err(format!(
                    "transaction {id} was answered EXPIRED, and height {} applies it",
                    receipt.height
                ));
            }
            match self.truth.get(&id) {
                None => {
                    self.truth.insert(id, Place::of(receipt));
                }
                Some(first) if applied => {
                    let (before, now) = (first.height, receipt.height);
                    return Err(format!(
                        "transaction {id} is applied at height {now}, and was in height {before}"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// An honest node's word on a submission. True if the client waits for more.
    ///
    /// # Errors
    /// The word cannot be right.
    pub fn word(
        &mut self,
        node: usize,
        number: u64,
        word: &Result<Admitted, Refused>,
    ) -> Result<bool, String> {
        let submission = self.one(number);
        let id = submission.id;
        match word {
            Ok(_) if submission.forged => {
                Err(format!("node {node} took transaction {id}, which has an invalid signature"))
            }
            Ok(admitted) => {
                if *admitted == (Admitted::New { durable: true }) {
                    submission.taken.0 |= Nodes::one(node).0;
                }
                Ok(true)
            }
            Err(Refused::Signature) if !submission.forged => {
                Err(format!("node {node} refused the valid signatures of transaction {id}"))
            }
            Err(_) => Ok(false),
        }
    }

    /// A client got a final answer from an honest node.
    ///
    /// # Errors
    /// It is not the truth, or not what was answered before.
    pub fn answered(&mut self, node: usize, number: u64, answer: Answer) -> Check {
        let submission = self.one(number);
        let (id, before) = (submission.id, submission.answer);
        submission.answer.get_or_insert(answer);
        let truth = self.truth.get(&id);
        let right = match answer {
            Answer::Committed(place) => truth == Some(&place),
            Answer::Expired => truth.is_none_or(|place| place.outcome == Outcome::Refused(Refusal::Expired)),
        };
        if !right {
            return Err(format!(
                "node {node} answered {answer:?} for transaction {id}; the ledger says {truth:?}"
            ));
        }
        match before {
            Some(before) if before != answer && !late(before, answer) => {
                Err(format!("transaction {id} was answered {before:?}, and by node {node} {answer:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// A transaction that comes into a block after its time has a receipt that says so: no contradiction to EXPIRED.
fn late(one: Answer, other: Answer) -> bool {
    let expired = Outcome::Refused(Refusal::Expired);
    let late = |a, b| {
        a == Answer::Expired && matches!(b, Answer::Committed(Place { outcome, .. }) if outcome == expired)
    };
    late(one, other) || late(other, one)
}
