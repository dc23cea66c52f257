//! `OnlyForTesting` beside ha.cf: packets are lost on purpose, as by the original (messaging spec 7.3).
//!
//! ```text
//! rcvloss=0.3
//! xmitloss=0.25
//! ```

use std::path::Path;

use crate::config::source::read_file;
use crate::log::line::clean;
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;

/// The file's name.
pub const FILE_NAME: &str = "OnlyForTesting";
/// Lines of the file that are looked at.
const LINES_MAX: usize = 100;

/// Lines for the log.
type Lines = Vec<(LogLevel, String)>;

/// What is lost on purpose; by default nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TestOptions {
    /// The file is there.
    enabled: bool,
    receive_loss: f64,
    send_loss: f64,
    state: u64,
}

impl TestOptions {
    /// Reads the file in that folder. What it does not understand is named and has no effect; a file
    /// that cannot be read counts as one that is not there.
    pub fn read(folder: &Path) -> (Self, Lines) {
        match read_file(folder, FILE_NAME) {
            Ok(source) => Self::parse(source.lines().map(|(_, line)| line)),
            Err(error) if error.is_missing() => (Self::default(), Vec::new()),
            Err(error) => (Self::default(), vec![(LogLevel::Error, format!("{FILE_NAME}: {error}"))]),
        }
    }

    fn parse<'l>(file: impl Iterator<Item = &'l str>) -> (Self, Lines) {
        let mut options = Self { enabled: true, state: seed(), ..Self::default() };
        let mut lines = vec![(LogLevel::Info, "WARNING: Enabling Test Code".to_owned())];
        let words = file.take(LINES_MAX).map(|line| line.split('#').next().unwrap_or("").trim());
        for word in words.filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let share = value.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            match (name.trim(), share) {
                ("rcvloss", Some(share)) => {
                    options.receive_loss = share;
                    lines.push((LogLevel::Info, format!("Receive loss probability = {share:.3}")));
                }
                ("xmitloss", Some(share)) => {
                    options.send_loss = share;
                    lines.push((LogLevel::Info, format!("Xmit loss probability = {share:.3}")));
                }
                ("allownodes", _) => {
                    // Release 3.0.6 says that it is on, and hears everybody.
                    lines.push((LogLevel::Warning, "allownodes in OnlyForTesting has no effect".to_owned()));
                }
                _ => {
                    let text = format!("Cannot recognize test param [{}] in [{FILE_NAME}]", clean(word));
                    lines.push((LogLevel::Error, text));
                }
            }
        }
        lines.push((LogLevel::Info, "WARNING: Above Options Now Enabled.".to_owned()));
        (options, lines)
    }

    /// Takes the place of what held until now; `lines` came with it. The value is for the log.
    pub fn replace(&mut self, other: Self, lines: Lines) -> Lines {
        let ended = self.enabled && !other.enabled && lines.is_empty();
        *self = other;
        match ended {
            true => vec![(LogLevel::Info, "Test Code Now disabled.".to_owned())],
            false => lines,
        }
    }

    /// Whether this received packet is lost.
    pub fn loses_received(&mut self) -> bool {
        self.loses(self.receive_loss)
    }

    /// Whether this packet is lost on its way out.
    pub fn loses_sent(&mut self) -> bool {
        self.loses(self.send_loss)
    }

    fn loses(&mut self, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        // xorshift64: chance is all that is needed.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }
}

fn seed() -> u64 {
    (u64::from(std::process::id()) << 32 | monotonic_ms()) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_lost_as_asked() {
        let text = "# for us\nrcvloss=0.3\n\nxmitloss = 1\nallownodes=a b\nnonsense=5\nrcvloss=2\n";
        let (mut options, lines) = TestOptions::parse(text.lines());
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        let expected = [
            "WARNING: Enabling Test Code",
            "Receive loss probability = 0.300",
            "Xmit loss probability = 1.000",
            "allownodes in OnlyForTesting has no effect",
            "Cannot recognize test param [nonsense=5] in [OnlyForTesting]",
            "Cannot recognize test param [rcvloss=2] in [OnlyForTesting]",
            "WARNING: Above Options Now Enabled.",
        ];
        assert_eq!(texts, expected);
        let lost = (0..10_000).filter(|_| options.loses_received()).count();
        assert!((2500..3500).contains(&lost), "{lost}");
        assert!((0..100).all(|_| options.loses_sent()));
        let ended = options.replace(TestOptions::default(), Vec::new());
        assert_eq!(ended, [(LogLevel::Info, "Test Code Now disabled.".to_owned())]);
        assert!((0..100).all(|_| !options.loses_sent() && !options.loses_received()));
        assert!(options.replace(TestOptions::default(), Vec::new()).is_empty());
    }

    #[test]
    fn no_file_no_loss() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(TestOptions::read(folder.path()), (TestOptions::default(), Vec::new()));
        std::fs::write(folder.path().join(FILE_NAME), [0xff, 0, b'=', b'\n', 0x1b]).unwrap();
        let (mut options, lines) = TestOptions::read(folder.path());
        assert!(lines.iter().all(|(_, text)| !text.contains('\u{1b}')), "{lines:?}");
        assert!(!options.loses_received());
    }
}
