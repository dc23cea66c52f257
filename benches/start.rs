//! How long a start takes: `ha --list`, and the daemon from exec to its first beat on the wire.
//! Prints figures; asserts none. What they should be: 2 ms and 20 ms.
//!
//! ```text
//! cargo bench --bench start -- [--binary FILE] [--trials N]
//! ```
//!
//! `--binary` measures another file, as the one of `packaging/build-static`. The daemon part needs root. It
//! runs below a folder of its own, sends to a loopback address and holds no resource.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Where the beats go: the more special address wins over the daemon's own socket.
const LISTEN: &str = "127.0.0.2";
const PORT: u16 = 29_694;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let (mut binary, mut trials) = (PathBuf::from(env!("CARGO_BIN_EXE_ha")), 30_usize);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--binary", Some(file)) => binary = file.into(),
            ("--trials", Some(count)) if count.parse::<usize>().is_ok_and(|count| count > 0) => {
                trials = count.parse().unwrap_or(trials);
            }
            _ => {
                eprintln!("usage: cargo bench --bench start -- [--binary FILE] [--trials N]");
                return ExitCode::from(2);
            }
        }
    }
    println!("{} trials of {}, milliseconds: median (least to most)\n", trials, binary.display());
    show("ha --list", (0..trials * 10).map(|_| list(&binary)).collect());
    show("exec to first beat", (0..trials).map(|_| first_beat(&binary)).collect());
    ExitCode::SUCCESS
}

fn show(what: &str, times: Vec<io::Result<Duration>>) {
    let count = times.len();
    let mut good: Vec<f64> = times.iter().flatten().map(|time| time.as_secs_f64() * 1000.0).collect();
    good.sort_by(f64::total_cmp);
    match (good.first(), good.get(good.len() / 2), good.last()) {
        (Some(least), Some(median), Some(most)) => {
            println!("{what:20} {median:8.2}  ({least:.2} to {most:.2}, {} of {count})", good.len());
        }
        _ => {
            let reason = times.into_iter().find_map(Result::err).map(|error| error.to_string());
            println!("{what:20} not measured: {}", reason.unwrap_or_default());
        }
    }
}

/// From before the fork to the end of the process.
fn list(binary: &Path) -> io::Result<Duration> {
    let start = Instant::now();
    let status = Command::new(binary).arg("--list").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = start.elapsed();
    if status.success() {
        Ok(time)
    } else {
        Err(io::Error::other(format!("--list: {status}")))
    }
}

/// From before the fork until a beat has arrived.
fn first_beat(binary: &Path) -> io::Result<Duration> {
    let root = tempfile::tempdir()?;
    configure(root.path())?;
    let socket = UdpSocket::bind((LISTEN, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    let mut daemon = daemon(binary, root.path(), &["-f"])?.spawn()?;
    let mut packet = [0; 2048];
    let heard = loop {
        match socket.recv(&mut packet) {
            Ok(length) if packet[..length].windows(8).any(|part| part == b"t=status") => {
                break Ok(start.elapsed())
            }
            Ok(_) => {}
            Err(error) => break Err(io::Error::new(error.kind(), format!("no beat: {error}"))),
        }
    };
    end(binary, root.path(), &mut daemon)?;
    heard
}

fn daemon(binary: &Path, root: &Path, words: &[&str]) -> io::Result<Command> {
    let output = fs::File::create(root.join("output"))?;
    let mut command = Command::new(binary);
    command.arg("heartbeat").args(words).env("HA_ROOT", root).stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    Ok(command)
}

fn end(binary: &Path, root: &Path, child: &mut Child) -> io::Result<()> {
    daemon(binary, root, &["-k"])?.status()?;
    child.wait().map(drop)
}

fn configure(root: &Path) -> io::Result<()> {
    let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let etc = root.join("etc/ha.d");
    fs::create_dir_all(&etc)?;
    fs::create_dir_all(root.join("var/run"))?;
    fs::create_dir_all(root.join("var/lib"))?;
    fs::write(
        etc.join("ha.cf"),
        format!(
            "logfacility none\nlogfile {}/log\nkeepalive 1\ndeadtime 10\ninitdead 20\nudpport {PORT}\n\
             ucast lo {LISTEN}\nauto_failback off\nnode {name} other\n",
            root.display()
        ),
    )?;
    fs::write(etc.join("haresources"), "")?;
    fs::write(etc.join("authkeys"), "auth 1\n1 sha1 0123456789abcdef0123456789abcdef\n")?;
    fs::set_permissions(etc.join("authkeys"), fs::Permissions::from_mode(0o600))
}
