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
    /// It has what the others have, as far as it knows.
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
    let lows = driver.peers_low.values().copied().chain([driver.waiting.low]);
    let synced = is_synced(status.head.height, lows, set);
    let voting = driver.fault.is_none() && driver.waiting.halted.is_none() && driver.epoch.is_member();
    Readiness { synced, serving: synced && voting && linked.saturating_add(1) >= set.quorum() }
}

/// Within a window of what f + 1 validators say they have: one of them is honest, and f liars cannot make it up.
fn is_synced(height: Height, lows: impl Iterator<Item = Height>, set: &ValidatorSet) -> bool {
    let mut lows: Vec<Height> = lows.collect();
    lows.sort_unstable_by(|a, b| b.cmp(a));
    let sure = lows.get(set.faults()).copied().unwrap_or(Height::ZERO);
    height.plus(set.params.window) >= sure
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
        let synced =
            |height: u64, lows: &[u64]| is_synced(Height(height), lows.iter().copied().map(Height), &set(4));
        assert!(synced(100, &[100, 101, u64::MAX]), "one liar");
        assert!(!synced(100, &[100, 200, u64::MAX]), "two say so");
        assert!(synced(100, &[100, 108, 108, 108]), "within the window");
        assert!(!synced(100, &[100, 109, 109]));
        assert!(synced(0, &[0]));
        assert!(is_synced(Height(0), core::iter::once(Height(0)), &set(1)));
    }
}
