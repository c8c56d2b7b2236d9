//! Why a Consent is refused: a stable reason and the JSON path, never what stands there.

use core::fmt;

use crate::fhir::Problem;

/// One fault of a Consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {code}: {reason}", code = reason.code())]
pub struct Fault {
    /// JSON path in the Consent, made of indexes and of FHIR's own names.
    pub path: String,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong at a place of a Consent. Never holds what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not to be read as one JSON value.
    Unreadable(Problem),
    /// Not what FHIR has here.
    Shape(&'static str),
    /// Longer than a rule may be.
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Not in force.
    NotActive,
    /// Of another scope than privacy.
    Scope,
    /// Neither permit nor deny.
    TypeMissing,
    /// An exception that is none.
    NotFlipped,
    /// No policy named by its uri.
    PolicyMissing,
    /// A policy that the directory does not hold.
    PolicyUnknown,
    /// A reference that the directory does not hold.
    ReferenceUnknown,
    /// A reference to something of another kind.
    ReferenceKind(&'static str),
    /// The Consent of another patient.
    OtherPatient,
    /// Another role than that of the information's recipient.
    ActorRole,
    /// A permit for every purpose.
    PurposeMissing,
    /// A purpose that the ledger has no code for.
    PurposeUnknown,
    /// An action that the ledger has no code for.
    ActionUnknown,
    /// A label that the ledger has no code for, or cannot combine.
    LabelUnmapped,
    /// A class or code that no category stands for.
    ClassUnmapped,
    /// Data named otherwise than one by one.
    DataMeaning,
    /// Data of a period that is not made of whole months.
    DataPeriod,
    /// A period that ends before it begins, or is none.
    Period,
    /// Exceptions of exceptions.
    Nesting,
    /// An element that the ledger has nothing for.
    Unsupported,
    /// An extension that changes the meaning, and is not known.
    ModifierUnknown,
    /// Psychotherapy notes together with something else.
    PsyThPnNotAlone,
    /// An authorization without what the law wants in it.
    AuthElementMissing,
    /// An exception that would not prevail.
    ExceptionIneffective,
}

impl Reason {
    /// Stable, in SCREAMING_SNAKE case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreadable(_) => "CONSENT_UNREADABLE",
            Self::Shape(_) => "CONSENT_SHAPE",
            Self::TooMany { .. } => "CONSENT_TOO_MANY",
            Self::NotActive => "CONSENT_NOT_ACTIVE",
            Self::Scope => "CONSENT_SCOPE",
            Self::TypeMissing => "CONSENT_TYPE_MISSING",
            Self::NotFlipped => "CONSENT_TYPE_NOT_FLIPPED",
            Self::PolicyMissing => "CONSENT_POLICY_MISSING",
            Self::PolicyUnknown => "CONSENT_POLICY_UNKNOWN",
            Self::ReferenceUnknown => "CONSENT_REFERENCE_UNKNOWN",
            Self::ReferenceKind(_) => "CONSENT_REFERENCE_KIND",
            Self::OtherPatient => "CONSENT_OTHER_PATIENT",
            Self::ActorRole => "CONSENT_ACTOR_ROLE",
            Self::PurposeMissing => "CONSENT_PURPOSE_MISSING",
            Self::PurposeUnknown => "CONSENT_PURPOSE_UNKNOWN",
            Self::ActionUnknown => "CONSENT_ACTION_UNKNOWN",
            Self::LabelUnmapped => "CONSENT_LABEL_UNMAPPED",
            Self::ClassUnmapped => "CONSENT_CLASS_UNMAPPED",
            Self::DataMeaning => "CONSENT_DATA_MEANING",
            Self::DataPeriod => "CONSENT_DATA_PERIOD",
            Self::Period => "CONSENT_PERIOD",
            Self::Nesting => "CONSENT_NESTING",
            Self::Unsupported => "CONSENT_ELEMENT_UNSUPPORTED",
            Self::ModifierUnknown => "CONSENT_MODIFIER_UNKNOWN",
            Self::PsyThPnNotAlone => "PSYTHPN_NOT_ALONE",
            Self::AuthElementMissing => "AUTH_ELEMENT_MISSING",
            Self::ExceptionIneffective => "CONSENT_EXCEPTION_INEFFECTIVE",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable(problem) => return problem.fmt(f),
            Self::Shape(wanted) => return write!(f, "must be {wanted}"),
            Self::TooMany { found, most } => return write!(f, "{found}; there may be {most} at most"),
            Self::ReferenceKind(wanted) => return write!(f, "the reference must be to {wanted}"),
            Self::NotActive => "only an active Consent becomes rules; revoke those that an ended one became",
            Self::Scope => "must be consentscope#patient-privacy",
            Self::TypeMissing => "must say permit or deny; it is not guessed from policyRule or from the text",
            Self::NotFlipped => "an exception must permit what is denied, or deny what is permitted",
            Self::PolicyMissing => "must name one policy by its uri; a policyRule does not stand for it",
            Self::PolicyUnknown => "the directory knows no policy of this uri; add it with the hash of its text",
            Self::ReferenceUnknown => "the directory knows nobody and nothing by this reference; add it",
            Self::OtherPatient => "is the Consent of another patient than the one named",
            Self::ActorRole => "must be v3-ParticipationType#IRCP, the recipient of information",
            Self::PurposeMissing => "a permit must name its purposes; only a denial may be for all",
            Self::PurposeUnknown => "must be a purpose of v3-ActReason that this ledger knows",
            Self::ActionUnknown => "must be consentaction#access, #correct or #disclose",
            Self::LabelUnmapped => "must be labels that this ledger knows, in a combination that it can say",
            Self::ClassUnmapped => "no category of the import tables stands for it",
            Self::DataMeaning => "only data with the meaning instance can be named",
            Self::DataPeriod => "must be whole months from 1800 to 9999: the ledger's dates are no finer",
            Self::Period => "must be FHIR times from 1970 to 9999, the start before the end",
            Self::Nesting => "exceptions of exceptions cannot be said",
            Self::Unsupported => "the ledger has nothing for this element, and will not ignore it",
            Self::ModifierUnknown => "this extension changes the meaning, and is not known here",
            Self::PsyThPnNotAlone => "psychotherapy notes are permitted alone, with no other label",
            Self::AuthElementMissing => {
                "outside treatment, payment and operations a permit names recipient, end, policy and signed document; for PART2 and PSYTHPN the document"
            }
            Self::ExceptionIneffective => {
                "the ledger would not let this exception prevail: a permit prevails only if it is as narrow as the denial in recipient, purpose and data, and narrower in one"
            }
        })
    }
}
