//! What was lost: compares what clients were promised with what the nodes hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use epione_client::{ClientError, EpioneClient};
use epione_proto::v1 as pb;
use epione_types::codes::Refusal;
use epione_types::{Outcome, Receipt, TxId};

use tokio::task::JoinSet;

use super::Failed;
use super::load::Answered;

/// Where each transaction took effect, in one node's blocks.
pub(super) type Effects = BTreeMap<TxId, Vec<(u64, u32)>>;

/// Reads all blocks of one node up to a height. Second: the height of the snapshot that it begins with, if it does.
pub(super) async fn effects(client: &EpioneClient, tip: u64) -> Result<(Effects, u64), Failed> {
    let (mut found, mut base) = (Effects::new(), 0);
    for height in 1..=tip {
        let request = pb::GetBlockRequest { height, with_transactions: false, with_receipts: true };
        let block = match client.get_block(request).await {
            Ok(answer) => answer.block,
            Err(ClientError::Api(error)) if error.is_elsewhere() => {
                base = height;
                continue;
            }
            Err(error) => return Err(Failed::of(error)),
        };
        let block = block.ok_or_else(|| Failed(format!("block {height} is not there")))?;
        for receipt in block.receipts {
            let receipt = Receipt::try_from(receipt).map_err(Failed::of)?;
            // Ordered once more after a change of view: the first receipt stands, and this one changed nothing.
            if receipt.outcome != Outcome::Refused(Refusal::Duplicate) {
                found.entry(receipt.tx_id).or_default().push((receipt.height.0, receipt.index));
            }
        }
    }
    Ok((found, base))
}

/// How long a node may take to answer what it may refuse.
pub(super) const REFUSED_WITHIN: Duration = Duration::from_millis(500);
/// Blocks that are asked for at once.
const AT_ONCE: u64 = 16;

/// How many blocks up to a height this node gives as another one does, and how many it does not give.
pub(super) async fn same_blocks(
    node: &EpioneClient,
    other: &EpioneClient,
    tip: u64,
) -> Result<(u64, u64), Failed> {
    let (mut same, mut none) = (0, 0);
    for first in (1..=tip).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
        let mut asking = JoinSet::new();
        for height in first..=tip.min(first + AT_ONCE - 1) {
            let (node, other) = (node.clone(), other.clone());
            asking.spawn(async move {
                let request = pb::GetBlockRequest { height, with_transactions: true, with_receipts: true };
                // Signers may differ from node to node, and nothing else.
                let bare =
                    |block: Option<pb::Block>| block.map(|block| pb::Block { certificate: None, ..block });
                let wanted = bare(other.get_block(request).await.map_err(Failed::of)?.block);
                match node.get_block(request).await {
                    Ok(answer) if bare(answer.block.clone()) == wanted => Ok(true),
                    Ok(_) => Err(Failed(format!("block {height} is another than the others have"))),
                    Err(error) if error.retryable().is_some() => Ok(false),
                    Err(error) => Err(Failed(format!("of block {height} the node says: {error}"))),
                }
            });
        }
        while let Some(answer) = asking.join_next().await {
            if answer.map_err(Failed::of)?? { same += 1 } else { none += 1 }
        }
    }
    Ok((same, none))
}

/// Every promise that a node does not keep, in words. None: nothing was lost. What stands below the snapshot of height `base`
/// that it begins with is for others to keep.
pub(super) fn broken(promises: &[Answered], node: usize, (held, base): (&Effects, u64)) -> Vec<String> {
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for Answered { id, height, index } in promises {
        let place = held.get(id).map(Vec::as_slice).unwrap_or_default();
        match place {
            [] if *height <= base => {}
            [] => broken
                .push(format!("{id} was answered COMMITTED in block {height}, and node {node} has none")),
            [only] if only == &(*height, *index) => {}
            [(other, at)] => broken.push(format!(
                "{id} was answered COMMITTED as {height}/{index}, and on node {node} it is {other}/{at}"
            )),
            more => broken.push(format!("{id} took effect {} times on node {node}", more.len())),
        }
        if !seen.insert(id) {
            broken.push(format!("{id} was answered twice"));
        }
    }
    // Once each, those that nobody asked about too.
    let twice = held.iter().filter(|(id, places)| places.len() > 1 && !seen.contains(id));
    broken
        .extend(twice.map(|(id, places)| format!("{id} took effect {} times on node {node}", places.len())));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> TxId {
        TxId([n; 32])
    }

    fn promise(n: u8, height: u64) -> Answered {
        Answered { id: id(n), height, index: 0 }
    }

    #[test]
    fn every_way_to_lose_a_promise_is_seen() {
        let held =
            Effects::from([(id(1), vec![(5, 0)]), (id(2), vec![(5, 1), (6, 0)]), (id(3), vec![(7, 0)])]);
        assert_eq!(
            broken(
                &[promise(1, 5), promise(3, 7)],
                0,
                (&Effects::from([(id(1), vec![(5, 0)]), (id(3), vec![(7, 0)])]), 0)
            ),
            Vec::<String>::new()
        );
        let said = |promises: &[Answered]| broken(promises, 2, (&held, 4)).join("\n");
        assert!(said(&[promise(4, 5)]).contains("node 2 has none"));
        assert!(!said(&[promise(4, 4)]).contains("node 2 has none"), "below its snapshot");
        assert!(said(&[promise(1, 6)]).contains("6/0, and on node 2 it is 5/0"));
        assert!(said(&[promise(2, 5)]).contains("took effect 2 times"));
        assert!(said(&[promise(1, 5)]).contains("took effect 2 times"), "one that nobody was told of, too");
        assert!(said(&[promise(1, 5), promise(1, 5)]).contains("answered twice"));
    }
}
