//! Classes of resource scripts: what a resource's script name means, and where scripts of a class are.
//!
//! | written | what runs |
//! | --- | --- |
//! | `NAME` | resource.d, init.d, the built-in agent, the unit of that name: the first there is |
//! | `heartbeat:NAME` | resource.d or the built-in agent |
//! | `lsb:NAME` | init.d |
//! | `ocf:PROVIDER:TYPE` | the OCF agent, for `heartbeat` else the built-in one |
//! | `systemd:UNIT` | the unit, through systemctl |

use std::path::{Path, PathBuf};

use super::below_root;

/// Folders of units, the first wins (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Endings of units that can be started.
const UNIT_TYPES: [&str; 9] =
    ["service", "socket", "target", "mount", "automount", "swap", "timer", "path", "slice"];

/// A script's name taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptClass<'a> {
    /// No class in front.
    Any(&'a str),
    /// `heartbeat:NAME`
    Heartbeat(&'a str),
    /// `lsb:NAME`
    Lsb(&'a str),
    /// `ocf:PROVIDER:TYPE`
    Ocf {
        /// Folder of the agent.
        provider: &'a str,
        /// Its name.
        kind: &'a str,
    },
    /// `systemd:UNIT`
    Systemd(&'a str),
}

impl<'a> ScriptClass<'a> {
    /// Takes a name apart. A class that is none of ours is part of the name: scripts may be called
    /// so.
    ///
    /// # Errors
    /// What is wrong with a name that could not be a file's or unit's.
    pub fn of(script: &'a str) -> Result<Self, String> {
        let class = match script.split_once(':') {
            Some(("heartbeat", name)) => Self::Heartbeat(name),
            Some(("lsb", name)) => Self::Lsb(name),
            Some(("systemd", unit)) => Self::Systemd(unit),
            Some(("ocf", rest)) => {
                let (provider, kind) = rest.split_once(':').ok_or(format!(
                    "`{script}` names no provider: expected ocf:PROVIDER:TYPE, ocf:heartbeat:{rest} for instance"
                ))?;
                Self::Ocf { provider, kind }
            }
            _ => Self::Any(script),
        };
        let names = match class {
            Self::Any(name) | Self::Heartbeat(name) | Self::Lsb(name) | Self::Systemd(name) => [name, name],
            Self::Ocf { provider, kind } => [provider, kind],
        };
        // The original takes a script in a folder below, too; a class of ours does not.
        let any = matches!(class, Self::Any(_));
        let is_name = |name: &str| {
            let plain = !name.contains(['/', '\0']) && !name.starts_with('-');
            !name.is_empty() && !matches!(name, "." | "..") && (plain || any)
        };
        match names.into_iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{script}`: `{name}` is no name of a script")),
            None => Ok(class),
        }
    }
}

/// The folder of OCF agents' providers: `resource.d` in `OCF_ROOT`, which is `/usr/lib/ocf` unless the
/// environment says otherwise.
pub fn ocf_directory() -> PathBuf {
    let root = std::env::var("OCF_ROOT").ok().filter(|root| !root.is_empty());
    Path::new(&root.unwrap_or("/usr/lib/ocf".to_owned())).join("resource.d")
}

/// The file of a unit, a service where its type is not written; for an instance, that of the template.
/// Units that something else makes up at run time have none.
pub fn unit_file(unit: &str) -> Option<PathBuf> {
    let typed = unit.rsplit_once('.').is_some_and(|(_, ending)| UNIT_TYPES.contains(&ending));
    let name = if typed { unit.to_owned() } else { format!("{unit}.service") };
    let template = name.split_once('@').and_then(|(stem, rest)| {
        let ending = rest.rsplit_once('.')?.1;
        Some(format!("{stem}@.{ending}"))
    });
    let names: Vec<String> = std::iter::once(name).chain(template).collect();
    let files = UNIT_DIRECTORIES.iter().flat_map(|directory| {
        let directory = below_root(directory);
        names.iter().map(move |name| directory.join(name))
    });
    // A link to /dev/null is a unit that must not run.
    files.into_iter().find(|path| std::fs::metadata(path).is_ok_and(|about| about.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let ocf = ScriptClass::Ocf { provider: "heartbeat", kind: "Dummy" };
        for (name, class) in [
            ("nginx", ScriptClass::Any("nginx")),
            ("lsb:nginx", ScriptClass::Lsb("nginx")),
            ("heartbeat:IPaddr", ScriptClass::Heartbeat("IPaddr")),
            ("ocf:heartbeat:Dummy", ocf),
            ("systemd:getty@tty1.service", ScriptClass::Systemd("getty@tty1.service")),
            ("of:its:own", ScriptClass::Any("of:its:own")),
        ] {
            assert_eq!(ScriptClass::of(name), Ok(class), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "lsb:",
            "lsb:../x",
            "ocf:Dummy",
            "ocf::Dummy",
            "ocf:heartbeat:",
            "ocf:a/b:c",
            "systemd:",
            "systemd:-x",
            "systemd:a/b",
            "heartbeat:.",
        ] {
            assert!(ScriptClass::of(name).is_err(), "{name}");
        }
    }
}
