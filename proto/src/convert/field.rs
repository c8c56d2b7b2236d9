//! How one field goes between wire and domain, and messages that are no more than their fields.
//!
//! [`messages!`] and [`events!`] write both directions of a message from one list of `domain field = wire field`, so
//! that they cannot differ, and an error names the field as the `.proto` does.

use bytes::Bytes;
use epione_types::call::{MAX_LIST, Month};
use epione_types::codes::Code;
use epione_types::id::{
    AccessRequestId, DeviceId, GrantId, Height, IdError, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId,
    ProposalId, RecordId, RequestId, StudyId, TimestampMs, TxId,
};
use epione_types::{Hash, PublicKey};

use super::{
    ConvertError, ConvertReason, code_from_wire, code_to_wire, fits, fixed, fixed_opt, list, month, raw,
};

/// A value of the domain that stands as a `W` on the wire.
pub(super) trait Field<W>: Sized {
    fn read(field: &str, wire: W) -> Result<Self, ConvertError>;
    fn write(&self) -> W;
}

/// Ids, hashes and keys.
trait Fixed: for<'a> TryFrom<&'a [u8], Error = IdError> {
    /// Most of them in a list.
    const LIST_MAX: usize;
    fn bytes(&self) -> &[u8];
}

macro_rules! fixed_fields {
    ($max:expr; $($name:ident),+) => { $(
        impl Fixed for $name {
            const LIST_MAX: usize = $max;
            fn bytes(&self) -> &[u8] {
                self.as_bytes()
            }
        }
    )+ };
}

fixed_fields!(MAX_LIST; AccessRequestId, DeviceId, Hash, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId);
fixed_fields!(MAX_LIST; ProposalId, PublicKey, RecordId, RequestId, StudyId, TxId);
// An opt-out answers with all permits of a patient that are still open.
fixed_fields!(1 << 16; GrantId);

impl<T: Fixed> Field<Bytes> for T {
    fn read(field: &str, wire: Bytes) -> Result<Self, ConvertError> {
        fixed(field, &wire)
    }
    fn write(&self) -> Bytes {
        raw(self.bytes())
    }
}

impl<T: Fixed> Field<Option<Bytes>> for Option<T> {
    fn read(field: &str, wire: Option<Bytes>) -> Result<Self, ConvertError> {
        fixed_opt(field, wire.as_ref())
    }
    fn write(&self) -> Option<Bytes> {
        self.as_ref().map(|id| raw(id.bytes()))
    }
}

impl<T: Fixed> Field<Vec<Bytes>> for Vec<T> {
    fn read(field: &str, wire: Vec<Bytes>) -> Result<Self, ConvertError> {
        list(field, T::LIST_MAX, wire.iter(), |field, id| fixed(field, id))
    }
    fn write(&self) -> Vec<Bytes> {
        self.iter().map(|id| raw(id.bytes())).collect()
    }
}

impl<T: Code> Field<i32> for T {
    fn read(field: &str, wire: i32) -> Result<Self, ConvertError> {
        code_from_wire(field, wire)
    }
    fn write(&self) -> i32 {
        code_to_wire(*self)
    }
}

impl<T: Code> Field<Vec<i32>> for Vec<T> {
    fn read(field: &str, wire: Vec<i32>) -> Result<Self, ConvertError> {
        list(field, MAX_LIST, wire.iter(), |field, number| code_from_wire(field, *number))
    }
    fn write(&self) -> Vec<i32> {
        self.iter().copied().map(code_to_wire).collect()
    }
}

/// Numbers and flags that stand as they are.
macro_rules! plain {
    ($($name:ty),+) => { $(
        impl Field<$name> for $name {
            fn read(_field: &str, wire: $name) -> Result<Self, ConvertError> {
                Ok(wire)
            }
            fn write(&self) -> $name {
                *self
            }
        }
    )+ };
}

plain!(bool, u32, u64);

impl Field<u32> for u8 {
    fn read(field: &str, wire: u32) -> Result<Self, ConvertError> {
        fits(field, wire)
    }
    fn write(&self) -> u32 {
        (*self).into()
    }
}

impl Field<u32> for Month {
    fn read(field: &str, wire: u32) -> Result<Self, ConvertError> {
        month(field, wire)
    }
    fn write(&self) -> u32 {
        (*self).into()
    }
}

impl Field<u64> for TimestampMs {
    fn read(_field: &str, wire: u64) -> Result<Self, ConvertError> {
        Ok(Self(wire))
    }
    fn write(&self) -> u64 {
        self.0
    }
}

impl Field<Option<u64>> for Option<TimestampMs> {
    fn read(_field: &str, wire: Option<u64>) -> Result<Self, ConvertError> {
        Ok(wire.map(TimestampMs))
    }
    fn write(&self) -> Option<u64> {
        self.map(|time| time.0)
    }
}

impl Field<u64> for Height {
    fn read(_field: &str, wire: u64) -> Result<Self, ConvertError> {
        Ok(Self(wire))
    }
    fn write(&self) -> u64 {
        self.0
    }
}

/// Bytes that are text: an id, hash or key is random, so that no name and no birth date stands on the ledger.
/// One random id of 16 bytes in seven million is taken for text by accident; its maker draws another.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = bytes.get(..end).unwrap_or_default();
    // The first unprintable byte ends it, and random bytes have one soon.
    text.iter().all(|byte| (b' '..=b'~').contains(byte))
        // Few different bytes are a pattern (of tests), no name.
        && text.iter().collect::<std::collections::BTreeSet<_>>().len() >= 4
}

pub(super) fn plain_text(field: &str) -> ConvertError {
    let text = "printable text where random bytes must stand; nothing about a person goes on the ledger";
    ConvertError::new(field, ConvertReason::PlainText, text)
}

/// A message within a message, of types that convert already.
macro_rules! nested {
    ($($domain:ident = $wire:ident),+ $(,)?) => { $(
        impl $crate::convert::field::Field<Option<$crate::v1::$wire>> for $domain {
            fn read(field: &str, wire: Option<$crate::v1::$wire>) -> Result<Self, ConvertError> {
                $crate::convert::need(field, wire)?.try_into().at(field)
            }
            fn write(&self) -> Option<$crate::v1::$wire> {
                Some(self.into())
            }
        }
        impl $crate::convert::field::Field<Option<$crate::v1::$wire>> for Option<$domain> {
            fn read(field: &str, wire: Option<$crate::v1::$wire>) -> Result<Self, ConvertError> {
                wire.map(|wire| wire.try_into().at(field)).transpose()
            }
            fn write(&self) -> Option<$crate::v1::$wire> {
                self.as_ref().map(Into::into)
            }
        }
        impl $crate::convert::field::Field<Vec<$crate::v1::$wire>> for Vec<$domain> {
            fn read(field: &str, wire: Vec<$crate::v1::$wire>) -> Result<Self, ConvertError> {
                $crate::convert::list(field, MAX_LIST, wire.into_iter(), |_, one| one.try_into())
            }
            fn write(&self) -> Vec<$crate::v1::$wire> {
                self.iter().map(Into::into).collect()
            }
        }
    )+ };
}

/// Messages that are no more than their fields: `Domain = Wire { domain_field = wire_field, .. }`.
macro_rules! messages {
    ($($domain:ident = $wire:ident { $($field:ident = $name:ident),+ $(,)? }),+ $(,)?) => { $(
        impl TryFrom<$crate::v1::$wire> for $domain {
            type Error = ConvertError;
            fn try_from(wire: $crate::v1::$wire) -> Result<Self, ConvertError> {
                Ok(Self { $($field: $crate::convert::field::Field::read(stringify!($name), wire.$name)?),+ })
            }
        }
        impl From<&$domain> for $crate::v1::$wire {
            fn from(it: &$domain) -> Self {
                Self { $($name: $crate::convert::field::Field::write(&it.$field)),+ }
            }
        }
    )+ };
}

pub(super) use {messages, nested};
