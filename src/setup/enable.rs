//! The start at boot: the links that a boot follows, or the system's own tool where it keeps more than
//! links (Debian's and SUSE's order of dependencies, Red Hat's run levels).

use std::fs;
use std::time::Duration;

use super::root::Root;
use super::service::{Kind, INIT_PLACE, UNIT_PLACE};
use crate::resource::command::Program;

/// What `systemctl enable` makes of the unit's `WantedBy=multi-user.target`.
const WANTS_PLACE: &str = "/etc/systemd/system/multi-user.target.wants/heartbeat.service";
/// Folders above those of the run levels.
pub(super) const LEVEL_FOLDERS: [&str; 3] = ["/etc", "/etc/rc.d", "/etc/init.d"];
/// All of them, in which a link may be.
pub(super) const LEVELS: [char; 8] = ['0', '1', '2', '3', '4', '5', '6', 'S'];
/// The script's header: run levels, first letter of the link and its number, as `chkconfig` reads them.
const DEFAULTS: [(&str, &str); 2] = [("2345", "S75"), ("016", "K05")];
/// No tool of these asks or waits for anything.
const TOOL_TIME: Duration = Duration::from_secs(120);

/// A program that keeps the start links of init scripts.
#[derive(Debug, PartialEq, Eq)]
pub struct Tool {
    path: &'static str,
    add: &'static [&'static [&'static str]],
    remove: &'static [&'static str],
}

/// THE TABLE of tools, the first one that is there is used: an old Debian may have the others too.
const TOOLS: [Tool; 4] = [
    Tool {
        path: "/usr/sbin/update-rc.d",
        add: &[&["heartbeat", "defaults", "75", "5"]],
        remove: &["-f", "heartbeat", "remove"],
    },
    Tool { path: "/sbin/chkconfig", add: CHKCONFIG, remove: CHKCONFIG_REMOVE },
    Tool { path: "/usr/sbin/chkconfig", add: CHKCONFIG, remove: CHKCONFIG_REMOVE },
    Tool { path: "/sbin/insserv", add: &[&["heartbeat"]], remove: &["-r", "heartbeat"] },
];
const CHKCONFIG: &[&[&str]] = &[&["--add", "heartbeat"], &["heartbeat", "on"]];
const CHKCONFIG_REMOVE: &[&str] = &["--del", "heartbeat"];

/// How the boot is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// By these links: place and target of each.
    Links(Vec<(String, &'static str)>),
    /// By this tool.
    Tool(&'static Tool),
}

/// What is to be done so that the boot starts it; nothing where a link says so already.
///
/// # Errors
/// Nothing is known that would start it, in one sentence.
pub fn way(kind: Kind, root: &Root) -> Result<Way, String> {
    match kind {
        Kind::Systemd => Ok(Way::Links(vec![(WANTS_PLACE.to_owned(), UNIT_PLACE)])),
        Kind::None => Err("--enable: nothing that starts services at boot was found here".to_owned()),
        Kind::SysV if has_links(root) => Ok(Way::Links(Vec::new())),
        Kind::SysV => match tool(root) {
            Some(tool) => Ok(Way::Tool(tool)),
            None => level_links(root),
        },
    }
}

/// The tool of this very system; that of another system's tree cannot be run from here.
pub(super) fn tool(root: &Root) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| root.is_own() && root.has(tool.path))
}

/// Whether a run level has a link to the script.
pub(super) fn has_links(root: &Root) -> bool {
    let folders = LEVEL_FOLDERS.iter().flat_map(|above| LEVELS.map(|level| format!("{above}/rc{level}.d")));
    let mut names =
        folders.filter_map(|folder| fs::read_dir(root.file(&folder).ok()?).ok()).flatten().flatten();
    names.any(|entry| entry.file_name().to_str().is_some_and(is_link_name))
}

/// `S75heartbeat` and the like.
pub(super) fn is_link_name(name: &str) -> bool {
    name.get(3..) == Some("heartbeat") && name.starts_with(['S', 'K'])
}

fn level_links(root: &Root) -> Result<Way, String> {
    let mut links = Vec::new();
    for (levels, name) in DEFAULTS {
        for level in levels.chars() {
            let folders = LEVEL_FOLDERS.map(|above| format!("{above}/rc{level}.d"));
            if let Some(folder) = folders.iter().find(|folder| root.has_directory(folder)) {
                links.push((format!("{folder}/{name}heartbeat"), INIT_PLACE));
            }
        }
    }
    if links.iter().any(|(path, _)| path.contains("/S75")) {
        Ok(Way::Links(links))
    } else {
        Err("--enable: there are no folders of run levels here (/etc/rc3.d); have the boot run \
             /etc/init.d/heartbeat start"
            .to_owned())
    }
}

impl Tool {
    /// Its calls, as a person would type them.
    pub fn words(&self) -> String {
        let calls: Vec<String> =
            self.add.iter().map(|words| format!("{} {}", self.path, words.join(" "))).collect();
        calls.join(" && ")
    }

    /// The call that takes the links away.
    pub fn removal_words(&self) -> String {
        format!("{} {}", self.path, self.remove.join(" "))
    }

    /// Has the boot start it. The script must be there.
    ///
    /// # Errors
    /// What the tool said; what it had done until then was taken away again.
    pub fn add(&self) -> Result<(), String> {
        let added = self.add.iter().try_for_each(|words| self.call(words));
        added.inspect_err(|_| drop(self.remove()))
    }

    /// Takes the links away. The script must still be there.
    ///
    /// # Errors
    /// What the tool said; links may be left.
    pub fn remove(&self) -> Result<(), String> {
        self.call(self.remove)
    }

    fn call(&self, words: &[&str]) -> Result<(), String> {
        let ended = Program::new(self.path).args(words).merged().limit(TOOL_TIME).run();
        let ended = ended.map_err(|error| error.to_string())?;
        if ended.code == 0 {
            return Ok(());
        }
        let said = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(format!("{} {} ended with {}: {said}", self.path, words.join(" "), ended.code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_go_where_the_system_has_its_run_levels() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        assert!(way(Kind::SysV, &root).is_err() && way(Kind::None, &root).is_err());
        for level in ["0", "3", "6"] {
            fs::create_dir_all(folder.path().join(format!("etc/rc.d/rc{level}.d"))).unwrap();
        }
        let wanted = ["rc3.d/S75heartbeat", "rc0.d/K05heartbeat", "rc6.d/K05heartbeat"];
        let wanted = wanted.map(|link| (format!("/etc/rc.d/{link}"), INIT_PLACE)).to_vec();
        assert_eq!(way(Kind::SysV, &root), Ok(Way::Links(wanted)));
        // another system's tool is not run
        fs::create_dir(folder.path().join("sbin")).unwrap();
        fs::write(folder.path().join("sbin/chkconfig"), "").unwrap();
        assert!(matches!(way(Kind::SysV, &root), Ok(Way::Links(links)) if links.len() == 3));
        symlink("../init.d/heartbeat", folder.path().join("etc/rc.d/rc3.d/S90heartbeat")).unwrap();
        assert_eq!(way(Kind::SysV, &root), Ok(Way::Links(Vec::new())));
    }

    #[test]
    fn names_of_links() {
        for (name, is) in [
            ("S75heartbeat", true),
            ("K05heartbeat", true),
            ("S75heartbeat2", false),
            ("heartbeat", false),
            ("Sé", false),
        ] {
            assert_eq!(is_link_name(name), is, "{name}");
        }
    }
}
