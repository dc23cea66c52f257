//! The file tree of a demo host: the machine's own files, read-only, with private places in it.
//!
//! The tree is made of links in a tmpfs, so places that the machine does not have
//! (`/usr/libexec/heartbeat` where nothing is installed) exist for the host, an ordinary user may
//! build it, and nothing is written to the machine. It stays through a crash; `/run` does not.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{chown, symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{chdir, chroot};
use serde::{Deserialize, Serialize};

use crate::sys::namespace::{make_read_only, mount_also_at, mount_new, Refusal};

/// What runs on a host, and so what its file tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostKind {
    /// Our binary, linked at every place where an installed Heartbeat has its programs.
    Ours,
    /// The Heartbeat 3.0.6 of this machine.
    Original,
    /// No cluster software: it asks.
    Client,
}

/// Where a host sees the machine's own file tree.
pub(crate) const MACHINE: &str = "/.machine";
/// Where a host has our binary.
pub(crate) const BINARY: &str = "/ha";
/// Where an installed Heartbeat keeps its programs; ours get links to all applets there.
const PROGRAM_FOLDERS: [&str; 2] = ["/usr/libexec/heartbeat", "/usr/share/heartbeat"];
const CL_STATUS: &str = "/usr/bin/cl_status";
const CONFIGURATION: &str = "/etc/ha.d";
const STATE: &str = "/var/lib/heartbeat";
/// State that makes a node what it is: never copied from the machine.
const IDENTITY: [&str; 4] = ["hb_uuid", "hb_generation", "hostcache", "delhostcache"];

/// Private folders of every host.
const FOLDERS: [&str; 12] = [
    MACHINE,
    CONFIGURATION,
    STATE,
    "/var/log",
    "/run",
    "/var/run",
    "/var/lock",
    "/tmp",
    "/var/tmp",
    "/proc",
    "/sys",
    "/root",
];
/// Files of the machine that a host must not see: names of real hosts, the real system log.
const HIDDEN: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/dev/log"];

/// Builds the tree below `root` when it is not there, mounts what a boot mounts, and makes it the
/// root of this process. The process must be in namespaces of its own.
///
/// # Errors
/// The refused step. The machine's files are untouched.
pub(crate) fn enter(root: &Path, kind: HostKind, hosts_file: &str) -> Result<(), Refusal> {
    let failed = |error| Refusal::new(format!("build {}", root.display()), error);
    if !root.exists() {
        build(root, kind, hosts_file).map_err(failed)?;
    }
    let inside = |place: &str| root.join(place.trim_start_matches('/'));
    show_binary(&inside(BINARY))?;
    mount_also_at(Path::new("/"), &inside(MACHINE))?;
    // A refusal is no harm: an ordinary user cannot write there anyway.
    let _ = make_read_only(&inside(MACHINE));
    mount_new("proc", &inside("/proc"), "")?;
    // Agents ask /sys/class/net of their own namespace; without it they use netlink.
    let _ = mount_new("sysfs", &inside("/sys"), "");
    mount_new("tmpfs", &inside("/run"), "mode=755,size=64m")?;
    chdir(root).map_err(failed_errno(root))?;
    chroot(".").map_err(failed_errno(root))?;
    make_run(kind).map_err(failed)
}

/// This program's own file; a copy where it was replaced on disk since this process started.
fn show_binary(place: &Path) -> Result<(), Refusal> {
    let failed = |error| Refusal::new(format!("show this program as {}", place.display()), error);
    let running = Path::new("/proc/self/exe");
    let identity = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino()));
    let file = fs::read_link(running).map_err(failed)?;
    if identity(&file).is_ok_and(|found| identity(running).is_ok_and(|own| own == found)) {
        return mount_also_at(&file, place);
    }
    fs::copy(running, place).map(drop).map_err(failed)
}

fn failed_errno(root: &Path) -> impl Fn(nix::errno::Errno) -> Refusal + '_ {
    move |error| Refusal::new(format!("chroot {}", root.display()), error)
}

/// The machine's folders: real ones where something private lies below, links for all else.
fn build(root: &Path, kind: HostKind, hosts_file: &str) -> io::Result<()> {
    let mut own: Vec<&str> = FOLDERS.to_vec();
    let mut hidden: Vec<&str> = HIDDEN.into_iter().chain([BINARY]).collect();
    if kind == HostKind::Ours {
        own.extend(PROGRAM_FOLDERS);
        hidden.push(CL_STATUS);
    }
    let special: Vec<&str> = own.iter().chain(&hidden).copied().collect();
    mirror(root, Path::new("/"), &special)?;
    let inside = |place: &str| root.join(place.trim_start_matches('/'));
    for place in own {
        if fs::symlink_metadata(inside(place)).is_err() {
            fs::create_dir_all(inside(place))?;
        }
    }
    for place in ["/tmp", "/var/tmp"] {
        fs::set_permissions(inside(place), Permissions::from_mode(0o1777))?;
    }
    fs::write(inside(BINARY), "")?;
    fs::write(inside("/etc/hosts"), hosts_file)?;
    fs::write(inside("/etc/resolv.conf"), "# no name server\n")?;
    match kind {
        HostKind::Ours => {
            fs::create_dir_all(inside(CONFIGURATION).join("resource.d"))?;
            fs::create_dir_all(inside("/usr/bin"))?;
            symlink(BINARY, inside(CL_STATUS))
        }
        HostKind::Original => copy_original(root),
        HostKind::Client => Ok(()),
    }
}

/// Makes `folder` of the machine appear below `root`, one entry after the other.
fn mirror(root: &Path, folder: &Path, special: &[&str]) -> io::Result<()> {
    let place = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    fs::create_dir_all(place(folder))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        let below = special.iter().any(|own| Path::new(own).starts_with(&path));
        if kind.is_symlink() {
            // Most lead to another place of the same tree (/bin, /var/run); they do so here too.
            if !special.contains(&path.to_string_lossy().as_ref()) || path.is_dir() {
                symlink(fs::read_link(&path)?, place(&path))?;
            }
        } else if !below {
            symlink(machine_path(&path), place(&path))?;
        } else if kind.is_dir() && !special.iter().any(|own| Path::new(own) == path) {
            mirror(root, &path, special)?;
        }
    }
    Ok(())
}

fn machine_path(path: &Path) -> PathBuf {
    Path::new(MACHINE).join(path.strip_prefix("/").unwrap_or(path))
}

/// The original's scripts by link, its state folders as packaged, without any identity.
fn copy_original(root: &Path) -> io::Result<()> {
    let inside = |place: &Path| root.join(place.strip_prefix("/").unwrap_or(place));
    link_files(root, Path::new(CONFIGURATION))?;
    copy_folders(Path::new(STATE), &inside(Path::new(STATE)))
}

/// The folder with a link for each file, so that a host may have files of its own beside them.
fn link_files(root: &Path, folder: &Path) -> io::Result<()> {
    let inside = |place: &Path| root.join(place.strip_prefix("/").unwrap_or(place));
    fs::create_dir_all(inside(folder))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ours = ["ha.cf", "haresources", "authkeys"];
        if fs::symlink_metadata(&path)?.is_dir() {
            link_files(root, &path)?;
        } else if !path.file_name().is_some_and(|name| ours.iter().any(|own| name == *own)) {
            symlink(machine_path(&path), inside(&path))?;
        }
    }
    Ok(())
}

fn copy_folders(from: &Path, to: &Path) -> io::Result<()> {
    let about = fs::metadata(from)?;
    fs::create_dir_all(to)?;
    chown(to, Some(about.uid()), Some(about.gid()))?;
    fs::set_permissions(to, Permissions::from_mode(about.mode() & 0o7777))?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|name| !IDENTITY.iter().any(|own| name == own)) else {
            continue;
        };
        if fs::symlink_metadata(&path)?.is_dir() {
            copy_folders(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// What a machine's start makes in `/run`; runs inside the host.
fn make_run(kind: HostKind) -> io::Result<()> {
    fs::create_dir_all("/run/lock/subsys")?;
    fs::create_dir_all("/run/resource-agents")?;
    if kind == HostKind::Original {
        let about = fs::metadata(Path::new(STATE).join("ccm"))?;
        for folder in ["/run/heartbeat", "/run/heartbeat/ccm", "/run/heartbeat/crm", "/run/heartbeat/dopd"] {
            fs::create_dir_all(folder)?;
            chown(folder, Some(about.uid()), Some(about.gid()))?;
            fs::set_permissions(folder, Permissions::from_mode(0o750))?;
        }
    }
    Ok(())
}

/// The commands that give a host of ours its links, to be run in it once.
pub(crate) fn install_commands() -> Vec<Vec<String>> {
    PROGRAM_FOLDERS
        .iter()
        .map(|folder| [BINARY, "--install", "-s", folder].map(str::to_owned).to_vec())
        .collect()
}
