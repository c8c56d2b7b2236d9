//! Bytes and messages from outside are hostile until verified: no panic, no state change, no big allocation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; that is how it fails")]

mod common;

use common::{Cluster, FakeVerifier, v};
use epione_consensus::{BlocksAnswer, Message, Payload, Record, Verifying, max_message_bytes};
use epione_types::codec;
use proptest::prelude::*;

/// Messages of every kind that a busy cluster with a view change sends.
fn traffic() -> (Cluster, Vec<Message>) {
    let mut cluster = Cluster::new(4);
    for text in ["a", "b", "c"] {
        cluster.propose(0, text);
    }
    cluster.settle();
    cluster.lose = Box::new(|(_, to, _)| *to == 3);
    cluster.propose(0, "d");
    cluster.settle();
    // Ordered at three, sealed by none: the fourth is sent the Commits.
    cluster.lose = Box::new(|(_, to, message)| {
        *to == 3 && !matches!(message, Message::Status(_))
            || matches!(message, Message::Vote(vote) if vote.vote.kind == epione_consensus::Kind::Seal)
    });
    cluster.propose(0, "sealed late");
    cluster.settle();
    cluster.tick(600);
    cluster.lose = Box::new(|(_, _, message)| matches!(message, Message::Vote(_)));
    cluster.propose(0, "e");
    cluster.settle();
    cluster.tick(600);
    cluster.lose = Box::new(|_| false);
    cluster.crash(0);
    cluster.pending(true);
    cluster.tick(2_000);
    let mut messages: Vec<Message> = cluster.sent.iter().map(|(_, _, message)| message.clone()).collect();
    messages.sort_by_key(|message| message.encode());
    messages.dedup();
    (cluster, messages)
}

#[test]
fn the_traffic_holds_every_kind_of_message() {
    let (_, messages) = traffic();
    let has = |wanted: fn(&Message) -> bool| assert!(messages.iter().any(wanted));
    has(|m| matches!(m, Message::Vote(_)));
    has(|m| matches!(m, Message::Proposal(..)));
    has(|m| matches!(m, Message::Commits(_)));
    has(|m| matches!(m, Message::Certificate(_)));
    has(|m| matches!(m, Message::ViewChange(_)));
    has(|m| matches!(m, Message::NewView(_)));
    has(|m| matches!(m, Message::Status(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// One flipped bit anywhere: refused by the codec or by the gate, or the same message (an empty field).
    #[test]
    fn a_flipped_bit_never_gets_in(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        thread_local!(static TRAFFIC: (Cluster, Vec<Message>) = traffic());
        TRAFFIC.with(|(cluster, messages)| {
            let mut bytes = which.get(messages).encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let Ok(message) = Message::decode(&bytes, &cluster.set) else { return Ok(()) };
            let gate = Verifying { chain: cluster.chain_id, set: &cluster.set, begin: epione_types::Height::ZERO, verifier: &FakeVerifier };
            // A batch answers a request by digest, so any batch that decodes passes; it has another digest.
            let is_batch = matches!(message, Message::Batch(_));
            // A dropped batch of a proposal leaves a valid vote.
            let is_vote = matches!(message, Message::Proposal(_, None));
            prop_assert!(gate.message(message).is_err() || is_batch || is_vote);
            Ok(())
        })?;
    }

    #[test]
    fn truncated_messages_are_refused(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        thread_local!(static TRAFFIC: (Cluster, Vec<Message>) = traffic());
        TRAFFIC.with(|(cluster, messages)| {
            let bytes = which.get(messages).encode();
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert!(Message::decode(cut, &cluster.set).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn arbitrary_bytes_decode_to_nothing_harmful(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let set = common::validator_set(4, epione_types::Params::default());
        if let Ok(message) = Message::decode(&bytes, &set) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        let _ = Record::decode(&bytes);
        let _ = Payload::decode(bytes.clone().into(), &set.params);
        let _ = codec::decode::<BlocksAnswer>(&bytes, 1 << 20);
    }
}

#[test]
fn hostile_lengths_meet_the_limit_before_the_allocator() {
    let set = common::validator_set(4, epione_types::Params::default());
    // Every kind of message with a length of 2^60 in the first place where one can stand.
    for kind in 0u32..8 {
        for offset in [0usize, 2, 10, 18, 26, 34, 100, 180] {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(vec![1; offset]);
            bytes.extend((1u64 << 60).to_le_bytes());
            bytes.extend(vec![0; 64]);
            assert!(Message::decode(&bytes, &set).is_err());
        }
    }
    let long = vec![0; max_message_bytes(&set) + 1];
    assert!(Message::decode(&long, &set).unwrap_err().to_string().contains("exceed the limit"));
}

#[test]
fn the_longest_honest_message_fits_the_limit() {
    let (cluster, messages) = traffic();
    let longest = messages.iter().map(|message| message.encode().len()).max().unwrap();
    assert!(longest <= max_message_bytes(&cluster.set));
}

#[test]
fn relabelled_senders_are_refused() {
    let (cluster, messages) = traffic();
    let gate = Verifying {
        chain: cluster.chain_id,
        set: &cluster.set,
        begin: epione_types::Height::ZERO,
        verifier: &FakeVerifier,
    };
    for message in messages {
        let relabelled = match message {
            Message::Vote(mut vote) => {
                vote.from = v((vote.from.get() + 1) % 4);
                Message::Vote(vote)
            }
            Message::Proposal(mut vote, batch) => {
                vote.from = v((vote.from.get() + 1) % 4);
                Message::Proposal(vote, batch)
            }
            Message::ViewChange(mut change) => {
                change.from = v((change.from.get() + 1) % 4);
                Message::ViewChange(change)
            }
            Message::NewView(mut new_view) => {
                new_view.from = v((new_view.from.get() + 1) % 4);
                Message::NewView(new_view)
            }
            Message::Status(mut status) => {
                status.from = v(77);
                Message::Status(status)
            }
            Message::Batch(_) | Message::Commits(_) | Message::Certificate(_) => continue,
        };
        assert!(gate.message(relabelled).is_err());
    }
}
