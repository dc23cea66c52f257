//! `apcsmart`: an APC Smart UPS on a serial line switches the hosts behind it (agents spec 3.5).

use std::time::{Duration, Instant};

use super::answer;
use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};
use super::dialogue::{Dialogue, Trouble};
use super::serial_line::SerialLine;

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "apcsmart",
    parameters: &[common::TTYDEV, common::HOSTLIST],
    id: "APC Smart UPS",
    description: "APC Smart UPS on a serial line, not by USB. It switches every host behind it.",
    url: "http://www.apc.com/",
    configure,
};

const DEVICE: &str = "APC Smart UPS";
const BAUD: u32 = 2400;
/// Between two bytes.
const BYTE_PAUSE_MS: u64 = 50;
/// For an answer.
const ANSWER_S: u32 = 3;
/// Lines that it may say unasked.
const ANSWERS_MAX: usize = 10;
/// Values that a delay can have before its first one comes again.
const CYCLE_MAX: usize = 20;
/// Longest delay that is believed, seconds.
const DELAY_MAX_S: u64 = 600;

const SMART_MODE: &str = "Y";
const STATUS: &str = "Q";
const CYCLE: &str = "-";
const SHUTDOWN_DELAY: &str = "p";
const WAKEUP_DELAY: &str = "r";
const REGISTER_2: &str = "8";
const REGISTER_1: &str = "~";
const SOFT_RESET: &str = "S";
const DELAYED_RESET: &str = "@000";
const SHUTDOWN: &str = "Z";
const POWER_ON: &str = "\x0e";
const NOT_AVAILABLE: &str = "NA";
/// In register 8: the output waits to come back.
const WAITING_BIT: u8 = 0x08;
/// In register ~: it is off.
const OFF_BIT: u8 = 0x40;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let path = values.need("ttydev")?.to_owned();
    let hosts = values.host_list("hostlist")?;
    if std::fs::metadata(&path).is_err() {
        return Err(Failure::report(Code::INVALID, format!("Cannot access tty [{path}]")));
    }
    Ok(Box::new(ApcSmart { path, hosts, pace: values.pace() }))
}

struct ApcSmart {
    path: String,
    hosts: Vec<String>,
    pace: Pace,
}

impl Device for ApcSmart {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        let mut session = self.enter()?;
        session.ask(STATUS).map(|_| ())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        if !self.hosts.iter().any(|known| known == host) {
            let text = format!("apcsmart_reset_req: host '{host}' not in hostlist.");
            return Err(Failure::report(Code::BAD_HOST, text));
        }
        let mut session = self.enter()?;
        match action {
            Action::Reset => session.reset(),
            Action::On => session.switch(POWER_ON, false),
            Action::Off => session.switch(SHUTDOWN, true),
        }
    }
}

impl ApcSmart {
    fn enter(&self) -> Result<Session, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::report(Code::ACCESS, format!("{DEVICE}: Open of {} failed [{error}].", self.path))
        };
        let line = SerialLine::open(&self.path, BAUD).map_err(|error| failed(&error))?;
        let copy = line.line.try_clone().map_err(|error| failed(&error))?;
        let dialogue = Dialogue::over(copy, DEVICE, self.pace).map_err(|error| failed(&error))?;
        let mut session = Session { dialogue, pace: self.pace, _line: line };
        if session.ask(SMART_MODE)? != "SM" {
            let text = format!("{DEVICE}: it does not answer as a smart one; nothing was switched");
            return Err(Failure::report(Code::ACCESS, text));
        }
        Ok(session)
    }
}

struct Session {
    dialogue: Dialogue,
    pace: Pace,
    _line: SerialLine,
}

impl Session {
    fn send(&mut self, command: &str) -> Result<(), Failure> {
        for byte in command.chars() {
            self.dialogue.send(&byte.to_string())?;
            self.pace.pause(BYTE_PAUSE_MS);
        }
        Ok(())
    }

    /// One line; a lone `*` is one too.
    fn answer(&mut self) -> Result<String, Trouble> {
        let (end, text) = self.dialogue.take_until(&["\n", "*"], ANSWER_S)?;
        let text = text.replace('\r', "");
        Ok(if end == 1 { format!("{text}*") } else { text })
    }

    fn ask(&mut self, command: &str) -> Result<String, Failure> {
        self.send(command)?;
        self.answer().map_err(|trouble| self.dialogue.failure(trouble, Code::TIMEOUT))
    }

    /// Sets a delay to its smallest value; the values before and after.
    fn shorten(&mut self, variable: &str) -> Result<(String, String), Failure> {
        let original = self.ask(variable)?;
        let (mut current, mut smallest) = (original.clone(), original.clone());
        for _ in 0..CYCLE_MAX {
            self.ask_to_cycle()?;
            current = self.ask(variable)?;
            if seconds(&current) < seconds(&smallest) {
                smallest = current.clone();
            }
            if current == original {
                break;
            }
        }
        if current != smallest {
            self.set(variable, &smallest)?;
        }
        Ok((original, smallest))
    }

    fn ask_to_cycle(&mut self) -> Result<(), Failure> {
        let answer = self.ask(CYCLE)?;
        if answer == NOT_AVAILABLE {
            return Err(Failure::report(
                Code::OTHER,
                format!("{DEVICE}: This UPS may not support STONITH :-("),
            ));
        }
        Ok(())
    }

    fn set(&mut self, variable: &str, wanted: &str) -> Result<(), Failure> {
        for _ in 0..CYCLE_MAX {
            if self.ask(variable)? == wanted {
                return Ok(());
            }
            self.ask_to_cycle()?;
        }
        Err(Failure::report(
            Code::OTHER,
            format!("{DEVICE}(): Could not set variable '{variable}' to {wanted}!"),
        ))
    }

    fn reset(&mut self) -> Result<(), Failure> {
        let (shutdown_before, shutdown) = self.shorten(SHUTDOWN_DELAY)?;
        let (wakeup_before, wakeup) = self.shorten(WAKEUP_DELAY)?;
        let result = self.reset_and_wait(seconds(&shutdown).saturating_add(seconds(&wakeup)));
        let restored =
            self.set(SHUTDOWN_DELAY, &shutdown_before).and_then(|()| self.set(WAKEUP_DELAY, &wakeup_before));
        if let Err(failure) = restored {
            log::warn!("{DEVICE}: its delays stay as they are: {failure}");
        }
        result
    }

    fn reset_and_wait(&mut self, delay_s: u64) -> Result<(), Failure> {
        answer::begun();
        if !accepted(&self.ask(SOFT_RESET)?) {
            // On mains power it does not take the first one.
            if !accepted(&self.ask(DELAYED_RESET)?) {
                answer::not_done();
                return Err(Failure::report(Code::RESET_FAILED, "APC: neither reset command was accepted"));
            }
        }
        let mut was_off = false;
        let limit_s = u32::try_from(delay_s.min(DELAY_MAX_S) + 10).unwrap_or(u32::MAX);
        // By the clock: a silent one takes longer for each question.
        let end = Instant::now() + self.pace.seconds(limit_s);
        while Instant::now() < end {
            std::thread::sleep(self.pace.seconds(1).max(Duration::from_millis(1)));
            let register = match self.ask(REGISTER_2) {
                Ok(register) => register,
                // It may be silent while it switches.
                Err(failure) if failure.code == Code::TIMEOUT => continue,
                Err(failure) => return Err(failure),
            };
            if register == NOT_AVAILABLE {
                let state = self.ask(REGISTER_1)?;
                if bits(&state) & OFF_BIT != 0 {
                    log::info!("APC: was powered off, powering back on.");
                    return self.switch(POWER_ON, false);
                }
                if was_off {
                    return Ok(());
                }
            } else if bits(&register) & WAITING_BIT != 0 {
                was_off = true;
            } else if was_off {
                return Ok(());
            }
        }
        Err(Failure::report(Code::RESET_FAILED, format!("{DEVICE}: timed out waiting for reset to end.")))
    }

    /// Sends the command twice, two seconds apart, as the UPS wants it, and looks.
    fn switch(&mut self, command: &str, off: bool) -> Result<(), Failure> {
        self.send(command)?;
        self.pace.pause(2000);
        self.send(command)?;
        self.pace.pause(1000);
        // It may say something or nothing.
        for _ in 0..ANSWERS_MAX {
            if self.answer().is_err() {
                break;
            }
        }
        let state = self.ask(REGISTER_1)?;
        if (bits(&state) & OFF_BIT != 0) == off {
            return Ok(());
        }
        Err(Failure::report(Code::RESET_FAILED, format!("{DEVICE}: power off detection failed.")))
    }
}

fn accepted(answer: &str) -> bool {
    matches!(answer, "*" | "OK")
}

/// A delay; what is no number is longer than all.
fn seconds(answer: &str) -> u64 {
    answer.trim().parse().unwrap_or(u64::MAX)
}

fn bits(answer: &str) -> u8 {
    u8::from_str_radix(answer.trim(), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(seconds("020"), 20);
        assert_eq!(seconds("x"), u64::MAX);
        assert_eq!(bits("48"), 0x48);
        assert_eq!(bits("zz"), 0);
        assert!(accepted("*") && accepted("OK") && !accepted("NA"));
    }
}
