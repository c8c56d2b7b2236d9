//! Who validates is changed, as hospitals do it: proposed, said to be ready for, voted for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use epione_client::{TxBuilder, keys, tx};
use epione_node::snapshots::Snapshots;
use epione_proto::v1 as pb;
use epione_types::call::{Call, ConfirmReadiness, ProposalAction, Propose, Vote};
use epione_types::codes::ProposalStatus;
use epione_types::event::Event;
use epione_types::id::ProposalId;
use epione_types::{Height, PublicKey, Receipt, SecretKey, Signer, Validator};

use super::Runner;
use crate::drill::Failed;
use crate::drill::load::{Doors, applied};
use crate::drill::proxy::Proxies;
use crate::local::{Network, Probe};

/// A node that is to join.
struct Joining {
    /// Its number.
    node: usize,
    /// Its voting key.
    voting: SecretKey,
    /// What the set will hold of it.
    validator: Validator,
}

/// Changes of validators, through whatever node answers.
struct Changes<'a> {
    doors: &'a Doors,
    within: Duration,
}

impl<'a> Changes<'a> {
    /// Each call may take so long.
    const fn through(doors: &'a Doors, within: Duration) -> Self {
        Self { doors, within }
    }

    /// Proposed by the hospital of node `by`.
    async fn propose(
        &self,
        by: usize,
        remove: Option<PublicKey>,
        joins: Option<&Joining>,
    ) -> Result<ProposalId, Failed> {
        let proposal = ProposalId(tx::random_id().map_err(Failed::of)?);
        let add = joins.map(|joins| joins.validator.clone());
        let action = ProposalAction::ChangeValidators { remove, add };
        self.send(by, &[], Call::Propose(Propose { proposal, action })).await?;
        Ok(proposal)
    }

    /// Says that the node is ready; or why it is not yet.
    async fn confirm(&self, proposal: ProposalId, joins: &Joining) -> Result<Result<(), String>, Failed> {
        let node = joins.node;
        let there = self.doors.admin_at(node, self.within)?;
        let status = match there.get_status(pb::GetStatusRequest {}).await {
            Ok(status) if status.synced => status,
            Ok(status) => return Ok(Err(format!("node {node} is at height {} and behind", status.height))),
            Err(error) => return Ok(Err(format!("node {node}: {error}"))),
        };
        let call = Call::ConfirmReadiness(ConfirmReadiness { proposal, height: Height(status.height) });
        self.send(node, &[&joins.voting], call).await?;
        Ok(Ok(()))
    }

    /// The hospitals of these nodes vote for it, until it has passed.
    async fn pass(&self, proposal: ProposalId, voters: &[usize]) -> Result<(), Failed> {
        for voter in voters {
            let receipt = self.send(*voter, &[], Call::Vote(Vote { proposal, accept: true })).await?;
            let passed = receipt
                .events
                .iter()
                .any(|event| matches!(event, Event::ProposalChanged { status: ProposalStatus::Passed, .. }));
            if passed {
                return Ok(());
            }
        }
        Err(Failed(format!("{} votes do not decide", voters.len() + 1)))
    }

    async fn send(&self, by: usize, with: &[&SecretKey], call: Call) -> Result<Receipt, Failed> {
        let (client, key) = self.doors.admin_of(by, self.within)?;
        let others: Vec<&dyn Signer> = with.iter().map(|key| *key as &dyn Signer).collect();
        let tx = TxBuilder::new(client.chain_id(), call).sign(key, &others).map_err(Failed::of)?;
        applied(&client, &tx).await
    }
}

impl Runner<'_> {
    /// One leaves, or one joins for the hospital of another, or both in one step; who joined. Then all are in the next epoch.
    pub(super) async fn change(
        &mut self,
        leaves: Option<usize>,
        of: Option<usize>,
    ) -> Result<Option<usize>, Failed> {
        if let Some(node) = leaves.filter(|node| self.left.contains(node)) {
            return Err(Failed(format!("node {node} has left already")));
        }
        let (epoch, voters) = (self.epoch().await, self.hospitals());
        let remove = leaves.map(|node| self.key(node, "voting").map(|key| key.public_key())).transpose()?;
        let joins = match of {
            Some(of) => Some(self.joining(of).await?),
            None => None,
        };
        let (by, others) = voters.split_first().ok_or_else(|| Failed("nobody has a vote".to_owned()))?;
        let changes = Changes::through(&self.doors, self.patience);
        let proposal = changes.propose(*by, remove, joins.as_ref()).await?;
        if let Some(joins) = &joins {
            self.eventually(async || changes.confirm(proposal, joins).await).await?;
        }
        let acted = Instant::now();
        changes.pass(proposal, others).await?;
        self.acted = acted;
        self.left.extend(leaves);
        self.tell_out();
        self.eventually(async || {
            let reports = self.reports().await;
            let late = reports
                .iter()
                .filter(|report| self.is_well(report.node))
                .find(|report| report.answer.as_ref().map_or(true, |status| status.epoch <= epoch));
            Ok(late
                .map_or(Ok(()), |report| Err(format!("node {} is not in epoch {}", report.node, epoch + 1))))
        })
        .await?;
        self.way("a vote of the hospitals");
        Ok(joins.map(|joins| joins.node))
    }

    /// The highest epoch in which a node is.
    async fn epoch(&self) -> u64 {
        let reports = self.reports().await;
        reports.iter().filter_map(|report| Some(report.answer.as_ref().ok()?.epoch)).max().unwrap_or(0)
    }

    /// One node of each hospital that has a vote.
    fn hospitals(&self) -> Vec<usize> {
        let mut known = BTreeSet::new();
        let organisation = |node: &usize| self.network.state().nodes.get(*node).map(|it| it.organisation);
        self.all().filter(|node| known.insert(organisation(node))).collect()
    }

    fn key(&self, node: usize, which: &str) -> Result<SecretKey, Failed> {
        keys::read(&self.network.layout().node(node).join(format!("{which}.key"))).map_err(Failed::of)
    }

    /// Another node for the hospital of this one, started; its wires run through proxies, too.
    async fn joining(&mut self, of: usize) -> Result<Joining, Failed> {
        let (node, added) = self.network.add(of)?;
        let nodes = &self.network.state().nodes;
        let ports: Vec<u16> = nodes.iter().map(|node| node.ports.peer).collect();
        let organisation = nodes.get(node).map(|state| state.organisation);
        let organisation = organisation.ok_or_else(|| Failed(format!("there is no node {node}")))?;
        self.proxies.add(node, &ports).await.map_err(Failed::of)?;
        rewire(&self.network, &self.proxies, node, &ports)?;
        snapshots(&self.network, node, self.snapshots)?;
        self.marks.push(0);
        self.start(node)?;
        self.probe = Probe::new(self.network.layout(), self.network.state())?;
        self.doors = Doors::of(self.network.layout(), self.network.state())?;
        let validator = Validator { organisation, public_key: added.voting, network_key: added.network };
        Ok(Joining { node, voting: self.key(node, "voting")?, validator })
    }
}

/// Lets a node reach all others through the proxies.
pub(super) fn rewire(network: &Network, proxies: &Proxies, from: usize, ports: &[u16]) -> Result<(), Failed> {
    let path = network.layout().config(from);
    let mut text = std::fs::read_to_string(&path).map_err(Failed::of)?;
    for (to, port) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
        let address = |port: u16| format!("address = \"/ip4/127.0.0.1/tcp/{port}\"");
        let proxy = proxies.port(from, to).ok_or_else(|| Failed("a link is missing".to_owned()))?;
        text = text.replace(&address(*port), &address(proxy));
    }
    std::fs::write(&path, text).map_err(Failed::of)
}

/// Writes into a node's configuration when it makes snapshots, and fetches one.
pub(super) fn snapshots(network: &Network, node: usize, when: Option<Snapshots>) -> Result<(), Failed> {
    let Some(Snapshots { every, gap, .. }) = when else { return Ok(()) };
    let path = network.layout().config(node);
    let text = std::fs::read_to_string(&path).map_err(Failed::of)?;
    std::fs::write(&path, format!("{text}\n[snapshots]\nevery = {every}\nminutes = 0\ngap = {gap}\n"))
        .map_err(Failed::of)
}
