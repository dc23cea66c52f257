//! drbddisk and drbdupper: the role of a DRBD volume, by drbdadm(8), as the scripts of the DRBD packages
//! do it (agents spec 2.9). Their lines and exit codes are their own, not those of the common wrapper.
//!
//! What differs, on purpose: each call of drbdadm has a time limit, a minute, so that a hanging one is
//! told and tried again; where neither drbdadm nor a DRBD device is, stop has nothing to do; a stop of
//! drbdupper that failed says so.

use std::fs;
use std::time::Duration;

use super::command::{self, Program};
use super::heartbeat_class::Report;
use super::{Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// A DRBD volume.
pub const DRBDDISK: Agent = Agent {
    name: "drbddisk",
    summary: "Makes a DRBD volume primary",
    description: "Makes a DRBD resource primary on start and secondary on stop, by drbdadm.",
    usage: "Usage: drbddisk [resource] {start|stop|status}",
    parameters: &[Parameter::string("resource", "DRBD resource", "Its name in drbd.conf.").or("all")],
    from_arguments: |arguments| match arguments {
        [resource] => Ok(Call::new(format!("drbddisk_{resource}")).with("resource", resource)),
        // With more words the script takes the first as its command, which is none.
        [] => Ok(Call::new("drbddisk_all")),
        _ => Err(WrongArguments::silent()),
    },
    run: |context, action| exit_code(action, operate_disk(context, action.as_str()).code),
    class_operate: Some(operate_disk),
    ..Agent::BASE
};

/// A DRBD volume on top of another.
pub const DRBDUPPER: Agent = Agent {
    name: "drbdupper",
    summary: "Makes a stacked DRBD volume primary",
    description:
        "Makes the lower DRBD resource primary, then the stacked one above it, by drbdadm; down and \
secondary again on stop. The address of the stacked resource must be there first.",
    usage: "Usage: drbdupper {resource} {start|stop|status}",
    parameters: &[Parameter::string("resource", "Stacked DRBD resource", "Its name in drbd.conf.").required()],
    from_arguments: |arguments| match arguments {
        [resource] => Ok(Call::new(format!("drbdupper_{resource}")).with("resource", resource)),
        _ => Ok(Call::new("drbdupper_")),
    },
    run: |context, action| exit_code(action, operate_upper(context, action.as_str()).code),
    class_operate: Some(operate_upper),
    ..Agent::BASE
};

/// For one call.
const LIMIT: Duration = Duration::from_secs(60);
/// The peer's resources need a moment to be noticed as gone: DRBD's ping may take longer than deadtime.
const START_TRIES: u32 = 6;
const STOP_TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long the other side of a stacked resource is waited for. It may well be down.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const TABLE: &str = "/proc/drbd";
/// The scripts' own code for a missing resource name.
const NO_NAME: u8 = 10;

fn report(code: u8, line: &str) -> Report {
    Report { code, line: line.to_owned() }
}

fn operate_disk(context: &Context, operation: &str) -> Report {
    let resource = context.value("resource");
    match operation {
        "start" => report(u8::from(!tried(context, &["primary", resource], START_TRIES)), ""),
        "stop" | "validate-all" if nothing_here() => report(0, ""),
        "stop" => report(u8::from(!tried(context, &["secondary", resource], STOP_TRIES)), ""),
        // The original's script knows no monitor; a cluster manager of the OCF kind does.
        "status" | "monitor" if resource == "all" => {
            report(NO_NAME, "A resource name is required for status inquiries.")
        }
        "status" | "monitor" => {
            let role = role_of(context, resource);
            match role.as_str() {
                "Primary" => report(0, "running (Primary)"),
                "Secondary" | "Unconfigured" => report(3, &format!("stopped ({role})")),
                // In doubt it must count as running: a node that cannot let go is reset.
                _ => report(4, &format!("cannot determine status, may be running ({role})")),
            }
        }
        "validate-all" => report(if command::find("drbdadm").is_some() { 0 } else { 5 }, ""),
        _ => report(1, DRBDDISK.usage),
    }
}

fn operate_upper(context: &Context, operation: &str) -> Report {
    let resource = context.value("resource");
    if resource.is_empty() || resource == "all" {
        return report(NO_NAME, "A resource name is required.");
    }
    match operation {
        "start" => report(start_upper(context, resource), ""),
        "stop" if nothing_here() => report(0, ""),
        "stop" => report(stop_upper(context, resource), ""),
        "status" | "monitor" => {
            let shown = asked(context, &["-S", "role", resource]).unwrap_or_default();
            let primary = shown.contains("Primary/") || shown.trim() == "Primary";
            let word = if primary { "running" } else { "stopped" };
            // The original's status ends with 0 in any case; its monitor does not exist.
            report(if operation == "status" || primary { 0 } else { 3 }, word)
        }
        "validate-all" => report(if command::find("drbdadm").is_some() { 0 } else { 5 }, ""),
        _ => report(1, DRBDUPPER.usage),
    }
}

fn start_upper(context: &Context, resource: &str) -> u8 {
    let Some(lower) = lower_of(context, resource) else { return 1 };
    if !tried(context, &["primary", &lower], 1) {
        return 1;
    }
    // Both may fail: the size is the same as before, or the other side is not there.
    drbdadm(context, &["-S", "check-resize", resource], LIMIT);
    if !tried(context, &["-S", "adjust", resource], 1) {
        return 1;
    }
    drbdadm(context, &["-S", "wait-connect", resource], CONNECT_LIMIT);
    u8::from(!tried(context, &["-S", "primary", resource], 1))
}

fn stop_upper(context: &Context, resource: &str) -> u8 {
    let down = tried(context, &["-S", "down", resource], 1);
    let secondary =
        lower_of(context, resource).is_some_and(|lower| tried(context, &["secondary", &lower], 1));
    u8::from(!(down && secondary))
}

/// The resource that a stacked one lies upon.
fn lower_of(context: &Context, resource: &str) -> Option<String> {
    let lower = asked(context, &["-S", "sh-lr-of", resource])?.trim().to_owned();
    if lower.is_empty() || lower.contains(char::is_whitespace) {
        context.log.error(&format!("drbdadm names no single lower resource of {resource}: {lower:?}"));
        return None;
    }
    Some(lower)
}

/// The local role: drbdadm's word, else that of the kernel's table.
fn role_of(context: &Context, resource: &str) -> String {
    let shown = asked(context, &["role", resource]).unwrap_or_default();
    let role = shown.trim().split('/').next().unwrap_or_default();
    if matches!(role, "Primary" | "Secondary" | "Unconfigured") {
        return role.to_owned();
    }
    let Ok(table) = fs::read_to_string(TABLE) else { return "Unconfigured".to_owned() };
    let device = asked(context, &["sh-dev", resource]).unwrap_or_default();
    let mut minor = device.trim().strip_prefix("/dev/drbd").unwrap_or_default().to_owned();
    if !is_number(&minor) {
        // Known since DRBD 8.3.1.
        asked(context, &["sh-minor", resource]).unwrap_or_default().trim().clone_into(&mut minor);
    }
    if !is_number(&minor) {
        return "Unknown".to_owned();
    }
    role_in(&table, &minor)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The role of a device in the kernel's table: ` 0: cs:Connected ro:Primary/Secondary ds:...`.
fn role_in(table: &str, minor: &str) -> String {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(minor)?.strip_prefix(": cs:"));
    let Some(line) = line else { return "Unconfigured".to_owned() };
    // `st:` before DRBD 8.3.
    let role = line.split_whitespace().find_map(|word| word.strip_prefix("ro:").or(word.strip_prefix("st:")));
    role.and_then(|roles| roles.split('/').next()).unwrap_or("Unconfigured").to_owned()
}

/// No program and no device: nothing can be primary.
fn nothing_here() -> bool {
    command::find("drbdadm").is_none() && !std::path::Path::new(TABLE).exists()
}

/// Tries a change until it succeeds.
fn tried(context: &Context, words: &[&str], tries: u32) -> bool {
    for round in 0..tries {
        if round > 0 {
            std::thread::sleep(PAUSE);
        }
        if drbdadm(context, words, LIMIT).is_some() {
            return true;
        }
        if command::find("drbdadm").is_none() {
            break;
        }
    }
    false
}

fn asked(context: &Context, words: &[&str]) -> Option<String> {
    drbdadm(context, words, LIMIT)
}

/// What drbdadm printed, when it succeeded. What it says is passed on and, when it failed, logged.
fn drbdadm(context: &Context, words: &[&str], limit: Duration) -> Option<String> {
    match Program::new("drbdadm").args(words).limit(limit).run() {
        Ok(finished) if finished.code == 0 => Some(finished.stdout),
        Ok(finished) => {
            let said = format!("{} {}", finished.stderr, finished.stdout);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            context.log.error(&format!("drbdadm {}: exit code {}: {said}", words.join(" "), finished.code));
            None
        }
        Err(error) => {
            context.log.error(&format!("drbdadm {}: {error}", words.join(" ")));
            None
        }
    }
}

/// The scripts' codes in the words of the OCF interface.
fn exit_code(action: Action, code: u8) -> ExitCode {
    match (action, code) {
        (_, 0) => ExitCode::Success,
        (_, 3) => ExitCode::NotRunning,
        (_, 5) => ExitCode::NotInstalled,
        (_, NO_NAME) => ExitCode::NotConfigured,
        _ => ExitCode::GenericError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_in_both_generations() {
        let table = "version: 8.3.16 (api:88/proto:86-97)\n 0: cs:Connected ro:Primary/Secondary ds:UpToDate\n    ns:0\n\
             10: cs:WFConnection st:Secondary/Unknown ds:x\n 2: cs:Unconfigured\n";
        let roles = ["0", "10", "1", "2"].map(|minor| role_in(table, minor));
        assert_eq!(roles, ["Primary", "Secondary", "Unconfigured", "Unconfigured"]);
        for hostile in ["", ":", "0: cs:", "0: cs: ro:", "0: cs:\0 ro:/", "\u{ff}"] {
            role_in(hostile, "0");
        }
    }
}
