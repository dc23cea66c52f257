//! AudibleAlarm: the console's bell, once a second, as long as the group is here (agents spec 2.7).
//!
//! What differs from the original, on purpose: running means that the process is, not that there is a
//! file; and only a process of this agent is ever killed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config::below_root;
use crate::net::state;
use crate::sys::process::is_alive;

use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts};

/// The agent.
pub const AUDIBLE_ALARM: Agent = Agent {
    name: "AudibleAlarm",
    summary: "Rings the console's bell",
    description: "Rings the bell of the console once a second while the group is on this node.",
    usage: "Usage: $0 [node1 node2 ... ] $ACTIONS",
    usage_code: 0,
    ocf_usage: "Usage: $0 {start|stop|restart|status|monitor|meta-data|validate-all}\n  \
                The node list is an optional space delimited\n  \
                list of hosts that should never sound the alarm.",
    parameters: &[Parameter::string("nodelist", "Node list", "Nodes that are to stay silent.")],
    own_actions: &[RING],
    timeouts_s: Timeouts { start: 10, stop: 10, monitor: 10 },
    from_arguments: |nodes| Ok(Call::new("AudibleAlarm").with("nodelist", &nodes.join(" "))),
    run,
    ..Agent::BASE
};

/// What the process in the background is called with.
const RING: &str = "ring";
const PAUSE: Duration = Duration::from_secs(1);
/// For the process to go.
const PATIENCE: Duration = Duration::from_secs(5);

fn run(context: &Context, action: Action) -> ExitCode {
    let say = |text: &str| context.log.info(&format!("{}: {text}", context.called_as));
    match action {
        Action::Start => {
            let own = nix::unistd::gethostname().unwrap_or_default();
            if context.value("nodelist").split_whitespace().any(|node| own == node) {
                return ExitCode::Success;
            }
            say("Starting");
            if let Some(pid) = ringing() {
                say(&format!("Appears to already be running, killing [{pid}]"));
                end(pid);
            }
            start(context)
        }
        Action::Stop => {
            say("Shutting down");
            if ringing().is_some_and(|pid| !end(pid)) {
                context.log.error("The process of the bell does not end");
                return ExitCode::GenericError;
            }
            match fs::remove_file(pid_file()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    context.log.error(&format!("Cannot remove {}: {error}", pid_file().display()));
                    ExitCode::GenericError
                }
                _ => ExitCode::Success,
            }
        }
        Action::Status | Action::Monitor => {
            let active = ringing().is_some();
            context.say(if active { "running" } else { "stopped" });
            if active {
                ExitCode::Success
            } else {
                ExitCode::NotRunning
            }
        }
        Action::ValidateAll => {
            context.say("Validate OK");
            ExitCode::Success
        }
        Action::Own(RING) => ring(),
        _ => ExitCode::Unimplemented,
    }
}

fn start(context: &Context) -> ExitCode {
    let started = Command::new("/proc/self/exe")
        .arg0("AudibleAlarm")
        .arg(RING)
        .env("OCF_RESOURCE_INSTANCE", "AudibleAlarm")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            context.log.error(&format!("Cannot start the process of the bell: {error}"));
            return ExitCode::GenericError;
        }
    };
    if let Err(error) = state::replace(&pid_file(), format!("{}\n", child.id()).as_bytes()) {
        let file = pid_file();
        let text = format!("Could not write to pid file \"{}\", bailing: {error}", file.display());
        context.log.info(&format!("{}: {text}", context.called_as));
        end(child.id());
        return ExitCode::GenericError;
    }
    let told = child.stdin.take().is_some_and(|mut word| word.write_all(b"\n").is_ok());
    // On a busy machine its start may take a while; until then a status would not find it.
    let last = Instant::now() + PATIENCE;
    while told && ringing() != Some(child.id()) && Instant::now() < last {
        std::thread::sleep(Duration::from_millis(5));
    }
    if ringing() == Some(child.id()) {
        return ExitCode::Success;
    }
    context.log.error("The process of the bell does not run");
    ExitCode::GenericError
}

/// Rings until it is killed, or is not the one that is noted. A start that was killed before its note says no
/// word: the process that it left ends, for nobody else would ever end it. A console that is not there now
/// may come.
fn ring() -> ExitCode {
    if !std::io::stdin().read(&mut [0]).is_ok_and(|bytes| bytes > 0) {
        return ExitCode::Success;
    }
    loop {
        std::thread::sleep(PAUSE);
        if noted() != Some(std::process::id()) {
            return ExitCode::Success;
        }
        if let Ok(mut console) = fs::OpenOptions::new().write(true).open(below_root("/dev/console")) {
            let _ = console.write_all(b"\x07");
        }
    }
}

fn noted() -> Option<u32> {
    let text = String::from_utf8(state::read(&pid_file()).ok()?).ok()?;
    text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// The process that rings: of this program or of the original's script.
fn ringing() -> Option<u32> {
    let pid = noted()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = String::from_utf8_lossy(&words).split('\0').any(|word| word.ends_with("AudibleAlarm"));
    (ours && is_alive(pid)).then_some(pid)
}

/// Ends the process; false when it does not go.
fn end(pid: u32) -> bool {
    let target = Pid::from_raw(pid as i32);
    // That it is gone is what is wanted.
    let _ = kill(target, Signal::SIGTERM);
    let last = Instant::now() + PATIENCE;
    while is_alive(pid) && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty()) {
        if Instant::now() > last {
            let _ = kill(target, Signal::SIGKILL);
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn pid_file() -> PathBuf {
    super::run_directory().join("heartbeat-bell")
}
