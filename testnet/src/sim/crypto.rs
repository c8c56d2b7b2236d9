//! Signatures of the simulated world: a keyed hash in most runs, the real ones in some.
//!
//! The hash is keyed by a secret of the run, so that nobody in it signs for a key whose [`SimSigner`] they do not hold.
//! Keys themselves are real ed25519 keys: enrolment looks at them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use epione_types::sign::Zip215;
use epione_types::{Domain, PublicKey, SecretKey, Signature, Signer, Verifier};

/// How signatures are made in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A keyed hash.
    Fast,
    /// What nodes run.
    Ed25519,
}

/// The one predicate of a run.
#[derive(Debug, Clone, Copy)]
pub enum SimVerifier {
    /// Under the run's secret.
    Fast([u8; 32]),
    /// Real.
    Real(Zip215),
}

fn tag(secret: &[u8; 32], key: &PublicKey, message: &[u8]) -> Signature {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(&key.0);
    hasher.update(message);
    let half = *hasher.finalize().as_bytes();
    let mut bytes = [0; 64];
    let (left, right) = bytes.split_at_mut(32);
    left.copy_from_slice(&half);
    right.copy_from_slice(&half);
    Signature(bytes)
}

impl Verifier for SimVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        match self {
            Self::Fast(secret) => tag(secret, key, message) == *signature,
            Self::Real(real) => real.verify(key, message, signature),
        }
    }
    fn verify_each(&self, items: &[(PublicKey, &[u8], Signature)]) -> Vec<bool> {
        match self {
            Self::Fast(_) => items.iter().map(|(key, message, sig)| self.verify(key, message, sig)).collect(),
            Self::Real(real) => real.verify_each(items),
        }
    }
    fn verify_all(&self, items: &[(PublicKey, &[u8], Signature)]) -> bool {
        match self {
            Self::Fast(_) => items.iter().all(|(key, message, sig)| self.verify(key, message, sig)),
            Self::Real(real) => real.verify_all(items),
        }
    }
}

/// Somebody's key.
#[derive(Debug, Clone)]
pub enum SimSigner {
    /// The run's secret, and who signs.
    Fast([u8; 32], PublicKey),
    /// Real.
    Real(SecretKey),
}

impl Signer for SimSigner {
    fn public_key(&self) -> PublicKey {
        match self {
            Self::Fast(_, key) => *key,
            Self::Real(key) => key.public_key(),
        }
    }
    fn sign(&self, message: &[u8]) -> Signature {
        match self {
            Self::Fast(secret, key) => tag(secret, key, message),
            Self::Real(key) => key.sign(message),
        }
    }
}

/// Everybody's keys, by name.
#[derive(Debug, Clone)]
pub struct Keys {
    scheme: Scheme,
    secret: [u8; 32],
    made: RefCell<BTreeMap<String, Arc<SimSigner>>>,
}

impl Keys {
    /// Of a run.
    #[must_use]
    pub fn new(scheme: Scheme, seed: u64) -> Self {
        Self {
            scheme,
            secret: Domain::new("epione/sim-signatures").hash(&seed.to_le_bytes()).0,
            made: RefCell::default(),
        }
    }

    /// The predicate.
    #[must_use]
    pub const fn verifier(&self) -> SimVerifier {
        match self.scheme {
            Scheme::Fast => SimVerifier::Fast(self.secret),
            Scheme::Ed25519 => SimVerifier::Real(Zip215),
        }
    }

    /// The key of this name: the same in every run, so that names can be compared.
    #[must_use]
    pub fn signer(&self, name: &str) -> Arc<SimSigner> {
        if let Some(signer) = self.made.borrow().get(name) {
            return signer.clone();
        }
        let key = SecretKey::from_seed(&Domain::new("epione/sim-key").hash(name.as_bytes()).0);
        let signer = Arc::new(match self.scheme {
            Scheme::Fast => SimSigner::Fast(self.secret, key.public_key()),
            Scheme::Ed25519 => SimSigner::Real(key),
        });
        self.made.borrow_mut().insert(name.to_owned(), signer.clone());
        signer
    }
}
