//! Between the wire and the domain: wire to domain by `TryFrom` only, domain to wire by `From`.
//!
//! An error names the field by its path in the `.proto`, a stable reason, the limit and the value; never the value of
//! an id. Lengths, ranges, list sizes, presence and codes are checked here; what a call means is the contracts' business.

mod block;
mod call;
mod codes;
mod field;
mod receipt;

use core::fmt;

use bytes::Bytes;
use epione_types::call::{Month, TxBody};
use epione_types::id::IdError;
use epione_types::tx::MAX_BODY_BYTES;
use prost::Message as _;

use crate::{strict, v1 as pb};

pub use block::{bytes_of_header, bytes_of_receipt, bytes_of_validators};
pub use codes::{Code, code_from_wire, code_to_wire};
pub use field::is_text;

/// Decodes and checks a transaction body. The same answer on every node for the same bytes, for ever: it is part of
/// what a transaction means (a body that is refused here executes to a MALFORMED receipt).
///
/// # Errors
/// [`ConvertError`] for anything but one unambiguous body: empty or more than [`MAX_BODY_BYTES`], unknown or doubled
/// fields, unknown codes, wrong lengths. Never panics; work and memory are bounded by the length.
pub fn decode_body(bytes: &[u8]) -> Result<TxBody, ConvertError> {
    if bytes.is_empty() || bytes.len() > MAX_BODY_BYTES {
        let text = format!("{} bytes; there must be 1 to {MAX_BODY_BYTES}", bytes.len());
        return Err(ConvertError::new("", ConvertReason::WrongLength, text));
    }
    strict::check(bytes)?;
    // One copy for all: the ids below are slices of it until they become arrays.
    let body = pb::TransactionBody::decode(Bytes::copy_from_slice(bytes))
        .map_err(|error| ConvertError::new("", ConvertReason::MalformedBody, error.to_string()))?;
    body.try_into()
}

/// Encodes a transaction body, once, for signing.
#[must_use]
pub fn encode_body(body: &TxBody) -> Vec<u8> {
    pb::TransactionBody::from(body).encode_to_vec()
}

/// Why a message of the wire is no value of the domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConvertError {
    /// Path of the field from the outermost message, as `create_grant.rule.labels.only[3]`; empty for the whole.
    pub field: String,
    /// Stable reason.
    pub reason: ConvertReason,
    /// For people: limit and value.
    pub message: String,
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl ConvertError {
    /// About one field, or about the whole if `field` is empty.
    pub fn new(field: &str, reason: ConvertReason, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason, message: message.into() }
    }

    /// The same, seen from the message that holds `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

/// Kinds of [`ConvertError`], with a stable name each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvertReason {
    /// Not protobuf, not of this message, or not in its shortest form.
    MalformedBody,
    /// A field this version does not know.
    UnknownField,
    /// A singular field twice, or two members of a oneof.
    DuplicateField,
    /// A field that must be set is not.
    MissingField,
    /// Bytes of another length than the field has.
    WrongLength,
    /// A number outside its range.
    OutOfRange,
    /// More entries than a list may have.
    TooMany,
    /// A code this version does not know.
    UnknownCode,
    /// Two fields that exclude each other.
    Conflict,
    /// Text where there may be none.
    PlainText,
}

impl ConvertReason {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedBody => "MALFORMED_BODY",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::DuplicateField => "DUPLICATE_FIELD",
            Self::MissingField => "MISSING_FIELD",
            Self::WrongLength => "WRONG_LENGTH",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::TooMany => "TOO_MANY",
            Self::UnknownCode => "UNKNOWN_CODE",
            Self::Conflict => "CONFLICTING_FIELDS",
            Self::PlainText => "PLAIN_TEXT",
        }
    }
}

impl fmt::Display for ConvertReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Fixed-size bytes of the domain: ids, hashes, keys, signatures.
///
/// # Errors
/// Names the field, the length needed and the length found.
pub fn fixed<T>(field: &str, bytes: &[u8]) -> Result<T, ConvertError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    if field::is_text(bytes) {
        return Err(field::plain_text(field));
    }
    T::try_from(bytes).map_err(|error| {
        let (needed, found) = (error.bytes, error.found);
        let reason = if found == 0 { ConvertReason::MissingField } else { ConvertReason::WrongLength };
        ConvertError::new(field, reason, format!("{found} bytes; there must be {needed}"))
    })
}

/// [`fixed`] bytes that may be absent.
///
/// # Errors
/// As [`fixed`], if they are present.
pub fn fixed_opt<T>(field: &str, bytes: Option<&Bytes>) -> Result<Option<T>, ConvertError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    bytes.map(|bytes| fixed(field, bytes)).transpose()
}

/// Raw bytes of an id for the wire.
pub fn raw(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

/// A message or oneof that must be set.
fn need<T>(field: &str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, ConvertReason::MissingField, "not set"))
}

/// A list of at most `max` entries.
fn list<T, U>(
    field: &str,
    max: usize,
    items: impl ExactSizeIterator<Item = T>,
    mut convert: impl FnMut(&str, T) -> Result<U, ConvertError>,
) -> Result<Vec<U>, ConvertError> {
    let count = items.len();
    if count > max {
        let text = format!("{count} entries; there may be {max}");
        return Err(ConvertError::new(field, ConvertReason::TooMany, text));
    }
    items
        .enumerate()
        .map(|(i, item)| convert("", item).map_err(|error| error.within(&format!("{field}[{i}]"))))
        .collect()
}

/// A month as yyyymm.
fn month(field: &str, number: u32) -> Result<Month, ConvertError> {
    Month::try_from(number).map_err(|text| ConvertError::new(field, ConvertReason::OutOfRange, text))
}

/// A number that fits its type.
fn fits<T, U>(field: &str, value: U) -> Result<T, ConvertError>
where
    T: TryFrom<U>,
    U: Copy + fmt::Display,
{
    T::try_from(value).map_err(|_| {
        let text = format!("{value} is too large for {}", core::any::type_name::<T>());
        ConvertError::new(field, ConvertReason::OutOfRange, text)
    })
}

/// Prepends the field to the path of what a conversion below it found.
trait At<T> {
    fn at(self, field: &str) -> Result<T, ConvertError>;
}

impl<T> At<T> for Result<T, ConvertError> {
    fn at(self, field: &str) -> Self {
        self.map_err(|error| error.within(field))
    }
}
