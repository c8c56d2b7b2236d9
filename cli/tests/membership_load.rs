//! A consortium of four grows to five and to seven, loses two and renews a key, while clinics submit all the time; and
//! whoever has the genesis alone can check every receipt and every certificate.
//!
//! ```text
//! epoch  0        1          2, 3            3           4, 5             6
//!        4 ─join─▶ 5 ─join─▶ 6 ─join─▶ 7 ─two die─▶ 5 of 7 decide ─leave─▶ 6, 5 ─a new node for an old one─▶ 5
//! clinics submit through whatever node answers; in each of these times some submissions are answered
//! then: each line of the books is in all ledgers, once, and its proof holds; so does the certificate of each height
//! ```
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

#[path = "support/clinic.rs"]
mod clinic;
#[path = "support/consortium.rs"]
mod consortium;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clinic::{Books, Clinic, Nodes, Orders};
use consortium::Consortium;
use epione_client::{EpioneClient, Trust};
use epione_proto::v1 as pb;
use epione_testnet::local;
use epione_types::{BlockHeader, Height, ValidatorSet, codec};
use support::{PATIENCE, Testnet, arg, epione};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Each clinic submits once in so long.
const EVERY: Duration = Duration::from_millis(60);
/// In each part of the story so many submissions are answered, at least.
const ANSWERS: u64 = 40;

/// What has been answered in the story so far.
struct Told {
    begun: Instant,
    answered: Arc<AtomicU64>,
    counted: u64,
}

impl Told {
    /// The load goes on: so many more answers since the last part of the story.
    async fn part(&mut self, what: &str) {
        let begun = Instant::now();
        while self.answered.load(Ordering::Relaxed) < self.counted + ANSWERS {
            assert!(begun.elapsed() < PATIENCE, "{what}: clinics are not answered any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let answered = self.answered.load(Ordering::Relaxed);
        println!("{:>6.1?} {what}: {} answers", self.begun.elapsed(), answered - self.counted);
        self.counted = answered;
    }
}

/// Proves each height that this node has certified, with the genesis and what earlier ones prove; in how many epochs, and
/// which heights have a certificate of their own. What a node fetched has one for many.
async fn every_certificate_holds(client: &EpioneClient, trust: &Trust) -> (BTreeSet<u64>, usize) {
    let certified = client.get_status(pb::GetStatusRequest {}).await.unwrap().certified_height;
    let (mut own, mut steps) = (BTreeSet::new(), Vec::<pb::EpochStep>::new());
    // The last that was proven, and those above it that are not yet.
    let (mut below, mut open) = (None::<(BlockHeader, pb::CertifiedHeader)>, Vec::<BlockHeader>::new());
    for height in 1..=certified {
        let request = pb::ListHeadersRequest { from_height: height, page_size: 1 };
        let sealed = client.list_headers(request).await.unwrap().headers.remove(0);
        let header = BlockHeader::try_from(sealed.header.unwrap()).unwrap();
        assert_eq!(header.height, Height(height));
        open.push(header.clone());
        let Some(certificate) = sealed.certificate else { continue };
        let bytes = |header: &BlockHeader| bytes::Bytes::from(codec::encode(header));
        let mut proof = pb::CertifiedHeader {
            epochs: steps.clone(),
            header_bytes: bytes(&open[0]),
            descendant_bytes: open[1..].iter().map(bytes).collect(),
            certificate: Some(certificate),
        };
        if let Some((before, last)) = below.filter(|(before, _)| before.epoch != header.epoch) {
            // The last header of an epoch names the set that signs from here on; nothing else vouches for it.
            assert_eq!((open[0].epoch.0, header.epoch.0), (before.epoch.0 + 1, before.epoch.0 + 1));
            assert!(trust.header(&proof).is_err(), "height {height} is proven by the set before");
            let request = pb::GetValidatorsRequest { epoch: Some(header.epoch.0) };
            let set = client.get_validators(request).await.unwrap().validators.unwrap();
            let set = ValidatorSet::try_from(set).unwrap();
            steps.push(pb::EpochStep {
                header_bytes: bytes(&before),
                certificate: last.certificate,
                validator_set_bytes: codec::encode(&set).into(),
            });
            proof.epochs.clone_from(&steps);
        }
        assert_eq!(trust.header(&proof), Ok(open[0].clone()), "height {height}");
        own.insert(height);
        open.clear();
        below = Some((header, proof));
    }
    assert!(open.is_empty(), "{} certified heights have no proof", open.len());
    (own, steps.len() + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_become_seven_lose_two_and_renew_a_key_while_clinics_go_on() {
    let story = Consortium { net: Testnet::up(4) };
    let nodes = || {
        let (layout, state) = local::look(&story.net.dir()).unwrap();
        Nodes::of(&layout, &state)
    };
    let (stop, stopped) = watch::channel(false);
    let mut told = Told { begun: Instant::now(), answered: Arc::default(), counted: 0 };
    let mut working = JoinSet::new();
    let old = nodes();
    for first in [0, 1] {
        let clinic = Clinic::enrol(&old, first).await;
        working.spawn(clinic.work(Orders::steady(EVERY, &stopped), told.answered.clone()));
    }
    told.part("four").await;

    let fifth = story.add(0);
    story.decide(&fifth.change(), Some(&fifth), 0, &[1, 2]);
    story.are_in(1, &[0, 1, 2, 3, 4]);
    story.certified_at(4, "anna");
    told.part("five").await;

    let (sixth, seventh) = (story.add(1), story.add(2));
    story.decide(&sixth.change(), Some(&sixth), 1, &[0, 3]);
    story.are_in(2, &[0, 1, 2, 3, 4, 5]);
    story.decide(&seventh.change(), Some(&seventh), 2, &[0, 1]);
    story.are_in(3, &[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(story.validators(6).len(), 7);
    // One more clinic, who begins at the newest.
    let clinic = Clinic::enrol(&nodes(), seventh.node).await;
    working.spawn(clinic.work(Orders::steady(EVERY, &stopped), told.answered.clone()));
    told.part("seven").await;

    // As many as may fail, for good: one of the first and the newest. The others decide without them, about them too.
    let lost = story.validators(0)[1].clone();
    for node in [1, seventh.node] {
        story.net.run(&["testnet", "kill", &node.to_string()], "--dir").ok();
    }
    story.certified_at(0, "ben");
    told.part("seven without two").await;
    story.decide(&format!("validator remove {lost}"), None, 0, &[2, 3]);
    story.are_in(4, &[0, 2, 3, 4, 5]);
    story.decide(&format!("validator remove {}", seventh.voting), None, 3, &[0, 1]);
    story.are_in(5, &[0, 2, 3, 4, 5]);
    assert!(!story.validators(5).contains(&lost) && !story.validators(5).contains(&seventh.voting));
    told.part("five again").await;

    // A node with new keys in the place of an old one.
    let renewed = story.add(0);
    let keys = story.validators(0);
    let change = format!("{} --instead-of {}", renewed.change(), keys[0]);
    story.decide(&change, Some(&renewed), 0, &[1, 2]);
    story.are_in(6, &[2, 3, 4, 5, renewed.node]);
    assert_eq!(story.validators(2), [std::slice::from_ref(&renewed.voting), &keys[1..]].concat());
    story.certified_at(renewed.node, "carl");
    told.part("a key renewed").await;
    story.may_go(0);
    story.net.run(&["testnet", "kill", "0"], "--dir").ok();
    told.part("the old one switched off").await;

    stop.send(true).unwrap();
    let mut lines = Vec::new();
    while let Some(book) = working.join_next().await {
        lines.extend(book.unwrap());
    }
    let (nodes, books) = (nodes(), Books::of(lines));
    assert!(books.expired.is_empty() && books.late.is_empty(), "{:?} {:?}", books.expired, books.late);
    assert_eq!(books.committed.len() as u64, told.answered.load(Ordering::Relaxed));
    for (id, (receipt, proof)) in &books.committed {
        assert_eq!(nodes.trust.receipt(proof).unwrap().0, *receipt, "{id}");
    }
    let mut own = BTreeSet::new();
    for node in [2, 3, 4, 5, renewed.node] {
        let client = nodes.admin_at(node);
        books.hold_at(node, &client).await;
        let (more, epochs) = every_certificate_holds(&client, &nodes.trust).await;
        assert_eq!(epochs, 7);
        println!("{:>6.1?} node {node}: {} certificates hold", told.begun.elapsed(), more.len());
        own.extend(more);
    }
    assert!((1..=books.tip()).all(|height| own.contains(&height)), "nobody has a certificate of some height");
    // Those that died, and the one that was switched off, hold nothing else.
    story.net.run(&["testnet", "down"], "--dir").ok();
    for node in 0..=renewed.node {
        let config = story.net.dir().join(format!("node{node}/node.toml"));
        let report = epione(&["ledger", "verify", "--json", "--config", arg(&config)]).ok().json();
        assert!(report["damage"].is_null(), "{report}");
        println!("{:>6.1?} node {node}: {report}", told.begun.elapsed());
    }
}
