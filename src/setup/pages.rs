//! The manual pages: not part of the program file, which is to stay small, but installed with it where
//! their folder is at hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::manifest::is_plain;
use crate::config::source::{open_regular, read_limited};
use crate::resource::AGENT_NAMES;

/// A folder of this name beside the program is looked into.
const FOLDER: &str = "man";
/// The page by which the folder is known.
const FIRST: &str = "ha.8";
/// Most pages that are taken.
const PAGES_MAX: usize = 300;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `ha.cf.5`
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Another name under which a page is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherName {
    /// Where, below the folder of the pages.
    pub place: String,
    /// The page, below the same folder.
    pub page: String,
}

/// The pages in the named folder, else in `man` beside this program; none where that is not there.
///
/// # Errors
/// The named folder is not that of the pages, or one of them cannot be read, in one sentence.
pub fn find(given: Option<&Path>) -> Result<Vec<Page>, String> {
    let folder = match given {
        Some(folder) if folder.join(FIRST).is_file() => folder.to_owned(),
        Some(folder) => {
            return Err(format!("--pages: {} does not hold the manual pages (no {FIRST})", folder.display()));
        }
        None => match beside() {
            Some(folder) => folder,
            None => return Ok(Vec::new()),
        },
    };
    let failed = |error: &dyn std::fmt::Display, at: &Path| format!("cannot read {}: {error}", at.display());
    let entries = std::fs::read_dir(&folder).map_err(|error| failed(&error, &folder))?;
    let mut files: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    files.retain(|file| section(file).is_some() && is_plain(&format!("/{file}")));
    files.sort();
    files.truncate(PAGES_MAX);
    let read = |file: String| {
        let path = folder.join(&file);
        let bytes = open_regular(&path).and_then(|file| read_limited(&file));
        let bytes = bytes.map_err(|error| failed(&error, &path))?;
        let text = String::from_utf8(bytes).map_err(|_| failed(&"it is no text", &path))?;
        Ok(Page { file, text })
    };
    files.into_iter().map(read).collect()
}

fn beside() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.join(FOLDER);
    folder.join(FIRST).is_file().then_some(folder)
}

/// Where a page belongs, below the folder of all pages.
pub fn place(file: &str) -> Option<String> {
    section(file).map(|section| format!("man{section}/{file}"))
}

fn section(file: &str) -> Option<char> {
    let (name, section) = file.rsplit_once('.')?;
    let digit = section.chars().next().filter(|digit| ('1'..='9').contains(digit))?;
    (section.len() == 1 && !name.is_empty()).then_some(digit)
}

/// The other names: programs that share a page, and agents as people look for them.
pub fn other_names(pages: &[Page], programs: &[&str]) -> Vec<OtherName> {
    let mut others = Vec::new();
    let files: BTreeSet<&str> = pages.iter().map(|page| page.file.as_str()).collect();
    for page in pages {
        let (Some(section), Some(place)) = (section(&page.file), place(&page.file)) else { continue };
        for name in names(&page.text).into_iter().filter(|name| programs.contains(&name.as_str())) {
            let mut add = |file: String| {
                let other = OtherName { place: format!("man{section}/{file}"), page: place.clone() };
                if !files.contains(file.as_str()) && !others.contains(&other) {
                    others.push(other);
                }
            };
            add(format!("{name}.{section}"));
            if AGENT_NAMES.contains(&name.as_str()) {
                add(format!("ocf_heartbeat_{name}.{section}"));
            }
        }
    }
    others
}

/// What the section NAME of a page names, in either of the two languages of pages.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix(".Sh ").or_else(|| line.strip_prefix(".SH ")) {
            inside = heading.trim() == "NAME";
        } else if inside {
            let listed = match line.strip_prefix(".Nm ") {
                Some(name) => name,
                None if line.starts_with('.') => continue,
                None => line.split("\\-").next().unwrap_or_default(),
            };
            names.extend(listed.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(file: &str, text: &str) -> Page {
        Page { file: file.into(), text: text.into() }
    }

    #[test]
    fn pages_have_their_place() {
        assert_eq!(place("ha.cf.5").as_deref(), Some("man5/ha.cf.5"));
        for file in ["ha", "ha.txt", ".8", "ha.0", "ha.8.gz", "ha.88", "ha."] {
            assert_eq!(place(file), None, "{file}");
        }
    }

    #[test]
    fn each_program_is_found_by_its_name() {
        let pages = [
            page(
                "IPaddr.7",
                ".TH IPADDR 7\n.SH NAME\nIPaddr, IPaddr2 \\- an address\n.SH SYNOPSIS\nheartbeat\n",
            ),
            page("ha.8", ".Sh NAME\n.Nm ha ,\n.Nm check ,\n.Nm stonith\n.Nd all\n.Sh SYNOPSIS\n.Nm ipfail\n"),
            page("stonith.8", ""),
        ];
        let others = other_names(&pages, &["IPaddr", "IPaddr2", "check", "stonith", "ipfail", "heartbeat"]);
        let places: Vec<&str> = others.iter().map(|other| other.place.as_str()).collect();
        let wanted =
            ["man7/ocf_heartbeat_IPaddr.7", "man7/IPaddr2.7", "man7/ocf_heartbeat_IPaddr2.7", "man8/check.8"];
        assert_eq!(places, wanted);
        assert!(others.iter().take(3).all(|other| other.page == "man7/IPaddr.7"));
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find(Some(folder.path())).unwrap_err().contains("no ha.8"));
        std::fs::write(folder.path().join("ha.8"), "x").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
        assert_eq!(find(Some(folder.path())), Ok(vec![page("ha.8", "x")]));
        std::fs::create_dir(folder.path().join("x.1")).unwrap();
        assert!(find(Some(folder.path())).is_err());
        std::fs::remove_dir(folder.path().join("x.1")).unwrap();
        std::fs::write(folder.path().join("x.1"), [0xff]).unwrap();
        assert!(find(Some(folder.path())).unwrap_err().contains("x.1: it is no text"));
    }
}
