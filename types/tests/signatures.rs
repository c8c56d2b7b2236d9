//! One predicate for signatures (R29): ZIP-215, whoever checks and in whatever company.
//!
//! The edge cases are those of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, SSR 2020; its
//! `ed25519-speccheck`) and the small-order set of ZIP-215. They are built here from their definitions,
//! with the secret scalars in hand, so that each line says what is odd about it. Expected answers are
//! the paper's column for ZIP-215. `published_speccheck_cases` takes the paper's own file by path.
#![expect(clippy::indexing_slicing, reason = "fixed-size arrays of a test")]

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use epione_types::sign::Zip215;
use epione_types::{PublicKey, SecretKey, Signature, Signer, Verifier};
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

type Item = (PublicKey, Vec<u8>, Signature);

/// What ZIP-215 says, in its own words: S below L; A and R any encodings of points; 8SB = 8R + 8kA,
/// k over the bytes as given.
fn zip215(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let (r, s) = halves(signature);
    let s: Option<Scalar> = Scalar::from_canonical_bytes(s).into();
    let (Some(s), Some(a), Some(r_point)) =
        (s, CompressedEdwardsY(key.0).decompress(), CompressedEdwardsY(r).decompress())
    else {
        return false;
    };
    (s * B - r_point - challenge(&r, &key.0, message) * a).mul_by_cofactor().is_identity()
}

fn halves(signature: &Signature) -> ([u8; 32], [u8; 32]) {
    let (r, s) = signature.0.split_at(32);
    (r.try_into().expect("32 bytes"), s.try_into().expect("32 bytes"))
}

fn join(r: &[u8; 32], s: &[u8; 32]) -> Signature {
    Signature(core::array::from_fn(|i| if i < 32 { r[i] } else { s[i - 32] }))
}

fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(a).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

fn bytes(point: EdwardsPoint) -> [u8; 32] {
    point.compress().0
}

/// Some scalar, the same each time.
fn scalar(seed: &str) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest(seed).into())
}

/// The first message that suits.
fn message_where(suits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    (0u32..).map(|i| i.to_le_bytes().to_vec()).find(|message| suits(message)).expect("one in eight suits")
}

/// A bare S that keeps its value and exceeds L: S + L, carried by hand.
fn plus_l(s: [u8; 32]) -> [u8; 32] {
    let minus_one = (-Scalar::ONE).to_bytes(); // L - 1
    let mut carry = 1u16;
    core::array::from_fn(|i| {
        let sum = u16::from(s[i]) + u16::from(minus_one[i]) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    })
}

/// The 14 encodings of the 8 points of small order: canonical ones, then those with y unreduced or the sign of a zero x.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| bytes(*point)).collect();
    let y = |low: u8, middle: u8, high: u8| {
        core::array::from_fn(|i| match i {
            0 => low,
            31 => high,
            _ => middle,
        })
    };
    all.extend([
        y(0x01, 0x00, 0x80), // y = 1, x = "-0"
        y(0xec, 0xff, 0xff), // y = -1, x = "-0"
        y(0xee, 0xff, 0x7f), // y = p + 1
        y(0xee, 0xff, 0xff), // y = p + 1, x = "-0"
        y(0xed, 0xff, 0x7f), // y = p
        y(0xed, 0xff, 0xff), // y = p, the other x
    ]);
    all
}

/// The twelve cases of speccheck by number, with ZIP-215's answer.
fn speccheck() -> Vec<(&'static str, bool, Item)> {
    let torsion = EIGHT_TORSION[1]; // of order 8
    let (a, r) = (scalar("a"), scalar("r"));
    // Over which bytes k is computed may differ from those sent: cases 8 and 10.
    let make = |a: Scalar, key: [u8; 32], r: Scalar, r_bytes: [u8; 32], k: Scalar, message: Vec<u8>| {
        (PublicKey(key), message, join(&r_bytes, &(r + k * a).to_bytes()))
    };
    // A = aB + tA, R = rB + tR, always right with the cofactor; without it too iff tR + k tA = 0.
    let with_torsion =
        |a: Scalar, ta: EdwardsPoint, r: Scalar, tr: EdwardsPoint, also_without_cofactor: bool| {
            let (key, r_bytes) = (bytes(a * B + ta), bytes(r * B + tr));
            let k = |message: &[u8]| challenge(&r_bytes, &key, message);
            let message =
                message_where(|message| (tr + k(message) * ta).is_identity() == also_without_cofactor);
            let k = k(&message);
            make(a, key, r, r_bytes, k, message)
        };
    let zero = Scalar::ZERO;
    let none = EdwardsPoint::default();
    let order_l = with_torsion(a, none, r, none, true);
    let larger = |times: u32| {
        let (key, message, signature) = order_l.clone();
        let (r, s) = halves(&signature);
        (key, message, join(&r, &(0..times).fold(s, |s, _| plus_l(s))))
    };
    // 8k reduced by L first is no multiple of 8 any more, and meets the torsion of A.
    let prereduced = {
        let (key, r_bytes) = (bytes(a * B + torsion), bytes(r * B));
        let message = message_where(|message| {
            let k = challenge(&r_bytes, &key, message);
            !(k * torsion).is_identity() && !((Scalar::from(8u8) * k) * torsion).is_identity()
        });
        let k = challenge(&r_bytes, &key, &message);
        make(a, key, r, r_bytes, k, message)
    };
    let odd = small_order_encodings()[10]; // y = p + 1: the identity, unreduced
    let identity = bytes(none);
    let odd_r = |hashed: [u8; 32]| {
        let key = bytes(a * B + torsion);
        let message = message_where(|message| (challenge(&hashed, &key, message) * torsion).is_identity());
        let k = challenge(&hashed, &key, &message);
        make(a, key, zero, odd, k, message)
    };
    let odd_a = |hashed: [u8; 32]| {
        let r_bytes = bytes(r * B + torsion);
        let k = challenge(&r_bytes, &hashed, b"");
        make(zero, odd, r, r_bytes, k, vec![])
    };
    vec![
        ("0: S = 0, A and R small", true, with_torsion(zero, torsion, zero, torsion, true)),
        ("1: A small, R mixed", true, with_torsion(zero, torsion, r, torsion, true)),
        ("2: A mixed, R small", true, with_torsion(a, torsion, zero, torsion, true)),
        ("3: A and R mixed", true, with_torsion(a, torsion, r, torsion, true)),
        ("4: A and R mixed, only with cofactor", true, with_torsion(a, torsion, r, torsion, false)),
        ("5: A mixed, fails if 8k is reduced first", true, prereduced),
        ("6: S + L", false, larger(1)),
        ("7: S + 14 L, high bits set", false, larger(14)),
        ("8: R not canonical, k over its canonical form", false, odd_r(identity)),
        ("9: R not canonical, k over it as sent", true, odd_r(odd)),
        ("10: A small and not canonical, k over its canonical form (8kA = 0 anyway)", true, odd_a(identity)),
        ("11: A small and not canonical, k over it as sent", true, odd_a(odd)),
    ]
}

/// A signature with R moved by the point of order 2, as only the key's owner can make it.
fn owners_odd_signature(seed: u8, message: &[u8]) -> Item {
    let mut hash: [u8; 64] = Sha512::digest([seed; 32]).into();
    hash[0] &= 248;
    hash[31] = (hash[31] & 127) | 64;
    let a = Scalar::from_bytes_mod_order(hash[..32].try_into().expect("32 bytes"));
    let key = SecretKey::from_seed(&[seed; 32]).public_key();
    assert_eq!(bytes(a * B), key.0);
    let r = scalar("nonce");
    let r_bytes = bytes(r * B + EIGHT_TORSION[4]);
    let k = challenge(&r_bytes, &key.0, message);
    (key, message.to_vec(), join(&r_bytes, &(r + k * a).to_bytes()))
}

fn honest(seed: u8, message: &[u8]) -> Item {
    let key = SecretKey::from_seed(&[seed; 32]);
    (key.public_key(), message.to_vec(), key.sign(message))
}

/// Signatures of every sort, good and bad, several under one key.
fn pool() -> Vec<Item> {
    let mut pool: Vec<Item> = speccheck().into_iter().map(|(_, _, item)| item).collect();
    pool.extend((1..=6).map(|i| honest(i % 3, &[i])));
    pool.extend((1..=4).map(|i| owners_odd_signature(i % 3, &[i])));
    pool.push({
        let (key, message, mut signature) = honest(1, b"changed");
        signature.0[40] ^= 1;
        (key, message, signature)
    });
    pool.push({
        let (_, message, signature) = honest(1, b"another's");
        (SecretKey::from_seed(&[2; 32]).public_key(), message, signature)
    });
    pool.push((PublicKey([2; 32]), vec![], Signature([0; 64]))); // y = 2..: no point
    pool.push((honest(1, b"").0, vec![], Signature([0xff; 64])));
    pool
}

fn borrowed(items: &[Item]) -> Vec<(PublicKey, &[u8], Signature)> {
    items.iter().map(|(key, message, signature)| (*key, message.as_slice(), *signature)).collect()
}

/// One at a time, each, all: every way of asking gives this answer.
fn assert_agreed(items: &[Item]) {
    let items = borrowed(items);
    let wanted: Vec<bool> =
        items.iter().map(|(key, message, signature)| zip215(key, message, signature)).collect();
    let single: Vec<bool> =
        items.iter().map(|(key, message, signature)| Zip215.verify(key, message, signature)).collect();
    assert_eq!(single, wanted);
    assert_eq!(Zip215.verify_each(&items), wanted);
    assert_eq!(Zip215.verify_all(&items), wanted.iter().all(|valid| *valid));
}

#[test]
fn speccheck_cases() {
    for (name, valid, item) in speccheck() {
        assert_eq!(Zip215.verify(&item.0, &item.1, &item.2), valid, "{name}");
        assert_agreed(core::slice::from_ref(&item));
        // Five of a kind are a batch.
        assert_agreed(&vec![item; 5]);
    }
}

#[test]
fn the_196_small_order_cases_are_valid() {
    let encodings = small_order_encodings();
    for (i, encoding) in encodings.iter().enumerate() {
        assert!(CompressedEdwardsY(*encoding).decompress().unwrap().is_small_order());
        assert!(!encodings[..i].contains(encoding));
    }
    let all: Vec<Item> = encodings
        .iter()
        .flat_map(|a| encodings.iter().map(|r| (PublicKey(*a), b"Zcash".to_vec(), join(r, &[0; 32]))))
        .collect();
    assert_eq!(all.len(), 196);
    assert!(Zip215.verify_all(&borrowed(&all)));
    assert_eq!(Zip215.verify_each(&borrowed(&all)), vec![true; 196]);
    for item in all {
        assert!(Zip215.verify(&item.0, &item.1, &item.2));
    }
}

#[test]
fn weak_keys_are_flagged_and_honest_ones_are_not() {
    for encoding in small_order_encodings() {
        assert!(PublicKey(encoding).is_weak(), "{}", hex::encode(encoding));
    }
    assert!(PublicKey([2; 32]).is_weak(), "no point at all");
    for seed in 0..32 {
        assert!(!honest(seed, b"").0.is_weak());
    }
}

#[test]
fn a_signature_made_to_split_a_chain_has_one_answer_beside_any_neighbours() {
    // Cofactorless batches accept about half of these, depending on their neighbours.
    for i in 0..100u8 {
        let odd = owners_odd_signature(1, &[i]);
        assert!(Zip215.verify(&odd.0, &odd.1, &odd.2));
        let mut beside: Vec<Item> = (0..i % 7).map(|j| honest(j, &[i, j])).collect();
        beside.insert(usize::from(i) % (beside.len() + 1), odd);
        assert_agreed(&beside);
    }
}

#[test]
fn s_plus_l_is_refused() {
    let (key, message, signature) = honest(1, b"malleated");
    let (r, s) = halves(&signature);
    assert!(Zip215.verify(&key, &message, &signature));
    assert!(!Zip215.verify(&key, &message, &join(&r, &plus_l(s))));
}

#[test]
fn signing_is_rfc_8032_and_deterministic() {
    // RFC 8032, 7.1, test 2.
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let key = SecretKey::from_seed(hex::decode(seed).unwrap().as_slice().try_into().unwrap());
    assert_eq!(
        key.public_key().to_string(),
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    );
    assert_eq!(
        key.sign(&[0x72]).to_string(),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert_eq!(key.sign(&[0x72]), key.sign(&[0x72]));
}

proptest! {
    #[test]
    fn every_subset_in_every_order_is_answered_alike(picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let pool = pool();
        let items: Vec<Item> = picks.iter().map(|pick| pool[pick.index(pool.len())].clone()).collect();
        assert_agreed(&items);
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed(at in 0usize..64 * 8, seed in 0u8..9) {
        let (key, message, mut signature) = honest(seed, b"one bit");
        signature.0[at / 8] ^= 1 << (at % 8);
        prop_assert!(!Zip215.verify(&key, &message, &signature));
        prop_assert!(!zip215(&key, &message, &signature));
    }
}

/// `EPIONE_SPECCHECK=cases.json cargo test -p epione-types --test signatures -- --ignored`, with the file
/// of github.com/novifinancial/ed25519-speccheck.
#[test]
#[ignore = "needs the published file: EPIONE_SPECCHECK=path/to/cases.json"]
fn published_speccheck_cases() {
    #[derive(serde::Deserialize)]
    struct Case {
        message: String,
        pub_key: String,
        signature: String,
    }
    let path = std::env::var("EPIONE_SPECCHECK").expect("EPIONE_SPECCHECK names the file");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let answers: Vec<bool> = cases
        .iter()
        .map(|case| {
            let item = (
                case.pub_key.parse().unwrap(),
                hex::decode(&case.message).unwrap(),
                case.signature.parse().unwrap(),
            );
            assert_agreed(core::slice::from_ref(&item));
            Zip215.verify(&item.0, &item.1, &item.2)
        })
        .collect();
    let wanted: Vec<bool> = speccheck().iter().map(|(_, valid, _)| *valid).collect();
    assert_eq!(answers, wanted);
}
