//! What happened, as a running hash and, when asked, as lines.
//!
//! Every transition goes into the hash: two runs of one plan must end with the same. A line is made only if it is wanted:
//!
//! ```text
//!    812.345  2 <- 1  Prepare v0 h12 5e3a…
//!     time ms  node     what
//! ```

use std::io::Write as _;

use epione_consensus::{Kind, Message};
use epione_node::wire::Frame;
use epione_types::Hash;

use super::clock::{MS, Micros};

/// What is done with lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Only the hash.
    None,
    /// The last ones are kept.
    Last(usize),
    /// All go to standard output.
    Print,
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    wanted: Lines,
    last: std::collections::VecDeque<String>,
    /// Transitions so far.
    pub transitions: u64,
}

impl Trace {
    /// Of a run.
    #[must_use]
    pub fn new(wanted: Lines) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            wanted,
            last: std::collections::VecDeque::new(),
            transitions: 0,
        }
    }

    /// A transition: when, what kind, at which node, numbers that name it, and its bytes.
    pub fn note(
        &mut self,
        at: Micros,
        kind: u8,
        node: usize,
        number: u64,
        bytes: &[u8],
        text: impl FnOnce() -> String,
    ) {
        self.transitions += 1;
        let mut head = [0u8; 32];
        head[0] = kind;
        head[8..16].copy_from_slice(&at.to_le_bytes());
        head[16..24].copy_from_slice(&(node as u64).to_le_bytes());
        head[24..32].copy_from_slice(&number.to_le_bytes());
        self.hasher.update(&head);
        self.hasher.update(bytes);
        self.line(at, node, text);
    }

    fn line(&mut self, at: Micros, node: usize, text: impl FnOnce() -> String) {
        let line = || format!("{:>8}.{:03}  {node} {}", at / MS, at % MS, text());
        match self.wanted {
            Lines::None => {}
            Lines::Last(most) => {
                self.last.push_back(line());
                if self.last.len() > most {
                    self.last.pop_front();
                }
            }
            // Whoever reads it may have had enough.
            Lines::Print => drop(writeln!(std::io::stdout().lock(), "{}", line())),
        }
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }

    /// The lines that were kept.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

fn short(hash: &Hash) -> String {
    hash.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame in words.
#[must_use]
pub fn describe(bytes: &[u8]) -> String {
    match Frame::decode(bytes) {
        Ok(Frame::Message(message)) => describe_message(&message),
        Ok(Frame::Transactions(txs)) => format!("Transactions {}", txs.len()),
        Ok(Frame::FetchBatch { height, digest }) => format!("FetchBatch h{height} {}", short(&digest)),
        Ok(Frame::FetchBlocks { from, to }) => format!("FetchBlocks h{from}..{to}"),
        Ok(Frame::FetchSnapshot { above }) => format!("FetchSnapshot above h{above}"),
        Ok(Frame::Snapshot(manifest)) => {
            format!(
                "Snapshot {}",
                manifest.map_or("none".to_owned(), |bytes| format!("of {} bytes", bytes.len()))
            )
        }
        Ok(Frame::FetchChunk { index, .. }) => format!("FetchChunk {index}"),
        Ok(Frame::Chunk { index, bytes, .. }) => {
            format!(
                "Chunk {index} {}",
                bytes.map_or("none".to_owned(), |bytes| format!("of {} bytes", bytes.len()))
            )
        }
        Ok(Frame::Blocks(answer)) => {
            format!("Blocks {} up to h{}", answer.blocks.len(), answer.certificate.height)
        }
        Ok(Frame::FetchExecution { height }) => format!("FetchExecution h{height}"),
        Ok(Frame::Execution(it)) => format!("Execution h{} {}", it.header.height, short(&it.header.hash())),
        Err(_) => format!("{} bytes that mean nothing", bytes.len()),
    }
}

fn describe_message(message: &Message) -> String {
    match message {
        Message::Vote(vote) => match vote.vote.kind {
            Kind::Suspect => format!("Suspect v{} by {}", vote.vote.view, vote.from),
            kind => {
                let vote_of = vote.vote;
                format!(
                    "{kind:?} v{} h{} {} by {}",
                    vote_of.view,
                    vote_of.height,
                    short(&vote_of.digest),
                    vote.from
                )
            }
        },
        Message::Proposal(vote, batch) => {
            let (view, height, digest) = (vote.vote.view, vote.vote.height, short(&vote.vote.digest));
            let bytes = batch.as_ref().map_or(0, bytes::Bytes::len);
            format!("PrePrepare v{view} h{height} {digest} by {} with {bytes} bytes", vote.from)
        }
        Message::Batch(bytes) => format!("Batch of {} bytes", bytes.len()),
        Message::Commits(commits) => {
            format!("Commits v{} h{} {}", commits.view, commits.height, short(&commits.digest))
        }
        Message::Certificate(certificate) => {
            format!("Certificate h{} {}", certificate.height, short(&certificate.header_hash))
        }
        Message::ViewChange(change) => {
            let prepared: Vec<String> =
                change.body.prepared.iter().map(|one| format!("h{} v{}", one.height(), one.view())).collect();
            format!(
                "ViewChange v{} by {} certified h{} prepared [{}]",
                change.body.view,
                change.from,
                change.body.certified(epione_types::Height::ZERO),
                prepared.join(" ")
            )
        }
        Message::NewView(new_view) => {
            let list: Vec<String> = new_view
                .body
                .pre_prepares
                .iter()
                .map(|vote| format!("h{} {}", vote.vote.height, short(&vote.vote.digest)))
                .collect();
            format!("NewView v{} by {} carries [{}]", new_view.body.view, new_view.from, list.join(" "))
        }
        Message::Status(status) => {
            let body = &status.body;
            format!(
                "Status v{} asked v{} low h{} delivered h{}",
                body.view, body.asked, body.low, body.delivered
            )
        }
    }
}
