//! Rust SDK: sign, submit, await, subscribe, verify; and import what a hospital has.
//!
//! [`EpioneClient`] speaks to any of the nodes it is given and goes on with the next when one is gone. A transaction
//! is encoded and signed once ([`TxBuilder`]) and its bytes are sent again until there is an answer, which the ledger
//! makes safe. What a node proves is checked against the genesis ([`verify`]) before a caller sees it, so that no
//! single node is trusted for it; what it only says is marked so. [`auth`] is the token by which nodes know a caller.
//!
//! # A grant, an access, and what became of them
//!
//! ```no_run
//! use epione_client::{Config, EpioneClient, Refused, Trust, TxBuilder, TxStatus, Wait, keys, tx::random_id};
//! use epione_types::call::{Call, CreateGrant, GrantKind, Grantee, Labels, Person, Purposes, RecordAccess, Rule};
//! use epione_types::codes::{Action, Purpose, Role};
//! use epione_types::{Genesis, Height, id::{GrantId, OrgId, PatientId, PractitionerId, RecordId}};
//!
//! # async fn example(patient: PatientId, record: RecordId, doctor: (OrgId, PractitionerId)) -> Result<(), Box<dyn std::error::Error>> {
//! let genesis: Genesis = serde_json::from_slice(&std::fs::read("genesis.json")?)?;
//! let nodes = vec!["https://node.hospital-a.example:7001".into(), "https://node.hospital-b.example:7001".into()];
//! let connect = async |name: &str| {
//!     let (key, ca) = (keys::read(name.as_ref())?, std::fs::read("ca.pem")?);
//!     let config = Config::new(nodes.clone(), ca, Trust::new(&genesis)?, key.clone());
//!     Ok::<_, Box<dyn std::error::Error>>((EpioneClient::connect(config).await?, key))
//! };
//!
//! // The patient grants the doctor to read, for treatment. If the outcome is unknown, submit the same `tx` again.
//! let (client, key) = connect("anna.key").await?;
//! let rule = Rule {
//!     kind: GrantKind::Permit,
//!     to: Grantee::Person(Person::Practitioner(doctor.0, doctor.1)),
//!     purposes: Purposes::Only(vec![Purpose::Treat]),
//!     actions: vec![Action::Read],
//!     categories: vec![],
//!     records: vec![record],
//!     labels: Labels::Only(vec![]),
//!     data_period: None,
//!     from: None,
//!     until: None,
//!     max_uses: None,
//!     delegable: false,
//!     parent: None,
//!     policy: None,
//!     document: None,
//! };
//! let grant = CreateGrant { grant: GrantId(random_id()?), patient, rule };
//! let tx = TxBuilder::new(client.chain_id(), Call::CreateGrant(grant)).sign(&key, &[])?;
//! let granted = match client.submit(&tx, Wait::Certified).await? {
//!     // Refused by the ledger is final too: the error says why, and about which field of the call.
//!     TxStatus::Certified { receipt, .. } => Refused::of(&receipt, &tx).map_or(Ok(receipt.height), Err)?,
//!     other => return Err(format!("asked for a certified answer, got {other:?}").into()),
//! };
//!
//! // The doctor asks what an access would come to, at a node that has seen the grant; then accesses.
//! let (client, key) = connect("doctor.key").await?;
//! let access = RecordAccess::new(record, Role::Physician, Action::Read, Purpose::Treat);
//! println!("{:?}", client.check_access(&access, granted).await?.decision());
//! let tx = TxBuilder::new(client.chain_id(), Call::RecordAccess(access)).sign(&key, &[])?;
//! let accessed = client.submit(&tx, Wait::Certified).await?;
//! println!("{:?}", accessed.receipt().map(|receipt| &receipt.events));
//! # Ok(()) }
//! ```
//!
//! # Events, from where one stopped
//!
//! ```no_run
//! use epione_client::{EpioneClient, Start};
//! use epione_types::Height;
//!
//! # async fn example(client: EpioneClient, patient: Vec<u8>, kept: Option<epione_types::EventCursor>) -> Result<(), epione_client::ClientError> {
//! let filter = epione_proto::v1::EventFilter { patient_ids: vec![patient.into()], ..Default::default() };
//! let start = kept.map_or(Start::Height(Height(1)), Start::After);
//! let mut events = client.subscribe(start, filter);
//! loop {
//!     let event = events.next().await?;
//!     println!("{:?}: {:?}", event.cursor, event.event); // then keep `event.cursor`
//! }
//! # }
//! ```
//!
//! # Many transactions over one connection
//!
//! ```no_run
//! # async fn example(client: epione_client::EpioneClient, txs: Vec<epione_types::SignedTx>) {
//! let (sink, mut answers) = client.submit_stream(epione_client::Wait::Committed, 500);
//! let sending = tokio::spawn(async move {
//!     for tx in txs {
//!         if sink.send(tx).await.is_err() {
//!             break; // nobody reads the answers any more
//!         }
//!     }
//! });
//! while let Some(answer) = answers.next().await {
//!     println!("{}: {:?}", answer.id, answer.result);
//! }
//! # drop(sending) }
//! ```
//!
//! # A receipt, offline
//!
//! ```
//! use epione_client::Trust;
//! use epione_proto::v1::ReceiptProof;
//! use prost::Message as _;
//!
//! # let given: serde_json::Value =
//! #     serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/receipts.json")))?;
//! # let genesis: epione_types::Genesis = serde_json::from_value(given["genesis"].clone())?;
//! # let mut kept = hex::decode(given["proofs"][0]["proof"].as_str().unwrap())?;
//! let trust = Trust::new(&genesis)?;
//! let (receipt, header) = trust.receipt(&ReceiptProof::decode(kept.as_slice())?)?;
//! assert_eq!((receipt.index, receipt.height), (0, header.height));
//!
//! kept[40] ^= 1;
//! assert!(trust.receipt(&ReceiptProof::decode(kept.as_slice())?).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same in Python and TypeScript: `python/`, `typescript/`. `receipts.json` holds receipts that every client must
//! judge alike (`tests/vectors.rs`).
//!
//! Tested in `tests/`: against a node made of canned answers over TLS (`client.rs`), and proofs with every bit
//! flipped (`verify.rs`).

pub mod auth;
pub mod civil;
pub mod fhir;
pub mod keys;
pub mod tx;
pub mod verify;

mod connection;
mod error;
mod events;
mod read;
mod submit;

pub use connection::{Config, EpioneClient};
pub use error::{ClientError, Refused};
pub use events::{LedgerEvent, Start, Subscription};
pub use submit::{Answer, SubmitAnswers, SubmitSink, TxStatus, Wait};
pub use tx::TxBuilder;
pub use verify::Trust;
