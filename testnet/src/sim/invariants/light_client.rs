//! Every certificate follows from the genesis (R21): the last header of each epoch, certified by the known set, names the
//! next one; and at the end every node that is up can show this walk.

use std::collections::BTreeMap;

use epione_ledger::chain::Chain;
use epione_types::{BlockHeader, Certificate, ChainId, Epoch, Hash, Height, ValidatorSet};

use super::Check;
use crate::sim::crypto::SimVerifier;
use crate::sim::roll::Roll;

/// What one knows who has the genesis and every certificate so far.
#[derive(Debug)]
pub(super) struct LightClient {
    chain: ChainId,
    verifier: SimVerifier,
    /// Sets that follow.
    known: Vec<ValidatorSet>,
    /// Hash of each header, its epoch, and which set it names.
    headers: BTreeMap<Height, (Hash, Epoch, Hash)>,
    /// Heights whose certificate was followed.
    followed: BTreeMap<Height, Hash>,
}

impl LightClient {
    pub(super) fn new(chain: ChainId, first: ValidatorSet, verifier: SimVerifier) -> Self {
        Self { chain, verifier, known: vec![first], headers: BTreeMap::new(), followed: BTreeMap::new() }
    }

    pub(super) fn executed(&mut self, header: &BlockHeader) {
        self.headers.insert(header.height, (header.hash(), header.epoch, header.next_epoch_hash));
    }

    pub(super) fn certified(&mut self, roll: &Roll, certificate: &Certificate) -> Check {
        let Certificate { epoch, height, header_hash, .. } = certificate;
        if self.followed.get(height) == Some(header_hash) {
            return Ok(());
        }
        let Some(set) = usize::try_from(epoch.0).ok().and_then(|at| self.known.get(at)) else {
            return Err(format!(
                "a certificate of height {height} in epoch {epoch}; from genesis one gets to epoch {}",
                self.known.len() - 1
            ));
        };
        if !certificate.verify(self.chain, set, &self.verifier) {
            return Err(format!("the certificate of height {height} is not by the set that its epoch has"));
        }
        let Some((hash, of, next)) = self.headers.get(height) else { return Ok(()) };
        if (hash, of) != (header_hash, epoch) {
            return Err(format!("the certificate of height {height} is for another header or epoch"));
        }
        self.followed.insert(*height, *header_hash);
        if *next != set.hash() {
            match roll.era(Epoch(epoch.0 + 1)).filter(|era| era.set.hash() == *next) {
                Some(era) => self.known.push(era.set.clone()),
                None => return Err(format!("header {height} names validators that nothing decided")),
            }
        }
        Ok(())
    }

    pub(super) fn walk(&self, chain: &Chain) -> Check {
        let read = |error: epione_ledger::chain::ChainError| error.to_string();
        let mut set = self.known[0].clone();
        while let Some((end, next)) = chain.epoch(Epoch(set.epoch.0 + 1)).map_err(read)? {
            let header = chain.header(end).map_err(read)?;
            let certificate = chain.certificate(end).map_err(read)?;
            let (Some(header), Some(certificate)) = (header, certificate) else {
                return Err(format!("nothing to show for the end of epoch {}, height {end}", set.epoch));
            };
            let sound = header.hash() == certificate.header_hash
                && certificate.verify(self.chain, &set, &self.verifier)
                && header.next_epoch_hash == next.hash();
            if !sound {
                return Err(format!("the end of epoch {}, height {end}, names no successor", set.epoch));
            }
            set = next;
        }
        match chain.certified() {
            Some(last) if !last.verify(self.chain, &set, &self.verifier) => {
                Err(format!("the certificate of height {} is not by epoch {}", last.height, set.epoch))
            }
            _ => Ok(()),
        }
    }
}
