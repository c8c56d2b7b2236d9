//! The local testnet as an operator uses it: up, status, logs, kill, restart, down, and everything that may be in the way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use support::{Testnet, arg, epione, eventually, processes_of};

fn running(net: &Testnet) -> Vec<bool> {
    let rows = net.run(&["testnet", "status", "--json"], "--dir").json();
    rows.as_array().unwrap().iter().map(|row| row["running"].as_bool().unwrap()).collect()
}

#[test]
fn up_kill_restart_down_up_again() {
    let net = Testnet::up(4);
    let rows = net.run(&["testnet", "status", "--json"], "--dir").ok().json();
    let rows = rows.as_array().unwrap().clone();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["running"] == true && row["peers"] == "3/3"), "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row["role"] == "PRIMARY").count(), 1);
    assert!(
        rows.iter().all(|row| row["height"].as_u64().unwrap() >= 1),
        "the doctors' enrolment is a block at least"
    );

    let logs = net.run(&["testnet", "logs", "2", "--lines", "3"], "--dir").ok();
    assert!(
        logs.stdout.lines().count() == 3 && logs.stdout.lines().all(|line| line.starts_with("2 | ")),
        "{logs:?}"
    );
    net.run(&["testnet", "logs", "9"], "--dir").fails(1, &["nodes 0 to 3"]);

    net.run(&["testnet", "kill", "1"], "--dir").ok();
    assert_eq!(running(&net), [true, false, true, true]);
    net.run(&["testnet", "kill", "1"], "--dir").fails(1, &["does not run", "restart 1"]);
    net.run(&["testnet", "status"], "--dir").fails(1, &[]);
    // Three of four go on.
    net.as_("hospital2/doctor", &["patient", "register", "--name", "bert"]).ok();

    net.run(&["testnet", "restart", "1"], "--dir").ok();
    assert_eq!(running(&net), [true; 4]);
    net.run(&["testnet", "restart", "2"], "--dir").ok();
    let rows = net.run(&["testnet", "status", "--json"], "--dir").json();
    assert!(rows.as_array().unwrap().iter().all(|row| row["peers"] == "3/3"), "all are linked again: {rows}");
    net.run(&["testnet", "up"], "--dir").fails(1, &["is up", "status"]);
    assert_eq!(running(&net), [true; 4], "a network that is up stays up");

    net.run(&["testnet", "down"], "--dir").ok();
    assert_eq!(running(&net), [false; 4]);
    assert_eq!(processes_of(&net.dir()), Vec::<String>::new());

    // The same network again, with what it holds.
    net.run(&["testnet", "up", "-n", "7"], "--dir").fails(1, &["4 nodes", "--delete"]);
    net.run(&["testnet", "up", "--wait", "120"], "--dir").ok();
    // A node that was away is in consensus before it has executed all that it missed.
    let show = || net.as_("hospital2/doctor", &["patient", "show", "bert", "-N", "1"]);
    eventually("node 1 has what it missed", || show().exit == 0);
    assert_eq!(show().ok().json()["status"], "ACTIVE");
    net.run(&["testnet", "down", "--delete"], "--dir").ok();
    assert!(!net.dir().exists());
    net.run(&["testnet", "status"], "--dir").fails(1, &["no testnet", "testnet up"]);
}

#[test]
fn a_stale_run_is_recognised_and_no_foreign_process_is_touched() {
    let net = Testnet::up(1);
    let state = net.dir().join("testnet.json");
    let before = std::fs::read_to_string(&state).unwrap();
    net.run(&["testnet", "kill", "0"], "--dir").ok();
    // As after a crash of the machine: the file names a process that is gone, and its id belongs to another, this test.
    let born = |text: &str| text.split("\"born\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let pid = before.split("\"pid\": ").nth(1).unwrap().split(',').next().unwrap();
    let reused = before.replace(pid, &std::process::id().to_string()).replace(&born(&before), "long-ago:1");
    std::fs::write(&state, reused).unwrap();
    assert_eq!(running(&net), [false]);
    net.run(&["testnet", "kill", "0"], "--dir").fails(1, &["does not run"]);
    net.run(&["testnet", "down"], "--dir").ok();
    net.run(&["testnet", "up", "--wait", "120"], "--dir").ok();
    assert_eq!(running(&net), [true]);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_remedy() {
    let net = Testnet::up(1);
    net.run(&["testnet", "down"], "--dir").ok();
    let (_, state) = epione_testnet::local::look(&net.dir()).unwrap();
    let port = state.nodes[0].ports.grpc;
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    net.run(&["testnet", "up"], "--dir")
        .fails(1, &[&port.to_string(), "gRPC", "another process", "--delete"]);
    assert_eq!(running(&net), [false]);
    drop(squatter);
    net.run(&["testnet", "up", "--wait", "120"], "--dir").ok();
}

#[test]
fn a_node_that_does_not_come_up_is_named_with_its_last_words_and_nothing_stays() {
    let net = Testnet::up(4);
    net.run(&["testnet", "down"], "--dir").ok();
    let config = net.dir().join("node2").join("node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("colour = \"red\"\n{text}")).unwrap();
    net.run(&["testnet", "up", "--wait", "120"], "--dir").fails(1, &["node 2", "colour", "node.log"]);
    eventually("no node stays", || processes_of(&net.dir()).is_empty());
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("thesis.txt");
    std::fs::write(&file, "years of work").unwrap();
    epione(&["testnet", "up", "--dir", arg(folder.path())]).fails(1, &["not empty", "--dir"]);
    epione(&["testnet", "down", "--delete", "--dir", arg(folder.path())]).fails(1, &["no testnet"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "years of work");
    epione(&["testnet", "up", "-n", "0", "--dir", arg(&folder.path().join("x"))])
        .fails(1, &["0 nodes", "1 to 128"]);
    assert!(!folder.path().join("x").exists(), "what cannot work leaves nothing");
}
