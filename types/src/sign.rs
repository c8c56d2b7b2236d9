//! Ed25519 keys and the one signature predicate of the chain (R29).
//!
//! Validity is ZIP-215 (cofactored), for single and batch verification alike: the obvious batch call
//! of other libraries answers differently with other neighbours and would split the chain. The
//! published edge vectors are in `tests/signatures.rs`. Weak keys verify under ZIP-215 with anything,
//! so enrolment refuses them ([`PublicKey::is_weak`]).

use core::fmt;

use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use crate::id::byte_id;

byte_id!(
    /// An ed25519 public key, 32 bytes as encoded by RFC 8032.
    PublicKey, 32
);
byte_id!(
    /// An ed25519 signature, 64 bytes.
    Signature, 64
);

impl PublicKey {
    /// True for a key of small order or one that is no point at all: it must never be enrolled.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_or(true, |key| key.is_weak())
    }
}

/// A secret signing key. Zeroised when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// From a 32-byte seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// The seed, for storing. Zeroised when dropped.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// Port: whoever can sign for one key. Signing is deterministic, so what is sent again is the same bytes (R5).
pub trait Signer {
    /// The key that verifies these signatures.
    fn public_key(&self) -> PublicKey;
    /// Signature over exactly `message`.
    fn sign(&self, message: &[u8]) -> Signature;
}

impl Signer for SecretKey {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

/// Port: the signature predicate. The simulator swaps in a fast keyed hash.
pub trait Verifier {
    /// Is `signature` one of `key` over exactly `message`?
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;

    /// The same answer for each item, however they are grouped.
    fn verify_each(&self, items: &[(PublicKey, &[u8], Signature)]) -> Vec<bool> {
        items.iter().map(|(key, message, signature)| self.verify(key, message, signature)).collect()
    }

    /// Are all of them valid?
    fn verify_all(&self, items: &[(PublicKey, &[u8], Signature)]) -> bool {
        items.iter().all(|(key, message, signature)| self.verify(key, message, signature))
    }
}

/// ZIP-215 over ed25519: what every node runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zip215;

/// Below this many signatures a batch costs more than it saves.
const BATCH_FROM: usize = 4;

impl Zip215 {
    fn item(key: &PublicKey, message: &[u8], signature: &Signature) -> ed25519_zebra::batch::Item {
        let key = ed25519_zebra::VerificationKeyBytes::from(key.0);
        (key, ed25519_zebra::Signature::from(signature.0), message).into()
    }
}

impl Verifier for Zip215 {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        Self::item(key, message, signature).verify_single().is_ok()
    }

    fn verify_each(&self, items: &[(PublicKey, &[u8], Signature)]) -> Vec<bool> {
        if self.verify_all(items) {
            return vec![true; items.len()];
        }
        items.iter().map(|(key, message, signature)| self.verify(key, message, signature)).collect()
    }

    fn verify_all(&self, items: &[(PublicKey, &[u8], Signature)]) -> bool {
        if items.len() < BATCH_FROM {
            return items.iter().all(|(key, message, signature)| self.verify(key, message, signature));
        }
        let mut batch = ed25519_zebra::batch::Verifier::new();
        for (key, message, signature) in items {
            batch.queue(Self::item(key, message, signature));
        }
        // Blinding factors only: with unpredictable ones the answer is the single one's but for a chance of 2^-128.
        batch.verify(rand_core::UnwrapErr(getrandom::SysRng)).is_ok()
    }
}
