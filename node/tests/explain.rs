//! A node that explains itself: every situation as a paragraph of `tests/golden/explain.txt`, and some of them met by real
//! drivers in virtual time.
//!
//! The file is for reading: what an operator would see. To bless a deliberate change:
//! `EPIONE_BLESS=1 cargo test -p epione-node --test explain`, which writes it and fails all the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use epione_consensus::{Action, Ballot, Cause, Change, Due, Explanation, Foreign, Halt, Kind, Place, Stage};
use epione_node::divergence::{Differing, Divergence};
use epione_node::explain::{Peer, Snapshot, SnapshotFetch, answer, fields};
use epione_types::id::OrgId;
use epione_types::{ChainId, Epoch, Hash, Height, TxId, ValidatorIndex, View, quorum};
use serde_json::{Value, json};
use support::{Cluster, SECOND, id16};

fn v(index: u16) -> ValidatorIndex {
    ValidatorIndex(index)
}

/// A node of `n`, at height 12, that waits for transactions, with everybody there.
fn idle(n: u16) -> Snapshot {
    let me = n - 1;
    let peer = |index: u16| Peer {
        index: v(index),
        organisation: OrgId([u8::try_from(index).unwrap() * 0x11; 16]),
        connected: true,
        other_chain: None,
        silent: false,
        lag: Some(0),
        voted: Height(12),
    };
    let place =
        Place { epoch: Epoch::ZERO, view: View::ZERO, height: Height(13), stage: Stage::Transactions };
    Snapshot {
        chain: ChainId([0xaa; 32]),
        consensus: Explanation {
            place,
            to: Height(13),
            view: View::ZERO,
            asked: View::ZERO,
            primary: v(0),
            low: Height(12),
            executed: Height(12),
            votes: None,
            awaited: Vec::new(),
            change: None,
            changes: Vec::new(),
            halted: None,
            due: Some(Due { action: Action::Retell, in_ms: 320 }),
        },
        since_ms: 61_230,
        fault: None,
        divergence: None,
        quorum: quorum::quorum(n.into()),
        follows_from: None,
        peers: (0..me).map(peer).collect(),
        lag: 0,
        fetching: None,
    }
}

impl Situation for Snapshot {}

/// Small changes of a situation.
trait Situation: Into<Snapshot> {
    /// It fetches the snapshot of height 50.
    fn snapshot(self, chunks: u32, here: u32, eta_ms: Option<u64>) -> Snapshot {
        let mut it = self.into();
        it.fetching = Some(SnapshotFetch { height: Height(50), chunks, here, bytes: 61_000_000, eta_ms });
        it
    }
    /// The links to these are down.
    fn gone(self, who: &[u16]) -> Snapshot {
        let mut it = self.into();
        it.peers
            .iter_mut()
            .filter(|peer| who.contains(&peer.index.0))
            .for_each(|peer| peer.connected = false);
        it
    }
    /// These have another genesis.
    fn of_another_chain(self, who: &[u16]) -> Snapshot {
        let mut it = self.gone(who);
        it.peers
            .iter_mut()
            .filter(|peer| who.contains(&peer.index.0))
            .for_each(|peer| peer.other_chain = Some(ChainId([0xbb; 32])));
        it
    }
    /// These are linked and say nothing.
    fn silent(self, who: &[u16]) -> Snapshot {
        let mut it = self.into();
        it.peers.iter_mut().filter(|peer| who.contains(&peer.index.0)).for_each(|peer| peer.silent = true);
        it
    }
    /// A step with votes of these; all others' are awaited.
    fn votes(self, stage: Stage, height: u64, had: &[u16], since_ms: u64) -> Snapshot {
        let mut it = self.into();
        (it.consensus.place.stage, it.consensus.place.height) = (stage, Height(height));
        it.consensus.votes = Some(Ballot { had: had.iter().map(|who| v(*who)).collect(), needed: it.quorum });
        it.consensus.awaited =
            it.peers.iter().map(|peer| peer.index).filter(|who| !had.contains(&who.0)).collect();
        it.since_ms = since_ms;
        it
    }
    /// `from` was left for `to`.
    fn left(self, from: u64, to: u64, entered: bool, causes: &[(Cause, u64)]) -> Snapshot {
        let mut it = self.into();
        let (cause, _) = causes[0];
        let change = Change { from: View(from), to: View(to), cause, given_up: to - from - 1 };
        it.consensus.change = Some(change);
        it.consensus.changes = causes.to_vec();
        it.consensus.view = View(if entered { to } else { from });
        (it.consensus.asked, it.consensus.place.view) = (View(to), View(to));
        let n = u64::try_from(it.peers.len() + 1).unwrap();
        it.consensus.primary = v(u16::try_from(to % n).unwrap());
        it
    }
    fn due(self, action: Action, in_ms: u64) -> Snapshot {
        let mut it = self.into();
        it.consensus.due = Some(Due { action, in_ms });
        it
    }
    fn stage(self, stage: Stage, from: u64, to: u64, since_ms: u64) -> Snapshot {
        let mut it = self.into();
        (it.consensus.place.stage, it.consensus.place.height, it.consensus.to) =
            (stage, Height(from), Height(to));
        it.since_ms = since_ms;
        it
    }
    fn behind(self, who: u16, heights: u64) -> Snapshot {
        let mut it = self.into();
        it.peers.iter_mut().filter(|peer| peer.index.0 == who).for_each(|peer| peer.lag = Some(heights));
        it
    }
    /// It has no vote in the epoch that began after this height.
    fn follows(self, epoch: u64, after: u64) -> Snapshot {
        let mut it = self.into();
        it.consensus.place.epoch = Epoch(epoch);
        (it.follows_from, it.quorum) = (Some(Height(after)), quorum::quorum(it.peers.len()));
        it
    }
    fn halted(self, halt: Halt) -> Snapshot {
        let mut it = self.into().stage(Stage::Halted, 12, 12, 3_723_000);
        (it.consensus.halted, it.consensus.due) = (Some(halt), None);
        it
    }
}

/// A dead primary, one stopped and one partitioned: of seven four are left.
fn three_of_seven() -> Snapshot {
    idle(7).gone(&[0, 3, 5]).votes(Stage::ViewChange, 13, &[1, 2, 4, 6], 8_400).left(
        0,
        1,
        false,
        &[(Cause::RequestLate, 1)],
    )
}

fn situations() -> Vec<(&'static str, Snapshot)> {
    let hash = |byte| Hash([byte; 32]);
    let late = [(Cause::RequestLate, 1)];
    let mut fault = idle(4).gone(&[2]);
    fault.fault = Some("the consensus log cannot be written: no space left on device".to_owned());
    let mut fetching = idle(4).stage(Stage::Blocks, 13, 52, 700).due(Action::AskForBlocks, 640);
    fetching.lag = 40;
    let mut joins = idle(5).follows(0, 0).stage(Stage::Blocks, 13, 43, 700).due(Action::AskForBlocks, 640);
    joins.lag = 31;
    let proposal = idle(4).stage(Stage::Proposal, 13, 13, 600).due(Action::Suspect(Cause::RequestLate), 400);
    vec![
        ("idle", idle(4)),
        ("alone", {
            let mut it = idle(1);
            it.consensus.due = None;
            it
        }),
        ("alone, and the next step does not come", idle(1).stage(Stage::Proposal, 13, 13, 15_000)),
        ("one node of 4 stopped, idle", idle(4).gone(&[1]).behind(1, 3)),
        (
            "one node of 4 stopped, a block under way",
            idle(4)
                .gone(&[1])
                .votes(Stage::Commits, 13, &[0, 3], 40)
                .due(Action::Suspect(Cause::SlotLate), 955),
        ),
        (
            "one node of 4 connected and silent",
            idle(4).silent(&[1]).votes(Stage::Prepares, 13, &[0, 3], 1_500),
        ),
        ("the primary of 4 is slow", {
            let mut it = proposal;
            it.consensus.awaited = vec![v(0)];
            it
        }),
        ("the primary of 4 stopped, and was replaced", idle(4).gone(&[0]).left(0, 1, true, &late)),
        ("of 7 one stopped, one is partitioned and the primary was killed: a survivor", three_of_seven()),
        (
            "of 7 one stopped, one is partitioned and the primary was killed: the partitioned one",
            idle(7).gone(&[0, 1, 2, 3, 4, 5]),
        ),
        (
            "of 7 one stopped, one is partitioned and the primary was killed: one is back, and the next primary is slow",
            {
                let mut it = three_of_seven().votes(Stage::ViewChange, 13, &[1, 2, 3, 4, 6], 300);
                it.peers[3].connected = true;
                it.consensus.awaited = vec![v(1)];
                it.due(Action::NextView(View(2)), 1_700)
            },
        ),
        (
            "of 7 one stopped, one is partitioned and the primary was killed: resumed two views later",
            idle(7).gone(&[0, 5]).behind(3, 1).left(
                0,
                2,
                true,
                &[(Cause::RequestLate, 1), (Cause::NotOpened, 1)],
            ),
        ),
        (
            "the quorum of 4 is gone",
            idle(4).gone(&[1, 2]).votes(Stage::ViewChange, 13, &[0, 3], 95_000).left(
                0,
                1,
                false,
                &[(Cause::SlotLate, 1)],
            ),
        ),
        ("the genesis of one of 4 is another", idle(4).of_another_chain(&[1])),
        ("the genesis of this node is another", idle(4).of_another_chain(&[0, 1, 2])),
        ("fetching blocks", fetching.clone()),
        ("fetching a snapshot, of which nothing is here yet", fetching.clone().snapshot(120, 0, None)),
        ("fetching a snapshot", fetching.clone().snapshot(120, 37, Some(12_400))),
        ("a snapshot is whole", fetching.snapshot(0, 0, None)),
        ("executing", idle(4).stage(Stage::Execution, 13, 14, 90)),
        ("another one is behind", idle(4).behind(2, 31)),
        (
            "everybody is here, and Seals do not come",
            idle(4).votes(Stage::Seals, 12, &[0, 3], 12_000).due(Action::AlarmSeals, 10),
        ),
        (
            "views were left for proof",
            idle(4).left(
                3,
                4,
                true,
                &[(Cause::FaultyPrimary(epione_consensus::Misbehavior::Equivocation), 1)],
            ),
        ),
        (
            "halted: another header",
            idle(4).halted(Halt::Diverged { height: Height(12), mine: hash(1), theirs: hash(2) }),
        ),
        ("halted: another header, and a peer has told why", {
            let mut it =
                idle(4).halted(Halt::Diverged { height: Height(12), mine: hash(1), theirs: hash(2) });
            it.divergence = Some(Divergence {
                height: Height(12),
                transaction: Some(Differing {
                    index: 3,
                    id: TxId([0xab; 32]),
                    here: "OK".to_owned(),
                    there: "PATIENT_UNKNOWN".to_owned(),
                }),
                key: Some("pat/0101".to_owned()),
                altered: None,
                text: "at height 12 transaction 3 (abab) differs: here OK, at the quorum PATIENT_UNKNOWN; one key differs: pat/0101 (written here)".to_owned(),
                complete: true,
            });
            it
        }),
        (
            "halted: two quorums",
            idle(4).halted(Halt::Conflict { height: Height(12), mine: hash(1), theirs: hash(2) }),
        ),
        (
            "halted: a second copy of the key",
            idle(4).halted(Halt::Impersonated { what: Foreign::Vote(Kind::Commit), height: Height(12) }),
        ),
        ("disk fault", fault),
        ("left at height 12, above which nothing is certified yet", idle(5).follows(1, 12)),
        ("left at height 9, above which heights are certified", idle(5).follows(1, 9)),
        ("left long ago: nobody links to it any more", idle(5).follows(1, 9).gone(&[0, 1, 2, 3])),
        ("is to join, and fetches blocks", joins),
        ("is to join, and has caught up", idle(5).follows(0, 0)),
    ]
}

#[test]
fn every_situation_reads_as_in_the_golden_file() {
    let mut text = String::from(
        "# What `epione node explain` says, situation by situation; of 4 or 7 validators the last one speaks.\n\
         # To bless: EPIONE_BLESS=1 cargo test -p epione-node --test explain\n",
    );
    for (title, snapshot) in situations() {
        writeln!(text, "\n== {title}").unwrap();
        for (name, value) in fields(&answer(&snapshot)) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(text, "{name:10}  {value}").unwrap();
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/explain.txt");
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
        panic!("explain.txt is blessed: read the difference, then run without EPIONE_BLESS");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (wanted, found)) in wanted.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, wanted, "tests/golden/explain.txt line {}", number + 1);
    }
    assert_eq!(text.lines().count(), wanted.lines().count(), "tests/golden/explain.txt");
}

fn org(node: usize) -> String {
    OrgId(id16(&format!("hospital{node}"))).to_string()
}

fn missing(list: &[(usize, &str)]) -> Value {
    list.iter()
        .map(|(node, why)| json!({ "validator": node, "organisation": org(*node), "why": why }))
        .collect()
}

fn ms(it: &Value) -> u64 {
    it["next_timer"]["in_ms"].as_u64().unwrap()
}

fn commit(cluster: &mut Cluster, number: usize, node: usize, at: &[usize]) {
    let tx = cluster.patient(number);
    let id = cluster.submit(node, tx);
    cluster.run_until(30 * SECOND, |cluster| at.iter().all(|node| cluster.receipt(*node, &id).is_some()));
}

#[test]
fn one_of_four_stopped_is_named_with_its_lag_and_votes_stand_at_a_quorum() {
    let mut cluster = Cluster::new(4);
    cluster.run(SECOND);
    let it = cluster.explain(1);
    assert_eq!(it["step"], "TRANSACTIONS");
    assert_eq!(
        (&it["missing"], &it["behind"], &it["cause"], &it["votes"]),
        (&json!([]), &json!([]), &Value::Null, &Value::Null)
    );
    assert_eq!(it["advice"], "Nothing to do.");
    let since = it["for_ms"].as_u64().unwrap();

    cluster.cut(3);
    for number in 0..3 {
        commit(&mut cluster, number, 0, &[0, 1, 2]);
    }
    cluster.run(5 * SECOND);
    let it = cluster.explain(1);
    assert_eq!((&it["step"], &it["height"], &it["view"]), (&json!("TRANSACTIONS"), &json!(4), &json!(0)));
    assert!((4_900..=5_100).contains(&it["for_ms"].as_u64().unwrap()), "{} after {since}", it["for_ms"]);
    assert_eq!(it["missing"], missing(&[(3, "NOT_CONNECTED")]));
    assert_eq!(it["behind"], json!([{ "validator": 3, "organisation": org(3), "heights": 3 }]));
    let name = format!("validator 3 ({}…)", &org(3)[..8]);
    assert_eq!(
        it["advice"],
        format!("Bring back {name}: the network goes on, and the next failure stops it.")
    );
    assert!(it["next_timer"]["what"].as_str().unwrap().starts_with("tells the others"), "{it}");
    assert!(ms(&it) <= 500);

    // The one that was cut off sees nobody, and is behind nobody as far as it can know.
    let cut = cluster.explain(3);
    assert_eq!(cut["missing"].as_array().unwrap().len(), 3);
    assert!(cut["advice"].as_str().unwrap().starts_with("Look at this node's own network first"));

    cluster.heal();
    cluster.run_until(20 * SECOND, |cluster| cluster.node(3).head().height.0 == 3);
    cluster.run(2 * SECOND);
    let it = cluster.explain(1);
    assert_eq!((&it["missing"], &it["behind"]), (&json!([]), &json!([])), "{it}");
}

#[test]
fn seven_without_three_name_them_and_resume_by_themselves_when_one_returns() {
    let mut cluster = Cluster::new(7);
    commit(&mut cluster, 0, 6, &[0, 1, 2, 3, 4, 5, 6]);
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    cluster.run(SECOND); // all have told
    cluster.cut(3); // stopped
    cluster.isolate(5); // partitioned: links stay up, and nothing comes through
    cluster.cut(0); // the primary
    let tx = cluster.patient(1);
    let waiting = cluster.submit(6, tx);
    cluster.run(500);
    let it = cluster.explain(6);
    assert_eq!((&it["step"], &it["primary"]), (&json!("PROPOSAL"), &json!(0)));
    assert!(it["next_timer"]["what"].as_str().unwrap().starts_with("suspects validator 0 ("), "{it}");
    assert!((300..=600).contains(&ms(&it)), "a second after it was forwarded: {it}");

    cluster.run(60 * SECOND);
    let it = cluster.explain(6);
    assert_eq!((&it["step"], &it["height"]), (&json!("VIEW_CHANGE"), &json!(2)));
    assert_eq!((&it["view"], &it["asked_view"]), (&json!(0), &json!(1)));
    assert_eq!(it["votes"], json!({ "had": [1, 2, 4, 6], "needed": 5 }));
    let gone = [(0, "NOT_CONNECTED"), (3, "NOT_CONNECTED"), (5, "SILENT")];
    assert_eq!(it["missing"], missing(&gone));
    assert_eq!(it["behind"], json!([]));
    assert_eq!((&it["cause"]["reason"], &it["cause"]["left_view"]), (&json!("REQUEST_LATE"), &json!(0)));
    assert_eq!(it["views_left"], json!([{ "reason": "REQUEST_LATE", "count": 1 }]));
    assert!(it["for_ms"].as_u64().unwrap() > 55_000, "{it}");
    assert!(
        it["next_timer"]["what"].as_str().unwrap().starts_with("tells the others"),
        "no view timer without q"
    );
    let advice = it["advice"].as_str().unwrap();
    assert!(advice.starts_with("Bring back any 1 of validator 0 ("), "{advice}");
    assert!(
        advice.ends_with("a quorum is 5 of 7 and 4 are here; the network then resumes by itself."),
        "{advice}"
    );

    cluster.bring_back(3);
    cluster.run_until(30 * SECOND, |cluster| {
        [1, 2, 3, 4, 6].iter().all(|at| cluster.receipt(*at, &waiting).is_some())
    });
    cluster.run(2 * SECOND);
    let it = cluster.explain(6);
    assert_eq!((&it["step"], &it["view"], &it["primary"]), (&json!("TRANSACTIONS"), &json!(1), &json!(1)));
    assert_eq!(it["cause"]["text"], "view 0 was left because a request was not ordered in time");
    assert_eq!(it["missing"], missing(&[(0, "NOT_CONNECTED"), (5, "SILENT")]));
    let lags: Vec<&Value> = it["behind"].as_array().unwrap().iter().map(|it| &it["heights"]).collect();
    assert_eq!(lags, [&json!(1), &json!(1)], "{it}");
    cluster.heal();
    cluster.run_until(60 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

#[test]
fn without_a_quorum_the_step_stands_where_it_stopped_and_goes_on_when_it_returns() {
    let mut cluster = Cluster::new(4);
    commit(&mut cluster, 0, 1, &[0, 1, 2, 3]);
    cluster.run_until(5 * SECOND, Cluster::all_equal_and_certified);
    cluster.run(SECOND); // all have told
    cluster.isolate(2); // links stay up, and nothing comes through
    cluster.cut(3);
    let tx = cluster.patient(1);
    let waiting = cluster.submit(0, tx);
    cluster.run(SECOND / 2);
    let it = cluster.explain(1);
    assert_eq!((&it["step"], &it["height"]), (&json!("PREPARES"), &json!(2)));
    assert_eq!(it["votes"], json!({ "had": [0, 1], "needed": 3 }));
    assert_eq!(
        it["missing"],
        missing(&[(2, "AWAITED"), (3, "NOT_CONNECTED")]),
        "not silent for long enough yet"
    );
    assert!(it["next_timer"]["what"].as_str().unwrap().contains("a slot is not decided in time"), "{it}");
    assert!(
        it["summary"].as_str().unwrap().starts_with("height 2: 2 of 3 accept the proposal, for ")
            && it["summary"].as_str().unwrap().contains(" ms; "),
        "{it}"
    );

    cluster.run(10 * SECOND);
    let it = cluster.explain(1);
    assert_eq!((&it["step"], &it["height"]), (&json!("VIEW_CHANGE"), &json!(2)));
    assert_eq!(
        (&it["view"], &it["asked_view"], &it["behind"]),
        (&json!(0), &json!(1), &json!([])),
        "all have what there is"
    );
    assert_eq!(it["votes"], json!({ "had": [0, 1], "needed": 3 }));
    assert_eq!(it["missing"], missing(&[(2, "SILENT"), (3, "NOT_CONNECTED")]));
    assert_eq!(it["cause"]["reason"], "SLOT_LATE");
    assert!(it["advice"].as_str().unwrap().starts_with("Bring back any 1 of validator 2 ("), "{it}");
    // A view change has no timer before a quorum asks.
    assert!(it["next_timer"]["what"].as_str().unwrap().starts_with("tells the others"), "{it}");

    cluster.bring_back(2);
    cluster.run_until(30 * SECOND, |cluster| (0..3).all(|at| cluster.receipt(at, &waiting).is_some()));
    let it = cluster.explain(1);
    assert_eq!(it["missing"], missing(&[(3, "NOT_CONNECTED")]));
    cluster.heal();
    cluster.run_until(30 * SECOND, Cluster::all_equal_and_certified);
    cluster.check();
}

#[test]
fn a_disk_fault_and_fetching_are_told_by_real_drivers() {
    let mut cluster = Cluster::new(4);
    cluster.cut(3);
    for number in 0..20 {
        commit(&mut cluster, number, 0, &[0, 1, 2]);
    }
    cluster.slow_lanes(true);
    cluster.bring_back(3);
    let fetches = |cluster: &Cluster| {
        let it = cluster.explain(3);
        it["step"] == "BLOCKS" && it["lag"].as_u64() > Some(10)
    };
    cluster.run_until(10 * SECOND, fetches);
    let it = cluster.explain(3);
    assert!(it["summary"].as_str().unwrap().starts_with("fetching blocks 1 to "), "{it}");
    assert!(it["next_timer"]["what"].as_str().unwrap().starts_with("asks the next validator"), "{it}");
    cluster.slow_lanes(false);
    cluster.run_until(20 * SECOND, Cluster::all_equal_and_certified);
    cluster.run(SECOND);
    assert_eq!(
        (&cluster.explain(3)["lag"], &cluster.explain(3)["step"]),
        (&json!(0), &json!("TRANSACTIONS"))
    );

    assert!(cluster.is_voting(3));
    cluster.fail_log(3);
    commit(&mut cluster, 50, 0, &[0, 1, 2]);
    cluster.run(3 * SECOND);
    let it = cluster.explain(3);
    assert_eq!(
        (&it["step"], &it["next_timer"], &it["votes"]),
        (&json!("DISK_FAULT"), &Value::Null, &Value::Null)
    );
    assert!(it["for_ms"].as_u64().unwrap() >= 3_000 && it["missing"] == json!([]), "{it}");
    assert!(!cluster.is_voting(3) && cluster.is_voting(0), "nobody is to be sent to it");
    assert!(it["advice"].as_str().unwrap().starts_with("Free or repair the disk"), "{it}");
    assert_eq!(cluster.explain(0)["missing"], missing(&[(3, "SILENT")]), "it speaks no more");
}

#[test]
fn who_votes_stands_in_the_certificates_and_who_is_ready_is_told() {
    let mut cluster = Cluster::new(4);
    cluster.run(SECOND);
    assert_eq!(cluster.votes(0), (0, vec![(0, true); 3]), "nothing was to be voted for");
    cluster.cut(3);
    for number in 0..12 {
        commit(&mut cluster, number, 0, &[0, 1, 2]);
    }
    cluster.run(SECOND);
    assert_eq!(cluster.votes(0), (12, vec![(12, true), (12, true), (0, false)]));
    // It has caught up, and has not voted yet.
    cluster.heal();
    cluster.run_until(20 * SECOND, |cluster| cluster.node(3).head().height.0 == 12);
    cluster.run(2 * SECOND);
    assert_eq!(cluster.votes(0).1[2], (0, false));
    commit(&mut cluster, 12, 0, &[0, 1, 2, 3]);
    cluster.run(SECOND);
    let (certificates, votes) = cluster.votes(0);
    assert_eq!((certificates, votes.iter().filter(|(_, ready)| *ready).count()), (13, 3), "{votes:?}");
    assert_eq!(votes.iter().map(|(count, _)| count).sum::<u32>(), 12 * 2 + 2, "a certificate holds a quorum");
    // One whose votes do not reach anybody is not ready, though its links are up.
    cluster.isolate(2);
    cluster.run(10 * SECOND);
    assert!(!cluster.votes(0).1[1].1);
}
