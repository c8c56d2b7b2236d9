//! What a rule must be by itself, and when one rule is within another.

use epione_types::call::{DataPeriod, GrantKind, Grantee, Labels, Person, Purposes, Rule};
use epione_types::codes::{Label, Purpose, Refusal};

use crate::host::{Done, Host, require};
use crate::{identity, keys, records};

/// What a rule must be by itself, whoever makes it.
pub(crate) fn check(host: &Host<'_, '_>, rule: &Rule) -> Done {
    let permit = rule.kind == GrantKind::Permit;
    let purposes: &[Purpose] = match &rule.purposes {
        Purposes::All => {
            require(!permit, Refusal::WildcardPurposeOnPermit)?;
            &[]
        }
        Purposes::Only(purposes) => {
            require(!purposes.is_empty(), Refusal::EmptyPurpose)?;
            purposes
        }
    };
    let labels: &[Label] = match &rule.labels {
        Labels::Any => &[],
        Labels::Only(labels) => labels,
    };
    let lists = identity::is_distinct(purposes)
        && identity::is_distinct(&rule.actions)
        && identity::is_distinct(&rule.categories)
        && identity::is_distinct(&rule.records)
        && identity::is_distinct(labels);
    require(lists && !rule.actions.is_empty(), Refusal::InvalidField)?;
    let uses = rule.max_uses.is_none_or(|most| permit && most > 0);
    let passed_on = permit || (!rule.delegable && rule.parent.is_none());
    require(uses && passed_on, Refusal::InvalidField)?;

    let period = matches!((rule.from, rule.until), (Some(from), Some(until)) if from >= until);
    let data = rule.data_period.is_some_and(
        |DataPeriod { from, until }| matches!((from, until), (Some(from), Some(until)) if from >= until),
    );
    require(!period && !data, Refusal::BadPeriod)?;

    let note = permit && labels.contains(&Label::PsyThPn);
    require(!note || labels.len() == 1, Refusal::PsyThPnNotAlone)?;
    if let Grantee::Org(organisation)
    | Grantee::Role(organisation, _)
    | Grantee::Person(Person::Practitioner(organisation, _)) = rule.to
    {
        require(host.get(&keys::organisation(organisation))?.is_some(), Refusal::OrgInactive)?;
    }
    require(records::may_stand_in_clear(host.policy(), labels), Refusal::SensitiveInClear)
}

/// 45 CFR 164.508: outside treatment, payment and operations an authorization names recipient and end, the policy's text
/// and the signed document. Psychotherapy notes and 42 CFR Part 2 need the document for treatment too.
pub(crate) fn check_authorization(rule: &Rule) -> Done {
    require(rule.kind == GrantKind::Deny || has_authorization(rule), Refusal::AuthElementMissing)
}

fn has_authorization(rule: &Rule) -> bool {
    let (Purposes::Only(purposes), labels) = (&rule.purposes, &rule.labels) else { return false };
    let ordinary = |purpose: &Purpose| {
        [Purpose::Treat, Purpose::Hpaymt, Purpose::Hoperat].iter().any(|root| purpose.is_within(*root))
    };
    if !purposes.iter().all(ordinary) {
        return rule.to != Grantee::Any
            && rule.until.is_some()
            && rule.policy.is_some()
            && rule.document.is_some();
    }
    let strict = matches!(labels, Labels::Only(labels) if labels.iter().any(|label| label.is_strict()));
    rule.document.is_some() || !strict
}

/// A sub-grant is within its parent in every dimension, and one level deep.
pub(crate) fn check_delegation(rule: &Rule, parent: &Rule) -> Done {
    require(parent.parent.is_none() && !rule.delegable, Refusal::DelegationDepth)?;
    let to = match rule.to {
        Grantee::Org(_) | Grantee::Role(..) | Grantee::Person(_) => true,
        Grantee::Any | Grantee::Study(_) | Grantee::Guest(_) => false,
    };
    let within = parent.kind == GrantKind::Permit && parent.delegable && to && is_within(rule, parent);
    require(within, Refusal::DelegationWidens)
}

/// Does `rule` open nothing that `wider` does not open? Whom they name apart.
pub(crate) fn is_within(rule: &Rule, wider: &Rule) -> bool {
    let purposes = match (&rule.purposes, &wider.purposes) {
        (Purposes::Only(purposes), Purposes::Only(of)) => {
            purposes.iter().all(|purpose| of.iter().any(|wider| covers(*wider, *purpose)))
        }
        (Purposes::All, _) | (_, Purposes::All) => false,
    };
    let labels = match (&rule.labels, &wider.labels) {
        (Labels::Any, Labels::Any) => true,
        (Labels::Any, Labels::Only(_)) => false,
        (Labels::Only(labels), Labels::Any) => !labels.iter().any(|label| label.is_strict()),
        (Labels::Only(labels), Labels::Only(of)) => {
            labels.iter().all(|label| of.iter().any(|wider| label.is_within(*wider)))
        }
    };
    purposes
        && labels
        && is_subset(&rule.actions, &wider.actions)
        && is_restriction(&rule.categories, &wider.categories)
        && is_restriction(&rule.records, &wider.records)
        && starts_no_earlier(rule.from, wider.from)
        && ends_no_later(rule.until, wider.until)
        && ends_no_later(rule.max_uses, wider.max_uses)
        && wider.data_period.is_none_or(|of| {
            rule.data_period.is_some_and(|period| {
                starts_no_earlier(period.from, of.from) && ends_no_later(period.until, of.until)
            })
        })
}

/// A permit for `wider` serves `purpose`. Fraud detection is served by its own name alone.
fn covers(wider: Purpose, purpose: Purpose) -> bool {
    wider == purpose || (purpose != Purpose::Fraud && purpose.is_within(wider))
}

fn is_subset<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    part.iter().all(|item| whole.contains(item))
}

/// Of two lists of which an empty one does not restrict.
fn is_restriction<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    whole.is_empty() || (!part.is_empty() && is_subset(part, whole))
}

fn starts_no_earlier<T: Ord + Copy>(part: Option<T>, whole: Option<T>) -> bool {
    whole.is_none_or(|whole| part.is_some_and(|part| part >= whole))
}

fn ends_no_later<T: Ord + Copy>(part: Option<T>, whole: Option<T>) -> bool {
    whole.is_none_or(|whole| part.is_some_and(|part| part <= whole))
}
