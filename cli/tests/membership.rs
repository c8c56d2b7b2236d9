//! A consortium grows and shrinks, by the command line alone, over real processes; and every receipt is provable with the
//! genesis alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

#[path = "support/consortium.rs"]
mod consortium;
mod support;

use consortium::Consortium;
use support::{Testnet, eventually};

/// Of three two decide: with one of them dead, the others must both stay. It is said before anything is proposed.
#[test]
fn a_change_after_which_too_few_would_sign_is_refused_by_name() {
    let story = Consortium { net: Testnet::up(4) };
    let keys = story.validators(0);
    let dry = |key: &str| story.admin(0, &format!("validator remove {key} --dry-run")).ok().json();
    let would = |key: &str| (dry(key)["decide_then"].as_u64(), dry(key)["sign_then"].as_u64());
    eventually("all are live", || would(&keys[2]) == (Some(2), Some(3)));
    story.net.run(&["testnet", "kill", "3"], "--dir").ok();
    // No block has shown it: a link has.
    eventually("the link that is down is counted", || would(&keys[2]) == (Some(2), Some(2)));
    assert_eq!(dry(&keys[2])["missing_then"], serde_json::json!([keys[3]]));
    assert_eq!(dry(&keys[2])["judged_by"], "links and votes");
    story.decide(&format!("validator remove {}", keys[2]), None, 0, &[1, 2]);
    story.are_in(1, &[0, 1, 2]);
    story.certified_at(0, "anna");
    let leave = format!("validator remove {}", keys[1]);
    let trouble = "of 2 validators 2 must sign, and 1 would: of those that stay the others have no link to the node asked";
    eventually("one would sign", || {
        would(&keys[1]) == (Some(2), Some(1)) && dry(&keys[1])["judged_by"] == "links and votes"
    });
    let refused = story.admin(0, &leave).fails(1, &[trouble, "bring those back first, or --force"]).json();
    assert_eq!(refused["error"]["reason"], "QUORUM_LOST");
    assert_eq!(story.validators(0).len(), 3, "nothing was proposed");
    // The dead one may leave: two decide, and two sign.
    assert_eq!(would(&keys[3]), (Some(2), Some(2)));
    // A node that is named has to answer.
    let text = |node: &str| {
        let line = format!("validator remove {} --dry-run --operator {node}", keys[1]);
        story.act("hospital0/admin", &line)
    };
    assert_eq!(text("0").ok().json()["judged_by"], "links and votes");
    text("1").fails(1, &["asking who is live"]); // of another hospital
    text("7").fails(2, &["--node 7: this testnet has nodes 0 to 3"]);
}

#[test]
fn a_fifth_node_joins_is_counted_on_is_suspended_and_joins_again() {
    let story = Consortium { net: Testnet::up(4) };
    let fifth = story.add(0);

    // What it would do is shown before anything is proposed.
    eventually("the five would sign", || {
        let dry = story.admin(0, &format!("{} --dry-run", fifth.change())).ok().json();
        assert_eq!((&dry["decide_now"], &dry["decide_then"]), (&3.into(), &4.into()));
        dry["sign_then"] == 5
    });
    story.decide(&fifth.change(), Some(&fifth), 0, &[1, 2]);
    story.are_in(1, &[0, 1, 2, 3, 4]);
    story.is_ready(4, true);
    let keys = story.validators(0);
    assert_eq!((keys.len(), &keys[4]), (5, &fifth.voting));
    story.certified_at(4, "anna");

    // Four of five decide: without the first hospital's first node the new one is needed.
    story.net.run(&["testnet", "kill", "0"], "--dir").ok();
    story.certified_at(4, "ben");
    story.net.run(&["testnet", "restart", "0"], "--dir").ok();
    story.certified_at(0, "carl");

    // It leaves again, and what it was trusted with is still proven.
    let leave = format!("validator remove {}", fifth.voting);
    story.decide(&leave, None, 3, &[1, 2]);
    story.are_in(2, &[0, 1, 2, 3]);
    story.certified_at(1, "dora");
    story.may_go(4);
    // It has caught up, and votes no more: nobody is to be sent there.
    story.is_ready(4, false);
    story.admin(3, &leave).fails(1, &["there is no validator"]);

    // It was suspended: it comes back with its keys and its log, and four of the five decide again.
    story.decide(&fifth.change(), Some(&fifth), 0, &[1, 2]);
    story.are_in(3, &[0, 1, 2, 3, 4]);
    story.is_ready(4, true);
    story.net.run(&["testnet", "kill", "1"], "--dir").ok();
    story.certified_at(4, "ella");
}
