//! What must hold after every event, one file each with its sentence.
//!
//! Observers outside the replicas: they see what honest nodes make durable, send, execute and certify, and nothing of how
//! they decide. Each sees an event once, so that checking costs little; none asks a replica for its opinion of itself.

mod agreement;
mod applied_once;
mod certificates;
mod chain_links;
mod closed_heights;
mod durable_first;
mod light_client;
mod memory;
mod monotone;
mod new_views;
mod one_vote;
mod permits;
mod signatures;
mod state_roots;
mod time;
mod views;
mod votes_in_place;

use epione_consensus::{Message, Replica};
use epione_ledger::chain::Chain;
use epione_types::{BlockHeader, Certificate, ChainId, Height, Receipt, TimestampMs};

use super::crypto::SimVerifier;
use super::facts::{Fact, Me, Proof};
use super::node::Executed;
use super::roll::SharedRoll;

/// Holds, or why not.
pub type Check = Result<(), String>;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub invariant: &'static str,
    /// How it shows.
    pub text: String,
}

/// All of them.
#[derive(Debug)]
pub struct Invariants {
    agreement: agreement::Agreement,
    applied_once: applied_once::AppliedOnce,
    certificates: certificates::Certificates,
    chain_links: chain_links::ChainLinks,
    closed_heights: closed_heights::ClosedHeights,
    durable_first: durable_first::DurableFirst,
    light_client: light_client::LightClient,
    monotone: monotone::Monotone,
    new_views: new_views::NewViews,
    one_vote: one_vote::OneVote,
    permits: permits::Permits,
    signatures: signatures::Signatures,
    state_roots: state_roots::StateRoots,
    time: time::Time,
    views: views::Views,
    votes_in_place: votes_in_place::VotesInPlace,
    roll: SharedRoll,
    broken: Option<Broken>,
}

impl Invariants {
    /// For a run of this chain.
    #[must_use]
    pub fn new(chain: ChainId, roll: &SharedRoll, verifier: SimVerifier) -> Self {
        let first = roll.borrow().last().set.clone();
        Self {
            agreement: agreement::Agreement::default(),
            applied_once: applied_once::AppliedOnce::default(),
            certificates: certificates::Certificates::new(chain, roll.clone(), verifier),
            chain_links: chain_links::ChainLinks::new(chain),
            closed_heights: closed_heights::ClosedHeights::default(),
            durable_first: durable_first::DurableFirst::default(),
            light_client: light_client::LightClient::new(chain, first.clone(), verifier),
            monotone: monotone::Monotone::default(),
            new_views: new_views::NewViews::default(),
            one_vote: one_vote::OneVote::default(),
            permits: permits::Permits::default(),
            signatures: signatures::Signatures::new(verifier),
            state_roots: state_roots::StateRoots::default(),
            time: time::Time::new(first.params.max_clock_skew_ms),
            views: views::Views::default(),
            votes_in_place: votes_in_place::VotesInPlace::default(),
            roll: roll.clone(),
            broken: None,
        }
    }

    /// The first that broke.
    #[must_use]
    pub const fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Something else than these found one broken.
    pub fn breaks(&mut self, invariant: &'static str, text: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, text });
        }
    }

    fn need(&mut self, invariant: &'static str, check: Check) {
        if let Err(text) = check {
            self.breaks(invariant, text);
        }
    }

    /// A node's log holds these now.
    pub fn durable(&mut self, node: usize, facts: &[Fact]) {
        let check = self.monotone.durable(node, facts);
        self.need("monotone", check);
        for fact in facts {
            self.holds(node, fact);
            let check = self.views.durable(node, fact);
            self.need("views", check);
            let check = self.closed_heights.durable(node, fact);
            self.need("closed heights", check);
        }
    }

    /// What a node's log takes for a quorum's word.
    pub fn proven(&mut self, node: usize, proof: &Proof) {
        let check = match proof {
            Proof::Prepared(prepared) => self.certificates.prepared(prepared),
            Proof::NewView(new_view) => {
                let (epoch, view) = (new_view.body.epoch, new_view.body.view.0);
                let begin = self.roll.borrow().era(epoch).map_or(Height::ZERO, |era| era.begin);
                self.closed_heights.entered(node, epoch, view, new_view.body.base(begin).0);
                let check = self.new_views.entered(node, begin, new_view);
                self.need("new views", check);
                self.certificates.new_view(new_view)
            }
        };
        self.need("certificates", check.map_err(|text| format!("node {node}: {text}")));
    }

    /// The clock of an honest node.
    pub fn clock(&mut self, clock: TimestampMs) {
        self.time.shows(clock);
    }

    /// A node sends a message.
    pub fn sent(&mut self, node: usize, message: &Message) {
        let roll = self.roll.clone();
        let me = Me { roll: &roll.borrow(), node };
        for fact in Fact::of_message(me, message) {
            let check = self.one_vote.says(node, &fact);
            self.need("one vote", check);
            let check = self.durable_first.sent(node, &fact);
            self.need("durable first", check);
        }
        match message {
            Message::Status(status) if me.is(status.body.epoch, status.from) => {
                let check = self.monotone.status(node, &status.body);
                self.need("monotone", check);
            }
            Message::Certificate(certificate) => self.certified(node, certificate),
            Message::Commits(commits) => {
                let check = self.certificates.commits(commits).map_err(|text| format!("node {node}: {text}"));
                self.need("certificates", check);
            }
            Message::ViewChange(change) if me.is(change.body.epoch, change.from) => {
                let check = self.certificates.view_change(&change.body);
                self.need("certificates", check.map_err(|text| format!("node {node}: {text}")));
            }
            _ => {}
        }
    }

    /// A node passes this certificate on, or stores it.
    pub fn certified(&mut self, node: usize, certificate: &Certificate) {
        let check = self.certificates.certificate(certificate);
        self.need("certificates", check.map_err(|text| format!("node {node}: {text}")));
        let check = self.agreement.certified(node, certificate);
        self.need("agreement", check);
        let check = self.light_client.certified(&self.roll.borrow(), certificate);
        self.need("light client", check.map_err(|text| format!("node {node}: {text}")));
    }

    /// What a node shows one who holds the genesis alone, at the end.
    ///
    /// # Errors
    /// Its certificates do not lead to its head.
    pub fn walk(&self, chain: &Chain) -> Check {
        self.light_client.walk(chain)
    }

    /// A node executed a block. True if it is the first to.
    pub fn executed(&mut self, node: usize, executed: &Executed, receipts: &[Receipt]) -> bool {
        let header = &executed.header;
        let check = self.applied_once.executed(node, executed.before, header.height);
        self.need("applied once", check);
        let check = self.state_roots.executed(node, header);
        self.need("state roots", check);
        let first = self.agreement.is_first(header.height);
        let check = self.agreement.executed(node, header.height, header.hash());
        self.need("agreement", check);
        if first {
            let check = self.roll.borrow_mut().executed(header, &executed.payload, receipts);
            self.need("epochs", check);
            self.light_client.executed(header);
            let check = self.chain_links.executed(header, &executed.payload, receipts);
            self.need("chain links", check);
            let check = self.signatures.committed(header.height, &executed.payload);
            self.need("signatures", check);
            let check = self.time.executed(header);
            self.need("time", check);
            let check = self.permits.executed(header, &executed.payload, receipts);
            self.need("permits", check);
        }
        first
    }

    /// A node's process ended, and its store holds blocks up to this height.
    pub fn ended(&mut self, node: usize) {
        self.monotone.ended(node);
    }

    /// A node begins again, with this height and its header in its store and these facts in its log.
    pub fn started(&mut self, node: usize, height: Height, header: Option<&BlockHeader>, facts: &[Fact]) {
        self.applied_once.started(node, height);
        // It may have come with a snapshot, and nobody has seen this node execute it.
        if let Some(header) = header {
            let check = self.state_roots.executed(node, header);
            self.need("state roots", check);
            let check = self.agreement.executed(node, height, header.hash());
            self.need("agreement", check);
        }
        facts.iter().for_each(|fact| self.holds(node, fact));
    }

    /// A node's ledger is a snapshot's now, with this certificate of its height.
    pub fn installed(&mut self, node: usize, certificate: &Certificate) {
        self.certified(node, certificate);
        self.votes_in_place.installed(node, certificate.height);
    }

    /// A node's log holds this.
    fn holds(&mut self, node: usize, fact: &Fact) {
        let check = self.one_vote.says(node, fact);
        self.need("one vote", check);
        if self.durable_first.durable(node, fact) {
            let check = self.votes_in_place.says(&self.roll.borrow(), node, fact);
            self.need("votes in place", check);
        }
    }

    /// What a node's replica keeps.
    pub fn keeps(&mut self, node: usize, replica: &Replica) {
        let roll = self.roll.borrow();
        let era = roll.era(replica.config().set.epoch);
        let check = era.map_or(Ok(()), |era| memory::keeps(node, &era.set, replica.memory()));
        drop(roll);
        self.need("memory", check);
    }
}
