//! Codes: a number of the wire is the code's place in the domain's list plus one, so that zero means "not set".
//!
//! Lists only grow at their end, here and there; `tests/api.rs` compares them name by name.

use epione_types::call::GrantKind;
use epione_types::codes::{
    Action, Capability, Category, Decision, EmergencyReason, Label, Obligation, OrganisationKind, Purpose,
    Reason, Refusal, Role,
};

use super::{ConvertError, ConvertReason};

/// A closed list of codes.
pub trait Code: Copy + 'static {
    /// Every code, in order.
    const ALL: &'static [Self];
    /// Its place in the list, from 0.
    fn place(self) -> i32;
}

macro_rules! codes {
    ($($name:ident = $all:expr),+ $(,)?) => { $(
        impl Code for $name {
            const ALL: &'static [Self] = $all;
            fn place(self) -> i32 {
                self as i32
            }
        }
    )+ };
}

codes! {
    Action = Self::ALL,
    Capability = Self::ALL,
    Category = Self::ALL,
    Decision = Self::ALL,
    EmergencyReason = Self::ALL,
    GrantKind = &[Self::Permit, Self::Deny],
    Label = Self::ALL,
    Obligation = Self::ALL,
    OrganisationKind = Self::ALL,
    Purpose = Self::ALL,
    Reason = Self::ALL,
    Refusal = Self::ALL,
    Role = Self::ALL,
}

/// The code's number on the wire.
#[must_use]
pub fn code_to_wire(code: impl Code) -> i32 {
    code.place().saturating_add(1)
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
