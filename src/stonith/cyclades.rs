//! `cyclades`: AlterPath PM power switches, by ssh through the terminal server (agents spec 3.5).

use std::process::{Command, Stdio};

use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Parameter, Values};
use super::dialogue::Dialogue;

const SERIAL_PORT: Parameter = Parameter::required(
    "serialport",
    "Port",
    "Number of the serial port of the terminal server that the switch is on",
);

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "cyclades",
    parameters: &[common::IPADDR, common::LOGIN, SERIAL_PORT],
    id: "Cyclades AlterPath PM",
    description: "Cyclades AlterPath PM power switches, by ssh through a terminal server (TS, ACS, KVM).\n\
                  The user needs a key that works without a password.",
    url: "",
    configure,
};

const DEVICE: &str = "Cyclades AlterPath PM";
/// ssh gives up on a connection and on a silent other side after so many seconds.
const CONNECT_MAX_S: u32 = 10;
const ALIVE_S: u32 = 25;
/// Longest wait for each outlet to switch, and for the list, seconds; and for all of them together.
const OUTLET_MAX_S: u32 = 50;
const ANSWER_MAX_S: u32 = 600;
/// Outlets of a chain of switches.
const OUTLETS_MAX: usize = 128;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let (address, login) = (values.need("ipaddr")?, values.need("login")?);
    let port = values.need("serialport")?.trim();
    let port = port.parse().map_err(|_| Failure::report(Code::INVALID, "serialport is no number"))?;
    if address.starts_with('-') || login.starts_with('-') {
        return Err(Failure::report(Code::INVALID, "an address or a user does not begin with a hyphen"));
    }
    Ok(Box::new(Cyclades { target: format!("{login}@{address}"), port, pace: values.pace() }))
}

struct Cyclades {
    target: String,
    port: u32,
    pace: Pace,
}

impl Device for Cyclades {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.outlets()?.into_iter().map(|(_, name)| name).collect())
    }

    fn status(&mut self) -> Result<(), Failure> {
        self.outlets().map(|_| ())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let own: Vec<u32> =
            self.outlets()?.into_iter().filter(|(_, name)| name == host).map(|(number, _)| number).collect();
        if own.is_empty() {
            return Err(Failure::report(Code::BAD_HOST, format!("Unknown host {host} to Cyclades PM")));
        }
        let list: Vec<String> = own.iter().map(u32::to_string).collect();
        let (verb, states): (_, &[&str]) = match action {
            Action::Reset => ("cycle", &["off", "on"]),
            Action::On => ("on", &["on"]),
            Action::Off => ("off", &["off"]),
        };
        super::answer::begun();
        let steps = u32::try_from(own.len() * states.len()).unwrap_or(u32::MAX);
        let answer = self.run(&format!("{verb} {}", list.join(",")), steps, Code::RESET_FAILED)?;
        let answer = answer.replace('\r', "");
        for outlet in &own {
            for state in states {
                let wanted = format!("{outlet}: Outlet turned {state}.");
                if !answer.lines().any(|line| line.trim() == wanted) {
                    let text = format!("Did not find string {wanted} from {DEVICE}.");
                    return Err(Failure::report(Code::RESET_FAILED, text));
                }
            }
        }
        match action {
            Action::Reset => log::info!("Host {host} being rebooted."),
            _ => log::info!("Power to host {host} turned {}", action.as_str()),
        }
        Ok(())
    }
}

impl Cyclades {
    fn outlets(&self) -> Result<Vec<(u32, String)>, Failure> {
        let text = self.run("status all", 1, Code::TIMEOUT)?;
        let mut lines = text.lines().skip_while(|line| !is_heading(line));
        if lines.next().is_none() {
            let text = format!("Did not find string Outlet\t\tName\t\tStatus from {DEVICE}.");
            return Err(Failure::report(Code::OTHER, text));
        }
        Ok(lines.filter_map(outlet).take(OUTLETS_MAX).collect())
    }

    /// What the terminal server answers to a command. ssh's own exit code says nothing of the outlets.
    /// An answer that does not end in the time of so many steps is `late`.
    fn run(&self, command: &str, steps: u32, late: Code) -> Result<String, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            let verb = command.split(' ').next().unwrap_or_default();
            Failure::report(Code::OTHER, format!("can't run {verb} command: {error}"))
        };
        let limit = format!("ConnectTimeout={CONNECT_MAX_S}");
        let alive = format!("ServerAliveInterval={ALIVE_S}");
        let port = self.port.to_string();
        let words = ["-q", "-o", &limit, "-o", &alive, &self.target, "/bin/pmCommand", &port, command];
        let mut ssh = Command::new("ssh");
        ssh.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = ssh.spawn().map_err(|error| failed(&error))?;
        let answer = match child.stdout.take() {
            None => Ok(String::new()),
            Some(pipe) => {
                let mut dialogue =
                    Dialogue::over(pipe.into(), DEVICE, self.pace).map_err(|error| failed(&error))?;
                let limit_s = OUTLET_MAX_S.saturating_mul(steps).min(ANSWER_MAX_S);
                dialogue.take_all(limit_s).map_err(|trouble| dialogue.failure(trouble, late))
            }
        };
        if answer.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        answer
    }
}

fn is_heading(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    (words.next(), words.next(), words.next()) == (Some("Outlet"), Some("Name"), Some("Status"))
}

/// `N NAME STATUS …`.
fn outlet(line: &str) -> Option<(u32, String)> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let name = words.next()?.to_ascii_lowercase();
    words.next().map(|_| (number, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlets_by_line() {
        assert!(is_heading("Outlet\t\tName\t\tStatus\t\tUsers\t\tInterval (s)"));
        assert_eq!(outlet("  2  Node1   ON   root  0.5"), Some((2, "node1".into())));
        assert_eq!(outlet("x y z"), None);
        assert_eq!(outlet("2 node1"), None);
    }
}
