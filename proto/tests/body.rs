//! Transaction bodies: every intent comes back, every ambiguous or unknown encoding is refused, nothing panics.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "only some kinds are edited")]

mod common;

use common::{CALLS, Draw, Tree, Value, descriptors, is_list, message_type, write_varint};
use epione_proto::{ConvertReason, decode_body, encode_body};
use epione_types::call::{Call, Grantee, Labels, Purposes, TxBody};
use epione_types::tx::MAX_BODY_BYTES;
use proptest::prelude::*;
use prost_types::field_descriptor_proto::Type;

const BODY: &str = ".epione.v1.TransactionBody";

fn body() -> impl Strategy<Value = TxBody> {
    (any::<u64>(), any::<u64>()).prop_map(|(seed, which)| Draw::new(seed).body(which))
}

/// Bodies that between them set every field.
fn samples() -> Vec<TxBody> {
    (0..40 * CALLS).map(|i| Draw::new(i).body(i)).collect()
}

/// Applies `edit` to every message of every sample; each result must be refused for `reason`.
fn refused(reason: ConvertReason, edit: &dyn Fn(&Tree) -> Vec<Tree>) {
    let set = descriptors();
    let mut tried = 0;
    for sample in samples() {
        for changed in Tree::read(&set, BODY, &encode_body(&sample)).edits(edit) {
            let error = decode_body(&changed.write()).expect_err(&format!("{changed:?}"));
            assert_eq!(error.reason, reason, "{error}: {changed:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "the edit applied only {tried} times");
}

/// Applies `edit` to every message of every sample; each result must mean the same as before.
fn accepted(edit: &dyn Fn(&Tree) -> Vec<Tree>) {
    let set = descriptors();
    let mut tried = 0;
    for sample in samples() {
        for changed in Tree::read(&set, BODY, &encode_body(&sample)).edits(edit) {
            assert_eq!(decode_body(&changed.write()).as_ref(), Ok(&sample), "{changed:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "the edit applied only {tried} times");
}

/// One copy of the tree for each field that `change` applies to.
fn per_field(tree: &Tree, change: &dyn Fn(&mut Tree, usize) -> bool) -> Vec<Tree> {
    (0..tree.fields.len())
        .filter_map(|i| {
            let mut copy = tree.clone();
            change(&mut copy, i).then_some(copy)
        })
        .collect()
}

proptest! {
    #[test]
    fn every_intent_comes_back(body in body()) {
        prop_assert_eq!(decode_body(&encode_body(&body)), Ok(body));
    }

    #[test]
    fn no_cut_body_passes(body in body()) {
        let bytes = encode_body(&body);
        for length in 0..bytes.len() {
            prop_assert!(decode_body(&bytes[..length]).is_err());
        }
    }

    /// A flipped bit may give another valid body, of another id; it never panics, and it never gives the same one.
    #[test]
    fn no_flipped_bit_means_the_same(body in body(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encode_body(&body);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert_ne!(decode_body(&bytes), Ok(body));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_body(&bytes);
    }

    #[test]
    fn garbage_inside_a_call_never_panics(call in 10u8..57, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut body = Vec::new();
        write_varint(&mut body, u64::from(call) << 3 | 2, 1);
        write_varint(&mut body, bytes.len() as u64, 1);
        body.extend(bytes);
        let _ = decode_body(&body);
    }
}

#[test]
fn unknown_fields_are_refused_in_every_message() {
    refused(ConvertReason::UnknownField, &|tree| {
        let mut copy = tree.clone();
        let mut field = copy.fields.first().map_or_else(Default::default, |(field, _)| field.clone());
        field.number = Some(1_999);
        copy.fields.push((field, Value::Number(0)));
        vec![copy]
    });
}

#[test]
fn a_singular_field_twice_is_refused() {
    refused(ConvertReason::DuplicateField, &|tree| {
        per_field(tree, &|copy, i| {
            copy.fields.push(copy.fields[i].clone());
            !is_list(&copy.fields[i].0)
        })
    });
}

#[test]
fn two_members_of_a_oneof_are_refused() {
    let set = descriptors();
    refused(ConvertReason::DuplicateField, &|tree| {
        let message = message_type(&set, &tree.name);
        let mut all = Vec::new();
        for (field, _) in tree.fields.iter().filter(|(field, _)| field.oneof_index.is_some()) {
            let others = message
                .field
                .iter()
                .filter(|other| other.oneof_index == field.oneof_index && other.number() != field.number());
            for other in others {
                let mut copy = tree.clone();
                copy.fields.push((other.clone(), Value::Bytes(Vec::new())));
                all.push(copy);
            }
        }
        all
    });
}

#[test]
fn codes_of_no_version_are_refused() {
    for (number, reason) in [
        (0, ConvertReason::MissingField),
        (1_000, ConvertReason::UnknownCode),
        (u64::from(i32::MAX.unsigned_abs()), ConvertReason::UnknownCode),
        (u64::from(u32::MAX), ConvertReason::OutOfRange),
        // prost would cut it down to 1, a known code.
        ((1 << 32) + 1, ConvertReason::OutOfRange),
        // -1 as protobuf writes it.
        (u64::MAX, ConvertReason::OutOfRange),
    ] {
        refused(reason, &|tree| {
            per_field(tree, &|copy, i| {
                copy.fields[i].1 = Value::Number(number);
                copy.fields[i].0.r#type() == Type::Enum
            })
        });
    }
}

#[test]
fn numbers_beyond_their_type_are_refused() {
    refused(ConvertReason::OutOfRange, &|tree| {
        per_field(tree, &|copy, i| {
            let max = match copy.fields[i].0.r#type() {
                Type::Bool => 1,
                Type::Uint32 => u64::from(u32::MAX),
                _ => return false,
            };
            copy.fields[i].1 = Value::Number(max + 1);
            true
        })
    });
}

#[test]
fn another_wire_type_is_refused() {
    refused(ConvertReason::MalformedBody, &|tree| {
        per_field(tree, &|copy, i| {
            copy.fields[i].1 = match copy.fields[i].1 {
                Value::Number(_) if !is_list(&copy.fields[i].0) => Value::Bytes(vec![1]),
                Value::Bytes(_) | Value::Message(_) => Value::Number(1),
                Value::Number(_) => return false,
            };
            true
        })
    });
}

#[test]
fn groups_and_fixed_width_numbers_are_refused() {
    for wire_type in [1, 3, 4, 5, 6, 7] {
        let bytes = [&[1 << 3 | wire_type][..], &[0; 40]].concat();
        assert_eq!(decode_body(&bytes).unwrap_err().reason, ConvertReason::MalformedBody);
    }
}

#[test]
fn ids_of_another_length_are_refused() {
    for (change, reason) in [
        (-1, ConvertReason::WrongLength),
        (1, ConvertReason::WrongLength),
        (-64, ConvertReason::MissingField),
    ] {
        refused(reason, &|tree| {
            per_field(tree, &|copy, i| {
                let Value::Bytes(bytes) = &mut copy.fields[i].1 else { return false };
                bytes.resize(bytes.len().saturating_add_signed(change), 0);
                true
            })
        });
    }
}

#[test]
fn the_order_of_fields_is_free() {
    accepted(&|tree| {
        // Lists keep their own order.
        let mut copy = tree.clone();
        copy.fields.sort_by_key(|(field, _)| std::cmp::Reverse(field.number()));
        vec![copy]
    });
}

#[test]
fn defaults_may_be_written_out() {
    let set = descriptors();
    accepted(&|tree| {
        let mut copy = tree.clone();
        for field in message_type(&set, &tree.name).field {
            let unset = tree.fields.iter().all(|(set, _)| set.number() != field.number());
            let number = matches!(field.r#type(), Type::Bool | Type::Uint32 | Type::Uint64);
            if unset && number && !is_list(&field) && field.oneof_index.is_none() {
                copy.fields.push((field, Value::Number(0)));
            }
        }
        vec![copy]
    });
}

#[test]
fn lists_of_numbers_may_be_packed_or_not() {
    // Our encoder packs, the editor does not.
    accepted(&|tree| vec![tree.clone()]);
}

#[test]
fn long_forms_of_a_number_are_refused() {
    let bytes = encode_body(&samples()[0]);
    // The first length, 32, in two bytes.
    assert_eq!(bytes[..2], [10, 32]);
    let mut long = vec![10, 0x80 | 32, 0];
    long.extend(&bytes[2..]);
    let error = decode_body(&long).unwrap_err();
    assert_eq!((error.reason, error.field.as_str()), (ConvertReason::MalformedBody, "chain_id"));
    // Eleven bytes, and ten with a bit too many.
    for number in [[0xff; 11].to_vec(), [[0xff; 9].to_vec(), vec![2]].concat()] {
        assert!(decode_body(&[vec![32], number].concat()).unwrap_err().message.contains("64 bits"));
    }
}

#[test]
fn a_body_has_a_size() {
    for length in [0, MAX_BODY_BYTES + 1] {
        assert_eq!(decode_body(&vec![0; length]).unwrap_err().reason, ConvertReason::WrongLength);
    }
}

#[test]
fn lists_have_limits_and_all_excludes_some() {
    let set = descriptors();
    let mut reasons = Vec::new();
    for sample in samples() {
        let tree = Tree::read(&set, BODY, &encode_body(&sample));
        let longer = tree.edits(&|tree| {
            per_field(tree, &|copy, i| {
                let one = copy.fields[i].clone();
                copy.fields.extend(std::iter::repeat_n(one.clone(), 65));
                is_list(&one.0)
            })
        });
        for changed in longer {
            let error = decode_body(&changed.write()).unwrap_err();
            assert!(error.message.contains("there may be"), "{error}");
            reasons.push(error.reason);
        }
        let Call::CreateGrant(grant) = &sample.call else { continue };
        let conflict = tree.edits(&|tree| {
            if tree.fields.first().is_none_or(|(field, _)| field.name() != "only") {
                return Vec::new();
            }
            let mut copy = tree.clone();
            let flag = message_type(&set, &tree.name).field[0].clone();
            copy.fields.insert(0, (flag, Value::Number(1)));
            vec![copy]
        });
        let listed = usize::from(matches!(&grant.rule.purposes, Purposes::Only(only) if !only.is_empty()))
            + usize::from(matches!(&grant.rule.labels, Labels::Only(only) if !only.is_empty()));
        assert_eq!(conflict.len(), listed);
        for changed in conflict {
            let error = decode_body(&changed.write()).unwrap_err();
            assert_eq!(error.reason, ConvertReason::Conflict, "{error}");
        }
    }
    assert!(reasons.len() > 50 && reasons.iter().all(|reason| *reason == ConvertReason::TooMany));
}

#[test]
fn an_error_names_the_path_the_limit_and_the_value() {
    let grant = samples()
        .into_iter()
        .find(|body| matches!(&body.call, Call::CreateGrant(g) if matches!(g.rule.to, Grantee::Role(..))))
        .unwrap();
    let mut wire = epione_proto::v1::TransactionBody::from(&grant);
    let Some(epione_proto::v1::transaction_body::Call::CreateGrant(call)) = &mut wire.call else { panic!() };
    let rule = call.rule.as_mut().unwrap();
    rule.labels = Some(epione_proto::v1::LabelSet { any: false, only: vec![1, 2, 99] });
    let error = decode_body(&prost::Message::encode_to_vec(&wire)).unwrap_err();
    assert_eq!(error.field, "create_grant.rule.labels.only[2]");
    assert_eq!(error.to_string(), "create_grant.rule.labels.only[2]: 99 is no code of this version; 1 to 21");
}

/// No field of a body may hold text: no name, no birth date, no number of an insurance.
#[test]
fn text_is_refused_wherever_bytes_stand() {
    for text in [&b"MUELLER, ANNA, 1980-01-02"[..], b"Karl"] {
        refused(ConvertReason::PlainText, &|tree| {
            per_field(tree, &|copy, i| {
                let Value::Bytes(bytes) = &mut copy.fields[i].1 else { return false };
                let length = bytes.len();
                let mut padded = text.to_vec();
                padded.resize(length, 0);
                bytes.copy_from_slice(&padded);
                true
            })
        });
    }
    let mut wire = epione_proto::v1::TransactionBody::from(&samples()[2]);
    let Some(epione_proto::v1::transaction_body::Call::RegisterPatient(call)) = &mut wire.call else {
        panic!()
    };
    call.patient_id = b"MUELLER 19800102"[..].into();
    let error = decode_body(&prost::Message::encode_to_vec(&wire)).unwrap_err();
    assert_eq!(error.field, "register_patient.patient_id");
    assert!(error.to_string().contains("random bytes must stand") && !error.to_string().contains("MUELLER"));
}

#[test]
fn no_body_and_no_call_are_missing() {
    let mut wire = epione_proto::v1::TransactionBody::from(&samples()[0]);
    wire.call = None;
    let error = decode_body(&prost::Message::encode_to_vec(&wire)).unwrap_err();
    assert_eq!((error.field.as_str(), error.reason), ("call", ConvertReason::MissingField));
}
