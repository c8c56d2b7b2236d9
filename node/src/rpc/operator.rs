//! How the node is, for whoever operates it.

use std::time::Instant;

use epione_chaincode::identity::Member;
use epione_proto::convert::raw;
use epione_proto::v1::{self as pb, operator_service_server::OperatorService};
use epione_types::ValidatorIndex;
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::health::readiness;
use crate::conduct::{Conduct, Offence};
use crate::explain;
use crate::handle::NodeHandle;
use crate::votes::Votes;

/// What the replica says when it waits for nothing in particular.
const IDLE: &str = "transactions";

fn offence((offence, count): (Offence, u64)) -> pb::PeerOffence {
    pb::PeerOffence { reason: offence.reason().to_owned(), count, strike: offence.is_strike() }
}

#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) node: NodeHandle,
    pub(super) since: Instant,
}

impl Operator {
    /// For the administrators of the node's own hospital.
    fn allow<T>(&self, request: &Request<T>) -> Result<(), RpcError> {
        let own = Member::Admin(self.node.organisation());
        if caller(request)?.member == own { Ok(()) } else { Err(RpcError::NotAllowed) }
    }
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        self.allow(&request)?;
        Ok(Response::new(explain::answer(&self.node.status().driver.snapshot)))
    }

    async fn make_snapshot(
        &self,
        request: Request<pb::MakeSnapshotRequest>,
    ) -> Result<Response<pb::MakeSnapshotResponse>, Status> {
        self.allow(&request)?;
        let made = self.node.make_snapshot().await.map_err(RpcError::from)?;
        let height = made.map_err(RpcError::NoSnapshot)?;
        Ok(Response::new(pb::MakeSnapshotResponse { height: height.0 }))
    }

    async fn get_node_status(
        &self,
        request: Request<pb::GetNodeStatusRequest>,
    ) -> Result<Response<pb::GetNodeStatusResponse>, Status> {
        self.allow(&request)?;
        let node = &self.node;
        let config = node.epoch();
        let (me, set) = (config.me, &config.set);
        let status = node.status();
        let (driver, waiting, head) = (&status.driver, &status.driver.waiting, &status.head);
        let halted = driver.fault.clone().or_else(|| waiting.halted.as_ref().map(ToString::to_string));
        let role = match &halted {
            Some(_) => pb::NodeRole::Halted,
            None if !config.is_member() => pb::NodeRole::Follower,
            None if waiting.primary == me => pb::NodeRole::Primary,
            None => pb::NodeRole::Backup,
        };
        let (epoch, window) = (waiting.epoch, set.params.window);
        // Asked most when the node is not well: an unreadable ledger leaves the votes out, not the answer.
        let votes = node.read(move |chain| Votes::read(chain, epoch, window)).await.unwrap_or_default();
        let seen = &driver.snapshot;
        let idle = waiting.text == IDLE;
        let waiting_for = halted.unwrap_or_else(|| if idle { String::new() } else { waiting.text.clone() });
        let peer = |peer: crate::network::PeerStatus| {
            let index = ValidatorIndex(peer.index.0);
            let validator = set.get(index);
            let seen = seen.peers.iter().find(|seen| seen.index == index);
            let linked = peer.link.is_some();
            let driven = driver.conduct.get(&index);
            let framing = peer.offences.into_iter();
            let offences = framing.chain(driven.into_iter().flat_map(Conduct::counts));
            pb::Peer {
                validator: validator.map(|_| index.0.into()),
                network_key: raw(peer.key),
                org_id: validator.map(|validator| raw(validator.organisation.0)).unwrap_or_default(),
                connected: linked,
                rtt_us: peer.link.and_then(|link| u64::try_from(link.rtt?.as_micros()).ok()),
                low: driver.peers_low.get(&index).map_or(0, |low| low.0),
                offences: offences.map(offence).collect(),
                cut_offs: peer.penalties,
                lag: seen.and_then(|seen| seen.lag),
                votes: votes.of(index),
                ready: linked && seen.is_some_and(|seen| votes.ready(seen, waiting.low)),
            }
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Response::new(pb::GetNodeStatusResponse {
            chain_id: raw(node.chain_id().0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: role.into(),
            validator: config.is_member().then(|| me.0.into()),
            epoch: waiting.epoch.0,
            view: waiting.view.0,
            asked_view: waiting.asked.0,
            low: waiting.low.0,
            delivered_height: waiting.delivered.0,
            height: head.height.0,
            block_time_ms: head.timestamp.0,
            state_root: raw(head.state_root.0),
            mempool_transactions: count(driver.pool.txs),
            mempool_bytes: count(driver.pool.bytes),
            waiting_for,
            peers: node.peers().into_iter().map(peer).collect(),
            uptime_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            strangers_refused: node.network_counters().refused.get(),
            handshakes_failed: node.network_counters().handshakes_failed.get(),
            views_left: explain::views_left(&seen.consensus),
            ready: readiness(node).serving,
            certificates: votes.certificates(),
        }))
    }
}
