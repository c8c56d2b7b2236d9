//! Lies in view changes: hides what it prepared, shows stale, forged and doubled certificates, tells each a different story,
//! and as the new primary leaves out or swaps what must be carried over.

use bytes::Bytes;
use epione_consensus::{Body as _, Message, NewView, Signed, ViewChange};
use epione_node::network::Class;
use epione_node::wire::Frame;
use epione_types::{Domain, SignatureSet, View, codec};

use super::{Actor, Stage, Watch, overwrite};

#[derive(Debug, Default)]
pub(super) struct Liar {
    watch: Watch,
}

impl Liar {
    fn change(stage: &mut Stage<'_>, mut body: ViewChange) -> Frame {
        let lie = stage.random.below(7);
        match lie {
            0 => body.prepared.clear(),
            1 => drop(body.prepared.pop()),
            2 => body.certificate = None,
            3 => {
                // A prepared certificate with another digest, which nobody signed.
                if let Some(one) = body.prepared.last_mut() {
                    one.pre_prepare.vote.digest =
                        Domain::new("epione/sim-lie").hash(&one.pre_prepare.vote.digest.0);
                }
            }
            4 => {
                // A certificate a height too high.
                if let Some(one) = &mut body.certificate {
                    one.height = one.height.next();
                }
            }
            5 => body.view = View(body.view.0 + stage.random.below(3)),
            _ => {}
        }
        let sets: Vec<SignatureSet> = body
            .certificate
            .iter()
            .map(|one| one.signatures.clone())
            .chain(body.prepared.iter().map(|one| one.prepares.clone()))
            .collect();
        let signed = body.sign(stage.chain, stage.index(), stage.signer);
        let frame = Frame::Message(Message::ViewChange(Box::new(signed)));
        if lie != 6 || sets.is_empty() {
            return frame;
        }
        // The same signer twice: no type can say it, so it is written into the bytes.
        let set = &sets[stage.random.index(sets.len())];
        doubled(&frame, set).unwrap_or(frame)
    }

    fn new_view(stage: &mut Stage<'_>, mut body: NewView) -> Frame {
        match stage.random.below(4) {
            0 => drop(body.pre_prepares.pop()),
            1 => {
                if let Some(vote) = body.pre_prepares.last_mut() {
                    vote.vote.digest = epione_types::Batch::null_digest();
                    *vote = stage.sign(vote.vote);
                }
            }
            2 => {
                if let Some(first) = body.view_changes.first().cloned() {
                    body.view_changes.pop();
                    body.view_changes.push(first); // one asker counts twice
                }
            }
            _ => body.view_changes.reverse(),
        }
        Frame::Message(Message::NewView(Box::new(body.sign(stage.chain, stage.index(), stage.signer))))
    }
}

/// The frame with the second signer of a set replaced by the first, if it still means something.
fn doubled(frame: &Frame, set: &SignatureSet) -> Option<Frame> {
    let mut list: Vec<_> = set.iter().collect();
    let first = *list.first()?;
    *list.get_mut(1)? = first;
    let bytes = overwrite(&frame.encode(), &codec::encode(set), &codec::encode(&list))?;
    Frame::decode(&bytes).ok()
}

impl Actor for Liar {
    fn inbound(&mut self, _: &mut Stage<'_>, _: usize, _: usize, _: Class, bytes: &Bytes) -> bool {
        self.watch.see(bytes);
        true
    }

    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, to: usize, class: Class, bytes: Bytes) {
        let frame = match Frame::decode(&bytes) {
            Ok(Frame::Message(Message::ViewChange(signed))) if signed.from.get() == stage.me => {
                Self::change(stage, signed.body)
            }
            Ok(Frame::Message(Message::NewView(signed)))
                if signed.from.get() == stage.me && stage.random.chance(600) =>
            {
                Self::new_view(stage, signed.body)
            }
            _ => return stage.send(to, class, bytes),
        };
        stage.deed();
        stage.frame(to, &frame);
    }

    /// It starts view changes too: a lie needs an occasion.
    fn tick(&mut self, stage: &mut Stage<'_>) {
        if !stage.random.chance(10) {
            return;
        }
        let view = View(self.watch.view + stage.random.within(1, 3));
        let change = ViewChange {
            epoch: stage.set.epoch,
            view,
            certificate: None,
            prepared: Vec::new(),
            reason: Vec::new(),
        };
        let signed: Signed<ViewChange> = change.sign(stage.chain, stage.index(), stage.signer);
        for to in stage.others() {
            stage.deed();
            stage.message(to, Message::ViewChange(Box::new(signed.clone())));
        }
    }
}
