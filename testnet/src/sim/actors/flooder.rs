//! Sends as much of everything as it can sign: views and heights up to the highest there are, a digest of its own for each,
//! the largest bodies, and requests without end.

use bytes::Bytes;
use epione_consensus::{Kind, Message, Payload, Status, ViewChange, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::tx::TxSignature;
use epione_types::{Batch, Hash, Height, Signature, SignedTx, View};

use super::{Actor, Stage, Watch};

/// Frames at a time, for all others together.
const AT_A_TIME: u64 = 20;
/// One frame of so many has a body of the largest size.
const LARGE_ONE_IN: u64 = 100;

#[derive(Debug, Default)]
pub(super) struct Flooder {
    watch: Watch,
}

impl Flooder {
    fn view(&self, stage: &mut Stage<'_>) -> View {
        View(match stage.random.below(4) {
            0 => self.watch.view,
            1 => self.watch.view + stage.random.below(4),
            2 => self.watch.view.saturating_add(stage.random.below(1 << 33)),
            _ => u64::MAX - stage.random.below(3),
        })
    }

    fn height(&self, stage: &mut Stage<'_>) -> Height {
        let window = stage.set.params.window;
        Height(match stage.random.below(4) {
            0 | 1 => self.watch.height + stage.random.within(1, window * 2 + 1),
            2 => stage.random.word().max(1),
            _ => u64::MAX - stage.random.below(3),
        })
    }

    fn vote(&self, stage: &mut Stage<'_>) -> Message {
        let kind = *stage.random.pick(&[Kind::Prepare, Kind::Commit, Kind::Seal, Kind::Suspect]);
        let (mut view, mut height, mut digest) = (self.view(stage), self.height(stage), stage.random_hash());
        match kind {
            Kind::Seal => view = View::ZERO,
            Kind::Suspect => (height, digest) = (Height::ZERO, Hash::ZERO),
            _ => {}
        }
        Message::Vote(stage.sign(Vote { kind, epoch: stage.set.epoch, view, height, digest }))
    }

    /// A proposal of junk, as large as may be, in one of its own views.
    fn large(&self, stage: &mut Stage<'_>) -> Message {
        let near = self.view(stage);
        let view = stage.own_view(near.0);
        let body = vec![7; epione_types::tx::MAX_BODY_BYTES];
        let signatures = vec![TxSignature { public_key: stage.public_key(), signature: Signature([0; 64]) }];
        let tx = SignedTx { body: body.into(), signatures };
        let room = (stage.set.params.batch_bytes_max as usize - 64) / tx.encoded_len();
        let batch = Batch::Proposed { proposer: stage.index(), stamp: stage.clock, txs: vec![tx; room] };
        let payload = Payload::new(batch);
        let height = self.height(stage);
        let vote =
            Vote { kind: Kind::PrePrepare, epoch: stage.set.epoch, view, height, digest: payload.digest() };
        Message::Proposal(stage.sign(vote), Some(payload.bytes().clone()))
    }

    fn one(&self, stage: &mut Stage<'_>) -> Frame {
        let epoch = stage.set.epoch;
        let message = match stage.random.below(16) {
            0 => {
                let (height, digest) = (self.height(stage), stage.random_hash());
                return Frame::FetchBatch { height, digest };
            }
            1 => return Frame::FetchBlocks { from: Height(1), to: Height(u64::MAX) },
            2 => {
                let view = self.view(stage);
                let change = ViewChange { epoch, view, certificate: None, prepared: vec![], reason: vec![] };
                Message::ViewChange(Box::new(stage.sign_body(change)))
            }
            3 => {
                let (view, asked) = (self.view(stage), self.view(stage));
                let (low, delivered) = (self.height(stage), self.height(stage));
                let slots = vec![Default::default(); usize::try_from(stage.set.params.window).unwrap_or(0)];
                let status =
                    Status { epoch, view, asked, low, delivered, suspects: 0, view_changes: 0, slots };
                Message::Status(Box::new(stage.sign_body(status)))
            }
            _ if stage.random.below(LARGE_ONE_IN) == 0 => self.large(stage),
            _ => self.vote(stage),
        };
        Frame::Message(message)
    }
}

impl Actor for Flooder {
    fn inbound(&mut self, _: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        self.watch.see(bytes);
        true
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..stage.random.below(AT_A_TIME) {
            let to = stage.random.index(stage.set.len());
            let frame = self.one(stage);
            stage.deed();
            stage.frame(to, &frame);
        }
    }
}
