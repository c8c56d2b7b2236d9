//! Asking a patient for a grant.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::consent::Basis;
use epione_chaincode::keys;
use epione_types::TimestampMs;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::id::AccessRequestId;
use support::*;

const DAY: u64 = 24 * HOUR;

fn id(name: &str) -> AccessRequestId {
    AccessRequestId(id16(name))
}

fn ask(world: &World, name: &str, rule: Rule) -> Call {
    let expires_at = TimestampMs(world.now + DAY);
    Call::RequestAccess(RequestAccess {
        request: id(name),
        patient: patient("anna"),
        rule,
        message: Some(hash("message")),
        expires_at,
    })
}

fn approve(name: &str, rule: Rule) -> Call {
    let (patient, request, grant) = (patient("anna"), id(name), grant(name));
    Call::ApproveAccessRequest(ApproveAccessRequest { patient, request, grant, rule })
}

fn wanted() -> Rule {
    Rule { categories: vec![Category::Lab, Category::Imaging], ..permit(person("hospB", "drB")) }
}

fn asked() -> World {
    let mut world = World::cast();
    let call = ask(&world, "q", wanted());
    let tx = world.tx(&["drB"], call);
    world.ok(tx);
    world
}

#[test]
fn a_request_becomes_the_grant_or_less() {
    let mut world = asked();
    for wider in [
        permit(person("hospB", "drB")), // all categories
        Rule { to: Grantee::Org(org("hospB")), ..wanted() },
        Rule { actions: vec![Action::Read, Action::Disclose], ..wanted() },
        Rule { labels: Labels::Only(vec![Label::Hiv]), ..wanted() },
        Rule { purposes: Purposes::Only(vec![Purpose::Treat, Purpose::Hpaymt]), ..wanted() },
        Rule { delegable: true, ..wanted() },
        Rule { purposes: Purposes::All, kind: GrantKind::Deny, ..wanted() },
    ] {
        let tx = world.tx(&["anna"], approve("q", wider));
        assert_eq!(world.refused(tx), Refusal::RequestWidens);
    }
    let less = Rule { categories: vec![Category::Lab], max_uses: Some(1), ..wanted() };
    let tx = world.tx(&["anna"], approve("q", less.clone()));
    world.ok(tx);
    let request = get(&world.state, &keys::access_request(patient("anna"), id("q"))).unwrap();
    assert_eq!((request.status, request.grant), (AccessRequestStatus::Approved, Some(grant("q"))));
    assert_eq!(request.answered.unwrap().1, Basis::OwnKey);
    assert_eq!(world.stored_grant("anna", "q").rule, less);
    let access = world.access("drB", "anna1", Purpose::Treat);
    assert_eq!(world.decided(access).1, Reason::PermitGrant);
}

#[test]
fn one_asks_for_oneself_within_limits_and_one_at_a_time() {
    let mut world = asked();
    let hospital = |name| permit(Grantee::Org(org(name)));
    for (by, rule, refusal) in [
        ("drB2", permit(person("hospB", "drB")), Refusal::InvalidField), // for a colleague
        ("drB2", hospital("hospA"), Refusal::InvalidField),
        ("drB2", permit(Grantee::Any), Refusal::InvalidField),
        ("drB2", permit(Grantee::Role(org("hospB"), Role::Nurse)), Refusal::InvalidField),
        ("drB2", deny(person("hospB", "drB2")), Refusal::InvalidField),
        ("drB2", Rule { parent: Some(grant("p")), ..hospital("hospB") }, Refusal::InvalidField),
        ("drB2", Rule { purposes: Purposes::All, ..hospital("hospB") }, Refusal::WildcardPurposeOnPermit),
        ("drB", hospital("hospB"), Refusal::TooMany), // has asked already
        ("anna", hospital("hospB"), Refusal::NotAuthorised),
        ("mother", hospital("hospB"), Refusal::NotAuthorised),
        ("hospB.admin0", hospital("hospB"), Refusal::NotAuthorised),
    ] {
        let call = ask(&world, "other", rule);
        let tx = world.tx(&[by], call);
        assert_eq!(world.refused(tx), refusal, "{by}");
    }
    let call = ask(&world, "q", hospital("hospB"));
    let tx = world.tx(&["drB2"], call);
    assert_eq!(world.refused(tx), Refusal::Exists);
    for expires in [world.now, world.now + 91 * DAY] {
        let Call::RequestAccess(call) = ask(&world, "other", hospital("hospB")) else { panic!() };
        let call = RequestAccess { expires_at: TimestampMs(expires), ..call };
        let tx = world.tx(&["drB2"], Call::RequestAccess(call));
        assert_eq!(world.refused(tx), Refusal::BadPeriod);
    }
    let call = ask(&world, "other", hospital("hospB"));
    let tx = world.tx(&["drB2"], call);
    world.ok(tx);
}

#[test]
fn an_answer_comes_in_time_or_the_requester_asks_anew() {
    let mut world = asked();
    let due = world.now - 1_000 + DAY;
    world.block_after(due - world.now - 1_000, &[]);
    let tx = world.tx(&["anna"], approve("q", wanted()));
    assert_eq!(world.refused(tx), Refusal::RequestExpired, "at its end exactly");
    let call = ask(&world, "again", wanted());
    let tx = world.tx(&["drB"], call);
    world.ok(tx);
    let reject = RejectAccessRequest { patient: patient("anna"), request: id("again"), document: None };
    let tx = world.tx(&["mother"], Call::RejectAccessRequest(reject));
    world.ok(tx);
    let call = ask(&world, "third", wanted());
    let tx = world.tx(&["drB"], call);
    world.ok(tx);
}

#[test]
fn paper_approves_for_patients_in_custody_alone() {
    let mut world = asked();
    let on_paper = Rule { document: Some(hash("paper")), ..wanted() };
    let tx = world.tx(&["regA"], approve("q", on_paper));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    // Nobody approves what they ask for themselves, be it for a patient whom they attest for.
    let rule = permit(person("hospA", "drA"));
    let Call::RequestAccess(call) = ask(&world, "own", rule.clone()) else { panic!() };
    let call = RequestAccess { patient: patient("karl"), ..call };
    let tx = world.tx(&["drA"], Call::RequestAccess(call));
    world.ok(tx);
    let Call::ApproveAccessRequest(answer) = approve("own", Rule { document: Some(hash("p")), ..rule })
    else {
        panic!()
    };
    let answer = ApproveAccessRequest { patient: patient("karl"), ..answer };
    let tx = world.tx(&["drA"], Call::ApproveAccessRequest(answer.clone()));
    assert_eq!(world.refused(tx), Refusal::NotGrantor);
    let tx = world.tx(&["nurA"], Call::ApproveAccessRequest(answer));
    world.ok(tx);
}
