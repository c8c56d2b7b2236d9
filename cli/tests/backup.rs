//! A ledger that is kept elsewhere and brought back, and a node that is far behind and fetches a snapshot: real processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use support::{Testnet, arg, epione, eventually};

fn config(net: &Testnet, node: usize) -> PathBuf {
    net.dir().join(format!("node{node}/node.toml"))
}

fn data(net: &Testnet, node: usize, part: &str) -> PathBuf {
    net.dir().join(format!("node{node}/data")).join(part)
}

fn register(net: &Testnet, name: &str) {
    net.as_("hospital0/doctor", &["patient", "register", "--name", name]).ok();
}

fn height(net: &Testnet, node: usize) -> Option<u64> {
    let status = net.run(&["node", "status", "--json", "--node", &node.to_string()], "--testnet");
    (status.exit == 0).then(|| status.json()["certified"].as_u64().unwrap())
}

fn same_height(net: &Testnet, node: usize) {
    eventually("it has what the others have", || {
        height(net, 0).zip(height(net, node)).is_some_and(|(all, its)| its >= all)
    });
}

#[test]
fn a_backup_is_made_checked_and_brought_back_and_one_without_its_log_refuses_to_vote() {
    let net = Testnet::up(4);
    (0..4).for_each(|number| register(&net, &format!("p{number}")));
    same_height(&net, 3);
    let (backup, config) = (net.beside("node3.backup"), config(&net, 3));
    let create = || epione(&["backup", "create", "--json", "--config", arg(&config), "--to", arg(&backup)]);
    create().fails(1, &["the node is running and has made no snapshot yet", "1000", "epione node snapshot"]);
    let asked = net.run(&["node", "snapshot", "--json", "--node", "3"], "--testnet").ok().json();
    let running = net.beside("running.backup");
    let made =
        epione(&["backup", "create", "--json", "--config", arg(&config), "--to", arg(&running)]).ok().json();
    assert!(made["height"] == asked["height"] && made["height"].as_u64().unwrap() >= 4, "{made}");
    let again = net.run(&["node", "snapshot", "--json", "--node", "3"], "--testnet").ok().json();
    assert!(again["height"].as_u64() >= asked["height"].as_u64(), "the same state, or a later one: {again}");
    let restore = || epione(&["backup", "restore", arg(&backup), "--json", "--config", arg(&config)]);
    restore().fails(1, &["stop it first"]);

    net.run(&["testnet", "kill", "3"], "--dir").ok();
    let made = create().ok().json();
    assert!(made["height"].as_u64().unwrap() >= 4 && made["entries"].as_u64().unwrap() > 20, "{made}");
    create().fails(1, &["is there already"]);
    let genesis = net.dir().join("genesis.json");
    let verify =
        |file: &PathBuf| epione(&["backup", "verify", arg(file), "--json", "--genesis", arg(&genesis)]);
    let verified = verify(&backup).ok().json();
    assert_eq!((&verified["state_root"], &verified["height"]), (&made["state_root"], &made["height"]));
    let mut bytes = fs::read(&backup).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    verify(&net.file("damaged.backup", &bytes)).fails(5, &["chunk"]);
    bytes.truncate(bytes.len() / 2);
    verify(&net.file("cut.backup", &bytes)).fails(5, &["it is not whole"]);
    restore().fails(1, &["nothing to restore"]);

    // The ledger is lost: the backup brings it back, the log says what was voted, and blocks come from the others.
    register(&net, "meanwhile");
    fs::remove_dir_all(data(&net, 3, "ledger")).unwrap();
    fs::remove_dir_all(data(&net, 3, "snapshots")).unwrap();
    restore().ok();
    net.run(&["testnet", "restart", "3"], "--dir").ok();
    register(&net, "afterwards");
    same_height(&net, 3);
    let find = |name: &str| net.as_("hospital0/doctor", &["patient", "show", name, "-N", "3"]);
    for name in ["p0", "meanwhile", "afterwards"] {
        find(name).ok();
    }
    let block = |height: &str| net.as_("hospital0/doctor", &["block", "show", height, "-N", "3"]);
    block("1").fails(4, &["begins after height"]);
    net.run(&["testnet", "kill", "3"], "--dir").ok();
    let ledger = epione(&["ledger", "verify", "--json", "--config", arg(&config)]).ok().json();
    assert_eq!((&ledger["from"], &ledger["damage"]), (&made["height"], &serde_json::Value::Null));

    // The log as well: what it voted is not known any more.
    for part in ["ledger", "snapshots", "log"] {
        fs::remove_dir_all(data(&net, 3, part)).unwrap();
    }
    let text = fs::read_to_string(&config).unwrap();
    let key =
        text.lines().find_map(|line| line.strip_prefix("voting = ")).unwrap().trim_matches('"').to_owned();
    fs::remove_file(config.with_file_name(format!("{key}.born"))).unwrap();
    restore().fails(1, &["there is no consensus log in", "it must not vote again", "--new-key"]);
    // Whoever says that the key is new and is wrong is stopped by the ledger, which knows it for a validator's.
    epione(&["backup", "restore", arg(&backup), "--json", "--config", arg(&config), "--new-key"]).ok();
    epione(&["node", "run", "--config", arg(&config)])
        .fails(1, &["no consensus log", "needs a new voting key"]);
}

#[test]
fn a_node_that_was_away_for_long_fetches_a_snapshot_and_starts_again_by_itself() {
    let net = Testnet::up(4);
    net.run(&["testnet", "down"], "--dir").ok();
    for node in 0..4 {
        let mut file = fs::File::options().append(true).open(config(&net, node)).unwrap();
        file.write_all(b"\n[snapshots]\nevery = 5\nminutes = 0\ngap = 5\n").unwrap();
    }
    net.run(&["testnet", "up", "--wait", "120"], "--dir").ok();
    net.run(&["testnet", "kill", "3"], "--dir").ok();
    let before = height(&net, 0).unwrap();
    let mut number = 0;
    while height(&net, 0).unwrap() < before + 14 {
        number += 1;
        register(&net, &format!("p{number}"));
    }
    net.run(&["testnet", "restart", "3"], "--dir").ok();
    same_height(&net, 3);
    let log = net.run(&["testnet", "logs", "3", "--lines", "2000"], "--dir").ok().stdout;
    for said in ["fetching a snapshot", "a snapshot is whole", "installing a snapshot"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    net.as_("hospital0/doctor", &["patient", "show", "p1", "-N", "3"]).ok();
    net.run(&["testnet", "kill", "3"], "--dir").ok();
    let ledger = epione(&["ledger", "verify", "--json", "--config", arg(&config(&net, 3))]).ok().json();
    assert!(ledger["from"].as_u64().unwrap() >= before + 5 && ledger["damage"].is_null(), "{ledger}");
    // A running node's newest one is a backup.
    let backup = net.beside("node0.backup");
    epione(&["backup", "create", "--config", arg(&config(&net, 0)), "--to", arg(&backup)]).ok();
    let genesis = net.dir().join("genesis.json");
    epione(&["backup", "verify", arg(&backup), "--genesis", arg(&genesis)]).ok();
}
