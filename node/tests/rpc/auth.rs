//! Who may call at all.

use bytes::Bytes;
use epione_client::{auth, tx};
use epione_node::rpc::Limits;
use epione_proto::FILE_DESCRIPTOR_SET;
use epione_proto::v1 as pb;
use epione_proto::v1::ledger_service_client::LedgerServiceClient;
use epione_proto::v1::operator_service_client::OperatorServiceClient;
use epione_types::call::{Call, RotateKey};
use epione_types::{ChainId, Signer as _};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::raw;
use crate::support::key;
use crate::world::{World, soon, told, with_token};

/// Path of every method of the API, from the descriptors: a new one cannot be forgotten.
pub(crate) fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services =
        set.file.iter().filter(|file| file.package() == "epione.v1").flat_map(|file| &file.service);
    let paths = services.flat_map(|service| {
        service.method.iter().map(|method| format!("/epione.v1.{}/{}", service.name(), method.name()))
    });
    let paths: Vec<String> = paths.collect();
    assert!(paths.len() > 20, "{paths:?}");
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_anonymous_but_health_and_reflection() {
    let world = World::empty(Limits::default()).await;
    let (public, operator) = (world.channel(), world.operator_channel());
    let stranger = world.token("stranger");
    for path in methods() {
        let operators = path.contains("OperatorService");
        let channel = if operators { &operator } else { &public };
        let anonymous = soon(raw::call(channel, &path, Request::new(Bytes::new()))).await.expect_err(&path);
        assert_eq!(told(&anonymous), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()), "{path}");
        let unknown = soon(raw::call(channel, &path, with_token(&stranger, Bytes::new()))).await;
        let expected = (Code::Unauthenticated, "KEY_NOT_REGISTERED".to_owned());
        assert_eq!(told(&unknown.expect_err(&path)), expected, "{path}");
        // Each address has its own services only.
        let elsewhere = if operators { &public } else { &operator };
        let missing = soon(raw::call(elsewhere, &path, Request::new(Bytes::new()))).await.expect_err(&path);
        assert_eq!(missing.code(), Code::Unimplemented, "{path}");
    }
    for channel in [public, operator] {
        let check = HealthCheckRequest { service: String::new() };
        let answer = soon(HealthClient::new(channel.clone()).check(check)).await;
        assert!(answer.is_ok(), "{answer:?}");
        let list = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut reflection = ServerReflectionClient::new(channel);
        let stream = futures::stream::iter([list]);
        let mut answers = soon(reflection.server_reflection_info(stream)).await.unwrap().into_inner();
        let answer = soon(answers.message()).await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
        let names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
        assert!(names.iter().any(|name| name == "epione.v1.SubmissionService"), "{names:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_recent_for_this_chain_and_signed_by_a_registered_key() {
    let world = World::empty(Limits::default()).await;
    let (admin, chain, now) = (key("hospital0.admin"), world.genesis.chain_id(), tx::now());
    let good = world.token("hospital0.admin");
    let mut forged = good.clone().into_bytes();
    let at = forged.len() - 20;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let cases = [
        ("another chain", auth::create(&admin, ChainId([9; 32]), now, 300), "TOKEN_AUDIENCE"),
        ("expired", auth::create(&admin, chain, now.minus(600_000), 300), "TOKEN_EXPIRED"),
        ("from the future", auth::create(&admin, chain, now.plus(600_000), 300), "TOKEN_NOT_YET_VALID"),
        ("forged", String::from_utf8(forged).unwrap(), "TOKEN_SIGNATURE"),
        ("garbage", "garbage".to_owned(), "TOKEN_MALFORMED"),
        ("empty", String::new(), "TOKEN_MALFORMED"),
        ("a validator's voting key", world.token("hospital0.validator"), "KEY_NOT_REGISTERED"),
    ];
    let mut ledger = LedgerServiceClient::new(world.channel());
    for (name, token, reason) in cases {
        let refused = soon(ledger.get_status(with_token(&token, pb::GetStatusRequest {}))).await;
        let expected = (Code::Unauthenticated, reason.to_owned());
        assert_eq!(told(&refused.expect_err(name)), expected, "{name}");
    }
    // A scheme that is none of ours, and the good one, twice.
    let mut basic = Request::new(pb::GetStatusRequest {});
    basic.metadata_mut().insert("authorization", "Basic dXNlcjpwYXNz".parse().unwrap());
    assert_eq!(told(&soon(ledger.get_status(basic)).await.unwrap_err()).1, "TOKEN_MISSING");
    for _ in 0..2 {
        let status = soon(ledger.get_status(with_token(&good, pb::GetStatusRequest {}))).await.unwrap();
        assert_eq!(status.into_inner().chain_id, chain.0.as_slice());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_known_is_refused_from_its_end_and_from_its_keys_end_on() {
    let world = World::new(Limits::default()).await;
    let mut ledger = LedgerServiceClient::new(world.channel());
    let mut ask = async |token: &str| {
        soon(ledger.get_status(with_token(token, pb::GetStatusRequest {}))).await.map(drop)
    };
    // Nothing is committed meanwhile, and then one transaction.
    let (brief, whole) =
        (auth::create(&key("drC"), world.genesis.chain_id(), tx::now(), 5), world.token("drC"));
    for token in [&brief, &brief, &whole, &whole] {
        ask(token).await.unwrap();
    }
    let ended = soon(async {
        loop {
            if let Err(status) = ask(&brief).await {
                return status;
            }
        }
    });
    assert_eq!(told(&ended.await), (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned()));
    let rotate = RotateKey { key: key("drC, later").public_key() };
    world.ok(&["drC", "drC, later"], Call::RotateKey(rotate)).await;
    let struck = (Code::Unauthenticated, "KEY_NOT_REGISTERED".to_owned());
    assert_eq!(told(&ask(&whole).await.unwrap_err()), struck);
    ask(&world.token("drC, later")).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_tokens_is_shut_out_and_known_callers_are_not() {
    let world = World::empty(Limits { bad_tokens_max: 3, ..Limits::default() }).await;
    let mut ledger = LedgerServiceClient::new(world.channel());
    let known = world.token("hospital0.admin");
    let status = || pb::GetStatusRequest {};
    soon(ledger.get_status(with_token(&known, status()))).await.unwrap();
    for number in 0..3 {
        let guess = soon(ledger.get_status(with_token(&format!("guess{number}"), status()))).await;
        assert_eq!(told(&guess.unwrap_err()).1, "TOKEN_MALFORMED");
    }
    let shut = soon(ledger.get_status(with_token("guess", status()))).await.unwrap_err();
    assert_eq!(told(&shut), (Code::ResourceExhausted, "TOO_MANY_BAD_TOKENS".to_owned()));
    soon(ledger.get_status(with_token(&known, status()))).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_made_keys_valid_token_wears_out_patience_like_a_bad_one() {
    let world = World::empty(Limits { bad_tokens_max: 3, ..Limits::default() }).await;
    let mut ledger = LedgerServiceClient::new(world.channel());
    let (known, stranger) = (world.token("hospital0.admin"), world.token("stranger"));
    let status = || pb::GetStatusRequest {};
    soon(ledger.get_status(with_token(&known, status()))).await.unwrap();
    let mut told =
        async |token: &str| told(&soon(ledger.get_status(with_token(token, status()))).await.unwrap_err()).1;
    for _ in 0..3 {
        assert_eq!(told(&stranger).await, "KEY_NOT_REGISTERED");
    }
    assert_eq!(told(&stranger).await, "TOO_MANY_BAD_TOKENS", "the same token, and valid all the time");
    soon(ledger.get_status(with_token(&known, status()))).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_healthy_with_a_quorum_in_reach() {
    for (n, expected) in [(1, ServingStatus::Serving), (4, ServingStatus::NotServing)] {
        let world = World::one_of(n, 0, Limits::default()).await;
        let mut health = HealthClient::new(world.channel());
        for service in ["", "epione.v1.SubmissionService", "epione.v1.EventService"] {
            let mut watched = soon(health.watch(HealthCheckRequest { service: service.to_owned() }))
                .await
                .unwrap()
                .into_inner();
            // Told anew when it changes; at first nobody has looked yet.
            let reached = async { while watched.message().await.unwrap().unwrap().status() != expected {} };
            soon(reached).await;
        }
        let check = HealthCheckRequest { service: "epione.v1.OperatorService".to_owned() };
        let operator = soon(HealthClient::new(world.operator_channel()).check(check)).await.unwrap();
        assert_eq!(operator.into_inner().status(), ServingStatus::Serving, "asked most when it is not well");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_own_administrators_see_how_it_is() {
    let world = World::new(Limits::default()).await;
    let mut operator = OperatorServiceClient::new(world.operator_channel());
    let ask = || pb::GetNodeStatusRequest {};
    for other in ["drA", "audA", "clinic.admin", "anna"] {
        let refused = soon(operator.get_node_status(world.by(other, ask()))).await.unwrap_err();
        assert_eq!(told(&refused), (Code::PermissionDenied, "NOT_ALLOWED".to_owned()), "{other}");
    }
    // The node's picture of itself is renewed several times a second.
    let height = world.node.as_ref().unwrap().handle().progress().borrow().height.0;
    let status = soon(async {
        loop {
            let status =
                operator.get_node_status(world.by("hospital0.admin", ask())).await.unwrap().into_inner();
            if status.height >= height && status.waiting_for.is_empty() {
                return status;
            }
        }
    })
    .await;
    assert_eq!(status.role(), pb::NodeRole::Primary);
    assert_eq!(status.validator, Some(0));
    assert_eq!((status.view, status.asked_view, status.peers.len()), (0, 0, 0));
    // Alone and well: there is nothing to wait for, and no timer.
    assert!(status.ready && status.views_left.is_empty());
    assert_eq!(u64::from(status.certificates), height.min(100));
    let refused = soon(operator.explain(world.by("clinic.admin", pb::ExplainRequest {}))).await.unwrap_err();
    assert_eq!(told(&refused), (Code::PermissionDenied, "NOT_ALLOWED".to_owned()));
    let answer = soon(async {
        loop {
            let ask = world.by("hospital0.admin", pb::ExplainRequest {});
            let answer = operator.explain(ask).await.unwrap().into_inner();
            if answer.height > height {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((answer.step(), answer.height), (pb::ConsensusStep::Transactions, height + 1));
    assert_eq!((answer.advice.as_str(), answer.next_timer), ("Nothing to do.", None));
    world.stop().await;
}
