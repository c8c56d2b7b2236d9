//! Grants and denials: who may make and end them, what a rule must be, and every refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::{Basis, MAX_GRANTS};
use epione_chaincode::identity::{Member, Representation, RepresentationKind};
use epione_chaincode::keys;
use epione_types::TimestampMs;
use epione_types::call::{Call, DataPeriod, Grantee, Labels, Month, Person, Purposes, RecordAccess, Rule};
use epione_types::codes::{Action, Category, Label, Purpose, Reason, Refusal, Role};
use epione_types::event::Event;
use epione_types::genesis::Policy;
use epione_types::holding::{Holder, Holding};
use epione_types::id::RepresentativeId;
use support::*;

fn to_hospital_b() -> Grantee {
    Grantee::Org(org("hospB"))
}

fn labels(labels: &[Label]) -> Labels {
    Labels::Only(labels.to_vec())
}

fn purposes(purposes: &[Purpose]) -> Purposes {
    Purposes::Only(purposes.to_vec())
}

/// anna's own key grants and revokes in these tests, unless said.
#[track_caller]
fn makes(world: &mut World, name: &str, rule: Rule) {
    let tx = world.grant("anna", "anna", name, rule);
    world.ok(tx);
}

#[track_caller]
fn refuses(world: &mut World, rule: Rule) -> Refusal {
    let tx = world.grant("anna", "anna", "refused", rule);
    world.refused(tx)
}

#[test]
fn a_patient_grants_and_takes_back() {
    let mut world = World::new();
    makes(&mut world, "g", permit(to_hospital_b()));
    assert_eq!(world.stored_grant("anna", "g").basis, Basis::OwnKey);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);

    let before = world.stored_grant("anna", "g");
    let tx = world.revoke("anna", "anna", "g", None);
    let receipt = world.ok(tx);
    assert_eq!(receipt.events, [Event::GrantRevoked { grant: grant("g"), patient: patient("anna") }]);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access), (Reason::AccessDenied, Reason::DenyRevoked));

    // Revoking adds to the grant and erases nothing; it happens once.
    let after = world.stored_grant("anna", "g");
    assert_eq!(after.revoked.unwrap().at, TimestampMs(world.now - 1_000));
    assert_eq!((after.rule, after.created_at, after.uses), (before.rule, before.created_at, before.uses));
    let tx = world.revoke("anna", "anna", "g", None);
    assert_eq!(world.refused(tx), Refusal::GrantUnknown);
    let tx = world.grant("anna", "anna", "g", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::GrantExists, "not even after its end");
}

/// The transaction that granted, sent again after the revocation, does nothing: its id, then its grant's id, stand.
#[test]
fn a_grant_cannot_be_replayed_after_its_revocation() {
    let mut world = World::new();
    let granting = world.grant("anna", "anna", "g", permit(to_hospital_b()));
    world.ok(granting.clone());
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    assert_eq!(world.refused(granting.clone()), Refusal::Duplicate);
    world.block_after(HOUR, &[]);
    assert_eq!(world.refused(granting.clone()), Refusal::Expired);
    let mut resent = granting;
    resent.body.expires_at = TimestampMs(world.now + 60_000);
    resent.id = epione_types::TxId([9; 32]);
    assert_eq!(world.refused(resent), Refusal::GrantExists, "and signed anew: the id is used up for ever");
}

#[test]
fn nobody_grants_for_another_patient() {
    let mut world = World::new();
    let tx = world.patient("berta", Some("berta"), "regA");
    world.ok(tx);
    makes(&mut world, "g", permit(to_hospital_b()));
    for by in ["berta", "drB", "nurB", "hospA.admin0"] {
        let tx = world.grant(by, "anna", "x", permit(person("hospB", "drB")));
        assert_eq!(world.refused(tx), Refusal::NotGrantor, "{by}");
        let tx = world.revoke(by, "anna", "g", Some(hash("paper")));
        assert_eq!(world.refused(tx), Refusal::NotGrantor, "{by}");
    }
    let tx = world.grant("nobody", "anna", "x", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::UnknownSigner);
    let tx = world.grant("anna", "nobody", "x", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::PatientUnknown);
    let tx = world.revoke("anna", "anna", "unknown", None);
    assert_eq!(world.refused(tx), Refusal::GrantUnknown);
    // berta's own grant does not open anna's records.
    let tx = world.grant(
        "berta",
        "berta",
        "g",
        Rule { records: vec![record("anna1")], ..permit(to_hospital_b()) },
    );
    world.ok(tx);
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::DenyRevoked);
}

#[test]
fn a_patient_in_custody_is_spoken_for_by_an_attested_document() {
    let mut world = World::new();
    let paper = Rule { document: Some(hash("paper")), ..permit(to_hospital_b()) };
    let tx = world.grant("regA", "karl", "g", paper.clone());
    world.ok(tx);
    let attested = Basis::Attested {
        organisation: org("hospA"),
        practitioner: practitioner("regA"),
        document: hash("paper"),
    };
    assert_eq!(world.stored_grant("karl", "g").basis, attested);
    let access = world.access("drB", "karl1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);

    let tx = world.revoke("drA", "karl", "g", None);
    assert_eq!(world.refused(tx), Refusal::AuthElementMissing, "a withdrawal is attested with its document");
    let tx = world.revoke("drA", "karl", "g", Some(hash("withdrawal")));
    world.ok(tx);

    for (by, rule, refusal) in [
        ("drA", permit(to_hospital_b()), Refusal::AuthElementMissing), // no document
        ("drB", paper.clone(), Refusal::NotGrantor),                   // does not care for karl
        ("bilA", paper.clone(), Refusal::NotGrantor),                  // billing attests nothing
        ("anna", paper.clone(), Refusal::NotGrantor),
        ("hospA.admin0", paper, Refusal::NotGrantor),
    ] {
        let tx = world.grant(by, "karl", "x", rule);
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
}

#[test]
fn nobody_attests_a_grant_to_themselves() {
    let mut world = World::new();
    let paper = Rule { document: Some(hash("paper")), ..permit(person("hospA", "drA")) };
    let tx = world.grant("drA", "karl", "x", paper.clone());
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.grant("nurA", "karl", "x", paper);
    world.ok(tx);
    // Nor takes back a denial of themselves.
    let paper = Rule { document: Some(hash("paper")), ..deny(person("hospA", "drA")) };
    let tx = world.grant("nurA", "karl", "d", paper);
    world.ok(tx);
    let tx = world.revoke("drA", "karl", "d", Some(hash("withdrawal")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
}

/// A patient who holds a key has the own word: paper can still take access away, never open it.
#[test]
fn paper_does_not_open_what_a_patient_with_a_key_did_not() {
    let mut world = World::new();
    let paper = |rule: Rule| Rule { document: Some(hash("paper")), ..rule };
    let tx = world.grant("regA", "anna", "x", paper(permit(to_hospital_b())));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.grant("regA", "anna", "d", paper(deny(to_hospital_b())));
    world.ok(tx);
    let tx = world.revoke("regA", "anna", "d", Some(hash("withdrawal")));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    makes(&mut world, "g", permit(to_hospital_b()));
    let tx = world.revoke("regA", "anna", "g", Some(hash("withdrawal")));
    world.ok(tx);
}

/// anna's child `kim`, who has a key; the parent is `mother`, who has one too, and is no patient.
fn with_mother(privacy: Option<u64>, categories: &[Category]) -> World {
    let mut world = World::new();
    let tx = world.patient("kim", Some("kim"), "regA");
    world.ok(tx);
    let mother = RepresentativeId(id16("mother"));
    let entry = Representation {
        kind: RepresentationKind::Parent,
        from: TimestampMs(0),
        until: Some(TimestampMs(world.now + HOUR)),
        minor_privacy_from: privacy.map(TimestampMs),
        categories: categories.to_vec(),
        revoked_at: None,
        evidence: hash("birth certificate"),
        organisation: org("hospA"),
    };
    put(&mut world.state, &keys::representation(patient("kim"), Person::Representative(mother)), &entry);
    put(&mut world.state, &keys::member(&key("mother")), &Member::Representative(mother));
    world
}

#[test]
fn a_representative_in_force_speaks_for_the_patient() {
    let mut world = with_mother(None, &[]);
    let mother = Person::Representative(RepresentativeId(id16("mother")));
    let tx = world.grant("mother", "kim", "g", permit(to_hospital_b()));
    world.ok(tx);
    assert_eq!(world.stored_grant("kim", "g").basis, Basis::Representative(mother));
    let tx = world.grant("mother", "anna", "x", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "another patient");
    // Not in what concerns herself: neither for nor against.
    let tx = world.grant("mother", "kim", "x", permit(Grantee::Person(mother)));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.grant("kim", "kim", "d", deny(Grantee::Person(mother)));
    world.ok(tx);
    let tx = world.revoke("mother", "kim", "d", None);
    assert_eq!(world.refused(tx), Refusal::NotGrantor);

    let tx = world.revoke("mother", "kim", "g", None);
    world.ok(tx);
    world.block_after(HOUR, &[]);
    let tx = world.grant("mother", "kim", "late", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "the representation lapsed");
}

#[test]
fn a_representative_keeps_within_the_categories() {
    let mut world = with_mother(None, &[Category::Immunization, Category::Lab]);
    let tx = world.grant("mother", "kim", "x", permit(to_hospital_b()));
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "all categories");
    let rule = Rule { categories: vec![Category::Imaging], ..permit(to_hospital_b()) };
    let tx = world.grant("mother", "kim", "x", rule);
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let rule = Rule { categories: vec![Category::Lab], ..permit(to_hospital_b()) };
    let tx = world.grant("mother", "kim", "g", rule);
    world.ok(tx);
}

#[test]
fn a_parent_does_not_open_what_the_minor_may_keep() {
    let mut world = with_mother(Some(START), &[]);
    for opened in [Labels::Any, labels(&[Label::Hiv]), labels(&[Label::OpioidUd])] {
        let tx = world.grant("mother", "kim", "x", Rule { labels: opened, ..permit(to_hospital_b()) });
        assert_eq!(world.refused(tx), Refusal::NotGrantor);
    }
    let tx = world.grant("mother", "kim", "g", permit(to_hospital_b()));
    world.ok(tx);
    let tx =
        world.grant("mother", "kim", "d", Rule { labels: labels(&[Label::Hiv]), ..deny(to_hospital_b()) });
    world.ok(tx);
    let tx =
        world.grant("kim", "kim", "own", Rule { labels: labels(&[Label::Hiv]), ..permit(to_hospital_b()) });
    world.ok(tx);
}

#[test]
fn what_a_rule_must_be() {
    let mut world = World::new();
    let good = || permit(to_hospital_b());
    // S07, S08
    let wildcard = Rule { purposes: Purposes::All, ..good() };
    assert_eq!(refuses(&mut world, wildcard), Refusal::WildcardPurposeOnPermit);
    let note = Rule { labels: labels(&[Label::PsyThPn, Label::Psy]), document: Some(hash("d")), ..good() };
    assert_eq!(refuses(&mut world, note), Refusal::PsyThPnNotAlone);

    assert_eq!(refuses(&mut world, Rule { purposes: purposes(&[]), ..good() }), Refusal::EmptyPurpose);
    let month = |month| Month::new(2026, month);
    let now = world.now;
    let reversed =
        |from, until| Rule { from: Some(TimestampMs(from)), until: Some(TimestampMs(until)), ..good() };
    assert_eq!(refuses(&mut world, reversed(now, now)), Refusal::BadPeriod);
    assert_eq!(refuses(&mut world, reversed(now + 1, now)), Refusal::BadPeriod);
    let data = DataPeriod { from: month(3), until: month(3) };
    assert_eq!(refuses(&mut world, Rule { data_period: Some(data), ..good() }), Refusal::BadPeriod);
    assert_eq!(refuses(&mut world, permit(Grantee::Org(org("nowhere")))), Refusal::OrgInactive);

    for invalid in [
        Rule { actions: vec![], ..good() },
        Rule { actions: vec![Action::Read, Action::Read], ..good() },
        Rule { purposes: purposes(&[Purpose::Treat, Purpose::Treat]), ..good() },
        Rule { categories: vec![Category::Lab; 2], ..good() },
        Rule { records: vec![record("anna1"); 2], ..good() },
        Rule { records: (0..65).map(|i| record(&format!("{i}"))).collect(), ..good() },
        Rule { labels: labels(&[Label::Hiv, Label::Hiv]), ..good() },
        Rule { max_uses: Some(0), ..good() },
        Rule { max_uses: Some(1), ..deny(to_hospital_b()) },
        Rule { delegable: true, ..deny(to_hospital_b()) },
        Rule { parent: Some(grant("g")), ..deny(to_hospital_b()) },
    ] {
        assert_eq!(refuses(&mut world, invalid.clone()), Refusal::InvalidField, "{invalid:?}");
    }
    makes(&mut world, "g", good());
    makes(&mut world, "d", deny(Grantee::Any));
}

#[test]
fn outside_treatment_payment_and_operations_an_authorization_is_whole() {
    let mut world = World::new();
    let whole = Rule {
        purposes: purposes(&[Purpose::Treat, Purpose::DsRch]),
        until: Some(TimestampMs(world.now + HOUR)),
        policy: Some(hash("policy")),
        document: Some(hash("document")),
        ..permit(to_hospital_b())
    };
    for missing in [
        Rule { until: None, ..whole.clone() },
        Rule { policy: None, ..whole.clone() },
        Rule { document: None, ..whole.clone() },
        Rule { to: Grantee::Any, ..whole.clone() },
    ] {
        assert_eq!(refuses(&mut world, missing), Refusal::AuthElementMissing);
    }
    makes(&mut world, "g", whole);
    let ordinary = purposes(&[Purpose::Coc, Purpose::ClmAttch, Purpose::Fraud]);
    makes(&mut world, "o", Rule { purposes: ordinary, ..permit(to_hospital_b()) });
    // A denial authorises nothing, so nothing is missing.
    makes(&mut world, "d", Rule { purposes: purposes(&[Purpose::Hresch]), ..deny(Grantee::Any) });
}

#[test]
fn strict_labels_need_a_document_and_do_not_stand_in_clear() {
    let strict = |label| Rule { labels: labels(&[label]), ..permit(person("hospB", "drB")) };
    let mut world = World::with(Policy { allow_sensitive_in_clear: true, ..Policy::default() });
    for label in [Label::Part2, Label::PsyThPn] {
        assert_eq!(refuses(&mut world, strict(label)), Refusal::AuthElementMissing);
        let name = label.name();
        makes(&mut world, name, Rule { document: Some(hash("d")), ..strict(label) });
    }
    let mut world = World::new();
    let rule = Rule { document: Some(hash("d")), ..strict(Label::Part2) };
    assert_eq!(refuses(&mut world, rule), Refusal::SensitiveInClear, "the label tells as much on a grant");
}

#[test]
fn a_grant_is_passed_on_one_level_and_no_wider() {
    let mut world = World::new();
    let until = TimestampMs(world.now + HOUR);
    let parent = Rule {
        purposes: purposes(&[Purpose::Treat]),
        actions: vec![Action::Read],
        categories: vec![Category::Lab, Category::Imaging],
        labels: labels(&[Label::Hiv, Label::Sud]),
        data_period: Some(DataPeriod { from: Month::new(2026, 1), until: Month::new(2027, 1) }),
        until: Some(until),
        max_uses: Some(5),
        delegable: true,
        ..permit(person("hospB", "drB"))
    };
    makes(&mut world, "parent", parent.clone());
    let sub = Rule {
        to: person("hospC", "drC"),
        delegable: false,
        parent: Some(grant("parent")),
        ..parent.clone()
    };
    let narrower = Rule {
        purposes: purposes(&[Purpose::Coc]),
        categories: vec![Category::Lab],
        labels: labels(&[Label::OpioidUd]),
        data_period: Some(DataPeriod { from: Month::new(2026, 2), until: Month::new(2026, 9) }),
        max_uses: Some(1),
        ..sub.clone()
    };
    for (i, rule) in [sub.clone(), narrower].into_iter().enumerate() {
        let tx = world.grant("drB", "anna", &format!("sub{i}"), rule);
        world.ok(tx);
    }
    let passed_on = Basis::Delegated { organisation: org("hospB"), practitioner: practitioner("drB") };
    assert_eq!(world.stored_grant("anna", "sub0").basis, passed_on);

    let later = Some(TimestampMs(until.0 + 1));
    let from_2025 = Some(DataPeriod { from: Month::new(2025, 12), until: Month::new(2027, 1) });
    let open_end = Some(DataPeriod { from: Month::new(2026, 1), until: None });
    for wider in [
        Rule { purposes: purposes(&[Purpose::Treat, Purpose::Hpaymt]), ..sub.clone() },
        Rule { actions: vec![Action::Read, Action::Disclose], ..sub.clone() },
        Rule { categories: vec![], ..sub.clone() },
        Rule { categories: vec![Category::Lab, Category::Diagnosis], ..sub.clone() },
        Rule { labels: Labels::Any, ..sub.clone() },
        Rule { labels: labels(&[Label::Hiv, Label::Std]), ..sub.clone() },
        Rule { data_period: None, ..sub.clone() },
        Rule { data_period: from_2025, ..sub.clone() },
        Rule { data_period: open_end, ..sub.clone() },
        Rule { until: None, ..sub.clone() },
        Rule { until: later, ..sub.clone() },
        Rule { max_uses: None, ..sub.clone() },
        Rule { max_uses: Some(6), ..sub.clone() },
        Rule { to: Grantee::Any, ..sub.clone() },
    ] {
        let tx = world.grant("drB", "anna", "x", wider.clone());
        assert_eq!(world.refused(tx), Refusal::DelegationWidens, "{wider:?}");
    }
    let deeper = Rule { delegable: true, ..sub.clone() };
    let tx = world.grant("drB", "anna", "x", deeper);
    assert_eq!(world.refused(tx), Refusal::DelegationDepth);
    let of_sub = Rule { parent: Some(grant("sub0")), ..sub.clone() };
    let tx = world.grant("anna", "anna", "x", of_sub);
    assert_eq!(world.refused(tx), Refusal::DelegationDepth);
    let tx = world.grant("drB2", "anna", "x", sub.clone());
    assert_eq!(world.refused(tx), Refusal::NotGrantor, "does not hold it");
    let unknown = Rule { parent: Some(grant("unknown")), ..sub.clone() };
    let tx = world.grant("drB", "anna", "x", unknown);
    assert_eq!(world.refused(tx), Refusal::GrantUnknown);
    makes(&mut world, "fixed", Rule { delegable: false, ..parent });
    let of_fixed = Rule { parent: Some(grant("fixed")), ..sub.clone() };
    let tx = world.grant("drB", "anna", "x", of_fixed);
    assert_eq!(world.refused(tx), Refusal::DelegationWidens, "it may not be passed on");

    // Whoever passed it on takes it back; and it dies with its parent.
    let tx = world.revoke("drB2", "anna", "sub1", None);
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.revoke("drB", "anna", "sub1", None);
    world.ok(tx);
    let tx = world.revoke("anna", "anna", "parent", None);
    world.ok(tx);
    let tx = world.grant("drB", "anna", "x", sub);
    assert_eq!(world.refused(tx), Refusal::GrantUnknown, "the parent is over");
}

#[test]
fn a_use_of_a_sub_grant_is_a_use_of_its_parent() {
    let mut world = World::new();
    let parent = Rule { max_uses: Some(2), delegable: true, ..permit(to_hospital_b()) };
    makes(&mut world, "parent", parent.clone());
    let to = person("hospB", "drB2");
    let sub = Rule { to, delegable: false, parent: Some(grant("parent")), ..parent };
    let tx = world.grant("drB", "anna", "sub", sub);
    world.ok(tx);
    for (by, reason) in [
        ("drB", Reason::PermitGrant),        // by the parent
        ("drB2", Reason::PermitGrant),       // by the sub-grant, narrower
        ("drB2", Reason::DenyParentInvalid), // one use left on the sub-grant, none on its parent
    ] {
        let access = world.access(by, "anna1", Purpose::Treat);
        assert_eq!(world.decided(access).1, reason);
    }
    let uses = ["parent", "sub"].map(|name| world.stored_grant("anna", name).uses);
    assert_eq!(uses, [2, 1]);
}

#[test]
fn a_patient_can_still_deny_when_others_have_granted_their_fill() {
    let mut world = World::new();
    let id = keys::patient(patient("karl"));
    let mut entry = get(&world.state, &id).unwrap();
    entry.grants = MAX_GRANTS / 2 - 1;
    put(&mut world.state, &id, &entry);
    let paper = Rule { document: Some(hash("paper")), ..permit(to_hospital_b()) };
    let tx = world.grant("regA", "karl", "last", paper.clone());
    world.ok(tx);
    let tx = world.grant("regA", "karl", "x", paper);
    assert_eq!(world.refused(tx), Refusal::TooManyGrants);

    let id = keys::patient(patient("anna"));
    let mut entry = get(&world.state, &id).unwrap();
    entry.grants = MAX_GRANTS - 1;
    put(&mut world.state, &id, &entry);
    makes(&mut world, "last", deny(Grantee::Any));
    assert_eq!(refuses(&mut world, deny(Grantee::Any)), Refusal::TooManyGrants);
    let tx = world.revoke("anna", "anna", "last", None);
    world.ok(tx);
}

/// A grant is in the state, not only an event: the next block decides by it, and at its end exactly no more.
#[test]
fn expiry_exactly_at_block_time() {
    let mut world = World::new();
    let until = Some(TimestampMs(world.now + 3_000));
    makes(&mut world, "g", Rule { until, ..permit(to_hospital_b()) }); // at +1 s
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(decided(&world.block_after(1_999, &[access]))[0].1, Reason::PermitGrant); // at +2.999 s
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(decided(&world.block_after(1, &[access]))[0].1, Reason::DenyExpired); // at +3 s
}

/// Who asks is who signed: no field of an access names the requester.
#[test]
fn a_requester_cannot_pose_as_another() {
    let mut world = World::new();
    makes(&mut world, "g", permit(person("hospB", "drB")));
    for (by, role, reason) in [
        ("drB2", Role::Physician, Reason::DenyNoGrant),
        ("nurB", Role::Physician, Reason::DenyIdentity),
        ("anna", Role::Physician, Reason::DenyIdentity),
        ("hospB.admin0", Role::Physician, Reason::DenyIdentity),
    ] {
        let call = RecordAccess { ..access_call("anna1", role, Purpose::Treat) };
        let tx = world.tx(&[by, "drB"], Call::RecordAccess(call));
        assert_eq!(world.decided(tx).1, reason, "{by}: a co-signer lends nothing");
    }
}

/// What a hospital has is counted where its absence can be proven.
#[test]
fn what_a_holder_has_is_counted_until_it_is_taken_back_or_put_away() {
    let mut world = World::new();
    let held = |world: &World, holder| get(&world.state, &keys::holding(patient("anna"), holder));
    let (hospital, everybody) = (Holder::Organisation(org("hospB")), Holder::Everybody);
    assert_eq!(held(&world, hospital), None);
    let soon = Some(TimestampMs(world.now + HOUR));
    let of = |permits, until| Some(Holding { permits, until });

    makes(&mut world, "denied", deny(to_hospital_b()));
    assert_eq!(held(&world, hospital), None, "a denial opens nothing");
    makes(&mut world, "short", Rule { until: soon, ..permit(to_hospital_b()) });
    assert_eq!(held(&world, hospital), of(1, soon));
    let to_one = Grantee::Person(Person::Practitioner(org("hospB"), practitioner("drB")));
    makes(&mut world, "long", permit(to_one));
    assert_eq!((held(&world, hospital), held(&world, everybody)), (of(2, None), None));
    makes(&mut world, "all", permit(Grantee::Any));
    assert_eq!((held(&world, hospital), held(&world, everybody)), (of(2, None), of(1, None)));

    // The end only moves back with the last permit: what is counted may be less than what is said, never more.
    let tx = world.revoke("anna", "anna", "long", None);
    world.ok(tx);
    assert_eq!(held(&world, hospital), of(1, None));
    let tx = world.revoke("anna", "anna", "short", None);
    world.ok(tx);
    assert_eq!(held(&world, hospital), None);

    // Put away when its place is needed.
    let end = TimestampMs(world.now + HOUR);
    makes(&mut world, "expires", Rule { until: Some(end), ..permit(to_hospital_b()) });
    let at = held(&world, hospital).unwrap();
    assert!(!at.is_over(TimestampMs(end.0 - 1)) && at.is_over(end));
    world.block_after(2 * HOUR, &[]);
    let here = get(&world.state, &keys::patient(patient("anna"))).unwrap().grants;
    for number in here..=MAX_GRANTS {
        makes(&mut world, &format!("n{number}"), deny(to_hospital_b()));
    }
    assert_eq!(held(&world, hospital), None);
    assert_eq!(epione_chaincode::invariants::broken(&world.state).unwrap(), [""; 0]);
}
