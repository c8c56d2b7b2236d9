//! A certificate that an honest node stores or sends holds valid Seals of q distinct members of its height's epoch.

use std::collections::BTreeSet;

use epione_types::block::seal_bytes;
use epione_types::{Certificate, ChainId, Domain, Hash, ValidatorSet, Verifier as _, codec};

use super::Check;
use crate::sim::crypto::SimVerifier;

/// Certificates seen; each is checked once.
#[derive(Debug)]
pub(super) struct Certificates {
    chain: ChainId,
    set: ValidatorSet,
    verifier: SimVerifier,
    good: BTreeSet<Hash>,
}

impl Certificates {
    pub(super) fn new(chain: ChainId, set: ValidatorSet, verifier: SimVerifier) -> Self {
        Self { chain, set, verifier, good: BTreeSet::new() }
    }

    pub(super) fn seen(&mut self, node: usize, certificate: &Certificate) -> Check {
        let name = Domain::new("epione/sim-certificate").hash(&codec::encode(certificate));
        if self.good.contains(&name) {
            return Ok(());
        }
        let height = certificate.height;
        if certificate.epoch != self.set.epoch {
            return Err(format!(
                "node {node}: the certificate of height {height} is of epoch {}",
                certificate.epoch
            ));
        }
        // Counted anew here: n/2 + f/2 and a bit, of distinct members with valid signatures.
        let message = seal_bytes(self.chain, certificate.epoch, height, certificate.header_hash);
        let mut signed = BTreeSet::new();
        for (who, signature) in certificate.signatures.iter() {
            let valid = self
                .set
                .get(who)
                .is_some_and(|member| self.verifier.verify(&member.public_key, &message, &signature));
            if valid {
                signed.insert(who);
            }
        }
        let (n, f) = (self.set.len(), (self.set.len() - 1) / 3);
        if 2 * signed.len() <= n + f {
            let count = signed.len();
            return Err(format!(
                "node {node}: the certificate of height {height} has {count} valid Seals of {n}"
            ));
        }
        self.good.insert(name);
        Ok(())
    }
}
