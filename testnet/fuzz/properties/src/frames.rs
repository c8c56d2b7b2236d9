//! Frames and consensus messages, from the wire to the gate: *nothing gets in that its signers did not sign*, and each value
//! has one encoding (failures.md, 6 and 15).
//!
//! An input is a frame, or says which message of four honest validators is damaged and how.

use epione_consensus::Message;
use epione_node::validate;
use epione_node::wire::Frame;

use crate::choices::Choices;
use crate::lived::LIVED;
use crate::{Outcome, blocks};

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    if choices.flag() {
        let Some(message) = choices.pick(&LIVED.messages) else { return Outcome::Refused };
        let mut bytes = Frame::Message(message.clone()).encode().to_vec();
        choices.edit(&mut bytes);
        return frame(&bytes);
    }
    frame(choices.rest())
}

fn frame(bytes: &[u8]) -> Outcome {
    let Ok(frame) = Frame::decode(bytes) else { return Outcome::Refused };
    assert_eq!(frame.encode(), bytes, "one encoding per value");
    let _ = frame.class();
    match frame {
        Frame::Message(message) => consensus(&message),
        Frame::Transactions(list) => {
            let parsed = list.into_iter().filter_map(|tx| validate::parse(tx, LIVED.chain_id).ok());
            Outcome::accepted(parsed.count() > 0)
        }
        Frame::Blocks(answer) => blocks::answer(answer),
        Frame::FetchBatch { .. } | Frame::FetchBlocks { .. } => Outcome::Accepted,
    }
}

fn consensus(message: &Message) -> Outcome {
    let verified = LIVED.gate().message(message.clone()).is_ok();
    assert!(!verified || LIVED.was_said(message), "let in, but never said: {message:?}");
    Outcome::accepted(verified)
}

/// Inputs to begin with: every honest message, whole and by number, and frames of the other kinds.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let whole = |frame: Frame| [&[0][..], &frame.encode()].concat();
    let messages = &LIVED.messages;
    let mut kinds = std::collections::BTreeSet::new();
    let first = messages.iter().filter(|message| kinds.insert(format!("{message:?}")[..8].to_owned()));
    let mut seeds: Vec<Vec<u8>> = first.map(|message| whole(Frame::Message(message.clone()))).collect();
    seeds.extend((0..messages.len()).map(|i| vec![1, (i >> 8) as u8, i as u8]));
    let (height, digest) = (epione_types::Height(1), epione_types::Hash::ZERO);
    seeds.push(whole(Frame::FetchBatch { height, digest }));
    seeds.push(whole(Frame::FetchBlocks { from: height, to: height }));
    seeds.extend(LIVED.answer(height, height).map(|answer| whole(Frame::Blocks(answer))));
    let tx = epione_types::SignedTx { body: vec![1, 2, 3].into(), signatures: Vec::new() };
    seeds.push(whole(Frame::Transactions(vec![tx])));
    seeds
}
