//! One node: the parts below it, put together and connected to the world.
//!
//! ```text
//!  gRPC ─▶ handle ─┐                         ┌─▶ network (libp2p)
//!  network ────────┼─▶ driver (one thread) ──┼─▶ log (one sync a round)
//!  workers ────────┘        replica          └─▶ workers: verify · execute and store · read for peers ─▶ feed
//! ```

pub mod backup;
pub mod conduct;
pub mod config;
pub mod divergence;
pub mod driver;
pub mod executor;
pub mod explain;
pub mod feed;
pub mod handle;
pub mod log;
pub mod mempool;
pub mod network;
pub mod pool_log;
pub mod ports;
pub mod rpc;
pub mod run;
pub mod snapshots;
pub mod start;
pub mod threads;
pub mod validate;
pub mod verify;
pub mod votes;
pub mod wire;
pub mod workers;
