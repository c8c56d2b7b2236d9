//! Calls on what the organisations decide together.

use serde::{Deserialize, Serialize};

use crate::codes::{EnrolmentStatus, PolicyConstant, StudyStatus};
use crate::genesis::{Params, Validator};
use crate::id::{Height, OrgId, PatientId, PractitionerId, ProposalId, StudyId, TimestampMs};
use crate::sign::PublicKey;

/// What a proposal does when it has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalAction {
    /// Changes a constant of policy.
    SetConstant {
        /// Which.
        constant: PolicyConstant,
        /// To what.
        value: u64,
    },
    /// Sets a study.
    SetStudy {
        /// Which.
        study: StudyId,
        /// Where it stands.
        status: StudyStatus,
        /// End of the review board's approval, exclusive.
        approved_until: TimestampMs,
        /// Who may read for it.
        team: Vec<TeamMember>,
    },
    /// Sets a patient's part in a study.
    SetEnrolment {
        /// Which study.
        study: StudyId,
        /// Whose part.
        patient: PatientId,
        /// Where it stands.
        status: EnrolmentStatus,
    },
    /// Changes who validates, from the next epoch on: one joins, one leaves, or one takes the place of another, as when a
    /// hospital renews its keys. Nothing else happens to the one that leaves: it may join again.
    ChangeValidators {
        /// Whose voting key no longer counts.
        remove: Option<PublicKey>,
        /// Who joins. It must have confirmed that it is ready before the proposal can pass.
        add: Option<Validator>,
    },
    /// Changes the parameters of consensus, from the next epoch on.
    SetParams {
        /// All of them.
        params: Params,
    },
}

/// One who reads for a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TeamMember {
    /// Employer.
    pub organisation: OrgId,
    /// Who.
    pub practitioner: PractitionerId,
}

/// Puts something to the vote. Signed by the admin threshold of a validator's organisation, which votes for it thereby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// Random.
    pub proposal: ProposalId,
    /// What it does.
    pub action: ProposalAction,
}

/// A validator's organisation votes. Signed by its admin threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// On what.
    pub proposal: ProposalId,
    /// For it?
    pub accept: bool,
}

/// Whoever is to join as a validator has caught up, and will vote when its epoch begins. Signed by the admin threshold of its
/// organisation and by its voting key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmReadiness {
    /// The proposal to let it join.
    pub proposal: ProposalId,
    /// The height that its node has executed.
    pub height: Height,
}

/// Whoever proposed takes it back. Signed by the admin threshold of the same organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawProposal {
    /// What.
    pub proposal: ProposalId,
}
