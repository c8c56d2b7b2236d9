//! Lets some clients wait for ever: takes none of their transactions from others, hands on none of its own, and so never
//! proposes what it was not given by those clients themselves.

use bytes::Bytes;
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::SignedTx;

use super::{Actor, Stage};

#[derive(Debug)]
pub(super) struct Censor;

/// Half of all keys are out of favour.
fn is_disliked(tx: &SignedTx) -> bool {
    tx.signatures.first().is_some_and(|sender| sender.public_key.0[7] & 1 == 1)
}

impl Actor for Censor {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, class: Class, bytes: &Bytes) -> bool {
        let Some(Frame::Transactions(txs)) = bulk(class, bytes) else { return true };
        let disliked = txs.iter().any(is_disliked);
        if disliked {
            stage.deed();
        }
        !disliked
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let Some(Frame::Transactions(mut txs)) = bulk(class, &bytes) else {
            return stage.send(to, class, bytes);
        };
        let before = txs.len();
        txs.retain(|tx| !is_disliked(tx));
        if txs.len() < before {
            stage.deed();
        }
        if !txs.is_empty() {
            stage.frame(to, &Frame::Transactions(txs));
        }
    }
}

fn bulk(class: Class, bytes: &Bytes) -> Option<Frame> {
    (class == Class::Bulk).then(|| Frame::decode(bytes).ok()).flatten()
}
