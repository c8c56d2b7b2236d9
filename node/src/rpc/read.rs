//! Reading the state for one caller: as of one block, recent enough, with a proof if asked for, page by page.

use std::sync::Arc;

use epione_chaincode::identity::Member;
use epione_chaincode::read::{MAX_PAGE, Page, Reader};
use epione_chaincode::{StateError, config, read};
use epione_client::tx;
use epione_ledger::chain::Head;
use epione_proto::v1 as pb;
use epione_types::TimestampMs;
use epione_types::codes::Role;
use epione_types::id::PatientId;
use tokio::time::Instant;

use super::door::Caller;
use super::error::RpcError;
use super::proof;
use crate::executor::ChainState;
use crate::handle::{NodeError, NodeHandle};

/// Entries of a page if the caller does not say.
const PAGE_DEFAULT: u32 = 100;
/// Longest page token, in bytes.
const PAGE_TOKEN_BYTES_MAX: usize = 256;
/// Pages of the contracts' reading that fill one page of an answer: bounds the work for a caller who sees little of much.
const ROUNDS_MAX: usize = 16;

/// The state after the head, as one caller reads it.
pub(super) struct View<'a> {
    pub(super) state: &'a ChainState,
    /// The later of block time and own clock: what time ends is ended, and never early.
    pub(super) now: TimestampMs,
    pub(super) caller: &'a Caller,
}

impl<'a> View<'a> {
    /// What the caller may see of a patient; the same answer for one who does not exist and for one who is none of theirs.
    pub(super) fn patient(&self, id: PatientId) -> Result<Reader<'a>, RpcError> {
        Reader::open(self.state, self.now, self.caller.member, id)?.ok_or(RpcError::NotAllowed)
    }

    /// May the caller see whole blocks? See [`oversees`].
    pub(super) fn oversees(&self) -> Result<bool, RpcError> {
        Ok(oversees(self.state, self.now, self.caller.member)?)
    }
}

/// Administrators and auditors of validators' organisations: their own node holds all of it anyway.
pub(super) fn oversees(state: &ChainState, now: TimestampMs, member: Member) -> Result<bool, StateError> {
    let Some(organisation) = member.organisation() else { return Ok(false) };
    if !config::validator_organisations(state)?.contains(&organisation) {
        return Ok(false);
    }
    if !read::organisation(state, organisation)?.is_some_and(|it| it.is_active()) {
        return Ok(false);
    }
    Ok(match member {
        Member::Admin(_) => true,
        Member::Practitioner(_, id) => read::practitioner(state, organisation, id)?
            .is_some_and(|it| it.acts_as(Role::Auditor) && it.is_credentialed(now)),
        Member::Patient(_)
        | Member::Representative(_)
        | Member::Guest(_)
        | Member::Device(..)
        | Member::Retired => false,
    })
}

/// Reads the state after the head; `read` may run more than once, so that it sees one block.
pub(super) async fn view<T: Send + 'static>(
    node: &NodeHandle,
    caller: &Arc<Caller>,
    min_height: u64,
    read: impl Fn(&View<'_>) -> Result<T, RpcError> + Send + 'static,
) -> Result<(T, Head), RpcError> {
    view_until(node, caller, caller.deadline, min_height, read).await
}

/// The same for one of a stream's questions, which has a deadline of its own.
pub(super) async fn view_until<T: Send + 'static>(
    node: &NodeHandle,
    caller: &Arc<Caller>,
    deadline: Instant,
    min_height: u64,
    read: impl Fn(&View<'_>) -> Result<T, RpcError> + Send + 'static,
) -> Result<(T, Head), RpcError> {
    reach(node, deadline, min_height).await?;
    let caller = caller.clone();
    let (head, answer) = node
        .read(move |chain| {
            let state = ChainState(chain.clone());
            let clock = tx::now();
            let look = || {
                let now = clock.max(chain.head().timestamp);
                read(&View { state: &state, now, caller: &caller })
            };
            Ok::<_, NodeError>(chain.consistent(look))
        })
        .await?;
    Ok((answer?, head))
}

/// Waits until the ledger is as high as the caller asks: their own writes are then in it.
async fn reach(node: &NodeHandle, deadline: Instant, min_height: u64) -> Result<(), RpcError> {
    let mut progress = node.progress();
    let reached = progress.wait_for(|progress| progress.height.0 >= min_height);
    let late = tokio::time::timeout_at(deadline, reached).await;
    match late {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(NodeError::Stopping.into()),
        Err(_) => Err(RpcError::NotYet { asked: min_height, height: node.progress().borrow().height }),
    }
}

/// As of when an answer holds.
pub(super) const fn context(head: &Head) -> pb::ReadContext {
    pb::ReadContext { height: head.height.0, block_time_ms: head.timestamp.0, proof: None }
}

/// Reads one entry, and proves it if asked to: then the answer waits until its block is certified.
pub(super) async fn entry<T: Send + 'static>(
    node: &NodeHandle,
    caller: &Arc<Caller>,
    options: Option<pb::ReadOptions>,
    key: Vec<u8>,
    read: impl Fn(&View<'_>) -> Result<T, RpcError> + Send + 'static,
) -> Result<(T, Option<pb::ReadContext>), RpcError> {
    let pb::ReadOptions { min_height, with_proof } = options.unwrap_or_default();
    let wanted = with_proof.then(|| key.clone());
    let look = move |view: &View<'_>| {
        let answer = read(view)?;
        let value = match &wanted {
            Some(key) => epione_chaincode::State::get(view.state, key)?,
            None => None,
        };
        Ok((answer, value))
    };
    let ((answer, value), head) = view(node, caller, min_height, look).await?;
    let mut context = context(&head);
    if with_proof {
        context.proof = Some(proof::value(node, head.height, key, value).await?);
    }
    Ok((answer, Some(context)))
}

/// Which page of a list.
pub(super) struct Paging {
    size: usize,
    after: Option<Vec<u8>>,
}

impl Paging {
    /// Of a list whose keys begin with `prefix`. Lists give no proofs.
    pub(super) fn new(
        page: Option<pb::PageRequest>,
        options: Option<&pb::ReadOptions>,
        prefix: &[u8],
    ) -> Result<Self, RpcError> {
        if options.is_some_and(|options| options.with_proof) {
            return Err(RpcError::NoProofs);
        }
        let pb::PageRequest { page_size, page_token } = page.unwrap_or_default();
        let size = page_size_of(page_size)?;
        let strange = page_token.len() > PAGE_TOKEN_BYTES_MAX || !page_token.starts_with(prefix);
        match page_token.is_empty() {
            true => Ok(Self { size, after: None }),
            false if strange => Err(RpcError::PageToken),
            false => Ok(Self { size, after: Some(page_token.to_vec()) }),
        }
    }

    /// Reads on until the page is full. The next one begins after the last entry shown, so that the token says nothing of
    /// entries that are not for the caller; only who may see next to nothing of very much gets a short page, and the
    /// place where reading stopped.
    pub(super) fn fill<T>(
        &self,
        page: impl Fn(Option<&[u8]>, usize) -> Result<Page<T>, StateError>,
        wanted: impl Fn(&T) -> bool,
        key: impl Fn(&T) -> Vec<u8>,
    ) -> Result<(Vec<T>, bytes::Bytes), RpcError> {
        let mut items = Vec::new();
        let mut after = self.after.clone();
        for _ in 0..ROUNDS_MAX {
            let found = page(after.as_deref(), MAX_PAGE)?;
            items.extend(found.items.into_iter().filter(&wanted));
            if items.len() > self.size {
                items.truncate(self.size);
                let next = items.last().map(&key).unwrap_or_default();
                return Ok((items, next.into()));
            }
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        Ok((items, after.unwrap_or_default().into()))
    }
}

/// Entries of a page, as asked for.
pub(super) fn page_size_of(found: u32) -> Result<usize, RpcError> {
    let limit = u32::try_from(MAX_PAGE).unwrap_or(u32::MAX);
    if found > limit {
        return Err(RpcError::PageSize { found, limit });
    }
    let size = if found == 0 { PAGE_DEFAULT } else { found };
    Ok(usize::try_from(size).unwrap_or(MAX_PAGE))
}
