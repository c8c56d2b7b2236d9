//! Submitting, waiting, receipts and their proofs, through the SDK.

use std::time::Duration;

use epione_chaincode::keys;
use epione_client::verify::Trust;
use epione_client::{ClientError, TxStatus, Wait};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::v1 as pb;
use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_types::call::Call;
use epione_types::{Height, Outcome, SignedTx};
use tonic::Code;

use crate::support::patient_call;
use crate::world::{World, access, patient, soon, told};

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
    let key = keys::record(crate::world::record("anna1"));
    let (value, _) = soon(client.state_value(key.as_bytes(), None)).await.unwrap();
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
async fn waiting_ends_with_the_calls_deadline_and_a_watcher_sees_every_step() {
    let world = World::empty(Limits::default()).await;
    let mut client = SubmissionServiceClient::new(world.channel());
    let tx = world.tx(&["hospital0.admin"], patient_call(1));
    let id = bytes::Bytes::copy_from_slice(&tx.id().0);

    let ask = |wait: pb::WaitLevel| pb::GetReceiptRequest { transaction_id: id.clone(), wait: wait.into() };
    let now = soon(client.get_receipt(world.by("hospital0.admin", ask(pb::WaitLevel::Unspecified)))).await;
    assert_eq!(now.unwrap().into_inner().status.unwrap().state(), pb::TransactionState::Unknown);
    for level in [pb::WaitLevel::Accepted, pb::WaitLevel::Committed, pb::WaitLevel::Certified] {
        let mut request = world.by("hospital0.admin", ask(level));
        request.set_timeout(Duration::from_millis(200));
        let late = soon(client.get_receipt(request)).await.unwrap_err();
        assert_eq!(told(&late), (Code::DeadlineExceeded, "DEADLINE".to_owned()), "{level:?}");
    }
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
    let world = World::empty(Limits::default()).await;
    let client = SubmissionServiceClient::new(world.channel());
    let ask =
        pb::GetReceiptRequest { transaction_id: vec![7; 32].into(), wait: pb::WaitLevel::Committed.into() };
    let (mut waiting, mut watching) = (client.clone(), client);
    let request = world.by("hospital0.admin", ask);
    let watch = pb::WatchReceiptRequest { transaction_id: vec![7; 32].into() };
    let mut watched =
        soon(watching.watch_receipt(world.by("hospital0.admin", watch))).await.unwrap().into_inner();
    soon(watched.message()).await.unwrap();
    let waiting = tokio::spawn(async move { waiting.get_receipt(request).await });
    soon(world.stop()).await;
    // The stop may have come before the call: then it is the connection that says so. Either way: ask another node.
    let told = ApiError::from(&soon(waiting).await.unwrap().unwrap_err());
    assert!(told.is_retryable(), "{told:?}");
    assert_eq!(soon(watched.message()).await.unwrap_err().code(), Code::Unavailable);
}
