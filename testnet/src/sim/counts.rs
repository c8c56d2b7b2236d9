//! What happened how often, of one run and of many.

use std::collections::BTreeMap;

/// Numbers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// It happened so many times more.
    pub fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => drop(self.0.insert(what.to_owned(), times)),
        }
    }

    /// The highest so far.
    pub fn most(&mut self, what: &str, value: u64) {
        let count = self.0.entry(what.to_owned()).or_default();
        *count = (*count).max(value);
    }

    /// How often.
    #[must_use]
    pub fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }
}
