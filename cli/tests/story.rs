//! A clinic's day by the command line alone: enrol, register, grant, access, revoke, prove.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::io::{BufRead as _, Read as _};
use std::process::Stdio;

use serde_json::Value;
use support::{PATIENCE, Running, Testnet, arg, command, epione, signal};

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

#[test]
fn enrol_register_grant_access_revoke_prove() {
    let net = Testnet::up(4);
    let cosigner = net.dir().join("keys/hospital1/admin.key");

    // A clinic joins, and enrols a nurse.
    let args = ["org", "register", "--name", "clinic", "--kind", "CLINIC", "--cosign", arg(&cosigner)];
    let org = net.as_("hospital0/admin", &args).ok().json();
    let shown = net.as_("hospital3/doctor", &["org", "show", "clinic"]).ok().json();
    assert_eq!((text(&shown, "org"), text(&shown, "kind")), (text(&org, "org"), "CLINIC".to_owned()));
    net.as_("clinic/admin", &["practitioner", "register", "--name", "nurse", "--role", "NURSE"]).ok();
    let nurse = net.as_("clinic/nurse", &["practitioner", "show", "clinic/nurse"]).ok().json();
    assert_eq!(nurse["roles"], serde_json::json!(["NURSE"]));
    net.as_("hospital0/doctor", &["practitioner", "register", "--name", "x", "--role", "NURSE"])
        .fails(2, &["no administrator"]);

    // A patient with a key, and a record of hers.
    net.as_("hospital0/doctor", &["patient", "register", "--name", "anna"]).ok();
    let body = net.file("lab.txt", b"potassium 4.1 mmol/l");
    let keep = net.beside("vault");
    let register = |extra: &[&str]| {
        let args = [
            "record",
            "register",
            arg(&body),
            "--patient",
            "anna",
            "--month",
            "2026-07",
            "--keep",
            arg(&keep),
        ];
        net.as_("hospital0/doctor", &[&args, extra].concat())
    };
    let record = text(&register(&["--category", "LAB"]).ok().json(), "record");
    register(&[]).fails(2, &["--category"]);
    let kept = std::fs::read(keep.join(format!("{record}.record"))).unwrap();
    assert!(kept.ends_with(b"potassium 4.1 mmol/l") && kept.len() == 32 + 20, "salt and body are kept");
    let rows = net.as_("patients/anna", &["record", "list", "--patient", "anna"]).ok().json();
    assert_eq!((rows.as_array().unwrap().len(), text(&rows[0], "record")), (1, record.clone()));
    let shown = net.as_("patients/anna", &["record", "show", &record]).ok().json();
    assert_eq!((text(&shown, "category"), text(&shown, "month")), ("LAB".to_owned(), "2026-07".to_owned()));
    net.as_("hospital2/doctor", &["record", "show", &record]).fails(1, &["NOT_ALLOWED"]);

    // Denied, granted, permitted, revoked, denied.
    let ask = |verb: &str| {
        net.as_("hospital1/doctor", &["access", verb, &record, "--role", "PHYSICIAN", "--purpose", "TREAT"])
    };
    ask("check").fails(3, &[]);
    assert_eq!(text(&ask("record").fails(3, &[]).json(), "decision"), "DENY");
    let receipt = net.beside("grant.receipt");
    let args = [
        "consent",
        "grant",
        "--patient",
        "anna",
        "--to",
        "hospital1/doctor",
        "--purpose",
        "TREAT",
        "--receipt",
        arg(&receipt),
    ];
    net.as_("hospital1/doctor", &args).fails(1, &["NOT_GRANTOR", "patients/NAME"]);
    let granted = net.as_("patients/anna", &args).ok().json();
    assert_eq!(text(&ask("check").ok().json(), "reason"), "PERMIT_GRANT");
    assert_eq!(text(&ask("record").ok().json(), "grant"), text(&granted, "grant"));
    net.as_("patients/anna", &["consent", "revoke", &text(&granted, "grant"), "--patient", "anna"]).ok();
    assert_eq!(text(&ask("record").fails(3, &[]).json(), "decision"), "DENY");
    let written = net.file("reason.txt", b"found unconscious, no contact person");
    let args = ["access", "record", &record, "--purpose", "BTG", "--emergency", "UNCONSCIOUS"];
    net.as_("hospital1/doctor", &args).fails(2, &["--written"]);
    let args = [args.as_slice(), &["--written", arg(&written)]].concat();
    assert_eq!(text(&net.as_("hospital1/doctor", &args).ok().json(), "reason"), "PERMIT_BREAK_GLASS");
    let events = net.as_("patients/anna", &["access", "list", "--patient", "anna"]).ok().json();
    let decisions: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["DENY", "PERMIT", "DENY", "PERMIT"]);
    let grants = net.as_("patients/anna", &["consent", "list", "--patient", "anna"]).ok().json();
    assert!(grants[0]["revoked"].is_string(), "{grants}");

    // The receipt holds without any node; any other genesis refuses it.
    let genesis = net.dir().join("genesis.json");
    let verified =
        epione(&["receipt", "verify", arg(&receipt), "--genesis", arg(&genesis), "--json"]).ok().json();
    assert_eq!(verified["transaction"], granted["transaction"]);
    let mut bytes = std::fs::read(&receipt).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = net.file("flipped.receipt", &bytes);
    epione(&["receipt", "verify", arg(&flipped), "--genesis", arg(&genesis)]).fails(5, &["does not verify"]);
    let got = net.as_("hospital3/admin", &["receipt", "get", &text(&granted, "transaction")]).ok().json();
    assert_eq!((&got["state"], &got["height"]), (&Value::from("CERTIFIED"), &verified["height"]));
    net.as_("hospital0/admin", &["receipt", "get", &"ab".repeat(32)]).fails(4, &["has not seen"]);

    // The block that holds it, and the node.
    let height = granted["height"].as_u64().unwrap().to_string();
    let block = net.as_("hospital0/admin", &["block", "show", &height]).ok().json();
    assert!(block["transactions"].as_u64().unwrap() >= 1 && block["sealed_by"].is_string(), "{block}");
    net.as_("hospital0/admin", &["block", "show", "1000000"]).fails(1, &["NOT_FOUND"]);
    net.as_("hospital1/admin", &["node", "status", "-N", "2"]).fails(1, &["NOT_ALLOWED"]);
    let status = net.run(&["node", "status", "-N", "2", "--json"], "--testnet").ok().json();
    assert_eq!(status["peers"], "3/3");
    assert_eq!(status["ready"], true);
    let peers = status["validators"].as_array().unwrap();
    assert_eq!(peers.len(), 3, "{status}");
    assert!(peers.iter().all(|peer| peer["connected"] == true && peer["ready"] == true), "{status}");
    let whole =
        |votes: &str| votes.split_once('/').map(|(had, of)| (had.parse().unwrap(), of.parse().unwrap()));
    let votes: Vec<(u64, u64)> = peers.iter().filter_map(|peer| whole(&text(peer, "votes"))).collect();
    assert!(votes.iter().any(|(had, _)| *had > 0) && votes.iter().all(|(had, of)| had <= of), "{status}");

    // Stopped, the last one is named, and what to do about it.
    net.as_("hospital1/admin", &["node", "explain", "-N", "2"]).fails(1, &["NOT_ALLOWED"]);
    let well = net.run(&["node", "explain", "-N", "2", "--json"], "--testnet").ok().json();
    assert_eq!((&well["missing"], &well["cause"]), (&serde_json::json!([]), &Value::Null), "{well}");
    net.run(&["testnet", "kill", "3"], "--dir").ok();
    let told = loop {
        let told = net.run(&["node", "explain", "-N", "2", "--json"], "--testnet").ok().json();
        if told["missing"] != well["missing"] && told["step"] == "TRANSACTIONS" {
            break told;
        }
    };
    assert_eq!(
        (&told["missing"][0]["validator"], &told["missing"][0]["why"]),
        (&3.into(), &"NOT_CONNECTED".into())
    );
    assert!(text(&told, "advice").starts_with("Bring back validator 3 ("), "{told}");
    net.run(&["testnet", "restart", "3"], "--dir").ok();

    what_happened(&net, granted["height"].as_u64().unwrap());
}

/// Events up to now, from any place on, and as they happen.
fn what_happened(net: &Testnet, granted: u64) {
    let events = |who: &str, from: &str| {
        let rows = net.as_(who, &["events", "--from", from]).ok().json();
        rows.as_array().unwrap().clone()
    };
    let cursor = |row: &Value| format!("{}/{}", row["height"], row["index"]);
    let all = net.as_("hospital0/admin", &["events"]).ok().json().as_array().unwrap().clone();
    let place = |row: &Value| (row["height"].as_u64().unwrap(), row["index"].as_u64().unwrap());
    assert!(all.is_sorted_by(|a, b| place(a) < place(b)), "{all:?}");
    for at in [0, all.len() / 2, all.len() - 1] {
        assert_eq!(events("hospital0/admin", &cursor(&all[at])), all[at + 1..], "after {at}");
    }
    let from_block = events("hospital0/admin", &granted.to_string());
    let first = all.iter().position(|row| row["height"].as_u64().unwrap() >= granted).unwrap();
    assert_eq!((from_block[0]["event"].as_str(), &from_block[..]), (Some("GrantCreated"), &all[first..]));
    // A stranger knows who takes part, and nothing of anna.
    let common = ["OrganisationRegistered", "PractitionerRegistered"];
    let joined = all.iter().filter(|row| common.contains(&row["event"].as_str().unwrap()));
    assert_eq!(events("clinic/nurse", "1"), joined.cloned().collect::<Vec<_>>());
    assert!(events("hospital0/admin", "1000000").is_empty() && events("hospital0/admin", "now").is_empty());
    for wrong in ["41/", "x", "41/3/5", "-1/3"] {
        let args = ["events", &format!("--from={wrong}")];
        net.as_("hospital0/admin", &args).fails(2, &["--from", "HEIGHT/INDEX"]);
    }

    // What follows the last one, as it happens; then Ctrl-C, which says where to go on.
    let from = cursor(all.last().unwrap());
    let dir = net.dir();
    let args =
        ["events", "--from", &from, "--follow", "--json", "--as", "hospital0/admin", "--testnet", arg(&dir)];
    let mut following = command(&args);
    let following = following.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut following = Running(following);
    let lines = std::io::BufReader::new(following.0.stdout.take().unwrap()).lines();
    let (to, next) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send(line)));
    let next = || -> Value { serde_json::from_str(&next.recv_timeout(PATIENCE).unwrap()).unwrap() };
    let mut last = Value::Null;
    for _ in 0..2 {
        let made = net.as_("hospital1/doctor", &["patient", "register", "--custodial"]).ok().json();
        last = next();
        assert_eq!(
            (&last["event"], &last["transaction"]),
            (&"PatientRegistered".into(), &made["transaction"])
        );
    }
    signal(&following.0, rustix::process::Signal::INT);
    assert_eq!(following.0.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    following.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let on = said.trim().strip_prefix("go on with --from ").unwrap_or_else(|| panic!("{said}"));
    assert!(events("hospital0/admin", on).is_empty(), "nothing more than what was shown: {said}");
    assert_eq!(events("hospital0/admin", &from).last(), Some(&last));
}
