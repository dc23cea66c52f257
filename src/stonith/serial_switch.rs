//! `rps10`, `nw_rpc100s`, `rcd_serial`: power switches on a serial line (agents spec 3.5).

use std::io;

use nix::sys::termios::{cfsetspeed, tcgetattr, tcsetattr, BaudRate, SetArg};

use super::answer;
use super::device::{common, hosts_of, Action, Code, Device, DeviceType, Failure, Pace, Parameter, Values};
use super::dialogue::{io_text, Dialogue};
use super::serial_line::SerialLine;
use crate::sys::serial::{set_modem_line, ModemLine};

const TARGETS: Parameter = Parameter::required(
    "serial_to_targets",
    "Line and outlets",
    "Device file of the serial line, then each host with its outlet: 0 to 9, or * for all",
)
.unique();

/// Row of the table.
pub const RPS10: DeviceType = DeviceType {
    name: "rps10",
    parameters: &[TARGETS],
    id: "WTI RPS-10M",
    description: "Remote power switch RPS-10M of Western Telematic on a serial line.",
    url: "http://www.wti.com/",
    configure: |values| Ok(Box::new(Rps10::configure(values)?)),
};

/// Row of the table.
pub const NW_RPC100S: DeviceType = DeviceType {
    name: "nw_rpc100s",
    parameters: &[common::TTYDEV, common::HOSTLIST],
    id: "Night/Ware RPC100S",
    description: "Micro Energetics Night/Ware RPC100S on a serial line. It has one outlet.",
    url: "http://www.microenergeticscorp.com/",
    configure: |values| Ok(Box::new(NightWare::configure(values)?)),
};

const SIGNAL: Parameter = Parameter::required("dtr_rts", "Modem line", "The line that resets: dtr or rts");
const DURATION: Parameter =
    Parameter::required("msduration", "Duration", "How long it is raised, in milliseconds");

/// Row of the table.
pub const RCD_SERIAL: DeviceType = DeviceType {
    name: "rcd_serial",
    parameters: &[common::HOSTLIST, common::TTYDEV, SIGNAL, DURATION],
    id: "RC delayed serial",
    description: "A circuit that resets a host when a modem line of a serial port is raised for some time.",
    url: "http://www.scl.co.uk/rcd_serial/",
    configure: |values| Ok(Box::new(RcdSerial::configure(values)?)),
};

const RPS10_NAME: &str = "WTI RPS10 Power Switch";
const NIGHT_WARE_NAME: &str = "NW RPC100S Power Switch";
/// Hosts of an RPS-10.
const TARGETS_MAX: usize = 10;
/// Longest time that a modem line may be raised, milliseconds.
const RAISED_MAX_MS: u64 = 60_000;
const BAUD: u32 = 9600;

fn open(path: &str, who: &str) -> Result<SerialLine, Failure> {
    SerialLine::open(path, BAUD).map_err(|error| {
        let text = match error.raw_os_error() {
            Some(libc::EBUSY) => format!("{who}: TtyLock failed."),
            // It opens, and is no serial line.
            Some(libc::ENOTTY) => format!("{who}: Can't set attributes {path} : {}", io_text(&error)),
            _ => format!("{who}: Can't open {path} : {}", io_text(&error)),
        };
        Failure::report(Code::OTHER, text)
    })
}

/// The conversation over a line, which stays open and locked beside it.
fn talk(line: &SerialLine, device: &'static str, pace: Pace) -> Result<Dialogue, Failure> {
    let copy = line.line.try_clone().and_then(|copy| Dialogue::over(copy, device, pace));
    copy.map_err(|error| Failure::report(Code::OTHER, format!("{device}: {}", io_text(&error))))
}

struct Rps10 {
    path: String,
    targets: Vec<(String, char)>,
    pace: Pace,
}

impl Rps10 {
    fn configure(values: &Values) -> Result<Self, Failure> {
        let mut words = values.need("serial_to_targets")?.split_ascii_whitespace();
        let invalid = |text: &str| Failure::silent(Code::INVALID, text);
        let path = words.next().ok_or_else(|| invalid("there is no serial line"))?.to_owned();
        let mut targets = Vec::new();
        while let Some(host) = words.next() {
            let outlet = words.next().ok_or_else(|| invalid("the last host has no outlet"))?;
            let outlet = match outlet.as_bytes() {
                [digit @ b'0'..=b'9'] => char::from(*digit),
                b"*" | b"A" => '*',
                _ => {
                    let text =
                        format!("WTI_RPS10: the outlet_id {outlet} must be between 0 and 9 or '*' / 'A'");
                    return Err(Failure::report(Code::INVALID, text));
                }
            };
            if targets.len() == TARGETS_MAX {
                return Err(Failure::report(
                    Code::INVALID,
                    "WTI_RPS10: Tried to configure too many controllers",
                ));
            }
            targets.push((host.to_ascii_lowercase(), outlet));
        }
        if targets.is_empty() {
            return Err(invalid("there is no host"));
        }
        Ok(Self { path, targets, pace: values.pace() })
    }

    /// Opens the line and wakes the switch: it says that it is ready when DTR comes back.
    fn connect(&self) -> Result<(SerialLine, Dialogue), Failure> {
        let line = open(&self.path, "WTI_RPS10")?;
        self.toggle_dtr(&line).map_err(|error| {
            let text = format!("WTI_RPS10: Can't set attributes {} : {}", self.path, io_text(&error));
            Failure::report(Code::OTHER, text)
        })?;
        let mut dialogue = talk(&line, RPS10_NAME, self.pace)?;
        dialogue.expect("RPS-10 Ready", 12)?;
        dialogue.wait_for(&["\n", "\r"], 2).map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
        Ok((line, dialogue))
    }

    /// A speed of zero hangs up (tcsetattr(3)).
    fn toggle_dtr(&self, line: &SerialLine) -> io::Result<()> {
        let mut normal = tcgetattr(&line.line)?;
        let mut silent = normal.clone();
        cfsetspeed(&mut silent, BaudRate::B0)?;
        // By name: a speed given as a number would not come back after zero.
        cfsetspeed(&mut normal, BaudRate::B9600)?;
        tcsetattr(&line.line, SetArg::TCSANOW, &silent)?;
        self.pace.pause(2000);
        Ok(tcsetattr(&line.line, SetArg::TCSANOW, &normal)?)
    }
}

impl Device for Rps10 {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.targets.iter().map(|(host, _)| host.clone()).collect())
    }

    fn status(&mut self) -> Result<(), Failure> {
        self.connect().map(|_| ())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let Some((_, outlet)) = self.targets.iter().find(|(known, _)| known == host) else {
            return Err(Failure::report(
                Code::BAD_HOST,
                format!("{RPS10_NAME} doesn't control host [{host}]"),
            ));
        };
        let (_line, mut dialogue) = self.connect()?;
        let (letter, states, limit_s): (char, &[&str], u32) = match action {
            // That it is on says nothing: before that it has to have been off.
            Action::Reset => ('T', &["Off"], 14),
            Action::On => ('1', &["On"], 5),
            Action::Off => ('0', &["Off"], 5),
        };
        dialogue.command(&format!("\x02\x18\x18\x02\x18\x18{outlet}{letter}\r"))?;
        log::info!(
            "Host is being {}: {host}",
            match action {
                Action::Reset => "rebooted",
                Action::On => "turned on",
                Action::Off => "turned off",
            }
        );
        let step = |dialogue: &mut Dialogue, words: &[&str], seconds: u32| {
            let result = dialogue.take_until(words, seconds);
            result.map_err(|trouble| dialogue.failure(trouble, Code::RESET_FAILED))
        };
        // Each plug that it switches is named; of a command for one it must be that one.
        step(&mut dialogue, &["Plug"], 5)?;
        let (_, named) = step(&mut dialogue, states, 5)?;
        let other = named.chars().find(|c| c.is_ascii_digit() && *outlet != '*' && c != outlet);
        if let Some(other) = other {
            // Another one was switched.
            answer::not_done();
            let text = format!("{RPS10_NAME} answers for outlet {other} and not for {outlet} of {host}");
            return Err(Failure::report(Code::RESET_FAILED, text));
        }
        step(&mut dialogue, &["Complete"], limit_s)?;
        Ok(())
    }
}

struct NightWare {
    path: String,
    hosts: Vec<String>,
    pace: Pace,
}

impl NightWare {
    fn configure(values: &Values) -> Result<Self, Failure> {
        let hosts = values.host_list("hostlist")?;
        Ok(Self { path: values.need("ttydev")?.to_owned(), hosts, pace: values.pace() })
    }

    /// A command that it does not know is answered, and changes nothing.
    fn connect(&self) -> Result<(SerialLine, Dialogue), Failure> {
        let line = open(&self.path, "NW_RPC100S")?;
        let mut dialogue = talk(&line, NIGHT_WARE_NAME, self.pace)?;
        dialogue.send("//0,0,BOGUS;\r\n\r")?;
        dialogue.expect("Invalid Entry", 12)?;
        dialogue.wait_for(&["\n", "\r"], 2).map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
        Ok((line, dialogue))
    }
}

impl Device for NightWare {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        self.connect().map(|_| ())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        if !self.hosts.iter().any(|known| known == host) {
            let text = format!("{NIGHT_WARE_NAME} doesn't control host [{host}]");
            return Err(Failure::report(Code::BAD_HOST, text));
        }
        let (_line, mut dialogue) = self.connect()?;
        let command = match action {
            Action::Reset => "10",
            Action::On => "0",
            Action::Off => "*",
        };
        dialogue.command(&format!("//0,0,{command};\r\n\r"))?;
        let late = |dialogue: &mut Dialogue, words: &[&str]| {
            let result = dialogue.wait_for(words, 5);
            result.map_err(|trouble| dialogue.failure(trouble, Code::RESET_FAILED))
        };
        if late(&mut dialogue, &["OK", "Invalid Entry"])? != 0 {
            answer::not_done();
            return Err(Failure::report(
                Code::RESET_FAILED,
                format!("{NIGHT_WARE_NAME} refused the command"),
            ));
        }
        late(&mut dialogue, &["\n", "\r"]).map(|_| ())
    }
}

struct RcdSerial {
    hosts: Vec<String>,
    path: String,
    signal: ModemLine,
    raised_ms: u64,
}

impl RcdSerial {
    fn configure(values: &Values) -> Result<Self, Failure> {
        let hosts = hosts_of(values.need("hostlist")?);
        let path = values.need("ttydev")?.to_owned();
        let word = values.need("dtr_rts")?;
        let signal = match word {
            "dtr" => ModemLine::Dtr,
            "rts" => ModemLine::Rts,
            _ => {
                let text = format!("RCD_SerialDevice-Stonith: Invalid signal name '{word}'");
                return Err(Failure::report(Code::INVALID, text));
            }
        };
        let text = values.need("msduration")?;
        let raised_ms = text.trim().parse().ok().filter(|ms| (1..=RAISED_MAX_MS).contains(ms));
        let raised_ms = raised_ms.ok_or_else(|| {
            Failure::report(Code::INVALID, format!("RCD_SerialDevice-Stonith: Invalid msduration '{text}'"))
        })?;
        if hosts.len() != 1 {
            return Err(Failure::silent(Code::INVALID, "exactly one host"));
        }
        Ok(Self { hosts, path, signal, raised_ms })
    }

    fn open(&self, function: &str) -> Result<SerialLine, Failure> {
        let opened = SerialLine::open(&self.path, BAUD);
        opened.map_err(|error| self.failed(function, "open", &error))
    }

    fn failed(&self, function: &str, step: &str, error: &io::Error) -> Failure {
        let text = format!("{function}: {step} of {} failed - {}", self.path, io_text(error));
        Failure::report(Code::OTHER, text)
    }
}

impl Device for RcdSerial {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        self.open("rcd_serial_status").map(|_| ())
    }

    /// Whatever the action: the circuit can only reset.
    fn request(&mut self, _: Action, host: &str) -> Result<(), Failure> {
        let function = "rcd_serial_reset_req";
        if self.hosts[0] != host {
            let text = format!("{function}: host '{host}' not in hostlist.");
            return Err(Failure::report(Code::BAD_HOST, text));
        }
        let line = self.open(function)?;
        let raise = |raised| set_modem_line(&line.line, self.signal, raised);
        // A driver without this line would do nothing, and nothing is no reset.
        answer::begun();
        raise(true).map_err(|error| self.failed(function, "modem line", &error))?;
        std::thread::sleep(std::time::Duration::from_millis(self.raised_ms));
        raise(false).map_err(|error| self.failed(function, "modem line", &error))?;
        log::info!("Host rcd_serial-reset: {host}");
        Ok(())
    }
}
