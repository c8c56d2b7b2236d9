//! Sends whatever fills memory or moves others too far: views and heights to the maximum, many digests for one slot, the
//! largest bodies, every view change that is valid without a reason, questions without end.

use bytes::Bytes;
use epione_consensus::{Body as _, Kind, Message, Payload, SlotStatus, Status, ViewChange, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Batch, Domain, Hash, Height, TimestampMs, ValidatorIndex, View};

use super::{Actor, Stage, Watch};

/// Frames a tick, to each.
const A_TICK: u64 = 6;

#[derive(Debug, Default)]
pub(super) struct Flooder {
    watch: Watch,
}

impl Flooder {
    fn far(stage: &mut Stage<'_>, near: u64) -> u64 {
        match stage.random.below(12) {
            6..12 => near.saturating_add(stage.random.below(2 * stage.set.params.window + 2)),
            0 => u64::MAX,
            1 => near.saturating_add(1 << 32),
            2 => near.saturating_add(1 << 33),
            3 => stage.random.word(),
            4 => near.saturating_add(stage.random.below(200)),
            _ => near.saturating_add(stage.random.below(4)),
        }
    }

    fn vote(&self, stage: &mut Stage<'_>) -> Message {
        let kind = *stage.random.pick(&[Kind::Prepare, Kind::Commit, Kind::Seal, Kind::Suspect]);
        let digest = Domain::new("epione/sim-flood").hash(&stage.random.word().to_le_bytes());
        let (mut view, mut height) = (Self::far(stage, self.watch.view), Self::far(stage, self.watch.height));
        let mut digest = digest;
        match kind {
            Kind::Seal => view = 0,
            Kind::Suspect => (height, digest) = (0, Hash::ZERO),
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => height = height.max(1),
        }
        let vote = Vote {
            kind,
            epoch: stage.set.epoch,
            view: View(view),
            height: Height(if kind == Kind::Suspect { 0 } else { height.max(1) }),
            digest,
        };
        Message::Vote(stage.sign(vote))
    }

    /// A proposal of a view that is its own, now or later, as large as may be.
    fn proposal(&self, stage: &mut Stage<'_>) -> Message {
        let n = stage.set.len() as u64;
        let next = (self.watch.view / n) * n + stage.me as u64;
        let view = View(next.saturating_add(n * stage.random.below(3)));
        let length = (stage.set.params.batch_bytes_max as usize).min(1 << 15);
        let junk = vec![epione_types::SignedTx { body: vec![7; length].into(), signatures: Vec::new() }];
        let proposer = ValidatorIndex(u16::try_from(stage.me).unwrap_or(0));
        let stamp = TimestampMs(stage.clock.0 + stage.random.below(1_000));
        let payload = Payload::new(Batch::Proposed { proposer, stamp, txs: junk });
        let height = Height(self.watch.height.saturating_add(stage.random.below(40)));
        let epoch = stage.set.epoch;
        let vote = Vote { kind: Kind::PrePrepare, epoch, view, height, digest: payload.digest() };
        Message::Proposal(stage.sign(vote), Some(payload.bytes().clone()))
    }

    fn view_change(&self, stage: &mut Stage<'_>) -> Message {
        let view = View(Self::far(stage, self.watch.view.saturating_add(1)));
        let change = ViewChange {
            epoch: stage.set.epoch,
            view,
            certificate: None,
            prepared: Vec::new(),
            reason: Vec::new(),
        };
        Message::ViewChange(Box::new(change.sign(stage.chain, stage.index(), stage.signer)))
    }

    fn status(&self, stage: &mut Stage<'_>) -> Message {
        let slots = vec![SlotStatus::default(); usize::try_from(stage.set.params.window).unwrap_or(1)];
        let status = Status {
            epoch: stage.set.epoch,
            view: View(stage.random.below(self.watch.view + 2)),
            asked: View(stage.random.below(self.watch.view + 2)),
            low: Height(stage.random.below(self.watch.height + 2)),
            delivered: Height(0),
            suspects: 0,
            view_changes: 0,
            slots,
        };
        Message::Status(Box::new(status.sign(stage.chain, stage.index(), stage.signer)))
    }
}

impl Actor for Flooder {
    fn inbound(&mut self, _: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        self.watch.see(bytes);
        true
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..stage.random.below(A_TICK) {
            let frame = match stage.random.below(10) {
                0..4 => Frame::Message(self.vote(stage)),
                4 => Frame::Message(self.proposal(stage)),
                5 => Frame::Message(self.view_change(stage)),
                6 => Frame::Message(self.status(stage)),
                7 => Frame::FetchBlocks { from: Height(stage.random.below(3)), to: Height(u64::MAX) },
                8 => {
                    let digest = Hash([9; 32]);
                    Frame::FetchBatch { height: Height(stage.random.below(self.watch.height + 9)), digest }
                }
                _ => Frame::Message(Message::Batch(vec![1; 5_000].into())),
            };
            for to in stage.others() {
                stage.frame(to, &frame);
                stage.deed();
            }
        }
    }
}
