//! A year of consent by the command line alone, over real processes; and then the audit trail, which must hold every
//! step and nothing else.
//!
//! The consortium first votes its deadlines down to seconds: a chain whose genesis says that it is for tests may.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::{Output, Testnet, arg, epione, eventually};

/// A testnet, and what its audit trail must come to.
struct Story {
    net: Testnet,
    /// Events about the patient, in order: the transaction, and what it did.
    expected: Vec<String>,
    /// Accesses to the patient's records, in order: who, what for, what was decided.
    accesses: Vec<String>,
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

impl Story {
    fn act(&self, who: &str, line: &str) -> Output {
        self.net.as_(who, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// One command, and the patient's events that it must leave.
    #[track_caller]
    fn step(&mut self, who: &str, line: &str, events: &[&str]) -> Value {
        let done = self.act(who, line).ok().json();
        self.expect(&done, events);
        done
    }

    fn expect(&mut self, done: &Value, events: &[&str]) {
        let transaction = text(done, "transaction");
        self.expected.extend(events.iter().map(|event| format!("{transaction} {event}")));
    }

    /// How the audit trail names somebody.
    fn requester(&self, who: &str) -> String {
        let book = std::fs::read(self.net.dir().join("book.json")).unwrap();
        let book: Value = serde_json::from_slice(&book).unwrap();
        let ids = &book["practitioners"][who];
        format!("person:{}/{}", text(ids, "org"), text(ids, "practitioner"))
    }

    /// One access, what it must come to, and the patient's events that it must leave.
    #[track_caller]
    fn access(&mut self, who: &str, record: &str, rest: &str, decision: &str, reason: &str) {
        let output = self.act(who, &format!("access record {record} {rest}"));
        let exit = if decision == "PERMIT" { 0 } else { 3 };
        let told = output.fails(exit, &[]).json();
        assert_eq!(text(&told, "decision"), decision, "{who} {rest}: {told}");
        self.accesses.push(format!("{} {decision} {reason}", self.requester(who)));
        self.expect(&told, &[&format!("AccessDecided {decision}")]);
        if reason == "PERMIT_BREAK_GLASS" {
            self.expect(&told, &["OverrideOpened", "NoticeGiven EMERGENCY_ACCESS"]);
        }
    }

    fn file(&self, name: &str, content: &str) -> String {
        arg(&self.net.file(name, content.as_bytes())).to_owned()
    }

    fn key(&self, name: &str) -> PathBuf {
        self.net.dir().join("keys").join(format!("{name}.key"))
    }

    /// The value of a constant that the hospitals vote for.
    fn vote(&self, constant: &str, value: &str) {
        let made = self.act("hospital0/admin", &format!("policy propose {constant} {value}")).ok().json();
        let proposal = text(&made, "proposal");
        for hospital in ["hospital1", "hospital2"] {
            self.act(&format!("{hospital}/admin"), &format!("policy vote {proposal}")).ok();
        }
        let shown = self.act("hospital3/admin", &format!("policy proposal {proposal}")).ok().json();
        assert_eq!(text(&shown, "status"), "PASSED");
    }
}

/// An event as the story expects it: its transaction, its name, and what tells it apart from others of its kind.
fn tag(row: &Value) -> String {
    let detail = &row["detail"];
    let said =
        ["status", "decision", "kind", "change", "verdict"].iter().find_map(|field| detail[field].as_str());
    let event = format!("{} {}", text(row, "transaction"), text(row, "event"));
    said.map_or(event.clone(), |said| format!("{event} {said}"))
}

#[test]
fn a_year_of_consent_and_its_audit_trail() {
    let mut story = Story { net: Testnet::up(4), expected: Vec::new(), accesses: Vec::new() };
    story.vote("OVERRIDE_OPEN_MS", "1s");
    story.vote("OVERRIDE_REVIEW_MS", "2s");
    story.vote("RECOVERY_DELAY_MS", "2s");
    let constants = story.act("hospital3/doctor", "policy show").ok().json();
    let find = |name: &str| {
        constants.as_array().unwrap().iter().find(|row| row["constant"] == name).unwrap().clone()
    };
    assert_eq!(find("RECOVERY_DELAY_MS")["value"], 2_000);
    assert_eq!(find("MAJORITY_AGE")["value"], 18);
    for hospital in ["hospital0", "hospital1"] {
        let line = "practitioner register --name officer --role PRIVACY_OFFICER";
        story.act(&format!("{hospital}/admin"), line).ok();
    }

    // Registered; a report is drafted, and approved for two viewers and nobody else.
    story.step("hospital0/doctor", "patient register --name anna", &["PatientRegistered"]);
    story.act("hospital0/doctor", "patient register --name karl").ok();
    let vault = story.net.beside("vault");
    let letter = story.file("letter.txt", "potassium 4.1 mmol/l");
    let line = format!(
        "report draft {letter} --patient anna --category CLINICAL_NOTE --month 2026-07 --keep {}",
        arg(&vault)
    );
    let report = text(&story.step("hospital0/doctor", &line, &["ReportChanged DRAFT"]), "report");
    let sealed = vault.join(format!("{report}.record"));
    let line = format!(
        "report submit {report} --sealed {} --viewer hospital1/doctor --viewer hospital2/doctor",
        arg(&sealed)
    );
    let events = ["ReportChanged SUBMITTED", "NoticeGiven REPORT_SUBMITTED"];
    story.step("hospital0/doctor", &line, &events);
    let line = format!("report approve {report} --viewer hospital1/doctor --sealed {}", arg(&sealed));
    story.act("patients/anna", &line).fails(1, &["--viewer", "the report's viewers are"]);
    let other = story.file("other.record", &"x".repeat(64));
    let both =
        format!("report approve {report} --viewer hospital2/doctor --viewer hospital1/doctor --sealed");
    story.act("patients/anna", &format!("{both} {other}")).fails(1, &["another body"]);
    let events =
        ["GrantCreated PERMIT", "GrantCreated PERMIT", "ReportChanged APPROVED", "RecordChanged ACTIVE"];
    let approved = story.step("patients/anna", &format!("{both} {}", arg(&sealed)), &events);
    assert_eq!(approved["grants"].as_array().unwrap().len(), 2);
    let shown = story.act("patients/anna", &format!("report show {report}")).ok().json();
    assert_eq!((text(&shown, "status"), shown["viewers"].as_array().unwrap().len()), ("APPROVED".into(), 2));
    story.act("hospital3/doctor", &format!("report show {report}")).fails(1, &["NOT_ALLOWED"]);
    story.access("hospital1/doctor", &report, "", "PERMIT", "PERMIT_GRANT");

    // A viewer reads the report, and nothing of who else may.
    story.act("hospital1/doctor", &format!("report show {report}")).fails(1, &["NOT_ALLOWED"]);

    // A third asks, is answered, and passes on what was granted as delegable.
    story.access("hospital3/doctor", &report, "", "DENY", "DENY_NO_GRANT");
    let line = "request ask --patient anna --to hospital3/doctor --purpose TREAT --delegable";
    let events = ["AccessRequestChanged PENDING", "NoticeGiven ACCESS_REQUESTED"];
    let request = text(&story.step("hospital3/doctor", line, &events), "request");
    let rows = story.act("patients/anna", "request list --patient anna").ok().json();
    assert_eq!((text(&rows[0], "request"), text(&rows[0], "status")), (request.clone(), "PENDING".into()));
    assert_eq!(story.act("hospital3/doctor", "request list --patient anna").ok().json(), rows, "who asked");
    story.act("hospital1/admin", "request list --patient anna").fails(1, &["NOT_ALLOWED"]);
    let line = format!("request approve {request} --patient anna --until 30d");
    story.act("hospital3/doctor", &line).fails(1, &["NOT_GRANTOR"]);
    let events = ["GrantCreated PERMIT", "AccessRequestChanged APPROVED"];
    let grant = text(&story.step("patients/anna", &line, &events), "grant");
    story.access("hospital3/doctor", &report, "", "PERMIT", "PERMIT_GRANT");
    story.act("hospital3/admin", "practitioner register --name locum --role PHYSICIAN").ok();
    let line =
        format!("consent delegate {grant} --patient anna --to hospital3/locum --purpose TREAT --until 7d");
    story.step("hospital3/doctor", &line, &["GrantCreated PERMIT"]);
    story.access("hospital3/locum", &report, "", "PERMIT", "PERMIT_GRANT");

    // What was delegated ends with what it came from.
    let line = format!("consent revoke {grant} --patient anna");
    let revoked = story.act("patients/anna", &line).ok().json();
    let receipt =
        story.act("patients/anna", &format!("receipt get {}", text(&revoked, "transaction"))).ok().json();
    let ended = receipt["events"].as_array().unwrap().len();
    story.expect(&revoked, &vec!["GrantRevoked"; ended]);
    story.access("hospital3/locum", &report, "", "DENY", "DENY_PARENT_INVALID");

    // That a hospital holds nothing is shown to whoever has the genesis; that it does is not hidden either.
    let kept = story.net.beside("none.proof");
    let prove = |story: &Story, organisation: &str| {
        let out = arg(&kept);
        let of = format!("--patient anna --organisation {organisation} --out {out}");
        story.act("patients/anna", &format!("consent prove-none {report} {of}"))
    };
    prove(&story, "hospital1").fails(5, &["1 permits were at hand"]);
    let shown = prove(&story, "hospital0").ok().json();
    let genesis = story.net.dir().join("genesis.json");
    let args = ["--json", "consent", "verify-none", arg(&kept), "--genesis", arg(&genesis)];
    let verified = epione(&args).ok().json();
    for field in ["organisation", "record", "patient", "height", "permits_in_force"] {
        assert_eq!(verified[field], shown[field], "{field}");
    }

    // The glass is broken; nobody reviews it in time, then somebody does, who is not the holder.
    let reason = story.file("reason.txt", "found unconscious");
    let line = format!("--purpose BTG --emergency UNCONSCIOUS --written {reason}");
    story.access("hospital3/doctor", &report, &line, "PERMIT", "PERMIT_BREAK_GLASS");
    eventually("the review is overdue", || {
        let rows = story.act("patients/anna", "emergency list --patient anna").ok().json();
        text(&rows[0], "status") == "OVERDUE"
    });
    let rows = story.act("patients/anna", "emergency list --patient anna").ok().json();
    let height = rows[0]["height"].as_u64().unwrap();
    // Time alone told the patient, and those who answer for the holder.
    let told = |kind: &str| {
        let rows = story.act("patients/anna", "patient notices anna").ok().json();
        let row = rows.as_array().unwrap().iter().find(|row| row["kind"] == kind).cloned();
        row.unwrap_or(Value::Null)
    };
    let mut notice = Value::Null;
    eventually("the patient is told", || {
        notice = told("REVIEW_OVERDUE");
        !notice.is_null()
    });
    let line = format!("patient acknowledge anna --notice {}", text(&notice, "notice"));
    let seen = story.act("patients/anna", &line).ok().json();
    assert_eq!((&notice["seen"], &told("REVIEW_OVERDUE")["seen"]), (&false.into(), &true.into()));
    story.expect(&seen, &["NoticeAcknowledged"]);
    let owed = |who: &str, rest: &str| story.act(who, &format!("emergency reviews --org {rest}"));
    for rest in ["hospital3", "hospital3 --overdue"] {
        let rows = owed("hospital3/admin", rest).ok().json();
        assert_eq!((rows.as_array().unwrap().len(), &rows[0]["height"]), (1, &height.into()), "{rest}");
    }
    assert_eq!(owed("hospital0/admin", "hospital2").ok().json(), serde_json::json!([]));
    owed("hospital3/doctor", "hospital3").fails(1, &["NOT_ALLOWED"]);
    let findings = story.file("findings.txt", "it was an emergency");
    let line = format!("emergency review {height} --patient anna --holder hospital3/doctor --verdict OK");
    story.act("hospital3/doctor", &line).fails(1, &["REVIEW_SELF"]);
    story.act("hospital1/officer", &line).fails(1, &["NOT_AUTHORISED"]);
    let line = format!("{line} --findings {findings}");
    story.step("hospital0/officer", &line, &["OverrideReviewed OK", "NoticeGiven REVIEWED_OK"]);
    let rows = story.act("patients/anna", "emergency list --patient anna").ok().json();
    assert_eq!(text(&rows[0], "status"), "REVIEWED_OK");
    let owed = story.act("hospital3/admin", "emergency reviews --org hospital3").ok().json();
    assert_eq!(owed, serde_json::json!([]));

    // A guest reads by a link, once and no more.
    let line = format!("link create --name gp --patient anna --record {report} --until 7d --uses 1");
    let events = ["GrantCreated PERMIT", "LinkChanged LIVE"];
    let link = text(&story.step("patients/anna", &line, &events), "link");
    let line = format!("link read {link} --record {report}");
    story.step("links/gp", &line, &["AccessDecided PERMIT"]);
    story.accesses.push("- PERMIT PERMIT_GRANT".to_owned());
    let told = story.act("links/gp", &line).fails(3, &[]).json();
    assert_eq!(text(&told, "decision"), "DENY");
    story.accesses.push("- DENY DENY_USES_EXHAUSTED".to_owned());
    story.expect(&told, &["AccessDecided DENY"]);

    // The key is lost; two guardians and some patience bring another one.
    let salts = story.net.beside("salts");
    let line = format!(
        "recovery guardians --guardian hospital1 --guardian patient:karl --threshold 2 --salts {}",
        arg(&salts)
    );
    story.step("patients/anna", &line, &["PatientChanged GUARDIANS_SET"]);
    let new_key = story.net.beside("new.key");
    support::epione(&["keys", "new", arg(&new_key)]).ok();
    let salt = |number: u8| arg(&salts.join(format!("{number}.salt"))).to_owned();
    let line = format!("recovery start --patient anna --salt {} --new-key {}", salt(2), arg(&new_key));
    let events = ["RecoveryChanged PENDING", "NoticeGiven RECOVERY_STARTED"];
    let public = text(&story.step("patients/karl", &line, &events), "new_public_key");
    let line = format!("recovery approve --patient anna --salt {} --new-public-key {public}", salt(1));
    story.step("hospital1/admin", &line, &["RecoveryChanged PENDING"]);
    let shown = story.act("patients/anna", "recovery show --patient anna").ok().json();
    assert_eq!((text(&shown, "status"), &shown["approvals"]), ("PENDING".to_owned(), &Value::from(2)));
    story.act("hospital1/doctor", "recovery show --patient anna").fails(1, &["NOT_ALLOWED"]);
    let mut finished = Value::Null;
    eventually("the delay is over", || {
        let output = story.act("hospital1/admin", "recovery finish --patient anna");
        assert!(output.exit == 0 || output.stderr.contains("RECOVERY_DELAY"), "{output:?}");
        finished = output.json();
        output.exit == 0
    });
    let events = ["RecoveryChanged FINISHED", "PatientChanged KEY_RECOVERED", "NoticeGiven KEY_CHANGED"];
    story.expect(&finished, &events);
    story.act("patients/anna", "patient show anna").fails(1, &[]);
    std::fs::copy(&new_key, story.key("patients/anna")).unwrap();

    // Nobody may anything; then the report is erased, at the patient's wish and by the custodian.
    let out = story.act("patients/anna", "consent opt-out --patient anna").ok().json();
    let ended = usize::try_from(out["revoked"].as_u64().unwrap()).unwrap();
    assert!(ended >= 2 && out["still_open"].as_array().unwrap().is_empty(), "{out}");
    story.expect(&out, &vec!["GrantRevoked"; ended]);
    story.expect(&out, &["GrantCreated DENY", "OptedOut"]);
    story.access("hospital1/doctor", &report, "", "DENY", "DENY_EXPLICIT");
    let line = format!("record erase {report}");
    story.act("hospital0/officer", &line).fails(1, &["SIGNATURE_MISSING"]);
    let line = format!("{line} --cosign {}", arg(&story.key("patients/anna")));
    story.step("hospital0/officer", &line, &["RecordChanged ERASED"]);
    story.access("hospital2/doctor", &report, "", "DENY", "DENY_RECORD_ERASED");

    // The trail, as the patient reads it: event by event what happened above.
    let rows = story.act("patients/anna", "patient history anna").ok().json();
    let found: Vec<String> = rows.as_array().unwrap().iter().map(tag).collect();
    assert_eq!(found, story.expected, "the events are those of the story");
    let rows = story.act("patients/anna", "access list --patient anna").ok().json();
    let found: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", text(row, "requester"), text(row, "decision"), text(row, "reason")))
        .collect();
    assert_eq!(found, story.accesses, "the accesses are those of the story");
}

/// A minor's guardian speaks for them, until a court says otherwise.
#[test]
fn a_guardian_speaks_for_a_minor() {
    let story = Story { net: Testnet::up(4), expected: Vec::new(), accesses: Vec::new() };
    story.act("hospital0/doctor", "patient register --name ben --custodial").ok();
    let evidence = story.file("birth.pdf", "born");
    let line = format!(
        "representative add --patient ben --name mother --kind PARENT --until 2034-05-01 --minor-privacy-from 2028-05-01 --evidence {evidence}"
    );
    story.act("hospital1/doctor", &line).fails(1, &["NOT_AUTHORISED"]);
    // The name belongs to the key that was made; whoever was refused gives it back.
    std::fs::remove_file(story.key("representatives/mother")).unwrap();
    story.act("hospital0/doctor", &line).ok();
    let grant = "consent grant --patient ben --to hospital1/doctor --purpose TREAT";
    let made = story.act("representatives/mother", grant).ok().json();
    let rows = story.act("representatives/mother", "consent list --patient ben").ok().json();
    assert_eq!(
        (text(&rows[0], "grant"), text(&rows[0], "source")),
        (text(&made, "grant"), "REPRESENTATIVE".into())
    );
    let document = story.file("court.pdf", "ruled");
    let revoke = format!("representative revoke representative:mother --patient ben --document {document}");
    story.act("hospital0/doctor", &revoke).ok();
    story.act("representatives/mother", grant).fails(1, &["NOT_GRANTOR"]);
    let rows = story.act("hospital0/doctor", "representative list --patient ben").ok().json();
    assert_eq!((rows.as_array().unwrap().len(), text(&rows[0], "status")), (1, "REVOKED".into()));
}

/// What the year above had no need of.
#[test]
fn every_other_step_has_its_command() {
    let story = Story { net: Testnet::up(4), expected: Vec::new(), accesses: Vec::new() };
    let ok = |who: &str, line: &str| story.act(who, line).ok().json();
    let vault = story.net.beside("vault");
    let vault = arg(&vault);
    let key = |name: &str| arg(&story.key(name)).to_owned();

    // Staff: suspended, resumed, renewed; a device in a doctor's name.
    ok("hospital0/admin", "practitioner suspend hospital0/doctor");
    story.act("hospital0/doctor", "patient register --custodial").fails(1, &["refused"]);
    ok("hospital0/admin", "practitioner resume hospital0/doctor");
    ok(
        "hospital0/admin",
        "practitioner update hospital0/doctor --role PHYSICIAN --role PRIVACY_OFFICER --until 30d",
    );
    let shown = ok("hospital1/doctor", "practitioner show hospital0/doctor");
    assert!(
        shown["roles"].as_array().unwrap().len() == 2 && shown["credential_until"].is_string(),
        "{shown}"
    );
    let line = "device register --name analyser --kind ANALYSER --practitioner hospital0/doctor";
    let device = text(&ok("hospital0/admin", line), "device");
    ok("hospital0/admin", &format!("device revoke {device}"));
    let shown = ok("hospital1/doctor", &format!("device show {device} --org hospital0"));
    assert_eq!(text(&shown, "status"), "REVOKED");

    // An organisation: suspended, resumed, gone.
    let cosign = format!("--cosign {}", key("hospital1/admin"));
    ok("hospital0/admin", &format!("org register --name clinic --kind CLINIC {cosign}"));
    ok("hospital0/admin", &format!("org suspend clinic {cosign}"));
    assert_eq!(text(&ok("hospital0/admin", "org show clinic"), "status"), "SUSPENDED");
    ok("hospital0/admin", &format!("org resume clinic {cosign}"));
    ok("clinic/admin", "org leave clinic");
    assert_eq!(text(&ok("hospital0/admin", "org show clinic"), "status"), "ENDED");
    let made = ok("hospital0/admin", "policy propose LIVE_RULES_MAX 256");
    ok("hospital0/admin", &format!("policy withdraw {}", text(&made, "proposal")));

    // A patient: cared for by one more, rotates the key, is told and has seen it.
    ok("hospital0/doctor", "patient register --name ida");
    ok("hospital1/doctor", &format!("patient link ida --cosign {}", key("patients/ida")));
    ok("patients/ida", "patient unlink ida --org hospital1");
    let new = story.net.beside("ida.key");
    support::epione(&["keys", "new", arg(&new)]).ok();
    ok("patients/ida", &format!("keys rotate {}", arg(&new)));
    story.act("patients/ida", "patient show ida").fails(1, &[]);
    std::fs::copy(&new, story.key("patients/ida")).unwrap();
    // What the ledger refuses about one field names it.
    let line = "consent deny --patient ida --to hospital2 --purpose all --uses 3";
    let refused = story.act("patients/ida", line).fails(1, &["INVALID_FIELD (rule.max_uses)"]).json();
    assert_eq!(
        (text(&refused["error"], "reason"), text(&refused["error"], "field")),
        ("INVALID_FIELD".into(), "rule.max_uses".into())
    );
    let line = "consent grant --patient ida --to hospital1 --purpose TREAT";
    let refused = story.act("hospital3/doctor", line).fails(1, &["NOT_GRANTOR"]).json();
    assert_eq!(text(&refused["error"], "field"), "", "it is about the sender");

    let ask = "request ask --patient ida --to hospital1/doctor --purpose TREAT";
    let first = text(&ok("hospital1/doctor", ask), "request");
    ok("patients/ida", &format!("request reject {first} --patient ida"));
    let second = text(&ok("hospital1/doctor", ask), "request");
    ok("hospital1/doctor", &format!("request withdraw {second} --patient ida"));
    let rows = ok("patients/ida", "request list --patient ida");
    let stand: Vec<String> = rows.as_array().unwrap().iter().map(|row| text(row, "status")).collect();
    assert_eq!(stand, ["REJECTED", "WITHDRAWN"]);
    let notice = text(&ok("patients/ida", "patient notices ida")[0], "notice");
    ok("patients/ida", &format!("patient acknowledge ida --notice {notice}"));
    let rows = ok("patients/ida", "patient notices ida");
    assert_eq!((&rows[0]["seen"], &rows[1]["seen"]), (&Value::from(true), &Value::from(false)));

    // A record: revised, held, in error; a link to it, closed.
    let body = story.file("lab.txt", "potassium 4.1 mmol/l");
    let line = format!("record register {body} --patient ida --category LAB --month 2026-07 --keep {vault}");
    let record = text(&ok("hospital0/doctor", &line), "record");
    let revised = ok("hospital0/doctor", &format!("record revise {record} {body} --keep {vault}"));
    assert_eq!(revised["version"], 2);
    let line = format!("record revise {record} {body} --keep {vault} --replaces 1");
    story.act("hospital0/doctor", &line).fails(1, &["VERSION_CONFLICT"]);
    let line = format!("link create --name gp --patient ida --record {record} --until 1d --uses 2");
    let link = text(&ok("patients/ida", &line), "link");
    ok("patients/ida", &format!("link close {link}"));
    assert_eq!(text(&ok("patients/ida", "link list --patient ida")[0], "status"), "CLOSED");
    story.act("links/gp", &format!("link read {link} --record {record}")).fails(3, &[]);
    ok("hospital0/doctor", &format!("record mark-error {record}"));
    ok("hospital0/doctor", &format!("record hold {record} --until 1d"));
    let erase = format!("record erase {record} --cosign {}", key("patients/ida"));
    story.act("hospital0/doctor", &erase).fails(1, &["RETENTION_HOLD"]);
    ok("hospital0/doctor", &format!("record hold {record} --lift"));
    ok("hospital0/doctor", &erase);

    // A report: sent back, changed, withdrawn.
    let line = format!("report draft {body} --patient ida --category LAB --month 2026-07 --keep {vault}");
    let report = text(&ok("hospital0/doctor", &line), "report");
    ok("hospital0/doctor", &format!("report submit {report} --sealed {vault}/{report}.record"));
    let wish = story.file("wish.txt", "not the whole letter");
    ok("patients/ida", &format!("report request-changes {report} --written {wish}"));
    ok("hospital0/doctor", &format!("report submit {report} --body {body} --keep {vault}"));
    story.act("hospital0/doctor", &format!("report anchor {report}")).fails(1, &["TOO_EARLY"]);
    ok("hospital0/doctor", &format!("report withdraw {report}"));
    let rows = ok("patients/ida", "report list --patient ida");
    assert_eq!((text(&rows[0], "status"), &rows[0]["round"]), ("WITHDRAWN".to_owned(), &Value::from(2)));
    ok("hospital0/doctor", &format!("record erase {report} --cosign {}", key("patients/ida")));

    // Opting out but for what was permitted; and the end.
    let grant = text(
        &ok("patients/ida", "consent grant --patient ida --to hospital1/doctor --purpose TREAT"),
        "grant",
    );
    let out = ok("patients/ida", "consent opt-out --patient ida --keep-permits");
    assert_eq!(out["still_open"], serde_json::json!([grant]));
    ok("hospital0/doctor", &format!("patient erase ida --cosign {}", key("patients/ida")));
    story.act("patients/ida", "patient show ida").fails(1, &[]);
    ok("hospital0/doctor", "patient register --name ben --custodial");
    let document = story.file("paper.pdf", "signed");
    ok("hospital0/doctor", &format!("patient take-over ben --document {document}"));
    ok("patients/ben", "patient show ben");
    ok("hospital0/doctor", &format!("patient deceased ben --document {document}"));
}
