//! A consortium grows and shrinks, by the command line alone, over real processes; and every receipt is provable with the
//! genesis alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use serde_json::Value;
use support::{Output, Testnet, arg, epione, eventually};

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

struct Story {
    net: Testnet,
}

impl Story {
    fn act(&self, who: &str, line: &str) -> Output {
        self.net.as_(who, &line.split_whitespace().collect::<Vec<_>>())
    }

    fn epoch(&self, node: usize) -> u64 {
        let line = format!("node status --node {node}");
        let out = self.act(&format!("hospital{node}/admin"), &line);
        if out.exit == 0 { out.json()["epoch"].as_u64().unwrap() } else { 0 }
    }

    /// A patient is registered at a node, and the proof is kept; it holds for whoever has the genesis.
    fn certified_at(&self, node: usize, name: &str) {
        let kept = self.net.beside(&format!("{name}.receipt"));
        let line = format!("patient register --name {name} --node {node} --receipt {}", arg(&kept));
        self.act("hospital0/doctor", &line).ok();
        let genesis = self.net.dir().join("genesis.json");
        epione(&["--json", "receipt", "verify", arg(&kept), "--genesis", arg(&genesis)]).ok();
    }
}

#[test]
fn a_fifth_node_joins_is_counted_on_and_leaves_again() {
    let story = Story { net: Testnet::up(4) };
    let added = story.net.run(&["--json", "testnet", "add", "--hospital", "0"], "--dir").ok().json();
    let (voting, network) = (text(&added, "voting_key"), text(&added, "network_key"));

    // What it would do is shown before anything is proposed.
    let change = format!("validator add --org hospital0 --voting-key {voting} --network-key {network}");
    let dry = story.act("hospital0/admin", &format!("{change} --dry-run")).ok().json();
    assert_eq!(
        (&dry["decide_now"], &dry["decide_then"], &dry["sign_then"]),
        (&3.into(), &4.into(), &5.into())
    );
    let proposal = text(&story.act("hospital0/admin", &change).ok().json(), "proposal");

    let file = text(&added, "voting_key_file");
    let ready = format!("validator ready {proposal} --voting-key-file {file} --joining 4 --node 0");
    eventually("the node that joins is ready", || story.act("hospital0/admin", &ready).exit == 0);
    story.act("hospital1/admin", &format!("policy vote {proposal}")).ok();
    story.act("hospital2/admin", &format!("policy vote {proposal}")).ok();
    eventually("all five are in epoch 1", || (0..5).all(|node| story.epoch(node) == 1));
    let rows = story.act("hospital0/admin", "validator list").ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 5);
    assert_eq!(rows[4]["voting_key"], Value::from(voting.clone()));
    story.certified_at(4, "anna");

    // Four of five decide: without the first hospital's first node the new one is needed.
    story.net.run(&["testnet", "kill", "0"], "--dir").ok();
    story.certified_at(4, "ben");
    story.net.run(&["testnet", "restart", "0"], "--dir").ok();
    story.certified_at(0, "carl");

    // It leaves again, and what it was trusted with is still proven.
    let out = story.act("hospital3/admin", &format!("validator remove {voting}")).ok().json();
    let proposal = text(&out, "proposal");
    story.act("hospital1/admin", &format!("policy vote {proposal}")).ok();
    story.act("hospital2/admin", &format!("policy vote {proposal}")).ok();
    eventually("the four are in epoch 2", || (0..4).all(|node| story.epoch(node) == 2));
    story.certified_at(1, "dora");
    let unknown = story.act("hospital3/admin", &format!("validator remove {voting}"));
    unknown.fails(1, &["there is no validator"]);
}
