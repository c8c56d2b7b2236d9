//! The one module over bincode: fixed-width little-endian integers, a limit on every decode, no trailing bytes.
//!
//! Whatever is stored, hashed or sent between nodes has exactly one encoding: [`decode`] re-encodes
//! and refuses bytes that differ. A hostile length meets the limit before it meets an allocator
//! (serde caps what it reserves ahead of elements that were read).

use bincode::Options as _;
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not the value they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the limit for this type.
    #[error("{found} bytes exceed the limit of {limit}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Length given, in bytes.
        found: usize,
    },
    /// Not an encoding of the type.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Decodes, but is not how the value is written.
    #[error("not the canonical encoding")]
    NotCanonical,
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes()
}

/// The encoding of `value`.
///
/// # Panics
/// If a `Serialize` implementation of ours fails, which none does.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    options().serialize(value).expect("our types always serialise into memory")
}

/// Decodes bytes from outside: at most `limit` bytes, canonical, nothing after.
///
/// # Errors
/// [`CodecError`], never a panic.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { limit, found: bytes.len() });
    }
    let value: T = options()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if encode(&value) != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}
