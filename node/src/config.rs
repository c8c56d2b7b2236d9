//! One TOML file, read as a whole: what is wrong with it is said all at once, or it is a [`Config`] that can run.
//!
//! ```text
//!  text ─▶ fields (type, range, unknown names) ─▶ files they name (genesis, keys, certificates) ─▶ how they fit together
//! ```
//!
//! Paths are relative to the file's folder. What all validators must share comes from the genesis, never from here.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `genesis` | the agreed beginning, JSON | |
//! | `data_dir` | ledger, consensus log, durable mempool; kept together, never shared, never copied while running | |
//! | `join` | the organisation of a node that is not in the genesis (32 hex digits): it follows until it is voted in | none |
//! | `keys.voting`, `keys.network` | key files (64 hex digits, mode 600); the voting key is never backed up (R25) | |
//! | `grpc.listen` | address for clinics | |
//! | `grpc.tls_cert`, `grpc.tls_key` | PEM files of its certificate chain and key | |
//! | `grpc.client_ca` | PEM of an authority: callers must show its certificates, too | none |
//! | `grpc.connections_per_address` | connections of one address (an IPv6 /64 is one), at each of both addresses, 1 to 1024; raise it for many clients behind one gateway | 128 |
//! | `operator.listen` | address for operators: keep it from clinics | |
//! | `network.listen` | address for validators, `host:port` or `/ip4/…/tcp/…` | |
//! | `network.peers` | list of `network_key` and `address` (`host:port`, `/ip4/…/tcp/…`, `/dns4/…/tcp/…`); who has none dials in | |
//! | `log.level` | as in `info` or `epione_node=debug,info` | `info` |
//! | `log.format` | `text` or `json` | `text` |
//! | `limits.mempool_txs` | transactions that wait, of all validators together: the same at each; 1000 to 1000000 | 8000 |
//! | `limits.mempool_mib` | their bytes, in MiB, 8 to 4096 | 32 |
//! | `limits.account_percent` | what one organisation may fill of its validator's part, 1 to 100 | 50 |
//! | `limits.store_cache_mib` | page cache of the ledger, in MiB, 16 to 65536 | 96 |
//! | `limits.consensus_log_mib` | length at which the consensus log is trimmed, in MiB, 128 to 65536 | 160 |
//! | `snapshots.every` | a snapshot is made of heights that are a multiple of this, for nodes that are far behind and for backups; 0 for none | 1000 |
//! | `snapshots.minutes` | and of these only of the first in so many minutes of block time; 0 for all, to 100000 | 10 |
//! | `snapshots.gap` | a snapshot is fetched from others if it saves at least so many blocks; 0 for never | 10000 |
//! | `limits.pipeline` | proposals under way before this node, as the primary, waits for full batches, 1 to 8; with 4, validators 25 ms apart and more save a quarter of the latency for several times the blocks | 1 |
//!
//! One more is for drills: `testnet.clock_offset_ms` makes this node's wall clock wrong by so many ms (to a day either way). It is refused
//! unless the genesis allows what only networks for tests may (`allow_sensitive_in_clear`).
//!
//! Tested in `config/tests.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use epione_types::genesis::MAX_GENESIS_BYTES;
use epione_types::id::OrgId;
use epione_types::{Genesis, PublicKey, SecretKey, Signer as _};
use toml::{Table, Value};

use crate::driver::Settings;
use crate::mempool::Limits;
use crate::network::{self, Address, Peer, PeerIndex};
use crate::snapshots::Snapshots;

/// Longest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest certificate or key file, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Most peers that can be listed.
pub const PEERS_MAX: usize = 1_024;
/// Connections of one address.
const CONNECTIONS_PER_ADDRESS: u64 = 128;
/// Inputs that wait for the driver.
const INBOX: usize = 1_024;
/// A snapshot is made, or fetched, after so many heights at most.
const SNAPSHOT_HEIGHTS_MAX: u64 = 100_000_000;
/// And once in so many minutes of block time at least.
const SNAPSHOT_MINUTES_MAX: u64 = 100_000;
/// In ms.
const MINUTE_MS: u64 = 60_000;
/// A clock of a network for tests is wrong by so much at most, in ms.
const CLOCK_OFFSET_MS_MAX: i64 = 86_400_000;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, a JSON object a line.
    Json,
}

/// The gRPC server for clinics.
#[derive(Clone)]
pub struct Grpc {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate chain, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PEM. Secret.
    pub key: Vec<u8>,
    /// Authority whose certificates callers must show, PEM.
    pub client_ca: Option<Vec<u8>>,
    /// Connections of one address, an IPv6 /64 being one; more are closed as they come.
    pub connections_per_address: usize,
}

/// A node that can run. Holds secrets: never printed.
#[derive(Clone)]
pub struct Config {
    /// The agreed beginning.
    pub genesis: Genesis,
    /// Whose node it is.
    pub organisation: OrgId,
    /// Everything that is stored.
    pub data_dir: PathBuf,
    /// The voting key's file.
    pub voting_key_file: PathBuf,
    /// The voting key.
    pub voting_key: SecretKey,
    /// The network key.
    pub network_key: SecretKey,
    /// For clinics.
    pub grpc: Grpc,
    /// For operators.
    pub operator: SocketAddr,
    /// For validators.
    pub listen: SocketAddr,
    /// The other validators.
    pub peers: Vec<Peer>,
    /// Bounds of the links to them.
    pub network_limits: network::Limits,
    /// Directives of the log filter.
    pub log_level: String,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Bounds of mempool and log.
    pub settings: Settings,
    /// Proposals under way before the primary waits for full batches.
    pub pipeline: u64,
    /// Page cache of the ledger, in bytes.
    pub store_cache_bytes: u64,
    /// Inputs that wait for the driver; whoever brings more waits. At least 1.
    pub inbox: usize,
    /// By how much its wall clock is made wrong, in ms: 0 but in drills on networks for tests.
    pub clock_offset_ms: i64,
}

impl Config {
    /// Folder of the ledger's store.
    #[must_use]
    pub fn ledger_dir(&self) -> PathBuf {
        self.data_dir.join("ledger")
    }
    /// Folder of the consensus log.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }
    /// Folder of the snapshots.
    #[must_use]
    pub fn snapshots_dir(&self) -> PathBuf {
        self.data_dir.join("snapshots")
    }
    /// Folder of the durable mempool.
    #[must_use]
    pub fn pool_dir(&self) -> PathBuf {
        self.data_dir.join("pool")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("organisation", &self.organisation)
            .finish_non_exhaustive()
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which field, as `network.peers[2].address`; empty for the file as a whole.
    pub field: String,
    /// Limit, value and what to do.
    pub text: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration {} cannot be used:", self.file.display())?;
        for fault in &self.faults {
            match fault.field.as_str() {
                "" => write!(f, "\n  {}", fault.text)?,
                field => write!(f, "\n  {field}: {}", fault.text)?,
            }
        }
        Ok(())
    }
}

/// Reads and checks a configuration and every file that it names.
///
/// # Errors
/// [`ConfigErrors`]: all faults at once.
pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
    let mut faults = Faults::default();
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    let config = faults
        .check("", read(file, FILE_BYTES_MAX))
        .and_then(|bytes| faults.check("", String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())))
        .and_then(|text| faults.check("", text.parse::<Table>().map_err(|error| error.to_string())))
        .and_then(|table| validate(table, &dir, &mut faults));
    match config {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(ConfigErrors { file: file.to_owned(), faults: faults.0 }),
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: &str, text: impl Into<String>) {
        self.0.push(Fault { field: field.to_owned(), text: text.into() });
    }
    fn check<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.add(field, text)).ok()
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let io = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{} is longer than {bytes_max} bytes", path.display()));
    }
    Ok(bytes)
}

/// A table whose fields are taken one by one; what is left at the end is unknown.
struct Section {
    path: String,
    table: Table,
}

impl Section {
    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn section(&mut self, field: &str, faults: &mut Faults) -> Self {
        let path = self.name(field);
        let table = match self.table.remove(field) {
            Some(Value::Table(table)) => table,
            None => Table::new(),
            Some(other) => {
                faults.add(&path, format!("is a {}, must be a section: write [{path}]", other.type_str()));
                Table::new()
            }
        };
        Self { path, table }
    }

    fn text_opt(&mut self, field: &str, faults: &mut Faults) -> Option<String> {
        let value = self.table.remove(field)?;
        let Value::String(text) = value else {
            faults.add(&self.name(field), format!("is a {}, must be a text in quotes", value.type_str()));
            return None;
        };
        Some(text)
    }

    fn text(&mut self, field: &str, meaning: &str, faults: &mut Faults) -> Option<String> {
        if !self.table.contains_key(field) {
            faults.add(&self.name(field), format!("is missing: {meaning}"));
        }
        self.text_opt(field, faults)
    }

    fn number(&mut self, field: &str, default: u64, min: u64, max: u64, faults: &mut Faults) -> u64 {
        let found = match self.table.remove(field) {
            None => return default,
            Some(Value::Integer(found)) => found,
            Some(other) => {
                faults.add(
                    &self.name(field),
                    format!("is a {}, must be a whole number from {min} to {max}", other.type_str()),
                );
                return default;
            }
        };
        match u64::try_from(found) {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                faults.add(&self.name(field), format!("is {found}, must be {min} to {max}"));
                default
            }
        }
    }

    fn end(self, faults: &mut Faults) {
        for field in self.table.keys() {
            faults.add(&self.name(field), "is unknown: misspelt, or of another version?");
        }
    }
}

/// `host:port`, or a multiaddress with a host and a TCP port.
fn address(text: &str) -> Result<Address, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let plain = match parts.as_slice() {
        ["", "ip4" | "dns" | "dns4" | "dns6", host, "tcp", port] => format!("{host}:{port}"),
        ["", "ip6", host, "tcp", port] => format!("[{host}]:{port}"),
        _ => text.to_owned(),
    };
    plain.parse().map_err(|_| {
        format!("`{text}` is no address: write host:port, /ip4/10.0.0.7/tcp/7000 or /dns4/node7.example.org/tcp/7000")
    })
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let plain = address(text)?.to_string();
    plain.parse().map_err(|_| format!("`{text}` is a name: listen on an IP address, like 0.0.0.0:7000"))
}

fn validate(table: Table, dir: &Path, faults: &mut Faults) -> Option<Config> {
    let mut top = Section { path: String::new(), table };
    let at = |path: String| dir.join(path);
    let genesis = top.text("genesis", "the file that all validators share", faults).map(at);
    let genesis = genesis.and_then(|path| genesis_file(&path, faults));
    let data_dir = top.text("data_dir", "the folder for everything that is stored", faults).map(at);

    let mut keys = top.section("keys", faults);
    let voting_key_file = keys.text("voting", "file of the voting key", faults).map(at);
    let voting_key = voting_key_file.as_deref().and_then(|path| key_file("keys.voting", path, faults));
    let network_key_file = keys.text("network", "file of the network key", faults).map(at);
    let network_key = network_key_file.and_then(|path| key_file("keys.network", &path, faults));
    keys.end(faults);

    let mut grpc = top.section("grpc", faults);
    let grpc_listen = listen_field(&mut grpc, "address for clinics", faults);
    let certificate = grpc.text("tls_cert", "PEM file of the server's certificate chain", faults).map(at);
    let certificate = certificate.and_then(|path| pem_file("grpc.tls_cert", &path, faults));
    let tls_key = grpc.text("tls_key", "PEM file of the certificate's key", faults).map(at);
    let tls_key = tls_key.and_then(|path| pem_file("grpc.tls_key", &path, faults));
    let client_ca = grpc.text_opt("client_ca", faults).map(at);
    let client_ca = client_ca.and_then(|path| pem_file("grpc.client_ca", &path, faults));
    let connections_per_address =
        grpc.number("connections_per_address", CONNECTIONS_PER_ADDRESS, 1, 1_024, faults);
    let connections_per_address = usize::try_from(connections_per_address).unwrap_or(1);
    grpc.end(faults);

    let mut operator = top.section("operator", faults);
    let operator_listen = listen_field(&mut operator, "address for operators", faults);
    operator.end(faults);

    let join = top.text_opt("join", faults);
    let join = join.and_then(|text| {
        let parsed = text.parse::<OrgId>().map_err(|error| format!("{error}; write the organisation's id"));
        faults.check("join", parsed)
    });

    let mut network = top.section("network", faults);
    let network_listen = listen_field(&mut network, "address for validators", faults);
    let listed = peers_field(&mut network, faults);
    network.end(faults);

    let mut log = top.section("log", faults);
    let log_level = log.text_opt("level", faults).unwrap_or_else(|| "info".to_owned());
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log_level) {
        faults.add("log.level", format!("`{log_level}`: {error}; write error, warn, info, debug or trace"));
    }
    let log_format = match log.text_opt("format", faults).as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            faults.add("log.format", format!("is `{other}`, must be text or json"));
            LogFormat::Text
        }
    };
    log.end(faults);

    let mut limits = top.section("limits", faults);
    let mib = |number: u64| number << 20;
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let pool = Limits {
        txs_max: size(limits.number("mempool_txs", 8_000, 1_000, 1_000_000, faults)),
        bytes_max: size(mib(limits.number("mempool_mib", 32, 8, 4_096, faults))),
        account_percent: size(limits.number("account_percent", 50, 1, 100, faults)),
        ..Limits::default()
    };
    let store_cache_bytes = mib(limits.number("store_cache_mib", 96, 16, 65_536, faults));
    let pipeline = limits.number("pipeline", 1, 1, 8, faults);
    let log_bytes_max = mib(limits.number("consensus_log_mib", 160, 128, 65_536, faults));
    limits.end(faults);

    let mut section = top.section("snapshots", faults);
    let snapshots = Snapshots {
        every: section.number("every", Snapshots::default().every, 0, SNAPSHOT_HEIGHTS_MAX, faults),
        span_ms: section
            .number("minutes", Snapshots::default().span_ms / MINUTE_MS, 0, SNAPSHOT_MINUTES_MAX, faults)
            .saturating_mul(MINUTE_MS),
        gap: section.number("gap", Snapshots::default().gap, 0, SNAPSHOT_HEIGHTS_MAX, faults),
        ..Snapshots::default()
    };
    section.end(faults);

    let mut testnet = top.section("testnet", faults);
    let clock_offset_ms = clock_offset(&mut testnet, faults);
    testnet.end(faults);
    top.end(faults);

    let places = [
        ("grpc.listen", grpc_listen),
        ("operator.listen", operator_listen),
        ("network.listen", network_listen),
    ];
    for (i, (field, place)) in places.iter().enumerate() {
        let earlier = places.iter().take(i).find(|(_, other)| other == place && other.is_some());
        if let Some((other, Some(place))) = earlier.filter(|(_, place)| place.is_some_and(|p| p.port() != 0))
        {
            faults.add(field, format!("is {place}, as is {other}: each needs a port of its own"));
        }
    }
    let genesis = genesis?;
    if clock_offset_ms != 0 && !genesis.policy.allow_sensitive_in_clear {
        faults.add(
            "testnet.clock_offset_ms",
            "is for networks for tests, and the genesis is of no such network: remove it",
        );
    }
    let (voting_key, network_key) = (voting_key?, network_key?);
    let organisation = match join {
        Some(organisation) => Some(organisation),
        None => own_place(&genesis, &voting_key, &network_key, faults),
    };
    let peers = peers_of(&genesis, &network_key, listed, faults);
    Some(Config {
        organisation: organisation?,
        data_dir: data_dir?,
        voting_key_file: voting_key_file?,
        voting_key,
        network_key,
        grpc: Grpc {
            listen: grpc_listen?,
            certificate: certificate?,
            key: tls_key?,
            client_ca,
            connections_per_address,
        },
        operator: operator_listen?,
        listen: network_listen?,
        peers,
        network_limits: network::Limits::default(),
        log_level,
        log_format,
        settings: Settings { pool, log_bytes_max, snapshots },
        pipeline,
        store_cache_bytes,
        inbox: INBOX,
        clock_offset_ms,
        genesis,
    })
}

fn clock_offset(section: &mut Section, faults: &mut Faults) -> i64 {
    let range = -CLOCK_OFFSET_MS_MAX..=CLOCK_OFFSET_MS_MAX;
    match section.table.remove("clock_offset_ms") {
        None => 0,
        Some(Value::Integer(found)) if range.contains(&found) => found,
        Some(other) => {
            let (least, most) = (range.start(), range.end());
            let text = format!("is {other}, must be a whole number from {least} to {most}");
            faults.add(&section.name("clock_offset_ms"), text);
            0
        }
    }
}

fn listen_field(section: &mut Section, meaning: &str, faults: &mut Faults) -> Option<SocketAddr> {
    let text = section.text("listen", meaning, faults)?;
    faults.check(&section.name("listen"), listen(&text))
}

fn genesis_file(path: &Path, faults: &mut Faults) -> Option<Genesis> {
    let bytes = faults.check("genesis", read(path, MAX_GENESIS_BYTES as u64))?;
    let parsed = serde_json::from_slice::<Genesis>(&bytes);
    let genesis = faults.check("genesis", parsed.map_err(|error| format!("{}: {error}", path.display())))?;
    faults.check("genesis", genesis.check().map_err(|error| error.to_string()))?;
    Some(genesis)
}

fn key_file(field: &str, path: &Path, faults: &mut Faults) -> Option<SecretKey> {
    faults.check(field, epione_client::keys::read(path).map_err(|error| error.to_string()))
}

fn pem_file(field: &str, path: &Path, faults: &mut Faults) -> Option<Vec<u8>> {
    let bytes = faults.check(field, read(path, PEM_BYTES_MAX))?;
    let marked = bytes.windows(11).any(|window| window == b"-----BEGIN ");
    if !marked {
        let text = format!("{} is no PEM file: it has no line that starts with -----BEGIN", path.display());
        faults.add(field, text);
    }
    marked.then_some(bytes)
}

/// A peer as listed: its place in the list, key and address.
type Listed = (usize, PublicKey, Option<Address>);

fn peers_field(network: &mut Section, faults: &mut Faults) -> Vec<Listed> {
    let list = match network.table.remove("peers") {
        None => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            let text = format!("is a {}, must be a list: write [[network.peers]]", other.type_str());
            faults.add("network.peers", text);
            return Vec::new();
        }
    };
    if list.len() > PEERS_MAX {
        faults.add("network.peers", format!("has {} entries, at most {PEERS_MAX} are possible", list.len()));
        return Vec::new();
    }
    let mut listed = Vec::new();
    for (i, entry) in list.into_iter().enumerate() {
        let path = format!("network.peers[{i}]");
        let Value::Table(table) = entry else {
            faults.add(&path, "must have network_key and address: write [[network.peers]]");
            continue;
        };
        let mut peer = Section { path, table };
        let key = peer.text("network_key", "64 hex digits, as in the genesis", faults);
        let key = key.and_then(|key| {
            let parsed = key.parse::<PublicKey>().map_err(|error| error.to_string());
            faults.check(&peer.name("network_key"), parsed)
        });
        let place = peer.text_opt("address", faults);
        let place = place.and_then(|text| faults.check(&peer.name("address"), address(&text)));
        peer.end(faults);
        listed.extend(key.map(|key| (i, key, place)));
    }
    listed
}

fn own_place(
    genesis: &Genesis,
    voting: &SecretKey,
    network: &SecretKey,
    faults: &mut Faults,
) -> Option<OrgId> {
    let set = &genesis.validators;
    let Some(me) = set.index_of(&voting.public_key()) else {
        let text = format!(
            "its public key {} is no validator's in the genesis: wrong key, wrong genesis, or a node that joins (`join`)",
            voting.public_key()
        );
        faults.add("keys.voting", text);
        return None;
    };
    let expected = set.get(me).map(|validator| validator.network_key);
    if expected != Some(network.public_key()) {
        let expected = expected.map(|key| key.to_string()).unwrap_or_default();
        let text = format!(
            "its public key is {}, the genesis has {expected} for validator {me}",
            network.public_key()
        );
        faults.add("keys.network", text);
    }
    set.get(me).map(|validator| validator.organisation)
}

/// All other validators of the genesis, with the addresses that are listed, and who else is listed: the ledger says who
/// validates now, and nodes that follow may be linked to, too.
fn peers_of(genesis: &Genesis, own: &SecretKey, listed: Vec<Listed>, faults: &mut Faults) -> Vec<Peer> {
    let mut seen = BTreeSet::new();
    for (i, key, _) in &listed {
        let field = format!("network.peers[{i}].network_key");
        if *key == own.public_key() {
            faults.add(&field, "is this node's own: list only the others");
        } else if !seen.insert(*key) {
            faults.add(&field, format!("{key} is listed twice"));
        }
    }
    let mut keys: Vec<PublicKey> = genesis.validators.validators.iter().map(|one| one.network_key).collect();
    keys.extend(
        listed
            .iter()
            .map(|(_, key, _)| *key)
            .filter(|key| genesis.validators.validators.iter().all(|one| one.network_key != *key)),
    );
    let others = (0..).zip(keys).filter(|(_, key)| *key != own.public_key());
    others
        .map(|(index, key)| {
            let found = listed.iter().find(|(_, listed, _)| *listed == key);
            let address = found.and_then(|(_, _, address)| address.clone());
            Peer { index: PeerIndex(index), key: key.0, address }
        })
        .collect()
}

#[cfg(test)]
mod tests;
