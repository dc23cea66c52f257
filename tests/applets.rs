//! `ha` itself: the list, links, help, completions, and what it says to a name it does not know.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

const HA: &str = env!("CARGO_BIN_EXE_ha");

fn ha(words: &[&str]) -> Output {
    Command::new(HA).args(words).stdin(Stdio::null()).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn listed() -> Vec<String> {
    let output = ha(&["--list"]);
    assert!(output.status.success());
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn alone_it_names_every_applet_with_a_line() {
    let output = ha(&[]);
    assert!(output.status.success() && output.stderr.is_empty());
    let overview = text(&output.stdout);
    assert_eq!(text(&ha(&["help"]).stdout), overview);
    assert_eq!(text(&ha(&["--help"]).stdout), overview);
    for name in ["check", "demo", "heartbeat", "hb_standby", "ResourceManager", "status"] {
        let line = overview.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert!(line.is_some_and(|line| line.split_whitespace().count() > 1), "{name}:\n{overview}");
    }
}

#[test]
fn an_unknown_name_exits_with_127_and_names_the_nearest() {
    for (wrong, nearest) in [
        ("hb_stanby", Some("hb_standby")),
        ("chek", Some("check")),
        ("IPaddr3", Some("IPaddr")),
        ("no-such-thing-at-all", None),
    ] {
        for words in [vec![wrong], vec!["help", wrong]] {
            let output = ha(&words);
            assert_eq!(output.status.code(), Some(127), "{words:?}");
            assert!(output.stdout.is_empty());
            let told = text(&output.stderr);
            assert!(told.contains(wrong), "{told}");
            match nearest {
                Some(name) => assert!(told.contains(&format!("Did you mean {name}")), "{told}"),
                None => assert!(!told.contains("Did you mean"), "{told}"),
            }
        }
    }
}

#[test]
fn links_reach_every_applet() {
    let names = listed();
    for symbolic in [false, true] {
        let folder = tempfile::tempdir_in(std::path::Path::new(HA).parent().expect("it is in a folder"))
            .expect("a folder beside the binary, where hard links can be made");
        let place = folder.path().to_string_lossy().into_owned();
        let words: Vec<&str> =
            if symbolic { vec!["--install", "-s", &place] } else { vec!["--install", &place] };
        let output = ha(&words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let made: BTreeSet<String> = fs::read_dir(folder.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(made, names.iter().cloned().collect());
        let usage = Command::new(folder.path().join("hb_standby")).arg("--help").output().expect("it starts");
        assert_eq!(usage.status.code(), Some(1));
        let told = text(&usage.stderr) + &text(&usage.stdout);
        assert!(told.contains("hb_standby [all|foreign|local|failback]"), "{told}");
    }
    assert_eq!(ha(&["--install"]).status.code(), Some(2));
    assert_eq!(ha(&["--install", "/no/such/folder"]).status.code(), Some(1));
}

#[test]
fn every_applet_is_explained_completed_and_on_the_page_of_ha() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/ha.8")).expect("the page");
    for name in listed() {
        let output = ha(&["help", &name]);
        assert!(output.status.success(), "{name}");
        assert!(text(&output.stdout).contains("Usage"), "{name}");
        let words = page.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
        assert!(words.into_iter().any(|word| word == name), "{name} is not on the page of ha(8)");
        for shell in ["bash", "zsh", "fish"] {
            let output = ha(&["completions", shell]);
            assert!(output.status.success() && output.stderr.is_empty());
            assert!(text(&output.stdout).contains(&name), "{shell}: {name}");
        }
    }
    assert_eq!(ha(&["completions"]).status.code(), Some(2));
    assert_eq!(ha(&["completions", "csh"]).status.code(), Some(2));
}

#[test]
fn completions_are_accepted_by_bash() {
    let script = text(&ha(&["completions", "bash"]).stdout);
    let output = Command::new("bash")
        .args(["--norc", "-c"])
        .arg(format!(
            "{script}\nCOMP_WORDS=(ha hb_st); COMP_CWORD=1; _ha ha hb_st ha; echo \"${{COMPREPLY[@]}}\""
        ))
        .output();
    let Ok(output) = output else { return skip::skip("there is no bash") };
    assert_eq!(text(&output.stdout).trim(), "hb_standby", "{}", text(&output.stderr));
}

#[test]
fn the_name_it_is_called_by_decides() {
    let called_as = |name: &str, words: &[&str]| {
        Command::new(HA).arg0(name).args(words).stdin(Stdio::null()).output().expect("the binary starts")
    };
    let output = called_as("/usr/libexec/heartbeat/heartbeat", &["-V"]);
    assert!(text(&output.stdout).starts_with("3.0.6"), "{output:?}");
    assert_eq!(text(&ha(&["heartbeat", "-V"]).stdout), text(&output.stdout));
    assert_eq!(called_as("no_applet", &["--version"]).stdout, ha(&["--version"]).stdout);
    assert_eq!(text(&ha(&["--version"]).stdout), format!("ha {}\n", env!("CARGO_PKG_VERSION")));
}

/// A reader that goes away early is no error.
#[test]
fn closed_output_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(HA).arg("--list").stdout(writer).status().expect("the binary starts");
    assert!(status.success());
}

#[path = "support/skip.rs"]
mod skip;
