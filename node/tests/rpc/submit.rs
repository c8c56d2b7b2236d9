//! Submitting, waiting, receipts and their proofs, through the SDK.

use std::time::Duration;

use epione_chaincode::keys;
use epione_client::verify::{Trust, VerifyError};
use epione_client::{ClientError, TxBuilder, TxStatus, Wait, tx};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_proto::v1::event_service_client::EventServiceClient;
use epione_proto::v1::identity_service_client::IdentityServiceClient;
use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_proto::v1::submit_stream_response::Result as StreamResult;
use epione_types::call::Call;
use epione_types::{Height, Outcome, SignedTx};
use futures::stream::StreamExt as _;
use prost::Message as _;
use tonic::Code;

use crate::support::{key, patient_call};
use crate::world::{World, access, org, patient, record, soon, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_proven_with_the_genesis_alone_and_no_flipped_bit_passes() {
    let world = World::new(Limits::default()).await;
    let (client, auditor) = (world.client("drA"), world.client("audA"));
    let tx = world.tx(&["drA"], Call::RecordAccess(access("anna1")));
    let status = soon(client.submit(&tx, Wait::Certified)).await.unwrap();
    let TxStatus::Certified { receipt, proof } = &status else { panic!("{status:?}") };
    assert_eq!((receipt.tx_id, receipt.outcome), (tx.id(), Outcome::Ok));

    let trust = Trust::new(&world.genesis).unwrap();
    let (proven, header) = trust.receipt(proof).unwrap();
    assert_eq!((&proven, header.height), (receipt.as_ref(), receipt.height));
    for at in 0..proof.receipt_bytes.len() {
        let mut bytes = proof.receipt_bytes.to_vec();
        bytes[at] ^= 1;
        let forged = pb::ReceiptProof { receipt_bytes: bytes.into(), ..(**proof).clone() };
        assert!(trust.receipt(&forged).is_err(), "byte {at}");
    }
    // Anybody enrolled who has the id gets the same, by any way of asking.
    assert_eq!(soon(auditor.receipt(tx.id(), None)).await.unwrap(), status);
    assert_eq!(soon(auditor.receipt(tx.id(), Some(Wait::Certified))).await.unwrap(), status);
    assert_eq!(soon(auditor.submit(&tx, Wait::Certified)).await.unwrap(), status);

    // A header and a value, and that there is none, proven likewise.
    let header = soon(client.certified_header(Some(receipt.height))).await.unwrap();
    assert_eq!(header.height, receipt.height);
    let record = keys::record(crate::world::record("anna1"));
    let (value, _) = soon(client.state_value(record.as_bytes(), None)).await.unwrap();
    assert!(value.is_some());
    let none = keys::organisation(crate::world::org("none"));
    let (value, header) = soon(client.state_value(none.as_bytes(), Some(receipt.height))).await.unwrap();
    assert_eq!((value, header.height), (None, receipt.height));
    // At a height where it was another value, none is kept; nor one of the future.
    let patient = keys::patient(patient("anna"));
    world.ok(&["anna"], crate::world::grant_call("anna", "g", epione_types::call::GrantKind::Permit)).await;
    let old = soon(auditor.state_value(patient.as_bytes(), Some(receipt.height))).await.unwrap_err();
    assert_eq!(reason(old), (Code::OutOfRange, "VALUE_NOT_KEPT".to_owned()));
    let future = soon(auditor.state_value(patient.as_bytes(), Some(Height(u64::MAX)))).await.unwrap_err();
    assert_eq!(reason(future), (Code::OutOfRange, "HEIGHT_NOT_KEPT".to_owned()));
    world.stop().await;
}

fn reason(error: ClientError) -> (Code, String) {
    let ClientError::Api(error) = error else { panic!("{error:?}") };
    (error.code, error.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_a_thousand_and_proves_each() {
    let world = World::empty(Limits::default()).await;
    let client = world.client("hospital0.admin");
    let txs: Vec<SignedTx> =
        (0..1_000).map(|number| world.tx(&["hospital0.admin"], patient_call(number))).collect();
    let (sink, mut answers) = client.submit_stream(Wait::Certified, 300);
    let sending = txs.clone();
    tokio::spawn(async move {
        for tx in sending {
            sink.send(tx).await.unwrap();
        }
    });
    let mut heights = std::collections::BTreeMap::new();
    while let Some(answer) = soon(answers.next()).await {
        // The SDK has verified the proof.
        let Ok(TxStatus::Certified { receipt, .. }) = answer.result else { panic!("{answer:?}") };
        assert_eq!(receipt.outcome, Outcome::Ok);
        assert!(heights.insert(answer.id, (receipt.height, receipt.index)).is_none(), "answered once");
    }
    assert!(txs.iter().all(|tx| heights.contains_key(&tx.id())));
    let places: std::collections::BTreeSet<_> = heights.values().collect();
    assert_eq!(places.len(), txs.len(), "each at a place of its own");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_window_slows_a_stream_and_loses_nothing() {
    let limits = Limits { in_flight_max: 2, in_flight_bytes_max: 600, ..Limits::default() };
    let world = World::empty(limits).await;
    let client = world.client("hospital0.admin");
    let (sink, mut answers) = client.submit_stream(Wait::Committed, 64);
    let txs: Vec<SignedTx> =
        (0..40).map(|number| world.tx(&["hospital0.admin"], patient_call(number))).collect();
    tokio::spawn(async move {
        for tx in txs {
            sink.send(tx).await.unwrap();
        }
    });
    let mut count = 0;
    while let Some(answer) = soon(answers.next()).await {
        assert!(matches!(answer.result, Ok(TxStatus::Committed(_))), "{answer:?}");
        count += 1;
    }
    assert_eq!(count, 40);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_and_a_watcher_sees_every_step() {
    let world = World::empty(Limits { wait_max: Duration::from_secs(3), ..Limits::default() }).await;
    let mut client = SubmissionServiceClient::new(world.channel());
    let tx = world.tx(&["hospital0.admin"], patient_call(1));
    let id = bytes::Bytes::copy_from_slice(&tx.id().0);

    let ask = |wait: pb::WaitLevel| pb::GetReceiptRequest { transaction_id: id.clone(), wait: wait.into() };
    let now = soon(client.get_receipt(world.by("hospital0.admin", ask(pb::WaitLevel::Unspecified)))).await;
    assert_eq!(now.unwrap().into_inner().status.unwrap().state(), pb::TransactionState::Unknown);
    let late = [pb::WaitLevel::Accepted, pb::WaitLevel::Committed, pb::WaitLevel::Certified].map(|level| {
        let (mut client, request) = (client.clone(), world.by("hospital0.admin", ask(level)));
        async move { client.get_receipt(request).await.unwrap_err() }
    });
    let options = Some(pb::ReadOptions { min_height: 1_000, with_proof: false });
    let beyond = pb::GetOrgRequest { org_id: raw(org("hospital0").0), options };
    let mut identity = IdentityServiceClient::new(world.channel());
    let beyond = identity.get_org(world.by("hospital0.admin", beyond));
    let (late, beyond) = soon(futures::future::join(futures::future::join_all(late), beyond)).await;
    for late in late {
        assert_eq!(told(&late), (Code::DeadlineExceeded, "DEADLINE".to_owned()));
    }
    assert_eq!(told(&beyond.unwrap_err()), (Code::Unavailable, "HEIGHT_NOT_REACHED".to_owned()));
    let short = pb::GetReceiptRequest { transaction_id: vec![1; 31].into(), wait: 0 };
    let refused = soon(client.get_receipt(world.by("hospital0.admin", short))).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "WRONG_LENGTH".to_owned()));

    // Watched from before it is submitted until it is final.
    let watch = pb::WatchReceiptRequest { transaction_id: id.clone() };
    let mut watched =
        soon(client.watch_receipt(world.by("hospital0.admin", watch))).await.unwrap().into_inner();
    let first = soon(watched.message()).await.unwrap().unwrap().status.unwrap();
    assert_eq!(first.state(), pb::TransactionState::Unknown);
    assert_eq!(world.run(&tx).await.outcome, Outcome::Ok);
    let mut states = Vec::new();
    while let Some(change) = soon(watched.message()).await.unwrap() {
        states.push(change.status.unwrap().state());
    }
    assert_eq!(states.last(), Some(&pb::TransactionState::Certified), "{states:?}");
    assert!(states.is_sorted() && !states.windows(2).any(|pair| pair[0] == pair[1]), "{states:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_hears_of_a_stop() {
    let mut world = World::one_of(4, 0, Limits::default()).await;
    let mut client = SubmissionServiceClient::new(world.channel());
    let watch = pb::WatchReceiptRequest { transaction_id: vec![7; 32].into() };
    let mut watched =
        soon(client.watch_receipt(world.by("hospital0.admin", watch))).await.unwrap().into_inner();
    soon(watched.message()).await.unwrap();
    // Alone, the node can order nothing.
    let tx = world.tx(&["hospital0.admin"], patient_call(1));
    let wait = pb::WaitLevel::Committed.into();
    let requests = [pb::SubmitStreamRequest { transaction: Some((&tx).into()), wait }];
    let requests = futures::stream::iter(requests).chain(futures::stream::pending());
    let stream = world.by("hospital0.admin", requests);
    let mut answers = soon(client.submit_stream(stream)).await.unwrap().into_inner();
    let mut events = EventServiceClient::new(world.channel());
    let subscribe = pb::SubscribeRequest { start: None, filter: None };
    let mut events =
        soon(events.subscribe(world.by("hospital0.admin", subscribe))).await.unwrap().into_inner();
    soon(events.message()).await.unwrap();
    let ask = pb::GetReceiptRequest { transaction_id: vec![7; 32].into(), wait };
    let (mut waiting, request) = (client.clone(), world.by("hospital0.admin", ask));
    let waiting = tokio::spawn(async move { waiting.get_receipt(request).await });

    // The node goes on.
    soon(world.server.take().unwrap().shutdown()).await;
    let stopping = (Code::Unavailable, "NODE_STOPPING".to_owned());
    assert_eq!(told(&soon(watched.message()).await.unwrap_err()), stopping);
    assert_eq!(told(&soon(answers.message()).await.unwrap_err()), stopping);
    assert_eq!(told(&soon(events.message()).await.unwrap_err()), stopping);
    // The stop may have come before the call: then it is the connection that says so. Either way: ask another node.
    let error = ApiError::from(&soon(waiting).await.unwrap().unwrap_err());
    assert!(error.is_retryable(), "{error:?}");
    world.stop().await;
}

/// With one worker, whatever spins or blocks stops everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_never_commits_expires_with_a_proof_and_whoever_waits_takes_no_cpu() {
    // Not the primary: that would have proposed it in time.
    let world = World::one_of(4, 1, Limits::default()).await;
    let mut client = SubmissionServiceClient::new(world.channel());
    let build = |number, expires_at| {
        let builder = TxBuilder::new(world.genesis.chain_id(), patient_call(number)).expires_at(expires_at);
        builder.sign(&key("hospital0.admin"), &[]).unwrap()
    };
    // Alone, the node takes it and cannot commit it.
    let expires_at = tx::now().plus(1_000);
    let (short, long) = (build(1, expires_at), build(2, expires_at.plus(600_000)));
    let submit = pb::SubmitRequest { transaction: Some((&short).into()), wait: 0 };
    let taken = soon(client.submit(world.by("hospital0.admin", submit))).await.unwrap().into_inner();
    let taken = taken.status.unwrap();
    assert_eq!((taken.state(), taken.durable), (pb::TransactionState::Pending, true));

    // A stream that has sent its last and waits.
    let wait = pb::WaitLevel::Committed.into();
    let requests = [pb::SubmitStreamRequest { transaction: Some((&long).into()), wait }];
    let stream = world.by("hospital0.admin", futures::stream::iter(requests));
    let mut answers = soon(client.submit_stream(stream)).await.unwrap().into_inner();
    let ask = || pb::GetReceiptRequest {
        transaction_id: bytes::Bytes::copy_from_slice(&short.id().0),
        wait: pb::WaitLevel::Committed.into(),
    };
    let mut waiting = client.clone();
    let request = world.by("hospital0.admin", ask());
    let waiting = tokio::spawn(async move { waiting.get_receipt(request).await });
    while tx::now() <= expires_at {
        let pending = pb::GetReceiptRequest { wait: 0, ..ask() };
        let status = soon(client.get_receipt(world.by("hospital0.admin", pending))).await.unwrap();
        assert_eq!(status.into_inner().status.unwrap().state(), pb::TransactionState::Pending);
    }

    // With a quorum time moves on: past the one, and on to the other.
    let others = world.others().await;
    let trust = Trust::new(&world.genesis).unwrap();
    let later = soon(client.get_receipt(world.by("hospital0.admin", ask()))).await.unwrap();
    for answer in [soon(waiting).await.unwrap().unwrap(), later] {
        let status = answer.into_inner().status.unwrap();
        assert_eq!(status.state(), pb::TransactionState::Expired);
        let proof = status.expiry_proof.unwrap();
        trust.expired(&short.body, &proof).unwrap();
        assert!(trust.expired(&long.body, &proof).is_err());
    }
    let answer = soon(answers.message()).await.unwrap().unwrap();
    let Some(StreamResult::Status(status)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(status.state(), pb::TransactionState::Committed);
    assert!(soon(answers.message()).await.unwrap().is_none());
    world.stop().await;
    for node in others {
        node.shutdown().await.unwrap();
    }
}

/// A status as seen by asking, by waiting, and by watching, which must agree.
async fn outcome(world: &World, tx: &SignedTx) -> pb::TransactionStatus {
    let mut client = SubmissionServiceClient::new(world.channel());
    let ask = pb::GetReceiptRequest { transaction_id: raw(tx.id().0), wait: 0 };
    let asked = soon(client.get_receipt(world.by("hospital0.admin", ask))).await.unwrap();
    let asked = asked.into_inner().status.unwrap();
    let watch = pb::WatchReceiptRequest { transaction_id: raw(tx.id().0) };
    let watched = soon(client.watch_receipt(world.by("hospital0.admin", watch))).await.unwrap();
    let first = soon(watched.into_inner().message()).await.unwrap().unwrap().status.unwrap();
    assert!(first.state() >= asked.state(), "{first:?} after {asked:?}");
    asked
}

fn expiring(world: &World, number: usize, expires_at: epione_types::TimestampMs) -> SignedTx {
    let builder = TxBuilder::new(world.genesis.chain_id(), patient_call(number)).expires_at(expires_at);
    builder.sign(&key("hospital0.admin"), &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_have_the_first_receipt_for_ever_and_what_is_late_is_proven_so() {
    let mut world = World::empty(Limits::default()).await;
    let expires_at = tx::now().plus(8_000); // time for a busy machine to commit one
    let (first, never) = (expiring(&world, 1, expires_at), expiring(&world, 2, expires_at));
    let receipt = world.run(&first).await;
    assert_eq!(receipt.outcome, Outcome::Ok);
    // The ledger's time passes the expiry.
    let mut number = 10;
    loop {
        world.ok(&["hospital0.admin"], patient_call(number)).await;
        number += 1;
        if world.node.as_ref().unwrap().handle().progress().borrow().timestamp > expires_at {
            break;
        }
    }
    let trust = Trust::new(&world.genesis).unwrap();
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        assert_eq!(world.run(&first).await, receipt, "restarted: {restarted}");
        assert_eq!(outcome(&world, &first).await.state(), pb::TransactionState::Certified);
        assert_eq!(outcome(&world, &never).await.state(), pb::TransactionState::Unknown, "of its id alone");
        let late = world.submit_at(world.channel(), &never).await.unwrap();
        assert_eq!(late.state(), pb::TransactionState::Expired, "restarted: {restarted}");
        trust.expired(&never.body, &late.expiry_proof.unwrap()).unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_has_its_outcome_after_a_restart_too() {
    // Not the primary, and alone: it takes and cannot commit.
    let mut world = World::one_of(4, 1, Limits::default()).await;
    let expires_at = tx::now().plus(5_000); // time for a busy machine to take it
    let (short, long) = (expiring(&world, 1, expires_at), expiring(&world, 2, expires_at.plus(200_000)));
    let mut client = SubmissionServiceClient::new(world.channel());
    for tx in [&short, &long] {
        let submit = pb::SubmitRequest { transaction: Some(tx.into()), wait: 0 };
        let taken = soon(client.submit(world.by("hospital0.admin", submit))).await.unwrap().into_inner();
        assert!(taken.status.unwrap().durable);
    }
    world.restart().await;
    for tx in [&short, &long] {
        assert_eq!(outcome(&world, tx).await.state(), pb::TransactionState::Pending);
    }
    while tx::now() <= expires_at {
        tokio::task::yield_now().await;
    }
    let others = world.others().await;
    let trust = Trust::new(&world.genesis).unwrap();
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        let committed = world.submit_at(world.channel(), &long).await.unwrap();
        assert_eq!(committed.state(), pb::TransactionState::Committed);
        let ask = pb::GetReceiptRequest { transaction_id: raw(short.id().0), wait: 2 };
        let mut client = SubmissionServiceClient::new(world.channel());
        let expired = if restarted {
            world.submit_at(world.channel(), &short).await.unwrap()
        } else {
            let answer = soon(client.get_receipt(world.by("hospital0.admin", ask))).await.unwrap();
            answer.into_inner().status.unwrap()
        };
        assert_eq!(expired.state(), pb::TransactionState::Expired);
        trust.expired(&short.body, &expired.expiry_proof.unwrap()).unwrap();
    }
    world.stop().await;
    for node in others {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_there_was_no_grant_at_a_height_is_kept_and_verified_without_any_node() {
    let world = World::new(Limits::default()).await;
    let (anna, grantee) = (world.client("anna"), world.client("drC"));
    let key = keys::grant(patient("anna"), crate::world::grant("g"));
    let ask = |height: Height| pb::GetProofRequest {
        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
        height: height.0,
    };
    let last = world.ok(&["drA"], crate::world::record_call("anna", "anna2")).await.height;
    let before = soon(anna.get_proof(ask(last))).await.unwrap().proof.unwrap();
    // Whom it would be for learns nothing of it: not there and not theirs are one answer.
    assert_eq!(reason(soon(grantee.get_proof(ask(last))).await.unwrap_err()).1, "NOT_ALLOWED");
    let permit = crate::world::grant_call("anna", "g", epione_types::call::GrantKind::Permit);
    let clinic = org("clinic");
    let subject = (patient("anna"), record("anna2"));
    let (none, header) = soon(anna.no_grant(subject, clinic, None)).await.unwrap();
    assert!(header.height >= last);
    let made = world.ok(&["anna"], permit).await.height;
    let after = soon(anna.get_proof(ask(made))).await.unwrap().proof.unwrap();
    // Of a past height, when there was none, while there is one now.
    let (again, past) = soon(anna.no_grant(subject, clinic, Some(last))).await.unwrap();
    assert_eq!(past.height, last);
    let held = soon(anna.no_grant(subject, clinic, Some(made))).await.unwrap_err();
    assert!(matches!(held, ClientError::Proof(VerifyError::Held { permits: 1, .. })), "{held}");
    let stranger = soon(grantee.no_grant(subject, clinic, None)).await.unwrap_err();
    assert_eq!(reason(stranger).1, "NOT_ALLOWED");
    world.stop().await;

    // As a file, with the genesis.
    let kept = [before.encode_to_vec(), after.encode_to_vec()];
    let genesis = crate::support::genesis(1);
    let trust = Trust::new(&genesis).unwrap();
    for (bytes, height, there) in [(&kept[0], last, false), (&kept[1], made, true)] {
        let proof = pb::StateValueProof::decode(bytes.as_slice()).unwrap();
        let (value, header) = trust.value(&proof).unwrap();
        assert_eq!((value.is_some(), header.height, proof.key.as_ref()), (there, height, key.as_bytes()));
    }
    for (proof, height) in [(none, header.height), (again, last)] {
        assert_eq!(trust.no_grant(subject, clinic, &proof).unwrap().height, height);
    }
    // One does not pass for the other.
    let mut forged = after;
    forged.value = None;
    assert!(trust.value(&forged).is_err());
    forged.header = before.header.clone();
    assert!(trust.value(&forged).is_err());
}
