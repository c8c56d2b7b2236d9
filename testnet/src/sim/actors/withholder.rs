//! Proposes and keeps the batch to itself: shows it to a few, answers nobody who asks for it, forwards no transactions.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;
use epione_node::wire::Frame;

use super::{Actor, Stage};

#[derive(Debug)]
pub(super) struct Withholder;

impl Actor for Withholder {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match Frame::decode(&bytes) {
            Ok(Frame::Message(Message::Proposal(vote, Some(_)))) => {
                // By height, so that some slots have enough who hold the batch, and some have not.
                let shown = (vote.vote.height.0 * 7 + to as u64).is_multiple_of(4);
                if shown {
                    return stage.send(to, class, bytes);
                }
                stage.deed();
                if stage.random.chance(700) {
                    stage.message(to, Message::Proposal(vote, None));
                }
            }
            Ok(Frame::Message(Message::Batch(_)) | Frame::Blocks(_) | Frame::Transactions(_)) => stage.deed(),
            _ => stage.send(to, class, bytes),
        }
    }
}
