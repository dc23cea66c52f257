//! One binary, many names: which applet was meant, and what `ha` itself can do.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ha_core::config::directive::edit_distance;
use ha_core::config::places;
use ha_core::resource::AGENT_NAMES;

use crate::applet::{Applet, Invocation};

/// Exit code for a command that does not exist, as shells have it.
const UNKNOWN: u8 = 127;
/// Exit code for wrong use of `ha` itself.
const USAGE: u8 = 2;
/// A name this many changes away from every applet's is not taken for a slip of the finger.
const NEAREST_MAX: usize = 4;

/// Applets of ours, whose `--help` comes from their definition. All others answer to the letter of the
/// original, to which `--help` is a wrong option.
const NEW_STYLE: [&str; 10] =
    ["check", "demo", "guard", "init", "install", "keygen", "maintenance", "status", "takeover", "uninstall"];

/// Words that are only ever typed behind `ha`. They get no links, and a link of such a name is none to
/// them: a folder in PATH would hide install(1), and a kernel starts a program called `init`.
const WITHOUT_LINK: [&str; 4] = ["init", "install", "keygen", "uninstall"];

const HEADING: &str = "\
ha: Linux-HA Heartbeat in one binary.

usage: ha APPLET [ARGUMENT...]
       ha --list                    every name that a link may have, one a line
       ha --list-full               the legacy path of each, and whether others may have a file there
       ha --install [-s] DIRECTORY  links for all of them (-s: symbolic)
       ha --version
       ha help APPLET
       ha completions bash|zsh|fish
";

/// Finds the applet by the exact name of the program file, else by the first argument, and runs it.
/// The value is the exit code.
pub(crate) fn run(applets: &'static [Applet], words: impl IntoIterator<Item = OsString>) -> u8 {
    let mut words = words.into_iter();
    let called_as = words.next().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let base = called_as.rsplit('/').next().unwrap_or_default();
    let arguments: Vec<OsString> = words.collect();
    if let Some(applet) = find(applets, base).filter(|applet| has_link(applet)) {
        // Children are executed as /proc/self/exe, and would be called `exe` in process lists.
        ha_core::sys::process::set_short_name(base);
        return start(applet, called_as, arguments);
    }
    let Some((first, rest)) = arguments.split_first() else {
        return print(&overview(applets));
    };
    let name = first.to_string_lossy().into_owned();
    match find(applets, &name) {
        Some(applet) => start(applet, name, rest.to_vec()),
        None => own_command(applets, &name, rest),
    }
}

fn find(applets: &'static [Applet], name: &str) -> Option<&'static Applet> {
    applets.iter().find(|applet| applet.names.contains(&name))
}

fn start(applet: &Applet, called_as: String, arguments: Vec<OsString>) -> u8 {
    let asks_help = arguments.first().is_some_and(|word| word == "--help" || word == "-h");
    if asks_help && NEW_STYLE.contains(&applet.names[0]) {
        return print(&help(applet));
    }
    (applet.run)(&Invocation { called_as, arguments })
}

fn own_command(applets: &'static [Applet], name: &str, rest: &[OsString]) -> u8 {
    match name {
        "--list" => print(&names(applets).map(|name| format!("{name}\n")).collect::<String>()),
        "--list-full" => print(&legacy_paths(applets)),
        "--version" | "-V" => print(&format!("ha {}\n", env!("CARGO_PKG_VERSION"))),
        "--install" => install(applets, rest),
        "help" | "--help" | "-h" => match rest.first() {
            None => print(&overview(applets)),
            Some(word) => match find(applets, &word.to_string_lossy()) {
                Some(applet) => print(&help(applet)),
                None => unknown(applets, &word.to_string_lossy()),
            },
        },
        "completions" => completions(applets, rest),
        _ => unknown(applets, name),
    }
}

/// Every name that a link may have.
pub(crate) fn names(applets: &'static [Applet]) -> impl Iterator<Item = &'static str> {
    applets.iter().filter(|applet| has_link(applet)).flat_map(|applet| applet.names.iter().copied())
}

fn has_link(applet: &Applet) -> bool {
    !WITHOUT_LINK.contains(&applet.names[0])
}

/// One path a line; `shared` behind it where a link is made only if nothing stands there.
fn legacy_paths(applets: &'static [Applet]) -> String {
    let line = |link: places::Link| format!("{}{}\n", link.path, if link.shared { " shared" } else { "" });
    places::links(names(applets), &AGENT_NAMES).into_iter().map(line).collect()
}

fn overview(applets: &[Applet]) -> String {
    let width = applets.iter().map(|applet| applet.names[0].len()).max().unwrap_or(0);
    let line = |applet: &Applet| format!("  {:width$}  {}\n", applet.names[0], applet.summary);
    format!("{HEADING}\n{}", applets.iter().map(line).collect::<String>())
}

fn help(applet: &Applet) -> String {
    let name = format!("ha {}", applet.names[0]);
    definition(applet).bin_name(name).about(applet.summary).render_long_help().to_string()
}

/// An agent's comes from its description.
fn definition(applet: &Applet) -> clap::Command {
    ha_core::resource::agent(applet.names[0]).map_or_else(applet.definition, crate::agents::definition)
}

fn unknown(applets: &'static [Applet], name: &str) -> u8 {
    let near = names(applets)
        .chain(WITHOUT_LINK)
        .map(|known| (edit_distance(name, known), known))
        .filter(|(changes, _)| *changes <= NEAREST_MAX)
        .min();
    let hint = near.map(|(_, known)| format!(" Did you mean {known}?")).unwrap_or_default();
    complain(&format!("ha: there is no applet called {name:?}.{hint} `ha --list` names all.\n"));
    UNKNOWN
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// To standard output. A reader that went away (`ha --list | head -1`) is no error.
fn print(text: &str) -> u8 {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            complain(&format!("ha: cannot write to standard output: {error}\n"));
            1
        }
    }
}

/// `ha --install [-s] DIRECTORY`. What is there and leads to another program is left alone.
fn install(applets: &'static [Applet], rest: &[OsString]) -> u8 {
    let symbolic = rest.first().is_some_and(|word| word == "-s");
    let [folder] = &rest[usize::from(symbolic)..] else {
        complain("usage: ha --install [-s] DIRECTORY\n");
        return USAGE;
    };
    let binary = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => {
            complain(&format!("ha: cannot find this program's own file: {error}; nothing installed\n"));
            return 1;
        }
    };
    let mut code = 0;
    for name in names(applets) {
        let place = Path::new(folder).join(name);
        if let Err(error) = link(&binary, &place, symbolic) {
            complain(&format!("ha: {}: {error}; left alone\n", place.display()));
            code = 1;
        }
    }
    code
}

fn link(binary: &Path, place: &Path, symbolic: bool) -> io::Result<()> {
    if std::fs::symlink_metadata(place).is_ok() {
        let same = same_file(binary, place)?;
        return if same { Ok(()) } else { Err(io::Error::other("there is another file of this name")) };
    }
    if symbolic {
        symlink(binary, place)
    } else {
        std::fs::hard_link(binary, place)
    }
}

/// Also through links; a dangling link is not the same.
fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|about| (about.dev(), about.ino()));
    match identity(other) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => Ok(found? == identity(one)?),
    }
}

fn completions(applets: &[Applet], rest: &[OsString]) -> u8 {
    use clap_complete::Shell;
    let shell = match rest.first().and_then(|word| word.to_str()) {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => {
            complain("usage: ha completions bash|zsh|fish\n");
            return USAGE;
        }
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut whole(applets), "ha", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Everything `ha` takes as one definition, for completion.
fn whole(applets: &[Applet]) -> clap::Command {
    use clap::{value_parser, Arg, ArgAction, Command};
    let mut main_names: Vec<&'static str> = applets.iter().map(|applet| applet.names[0]).collect();
    main_names.sort_unstable();
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let help =
        Command::new("help").about("Explain an applet").arg(Arg::new("applet").value_parser(main_names));
    let shells = Arg::new("shell").value_parser(["bash", "zsh", "fish"]).required(true);
    let mut command = Command::new("ha")
        .disable_help_subcommand(true)
        .args([flag("list"), flag("list-full"), flag("version")])
        .arg(Arg::new("install").long("install").num_args(1).value_parser(value_parser!(PathBuf)))
        .subcommand(help)
        .subcommand(Command::new("completions").about("Print completions for a shell").arg(shells));
    for applet in applets {
        for name in applet.names {
            command = command.subcommand(definition(applet).name(*name).about(applet.summary));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_none_is_a_command_of_its_own() {
        let mut all: Vec<&str> = names(crate::APPLETS).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(!all.contains(&"help") && !all.contains(&"completions") && !all.contains(&"ha"));
    }

    #[test]
    fn new_style_applets_exist() {
        assert!(NEW_STYLE.iter().all(|name| find(crate::APPLETS, name).is_some()));
    }

    #[test]
    fn each_legacy_name_has_a_place_and_no_new_one_has() {
        for applet in crate::APPLETS {
            for name in applet.names {
                let has = !places::links([*name], &AGENT_NAMES).is_empty();
                assert_ne!(has, NEW_STYLE.contains(&applet.names[0]), "{name}: see src/config/places.rs");
            }
        }
    }

    #[test]
    fn definitions_are_sound() {
        whole(crate::APPLETS).debug_assert();
        for applet in crate::APPLETS {
            assert!(!help(applet).is_empty());
        }
    }

    #[test]
    fn install_leaves_foreign_files_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let taken = folder.path().join("hb_standby");
        std::fs::write(&taken, "another program").expect("write");
        let rest = [OsString::from("-s"), folder.path().as_os_str().to_owned()];
        assert_eq!(install(crate::APPLETS, &rest), 1);
        assert_eq!(std::fs::read_to_string(&taken).expect("read"), "another program");
        assert!(same_file(&std::env::current_exe().expect("own file"), &folder.path().join("heartbeat"))
            .expect("link"));
        std::fs::remove_file(&taken).expect("remove");
        assert_eq!(install(crate::APPLETS, &rest), 0);
        assert_eq!(install(crate::APPLETS, &rest), 0, "a second time changes nothing");
    }
}
