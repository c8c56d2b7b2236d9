//! Proofs: an honest one is accepted with the genesis alone; no flipped bit, no missing signature, no exchanged part is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod common;

use common::{
    GENESIS_TIME, block, certificate, certified, expiry_proof, expiry_proof_of_state, genesis, header,
    lone_state, receipt_proof, set, step, transaction, trust,
};
use epione_client::Trust;
use epione_client::verify::{VerifyError, transaction_key};
use epione_proto::convert::{bytes_of_header, bytes_of_validators};
use epione_proto::v1 as pb;
use epione_types::finality::FinalityError;
use epione_types::holding::{self, Holder, Holding};
use epione_types::id::{OrgId, PatientId, RecordId, TimestampMs};
use epione_types::state_proof::{Held, StateProofError};
use epione_types::{BlockHeader, Epoch, Hash, Height, codec};
use prost::Message;

/// Flips one bit in each byte of an encoded proof in turn: whatever still decodes must be refused or show
/// something that is true.
fn no_flipped_bit_passes<P: Message + Default, T>(
    proof: &P,
    verify: impl Fn(&P) -> Result<T, VerifyError>,
    is_true: impl Fn(&T) -> bool,
) {
    assert!(is_true(&verify(proof).map_err(|error| error.to_string()).unwrap()));
    let bytes = proof.encode_to_vec();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match P::decode(flipped.as_slice()).map(|proof| verify(&proof)) {
            // A changed field number may drop a part that is not needed, as protobuf skips unknown fields.
            Ok(Ok(shown)) => assert!(is_true(&shown), "bit {} of byte {at} proves what is false", at % 8),
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(refused * 100 > bytes.len() * 99, "{refused} of {} bytes matter", bytes.len());
}

#[test]
fn a_receipt_is_proven_with_the_genesis_alone() {
    let txs: Vec<_> = (0..5).map(|i| transaction(GENESIS_TIME.plus(60_000), i)).collect();
    let (header, receipts) = block(7, &txs);
    for (i, receipt) in receipts.iter().enumerate() {
        let proof = receipt_proof(&header, &receipts, i);
        assert_eq!(trust().receipt(&proof), Ok((receipt.clone(), header.clone())));
    }
    no_flipped_bit_passes(
        &receipt_proof(&header, &receipts, 3),
        |proof| trust().receipt(proof),
        |shown| *shown == (receipts[3].clone(), header.clone()),
    );
}

#[test]
fn a_receipt_of_another_block_or_place_is_refused() {
    let txs: Vec<_> = (0..5).map(|i| transaction(GENESIS_TIME.plus(60_000), i)).collect();
    let (header, receipts) = block(7, &txs);
    let (other, _) = block(8, &txs);
    let not_in = |height| Err(VerifyError::NotInBlock { height: Height(height) });
    let good = receipt_proof(&header, &receipts, 1);
    let exchanged = pb::ReceiptProof { header: Some(certified(&other)), ..good.clone() };
    assert_eq!(trust().receipt(&exchanged), not_in(8));
    let moved = pb::ReceiptProof { path: receipt_proof(&header, &receipts, 2).path, ..good };
    assert_eq!(trust().receipt(&moved), not_in(7));
}

#[test]
fn another_genesis_vouches_for_nothing_here() {
    let mut other = genesis();
    other.timestamp = GENESIS_TIME.next();
    let proof = certified(&header(7, Hash([5; 32])));
    assert!(trust().header(&proof).is_ok());
    let error = Trust::new(&other).unwrap().header(&proof).unwrap_err();
    assert_eq!(error, FinalityError::NoQuorum { height: Height(7), epoch: Epoch(0) }.into());
}

#[test]
fn fewer_than_a_quorum_is_refused() {
    let header = header(7, Hash([5; 32]));
    for who in [&[][..], &[0], &[1, 3], &[0, 1, 2], &[0, 1, 2, 3]] {
        let proof = pb::CertifiedHeader {
            certificate: Some((&certificate(&header, who)).into()),
            ..certified(&header)
        };
        assert_eq!(trust().header(&proof).is_ok(), who.len() >= 3, "{who:?}");
    }
    // One signature, three names; and one name three times.
    for names in [[0, 1, 2], [0, 0, 0]] {
        let mut certificate = pb::Certificate::from(&certificate(&header, &[0]));
        let one = certificate.signatures[0].clone();
        certificate.signatures =
            names.iter().map(|name| pb::ValidatorSignature { validator: *name, ..one.clone() }).collect();
        let proof = pb::CertifiedHeader { certificate: Some(certificate), ..certified(&header) };
        assert!(trust().header(&proof).is_err());
    }
}

#[test]
fn a_certificate_is_for_its_own_header() {
    let (a, b) = (header(7, Hash([5; 32])), header(7, Hash([6; 32])));
    let proof = pb::CertifiedHeader { header_bytes: bytes_of_header(&b), ..certified(&a) };
    assert_eq!(
        trust().header(&proof),
        Err(FinalityError::OtherHeader { height: Height(7), epoch: Epoch(0) }.into())
    );
}

#[test]
fn a_certificate_of_another_epoch_is_refused_by_its_name() {
    let header = header(7, Hash([5; 32]));
    let mut certificate = certificate(&header, &[0, 1, 2]);
    certificate.epoch = Epoch(1);
    let proof = pb::CertifiedHeader { certificate: Some((&certificate).into()), ..certified(&header) };
    let (height, epoch) = (Height(7), Epoch(0));
    let wrong = FinalityError::OtherEpoch { height, found: Epoch(1), epoch };
    assert_eq!(trust().header(&proof), Err(wrong.into()));
}

#[test]
fn an_ancestor_is_proven_by_the_headers_between() {
    let a = header(7, Hash([5; 32]));
    let b = header(8, a.hash());
    let c = header(9, b.hash());
    let proof = pb::CertifiedHeader {
        header_bytes: bytes_of_header(&a),
        descendant_bytes: vec![bytes_of_header(&b), bytes_of_header(&c)],
        ..certified(&c)
    };
    assert_eq!(trust().header(&proof), Ok(a.clone()));
    // A header between that becomes the proven one is proven, too.
    no_flipped_bit_passes(&proof, |proof| trust().header(proof), |shown| [&a, &b, &c].contains(&shown));
    // One missing between, or another one in its place.
    let gap = pb::CertifiedHeader { descendant_bytes: vec![bytes_of_header(&c)], ..proof.clone() };
    assert_eq!(trust().header(&gap), Err(VerifyError::NotChild { height: Height(9) }));
    let skipped = BlockHeader { height: Height(9), ..header(9, a.hash()) };
    let forged = pb::CertifiedHeader {
        descendant_bytes: vec![bytes_of_header(&skipped)],
        ..pb::CertifiedHeader { header_bytes: bytes_of_header(&a), ..certified(&skipped) }
    };
    assert_eq!(trust().header(&forged), Err(VerifyError::NotChild { height: Height(9) }));
}

#[test]
fn the_next_epochs_set_is_what_the_last_header_names() {
    let (last, change) = step(20);
    let header = BlockHeader { epoch: Epoch(1), next_epoch_hash: set(1).hash(), ..header(21, last.hash()) };
    let proof = pb::CertifiedHeader { epochs: vec![change.clone()], ..certified(&header) };
    assert_eq!(trust().header(&proof), Ok(header.clone()));
    no_flipped_bit_passes(&proof, |proof| trust().header(proof), |shown| *shown == header);

    // Without the step the old set does not know the new epoch.
    let jumped = pb::CertifiedHeader { epochs: Vec::new(), ..proof.clone() };
    assert_eq!(
        trust().header(&jumped),
        Err(FinalityError::OtherHeader { height: Height(21), epoch: Epoch(0) }.into())
    );
    // A set that the header does not name.
    let mut own = set(1);
    own.validators.truncate(1);
    let usurped = pb::EpochStep { validator_set_bytes: bytes_of_validators(&own), ..change.clone() };
    let proof = pb::CertifiedHeader { epochs: vec![usurped], ..proof };
    assert_eq!(trust().header(&proof), Err(FinalityError::OtherSet { epoch: Epoch(1) }.into()));
    // A header in mid-epoch names the present set: no step.
    let middle = common::header(20, Hash([4; 32]));
    let stay = pb::EpochStep {
        header_bytes: bytes_of_header(&middle),
        certificate: Some((&certificate(&middle, &[0, 1, 2])).into()),
        validator_set_bytes: bytes_of_validators(&set(0)),
    };
    let proof = pb::CertifiedHeader { epochs: vec![stay], ..certified(&middle) };
    assert_eq!(trust().header(&proof), Err(FinalityError::OtherSet { epoch: Epoch(0) }.into()));
}

#[test]
fn presence_and_absence_are_proven() {
    let (root, path) = lone_state(b"grt/1", b"granted");
    let header = BlockHeader { state_root: root, ..header(7, Hash([5; 32])) };
    let proof = |key: &'static [u8], value: Option<&'static [u8]>| pb::StateValueProof {
        key: key.into(),
        value: value.map(Into::into),
        header: Some(certified(&header)),
        proof: Some((&path).into()),
    };
    let present = proof(b"grt/1", Some(b"granted"));
    assert_eq!(trust().value(&present).unwrap().0.as_deref(), Some(&b"granted"[..]));
    // The key is what one asks for, so it is compared too.
    no_flipped_bit_passes(
        &present,
        |proof| Ok((proof.key.clone(), trust().value(proof)?.0)),
        |(key, value)| {
            // Any other key is absent from this state, and that is true as well.
            if key == "grt/1" { value.as_deref() == Some(b"granted") } else { value.is_none() }
        },
    );
    assert_eq!(trust().value(&proof(b"grt/2", None)).unwrap().0, None);
    for lie in [proof(b"grt/1", None), proof(b"grt/1", Some(b"denied")), proof(b"grt/2", Some(b"granted"))] {
        assert!(matches!(trust().value(&lie), Err(VerifyError::State(StateProofError::OtherValue(_)))));
    }
}

/// A proof about `key` in a state of one key, of a height.
fn in_state(height: u64, (holds, value): (&[u8], &[u8]), key: Vec<u8>) -> pb::StateValueProof {
    let (root, path) = lone_state(holds, value);
    let header = BlockHeader { state_root: root, ..header(height, Hash([5; 32])) };
    pb::StateValueProof {
        value: (key == holds).then(|| value.to_vec().into()),
        key: key.into(),
        header: Some(certified(&header)),
        proof: Some((&path).into()),
    }
}

#[test]
fn that_an_organisation_held_no_permit_is_proven() {
    let (patient, record, organisation) = (PatientId([1; 16]), RecordId([2; 16]), OrgId([3; 16]));
    let listed = holding::record_key(patient, record);
    let held = holding::key(patient, Holder::Organisation(organisation));
    let everybody = holding::key(patient, Holder::Everybody);
    let proof = |organisation: pb::StateValueProof, everybody: pb::StateValueProof| pb::NoGrantProof {
        record: Some(in_state(9, (&listed, b""), listed.clone())),
        organisation: Some(organisation),
        everybody: Some(everybody),
    };
    let absent = |height, key: &Vec<u8>| in_state(height, (b"cfg/chain", b"here"), key.clone());
    let judge = |proof: &pb::NoGrantProof| trust().no_grant((patient, record), organisation, proof);
    let none = proof(absent(7, &held), absent(7, &everybody));
    assert_eq!(judge(&none).unwrap().height, Height(7));
    no_flipped_bit_passes(&none, |proof| judge(proof), |header| header.height == Height(7));

    // Permits that are over open nothing: their end is at or before the block's time.
    let time = header(7, Hash::ZERO).timestamp;
    let holds = |until| codec::encode(&Holding { permits: 2, until });
    let with = |until: Option<TimestampMs>, key: &Vec<u8>| in_state(7, (key, &holds(until)), key.clone());
    assert!(
        judge(&proof(with(Some(time), &held), absent(7, &everybody))).is_err(),
        "two states, two headers"
    );
    for until in [Some(time), Some(time.minus(1)), Some(time.plus(1)), None] {
        // One state for both: the entry is one of them, and the other is absent beside it.
        for (one, other, by_organisation) in [(&held, &everybody, true), (&everybody, &held, false)] {
            let beside = in_state(7, (one, &holds(until)), other.clone());
            let one = with(until, one);
            let proof = if by_organisation { proof(one, beside) } else { proof(beside, one) };
            let over = until.is_some_and(|until| until <= time);
            let expected = VerifyError::Held { permits: 2, height: Height(7) };
            assert_eq!(judge(&proof).map(|it| it.height), if over { Ok(Height(7)) } else { Err(expected) });
        }
    }

    // Another height's absence for one of the two, a record that is not there, another one's proof, or none.
    assert_eq!(judge(&proof(absent(7, &held), absent(8, &everybody))), Err(VerifyError::OtherSubject));
    let unknown = pb::NoGrantProof { record: Some(absent(9, &listed)), ..none.clone() };
    assert_eq!(judge(&unknown), Err(VerifyError::OtherSubject));
    let other = holding::key(patient, Holder::Organisation(OrgId([4; 16])));
    assert_eq!(judge(&proof(absent(7, &other), absent(7, &everybody))), Err(VerifyError::OtherSubject));
    assert_eq!(judge(&proof(absent(7, &held), absent(7, &held))), Err(VerifyError::OtherSubject));
    assert!(judge(&pb::NoGrantProof { everybody: None, ..none }).is_err());
}

#[test]
fn an_expired_transaction_is_proven_gone() {
    for height in [1, 2, 40] {
        // Between the parent's time and the header's, both ends.
        for expires_at in [(height - 1) * 1_000, height * 1_000 - 1].map(|ms| GENESIS_TIME.plus(ms)) {
            let tx = transaction(expires_at, 1);
            let proof = expiry_proof(height);
            assert_eq!(trust().expired(&tx.body, &proof).unwrap().height, Height(height));
        }
        // At the header's time it may still commit; before the parent's the id has left already.
        let late = transaction(GENESIS_TIME.plus(height * 1_000), 1);
        let early = transaction(GENESIS_TIME.plus((height - 1) * 1_000).minus(1), 1);
        for tx in [late, early] {
            let error = trust().expired(&tx.body, &expiry_proof(height)).unwrap_err();
            assert!(matches!(error, VerifyError::NotTheFirst { .. }), "{error}");
        }
    }
    let tx = transaction(GENESIS_TIME.plus(39_500), 1);
    no_flipped_bit_passes(
        &expiry_proof(40),
        |proof| trust().expired(&tx.body, proof),
        |shown| shown.height == Height(40),
    );
}

#[test]
fn a_committed_transaction_is_not_proven_gone() {
    let expires_at = GENESIS_TIME.plus(39_500);
    let tx = transaction(expires_at, 1);
    let state = lone_state(&transaction_key(expires_at, tx.id()), b"");
    let error = trust().expired(&tx.body, &expiry_proof_of_state(40, &state)).unwrap_err();
    assert!(matches!(error, VerifyError::State(StateProofError::OtherValue(Held::Value(_)))), "{error}");
}

#[test]
fn it_looks_where_the_contracts_write() {
    let tx = transaction(GENESIS_TIME, 1);
    let written = epione_chaincode::keys::transaction(GENESIS_TIME, tx.id());
    assert_eq!(transaction_key(GENESIS_TIME, tx.id()), written.as_bytes());
}

#[test]
fn an_expiry_needs_the_headers_own_parent() {
    let tx = transaction(GENESIS_TIME.plus(39_500), 1);
    let stranger = bytes_of_header(&header(39, Hash([7; 32])));
    let proof = pb::ExpiryProof { parent_header_bytes: stranger, ..expiry_proof(40) };
    assert_eq!(trust().expired(&tx.body, &proof), Err(VerifyError::NotChild { height: Height(40) }));
}

#[test]
fn empty_and_endless_proofs_are_refused() {
    assert!(trust().receipt(&pb::ReceiptProof::default()).is_err());
    assert!(trust().value(&pb::StateValueProof::default()).is_err());
    assert!(trust().expired(b"", &pb::ExpiryProof::default()).is_err());
    let long = pb::CertifiedHeader {
        descendant_bytes: vec![bytes::Bytes::new(); 5_000],
        ..certified(&header(7, Hash([5; 32])))
    };
    assert!(matches!(trust().header(&long), Err(VerifyError::TooMany { found: 5_000, .. })));
}
