//! Which field of a call a refusal is about, by its path in the `.proto`, beneath the call.
//!
//! A receipt says why and not where: it does not hold the call. Whoever sent the call does, and [`field_of`] finds the
//! place. Nothing is guessed: a refusal that is about the sender, the time or the state as a whole names no field, nor
//! does one that could be about several where the call alone does not tell which.
//! Tested below, by `chaincode/tests/fields.rs` against the contracts, and by `proto/tests/reference.rs` against the API.

use super::{
    AddRepresentation, Call, DataPeriod, GrantKind, Grantee, Labels, MAX_GUARDIANS, MAX_LIST, Person,
    ProposalAction, Purposes, RegisterOrganisation, Rule, SetGuardians,
};
use crate::codes::{Capability, Label, Purpose, Refusal, RepresentationKind, Role};
use crate::hash::Hash;

use Refusal as R;

/// A refusal of some calls, named as in the `.proto`, and the fields that it may be about.
pub type Row = (Refusal, &'static [&'static str], &'static [&'static str]);

/// Every refusal that is about one field. Several fields: the call itself tells which, where anything does.
pub const FIELDS: &[Row] = &[
    (R::InvalidField, &["register_org"], &["admins", "admin_threshold"]),
    (R::InvalidField, &["register_practitioner", "update_practitioner"], &["roles", "capabilities"]),
    (R::InvalidField, &["register_patient"], &["notice_hash"]),
    (R::InvalidField, &["register_record"], &["labels", "size_class"]),
    (R::InvalidField, &["draft_report"], &["record.labels", "record.size_class"]),
    (R::InvalidField, &["supersede_record"], &["labels", "body.size_class"]),
    (R::InvalidField, &["submit_report"], &["body.size_class", "viewers"]),
    (R::InvalidField, &["add_representation"], &["categories", "minor_privacy_from_ms", "public_key"]),
    (R::InvalidField, &["set_guardians"], &["guardians", "threshold"]),
    (R::InvalidField, &["create_grant", "approve_access_request"], RULE),
    (R::InvalidField, &["request_access"], RULE_ASKED),
    (
        R::InvalidField,
        &["propose"],
        &[
            "action.set_constant.value",
            "action.set_study.team",
            "action.set_params.params",
            "action.change_validators.add",
            "action.change_validators.remove",
        ],
    ),
    (R::OrgExists, &["register_org"], &["org_id"]),
    (R::PractitionerExists, &["register_practitioner"], &["practitioner_id"]),
    (R::PatientExists, &["register_patient"], &["patient_id"]),
    (R::PatientUnknown, OF_PATIENT, &["patient_id"]),
    (R::PatientUnknown, &["draft_report"], &["record.patient_id"]),
    (R::PatientUnknown, &["add_representation"], &["patient_id", "person"]),
    (R::PatientUnknown, &["propose"], &["action.set_enrolment.patient_id"]),
    (R::KeyProof, &["register_org"], &["admins"]),
    (R::KeyProof, WITH_KEY, &["public_key"]),
    (R::KeyProof, &["approve_recovery"], &["public_key"]),
    (R::KeyInUse, &["register_org"], &["admins"]),
    (R::KeyInUse, WITH_KEY, &["public_key"]),
    (R::RecordExists, &["register_record"], &["record_id"]),
    (R::RecordExists, &["draft_report"], &["record.record_id"]),
    (R::SensitiveInClear, &["register_record", "supersede_record"], &["labels"]),
    (R::SensitiveInClear, &["draft_report"], &["record.labels"]),
    (R::SensitiveInClear, WITH_RULE, &["rule.labels"]),
    (R::SensitiveInClear, &["create_guest_link"], &["record_id"]),
    (
        R::GrantExists,
        &["create_grant", "approve_access_request", "set_opt_out", "create_guest_link"],
        &["grant_id"],
    ),
    (R::GrantUnknown, &["revoke_grant"], &["grant_id"]),
    (R::GrantUnknown, &["create_grant"], &["rule.parent_grant_id"]),
    (R::BadPeriod, &["create_grant", "approve_access_request"], &["rule.until_ms", "rule.data_period"]),
    (R::BadPeriod, &["request_access"], &["rule.until_ms", "rule.data_period", "expires_ms"]),
    (R::BadPeriod, &["add_representation"], &["until_ms", "minor_privacy_from_ms"]),
    (R::BadPeriod, &["set_retention"], &["until_ms"]),
    (R::BadPeriod, &["create_guest_link"], &["until_ms", "max_uses"]),
    (R::EmptyPurpose, WITH_RULE, &["rule.purposes"]),
    (R::WildcardPurposeOnPermit, WITH_RULE, &["rule.purposes"]),
    (R::PsyThPnNotAlone, WITH_RULE, &["rule.labels"]),
    (
        R::AuthElementMissing,
        &["create_grant", "approve_access_request"],
        &["rule.to", "rule.until_ms", "rule.policy_hash", "rule.document_hash"],
    ),
    (R::AuthElementMissing, WITH_DOCUMENT, &["document_hash"]),
    (R::DelegationWidens, &["create_grant"], &["rule"]),
    (R::DelegationDepth, &["create_grant"], &["rule.delegable", "rule.parent_grant_id"]),
    (R::Unknown, &["update_practitioner", "set_practitioner_status"], &["practitioner_id"]),
    (R::Unknown, &["set_org_status"], &["org_id"]),
    (R::Unknown, &["revoke_device"], &["device_id"]),
    (R::Unknown, &["add_representation", "revoke_representation"], &["person"]),
    (R::Unknown, OF_RECORD, &["record_id"]),
    (
        R::Unknown,
        &["approve_access_request", "reject_access_request", "withdraw_access_request"],
        &["access_request_id"],
    ),
    (R::Unknown, &["close_guest_link"], &["link_id"]),
    (R::Unknown, &["vote", "withdraw_proposal", "confirm_readiness"], &["proposal_id"]),
    (R::InvalidField, &["confirm_readiness"], &["proposal_id"]),
    (R::NotReady, &["confirm_readiness"], &["height"]),
    (R::Unknown, &["propose"], &["action.set_enrolment.study_id", "action.change_validators.remove"]),
    (R::Exists, &["register_device"], &["device_id"]),
    (R::Exists, &["add_representation"], &["public_key"]),
    (R::Exists, &["request_access"], &["access_request_id"]),
    (R::Exists, &["create_guest_link"], &["link_id"]),
    (R::Exists, &["propose"], &["proposal_id"]),
    (R::KeyInUse, &["propose"], &["action.change_validators.add"]),
    (R::TooMany, &["submit_report"], &["viewers"]),
    (R::CareRelation, &["unlink_care"], &["org_id"]),
    (R::RepEvidenceMissing, &["add_representation"], &["evidence", "until_ms", "minor_privacy_from_ms"]),
    (R::RepSelf, &["add_representation"], &["person"]),
    (R::VersionConflict, &["supersede_record", "mark_entered_in_error"], &["version"]),
    (R::RequestWidens, &["approve_access_request"], &["rule"]),
    (R::LinkNeedsRecord, &["create_guest_link"], &["record_id"]),
    (R::LinkTooLong, &["create_guest_link"], &["until_ms"]),
];

const WITH_RULE: &[&str] = &["create_grant", "request_access", "approve_access_request"];
const RULE: &[&str] = &[
    "rule.purposes",
    "rule.actions",
    "rule.categories",
    "rule.record_ids",
    "rule.labels",
    "rule.max_uses",
    "rule.delegable",
    "rule.parent_grant_id",
];
const RULE_ASKED: &[&str] = &[
    "rule.purposes",
    "rule.actions",
    "rule.categories",
    "rule.record_ids",
    "rule.labels",
    "rule.max_uses",
    "rule.delegable",
    "rule.parent_grant_id",
    "rule.kind",
    "rule.to",
];
const WITH_KEY: &[&str] = &[
    "register_practitioner",
    "update_practitioner",
    "register_patient",
    "register_device",
    "add_representation",
    "take_over",
    "rotate_key",
    "start_recovery",
    "create_guest_link",
];
const WITH_DOCUMENT: &[&str] = &[
    "link_care",
    "unlink_care",
    "take_over",
    "mark_deceased",
    "erase_patient",
    "revoke_representation",
    "revoke_grant",
    "set_opt_out",
    "reject_access_request",
    "acknowledge_notice",
    "erase_record",
    "approve_report",
    "request_changes",
    "create_guest_link",
];
const OF_PATIENT: &[&str] = &[
    "register_record",
    "create_grant",
    "revoke_grant",
    "set_opt_out",
    "request_access",
    "approve_access_request",
    "reject_access_request",
    "review_override",
    "acknowledge_notice",
    "link_care",
    "unlink_care",
    "take_over",
    "mark_deceased",
    "erase_patient",
    "revoke_representation",
    "create_guest_link",
    "start_recovery",
    "finish_recovery",
];
const OF_RECORD: &[&str] = &[
    "supersede_record",
    "mark_entered_in_error",
    "erase_record",
    "set_retention",
    "submit_report",
    "approve_report",
    "request_changes",
    "withdraw_report",
    "anchor_unreviewed",
];

/// The field of `call` that its refusal is about, by its path in the call's message; none where it is about no field, or
/// where the call does not tell about which.
#[must_use]
pub fn field_of(refusal: Refusal, call: &Call) -> Option<&'static str> {
    let about = |(of, calls, _): &&Row| *of == refusal && calls.contains(&call.name());
    let (_, _, fields) = FIELDS.iter().find(about)?;
    match fields {
        [one] => Some(one),
        several => at_fault(refusal, call).filter(|field| several.contains(field)),
    }
}

/// Which of several fields, in the order in which the contracts look at them.
fn at_fault(refusal: Refusal, call: &Call) -> Option<&'static str> {
    match (refusal, call) {
        (R::InvalidField, call) => invalid(call),
        (R::PatientUnknown, Call::AddRepresentation(call)) => match call.person {
            Person::Patient(_) => None, // either of the two
            Person::Practitioner(..) | Person::Representative(_) => Some("patient_id"),
        },
        (R::BadPeriod, Call::CreateGrant(call)) => reversed(&call.rule),
        (R::BadPeriod, Call::ApproveAccessRequest(call)) => reversed(&call.rule),
        (R::BadPeriod, Call::RequestAccess(call)) => reversed(&call.rule).or(Some("expires_ms")),
        (R::BadPeriod, Call::CreateGuestLink(call)) => {
            Some(if call.max_uses == 0 { "max_uses" } else { "until_ms" })
        }
        (R::BadPeriod, Call::AddRepresentation(call)) => bad_representation(call),
        (R::AuthElementMissing, Call::CreateGrant(call)) => Some(lacking(&call.rule)),
        (R::AuthElementMissing, Call::ApproveAccessRequest(call)) => Some(lacking(&call.rule)),
        (R::DelegationDepth, Call::CreateGrant(call)) => {
            Some(if call.rule.delegable { "rule.delegable" } else { "rule.parent_grant_id" })
        }
        (R::Unknown, Call::Propose(call)) => Some(match call.action {
            ProposalAction::ChangeValidators { .. } => "action.change_validators.remove",
            ProposalAction::SetConstant { .. }
            | ProposalAction::SetStudy { .. }
            | ProposalAction::SetEnrolment { .. }
            | ProposalAction::SetParams { .. } => "action.set_enrolment.study_id",
        }),
        (R::RepEvidenceMissing, Call::AddRepresentation(call)) => Some(match call {
            AddRepresentation { evidence: Hash::ZERO, .. } => "evidence",
            AddRepresentation { until: None, .. } => "until_ms",
            AddRepresentation { .. } => "minor_privacy_from_ms",
        }),
        _ => None,
    }
}

/// A parent's representation is about two times that depend on each other and on policy.
fn bad_representation(call: &AddRepresentation) -> Option<&'static str> {
    let reversed = call.from.zip(call.until).is_some_and(|(from, until)| until <= from);
    let after_majority = call.minor_privacy_from.zip(call.until).is_some_and(|(from, until)| from > until);
    if call.kind != RepresentationKind::Parent || reversed {
        Some("until_ms")
    } else {
        after_majority.then_some("minor_privacy_from_ms")
    }
}

/// What an authorization lacks: 45 CFR 164.508 outside treatment, payment and operations; else the document.
fn lacking(rule: &Rule) -> &'static str {
    let ordinary = |purpose: &Purpose| {
        [Purpose::Treat, Purpose::Hpaymt, Purpose::Hoperat].iter().any(|root| purpose.is_within(*root))
    };
    let plain = matches!(&rule.purposes, Purposes::Only(purposes) if purposes.iter().all(ordinary));
    match rule {
        // A denial needs none; whoever attests it, the document.
        _ if plain || rule.kind == GrantKind::Deny => "rule.document_hash",
        Rule { to: Grantee::Any, .. } => "rule.to",
        Rule { until: None, .. } => "rule.until_ms",
        Rule { policy: None, .. } => "rule.policy_hash",
        Rule { .. } => "rule.document_hash",
    }
}

fn reversed(rule: &Rule) -> Option<&'static str> {
    if rule.from.zip(rule.until).is_some_and(|(from, until)| from >= until) {
        return Some("rule.until_ms");
    }
    let data =
        |DataPeriod { from, until }: DataPeriod| from.zip(until).is_some_and(|(from, until)| from >= until);
    rule.data_period.is_some_and(data).then_some("rule.data_period")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other calls have one such field or none")]
fn invalid(call: &Call) -> Option<&'static str> {
    match call {
        Call::RegisterOrganisation(call) => Some(invalid_admins(call)),
        Call::RegisterPractitioner(call) => Some(invalid_roles(&call.roles, &call.capabilities)),
        Call::UpdatePractitioner(call) => Some(invalid_roles(&call.roles, &call.capabilities)),
        Call::RegisterRecord(call) => {
            Some(if ascend(&call.labels) && !is_size(call.size_class) { "size_class" } else { "labels" })
        }
        Call::DraftReport(call) => {
            let labels = ascend(&call.record.labels);
            Some(if labels && !is_size(call.record.size_class) {
                "record.size_class"
            } else {
                "record.labels"
            })
        }
        Call::SupersedeRecord(call) => Some(if ascend(&call.labels) && !is_size(call.body.size_class) {
            "body.size_class"
        } else {
            "labels"
        }),
        Call::SubmitReport(call) => {
            Some(if is_size(call.body.size_class) { "viewers" } else { "body.size_class" })
        }
        Call::AddRepresentation(call) => {
            let privacy = call.kind != RepresentationKind::Parent && call.minor_privacy_from.is_some();
            Some(match () {
                () if !distinct(&call.categories) => "categories",
                () if privacy => "minor_privacy_from_ms",
                () => "public_key",
            })
        }
        Call::SetGuardians(SetGuardians { guardians, .. }) => {
            let fine = distinct(guardians) && (2..=MAX_GUARDIANS).contains(&guardians.len());
            Some(if fine { "threshold" } else { "guardians" })
        }
        Call::CreateGrant(call) => invalid_rule(&call.rule),
        Call::ApproveAccessRequest(call) => invalid_rule(&call.rule),
        Call::RequestAccess(call) => invalid_rule(&call.rule).or(Some(match &call.rule {
            Rule { kind: GrantKind::Deny, .. } => "rule.kind",
            Rule { parent: Some(_), .. } => "rule.parent_grant_id",
            Rule { .. } => "rule.to",
        })),
        Call::Propose(call) => match &call.action {
            ProposalAction::SetConstant { .. } => Some("action.set_constant.value"),
            ProposalAction::SetStudy { .. } => Some("action.set_study.team"),
            ProposalAction::SetParams { .. } => Some("action.set_params.params"),
            ProposalAction::ChangeValidators { add: Some(_), .. } => Some("action.change_validators.add"),
            ProposalAction::ChangeValidators { add: None, .. } => Some("action.change_validators.remove"),
            ProposalAction::SetEnrolment { .. } => None,
        },
        _ => None,
    }
}

fn invalid_admins(call: &RegisterOrganisation) -> &'static str {
    let admins = call.admins.len();
    let count = (1..=super::MAX_ADMINS).contains(&admins);
    let threshold = (1..=admins).contains(&usize::from(call.admin_threshold));
    if count && !threshold { "admin_threshold" } else { "admins" }
}

fn invalid_roles(roles: &[Role], capabilities: &[Capability]) -> &'static str {
    if distinct(roles) && !distinct(capabilities) { "capabilities" } else { "roles" }
}

fn invalid_rule(rule: &Rule) -> Option<&'static str> {
    let purposes: &[Purpose] = if let Purposes::Only(purposes) = &rule.purposes { purposes } else { &[] };
    let labels: &[Label] = if let Labels::Only(labels) = &rule.labels { labels } else { &[] };
    let permit = rule.kind == GrantKind::Permit;
    Some(match () {
        () if !distinct(purposes) => "rule.purposes",
        () if !distinct(&rule.actions) || rule.actions.is_empty() => "rule.actions",
        () if !distinct(&rule.categories) => "rule.categories",
        () if !distinct(&rule.records) => "rule.record_ids",
        () if !distinct(labels) => "rule.labels",
        () if rule.max_uses.is_some_and(|most| !permit || most == 0) => "rule.max_uses",
        () if !permit && rule.delegable => "rule.delegable",
        () if !permit && rule.parent.is_some() => "rule.parent_grant_id",
        () => return None,
    })
}

const fn is_size(class: u8) -> bool {
    class >= 12 && class <= 40
}

fn ascend(labels: &[Label]) -> bool {
    labels.is_sorted_by(|a, b| a < b)
}

/// Nothing twice, and not too much of it.
fn distinct<T: PartialEq>(list: &[T]) -> bool {
    list.len() <= MAX_LIST
        && (1..).zip(list).all(|(next, item)| !list.iter().skip(next).any(|other| other == item))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About the sender, the time or the state as a whole, or the transaction around the call.
    const ABOUT_NO_FIELD: [Refusal; 27] = [
        R::Duplicate,
        R::Expired,
        R::IdempotencyMismatch,
        R::Malformed,
        R::UnknownSigner,
        R::SenderNotSigner,
        R::SignatureMissing,
        R::NotAuthorised,
        R::OrgInactive,
        R::WriteDenied,
        R::NotGrantor,
        R::TooManyGrants,
        R::TooManyDenials,
        R::BadState,
        R::TooEarly,
        R::TooLate,
        R::RetentionHold,
        R::RecordsRemain,
        R::RequestExpired,
        R::ReviewSelf,
        R::ReviewTwice,
        R::ViewerSetChanged,
        R::RecoveryDelay,
        R::GuardianUnknown,
        R::GuardianOrgMajority,
        R::VoteTwice,
        R::ChangePending,
    ];

    #[test]
    fn every_refusal_is_about_some_field_or_known_to_be_about_none() {
        for refusal in Refusal::ALL {
            let fields = FIELDS.iter().any(|(of, ..)| of == refusal);
            assert_ne!(fields, ABOUT_NO_FIELD.contains(refusal), "{refusal}");
        }
        for (at, (refusal, calls, fields)) in FIELDS.iter().enumerate() {
            assert!(!fields.is_empty(), "{refusal}");
            let twice = |call: &&&str| {
                FIELDS.iter().skip(at + 1).any(|(of, others, _)| of == refusal && others.contains(call))
            };
            assert_eq!(calls.iter().find(twice), None, "{refusal}: one row for a call");
        }
    }

    #[test]
    fn a_list_is_distinct_unless_something_comes_twice() {
        assert!(distinct::<u8>(&[]) && distinct(&[1]) && distinct(&[1, 2, 3]));
        assert!(!distinct(&[1, 2, 1]) && !distinct(&[1, 2, 2]));
        let long: Vec<usize> = (0..=MAX_LIST).collect();
        assert!(distinct(&long[1..]) && !distinct(&long));
    }
}
