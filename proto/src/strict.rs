//! Walks a transaction body before the generated decoder sees it, and refuses what that decoder would let pass.
//!
//! prost, like every protobuf library, drops unknown fields, keeps the last of two values, merges two halves of a
//! message and cuts a number down to 32 bits: a signer could have meant something else than a node reads
//! (failures: "bytes signed are not the bytes meant"). So here: known fields only, each singular field and each
//! oneof once, the declared wire type, numbers within their type, shortest varints, at most [`DEPTH_MAX`] deep.
//!
//! Free for the sender, because libraries differ in it: the order of fields, defaults written out or left out, packed
//! or unpacked lists. Unknown enum values are refused one step later, in `convert`.
//!
//! No allocation, one pass; the recursion is bounded by [`DEPTH_MAX`]. The field table comes from the `.proto` files
//! (`build.rs`), so it cannot drift. Tested in `tests/body.rs`.

use crate::convert::{ConvertError, ConvertReason as Reason};

/// Deepest nesting of messages; the API's own bodies need five.
const DEPTH_MAX: usize = 8;

/// A message of the field table.
struct Message {
    /// In ascending order of number, at most 64.
    fields: &'static [Field],
}

/// A field of the field table.
struct Field {
    number: u64,
    name: &'static str,
    kind: Kind,
    repeated: bool,
    /// Which bit of the message's 64 it fills; members of a oneof share one.
    slot: u32,
}

/// What a body may hold. No text and no floats, by construction of the table.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Uint32,
    Uint64,
    Enum,
    Bytes,
    /// Index into [`MESSAGES`].
    Message(usize),
}

include!(concat!(env!("OUT_DIR"), "/strict_table.rs"));

/// Wire types of protobuf that occur here.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// Refuses bytes that are not one unambiguous `TransactionBody`.
pub(crate) fn check(body: &[u8]) -> Result<(), ConvertError> {
    message(body, 0, 0)
}

fn message(bytes: &[u8], index: usize, depth: usize) -> Result<(), ConvertError> {
    if depth > DEPTH_MAX {
        return Err(malformed(format!("messages nested deeper than {DEPTH_MAX}")));
    }
    let fields = MESSAGES.get(index).map_or(&[][..], |message| message.fields);
    let mut rest = bytes;
    let mut seen = 0u64;
    // Most libraries write fields in ascending order: the one wanted is mostly the next one.
    let mut next = fields.iter();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let (number, wire_type) = (key >> 3, key & 7);
        let ahead = next.find(|field| field.number == number);
        let Some(field) = ahead.or_else(|| fields.iter().find(|field| field.number == number)) else {
            return Err(ConvertError::new("", Reason::UnknownField, format!("unknown field {number}")));
        };
        if !field.repeated {
            let bit = 1 << field.slot;
            if seen & bit != 0 {
                let text = "set twice, or beside another member of its oneof";
                return Err(ConvertError::new(field.name, Reason::DuplicateField, text));
            }
            seen |= bit;
        }
        value(field, wire_type, &mut rest, depth).map_err(|error| error.within(field.name))?;
    }
    Ok(())
}

fn value(field: &Field, wire_type: u64, rest: &mut &[u8], depth: usize) -> Result<(), ConvertError> {
    match (field.kind, wire_type) {
        (Kind::Bytes, LENGTH) => delimited(rest).map(|_| ()),
        (Kind::Message(index), LENGTH) => message(delimited(rest)?, index, depth + 1),
        (Kind::Bool | Kind::Uint32 | Kind::Uint64 | Kind::Enum, VARINT) => number(field.kind, rest),
        (Kind::Bool | Kind::Uint32 | Kind::Uint64 | Kind::Enum, LENGTH) if field.repeated => {
            let mut packed = delimited(rest)?;
            while !packed.is_empty() {
                number(field.kind, &mut packed)?;
            }
            Ok(())
        }
        _ => Err(malformed(format!("wire type {wire_type} does not fit the field"))),
    }
}

/// A number within its type; prost would cut it down.
fn number(kind: Kind, rest: &mut &[u8]) -> Result<(), ConvertError> {
    let found = varint(rest)?;
    let max = match kind {
        Kind::Bool => 1,
        Kind::Uint32 => u64::from(u32::MAX),
        Kind::Enum => i32::MAX.unsigned_abs().into(),
        Kind::Uint64 | Kind::Bytes | Kind::Message(_) => u64::MAX,
    };
    if found > max {
        return Err(ConvertError::new("", Reason::OutOfRange, format!("{found}; at most {max}")));
    }
    Ok(())
}

/// A length and as many bytes.
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ConvertError> {
    let length = varint(rest)?;
    let cut = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((head, tail)) = cut else {
        return Err(malformed(format!("{length} bytes announced, {} left", rest.len())));
    };
    *rest = tail;
    Ok(head)
}

/// A number in its shortest form: seven bits a byte, at most 64 in all.
fn varint(rest: &mut &[u8]) -> Result<u64, ConvertError> {
    if let Some((&byte @ ..0x80, tail)) = rest.split_first() {
        *rest = tail;
        return Ok(byte.into());
    }
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, tail)) = rest.split_first() else {
            return Err(malformed("ends within a number".to_owned()));
        };
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err(malformed("number not in its shortest form".to_owned()));
            }
            return Ok(value);
        }
    }
    Err(malformed("number longer than 64 bits".to_owned()))
}

fn malformed(message: String) -> ConvertError {
    ConvertError::new("", Reason::MalformedBody, message)
}
