//! Chain, receipts, authenticated state and write-ahead log.

pub use epione_types::state_proof;

pub mod chain;
pub mod disk;
pub mod snapshot;
pub mod store;
pub mod tree;
pub mod wal;
