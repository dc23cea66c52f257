//! Namespaces: new ones for this process, those of another process, and why the kernel refused.
//!
//! Everything here acts on the calling process and is for single-threaded processes only (the
//! kernel refuses user namespaces to others). Needs Linux 3.8; nothing outside `ha demo` uses it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{mount, MsFlags};
use nix::sched::{setns, unshare, CloneFlags};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};

/// A call the kernel refused, with what an administrator can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {error}{advice}")]
pub struct Refusal {
    /// The call, as a person would look it up.
    pub call: String,
    /// The kernel's answer.
    pub error: io::Error,
    /// Settings that stand in the way, each on its own line; empty when none is known.
    pub advice: String,
}

impl Refusal {
    /// A refusal with the settings of this machine that may be its reason.
    pub fn new(call: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let advice = if error.kind() == io::ErrorKind::PermissionDenied
            || error.raw_os_error() == Some(Errno::ENOSPC as i32)
        {
            advice()
        } else {
            String::new()
        };
        Self { call: call.into(), error, advice }
    }
}

/// Gives this process network, mount and IPC namespaces of its own; where that needs rights it does
/// not have, inside a user namespace of its own in which it is root. True when it needed that one.
///
/// # Errors
/// The refused call. The process may then be partly in new namespaces: it should end.
pub fn isolate() -> Result<bool, Refusal> {
    let spaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    let own_user = unshare(spaces).is_err();
    if own_user {
        let (user, group) = (geteuid(), getegid());
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| Refusal::new("unshare(CLONE_NEWUSER)", error))?;
        let _ = fs::write("/proc/self/setgroups", "deny"); // absent before Linux 3.19
        write_map("/proc/self/uid_map", user.as_raw())?;
        write_map("/proc/self/gid_map", group.as_raw())?;
        let call = "unshare(CLONE_NEWNET|CLONE_NEWNS|CLONE_NEWIPC)";
        unshare(spaces).map_err(|error| Refusal::new(call, error))?;
    }
    keep_mounts_private()?;
    Ok(own_user)
}

/// Enters the mount namespace of process `pid` (and its user namespace when `own_user`), then makes
/// new network, mount, UTS and IPC namespaces, and a PID namespace for the children of this process.
///
/// # Errors
/// As [`isolate`].
pub fn isolate_host(pid: u32, own_user: bool) -> Result<(), Refusal> {
    let open = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        File::open(&path).map_err(|error| Refusal::new(format!("open {path}"), error))
    };
    let mounts = open("mnt")?;
    if own_user {
        setns(open("user")?, CloneFlags::CLONE_NEWUSER)
            .map_err(|error| Refusal::new("setns(CLONE_NEWUSER)", error))?;
    }
    setns(mounts, CloneFlags::CLONE_NEWNS).map_err(|error| Refusal::new("setns(CLONE_NEWNS)", error))?;
    let spaces = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID;
    let call = "unshare(CLONE_NEWNET|CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWPID)";
    unshare(spaces).map_err(|error| Refusal::new(call, error))?;
    keep_mounts_private()
}

/// Has the kernel kill this process when the one that started it ends.
///
/// # Errors
/// The kernel's refusal.
pub fn die_with_parent() -> Result<(), Refusal> {
    set_pdeathsig(Signal::SIGKILL).map_err(|error| Refusal::new("prctl(PR_SET_PDEATHSIG)", error))
}

/// Mounts a file system of its own kind (`tmpfs`, `proc`, `sysfs`).
///
/// # Errors
/// The kernel's refusal.
pub fn mount_new(kind: &str, target: &Path, options: &str) -> Result<(), Refusal> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .map_err(|error| Refusal::new(format!("mount {kind} on {}", target.display()), error))
}

/// Shows `source` (with what is mounted below it) at `target` too.
///
/// # Errors
/// The kernel's refusal.
pub fn mount_also_at(source: &Path, target: &Path) -> Result<(), Refusal> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&Path>, flags, None::<&Path>).map_err(|error| {
        Refusal::new(format!("mount --rbind {} {}", source.display(), target.display()), error)
    })
}

/// Makes the mount at `target` read-only for this namespace; what is mounted below it stays as it is.
///
/// # Errors
/// The kernel's refusal.
pub fn make_read_only(target: &Path) -> Result<(), Refusal> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&Path>, target, None::<&Path>, flags, None::<&Path>)
        .map_err(|error| Refusal::new(format!("mount -o remount,bind,ro {}", target.display()), error))
}

/// Without this, mounts made here would appear on the machine (systemd shares the root's mounts).
fn keep_mounts_private() -> Result<(), Refusal> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&Path>, "/", None::<&Path>, flags, None::<&Path>)
        .map_err(|error| Refusal::new("mount --make-rprivate /", error))
}

fn write_map(path: &str, outside: u32) -> Result<(), Refusal> {
    fs::write(path, format!("0 {outside} 1\n")).map_err(|error| Refusal::new(format!("write {path}"), error))
}

/// Each setting: where it is read, the value that forbids, what to do.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("kernel/unprivileged_userns_clone", "0", "set it to 1, or run as root"),
    ("user/max_user_namespaces", "0", "raise it, or run as root"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "set it to 0, give this program an AppArmor profile with `userns`, or run as root",
    ),
    ("user/max_net_namespaces", "0", "raise it"),
    ("user/max_pid_namespaces", "0", "raise it"),
];

fn advice() -> String {
    let mut lines: Vec<String> = SETTINGS
        .iter()
        .filter(|(path, forbids, _)| {
            fs::read_to_string(format!("/proc/sys/{path}")).is_ok_and(|value| value.trim() == *forbids)
        })
        .map(|(path, forbids, remedy)| format!("\n  {} is {forbids}: {remedy}", path.replace('/', ".")))
        .collect();
    if lines.is_empty() && geteuid().is_root() {
        lines.push(
            "\n  this root lacks CAP_SYS_ADMIN, or a filter (a container's seccomp profile) refuses the call"
                .to_owned(),
        );
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_call_and_error() {
        let refusal = Refusal {
            call: "unshare(CLONE_NEWUSER)".into(),
            error: io::Error::from_raw_os_error(libc::EPERM),
            advice: String::new(),
        };
        assert_eq!(refusal.to_string(), "unshare(CLONE_NEWUSER): Operation not permitted (os error 1)");
    }
}
