//! Goal: whoever looks up an option, a parameter or a directive finds it on the page.
//! Method: ask the binary itself what it takes (`ha help NAME`) and look for each on the page as mandoc
//! shows it. Agents are also found by the names of the original's pages (`ocf_heartbeat_NAME`, by links of
//! the packages, tests/packaging).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "support/skip.rs"]
mod skip;
use skip::skip;

const HA: &str = env!("CARGO_BIN_EXE_ha");

/// Pages that people look for, by the names of the original and ours.
const WANTED: &[&str] = &[
    "ha.8",
    "heartbeat.8",
    "ha.cf.5",
    "authkeys.5",
    "haresources.5",
    "logd.cf.5",
    "apphbd.cf.5",
    "cl_status.1",
    "hb_standby.1",
    "hb_takeover.1",
    "hb_addnode.1",
    "hb_delnode.1",
    "send_arp.8",
    "stonith.8",
    "meatclient.8",
    "ha_logd.8",
    "ha_logger.1",
    "apphbd.8",
];

fn said_by(words: &[&str]) -> String {
    let output = Command::new(HA).args(words).stdin(Stdio::null()).output().expect("the binary starts");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Each page as it is read, by file name. `None`: no mandoc.
fn pages() -> Option<BTreeMap<String, String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let files = std::fs::read_dir(folder).expect("man");
    files.map(|file| shown(file.expect("entry").path())).collect()
}

fn shown(path: PathBuf) -> Option<(String, String)> {
    let output = Command::new("mandoc").args(["-T", "ascii", "-O", "width=500"]).arg(&path).output().ok()?;
    // Bold and underlined letters are overstruck.
    let mut text = String::new();
    for letter in String::from_utf8_lossy(&output.stdout).chars() {
        if letter == '\u{8}' {
            text.pop();
        } else {
            text.push(letter);
        }
    }
    Some((path.file_name()?.to_string_lossy().into_owned(), text))
}

/// What the NAME section of a page names.
fn names(page: &str) -> BTreeSet<String> {
    let section = page.lines().skip_while(|line| *line != "NAME").skip(1);
    let line: String = section.take_while(|line| !line.is_empty() && line.starts_with(' ')).collect();
    let names = line.split(" - ").next().unwrap_or_default();
    names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Words of a text as options are written: `-x`, `--long`, `name`.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.')))
        .map(|word| word.trim_end_matches('.').trim_start_matches("OCF_RESKEY_"))
        .collect()
}

/// Options and parameters in the help of an applet.
fn options(help: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_parameters = false;
    for line in help.lines() {
        in_parameters |= line.starts_with("Parameters of the OCF form");
        let trimmed = line.trim_start();
        if in_parameters {
            let name = trimmed.split_once(": ").map(|(name, _)| name);
            found.extend(name.filter(|name| !name.contains(' ')).map(str::to_owned));
        } else if trimmed.starts_with('-') && line.starts_with("  ") {
            let flags = trimmed.split([' ', ',']).filter(|word| word.starts_with('-'));
            found.extend(flags.map(|flag| flag.trim_end_matches("...").to_owned()));
        }
    }
    // Every program has it, and legacy ones do not take it.
    found.retain(|option| option != "-h" && option != "--help");
    found
}

#[test]
fn every_option_and_parameter_is_on_its_page() {
    let Some(pages) = pages() else { return skip("mandoc is not installed") };
    let mut missing = Vec::new();
    for name in said_by(&["--list"]).lines() {
        let of_this = pages.values().filter(|page| names(page).contains(name));
        let told: Vec<BTreeSet<&str>> = of_this.map(|page| words(page)).collect();
        assert!(!told.is_empty(), "no page has {name} in its NAME section");
        for option in options(&said_by(&["help", name])) {
            // Letters may stand together: `-dD`.
            let short = option.strip_prefix('-').filter(|letter| letter.len() == 1);
            let is_told = |words: &BTreeSet<&str>| {
                words.contains(option.as_str())
                    || short.is_some_and(|letter| {
                        words.iter().any(|word| {
                            word.strip_prefix('-')
                                .is_some_and(|rest| !rest.starts_with('-') && rest.contains(letter))
                        })
                    })
            };
            if !told.iter().any(is_told) {
                missing.push(format!("{name}: {option}"));
            }
        }
    }
    assert!(missing.is_empty(), "not on the page of:\n{}", missing.join("\n"));
}

#[test]
fn the_pages_people_look_for_are_there() {
    let Some(pages) = pages() else { return skip("mandoc is not installed") };
    let missing: Vec<_> = WANTED.iter().filter(|name| !pages.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for line in said_by(&["--list-full"]).lines() {
        let path = line.split(' ').next().unwrap_or_default();
        if let Some(agent) = path.strip_prefix("/etc/ha.d/resource.d/") {
            let page = pages.iter().find(|(_, page)| names(page).contains(agent));
            assert!(page.is_some_and(|(file, _)| file.ends_with(".7")), "{agent} has no page in section 7");
        }
    }
}

/// The directives of the smaller files come from their readers' own words for an unknown one.
#[test]
fn every_directive_of_the_smaller_files_is_on_its_page() {
    let Some(pages) = pages() else { return skip("mandoc is not installed") };
    for (page, source) in [("logd.cf.5", "src/config/logd_cf.rs"), ("apphbd.cf.5", "src/config/apphbd_cf.rs")]
    {
        let code = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).expect(source);
        let directives = directives(&code);
        assert!(directives.len() > 3, "{source}: teach tests/pages.rs its form");
        let told = words(&pages[page]);
        let missing: Vec<_> = directives.iter().filter(|name| !told.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{page} does not name {missing:?}");
    }
}

/// The texts before `=>` that look like directives.
fn directives(code: &str) -> BTreeSet<String> {
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let arms = code.lines().filter_map(|line| line.split_once("=>").map(|(left, _)| left));
    let arms = arms.filter(|left| left.trim_start().starts_with('"'));
    let texts = arms.flat_map(|left| left.split('"').skip(1).step_by(2));
    let plain = |text: &&str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    };
    texts.filter(plain).map(str::to_owned).collect()
}
