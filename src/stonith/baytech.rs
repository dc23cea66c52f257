//! `baytech`: RPC power switches of Bay Technical Associates by telnet (agents spec 3.5).

use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};
use super::dialogue::{log_in, Dialogue};
use super::outlet::other_than;

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "baytech",
    parameters: &[common::IPADDR, common::LOGIN, common::PASSWORD],
    id: "BayTech power switch",
    description: "RPC power switches of Bay Technical Associates by telnet: RPC-3, RPC-3A, RPC-5.",
    url: "http://www.baytech.net/",
    configure,
};

const DEVICE: &str = "BayTech power switch";
/// Where names begin in the list of outlets, from 0.
const NAME_COLUMN: usize = 14;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    Ok(Box::new(Baytech {
        address: values.need("ipaddr")?.to_owned(),
        login: values.need("login")?.to_owned(),
        password: values.need("password")?.to_owned(),
        pace: values.pace(),
    }))
}

struct Baytech {
    address: String,
    login: String,
    password: String,
    pace: Pace,
}

/// A switch that let us in.
struct Session {
    dialogue: Dialogue,
    /// What stands in front of the list of outlets, and how wide a name is.
    list: (&'static str, usize),
}

impl Device for Baytech {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        let mut session = self.enter()?;
        let mut names: Vec<String> = session.outlets()?.into_iter().map(|(_, name)| name).collect();
        session.leave();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    fn status(&mut self) -> Result<(), Failure> {
        self.enter()?.leave();
        Ok(())
    }

    /// All outlets of a host but the last go off before it is reset, and on again after.
    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let mut session = self.enter()?;
        let outlets = session.outlets()?;
        let own: Vec<u32> =
            outlets.into_iter().filter(|(_, name)| name == host).map(|(number, _)| number).collect();
        let result = match (own.split_last(), action) {
            (None, _) => {
                let text = format!("BayTech {} doesn't control host [{host}]", session.model());
                Err(Failure::report(Code::BAD_HOST, text))
            }
            (Some((last, others)), Action::Reset) => session.reset(*last, others, host),
            (Some(_), _) => own.iter().try_for_each(|outlet| session.set(*outlet, action, host)),
        };
        session.leave();
        result
    }
}

impl Baytech {
    fn enter(&self) -> Result<Session, Failure> {
        let mut list = ("", 0);
        let dialogue = log_in(&self.address, DEVICE, self.pace, |dialogue| {
            dialogue.hide(&self.password);
            dialogue.expect("RPC", 10)?;
            let banner = dialogue.take_until(&["Bay Technical Associates"], 10);
            let (_, banner) = banner.map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
            // `-5`, `-3` or `-3A`.
            list = if banner.starts_with("-5") { ("emperature: ", 18) } else { ("Status", 10) };
            dialogue.expect("Unit ID: ", 10)?;
            dialogue.expect("username>", 10)?;
            dialogue.send(&format!("{}\r", self.login))?;
            dialogue.expect("password>", 10)?;
            dialogue.send(&format!("{}\r", self.password))?;
            match dialogue.wait_for(&["RPC", "Invalid password"], 10) {
                Ok(0) => dialogue.expect("Menu:", 10),
                Ok(_) => Err(Failure::report(Code::ACCESS, format!("Invalid password for {DEVICE}."))),
                Err(trouble) => Err(dialogue.failure(trouble, Code::TIMEOUT)),
            }
        })?;
        Ok(Session { dialogue, list })
    }
}

impl Session {
    fn model(&self) -> &'static str {
        if self.list.1 == 18 {
            "RPC-5"
        } else {
            "RPC-3"
        }
    }

    /// To the menu of outlets, and their list.
    fn outlets(&mut self) -> Result<Vec<(u32, String)>, Failure> {
        self.dialogue.send("1\r")?;
        self.prompt(10, Code::TIMEOUT)?;
        self.dialogue.send("STATUS\r")?;
        self.dialogue.expect(self.list.0, 10)?;
        let text = self.dialogue.take_until(&["RPC"], 10);
        let (_, text) = text.map_err(|trouble| self.dialogue.failure(trouble, Code::TIMEOUT))?;
        self.dialogue.expect(">", 10)?;
        Ok(text.lines().filter_map(|line| outlet(line, self.list.1)).collect())
    }

    /// `RPC-3>` and the like.
    fn prompt(&mut self, seconds: u32, late: Code) -> Result<(), Failure> {
        for word in ["RPC", ">"] {
            let result = self.dialogue.wait_for(&[word], seconds);
            result.map_err(|trouble| self.dialogue.failure(trouble, late))?;
        }
        Ok(())
    }

    fn reset(&mut self, last: u32, others: &[u32], host: &str) -> Result<(), Failure> {
        others.iter().try_for_each(|outlet| self.set(*outlet, Action::Off, host))?;
        let result = self.reboot(last, host);
        for outlet in others {
            // The host was off: a supply that stays off is no failed reset.
            let _ = self.set(*outlet, Action::On, host);
        }
        result
    }

    fn reboot(&mut self, outlet: u32, host: &str) -> Result<(), Failure> {
        let step = |session: &mut Self, words: &[&str], seconds: u32| {
            let result = session.dialogue.take_until(words, seconds);
            result.map_err(|trouble| session.dialogue.failure(trouble, Code::RESET_FAILED))
        };
        self.dialogue.command(&format!("REBOOT {outlet}\r"))?;
        let (mut answer, asked) = step(self, &["ebooting selected outlet", "(Y/N)>", "already off."], 5)?;
        if answer == 1 {
            self.refuse_another(outlet, &asked, host)?;
            self.dialogue.send("Y\r")?;
            answer = step(self, &["ebooting selected outlet", "already off."], 10)?.0 * 2;
        }
        if answer == 2 {
            super::answer::not_done();
            return Err(Failure::report(Code::IS_OFF, format!("Host is OFF: {host}.")));
        }
        log::info!("Host {host} (outlet {outlet}) being rebooted.");
        step(self, &["ower applied to outlet"], 30)?;
        self.prompt(5, Code::RESET_FAILED)?;
        log::info!("Power restored to host {host} (outlet {outlet}).");
        Ok(())
    }

    /// Asked whether another outlet is meant: no.
    fn refuse_another(&mut self, outlet: u32, asked: &str, host: &str) -> Result<(), Failure> {
        let Some(other) = other_than(&[outlet], asked) else { return Ok(()) };
        super::answer::not_done();
        self.dialogue.send("N\r")?;
        let text = format!("{DEVICE} would switch outlet {other} for {outlet} of {host}; it was told not to");
        Err(Failure::report(Code::BAD_HOST, text))
    }

    fn set(&mut self, outlet: u32, action: Action, host: &str) -> Result<(), Failure> {
        self.dialogue.command(&format!("{} {outlet}\r", action.as_str()))?;
        let step = |session: &mut Self, words: &[&str]| {
            let result = session.dialogue.take_until(words, 10);
            result.map_err(|trouble| session.dialogue.failure(trouble, Code::RESET_FAILED))
        };
        // Asked whether it is meant, or told that it is so already; else the prompt.
        let (word, text) = step(self, &["RPC", "(Y/N)>", "already "])?;
        if word == 1 {
            self.refuse_another(outlet, &text, host)?;
            self.dialogue.send("Y\r")?;
            step(self, &["RPC"])?;
        }
        step(self, &[">"])?;
        log::info!("Power to host {host} (outlet {outlet}) turned {}.", action.as_str());
        Ok(())
    }

    /// Logs out, so that the next one gets in.
    fn leave(&mut self) {
        self.dialogue.forget();
        let left = self.dialogue.send("MENU\r").and_then(|()| self.dialogue.send("6\r"));
        if let Err(failure) = left {
            log::debug!("{DEVICE}: no proper logout: {failure}");
        }
    }
}

/// The number in the first seven columns, and the name in its own (seen of the original).
fn outlet(line: &str, width: usize) -> Option<(u32, String)> {
    let number: String = line.chars().take(7).collect();
    let name: String = line.chars().skip(NAME_COLUMN).take(width).collect();
    let digits: String = number.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let name = name.trim().to_ascii_lowercase();
    Some((digits.parse().ok()?, name)).filter(|(_, name)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlets_by_line() {
        assert_eq!(outlet("     2)...    Node2      On", 10), Some((2, "node2".into())));
        assert_eq!(outlet("      3       Node3", 10), Some((3, "node3".into())));
        assert_eq!(outlet("x", 10), None);
        assert_eq!(outlet("7", 10), None);
    }
}
