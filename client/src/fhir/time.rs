//! FHIR's dates and times as spans, and back. A FHIR time stands for all of what it does not say: `2026-12-31` for
//! the whole day, which as a period's end is meant in full. Without a zone it is UTC.

use epione_types::TimestampMs;

use crate::civil::{self, DAY_MS};

/// No FHIR time is later.
const YEAR_MAX: u64 = 9999;

/// As a FHIR instant, `2026-12-31T23:59:59.000Z`. What FHIR cannot write becomes the last instant that it can.
pub(super) fn instant(time: TimestampMs) -> String {
    let (days, ms) = (time.0 / DAY_MS, time.0 % DAY_MS);
    let (year, month, day) = civil::date(days);
    if year > YEAR_MAX {
        return format!("{YEAR_MAX}-12-31T23:59:59.999Z");
    }
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// The span `[from, until)` that a FHIR dateTime of 1970 to 9999 stands for.
pub(super) fn span(text: &str) -> Option<(TimestampMs, TimestampMs)> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let midnight = |year, month, day| Some(civil::days(year, month, day)? * DAY_MS);
    let (from, until) = match (parts(date)?, clock) {
        ((year, None, _), None) => (midnight(year, 1, 1)?, midnight(year, 12, 31)? + DAY_MS),
        ((year, Some(month), None), None) => {
            (midnight(year, month, 1)?, midnight(year, month, civil::days_in(year, month)?)? + DAY_MS)
        }
        ((year, Some(month), Some(day)), None) => {
            let from = midnight(year, month, day)?;
            (from, from + DAY_MS)
        }
        ((year, Some(month), Some(day)), Some(clock)) => {
            let (of_day, precision, east) = time_of_day(clock)?;
            let from = midnight(year, month, day)?.checked_add(of_day)?.checked_add_signed(-east)?;
            (from, from + precision)
        }
        (_, Some(_)) => return None,
    };
    Some((TimestampMs(from), TimestampMs(until)))
}

/// Months `[from, until)`, counted from year 0; an end is none where no month begins or ends.
pub(super) type Months = (Option<u64>, Option<u64>);

/// The months that a FHIR date stands for.
pub(super) fn months(text: &str) -> Option<Months> {
    Some(match parts(text)? {
        (year, None, _) => (Some(year * 12), Some((year + 1) * 12)),
        (year, Some(month), day) => {
            let last = civil::days_in(year, month)?;
            let (first_day, last_day) = day.map_or((1, last), |day| (day, day));
            let number = year * 12 + month - 1;
            ((first_day == 1).then_some(number), (last_day == last).then_some(number + 1))
        }
    })
}

/// yyyy, yyyy-mm or yyyy-mm-dd.
fn parts(date: &str) -> Option<(u64, Option<u64>, Option<u64>)> {
    let mut parts = date.split('-');
    let year = digits::<4>(parts.next()?)?;
    let month = parts.next().map(|text| digits::<2>(text).filter(|month| (1..=12).contains(month)));
    let day = parts.next().map(|text| digits::<2>(text).filter(|day| *day >= 1));
    match (month, day, parts.next()) {
        (None, None, None) => Some((year, None, None)),
        (Some(Some(month)), None, None) => Some((year, Some(month), None)),
        (Some(Some(month)), Some(Some(day)), None) => {
            (day <= civil::days_in(year, month)?).then_some((year, Some(month), Some(day)))
        }
        _ => None,
    }
}

/// Of `hh:mm:ss[.fraction](Z|±hh:mm)`: ms since midnight, ms that it stands for, and how far east of UTC in ms.
fn time_of_day(text: &str) -> Option<(u64, u64, i64)> {
    let at = text.find(['Z', '+', '-'])?;
    let (clock, zone) = text.split_at_checked(at)?;
    let (seconds, fraction) = clock.split_once('.').map_or((clock, None), |(s, f)| (s, Some(f)));
    let [hour, minute, second] = fields(seconds)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, precision) = match fraction {
        None => (0, 1_000),
        Some(text) if (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let known = text.get(..3).unwrap_or(text);
            let unit = [100, 10, 1].get(known.len() - 1).copied()?;
            (known.parse::<u64>().ok()? * unit, unit)
        }
        Some(_) => return None,
    };
    let east = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign, offset) => {
            let [hours, minutes] = fields(offset)?;
            let ms = i64::try_from(hours * 3_600_000 + minutes * 60_000).ok()?;
            let fine = (hours <= 13 && minutes <= 59) || (hours == 14 && minutes == 0);
            fine.then_some(if sign == "+" { ms } else { -ms })?
        }
    };
    Some(((hour * 3_600 + minute * 60 + second) * 1_000 + fraction, precision, east))
}

fn fields<const N: usize>(text: &str) -> Option<[u64; N]> {
    let fields: Vec<u64> = text.split(':').map(digits::<2>).collect::<Option<_>>()?;
    fields.try_into().ok()
}

/// Exactly so many digits.
fn digits<const N: usize>(text: &str) -> Option<u64> {
    (text.len() == N && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<(String, String)> {
        span(text).map(|(from, until)| (instant(from), instant(until)))
    }

    #[test]
    fn a_time_stands_for_all_that_it_does_not_say() {
        for (text, from, until) in [
            ("2026", "2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
            ("2024-02", "2024-02-01T00:00:00.000Z", "2024-03-01T00:00:00.000Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000Z", "2024-03-01T00:00:00.000Z"),
            ("2016-06-23T17:32:33+10:00", "2016-06-23T07:32:33.000Z", "2016-06-23T07:32:34.000Z"),
            ("2016-06-23T23:32:33.5-11:30", "2016-06-24T11:02:33.500Z", "2016-06-24T11:02:33.600Z"),
            ("1970-01-01T00:00:00.000999Z", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(shown(text), Some((from.to_owned(), until.to_owned())), "{text}");
        }
        assert_eq!(instant(TimestampMs(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "T",
            "26",
            "1969",
            "2026-1",
            "2026-13",
            "2026-00",
            "2026-02-30",
            "2026-01-00",
            "2026-01-01-01",
            "2026-01T00:00:00Z",
            "2026-01-01T00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+15:00",
            "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+00:01",
            "+026",
            "２０２４",
            "2026-01-01Tä",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn months_are_whole_or_none() {
        let number = |year: u64, month: u64| year * 12 + month - 1;
        assert_eq!(months("2025"), Some((Some(number(2025, 1)), Some(number(2026, 1)))));
        assert_eq!(months("2025-12"), Some((Some(number(2025, 12)), Some(number(2026, 1)))));
        assert_eq!(months("2025-12-01"), Some((Some(number(2025, 12)), None)));
        assert_eq!(months("2024-02-29"), Some((None, Some(number(2024, 3)))));
        assert_eq!(months("2025-12-15"), Some((None, None)));
        assert_eq!(months("2025-02-29"), None);
        assert_eq!(months("2025-12-01T00:00:00Z"), None);
    }
}
