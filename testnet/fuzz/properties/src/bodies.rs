//! Bodies of transactions as clients send them: *a body means one thing to everybody*. What is let in comes back from its own
//! encoding, means the same to the lenient decoder of other programs, and cannot be added to unseen (failures.md, 15).
//!
//! An input is a body.

use epione_node::validate::{self, Malformed};
use epione_proto::{decode_body, encode_body, v1};
use epione_types::tx::TxSignature;
use epione_types::{Signature, SignedTx};
use prost::Message as _;

use crate::Outcome;

/// Longest error: it names fields, limits and values, and quotes no body.
const ERROR_BYTES_MAX: usize = 400;

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let body = match decode_body(bytes) {
        Ok(body) => body,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < ERROR_BYTES_MAX, "{} bytes of error: {text}", text.len());
            return Outcome::Refused;
        }
    };
    assert_eq!(decode_body(&encode_body(&body)).as_ref(), Ok(&body), "comes back from its own encoding");
    let lenient = v1::TransactionBody::decode(bytes).expect("others read it too");
    assert_eq!(decode_body(&lenient.encode_to_vec()).as_ref(), Ok(&body), "others read the same");
    let unknown = [bytes, &[0xf8, 0x7f, 0]].concat();
    assert!(decode_body(&unknown).is_err(), "a field that nobody knows");
    assert!(decode_body(&[bytes, bytes].concat()).is_err(), "every field twice");

    // With its signers, in the order that the body names, only the shape may still be wrong.
    let keys = core::iter::once(&body.sender).chain(&body.co_signers);
    let signatures =
        keys.map(|key| TxSignature { public_key: *key, signature: Signature([0; 64]) }).collect();
    let tx = SignedTx { body: bytes.to_vec().into(), signatures };
    match validate::parse(tx.clone(), body.chain_id) {
        Ok(parsed) => assert_eq!((parsed.id(), &parsed.decoded.body), (tx.id(), &body)),
        Err(Malformed::Shape(_)) => {}
        Err(other) => panic!("signed as it says, and refused: {other}"),
    }
    let mut other = body.chain_id;
    other.0[0] ^= 1;
    assert!(validate::parse(tx.clone(), other).is_err(), "for another chain");
    let unsigned = SignedTx { signatures: tx.signatures.get(1..).unwrap_or_default().to_vec(), ..tx };
    assert!(validate::parse(unsigned, body.chain_id).is_err(), "without its sender's signature");
    Outcome::Accepted
}
