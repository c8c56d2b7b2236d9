//! Studies and enrolments: what the access decision reads of them. Organisations set them by vote ([`crate::governance`]);
//! their own workflow is not built yet.

use epione_types::TimestampMs;
pub use epione_types::codes::{EnrolmentStatus, StudyStatus};
use epione_types::id::{OrgId, PractitionerId};
use serde::{Deserialize, Serialize};

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

/// A patient's part in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Where it stands.
    pub status: EnrolmentStatus,
}
