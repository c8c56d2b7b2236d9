//! Far behind: a snapshot in the place of blocks (R23).
//!
//! ```text
//!  blocks are wanted, many ─▶ ask one peer after the other ─▶ manifest verified ─▶ chunks, from all ─▶ whole: reopen
//!                                     │ none has one                                  │ nothing comes
//!                                     └───────────────▶ blocks, as ever ◀─────────────┘
//! ```
//!
//! Nothing depends on it: whoever is asked may be silent, lie or have nothing, and blocks are fetched in the end. What a
//! peer sends is verified before it is kept, and who sent what is wrong is asked for no more of it. While chunks come no
//! blocks are asked for: they would be executed for nothing. Tested by `tests/snapshots.rs` and the simulator.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use epione_consensus::Stage;
use epione_ledger::snapshot::{Fetched, SnapshotId};
use epione_types::{Height, ValidatorIndex};
use tracing::{info, warn};

use super::{Driver, Ports};
use crate::conduct::Offence;
use crate::explain::SnapshotFetch;
use crate::ports::{Job, Workers as _};
use crate::snapshots::{Making, SnapshotAnswer, SnapshotJob, Snapshots, Trouble};
use crate::wire::Frame;

/// Chunks that one peer is asked for at a time: it reads as many for one peer (`jobs::SERVING_MAX`).
const CHUNKS_OF_PEER: usize = 2;
/// Chunks that are asked for at a time.
pub(super) const CHUNKS_MAX: usize = 16;
/// How long a peer has for a manifest or a chunk, in ms: half a MiB over a bad link.
const PATIENCE_MS: u64 = 10_000;
/// After so long without a chunk the snapshot is given up, in ms.
const STALLED_MS: u64 = 60_000;
/// After nobody had a snapshot, nobody is asked for so long, in ms.
const PAUSE_MS: u64 = 60_000;
/// Calls that wait for a snapshot.
const WANTED_MAX: usize = 16;
/// How often one is begun for those who wait.
const TRIES_MAX: usize = 5;
/// Between two steps of making one, in ms, at least and at most: consensus comes first.
const REST_MS: core::ops::RangeInclusive<u64> = 10..=500;
/// How many times as long as the step before: then making one takes less than a tenth from the blocks (`benches/snapshot`).
const REST_STEPS: u64 = 3;
/// For so long making one is in no hurry, in ms: what is overwritten meanwhile is kept in memory.
const UNHURRIED_MS: u64 = 60_000;
/// Between two looks for the certificate that a made one waits for, in ms.
const LOOK_MS: u64 = 500;

/// A chunk that was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    peer: ValidatorIndex,
    at: u64,
    /// It came, and is being checked.
    came: bool,
}

/// A snapshot whose chunks are being fetched.
#[derive(Debug)]
struct Chunks {
    id: SnapshotId,
    height: Height,
    count: u32,
    bytes: u64,
    /// Neither here nor asked for.
    missing: BTreeSet<u32>,
    asked: BTreeMap<u32, Asked>,
    /// Who does not have it, or sent what is wrong.
    without: BTreeSet<ValidatorIndex>,
    /// Who has not answered in time: asked only if nobody else is left.
    slow: BTreeSet<ValidatorIndex>,
    /// Chunks that were here when it began.
    had: usize,
    began: u64,
    /// When the last chunk came.
    progress: u64,
}

impl Chunks {
    fn here(&self) -> usize {
        (self.count as usize).saturating_sub(self.missing.len()).saturating_sub(self.asked.len())
    }

    /// Nothing is expected of this peer any more.
    fn release(&mut self, gone: impl Fn(&Asked) -> bool) {
        let missing = &mut self.missing;
        self.asked.retain(|index, asked| {
            let goes = !asked.came && gone(asked);
            if goes {
                missing.insert(*index);
            }
            !goes
        });
    }
}

#[derive(Debug, Default)]
enum Fetch {
    /// Nothing is being fetched.
    #[default]
    Nothing,
    /// This peer was asked for a manifest; blocks are not asked for meanwhile, if it `holds` them back.
    Asked {
        peer: ValidatorIndex,
        at: u64,
        above: Height,
        holds: bool,
    },
    /// A manifest is being verified.
    Verifying,
    Chunks(Box<Chunks>),
    /// All chunks are here.
    Finishing(Height),
    /// The node is to start anew.
    Whole(Height),
}

/// Called once with the height of the snapshot that was made, or why there is none. Must not block.
pub struct SnapshotReply(Box<dyn FnOnce(Result<Height, String>) + Send>);

impl SnapshotReply {
    /// From a closure.
    pub fn new(reply: impl FnOnce(Result<Height, String>) + Send + 'static) -> Self {
        Self(Box::new(reply))
    }
}
impl core::fmt::Debug for SnapshotReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SnapshotReply")
    }
}

/// A snapshot being made.
#[derive(Debug, Default)]
enum Make {
    #[default]
    Nothing,
    /// The writer was asked to capture the head.
    Capture,
    /// A step is under way.
    Step(Height),
    /// The next step is due then.
    Due(Height, u64),
}

/// Snapshots, as the driver sees them.
#[derive(Debug, Default)]
pub(super) struct Shelving {
    settings: Snapshots,
    make: Make,
    /// When the one that is being made was begun, and its last step.
    made_since: u64,
    step_since: u64,
    /// Operators who wait for it, and how often it was begun for them.
    wanted: Vec<SnapshotReply>,
    tries: usize,
    fetch: Fetch,
    /// Who had none, or whose came to nothing.
    passed: BTreeSet<ValidatorIndex>,
    /// Nobody is asked before.
    not_before: u64,
    /// Everybody was asked once: a node that starts does not know how far behind it is. One without a vote hears of nothing, and
    /// a validator of the ends of epochs alone.
    asked_all: bool,
    /// The first of the blocks that were wanted last, and how often in a row.
    stuck: (Height, usize),
    /// A snapshot of this height is to be made after the one that is being made.
    next: Option<Height>,
}

impl Shelving {
    pub(super) fn new(settings: Snapshots) -> Self {
        Self { settings, ..Self::default() }
    }

    /// For how long nothing is done after a step that is over now, in ms.
    fn rest(&self, now: u64, hurry: bool) -> u64 {
        let rest = now.saturating_sub(self.step_since).saturating_mul(REST_STEPS);
        let hurry = hurry || self.next.is_some() || now.saturating_sub(self.made_since) > UNHURRIED_MS;
        if hurry { *REST_MS.start() } else { rest.clamp(*REST_MS.start(), *REST_MS.end()) }
    }
}

impl<P: Ports> Driver<P> {
    /// Goes on with the snapshot that was being fetched when the node stopped. Before [`Driver::start`].
    #[must_use]
    pub fn with_partial_snapshot(mut self, partial: Option<Fetched>) -> Self {
        if let Some(fetched) = partial.filter(|_| self.shelving.settings.gap > 0) {
            self.fetch_chunks(fetched);
        }
        self
    }

    /// A snapshot is whole: this node is to be stopped and started again, and installs it before anything else.
    #[must_use]
    pub fn wants_restart(&self) -> bool {
        matches!(self.shelving.fetch, Fetch::Whole(_)) && !self.has_stopped()
    }

    /// Blocks are wanted. True if a snapshot is fetched in their place.
    pub(super) fn fetches_snapshot(&mut self, from: Height, to: Height) -> bool {
        match &self.shelving.fetch {
            Fetch::Nothing => {}
            Fetch::Asked { holds, .. } => return *holds,
            // As few as may all be liars have it: they may delay it for ever, so blocks are fetched beside it.
            Fetch::Chunks(chunks) => return self.sources(chunks) > self.replica.config().set.faults(),
            Fetch::Verifying | Fetch::Finishing(_) | Fetch::Whole(_) => return true,
        }
        let (gap, is_member) = (self.shelving.settings.gap, self.replica.config().is_member());
        let is_far = is_member && to.0.saturating_sub(from.0) >= gap || self.lag() >= gap;
        let is_stuck = self.is_stuck(from);
        let stops = gap == 0 || self.has_stopped() || self.now < self.shelving.not_before;
        if stops || !(is_far || is_stuck || !self.shelving.asked_all) {
            return false;
        }
        // Where nobody has the next block any more, any snapshot helps.
        let saves = if is_stuck { 0 } else { gap };
        // One that follows an idle network is stuck all the time, and must not miss the next block for a silent peer.
        let holds = is_far || !is_member && !self.shelving.asked_all;
        self.ask_for_snapshot(Height(from.0.saturating_sub(1).saturating_add(saves)), holds);
        holds && !matches!(self.shelving.fetch, Fetch::Nothing)
    }

    /// Was the same block asked of everybody, twice, and nobody gave it?
    fn is_stuck(&mut self, from: Height) -> bool {
        let (height, times) = self.shelving.stuck;
        let times = if height == from { times.saturating_add(1) } else { 0 };
        self.shelving.stuck = (from, times);
        let linked = self.peers.all_linked().count();
        linked > 0 && times > linked.saturating_mul(2)
    }

    fn sources(&self, chunks: &Chunks) -> usize {
        self.peers.all_linked().filter(|peer| !chunks.without.contains(peer)).count()
    }

    /// It does not vote any more, until somebody repairs it: nothing of its own accord.
    fn has_stopped(&self) -> bool {
        self.fault.is_some() || self.stands.stage == Stage::Halted
    }

    /// Asks the next peer which snapshot it has.
    fn ask_for_snapshot(&mut self, above: Height, holds: bool) {
        let mut linked = self.peers.all_linked();
        match linked.find(|peer| !self.shelving.passed.contains(peer)) {
            Some(peer) => {
                drop(linked);
                self.shelving.fetch = Fetch::Asked { peer, at: self.now, above, holds };
                self.send(peer, &Frame::FetchSnapshot { above });
            }
            None => {
                drop(linked);
                self.shelving.fetch = Fetch::Nothing;
                if !self.shelving.passed.is_empty() {
                    self.shelving.asked_all = true;
                    self.shelving.passed.clear();
                    self.shelving.not_before = self.now.saturating_add(PAUSE_MS);
                }
            }
        }
    }

    fn pass_over(&mut self, peer: ValidatorIndex, above: Height, holds: bool) {
        self.shelving.passed.insert(peer);
        self.ask_for_snapshot(above, holds);
    }

    /// The answer of a peer that was asked which snapshot it has.
    pub(super) fn on_manifest(&mut self, from: ValidatorIndex, manifest: Option<Bytes>) {
        let Fetch::Asked { peer, above, holds, .. } = self.shelving.fetch else {
            return self.blame(from, Offence::SnapshotUnasked);
        };
        if peer != from {
            return self.blame(from, Offence::SnapshotUnasked);
        }
        match manifest {
            None => self.pass_over(from, above, holds),
            Some(manifest) => {
                self.shelving.fetch = Fetch::Verifying;
                // Whatever comes of it, somebody else is asked the next time.
                self.shelving.passed.insert(from);
                self.workers.start(Job::Snapshot(SnapshotJob::Begin { peer: from, manifest, above }));
            }
        }
    }

    pub(super) fn on_chunk(
        &mut self,
        from: ValidatorIndex,
        (id, index): (SnapshotId, u32),
        bytes: Option<Bytes>,
    ) {
        let Fetch::Chunks(chunks) = &mut self.shelving.fetch else {
            return self.blame(from, Offence::SnapshotUnasked);
        };
        let (at, came) = (self.now, false);
        let is_late = chunks.id == id
            && chunks.slow.contains(&from)
            && chunks.asked.len() < CHUNKS_MAX
            && chunks.missing.remove(&index);
        if is_late {
            chunks.asked.insert(index, Asked { peer: from, at, came });
        }
        let asked = chunks.asked.get_mut(&index).filter(|asked| asked.peer == from && !asked.came);
        let Some(asked) = asked.filter(|_| chunks.id == id) else {
            return self.blame(from, Offence::SnapshotUnasked);
        };
        match bytes {
            Some(bytes) => {
                asked.came = true;
                self.workers.start(Job::Snapshot(SnapshotJob::Keep { peer: from, index, bytes }));
            }
            None => {
                chunks.without.insert(from);
                chunks.release(|asked| asked.peer == from);
                self.ask_for_chunks();
            }
        }
    }

    fn fetch_chunks(&mut self, fetched: Fetched) {
        let Fetched { id, height, chunks: count, missing, bytes } = fetched;
        info!(%height, chunks = count, missing = missing.len(), bytes, "fetching a snapshot");
        let had = (count as usize).saturating_sub(missing.len());
        self.shelving.fetch = Fetch::Chunks(Box::new(Chunks {
            id,
            height,
            count,
            bytes,
            missing: missing.into_iter().collect(),
            asked: BTreeMap::new(),
            without: BTreeSet::new(),
            slow: BTreeSet::new(),
            had,
            began: self.now,
            progress: self.now,
        }));
        self.ask_for_chunks();
    }

    /// Asks for what is missing, of whoever may have it and is asked for least; gives up if nobody may.
    fn ask_for_chunks(&mut self) {
        let linked: Vec<ValidatorIndex> = self.peers.all_linked().collect();
        let Fetch::Chunks(chunks) = &mut self.shelving.fetch else { return };
        if chunks.missing.is_empty() && chunks.asked.is_empty() {
            let height = chunks.height;
            self.shelving.fetch = Fetch::Finishing(height);
            return self.workers.start(Job::Snapshot(SnapshotJob::Finish));
        }
        let mut requests = Vec::new();
        while let Some(index) = chunks.missing.first().copied().filter(|_| chunks.asked.len() < CHUNKS_MAX) {
            let load = |peer: ValidatorIndex| chunks.asked.values().filter(|it| it.peer == peer).count();
            let able = linked.iter().filter(|peer| !chunks.without.contains(peer));
            let least = able.map(|peer| (chunks.slow.contains(peer), load(*peer), *peer)).min();
            let Some((_, _, peer)) = least.filter(|(_, load, _)| *load < CHUNKS_OF_PEER) else { break };
            chunks.missing.remove(&index);
            chunks.asked.insert(index, Asked { peer, at: self.now, came: false });
            requests.push((peer, Frame::FetchChunk { id: chunks.id, index }));
        }
        let nobody = !linked.is_empty() && linked.iter().all(|peer| chunks.without.contains(peer));
        if nobody && chunks.asked.is_empty() {
            return self.give_up("nobody has its chunks any more", false);
        }
        for (peer, frame) in requests {
            self.send(peer, &frame);
        }
    }

    /// What is here of it stays for the next one, which has most of it in common; unless it is of no use.
    fn give_up(&mut self, why: &str, drops: bool) {
        if let Fetch::Chunks(chunks) = &self.shelving.fetch {
            warn!(height = %chunks.height, why, "a snapshot is given up");
        }
        self.shelving.fetch = Fetch::Nothing;
        if drops {
            self.workers.start(Job::Snapshot(SnapshotJob::Drop));
        }
    }

    /// An operator wants one of the present state; one that is being made already is as good.
    pub(super) fn want_snapshot(&mut self, reply: SnapshotReply) {
        if let Some(why) = &self.fault {
            return (reply.0)(Err(format!("this node has stopped voting: {why}")));
        }
        if self.shelving.wanted.len() >= WANTED_MAX {
            return (reply.0)(Err(format!("{WANTED_MAX} calls wait for a snapshot already")));
        }
        self.shelving.wanted.push(reply);
        if matches!(self.shelving.make, Make::Nothing) {
            self.shelving.tries = 0;
            self.capture();
        }
    }

    fn capture(&mut self) {
        self.shelving.make = Make::Capture;
        self.shelving.tries += 1;
        self.workers.start(Job::Capture);
    }

    pub(super) fn on_captured(&mut self, height: Option<Height>) {
        match height {
            Some(height) => self.make_snapshot(height),
            None if matches!(self.shelving.make, Make::Capture) => self.made(Err("there is no block yet")),
            None => {} // a height that was due came before, and its snapshot is being made
        }
    }

    /// None may come of it any more.
    pub(super) fn refuse_snapshots(&mut self) {
        if matches!(self.shelving.make, Make::Capture) {
            self.shelving.make = Make::Nothing;
        }
        for reply in core::mem::take(&mut self.shelving.wanted) {
            (reply.0)(Err("this node has stopped voting; see its log".to_owned()));
        }
    }

    fn made(&mut self, result: Result<Height, &str>) {
        self.make_next();
        for reply in core::mem::take(&mut self.shelving.wanted) {
            (reply.0)(result.map_err(str::to_owned));
        }
    }

    /// A snapshot of this height is being captured: it is made in steps.
    pub(super) fn make_snapshot(&mut self, height: Height) {
        if matches!(self.shelving.make, Make::Nothing | Make::Capture) {
            self.shelving.made_since = self.now;
            self.start_step(height);
        } else {
            self.shelving.next = Some(height); // its state is being captured: somebody has to read it
        }
    }

    fn start_step(&mut self, height: Height) {
        self.shelving.make = Make::Step(height);
        self.shelving.step_since = self.now;
        self.workers.start(Job::Snapshot(SnapshotJob::Make(height)));
    }

    fn make_next(&mut self) {
        self.shelving.make = Make::Nothing;
        if let Some(height) = self.shelving.next.take() {
            self.make_snapshot(height);
        }
    }

    pub(super) fn on_snapshot_answer(&mut self, answer: SnapshotAnswer) {
        match answer {
            SnapshotAnswer::Made(made) => {
                if matches!(made, Making::Waiting) && self.has_stopped() {
                    self.refuse_snapshots(); // nobody certifies its head any more
                }
                if let Make::Step(height) = self.shelving.make {
                    self.shelving.make = match made {
                        Making::More { hurry } => {
                            Make::Due(height, self.now.saturating_add(self.shelving.rest(self.now, hurry)))
                        }
                        Making::Waiting => Make::Due(height, self.now.saturating_add(LOOK_MS)),
                        Making::Made => return self.made(Ok(height)),
                        // Its height was certified by a later one's certificate, or too much changed meanwhile.
                        Making::GivenUp if self.shelving.wanted.is_empty() => return self.make_next(),
                        Making::GivenUp if self.shelving.tries < TRIES_MAX => return self.capture(),
                        Making::GivenUp => return self.made(Err("it could not be made; see the node's log")),
                    };
                }
            }
            SnapshotAnswer::Begun { peer, result } => match result {
                Ok(fetched) => self.fetch_chunks(fetched),
                Err(trouble) => {
                    self.trouble(peer, trouble);
                    self.shelving.fetch = Fetch::Nothing; // asked again with the next blocks that are wanted
                }
            },
            SnapshotAnswer::Kept { peer, index, result } => self.on_kept(peer, index, result),
            SnapshotAnswer::Finished(result) => {
                if let Fetch::Finishing(height) = self.shelving.fetch {
                    match result {
                        Ok(()) => {
                            info!(%height, "a snapshot is whole: this node starts again and installs it");
                            self.shelving.fetch = Fetch::Whole(height);
                        }
                        Err(Trouble::Peer(why) | Trouble::Disk(why)) => {
                            self.shelving.not_before = self.now.saturating_add(PAUSE_MS);
                            self.give_up(&why, true);
                        }
                    }
                }
            }
        }
    }

    fn on_kept(&mut self, peer: ValidatorIndex, index: u32, result: Result<(), Trouble>) {
        let now = self.now;
        let Fetch::Chunks(chunks) = &mut self.shelving.fetch else { return };
        chunks.asked.remove(&index);
        match result {
            Ok(()) => {
                chunks.progress = now;
                chunks.slow.remove(&peer);
                self.ask_for_chunks();
            }
            Err(trouble) => {
                chunks.missing.insert(index);
                if matches!(trouble, Trouble::Peer(_)) {
                    chunks.without.insert(peer);
                    chunks.release(|asked| asked.peer == peer);
                    self.trouble(peer, trouble);
                    self.ask_for_chunks();
                } else {
                    self.trouble(peer, trouble);
                    self.give_up("this node's disk failed", true);
                }
            }
        }
    }

    fn trouble(&mut self, peer: ValidatorIndex, trouble: Trouble) {
        match trouble {
            Trouble::Peer(why) => {
                warn!(%peer, why, "a peer sent a snapshot that is refused");
                self.blame(peer, Offence::SnapshotInvalid);
            }
            Trouble::Disk(why) => {
                warn!(why, "a snapshot cannot be kept; blocks are fetched in its place");
                self.shelving.not_before = self.now.saturating_add(PAUSE_MS);
            }
        }
    }

    /// What was to be done by now.
    pub(super) fn tick_snapshots(&mut self) {
        let (now, tip, stopped) = (self.now, self.replica.tip().height, self.has_stopped());
        if let Make::Due(height, at) = self.shelving.make
            && now >= at
        {
            self.start_step(height);
        }
        match &mut self.shelving.fetch {
            Fetch::Nothing | Fetch::Verifying | Fetch::Finishing(_) | Fetch::Whole(_) => {}
            Fetch::Asked { peer, at, above, holds } => {
                if now.saturating_sub(*at) >= PATIENCE_MS {
                    let (peer, above, holds) = (*peer, *above, *holds);
                    self.pass_over(peer, above, holds);
                }
            }
            Fetch::Chunks(chunks) => {
                if chunks.height <= tip {
                    return self.give_up("its blocks are here", true);
                }
                if stopped {
                    return self.give_up("this node has stopped voting", false);
                }
                if self.peers.all_linked().next().is_none() {
                    chunks.progress = now; // its own network is down: nobody is to blame, and what is here stays
                } else if now.saturating_sub(chunks.progress) >= STALLED_MS {
                    self.shelving.not_before = now.saturating_add(PAUSE_MS);
                    return self.give_up("nothing comes", false);
                }
                let late = |asked: &Asked| now.saturating_sub(asked.at) >= PATIENCE_MS;
                let slow = chunks.asked.values().filter(|it| !it.came && late(it)).map(|it| it.peer);
                chunks.slow.extend(slow);
                chunks.release(late);
                self.ask_for_chunks();
            }
        }
    }

    /// Nothing comes from this peer any more, or all have other places.
    pub(super) fn forget_snapshot_peers(&mut self, gone: Option<ValidatorIndex>) {
        let is_gone = |peer: ValidatorIndex| gone.is_none_or(|one| one == peer);
        if gone.is_none() {
            self.shelving.passed.clear();
        }
        match &mut self.shelving.fetch {
            Fetch::Nothing | Fetch::Verifying | Fetch::Finishing(_) | Fetch::Whole(_) => {}
            // Who comes and goes instead of answering is not asked again before the others.
            Fetch::Asked { peer, above, holds, .. } => {
                let (peer, above, holds) = (*peer, *above, *holds);
                if gone == Some(peer) {
                    self.pass_over(peer, above, holds);
                } else if gone.is_none() {
                    self.shelving.fetch = Fetch::Nothing; // asked again with the next blocks that are wanted
                }
            }
            Fetch::Chunks(chunks) => {
                chunks.without.retain(|peer| !is_gone(*peer));
                chunks.slow.retain(|peer| !is_gone(*peer));
                chunks.release(|asked| is_gone(asked.peer));
                self.ask_for_chunks();
            }
        }
    }

    /// How far fetching is, for operators.
    pub(super) fn snapshot_fetch(&self) -> Option<SnapshotFetch> {
        match &self.shelving.fetch {
            Fetch::Nothing | Fetch::Asked { .. } | Fetch::Verifying => None,
            Fetch::Chunks(chunks) => {
                let (here, elapsed) = (chunks.here(), self.now.saturating_sub(chunks.began));
                let came = (here.saturating_sub(chunks.had)) as u64;
                let left = (chunks.count as u64).saturating_sub(here as u64);
                let eta_ms = elapsed.saturating_mul(left).checked_div(came);
                Some(SnapshotFetch {
                    height: chunks.height,
                    chunks: chunks.count,
                    here: u32::try_from(here).unwrap_or(u32::MAX),
                    bytes: chunks.bytes,
                    eta_ms,
                })
            }
            Fetch::Finishing(height) | Fetch::Whole(height) => {
                Some(SnapshotFetch { height: *height, chunks: 0, here: 0, bytes: 0, eta_ms: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn making_one_rests_three_times_as_long_as_it_worked_but_not_forever() {
        let shelving = Shelving { made_since: 1_000, step_since: 1_000, ..Shelving::default() };
        let after = |step: u64| shelving.rest(1_000 + step, false);
        assert_eq!([1, 20, 1_000].map(after), [10, 60, 500]);
        assert_eq!(shelving.rest(1_020, true), 10, "much has to be remembered");
        let late = Shelving { step_since: 60_980, ..shelving };
        assert_eq!([0, 1].map(|more| late.rest(61_000 + more, false)), [60, 10], "a minute is over");
        let behind = Shelving { next: Some(Height(1)), ..late };
        assert_eq!(behind.rest(61_000, false), 10, "the next one waits");
    }
}
