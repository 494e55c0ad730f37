//! Values as people read them: sizes, times, durations, names that cannot drive a terminal.

use std::time::Duration;

pub(crate) use dfs_wire::units::size;
use jiff::Timestamp;

/// `text` with control characters made visible: a name must never drive the terminal it is shown on.
pub(crate) fn plain(text: &str) -> String {
    if !text.chars().any(hostile) {
        return text.to_owned();
    }
    text.chars().map(|c| if hostile(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// A text that may not be there: absent is `null` in the machine formats, never an empty text.
pub(crate) fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Control characters, and the marks that turn the direction of what follows.
fn hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds since 1970 as RFC 3339 in UTC, to the second; what is out of range as the number.
pub(crate) fn time(millis: u64) -> String {
    match i64::try_from(millis / 1000).ok().and_then(|s| Timestamp::from_second(s).ok()) {
        Some(timestamp) => timestamp.to_string(),
        None => millis.to_string(),
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC, to the millisecond: the form of the machine formats.
pub(crate) fn exact_time(millis: u64) -> String {
    match i64::try_from(millis).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(timestamp) => format!("{timestamp:.3}"),
        None => millis.to_string(),
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC, to the second.
pub(crate) fn time_of_ns(nanos: i64) -> String {
    match Timestamp::from_second(nanos.div_euclid(1_000_000_000)) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => nanos.to_string(),
    }
}

/// The day of nanoseconds since 1970, in UTC.
pub(crate) fn date_of_ns(nanos: i64) -> String {
    time_of_ns(nanos).split('T').next().unwrap_or_default().to_owned()
}

/// Nanoseconds since 1970 as RFC 3339 in UTC: to the millisecond, or exactly where that says less.
pub(crate) fn exact_time_of_ns(nanos: i64) -> String {
    match Timestamp::from_nanosecond(nanos.into()) {
        Ok(timestamp) if nanos % 1_000_000 == 0 => format!("{timestamp:.3}"),
        Ok(timestamp) => format!("{timestamp:.9}"),
        Err(_) => nanos.to_string(),
    }
}

/// A duration with its two largest units: `0s`, `850ms`, `12s`, `3m 20s`, `2d 4h`.
pub(crate) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if millis == 0 => "0s".to_owned(),
        () if seconds == 0 => format!("{millis}ms"),
        () if seconds < 60 => format!("{seconds}s"),
        () if seconds < 3_600 => format!("{minutes}m {}s", seconds % 60),
        () if days == 0 => format!("{hours}h {minutes}m"),
        () => format!("{days}d {hours}h"),
    }
}

/// Bytes per second over `elapsed`.
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.000_001);
    format!("{}/s", size((bytes as f64 / seconds) as u64))
}

/// A share in percent; an empty whole has none.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.1}%", part as f64 * 100.0 / whole as f64),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = match noun {
        "entry" => "entries",
        "directory" => "directories",
        "copy" => "copies",
        "link or special file" => "links or special files",
        _ => "",
    };
    match (number, plural) {
        (1, _) => format!("1 {noun}"),
        (_, "") => format!("{number} {noun}s"),
        (_, plural) => format!("{number} {plural}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_read_well() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(exact_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
        let spans = [0, 850, 12_000, 200_000, 7_260_000, 187_200_000].map(duration);
        assert_eq!(spans, ["0s", "850ms", "12s", "3m 20s", "2h 1m", "2d 4h"]);
        assert_eq!(percent(1, 0), "-");
        assert_eq!(percent(1, 8), "12.5%");
        assert_eq!([count(1, "file"), count(2, "entry")], ["1 file", "2 entries"]);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
        assert_eq!(plain("naïve 文.txt"), "naïve 文.txt");
    }
}
