//! Chain, receipts, authenticated state and write-ahead log.

#[path = "../../types/src/state_proof.rs"]
pub mod state_proof;
/// Stands in until `types` exports the module above.
mod hash {
    pub(crate) use epione_types::{Domain, Hash};
}

pub mod disk;
pub mod tree;
pub mod wal;
