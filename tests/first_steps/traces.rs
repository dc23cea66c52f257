//! What a program left in a folder, and programs that are stopped on the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{binary, skip::skip};

/// Everything below a folder: mode, owner and content of each.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    add(folder, folder, &mut all);
    all
}

fn add(top: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        let about = fs::symlink_metadata(&path).expect("entry");
        let name = path.strip_prefix(top).expect("inside").display().to_string();
        let content = if about.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("link").display())
        } else if about.is_file() {
            let text = fs::read(&path).expect("file");
            format!("{} bytes {:?}", text.len(), String::from_utf8_lossy(&text[..text.len().min(4000)]))
        } else {
            String::new()
        };
        let value = format!("{:o} {}:{} {content}", about.mode() & 0o177_777, about.uid(), about.gid());
        all.insert(name, value);
        if about.is_dir() {
            add(top, &path, all);
        }
    }
}

/// Names alone.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    if folder.is_dir() {
        tree(folder).into_keys().collect()
    } else {
        Vec::new()
    }
}

/// `ha` with these words.
pub(crate) fn ha(words: &[&str]) -> Output {
    Command::new(binary()).args(words).stdin(Stdio::null()).output().expect("ha runs")
}

/// Both streams of a program.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether strace may be used here.
pub(crate) fn can_trace() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        skip("strace does not work here");
    }
    works
}

/// Calls that change files, with the older and the newer name of each.
pub(crate) const CALLS: [&str; 9] = [
    "rename,renameat,renameat2",
    "mkdir,mkdirat",
    "link,linkat",
    "symlink,symlinkat",
    "unlink,unlinkat",
    "fsync",
    "chmod,fchmod,fchmodat",
    "chown,fchown,fchownat",
    "rmdir",
];

/// `ha` with something done to the call of that number among those of a kind.
pub(crate) fn traced(inject: &str, calls: &str, number: usize, words: &[&str]) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:{inject}:when={number}")])
        .arg(binary())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("strace runs")
}

/// A shell with mounts of its own; `None` where this is not allowed. Nothing of the system is mounted
/// anywhere.
pub(crate) fn with_own_mounts(script: &str, words: &[&Path]) -> Option<Output> {
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if output.status.code() == Some(77) || said(&output).starts_with("unshare:") {
        skip(&format!("no mounts here: {}", said(&output)));
        return None;
    }
    Some(output)
}
