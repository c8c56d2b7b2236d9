//! Grants against denials: what one rule matches, and which of several prevails.
//!
//! A permit beats a matching denial only if it is at least as narrow in subject, purpose and data, and strictly
//! narrower in one; otherwise the denial wins. A record opens only if *every* label on it is named by the
//! permit; `*` never opens 42 CFR Part 2 or psychotherapy notes. The order of rules never matters.
//!
//! Time grows with the number of rules, not with its square: rules are compared by what they say ([`Breadth`]), and a
//! thousand say few different things.

use core::cell::OnceCell;
use core::cmp::Reverse;
use std::collections::BTreeSet;

use epione_types::TimestampMs;
use epione_types::call::{GrantKind, Grantee, Labels, Purposes, Rule};
use epione_types::codes::{Label, Purpose, Reason, Role};
use epione_types::id::GrantId;

use super::decide::Request;
use crate::consent::Grant;
use crate::identity::Member;
use crate::records::Record;

/// One question to the patient's rules.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) record: &'a Record,
    pub(super) now: TimestampMs,
    rules: &'a [Grant],
    /// Rules in force that may be passed on; looked for when a first sub-grant asks.
    parents: OnceCell<BTreeSet<GrantId>>,
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

/// What a rule that applies says, as far as it matters which of two is narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Breadth {
    /// 0 everybody to 3 one person.
    subject: u8,
    /// 0 `*` to 3.
    purpose: u8,
    /// It names records.
    records: bool,
    /// It names categories or a period.
    restricted: bool,
    /// Of the record's labels those that it names, a bit each: with `*`, a denial names all, a permit none.
    labels: u64,
}

const _: () = assert!(Label::ALL.len() <= u64::BITS as usize);

impl Breadth {
    /// This permit is at least as narrow as the denial in everything, and narrower in something.
    fn dominates(&self, denial: &Self) -> bool {
        let labels = denial.labels & !self.labels == 0;
        let restricted = self.restricted || !denial.restricted;
        let data = self.records || (!denial.records && restricted && labels);
        // Labels never make a permit narrower: naming one more opens more.
        let strictly = self.subject > denial.subject
            || self.purpose > denial.purpose
            || (self.records && !denial.records)
            || (self.restricted && !denial.restricted);
        self.subject >= denial.subject && self.purpose >= denial.purpose && data && strictly
    }

    /// Which of several permits is the narrowest: data first, then subject, then purpose.
    const fn narrowness(&self) -> (u8, u8, u8) {
        let data = match self {
            Self { records: true, .. } => 3,
            Self { labels: 1.., .. } => 2,
            Self { restricted: true, .. } => 1,
            Self { restricted: false, .. } => 0,
        };
        (data, self.subject, self.purpose)
    }
}

impl<'a> Asked<'a> {
    pub(super) const fn new(
        request: &'a Request,
        record: &'a Record,
        rules: &'a [Grant],
        now: TimestampMs,
    ) -> Self {
        Self { request, record, now, rules, parents: OnceCell::new() }
    }

    /// Precedence among the rules that `considered` lets through.
    pub(super) fn evaluate(&self, considered: impl Fn(&Grant) -> bool) -> Evaluation<'a> {
        let (mut permits, mut denials, mut nearest_miss) = (Vec::new(), BTreeSet::new(), None);
        for grant in self.rules.iter().filter(|grant| considered(grant)) {
            let Some(subject) = subject_rank(self.request, &grant.rule) else { continue };
            match (grant.rule.kind, self.applies(grant)) {
                (GrantKind::Permit, Ok(purpose)) => {
                    permits.push((self.breadth(grant, subject, purpose), grant))
                }
                (GrantKind::Deny, Ok(purpose)) => drop(denials.insert(self.breadth(grant, subject, purpose))),
                (GrantKind::Permit, Err(check)) => nearest_miss = nearest_miss.max(Some(check)),
                (GrantKind::Deny, Err(_)) => {}
            }
        }
        let prevails = |(permit, _): &(Breadth, _)| denials.iter().all(|denial| permit.dominates(denial));
        let narrowest = permits.into_iter().filter(prevails).min_by_key(|(permit, grant)| {
            let limited = grant.rule.max_uses.is_some();
            (Reverse(permit.narrowness()), limited, grant.id)
        });
        match narrowest {
            Some((_, permit)) => Evaluation::Permit(permit),
            None if !denials.is_empty() => Evaluation::Deny(Reason::DenyExplicit),
            None => Evaluation::Deny(nearest_miss.map_or(Reason::DenyNoGrant, Check::reason)),
        }
    }

    /// What a rule says that applies.
    fn breadth(&self, grant: &Grant, subject: u8, purpose: u8) -> Breadth {
        let rule = &grant.rule;
        let named = |label: &&Label| match rule.kind {
            GrantKind::Permit => names(rule, **label),
            GrantKind::Deny => hits(rule, **label),
        };
        Breadth {
            subject,
            purpose,
            records: !rule.records.is_empty(),
            restricted: is_restricted(rule),
            labels: self.record.labels.iter().filter(named).fold(0, |set, label| set | 1 << *label as u8),
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
        let passes_on = |grant: &&Grant| {
            grant.rule.delegable && grant.rule.parent.is_none() && lives(grant, self.now).is_ok()
        };
        let parents = || self.rules.iter().filter(passes_on).map(|grant| grant.id).collect();
        self.parents.get_or_init(parents).contains(&id)
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
