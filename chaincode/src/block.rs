//! Executes a block: the function that every validator computes alike (R10, R12).
//!
//! Everything that depends on the state is decided here, with a receipt for each transaction and never a hole.
//! Before: signatures, chain id and shape, sender among the signers (they depend on the bytes alone, R8).
//! Tested by `tests/`; that equal blocks give equal bytes, by `tests/determinism.rs`.

use epione_types::call::{Call, TxBody};
use epione_types::event::Event;
use epione_types::genesis::Genesis;
use epione_types::receipt::{Outcome, RECEIPT_VERSION, Receipt};
use epione_types::{Height, PublicKey, TimestampMs, TxId};

use crate::access::{self, notices, review};
use crate::config::Settings;
use crate::consent::{self, optout, requests};
use crate::host::{Done, Fault, Host, Overlay, State, StateError, Writes, require};
use crate::identity::{devices, organisations, patients, practitioners, recovery, representation, rotation};
use crate::records::{self, erasure, versions};
use crate::{config, governance, links, replay, reports};

/// Where in the chain a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockContext {
    /// Its height.
    pub height: Height,
    /// Its sealed time: above its parent's.
    pub timestamp: TimestampMs,
    /// Sealed time of its parent.
    pub parent_timestamp: TimestampMs,
}

/// A transaction whose signatures, chain id and shape were found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedTx {
    /// Hash of the body's bytes.
    pub id: TxId,
    /// What the bytes mean.
    pub body: TxBody,
    /// Keys with a valid signature over the bytes, distinct.
    pub signers: Vec<PublicKey>,
}

/// What a block did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// One per transaction, in order.
    pub receipts: Vec<Receipt>,
    /// What it changes in the state.
    pub writes: Writes,
    /// When something in the state next waits for time: an open override's end or a review's deadline (R11).
    /// Later than the block's own time. Transactions' expiry is the node's to know.
    pub next_deadline: Option<TimestampMs>,
    /// Of which epoch the block is, and what comes after (R20, R21).
    pub epochs: config::Epochs,
}

/// Executes the transactions in order on the state after the parent block.
///
/// # Errors
/// Only [`StateError`]: the node must stop, nothing of the block may be applied.
///
/// # Panics
/// If the block's time is not above its parent's (R11), or if a block holds 2^32 transactions.
pub fn execute_block(
    state: &dyn State,
    block: &BlockContext,
    txs: &[DecodedTx],
) -> Result<Execution, StateError> {
    assert!(block.timestamp > block.parent_timestamp, "time moves with every block (R11)");
    let mut overlay = Overlay::new(state);
    config::turn(&mut overlay, block.height)?; // R20
    let settings = config::settings(&overlay)?;
    replay::forget(&mut overlay, block.parent_timestamp)?; // R10
    access::meet_deadlines(&mut overlay, block)?;
    let mut receipts = Vec::with_capacity(txs.len());
    for (index, tx) in (0_u32..).zip(txs) {
        let (outcome, events) = match execute(&mut overlay, block, &settings, index, tx) {
            Ok(events) => (Outcome::Ok, events),
            Err(Fault::Refused(refusal)) => (Outcome::Refused(refusal), Vec::new()),
            Err(Fault::State(error)) => return Err(error),
        };
        receipts.push(Receipt {
            version: RECEIPT_VERSION,
            tx_id: tx.id,
            height: block.height,
            index,
            outcome,
            events,
        });
    }
    let next_deadline = access::next_deadline(&overlay)?;
    let epochs = config::epochs(&overlay)?;
    Ok(Execution { receipts, writes: overlay.into_writes(), next_deadline, epochs })
}

fn execute(
    overlay: &mut Overlay<'_>,
    block: &BlockContext,
    settings: &Settings,
    index: u32,
    tx: &DecodedTx,
) -> Done<Vec<Event>> {
    replay::admit(overlay, block, tx)?;
    let host = Host::new(overlay, block, settings, index, &tx.body.sender, &tx.signers);
    host.attempt(|host| call(host, &tx.body.call))
}

fn call(host: &mut Host<'_, '_>, call: &Call) -> Done {
    require(host.signed_by(host.sender()), epione_types::codes::Refusal::SenderNotSigner)?;
    match call {
        Call::RegisterOrganisation(call) => organisations::register(host, call),
        Call::RegisterPractitioner(call) => practitioners::register(host, call),
        Call::RegisterPatient(call) => patients::register(host, call),
        Call::RegisterRecord(call) => records::register(host, call),
        Call::CreateGrant(call) => consent::create(host, call),
        Call::RevokeGrant(call) => consent::revoke(host, call),
        Call::RecordAccess(call) => access::record_access(host, call),
        Call::SetOrganisationStatus(call) => organisations::set_status(host, call),
        Call::UpdatePractitioner(call) => practitioners::update(host, call),
        Call::SetPractitionerStatus(call) => practitioners::set_status(host, call),
        Call::RegisterDevice(call) => devices::register(host, call),
        Call::RevokeDevice(call) => devices::revoke(host, call),
        Call::LinkCare(call) => patients::link_care(host, call),
        Call::UnlinkCare(call) => patients::unlink_care(host, call),
        Call::TakeOver(call) => patients::take_over(host, call),
        Call::MarkDeceased(call) => patients::mark_deceased(host, call),
        Call::ErasePatient(call) => patients::erase(host, call),
        Call::AddRepresentation(call) => representation::add(host, call),
        Call::RevokeRepresentation(call) => representation::revoke(host, call),
        Call::SupersedeRecord(call) => versions::supersede(host, call),
        Call::MarkEnteredInError(call) => versions::mark_entered_in_error(host, call),
        Call::EraseRecord(call) => erasure::erase(host, call),
        Call::SetRetention(call) => erasure::set_retention(host, call),
        Call::SetOptOut(call) => optout::set(host, call),
        Call::RequestAccess(call) => requests::ask(host, call),
        Call::ApproveAccessRequest(call) => requests::approve(host, call),
        Call::RejectAccessRequest(call) => requests::reject(host, call),
        Call::WithdrawAccessRequest(call) => requests::withdraw(host, call),
        Call::ReviewOverride(call) => review::review(host, call),
        Call::AcknowledgeNotice(call) => notices::acknowledge(host, call),
        Call::DraftReport(call) => reports::draft(host, call),
        Call::SubmitReport(call) => reports::submit(host, call),
        Call::ApproveReport(call) => reports::approve(host, call),
        Call::RequestChanges(call) => reports::request_changes(host, call),
        Call::WithdrawReport(call) => reports::withdraw(host, call),
        Call::AnchorUnreviewed(call) => reports::anchor_unreviewed(host, call),
        Call::CreateGuestLink(call) => links::create(host, call),
        Call::CloseGuestLink(call) => links::close(host, call),
        Call::RotateKey(call) => rotation::rotate(host, call),
        Call::SetGuardians(call) => recovery::set_guardians(host, call),
        Call::StartRecovery(call) => recovery::start(host, call),
        Call::ApproveRecovery(call) => recovery::approve(host, call),
        Call::CancelRecovery(call) => recovery::cancel(host, call),
        Call::FinishRecovery(call) => recovery::finish(host, call),
        Call::Propose(call) => governance::propose(host, call),
        Call::Vote(call) => governance::vote(host, call),
        Call::WithdrawProposal(call) => governance::withdraw(host, call),
        Call::ConfirmReadiness(call) => governance::confirm_readiness(host, call),
    }
}

/// The state at height 0. `genesis` is one that [`Genesis::check`] accepts.
#[must_use]
pub fn genesis_writes(genesis: &Genesis) -> Writes {
    let empty = std::collections::BTreeMap::new();
    let mut overlay = Overlay::new(&empty);
    config::found(&mut overlay, genesis);
    for organisation in &genesis.organisations {
        organisations::found(&mut overlay, organisation, genesis.timestamp);
    }
    overlay.into_writes()
}
