//! What was answered COMMITTED is there, everywhere, once, whatever was killed.
//!
//! ```text
//! round: three clients stream to three nodes, every COMMITTED answer goes to a file
//!        ─▶ after a drawn number of answers one node gets SIGKILL and comes back
//!        ─▶ after a drawn number more all four get SIGKILL
//!        ─▶ they come back: every line of all files has the same receipt on all four, no id took effect twice
//!        ─▶ they stop: `epione ledger verify` executes every ledger again
//! ```
//!
//! `EPIONE_KILL_ROUNDS` (3) and `EPIONE_KILL_SEED` (drawn, printed) repeat a run: the seed decides who is killed and
//! after how many answers; what the system makes of it differs from run to run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

#[path = "support/clinic.rs"]
mod clinic;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clinic::{Clinic, Nodes};
use epione_client::{EpioneClient, TxStatus, Wait, tx};
use epione_proto::v1 as pb;
use epione_testnet::local::{Lifetime, Network};
use epione_types::codes::Refusal;
use epione_types::{Outcome, Receipt, TxId};
use support::{Dice, PATIENCE, arg, epione, number, options};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 3;
/// Answers of one round, at least.
const ANSWERS_MIN: u64 = 1_000;
/// Unanswered transactions of one client at a time.
const WINDOW: usize = 100;

/// Streams until told to stop; every COMMITTED answer is a line of the file before it is counted.
async fn stream(author: Clinic, file: PathBuf, answered: Arc<AtomicU64>, mut stop: watch::Receiver<bool>) {
    let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
    let (sink, mut answers) = author.client.submit_stream(Wait::Committed, WINDOW);
    let sender = tokio::spawn(async move { while sink.send(author.record(None)).await.is_ok() {} });
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            answer = answers.next() => {
                let Some(answer) = answer else { break };
                // Whatever else came of it was no promise.
                if let Ok(TxStatus::Committed(receipt) | TxStatus::Certified { receipt, .. }) = answer.result {
                    assert_eq!(receipt.outcome, Outcome::Ok);
                    writeln!(file, "{} {} {}", answer.id, receipt.height, receipt.index).unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
    sender.abort();
}

async fn wait_for(answered: &AtomicU64, count: u64) {
    let begun = Instant::now();
    while answered.load(Ordering::Relaxed) < count {
        assert!(begun.elapsed() < PATIENCE, "{} of {count} answers", answered.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Every line of the clients' files.
fn lines(folder: &Path) -> Vec<(TxId, u64, u32)> {
    let mut lines = Vec::new();
    for client in 0..CLIENTS {
        let text = std::fs::read_to_string(folder.join(format!("client{client}"))).unwrap();
        lines.extend(text.lines().map(|line| {
            let parts: Vec<&str> = line.split(' ').collect();
            (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].parse().unwrap())
        }));
    }
    lines
}

/// The receipts of these transactions, as one node has them once it has caught up.
async fn receipts(client: EpioneClient, ids: Vec<TxId>) -> BTreeMap<TxId, Receipt> {
    let mut tasks = JoinSet::new();
    let mut found = BTreeMap::new();
    let mut ids = ids.into_iter();
    loop {
        while tasks.len() < 16 {
            let Some(id) = ids.next() else { break };
            let client = client.clone();
            tasks.spawn(async move { (id, client.receipt(id, Some(Wait::Committed)).await.unwrap()) });
        }
        let Some(done) = tasks.join_next().await else { return found };
        let (id, status) = done.unwrap();
        let receipt =
            status.receipt().unwrap_or_else(|| panic!("{id} was answered COMMITTED, and is {status:?}"));
        found.insert(id, receipt.clone());
    }
}

/// Fails if an id took effect twice in a node's blocks. How many took effect, and how many were ordered once more after a
/// change of view or a restart: those are refused as DUPLICATE, and the first receipt stands.
async fn no_id_twice(client: &EpioneClient) -> (usize, usize) {
    let tip = client.get_status(pb::GetStatusRequest {}).await.unwrap().height;
    let (mut seen, mut repeated) = (BTreeSet::new(), 0);
    for height in 1..=tip {
        let request = pb::GetBlockRequest { height, with_transactions: false, with_receipts: true };
        let block = client.get_block(request).await.unwrap().block.unwrap();
        assert_eq!(block.receipts.len(), block.transaction_count as usize);
        for receipt in block.receipts {
            let receipt = Receipt::try_from(receipt).unwrap();
            match receipt.outcome {
                Outcome::Refused(Refusal::Duplicate) => {
                    assert!(
                        seen.contains(&receipt.tx_id),
                        "{} is refused as a duplicate of nothing",
                        receipt.tx_id
                    );
                    repeated += 1;
                }
                outcome @ (Outcome::Ok | Outcome::Refused(_)) => {
                    assert_eq!(outcome, Outcome::Ok);
                    assert!(seen.insert(receipt.tx_id), "{} took effect twice", receipt.tx_id);
                }
            }
        }
    }
    (seen.len(), repeated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_committed_is_there_everywhere_and_once() {
    let rounds = number("EPIONE_KILL_ROUNDS").unwrap_or(3);
    let seed = number("EPIONE_KILL_SEED").unwrap_or_else(|| tx::now().0);
    println!("EPIONE_KILL_SEED={seed} EPIONE_KILL_ROUNDS={rounds}");
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut network =
        Network::up(&folder.path().join("net"), &options(4), Lifetime::WithStarter, PATIENCE).await.unwrap();
    let nodes = Nodes::of(network.layout(), network.state());
    let mut authors = Vec::new();
    for node in 0..CLIENTS {
        authors.push(Clinic::enrol(&nodes, node).await.at(&nodes, node));
    }
    let mut known = 0;
    for round in 1..=rounds {
        let victim = usize::try_from(dice.draw(0, 4)).unwrap();
        let first = dice.draw(300, 700);
        let second = ANSWERS_MIN + dice.draw(0, 300);
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        let begun = Instant::now();
        for (number, author) in authors.iter().enumerate() {
            let file = folder.path().join(format!("client{number}"));
            clients.spawn(stream(author.clone(), file, answered.clone(), stopped.clone()));
        }
        wait_for(&answered, first).await;
        let before = u128::from(first) * 1_000 / begun.elapsed().as_millis().max(1);
        network.kill(victim).await.unwrap();
        network.start(victim).unwrap();
        wait_for(&answered, second).await;
        network.kill_all();
        let took = begun.elapsed();
        stop.send(true).unwrap();
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        let count = answered.load(Ordering::Relaxed);
        let rate = u128::from(count) * 1_000 / took.as_millis().max(1);
        println!(
            "round {round}: node {victim} killed after {first} answers ({before}/s), all four after {count} ({rate}/s in all)"
        );

        network.start_all(PATIENCE).await.unwrap();
        let lines = lines(folder.path());
        let ids: BTreeSet<TxId> = lines.iter().map(|(id, ..)| *id).collect();
        assert_eq!(ids.len(), lines.len(), "an id was answered twice");
        assert!(lines.len() as u64 >= known + ANSWERS_MIN);
        known = lines.len() as u64;
        let mut all = Vec::new();
        for node in 0..network.len() {
            let client = nodes.admin_at(node);
            let found = receipts(client.clone(), ids.iter().copied().collect()).await;
            for (id, height, index) in &lines {
                let receipt = &found[id];
                assert_eq!(
                    (receipt.height.0, receipt.index, receipt.outcome),
                    (*height, *index, Outcome::Ok),
                    "{id} on node {node}"
                );
            }
            let (effects, repeated) = no_id_twice(&client).await;
            assert!(effects >= lines.len());
            if node == 0 {
                println!(
                    "round {round}: {effects} transactions took effect, {repeated} were ordered once more in vain"
                );
            }
            all.push(found);
        }
        assert!(all.iter().all(|found| *found == all[0]), "receipts differ between nodes");

        network.down().await.unwrap();
        for node in 0..network.len() {
            let report =
                epione(&["ledger", "verify", "--json", "--config", arg(&network.layout().config(node))])
                    .ok()
                    .json();
            assert!(
                report["damage"].is_null() && report["transactions"].as_u64().unwrap() >= known,
                "{report}"
            );
        }
        println!("round {round}: {known} answers hold on all four nodes, four ledgers verify");
        if round < rounds {
            network.start_all(PATIENCE).await.unwrap();
        }
    }
}
