//! Who validates when, recomputed from the blocks alone: a model of R20 that shares nothing with contracts and nodes.
//!
//! A proposal that passes at height k changes the validators or the parameters above k + W. Whoever judges a proof asks here
//! for the set of its epoch, and which machine has a place in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use epione_consensus::Payload;
use epione_types::call::{Call, ProposalAction};
use epione_types::codes::ProposalStatus;
use epione_types::event::Event;
use epione_types::id::ProposalId;
use epione_types::{BlockHeader, Epoch, Height, Outcome, PublicKey, Receipt, ValidatorIndex, ValidatorSet};

use super::invariants::Check;
use super::plan::Nodes;

/// An epoch.
#[derive(Debug, Clone)]
pub struct Era {
    /// Its validators and parameters.
    pub set: ValidatorSet,
    /// The last height of the one before; 0 of epoch 0.
    pub begin: Height,
    /// What made it; nothing made epoch 0.
    pub by: Option<ProposalAction>,
}

/// All epochs that are decided.
#[derive(Debug)]
pub struct Roll {
    /// Voting key of each machine.
    keys: Vec<PublicKey>,
    eras: Vec<Era>,
    open: BTreeMap<ProposalId, ProposalAction>,
    passed: BTreeSet<ProposalId>,
}

/// One for everybody who judges.
pub type SharedRoll = Rc<RefCell<Roll>>;

impl Roll {
    /// Of machines with these voting keys, of whom some are the first validators.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>, first: ValidatorSet) -> Self {
        let era = Era { set: first, begin: Height::ZERO, by: None };
        Self { keys, eras: vec![era], open: BTreeMap::new(), passed: BTreeSet::new() }
    }

    /// An epoch, if it is decided.
    #[must_use]
    pub fn era(&self, epoch: Epoch) -> Option<&Era> {
        self.eras.get(usize::try_from(epoch.0).ok()?)
    }

    /// The last one that is decided.
    #[must_use]
    pub fn last(&self) -> &Era {
        &self.eras[self.eras.len() - 1]
    }

    /// Its last height, if that is decided.
    #[must_use]
    pub fn end(&self, epoch: Epoch) -> Option<Height> {
        self.era(Epoch(epoch.0 + 1)).map(|next| next.begin)
    }

    /// Which machine has this place.
    #[must_use]
    pub fn node(&self, epoch: Epoch, place: ValidatorIndex) -> Option<usize> {
        let key = self.era(epoch)?.set.get(place)?.public_key;
        self.keys.iter().position(|one| *one == key)
    }

    /// The machines of an epoch.
    #[must_use]
    pub fn members(&self, set: &ValidatorSet) -> Nodes {
        (0..self.keys.len()).filter(|node| set.index_of(&self.keys[*node]).is_some()).collect()
    }

    /// Has this proposal passed?
    #[must_use]
    pub fn has_passed(&self, proposal: &ProposalId) -> bool {
        self.passed.contains(proposal)
    }

    fn of_height(&self, height: Height) -> &Era {
        let begun = self.eras.iter().rev().find(|era| era.begin < height);
        begun.unwrap_or(&self.eras[0])
    }

    /// The first honest node executed a block.
    ///
    /// # Errors
    /// Its header names another epoch than its height has, or another that comes after.
    pub fn executed(&mut self, header: &BlockHeader, payload: &Payload, receipts: &[Receipt]) -> Check {
        let height = header.height;
        for (tx, receipt) in payload.batch().txs().iter().zip(receipts) {
            if receipt.outcome != Outcome::Ok {
                continue;
            }
            if let Ok(body) = epione_proto::decode_body(&tx.body)
                && let Call::Propose(propose) = body.call
            {
                self.open.insert(propose.proposal, propose.action);
            }
            for event in &receipt.events {
                if let Event::ProposalChanged { proposal, status: ProposalStatus::Passed, .. } = event {
                    self.passes(*proposal, height)?;
                }
            }
        }
        let (now, then) = (self.of_height(height).set.epoch, &self.of_height(height.next()).set);
        if header.epoch != now {
            return Err(format!("block {height} is of epoch {}, by its decisions of {now}", header.epoch));
        }
        if header.next_epoch_hash != then.hash() {
            return Err(format!("block {height} names other validators than those of epoch {}", then.epoch));
        }
        Ok(())
    }

    fn passes(&mut self, proposal: ProposalId, height: Height) -> Check {
        let Some(action) = self.open.remove(&proposal) else {
            return Err(format!("block {height} passes a proposal that is not open"));
        };
        self.passed.insert(proposal);
        let Era { set, begin, .. } = self.last();
        let mut next = set.clone();
        next.epoch = Epoch(set.epoch.0 + 1);
        match &action {
            ProposalAction::ChangeValidators { remove, add } => {
                let place = remove.and_then(|key| set.index_of(&key));
                match (place, add) {
                    (Some(place), Some(joins)) => next.validators[place.get()] = joins.clone(),
                    (Some(place), None) => drop(next.validators.remove(place.get())),
                    (None, Some(joins)) => next.validators.push(joins.clone()),
                    (None, None) => return Err(format!("block {height} removes one who is no validator")),
                }
            }
            ProposalAction::SetParams { params } => next.params = params.clone(),
            ProposalAction::SetConstant { .. }
            | ProposalAction::SetStudy { .. }
            | ProposalAction::SetEnrolment { .. } => return Ok(()),
        }
        if *begin >= height {
            return Err(format!("block {height} decides an epoch while another has not begun"));
        }
        let begin = height.plus(set.params.window);
        self.eras.push(Era { set: next, begin, by: Some(action) });
        Ok(())
    }
}
