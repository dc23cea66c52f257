//! Directives of ours that watch and warn: what each does with one argument.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::apply::{boolean, Fault, Word};
use super::diagnostic::Severity;
use super::ha_cf::Reader;
use super::medium::parts;
use super::settings::{AlarmTarget, Monitor};
use super::value;

/// Where the kernel shows its watchdogs.
const WATCHDOGS: &str = "/sys/class/watchdog";
/// Most `monitor` lines.
const MONITORS_MAX: usize = 1000;
/// Most failures and restarts of one.
const COUNT_MAX: u32 = 1000;
/// What stands behind the resource.
const MONITOR_OPTIONS: [&str; 4] = ["interval", "timeout", "failures", "restarts"];
/// Longest time of a directive here, milliseconds: a day.
const TIME_MAX_MS: u64 = 86_400_000;
/// Most `alarm` lines.
const ALARMS_MAX: usize = 8;

/// `alarm PROGRAM [ARGUMENT ...]` or `alarm mail ADDRESS[,ADDRESS...] [smtp=HOST[:PORT]]`.
pub(super) fn alarm(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected a program with its full path, or mail and addresses separated by commas";
    let mut words = word.text.split_whitespace();
    let target = match words.next() {
        None => return Err(Fault::new("nobody is named", HELP)),
        Some("mail") => {
            let addresses = words.next().ok_or_else(|| Fault::new("the mail address is missing", HELP))?;
            if addresses.split(',').any(|address| !is_mail_address(address)) {
                return Err(Fault::new(format!("`{addresses}` is no list of mail addresses"), HELP));
            }
            let server = match words.next().map(|word| word.strip_prefix("smtp=").unwrap_or_default()) {
                None => None,
                Some("") => {
                    return Err(Fault::new("unknown word behind the addresses", "expected smtp=HOST[:PORT]"))
                }
                Some(server) => Some(server.to_owned()),
            };
            if words.next().is_some() {
                return Err(Fault::new("words follow the mail server", HELP));
            }
            AlarmTarget::Mail { addresses: addresses.to_owned(), server }
        }
        Some(path) if path.starts_with('/') => {
            if !(reader.host.is_executable)(path) {
                let message = format!("`{path}` cannot be executed: nobody will be told of alarms by it");
                let help = "put the program there; it is looked for again with each alarm".to_owned();
                reader.remark(Severity::Warning, reader.place(word), message, help);
            }
            AlarmTarget::Program { path: path.to_owned(), arguments: words.map(str::to_owned).collect() }
        }
        Some(other) => return Err(Fault::new(format!("`{other}` is neither mail nor a full path"), HELP)),
    };
    let alarms = &mut reader.draft.settings.alarms;
    if alarms.len() >= ALARMS_MAX {
        return Err(Fault::new(format!("more than {ALARMS_MAX} alarm lines"), ""));
    }
    alarms.push(target);
    Ok(())
}

/// As far as needed so that nothing in it is an option or a command.
fn is_mail_address(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\');
    !text.is_empty() && !text.starts_with('-') && !text.contains(forbidden)
}

/// `monitor RESOURCE|all [interval=10s] [timeout=20s] [failures=3] [restarts=2]`
pub(super) fn monitor(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected a resource as in haresources or all, then interval=TIME timeout=TIME \
                        failures=NUMBER restarts=NUMBER";
    let parts = parts(word.text);
    let missing = || Fault::new("the resource is missing", HELP);
    let first = parts.first().ok_or_else(missing)?;
    let resource = first.text;
    if resource.split_once('=').is_some_and(|(name, _)| MONITOR_OPTIONS.contains(&name)) {
        return Err(missing().part(first));
    }
    let mut monitor = Monitor {
        resource: resource.to_owned(),
        interval_ms: 10_000,
        timeout_ms: 20_000,
        failures: 3,
        restarts: 2,
    };
    let mut given: Vec<&str> = Vec::new();
    for part in parts.iter().skip(1) {
        let fault = |message: String| Fault::new(message, HELP).part(part);
        let option = part.text.split_once('=');
        let (name, value) = option.ok_or_else(|| fault(format!("`{}` has no value", part.text)))?;
        if given.contains(&name) {
            return Err(fault(format!("{name} is given twice")));
        }
        given.push(name);
        let wrong = || fault(format!("`{value}` is no value of {name}"));
        let number = |least: u32| value.parse().ok().filter(|number| (least..=COUNT_MAX).contains(number));
        match name {
            "interval" => monitor.interval_ms = time(value).ok_or_else(wrong)?,
            "timeout" => monitor.timeout_ms = time(value).ok_or_else(wrong)?,
            "failures" => monitor.failures = number(1).ok_or_else(wrong)?,
            "restarts" => monitor.restarts = number(0).ok_or_else(wrong)?,
            _ => return Err(fault(format!("`{name}` is not known here"))),
        }
    }
    let monitors = &mut reader.draft.settings.monitors;
    if monitors.iter().any(|known| known.resource == monitor.resource) {
        return Err(Fault::new(format!("`{resource}` is monitored by another line"), "one line is enough"));
    }
    if monitors.len() >= MONITORS_MAX {
        return Err(Fault::new(format!("more than {MONITORS_MAX} monitor lines"), ""));
    }
    monitors.push(monitor);
    let start = word.start + first.start;
    let place = reader.source.place(word.line, start, start + resource.len());
    reader.draft.monitor_places.push(place);
    Ok(())
}

/// A time as everywhere in ha.cf, also with `s` for seconds and `m` for minutes; above 0, at most a day.
fn time(text: &str) -> Option<u64> {
    let exact = |text: &str| value::time_ms(text).filter(|time| time.exact).map(|time| time.value);
    // The units of ha.cf end in `s` as well.
    let number =
        |unit: char| text.strip_suffix(unit).filter(|rest| rest.ends_with(|c: char| c.is_ascii_digit()));
    let time_ms = match (number('s'), number('m')) {
        (Some(seconds), _) => exact(seconds)?,
        (None, Some(minutes)) => exact(minutes)?.checked_mul(60)?,
        _ => exact(text)?,
    };
    (1..=TIME_MAX_MS).contains(&time_ms).then_some(time_ms)
}

pub(super) fn own_addresses(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.own_addresses = Some(boolean(word)?);
    Ok(())
}

/// `watchdog_wait on|off|TIME`
pub(super) fn watchdog_wait(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.watchdog_wait = match (value::boolean(word.text), time(word.text)) {
        (Some(false), _) => None,
        (Some(true), _) => Some(None),
        (None, Some(time_ms)) => Some(Some(time_ms)),
        (None, None) => {
            return Err(Fault::new(
                format!("`{}` is no time", word.text),
                "expected on, off or the time of the other node's watchdog",
            ))
        }
    };
    Ok(())
}

/// What keeps the device of `watchdog` from doing what the daemon counts on, and what follows. The device
/// itself is not opened: that would arm it.
pub(super) fn device_remark(device: &Path, time_ms: u64) -> Option<(String, &'static str)> {
    const MISSING: &str = "heartbeat runs without it: nothing stands behind a lease and watchdog_wait then";
    let shown = device.display();
    match device.metadata() {
        Ok(found) if found.file_type().is_char_device() => {}
        Ok(_) => return Some((format!("`{shown}` is no device"), MISSING)),
        Err(error) => return Some((format!("`{shown}` cannot be used: {error}"), MISSING)),
    }
    let name = device.file_name()?.to_str()?;
    let folder = Path::new(WATCHDOGS).join(if name == "watchdog" { "watchdog0" } else { name });
    kept_by(&folder, time_ms / 1000)
}

/// The driver cannot be set to so many seconds. What it does not show (before Linux 5.18), or has no bound
/// for, is no remark.
fn kept_by(folder: &Path, seconds: u64) -> Option<(String, &'static str)> {
    const KEPT: &str =
        "a lease then counts for three times what the device keeps, and watchdog_wait waits for it";
    let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (least, most, kept) = (number("min_timeout")?, number("max_timeout")?, number("timeout")?);
    let fits = seconds >= least && (most == 0 || seconds <= most);
    let message =
        format!("the watchdog device cannot be set to {seconds} s (deadtime rounded up): it keeps {kept} s");
    (!fits).then_some((message, KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_keeps_its_time_is_told() {
        let class = tempfile::tempdir().unwrap();
        let show = |least: &str, most: &str| {
            for (name, text) in [("min_timeout", least), ("max_timeout", most), ("timeout", "60\n")] {
                std::fs::write(class.path().join(name), text).unwrap();
            }
            kept_by(class.path(), 11).map(|(message, _)| message)
        };
        assert_eq!(show("1\n", "65535\n"), None);
        assert_eq!(show("1\n", "0\n"), None);
        assert!(show("20\n", "0\n")
            .unwrap()
            .contains("cannot be set to 11 s (deadtime rounded up): it keeps 60 s"));
        assert!(show("1\n", "10\n").is_some());
        assert_eq!(show("1\n", "nonsense"), None);
        assert_eq!(kept_by(Path::new("/nonexistent"), 11), None);
    }

    #[test]
    fn what_is_no_device_is_told() {
        let remark = |path: &str| device_remark(Path::new(path), 11_000).map(|(message, _)| message);
        assert_eq!(remark("/dev/null"), None);
        assert_eq!(remark("/etc/passwd").unwrap(), "`/etc/passwd` is no device");
        assert!(remark("/nonexistent/watchdog").unwrap().contains("cannot be used"));
    }
}
