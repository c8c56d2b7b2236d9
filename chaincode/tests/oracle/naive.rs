//! The access decision once more, from the specification's pseudo-code alone and without a thought for speed: no rank is
//! kept, no list ends early. It shares nothing with the contract but the types. It stays under 150 lines.
use epione_chaincode::{Facts, Request, consent::Grant, identity::*, records::*, research::*};
use epione_types::call::{GrantKind, Grantee, Labels, Purposes, Rule};
use epione_types::codes::{Action as A, Category as C, Label as L, Obligation as Duty, Purpose as P, Role as R, *};
use epione_types::{TimestampMs, id::GrantId};
macro_rules! deny {
    ($($reason:ident if $condition:expr;)+) => { $(if $condition { return Err(Reason::$reason); })+ };
}
/// Permits if the condition holds, with the duties whose conditions hold.
macro_rules! permit {
    ($reason:ident $grant:expr, if $c:expr; $($duty:ident if $condition:expr;)*) => { if $c {
        return Ok((Reason::$reason, $grant, Vec::<Option<Duty>>::from([$(($condition).then_some(Duty::$duty)),*]).into_iter().flatten().collect()));
    } };
}
fn names(rule: &Rule, label: L) -> bool {
    matches!(&rule.labels, Labels::Only(list) if list.iter().any(|it| label.is_within(*it)))
}
fn hits(rule: &Rule, label: L) -> bool { rule.labels == Labels::Any || names(rule, label) }
fn purpose_rank(rule: &Rule, asked: P) -> Option<u8> {
    let Purposes::Only(list) = &rule.purposes else { return (rule.kind == GrantKind::Deny).then_some(0) };
    let literal = asked == P::Fraud && rule.kind == GrantKind::Permit;
    let serves = |it: &&P| if literal { **it == asked } else { asked.is_within(**it) };
    list.iter().filter(serves).map(|it| it.depth()).max()
}
fn subject_rank(rule: &Rule, q: &Request) -> Option<u8> {
    let (research, org) = (q.purpose.is_within(P::Hresch), q.who.organisation());
    let (study, guest) = (matches!(rule.to, Grantee::Study(_)), matches!(rule.to, Grantee::Guest(_)));
    let barred = (research && rule.kind == GrantKind::Permit && !study) || guest != (q.role == R::Guest);
    match rule.to {
        _ if barred => None,
        Grantee::Any => Some(0),
        Grantee::Org(it) => (org == Some(it)).then_some(1),
        Grantee::Role(it, role) => (org == Some(it) && q.role == role).then_some(2),
        Grantee::Person(it) => (q.who.person() == Some(it)).then_some(3),
        Grantee::Study(it) => (research && q.study == Some(it)).then_some(3),
        Grantee::Guest(it) => (q.who == Member::Guest(it) && q.link == Some(it)).then_some(3),
    }
}
fn lives(g: &Grant, now: TimestampMs) -> Result<(), Reason> {
    deny! {
        DenyNotYetValid if g.rule.from.is_some_and(|it| now < it); DenyRevoked if g.revoked.is_some_and(|it| now >= it.at);
        DenyExpired if g.rule.until.is_some_and(|it| now >= it);
        DenyUsesExhausted if g.rule.max_uses.is_some_and(|most| g.uses >= most);
    }
    Ok(())
}
fn applies(g: &Grant, all: &[Grant], rec: &Record, q: &Request, now: TimestampMs) -> Result<(), Reason> {
    let (r, permit) = (&g.rule, g.rule.kind == GrantKind::Permit);
    let any = |it: L| r.labels == Labels::Any && ![L::PsyThPn, L::Part2].contains(&it);
    let carries = |p: &Grant| p.rule.delegable && p.rule.parent.is_none() && lives(p, now).is_ok();
    deny! {
        DenyOutOfScope if !r.records.is_empty() && !r.records.contains(&rec.id); DenyOutOfScope if !r.categories.is_empty() && !r.categories.contains(&rec.category);
        DenyOutOfScope if r.data_period.is_some_and(|it| !it.contains(rec.service_month));
        DenyOutOfScope if !permit && r.labels != Labels::Only(vec![]) && !rec.labels.iter().any(|it| hits(r, *it));
        DenyAction if !r.actions.contains(&q.action); DenyPurpose if purpose_rank(r, q.purpose).is_none();
        DenySensitivity if permit && !rec.labels.iter().all(|it| names(r, *it) || any(*it));
    }
    lives(g, now)?;
    let carried = r.parent.is_none_or(|id| all.iter().any(|p| p.id == id && carries(p)));
    if permit && !carried { Err(Reason::DenyParentInvalid) } else { Ok(()) }
}
fn dominates(p: &Rule, d: &Rule, rec: &Record, q: &Request) -> bool {
    let (ps, ds, pr, dr) = (subject_rank(p, q), subject_rank(d, q), !p.records.is_empty(), !d.records.is_empty());
    let ([pp, dp], [pn, dn]) = ([p, d].map(|it| purpose_rank(it, q.purpose)), [p, d].map(|it| !it.categories.is_empty() || it.data_period.is_some()));
    let labels = rec.labels.iter().filter(|it| hits(d, **it)).all(|it| names(p, *it));
    let data = pr || (!dr && labels && (!dn || pn));
    ps >= ds && pp >= dp && data && (ps > ds || pp > dp || (pr && !dr) || (pn && !dn))
}
fn evaluate(f: &Facts, q: &Request, now: TimestampMs, among: impl Fn(&Rule) -> bool) -> Result<Grant, Reason> {
    let (rec, all) = (f.record.as_ref().unwrap(), &f.rules);
    let about = || all.iter().filter(|g| among(&g.rule) && subject_rank(&g.rule, q).is_some());
    let live = |kind| about().filter(move |g| g.rule.kind == kind && applies(g, all, rec, q, now).is_ok());
    let (labelled, narrow) = (|r: &Rule| rec.labels.iter().any(|it| names(r, *it)), |r: &Rule| u8::from(!r.categories.is_empty() || r.data_period.is_some()));
    let data = |r: &Rule| if !r.records.is_empty() { 3 } else if labelled(r) { 2 } else { narrow(r) };
    let prevails = |p: &&Grant| live(GrantKind::Deny).all(|d| dominates(&p.rule, &d.rule, rec, q));
    let permit = live(GrantKind::Permit).filter(prevails).max_by_key(|g| {
        let (subject, purpose) = (subject_rank(&g.rule, q), purpose_rank(&g.rule, q.purpose));
        (data(&g.rule), subject, purpose, g.rule.max_uses.is_none(), core::cmp::Reverse(g.id))
    });
    deny! { DenyExplicit if permit.is_none() && live(GrantKind::Deny).next().is_some(); }
    let near = about().filter(|g| g.rule.kind == GrantKind::Permit) // the reasons ascend as the checks do
        .filter_map(|g| applies(g, all, rec, q, now).err()).max();
    permit.cloned().ok_or(near.unwrap_or(Reason::DenyNoGrant))
}
pub(crate) fn decide(f: &Facts, q: &Request, now: TimestampMs) -> Result<(Reason, Option<GrantId>, Vec<Duty>), Reason> {
    let &Request { who, role, action, purpose, .. } = q;
    let (is, within) = (|roles: &[R]| roles.contains(&role), |root| purpose.is_within(root));
    let (deid, lay, clinic) = (action == A::DeidRead, is(&[R::Patient, R::Representative, R::Guest]), is(&[R::Physician, R::Nurse, R::Pharmacist, R::Lab]));
    let (roots, may): (&[P], &[A]) = match role {
        _ if clinic => (&[P::Treat], &[A::Read, A::Write, A::Disclose]),
        R::Billing => (&[P::Hpaymt], &[A::Read, A::Disclose]),
        R::InsurerReviewer => (&[P::Hpaymt, P::Fraud], &[A::Read]),
        R::Auditor => (&[P::Hoperat, P::Fraud], &[A::Read]),
        R::Researcher => (&[P::Hresch], &[A::Read, A::DeidRead]),
        R::PublicHealth => (&[P::PubHlth], &[A::Read, A::DeidRead]),
        R::Guest => (&[P::PatRqt], &[A::Read]),
        _ => (if lay { &[P::PatRqt] } else { &[P::Hoperat] }, if lay { &[A::Read, A::Disclose] } else { &[A::Read] }),
    };
    let serves = roots.iter().any(|it| if purpose == P::Fraud { *it == P::Fraud } else { within(*it) });
    let (org, staff, works) = (f.organisation.as_ref(), f.practitioner.as_ref(), |it: &Practitioner| it.status == PractitionerStatus::Active && it.roles.contains(&role));
    deny! {
        DenyNoSuchRecord if f.record.is_none(); DenyRecordErased if f.record.as_ref().unwrap().status == RecordStatus::Erased; DenyBadRequest if f.patient.is_none();
        DenyIdentity if !lay && !matches!(who, Member::Practitioner(..)); // 2
        DenyOrgInactive if !lay && org.is_none_or(|it| it.status != OrganisationStatus::Active); DenyIdentity if !lay && !staff.is_some_and(works);
        DenyCredential if !lay && staff.unwrap().credential_until.is_some_and(|it| now >= it);
        DenyPurposeProhibited if purpose == P::Hmarkt; DenyRolePurpose if !serves; // 3
        DenyRoleAction if !may.contains(&action) || (purpose == P::Btg && action != A::Read);
    }
    let (rec, patient, minor) = (f.record.as_ref().unwrap(), f.patient.as_ref().unwrap(), [L::Sex, L::Std, L::Hiv, L::Sud, L::Psy, L::Mh, L::Bh, L::Sdv, L::Part2]);
    let (note, part2, here, own) = (rec.labels.contains(&L::PsyThPn), rec.labels.contains(&L::Part2), who.organisation() == Some(rec.custodian), who == Member::Practitioner(rec.custodian, rec.author));
    let grant = |g: Grant| { permit! { PermitGrant Some(g.id), if true; ConsumeUse if g.rule.max_uses.is_some(); NoRedisclose if !g.rule.delegable; Part2Notice if part2 && !here;
        MinNecessary if within(P::Hpaymt) || within(P::Hoperat); Deidentify if deid; NoRelink if deid; } unreachable!() };
    deny! { DenyNotSubject if role == R::Patient && (who != Member::Patient(rec.patient) || patient.status != PatientStatus::Active); DenyPsyThPn if role == R::Patient && note; } // 4
    permit! { PermitSubject None, if role == R::Patient; }
    if role == R::Representative { // 5
        let rep = f.representation.as_ref().ok_or(Reason::DenyNoRepresentation)?;
        let over = rep.until.is_some_and(|it| now >= it) || rep.revoked_at.is_some_and(|it| now >= it);
        let personal = evaluate(f, q, now, |rule| Some(rule.to) == who.person().map(Grantee::Person));
        let age = rep.minor_privacy_from.is_some_and(|it| now >= it) && rec.labels.iter().any(|it| minor.iter().any(|own| it.is_within(*own)));
        deny! { DenyRepresentationLapsed if now < rep.from || over; DenyPsyThPn if note; DenyOutOfScope if !rep.categories.is_empty() && !rep.categories.contains(&rec.category);
            DenyExplicit if personal == Err(Reason::DenyExplicit); }
        if rep.kind == RepresentationKind::Parent && (rec.minor_consented || age) { return grant(personal.map_err(|_| Reason::DenyMinorPrivacy)?); }
        permit! { PermitRepresentative None, if true; }
    }
    deny! { DenyDraft if rec.status == RecordStatus::Draft && !(own && within(P::Treat)); } // 6
    if role == R::PublicHealth { // 7
        let reported = [C::Diagnosis, C::Lab, C::Immunization].contains(&rec.category);
        deny! { DenyIdentity if org.unwrap().kind != OrganisationKind::PublicHealth; DenyPsyThPn if note; DenyNoMandate if q.mandate.is_none(); DenyOutOfScope if !reported; DenyPart2NoConsent if !deid && part2; }
        permit! { PermitMandated None, if true; Accounting if true; MinNecessary if true; Deidentify if deid; NoRelink if deid; }
    }
    let (study, team) = (f.study.as_ref(), |it: &Study| it.team.iter().any(|&(o, p)| who == Member::Practitioner(o, p)));
    deny! { DenyStudyInactive if within(P::Hresch) && !study.is_some_and(|it| it.status == StudyStatus::Approved && now < it.approved_until); // 8
        DenyNotOnStudy if within(P::Hresch) && !study.is_some_and(team); DenyNotEnrolled if within(P::Hresch) && f.enrolment.is_none_or(|it| it.status != EnrolmentStatus::Active); }
    let reason = match evaluate(f, q, now, |_| true) { Ok(g) => return grant(g), Err(reason) => reason }; // 9
    let (treats, free) = (clinic && within(P::Treat), reason != Reason::DenyExplicit && action == A::Read && here); // 10
    let bills = role == R::Billing && within(P::Hpaymt) && [C::Billing, C::Encounter, C::Demographics].contains(&rec.category) && rec.labels.is_empty();
    let runs = is(&[R::Registrar, R::PrivacyOfficer]) && within(P::Hoperat) && rec.category == C::Demographics;
    permit! { PermitAuthor None, if free && note && treats && own; } permit! { PermitCustodian None, if free && !note && (treats || bills || runs); }
    permit! { PermitCareRelation None, if reason != Reason::DenyExplicit && action == A::Write && treats && who.organisation().is_some_and(|it| patient.care_organisations.contains(&it)); }
    if purpose != P::Btg { return Err(reason); } // 12; what follows is 11
    let named = |g: &Grant| matches!(&g.rule.purposes, Purposes::Only(list) if list.contains(&P::Btg)) && g.rule.kind == GrantKind::Deny && subject_rank(&g.rule, q).is_some() && applies(g, &f.rules, rec, q, now).is_ok();
    let able = org.unwrap().break_glass && is(&[R::Physician, R::Nurse]) && staff.unwrap().capabilities.contains(&Capability::BreakGlass);
    deny! { DenyPsyThPn if note; DenyEmergencyRefused if f.rules.iter().any(named); DenyBtgNotAuthorised if !able; DenyBtgSuspended if f.reviews_overdue; }
    permit! { PermitOverrideActive None, if f.override_until.is_some_and(|it| now < it); NoRedisclose if true; Part2EmergencyDoc if part2; }
    deny! { DenyBtgNoReason if q.emergency.and_then(|it| it.text_commitment).is_none(); } permit! { PermitBreakGlass None, if true; NotifyPatient if true; NoRedisclose if true; OpenOverride4H if true; Review72H if true; Part2EmergencyDoc if part2; }
    unreachable!()
}
