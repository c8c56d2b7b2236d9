//! What an operator reads of a node and its peers, and whether it is ready: caught up, voting, with a quorum in reach.

use epione_consensus::{Foreign, Halt, Kind, Record, Wal as _};
use epione_ledger::disk::FileDisk;
use epione_node::log::ConsensusLog;
use epione_node::rpc::Limits;
use epione_proto::v1 as pb;
use epione_proto::v1::operator_service_client::OperatorServiceClient;
use epione_types::Height;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::patient_call;
use crate::world::{World, soon};

/// A node's operator, its hospital's administrator.
struct Operator {
    client: OperatorServiceClient<Channel>,
    admin: String,
}

impl Operator {
    fn of(world: &World, hospital: usize) -> Self {
        let client = OperatorServiceClient::new(world.operator_channel());
        Self { client, admin: format!("hospital{hospital}.admin") }
    }

    /// Asks until the answer is as it should be.
    async fn until(
        &mut self,
        world: &World,
        what: &str,
        wanted: impl Fn(&pb::GetNodeStatusResponse) -> bool,
    ) -> pb::GetNodeStatusResponse {
        let mut last = None;
        let asking = async {
            loop {
                let request = world.by(&self.admin, pb::GetNodeStatusRequest {});
                let status = self.client.get_node_status(request).await.unwrap().into_inner();
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
        };
        let found = tokio::time::timeout(crate::world::DEADLINE, asking).await;
        found.unwrap_or_else(|_| panic!("never came about: {what}; last: {last:#?}"))
    }
}

/// Watches the health service until it says so.
async fn health(world: &World, expected: ServingStatus) {
    let mut client = HealthClient::new(world.channel());
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = soon(client.watch(request)).await.unwrap().into_inner();
    soon(async { while watched.message().await.unwrap().unwrap().status() != expected {} }).await;
}

fn peer(status: &pb::GetNodeStatusResponse, place: u32) -> &pb::Peer {
    status.peers.iter().find(|peer| peer.validator == Some(place)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_told_with_lag_round_trip_and_votes_and_a_node_is_ready_with_a_quorum_alone() {
    let world = World::one_of(4, 3, Limits::default()).await;
    let mut operator = Operator::of(&world, 3);
    let lonely = operator.until(&world, "alone", |status| status.peers.len() == 3).await;
    assert!(!lonely.ready && lonely.peers.iter().all(|peer| !peer.connected && !peer.ready));
    health(&world, ServingStatus::NotServing).await;

    let mut others = world.others().await;
    let height = 6;
    for number in (0..).take(6) {
        world.run(&world.tx(&["hospital0.admin"], patient_call(number))).await;
    }
    let all_well = |status: &pb::GetNodeStatusResponse| {
        let well = |peer: &pb::Peer| peer.connected && peer.ready && peer.lag == Some(0);
        let level = |peer: &pb::Peer| peer.low == status.low && peer.rtt_us.is_some();
        status.ready && status.low == height && status.peers.iter().all(|peer| well(peer) && level(peer))
    };
    let status = operator.until(&world, "all are well, and measured", all_well).await;
    // A block that was fetched has no certificate of its own.
    let certificates = status.certificates;
    assert!(certificates > 0 && u64::from(certificates) <= height, "{status:?}");
    // A certificate holds a quorum of three, this node among them or not.
    let votes: u32 = status.peers.iter().map(|peer| peer.votes).sum();
    assert!((2 * certificates..=3 * certificates).contains(&votes), "{status:?}");
    assert!(status.peers.iter().all(|peer| peer.votes <= certificates), "{status:?}");
    health(&world, ServingStatus::Serving).await;

    // One stops: it falls behind, and the node is as ready as before.
    others.remove(2).shutdown().await.unwrap();
    for number in 10..13 {
        world.run(&world.tx(&["hospital0.admin"], patient_call(number))).await;
    }
    let behind = |status: &pb::GetNodeStatusResponse| peer(status, 2).lag >= Some(2);
    let status = operator.until(&world, "the one that stopped is behind", behind).await;
    let stopped = peer(&status, 2);
    assert!(!stopped.connected && !stopped.ready && stopped.rtt_us.is_none() && status.ready, "{status:?}");
    assert!(stopped.votes <= certificates && status.certificates > certificates);

    // So does the primary: no quorum is in reach, and the view is left for want of its proposal.
    others.remove(0).shutdown().await.unwrap();
    let before = operator.until(&world, "no quorum is in reach", |status| !status.ready).await;
    health(&world, ServingStatus::NotServing).await;
    let tx = world.tx(&["hospital0.admin"], patient_call(20));
    world.submit_to(world.channel(), &tx, pb::WaitLevel::Accepted).await.unwrap();
    let asks = |status: &pb::GetNodeStatusResponse| status.asked_view > before.asked_view;
    let status = operator.until(&world, "it asks for the next view", asks).await;
    let mut left = status.views_left.clone();
    left.retain(|it| !before.views_left.contains(it));
    // Whose timer was first is the machine's to say; on a slow one it may have left a view before.
    let causes = ["REQUEST_LATE", "OTHERS_LEFT", "SLOT_LATE"];
    assert!(left.len() == 1 && causes.contains(&left[0].reason.as_str()), "{left:?}");
    let said = format!("view change to {}: ", status.asked_view);
    assert!(status.waiting_for.starts_with(&said), "{}", status.waiting_for);
    for node in others {
        node.shutdown().await.unwrap();
    }
    world.stop().await;
}

/// A halt is logged: no restart undoes it. What operators read is a sentence, the one of `epione node explain`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_node_is_not_ready_and_says_why_in_a_sentence() {
    let mut world = World::empty(Limits::default()).await;
    world.run(&world.tx(&["hospital0.admin"], patient_call(1))).await;
    health(&world, ServingStatus::Serving).await;
    world.server.take().unwrap().shutdown().await;
    world.node.take().unwrap().shutdown().await.unwrap();
    let halt = Halt::Impersonated { what: Foreign::Vote(Kind::Commit), height: Height(1) };
    let (mut log, _) = ConsensusLog::open(FileDisk::open(&world.log_dir()).unwrap()).unwrap();
    log.append_and_sync(&[Record::Halted(halt.clone())]).unwrap();
    drop(log);
    world.start().await;

    let mut operator = Operator::of(&world, 0);
    let halted = |status: &pb::GetNodeStatusResponse| status.role() == pb::NodeRole::Halted;
    let status = operator.until(&world, "it has halted", halted).await;
    assert_eq!((status.waiting_for, status.ready), (halt.to_string(), false));
    health(&world, ServingStatus::NotServing).await;
    let explain = world.by("hospital0.admin", pb::ExplainRequest {});
    let answer = soon(operator.client.explain(explain)).await.unwrap().into_inner();
    assert!(answer.summary.contains(&halt.to_string()), "{}", answer.summary);
    world.stop().await;
}
