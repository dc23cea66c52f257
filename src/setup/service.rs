//! How the boot starts the daemon: the init script and the unit that the packages have too.

use super::root::Root;

const INIT_SCRIPT: &str = include_str!("../../packaging/files/heartbeat.init");
const UNIT: &str = include_str!("../../packaging/files/heartbeat.service");
const LOG_ROTATION: &str = include_str!("../../packaging/files/heartbeat.logrotate");

/// Where the init script belongs.
pub const INIT_PLACE: &str = "/etc/init.d/heartbeat";
/// Where a unit of the administrator belongs.
pub const UNIT_PLACE: &str = "/etc/systemd/system/heartbeat.service";
const LOG_ROTATION_PLACE: &str = "/etc/logrotate.d/heartbeat";
/// Paths in the texts that follow the prefix.
const PATHS: [&str; 4] =
    ["/usr/sbin/heartbeat", "/usr/share/heartbeat", "/usr/lib/heartbeat", "/usr/libexec/heartbeat"];

/// Who starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// systemd
    Systemd,
    /// Scripts in `/etc/init.d`.
    SysV,
    /// Nobody that we know.
    None,
}

impl Kind {
    /// By its name as an option; `None` for others.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "systemd" => Some(Self::Systemd),
            "sysv" => Some(Self::SysV),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// What that system has: systemd where it runs, or where it is installed in another system's tree.
pub fn found(root: &Root) -> Kind {
    let units = ["/usr/lib/systemd/system", "/lib/systemd/system"];
    let runs = root.has_directory("/run/systemd/system");
    if runs || !root.is_own() && units.iter().any(|folder| root.has_directory(folder)) {
        Kind::Systemd
    } else if root.has_directory("/etc/init.d") || root.has_directory("/etc/rc.d/init.d") {
        Kind::SysV
    } else {
        Kind::None
    }
}

/// The files: place, text, permission bits.
pub fn files(kind: Kind, root: &Root, prefix: &str) -> Vec<(&'static str, String, u32)> {
    let text = |text: &str| {
        PATHS.iter().fold(text.to_owned(), |text, path| text.replace(path, &path.replacen("/usr", prefix, 1)))
    };
    let mut files = match kind {
        Kind::Systemd => vec![(UNIT_PLACE, text(UNIT), 0o644)],
        Kind::SysV => vec![(INIT_PLACE, text(INIT_SCRIPT), 0o755)],
        Kind::None => Vec::new(),
    };
    if kind != Kind::None && root.has_directory("/etc/logrotate.d") {
        files.push((LOG_ROTATION_PLACE, LOG_ROTATION.to_owned(), 0o644));
    }
    files
}

/// What a person does next; `enabled`: the boot starts it already.
pub fn next_steps(kind: Kind, root: &Root, enabled: bool) -> Vec<String> {
    let start = match kind {
        Kind::Systemd if enabled => "systemctl daemon-reload; systemctl start heartbeat",
        Kind::Systemd => "systemctl daemon-reload; systemctl enable --now heartbeat",
        Kind::SysV if enabled => "/etc/init.d/heartbeat start",
        Kind::SysV if root.has("/usr/sbin/update-rc.d") => {
            "update-rc.d heartbeat defaults; /etc/init.d/heartbeat start"
        }
        Kind::SysV if root.has("/sbin/chkconfig") || root.has("/usr/sbin/chkconfig") => {
            "chkconfig --add heartbeat; chkconfig heartbeat on; /etc/init.d/heartbeat start"
        }
        Kind::SysV => "/etc/init.d/heartbeat start (and for the boot: ha install --enable)",
        Kind::None => "heartbeat (have the boot run it)",
    };
    vec![
        "Next: `ha init` where there is no /etc/ha.d/ha.cf, `ha check`, and on both nodes:".to_owned(),
        format!("  {start}"),
    ]
}
