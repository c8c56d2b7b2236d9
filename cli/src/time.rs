//! Times as people write them: UTC, `2026-12-31` or `2026-12-31T23:59:59Z`, or from now on: `12h`, `30d`.

use std::time::Duration;

use epione_client::civil::{self, DAY_MS};
use epione_types::TimestampMs;

/// Reads a time; `now` is what a duration counts from.
pub(crate) fn parse(text: &str, now: TimestampMs) -> Result<TimestampMs, String> {
    let wanted = || {
        format!(
            "'{text}' is no time; write 2026-12-31, 2026-12-31T23:59:59Z, or a duration from now such as 12h or 30d"
        )
    };
    if let Some(unit) = text.chars().last().filter(char::is_ascii_lowercase) {
        let number =
            text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok()).ok_or_else(wanted)?;
        let unit_ms = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => DAY_MS,
            _ => return Err(wanted()),
        };
        return Ok(now.plus(number.saturating_mul(unit_ms)));
    }
    let (date, clock) = match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((date, clock)) => (date, numbers::<3>(clock, ':').ok_or_else(wanted)?),
        None => (text, [0, 0, 0]),
    };
    let [year, month, day] = numbers::<3>(date, '-').ok_or_else(wanted)?;
    let [hour, minute, second] = clock;
    let days = civil::days(year, month, day).ok_or_else(wanted)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(wanted());
    }
    Ok(TimestampMs(days * DAY_MS + (hour * 3_600 + minute * 60 + second) * 1_000))
}

/// As `2026-12-31T23:59:59Z`.
pub(crate) fn show(time: TimestampMs) -> String {
    let (days, seconds) = (time.0 / DAY_MS, time.0 % DAY_MS / 1_000);
    let (year, month, day) = civil::date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A duration for people.
pub(crate) fn took(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 10_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1_000, ms % 1_000 / 100) }
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let parts: Vec<u64> = text
        .split(separator)
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?)
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        let now = TimestampMs(1_000);
        assert_eq!(parse("1970-01-01", now).unwrap(), TimestampMs(0));
        assert_eq!(parse("2000-02-29T12:30:15Z", now).unwrap(), TimestampMs(951_827_415_000));
        assert_eq!(parse("2d", now).unwrap(), TimestampMs(2 * DAY_MS + 1_000));
        for text in ["2026-12-31T23:59:59Z", "2024-02-29T00:00:00Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(show(parse(text, now).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "d",
            "1w",
            "2026-02-29",
            "2026-13-01",
            "2026-04-31",
            "2026-01-01T24:00:00Z",
            "+2026-01-01",
            "12:00",
            "ä",
        ] {
            assert!(parse(text, TimestampMs(0)).is_err(), "{text}");
        }
    }
}
