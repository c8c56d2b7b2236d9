//! FHIR `Consent` and the ledger's rules: in, without guessing; out, in the shape of IHE PCF.
//!
//! ```text
//! Consent (R4 of PCF's shape, R5) --read_consent--> ConsentPlan --calls--> CreateGrant, denials first
//!                                 └─▶ every fault: reason, JSON path
//! a grant of the ledger --write_consent--> Consent (R4, PCF) --read_consent--> the same rule
//! ```
//!
//! One provision becomes one rule for each of its actors; an exception takes what it does not say from the
//! provision that it is an exception of. What the ledger cannot say exactly is refused, whole: a missing type, a policy
//! or reference that nobody explains, an exception that the ledger's precedence would not let through.
//! The tables and the reasons stand in docs/fhir.md. Tested by `tests/consent.rs` and `testnet/fuzz`.

mod fault;
mod read;
mod write;

pub use fault::{Fault, Reason};
pub use read::{ConsentPlan, MAX_CONSENT_BYTES, MAX_RULES, read_consent};
pub use write::{StatedGrant, write_consent};

/// HL7's system of purposes.
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// HL7's system of sensitivity labels.
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// HL7's system of confidentiality.
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// HL7's system of the roles of actors.
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
/// FHIR's system of the scopes of consents.
const SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
/// FHIR's system of actions.
const ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
/// The one modifier extension that is understood: what a rule says and PCF has no element for.
const RULE: &str = "urn:epione:rule";
/// Labels that HL7 has no code for.
const OWN_LABEL: &str = "urn:epione:label";
