//! `hb_setsite` and `hb_setweight`: an attribute of a node, sent to all nodes.

use std::path::Path;

use super::command::write_fifo;
use super::terminal::Terminal;
use crate::wire::message::Message;

/// Which attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `hb_setsite`
    Site,
    /// `hb_setweight`
    Weight,
}

/// Runs the tool; the value is the exit code: 0 when the message was given to the daemon, 1 else. Whether
/// any node knows the named one, nobody says; `cl_status nodesite` and `nodeweight` show the result.
pub fn run(attribute: Attribute, words: &[String], fifo: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let (tool, field) = match attribute {
        Attribute::Site => ("hb_setsite", "site"),
        Attribute::Weight => ("hb_setweight", "weight"),
    };
    let [node, value, ..] = words else {
        terminal.say(&format!("usage: {tool} <node> <{field}>"));
        return 1;
    };
    match hand_in(attribute, (node, field, value), fifo) {
        Ok(()) => 0,
        Err(why) => {
            terminal.complain(&format!("{tool}: ERROR: {why}; nothing was changed"));
            1
        }
    }
}

fn hand_in(
    attribute: Attribute,
    (node, field, value): (&str, &str, &str),
    fifo: &Path,
) -> Result<(), String> {
    let bad = |text: &str| text.is_empty() || text.contains(char::is_control);
    if bad(node) {
        return Err(format!("{node:?} is no name of a node"));
    }
    if bad(value) || (attribute == Attribute::Weight && !value.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("{value:?} is no {field}"));
    }
    write_fifo(fifo, &Message::new(&format!("set{field}")).with("node", node).with(field, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(attribute: Attribute, words: &[&str], fifo: &Path) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let code = run(attribute, &words, fifo, &mut Terminal { out: &mut out, err: &mut err });
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn wrong_use_and_a_daemon_that_is_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        for words in [&[][..], &["--help"], &["node1"]] {
            let usage = "usage: hb_setsite <node> <site>\n".to_owned();
            assert_eq!(output(Attribute::Site, words, &path), (1, usage, String::new()));
        }
        let (code, out, err) = output(Attribute::Weight, &["node1", "heavy"], &path);
        assert!(code == 1 && out.is_empty() && err.contains("is no weight"), "{err}");
        let (code, _, err) = output(Attribute::Weight, &["node1", "5"], &path);
        assert!(code == 1 && err.contains("nothing was changed"), "{err}");
    }

    #[test]
    fn the_message() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut end = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert_eq!(output(Attribute::Weight, &["node1", "5", "more"], &path).0, 0);
        let mut buffer = [0; 100];
        let length = end.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b">>>\nt=setweight\nnode=node1\nweight=5\n<<<\n");
    }
}
