//! What a verifier needs beside an answer: certified headers, receipts' paths, values under a state root.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use epione_ledger::chain::PROOF_HEIGHTS;
use epione_proto::convert::{bytes_of_header, bytes_of_receipt, bytes_of_validators};
use epione_proto::v1 as pb;
use epione_types::merkle::Tree;
use epione_types::{BlockHeader, Height, Receipt, Turn};
use tokio::sync::OnceCell;

use super::error::RpcError;
use crate::feed::Block;
use crate::handle::{Committed, Expiry, Finality, NodeError, NodeHandle};

/// Blocks whose proofs are kept at hand: those that many submissions wait for now.
const BLOCKS_KEPT: usize = 16;

/// A header and why it is final.
pub(super) fn certified(header: &BlockHeader, finality: &Finality) -> pb::CertifiedHeader {
    let step = |turn: &Turn| pb::EpochStep {
        header_bytes: bytes_of_header(&turn.last),
        certificate: Some((&turn.certificate).into()),
        validator_set_bytes: bytes_of_validators(&turn.set),
    };
    pb::CertifiedHeader {
        epochs: finality.epochs.iter().map(step).collect(),
        header_bytes: bytes_of_header(header),
        descendant_bytes: finality.descendants.iter().map(bytes_of_header).collect(),
        certificate: Some((&finality.certificate).into()),
    }
}

/// Proof that a transaction can never commit any more.
pub(super) fn expired(expiry: &Expiry) -> pb::ExpiryProof {
    pb::ExpiryProof {
        header: Some(certified(&expiry.header, &expiry.finality)),
        parent_header_bytes: expiry.parent.as_ref().map(bytes_of_header).unwrap_or_default(),
        absence: Some((&expiry.absence).into()),
    }
}

/// Waits until the block at `height` is certified, and proves that the key held this value after it.
pub(super) async fn value(
    node: &NodeHandle,
    height: Height,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
) -> Result<pb::StateValueProof, RpcError> {
    if height == Height::ZERO {
        return Err(RpcError::NotCertified(height)); // genesis is not: there is nothing to seal
    }
    node.certified(height).await?;
    let finality = node.finality(height).await?.ok_or(RpcError::NotCertified(height))?;
    let proven = node.read(move |chain| {
        let header = chain.header(height)?.ok_or_else(|| NodeError::missing(chain, height))?;
        let path = chain.prove(height, &key);
        Ok::<_, NodeError>((header, path, key, chain.head().height))
    });
    let (header, path, key, last) = proven.await?;
    let first = last.minus(PROOF_HEIGHTS);
    let path = path.map_err(|_| RpcError::Pruned { asked: height.0, first, last })?;
    // Only present values are kept: it may have been another one then, or none.
    let holds = |value: Option<&[u8]>| path.verify(&header.state_root, &key, value).is_ok();
    let value = match value {
        value if holds(value.as_deref()) => value,
        _ if holds(None) => None,
        _ => return Err(RpcError::ValueNotKept(height.0)),
    };
    Ok(pb::StateValueProof {
        key: key.into(),
        value: value.map(Into::into),
        header: Some(certified(&header, &finality)),
        proof: Some((&path).into()),
    })
}

/// What all receipts of a certified block share.
struct Proven {
    header: pb::CertifiedHeader,
    receipts: Tree,
}

/// Proofs of receipts, each block's made once for all who wait for it.
pub(super) struct ReceiptProofs {
    node: NodeHandle,
    blocks: Mutex<BTreeMap<Height, Arc<OnceCell<Proven>>>>,
}

impl ReceiptProofs {
    pub(super) const fn new(node: NodeHandle) -> Self {
        Self { node, blocks: Mutex::new(BTreeMap::new()) }
    }

    /// Waits until the receipt's block is certified, and proves it.
    pub(super) async fn of(&self, committed: &Committed) -> Result<pb::ReceiptProof, RpcError> {
        let block = committed.block();
        let height = block.header.height;
        self.node.certified(height).await?;
        let cell = self.cell(height);
        let proven = cell.get_or_try_init(|| self.prove(block)).await?;
        let path = proven.receipts.path(usize::try_from(committed.index()).unwrap_or(usize::MAX));
        Ok(pb::ReceiptProof {
            receipt_bytes: bytes_of_receipt(committed.receipt()),
            path: path.as_ref().map(Into::into),
            header: Some(proven.header.clone()),
        })
    }

    fn cell(&self, height: Height) -> Arc<OnceCell<Proven>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = blocks.entry(height).or_default().clone();
        while blocks.len() > BLOCKS_KEPT {
            blocks.pop_first();
        }
        cell
    }

    async fn prove(&self, block: &Arc<Block>) -> Result<Proven, RpcError> {
        let height = block.header.height;
        let finality = self.node.finality(height).await?.ok_or(RpcError::NotCertified(height))?;
        let header = certified(&block.header, &finality);
        let block = block.clone();
        // A full block is thousands of hashes.
        let receipts = self.node.read(move |_| {
            let leaves = block.receipts.iter().map(Receipt::leaf).collect();
            Ok::<_, NodeError>(Tree::new(leaves))
        });
        Ok(Proven { header, receipts: receipts.await? })
    }
}
