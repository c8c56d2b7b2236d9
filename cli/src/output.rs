//! What a command shows: a table for people, or the same as JSON for machines.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;

/// One thing with named fields, in the order in which they are to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// A field whose value is shown as text.
    pub(crate) fn text(self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.with(name, value.to_string())
    }

    /// A field that may be absent.
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl std::fmt::Display>) -> Self {
        self.with(name, value.map_or(Value::Null, |value| Value::String(value.to_string())))
    }

    /// How long something took, in whole milliseconds; the name ends in `_ms`.
    pub(crate) fn ms(self, name: &'static str, duration: Duration) -> Self {
        self.with(name, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// A list of texts.
    pub(crate) fn list<T: std::fmt::Display>(
        self,
        name: &'static str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(name, values.into_iter().map(|value| Value::String(value.to_string())).collect::<Vec<_>>())
    }

    /// All fields of another after these.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What is shown at the end of a command.
#[derive(Debug)]
enum Content {
    One(Fields),
    Many(Vec<Fields>),
    Nothing,
}

/// The end of a command.
#[derive(Debug)]
pub(crate) struct Shown {
    content: Content,
    /// A line for people alone, below the table.
    note: String,
    /// Exit code.
    pub(crate) exit: u8,
}

impl Shown {
    pub(crate) const fn one(fields: Fields) -> Self {
        Self { content: Content::One(fields), note: String::new(), exit: 0 }
    }

    pub(crate) const fn many(rows: Vec<Fields>) -> Self {
        Self { content: Content::Many(rows), note: String::new(), exit: 0 }
    }

    /// The command has printed what there was.
    pub(crate) const fn nothing() -> Self {
        Self { content: Content::Nothing, note: String::new(), exit: 0 }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) const fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn print(&self, json: bool) {
        let text = match (&self.content, json) {
            (Content::Nothing, _) => return,
            (Content::One(fields), true) => to_json(fields),
            (Content::Many(rows), true) => to_json(rows),
            (Content::One(fields), false) => pairs(fields),
            (Content::Many(rows), false) => table(rows),
        };
        line(text.trim_end());
        if !json && !self.note.is_empty() {
            line(format_args!("\n{}", self.note));
        }
    }
}

/// Writes a line to standard output. A reader that closed the pipe has seen enough, and that is no panic.
pub(crate) fn line(text: impl std::fmt::Display) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(141); // as if SIGPIPE had ended it
    }
}

/// What still reads well on one line.
const LINE: usize = 90;

/// One line of JSON.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!(r#"{{"error":{{"message":"{error}"}}}}"#))
}

/// A value for people, on one line.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) => value.to_string(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let (before, after) = if value.is_object() { ("(", ")") } else { ("=", "") };
                format!("{name}{before}{}{after}", cell(value))
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A name and a value a line; a list that is longer than a line goes below itself.
fn pairs(fields: &Fields) -> String {
    let width = fields.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in &fields.0 {
        let whole = cell(value);
        let list = value.as_array().filter(|_| whole.len() > LINE);
        let parts = list.map_or_else(|| vec![whole.clone()], |list| list.iter().map(cell).collect());
        for (number, part) in parts.iter().enumerate() {
            let name = if number == 0 { name.replace('_', " ") } else { String::new() };
            text.push_str(&format!("{name:width$}  {part}\n"));
        }
    }
    text
}

/// A table with a head; columns as wide as their widest cell.
pub(crate) fn table(rows: &[Fields]) -> String {
    let Some(first) = rows.first() else { return "(none)".to_owned() };
    let head = first.0.iter().map(|(name, _)| name.replace('_', " ").to_uppercase()).collect();
    let cells = rows.iter().map(|row| row.0.iter().map(|(_, value)| cell(value)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rows_for_people_and_for_machines() {
        let rows = [
            Fields::new().with("node", 0).text("view_no", "π"),
            Fields::new().with("node", 10).with("view_no", Value::Null),
        ];
        assert_eq!(table(&rows), "NODE  VIEW NO\n0     π\n10    -\n");
        assert_eq!(to_json(&rows), r#"[{"node":0,"view_no":"π"},{"node":10,"view_no":null}]"#);
        assert_eq!(table(&[]), "(none)");
    }
}
