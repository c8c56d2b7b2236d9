//! The connection a command works with: client, key and names, from flags or from a testnet's folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use epione_chaincode::keys::Key;
use epione_client::{Config, EpioneClient, Refused, Trust, TxBuilder, TxStatus, Wait, keys};
use epione_testnet::local::{self, Layout, State};
use epione_types::call::Call;
use epione_types::codec;
use epione_types::{Outcome, Receipt, SecretKey, SignedTx, Signer};
use prost::Message as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::{self, Connect};
use crate::book::Book;
use crate::error::{About as _, CliError};
use crate::output::Fields;
use crate::request;

/// The folder of patients' keys among a testnet's keys.
pub(crate) const PATIENTS: &str = "patients";

/// Largest entry of the ledger read.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// A testnet that a command speaks to.
#[derive(Debug)]
pub(crate) struct Testnet {
    pub(crate) layout: Layout,
    pub(crate) state: State,
}

/// Client, key and names.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: EpioneClient,
    pub(crate) key: SecretKey,
    pub(crate) book: Book,
    pub(crate) testnet: Option<Testnet>,
}

/// Which of a node's two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// For clinics.
    Clinics,
    /// For operators.
    Operators,
}

impl Session {
    /// Connects to a node and checks its chain.
    pub(crate) async fn open(connect: &Connect) -> Result<Self, CliError> {
        let prepared = Prepared::new(connect, Door::Clinics)?;
        let client = EpioneClient::connect(prepared.config.clone()).await?;
        Ok(prepared.with(client))
    }

    /// The same without contacting a node yet.
    pub(crate) fn lazy(connect: &Connect, door: Door) -> Result<Self, CliError> {
        let prepared = Prepared::new(connect, door)?;
        let client = EpioneClient::lazy(prepared.config.clone())?;
        Ok(prepared.with(client))
    }

    /// Signs a call with this key and the others, submits it, and waits for the proof.
    pub(crate) async fn submit(
        &self,
        call: Call,
        with: &[SecretKey],
        write: &args::Write,
    ) -> Result<Done, CliError> {
        let cosigners = write.cosigners.iter().map(|path| keys::read(path)).collect::<Result<Vec<_>, _>>()?;
        let others: Vec<&dyn Signer> = with.iter().chain(&cosigners).map(|key| key as &dyn Signer).collect();
        let tx = TxBuilder::new(self.client.chain_id(), call).sign(&self.key, &others)?;
        let status = self.client.submit(&tx, Wait::Certified).await;
        let status =
            status.map_err(|error| CliError::from(error).during(&format!("transaction {}", tx.id())))?;
        Done::of(&tx, status, write.receipt.as_deref())
    }

    /// What the ledger holds under a key, proven.
    pub(crate) async fn entry<T: Serialize + DeserializeOwned>(
        &self,
        key: &Key<T>,
    ) -> Result<Option<T>, CliError> {
        let (value, _) = self.client.state_value(key.as_bytes(), None).await?;
        let decode = |bytes: bytes::Bytes| codec::decode(&bytes, ENTRY_BYTES_MAX);
        value.map(decode).transpose().about("an entry of the ledger cannot be read; the node may be newer")
    }

    /// Where a new member's key belongs: in the file named, or among the testnet's keys under the name.
    pub(crate) fn member_key(&self, file: Option<&Path>, name: Option<&str>) -> Result<SecretKey, CliError> {
        match (file, &self.testnet, name) {
            (Some(file), _, _) => Ok(keys::read(file)?),
            (None, Some(testnet), Some(name)) => {
                let path = testnet.layout.keys().join(format!("{}.key", checked_name(name)?));
                new_key(&path)
            }
            (None, None, _) => Err(CliError::usage(
                "--member-key is missing: make a key with `epione keys new FILE` and name it",
            )),
            (None, Some(_), None) => Err(CliError::usage(
                "--name is missing: it says what to call the new member and its key; or give --member-key FILE",
            )),
        }
    }
}

/// All that a session needs, before it is one.
struct Prepared {
    config: Config,
    key: SecretKey,
    book: Book,
    testnet: Option<Testnet>,
}

impl Prepared {
    fn new(connect: &Connect, door: Door) -> Result<Self, CliError> {
        let testnet = find_testnet(connect)?;
        let genesis = match (&connect.genesis, &testnet) {
            (Some(path), _) => request::genesis(path)?,
            (None, Some(testnet)) => local::genesis(&testnet.layout)?,
            (None, None) => return Err(missing("--genesis", "the consortium's genesis file")),
        };
        let ca = match (&connect.ca, &testnet) {
            (Some(path), _) => path.clone(),
            (None, Some(testnet)) => testnet.layout.ca(),
            (None, None) => return Err(missing("--ca", "the certificate authority's certificate")),
        };
        let key = keys::read(&key_file(connect, testnet.as_ref())?)?;
        let endpoints = endpoints(connect, testnet.as_ref(), door)?;
        let book = match &testnet {
            Some(testnet) => Book::open(testnet.layout.dir())?,
            None => Book::default(),
        };
        let ca = std::fs::read(&ca).about(ca.display())?;
        let mut config = Config::new(endpoints, ca, Trust::new(&genesis)?, key.clone());
        config.timeout = Duration::from_secs(connect.timeout);
        Ok(Self { config, key, book, testnet })
    }

    fn with(self, client: EpioneClient) -> Session {
        Session { client, key: self.key, book: self.book, testnet: self.testnet }
    }
}

/// A transaction that is final.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
}

impl Done {
    fn of(tx: &SignedTx, status: TxStatus, keep: Option<&Path>) -> Result<Self, CliError> {
        let id = tx.id();
        let (receipt, proof) = match status {
            TxStatus::Certified { receipt, proof } => (receipt, proof),
            TxStatus::Expired(_) => {
                return Err(CliError::failed(format!(
                    "transaction {id} expired before it was ordered, and can never commit: repeat the command"
                ))
                .reason("EXPIRED"));
            }
            TxStatus::Unknown | TxStatus::Pending { .. } | TxStatus::Committed(_) => {
                let text = format!("transaction {id} is not final yet: ask with `epione receipt get {id}`");
                return Err(CliError::unknown(text).reason("PENDING"));
            }
        };
        if let Some(path) = keep {
            std::fs::write(path, proof.encode_to_vec()).about(path.display())?;
        }
        if let Some(refused) = Refused::of(&receipt, tx) {
            let message = format!("{refused}{}", crate::commands::hint(refused.refusal));
            return Err(CliError::failed(message).reason(refused.refusal.name()).field(refused.field));
        }
        Ok(Self { receipt: *receipt })
    }

    /// Where it stands.
    pub(crate) fn fields(&self) -> Fields {
        receipt_fields(&self.receipt)
    }
}

/// A receipt for people and machines.
pub(crate) fn receipt_fields(receipt: &Receipt) -> Fields {
    let outcome = match receipt.outcome {
        Outcome::Ok => Value::from("APPLIED"),
        Outcome::Refused(refusal) => Value::from(refusal.name()),
    };
    Fields::new()
        .text("transaction", receipt.tx_id)
        .with("height", receipt.height.0)
        .with("index", receipt.index)
        .with("outcome", outcome)
}

/// What a transaction did.
pub(crate) fn events(receipt: &Receipt) -> Vec<Value> {
    receipt
        .events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap_or_else(|error| json!(error.to_string())))
        .collect()
}

/// Bytes in hex, as an id is written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new key file, its folder made if needed.
pub(crate) fn new_key(path: &Path) -> Result<SecretKey, CliError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).about(folder.display())?;
    }
    let key = SecretKey::generate().about("no randomness from the operating system")?;
    keys::write(path, &key)?;
    Ok(key)
}

/// A name becomes part of a path: nothing but letters, digits, `-`, `_` and `.` between slashes.
pub(crate) fn checked_name(name: &str) -> Result<&str, CliError> {
    let fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if name.len() <= 100 && name.split('/').all(fine) {
        Ok(name)
    } else {
        Err(CliError::usage(format!(
            "'{name}' is no name: write 1 to 100 letters, digits, -, _ and ., with / between parts that begin with no ."
        )))
    }
}

fn find_testnet(connect: &Connect) -> Result<Option<Testnet>, CliError> {
    let dir = match &connect.testnet {
        Some(dir) => dir.clone(),
        // Somebody who names nodes and keys means those.
        None if !connect.endpoints.is_empty() || connect.key.is_some() => return Ok(None),
        None => PathBuf::from(args::DEFAULT_DIR),
    };
    match local::look(&dir) {
        Ok((layout, state)) => Ok(Some(Testnet { layout, state })),
        Err(error) if connect.testnet.is_some() => Err(error.into()),
        Err(_) => Err(CliError::usage(format!(
            "no node to ask: name one with --endpoint, --ca, --genesis and --key, or a testnet with --testnet DIR (none in {})",
            dir.display()
        ))),
    }
}

fn key_file(connect: &Connect, testnet: Option<&Testnet>) -> Result<PathBuf, CliError> {
    if let Some(path) = &connect.key {
        return Ok(path.clone());
    }
    let Some(testnet) = testnet else { return Err(missing("--key", "your key file")) };
    // A node tells its own hospital's administrators how it is.
    let admin = format!("{}/admin", local::hospital(connect.node.unwrap_or(0)));
    let name = connect.who.as_deref().unwrap_or(&admin);
    let path = testnet.layout.keys().join(format!("{}.key", checked_name(name)?));
    if path.exists() {
        return Ok(path);
    }
    Err(CliError::usage(format!(
        "--as {name}: there is no {}; known: {}",
        path.display(),
        known_keys(&testnet.layout)
    )))
}

/// Everybody's keys but the patients': those are shown as one.
fn known_keys(layout: &Layout) -> String {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(layout.keys()).into_iter().flatten().flatten() {
        if folder.file_name() == PATIENTS {
            names.push(format!("{PATIENTS}/NAME"));
            continue;
        }
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if let Some(name) = file.file_name().to_str().and_then(|name| name.strip_suffix(".key")) {
                names.push(format!("{}/{name}", folder.file_name().to_string_lossy()));
            }
        }
    }
    names.sort_unstable();
    names.truncate(30);
    names.join(", ")
}

fn endpoints(connect: &Connect, testnet: Option<&Testnet>, door: Door) -> Result<Vec<String>, CliError> {
    if !connect.endpoints.is_empty() {
        return Ok(connect.endpoints.clone());
    }
    let Some(testnet) = testnet else { return Err(missing("--endpoint", "a node's address")) };
    let nodes = &testnet.state.nodes;
    let count = nodes.len();
    if let Some(node) = connect.node.filter(|node| *node >= count) {
        return Err(CliError::usage(format!(
            "--node {node}: this testnet has nodes 0 to {}",
            count.saturating_sub(1)
        )));
    }
    let own = connect.who.as_deref().and_then(|who| {
        let hospital = who.split('/').next()?;
        (0..count).find(|node| local::hospital(*node) == hospital)
    });
    let first = connect.node.or(own).unwrap_or(0);
    // An operator asks one node about itself.
    let asked = if connect.node.is_some() || door == Door::Operators { 1 } else { count };
    let order = nodes.iter().cycle().skip(first).take(asked);
    Ok(order
        .map(|place| {
            let port = if door == Door::Operators { place.ports.operator } else { place.ports.grpc };
            format!("https://127.0.0.1:{port}")
        })
        .collect())
}

fn missing(flag: &str, what: &str) -> CliError {
    CliError::usage(format!(
        "{flag} is missing: {what}; or name a testnet with --testnet DIR, which knows it"
    ))
}
