//! From a Consent to flat rules, or to every fault of it.

use core::str::FromStr;

use epione_types::Hash;
use epione_types::call::{
    CreateGrant, DataPeriod, GrantKind, Grantee, Labels, MAX_LIST, Month, Person, Purposes, Rule,
};
use epione_types::codes::{Action, Category, Label, Purpose};
use epione_types::id::{GrantId, PatientId, RecordId, TimestampMs};
use rand_core::TryCryptoRng;
use serde_json::Value;

use super::{
    ACT_CODE, ACT_REASON, ACTION, CONFIDENTIALITY, Fault, OWN_LABEL, PARTICIPATION, RULE, Reason, SCOPE,
};
use crate::fhir::identity::{Directory, Target};
use crate::fhir::{Tables, json, time};
use crate::tx::draw;

/// Largest Consent, in bytes.
pub const MAX_CONSENT_BYTES: usize = 1 << 20;
/// Most rules of one Consent.
pub const MAX_RULES: usize = 64;

/// What a Consent comes to. Nothing random yet, nothing signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentPlan {
    /// Whose it is.
    pub patient: PatientId,
    /// The base provision's rules, then those of its exceptions, in their order.
    pub rules: Vec<Rule>,
}

impl ConsentPlan {
    /// The calls to sign. Denials come first: whoever stops halfway has opened nothing that the Consent closes.
    ///
    /// # Errors
    /// Of the random source.
    pub fn calls<R: TryCryptoRng>(self, random: &mut R) -> Result<Vec<CreateGrant>, R::Error> {
        let Self { patient, mut rules } = self;
        rules.sort_by_key(|rule| rule.kind == GrantKind::Permit);
        let call = |rule| Ok(CreateGrant { grant: GrantId(draw(random)?), patient, rule });
        rules.into_iter().map(call).collect()
    }
}

/// Reads one Consent: R4 in the shape of IHE PCF, or R5, which `decision` or `subject` tells.
///
/// `patient` is whose it must be. `document` is the hash of the signed document, if the caller has it; else the
/// one that `sourceReference` stands for.
///
/// # Errors
/// Every fault that was found. Never quotes the Consent.
pub fn read_consent(
    bytes: &[u8],
    patient: PatientId,
    document: Option<Hash>,
    directory: &Directory,
    tables: &Tables,
) -> Result<ConsentPlan, Vec<Fault>> {
    let whole = |reason| vec![Fault { path: "Consent".to_owned(), reason }];
    if bytes.len() > MAX_CONSENT_BYTES {
        return Err(whole(Reason::TooMany { found: bytes.len(), most: MAX_CONSENT_BYTES }));
    }
    let text = core::str::from_utf8(bytes).map_err(|_| whole(Reason::Shape("UTF-8")))?;
    let consent = json::parse(text).map_err(|problem| whole(Reason::Unreadable(problem)))?;
    if json::text(&consent, "resourceType") != Some("Consent") {
        return Err(whole(Reason::Shape("a Consent")));
    }
    let mut reader = Reader { directory, tables, faults: Vec::new() };
    let rules = reader.consent(&consent, patient, document);
    if reader.faults.is_empty() { Ok(ConsentPlan { patient, rules }) } else { Err(reader.faults) }
}

/// Elements of both releases that say nothing about who may do what.
const HARMLESS: &[&str] = &[
    "resourceType",
    "id",
    "meta",
    "language",
    "text",
    "contained",
    "extension",
    "identifier",
    "verification",
];
/// The further elements of R4's Consent.
const R4: &[&str] = &[
    "status",
    "scope",
    "category",
    "patient",
    "dateTime",
    "performer",
    "organization",
    "sourceAttachment",
    "sourceReference",
    "policy",
    "policyRule",
    "provision",
];
/// The further elements of R5's Consent.
const R5: &[&str] = &[
    "status",
    "category",
    "subject",
    "date",
    "period",
    "grantor",
    "manager",
    "controller",
    "sourceAttachment",
    "sourceReference",
    "regulatoryBasis",
    "policyBasis",
    "policyText",
    "decision",
    "provision",
];
/// Elements of a provision of both releases.
const PROVISION: &[&str] = &[
    "id",
    "extension",
    "modifierExtension",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "code",
    "dataPeriod",
    "data",
    "provision",
];
/// What every part of FHIR may have and that means nothing here.
const PART: &[&str] = &["id", "extension"];
/// R5's categories of consents about information. R4 has `scope` for it.
const PRIVACY: &[(&str, &str)] =
    &[(SCOPE, "patient-privacy"), ("http://loinc.org", "59284-0"), (ACT_CODE, "IDSCL"), (ACT_CODE, "INFA")];

/// What a provision says; what it does not say is unset.
#[derive(Clone, Default)]
struct Said {
    kind: Option<GrantKind>,
    to: Option<Vec<Grantee>>,
    purposes: Option<Vec<Purpose>>,
    actions: Option<Vec<Action>>,
    categories: Option<Vec<Category>>,
    records: Option<Vec<RecordId>>,
    labels: Option<Security>,
    data_period: Option<DataPeriod>,
    from: Option<TimestampMs>,
    until: Option<TimestampMs>,
    max_uses: Option<u32>,
    delegable: Option<bool>,
    parent: Option<GrantId>,
}

/// Security labels: FHIR selects data by them, confidentiality included.
#[derive(Clone, Default)]
struct Security {
    normal: bool,
    restricted: bool,
    labels: Vec<Label>,
}

impl Security {
    /// As a rule's labels: those that a permit unlocks or a denial hits. Normal data is what has no label; restricted
    /// what has one, whichever.
    fn of(self, kind: GrantKind) -> Result<Labels, Reason> {
        let Self { normal, restricted, labels } = self;
        match kind {
            GrantKind::Permit if restricted && labels.iter().any(|label| label.is_strict()) => {
                Err(Reason::LabelUnmapped)
            }
            GrantKind::Permit if labels.contains(&Label::PsyThPn) && labels.len() > 1 => {
                Err(Reason::PsyThPnNotAlone)
            }
            GrantKind::Permit | GrantKind::Deny if restricted && !(normal && kind == GrantKind::Deny) => {
                Ok(Labels::Any)
            }
            // Both together are all data, labelled or not.
            GrantKind::Deny if normal && restricted => Ok(Labels::Only(Vec::new())),
            // A denial without labels hits all data.
            GrantKind::Deny if normal => Err(Reason::LabelUnmapped),
            GrantKind::Permit | GrantKind::Deny => Ok(Labels::Only(labels)),
        }
    }
}

/// A rule and the provision that it is from.
struct Placed {
    path: String,
    rule: Rule,
}

struct Reader<'a> {
    directory: &'a Directory,
    tables: &'a Tables,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, path: impl Into<String>, reason: Reason) {
        self.faults.push(Fault { path: path.into(), reason });
    }

    /// The value, or its fault.
    fn take<T>(&mut self, path: &str, result: Result<T, Reason>) -> Option<T> {
        result.map_err(|reason| self.fault(path, reason)).ok()
    }

    /// The elements of a list, each with its path. FHIR knows no empty lists.
    fn items<'v>(&mut self, value: &'v Value, path: &str, field: &str) -> Vec<(String, &'v Value)> {
        let path = join(path, field);
        match value.get(field) {
            None => Vec::new(),
            Some(Value::Array(list)) if list.len() > MAX_LIST => {
                self.fault(path, Reason::TooMany { found: list.len(), most: MAX_LIST });
                Vec::new()
            }
            Some(Value::Array(list)) if !list.is_empty() => {
                list.iter().enumerate().map(|(i, item)| (format!("{path}[{i}]"), item)).collect()
            }
            Some(_) => {
                self.fault(path, Reason::Shape("a list that is not empty"));
                Vec::new()
            }
        }
    }

    /// A list as `read` reads each element, without repetitions; none if the element is absent.
    fn list<T: PartialEq>(
        &mut self,
        value: &Value,
        path: &str,
        field: &str,
        mut read: impl FnMut(&mut Self, &str, &Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        value.get(field)?;
        let mut list = Vec::new();
        for (path, item) in self.items(value, path, field) {
            if let Some(read) = read(self, &path, item)
                && !list.contains(&read)
            {
                list.push(read);
            }
        }
        Some(list)
    }

    /// An object has nothing but these elements.
    fn only(&mut self, value: &Value, path: &str, lists: &[&[&str]]) {
        let Some(object) = value.as_object() else { return self.fault(path, Reason::Shape("an object")) };
        let known = |key: &String| lists.iter().any(|list| list.contains(&key.as_str()));
        if !object.keys().all(known) {
            self.fault(if path.is_empty() { "Consent" } else { path }, Reason::Unsupported);
        }
    }

    fn consent(&mut self, consent: &Value, patient: PatientId, document: Option<Hash>) -> Vec<Rule> {
        let r5 = consent.get("decision").is_some() || consent.get("subject").is_some();
        for field in ["implicitRules", "modifierExtension"] {
            if consent.get(field).is_some() {
                self.fault(field, Reason::ModifierUnknown);
            }
        }
        self.only(
            consent,
            "",
            &[HARMLESS, if r5 { R5 } else { R4 }, &["implicitRules", "modifierExtension"]],
        );
        if json::text(consent, "status") != Some("active") {
            self.fault("status", Reason::NotActive);
        }
        self.scope(consent, r5);
        self.patient(consent, if r5 { "subject" } else { "patient" }, patient);
        let policy = self.policy(consent, r5);
        let document = self.document(consent, document);
        let (base, exceptions) = if r5 { self.r5(consent) } else { self.r4(consent) };

        let mut placed = self.rules(&base, policy, document);
        let of_base = placed.len();
        for exception in &exceptions {
            placed.extend(self.rules(exception, policy, document));
        }
        if placed.len() > MAX_RULES {
            self.fault("provision", Reason::TooMany { found: placed.len(), most: MAX_RULES });
            return Vec::new();
        }
        let (of_base, of_exceptions) = placed.split_at(of_base);
        for exception in of_exceptions {
            let lost = |base: &Placed| !prevails(&exception.rule, &base.rule);
            if of_base.iter().any(lost) {
                self.fault(&exception.path, Reason::ExceptionIneffective);
            }
        }
        placed.into_iter().map(|placed| placed.rule).collect()
    }

    fn scope(&mut self, consent: &Value, r5: bool) {
        let fits = if r5 {
            json::list(consent.get("category")).iter().any(|concept| has_code(concept, PRIVACY))
        } else {
            consent.get("scope").is_some_and(|concept| has_code(concept, &[(SCOPE, "patient-privacy")]))
        };
        if !fits {
            self.fault(if r5 { "category" } else { "scope" }, Reason::Scope);
        }
    }

    fn patient(&mut self, consent: &Value, field: &str, wanted: PatientId) {
        let Some(reference) = consent.get(field) else {
            return self.fault(field, Reason::Shape("a reference"));
        };
        match self.directory.resolve(reference) {
            Ok(Target::Who(Grantee::Person(Person::Patient(found)))) if found == wanted => {}
            Ok(Target::Who(Grantee::Person(Person::Patient(_)))) => self.fault(field, Reason::OtherPatient),
            Ok(_) => self.fault(field, Reason::ReferenceKind("a patient")),
            Err(reason) => self.fault(field, reason),
        }
    }

    fn policy(&mut self, consent: &Value, r5: bool) -> Option<Hash> {
        let (path, uri) = if r5 {
            ("policyBasis.uri".to_owned(), json::text(consent, "policyBasis.uri"))
        } else {
            let policies = self.items(consent, "", "policy");
            match policies.as_slice() {
                [(path, policy)] => {
                    self.only(policy, path, &[PART, &["authority", "uri"]]);
                    (join(path, "uri"), json::text(policy, "uri"))
                }
                [] => ("policy.uri".to_owned(), None),
                several => {
                    self.fault("policy", Reason::TooMany { found: several.len(), most: 1 });
                    return None;
                }
            }
        };
        let Some(uri) = uri else {
            self.fault(path, Reason::PolicyMissing);
            return None;
        };
        if consent.get("policyRule").is_some() {
            self.fault("policyRule", Reason::Unsupported);
        }
        self.take(&path, self.directory.policy(uri).ok_or(Reason::PolicyUnknown))?
    }

    /// The signed document: the caller's word first. A source that the directory does not know is evidence that stays
    /// where it is.
    fn document(&self, consent: &Value, given: Option<Hash>) -> Option<Hash> {
        given.or_else(|| {
            let sources = consent.get("sourceReference")?;
            let first = sources.as_array().map_or(Some(sources), |list| list.first())?;
            match self.directory.resolve(first) {
                Ok(Target::Document(hash)) => Some(hash),
                _ => None,
            }
        })
    }

    /// R4: the root provision is the base rule, those within it its exceptions, each with its own type.
    fn r4(&mut self, consent: &Value) -> (Provision, Vec<Provision>) {
        let path = "provision";
        let mut base = Provision { path: path.to_owned(), said: Said::default() };
        let Some(root) = consent.get(path) else {
            self.fault("provision.type", Reason::TypeMissing);
            return (base, Vec::new());
        };
        base.said = self.provision(root, path, &Said::default(), &["type", "class"]);
        base.said.kind = self.kind(root, path, "type");
        let mut exceptions = Vec::new();
        for (path, value) in self.items(root, path, "provision") {
            let mut said = self.provision(value, &path, &base.said, &["type", "class"]);
            said.kind = self.kind(value, &path, "type");
            if said.kind.is_some() && said.kind == base.said.kind {
                self.fault(join(&path, "type"), Reason::NotFlipped);
            }
            if value.get("provision").is_some() {
                self.fault(join(&path, "provision"), Reason::Nesting);
            }
            exceptions.push(Provision { path, said });
        }
        (base, exceptions)
    }

    /// R5: `decision` is the base rule, for everybody and everything; each provision is an exception of it.
    fn r5(&mut self, consent: &Value) -> (Provision, Vec<Provision>) {
        let mut base = Said { kind: self.kind(consent, "", "decision"), ..Said::default() };
        (base.from, base.until) = self.period(consent, "");
        let mut exceptions = Vec::new();
        for (path, value) in self.items(consent, "", "provision") {
            let mut said = self.provision(value, &path, &base, &["documentType", "resourceType"]);
            said.kind = base.kind.map(flipped);
            if value.get("provision").is_some() {
                self.fault(join(&path, "provision"), Reason::Nesting);
            }
            exceptions.push(Provision { path, said });
        }
        (Provision { path: "decision".to_owned(), said: base }, exceptions)
    }

    fn kind(&mut self, value: &Value, path: &str, field: &str) -> Option<GrantKind> {
        let path = join(path, field);
        match value.get(field).map(Value::as_str) {
            None => self.fault(path, Reason::TypeMissing),
            Some(Some("permit")) => return Some(GrantKind::Permit),
            Some(Some("deny")) => return Some(GrantKind::Deny),
            Some(_) => self.fault(path, Reason::Shape("permit or deny")),
        }
        None
    }

    /// FHIR's element or the ledger's own: which of two holds would be a guess.
    fn either<T>(&mut self, path: &str, field: &str, element: Option<T>, ours: Option<T>) -> Option<T> {
        if element.is_some() && ours.is_some() {
            self.fault(join(path, field), Reason::Unsupported);
        }
        element.or(ours)
    }

    /// What a provision says, and for the rest what `base` says.
    fn provision(&mut self, value: &Value, path: &str, base: &Said, of_release: &[&str]) -> Said {
        self.only(value, path, &[PROVISION, of_release]);
        let mut own = Said { kind: None, ..Said::default() };
        self.extensions(value, path, &mut own);
        own.to = self.list(value, path, "actor", Self::actor);
        own.purposes = self.list(value, path, "purpose", |reader, path, coding| {
            let purpose = coded(coding, ACT_REASON);
            reader.take(path, purpose.ok_or(Reason::PurposeUnknown))
        });
        own.actions = {
            let actions = self.list(value, path, "action", Self::action);
            self.either(path, "action", actions, own.actions)
        };
        own.records = self.list(value, path, "data", Self::data);
        own.labels = self.security(value, path);
        own.categories = {
            let categories = self.classes(value, path);
            self.either(path, "class", categories, own.categories)
        };
        own.data_period = self.data_period(value, path);
        let (from, until) = self.period(value, path);
        let (own_period, base) = (value.get("period").is_some(), base.clone());
        Said {
            kind: None,
            to: own.to.or(base.to),
            purposes: own.purposes.or(base.purposes),
            actions: own.actions.or(base.actions),
            categories: own.categories.or(base.categories),
            records: own.records.or(base.records),
            labels: own.labels.or(base.labels),
            data_period: own.data_period.or(base.data_period),
            from: if own_period { from } else { base.from },
            until: if own_period { until } else { base.until },
            // Of permits alone, so no exception takes them over.
            max_uses: own.max_uses,
            delegable: own.delegable,
            parent: own.parent,
        }
    }

    fn actor(&mut self, path: &str, actor: &Value) -> Option<Grantee> {
        self.only(actor, path, &[PART, &["role", "reference"]]);
        if !actor.get("role").is_some_and(|role| has_code(role, &[(PARTICIPATION, "IRCP")])) {
            self.fault(join(path, "role"), Reason::ActorRole);
        }
        let path = join(path, "reference");
        let Some(reference) = actor.get("reference") else {
            self.fault(path, Reason::Shape("a reference"));
            return None;
        };
        match self.take(&path, self.directory.resolve(reference))? {
            Target::Who(to) => Some(to),
            Target::Record(_) | Target::Document(_) | Target::Grant(_) => {
                self.fault(path, Reason::ReferenceKind("somebody who may be granted access"));
                None
            }
        }
    }

    fn action(&mut self, path: &str, concept: &Value) -> Option<Action> {
        let code = |action: &str| has_code(concept, &[(ACTION, action)]);
        let found = [("access", Action::Read), ("correct", Action::Write), ("disclose", Action::Disclose)];
        let found = found.into_iter().find_map(|(name, action)| code(name).then_some(action));
        self.take(path, found.ok_or(Reason::ActionUnknown))
    }

    fn data(&mut self, path: &str, data: &Value) -> Option<RecordId> {
        self.only(data, path, &[PART, &["meaning", "reference"]]);
        if json::text(data, "meaning") != Some("instance") {
            self.fault(join(path, "meaning"), Reason::DataMeaning);
            return None;
        }
        let path = join(path, "reference");
        let resolved = data.get("reference").map(|reference| self.directory.resolve(reference));
        match self.take(&path, resolved.unwrap_or(Err(Reason::Shape("a reference"))))? {
            Target::Record(record) => Some(record),
            Target::Who(_) | Target::Document(_) | Target::Grant(_) => {
                self.fault(path, Reason::ReferenceKind("a record"));
                None
            }
        }
    }

    fn security(&mut self, value: &Value, path: &str) -> Option<Security> {
        value.get("securityLabel")?;
        let mut security = Security::default();
        for (path, coding) in self.items(value, path, "securityLabel") {
            let (system, code) =
                (json::text(coding, "system"), json::text(coding, "code").unwrap_or_default());
            let label = match (system, code) {
                (Some(CONFIDENTIALITY), "N") => {
                    security.normal = true;
                    continue;
                }
                (Some(CONFIDENTIALITY), "R") => {
                    security.restricted = true;
                    continue;
                }
                (Some(OWN_LABEL), code) => code.parse().ok(),
                (Some(system), code) => self.tables.named_label(system, code),
                (None, _) => None,
            };
            if let Some(label) = self.take(&path, label.ok_or(Reason::LabelUnmapped))
                && !security.labels.contains(&label)
            {
                security.labels.push(label);
            }
        }
        Some(security)
    }

    /// Categories, by class (R4) or resource and document type (R5), or by code. All of them would have to hold
    /// together, which a rule cannot say: one at most.
    fn classes(&mut self, value: &Value, path: &str) -> Option<Vec<Category>> {
        let mut found = None;
        for field in ["class", "resourceType", "documentType", "code"] {
            let read = |reader: &mut Self, path: &str, item: &Value| {
                let codings = if field == "code" {
                    json::list(item.get("coding"))
                } else {
                    core::slice::from_ref(item)
                };
                let category = codings.iter().find_map(|coding| {
                    reader.tables.class(json::text(coding, "system")?, json::text(coding, "code")?)
                });
                reader.take(path, category.ok_or(Reason::ClassUnmapped))
            };
            if let Some(categories) = self.list(value, path, field, read)
                && found.replace(categories).is_some()
            {
                self.fault(join(path, field), Reason::Unsupported);
            }
        }
        found
    }

    fn period(&mut self, value: &Value, path: &str) -> (Option<TimestampMs>, Option<TimestampMs>) {
        let path = join(path, "period");
        let Some(period) = value.get("period") else { return (None, None) };
        let mut end_of = |field: &str| {
            let found = period.get(field)?;
            let span = found.as_str().and_then(time::span).ok_or(Reason::Period);
            self.take(&join(&path, field), span)
        };
        let (from, until) = (end_of("start").map(|span| span.0), end_of("end").map(|span| span.1));
        if matches!((from, until), (Some(from), Some(until)) if from >= until) || !is_period(period) {
            self.fault(path, Reason::Period);
        }
        (from, until)
    }

    fn data_period(&mut self, value: &Value, path: &str) -> Option<DataPeriod> {
        let period = value.get("dataPeriod")?;
        let path = join(path, "dataPeriod");
        let mut end_of = |field: &str, end: fn(time::Months) -> Option<u64>| {
            let found = period.get(field)?;
            let number = found.as_str().and_then(time::months).and_then(end);
            let month = number.and_then(|number| {
                let (year, month) = (u32::try_from(number / 12).ok()?, u32::try_from(number % 12).ok()?);
                Month::new(year, month + 1)
            });
            self.take(&join(&path, field), month.ok_or(Reason::DataPeriod))
        };
        let (from, until) = (end_of("start", |months| months.0), end_of("end", |months| months.1));
        if matches!((from, until), (Some(from), Some(until)) if from >= until) || !is_period(period) {
            self.fault(path, Reason::DataPeriod);
        }
        Some(DataPeriod { from, until })
    }

    /// The modifier extension of the ledger: what a rule says and PCF has no element for.
    fn extensions(&mut self, value: &Value, path: &str, said: &mut Said) {
        for (path, extension) in self.items(value, path, "modifierExtension") {
            if json::text(extension, "url") != Some(RULE) {
                self.fault(path, Reason::ModifierUnknown);
                continue;
            }
            for (path, part) in self.items(extension, &path, "extension") {
                let text = |field| json::text(part, field);
                let read = match text("url") {
                    Some("action") => push(&mut said.actions, text("valueCode")),
                    Some("category") => push(&mut said.categories, text("valueCode")),
                    Some("parent") => {
                        set(&mut said.parent, text("valueString").and_then(|id| id.parse().ok()))
                    }
                    Some("maxUses") => {
                        let uses = part.get("valuePositiveInt").and_then(Value::as_u64);
                        set(
                            &mut said.max_uses,
                            uses.and_then(|uses| u32::try_from(uses).ok()).filter(|uses| *uses > 0),
                        )
                    }
                    Some("delegable") => {
                        set(&mut said.delegable, part.get("valueBoolean").and_then(Value::as_bool))
                    }
                    _ => Err(Reason::ModifierUnknown),
                };
                self.take(&path, read);
            }
        }
    }

    /// The rules of a provision: one for each of its actors, or one for everybody.
    fn rules(&mut self, provision: &Provision, policy: Option<Hash>, document: Option<Hash>) -> Vec<Placed> {
        let Provision { path, said } = provision;
        let Some(kind) = said.kind else { return Vec::new() };
        let permit = kind == GrantKind::Permit;
        let purposes = match &said.purposes {
            Some(purposes) => Purposes::Only(purposes.clone()),
            None => Purposes::All,
        };
        if permit && purposes == Purposes::All {
            let field = if path == "decision" { path.clone() } else { join(path, "purpose") };
            self.fault(field, Reason::PurposeMissing);
        }
        if !permit && (said.max_uses.is_some() || said.delegable == Some(true) || said.parent.is_some()) {
            self.fault(join(path, "modifierExtension"), Reason::Unsupported);
        }
        let labels = said.labels.clone().unwrap_or_default().of(kind);
        let Some(labels) = self.take(&join(path, "securityLabel"), labels) else { return Vec::new() };
        let rule = |to| Rule {
            kind,
            to,
            purposes: purposes.clone(),
            actions: said.actions.clone().unwrap_or_else(|| default_actions(kind).to_vec()),
            categories: said.categories.clone().unwrap_or_default(),
            records: said.records.clone().unwrap_or_default(),
            labels: labels.clone(),
            data_period: said.data_period,
            from: said.from,
            until: said.until,
            max_uses: said.max_uses,
            delegable: said.delegable.unwrap_or(false),
            parent: said.parent,
            policy,
            document,
        };
        let everybody = [Grantee::Any];
        let rules: Vec<Rule> = said.to.as_deref().unwrap_or(&everybody).iter().map(|to| rule(*to)).collect();
        if rules.iter().any(|rule| !is_authorized(rule)) {
            self.fault(path, Reason::AuthElementMissing);
        }
        rules.into_iter().map(|rule| Placed { path: path.clone(), rule }).collect()
    }
}

/// A provision with what it takes over.
struct Provision {
    path: String,
    said: Said,
}

/// What a Consent that names no action means. It speaks of those who receive information: a permit lets them read,
/// and no more; a denial lets them do nothing.
pub(super) const fn default_actions(kind: GrantKind) -> &'static [Action] {
    match kind {
        GrantKind::Permit => &[Action::Read],
        GrantKind::Deny => Action::ALL,
    }
}

const fn flipped(kind: GrantKind) -> GrantKind {
    match kind {
        GrantKind::Permit => GrantKind::Deny,
        GrantKind::Deny => GrantKind::Permit,
    }
}

/// 45 CFR 164.508 and 42 CFR 2.31, as the ledger will hold a permit to them. Found here, because a Consent of which
/// the ledger takes a part only is worse than none.
fn is_authorized(rule: &Rule) -> bool {
    let (GrantKind::Permit, Purposes::Only(purposes)) = (rule.kind, &rule.purposes) else { return true };
    let ordinary = |purpose: &Purpose| {
        [Purpose::Treat, Purpose::Hpaymt, Purpose::Hoperat].iter().any(|root| purpose.is_within(*root))
    };
    if !purposes.iter().all(ordinary) {
        return rule.to != Grantee::Any
            && rule.until.is_some()
            && rule.policy.is_some()
            && rule.document.is_some();
    }
    let strict = matches!(&rule.labels, Labels::Only(labels) if labels.iter().any(|label| label.is_strict()));
    rule.document.is_some() || !strict
}

/// Will the ledger let the exception prevail over its base, wherever both apply? Its precedence: a permit prevails over
/// a denial only if it is at least as narrow in subject, purpose and data, and narrower in one. Where it depends on the
/// request, no.
fn prevails(exception: &Rule, base: &Rule) -> bool {
    let subject = |rule: &Rule| match rule.to {
        Grantee::Any => 0,
        Grantee::Org(_) => 1,
        Grantee::Role(..) => 2,
        Grantee::Person(_) | Grantee::Study(_) | Grantee::Guest(_) => 3,
    };
    let purposes = |rule: &Rule| match &rule.purposes {
        Purposes::All => None,
        Purposes::Only(purposes) => Some(purposes.clone()),
    };
    // Is a purpose of the one narrower than one of the other? `*` is wider than all.
    let narrower = |one: &Rule, other: &Rule| match (purposes(one), purposes(other)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(one), Some(other)) => {
            one.iter().any(|one| other.iter().any(|other| one != other && one.is_within(*other)))
        }
    };
    let restricted = |rule: &Rule| !rule.categories.is_empty() || rule.data_period.is_some();
    let (permit, denial) = match exception.kind {
        GrantKind::Permit => (exception, base),
        GrantKind::Deny => (base, exception),
    };
    let (p_records, d_records) = (!permit.records.is_empty(), !denial.records.is_empty());
    if exception.kind == GrantKind::Deny {
        // The base must not be narrower in anything; its data the exception has taken over.
        return subject(permit) <= subject(denial) && !narrower(permit, denial);
    }
    let same_purpose = match (purposes(permit), purposes(denial)) {
        (Some(of_permit), Some(of_denial)) => of_permit.iter().any(|purpose| of_denial.contains(purpose)),
        (None, _) | (_, None) => false,
    };
    let names = |label: &Label| matches!(&permit.labels, Labels::Only(named) if named.iter().any(|named| label.is_within(*named)));
    let labels = matches!(&denial.labels, Labels::Only(hit) if hit.iter().all(names));
    let data = p_records || (!d_records && labels && (!restricted(denial) || restricted(permit)));
    let strictly = subject(permit) > subject(denial)
        || !same_purpose
        || (p_records && !d_records)
        || (restricted(permit) && !restricted(denial));
    subject(permit) >= subject(denial) && !narrower(denial, permit) && data && strictly
}

/// The code of a coding of this system.
fn coded<T: FromStr>(coding: &Value, system: &str) -> Option<T> {
    let of_system = json::text(coding, "system") == Some(system);
    json::text(coding, "code").filter(|_| of_system)?.parse().ok()
}

/// One of a concept's codings is one of these.
fn has_code(concept: &Value, wanted: &[(&str, &str)]) -> bool {
    json::list(concept.get("coding")).iter().any(|coding| {
        let found = (json::text(coding, "system"), json::text(coding, "code"));
        wanted.iter().any(|(system, code)| found == (Some(*system), Some(*code)))
    })
}

/// Nothing but a start and an end, and one of them.
fn is_period(value: &Value) -> bool {
    let fine = |key: &String| PART.contains(&key.as_str()) || ["start", "end"].contains(&key.as_str());
    value.as_object().is_some_and(|object| {
        object.keys().all(fine) && (object.contains_key("start") || object.contains_key("end"))
    })
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Reason> {
    let value = value.ok_or(Reason::Shape("a value of this part's kind"))?;
    if place.replace(value).is_none() { Ok(()) } else { Err(Reason::TooMany { found: 2, most: 1 }) }
}

fn push<T: FromStr + PartialEq>(list: &mut Option<Vec<T>>, text: Option<&str>) -> Result<(), Reason> {
    let code = text.and_then(|text| text.parse().ok()).ok_or(Reason::Shape("a code of this ledger"))?;
    let list = list.get_or_insert_default();
    if !list.contains(&code) {
        list.push(code);
    }
    Ok(())
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
