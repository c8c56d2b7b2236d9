//! Guest links.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::keys;
use epione_types::TimestampMs;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::genesis::Policy;
use epione_types::id::LinkId;
use support::*;

const DAY: u64 = 24 * HOUR;

fn link(world: &World, name: &str, record_name: &str) -> CreateGuestLink {
    CreateGuestLink {
        link: LinkId(id16(name)),
        patient: patient("anna"),
        record: record(record_name),
        key: key(name),
        grant: grant(name),
        until: TimestampMs(world.now + DAY),
        max_uses: 2,
        document: None,
    }
}

fn open(world: &mut World, by: &str, name: &str, record_name: &str) -> Reason {
    let call = RecordAccess {
        link: Some(LinkId(id16(name))),
        ..access_call(record_name, Role::Guest, Purpose::PatRqt)
    };
    let tx = world.tx(&[by], Call::RecordAccess(call));
    world.decided(tx).1
}

#[track_caller]
fn refuses(world: &mut World, signers: &[&str], call: CreateGuestLink) -> Refusal {
    let tx = world.tx(signers, Call::CreateGuestLink(call));
    world.refused(tx)
}

#[test]
fn a_link_opens_its_record_to_its_key_as_often_as_it_says() {
    let mut world = World::cast();
    for (name, labels) in [("hiv", &[Label::Hiv][..]), ("other", &[])] {
        let tx = world.record("drA", "anna", name, labels);
        world.ok(tx);
    }
    let call = link(&world, "link", "hiv");
    let tx = world.tx(&["anna", "link"], Call::CreateGuestLink(call));
    world.ok(tx);
    assert_eq!(open(&mut world, "link", "link", "other"), Reason::DenyOutOfScope);
    assert_eq!(open(&mut world, "anna", "link", "hiv"), Reason::DenyNoGrant, "the link's key alone");
    assert_eq!(open(&mut world, "link", "link", "hiv"), Reason::PermitGrant);
    assert_eq!(open(&mut world, "link", "another", "hiv"), Reason::DenyNoGrant);
    assert_eq!(open(&mut world, "link", "link", "hiv"), Reason::PermitGrant);
    assert_eq!(open(&mut world, "link", "link", "hiv"), Reason::DenyUsesExhausted);
    assert_eq!(world.stored_grant("anna", "link").uses, 2);
}

#[test]
fn a_link_ends_with_its_time_and_when_it_is_closed() {
    let mut world = World::cast();
    for name in ["one", "two"] {
        let call = link(&world, name, "anna1");
        let tx = world.tx(&["anna", name], Call::CreateGuestLink(call));
        world.ok(tx);
    }
    let close = || Call::CloseGuestLink(CloseGuestLink { link: LinkId(id16("one")) });
    for by in ["one", "drA", "gus1"] {
        let tx = world.tx(&[by], close());
        assert_eq!(world.refused(tx), Refusal::NotGrantor, "{by}");
    }
    let tx = world.tx(&["mother"], close());
    world.ok(tx);
    assert_eq!(open(&mut world, "one", "one", "anna1"), Reason::DenyRevoked);
    let tx = world.tx(&["anna"], close());
    assert_eq!(world.refused(tx), Refusal::BadState);
    world.block_after(DAY, &[]);
    assert_eq!(open(&mut world, "two", "two", "anna1"), Reason::DenyExpired);
    // Its grant may have been revoked by itself: closing it still works.
    let tx = world.revoke("anna", "anna", "two", None);
    world.ok(tx);
    let tx = world.tx(&["anna"], Call::CloseGuestLink(CloseGuestLink { link: LinkId(id16("two")) }));
    world.ok(tx);
    let entry = get(&world.state, &keys::guest_link(LinkId(id16("two")))).unwrap();
    assert_eq!(entry.status, LinkStatus::Closed);
}

#[test]
fn what_a_link_must_be() {
    let mut world = World::with(Policy { allow_sensitive_in_clear: true, ..Policy::default() });
    let tx = world.record("drA", "anna", "part2", &[Label::Part2]);
    world.ok(tx);
    let note = RegisterRecord {
        category: Category::PsychotherapyNote,
        ..record_call("anna", "note", &[Label::PsyThPn])
    };
    let tx = world.tx(&["drA"], Call::RegisterRecord(note));
    world.ok(tx);
    let draft = DraftReport { record: record_call("anna", "draft", &[]) };
    let tx = world.tx(&["drA"], Call::DraftReport(draft));
    world.ok(tx);
    let good = link(&world, "link", "anna1");
    let signers = ["anna", "link"];
    let now = world.now;
    let until = |until| CreateGuestLink { until: TimestampMs(until), ..good.clone() };
    let of = |name| CreateGuestLink { record: record(name), ..good.clone() };
    for (signers, call, refusal) in [
        (&signers[..], of("nothing"), Refusal::LinkNeedsRecord),
        (&signers, of("karl1"), Refusal::LinkNeedsRecord), // another patient's
        (&signers, of("note"), Refusal::LinkNeedsRecord),
        (&signers, of("draft"), Refusal::LinkNeedsRecord),
        (&signers, of("part2"), Refusal::AuthElementMissing),
        (&signers, until(now), Refusal::BadPeriod),
        (&signers, until(now + 31 * DAY), Refusal::LinkTooLong),
        (&signers, CreateGuestLink { max_uses: 0, ..good.clone() }, Refusal::BadPeriod),
        (&["anna"], good.clone(), Refusal::KeyProof),
        (&["anna"], CreateGuestLink { key: key("anna"), ..good.clone() }, Refusal::KeyInUse),
        (&["regA", "link"], good.clone(), Refusal::NotGrantor),
        (&["drB", "link"], good.clone(), Refusal::NotGrantor),
    ] {
        assert_eq!(refuses(&mut world, signers, call), refusal);
    }
    let tx = world.tx(&signers, Call::CreateGuestLink(good.clone()));
    world.ok(tx);
    assert_eq!(refuses(&mut world, &signers, good), Refusal::Exists);
    let call = CreateGuestLink { document: Some(hash("consent")), ..link(&world, "second", "part2") };
    let tx = world.tx(&["anna", "second"], Call::CreateGuestLink(call));
    world.ok(tx);
    assert_eq!(open(&mut world, "second", "second", "part2"), Reason::PermitGrant);
}
