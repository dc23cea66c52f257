//! `ha install` and `ha uninstall`, into the tree of another system and into a throw-away overlay of this.

use std::fs;
use std::path::Path;

use crate::common::binary;
use crate::traces::{can_trace, ha, said, traced, tree, with_own_mounts, CALLS};

/// The tree of a small system.
pub(crate) fn system(service: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let make = |path: &str| fs::create_dir_all(folder.path().join(path)).expect("folder");
    for path in ["etc/logrotate.d", "usr/sbin", "usr/lib", "usr/bin", "var/lib", "var/run", "run", "sbin"] {
        make(path);
    }
    match service {
        "systemd" => make("usr/lib/systemd/system"),
        "sysv" => ["etc/init.d", "etc/rc3.d"].iter().for_each(|path| make(path)),
        _ => {}
    }
    let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).expect("file");
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nntp:x:38:38::/:/sbin/nologin\n");
    write("etc/group", "root:x:0:\nntp:x:38:\n");
    write("etc/shadow", "root:*:1::::::\nntp:*:1::::::\n");
    // as on systems of today
    std::os::unix::fs::symlink("usr/lib", folder.path().join("lib")).expect("link");
    std::os::unix::fs::symlink("lib", folder.path().join("usr/lib64")).expect("link");
    folder
}

pub(crate) fn place(root: &tempfile::TempDir) -> &str {
    root.path().to_str().expect("path")
}

#[test]
fn installed_and_removed_without_a_trace() {
    for (service, file) in
        [("systemd", "etc/systemd/system/heartbeat.service"), ("sysv", "etc/init.d/heartbeat"), ("none", "")]
    {
        for prefix in ["/usr", "/usr/local/heartbeat"] {
            let root = system(service);
            let top = root.path();
            let before = tree(top);
            let planned = ha(&["install", "--root", place(&root), "--prefix", prefix, "--dry-run"]);
            assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
            assert_eq!(tree(top), before, "a dry run changed something");
            let output = ha(&["install", "--root", place(&root), "--prefix", prefix]);
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            let inside = |path: &str| top.join(path.trim_start_matches('/'));
            let program = format!("{prefix}/sbin/ha");
            assert_eq!(fs::read(inside(&program)).expect("program"), fs::read(binary()).expect("own"));
            for link in [
                "sbin/heartbeat",
                "lib/heartbeat/ipfail",
                "libexec/heartbeat/heartbeat",
                "share/heartbeat/hb_standby",
                "bin/cl_status",
                "sbin/stonith",
                "lib64/heartbeat/ipfail",
            ] {
                let target = fs::read_link(inside(&format!("{prefix}/{link}"))).expect(link);
                assert_eq!(target, Path::new(&program), "{link}");
            }
            assert!(inside("/etc/ha.d/resource.d/IPaddr").is_symlink());
            let passwd = fs::read_to_string(inside("/etc/passwd")).expect("passwd");
            assert!(passwd.contains("\nhacluster:x:17:65:"), "{passwd}");
            if !file.is_empty() {
                let text = fs::read_to_string(inside(file)).expect(file);
                assert!(text.contains(&format!("{prefix}/sbin/heartbeat")), "{text}");
            }
            let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
            let made: Vec<String> = tree(top).into_keys().filter(|path| !before.contains_key(path)).collect();
            for path in made.iter().filter(|path| !path.ends_with(".pwd.lock")) {
                let named = planned.contains(&format!("/{path} ")) || planned.contains(&format!("/{path}\n"));
                assert!(named, "{path} was not announced: {planned}");
            }
            // once more changes nothing
            let installed = tree(top);
            let again = ha(&["install", "--root", place(&root), "--prefix", prefix]);
            assert_eq!(again.status.code(), Some(0), "{}", said(&again));
            assert_eq!(tree(top), installed);
            let removed = ha(&["uninstall", "--root", place(&root)]);
            assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
            assert_eq!(tree(top), before, "{service} {prefix}");
        }
    }
}

#[test]
fn what_the_administrator_made_stays_and_what_the_boot_follows_goes() {
    let root = system("sysv");
    let top = root.path();
    assert_eq!(ha(&["install", "--root", place(&root)]).status.code(), Some(0));
    std::os::unix::fs::symlink("../init.d/heartbeat", top.join("etc/rc3.d/S75heartbeat")).expect("link");
    fs::write(top.join("etc/ha.d/ha.cf"), "mine\n").expect("file");
    fs::write(top.join("etc/logrotate.d/heartbeat"), "changed\n").expect("file");
    fs::write(top.join("var/lib/heartbeat/hb_uuid"), "0123456789abcdef").expect("file");
    for name in ["programs", "cores/nobody"] {
        fs::create_dir_all(top.join("var/lib/heartbeat").join(name)).expect("folder");
    }
    let output = ha(&["uninstall", "--root", place(&root)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(top.join("etc/ha.d/ha.cf").exists() && top.join("etc/logrotate.d/heartbeat").exists());
    assert!(!top.join("etc/rc3.d/S75heartbeat").is_symlink());
    assert!(!top.join("var/lib/heartbeat").exists());
    assert!(said(&output).contains("/etc/logrotate.d/heartbeat stays"), "{}", said(&output));
    let again = ha(&["uninstall", "--root", place(&root)]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn every_slip_leaves_nothing() {
    let root = system("sysv");
    let top = root.path();
    let before = tree(top);
    let at = place(&root);
    let file = top.join("etc/passwd");
    let file = file.to_str().expect("path");
    for words in [
        vec!["install", "--root", "/no/such/place"],
        vec!["install", "--root", file],
        vec!["install", "--root", at, "--prefix", "usr"],
        vec!["install", "--root", at, "--prefix", ""],
        vec!["install", "--root", at, "--prefix", "/usr/../../etc"],
        vec!["install", "--root", at, "--prefix", "/opt/my heartbeat"],
        vec!["install", "--root", at, "--prefix", "/opt/x\ny"],
        vec!["install", "--root", at, "--prefix", "/etc/passwd"],
        vec!["install", "--root", at, "--service", "upstart"],
        vec!["install", "--root", at, "--prefx", "/usr"],
        vec!["install", "--root", at, "--service", "none", "--enable"],
        vec!["install", "--root", at, "--pages", "/no/such/place"],
        vec!["install", "--root", at, "--pages", "/usr"],
        vec!["install", "--root", at, "--pages", ""],
        vec!["install", "--root", at, "/usr"],
        vec!["uninstall", "--root", at],
        vec!["uninstall", "--root", at, "--prefix", "/usr"],
    ] {
        let output = ha(&words);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words:?}: {}", said(&output));
        assert!(!output.stderr.is_empty());
        assert_eq!(tree(top), before, "{words:?}: {}", said(&output));
    }
}

#[test]
fn what_stands_there_is_never_replaced() {
    for path in ["usr/sbin/heartbeat", "usr/sbin/ha", "etc/init.d/heartbeat", "usr/bin/cl_status", "etc/ha.d"]
    {
        let root = system("sysv");
        fs::write(root.path().join(path), "of another package\n").expect("file");
        let before = tree(root.path());
        let output = ha(&["install", "--root", place(&root)]);
        assert_eq!(output.status.code(), Some(1), "{path}: {}", said(&output));
        assert!(said(&output).contains(path), "{}", said(&output));
        assert_eq!(tree(root.path()), before, "{path}");
    }
    // an agent of resource-agents stays, and everything else comes
    let root = system("sysv");
    fs::create_dir_all(root.path().join("etc/ha.d/resource.d")).expect("folder");
    fs::write(root.path().join("etc/ha.d/resource.d/IPaddr"), "its own\n").expect("file");
    let before = tree(root.path());
    assert_eq!(ha(&["install", "--root", place(&root)]).status.code(), Some(0));
    assert_eq!(
        fs::read_to_string(root.path().join("etc/ha.d/resource.d/IPaddr")).expect("agent"),
        "its own\n"
    );
    assert_eq!(ha(&["uninstall", "--root", place(&root)]).status.code(), Some(0));
    assert_eq!(tree(root.path()), before);
}

/// The first calls of a kind, and some of the many.
const NUMBERS: [usize; 8] = [1, 2, 3, 4, 6, 9, 30, 90];

#[test]
fn a_refused_step_takes_everything_back() {
    if !can_trace() {
        return;
    }
    let mut refused = 0;
    for calls in CALLS {
        for number in NUMBERS {
            let root = system("sysv");
            let before = tree(root.path());
            let output = traced("error=ENOSPC", calls, number, &["install", "--root", place(&root)]);
            if output.status.success() {
                continue;
            }
            refused += 1;
            let text = said(&output);
            assert!(text.contains("taken back") || text.contains("nothing was done"), "{text}");
            assert_eq!(tree(root.path()), before, "{calls} {number}: {text}");
        }
    }
    assert!(refused > 15, "{refused}");
}

#[test]
fn killed_anywhere_it_can_be_removed_or_done_again() {
    if !can_trace() {
        return;
    }
    let mut killed = 0;
    for calls in CALLS {
        for number in NUMBERS {
            let root = system("sysv");
            let before = tree(root.path());
            let output = traced("signal=SIGKILL", calls, number, &["install", "--root", place(&root)]);
            if output.status.success() {
                break;
            }
            killed += 1;
            if killed % 2 == 0 {
                let again = ha(&["install", "--root", place(&root)]);
                assert_eq!(again.status.code(), Some(0), "{calls} {number}: {}", said(&again));
            }
            if !root.path().join("var/lib/heartbeat/installed").exists() {
                continue;
            }
            let removed = ha(&["uninstall", "--root", place(&root)]);
            assert_eq!(removed.status.code(), Some(0), "{calls} {number}: {}", said(&removed));
            let after = tree(root.path());
            // what was made before the list of it, and the lock file that every such system has
            let harmless = ["var/lib/heartbeat", "etc/.pwd.lock"];
            let left: Vec<&String> = after
                .keys()
                .filter(|name| !before.contains_key(*name) && !harmless.contains(&name.as_str()))
                .collect();
            assert!(left.is_empty(), "{calls} {number}: {left:?}");
            assert_eq!(after["etc/passwd"], before["etc/passwd"], "{calls} {number}");
        }
    }
    assert!(killed > 15, "{killed}");
}

#[test]
fn a_full_disk_takes_everything_back() {
    let script = "mount -t tmpfs -o size=2m none \"$1\" || exit 77\n\
                  mkdir -p \"$1/etc/init.d\" \"$1/usr/sbin\" \"$1/var/lib\"\n\
                  echo root:x:0:0::/:/bin/sh >\"$1/etc/passwd\"; echo root:x:0: >\"$1/etc/group\"\n\
                  find \"$1\" | sort >/proc/self/fd/2\n\"$2\" install --root \"$1\" 2>/dev/null\ncode=$?\n\
                  find \"$1\" | sort\nexit $code";
    let folder = tempfile::tempdir().expect("folder");
    let Some(output) = with_own_mounts(script, &[folder.path(), binary()]) else { return };
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// The machine's own tree with a folder of memory above it: what is written goes there. Nothing is
/// removed by a path through the mount.
#[test]
fn on_an_overlay_of_this_system() {
    let script = "mount -t tmpfs none \"$1\" && mkdir \"$1/up\" \"$1/work\" \"$1/all\" || exit 77\n\
        mount -t overlay -o lowerdir=/,upperdir=\"$1/up\",workdir=\"$1/work\" none \"$1/all\" || exit 77\n\
        mount -t proc proc \"$1/all/proc\" || exit 77\n\
        cp \"$2\" \"$1/all/ha-file\" || exit 77\n\
        chroot \"$1/all\" /ha-file install --prefix /usr/local/heartbeat --service none || exit 1\n\
        chroot \"$1/all\" /usr/local/heartbeat/bin/cl_status --help\n\
        chroot \"$1/all\" /usr/local/heartbeat/sbin/ha --version || exit 1\n\
        chroot \"$1/all\" grep hacluster: /etc/passwd || exit 1\n\
        chroot \"$1/all\" /usr/local/heartbeat/sbin/ha uninstall || exit 1\n\
        rm \"$1/all/ha-file\"\n\
        cd \"$1/up\" && find . -type f | while read -r f; do cmp -s \"$f\" \"/$f\" || echo \"left: $f\"; done\n\
        find . -type d | while read -r f; do [ -d \"/$f\" ] || echo \"left: $f\"; done\n\
        find . -type l | while read -r f; do echo \"left: $f\"; done\n\
        find . -type c | while read -r f; do echo \"gone: $f\"; done\n";
    let folder = tempfile::tempdir().expect("folder");
    let Some(output) = with_own_mounts(script, &[folder.path(), binary()]) else { return };
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let odd = |line: &&str| line.starts_with("left: ") || line.starts_with("gone: ");
    let odd: Vec<&str> = text.lines().filter(odd).collect();
    assert!(odd.is_empty(), "{odd:?}\n{text}");
}
