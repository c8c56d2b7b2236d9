//! As a primary it is as late as it dares: its proposals and NewViews leave just before the others lose patience, or a little
//! after, and some proposals are empty though there is work.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;
use epione_node::wire::Frame;

use super::rewritten::Rewritten;
use super::{Actor, Outgoing, Stage, message_in};
use crate::sim::clock::MS;

#[derive(Debug, Default)]
pub(super) struct SlowPrimary {
    emptied: Rewritten,
}

impl Actor for SlowPrimary {
    fn inbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        !message_in(bytes).is_some_and(|message| stage.is_by_me(&message))
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let mut late = bytes.clone();
        match message_in(&bytes) {
            Some(Message::Proposal(vote, Some(batch))) if stage.is_mine(vote.from) => {
                let empty = self.emptied.version(stage, &vote, &batch, |stage, stamp, _| {
                    stage.random.chance(200).then(|| (stamp, Vec::new()))
                });
                if let Some((vote, batch)) = empty {
                    let signed = stage.sign(vote);
                    late = Frame::Message(Message::Proposal(signed, Some(batch))).encode();
                }
            }
            Some(Message::NewView(new_view)) if stage.is_mine(new_view.from) => {}
            _ => return stage.send(to, class, bytes),
        }
        let timeout = stage.set.params.view_timeout_ms * MS;
        let delay = timeout * stage.random.within(30, 120) / 100;
        stage.deed();
        stage.out.push(Outgoing { to, class, bytes: late, delay });
    }
}
