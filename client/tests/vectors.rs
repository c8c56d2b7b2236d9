//! `client/receipts.json`: receipts that hold and receipts that do not, for clients in every language to try.
//!
//! Written from here with `EPIONE_BLESS=1`, checked here against [`Trust`], read by the stories of `client/python` and
//! `client/typescript`: what one client believes, all do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod common;

use common::{
    GENESIS_TIME, block, certificate, certified, genesis, header, receipt_proof, set, step, transaction,
    trust, voters,
};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar, scalar::clamp_integer};
use epione_proto::convert::{bytes_of_header, bytes_of_validators};
use epione_proto::v1 as pb;
use epione_types::block::seal_bytes;
use epione_types::{
    BlockHeader, Epoch, Hash, SecretKey, Signature, Signer as _, ValidatorIndex, receipt::Outcome,
};
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

/// What a client says that checks signatures by RFC 8032's strict equation: not proven.
const ZIP215: &str = "a signature by ZIP-215 alone";

/// Valid by the chain's rule, ZIP-215, alone: R is shifted by a point of small order, which the strict equation sees.
fn shifted(key: &SecretKey, message: &[u8]) -> Signature {
    let seed = Sha512::digest(key.seed().as_slice());
    let secret = Scalar::from_bytes_mod_order(clamp_integer(seed[..32].try_into().unwrap()));
    let nonce = Scalar::from(7_u8);
    let point = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[1]).compress().0;
    let wide = Sha512::digest([point.as_slice(), key.public_key().as_bytes(), message].concat());
    let hash = Scalar::from_bytes_mod_order_wide(&wide.into());
    let scalar = (nonce + hash * secret).to_bytes();
    Signature([point, scalar].concat().try_into().unwrap())
}

/// What is wrong or special about a proof, and the proof.
fn proofs() -> Vec<(&'static str, pb::ReceiptProof)> {
    let txs: Vec<_> = (0..5).map(|i| transaction(GENESIS_TIME.plus(60_000), i)).collect();
    let (plain, receipts) = block(7, &txs);
    let good = receipt_proof(&plain, &receipts, 3);
    let under = |header: pb::CertifiedHeader| pb::ReceiptProof { header: Some(header), ..good.clone() };
    let signed = |who: &[u16]| {
        under(pb::CertifiedHeader {
            certificate: Some((&certificate(&plain, who)).into()),
            ..certified(&plain)
        })
    };
    let resigned = |edit: &dyn Fn(&mut pb::Certificate)| {
        let mut proof = signed(&[0, 1, 2, 3]);
        edit(proof.header.as_mut().unwrap().certificate.as_mut().unwrap());
        proof
    };

    // Two headers above, and another that skips a height.
    let (child, stranger) = (header(8, plain.hash()), header(8, Hash([6; 32])));
    let grandchild = header(9, child.hash());
    let skipping = header(9, plain.hash());
    let above = |tip: &BlockHeader, between: &[&BlockHeader]| {
        under(pb::CertifiedHeader {
            header_bytes: bytes_of_header(&plain),
            descendant_bytes: between.iter().map(|header| bytes_of_header(header)).collect(),
            ..certified(tip)
        })
    };

    // The same block in epoch 1.
    let (last, change) = step(6);
    let later =
        BlockHeader { epoch: Epoch(1), next_epoch_hash: set(1).hash(), parent: last.hash(), ..plain.clone() };
    let after = |epochs: Vec<pb::EpochStep>| under(pb::CertifiedHeader { epochs, ..certified(&later) });
    let mut own = set(1);
    own.params.window += 1;
    let usurped = pb::EpochStep { validator_set_bytes: bytes_of_validators(&own), ..change.clone() };
    let unsigned =
        pb::EpochStep { certificate: Some((&certificate(&last, &[0, 1])).into()), ..change.clone() };

    let stay = pb::EpochStep {
        header_bytes: bytes_of_header(&plain),
        certificate: Some((&certificate(&plain, &[0, 1, 2])).into()),
        validator_set_bytes: bytes_of_validators(&set(0)),
    };
    // Epoch 1 as the validators of epoch 0 would have it.
    let mut clinging = certificate(&later, &[0, 1, 2]);
    let message = seal_bytes(genesis().chain_id(), later.epoch, later.height, later.hash());
    let seals = voters(0).into_iter().zip(0..).map(|(key, i)| (ValidatorIndex(i), key.sign(&message)));
    clinging.signatures = seals.collect();

    let mut strained = certificate(&plain, &[0, 2]);
    let message = seal_bytes(genesis().chain_id(), plain.epoch, plain.height, plain.hash());
    strained.signatures.insert(ValidatorIndex(3), shifted(&voters(0)[3], &message));

    let (other, _) = block(8, &txs);
    let mut cut = good.clone();
    cut.receipt_bytes.truncate(40);
    let mut longer = good.clone();
    longer.path.as_mut().unwrap().siblings.push(vec![0; 32].into());
    let mut all: Vec<_> = (0..5).map(|i| ("one of five", receipt_proof(&plain, &receipts, i))).collect();
    all.extend([
        ("signed by all", signed(&[0, 1, 2, 3])),
        ("two headers above it", above(&grandchild, &[&child, &grandchild])),
        ("in the next epoch", after(vec![change.clone()])),
        (ZIP215, under(pb::CertifiedHeader { certificate: Some((&strained).into()), ..certified(&plain) })),
        ("nothing at all", pb::ReceiptProof::default()),
        ("no certificate", under(pb::CertifiedHeader { certificate: None, ..certified(&plain) })),
        ("signed by two of four", signed(&[1, 3])),
        (
            "one validator signs three times",
            resigned(&|it| it.signatures = vec![it.signatures[1].clone(); 3]),
        ),
        ("signers out of order", resigned(&|it| it.signatures.reverse())),
        ("a signer that is no validator", resigned(&|it| it.signatures[3].validator = 4)),
        (
            "signatures exchanged",
            resigned(&|it| it.signatures[3].signature = it.signatures[2].signature.clone()),
        ),
        ("certificate says another height", resigned(&|it| it.height = 8)),
        ("certificate says another epoch", resigned(&|it| it.epoch = 1)),
        (
            "certificate of another header",
            under(pb::CertifiedHeader { header_bytes: bytes_of_header(&plain), ..certified(&other) }),
        ),
        ("another block", under(certified(&other))),
        (
            "another place",
            pb::ReceiptProof { path: receipt_proof(&plain, &receipts, 2).path, ..good.clone() },
        ),
        ("a path too long", longer),
        ("a receipt cut off", cut),
        ("a header left out between", above(&grandchild, &[&grandchild])),
        ("a stranger between", above(&stranger, &[&stranger])),
        ("a height left out", above(&skipping, &[&skipping])),
        ("epoch left out", after(Vec::new())),
        (
            "an epoch sealed by the validators before",
            under(pb::CertifiedHeader { certificate: Some((&clinging).into()), ..certified(&later) }),
        ),
        ("no change of validators", under(pb::CertifiedHeader { epochs: vec![stay], ..certified(&plain) })),
        ("epoch twice", after(vec![change.clone(), change.clone()])),
        ("a set that nobody named", after(vec![usurped])),
        ("a change of validators without a quorum", after(vec![unsigned])),
    ]);
    all
}

#[test]
fn clients_in_every_language_are_given_what_this_one_believes() {
    let entry = |(what, proof): (&str, pb::ReceiptProof)| {
        let proven = trust().receipt(&proof).ok();
        let shown = proven.map(|(receipt, header)| {
            json!({
                "transaction_id": receipt.tx_id.to_string(),
                "height": receipt.height.0,
                "index": receipt.index,
                "applied": receipt.outcome == Outcome::Ok,
                "block_time_ms": header.timestamp.0,
            })
        });
        json!({ "what": what, "proof": hex::encode(proof.encode_to_vec()), "proves": shown })
    };
    let proofs: Vec<Value> = proofs().into_iter().map(entry).collect();
    let good = proofs.iter().filter(|one| !one["proves"].is_null()).count();
    assert_eq!((good, proofs.len()), (9, 32), "the first nine hold");
    let whole = json!({ "chain_id": trust().chain_id().to_string(), "genesis": genesis(), "proofs": proofs });
    let text = serde_json::to_string_pretty(&whole).unwrap() + "\n";

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/receipts.json");
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == text,
        "what receipts are has changed, and with it every client: run with EPIONE_BLESS=1 and see to them"
    );
}
