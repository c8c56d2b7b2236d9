//! A primary that proposes what must not be proposed: forged transactions, stamps out of time, the null batch, heights that
//! are closed or far ahead, in views that are another's, and its own vote twice.

use bytes::Bytes;
use epione_consensus::{Kind, Message, NewView, Payload, SignedVote, Vote};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Batch, Height, TimestampMs, View};

use super::{Actor, Stage, Watch};

#[derive(Debug, Default)]
pub(super) struct LawlessPrimary {
    watch: Watch,
    /// What it does to the proposal of this height: the same to all, so that it is judged and not the difference.
    law: Option<(u64, u64)>,
}

impl LawlessPrimary {
    fn changed(&mut self, stage: &mut Stage<'_>, vote: &SignedVote, batch: &Bytes) -> Option<Message> {
        let height = vote.vote.height.0;
        if self.law.is_none_or(|(of, _)| of != height) {
            self.law = Some((height, stage.random.below(14)));
        }
        let payload = Payload::decode(batch.clone(), &stage.set.params).ok()?;
        let Batch::Proposed { proposer, stamp, txs } = payload.batch().clone() else { return None };
        let (mut stamp, mut txs, mut vote) = (stamp, txs, vote.vote);
        match self.law?.1 {
            0 => {
                let signature = &mut txs.first_mut()?.signatures.first_mut()?.signature;
                signature.0[5] ^= 1;
            }
            1 => stamp = TimestampMs(stamp.0 + 3_600_000),
            2 => stamp = TimestampMs(stamp.0 + stage.set.params.max_clock_skew_ms * 2),
            3 => stamp = TimestampMs(stamp.0.saturating_sub(3_600_000)),
            4 => {
                let again = txs.first()?.clone();
                txs.push(again);
            }
            5 => {
                let digest = Batch::null_digest();
                return Some(Message::Proposal(stage.sign(Vote { digest, ..vote }), None));
            }
            6 => vote.height = Height(vote.height.0 + stage.set.params.window),
            7 => vote.height = vote.height.minus(2),
            _ => return None,
        }
        let payload = Payload::new(Batch::Proposed { proposer, stamp, txs });
        vote.digest = payload.digest();
        vote.height = Height(vote.height.0.max(1));
        Some(Message::Proposal(stage.sign(vote), Some(payload.bytes().clone())))
    }

    /// Proposals at and below the base of its own NewView, for those who are behind.
    fn below_base(stage: &mut Stage<'_>, to: usize, body: &NewView) {
        let base = body.base(Height::ZERO);
        for back in 0..stage.random.within(1, 3) {
            let height = base.minus(back);
            let stamp = stage.clock;
            let payload = Payload::new(Batch::Proposed { proposer: stage.index(), stamp, txs: Vec::new() });
            if height > Height::ZERO {
                let (epoch, view, digest) = (body.epoch, body.view, payload.digest());
                let vote = stage.sign(Vote { kind: Kind::PrePrepare, epoch, view, height, digest });
                stage.deed();
                stage.message(to, Message::Proposal(vote, Some(payload.bytes().clone())));
            }
        }
    }
}

impl Actor for LawlessPrimary {
    fn inbound(&mut self, _: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        self.watch.see(bytes);
        true
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match Frame::decode(&bytes) {
            Ok(Frame::Message(Message::Proposal(vote, Some(batch)))) if vote.from.get() == stage.me => {
                let message = self.changed(stage, &vote, &batch);
                let digest = match &message {
                    Some(Message::Proposal(vote, _)) => vote.vote.digest,
                    _ => vote.vote.digest,
                };
                match message {
                    Some(message) => {
                        stage.deed();
                        stage.message(to, message);
                    }
                    None => stage.send(to, class, bytes),
                }
                // Its proposal was its Prepare already (R6).
                let again = stage.sign(Vote { kind: Kind::Prepare, digest, ..vote.vote });
                stage.deed();
                stage.message(to, Message::Vote(again));
            }
            Ok(Frame::Message(Message::NewView(new_view))) if new_view.from.get() == stage.me => {
                stage.send(to, class, bytes);
                Self::below_base(stage, to, &new_view.body);
            }
            _ => stage.send(to, class, bytes),
        }
    }

    /// It proposes in the view of another, too.
    fn tick(&mut self, stage: &mut Stage<'_>) {
        if stage.is_primary(View(self.watch.view)) || !stage.random.chance(60) {
            return;
        }
        let payload =
            Payload::new(Batch::Proposed { proposer: stage.index(), stamp: stage.clock, txs: Vec::new() });
        let height = Height(self.watch.height + 1 + stage.random.below(3));
        let (epoch, view, digest) = (stage.set.epoch, View(self.watch.view), payload.digest());
        let vote = stage.sign(Vote { kind: Kind::PrePrepare, epoch, view, height, digest });
        for to in stage.others() {
            stage.deed();
            stage.message(to, Message::Proposal(vote, Some(payload.bytes().clone())));
        }
    }
}
