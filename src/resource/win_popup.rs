//! WinPopup: a message to Windows workstations when a group comes or goes, through smbclient
//! (agents spec 2.7).
//!
//! What differs from the original, on purpose: a stop does not fail because nobody could be told, since
//! a stop that fails ends in a reset of the node; and a host without smbclient says so.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::command::{find, require, Program};
use super::script::read_text;
use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const WIN_POPUP: Agent = Agent {
    name: "WinPopup",
    summary: "Message to Windows workstations",
    description: "Sends a message to the workstations that a file names when a group comes or goes.",
    usage: "Usage: $0 [workstationfile] $ACTIONS",
    ocf_usage: "Usage: $0 {start|stop|status|monitor|validate-all|meta-data}",
    parameters: &[Parameter::string("hostfile", "Host file", "File with the workstations' names.")
        .required()
        .or("hosts")],
    timeouts_s: Timeouts { start: 30, stop: 30, monitor: 10 },
    from_arguments: |arguments| match arguments {
        [] => Ok(Call::new("WinPopup").with("hostfile", "hosts")),
        [file] => Ok(Call::new("WinPopup").with("hostfile", file)),
        more => {
            let count = more.len() + 1;
            Err(WrongArguments::saying(format!(
                "Additional parameters found: {count} but only 2 are allowed!"
            )))
        }
    },
    run,
    ..Agent::BASE
};

const HOST_FILE_MAX_BYTES: u64 = 64 * 1024;
/// For one workstation.
const LIMIT: Duration = Duration::from_secs(10);

fn run(context: &Context, action: Action) -> ExitCode {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    match action {
        Action::Start => {
            let told = tell(context, &format!("Resource Group Takeover in progress on {host}"));
            if told != ExitCode::Success {
                return told;
            }
            let mut options = fs::OpenOptions::new();
            let options = options.create(true).append(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
            finish(context, options.open(state_file()).map(drop))
        }
        Action::Stop => {
            // What went wrong is in the log; the resource is gone all the same.
            tell(
                context,
                &format!("Resource Group Reestablishing original master connection in progress on {host}"),
            );
            finish(context, fs::remove_file(state_file()))
        }
        Action::Status | Action::Monitor => {
            context.log.warn(
                "Don't stat/monitor me! WinPopup is a pseudo resource agent, so the status reported may be \
                 incorrect",
            );
            let active = state_file().is_file();
            context.say(if active { "running" } else { "stopped" });
            if active {
                ExitCode::Success
            } else {
                ExitCode::NotRunning
            }
        }
        Action::ValidateAll => validate(context),
        _ => ExitCode::Unimplemented,
    }
}

fn finish(context: &Context, result: std::io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            context.log.error(&format!("{}: {error}", state_file().display()));
            ExitCode::GenericError
        }
        _ => ExitCode::Success,
    }
}

/// The workstations; the error is what the original exits with.
fn hosts(context: &Context) -> Result<Vec<String>, ExitCode> {
    let file = context.value("hostfile");
    match read_text(&PathBuf::from(file), HOST_FILE_MAX_BYTES) {
        Ok(text) if !text.is_empty() => Ok(text.split_whitespace().map(str::to_owned).collect()),
        _ => {
            context.log.error(&format!("Workstation file {file} missing or corrupt!"));
            Err(ExitCode::WrongArguments)
        }
    }
}

/// The code is that of the last workstation, as in the original.
fn tell(context: &Context, message: &str) -> ExitCode {
    let hosts = match hosts(context) {
        Ok(hosts) => hosts,
        Err(code) => return code,
    };
    let path = match require(context, "smbclient") {
        Ok(path) => path.display().to_string(),
        Err(code) => return code,
    };
    let mut last = ExitCode::Success;
    // One that begins with a dash would be an option.
    for host in hosts.iter().filter(|host| !host.starts_with('-')) {
        let program = Program::new(&path).args(["-M", host.as_str()]).input(format!("{message}\n"));
        last = match program.merged().limit(LIMIT).run() {
            Ok(finished) if finished.code == 0 => ExitCode::Success,
            Ok(finished) => {
                context.log.warn(&format!("{host} was not told: {}", finished.stdout.trim()));
                ExitCode::GenericError
            }
            Err(error) => {
                context.log.warn(&format!("{host} was not told: {error}"));
                ExitCode::GenericError
            }
        };
    }
    last
}

/// One host that can be told is enough.
fn validate(context: &Context) -> ExitCode {
    let hosts = match hosts(context) {
        Ok(hosts) => hosts,
        Err(code) => return code,
    };
    let known = |host: &String| {
        let Some(program) = find("nmblookup") else { return true };
        let asked = Program::new(program.display().to_string()).args([host]).merged().limit(LIMIT).run();
        asked.is_ok_and(|finished| !finished.stdout.contains(&format!("failed to find name {host}")))
    };
    if hosts.iter().any(|host| known(host) || host.parse::<std::net::Ipv4Addr>().is_ok()) {
        return ExitCode::Success;
    }
    let file = context.value("hostfile");
    context.log.error(&format!("Workstation file {file} contains no valid host!"));
    ExitCode::NotConfigured
}

fn state_file() -> PathBuf {
    super::run_directory().join("WinPopup")
}
