//! As primary does everything right, and as late as it dares: just before the others lose patience, or a little after.

use bytes::Bytes;
use epione_consensus::Message;
use epione_node::network::Class;
use epione_node::wire::Frame;

use super::{Actor, Outgoing, Stage};
use crate::sim::clock::MS;

#[derive(Debug)]
pub(super) struct SlowPrimary;

impl Actor for SlowPrimary {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let late = matches!(
            Frame::decode(&bytes),
            Ok(Frame::Message(Message::Proposal(vote, _))) if vote.from.get() == stage.me
        ) || matches!(
            Frame::decode(&bytes),
            Ok(Frame::Message(Message::NewView(new_view))) if new_view.from.get() == stage.me
        );
        if !late {
            return stage.send(to, class, bytes);
        }
        let timeout = stage.set.params.view_timeout_ms * MS;
        let delay = timeout * stage.random.within(30, 120) / 100;
        stage.deed();
        stage.out.push(Outgoing { to, class, bytes, delay });
    }
}
