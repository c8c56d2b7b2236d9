//! Whether this node is one to send clients to.

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use std::time::Duration;

use epione_types::{Height, ValidatorSet};

use crate::handle::{NodeHandle, Status};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How a node stands towards the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readiness {
    /// It has what the others have, as f + 1 of them told.
    pub(super) synced: bool,
    /// And it votes, with a quorum in reach.
    pub(super) serving: bool,
}

/// How this node stands now.
pub(super) fn readiness(node: &NodeHandle) -> Readiness {
    let linked = node.peers().iter().filter(|peer| peer.link.is_some()).count();
    of(&node.status(), &node.epoch().set, linked)
}

fn of(status: &Status, set: &ValidatorSet, linked: usize) -> Readiness {
    let driver = &status.driver;
    let others = set.len().saturating_sub(usize::from(driver.epoch.is_member()));
    let synced = is_synced(status.head.height, driver.peers_low.values().copied().collect(), set, others);
    Readiness { synced, serving: synced && driver.is_voting() && linked.saturating_add(1) >= set.quorum() }
}

/// Within a window of what f + 1 of the `others` have told: one of them is honest, and f liars cannot make it up. Before so
/// many have told anything, a node that was just started does not know what it has missed.
fn is_synced(height: Height, mut told: Vec<Height>, set: &ValidatorSet, others: usize) -> bool {
    let needed = set.faults().saturating_add(1).min(others);
    let Some(last) = needed.checked_sub(1) else { return true };
    told.sort_unstable_by(|a, b| b.cmp(a));
    told.get(last).is_some_and(|sure| height.plus(set.params.window) >= *sure)
}

/// What the health service says of these services, and of the server as a whole, whose name is empty.
pub(super) async fn tell(reporter: &HealthReporter, services: &[&'static str], serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in services.iter().chain(&[""]) {
        reporter.set_service_status(*name, status).await;
    }
}

/// Keeps its answers up to date until `stop`.
pub(super) async fn report(
    node: NodeHandle,
    reporter: HealthReporter,
    services: &'static [&'static str],
    stop: CancellationToken,
) {
    let mut told = false;
    while !stop.is_cancelled() {
        let serving = readiness(&node).serving;
        if serving != told {
            told = serving;
            tell(&reporter, services, serving).await;
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
    tell(&reporter, services, false).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::id::OrgId;
    use epione_types::{Epoch, Params, PublicKey, Validator};

    fn set(n: usize) -> ValidatorSet {
        let key = PublicKey([1; 32]);
        let validator = Validator { organisation: OrgId([1; 16]), public_key: key, network_key: key };
        ValidatorSet { epoch: Epoch::ZERO, validators: vec![validator; n], params: Params::default() }
    }

    #[test]
    fn f_liars_make_nobody_late_and_f_plus_one_are_believed() {
        let synced = |height: u64, told: &[u64]| {
            is_synced(Height(height), told.iter().copied().map(Height).collect(), &set(4), 3)
        };
        assert!(synced(100, &[101, u64::MAX]), "one liar");
        assert!(!synced(100, &[200, u64::MAX]), "two say so");
        assert!(synced(100, &[108, 108, 108]), "within the window");
        assert!(!synced(100, &[109, 109]));
        assert!(synced(0, &[0, 0]));
    }

    #[test]
    fn who_has_heard_of_too_few_does_not_know_what_it_has_missed() {
        for (n, others, needed) in
            [(1, 0, 0), (1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 2), (4, 4, 2), (7, 6, 3)]
        {
            let synced = |told: usize| is_synced(Height(5), vec![Height(5); told], &set(n), others);
            let least = (0..=others).find(|told| synced(*told));
            assert_eq!(least, Some(needed), "of {n}, with {others} others");
        }
    }
}
