//! The kinds of values ha.cf knows, with the original's idea of each (messaging spec 5.1).

/// A value and whether all of its text was used. The original ignores what follows a number; we
/// do so too, but say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed<T> {
    /// The value.
    pub(super) value: T,
    /// Nothing was left over.
    pub(super) exact: bool,
}

/// Longest time that is accepted, ten years in milliseconds: keeps every sum of times far from
/// overflow.
pub(super) const TIME_MAX_MS: u64 = 10 * 365 * 86_400_000;

/// true, on, yes, y, 1 or false, off, no, n, 0, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "on", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "off", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A time in milliseconds: digits and dots, then nothing (seconds), `ms…` or `us…` in any case.
/// Rounded to the nearest millisecond. Words like `s` or `min` are no units.
pub(super) fn time_ms(text: &str) -> Option<Parsed<u64>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => 1000.0,
        unit if unit.starts_with("ms") => 1.0,
        unit if unit.starts_with("us") => 0.001,
        _ => return None,
    };
    // "1.5.2" is 1.5 for the original
    let second_dot = number.match_indices('.').nth(1).map_or(number.len(), |(index, _)| index);
    let value: f64 = number[..second_dot].parse().ok()?;
    let ms = (value * factor + 0.5).floor();
    let usual_unit = matches!(unit.as_str(), "" | "ms" | "msec" | "us" | "usec");
    let exact = second_dot == number.len() && usual_unit;
    (ms.is_finite() && ms <= TIME_MAX_MS as f64).then_some(Parsed { value: ms as u64, exact })
}

/// A time of ha.cf in milliseconds, where nothing need be said of words behind the unit.
pub fn milliseconds(text: &str) -> Option<u64> {
    time_ms(text).map(|parsed| parsed.value)
}

/// A whole number as C reads it: optional sign, digits, the rest left over. `None` when there is
/// no digit or the number does not fit.
pub(super) fn integer(text: &str) -> Option<Parsed<i64>> {
    let digits_from = usize::from(text.starts_with(['+', '-']));
    let digits = text[digits_from..].bytes().take_while(u8::is_ascii_digit).count();
    let end = digits_from + digits;
    let value = text[..end].parse().ok()?;
    Some(Parsed { value, exact: end == text.len() })
}

/// syslog facility by name, case counts, without the shift of three bits.
pub fn syslog_facility(name: &str) -> Option<u8> {
    const NAMES: [(&str, u8); 20] = [
        ("kern", 0),
        ("user", 1),
        ("mail", 2),
        ("daemon", 3),
        ("auth", 4),
        ("syslog", 5),
        ("lpr", 6),
        ("news", 7),
        ("uucp", 8),
        ("cron", 9),
        ("authpriv", 10),
        ("ftp", 11),
        ("local0", 16),
        ("local1", 17),
        ("local2", 18),
        ("local3", 19),
        ("local4", 20),
        ("local5", 21),
        ("local6", 22),
        ("local7", 23),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_the_original_reads_them() {
        let cases = [
            ("2", Some(2000)),
            ("1500ms", Some(1500)),
            ("100MSEC", Some(100)),
            ("0.1", Some(100)),
            (".1", Some(100)),
            ("500us", Some(1)),
            ("5us", Some(0)),
            ("1.5.2ms", Some(2)),
            ("1s", None),
            ("100mx", None),
            ("ms", None),
            (".", None),
            ("+1", None),
            ("-1", None),
            ("", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time_ms(text).map(|time| time.value), expected, "{text}");
        }
        assert!(!time_ms("1.5.2ms").unwrap().exact);
        assert!(time_ms("1.5").unwrap().exact);
    }

    #[test]
    fn numbers_and_booleans() {
        assert_eq!(integer("12x"), Some(Parsed { value: 12, exact: false }));
        assert_eq!(integer("-3"), Some(Parsed { value: -3, exact: true }));
        assert_eq!(integer("junk"), None);
        assert_eq!(integer("-"), None);
        assert_eq!(integer("99999999999999999999"), None);
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean("n"), Some(false));
        assert_eq!(boolean("tru"), None);
        assert_eq!(syslog_facility("local3"), Some(19));
        assert_eq!(syslog_facility("LOCAL3"), None);
    }
}
