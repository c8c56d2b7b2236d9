//! What is wrong is said, all of it and by name, whatever the file holds.

use super::*;
use epione_types::call::RegisterOrganisation;
use epione_types::codes::OrganisationKind;
use epione_types::genesis::{GENESIS_VERSION, Policy};
use epione_types::id::OrgId;
use epione_types::{Epoch, Params, TimestampMs, Validator, ValidatorSet};
use proptest::prelude::*;
use std::fs;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Two validators; this node is the second.
fn files(dir: &Path) {
    let validator = |n: u8| Validator {
        organisation: OrgId([n; 16]),
        public_key: key(n).public_key(),
        network_key: key(n + 10).public_key(),
    };
    let organisation = |n: u8| RegisterOrganisation {
        organisation: OrgId([n; 16]),
        kind: OrganisationKind::Hospital,
        admins: vec![key(n + 20).public_key()],
        admin_threshold: 1,
        break_glass: false,
    };
    let validators = vec![validator(1), validator(2)];
    let genesis = Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(1),
        validators: ValidatorSet { epoch: Epoch(0), validators, params: Params::default() },
        policy: Policy::default(),
        organisations: vec![organisation(1), organisation(2)],
    };
    fs::write(dir.join("genesis.json"), serde_json::to_vec(&genesis).unwrap()).unwrap();
    epione_client::keys::write(&dir.join("voting.key"), &key(2)).unwrap();
    epione_client::keys::write(&dir.join("network.key"), &key(12)).unwrap();
    for name in ["tls.pem", "tls.key"] {
        fs::write(dir.join(name), "-----BEGIN SOMETHING-----\n").unwrap();
    }
}

fn good() -> String {
    let peer = key(11).public_key();
    format!(
        r#"
genesis = "genesis.json"
data_dir = "data"
[keys]
voting = "voting.key"
network = "network.key"
[grpc]
listen = "127.0.0.1:7001"
tls_cert = "tls.pem"
tls_key = "tls.key"
[operator]
listen = "127.0.0.1:7002"
[network]
listen = "/ip4/127.0.0.1/tcp/7003"
[[network.peers]]
network_key = "{peer}"
address = "/dns4/node0.example.org/tcp/7000"
"#
    )
}

fn of(text: &str) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let file = dir.path().join("node.toml");
    fs::write(&file, text).unwrap();
    load(&file)
}

fn fields(text: &str) -> Vec<String> {
    of(text).unwrap_err().faults.into_iter().map(|fault| fault.field).collect()
}

#[test]
fn a_whole_configuration_runs_and_shows_no_secret() {
    let config = of(&good()).unwrap();
    assert_eq!(config.organisation, config.genesis.validators.validators[1].organisation);
    assert_eq!(config.listen.to_string(), "127.0.0.1:7003");
    assert_eq!(config.peers.len(), 1);
    assert_eq!(config.peers[0].index, PeerIndex(0));
    assert_eq!(config.peers[0].address.as_ref().unwrap().to_string(), "node0.example.org:7000");
    assert_eq!(config.settings.pool.txs_max, 8_000);
    assert!(config.data_dir.ends_with("data"));
    assert!(!format!("{config:?}").contains("SecretKey"));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = good()
        .replace("127.0.0.1:7002", "127.0.0.1:7001")
        .replace("\"tls.pem\"", "\"nowhere.pem\"")
        .replace("\"genesis.json\"", "\"other.json\"")
        .replace("/dns4/node0.example.org/tcp/7000", "node0")
        .replace("[keys]", "colour = 1\n[keys]\nthird = \"x\"")
        + "[log]\nlevel = \"no=such=level\"\nformat = \"xml\"\n[limits]\nmempool_txs = 99\nmempool_mib = \"big\"\n";
    let mut found = fields(&text);
    found.sort();
    let expected = [
        "colour",
        "genesis",
        "grpc.tls_cert",
        "keys.third",
        "limits.mempool_mib",
        "limits.mempool_txs",
        "log.format",
        "log.level",
        "network.peers[0].address",
        "operator.listen",
    ];
    assert_eq!(found, expected);
    let message = of(&text).unwrap_err().to_string();
    assert!(message.contains("is 99, must be 1000 to 1000000"), "{message}");
}

#[test]
fn what_is_missing_is_named() {
    let expected = [
        "genesis",
        "data_dir",
        "keys.voting",
        "keys.network",
        "grpc.listen",
        "grpc.tls_cert",
        "grpc.tls_key",
        "operator.listen",
        "network.listen",
    ];
    assert_eq!(fields(""), expected);
    assert_eq!(fields("keys = 3\ngenesis = [").len(), 1, "not TOML: one error, with its line");
    assert!(fields("keys = 3").contains(&"keys".to_owned()));
}

#[test]
fn keys_and_peers_must_fit_the_genesis() {
    let own = key(12).public_key().to_string();
    let (peer, stranger) = (key(11).public_key().to_string(), key(99).public_key().to_string());
    assert_eq!(fields(&good().replace(&peer, &own)), ["network.peers[0].network_key"]);
    // One that is no validator of the genesis may follow, or have joined since.
    let config = of(&good().replace(&peer, &stranger)).unwrap();
    assert_eq!((config.peers.len(), config.peers[1].key), (2, key(99).public_key().0));
    let twice = good() + &format!("[[network.peers]]\nnetwork_key = \"{peer}\"\n");
    assert_eq!(fields(&twice), ["network.peers[1].network_key"]);
    let swapped = good().replace("\"voting.key\"", "\"network.key\"");
    assert_eq!(fields(&swapped), ["keys.voting"]);
    let same = good().replace("\"network.key\"", "\"voting.key\"");
    assert_eq!(fields(&same), ["keys.network"]);
}

#[test]
fn a_node_that_is_not_in_the_genesis_says_whose_it_is() {
    let joins =
        |id: &str| format!("join = \"{id}\"\n{}", good().replace("\"voting.key\"", "\"network.key\""));
    let config = of(&joins(&"07".repeat(16))).unwrap();
    assert_eq!(config.organisation, OrgId([7; 16]));
    assert_eq!(fields(&joins("hospital")), ["join", "keys.voting"]);
}

#[test]
fn addresses_are_plain_or_multiaddresses() {
    for (text, plain) in [
        ("10.0.0.7:7000", "10.0.0.7:7000"),
        ("/ip4/10.0.0.7/tcp/7000", "10.0.0.7:7000"),
        ("/ip6/fd00::7/tcp/7000", "[fd00::7]:7000"),
        ("/dns/node7.example.org/tcp/7000", "node7.example.org:7000"),
    ] {
        assert_eq!(address(text).unwrap().to_string(), plain);
    }
    for bad in ["/ip4/10.0.0.7/udp/7000", "/ip4/10.0.0.7", "http://x:1/y", ""] {
        assert!(address(bad).is_err(), "{bad}");
    }
    assert!(listen("node7:7000").unwrap_err().contains("is a name"));
}

/// Any value where another one should be.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("[]".to_owned()),
        Just("[[1], {a = 2}, 'x']".to_owned()),
        Just("{ listen = 1, peers = [{}] }".to_owned()),
        Just("true".to_owned()),
        Just("nan".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "\\PC{0,40}".prop_map(|text| format!("{text:?}")),
        "[0-9a-f.:/\\[\\]]{0,70}".prop_map(|text| format!("\"{text}\"")),
    ]
}

const FIELDS: &[(&str, &str)] = &[
    ("", "genesis"),
    ("", "data_dir"),
    ("keys", "voting"),
    ("keys", "network"),
    ("grpc", "listen"),
    ("grpc", "tls_cert"),
    ("grpc", "client_ca"),
    ("grpc", "connections_per_address"),
    ("operator", "listen"),
    ("network", "listen"),
    ("network", "peers"),
    ("log", "level"),
    ("log", "format"),
    ("limits", "mempool_txs"),
    ("limits", "mempool_mib"),
    ("limits", "account_percent"),
    ("limits", "store_cache_mib"),
    ("limits", "consensus_log_mib"),
    ("limits", "pipeline"),
];

/// A configuration that runs, or at least one fault, each with words and none without end.
fn answered(dir: &Path, bytes: &[u8]) -> Result<(), TestCaseError> {
    let file = dir.join("node.toml");
    fs::write(&file, bytes).unwrap();
    match load(&file) {
        Ok(config) => prop_assert!(config.settings.pool.account_percent <= 100),
        Err(errors) => {
            prop_assert!(!errors.faults.is_empty());
            prop_assert!(errors.faults.iter().all(|fault| !fault.text.is_empty()));
            prop_assert!(errors.to_string().len() <= 64 * (bytes.len() + 4_096), "bounded by the file");
        }
    }
    Ok(())
}

#[test]
fn any_file_is_a_configuration_or_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let good = good();
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..400))| answered(dir.path(), &bytes)?);
    proptest!(|(text in "\\PC{0,300}")| answered(dir.path(), text.as_bytes())?);
    // The good one with characters changed, and cut.
    proptest!(|(edits in prop::collection::vec((0..good.len(), any::<u8>()), 1..4), end in 0..=good.len())| {
        let mut bytes = good.clone().into_bytes();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        answered(dir.path(), &bytes)?;
        answered(dir.path(), &bytes[..end])?;
    });
}

#[test]
fn any_value_in_any_field_is_taken_or_named() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    proptest!(|(fields in prop::collection::vec((0..FIELDS.len(), value()), 1..6))| {
        let mut table: Table = good().parse().unwrap();
        for (place, value) in &fields {
            let (section, field) = FIELDS[*place];
            let Ok(parsed) = format!("it = {value}").parse::<Table>() else { continue };
            let value = parsed["it"].clone();
            let target = match section {
                "" => &mut table,
                name => table.entry(name).or_insert(Table::new().into()).as_table_mut().unwrap(),
            };
            target.insert(field.to_owned(), value);
        }
        answered(dir.path(), table.to_string().as_bytes())?;
    });
}

#[test]
fn what_is_deep_or_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    for text in [
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("a = {}", "{a=".repeat(200_000)),
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
        "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1),
    ] {
        fs::write(dir.path().join("node.toml"), &text).unwrap();
        let faults = load(&dir.path().join("node.toml")).unwrap_err().faults;
        assert!(!faults.is_empty(), "{}", &text[..10]);
    }
}

#[test]
fn a_wrong_clock_is_for_networks_for_tests_alone() {
    let with = |offset: &str| good() + &format!("[testnet]\nclock_offset_ms = {offset}\n");
    assert_eq!(of(&good()).unwrap().clock_offset_ms, 0);
    assert_eq!(of(&with("0")).unwrap().clock_offset_ms, 0);
    assert_eq!(fields(&with("-5000")), ["testnet.clock_offset_ms"], "the genesis is of no network for tests");
    assert_eq!(fields(&with("86400001")), ["testnet.clock_offset_ms"]);
    assert_eq!(fields(&with("\"late\"")), ["testnet.clock_offset_ms"]);

    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let path = dir.path().join("genesis.json");
    let mut genesis: Genesis = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    genesis.policy.allow_sensitive_in_clear = true;
    fs::write(&path, serde_json::to_vec(&genesis).unwrap()).unwrap();
    let file = dir.path().join("node.toml");
    fs::write(&file, with("-5000")).unwrap();
    assert_eq!(load(&file).unwrap().clock_offset_ms, -5_000);
}
