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
    let would = |key: &str| {
        let dry = story.admin(0, &format!("validator remove {key} --dry-run")).ok().json();
        (dry["decide_then"].as_u64(), dry["sign_then"].as_u64())
    };
    assert_eq!(would(&keys[2]), (Some(2), Some(3)));
    story.net.run(&["testnet", "kill", "3"], "--dir").ok();
    // It has signed the last blocks, and there has been none since.
    eventually("the link that is down is counted", || would(&keys[2]) == (Some(2), Some(2)));
    let dry = story.admin(0, &format!("validator remove {} --dry-run", keys[2])).ok().json();
    assert_eq!(dry["missing_then"], serde_json::json!([keys[3]]));
    story.decide(&format!("validator remove {}", keys[2]), None, 0, &[1, 2]);
    story.are_in(1, &[0, 1, 2]);
    story.certified_at(0, "anna");
    let leave = format!("validator remove {}", keys[1]);
    let trouble = "of 2 validators 2 must sign, and 1 would: of those that stay the others have signed none of the last";
    let refused = story.admin(0, &leave).fails(1, &[trouble, "bring those back first, or --force"]).json();
    assert_eq!(refused["error"]["reason"], "QUORUM_LOST");
    assert_eq!(would(&keys[1]), (Some(2), Some(1)));
    assert_eq!(story.validators(0).len(), 3, "nothing was proposed");
    // The dead one may leave: two decide, and two sign.
    assert_eq!(would(&keys[3]), (Some(2), Some(2)));
}

#[test]
fn a_fifth_node_joins_is_counted_on_is_suspended_and_joins_again() {
    let story = Consortium { net: Testnet::up(4) };
    let fifth = story.add(0);

    // What it would do is shown before anything is proposed.
    let dry = story.admin(0, &format!("{} --dry-run", fifth.change())).ok().json();
    assert_eq!(
        (&dry["decide_now"], &dry["decide_then"], &dry["sign_then"]),
        (&3.into(), &4.into(), &5.into())
    );
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
