//! `ssh`: logs in at the host and lets it reboot itself. It cannot reset a host that hangs.

use std::process::{Command, ExitStatus, Stdio};

use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "ssh",
    parameters: &[common::HOSTLIST],
    id: "Reset by ssh",
    description: "Logs in as root by ssh and lets the host reboot itself, by at(1).\n\
                  For tests: a host that hangs or is cut off cannot be reset this way.",
    url: "http://openssh.org",
    configure,
};

/// Times that the host is asked whether it still answers, a second apart.
const PINGS_MAX: u32 = 15;
/// Longest wait for the connection, seconds; the original has none.
const CONNECT_MAX_S: u32 = 30;
/// A host that stops answering is left after three times so many seconds (ssh_config(5),
/// ServerAliveInterval and its count).
const ALIVE_S: u32 = 10;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let hosts = values.host_list("hostlist")?;
    if hosts.is_empty() {
        return Err(Failure::silent(Code::OTHER, "the list of hosts is empty"));
    }
    Ok(Box::new(Ssh { hosts, pace: values.pace() }))
}

struct Ssh {
    hosts: Vec<String>,
    pace: Pace,
}

impl Device for Ssh {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    /// As the original: whether there is a program `ssh` shows when it is needed.
    fn status(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        if action == Action::On {
            return Err(Failure::report(
                Code::INVALID,
                "SSH STONITH device not capable of power-on operation",
            ));
        }
        if !self.hosts.iter().any(|known| known == host) {
            return Err(Failure::report(
                Code::BAD_HOST,
                format!("SSH STONITH device doesn't control host [{host}]"),
            ));
        }
        // A host that begins with a hyphen would be an option of ssh.
        if host.starts_with('-') {
            return Err(Failure::report(Code::INVALID, format!("[{host}] is no name of a host")));
        }
        log::info!("Initiating ssh-{} on host: {host}", action.as_str());
        let program = if action == Action::Off { "/sbin/poweroff" } else { "/sbin/reboot" };
        let line = format!("echo 'sleep 2; {program} -nf' | SHELL=/bin/sh at now >/dev/null 2>&1");
        let limit = format!("ConnectTimeout={CONNECT_MAX_S}");
        let alive = format!("ServerAliveInterval={ALIVE_S}");
        let words = ["-q", "-x", "-n", "-o", &limit, "-o", &alive, "-l", "root", host, &line];
        match quiet(Command::new("ssh").args(words)) {
            Ok(status) if status.success() => {
                super::answer::begun();
                self.wait_until_gone(host)
            }
            _ => Err(Failure::report(Code::RESET_FAILED, format!("command ssh to host {host} failed"))),
        }
    }
}

impl Ssh {
    fn wait_until_gone(&self, host: &str) -> Result<(), Failure> {
        log::info!("checking whether {host} stonith'd");
        for tries in 1..=PINGS_MAX {
            self.pace.pause(1000);
            let answers = quiet(Command::new("ping").args(["-w1", "-c1", host]));
            // Without a ping that works nothing is known, and that is no success.
            match answers.map(|status| status.code()) {
                Ok(Some(1)) => {
                    log::info!("unable to ping {host} after {tries} tries, stonith did work");
                    return Ok(());
                }
                Ok(Some(0)) => {}
                _ => {
                    return Err(Failure::report(
                        Code::RESET_FAILED,
                        format!("cannot ping {host}: ping failed"),
                    ));
                }
            }
        }
        let text = format!("still able to ping {host} after {PINGS_MAX} tries, stonith did not work");
        Err(Failure::report(Code::RESET_FAILED, text))
    }
}

fn quiet(command: &mut Command) -> std::io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
}
