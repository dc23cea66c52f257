//! `apcmaster`: APC MasterSwitch by telnet (agents spec 3.5).

use super::answer;
use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};
use super::dialogue::{log_in, Dialogue};
use super::outlet::other_than;

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "apcmaster",
    parameters: &[common::IPADDR, common::LOGIN, common::PASSWORD],
    id: "APC MasterSwitch",
    description: "APC MasterSwitch by telnet. It takes one connection at a time.",
    url: "http://www.apc.com/",
    configure,
};

const DEVICE: &str = "APC MasterSwitch";
const PROMPT: &str = "> ";
const ESCAPE: &str = "\x1b";
/// Times that it may ask whether a command is meant.
const QUESTIONS_MAX: usize = 3;
/// Menus are at most so deep.
const MENU_DEPTH: usize = 4;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    Ok(Box::new(ApcMaster {
        address: values.need("ipaddr")?.to_owned(),
        login: values.need("login")?.to_owned(),
        password: values.need("password")?.to_owned(),
        pace: values.pace(),
    }))
}

struct ApcMaster {
    address: String,
    login: String,
    password: String,
    pace: Pace,
}

/// An outlet as the switch lists it.
struct Outlet {
    number: u32,
    name: String,
}

impl Device for ApcMaster {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        let mut dialogue = self.enter()?;
        let outlets = outlets(&mut dialogue)?;
        leave(&mut dialogue);
        Ok(outlets.into_iter().map(|outlet| outlet.name).collect())
    }

    fn status(&mut self) -> Result<(), Failure> {
        leave(&mut self.enter()?);
        Ok(())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let mut dialogue = self.enter()?;
        let outlets = outlets(&mut dialogue)?;
        let result = match outlets.iter().find(|outlet| outlet.name == host) {
            None => Err(Failure::report(Code::BAD_HOST, format!("{DEVICE} doesn't control host [{host}]"))),
            Some(outlet) => switch(&mut dialogue, outlet, &outlets, action),
        };
        leave(&mut dialogue);
        result
    }
}

impl ApcMaster {
    fn enter(&self) -> Result<Dialogue, Failure> {
        log_in(&self.address, DEVICE, self.pace, |dialogue| {
            dialogue.hide(&self.password);
            dialogue.expect("User Name :", 30)?;
            dialogue.send(&format!("{}\r", self.login))?;
            dialogue.expect("Password  :", 10)?;
            dialogue.send(&format!("{}\r", self.password))?;
            match dialogue.wait_for(&["American Power Conversion", "User Name :"], 30) {
                Ok(0) => dialogue.expect(PROMPT, 10),
                Ok(_) => Err(Failure::report(Code::ACCESS, format!("Invalid password for {DEVICE}."))),
                Err(trouble) => Err(dialogue.failure(trouble, Code::TIMEOUT)),
            }
        })
    }
}

/// To the main menu, from wherever.
fn to_main_menu(dialogue: &mut Dialogue) -> Result<(), Failure> {
    for _ in 0..MENU_DEPTH {
        dialogue.send(ESCAPE)?;
        dialogue.expect(PROMPT, 10)?;
    }
    Ok(())
}

/// The list of outlets; afterwards the switch waits in that menu.
fn outlets(dialogue: &mut Dialogue) -> Result<Vec<Outlet>, Failure> {
    to_main_menu(dialogue)?;
    dialogue.send("1\r")?;
    dialogue.expect("-----", 10)?;
    dialogue.expect("\r\n", 10)?;
    dialogue.expect("\r\n", 10)?;
    let (_, text) =
        dialogue.take_until(&[PROMPT], 10).map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
    Ok(text.lines().filter_map(outlet).collect())
}

/// `N- NAME`, the name in 23 columns.
fn outlet(line: &str) -> Option<Outlet> {
    let (number, rest) = line.trim_start().split_once("- ")?;
    let name: String = rest.chars().take(23).collect();
    let name = name.trim_end().to_ascii_lowercase();
    Some(Outlet { number: number.parse().ok()?, name }).filter(|outlet| !outlet.name.is_empty())
}

fn switch(dialogue: &mut Dialogue, outlet: &Outlet, all: &[Outlet], action: Action) -> Result<(), Failure> {
    let host = &outlet.name;
    to_main_menu(dialogue)?;
    dialogue.send("1\r")?;
    dialogue.expect("-----", 10)?;
    dialogue.expect(PROMPT, 10)?;
    dialogue.send(&format!("{}\r", outlet.number))?;
    let (_, menu) =
        dialogue.take_until(&[PROMPT], 10).map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
    let menu = menu.to_ascii_lowercase();
    // The list may have changed meanwhile: a menu that names another host is not the right one.
    let other = all.iter().find(|other| other.name != *host && menu.contains(&other.name));
    if let Some(other) = other.filter(|_| !menu.contains(host.as_str())) {
        let text = format!(
            "{DEVICE} shows {} for outlet {} of {host}; nothing was switched",
            other.name, outlet.number
        );
        return Err(Failure::report(Code::BAD_HOST, text));
    }
    dialogue.send("1\r")?;
    dialogue.expect(PROMPT, 10)?;
    dialogue.send(match action {
        Action::Reset => "3\r",
        Action::On => "1\r",
        Action::Off => "2\r",
    })?;
    let mut questions = 0;
    loop {
        let asked = dialogue.take_until(&["Press <ENTER> to continue", "Enter 'YES' to continue"], 10);
        let (word, text) = asked.map_err(|trouble| dialogue.failure(trouble, Code::RESET_FAILED))?;
        if let Some(other) = other_than(&[outlet.number], &text) {
            return another(dialogue, outlet, other, word == 1);
        }
        match word {
            0 => break,
            _ if questions == QUESTIONS_MAX => {
                let text = format!("{DEVICE} asks again and again whether {host} is meant");
                return Err(Failure::report(Code::RESET_FAILED, text));
            }
            _ => dialogue.command("YES\r")?,
        }
        questions += 1;
    }
    if action == Action::Reset {
        log::info!("Host being rebooted: {host}");
    }
    dialogue.send("\r")?;
    dialogue.wait_for(&[PROMPT], 60).map_err(|trouble| dialogue.failure(trouble, Code::RESET_FAILED))?;
    match action {
        Action::Reset => log::info!("Power restored to host: {host}"),
        _ => log::info!("Power to MS outlet(s) {} turned {}", outlet.number, action.as_str()),
    }
    Ok(())
}

/// It speaks of another outlet: asked whether that is meant, no; told that it is done, no success.
fn another(dialogue: &mut Dialogue, outlet: &Outlet, other: u32, is_asked: bool) -> Result<(), Failure> {
    let Outlet { number, name } = outlet;
    answer::not_done();
    if !is_asked {
        let text = format!("{DEVICE} switched outlet {other} and not {number} of {name}");
        return Err(Failure::report(Code::RESET_FAILED, text));
    }
    dialogue.send("\r")?;
    let text = format!("{DEVICE} would switch outlet {other} for {number} of {name}; nothing was switched");
    Err(Failure::report(Code::BAD_HOST, text))
}

/// Logs out, so that the next one gets in. What does not work here changes no result.
fn leave(dialogue: &mut Dialogue) {
    dialogue.forget();
    let left = to_main_menu(dialogue).and_then(|()| dialogue.send("4\r"));
    if let Err(failure) = left {
        log::debug!("{DEVICE}: no proper logout: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlets_by_line() {
        let found = outlet("     1- Node1                   ON").unwrap();
        assert_eq!((found.number, found.name.as_str()), (1, "node1"));
        assert!(outlet("     <ESC>- Back, <ENTER>- Refresh").is_none());
        assert!(outlet("99999999999- x").is_none());
        assert!(outlet("1- ").is_none());
    }
}
