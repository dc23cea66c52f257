//! Power switches with a telnet server, played: `apcmaster`, `wti_nps`, `baytech`. They count because
//! Debian's own `stonith` resets through them too (tests/stonith); then they answer wrongly, late, half,
//! or not at all.

#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What every played switch wants to hear.
pub(crate) const PASSWORD: &str = "geheimnis";
/// The names of its first three outlets.
pub(crate) const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
/// The same where it controls somebody else.
const STRANGERS: [&str; 3] = ["mail", "news", "proxy"];
/// A client that says nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a played device misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not.
    None,
    /// It says nothing at all.
    Silent,
    /// It says something else.
    Junk,
    /// It takes no password.
    Refuses,
    /// It knows other hosts.
    NotListed,
    /// It hangs up when it is told to switch.
    HangsUp,
    /// It switches and hangs up.
    HangsUpDone,
    /// It takes the command and never says that it was done.
    NeverDone,
    /// It answers for another outlet than the one it was told.
    OtherOutlet,
    /// It asks whether another outlet is meant than the one it was told.
    OtherAsked,
    /// Each piece comes alone and late, but in time.
    Slow,
    /// It asks again and again whether that is meant, and switches nothing.
    AsksForEver,
    /// It says that it is done and that the outlet is on, and was never off.
    NeverOff,
}

impl Fault {
    /// The fault of this name, as `{:?}` writes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use Fault::{
            AsksForEver, HangsUp, HangsUpDone, Junk, NeverDone, NeverOff, NotListed, Refuses, Silent, Slow,
        };
        let refusing = [Self::None, Silent, Junk, Refuses, NotListed, Self::OtherOutlet, Self::OtherAsked];
        let mut all =
            refusing.into_iter().chain([HangsUp, HangsUpDone, NeverDone, Slow, AsksForEver, NeverOff]);
        all.find(|fault| format!("{fault:?}") == name)
    }
}

/// What a played device did to its outlets, as in `reset 2`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deeds {
    list: Arc<Mutex<Vec<String>>>,
    /// Also written here, a line each.
    file: Option<PathBuf>,
}

impl Deeds {
    /// That are written to a file too.
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(file), ..Self::default() }
    }

    pub(crate) fn note(&self, deed: impl Into<String>) {
        let deed = deed.into();
        if let Some(path) = &self.file {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| writeln!(file, "{deed}")).expect("file of deeds");
        }
        self.list.lock().expect("deeds").push(deed);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.list.lock().expect("deeds"))
    }
}

/// What a switch says to one client until it hangs up.
pub(crate) type Handler = fn(&mut Session) -> io::Result<()>;

/// The switch of this type.
pub(crate) fn handler(name: &str) -> Option<Handler> {
    let all: [(&str, Handler); 3] = [("apcmaster", apc), ("wti_nps", wti), ("baytech", baytech)];
    all.into_iter().find(|(known, _)| *known == name).map(|(_, handler)| handler)
}

/// Serves clients one beside the other, each with the fault of that moment, until the process ends.
pub(crate) fn serve(listener: &TcpListener, handler: Handler, deeds: &Deeds, fault: impl Fn() -> Fault) {
    for stream in listener.incoming().flatten() {
        let fault = fault();
        let mut session = Session { stream, deeds: deeds.clone(), fault };
        let _ = session.stream.set_read_timeout(Some(PATIENCE));
        // The original logs in anew before it has left.
        std::thread::spawn(move || match fault {
            Fault::Silent => session.stream.read(&mut [0; 4096]).map(|_| ()),
            _ => handler(&mut session),
        });
    }
}

/// One client.
pub(crate) struct Session {
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

    /// The outlet that it asks about when it was told this one.
    fn asked(&self, told: usize) -> usize {
        if self.fault == Fault::OtherAsked {
            3
        } else {
            told
        }
    }

    /// The password that was typed is the right one.
    fn lets_in(&mut self) -> io::Result<bool> {
        Ok(self.line()? == PASSWORD && self.fault != Fault::Refuses)
    }

    fn hosts(&self) -> [&'static str; 3] {
        if self.fault == Fault::NotListed {
            STRANGERS
        } else {
            HOSTS
        }
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
            Fault::HangsUpDone => {
                self.deeds.note(deed);
                Err(io::ErrorKind::ConnectionAborted.into())
            }
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
        let fits = session.lets_in()?;
        if user == "apc" && fits {
            break;
        }
    }
    session.say("\r\n\r\nAmerican Power Conversion               Web/SNMP Management Card\r\n")?;
    let mut menu: Vec<usize> = Vec::new();
    loop {
        let text = apc_menu(session, &menu);
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
                let outlet = session.asked(*outlet);
                session.say(&format!("\r\n\tThis command will switch outlet {outlet}.\r\n"))?;
                session.say("\r\n\tEnter 'YES' to continue or <ENTER> to cancel : ")?;
                while session.fault == Fault::AsksForEver {
                    session.line()?;
                    session.say("\r\n\tEnter 'YES' to continue or <ENTER> to cancel : ")?;
                }
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

fn apc_menu(session: &Session, menu: &[usize]) -> String {
    let (fault, hosts) = (session.fault, session.hosts());
    let text = match menu {
        [] => "------- Control Console ------\r\n\r\n     1- Outlet Manager\r\n     4- Logout\r\n".to_owned(),
        [_] if fault == Fault::Junk => "------- ?\r\n\r\n%%%%%\r\n".to_owned(),
        [_] => {
            let line = |(index, name): (usize, &&str)| format!("     {}- {name:23} ON\r\n", index + 1);
            let list: String = hosts.iter().enumerate().map(line).collect();
            format!("------- Outlet Control/Configuration ------\r\n\r\n{list}")
        }
        [_, outlet, rest @ ..] => {
            let shown = if fault == Fault::OtherOutlet { 3 } else { *outlet };
            let name = hosts[shown - 1];
            let first = if rest.is_empty() { "1- Control Outlet" } else { "1- Immediate On" };
            format!("------- {name} ------\r\n\r\n     Outlet  : {shown}\r\n     State : ON\r\n\r\n     {first}\r\n")
        }
    };
    format!("\r\n{text}\r\n     <ESC>- Back, <ENTER>- Refresh\r\n> ")
}

/// A WTI network power switch.
fn wti(session: &mut Session) -> io::Result<()> {
    session.say("\r\nPassword: ")?;
    while !session.lets_in()? {
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
                let asked = session.asked(outlets.parse().unwrap_or(0));
                if session.fault == Fault::OtherAsked {
                    session.say(&format!("\r\nBoot Plug {asked}: are you sure? (Y/N):"))?;
                    if session.line()? != "Y" {
                        session.say("\r\nIPS> ")?;
                        continue;
                    }
                }
                session.switch(format!("{verb} {outlets}"))?;
                session.say("\r\nProcessing - please wait ...\r\n")?;
            }
            _ => {}
        }
        let row = |(index, name): (usize, &&str)| format!("  {} | {name:16} |   ON  |\r\n", index + 1);
        let rows: String = session.hosts().iter().enumerate().map(row).collect();
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
        let fits = session.lets_in()?;
        if user == "admin" && fits {
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
                let rows: String = session.hosts().iter().enumerate().map(row).collect();
                session.say(&format!("\r\n Outlet  Name        Status\r\n{rows}"))?;
            }
            "reboot" => {
                let outlet = session.asked(outlet.parse().unwrap_or(0));
                session.say(&format!("\r\nReboot outlet {outlet} (Y/N)>"))?;
                if session.line()? == "Y" {
                    session.switch(format!("reset {outlet}"))?;
                    session.say("\r\nRebooting selected outlet\r\nPower applied to outlet\r\n")?;
                }
            }
            verb @ ("on" | "off") => {
                let outlet = session.asked(outlet.parse().unwrap_or(0));
                session.say(&format!("\r\nTurn {verb} outlet {outlet} (Y/N)>"))?;
                if session.line()? == "Y" {
                    session.switch(format!("{verb} {outlet}"))?;
                }
            }
            _ => {}
        }
    }
}
