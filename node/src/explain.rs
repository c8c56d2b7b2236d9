//! A node that explains itself: from a snapshot of its driver to what an operator reads. Pure; nothing is decided by it.
//!
//! ```text
//!  replica.explain() ─┐
//!  links, told lows ──┼─▶ Snapshot ─▶ answer: step, votes, who is missing or behind, cause, next timer, summary, advice
//!  clock, fault ──────┘                 └─▶ the log's "waiting" line · OperatorService.Explain · `epione node explain`
//! ```
//!
//! The advice is for one person at one node who can restart that node and telephone the others: it names whom.
//! Every situation is a paragraph of `tests/golden/explain.txt`; `tests/explain.rs` meets some in a cluster.

use core::fmt::Write as _;

use epione_consensus::{Action, Cause, Change, Due, Explanation, Halt, Misbehavior, Stage};
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::id::OrgId;
use epione_types::{ChainId, Epoch, Height, ValidatorIndex};
use serde_json::{Value, json};

use crate::divergence::{Differing, Divergence};

/// How long votes of validators that are here may take before somebody should look, in ms.
const LONG: u64 = 10_000;

/// Another validator, as the driver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its place.
    pub index: ValidatorIndex,
    /// Its hospital.
    pub organisation: OrgId,
    /// Is there a link?
    pub connected: bool,
    /// The other chain that it belongs to, if there is no link for that.
    pub other_chain: Option<ChainId>,
    /// There is, and nothing was heard through it for two time-outs.
    pub silent: bool,
    /// How many certified heights it is behind this node; none before it told.
    pub lag: Option<u64>,
    /// The highest height for which it sent a vote since this node was started.
    pub voted: Height,
}

/// A snapshot on its way from other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFetch {
    /// The state after this height.
    pub height: Height,
    /// How many chunks it has.
    pub chunks: u32,
    /// How many of them are here.
    pub here: u32,
    /// Bytes of all entries, before compression.
    pub bytes: u64,
    /// When the last one is here, if they go on coming as fast, in ms; none before the first one came.
    pub eta_ms: Option<u64>,
}

/// All that the sentences are made of.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The chain.
    pub chain: ChainId,
    /// The replica's part.
    pub consensus: Explanation,
    /// Since its place last changed, in ms.
    pub since_ms: u64,
    /// Why this node has stopped voting for want of disk or store.
    pub fault: Option<String>,
    /// After a halt: what this node executed differently, once that is found.
    pub divergence: Option<Divergence>,
    /// Votes that decide.
    pub quorum: usize,
    /// If this node has no vote in this epoch: the last height of the epoch before.
    pub follows_from: Option<Height>,
    /// The other validators, in order.
    pub peers: Vec<Peer>,
    /// How many certified heights this node is behind what f+1 others tell.
    pub lag: u64,
    /// The snapshot that it fetches in the place of blocks.
    pub fetching: Option<SnapshotFetch>,
}

impl Snapshot {
    /// Validators that are here: this one, and all that are connected and speak.
    fn here(&self) -> usize {
        self.peers.iter().filter(|peer| peer.connected && !peer.silent).count().saturating_add(1)
    }

    fn stopped(&self) -> bool {
        self.fault.is_some() || self.consensus.halted.is_some()
    }

    fn absence(&self, peer: &Peer) -> Option<pb::Absence> {
        if !peer.connected {
            Some(if peer.other_chain.is_some() { pb::Absence::OtherChain } else { pb::Absence::NotConnected })
        } else if self.stopped() {
            None // it hears nobody any more
        } else if peer.silent {
            Some(pb::Absence::Silent)
        } else {
            self.consensus.awaited.contains(&peer.index).then_some(pb::Absence::Awaited)
        }
    }

    fn behind(&self) -> impl Iterator<Item = (&Peer, u64)> {
        self.peers.iter().filter_map(|peer| Some((peer, peer.lag.filter(|lag| *lag > 0 && !self.stopped())?)))
    }

    fn step(&self) -> pb::ConsensusStep {
        if self.fault.is_some() {
            return pb::ConsensusStep::DiskFault;
        }
        match self.consensus.place.stage {
            Stage::Transactions => pb::ConsensusStep::Transactions,
            Stage::Proposal => pb::ConsensusStep::Proposal,
            Stage::Batch => pb::ConsensusStep::Batch,
            Stage::Prepares => pb::ConsensusStep::Prepares,
            Stage::Commits => pb::ConsensusStep::Commits,
            Stage::Execution => pb::ConsensusStep::Execution,
            Stage::Seals => pb::ConsensusStep::Seals,
            Stage::Blocks => pb::ConsensusStep::Blocks,
            Stage::ViewChange => pb::ConsensusStep::ViewChange,
            Stage::Halted => pb::ConsensusStep::Halted,
        }
    }

    /// A validator, by place and hospital.
    fn name(&self, who: ValidatorIndex) -> String {
        match self.peers.iter().find(|peer| peer.index == who) {
            Some(peer) => name(peer),
            None => "this node".to_owned(),
        }
    }
}

fn name(peer: &Peer) -> String {
    let hospital: String = peer.organisation.to_string().chars().take(8).collect();
    format!("validator {} ({hospital}…)", peer.index)
}

fn names<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> String {
    peers.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn heights(number: u64) -> String {
    format!("{number} height{}", if number == 1 { "" } else { "s" })
}

/// A duration as people say it.
fn long(ms: u64) -> String {
    let tenths = ms / 100;
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", tenths / 10, tenths % 10),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Everything that can be said of a snapshot.
#[must_use]
pub fn answer(snapshot: &Snapshot) -> pb::ExplainResponse {
    let it = &snapshot.consensus;
    let missing = |peer: &Peer| {
        Some(pb::MissingValidator {
            validator: peer.index.0.into(),
            org_id: raw(peer.organisation.0),
            why: snapshot.absence(peer)?.into(),
        })
    };
    let behind = |(peer, heights): (&Peer, u64)| pb::BehindValidator {
        validator: peer.index.0.into(),
        org_id: raw(peer.organisation.0),
        heights,
    };
    let votes = it.votes.as_ref().filter(|_| snapshot.fault.is_none());
    pb::ExplainResponse {
        step: snapshot.step().into(),
        epoch: it.place.epoch.0,
        height: it.place.height.0,
        for_ms: snapshot.since_ms,
        view: it.view.0,
        asked_view: it.asked.0,
        primary: it.primary.0.into(),
        votes: votes.map(|votes| pb::Votes {
            had: votes.had.iter().map(|who| who.0.into()).collect(),
            needed: count(votes.needed),
        }),
        missing: snapshot.peers.iter().filter_map(missing).collect(),
        behind: snapshot.behind().map(behind).collect(),
        lag: snapshot.lag,
        cause: it.change.map(|change| pb::ViewCause {
            left_view: change.from.0,
            reason: change.cause.name().to_owned(),
            given_up: change.given_up,
            text: cause(change),
        }),
        views_left: views_left(it),
        next_timer: it
            .due
            .filter(|_| !snapshot.stopped())
            .map(|due| pb::NextTimer { what: timer(snapshot, due), in_ms: due.in_ms }),
        summary: summary(snapshot),
        advice: advice(snapshot),
        divergence: snapshot.divergence.as_ref().map(divergence),
        snapshot: snapshot.fetching.map(|it| pb::SnapshotProgress {
            height: it.height.0,
            chunks: it.chunks,
            here: it.here,
            bytes: it.bytes,
            eta_ms: it.eta_ms,
        }),
    }
}

fn divergence(it: &Divergence) -> pb::Divergence {
    let transaction = |it: &Differing| pb::DifferingTransaction {
        index: it.index,
        tx_id: raw(it.id.0),
        here: it.here.clone(),
        there: it.there.clone(),
    };
    pb::Divergence {
        height: it.height.0,
        transaction: it.transaction.as_ref().map(transaction),
        key: it.key.clone().unwrap_or_default(),
        altered_key: it.altered.clone().unwrap_or_default(),
        text: it.text.clone(),
    }
}

/// How often views were left, by reason.
#[must_use]
pub fn views_left(it: &Explanation) -> Vec<pb::ViewsLeft> {
    let left =
        |(cause, count): &(Cause, u64)| pb::ViewsLeft { reason: cause.name().to_owned(), count: *count };
    it.changes.iter().map(left).collect()
}

/// Where it stands, for how long, and who is missing or behind.
#[must_use]
pub fn summary(snapshot: &Snapshot) -> String {
    let mut text = place(snapshot);
    let _infallible = write!(text, ", for {}", long(snapshot.since_ms));
    for (why, how) in [
        (pb::Absence::NotConnected, "not connected"),
        (pb::Absence::OtherChain, "of another chain"),
        (pb::Absence::Silent, "connected and silent"),
        (pb::Absence::Awaited, "awaited"),
    ] {
        let peers = snapshot.peers.iter().filter(|peer| snapshot.absence(peer) == Some(why));
        let who = names(peers);
        if !who.is_empty() {
            let _infallible = write!(text, "; {how}: {who}");
        }
    }
    let behind: Vec<String> =
        snapshot.behind().map(|(peer, lag)| format!("{} by {}", name(peer), heights(lag))).collect();
    if !behind.is_empty() {
        let _infallible = write!(text, "; behind: {}", behind.join(", "));
    }
    text
}

fn fetching(fetch: &SnapshotFetch) -> String {
    let SnapshotFetch { height, chunks, here, .. } = fetch;
    if here == chunks {
        return format!(
            "the snapshot of height {height} is here: this node starts again by itself and installs it"
        );
    }
    let left = fetch.eta_ms.map(|eta| format!(", {} left", long(eta))).unwrap_or_default();
    format!(
        "fetching the snapshot of height {height} in the place of blocks: {here} of {chunks} chunks{left}"
    )
}

fn place(snapshot: &Snapshot) -> String {
    let it = &snapshot.consensus;
    if let Some(fault) = &snapshot.fault {
        return format!("voting has stopped: {fault}");
    }
    if let Some(fetch) = &snapshot.fetching {
        return fetching(fetch);
    }
    let (height, primary) = (it.place.height, snapshot.name(it.primary));
    let votes = it.votes.as_ref().map(|votes| format!("{} of {}", votes.had.len(), votes.needed));
    let votes = votes.unwrap_or_default();
    match it.place.stage {
        Stage::Transactions => format!("height {height}: waiting for transactions"),
        Stage::Proposal => format!("height {height}: waiting for the proposal of the primary, {primary}"),
        Stage::Batch => format!("height {height}: waiting for the batch of the proposal"),
        Stage::Prepares => format!("height {height}: {votes} accept the proposal"),
        Stage::Commits => format!("height {height}: {votes} Commits"),
        Stage::Execution if it.to > height => format!("executing blocks {height} to {}", it.to),
        Stage::Execution => format!("executing block {height}"),
        Stage::Seals => format!("height {height}: {votes} Seals"),
        Stage::Blocks => format!("fetching blocks {height} to {}", it.to),
        Stage::ViewChange => {
            let opened = it.votes.as_ref().is_some_and(|votes| votes.had.len() >= votes.needed);
            let next = if opened { format!(", and {primary} has not opened it") } else { String::new() };
            format!("height {height}: {votes} ask for view {}{next}", it.asked)
        }
        Stage::Halted => {
            let why = it.halted.as_ref().map(ToString::to_string).unwrap_or_default();
            let first = snapshot.divergence.as_ref().map(|it| format!("; {}", it.text)).unwrap_or_default();
            format!("voting has stopped at height {height}: {why}{first}")
        }
    }
}

const fn reason(cause: Cause) -> &'static str {
    match cause {
        Cause::RequestLate => "a request was not ordered in time",
        Cause::SlotLate => "a slot was not decided in time",
        Cause::EmptyBatches => "its primary flooded empty batches",
        Cause::OthersLeft => "f+1 others left it",
        Cause::FaultyPrimary(Misbehavior::Equivocation) => {
            "its primary is proven to have proposed two batches for a slot"
        }
        Cause::FaultyPrimary(Misbehavior::InvalidBatch) => {
            "its primary is proven to have proposed an invalid batch"
        }
        Cause::FaultyPrimary(Misbehavior::NullBatch) => {
            "its primary is proven to have proposed the null batch"
        }
        Cause::FaultyPrimary(Misbehavior::NewViewList) => {
            "its primary is proven to have opened it with a wrong list"
        }
        Cause::NotOpened => "its primary did not open it in time",
    }
}

fn cause(Change { from, cause, given_up, .. }: Change) -> String {
    let more = match given_up {
        0 => String::new(),
        1 => "; the next one was given up, too".to_owned(),
        more => format!("; the next {more} were given up, too"),
    };
    format!("view {from} was left because {}{more}", reason(cause))
}

fn timer(snapshot: &Snapshot, due: Due) -> String {
    let primary = snapshot.name(snapshot.consensus.primary);
    match due.action {
        Action::Suspect(Cause::RequestLate) => {
            format!("suspects {primary}: a request is not ordered in time")
        }
        Action::Suspect(Cause::SlotLate) => format!("suspects {primary}: a slot is not decided in time"),
        Action::Suspect(cause) => format!("suspects {primary}: {}", reason(cause)),
        Action::NextView(view) => format!("gives up {primary} and asks for view {view}"),
        Action::EmptyBatch => "proposes an empty batch, so that time passes".to_owned(),
        Action::AlarmSeals => "raises the alarm that Seals are missing".to_owned(),
        Action::AskForBlocks => "asks the next validator for blocks".to_owned(),
        Action::Retell => "tells the others where it stands; they send what is missing".to_owned(),
    }
}

/// Of validators that belong to another chain: which, and where to look.
fn other_chain(snapshot: &Snapshot) -> Option<String> {
    let of = |peer: &Peer| peer.other_chain.filter(|_| !peer.connected);
    let theirs = snapshot.peers.iter().find_map(of)?;
    let who = names(snapshot.peers.iter().filter(|peer| of(peer) == Some(theirs)));
    let own = snapshot.chain;
    Some(format!(
        "Compare the genesis file of this node with that of {who}: by this one the chain is {own}, by that one {theirs}, and one byte is enough; `epione node check` prints the chain of a configuration, and whose differs from all others' is to be replaced."
    ))
}

/// What the operator should do; the first that applies.
#[must_use]
pub fn advice(snapshot: &Snapshot) -> String {
    let it = &snapshot.consensus;
    let (here, quorum, all) = (snapshot.here(), snapshot.quorum, snapshot.peers.len().saturating_add(1));
    if snapshot.fault.is_some() {
        return "Free or repair the disk of this node, and remove the ledger's folder if the ledger is damaged, never the log's; then restart it: it resumes from its log and its peers; until then it must not be counted for the quorum.".to_owned();
    }
    if let Some(halt) = &it.halted {
        return match halt {
            Halt::Diverged { .. } | Halt::Replay { .. } | Halt::OtherEpoch { .. } => "Stop this node and keep its data, run `epione ledger verify` on it and compare its version with the others': the others go on without it if they are a quorum.",
            Halt::Conflict { .. } | Halt::InvalidPrepared { .. } => "Call the operators of all validators before anything is restarted, keep every log and ledger as it is, and compare versions: more than f validators are faulty or differ.",
            Halt::Impersonated { .. } => "Find and stop the second copy that signs with this node's voting key, or replace the key: a restart does not undo the halt.",
        }
        .to_owned();
    }
    if let Some(advice) = other_chain(snapshot) {
        return advice;
    }
    if let Some(after) = snapshot.follows_from {
        return without_a_vote(snapshot, after);
    }
    let gone: Vec<&Peer> = snapshot.peers.iter().filter(|peer| !peer.connected || peer.silent).collect();
    let who = names(gone.iter().copied());
    if here == 1 && all > 1 {
        return "Look at this node's own network first, its address, firewall and certificates: it reaches nobody, the others may be well without it, and it rejoins by itself.".to_owned();
    }
    if here < quorum {
        let lack = quorum.saturating_sub(here);
        let whom = if lack == gone.len() { who } else { format!("any {lack} of {who}") };
        return format!(
            "Bring back {whom}: a quorum is {quorum} of {all} and {here} are here; the network then resumes by itself."
        );
    }
    if it.place.stage == Stage::Blocks {
        return "Wait: this node catches up by itself; if its height stands still for a minute, look at its disk and its links.".to_owned();
    }
    if !gone.is_empty() {
        let spare = here.saturating_sub(quorum);
        let next = match spare {
            0 => "the network goes on, and the next failure stops it".to_owned(),
            spare => format!("the network goes on, and {spare} more may fail"),
        };
        return format!("Bring back {who}: {next}.");
    }
    match it.place.stage {
        Stage::ViewChange => "Wait: the next primary takes over by itself; if views go on changing, compare clocks, load and links of the validators.".to_owned(),
        Stage::Execution | Stage::Batch => "Wait: this goes on by itself; if it lasts for minutes, look at the disk and the load of this node.".to_owned(),
        Stage::Proposal | Stage::Prepares | Stage::Commits | Stage::Seals if snapshot.since_ms >= LONG => {
            let awaited: Vec<&Peer> = snapshot.peers.iter().filter(|peer| it.awaited.contains(&peer.index)).collect();
            if awaited.is_empty() {
                return "Look at the load and the log of this node: the next step is its own, and does not come.".to_owned();
            }
            format!(
                "Ask the operators of {} for their `epione node explain`: they are connected, and what this step needs of them does not come.",
                names(awaited)
            )
        }
        Stage::Proposal | Stage::Prepares | Stage::Commits | Stage::Seals => "Wait: this step is on its way.".to_owned(),
        Stage::Transactions | Stage::Blocks | Stage::Halted => {
            match snapshot.behind().max_by_key(|(_, lag)| *lag) {
                Some((peer, _)) => format!(
                    "Nothing here: {} catches up by itself; if its lag grows, look at its disk and its links.",
                    name(peer)
                ),
                None => "Nothing to do.".to_owned(),
            }
        }
    }
}

/// For one that left or is to join. Whoever seals a height has executed all below it: so a certificate of this epoch proves
/// that a quorum has what was decided up to its beginning, and whoever left need not serve it any more (R20).
fn without_a_vote(snapshot: &Snapshot, after: Height) -> String {
    let (epoch, low) = (snapshot.consensus.place.epoch, snapshot.consensus.low);
    let left = if epoch == Epoch::ZERO {
        String::new()
    } else if low > after {
        format!(
            "If this node left, it may be switched off: a quorum of epoch {epoch} has certified height {low}, so it has all that was decided up to height {after}. "
        )
    } else {
        format!(
            "If this node left, keep it running: the validators of epoch {epoch} may not all have height {after} yet, and prove it with the next certificate. "
        )
    };
    let joins = if !snapshot.peers.iter().any(|peer| peer.connected) {
        "If it is to follow, look at its addresses and certificates, and whether its joining is proposed: it reaches no validator.".to_owned()
    } else if snapshot.lag > 0 {
        format!(
            "If it is to join, wait: it catches up by itself, and is behind by {}.",
            heights(snapshot.lag)
        )
    } else {
        "If it is to join, say so with `epione validator ready`: it has caught up.".to_owned()
    };
    left + &joins
}

/// The answer as `epione node explain --json` has it, in the order in which it is read.
#[must_use]
pub fn fields(answer: &pb::ExplainResponse) -> Vec<(&'static str, Value)> {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let bare = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_owned();
    let missing = answer.missing.iter().map(|it| {
        let why = bare(it.why().as_str_name(), "ABSENCE_");
        json!({ "validator": it.validator, "organisation": hex(&it.org_id), "why": why })
    });
    let behind = answer.behind.iter().map(
        |it| json!({ "validator": it.validator, "organisation": hex(&it.org_id), "heights": it.heights }),
    );
    let votes = answer.votes.as_ref().map(|it| json!({ "had": it.had, "needed": it.needed }));
    let cause = answer.cause.as_ref().map(|it| {
        json!({ "left_view": it.left_view, "reason": it.reason, "given_up": it.given_up, "text": it.text })
    });
    let left = answer.views_left.iter().map(|it| json!({ "reason": it.reason, "count": it.count }));
    let snapshot = answer.snapshot.as_ref().map(|it| {
        json!({ "height": it.height, "chunks": it.chunks, "here": it.here, "bytes": it.bytes, "eta_ms": it.eta_ms })
    });
    let timer = answer.next_timer.as_ref().map(|it| json!({ "what": it.what, "in_ms": it.in_ms }));
    let divergence = answer.divergence.as_ref().map(|it| {
        let transaction = it.transaction.as_ref().map(|it| {
            json!({ "index": it.index, "id": hex(&it.tx_id), "here": it.here, "there": it.there })
        });
        let name = |key: &str| Some(key.to_owned()).filter(|key| !key.is_empty());
        let (key, altered) = (name(&it.key), name(&it.altered_key));
        json!({ "height": it.height, "transaction": transaction, "key": key, "altered_key": altered, "text": it.text })
    });
    vec![
        ("summary", answer.summary.clone().into()),
        ("advice", answer.advice.clone().into()),
        ("step", bare(answer.step().as_str_name(), "CONSENSUS_STEP_").into()),
        ("epoch", answer.epoch.into()),
        ("height", answer.height.into()),
        ("for_ms", answer.for_ms.into()),
        ("view", answer.view.into()),
        ("asked_view", answer.asked_view.into()),
        ("primary", answer.primary.into()),
        ("votes", votes.into()),
        ("missing", missing.collect::<Vec<_>>().into()),
        ("behind", behind.collect::<Vec<_>>().into()),
        ("lag", answer.lag.into()),
        ("cause", cause.into()),
        ("views_left", left.collect::<Vec<_>>().into()),
        ("next_timer", timer.into()),
        ("divergence", divergence.into()),
        ("snapshot", snapshot.into()),
    ]
}
