//! Codecs and shapes over generated and damaged values: what is written reads back, one value has one
//! encoding, and hostile bytes meet a limit, never an allocator or a panic.

mod samples;

use std::fmt::Debug;

use bytes::Bytes;
use epione_types::call::*;
use epione_types::codec::{self, CodecError};
use epione_types::codes::*;
use epione_types::id::*;
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::tx::*;
use epione_types::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde::{Serialize, de::DeserializeOwned};

const LIMIT: usize = 1 << 20;

fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = codec::encode(value);
    let back = codec::decode::<T>(&bytes, LIMIT);
    prop_assert_eq!(back.as_ref(), Ok(value));
    let json = serde_json::to_string(value).expect("our types serialise");
    prop_assert_eq!(&serde_json::from_str::<T>(&json).expect("and read back"), value);
    Ok(())
}

// Values.

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn id16<T: Debug>(make: fn([u8; 16]) -> T) -> impl Strategy<Value = T> {
    any::<[u8; 16]>().prop_map(make)
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature::try_from(bytes.as_slice()).expect("64 bytes"))
}

fn time() -> impl Strategy<Value = TimestampMs> {
    any::<u64>().prop_map(TimestampMs)
}

fn month() -> impl Strategy<Value = Month> {
    (1800u32..=9999, 1u32..=12).prop_map(|(year, month)| samples::month(year, month))
}

fn tx() -> impl Strategy<Value = SignedTx> {
    let one = (key(), signature()).prop_map(|(public_key, signature)| TxSignature { public_key, signature });
    (vec(any::<u8>(), 0..200), vec(one, 0..4))
        .prop_map(|(body, signatures)| SignedTx { body: Bytes::from(body), signatures })
}

fn batch() -> impl Strategy<Value = Batch> {
    let proposed = (any::<u16>(), time(), vec(tx(), 0..4)).prop_map(|(proposer, stamp, txs)| {
        Batch::Proposed { proposer: ValidatorIndex(proposer), stamp, txs }
    });
    prop_oneof![Just(Batch::Null), proposed]
}

fn signatures() -> impl Strategy<Value = SignatureSet> {
    vec((any::<u16>().prop_map(ValidatorIndex), signature()), 0..8)
        .prop_map(|list| list.into_iter().collect())
}

fn grantee() -> impl Strategy<Value = Grantee> {
    prop_oneof![
        select(samples::grantees()).prop_map(|(_, grantee)| grantee),
        id16(OrgId).prop_map(Grantee::Org),
        (id16(OrgId), select(Role::ALL)).prop_map(|(org, role)| Grantee::Role(org, role)),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let purposes = prop_oneof![Just(Purposes::All), vec(select(Purpose::ALL), 0..4).prop_map(Purposes::Only)];
    let labels = prop_oneof![Just(Labels::Any), vec(select(Label::ALL), 0..4).prop_map(Labels::Only)];
    let period =
        (option::of(month()), option::of(month())).prop_map(|(from, until)| DataPeriod { from, until });
    let scope = (vec(select(Action::ALL), 0..4), vec(select(Category::ALL), 0..4), vec(id16(RecordId), 0..3));
    let life = (option::of(time()), option::of(time()), option::of(any::<u32>()), any::<bool>());
    let papers = (option::of(id16(GrantId)), option::of(hash()), option::of(hash()));
    let who = (select(vec![GrantKind::Permit, GrantKind::Deny]), grantee(), purposes);
    (who, scope, labels, option::of(period), life, papers).prop_map(
        |(who, scope, labels, data_period, life, papers)| Rule {
            kind: who.0,
            to: who.1,
            purposes: who.2,
            actions: scope.0,
            categories: scope.1,
            records: scope.2,
            labels,
            data_period,
            from: life.0,
            until: life.1,
            max_uses: life.2,
            delegable: life.3,
            parent: papers.0,
            policy: papers.1,
            document: papers.2,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        select(samples::calls()),
        (id16(GrantId), id16(PatientId), rule())
            .prop_map(|(grant, patient, rule)| Call::CreateGrant(CreateGrant { grant, patient, rule })),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Ok), select(Refusal::ALL).prop_map(Outcome::Refused)]
}

proptest! {
    #[test]
    fn transactions_and_batches_round_trip(batch in batch()) {
        round_trips(&batch)?;
        for tx in batch.txs() {
            round_trips(tx)?;
            prop_assert_eq!(tx.encoded_len(), codec::encode(tx).len());
        }
    }

    #[test]
    fn bodies_round_trip(call in call(), chain in hash(), sender in key(), request in id16(RequestId), expires_at in time()) {
        let co_signers = vec![sender; 3];
        round_trips(&TxBody { chain_id: ChainId(chain.0), sender, co_signers, request_id: request, expires_at, call })?;
    }

    #[test]
    fn headers_and_certificates_round_trip(numbers in any::<[u64; 3]>(), hashes in vec(hash(), 6), signatures in signatures()) {
        let header = BlockHeader {
            version: 1,
            height: Height(numbers[0]),
            epoch: Epoch(numbers[1]),
            timestamp: TimestampMs(numbers[2]),
            parent: hashes[0],
            batch_digest: hashes[1],
            txs_root: hashes[2],
            receipts_root: hashes[3],
            state_root: hashes[4],
            next_epoch_hash: hashes[5],
        };
        round_trips(&header)?;
        prop_assert_eq!(codec::encode(&header).len(), block::HEADER_BYTES);
        round_trips(&Certificate { epoch: header.epoch, height: header.height, header_hash: header.hash(), signatures })?;
    }

    #[test]
    fn receipts_and_cursors_round_trip(outcome in outcome(), events in vec(select(samples::events()), 0..5), id in hash(), height: u64, index: u32) {
        let (height, tx_id) = (Height(height), TxId(id.0));
        round_trips(&Receipt { version: 1, tx_id, height, index, outcome, events })?;
        round_trips(&EventCursor { height, index })?;
    }

    #[test]
    fn a_month_is_written_one_way(month in month(), text in "[+ 0-9-]{0,9}") {
        prop_assert_eq!(month.to_string().parse(), Ok(month));
        prop_assert_eq!(Month::try_from(u32::from(month)), Ok(month));
        if let Ok(month) = text.parse::<Month>() {
            prop_assert_eq!(month.to_string(), text);
        }
    }

    #[test]
    fn whatever_decodes_is_what_was_written(bytes in vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..300)) {
        for (name, read) in readers() {
            if let Some(again) = read(&bytes) {
                prop_assert_eq!(&again, &bytes, "{}", name);
            }
        }
    }

    #[test]
    fn listed_signers_are_distinct_and_ascending(list in vec((0u16..12, signature()), 0..8)) {
        let list: Vec<_> = list.into_iter().map(|(who, signature)| (ValidatorIndex(who), signature)).collect();
        let ascending = list.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let decoded = codec::decode::<SignatureSet>(&codec::encode(&list), LIMIT);
        prop_assert_eq!(decoded.is_ok(), ascending);
        prop_assert_eq!(SignatureSet::try_from(list.clone()).is_ok(), ascending, "without the codec's own check too");
        if let Ok(set) = decoded {
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), list);
        }
    }
}

// Damage, over one encoding of every type.

/// Decodes bytes as one type and encodes again what came out.
type Reader = fn(&[u8]) -> Option<Vec<u8>>;

fn reader<T: Serialize + DeserializeOwned>() -> Reader {
    |bytes| codec::decode::<T>(bytes, LIMIT).ok().map(|value| codec::encode(&value))
}

fn readers() -> Vec<(&'static str, Reader)> {
    encodings().into_iter().map(|(name, _, read)| (name, read)).collect()
}

fn encodings() -> Vec<(&'static str, Vec<u8>, Reader)> {
    fn one<T: Serialize + DeserializeOwned>(
        name: &'static str,
        value: &T,
    ) -> (&'static str, Vec<u8>, Reader) {
        (name, codec::encode(value), reader::<T>())
    }
    let leaves: Vec<_> = (0..5).map(|i| receipt::tx_leaf(TxId([i; 32]))).collect();
    let mut all = vec![
        one("genesis", &samples::genesis()),
        one("header", &samples::header()),
        one("certificate", &samples::certificate(ChainId([9; 32]))),
        one("transaction", &samples::tx(1)),
        one("cursor", &samples::cursor()),
        one("merkle path", &merkle::path(&leaves, 2)),
        one("month", &samples::month(2026, 2)),
        one("state proof", &state_proof::StateProof { siblings: leaves.clone(), leaf: None }),
    ];
    all.extend(samples::batches().iter().map(|(name, batch)| one(name, batch)));
    all.extend(samples::receipts().iter().map(|(name, receipt)| one(name, receipt)));
    all.extend(samples::calls().into_iter().map(|call| one(samples::call_name(&call), &samples::body(call))));
    all
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    for (name, bytes, read) in encodings() {
        assert_eq!(read(&bytes).as_deref(), Some(bytes.as_slice()), "{name}");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{name} cut at {end}");
        }
        for more in [0u8, 1, 0xff] {
            assert_eq!(read(&[bytes.as_slice(), &[more]].concat()), None, "{name} with {more} behind");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_is_another_value() {
    for (name, bytes, read) in encodings() {
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Some(again) = read(&flipped) {
                assert_eq!(again, flipped, "{name} with bit {at} flipped: two encodings of one value");
            }
        }
    }
}

/// The most address space this process ever had, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

#[test]
#[cfg(target_os = "linux")]
fn a_hostile_length_allocates_nothing() {
    let before = peak_kib();
    for (_, bytes, read) in encodings() {
        for at in 0..bytes.len().saturating_sub(8) {
            for length in [1u64 << 32, 1 << 40, 1 << 62, u64::MAX] {
                let mut hostile = bytes.clone();
                hostile[at..at + 8].copy_from_slice(&length.to_le_bytes());
                if let Some(again) = read(&hostile) {
                    assert_eq!(again, hostile);
                }
            }
        }
    }
    let grown = peak_kib() - before;
    // Other tests of this process run beside; the smallest hostile length is 4 GiB of the smallest element.
    assert!(grown < 1 << 20, "address space grew by {grown} KiB");
}

#[test]
fn the_limit_is_on_bytes_and_comes_first() {
    let bytes = codec::encode(&samples::header());
    assert!(codec::decode::<BlockHeader>(&bytes, bytes.len()).is_ok());
    assert_eq!(
        codec::decode::<BlockHeader>(&bytes, bytes.len() - 1),
        Err(CodecError::TooLong { limit: bytes.len() - 1, found: bytes.len() })
    );
}

#[test]
fn a_value_that_would_be_written_otherwise_is_refused() {
    /// Reads any number, writes at most 5.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(from = "u64")]
    struct Clamped(u64);
    impl From<u64> for Clamped {
        fn from(number: u64) -> Self {
            Self(number.min(5))
        }
    }
    assert_eq!(codec::decode(&codec::encode(&5u64), LIMIT), Ok(Clamped(5)));
    assert_eq!(codec::decode::<Clamped>(&codec::encode(&6u64), LIMIT), Err(CodecError::NotCanonical));
}

#[test]
fn a_certificate_has_at_most_as_many_signers_as_validators_can_exist() {
    let list = |count: usize| -> Vec<_> {
        (0..count).map(|i| (ValidatorIndex(u16::try_from(i).unwrap()), Signature([0; 64]))).collect()
    };
    assert!(codec::decode::<SignatureSet>(&codec::encode(&list(MAX_VALIDATORS)), LIMIT).is_ok());
    assert!(codec::decode::<SignatureSet>(&codec::encode(&list(MAX_VALIDATORS + 1)), LIMIT).is_err());
}

#[test]
fn a_certificate_needs_a_quorum_of_its_own_set_on_its_own_chain() {
    let (chain, set) = (ChainId([9; 32]), samples::validators(4));
    let good = samples::certificate(chain);
    let holds = |certificate: &Certificate| certificate.verify(chain, &set, &sign::Zip215);
    assert!(holds(&good));
    assert!(!good.verify(ChainId([8; 32]), &set, &sign::Zip215), "another chain");
    assert!(!good.verify(chain, &samples::validators(3), &sign::Zip215), "signer 3 is no member");
    assert!(!holds(&Certificate { height: Height(8), ..good.clone() }), "another height");
    assert!(!holds(&Certificate { epoch: Epoch(1), ..good.clone() }), "another epoch");
    assert!(!holds(&Certificate { header_hash: Hash::ZERO, ..good.clone() }), "another header");
    let later = ValidatorSet { epoch: Epoch(1), ..set.clone() };
    assert!(!good.verify(chain, &later, &sign::Zip215), "the same keys in a later epoch");
    let without_last = good.signatures.iter().take(2).collect();
    assert!(!holds(&Certificate { signatures: without_last, ..good.clone() }), "two of four");
    let mut padded = good.clone();
    padded.signatures.insert(ValidatorIndex(2), Signature([0; 64]));
    assert!(!holds(&padded), "a quorum and one bad signature");
}

#[test]
fn a_transactions_shape_has_limits() {
    let signed = |body: usize, signers: u8| {
        let keys: Vec<_> = (0..signers).map(samples::secret).collect();
        let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
        SignedTx::sign(vec![7; body], &signers)
    };
    let largest = signed(MAX_BODY_BYTES, 16);
    assert_eq!(largest.check_shape(), Ok(()));
    assert!(codec::encode(&largest).len() <= MAX_TX_BYTES);
    assert_eq!(signed(0, 1).check_shape(), Err(TxShapeError::BodySize { found: 0 }));
    let found = MAX_BODY_BYTES + 1;
    assert_eq!(signed(found, 1).check_shape(), Err(TxShapeError::BodySize { found }));
    assert_eq!(signed(1, 0).check_shape(), Err(TxShapeError::SignatureCount { found: 0 }));
    assert_eq!(signed(1, 17).check_shape(), Err(TxShapeError::SignatureCount { found: 17 }));
    let twice = SignedTx::sign(vec![7], &[&samples::secret(1), &samples::secret(2), &samples::secret(1)]);
    let key = samples::secret(1).public_key();
    assert_eq!(twice.check_shape(), Err(TxShapeError::DuplicateSigner { key }));
    let mut another = SignedTx::sign(vec![7], &[&samples::secret(1), &samples::secret(2)]);
    another.signatures[1].public_key = key;
    assert_eq!(
        another.check_shape(),
        Err(TxShapeError::DuplicateSigner { key }),
        "with another signature too"
    );
}

#[test]
fn an_id_covers_the_body_and_not_the_signatures() {
    let one = SignedTx::sign(&b"body"[..], &[&samples::secret(1)]);
    let other = SignedTx::sign(&b"body"[..], &[&samples::secret(2)]);
    assert_eq!(one.id(), other.id());
    assert_ne!(one.id(), SignedTx::sign(&b"bodz"[..], &[&samples::secret(1)]).id());
}
