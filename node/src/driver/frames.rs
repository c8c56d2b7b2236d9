//! What peers send: decoded, verified and counted before it reaches the replica.

use epione_consensus::{BlocksAnswer, Event, Message, Rejected, Step, Verifying};
use epione_types::{Hash, Height, ValidatorIndex};
use tracing::debug;

use super::jobs::SERVING_MAX;
use super::peers::vote_of;
use super::{Driver, Ports};
use crate::conduct::Offence;
use crate::network::Class;
use crate::ports::{Job, Transport as _, Workers as _};
use crate::snapshots::SnapshotJob;
use crate::wire::{BLOCKS_MAX, Frame};

impl<P: Ports> Driver<P> {
    pub(super) fn on_frame(&mut self, from: ValidatorIndex, class: Class, bytes: &[u8], step: &mut Step) {
        if self.restoring.is_some() {
            return; // what was sealed before the restart comes first (R4)
        }
        let frame = match Frame::decode(bytes) {
            Ok(frame) if frame.class() == class => frame,
            Ok(_) => return self.blame(from, Offence::WrongStream),
            Err(_) => return self.blame(from, Offence::FrameUndecodable),
        };
        match frame {
            Frame::Message(message) => self.on_message(from, message, step),
            Frame::Transactions(txs) => self.on_forwarded(from, txs),
            Frame::FetchBatch { height, digest } => self.on_fetch_batch(from, height, digest),
            Frame::FetchBlocks { from: low, to } if low > to || low == Height::ZERO => {
                self.blame(from, Offence::RequestEmpty);
            }
            Frame::FetchBlocks { from: low, to } => {
                self.serve(from, Job::ReadBlocks { peer: from, from: low, to });
            }
            Frame::Blocks(answer) => self.on_blocks(from, answer, step),
            Frame::FetchSnapshot { above } => {
                self.serve(from, Job::Snapshot(SnapshotJob::ReadManifest { peer: from, above }));
            }
            Frame::Snapshot(manifest) => self.on_manifest(from, manifest),
            Frame::FetchChunk { id, index } => {
                self.serve(from, Job::Snapshot(SnapshotJob::ReadChunk { peer: from, id, index }));
            }
            Frame::Chunk { id, index, bytes } => self.on_chunk(from, (id, index), bytes),
            Frame::FetchExecution { height } => self.serve(from, Job::ReadExecution { peer: from, height }),
            Frame::Execution(execution) => self.on_execution(from, execution),
        }
    }

    fn on_message(&mut self, from: ValidatorIndex, message: Message, step: &mut Step) {
        if self.fault.is_some() {
            return;
        }
        let told = if let Message::Status(status) = &message {
            let epoch = status.body.epoch;
            if epoch < self.replica.config().set.epoch {
                // It has not reached the end of an epoch: its last certificate leads it there (R22).
                return self.serve(from, Job::ReadEnd { peer: from, epoch });
            }
            if epoch == self.replica.config().set.epoch && status.from != from {
                return self.blame(from, Offence::StatusReplayed);
            }
            Some(status.body.low)
        } else {
            None
        };
        let voted = vote_of(&message, from);
        match self.verifying().message(message) {
            Ok(verified) => {
                if let Some(low) = told {
                    self.peers.told(from, low, self.replica.low(), self.now);
                }
                if let Some(height) = voted {
                    self.peers.voted(from, height);
                }
                self.feed(Event::Message(verified), step);
            }
            Err(why) => self.reject(from, &why, Offence::from(&why)),
        }
    }

    fn verifying(&self) -> Verifying<'_, P::Verifier> {
        let config = self.replica.config();
        Verifying { chain: config.chain, set: &config.set, begin: config.begin, verifier: &self.verifier }
    }

    fn reject(&mut self, from: ValidatorIndex, why: &Rejected, offence: Offence) {
        debug!(%from, %why, "rejected");
        self.blame(from, offence);
    }

    fn on_fetch_batch(&mut self, peer: ValidatorIndex, height: Height, digest: Hash) {
        match self.replica.batch_for(height, digest) {
            Some(message) => self.send(peer, &Frame::Message(message)),
            None => self.serve(peer, Job::ReadBatch { peer, height, digest }),
        }
    }

    /// Reads for a peer, a few at a time: it asks again for what was not answered.
    fn serve(&mut self, peer: ValidatorIndex, job: Job) {
        let under_way = self.serving.entry((peer, job.lane())).or_default();
        if *under_way < SERVING_MAX {
            *under_way += 1;
            self.workers.start(job);
        } else {
            self.blame(peer, Offence::RequestTooMany);
        }
    }

    /// Blocks that were asked for; others are not looked at (R28).
    fn on_blocks(&mut self, from: ValidatorIndex, answer: BlocksAnswer, step: &mut Step) {
        if self.asked != Some(from) {
            return self.blame(from, Offence::BlocksUnasked);
        }
        self.asked = None;
        if answer.blocks.len() > BLOCKS_MAX {
            return self.blame(from, Offence::BlocksInvalid);
        }
        match self.verifying().blocks(answer) {
            Ok(blocks) => self.feed(Event::Blocks(blocks), step),
            Err(why @ Rejected::Epoch) => self.reject(from, &why, Offence::OtherEpoch),
            Err(why) => self.reject(from, &why, Offence::BlocksInvalid),
        }
    }

    pub(super) fn send(&mut self, to: ValidatorIndex, frame: &Frame) {
        self.transport.send(to, frame.class(), frame.encode());
    }
}
