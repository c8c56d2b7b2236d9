//! A node that executes something else than the others halts, and then says what: real drivers in virtual time, one of whose
//! stores was altered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use epione_chaincode::keys;
use epione_consensus::{Kind, Message};
use epione_node::conduct::Offence;
use epione_node::divergence::Execution;
use epione_node::driver::jobs_max;
use epione_node::ports::Lane;
use epione_node::wire::Frame;
use epione_types::codes::Refusal;
use epione_types::id::PatientId;
use epione_types::{Height, Outcome, TxId};
use serde_json::Value;
use support::{Cluster, SECOND, id16};

/// Whose store is altered.
const ODD: usize = 3;
/// The patient that is in its store and nowhere else.
const PLANTED: usize = 5;

fn patient_key(number: usize) -> Vec<u8> {
    keys::patient(PatientId(id16(&format!("patient {number}")))).as_bytes().to_vec()
}

fn commit(cluster: &mut Cluster, number: usize) {
    let tx = cluster.patient(number);
    let id = cluster.submit(0, tx);
    cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&[id]));
}

/// Four validators, of which one holds a patient that nobody registered.
fn planted() -> Cluster {
    let mut cluster = Cluster::new(4);
    commit(&mut cluster, 0);
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    let value = cluster.state(ODD, &patient_key(0)).unwrap();
    cluster.alter_state(ODD, &patient_key(PLANTED), value);
    cluster
}

/// Registers three patients in a block, the planted one as the second; the ids.
fn register(cluster: &mut Cluster) -> Vec<TxId> {
    let txs = [4, PLANTED, 6].map(|number| cluster.patient(number)).to_vec();
    let ids = cluster.hand_in(0, txs);
    cluster.run_until(30 * SECOND, |cluster| (0..3).all(|node| cluster.has(node, &ids)));
    ids
}

fn divergence(cluster: &Cluster) -> Value {
    cluster.explain(ODD)["divergence"].clone()
}

fn is_halted(cluster: &Cluster) -> bool {
    cluster.explain(ODD)["step"] == "HALTED"
}

fn is_found(cluster: &Cluster) -> bool {
    divergence(cluster) != Value::Null
}

fn is_seal(frame: &Frame) -> bool {
    matches!(frame, Frame::Message(Message::Vote(vote)) if vote.vote.kind == Kind::Seal)
}

/// The planted patient is what is named.
#[track_caller]
fn names_the_planted_one(cluster: &Cluster, ids: &[TxId], there: &str) {
    let receipt = cluster.receipt(0, &ids[1]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Ok);
    let Outcome::Refused(why) = cluster.receipt(ODD, &ids[1]).unwrap().outcome else { panic!("refused") };
    let it = divergence(cluster);
    let (height, index, id) = (receipt.height, receipt.index, ids[1]);
    let key = keys::shown(&patient_key(PLANTED));
    assert_eq!(it["height"], height.0);
    assert_eq!(
        it["transaction"],
        serde_json::json!({ "index": index, "id": id.to_string(), "here": why.name(), "there": "OK" })
    );
    assert_eq!((&it["key"], &it["altered_key"]), (&Value::from(key.clone()), &Value::from(key.clone())));
    let text = it["text"].as_str().unwrap();
    let start = format!("at height {height} transaction {index} ({id}) differs: here {why}, {there} OK; ");
    assert!(text.starts_with(&start), "{text}");
    let end = format!(
        "{key} (written there); this node's store was altered: {key} does not hold what the state tree does"
    );
    assert!(text.ends_with(&end), "{text}");
    let summary = cluster.explain(ODD)["summary"].as_str().unwrap().to_owned();
    assert!(summary.starts_with("voting has stopped at height ") && summary.contains(text), "{summary}");
}

#[test]
fn the_first_transaction_and_key_that_differ_are_named_and_the_node_votes_no_more() {
    let mut cluster = planted();
    let ids = register(&mut cluster);
    cluster.run_until(10 * SECOND, is_found);
    names_the_planted_one(&cluster, &ids, "at the quorum");
    assert!((0..3).all(|peer| cluster.offences(ODD, peer, Offence::ExecutionInvalid) == 0));
    let halted_at = cluster.node(ODD).head().height;
    cluster.keep_frames();
    for number in 10..13 {
        let tx = cluster.patient(number);
        let id = cluster.submit(0, tx);
        cluster.run_until(30 * SECOND, |cluster| (0..3).all(|node| cluster.has(node, &[id])));
    }
    cluster.run(10 * SECOND);
    let voted = |bytes: &Bytes| {
        let frame = Frame::decode(bytes).unwrap();
        let seeks = matches!(frame, Frame::FetchExecution { .. } | Frame::Execution(_));
        assert!(!seeks, "it is found: nobody asks");
        let Frame::Message(Message::Vote(vote) | Message::Proposal(vote, _)) = frame else { return false };
        vote.from.get() == ODD && vote.vote.kind != Kind::Suspect && vote.vote.height > halted_at
    };
    assert!(!cluster.frames().iter().any(|(_, bytes)| voted(bytes)));
    assert_eq!(cluster.node(ODD).head().height, halted_at);
    // A restart undoes nothing, and finds it again.
    cluster.restart(ODD);
    assert!(is_halted(&cluster) && !is_found(&cluster));
    cluster.run_until(10 * SECOND, is_found);
    names_the_planted_one(&cluster, &ids, "at the quorum");
    assert!(cluster.most_jobs(ODD, Lane::Serve) <= jobs_max(Lane::Serve));
}

#[test]
fn a_peer_that_lies_is_refused_and_the_next_one_asked() {
    type Lie = fn(&mut Execution);
    let lies: [Lie; 4] = [
        |it| it.receipts[1].outcome = Outcome::Refused(Refusal::Expired),
        |it| it.header.state_root = support::hash("another state"),
        |it| it.changes = Some(Bytes::new()),
        |it| it.changes = Some(Bytes::from_static(b"no changes at all")),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut cluster = planted();
        cluster.tamper(
            &[],
            Box::new(move |from, _, mut frame| {
                if let Frame::Execution(execution) = &mut frame {
                    assert_ne!(from, 2, "the second one told the truth");
                    if from == 0 {
                        lie(execution);
                    }
                }
                Some(frame)
            }),
        );
        let ids = register(&mut cluster);
        cluster.run_until(4 * SECOND, is_found);
        names_the_planted_one(&cluster, &ids, "at the quorum");
        let counts = [0, 1, 2].map(|peer| cluster.offences(ODD, peer, Offence::ExecutionInvalid));
        assert_eq!(counts, [1, 0, 0], "lie {number}");
    }
}

#[test]
fn a_peer_that_says_nothing_is_passed_over() {
    let mut cluster = planted();
    let asked: Rc<Cell<usize>> = Rc::default();
    let count = asked.clone();
    cluster.tamper(
        &[],
        Box::new(move |_, to, frame| {
            let question = matches!(frame, Frame::FetchExecution { .. });
            count.set(count.get() + usize::from(question));
            (to != 0 || !question).then_some(frame)
        }),
    );
    let ids = register(&mut cluster);
    cluster.run_until(4 * SECOND, is_halted);
    cluster.run(4 * SECOND);
    assert!(
        !is_found(&cluster) && asked.get() == 1,
        "it may take its time, and nobody else is asked meanwhile"
    );
    cluster.run(2 * SECOND);
    names_the_planted_one(&cluster, &ids, "at the quorum");
    assert_eq!(asked.get(), 2);
}

#[test]
fn when_nobody_answers_all_are_asked_again_and_not_at_once() {
    let mut cluster = planted();
    let asked: Rc<Cell<usize>> = Rc::default();
    let count = asked.clone();
    cluster.tamper(
        &[],
        Box::new(move |_, _, frame| {
            let question = matches!(frame, Frame::FetchExecution { .. });
            count.set(count.get() + usize::from(question));
            (!question).then_some(frame)
        }),
    );
    let ids = register(&mut cluster);
    cluster.run_until(4 * SECOND, is_halted);
    cluster.run(60 * SECOND);
    assert_eq!(asked.get(), 3);
    cluster.tamper(&[], Box::new(|_, _, frame| Some(frame)));
    cluster.run(10 * SECOND);
    assert!(!is_found(&cluster));
    cluster.run_until(120 * SECOND, is_found);
    names_the_planted_one(&cluster, &ids, "at the quorum");
}

#[test]
fn changes_that_one_peer_has_forgotten_are_asked_of_the_others() {
    for forgetful in [1, 3] {
        let mut cluster = planted();
        cluster.tamper(
            &[],
            Box::new(move |from, _, mut frame| {
                if let Frame::Execution(execution) = &mut frame
                    && from < forgetful
                {
                    execution.changes = None;
                }
                Some(frame)
            }),
        );
        let ids = register(&mut cluster);
        cluster.run_until(4 * SECOND, is_found);
        cluster.run(SECOND);
        if forgetful == 1 {
            names_the_planted_one(&cluster, &ids, "at the quorum");
            continue;
        }
        let it = divergence(&cluster);
        assert_eq!((&it["transaction"]["id"], &it["key"]), (&Value::from(ids[1].to_string()), &Value::Null));
        let text = it["text"].as_str().unwrap();
        assert!(text.contains("; which keys differ is forgotten at the one that was asked"), "{text}");
    }
}

#[test]
fn a_block_that_differs_below_the_one_that_was_compared_is_found() {
    let mut cluster = planted();
    let open: Rc<Cell<bool>> = Rc::default();
    let opened = open.clone();
    // It hears of no Seal and no certificate until it has executed more than the first block that differs.
    cluster.tamper(
        &[],
        Box::new(move |_, to, frame| {
            let certifies = matches!(&frame, Frame::Message(Message::Certificate(_)));
            let hears = to != ODD || !(is_seal(&frame) || certifies && !opened.get());
            hears.then_some(frame)
        }),
    );
    let ids = register(&mut cluster);
    for number in 10..13 {
        let tx = cluster.patient(number);
        let id = cluster.submit(0, tx);
        cluster.run_until(30 * SECOND, |cluster| cluster.all_have(&[id]));
    }
    let (first, top) = (cluster.receipt(0, &ids[1]).unwrap().height, cluster.node(ODD).head().height);
    assert!(top >= first.plus(3) && !is_halted(&cluster));
    open.set(true);
    cluster.run_until(10 * SECOND, is_found);
    let summary = cluster.explain(ODD)["summary"].as_str().unwrap().to_owned();
    assert!(summary.contains(&format!("at height {top} a quorum sealed header ")), "{summary}");
    names_the_planted_one(&cluster, &ids, "at the quorum");
}

#[test]
fn one_that_executes_again_and_otherwise_hears_its_peers_and_says_what() {
    let mut cluster = Cluster::new(4);
    commit(&mut cluster, 0);
    let value = cluster.state(ODD, &patient_key(0)).unwrap();
    let ids = register(&mut cluster);
    for number in 10..25 {
        commit(&mut cluster, number);
    }
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    // Its store forgets all blocks, of which its log has what was sealed, and holds a patient that nobody registered.
    let height = cluster.receipt(0, &ids[1]).unwrap().height;
    cluster.store(ODD).crash(|_| 0);
    cluster.alter_state(ODD, &patient_key(PLANTED), value);
    cluster.slow_lanes(true);
    cluster.restart(ODD);
    cluster.run_until(10 * SECOND, is_found);
    assert!(cluster.is_restoring(ODD), "it does not wait until all that it sealed is executed again");
    names_the_planted_one(&cluster, &ids, "as it was sealed");
    let summary = cluster.explain(ODD)["summary"].as_str().unwrap().to_owned();
    assert!(summary.contains(&format!("executing height {height} again gave header ")), "{summary}");
}

#[test]
fn nobody_is_blamed_for_not_having_what_one_node_alone_sealed() {
    for wrong_again in [false, true] {
        let mut cluster = planted();
        let value = cluster.state(ODD, &patient_key(0)).unwrap();
        let hears_no_seal = |_, to, frame: Frame| {
            let certifies = matches!(&frame, Frame::Message(Message::Certificate(_)));
            (to != ODD || !(is_seal(&frame) || certifies)).then_some(frame)
        };
        cluster.tamper(&[], Box::new(hears_no_seal));
        let ids = register(&mut cluster);
        cluster.run_until(5 * SECOND, |cluster| cluster.has(ODD, &ids));
        cluster.run(SECOND / 10); // sealed, too
        let height = cluster.receipt(ODD, &ids[1]).unwrap().height;
        assert!(!is_halted(&cluster));
        // It loses its store, and with it the patient that nobody registered: executed again it is right, and was wrong. Or it
        // is wrong in another way.
        cluster.store(ODD).crash(|_| 0);
        if wrong_again {
            cluster.alter_state(ODD, &patient_key(6), value);
        }
        cluster.restart(ODD);
        cluster.run_until(5 * SECOND, is_halted);
        cluster.run(SECOND);
        let summary = cluster.explain(ODD)["summary"].as_str().unwrap().to_owned();
        assert!(summary.contains(&format!("executing height {height} again gave header ")), "{summary}");
        let told = format!(
            "; a peer has the block {height} that this node has now: only what it sealed before differs, for "
        );
        assert_eq!((summary.contains(&told), is_found(&cluster)), (!wrong_again, !wrong_again), "{summary}");
        assert_eq!([0, 1, 2].map(|peer| cluster.offences(ODD, peer, Offence::ExecutionInvalid)), [0; 3]);
    }
}

#[test]
fn a_comparison_is_one_job_beside_the_reads_for_peers() {
    let mut cluster = planted();
    let ids = register(&mut cluster);
    cluster.slow_lanes(true);
    let ask = Frame::FetchBlocks { from: Height(1), to: Height(1) };
    let execution = Frame::FetchExecution { height: Height(1) };
    for _ in 0..1_000 {
        for peer in 0..3 {
            for question in [&ask, &execution] {
                cluster.inject_on(peer, ODD, question.class(), &question.encode());
            }
        }
        cluster.run(5);
    }
    names_the_planted_one(&cluster, &ids, "at the quorum");
    assert_eq!(cluster.most_jobs(ODD, Lane::Serve), 2 * 3 + 1);
}

#[test]
fn what_nobody_asked_for_is_not_looked_at() {
    let mut cluster = Cluster::new(4);
    commit(&mut cluster, 0);
    cluster.keep_frames();
    let ask = Frame::FetchExecution { height: Height(1) };
    cluster.inject_on(2, 1, ask.class(), &ask.encode());
    cluster.run(SECOND);
    let mut frames = cluster.frames().into_iter().map(|(_, bytes)| Frame::decode(&bytes).unwrap());
    let answer = frames.find(|frame| matches!(frame, Frame::Execution(_))).unwrap();
    cluster.inject_on(2, 1, answer.class(), &answer.encode());
    cluster.run(SECOND);
    assert_eq!(cluster.offences(1, 2, Offence::ExecutionUnasked), 1);
    commit(&mut cluster, 1);
    cluster.check();
    // Nor when it is another's turn.
    let mut cluster = planted();
    let not_to_0 =
        |_, to, frame| (to != 0 || !matches!(frame, Frame::FetchExecution { .. })).then_some(frame);
    cluster.tamper(&[], Box::new(not_to_0));
    register(&mut cluster);
    cluster.run_until(4 * SECOND, is_halted);
    cluster.inject_on(2, ODD, answer.class(), &answer.encode());
    cluster.run(SECOND);
    assert_eq!(cluster.offences(ODD, 2, Offence::ExecutionUnasked), 1);
    assert!(!is_found(&cluster));
}

#[test]
fn an_operator_hears_that_nobody_certifies_what_a_halted_node_would_make_a_snapshot_of() {
    let mut cluster = planted();
    register(&mut cluster);
    cluster.run_until(5 * SECOND, is_halted);
    let made = cluster.want_snapshot(ODD);
    cluster.run(5 * SECOND);
    let word = made.try_recv().expect("a word");
    assert!(word.clone().is_err_and(|why| why.contains("has stopped voting")), "{word:?}");
}
