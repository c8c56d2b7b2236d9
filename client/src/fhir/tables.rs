//! The tables that say what a FHIR resource is to the ledger: category, labels, patient, date.
//!
//! They are configuration, because the list of sensitive codes is policy. The built-in ones are
//! `client/fhir/tables.toml`; a replacement states every section anew.

use std::collections::{BTreeMap, BTreeSet};

use epione_types::codes::{Category, Label};
use serde::Deserialize;
use serde_json::Value;

use super::json;

/// Category and label tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    references: BTreeSet<String>,
    patient: Vec<String>,
    dates: Vec<String>,
    other_category: Category,
    categories: BTreeMap<String, Category>,
    category_codes: BTreeMap<String, BTreeMap<String, Category>>,
    sensitivity: Sensitivity,
    confidentiality: Confidentiality,
    codes: BTreeMap<String, BTreeMap<String, Vec<Label>>>,
    consent_classes: BTreeMap<String, BTreeMap<String, Category>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sensitivity {
    system: String,
    aliases: BTreeMap<String, Label>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confidentiality {
    system: String,
    open: BTreeSet<String>,
}

/// Text that is no complete set of tables; says where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("import tables: {0}")]
pub struct TablesError(String);

impl Tables {
    /// The built-in tables as text, to start a replacement from.
    pub const BUILT_IN: &'static str = include_str!("../../fhir/tables.toml");

    /// The built-in tables.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn built_in() -> Self {
        Self::from_toml(Self::BUILT_IN).expect("the built-in tables are complete")
    }

    /// Reads a replacement, in the form of [`Self::BUILT_IN`].
    ///
    /// # Errors
    /// An unknown or missing field, or a code this build does not know, with its line.
    pub fn from_toml(text: &str) -> Result<Self, TablesError> {
        toml::from_str(text).map_err(|error| TablesError(error.to_string()))
    }

    /// Is this type one of the directory: no record, no patient?
    pub(super) fn is_reference(&self, resource_type: &str) -> bool {
        self.references.contains(resource_type)
    }

    /// Where the resource names its patient: the path in use, and what stands there.
    pub(super) fn patient<'t, 'r>(&'t self, resource: &'r Value) -> Option<(&'t str, &'r Value)> {
        first(&self.patient, resource)
    }

    /// Where the resource holds its date.
    pub(super) fn date<'t, 'r>(&'t self, resource: &'r Value) -> Option<(&'t str, &'r Value)> {
        first(&self.dates, resource)
    }

    /// The category: by the resource's own category coding, else by its type. A note labelled as a
    /// psychotherapy note is one.
    pub(super) fn category(&self, resource_type: &str, resource: &Value, labels: &[Label]) -> Category {
        let own = self.category_codes.get(resource_type).and_then(|codes| {
            json::list(resource.get("category"))
                .iter()
                .flat_map(|concept| json::list(concept.get("coding")))
                .find_map(|coding| codes.get(json::text(coding, "code")?))
        });
        let category =
            own.or_else(|| self.categories.get(resource_type)).copied().unwrap_or(self.other_category);
        if category == Category::ClinicalNote && labels.contains(&Label::PsyThPn) {
            return Category::PsychotherapyNote;
        }
        category
    }

    /// Labels of a resource, ascending: of its security codings, and of every code in it.
    pub(super) fn labels<'a>(
        &self,
        resource: &Value,
        security: impl Iterator<Item = &'a Value>,
    ) -> Vec<Label> {
        let (mut labels, mut restricted) = (BTreeSet::new(), false);
        for coding in security {
            let (system, code) =
                (json::text(coding, "system"), json::text(coding, "code").unwrap_or_default());
            if system == Some(&self.confidentiality.system) {
                restricted |= !self.confidentiality.open.contains(code);
            } else if system == Some(&self.sensitivity.system) {
                let alias = self.sensitivity.aliases.get(code).copied();
                labels.insert(alias.or_else(|| code.parse().ok()).unwrap_or(Label::Other));
            } else {
                labels.insert(Label::Other);
            }
        }
        self.labels_of_codes(resource, &mut labels);
        if restricted && labels.is_empty() {
            labels.insert(Label::Other);
        }
        labels.into_iter().collect()
    }

    /// The label that a security coding of a Consent names; unlike on a record, an unknown one is no label.
    pub(super) fn named_label(&self, system: &str, code: &str) -> Option<Label> {
        if system != self.sensitivity.system {
            return None;
        }
        let alias = self.sensitivity.aliases.get(code).copied();
        // The ledger's own two names are no codes of HL7.
        alias.or_else(|| code.parse().ok().filter(|label| !matches!(label, Label::Part2 | Label::Other)))
    }

    /// The category that a class or code of a Consent's provision stands for.
    pub(super) fn class(&self, system: &str, code: &str) -> Option<Category> {
        self.consent_classes.get(system)?.get(code).copied()
    }

    /// Looks up every coding of a resource, contained ones too. As deep as [`super::MAX_DEPTH`] at most.
    fn labels_of_codes(&self, value: &Value, labels: &mut BTreeSet<Label>) {
        match value {
            Value::Object(object) => {
                if let (Some(system), Some(code)) = (json::text(value, "system"), json::text(value, "code"))
                    && let Some(found) = self.codes.get(system).and_then(|codes| codes.get(code))
                {
                    labels.extend(found);
                }
                object.values().for_each(|value| self.labels_of_codes(value, labels));
            }
            Value::Array(list) => list.iter().for_each(|value| self.labels_of_codes(value, labels)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn first<'t, 'r>(paths: &'t [String], resource: &'r Value) -> Option<(&'t str, &'r Value)> {
    paths.iter().find_map(|path| json::at(resource, path).map(|value| (path.as_str(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

    fn labels(security: &[(&str, &str)], resource: Value) -> Vec<Label> {
        let security: Vec<Value> =
            security.iter().map(|(system, code)| json!({"system": system, "code": code})).collect();
        Tables::built_in().labels(&resource, security.iter())
    }

    #[test]
    fn a_label_is_read_by_its_name_and_an_unknown_one_is_protected() {
        assert_eq!(labels(&[], json!({})), []);
        assert_eq!(labels(&[(ACT, "HIV"), (ACT, "42CFRPart2")], json!({})), [Label::Hiv, Label::Part2]);
        assert_eq!(labels(&[(ACT, "SICKVIS")], json!({})), [Label::Other]);
        assert_eq!(labels(&[("urn:another", "HIV")], json!({})), [Label::Other]);
        assert_eq!(Tables::built_in().labels(&json!({}), [json!("no coding")].iter()), [Label::Other]);
    }

    #[test]
    fn a_restriction_is_never_lost() {
        assert_eq!(labels(&[(CONFIDENTIALITY, "N")], json!({})), []);
        assert_eq!(labels(&[(CONFIDENTIALITY, "R")], json!({})), [Label::Other]);
        assert_eq!(labels(&[(CONFIDENTIALITY, "V")], json!({})), [Label::Other]);
        assert_eq!(labels(&[(CONFIDENTIALITY, "R"), (ACT, "SEX")], json!({})), [Label::Sex]);
    }

    #[test]
    fn a_sensitive_code_labels_wherever_it_stands() {
        let coding = json!({"system": "http://snomed.info/sct", "code": "86406008"});
        assert_eq!(labels(&[], json!({"code": {"coding": [coding]}})), [Label::Hiv]);
        assert_eq!(labels(&[], json!({"item": [{"x": {"coding": [coding]}}]})), [Label::Hiv]);
        assert_eq!(labels(&[], json!({"system": "urn:another", "code": "86406008"})), []);
    }

    #[test]
    fn categories_come_from_the_coding_then_the_type() {
        let tables = Tables::built_in();
        let coded = |code: &str| json!({"category": [{"coding": [{"code": code}]}]});
        assert_eq!(tables.category("Observation", &coded("laboratory"), &[]), Category::Lab);
        assert_eq!(tables.category("Observation", &coded("vital-signs"), &[]), Category::Observation);
        assert_eq!(tables.category("Observation", &json!({}), &[]), Category::Observation);
        assert_eq!(tables.category("DiagnosticReport", &coded("RAD"), &[]), Category::Imaging);
        assert_eq!(tables.category("Condition", &coded("laboratory"), &[]), Category::Diagnosis);
        assert_eq!(tables.category("Basic", &json!({}), &[]), Category::ClinicalNote);
        assert_eq!(tables.category("Basic", &json!({}), &[Label::PsyThPn]), Category::PsychotherapyNote);
    }

    #[test]
    fn a_replacement_must_be_complete_and_known() {
        assert_eq!(Tables::from_toml(Tables::BUILT_IN), Ok(Tables::built_in()));
        let without = Tables::BUILT_IN.replace("[confidentiality]", "[other]");
        assert!(Tables::from_toml(&without).unwrap_err().to_string().contains("other"));
        let unknown = Tables::BUILT_IN.replace("\"HIV\"", "\"HIVV\"");
        assert!(Tables::from_toml(&unknown).unwrap_err().to_string().contains("HIVV"));
    }
}
