//! Everything that may be wrong with a submission: its code and its reason, by itself and on a stream.

use bytes::Bytes;
use epione_client::{TxBuilder, tx};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::v1 as pb;
use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_proto::v1::submit_stream_response::Result as StreamResult;
use epione_types::call::{Call, RevokeGrant};
use epione_types::codes::{Refusal, Role};
use epione_types::id::RequestId;
use epione_types::tx::TxSignature;
use epione_types::{ChainId, Outcome, SignedTx, Signer as _};
use futures::stream::StreamExt as _;
use prost::Message as _;
use tonic::Code;

use crate::raw;
use crate::support::{key, patient_call};
use crate::world::{World, grant, patient, practitioner_call, record_call, soon, told, with_token};

const SUBMIT: &str = "/epione.v1.SubmissionService/Submit";

/// Name, request, code, reason and field.
type Row = (&'static str, pb::SubmitRequest, Code, &'static str, &'static str);

fn request(tx: &SignedTx) -> pb::SubmitRequest {
    pb::SubmitRequest { transaction: Some(tx.into()), wait: pb::WaitLevel::Committed.into() }
}

fn rows(world: &World) -> Vec<Row> {
    let chain = world.genesis.chain_id();
    let call = || patient_call(1);
    let sender = key("hospital0.admin");
    let good = world.tx(&["hospital0.admin"], call());
    let two = world.tx(&["hospital0.admin", "drX"], practitioner_call("drX", Role::Physician));
    let with_body = |body: &[u8]| SignedTx::sign(Bytes::copy_from_slice(body), &[&sender]);
    let built = |builder: TxBuilder| builder.sign(&sender, &[]).unwrap();
    let at = |ms: i64| {
        let now = tx::now();
        let time = if ms < 0 { now.minus(ms.unsigned_abs()) } else { now.plus(ms.unsigned_abs()) };
        built(TxBuilder::new(chain, call()).expires_at(time))
    };
    let mut forged = good.clone();
    forged.signatures[0].signature.0[9] ^= 1;
    let mut anothers = good.clone();
    anothers.signatures[0].public_key = key("stranger").public_key();
    let lacking = SignedTx { signatures: two.signatures[..1].to_vec(), ..two.clone() };
    let uninvited = SignedTx { signatures: two.signatures.clone(), ..good.clone() };
    let doubled = SignedTx { signatures: [good.signatures[0]; 2].to_vec(), ..good.clone() };
    let unsigned = SignedTx { signatures: Vec::new(), ..good.clone() };
    let mut crowd = request(&good);
    crowd.transaction.as_mut().unwrap().signatures =
        vec![pb::Signature { public_key: vec![1; 32].into(), signature: vec![1; 64].into() }; 17];
    let mut short_key = request(&good);
    short_key.transaction.as_mut().unwrap().signatures[0].public_key = vec![1; 31].into();
    let unknown_field = [good.body.as_ref(), &[0xf8, 0x07, 1]].concat();
    let truncated = &good.body[..good.body.len() - 3];
    let wait = pb::SubmitRequest { wait: 9, ..request(&good) };
    let nothing = pb::SubmitRequest::default();
    let other = built(TxBuilder::new(ChainId([9; 32]), call()));
    let bad = Code::InvalidArgument;
    let body = "transaction.body";
    let signatures = "transaction.signatures";
    vec![
        ("no transaction", nothing, bad, "MISSING_FIELD", "transaction"),
        ("unknown wait level", wait, bad, "UNKNOWN_CODE", "wait"),
        ("empty body", request(&with_body(&[])), bad, "WRONG_LENGTH", body),
        ("garbage body", request(&with_body(&[0xff; 40])), bad, "MALFORMED_BODY", body),
        ("truncated body", request(&with_body(truncated)), bad, "MALFORMED_BODY", ""),
        ("oversized body", request(&with_body(&[0; 16 * 1024 + 1])), bad, "WRONG_LENGTH", body),
        ("unknown field", request(&with_body(&unknown_field)), bad, "UNKNOWN_FIELD", ""),
        ("no signature", request(&unsigned), bad, "SIGNATURE_COUNT", signatures),
        ("too many signatures", crowd, bad, "TOO_MANY", signatures),
        ("short key", short_key, bad, "WRONG_LENGTH", "transaction.signatures[0].public_key"),
        ("wrongly signed", request(&forged), bad, "BAD_SIGNATURE", signatures),
        ("another's signature", request(&anothers), bad, "SENDER_NOT_SIGNER", signatures),
        ("missing co-signer", request(&lacking), bad, "SIGNATURE_MISSING", signatures),
        ("uninvited co-signer", request(&uninvited), bad, "SIGNATURE_MISSING", signatures),
        ("one signer twice", request(&doubled), bad, "DUPLICATE_SIGNER", signatures),
        ("wrong chain", request(&other), bad, "OTHER_CHAIN", "transaction.body.chain_id"),
        (
            "expired",
            request(&at(-1_000)),
            Code::FailedPrecondition,
            "EXPIRED",
            "transaction.body.expires_at_ms",
        ),
        (
            "expires too late",
            request(&at(25 * 3_600_000)),
            bad,
            "EXPIRES_TOO_LATE",
            "transaction.body.expires_at_ms",
        ),
    ]
}

#[track_caller]
fn check(row: &Row, error: &ApiError) {
    let (name, _, code, reason, field) = row;
    assert_eq!((error.code, error.reason.as_str()), (*code, *reason), "{name}: {error:?}");
    assert!(field.is_empty() || error.field == *field, "{name}: {error:?}");
    assert!(!error.message.is_empty(), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_submission_is_said_by_name() {
    let world = World::empty(Limits::default()).await;
    let rows = rows(&world);
    let mut client = SubmissionServiceClient::new(world.channel());
    for row in &rows {
        let refused = soon(client.submit(world.by("hospital0.admin", row.1.clone()))).await;
        check(row, &ApiError::from(&refused.expect_err(row.0)));
    }

    // On a stream each is an answer of its own, and a good one among them goes through.
    let good = world.tx(&["hospital0.admin"], patient_call(7));
    let stream_request =
        |it: pb::SubmitRequest| pb::SubmitStreamRequest { transaction: it.transaction, wait: it.wait };
    let requests: Vec<_> =
        rows.iter().map(|row| row.1.clone()).chain([request(&good)]).map(stream_request).collect();
    let ids: Vec<Bytes> = requests
        .iter()
        .map(|request| match &request.transaction {
            Some(tx) => SignedTx { body: tx.body.clone(), signatures: vec![] }.id().0.to_vec().into(),
            None => Bytes::new(),
        })
        .collect();
    let stream = world.by("hospital0.admin", futures::stream::iter(requests));
    let answers = soon(client.submit_stream(stream)).await.unwrap().into_inner();
    let answers: Vec<pb::SubmitStreamResponse> = soon(answers.map(Result::unwrap).collect()).await;
    assert_eq!(answers.len(), rows.len() + 1);
    for (row, id) in rows.iter().zip(&ids) {
        // Several rows share a body; each has its own reason.
        let reasons = answers.iter().filter(|answer| answer.transaction_id == *id);
        let reasons: Vec<ApiError> = reasons
            .filter_map(|answer| match answer.result.clone().unwrap() {
                StreamResult::Error(error) => Some(error.into()),
                StreamResult::Status(_) => None,
            })
            .collect();
        let is_proven = |answer: &pb::SubmitStreamResponse| matches!(&answer.result, Some(StreamResult::Status(status)) if status.state() == pb::TransactionState::Expired);
        // Once a block past it is certified, that it expired is an outcome with a proof, and no refusal.
        if row.0 == "expired"
            && answers.iter().any(|answer| answer.transaction_id == *id && is_proven(answer))
        {
            continue;
        }
        let same = reasons.iter().find(|error| error.reason == row.3);
        check(row, same.unwrap_or_else(|| panic!("{}: {reasons:?}", row.0)));
    }
    let applied = answers.iter().find(|answer| answer.transaction_id == ids[rows.len()]).unwrap();
    let StreamResult::Status(status) = applied.result.clone().unwrap() else { panic!("{applied:?}") };
    assert_eq!(status.state(), pb::TransactionState::Committed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_request_are_refused_by_name() {
    let world = World::empty(Limits::default()).await;
    let channel = world.channel();
    let token = world.token("hospital0.admin");
    let whole = request(&world.tx(&["hospital0.admin"], patient_call(1))).encode_to_vec();
    let cut = whole[..whole.len() - 5].to_vec();
    let cases = [
        ("garbage", SUBMIT, vec![0xff; 40], Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("truncated", SUBMIT, cut, Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("oversized", SUBMIT, vec![0; 33 * 1024], Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
        (
            "no such method",
            "/epione.v1.SubmissionService/Sell",
            whole.clone(),
            Code::Unimplemented,
            "UNKNOWN_METHOD",
        ),
        (
            "no such method of a reader",
            "/epione.v1.RecordService/Sell",
            vec![],
            Code::Unimplemented,
            "UNKNOWN_METHOD",
        ),
        (
            "garbage on a stream",
            "/epione.v1.SubmissionService/SubmitStream",
            vec![0xff; 40],
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        (
            "oversized on a stream",
            "/epione.v1.SubmissionService/SubmitStream",
            vec![0; 33 * 1024],
            Code::InvalidArgument,
            "MESSAGE_TOO_LARGE",
        ),
    ];
    for (name, path, bytes, code, reason) in cases {
        let answer = soon(raw::call(&channel, path, with_token(&token, bytes.into()))).await;
        assert_eq!(told(&answer.expect_err(name)), (code, reason.to_owned()), "{name}");
    }
    let good = soon(raw::call(&channel, SUBMIT, with_token(&token, whole.into()))).await;
    assert!(good.is_ok(), "{good:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_contracts_refuse_is_a_receipt() {
    let world = World::new(Limits::default()).await;
    let revoke = |name| RevokeGrant { patient: patient("anna"), grant: grant(name), document: None };
    let refused = [
        (
            "unauthorised: no administrator",
            world.tx(&["drC", "drX"], practitioner_call("drX", Role::Physician)),
            Refusal::NotAuthorised,
        ),
        (
            "unauthorised: not of the house",
            world.tx(&["drC"], record_call("anna", "anna9")),
            Refusal::WriteDenied,
        ),
        ("nobody's key", world.tx(&["stranger"], patient_call(2)), Refusal::UnknownSigner),
        (
            "missing co-signer: who is enrolled",
            world.tx(&["hospital0.admin"], practitioner_call("drX", Role::Physician)),
            Refusal::KeyProof,
        ),
        (
            "impossible: no such patient",
            world.tx(&["drA"], record_call("nobody", "nobody1")),
            Refusal::PatientUnknown,
        ),
        (
            "impossible: no such grant",
            world.tx(&["anna"], Call::RevokeGrant(revoke("none"))),
            Refusal::GrantUnknown,
        ),
        ("there already", world.tx(&["drA"], record_call("anna", "anna1")), Refusal::RecordExists),
    ];
    for (name, tx, refusal) in refused {
        assert_eq!(world.run(&tx).await.outcome, Outcome::Refused(refusal), "{name}");
    }

    // The same bytes again: the first receipt. Other signatures of the same body: the same. Another intent under a used
    // request id: refused, at the door if the first one is in the ledger.
    let build = |number| {
        let call = patient_call(number);
        let builder = TxBuilder::new(world.genesis.chain_id(), call).request_id(RequestId([5; 16]));
        builder.sign(&key("hospital0.admin"), &[]).unwrap()
    };
    let first = build(10);
    let receipt = world.run(&first).await;
    assert_eq!(receipt.outcome, Outcome::Ok);
    assert_eq!(world.run(&first).await, receipt, "duplicate");
    let mut resigned = first.clone();
    resigned.signatures = vec![TxSignature { ..first.signatures[0] }];
    assert_eq!(world.run(&resigned).await, receipt);
    let replayed = world.submit_at(world.channel(), &build(11)).await.unwrap_err();
    assert_eq!(told(&replayed), (Code::AlreadyExists, "IDEMPOTENCY_MISMATCH".to_owned()), "replayed");
    assert_eq!(ApiError::from(&replayed).field, "transaction.body.request_id");
    world.stop().await;
}
