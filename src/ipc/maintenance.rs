//! `ha maintenance`: the pair leaves its resources alone for a while.

use std::path::Path;

use super::client::{Client, TIMEOUT_MS};
use super::terminal::Terminal;
use crate::types::MAINTENANCE_MAX_MS;

/// Without `--for`, milliseconds: an hour.
pub const DEFAULT_MS: u64 = 3_600_000;

/// Begins it for so many milliseconds, or ends it (`None`). The value is the exit code: 0 done, 1 refused
/// or no daemon; then nothing was changed.
pub fn run(for_ms: Option<u64>, socket: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let number = for_ms.map(|for_ms| for_ms.to_string());
    let mut fields = vec![("command", "maintenance")];
    fields.extend(number.as_deref().map(|number| ("for_ms", number)));
    let reply =
        Client::sign_on(socket, TIMEOUT_MS).and_then(|mut client| client.request("ha-command", &fields));
    let reason = match reply {
        Ok(reply) if reply.text("result") == Some("OK") => {
            terminal.say(&match for_ms {
                Some(for_ms) => format!(
                    "maintenance for {} minutes: nobody watches, restarts or takes over resources",
                    for_ms.div_ceil(60_000)
                ),
                None => "maintenance is over".to_owned(),
            });
            return 0;
        }
        Ok(reply) => reply.text("info").unwrap_or("this daemon knows no maintenance").to_owned(),
        Err(error) => format!("{error}; nothing was changed"),
    };
    terminal.complain(&format!("ha maintenance: {reason}"));
    1
}

/// `90` and `90s` (seconds), `30m`, `2h`, `1d`; above 0 and at most a week, as milliseconds.
///
/// # Errors
/// What is expected.
pub fn time(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a time such as 90s, 30m, 2h or 1d, at most a week";
    let (digits, unit_ms) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1000),
        Some((at, 'm')) => (&text[..at], 60_000),
        Some((at, 'h')) => (&text[..at], 3_600_000),
        Some((at, 'd')) => (&text[..at], 86_400_000),
        _ => (text, 1000),
    };
    let number: u64 = digits.parse().map_err(|_| EXPECTED.to_owned())?;
    let time_ms = number.saturating_mul(unit_ms);
    let allowed = 1..=MAINTENANCE_MAX_MS;
    allowed.contains(&time_ms).then_some(time_ms).ok_or_else(|| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!((time("90"), time("2h"), time("7d")), (Ok(90_000), Ok(7_200_000), Ok(604_800_000)));
        for bad in ["", "0", "8d", "x", "-1", "1.5h", "99999999999999999999", "1\u{e9}"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
