//! Proposes digests and keeps the batches: each of its proposals is whole for some of the others only, and nobody gets a
//! batch or a block of it that they ask for. It forwards no transactions.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;
use epione_node::wire::Frame;

use super::{Actor, Stage, message_in};

#[derive(Debug)]
pub(super) struct Withholder;

/// Who gets the batch: each digest has its own share of the others, from almost nobody to everybody.
fn gets(digest: &[u8; 32], to: usize) -> bool {
    digest[31 - to % 16] >> 5 <= digest[0] >> 5
}

impl Actor for Withholder {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, class: Class, bytes: &Bytes) -> bool {
        let asks = class == Class::Sync
            && matches!(Frame::decode(bytes), Ok(Frame::FetchBatch { .. } | Frame::FetchBlocks { .. }));
        if asks {
            stage.deed();
        }
        !asks
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        match message_in(&bytes) {
            Some(Message::Proposal(vote, Some(_))) if !gets(&vote.vote.digest.0, to) => {
                stage.deed();
                stage.message(to, Message::Proposal(vote, None));
            }
            _ if matches!(Frame::decode(&bytes), Ok(Frame::Transactions(_))) => stage.deed(),
            _ => stage.send(to, class, bytes),
        }
    }
}
