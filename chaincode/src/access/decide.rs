//! The access decision: one pure function of the facts, the request and the time.
//!
//! It reads like the specification, step numbers included, and ends at the first step that decides:
//!
//! ```text
//!  1 the record            5 the representative       9 the patient's grants and denials
//!  2 who asks              6 drafts                  10 what needs no grant
//!  3 role and purpose      7 public health mandates  11 emergency
//!  4 the patient           8 research                12 the reason of step 9
//! ```
//!
//! Nothing is permitted that no step permits. Every output carries AUDIT. All periods are half open.
//! A broken reference is a denial, never "not applicable".
//! Tested by `tests/decision_table.rs` (one row per case) and `tests/decision_properties.rs` (seven properties by generation).

use epione_types::TimestampMs;
use epione_types::call::{Emergency, Grantee, Purposes, RecordAccess};
use epione_types::codes::{
    Action, Capability, Category, Decision, Label, Obligation, OrganisationKind, Purpose, Reason, Role,
};
use epione_types::genesis::Policy;
use epione_types::id::{GrantId, LinkId, OpaqueRef, PatientId, StudyId};

use super::rules::{Asked, Evaluation};
use crate::access;
use crate::consent::{self, Grant};
use crate::host::{State, StateError, get};
use crate::identity::{
    Member, Organisation, Patient, PatientStatus, Practitioner, Representation, RepresentationKind,
    is_clinician,
};
use crate::keys;
use crate::records::{Record, RecordStatus};
use crate::research::{Enrolment, EnrolmentStatus, Study, StudyStatus};

/// Labels that a minor may keep from a parent, with their descendants.
pub const MINOR_SENSITIVE: [Label; 9] = [
    Label::Sex,
    Label::Std,
    Label::Hiv,
    Label::Sud,
    Label::Psy,
    Label::Mh,
    Label::Bh,
    Label::Sdv,
    Label::Part2,
];

/// Who asks for what. The record is among the [`Facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub who: Member,
    /// In which capacity.
    pub role: Role,
    /// Doing what.
    pub action: Action,
    /// For what.
    pub purpose: Purpose,
    /// The study, for research.
    pub study: Option<StudyId>,
    /// The guest link, for guests.
    pub link: Option<LinkId>,
    /// The mandate, for public health.
    pub mandate: Option<OpaqueRef>,
    /// The emergency, for BTG.
    pub emergency: Option<Emergency>,
}

impl Request {
    /// A request without study, link, mandate or emergency.
    #[must_use]
    pub const fn new(who: Member, role: Role, action: Action, purpose: Purpose) -> Self {
        Self { who, role, action, purpose, study: None, link: None, mandate: None, emergency: None }
    }

    /// The request of a call by `who`.
    #[must_use]
    pub const fn of(who: Member, call: &RecordAccess) -> Self {
        Self {
            who,
            role: call.role,
            action: call.action,
            purpose: call.purpose,
            study: call.study,
            link: call.link,
            mandate: call.mandate,
            emergency: call.emergency,
        }
    }
}

/// All that a decision depends on, beside the request and the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The record, or the one to be written.
    pub record: Option<Record>,
    /// Its patient.
    pub patient: Option<Patient>,
    /// The requester's organisation.
    pub organisation: Option<Organisation>,
    /// The requester as its practitioner.
    pub practitioner: Option<Practitioner>,
    /// The requester as the patient's representative.
    pub representation: Option<Representation>,
    /// The patient's grants and denials, in any order.
    pub rules: Vec<Grant>,
    /// The study named in the request.
    pub study: Option<Study>,
    /// The patient's part in it.
    pub enrolment: Option<Enrolment>,
    /// End of the requester's open override for this patient, exclusive.
    pub override_until: Option<TimestampMs>,
    /// Has the requester as many overdue reviews as suspend emergency access?
    pub reviews_overdue: bool,
}

impl Facts {
    /// Reads from the state what this request's decision depends on, and no more.
    ///
    /// # Errors
    /// The store failed.
    pub fn load(
        state: &dyn State,
        request: &Request,
        record: Option<Record>,
        policy: &Policy,
        now: TimestampMs,
    ) -> Result<Self, StateError> {
        let patient = record.as_ref().map(|record| record.patient);
        let facts = Self::about(state, request, patient, policy, now)?;
        Ok(Self { record, ..facts })
    }

    /// The same of any record of the patient.
    pub(crate) fn about(
        state: &dyn State,
        request: &Request,
        patient: Option<PatientId>,
        policy: &Policy,
        now: TimestampMs,
    ) -> Result<Self, StateError> {
        let mut facts = Self::default();
        if let Member::Practitioner(organisation, id) = request.who {
            facts.organisation = get(state, &keys::organisation(organisation))?;
            facts.practitioner = get(state, &keys::practitioner(organisation, id))?;
        }
        if let Some(study) = request.study {
            facts.study = get(state, &keys::study(study))?;
        }
        if let (Purpose::Btg, Member::Practitioner(organisation, practitioner)) =
            (request.purpose, request.who)
        {
            let who = (organisation, practitioner);
            facts.reviews_overdue = access::reviews_overdue(state, who, policy, now)?;
        }
        let Some(id) = patient else { return Ok(facts) };
        facts.patient = get(state, &keys::patient(id))?;
        if let Some(patient) = facts.patient.as_ref().filter(|_| request.role != Role::Patient) {
            facts.rules = consent::rules(state, id, patient)?;
        }
        if let Some(person) = request.who.person().filter(|_| request.role == Role::Representative) {
            facts.representation = get(state, &keys::representation(id, person))?;
        }
        if let Some(study) = request.study {
            facts.enrolment = get(state, &keys::enrolment(study, id))?;
        }
        if let (Purpose::Btg, Member::Practitioner(organisation, practitioner)) =
            (request.purpose, request.who)
        {
            let who = (organisation, practitioner);
            facts.override_until = access::override_until(state, id, who)?;
        }
        Ok(facts)
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Permit or deny.
    pub decision: Decision,
    /// The precise reason: for the patient, the custodian and the audit, not for the requester.
    pub reason: Reason,
    /// The grant that permits, if one does.
    pub grant: Option<GrantId>,
    /// Duties, ascending; AUDIT always.
    pub obligations: Vec<Obligation>,
}

/// A permit on its way out.
struct Permit {
    reason: Reason,
    grant: Option<GrantId>,
    duties: Vec<Obligation>,
}

impl Permit {
    const fn because(reason: Reason) -> Self {
        Self { reason, grant: None, duties: Vec::new() }
    }

    fn with(mut self, duties: &[Obligation]) -> Self {
        self.duties.extend(duties);
        self
    }
}

/// Permit or deny, why, and with which duties.
#[must_use]
pub fn decide(facts: &Facts, request: &Request, now: TimestampMs) -> Decided {
    decide_on(facts.record.as_ref(), facts, request, now)
}

/// The same for any record of the patient whom the facts are about.
pub(crate) fn decide_on(
    record: Option<&Record>,
    facts: &Facts,
    request: &Request,
    now: TimestampMs,
) -> Decided {
    let (decision, reason, grant, mut obligations) = match permit(record, facts, request, now) {
        Ok(permit) => (Decision::Permit, permit.reason, permit.grant, permit.duties),
        Err(reason) => (Decision::Deny, reason, None, Vec::new()),
    };
    obligations.push(Obligation::Audit);
    obligations.sort_unstable();
    obligations.dedup();
    Decided { decision, reason, grant, obligations }
}

/// What the requester is told of a decision: no more than concerns themselves, and of a record that is not there what they
/// would be told of somebody's plain one. A reason of step 2 or later would else tell hidden from absent.
#[must_use]
pub fn told(facts: &Facts, request: &Request, now: TimestampMs, decided: &Decided) -> Reason {
    let public = decided.reason.public();
    if public != Reason::AccessDenied {
        return public;
    }
    let hidden = match &facts.record {
        // The order of the steps tells too: a draft is refused before the requester's own grounds are looked at.
        Some(_) if !matches!(request.who, Member::Practitioner(..)) => {
            let Some(erased) = facts.record.clone().filter(|_| decided.reason == Reason::DenyRecordErased)
            else {
                return public;
            };
            decide_on(Some(&Record { status: RecordStatus::Active, ..erased }), facts, request, now)
        }
        Some(_) | None => {
            let nobodys = Facts {
                patient: Some(Patient::nobody()),
                organisation: facts.organisation.clone(),
                practitioner: facts.practitioner.clone(),
                study: facts.study.clone(),
                reviews_overdue: facts.reviews_overdue,
                ..Facts::default()
            };
            decide_on(Some(&Record::nobodys()), &nobodys, request, now)
        }
    };
    match hidden.decision {
        Decision::Permit => Reason::AccessDenied,
        Decision::Deny => hidden.reason.public(),
    }
}

fn permit(
    record: Option<&Record>,
    facts: &Facts,
    request: &Request,
    now: TimestampMs,
) -> Result<Permit, Reason> {
    let &Request { who, role, action, purpose, .. } = request;

    // 1 the record
    let record = record.ok_or(Reason::DenyNoSuchRecord)?;
    deny_if(record.status == RecordStatus::Erased, Reason::DenyRecordErased)?;
    let patient = facts.patient.as_ref().ok_or(Reason::DenyBadRequest)?;

    // 2 who asks
    if !matches!(role, Role::Patient | Role::Representative | Role::Guest) {
        let Member::Practitioner(..) = who else { return Err(Reason::DenyIdentity) };
        let organisation = facts.organisation.as_ref().filter(|it| it.is_active());
        organisation.ok_or(Reason::DenyOrgInactive)?;
        let practitioner = facts.practitioner.as_ref().filter(|it| it.acts_as(role));
        let practitioner = practitioner.ok_or(Reason::DenyIdentity)?;
        deny_unless(practitioner.is_credentialed(now), Reason::DenyCredential)?;
    }

    // 3 role and purpose
    deny_if(purpose == Purpose::Hmarkt, Reason::DenyPurposeProhibited)?;
    deny_unless(role_serves(role, purpose), Reason::DenyRolePurpose)?;
    deny_unless(role_may(role, action), Reason::DenyRoleAction)?;
    deny_if(purpose == Purpose::Btg && action != Action::Read, Reason::DenyRoleAction)?;

    // 4 the patient
    if role == Role::Patient {
        let is_subject = who == Member::Patient(record.patient) && patient.status == PatientStatus::Active;
        deny_unless(is_subject, Reason::DenyNotSubject)?;
        deny_if(record.is_psychotherapy_note(), Reason::DenyPsyThPn)?;
        return Ok(Permit::because(Reason::PermitSubject));
    }

    let asked = Asked::new(request, record, &facts.rules, now);

    // 5 the representative
    if role == Role::Representative {
        return permit_representative(facts, &asked);
    }

    // 6 drafts: the author works on them, the patient left in step 4
    let is_author = who == Member::Practitioner(record.custodian, record.author);
    if record.status == RecordStatus::Draft {
        deny_unless(is_author && purpose.is_within(Purpose::Treat), Reason::DenyDraft)?;
    }

    // 7 public health mandates: the patient's denials do not stop a mandated report
    if role == Role::PublicHealth {
        return permit_mandated(facts, request, record);
    }

    // 8 research
    if purpose.is_within(Purpose::Hresch) {
        let approved = |it: &&Study| it.status == StudyStatus::Approved && now < it.approved_until;
        let study = facts.study.as_ref().filter(approved).ok_or(Reason::DenyStudyInactive)?;
        let on_team = study.team.iter().any(|&(org, id)| who == Member::Practitioner(org, id));
        deny_unless(on_team, Reason::DenyNotOnStudy)?;
        let enrolled = facts.enrolment.is_some_and(|it| it.status == EnrolmentStatus::Active);
        deny_unless(enrolled, Reason::DenyNotEnrolled)?;
    }

    // 9 the patient's grants and denials
    let refused = match asked.evaluate(|_| true) {
        Evaluation::Permit(grant) => return Ok(permit_grant(grant, request, record)),
        Evaluation::Deny(reason) => reason,
    };

    // 10 what needs no grant: nothing against the patient's denial
    if refused != Reason::DenyExplicit
        && let Some(reason) = implicit_permit(request, record, patient, is_author)
    {
        return Ok(Permit::because(reason));
    }

    // 11 emergency
    if purpose == Purpose::Btg {
        return permit_emergency(facts, &asked);
    }

    // 12 the reason of step 9
    Err(refused)
}

/// Step 3: which purposes a role serves, by their roots. HL7's FRAUD lies under HOPERAT: it is named apart.
pub(crate) const fn roots_of(role: Role) -> &'static [Purpose] {
    match role {
        Role::Physician | Role::Nurse | Role::Pharmacist | Role::Lab => &[Purpose::Treat],
        Role::Billing => &[Purpose::Hpaymt],
        Role::InsurerReviewer => &[Purpose::Hpaymt, Purpose::Fraud],
        Role::Registrar | Role::PrivacyOfficer => &[Purpose::Hoperat],
        Role::Auditor => &[Purpose::Hoperat, Purpose::Fraud],
        Role::Researcher => &[Purpose::Hresch],
        Role::PublicHealth => &[Purpose::PubHlth],
        Role::Patient | Role::Representative | Role::Guest => &[Purpose::PatRqt],
    }
}

fn role_serves(role: Role, purpose: Purpose) -> bool {
    let roots = roots_of(role);
    if purpose == Purpose::Fraud {
        return roots.contains(&Purpose::Fraud);
    }
    roots.iter().any(|root| purpose.is_within(*root))
}

/// Step 3: what a role may do.
const fn role_may(role: Role, action: Action) -> bool {
    match role {
        Role::Physician | Role::Nurse | Role::Pharmacist | Role::Lab => {
            matches!(action, Action::Read | Action::Write | Action::Disclose)
        }
        Role::Billing | Role::Patient | Role::Representative => {
            matches!(action, Action::Read | Action::Disclose)
        }
        Role::Researcher | Role::PublicHealth => matches!(action, Action::Read | Action::DeidRead),
        Role::InsurerReviewer | Role::Registrar | Role::PrivacyOfficer | Role::Auditor | Role::Guest => {
            matches!(action, Action::Read)
        }
    }
}

/// Step 5. Only rules addressed to the representative in person count: a denial to everybody does not lock out a guardian.
fn permit_representative(facts: &Facts, asked: &Asked<'_>) -> Result<Permit, Reason> {
    let (request, record, now) = (asked.request, asked.record, asked.now);
    let representation = facts.representation.as_ref().ok_or(Reason::DenyNoRepresentation)?;
    deny_unless(representation.is_active(now), Reason::DenyRepresentationLapsed)?;
    deny_if(record.is_psychotherapy_note(), Reason::DenyPsyThPn)?;
    let categories = &representation.categories;
    deny_unless(categories.is_empty() || categories.contains(&record.category), Reason::DenyOutOfScope)?;

    let in_person = request.who.person().map(Grantee::Person);
    let personal = asked.evaluate(|grant| Some(grant.rule.to) == in_person);
    if let Evaluation::Deny(Reason::DenyExplicit) = personal {
        return Err(Reason::DenyExplicit);
    }
    let minors_own = |label: &Label| MINOR_SENSITIVE.iter().any(|own| label.is_within(*own));
    let withheld = representation.kind == RepresentationKind::Parent
        && (record.minor_consented
            || (representation.minor_has_privacy(now) && record.labels.iter().any(minors_own)));
    match personal {
        Evaluation::Permit(grant) if withheld => Ok(permit_grant(grant, request, record)),
        Evaluation::Deny(_) if withheld => Err(Reason::DenyMinorPrivacy),
        Evaluation::Permit(_) | Evaluation::Deny(_) => Ok(Permit::because(Reason::PermitRepresentative)),
    }
}

/// Step 7.
fn permit_mandated(facts: &Facts, request: &Request, record: &Record) -> Result<Permit, Reason> {
    let authority = facts.organisation.as_ref().is_some_and(|it| it.kind == OrganisationKind::PublicHealth);
    deny_unless(authority, Reason::DenyIdentity)?;
    deny_if(record.is_psychotherapy_note(), Reason::DenyPsyThPn)?;
    request.mandate.ok_or(Reason::DenyNoMandate)?;
    let reportable = matches!(record.category, Category::Diagnosis | Category::Lab | Category::Immunization);
    deny_unless(reportable, Reason::DenyOutOfScope)?;
    let identified = request.action == Action::Read;
    deny_if(identified && record.has(Label::Part2), Reason::DenyPart2NoConsent)?;
    let permit =
        Permit::because(Reason::PermitMandated).with(&[Obligation::Accounting, Obligation::MinNecessary]);
    Ok(if identified { permit } else { permit.with(DEIDENTIFIED) })
}

/// Step 9: what comes with a grant's permit.
fn permit_grant(grant: &Grant, request: &Request, record: &Record) -> Permit {
    let mut permit = Permit { grant: Some(grant.id), ..Permit::because(Reason::PermitGrant) };
    let purpose = request.purpose;
    if grant.rule.max_uses.is_some() {
        permit = permit.with(&[Obligation::ConsumeUse]);
    }
    if !grant.rule.delegable {
        permit = permit.with(&[Obligation::NoRedisclose]);
    }
    if record.has(Label::Part2) && request.who.organisation() != Some(record.custodian) {
        permit = permit.with(&[Obligation::Part2Notice]);
    }
    if purpose.is_within(Purpose::Hpaymt) || purpose.is_within(Purpose::Hoperat) {
        permit = permit.with(&[Obligation::MinNecessary]);
    }
    if request.action == Action::DeidRead {
        permit = permit.with(DEIDENTIFIED);
    }
    permit
}

const DEIDENTIFIED: &[Obligation] = &[Obligation::Deidentify, Obligation::NoRelink];

/// Step 10.
fn implicit_permit(request: &Request, record: &Record, patient: &Patient, is_author: bool) -> Option<Reason> {
    let &Request { who, role, action, purpose, .. } = request;
    let organisation = who.organisation()?;
    let custodian = organisation == record.custodian;
    let treats = is_clinician(role) && purpose.is_within(Purpose::Treat);
    let permits = |condition: bool, reason| condition.then_some(reason);
    match action {
        Action::Read if record.is_psychotherapy_note() => {
            permits(custodian && treats && is_author, Reason::PermitAuthor)
        }
        Action::Read => {
            let bills = role == Role::Billing
                && purpose.is_within(Purpose::Hpaymt)
                && matches!(
                    record.category,
                    Category::Billing | Category::Encounter | Category::Demographics
                )
                && record.labels.is_empty();
            let administers = matches!(role, Role::Registrar | Role::PrivacyOfficer)
                && purpose.is_within(Purpose::Hoperat)
                && record.category == Category::Demographics;
            permits(custodian && (treats || bills || administers), Reason::PermitCustodian)
        }
        Action::Write => permits(treats && patient.is_cared_for_by(organisation), Reason::PermitCareRelation),
        Action::Disclose | Action::DeidRead => None,
    }
}

/// Step 11, reached only when steps 9 and 10 did not permit.
fn permit_emergency(facts: &Facts, asked: &Asked<'_>) -> Result<Permit, Reason> {
    let (request, record) = (asked.request, asked.record);
    deny_if(record.is_psychotherapy_note(), Reason::DenyPsyThPn)?;
    deny_if(asked.denials().any(names_emergency), Reason::DenyEmergencyRefused)?;
    let organisation = facts.organisation.as_ref().is_some_and(|it| it.break_glass);
    let capable = facts.practitioner.as_ref();
    let capable = capable.is_some_and(|it| it.capabilities.contains(&Capability::BreakGlass));
    let role = matches!(request.role, Role::Physician | Role::Nurse);
    deny_unless(organisation && role && capable, Reason::DenyBtgNotAuthorised)?;
    deny_if(facts.reviews_overdue, Reason::DenyBtgSuspended)?;
    let part2: &[Obligation] = if record.has(Label::Part2) { &[Obligation::Part2EmergencyDoc] } else { &[] };
    if facts.override_until.is_some_and(|until| asked.now < until) {
        let permit = Permit::because(Reason::PermitOverrideActive);
        return Ok(permit.with(&[Obligation::NoRedisclose]).with(part2));
    }
    let grounds = request.emergency.and_then(|it| it.text_commitment);
    grounds.ok_or(Reason::DenyBtgNoReason)?;
    Ok(Permit::because(Reason::PermitBreakGlass)
        .with(&[
            Obligation::NotifyPatient,
            Obligation::NoRedisclose,
            Obligation::OpenOverride4H,
            Obligation::Review72H,
        ])
        .with(part2))
}

/// A denial of emergency access in so many words; one of every purpose, or of treatment, is none.
fn names_emergency(denial: &Grant) -> bool {
    matches!(&denial.rule.purposes, Purposes::Only(purposes) if purposes.contains(&Purpose::Btg))
}

fn deny_if(condition: bool, reason: Reason) -> Result<(), Reason> {
    if condition { Err(reason) } else { Ok(()) }
}

fn deny_unless(condition: bool, reason: Reason) -> Result<(), Reason> {
    deny_if(!condition, reason)
}
