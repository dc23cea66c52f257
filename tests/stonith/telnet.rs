//! Power switches with a telnet server: `apcmaster`, `wti_nps`, `baytech`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ha_core::stonith::device::{Action, Code};

use crate::{programs, request, skip, stonith, Deeds, Fault};

const PASSWORD: &str = "geheimnis";
const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
/// Time limits run at this percentage in this process.
const PACE_PERCENT: u32 = 4;

/// A server for one kind of switch at an address of its own.
struct Switch {
    address: String,
    deeds: Deeds,
}

type Handler = fn(&mut Session) -> io::Result<()>;

impl Switch {
    /// `None` where this user may not have the port.
    fn start(number: u8, handler: Handler, fault: Fault) -> Option<Self> {
        // The loopback network is large: tests that run beside each other have addresses of their own.
        let pid = std::process::id();
        let address = format!("127.{}.{}.{number}", 1 + (pid >> 8) % 250, 1 + pid % 250);
        let listener = match TcpListener::bind((address.as_str(), 23)) {
            Ok(listener) => listener,
            Err(error) => {
                skip::skip(&format!("no telnet port: {error}"));
                return None;
            }
        };
        let deeds = Deeds::default();
        let noted = deeds.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut session = Session { stream, deeds: noted.clone(), fault };
                let _ = session.stream.set_read_timeout(Some(Duration::from_secs(60)));
                // The original logs in anew before it has left.
                std::thread::spawn(move || match fault {
                    Fault::Silent => session.stream.read(&mut [0]).map(|_| ()),
                    _ => handler(&mut session),
                });
            }
        });
        Some(Self { address, deeds })
    }
}

struct Session {
    stream: TcpStream,
    deeds: Deeds,
    fault: Fault,
}

impl Session {
    fn say(&mut self, text: &str) -> io::Result<()> {
        if self.fault != Fault::Slow {
            return self.stream.write_all(text.as_bytes());
        }
        for piece in text.as_bytes().chunks(16) {
            self.stream.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What was typed before the carriage return; an escape is a line by itself.
    fn line(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            match byte[0] {
                b'\r' => return Ok(text),
                0x1b => return Ok("\x1b".into()),
                b'\n' => {}
                other => text.push(char::from(other)),
            }
            self.stream.write_all(&byte)?;
        }
    }

    /// The moment of switching: notes it, or fails as it shall.
    fn switch(&mut self, deed: String) -> io::Result<()> {
        match self.fault {
            Fault::HangsUp => Err(io::ErrorKind::ConnectionAborted.into()),
            Fault::NeverDone => {
                self.deeds.note(deed);
                // Until the other side gives up.
                let _ = self.stream.read_to_end(&mut Vec::new());
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => {
                self.deeds.note(deed);
                Ok(())
            }
        }
    }
}

/// An APC MasterSwitch. It greets as telnet(1) does, for which the original waits.
fn apc(session: &mut Session) -> io::Result<()> {
    // A real one negotiates; the original takes the bytes as text.
    session.say("Escape character is '^]'.\r\n")?;
    loop {
        session.say("\r\nUser Name : ")?;
        let user = session.line()?;
        session.say("\r\nPassword  : ")?;
        if user == "apc" && session.line()? == PASSWORD {
            break;
        }
    }
    session.say("\r\n\r\nAmerican Power Conversion               Web/SNMP Management Card\r\n")?;
    let mut menu: Vec<usize> = Vec::new();
    loop {
        let text = apc_menu(session.fault, &menu);
        session.say(&text)?;
        let typed = session.line()?;
        match (menu.as_slice(), typed.as_str()) {
            ([], "4") => return Ok(()),
            (_, "\x1b") => drop(menu.pop()),
            ([], "1") => menu.push(0),
            ([_], number) => {
                if let Some(outlet) = number.parse().ok().filter(|outlet| (1..=3).contains(outlet)) {
                    menu.push(outlet);
                }
            }
            ([_, _], "1") => menu.push(0),
            ([_, outlet, _], number @ ("1" | "2" | "3")) => {
                let verb = ["on", "off", "reset"][number.parse::<usize>().unwrap_or(1) - 1];
                let outlet = *outlet;
                session.say("\r\n\tEnter 'YES' to continue or <ENTER> to cancel : ")?;
                if session.line()? == "YES" {
                    session.switch(format!("{verb} {outlet}"))?;
                    session.say("\r\n\tCommand successfully issued.\r\n\tPress <ENTER> to continue...")?;
                    session.line()?;
                }
            }
            _ => {}
        }
    }
}

fn apc_menu(fault: Fault, menu: &[usize]) -> String {
    let text = match menu {
        [] => "------- Control Console ------\r\n\r\n     1- Outlet Manager\r\n     4- Logout\r\n".to_owned(),
        [_] if fault == Fault::Junk => "------- ?\r\n\r\n%%%%%\r\n".to_owned(),
        [_] => {
            let line = |(index, name): (usize, &&str)| format!("     {}- {name:23} ON\r\n", index + 1);
            let list: String = HOSTS.iter().enumerate().map(line).collect();
            format!("------- Outlet Control/Configuration ------\r\n\r\n{list}")
        }
        [_, outlet, rest @ ..] => {
            let shown = if fault == Fault::OtherOutlet { 3 } else { *outlet };
            let name = HOSTS[shown - 1];
            let first = if rest.is_empty() { "1- Control Outlet" } else { "1- Immediate On" };
            format!("------- {name} ------\r\n\r\n     Outlet  : {shown}\r\n     State : ON\r\n\r\n     {first}\r\n")
        }
    };
    format!("\r\n{text}\r\n     <ESC>- Back, <ENTER>- Refresh\r\n> ")
}

/// A WTI network power switch.
fn wti(session: &mut Session) -> io::Result<()> {
    session.say("\r\nPassword: ")?;
    while session.line()? != PASSWORD {
        session.say("\r\nInvalid password\r\nPassword: ")?;
    }
    session.say("\r\nWTI Network Power Switch  v3.02\r\n\r\nIPS> ")?;
    loop {
        let typed = session.line()?;
        let (verb, rest) = typed.split_once(' ').unwrap_or((&typed, ""));
        match verb.to_ascii_lowercase().as_str() {
            "/x,y" => return Ok(()),
            "/s" if session.fault == Fault::Junk => {
                session.say("\r\n?????\r\nIPS> ")?;
                continue;
            }
            "/boot" | "/on" | "/off" => {
                let verb = verb[1..].to_ascii_lowercase().replace("boot", "reset");
                let outlets = rest.trim_end_matches(",y").trim();
                session.switch(format!("{verb} {outlets}"))?;
                session.say("\r\nProcessing - please wait ...\r\n")?;
            }
            _ => {}
        }
        let row = |(index, name): (usize, &&str)| format!("  {} | {name:16} |   ON  |\r\n", index + 1);
        let rows: String = HOSTS.iter().enumerate().map(row).collect();
        let head = "Plug | Name             | Status |\r\n-----+------------------+--------+\r\n";
        session.say(&format!("\r\n{head}{rows}  4 | (undefined)      |   ON  |\r\n\r\nIPS> "))?;
    }
}

/// A BayTech RPC-3.
fn baytech(session: &mut Session) -> io::Result<()> {
    session.say("\r\nRPC-3 Telnet Host\r\nRevision F 4.22, (C) 2001\r\nBay Technical Associates\r\nUnit ID: RPC-3\r\n")?;
    loop {
        session.say("\r\nEnter username>")?;
        let user = session.line()?;
        session.say("\r\nEnter password>")?;
        if user == "admin" && session.line()? == PASSWORD {
            break;
        }
        session.say("\r\nInvalid password\r\n")?;
    }
    loop {
        session.say("\r\nRPC-3 Menu:\r\n 1)...Outlet Control\r\n 6)...Logout\r\nEnter Selection>")?;
        match session.line()?.as_str() {
            "1" => baytech_outlets(session)?,
            "6" => return Ok(()),
            _ => {}
        }
    }
}

fn baytech_outlets(session: &mut Session) -> io::Result<()> {
    loop {
        session.say("\r\nRPC-3>")?;
        let typed = session.line()?;
        let (verb, outlet) = typed.split_once(' ').unwrap_or((&typed, ""));
        match verb.to_ascii_lowercase().as_str() {
            "menu" => return Ok(()),
            "status" if session.fault == Fault::Junk => session.say("\r\n?????\r\n")?,
            "status" => {
                let row = |(index, name): (usize, &&str)| format!("{:>7}       {name:10}  On\r\n", index + 1);
                let rows: String = HOSTS.iter().enumerate().map(row).collect();
                session.say(&format!("\r\n Outlet  Name        Status\r\n{rows}"))?;
            }
            "reboot" => {
                session.say(&format!("\r\nReboot outlet {outlet} (Y/N)>"))?;
                if session.line()? == "Y" {
                    session.switch(format!("reset {outlet}"))?;
                    session.say("\r\nRebooting selected outlet\r\nPower applied to outlet\r\n")?;
                }
            }
            verb @ ("on" | "off") => {
                session.say(&format!("\r\nTurn {verb} outlet {outlet} (Y/N)>"))?;
                if session.line()? == "Y" {
                    session.switch(format!("{verb} {outlet}"))?;
                }
            }
            _ => {}
        }
    }
}

/// Name of the type, number of its address, server, the user's parameter.
type Kind = (&'static str, u8, Handler, &'static [(&'static str, &'static str)]);
const KINDS: [Kind; 3] = [
    ("apcmaster", 1, apc, &[("login", "apc")]),
    ("wti_nps", 2, wti, &[]),
    ("baytech", 3, baytech, &[("login", "admin")]),
];

#[test]
fn each_switch_resets_for_both_programs() {
    for (name, number, handler, user) in KINDS {
        let Some(switch) = Switch::start(number, handler, Fault::None) else { return };
        let pairs = [&[("ipaddr", switch.address.as_str())], user, &[("password", PASSWORD)]].concat();
        for program in programs() {
            let run = |words: &[&str]| stonith(&program, name, &pairs, words);
            let (code, text) = run(&["-l"]);
            let listed: Vec<&str> = text.lines().filter(|line| HOSTS.contains(line)).collect();
            assert_eq!((code, listed.as_slice()), (0, HOSTS.as_slice()), "{name} {}: {text}", program.0);
            assert_eq!(run(&["-S"]).0, 0, "{name} {}", program.0);
            assert_eq!(switch.deeds.take(), Vec::<String>::new(), "{name} {}", program.0);
            for (words, deed) in [(["-T", "reset", "NODE2"], "reset 2"), (["-T", "off", "node1"], "off 1")] {
                let (code, text) = run(&words);
                assert_eq!(code, 0, "{name} {}: {text}", program.0);
                assert_eq!(switch.deeds.take(), [deed], "{name} {}", program.0);
                assert!(program.0 == crate::ORIGINAL || !text.contains(PASSWORD), "{text}");
            }
            let (code, text) = run(&["-T", "reset", "node9"]);
            assert_eq!((code, switch.deeds.take()), (4, Vec::new()), "{name} {}: {text}", program.0);
        }
    }
}

#[test]
fn a_switch_that_misbehaves_never_reports_success() {
    let faults = [Fault::Silent, Fault::Junk, Fault::HangsUp, Fault::NeverDone];
    for (name, number, handler, user) in KINDS {
        for (index, fault) in faults.into_iter().enumerate() {
            let number = number * 20 + u8::try_from(index).unwrap();
            let Some(switch) = Switch::start(number, handler, fault) else { return };
            let pairs = [&[("ipaddr", switch.address.as_str())], user, &[("password", PASSWORD)]].concat();
            let failure = request(name, &pairs, PACE_PERCENT, Action::Reset, "node2").expect_err(name);
            let expected: &[Code] = match fault {
                Fault::Silent => &[Code::ACCESS],
                Fault::Junk => &[Code::TIMEOUT, Code::BAD_HOST],
                Fault::HangsUp => &[Code::OTHER],
                _ => &[Code::RESET_FAILED],
            };
            assert!(expected.contains(&failure.code), "{name} {fault:?}: {failure:?}");
            assert!(!failure.text.contains(PASSWORD), "{failure:?}");
            let times = usize::from(fault == Fault::NeverDone);
            assert_eq!(switch.deeds.take().len(), times, "{name} {fault:?}: nothing is tried twice");
        }
    }
}

#[test]
fn a_slow_switch_resets_and_a_wrong_password_is_tried_once() {
    for (name, number, handler, user) in KINDS {
        let Some(switch) = Switch::start(number * 20 + 10, handler, Fault::Slow) else { return };
        let address = ("ipaddr", switch.address.as_str());
        let pairs = [&[address], user, &[("password", PASSWORD)]].concat();
        request(name, &pairs, 100, Action::Reset, "node3").expect(name);
        assert_eq!(switch.deeds.take(), ["reset 3"]);
        let pairs = [&[address], user, &[("password", "wrong")]].concat();
        let failure = request(name, &pairs, 100, Action::Reset, "node3").expect_err(name);
        assert_eq!((failure.code, switch.deeds.take()), (Code::ACCESS, Vec::new()), "{failure}");
    }
}

#[test]
fn a_menu_of_another_outlet_is_not_used() {
    let Some(switch) = Switch::start(200, apc, Fault::OtherOutlet) else { return };
    let pairs = [("ipaddr", switch.address.as_str()), ("login", "apc"), ("password", PASSWORD)];
    let failure = request("apcmaster", &pairs, 100, Action::Reset, "node2").expect_err("refused");
    assert_eq!((failure.code, switch.deeds.take()), (Code::BAD_HOST, Vec::new()), "{failure}");
}
