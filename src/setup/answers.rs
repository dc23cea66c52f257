//! Questions on a terminal, or to whatever is standard input: each answer is checked when it is given, and
//! a wrong one is asked for again.

use std::io::{BufRead, Read};
use std::path::Path;

use super::texts::{address_word, link_error, node_name, plain_word, Wishes};
use crate::config::host::HostFacts;
use crate::ipc::terminal::Terminal;

/// Wrong answers to one question before it is given up.
const TRIES: usize = 5;
/// Longest line that is read, in bytes.
const LINE_MAX_BYTES: u64 = 1024;
/// Most answers to a question that takes several.
const SEVERAL_MAX: usize = 16;

/// Why there is no answer. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Standard input ended or broke.
    #[error("no answer to \"{0}\"; nothing was written")]
    End(String),
    /// One question was answered wrongly too often.
    #[error("{TRIES} wrong answers to \"{0}\"; nothing was written")]
    Wrong(String),
    /// The person said no.
    #[error("nothing was written")]
    Declined,
}

/// Where questions go and answers come from.
pub struct Conversation<'a, 't> {
    /// Answers, a line each.
    pub input: &'a mut dyn BufRead,
    /// Questions.
    pub terminal: &'a mut Terminal<'t>,
    /// Where the files will be.
    pub directory: &'a Path,
    /// This machine.
    pub host: &'a HostFacts,
}

impl Conversation<'_, '_> {
    /// Asks for everything that is missing, and for services when anything was.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn complete(&mut self, mut wishes: Wishes) -> Result<Wishes, NoAnswer> {
        self.terminal
            .say("A pair of servers that share an address. An empty answer takes what is in brackets.");
        self.terminal.say("Nothing is written before the last question.\n");
        self.nodes(&mut wishes)?;
        if wishes.links.is_empty() {
            self.links(&mut wishes)?;
        }
        if wishes.addresses.is_empty() {
            self.terminal
                .say("\nThe address that moves to the node that lives: ADDRESS/BITS/INTERFACE, not the");
            self.terminal.say("address of a node itself (192.0.2.10/24/eth0).");
            let address = self.ask("Address", None, |text| address_word(text).map(|_| text.to_owned()))?;
            wishes.addresses.push(address);
        }
        if wishes.services.is_empty() {
            self.terminal
                .say("\nServices that start behind it, by the names of their scripts or units, one a line");
            self.terminal.say("(nginx); an empty answer ends the list. None of them may be started at boot.");
            wishes.services = self.several("Service", |text| plain_word(text).map(|()| text.to_owned()))?;
        }
        if wishes.preferred.is_none() {
            let nodes = wishes.nodes.clone();
            let first = nodes[0].clone();
            let preferred = self.ask("Node that has it when both are there", Some(&first), |text| {
                let known = nodes.iter().find(|node| node.eq_ignore_ascii_case(text));
                known.cloned().ok_or_else(|| format!("one of {}", nodes.join(" and ")))
            })?;
            wishes.preferred = Some(preferred);
        }
        Ok(wishes)
    }

    fn nodes(&mut self, wishes: &mut Wishes) -> Result<(), NoAnswer> {
        let own = self.host.node_name.to_ascii_lowercase();
        let check = |text: &str| node_name(text).map(|name| name.to_string());
        if wishes.nodes.is_empty() {
            let name = self.ask("Name of this node (uname -n)", Some(&own), |text| match check(text)? {
                name if name == own => Ok(name),
                name => Err(format!("`uname -n` prints `{own}` here, so this node cannot be `{name}`")),
            })?;
            wishes.nodes.push(name);
        }
        if wishes.nodes.len() == 1 {
            let first = wishes.nodes[0].to_ascii_lowercase();
            let name =
                self.ask("Name of the other node (uname -n there)", None, |text| match check(text)? {
                    name if name == first => Err(format!("`{name}` is this node")),
                    name => Ok(name),
                })?;
            wishes.nodes.push(name);
        }
        Ok(())
    }

    fn links(&mut self, wishes: &mut Wishes) -> Result<(), NoAnswer> {
        self.terminal.say("\nThe links by which they hear each other: `bcast eth1`, `ucast eth0 OWN PEER`,");
        self.terminal
            .say("`mcast eth0` or `serial /dev/ttyS0`. Two or more, over different cables, keep both from");
        self.terminal.say("serving at once; an empty answer ends the list.");
        let interfaces: Vec<String> = self
            .host
            .interfaces
            .iter()
            .filter(|(name, _)| *name != "lo")
            .map(|(name, about)| match about.address {
                Some(address) => format!("{name} ({address})"),
                None => name.clone(),
            })
            .collect();
        if !interfaces.is_empty() {
            self.terminal.say(&format!("Interfaces here: {}.", interfaces.join(", ")));
        }
        let (directory, host) = (self.directory, self.host);
        let check = |text: &str| match link_error(text, directory, host) {
            None => Ok(text.to_owned()),
            Some(reason) => Err(reason),
        };
        wishes.links.push(self.ask("First link", None, check)?);
        wishes.links.extend(self.several("Another link", check)?);
        Ok(())
    }

    /// Whether to write.
    ///
    /// # Errors
    /// [`NoAnswer`], also for no.
    pub fn confirm(&mut self, question: &str) -> Result<(), NoAnswer> {
        let yes = self.ask(question, Some("yes"), |text| match text.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("yes or no".to_owned()),
        })?;
        if yes {
            Ok(())
        } else {
            Err(NoAnswer::Declined)
        }
    }

    fn several<T>(
        &mut self,
        question: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, NoAnswer> {
        let mut all = Vec::new();
        while all.len() < SEVERAL_MAX {
            let one = |text: &str| if text.is_empty() { Ok(None) } else { check(text).map(Some) };
            match self.ask(question, Some(""), one)? {
                Some(answer) => all.push(answer),
                None => break,
            }
        }
        Ok(all)
    }

    fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, NoAnswer> {
        for _ in 0..TRIES {
            let brackets = match default {
                None => String::new(),
                Some("") => " [none]".to_owned(),
                Some(default) => format!(" [{default}]"),
            };
            let _ = write!(self.terminal.out, "{question}{brackets}: ");
            let _ = self.terminal.out.flush();
            let line = self.line().ok_or_else(|| NoAnswer::End(question.to_owned()))?;
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            match check(answer) {
                Ok(answer) => return Ok(answer),
                Err(reason) => self.terminal.say(&format!("  {}.", reason.trim_end_matches('.'))),
            }
        }
        Err(NoAnswer::Wrong(question.to_owned()))
    }

    /// The next line; `None` at the end. What is no text becomes replacement characters, which no check
    /// takes for a name.
    fn line(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let limited = Read::by_ref(&mut self.input).take(LINE_MAX_BYTES);
        match std::io::BufReader::with_capacity(1, limited).read_until(b'\n', &mut bytes) {
            Ok(count) if count > 0 => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(answers: &str) -> (Result<Wishes, NoAnswer>, String) {
        let mut host = HostFacts::gather();
        host.node_name = "Alpha".into();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = answers.as_bytes();
        let mut terminal = Terminal { out: &mut out, err: &mut err };
        let directory = Path::new("/etc/ha.d");
        let mut conversation =
            Conversation { input: &mut input, terminal: &mut terminal, directory, host: &host };
        let result = conversation.complete(Wishes::default());
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn answers_make_a_pair() {
        let (wishes, said) = conversation("\nbeta\nbcast lo\n\n192.0.2.10/24/lo\nnginx\n\n\n");
        let wishes = wishes.unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(wishes.nodes, ["alpha", "beta"]);
        assert_eq!(wishes.links, ["bcast lo"]);
        assert_eq!(wishes.services, ["nginx"]);
        assert_eq!(wishes.preferred.as_deref(), Some("alpha"));
    }

    #[test]
    fn wrong_answers_are_asked_again() {
        let (wishes, said) = conversation(
            "gamma\nalpha\nalpha\nbeta beta\nBeta\nbcast nosuch\nserial\nbcast lo\n\n1.2.3\n192.0.2.10/24/lo\n\nx\nbeta\n",
        );
        assert_eq!(
            wishes.unwrap_or_else(|error| panic!("{error}: {said}")).preferred.as_deref(),
            Some("beta")
        );
        for part in
            ["cannot be `gamma`", "`alpha` is this node", "more than one word", "nosuch", "which interface"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn an_end_or_nonsense_ends_it() {
        assert!(matches!(conversation("").0, Err(NoAnswer::End(_))));
        assert!(matches!(conversation("\nbeta\nbcast lo").0, Err(NoAnswer::End(_))));
        assert!(matches!(conversation(&"?\n".repeat(50)).0, Err(NoAnswer::Wrong(_))));
        assert!(matches!(conversation(&"\u{0}".repeat(100_000)).0, Err(NoAnswer::Wrong(_))));
    }
}
