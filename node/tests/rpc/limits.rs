//! What one organisation takes up is refused to it and not to the others.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use epione_node::handle::{Level, NodeError, NodeHandle, READS_MAX};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::v1 as pb;
use epione_proto::v1::event_service_client::EventServiceClient;
use epione_proto::v1::ledger_service_client::LedgerServiceClient;
use epione_proto::v1::operator_service_client::OperatorServiceClient;
use epione_types::Signer as _;
use epione_types::call::{Call, RegisterPatient};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{hash, key, patient_call};
use crate::world::{World, org, patient, soon, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_counted_by_organisation_and_given_back() {
    let world = World::new(Limits { calls_per_organisation_max: 2, ..Limits::default() }).await;
    let subscribe = async |who: &str| {
        let mut client = EventServiceClient::new(world.channel());
        let request = pb::SubscribeRequest { start: None, filter: None };
        soon(client.subscribe(world.by(who, request))).await
    };
    // Two streams of one clinic, by different members.
    let first = subscribe("drC").await.unwrap();
    let second = subscribe("clinic.admin").await.unwrap();
    let refused = subscribe("drC").await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "TOO_MANY_CALLS".to_owned()));
    assert!(ApiError::from(&refused).retry_after.is_some());
    let mut ledger = LedgerServiceClient::new(world.channel());
    let ask = || pb::GetStatusRequest {};
    assert_eq!(told(&soon(ledger.get_status(world.by("drC", ask()))).await.unwrap_err()).1, "TOO_MANY_CALLS");
    // The others are served.
    for other in ["drA", "anna"] {
        soon(ledger.get_status(world.by(other, ask()))).await.unwrap();
        drop(subscribe(other).await.unwrap());
    }
    // Whoever leaves makes room.
    drop(first);
    soon(async {
        while ledger.get_status(world.by("drC", ask())).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(second);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persons_have_a_little_room_each_and_a_quarter_together() {
    let world = World::new(Limits { calls_max: 12, calls_per_person_max: 2, ..Limits::default() }).await;
    let register = RegisterPatient {
        patient: patient("bert"),
        key: Some(key("bert").public_key()),
        notice_hash: hash("notice"),
    };
    world.ok(&["regA", "bert"], Call::RegisterPatient(register)).await;
    let subscribe = async |who: &str| {
        let mut client = EventServiceClient::new(world.channel());
        let request = pb::SubscribeRequest { start: None, filter: None };
        soon(client.subscribe(world.by(who, request))).await
    };
    let _annas = [subscribe("anna").await.unwrap(), subscribe("anna").await.unwrap()];
    let refused = subscribe("anna").await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "TOO_MANY_CALLS".to_owned()));
    let _berts = subscribe("bert").await.unwrap();
    assert!(refused.message().contains("2 of 2"), "{refused}");
    let refused = subscribe("bert").await.unwrap_err();
    assert!(refused.message().contains("3 of 3"), "{refused}");
    // The other three quarters are the organisations'.
    let mut streams = Vec::new();
    for _ in 0..9 {
        streams.push(subscribe("drC").await.unwrap());
    }
    assert!(subscribe("drA").await.is_err());
    world.stop().await;
}

/// Takes every read that calls may have at a time, until it is dropped.
fn crowd(node: &NodeHandle) -> Vec<Sender<()>> {
    let (begun, begins) = channel();
    let leave = (0..READS_MAX).map(|_| {
        let (node, begun, (leave, left)) = (node.clone(), begun.clone(), channel());
        tokio::spawn(async move {
            let wait = move |_: &_| {
                begun.send(()).unwrap();
                let _ = left.recv();
                Ok::<_, NodeError>(())
            };
            node.read(wait).await
        });
        leave
    });
    let leave = leave.collect();
    (0..READS_MAX).for_each(|_| begins.recv().unwrap());
    leave
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_and_subscribers_are_served_by_a_crowded_node() {
    let world = World::empty(Limits { calls_max: 2, ..Limits::default() }).await;
    let mut events = EventServiceClient::new(world.channel());
    let request = pb::SubscribeRequest { start: None, filter: None };
    let mut stream = soon(events.subscribe(world.by("hospital0.admin", request))).await.unwrap().into_inner();
    let node = world.node.as_ref().unwrap().handle();
    let crowd = tokio::task::block_in_place(|| crowd(node));
    // One call waits for a read, and another one has no room.
    let call = || {
        let mut ledger = LedgerServiceClient::new(world.channel());
        let ask = world.by("hospital0.admin", pb::GetStatusRequest {});
        Box::pin(async move { ledger.get_status(ask).await })
    };
    let (refused, waits) = soon(futures::future::select(call(), call())).await.factor_first();
    assert_eq!(told(&refused.unwrap_err()).1, "TOO_MANY_CALLS");
    // How the node is, is told all the same.
    let mut operator = OperatorServiceClient::new(world.operator_channel());
    let status = operator.get_node_status(world.by("hospital0.admin", pb::GetNodeStatusRequest {}));
    soon(status).await.unwrap();
    // And whoever follows the ledger sees it grow.
    let tx = world.tx(&["hospital0.admin"], patient_call(1));
    soon(node.submit(tx, org("hospital0"), Level::Accepted)).await.unwrap();
    soon(async { while !format!("{:?}", stream.message().await.unwrap()).contains("PatientRegistered") {} })
        .await;
    drop(crowd);
    assert!(soon(waits).await.is_ok());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_at_once() {
    let world = World::empty(Limits { calls_max: 1, ..Limits::default() }).await;
    let mut events = EventServiceClient::new(world.channel());
    let request = pb::SubscribeRequest { start: None, filter: None };
    let _stream = soon(events.subscribe(world.by("hospital0.admin", request))).await.unwrap();
    let mut ledger = LedgerServiceClient::new(world.channel());
    let ask = world.by("hospital0.admin", pb::GetStatusRequest {});
    let refused = soon(ledger.get_status(ask)).await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "TOO_MANY_CALLS".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_says_who_it_is_is_closed_and_the_others_stay() {
    let world = World::empty(Limits { unknown_max: Duration::from_secs(2), ..Limits::default() }).await;
    // One that is known, and the older of the two.
    let mut events = EventServiceClient::new(world.channel());
    let request = pb::SubscribeRequest { start: None, filter: None };
    let mut stream = soon(events.subscribe(world.by("hospital0.admin", request))).await.unwrap().into_inner();
    // One that watches health and never shows a token.
    let watch = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(world.channel());
    let mut watched = soon(health.watch(watch)).await.unwrap().into_inner();
    soon(async { while let Ok(Some(_)) = watched.message().await {} }).await;
    // It may come again, and the known one has noticed nothing.
    soon(HealthClient::new(world.channel()).check(HealthCheckRequest { service: String::new() }))
        .await
        .unwrap();
    let receipt = world.ok(&["hospital0.admin"], patient_call(1)).await;
    soon(async {
        loop {
            let told = stream.message().await.unwrap().expect("the stream goes on");
            if format!("{told:?}").contains("PatientRegistered") {
                return;
            }
        }
    })
    .await;
    assert!(!receipt.events.is_empty());
    world.stop().await;
}
