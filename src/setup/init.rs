//! `ha init`: the three files of a new pair.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::answers::Conversation;
use super::texts::Wishes;
use super::together::{self, NewFile};
use super::{check, keygen, parcel, DONE, FAILED};
use crate::config::diagnostic::Severity;
use crate::config::host::HostFacts;
use crate::config::{Origin, Texts};
use crate::ipc::terminal::Terminal;

/// The commands that bring the files to the other node.
const PROGRAM_THERE: [&str; 3] = ["ha", "init", "--receive"];

/// What `ha init` was told.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// What the pair shall be, as far as it was said.
    pub wishes: Wishes,
    /// Directory of the files.
    pub directory: PathBuf,
    /// Replace files; the old ones are kept beside.
    pub force: bool,
    /// Print the files instead of writing them.
    pub dry_run: bool,
    /// Ask nothing: what is missing is an error.
    pub batch: bool,
    /// Bring them to the other node by ssh: to this `USER@HOST`, or with an empty text to root there.
    pub copy: Option<String>,
}

/// `ha init`; the value is the exit code.
pub fn init(options: &InitOptions, input: &mut dyn BufRead, terminal: &mut Terminal<'_>) -> u8 {
    match write_files(options, input, terminal) {
        Ok(Some(texts)) => then(options, &texts, terminal),
        Ok(None) => DONE,
        Err(reason) => {
            terminal.complain(&format!("ha init: {reason}"));
            FAILED
        }
    }
}

/// `ha init --send`: the files of the directory to standard output.
pub fn send(directory: &Path, terminal: &mut Terminal<'_>) -> u8 {
    use std::io::IsTerminal;
    let sent = if std::io::stdout().is_terminal() {
        Err(format!("the key would be on the screen; | ssh root@OTHER {}", PROGRAM_THERE.join(" ")))
    } else {
        parcel::collect(directory).and_then(|texts| {
            let written = terminal.out.write_all(&parcel::pack(&texts)).and_then(|()| terminal.out.flush());
            written.map_err(|error| format!("cannot write: {error}"))
        })
    };
    ended("ha init --send", sent, terminal)
}

/// `ha init --receive`: the files of the other node from standard input, checked here.
pub fn receive(directory: &Path, force: bool, input: &mut dyn BufRead, terminal: &mut Terminal<'_>) -> u8 {
    let received = parcel::unpack(input).map_err(|reason| format!("{reason}; nothing was written"));
    let written = received.and_then(|texts| {
        report_recovery(directory, terminal)?;
        checked(&texts, directory, &facts(directory), terminal)?;
        write(directory, &texts, force, terminal)
    });
    ended("ha init --receive", written, terminal)
}

fn ended(program: &str, result: Result<(), String>, terminal: &mut Terminal<'_>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(reason) => {
            terminal.complain(&format!("{program}: {reason}"));
            FAILED
        }
    }
}

/// This machine, by the name that the daemon will use.
fn facts(directory: &Path) -> HostFacts {
    let mut host = HostFacts::gather();
    host.node_name = crate::config::node_name(directory, &host);
    host
}

/// Everything up to the written files; `None` for a dry run. An error leaves everything as it was.
fn write_files(
    options: &InitOptions,
    input: &mut dyn BufRead,
    terminal: &mut Terminal<'_>,
) -> Result<Option<Texts>, String> {
    let directory = options.directory.as_path();
    if !options.dry_run {
        report_recovery(directory, terminal)?;
        together::can_write(directory, &parcel::NAMES, options.force).map_err(|error| error.to_string())?;
    }
    let host = facts(directory);
    let missing = options.wishes.missing();
    let ask = !missing.is_empty() && !options.batch;
    let mut wishes = options.wishes.clone();
    if ask {
        let mut conversation = Conversation { input, terminal, directory, host: &host };
        wishes = conversation.complete(wishes).map_err(|error| error.to_string())?;
    } else if !missing.is_empty() {
        return Err(format!("nothing says {}; nothing was written", missing.join(", ")));
    }
    let secret = keygen::secret().map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let texts = wishes.texts(&secret).map_err(|reason| format!("{reason}; nothing was written"))?;
    checked(&texts, directory, &host, terminal)?;
    if options.dry_run {
        show(&texts, &secret, directory, terminal);
        return Ok(None);
    }
    if ask {
        terminal.say(&format!("\nha.cf and haresources will say:\n\n{}", gist(&texts)));
        let mut conversation = Conversation { input, terminal, directory, host: &host };
        let question = format!("Write them and a new key to {}", directory.display());
        conversation.confirm(&question).map_err(|error| error.to_string())?;
    }
    write(directory, &texts, options.force, terminal)?;
    Ok(Some(texts))
}

fn report_recovery(directory: &Path, terminal: &mut Terminal<'_>) -> Result<(), String> {
    if let Some(done) = together::recover(directory).map_err(|error| error.to_string())? {
        terminal.say(&done);
    }
    Ok(())
}

/// What the daemon and `ha check` think of the texts on this host.
fn checked(
    texts: &Texts,
    directory: &Path,
    host: &HostFacts,
    terminal: &mut Terminal<'_>,
) -> Result<(), String> {
    let report = check::check(Origin::Texts(texts), directory, host, check::Extent::Host);
    for remark in report.diagnostics.iter().filter(|one| one.severity != Severity::Hint) {
        terminal.complain(remark.to_string().trim_end());
    }
    match report.errors {
        0 => Ok(()),
        1 => Err("the pair would not work for the reason above; nothing was written".to_owned()),
        _ => Err("the pair would not work for the reasons above; nothing was written".to_owned()),
    }
}

fn write(directory: &Path, texts: &Texts, force: bool, terminal: &mut Terminal<'_>) -> Result<(), String> {
    // ha.cf comes last: without it no daemon starts.
    let [ha_cf, authkeys, haresources] = parcel::NAMES;
    let file = |name: &str, text: &str, mode| NewFile { name: name.to_owned(), text: text.to_owned(), mode };
    let files = [
        file(authkeys, &texts.authkeys, keygen::KEY_MODE),
        file(haresources, &texts.haresources, 0o644),
        file(ha_cf, &texts.ha_cf, 0o644),
    ];
    let kept = together::write(directory, &files, force).map_err(|error| error.to_string())?;
    for file in &files {
        terminal.say(&format!("wrote {} (mode {:o})", directory.join(&file.name).display(), file.mode));
    }
    for path in &kept {
        terminal.say(&format!("the old file is {}", path.display()));
    }
    if !kept.is_empty() {
        terminal.say("A daemon that runs goes on with what it knows until `heartbeat -r`.");
    }
    Ok(())
}

/// The lines that matter, without comments.
fn gist(texts: &Texts) -> String {
    let lines = texts.ha_cf.lines().chain(texts.haresources.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("  {line}\n")).collect()
}

fn show(texts: &Texts, secret: &str, directory: &Path, terminal: &mut Terminal<'_>) {
    let authkeys = texts.authkeys.replace(secret, "(a new random key)");
    for (name, text) in parcel::NAMES.iter().zip([&texts.ha_cf, &authkeys, &texts.haresources]) {
        terminal.say(&format!("==> {} <==\n{text}", directory.join(name).display()));
    }
}

/// What is to be done behind the writing: the other node, the start.
fn then(options: &InitOptions, texts: &Texts, terminal: &mut Terminal<'_>) -> u8 {
    let host = facts(&options.directory);
    let other = other_node(texts, &host.node_name);
    let place = match options.directory == crate::config::below_root(crate::config::DIRECTORY_DEFAULT) {
        true => String::new(),
        false => format!(" --directory {}", options.directory.display()),
    };
    let by_hand = format!("ha init --send{place} | ssh root@{other} {}{place}", PROGRAM_THERE.join(" "));
    let Some(target) = &options.copy else {
        terminal.say(&format!(
            "\nThe same files belong on {other}. This brings them there, and checks them there:\n"
        ));
        terminal.say(&format!("  {by_hand}\n"));
        terminal.say("Then, on both nodes: `heartbeat` (or the service heartbeat), and `ha status`.");
        return DONE;
    };
    let target = if target.is_empty() { format!("root@{other}") } else { target.clone() };
    match copy(&target, texts, options) {
        Ok(()) => {
            terminal.say(&format!("{target} has the same files."));
            terminal.say("Now, on both nodes: `heartbeat` (or the service heartbeat), and `ha status`.");
            DONE
        }
        Err(reason) => {
            terminal.complain(&format!(
                "ha init: {reason}; the files here are written, {target} has none of them. Again: {by_hand}"
            ));
            FAILED
        }
    }
}

fn other_node(texts: &Texts, own: &str) -> String {
    let nodes = texts.ha_cf.lines().filter_map(|line| line.strip_prefix("node "));
    nodes.into_iter().find(|name| *name != own).unwrap_or("OTHER").to_owned()
}

/// By ssh, which may ask for a password on the terminal.
fn copy(target: &str, texts: &Texts, options: &InitOptions) -> Result<(), String> {
    if target.starts_with('-') || target.contains(char::is_whitespace) {
        return Err(format!("`{target}` is no host for ssh"));
    }
    let mut command = Command::new("ssh");
    command.arg(target).args(PROGRAM_THERE);
    if options.directory != Path::new(crate::config::DIRECTORY_DEFAULT) {
        command.arg("--directory").arg(&options.directory);
    }
    if options.force {
        command.arg("--force");
    }
    let child = command.stdin(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cannot run ssh: {error}"))?;
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(&parcel::pack(texts)));
    let status = child.wait().map_err(|error| format!("ssh: {error}"))?;
    match (status.success(), sent) {
        (true, Some(Ok(()))) => Ok(()),
        (true, _) => Err("ssh took only a part of the files".to_owned()),
        (false, _) => Err(format!("ssh {target}: {status}")),
    }
}
