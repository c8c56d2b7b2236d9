//! A node that cannot go on keeps saying what it waits for, and for whom; one that is idle says nothing (failures.md, O8).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use support::{Cluster, SECOND};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Lines with this in them.
    fn with(&self, word: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }
    fn waiting(&self) -> Vec<String> {
        self.with("waiting_for")
    }
}

/// Lets something happen, and gives it what is logged meanwhile.
fn logged(act: impl FnOnce(&Log)) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || act(&log));
}

#[test]
fn a_node_that_has_stopped_voting_keeps_saying_why() {
    logged(|log| {
        let mut cluster = Cluster::new(4);
        cluster.run(SECOND);
        cluster.fail_log(2);
        let tx = cluster.patient(0);
        cluster.submit(0, tx);
        cluster.run(60 * SECOND);
        let early = log.with("voting has stopped").len();
        cluster.run(60 * SECOND);
        let lines = log.with("voting has stopped");
        assert!(early >= 2 && lines.len() > early, "{early} lines in a minute, {} in two", lines.len());
        let it = cluster.explain(2);
        let last = lines.last().unwrap();
        let why = last.split("fault=").last().unwrap();
        assert!(it["summary"].as_str().unwrap().contains(why), "as it explains itself: {last}\n{it}");
    });
}

#[test]
fn a_stalled_node_keeps_saying_what_it_waits_for_and_an_idle_one_is_silent() {
    logged(|log| {
        let mut cluster = Cluster::new(4);
        cluster.run(60 * SECOND);
        assert_eq!(log.waiting(), Vec::<String>::new(), "a minute without work");
        // Two of four are out of reach: nothing can commit, and the others say so.
        cluster.isolate(2);
        cluster.isolate(3);
        let tx = cluster.patient(0);
        cluster.submit(0, tx);
        cluster.run(60 * SECOND);
        let early = log.waiting().len();
        cluster.run(120 * SECOND);
        let lines = log.waiting();
        assert!(early >= 2 && lines.len() > early, "{} lines in a minute, {} in three", early, lines.len());
        let last = lines.last().unwrap();
        assert!(last.contains("INFO") && last.contains(" of 3 "), "counts what it has and needs: {last}");
        assert!(last.contains("missing=["), "names who is missing: {last}");
        let it = cluster.explain(0);
        let said = [it["summary"].as_str().unwrap(), it["advice"].as_str().unwrap()];
        let who = said[0].split("; ").last().unwrap();
        assert!(
            last.contains(who) && last.contains(said[1]),
            "in the words of `epione node explain`: {last}\n{it}"
        );
        cluster.heal();
        cluster.run_until(300 * SECOND, |cluster| (0..4).all(|node| cluster.node(node).head().height.0 > 0));
    });
}
