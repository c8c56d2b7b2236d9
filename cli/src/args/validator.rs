//! Who validates.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use epione_types::PublicKey;

use super::{ConnectOnly, Write};

#[derive(Debug, Subcommand)]
pub(crate) enum Validator {
    /// The validators in force, and how many of the last blocks each of them signed.
    #[command(after_help = "Example:
  epione validator list")]
    List(ConnectOnly),
    /// Propose that somebody joins, or takes the place of another: whoever runs it must be ready before it can pass.
    #[command(after_help = "Examples:
  epione validator add --org hospital0 --voting-key KEY --network-key KEY --as hospital0/admin
  epione validator add --org hospital0 --voting-key KEY --network-key KEY --instead-of KEY --as hospital0/admin
  epione validator add --org hospital0 --voting-key KEY --network-key KEY --dry-run")]
    Add(ValidatorAdd),
    /// Propose that somebody leaves, for good or suspended for a while: it may join again, with the same keys.
    #[command(after_help = "Examples:
  epione validator remove KEY --as hospital0/admin
  epione validator remove KEY --dry-run
  epione validator remove KEY --dry-run --operator https://node.hospital.example:7001")]
    Remove(ValidatorRemove),
    /// Propose parameters of consensus; the others stay as they are.
    #[command(after_help = "Example:
  epione validator params view_timeout_ms=2000 window=16 --as hospital0/admin")]
    Params {
        /// NAME=VALUE, as the genesis names them; one or more.
        #[arg(required = true, value_name = "NAME=VALUE")]
        values: Vec<String>,
        #[command(flatten)]
        write: Write,
    },
    /// Say that the node that is to join has caught up, as an admin of its hospital. It only follows: validators take the word.
    #[command(after_help = "Examples:
  epione validator ready PROPOSAL --voting-key-file node4/voting.key --joining 4 --as hospital0/admin
  epione validator ready PROPOSAL --voting-key-file voting.key --joining https://new.example.org:7000 --as hospital0/admin")]
    Ready {
        /// The proposal to let it join.
        proposal: String,
        /// The node that is to join: its gRPC address, or in a testnet its number.
        #[arg(long, value_name = "URL|NODE")]
        joining: String,
        /// Its voting key: it signs, too.
        #[arg(long, value_name = "FILE")]
        voting_key_file: PathBuf,
        #[command(flatten)]
        write: Write,
    },
}

/// Who joins.
#[derive(Debug, ClapArgs)]
pub(crate) struct ValidatorAdd {
    /// Whose node it is: id or name.
    #[arg(long)]
    pub(crate) org: String,
    /// Its public voting key (64 hex digits).
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) voting_key: PublicKey,
    /// Its node's public network key (64 hex digits).
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) network_key: PublicKey,
    /// Public voting key of the one whose place it takes.
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) instead_of: Option<PublicKey>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Who leaves.
#[derive(Debug, ClapArgs)]
pub(crate) struct ValidatorRemove {
    /// Its public voting key (64 hex digits).
    #[arg(value_parser = key)]
    pub(crate) voting_key: PublicKey,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// What a change does, and whether to propose it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Change {
    /// Show what it would do to the quorum, with the validators that are live now, and propose nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Propose it although those that are live now would be no quorum of it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) force: bool,
    /// Operators' address of the node that is asked who is live, as `node status` shows; a testnet's is known.
    #[arg(long, value_name = "URL|NODE")]
    pub(crate) operator: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// KEY stands for one in examples.
fn key(text: &str) -> Result<PublicKey, String> {
    if cfg!(test) && text == "KEY" {
        return Ok(PublicKey([1; 32]));
    }
    text.parse().map_err(|error| format!("{error}; write 64 hex digits"))
}
