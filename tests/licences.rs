//! Goal: whoever gets the binary gets the notices of everything in it, and nothing with other terms
//! comes in unseen.
//! Method: ask cargo what is linked in for the static target, judge the licences, and compare
//! THIRD-PARTY-NOTICES.md with what the crates' own licence files say. `packaging/third-party-notices`
//! writes the file anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/skip.rs"]
mod skip;
use skip::skip;

const TARGET: &str = "x86_64-unknown-linux-musl";
const NOTICES: &str = "THIRD-PARTY-NOTICES.md";

/// Terms under which parts of the binary may come. All ask for their notice at most; MPL-2.0 also
/// asks that one can get the source of the part it covers, which is unchanged where the table of the
/// notices says.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that may be there in two versions: name and reason.
const TWICE: &[(&str, &str)] =
    &[("nix", "serialport still uses an older one"), ("bitflags", "the older nix does")];

const HEAD: &str = "# Third-party notices

Written by `packaging/third-party-notices`; do not edit.

The binary `ha` holds the following Rust crates. Where a crate offers a choice of licences, it is used
under the MIT licence if that is among them. The static binary further holds Rust's standard library
(MIT or Apache-2.0, The Rust Project Contributors), the musl C library (MIT, Copyright 2005-2020 Rich
Felker, et al.) and LLVM's libunwind (Apache-2.0 with the LLVM exceptions).

";

/// A crate that is linked in.
struct Linked {
    name: String,
    version: String,
    licence: String,
    repository: String,
}

#[test]
fn licences_are_among_the_allowed() {
    let Some(crates) = linked_in() else { return };
    let refused = crates.iter().filter(|part| !is_allowed(&part.licence));
    let refused: Vec<_> =
        refused.map(|part| format!("{} {}: {}", part.name, part.version, part.licence)).collect();
    assert!(refused.is_empty(), "terms not in ALLOWED of tests/licences.rs:\n{}", refused.join("\n"));
}

#[test]
fn each_crate_is_there_once() {
    let Some(crates) = linked_in() else { return };
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in &crates {
        versions.entry(&part.name).or_default().push(&part.version);
    }
    let excused = |name: &str| TWICE.iter().any(|(other, _)| *other == name);
    versions.retain(|name, versions| versions.len() > 1 && !excused(name));
    assert!(
        versions.is_empty(),
        "two versions linked in: {versions:?}; align them, or give the reason in TWICE"
    );
}

#[test]
fn the_notices_are_complete() {
    let Some(crates) = linked_in() else { return };
    let Some(expected) = notices(&crates) else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(NOTICES);
    if std::env::var_os("HA_UPDATE_NOTICES").is_some() {
        fs::write(&path, &expected).expect("the notices can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{NOTICES} is not what Cargo.lock asks for: run packaging/third-party-notices"
    );
}

/// The whole text of the notices: a table, then each licence text once with the crates it is for.
fn notices(crates: &[Linked]) -> Option<String> {
    let folders = folders()?;
    let mut table = String::from("| crate | version | licence | source |\n| --- | --- | --- | --- |\n");
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for part in crates {
        let Linked { name, version, licence, repository } = part;
        table.push_str(&format!("| {name} | {version} | {licence} | {repository} |\n"));
        let folder = folders.get(&(name.clone(), version.clone())).expect("cargo knows where its crates are");
        texts.entry(licence_text(folder, part)).or_default().push(name);
    }
    let mut sections: Vec<_> = texts.into_iter().map(|(text, names)| (names.join(", "), text)).collect();
    sections.sort();
    let sections =
        sections.into_iter().map(|(names, text)| format!("\n## {names}\n\n```text\n{text}\n```\n"));
    Some(format!("{HEAD}{table}{}", sections.collect::<String>()))
}

/// The licence text that a crate brings, blanks at line ends taken off.
fn licence_text(folder: &Path, part: &Linked) -> String {
    let names = ["LICENSE-MIT", "LICENSE-MIT.md", "LICENSES/MIT.txt", "LICENSE", "LICENSE.md", "LICENSE.txt"];
    let text = names.iter().find_map(|name| fs::read_to_string(folder.join(name)).ok());
    let text =
        text.unwrap_or_else(|| panic!("{} {} brings no licence text known here", part.name, part.version));
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Is at least one choice made of allowed terms only? Old manifests write `/` for `OR`; parentheses
/// do not occur in what we link, and are refused.
fn is_allowed(expression: &str) -> bool {
    let choices = expression.replace('/', " OR ");
    let allowed = |term: &str| ALLOWED.contains(&term.trim());
    choices.split(" OR ").any(|choice| choice.split(" AND ").all(allowed))
}

/// The crates linked into the static binary: no build scripts, no macros, no test helpers.
fn linked_in() -> Option<Vec<Linked>> {
    let edges = ["-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}\t{l}\t{r}"];
    let told = cargo(&[&["tree", "--target", TARGET], &edges[..]].concat())?;
    let mut rows: Vec<&str> = told.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    rows.sort_unstable();
    rows.dedup();
    let own = concat!("ha v", env!("CARGO_PKG_VERSION"));
    let crates = rows.into_iter().filter(|row| !row.starts_with(own));
    Some(crates.map(|row| parse(row).unwrap_or_else(|| panic!("cargo tree said {row:?}"))).collect())
}

fn parse(row: &str) -> Option<Linked> {
    let mut columns = row.split('\t');
    let (name, version) = columns.next()?.split_once(" v")?;
    let version = version.split(' ').next()?.to_owned();
    let (licence, repository) = (columns.next()?.to_owned(), columns.next()?.to_owned());
    Some(Linked { name: name.to_owned(), version, licence, repository })
}

/// Where the source of each crate (name, version) is on this machine.
fn folders() -> Option<BTreeMap<(String, String), PathBuf>> {
    let told = cargo(&["metadata", "--format-version", "1", "--filter-platform", TARGET])?;
    let metadata: serde_json::Value = serde_json::from_str(&told).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("it lists packages");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |package: &serde_json::Value| {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest.parent().map(Path::to_path_buf).unwrap_or_default();
        ((text(&package["name"]), text(&package["version"])), folder)
    };
    Some(packages.iter().map(entry).collect())
}

/// What cargo prints, asked without the network: tests load nothing.
fn cargo(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).args(["--locked", "--offline"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("the cargo that built this test is still there");
    if !output.status.success() {
        skip(&format!("cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn expressions_are_judged() {
    for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "GPL-2.0 OR MIT AND Zlib"] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["", "GPL-2.0", "MIT AND GPL-2.0", "EPL-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}
