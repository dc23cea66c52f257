//! `hb_addnode` and `hb_delnode`: texts and codes of the original, through the FIFO of the daemon as
//! there (messaging spec 3.7, 7.8). A daemon that does not run is an error at once; the original's
//! scripts then wait for ever.

use std::path::Path;

use super::command::write_fifo;
use super::terminal::Terminal;
use crate::types::NodeName;
use crate::wire::message::Message;

/// Longest list of names in one message, bytes: the original reads lines of its FIFO up to 512.
const LIST_MAX_BYTES: usize = 500;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make nodes members.
    Add,
    /// Forget dead nodes.
    Delete,
}

impl Verb {
    fn message_type(self) -> &'static str {
        match self {
            Self::Add => "addnode",
            Self::Delete => "delnode",
        }
    }
}

/// Runs the tool; the value is the exit code: 0 when the request was handed to the daemon, which
/// logs what came of it, 1 else.
pub fn run(verb: Verb, words: &[String], fifo: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let program = format!("hb_{}", verb.message_type());
    let list = words.join(" ");
    if words.is_empty() || list == "--help" {
        terminal.say(&format!("usage: {program} <node> <node> ..."));
        return 1;
    }
    match hand_in(verb, &list, fifo) {
        Ok(()) => 0,
        Err(reason) => {
            terminal.complain(&format!("{program}: ERROR: {reason}; no node was added or deleted"));
            1
        }
    }
}

fn hand_in(verb: Verb, list: &str, fifo: &Path) -> Result<(), String> {
    if let Some(bad) = list.split(' ').find(|word| !word.is_empty() && NodeName::new(word).is_none()) {
        return Err(format!("{bad:?} cannot be the name of a node"));
    }
    if list.len() > LIST_MAX_BYTES {
        return Err(format!("the names are longer than {LIST_MAX_BYTES} bytes, name fewer at once"));
    }
    write_fifo(fifo, &Message::new(verb.message_type()).with("nodelist", list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    fn call(verb: Verb, words: &[&str], fifo: &Path) -> (u8, String, String) {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(verb, &words, fifo, &mut Terminal { out: &mut out, err: &mut err });
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn wrong_use_gets_the_originals_words() {
        let nowhere = Path::new("/nonexistent/fifo");
        for words in [&[][..], &["--help"][..]] {
            let told = call(Verb::Add, words, nowhere);
            assert_eq!(told, (1, "usage: hb_addnode <node> <node> ...\n".to_owned(), String::new()));
        }
        let (_, out, _) = call(Verb::Delete, &[], nowhere);
        assert_eq!(out, "usage: hb_delnode <node> <node> ...\n");
    }

    #[test]
    fn what_cannot_be_handed_in_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let long = "x".repeat(90);
        let many = [long.as_str(); 6];
        for words in [&["node3"][..], &["a\nt=shutdone"][..], &many[..]] {
            let (code, out, err) = call(Verb::Add, words, &fifo);
            assert_eq!((code, out.as_str()), (1, ""));
            assert!(err.starts_with("hb_addnode: ERROR: ") && err.ends_with("added or deleted\n"), "{err}");
        }
        std::fs::write(&fifo, "").unwrap();
        assert!(call(Verb::Delete, &["node3"], &fifo).2.contains("is no FIFO"));
        assert_eq!(std::fs::read(&fifo).unwrap(), b"", "a plain file in its place stays as it is");
    }

    #[test]
    fn the_message_is_the_scripts() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let options = std::fs::OpenOptions::new();
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let mut reader = options.clone().read(true).custom_flags(flags).open(&fifo).unwrap();
        assert_eq!(call(Verb::Add, &["node3", "Node4"], &fifo), (0, String::new(), String::new()));
        assert_eq!(call(Verb::Delete, &["node3"], &fifo).0, 0);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, ">>>\nt=addnode\nnodelist=node3 Node4\n<<<\n>>>\nt=delnode\nnodelist=node3\n<<<\n");
    }
}
