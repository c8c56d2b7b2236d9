//! Where things are in a testnet's folder.

use std::path::{Path, PathBuf};

/// The folder of one testnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Of this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// Who runs where.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("testnet.json")
    }
    /// Held while a command changes the network.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("testnet.lock")
    }
    /// The agreed beginning.
    #[must_use]
    pub fn genesis(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }
    /// Certificate of the authority that signed every node's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
    /// Keys of members, by name.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }
    /// Folder of the keys of a hospital's people.
    #[must_use]
    pub fn hospital_keys(&self, node: usize) -> PathBuf {
        self.keys().join(hospital(node))
    }
    /// Key of the administrator of a node's hospital.
    #[must_use]
    pub fn admin_key(&self, node: usize) -> PathBuf {
        self.hospital_keys(node).join("admin.key")
    }
    /// Folder of one node.
    #[must_use]
    pub fn node(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node{node}"))
    }
    /// Configuration of one node.
    #[must_use]
    pub fn config(&self, node: usize) -> PathBuf {
        self.node(node).join("node.toml")
    }
    /// What one node stores.
    #[must_use]
    pub fn data(&self, node: usize) -> PathBuf {
        self.node(node).join("data")
    }
    /// What one node prints.
    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.node(node).join("node.log")
    }
}

/// Name of the hospital that a node runs for.
#[must_use]
pub fn hospital(node: usize) -> String {
    format!("hospital{node}")
}
