//! Grants against denials: what one rule matches, and which of several prevails.
//!
//! A permit beats a matching denial only if it is at least as narrow in subject, purpose and data, and strictly
//! narrower in one; otherwise the denial wins. A record opens only if *every* label on it is named by the
//! permit; `*` never opens 42 CFR Part 2 or psychotherapy notes. The order of rules never matters.

use core::cmp::Reverse;

use epione_types::TimestampMs;
use epione_types::call::{GrantKind, Grantee, Labels, Purposes, Rule};
use epione_types::codes::{Label, Purpose, Reason, Role};

use super::decide::Request;
use crate::consent::Grant;
use crate::identity::Member;
use crate::records::Record;

/// One question to the patient's rules.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) record: &'a Record,
    pub(super) rules: &'a [Grant],
    pub(super) now: TimestampMs,
}

/// What the rules answer.
pub(super) enum Evaluation<'a> {
    /// This grant permits.
    Permit(&'a Grant),
    /// No grant does: DENY_EXPLICIT, DENY_NO_GRANT, or the check at which the nearest one failed.
    Deny(Reason),
}

/// The checks of a permit, in order: the nearest miss is the permit whose first failing check is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    Scope,
    Action,
    Purpose,
    Labels,
    NotYetValid,
    Revoked,
    Expired,
    UsesExhausted,
    ParentInvalid,
}

impl Check {
    const fn reason(self) -> Reason {
        match self {
            Self::Scope => Reason::DenyOutOfScope,
            Self::Action => Reason::DenyAction,
            Self::Purpose => Reason::DenyPurpose,
            Self::Labels => Reason::DenySensitivity,
            Self::NotYetValid => Reason::DenyNotYetValid,
            Self::Revoked => Reason::DenyRevoked,
            Self::Expired => Reason::DenyExpired,
            Self::UsesExhausted => Reason::DenyUsesExhausted,
            Self::ParentInvalid => Reason::DenyParentInvalid,
        }
    }
}

/// A rule that applies, with its narrowness in subject (0 everybody to 3 one person) and purpose (0 `*` to 3).
#[derive(Clone, Copy)]
struct Match<'a> {
    grant: &'a Grant,
    subject: u8,
    purpose: u8,
}

impl<'a> Asked<'a> {
    /// Precedence among the rules that `considered` lets through.
    pub(super) fn evaluate(&self, considered: impl Fn(&Grant) -> bool) -> Evaluation<'a> {
        let (mut permits, mut denials, mut nearest_miss) = (Vec::new(), Vec::new(), None);
        for grant in self.rules.iter().filter(|grant| considered(grant)) {
            let Some(subject) = subject_rank(self.request, &grant.rule) else { continue };
            match (grant.rule.kind, self.applies(grant)) {
                (GrantKind::Permit, Ok(purpose)) => permits.push(Match { grant, subject, purpose }),
                (GrantKind::Deny, Ok(purpose)) => denials.push(Match { grant, subject, purpose }),
                (GrantKind::Permit, Err(check)) => nearest_miss = nearest_miss.max(Some(check)),
                (GrantKind::Deny, Err(_)) => {}
            }
        }
        permits.sort_by_cached_key(|permit| {
            let limited = permit.grant.rule.max_uses.is_some();
            let narrowness = (self.data_rank(&permit.grant.rule), permit.subject, permit.purpose);
            (Reverse(narrowness), limited, permit.grant.id)
        });
        let prevails = |permit: &&Match<'_>| denials.iter().all(|denial| self.dominates(permit, denial));
        let narrowest = permits.iter().find(prevails);
        match narrowest {
            Some(permit) => Evaluation::Permit(permit.grant),
            None if !denials.is_empty() => Evaluation::Deny(Reason::DenyExplicit),
            None => Evaluation::Deny(nearest_miss.map_or(Reason::DenyNoGrant, Check::reason)),
        }
    }

    /// The live denials that match, dominated or not.
    pub(super) fn denials(&self) -> impl Iterator<Item = &'a Grant> {
        let matching = |grant: &&Grant| {
            grant.rule.kind == GrantKind::Deny
                && subject_rank(self.request, &grant.rule).is_some()
                && self.applies(grant).is_ok()
        };
        self.rules.iter().filter(matching)
    }

    /// All checks but the subject's; the purpose's rank, or the first check that fails.
    fn applies(&self, grant: &Grant) -> Result<u8, Check> {
        let rule = &grant.rule;
        let pass = |condition: bool, check| if condition { Ok(()) } else { Err(check) };
        pass(self.in_scope(rule), Check::Scope)?;
        pass(rule.actions.contains(&self.request.action), Check::Action)?;
        let purpose = purpose_rank(rule, self.request.purpose).ok_or(Check::Purpose)?;
        pass(rule.kind == GrantKind::Deny || self.unlocks(rule), Check::Labels)?;
        lives(grant, self.now)?;
        // A denial stands by itself: were there one with a parent, the parent's end must not open anything.
        pass(rule.kind == GrantKind::Deny || self.parent_lives(rule), Check::ParentInvalid)?;
        Ok(purpose)
    }

    fn in_scope(&self, rule: &Rule) -> bool {
        let record = self.record;
        (rule.records.is_empty() || rule.records.contains(&record.id))
            && (rule.categories.is_empty() || rule.categories.contains(&record.category))
            && rule.data_period.is_none_or(|period| period.contains(record.service_month))
            && (rule.kind == GrantKind::Permit
                || !names_labels(rule)
                || record.labels.iter().any(|label| hits(rule, *label)))
    }

    fn unlocks(&self, rule: &Rule) -> bool {
        let wildcard = rule.labels == Labels::Any;
        self.record.labels.iter().all(|label| names(rule, *label) || (wildcard && !label.is_strict()))
    }

    fn parent_lives(&self, rule: &Rule) -> bool {
        let Some(id) = rule.parent else { return true };
        let parent = self.rules.iter().find(|grant| grant.id == id);
        parent.is_some_and(|parent| {
            parent.rule.delegable && parent.rule.parent.is_none() && lives(parent, self.now).is_ok()
        })
    }

    /// The permit is at least as narrow as the denial in everything, and narrower in something.
    fn dominates(&self, permit: &Match<'_>, denial: &Match<'_>) -> bool {
        let (p, d) = (&permit.grant.rule, &denial.grant.rule);
        let (p_restricted, d_restricted) = (is_restricted(p), is_restricted(d));
        let (p_records, d_records) = (!p.records.is_empty(), !d.records.is_empty());
        let labels = || self.record.labels.iter().all(|label| !hits(d, *label) || names(p, *label));
        let data = p_records || (!d_records && labels() && (!d_restricted || p_restricted));
        // Labels never make a permit narrower: naming one more opens more.
        let strictly = permit.subject > denial.subject
            || permit.purpose > denial.purpose
            || (p_records && !d_records)
            || (p_restricted && !d_restricted);
        permit.subject >= denial.subject && permit.purpose >= denial.purpose && data && strictly
    }

    fn data_rank(&self, rule: &Rule) -> u8 {
        if !rule.records.is_empty() {
            3
        } else if self.record.labels.iter().any(|label| names(rule, *label)) {
            2
        } else {
            u8::from(is_restricted(rule))
        }
    }
}

/// How narrowly the rule names the requester; none if it does not.
pub(crate) fn subject_rank(request: &Request, rule: &Rule) -> Option<u8> {
    let &Request { who, role, purpose, study, link, .. } = request;
    let research = purpose.is_within(Purpose::Hresch);
    let (matches, rank) = match rule.to {
        Grantee::Any => (true, 0),
        Grantee::Org(organisation) => (who.organisation() == Some(organisation), 1),
        Grantee::Role(organisation, named) => (who.organisation() == Some(organisation) && role == named, 2),
        Grantee::Person(person) => (who.person() == Some(person), 3),
        // Only research has shown that the requester is on the team.
        Grantee::Study(named) => (research && study == Some(named), 3),
        Grantee::Guest(named) => (who == Member::Guest(named) && link == Some(named), 3),
    };
    // A guest link opens what it names; the patient's other rules do not speak of guests.
    let guest = (role == Role::Guest) == matches!(rule.to, Grantee::Guest(_));
    // Nothing but a study's own grant opens research.
    let study = !research || rule.kind == GrantKind::Deny || matches!(rule.to, Grantee::Study(_));
    (matches && guest && study).then_some(rank)
}

/// Is the rule in force at `now`? Its parent apart.
pub(crate) fn lives(grant: &Grant, now: TimestampMs) -> Result<(), Check> {
    let rule = &grant.rule;
    if rule.from.is_some_and(|from| now < from) {
        Err(Check::NotYetValid)
    } else if grant.revoked.is_some_and(|revoked| now >= revoked.at) {
        Err(Check::Revoked)
    } else if rule.until.is_some_and(|until| now >= until) {
        Err(Check::Expired)
    } else if rule.max_uses.is_some_and(|most| grant.uses >= most) {
        Err(Check::UsesExhausted)
    } else {
        Ok(())
    }
}

/// How narrowly the rule names the purpose: its depth or its ancestor's; none if it does not.
fn purpose_rank(rule: &Rule, asked: Purpose) -> Option<u8> {
    match &rule.purposes {
        Purposes::All => (rule.kind == GrantKind::Deny).then_some(0),
        Purposes::Only(purposes) => {
            // Fraud detection is permitted by its own name alone, though it descends from operations.
            let by_name = rule.kind == GrantKind::Permit && asked == Purpose::Fraud;
            let names = |named: &&Purpose| **named == asked || (!by_name && asked.is_within(**named));
            purposes.iter().filter(names).map(|named| named.depth()).max()
        }
    }
}

/// By category or period of the data.
const fn is_restricted(rule: &Rule) -> bool {
    !rule.categories.is_empty() || rule.data_period.is_some()
}

fn names_labels(rule: &Rule) -> bool {
    rule.labels != Labels::Only(Vec::new())
}

/// The label itself, or one above it, stands in the rule. `*` names nothing.
fn names(rule: &Rule, label: Label) -> bool {
    match &rule.labels {
        Labels::Any => false,
        Labels::Only(labels) => labels.iter().any(|named| label.is_within(*named)),
    }
}

/// What a denial's labels hit; `*` hits every label.
fn hits(denial: &Rule, label: Label) -> bool {
    denial.labels == Labels::Any || names(denial, label)
}
