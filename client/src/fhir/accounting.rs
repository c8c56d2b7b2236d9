//! The accounting of disclosures: which accesses a law wants told to the patient, as JSON, CSV or a report.
//!
//! | Regime | Listed | Not listed |
//! |---|---|---|
//! | HIPAA (45 CFR 164.528) | what was released, six years back | treatment, payment, operations; to the individual; under an authorization; de-identified |
//! | PART2 (42 CFR 2.25) | what was released of records labelled PART2, in emergencies with the facts of 2.51 | to the individual |
//! | GDPR (article 15) | every access, denied and written ones too | - |
//!
//! Tested by `tests/audit.rs`.

use core::fmt::{self, Write as _};
use core::str::FromStr;
use std::collections::BTreeMap;

use epione_types::call::Person;
use epione_types::codes::{Action, Label, Obligation, Purpose, Reason, Role};
use epione_types::id::{PatientId, RecordId, TimestampMs};
use serde_json::{Value, json};

use super::access::{Access, KnownRecord};
use super::time;
use crate::civil::{self, DAY_MS};

/// By which law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// 45 CFR 164.528.
    Hipaa,
    /// 42 CFR 2.25 and 2.51.
    Part2,
    /// GDPR article 15.
    Gdpr,
}

impl Regime {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (
            Self::Hipaa,
            "HIPAA",
            "45 CFR 164.528: disclosures other than for treatment, payment and operations, to the individual, or under an authorization",
        ),
        (
            Self::Part2,
            "PART2",
            "42 CFR 2.25: disclosures of records labelled PART2; in an emergency with the facts of 2.51",
        ),
        (Self::Gdpr, "GDPR", "GDPR article 15: every access that was asked for, denied ones too"),
    ];

    fn row(self) -> (&'static str, &'static str) {
        Self::ALL.iter().find(|row| row.0 == self).map_or(("", ""), |row| (row.1, row.2))
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().0)
    }
}

impl FromStr for Regime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let row = Self::ALL.iter().find(|row| row.1 == text);
        row.map(|row| row.0).ok_or_else(|| "write HIPAA, PART2 or GDPR".to_owned())
    }
}

/// What a patient is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    regime: Regime,
    patient: PatientId,
    from: Option<TimestampMs>,
    until: TimestampMs,
    entries: Vec<Entry>,
    unknown: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    access: Access,
    record: Option<KnownRecord>,
    name: Option<String>,
}

impl Accounting {
    /// Picks those of a patient's accesses that the regime wants told, of block times `[from, until)`. Without a start,
    /// HIPAA goes six years back, the others to the beginning; without an end, to the last one told, which is `now`.
    ///
    /// `records` are those that the reader may know of. `name` says what a recipient is called, where the caller knows:
    /// the ledger does not.
    #[must_use]
    pub fn new(
        regime: Regime,
        patient: PatientId,
        (from, until): (Option<TimestampMs>, Option<TimestampMs>),
        now: TimestampMs,
        accesses: Vec<Access>,
        records: &BTreeMap<RecordId, KnownRecord>,
        name: impl Fn(Person) -> Option<String>,
    ) -> Self {
        let from = from.or_else(|| (regime == Regime::Hipaa).then(|| six_years_before(until.unwrap_or(now))));
        let (mut entries, mut unknown) = (Vec::new(), 0);
        for access in accesses {
            let in_time =
                from.is_none_or(|from| from <= access.at) && until.is_none_or(|until| access.at < until);
            if !in_time || access.patient != patient {
                continue;
            }
            let record = records.get(&access.record).cloned();
            if is_told(regime, &access, record.as_ref()) {
                let name = access.who.and_then(&name);
                entries.push(Entry { access, record, name });
            } else if regime == Regime::Part2
                && record.is_none()
                && access.released()
                && !is_individual(&access)
            {
                unknown += 1;
            }
        }
        Self { regime, patient, from, until: until.unwrap_or(now), entries, unknown }
    }

    /// How many disclosures there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// For programs. `records_unknown` counts accesses to records whose labels the reader may not know.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "regime": self.regime.to_string(),
            "patient": self.patient.to_string(),
            "from": self.from.map(time::instant),
            "until": time::instant(self.until),
            "disclosures": self.entries.iter().map(Entry::json).collect::<Vec<_>>(),
            "records_unknown": self.unknown,
        })
    }

    /// For spreadsheets: RFC 4180, with a head. No cell can be taken for a formula.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = Entry::HEAD.join(",") + "\r\n";
        for entry in &self.entries {
            text.push_str(&entry.cells().map(|cell| csv_cell(&cell)).join(","));
            text.push_str("\r\n");
        }
        text
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let (name, scope) = self.regime.row();
        let day = |time: TimestampMs| time::instant(time).get(..10).unwrap_or_default().to_owned();
        let mut text = format!("Accounting of disclosures ({name})\n\n");
        let mut line = |label: &str, value: &str| {
            let _infallible = writeln!(text, "{label:<9} {value}");
        };
        line("Patient", &self.patient.to_string());
        line("From", &self.from.map_or_else(|| "the beginning".to_owned(), day));
        line("Until", &time::instant(self.until));
        line("Listed", scope);
        for entry in &self.entries {
            text.push_str(&entry.text());
        }
        let count = match self.len() {
            0 => "No disclosure".to_owned(),
            1 => "1 disclosure".to_owned(),
            many => format!("{many} disclosures"),
        };
        let _infallible = writeln!(text, "\n{count}.");
        if self.unknown > 0 {
            let _infallible = writeln!(
                text,
                "{} more of records whose labels you may not know: ask the custodian.",
                self.unknown
            );
        }
        text
    }
}

impl Entry {
    const HEAD: [&'static str; 15] = [
        "date",
        "recipient",
        "recipient_name",
        "role",
        "category",
        "record",
        "purpose",
        "action",
        "decision",
        "reason",
        "discloser",
        "emergency",
        "written_reason",
        "height",
        "index",
    ];

    /// Who received it, by the ledger's names.
    fn recipient(&self) -> String {
        match self.access.who {
            Some(Person::Practitioner(org, id)) => format!("{org}/{id}"),
            Some(Person::Patient(id)) => format!("patient:{id}"),
            Some(Person::Representative(id)) => format!("representative:{id}"),
            None => "guest".to_owned(),
        }
    }

    /// In the order of [`Self::HEAD`].
    fn cells(&self) -> [String; 15] {
        let Self { access, record, name } = self;
        let emergency = access.emergency;
        let written = emergency.and_then(|emergency| emergency.text_commitment);
        [
            time::instant(access.at),
            self.recipient(),
            name.clone().unwrap_or_default(),
            access.role.to_string(),
            record.as_ref().map(|record| record.category.to_string()).unwrap_or_default(),
            access.record.to_string(),
            access.purpose.to_string(),
            access.action.to_string(),
            access.decision.to_string(),
            access.reason.to_string(),
            record.as_ref().map(|record| record.custodian.to_string()).unwrap_or_default(),
            emergency.map(|emergency| emergency.reason.to_string()).unwrap_or_default(),
            written.map(|hash| hash.to_string()).unwrap_or_default(),
            access.height.to_string(),
            access.index.to_string(),
        ]
    }

    fn json(&self) -> Value {
        let cells = Self::HEAD.iter().zip(self.cells());
        // What is not known is null.
        let mut object: Value = cells
            .map(|(name, cell)| ((*name).to_owned(), if cell.is_empty() { Value::Null } else { cell.into() }))
            .collect::<serde_json::Map<_, _>>()
            .into();
        if let Some(object) = object.as_object_mut() {
            object.insert("height".to_owned(), self.access.height.0.into());
            object.insert("index".to_owned(), self.access.index.into());
        }
        object
    }

    fn text(&self) -> String {
        let Self { access, record, name } = self;
        let when = time::instant(access.at);
        let what = record.as_ref().map_or("a record", |record| record.category.name());
        let mut lines = vec![
            ("to", format!("{} as {}", self.recipient(), access.role)),
            ("what", format!("{what} {}", access.record)),
            ("purpose", access.purpose.to_string()),
            ("decision", format!("{} {}: {}", access.action, access.decision, access.reason)),
        ];
        if let Some(name) = name {
            lines.insert(1, ("called", name.clone()));
        }
        if let Some(record) = record {
            lines.push(("by", record.custodian.to_string()));
        }
        if let Some(emergency) = access.emergency {
            lines.push(("emergency", emergency.reason.to_string()));
        }
        let mut text =
            format!("\n{} {}\n", when.get(..10).unwrap_or_default(), when.get(11..19).unwrap_or_default());
        for (label, value) in lines {
            let _infallible = writeln!(text, "  {label:<9} {value}");
        }
        text
    }
}

fn is_told(regime: Regime, access: &Access, record: Option<&KnownRecord>) -> bool {
    match regime {
        Regime::Gdpr => true,
        Regime::Part2 => access.released() && !is_individual(access) && is_part2(access, record),
        Regime::Hipaa => {
            let root = |root| access.purpose.is_within(root);
            let ordinary = root(Purpose::Treat) || root(Purpose::Hpaymt) || root(Purpose::Hoperat);
            // What a patient's grant permits beyond these is an authorization: the ledger takes no other.
            let authorized = access.reason == Reason::PermitGrant;
            let identified = access.action != Action::DeidRead;
            access.released() && identified && !ordinary && !authorized && !is_individual(access)
        }
    }
}

/// To the patient, or to whoever stands in the patient's place (164.502(g)).
fn is_individual(access: &Access) -> bool {
    matches!(access.role, Role::Patient | Role::Representative)
}

/// By its label, or by the duties that only such a record brings.
fn is_part2(access: &Access, record: Option<&KnownRecord>) -> bool {
    let duty = |it: &Obligation| matches!(it, Obligation::Part2Notice | Obligation::Part2EmergencyDoc);
    record.is_some_and(|record| record.labels.contains(&Label::Part2)) || access.obligations.iter().any(duty)
}

/// The same moment six years before; of 29 February, the day before.
fn six_years_before(time: TimestampMs) -> TimestampMs {
    let (year, month, day) = civil::date(time.0 / DAY_MS);
    let before = year.checked_sub(6).and_then(|year| {
        let day = day.min(civil::days_in(year, month)?);
        civil::days(year, month, day)
    });
    TimestampMs(before.map_or(0, |days| days * DAY_MS + time.0 % DAY_MS))
}

/// Quoted where RFC 4180 wants it. What a spreadsheet would run begins with an apostrophe.
fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}
