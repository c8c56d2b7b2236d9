//! The command line without any network: help, keys, wrong use, files that are not what they should be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::{Path, PathBuf};

use epione_testnet::local::{Lifetime, Network};
use support::{arg, epione};

/// A genesis without a single process.
fn genesis(dir: &Path) -> PathBuf {
    let network = Network::create(dir, &support::options(4), Lifetime::WithStarter).unwrap();
    network.layout().genesis()
}

#[test]
fn every_command_explains_itself() {
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = epione(&args).ok().stdout;
        assert!(help.contains("Usage: epione"), "{path:?}: {help}");
        let example = format!("\n  epione {}", path.join(" "));
        assert!(help.contains("\nExample") && help.contains(&example), "{path:?} has no example: {help}");
        seen += 1;
        let Some((_, commands)) = help.split_once("\nCommands:\n") else { continue };
        for line in commands.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap();
            if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
                left.push([path.clone(), vec![name.to_owned()]].concat());
            }
        }
    }
    assert!(seen >= 40, "{seen} commands were seen");
    let help = epione(&["--help"]).ok().stdout;
    assert!(help.contains("Exit codes:") && help.contains("Examples:"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = epione(&["completions", shell]).ok().stdout;
        assert!(script.contains("practitioner"), "{shell}");
    }
}

#[test]
fn wrong_use_is_exit_code_2_and_names_what_is_known() {
    epione(&["consent", "grant", "--patient", "x"]).fails(2, &["--to", "--purpose"]);
    epione(&["access", "check", "00", "--role", "SURGEON"]).fails(2, &["SURGEON", "PHYSICIAN"]);
    epione(&["record", "register", "x.json"]).fails(2, &["--keep"]);
    epione(&["nonsense"]).fails(2, &["nonsense"]);
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    epione(&["block", "show", "--testnet", arg(&missing)]).fails(1, &["no testnet", "testnet up"]);
    epione(&["block", "show", "--endpoint", "https://127.0.0.1:1"]).fails(2, &["--genesis", "--testnet"]);
}

/// Each says what was wrong (field and value), what would be right (the limit), and what to do.
#[test]
fn an_error_names_field_value_limit_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| arg(&folder.path().join(name)).to_owned();
    let large = path("large.json");
    std::fs::write(&large, vec![b' '; (32 << 20) + 1]).unwrap();
    let other = path("other.json");
    std::fs::write(&other, "{\"version\": \"Anna\"}").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (key, none) = (path("a.key"), path("none"));
    let genesis = genesis(&folder.path().join("net"));
    let genesis = arg(&genesis);
    epione(&["keys", "new", &key]).ok();
    let nowhere = ["--endpoint", "https://127.0.0.1:1", "--ca", &none, "--key", &key, "--genesis", &other];
    let cases: &[(i32, &[&str], &[&str])] = &[
        (2, &["testnet", "up", "--wait", "0"], &["--wait", "0", "1..=3600"]),
        (2, &["block", "show", "--timeout", "3601"], &["--timeout", "3601", "1..=3600"]),
        (2, &["access", "check", "0x"], &["RECORD", "0x", "16 bytes", "32 hex digits"]),
        (2, &["consent", "revoke", "g1", "--patient", "anna"], &["GRANT", "g1", "32 hex digits"]),
        (2, &["receipt", "get", "00"], &["TRANSACTION", "00", "64 hex digits"]),
        (2, &["consent", "list", "anna"], &["anna", "--patient"]),
        (
            2,
            &["consent", "grant", "--patient", "a", "--to", "b", "--purpose", "TREAT", "--uses", "0"],
            &["--uses", "0", "1.."],
        ),
        (
            2,
            &["record", "register", "x", "--discard", "--month", "2026-13"],
            &["--month", "2026-13", "yyyy-mm"],
        ),
        (
            1,
            &["record", "register", &large, "--discard"],
            &["file 1 of 1", "33554433", "33554432", "in parts"],
        ),
        (1, &["record", "register", &none, "--discard"], &["file 1 of 1", "No such file"]),
        (2, &["record", "register", &other, "--discard"], &["--patient", "--category", "--month"]),
        (
            1,
            &["block", "show", "--genesis", &large, "--key", &key],
            &["--genesis", "33554433", "1048576", "agreed on"],
        ),
        (1, &[&["block", "show"], nowhere.as_slice()].concat(), &["--genesis", "line 1", "agreed on"]),
        (1, &["keys", "new", &key], &["a.key", "exists", "another name"]),
        (1, &["keys", "show", &other], &["64 hex digits"]),
        (1, &["receipt", "verify", &other, "--genesis", &other], &["--genesis", "line 1"]),
        (1, &["receipt", "verify", &large, "--genesis", genesis], &["33554433", "4194304", "--receipt"]),
        (2, &["node", "run"], &["--config"]),
        (2, &["ledger", "verify", "--data", &none], &["--genesis"]),
        (1, &["node", "check", "--config", &none], &["none"]),
    ];
    for (exit, args, words) in cases {
        let said = epione(args).fails(*exit, words).stderr;
        assert!(!said.contains("Anna") && !said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn a_failure_is_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        epione(&["keys", "show", arg(&folder.path().join("none.key")), "--json"]).fails(1, &["none.key"]);
    let error = &output.json()["error"];
    assert_eq!(error["exit"], 1);
    assert!(error["message"].as_str().unwrap().contains("none.key"));
    // What cannot even be read as a command too.
    let error = epione(&["block", "show", "x", "--json"]).fails(2, &["[HEIGHT]", "--help"]).json();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(error["error"]["exit"] == 2 && message.starts_with("invalid value 'x'"), "{error}");
    assert_eq!(epione(&["block", "show", "x"]).fails(2, &["invalid value"]).stdout, "");
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doctor.key");
    let made = epione(&["keys", "new", arg(&path), "--json"]).ok().json();
    let shown = epione(&["keys", "show", arg(&path), "--json"]).ok();
    assert_eq!(made["public_key"], shown.json()["public_key"]);
    let seed = std::fs::read_to_string(&path).unwrap();
    assert!(!shown.stdout.contains(seed.trim()), "a seed was shown");
    epione(&["keys", "new", arg(&path)]).fails(1, &["exists"]);
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    epione(&["keys", "show", arg(&path)]).fails(1, &["644", "chmod 600"]);
}

#[test]
fn a_receipt_that_is_none_does_not_verify() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis(&folder.path().join("net"));
    for bytes in [b"".as_slice(), b"\xff\xff\xff", &[7; 4_000]] {
        let file = folder.path().join("file.receipt");
        std::fs::write(&file, bytes).unwrap();
        epione(&["receipt", "verify", arg(&file), "--genesis", arg(&genesis)]).fails(5, &["does not verify"]);
    }
    let file = folder.path().join("file.receipt");
    epione(&["receipt", "verify", arg(&file), "--genesis", arg(&file)]).fails(1, &["no genesis"]);
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("net");
    let network = Network::create(&dir, &support::options(1), Lifetime::WithStarter).unwrap();
    let config = network.layout().config(0);
    let fields = epione(&["node", "check", "--config", arg(&config), "--json"]).ok().json();
    assert_eq!(fields["validators"], 1);
    let text = std::fs::read_to_string(&config).unwrap();
    let broken = text.replace("voting.key", "none.key").replace("127.0.0.1:", "127.0.0.1:x");
    std::fs::write(&config, format!("colour = \"red\"\n{broken}")).unwrap();
    for command in [["node", "check", "--config"], ["node", "run", "--config"]] {
        let args = [command.as_slice(), &[arg(&config)]].concat();
        epione(&args).fails(1, &["keys.voting", "grpc.listen", "operator.listen", "colour"]);
    }
}
