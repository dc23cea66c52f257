//! Where everything lies (messaging spec 7.3).

use std::path::{Path, PathBuf};

pub use crate::config::ROOT_VARIABLE;

/// The paths of one installation. The public folders may be changed one by one; the files follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `/etc/ha.d`
    pub etc_dir: PathBuf,
    /// `/var/lib/heartbeat`
    pub var_lib_dir: PathBuf,
    /// `/var/run/heartbeat`
    pub run_dir: PathBuf,
    /// `/var/run/heartbeat.pid`
    pub pid_file: PathBuf,
}

impl Layout {
    /// The original's paths below `root` (`/` for the real ones).
    pub fn below(root: &Path) -> Self {
        Self {
            etc_dir: root.join("etc/ha.d"),
            var_lib_dir: root.join("var/lib/heartbeat"),
            run_dir: root.join("var/run/heartbeat"),
            pid_file: root.join("var/run/heartbeat.pid"),
        }
    }

    /// The original's paths, below the folder that [`ROOT_VARIABLE`] names when it names one with
    /// an absolute path.
    pub fn from_environment() -> Self {
        Self::below(&crate::config::below_root("/"))
    }

    /// `ha.cf`
    pub fn ha_cf(&self) -> PathBuf {
        self.etc_dir.join("ha.cf")
    }

    /// `haresources`
    pub fn haresources(&self) -> PathBuf {
        self.etc_dir.join("haresources")
    }

    /// `authkeys`
    pub fn authkeys(&self) -> PathBuf {
        self.etc_dir.join("authkeys")
    }

    /// `nodeinfo`, whose first line may name this node.
    pub fn nodeinfo(&self) -> PathBuf {
        self.etc_dir.join("nodeinfo")
    }

    /// Resource scripts.
    pub fn resource_scripts(&self) -> PathBuf {
        self.etc_dir.join("resource.d")
    }

    /// Scripts run for messages.
    pub fn message_scripts(&self) -> PathBuf {
        self.etc_dir.join("rc.d")
    }

    /// A file of the configuration folder as the original's messages show it, with a doubled
    /// slash: `/etc/ha.d//ha.cf`.
    pub fn shown(&self, name: &str) -> String {
        format!("{}//{name}", self.etc_dir.display())
    }

    /// The named pipe for scripts.
    pub fn fifo(&self) -> PathBuf {
        self.var_lib_dir.join("fifo")
    }

    /// Links to this program under the names that scripts call.
    pub fn programs(&self) -> PathBuf {
        self.var_lib_dir.join("programs")
    }

    /// The generation number.
    pub fn generation_file(&self) -> PathBuf {
        self.var_lib_dir.join("hb_generation")
    }

    /// This node's identity.
    pub fn uuid_file(&self) -> PathBuf {
        self.var_lib_dir.join("hb_uuid")
    }

    /// Nodes and what is known of them.
    pub fn host_cache(&self) -> PathBuf {
        self.var_lib_dir.join("hostcache")
    }

    /// Deleted nodes.
    pub fn deleted_host_cache(&self) -> PathBuf {
        self.var_lib_dir.join("delhostcache")
    }

    /// Folder of one folder per user for core dumps, unless `coreroot` names another.
    pub fn core_root(&self) -> PathBuf {
        self.var_lib_dir.join("cores")
    }

    /// The logging daemon's pid file.
    pub fn logd_pid_file(&self) -> PathBuf {
        self.pid_file.with_file_name("logd.pid")
    }

    /// The pid file of the daemon that watches programs.
    pub fn apphbd_pid_file(&self) -> PathBuf {
        self.pid_file.with_file_name("apphbd.pid")
    }

    /// Where programs tell it that they are well.
    pub fn apphb_socket(&self) -> PathBuf {
        self.run_dir.join("apphb.comm")
    }

    /// The clients' socket.
    pub fn register_socket(&self) -> PathBuf {
        self.run_dir.join("register")
    }

    /// Scratch folder of resource scripts, empty at each start.
    pub fn resource_scratch(&self) -> PathBuf {
        self.run_dir.join("rsctmp")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_paths_are_the_originals() {
        let layout = Layout::below(Path::new("/"));
        assert_eq!(layout.ha_cf(), Path::new("/etc/ha.d/ha.cf"));
        assert_eq!(layout.shown("ha.cf"), "/etc/ha.d//ha.cf");
        assert_eq!(layout.generation_file(), Path::new("/var/lib/heartbeat/hb_generation"));
        assert_eq!(layout.register_socket(), Path::new("/var/run/heartbeat/register"));
        assert_eq!(layout.pid_file, Path::new("/var/run/heartbeat.pid"));
    }
}
