//! Ids and numbers as newtypes: a height cannot be passed for a view, nor a grant for a record.
//!
//! Byte ids are written as fixed-size arrays (no length prefix) in the binary codec and as
//! lower-case hex in JSON. Tested here and in `tests/golden.rs`.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text that is no id: names the type, what it needs and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} needs {bytes} bytes as {digits} hex digits, found {found} characters or a non-hex digit", digits = bytes * 2)]
pub struct IdError {
    /// The type that was wanted.
    pub kind: &'static str,
    /// Its length in bytes.
    pub bytes: usize,
    /// Length of the text that was given, in characters.
    pub found: usize,
}

/// Fixed-size bytes in both worlds: hex for people, packed little-endian words for the codec
/// (the same bytes as an array, without a call per byte).
pub(crate) fn serialize_bytes<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeTuple;
    if serializer.is_human_readable() {
        return serializer.serialize_str(&hex::encode(bytes));
    }
    let (words, _) = bytes.as_chunks::<8>();
    let mut tuple = serializer.serialize_tuple(words.len())?;
    for word in words {
        tuple.serialize_element(&u64::from_le_bytes(*word))?;
    }
    tuple.end()
}

/// Inverse of [`serialize_bytes`]. `N` is a multiple of 8.
pub(crate) fn deserialize_bytes<'de, const N: usize, D: Deserializer<'de>>(
    kind: &'static str,
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    struct Words<const N: usize>(&'static str);
    impl<'de, const N: usize> serde::de::Visitor<'de> for Words<N> {
        type Value = [u8; N];
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} ({N} bytes)", self.0)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0u8; N];
            for chunk in bytes.as_chunks_mut::<8>().0 {
                let word: u64 = seq.next_element()?.ok_or_else(|| A::Error::custom("too few bytes"))?;
                *chunk = word.to_le_bytes();
            }
            Ok(bytes)
        }
    }
    if deserializer.is_human_readable() {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        return parse_hex(kind, &text).map_err(D::Error::custom);
    }
    deserializer.deserialize_tuple(N / 8, Words::<N>(kind))
}

/// Exactly `N` bytes of hex.
pub(crate) fn parse_hex<const N: usize>(kind: &'static str, text: &str) -> Result<[u8; N], IdError> {
    let mut bytes = [0u8; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError {
        kind,
        bytes: N,
        found: text.chars().count(),
    })?;
    Ok(bytes)
}

/// Defines an id of `$len` bytes (a multiple of 8).
macro_rules! byte_id {
    ($(#[$meta:meta])* $name:ident, $len:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] { &self.0 }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..4]))
            }
        }
        impl core::str::FromStr for $name {
            type Err = $crate::id::IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::parse_hex(stringify!($name), text).map(Self)
            }
        }
        impl TryFrom<&[u8]> for $name {
            type Error = $crate::id::IdError;
            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self).map_err(|_| $crate::id::IdError {
                    kind: stringify!($name), bytes: $len, found: bytes.len(),
                })
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::id::serialize_bytes(&self.0, serializer)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::id::deserialize_bytes(stringify!($name), deserializer).map(Self)
            }
        }
    };
}
pub(crate) use byte_id;

byte_id!(
    /// The chain: hash of its genesis.
    ChainId, 32
);
byte_id!(
    /// A transaction: tagged hash of its body bytes, never of its signatures.
    TxId, 32
);
byte_id!(
    /// Chosen by the client, unique per sender until the transaction expires: 16 random bytes.
    RequestId, 16
);
byte_id!(
    /// An organisation of the consortium.
    OrgId, 16
);
byte_id!(
    /// A practitioner within an organisation.
    PractitionerId, 16
);
byte_id!(
    /// A patient's pseudonym; the link to a person is kept off the ledger.
    PatientId, 16
);
byte_id!(
    /// A representative (parent, guardian, attorney, executor).
    RepresentativeId, 16
);
byte_id!(
    /// A health record.
    RecordId, 16
);
byte_id!(
    /// A grant or denial.
    GrantId, 16
);
byte_id!(
    /// A research study.
    StudyId, 16
);
byte_id!(
    /// A guest link.
    LinkId, 16
);
byte_id!(
    /// A device within an organisation.
    DeviceId, 16
);
byte_id!(
    /// A request for access.
    AccessRequestId, 16
);
byte_id!(
    /// A proposal of governance.
    ProposalId, 16
);
byte_id!(
    /// An opaque reference: a storage pointer or a mandate, resolved off the ledger by who issued it.
    OpaqueRef, 16
);

/// Defines a `u64` number with checked neighbours.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// The number `by` above, capped at the maximum: a hostile maximum can neither panic nor wrap.
            #[must_use]
            pub const fn plus(self, by: u64) -> Self { Self(self.0.saturating_add(by)) }
            /// The number `by` below, floored at zero.
            #[must_use]
            pub const fn minus(self, by: u64) -> Self { Self(self.0.saturating_sub(by)) }
            /// The next one.
            #[must_use]
            pub const fn next(self) -> Self { self.plus(1) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = core::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Self) }
        }
    };
}

number!(
    /// Position in the ledger; PBFT's sequence number. Genesis is 0.
    Height
);
number!(
    /// PBFT view within an epoch.
    View
);
number!(
    /// Term of one validator set. Genesis starts epoch 0.
    Epoch
);
number!(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    TimestampMs
);

/// Position of a validator in its epoch's ordered set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValidatorIndex(pub u16);

impl ValidatorIndex {
    /// As an array index.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}
impl fmt::Display for ValidatorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for ValidatorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where an event stands: the place to resume a subscription after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct EventCursor {
    /// Block height.
    pub height: Height,
    /// Index of the event within its block, counted over all receipts.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_names_what_is_wrong() {
        let id = RequestId([7; 16]);
        assert_eq!(id.to_string().parse::<RequestId>().unwrap(), id);
        let error = "07".parse::<RequestId>().unwrap_err();
        assert_eq!(error, IdError { kind: "RequestId", bytes: 16, found: 2 });
        assert!(error.to_string().contains("32 hex digits"));
    }

    #[test]
    fn packed_words_are_the_bytes_themselves() {
        let bytes: [u8; 32] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(crate::codec::encode(&ChainId(bytes)), bytes);
    }

    #[test]
    fn numbers_neither_wrap_nor_panic() {
        assert_eq!(Height(u64::MAX).next(), Height(u64::MAX));
        assert_eq!(Height::ZERO.minus(1), Height::ZERO);
    }
}
