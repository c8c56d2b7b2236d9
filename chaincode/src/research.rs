//! Studies and enrolments: what the access decision reads of them. Their calls are not built yet.

use epione_types::TimestampMs;
use epione_types::id::{OrgId, PractitionerId};
use serde::{Deserialize, Serialize};

/// Where a study stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StudyStatus {
    /// Waits for its review board.
    Proposed,
    /// The review board's organisation signed.
    Approved,
    /// Stopped for now.
    Suspended,
    /// Over.
    Closed,
}

/// A research study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Study {
    /// Where it stands.
    pub status: StudyStatus,
    /// End of the review board's approval, exclusive.
    pub approved_until: TimestampMs,
    /// Who may read for it.
    pub team: Vec<(OrgId, PractitionerId)>,
}

/// Where an enrolment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolmentStatus {
    /// The patient was asked.
    Offered,
    /// The patient takes part.
    Active,
    /// The patient left.
    Withdrawn,
    /// Over.
    Completed,
}

/// A patient's part in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Where it stands.
    pub status: EnrolmentStatus,
}
