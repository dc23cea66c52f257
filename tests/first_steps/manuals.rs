//! `ha install` with the manual pages, which are not part of the program file.

use std::fs;
use std::path::Path;

use crate::common::binary;
use crate::install::{place, system};
use crate::traces::{ha, said, tree};

fn pages() -> String {
    format!("{}/man", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn pages_come_and_go_with_it() {
    for prefix in ["/usr", "/usr/local/heartbeat"] {
        let root = system("sysv");
        let before = tree(root.path());
        let words = ["install", "--root", place(&root), "--prefix", prefix, "--pages", &pages()];
        let output = ha(&words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let folder = root.path().join(prefix.trim_start_matches('/')).join("share/man");
        for (page, file) in [
            ("man8/heartbeat.8", "heartbeat.8"),
            ("man5/ha.cf.5", "ha.cf.5"),
            ("man7/ha-intro.7", "ha-intro.7"),
            ("man7/IPaddr.7", "IPaddr.7"),
        ] {
            let text = fs::read(folder.join(page)).expect(page);
            assert_eq!(text, fs::read(Path::new(&pages()).join(file)).expect(file), "{page}");
        }
        for (name, page) in [
            ("man7/IPaddr2.7", "IPaddr.7"),
            ("man7/ocf_heartbeat_IPaddr2.7", "IPaddr.7"),
            ("man7/ocf_heartbeat_Filesystem.7", "Filesystem.7"),
        ] {
            let target = fs::read_link(folder.join(name)).expect(name);
            assert_eq!(target, Path::new(prefix).join("share/man/man7").join(page), "{name}");
        }
        let installed = tree(root.path());
        let again = ha(&words);
        assert_eq!(again.status.code(), Some(0), "{}", said(&again));
        assert_eq!(tree(root.path()), installed);
        let removed = ha(&["uninstall", "--root", place(&root)]);
        assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
        assert_eq!(tree(root.path()), before, "{prefix}");
    }
}

#[test]
fn pages_of_others_stay() {
    let root = system("sysv");
    let folder = root.path().join("usr/share/man/man7");
    fs::create_dir_all(&folder).expect("folder");
    for name in ["ocf_heartbeat_IPaddr2.7.gz", "apache.7"] {
        fs::write(folder.join(name), "of another package\n").expect("file");
    }
    let before = tree(root.path());
    let output = ha(&["install", "--root", place(&root), "--pages", &pages()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("1 manual pages of another package stay"), "{}", said(&output));
    assert!(!folder.join("ocf_heartbeat_IPaddr2.7").is_symlink() && folder.join("IPaddr2.7").is_symlink());
    assert_eq!(fs::read_to_string(folder.join("apache.7")).expect("page"), "of another package\n");
    assert_eq!(ha(&["uninstall", "--root", place(&root)]).status.code(), Some(0));
    assert_eq!(tree(root.path()), before);
}

#[test]
fn they_are_found_beside_the_file_and_named_where_they_are_not() {
    let told = said(&ha(&["install", "--root", place(&system("sysv")), "--dry-run"]));
    assert!(!told.contains("/share/man/"), "{told}");
    let told = said(&ha(&["install", "--root", place(&system("sysv"))]));
    assert!(told.contains("`ha install --pages DIR`"), "{told}");
    let copy = tempfile::tempdir().expect("folder");
    let file = copy.path().join("ha");
    fs::copy(binary(), &file).expect("copy");
    fs::create_dir(copy.path().join("man")).expect("folder");
    fs::copy(Path::new(&pages()).join("ha.8"), copy.path().join("man/ha.8")).expect("page");
    let root = system("sysv");
    let output = std::process::Command::new(&file).args(["install", "--root", place(&root)]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("man ha-intro"), "{}", said(&output));
    assert!(root.path().join("usr/share/man/man8/ha.8").is_file());
}
