//! Who validates is changed, as hospitals do it: proposed, said to be ready for, voted for.

use std::time::Duration;

use epione_client::{TxBuilder, tx};
use epione_proto::v1 as pb;
use epione_types::call::{Call, ConfirmReadiness, ProposalAction, Propose, Vote};
use epione_types::codes::ProposalStatus;
use epione_types::event::Event;
use epione_types::id::ProposalId;
use epione_types::{Height, PublicKey, Receipt, SecretKey, Signer, Validator};

use super::Failed;
use super::load::{Doors, applied};

/// A node that is to join.
pub(super) struct Joining {
    /// Its number.
    pub(super) node: usize,
    /// Its voting key.
    pub(super) voting: SecretKey,
    /// What the set will hold of it.
    pub(super) validator: Validator,
}

/// Changes of validators, through whatever node answers.
pub(super) struct Changes<'a> {
    doors: &'a Doors,
    within: Duration,
}

impl<'a> Changes<'a> {
    /// Each call may take so long.
    pub(super) const fn through(doors: &'a Doors, within: Duration) -> Self {
        Self { doors, within }
    }

    /// Proposed by the hospital of node `by`.
    pub(super) async fn propose(
        &self,
        by: usize,
        remove: Option<PublicKey>,
        joins: Option<&Joining>,
    ) -> Result<ProposalId, Failed> {
        let proposal = ProposalId(tx::random_id().map_err(Failed::of)?);
        let add = joins.map(|joins| joins.validator.clone());
        let action = ProposalAction::ChangeValidators { remove, add };
        self.send(by, &[], Call::Propose(Propose { proposal, action })).await?;
        Ok(proposal)
    }

    /// Says that the node is ready; or why it is not yet.
    pub(super) async fn confirm(
        &self,
        proposal: ProposalId,
        joins: &Joining,
    ) -> Result<Result<(), String>, Failed> {
        let node = joins.node;
        let there = self.doors.admin_at(node, self.within)?;
        let status = match there.get_status(pb::GetStatusRequest {}).await {
            Ok(status) if status.synced => status,
            Ok(status) => return Ok(Err(format!("node {node} is at height {} and behind", status.height))),
            Err(error) => return Ok(Err(format!("node {node}: {error}"))),
        };
        let call = Call::ConfirmReadiness(ConfirmReadiness { proposal, height: Height(status.height) });
        self.send(node, &[&joins.voting], call).await?;
        Ok(Ok(()))
    }

    /// The hospitals of these nodes vote for it, until it has passed.
    pub(super) async fn pass(&self, proposal: ProposalId, voters: &[usize]) -> Result<(), Failed> {
        for voter in voters {
            let receipt = self.send(*voter, &[], Call::Vote(Vote { proposal, accept: true })).await?;
            let passed = receipt
                .events
                .iter()
                .any(|event| matches!(event, Event::ProposalChanged { status: ProposalStatus::Passed, .. }));
            if passed {
                return Ok(());
            }
        }
        Err(Failed(format!("{} votes do not decide", voters.len() + 1)))
    }

    async fn send(&self, by: usize, with: &[&SecretKey], call: Call) -> Result<Receipt, Failed> {
        let (client, key) = self.doors.admin_of(by, self.within)?;
        let others: Vec<&dyn Signer> = with.iter().map(|key| *key as &dyn Signer).collect();
        let tx = TxBuilder::new(client.chain_id(), call).sign(key, &others).map_err(Failed::of)?;
        applied(&client, &tx).await
    }
}
