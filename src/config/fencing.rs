//! What stands between the other node's death and its takeover: `stonith`, `stonith_host` and what
//! belongs to them, and `takeover` (resources spec 3.1).

use super::apply::{Fault, Word};
use super::clients::split_word;
use super::ha_cf::Reader;
use super::settings::{FencingDevice, TakeoverMode};
use super::value;
use crate::types::{DeviceFault, DeviceValues};

/// Most devices: more than anybody waits for.
const DEVICES_MAX: usize = 16;
/// Longest time for a device or a delay, milliseconds.
const TIME_MAX_MS: u64 = 24 * 3_600_000;

/// What to do about wrong parameters.
const SHOWS: &str = "whether there is such a device, and its parameters in order, shows: stonith";

/// `stonith TYPE FILE`
pub(super) fn stonith(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected a type and a file";
    let (kind, file) = split_word(word.text);
    if kind.is_empty() {
        return Err(Fault::new("the device's type is missing", HELP).error("No Stonith type given"));
    }
    if file.is_empty() {
        let fault = Fault::new("the device's file is missing", HELP);
        return Err(fault.error("Invalid Stonith config file []"));
    }
    let known = (reader.host.fencing_device)(kind, DeviceValues::File(file));
    // Several words are the values themselves, in the wrong place: they may hold a password.
    let shown = match file.split_once(char::is_whitespace) {
        Some((first, _)) => format!("{first} ..."),
        None => file.to_owned(),
    };
    let (name, values) = known.map_err(|fault| match fault {
        DeviceFault::Type => unknown_type(kind),
        DeviceFault::Values => Fault::new(
            format!("`{shown}` does not have the parameters of a {kind} device in one line"),
            format!("{SHOWS} -t {kind} -n"),
        )
        .error(format!("Invalid Stonith config file [{shown}]")),
    })?;
    add(reader, FencingDevice { kind: kind.to_owned(), values, name })
}

/// `stonith_host HOST|* TYPE VALUE...`: lines for other hosts say nothing here.
pub(super) fn stonith_host(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected a node or *, a type and its parameters";
    let (host, rest) = split_word(word.text);
    if host.is_empty() {
        let fault = Fault::new("the host is missing", HELP);
        return Err(fault.error("No Stonith hostname argument given"));
    }
    if host != "*" && host.to_lowercase() != reader.node_name {
        return Ok(());
    }
    let (kind, values) = split_word(rest);
    if kind.is_empty() {
        return Err(Fault::new("the device's type is missing", HELP).error("No Stonith type given"));
    }
    let known = (reader.host.fencing_device)(kind, DeviceValues::Text(values));
    let (name, values) = known.map_err(|fault| match fault {
        DeviceFault::Type => unknown_type(kind),
        // One of them may be a password: not shown, unlike the original.
        DeviceFault::Values => Fault::new(
            format!("these are not the parameters of a {kind} device"),
            format!("{SHOWS} -t {kind} -n"),
        )
        .error(match values.is_empty() {
            true => "Invalid Stonith configuration parameter []",
            false => "Invalid Stonith configuration parameter [...]",
        }),
    })?;
    add(reader, FencingDevice { kind: kind.to_owned(), values, name })
}

fn unknown_type(kind: &str) -> Fault {
    Fault::new(format!("there is no fencing device of type `{kind}`"), "`stonith -L` lists the types")
        .error(format!("Invalid Stonith type [{kind}]"))
}

fn add(reader: &mut Reader<'_>, device: FencingDevice) -> Result<(), Fault> {
    let devices = &mut reader.draft.settings.fencing.devices;
    if devices.len() >= DEVICES_MAX {
        return Err(Fault::new(format!("more than {DEVICES_MAX} fencing devices"), ""));
    }
    devices.push(device);
    Ok(())
}

/// `stonith_timeout TIME`, ours.
pub(super) fn stonith_timeout(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.fencing.limit_ms = time(word.text, 1_000)?;
    Ok(())
}

/// `stonith_delay FIXED [RANDOM]`, ours.
pub(super) fn stonith_delay(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let mut words = word.text.split_whitespace();
    let fixed_ms = time(words.next().unwrap_or_default(), 0)?;
    let random_ms = words.next().map_or(Ok(0), |word| time(word, 0))?;
    if words.next().is_some() {
        return Err(Fault::new("there are more than two times", "expected a fixed and a random delay"));
    }
    let fencing = &mut reader.draft.settings.fencing;
    (fencing.delay_ms, fencing.delay_random_ms) = (fixed_ms, random_ms);
    Ok(())
}

/// `stonith_unheard fence|wait`, ours.
pub(super) fn stonith_unheard(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.fencing.waits_for_unheard = match word.text {
        "fence" => false,
        "wait" => true,
        other => return Err(Fault::new(format!("`{other}` is unknown"), "expected fence or wait")),
    };
    Ok(())
}

/// `takeover auto|delay TIME|manual`, ours.
pub(super) fn takeover(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected auto, manual, or delay and a time";
    let words: Vec<&str> = word.text.split_whitespace().collect();
    reader.draft.settings.takeover = match words[..] {
        ["auto"] => TakeoverMode::Auto,
        ["manual"] => TakeoverMode::Manual,
        ["delay", text] => TakeoverMode::Delay { ms: time(text, 1)? },
        _ => return Err(Fault::new(format!("`{}` is no way to take over", word.text), HELP)),
    };
    Ok(())
}

fn time(text: &str, least_ms: u64) -> Result<u64, Fault> {
    let known = value::time_ms(text).filter(|time| time.exact).map(|time| time.value);
    known.filter(|ms| (least_ms..=TIME_MAX_MS).contains(ms)).ok_or_else(|| {
        let help = "expected seconds (`60`) or milliseconds (`500ms`), up to a day";
        Fault::new(format!("`{text}` is not a time that is possible here"), help)
    })
}
