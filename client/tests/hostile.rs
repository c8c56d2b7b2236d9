//! Whatever comes in from outside is read or refused: no panic, no more out than in, nothing false proven.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use common::{
    GENESIS_TIME, block, certified, expiry_proof, genesis, header, lone_state, receipt_proof, set, step,
    transaction, trust,
};
use epione_client::auth;
use epione_client::fhir::{Tables, read_bundle};
use epione_proto::convert::bytes_of_header;
use epione_proto::v1 as pb;
use epione_types::call::Month;
use epione_types::codes::Label;
use epione_types::{BlockHeader, ChainId, Epoch, Hash, SecretKey, Signer as _, TimestampMs};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use prost::Message;
use serde_json::{Map, Value, json};

/// What happens to bytes on the way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Put(Index, u8),
    Drop(Index),
    Cut(Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        4 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        1 => any::<Index>().prop_map(Damage::Drop),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    vec(one, 1..6)
}

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match one {
            Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Damage::Put(at, byte) => bytes.insert(at.index(length), *byte),
            Damage::Drop(at) => drop(bytes.remove(at.index(length))),
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
    bytes
}

// JSON with the words that readers look for.

fn json(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        4 => select(words).prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let key = prop_oneof![8 => select(words).prop_map(str::to_owned), 1 => ".{0,6}"];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key, inner), 0..8).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

// Tokens.

const CHAIN: ChainId = ChainId([2; 32]);
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const NOW_S: u64 = NOW.0 / 1_000;

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// Truly signed, whatever it says.
fn token(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(key().sign(text.as_bytes()).0);
    format!("{text}.{signature}")
}

fn claims() -> Value {
    let (sub, aud) = (key().public_key().to_string(), CHAIN.to_string());
    json!({"sub": sub, "aud": aud, "iat": NOW_S, "exp": NOW_S + 60})
}

const CLAIM_WORDS: &[&str] = &["sub", "aud", "iat", "exp", "alg", "typ", "EdDSA", "JWT", "none", "kid"];

/// Seconds around now, and at the ends of numbers.
fn seconds() -> impl Strategy<Value = u64> {
    prop_oneof![NOW_S - 700..NOW_S + 700, Just(0), Just(u64::MAX), any::<u64>()]
}

proptest! {
    #[test]
    fn any_text_for_a_token_is_refused(text in ".{0,1100}", parts in "[A-Za-z0-9_=-]{0,300}\\.[A-Za-z0-9_-]{0,300}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(auth::verify(&text, CHAIN, NOW).is_err());
        prop_assert!(auth::verify(&parts, CHAIN, NOW).is_err());
    }

    #[test]
    fn a_damaged_token_is_refused(damage in damage()) {
        let good = auth::create(&key(), CHAIN, NOW, 300);
        let bytes = damaged(good.clone().into_bytes(), &damage);
        if let Ok(text) = String::from_utf8(bytes) && text != good {
            prop_assert!(auth::verify(&text, CHAIN, NOW).is_err(), "{}", text);
        }
    }

    /// Even its subject cannot sign another form.
    #[test]
    fn of_all_that_is_signed_only_the_four_claims_pass(header in json(CLAIM_WORDS), claims in json(CLAIM_WORDS), extra in json(CLAIM_WORDS), field in select(CLAIM_WORDS)) {
        let good_header = json!({"alg": "EdDSA", "typ": "JWT"});
        prop_assert!(auth::verify(&token(&good_header, &self::claims()), CHAIN, NOW).is_ok());
        prop_assert!(auth::verify(&token(&header, &self::claims()), CHAIN, NOW).is_err() || header == good_header);
        prop_assert!(auth::verify(&token(&good_header, &claims), CHAIN, NOW).is_err());
        for (good, is_header) in [(&good_header, true), (&self::claims(), false)] {
            let mut other = good.clone();
            other[field] = extra.clone();
            let sealed = if is_header { token(&other, &self::claims()) } else { token(&good_header, &other) };
            if other != *good && field != "iat" && field != "exp" {
                prop_assert!(auth::verify(&sealed, CHAIN, NOW).is_err(), "{}", other);
            }
        }
    }

    #[test]
    fn a_token_counts_from_iat_to_exp_and_for_minutes(iat in seconds(), exp in seconds(), now in seconds()) {
        let claims = json!({"sub": key().public_key().to_string(), "aud": CHAIN.to_string(), "iat": iat, "exp": exp});
        let sealed = token(&json!({"alg": "EdDSA", "typ": "JWT"}), &claims);
        let lives = exp > iat && exp - iat <= auth::LIFETIME_MAX_S;
        let clock = now.min(u64::MAX / 1_000);
        let begun = iat <= clock.saturating_add(auth::CLOCK_AHEAD_MAX_S);
        let accepted = auth::verify(&sealed, CHAIN, TimestampMs(clock * 1_000));
        prop_assert_eq!(accepted.is_ok(), lives && begun && clock < exp, "{:?}", accepted);
    }
}

// Proofs.

/// Whether damaged bytes, if they are still a proof, show nothing but the truth.
fn shows_the_truth<P: Message + Default, T>(
    good: &P,
    damage: &[Damage],
    verify: impl Fn(&P) -> Option<T>,
    is_true: impl Fn(&T) -> bool,
) -> bool {
    assert!(verify(good).is_some_and(|shown| is_true(&shown)), "the undamaged one holds");
    let bytes = damaged(good.encode_to_vec(), damage);
    P::decode(bytes.as_slice()).ok().and_then(|proof| verify(&proof)).is_none_or(|shown| is_true(&shown))
}

fn proven_value() -> (BlockHeader, pb::StateValueProof) {
    let (root, path) = lone_state(b"grt/1", b"granted");
    let header = BlockHeader { state_root: root, ..header(7, Hash([5; 32])) };
    let proof = pb::StateValueProof {
        key: b"grt/1".as_slice().into(),
        value: Some(b"granted".as_slice().into()),
        header: Some(certified(&header)),
        proof: Some((&path).into()),
    };
    (header, proof)
}

fn proven_by_descendants() -> ([BlockHeader; 3], pb::CertifiedHeader) {
    let a = header(7, Hash([5; 32]));
    let b = header(8, a.hash());
    let c = header(9, b.hash());
    let proof = pb::CertifiedHeader {
        header_bytes: bytes_of_header(&a),
        descendant_bytes: vec![bytes_of_header(&b), bytes_of_header(&c)],
        ..certified(&c)
    };
    ([a, b, c], proof)
}

fn proven_in_the_next_epoch() -> (BlockHeader, pb::CertifiedHeader) {
    let (last, change) = step(20);
    let header = BlockHeader { epoch: Epoch(1), next_epoch_hash: set(1).hash(), ..header(21, last.hash()) };
    let proof = pb::CertifiedHeader { epochs: vec![change], ..certified(&header) };
    (header, proof)
}

proptest! {
    #[test]
    fn a_damaged_proof_never_shows_what_is_false(damage in damage()) {
        let txs: Vec<_> = (0..5).map(|i| transaction(GENESIS_TIME.plus(60_000), i)).collect();
        let (of_block, receipts) = block(7, &txs);
        let truth = (receipts[3].clone(), of_block.clone());
        let proof = receipt_proof(&of_block, &receipts, 3);
        prop_assert!(shows_the_truth(&proof, &damage, |it| trust().receipt(it).ok(), |shown| *shown == truth));

        let (headers, proof) = proven_by_descendants();
        prop_assert!(shows_the_truth(&proof, &damage, |it| trust().header(it).ok(), |shown| headers.contains(shown)));

        let (truth, proof) = proven_in_the_next_epoch();
        prop_assert!(shows_the_truth(&proof, &damage, |it| trust().header(it).ok(), |shown| *shown == truth));

        // The key is what one asks for; every other one is absent from this state, and that is true as well.
        let (truth, proof) = proven_value();
        let value = |it: &pb::StateValueProof| Some((it.key.clone(), trust().value(it).ok()?));
        let is_true = |(key, (value, under)): &(bytes::Bytes, (Option<bytes::Bytes>, BlockHeader))| {
            let granted = (key == "grt/1").then_some(b"granted".as_slice());
            *under == truth && value.as_deref() == granted
        };
        prop_assert!(shows_the_truth(&proof, &damage, value, is_true));

        let tx = transaction(GENESIS_TIME.plus(39_500), 1);
        let expired = |it: &pb::ExpiryProof| trust().expired(&tx.body, it).ok();
        prop_assert!(shows_the_truth(&expiry_proof(40), &damage, expired, |shown| shown.height.0 == 40));
    }

    #[test]
    fn any_bytes_prove_nothing(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(proof) = pb::ReceiptProof::decode(bytes.as_slice()) {
            prop_assert!(trust().receipt(&proof).is_err());
        }
        if let Ok(proof) = pb::CertifiedHeader::decode(bytes.as_slice()) {
            prop_assert!(trust().header(&proof).is_err());
        }
        if let Ok(proof) = pb::StateValueProof::decode(bytes.as_slice()) {
            prop_assert!(trust().value(&proof).is_err());
        }
        if let Ok(proof) = pb::ExpiryProof::decode(bytes.as_slice()) {
            prop_assert!(trust().expired(&transaction(GENESIS_TIME, 1).body, &proof).is_err());
            prop_assert!(trust().expired(&bytes, &expiry_proof(40)).is_err());
        }
    }

    /// Signatures, whole and genuine, of too few validators or in others' places.
    #[test]
    fn nothing_less_than_a_quorum_of_names_and_signatures_passes(
        places in vec((0u32..6, 0usize..4), 0..8),
    ) {
        let header = header(7, Hash([5; 32]));
        let mut certificate = pb::Certificate::from(&common::certificate(&header, &[0, 1, 2, 3]));
        let genuine = certificate.signatures.clone();
        certificate.signatures = places
            .iter()
            .map(|(name, of)| pb::ValidatorSignature { validator: *name, ..genuine[*of].clone() })
            .collect();
        let proof = pb::CertifiedHeader { certificate: Some(certificate), ..certified(&header) };
        // Every name once, in order, each with its own signature, and three of them.
        let own = places.iter().all(|(name, of)| usize::try_from(*name).unwrap() == *of);
        let ordered = places.is_sorted_by(|a, b| a.0 < b.0);
        prop_assert_eq!(trust().header(&proof).is_ok(), own && ordered && places.len() >= 3);
        prop_assert_eq!(genesis().validators.quorum(), 3);
    }
}

// Bundles.

const FHIR_WORDS: &[&str] = &[
    "resourceType",
    "Bundle",
    "type",
    "transaction",
    "entry",
    "resource",
    "fullUrl",
    "Patient",
    "Observation",
    "Condition",
    "Goal",
    "Organization",
    "id",
    "anna",
    "urn:uuid:anna",
    "Patient/anna",
    "subject",
    "reference",
    "effectiveDateTime",
    "effectivePeriod",
    "start",
    "2024",
    "2024-05",
    "2024-05-17",
    "9999-99",
    "meta",
    "security",
    "system",
    "code",
    "coding",
    "HIV",
    "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "contained",
    "category",
    "laboratory",
    "http://loinc.org",
    "text",
    "div",
];

/// A resource that often is one.
fn resource() -> impl Strategy<Value = Value> {
    let kind = select(&["Patient", "Observation", "Condition", "Goal", "Organization", "Basic"][..]);
    let patient = prop_oneof![Just("urn:uuid:anna"), Just("Patient/anna"), Just("urn:uuid:berta")];
    let date = prop_oneof![Just("2024-05-17"), Just("2024"), Just("last May")];
    (kind, patient, date, any::<bool>(), vec((select(FHIR_WORDS), json(FHIR_WORDS)), 0..3)).prop_map(
        |(kind, patient, date, dated, extra)| {
            let mut resource = json!({"resourceType": kind, "subject": {"reference": patient}});
            if dated {
                resource["effectiveDateTime"] = json!(date);
            }
            for (key, value) in extra {
                resource[key] = value;
            }
            resource
        },
    )
}

fn bundle() -> impl Strategy<Value = Value> {
    let anna = json!({"fullUrl": "urn:uuid:anna", "resource": {"resourceType": "Patient", "id": "anna"}});
    let entry = prop_oneof![
        6 => resource().prop_map(|resource| json!({"resource": resource})),
        1 => json(FHIR_WORDS),
    ];
    (vec(entry, 0..8), any::<bool>(), vec((select(FHIR_WORDS), json(FHIR_WORDS)), 0..2)).prop_map(
        move |(mut entries, with_anna, extra)| {
            if with_anna {
                entries.insert(0, anna.clone());
            }
            let mut bundle: Map<String, Value> =
                extra.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            bundle.insert("resourceType".to_owned(), json!("Bundle"));
            bundle.insert("type".to_owned(), json!("transaction"));
            bundle.insert("entry".to_owned(), Value::from(entries));
            Value::Object(bundle)
        },
    )
}

/// A plan holds no more than the bundle did, and an error nothing of it.
fn is_bounded(text: &str) -> Result<bool, TestCaseError> {
    match read_bundle(text.as_bytes(), &Tables::built_in(), Month::new(2026, 2)) {
        Ok(plan) => {
            let bodies = plan
                .patients
                .iter()
                .map(|patient| &patient.body)
                .chain(plan.records.iter().map(|record| &record.body));
            prop_assert!(bodies.map(|body| body.expose().len()).sum::<usize>() <= text.len());
            for record in &plan.records {
                prop_assert!(record.patient < plan.patients.len());
                prop_assert!(
                    record.labels.len() <= Label::ALL.len() && record.labels.is_sorted_by(|a, b| a < b)
                );
            }
            Ok(true)
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            prop_assert!(shown.len() < 500, "{}", shown);
            for quoted in ["anna", "urn:uuid", "last May", "laboratory"] {
                prop_assert!(!shown.contains(quoted), "{}", shown);
            }
            Ok(false)
        }
    }
}

proptest! {
    #[test]
    fn any_json_for_a_bundle_is_read_or_refused(value in json(FHIR_WORDS), bundle in bundle()) {
        prop_assert!(!is_bounded(&value.to_string())?, "an arbitrary value is no bundle");
        is_bounded(&bundle.to_string())?;
    }

    #[test]
    fn any_bytes_for_a_bundle_are_refused(bytes in vec(any::<u8>(), 0..300), damage in damage(), bundle in bundle()) {
        prop_assert!(read_bundle(&bytes, &Tables::built_in(), None).is_err());
        let bytes = damaged(bundle.to_string().into_bytes(), &damage);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            is_bounded(text)?;
        } else {
            prop_assert!(read_bundle(&bytes, &Tables::built_in(), None).is_err());
        }
    }
}

/// The strategy above is worth something: a fair part of its bundles are good ones.
#[test]
fn many_generated_bundles_are_good() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let trees = (0..256).map(|_| bundle().new_tree(&mut runner).unwrap().current());
    let good = trees.filter(|bundle| is_bounded(&bundle.to_string()).unwrap()).count();
    assert!((40..=250).contains(&good), "{good} of 256");
}
