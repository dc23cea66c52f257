//! A process as `ps -f PID` shows it, for the lines that tell who gets a signal.

use std::fs;
use std::path::Path;

use nix::unistd::{Uid, User};

use crate::sys::time::{local_time, unix_time_s};

/// Longest command that is shown, in bytes.
const COMMAND_MAX_BYTES: usize = 512;

/// Fields of /proc/PID/stat.
struct Stat<'a> {
    name: String,
    state: char,
    fields: Vec<&'a str>,
}

/// User, number, parent, processor use, start, terminal, state, time, command. `None` when there is no
/// such process.
pub fn line(pid: i32) -> Option<String> {
    let directory = format!("/proc/{pid}");
    let raw = fs::read(format!("{directory}/stat")).ok()?;
    let text = String::from_utf8_lossy(&raw);
    let stat = Stat::parse(&text)?;
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&directory).ok()?);
    let user = match User::from_uid(Uid::from_raw(owner)) {
        Ok(Some(user)) if user.name.len() <= 8 => user.name,
        _ => owner.to_string(),
    };
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split('.').next()?.parse().ok()?;
    let ticks = stat.number(11) + stat.number(12);
    let (hertz, started_s) = (hertz(), stat.number(19) / hertz());
    let used_s = ticks / hertz;
    let lived_s = (uptime as u64).saturating_sub(started_s).max(1);
    let percent = (used_s * 100 / lived_s).min(99);
    let start = start_text(unix_time_s() - i64::try_from(lived_s).ok()?);
    Some(format!(
        "{user:<8} {pid:>5} {parent:>5} {percent:>2} {start:>5} {terminal:<8} {state:<4} {time:>6} {command}",
        parent = stat.number(1),
        terminal = terminal(stat.signed(4)),
        state = state(&stat, pid),
        time = format!("{}:{:02}", used_s / 60, used_s % 60),
        command = command(&directory, &stat),
    ))
}

impl<'a> Stat<'a> {
    /// The name in parentheses may hold anything, so the last parenthesis counts.
    fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = (text.find('(')?, text.rfind(')')?);
        let mut fields = text.get(rest + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self {
            name: text.get(name + 1..rest)?.to_owned(),
            state,
            // So that the parent has index 1, the group 2, the session 3, and so on.
            fields: [""].into_iter().chain(fields).collect(),
        })
    }

    fn number(&self, index: usize) -> u64 {
        self.fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    fn signed(&self, index: usize) -> i64 {
        self.fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
    }
}

fn state(stat: &Stat<'_>, pid: i32) -> String {
    let mut text = stat.state.to_string();
    match stat.signed(16) {
        nice if nice < 0 => text.push('<'),
        nice if nice > 0 => text.push('N'),
        _ => (),
    }
    if stat.number(3) == pid as u64 {
        text.push('s');
    }
    if stat.number(17) > 1 {
        text.push('l');
    }
    if stat.signed(5) == stat.signed(2) && stat.signed(2) > 0 {
        text.push('+');
    }
    text
}

/// By the usual numbers of terminals; the number itself for others.
fn terminal(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major},{minor}"),
    }
}

/// The time of day for today, else the day, else the year.
fn start_text(started_s: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (start, now) = (local_time(started_s), local_time(unix_time_s()));
    if (start.year, start.month, start.day) == (now.year, now.month, now.day) {
        return format!("{:02}:{:02}", start.hour, start.minute);
    }
    if start.year == now.year {
        let month = MONTHS.get(start.month as usize - 1).unwrap_or(&"?");
        return format!("{month}{:02}", start.day);
    }
    start.year.to_string()
}

fn command(directory: &str, stat: &Stat<'_>) -> String {
    let raw = fs::read(Path::new(directory).join("cmdline")).unwrap_or_default();
    let words: Vec<_> =
        raw.split(|byte| *byte == 0).map(String::from_utf8_lossy).filter(|word| !word.is_empty()).collect();
    let mut text = if words.is_empty() { format!("[{}]", stat.name) } else { words.join(" ") };
    if text.len() > COMMAND_MAX_BYTES {
        let end = (0..=COMMAND_MAX_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn hertz() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|hertz| u64::try_from(hertz).ok())
        .filter(|hertz| *hertz > 0)
        .unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_ps_shows_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().to_string();
        let output = std::process::Command::new("ps").args(["-f", &pid]).output();
        let own = line(child.id() as i32).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line(i32::MAX), None);
        let Ok(output) = output else { return crate::skip::skip("no ps(1)") };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            // The minute may change between the two.
            [&words[..4], &words[5..]].concat()
        };
        assert_eq!(words(&own), words(text.lines().last().unwrap()), "{own}\n{text}");
    }

    #[test]
    fn names_of_processes_may_hold_anything() {
        let stat = Stat::parse("7 (a) b (c) S 1 2 3 34816 5").unwrap();
        assert_eq!(
            (stat.name.as_str(), stat.state, stat.number(1), stat.signed(4)),
            ("a) b (c", 'S', 1, 34816)
        );
        assert_eq!(
            (terminal(34816), terminal(0), terminal(0x440)),
            ("pts/0".into(), "?".into(), "ttyS0".into())
        );
        for text in ["", "7", "7 (", "7 (x", "7 )x(", "7 (x)", "7 (x) "] {
            assert!(Stat::parse(text).is_none(), "{text}");
        }
    }
}
