//! A consortium grows and shrinks, by the command line alone, over real processes; and every receipt is provable with the
//! genesis alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

#[path = "support/consortium.rs"]
mod consortium;
mod support;

use consortium::Consortium;
use support::Testnet;

#[test]
fn a_fifth_node_joins_is_counted_on_and_leaves_again() {
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
    story.admin(3, &leave).fails(1, &["there is no validator"]);
}
