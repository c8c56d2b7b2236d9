//! Bulk: many transactions over one stream, with what became of each counted and timed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use epione_client::{EpioneClient, TxStatus, Wait};
use epione_types::{Height, Outcome, SignedTx, TxId};
use tokio::sync::{mpsc, watch};

use crate::error::{CliError, EXIT_FAILED, EXIT_UNKNOWN};

/// Unanswered transactions at a time.
pub(crate) const WINDOW: usize = 256;

/// What became of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Applied and final.
    pub(crate) applied: u64,
    /// Not applied, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Not known to be final, by reason: each may be applied yet.
    pub(crate) unknown: BTreeMap<String, u64>,
    /// The highest block that holds one of them.
    pub(crate) height: Height,
    /// From sending to the verified answer, each.
    pub(crate) latencies: Vec<Duration>,
    /// From the first sent to the last answered.
    pub(crate) took: Duration,
}

impl Tally {
    /// How many were not applied.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Of how many nobody knows what became.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unknown.values().sum()
    }

    /// All of another's too.
    pub(crate) fn add(&mut self, other: Self) {
        self.applied += other.applied;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_insert(0) += count;
        }
        for (reason, count) in other.unknown {
            *self.unknown.entry(reason).or_insert(0) += count;
        }
        self.height = self.height.max(other.height);
        self.latencies.extend(other.latencies);
        self.took = self.took.max(other.took);
    }

    /// An error if anything was not applied.
    pub(crate) fn all_applied(&self, what: &str) -> Result<(), CliError> {
        let all = self.applied + self.refusals() + self.unanswered();
        let told = |counts: &BTreeMap<String, u64>| {
            let reasons: Vec<String> =
                counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            reasons.join(", ")
        };
        let mut parts = Vec::new();
        if !self.refused.is_empty() {
            parts.push(format!("{} of {all} were refused: {}", self.refusals(), told(&self.refused)));
        }
        if !self.unknown.is_empty() {
            parts.push(format!(
                "of {} of {all} nobody knows yet, they may be applied: {}",
                self.unanswered(),
                told(&self.unknown)
            ));
        }
        let Some(reason) = self.refused.keys().chain(self.unknown.keys()).next() else { return Ok(()) };
        let error = CliError::failed(format!("{what}: {}", parts.join("; "))).reason(reason);
        Err(if self.refused.is_empty() { CliError { exit: EXIT_UNKNOWN, ..error } } else { error })
    }

    /// The latency that this many of a hundred stay below; zero if there is none.
    pub(crate) fn percentile(&self, of_hundred: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * of_hundred / 100).copied().unwrap_or_default()
    }
}

/// Holds back what comes after the first so many, until it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) after: usize,
    pub(crate) open: watch::Receiver<bool>,
}

/// Submits all and waits until each is final. `progress` hears how many are answered.
pub(crate) async fn submit_all(
    client: &EpioneClient,
    transactions: Vec<SignedTx>,
    mut gate: Option<Gate>,
    mut progress: impl FnMut(u64),
) -> Result<Tally, CliError> {
    let expected = transactions.len();
    let begun = Instant::now();
    let (sink, mut answers) = client.submit_stream(Wait::Certified, WINDOW);
    let (sent_to, mut sent_from) = mpsc::unbounded_channel::<(TxId, Instant)>();
    let sender = tokio::spawn(async move {
        for (number, tx) in transactions.into_iter().enumerate() {
            // If whoever opens it is gone, nothing holds back.
            if let Some(Gate { open, .. }) = gate.as_mut().filter(|gate| number >= gate.after) {
                let _opened = open.wait_for(|open| *open).await;
            }
            // Before sending: an answer must not come first.
            let noted = sent_to.send((tx.id(), Instant::now()));
            if noted.is_err() || sink.send(tx).await.is_err() {
                return;
            }
        }
    });
    let mut sent = BTreeMap::new();
    let mut tally = Tally::default();
    let mut answered = 0;
    while let Some(answer) = answers.next().await {
        while let Ok((id, at)) = sent_from.try_recv() {
            sent.insert(id, at);
        }
        if let Some(at) = sent.remove(&answer.id) {
            tally.latencies.push(at.elapsed());
        }
        let reason = match answer.result {
            Ok(TxStatus::Certified { receipt, .. }) => {
                tally.height = tally.height.max(receipt.height);
                match receipt.outcome {
                    Outcome::Ok => None,
                    Outcome::Refused(refusal) => Some((EXIT_FAILED, refusal.name().to_owned())),
                }
            }
            Ok(TxStatus::Expired(_)) => Some((EXIT_FAILED, "EXPIRED".to_owned())),
            Ok(TxStatus::Unknown | TxStatus::Pending { .. } | TxStatus::Committed(_)) => {
                Some((EXIT_UNKNOWN, "NOT_FINAL".to_owned()))
            }
            Err(error) => {
                let error = CliError::from(error);
                Some((error.exit, error.reason))
            }
        };
        let counted = match reason {
            None => &mut tally.applied,
            Some((EXIT_UNKNOWN, reason)) => tally.unknown.entry(reason).or_insert(0),
            Some((_, reason)) => tally.refused.entry(reason).or_insert(0),
        };
        *counted += 1;
        answered += 1;
        progress(answered);
    }
    if sender.await.is_err() || answered != expected as u64 {
        return Err(CliError::failed(format!(
            "the stream ended after {answered} of {expected} answers: repeat the command"
        )));
    }
    tally.took = begun.elapsed();
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_not_called_refused() {
        let counts = |reason: &str| BTreeMap::from([(reason.to_owned(), 3)]);
        let lost = Tally { applied: 4, unknown: counts("Unavailable"), ..Tally::default() };
        let error = lost.all_applied("records").unwrap_err();
        assert_eq!((error.exit, error.reason.as_str()), (EXIT_UNKNOWN, "Unavailable"));
        assert!(!error.message.contains("refused") && error.message.contains("3 of 7"), "{}", error.message);
        let both = Tally { refused: counts("BAD_STATE"), ..lost };
        let error = both.all_applied("records").unwrap_err();
        assert_eq!((error.exit, error.reason.as_str()), (EXIT_FAILED, "BAD_STATE"));
        assert!(error.message.contains("refused: 3 BAD_STATE") && error.message.contains("3 Unavailable"));
    }

    #[test]
    fn percentiles_are_of_the_sorted_list() {
        let latencies = [30, 10, 20].map(Duration::from_millis).to_vec();
        let tally = Tally { latencies, ..Tally::default() };
        assert_eq!([0, 50, 99].map(|p| tally.percentile(p).as_millis()), [10, 20, 20]);
        assert_eq!(tally.percentile(100).as_millis(), 30);
        assert_eq!(Tally::default().percentile(50), Duration::ZERO);
    }
}
