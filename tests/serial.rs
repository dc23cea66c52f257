//! Serial lines over pseudo-terminals: both ends of a cable, nobody at the other end, nonsense on the
//! line, a line that comes late or goes away.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ha_core::config::settings::MediumConfig;
use ha_core::media::{MediaSet, Received, RECEIVE_BUFFER_BYTES};
use ha_core::sys::time::monotonic_ms;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::pty::openpty;
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg};

const LIMIT: Duration = Duration::from_secs(20);

/// A terminal whose device is `path`; the value is the other end of its line. The device's own
/// end stays open, as a real port does not hang up.
struct Terminal {
    line: File,
    _device: File,
    /// What the line has not taken yet.
    rest: Vec<u8>,
}

impl Terminal {
    fn at(path: &Path) -> Self {
        let pair = openpty(None, None).expect("a pseudo-terminal");
        let mut settings = tcgetattr(&pair.slave).unwrap();
        cfmakeraw(&mut settings);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &settings).unwrap();
        let name = nix::unistd::ttyname(pair.slave.as_fd()).unwrap();
        let _ = std::fs::remove_file(path);
        symlink(name, path).unwrap();
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self { line: File::from(pair.master), _device: File::from(pair.slave), rest: Vec::new() }
    }

    /// Puts bytes on the line as far as it takes them; `true` when all are on it.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend(bytes);
        if let Ok(count) = self.line.write(&self.rest) {
            self.rest.drain(..count);
        }
        self.rest.is_empty()
    }

    /// What has come out.
    fn read(&mut self) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = self.line.read(&mut bytes) {
            all.extend(&bytes[..count]);
        }
        all
    }
}

fn config(path: &Path) -> MediumConfig {
    MediumConfig::Serial { device: path.to_str().unwrap().to_owned(), baud: 115_200 }
}

fn message(text: &str) -> Vec<u8> {
    format!(">>>\nt={text}\n<<<\n").into_bytes()
}

fn send(set: &mut MediaSet, text: &str) -> bool {
    set.send_with_line(b"", Some(&message(text)), monotonic_ms()).sent == 1
}

fn texts(set: &mut MediaSet) -> Vec<String> {
    set.take_events().into_iter().map(|(level, text)| format!("{}: {text}", level.as_str())).collect()
}

/// The next message, without its frame.
async fn hear(set: &mut MediaSet) -> String {
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    let received = tokio::time::timeout(LIMIT, set.receive(&mut buffer)).await.expect("nothing came");
    assert!(matches!(received, Received::Packet { from: None, .. }));
    let text = String::from_utf8_lossy(received.bytes(&buffer)).into_owned();
    text.trim_start_matches(">>>\nt=").trim_end_matches("\n<<<\n").to_owned()
}

fn story(tell: impl AsyncFnOnce(PathBuf)) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tell(folder.path().to_owned()));
}

/// Carries everything from each line to the other while the future runs.
async fn joined<T>(lines: [&mut Terminal; 2], future: impl Future<Output = T>) -> T {
    let [one, other] = lines;
    let cable = async {
        loop {
            let (to_other, to_one) = (one.read(), other.read());
            other.write(&to_other);
            one.write(&to_one);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        value = future => value,
        () = cable => unreachable!("it has no end"),
    }
}

#[test]
fn both_directions_of_a_cable() {
    story(async |folder| {
        let paths = [folder.join("ttyA"), folder.join("ttyB")];
        let [mut one, mut other] = [Terminal::at(&paths[0]), Terminal::at(&paths[1])];
        let mut a = MediaSet::open(&[config(&paths[0])], 694, monotonic_ms()).unwrap();
        let mut b = MediaSet::open(&[config(&paths[1])], 694, monotonic_ms()).unwrap();
        let started =
            format!("info: glib: Starting serial heartbeat on tty {} (115200 baud)", paths[0].display());
        assert_eq!(texts(&mut a), [started]);
        texts(&mut b);
        let large = "x".repeat(60_000);
        joined([&mut one, &mut other], async {
            for text in ["one", "two", &large, "three"] {
                assert!(send(&mut a, text));
                // The sender's loop must run for what the driver did not take at once.
                tokio::select! {
                    heard = hear(&mut b) => assert!(heard == text, "{} bytes for {}", heard.len(), text.len()),
                    heard = hear(&mut a) => panic!("nobody sent {heard}"),
                }
            }
            assert!(send(&mut b, "back"));
            assert_eq!(hear(&mut a).await, "back");
        })
        .await;
        assert!(texts(&mut a).is_empty() && texts(&mut b).is_empty());
    });
}

#[test]
fn a_line_without_reader_is_not_waited_for() {
    story(async |folder| {
        let path = folder.join("tty");
        let mut terminal = Terminal::at(&path);
        let mut set = MediaSet::open(&[config(&path)], 694, monotonic_ms()).unwrap();
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        let padding = "x".repeat(1000);
        let mut number = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(3500) {
            for _ in 0..50 {
                number += 1;
                let before = Instant::now();
                assert!(send(&mut set, &format!("{number} {padding}")));
                assert!(before.elapsed() < Duration::from_secs(1), "it waited");
            }
            // The loop does other things meanwhile.
            let turn = tokio::time::timeout(Duration::from_millis(50), set.receive(&mut buffer)).await;
            assert!(turn.is_err(), "nothing can come");
        }
        let events = texts(&mut set);
        assert!(events.len() < 5, "{events:?}");
        let timeouts = events.iter().filter(|text| text.contains("TTY write timeout on [")).count();
        assert_eq!(timeouts, 1, "once an hour: {events:?}");

        // Somebody plugs the cable in: the past is short, the present comes.
        let end = Instant::now() + LIMIT;
        let mut heard = String::new();
        while !heard.contains("t=now") {
            assert!(Instant::now() < end, "{heard:?}");
            send(&mut set, "now");
            heard.push_str(&String::from_utf8_lossy(&terminal.read()));
            let _ = tokio::time::timeout(Duration::from_millis(20), set.receive(&mut buffer)).await;
        }
        assert!(heard.len() < 200_000, "{} bytes of the past", heard.len());
        // When something is heard the line works, and the loss is told.
        assert!(terminal.write(&message("hello")));
        assert_eq!(hear(&mut set).await, "hello");
        assert!(send(&mut set, "now"));
        let events = texts(&mut set);
        assert!(
            events.iter().any(|text| text.contains("messages discarded due to write errors on serial")),
            "{events:?}"
        );
        let before = Instant::now();
        drop(set);
        assert!(before.elapsed() < Duration::from_secs(5), "closing waited");
    });
}

#[test]
fn nonsense_on_the_line_harms_nothing() {
    story(async |folder| {
        let path = folder.join("tty");
        let mut terminal = Terminal::at(&path);
        let mut set = MediaSet::open(&[config(&path)], 694, monotonic_ms()).unwrap();
        texts(&mut set);
        let mut state = 7u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        for round in 0..40 {
            let mut bytes: Vec<u8> = match round % 5 {
                0 => (0..20_000).map(|_| noise()).collect(),
                1 => b">>>\nt=cut".to_vec(),
                2 => b"###\n99999:(0)t=".to_vec(),
                3 => vec![b'>'; 20_000],
                _ => [b">>>\n".as_slice(), &vec![b'a'; 20_000]].concat(),
            };
            // A line end lets the reader see where the next message begins.
            bytes.extend(b"\n");
            bytes.extend(message(&format!("real {round}")));
            terminal.write(&bytes);
            let end = Instant::now() + LIMIT;
            let mut found = false;
            while !found {
                assert!(Instant::now() < end, "round {round}");
                terminal.write(b"");
                let turn = tokio::time::timeout(Duration::from_millis(5), set.receive(&mut buffer)).await;
                if let Ok(received) = turn {
                    found = received.bytes(&buffer).ends_with(&message(&format!("real {round}")));
                }
            }
        }
        set.maintain(monotonic_ms() + 60_000);
        let events = texts(&mut set);
        assert!(events.iter().all(|text| text.contains("belong to no message")), "{events:?}");
        assert!(!events.is_empty() && events.len() < 20, "{events:?}");
        assert!(send(&mut set, "still here"));
        assert!(String::from_utf8_lossy(&terminal.read()).contains("still here"));
    });
}

#[test]
fn a_line_that_comes_late_and_goes_away() {
    story(async |folder| {
        let path = folder.join("tty");
        let shown = path.display().to_string();
        let mut now_ms = monotonic_ms();
        let mut set = MediaSet::open(&[config(&path)], 694, now_ms).unwrap();
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        for _ in 0..5 {
            now_ms += 1000;
            set.maintain(now_ms);
            assert!(!send(&mut set, "lost"));
        }
        let events = texts(&mut set);
        let missing = format!("ERROR: glib: cannot open {shown}: ");
        assert_eq!(events.iter().filter(|text| text.starts_with(&missing)).count(), 1, "{events:?}");
        for round in 0..3 {
            let mut terminal = Terminal::at(&path);
            now_ms += 1000;
            set.maintain(now_ms);
            assert!(terminal.write(&message("hello")));
            assert_eq!(hear(&mut set).await, "hello", "round {round}");
            assert!(send(&mut set, "answer"));
            assert!(String::from_utf8_lossy(&terminal.read()).contains("answer"));
            drop(terminal);
            let turn = tokio::time::timeout(Duration::from_millis(50), set.receive(&mut buffer)).await;
            assert!(turn.is_err());
            assert!(!send(&mut set, "gone"));
            now_ms += 1000;
            set.maintain(now_ms);
        }
        let events = texts(&mut set);
        let closed = format!("ERROR: glib: EOF in ttygets [{shown}]: ");
        assert_eq!(events.iter().filter(|text| text.starts_with(&closed)).count(), 3, "{events:?}");
    });
}

/// A file or a device that is no terminal is refused each time, and said once.
#[test]
fn what_is_no_terminal_is_no_line() {
    story(async |folder| {
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        let configs = [config(&file), config(Path::new("/dev/null"))];
        let mut now_ms = monotonic_ms();
        let mut set = MediaSet::open(&configs, 694, now_ms).unwrap();
        for _ in 0..3 {
            now_ms += 1000;
            set.maintain(now_ms);
        }
        let events = texts(&mut set);
        assert_eq!(events.iter().filter(|text| text.contains("cannot open ")).count(), 2, "{events:?}");
    });
}
