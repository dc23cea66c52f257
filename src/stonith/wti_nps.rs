//! `wti_nps`: power switches of Western Telematic by telnet (agents spec 3.5).

use super::answer;
use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};
use super::dialogue::{log_in, Dialogue, Trouble};
use super::outlet::other_than;

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "wti_nps",
    parameters: &[common::IPADDR, common::PASSWORD],
    id: "WTI Network Power Switch",
    description: "Network and telnet power switches of Western Telematic (NPS, TPS) by telnet.\n\
                  They take one connection at a time.",
    url: "http://www.wti.com/",
    configure,
};

const DEVICE: &str = "WTI Network Power Switch";
const PROMPTS: [&str; 3] = ["PS>", "IPS>", "BB>"];
/// What a switch without a name for an outlet shows.
const UNNAMED: [&str; 2] = ["(undefined)", "---"];

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    Ok(Box::new(WtiNps {
        address: values.need("ipaddr")?.to_owned(),
        password: values.need("password")?.to_owned(),
        pace: values.pace(),
    }))
}

struct WtiNps {
    address: String,
    password: String,
    pace: Pace,
}

impl Device for WtiNps {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        let mut dialogue = self.enter()?;
        let mut names: Vec<String> = outlets(&mut dialogue)?.into_iter().map(|(_, name)| name).collect();
        leave(&mut dialogue);
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    fn status(&mut self) -> Result<(), Failure> {
        let mut dialogue = self.enter()?;
        // It answers: that is all that can be known without switching.
        let result = outlets(&mut dialogue).map(|_| ());
        leave(&mut dialogue);
        result
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let mut dialogue = self.enter()?;
        let own: Vec<u32> = outlets(&mut dialogue)?
            .into_iter()
            .filter(|(_, name)| name == host)
            .map(|(number, _)| number)
            .collect();
        let result = if own.is_empty() {
            Err(Failure::report(Code::BAD_HOST, format!("{DEVICE} doesn't control host [{host}]")))
        } else {
            switch(&mut dialogue, &own, host, action)
        };
        leave(&mut dialogue);
        result
    }
}

impl WtiNps {
    fn enter(&self) -> Result<Dialogue, Failure> {
        log_in(&self.address, DEVICE, self.pace, |dialogue| {
            dialogue.hide(&self.password);
            dialogue.expect("Password:", 10)?;
            dialogue.send(&format!("{}\r", self.password))?;
            match dialogue.wait_for(&[" Power Switch", "Boot Bar", "Invalid password"], 10) {
                Ok(0 | 1) => {}
                Ok(_) => {
                    return Err(Failure::report(Code::ACCESS, format!("Invalid password for {DEVICE}.")));
                }
                Err(trouble) => return Err(dialogue.failure(trouble, Code::TIMEOUT)),
            }
            prompt(dialogue, 10, Code::TIMEOUT)
        })
    }
}

fn prompt(dialogue: &mut Dialogue, seconds: u32, late: Code) -> Result<(), Failure> {
    let result = dialogue.wait_for(&PROMPTS, seconds);
    result.map(|_| ()).map_err(|trouble| dialogue.failure(trouble, late))
}

/// Numbers and names of the outlets that have one.
fn outlets(dialogue: &mut Dialogue) -> Result<Vec<(u32, String)>, Failure> {
    dialogue.send("/s\r")?;
    dialogue.expect("-----+", 10)?;
    let (_, text) =
        dialogue.take_until(&PROMPTS, 10).map_err(|trouble| dialogue.failure(trouble, Code::TIMEOUT))?;
    Ok(text.lines().filter_map(outlet).collect())
}

/// `N | NAME`, the name in 16 columns.
fn outlet(line: &str) -> Option<(u32, String)> {
    let (number, rest) = line.trim().split_once(" | ")?;
    let name: String = rest.chars().take(16).collect();
    let name = name.split('|').next()?.trim_end().to_ascii_lowercase();
    let named = !name.is_empty() && !UNNAMED.iter().any(|unnamed| name.starts_with(unnamed));
    named.then(|| Some((number.trim().parse().ok()?, name))).flatten()
}

fn switch(dialogue: &mut Dialogue, own: &[u32], host: &str, action: Action) -> Result<(), Failure> {
    let outlets = own.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let verb = match action {
        Action::Reset => "BOOT",
        Action::On => "On",
        Action::Off => "Off",
    };
    dialogue.command(&format!("/{verb} {outlets},y\r"))?;
    let late = |dialogue: &Dialogue, trouble: Trouble| dialogue.failure(trouble, Code::RESET_FAILED);
    let asked = dialogue.take_until(&["rocessing - please wait", "(Y/N):"], 5);
    let (word, text) = asked.map_err(|trouble| late(dialogue, trouble))?;
    if let Some(other) = other_than(own, &text) {
        // Asked whether that is meant: no.
        answer::not_done();
        if word == 0 {
            let text = format!("{DEVICE} switches plug {other} and not {outlets} of {host}");
            return Err(Failure::report(Code::RESET_FAILED, text));
        }
        dialogue.send("N\r")?;
        let text =
            format!("{DEVICE} would switch plug {other} for {outlets} of {host}; nothing was switched");
        return Err(Failure::report(Code::BAD_HOST, text));
    }
    if word == 1 {
        dialogue.send("Y\r")?;
        dialogue.wait_for(&["rocessing - please wait"], 5).map_err(|trouble| late(dialogue, trouble))?;
    }
    if action == Action::Reset {
        log::info!("Host is being rebooted: {host}");
    }
    prompt(dialogue, 60, Code::RESET_FAILED)?;
    match action {
        Action::Reset => log::info!("Power restored to host: {host}"),
        _ => log::info!("Power to NPS outlet(s) {outlets} turned {}", action.as_str()),
    }
    Ok(())
}

/// Logs out, so that the next one gets in.
fn leave(dialogue: &mut Dialogue) {
    dialogue.forget();
    let left = dialogue.send("/h\r").and_then(|()| prompt(dialogue, 10, Code::TIMEOUT));
    if let Err(failure) = left.and_then(|()| dialogue.send("/x,y\r")) {
        log::debug!("{DEVICE}: no proper logout: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlets_by_line() {
        assert_eq!(outlet("  3 | Node1           | ON  |"), Some((3, "node1".into())));
        assert_eq!(outlet("  4 | (undefined)     | ON  |"), None);
        assert_eq!(outlet("-----+----------------+"), None);
        assert_eq!(outlet("x | y"), None);
    }
}
