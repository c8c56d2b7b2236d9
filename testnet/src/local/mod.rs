//! A network of real node processes on one machine, in one folder.
//!
//! ```text
//! DIR/testnet.json      who runs where: process ids, ports            (written last, replaced whole)
//!     testnet.lock      held while a command changes the network
//!     genesis.json      the agreed beginning
//!     ca.pem            signs every node's TLS certificate
//!     keys/hospital0/admin.key ...                                    (mode 600)
//!     node0/node.toml  voting.key  network.key  tls.pem  tls.key  node.log  data/
//! ```
//!
//! Node i runs for hospital i and is validator number i. Nodes are processes of one binary, `BINARY node run --config
//! FILE`; nothing here links a node. A process is known by its id *and* its birth, so that a reused id is
//! never signalled. Nodes either stay when their starter goes ([`Lifetime::Detached`]) or stop with it whatever way
//! it goes, SIGKILL included ([`Lifetime::WithStarter`]): they hold the end of a pipe that the system closes.
//!
//! Tested by `cli/tests/testnet.rs`, where the binary is known.

mod config;
mod create;
mod error;
mod layout;
mod network;
mod ports;
mod process;
mod state;
mod status;

pub use create::{AddedKeys, Options};
pub use error::TestnetError;
pub use layout::{Layout, hospital};
pub use network::{Lifetime, Network, NodeReport, look, tail};
pub use process::Process;
pub use state::{NodeState, Ports, State};
pub use status::{Probe, genesis};
