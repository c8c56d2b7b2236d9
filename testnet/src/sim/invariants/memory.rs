//! What a replica keeps for peers is bounded by n, the window and the size of a batch, whatever they send.

use epione_types::ValidatorSet;

use super::Check;

/// Of an epoch's set.
pub(super) fn keeps(node: usize, set: &ValidatorSet, (bytes, entries): (usize, usize)) -> Check {
    let (n, window) = (set.len(), usize::try_from(set.params.window).unwrap_or(64));
    // Heights (low, low+2W], and one above for each of a few certificates; three views of each (R2, R28).
    let slots = 2 * window + 2;
    let (views, kinds) = (3, 2);
    let entries_max = slots * (n + views * kinds * n) + 2 * n;
    // A proposal for each view of a slot, and what was ordered there.
    let bytes_max = slots * (views + 1) * set.params.batch_bytes_max as usize;
    if bytes <= bytes_max && entries <= entries_max {
        return Ok(());
    }
    Err(format!(
        "node {node} keeps {bytes} bytes of batches and {entries} votes; at most {bytes_max} and {entries_max} are needed"
    ))
}
