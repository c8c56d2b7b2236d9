//! Each block names its parent's hash, its batch hashes to the digest it names, and its lists to their roots.

use std::collections::BTreeMap;

use epione_consensus::Payload;
use epione_types::{BlockHeader, ChainId, Domain, Hash, Height, Receipt};

use super::Check;

/// Header hashes by height.
#[derive(Debug)]
pub(super) struct ChainLinks {
    hashes: BTreeMap<Height, Hash>,
}

impl ChainLinks {
    pub(super) fn new(chain: ChainId) -> Self {
        Self { hashes: BTreeMap::from([(Height::ZERO, Hash(chain.0))]) }
    }

    pub(super) fn executed(
        &mut self,
        header: &BlockHeader,
        payload: &Payload,
        receipts: &[Receipt],
    ) -> Check {
        let height = header.height;
        if self.hashes.get(&height.minus(1)) != Some(&header.parent) {
            return Err(format!("block {height} names parent {}, which is no block's", header.parent));
        }
        let digest = Domain::BATCH.hash(payload.bytes());
        if digest != header.batch_digest {
            return Err(format!("block {height} names batch {}, its batch is {digest}", header.batch_digest));
        }
        if receipts.len() != payload.batch().txs().len() {
            let (txs, found) = (payload.batch().txs().len(), receipts.len());
            return Err(format!("block {height} has {txs} transactions and {found} receipts"));
        }
        for (index, (receipt, tx)) in receipts.iter().zip(payload.batch().txs()).enumerate() {
            let named = (receipt.height, receipt.index as usize, receipt.tx_id) == (height, index, tx.id());
            if !named {
                return Err(format!("receipt {index} of block {height} is of another transaction"));
            }
        }
        self.hashes.insert(height, header.hash());
        Ok(())
    }
}
