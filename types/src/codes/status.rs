//! Where things stand, and what else the contracts' state machines speak of.

use super::{Code, UnknownCode, fmt};
use core::str::FromStr;
use serde::{Deserialize, Serialize};

codes!(
    /// Where an organisation stands.
    OrganisationStatus {
        /// Takes part.
        Active = "ACTIVE",
        /// Stopped for now.
        Suspended = "SUSPENDED",
        /// Left.
        Exited = "EXITED",
    }
);

codes!(
    /// Where a practitioner stands.
    PractitionerStatus {
        /// Works.
        Active = "ACTIVE",
        /// Stopped for now.
        Suspended = "SUSPENDED",
        /// Left.
        Retired = "RETIRED",
    }
);

codes!(
    /// Where a device stands.
    DeviceStatus {
        /// Writes.
        Active = "ACTIVE",
        /// Its key is void.
        Revoked = "REVOKED",
    }
);

codes!(
    /// What kind of device it is.
    DeviceKind {
        /// Analyser of a laboratory.
        Analyser = "ANALYSER",
        /// Imaging.
        Imaging = "IMAGING",
        /// Monitor at the bedside.
        Monitor = "MONITOR",
        /// Worn by the patient.
        Wearable = "WEARABLE",
        /// Any other.
        Other = "OTHER",
    }
);

codes!(
    /// Where a patient stands.
    PatientStatus {
        /// Alive, as far as the ledger knows.
        Active = "ACTIVE",
        /// Dead: the own key is over, representatives are not.
        Deceased = "DECEASED",
        /// Erased.
        Erased = "ERASED",
    }
);

codes!(
    /// What changed about a patient.
    PatientChange {
        /// Came into custody's end: has an own key now.
        OwnKey = "OWN_KEY",
        /// Signs with another key.
        KeyRotated = "KEY_ROTATED",
        /// Has another key by the word of guardians.
        KeyRecovered = "KEY_RECOVERED",
        /// One more organisation cares.
        CareLinked = "CARE_LINKED",
        /// One organisation cares no more.
        CareUnlinked = "CARE_UNLINKED",
        /// Named those who may restore the key.
        GuardiansSet = "GUARDIANS_SET",
        /// Died.
        Deceased = "DECEASED",
        /// Was erased.
        Erased = "ERASED",
    }
);

codes!(
    /// Why somebody may act for a patient.
    RepresentationKind {
        /// Parent of a minor.
        Parent = "PARENT",
        /// Guardian.
        Guardian = "GUARDIAN",
        /// Power of attorney.
        Attorney = "POA",
        /// Executor of the dead.
        Executor = "EXECUTOR",
    }
);

codes!(
    /// Where a representation stands; that it lapsed is derived from time.
    RepresentationStatus {
        /// In force, within its period.
        Active = "ACTIVE",
        /// Ended early.
        Revoked = "REVOKED",
    }
);

codes!(
    /// Where a record stands.
    RecordStatus {
        /// Its author works on it.
        Draft = "DRAFT",
        /// In force.
        Active = "ACTIVE",
        /// A later version is in force.
        Superseded = "SUPERSEDED",
        /// Should not have been.
        EnteredInError = "ENTERED_IN_ERROR",
        /// Body and keys are destroyed.
        Erased = "ERASED",
    }
);

codes!(
    /// Where a grant or denial stands; expired and used up are derived, never stored.
    GrantStatus {
        /// Made.
        Active = "ACTIVE",
        /// Ended.
        Revoked = "REVOKED",
    }
);

codes!(
    /// Where a request for access stands; that it expired is derived from time.
    AccessRequestStatus {
        /// Waits for the patient.
        Pending = "PENDING",
        /// A grant was made of it.
        Approved = "APPROVED",
        /// The patient said no.
        Rejected = "REJECTED",
        /// The requester took it back.
        Withdrawn = "WITHDRAWN",
    }
);

codes!(
    /// Where an emergency override stands.
    OverrideStatus {
        /// Opens the patient's records.
        Open = "OPEN",
        /// Over; waits for its review.
        Ended = "ENDED",
        /// Should have been reviewed: counts against its holder, and is on the list of escalations.
        Overdue = "OVERDUE",
        /// Reviewed: it was an emergency.
        ReviewedOk = "REVIEWED_OK",
        /// Reviewed: it was none.
        ReviewedMisuse = "REVIEWED_MISUSE",
    }
);

codes!(
    /// What a review found.
    Verdict {
        /// It was an emergency.
        Ok = "OK",
        /// It was misuse.
        Misuse = "MISUSE",
    }
);

codes!(
    /// Where a report stands.
    ReportStatus {
        /// Its author works on it.
        Draft = "DRAFT",
        /// Waits for the patient.
        Submitted = "SUBMITTED",
        /// The patient wants it changed.
        ChangesRequested = "CHANGES_REQUESTED",
        /// The patient approved it and its viewers.
        Approved = "APPROVED",
        /// The author took it back.
        Withdrawn = "WITHDRAWN",
        /// In force without the patient's review, and without viewers.
        Unreviewed = "UNREVIEWED",
    }
);

codes!(
    /// Where a guest link stands; that it lapsed is derived from time and uses.
    LinkStatus {
        /// Opens its record.
        Live = "LIVE",
        /// Opens nothing.
        Closed = "CLOSED",
    }
);

codes!(
    /// Where the recovery of a patient's key stands.
    RecoveryStatus {
        /// Guardians sign, the delay runs.
        Pending = "PENDING",
        /// The old key stopped it.
        Cancelled = "CANCELLED",
        /// The new key is the patient's.
        Finished = "FINISHED",
    }
);

codes!(
    /// Where a proposal stands; that it expired is derived from time.
    ProposalStatus {
        /// Is voted on.
        Open = "OPEN",
        /// In force from the next block on.
        Passed = "PASSED",
        /// Cannot pass any more.
        Rejected = "REJECTED",
        /// Taken back.
        Withdrawn = "WITHDRAWN",
    }
);

codes!(
    /// What a patient is told of.
    NoticeKind {
        /// Somebody broke the glass.
        EmergencyAccess = "EMERGENCY_ACCESS",
        /// An emergency access should have been reviewed and was not.
        ReviewOverdue = "REVIEW_OVERDUE",
        /// An emergency access was reviewed and found right.
        ReviewedOk = "REVIEWED_OK",
        /// An emergency access was reviewed and found misuse.
        ReviewedMisuse = "REVIEWED_MISUSE",
        /// Somebody asks for access.
        AccessRequested = "ACCESS_REQUESTED",
        /// A report waits for the patient.
        ReportSubmitted = "REPORT_SUBMITTED",
        /// A report is in force without the patient's review.
        ReportUnreviewed = "REPORT_UNREVIEWED",
        /// Somebody became the patient's representative.
        RepresentationAdded = "REPRESENTATION_ADDED",
        /// The key that signs for the patient changed.
        KeyChanged = "KEY_CHANGED",
        /// Guardians began to restore the key: the old key can stop it.
        RecoveryStarted = "RECOVERY_STARTED",
    }
);

codes!(
    /// A constant of policy, which organisations change by vote.
    PolicyConstant {
        /// How many validators' organisations sign a new organisation, or a suspension.
        OrganisationSignatures = "ORGANISATION_SIGNATURES",
        /// How long an emergency override stays open, in milliseconds.
        OverrideOpenMs = "OVERRIDE_OPEN_MS",
        /// When an emergency override must have been reviewed, in milliseconds after opening.
        OverrideReviewMs = "OVERRIDE_REVIEW_MS",
        /// Overdue reviews at which a practitioner loses emergency access.
        OverdueReviewsMax = "OVERDUE_REVIEWS_MAX",
        /// Most live grants and denials of one patient.
        LiveRulesMax = "LIVE_RULES_MAX",
        /// How long a patient has to review a report, in milliseconds.
        ReportReviewMs = "REPORT_REVIEW_MS",
        /// Longest life of a guest link, in milliseconds.
        LinkMs = "LINK_MS",
        /// Longest life of a request for access, in milliseconds.
        AccessRequestMs = "ACCESS_REQUEST_MS",
        /// How long the recovery of a key can be stopped by the old one, in milliseconds.
        RecoveryDelayMs = "RECOVERY_DELAY_MS",
        /// From which age a minor has privacy before a parent, in years.
        MinorPrivacyAge = "MINOR_PRIVACY_AGE",
        /// Majority, in years: a parent's representation lasts no longer.
        MajorityAge = "MAJORITY_AGE",
    }
);

codes!(
    /// Where a study stands.
    StudyStatus {
        /// Waits for its review board.
        Proposed = "PROPOSED",
        /// The review board's organisation signed.
        Approved = "APPROVED",
        /// Stopped for now.
        Suspended = "SUSPENDED",
        /// Over.
        Closed = "CLOSED",
    }
);

codes!(
    /// Where a patient's part in a study stands.
    EnrolmentStatus {
        /// The patient was asked.
        Offered = "OFFERED",
        /// The patient takes part.
        Active = "ACTIVE",
        /// The patient left.
        Withdrawn = "WITHDRAWN",
        /// Over.
        Completed = "COMPLETED",
    }
);
