//! What the driver sees of the other validators, for operators alone: links, what they told, whether they vote.

use std::collections::BTreeMap;

use epione_consensus::Message;
use epione_types::{ChainId, Height, ValidatorIndex};

use super::{Driver, Ports};
use crate::explain::{Peer, Snapshot};

/// One of them.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Since when there is a link.
    connected: Option<u64>,
    /// The other chain that it belongs to, as it said since there was a link last.
    other_chain: Option<ChainId>,
    /// When it last told where it is.
    told: Option<u64>,
    /// Highest low that it told of.
    low: Height,
    /// How many heights it was behind this node then.
    behind: u64,
    /// The highest height that it voted for.
    voted: Height,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<ValidatorIndex, Seen>);

/// The height of a vote of `from`'s own, if this is one.
pub(super) fn vote_of(message: &Message, from: ValidatorIndex) -> Option<Height> {
    match message {
        Message::Vote(vote) | Message::Proposal(vote, _) => (vote.from == from).then_some(vote.vote.height),
        Message::Batch(_)
        | Message::Commits(_)
        | Message::Certificate(_)
        | Message::ViewChange(_)
        | Message::NewView(_)
        | Message::Status(_) => None,
    }
}

impl Peers {
    fn of(&mut self, peer: ValidatorIndex) -> &mut Seen {
        self.0.entry(peer).or_default()
    }
    /// Another epoch: of those who have another place now, links come and go anew.
    pub(super) fn keep(&mut self, same: impl Fn(usize) -> bool) {
        self.0.retain(|peer, _| same(peer.get()));
    }
    pub(super) fn connected(&mut self, peer: ValidatorIndex, now: u64) {
        let seen = self.of(peer);
        seen.connected.get_or_insert(now);
        seen.other_chain = None;
    }
    pub(super) fn of_other_chain(&mut self, peer: ValidatorIndex, chain: ChainId) {
        self.of(peer).other_chain = Some(chain);
    }
    pub(super) fn disconnected(&mut self, peer: ValidatorIndex) {
        self.of(peer).connected = None;
    }
    /// Who there is a link to.
    pub(super) fn all_linked(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        self.0.iter().filter(|(_, seen)| seen.connected.is_some()).map(|(peer, _)| *peer)
    }
    /// This peer if there is a link to it, else another one, in turn.
    pub(super) fn linked(&self, wanted: ValidatorIndex, turn: usize) -> ValidatorIndex {
        let is_linked = |peer: &ValidatorIndex| self.0.get(peer).is_some_and(|seen| seen.connected.is_some());
        if is_linked(&wanted) {
            return wanted;
        }
        let linked: Vec<_> = self.0.keys().copied().filter(is_linked).collect();
        let place = turn.checked_rem(linked.len()).unwrap_or_default();
        linked.get(place).copied().unwrap_or(wanted)
    }
    /// A verified position of its own; `low` is this node's.
    pub(super) fn told(&mut self, peer: ValidatorIndex, theirs: Height, low: Height, now: u64) {
        let seen = self.of(peer);
        seen.low = seen.low.max(theirs);
        (seen.told, seen.behind) = (Some(now), low.0.saturating_sub(theirs.0));
    }
    /// A verified vote of its own.
    pub(super) fn voted(&mut self, peer: ValidatorIndex, height: Height) {
        let seen = self.of(peer);
        seen.voted = seen.voted.max(height);
    }
    pub(super) fn lows(&self) -> BTreeMap<ValidatorIndex, Height> {
        let told = self.0.iter().filter(|(_, seen)| seen.told.is_some());
        told.map(|(peer, seen)| (*peer, seen.low)).collect()
    }
}

impl<P: Ports> Driver<P> {
    /// All that can be said of this validator.
    pub(super) fn snapshot(&self) -> Snapshot {
        let config = self.replica.config();
        let low = self.replica.low();
        // A position is told twice in a time-out; whoever has missed four in a row is silent.
        let patience = config.set.params.view_timeout_ms.saturating_mul(2);
        let late = |since: u64| self.now.saturating_sub(since) > patience;
        let hears = self.restoring.is_none() && self.fault.is_none();
        let peer = |(index, validator): (u16, &epione_types::Validator)| {
            let index = ValidatorIndex(index);
            let seen = self.peers.0.get(&index).copied().unwrap_or_default();
            let heard = seen.connected.map(|since| since.max(seen.told.unwrap_or_default()));
            // What was told lately tells how far apart two are that both move; what was told long ago stands still.
            let lag =
                seen.told.map(|at| if late(at) { low.0.saturating_sub(seen.low.0) } else { seen.behind });
            Peer {
                index,
                organisation: validator.organisation,
                connected: seen.connected.is_some(),
                other_chain: seen.other_chain,
                silent: hears && heard.is_some_and(late),
                lag,
                voted: seen.voted,
            }
        };
        Snapshot {
            chain: config.chain,
            consensus: self.replica.explain(),
            since_ms: self.now.saturating_sub(self.stands_since),
            fault: self.fault.clone(),
            divergence: self.search.as_ref().and_then(|search| search.found().cloned()),
            quorum: config.set.quorum(),
            follows_from: (!config.is_member()).then_some(config.begin),
            peers: (0..).zip(&config.set.validators).filter(|(at, _)| *at != config.me.0).map(peer).collect(),
            lag: self.lag(),
            fetching: self.snapshot_fetch(),
        }
    }

    /// How many heights this node is behind, for certain.
    pub(super) fn lag(&self) -> u64 {
        let mut lows: Vec<Height> = self.peers.lows().into_values().collect();
        lows.sort_unstable_by(|a, b| b.cmp(a));
        let faults = self.replica.config().set.faults(); // f liars cannot make it up
        let sure = lows.get(faults).copied().unwrap_or(Height::ZERO);
        sure.0.saturating_sub(self.replica.low().0)
    }
}
