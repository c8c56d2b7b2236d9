//! Every consensus and fetch message is hostile until verified. Each way of being wrong has its test, over every kind of
//! message and every place in it where it can be wrong; the same message without the fault is let in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic; that is how it fails"
)]

mod common;

use std::sync::Arc;

use common::forge::Forge;
use common::{Cluster, FakeVerifier, v};
use epione_consensus::{
    Alarm, BlocksAnswer, CommitCertificate, Kind, Message, Misbehavior, NewView, Payload, Rejected,
    SignedVote, Verifying, ViewChange, max_message_bytes,
};
use epione_types::codec;
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::{
    Batch, Certificate, ChainId, Epoch, Hash, Height, Signature, SignatureSet, ValidatorIndex, View,
};

/// A cluster at every size where it makes sense: f = 1 and 2, n = 3f+1 and not.
fn clusters() -> impl Iterator<Item = Cluster> {
    [4, 5, 6, 7].into_iter().map(Cluster::new)
}

fn honest(cluster: &Cluster) -> Forge<'_> {
    Forge { chain: cluster.chain_id, epoch: Epoch::ZERO, set: &cluster.set }
}

fn gate(cluster: &Cluster) -> Verifying<'_, FakeVerifier> {
    Verifying { chain: cluster.chain_id, set: &cluster.set, begin: Height::ZERO, verifier: &FakeVerifier }
}

fn payload(cluster: &mut Cluster) -> Arc<Payload> {
    cluster.batch(0, "x")
}

fn verdict(cluster: &Cluster, message: Message) -> Result<(), Rejected> {
    gate(cluster).message(message).map(|_| ())
}

fn change_of(body: &NewView) -> ViewChange {
    body.view_changes[0].body.clone()
}

#[test]
fn without_a_fault_every_kind_is_let_in() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        for (name, message) in honest(&cluster).all(&payload) {
            assert_eq!(verdict(&cluster, message), Ok(()), "{name}");
        }
    }
}

/// A set with each of its signers in turn under another name.
fn renamed(set: &SignatureSet, to: ValidatorIndex) -> Vec<SignatureSet> {
    let one = |at: usize| {
        let rename = |(i, (who, signature))| (if i == at { to } else { who }, signature);
        set.iter().enumerate().map(rename).collect()
    };
    (0..set.len()).map(one).collect()
}

/// A message with each of its own signers in turn under another name.
fn under_the_name_of(to: ValidatorIndex, message: &Message) -> Vec<Message> {
    let mut copy = message.clone();
    match &mut copy {
        Message::Vote(vote) | Message::Proposal(vote, _) => vote.from = to,
        Message::ViewChange(change) => change.from = to,
        Message::NewView(new_view) => new_view.from = to,
        Message::Status(status) => status.from = to,
        Message::Commits(one) => {
            let with = |commits| Message::Commits(CommitCertificate { commits, ..one.clone() });
            return renamed(&one.commits, to).into_iter().map(with).collect();
        }
        Message::Certificate(one) => {
            let with = |signatures| Message::Certificate(Certificate { signatures, ..one.clone() });
            return renamed(&one.signatures, to).into_iter().map(with).collect();
        }
        Message::Batch(_) => return Vec::new(),
    }
    vec![copy]
}

/// The same for what stands inside of a ViewChange and a NewView, whose own signatures are right.
fn inside_under_the_name_of(to: ValidatorIndex, forge: &Forge<'_>) -> Vec<Message> {
    let good = forge.full_change(2, 1).body;
    let mut bodies = Vec::new();
    for prepares in renamed(&good.prepared[0].prepares, to) {
        let mut body = good.clone();
        body.prepared[0].prepares = prepares;
        bodies.push(body);
    }
    let places: [fn(&mut ViewChange) -> &mut ValidatorIndex; 3] = [
        |body| &mut body.prepared[0].pre_prepare.from,
        |body| &mut body.reason[0].from,
        |body| &mut body.reason[1].from,
    ];
    for place in places {
        let mut body = good.clone();
        *place(&mut body) = to;
        bodies.push(body);
    }
    bodies.retain(|body| *body != good);
    let mut messages: Vec<Message> =
        bodies.into_iter().map(|body| Message::ViewChange(Box::new(forge.change(2, body)))).collect();
    let good = forge.full_new_view(1);
    for at in 0..good.view_changes.len() {
        let mut body = good.clone();
        body.view_changes[at].from = to;
        if body != good {
            messages.push(Message::NewView(Box::new(forge.new_view(forge.primary(1), body))));
        }
    }
    messages
}

#[test]
fn a_wrong_sender_is_refused_wherever_one_stands() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        let (n, forge) = (cluster.n(), honest(&cluster));
        for to in (0..n + 2).chain([MAX_VALIDATORS, usize::from(u16::MAX)]).map(v) {
            for (name, message) in forge.all(&payload) {
                for wrong in under_the_name_of(to, &message).into_iter().filter(|wrong| *wrong != message) {
                    assert!(verdict(&cluster, wrong).is_err(), "{name}, from {to} of {n}");
                }
            }
            for wrong in inside_under_the_name_of(to, &forge) {
                assert!(verdict(&cluster, wrong).is_err(), "inside, from {to} of {n}");
            }
        }
    }
}

#[test]
fn who_is_not_primary_neither_proposes_nor_opens_views() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        let forge = honest(&cluster);
        for from in 0..cluster.n() {
            let vote = forge.vote(from, Kind::PrePrepare, 0, 1, payload.digest());
            let expected = if from == forge.primary(0) { Ok(()) } else { Err(Rejected::NotPrimary) };
            assert_eq!(verdict(&cluster, Message::Proposal(vote, None)), expected);
            let signed = forge.new_view(from, forge.full_new_view(1));
            let expected = if from == forge.primary(1) { Ok(()) } else { Err(Rejected::NotPrimary) };
            assert_eq!(verdict(&cluster, Message::NewView(Box::new(signed))), expected);
        }
    }
}

#[test]
fn a_wrong_epoch_is_refused_in_every_kind_and_inside() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        for epoch in [1, u64::MAX] {
            let later = Forge { epoch: Epoch(epoch), ..honest(&cluster) };
            for (name, message) in later.all(&payload) {
                assert_eq!(verdict(&cluster, message), Err(Rejected::Epoch), "{name}");
            }
            // Signed for this epoch by its sender, and a part of it is of another.
            let now = honest(&cluster);
            let good = now.full_change(2, 1).body;
            let foreign = [
                ViewChange { certificate: later.full_change(2, 1).body.certificate, ..good.clone() },
                ViewChange { prepared: later.full_change(2, 1).body.prepared, ..good.clone() },
                ViewChange { reason: later.full_change(2, 1).body.reason, ..good },
            ];
            for body in foreign {
                let message = Message::ViewChange(Box::new(now.change(2, body)));
                assert_eq!(verdict(&cluster, message), Err(Rejected::Epoch));
            }
            let mut body = now.full_new_view(1);
            body.view_changes[1] = later.full_change(1, 1);
            let message = Message::NewView(Box::new(now.new_view(now.primary(1), body)));
            assert_eq!(verdict(&cluster, message), Err(Rejected::Epoch));
        }
    }
}

#[test]
fn a_wrong_chain_is_refused_in_every_kind_and_inside() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        let here = honest(&cluster);
        let there = Forge { chain: ChainId([7; 32]), ..here };
        for (name, message) in there.all(&payload) {
            assert_eq!(verdict(&cluster, message), Err(Rejected::Signature), "{name}");
        }
        let (good, foreign) = (here.full_change(2, 1).body, there.full_change(2, 1).body);
        for body in [
            ViewChange { certificate: foreign.certificate, ..good.clone() },
            ViewChange { prepared: foreign.prepared, ..good.clone() },
            ViewChange { reason: foreign.reason, ..good },
        ] {
            let message = Message::ViewChange(Box::new(here.change(2, body)));
            assert_eq!(verdict(&cluster, message), Err(Rejected::Signature));
        }
    }
}

#[test]
fn huge_counts_are_refused_before_they_cost_anything() {
    for mut cluster in clusters() {
        let payload = payload(&mut cluster);
        let (n, window, forge) = (cluster.n(), cluster.set.params.window, honest(&cluster));
        let malformed = |message| {
            let refused = verdict(&cluster, message);
            assert!(matches!(refused, Err(Rejected::Malformed(_))), "{refused:?}");
        };
        malformed(forge.status(1, usize::try_from(window).unwrap() + 1));
        let good = forge.full_change(2, 1).body;
        let change = |body| Message::ViewChange(Box::new(forge.change(2, body)));
        // Beyond the window, or the same height twice: so there are at most W.
        let mut body = good.clone();
        body.prepared = (0..=window).map(|i| forge.prepared(0, 2 + i, Hash([3; 32]))).collect();
        malformed(change(body));
        let mut body = good.clone();
        body.prepared = vec![good.prepared[0].clone(); 9];
        malformed(change(body));
        let mut body = good;
        body.reason = vec![forge.suspect(1, 0); n + 1];
        malformed(change(body));
        // q ViewChanges, neither more nor less, and at most W proposals.
        let good = forge.full_new_view(1);
        let new_view = |body| Message::NewView(Box::new(forge.new_view(forge.primary(1), body)));
        for count in [0, 1, good.view_changes.len() - 1] {
            let view_changes = good.view_changes[..count].to_vec();
            malformed(new_view(NewView { view_changes, ..good.clone() }));
        }
        let all: Vec<_> = (0..n).map(|from| forge.full_change(from, 1)).collect();
        malformed(new_view(NewView { view_changes: all, ..good.clone() }));
        let list =
            (0..=window).map(|i| forge.vote(forge.primary(1), Kind::PrePrepare, 1, 2 + i, Hash([3; 32])));
        malformed(new_view(NewView { pre_prepares: list.collect(), ..good }));
        // A length of 2^60 in the place of each length that a message has: nothing is allocated for it.
        let limit = max_message_bytes(&cluster.set);
        for (name, message) in forge.all(&payload) {
            let bytes = message.encode();
            for at in 0..bytes.len().saturating_sub(8) {
                let Some(length) = bytes[at..at + 8].first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
                else {
                    continue;
                };
                if length == 0 || length > limit as u64 {
                    continue; // no length of anything
                }
                let mut hostile = bytes.to_vec();
                hostile[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
                if let Ok(decoded) = Message::decode(&hostile, &cluster.set) {
                    assert!(verdict(&cluster, decoded).is_err(), "{name}, byte {at}");
                }
            }
            let long = [&bytes[..], &vec![0; limit]].concat();
            assert!(
                Message::decode(&long, &cluster.set).unwrap_err().to_string().contains("exceed the limit")
            );
        }
    }
}

#[test]
fn duplicate_signers_cannot_be_decoded_nor_counted() {
    for cluster in clusters() {
        let (forge, digest) = (honest(&cluster), Hash([5; 32]));
        // On the wire a set is a list; one signer twice, or out of order, is no encoding of a set.
        let list: Vec<(ValidatorIndex, Signature)> = forge.certificate(1, digest).signatures.into();
        let encoded = |list: &[(ValidatorIndex, Signature)]| codec::encode(&list.to_vec());
        assert!(codec::decode::<SignatureSet>(&encoded(&list), 1 << 16).is_ok());
        let mut doubled = list.clone();
        doubled.insert(1, list[0]);
        assert!(codec::decode::<SignatureSet>(&encoded(&doubled), 1 << 16).is_err());
        let mut reversed = list.clone();
        reversed.reverse();
        assert!(codec::decode::<SignatureSet>(&encoded(&reversed), 1 << 16).is_err());
        let many: Vec<_> = (0..=MAX_VALIDATORS).map(|i| (v(i), list[0].1)).collect();
        assert!(codec::decode::<SignatureSet>(&encoded(&many), 1 << 20).is_err());
        // Made in memory, it is one signer.
        let mut certificate = forge.certificate(1, digest);
        let once = list[..1].iter().chain(&list[..1]).chain(&list[..cluster.set.quorum() - 1]);
        certificate.signatures = once.copied().collect();
        assert_eq!(verdict(&cluster, Message::Certificate(certificate)), Err(Rejected::ShortCertificate));
        // The primary's Prepare beside its PrePrepare.
        let mut body = forge.full_change(2, 1).body;
        let own = forge.vote(0, Kind::Prepare, 0, 2, Hash([2; 32]));
        body.prepared[0].prepares.insert(v(0), own.signature);
        let message = Message::ViewChange(Box::new(forge.change(2, body)));
        assert!(matches!(verdict(&cluster, message), Err(Rejected::Malformed(_))));
        // One ViewChange twice among q, or one validator with two.
        for again in [
            forge.full_change(0, 1),
            forge.change(0, ViewChange { reason: Vec::new(), ..change_of(&forge.full_new_view(1)) }),
        ] {
            let mut body = forge.full_new_view(1);
            body.view_changes[1] = again;
            let message = Message::NewView(Box::new(forge.new_view(forge.primary(1), body)));
            assert!(matches!(verdict(&cluster, message), Err(Rejected::Malformed(_))));
        }
    }
}

/// Each copy of a set with one signature that is not valid, and one with a valid set and an invalid one more.
fn spoilt(set: &SignatureSet, outsider: usize) -> Vec<SignatureSet> {
    let one = |at: usize| {
        let spoil = |(i, (who, mut signature)): (usize, (ValidatorIndex, Signature))| {
            signature.0[63] ^= u8::from(i == at);
            (who, signature)
        };
        set.iter().enumerate().map(spoil).collect()
    };
    let mut all: Vec<SignatureSet> = (0..set.len()).map(one).collect();
    let mut more = set.clone();
    more.insert(v(outsider), Signature([1; 64]));
    all.push(more);
    all
}

#[test]
fn a_certificate_with_one_bad_signature_is_refused_wherever_it_stands() {
    for cluster in clusters() {
        let (n, forge, digest) = (cluster.n(), honest(&cluster), Hash([5; 32]));
        let refused =
            |what: &str, message| assert_eq!(verdict(&cluster, message), Err(Rejected::Signature), "{what}");
        let certificate = forge.certificate(1, digest);
        for signatures in spoilt(&certificate.signatures, n - 1) {
            refused("Certificate", Message::Certificate(Certificate { signatures, ..certificate.clone() }));
        }
        let ordered = forge.commits(0, 1, digest);
        for commits in spoilt(&ordered.commits, n - 1) {
            refused("Commits", Message::Commits(CommitCertificate { commits, ..ordered.clone() }));
        }
        let good = forge.full_change(2, 1).body;
        let mut bodies = Vec::new();
        for prepares in spoilt(&good.prepared[0].prepares, n - 1) {
            let mut body = good.clone();
            body.prepared[0].prepares = prepares;
            bodies.push(body);
        }
        for signatures in spoilt(&certificate.signatures, n - 1) {
            let mut body = good.clone();
            body.certificate.as_mut().unwrap().signatures = signatures;
            bodies.push(body);
        }
        let votes: [fn(&mut ViewChange) -> &mut SignedVote; 2] =
            [|body| &mut body.prepared[0].pre_prepare, |body| &mut body.reason[1]];
        for place in votes {
            let mut body = good.clone();
            place(&mut body).signature.0[0] ^= 1;
            bodies.push(body);
        }
        for body in bodies {
            refused("ViewChange", Message::ViewChange(Box::new(forge.change(2, body.clone()))));
            for at in 0..cluster.set.quorum() {
                let mut new_view = forge.full_new_view(1);
                new_view.view_changes[at] = forge.change(at, body.clone());
                refused("NewView", Message::NewView(Box::new(forge.new_view(forge.primary(1), new_view))));
            }
        }
        let mut new_view = forge.full_new_view(1);
        new_view.view_changes[0].signature.0[0] ^= 1;
        refused("NewView", Message::NewView(Box::new(forge.new_view(forge.primary(1), new_view))));
        let mut new_view = forge.full_new_view(1);
        new_view.pre_prepares[0].signature.0[0] ^= 1;
        refused("NewView", Message::NewView(Box::new(forge.new_view(forge.primary(1), new_view))));
    }
}

#[test]
fn a_certificate_that_is_one_signature_short_is_refused_wherever_it_stands() {
    let short = |set: &SignatureSet| set.iter().skip(1).collect::<SignatureSet>();
    for cluster in clusters() {
        let (forge, digest) = (honest(&cluster), Hash([5; 32]));
        let refused = |message| assert_eq!(verdict(&cluster, message), Err(Rejected::ShortCertificate));
        let mut certificate = forge.certificate(1, digest);
        certificate.signatures = short(&certificate.signatures);
        refused(Message::Certificate(certificate));
        let mut ordered = forge.commits(0, 1, digest);
        ordered.commits = short(&ordered.commits);
        refused(Message::Commits(ordered));
        let mut body = forge.full_change(2, 1).body;
        body.prepared[0].prepares = short(&body.prepared[0].prepares);
        refused(Message::ViewChange(Box::new(forge.change(2, body))));
    }
}

/// Three heights prepared everywhere and committed nowhere, the primary gone, and the NewView that follows, which never
/// arrives.
fn prepared_cluster(n: usize) -> (Cluster, NewView) {
    let mut cluster = Cluster::new(n);
    cluster.lose = Box::new(|(_, _, message)| match message {
        Message::Vote(vote) => vote.vote.kind == Kind::Commit,
        Message::NewView(_) => true,
        _ => false,
    });
    for text in ["one", "two", "three"] {
        cluster.propose(0, text);
    }
    cluster.settle();
    cluster.crash(0);
    cluster.pending(true);
    cluster.tick(1_500);
    let opened = cluster.sent.iter().find_map(|(_, _, message)| match message {
        Message::NewView(new_view) => Some(new_view.body.clone()),
        _ => None,
    });
    (cluster, opened.expect("the next primary opens its view"))
}

/// The NewView with one lie in its list, signed as it stands.
fn lying(forge: &Forge<'_>, mut body: NewView, lie: usize) -> Message {
    let primary = forge.primary(1);
    let claim = |height: Height, digest| forge.vote(primary, Kind::PrePrepare, 1, height.0, digest);
    let list = &mut body.pre_prepares;
    match lie {
        0..3 => list[lie] = claim(list[lie].vote.height, Hash([9; 32])),
        3..6 => list[lie - 3] = claim(list[lie - 3].vote.height, Batch::null_digest()),
        6 => list.truncate(2),
        7 => list.rotate_left(1),
        8 => list.swap(0, 1),
        _ => list.push(claim(Height(4), Hash([9; 32]))),
    }
    Message::NewView(Box::new(forge.new_view(primary, body)))
}

#[test]
fn a_new_view_that_lies_by_one_digest_is_proof_and_is_not_entered() {
    for n in [4, 5, 6, 7] {
        let (mut cluster, body) = prepared_cluster(n);
        assert_eq!(body.pre_prepares.len(), 3, "three heights are carried over");
        let last = n - 1;
        for lie in 0..10 {
            let (mut cluster, _) = prepared_cluster(n);
            let before = cluster.view(last);
            let message = lying(&honest(&cluster), body.clone(), lie);
            cluster.byzantine.insert(1);
            cluster.receive(last, message).unwrap();
            assert_eq!(cluster.view(last), before, "lie {lie} was entered");
            assert_eq!(
                cluster.replica(last).waiting().asked,
                View(2),
                "lie {lie}: the next view is asked for"
            );
            let proof = Alarm::FaultyPrimary { view: View(1), what: Misbehavior::NewViewList };
            assert!(cluster.nodes[last].alarms.contains(&proof), "lie {lie}");
            let causes = cluster.replica(last).explain().changes;
            let names: Vec<_> = causes.iter().map(|(cause, count)| (cause.name(), *count)).collect();
            assert!(names.contains(&("PRIMARY_NEW_VIEW_LIST", 1)), "lie {lie}: {names:?}");
        }
        let truth = Message::NewView(Box::new(honest(&cluster).new_view(1, body)));
        cluster.receive(last, truth).unwrap();
        assert_eq!(cluster.view(last), 1, "the truth is entered");
    }
}

/// Five blocks and an answer with all of them.
fn answered(n: usize) -> (Cluster, BlocksAnswer) {
    let mut cluster = Cluster::new(n);
    for text in ["1", "2", "3", "4", "5"] {
        cluster.propose(0, text);
        cluster.settle();
    }
    let answer = cluster.blocks(1, Height(1), Height(5)).unwrap();
    assert_eq!(answer.blocks.len(), 5);
    (cluster, answer)
}

#[test]
fn blocks_with_a_swapped_body_are_refused_at_every_height() {
    for n in [4, 5, 6, 7] {
        let (cluster, answer) = answered(n);
        assert!(gate(&cluster).blocks(answer.clone()).is_ok());
        for at in 0..5 {
            for other in (0..5).filter(|other| *other != at) {
                let mut copied = answer.clone();
                copied.blocks[at].batch = answer.blocks[other].batch.clone();
                let mut exchanged = copied.clone();
                exchanged.blocks[other].batch = answer.blocks[at].batch.clone();
                for swapped in [copied, exchanged] {
                    let refused = gate(&cluster).blocks(swapped).unwrap_err();
                    assert_eq!(refused, Rejected::Malformed("batch is not the header's"));
                }
            }
            // With a header that names it: then the chain of hashes is broken, here or at the certificate.
            let mut renamed = answer.clone();
            let null = Payload::new(Batch::Null);
            renamed.blocks[at].batch = null.bytes().clone();
            renamed.blocks[at].header.batch_digest = null.digest();
            assert!(gate(&cluster).blocks(renamed).is_err(), "block {at}");
        }
    }
}

#[test]
fn blocks_that_are_no_chain_up_to_their_certificate_are_refused() {
    for n in [4, 5, 6, 7] {
        let (cluster, answer) = answered(n);
        let forge = honest(&cluster);
        let refused = |answer: BlocksAnswer, what: &str| {
            assert!(gate(&cluster).blocks(answer).is_err(), "{what}");
        };
        let with = |change: &dyn Fn(&mut BlocksAnswer)| {
            let mut copy = answer.clone();
            change(&mut copy);
            copy
        };
        refused(with(&|answer| answer.blocks.clear()), "no blocks");
        refused(with(&|answer| drop(answer.blocks.pop())), "certificate of another height");
        refused(with(&|answer| drop(answer.blocks.remove(2))), "a hole");
        refused(with(&|answer| answer.blocks.swap(0, 1)), "out of order");
        refused(with(&|answer| answer.blocks.insert(1, answer.blocks[1].clone())), "one twice");
        refused(with(&|answer| answer.certificate.epoch = Epoch(1)), "another epoch");
        refused(with(&|answer| answer.blocks[0].header.height = Height(u64::MAX)), "another height");
        for signatures in spoilt(&answer.certificate.signatures, n - 1) {
            if signatures == answer.certificate.signatures {
                continue; // everybody had signed: there is no outsider
            }
            let copy = with(&|answer| answer.certificate.signatures = signatures.clone());
            refused(copy, "one bad signature");
        }
        let header = answer.blocks[4].header.hash();
        let elsewhere = Forge { chain: ChainId([7; 32]), ..forge }.certificate(5, header);
        refused(with(&|answer| answer.certificate = elsewhere.clone()), "another chain");
    }
}
