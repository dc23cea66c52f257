//! Xinetd: switches a service of xinetd on and off, in its file in /etc/xinetd.d (agents spec 2.7).
//!
//! What differs from the original, on purpose: stopping a service that has no file is well, because such
//! a service cannot be running; a file that cannot be written is an error.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config::below_root;

use super::script::read_text;
use super::{Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The agent.
pub const XINETD: Agent = Agent {
    name: "Xinetd",
    summary: "A service of xinetd",
    description: "Switches a service of xinetd on and off by the word disable in its file, and lets xinetd \
                  read it. The service needs a line `disable = yes` or `disable = no`; xinetd itself must \
                  be running, with -stayalive where it has no other service.",
    usage: "Usage: $0 <xinetd-service-name> $ACTIONS",
    ocf_usage: "Usage: $0 {start|stop|restart|status|monitor|validate-all|meta-data}",
    parameters: &[Parameter::string("service", "Service", "Name of the service's file.").required()],
    from_arguments: |arguments| match arguments {
        [service] => Ok(Call::new("Xinetd").with("service", service)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

const FOLDER: &str = "/etc/xinetd.d";
const DEFINITION_MAX_BYTES: u64 = 256 * 1024;

fn run(context: &Context, action: Action) -> ExitCode {
    let service = context.value("service");
    let starts = action == Action::Start;
    if service.is_empty() {
        context.exit_reason("please define \"service\" parameter");
        return if starts { ExitCode::NotConfigured } else { ExitCode::NotRunning };
    }
    let daemons = xinetd_processes();
    if daemons.is_empty() {
        match action {
            Action::Stop => return ExitCode::Success,
            Action::Start => {
                context
                    .exit_reason("xinetd not running, we manage just xinetd services, not the daemon itself");
                return ExitCode::NotInstalled;
            }
            Action::Status | Action::Monitor if context.is_probe() => return ExitCode::NotRunning,
            Action::Status | Action::Monitor => {
                context.exit_reason("xinetd stopped");
                return ExitCode::GenericError;
            }
            _ => (),
        }
    }
    let path = PathBuf::from(format!("{FOLDER}/{service}"));
    let file = below_root(&path.display().to_string());
    // Anything but a name would be a file somewhere else.
    if service.contains('/') || !file.is_file() {
        context.exit_reason(&format!("service definition {} not found!", path.display()));
        return match action {
            Action::Start => ExitCode::NotInstalled,
            Action::Stop => ExitCode::Success,
            _ => ExitCode::NotRunning,
        };
    }
    let definition = Definition { context, path, file, daemons };
    match action {
        Action::Start => definition.set("no"),
        Action::Stop => definition.set("yes"),
        Action::Status => definition.status(true),
        Action::Monitor => definition.status(false),
        Action::ValidateAll => ExitCode::Success,
        _ => ExitCode::Unimplemented,
    }
}

struct Definition<'a> {
    context: &'a Context,
    /// As shown.
    path: PathBuf,
    file: PathBuf,
    daemons: Vec<u32>,
}

impl Definition<'_> {
    fn status(&self, print: bool) -> ExitCode {
        let (word, code) = match self.disabled() {
            Ok(Some(false)) => ("running", ExitCode::Success),
            Ok(Some(true)) => ("stopped", ExitCode::NotRunning),
            Ok(None) => ("unknown", ExitCode::NotConfigured),
            Err(code) => return code,
        };
        if print {
            self.context.say(word);
        }
        code
    }

    /// `None` when it is neither yes nor no.
    fn disabled(&self) -> Result<Option<bool>, ExitCode> {
        self.context.log.info(&format!("checking \"disable\" in {}", self.path.display()));
        let text = self.read()?;
        let values: Vec<&str> = text.lines().filter_map(disable_value).map(|(_, value)| value).collect();
        Ok(match values.as_slice() {
            [] | ["no"] => Some(false),
            ["yes"] => Some(true),
            _ => None,
        })
    }

    fn read(&self) -> Result<String, ExitCode> {
        read_text(&self.file, DEFINITION_MAX_BYTES).map_err(|error| {
            self.context.log.error(&format!("could not read {}: {error}", self.path.display()));
            ExitCode::GenericError
        })
    }

    fn set(&self, value: &str) -> ExitCode {
        let (log, service) = (&self.context.log, self.context.value("service"));
        let (word, done) = if value == "no" { ("enabling", "started") } else { ("disabling", "stopped") };
        match self.disabled() {
            Err(code) => return code,
            Ok(disabled) if disabled == Some(value == "yes") => {
                log.info(&format!("service {service} already {done}"));
                return ExitCode::Success;
            }
            Ok(_) => (),
        }
        log.info(&format!("{word} in {}", self.path.display()));
        log.info(&format!("setting \"disable = {value}\" in {}", self.path.display()));
        let written = self.read().map(|text| replace(&self.file, &with_value(&text, value)));
        match written {
            Ok(Ok(())) => self.reload(),
            Ok(Err(error)) => {
                log.error(&format!("could not edit {}: {error}", self.path.display()));
                ExitCode::GenericError
            }
            Err(code) => code,
        }
    }

    fn reload(&self) -> ExitCode {
        let pids: Vec<String> = self.daemons.iter().map(u32::to_string).collect();
        let pids = pids.join(" ");
        if self.daemons.iter().all(|pid| kill(Pid::from_raw(*pid as i32), Signal::SIGHUP).is_ok()) {
            self.context.log.info(&format!("asked xinetd to reload by sending SIGHUP to process {pids}!"));
            return ExitCode::Success;
        }
        self.context.exit_reason(&format!("could not send SIGHUP to process {pids}!"));
        ExitCode::GenericError
    }
}

/// Offset and text of the value in a line `disable = VALUE`.
fn disable_value(line: &str) -> Option<(usize, &str)> {
    let rest = line.trim_start_matches([' ', '\t']).strip_prefix("disable")?;
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
    let value = rest.split([' ', '\t']).next().filter(|value| !value.is_empty())?;
    Some((line.len() - rest.len(), value))
}

/// The text with another value in each such line, and nothing else changed.
fn with_value(text: &str, value: &str) -> String {
    let replaced = |line: &str| {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match disable_value(body) {
            Some((at, old)) => format!("{}{value}{}{end}", &body[..at], &body[at + old.len()..]),
            None => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(replaced).collect()
}

/// A new file in the place of the old one, with its owner and mode: there is always a whole one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let about = fs::metadata(file)?;
    // xinetd does not read names with a dot.
    let temporary = file.with_file_name(format!(
        ".{}.ha",
        file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    ));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = new
        .write_all(text.as_bytes())
        .and_then(|()| new.set_permissions(fs::Permissions::from_mode(about.permissions().mode() & 0o7777)))
        .and_then(|()| std::os::unix::fs::fchown(&new, Some(about.uid()), Some(about.gid())))
        .and_then(|()| new.sync_all())
        .and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn xinetd_processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| crate::sys::process::short_name(*pid).as_deref() == Some("xinetd")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_changes() {
        let text = "service x\n{\n\tdisable\t= yes # really\n# disable = yes\n disable=no\n}\ndisable =";
        assert_eq!(
            with_value(text, "no"),
            "service x\n{\n\tdisable\t= no # really\n# disable = yes\n disable=no\n}\ndisable ="
        );
        assert_eq!(disable_value("disabled = yes"), None);
        assert_eq!(disable_value("\tdisable  =  yes"), Some((13, "yes")));
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("echo");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
