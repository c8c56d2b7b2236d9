//! Codes: a number of the wire is the code's place in the domain's list plus one, so that zero means "not set".
//!
//! Lists only grow at their end, here and there; `tests/api.rs` compares them name by name.

pub use epione_types::codes::Code;

use super::{ConvertError, ConvertReason};

/// The code's number on the wire.
#[must_use]
pub fn code_to_wire(code: impl Code) -> i32 {
    i32::try_from(code.place()).unwrap_or(i32::MAX).saturating_add(1)
}

/// The code with this number on the wire.
///
/// # Errors
/// Zero is MISSING_FIELD, a number beyond the list UNKNOWN_CODE.
pub fn code_from_wire<T: Code>(field: &str, number: i32) -> Result<T, ConvertError> {
    if number == 0 {
        return Err(ConvertError::new(field, ConvertReason::MissingField, "not set"));
    }
    usize::try_from(number).ok().and_then(|number| T::ALL.get(number.checked_sub(1)?)).copied().ok_or_else(
        || {
            let text = format!("{number} is no code of this version; 1 to {}", T::ALL.len());
            ConvertError::new(field, ConvertReason::UnknownCode, text)
        },
    )
}
