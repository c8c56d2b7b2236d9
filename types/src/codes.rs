//! Codes of medicine and law: purposes, actions, roles, labels, categories, reasons.
//!
//! Names are HL7's (v3-ActReason, v3-ActCode) where HL7 has one. A code is written by its name in
//! JSON and by its place in the list in the binary codec, so lists only ever grow at their end.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that names no code of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {kind}; known: {known}")]
pub struct UnknownCode {
    /// The kind of code wanted.
    pub kind: &'static str,
    /// What was given, at most 40 characters of it.
    pub text: String,
    /// All names of the kind.
    pub known: String,
}

/// A closed list of codes.
pub trait Code: Copy + Eq + fmt::Debug + 'static {
    /// Every code, in order.
    const ALL: &'static [Self];
    /// Its standard name.
    fn name(self) -> &'static str;
    /// Its place in the list, from 0.
    fn place(self) -> u32;
}

/// A closed list of codes with their standard names.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $text:literal ),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $( $(#[$vmeta])* #[serde(rename = $text)] $variant ),+ }

        impl $name {
            /// Every code of the list, in order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];
            /// The standard name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $( Self::$variant => $text ),+ } }
        }
        impl Code for $name {
            const ALL: &'static [Self] = Self::ALL;
            fn name(self) -> &'static str { self.name() }
            fn place(self) -> u32 { self as u32 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }
        impl FromStr for $name {
            type Err = UnknownCode;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|code| code.name() == text).ok_or_else(|| UnknownCode {
                    kind: stringify!($name),
                    text: text.chars().take(40).collect(),
                    known: Self::ALL.iter().map(|code| code.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

mod status;
pub use status::*;

codes!(
    /// Why a record is used: HL7 v3-PurposeOfUse.
    Purpose {
        /// Treatment.
        Treat = "TREAT",
        /// Clinical trial as treatment.
        ClinTrl = "CLINTRL",
        /// Coordination of care.
        Coc = "COC",
        /// Population health.
        PopHlth = "POPHLTH",
        /// Emergency treatment.
        Etreat = "ETREAT",
        /// Break the glass.
        Btg = "BTG",
        /// Emergency room treatment.
        ErTreat = "ERTREAT",
        /// Healthcare payment.
        Hpaymt = "HPAYMT",
        /// Claim attachment.
        ClmAttch = "CLMATTCH",
        /// Coverage authorization.
        CovAuth = "COVAUTH",
        /// Remittance advice.
        RemitAdv = "REMITADV",
        /// Coverage under policy.
        Coverage = "COVERAGE",
        /// Eligibility determination.
        EligDtrm = "ELIGDTRM",
        /// Eligibility verification.
        EligVer = "ELIGVER",
        /// Enrollment.
        Enrollm = "ENROLLM",
        /// Healthcare operations.
        Hoperat = "HOPERAT",
        /// Care management.
        CareMgt = "CAREMGT",
        /// Fraud detection.
        Fraud = "FRAUD",
        /// Quality improvement.
        HqualImp = "HQUALIMP",
        /// Patient administration.
        PatAdmin = "PATADMIN",
        /// Patient safety.
        PatSfty = "PATSFTY",
        /// Records management.
        RecordMgt = "RECORDMGT",
        /// Healthcare research.
        Hresch = "HRESCH",
        /// Biomedical research.
        BioRch = "BIORCH",
        /// Clinical trial research.
        ClinTrch = "CLINTRCH",
        /// Clinical trial research without patient care.
        ClinTrchNpc = "CLINTRCHNPC",
        /// Clinical trial research with patient care.
        ClinTrchPc = "CLINTRCHPC",
        /// Preclinical trial research.
        PreClinTrch = "PRECLINTRCH",
        /// Disease specific research.
        DsRch = "DSRCH",
        /// Population origins or ancestry research.
        PoaRch = "POARCH",
        /// Translational research.
        TransRch = "TRANSRCH",
        /// Patient requested.
        PatRqt = "PATRQT",
        /// Family requested.
        FamRqt = "FAMRQT",
        /// Power of attorney.
        PwAtrny = "PWATRNY",
        /// Support network.
        SupNwk = "SUPNWK",
        /// Public health.
        PubHlth = "PUBHLTH",
        /// Disaster.
        Disaster = "DISASTER",
        /// Threat.
        Threat = "THREAT",
        /// Marketing: prohibited for everybody.
        Hmarkt = "HMARKT",
    }
);

impl Purpose {
    /// The purpose above in HL7's tree; none for a root.
    ///
    /// Two traps: BTG descends from TREAT and FRAUD from HOPERAT. A role that may treat may ask for
    /// BTG, but a permit covers FRAUD only by name; see the decision.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::ClinTrl | Self::Coc | Self::PopHlth | Self::Etreat => Some(Self::Treat),
            Self::Btg | Self::ErTreat => Some(Self::Etreat),
            Self::ClmAttch | Self::CovAuth | Self::RemitAdv | Self::Coverage => Some(Self::Hpaymt),
            Self::EligDtrm | Self::EligVer | Self::Enrollm => Some(Self::Coverage),
            Self::CareMgt
            | Self::Fraud
            | Self::HqualImp
            | Self::PatAdmin
            | Self::PatSfty
            | Self::RecordMgt => Some(Self::Hoperat),
            Self::BioRch | Self::ClinTrch | Self::DsRch | Self::PoaRch | Self::TransRch => Some(Self::Hresch),
            Self::ClinTrchNpc | Self::ClinTrchPc | Self::PreClinTrch => Some(Self::ClinTrch),
            Self::FamRqt | Self::PwAtrny | Self::SupNwk => Some(Self::PatRqt),
            Self::Disaster | Self::Threat => Some(Self::PubHlth),
            Self::Treat
            | Self::Hpaymt
            | Self::Hoperat
            | Self::Hresch
            | Self::PatRqt
            | Self::PubHlth
            | Self::Hmarkt => None,
        }
    }

    /// 1 for a root, 2 for its child, 3 for a grandchild.
    #[must_use]
    pub fn depth(self) -> u8 {
        self.parent().map_or(1, |parent| parent.depth().saturating_add(1))
    }

    /// This purpose is `ancestor` or descends from it.
    #[must_use]
    pub fn is_within(self, ancestor: Self) -> bool {
        self == ancestor || self.parent().is_some_and(|parent| parent.is_within(ancestor))
    }
}

codes!(
    /// What is done with a record.
    Action {
        /// Read.
        Read = "READ",
        /// Write a new record or version.
        Write = "WRITE",
        /// Pass on.
        Disclose = "DISCLOSE",
        /// Read in de-identified form.
        DeidRead = "DEID_READ",
    }
);

codes!(
    /// In which capacity somebody acts.
    Role {
        /// Physician.
        Physician = "PHYSICIAN",
        /// Nurse.
        Nurse = "NURSE",
        /// Pharmacist.
        Pharmacist = "PHARMACIST",
        /// Laboratory.
        Lab = "LAB",
        /// Billing.
        Billing = "BILLING",
        /// Reviewer at an insurer.
        InsurerReviewer = "INSURER_REVIEWER",
        /// Registrar.
        Registrar = "REGISTRAR",
        /// Privacy officer.
        PrivacyOfficer = "PRIVACY_OFFICER",
        /// Auditor.
        Auditor = "AUDITOR",
        /// Researcher.
        Researcher = "RESEARCHER",
        /// Public health authority.
        PublicHealth = "PUBLIC_HEALTH",
        /// The patient.
        Patient = "PATIENT",
        /// A patient's representative.
        Representative = "REPRESENTATIVE",
        /// Holder of a guest link.
        Guest = "GUEST",
    }
);

codes!(
    /// Kind of organisation.
    OrganisationKind {
        /// Hospital.
        Hospital = "HOSPITAL",
        /// Clinic.
        Clinic = "CLINIC",
        /// Laboratory.
        Lab = "LAB",
        /// Pharmacy.
        Pharmacy = "PHARMACY",
        /// Insurer.
        Insurer = "INSURER",
        /// Research institution.
        Research = "RESEARCH",
        /// Public health authority.
        PublicHealth = "PUBLIC_HEALTH",
        /// Manufacturer.
        Manufacturer = "MANUFACTURER",
        /// Distributor.
        Distributor = "DISTRIBUTOR",
    }
);

codes!(
    /// Capability beyond a role.
    Capability {
        /// May break the glass in an emergency.
        BreakGlass = "btg",
    }
);

codes!(
    /// Kind of record.
    Category {
        /// Laboratory result.
        Lab = "LAB",
        /// Clinical note.
        ClinicalNote = "CLINICAL_NOTE",
        /// Imaging.
        Imaging = "IMAGING",
        /// Medication.
        Medication = "MEDICATION",
        /// Psychotherapy note.
        PsychotherapyNote = "PSYCHOTHERAPY_NOTE",
        /// Billing and claims.
        Billing = "BILLING",
        /// Demographics.
        Demographics = "DEMOGRAPHICS",
        /// Immunization.
        Immunization = "IMMUNIZATION",
        /// Genomic data.
        Genomic = "GENOMIC",
        /// Diagnosis, condition.
        Diagnosis = "DIAGNOSIS",
        /// Encounter.
        Encounter = "ENCOUNTER",
        /// Procedure.
        Procedure = "PROCEDURE",
        /// Care plan, goal, care team.
        CarePlan = "CARE_PLAN",
        /// Allergy or intolerance.
        Allergy = "ALLERGY",
        /// Vital signs and other observations.
        Observation = "OBSERVATION",
    }
);

codes!(
    /// Sensitivity label. A record may carry several; each must be unlocked.
    Label {
        /// Substance abuse information (HL7's older code); an alias of SUD.
        Eth = "ETH",
        /// Substance use disorder.
        Sud = "SUD",
        /// Alcohol use disorder.
        EthUd = "ETHUD",
        /// Opioid use disorder.
        OpioidUd = "OPIOIDUD",
        /// Psychiatry.
        Psy = "PSY",
        /// Mental health.
        Mh = "MH",
        /// Behavioural health.
        Bh = "BH",
        /// Cognitive disability.
        Cogn = "COGN",
        /// Developmental disability.
        Dvd = "DVD",
        /// Emotional disturbance.
        EmotDis = "EMOTDIS",
        /// Psychotherapy note: only ever alone, by name.
        PsyThPn = "PSYTHPN",
        /// HIV/AIDS.
        Hiv = "HIV",
        /// Sexually transmitted disease.
        Std = "STD",
        /// Sexual and reproductive health.
        Sex = "SEX",
        /// Genetic disease.
        Gdis = "GDIS",
        /// Sexual assault, abuse or domestic violence.
        Sdv = "SDV",
        /// Sickle cell anaemia.
        Sca = "SCA",
        /// Military sexual trauma.
        Mst = "MST",
        /// Violence.
        Vio = "VIO",
        /// 42 CFR Part 2: only ever by name.
        Part2 = "PART2",
        /// A label this consortium has no code for: protected like any other.
        Other = "OTHER",
    }
);

impl Label {
    /// ETH means SUD.
    #[must_use]
    pub const fn canonical(self) -> Self {
        if matches!(self, Self::Eth) { Self::Sud } else { self }
    }

    /// The broader label, none for a root.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        if matches!(self, Self::EthUd | Self::OpioidUd) {
            Some(Self::Sud)
        } else if matches!(self, Self::Cogn | Self::Dvd | Self::EmotDis) {
            Some(Self::Bh)
        } else {
            None
        }
    }

    /// This label is `ancestor` or descends from it.
    #[must_use]
    pub fn is_within(self, ancestor: Self) -> bool {
        let (label, ancestor) = (self.canonical(), ancestor.canonical());
        label == ancestor || label.parent() == Some(ancestor)
    }

    /// A wildcard never opens it: 42 CFR Part 2 and psychotherapy notes.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(self, Self::PsyThPn | Self::Part2)
    }
}

codes!(
    /// Why an emergency needs no consent.
    EmergencyReason {
        /// The patient is unconscious.
        Unconscious = "UNCONSCIOUS",
        /// Life is threatened.
        LifeThreat = "LIFE_THREAT",
        /// The patient cannot decide.
        Incapacitated = "INCAPACITATED",
        /// Consent cannot be obtained in time.
        ConsentUnobtainable = "CONSENT_UNOBTAINABLE",
    }
);

codes!(
    /// Permit or deny.
    Decision {
        /// Access is permitted.
        Permit = "PERMIT",
        /// Access is denied.
        Deny = "DENY",
    }
);

codes!(
    /// Duties that come with a decision; codes of HL7 where it has them.
    Obligation {
        /// Listed in the accounting of disclosures.
        Accounting = "ACCOUNTING",
        /// Leaves an audit event: always, on DENY too.
        Audit = "AUDIT",
        /// Counts one use of a limited grant.
        ConsumeUse = "CONSUME_USE",
        /// Only a de-identified copy.
        Deidentify = "DEIDENTIFY",
        /// Minimum necessary.
        MinNecessary = "MIN_NECESSARY",
        /// Tell the patient.
        NotifyPatient = "NOTIFY_PATIENT",
        /// May not be passed on.
        NoRedisclose = "NO_REDISCLOSE",
        /// May not be linked back to a person.
        NoRelink = "NO_RELINK",
        /// Opens an override for the policy's time (four hours).
        OpenOverride4H = "OPEN_OVERRIDE_4H",
        /// 42 CFR 2.51 documentation of the emergency.
        Part2EmergencyDoc = "PART2_EMERGENCY_DOC",
        /// 42 CFR 2.32 notice accompanies the disclosure.
        Part2Notice = "PART2_NOTICE",
        /// To be reviewed within the policy's time (72 hours).
        Review72H = "REVIEW_72H",
    }
);

codes!(
    /// The precise reason of an access decision. The requester sees [`Reason::public`].
    Reason {
        /// A grant permits.
        PermitGrant = "PERMIT_GRANT",
        /// The custodian's own staff, within the implicit policy.
        PermitCustodian = "PERMIT_CUSTODIAN",
        /// The author of a psychotherapy note.
        PermitAuthor = "PERMIT_AUTHOR",
        /// A clinician of an organisation that cares for the patient writes.
        PermitCareRelation = "PERMIT_CARE_RELATION",
        /// The patient.
        PermitSubject = "PERMIT_SUBJECT",
        /// The patient's representative.
        PermitRepresentative = "PERMIT_REPRESENTATIVE",
        /// Public health mandate.
        PermitMandated = "PERMIT_MANDATED",
        /// Emergency access.
        PermitBreakGlass = "PERMIT_BREAK_GLASS",
        /// Emergency access under an override that is already open.
        PermitOverrideActive = "PERMIT_OVERRIDE_ACTIVE",
        /// No such record.
        DenyNoSuchRecord = "DENY_NO_SUCH_RECORD",
        /// The record was erased.
        DenyRecordErased = "DENY_RECORD_ERASED",
        /// Unknown code or broken reference.
        DenyBadRequest = "DENY_BAD_REQUEST",
        /// The requester's organisation is not active.
        DenyOrgInactive = "DENY_ORG_INACTIVE",
        /// The requester is not registered there in that role.
        DenyIdentity = "DENY_IDENTITY",
        /// The requester's credential has lapsed.
        DenyCredential = "DENY_CREDENTIAL",
        /// Purpose is prohibited for everybody.
        DenyPurposeProhibited = "DENY_PURPOSE_PROHIBITED",
        /// The role does not serve this purpose.
        DenyRolePurpose = "DENY_ROLE_PURPOSE",
        /// The role does not allow this action.
        DenyRoleAction = "DENY_ROLE_ACTION",
        /// Not the subject of the record.
        DenyNotSubject = "DENY_NOT_SUBJECT",
        /// Psychotherapy note.
        DenyPsyThPn = "DENY_PSYTHPN",
        /// No representation.
        DenyNoRepresentation = "DENY_NO_REPRESENTATION",
        /// Representation is not active.
        DenyRepresentationLapsed = "DENY_REPRESENTATION_LAPSED",
        /// The grants do not cover this record.
        DenyOutOfScope = "DENY_OUT_OF_SCOPE",
        /// The minor's privacy.
        DenyMinorPrivacy = "DENY_MINOR_PRIVACY",
        /// A draft.
        DenyDraft = "DENY_DRAFT",
        /// No mandate named.
        DenyNoMandate = "DENY_NO_MANDATE",
        /// Part 2 without consent.
        DenyPart2NoConsent = "DENY_PART2_NO_CONSENT",
        /// The study is not active.
        DenyStudyInactive = "DENY_STUDY_INACTIVE",
        /// Not on the study's team.
        DenyNotOnStudy = "DENY_NOT_ON_STUDY",
        /// The patient is not enrolled.
        DenyNotEnrolled = "DENY_NOT_ENROLLED",
        /// A denial by the patient.
        DenyExplicit = "DENY_EXPLICIT",
        /// No grant for this requester.
        DenyNoGrant = "DENY_NO_GRANT",
        /// The grants do not allow this action.
        DenyAction = "DENY_ACTION",
        /// The grants do not serve this purpose.
        DenyPurpose = "DENY_PURPOSE",
        /// A label of the record is not unlocked.
        DenySensitivity = "DENY_SENSITIVITY",
        /// The grant is not valid yet.
        DenyNotYetValid = "DENY_NOT_YET_VALID",
        /// The grant was revoked.
        DenyRevoked = "DENY_REVOKED",
        /// The grant has expired.
        DenyExpired = "DENY_EXPIRED",
        /// The grant's uses are exhausted.
        DenyUsesExhausted = "DENY_USES_EXHAUSTED",
        /// The grant's parent does not carry it.
        DenyParentInvalid = "DENY_PARENT_INVALID",
        /// The patient refused emergency access in advance.
        DenyEmergencyRefused = "DENY_EMERGENCY_REFUSED",
        /// Not authorised for emergency access.
        DenyBtgNotAuthorised = "DENY_BTG_NOT_AUTHORISED",
        /// Emergency access suspended for overdue reviews.
        DenyBtgSuspended = "DENY_BTG_SUSPENDED",
        /// Emergency access without a reason.
        DenyBtgNoReason = "DENY_BTG_NO_REASON",
        /// What a requester is told instead of a reason that would betray the patient.
        AccessDenied = "ACCESS_DENIED",
    }
);

impl Reason {
    /// What the requester may know. Reasons that would say something about the patient or the record
    /// become ACCESS_DENIED (a precise reason is an oracle); those about the requester stay.
    #[must_use]
    pub const fn public(self) -> Self {
        if matches!(
            self,
            Self::DenyNoGrant
                | Self::DenyNoSuchRecord
                | Self::DenyOutOfScope
                | Self::DenySensitivity
                | Self::DenyExplicit
                | Self::DenyDraft
                | Self::DenyMinorPrivacy
                | Self::DenyPsyThPn
                | Self::DenyRecordErased
                | Self::DenyRevoked
                | Self::DenyExpired
                | Self::DenyNotYetValid
                | Self::DenyUsesExhausted
                | Self::DenyParentInvalid
                | Self::DenyAction
                | Self::DenyPurpose
                | Self::DenyEmergencyRefused
                | Self::DenyPart2NoConsent
        ) {
            Self::AccessDenied
        } else {
            self
        }
    }
}

codes!(
    /// Why a committed transaction was refused: nothing of it was applied.
    Refusal {
        /// This id is already in the ledger; the first receipt stands.
        Duplicate = "DUPLICATE",
        /// Block time is past `expires_at`.
        Expired = "EXPIRED",
        /// Same sender and `request_id` with other bytes.
        IdempotencyMismatch = "IDEMPOTENCY_MISMATCH",
        /// The body is not a transaction of this version.
        Malformed = "MALFORMED",
        /// A field is outside its limits.
        InvalidField = "INVALID_FIELD",
        /// Signed by a key that is not registered.
        UnknownSigner = "UNKNOWN_SIGNER",
        /// The sender did not sign.
        SenderNotSigner = "SENDER_NOT_SIGNER",
        /// Somebody who must sign did not.
        SignatureMissing = "SIGNATURE_MISSING",
        /// The signers may not do this.
        NotAuthorised = "NOT_AUTHORISED",
        /// The organisation exists.
        OrgExists = "ORG_EXISTS",
        /// The organisation does not exist or is not active.
        OrgInactive = "ORG_INACTIVE",
        /// The practitioner exists.
        PractitionerExists = "PRACTITIONER_EXISTS",
        /// The patient exists.
        PatientExists = "PID_EXISTS",
        /// The patient does not exist or is not active.
        PatientUnknown = "PATIENT_UNKNOWN",
        /// The subject's key did not sign, or is weak.
        KeyProof = "KEY_PROOF",
        /// The key belongs to another member already.
        KeyInUse = "KEY_IN_USE",
        /// The record exists.
        RecordExists = "RECORD_EXISTS",
        /// The author may not write for this patient.
        WriteDenied = "WRITE_DENIED",
        /// PART2 and PSYTHPN are refused while labels stand in clear.
        SensitiveInClear = "SENSITIVE_IN_CLEAR",
        /// The grant exists.
        GrantExists = "GRANT_EXISTS",
        /// There is no such grant, or it is revoked.
        GrantUnknown = "GRANT_UNKNOWN",
        /// A period is empty or reversed.
        BadPeriod = "BAD_PERIOD",
        /// A grant needs a purpose.
        EmptyPurpose = "EMPTY_PURPOSE",
        /// Only a denial may have every purpose.
        WildcardPurposeOnPermit = "WILDCARD_PURPOSE_ON_PERMIT",
        /// A permit for psychotherapy notes stands alone.
        PsyThPnNotAlone = "PSYTHPN_NOT_ALONE",
        /// An authorization outside treatment, payment and operations lacks an element.
        AuthElementMissing = "AUTH_ELEMENT_MISSING",
        /// A sub-grant is wider than its parent.
        DelegationWidens = "DELEGATION_WIDENS",
        /// A sub-grant of a sub-grant.
        DelegationDepth = "DELEGATION_DEPTH",
        /// The signer is neither the patient nor acts for the patient.
        NotGrantor = "NOT_GRANTOR",
        /// The patient has as many grants as one patient may have.
        TooManyGrants = "TOO_MANY_GRANTS",
        /// The requester was denied too often within the hour; permitted accesses are not held up.
        TooManyDenials = "TOO_MANY_DENIALS",
        /// The thing does not stand where this could be done to it; see docs/state-machines.md.
        BadState = "BAD_STATE",
        /// There is no such thing, or it is another patient's.
        Unknown = "UNKNOWN",
        /// The id is used already.
        Exists = "EXISTS",
        /// There are as many of these as there may be.
        TooMany = "TOO_MANY",
        /// Its time has not come.
        TooEarly = "TOO_EARLY",
        /// Its time is over.
        TooLate = "TOO_LATE",
        /// The organisation cares for the patient already, or does not.
        CareRelation = "CARE_RELATION",
        /// A representation needs its evidence, and what its kind demands.
        RepEvidenceMissing = "REP_EVIDENCE_MISSING",
        /// Nobody represents themselves, nor attests what makes them a representative.
        RepSelf = "REP_SELF",
        /// The record has another version than the one meant.
        VersionConflict = "VERSION_CONFLICT",
        /// The record must be kept until a later time.
        RetentionHold = "RETENTION_HOLD",
        /// The patient has records that are not erased.
        RecordsRemain = "RECORDS_REMAIN",
        /// The request for access has expired.
        RequestExpired = "REQUEST_EXPIRED",
        /// The answer opens more than was asked for.
        RequestWidens = "REQUEST_WIDENS",
        /// Nobody reviews their own emergency access.
        ReviewSelf = "REVIEW_SELF",
        /// It has been reviewed.
        ReviewTwice = "REVIEW_TWICE",
        /// The report or its viewers are not those that were approved.
        ViewerSetChanged = "VIEWER_SET_CHANGED",
        /// A guest link opens one record of the patient that is in force.
        LinkNeedsRecord = "LINK_NEEDS_RECORD",
        /// A guest link may not live so long.
        LinkTooLong = "LINK_TOO_LONG",
        /// The recovery's delay has not passed, or guardians are missing.
        RecoveryDelay = "RECOVERY_DELAY",
        /// The signer is no guardian of the patient.
        GuardianUnknown = "GUARDIAN_UNKNOWN",
        /// Organisations alone may not restore a patient's key.
        GuardianOrgMajority = "GUARDIAN_ORG_MAJORITY",
        /// The organisation has voted.
        VoteTwice = "VOTE_TWICE",
        /// Another change of the validators or of consensus is decided and has not begun.
        ChangePending = "CHANGE_PENDING",
        /// Who is to join has not confirmed that it is ready, or long ago.
        NotReady = "NOT_READY",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_traps_of_the_purpose_tree() {
        assert!(Purpose::Btg.is_within(Purpose::Treat));
        assert!(Purpose::Fraud.is_within(Purpose::Hoperat));
        assert_eq!((Purpose::Treat.depth(), Purpose::Etreat.depth(), Purpose::Btg.depth()), (1, 2, 3));
    }

    #[test]
    fn names_parse_back_and_unknown_ones_list_the_known() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.name().parse::<Purpose>().unwrap(), *purpose);
        }
        assert!("SELL".parse::<Purpose>().unwrap_err().to_string().contains("TREAT"));
    }

    #[test]
    fn reasons_about_the_patient_are_not_told() {
        for reason in [Reason::DenySensitivity, Reason::DenyExplicit, Reason::DenyNoSuchRecord] {
            assert_eq!(reason.public(), Reason::AccessDenied);
        }
        assert_eq!(Reason::DenyCredential.public(), Reason::DenyCredential);
    }
}
