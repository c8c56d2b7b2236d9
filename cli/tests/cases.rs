//! `epione access test`: a policy tried before it goes live.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]
#![allow(dead_code, unused_imports, reason = "the support module serves other tests too")]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{arg, epione};

/// A doctor of another hospital, one record, one grant; what is asked and expected of it.
fn file(cases: Value) -> Value {
    json!({
        "schema": 1,
        "fixture": {
            "now": "2026-06-15T12:00:00Z",
            "orgs": {
                "north": {"type": "HOSPITAL", "status": "ACTIVE", "btg": true},
                "south": {"type": "HOSPITAL", "status": "ACTIVE"},
            },
            "practitioners": {
                "drN": {"org": "north", "roles": ["PHYSICIAN"], "caps": ["btg"]},
                "drS": {"org": "south", "roles": ["PHYSICIAN"]},
            },
            "patients": {"p1": {"status": "ACTIVE", "care_orgs": ["south"]}},
            "reps": [{"rep": "mother", "patient": "p1", "kind": "PARENT", "from": "2020-01-01T00:00:00Z",
                      "until": "2030-01-01T00:00:00Z", "minor_privacy_from": "2024-01-01T00:00:00Z"}],
            "records": {
                "lab": {"patient": "p1", "category": "LAB", "date": "2026-03-09", "labels": ["HIV"],
                        "custodian": "south", "author": "drS", "status": "ACTIVE"},
            },
            "grants": [{"id": "g1", "kind": "PERMIT", "to": ["ORG", "north"], "purposes": ["TREAT"],
                        "actions": ["READ"], "patient": "p1", "labels": ["HIV"],
                        "data_period": ["2026-01-01", null]}],
        },
        "cases": cases,
    })
}

fn case(id: &str, who: &str, role: &str, purpose: &str, expect: Value) -> Value {
    json!({
        "id": id,
        "title": "a case",
        "request": {"who": who, "role": role, "record": "lab", "purpose": purpose, "action": "READ"},
        "expect": expect,
    })
}

fn permit_grant() -> Value {
    json!({"decision": "PERMIT", "reason": "PERMIT_GRANT", "grant": "g1", "obligations": ["NO_REDISCLOSE", "AUDIT"]})
}

fn deny(reason: &str) -> Value {
    json!({"decision": "DENY", "reason": reason, "grant": null, "obligations": ["AUDIT"]})
}

fn written(folder: &tempfile::TempDir, content: &str) -> PathBuf {
    let path = folder.path().join("cases.json");
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_policy_that_does_what_is_expected_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![
        case("grantee", "drN", "PHYSICIAN", "COC", permit_grant()),
        case(
            "custodian",
            "drS",
            "PHYSICIAN",
            "TREAT",
            json!({
                "decision": "PERMIT", "reason": "PERMIT_CUSTODIAN", "grant": null, "obligations": ["AUDIT"],
            }),
        ),
        case("minor", "mother", "REPRESENTATIVE", "FAMRQT", deny("DENY_MINOR_PRIVACY")),
        case("marketing", "drN", "PHYSICIAN", "HMARKT", deny("DENY_PURPOSE_PROHIBITED")),
        case("unknown purpose", "drN", "PHYSICIAN", "SELL", deny("DENY_BAD_REQUEST")),
    ];
    let mut refused = case("refused", "drN", "PHYSICIAN", "TREAT", deny("DENY_EXPLICIT"));
    refused["grants"] = json!([{"id": "d1", "kind": "DENY", "to": ["PERSON", "drN"], "purposes": ["*"],
                                "actions": ["READ"], "patient": "p1"}]);
    cases.push(refused);
    let path = written(&folder, &file(json!(cases)).to_string());
    let shown = epione(&["access", "test", "--cases", arg(&path)]).ok().stdout;
    assert_eq!(shown.lines().last(), Some("6 passed, 0 failed"), "{shown}");
    let found = epione(&["access", "test", "--cases", arg(&path), "--json"]).ok().json();
    assert_eq!((&found["passed"], &found["failed"]), (&json!(6), &json!(0)));
    assert_eq!(found["cases"][0]["decided"], json!("PERMIT_GRANT via g1 with AUDIT, NO_REDISCLOSE"));
}

#[test]
fn a_difference_is_exit_code_1_and_shows_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut duties = permit_grant();
    duties["obligations"] = json!(["AUDIT"]); // a duty less is a difference too
    let cases = json!([
        case("right", "drN", "PHYSICIAN", "TREAT", permit_grant()),
        case("wrong", "drN", "PHYSICIAN", "TREAT", deny("DENY_NO_GRANT")),
        case("duties", "drN", "PHYSICIAN", "TREAT", duties),
    ]);
    let path = written(&folder, &file(cases).to_string());
    let output = epione(&["access", "test", "--cases", arg(&path)]);
    assert_eq!(output.exit, 1, "{output:?}");
    assert_eq!(output.stdout.lines().last(), Some("1 passed, 2 failed"));
    assert!(output.stdout.contains("DENY_NO_GRANT") && output.stdout.contains("PERMIT_GRANT via g1"));
    let output = epione(&["access", "test", "--json", "--cases", arg(&path)]);
    let found = output.json();
    assert_eq!((output.exit, &found["failed"], &found["cases"][1]["passed"]), (1, &json!(2), &json!(false)));
}

/// Each error names the case, the field, and what is known.
#[test]
fn a_file_that_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let change = |edit: &dyn Fn(&mut Value)| {
        let mut whole = file(json!([case("one", "drN", "PHYSICIAN", "TREAT", permit_grant())]));
        edit(&mut whole);
        whole.to_string()
    };
    for (content, words) in [
        ("{}".to_owned(), &["not a file of cases", "schema"][..]),
        (change(&|it| it["schema"] = json!(2)), &["schema is 2", "reads 1"]),
        (change(&|it| it["fixture"]["org"] = json!({})), &["unknown field", "orgs"]),
        (
            change(&|it| it["cases"][0]["request"]["role"] = json!("SURGEON")),
            &["case one", "request.role", "SURGEON", "PHYSICIAN"],
        ),
        (
            change(&|it| it["cases"][0]["expect"]["reason"] = json!("DENY_IT")),
            &["case one", "expect.reason", "DENY_IT"],
        ),
        (change(&|it| it["cases"][0]["request"]["who"] = json!("drX")), &["case one", "request.who", "drX"]),
        (change(&|it| it["fixture"]["grants"][0]["to"] = json!(["EVERYBODY"])), &["grants.g1.to", "[ANY]"]),
        (
            change(&|it| it["fixture"]["grants"][0]["purposes"] = json!(["SELL"])),
            &["grants.g1.purposes", "TREAT"],
        ),
        (
            change(&|it| it["fixture"]["grants"][0]["data_period"] = json!(["2026-01-02", null])),
            &["grants.g1.data_period", "within a month"],
        ),
        (
            change(&|it| it["fixture"]["records"]["lab"]["date"] = json!("March")),
            &["records.lab.date", "2026-01-01"],
        ),
        (change(&|it| it["fixture"]["now"] = json!("noon")), &["now", "2026-12-31T23:59:59Z"]),
    ] {
        let path = written(&folder, &content);
        epione(&["access", "test", "--cases", arg(&path)]).fails(1, words);
    }
    let missing = folder.path().join("none.json");
    epione(&["access", "test", "--cases", arg(&missing)]).fails(1, &["none.json"]);
    epione(&["access", "test"]).fails(2, &["--cases"]);
}
