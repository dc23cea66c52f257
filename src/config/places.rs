//! Where the original's packages keep its programs, and where scripts of two decades look for them.
//!
//! The packages and the installation by hand make a link at each of these places, from this table.

/// Where the program file itself lies.
pub const BINARY: &str = "/usr/sbin/ha";

/// Folders of the programs that the daemon starts: 32 bits and Debian, 64 bits, and present ones. Paths in
/// `respawn` lines and scripts name any of the three.
const PROGRAM_FOLDERS: &[&str] = &["/usr/lib/heartbeat", "/usr/lib64/heartbeat", "/usr/libexec/heartbeat"];
/// Before 2.1 the scripts lay beside the programs.
const SCRIPT_FOLDERS: &[&str] =
    &["/usr/share/heartbeat", "/usr/lib/heartbeat", "/usr/lib64/heartbeat", "/usr/libexec/heartbeat"];
const DAEMON_FOLDERS: &[&str] =
    &["/usr/sbin", "/usr/lib/heartbeat", "/usr/lib64/heartbeat", "/usr/libexec/heartbeat"];
const AGENT_FOLDERS: &[&str] = &["/etc/ha.d/resource.d"];

/// Names that belong together because they lie in the same folders.
struct Kind {
    names: &'static [&'static str],
    folders: &'static [&'static str],
    shared: bool,
}

/// THE TABLE of places. A name that is in none of its rows has no place of its own: it is called as
/// `ha NAME`. Agents are added by [`links`].
const KINDS: &[Kind] = &[
    Kind { names: &["heartbeat"], folders: DAEMON_FOLDERS, shared: false },
    Kind { names: &["cl_status"], folders: &["/usr/bin"], shared: false },
    Kind {
        names: &["stonith", "meatclient", "ha_logger", "lrmadmin"],
        folders: &["/usr/sbin"],
        shared: false,
    },
    Kind { names: &["cibsecret"], folders: &["/usr/sbin", "/usr/lib/heartbeat"], shared: false },
    Kind { names: &["harc"], folders: &["/etc/ha.d"], shared: true },
    Kind {
        names: &["apphbd", "dopd", "drbd-peer-outdater", "ha_logd", "ipfail", "pingd"],
        folders: PROGRAM_FOLDERS,
        shared: false,
    },
    Kind { names: &["findif", "send_arp", "send_ua"], folders: PROGRAM_FOLDERS, shared: true },
    Kind {
        names: &[
            "ResourceManager",
            "ha_propagate",
            "hb_addnode",
            "hb_delnode",
            "hb_setsite",
            "hb_setweight",
            "hb_standby",
            "hb_takeover",
            "mach_down",
            "req_resource",
        ],
        folders: SCRIPT_FOLDERS,
        shared: false,
    },
];

/// A link to [`BINARY`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its absolute path.
    pub path: String,
    /// The administrator, or another package (resource-agents), may have a file there. A package must
    /// not own this path: the link is made after the installation, and only where nothing stands.
    pub shared: bool,
}

/// Every link for these applets, of which `agents` are resource agents, in the order of the path.
pub fn links<'a>(applets: impl IntoIterator<Item = &'a str>, agents: &[&str]) -> Vec<Link> {
    let mut links = Vec::new();
    for name in applets {
        let kind = KINDS.iter().find(|kind| kind.names.contains(&name));
        let (folders, shared) = match kind {
            Some(kind) => (kind.folders, kind.shared),
            None if agents.contains(&name) => (AGENT_FOLDERS, true),
            None => continue,
        };
        links.extend(folders.iter().map(|folder| Link { path: format!("{folder}/{name}"), shared }));
    }
    links.sort();
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_one_row() {
        let mut names: Vec<&str> = KINDS.iter().flat_map(|kind| kind.names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn links_lie_where_the_original_has_its_programs() {
        let links = links(["heartbeat", "IPaddr", "findif", "check"], &["IPaddr"]);
        let paths: Vec<(&str, bool)> = links.iter().map(|link| (link.path.as_str(), link.shared)).collect();
        assert!(paths.contains(&("/usr/sbin/heartbeat", false)));
        assert!(paths.contains(&("/etc/ha.d/resource.d/IPaddr", true)));
        assert!(paths.contains(&("/usr/libexec/heartbeat/findif", true)));
        assert!(!paths.iter().any(|(path, _)| path.ends_with("/check")));
    }
}
