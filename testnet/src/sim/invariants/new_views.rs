//! An honest node begins a view once, with one list: for each height above the highest certificate that its ViewChanges show,
//! the digest prepared in the highest view, and the null batch where nothing was.

use std::collections::BTreeMap;

use epione_consensus::{NewView, Signed};
use epione_types::{Batch, Epoch, Hash, Height, View};

use super::Check;

/// The list with which each node entered a view.
#[derive(Debug, Default)]
pub(super) struct NewViews {
    entered: BTreeMap<(usize, Epoch, View), BTreeMap<Height, Hash>>,
}

impl NewViews {
    /// `begin` is the last height before the epoch.
    pub(super) fn entered(&mut self, node: usize, begin: Height, new_view: &Signed<NewView>) -> Check {
        let body = &new_view.body;
        let list: BTreeMap<Height, Hash> =
            body.pre_prepares.iter().map(|vote| (vote.vote.height, vote.vote.digest)).collect();
        if list != follows(begin, body) {
            return Err(format!("node {node} enters view {} with another list than follows", body.view));
        }
        // A log that begins anew repeats the last one.
        if *self.entered.entry((node, body.epoch, body.view)).or_insert_with(|| list.clone()) != list {
            return Err(format!("node {node} enters view {} twice, with two lists", body.view));
        }
        Ok(())
    }
}

fn follows(begin: Height, body: &NewView) -> BTreeMap<Height, Hash> {
    let changes = || body.view_changes.iter().map(|change| &change.body);
    let base = changes().map(|change| change.certified(begin)).max().unwrap_or(begin);
    let mut best: BTreeMap<Height, (View, Hash)> = BTreeMap::new();
    for one in changes().flat_map(|change| &change.prepared).filter(|one| one.height() > base) {
        let known = best.entry(one.height()).or_insert((one.view(), one.digest()));
        if known.0 < one.view() {
            *known = (one.view(), one.digest());
        }
    }
    let top = best.keys().next_back().copied().unwrap_or(base);
    let digest = |height| best.get(&height).map_or_else(Batch::null_digest, |(_, digest)| *digest);
    (base.next().0..=top.0).map(Height).map(|height| (height, digest(height))).collect()
}
