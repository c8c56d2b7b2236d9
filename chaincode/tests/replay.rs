//! Replay protection (R10): what occurs twice, what comes late, and when the state forgets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::{DecodedTx, keys};
use epione_types::call::Call;
use epione_types::codes::{Purpose, Refusal, Role};
use epione_types::receipt::Outcome;
use epione_types::{PublicKey, TimestampMs};
use support::*;

fn stands(world: &World, tx: &DecodedTx) -> (bool, bool) {
    let (id, body) = (keys::transaction(tx.body.expires_at, tx.id), &tx.body);
    let request = keys::request(&body.sender, body.request_id);
    (world.state.contains_key(id.as_bytes()), world.state.contains_key(request.as_bytes()))
}

#[test]
fn s03_the_same_bytes_twice_have_one_effect() {
    let mut world = World::new();
    let tx = world.record("drA", "anna", "r", &[]);
    let receipts = world.block(&[tx.clone(), tx.clone()]);
    assert_eq!(receipts[0].outcome, Outcome::Ok);
    assert_eq!(receipts[1].outcome, Outcome::Refused(Refusal::Duplicate), "in the same block");
    let before = world.state.clone();
    assert_eq!(world.run(tx).outcome, Outcome::Refused(Refusal::Duplicate), "in a later one");
    assert_eq!(world.state, before, "a duplicate changes nothing, not even its own record");
}

#[test]
fn s04_a_request_id_with_other_bytes() {
    let mut world = World::new();
    let first = world.access("drA", "anna1", Purpose::Treat);
    world.ok(first.clone());
    let mut other = world.access("drA", "karl1", Purpose::Treat);
    other.body.request_id = first.body.request_id;
    assert_eq!(world.refused(other.clone()), Refusal::IdempotencyMismatch);
    assert_eq!(world.refused(other), Refusal::Duplicate, "the mismatch itself was an occurrence");
    // The request id is the sender's own: another sender may use the same.
    let mut elsewhere = world.access("drB", "anna1", Purpose::Treat);
    elsewhere.body.request_id = first.body.request_id;
    world.ok(elsewhere);
}

#[test]
fn a_refusal_is_final_for_its_bytes() {
    let mut world = World::new();
    let tx = world.record("drB", "anna", "r", &[]);
    assert_eq!(world.refused(tx.clone()), Refusal::WriteDenied);
    let grant = permit(support::person("hospB", "drB"));
    let grant = epione_types::call::Rule { actions: vec![epione_types::codes::Action::Write], ..grant };
    let grant = world.grant("anna", "anna", "g", grant);
    world.ok(grant);
    assert_eq!(world.refused(tx.clone()), Refusal::Duplicate, "though it would be permitted now");
    let mut retry = tx;
    (retry.body.request_id, retry.id) = (world.next_request(), epione_types::TxId([7; 32]));
    world.ok(retry);
}

#[test]
fn r10_expiry_is_inclusive_and_then_final() {
    let mut world = World::new();
    let mut tx = world.record("drA", "anna", "r", &[]);
    tx.body.expires_at = TimestampMs(world.now + 1_000);
    let mut late = world.record("drA", "anna", "r2", &[]);
    late.body.expires_at = TimestampMs(world.now + 999);
    let receipts = world.block(&[tx.clone(), late.clone()]);
    assert_eq!(receipts[0].outcome, Outcome::Ok, "at expires_at itself");
    assert_eq!(receipts[1].outcome, Outcome::Refused(Refusal::Expired), "a millisecond later");
    assert_eq!(stands(&world, &late), (false, false), "an expired occurrence is not recorded");
    assert_eq!(world.refused(tx), Refusal::Expired);
}

/// Absence under the first header past `expires_at` must mean: never occurred. So the id stays while a block at or before
/// that header could still hold it, and one longer.
#[test]
fn r10_ids_leave_in_the_first_block_whose_parent_is_past_their_expiry() {
    let mut world = World::new();
    let mut tx = world.record("drA", "anna", "r", &[]);
    tx.body.expires_at = TimestampMs(world.now + 5_000);
    world.ok(tx.clone()); // at +1 s
    world.block_after(4_000, &[]); // at expires_at
    assert_eq!(stands(&world, &tx), (true, true));
    world.block_after(1, &[]); // past it; its parent is not
    assert_eq!(stands(&world, &tx), (true, true), "the first header past expires_at still shows it");
    world.block_after(1, &[]); // its parent is past it
    assert_eq!(stands(&world, &tx), (false, false));
    assert_eq!(world.refused(tx), Refusal::Expired, "what was forgotten cannot come back");
}

#[test]
fn a_mismatch_neither_takes_nor_frees_the_request_id() {
    let mut world = World::new();
    let mut first = world.access("drA", "anna1", Purpose::Treat);
    first.body.expires_at = TimestampMs(world.now + 10_000);
    let mut other = world.access("drA", "karl1", Purpose::Treat);
    other.body.request_id = first.body.request_id;
    other.body.expires_at = TimestampMs(world.now + 2_000);
    world.ok(first.clone());
    assert_eq!(world.refused(other.clone()), Refusal::IdempotencyMismatch);
    world.block_after(2_000, &[]);
    world.block_after(1, &[]);
    assert_eq!(stands(&world, &other), (false, true), "its own id is gone, the first one's request id stays");
    let mut third = world.access("drA", "karl1", Purpose::Coc);
    third.body.request_id = first.body.request_id;
    assert_eq!(world.refused(third), Refusal::IdempotencyMismatch);
    world.block_after(10_000, &[]);
    world.block_after(1, &[]);
    assert_eq!(stands(&world, &first), (false, false));
}

#[test]
fn a_request_id_is_free_again_after_it_left() {
    let mut world = World::new();
    let first = world.access("drA", "anna1", Purpose::Treat);
    world.ok(first.clone());
    world.block_after(HOUR, &[]);
    let mut second = world.access("drA", "karl1", Purpose::Treat);
    second.body.request_id = first.body.request_id;
    world.ok(second);
}

/// Thousands that expire together leave together: the sweep reads in pages.
#[test]
fn a_large_block_is_forgotten_as_a_whole() {
    let mut world = World::new();
    let txs: Vec<_> = (0..2_500).map(|_| world.access("nobody", "anna1", Purpose::Treat)).collect();
    assert!(world.block(&txs).iter().all(|it| it.outcome == Outcome::Refused(Refusal::UnknownSigner)));
    let count = |world: &World| {
        let replay = |key: &&Vec<u8>| key.starts_with(b"txi/") || key.starts_with(b"req/");
        world.state.keys().filter(replay).count()
    };
    assert!(count(&world) >= 5_000);
    world.block_after(HOUR, &[]);
    world.block_after(1, &[]);
    assert_eq!(count(&world), 0);
}

/// The sender who did not sign: the batch must not hold it; if it does, it is refused like anything else.
#[test]
fn signatures_of_others_are_no_signature_of_the_sender() {
    let mut world = World::new();
    let call = Call::RecordAccess(access_call("anna1", Role::Physician, Purpose::Treat));
    let request = world.next_request();
    let signers: [PublicKey; 1] = [key("drB")];
    let tx = tx_with(key("drA"), &signers, request, world.now + 60_000, call);
    assert_eq!(world.refused(tx), Refusal::SenderNotSigner);
}
