//! Devices on a serial line, which is a pseudo terminal here: `rps10`, `nw_rpc100s`, `apcsmart`; and
//! what can be seen of `rcd_serial`, whose modem lines a pseudo terminal does not have.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ha_core::stonith::device::{Action, Code};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::pty::openpty;
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg};

use crate::{programs, request, stonith, Deeds, Fault};

const PACE_PERCENT: u32 = 5;

/// The device's end.
struct Device {
    line: OwnedFd,
    deeds: Deeds,
    fault: Fault,
}

impl Device {
    /// Starts a device; the value is the path of the other end.
    fn start(handler: fn(&mut Self), fault: Fault, deeds: &Deeds) -> (String, OwnedFd) {
        let pair = openpty(None, None).expect("pseudo terminal");
        let mut raw = tcgetattr(&pair.slave).expect("settings");
        cfmakeraw(&mut raw);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &raw).expect("settings");
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
        let path = nix::unistd::ttyname(&pair.slave).expect("name").display().to_string();
        let mut device = Self { line: pair.master, deeds: deeds.clone(), fault };
        std::thread::spawn(move || handler(&mut device));
        (path, pair.slave)
    }

    /// The next byte within the time.
    fn byte(&mut self, limit: Duration) -> Option<u8> {
        let end = Instant::now() + limit;
        let mut byte = [0];
        loop {
            match nix::unistd::read(&self.line, &mut byte) {
                Ok(1) => return Some(byte[0]),
                _ if Instant::now() >= end => return None,
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn say(&mut self, text: &str) {
        let text = match self.fault {
            Fault::Silent => "",
            Fault::Junk => "%%%%\r\n",
            _ => text,
        };
        let pause = Duration::from_millis(if self.fault == Fault::Slow { 30 } else { 0 });
        for byte in text.as_bytes() {
            let _ = nix::unistd::write(self.line.as_fd(), &[*byte]);
            std::thread::sleep(pause);
        }
    }

    /// Speed zero: the other end has dropped its modem lines.
    fn is_hung_up(&self) -> bool {
        tcgetattr(&self.line).is_ok_and(|settings| settings.control_flags.bits() & nix::libc::CBAUD == 0)
    }
}

/// An RPS-10: greets when the line comes back from speed zero.
fn rps10(device: &mut Device) {
    let mut command = Vec::new();
    let mut hung_up = false;
    loop {
        let zero = device.is_hung_up();
        if hung_up && !zero {
            // As long as a machine's own start takes: the other side throws away what comes at once.
            std::thread::sleep(Duration::from_millis(50));
            device.say("RPS-10 Ready\r\n");
            command.clear();
        }
        hung_up = zero;
        let Some(byte) = device.byte(Duration::from_millis(5)) else { continue };
        if byte != b'\r' {
            command.push(byte);
            continue;
        }
        let [.., outlet, verb] = command[..] else { continue };
        let known = command.starts_with(b"\x02\x18\x18\x02\x18\x18");
        command.clear();
        if !known || device.fault == Fault::HangsUp {
            continue;
        }
        let shown = if device.fault == Fault::OtherOutlet { '7' } else { char::from(outlet) };
        let (deed, states): (_, &[&str]) = match verb {
            b'T' if device.fault == Fault::NeverOff => ("reset", &["On"]),
            b'T' => ("reset", &["Off", "On"]),
            b'1' => ("on", &["On"]),
            _ => ("off", &["Off"]),
        };
        device.deeds.note(format!("{deed} {}", char::from(outlet)));
        for state in states {
            device.say(&format!("Plug {shown} {state}\r\n"));
        }
        if device.fault != Fault::NeverDone {
            device.say("Complete\r\n");
        }
    }
}

/// A Night/Ware RPC100S.
fn night_ware(device: &mut Device) {
    let mut command = String::new();
    loop {
        let Some(byte) = device.byte(Duration::from_secs(1)) else { continue };
        command.push(char::from(byte));
        if byte != b';' {
            continue;
        }
        let start = command.find("//").unwrap_or(0);
        let deed = match &command[start..] {
            "//0,0,10;" => "reset",
            "//0,0,0;" => "on",
            "//0,0,*;" => "off",
            _ => "",
        };
        command.clear();
        if deed.is_empty() {
            device.say("\r\nInvalid Entry\r\n");
        } else if device.fault != Fault::HangsUp {
            device.deeds.note(deed);
            let answer = match device.fault {
                Fault::OtherOutlet => "Invalid Entry\r\n",
                Fault::NeverDone => "",
                _ => "OK\r\n",
            };
            device.say(answer);
        }
    }
}

/// An APC Smart UPS on mains power.
fn ups(device: &mut Device) {
    let delays = [["180", "020", "300", "600"], ["000", "060", "180", "300"]];
    let (mut chosen, mut last) = ([0, 0], 0);
    let (mut off_until, mut off, mut previous) = (None::<Instant>, false, 0);
    loop {
        let Some(byte) = device.byte(Duration::from_secs(1)) else { continue };
        let twice = previous == byte;
        previous = byte;
        let switching = off_until.is_some_and(|end| Instant::now() < end);
        match byte {
            b'Y' => device.say("SM\r\n"),
            b'Q' => device.say("08\r\n"),
            b'p' | b'r' => {
                last = usize::from(byte == b'r');
                device.say(&format!("{}\r\n", delays[last][chosen[last]]));
            }
            b'-' => {
                chosen[last] = (chosen[last] + 1) % 4;
                device.say("OK\r\n");
            }
            b'S' if device.fault == Fault::HangsUp => device.say("NA\r\n"),
            b'0' => {}
            b'@' => device.say("NA\r\n"),
            b'S' => {
                device.deeds.note(format!("reset {} {}", delays[0][chosen[0]], delays[1][chosen[1]]));
                let length = if device.fault == Fault::NeverDone { 3600 } else { 2 };
                off_until = Some(Instant::now() + Duration::from_secs(length));
                device.say("OK\r\n");
            }
            b'8' => device.say(if switching { "08\r\n" } else { "00\r\n" }),
            b'~' => device.say(if off { "40\r\n" } else { "00\r\n" }),
            b'Z' | 0x0e if twice => {
                off = byte == b'Z';
                device.deeds.note(if off { "off" } else { "on" });
                device.say("OK\r\n");
            }
            _ => {}
        }
    }
}

#[test]
fn each_device_resets_for_both_programs() {
    for program in programs() {
        let deeds = Deeds::default();
        let (path, _keep) = Device::start(rps10, Fault::None, &deeds);
        let targets = format!("{path} node1 1 node2 2");
        let pairs = [("serial_to_targets", targets.as_str())];
        let (code, text) = stonith(&program, "rps10", &pairs, &["-lS", "-T", "reset", "NODE2"]);
        assert_eq!((code, deeds.take()), (0, vec!["reset 2".to_owned()]), "{}: {text}", program.0);

        let (path, _keep) = Device::start(night_ware, Fault::None, &deeds);
        // To the original the whole list is one name.
        let pairs = [("ttydev", path.as_str()), ("hostlist", "node1")];
        let (code, text) = stonith(&program, "nw_rpc100s", &pairs, &["-lS", "-T", "reset", "NODE1"]);
        assert_eq!((code, deeds.take()), (0, vec!["reset".to_owned()]), "{}: {text}", program.0);

        let (path, _keep) = Device::start(ups, Fault::None, &deeds);
        let pairs = [("ttydev", path.as_str()), ("hostlist", "node1 node2")];
        let (code, text) = stonith(&program, "apcsmart", &pairs, &["-lS", "-T", "reset", "NODE2"]);
        assert_eq!((code, deeds.take()), (0, vec!["reset 020 000".to_owned()]), "{}: {text}", program.0);
    }
}

#[test]
fn a_device_that_misbehaves_never_reports_success() {
    use Fault::{HangsUp, Junk, NeverDone, NeverOff, OtherOutlet, Silent};
    for fault in [Silent, Junk, HangsUp, NeverDone, OtherOutlet, NeverOff] {
        let deeds = Deeds::default();
        let (path, _keep) = Device::start(rps10, fault, &deeds);
        let targets = format!("{path} node1 1 node2 2");
        let pairs = [("serial_to_targets", targets.as_str())];
        let failure = request("rps10", &pairs, PACE_PERCENT, Action::Reset, "node2").expect_err("rps10");
        assert!([Code::TIMEOUT, Code::RESET_FAILED].contains(&failure.code), "{fault:?}: {failure:?}");
        assert!(deeds.take().len() <= 1, "{fault:?}");

        if fault == NeverOff {
            continue; // the others do not say what they are at
        }
        let (path, _keep) = Device::start(night_ware, fault, &deeds);
        let pairs = [("ttydev", path.as_str()), ("hostlist", "node1 node2")];
        let failure = request("nw_rpc100s", &pairs, PACE_PERCENT, Action::Reset, "node2").expect_err("nw");
        assert!([Code::TIMEOUT, Code::RESET_FAILED].contains(&failure.code), "{fault:?}: {failure:?}");
        assert!(deeds.take().len() <= 1, "{fault:?}");

        if fault == Fault::OtherOutlet {
            continue; // a UPS has none
        }
        let (path, _keep) = Device::start(ups, fault, &deeds);
        let pairs = [("ttydev", path.as_str()), ("hostlist", "node1 node2")];
        let failure = request("apcsmart", &pairs, PACE_PERCENT, Action::Reset, "node2").expect_err("ups");
        let expected = [Code::TIMEOUT, Code::RESET_FAILED, Code::ACCESS, Code::OTHER];
        assert!(expected.contains(&failure.code), "{fault:?}: {failure:?}");
        assert!(deeds.take().len() <= 1, "{fault:?}");
    }
}

#[test]
fn slow_devices_reset_and_others_are_not_asked_at_once() {
    let deeds = Deeds::default();
    let (path, _keep) = Device::start(night_ware, Fault::Slow, &deeds);
    let pairs = [("ttydev", path.as_str()), ("hostlist", "node1 node2")];
    request("nw_rpc100s", &pairs, 100, Action::Off, "node2").expect("slow");
    assert_eq!(deeds.take(), ["off"]);
    let failure = request("nw_rpc100s", &pairs, 100, Action::Off, "node9").expect_err("unknown host");
    assert_eq!((failure.code, deeds.take()), (Code::BAD_HOST, Vec::new()));

    // A program that lives has the line.
    let name: String = path.trim_start_matches("/dev/").chars().filter(char::is_ascii_alphanumeric).collect();
    let lock = format!("/var/lock/LCK..{name}");
    std::fs::write(&lock, "         1\n").expect("lock");
    let failure = request("nw_rpc100s", &pairs, 100, Action::Off, "node2").expect_err("locked");
    assert!(failure.text.contains("TtyLock failed"), "{failure}");
    std::fs::remove_file(&lock).expect("lock");
}

#[test]
fn a_modem_line_that_is_not_there_resets_nothing() {
    let (path, _keep) = Device::start(night_ware, Fault::None, &Deeds::default());
    let pairs = [("hostlist", "node1"), ("ttydev", path.as_str()), ("dtr_rts", "rts"), ("msduration", "10")];
    let failure = request("rcd_serial", &pairs, 100, Action::Reset, "node1").expect_err("no modem lines");
    assert_eq!(failure.code, Code::OTHER, "{failure}");
    let failure = request("rcd_serial", &pairs, 100, Action::Reset, "node2").expect_err("another host");
    assert_eq!(failure.code, Code::BAD_HOST, "{failure}");
}
